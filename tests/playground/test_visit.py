"""Tests of a visit over the WebSocket, without a browser, against the program as users run it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import numpy as np
import pytest
from getstream.plugins.gemini._cli.clips import data_file
from getstream.plugins.gemini.playground import LocalService
from getstream.plugins.gemini.playground._faults import FAULT_NAMES
from getstream.plugins.gemini.testing.signals import read_wav
from numpy.typing import NDArray
from playground_program import running_playground
from scipy.signal import correlate

pytestmark = pytest.mark.acceptance

RATE = 16_000
PIECE = RATE // 50
LONGEST_S = 60.0

_T = TypeVar("_T")


class Page:
    """What the page does, in Python: messages, and audio at the pace of a sound card."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.messages: list[dict[str, Any]] = []
        self.heard: list[bytes] = []
        self._socket = socket
        self._news = asyncio.Event()

    async def read(self) -> None:
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                self.messages.append(json.loads(message.data))
            elif message.type is aiohttp.WSMsgType.BINARY:
                self.heard.append(message.data)
            self._news.set()
        self._news.set()

    async def order(self, what: str, **fields: Any) -> None:
        await self._socket.send_json({"do": what, **fields})

    async def wait(self, event: str, **fields: Any) -> dict[str, Any]:
        """Wait for the first message of a name with these fields."""

        def look() -> dict[str, Any] | None:
            for message in self.messages:
                if message["event"] == event and fields.items() <= message.items():
                    return message
            assert not self._socket.closed, self._socket.close_code
            return None

        return await self._wait(look)

    async def next(self) -> None:
        """Wait for the next message, whichever it is."""
        before = len(self.messages)
        await self._wait(lambda: len(self.messages) > before or None)

    async def wait_closed(self) -> int | None:
        """Wait until the server has closed; return the code."""
        await self._wait(lambda: self._socket.closed or None)
        return self._socket.close_code

    async def _wait(self, look: Callable[[], _T | None]) -> _T:
        while (found := look()) is None:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), LONGEST_S)
        return found

    async def send(self, text: str) -> None:
        await self._socket.send_str(text)

    async def say(self, samples: NDArray[np.int16]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for at in range(0, len(samples), PIECE):
            await self._socket.send_bytes(samples[at : at + PIECE].tobytes())
            await asyncio.sleep(max(0.0, began + (at + PIECE) / RATE - loop.time()))


@asynccontextmanager
async def visit(address: str) -> AsyncIterator[Page]:
    where, _, token = address.partition("#")
    async with aiohttp.ClientSession() as client:
        async with client.ws_connect(where + "live", origin=where.rstrip("/")) as socket:
            await socket.send_json({"token": token})
            page = Page(socket)
            reader = asyncio.create_task(page.read())
            try:
                yield page
            finally:
                await socket.close()
                await reader


def likeness(said: NDArray[np.int16], heard: NDArray[np.int16]) -> float:
    """Return the greatest correlation of what was said with a part of what was heard."""
    a, b = said.astype(float), heard.astype(float)
    products = correlate(b, a, "valid", method="fft")
    at = int(products.argmax())
    energy = float(np.square(b[at : at + len(a)]).sum() * np.square(a).sum())
    return float(products[at]) / energy**0.5


async def test_barge_in_is_changed_and_what_is_no_option_is_refused(address: str) -> None:
    async with visit(address) as page:
        first = await page.wait("barge_in")
        assert (first["on"], first["duck_db"], first["resume_after_ms"]) == (True, -15.0, 400.0)
        await page.order("barge_in", on=True, resume_after_ms=900)
        await page.wait("barge_in", on=True, resume_after_ms=900.0, duck_db=-15.0)
        await page.order("barge_in", on=False)
        await page.wait("barge_in", on=False, resume_after_ms=900.0)
        await page.order("barge_in", on=True, duck_db=float("-inf"))
        await page.wait("barge_in", on=True, resume_after_ms=900.0, duck_db=None)
        for bad in ({"duck_db": 6}, {"pause_after_ms": -1}, {"commit_after_ms": []}):
            refused = len([each for each in page.messages if each["event"] == "refused"])
            await page.order("barge_in", on=True, **bad)
            while refused == len([each for each in page.messages if each["event"] == "refused"]):
                await page.next()
        await page.order("barge_in", on=True, pause_after_ms=64)
        await page.wait("barge_in", on=True, resume_after_ms=900.0, pause_after_ms=64.0)


async def test_the_parrot_is_heard_whole(address: str) -> None:
    said, rate = read_wav(data_file("question.wav"))
    assert rate == RATE
    silence = np.zeros(RATE * 2, np.int16)
    async with visit(address) as page:
        hello = await page.wait("hello")
        assert hello["local"] is True
        assert tuple(hello["faults"]) == FAULT_NAMES
        await page.order("line", rate=RATE)
        await page.wait("media", state="websocket")
        await page.wait("connected")
        await page.say(np.concatenate([silence[: RATE // 2], said, silence]))
        finished = await page.wait("playback_finished")
        assert finished["cut"] is False
        heard = np.frombuffer(b"".join(page.heard), np.int16)
        spoken = np.flatnonzero(np.abs(said) > 500)
        assert likeness(said[spoken[0] : spoken[-1]], heard) >= 0.98
        stats = [each["counters"] for each in page.messages if each["event"] == "stats"]
        assert stats[-1]["browser_pieces"] > 100
        assert stats[-1]["messages_unsent"] == 0
        assert any(each.get("queued_ms", 0) > 0 for each in page.messages)


@pytest.mark.parametrize("fault", FAULT_NAMES)
async def test_every_fault_gets_its_verdict(address: str, fault: str) -> None:
    async with visit(address) as page:
        await page.order("line", rate=48_000)
        await page.wait("stats", state="ready")
        await page.order("fault", name=fault)
        assert (await page.wait("fault", name=fault))["done"] is True
        verdict = await page.wait("verdict", name=fault)
        expected = "The connection stayed." if fault == "stall" else "in the same session."
        assert expected in verdict["text"]
        assert verdict["lossless"] is True, verdict
        if fault == "outage":
            assert (await page.wait("resumed"))["attempts"] == 4


async def test_a_turn_that_a_drop_breaks_off_is_a_loss(address: str) -> None:
    async with visit(address) as page:
        await page.order("line", rate=48_000)
        await page.wait("connected")
        await page.order("text", text="Hello")
        await page.wait("playback_started")
        assert not [each for each in page.messages if each["event"] == "turn_complete"]
        await page.order("fault", name="drop")
        verdict = await page.wait("verdict")
        sent = [
            each for each in page.messages if each["event"] == "turn_complete" and each["turn"] == 1
        ]
        assert verdict["lossless"] is bool(sent), verdict


async def test_a_text_is_answered_and_interrupted(address: str) -> None:
    async with visit(address) as page:
        await page.order("line", rate=44_100)
        await page.order("text", text="Hello")
        await page.wait("playback_started")
        await page.order("hold")
        assert (await page.wait("playback_paused"))["reason"] == "app"
        await page.order("go_on")
        await page.wait("playback_resumed")
        await page.order("drop")
        assert (await page.wait("interrupted"))["cause"] == "app"
        finished = await page.wait("playback_finished")
        assert finished["cut"] is True
        assert finished["text"].startswith(finished["heard_text"])


async def test_what_cannot_be_done_is_refused(address: str) -> None:
    async with visit(address) as page:
        await page.wait("connected")
        await page.order("text", text="")
        assert "text" in (await page.wait("refused", what="text"))["reason"]
        await page.order("image", jpeg="bm8gcGljdHVyZQ==")
        await page.wait("refused", what="image")
        await page.order("offer", sdp="no description")
        await page.wait("refused", what="offer")
        await page.order("fault", name="no such thing")
        assert (await page.wait("fault"))["done"] is False


@pytest.mark.parametrize("message", ["{", "[]", "{}", '{"do": "nonsense"}', '{"do": "line"}'])
async def test_what_is_no_message_ends_the_visit(address: str, message: str) -> None:
    async with visit(address) as page:
        await page.wait("hello")
        await page.send(message)
        assert await page.wait_closed() == 1003


async def test_a_new_page_takes_over_and_the_first_is_told(address: str) -> None:
    async with visit(address) as first:
        await first.order("line", rate=48_000)
        await first.wait("connected")
        async with visit(address) as second:
            await second.order("line", rate=48_000)
            await second.wait("connected")
            assert await first.wait_closed() == 4000
            await second.order("text", text="Hello")
            await second.wait("playback_started")


def test_your_own_assistant_with_its_tools(tmp_path: Path) -> None:
    (tmp_path / "my_bot.py").write_text(
        "from getstream.plugins.gemini.live import GeminiLive\n"
        "made = 0\n"
        "async def make():\n"
        "    global made\n"
        "    made += 1\n"
        "    print('made', made, flush=True)\n"
        "    return GeminiLive(voice='Kore')\n"
        "def wrong():\n"
        "    return 'a string'\n",
        encoding="utf-8",
    )

    async def talk(address: str) -> None:
        async with visit(address) as page:
            await page.wait("connected")

    with running_playground("my_bot:make", cwd=str(tmp_path)) as address:
        asyncio.run(talk(address))
        asyncio.run(talk(address))

    async def be_refused(address: str) -> None:
        async with visit(address) as page:
            assert await page.wait_closed() == 4000

    with running_playground("my_bot:wrong", cwd=str(tmp_path)) as address:
        asyncio.run(be_refused(address))


async def test_the_local_server_needs_a_session_to_break() -> None:
    async with LocalService() as service:
        assert service.env["GOOGLE_API_KEY"] == "local-gemini-key"
        assert await service.inject("drop") is False
    assert await service.inject("drop") is False
