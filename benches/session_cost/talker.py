"""Run the person of a call: `python -m session_cost.talker CALL_ID`; on `say`, speak for 1.6 s."""

from __future__ import annotations

import asyncio
import logging
import sys

from getstream.plugins.gemini.testing import Person, signals
from programs import commands, report


async def main(call_id: str) -> None:
    speech = signals.speech_like(1600, 48_000, seed=5)
    async with Person(call_id) as person:
        report("ready")
        async for _ in commands():
            await person.say(speech)


if __name__ == "__main__":
    logging.getLogger("getstream").setLevel(logging.ERROR)
    asyncio.run(main(sys.argv[1]))
