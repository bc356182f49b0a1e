"""Measure the cost of speech detection through Python; the accuracy of each is checked first.

`vad_accuracy.py` in this folder prints the whole accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import cycle

import numpy as np
import pytest
from measuring import race
from pytest_benchmark.fixture import BenchmarkFixture
from report import Report
from vad_accuracy import Contender, Result, Source, earshot, measure, ours, silero, webrtc
from vad_sets import LabelledSet, recorded_set

OURS = "Vad.probability"
SILERO = "Silero 6 on onnxruntime"
# A whole number of pushes of each contender: 160 ms.
PIECE = 2560

# The least area under the curve on the small set: below it, a contender is not set up right.
SOURCES: dict[Source, float] = {ours: 0.98, silero: 0.98, earshot: 0.9, webrtc: 0.7}


@cache
def small_set() -> LabelledSet:
    """Return recorded speech, clean and in white noise and hum, and every computed sound."""
    whole = recorded_set()
    whole.noise = {name: whole.noise[name] for name in ("white", "hum")}
    return whole


@cache
def installed(source: Source) -> Contender:
    """Return the source's first installed contender, and check that it detects speech."""
    try:
        contender = next(iter(source()))
    except ImportError as error:
        pytest.skip(f"{source.__name__}: {error}")
    auc = accuracy(contender).total().auc()
    assert auc >= SOURCES[source], f"{contender.name}: AUC {auc:.3f}"
    return contender


@cache
def accuracy(contender: Contender) -> Result:
    return measure(contender, small_set())


def listening(contender: Contender) -> Callable[[], None]:
    """Return a function that processes the next 160 ms of speech in noise at each call."""
    pcm = small_set().mixed("speech -20 dBFS", "white", 20)
    pcm = pcm[: len(pcm) // PIECE * PIECE]
    detector = contender.make()
    pieces = cycle(
        [
            [piece[k : k + contender.hop].copy() for k in range(0, PIECE, contender.hop)]
            for piece in np.split(pcm, len(pcm) // PIECE)
        ]
    )

    def listen() -> None:
        for frame in next(pieces):
            detector(frame)

    return listen


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
@pytest.mark.benchmark(group="vad, 160 ms of sound")
def test_listening(benchmark: BenchmarkFixture, source: Source) -> None:
    benchmark(listening(installed(source)))


def test_beside_others(report: Report) -> None:
    contenders = []
    for source in SOURCES:
        try:
            contenders.append(installed(source))
        except pytest.skip.Exception as skipped:
            report.note(str(skipped))
    # One call per chunk of the clip: each round is the whole clip for each.
    calls = {contender.name: listening(contender) for contender in contenders}
    times = race(calls, OURS, rounds=15, inner=50)
    report.path("Voice activity detection: 160 ms of speech in noise at 20 dB", OURS, times)
    if SILERO in times:
        assert times[SILERO].ratio >= 4.0
        best = {c.name: accuracy(c).total() for c in contenders}
        assert best[OURS].auc() >= best[SILERO].auc() - 0.003
        assert np.median(best[OURS].onset) <= np.median(best[SILERO].onset)


def test_sounds_that_are_not_speech() -> None:
    for name, false_alarms in accuracy(installed(ours)).nonspeech.items():
        assert false_alarms == 0.0, name
