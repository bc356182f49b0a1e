"""The application that the trials serve: `getstream-gemini serve trials.fleet.assistants`."""

from __future__ import annotations

import asyncio

from getstream.plugins.gemini.fleet import Seat
from getstream.plugins.gemini.live import GeminiLive

IDLE = "idle"
"""Calls whose id begins with this have an assistant that does nothing: the fleet's own cost."""


def instructions_of(call_id: str) -> str:
    """Return the instructions, by which the trials know the sessions of a call."""
    return f"Be brief and friendly. This is the call {call_id}."


async def assistant(seat: Seat) -> None:
    """Greet the participants, and go on where the assistant was when its process died."""
    call_id = seat.request.call_id
    if call_id.startswith(IDLE):
        await asyncio.Event().wait()  # until it is cancelled
        return
    async with GeminiLive(instructions=instructions_of(call_id), resume=seat.resume) as gemini:
        async with await seat.join() as connection:
            await gemini.attach(connection)
            if seat.reason == "new":
                await gemini.send_text("Greet the participants.")
            elif seat.reason == "crashed":
                await gemini.send_text("You were cut off by a fault. Apologize, and go on.")
            await seat.follow(gemini, connection)
