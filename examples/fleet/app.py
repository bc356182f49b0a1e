"""Assistants for every call of a Stream app: one async function, which holds one call.

getstream-gemini serve app:assistant
"""

from __future__ import annotations

from getstream.plugins.gemini import GeminiLive
from getstream.plugins.gemini.fleet import Seat


async def assistant(seat: Seat) -> None:
    guest = seat.request.params.get("guest", "the participants")
    async with GeminiLive(
        instructions="You are the concierge of a hotel. Answer in one or two sentences.",
        resume=seat.resume,  # where another process has held this call before
    ) as gemini:
        async with await seat.join() as connection:
            await gemini.attach(connection, leave_when_alone_s=60)
            if seat.reason == "new":
                await gemini.send_text(f"Greet {guest}.")
            await seat.follow(gemini, connection)
