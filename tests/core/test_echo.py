"""Tests of `EchoReference` and the echo suppressor of `InputStream` through Python."""

from __future__ import annotations

import threading
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini import audio as gemini_audio
from getstream.plugins.gemini.audio import (
    AudioError,
    EchoReference,
    InputStream,
    Resampler,
    SpeechStarted,
)
from numpy.typing import NDArray

Int16 = NDArray[np.int16]
RATE, CALL_RATE = 16000, 48000


def recorded(name: str) -> Int16:
    """Read recorded speech at the rate of a call."""
    path = Path(gemini_audio.__file__).parent / "data" / f"{name}.wav"
    with wave.open(str(path), "rb") as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
    return Resampler(RATE, CALL_RATE).push(pcm)


@pytest.fixture(scope="module")
def assistant() -> Int16:
    return recorded("speech")


@pytest.fixture(scope="module")
def person() -> Int16:
    return recorded("question")


def echo_of(pcm: Int16, ms: int, db: float) -> Int16:
    """Return the echo of speech, with the noise of a microphone."""
    delay = CALL_RATE * ms // 1000
    late = np.concatenate([np.zeros(delay), pcm[: len(pcm) - delay]]) * 10 ** (db / 20)
    noise = np.random.default_rng(5).normal(0, 6, len(pcm))
    return np.rint(late + noise).astype(np.int16)


@dataclass
class Heard:
    wire: list[Int16] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    echo: list[bool] = field(default_factory=list)
    found: int | None = None


def call(
    stream: InputStream,
    reference: EchoReference | None,
    far: Int16,
    near: Int16,
    arrange: Callable[[Int16], tuple[Any, int]] = lambda pcm: (pcm, 1),
) -> Heard:
    """Run a call in frames of 20 ms, with a jitter of some milliseconds."""
    heard = Heard()
    late = np.random.default_rng(6).uniform(0, 0.01, (len(near) // 960, 2))
    for k in range(len(near) // 960):
        now = 7.0 + 0.02 * k
        if reference is not None:
            reference.push(far[960 * k : 960 * (k + 1)], now + late[k, 0] / 3)
        samples, channels = arrange(near[960 * k : 960 * (k + 1)])
        at = None if reference is None else now + 0.02 + late[k, 1]
        wire, events = stream.push(samples, CALL_RATE, channels, at)
        assert len(wire) == 320
        heard.wire.append(wire)
        heard.starts += [k for event in events if isinstance(event, SpeechStarted)]
        heard.echo.append(stream.echo)
        if heard.found is None and stream.echo_delay_ms is not None:
            heard.found = k
    return heard


def test_an_echo_is_found_and_is_no_speech(assistant: Int16) -> None:
    near = echo_of(assistant, 240, -15.0)
    plain = call(InputStream(), None, assistant, near)
    assert len(plain.starts) > 1
    reference = EchoReference()
    stream = InputStream(echo=reference)
    assert (stream.echo, stream.echo_delay_ms, stream.echo_level_db) == (False, None, None)
    heard = call(stream, reference, assistant, near)
    assert heard.found is not None
    # The speech begins after 0.1 s, its echo after 0.34 s.
    assert heard.found < 50
    assert stream.echo_delay_ms == pytest.approx(260, abs=20)
    assert stream.echo_level_db == pytest.approx(-15.0, abs=3.0)
    assert all(k <= heard.found for k in heard.starts)
    np.testing.assert_array_equal(heard.wire[: heard.found], plain.wire[: heard.found])
    loud = [k for k, wire in enumerate(heard.wire) if wire.std() > 60 and k > heard.found]
    assert len(loud) < 3
    assert sum(heard.echo[heard.found :]) > 200


def test_without_an_echo_nothing_changes(assistant: Int16, person: Int16) -> None:
    far = assistant[: len(person)]
    plain = call(InputStream(), None, far, person)
    reference = EchoReference()
    heard = call(InputStream(echo=reference), reference, far, person)
    assert (heard.found, heard.starts) == (None, plain.starts)
    np.testing.assert_array_equal(heard.wire, plain.wire)


def test_without_a_time_nothing_changes(assistant: Int16) -> None:
    near = echo_of(assistant, 100, -10.0)[: 4 * CALL_RATE]
    plain, stream = InputStream(), InputStream(echo=(reference := EchoReference()))
    for k in range(len(near) // 960):
        frame = slice(960 * k, 960 * (k + 1))
        reference.push(assistant[frame], 0.02 * k)
        # No reference, and no time.
        want, _ = plain.push(near[frame], CALL_RATE, at=0.02 * k)
        wire, _ = stream.push(near[frame], CALL_RATE)
        np.testing.assert_array_equal(wire, want)
    assert stream.echo_delay_ms is None


def test_a_person_is_heard_over_the_echo(assistant: Int16, person: Int16) -> None:
    near = echo_of(assistant, 200, -26.0)
    start = 3 * CALL_RATE
    near[start : start + len(person)] += person // 4
    reference = EchoReference()
    stream = InputStream(echo=reference)
    heard = call(stream, reference, assistant, near)
    assert heard.found is not None
    # The words begin 0.1 s into the recording.
    first = next(k for k in heard.starts if k > heard.found)
    assert 0.02 * first == pytest.approx(3.25, abs=0.2)
    assert np.mean(heard.echo[first : first + 100]) < 0.1


def test_every_layout(assistant: Int16) -> None:
    near = echo_of(assistant, 150, -12.0)[: 3 * CALL_RATE]
    layouts: list[Callable[[Int16], tuple[Any, int]]] = [
        lambda pcm: (pcm, 1),
        lambda pcm: (pcm.tobytes(), 1),
        lambda pcm: (np.repeat(pcm, 2), 2),
        lambda pcm: (np.stack([pcm, pcm]), 1),
        lambda pcm: ((pcm / 32768).astype(np.float32), 1),
    ]
    runs = []
    for arrange in layouts:
        reference = EchoReference()
        runs.append(call(InputStream(echo=reference), reference, assistant, near, arrange))
    for run in runs:
        assert run.found is not None
        np.testing.assert_array_equal(run.wire, runs[0].wire)


def test_long_pieces(assistant: Int16) -> None:
    near = echo_of(assistant, 150, -12.0)
    reference = EchoReference()
    stream = InputStream(echo=reference)
    chunk = CALL_RATE * 3 // 2  # longer than a second: without the GIL
    wire = []
    for k in range(0, len(near), chunk):
        reference.push(assistant[k : k + chunk], k / CALL_RATE)
        wire.append(stream.push(near[k : k + chunk], CALL_RATE, at=k / CALL_RATE)[0])
    assert [len(part) for part in wire[:-1]] == [chunk // 3] * (len(wire) - 1)
    assert stream.echo_delay_ms == pytest.approx(150, abs=20)
    assert wire[3].std() < 0.2 * near[3 * chunk : 4 * chunk].std()


def test_one_reference_serves_all(assistant: Int16, person: Int16) -> None:
    reference = EchoReference(CALL_RATE, max_delay_ms=600)
    assert (reference.sample_rate, reference.max_delay_ms) == (CALL_RATE, 600)
    assert repr(reference) == "EchoReference(48000, max_delay_ms=600)"
    near = [echo_of(assistant, 100, -10.0), echo_of(assistant, 500, -30.0), np.tile(person, 3)]
    streams = [InputStream(rate, echo=reference) for rate in (16000, 48000, 24000)]
    for k in range(4 * 50):
        frame = slice(960 * k, 960 * (k + 1))
        reference.push(assistant[frame], 0.02 * k)
        for stream, captured in zip(streams, near, strict=True):
            stream.push(captured[frame], CALL_RATE, at=0.02 * k)
    assert streams[0].echo_delay_ms == pytest.approx(100, abs=20)
    assert streams[1].echo_delay_ms == pytest.approx(500, abs=20)
    assert streams[2].echo_delay_ms is None


def test_from_many_threads(assistant: Int16) -> None:
    reference = EchoReference()
    streams = [InputStream(echo=reference) for _ in range(2)]
    start = threading.Barrier(5)
    short, long = assistant[:960], assistant[: 2 * CALL_RATE]
    counts = []

    def play(pcm: Int16) -> None:
        start.wait()
        for k in range(100):
            reference.push(pcm, 0.02 * k)

    def hear(stream: InputStream, pcm: Int16, times: int) -> None:
        start.wait()
        for k in range(times):
            counts.append(len(stream.push(pcm, CALL_RATE, at=0.02 * k)[0]))
            assert stream.echo in (True, False)

    with ThreadPoolExecutor(5) as pool:
        done = [
            pool.submit(play, short),
            pool.submit(play, long),
            pool.submit(hear, streams[0], short, 300),
            pool.submit(hear, streams[0], long, 3),
            pool.submit(hear, streams[1], short, 300),
        ]
        for future in done:
            future.result(timeout=60)
    assert sum(counts) == (600 * len(short) + 3 * len(long)) // 3


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_what_is_no_time(at: float) -> None:
    reference = EchoReference()
    with pytest.raises(AudioError, match="at="):
        reference.push(np.zeros(960, np.int16), at)
    stream = InputStream(echo=reference)
    for n in (960, 96000):
        with pytest.raises(AudioError, match="at="):
            stream.push(np.zeros(n, np.int16), CALL_RATE, at=at)
    assert stream.input_rate is None


def test_what_is_no_reference() -> None:
    for delay in (-1, 0, 99, 2001):
        with pytest.raises(AudioError, match="max_delay_ms"):
            EchoReference(max_delay_ms=delay)
    wrong: Any = object()
    with pytest.raises(TypeError):
        InputStream(echo=wrong)
    with pytest.raises(TypeError):
        EchoReference().push(np.zeros(960, np.int16), wrong)
    # Float samples are not what is handed to a call.
    with pytest.raises(AudioError, match="float32"):
        EchoReference().push(np.zeros(960, np.float32), 0.0)  # type: ignore[arg-type]
