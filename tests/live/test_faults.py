"""Every fault at every moment of a conversation, over real sockets, on a virtual clock.

A person talks with a parrot. At some moment the connection to the service breaks in some way. What
must hold, whatever breaks when: the conversation goes on, the person is answered, nothing that the
assistant had received is lost, nothing that the person said is lost, nothing is left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.errors import (
    AuthError,
    ConnectError,
    ConnectionLostError,
    QuotaError,
    RequestError,
    SessionError,
    SessionExpiredError,
)
from getstream.plugins.gemini.live import (
    Disconnected,
    GeminiLive,
    Resumed,
    ToolCancelled,
    Watchdog,
)
from getstream.plugins.gemini.live._session import connection as session_module
from getstream.plugins.gemini.live._session import reconnect
from getstream.plugins.gemini.testing import (
    QUOTA_EXCEEDED,
    Abort,
    Close,
    FunctionCall,
    LiveSession,
    LocalGemini,
    NeverAnswer,
    Parrot,
    Reject,
    Script,
    SetupFault,
    Stall,
    Turn,
    signals,
)
from getstream.plugins.gemini.testing.clock import run_virtual
from room import CALL, GRACE, MODEL, WIRE, Local, Room, happens, hears, hold, voice, words

Break = Callable[[LiveSession], Awaitable[None]]


def closing(code: int, reason: str = "") -> Break:
    async def fault(session: LiveSession) -> None:
        await session.close(code, reason)

    return fault


async def reset(session: LiveSession) -> None:
    session.abort()


async def go_away_now(session: LiveSession) -> None:
    await session.go_away(0.0, close=False)


FAULTS: dict[str, tuple[Break, type[SessionError] | None]] = {
    "1000": (closing(1000), ConnectionLostError),
    "1000 cancelled": (closing(1000, "operation was cancelled"), SessionExpiredError),
    "1001": (closing(1001, "going away"), ConnectionLostError),
    "1006": (reset, ConnectionLostError),
    "1007": (closing(1007, "Request contains an invalid argument."), RequestError),
    "1008": (closing(1008, "The operation was aborted."), ConnectionLostError),
    "1011": (closing(1011, "Internal error encountered."), ConnectionLostError),
    "1011 deadline": (
        closing(1011, "Deadline expired before operation could complete."),
        SessionExpiredError,
    ),
    "1011 quota": (closing(1011, QUOTA_EXCEEDED.reason), QuotaError),
    "1012": (closing(1012, "service restart"), ConnectionLostError),
    "goAway": (go_away_now, None),
}
MOMENTS = ("idle", "user speech", "user pause", "generating", "playing")


# What answers a setup, and, when that is to resume, whether the handle survives it: 1007 and 1008
# may be meant for it.
DURING_SETUP: dict[str, tuple[SetupFault, bool]] = {
    "1000": (Close(1000), True),
    "1001": (Close(1001, "going away"), True),
    "1006": (Abort(), True),
    "1007": (Close(1007, "Request contains an invalid argument."), False),
    "1008": (Close(1008, "The operation was aborted."), False),
    "1011": (Close(1011, "Internal error encountered."), True),
    "1011 quota": (QUOTA_EXCEEDED, True),
    "1012": (Close(1012, "service restart"), True),
}


@dataclass
class Outcome:
    """Conversation that is looked at afterwards."""

    room: Room
    sound: Any

    @property
    def losses(self) -> list[Disconnected]:
        return self.room.of("disconnected")

    @property
    def resumed(self) -> list[Resumed]:
        return self.room.of("resumed")

    def answered_with(self, said: Any) -> float:
        """Return how well the listener has heard that from the parrot."""
        return signals.align(said, self.sound[::3], WIRE).correlation


def converse(local: Local, fault: Break, moment: str, **options: Any) -> Outcome:
    """Two things are said, and the fault comes at its moment around the first one."""
    first, second = words(1.6), words(1.6, start=1.6)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Hello.")  # answered by two seconds of greeting
        await room.until(4)
        room.say(first, at=4.0)
        if moment == "idle":
            await room.until(3.9)
        elif moment == "user speech":
            await room.until(4.8)
        elif moment == "user pause":
            await room.until(5.7)  # the service has not decided that it is the end
        elif moment == "generating":
            await room.session.wait_spoken(200, turn=1)
        else:
            await room.session.wait_turns(2)
        await fault(room.session)
        await room.until(10)
        room.say(second, at=room.now + 0.5)
        await room.until(room.now + 5)
        assert room.gemini.state == "ready"

    greeting = Turn(audio=voice(2.0), text="Good morning.")
    room, sound = hold(local, scenario, Parrot(greeting), **options)
    return Outcome(room, sound)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", FAULTS)
def test_the_conversation_goes_on(
    local: Local, name: str, moment: str, outcomes: dict[tuple[str, str], str]
) -> None:
    fault, kind = FAULTS[name]
    outcome = converse(local, fault, moment)
    (lost,) = outcome.losses
    assert type(lost.reason) is (kind or type(None))
    (resumed,) = outcome.resumed
    assert resumed.attempts == 1
    assert resumed.same_session is (name != "1007"), "1007 is not resumed blindly"
    first, second = outcome.room.server.sessions
    if resumed.same_session:
        assert second.resumed_from
        assert second.resumed_from.startswith("handle-0-")
    else:
        assert second.setup["historyConfig"] == {"initialHistoryInClientContent": True}
    for said in (words(1.6), words(1.6, start=1.6)):
        assert outcome.answered_with(said) > 0.95, "what the person says is answered, whole"
    stats = outcome.room.gemini.stats()
    assert (stats.disconnects, stats.planned_reconnects) == ((1, 0) if kind else (0, 1))
    received = sum(turn.sent_ms for session in (first, second) for turn in session.spoken)
    if moment != "generating" or name not in ("1006",):
        assert stats.played_ms == pytest.approx(received, abs=0.2), (
            "every sample that came is heard"
        )
    else:
        assert stats.played_ms <= received + 0.2  # a reset takes with it what was on the way
    assert (stats.dropped_ms, stats.input_dropped_ms) == (0, 0)
    assert not outcome.room.of("error")
    session = "resumed" if resumed.same_session else "new session"
    lost_ms = received - stats.played_ms
    outcomes[name, moment] = f"{session}, {max(0.0, lost_ms):.0f} ms lost"


class Booking:
    """A function of two seconds, and how often it has run."""

    def __init__(self) -> None:
        self.runs: list[int] = []

    async def book(self, seats: int) -> str:
        """Book a table."""
        self.runs.append(seats)
        await asyncio.sleep(2.0)
        return "table 7"


BOOK, BOOKED = FunctionCall("book", {"seats": 2}), Turn(audio=voice(1.0), text="It is booked.")


@pytest.mark.parametrize("name", FAULTS)
def test_a_function_runs_once_and_is_answered(
    local: Local, name: str, outcomes: dict[tuple[str, str], str]
) -> None:
    """Its result goes to the resumed session; a new one gets it when it asks for the same."""
    fault, _ = FAULTS[name]
    booking, cancelled = Booking(), list[ToolCancelled]()

    async def scenario(room: Room) -> None:
        room.gemini.on("tool_cancelled", cancelled.append)
        await room.gemini.send_text("Book a table.")
        await room.server.wait_tool_calls()
        await room.until(1.0)
        await fault(room.session)
        resumed = await happens(room, "resumed")
        if not resumed.same_session:
            await room.gemini.send_text("So?")
        await room.until(12)
        assert room.gemini.state == "ready"

    is_new = name == "1007"
    script = Script([BOOK, BOOK, BOOKED] if is_new else [BOOK, BOOKED])
    room, sound = hold(local, scenario, script, tools=[booking.book])
    assert booking.runs == [2], "what it does is done once"
    (answer,) = room.server.tool_responses
    assert answer.response == {"status": "ok", "result": "table 7"}
    assert (answer.session, answer.id) == (1, room.server.tool_calls[-1].id)
    assert hears(sound, voice(1.0)) > 0.95
    assert [each.reason for each in cancelled] == (["new session"] if is_new else [])
    assert room.server.tool_violations == []
    assert not room.of("error")
    assert not room.of("stalled")
    session = "new session" if is_new else "resumed"
    outcomes[name, "tool runs"] = f"{session}, ran once, answered"


def test_a_result_that_was_lost_on_the_way_is_sent_again(local: Local) -> None:
    booking = Booking()

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Book a table.")
        await room.server.wait_tool_calls()
        room.session.freeze()
        await room.until(3.0)  # it has been sent into the buffers of the connection
        room.session.abort()
        await room.until(8)

    room, sound = hold(local, scenario, Script([BOOK, BOOKED]), tools=[booking.book])
    assert booking.runs == [2]
    (answer,) = room.server.tool_responses
    assert (answer.session, answer.id) == (1, room.server.tool_calls[0].id)
    assert hears(sound, voice(1.0)) > 0.95


@pytest.mark.parametrize("name", DURING_SETUP)
def test_the_connection_that_resumes_fails_too(
    local: Local, name: str, outcomes: dict[tuple[str, str], str]
) -> None:
    fault, keeps_handle = DURING_SETUP[name]
    said = words(1.6)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Hello.")
        await room.until(4)
        room.server.fail_next(fault)
        room.session.abort()
        room.say(said, at=4.1)
        await room.until(10)
        assert room.gemini.state == "ready"

    room, sound = hold(local, scenario, Parrot(Turn(audio=voice(2.0), text="Good morning.")))
    (resumed,) = room.of("resumed")
    assert resumed.attempts == 2
    assert resumed.same_session is keeps_handle
    assert Outcome(room, sound).answered_with(said) > 0.95
    stats = room.gemini.stats()
    assert (stats.dropped_ms, stats.input_dropped_ms) == (0, 0)
    session = "resumed" if resumed.same_session else "new session"
    outcomes[name, "resume"] = f"{session}, 0 ms lost"


@pytest.mark.parametrize("name", DURING_SETUP)
def test_the_first_connection_fails(
    local: Local, name: str, outcomes: dict[tuple[str, str], str]
) -> None:
    """It is the caller's to try again: nothing has been said that could be lost."""
    fault, _ = DURING_SETUP[name]
    kind = {"1007": RequestError, "1011 quota": QuotaError}.get(name, ConnectError)

    async def main() -> SessionError:
        async with local(Script([])) as server:
            server.fail_next(fault)
            with pytest.raises(SessionError) as refusal:
                async with GeminiLive():
                    pass
            async with GeminiLive() as again:
                assert again.state == "ready"
            return refusal.value

    error = run_virtual(main(), grace=GRACE)
    assert type(error) is kind
    assert error.code == int(name[:4])
    assert error.retryable is (name not in ("1007", "1008"))
    outcomes[name, "setup"] = (
        f"{kind.__name__}, {'may' if error.retryable else 'not to'} be retried"
    )


def test_the_order_of_the_events_and_the_state(local: Local) -> None:
    seen: list[str] = []

    async def scenario(room: Room) -> None:
        gemini = room.gemini
        for name in ("disconnected", "reconnecting", "resumed", "connected"):
            gemini.on(name, lambda *_, name=name: seen.append(f"{name} {gemini.state}"))
        room.server.fail_next(Reject(503), times=2)
        room.session.abort()
        await happens(room, "resumed")

    hold(local, scenario, Script([]))
    assert seen == [
        "disconnected reconnecting",
        *["reconnecting reconnecting"] * 3,
        "resumed ready",
    ]


# -- what is said in between ---------------------------------------------------------------------


@pytest.mark.parametrize("outage_s", [1.0, 4.0, 8.0])
def test_what_is_said_in_an_outage_is_kept_and_sent_after_it(local: Local, outage_s: float) -> None:
    said = words(min(outage_s, 2.5))

    async def scenario(room: Room) -> None:
        await room.until(2)
        room.server.fail_next(Reject(503), times=1000)
        room.session.abort()
        room.say(said, at=2.1)
        await room.until(2 + outage_s)
        room.server.clear_faults()
        await happens(room, "resumed")
        await room.until(room.now + len(said) / WIRE + 3)

    room, sound = hold(local, scenario, Parrot())
    assert signals.align(said, sound[::3], WIRE).correlation > 0.95
    assert room.gemini.stats().input_dropped_ms == 0
    (resumed,) = room.of("resumed")
    assert resumed.attempts > 1
    assert outage_s < resumed.gap_ms / 1000 < outage_s + reconnect.LARGEST_DELAY_S + 0.5


def test_more_than_the_bound_is_dropped_and_counted(local: Local) -> None:
    speech = np.tile(words(3.0), 8)  # 24 s without a rest

    async def scenario(room: Room) -> None:
        await room.until(1)
        room.server.fail_next(Reject(503), times=1000)
        room.session.abort()
        room.say(speech, at=1.0)
        await room.until(21)
        room.server.clear_faults()
        await happens(room, "resumed")
        await room.until(room.now + 3)

    room, _ = hold(local, scenario, Script([]))
    stats = room.gemini.stats()
    assert stats.input_dropped_ms > 4000
    # The newest ten seconds are there.
    sent = np.concatenate([part.samples for part in room.server.sessions[-1].audio])
    assert signals.align(speech[12 * WIRE : 18 * WIRE], sent, WIRE).correlation > 0.9


def test_a_text_on_the_way_is_sent_on_the_next_connection(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.until(1)
        room.server.fail_next(Reject(503), times=1)
        room.session.abort()
        await room.gemini.send_text("Are you back?")
        await room.until(room.now + 3)

    room, _ = hold(local, scenario, Script([Turn(audio=voice(0.5))]))
    texts = [f for session in room.server.sessions for f in session.frames if f.kind == "text"]
    assert [f.message["realtimeInput"]["text"] for f in texts] == ["Are you back?"]
    assert room.gemini.stats().played_ms == 500


def test_pictures_of_an_outage_are_not_sent_later(local: Local) -> None:
    from types import SimpleNamespace

    picture = SimpleNamespace(data=np.full(64 * 48 * 3 // 2, 128, np.uint8), width=64, height=48)

    async def camera() -> Any:
        while True:
            yield picture
            await asyncio.sleep(0.1)

    async def scenario(room: Room) -> None:
        await room.gemini.start_video_sender(camera(), fps=5)
        await room.session.wait_frames("video", 3)
        room.server.fail_next(Reject(503), times=3)
        room.session.abort()
        await happens(room, "resumed")
        await room.server.sessions[-1].wait_frames("video", 3)
        await room.gemini.stop_video_sender()

    room, _ = hold(local, scenario, Script([]))
    assert room.gemini.stats().video_frames_rejected == 0


MARKED = {"realtime_input_config": {"automatic_activity_detection": {"disabled": True}}}


@pytest.mark.parametrize("moment", ["user speech", "user pause", "generating"])
def test_marked_speech_is_marked_again_on_the_next_connection(local: Local, moment: str) -> None:
    outcome = converse(local, reset, moment, config=MARKED)
    kinds = [frame.kind for frame in outcome.room.server.sessions[-1].frames]
    assert kinds.count("activityStart") == kinds.count("activityEnd") == 2
    for said in (words(1.6), words(1.6, start=1.6)):
        assert outcome.answered_with(said) > 0.95


def test_vertex_tells_what_it_has_consumed_and_nothing_is_said_twice(local: Local) -> None:
    """By `lastConsumedClientMessageIndex`, which only Vertex AI offers."""
    from google import genai
    from google.genai import types

    said = words(2.0)

    async def main() -> tuple[LocalGemini, GeminiLive]:
        async with local(Parrot()) as server:
            options = types.HttpOptions(
                base_url=server.url, async_client_args={"ssl": server.client_context()}
            )
            client = genai.Client(vertexai=True, api_key="local-gemini-key", http_options=options)
            async with GeminiLive(client=client) as gemini:
                assert server.sessions[0].setup["sessionResumption"] == {"transparent": True}
                room = Room(gemini, server)
                room.say(said, at=1.0)
                await room.until(2.0)
                await server.sessions[0].announce_handle()  # half of it is consumed
                await room.until(2.2)
                server.sessions[0].abort()
                await happens(room, "resumed")
                await room.until(5)
                await room.close()
            return server, gemini

    server, gemini = run_virtual(main(), grace=0.0003)
    before, after = (np.concatenate([p.samples for p in s.audio]) for s in server.sessions)
    assert 0 < gemini.stats().retransmitted_ms <= 300, "what came after the half"
    # Both together are what was said, once.
    whole = signals.align(said, np.concatenate([before, after]), WIRE)
    assert whole.correlation > 0.5  # it goes on somewhere in the middle of a frame at most


# -- a silent service ----------------------------------------------------------------------------


def test_a_half_open_connection_is_found_dead_and_left(local: Local) -> None:
    async def scenario(room: Room) -> None:
        room.mute()
        await room.until(1)
        room.session.freeze()  # no pong, no message, and no close frame
        lost = await happens(room, "disconnected")
        assert isinstance(lost.reason, ConnectionLostError)
        assert "silent" in str(lost.reason)
        await happens(room, "resumed")
        await room.gemini.send_text("Are you back?")
        await happens(room, "turn_complete")

    room, _ = hold(local, scenario, Script([Turn(audio=voice(0.5))]))
    (at,) = [at for at, name, _ in room.events if name == "disconnected"]
    # What the ear of the room has sent before it was muted may be answered a little later.
    assert at == pytest.approx(1 + session_module.PING_AFTER_S + session_module.SILENT_S, abs=2)


def test_a_service_that_takes_nothing_more_is_left_while_somebody_speaks(local: Local) -> None:
    said = words(1.5)

    async def scenario(room: Room) -> None:
        await room.until(1)
        room.session.freeze()
        lost = await happens(room, "disconnected")
        assert room.now - 1 <= 15
        assert isinstance(lost.reason, ConnectionLostError)
        assert "has left" in str(lost.reason)
        await happens(room, "resumed")
        room.say(said, at=room.now + 0.5)
        await room.until(room.now + 5)

    # The largest rate fills the buffers of the kernel soonest; those of a loopback are large.
    _, sound = hold(local, scenario, Parrot(), rate=96_000)
    assert signals.align(said, sound[::3], WIRE).correlation > 0.95


@pytest.mark.parametrize("muted", [True, False])
@pytest.mark.parametrize("pong_after_s", [10.0, 30.0, 55.0])
def test_slow_pongs_kill_nothing(local: Local, pong_after_s: float, muted: bool) -> None:
    async def scenario(room: Room) -> None:
        if muted:
            room.mute()
        room.session.delay_pongs(pong_after_s)
        await room.until(300)
        assert len(room.server.sessions) == 1
        assert room.gemini.state == "ready"

    room, _ = hold(local, scenario, Script([]))
    assert room.session.pings > 2
    assert not room.of("disconnected")


def test_a_server_that_talks_and_does_not_pong_is_alive(local: Local) -> None:
    async def scenario(room: Room) -> None:
        room.mute()
        room.session.delay_pongs(1e6)
        for _ in range(30):
            await asyncio.sleep(10)
            await room.session.send({"usageMetadata": {"totalTokenCount": 1}})

    room, _ = hold(local, scenario, Script([]))
    assert not room.of("disconnected")


def test_a_stall_is_left_for_another_connection_where_that_is_asked_for(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        await room.until(12)

    stalled = Turn(audio=voice(2.0), stall=Stall(at_ms=1000))
    watchdog = Watchdog(after_ms=3000, reconnect=True)
    room, _ = hold(local, scenario, Script([stalled]), watchdog=watchdog)
    (event,) = room.of("stalled")
    assert event.unfinished
    (lost,) = room.of("disconnected")
    assert "stalled" in str(lost.reason)
    assert len(room.of("resumed")) == 1
    assert room.gemini.stats().played_ms == pytest.approx(1000, abs=45)


# -- the announced end ---------------------------------------------------------------------------


def test_an_announced_end_is_left_after_the_turn_and_nobody_notices(local: Local) -> None:
    reply = voice(8.0)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        await room.session.wait_spoken(400)
        await room.session.go_away(50.0)
        await room.until(12)
        room.say(words(1.5), at=12.5)
        await room.until(18)

    script = Script([Turn(audio=reply), Turn(audio=voice(1.0, 2))])
    room, sound = hold(local, scenario, script)
    first = room.server.sessions[0]
    assert first.closed_by == "client"
    assert [turn.outcome for turn in first.spoken] == ["complete"], "the turn was not cut"
    (lost,) = room.of("disconnected")
    assert lost.reason is None
    assert signals.align(reply, sound[::2], MODEL).correlation > 0.98
    hole = signals.longest_silence(sound[CALL : 8 * CALL], CALL)
    assert hole < 300, "what is buffered plays on through the move"
    assert room.gemini.stats().turns == 2
    assert (room.gemini.stats().planned_reconnects, room.gemini.stats().disconnects) == (1, 0)


def test_an_announced_end_in_a_long_speech_is_left_in_time(local: Local) -> None:
    speech = np.tile(words(3.0), 8)

    async def scenario(room: Room) -> None:
        room.say(speech, at=1.0)
        await room.until(3)
        await room.session.go_away(10.0)
        await room.until(16)

    room, _ = hold(local, scenario, Script([]))
    (at,) = [at for at, name, _ in room.events if name == "disconnected"]
    assert at == pytest.approx(3 + 10 - reconnect.LEAVE_BEFORE_S, abs=0.3)
    assert room.server.sessions[0].closed_by == "client"


def test_an_announced_end_in_a_turn_is_left_when_it_has_come(local: Local) -> None:
    reply = voice(8.0)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        await room.session.wait_spoken(400)
        await room.session.go_away(5.0)  # the turn takes two more seconds to come
        await room.until(12)

    room, sound = hold(local, scenario, Script([Turn(audio=reply)]), {"speed": 3.0})
    assert [turn.outcome for turn in room.server.sessions[0].spoken] == ["complete"]
    assert signals.align(reply, sound[::2], MODEL).correlation > 0.98
    assert room.gemini.stats().planned_reconnects == 1


def test_an_early_announcement_on_each_connection_moves_only_near_its_end(local: Local) -> None:
    async def scenario(room: Room) -> None:
        room.mute()
        await room.until(700)
        assert room.gemini.state == "ready"

    room, _ = hold(local, scenario, Script([]), {"announced_end_s": 300.0})
    left = [at for at, name, _ in room.events if name == "disconnected"]
    assert left[0] == pytest.approx(300 - reconnect.LONG_REST_BEFORE_S, abs=0.3)
    assert len(left) == 3, "each connection lasts"
    assert {each.closed_by for each in room.server.sessions} == {"client"}


@pytest.mark.parametrize("place", ["content", "message"])
def test_an_announced_end_is_not_left_between_a_filler_and_its_answer(
    local: Local, place: str
) -> None:
    filler, answer = voice(0.8, 1), voice(1.5, 2)

    async def scenario(room: Room) -> None:
        room.mute()
        await room.gemini.send_text("Which flight?")
        await room.session.wait_turns(1)
        await room.session.go_away(50.0)
        await room.until(15)

    script = Script([[Turn(audio=filler, in_progress=True), Turn(audio=answer, delay_ms=6000)]])
    room, sound = hold(
        local,
        scenario,
        script,
        {"interaction_status_in": place},
        model="gemini-3.8-live-extended-thinking",
    )
    first = room.server.sessions[0]
    assert [turn.outcome for turn in first.spoken] == ["complete", "complete"]
    assert signals.align(answer, sound[::2], MODEL).correlation > 0.98
    assert room.gemini.stats().planned_reconnects == 1, "it was left after the answer"


def test_the_newest_announcement_counts(local: Local) -> None:
    async def scenario(room: Room) -> None:
        room.mute()
        await room.session.go_away(300.0, close=False)
        await room.until(20)
        await room.session.go_away(0.0, close=False)
        await room.until(21)

    room, _ = hold(local, scenario, Script([]))
    (at,) = [at for at, name, _ in room.events if name == "disconnected"]
    assert at == pytest.approx(20, abs=0.3)


def test_repeated_announcements_move_once(local: Local) -> None:
    async def scenario(room: Room) -> None:
        for _ in range(3):
            await room.session.go_away(30.0, close=False)
        await room.until(10)

    room, _ = hold(local, scenario, Script([]))
    assert len(room.server.sessions) == 2


# -- handles and history -------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1007, 1008])
def test_a_refused_handle_is_a_new_session_that_knows_what_was_said(
    local: Local, code: int
) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("My name is Anna.")
        await happens(room, "turn_complete")
        await room.until(3)
        room.server.fail_next(Close(code, "BidiGenerateContent session not found"))
        room.session.abort()
        resumed = await happens(room, "resumed")
        assert not resumed.same_session
        await room.until(room.now + 1)
        await room.gemini.send_text("What is my name?")
        await happens(room, "turn_complete")

    script = Script([Turn(audio=voice(0.5), text="Hello Anna."), Turn(text="Anna.")])
    room, _ = hold(local, scenario, script)
    fresh = room.server.sessions[-1]
    assert "handle" not in fresh.setup["sessionResumption"]
    assert fresh.context[:2] == ["My name is Anna.", "Hello Anna."]
    assert len(fresh.spoken) == 1, "the history itself is not answered"


def test_an_older_model_takes_the_history_as_content(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("My name is Anna.")
        await happens(room, "turn_complete")
        room.server.fail_next(Close(1008, "BidiGenerateContent session not found"))
        room.session.abort()
        await happens(room, "resumed")
        await room.until(room.now + 1)

    model = "gemini-2.5-flash-native-audio-latest"
    script = Script([Turn(audio=voice(0.5), text="Hello Anna.")])
    room, _ = hold(local, scenario, script, model=model)
    fresh = room.server.sessions[-1]
    assert "historyConfig" not in fresh.setup
    (content,) = [f.message["clientContent"] for f in fresh.frames if f.kind == "clientContent"]
    assert content["turnComplete"] is False
    assert [turn["role"] for turn in content["turns"]] == ["user", "model"]


def test_only_what_was_heard_of_a_cut_turn_is_history(local: Local) -> None:
    text = " ".join(f"word{index}" for index in range(20))

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        await room.until(3)
        await room.gemini.interrupt_playback(drop=True)
        await room.until(4)
        room.server.fail_next(Close(1008, "BidiGenerateContent session not found"))
        room.session.abort()
        await happens(room, "resumed")
        await room.until(room.now + 1)

    room, _ = hold(local, scenario, Script([Turn(audio=voice(6.0), text=text)]))
    (cut,) = room.of("interrupted")
    assert 0 < len(cut.heard_text) < len(text)
    fresh = room.server.sessions[-1]
    assert fresh.context == ["Go.", cut.heard_text]


def test_without_resumption_a_new_session_is_seeded(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Remember seven.")
        await happens(room, "turn_complete")
        await room.until(2)
        room.session.abort()
        await happens(room, "resumed")
        await room.until(room.now + 1)

    script = Script([Turn(audio=voice(0.5), text="I will.")])
    room, _ = hold(local, scenario, script, config={"session_resumption": None})
    fresh = room.server.sessions[-1]
    assert "sessionResumption" not in fresh.setup
    assert fresh.context == ["Remember seven.", "I will."]


def test_a_handle_of_ones_own_is_resumed(local: Local) -> None:
    async def main() -> None:
        async with local(Script([])) as server:
            async with GeminiLive() as first:
                await first.wait_until_ready()
                for _ in range(100):  # it comes by itself, and is told to nobody
                    if handle := first._supervisor._reconnect_policy.handle:
                        break
                    await asyncio.sleep(0.1)
            async with GeminiLive(config={"session_resumption": {"handle": handle}}):
                assert server.sessions[1].resumed_from == handle

    run_virtual(main(), grace=0.0003)


# -- when it is final ----------------------------------------------------------------------------

FINAL: dict[str, tuple[Any, type[SessionError]]] = {
    "the key is refused": (Reject(403), AuthError),
    "nobody answers": (NeverAnswer(), SessionError),
    "resets": (Abort(), SessionError),
    "not available": (Reject(503), SessionError),
    "quota": (QUOTA_EXCEEDED, QuotaError),
}


@pytest.mark.parametrize("name", FINAL)
def test_an_outage_without_an_end_is_an_error_and_bounded(local: Local, name: str) -> None:
    fault, kind = FINAL[name]

    async def scenario(room: Room) -> None:
        await room.until(1)
        room.server.fail_next(fault, times=10_000)
        room.session.abort()
        error = await happens(room, "closed")
        assert isinstance(error, kind)
        assert room.gemini.state == "closed"
        # Until the budget is used up, and the attempt that was under way then.
        assert room.now < 1 + reconnect.OUTAGE_S + session_module.CONNECT_TIMEOUT_S + 1
        room.mute()

    hold(local, scenario, Script([]))


def test_connections_that_do_not_last_end(local: Local) -> None:
    async def scenario(room: Room) -> None:
        closed = asyncio.ensure_future(happens(room, "closed"))
        for index in range(reconnect.MOST_LOSSES + 1):
            session = await room.server.wait_session(index)
            session.abort()
            await session.wait_closed()
        assert isinstance(await closed, ConnectionLostError)
        room.mute()

    room, _ = hold(local, scenario, Script([]))
    assert len(room.server.sessions) == reconnect.MOST_LOSSES + 1


def test_a_second_1007_is_final(local: Local) -> None:
    async def scenario(room: Room) -> None:
        for index in range(2):
            session = await room.server.wait_session(index)
            await room.until(room.now + 1)
            closed = asyncio.ensure_future(happens(room, "closed"))
            await session.close(1007, "Request contains an invalid argument.")
            if index == 0:
                closed.cancel()
        assert isinstance(await closed, RequestError)
        room.mute()

    hold(local, scenario, Script([]))


def test_close_in_the_middle_of_an_outage(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.until(1)
        room.server.fail_next(Reject(503), times=1000)
        room.session.abort()
        await room.until(3)
        assert room.gemini.state == "reconnecting"
        room.mute()
        await room.gemini.close()
        assert room.gemini.state == "closed"

    hold(local, scenario, Script([]))


# -- a strange service ---------------------------------------------------------------------------


def test_messages_that_come_twice_or_late_do_no_harm(local: Local) -> None:
    held: list[Any] = []

    def twice_and_late(session: LiveSession, message: dict[str, Any]) -> list[Any]:
        content = message.get("serverContent", {})
        if content.get("generationComplete") or content.get("turnComplete"):
            return [message, message]
        if "outputTranscription" in content:  # behind whatever comes next
            held.append(message)
            return []
        out = [message, *held]
        held.clear()
        return out

    async def scenario(room: Room) -> None:
        for _ in range(2):
            await room.gemini.send_text("Go.")
            await happens(room, "playback_finished")
        await room.until(room.now + 1)

    script = Script([Turn(audio=voice(1.0), text="One two"), Turn(audio=voice(1.0), text="Three")])
    room, _ = hold(local, scenario, script, {"on_send": twice_and_late})
    assert [turn.turn for turn in room.of("turn_complete")] == [1, 2]
    assert room.gemini.stats().played_ms == 2000


def test_giant_and_strange_messages_in_the_middle_of_a_turn(local: Local) -> None:
    reply = np.tile(voice(10.0), 12)  # two minutes in one message: 7.7 MB

    def strange(session: LiveSession, message: dict[str, Any]) -> list[Any]:
        nothing = {"unknown": {"deep": [1, {"a": None}]}}
        content = message.get("serverContent")
        if content is None:
            return [nothing, b"\xff\xfe\x00", "not JSON", message]
        content["unknownField"] = nothing
        turn = content.get("modelTurn")
        if turn:
            turn["unknownField"] = nothing
            for part in turn["parts"]:
                part["unknownField"] = nothing
                part["inlineData"]["unknownField"] = nothing
        return [message]

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        await happens(room, "turn_complete")
        assert room.gemini.stats().queued_ms > 110_000

    options = {"on_send": strange, "chunk_ms": 120_000, "speed": 1e6}
    room, _ = hold(local, scenario, Script([Turn(audio=reply)]), options, barge_in=False)
    assert room.gemini.stats().unreadable_messages > 0
    assert not room.of("disconnected")


def test_bad_audio_is_passed_over_and_counted(local: Local) -> None:
    async def scenario(room: Room) -> None:
        for blob in (
            {"mimeType": "audio/pcm;rate=24000", "data": "!!!"},
            {"mimeType": "audio/pcm;rate=1", "data": "AAAA"},
            {"mimeType": "audio/pcm;rate=24000", "data": 7},
            {"mimeType": 7, "data": "AAAA"},
        ):
            await room.session.send(
                {"serverContent": {"modelTurn": {"parts": [{"inlineData": blob}]}}}
            )
        await room.session.send({"serverContent": {"turnComplete": True}})
        await room.gemini.send_text("Go.")
        await happens(room, "playback_finished")

    room, _ = hold(local, scenario, Script([Turn(audio=voice(1.0))]))
    assert room.gemini.stats().unreadable_messages == 2
    assert room.gemini.stats().played_ms == 1000
