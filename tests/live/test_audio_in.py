"""The way in: gaps, people who come, mute and leave, and pieces that are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini._websocket import websocket_payload
from getstream.plugins.gemini.audio import EchoReference, decode_base64
from getstream.plugins.gemini.errors import AudioError
from getstream.plugins.gemini.live._acquaintance import VERDICT_S
from getstream.plugins.gemini.live._audio_in import (
    FORGOTTEN_AFTER_S,
    LATE_S,
    NOTICE_S,
    PREROLL_MS,
    QUIET_MS,
    AudioInput,
    SpeechEvent,
)
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


class Input(AudioInput):
    """An `AudioInput`, and what it sends."""

    def __init__(self, **options: Any) -> None:
        self.sent: list[bytes] = []
        super().__init__(
            lambda data, now, quiet: self.sent.append(decode_base64(websocket_payload(data))),
            lambda rate: (b"", b""),
            **{"onset_ms": 32, "hangover_ms": 200, **options},
        )


def make(**options: Any) -> Input:
    return Input(**options)


def queued(audio: Input) -> NDArray[np.int16]:
    return np.frombuffer(b"".join(audio.sent), np.int16)


def kinds(events: list[SpeechEvent]) -> list[str]:
    return [event.kind for event in events]


SPOKEN = ["starting", "started", "stopped"]


@pytest.mark.parametrize("gap", [0.25, 0.5, 0.9])
def test_speech_that_ends_in_a_gap_is_over(words: NDArray[np.int16], gap: float) -> None:
    audio = make()
    events = []
    for start in range(0, 16000, FRAME):
        at = start / RATE
        events += audio.push(piece(words[start : start + FRAME], pts=at), RATE, at)
    assert kinds(events) == SPOKEN[:2]
    for index in range(50):
        at = 1.0 + gap + index * 0.02
        events += audio.push(piece(np.zeros(FRAME, np.int16), pts=at), RATE, at)
    assert kinds(events) == SPOKEN


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
    events: list[tuple[float, str, str]] = []
    for index in range(200):
        at = index * 0.02
        pieces = [piece(np.zeros(FRAME, np.int16), "ben")]
        if at < 1.0:
            pieces.append(piece(words[index * FRAME : (index + 1) * FRAME], "anna"))
        for each in pieces:
            events += [(at, e.user_id, e.kind) for e in audio.push(each, RATE, at)]
    assert [event[1:] for event in events] == [("anna", kind) for kind in SPOKEN]
    assert 1.2 < events[-1][0] < 1.6
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
    assert kinds(audio.end_speech(1.0)) == ["stopped"]
    assert audio.end_speech(1.0) == []


def test_a_sign_of_speech_comes_first_and_may_be_nothing(words: NDArray[np.int16]) -> None:
    audio = make(onset_ms=1000)
    events = []
    for start in range(0, 24000, FRAME):
        spoken = words[start : start + FRAME]
        silent = np.zeros(FRAME, np.int16)
        events += audio.push(piece(spoken if start < 8000 else silent), RATE, start / RATE)
    assert set(kinds(events)) == {"starting", "dismissed"}
    assert kinds(events)[-1] == "dismissed"


def test_a_sign_of_speech_ends_with_who_gave_it(words: NDArray[np.int16]) -> None:
    audio = make(onset_ms=5000)
    events: list[SpeechEvent] = []
    for start in range(0, 16000, FRAME):
        events += audio.push(piece(words[start : start + FRAME]), RATE, start / RATE)
        if kinds(events[-1:]) == ["starting"]:
            break
    assert kinds(audio.leave("anna", "1", 1.0)) == ["dismissed"]
    assert audio._participants == {}
    assert audio.leave("anna", "1", 1.0) == []


def test_who_leaves_in_mid_word_has_stopped_and_leaves_no_state(words: NDArray[np.int16]) -> None:
    audio = make()
    for start in range(0, 16000, FRAME):
        audio.push(piece(words[start : start + FRAME]), RATE, start / RATE)
        audio.push(piece(np.zeros(FRAME, np.int16), "ben"), RATE, start / RATE)
    assert kinds(audio.leave("anna", "1", 1.0)) == ["stopped"]
    assert list(audio._participants) == ["ben/1"]
    before = len(audio.sent)
    for index in range(10):
        audio.push(piece(np.zeros(FRAME, np.int16), "ben"), RATE, 1 + index * 0.02)
    assert len(audio.sent) - before in (10, 11), "nobody waits for who has left"


def test_a_late_frame_of_who_has_left_does_not_bring_them_back() -> None:
    audio = make()
    frame = np.zeros(FRAME, np.int16)
    audio.push(piece(frame), RATE, 0.0)
    audio.leave("anna", "1", 0.1)
    assert audio.push(piece(frame), RATE, 0.2) == []
    assert audio._participants == {}
    audio.push(piece(frame), RATE, 0.1 + LATE_S)
    assert list(audio._participants) == ["anna/1"], "who comes back is heard"


@pytest.mark.parametrize("samples", [np.full(FRAME, 9000, np.int16), b"\x01\x02" * FRAME])
def test_a_deaf_assistant_hears_silence_at_the_same_pace(samples: Any) -> None:
    audio = make()
    for index in range(10):
        audio.push(piece(samples), RATE, index * 0.02, deaf=True)
    assert len(queued(audio)) == 10 * FRAME
    assert not queued(audio).any()


# -- loudspeakers ------------------------------------------------------------------------------

# Frames: those until the verdict, those before the doubt, and one at each end.
MOST_WAITING = (VERDICT_S + NOTICE_S) / 0.02 + 2


def test_who_may_be_a_loudspeaker_waits_and_is_sent_whole(words: NDArray[np.int16]) -> None:
    audio, plain = make(echo=EchoReference()), make()
    for index, start in enumerate(range(0, len(words) - FRAME, FRAME)):
        frame, now = words[start : start + FRAME], index * 0.02
        audio.push(piece(frame), RATE, now, sounding=True)
        plain.push(piece(frame), RATE, now)
        behind = len(plain.sent) - len(audio.sent)
        assert behind <= MOST_WAITING
    assert np.array_equal(queued(audio), queued(plain)[: len(queued(audio))])
    assert behind == 0, "they are known"
    assert audio.echo_ms == 0


@pytest.mark.parametrize("ends", ["silent", "left"])
def test_who_falls_silent_in_doubt_is_sent_whole(words: NDArray[np.int16], ends: str) -> None:
    audio, plain = make(echo=EchoReference()), make()
    said = spoken(words)
    events = []
    for index in range(15):  # 300 ms
        frame, now = said[index * FRAME : (index + 1) * FRAME], index * 0.02
        events += audio.push(piece(frame), RATE, now, sounding=True)
        plain.push(piece(frame), RATE, now)
    assert len(audio.sent) < 5
    events += audio.end_speech(1.0) if ends == "silent" else audio.leave("anna", "1", 0.3)
    assert kinds(events) == SPOKEN
    assert np.array_equal(queued(audio), queued(plain))


# -- the active speaker ------------------------------------------------------------------------


def spoken(words: NDArray[np.int16]) -> NDArray[np.int16]:
    """The clip from its first sound on."""
    return words[np.flatnonzero(np.abs(words) > 300)[0] :]


def said_in(sound: NDArray[np.int16], said: NDArray[np.int16]) -> bool:
    return said.tobytes() in sound.tobytes()


class Meeting:
    """Two people, frame by frame, each silent unless given words."""

    def __init__(self, audio: Input) -> None:
        self.audio = audio
        self.now = 0.0

    def run(self, seconds: float, **words: NDArray[np.int16]) -> None:
        for index in range(round(seconds * 50)):
            for who, hum in (("anna", 40), ("ben", -40)):
                frame = np.full(FRAME, hum, np.int16)
                if who in words:
                    spoken = words[who][index * FRAME : (index + 1) * FRAME]
                    frame[: len(spoken)] += spoken
                self.audio.push(piece(frame, who), RATE, self.now)
            self.now += 0.02


def test_the_active_speaker_is_sent_alone_and_from_before_the_first_word(
    words: NDArray[np.int16],
) -> None:
    audio = make(listen_to="active_speaker")
    meeting = Meeting(audio)
    meeting.run(1.0)
    assert (queued(audio) == 40).all(), "anna came first; her silence carries the timeline"
    said = spoken(words)[: 2 * RATE]
    meeting.run(3.0, ben=said)
    sound = queued(audio)
    assert said_in(sound, said - 40), "all of it, from the first sample, and nobody mixed in"
    before = sound.tobytes().find((said - 40).tobytes()) // 2
    assert (sound[before - RATE // 20 : before] == -40).all(), "and 50 ms from before it"


def test_the_floor_is_kept_while_its_holder_speaks(words: NDArray[np.int16]) -> None:
    audio = make(listen_to="active_speaker")
    meeting = Meeting(audio)
    meeting.run(0.5)
    said = spoken(words)[: 2 * RATE]
    meeting.run(2.0, anna=said, ben=said[RATE:])
    assert said_in(queued(audio), said + 40)


def test_pre_rolls_do_not_put_the_timeline_ahead_for_good(words: NDArray[np.int16]) -> None:
    audio = make(listen_to="active_speaker")
    meeting = Meeting(audio)
    meeting.run(0.5)
    for who in ("ben", "anna", "ben", "anna"):
        meeting.run(2.0, **{who: spoken(words)[: round(1.2 * RATE)]})
    ahead = len(queued(audio)) / RATE - meeting.now
    assert ahead == pytest.approx(4 * PREROLL_MS / 1000, abs=0.1)
    meeting.run(QUIET_MS / 1000 + 2.0)
    assert len(queued(audio)) / RATE == pytest.approx(meeting.now, abs=0.03)


def test_the_floor_goes_on_when_its_holder_is_gone() -> None:
    audio = make(listen_to="active_speaker")
    meeting = Meeting(audio)
    meeting.run(0.5)
    audio.leave("anna", "1", meeting.now)
    for _ in range(50):
        audio.push(piece(np.full(FRAME, -40, np.int16), "ben"), RATE, meeting.now)
        meeting.now += 0.02
    assert (queued(audio)[RATE // 2 :] == -40).all()
    assert len(queued(audio)) / RATE == pytest.approx(1.5, abs=0.03)


def test_the_floor_goes_on_when_its_holder_mutes() -> None:
    audio = make(listen_to="active_speaker")
    meeting = Meeting(audio)
    meeting.run(0.5)
    for _ in range(50):
        audio.push(piece(np.full(FRAME, -40, np.int16), "ben"), RATE, meeting.now)
        meeting.now += 0.02
    # Ben's time is kept for the 0.3 s and the look in which anna may still come back.
    assert 1.0 < len(queued(audio)) / RATE < 1.5 - 0.3
