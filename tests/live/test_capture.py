"""The way in: tracks of people who come, mute and leave, and packets that are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini._websocket import websocket_payload
from getstream.plugins.gemini.audio import EchoReference, decode_base64
from getstream.plugins.gemini.errors import AudioError
from getstream.plugins.gemini.live._media.capture import (
    FORGOTTEN_AFTER_S,
    IN_FLIGHT_S,
    AudioInput,
    SpeechEvent,
)
from getstream.plugins.gemini.testing import signals
from getstream.plugins.gemini.testing.signals import read_wav
from numpy.typing import NDArray

RATE = 16000
FRAME = 320

# One object for each track, as `getstream` 7 makes them.
PEOPLE: dict[str, Any] = {}


@pytest.fixture(scope="module")
def words() -> NDArray[np.int16]:
    from importlib.resources import files

    samples, rate = read_wav(str(files("getstream.plugins.gemini") / "data" / "question.wav"))
    assert rate == RATE
    return samples


def packet(samples: Any, who: str = "anna", pts: float | None = None, **more: Any) -> Any:
    """A `PcmData` at 16 kHz; `pts` in seconds."""
    person = PEOPLE.setdefault(who, SimpleNamespace(user_id=who, session_id="1"))
    fields = {"sample_rate": RATE, "channels": 1, "participant": person, **more}
    if pts is not None:
        fields.update(pts=round(pts * 48000), time_base=1 / 48000)
    return SimpleNamespace(samples=samples, **fields)


class Input(AudioInput):
    """An `AudioInput`, and what it sends."""

    def __init__(self, **options: Any) -> None:
        self.sent: list[bytes] = []
        self.ends = 0
        super().__init__(
            lambda data, now, quiet: self.sent.append(decode_base64(websocket_payload(data))),
            lambda rate: (b"", b""),
            end_stream=self._note_end,
            **{"onset_ms": 32, "hangover_ms": 200, **options},
        )

    def _note_end(self) -> None:
        self.ends += 1

    def wait(self, since: float, until: float) -> list[SpeechEvent]:
        """Let time pass as the assistant's timer does."""
        steps = np.arange(since + 0.02, until + 0.001, 0.02)
        return [event for at in steps for event in self.advance(float(at))]


def make(**options: Any) -> Input:
    return Input(**options)


def queued(audio: Input) -> NDArray[np.int16]:
    return np.frombuffer(b"".join(audio.sent), np.int16)


def kinds(events: list[SpeechEvent]) -> list[str]:
    """The changes between speech and silence; that speech lasts is another matter."""
    return [event.kind for event in events if event.kind != "sustained"]


SPOKEN = ["starting", "started", "stopped"]


def test_who_is_silent_by_time_has_stopped_without_anybodys_next_frame(
    words: NDArray[np.int16],
) -> None:
    audio = make()
    events = []
    for start in range(0, 16000, FRAME):
        events += audio.push(packet(words[start : start + FRAME]), RATE, start / RATE)
    assert kinds(events) == SPOKEN[:2]
    assert kinds(audio.wait(0.98, 1.2)) == []
    assert kinds(audio.wait(1.2, 1.4)) == ["stopped"]


@pytest.mark.parametrize("gap", [0.25, 0.5, 0.9])
def test_speech_that_ends_in_a_gap_is_over(words: NDArray[np.int16], gap: float) -> None:
    audio = make()
    events = []
    for start in range(0, 16000, FRAME):
        at = start / RATE
        events += audio.push(packet(words[start : start + FRAME], pts=at), RATE, at)
    assert kinds(events) == SPOKEN[:2]
    for index in range(50):
        at = 1.0 + gap + index * 0.02
        events += audio.push(packet(np.zeros(FRAME, np.int16), pts=at), RATE, at)
    assert kinds(events) == SPOKEN


def test_a_gap_becomes_silence_of_its_length() -> None:
    audio = make()
    level = np.full(FRAME, 1000, np.int16)
    for at in (0.0, 0.02, 0.14, 0.16):
        audio.push(packet(level, pts=at), RATE, at)
        audio.wait(at, at + (0.1 if at == 0.02 else 0.0))
    audio.wait(0.16, 0.18)
    samples = queued(audio)
    assert len(samples) == 0.18 * RATE
    assert (samples == 1000).sum() == pytest.approx(4 * FRAME, abs=160), "but for a fade"


def talk(audio: Input, words: NDArray[np.int16], since: float, seconds: float) -> list[SpeechEvent]:
    """Say the first words, and be silent: `seconds` of packets from `since` on."""
    spoken = np.zeros(round(seconds * RATE), np.int16)
    spoken[: min(len(spoken), RATE)] = words[: min(len(spoken), RATE)]
    events = []
    for start in range(0, len(spoken), FRAME):
        at = since + start / RATE
        events += audio.push(packet(spoken[start : start + FRAME], pts=at), RATE, at)
    return events


def test_detection_is_changed_when_nobody_speaks(words: NDArray[np.int16]) -> None:
    changed: list[str] = []
    audio = make(sustained_ms=300, tail_ms=2000)
    audio.change_detection(32, 200, lambda: changed.append("before the first packet"))
    assert changed == ["before the first packet"]
    events = talk(audio, words, 0.0, 0.5)
    audio.change_detection(32, 60_000, lambda: changed.append("replaced"))
    audio.change_detection(32, 50_000, lambda: changed.append("in silence"))
    events += talk(audio, words[RATE // 2 :], 0.5, 2.0)
    assert [event.kind for event in events] == ["starting", "started", "sustained", "stopped"]
    assert changed[1:] == [], "the silence behind the speech is still owed"
    talk(audio, np.zeros_like(words), 2.5, 2.0)
    assert changed[1:] == ["in silence"]
    events = talk(audio, words, 4.5, 2.0)
    assert [event.kind for event in events] == ["starting", "started", "stopped"]
    (track,) = audio.track_stats()
    assert track.received_ms == pytest.approx(6500, abs=40), "counted through the change"
    assert len(queued(audio)) / RATE == pytest.approx(6.5, abs=0.2)


def test_detection_that_stays_needs_no_silence(words: NDArray[np.int16]) -> None:
    audio = make(sustained_ms=300)
    talk(audio, words, 0.0, 0.5)
    changed: list[int] = []
    audio.change_detection(32, 300, lambda: changed.append(1))
    assert changed == [1]


def test_silence_follows_speech_and_then_the_stream_ends_once(words: NDArray[np.int16]) -> None:
    audio = make()
    for start in range(0, 16000, FRAME):
        audio.push(packet(words[start : start + FRAME]), RATE, start / RATE)
    audio.wait(0.98, 10.0)
    assert audio.ends == 1
    assert len(queued(audio)) / RATE == pytest.approx(3.0, abs=0.05)
    assert audio.advance_at is None, "no timer is needed"


def test_nothing_follows_noise_but_the_end() -> None:
    audio = make()
    for index in range(50):
        audio.push(packet(np.full(FRAME, index % 3, np.int16)), RATE, index * 0.02)
    audio.wait(0.98, 10.0)
    assert audio.ends == 1
    assert len(audio.sent) == 50


@pytest.mark.parametrize("start", [5.0, 2**32 / 48000 - 0.01])
def test_a_jump_back_or_a_wrap_of_pts_is_a_new_clock(start: float) -> None:
    audio = make()
    level = np.full(FRAME, 1000, np.int16)
    for index, pts in enumerate((start, start + 0.02, 0.0, 0.02)):
        audio.push(packet(level, pts=pts), RATE, index * 0.02)
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
        audio.push(packet(samples, pts=index * 0.02, channels=channels), RATE, index * 0.02)
    assert len(queued(audio)) / 16 == 1000


def test_who_mutes_in_mid_word_while_others_go_on_has_stopped(words: NDArray[np.int16]) -> None:
    audio = make()
    events: list[tuple[float, str, str]] = []
    for index in range(200):
        at = index * 0.02
        packets = [packet(np.zeros(FRAME, np.int16), "ben")]
        if at < 1.0:
            packets.append(packet(words[index * FRAME : (index + 1) * FRAME], "anna"))
        for each in packets:
            found = audio.push(each, RATE, at)
            events += [(at, e.user_id, e.kind) for e in found if e.kind != "sustained"]
    assert [event[1:] for event in events] == [("anna", kind) for kind in SPOKEN]
    assert 1.2 < events[-1][0] < 1.4, "absent after 0.1 s, and the hangover"
    assert len(queued(audio)) / 16 == pytest.approx(4000, abs=40), "the wire's clock runs at 1x"


def test_who_is_gone_leaves_no_state() -> None:
    audio = make()
    for index in range(40):
        audio.push(packet(np.zeros(FRAME, np.int16), f"guest {index}"), RATE, 0.0)
    assert len(audio.track_stats()) == 40
    audio.push(packet(np.zeros(FRAME, np.int16), "host"), RATE, FORGOTTEN_AFTER_S + 1)
    assert [track.user_id for track in audio.track_stats()] == ["host"]
    assert len(audio._tracks) == len(audio._by_object) == 1


def test_forty_people_do_not_forget_each_other() -> None:
    audio = make()
    for at in np.arange(0, 2, 0.02):
        for index in range(40):
            audio.push(packet(np.zeros(FRAME, np.int16), f"guest {index}"), RATE, float(at))
    assert len(audio.track_stats()) == 40
    assert len(audio._by_object) <= 80


def test_a_refused_first_packet_fixes_nothing() -> None:
    audio = make()
    with pytest.raises(AudioError):
        audio.push(packet(np.zeros(960), sample_rate=48000), 48000, 0.0)
    audio.push(packet(np.zeros(FRAME, np.int16)), 16000, 0.0)
    assert audio.rate == 16000


def test_a_refused_packet_after_a_gap_leaves_the_timeline_right() -> None:
    audio = make()
    level = np.full(FRAME, 1000, np.int16)
    audio.push(packet(level, pts=0.0), RATE, 0.0)
    with pytest.raises(AudioError):
        audio.push(packet(np.zeros(FRAME), pts=0.1), RATE, 0.1)
    audio.wait(0.1, 0.1)
    audio.push(packet(level, pts=0.12), RATE, 0.12)
    audio.wait(0.12, 0.14)
    assert len(queued(audio)) == pytest.approx(0.14 * RATE, abs=2 * FRAME)


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
    frame = packet(np.zeros(FRAME, np.int16))
    for name, value in bad.items():
        setattr(frame, name, value)
    with pytest.raises(AudioError):
        make().push(frame, RATE, 0.0)


def test_a_pts_that_is_no_time_is_none() -> None:
    audio = make()
    for index in range(3):
        frame = packet(np.zeros(FRAME, np.int16))
        frame.pts, frame.time_base = 1, float("nan")
        audio.push(frame, RATE, index * 0.02)
    assert len(queued(audio)) / 16 == 60


def test_a_sign_of_speech_comes_first_and_may_be_nothing(words: NDArray[np.int16]) -> None:
    audio = make(onset_ms=1000)
    events = []
    for start in range(0, 24000, FRAME):
        spoken = words[start : start + FRAME]
        silent = np.zeros(FRAME, np.int16)
        events += audio.push(packet(spoken if start < 8000 else silent), RATE, start / RATE)
    assert set(kinds(events)) == {"starting", "dismissed"}
    assert kinds(events)[-1] == "dismissed"


def test_a_sign_of_speech_ends_with_who_gave_it(words: NDArray[np.int16]) -> None:
    audio = make(onset_ms=5000)
    events: list[SpeechEvent] = []
    for start in range(0, 16000, FRAME):
        events += audio.push(packet(words[start : start + FRAME]), RATE, start / RATE)
        if kinds(events[-1:]) == ["starting"]:
            break
    assert kinds(audio.leave("anna", "1", 1.0)) == ["dismissed"]
    assert audio.track_stats() == []
    assert audio.leave("anna", "1", 1.0) == []


def test_who_leaves_in_mid_word_has_stopped_and_leaves_no_state(words: NDArray[np.int16]) -> None:
    audio = make()
    for start in range(0, 16000, FRAME):
        audio.push(packet(words[start : start + FRAME]), RATE, start / RATE)
        audio.push(packet(np.zeros(FRAME, np.int16), "ben"), RATE, start / RATE)
    assert kinds(audio.leave("anna", "1", 1.0)) == ["stopped"]
    assert [track.user_id for track in audio.track_stats()] == ["ben"]
    before = len(audio.sent)
    for index in range(10):
        audio.push(packet(np.zeros(FRAME, np.int16), "ben"), RATE, 1 + index * 0.02)
    assert len(audio.sent) - before in (10, 11), "nobody waits for who has left"


@pytest.mark.parametrize("away", [0.02, 0.1, 0.7, 35.0])
def test_who_comes_back_is_heard_from_the_first_frame(
    words: NDArray[np.int16], away: float
) -> None:
    audio = make()
    said = spoken(words)[:RATE]
    for start in range(0, RATE, FRAME):
        audio.push(packet(said[start : start + FRAME]), RATE, start / RATE)
    audio.leave("anna", "1", 1.0)
    audio.wait(0.98, 1.0 + away)
    audio.join("anna", "1")
    audio.sent.clear()
    events = []
    for start in range(0, RATE, FRAME):
        at = 1.0 + away + start / RATE
        events += audio.push(packet(said[start : start + FRAME]), RATE, at)
    assert kinds(events) == SPOKEN[:2]
    audio.wait(at, at + 0.3)
    assert said_in(queued(audio), said)


def test_the_last_packets_of_who_has_left_bring_nobody_back() -> None:
    audio = make()
    frame = np.zeros(FRAME, np.int16)
    audio.push(packet(frame), RATE, 0.0)
    audio.leave("anna", "1", 0.01)
    assert audio.push(packet(frame), RATE, 0.05) == []
    assert audio.track_stats() == []
    other = packet(frame)
    other.participant = SimpleNamespace(user_id="anna", session_id="1")
    audio.push(other, RATE, 0.06)
    assert len(audio.track_stats()) == 1, "another track of theirs is no late packet"
    audio.leave("anna", "1", 0.07)
    audio.push(packet(frame), RATE, 0.07 + IN_FLIGHT_S)
    assert len(audio.track_stats()) == 1, "and who goes on without having joined is heard"


@pytest.mark.parametrize("samples", [np.full(FRAME, 9000, np.int16), b"\x01\x02" * FRAME])
def test_what_is_muted_is_silence_at_the_same_pace(samples: Any) -> None:
    audio = make()
    for index in range(10):
        audio.push(packet(samples), RATE, index * 0.02, muted=True)
    assert len(queued(audio)) == 10 * FRAME
    assert not queued(audio).any()


# -- tracks ------------------------------------------------------------------------------------


def of_track(participant: Any, samples: NDArray[np.int16], pts: float | None) -> Any:
    frame = packet(samples, pts=pts)
    frame.participant = participant
    return frame


@pytest.mark.parametrize(("stamped", "lasting"), [(True, True), (True, False), (False, True)])
def test_microphone_and_shared_sound_of_one_person_are_two_sources(
    stamped: bool, lasting: bool
) -> None:
    audio = make()
    seconds = 4
    tones = [signals.tone(hz, 1000 * seconds, RATE, -12) for hz in (440, 1000)]
    anna = [SimpleNamespace(user_id="anna", session_id="1") for _ in tones]
    for index in range(50 * seconds):
        at = index * 0.02
        for track, tone in enumerate(tones):
            who = anna[track] if lasting else SimpleNamespace(user_id="anna", session_id="1")
            pts = at + 1234.5 * track if stamped else None
            samples = tone[index * FRAME : (index + 1) * FRAME]
            audio.push(of_track(who, samples, pts), RATE, at)
    assert len(audio.track_stats()) == 2
    assert len(queued(audio)) / RATE == pytest.approx(seconds, abs=0.04)
    middle = queued(audio)[RATE : 3 * RATE].astype(float)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    hz = np.fft.rfftfreq(len(middle), 1 / RATE)
    both = (np.abs(hz - 440) < 40) | (np.abs(hz - 1000) < 40)
    tones_at = [spectrum[np.abs(hz - each) < 5].max() for each in (440, 1000)]
    assert min(tones_at) > 100 * spectrum[~both].max(), "and neither is chopped"


def test_shared_sound_is_sent_and_tells_of_no_speech(words: NDArray[np.int16]) -> None:
    audio = make()
    microphone = SimpleNamespace(user_id="anna", session_id="1")
    screen = SimpleNamespace(user_id="anna", session_id="1")
    audio.expect_track("anna", "1", "voice")
    audio.expect_track("anna", "1", "sound")
    said = spoken(words)[:RATE]
    silence = np.zeros(FRAME, np.int16)
    events = []
    for index in range(50):
        at = index * 0.02
        events += audio.push(of_track(microphone, silence, at), RATE, at)
        shared = said[index * FRAME : (index + 1) * FRAME]
        events += audio.push(of_track(screen, shared, at + 77), RATE, at)
    assert events == []
    assert said_in(queued(audio), said[: 49 * FRAME])
    assert [track.kind for track in audio.track_stats()] == ["voice", "sound"]
    for index in range(50, 100):
        at = index * 0.02
        shared = said[(index - 50) * FRAME : (index - 49) * FRAME]
        events += audio.push(of_track(microphone, shared, at), RATE, at)
    assert kinds(events) == SPOKEN[:2], "their microphone still does"


def test_shared_sound_that_was_paused_for_long_is_still_no_speech(
    words: NDArray[np.int16],
) -> None:
    audio = make()
    screen = SimpleNamespace(user_id="anna", session_id="1")
    audio.expect_track("anna", "1", "sound")
    said = spoken(words)[: 2 * RATE].reshape(-1, FRAME)
    events = []
    for again in (0.0, 25.0, 65.0, 160.0):
        for index, shared in enumerate(said):
            at = again + index * 0.02
            events += audio.push(of_track(screen, shared, at), RATE, at)
        assert [track.kind for track in audio.track_stats()][-1] == "sound"
        if again >= 65.0:
            # Somebody comes, which is when tracks are forgotten that send nothing.
            late = again + FORGOTTEN_AFTER_S + 3
            audio.push(packet(np.zeros(FRAME, np.int16), f"guest {again}"), RATE, late)
    assert events == []
    audio.leave("anna", "1", 200.0)
    assert len(audio._by_object) == len(audio._tracks) == 1


# -- loudspeakers ------------------------------------------------------------------------------


def speaks(echo: EchoReference, now: float) -> None:
    """The assistant is heard."""
    echo.push(signals.tone(300, 20, 48000, -20), now)


def test_who_may_be_a_loudspeaker_waits_and_is_sent_whole(words: NDArray[np.int16]) -> None:
    echo = EchoReference()
    audio, plain = make(echo=echo), make()
    said = spoken(words)
    for index in range(len(said) // FRAME):
        frame, now = said[index * FRAME : (index + 1) * FRAME], index * 0.02
        speaks(echo, now)
        audio.push(packet(frame), RATE, now)
        plain.push(packet(frame), RATE, now)
    # The wire goes on with silence meanwhile, and the words follow whole.
    first = np.flatnonzero(queued(audio))[0]
    assert first / RATE == pytest.approx(0.4, abs=0.05)
    sent = queued(audio)[first:]
    wanted = queued(plain)[np.flatnonzero(queued(plain))[0] :][: len(sent) // 2]
    assert np.array_equal(sent[: len(wanted)], wanted)
    assert audio.echo_suppressed_ms == 0


def test_nobody_waits_for_the_classification_of_another(words: NDArray[np.int16]) -> None:
    echo = EchoReference()
    audio = make(echo=echo)
    said = spoken(words)
    for index in range(80):  # ben is known to send no echo
        speaks(echo, index * 0.02)
        audio.push(packet(np.zeros(FRAME, np.int16), "ben"), RATE, index * 0.02)
    audio.sent.clear()
    for index in range(15):  # anna is new, and speaks
        now = 1.6 + index * 0.02
        speaks(echo, now)
        audio.push(packet(said[index * FRAME : (index + 1) * FRAME], "anna"), RATE, now)
        audio.push(packet(np.full(FRAME, 500, np.int16), "ben"), RATE, now)
    assert (queued(audio) == 500).sum() >= 14 * FRAME, "ben is sent at once, and alone"


@pytest.mark.parametrize("ends", ["mutes", "leaves"])
def test_who_goes_while_they_may_be_an_echo_is_sent_whole(
    words: NDArray[np.int16], ends: str
) -> None:
    echo = EchoReference()
    audio = make(echo=echo)
    said = spoken(words)[: 15 * FRAME]
    events = []
    for index in range(15):
        now = index * 0.02
        speaks(echo, now)
        events += audio.push(packet(said[index * FRAME : (index + 1) * FRAME]), RATE, now)
    assert not queued(audio).any()
    if ends == "leaves":
        events += audio.leave("anna", "1", 0.3)
    events += audio.wait(0.28, 1.5)
    assert kinds(events) == SPOKEN
    assert said_in(queued(audio), said)


def test_the_first_sign_of_speech_is_told_while_it_may_be_an_echo(
    words: NDArray[np.int16],
) -> None:
    echo = EchoReference()
    audio = make(echo=echo)
    said = spoken(words)
    told = []
    for index in range(30):
        now = index * 0.02
        speaks(echo, now)
        frame = said[index * FRAME : (index + 1) * FRAME]
        told += [(now, each.kind) for each in audio.push(packet(frame), RATE, now)]
    (sign, starting), (start, started) = told[:2]
    assert (starting, started) == ("starting", "started")
    assert sign < 0.15
    assert 0.35 < start <= 0.42


def test_half_a_second_of_quiet_tells_that_no_echo_comes(words: NDArray[np.int16]) -> None:
    echo = EchoReference()
    audio = make(echo=echo)
    noise = np.random.default_rng(1).normal(0, 3, 30 * FRAME).astype(np.int16)
    for index in range(30):
        now = index * 0.02
        speaks(echo, now)
        audio.push(packet(noise[index * FRAME : (index + 1) * FRAME]), RATE, now)
    said = spoken(words)
    told = []
    for index in range(30):
        now = 0.6 + index * 0.02
        speaks(echo, now)
        frame = said[index * FRAME : (index + 1) * FRAME]
        told += [(now - 0.6, each.kind) for each in audio.push(packet(frame), RATE, now)]
    started = next(at for at, kind in told if kind == "started")
    assert started <= 0.12


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
                self.audio.push(packet(frame, who), RATE, self.now)
            self.now += 0.02


def test_the_active_speaker_is_sent_alone_and_from_before_the_first_word(
    words: NDArray[np.int16],
) -> None:
    audio = make(listen_to="active_speaker")
    meeting = Meeting(audio)
    meeting.run(1.0)
    assert (queued(audio) == 40).all(), "anna came first"
    said = spoken(words)[: 2 * RATE]
    meeting.run(3.0, ben=said)
    sound = queued(audio)
    assert said_in(sound, said - 40), "all of it, from the first sample, and nobody mixed in"
    before = sound.tobytes().find((said - 40).tobytes()) // 2
    lead_in = sound[before - RATE // 20 : before]
    assert np.abs(lead_in + 40).max() <= 1, "and 50 ms from before it, but for rounding in a fade"


def test_the_floor_is_kept_while_its_holder_speaks(words: NDArray[np.int16]) -> None:
    audio = make(listen_to="active_speaker")
    meeting = Meeting(audio)
    meeting.run(0.5)
    said = spoken(words)[: 2 * RATE]
    meeting.run(2.0, anna=said, ben=said[RATE:])
    assert said_in(queued(audio), said + 40)


def test_the_wire_runs_at_1x_whoever_has_the_floor(words: NDArray[np.int16]) -> None:
    audio = make(listen_to="active_speaker")
    meeting = Meeting(audio)
    meeting.run(0.5)
    for who in ("ben", "anna", "ben", "anna"):
        meeting.run(2.0, **{who: spoken(words)[: round(1.2 * RATE)]})
        assert len(queued(audio)) / RATE == pytest.approx(meeting.now, abs=0.04)
    meeting.run(1.0)
    delays = [track.delay_ms for track in audio.track_stats()]
    assert max(delays) <= 80, "the pre-rolls are paid back in silence"


@pytest.mark.parametrize("ends", ["mutes", "leaves"])
def test_the_floor_goes_on_when_its_holder_is_gone(words: NDArray[np.int16], ends: str) -> None:
    audio = make(listen_to="active_speaker")
    meeting = Meeting(audio)
    said = spoken(words)[: RATE // 2]
    meeting.run(0.5, anna=said)
    if ends == "leaves":
        audio.leave("anna", "1", meeting.now)
    said = spoken(words)[RATE:][:RATE]
    silence = np.zeros(RATE // 2, np.int16)
    later = np.concatenate([silence, said, silence, silence])
    for start in range(0, len(later), FRAME):
        frame = later[start : start + FRAME]
        audio.push(packet(frame, "ben"), RATE, meeting.now)
        meeting.now += 0.02
    assert said_in(queued(audio), said)
    assert len(queued(audio)) / RATE == pytest.approx(meeting.now, abs=0.04)
