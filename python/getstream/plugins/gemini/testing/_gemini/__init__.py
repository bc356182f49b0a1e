"""The local Gemini Live server, in parts."""

from __future__ import annotations

from .activity import ActivityOptions
from .faults import (
    ENTITY_NOT_FOUND,
    INVALID_HANDLE,
    QUOTA_EXCEEDED,
    SESSION_NOT_FOUND,
    Abort,
    Close,
    NeverAnswer,
    Reject,
    SetupFault,
)
from .log import Frame, SessionEndedError, SpokenTurn, UserAudio
from .replies import FunctionCall, Parrot, ReplyPolicy, Script, Stall, Turn, UserTurn
from .server import LocalGemini
from .session import LiveSession
from .tokens import EphemeralToken
from .tools import ToolCallRecord, ToolResponseRecord, ToolViolation
from .variants import IRREGULAR_CHUNKS, Chunk, InterruptionOptions, ResumptionOptions

__all__ = [
    "ENTITY_NOT_FOUND",
    "INVALID_HANDLE",
    "IRREGULAR_CHUNKS",
    "QUOTA_EXCEEDED",
    "SESSION_NOT_FOUND",
    "Abort",
    "ActivityOptions",
    "Chunk",
    "Close",
    "EphemeralToken",
    "Frame",
    "FunctionCall",
    "InterruptionOptions",
    "LiveSession",
    "LocalGemini",
    "NeverAnswer",
    "Parrot",
    "Reject",
    "ReplyPolicy",
    "ResumptionOptions",
    "Script",
    "SessionEndedError",
    "SetupFault",
    "SpokenTurn",
    "Stall",
    "ToolCallRecord",
    "ToolResponseRecord",
    "ToolViolation",
    "Turn",
    "UserAudio",
    "UserTurn",
]
