"""Check functions that the model calls, by the real SDK against the local server."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import enum
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from getstream.plugins.gemini.errors import ConfigError, ToolError
from getstream.plugins.gemini.live import (
    GeminiLive,
    ToolCall,
    ToolCancelled,
    ToolContext,
    ToolResult,
    tool,
)
from getstream.plugins.gemini.live._tools import executor as executor_module
from getstream.plugins.gemini.testing import FunctionCall, LocalGemini, Script, Turn
from getstream.plugins.gemini.testing.clock import run_virtual
from google.genai import types
from room import GRACE, TEXT, Room, hears, hold, voice

Local = Callable[..., Any]
Collect = Callable[..., list[tuple[Any, ...]]]


class Place(enum.Enum):
    """A place for a table."""

    GARDEN = "garden"


def book(seats: int, room: Place = Place.GARDEN) -> str:
    """Book a table."""
    return f"{seats} in the {room.value}"


def responses(server: LocalGemini) -> list[dict[str, Any]]:
    return [each.response for each in server.tool_responses]


async def ask(gemini: GeminiLive, server: LocalGemini, count: int = 1) -> list[dict[str, Any]]:
    """Send a text to which the script answers with calls; return what the server was answered."""
    await gemini.send_text("Please.")
    await server.wait_tool_responses(count)
    return responses(server)


async def test_a_function_is_declared_called_and_answered(local: Local, collect: Collect) -> None:
    script = Script([FunctionCall("book", {"seats": 2, "room": "garden"}, id="1"), "It is booked."])
    async with local(script) as server, GeminiLive(tools=[book]) as gemini:
        seen = collect(gemini, "tool_call", "tool_result", "turn_complete")
        done = asyncio.Event()
        gemini.on("turn_complete", lambda: done.set())
        assert await ask(gemini, server) == [{"status": "ok", "result": "2 in the garden"}]
        await asyncio.wait_for(done.wait(), 10)
        (declared,) = server.sessions[0].setup["tools"]
        (declaration,) = declared["functionDeclarations"]
        assert declaration["name"] == "book"
        assert declaration["parameters"]["required"] == ["seats"]
        assert "behavior" not in declaration
        assert server.tool_violations == []
        assert server.tool_responses[0].scheduling == ""
    (_, call), (_, result), (_, turn) = seen
    assert call == ToolCall("1", "book", {"seats": 2, "room": "garden"})
    assert result == ToolResult("1", "book", "2 in the garden", None, result.duration_ms)
    assert turn.text == "It is booked."


class NotJson:
    """A value without a form in JSON."""


def unserialisable() -> Any:
    return {"it": NotJson()}


def nothing() -> None: ...


def nobody() -> list[str]:
    return []


def broken() -> str:
    raise KeyError("table")


def refuses() -> str:
    raise ToolError("no table is left", retryable=True)


def network() -> str:
    raise ConnectionResetError("reset")


async def fails_later() -> str:
    await asyncio.sleep(0)
    raise ValueError


async def cancels_itself() -> str:
    raise asyncio.CancelledError


def huge() -> str:
    return "x" * (executor_module.MOST_RESULT_BYTES + 1)


def stops() -> str:
    raise StopIteration("early")


def error(message: str, retryable: bool = False) -> dict[str, Any]:
    return {"status": "error", "message": message, "retryable": retryable}


@pytest.mark.parametrize(
    ("function", "args", "response"),
    [
        (
            nothing,
            {},
            {"status": "ok", "message": "nothing has succeeded; it has no result to tell."},
        ),
        (
            nobody,
            {},
            {"status": "ok", "result": [], "message": "nobody has succeeded; its result is empty."},
        ),
        (broken, {}, error("KeyError: 'table'")),
        (refuses, {}, error("no table is left", retryable=True)),
        (network, {}, error("ConnectionResetError: reset", retryable=True)),
        (fails_later, {}, error("ValueError")),
        (cancels_itself, {}, error("cancels_itself was cancelled from inside")),
        (stops, {}, error("RuntimeError: the function raised StopIteration")),
        (
            unserialisable,
            {},
            error(
                "unserialisable has run, but its result cannot be sent: result.it is a "
                f"{__name__}.NotJson, which has no form in JSON"
            ),
        ),
        (
            book,
            {"seats": "two", "chairs": 1},
            error(
                "wrong arguments: chairs: there is no such argument (there are: seats, room); "
                "seats: must be an integer, not 'two'",
                retryable=True,
            ),
        ),
    ],
)
async def test_what_the_model_is_told(
    local: Local, collect: Collect, function: Any, args: dict[str, Any], response: dict[str, Any]
) -> None:
    script = Script([FunctionCall(function.__name__, args), "I see."])
    async with local(script) as server, GeminiLive(tools=[function]) as gemini:
        results = collect(gemini, "tool_result")
        assert await ask(gemini, server) == [response]
        assert len(server.tool_calls) == 1  # nothing that 3.8 would repeat
        await server.sessions[0].wait_turns(2)
    ((_, result),) = results
    assert result.error == response.get("message" if response["status"] == "error" else "error")


async def test_a_function_whose_signature_has_changed(local: Local) -> None:
    def count(seats: int) -> int:
        return seats

    script = Script([FunctionCall("count", {"seats": 2}), "I see."])
    async with local(script) as server, GeminiLive(tools=[count]) as gemini:
        count.__code__ = (lambda places: places).__code__
        (response,) = await ask(gemini, server)
    assert response["status"] == "error"
    assert response["message"].startswith("TypeError: ")


async def test_vertex_ai_gets_one_result_of_a_generator(local: Local) -> None:
    from google import genai

    @tool(behavior="NON_BLOCKING")
    def search() -> Iterator[str]:
        yield "one"
        yield "two"

    script = Script([FunctionCall("search"), "Both."])
    async with local(script) as server:
        options = types.HttpOptions(
            base_url=server.url, async_client_args={"ssl": server.client_context()}
        )
        client = genai.Client(vertexai=True, api_key="key", http_options=options)
        async with GeminiLive(client=client, tools=[search]) as gemini:
            assert await ask(gemini, server) == [{"status": "ok", "result": ["one", "two"]}]


async def test_a_call_without_an_id_does_not_end_the_session(local: Local) -> None:
    """The Gemini API takes no answer without an id; the SDK refuses to send one."""
    calls = [
        {"name": "book", "args": {"seats": 1}},
        {"name": "book", "args": {"seats": 2}, "id": "2"},
    ]
    async with local(Script(["Yes."])) as server, GeminiLive(tools=[book]) as gemini:
        await server.sessions[0].send({"toolCall": {"functionCalls": calls}})
        (answer,) = await server.wait_tool_responses()
        assert (answer.id, answer.response["result"]) == ("2", "2 in the garden")
        await gemini.send_text("Are you there?")
        await server.sessions[0].wait_turns(1)
        assert gemini.state == "ready"


async def test_a_result_that_is_too_large(local: Local) -> None:
    script = Script([FunctionCall("huge"), "I see."])
    async with local(script) as server, GeminiLive(tools=[huge]) as gemini:
        (response,) = await ask(gemini, server)
    assert response["status"] == "error"
    assert "ask for less" in response["message"]


async def test_names_that_nobody_has(local: Local) -> None:
    script = Script([[FunctionCall("boook"), FunctionCall("xyz")], "I see."])
    async with local(script) as server, GeminiLive(tools=[book]) as gemini:
        assert await ask(gemini, server, 2) == [
            error("there is no function 'boook'; did you mean 'book'?", retryable=True),
            error("there is no function 'xyz'; there are: book"),
        ]


async def test_calls_of_an_assistant_without_tools_are_answered(local: Local) -> None:
    async with local(Script([FunctionCall("f"), "I see."])) as server, GeminiLive() as gemini:
        assert await ask(gemini, server) == [error("there is no function 'f'; there are: none")]
        assert "tools" not in server.sessions[0].setup


async def test_a_function_that_takes_too_long(local: Local) -> None:
    ended = asyncio.Event()

    @tool(timeout_s=0.05)
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with (
        local(Script([FunctionCall("slow"), "I see."])) as server,
        GeminiLive(tools=[slow]) as gemini,
    ):
        assert await ask(gemini, server) == [error("slow has not finished within 0.05 s")]
        await asyncio.wait_for(ended.wait(), 10)


async def test_every_kind_of_function(local: Local) -> None:
    value = contextvars.ContextVar[str]("value", default="")

    def threaded() -> str:
        return f"{threading.current_thread() is threading.main_thread()} {value.get()}"

    async def on_the_loop() -> str:
        await asyncio.sleep(0)
        return str(threading.current_thread() is threading.main_thread())

    def gives_a_coroutine() -> Any:
        return on_the_loop()

    value.set("kept")
    names = ["threaded", "on_the_loop", "gives_a_coroutine"]
    calls = Turn(function_calls=tuple(FunctionCall(name, id=name) for name in names))
    async with (
        local(Script([calls, "One.", "Two.", "Three."])) as server,
        GeminiLive(tools=[threaded, on_the_loop, gives_a_coroutine]) as gemini,
    ):
        await ask(gemini, server, 3)
        found = {each.id: each.response["result"] for each in server.tool_responses}
    assert found == {"threaded": "False kept", "on_the_loop": "True", "gives_a_coroutine": "True"}


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_streamed_results(local: Local, kind: str) -> None:
    def search() -> Iterator[str]:
        yield "one"
        yield "two"

    async def search_async() -> AsyncIterator[str]:
        yield "one"
        yield "two"

    function = tool(search if kind == "sync" else search_async, name="search")
    async with (
        local(Script([FunctionCall("search"), "First.", "Second."])) as server,
        GeminiLive(tools=[function]) as gemini,
    ):
        await ask(gemini, server, 3)
        found = [
            (each.response.get("result"), each.will_continue, each.scheduling)
            for each in server.tool_responses
        ]
        assert found == [("one", True, ""), ("two", True, ""), (None, False, "SILENT")]
        assert server.tool_calls[0].state == "answered"
        assert server.tool_violations == []


async def test_a_generator_that_the_model_waits_for_is_answered_at_once(local: Local) -> None:
    @tool(behavior="BLOCKING")
    def search() -> Iterator[str]:
        yield "one"
        yield "two"

    async with (
        local(Script([FunctionCall("search"), "Both."])) as server,
        GeminiLive(tools=[search]) as gemini,
    ):
        assert await ask(gemini, server) == [{"status": "ok", "result": ["one", "two"]}]
        (declared,) = server.sessions[0].setup["tools"]
        assert declared["functionDeclarations"][0]["behavior"] == "BLOCKING"


async def test_scheduling_is_sent(local: Local) -> None:
    quiet = tool(book, scheduling="SILENT")
    async with (
        local(Script([FunctionCall("book", {"seats": 2}), "Never said."])) as server,
        GeminiLive(tools=[quiet]) as gemini,
    ):
        await ask(gemini, server)
        assert server.tool_responses[0].scheduling == "SILENT"
        assert not server.sessions[0].generating


async def test_the_context(local: Local) -> None:
    contexts: list[ToolContext] = []

    def look(context: ToolContext) -> str:
        contexts.append(context)
        return "seen"

    async with (
        local(Script([FunctionCall("look", id="1"), "I see."])) as server,
        GeminiLive(tools=[look]) as gemini,
    ):
        await ask(gemini, server)
        (context,) = contexts
        assert context == ToolContext(gemini, "1", "look", "", (("user", "Please."),))


# -- cancellation, repetition, numbers -----------------------------------------------------------


class Held:
    """An async tool that waits until it is let go; counts how often it has begun and ended."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.let_go = asyncio.Event()
        self.begun = 0
        self.outcomes: list[str] = []

    async def hold(self, seats: int = 0) -> str:
        """Hold a table."""
        self.begun += 1
        self.began.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.outcomes.append("cancelled")
            raise
        self.outcomes.append("done")
        return "held"


async def until(condition: Callable[[], object], timeout: float = 10.0) -> None:
    """Wait until a condition is true; the event loop turns meanwhile."""

    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(wait(), timeout)


async def test_a_cancelled_call_is_not_answered(local: Local, collect: Collect) -> None:
    held = Held()
    script = Script([FunctionCall("hold", id="1"), "Never mind."])
    async with local(script) as server, GeminiLive(tools=[held.hold]) as gemini:
        seen = collect(gemini, "tool_result", "tool_cancelled")
        await gemini.send_text("Hold a table.")
        await held.began.wait()
        server.sessions[0].cancel_calls("1")
        await until(lambda: seen and held.outcomes)
        assert held.outcomes == ["cancelled"]
        assert seen == [("tool_cancelled", ToolCancelled("1", "hold", "model"))]
        await gemini.send_text("Thank you.")  # everything before it has been sent
        await server.sessions[0].wait_turns(2)
        assert server.tool_responses == []
        assert server.tool_violations == []


async def test_speech_cancels_a_tool_that_the_model_waits_for(local: Local) -> None:
    held = Held()
    waiting = tool(held.hold, behavior="BLOCKING")
    script = Script([FunctionCall("hold", id="1"), "Yes?"])
    async with local(script) as server, GeminiLive(tools=[waiting]) as gemini:
        await gemini.send_text("Hold a table.")
        await held.began.wait()
        await gemini.send_text("Stop.")
        await until(lambda: held.outcomes)
        assert held.outcomes == ["cancelled"]
        await server.sessions[0].wait_turns(2)
        assert server.tool_calls[0].state == "cancelled"


async def test_an_id_that_comes_twice_runs_once(local: Local) -> None:
    held = Held()
    call = {"toolCall": {"functionCalls": [{"name": "hold", "args": {}, "id": "1"}]}}
    script = Script([FunctionCall("hold", id="1"), "It is held."])
    async with local(script) as server, GeminiLive(tools=[held.hold]) as gemini:
        await gemini.send_text("Hold a table.")
        await held.began.wait()
        await server.sessions[0].send(call)  # while it runs
        held.let_go.set()
        await server.sessions[0].wait_turns(2)
        await server.sessions[0].send(call)  # after it was answered
        await server.sessions[0].send({"toolCallCancellation": {"ids": ["1", "nobody's"]}})
        await server.sessions[0].send({"goAway": {"timeLeft": "600s"}})
        await gemini.send_text("Are you there?")
        await server.sessions[0].wait_user_turns(3)
        assert held.begun == 1
        assert len(server.tool_responses) == 1


async def test_a_hundred_calls_at_once_are_bounded_and_answered(local: Local) -> None:
    running = most = 0

    async def count(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return number

    calls = Turn(function_calls=tuple(FunctionCall("count", {"number": n}) for n in range(100)))
    async with local(Script([calls])) as server, GeminiLive(tools=[count]) as gemini:
        await ask(gemini, server, 100)
        assert [each.state for each in server.tool_calls] == ["answered"] * 100
        assert sorted(each.response["result"] for each in server.tool_responses) == [*range(100)]
        assert server.tool_violations == []
    assert most == executor_module.MOST_RUNNING


async def test_more_calls_than_can_wait_are_refused(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "MOST_CALLS", 2)
    held = Held()
    calls = Turn(function_calls=tuple(FunctionCall("hold", {"seats": n}) for n in range(3)))
    async with local(Script([calls])) as server, GeminiLive(tools=[held.hold]) as gemini:
        (response,) = await ask(gemini, server)
        assert response["status"] == "error"
        assert response["retryable"]
        held.let_go.set()
        await server.wait_tool_responses(3)


def test_no_frame_is_late_while_a_tool_blocks_its_thread(local: Local) -> None:
    """Five seconds of the room; on the event loop, the tool would wait for its own end."""
    release = threading.Event()

    def blocks() -> bool:
        return release.wait(30)

    talk = Turn(audio=voice(4.0), text=TEXT)

    async def scenario(room: Room) -> None:
        try:
            await room.gemini.send_text("Block, and talk.")
            await room.server.wait_tool_calls()
            began = room.now
            await room.until(began + 5.0)
            assert room.server.tool_responses == []
            assert room.gemini.stats().played_ms == 4000
        finally:
            release.set()
        await room.server.wait_tool_responses()

    script = Script([[FunctionCall("blocks"), talk], Turn(audio=voice(0.5))])
    room, sound = hold(local, scenario, script, tools=[blocks])
    assert responses(room.server) == [{"status": "ok", "result": True}]
    stats = room.gemini.stats()
    assert (stats.late_frames, stats.playout_underruns, stats.underruns) == (0, 0, 0)
    assert hears(sound, talk.pcm) > 0.95


# -- reconnects ----------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["while it runs", "when it is done"])
async def test_a_result_goes_to_the_resumed_session(
    local: Local, moment: str, collect: Collect
) -> None:
    held = Held()
    script = Script([FunctionCall("hold", id="1"), "It is held."])
    async with local(script) as server, GeminiLive(tools=[held.hold]) as gemini:
        cancelled = collect(gemini, "tool_cancelled")
        await gemini.send_text("Hold a table.")
        await held.began.wait()
        server.sessions[0].hold()
        server.sessions[0].abort()
        if moment == "when it is done":
            held.let_go.set()
            await until(lambda: held.outcomes)
        session = await server.wait_session(1)
        held.let_go.set()
        await session.wait_turns(1)
        assert session.spoken[0].text == "It is held."
        assert held.begun == 1
        assert [each.id for each in server.tool_responses] == ["1"]
        assert [frame.kind for frame in session.frames if frame.kind == "text"] == []
        assert server.tool_violations == []
        assert cancelled == []


BAD = {
    "raises": (broken, {}),
    "is refused": (refuses, {}),
    "returns what is no JSON": (unserialisable, {}),
    "returns nothing": (nothing, {}),
    "gets wrong arguments": (book, {"seats": "two"}),
    "does not exist": (book, {"seats": 2}),
}


@pytest.mark.parametrize("what", BAD)
async def test_an_answer_that_is_lost_with_its_connection_is_sent_again(
    local: Local, what: str
) -> None:
    function, args = BAD[what]
    name = "boook" if what == "does not exist" else function.__name__
    script = Script([FunctionCall(name, args, id="1"), "I see."])
    async with local(script) as server, GeminiLive(tools=[function]) as gemini:
        # The server does not read any more from the moment at which the call arrives.
        gemini.on("tool_call", lambda: server.sessions[0].freeze())
        results = asyncio.Queue[ToolResult]()
        gemini.on("tool_result", results.put_nowait)
        await gemini.send_text("Please.")
        await asyncio.wait_for(results.get(), 10)
        tools = gemini._supervisor.tools
        await until(lambda: not tools._outbox)  # it has gone into the connection
        server.sessions[0].abort()
        session = await server.wait_session(1)
        await session.wait_turns(1)
        (answer,) = server.tool_responses
        assert (answer.session, answer.id) == (1, "1")
        assert answer.response["status"] == ("ok" if function is nothing else "error")
        assert results.empty(), "it was called once"
        assert server.tool_violations == []


async def test_a_new_session_does_not_get_the_result_of_another(
    local: Local, collect: Collect
) -> None:
    held = Held()
    script = Script([FunctionCall("hold", {"seats": 2}, id="1"), "Again?"])
    config = {"session_resumption": None}
    async with local(script) as server, GeminiLive(config=config, tools=[held.hold]) as gemini:
        cancelled = collect(gemini, "tool_cancelled")
        await gemini.send_text("Hold a table.")
        await held.began.wait()
        server.sessions[0].abort()
        session = await server.wait_session(1)
        await until(lambda: cancelled)
        assert cancelled == [("tool_cancelled", ToolCancelled("1", "hold", "new session"))]
        held.let_go.set()
        await until(lambda: held.outcomes)
        await gemini.send_text("Are you there?")
        await session.wait_turns(1)
        assert server.tool_responses == []


async def test_a_call_that_is_made_again_after_a_reconnect_runs_once(local: Local) -> None:
    held = Held()
    script = Script([FunctionCall("hold", {"seats": 2}, id="1"), FunctionCall("hold", {"seats": 2}),
                     "It is held."])  # fmt: skip
    config = {"session_resumption": None}
    async with local(script) as server, GeminiLive(config=config, tools=[held.hold]) as gemini:
        await gemini.send_text("Hold a table.")
        await held.began.wait()
        server.sessions[0].abort()
        session = await server.wait_session(1)
        await gemini.send_text("Where were we?")
        await server.wait_tool_calls(2)
        held.let_go.set()
        await session.wait_turns(2)
        assert held.begun == 1
        (response,) = server.tool_responses
        assert response.id == server.tool_calls[1].id
        assert response.response == {"status": "ok", "result": "held"}


@pytest.mark.parametrize("config", [{}, {"session_resumption": None}], ids=["same", "new"])
@pytest.mark.parametrize("finishes", ["before", "after"])
async def test_a_call_that_is_made_again_is_told_to_its_end(
    local: Local, collect: Collect, config: dict[str, Any], finishes: str
) -> None:
    """Whoever counts the calls that are open, as telemetry does, ends at none."""
    held = Held()
    again = Turn(function_calls=(FunctionCall("hold", {"seats": 2}, id="2"),))
    script = Script([FunctionCall("hold", {"seats": 2}, id="1"), "It is held.", "It is held."])
    async with local(script) as server, GeminiLive(config=config, tools=[held.hold]) as gemini:
        seen = collect(gemini, "tool_call", "tool_result", "tool_cancelled")
        await gemini.send_text("Hold a table.")
        await held.began.wait()
        server.sessions[0].abort()
        session = await server.wait_session(1)
        await gemini.wait_until_ready()
        if finishes == "before":
            held.let_go.set()
            await until(lambda: held.outcomes)
        session.say(again)
        await until(lambda: "2" in [event.id for name, event in seen if name == "tool_call"])
        held.let_go.set()
        await until(lambda: any(answer.id == "2" for answer in server.tool_responses))
        assert held.begun == 1
    ends = {"1": 0, "2": 0}
    for name, event in seen:
        ends[event.id] += name != "tool_call"
    assert ends == {"1": 1, "2": 1}, seen
    last = seen[-1][1]
    assert (last.id, last.result, last.error) == ("2", "held", None)


def test_a_result_of_a_session_that_is_gone_is_not_kept_for_ever(local: Local) -> None:
    """The same call a minute later is another question."""
    asked: list[int] = []
    began, let_go = asyncio.Event(), asyncio.Event()

    async def look_at_clock() -> int:
        asked.append(len(asked) + 1)
        number = asked[-1]
        began.set()
        await let_go.wait()
        return number

    async def main() -> None:
        script = Script([FunctionCall("look_at_clock"), FunctionCall("look_at_clock"), "Late."])
        config = {"session_resumption": None}
        async with local(script) as server:
            async with GeminiLive(config=config, tools=[look_at_clock]) as gemini:
                await gemini.send_text("What time is it?")
                await began.wait()
                server.sessions[0].abort()
                await server.wait_session(1)
                let_go.set()
                await asyncio.sleep(2 * executor_module.REPEATED_S)
                await gemini.send_text("And now?")
                (response,) = await server.wait_tool_responses(1)
        assert response.response["result"] == 2

    run_virtual(main(), grace=GRACE)


# -- the end -------------------------------------------------------------------------------------


async def test_closing_cancels_what_runs(local: Local, collect: Collect) -> None:
    held = Held()
    async with local(Script([FunctionCall("hold", id="1")])) as server:
        async with GeminiLive(tools=[held.hold]) as gemini:
            cancelled = collect(gemini, "tool_cancelled")
            await gemini.send_text("Hold a table.")
            await held.began.wait()
        assert held.outcomes == ["cancelled"]
        assert cancelled == [("tool_cancelled", ToolCancelled("1", "hold", "closed"))]
        assert server.tool_responses == []


async def test_a_stuck_thread_does_not_hold_up_the_end(local: Local) -> None:
    release, began = threading.Event(), threading.Event()

    def stuck() -> None:
        began.set()
        release.wait(60)

    try:
        async with local(Script([FunctionCall("stuck")])):
            async with GeminiLive(tools=[stuck]) as gemini:
                await gemini.send_text("Get stuck.")
                await until(began.is_set)
                closing = asyncio.ensure_future(gemini.close())
                done, _ = await asyncio.wait([closing], timeout=3)
                assert done
                assert not release.is_set()
    finally:
        release.set()


async def test_a_tool_that_ignores_its_cancellation_is_left(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    began, let_go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        began.set()
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()
        ended.set()

    async with local(Script([FunctionCall("stubborn")])):
        async with GeminiLive(tools=[stubborn]) as gemini:
            await gemini.send_text("Do not stop.")
            await began.wait()
            closing = asyncio.ensure_future(gemini.close())
            done, _ = await asyncio.wait([closing], timeout=3)
            assert done
        assert "A tool does not end although it was cancelled" in caplog.text
        let_go.set()
        await ended.wait()


async def test_cancellation_and_calls_during_the_end_are_ignored(local: Local) -> None:
    held = Held()
    async with local(Script([FunctionCall("hold", id="1")])) as server:
        async with GeminiLive(tools=[held.hold]) as gemini:
            await gemini.send_text("Hold a table.")
            await held.began.wait()
            tools = gemini._supervisor.tools
            tools.cancel()
            tools.cancel_calls(["1"])
            tools.call([{"id": "2", "name": "hold", "args": {}}])
            await until(lambda: held.outcomes)
            assert held.begun == 1
            assert server.tool_responses == []


async def test_a_tool_may_close_the_session(local: Local) -> None:
    async def hang_up(context: ToolContext) -> str:
        await context.gemini.close()
        return "bye"

    async with local(Script([FunctionCall("hang_up")])):
        gemini = GeminiLive(tools=[hang_up])
        closed = asyncio.Event()
        gemini.on("closed", lambda: closed.set())
        await gemini.send_text("Bye.")
        await asyncio.wait_for(closed.wait(), 5)
        await gemini.close()
        assert gemini.state == "closed"


# -- the ways to give tools ----------------------------------------------------------------------


async def test_the_decorator(local: Local) -> None:
    async with local(Script([FunctionCall("held", id="1"), "It is."])) as server:
        gemini = GeminiLive()

        @gemini.tool
        def plain() -> None: ...

        @gemini.tool(name="held", description="Tells.", timeout_s=5, scheduling="WHEN_IDLE")
        def function() -> str:
            return "yes"

        assert function() == "yes"
        async with gemini:
            await ask(gemini, server)
            (declared,) = server.sessions[0].setup["tools"]
            assert declared["functionDeclarations"] == [
                {"name": "plain"},
                {"name": "held", "description": "Tells."},
            ]
            assert server.tool_responses[0].scheduling == "WHEN_IDLE"
            with pytest.raises(ConfigError, match="before the first await"):
                gemini.tool(lambda: None)


async def test_tools_of_config_and_of_the_argument_add_up(local: Local) -> None:
    config = {"tools": [{"google_search": {}}, book]}
    plain = types.Tool(
        function_declarations=[types.FunctionDeclaration(name="by_hand", description="d")]
    )
    async with local() as server, GeminiLive(config=config, tools=[plain, nothing]):
        setup = server.sessions[0].setup["tools"]
        assert [each for each in setup if "googleSearch" in each] == [{"googleSearch": {}}]
        names = [f["name"] for each in setup for f in each.get("functionDeclarations", ())]
        assert names == ["by_hand", "book", "nothing"]


async def test_a_declaration_by_hand_with_a_function_of_its_name(local: Local) -> None:
    declaration = {"name": "book", "description": "By hand.", "behavior": "BLOCKING"}
    tools = [{"function_declarations": [declaration]}, book]
    script = Script([FunctionCall("book", {"seats": 2}), "It is booked."])
    async with local(script) as server, GeminiLive(tools=tools) as gemini:
        assert await ask(gemini, server) == [{"status": "ok", "result": "2 in the garden"}]
        (declared,) = server.sessions[0].setup["tools"]
        assert declared["functionDeclarations"] == [declaration]


def test_a_declaration_that_live_does_not_read_is_told(caplog: pytest.LogCaptureFixture) -> None:
    declaration = {"name": "look", "parameters_json_schema": {"type": "object"}}
    GeminiLive("key", tools=[{"function_declarations": [declaration]}])
    assert "ignores parameters_json_schema, and would call look without arguments" in caplog.text


async def test_calls_that_the_application_answers(local: Local) -> None:
    tools = [{"functionDeclarations": [{"name": "look"}]}]
    calls = Turn(function_calls=(FunctionCall("look", id="1"), FunctionCall("look", id="2")))
    async with (
        local(Script([calls, "I see.", "I see."])) as server,
        GeminiLive(tools=tools) as gemini,
    ):

        @gemini.on("tool_call")
        async def answer(call: ToolCall) -> None:
            if call.id == "1":
                gemini.send_tool_response(call.id, {"sky": "grey"})
            else:
                gemini.send_tool_response(call.id, error="no view", retryable=True)
            with pytest.raises(ConfigError, match="answered before"):
                gemini.send_tool_response(call.id)

        await ask(gemini, server, 2)
        assert {each.id: each.response for each in server.tool_responses} == {
            "1": {"status": "ok", "result": {"sky": "grey"}},
            "2": error("no view", retryable=True),
        }
        with pytest.raises(ConfigError, match="no call with the id '3'"):
            gemini.send_tool_response("3")


async def test_calls_that_nobody_answers(local: Local) -> None:
    tools = [{"function_declarations": [{"name": "look"}]}]
    async with (
        local(Script([FunctionCall("look"), "I see."])) as server,
        GeminiLive(tools=tools) as gemini,
    ):
        assert await ask(gemini, server) == [error("nobody answers look at the moment")]


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        (book, "tools is a list"),
        ("book", "tools is a list"),
        ([1], "tools holds int"),
        ([book, book], "two tools have the name 'book'"),
        ([{"function_declarations": [{}]}], "has no name"),
        ([{"function_declarations": {"name": "f"}}], "is a list"),
        (
            [{"function_declarations": [{"name": "f"}, {"name": "f"}]}],
            "two function declarations in tools have the name 'f'",
        ),
        ([tool(book, behavior="BLOCKING", scheduling="SILENT")], "does not wait for"),
    ],
)
def test_tools_that_cannot_be(tools: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GeminiLive("key", tools=tools)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("gemini-3.8-live-extended-thinking", {"behavior": "BLOCKING"}, "only NON_BLOCKING"),
        ("gemini-3.1-flash-live-preview", {"behavior": "NON_BLOCKING"}, "only BLOCKING"),
        ("gemini-3.1-flash-live-preview", {"scheduling": "SILENT"}, "always waits"),
        ("gemini-2.5-flash-native-audio-latest", {"scheduling": "SILENT"}, "NON_BLOCKING"),
    ],
)
def test_what_a_model_does_not_take(model: str, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GeminiLive("key", model=model, tools=[tool(book, **options)])
