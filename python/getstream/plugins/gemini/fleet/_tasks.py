"""Own tasks: each is started here, ends with its owner, and its failure is logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..errors import GeminiError

logger = logging.getLogger("getstream.plugins.gemini")

T = TypeVar("T")

CANCEL_S = 1.0
"""Seconds that a task has to end after it was cancelled, until it is left to itself."""


class NoAnswerError(GeminiError):
    """Something that was asked of another part failed, or was not answered in time."""


class OwnedTasks:
    """Starts tasks, and ends all of them with `close`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start a task. After `close` it is cancelled before its first step."""
        task = self._create(work, name)
        task.add_done_callback(_log_failure)
        return task

    async def bounded(self, work: Coroutine[Any, Any, T], timeout_s: float, what: str) -> T:
        """Return what some work returns, if it does in time.

        The work is cancelled if it takes too long, or if the caller is cancelled. The caller does
        not wait for it longer than that even if it ignores its cancellation.

        Raises:
            NoAnswerError: it failed, was cancelled, or did not end in `timeout_s`.
        """
        task = self._create(work, what)
        try:
            # Not by `asyncio.wait_for`, which waits for as long as the work ignores its end.
            await asyncio.wait([task], timeout=timeout_s)
            if not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=CANCEL_S)
                if task.done() and not task.cancelled():
                    task.exception()  # retrieved: it comes too late to be of interest
                raise NoAnswerError(f"{what}: no answer in {timeout_s:g} s")
        finally:
            task.cancel()
        if task.cancelled():
            raise NoAnswerError(f"{what}: it was cancelled")
        error = task.exception()
        if error is not None:
            raise NoAnswerError(f"{what}: {type(error).__name__}: {error}") from error
        return task.result()

    async def close(self, timeout_s: float) -> None:
        """Cancel all tasks, and wait for their end, but for `timeout_s` at most."""
        self._closed = True
        mine = asyncio.current_task()
        tasks = {task for task in self._tasks if task is not mine}
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout_s)
            for task in late:
                logger.error("A task of the fleet does not end although cancelled: %r", task)

    def _create(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._closed:
            task.cancel()
        return task


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("Unexpected: %s has failed", task.get_name(), exc_info=task.exception())
