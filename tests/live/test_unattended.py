"""An assistant without anybody to look after it: when it leaves a call, rests, and ends.

The participants are those of the SDK's own list, the clock is virtual.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from getstream import AsyncStream
from getstream.plugins.gemini.errors import CallError, ClosedError, ConfigError
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.live import _attachment as attachment_module
from getstream.plugins.gemini.live import _presence as presence_module
from getstream.plugins.gemini.live._presence import Assistants
from getstream.plugins.gemini.live._session import connection as session_module
from getstream.plugins.gemini.live._session.reconnect import REST_S
from getstream.plugins.gemini.testing import Close, LocalStream, Parrot, Person, Script, Turn
from getstream.plugins.gemini.testing.clock import run_virtual
from getstream.video import rtc
from getstream.video.rtc import PcmData
from peopled_call import PeopledCall, Watched, attend
from room import GRACE, TEXT, Local, voice, words

NEVER = {"leave_when_alone_s": None, "first_participant_timeout_s": None}


def near(seconds: float) -> Any:
    """A time, to within the 50 ms that sockets may take on the virtual clock."""
    return pytest.approx(seconds, abs=0.05)


# -- when to leave -------------------------------------------------------------------------------


def test_it_leaves_a_minute_after_the_last_person(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        call = PeopledCall("anna", "ben")
        await watched.gemini.attach(call)
        await watched.until(10)
        call.go("anna")
        await watched.until(100)
        call.go("ben")
        await asyncio.wait_for(call.wait(), 61)
        assert watched.now == near(160)
        assert watched.gemini.state != "closed", "another call may follow"
        await asyncio.sleep(1)
        assert call.left == 1
        assert call.listeners == 0

    watched = attend(local, scenario)
    (left,) = watched.of("left")
    assert left.reason == "alone"
    assert watched.time_of("left") == near(160)
    assert watched.of("error") == []


def test_nobody_comes(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        call = PeopledCall()
        await watched.gemini.attach(call)
        await asyncio.wait_for(call.wait(), 400)

    watched = attend(local, scenario)
    assert watched.of("left")[0].reason == "nobody_came"
    assert watched.time_of("left") == near(300)


def test_who_comes_late_is_waited_for(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        call = PeopledCall()
        await watched.gemini.attach(call, first_participant_timeout_s=30)
        await watched.until(29)
        call.join("anna")
        await watched.until(500)
        assert call.left == 0
        await call.leave()

    watched = attend(local, scenario)
    assert [left.reason for left in watched.of("left")] == ["ended"]


def test_who_comes_back_is_not_left(local: Local) -> None:
    """A page that is loaded again: the new session of a user may come before the old one goes."""

    async def scenario(watched: Watched) -> None:
        call = PeopledCall("anna")
        await watched.gemini.attach(call)
        call.join("anna", session="2")
        call.go("anna", session="1")
        await watched.until(100)
        call.go("anna", session="2")
        await watched.until(159)
        call.join("anna", session="3")
        await watched.until(300)
        assert call.left == 0
        call.go("anna", session="3")
        await asyncio.wait_for(call.wait(), 61)
        assert watched.now == near(360)

    attend(local, scenario)


def test_a_list_that_the_sdk_replaces_counts(local: Local) -> None:
    """After a reconnect `getstream` 7 replaces its list, without an event for who has left."""

    async def scenario(watched: Watched) -> None:
        call = PeopledCall("anna")
        await watched.gemini.attach(call, leave_when_alone_s=5)
        state = call.participants_state
        if not hasattr(state, "_replace_participants"):
            pytest.skip("getstream 6 does not")
        state._replace_participants([])
        await asyncio.wait_for(call.wait(), 6)

    attend(local, scenario)


def test_never_is_never(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        first = PeopledCall(reads=False)
        await watched.gemini.attach(first, **NEVER)
        await watched.until(4000)
        first.join("anna")
        first.go("anna")
        await watched.until(9000)
        assert first.left == 0
        await first.leave()

    attend(local, scenario)


def test_a_call_has_its_longest_time(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        call = PeopledCall("anna")
        await watched.gemini.attach(call, max_duration_s=90)
        await asyncio.wait_for(call.wait(), 100)

    watched = attend(local, scenario)
    assert watched.of("left")[0].reason == "max_duration"
    assert watched.time_of("left") == near(90)


def test_a_time_is_of_one_call(local: Local) -> None:
    """What was left for the first call does not end the second one."""

    async def scenario(watched: Watched) -> None:
        first, second = PeopledCall("anna"), PeopledCall("anna", call_id="b")
        await watched.gemini.attach(first, max_duration_s=50)
        first.go("anna")
        await watched.gemini.detach()
        await watched.gemini.attach(second)
        await watched.until(500)
        assert second.left == 0
        await second.stop()

    attend(local, scenario)


def test_assistants_are_no_company(local: Local) -> None:
    """Two assistants of one process and a person: when the person goes, both go."""

    async def main() -> None:
        async with local(Parrot()), GeminiLive() as one, GeminiLive() as two:
            first = PeopledCall("anna", "other-bot")
            second = PeopledCall("anna", "assistant", user_id="other-bot")
            await one.attach(first)
            first.go("anna")
            await asyncio.sleep(30)
            assert first.left == 0, "the other one has not been attached: it may be a person"
            second.go("anna")
            await two.attach(second)
            await asyncio.wait_for(first.wait(), 61)
            assert second.left == 0, "it still waits for its first person"
            second.go("assistant")
            second.join("anna")
            second.go("anna")
            await asyncio.wait_for(second.wait(), 61)

    run_virtual(main(), grace=GRACE)


async def test_assistants_of_other_threads_are_known() -> None:
    assistants = Assistants()
    changed = asyncio.Event()
    forget = assistants.enter("call", "one", changed.set)
    entered, leave = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        away = assistants.enter("call", "two", lambda: None)
        assistants.enter("another", "three", lambda: None)
        entered.set()
        await asyncio.to_thread(leave.wait, 30)
        away()

    thread = threading.Thread(target=asyncio.run, args=[elsewhere()])
    thread.start()
    await asyncio.wait_for(changed.wait(), 30)
    entered.wait(30)
    assert assistants.user_ids("call") == {"one", "two"}
    changed.clear()
    leave.set()
    await asyncio.wait_for(changed.wait(), 30)
    assert assistants.user_ids("call") == {"one"}
    await asyncio.to_thread(thread.join)
    forget()
    forget()
    assert assistants.user_ids("call") == set()
    # The loop of this one is closed; whoever comes next is not disturbed by that.
    assistants.enter("another", "four", lambda: None)()


@pytest.mark.parametrize(
    "name", ["leave_when_alone_s", "first_participant_timeout_s", "max_duration_s"]
)
@pytest.mark.parametrize("value", [-1, -0.001, float("nan"), float("inf"), "60", True, [], 1j])
def test_a_time_that_is_none_is_refused(local: Local, name: str, value: Any) -> None:
    async def scenario(watched: Watched) -> None:
        call = PeopledCall("anna")
        with pytest.raises(ConfigError, match=name):
            await watched.gemini.attach(call, **{name: value})
        assert call.listeners == 0
        await watched.gemini.attach(call)
        await call.leave()

    attend(local, scenario)


def test_the_end_of_a_call_is_noticed(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        call = PeopledCall("anna")
        await watched.gemini.attach(call)
        call.emit("call_ended")
        await asyncio.sleep(1)
        assert [left.reason for left in watched.of("left")] == ["ended"]
        assert call.left == 0, "there is nothing to leave"
        await call.leave()

    watched = attend(local, scenario)
    assert len(watched.of("left")) == 1


# -- detach --------------------------------------------------------------------------------------


def test_detach_leaves_and_another_call_follows(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        gemini = watched.gemini
        await gemini.detach()  # in no call
        first, second = PeopledCall("anna"), PeopledCall("ben", call_id="b")
        await gemini.attach(first)
        await gemini.send_text("Say something long.")
        await asyncio.sleep(1)
        await gemini.detach()
        assert (first.left, first.listeners) == (1, 0)
        await gemini.detach()
        assert first.left == 1
        heard = len(first.heard)
        await gemini.attach(second)
        await gemini.send_text("Hello Ben.")
        await asyncio.sleep(5)
        assert len(first.heard) == heard
        assert abs(second.sound).max() > 1000, "it speaks in the second one"
        await asyncio.gather(gemini.detach(), gemini.detach())
        assert second.left == 1

    watched = attend(local, scenario, Script([Turn(text=TEXT, audio=voice(4))] * 2))
    assert [left.reason for left in watched.of("left")] == ["detached", "detached"]
    assert watched.of("interrupted")[0].cause == "call"


def test_detach_while_it_is_being_attached(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        call = PeopledCall("anna")
        call.publish_takes_s = 2.0
        attaching = asyncio.ensure_future(watched.gemini.attach(call))
        await asyncio.sleep(1)
        await watched.gemini.detach()
        with pytest.raises(CallError, match="while"):
            await attaching
        assert call.left == 1
        assert call.listeners == 0
        await call.stop()

    attend(local, scenario)


def test_detach_after_the_end(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        call = PeopledCall("anna")
        await watched.gemini.attach(call)
        await watched.gemini.close()
        await watched.gemini.detach()
        assert call.left == 0, "closing does not leave"
        await call.stop()

    watched = attend(local, scenario)
    assert watched.of("left") == []


def test_an_sdk_that_cannot_leave_is_told(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        call = PeopledCall("anna")
        call.leave_raises = RuntimeError("no")
        await watched.gemini.attach(call)
        await watched.gemini.detach()
        await call.stop()

    watched = attend(local, scenario)
    (error,) = watched.of("error")
    assert isinstance(error, CallError)


def test_an_sdk_that_hangs_is_not_waited_for(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(watched: Watched) -> None:
        call = PeopledCall("anna")
        call.leave_takes_s = 3600
        await watched.gemini.attach(call)
        began = watched.now
        await watched.gemini.detach()
        assert watched.now - began <= attachment_module.LEAVE_S + 0.1
        await asyncio.sleep(1)
        await call.stop()

    attend(local, scenario)
    assert "was not left" in caplog.text


def test_a_handler_of_left_may_close(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        gemini = watched.gemini
        gemini.on("left", gemini.close)
        call = PeopledCall("anna")
        await gemini.attach(call, max_duration_s=5)
        await asyncio.wait_for(call.wait(), 6)
        await asyncio.sleep(1)
        assert gemini.state == "closed"

    watched = attend(local, scenario)
    assert [name for _, name, _ in watched.events] == ["left", "closed"]


# -- rest ----------------------------------------------------------------------------------------


def test_who_returns_finds_the_same_conversation(local: Local) -> None:
    """The connection is let go while nobody is there, and is there again for the first word."""
    question = words(1.6)

    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        call = PeopledCall("anna", reads=False)
        await gemini.attach(call, leave_when_alone_s=None)
        await gemini.send_text("My name is Anna.")
        await watched.until(10)
        call.go("anna")
        await watched.until(29)
        assert gemini.state == "ready"
        await watched.until(31)
        assert gemini.state == "resting"
        first = server.sessions[0]
        assert first.state == "closed"
        assert first.closed_by == "client"
        await watched.until(3000)
        assert len(server.sessions) == 1, "nothing is connected for as long as nobody is there"
        call.join("anna")
        await call.says(question)
        await asyncio.sleep(5)
        second = server.sessions[1]
        assert gemini.state == "ready"
        assert second.resumed_from is not None
        assert "My name is Anna." in second.context
        (answer,) = second.spoken
        assert answer.sent_ms >= 1500, "the parrot has heard it from the first word"
        await call.leave()

    watched = attend(local, scenario)
    (gone,), (back,) = watched.of("disconnected"), watched.of("resumed")
    assert gone.reason is None
    assert back.same_session
    assert watched.of("error") == []


def test_a_session_that_is_forgotten_meanwhile_is_begun_anew(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        call = PeopledCall("anna", reads=False)
        await gemini.attach(call, leave_when_alone_s=None)
        await gemini.send_text("My name is Anna.")
        await watched.until(10)
        call.go("anna")
        await watched.until(3 * 3600)
        server._shared.handles.clear()  # as the service does after two hours
        call.join("anna")
        await asyncio.sleep(5)
        last = server.sessions[-1]
        assert last.state == "ready"
        assert last.resumed_from is None
        assert "My name is Anna." in last.context
        await call.leave()

    watched = attend(local, scenario)
    assert not watched.of("resumed")[0].same_session


@pytest.mark.parametrize("wanted", ["text", "wait_until_ready", "audio", "attach"])
def test_whoever_wants_the_connection_has_it(local: Local, wanted: str) -> None:
    async def scenario(watched: Watched) -> None:
        gemini = watched.gemini
        call = PeopledCall("anna")
        await gemini.attach(call, leave_when_alone_s=40 if wanted == "attach" else None)
        call.go("anna")
        await watched.until(30)
        assert gemini.state == "resting"
        if wanted == "text":
            await asyncio.wait_for(gemini.send_text("Hello."), 10)
            await watched.server.sessions[1].wait_frames("text")
        elif wanted == "wait_until_ready":
            assert await gemini.wait_until_ready(10)
        elif wanted == "audio":
            pcm = PcmData(sample_rate=16000, format="s16", samples=words(0.1))
            await gemini.send_audio_pcm(pcm, 16000)
            await asyncio.sleep(3)
        else:
            await watched.until(45)
            assert call.left == 1
            assert gemini.state == "resting", "nobody needs it between two calls"
            await gemini.attach(call := PeopledCall("ben", call_id="b"))
            await asyncio.sleep(3)
        assert gemini.state == "ready"
        await call.leave()

    attend(local, scenario)


def test_it_rests_again_after_a_text_has_brought_it_back(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        gemini = watched.gemini
        call = PeopledCall("anna")
        await gemini.attach(call, leave_when_alone_s=None)
        call.go("anna")
        await watched.until(30)
        assert gemini.state == "resting"
        await gemini.send_text("Hello.")
        await watched.server.sessions[1].wait_turns(1)
        assert gemini.state == "ready"
        await watched.until(30 + 2 * presence_module.REST_AFTER_S)
        assert gemini.state == "resting", "still nobody is there"
        call.join("anna")
        await asyncio.sleep(5)
        assert gemini.state == "ready"
        await watched.until(200)
        assert gemini.state == "ready", "it does not rest while somebody is there"
        await call.leave()

    attend(local, scenario)


def test_it_does_not_rest_in_the_middle_of_a_turn(local: Local) -> None:
    """What is being said is said to its end, to whoever may come back."""

    async def scenario(watched: Watched) -> None:
        gemini = watched.gemini
        call = PeopledCall("anna")
        await gemini.attach(call, leave_when_alone_s=None)
        await gemini.send_text("Say something long.")
        await asyncio.sleep(1)
        call.go("anna")
        await watched.until(25)
        assert gemini.state == "ready"
        assert gemini.stats().queued_ms > 1000
        await watched.until(50)
        assert gemini.state == "resting"
        assert gemini.stats().dropped_ms == 0
        await call.leave()

    attend(local, scenario, Script([Turn(text=TEXT, audio=voice(40))]))


@pytest.mark.parametrize("end", ["close", "drain", "call ended"])
def test_it_ends_while_it_rests(local: Local, end: str) -> None:
    async def scenario(watched: Watched) -> None:
        gemini = watched.gemini
        call = PeopledCall("anna")
        await gemini.attach(call, leave_when_alone_s=None)
        call.go("anna")
        await watched.until(30)
        assert gemini.state == "resting"
        began = watched.now
        if end == "close":
            await gemini.close()
        elif end == "drain":
            assert await gemini.drain()
        else:
            call.emit("call_ended")
            await gemini.close()
        assert watched.now - began < 3
        assert gemini.state == "closed"
        assert len(watched.server.sessions) == 1
        await call.stop()

    watched = attend(local, scenario)
    assert watched.of("closed") == [None]


def test_a_loss_just_then(local: Local) -> None:
    """The connection breaks in the moment in which it is to be let go."""

    async def scenario(watched: Watched) -> None:
        gemini = watched.gemini
        call = PeopledCall("anna")
        await gemini.attach(call, leave_when_alone_s=None)
        call.go("anna")
        await watched.until(presence_module.REST_AFTER_S - 0.01)
        watched.server.sessions[0].abort()
        await watched.until(60)
        assert gemini.state == "resting"
        call.join("anna")
        await asyncio.sleep(5)
        assert gemini.state == "ready"
        await call.leave()

    attend(local, scenario)


# -- drain ---------------------------------------------------------------------------------------


def test_drain_waits_for_the_answer_and_its_last_sample(local: Local) -> None:
    said = voice(4)

    async def scenario(watched: Watched) -> None:
        gemini = watched.gemini
        call = PeopledCall("anna")
        await gemini.attach(call)
        await gemini.send_text("Say goodbye.")
        assert await gemini.drain()
        assert gemini.state == "closed"
        assert gemini.stats().dropped_ms == 0
        assert gemini.stats().played_ms == pytest.approx(4000, abs=1)
        assert 4 < watched.now < 12
        await call.stop()

    watched = attend(local, scenario, Script([Turn(text=TEXT, audio=said)]))
    assert watched.of("interrupted") == []
    assert watched.of("closed") == [None]


def test_a_rest_begins_when_the_last_word_was_heard(local: Local) -> None:
    """The service is done with a turn long before: a person answers what they hear."""

    async def scenario(watched: Watched) -> None:
        gemini = watched.gemini
        call = PeopledCall("anna")
        await gemini.attach(call)
        finished: list[float] = []
        gemini.on("playback_finished", lambda event: finished.append(event.finished_at))
        await gemini.send_text("Say something.")
        while not finished:
            await asyncio.sleep(0.1)
        assert await gemini.drain()
        now = asyncio.get_running_loop().time()
        assert now - finished[0] >= REST_S
        await call.stop()

    attend(local, scenario, Script([Turn(text=TEXT, audio=voice(4))]))


def test_drain_of_who_is_at_rest_is_immediate(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        assert await watched.gemini.drain(0)
        assert watched.now < 3

    attend(local, scenario)


def test_drain_waits_while_somebody_speaks(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        call = PeopledCall("anna")
        await watched.gemini.attach(call)
        speaking = asyncio.ensure_future(call.says(words(3.0)))
        await asyncio.sleep(1)
        assert await watched.gemini.drain()
        assert speaking.done()
        (session,) = watched.server.sessions
        assert session.spoken[-1].outcome == "complete", "it was answered"
        await call.stop()

    attend(local, scenario)


def test_drain_has_a_bound(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        call = PeopledCall("anna")
        await watched.gemini.attach(call)
        await watched.gemini.send_text("Go on and on.")
        began = watched.now
        assert not await watched.gemini.drain(5)
        assert watched.now - began < 5 + 3
        assert watched.gemini.state == "closed"
        await call.stop()

    attend(local, scenario, Script([Turn(text=TEXT, audio=voice(60))]))


def test_drain_during_a_reconnect_waits_for_the_answer(local: Local) -> None:
    """The text was sent before the loss, and is asked again after it."""

    async def scenario(watched: Watched) -> None:
        gemini = watched.gemini
        call = PeopledCall("anna")
        await gemini.attach(call)
        await gemini.send_text("Say goodbye.")
        watched.server.fail_next(Close(1011, "Internal error encountered."), times=2)
        watched.server.sessions[0].abort()
        await asyncio.sleep(0.1)
        assert gemini.state == "reconnecting"
        assert await gemini.drain()
        assert gemini.stats().played_ms > 1000
        await call.stop()

    attend(local, scenario, Script([Turn(text=TEXT, audio=voice(2))] * 2))


def test_drain_and_close_and_drain_again(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        gemini = watched.gemini
        call = PeopledCall("anna")
        await gemini.attach(call)
        await gemini.send_text("Go on and on.")
        one = asyncio.ensure_future(gemini.drain(1000))
        two = asyncio.ensure_future(gemini.drain(1000))
        await asyncio.sleep(1)
        await gemini.close()
        assert await asyncio.wait_for(one, 1) is False
        assert await asyncio.wait_for(two, 1) is False
        await gemini.drain(1)
        await call.stop()

    attend(local, scenario, Script([Turn(text=TEXT, audio=voice(60))]))


def test_drain_of_a_session_that_has_failed_plays_what_there_is(local: Local) -> None:
    """It fails in the middle of a turn, of which three seconds have come."""

    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        call = PeopledCall("anna")
        await gemini.attach(call)
        await gemini.send_text("Go on.")
        await asyncio.sleep(2)
        refusal = Close(1008, "models/x is not found for API version v1beta")
        server.fail_next(refusal, times=9)
        await server.sessions[0].close(refusal.code, refusal.reason)
        while gemini.state != "closed":
            await asyncio.sleep(0.01)
        left_ms = gemini.stats().queued_ms
        assert left_ms > 500
        began = watched.now
        assert await gemini.drain()
        assert watched.now - began == pytest.approx(left_ms / 1000, abs=0.3)
        await call.stop()

    reply = Script([Turn(text=TEXT, audio=voice(30))])
    attend(local, scenario, reply, server_options={"speed": 1.5})


def test_drain_that_is_cancelled_closes_nothing(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        await watched.gemini.send_text("Go on.")
        draining = asyncio.ensure_future(watched.gemini.drain(1000))
        await asyncio.sleep(0.5)
        draining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await draining
        assert watched.gemini.state == "ready"

    attend(local, scenario, Script([Turn(text=TEXT, audio=voice(60))]))


@pytest.mark.parametrize("timeout_s", [-1, None, "5", float("nan"), float("inf"), True])
async def test_drain_takes_a_time(timeout_s: Any) -> None:
    gemini = GeminiLive("key")
    with pytest.raises(ConfigError, match="timeout_s"):
        await gemini.drain(timeout_s)
    assert gemini.state != "closed"
    await gemini.close()


def test_drain_before_it_is_used(local: Local) -> None:
    gemini = GeminiLive("key")

    async def main() -> None:
        assert await gemini.drain()
        assert gemini.state == "closed"
        with pytest.raises(ClosedError):
            await gemini.send_text("Hello.")

    asyncio.run(main())


# -- prewarm -------------------------------------------------------------------------------------


def test_the_first_connection_takes_the_client_that_is_there(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str | None] = []
    build = session_module.build_client

    def build_counted(api_key: str | None, vertexai: bool) -> Any:
        made.append(api_key)
        return build(api_key, vertexai)

    monkeypatch.setattr(session_module, "build_client", build_counted)

    async def main() -> None:
        async with local(Parrot()) as server:
            await GeminiLive.prewarm()
            await GeminiLive.prewarm()
            assert made == [server.api_key] * 2
            async with GeminiLive() as gemini:
                assert gemini.state == "ready"
                assert len(made) == 2, "it was there"
            async with GeminiLive():
                assert len(made) == 3, "it is taken once"
            await GeminiLive.prewarm("another-key")
            async with GeminiLive():
                assert len(made) == 5, "it was of another key"

    run_virtual(main(), grace=GRACE)


async def test_prewarm_asks_no_function_for_a_key() -> None:
    asked: list[str] = []

    def ask() -> str:
        asked.append("key")
        return "key"

    await GeminiLive.prewarm(ask)
    assert asked == []


async def test_prewarm_without_a_key_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="key"):
        await GeminiLive.prewarm()
    with pytest.raises(ConfigError, match="key"):
        await GeminiLive.prewarm(3)  # type: ignore[arg-type]


# -- with the SDK itself -------------------------------------------------------------------------


@pytest.mark.skipif(
    not hasattr(rtc, "RemoteTrack"), reason="getstream 6 blocks the event loop when it leaves"
)
async def test_the_real_sdk_is_left_when_the_last_person_has_gone(local: Local) -> None:
    """A connection of its own that breaks and rejoins meanwhile is nobody's leaving."""
    reasons: list[str] = []
    async with local(Parrot()), LocalStream() as stream:
        with stream.redirected():
            async with AsyncStream(base_url=None) as client, GeminiLive() as gemini:
                gemini.on("left", lambda left: reasons.append(left.reason))
                person = Person("a-call", "anna")
                await person.join()
                call = client.video.call("default", "a-call")
                await call.get_or_create(data={"created_by_id": "assistant"})
                async with await rtc.join(call, "assistant") as connection:
                    joined_again = asyncio.Event()

                    def on_state(change: Any) -> None:
                        if change["new"] == rtc.CallingState.JOINED:
                            joined_again.set()

                    await gemini.attach(connection, leave_when_alone_s=0.2)
                    connection.on("connection.state_changed", on_state)
                    await stream.drop_sfu_socket("assistant", "abort")
                    await asyncio.wait_for(joined_again.wait(), 30)
                    assert reasons == []
                    await person.leave()
                    await asyncio.wait_for(connection.wait(), 30)
                    assert reasons == ["alone"]
                    await stream.wait_left("assistant")
                assert gemini.state == "ready"
