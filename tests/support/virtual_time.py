"""Run coroutines on an event loop whose clock jumps to the next timer whenever it would wait.

So hours pass in milliseconds and nothing depends on the speed of the machine. Only for code that
does no I/O: what waits for a socket would never be woken.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

MOST_IDLE_S = 7 * 24 * 3600.0
"""Virtual seconds after which a test is taken to wait for what never comes."""


class _NoWaiting(selectors.SelectSelector):
    """Selects without waiting, and notes for how long it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("Nothing is left that could happen: the test waits for ever")
        self.waited_s += max(0.0, timeout)
        if self.waited_s > MOST_IDLE_S:
            raise RuntimeError("The test has waited for a week")
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, which begins at 1,000 s."""

    def __init__(self) -> None:
        self._no_waiting = _NoWaiting()
        super().__init__(self._no_waiting)

    def time(self) -> float:
        return 1000.0 + self._no_waiting.waited_s

    def hold_up(self, seconds: float) -> None:
        """Let time pass as if something had blocked the loop for so long."""
        self._no_waiting.waited_s += seconds


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, and everything that it has left behind."""
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
