"""Options of the local server that each of its sessions follows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .activity import ActivityOptions
from .replies import UserTurn
from .wire import Message

if TYPE_CHECKING:
    from .session import LiveSession

__all__ = ["Outgoing", "SessionOptions"]

Outgoing = Message | str | bytes
"""What can be sent: a message, or the raw payload of a text or a binary frame."""


@dataclass(frozen=True)
class SessionOptions:
    """Options of a server that its sessions follow; `LocalGemini` documents them."""

    chunk_ms: float
    speed: float
    parts_per_message: int
    bundle_fields: bool
    turn_complete_after: Literal["generation", "playback"]
    interaction_status_in: Literal["content", "message"]
    activity: ActivityOptions
    announced_end_s: float | None
    models: frozenset[str]
    transcribe: Callable[[UserTurn], str]
    on_send: Callable[[LiveSession, Message], Iterable[Outgoing]] | None
    record_bytes: int
