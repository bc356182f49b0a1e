"""The transcript of whole conversations: the real SDK and sockets, on a virtual clock."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from types import SimpleNamespace

import numpy as np
import pytest
from getstream import AsyncStream
from getstream.plugins.gemini.live import GeminiLive, Line
from getstream.plugins.gemini.live._call import names_of
from getstream.plugins.gemini.testing import LocalStream, Person, Script, Turn
from getstream.video import rtc
from room import TEXT, WIRE, Local, Room, happens, hold, voice, words

TO_THE_END = {"turn_complete_after": "playback"}


def test_who_has_said_what(local: Local) -> None:
    told: list[Line] = []

    async def scenario(room: Room) -> None:
        room.gemini.on("line", told.append)
        room.gemini._supervisor.turns.feed.lines.name_of = str.title
        await room.gemini.send_text("Greet them.")
        room.say(words(1.5), at=4.0, who="anna")
        room.say(words(1.5), at=10.0, who="ben")
        await room.until(18)
        assert all(line.final for line in room.gemini.transcript)

    replies = [[Turn(audio=voice(1.0), text=f"Reply {number}.")] for number in range(3)]
    room, _ = hold(local, scenario, Script(replies))
    lines = list(room.gemini.transcript)
    assert [(line.who, line.name, line.turn) for line in lines] == [
        ("application", "", 1),
        ("assistant", "", 1),
        ("user", "Anna", 2),
        ("assistant", "", 2),
        ("user", "Ben", 3),
        ("assistant", "", 3),
    ]
    assert [line.text for line in lines[1::2]] == ["Reply 0.", "Reply 1.", "Reply 2."]
    assert all(line.heard_text == line.text for line in lines)
    begins = [room.started_at + 4.0, room.started_at + 10.0]
    for line, began in zip(lines[2::2], begins, strict=True):
        assert line.ended_at is not None
        assert -0.1 < line.started_at - began < 0.4, "when the speech began, not its text"
        assert -0.3 < line.ended_at - (began + 1.5) < 0.3
    # Each line was told, at last as it is; the answer of each, in order.
    assert {(line.who, line.started_at): line for line in told} == {
        (line.who, line.started_at): line for line in lines
    }
    exported = json.loads(room.gemini.transcript.to_json())
    assert [line["user_id"] for line in exported["lines"]] == ["", "", "anna", "", "ben", ""]
    assert "**Ben:**" in room.gemini.transcript.to_markdown()


def test_a_cut_turn_is_told_as_it_was_heard(local: Local) -> None:
    told: list[Line] = []

    async def scenario(room: Room) -> None:
        room.gemini.on("line", told.append)
        await room.gemini.send_text("Count.")
        await happens(room, "playback_started")
        await asyncio.sleep(2.0)
        await room.gemini.interrupt_playback(drop=True)
        await room.until(room.now + 1.0)

    room, _ = hold(local, scenario, Script([Turn(audio=voice(5.0), text=TEXT)]), TO_THE_END)
    (cut,) = (line for line in room.gemini.transcript if line.who == "assistant")
    (interrupted,) = room.of("interrupted")
    assert cut.final
    assert cut.heard_text == interrupted.heard_text
    assert 0 < len(cut.heard_text) < len(TEXT) / 2
    assert TEXT.startswith(cut.heard_text)
    assert "*(interrupted)*" in room.gemini.transcript.to_markdown()
    assert [line for line in told if line.who == "assistant"][-1] == cut


def test_closing_makes_all_lines_final(local: Local) -> None:
    told: list[Line] = []
    order: list[str] = []

    async def scenario(room: Room) -> None:
        room.gemini.on("line", told.append)
        room.gemini.on("line", lambda: order.append("line"))
        room.gemini.on("closed", lambda: order.append("closed"))
        await room.gemini.send_text("Count.")
        await happens(room, "playback_started")
        await asyncio.sleep(1.0)
        assert room.gemini.transcript[-1].heard_text == ""
        room.mute()
        await room.gemini.close()

    room, _ = hold(local, scenario, Script([Turn(audio=voice(5.0), text=TEXT)]), TO_THE_END)
    last = room.gemini.transcript[-1]
    assert told[-1] == last
    assert last.final
    assert len(last.heard_text) < len(TEXT) / 2
    assert order[-1] == "closed"


def test_a_reconnect_leaves_the_transcript_whole(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("One.")
        await happens(room, "playback_finished")
        await room.session.close(1011, "internal error")
        await happens(room, "resumed")
        await room.gemini.send_text("Two.")
        await happens(room, "playback_finished")
        await asyncio.sleep(0.1)

    replies = [[Turn(audio=voice(1.0), text=f"Reply {number}.")] for number in range(2)]
    room, _ = hold(local, scenario, Script(replies))
    assert [(line.who, line.text) for line in room.gemini.transcript] == [
        ("application", "One."),
        ("assistant", "Reply 0."),
        ("application", "Two."),
        ("assistant", "Reply 1."),
    ]


def test_names_come_from_the_participants_of_the_call() -> None:
    class Connection:
        anna = SimpleNamespace(user_id="anna", name="Anna B.")
        participants_state = SimpleNamespace(get_participants=lambda: [Connection.anna])

    connection = Connection()
    name_of = names_of(connection)
    assert name_of("anna") == "Anna B."
    assert name_of("ben") == ""
    del connection
    assert name_of("anna") == "", "the connection is not kept alive"


@pytest.mark.skipif(
    not hasattr(rtc, "RemoteTrack"),
    reason="getstream 6 blocks the event loop when it leaves: it is tested in processes of its own",
)
async def test_the_speaker_of_a_real_call_is_known(local: Local) -> None:
    """On the real SDKs in real time, the detector of the call tells who speaks."""
    said: asyncio.Future[Line] = asyncio.get_running_loop().create_future()
    async with AsyncExitStack() as stack:
        script = Script([Turn(audio=voice(0.5), text="At nine.")])
        await stack.enter_async_context(local(script))
        stream = await stack.enter_async_context(LocalStream())
        stack.enter_context(stream.redirected())
        client = await stack.enter_async_context(AsyncStream(base_url=None))
        gemini = await stack.enter_async_context(GeminiLive())
        anna, ben = [
            await stack.enter_async_context(Person("a-call", who)) for who in ("anna", "ben")
        ]
        call = client.video.call("default", "a-call")
        await call.get_or_create(data={"created_by_id": "assistant"})
        connection = await rtc.join(call, "assistant")
        await stack.enter_async_context(connection)
        await gemini.attach(connection)

        @gemini.on("line")
        def on_line(line: Line) -> None:
            if line.who != "assistant" and not said.done():
                said.set_result(line)

        answered = asyncio.Event()
        gemini.on("turn_complete", answered.set)
        quiet = np.zeros(WIRE, np.int16)
        await asyncio.gather(anna.say(words(1.5), WIRE), ben.say(quiet, WIRE))
        await asyncio.wait_for(answered.wait(), 20)
        line = await asyncio.wait_for(said, 20)
        assert (line.who, line.user_id, line.turn) == ("user", "anna", 1)
        assert line.name == names_of(connection)("anna")
