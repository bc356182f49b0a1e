"""Run assistants for many calls, in one process or in many.

The program is one async function, which holds one call:

    async def assistant(seat: Seat) -> None:
        async with GeminiLive(instructions="...", resume=seat.resume) as gemini:
            async with await seat.join() as connection:
                await gemini.attach(connection)
                if seat.reason == "new":
                    await gemini.send_text("Greet the participants.")
                await seat.follow(gemini, connection)

`getstream-gemini serve app:assistant` runs it for every call of which Stream tells; `LocalFleet`
does so inside of another program.
"""

from ._calls import CallRequest, FleetFullError, FleetStatus, Placed
from ._local import LocalFleet
from ._placement import Limits
from ._records import FileRecords, MemoryRecords, RedisRecords
from ._seat import Seat
from ._stream import CallEntry

__all__ = [
    "CallEntry",
    "CallRequest",
    "FileRecords",
    "FleetFullError",
    "FleetStatus",
    "Limits",
    "LocalFleet",
    "MemoryRecords",
    "Placed",
    "RedisRecords",
    "Seat",
]
