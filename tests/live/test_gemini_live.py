"""`GeminiLive` in its ordinary life, against the local server over real sockets."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soxr
from gemini_calls import happens, heard, lose_for_good, pcm, speak, talk
from getstream.plugins.gemini.errors import AudioError, ConfigError, GeminiError
from getstream.plugins.gemini.live import GeminiLive, Interrupted, TurnComplete
from getstream.plugins.gemini.live._media.capture import SpeechEvent
from getstream.plugins.gemini.testing import LiveSession, Parrot, Script, Stall, Turn, signals
from getstream.plugins.gemini.testing.clock import run_virtual
from room import GRACE

Local = Callable[..., Any]

FADE_MS = 5  # what a cut still plays, so that it is no click


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


class KnowsNoTime(asyncio.Handle):
    """A timer as uvloop gives it where the time has come: it can be cancelled, and no more."""

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        super().__init__(timer.cancel, (), asyncio.get_running_loop())
        self._inner = timer

    def cancel(self) -> None:
        self._inner.cancel()
        super().cancel()


async def test_a_conversation_on_a_loop_whose_timers_know_no_time(
    local: Local, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    call_at = loop.call_at
    monkeypatch.setattr(
        loop, "call_at", lambda *given, **more: KnowsNoTime(call_at(*given, **more))
    )
    async with local(), GeminiLive() as gemini:
        line = asyncio.ensure_future(happens(gemini, "line"))
        complete = asyncio.ensure_future(happens(gemini, "turn_complete"))
        await speak(gemini, signals.speech_like(800, 48000, seed=4))
        await complete
        await line
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


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


def test_audio_from_before_the_session_is_ready_is_kept(local: Local) -> None:
    """On a virtual clock: in real time a stall of this process would be heard as silence."""

    async def scenario() -> None:
        late = LateSetup()
        async with local(Script([]), on_send=late) as server:
            gemini = GeminiLive()
            ramp = np.arange(320 * 20, dtype=np.int16)
            frames = [pcm(ramp[at : at + 320], 16000) for at in range(0, len(ramp), 320)]
            await talk(gemini, frames)
            assert gemini.state == "connecting"
            late.release()
            session = await server.wait_session()
            await session.wait_audio(400)
            assert np.array_equal(session.audio[0].samples[: len(ramp)], ramp)
            await gemini.close()

    run_virtual(scenario(), grace=GRACE)


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


@pytest.mark.parametrize("text", ["", "  ", None, 3])
async def test_bad_text(local: Local, text: Any) -> None:
    async with local(Parrot()), GeminiLive() as gemini:
        with pytest.raises(ConfigError, match="send_text"):
            await gemini.send_text(text)


def test_every_error_of_the_package_is_a_gemini_error() -> None:
    from getstream.plugins.gemini import errors

    for name in errors.__all__:
        assert issubclass(getattr(errors, name), GeminiError)


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
