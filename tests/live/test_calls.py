"""One assistant and its calls: one at a time, one after the other, and without any.

The service and the clock are as in `test_turn_taking`; the connection is what `attach` uses of the
SDK's, with a reader that stops when the call is over.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from call_connection import PACES_ITSELF, CallConnection, State
from getstream.plugins.gemini.errors import AudioError, CallError, ConfigError
from getstream.plugins.gemini.live import GeminiLive, Interrupted, PlaybackFinished
from getstream.plugins.gemini.testing import LiveSession, Parrot, Script, Turn, signals
from getstream.plugins.gemini.testing.clock import run_virtual
from getstream.video.rtc import PcmData
from room import GRACE, MODEL, TEXT, WIRE, Local, hears, voice, words

older_sdk = pytest.mark.skipif(
    PACES_ITSELF, reason="getstream 6 does not tell that a track is published no more"
)


class Connection(CallConnection):
    """A call in which everything the assistant says is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.participants_state = self

    async def leave(self) -> None:
        """Leave as the SDK does: `wait` returns, then nothing is read any more."""
        self._over.set()
        await asyncio.sleep(0)
        self.connection_state = State.LEFT
        await self.stop()

    @property
    def sound(self) -> Any:
        return np.concatenate([*self.heard, np.zeros(960, np.int16)])

    async def says(self, samples: Any, who: str = "anna") -> None:
        """A participant says that, in real time."""
        person = SimpleNamespace(user_id=who, session_id="1")
        loop = asyncio.get_running_loop()
        start = loop.time()
        for index in range(len(samples) // 320):
            chunk = samples[320 * index : 320 * (index + 1)]
            self.emit(
                "audio",
                PcmData(sample_rate=WIRE, format="s16", samples=chunk, participant=person),
            )
            await asyncio.sleep(start + (index + 1) * 0.02 - loop.time())


class Hall:
    """The assistant, the service, and what it tells."""

    def __init__(self, gemini: GeminiLive, session: LiveSession) -> None:
        self.gemini = gemini
        self.session = session
        self.events: list[tuple[str, Any]] = []
        for name in ("interrupted", "playback_finished", "turn_complete", "audio", "error"):
            gemini.on(name, lambda event, name=name: self.events.append((name, event)))

    def of(self, name: str) -> list[Any]:
        return [event for kind, event in self.events if kind == name]

    @property
    def queued_ms(self) -> float:
        return self.gemini.stats().queued_ms


def hold(
    local: Local, scenario: Callable[[Hall], Awaitable[None]], reply: Any, **options: Any
) -> None:
    async def main() -> None:
        async with local(reply) as server, GeminiLive(**options) as gemini:
            await scenario(Hall(gemini, await server.wait_session()))

    run_virtual(main(), grace=GRACE)


async def attached(hall: Hall) -> Connection:
    connection = Connection()
    await hall.gemini.attach(connection)
    await asyncio.sleep(1.0)
    return connection


# -- one after the other ---------------------------------------------------------------------------

STORY = voice(8.0, seed=5)
GREETING = voice(1.0, seed=6)


async def in_mid_story(hall: Hall) -> Connection:
    """A call in which the assistant tells a long story, 1 s after it began."""
    connection = await attached(hall)
    await hall.gemini.send_text("Tell a story.")
    await asyncio.sleep(1.0)
    assert hears(connection.sound, STORY[: MODEL // 2]) > 0.9
    return connection


@pytest.mark.parametrize("how", ["left", "ended"])
def test_what_is_left_of_a_call_is_not_heard_in_the_next(local: Local, how: str) -> None:
    async def scenario(hall: Hall) -> None:
        first = await in_mid_story(hall)
        if how == "ended":
            first.emit("call_ended", SimpleNamespace(reason=0))
            await asyncio.sleep(0.1)
            assert hall.queued_ms == 0
        await first.leave()
        assert hall.queued_ms == 0, "it does not wait for anybody"
        second = await attached(hall)
        await hall.gemini.send_text("Greet.")
        await asyncio.sleep(3.0)
        assert hears(second.sound, GREETING) > 0.95, "the next call has its own"
        for part in range(1, 8):
            story = STORY[part * MODEL : (part + 1) * MODEL]
            assert abs(hears(second.sound, story)) < 0.5
        (cut,) = hall.of("interrupted")
        assert (cut.turn, cut.cause) == (1, "call")
        assert 900 < cut.heard_ms < 1200
        story_over, greeted = hall.of("playback_finished")
        assert isinstance(story_over, PlaybackFinished)
        assert (story_over.turn, story_over.cut, story_over.heard_ms) == (1, True, cut.heard_ms)
        assert (greeted.turn, greeted.cut, greeted.heard_ms) == (2, False, 1000)
        stats = hall.gemini.stats()
        assert stats.played_ms + stats.dropped_ms == pytest.approx(9000, abs=1)
        await second.leave()

    hold(local, scenario, Script([Turn(audio=STORY, text=TEXT), Turn(audio=GREETING, text="Hi.")]))


@older_sdk
def test_by_hand_nothing_is_left_either(local: Local) -> None:
    async def scenario(hall: Hall) -> None:
        connections = [Connection(), Connection()]
        for connection, text in zip(connections, ("Story.", "Greet."), strict=True):
            await connection.add_tracks(audio=hall.gemini.output_track)
            await asyncio.sleep(1.0)
            await hall.gemini.send_text(text)
            await asyncio.sleep(1.5)
            await connection.leave()
            await asyncio.sleep(0.01)
            assert hall.queued_ms == 0
        assert abs(hears(connections[1].sound, STORY[2 * MODEL : 3 * MODEL])) < 0.5
        assert hears(connections[1].sound, GREETING) > 0.95

    hold(local, scenario, Script([Turn(audio=STORY), Turn(audio=GREETING)]))


def test_speech_before_the_first_call_waits_for_it(local: Local) -> None:
    async def scenario(hall: Hall) -> None:
        await hall.gemini.send_text("Greet.")
        await asyncio.sleep(5.0)
        assert hall.queued_ms == 1000
        connection = await attached(hall)
        await asyncio.sleep(2.0)
        assert hears(connection.sound, GREETING) > 0.95
        await connection.leave()

    hold(local, scenario, Script([Turn(audio=GREETING)]))


def audio_of(samples: Any) -> dict[str, Any]:
    data = base64.b64encode(samples.tobytes()).decode()
    blob = {"mimeType": "audio/pcm;rate=24000", "data": data}
    return {"serverContent": {"modelTurn": {"parts": [{"inlineData": blob}]}}}


COMPLETE = {"serverContent": {"generationComplete": True, "turnComplete": True}}


def test_the_rest_of_a_turn_and_late_answers_stay_in_the_call_they_belong_to(local: Local) -> None:
    late, asked = voice(1.0, seed=8), voice(1.0, seed=9)

    async def scenario(hall: Hall) -> None:
        first = await attached(hall)
        await hall.session.send(audio_of(STORY[:MODEL]))
        await asyncio.sleep(0.5)
        await first.leave()
        await hall.session.send(audio_of(STORY[MODEL : 2 * MODEL]))  # the rest of the turn
        await hall.session.send(COMPLETE)
        await asyncio.sleep(0.5)
        assert hall.queued_ms == 0
        second = await attached(hall)
        await hall.session.send(audio_of(late))  # the answer to the last words of the first call
        await hall.session.send(COMPLETE)
        await asyncio.sleep(2.0)
        assert not np.abs(second.sound).any(), "nobody in this call has asked for anything"
        await second.says(np.concatenate([words(1.5), np.zeros(WIRE, np.int16)]))
        await hall.session.send(audio_of(asked))
        await hall.session.send(COMPLETE)
        await asyncio.sleep(2.0)
        assert hears(second.sound, asked) > 0.95
        assert abs(hears(second.sound, late)) < 0.5
        await second.leave()

    hold(local, scenario, Script([[]] * 99))


def test_a_hold_does_not_outlive_its_call(local: Local) -> None:
    async def scenario(hall: Hall) -> None:
        first = await in_mid_story(hall)
        await hall.gemini.interrupt_playback()
        await asyncio.sleep(0.5)
        await first.leave()
        second = await attached(hall)
        await hall.gemini.send_text("Greet.")
        await asyncio.sleep(3.0)
        assert hears(second.sound, GREETING) > 0.95
        await second.leave()

    hold(local, scenario, Script([Turn(audio=STORY), Turn(audio=GREETING)]))


def test_the_people_of_a_call_are_gone_with_it(local: Local) -> None:
    async def scenario(hall: Hall) -> None:
        first = await attached(hall)
        speaking = asyncio.ensure_future(first.says(words(3.0)))
        await asyncio.sleep(1.0)
        assert [track.user_id for track in hall.gemini.stats().tracks] == ["anna"]
        await first.leave()
        frames = hall.gemini.stats().frames_in
        assert not hall.gemini.stats().tracks
        assert not any(first.handlers.values()), "nothing listens to it any more"
        await speaking
        assert hall.gemini.stats().frames_in == frames
        second = await attached(hall)
        await second.says(words(0.5), who="ben")
        assert [track.user_id for track in hall.gemini.stats().tracks] == ["ben"]
        await second.leave()

    hold(local, scenario, Script([[]] * 99))


def test_a_connection_may_have_removed_its_listeners(local: Local) -> None:
    async def scenario(hall: Hall) -> None:
        first = await in_mid_story(hall)
        for event in first.handlers:
            first.handlers[event].clear()
        await first.leave()
        assert hall.queued_ms == 0
        await (await attached(hall)).leave()

    hold(local, scenario, Script([Turn(audio=STORY)]))


def test_the_picture_of_a_call_ends_with_it(local: Local) -> None:
    class Camera:
        track_type = 2  # TRACK_TYPE_VIDEO
        participant = SimpleNamespace(user_id="anna", session_id="1")

        def __init__(self) -> None:
            self.read = 0

        async def video_frames(self) -> Any:
            while True:  # this one does not notice that its call is over
                self.read += 1
                yield av.VideoFrame(64, 48, "yuv420p")
                await asyncio.sleep(0.1)

    async def scenario(hall: Hall) -> None:
        cameras = []
        for _ in range(2):
            connection, camera = Connection(), Camera()
            await hall.gemini.attach(connection, video=True, fps=5)
            for handler in connection.handlers["track_added"]:
                result = handler(camera)
                if result is not None:
                    await result
            while camera.read < 5:  # a picture is made in a thread, which has another clock
                await asyncio.sleep(0.1)
            await connection.leave()
            await asyncio.sleep(0.3)
            cameras.append((camera, camera.read))
        await asyncio.sleep(1.0)
        assert [camera.read for camera, _ in cameras] == [read for _, read in cameras]

    hold(local, scenario, Script([[]] * 99))


def test_many_calls_leave_nothing(local: Local) -> None:
    async def scenario(hall: Hall) -> None:
        before = len(asyncio.all_tasks())
        for _ in range(20):
            connection = await attached(hall)
            await connection.says(words(0.2))
            await connection.leave()
            await asyncio.sleep(0.1)
        assert len(asyncio.all_tasks()) == before
        assert not hall.of("error")

    hold(local, scenario, Script([[]] * 99))


# -- one at a time ---------------------------------------------------------------------------------


def test_two_calls_at_once_are_refused(local: Local) -> None:
    async def scenario(hall: Hall) -> None:
        first, second = await attached(hall), Connection()
        with pytest.raises(CallError, match="another call"):
            await hall.gemini.attach(second)
        assert not second.handlers
        with pytest.raises(CallError, match="already"):
            await hall.gemini.attach(first)
        await hall.gemini.send_text("Greet.")
        await asyncio.sleep(2.0)
        assert hears(first.sound, GREETING) > 0.95, "the first call has lost nothing"
        await first.leave()
        with pytest.raises(CallError, match="left its call"):
            await hall.gemini.attach(first)
        await hall.gemini.attach(second)
        await second.leave()

    hold(local, scenario, Script([Turn(audio=GREETING)]))


def test_a_call_that_could_not_be_published_to_is_in_nobodys_way(local: Local) -> None:
    class Broken(Connection):
        async def add_tracks(self, audio: Any) -> None:
            raise RuntimeError("no permission")

    async def scenario(hall: Hall) -> None:
        for _ in range(2):
            with pytest.raises(CallError, match="no permission"):
                await hall.gemini.attach(Broken())
        await (await attached(hall)).leave()

    hold(local, scenario, Script([[]] * 99))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (None, ConfigError),
        ("call", ConfigError),
        (3, ConfigError),
        (SimpleNamespace(on=print), ConfigError),
        (SimpleNamespace, ConfigError),
    ],
)
def test_what_is_no_connection_is_told(local: Local, wrong: Any, error: Any) -> None:
    async def scenario(hall: Hall) -> None:
        with pytest.raises(error, match=r"rtc\.join"):
            await hall.gemini.attach(wrong)
        await (await attached(hall)).leave()

    hold(local, scenario, Script([[]] * 99))


def test_a_connection_that_was_not_awaited_is_told(local: Local) -> None:
    async def join() -> None: ...

    async def scenario(hall: Hall) -> None:
        with pytest.raises(ConfigError, match=r"await rtc\.join"):
            await hall.gemini.attach(join())

    hold(local, scenario, Script([[]] * 99))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"audio": "yes"}, ConfigError),
        ({"video": None}, ConfigError),
        ({"video": True, "fps": "1"}, ConfigError),
        ({"target_rate": 44101}, AudioError),
        ({"target_rate": None}, AudioError),
    ],
)
def test_wrong_options_are_told_before_anything_is_wired(
    local: Local, options: dict[str, Any], error: Any
) -> None:
    async def scenario(hall: Hall) -> None:
        connection = Connection()
        with pytest.raises(error):
            await hall.gemini.attach(connection, **options)
        assert not connection.handlers
        assert not connection.tasks

    hold(local, scenario, Script([[]] * 99))


def test_one_session_has_one_rate(local: Local) -> None:
    async def scenario(hall: Hall) -> None:
        frame = PcmData(sample_rate=WIRE, format="s16", samples=np.zeros(320, np.int16))
        await hall.gemini.send_audio_pcm(frame)  # at the documented 48000
        with pytest.raises(AudioError, match="48000 Hz since the first"):
            await hall.gemini.attach(Connection())
        connection = Connection()
        await hall.gemini.attach(connection, target_rate=48000)
        await connection.says(np.zeros(1600, np.int16))
        assert hall.gemini.stats().frames_in == 6
        await connection.leave()

    hold(local, scenario, Script([[]] * 99))


# -- nobody reads ----------------------------------------------------------------------------------


async def speak(gemini: GeminiLive, samples: Any) -> None:
    """Send speech as frames of 20 ms, and half a second of silence, in real time."""
    loop = asyncio.get_running_loop()
    everything = np.concatenate([samples, np.zeros(WIRE // 2, np.int16)])
    start = loop.time()
    for index in range(len(everything) // 320):
        chunk = everything[320 * index : 320 * (index + 1)]
        await gemini.send_audio_pcm(PcmData(sample_rate=WIRE, format="s16", samples=chunk), WIRE)
        await asyncio.sleep(start + (index + 1) * 0.02 - loop.time())


def loud_ms(session: LiveSession) -> float:
    """Return the speech that has reached the service, in milliseconds."""
    samples = np.concatenate([each.samples for each in session.audio])
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    return 20.0 * int((np.abs(frames.astype(int)).max(axis=1) > 500).sum())


@pytest.mark.parametrize("playback", [True, False])
@pytest.mark.parametrize("half_duplex", [True, False])
def test_an_application_without_a_track_is_heard(
    local: Local, playback: bool, half_duplex: bool
) -> None:
    reply = voice(2.0)

    async def scenario(hall: Hall) -> None:
        for turn in (1, 2, 3):
            await hall.gemini.send_text("Go on.")
            await asyncio.sleep(4.0)
            before = loud_ms(hall.session) if hall.session.audio else 0.0
            await speak(hall.gemini, words(1.5))
            await asyncio.sleep(1.0)
            assert loud_ms(hall.session) - before > 800, f"deaf behind turn {turn}"
        sound = b"".join(hall.of("audio"))
        assert sound == 3 * reply.tobytes(), "the event brings all of it"
        assert [each.turn for each in hall.of("turn_complete")] == [1, 2, 3]
        assert not hall.of("interrupted")
        assert hall.gemini.stats().barge_ins == 0
        assert hall.gemini.stats().dropped_ms == 0
        if not playback:
            assert hall.queued_ms == 0
            told = hall.of("playback_finished")
            assert [(each.turn, each.cut, each.heard_ms) for each in told] == [
                (turn, False, 2000.0) for turn in (1, 2, 3)
            ]

    script = Script([Turn(audio=reply, text="One two three.")] * 3)
    hold(local, scenario, script, half_duplex=half_duplex, playback=playback)


def test_half_duplex_without_a_track_is_deaf_while_it_is_heard(local: Local) -> None:
    async def scenario(hall: Hall) -> None:
        await hall.gemini.send_text("Go on.")
        await asyncio.sleep(0.5)
        await speak(hall.gemini, words(1.5))
        assert loud_ms(hall.session) == 0

    hold(local, scenario, Script([Turn(audio=voice(4.0))]), half_duplex=True, playback=False)


def test_who_plays_it_himself_is_told_when_to_stop(local: Local) -> None:
    """A reply comes in a burst; 3 s later, with the turn complete, somebody interrupts."""

    async def scenario(hall: Hall) -> None:
        await hall.gemini.send_text("Tell a story.")
        await asyncio.sleep(3.0)
        assert [each.turn for each in hall.of("turn_complete")] == [1]
        begin = asyncio.get_running_loop().time()
        cut: asyncio.Future[Interrupted] = asyncio.get_running_loop().create_future()
        hall.gemini.once("interrupted", cut.set_result)
        speaking = asyncio.ensure_future(speak(hall.gemini, words(2.5)))
        interrupted = await cut
        waited = asyncio.get_running_loop().time() - begin
        assert (interrupted.turn, interrupted.cause) == (1, "speech")
        assert interrupted.heard_ms == pytest.approx(1000 * (3.0 + waited), abs=150)
        await speaking
        assert hall.queued_ms == 0

    hold(local, scenario, Script([Turn(audio=STORY, text=TEXT)]), playback=False)


def test_without_a_track_attach_hears_and_publishes_nothing(local: Local) -> None:
    async def scenario(hall: Hall) -> None:
        with pytest.raises(ConfigError, match="playback=False"):
            _ = hall.gemini.output_track
        connection = await attached(hall)
        assert not connection.tasks
        await connection.says(words(1.0))
        assert loud_ms(hall.session) > 500
        await connection.leave()
        assert not hall.gemini.stats().tracks
        await hall.gemini.close()

    hold(local, scenario, Script([[]] * 99), playback=False)


def test_playback_is_a_switch() -> None:
    with pytest.raises(ConfigError, match="playback"):
        GeminiLive("key", playback="no")  # type: ignore[arg-type]


# -- chunks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1921, 1, 4801])
def test_chunks_that_cut_samples_are_joined(local: Local, size: int) -> None:
    reply = signals.speech_like(40 if size == 1 else 2000, MODEL, seed=13)
    raw = reply.tobytes()

    async def scenario(hall: Hall) -> None:
        connection = await attached(hall)
        for at in range(0, len(raw), size):
            data = base64.b64encode(raw[at : at + size]).decode()
            blob = {"mimeType": "audio/pcm;rate=24000", "data": data}
            content = {"modelTurn": {"parts": [{"inlineData": blob}]}}
            await hall.session.send({"serverContent": content})
        await hall.session.send(COMPLETE)
        await asyncio.sleep(3.0)
        stats = hall.gemini.stats()
        assert stats.played_ms == len(reply) / 24
        assert stats.unreadable_messages == 0
        assert hears(connection.sound, reply) > 0.95
        chunks = hall.of("audio")
        assert b"".join(chunks) == raw
        assert all(len(chunk) % 2 == 0 and chunk for chunk in chunks)
        await connection.leave()

    hold(local, scenario, Script([[]] * 99))


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize(("ms", "chunk"), [(20, 20), (33, 33), (60, 20), (130, 40), (2005, 240)])
def test_the_tail_of_a_reply_is_played_whenever_its_end_is_told(
    local: Local, ms: int, chunk: int, late: bool
) -> None:
    reply = signals.speech_like(ms, MODEL, seed=8)

    async def scenario(hall: Hall) -> None:
        connection = await attached(hall)
        for at in range(0, len(reply), chunk * 24):
            await hall.session.send(audio_of(reply[at : at + chunk * 24]))
        await asyncio.sleep(ms / 1000 + 0.5)
        assert hall.gemini.stats().played_ms == ms
        if late:
            await asyncio.sleep(4.0)
            await hall.session.send(COMPLETE)
            await asyncio.sleep(0.5)
            assert [each.heard_ms for each in hall.of("playback_finished")] == [ms]
        await connection.leave()

    hold(local, scenario, Script([[]] * 99))


def test_after_underruns_the_tail_does_not_wait_for_the_prefill(local: Local) -> None:
    reply = voice(1.0)

    async def scenario(hall: Hall) -> None:
        connection = await attached(hall)
        # Each gap is an underrun; the last 100 ms are less than the prefill has become by then.
        for start, stop in ((0, 300), (300, 600), (600, 900), (900, 1000)):
            await hall.session.send(audio_of(reply[start * 24 : stop * 24]))
            await asyncio.sleep(0.9)
        assert hall.gemini.stats().underruns >= 3
        assert hall.gemini.stats().played_ms == 1000
        await connection.leave()

    hold(local, scenario, Script([[]] * 99))


def test_parrot_is_answered_in_each_of_three_calls(local: Local) -> None:
    async def scenario(hall: Hall) -> None:
        said = words(1.5)
        for _ in range(3):
            connection = await attached(hall)
            await connection.says(np.concatenate([said, np.zeros(4 * WIRE, np.int16)]))
            answer = connection.sound[::3]
            assert signals.align(said, answer, WIRE).correlation > 0.9
            await connection.leave()

    hold(local, scenario, Parrot())
