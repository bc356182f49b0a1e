"""Gemini Live in a Stream call: `GeminiLive`, its options and what its events carry."""

from __future__ import annotations

from ._audio_out import OutputTrack
from ._events import Interrupted, Speech, TurnComplete
from ._gemini_live import GeminiLive
from ._models import DEFAULT_MODEL, RetiredModelWarning
from ._options import BargeIn
from ._session import warm_up as _warm_up
from ._stats import Stats

__all__ = [
    "DEFAULT_MODEL",
    "BargeIn",
    "GeminiLive",
    "Interrupted",
    "OutputTrack",
    "RetiredModelWarning",
    "Speech",
    "Stats",
    "TurnComplete",
]

# At import, where no call is waiting for the event loop.
_warm_up()
