"""Being let in and let back in: tokens that expire, functions that give them, handles, proxies."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.errors import (
    AuthError,
    ClosedError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    GeminiError,
    RequestError,
)
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.live._session import access as access_module
from getstream.plugins.gemini.live._session import reconnect
from getstream.plugins.gemini.live._session.close_errors import PROXY_VARIABLES
from getstream.plugins.gemini.testing import (
    Close,
    LocalGemini,
    Parrot,
    Reject,
    Script,
    Turn,
)
from getstream.plugins.gemini.testing._gemini import server as server_module
from getstream.plugins.gemini.testing.clock import run_virtual
from room import GRACE, Local, Room, happens, hold, voice, words

pytestmark = pytest.mark.filterwarnings(
    "ignore::google.genai.errors.ExperimentalWarning"  # the SDK's own, for each token
)

SPENT = {
    "expired": "auth token has expired",
    "expired, on resume": "Token has expired",
    "used up": "Token has been used too many times",
}


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The key or token of each connection that the server has seen."""
    seen: list[str] = []
    read = server_module.credentials

    def note(*request: Any) -> Any:
        found = read(*request)
        seen.append(found.secret if found else "")
        return found

    monkeypatch.setattr(server_module, "credentials", note)
    return seen


async def event(gemini: GeminiLive, name: str) -> Any:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    gemini.once(name, lambda *value: future.done() or future.set_result(value and value[0]))
    return await asyncio.wait_for(future, 20)


def tokens() -> Iterator[str]:
    return (f"auth_tokens/{number}" for number in itertools.count(1))


# -- tokens that are spent ------------------------------------------------------------------------


@pytest.mark.parametrize("reason", SPENT.values(), ids=SPENT)
async def test_a_token_that_expires_is_final_at_once(local: Local, reason: str) -> None:
    async with local(Script([])) as server, GeminiLive("auth_tokens/abc") as gemini:
        closed = asyncio.ensure_future(event(gemini, "closed"))
        await server.sessions[0].close(1011, reason)
        error = await closed
        assert type(error) is AuthError
        assert not error.retryable
        assert error.reason == reason
        assert len(server.sessions) == 1, "it is not tried again"


@pytest.mark.parametrize("reason", SPENT.values(), ids=SPENT)
async def test_a_token_that_has_expired_when_it_resumes_is_final(local: Local, reason: str) -> None:
    async with local(Script([])) as server, GeminiLive("auth_tokens/abc") as gemini:
        closed = asyncio.ensure_future(event(gemini, "closed"))
        server.fail_next(Close(1011, reason), times=100)
        server.sessions[0].abort()
        assert type(await closed) is AuthError
        assert len(server.sessions) == 2


@pytest.mark.parametrize("reason", SPENT.values(), ids=SPENT)
async def test_a_token_that_is_spent_at_first(local: Local, reason: str) -> None:
    async with local(Script([]), setup_fault=Close(1011, reason)) as server:
        gemini = GeminiLive("auth_tokens/abc")
        with pytest.raises(AuthError) as caught:
            await gemini.wait_until_ready()
        assert not caught.value.retryable
        assert "function" in caught.value.remedy
        assert len(server.sessions) == 1
        await gemini.close()


# -- a function that gives the key ----------------------------------------------------------------


class Asked:
    """A callable object with an async `__call__`."""

    def __init__(self, source: Iterator[str]) -> None:
        self.source = source

    async def __call__(self) -> str:
        await asyncio.sleep(0)
        return next(self.source)


def sync_function(source: Iterator[str]) -> Callable[[], Any]:
    def ask() -> str:
        assert threading.current_thread() is not threading.main_thread(), "it may wait"
        return next(source)

    return ask


def async_function(source: Iterator[str]) -> Callable[[], Any]:
    async def ask() -> str:
        await asyncio.sleep(0)
        return next(source)

    return ask


KINDS: dict[str, Callable[[Iterator[str]], Callable[[], Any]]] = {
    "sync": sync_function,
    "async": async_function,
    "partial": lambda source: functools.partial(next, source),
    "async partial": lambda source: functools.partial(async_function(source)),
    "object": Asked,
    "lambda that gives a coroutine": lambda source: lambda: async_function(source)(),
    "method": lambda source: source.__next__,
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_function_is_asked_at_each_connect(
    local: Local, secrets: list[str], kind: str
) -> None:
    async with local(Script([])) as server:
        async with GeminiLive(KINDS[kind](tokens())) as gemini:
            for index in range(2):
                resumed = asyncio.ensure_future(event(gemini, "resumed"))
                server.sessions[index].abort()
                assert (await resumed).same_session
            assert [each.endpoint.constrained for each in server.sessions] == [True] * 3
        assert secrets == ["auth_tokens/1", "auth_tokens/2", "auth_tokens/3"]


async def test_one_key_needs_one_client(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    async with local(Script([])) as server, GeminiLive(lambda: "a-key") as gemini:
        client = gemini._supervisor.session._client
        resumed = asyncio.ensure_future(event(gemini, "resumed"))
        server.sessions[0].abort()
        await resumed
        assert gemini._supervisor.session._client is client, "to make one takes 70 ms"


async def test_an_expired_token_is_replaced_by_the_next(local: Local, secrets: list[str]) -> None:
    async with local(Script([])) as server, GeminiLive(async_function(tokens())) as gemini:
        resumed = asyncio.ensure_future(event(gemini, "resumed"))
        await server.sessions[0].close(1011, SPENT["expired"])
        assert (await resumed).same_session, "resuming uses up nothing"
        assert server.sessions[1].resumed_from
        assert gemini.state == "ready"
        assert secrets == ["auth_tokens/1", "auth_tokens/2"]


async def test_an_expired_token_that_is_given_again_is_asked_for_once(
    local: Local, secrets: list[str]
) -> None:
    async with local(Script([])) as server, GeminiLive(lambda: "auth_tokens/old") as gemini:
        closed = asyncio.ensure_future(event(gemini, "closed"))
        server.fail_next(Close(1011, SPENT["expired, on resume"]), times=100)
        await server.sessions[0].close(1011, SPENT["expired"])
        assert type(await closed) is AuthError
        assert len(secrets) == 2


async def test_a_token_that_is_spent_at_first_is_replaced_once(
    local: Local, secrets: list[str]
) -> None:
    async with local(Script([])) as server:
        server.fail_next(Close(1011, SPENT["used up"]))
        async with GeminiLive(async_function(tokens())) as gemini:
            assert gemini.state == "ready"
        assert secrets == ["auth_tokens/1", "auth_tokens/2"]
        server.fail_next(Close(1011, SPENT["used up"]), times=100)
        gemini = GeminiLive(async_function(tokens()))
        with pytest.raises(AuthError):
            await gemini.wait_until_ready()
        await gemini.close()
        assert len(secrets) == 4


async def test_a_function_gives_a_key_for_vertex_ai(
    local: Local, monkeypatch: pytest.MonkeyPatch, secrets: list[str]
) -> None:
    async with local(Script([])) as server:
        monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", server.url)
        async with GeminiLive(lambda: "express-key"):
            assert server.sessions[0].endpoint.vertex
        assert secrets == ["express-key"]


class BackendError(Exception):
    """Error of the application's own code."""


def raising(error: BaseException) -> Callable[[], Any]:
    def ask() -> str:
        raise error

    return ask


def raising_later(error: BaseException) -> Callable[[], Any]:
    async def ask() -> str:
        await asyncio.sleep(0)
        raise error

    return ask


@pytest.mark.parametrize("kind", [raising, raising_later])
async def test_what_a_function_raises_is_the_cause_and_is_not_quoted(
    local: Local, kind: Callable[[BaseException], Any], caplog: pytest.LogCaptureFixture
) -> None:
    own = BackendError("the answer was secret-token")
    async with local(Script([])) as server:
        with caplog.at_level(logging.DEBUG):
            gemini = GeminiLive(kind(own))
            with pytest.raises(ConnectError, match="BackendError") as caught:
                await gemini.wait_until_ready()
            await gemini.close()
        assert caught.value.__cause__ is own
        assert "secret-token" not in str(caught.value)
        assert "secret-token" not in caplog.text
        assert not server.sessions


async def test_an_error_of_this_package_is_passed_on(local: Local) -> None:
    own = AuthError("this user may not speak with it")
    async with local(Script([])):
        gemini = GeminiLive(raising_later(own))
        with pytest.raises(AuthError) as caught:
            await gemini.wait_until_ready()
        assert caught.value is own
        await gemini.close()


@pytest.mark.parametrize("kind", [raising, raising_later])
@pytest.mark.parametrize("error", [StopIteration("no more"), asyncio.CancelledError()], ids=repr)
async def test_exceptions_that_asyncio_takes_for_its_own_are_the_functions(
    local: Local, kind: Callable[[BaseException], Any], error: BaseException
) -> None:
    async with local(Script([])):
        gemini = GeminiLive(kind(error))
        with pytest.raises(ConnectError, match="api_key failed"):
            await gemini.wait_until_ready()
        assert gemini.state == "closed"
        await gemini.close()


async def test_a_function_that_fails_in_an_outage_is_asked_again(
    local: Local, secrets: list[str]
) -> None:
    answers: list[Any] = ["auth_tokens/1", OSError("unreachable"), BackendError(), "auth_tokens/2"]

    async def ask() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    async with local(Script([])) as server, GeminiLive(ask) as gemini:
        resumed = asyncio.ensure_future(event(gemini, "resumed"))
        server.sessions[0].abort()
        assert (await resumed).attempts == 3
        assert secrets == ["auth_tokens/1", "auth_tokens/2"]


@pytest.mark.parametrize("garbage", [None, b"secret", "", "sec ret", {"name": "secret"}], ids=repr)
@pytest.mark.parametrize("later", [False, True])
async def test_a_function_that_gives_no_key_is_a_configuration_error(
    local: Local, garbage: Any, later: bool
) -> None:
    answers = ["auth_tokens/1", garbage] if later else [garbage]
    async with local(Script([])) as server:
        gemini = GeminiLive(lambda: answers.pop(0))
        closed = asyncio.ensure_future(event(gemini, "closed"))
        if later:
            await gemini.wait_until_ready()
            server.sessions[0].abort()
        error = await closed
        assert type(error) is ConfigError
        assert "api_key" in str(error)
        assert "sec" not in str(error).replace("second", "")
        assert not answers, "it is not asked again"
        await gemini.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "KEY_TIMEOUT_S", 0.05)


@pytest.mark.usefixtures("impatient")
async def test_a_function_that_never_answers_is_given_up(local: Local) -> None:
    begun, ended, may_end = [], [], threading.Event()

    async def never() -> str:
        begun.append(1)
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            ended.append(1)

    def stuck() -> str:
        begun.append(1)
        may_end.wait(20)
        return "too late"

    async with local(Script([])) as server:
        for ask in (never, stuck):
            gemini = GeminiLive(ask)
            with pytest.raises(ConnectError, match=r"no key within 0\.05 s") as caught:
                await gemini.wait_until_ready()
            assert caught.value.retryable
            await gemini.close()
        may_end.set()
        assert (len(begun), len(ended)) == (2, 1), "and what can be cancelled is cancelled"
        assert not server.sessions


async def test_close_while_a_function_is_asked_cancels_it(local: Local) -> None:
    asked, cancelled = asyncio.Event(), []

    async def never() -> str:
        asked.set()
        try:
            return await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    async with local(Script([])):
        gemini = GeminiLive(never)
        waiting = asyncio.ensure_future(gemini.wait_until_ready())
        await asked.wait()
        await gemini.close()
        with pytest.raises(ClosedError):
            await waiting
        await asyncio.sleep(0)
        assert cancelled == [1]


async def test_the_key_of_a_function_is_in_nothing_that_is_said(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    async with local(Script([])) as server:
        with caplog.at_level(logging.DEBUG):
            gemini = GeminiLive(lambda: "AIzaMarkedSecret")
            async with gemini:
                said.append(repr(gemini))
                closed = asyncio.ensure_future(event(gemini, "closed"))
                server.fail_next(Reject(403), times=100)
                server.sessions[0].abort()
                said.extend(traceback.format_exception(await closed))
    ours = [each for each in caplog.records if not each.name.startswith("websockets.server")]
    said.extend(each.getMessage() for each in ours)
    assert "Marked" not in "\n".join(said)


# -- a handle at the first connection --------------------------------------------------------------

UNKNOWN = [
    (1007, "Invalid session handle"),
    (1008, "Requested entity was not found."),
    (1008, "BidiGenerateContent session not found"),
    (1008, "The operation was aborted."),
]
HANDLE = "a-handle-of-mine"


def with_handle(handle: str) -> dict[str, Any]:
    return {"session_resumption": {"handle": handle}}


def handles(server: LocalGemini) -> list[str | None]:
    """The handle in each setup that the server has seen."""
    setups = [next(f for f in each.frames if f.kind == "setup") for each in server.sessions]
    return [(each.message["setup"].get("sessionResumption") or {}).get("handle") for each in setups]


@pytest.mark.parametrize(("code", "reason"), UNKNOWN)
async def test_a_first_handle_that_is_not_known_begins_a_new_session(
    local: Local, code: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with local(Script([])) as server:
        server.fail_next(Close(code, reason))
        with caplog.at_level(logging.WARNING):
            async with GeminiLive(config=with_handle(HANDLE)) as gemini:
                assert gemini.state == "ready"
        assert handles(server) == [HANDLE, None]
        assert "without the given handle" in caplog.text
        assert reason in caplog.text
        assert HANDLE not in caplog.text, "who has it has the session"


async def test_a_first_handle_that_the_server_has_forgotten(local: Local) -> None:
    async with local(Script([])) as server:
        async with GeminiLive(config=with_handle(HANDLE)) as gemini:
            assert gemini.state == "ready"
        assert server.sessions[0].close_text == "BidiGenerateContent session not found"
        assert handles(server) == [HANDLE, None]


async def test_a_configuration_that_is_refused_with_and_without_the_handle(local: Local) -> None:
    fault = Close(1007, "Request contains an invalid argument.")
    async with local(Script([]), setup_fault=fault) as server:
        gemini = GeminiLive(config=with_handle(HANDLE))
        with pytest.raises(RequestError):
            await gemini.wait_until_ready()
        assert handles(server) == [HANDLE, None]
        await gemini.close()


@pytest.mark.parametrize("closes", [True, False])
async def test_a_first_handle_whose_old_socket_is_open(
    local: Local, closes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not closes:
        monkeypatch.setattr(reconnect, "FIRST_DELAY_S", 0.01)
    async with local(Script([])) as server, GeminiLive() as old:
        await old.send_text("My name is Anna.")
        await server.sessions[0].wait_frames("text")
        handle = await server.sessions[0].announce_handle()
        moved = GeminiLive(config=with_handle(handle))
        waiting = asyncio.ensure_future(moved.wait_until_ready(None))
        await server.wait_session(1, ready=False)
        await server.sessions[1].wait_closed()
        if closes:
            await old.close()
        assert await waiting
        if closes:
            assert server.sessions[-1].resumed_from == handle
            assert server.sessions[-1].context == ["My name is Anna."]
        else:
            assert handles(server)[1:] == [handle] * reconnect.HANDLE_ATTEMPTS + [None]
        await moved.close()


def test_an_outage_at_first_is_outlasted_with_a_handle(local: Local) -> None:
    async def main() -> None:
        async with local(Script([])) as server:
            async with GeminiLive() as old:
                await old.wait_until_ready()
                handle = await server.sessions[0].announce_handle()
            server.fail_next(Reject(503), times=6)
            async with GeminiLive(config=with_handle(handle)):
                assert server.sessions[-1].resumed_from == handle
            server.fail_next(Reject(503))
            without = GeminiLive()
            with pytest.raises(ConnectError):
                await without.wait_until_ready(None)  # threads take no time on this clock
            await without.close()

    run_virtual(main(), grace=GRACE)


@pytest.mark.parametrize(("code", "reason"), UNKNOWN)
def test_a_handle_that_is_refused_on_resume_is_a_new_session(
    local: Local, code: int, reason: str
) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("I am Anna.")
        await happens(room, "turn_complete")
        await room.until(3)
        room.server.fail_next(Close(code, reason))
        room.session.abort()
        assert not (await happens(room, "resumed")).same_session
        await room.until(room.now + 1)

    room, _ = hold(local, scenario, Script([Turn(audio=voice(0.5), text="Hello Anna.")]))
    assert room.server.sessions[-1].context == ["I am Anna.", "Hello Anna."]


# -- announced ends --------------------------------------------------------------------------------


def test_a_service_that_ends_each_connection_when_it_said_ends_no_session(local: Local) -> None:
    """Ten seconds each: ten are left in time, the others stay until they end."""

    async def scenario(room: Room) -> None:
        for index in range(22):
            session = await room.server.wait_session(index, timeout=60)
            await session.go_away(10.0)
            await session.wait_closed(timeout=60)
        await room.until(room.now + 2)
        assert room.gemini.state == "ready"
        room.mute()

    room, _ = hold(local, scenario, Script([]))
    assert all(each.same_session for each in room.of("resumed"))
    assert not room.of("error")
    assert {each.close_text for each in room.server.sessions[11:22]} == {
        "The operation was aborted."
    }


# -- texts that nobody has answered ----------------------------------------------------------------


def texts(session: Any) -> list[str]:
    frames = [each.message for each in session.frames if each.kind == "text"]
    return [each["realtimeInput"]["text"] for each in frames]


@pytest.mark.parametrize("handles_at", [[], [0.1], [1.5], [0.5, 1.7, 2.9]])
def test_a_text_that_nobody_answered_is_sent_again(local: Local, handles_at: list[float]) -> None:
    async def scenario(room: Room) -> None:
        await room.until(1)
        await room.gemini.send_text("Are you there?")
        for after in handles_at:
            await room.until(1 + after)
            await room.session.announce_handle()
        await room.until(5)
        room.session.abort()
        assert (await happens(room, "resumed")).same_session
        await room.until(room.now + 1)

    room, _ = hold(local, scenario, Script([]))
    assert [texts(each) for each in room.server.sessions] == [["Are you there?"]] * 2


def test_a_text_that_was_answered_is_not_sent_again(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.until(1)
        await room.gemini.send_text("Are you there?")
        await happens(room, "turn_complete")
        room.session.abort()
        await happens(room, "resumed")
        await room.until(room.now + 1)

    room, _ = hold(local, scenario, Script([Turn(audio=voice(0.5), text="Yes.")]))
    assert [texts(each) for each in room.server.sessions] == [["Are you there?"], []]


def test_a_text_whose_answer_breaks_off_is_sent_again_whatever_handle_came(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.until(1)
        await room.gemini.send_text("Tell me.")
        await room.session.wait_spoken(400)
        await room.session.announce_handle()
        await room.until(room.now + 0.1)
        room.session.abort()
        await happens(room, "resumed")
        await room.until(room.now + 3)

    script = Script([Turn(audio=voice(5.0), text="Once"), Turn(audio=voice(0.5), text="Twice")])
    room, _ = hold(local, scenario, script, {"speed": 1.0})
    assert [texts(each) for each in room.server.sessions] == [["Tell me."]] * 2
    assert room.of("turn_complete")[-1].text == "Twice"


def test_what_was_said_beside_a_text_is_not_said_twice(local: Local) -> None:
    """The text stays; the audio around it is in what the handle stands for."""

    async def scenario(room: Room) -> None:
        await room.until(4)
        await room.gemini.send_text("Are you there?")
        await room.until(8)
        await room.session.announce_handle()
        await room.until(8.1)
        room.session.abort()
        await happens(room, "resumed")
        await room.until(room.now + 1)

    room, _ = hold(local, scenario, Script([]))
    assert texts(room.server.sessions[1]) == ["Are you there?"]
    (resumed,) = room.of("resumed")
    assert resumed.retransmitted_ms <= 500


def speak_with_handles(local: Local, *handles_at: float, breaks_at: float) -> float:
    """Somebody speaks without a rest from 1.0 to 7.0 s, with handles; returns what is said again,
    in milliseconds."""

    async def scenario(room: Room) -> None:
        room.say(np.tile(words(1.5), 4), at=1.0)
        for at in handles_at:
            await room.until(at)
            await room.session.announce_handle()
        await room.until(breaks_at)
        room.session.abort()
        await happens(room, "resumed")

    room, _ = hold(local, scenario, Script([]))
    (resumed,) = room.of("resumed")
    assert resumed.same_session
    return float(resumed.retransmitted_ms)


def test_handles_in_the_middle_of_speech_are_taken_at_their_word(local: Local) -> None:
    again = speak_with_handles(local, 1.4, 2.6, 3.8, 5.0, breaks_at=5.6)
    assert 600 <= again <= 600 + 700, "what came after the handle, and little before it"


def test_one_handle_in_the_middle_of_speech_may_be_that_of_a_turn(local: Local) -> None:
    """After an interruption it comes while somebody speaks, and may not hold what they say."""
    again = speak_with_handles(local, 3.8, breaks_at=4.4)
    assert again >= 3_400 - 100


def test_a_text_that_ends_each_connection_is_given_up(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(room: Room) -> None:
        await room.until(1)
        await room.gemini.send_text("Crash.")
        for index in range(5):
            session = await room.server.wait_session(index)
            if index < 3:
                await session.wait_frames("text")
            else:
                await room.until(room.now + 1)
            await session.close(1011, "Internal error encountered.")
        await room.server.wait_session(5)
        await room.until(room.now + 1)

    room, _ = hold(local, scenario, Script([]))
    assert [len(texts(each)) for each in room.server.sessions] == [1, 1, 1, 0, 0, 0]
    assert caplog.text.count("1 texts without an answer are not sent again") == 1


# -- proxies ---------------------------------------------------------------------------------------

PASSWORD = "pass-secret"


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[str], Any]]:
    """`proxy("407 ...")`: a proxy that answers so, and is named by `HTTPS_PROXY`."""
    for name in (*PROXY_VARIABLES, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    servers: list[asyncio.Server] = []

    async def start(answer: str) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())
            writer.close()

        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        port = servers[-1].sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://anna:{PASSWORD}@127.0.0.1:{port}")

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


async def refused_by(gemini: GeminiLive, caplog: pytest.LogCaptureFixture) -> GeminiError:
    """The error; its whole traceback and the log have no secret."""
    with caplog.at_level(logging.DEBUG), pytest.raises(GeminiError) as caught:
        await gemini.wait_until_ready()
    await gemini.close()
    said = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert PASSWORD not in said
    assert "anna" not in said
    return caught.value


@pytest.mark.parametrize(
    ("answer", "code", "passes"),
    [
        ("407 Proxy Authentication Required", 407, False),
        ("403 Forbidden", 403, False),
        ("503 Service Unavailable", 503, True),
    ],
)
async def test_what_a_proxy_says_is_told_as_the_proxys(
    local: Local,
    proxy: Callable[[str], Any],
    caplog: pytest.LogCaptureFixture,
    answer: str,
    code: int,
    passes: bool,
) -> None:
    async with local(Script([])) as server:
        await proxy(answer)
        error = await refused_by(GeminiLive(), caplog)
        assert type(error) is ConnectError
        assert (error.code, error.retryable) == (code, passes)
        assert "HTTPS_PROXY" in str(error)
        assert not server.sessions


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize(
    "value", [f"anna:{PASSWORD}@127.0.0.1:9:9", f"http://anna:{PASSWORD}/x@127.0.0.1:9"]
)
async def test_a_proxy_variable_that_is_no_address_shows_no_password(
    local: Local,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    value: str,
) -> None:
    async with local(Parrot()):
        monkeypatch.setenv("HTTPS_PROXY", value)
        error = await refused_by(GeminiLive(), caplog)
        assert type(error) is ConfigError
        assert "HTTPS_PROXY" in str(error)


async def test_a_lost_connection_is_not_a_proxys(local: Local, proxy: Callable[[str], Any]) -> None:
    async with local(Script([])) as server, GeminiLive() as gemini:
        lost = asyncio.ensure_future(event(gemini, "disconnected"))
        closed = asyncio.ensure_future(event(gemini, "closed"))
        await proxy("407 Proxy Authentication Required")
        server.sessions[0].abort()
        assert type((await lost).reason) is ConnectionLostError
        error = await closed
        assert error.code == 407, "which is final"
