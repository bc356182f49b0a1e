"""`Mixer` through Python."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest
from getstream.plugins.gemini.audio import AudioError, Mixer


def test_one_stream_passes_through_bit_exactly(rng: np.random.Generator) -> None:
    mixer = Mixer(48000)
    for _ in range(10):
        pcm = rng.integers(-32768, 32768, 960, dtype=np.int16)
        assert mixer.push(7, pcm) == 960
        mixed = mixer.pop()
        assert mixed is not None
        np.testing.assert_array_equal(mixed, pcm)
        assert mixer.pop() is None


def test_two_streams_are_added_and_bend_softly() -> None:
    mixer = Mixer()
    for level in (8000, 12000):
        mixer.push(1, np.full(200, level, np.int16))
        mixer.push(2, np.full(320, level, np.int16))
        assert mixer.pop() is None
        mixer.push(1, np.full(120, level, np.int16))
        mixed = mixer.pop()
        assert mixed is not None
        assert (mixed == 2 * level).all()
    mixer.push(1, np.zeros(1, np.int16))
    mixer.push(1, np.full(319, 32767, np.int16))
    mixer.push(2, np.full(320, 32767, np.int16))
    mixed = mixer.pop()
    assert mixed is not None
    assert (mixed[1:] > 32000).all()


def test_a_stream_that_stops_is_left_behind_and_comes_back() -> None:
    mixer = Mixer()
    frame = np.full(320, 100, np.int16)
    mixer.push(1, frame)
    mixer.push(2, frame)
    assert mixer.pop() is not None
    popped = 0
    for _ in range(10):
        mixer.push(1, frame)
        while mixer.pop() is not None:
            popped += 1
    assert popped == 10
    assert (mixer.streams, mixer.active_streams, mixer.stats().lags) == (2, 1, 1)
    mixer.push(2, frame)
    assert mixer.active_streams == 2
    assert mixer.remove(2) == 320
    assert mixer.remove(2) == 0
    stats = mixer.stats()
    assert stats.pushed == stats.mixed + stats.dropped


def test_who_speaks() -> None:
    mixer = Mixer()
    assert (mixer.loudest, mixer.speaking, mixer.level(1)) == (None, [], None)
    tone = np.sin(2 * np.pi * np.arange(320) / 32)
    for _ in range(10):
        mixer.push(1, np.round(8000 * tone).astype(np.int16))
        mixer.push(2, np.round(500 * tone).astype(np.int16))
        mixer.push(3, np.zeros(320, np.int16))
        assert mixer.pop() is not None
    assert mixer.loudest == 1
    assert sorted(mixer.speaking) == [1, 2]
    level = mixer.level(1)
    assert level == pytest.approx(20 * np.log10(8000 / 32768) - 3.01, abs=0.05)
    assert mixer.level(3) == -math.inf
    mixer.remove(1)
    assert (mixer.loudest, mixer.level(1)) == (None, None)


def test_a_frame_as_base64_is_the_frame(rng: np.random.Generator) -> None:
    mixer = Mixer()
    assert mixer.pop_base64() is None
    pcm = rng.integers(-32768, 32768, 640, dtype=np.int16)
    mixer.push(1, pcm)
    text = mixer.pop_base64(b'{"data": "', b'"}')
    assert text is not None
    assert base64.b64decode(json.loads(text)["data"]) == pcm[:320].tobytes()
    assert mixer.pop_base64() == base64.b64encode(pcm[320:].tobytes())
    assert mixer.pop_base64() is None


def test_full_queues_refuse() -> None:
    mixer = Mixer(16000, max_skew_ms=60, capacity_ms=100)
    assert mixer.push(1, np.zeros(2000, np.int16)) == 1600
    assert mixer.stats().dropped == 400
    with pytest.raises(AudioError, match="capacity_ms"):
        Mixer(capacity_ms=99)
    with pytest.raises(AudioError, match="multiple of 50"):
        Mixer(22055)
    with pytest.raises(OverflowError):
        mixer.push(-1, b"")
