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

import hashlib
import math
import re
import statistics
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final, Generic, Literal, TypeVar
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

__all__ = ["Latency", "Mark", "Span", "Timeline", "Track", "render_svg"]

Who = Literal["person", "assistant"]
Theme = Literal["auto", "light", "dark"]

_SIDES: Final[tuple[Who, Who]] = ("person", "assistant")
_THEMES: Final[tuple[Theme, ...]] = ("auto", "light", "dark")


# --- What is drawn -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Track:
    """The audio of one side; its first sample is at 0 s.

    Attributes:
        samples: Mono audio, int16, shape ``(n,)``; ``n`` may be 0.
        sample_rate: Samples per second.
        name: The name at the left of the waveform.

    Raises:
        ValueError: ``samples`` is not a one-dimensional int16 array, or the rate is not positive.
    """

    samples: NDArray[np.int16]
    sample_rate: int
    name: str = ""

    def __post_init__(self) -> None:
        samples: object = self.samples  # callers without a type checker pass anything
        if not isinstance(samples, np.ndarray) or samples.dtype != np.int16 or samples.ndim != 1:
            got = (
                f"{samples.dtype} of shape {samples.shape}"
                if isinstance(samples, np.ndarray)
                else type(samples).__name__
            )
            raise ValueError(f"samples must be a mono int16 ndarray of shape (n,), got {got}")
        if not isinstance(self.sample_rate, (int, np.integer)) or self.sample_rate <= 0:
            raise ValueError(f"sample_rate must be a positive integer, got {self.sample_rate!r}")

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class Span:
    """A turn: one side holds the floor.

    Attributes:
        who: The side that speaks.
        start: Begin, in seconds from the start of the recording.
        end: End, in seconds.
        label: What was said.
        outcome: How the turn ended if that is worth a word: ``"interrupted"``, ``"resumed"``, ...

    Raises:
        ValueError: A time is not finite, the end is before the start, or ``who`` is unknown.
    """

    who: Who
    start: float
    end: float
    label: str = ""
    outcome: str = ""

    def __post_init__(self) -> None:
        _check_who(self.who)
        _check_interval("span", self.start, self.end)


@dataclass(frozen=True)
class Mark:
    """An event of one moment.

    Attributes:
        time: Seconds from the start of the recording.
        kind: ``interrupted``, ``duck``, ``pause``, ``resume`` and ``underrun`` have colours of
            their own; any other kind is drawn in a neutral one.
        label: A detail that is shown behind the kind.
        who: The side whose waveform carries the mark.

    Raises:
        ValueError: The time is not finite, the kind is empty, or ``who`` is unknown.
    """

    time: float
    kind: str
    label: str = ""
    who: Who = "assistant"

    def __post_init__(self) -> None:
        _check_who(self.who)
        if not math.isfinite(self.time):
            raise ValueError(f"the time of a mark must be finite, got {self.time!r}")
        if not self.kind:
            raise ValueError("a mark needs a kind, for example 'interrupted'")


@dataclass(frozen=True)
class Latency:
    """The time from a cause to its effect, drawn as a dimension line.

    Attributes:
        start: The cause, for example the end of the person's speech, in seconds.
        end: The effect, for example the first sample of the answer, in seconds.
        label: What was measured; latencies of one label are summarized together.

    Raises:
        ValueError: A time is not finite, or the effect is before its cause.
    """

    start: float
    end: float
    label: str = ""

    def __post_init__(self) -> None:
        _check_interval("latency", self.start, self.end)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.end - self.start


@dataclass(frozen=True, eq=False)
class Timeline:
    """A conversation, all of it on one clock: seconds from the start of the recording.

    Attributes:
        person: What the person said.
        assistant: What was heard of the assistant.
        spans: The turns of both sides, in any order.
        marks: The events, in any order.
        latencies: The measured delays, in any order.
        gain: ``(time, gain in dB)`` points of the assistant's playback gain, times not
            decreasing, straight lines between them; two points of one time make a step. ``-inf``
            is silence; a NaN leaves a gap.
        title: The headline.
        subtitle: The line below it; empty for a summary of the key numbers.
        duration: Length of the time axis in seconds; ``None`` for that of the longer track.

    Events outside the time axis are drawn at its edge, dashed, and counted in a note.

    Raises:
        ValueError: The duration is negative or not finite, or the gain points are out of order,
            at a time that is not finite, or of a gain of ``+inf``.
    """

    person: Track
    assistant: Track
    spans: Sequence[Span] = ()
    marks: Sequence[Mark] = ()
    latencies: Sequence[Latency] = ()
    gain: Sequence[tuple[float, float]] = ()
    title: str = "Conversation"
    subtitle: str = ""
    duration: float | None = None

    def __post_init__(self) -> None:
        if self.duration is not None and not 0 <= self.duration < math.inf:
            raise ValueError(f"duration must be finite and not negative, got {self.duration!r}")
        previous = -math.inf
        for time, gain_db in self.gain:
            if not math.isfinite(time) or time < previous:
                raise ValueError(f"gain points must be in order of finite times, got {time!r} s")
            if gain_db == math.inf:
                raise ValueError(f"the gain at {time!r} s is infinite")
            previous = time

    @property
    def length(self) -> float:
        """Length of the time axis in seconds."""
        if self.duration is not None:
            return self.duration
        return max(self.person.duration, self.assistant.duration)


def _check_who(who: str) -> None:
    if who not in _SIDES:
        raise ValueError(f"who must be one of {_SIDES}, got {who!r}")


def _check_interval(what: str, start: float, end: float) -> None:
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ValueError(f"the times of a {what} must be finite, got {start!r} and {end!r}")
    if end < start:
        raise ValueError(f"a {what} cannot end before it starts: {start!r} s to {end!r} s")


# --- Style ---------------------------------------------------------------------------------------

# name: (light, dark). Every text colour has a contrast of at least 4.5 on its background (WCAG AA).
_PALETTE: Final[dict[str, tuple[str, str]]] = {
    "bg": ("#ffffff", "#10151c"),
    "lane": ("#f4f6f9", "#18202a"),
    "grid": ("#dbe1e8", "#2c3744"),
    "ink": ("#17202b", "#e8edf3"),
    "muted": ("#596677", "#9aa7b6"),
    "person": ("#0b7a75", "#3ccfc4"),
    "assistant": ("#5b4bd6", "#a599ff"),
    "interrupted": ("#c81e3a", "#ff6b81"),
    "duck": ("#9a5800", "#f5b14c"),
    "pause": ("#47566b", "#b6c2d1"),
    "resume": ("#147a3b", "#5fd38a"),
    "underrun": ("#a81592", "#f58be0"),
}
_EVENT_COLOURS: Final = {
    **{kind: kind for kind in ("interrupted", "duck", "pause", "resume", "underrun")},
    "resumed": "resume",
}
_FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', Arial, sans-serif"

_MARGIN: Final = 24
_GUTTER: Final = 84  # from the margin to the plot: name of the track and dBFS scale
_TEXT: Final = 12.0  # transcripts
_SMALL: Final = 10.5  # pills, axis, scales
_LINE: Final = 15.0  # line height of transcripts
_PILL: Final = 17.0  # row height of marks and latencies
_GAP: Final = 6.0  # least distance between two labels
_MAX_MARK_ROWS: Final = 4
_MAX_TURN_ROWS: Final = 4
_MAX_LEGEND_KINDS: Final = 10
_GAIN_FLOOR_DB: Final = -40.0
_PEAK_OPACITY: Final = 0.4

# A conversation up to this length stays in one line.
_ONE_LINE_SECONDS: Final = 40.0
_LINE_SECONDS: Final = (30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
_MAX_LINES: Final = 12

# Seconds between two labelled ticks, and the parts that smaller ticks divide them into.
_TICKS: Final = (
    *((m * 10.0**e, parts) for e in range(-6, 0) for m, parts in ((1, 5), (2, 4), (5, 5))),
    *((1.0, 5), (2.0, 4), (5.0, 5), (10.0, 5), (15.0, 3), (30.0, 6), (60.0, 6), (120.0, 4)),
    *((300.0, 5), (600.0, 5), (900.0, 3), (1800.0, 6), (3600.0, 6), (7200.0, 4), (14400.0, 4)),
)

# Advance widths of ASCII 32..126 in 1/100 em, DejaVu Sans: the widest of the usual sans-serif
# fonts, so that a label which fits by this table fits in all of them.
# fmt: off
_ADVANCE: Final = (
    32, 41, 46, 84, 64, 96, 78, 28, 40, 40, 50, 84, 32, 37, 32, 34, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 34, 34, 84, 84, 84, 54, 100, 69, 69, 70, 78, 64,
    58, 78, 76, 30, 30, 66, 56, 87, 75, 79, 61, 79, 70, 64, 62, 74, 69, 99, 69,
    62, 69, 40, 34, 40, 84, 50, 50, 62, 64, 55, 64, 62, 36, 64, 64, 28, 28, 58,
    28, 98, 64, 62, 64, 64, 42, 53, 40, 64, 60, 82, 60, 60, 53, 64, 34, 64, 84,
)
# fmt: on
_ADVANCE_SIGNS: Final = {
    **dict.fromkeys("·‘’", 32),
    **dict.fromkeys("–“”", 52),
    **dict.fromkeys("−×→", 84),
}


def _text_width(text: str, size: float) -> float:
    """An upper estimate of the width of a text in pixels."""
    hundredths = 0
    for char in text:
        code = ord(char)
        if 32 <= code < 127:
            hundredths += _ADVANCE[code - 32]
        elif unicodedata.combining(char) or unicodedata.category(char) == "Cf":
            continue
        elif unicodedata.east_asian_width(char) in "WF":
            hundredths += 120  # CJK is 1 em, emoji are up to 1.2
        else:
            base = ord(unicodedata.normalize("NFD", char)[0])  # an accent adds no width
            hundredths += _ADVANCE[base - 32] if base < 127 else _ADVANCE_SIGNS.get(char, 105)
    return hundredths * size / 100


def _truncate(text: str, width: float, size: float) -> str:
    """The text, shortened with an ellipsis to fit; empty when not even two characters fit."""
    if _text_width(text, size) <= width:
        return text
    room = width - _text_width("…", size)
    used = 0.0
    for count, char in enumerate(text):
        used += _text_width(char, size)
        if used > room:
            kept = text[:count]
            words, _, part = kept.rpartition(" ")
            if words and char != " " and len(part) < 12:  # rather a word less than a broken one
                kept = words
            kept = kept.rstrip()
            return f"{kept}…" if len(kept) >= 2 else ""
    raise AssertionError("a text that does not fit has a character that does not fit")


def _wrap(text: str, width: float, size: float, max_lines: int) -> list[str]:
    """Breaks a text at spaces into lines that fit; the last one ends in an ellipsis if need be."""
    lines: list[str] = []
    rest = text
    while rest and len(lines) < max_lines - 1 and _text_width(rest, size) > width:
        line = ""
        for word in rest.split(" "):
            longer = f"{line} {word}" if line else word
            if _text_width(longer, size) > width:
                break
            line = longer
        if not line:  # one word wider than the line, or a script without spaces
            break
        lines.append(line)
        rest = rest[len(line) :].lstrip()
    last = _truncate(rest, width, size)
    return [*lines, last] if last else lines


# --- Text and numbers in XML ---------------------------------------------------------------------

# What XML 1.0 cannot hold, not even escaped: control characters, surrogates, U+FFFE and U+FFFF.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def _clean(text: str) -> str:
    """One line of text that XML can hold."""
    return " ".join(_NOT_XML.sub("\ufffd", text).split())


def _n(value: float) -> str:
    """A number with two decimals at most, as short as it gets."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _clock(seconds: float) -> str:
    """``m:ss.mmm``, or ``h:mm:ss.mmm``."""
    millis = round(abs(seconds) * 1000)
    minutes, millis = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    sign = "\u2212" if seconds < 0 and (hours or minutes or millis) else ""
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{sign}{head}:{millis // 1000:02d}.{millis % 1000:03d}"


def _length_text(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return _clock(round(seconds)).rpartition(".")[0]


def _delay_text(seconds: float) -> str:
    # By way of tenths, as reports are rounded: 112.46 ms is not 112 here and 112.5, or 113, there.
    return f"{seconds:.2f} s" if seconds >= 9.9995 else f"{round(seconds * 1000, 1):.0f} ms"


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


class _Canvas:
    """Writes SVG elements. Coordinates are pixels, colours are names of the palette."""

    def __init__(self, theme: Theme) -> None:
        self._shade = 1 if theme == "dark" else 0
        self.parts: list[str] = []

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """What is drawn within shows ``title`` as its tooltip."""
        self.parts.append(f"<g><title>{escape(title)}</title>")
        yield
        self.parts.append("</g>")

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str,
        *,
        stroke: str | None = None,
        **attributes: float | str | None,
    ) -> None:
        """A rectangle."""
        box = {"x": x, "y": y, "width": width, "height": height, **attributes}
        self._element("rect", box, fill, stroke)

    def path(
        self,
        data: str,
        *,
        fill: str | None = None,
        stroke: str | None = None,
        title: str = "",
        **attributes: float | str | None,
    ) -> None:
        """A path in SVG path syntax, none if it has no commands; ``title`` is its tooltip."""
        if data:
            self._element("path", {"d": data, **attributes}, fill, stroke, title)

    def text(
        self,
        x: float,
        y: float,
        text: str | Sequence[tuple[str, str]],
        size: float = _SMALL,
        fill: str = "ink",
        *,
        anchor: str | None = None,
        bold: bool = False,
        title: str = "",
    ) -> None:
        """Text with its baseline at ``y``: one string, or runs of ``(text, colour)``."""
        runs = [(text, fill)] if isinstance(text, str) else text
        content = "".join(
            escape(run)
            if colour == fill
            else f"<tspan{self._paint(colour, None)}>{escape(run)}</tspan>"
            for run, colour in runs
        )
        attributes: dict[str, float | str | None] = {
            "x": x,
            "y": y,
            "font-size": size if size != _SMALL else None,
            "text-anchor": anchor,
            "font-weight": "600" if bold else None,
        }
        # Ink and the small size are what the root element hands down.
        self._element("text", attributes, fill if fill != "ink" else None, None, title, content)

    def _element(
        self,
        tag: str,
        attributes: Mapping[str, float | str | None],
        fill: str | None,
        stroke: str | None,
        title: str = "",
        content: str = "",
    ) -> None:
        written = self._paint(fill, stroke) + "".join(
            f" {name.replace('_', '-')}={quoteattr(v if isinstance(v, str) else _n(v))}"
            for name, v in attributes.items()
            if v is not None
        )
        if title:
            content = f"<title>{escape(title)}</title>{content}"
        self.parts.append(f"<{tag}{written}>{content}</{tag}>" if content else f"<{tag}{written}/>")

    def _paint(self, fill: str | None, stroke: str | None) -> str:
        """Class names for style sheets, and plain colours for renderers that take none."""
        paints = [(kind, name) for kind, name in (("fill", fill), ("stroke", stroke)) if name]
        classes = " ".join(f"gsg-{kind[0]}-{name}" for kind, name in paints)
        colours = "".join(f' {kind}="{self._colour(name)}"' for kind, name in paints)
        unfilled = ' fill="none"' if stroke and not fill else ""
        return f' class="{classes}"{colours}{unfilled}' if paints else ""

    def _colour(self, name: str) -> str:
        return _PALETTE[name][self._shade]


# --- Waveforms -----------------------------------------------------------------------------------


def _envelope(
    track: Track, start: float, column_seconds: float, columns: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Minimum, maximum and RMS of each pixel column.

    Column ``c`` covers the samples ``i`` whose time ``i / sample_rate`` lies in
    ``[start + c * column_seconds, start + (c + 1) * column_seconds)``. A column between two
    samples holds the value of the earlier one.

    Returns:
        Three arrays of shape ``(columns,)``, full scale = 1; NaN where there is no audio.
    """
    rate, count = track.sample_rate, len(track.samples)
    # A sample at the very edge of a column must not change sides by rounding: 1e-6 of a sample.
    position = (start + np.arange(columns + 1) * column_seconds) * rate - 1e-6
    edges = np.clip(np.ceil(position), 0, count).astype(np.int64)
    begin, end = edges[:-1], edges[1:]
    low, high, rms = (np.full(columns, np.nan) for _ in range(3))

    filled = np.flatnonzero(end > begin)
    if len(filled):
        # The filled columns follow each other without a gap, as reduceat needs it.
        block = track.samples[begin[filled[0]] : end[filled[-1]]]
        at = begin[filled] - begin[filled[0]]
        low[filled] = np.minimum.reduceat(block, at)
        high[filled] = np.maximum.reduceat(block, at)
        power = np.add.reduceat(np.square(block, dtype=np.float64), at)
        rms[filled] = np.sqrt(power / (end - begin)[filled])

    held = np.flatnonzero((end == begin) & (position[:-1] < count - 1e-3) & (begin > 0))
    if len(held):
        value = track.samples[begin[held] - 1].astype(np.float64)
        low[held] = high[held] = value
        rms[held] = np.abs(value)
    return low / 32768, high / 32768, rms / 32768


def _envelope_path(low: NDArray[np.float64], high: NDArray[np.float64]) -> str:
    """The outline of an envelope: x counts columns, y the steps below the centre line.

    Every column is a rectangle of its own: what is drawn is the minimum and the maximum, not a
    line between the columns. Columns without audio, and those that are silent, are left out.

    Args:
        low: Lower edge of each column, in steps above the centre line; NaN for no audio.
        high: Upper edge.
    """
    with np.errstate(invalid="ignore"):
        visible = np.maximum(np.abs(low), np.abs(high)) >= 0.5
    top = np.round(-np.where(visible, high, 0)).astype(np.int64)
    bottom = np.round(-np.where(visible, low, 0)).astype(np.int64)
    # A steady level is one step thick, on the side of the centre line, or it would not be seen.
    steady = top == bottom
    top, bottom = top - (steady & (top > 0)), bottom + (steady & (top <= 0))

    change = np.flatnonzero(np.diff(np.concatenate(([0], visible.view(np.int8), [0]))))
    parts: list[str] = []
    for first, last in zip(change[::2].tolist(), change[1::2].tolist(), strict=True):
        there = _staircase(top[first:last].tolist(), 1)
        back = _staircase(bottom[first:last].tolist()[::-1], -1)
        turn = int(bottom[last - 1] - top[last - 1])
        parts.append(f"M{first} {int(top[first])}{there}v{turn}{back}z")
    return "".join(parts)


def _staircase(levels: list[int], step: int) -> str:
    """One horizontal step for each level, as relative path commands; equal levels are joined."""
    parts: list[str] = []
    level, run = levels[0], 0
    for following in levels:
        if following != level:
            parts.append(f"h{run * step}v{following - level}")
            level, run = following, 0
        run += 1
    parts.append(f"h{run * step}")
    return "".join(parts)


def _full_scale_db(timeline: Timeline) -> int:
    """The level that fills the height of both waveforms, in whole dBFS, never below -24."""
    tracks = (timeline.person, timeline.assistant)
    extremes = (f(t.samples) for t in tracks if len(t.samples) for f in (np.min, np.max))
    peak = max((abs(int(value)) for value in extremes), default=0)
    return max(-24, min(0, math.ceil(20 * math.log10(peak / 32768)))) if peak else 0


# --- Events on the time axis ---------------------------------------------------------------------

_Item = TypeVar("_Item", Span, Mark, Latency)


@dataclass(frozen=True)
class _Event(Generic[_Item]):
    """A span, mark or latency with its place on the time axis, in seconds."""

    item: _Item
    start: float
    end: float
    clamped: bool


def _on_axis(items: Iterable[_Item], length: float) -> list[_Event[_Item]]:
    """The events in order of time, those outside ``[0, length]`` moved to its edge."""
    events = []
    for item in items:
        start, end = (item.time, item.time) if isinstance(item, Mark) else (item.start, item.end)
        inside = min(max(start, 0.0), length), min(max(end, 0.0), length)
        # An end that differs by less than a sample at 96 kHz is rounding, not a stray event.
        clamped = max(abs(inside[0] - start), abs(inside[1] - end)) > 1e-5
        events.append(_Event(item, *inside, clamped))
    return sorted(events, key=lambda event: (event.start, event.end))


@dataclass(frozen=True)
class _Line:
    """One line of the picture: a stretch of the time axis and where it is drawn."""

    start: float
    end: float
    left: float
    scale: float  # pixels per second
    last: bool

    def x(self, time: float) -> float:
        """The horizontal position of a moment."""
        return self.left + (time - self.start) * self.scale

    @property
    def right(self) -> float:
        """Where the line ends."""
        return self.x(self.end)

    def holds(self, time: float) -> bool:
        """Whether a moment is drawn in this line: each is, in exactly one."""
        return self.start <= time < self.end or (self.last and time >= self.end)

    def overlap(self, event: _Event[Any]) -> float:
        """Seconds of an event that this line shows; negative for none."""
        return min(event.end, self.end) - max(event.start, self.start)

    def shows(self, event: _Event[Any]) -> bool:
        """Whether a part of an event is drawn in this line."""
        return self.overlap(event) > 0 or (event.start == event.end and self.holds(event.start))


def _break_lines(length: float, plot_width: float) -> list[_Line]:
    """Breaks the time axis into lines of a round number of seconds."""
    left = float(_MARGIN + _GUTTER)
    if length <= _ONE_LINE_SECONDS:
        shown = length or 1.0
        return [_Line(0.0, shown, left, plot_width / shown, True)]
    seconds = next((s for s in _LINE_SECONDS if s * _MAX_LINES >= length), length / _MAX_LINES)
    starts = [k * seconds for k in range(math.ceil(length / seconds))]
    return [
        _Line(start, min(start + seconds, length), left, plot_width / seconds, start == starts[-1])
        for start in starts
    ]


# --- Layout of one line --------------------------------------------------------------------------


@dataclass
class _Turn:
    """The bar of a turn, and its transcript if there is room for it."""

    event: _Event[Span]
    x0: float
    x1: float
    row: int
    begins: bool
    ends: bool
    text: list[str] = field(default_factory=list)


def _lay_out_turns(
    events: Sequence[_Event[Span]], who: Who, lines: Sequence[_Line], line: _Line
) -> list[_Turn]:
    """Bars in rows; two bars share a row when they and the beginnings of their texts fit."""
    turns: list[_Turn] = []
    captioned: list[bool] = []
    row_ends: list[float] = []
    for event in events:
        if event.item.who != who or not line.shows(event):
            continue
        begins, ends = event.start >= line.start, event.end <= line.end
        x0 = line.x(max(event.start, line.start))
        x1 = max(line.x(min(event.end, line.end)), x0 + 2)
        # The transcript stands in the line that shows most of the turn.
        captioned.append(bool(_caption(event.item)) and line is max(lines, key=_shows(event)))
        taken = x1
        if captioned[-1]:
            taken = max(x1, x0 + min(_text_width(_caption(event.item), _TEXT), 56.0) + _GAP)
        row = next((r for r, end in enumerate(row_ends) if end <= x0 + 0.01), len(row_ends))
        if row == _MAX_TURN_ROWS:  # crowded beyond use: bars may overlap, texts may not
            row = row_ends.index(min(row_ends))
            captioned[-1] = False
        if row == len(row_ends):
            row_ends.append(0.0)
        row_ends[row] = max(row_ends[row], taken)
        turns.append(_Turn(event, x0, x1, row, begins, ends))

    plot_right = max(line.right for line in lines)
    for index, turn in enumerate(turns):
        if captioned[index]:
            following = (t.x0 - _GAP for t in turns[index + 1 :] if t.row == turn.row)
            room = min(next(following, plot_right) - turn.x0, max(turn.x1 - turn.x0, 260.0))
            text_lines = 3 if len(lines) == 1 else 2
            turn.text = _wrap(_caption(turn.event.item), room, _TEXT, text_lines)
    return turns


def _shows(event: _Event[Any]) -> Callable[[_Line], float]:
    return lambda line: line.overlap(event)


def _caption(span: Span) -> str:
    return " · ".join(filter(None, (_clean(span.outcome), _clean(span.label))))


@dataclass
class _Pill:
    """The label of a mark, or of several of one kind that are too close to be told apart."""

    x: float
    text: str
    colour: str
    title: str
    clamped: bool
    left: float
    width: float
    xs: list[float]  # all the moments it stands for
    row: int | None = None  # None: no room


def _lay_out_pills(
    events: Sequence[_Event[Mark]], who: Who, line: _Line, right: float
) -> list[_Pill]:
    """Labels in rows, row 0 next to the waveform, so that no leader line crosses a label.

    A leader runs from the waveform through the rows before that of its label. Most labels stand
    to the right of their leaders: placed from right to left, each goes to the first row that is
    free. Those that would stick out at the right edge stand to the left, and are placed from left
    to right.
    """
    groups: list[list[_Event[Mark]]] = []
    open_group: dict[tuple[str, str], list[_Event[Mark]]] = {}
    for event in events:
        mark = event.item
        if mark.who != who or not line.holds(event.start):
            continue
        key = (mark.kind, mark.label)
        group = open_group.get(key)
        reach = _text_width(_mark_text(mark, 2), _SMALL) + 2 * _GAP
        if group and (line.x(event.start) - line.x(group[-1].start) < reach):
            group.append(event)
        else:
            open_group[key] = [event]
            groups.append(open_group[key])

    pills: list[_Pill] = []
    for group in groups:
        x = line.x(group[0].start)
        text = _truncate(_mark_text(group[0].item, len(group)), 220.0, _SMALL)
        width = _text_width(text, _SMALL) + 10
        times = ", ".join(_clock(event.item.time) for event in group[:8])
        more = f" and {len(group) - 8} more" if len(group) > 8 else ""
        clamped = any(event.clamped for event in group)
        outside = " (outside the recording)" if clamped else ""
        title = f"{_mark_text(group[0].item, len(group))} at {times}{more}{outside}"
        left = x if x + width <= right else x - width
        colour = _EVENT_COLOURS.get(group[0].item.kind, "muted")
        xs = [line.x(event.start) for event in group]
        pills.append(_Pill(x, text, colour, title, clamped, left, width, xs))

    boxes: list[list[tuple[float, float]]] = [[] for _ in range(_MAX_MARK_ROWS)]
    leaders: list[list[float]] = [[] for _ in range(_MAX_MARK_ROWS)]
    to_the_right = [pill for pill in reversed(pills) if pill.left == pill.x]
    to_the_left = [pill for pill in pills if pill.left != pill.x]
    for pill in to_the_right + to_the_left:
        a, b = pill.left, pill.left + pill.width
        for row in range(_MAX_MARK_ROWS):
            free = all(b + 2 <= left or right + 2 <= a for left, right in boxes[row])
            if free and not any(_inside(x, a, b) for x in leaders[row]):
                pill.row = row
                boxes[row].append((a, b))
                break
            if any(_inside(pill.x, left, right) for left, right in boxes[row]):
                break  # its leader would cross a label of this row
        for passed in leaders[: pill.row or 0]:
            passed.append(pill.x)
    return pills


def _inside(x: float, left: float, right: float) -> bool:
    return left + 0.5 < x < right - 0.5  # along the edge of a label is not across it


def _mark_text(mark: Mark, count: int) -> str:
    times = f" ×{count}" if count > 1 else ""
    label = f" · {_clean(mark.label)}" if _clean(mark.label) else ""
    return f"{_clean(mark.kind)}{times}{label}"


@dataclass
class _Dimension:
    """The dimension line of a latency."""

    event: _Event[Latency]
    x0: float
    x1: float
    runs: list[tuple[str, str]]
    text_x: float = 0.0
    anchor: str | None = None
    row: int | None = None  # None: no room for the line and its text, only the band is drawn


def _lay_out_dimensions(
    events: Sequence[_Event[Latency]], line: _Line, right: float, *, labelled: bool
) -> list[_Dimension]:
    """Dimension lines in rows, each with its text behind it, or before it at the right edge."""
    dimensions: list[_Dimension] = []
    rows: list[list[tuple[float, float]]] = []
    for event in events:
        if not line.shows(event):
            continue
        x0, x1 = line.x(max(event.start, line.start)), line.x(min(event.end, line.end))
        dimension = _Dimension(event, x0, x1, [])
        dimensions.append(dimension)
        delay = _delay_text(event.item.seconds)
        label = _truncate(_clean(event.item.label), 200.0, _SMALL) if labelled else ""
        width = 0.0
        if event.end <= line.end:  # else it goes on in the next line and is labelled there
            dimension.runs = [(f"{delay} ", "ink"), (label, "muted")] if label else [(delay, "ink")]
            width = _text_width(f"{delay} {label}", _SMALL) + _GAP
        a, b = x0, x1 + width
        dimension.text_x = x1 + _GAP
        if b > right:
            a, b = x0 - width, x1
            dimension.text_x, dimension.anchor = x0 - _GAP, "end"
        if a < line.left:
            continue
        for row in range(_MAX_MARK_ROWS):
            if row == len(rows):
                rows.append([])
            if all(b + _GAP <= left or end + _GAP <= a for left, end in rows[row]):
                rows[row].append((a, b))
                dimension.row = row
                break
    return dimensions


# --- The gain curve ------------------------------------------------------------------------------


def _gain_runs(
    gain: Sequence[tuple[float, float]], length: float
) -> list[list[tuple[float, float]]]:
    """The curve as unbroken runs, held to both ends of the recording and limited to the floor."""
    runs: list[list[tuple[float, float]]] = [[]]
    for time, gain_db in gain:
        if math.isnan(gain_db):
            runs.append([])
        else:
            runs[-1].append((time, max(gain_db, _GAIN_FLOOR_DB)))
    if runs[0]:
        runs[0].insert(0, (min(0.0, runs[0][0][0]), runs[0][0][1]))
    if runs[-1]:
        runs[-1].append((max(length, runs[-1][-1][0]), runs[-1][-1][1]))
    return [run for run in runs if run]


def _gain_points(run: Sequence[tuple[float, float]], line: _Line) -> list[tuple[float, float]]:
    """The part of a run in one line as ``(x, gain in dB)``, four points per pixel at most."""
    start, end = max(run[0][0], line.start), min(run[-1][0], line.end)
    if end < start:
        return []
    inner = [(t, g) for t, g in run if start < t < end]
    points = [(start, _gain_at(run, start, after=True)), *inner, (end, _gain_at(run, end))]
    thinned: list[tuple[float, float]] = []
    placed = ((line.x(t), g) for t, g in points)
    for _, group in groupby(placed, key=lambda point: math.floor(point[0])):
        held = list(group)
        low, high = min(held, key=itemgetter(1)), max(held, key=itemgetter(1))
        keep = sorted({0, held.index(low), held.index(high), len(held) - 1})
        thinned.extend(held[k] for k in keep)
    return thinned


def _gain_at(run: Sequence[tuple[float, float]], time: float, *, after: bool = False) -> float:
    """The curve at a moment; at a step the gain before it, or after it."""
    times = [t for t, _ in run]
    k = bisect_right(times, time) if after else bisect_left(times, time)
    if k == 0:
        return run[0][1]
    if k == len(run):
        return run[-1][1]
    (t0, g0), (t1, g1) = run[k - 1], run[k]
    return g0 + (g1 - g0) * (time - t0) / (t1 - t0)


# --- The picture ---------------------------------------------------------------------------------


def render_svg(timeline: Timeline, *, width: int = 1200, theme: Theme = "auto") -> str:
    """Draws a conversation as a self-contained SVG document.

    The same timeline gives the same text, byte for byte.

    Args:
        timeline: What to draw.
        width: Width of the picture in pixels, 480 at least; the height follows from the content.
        theme: ``"auto"`` follows the reader's preference; ``"light"`` and ``"dark"`` are fixed,
            for slides and for renderers that do not know the preference.

    Returns:
        An ``<svg>`` element without an XML declaration, so that it can be put into an HTML page;
        written to a file as UTF-8 it is a complete document.

    Raises:
        ValueError: The width is too small, or the theme is unknown.
    """
    if not 480 <= width <= 20_000:
        raise ValueError(f"width must be from 480 to 20000 pixels, got {width!r}")
    if theme not in _THEMES:
        raise ValueError(f"theme must be one of {_THEMES}, got {theme!r}")
    return _Picture(timeline, int(width), theme).render()


class _Picture:
    """One rendering, from the headline down to the notes."""

    def __init__(self, timeline: Timeline, width: int, theme: Theme) -> None:
        self._timeline = timeline
        self._width = width
        self._theme = theme
        self._canvas = _Canvas(theme)
        self._length = timeline.length
        self._plot_right = width - _MARGIN
        self._lines = _break_lines(self._length, width - 2 * _MARGIN - _GUTTER)
        self._half_height = 46 if len(self._lines) == 1 else 30
        self._gain_height = 30 if len(self._lines) == 1 else 24
        self._full_scale_db = _full_scale_db(timeline)
        self._spans = _on_axis(timeline.spans, self._length)
        self._marks = _on_axis(timeline.marks, self._length)
        self._latencies = _on_axis(timeline.latencies, self._length)
        self._gain = _gain_runs(timeline.gain, self._length)
        labels = {_clean(latency.label) for latency in timeline.latencies}
        # Many delays of one kind: the legend names it once.
        self._one_latency = labels.pop() if len(labels) == 1 and len(self._lines) > 1 else ""
        self._hidden = 0  # labels for which there was no room

    def render(self) -> str:
        title = _clean(self._timeline.title) or "Conversation"
        summary = self._summary()
        subtitle = _clean(self._timeline.subtitle) or summary
        y = self._header(title, subtitle)
        for line in self._lines:
            y = self._line(line, y)
        height = self._notes(y)

        body = "\n".join(self._canvas.parts)
        # Several pictures may stand in one page: ids must differ, and must not be random.
        key = hashlib.sha256(f"{title}{self._width}{body}".encode()).hexdigest()[:10]
        shade = 1 if self._theme == "dark" else 0
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="gsg-timeline gsg-{self._theme}"'
            f' viewBox="0 0 {self._width} {_n(height)}" width="{self._width}"'
            f' height="{_n(height)}" role="img" aria-labelledby="gsg-{key}-t gsg-{key}-d"'
            f' font-family="{_FONT}" font-size="{_n(_SMALL)}"'
            f' fill="{_PALETTE["ink"][shade]}">\n'
            f'<title id="gsg-{key}-t">{escape(title)}</title>\n'
            f'<desc id="gsg-{key}-d">{escape(self._description(summary))}</desc>\n'
            f"<style>{_style(self._theme)}</style>\n"
            f'<rect class="gsg-f-bg" fill="{_PALETTE["bg"][shade]}" width="{self._width}"'
            f' height="{_n(height)}" rx="8"/>\n'
            f"{body}\n</svg>\n"
        )

    # Words

    def _summary(self) -> str:
        """The key numbers in one line."""
        timeline = self._timeline
        turns = Counter(span.who for span in timeline.spans)
        facts = [_length_text(self._length)]
        if timeline.spans:
            each = " + ".join(f"{turns[who]} {who}" for who in _SIDES if turns[who])
            facts.append(f"{_count(len(timeline.spans), 'turn')} ({each})")
        by_label: dict[str, list[float]] = {}
        for latency in timeline.latencies:
            by_label.setdefault(_clean(latency.label) or "latency", []).append(latency.seconds)
        for label, seconds in by_label.items():
            text = f"{label} {_delay_text(statistics.median(seconds))}"
            if len(seconds) > 1:
                text += f" (median of {len(seconds)}, longest {_delay_text(max(seconds))})"
            facts.append(text)
        return " · ".join(facts)

    def _description(self, summary: str) -> str:
        """The picture in words, for those who cannot see it."""
        names = " and ".join(self._name(who) for who in _SIDES)
        kinds = ", ".join(
            f"{kind} {number}" for kind, number in Counter(_kinds(self._timeline)).items()
        )
        text = f"Waveforms of {names} on one time axis. {summary}."
        return f"{text} Events: {kinds}." if kinds else text

    def _track(self, who: Who) -> Track:
        return self._timeline.person if who == "person" else self._timeline.assistant

    def _name(self, who: Who) -> str:
        return _clean(self._track(who).name) or who.capitalize()

    # Head and foot

    def _header(self, title: str, subtitle: str) -> float:
        canvas, room = self._canvas, self._width - 2 * _MARGIN
        shown = _truncate(title, room / 1.12, 20)  # 1.12: the bold face is wider
        y = _MARGIN + 18.0
        canvas.text(_MARGIN, y, shown, 20, bold=True, title=title if shown != title else "")
        y += 4
        for text in _wrap(subtitle, room, 13, 2):
            y += 18
            canvas.text(_MARGIN, y, text, 13, "muted", title=subtitle if "…" in text else "")
        return self._legend(y + 24) + 14

    def _legend(self, y: float) -> float:
        """What the colours mean; returns the baseline of its last row."""
        entries: list[tuple[str, str, str]] = [
            (who, "wave", f"{self._name(who)}: peak, RMS") for who in _SIDES
        ]
        if self._gain:
            entries.append(("assistant", "line", "playback gain"))
        if self._latencies:
            entries.append(("ink", "dimension", self._one_latency or "latency"))
        kinds = Counter(_kinds(self._timeline))
        for kind, number in list(kinds.items())[:_MAX_LEGEND_KINDS]:
            entries.append((_EVENT_COLOURS.get(kind, "muted"), "mark", f"{kind} {number}"))
        if len(kinds) > _MAX_LEGEND_KINDS:
            entries.append(("muted", "mark", f"{len(kinds) - _MAX_LEGEND_KINDS} more kinds"))
        x = float(_MARGIN)
        for colour, glyph, text in entries:
            text = _truncate(text, 220.0, 11)
            indent = 9 if glyph == "mark" else 20
            width = indent + _text_width(text, 11) + 18
            if x + width > self._width - _MARGIN and x > _MARGIN:
                x, y = float(_MARGIN), y + 17
            self._glyph(x, y - 4, colour, glyph)
            self._canvas.text(x + indent, y, text, 11, "muted")
            x += width
        return y

    def _glyph(self, x: float, y: float, colour: str, glyph: str) -> None:
        canvas = self._canvas
        if glyph == "wave":
            canvas.rect(x, y - 5, 14, 10, colour, rx=2, fill_opacity=_PEAK_OPACITY)
            canvas.rect(x, y - 2, 14, 4, colour)
        elif glyph == "line":
            canvas.path(f"M{_n(x)} {_n(y - 3)}h6v6h8", stroke=colour, stroke_width=1.5)
        elif glyph == "dimension":
            canvas.path(_dimension_path(x, x + 14, y), stroke=colour, stroke_width=1.2)
        else:
            canvas.path(f"M{_n(x + 1.5)} {_n(y - 5)}v10", stroke=colour, stroke_width=2.5)

    def _notes(self, y: float) -> float:
        """What the picture could not show as it is; returns the height of the picture."""
        groups: list[Sequence[_Event[Any]]] = [self._spans, self._marks, self._latencies]
        clamped = sum(event.clamped for events in groups for event in events)
        unknown = sum(math.isnan(gain_db) for _, gain_db in self._timeline.gain)
        notes = []
        if clamped:
            range_text = f"0 to {self._length:.2f} s"
            notes.append(
                f"{_count(clamped, 'event')} outside the recording ({range_text})"
                " drawn at its edge, dashed."
            )
        if unknown:
            notes.append(f"{_count(unknown, 'gain value')} unknown (NaN), drawn as a gap.")
        if self._hidden:
            notes.append(f"{_count(self._hidden, 'label')} left out for want of room.")
        for note in notes:
            for text in _wrap(note, self._width - 2 * _MARGIN, 11, 3):
                self._canvas.text(_MARGIN, y + 6, text, 11, "muted")
                y += 17
        return y + 10

    # One line

    def _line(self, line: _Line, y: float) -> float:
        turns = {who: _lay_out_turns(self._spans, who, self._lines, line) for who in _SIDES}
        pills = {who: _lay_out_pills(self._marks, who, line, self._plot_right) for who in _SIDES}
        dimensions = _lay_out_dimensions(
            self._latencies, line, self._plot_right, labelled=not self._one_latency
        )
        pill_heights = {who: _PILL * _rows(pills[who]) for who in _SIDES}
        self._hidden += sum(p.row is None for who in _SIDES for p in pills[who])
        self._hidden += sum(bool(d.runs) and d.row is None for d in dimensions)

        height = 2.0 * self._half_height
        person_turns = y
        person_pills = y + sum(_turn_row_heights(turns["person"]))
        person = person_pills + pill_heights["person"]
        between = person + height
        assistant = between + max(8.0, _PILL * _rows(dimensions) + 4)
        gain = assistant + height
        assistant_pills = gain + (self._gain_height + 6 if self._gain else 0)
        assistant_turns = assistant_pills + pill_heights["assistant"] + 2
        axis = assistant_turns + sum(_turn_row_heights(turns["assistant"]))

        top = {"person": person, "assistant": assistant}
        ticks = _ticks(line, self._length)
        for who in _SIDES:
            self._lane(who, line, top[who], turns[who], ticks)
        self._bands(dimensions, person, between, assistant)
        if self._gain:
            self._gain_strip(line, gain + 6, ticks)
        for who in _SIDES:
            self._waveform(who, line, top[who] + self._half_height)
        self._dimension_lines(dimensions, between + 2)
        # The leaders of the assistant's marks run through the gain strip: the cause next to the
        # effect.
        self._mark_lines(pills["person"], line, person_pills + pill_heights["person"], between, -1)
        self._mark_lines(pills["assistant"], line, assistant_pills, assistant, 1)
        self._turn_rows(turns["person"], person_turns, above=True)
        self._turn_rows(turns["assistant"], assistant_turns, above=False)
        return self._axis(line, axis + 4, ticks)

    def _lane(
        self,
        who: Who,
        line: _Line,
        y: float,
        turns: Sequence[_Turn],
        ticks: Sequence[tuple[float, str]],
    ) -> None:
        """The background of a waveform: scale, grid, and a tint where the side holds the floor."""
        canvas, half = self._canvas, float(self._half_height)
        canvas.rect(line.left, y, line.right - line.left, 2 * half, "lane", rx=3)
        tint = "".join(_box_path(turn.x0, turn.x1, y, y + 2 * half) for turn in turns)
        canvas.path(tint, fill=who, fill_opacity=0.1, data_tint=who)
        grid = "".join(
            f"M{_n(line.x(time))} {_n(y)}v{_n(2 * half)}" for time, text in ticks if text
        )
        for level in (-0.5, 0.0, 0.5):
            grid += f"M{_n(line.left)} {_n(y + half * (1 + level))}H{_n(line.right)}"
        canvas.path(grid, stroke="grid")

        name = _truncate(self._name(who), _GUTTER - 8, _TEXT * 1.12)
        canvas.text(
            _MARGIN,
            y + half + 4,
            name,
            _TEXT,
            who,
            bold=True,
            title=self._name(who) if name != self._name(who) else "",
        )
        top_db = self._full_scale_db
        canvas.text(line.left - 7, y + 8, f"{_signed(top_db)} dBFS", 9.5, "muted", anchor="end")
        canvas.text(
            line.left - 7, y + half / 2 + 3.5, _signed(top_db - 6), 9.5, "muted", anchor="end"
        )

    def _waveform(self, who: Who, line: _Line, centre: float) -> None:
        canvas, track = self._canvas, self._track(who)
        audio_end = min(line.end, track.duration)
        if not len(track.samples) and line.start == 0:
            canvas.text(
                (line.left + line.right) / 2,
                centre + 4,
                "no audio",
                _TEXT,
                "muted",
                anchor="middle",
            )
        if audio_end <= line.start:
            return
        # Where there was audio there is a line, however quiet it was.
        canvas.path(
            f"M{_n(line.left)} {_n(centre)}H{_n(line.x(audio_end))}", stroke=who, stroke_width=0.75
        )
        # Paths of integers in units of their own. A long call is drawn coarser to keep the file
        # small: whole pixels in height instead of halves, and an RMS of two pixels in width.
        short = len(self._lines) == 1
        steps_per_pixel = 2 if short else 1
        for kind, step, opacity in (("peak", 1, _PEAK_OPACITY), ("rms", 1 if short else 2, None)):
            columns = math.ceil((line.end - line.start) * line.scale / step - 1e-6)
            low, high, rms = _envelope(track, line.start, step / line.scale, columns)
            if kind == "rms":  # on an asymmetric waveform it may exceed the peak of one side
                low, high = np.maximum(-rms, low), np.minimum(rms, high)
            scale = 10 ** (-self._full_scale_db / 20) * self._half_height * steps_per_pixel
            canvas.path(
                _envelope_path(low * scale, high * scale),
                fill=who,
                fill_opacity=opacity,
                transform=f"translate({_n(line.left)} {_n(centre)})"
                f" scale({step} {_n(1 / steps_per_pixel)})",
                data_track=who,
                data_wave=kind,
            )

    def _bands(
        self, dimensions: Sequence[_Dimension], top: float, between: float, assistant: float
    ) -> None:
        """Where the person waits: from the cause in one waveform to the effect in the other."""
        bottom = assistant + 2 * self._half_height
        bands = (_box_path(d.x0, max(d.x1, d.x0 + 0.5), top, bottom) for d in dimensions)
        self._canvas.path("".join(bands), fill="ink", fill_opacity=0.06)
        edges = (
            f"M{_n(d.x0)} {_n(top)}V{_n(between + 2)}M{_n(d.x1)} {_n(assistant - 2)}V{_n(bottom)}"
            for d in dimensions
        )
        self._canvas.path("".join(edges), stroke="muted", stroke_dasharray="2 3")

    def _dimension_lines(self, dimensions: Sequence[_Dimension], y: float) -> None:
        for d in dimensions:
            if d.row is None:
                continue
            middle = y + d.row * _PILL + _PILL / 2
            self._canvas.path(
                _dimension_path(d.x0, d.x1, middle),
                stroke="ink",
                stroke_width=1.2,
                stroke_dasharray="3 2" if d.event.clamped else None,
                title=_interval_title(d.event, _clean(d.event.item.label) or "latency"),
            )
            if d.runs:
                self._canvas.text(d.text_x, middle + 3.8, d.runs, _SMALL, anchor=d.anchor)

    def _gain_strip(self, line: _Line, y: float, ticks: Sequence[tuple[float, str]]) -> None:
        canvas, height = self._canvas, float(self._gain_height)
        loudest = max((g for run in self._gain for _, g in run), default=0.0)
        top_db = max(0, math.ceil(loudest / 6) * 6)
        canvas.rect(line.left, y, line.right - line.left, height, "lane", rx=3)
        grid = "".join(f"M{_n(line.x(t))} {_n(y)}v{_n(height)}" for t, text in ticks if text)
        canvas.path(grid, stroke="grid")
        canvas.text(_MARGIN, y + height / 2 + 4, "gain", _SMALL, "muted")
        canvas.text(line.left - 7, y + 8, f"{_signed(top_db)} dB", 9.5, "muted", anchor="end")
        canvas.text(
            line.left - 7, y + height, _signed(int(_GAIN_FLOOR_DB)), 9.5, "muted", anchor="end"
        )
        per_db = (height - 4) / (top_db - _GAIN_FLOOR_DB)
        for run in self._gain:
            points = [(x, y + 2 + (top_db - g) * per_db) for x, g in _gain_points(run, line)]
            if not points:
                continue
            curve = "L".join(f"{_n(x)} {_n(level)}" for x, level in points)
            base = _n(y + height)
            canvas.path(
                f"M{_n(points[0][0])} {base}L{curve}V{base}z", fill="assistant", fill_opacity=0.16
            )
            canvas.path(
                f"M{curve}",
                stroke="assistant",
                stroke_width=1.5,
                stroke_linejoin="round",
                data_curve="gain",
            )

    def _mark_lines(
        self, pills: Sequence[_Pill], line: _Line, near: float, far: float, direction: int
    ) -> None:
        """The marks of one side.

        Args:
            pills: The labels.
            line: The line they stand in.
            near: The edge of the strip of labels that faces the waveform.
            far: The other edge of the waveform.
            direction: 1 when the labels are below the waveform, -1 when they are above.
        """
        canvas = self._canvas
        for pill in pills:
            dashes = "3 2" if pill.clamped else None
            hairlines = dict.fromkeys(round(x * 2) / 2 for x in pill.xs)  # each half pixel once
            canvas.path(
                "".join(f"M{_n(x)} {_n(far)}V{_n(near)}" for x in hairlines),
                stroke=pill.colour,
                stroke_width=1.25,
                stroke_dasharray=dashes,
                title="" if pill.row is not None else pill.title,
            )
            if pill.row is None:
                continue
            edge = near + direction * pill.row * _PILL
            top = edge + 2 if direction > 0 else edge - _PILL
            canvas.path(
                f"M{_n(pill.x)} {_n(near)}V{_n(top + 7)}", stroke=pill.colour, stroke_width=1.25
            )
            with canvas.group(pill.title):
                canvas.rect(
                    pill.left,
                    top,
                    pill.width,
                    _PILL - 2,
                    "bg",
                    rx=3,
                    stroke=pill.colour,
                    stroke_dasharray=dashes,
                )
                canvas.text(pill.left + 5, top + 11.2, pill.text, _SMALL, pill.colour)

    def _turn_rows(self, turns: Sequence[_Turn], y: float, *, above: bool) -> None:
        """The bars and transcripts of one side; row 0 is next to the waveform."""
        canvas = self._canvas
        heights = _turn_row_heights(turns)
        for turn in turns:
            before = heights[turn.row + 1 :] if above else heights[: turn.row]
            row_top = y + sum(before)
            bar = row_top + heights[turn.row] - 7 if above else row_top + 3
            span = turn.event.item
            outcome = _clean(span.outcome)
            colour = _EVENT_COLOURS.get(outcome, "muted")
            with canvas.group(_interval_title(turn.event, self._name(span.who), _caption(span))):
                canvas.rect(
                    turn.x0,
                    bar,
                    turn.x1 - turn.x0,
                    4,
                    span.who,
                    rx=2 if turn.begins and turn.ends else None,
                    fill_opacity=0.5 if turn.event.clamped else None,
                )
                if outcome in _EVENT_COLOURS and turn.ends:
                    canvas.rect(max(turn.x1 - 3, turn.x0), bar - 3, 3, 10, colour, rx=1)
                baseline = bar - 6 - (len(turn.text) - 1) * _LINE if above else bar + 17
                for number, text in enumerate(turn.text):
                    runs = [(text, "ink")]
                    if number == 0 and outcome and text.startswith(outcome):
                        runs = [(outcome, colour), (text[len(outcome) :], "ink")]
                    canvas.text(turn.x0, baseline + number * _LINE, runs, _TEXT)

    def _axis(self, line: _Line, y: float, ticks: Sequence[tuple[float, str]]) -> float:
        data = f"M{_n(line.left)} {_n(y)}H{_n(line.right)}"
        for time, text in ticks:
            data += f"M{_n(line.x(time))} {_n(y)}v{6 if text else 3}"
            if text:
                x = min(line.x(time), self._width - _text_width(text, _SMALL) / 2)
                self._canvas.text(x, y + 17, text, _SMALL, "muted", anchor="middle")
        self._canvas.path(data, stroke="muted")
        return y + (28 if line.last else 38)


def _kinds(timeline: Timeline) -> Iterator[str]:
    return (_clean(mark.kind) for mark in sorted(timeline.marks, key=lambda mark: mark.time))


def _rows(labels: Sequence[_Pill] | Sequence[_Dimension]) -> int:
    return max((label.row + 1 for label in labels if label.row is not None), default=0)


def _turn_row_heights(turns: Sequence[_Turn]) -> list[float]:
    """The height of each row of turns: its bar, and as many lines of text as it has."""
    rows = max((turn.row + 1 for turn in turns), default=0)
    lines = [max((len(t.text) for t in turns if t.row == row), default=0) for row in range(rows)]
    return [10.0 + (count * _LINE + 4 if count else 0) for count in lines]


def _interval_title(event: _Event[Span] | _Event[Latency], *facts: str) -> str:
    item = event.item
    outside = " (reaches outside the recording)" if event.clamped else ""
    times = f"{_clock(item.start)} to {_clock(item.end)}, {_delay_text(item.end - item.start)}"
    return ", ".join(filter(None, (facts[0], f"{times}{outside}", *facts[1:])))


def _box_path(left: float, right: float, top: float, bottom: float) -> str:
    return f"M{_n(left)} {_n(top)}H{_n(right)}V{_n(bottom)}H{_n(left)}z"


def _dimension_path(x0: float, x1: float, y: float) -> str:
    """A line with a bar at both ends, and arrow heads where there is room for them."""
    path = f"M{_n(x0)} {_n(y - 4)}v8M{_n(x1)} {_n(y - 4)}v8M{_n(x0)} {_n(y)}H{_n(x1)}"
    if x1 - x0 >= 12:
        path += f"M{_n(x0 + 4)} {_n(y - 3)}l-4 3l4 3M{_n(x1 - 4)} {_n(y - 3)}l4 3l-4 3"
    return path


def _signed(number: int) -> str:
    return f"−{-number}" if number < 0 else str(number)


def _ticks(line: _Line, length: float) -> list[tuple[float, str]]:
    """Times of the ticks of a line, with their text; the smaller ones have none."""

    def text_of(time: float, step: float) -> str:
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        if length < 60:
            return f"{time:.{decimals}f} s"
        minutes, seconds = divmod(round(time), 60)
        hours, minutes = divmod(minutes, 60)
        head = f"{hours}:{minutes:02d}" if length >= 3600 else f"{minutes}"
        return f"{head}:{seconds:02d}"

    days = ((86_400.0 * 2**k, 4) for k in range(1000))  # one of them is wide enough
    step, parts = next(
        (step, parts)
        for step, parts in chain(_TICKS, days)
        if step * line.scale >= max(60.0, _text_width(text_of(line.end, step), _SMALL) + 28)
    )
    divided = step / parts
    first, last = math.ceil(line.start / divided - 1e-6), math.floor(line.end / divided + 1e-6)
    return [
        (k * divided, text_of(k * divided, step) if k % parts == 0 else "")
        for k in range(first, last + 1)
    ]


def _style(theme: Theme) -> str:
    """The style sheet. Every rule is scoped: inside HTML it applies to the whole page."""

    def variables(shade: int) -> str:
        return ";".join(f"--gsg-{name}:{pair[shade]}" for name, pair in _PALETTE.items())

    rules = [
        ".gsg-timeline{max-width:100%;height:auto;fill:var(--gsg-ink)}",
        f".gsg-{theme}{{{variables(1 if theme == 'dark' else 0)}}}",
    ]
    if theme == "auto":
        rules.append(f"@media (prefers-color-scheme:dark){{.gsg-auto{{{variables(1)}}}}}")
    for name in _PALETTE:
        rules.append(f".gsg-timeline .gsg-f-{name}{{fill:var(--gsg-{name})}}")
        rules.append(f".gsg-timeline .gsg-s-{name}{{stroke:var(--gsg-{name})}}")
    return "\n".join(rules)
