"""The session with Gemini Live, on the real `google-genai` SDK. Nobody else imports that.

============  ============================================================================
`session`     `Session`: connect, send, receive, keep alive, close
`wire`        messages as they are on the wire
`at_once`     frames of audio past everything that waits
`fallback`    the same by way of the SDK
`refusals`    what the end of a connection means
`access`      asking the application for the key
`collector`   sparing the garbage collector what modules have brought
============  ============================================================================
"""

from __future__ import annotations

from .access import KeySource
from .connection import HistoryMode, Session
from .protocol import ServerMessage
from .sdk_protocol import warm_up

__all__ = ["HistoryMode", "KeySource", "ServerMessage", "Session", "warm_up"]
