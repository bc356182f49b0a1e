"""Sample how late the running event loop is."""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["LoopLag"]

STEP_S = 0.05
"""Seconds between two samples: 400 in a step of 20 s, enough for a 99th percentile."""


class LoopLag:
    """Samples the lateness of timers while the block runs, and gives the samples out."""

    def __init__(self) -> None:
        self._samples_ms: list[float] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> LoopLag:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    def take_ms(self) -> list[float]:
        """Return the samples since the last time this was called, in milliseconds."""
        samples, self._samples_ms = self._samples_ms, []
        return samples

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + STEP_S, loop.time())
            await asyncio.sleep(due - loop.time())
            self._samples_ms.append(round((loop.time() - due) * 1000, 2))
