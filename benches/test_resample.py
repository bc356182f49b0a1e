"""Measure the resampling of a call's 20 ms frames: speed, quality and delay."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest
from contenders import OURS, REFERENCE, RESAMPLERS, Contender
from measuring import Quality, Time, measure, race
from pytest_benchmark.fixture import BenchmarkFixture
from report import Report

PAIRS = [(48000, 16000), (24000, 48000), (44100, 48000)]

# Least quality of a contender: a 1 kHz tone is still that tone.
LEAST_SINAD_1K = 20.0

# The design's numbers for this package's default preset: worst SINAD, rejection, latency.
PROMISED = {
    (48000, 16000): (96.5, -100.0, 2.1),
    (24000, 48000): (95.0, -98.0, 1.4),
    (44100, 48000): (93.9, -97.0, 0.8),
}


@cache
def quality_of(contender: Contender, pair: tuple[int, int]) -> Quality:
    quality = measure(contender.make, *pair)
    assert quality.sinad_1k >= LEAST_SINAD_1K, f"{contender.name} does not resample: {quality}"
    return quality


@cache
def times_of(pair: tuple[int, int]) -> dict[str, Time]:
    """Time all contenders in one run; their quality has been checked."""
    noise = np.random.default_rng(3).normal(scale=8000, size=pair[0] // 50)
    frame = np.clip(noise, -32768, 32767).astype(np.int16)
    calls = {}
    for contender in filter(lambda each: each.installed, RESAMPLERS):
        quality_of(contender, pair)
        calls[contender.name] = partial(contender.make(*pair), frame)
    return race(calls, REFERENCE)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
@pytest.mark.parametrize("contender", RESAMPLERS, ids=lambda contender: contender.name)
def test_resample(
    contender: Contender, pair: tuple[int, int], benchmark: BenchmarkFixture, report: Report
) -> None:
    benchmark.group = f"resample {pair[0]}-{pair[1]}, one frame of 20 ms"
    if not contender.installed:
        pytest.skip(f"{contender.package} is not installed")
    quality = quality_of(contender, pair)
    if contender.name == OURS:
        sinad, rejection, latency = PROMISED[pair]
        assert quality.sinad >= sinad
        assert quality.rejection <= rejection
        assert quality.latency_ms <= latency
    standing = times_of(pair)[contender.name]
    report.resampler(pair, contender, quality, standing)
    push = contender.make(*pair)
    frame = np.zeros(pair[0] // 50, np.int16)
    assert len(benchmark(push, frame)) >= 0


@pytest.mark.parametrize("pair", PAIRS[:2], ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_this_package_costs_at_most_two_thirds_of_soxr(pair: tuple[int, int]) -> None:
    times = times_of(pair)
    if REFERENCE not in times:
        pytest.skip("soxr is not installed")
    assert times[OURS].ratio <= 0.66
