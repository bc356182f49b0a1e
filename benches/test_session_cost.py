"""Check the comparison of contenders window by window on known data."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from session_cost.stepped import SteppedLoop
from session_cost.tables import BARE, net, verdict
from session_cost.windows import Ratio, cpu_in_windows
from session_cost.wire import race

DRIFT = 1 + 0.5 * np.sin(np.linspace(0, 7, 12))
"""Speed of a machine over twelve windows: it halves and recovers."""


def test_a_drift_that_all_see_is_not_in_the_ratio() -> None:
    ratio = Ratio.of(list(1.2 * DRIFT), list(DRIFT))
    assert ratio.median == pytest.approx(1.2)
    assert ratio.most - ratio.least < 1e-9
    assert str(ratio) == "1.20 (1.20..1.20)"


def test_the_same_windows_are_needed() -> None:
    with pytest.raises(ValueError, match="11 windows beside 12"):
        Ratio.of(list(DRIFT[1:]), list(DRIFT))


@pytest.mark.parametrize(
    ("control", "busy", "told"),
    [
        (np.ones(12) + 0.01, 0.5, ""),
        (np.ones(12) + 0.01, 0.9, "too busy"),
        (np.ones(12) + 0.05, 0.5, "too far from 1"),
        (np.tile([0.8, 1.2], 6), 0.5, "too far from 1"),
        (np.array([0.7, *np.ones(11)]), 0.5, ""),  # one window of twelve
    ],
)
def test_what_cannot_be_trusted_says_so(control: np.ndarray, busy: float, told: str) -> None:
    text = verdict(Ratio.of(list(control), list(np.ones(12))), busy, "1 s")
    assert ("Not to be trusted" in text) == bool(told)
    assert told in text


def test_the_detector_is_taken_off_in_its_own_window() -> None:
    times = {
        "turn": list(2 * DRIFT),
        "floor": list(12 * DRIFT),
        "audio": list(14 * DRIFT),
        "detected": list(19 * DRIFT),
        "ours": list(22 * DRIFT),
    }
    found = net(times)
    assert found["floor"] == pytest.approx(10 * DRIFT)
    assert found[BARE] == pytest.approx(15 * DRIFT)


def test_the_cpu_of_each_window_is_its_own() -> None:
    async def work() -> list[float]:
        start = time.monotonic() + 0.05
        windows = asyncio.create_task(cpu_in_windows(start, 3, 0.1))
        await asyncio.sleep(start + 0.1 - time.monotonic())
        until = time.process_time() + 0.03
        while time.process_time() < until:  # noqa: ASYNC110  (this is the work)
            await asyncio.sleep(0)
        return await windows

    shares = asyncio.run(work())
    assert len(shares) == 3
    # However late this process ran: 30 ms of work, of which none before the second window.
    assert max(shares[1:]) > 2 * shares[0]


def test_the_stepped_clock_stands_moves_and_never_goes_back() -> None:
    loop = SteppedLoop()

    async def work() -> None:
        before = loop.time()
        with loop.stopped():
            stood = loop.time()
            await asyncio.sleep(0)
            assert loop.time() == stood >= before
            timer = loop.create_future()
            loop.call_at(stood + 0.5, timer.set_result, None)
            for _ in range(25):
                assert not timer.done()
                loop.step(0.02)
                await asyncio.sleep(0)
            await asyncio.wait_for(timer, 5)
            stood = loop.time()
        assert stood <= loop.time()
        await asyncio.sleep(0.001)

    try:
        loop.run_until_complete(work())
    finally:
        loop.close()


def test_every_path_takes_part_in_every_window() -> None:
    counts = {"floor": 0, "ours": 0, "sdk": 0}
    order: list[str] = []

    def path(name: str):  # type: ignore[no-untyped-def]
        async def work() -> None:
            counts[name] += 1
            order.append(name)

        return work

    async def settle(_name: str) -> None:
        pass

    works = {name: path(name) for name in counts}
    found = asyncio.run(race(works, settle, windows=4, rounds=5, per_block=10))
    assert {name: len(times) for name, times in found.items()} == dict.fromkeys(counts, 4)
    assert set(counts.values()) == {4 * 5 + 1}
    firsts = {order[at] for at in range(0, len(order), 3)}
    assert firsts == set(counts)
