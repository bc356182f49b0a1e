"""Run blocking functions on a few threads of their own, which nothing has to wait for.

Not the event loop's default executor: tools that hang there would take its threads from everything
else. Not a `ThreadPoolExecutor` either: the interpreter waits for its threads when it exits, and a
tool that never returns would keep the program alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["ToolThreads"]

MOST_THREADS = 8
"""Threads, and so blocking functions that run at a time; they wait for the network, and not for the
processor."""


class _Job(NamedTuple):
    call: Callable[[], Any]
    done: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class ToolThreads:
    """A bounded number of daemon threads, each started when it is first needed."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._waiting = 0  # jobs that no thread has taken
        self._idle = 0
        self._lock = threading.Lock()
        self._is_closed = False

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function on a thread, with the context variables of the caller.

        A caller that is cancelled goes on at once; a function that has begun runs to its end, and
        what it returns is forgotten.
        """
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        done: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            self._waiting += 1
            self._jobs.put(_Job(lambda: context.run(function, *args, **kwargs), done, loop))
            if (
                self._waiting > self._idle
                and len(self._threads) < MOST_THREADS
                and not self._is_closed
            ):
                number = len(self._threads)
                thread = threading.Thread(
                    target=self._work, name=f"gemini-tool-{number}", daemon=True
                )
                self._threads.append(thread)
                thread.start()
        return await done

    def close(self) -> None:
        """End the threads that wait for work; those that are at it end after it. Idempotent."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        for _ in self._threads:
            self._jobs.put(None)

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            job = self._jobs.get()
            with self._lock:
                self._idle -= 1
                self._waiting -= 0 if job is None else 1
            if job is None:
                return
            if job.done.cancelled():  # before it has begun
                continue
            result, error = None, None
            try:
                result = job.call()
            except BaseException as raised:  # it belongs to whoever has called
                error = raised
            # Where the event loop is closed, so is whoever has called.
            with contextlib.suppress(RuntimeError):
                job.loop.call_soon_threadsafe(_settle, job.done, result, error)


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if isinstance(error, StopIteration):  # which a future does not take
        error = RuntimeError("the function raised StopIteration")
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)
