from __future__ import annotations

import math
import wave
from pathlib import Path

import numpy as np
import pytest
from getstream.plugins.gemini.errors import AudioError
from getstream.plugins.gemini.testing.signals import (
    align,
    click,
    largest_step,
    longest_silence,
    read_wav,
    rms_dbfs,
    silence,
    speech_like,
    tone,
    write_wav,
)


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 48000])
@pytest.mark.parametrize("dbfs", [-6.0, -20.0, -40.0])
def test_generated_levels_are_rms_dbfs(rate: int, dbfs: float) -> None:
    # Whole periods: 500 Hz in 100 ms.
    assert rms_dbfs(tone(500, 100, rate, dbfs)) == pytest.approx(dbfs, abs=0.02)
    assert rms_dbfs(click(50, rate, dbfs)) == pytest.approx(dbfs, abs=0.05)
    if dbfs <= -20:
        assert rms_dbfs(speech_like(1000, rate, dbfs=dbfs)) == pytest.approx(dbfs, abs=0.05)


def test_full_scale_square_wave_is_zero_dbfs() -> None:
    assert rms_dbfs(np.array([-32768, -32768], np.int16)) == 0.0
    assert rms_dbfs(silence(10, 16000)) == -math.inf
    assert rms_dbfs(np.zeros(0, np.int16)) == -math.inf


def test_tone_has_its_frequency() -> None:
    x = tone(1000, 1000, 16000).astype(float)
    spectrum = np.abs(np.fft.rfft(x))
    assert np.argmax(spectrum) == 1000
    with pytest.raises(AudioError, match="8000 Hz"):
        tone(4000, 10, 8000)


def test_durations_are_exact() -> None:
    assert tone(440, 20, 48000).shape == (960,)
    assert silence(0, 16000).shape == (0,)
    assert speech_like(0, 16000).shape == (0,)
    assert speech_like(1234, 24000).shape == (29616,)
    with pytest.raises(AudioError, match="rate > 0"):
        silence(10, 0)


def test_speech_like_is_deterministic_and_seeds_differ() -> None:
    a, b = speech_like(800, 16000, seed=1), speech_like(800, 16000, seed=1)
    np.testing.assert_array_equal(a, b)
    assert abs(align(a, speech_like(800, 16000, seed=2), 16000).correlation) < 0.5


def test_speech_like_resembles_speech() -> None:
    rate = 16000
    x = speech_like(4000, rate, seed=3)
    # Never silent for longer than a frame, no clipping, starts and ends softly.
    assert longest_silence(x, rate, -60) < 20
    assert np.abs(x.astype(int)).max() < 32767
    assert abs(int(x[0])) < 50
    assert abs(int(x[-1])) < 50
    # Its envelope moves at syllable rate.
    blocks = x[: x.size // 160 * 160].reshape(-1, 160).astype(float)
    envelope = np.sqrt((blocks**2).mean(axis=1))
    spectrum = np.abs(np.fft.rfft(envelope - envelope.mean()))
    peak = np.argmax(spectrum) * 100 / envelope.size
    assert 3.5 <= peak <= 4.5
    # Most of its energy is where the vowels are.
    power = np.abs(np.fft.rfft(x.astype(float))) ** 2
    frequency = np.fft.rfftfreq(x.size, 1 / rate)
    assert power[(frequency > 80) & (frequency < 4100)].sum() / power.sum() > 0.99


@pytest.mark.parametrize("offset", [0, 1, 777, -300])
@pytest.mark.parametrize("gain", [1.0, 0.5, -1.0])
def test_align_finds_offset_and_gain(offset: int, gain: float) -> None:
    rate = 16000
    reference = speech_like(1000, rate, seed=4)
    recording = np.zeros(3 * reference.size)
    if offset >= 0:
        recording[offset : offset + reference.size] = gain * reference
    else:
        recording[: reference.size + offset] = gain * reference[-offset:]
    found = align(reference, recording, rate)
    if gain < 0:  # an inverted signal is not the same signal
        assert found.correlation < 0.9
        return
    assert found.offset_samples == pytest.approx(offset, abs=0.01)
    assert found.offset_ms == pytest.approx(offset / 16, abs=0.001)
    assert found.correlation == pytest.approx(1.0, abs=1e-4)
    assert found.gain_db == pytest.approx(20 * math.log10(gain), abs=0.01)


def test_align_resolves_half_a_sample() -> None:
    rate = 48000
    fine = speech_like(500, rate, seed=5, dbfs=-12)
    reference, recording = fine[::2], np.concatenate((np.zeros(100, np.int16), fine[1::2]))
    found = align(reference, recording, rate // 2)
    assert found.offset_samples == pytest.approx(99.5, abs=0.05)
    assert found.correlation > 0.999


def test_align_when_the_recording_is_shorter() -> None:
    rate = 16000
    reference = speech_like(2000, rate, seed=6)
    found = align(reference, reference[5000:15000], rate)
    assert found.offset_samples == pytest.approx(-5000, abs=0.01)
    assert found.correlation > 0.9999


def test_align_refuses_silence() -> None:
    with pytest.raises(AudioError, match="silent or empty"):
        align(silence(100, 16000), tone(440, 100, 16000), 16000)
    with pytest.raises(AudioError, match="silent or empty"):
        align(tone(440, 100, 16000), np.zeros(0, np.int16), 16000)


def test_longest_silence_is_exact() -> None:
    rate = 16000
    loud = np.full(100, 5000, np.int16)
    assert longest_silence(loud, rate) == 0
    x = np.concatenate((np.zeros(16, np.int16), loud, np.zeros(320, np.int16), loud))
    assert longest_silence(x, rate) == 20
    assert longest_silence(np.concatenate((x, np.zeros(480, np.int16))), rate) == 30
    assert longest_silence(np.zeros(160, np.int16), rate) == 10
    assert longest_silence(np.zeros(0, np.int16), rate) == 0
    # The floor is a magnitude: -60 dBFS is 32.8.
    assert longest_silence(np.full(160, 32, np.int16), rate, -60) == 10
    assert longest_silence(np.full(160, -33, np.int16), rate, -60) == 0


def test_largest_step_does_not_wrap() -> None:
    assert largest_step(np.array([-32768, 32767], np.int16)) == 65535
    assert largest_step(np.array([5], np.int16)) == 0
    assert largest_step(tone(100, 100, 48000, -20)) < 70


@pytest.mark.parametrize("shape", [(480,), (480, 2)])
def test_wav_round_trip(tmp_path: Path, shape: tuple[int, ...]) -> None:
    samples = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    write_wav(tmp_path / "a.wav", samples, 44100)
    read, rate = read_wav(tmp_path / "a.wav")
    assert rate == 44100
    assert read.dtype == np.int16
    np.testing.assert_array_equal(read, samples)


def test_wav_errors_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"this is not a wave file")
    with pytest.raises(AudioError, match="convert it to 16-bit PCM"):
        read_wav(path)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(48000)
        file.writeframes(bytes(6))
    with pytest.raises(AudioError, match="24 bits"):
        read_wav(path)
    with pytest.raises(FileNotFoundError):
        read_wav(tmp_path / "missing.wav")
    with pytest.raises(AudioError, match="float64"):
        write_wav(path, np.zeros(10), 48000)  # type: ignore[arg-type]
