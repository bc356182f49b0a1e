"""Gemini Live in a Stream call: `GeminiLive`, its options and what its events carry."""

from __future__ import annotations

from ._events import (
    Disconnected,
    Interrupted,
    PlaybackFinished,
    PlaybackStarted,
    Reconnecting,
    Resumed,
    Speech,
    Stalled,
    TurnComplete,
)
from ._gemini_live import GeminiLive
from ._media.capture import TrackStats
from ._media.playout import OutputTrack
from ._models import DEFAULT_MODEL, RetiredModelWarning
from ._options import BargeIn, Watchdog
from ._session import warm_up as _warm_up
from ._telemetry.stats import Stats

__all__ = [
    "DEFAULT_MODEL",
    "BargeIn",
    "Disconnected",
    "GeminiLive",
    "Interrupted",
    "OutputTrack",
    "PlaybackFinished",
    "PlaybackStarted",
    "Reconnecting",
    "Resumed",
    "RetiredModelWarning",
    "Speech",
    "Stalled",
    "Stats",
    "TrackStats",
    "TurnComplete",
    "Watchdog",
]

# At import, where no call is waiting for the event loop.
_warm_up()
