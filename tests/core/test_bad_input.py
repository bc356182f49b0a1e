"""Tests of bad input: each class gives a defined result or a typed error.

Unusable dtypes, shapes and options are in the tests of each class; these cases are common to all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.audio import (
    AudioError,
    Capture,
    EchoReference,
    InputStream,
    Mixer,
    Playback,
    Resampler,
    Vad,
    encode_base64,
)


@dataclass(frozen=True)
class Entry:
    """Entry of outside data into the core: `push(pcm)` on a new object, and its result."""

    name: str
    new: Callable[[], Callable[[Any], int]]
    floats: bool = False
    stereo: bool = False


def _resampler() -> Callable[[Any], int]:
    resampler = Resampler(48000, 16000)
    return lambda pcm: len(resampler.push(pcm))


def _input_stream() -> Callable[[Any], int]:
    stream = InputStream(16000)
    return lambda pcm: len(stream.push(pcm, 48000)[0])


def _guarded() -> Callable[[Any], int]:
    reference = EchoReference()
    stream = InputStream(16000, echo=reference)
    reference.push(np.full(96000, 9000, np.int16), 0.0)
    return lambda pcm: len(stream.push(pcm, 48000, at=1.0)[0])


def _reference() -> Callable[[Any], int]:
    reference = EchoReference()

    def push(pcm: Any) -> int:
        reference.push(pcm, 1.0)
        return 0

    return push


def _vad() -> Callable[[Any], int]:
    vad = Vad(48000)

    def push(pcm: Any) -> int:
        vad.push(pcm)
        assert 0.0 <= vad.probability <= 1.0
        return 0

    return push


def _playback() -> Callable[[Any], int]:
    playback = Playback()
    return lambda pcm: playback.push(pcm, 1)


def _capture() -> Callable[[Any], int]:
    capture = Capture(16000)

    def taken() -> int:
        stats = capture.stats(1)
        return round(stats.pushed_ms * 16) if stats is not None else 0

    def push(pcm: Any) -> int:
        before = taken()
        capture.push(1, pcm, 48000, 1, 0.02)
        return taken() - before

    return push


def _base64() -> Callable[[Any], int]:
    return lambda pcm: len(encode_base64(pcm))


ENTRIES = [
    Entry("Resampler", _resampler, floats=True, stereo=True),
    Entry("InputStream", _input_stream, floats=True, stereo=True),
    Entry("InputStream, guarded", _guarded, floats=True, stereo=True),
    Entry("EchoReference", _reference),
    Entry("Vad", _vad),
    Entry("Playback", _playback),
    Entry("Capture", _capture, floats=True, stereo=True),
    Entry("encode_base64", _base64),
]
MINUTES = 3 * 60 * 48000

# Expected results of one sample, and of minutes of them, by class.
EXPECTED = {
    "Resampler": (1, MINUTES // 3),
    "InputStream": (1, MINUTES // 3),
    "InputStream, guarded": (1, MINUTES // 3),
    "EchoReference": (0, 0),
    "Vad": (0, 0),
    "Playback": (1, MINUTES),
    "Capture": (1, MINUTES // 3),
    "encode_base64": (4, -(-2 * MINUTES // 3) * 4),
}


@pytest.fixture(params=ENTRIES, ids=lambda entry: entry.name)
def entry(request: pytest.FixtureRequest) -> Entry:
    found: Entry = request.param
    return found


def test_no_sample_and_one_sample(entry: Entry) -> None:
    push = entry.new()
    for nothing in (b"", bytearray(), np.zeros(0, np.int16), np.zeros((1, 0), np.int16)):
        assert push(nothing) == 0
    assert push(np.array([1], np.int16)) == EXPECTED[entry.name][0]
    for _ in range(700):
        push(b"\1\0")


def test_minutes_in_one_call(entry: Entry) -> None:
    pcm = np.zeros(MINUTES, np.int16)
    pcm[::7] = 1000
    assert entry.new()(pcm) == EXPECTED[entry.name][1]


def test_half_a_sample(entry: Entry) -> None:
    push = entry.new()
    for odd in (b"\0", bytearray(3), memoryview(bytes(5))):
        with pytest.raises(AudioError, match="even number of bytes"):
            push(odd)
    assert push(b"\0\0") == EXPECTED[entry.name][0]


def test_floats_that_are_no_numbers(entry: Entry) -> None:
    push = entry.new()
    wild = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45], np.float32)
    if entry.floats:
        assert push(wild) == 2
    else:
        with pytest.raises(AudioError, match="float32"):
            push(wild)


def test_two_channels(entry: Entry) -> None:
    push = entry.new()
    if entry.stereo:
        assert push(np.zeros((2, 3), np.int16)) == 1
    else:
        with pytest.raises(AudioError, match="two channels"):
            push(np.zeros((2, 3), np.int16))


@pytest.mark.parametrize(
    "what",
    [
        np.zeros(3, np.int32),
        np.zeros(3, np.float64),
        np.zeros(3, ">i2"),
        np.zeros(3, object),
        np.zeros((3, 3), np.int16),
        np.zeros((1, 1, 3), np.int16),
        np.array(3, np.int16),
        [0, 0],
        "text",
        None,
        3,
    ],
    ids=repr,
)
def test_what_is_no_pcm(entry: Entry, what: object) -> None:
    with pytest.raises(AudioError):
        entry.new()(what)


@pytest.mark.parametrize("rate", [-1, 0, 7999, 96001, 2**31, 2**63])
@pytest.mark.parametrize(
    "make",
    [
        lambda rate: Resampler(rate, 16000),
        lambda rate: Resampler(16000, rate),
        InputStream,
        EchoReference,
        Vad,
        lambda rate: Playback(input_rate=rate),
        lambda rate: Playback(output_rate=rate),
        Mixer,
        Capture,
    ],
)
def test_rates_out_of_range(make: Callable[[int], object], rate: int) -> None:
    # A number that no integer of the machine holds is Python's own error.
    with pytest.raises((AudioError, OverflowError), match=f"{rate}|too large"):
        make(rate)


def test_use_after_flush() -> None:
    resampler = Resampler(48000, 16000)
    resampler.push(np.ones(960, np.int16))
    for _ in range(3):
        resampler.flush()
    assert len(resampler.push(np.ones(960, np.int16))) == 320
    playback = Playback()
    for _ in range(3):
        playback.push(np.ones(24000, np.int16), 1)
        playback.flush()
    assert playback.push(np.ones(5, np.int16), 1) == 0
    assert playback.push(np.ones(5, np.int16), 2) == 5


def test_an_array_that_changes_its_memory_is_not_followed() -> None:
    pcm = np.full(960, 9000, np.int16)
    playback = Playback(24000, 24000, prefill_ms=0)
    playback.push(pcm, 1)
    pcm[:] = 0
    assert playback.pop_frame()[300] == 9000
