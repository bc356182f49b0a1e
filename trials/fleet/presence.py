"""Note which sessions of the assistant publish in a call, and when, by looking at the backend."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from getstream.plugins.gemini.testing import LocalStream

LOOK_S = 0.02
"""Seconds between two looks: the length of a frame, so that each look sees new packets of everybody
who publishes."""


@dataclass
class Publishing:
    """Time for which one session has published, as far as looks at the backend can tell.

    Attributes:
        session_id: the session.
        first: the first look that saw a packet. The packet came before it.
        last: the last look that saw a new packet.
        sure: the look before that one: until then it has surely published.
        packets: packets that were seen.
    """

    session_id: str
    first: float
    last: float
    sure: float
    packets: int = 0


@dataclass
class Presence:
    """Notes who has published in each call.

    Attributes:
        sessions: by call id, in order of their first packets.
    """

    sessions: dict[str, list[Publishing]] = field(default_factory=lambda: defaultdict(list))
    _looked_at: float | None = None

    def look(self, now: float, packets: Iterable[tuple[str, str, int]]) -> None:
        """Take one look.

        Args:
            now: when it was taken; later than the one before.
            packets: call id, session id, and packets that have come from the session.
        """
        before = now if self._looked_at is None else self._looked_at
        for call, session_id, count in packets:
            known = next((s for s in self.sessions[call] if s.session_id == session_id), None)
            if known is None:
                if count:
                    # One that was there at the first look has published before it, too.
                    self.sessions[call].append(Publishing(session_id, now, now, before, count))
            elif count > known.packets:
                known.sure, known.last, known.packets = before, now, count
        self._looked_at = now

    def overlap_s(self, call: str) -> float:
        """Return for how long two sessions surely published at once in a call; 0 if none did."""
        sessions = self.sessions.get(call, [])
        overlaps = [
            min(one.sure, other.sure) - max(one.first, other.first)
            for number, one in enumerate(sessions)
            for other in sessions[number + 1 :]
        ]
        return max(0.0, *overlaps) if overlaps else 0.0

    def handovers(self, call: str) -> list[tuple[Publishing, Publishing]]:
        """Return each session of a call with the one that came after it."""
        sessions = self.sessions.get(call, [])
        return list(itertools.pairwise(sessions))


async def watch(stream: LocalStream, presence: Presence, user_id: str) -> None:
    """Look at the backend every `LOOK_S` until cancelled."""
    while True:
        presence.look(
            time.monotonic(),
            [
                (call.call_id, p.session_id, sum(track.packets for track in p.published))
                for call in stream.state().calls
                for p in call.participants
                if p.user_id == user_id
            ],
        )
        await asyncio.sleep(LOOK_S)
