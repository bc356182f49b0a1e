"""The assistant of the tests of a fleet on Ray. Its instructions say which call it is in."""

from __future__ import annotations

from getstream.plugins.gemini.fleet import Seat
from getstream.plugins.gemini.live import GeminiLive


async def assistant(seat: Seat) -> None:
    """Greet in a new call, and stay until the end."""
    instructions = f"You are in the call <{seat.request.cid}>."
    async with GeminiLive(instructions=instructions, resume=seat.resume) as gemini:
        async with await seat.join() as connection:
            await gemini.attach(connection)
            if seat.reason == "new":
                await gemini.send_text("Greet the participants.")
            await seat.follow(gemini, connection)
