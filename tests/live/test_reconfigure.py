"""Another configuration in mid-call, in place or by a new session, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.errors import (
    ClosedError,
    ConfigError,
    ModelNotFoundError,
    RequestError,
)
from getstream.plugins.gemini.live import BargeIn, GeminiLive, ToolContext, Watchdog, tool
from getstream.plugins.gemini.live import _reconfiguration as reconfiguration_module
from getstream.plugins.gemini.live._models import model_of
from getstream.plugins.gemini.testing import (
    Close,
    FunctionCall,
    LiveSession,
    Parrot,
    Script,
    Turn,
    signals,
)
from getstream.plugins.gemini.testing.clock import run_virtual
from google.genai.live import AsyncSession
from peopled_call import PeopledCall, Watched, attend
from room import GRACE, TEXT, WIRE, Local, Room, hears, hold, voice, words

takes_updates = pytest.mark.skipif(
    not hasattr(AsyncSession, "send_context_update"), reason="google-genai 2.33 has no updates"
)
OLDER = "gemini-2.5-flash-native-audio-latest"
SEEDED_ONLY = "gemini-3.1-flash-live-preview"
REFUSED = Close(1007, "Request contains an invalid argument.")


def instructions_of(session: LiveSession) -> str:
    instruction = session.setup["systemInstruction"]
    return str(instruction["parts"][0]["text"])


def voice_of(session: LiveSession) -> str:
    speech = session.setup["generationConfig"]["speechConfig"]
    return str(speech["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"])


# -- in place ------------------------------------------------------------------------------------


@takes_updates
def test_instructions_are_changed_in_the_running_session(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        await watched.gemini.reconfigure(instructions="Speak French.")
        (session,) = watched.server.sessions
        await session.wait_frames("contextUpdate")
        assert instructions_of(session) == "Speak French."
        await watched.gemini.send_text("Hello.")
        await session.wait_turns(1)

    watched = attend(local, scenario, instructions="Speak English.")
    assert watched.of("disconnected") == []


@takes_updates
def test_tools_of_the_service_are_changed_in_place(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        await watched.gemini.reconfigure(tools=[{"google_search": {}}])
        (session,) = watched.server.sessions
        (update,) = await session.wait_frames("contextUpdate")
        assert "googleSearch" in str(update.message)
        await watched.gemini.reconfigure(tools=[])
        updates = await session.wait_frames("contextUpdate", 2)
        assert "googleSearch" not in str(updates[1].message)

    attend(local, scenario)


def test_an_older_model_takes_instructions_as_content(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        await watched.gemini.reconfigure(instructions="Speak French.")
        (session,) = watched.server.sessions
        (frame,) = await session.wait_frames("clientContent")
        content = frame.message["clientContent"]
        assert content["turns"][0]["role"] == "system"
        assert not content.get("turnComplete")
        assert session.spoken == []

    attend(local, scenario, model=OLDER)


@takes_updates
def test_what_was_changed_in_place_outlives_the_connection(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        await watched.gemini.reconfigure(instructions="Speak French.")
        watched.server.sessions[0].abort()
        await asyncio.sleep(5)
        assert instructions_of(watched.server.sessions[1]) == "Speak French."

    attend(local, scenario)


@takes_updates
def test_an_update_that_the_service_refuses_costs_the_connection_only(local: Local) -> None:
    """It says so by ending the connection: the next session has it from the start."""

    async def scenario(watched: Watched) -> None:
        await watched.gemini.send_text("My name is Anna.")
        await asyncio.sleep(5)
        await watched.gemini.reconfigure(instructions="Speak French.")
        await watched.server.sessions[0].close(REFUSED.code, REFUSED.reason)
        await asyncio.sleep(5)
        last = watched.server.sessions[-1]
        assert last.resumed_from is None
        assert instructions_of(last) == "Speak French."
        assert "My name is Anna." in last.context

    attend(local, scenario)


@takes_updates
def test_a_connection_that_is_gone_just_then(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """The update cannot be sent any more: the next session has it."""

    async def fails(self: AsyncSession, **_values: Any) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(AsyncSession, "send_context_update", fails)

    async def scenario(watched: Watched) -> None:
        await asyncio.wait_for(watched.gemini.reconfigure(instructions="Speak French."), 10)
        assert instructions_of(watched.server.sessions[1]) == "Speak French."
        assert watched.server.sessions[1].resumed_from is None

    attend(local, scenario)


# -- by a new session ----------------------------------------------------------------------------


def test_a_new_voice_comes_with_a_new_session_that_knows_what_was_said(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        call = PeopledCall("anna")
        await gemini.attach(call)
        await gemini.send_text("My name is Anna.")
        await asyncio.sleep(5)
        await gemini.reconfigure(
            voice="Kore", language="de-DE", instructions="You are the second agent."
        )
        first, second = server.sessions
        assert first.closed_by == "client"
        assert second.resumed_from is None
        assert voice_of(second) == "Kore"
        assert second.setup["generationConfig"]["speechConfig"]["languageCode"] == "de-DE"
        assert instructions_of(second) == "You are the second agent."
        assert "My name is Anna." in second.context
        assert gemini.state == "ready"
        await gemini.send_text("Who are you?")
        await second.wait_turns(1)
        await call.leave()

    watched = attend(local, scenario, instructions="You are the first agent.")
    (gone,), (back,) = watched.of("disconnected"), watched.of("resumed")
    assert gone.reason is None
    assert not back.same_session


def test_what_is_being_said_is_heard_to_its_end(local: Local) -> None:
    """Five seconds of speech have been sent when the change comes: none of it is lost."""
    said, after = voice(5), voice(2, seed=2)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Say something long.")
        await asyncio.sleep(1.5)
        assert not room.session.generating
        before = room.now
        await room.gemini.reconfigure(voice="Kore")
        assert room.now - before < 1
        assert room.gemini.stats().queued_ms > 2000, "it goes on meanwhile"
        await asyncio.sleep(6)
        await room.gemini.send_text("And now?")
        await asyncio.sleep(6)
        assert len(room.server.sessions) == 2

    reply = Script([Turn(text=TEXT, audio=said), Turn(text="Now.", audio=after)])
    room, heard = hold(local, scenario, reply, server_options={"speed": 20})
    assert hears(heard, said) > 0.95
    assert hears(heard, after) > 0.95
    assert room.of("interrupted") == []
    assert room.gemini.stats().dropped_ms == 0


def test_it_waits_for_the_end_of_what_is_being_sent(local: Local) -> None:
    said = voice(6)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Say something long.")
        await asyncio.sleep(1)
        assert room.session.generating
        await room.gemini.reconfigure(voice="Kore")
        assert room.session.spoken[0].outcome == "complete"
        await asyncio.sleep(6)

    reply = Script([Turn(text=TEXT, audio=said)])
    _, heard = hold(local, scenario, reply, server_options={"speed": 1.5})
    assert hears(heard, said) > 0.95


def test_it_waits_for_the_tools_that_run(local: Local) -> None:
    """Their results go to the session that has asked; in a new one nobody waits for them."""

    silence = np.zeros(WIRE, np.int16)

    async def book() -> str:
        await asyncio.sleep(4)
        return "table 7"

    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        cancelled: list[Any] = []
        gemini.on("tool_cancelled", cancelled.append)
        call = PeopledCall("anna")
        await gemini.attach(call)
        await call.says(words(1.6))
        await call.says(silence)
        await server.wait_tool_calls()
        await gemini.reconfigure(voice="Kore")
        await call.leave()
        (answer,) = server.tool_responses
        assert (answer.session, answer.response["result"]) == (0, "table 7")
        assert cancelled == []
        first, second = server.sessions
        assert first.spoken[-1].text == "It is booked."
        assert "It is booked." in second.context
        assert voice_of(second) == "Kore"

    reply = Script([FunctionCall("book"), "It is booked."])
    attend(local, scenario, reply, tools=[tool(book, behavior="BLOCKING")])


def test_a_tool_hands_over_and_waits_for_the_others_only(local: Local) -> None:
    silence = np.zeros(WIRE, np.int16)
    took_s: list[float] = []

    async def hand_over(context: ToolContext) -> str:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await context.gemini.reconfigure(voice="Kore")
        took_s.append(loop.time() - began)
        return "done"

    async def book() -> str:
        await asyncio.sleep(3)
        return "table 7"

    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        call = PeopledCall("anna")
        await gemini.attach(call)
        await call.says(words(1.6))
        await call.says(silence)
        await server.wait_session(1, timeout=30)
        await call.leave()
        assert voice_of(server.sessions[1]) == "Kore"
        assert [(each.name, each.session) for each in server.tool_responses] == [("book", 0)]
        await asyncio.sleep(5)

    calls = Turn(function_calls=(FunctionCall("hand_over"), FunctionCall("book")))
    attend(local, scenario, Script([calls]), tools=[hand_over, book])
    assert 3 <= took_s[0] < reconfiguration_module.BOUNDARY_WAIT_S


def test_what_people_say_meanwhile_is_kept_and_sent(local: Local) -> None:
    """They begin to speak while the new session is being set up, which takes a second and more."""
    question = words(1.6)

    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        call = PeopledCall("anna")
        await gemini.attach(call)
        await asyncio.sleep(1)
        server.fail_next(Close(1011, "Internal error encountered."), times=3)
        changing = asyncio.ensure_future(gemini.reconfigure(voice="Kore"))
        await asyncio.sleep(0.3)
        assert gemini.state == "reconnecting"
        await call.says(question)
        await asyncio.wait_for(changing, 20)
        await asyncio.sleep(4)
        last = server.sessions[-1]
        assert voice_of(last) == "Kore"
        (answer,) = last.spoken
        heard = signals.align(question, call.sound[::3], WIRE)
        assert heard.correlation > 0.9, "the parrot repeats all of it"
        assert answer.outcome == "complete"
        await call.leave()

    attend(local, scenario, Parrot())


def test_a_model_that_takes_no_update_gets_a_new_session(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        await watched.gemini.reconfigure(instructions="Speak French.")
        _, second = watched.server.sessions
        assert instructions_of(second) == "Speak French."

    attend(local, scenario, model=SEEDED_ONLY)


def test_it_does_not_wait_for_ever(local: Local) -> None:
    """A conversation without a pause: the change is made after `BOUNDARY_WAIT_S` all the same."""

    async def scenario(watched: Watched) -> None:
        call = PeopledCall("anna")
        await watched.gemini.attach(call)
        loud = words(1.2)
        talking = asyncio.ensure_future(_talk_on(call, loud))
        await asyncio.sleep(1)
        began = watched.now
        await watched.gemini.reconfigure(voice="Kore")
        assert watched.now - began < reconfiguration_module.BOUNDARY_WAIT_S + 3
        talking.cancel()
        await asyncio.wait([talking])
        await call.leave()

    attend(local, scenario)


async def _talk_on(call: PeopledCall, loud: Any) -> None:
    while True:
        await call.says(loud)


# -- refused -------------------------------------------------------------------------------------


def test_a_configuration_that_is_refused_changes_nothing(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        await gemini.send_text("My name is Anna.")
        await asyncio.sleep(5)
        server.fail_next(REFUSED)
        with pytest.raises(RequestError):
            await gemini.reconfigure(voice="NoSuchVoice")
        await gemini.wait_until_ready()
        last = server.sessions[-1]
        assert last.resumed_from is not None, "the session before goes on"
        assert voice_of(last) == "Kore"
        await gemini.reconfigure(voice="Puck")
        assert voice_of(server.sessions[-1]) == "Puck"

    watched = attend(local, scenario, voice="Kore")
    assert watched.of("closed") == [None]


def test_nobody_waits_for_the_refusal(local: Local) -> None:
    """The change was cancelled when the session was being left: the refusal is an event."""

    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        server.fail_next(Close(1011, "Internal error encountered."))
        server.fail_next(REFUSED)
        changing = asyncio.ensure_future(gemini.reconfigure(voice="Kore"))
        while gemini.state != "reconnecting":
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        changing.cancel()
        await asyncio.wait([changing])
        await asyncio.sleep(5)
        assert gemini.state == "ready"
        assert "speechConfig" not in server.sessions[-1].setup["generationConfig"]

    watched = attend(local, scenario)
    (error,) = watched.of("error")
    assert isinstance(error, RequestError)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"instructions": ""},
        {"instructions": 3},
        {"voice": " "},
        {"language": b"de"},
        {"tools": {"google_search": {}}},
        {"tools": "google_search"},
        {"tools": [print]},
        {"tools": [{"function_declarations": [{"name": "f"}, {"name": "f"}]}]},
        {"tools": [{"no_such_tool": {}}]},
    ],
)
def test_what_cannot_be_used_is_refused_at_once(local: Local, options: dict[str, Any]) -> None:
    async def scenario(watched: Watched) -> None:
        with pytest.raises(ConfigError):
            await watched.gemini.reconfigure(**options)
        await watched.gemini.send_text("Hello.")
        (session,) = watched.server.sessions
        await session.wait_turns(1)
        assert not session.frames or all(frame.kind != "contextUpdate" for frame in session.frames)

    attend(local, scenario)


# -- at odd moments ------------------------------------------------------------------------------


def test_two_at_once_are_made_one_after_the_other(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        await asyncio.gather(
            watched.gemini.reconfigure(voice="Kore"),
            watched.gemini.reconfigure(language="de-DE"),
            watched.gemini.reconfigure(voice="Puck"),
        )
        last = watched.server.sessions[-1]
        assert voice_of(last) == "Puck"
        assert last.setup["generationConfig"]["speechConfig"]["languageCode"] == "de-DE"
        assert len(watched.server.sessions) == 4

    attend(local, scenario)


def test_the_same_again_is_no_change(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        await watched.gemini.reconfigure(voice="Kore")
        assert len(watched.server.sessions) == 1

    attend(local, scenario, voice="Kore")


def test_during_a_reconnect(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        server.fail_next(Close(1011, "Internal error encountered."), times=2)
        server.sessions[0].abort()
        while gemini.state != "reconnecting":
            await asyncio.sleep(0.01)
        await asyncio.wait_for(gemini.reconfigure(voice="Kore"), 20)
        assert voice_of(server.sessions[-1]) == "Kore"
        assert gemini.state == "ready"

    attend(local, scenario)


def test_a_loss_while_it_waits_takes_the_change_along(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        await gemini.send_text("Say something long.")
        await asyncio.sleep(1)
        changing = asyncio.ensure_future(gemini.reconfigure(voice="Kore"))
        await asyncio.sleep(0.5)
        assert not changing.done(), "it waits for the end of the turn"
        server.sessions[0].abort()
        await asyncio.wait_for(changing, 10)
        assert len(server.sessions) == 2
        assert voice_of(server.sessions[1]) == "Kore"

    reply = Script([Turn(text=TEXT, audio=voice(20))], then=Parrot())
    attend(local, scenario, reply, server_options={"speed": 1.2})


@pytest.mark.parametrize("moment", ["waiting", "connecting"])
def test_closing_meanwhile(local: Local, moment: str) -> None:
    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        if moment == "waiting":
            await gemini.send_text("Say something long.")
            await asyncio.sleep(1)
        else:
            server.fail_next(Close(1011, "Internal error encountered."), times=5)
        one = asyncio.ensure_future(gemini.reconfigure(voice="Kore"))
        two = asyncio.ensure_future(gemini.reconfigure(voice="Puck"))
        await asyncio.sleep(0.5)
        await gemini.close()
        for changing in (one, two):
            with pytest.raises(ClosedError):
                await asyncio.wait_for(changing, 1)
        with pytest.raises(ClosedError):
            await gemini.reconfigure(voice="Kore")

    reply = Script([Turn(text=TEXT, audio=voice(20))])
    attend(local, scenario, reply, server_options={"speed": 1.2})


def test_a_session_that_fails_meanwhile_says_why(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        server.fail_next(Close(1008, "models/x is not found for API version v1beta"), times=9)
        server.sessions[0].abort()
        await asyncio.sleep(0)
        with pytest.raises(ModelNotFoundError):
            await asyncio.wait_for(gemini.reconfigure(voice="Kore"), 30)
        assert gemini.state == "closed"

    attend(local, scenario)


def test_cancelled_while_it_waits_it_changes_nothing(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        await gemini.send_text("Say something long.")
        await asyncio.sleep(1)
        changing = asyncio.ensure_future(gemini.reconfigure(voice="Kore"))
        await asyncio.sleep(0.5)
        changing.cancel()
        await asyncio.wait([changing])
        await asyncio.sleep(20)
        assert len(server.sessions) == 1
        await asyncio.wait_for(gemini.reconfigure(voice="Puck"), 10)
        assert voice_of(server.sessions[-1]) == "Puck"

    reply = Script([Turn(text=TEXT, audio=voice(6))])
    attend(local, scenario, reply, server_options={"speed": 1.2})


def test_before_the_first_connection(local: Local) -> None:
    """Made outside of an event loop, it is configured before it connects."""
    with_server: Callable[..., Any] = local

    async def main() -> None:
        async with with_server(Parrot()) as server:
            gemini = await asyncio.to_thread(GeminiLive)
            await gemini.reconfigure(voice="Kore")
            assert gemini.state == "new"
            await gemini.wait_until_ready(None)
            (session,) = server.sessions
            assert voice_of(session) == "Kore"
            await gemini.close()

    run_virtual(main(), grace=GRACE)


def test_while_it_connects_and_while_it_rests(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        call = PeopledCall("anna")
        await gemini.attach(call, leave_when_alone_s=None)
        await gemini.send_text("My name is Anna.")
        await watched.until(10)
        call.go("anna")
        await watched.until(40)
        assert gemini.state == "resting"
        await gemini.reconfigure(voice="Kore")
        assert gemini.state == "resting", "nobody is there to hear it"
        call.join("anna")
        await asyncio.sleep(3)
        last: LiveSession = server.sessions[-1]
        assert voice_of(last) == "Kore"
        assert "My name is Anna." in last.context
        await call.leave()

    attend(local, scenario)


def test_a_rest_that_begins_meanwhile_does_not_hold_it_up(local: Local) -> None:
    """Everybody leaves while the change waits for a boundary between turns."""

    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        call = PeopledCall("anna")
        await gemini.attach(call, leave_when_alone_s=None)
        call.go("anna")
        await watched.until(10)
        gemini._supervisor.rest()  # as the timer does, in the same moment
        await asyncio.wait_for(gemini.reconfigure(voice="Kore"), 10)
        assert voice_of(server.sessions[-1]) == "Kore"
        await call.leave()

    attend(local, scenario)


def test_two_while_it_rests_are_refused_as_one(local: Local) -> None:
    """What is in effect then is the configuration that was in use before both."""

    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        call = PeopledCall("anna")
        await gemini.attach(call, leave_when_alone_s=None)
        await gemini.send_text("My name is Anna.")
        await watched.until(10)
        call.go("anna")
        await watched.until(40)
        assert gemini.state == "resting"
        server.fail_next(REFUSED)
        await gemini.reconfigure(voice="NoSuchVoice")
        await gemini.reconfigure(language="xx-XX")
        call.join("anna")
        await asyncio.sleep(5)
        assert gemini.state == "ready"
        last = server.sessions[-1]
        assert voice_of(last) == "Puck"
        assert last.resumed_from is not None, "the conversation goes on as it was"
        await call.leave()

    watched = attend(local, scenario, voice="Puck")
    (error,) = watched.of("error")
    assert isinstance(error, RequestError)


def test_from_an_event_handler(local: Local) -> None:
    changed: list[str] = []

    async def scenario(watched: Watched) -> None:
        gemini = watched.gemini

        async def hand_off() -> None:
            await gemini.reconfigure(voice="Kore", instructions="You are the second agent.")
            changed.append(instructions_of(watched.server.sessions[-1]))

        gemini.once("turn_complete", hand_off)
        await gemini.send_text("Hand me over.")
        await asyncio.sleep(10)

    attend(local, scenario)
    assert changed == ["You are the second agent."]


def test_barge_in_beside_a_change_that_is_refused_stays_as_it_was(local: Local) -> None:
    async def scenario(watched: Watched) -> None:
        gemini, server = watched.gemini, watched.server
        before = gemini.barge_in
        server.fail_next(REFUSED)
        with pytest.raises(RequestError):
            await gemini.reconfigure(voice="NoSuchVoice", barge_in=False)
        assert gemini.barge_in == before
        await gemini.reconfigure(voice="Kore", barge_in=BargeIn(resume_after_ms=900))
        assert gemini.barge_in == BargeIn(resume_after_ms=900)
        for bad in (1, "yes", Watchdog()):
            with pytest.raises(ConfigError, match="barge_in must be"):
                await gemini.reconfigure(voice="Puck", barge_in=bad)  # type: ignore[arg-type]
        assert voice_of(server.sessions[-1]) == "Kore"
        await gemini.close()
        with pytest.raises(ClosedError):
            await gemini.reconfigure(barge_in=True)

    attend(local, scenario)


def test_the_table_of_models_says_who_takes_updates() -> None:
    ways = {
        name: model_of(name).context_updates
        for name in ("gemini-3.8-live", "gemini-3.8-live-extended-thinking", OLDER, SEEDED_ONLY)
    }
    assert list(ways.values()) == ["update", "update", "content", "none"]
    assert model_of("unknown").context_updates == "none"
