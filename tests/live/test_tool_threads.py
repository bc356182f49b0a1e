"""Check the threads of blocking tools."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from getstream.plugins.gemini.live._tools.threads import MOST_THREADS, ToolThreads


async def test_as_many_run_at_a_time_as_there_are_threads() -> None:
    barrier = threading.Barrier(MOST_THREADS)
    with closing(ToolThreads()) as threads:
        assert await threads.run(lambda: 1) == 1  # one thread is idle
        meeting = [threads.run(barrier.wait, 10) for _ in range(MOST_THREADS)]
        assert sorted(await asyncio.gather(*meeting)) == [*range(MOST_THREADS)]


async def test_there_are_no_more_threads_than_that() -> None:
    release, running = threading.Event(), threading.Semaphore(0)
    with closing(ToolThreads()) as threads:

        def block() -> str:
            running.release()
            release.wait(10)
            return threading.current_thread().name

        calls = [asyncio.ensure_future(threads.run(block)) for _ in range(3 * MOST_THREADS)]
        await asyncio.sleep(0)
        for _ in range(MOST_THREADS):
            assert await asyncio.to_thread(running.acquire, timeout=10)
        release.set()
        assert len(set(await asyncio.gather(*calls))) == MOST_THREADS


async def test_what_is_raised_and_what_is_cancelled() -> None:
    release, began = threading.Event(), threading.Event()

    def fail() -> None:
        raise KeyError("x")

    def block() -> None:
        began.set()
        release.wait(10)

    with closing(ToolThreads()) as threads:
        with pytest.raises(KeyError):
            await threads.run(fail)
        call = asyncio.ensure_future(threads.run(block))
        await asyncio.to_thread(began.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        release.set()  # what it returns is forgotten
        assert await threads.run(lambda: 2) == 2
    threads.close()


STUCK = """
import asyncio, threading
from getstream.plugins.gemini.live._tools.threads import ToolThreads

async def main():
    threads = ToolThreads()
    began = threading.Event()
    call = asyncio.ensure_future(threads.run(lambda: (began.set(), threading.Event().wait())))
    await asyncio.to_thread(began.wait, 10)
    call.cancel()
    threads.close()

asyncio.run(main())
print("over")
"""


def test_a_function_that_never_returns_does_not_keep_the_program_alive() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "over\n"
