"""Tests of the server of the page: whom it refuses, what it sends along, whom it lets in."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from importlib.resources import files

import aiohttp
import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.playground import Playground

PAGE = files("getstream.plugins.gemini.playground") / "_page"
NAMES = ("index.html", "app.js", "meter.js", "style.css")


def no_assistant() -> GeminiLive:
    raise ConfigError("there is nobody")


@pytest.fixture
async def playground() -> AsyncIterator[Playground]:
    async with Playground(no_assistant) as playground:
        yield playground


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


def base(playground: Playground) -> str:
    return playground.url.partition("#")[0]


def token(playground: Playground) -> str:
    return playground.url.partition("#")[2]


async def close_of(socket: aiohttp.ClientWebSocketResponse) -> tuple[int | None, str]:
    """Wait for the end of a WebSocket; return its code and reason."""
    while (message := await socket.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
        pass
    return socket.close_code, str(message.extra or "")


async def test_the_address_is_of_this_machine_and_holds_a_token(playground: Playground) -> None:
    assert re.fullmatch(rf"http://127\.0\.0\.1:{playground.port}/#[\w-]{{32}}", playground.url)
    async with Playground(no_assistant) as other:
        assert token(other) != token(playground)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", "[::1]:80"])
async def test_a_foreign_host_is_refused(
    playground: Playground, client: aiohttp.ClientSession, host: str
) -> None:
    for path in ("", "app.js", "live"):
        async with client.get(base(playground) + path, headers={"Host": host}) as reply:
            assert reply.status == 403
            assert "default-src 'none'" in reply.headers["Content-Security-Policy"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_a_foreign_page_is_refused(
    playground: Playground, client: aiohttp.ClientSession, origin: str
) -> None:
    async with client.get(base(playground), headers={"Origin": origin}) as reply:
        assert reply.status == 403
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect(base(playground) + "live", origin=origin)
    assert refused.value.status == 403


async def test_who_is_no_page_gets_no_websocket(
    playground: Playground, client: aiohttp.ClientSession
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect(base(playground) + "live")
    assert refused.value.status == 403
    async with client.get(
        base(playground) + "live", headers={"Origin": base(playground).rstrip("/")}
    ) as reply:
        assert reply.status == 426


@pytest.mark.parametrize("hello", ['{"token": "wrong"}', '{"token": null}', "[]", "{}", "no JSON"])
async def test_without_the_token_there_is_no_assistant(
    playground: Playground, client: aiohttp.ClientSession, hello: str
) -> None:
    origin = base(playground).rstrip("/")
    async with client.ws_connect(base(playground) + "live", origin=origin) as socket:
        await socket.send_str(hello)
        code, reason = await close_of(socket)
        assert code == 4401
        assert "not of this playground" in reason


async def test_the_page_is_told_why_there_is_no_assistant(
    playground: Playground, client: aiohttp.ClientSession
) -> None:
    origin = base(playground).rstrip("/")
    async with client.ws_connect(base(playground) + "live", origin=origin) as socket:
        await socket.send_json({"token": token(playground)})
        assert await close_of(socket) == (4000, "There is no assistant: there is nobody")


async def test_every_file_is_served_with_its_policy(
    playground: Playground, client: aiohttp.ClientSession
) -> None:
    for path in ("", *NAMES[1:]):
        async with client.get(base(playground) + path) as reply:
            assert reply.status == 200
            assert token(playground) not in await reply.text()
            policy = reply.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
            assert "unsafe" not in policy
            assert reply.headers["Cache-Control"] == "no-store"
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
    for path in ("index.html", "../_server.py", "%2e%2e/_server.py", "live/.."):
        async with client.get(base(playground) + path) as reply:
            assert reply.status in (200, 404)
            assert "import" not in (await reply.text())[:200]


async def test_a_port_that_is_taken_is_said(playground: Playground) -> None:
    with pytest.raises(ConfigError, match=f"port {playground.port}"):
        async with Playground(no_assistant, port=playground.port):
            pass


def test_the_page_is_small_and_asks_nobody_else() -> None:
    texts = {name: (PAGE / name).read_text(encoding="utf-8") for name in NAMES}
    assert sum(len(text.encode()) for text in texts.values()) <= 60_000
    assert not re.search(r"<script(?! type=\"module\" src=)|<style| on\w+=|style=", texts[NAMES[0]])
    for name, text in texts.items():
        named = set(re.findall(r"https?://[\w.]+", text))
        assert named <= {"http://localhost", "http://127.0.0.1"}, name  # in a message
        assert not re.search(r"\b(eval|innerHTML|insertAdjacentHTML|document\.write)\b", text), name
