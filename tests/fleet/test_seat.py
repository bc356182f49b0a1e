"""The seat of an assistant in a call: joining, following, handing over. Real servers and SDKs."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import soxr
from getstream.plugins.gemini.errors import CallError, ConfigError
from getstream.plugins.gemini.fleet import CallRequest, Seat
from getstream.plugins.gemini.fleet import _stream as stream_module
from getstream.plugins.gemini.fleet import _worker as worker_module
from getstream.plugins.gemini.fleet._calls import StartCall
from getstream.plugins.gemini.fleet._stream import HeldEvents
from getstream.plugins.gemini.fleet._worker import Worker
from getstream.plugins.gemini.live import GeminiLive, Resumption
from getstream.plugins.gemini.testing import LocalServers, Person, Reject, signals
from getstream.utils.event_emitter import StreamAsyncIOEventEmitter
from getstream.video import rtc
from pages import ROOT

needs_one_loop = pytest.mark.skipif(
    not hasattr(rtc, "RemoteTrack"),
    reason="getstream 6 blocks the event loop when it leaves, and the people are in this one",
)

QUESTION = ROOT / "python" / "getstream" / "plugins" / "gemini" / "data" / "question.wav"
CALL = "a-call"
CID = f"default:{CALL}"
Assistant = Callable[[Seat], Awaitable[None]]


@dataclass
class Stage:
    """Local servers, and a worker whose assistant a test brings."""

    servers: LocalServers
    over: list[tuple[str, int, bool, str]] = field(default_factory=list)
    saved: list[Resumption] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    worker: Worker | None = None

    async def start(
        self,
        assistant: Assistant,
        *,
        reason: Any = "new",
        resume: Resumption | None = None,
        on_rest: Any = None,
    ) -> Worker:
        """Start the call with an assistant."""
        self.worker = Worker(
            "w", assistant, on_saved=self._on_saved, on_over=self._on_over, on_rest=on_rest
        )
        await self.worker.warm_up()
        self.worker.start_call(StartCall("w", CallRequest(CID), 1, reason, resume))
        return self.worker

    async def wait_over(self) -> tuple[str, int, bool, str]:
        """Wait until the worker tells that the call is over."""
        await asyncio.wait_for(self.told.wait(), 30)
        return self.over[0]

    def _on_saved(self, cid: str, epoch: int, resume: Resumption) -> None:
        assert (cid, epoch) == (CID, 1)
        self.saved.append(resume)

    def _on_over(self, *told: Any) -> None:
        self.over.append(told)  # type: ignore[arg-type]
        self.told.set()


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """Servers to which both SDKs of this process talk."""
    async with LocalServers() as servers:
        monkeypatch.delenv("GEMINI_API_KEY", raising=False)
        for name, value in servers.gemini.env.items():
            monkeypatch.setenv(name, value)
        with servers.stream.redirected():
            stage = Stage(servers)
            try:
                yield stage
            finally:
                if stage.worker is not None:
                    await stage.worker.close(0.0)


async def assistant(seat: Seat) -> None:
    """Hold a call as the documentation says."""
    async with GeminiLive(instructions="Be brief.", resume=seat.resume) as gemini:
        async with await seat.join() as connection:
            await gemini.attach(connection)
            if seat.reason == "new":
                await gemini.send_text("Greet the participants.")
            await seat.follow(gemini, connection)


def said(seconds: float) -> tuple[Any, int]:
    """Return the beginning of the question."""
    samples, rate = signals.read_wav(QUESTION)
    return samples[: round(seconds * rate)], rate


# -- following -----------------------------------------------------------------------------------


@needs_one_loop
async def test_each_new_handle_is_stored_and_the_last_state(stage: Stage) -> None:
    async with Person(CALL, "anna") as anna:
        worker = await stage.start(assistant)
        await anna.hear_speech(timeout=20)
        await anna.hear_silence(800, timeout=20)
        (session,) = stage.servers.gemini.sessions
        await anna.say(*said(1.6))
        await anna.hear_speech(timeout=20)
        await anna.hear_silence(800, timeout=20)
        assert len(stage.saved) >= 2
        worker.leave_call(CID, 1, at_rest=False)
        assert await stage.wait_over() == (CID, 1, False, "")
        await session.wait_closed()
        await stage.servers.stream.wait_left("assistant")
    handles = [each.handle for each in stage.saved]
    states = [(each.handle, each.lines) for each in stage.saved]
    assert all(before != after for before, after in itertools.pairwise(states))
    assert handles[-1], "the newest one is known at the end"
    assert [who for who, _ in stage.saved[-1].lines] == ["user", "model", "user", "model"]


@needs_one_loop
async def test_a_call_in_which_people_speak_is_busy_and_left_at_rest(stage: Stage) -> None:
    async with Person(CALL, "anna") as anna:
        worker = await stage.start(assistant)
        await anna.hear_speech(timeout=20)
        assert worker.report().busy == (CID,)
        worker.leave_call(CID, 1, at_rest=True)
        (session,) = stage.servers.gemini.sessions
        heard_at = session.wait_closed(timeout=30)
        assert await stage.wait_over() == (CID, 1, False, "")
        assert await heard_at == (1000, "")
        assert [turn.outcome for turn in session.spoken] == ["complete"], "the greeting was heard"
        assert worker.report().calls == {}


@needs_one_loop
async def test_it_is_over_before_the_call_is_left_so_that_the_next_one_can_begin(
    stage: Stage,
) -> None:
    may_leave = asyncio.Event()

    async def slow_to_leave(seat: Seat) -> None:
        async with GeminiLive() as gemini, await seat.join() as connection:
            await gemini.attach(connection)
            await seat.follow(gemini, connection)
            await may_leave.wait()

    worker = await stage.start(slow_to_leave)
    await stage.servers.stream.wait_track("assistant", "audio")
    worker.leave_call(CID, 1, at_rest=False)
    assert await stage.wait_over() == (CID, 1, False, "")
    (session,) = stage.servers.gemini.sessions
    await session.wait_closed()
    assert [p.user_id for p in stage.servers.stream.state().participants] == ["assistant"]
    assert worker.report().calls == {}
    may_leave.set()
    await stage.servers.stream.wait_left("assistant")


@needs_one_loop
async def test_who_goes_stays_until_the_next_one_has_joined(stage: Stage) -> None:
    """Neither of two workers knows the other: the control is what brings them together."""
    order: list[str] = []
    joined: set[str] = set()

    async def prepare(cid: str, epoch: int) -> None:
        order.append("at rest")
        await second.prepare_call(CallRequest(CID))
        joined.update(assistants())
        assert len(joined) == 2, "it has joined, and the first is there still"

    def assistants() -> set[str]:
        participants = stage.servers.stream.state().participants
        return {p.session_id for p in participants if p.user_id == "assistant"}

    second = Worker("w2", assistant, on_saved=lambda *_: None, on_over=lambda *_: None)
    await second.warm_up()
    async with Person(CALL, "anna") as anna:
        first = await stage.start(assistant, on_rest=prepare)
        await anna.hear_speech(timeout=20)
        first.leave_call(CID, 1, at_rest=True)
        assert await stage.wait_over() == (CID, 1, False, "")
        assert order == ["at rest"]
        second.start_call(StartCall("w2", CallRequest(CID), 2, "moved", stage.saved[-1]))
        session = await stage.servers.gemini.wait_session(1, timeout=20)
        assert session.resumed_from is not None
        await stage.servers.stream.wait_track("assistant", "audio", timeout=20)
        assert assistants() < joined, "it does not join again"
    await second.close(0.0)


@needs_one_loop
async def test_a_call_that_does_not_come_is_left_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "STANDBY_S", 0.5)
    stage.worker = worker = Worker("w", assistant, on_saved=print, on_over=print)
    with pytest.raises(ConfigError, match="not warm"):
        await worker.prepare_call(CallRequest(CID))
    await worker.warm_up()
    await worker.prepare_call(CallRequest(CID))
    await worker.prepare_call(CallRequest(CID))
    assert [p.user_id for p in stage.servers.stream.state().participants] == ["assistant"]
    await stage.servers.stream.wait_left("assistant")
    assert worker.report().calls == {}


@needs_one_loop
@pytest.mark.parametrize("how", ["the call ends", "it detaches", "it closes"])
async def test_follow_returns_when_the_call_is_over(stage: Stage, how: str) -> None:
    followed: list[GeminiLive] = []
    returned = asyncio.Event()

    async def ends(seat: Seat) -> None:
        async with GeminiLive() as gemini, await seat.join() as connection:
            await gemini.attach(connection)
            followed.append(gemini)
            await seat.follow(gemini, connection)
            await seat.follow(gemini, connection)  # it is over already
            returned.set()

    await stage.start(ends)
    await stage.servers.stream.wait_track("assistant", "audio")
    if how == "the call ends":
        await stage.servers.stream.end_call(CALL)
    elif how == "it detaches":
        await followed[0].detach()
    else:
        await followed[0].close()
    assert await stage.wait_over() == (CID, 1, False, "")
    assert returned.is_set()


@needs_one_loop
async def test_a_session_that_fails_is_raised(stage: Stage) -> None:
    await stage.start(assistant)
    await stage.servers.stream.wait_track("assistant", "audio")
    server = stage.servers.gemini
    server.fail_next(Reject(403), times=20)
    (await server.wait_session()).abort()
    cid, epoch, failed, error = await stage.wait_over()
    assert (cid, epoch, failed) == (CID, 1, True)
    assert "key" in error
    assert server.api_key not in error
    await stage.servers.stream.wait_left("assistant", timeout=2)


@needs_one_loop
async def test_a_call_that_cannot_be_joined(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "wrong-secret-wrong-secret-wrong-secret"
    monkeypatch.setenv("STREAM_API_SECRET", secret)
    await stage.start(assistant)
    _, _, failed, error = await stage.wait_over()
    assert failed
    assert "STREAM_API_KEY and STREAM_API_SECRET belong together" in error
    assert secret not in error
    assert stage.servers.stream.api_key not in error


@needs_one_loop
async def test_joining_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "JOIN_S", 0.0)
    failures: list[Exception] = []

    async def joins(seat: Seat) -> None:
        with pytest.raises(CallError) as caught:
            await (await seat.join()).__aenter__()
        failures.append(caught.value)

    await stage.start(joins)
    await stage.wait_over()
    assert isinstance(failures[0].__cause__, TimeoutError)
    await stage.servers.stream.wait_left("assistant", timeout=5)


@needs_one_loop
async def test_what_a_function_leaves_behind_is_left(stage: Stage) -> None:
    async def careless(seat: Seat) -> None:
        gemini = GeminiLive()
        connection = await (await seat.join()).__aenter__()
        await gemini.attach(connection)
        following = asyncio.ensure_future(seat.follow(gemini, connection))
        await asyncio.sleep(0.1)
        following.cancel()
        raise LookupError("and goes")

    await stage.start(careless)
    assert (await stage.wait_over())[2]
    await stage.servers.stream.wait_left("assistant")
    (session,) = stage.servers.gemini.sessions
    await session.wait_closed(timeout=1)


# -- taking over ---------------------------------------------------------------------------------


@needs_one_loop
@pytest.mark.parametrize("reason", ["moved", "crashed"])
async def test_what_is_said_before_it_is_attached_is_heard(stage: Stage, reason: str) -> None:
    """It joins while it connects to Gemini, which may take a second where the service is far."""
    attach_now = asyncio.Event()

    async def slow(seat: Seat) -> None:
        await attach_now.wait()
        await assistant(seat)

    async with Person(CALL, "anna") as anna:
        await stage.start(slow, reason=reason)
        await stage.servers.stream.wait_for(
            lambda state: any(
                each.packets
                for participant in state.participants
                if participant.user_id == "assistant"
                for each in participant.subscribed
            ),
            what="the assistant that listens",
        )
        assert stage.servers.gemini.sessions == []
        question, rate = said(1.6)
        await anna.say(question, rate)
        attach_now.set()
        await anna.hear_speech(timeout=20)
        await anna.hear_silence(800, timeout=20)
    (session,) = stage.servers.gemini.sessions
    (answer,) = session.spoken
    reference = soxr.resample(question, rate, 24000)
    for part, begins_ms in ((reference[:19200], 0), (reference[19200:], 800)):
        found = signals.align(part, answer.pcm, 24000)
        assert found.correlation > 0.7
        at_ms = found.offset_samples / 24 - begins_ms
        assert at_ms + 60 >= 0, "from its first word on (and 60 ms that Opus and the SDK may take)"


@needs_one_loop
async def test_who_does_not_join_leaves_nobody_in_the_call(stage: Stage) -> None:
    async def goes(seat: Seat) -> None:
        await stage.servers.stream.wait_participant("assistant")

    await stage.start(goes, reason="moved")
    assert await stage.wait_over() == (CID, 1, False, "")
    await stage.servers.stream.wait_left("assistant")


class Connection(StreamAsyncIOEventEmitter):
    """The emitter that connections of the SDK are."""


async def test_held_events_come_in_order_when_all_listeners_are_there() -> None:
    connection, heard = Connection(), []
    held = HeldEvents(connection)
    connection.emit("track_added", "track", "audio", "anna")
    connection.emit("audio", "1")
    connection.on("call_ended", lambda *_: heard.append("ended"))
    connection.emit("call_ended", None)
    assert heard == ["ended"], "what is not of the media is not held"
    await asyncio.sleep(0)
    connection.on("audio", lambda pcm: heard.append(pcm))
    connection.emit("audio", "2")
    connection.on("track_added", lambda *track: heard.append(track[0]))
    assert heard == ["ended"]
    await asyncio.sleep(0)
    assert heard == ["ended", "track", "1", "2"]
    connection.emit("audio", "3")
    connection.on("audio", lambda pcm: heard.append(f"second {pcm}"))
    connection.emit("audio", "4")
    assert heard[4:] == ["3", "4", "second 4"]
    held.release()
    held.discard()
    assert "emit" not in vars(connection)


async def test_old_audio_is_forgotten_and_tracks_are_not() -> None:
    connection, heard = Connection(), []
    held = HeldEvents(connection)
    connection.emit("track_added", "track")
    connection.emit("audio", "old")
    between = time.monotonic()
    connection.emit("audio", "new")
    held.forget_audio(between)
    connection.on("audio", heard.append)
    connection.on("track_added", heard.append)
    await asyncio.sleep(0)
    assert heard == ["track", "new"]


async def test_held_events_are_bounded_and_may_be_discarded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_module, "KEPT_EVENTS", 4)
    connection, heard = Connection(), []
    held = HeldEvents(connection)
    connection.emit("track_added", "track")
    for number in range(10):
        connection.emit("audio", number)
    held.release()
    assert heard == [], "nobody listens"
    held = HeldEvents(connection)
    connection.emit("track_added", "track")
    for number in range(10):
        connection.emit("audio", number)
    connection.on("audio", heard.append)
    connection.on("track_added", heard.append)
    await asyncio.sleep(0)
    assert heard == ["track", 7, 8, 9], "the oldest audio goes first, and no track"
    held = HeldEvents(connection)
    connection.emit("audio", "lost")
    held.discard()
    connection.emit("audio", "heard")
    assert heard[4:] == ["heard"]
