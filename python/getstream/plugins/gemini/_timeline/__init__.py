"""A picture of a conversation: both voices, turns, events and latencies on one time axis, as SVG.

The picture needs nothing but numpy to draw and nothing but a browser to look at, and it may be
put into an HTML page as it is. A short conversation is drawn in one line; a long one is broken
into several lines, as a score is, so that a second keeps a legible width.

Every line shows, from top to bottom:

- the turns of the person, each a bar with its transcript;
- the marks on the person's side;
- the person's waveform;
- the latencies, as dimension lines that span both waveforms;
- the assistant's waveform, and below it the gain that was applied to it;
- the marks on the assistant's side, then its turns;
- the time axis.

Colours are CSS custom properties (``--gsg-ink``, ``--gsg-person``, ...) that follow
``prefers-color-scheme``. Each element carries the plain colour as an attribute too, for renderers
that know no custom properties, and nothing of the style reaches beyond the picture.
"""

from __future__ import annotations

from .model import Latency, Mark, Span, Timeline, Track
from .picture import render_svg

__all__ = ["Latency", "Mark", "Span", "Timeline", "Track", "render_svg"]
