"""Ends many programs in which native futures of the Stream SDK come to their end just then.

Each is forked from this one, which has everything imported. Prints one line of JSON: how often each
exit code was seen. argv: how many, and whether to `outlast` the SDK's threads.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter

import getstream_rtc
from getstream.plugins.gemini._exit import outlast_native_threads

CALLS = 60


async def main(seed: int) -> None:
    """Join calls of a backend that is not there, and end while they are being refused."""
    calls = [
        getstream_rtc.Client(
            "key",
            "secret" * 6,
            base_url="http://127.0.0.1:9",
            ws_url="ws://127.0.0.1:9/api/v2/connect",
        ).call("default", f"call-{index}")
        for index in range(CALLS)
    ]
    joining = [asyncio.ensure_future(call.join("somebody", True)) for call in calls]
    done, _ = await asyncio.wait(joining, timeout=random.Random(seed).uniform(0.002, 0.06))
    for each in joining:
        each.cancel()
    for each in done:
        if not each.cancelled():
            each.exception()


if __name__ == "__main__":
    codes: Counter[int] = Counter()
    for number in range(int(sys.argv[1])):
        child = os.fork()
        if child == 0:
            if sys.argv[2:] == ["outlast"]:
                outlast_native_threads()
            asyncio.run(main(number))
            sys.exit(7)
        codes[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] += 1
    print(json.dumps(codes))
