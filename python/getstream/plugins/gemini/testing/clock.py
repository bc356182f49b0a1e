"""An event loop whose clock turns by itself: minutes of asyncio in milliseconds, the same each run.

    def test_ten_minutes():
        run_virtual(ten_minutes_of_talk())

`asyncio.sleep`, timeouts and timers take no real time: whenever nothing is ready to run, the clock
jumps to the next timer. Sockets and threads have no timer to jump to: where both ends of a socket
live on this loop, `grace` gives the kernel a moment before each jump.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualTimeLoop", "run_virtual"]

_T = TypeVar("_T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that starts at time 0 and never waits for a timer.

    Call `advance` to let time pass while a callback runs: that is what a loop that was held up
    looks like to everybody else.

    Args:
        grace: real seconds to wait for sockets and threads before the clock jumps.
    """

    def __init__(self, grace: float = 0.0) -> None:
        self.grace = grace
        self._virtual_now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self._virtual_now

    def advance(self, seconds: float) -> None:
        """Let time pass without running anything."""
        if seconds < 0:
            raise ValueError(f"time does not run backwards ({seconds} s)")
        self._virtual_now += seconds

    def jump(self, seconds: float) -> None:
        """Let the time pass until the next timer, and no shorter.

        The sum of the time and of a difference of times may fall short of the timer by a rounding,
        and who is woken a moment early looks at the clock and goes back to sleep, for ever.
        """
        self.advance(seconds)
        if self._scheduled:  # type: ignore[attr-defined]  # of asyncio.BaseEventLoop
            due = self._scheduled[0].when()  # type: ignore[attr-defined]
            if 0 < due - self._virtual_now < 1e-6:
                self._virtual_now = due


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(min(self._loop.grace, timeout or 0))
        if ready or timeout is None:
            # Nothing to jump to: only a thread or a socket can go on from here.
            return ready or super().select(None)
        if timeout > 0:
            self._loop.jump(timeout)
        return ready


def run_virtual(main: Coroutine[Any, Any, _T], *, grace: float = 0.0) -> _T:
    """Run a coroutine to its end on a `VirtualTimeLoop`, as `asyncio.run` does on a real one.

    Args:
        main: what to run.
        grace: see `VirtualTimeLoop`.

    Raises:
        RuntimeError: the coroutine left tasks behind that had not ended. They are cancelled.
    """
    loop = VirtualTimeLoop(grace)
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(main)
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        if left:
            names = ", ".join(sorted(repr(task.get_coro()) for task in left))
            raise RuntimeError(f"tasks were left behind: {names}")
        return result
    finally:
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()
