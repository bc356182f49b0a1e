"""Gemini Live in a Stream call: `GeminiLive`, its options and what its events carry."""

from __future__ import annotations

from ._emitter import EventStream
from ._events import (
    Audio,
    Closed,
    Connected,
    Disconnected,
    ErrorEvent,
    Event,
    Interrupted,
    PlaybackDucked,
    PlaybackFinished,
    PlaybackPaused,
    PlaybackResumed,
    PlaybackStarted,
    PlaybackUnducked,
    Reconnecting,
    Resumed,
    Speech,
    SpeechStarted,
    SpeechStopped,
    Stalled,
    Text,
    TurnComplete,
    UserText,
    VideoSource,
    VideoStarted,
    VideoStopped,
    ViewChanged,
)
from ._gemini_live import GeminiLive
from ._media.capture import TrackStats
from ._media.playout import OutputTrack
from ._media.video_input import VideoStats
from ._media.video_sources import VideoOptions, VideoPolicy, active_speaker, screen_first
from ._models import DEFAULT_MODEL, RetiredModelWarning
from ._options import BargeIn, Watchdog
from ._session import warm_up as _warm_up
from ._telemetry.observer import Observer
from ._telemetry.stats import Stats

__all__ = [
    "DEFAULT_MODEL",
    "Audio",
    "BargeIn",
    "Closed",
    "Connected",
    "Disconnected",
    "ErrorEvent",
    "Event",
    "EventStream",
    "GeminiLive",
    "Interrupted",
    "Observer",
    "OutputTrack",
    "PlaybackDucked",
    "PlaybackFinished",
    "PlaybackPaused",
    "PlaybackResumed",
    "PlaybackStarted",
    "PlaybackUnducked",
    "Reconnecting",
    "Resumed",
    "RetiredModelWarning",
    "Speech",
    "SpeechStarted",
    "SpeechStopped",
    "Stalled",
    "Stats",
    "Text",
    "TrackStats",
    "TurnComplete",
    "UserText",
    "VideoOptions",
    "VideoPolicy",
    "VideoSource",
    "VideoStarted",
    "VideoStats",
    "VideoStopped",
    "ViewChanged",
    "Watchdog",
    "active_speaker",
    "screen_first",
]

# At import, where no call is waiting for the event loop.
_warm_up()
