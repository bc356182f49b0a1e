"""`close()` at any time and from anywhere, and what follows a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gemini_calls import happens, heard, lose_for_good, pcm
from getstream.plugins.gemini.errors import AuthError, ClosedError, ConnectionLostError
from getstream.plugins.gemini.live import GeminiLive, _emitter, _supervisor
from getstream.plugins.gemini.testing import NeverAnswer, Parrot, Script, Turn, signals

Local = Callable[..., Any]


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
