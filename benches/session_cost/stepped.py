"""Run a session faster than real time, on an event loop whose clock is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any


class SteppedLoop(asyncio.SelectorEventLoop):
    """Event loop whose clock can be stopped, and moved by hand."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._stopped_at: float | None = None
        super().__init__()

    def time(self) -> float:
        """Return the time in seconds; it never goes back."""
        return super().time() + self._offset if self._stopped_at is None else self._stopped_at

    def step(self, seconds: float) -> None:
        """Move the stopped clock."""
        assert self._stopped_at is not None
        self._stopped_at += seconds

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the clock inside the block; it goes on from where it is then."""
        self._stopped_at = self.time()
        try:
            yield
        finally:
            self._offset = self._stopped_at - super().time()
            self._stopped_at = None


def run_stepped(main: Coroutine[Any, Any, None]) -> None:
    """Run a program on a `SteppedLoop`, as `asyncio.run` does on an ordinary loop."""
    loop = SteppedLoop()
    try:
        loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
