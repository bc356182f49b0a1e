"""Make the local Gemini server misbehave, each fault as the real service or a network does it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..testing import LiveSession, LocalGemini, Reject

__all__ = ["FAULTS", "FAULT_NAMES", "STALL_S", "inject"]

STALL_S = 3.0
"""Seconds for which the server sends nothing: long enough to be heard, and shorter than the 5 s
after which the assistant reports that it has stalled."""

GO_AWAY_S = 8.0
"""Seconds from the announcement of the end of a connection to that end. The service gives about
ten; the page should not have to wait for longer than a sentence takes."""

OUTAGE_ATTEMPTS = 3
"""Refused attempts of an outage: enough to see the delays between them grow, within seconds."""


async def _drop(server: LocalGemini, session: LiveSession) -> None:
    session.abort()


async def _error(server: LocalGemini, session: LiveSession) -> None:
    await session.close(1011, "Internal error encountered.")


async def _go_away(server: LocalGemini, session: LiveSession) -> None:
    await session.go_away(GO_AWAY_S)


async def _stall(server: LocalGemini, session: LiveSession) -> None:
    session.hold()
    asyncio.get_running_loop().call_later(STALL_S, session.release)


async def _outage(server: LocalGemini, session: LiveSession) -> None:
    server.fail_next(Reject(503, "The service is currently unavailable."), OUTAGE_ATTEMPTS)
    session.abort()


FAULTS: dict[str, Callable[[LocalGemini, LiveSession], Awaitable[None]]] = {
    "drop": _drop,
    "error": _error,
    "outage": _outage,
    "go_away": _go_away,
    "stall": _stall,
}
"""What each fault does to the server and its newest session."""

FAULT_NAMES = tuple(FAULTS)


async def inject(server: LocalGemini, name: str) -> bool:
    """Do a fault to the newest session; return whether there was one to do it to."""
    ready = [each for each in server.sessions if each.state == "ready"]
    if not ready or name not in FAULTS:
        return False
    await FAULTS[name](server, ready[-1])
    return True
