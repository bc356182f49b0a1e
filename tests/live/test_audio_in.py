"""The way in: gaps, people who come, mute and leave, and pieces that are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.errors import AudioError
from getstream.plugins.gemini.live._audio_in import FORGOTTEN_AFTER_S, AudioInput
from getstream.plugins.gemini.testing.signals import read_wav
from numpy.typing import NDArray

RATE = 16000
FRAME = 320


@pytest.fixture(scope="module")
def words() -> NDArray[np.int16]:
    from importlib.resources import files

    samples, rate = read_wav(str(files("getstream.plugins.gemini") / "data" / "question.wav"))
    assert rate == RATE
    return samples


def piece(samples: Any, who: str = "anna", pts: float | None = None, **more: Any) -> Any:
    """A `PcmData` at 16 kHz; `pts` in seconds."""
    person = SimpleNamespace(user_id=who, session_id="1")
    fields = {"sample_rate": RATE, "channels": 1, "participant": person, **more}
    if pts is not None:
        fields.update(pts=round(pts * 48000), time_base=1 / 48000)
    return SimpleNamespace(samples=samples, **fields)


def make() -> AudioInput:
    return AudioInput(hangover_ms=200)


def queued(audio: AudioInput) -> NDArray[np.int16]:
    return np.frombuffer(b"".join(audio._queue), np.int16)


@pytest.mark.parametrize("gap", [0.25, 0.5, 0.9])
def test_speech_that_ends_in_a_gap_is_over(words: NDArray[np.int16], gap: float) -> None:
    audio = make()
    events = []
    for start in range(0, 16000, FRAME):
        at = start / RATE
        events += audio.push(piece(words[start : start + FRAME], pts=at), RATE, at)
    assert [event.started for event in events] == [True]
    for index in range(50):
        at = 1.0 + gap + index * 0.02
        events += audio.push(piece(np.zeros(FRAME, np.int16), pts=at), RATE, at)
    assert [event.started for event in events] == [True, False]


def test_a_gap_becomes_silence_of_its_length() -> None:
    audio = make()
    level = np.full(FRAME, 1000, np.int16)
    for at in (0.0, 0.02, 0.14, 0.16):
        audio.push(piece(level, pts=at), RATE, at)
    samples = queued(audio)
    assert len(samples) == 0.18 * RATE
    assert (np.abs(samples) > 900).sum() == pytest.approx(4 * FRAME, abs=40)


@pytest.mark.parametrize("start", [5.0, 2**32 / 48000 - 0.01])
def test_a_jump_back_or_a_wrap_of_pts_is_a_new_clock(start: float) -> None:
    audio = make()
    level = np.full(FRAME, 1000, np.int16)
    for at in (start, start + 0.02, 0.0, 0.02):
        audio.push(piece(level, pts=at), RATE, at)
    assert len(queued(audio)) == 4 * FRAME


@pytest.mark.parametrize(
    ("samples", "channels"),
    [
        (np.zeros(FRAME, np.int16).tobytes(), 1),
        (np.zeros((2, FRAME), np.int16), 1),
        (np.zeros((2, FRAME), np.int16), 2),
        (np.zeros(2 * FRAME, np.int16), 2),
        (np.zeros((1, FRAME), np.float32), 1),
    ],
)
def test_no_shape_of_pcm_changes_the_pace(samples: Any, channels: int) -> None:
    audio = make()
    for index in range(50):
        audio.push(piece(samples, pts=index * 0.02, channels=channels), RATE, index * 0.02)
    assert len(queued(audio)) / 16 == 1000


def test_who_mutes_in_mid_word_while_others_go_on_has_stopped(words: NDArray[np.int16]) -> None:
    audio = make()
    events: list[tuple[float, str, bool]] = []
    for index in range(200):
        at = index * 0.02
        pieces = [piece(np.zeros(FRAME, np.int16), "ben")]
        if at < 1.0:
            pieces.append(piece(words[index * FRAME : (index + 1) * FRAME], "anna"))
        for each in pieces:
            events += [(at, e.user_id, e.started) for e in audio.push(each, RATE, at)]
    (_, who, began), (at, also, stopped) = events
    assert (who, began, also, stopped) == ("anna", True, "anna", False)
    assert 1.2 < at < 1.6
    assert len(queued(audio)) / 16 == pytest.approx(4000, abs=80), "the others' clock runs at 1x"


def test_who_is_gone_leaves_no_state() -> None:
    audio = make()
    for index in range(40):
        audio.push(piece(np.zeros(FRAME, np.int16), f"guest {index}"), RATE, 0.0)
    assert len(audio._participants) == 40
    audio.push(piece(np.zeros(FRAME, np.int16), "host"), RATE, FORGOTTEN_AFTER_S + 1)
    assert list(audio._participants) == ["host/1"]


def test_forty_people_do_not_forget_each_other() -> None:
    audio = make()
    for at in np.arange(0, 2, 0.02):
        for index in range(40):
            audio.push(piece(np.zeros(FRAME, np.int16), f"guest {index}"), RATE, float(at))
    assert len(audio._participants) == 40


def test_a_refused_first_piece_fixes_nothing() -> None:
    audio = make()
    with pytest.raises(AudioError):
        audio.push(piece(np.zeros(960), sample_rate=48000), 48000, 0.0)
    audio.push(piece(np.zeros(FRAME, np.int16)), 16000, 0.0)
    assert audio.rate == 16000


def test_a_refused_piece_after_a_gap_leaves_the_timeline_right() -> None:
    audio = make()
    level = np.full(FRAME, 1000, np.int16)
    audio.push(piece(level, pts=0.0), RATE, 0.0)
    with pytest.raises(AudioError):
        audio.push(piece(np.zeros(FRAME), pts=0.1), RATE, 0.1)
    audio.push(piece(level, pts=0.12), RATE, 0.12)
    assert len(queued(audio)) == pytest.approx(0.14 * RATE, abs=FRAME)


@pytest.mark.parametrize(
    "bad",
    [
        {"pts": "soon", "time_base": 1.0},
        {"channels": "two"},
        {"channels": 0},
        {"channels": 3},
        {"sample_rate": None},
    ],
)
def test_nonsense_is_an_audio_error(bad: dict[str, Any]) -> None:
    frame = piece(np.zeros(FRAME, np.int16))
    for name, value in bad.items():
        setattr(frame, name, value)
    with pytest.raises(AudioError):
        make().push(frame, RATE, 0.0)


def test_a_pts_that_is_no_time_is_none() -> None:
    audio = make()
    for _ in range(3):
        frame = piece(np.zeros(FRAME, np.int16))
        frame.pts, frame.time_base = 1, float("nan")
        audio.push(frame, RATE, 0.0)
    assert len(queued(audio)) / 16 == 60


def test_everybody_falls_silent(words: NDArray[np.int16]) -> None:
    audio = make()
    events = []
    for start in range(0, 16000, FRAME):
        events += audio.push(piece(words[start : start + FRAME]), RATE, start / RATE)
    assert [event.started for event in audio.end_speech()] == [False]
    assert audio.end_speech() == []
