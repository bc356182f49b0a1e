"""Check how the local server calls functions, and what it finds wrong about the answers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.testing import (
    FunctionCall,
    LiveSession,
    LocalGemini,
    ResumptionOptions,
    Script,
    Turn,
)
from websockets.asyncio.client import ClientConnection, connect

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
BOOK = FunctionCall("book", {"seats": 2}, id="call-1")
BLOCKING = {"name": "book", "behavior": "BLOCKING"}


class Client:
    """A client that sends what it is told to."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, message: dict[str, Any]) -> None:
        await self._socket.send(json.dumps(message))

    async def ask(self, text: str) -> None:
        await self.send({"realtimeInput": {"text": text}})

    async def answer(self, *responses: dict[str, Any]) -> None:
        await self.send({"toolResponse": {"functionResponses": list(responses)}})

    async def until(self, key: str) -> dict[str, Any]:
        """Read up to the message with this key, at its top or in its content."""
        while True:
            message: dict[str, Any] = json.loads(await self._socket.recv())
            if key in message or key in message.get("serverContent", {}):
                return message


def response(call_id: str, content: object = "done", **more: Any) -> dict[str, Any]:
    return {"id": call_id, "name": "book", "response": {"result": content}, **more}


@contextlib.asynccontextmanager
async def connected(
    server: LocalGemini, index: int = 0, *, handle: str = "", **fields: Any
) -> AsyncIterator[tuple[Client, LiveSession]]:
    declaration = {"name": "book", **fields}
    setup: dict[str, Any] = {
        "model": "models/gemini-3.8-live",
        "tools": [{"functionDeclarations": [declaration]}],
        "sessionResumption": {"handle": handle} if handle else {},
    }
    uri = f"{server.url.replace('https', 'wss')}{PATH}"
    headers = {"x-goog-api-key": server.api_key}
    async with connect(uri, ssl=server.client_context(), additional_headers=headers) as socket:
        client = Client(socket)
        await client.send({"setup": setup})
        yield client, await server.wait_session(index)


def violations(server: LocalGemini) -> list[tuple[str, str]]:
    return [(each.kind, each.id) for each in server.tool_violations]


async def test_a_script_of_calls_and_texts_and_the_log_of_both() -> None:
    async with LocalGemini(Script([["One moment.", BOOK], "It is booked."])) as server:
        async with connected(server) as (client, session):
            await client.ask("Book a table")
            call = (await client.until("toolCall"))["toolCall"]["functionCalls"]
            assert call == [{"name": "book", "args": {"seats": 2}, "id": "call-1"}]
            (waiting,) = await server.wait_tool_calls()
            assert waiting.state == "waiting"
            await client.answer(response("call-1", scheduling="WHEN_IDLE"))
            await session.wait_turns(3)
        (record,) = server.tool_calls
        assert (record.session, record.id, record.name) == (0, "call-1", "book")
        assert (record.args, record.state) == ({"seats": 2}, "answered")
        (answer,) = server.tool_responses
        assert record.responses == [answer]
        assert answer.at >= record.at
        assert (answer.response, answer.scheduling, answer.will_continue) == (
            {"result": "done"},
            "WHEN_IDLE",
            False,
        )
        assert [turn.text for turn in session.spoken] == ["One moment.", "", "It is booked."]
        assert server.tool_violations == []


async def test_what_is_wrong_about_answers() -> None:
    async with LocalGemini(Script([BOOK, "It is booked."])) as server:
        async with connected(server) as (client, _):
            await client.ask("Book a table")
            await server.wait_tool_calls()
            await client.answer({"name": "book", "response": {}}, response("never-asked"))
            await client.answer({**response("call-1"), "name": "cook"})
            await client.answer(response("call-1"))
            await server.wait_tool_responses(4)
        assert violations(server) == [
            ("no_id", ""),
            ("unknown_id", "never-asked"),
            ("wrong_name", "call-1"),
            ("answered_twice", "call-1"),
        ]


async def test_streamed_results_are_one_call() -> None:
    async with LocalGemini(Script([BOOK, "Searching.", "Found it."])) as server:
        async with connected(server) as (client, session):
            await client.ask("Book a table")
            await server.wait_tool_calls()
            await client.answer(response("call-1", "one", willContinue=True))
            await session.wait_turns(2)
            await client.answer(response("call-1", "two"))
            await session.wait_turns(3)
        (record,) = server.tool_calls
        assert [each.response["result"] for each in record.responses] == ["one", "two"]
        assert record.state == "answered"
        assert server.tool_violations == []


async def test_silent_results_are_not_spoken_of() -> None:
    async with LocalGemini(Script([BOOK, "Never said."])) as server:
        async with connected(server) as (client, session):
            await client.ask("Book a table")
            await server.wait_tool_calls()
            await client.answer(response("call-1", scheduling="SILENT"))
            await server.wait_tool_responses()
            assert server.tool_calls[0].state == "answered"
            assert not session.generating
            assert len(session.spoken) == 1


async def test_blocking_calls_are_answered_together() -> None:
    calls = Turn(function_calls=(BOOK, FunctionCall("book", {}, id="call-2")))
    async with LocalGemini(Script([calls, "Both are booked."])) as server:
        async with connected(server, behavior="BLOCKING") as (client, session):
            await client.ask("Book two tables")
            await server.wait_tool_calls(2)
            await client.answer(response("call-2"))
            await server.wait_tool_responses(1)
            assert not session.generating
            await client.answer(response("call-1"))
            await session.wait_turns(2)
            assert session.spoken[-1].text == "Both are booked."


async def test_a_cancelled_call_wants_no_answer() -> None:
    async with LocalGemini(Script([BOOK])) as server:
        async with connected(server) as (client, session):
            await client.ask("Book a table")
            await server.wait_tool_calls()
            session.cancel_calls("call-1")
            assert (await client.until("toolCallCancellation"))["toolCallCancellation"] == {
                "ids": ["call-1"]
            }
            with pytest.raises(KeyError):
                session.cancel_calls("call-1")
            await client.answer(response("call-1"))
            await server.wait_tool_responses()
        assert server.tool_calls[0].state == "cancelled"
        assert violations(server) == [("answered_cancelled", "call-1")]


@pytest.mark.parametrize("content", [None, "", [], {}])
async def test_a_result_that_says_nothing_is_asked_for_again(content: object) -> None:
    call = FunctionCall("book", {"seats": 2})
    async with LocalGemini(Script([call, "It is booked."])) as server:
        async with connected(server) as (client, session):
            await client.ask("Book a table")
            for count in (1, 2, 3):
                calls = await server.wait_tool_calls(count)
                await client.answer(response(calls[-1].id, content))
            await session.wait_turns(4)
        assert [(each.name, each.args) for each in server.tool_calls] == [
            ("book", {"seats": 2})
        ] * 3
        assert server.tool_violations == []


async def test_taking_every_result() -> None:
    async with LocalGemini(Script([BOOK, "It is booked."]), repeats_empty_calls=0) as server:
        async with connected(server) as (client, session):
            await client.ask("Book a table")
            await server.wait_tool_calls()
            await client.answer(response("call-1", None))
            await session.wait_turns(2)
        assert len(server.tool_calls) == 1
    with pytest.raises(ConfigError, match="repeats_empty_calls"):
        LocalGemini(repeats_empty_calls=True)


async def test_parameters_that_live_does_not_read() -> None:
    hidden = {"type": "object", "properties": {"seats": {"type": "integer"}}}
    read = {"parameters": {"type": "OBJECT"}}
    for more, args in (({}, {}), (read, {"seats": 2})):
        declaration = {"parametersJsonSchema": hidden, **more}
        async with LocalGemini(Script([BOOK])) as server:
            async with connected(server, **declaration) as (client, _):
                await client.ask("Book a table")
                (call,) = await server.wait_tool_calls()
                assert call.args == args


@pytest.mark.parametrize("keeps", [True, False])
async def test_calls_of_a_session_that_is_resumed(keeps: bool) -> None:
    options = ResumptionOptions(keeps_calls=keeps)
    async with LocalGemini(Script([BOOK, "It is booked."]), resumption=options) as server:
        async with connected(server) as (client, session):
            update = (await client.until("sessionResumptionUpdate"))["sessionResumptionUpdate"]
            await client.ask("Book a table")
            await server.wait_tool_calls()
            session.abort()
            await session.wait_closed()
        assert server.tool_calls[0].state == "lost"
        async with connected(server, 1, handle=update["newHandle"]) as (client, session):
            await client.answer(response("call-1"))
            await server.wait_tool_responses()
            if keeps:
                await session.wait_turns()
        assert server.tool_calls[0].state == ("answered" if keeps else "lost")
        assert violations(server) == ([] if keeps else [("unknown_id", "call-1")])


async def test_leaving_without_an_answer() -> None:
    async with LocalGemini(Script([BOOK])) as server:
        async with connected(server) as (client, session):
            update = (await client.until("sessionResumptionUpdate"))["sessionResumptionUpdate"]
            await client.ask("Book a table")
            await server.wait_tool_calls()
        await session.wait_closed()
        assert violations(server) == [("unanswered", "call-1")]
        async with connected(server, 1, handle=update["newHandle"]) as (client, _):
            assert server.tool_violations == []
            await client.answer(response("call-1"))
            await server.wait_tool_responses()
        assert server.tool_calls[0].state == "answered"
