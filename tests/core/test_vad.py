"""Tests of `Vad` through Python."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import getstream.plugins.gemini.audio as gemini_audio
import numpy as np
import pytest
from getstream.plugins.gemini.audio import (
    AudioError,
    Resampler,
    SpeechStarted,
    SpeechStopped,
    Vad,
)
from numpy.typing import NDArray

Int16 = NDArray[np.int16]
Event = SpeechStarted | SpeechStopped


def listen(vad: Vad, pcm: Int16, chunk: int) -> list[Event]:
    return [event for k in range(0, len(pcm), chunk) for event in vad.push(pcm[k : k + chunk])]


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_speech_between_silences(voice: Callable[[int, float], Int16], rate: int) -> None:
    pause = np.zeros(rate, np.int16)
    vad = Vad(rate)
    events = listen(vad, np.concatenate([pause, voice(rate, 2.0), pause]), rate // 50)
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped]
    start, stop = (event.sample / rate for event in events)
    assert start == pytest.approx(1.0, abs=0.25)
    assert stop == pytest.approx(3.0, abs=0.25)
    assert not vad.speaking


def test_silence_is_never_speech() -> None:
    vad = Vad(threshold=0.0)
    assert vad.push(np.zeros(160000, np.int16)) == []
    assert vad.probability == 0.0
    assert vad.speaking is False


@pytest.mark.parametrize("chunk", [1, 160, 256, 1009])
def test_frame_length_changes_nothing(voice: Callable[[int, float], Int16], chunk: int) -> None:
    pcm = np.concatenate([np.zeros(8000, np.int16), voice(16000, 1.0), np.zeros(8000, np.int16)])
    want = listen(Vad(), pcm, 320)
    assert want
    assert listen(Vad(), pcm, chunk) == want


def test_the_first_evidence_comes_before_the_onset(
    voice: Callable[[int, float], Int16],
) -> None:
    vad = Vad(onset_ms=48)
    states = []
    for frame in voice(16000, 1.0)[:15872].reshape(-1, 256):
        vad.push(frame)
        states.append("speaking" if vad.speaking else "starting" if vad.starting else "silent")
    first = states.index("speaking")
    assert states[first - 3 : first + 1] == ["silent", "starting", "starting", "speaking"]


def test_state_while_speaking_and_after_reset(voice: Callable[[int, float], Int16]) -> None:
    vad = Vad()
    vad.push(voice(16000, 1.0))
    assert vad.speaking
    assert 0.0 < vad.probability <= 1.0
    vad.reset()
    assert not vad.speaking
    assert vad.probability == 0.0


def test_events_are_values() -> None:
    assert SpeechStarted(5) == SpeechStarted(5)
    assert SpeechStarted(5) != SpeechStarted(6)
    assert SpeechStarted(5) != SpeechStopped(5)
    assert len({SpeechStopped(1), SpeechStopped(1), SpeechStopped(2)}) == 2
    assert repr(SpeechStarted(480)) == "SpeechStarted(sample=480)"
    with pytest.raises(AttributeError):
        SpeechStarted(5).sample = 6  # type: ignore[misc]


def test_options() -> None:
    vad = Vad(48000, threshold=0.25, onset_ms=48, hangover_ms=500)
    assert (vad.sample_rate, vad.threshold, vad.onset_ms, vad.hangover_ms) == (48000, 0.25, 48, 500)
    assert Vad().sample_rate == 16000
    for options, text in (
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"onset_ms": -1}, "onset_ms"),
        ({"hangover_ms": 100000}, "hangover_ms"),
        ({"sample_rate": 7000}, "7000"),
    ):
        with pytest.raises(AudioError, match=text):
            Vad(**options)


# Probabilities of Silero VAD 6.2.3 on onnxruntime for every 512 samples of `question.wav`, as
# `benches/vad_accuracy.py` runs it: from its beginning to well into the speech, then its end.
SILERO_BEGINNING = [0.0017, 0.0069, 0.0089, 0.0580, 0.0255, 0.0879, 0.8065, 0.9312, 0.9937, 0.9965]
SILERO_END = [0.9958, 0.9855, 0.9246, 0.6179, 0.1645, 0.0452, 0.0205, 0.0159, 0.0119, 0.0093]


@pytest.fixture
def question() -> Int16:
    """Read recorded speech at 16 kHz, between 100 ms of digital silence."""
    path = Path(gemini_audio.__file__).parent / "data" / "question.wav"
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)


def test_every_second_frame_is_the_answer_of_silero(question: Int16) -> None:
    vad = Vad()
    got = []
    for k in range(0, len(question) - 511, 512):
        vad.push(question[k : k + 512])
        got.append(vad.probability)
    # Digital silence must not be speech.
    assert [got[0], got[1], got[-2], got[-1]] == [0.0] * 4
    assert got[3:10] == pytest.approx(SILERO_BEGINNING[3:], abs=1e-3)
    assert got[88:98] == pytest.approx(SILERO_END, abs=1e-3)
    assert min(got[7:88]) > 0.9


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_recorded_speech_is_one_stretch(question: Int16, rate: int) -> None:
    pcm = question if rate == 16000 else Resampler(16000, rate).push(question)
    events = listen(Vad(rate), pcm, rate // 50)
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped]
    # By its level the speech lies from 0.15 s to 2.95 s.
    start, stop = (event.sample / rate for event in events)
    assert start == pytest.approx(0.15, abs=0.05)
    assert stop == pytest.approx(2.95, abs=0.1)


@pytest.mark.parametrize("dbfs", [-10.0, -25.0, -40.0])
@pytest.mark.parametrize("kind", ["white", "brown", "knocks", "hum"])
def test_noise_is_not_speech(rng: np.random.Generator, kind: str, dbfs: float) -> None:
    t = np.arange(5 * 16000) / 16000
    white = rng.standard_normal(len(t))
    noise = {
        "white": white,
        "brown": np.cumsum(white) - np.linspace(0, white.sum(), len(t)),
        "knocks": white * np.exp(-80 * (t % 0.6)),
        "hum": sum(np.sin(2 * np.pi * 50 * k * t + k) / k for k in range(1, 12)),
    }[kind]
    noise = noise / np.sqrt(np.mean(noise**2)) * 32768 * 10 ** (dbfs / 20)
    assert listen(Vad(), np.clip(noise, -32768, 32767).astype(np.int16), 320) == []


def test_speech_in_noise_is_heard_soon(rng: np.random.Generator, question: Int16) -> None:
    noisy = question + rng.standard_normal(len(question)) * 300  # 10 dB below the speech
    pcm = np.clip(np.concatenate([rng.standard_normal(16000) * 300, noisy]), -32768, 32767)
    vad = Vad()
    heard = next(
        k + 320 for k in range(0, len(pcm), 320) if vad.push(pcm[k : k + 320].astype(np.int16))
    )
    assert heard / 16 - 1150 < 100  # ms behind the beginning of the first word
