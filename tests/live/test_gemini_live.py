"""`GeminiLive` from the constructor to `close()`, against the local server over real sockets."""

from __future__ import annotations

import asyncio
import base64
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import soxr
from getstream.plugins.gemini.errors import (
    AudioError,
    AuthError,
    CallError,
    ClosedError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    GeminiError,
    ModelNotFoundError,
    QuotaError,
    RequestError,
    SessionError,
)
from getstream.plugins.gemini.live import (
    GeminiLive,
    Interrupted,
    TurnComplete,
    _emitter,
    _supervisor,
)
from getstream.plugins.gemini.live._media.capture import SpeechEvent
from getstream.plugins.gemini.live._options import build_config
from getstream.plugins.gemini.live._session import connection as session_module
from getstream.plugins.gemini.testing import (
    QUOTA_EXCEEDED,
    Abort,
    Close,
    LiveSession,
    LocalGemini,
    NeverAnswer,
    Parrot,
    Reject,
    Script,
    Stall,
    Turn,
    signals,
)
from getstream.utils import StreamAsyncIOEventEmitter
from getstream.video.rtc import PcmData
from getstream.video.rtc.connection_manager import ConnectionManager

Local = Callable[..., Any]

FADE_MS = 5  # what a cut still plays, so that it is no click


def pcm(samples: Any, rate: int = 48000, **more: Any) -> PcmData:
    samples = np.asarray(samples)
    kind = "f32" if samples.dtype == np.float32 else "s16"
    return PcmData(sample_rate=rate, format=kind, samples=samples, **more)


async def speak(gemini: GeminiLive, samples: Any, rate: int = 48000, wire: int = 16000) -> None:
    """Send speech as 20 ms frames, and silence after it so that its end is heard."""
    step = rate // 50
    quiet = np.zeros(rate, np.int16)
    everything = np.concatenate([samples, quiet])
    starts = range(0, len(everything) - step + 1, step)
    await talk(gemini, [pcm(everything[start : start + step], rate) for start in starts], wire)


async def talk(gemini: GeminiLive, frames: list[Any], wire: int = 16000) -> None:
    """Send frames of 20 ms as they come from a call, in real time."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    for index, frame in enumerate(frames):
        await gemini.send_audio_pcm(frame, wire)
        await asyncio.sleep(start + (index + 1) * 0.02 - loop.time())


async def heard(gemini: GeminiLive, frames: int) -> Any:
    """Take frames from the track as the SDK does, at most until nothing is queued."""
    sound = []
    while len(sound) < frames and (not sound or gemini.stats().queued_ms > 0):
        sound.append((await gemini.output_track.recv()).to_ndarray().reshape(-1))
    return np.concatenate(sound)


async def ready_again(gemini: GeminiLive) -> type[BaseException] | None:
    """Return what `wait_until_ready(0)` raises."""
    try:
        await gemini.wait_until_ready(0)
    except GeminiError as error:
        return type(error)
    return None


async def happens(gemini: GeminiLive, event: str) -> tuple[Any, ...]:
    """Wait for the next `event` and return its arguments."""
    future: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()
    gemini.once(event, lambda *args: future.done() or future.set_result(args))
    return await asyncio.wait_for(future, 10)


# -- the ordinary life ---------------------------------------------------------------------------


async def test_a_text_is_answered_aloud(local: Local, collect: Any) -> None:
    voice = signals.speech_like(600, 24000, seed=1)
    async with local(Script([Turn(audio=voice, text="Good morning all")])) as server:
        async with GeminiLive() as gemini:
            seen = collect(gemini, "audio", "text", "turn_complete", "error", "closed")
            complete = asyncio.ensure_future(happens(gemini, "turn_complete"))
            await gemini.send_text("Say hello.")
            (turn,) = await complete
            assert turn == TurnComplete(1, "Good morning all")
            sound = b"".join(item[1] for item in seen if item[0] == "audio")
            assert sound == voice.tobytes(), "the event carries the audio as it came"
            assert "".join(item[1] for item in seen if item[0] == "text") == turn.text
            played = await heard(gemini, 40)
            match = signals.align(voice, played[::2], 24000)
            assert match.correlation > 0.98
            assert abs(match.gain_db) < 0.2
        session = server.sessions[0]
        assert seen[-1] == ("closed", None)
        assert session.setup["model"] == "models/gemini-3.8-live"
        await session.wait_closed()
        assert session.closed_by == "client"
        assert session.setup["sessionResumption"] == {}
    assert gemini.stats().played_ms == pytest.approx(600, abs=1)


async def test_speech_reaches_the_service_and_comes_back(local: Local) -> None:
    words = signals.speech_like(1500, 48000, seed=3)
    async with local(Parrot()) as server, GeminiLive() as gemini:
        complete = asyncio.ensure_future(happens(gemini, "turn_complete"))
        await speak(gemini, words)
        await complete
        session = server.sessions[0]
        (wire,) = session.audio
        assert wire.rate == 16000
        assert len(wire.samples) >= 16000 * 2.5, "all have arrived"
        match = signals.align(words[::3], wire.samples, 16000)
        assert match.correlation > 0.95
        frames = await session.wait_frames("audio", 125)
        assert {len(frame.data) for frame in frames} == {640}, "every frame is 320 samples"
        assert {frame.message["realtimeInput"]["audio"]["mimeType"] for frame in frames} == {
            "audio/pcm;rate=16000"
        }


async def test_the_documented_target_rate_is_on_the_wire(local: Local) -> None:
    async with local(Script([])) as server, GeminiLive() as gemini:
        await talk(gemini, [pcm(np.ones(960, np.int16))] * 10, 48000)
        session = await server.wait_session()
        await session.wait_audio(200)
        assert session.audio[0].rate == 48000
        assert (session.audio[0].samples[:9600] == 1).all()
        with pytest.raises(AudioError, match="one rate"):
            await gemini.send_audio_pcm(pcm(np.ones(960, np.int16)), 16000)


async def test_made_outside_a_loop_it_connects_when_first_used(local: Local) -> None:
    async with local(Parrot()) as server:
        gemini = await asyncio.to_thread(GeminiLive)
        assert "new" in repr(gemini)
        assert not server.sessions
        assert await gemini.wait_until_ready()
        assert "ready" in repr(gemini)
        await gemini.close()


async def test_made_inside_a_loop_it_connects_at_once(local: Local) -> None:
    async with local(Parrot()) as server:
        gemini = GeminiLive()
        await server.wait_session()
        assert await gemini.wait_until_ready()
        await gemini.close()


class LateSetup:
    """Answers the setup when the test says `release`."""

    def __init__(self) -> None:
        self.sessions: list[LiveSession] = []

    def __call__(self, session: LiveSession, message: dict[str, Any]) -> list[dict[str, Any]]:
        if "setupComplete" in message:
            session.hold()
            self.sessions.append(session)
        return [message]

    def release(self) -> None:
        for session in self.sessions:
            session.release()


async def test_audio_from_before_the_session_is_ready_is_kept(local: Local) -> None:
    late = LateSetup()
    async with local(Script([]), on_send=late) as server:
        gemini = GeminiLive()
        ramp = np.arange(320 * 20, dtype=np.int16)
        await talk(gemini, [pcm(ramp[at : at + 320], 16000) for at in range(0, len(ramp), 320)])
        assert gemini.state == "connecting"
        late.release()
        session = await server.wait_session()
        await session.wait_audio(400)
        assert np.array_equal(session.audio[0].samples[: len(ramp)], ramp)
        await gemini.close()


async def test_silence_that_waits_for_the_session_is_shortened_and_not_dropped(
    local: Local,
) -> None:
    late = LateSetup()
    async with local(Script([]), on_send=late) as server:
        gemini = GeminiLive()
        await talk(gemini, [pcm(np.full(320, 5, np.int16), 16000)] * 100)  # 2 s
        late.release()
        session = await server.wait_session()
        await session.wait_audio(500)
        assert session.audio_ms < 600, "nobody waits for old silence"
        assert gemini.stats().input_dropped_ms == 0
        await gemini.close()


async def test_the_audio_event_fires_while_paused_and_nothing_is_lost(
    local: Local, collect: Any
) -> None:
    voice = signals.speech_like(1000, 24000, seed=5)
    async with local(Script([Turn(audio=voice)])), GeminiLive() as gemini:
        seen = collect(gemini, "audio")
        await gemini.interrupt_playback()
        complete = asyncio.ensure_future(happens(gemini, "turn_complete"))
        await gemini.send_text("Go on.")
        await complete
        assert b"".join(item[1] for item in seen) == voice.tobytes()
        assert gemini.stats().queued_ms == pytest.approx(1000, abs=1)
        gemini.resume_playback()
        played = await heard(gemini, 60)
        assert signals.align(voice, played[::2], 24000).correlation > 0.98
        await gemini.resume_playback()  # may be awaited, too


async def test_server_interruption_drops_the_turn_and_the_next_one_speaks(local: Local) -> None:
    first, second = (signals.speech_like(3000, 24000, seed=s) for s in (7, 8))
    async with local(
        Script([Turn(audio=first), Turn(audio=second)]), turn_complete_after="playback"
    ) as server:
        async with GeminiLive(barge_in=False) as gemini:
            await gemini.send_text("One.")
            session = await server.wait_session()
            await session.wait_spoken(2900)
            await heard(gemini, 10)
            interrupted = asyncio.ensure_future(happens(gemini, "interrupted"))
            await gemini.send_text("Two.")
            (cut,) = await interrupted
            assert isinstance(cut, Interrupted)
            assert (cut.turn, cut.cause) == (1, "server")
            assert 150 < cut.heard_ms < 250
            rest = await heard(gemini, 100)
            assert signals.align(second, rest[::2], 24000).correlation > 0.95
            assert gemini.stats().dropped_ms == pytest.approx(3000 - cut.heard_ms, abs=FADE_MS)


async def test_an_application_cut_is_not_heard_again(local: Local, collect: Any) -> None:
    first, second = (signals.speech_like(2000, 24000, seed=s) for s in (9, 10))
    stall = Stall(at_ms=1000)
    script = Script([Turn(audio=first, stall=stall, text="First"), Turn(second, "Second")])
    async with local(script) as server:
        async with GeminiLive() as gemini:
            seen = collect(gemini, "interrupted")
            await gemini.send_text("One.")
            session = await server.wait_session()
            await session.wait_stalled()
            await heard(gemini, 5)
            await gemini.interrupt_playback(drop=True)
            (cut,) = [item[1] for item in seen if item[0] == "interrupted"]
            assert (cut.turn, cut.cause) == (1, "app")
            assert 50 < cut.heard_ms < 150
            session.release()
            await session.wait_turns(1)
            complete = asyncio.ensure_future(happens(gemini, "turn_complete"))
            await gemini.send_text("Two.")
            assert await complete == (TurnComplete(2, "Second"),), "a cut turn is never complete"
            rest = await heard(gemini, 200)
            assert signals.align(second, rest[::2], 24000).correlation > 0.95
            assert abs(signals.align(first[24000:], rest[::2], 24000).correlation) < 0.5
            assert gemini.stats().interruptions == 1


async def test_local_speech_pauses_and_a_cough_costs_nothing(local: Local, collect: Any) -> None:
    voice = signals.speech_like(4000, 24000, seed=11)
    async with local(Script([Turn(audio=voice)]), turn_complete_after="generation"):
        async with GeminiLive() as gemini:
            seen = collect(gemini, "interrupted", "speech_started", "speech_stopped")
            complete = asyncio.ensure_future(happens(gemini, "turn_complete"))
            await gemini.send_text("Tell me a story.")
            await complete
            listening = asyncio.ensure_future(heard(gemini, 400))
            await asyncio.sleep(0.5)
            cough = signals.speech_like(300, 48000, seed=12)
            await speak(gemini, cough)
            assert [item[0] for item in seen] == ["speech_started", "speech_stopped"]
            played = await listening
            assert not [item for item in seen if item[0] == "interrupted"]
            assert gemini.stats().played_ms == pytest.approx(4000, abs=2)
            assert gemini.stats().dropped_ms == 0
            assert gemini.stats().false_barge_ins == 1
            natural = signals.largest_step(soxr.resample(voice, 24000, 48000))
            assert signals.largest_step(played) <= natural, "a pause makes no click"


async def test_a_message_with_many_parts_and_fields_is_read_whole(
    local: Local, collect: Any
) -> None:
    voice = signals.speech_like(900, 24000, seed=13)
    async with local(
        Script([Turn(audio=voice, text="All of it")]), parts_per_message=3, bundle_fields=True
    ):
        async with GeminiLive() as gemini:
            seen = collect(gemini, "audio")
            complete = asyncio.ensure_future(happens(gemini, "turn_complete"))
            await gemini.send_text("Go.")
            (turn,) = await complete
            assert turn.text == "All of it"
            assert b"".join(item[1] for item in seen) == voice.tobytes()


async def test_what_cannot_be_read_is_passed_over(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    voice = signals.speech_like(200, 24000, seed=14)
    async with local(Script([Turn(audio=voice)])) as server, GeminiLive() as gemini:
        session = await server.wait_session()
        await session.send({"somethingNew": {"x": 1}})
        await session.send({"serverContent": {"alsoNew": True}})
        for raw in (b"\xff\xfe", "not JSON", "[]", "[" * 100_000):
            await session.send(raw)
        complete = asyncio.ensure_future(happens(gemini, "turn_complete"))
        await gemini.send_text("Still there?")
        await complete
        assert gemini.stats().unreadable_messages == 4, "what is new is no fault"
        assert caplog.text.count("cannot be read") == 1
        assert len(server.sessions) == 1


async def test_the_config_of_the_user_reaches_the_service(local: Local) -> None:
    async with local(Parrot()) as server:
        async with GeminiLive(
            instructions="Be kind.",
            voice="Kore",
            language="de-DE",
            config={
                "realtime_input_config": {
                    "automatic_activity_detection": {"silence_duration_ms": 300}
                }
            },
        ):
            setup = server.sessions[0].setup
        assert setup["systemInstruction"]["parts"][0]["text"] == "Be kind."
        speech = setup["generationConfig"]["speechConfig"]
        assert speech["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"] == "Kore"
        assert speech["languageCode"] == "de-DE"
        detection = setup["realtimeInputConfig"]["automaticActivityDetection"]
        assert detection["silenceDurationMs"] == 300
        assert setup["outputAudioTranscription"] == {}
        assert setup["generationConfig"]["responseModalities"] == ["AUDIO"]


async def test_an_own_client_is_used(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    from google import genai
    from google.genai import types

    async with local(Parrot()) as server:
        client = genai.Client(
            api_key="another-key",
            http_options=types.HttpOptions(
                base_url=server.url,
                api_version="v1beta",
                async_client_args={"ssl": server.client_context()},
            ),
        )
        monkeypatch.delenv("GOOGLE_API_KEY")
        async with GeminiLive(client=client):
            assert len(server.sessions) == 1


async def test_video_goes_to_the_service(local: Local) -> None:
    async def camera() -> Any:
        for _ in range(2):
            yield SimpleNamespace(
                data=np.full(640 * 480 * 3 // 2, 128, np.uint8), width=640, height=480
            )

    async with local(Parrot()) as server, GeminiLive() as gemini:
        await gemini.start_video_sender(camera(), fps=30)
        session = await server.wait_session()
        (frame, *_) = await session.wait_frames("video", 1)
        assert frame.data[:2] == b"\xff\xd8", "a JPEG"
        await gemini.stop_video_sender()
        await gemini.stop_video_sender()


async def test_a_video_track_that_fails_is_reported(local: Local, collect: Any) -> None:
    async def broken() -> Any:
        yield None
        raise OSError("camera unplugged")

    async with local(Parrot()), GeminiLive() as gemini:
        failed = asyncio.ensure_future(happens(gemini, "error"))
        await gemini.start_video_sender(broken(), fps=30)
        (error,) = await failed
        assert "camera unplugged" in str(error)
        assert gemini.stats().video_frames_rejected == 1


# -- what goes wrong while connecting ------------------------------------------------------------

REFUSALS = {
    "refused key": ({"refused_keys": ["bad"]}, {"api_key": "bad"}, AuthError, False),
    "quota": ({"setup_fault": QUOTA_EXCEEDED}, {}, QuotaError, True),
    "unknown model": ({}, {"model": "gemini-0-live"}, ModelNotFoundError, False),
    "bad config": (
        {"setup_fault": Close(1007, "Request contains an invalid argument.")},
        {},
        RequestError,
        False,
    ),
    "aborted before setup": ({"setup_fault": Abort()}, {}, ConnectError, True),
    "HTTP 503": ({"setup_fault": Reject(503)}, {}, ConnectError, True),
    "HTTP 403": ({"setup_fault": Reject(403)}, {}, AuthError, False),
    "internal error": (
        {"setup_fault": Close(1011, "Internal error encountered.")},
        {},
        ConnectError,
        True,
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_refusals_are_typed(
    local: Local, collect: Any, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    server_options, options, expected, retryable = REFUSALS[name]
    options.setdefault("api_key", "AIza-marked-secret")
    async with local(Parrot(), **server_options):
        gemini = GeminiLive(**options)
        seen = collect(gemini, "error", "closed", "connected")
        with pytest.raises(expected) as caught:
            await gemini.wait_until_ready()
        error = caught.value
        assert isinstance(error, SessionError)
        assert error.retryable is retryable
        assert error.remedy
        assert error.remedy in str(error)
        assert [item[0] for item in seen] == ["error", "closed"]
        assert seen[0][1] is seen[1][1]
        assert await ready_again(gemini) is expected
        # Every later call says the same, at once.
        for call in (
            gemini.send_text("hi"),
            gemini.send_audio_pcm(pcm(np.zeros(960, np.int16))),
            gemini.start_video_sender(SimpleNamespace(recv=None)),
        ):
            with pytest.raises(expected):
                await call
        records = [r for r in caplog.records if r.levelno >= logging.ERROR]
        assert len(records) == 1, "a terminal failure is logged once"
        chain: BaseException | None = error
        while chain is not None:
            assert options["api_key"] not in f"{chain!r} {chain}" or options["api_key"] == "bad"
            chain = chain.__cause__ or chain.__context__
        assert "AIza-marked-secret" not in caplog.text
        await gemini.close()


async def test_a_server_that_never_answers(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "CONNECT_TIMEOUT_S", 0.2)
    async with local(Parrot(), setup_fault=NeverAnswer()):
        gemini = GeminiLive()
        assert not await gemini.wait_until_ready(timeout=0.01), "False when the time is up"
        with pytest.raises(ConnectError, match="did not answer") as caught:
            await gemini.wait_until_ready()
        assert caught.value.retryable
        await gemini.close()


async def test_nobody_listens_at_the_address(
    local: Local, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local(Parrot()):
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", f"https://127.0.0.1:{unused_tcp_port}")
        with pytest.raises(ConnectError, match="Could not reach") as caught:
            async with GeminiLive():
                pytest.fail("entered without a connection")
        assert isinstance(caught.value.__cause__, OSError)


async def test_a_config_that_the_sdk_refuses_names_the_option(local: Local) -> None:
    async with local(Parrot()):
        gemini = GeminiLive(config={"temprature": 1.0})
        with pytest.raises(ConfigError, match="temprature"):
            await gemini.wait_until_ready()
        await gemini.close()


# -- what goes wrong later -----------------------------------------------------------------------


async def lose_for_good(server: LocalGemini) -> None:
    """The connection is lost, and nobody is let in again."""
    server.fail_next(Reject(403), times=20)
    (await server.wait_session()).abort()


async def test_a_session_that_cannot_be_had_again_is_an_error_and_closed(
    local: Local, collect: Any
) -> None:
    voice = signals.speech_like(800, 24000, seed=15)
    async with local(Script([Turn(audio=voice)])) as server:
        gemini = GeminiLive()
        seen = collect(gemini, "disconnected", "reconnecting", "resumed", "error", "closed")
        complete = asyncio.ensure_future(happens(gemini, "turn_complete"))
        await gemini.send_text("One.")
        await complete
        closed = asyncio.ensure_future(happens(gemini, "closed"))
        await lose_for_good(server)
        (error,) = await closed
        assert isinstance(error, AuthError)
        assert [item[0] for item in seen] == ["disconnected", "reconnecting", "error", "closed"]
        assert isinstance(seen[0][1].reason, ConnectionLostError)
        assert seen[0][1].reason.code == 1006
        assert gemini.state == "closed"
        with pytest.raises(AuthError):
            await gemini.send_text("Two.")
        played = await heard(gemini, 45)
        match = signals.align(voice, played[::2], 24000)
        assert match.correlation > 0.98, "what was said already is still heard"
        await gemini.close()


async def test_close_is_idempotent_and_ends_everything(local: Local, collect: Any) -> None:
    async with local(Parrot()):
        gemini = GeminiLive()
        seen = collect(gemini, "closed")
        await gemini.wait_until_ready()
        await asyncio.gather(gemini.close(), gemini.close())
        await gemini.close()
        assert seen == [("closed", None)]
        assert gemini.output_track.readyState == "ended"
        for call in (
            gemini.send_text("hi"),
            gemini.send_audio_pcm(pcm(np.zeros(960, np.int16))),
            gemini.wait_until_ready(),
            gemini.start_video_sender(SimpleNamespace(recv=None)),
            gemini.attach(None),
        ):
            with pytest.raises(ClosedError):
                await call
        await gemini.stop_video_sender()
        await gemini.interrupt_playback()
        gemini.resume_playback()


async def test_close_before_ready_and_before_any_use(local: Local) -> None:
    async with local(Parrot(), setup_fault=NeverAnswer()):
        gemini = GeminiLive()
        waiting = asyncio.ensure_future(gemini.send_text("hi"))
        await asyncio.sleep(0)
        await gemini.close()
        with pytest.raises(ClosedError):
            await waiting
        unused = await asyncio.to_thread(GeminiLive)
        await unused.close()


async def test_a_handler_may_close(local: Local) -> None:
    async with local(Script([Turn(audio=signals.speech_like(100, 24000))])):
        gemini = GeminiLive()

        @gemini.on("turn_complete")
        async def enough() -> None:
            await gemini.close()

        closed = asyncio.ensure_future(happens(gemini, "closed"))
        await gemini.send_text("One word.")
        assert await closed == (None,)
        await gemini.close()


async def test_an_error_without_a_listener_is_logged_not_raised(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    async with local(Parrot()) as server:
        async with GeminiLive() as gemini:
            closed = asyncio.ensure_future(happens(gemini, "closed"))
            await lose_for_good(server)
            await closed
        levels = {r.levelname: r.message for r in caplog.records if "Gemini" in r.message}
        assert "was lost" in levels["WARNING"]
        assert "refused the key" in levels["ERROR"]


# -- bad audio -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        pcm(np.zeros(960, np.int16), 7000),
        pcm(np.zeros(960, np.int16), 192000),
        SimpleNamespace(samples=np.zeros(960, np.int32), sample_rate=48000, channels=1),
        SimpleNamespace(samples=np.zeros((3, 960), np.int16), sample_rate=48000, channels=3),
        SimpleNamespace(samples=b"odd", sample_rate=48000, channels=1),
        SimpleNamespace(samples=np.zeros(960, np.int16), sample_rate=48000.5, channels=1),
        SimpleNamespace(samples="text", sample_rate=48000, channels=1),
        b"\0\0",
        None,
    ],
)
async def test_bad_audio_is_refused_and_the_next_frame_is_taken(local: Local, bad: Any) -> None:
    async with local(Script([])) as server, GeminiLive() as gemini:
        with pytest.raises(AudioError):
            await gemini.send_audio_pcm(bad, 16000)
        await talk(gemini, [pcm(np.ones(320, np.int16), 16000)] * 5)
        session = await server.wait_session()
        await session.wait_audio(100)


@pytest.mark.parametrize("rate", [0, 7999, 96001, 16000.0, "16000", 11025, None])
async def test_bad_target_rates(local: Local, rate: Any) -> None:
    async with local(Script([])), GeminiLive() as gemini:
        with pytest.raises(AudioError, match="target_rate"):
            await gemini.send_audio_pcm(pcm(np.zeros(960, np.int16)), rate)


@pytest.mark.parametrize(
    "samples",
    [
        np.full(960, 1000, np.int16),
        np.full((1, 960), 1000, np.int16),
        np.full((2, 960), 1000, np.int16),
        np.full(1920, 1000, np.int16),
        np.full(960, 1000 / 32768, np.float32),
        np.full((2, 960), 1000 / 32768, np.float32),
        np.full(960, 1000, np.int16).tobytes(),
    ],
    ids=["mono", "(1,n)", "(2,n)", "interleaved", "float", "float stereo", "bytes"],
)
async def test_every_shape_of_pcm(local: Local, samples: Any) -> None:
    stereo = getattr(samples, "size", 960) == 1920
    frame = SimpleNamespace(samples=samples, sample_rate=48000, channels=2 if stereo else 1)
    async with local(Script([])) as server, GeminiLive() as gemini:
        await talk(gemini, [frame] * 10)
        session = await server.wait_session()
        await session.wait_audio(200)
        settled = session.audio[0].samples[320 : 320 * 10]
        assert len(settled) == 320 * 9
        assert np.abs(settled.astype(int) - 1000).max() <= 2


@pytest.mark.parametrize("text", ["", "  ", None, 3])
async def test_bad_text(local: Local, text: Any) -> None:
    async with local(Parrot()), GeminiLive() as gemini:
        with pytest.raises(ConfigError, match="send_text"):
            await gemini.send_text(text)


def test_every_error_of_the_package_is_a_gemini_error() -> None:
    from getstream.plugins.gemini import errors

    for name in errors.__all__:
        assert issubclass(getattr(errors, name), GeminiError)


async def test_two_people_are_mixed_on_one_timeline(local: Local) -> None:
    anna = SimpleNamespace(user_id="anna", session_id="1")
    ben = SimpleNamespace(user_id="ben", session_id="2")
    async with local(Script([])) as server, GeminiLive() as gemini:
        levels = ((anna, 1000), (ben, 300))
        frames = [
            [pcm(np.full(320, level, np.int16), 16000, participant=who) for _ in range(50)]
            for who, level in levels
        ]
        await asyncio.gather(*(talk(gemini, each) for each in frames))
        session = await server.wait_session()
        await session.wait_audio(960)
        samples = session.audio[0].samples
        assert len(samples) <= 320 * 52, "two people do not make the clock run twice as fast"
        assert set(samples[3200:12800]) == {1300}


# -- found by review -----------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["SECRET\u201dKEY", "SECRET KEY", "SECRET\nKEY", "cl\u00e9SECRET"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="not shown") as caught:
        GeminiLive(api_key=key)
    assert "SECRET" not in str(caught.value)


async def test_the_key_is_in_no_log_even_at_debug(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with local(Parrot()), GeminiLive(api_key="AIza-marked-secret") as gemini:
            assert "marked" not in repr(gemini)
            await gemini.send_audio_pcm(pcm(np.zeros(960, np.int16)))
    assert not [r for r in caplog.records if "AIza-marked-secret" in r.getMessage()]
    assert logging.getLogger("getstream.plugins.gemini.websocket").level == logging.INFO


async def test_secrets_of_the_config_are_in_no_exception(local: Local) -> None:
    config = {"http_options": {"headers": {"x-goog-api-key": ["SECRETHEADER"]}}}
    async with local(Parrot()):
        gemini = GeminiLive(config=config)
        with pytest.raises(ConfigError, match="headers") as caught:
            await gemini.wait_until_ready()
        text = "".join(traceback.format_exception(caught.value))
        assert "SECRETHEADER" not in text
        await gemini.close()


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20, 100])
async def test_close_at_any_moment_of_connecting_ends(local: Local, turns: int) -> None:
    async with local(Parrot()):
        gemini = GeminiLive()
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(gemini.close(), 10)
        task = gemini._supervisor.lifecycle.task
        assert task is not None
        assert task.done()


@pytest.mark.parametrize("event", ["error", "closed"])
async def test_close_from_a_handler_of_the_failure_ends_everything(
    local: Local, event: str
) -> None:
    async with local(Parrot()) as server:
        gemini = GeminiLive()
        done = []

        @gemini.on(event)
        async def give_up() -> None:
            await gemini.close()
            done.append(event)

        @gemini.once("closed")
        async def last() -> None:
            for _ in range(10):
                await asyncio.sleep(0)
            done.append("last")

        await gemini.wait_until_ready()
        closed = asyncio.ensure_future(happens(gemini, "closed"))
        await lose_for_good(server)
        await closed
        await gemini.close()
        assert sorted(done) == sorted([event, "last"]), "handlers have finished when close returns"


async def test_the_text_of_a_cut_turn_is_not_the_next_ones(local: Local, collect: Any) -> None:
    def content(**fields: Any) -> dict[str, Any]:
        return {"serverContent": fields}

    def speech(text: str) -> dict[str, Any]:
        half_a_second = base64.b64encode(bytes(24000)).decode()
        blob = {"mimeType": "audio/pcm;rate=24000", "data": half_a_second}
        return content(
            modelTurn={"parts": [{"inlineData": blob}]}, outputTranscription={"text": text}
        )

    async with local(Script([])) as server, GeminiLive() as gemini:
        seen = collect(gemini, "interrupted", "turn_complete")
        session = await server.wait_session()
        first = asyncio.ensure_future(happens(gemini, "text"))
        await session.send(speech("First."))
        await first
        await heard(gemini, 50)  # played to its end, while the service considers it open
        complete = asyncio.ensure_future(happens(gemini, "turn_complete"))
        await session.send(content(interrupted=True))
        await session.send(content(outputTranscription={"text": " late"}))
        await session.send(content(turnComplete=True))
        await session.send(content(outputTranscription={"text": "Early. "}))
        await session.send(speech("Second."))
        await session.send(content(turnComplete=True))
        await complete
        assert seen == [
            ("interrupted", Interrupted(1, 500.0, "First.", "server")),
            ("turn_complete", TurnComplete(2, "Early. Second.")),
        ]


async def test_what_speech_holds_is_heard_after_a_loss(local: Local) -> None:
    voice = signals.speech_like(2000, 24000, seed=31)
    async with local(Script([Turn(audio=voice)])) as server:
        gemini = GeminiLive()
        complete = asyncio.ensure_future(happens(gemini, "turn_complete"))
        await gemini.send_text("Go.")
        await complete
        await heard(gemini, 5)
        gemini._supervisor.turns.on_speech_events([SpeechEvent("anna", "anna", "started")])
        closed = asyncio.ensure_future(happens(gemini, "closed"))
        await lose_for_good(server)
        await closed
        await heard(gemini, 200)
        assert gemini.stats().played_ms == pytest.approx(2000, abs=1)
        await gemini.close()


async def test_audio_after_a_failure_is_refused_once_and_then_counted(local: Local) -> None:
    async with local(Parrot()) as server:
        gemini = GeminiLive()
        await gemini.wait_until_ready()
        closed = asyncio.ensure_future(happens(gemini, "closed"))
        await lose_for_good(server)
        await closed
        frame = pcm(np.zeros(960, np.int16))
        with pytest.raises(AuthError):
            await gemini.send_audio_pcm(frame)
        for _ in range(50):
            await gemini.send_audio_pcm(frame)
        assert gemini.stats().frames_refused == 50
        await gemini.close()
        with pytest.raises(ClosedError):
            await gemini.send_audio_pcm(frame)


class Connection:
    """Connection of `getstream` 7, as far as `attach` uses it, without a call behind it."""

    def __init__(self, broken: bool = False) -> None:
        self.handlers: dict[str, list[Any]] = {}
        self.broken = broken
        self.participants_state = self  # an emitter of its own, in the SDK

    def on(self, event: str, handler: Any) -> None:
        self.handlers.setdefault(event, []).append(handler)

    def remove_listener(self, event: str, handler: Any) -> None:
        self.handlers[event].remove(handler)

    async def add_tracks(self, audio: Any) -> None:
        if self.broken:
            raise RuntimeError("no permission")


async def test_attach_checks_first_and_leaves_nothing_behind(local: Local, collect: Any) -> None:
    async with local(Parrot()), GeminiLive() as gemini:
        connection = Connection(broken=True)
        with pytest.raises(AudioError, match="target_rate"):
            await gemini.attach(connection, target_rate=44101)
        with pytest.raises(ConfigError, match="fps"):
            await gemini.attach(connection, fps=0)
        with pytest.raises(CallError, match="no permission"):
            await gemini.attach(connection)
        assert set(connection.handlers) == {
            "audio",
            "track_added",
            "participant_joined",
            "participant_left",
        }
        assert not any(connection.handlers.values())
        connection.broken = False
        await gemini.attach(connection)
        with pytest.raises(CallError, match="already"):
            await gemini.attach(connection)
        (hear,) = connection.handlers["audio"]
        errors = collect(gemini, "error")
        for _ in range(10):
            hear(SimpleNamespace(samples=b"odd", sample_rate=48000, channels=1))
        assert len(errors) == 1, "reported once, counted always"
        assert gemini.stats().frames_refused == 10
        hear(pcm(np.zeros(960, np.int16)))
        assert gemini.stats().frames_in == 1
        (left,) = connection.handlers["participant_left"]
        assert len(gemini.stats().tracks) == 1
        left(SimpleNamespace(user_id="", session_id=""))
        assert not gemini.stats().tracks


class Frames:
    """Track of `getstream` 7 with frames of silence, in real time."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.participant = SimpleNamespace(user_id="anna", session_id="1")

    async def next_pcm(self) -> Any:
        await asyncio.sleep(0.02)
        self.left -= 1
        if self.left < 0:
            return None
        silence = np.zeros(1920, np.int16)
        return SimpleNamespace(sample_rate=48000, channels=2, samples=silence, pts=None)


class SdkConnection(ConnectionManager):  # type: ignore[misc, no-any-unimported]
    """The SDK's connection with the SDK's emitter, without a call behind it."""

    def __init__(self) -> None:
        StreamAsyncIOEventEmitter.__init__(self)
        self.participants_state = StreamAsyncIOEventEmitter()

    async def add_tracks(self, audio: Any = None, video: Any = None) -> None:
        """The voice is heard by nobody."""


@pytest.fixture
async def started() -> AsyncIterator[list[str]]:
    """The name of each coroutine that becomes a task of this loop."""
    loop = asyncio.get_running_loop()
    names: list[str] = []

    def make(loop: Any, work: Any, **options: Any) -> asyncio.Task[Any]:
        names.append(work.__qualname__)
        return asyncio.Task(work, loop=loop, **options)

    loop.set_task_factory(make)
    yield names
    loop.set_task_factory(None)


@pytest.mark.skipif(not hasattr(ConnectionManager, "_emit_audio"), reason="getstream 6")
async def test_a_frame_of_the_call_starts_no_task(local: Local, started: list[str]) -> None:
    async with local(Script([])) as server, GeminiLive() as gemini:
        connection = SdkConnection()
        await gemini.attach(connection)
        session = await server.wait_session()
        await connection._emit_audio(Frames(2))  # the first frame settles the rate
        started.clear()
        await connection._emit_audio(Frames(50))
        assert started == []
        await session.wait_frames("audio", 45)  # that clock is a little slow
        assert gemini.stats().frames_in == 52
        # An async handler beside it has its tasks: the count is not blind.
        beside: list[Any] = []

        async def handler(frame: Any) -> None:
            beside.append(frame)

        connection.on("audio", handler)
        started.clear()
        await connection._emit_audio(Frames(3))
        assert len(started) == 3


@pytest.mark.skipif(not hasattr(ConnectionManager, "_emit_audio"), reason="getstream 6")
async def test_an_error_in_a_frame_stays_out_of_the_sdk(
    local: Local, collect: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with local(Script([])), GeminiLive() as gemini:
        connection = SdkConnection()
        await gemini.attach(connection)
        errors = collect(gemini, "error")
        raised: list[Any] = []
        connection.on("error", raised.append)
        push, numbers = gemini._audio.input.push, iter(range(100))

        def fail(*args: Any, **options: Any) -> Any:
            number = next(numbers)
            if number in (1, 2, 3):
                raise AudioError("bad input")
            if number in (5, 6, 7):
                raise RuntimeError("a fault of ours")
            return push(*args, **options)

        monkeypatch.setattr(gemini._audio.input, "push", fail)
        await connection._emit_audio(Frames(10))
        assert gemini.stats().frames_in == 4, "those before, between and behind"
        assert gemini.stats().frames_refused == 6, "counted always"
        assert [str(error) for _, error in errors] == [
            "bad input",
            "A frame of the call could not be taken (RuntimeError: a fault of ours)",
        ], "reported once"
        assert isinstance(errors[1][1].__cause__, RuntimeError)
        assert caplog.text.count("Traceback") == 1
        assert raised == []
        assert "handler failed" not in caplog.text, "the SDK has seen nothing"


@pytest.mark.parametrize("then", ["yield", "wait", "return", "swallow"])
async def test_a_video_source_may_stop_its_sender(local: Local, then: str) -> None:
    async with local(Script([[]] * 9)), GeminiLive() as gemini:
        after = 0
        stopped = asyncio.Event()

        async def camera() -> AsyncIterator[Any]:
            nonlocal after
            try:
                yield picture
                await gemini.stop_video_sender()
                stopped.set()
                if then == "return":
                    return
                if then != "yield":
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                if then != "swallow":
                    raise
            while True:
                after += 1
                yield picture

        picture = av.VideoFrame(64, 48, "yuv420p")
        await gemini.start_video_sender(camera(), fps=30)
        (task,) = [each for each in asyncio.all_tasks() if "VideoInput._run" in repr(each)]
        await asyncio.wait_for(asyncio.wait([task]), 10)
        assert stopped.is_set()
        assert after <= 1, "it was read no further"
        assert gemini.stats().video_frames_sent == 1
        # And there may be another one.
        assert gemini.stats().video.view == ()
        await gemini.start_video_sender(forever(picture), fps=30)
        while gemini.stats().video_frames_sent < 2:
            await asyncio.sleep(0.01)
        await gemini.stop_video_sender()


async def forever(picture: Any) -> AsyncIterator[Any]:
    while True:
        yield picture
        await asyncio.sleep(0.01)


async def test_a_video_source_may_start_another_sender(local: Local) -> None:
    async with local(Script([[]] * 9)), GeminiLive() as gemini:
        picture = av.VideoFrame(64, 48, "yuv420p")
        ended = asyncio.Event()

        async def first() -> AsyncIterator[Any]:
            try:
                yield picture
                await gemini.start_video_sender(forever(picture), fps=30)
                while True:
                    yield picture
                    await asyncio.sleep(0.01)
            finally:
                ended.set()

        await gemini.start_video_sender(first(), fps=30)
        await asyncio.wait_for(ended.wait(), 10)
        while gemini.stats().video_frames_sent < 3:
            await asyncio.sleep(0.01)
        running = [each for each in asyncio.all_tasks() if "VideoInput._run" in repr(each)]
        assert len(running) == 1
        await gemini.stop_video_sender()
        assert running[0].done()


async def test_a_video_source_may_close_the_assistant(local: Local) -> None:
    async with local(Script([[]] * 9)):
        gemini = GeminiLive()
        await gemini.wait_until_ready()
        picture = av.VideoFrame(64, 48, "yuv420p")

        async def camera() -> AsyncIterator[Any]:
            yield picture
            await gemini.close()
            while True:
                yield picture
                await asyncio.sleep(0.01)

        closed = asyncio.ensure_future(happens(gemini, "closed"))
        await gemini.start_video_sender(camera(), fps=30)
        await closed
        await gemini.close()
        assert not [each for each in asyncio.all_tasks() if "VideoInput._run" in repr(each)]


async def test_two_video_senders_at_once_are_one(local: Local) -> None:
    running = 0

    async def camera() -> Any:
        nonlocal running
        running += 1
        try:
            while True:
                yield None
                await asyncio.Event().wait()
        finally:
            running -= 1

    async with local(Parrot()), GeminiLive() as gemini:
        await gemini.start_video_sender(camera())
        await asyncio.gather(*(gemini.start_video_sender(camera()) for _ in range(3)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert running <= 1
        await gemini.stop_video_sender()
    for _ in range(20):
        await asyncio.sleep(0)
    assert running == 0


async def test_a_handler_that_ignores_its_cancellation_does_not_hold_close(
    local: Local, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_supervisor, "HANDLER_GRACE_S", 0.01)
    monkeypatch.setattr(_emitter, "CANCEL_GRACE_S", 0.01)
    release = asyncio.Event()
    async with local(Parrot()):
        gemini = GeminiLive()

        @gemini.on("connected")
        async def stubborn() -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

        await gemini.wait_until_ready()
        for _ in range(5):
            await asyncio.sleep(0)
        await asyncio.wait_for(gemini.close(), 10)
        assert "does not end" in caplog.text
        release.set()
        for _ in range(5):
            await asyncio.sleep(0)


async def test_wait_until_ready_without_patience(local: Local) -> None:
    async with local(Parrot()), GeminiLive() as gemini:
        assert await gemini.wait_until_ready(0)
        assert await gemini.wait_until_ready(None)


def test_tools_of_the_service_and_objects_of_the_sdk_are_merged() -> None:
    from google.genai import types

    config = build_config(
        {
            "tools": [{"google_search": {}}],
            "speech_config": types.SpeechConfig(language_code="de-DE"),
            "context_window_compression": types.ContextWindowCompressionConfig(trigger_tokens=9),
        },
        voice="Kore",
    )
    assert config["tools"] == [{"google_search": {}}]
    assert config["speech_config"]["language_code"] == "de-DE"
    assert "voice_config" in config["speech_config"]
    assert config["context_window_compression"] == {"sliding_window": {}, "trigger_tokens": 9}


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("SSL_CERT_FILE", "/nonexistent.pem", "SSL_CERT_FILE"),
        ("GOOGLE_GEMINI_BASE_URL", "nonsense", "GOOGLE_GEMINI_BASE_URL"),
    ],
)
async def test_variables_that_cannot_be_used_are_named(
    local: Local, monkeypatch: pytest.MonkeyPatch, name: str, value: str, match: str
) -> None:
    async with local(Parrot()):
        monkeypatch.setenv(name, value)
        gemini = GeminiLive()
        with pytest.raises(GeminiError, match=match):
            await gemini.wait_until_ready()
        await gemini.close()


async def test_a_fault_while_time_passes_is_told_once_and_does_not_stop_time(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local() as _, GeminiLive() as gemini:
        advance, faults, done = gemini._audio.input.advance, 0, asyncio.Event()
        errors: list[Any] = []
        gemini.on("error", errors.append)

        def fail(now: float) -> list[SpeechEvent]:
            nonlocal faults
            if faults < 3:
                faults += 1
                raise RuntimeError("a fault of ours")
            events = advance(now)
            if gemini._audio.input.advance_at is None:
                done.set()
            return events

        monkeypatch.setattr(gemini._audio.input, "advance", fail)
        started = gemini._supervisor.now()
        await gemini.send_audio_pcm(pcm(np.zeros(320, np.int16), 16000), 16000)
        await asyncio.wait_for(done.wait(), 20)
        assert gemini._supervisor.now() - started >= 1.0, "the stream ends after its pause"
        assert len(errors) == 1
