"""Faults of the call: the real getstream 7 in this process, on loopback sockets, in real time.

A person and the assistant are in a call on the local Stream backend; the call breaks on the side of
the assistant. The SDK has the connection again, and the conversation goes on as if nothing had
been.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import soxr
from call_trial import match
from getstream import AsyncStream
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.testing import (
    LocalGemini,
    LocalStream,
    Parrot,
    Person,
    Script,
    Turn,
)
from getstream.video import rtc
from room import MODEL, Local, voice, words

CALL = 48_000

pytestmark = pytest.mark.skipif(
    not hasattr(rtc, "RemoteTrack"),
    reason="getstream 6 blocks the event loop when it leaves: it is tested in processes of its own",
)

Break = Callable[[LocalStream], Awaitable[None]]


async def socket_reset(stream: LocalStream) -> None:
    await stream.drop_sfu_socket("assistant", "abort")


async def socket_closed(stream: LocalStream) -> None:
    await stream.drop_sfu_socket("assistant", "clean")


async def session_forgotten(stream: LocalStream) -> None:
    await stream.drop_sfu_socket("assistant", "forget")


async def coordinator_lost(stream: LocalStream) -> None:
    await stream.drop_coordinator("assistant")


async def migration(stream: LocalStream) -> None:
    stream.go_away("assistant")


FAULTS: dict[str, Break] = {
    "the socket of the SFU is reset": socket_reset,
    "the socket of the SFU is closed": socket_closed,
    "the SFU has forgotten the session": session_forgotten,
    "the socket of the coordinator is lost": coordinator_lost,
    "the SFU sends it to another one": migration,
}


@dataclass
class Call:
    """A call with a person and the assistant, who has greeted."""

    stream: LocalStream
    server: LocalGemini
    gemini: GeminiLive
    connection: Any


async def in_a_call(local: Local, scenario: Callable[[Call, Person], Awaitable[None]]) -> None:
    greeting = Turn(audio=voice(1.0), text="Good morning.")
    async with local(Parrot(greeting)) as server, LocalStream() as stream:
        with stream.redirected():
            async with AsyncStream(base_url=None) as client, GeminiLive() as gemini:
                person = Person("a-call", "anna")
                await person.join()
                try:
                    call = client.video.call("default", "a-call")
                    await call.get_or_create(data={"created_by_id": "assistant"})
                    async with await rtc.join(call, "assistant") as connection:
                        await gemini.attach(connection)
                        await gemini.send_text("Greet.")
                        await person.hear_speech()
                        await person.hear_silence(600)
                        await scenario(Call(stream, server, gemini, connection), person)
                finally:
                    await person.leave()


async def is_answered(call: Call, person: Person) -> None:
    """The person says something, and hears it from the parrot."""
    said = soxr.resample(words(1.5), 16000, CALL, quality="VHQ")
    utterance = await person.say(said)
    await person.hear_speech()
    await person.hear_silence(800)
    answer = match(said, person.heard[round(utterance.end * CALL) :])
    assert answer.correlation > 0.9, "after two passes through Opus"
    assert call.gemini.stats().dropped_ms == 0


@pytest.mark.parametrize("name", FAULTS)
async def test_the_conversation_goes_on(local: Local, name: str) -> None:
    async def scenario(call: Call, person: Person) -> None:
        await FAULTS[name](call.stream)
        await call.stream.wait_track("assistant", "audio")
        # The person's SDK subscribes to the new session, and the assistant's to the person.
        await call.stream.wait_for(
            lambda state: all(
                any(track.packets for track in each.subscribed) for each in state.participants
            ),
            what="audio both ways",
        )
        await is_answered(call, person)
        assert call.gemini.stats().disconnects == 0, "the session with Gemini has no part in it"

    await in_a_call(local, scenario)


async def test_what_the_assistant_says_survives_a_lost_socket(local: Local) -> None:
    reply = voice(4.0, seed=3)

    async def scenario(call: Call, person: Person) -> None:
        before = call.gemini.stats().played_ms
        call.server.sessions[0].say(Turn(audio=reply))
        await person.hear_for(1000)
        await socket_closed(call.stream)
        await person.hear_silence(800)
        assert call.gemini.stats().played_ms - before == pytest.approx(4000, abs=1)
        heard = match(
            soxr.resample(reply, MODEL, CALL, quality="VHQ"), person.heard_from("assistant")
        )
        assert heard.correlation > 0.9

    await in_a_call(local, scenario)


async def test_the_end_of_the_call_leaves_an_assistant_that_can_be_closed(local: Local) -> None:
    async def scenario(call: Call, person: Person) -> None:
        await call.stream.end_call("a-call")
        await asyncio.wait_for(call.connection.wait(), 10)
        assert call.gemini.state == "ready", "the next call may have it"
        await call.gemini.close()
        assert call.gemini.state == "closed"

    await in_a_call(local, scenario)


async def test_the_next_call_hears_nothing_of_the_one_before(local: Local) -> None:
    story, greeting = voice(8.0, seed=5), voice(1.0, seed=6)
    async with (
        local(Script([Turn(audio=story), Turn(audio=greeting)])),
        LocalStream() as stream,
    ):
        with stream.redirected():
            async with AsyncStream(base_url=None) as client, GeminiLive() as gemini:
                people = []
                for name, text in (("first", "Tell a story."), ("second", "Greet.")):
                    person = Person(name, "anna")
                    await person.join()
                    call = client.video.call("default", name)
                    await call.get_or_create(data={"created_by_id": "assistant"})
                    async with await rtc.join(call, "assistant") as connection:
                        await gemini.attach(connection)
                        await gemini.send_text(text)
                        await person.hear_speech()
                        await person.hear_for(700)
                        if name == "first":
                            await stream.end_call(name)
                            await asyncio.wait_for(connection.wait(), 10)
                            await asyncio.sleep(0)
                            assert gemini.stats().queued_ms == 0
                        else:
                            await person.hear_silence(600)
                    await person.leave()
                    people.append(person)
                heard = people[1].heard_from("assistant")
                own = soxr.resample(greeting, MODEL, CALL, quality="VHQ")
                rest = soxr.resample(story[2 * MODEL : 5 * MODEL], MODEL, CALL, quality="VHQ")
                assert match(own, heard).correlation > 0.9
                assert abs(match(rest, heard).correlation) < 0.5


async def test_the_first_speech_of_a_call_starts_when_the_sdk_sends(local: Local) -> None:
    """It is ready before the call is: what is lost of it is at most what Opus swallows."""
    greeting = voice(1.0, seed=6)
    async with local(Script([Turn(audio=greeting)])), LocalStream() as stream:
        with stream.redirected():
            async with AsyncStream(base_url=None) as client, GeminiLive() as gemini:
                await gemini.send_text("Greet.")
                person = Person("a-call", "anna")
                await person.join()
                call = client.video.call("default", "a-call")
                await call.get_or_create(data={"created_by_id": "assistant"})
                async with await rtc.join(call, "assistant") as connection:
                    await gemini.attach(connection)
                    await person.hear_speech()
                    await person.hear_silence(600)
                    heard = person.heard_from("assistant")
                    own = soxr.resample(greeting, MODEL, CALL, quality="VHQ")
                    assert match(own, heard).correlation > 0.9
                    assert match(own[: CALL // 5], heard).correlation > 0.8, "its first 200 ms"
                    assert gemini.stats().played_ms == 1000
                await person.leave()


async def test_who_leaves_the_call_leaves_no_state(local: Local) -> None:
    async def scenario(call: Call, person: Person) -> None:
        await is_answered(call, person)
        assert len(call.gemini.stats().tracks) == 1
        await person.leave()
        await call.stream.wait_left("anna")
        for _ in range(200):
            if not call.gemini.stats().tracks:
                break
            await asyncio.sleep(0.01)
        assert not call.gemini.stats().tracks

    await in_a_call(local, scenario)


async def test_a_fault_in_a_frame_does_not_end_the_hearing(
    local: Local, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(call: Call, person: Person) -> None:
        push, calls = call.gemini._audio.input.push, 0
        heard_again = asyncio.Event()
        errors: list[Any] = []
        call.gemini.on("error", errors.append)

        def fail(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls <= 10:
                raise RuntimeError("a fault of ours")
            events = push(*args, **options)
            if calls == 60:
                heard_again.set()
            return events

        before = call.gemini.stats().frames_in
        monkeypatch.setattr(call.gemini._audio.input, "push", fail)
        await asyncio.wait_for(heard_again.wait(), 20)
        stats = call.gemini.stats()
        assert stats.frames_in - before == 50, "all that the SDK has read since"
        assert stats.frames_refused == 10
        assert len(errors) == 1, "reported once"
        assert "handler failed" not in caplog.text, "the SDK has seen nothing of it"

    await in_a_call(local, scenario)
