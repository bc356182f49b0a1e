"""The local Gemini Live server, in parts."""

from __future__ import annotations

from .activity import ActivityOptions
from .faults import QUOTA_EXCEEDED, Abort, Close, NeverAnswer, Reject, SetupFault
from .log import Frame, SessionEndedError, SpokenTurn, UserAudio
from .replies import FunctionCall, Parrot, ReplyPolicy, Script, Stall, Turn, UserTurn
from .server import LocalGemini
from .session import LiveSession

__all__ = [
    "QUOTA_EXCEEDED",
    "Abort",
    "ActivityOptions",
    "Close",
    "Frame",
    "FunctionCall",
    "LiveSession",
    "LocalGemini",
    "NeverAnswer",
    "Parrot",
    "Reject",
    "ReplyPolicy",
    "Script",
    "SessionEndedError",
    "SetupFault",
    "SpokenTurn",
    "Stall",
    "Turn",
    "UserAudio",
    "UserTurn",
]
