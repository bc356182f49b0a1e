"""Vary what the local server does: options, each checked when it is made."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from ..._beliefs import believed
from ...errors import ConfigError
from .faults import SESSION_NOT_FOUND, Close

__all__ = [
    "IRREGULAR_CHUNKS",
    "Chunk",
    "InterruptionOptions",
    "LatePart",
    "Quirk",
    "ResumptionOptions",
    "check_names",
]

Quirk = Literal["empty_messages", "unknown_fields", "voice_activity", "pretty_json", "text_frames"]
"""Something that a client has to put up with; `LocalGemini(quirks=)` describes each."""

LatePart = Literal["audio", "transcript", "turn_complete"]
"""Kind of message that may still come of a turn that was interrupted."""


@dataclass(frozen=True)
class Chunk:
    """Sets the audio of one message, and the pause after it.

    Attributes:
        ms: Audio in it, in milliseconds.
        pause_ms: Time until the next message, in milliseconds. A pause longer than `ms` is slower
            than real time; 0 sends the next message at once.

    Raises:
        ConfigError: A number that cannot be a time.
    """

    ms: float
    pause_ms: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.ms < math.inf or not 0 <= self.pause_ms < math.inf:
            raise ConfigError(f"a Chunk needs ms > 0 and pause_ms >= 0, not {self!r}")


IRREGULAR_CHUNKS = (
    Chunk(10, pause_ms=57),
    Chunk(340, pause_ms=110),
    *(Chunk(340),) * 3,
    *(Chunk(340, pause_ms=500),) * 3,
    Chunk(340, pause_ms=110),
)
"""A pace as logs of the service have it, for `LocalGemini(chunks=)`.

A first chunk that ends before the second one comes (57 ms), chunks of 340 ms, a burst, a second
and a half slower than real time (livekit agents #3604), and faster again to the end.
"""


@dataclass(frozen=True)
class ResumptionOptions:
    """Sets when resumption handles come, and what they are worth.

    Attributes:
        unasked: Also to sessions whose setup has no `sessionResumption`.
        every_s: Seconds between handles that come whatever happens, also in mid-speech, beside
            those at the edges of turns; None for no such handles. 1.2 was seen with
            gemini-3.1-flash-live (charivo).
        withdrawn_in_turns: Whether `resumable: false` comes when the model begins a turn.
        holds_audio: Whether a handle that is issued while the user speaks holds what was said
            before it. Without, a resumed session has never heard it.
        needs_closed: Whether a handle is refused, with 1011, while the connection that issued it is
            open.
        keeps_calls: Whether a resumed session still takes the answers to the functions that were
            called before it; without, it has never called them.
        refusal: How a handle is refused that is not known: `SESSION_NOT_FOUND`, `INVALID_HANDLE`,
            `ENTITY_NOT_FOUND`, or a `Close` of your own.

    Raises:
        ConfigError: `every_s` is not a time.
    """

    unasked: bool = believed("handles_unasked")
    every_s: float | None = believed("handles_in_turns")
    withdrawn_in_turns: bool = True
    holds_audio: bool = believed("handle_holds_audio")
    needs_closed: bool = believed("handle_needs_closed")
    keeps_calls: bool = believed("resumed_calls")
    refusal: Close = SESSION_NOT_FOUND

    def __post_init__(self) -> None:
        if self.every_s is not None and not 0 < self.every_s < math.inf:
            raise ConfigError(f"ResumptionOptions.every_s is {self.every_s!r}; it is a time > 0")


@dataclass(frozen=True)
class InterruptionOptions:
    """Sets what follows an interruption.

    Attributes:
        late: What still comes of the turn that was cut, `late_ms` after `interrupted` and in this
            order: `audio` (its next 200 ms), `transcript` (the next word) and `turn_complete`. What
            is not late is not sent, but for `turnComplete`, which follows `interrupted` at once.
        late_ms: Milliseconds. With 0 it all comes at once; with more, also into the next turn.
        unprovoked: `interrupted` and `turnComplete` come whenever the user begins to speak, also
            while nothing is being said (langwatch/scenario #360).

    Raises:
        ConfigError: A name that is not known, or `late_ms` without `late`.
    """

    late: Collection[LatePart] = believed("after_interruption")
    late_ms: float = 0.0
    unprovoked: bool = believed("interrupted_unprovoked")

    def __post_init__(self) -> None:
        check_names("InterruptionOptions.late", self.late, get_args(LatePart))
        if not 0 <= self.late_ms < math.inf:
            raise ConfigError(f"InterruptionOptions.late_ms is {self.late_ms!r}; it is a time >= 0")
        if self.late_ms and not self.late:
            raise ConfigError("InterruptionOptions.late_ms needs `late`: what is late?")


def check_names(option: str, names: Collection[str], known: Iterable[str]) -> None:
    """Checks a collection of names that an option takes.

    Raises:
        ConfigError: It is a bare string, or holds a name that is not known.
    """
    choices = tuple(known)
    unknown = [names] if isinstance(names, str) else [each for each in names if each not in choices]
    if unknown:
        raise ConfigError(
            f"{option} takes a collection of {', '.join(map(repr, choices))}, not {unknown[0]!r}"
        )
