"""Tests of `InputStream` through Python: formats, layouts, changes of rate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from getstream.plugins.gemini.audio import AudioError, InputStream, Resampler, SpeechStarted
from numpy.typing import NDArray

Int16 = NDArray[np.int16]


def test_every_layout_of_a_participant(rng: np.random.Generator) -> None:
    pcm = rng.integers(-30000, 30000, 9600, dtype=np.int16)
    want = Resampler(48000, 16000).push(pcm)
    stereo = np.stack([pcm, pcm])
    interleaved = np.repeat(pcm, 2)
    unit = (pcm / 32768).astype(np.float32)
    for samples, channels in (
        (pcm, 1),
        (pcm[None, :], 1),
        (pcm.tobytes(), 1),
        (stereo, 1),
        (stereo, 2),
        (np.asfortranarray(stereo), 2),
        (interleaved, 2),
        (interleaved[None, :], 2),
        (interleaved.tobytes(), 2),
        (unit, 1),
        (unit[None, :], 1),
        (np.stack([unit, unit]), 2),
        (np.repeat(unit, 2), 2),
    ):
        out, events = InputStream(16000).push(samples, 48000, channels)
        np.testing.assert_array_equal(out, want)
        assert events == []


def test_the_downmix_is_the_mean() -> None:
    left = np.full(960, 32767, np.int16)
    right = np.full(960, -32768, np.int16)
    out, _ = InputStream(48000).push(np.stack([left, right]), 48000)
    assert not out.any()
    out, _ = InputStream(48000).push(np.stack([left, left]), 48000)
    assert (out == 32767).all()


@pytest.mark.parametrize("wire_rate", [16000, 48000])
def test_frames_keep_their_length_through_every_change(
    wire_rate: int, tone: Callable[..., Int16]
) -> None:
    stream = InputStream(wire_rate)
    heard = []
    for rate in (48000, 16000, 44100, 48000, 8000, 48000):
        for frame in np.split(tone(rate, 250.0, 0.2), 10):
            out, _ = stream.push(frame, rate)
            assert out.shape == (wire_rate // 50,)
            heard.append(out)
        assert stream.input_rate == rate
    # Two tones that overlap in a crossfade move by at most twice the slope of one.
    slope = 2 * np.pi * 250 / wire_rate * 16384
    assert np.abs(np.diff(np.concatenate(heard).astype(int))).max() < 2.5 * slope


def test_events_count_wire_samples(voice: Callable[[int, float], Int16]) -> None:
    stream = InputStream(16000)
    out, events = stream.silence(1000)
    assert (len(out), events, stream.input_rate) == (16000, [], None)
    events = []
    for frame in np.split(voice(48000, 1.0), 50):
        events += stream.push(frame, 48000)[1]
    assert [type(event) for event in events] == [SpeechStarted]
    assert events[0].sample / 16000 == pytest.approx(1.0, abs=0.25)
    assert stream.speaking
    assert stream.probability > 0
    assert (stream.wire_rate, stream.delay) == (16000, Resampler(48000, 16000).delay)
    out, _ = stream.silence(20)
    assert len(out) == 320


def test_a_long_push_equals_short_ones(voice: Callable[[int, float], Int16]) -> None:
    pcm = voice(48000, 3.0)
    whole, parts = InputStream(), InputStream()
    out, events = whole.push(pcm, 48000)
    short = [parts.push(frame, 48000) for frame in np.split(pcm, 150)]
    np.testing.assert_array_equal(out, np.concatenate([o for o, _ in short]))
    assert events == [event for _, some in short for event in some]


def test_wild_floats_are_silence_or_saturate() -> None:
    stream = InputStream(48000)
    out, _ = stream.push(np.array([np.nan, np.inf, -np.inf, 2.0], np.float32), 48000)
    assert out.tolist() == [0, 32767, -32768, 32767]


@pytest.mark.parametrize(
    ("samples", "rate", "channels", "text"),
    [
        (np.zeros(3, np.int16), 48000, 2, "3 samples cannot be 2 channels"),
        (b"\0" * 6, 48000, 2, "3 samples cannot be 2 channels"),
        (b"\0", 48000, 1, "got 1"),
        (np.zeros(4, np.int16), 4000, 1, "4000"),
        (np.zeros(4, np.int16), -4, 1, "-4"),
        (np.zeros(4, np.int16), 48000, 3, "channels=3"),
        (np.zeros(4, np.int16), 48000, 0, "channels=0"),
        (np.zeros((3, 4), np.int16), 48000, 1, "shape"),
        (np.zeros(4, np.float64), 48000, 1, "float64"),
        (object(), 48000, 1, "object"),
    ],
)
def test_unusable_input_changes_nothing(
    samples: object, rate: int, channels: int, text: str
) -> None:
    stream = InputStream()
    stream.push(np.full(960, 1000, np.int16), 48000)
    twin = InputStream()
    twin.push(np.full(960, 1000, np.int16), 48000)
    with pytest.raises(AudioError, match=text):
        stream.push(samples, rate, channels)  # type: ignore[arg-type]
    following = np.full(960, -1000, np.int16)
    np.testing.assert_array_equal(stream.push(following, 48000)[0], twin.push(following, 48000)[0])


@pytest.mark.parametrize("ms", [-1, 600_001])
def test_unusable_silence(ms: int) -> None:
    with pytest.raises(AudioError, match="ms="):
        InputStream().silence(ms)


def test_nothing_in_is_nothing_out() -> None:
    stream = InputStream()
    for nothing in (b"", np.zeros(0, np.int16), np.zeros((2, 0), np.float32)):
        out, events = stream.push(nothing, 48000)
        assert (out.shape, events) == ((0,), [])
    assert len(stream.silence(0)[0]) == 0
