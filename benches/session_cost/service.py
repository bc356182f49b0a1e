"""Serve Gemini Live at little cost: `python -m session_cost.service`.

`LocalGemini` decodes and keeps each frame and looks for speech in it; at thousands of frames per
second its own cost would dominate. This service speaks the same protocol over the same TLS and
sends messages of the same form, made once; of each received frame it records the time. It knows a
session by its system instruction, a label. Commands arrive on a connection of their own, see
`Control`, so that the sessions carry nothing else.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
import time
from typing import Any

import numpy as np
from getstream.plugins.gemini.testing import Authority
from programs import commands, report
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

AUDIO_MS = 40
TRANSCRIPT_EVERY = 8
"""Number of audio messages per transcript message: a word takes about 300 ms."""

CONTROL_PATH = "/control"

ARRIVE_S = 30.0
"""Longest wait of `taken` for frames in seconds, which ends a measurement that cannot go on."""


def audio_message(number: int) -> bytes:
    """Return a message with 1920 bytes of audio, as `LocalGemini` sends it."""
    at = np.arange(24 * AUDIO_MS) + number * 24 * AUDIO_MS
    tone = 6000 * np.sin(2 * np.pi * 220 * at / 24000) + np.random.default_rng(number).normal(
        0, 300, at.size
    )
    data = base64.b64encode(tone.astype("<i2").tobytes()).decode()
    part = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": data}}
    return _content({"modelTurn": {"parts": [part]}})


def _content(content: dict[str, Any], **rest: Any) -> bytes:
    return json.dumps({"serverContent": content, **rest}).encode()


AUDIO = [audio_message(number) for number in range(25)]
WORD = _content({"outputTranscription": {"text": " indeed"}})
GENERATED = _content({"generationComplete": True})
COMPLETE = _content({"turnComplete": True}, usageMetadata={"totalTokenCount": 125})


def turn(messages: int) -> list[bytes]:
    """Return the messages of a turn with that much audio, without those that end it."""
    found = []
    for number in range(messages):
        found.append(AUDIO[number % len(AUDIO)])
        if number % TRANSCRIPT_EVERY == 0:
            found.append(WORD)
    return found


def messages_of(audio_messages: int) -> int:
    """Count the messages of a whole turn."""
    return len(turn(audio_messages)) + 2


def label_of(setup: str | bytes) -> str:
    """Return the system instruction of a setup message, "" if there is none."""
    instruction = json.loads(setup)["setup"].get("systemInstruction") or {}
    return "".join(part.get("text", "") for part in instruction.get("parts", []))


class Service:
    """Service that keeps the sessions by their labels and obeys `Control`."""

    def __init__(self) -> None:
        self._sessions: dict[str, ServerConnection] = {}
        self._arrivals: dict[str, list[float]] = {}
        self._waiting: dict[str, tuple[int, asyncio.Event]] = {}
        self._awake: asyncio.Task[None] | None = None

    async def handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        if connection.request.path == CONTROL_PATH:
            async for raw in connection:
                command = json.loads(raw)
                await connection.send(json.dumps(await getattr(self, command.pop("do"))(**command)))
            return
        label = label_of(await connection.recv())
        arrivals = self._arrivals[label] = []
        self._sessions[label] = connection
        await connection.send(b'{"setupComplete": {}}')
        now = time.monotonic
        while True:
            try:
                await connection.recv(decode=False)
            except ConnectionClosed:
                return
            arrivals.append(now())
            if label in self._waiting:
                count, event = self._waiting[label]
                if len(arrivals) >= count:
                    event.set()

    # -- commands ------------------------------------------------------------------------------

    async def forget(self, labels: list[str]) -> None:
        """Forget the received frames."""
        for label in labels:
            self._arrivals[label].clear()

    async def taken(self, label: str, count: int) -> int:
        """Wait for `count` frames of a session since `forget`; return their number.

        After `ARRIVE_S` it returns the number received until then.
        """
        arrivals = self._arrivals[label]
        if len(arrivals) < count:
            self._waiting[label] = count, asyncio.Event()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._waiting[label][1].wait(), ARRIVE_S)
            del self._waiting[label]
        return len(arrivals)

    async def stay_awake(self, yes: bool) -> None:
        """Poll for work without ever sleeping, or sleep again.

        On loopback the sender pays for waking the receiver, several times the price of sending; and
        only a path that is slow enough finds the receiver asleep.
        """
        if self._awake is not None:
            self._awake.cancel()
            self._awake = None
        if yes:
            self._awake = asyncio.create_task(self._look_for_work())

    async def _look_for_work(self) -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def turn(self, label: str, messages: int, gap: float) -> None:
        """Send a turn of the model: as fast as possible, or with `gap` seconds after a message."""
        connection = self._sessions[label]
        for message in [*turn(messages), GENERATED, COMPLETE]:
            await connection.send(message)
            if gap:
                await asyncio.sleep(gap)

    async def pace(self, labels: list[str], start: float, seconds: float) -> None:
        """Send a turn in real time in each of the sessions; forget the frames of before."""
        await self.forget(labels)
        works = [
            self._pace(
                self._sessions[label], start + number / len(labels) * AUDIO_MS / 1000, seconds
            )
            for number, label in enumerate(labels)
        ]
        await asyncio.gather(*works)

    async def _pace(self, connection: ServerConnection, start: float, seconds: float) -> None:
        for number in range(round(seconds * 1000 / AUDIO_MS)):
            delay = start + number * AUDIO_MS / 1000 - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            await connection.send(AUDIO[number % len(AUDIO)])
            if number % TRANSCRIPT_EVERY == 0:
                await connection.send(WORD)
        await connection.send(GENERATED)
        await connection.send(COMPLETE)

    async def arrivals(self, labels: list[str]) -> list[list[float]]:
        """Return the arrival time of each frame since `pace`."""
        return [self._arrivals[label] for label in labels]


class Control:
    """Client that sends commands to the service, from the measured process or another one."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls) -> Control:
        url = os.environ["GOOGLE_GEMINI_BASE_URL"].replace("https", "wss", 1) + CONTROL_PATH
        context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
        return cls(await connect(url, ssl=context, compression=None, max_size=None))

    async def tell(self, do: str, **command: Any) -> None:
        await self._connection.send(json.dumps({"do": do, **command}))

    async def done(self) -> Any:
        return json.loads(await self._connection.recv())

    async def ask(self, do: str, **command: Any) -> Any:
        await self.tell(do, **command)
        return await self.done()

    async def close(self) -> None:
        await self._connection.close()


async def main() -> None:
    service = Service()
    with Authority() as authority:
        server = await serve(
            service.handle,
            "127.0.0.1",
            0,
            ssl=authority.server_context(),
            compression=None,
            max_size=None,
            ping_interval=None,
            close_timeout=1,
        )
        port = next(iter(server.sockets)).getsockname()[1]
        env = {
            "GOOGLE_GEMINI_BASE_URL": f"https://127.0.0.1:{port}",
            "SSL_CERT_FILE": str(authority.ca_file),
            "GOOGLE_API_KEY": "local-gemini-key",
        }
        report("ready", env=env)
        async for _ in commands():
            pass
        server.close()


if __name__ == "__main__":
    asyncio.run(main())
