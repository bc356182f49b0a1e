"""The assistant of `load.py`: the one that the pages of the fleet begin with."""

from __future__ import annotations

from getstream.plugins.gemini.fleet import Seat
from getstream.plugins.gemini.live import GeminiLive


async def assistant(seat: Seat) -> None:
    async with GeminiLive(instructions="You are friendly.", resume=seat.resume) as gemini:
        async with await seat.join() as connection:
            await gemini.attach(connection)
            if seat.reason == "new":
                await gemini.send_text("Greet the participants.")
            await seat.follow(gemini, connection)
