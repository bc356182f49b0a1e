"""The session with Gemini Live, on the real `google-genai` SDK. Nobody else imports that.

================  ========================================================================
`connection`      `Session`: connect, send, receive, keep alive, close
`protocol`        messages as they are on the wire
`sdk_protocol`    the same by way of the SDK
`direct_send`     frames of audio straight to the socket
`send_queue`      what is to be sent, and what may have to be sent again
`reconnect`       when to leave a connection and how to come back
`close_errors`    the meaning of the end of a connection, as an error of this package
`access`          asking the application for the key
`path`            noticing that the network path is dead
`collector`       sparing the garbage collector what modules have brought
================  ========================================================================
"""

from __future__ import annotations

from .access import KeySource
from .connection import HistoryMode, Session
from .content import contents_of, inline_bytes, texts_of
from .protocol import ServerMessage
from .sdk_protocol import warm_up

__all__ = [
    "HistoryMode",
    "KeySource",
    "ServerMessage",
    "Session",
    "contents_of",
    "inline_bytes",
    "texts_of",
    "warm_up",
]
