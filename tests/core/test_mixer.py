"""Tests of `Mixer` through Python."""

from __future__ import annotations

import numpy as np
import pytest
from getstream.plugins.gemini.audio import AudioError, Mixer


def test_one_voice_passes_bit_exactly_alone_and_among_silent_ones(
    rng: np.random.Generator,
) -> None:
    mixer = Mixer(48000)
    silence = np.zeros(960, np.int16)
    for _ in range(10):
        pcm = rng.integers(-32768, 32768, 960, dtype=np.int16)
        np.testing.assert_array_equal(mixer.mix([pcm]), pcm)
        np.testing.assert_array_equal(mixer.mix([silence, pcm, silence]), pcm)


def test_two_voices_are_added_and_bend_softly() -> None:
    mixer = Mixer()
    for level in (8000, 12000):
        frame = np.full(320, level, np.int16)
        assert (mixer.mix([frame, frame.tobytes()]) == 2 * level).all()
    loud = np.full(320, 32767, np.int16)
    assert (mixer.mix([loud, loud]) > 32000).all()
    assert not mixer.mix([]).any()


def test_nothing_is_left_of_a_frame_that_was_refused() -> None:
    mixer = Mixer()
    loud = np.full(320, 1000, np.int16)
    for wrong in (np.zeros(319, np.int16), np.zeros(320, np.float32), b"odd"):
        with pytest.raises(AudioError):
            mixer.mix([loud, wrong])  # type: ignore[list-item]
    assert not mixer.mix([]).any()


def test_rates_without_whole_frames_are_refused() -> None:
    with pytest.raises(AudioError, match="multiple of 50"):
        Mixer(22055)
    with pytest.raises(AudioError):
        Mixer(100)
    assert Mixer(8000).sample_rate == 8000
    assert repr(Mixer()) == "<Mixer 16000 Hz>"
