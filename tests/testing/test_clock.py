"""The event loop with a virtual clock."""

from __future__ import annotations

import asyncio
import time

import pytest
from getstream.plugins.gemini.testing.clock import VirtualTimeLoop, run_virtual


def test_hours_pass_at_once() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert run_virtual(main()) == 3600
    assert time.monotonic() - began < 60


def test_who_sleeps_until_a_time_wakes_no_earlier() -> None:
    """A sum of times that is a rounding short of the timer would spin for ever."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for step in range(1, 2000):
            due = step * 0.02 + step * 0.1 / 3
            woken = asyncio.Event()
            loop.call_at(due, woken.set)
            await woken.wait()
            assert loop.time() >= due

    run_virtual(main())


def test_a_loop_that_was_held_up() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        times: list[float] = []
        loop.call_later(1.0, lambda: times.append(loop.time()))
        loop.advance(5.0)
        await asyncio.sleep(0.1)
        return [*times, loop.time()]

    assert run_virtual(main()) == [5.0, 5.1]


def test_time_does_not_run_backwards() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        with pytest.raises(ValueError, match="backwards"):
            loop.advance(-1)

    run_virtual(main())


def test_what_is_left_behind_is_an_error() -> None:
    async def main() -> None:
        asyncio.get_running_loop().create_task(asyncio.sleep(10))

    with pytest.raises(RuntimeError, match="left behind"):
        run_virtual(main())
