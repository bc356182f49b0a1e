"""A call with people who come and go, as the SDK's connection shows it, without media servers.

The list of participants is the SDK's own class; the assistant's voice is read as the SDK reads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from call_connection import CallConnection, State
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.testing import LocalGemini, Parrot
from getstream.plugins.gemini.testing.clock import run_virtual
from getstream.video.rtc import PcmData
from getstream.video.rtc.participants import ParticipantsState
from room import GRACE, WIRE, Local


class PeopledCall(CallConnection):
    """The assistant's connection to a call, with the people who are in it.

    Args:
        people: who is there.
        user_id: the assistant's own.
        call_id: the call.
        reads: whether the voice is read. `getstream` 6 takes a frame each 20 ms, also while nothing
            is said: hours of that take minutes.
    """

    def __init__(
        self,
        *people: str,
        user_id: str = "assistant",
        call_id: str = "a-call",
        reads: bool = True,
    ) -> None:
        super().__init__()
        self._reads = reads
        self.call = SimpleNamespace(call_type="default", id=call_id)
        self.user_id = user_id
        self.participants_state = ParticipantsState()
        self.left = 0
        self.leave_takes_s = 0.0
        self.leave_raises: Exception | None = None
        self.publish_takes_s = 0.0
        for user in (user_id, *people):
            self.join(user)

    # -- what the SDK offers -----------------------------------------------------------------------

    async def add_tracks(self, audio: Any) -> None:
        await asyncio.sleep(self.publish_takes_s)
        if self._reads:
            await super().add_tracks(audio)

    async def leave(self) -> None:
        self.left += 1
        if self.leave_raises is not None:
            raise self.leave_raises
        self._over.set()
        await asyncio.sleep(self.leave_takes_s)
        self.connection_state = State.LEFT
        await self.stop()

    # -- what people do ----------------------------------------------------------------------------

    def join(self, user_id: str, session: str = "1") -> None:
        self.participants_state._add_participant(_participant(user_id, session))

    def go(self, user_id: str, session: str = "1") -> None:
        self.participants_state._remove_participant(_participant(user_id, session))

    async def says(self, samples: Any, who: str = "anna") -> None:
        """A participant says that, in real time."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        person = SimpleNamespace(user_id=who, session_id=f"{who}-1")
        for index in range(len(samples) // 320):
            chunk = samples[320 * index : 320 * (index + 1)]
            self.emit(
                "audio",
                PcmData(sample_rate=WIRE, format="s16", samples=chunk, participant=person),
            )
            await asyncio.sleep(start + (index + 1) * 0.02 - loop.time())

    @property
    def listeners(self) -> int:
        """Return how many handlers are registered."""
        return sum(map(len, self.handlers.values())) + len(self.participants_state._map_handlers)

    @property
    def sound(self) -> Any:
        return np.concatenate([*self.heard, np.zeros(960, np.int16)])


def _participant(user_id: str, session: str) -> Any:
    session_id = f"{user_id}-{session}"
    return SimpleNamespace(
        user_id=user_id, session_id=session_id, track_lookup_prefix=session_id, published_tracks=[]
    )


class Watched:
    """An assistant whose events are kept with their times."""

    def __init__(self, gemini: GeminiLive, server: LocalGemini) -> None:
        self.gemini = gemini
        self.server = server
        self.began = asyncio.get_running_loop().time()
        self.events: list[tuple[float, str, Any]] = []
        for name in ("left", "disconnected", "resumed", "error", "turn_complete", "interrupted"):
            gemini.on(name, lambda event, name=name: self.events.append((self.now, name, event)))
        gemini.on("closed", lambda cause: self.events.append((self.now, "closed", cause)))

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time() - self.began

    async def until(self, seconds: float) -> None:
        await asyncio.sleep(self.began + seconds - asyncio.get_running_loop().time())

    def of(self, name: str) -> list[Any]:
        return [event for _, kind, event in self.events if kind == name]

    def time_of(self, name: str) -> float:
        (at,) = [at for at, kind, _ in self.events if kind == name]
        return at


def attend(
    local: Local,
    scenario: Callable[[Watched], Awaitable[None]],
    reply: Any = None,
    server_options: dict[str, Any] | None = None,
    **options: Any,
) -> Watched:
    """Play a scenario with one assistant, on a virtual clock."""

    async def main() -> Watched:
        async with local(reply or Parrot(), **(server_options or {})) as server:
            async with GeminiLive(**options) as gemini:
                watched = Watched(gemini, server)
                await scenario(watched)
        return watched

    return run_virtual(main(), grace=GRACE)
