"""Hold the options of the local server that each of its sessions follows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .activity import ActivityOptions
from .replies import UserTurn
from .variants import Chunk, InterruptionOptions, Quirk, ResumptionOptions
from .wire import Message

if TYPE_CHECKING:
    from .session import LiveSession

__all__ = ["Outgoing", "SessionOptions"]

Outgoing = Message | str | bytes
"""A message that can be sent, or the raw payload of a text or a binary frame."""


@dataclass(frozen=True)
class SessionOptions:
    """Holds the options of a server for its sessions; `LocalGemini` documents them."""

    chunk_ms: float
    speed: float
    chunks: tuple[Chunk, ...]
    parts_per_message: int
    bundle_fields: bool
    turn_complete_after: Literal["generation", "playback"]
    interaction_status_in: Literal["content", "message", "both"]
    transcripts: Literal["in_time", "late"]
    activity: ActivityOptions
    resumption: ResumptionOptions
    interruption: InterruptionOptions
    quirks: frozenset[Quirk]
    pong_delay_s: float
    announced_end_s: float | None
    repeats_empty_calls: int
    models: frozenset[str]
    transcribe: Callable[[UserTurn], str]
    on_send: Callable[[LiveSession, Message], Iterable[Outgoing]] | None
    record_bytes: int
