"""Measure the playback store: cost of its calls at any depth, and quality of its fades."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from getstream.plugins.gemini.audio import EchoReference, Playback
from measuring import race, tone
from pytest_benchmark.fixture import BenchmarkFixture
from report import Report

# The tone that is cut.
HZ, LEVEL = 443.0, 0.5


def speech(seconds: float) -> np.ndarray:
    return (tone(24000, HZ, seconds) * LEVEL).astype(np.int16)


def largest_step(frames: list[np.ndarray]) -> int:
    return int(np.abs(np.diff(np.concatenate(frames).astype(int), prepend=0, append=0)).max())


def stores() -> dict[str, Callable[[], object]]:
    second = speech(1.0)
    idle, playing, ducked, deep = Playback(), Playback(), Playback(), Playback()
    plain, reference = Playback(), EchoReference(48000)
    echoed = Playback(echo=reference)
    now, by_hand = itertools.count(), itertools.count()
    for store in (playing, ducked, deep, plain, echoed):
        store.push(np.tile(second, 600), 1)
    deep.push(np.tile(second, 1100), 1)
    ducked.duck(-15.0)
    pushing = Playback()
    part = second[:2400]

    def push() -> None:
        pushing.push(part, 1)
        if pushing.level_ms > 1000:
            pushing.flush_turn(1)

    def pop_and_tell() -> None:
        # The work of `pop` in one call.
        beside.push(plain.pop_frame(), 0.02 * next(by_hand))
        plain.audible  # noqa: B018
        plain.turn_stats(1)

    beside = EchoReference(48000)
    return {
        "pop with the echo reference": lambda: echoed.pop(0.02 * next(now)),
        "the same in four calls": pop_and_tell,
        "pop, idle": idle.pop_frame,
        "pop, playing": playing.pop_frame,
        "pop, ducked": ducked.pop_frame,
        "pop, 28 minutes deep": deep.pop_frame,
        "push of 100 ms": push,
    }


def test_calls(report: Report, benchmark: BenchmarkFixture) -> None:
    calls = stores()
    times = race(calls, "pop, playing", rounds=40)
    report.path("Playback: one call", "pop, playing", times)
    # The depth costs nothing.
    assert times["pop, 28 minutes deep"].ratio < 1.3
    benchmark(calls["pop, playing"])


EDGES = {
    "pause": lambda store: store.pause(),
    "flush": lambda store: store.flush(),
    "underrun": lambda store: None,
    "duck": lambda store: store.duck(-15.0),
}


@pytest.mark.parametrize("edge", EDGES)
def test_no_edge_makes_a_step(edge: str, report: Report) -> None:
    store = Playback()
    store.push(speech(0.5), 1)
    frames = [store.pop_frame() for _ in range(7)]
    EDGES[edge](store)
    frames += [store.pop_frame() for _ in range(30)]
    slope = 2 * np.pi * HZ / 48000 * LEVEL * 32767 * 10 ** (-1 / 20)
    step = largest_step(frames)
    report.edge(edge, step, slope)
    # A fade of 5 ms adds at most its own slope to the tone's.
    assert step <= slope + 16384 * np.pi / 2 / 240 + 20
