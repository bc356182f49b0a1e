"""Assistant of the self-test call, as a program: joins, and measures itself for some seconds.

    python -m getstream.plugins.gemini._cli.checks.self_test_bot CALL_ID SECONDS

It prints JSON lines, as `join --events-json` does: `joined`, and `measured` with the numbers.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from getstream import Stream
from getstream.video import rtc

from ...live import GeminiLive

__all__ = ["LoopLateness", "main"]

TICK_S = 0.010
"""Seconds between two looks at the event loop: half a frame."""

SETTLING_S = 1.0
"""Seconds after the join that are not measured: imports and handshakes are once in a call."""

USER_ID = "doctor-assistant"


class LoopLateness:
    """Measure how late the event loop runs what is due.

    Attributes:
        late_s: Lateness of each tick, in seconds.
    """

    def __init__(self) -> None:
        self.late_s: list[float] = []
        self._task = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        due = time.monotonic()
        while True:
            due += TICK_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            late = time.monotonic() - due
            self.late_s.append(max(0.0, late))
            if late > TICK_S:
                due += late  # one long hold is one late tick, not one for each that it covered

    async def stop(self) -> None:
        """End it."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def numbers(self) -> dict[str, float]:
        """Return p50, p99 and the greatest lateness in milliseconds."""
        late_ms = np.asarray(self.late_s or [0.0]) * 1000
        p50, p99 = np.percentile(late_ms, (50, 99))
        return {
            "loop_late_p50_ms": float(p50),
            "loop_late_p99_ms": float(p99),
            "loop_late_max_ms": float(late_ms.max()),
        }


def main(arguments: Sequence[str]) -> int:
    """Run the program; returns its exit status."""
    call_id, seconds = arguments
    asyncio.run(_hold_call(call_id, float(seconds)))
    return 0


async def _hold_call(call_id: str, seconds: float) -> None:
    client = Stream.from_env().as_async()
    try:
        async with GeminiLive(instructions="Repeat what you hear.") as gemini:
            connection: Any = await rtc.join(client.video.call("default", call_id), USER_ID)
            async with connection:
                await gemini.attach(connection, leave_when_alone_s=None)
                _report("joined")
                await asyncio.sleep(SETTLING_S)
                _report("measured", **await _measure(gemini, seconds))
    finally:
        await client.aclose()


async def _measure(gemini: GeminiLive, seconds: float) -> dict[str, float]:
    before = gemini.stats()
    lateness = LoopLateness()
    began, cpu_began = time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    elapsed, cpu = time.monotonic() - began, time.process_time() - cpu_began
    await lateness.stop()
    after = gemini.stats()
    return {
        "seconds": elapsed,
        "cpu_percent": 100 * cpu / elapsed,
        **lateness.numbers(),
        "late_frames": after.late_frames - before.late_frames,
        "underruns": after.playout_underruns - before.playout_underruns,
        "frames_sent": after.frames_sent - before.frames_sent,
        "played_ms": after.played_ms - before.played_ms,
    }


def _report(event: str, **details: float) -> None:
    print(json.dumps({"t": time.monotonic(), "event": event, **details}), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
