"""`Vad` through Python."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from getstream.plugins.gemini.audio import AudioError, SpeechStarted, SpeechStopped, Vad
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
