"""The life of a session: one state, one end, whoever ends it, whenever, and from wherever."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.errors import (
    ClosedError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    GeminiError,
)
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.live._lifecycle import OVER, Life, Lifecycle
from getstream.plugins.gemini.live._session import connection as session_module
from getstream.plugins.gemini.testing import (
    LocalGemini,
    NeverAnswer,
    Parrot,
    Reject,
    Script,
    Turn,
    signals,
)
from getstream.plugins.gemini.testing.clock import run_virtual
from getstream.video.rtc import PcmData
from room import GRACE, Local, Room, happens, hold, voice, words

CLOSES_S = 3.0
"""Within which `close()` ends, whatever the socket does."""


class Session:
    """Work for a lifecycle, with a record of what becomes of it."""

    def __init__(self, work: Callable[[Session], Coroutine[Any, Any, None]] | None = None) -> None:
        self.told: list[Any] = []
        self.steps: list[str] = []
        self._work = work
        self.lifecycle = Lifecycle(
            self.work, self.shut_down, on_abandoned=self.on_abandoned, on_closed=self.on_closed
        )

    async def work(self) -> None:
        self.steps.append("work")
        if self._work is not None:
            await self._work(self)
        else:
            self.lifecycle.ready()
            await asyncio.Event().wait()

    async def shut_down(self, failure: GeminiError | None) -> None:
        self.steps.append("shut down")
        await asyncio.sleep(0)
        self.told.append(failure)

    def on_abandoned(self) -> None:
        self.told.append(None)

    def on_closed(self) -> None:
        self.steps.append("closed")


# -- the lifecycle alone ------------------------------------------------------------------------


async def test_the_states_of_a_life() -> None:
    session = Session()
    lifecycle = session.lifecycle
    assert lifecycle.life is Life.NEW
    lifecycle.start()
    assert lifecycle.life is Life.CONNECTING
    assert await lifecycle.wait_until_settled(5)
    assert lifecycle.is_ready
    lifecycle.reconnecting()
    assert not await lifecycle.wait_until_settled(0)
    lifecycle.ready()
    assert await lifecycle.wait_until_settled(0)
    await lifecycle.close(wait=True)
    assert lifecycle.life is Life.CLOSED
    assert session.told == [None]
    for late in (lifecycle.ready, lifecycle.reconnecting, lifecycle.check_open):
        with pytest.raises(ClosedError):
            late()
    with pytest.raises(ClosedError):
        await lifecycle.wait_until_settled()


@pytest.mark.parametrize("steps", range(12))
async def test_close_at_each_step_is_told_once_and_answers_whoever_waits(steps: int) -> None:
    session = Session()
    session.lifecycle.start()

    async def wait() -> None:
        await session.lifecycle.wait_until_settled()
        await asyncio.wait([session.lifecycle.ended])
        session.lifecycle.check_open()

    waiting = asyncio.ensure_future(wait())
    for _ in range(steps):
        await asyncio.sleep(0)
    await asyncio.gather(*(session.lifecycle.close(wait=True) for _ in range(3)))
    await session.lifecycle.close(wait=True)
    with pytest.raises(ClosedError):
        await waiting
    assert session.told == [None]
    assert session.steps.count("closed") == session.steps.count("shut down") == 1


async def test_close_before_any_use() -> None:
    session = Session()
    await asyncio.gather(session.lifecycle.close(wait=True), session.lifecycle.close(wait=True))
    session.lifecycle.start()
    assert session.steps == ["closed", "shut down"]
    with pytest.raises(ClosedError):
        await session.lifecycle.wait_until_settled()


@pytest.mark.parametrize("steps", range(6))
async def test_a_loop_that_ends_is_told_once(steps: int) -> None:
    """`asyncio.run` cancels every task, also one that has not begun."""
    session = Session()
    session.lifecycle.start()
    for _ in range(steps):
        await asyncio.sleep(0)
    mine = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not mine and "Session" in repr(task)]
    tasks += [session.lifecycle.task] if session.lifecycle.task else []
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for _ in range(3):
        await asyncio.sleep(0)
    assert session.told == [None]
    assert session.lifecycle.life is Life.CLOSED
    assert session.lifecycle.ended.done()


async def test_work_that_fails_is_a_failure_until_it_is_closed() -> None:
    failure = ConnectError("no")

    async def fail(session: Session) -> None:
        raise failure

    session = Session(fail)
    session.lifecycle.start()
    with pytest.raises(ConnectError):
        await session.lifecycle.wait_until_settled()
    assert session.lifecycle.life is Life.FAILED
    await session.lifecycle.close(wait=True)
    assert session.told == [failure]
    with pytest.raises(ClosedError) as caught:
        session.lifecycle.check_open()
    assert caught.value.__cause__ is failure


@pytest.mark.parametrize("error", [RuntimeError("of ours"), asyncio.CancelledError()])
async def test_work_that_fails_unforeseen_is_told(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(session: Session) -> None:
        raise error

    session = Session(fail)
    session.lifecycle.start()
    with pytest.raises(ConnectError):
        await session.lifecycle.wait_until_settled()
    await session.lifecycle.close(wait=True)
    assert [type(each) for each in session.told] == [ConnectError]


def test_work_that_ignores_its_cancellation_is_left(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def stubborn(session: Session) -> None:
            session.lifecycle.ready()
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            session.lifecycle.reconnecting()

        session = Session(stubborn)
        session.lifecycle.start()
        await session.lifecycle.wait_until_settled()
        started = asyncio.get_running_loop().time()
        await session.lifecycle.close(wait=True)
        assert asyncio.get_running_loop().time() - started <= CLOSES_S
        assert session.told == [None]
        release.set()
        await asyncio.sleep(0.1)
        assert session.lifecycle.life is Life.CLOSED, "the end is the end"

    run_virtual(main())
    assert "does not end" in caplog.text


async def test_a_cancellation_that_meets_the_end_of_the_wait_is_not_lost() -> None:
    """`asyncio.wait_for` returned True here before CPython 3.12."""
    session = Session(lambda session: asyncio.sleep(3600))
    session.lifecycle.start()
    waiting = asyncio.ensure_future(session.lifecycle.wait_until_settled(60))
    for _ in range(5):
        await asyncio.sleep(0)
    session.lifecycle.ready()
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await session.lifecycle.close(wait=True)


def test_only_steps_that_make_sense_are_taken() -> None:
    allowed = {
        (Life.NEW, Life.CONNECTING),
        (Life.NEW, Life.CLOSED),
        *itertools.product((Life.CONNECTING, Life.RECONNECTING), (Life.READY, *OVER)),
        *itertools.product((Life.READY,), (Life.RECONNECTING, *OVER)),
        (Life.RECONNECTING, Life.RESTING),
        *itertools.product((Life.RESTING,), (Life.RECONNECTING, *OVER)),
        (Life.FAILED, Life.CLOSED),
    }
    for before, after in itertools.product(Life, Life):
        lifecycle = Session().lifecycle
        lifecycle._life = before
        if (before, after) in allowed:
            lifecycle._become(after)
            assert lifecycle.life is after
        else:
            with pytest.raises(ClosedError):
                lifecycle._become(after)
            assert lifecycle.life is before


# -- the whole: from wherever --------------------------------------------------------------------


def closings(gemini: GeminiLive) -> list[Any]:
    seen: list[Any] = []
    gemini.on("closed", seen.append)
    return seen


async def test_close_before_the_first_step(local: Local) -> None:
    async with local(Parrot()) as server:
        gemini = GeminiLive()
        closed = closings(gemini)
        waiting = [
            asyncio.ensure_future(gemini.wait_until_ready(timeout=None)),
            asyncio.ensure_future(gemini.send_text("Hello.")),
        ]
        await gemini.close()
        assert closed == [None]
        done, _ = await asyncio.wait(waiting, timeout=5)
        assert [type(task.exception()) for task in done] == [ClosedError, ClosedError]
        assert not server.sessions


def test_a_loop_that_ends_before_the_first_step() -> None:
    seen: list[Any] = []

    async def main() -> None:
        gemini = GeminiLive(api_key="k")
        gemini.on("closed", seen.append)

    asyncio.run(main())
    assert seen == [None]


def at_another_loop(call: Callable[[], Awaitable[Any]]) -> Any:
    """Run a call in the event loop of another thread; returns its result, or what it raised."""
    result: list[Any] = []

    async def run() -> None:
        try:
            result.append(await asyncio.wait_for(call(), 8))
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join(10)
    return result[0]


async def test_other_methods_in_another_loop_say_so(local: Local) -> None:
    async with local(Parrot()), GeminiLive() as gemini:
        silence = PcmData(sample_rate=16000, format="s16", samples=np.zeros(320, np.int16))

        async def resume() -> None:
            await gemini.resume_playback()

        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: gemini.wait_until_ready(),
            lambda: gemini.send_text("Hello."),
            lambda: gemini.send_audio_pcm(silence, 16000),
            lambda: gemini.start_video_sender(None),
            lambda: gemini.stop_video_sender(),
            lambda: gemini.attach(None),
            lambda: gemini.interrupt_playback(),
            lambda: gemini.interrupt_playback(drop=True),
            resume,
        ]
        for call in calls:
            error = await asyncio.to_thread(at_another_loop, call)
            assert isinstance(error, ConfigError)
            assert "another event loop" in str(error)
        with pytest.raises(ConfigError, match="another event loop"):
            await asyncio.to_thread(gemini.resume_playback)
        assert gemini.state == "ready"


async def test_close_from_another_loop(local: Local) -> None:
    async with local(Parrot()):
        gemini = GeminiLive()
        threads: list[Any] = []
        closed: list[Any] = []
        gemini.on("closed", lambda error: threads.append(threading.current_thread()))
        gemini.on("closed", closed.append)
        await gemini.wait_until_ready()
        waiting = asyncio.ensure_future(gemini.send_text("Hello."))
        waiting.cancel()
        first, second = await asyncio.gather(
            *(asyncio.to_thread(at_another_loop, gemini.close) for _ in range(2))
        )
        assert first is second is None
        assert gemini.state == "closed"
        assert closed == [None]
        assert threads == [threading.current_thread()], "it ends where it lives"
        await gemini.close()
        assert await asyncio.to_thread(at_another_loop, gemini.close) is None
        assert closed == [None]


def test_close_after_the_loop_is_gone() -> None:
    loop = asyncio.new_event_loop()

    async def make() -> GeminiLive:
        return GeminiLive(api_key="k")

    gemini = loop.run_until_complete(make())
    closed = closings(gemini)
    error = at_another_loop(gemini.close)
    assert isinstance(error, ConfigError), "its loop could go on"
    assert "does not run" in str(error)
    for task in asyncio.all_tasks(loop):  # nobody will ever end them
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()  # type: ignore[union-attr]
    loop.close()
    assert at_another_loop(gemini.close) is None
    assert at_another_loop(gemini.close) is None
    assert closed == [None]
    assert gemini.state == "closed"


# -- the whole: whenever -------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Reject(503), NeverAnswer()])
@pytest.mark.parametrize("after_s", [0.05, 1.0, 4.0, 14.9, 15.0, 15.05, 20.0])
def test_close_during_a_reconnect(local: Local, fault: Any, after_s: float) -> None:
    async def scenario(room: Room) -> None:
        closed = closings(room.gemini)
        await room.until(1)
        room.server.fail_next(fault, times=1000)
        room.session.abort()
        await happens(room, "disconnected")
        text = asyncio.ensure_future(room.gemini.send_text("Are you there?"))
        await room.until(room.now + after_s)
        assert room.gemini.state == "reconnecting"
        started = room.now
        room.mute()
        await room.gemini.close()
        assert room.now - started <= CLOSES_S
        with pytest.raises(ClosedError):
            await text
        assert closed == [None]
        await room.until(room.now + 30)
        assert closed == [None]
        assert not room.of("resumed")

    hold(local, scenario, Script([]))


def test_connecting_is_bounded_while_the_socket_takes_nothing(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history of a new session is sent into a socket that is full from the beginning."""

    async def main() -> None:
        async with local(Script([])):
            gemini = GeminiLive()
            await gemini.wait_until_ready(None)
            stuck = asyncio.Event()

            async def never(*args: Any, **options: Any) -> None:
                await stuck.wait()

            session = gemini._supervisor.session
            await session.close()
            monkeypatch.setattr(session_module.AsyncSession, "send_client_content", never)
            loop = asyncio.get_running_loop()
            started = loop.time()
            with pytest.raises(ConnectError, match="did not answer"):
                await session.open(history=[("user", "Hello.")])
            assert loop.time() - started <= session_module.CONNECT_TIMEOUT_S + 1
            assert session._socket is None, "no connection is left behind"
            await gemini.close()

    run_virtual(main(), grace=GRACE)


def test_close_with_everything_stuck_takes_three_seconds_at_most(local: Local) -> None:
    async def scenario(room: Room) -> None:
        release = asyncio.Event()

        async def until_released() -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

        async def camera() -> Any:
            yield None
            await until_released()

        @room.gemini.on("closed")
        async def stubborn() -> None:
            await until_released()

        closed = closings(room.gemini)
        await room.gemini.start_video_sender(camera())
        await room.until(2)
        room.session.freeze()
        await room.until(6)
        room.mute()
        started = room.now
        await room.gemini.close()
        assert room.now - started <= CLOSES_S
        assert closed == [None]
        release.set()
        await room.until(room.now + 1)

    hold(local, scenario, Script([]))


@pytest.mark.parametrize("event", ["connected", "turn_complete", "audio", "closed"])
@pytest.mark.parametrize("how", ["awaits it", "has a task await it"])
def test_close_from_a_handler(local: Local, event: str, how: str) -> None:
    async def main() -> None:
        async with local(Script([Turn(audio=voice(0.5))])):
            gemini = GeminiLive()
            closed = closings(gemini)

            @gemini.once(event)
            async def end() -> None:
                if how == "awaits it":
                    await gemini.close()
                else:
                    await asyncio.ensure_future(gemini.close())

            try:
                await gemini.send_text("Go.")
                if event == "closed":
                    await gemini.close()
                await asyncio.wait([gemini._supervisor.lifecycle.ended])
            except ClosedError:
                pass
            started = asyncio.get_running_loop().time()
            await gemini.close()
            assert asyncio.get_running_loop().time() - started <= CLOSES_S
            assert closed == [None]

    run_virtual(main(), grace=GRACE)


# -- cancellations and ends that are not of the session ------------------------------------------


async def test_a_sync_handler_that_meets_a_cancellation_ends_nothing(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script([Turn(audio=signals.speech_like(300, 24000)), Turn(text="Still here.")])
    async with local(script), GeminiLive() as gemini:
        closed = closings(gemini)
        request = asyncio.get_running_loop().create_future()
        request.cancel()
        gemini.on("audio", lambda pcm: request.result())
        turns: list[Any] = []
        complete = asyncio.Event()
        gemini.on("turn_complete", lambda turn: (turns.append(turn), complete.set()))
        for _ in range(2):
            complete.clear()
            await gemini.send_text("Go.")
            await asyncio.wait_for(complete.wait(), 10)
        assert turns[-1].text == "Still here."
        assert closed == []
        assert "A handler of 'audio' failed" in caplog.text


@pytest.mark.parametrize("work", ["next", "keep_alive"])
async def test_a_task_that_somebody_else_cancels_is_a_lost_connection(
    local: Local, work: str
) -> None:
    async with local(Script([Turn(text="Still here.")])), GeminiLive() as gemini:
        lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        gemini.once("disconnected", lambda event: lost.set_result(event.reason))
        names = {"next": "Supervisor._receive", "keep_alive": "Session.keep_alive"}
        for task in asyncio.all_tasks():
            if getattr(task.get_coro(), "__qualname__", "") == names[work]:
                task.cancel()
        assert isinstance(await asyncio.wait_for(lost, 5), ConnectionLostError)
        complete = asyncio.Event()
        gemini.on("turn_complete", lambda: complete.set())
        await gemini.send_text("Are you there?")
        await asyncio.wait_for(complete.wait(), 10)


@pytest.mark.skipif(not hasattr(asyncio.Task, "cancelling"), reason="CPython 3.10 cannot tell")
async def test_a_video_source_that_meets_a_cancellation_is_told(local: Local) -> None:
    async with local(Script([])), GeminiLive() as gemini:
        failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        gemini.once("error", failed.set_result)

        async def camera() -> Any:
            yield None
            request = asyncio.get_running_loop().create_future()
            request.cancel()
            await request

        await gemini.start_video_sender(camera())
        assert "cancelled" in str(await asyncio.wait_for(failed, 10))
        assert gemini.state == "ready"


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("ends", [SystemExit, KeyboardInterrupt])
def test_a_handler_may_end_the_program(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_async: bool,
    ends: type[BaseException],
) -> None:
    closed: list[Any] = []

    async def main() -> None:
        async with LocalGemini(Script([Turn(audio=voice(0.2))])) as server:
            for name, value in server.env.items():
                monkeypatch.setenv(name, value)
            async with GeminiLive() as gemini:
                gemini.on("closed", closed.append)

                def end() -> None:
                    raise ends(3)

                async def end_later() -> None:
                    end()

                gemini.on("turn_complete", end_later if is_async else end)
                await gemini.send_text("Go.")
                await asyncio.sleep(60)

    with pytest.raises(ends) as caught:
        asyncio.run(main())
    assert caught.value.args == (3,)
    assert closed == [None]
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR and "Gemini" in r.message]


def test_a_loop_that_goes_on_after_a_handler_has_ended_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The program may catch the end, and the session is over with a reason."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    server = LocalGemini(Script([Turn(audio=voice(0.2))]))

    async def begin() -> GeminiLive:
        await server.__aenter__()
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        gemini = GeminiLive()

        def end() -> None:
            raise SystemExit(3)

        gemini.on("turn_complete", end)
        await gemini.send_text("Go.")
        return gemini

    async def finish(gemini: GeminiLive) -> list[Any]:
        closed = closings(gemini)
        await asyncio.wait([gemini._supervisor.lifecycle.ended], timeout=5)
        await gemini.close()
        await server.__aexit__(None, None, None)
        return closed

    try:
        gemini = loop.run_until_complete(begin())
        with pytest.raises(SystemExit):
            loop.run_until_complete(asyncio.sleep(30))
        (error,) = loop.run_until_complete(finish(gemini))
        assert isinstance(error, ConnectionLostError)
        assert "SystemExit" in str(error)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()


@pytest.mark.parametrize("moment", [0.0, 0.3, 0.6, 1.1, 2.0, 2.4, 2.8, 3.3, 4.0, 5.0])
def test_close_at_any_moment_of_a_conversation(local: Local, moment: float) -> None:

    async def scenario(room: Room) -> None:
        closed = closings(room.gemini)
        room.say(words(1.5), at=0.5)
        await room.until(moment)
        started = room.now
        room.mute()
        await room.gemini.close()
        assert room.now - started <= CLOSES_S
        assert closed == [None]

    hold(local, scenario, Parrot())
