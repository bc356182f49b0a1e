"""Measure, inside an unchanged program, for how long each callback holds the event loop.

The file is on the program's PYTHONPATH. At exit it writes to the file in LOOP_HOLDS a JSON line for
each callback above a millisecond: its end (`time.monotonic()`), its duration by the wall and by the
thread's CPU clock, and the coroutine or function that ran.
"""

from __future__ import annotations

import asyncio.events
import atexit
import json
import os
import time

FLOOR_S = 0.001


def _install(path: str) -> None:
    holds: list[dict[str, object]] = []
    run = asyncio.events.Handle._run

    def timed_run(self: asyncio.events.Handle) -> None:
        wall, cpu = time.monotonic(), time.thread_time()
        callback = self._callback
        run(self)
        end = time.monotonic()
        if end - wall > FLOOR_S:
            used = time.thread_time() - cpu
            holds.append({"t": end, "wall_ms": (end - wall) * 1e3, "cpu_ms": used * 1e3,
                          "what": _name(callback)})  # fmt: skip

    def write() -> None:
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(hold) + "\n" for hold in holds)

    asyncio.events.Handle._run = timed_run  # type: ignore[method-assign]
    atexit.register(write)


def _name(callback: object) -> str:
    owner = getattr(callback, "__self__", None)
    if owner is not None and hasattr(owner, "get_coro"):
        coroutine = owner.get_coro()
        code = getattr(coroutine, "cr_code", None)
        return f"{code.co_filename if code else ''}:{getattr(coroutine, '__qualname__', coroutine)}"
    code = getattr(getattr(callback, "__func__", callback), "__code__", None)
    return f"{code.co_filename if code else ''}:{getattr(callback, '__qualname__', callback)}"


if path := os.environ.get("LOOP_HOLDS"):
    _install(path)
