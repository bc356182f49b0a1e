"""The session with Gemini Live, on the real `google-genai` SDK. Nobody else imports that.

================  ================================================================="""

from __future__ import annotations

from .access import KeySource
from .connection import HistoryMode, Session, prewarm, validate_config
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
    "prewarm",
    "validate_config",
    "warm_up",
]
