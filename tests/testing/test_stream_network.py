"""`Network`: what a link does to packets, on a virtual clock; then between real SDKs."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

import pytest
from getstream.plugins.gemini.testing import Network
from getstream.plugins.gemini.testing._stream.network import Link, LinkState
from getstream.plugins.gemini.testing.clock import run_virtual

FRAME_S = 0.02


@dataclass
class Run:
    """Return the number of each packet that left a link, and how late it was, in ms."""

    numbers: list[int] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    at_ms: list[float] = field(default_factory=list)
    state: LinkState = field(default_factory=LinkState)


def send(network: Network, count: int = 500, key: str = "") -> Run:
    """Send a packet each 20 ms from time 0 on, and wait until everything has passed."""

    async def main() -> Run:
        loop = asyncio.get_running_loop()
        run = Run()

        def receive(datagram: bytes) -> None:
            number = int.from_bytes(datagram, "big")
            run.numbers.append(number)
            run.at_ms.append(round(loop.time() * 1000, 6))
            run.late_ms.append(round((loop.time() - number * FRAME_S) * 1000, 6))

        link = Link(receive)
        link.set(network, key)
        for number in range(count):
            await asyncio.sleep(number * FRAME_S - loop.time())
            link.send(number.to_bytes(2, "big"))
        while link.state.waiting:
            await asyncio.sleep(FRAME_S)
        run.state = link.state
        return run

    return run_virtual(main())


def test_without_conditions_everything_passes_at_once() -> None:
    run = send(Network())
    assert run.numbers == list(range(500))
    assert set(run.late_ms) == {0.0}
    assert run.state == LinkState(packets=500)


def test_jitter_is_uniform_and_keeps_the_order() -> None:
    run = send(Network(delay_ms=40, jitter_ms=15), 2000)
    assert run.numbers == list(range(2000))
    # 15 ms are less than a frame: no packet waits for another, and the delays are those drawn.
    assert min(run.late_ms) == pytest.approx(40, abs=0.1)
    assert max(run.late_ms) == pytest.approx(55, abs=0.1)
    assert sum(run.late_ms) / 2000 == pytest.approx(47.5, abs=0.5)


def test_jitter_of_several_frames_makes_clumps_and_never_more_delay() -> None:
    run = send(Network(jitter_ms=100), 2000)
    assert run.numbers == list(range(2000))
    assert 0 <= min(run.late_ms) < 40
    assert 95 < max(run.late_ms) <= 100
    gaps = [b - a for a, b in zip(run.at_ms, run.at_ms[1:], strict=False)]
    assert gaps.count(0) > 500  # a clump comes at one moment
    assert max(gaps) > 60


def test_a_share_of_packets_comes_behind_its_successors() -> None:
    run = send(Network(reorder=0.1), 2000)
    assert sorted(run.numbers) == list(range(2000))
    behind = [late for late in run.late_ms if late]
    assert set(behind) == {30.0}
    assert len(behind) == run.state.reordered == pytest.approx(200, abs=40)
    overtaken = sum(b < a for a, b in zip(run.numbers, run.numbers[1:], strict=False))
    # One that follows another is behind only once.
    assert len(behind) * 0.8 < overtaken <= len(behind)


def test_a_stall_holds_back_and_then_everything_comes_at_once() -> None:
    run = send(Network(burst_ms=300), 50)
    assert run.numbers == list(range(50))
    assert run.at_ms[:16] == [300.0] * 16  # packets 0 to 15, of 0 to 300 ms
    assert run.late_ms[16:] == [0.0] * 34


def test_stalls_come_again() -> None:
    run = send(Network(burst_ms=110, burst_every_ms=1000), 500)
    assert run.numbers == list(range(500))
    late = [number for number, ms in zip(run.numbers, run.late_ms, strict=True) if ms > 0]
    assert late == [50 * stall + packet for stall in range(10) for packet in range(6)]
    assert max(run.late_ms) == pytest.approx(110)


def test_losses_depend_on_the_seed_alone() -> None:
    plain = send(Network(loss=0.3, seed=7))
    assert 100 < plain.state.lost == 500 - len(plain.numbers) < 200
    with_jitter = send(Network(loss=0.3, jitter_ms=90, delay_ms=50, burst_ms=200, seed=7))
    assert with_jitter.numbers == plain.numbers
    assert send(Network(loss=0.3, seed=8)).numbers != plain.numbers
    assert send(Network(loss=0.3, seed=7), key="of another link").numbers != plain.numbers
    assert send(Network(loss=1.0)).numbers == []


def test_duplicates_follow_each_other() -> None:
    run = send(Network(duplicate=0.2, jitter_ms=10))
    twice = [a for a, b in zip(run.numbers, run.numbers[1:], strict=False) if a == b]
    assert len(twice) == run.state.duplicated == len(run.numbers) - 500
    assert 60 < len(twice) < 140
    assert list(dict.fromkeys(run.numbers)) == list(range(500))


def test_all_at_once_is_the_same_each_time() -> None:
    network = Network(
        loss=0.05, delay_ms=20, jitter_ms=60, reorder=0.05, duplicate=0.05,
        burst_ms=200, burst_every_ms=2000, seed=3,
    )  # fmt: skip
    first, second = send(network), send(network)
    assert first == second
    assert set(first.numbers) | {*range(500)} == {*range(500)}
    assert first.state.packets == 500
    assert len(first.numbers) == 500 - first.state.lost + first.state.duplicated


def test_what_is_held_back_is_bounded() -> None:
    async def main() -> LinkState:
        link = Link(lambda datagram: None)
        link.set(Network(delay_ms=60_000))
        for _ in range(5000):
            link.send(b"x")
        state = link.state
        link.close()
        assert link.state.waiting == 0
        return state

    assert run_virtual(main()) == LinkState(packets=5000, overflowed=904, waiting=4096)


def test_a_change_lets_pass_what_was_held_back_and_in_order() -> None:
    async def main() -> None:
        passed: list[bytes] = []
        link = Link(passed.append)
        link.set(Network(delay_ms=500))
        link.send(b"1")
        link.send(b"2")
        assert passed == []
        link.set(None)
        assert passed == [b"1", b"2"]
        link.send(b"3")
        assert passed == [b"1", b"2", b"3"]
        await asyncio.sleep(1)
        assert passed == [b"1", b"2", b"3"]

    run_virtual(main())


def test_a_receiver_that_fails_stops_nothing() -> None:
    passed: list[bytes] = []

    def receive(datagram: bytes) -> None:
        if datagram == b"bad":
            raise ValueError("cannot be read")
        passed.append(datagram)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        link = Link(receive)
        link.set(Network(delay_ms=10))
        for datagram in (b"bad", b"good"):
            link.send(datagram)
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)

    run_virtual(main())
    assert passed == [b"good"]


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"loss": 1.5}, "loss is 1.5; it is a share from 0 to 1"),
        ({"reorder": -0.1}, "reorder is -0.1"),
        ({"duplicate": math.nan}, "duplicate is nan"),
        ({"jitter_ms": -1}, "jitter_ms is -1; it is from 0 to 60000 ms"),
        ({"delay_ms": math.inf}, "delay_ms is inf"),
        ({"burst_ms": math.nan}, "burst_ms is nan"),
        ({"burst_ms": 500, "burst_every_ms": 500}, "between two stalls something must pass"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(
    conditions: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Network(**conditions)  # type: ignore[arg-type]
