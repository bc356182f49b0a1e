"""Run a silent participant of a call: `python -m turn_taking.bystander CALL_ID USER_ID [dtx]`.

The microphone is on, in a quiet room: a packet each 20 ms. With `dtx` the packets are those of a
browser with Opus DTX: one each 400 ms.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from getstream.plugins.gemini.testing import Person
from programs import commands, report


async def main(call_id: str, user_id: str, dtx: bool) -> None:
    options: dict[str, Any] = {"sends": "as_browser"} if dtx else {}
    async with Person(call_id, user_id, **options):
        report("ready")
        async for _ in commands():
            pass


if __name__ == "__main__":
    logging.getLogger("getstream").setLevel(logging.ERROR)
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:] == ["dtx"]))
