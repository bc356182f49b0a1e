"""Arguments of the local Gemini server that cannot be meant, and connections that it drops."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.testing import (
    FunctionCall,
    LocalGemini,
    Parrot,
    Script,
    Turn,
    UserTurn,
)
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=k"
SETUP = '{"setup": {"model": "models/gemini-3.8-live"}}'


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ("Hello.", ["list of turns, not a str", "Script(['Hello.'])"]),
        (Turn(text="Hello."), ["not one Turn", "Script([Turn(...)])"]),
        (7, ["not int"]),
        (FunctionCall("x"), ["not one FunctionCall", "Script([FunctionCall(...)])"]),
        (["Hello.", [Turn(), Parrot()]], ["entry 1 is [Turn("]),
        ([[["Hello."]]], ["entry 0"]),
        ([5], ["entry 0 is 5; it is a Turn, a text, a FunctionCall"]),
        ([Turn(), Parrot()], ["entry 1", "`then`"]),
        ([None], ["entry 0 is None"]),
        ("x" * 100, ["..."]),
    ],
)
def test_a_script_takes_a_list_of_turns(turns: Any, words: list[str]) -> None:
    with pytest.raises(ConfigError) as refusal:
        Script(turns)
    assert [word for word in words if word not in str(refusal.value)] == []


def test_entries_of_a_script() -> None:
    call = FunctionCall("book", {"seats": 2})
    script = Script(["Hello.", call, [Turn(text="One."), "Two."], []])
    answers = [list(script.reply(UserTurn("text"))) for _ in range(5)]
    assert answers == [
        [Turn(text="Hello.")],
        [Turn(function_calls=(call,))],
        [Turn(text="One."), Turn(text="Two.")],
        [],
        [],
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Parrot, ["is the class Parrot", "Parrot(...)"]),
        ("Hello.", ["is a str", "Script(['Hello.'])"]),
        ([Turn()], ["Script([...])"]),
        (Turn(), ["Script([...])"]),
        (lambda user: [], ["no method `reply`"]),
        (5, ["int", "no method `reply`"]),
    ],
)
def test_a_reply_is_a_policy(value: Any, words: list[str]) -> None:
    for option, refused in (
        ("LocalGemini(reply=)", lambda: LocalGemini(value)),
        ("Script(then=)", lambda: Script([], then=value)),
    ):
        with pytest.raises(ConfigError) as refusal:
            refused()
        missing = [word for word in [option, *words] if word not in str(refusal.value)]
        assert missing == []


def test_policies_of_all_kinds_are_taken() -> None:
    class Silent:
        def reply(self, user: object) -> list[Turn]:
            return []

    for policy in (
        Parrot(),
        Script([]),
        Script([Turn(), [Turn(), Turn()]], then=Silent()),
        Silent(),
    ):
        LocalGemini(policy)


@pytest.mark.parametrize(("code", "reason"), [(1006, ""), (1011, "Internal error"), (4000, "x")])
async def test_drop_ends_each_open_connection(code: int, reason: str) -> None:
    async with LocalGemini() as server:
        with pytest.raises(ConfigError, match="no open connection"):
            server.drop(code)
        context = server.client_context()
        address = server.url.replace("https", "wss") + PATH
        async with connect(address, ssl=context) as one, connect(address, ssl=context) as two:
            for index, socket in enumerate((one, two)):
                await socket.send(SETUP)
                await server.wait_session(index)
            assert server.drop(code, reason) == 2
            for socket in (one, two):
                with pytest.raises(ConnectionClosed) as end:
                    await asyncio.wait_for(_read_all(socket), 10)
                closed = end.value.rcvd
                assert (closed.code, closed.reason) == (code, reason) if closed else code == 1006
        for session in server.sessions:
            assert (await session.wait_closed())[0] == code


async def _read_all(socket: Any) -> None:
    while True:
        await socket.recv()


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1015, 2999, 5000])
async def test_drop_refuses_codes_that_cannot_be_sent(code: int) -> None:
    async with LocalGemini() as server:
        with pytest.raises(ConfigError, match=f"close code {code} cannot be sent"):
            server.drop(code)
