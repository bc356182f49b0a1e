"""The session with Gemini Live, on the real `google-genai` SDK. Nobody else imports that.

================  ================================================================="""

from __future__ import annotations

from .access import KeySource
from .connection import HistoryMode, Session, prewarm, validate_config
from .content import contents_of, inline_bytes, texts_of
from .protocol import ServerMessage
from .resume_source import Resume, ResumeSource, check_resume
from .sdk_protocol import warm_up

__all__ = [
    "HistoryMode",
    "KeySource",
    "Resume",
    "ResumeSource",
    "ServerMessage",
    "Session",
    "check_resume",
    "contents_of",
    "inline_bytes",
    "prewarm",
    "texts_of",
    "validate_config",
    "warm_up",
]
