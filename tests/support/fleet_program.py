"""Assistant functions of a fleet under test, good and bad; `serve` imports them by name."""

from __future__ import annotations

import asyncio
import json
import time

from getstream.plugins.gemini import GeminiLive
from getstream.plugins.gemini.fleet import Seat


async def assistant(seat: Seat) -> None:
    """Greet, answer, and tell on stdout why it was started."""
    print(json.dumps({"cid": seat.request.cid, "reason": seat.reason}), flush=True)
    async with GeminiLive(instructions="Be brief.", resume=seat.resume) as gemini:
        async with await seat.join() as connection:
            await gemini.attach(connection)
            if seat.reason == "new":
                await gemini.send_text("Greet the participants.")
            await seat.follow(gemini, connection)


async def raises(seat: Seat) -> None:
    """Fail at once."""
    raise LookupError("there is no such restaurant")


async def never_returns(seat: Seat) -> None:
    """Stay in the call, and do not care for what the worker wants."""
    async with GeminiLive(resume=seat.resume) as gemini, await seat.join() as connection:
        await gemini.attach(connection)
        await asyncio.Event().wait()


async def blocks(seat: Seat) -> None:
    """Hold the event loop up when it begins, and be a good one then."""
    time.sleep(1.6)
    await assistant(seat)
