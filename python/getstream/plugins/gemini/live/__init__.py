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
    Left,
    LineEvent,
    PlaybackDucked,
    PlaybackFinished,
    PlaybackPaused,
    PlaybackResumed,
    PlaybackStarted,
    PlaybackUnducked,
    Reconnecting,
    Resumed,
    ResumptionEvent,
    Speech,
    SpeechStarted,
    SpeechStopped,
    Stalled,
    Text,
    ToolCall,
    ToolCancelled,
    ToolResult,
    TurnComplete,
    TurnMetrics,
    UserText,
    VideoSource,
    VideoStarted,
    VideoStopped,
    ViewChanged,
)
from ._gemini_live import GeminiLive
from ._media.capture import TrackStats
from ._media.playout import OutputTrack
from ._media.sounds import PlayedSound
from ._media.video_input import VideoStats
from ._media.video_sources import VideoOptions, VideoPolicy, active_speaker, screen_first
from ._models import DEFAULT_MODEL, RetiredModelWarning
from ._options import BargeIn, Watchdog
from ._resumption import Resumption
from ._session import warm_up as _warm_up
from ._telemetry.latency import Latency, Percentiles
from ._telemetry.observer import Observer
from ._telemetry.prices import Cost
from ._telemetry.stats import Stats
from ._tokens import ModalityTokens, TokenUsage
from ._tools.declarations import Tool, ToolContext, tool
from ._turns.transcript import Line, Transcript

__all__ = [
    "DEFAULT_MODEL",
    "Audio",
    "BargeIn",
    "Closed",
    "Connected",
    "Cost",
    "Disconnected",
    "ErrorEvent",
    "Event",
    "EventStream",
    "GeminiLive",
    "Interrupted",
    "Latency",
    "Left",
    "Line",
    "LineEvent",
    "ModalityTokens",
    "Observer",
    "OutputTrack",
    "Percentiles",
    "PlaybackDucked",
    "PlaybackFinished",
    "PlaybackPaused",
    "PlaybackResumed",
    "PlaybackStarted",
    "PlaybackUnducked",
    "PlayedSound",
    "Reconnecting",
    "Resumed",
    "Resumption",
    "ResumptionEvent",
    "RetiredModelWarning",
    "Speech",
    "SpeechStarted",
    "SpeechStopped",
    "Stalled",
    "Stats",
    "Text",
    "TokenUsage",
    "Tool",
    "ToolCall",
    "ToolCancelled",
    "ToolContext",
    "ToolResult",
    "TrackStats",
    "Transcript",
    "TurnComplete",
    "TurnMetrics",
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
    "tool",
]

# At import, where no call is waiting for the event loop.
_warm_up()
