"""Describe the faults that happen before a session exists.

Faults in a running session are methods of `LiveSession`; these are for the time before it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..._beliefs import believed

__all__ = [
    "ENTITY_NOT_FOUND",
    "INVALID_HANDLE",
    "QUOTA_EXCEEDED",
    "SESSION_NOT_FOUND",
    "Abort",
    "Close",
    "NeverAnswer",
    "Reject",
    "SetupFault",
]


@dataclass(frozen=True)
class Reject:
    """The WebSocket upgrade is answered with an HTTP error.

    Attributes:
        status: HTTP status, for example 429 or 503.
        body: Plain text of the answer.
    """

    status: int
    body: str = ""


@dataclass(frozen=True)
class NeverAnswer:
    """The socket is accepted, the setup is read, and nothing is ever said."""


@dataclass(frozen=True)
class Abort:
    """The TCP connection is reset when the setup arrives; there is no close frame."""


@dataclass(frozen=True)
class Close:
    """The setup is answered with a close frame.

    Attributes:
        code: WebSocket close code that may be sent: 1000 to 1003, 1007 to 1014, 3000 to 4999.
        reason: Text, cut to the 123 bytes that a close frame holds.
    """

    code: int
    reason: str = ""


SetupFault = Reject | NeverAnswer | Abort | Close
"""Any of the faults of this module."""

QUOTA_EXCEEDED = Close(
    1011, "You exceeded your current quota, please check your plan and billing details."
)
"""The close frame of a quota, or a number of concurrent sessions, that is used up."""

_HANDLE_REFUSED = tuple(Close(code, reason) for code, reason in believed("handle_refused"))

SESSION_NOT_FOUND = _HANDLE_REFUSED[0]
"""The refusal of a resumption handle that the service does not know (any more)."""

INVALID_HANDLE = _HANDLE_REFUSED[1]
"""The same in the second of three ways that were logged."""

ENTITY_NOT_FOUND = _HANDLE_REFUSED[2]
"""The same in the third way."""
