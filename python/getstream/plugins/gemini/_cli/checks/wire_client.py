"""Talk to Gemini Live at the wire, and note what comes and when.

It does not use google-genai: the checks are of the service, not of the SDK on top of it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from ...errors import ConfigError, ConnectError

__all__ = ["WIRE_RATE", "Line", "Patience", "Received", "RefusedError", "Service"]

Message = dict[str, Any]

WIRE_RATE = 16000
"""Hz: the rate that is native to Gemini."""

_FRAME = WIRE_RATE // 50
_PATH = "/ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateContent"
_MAX_MESSAGE_BYTES = 16 << 20

# At DEBUG, websockets logs the headers of the handshake, and one of them is the key.
_LOGGER = logging.getLogger("getstream.plugins.gemini.doctor")
_LOGGER.setLevel(logging.INFO)


class RefusedError(Exception):
    """Tell that the service did not let somebody in, or ended the session.

    Attributes:
        code: WebSocket close code, or HTTP status.
        reason: What the service said, as it is: to be redacted before it is shown.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class Patience:
    """Set how long the checks wait, in seconds of the wall clock.

    The defaults are for the real service over the internet.

    Attributes:
        connect_s: For a connection and the answer to the setup.
        answer_s: For the first sign of an answer, once it is owed.
        turn_s: For the end of an answer that is being sent.
        quiet_s: In which nothing is expected, and something would be a deviation.
        handle_s: For a resumption handle.
        late_s: For what comes after the end of a turn.
        pong_s: For the answer to a ping.
    """

    connect_s: float = 15.0
    answer_s: float = 12.0
    turn_s: float = 40.0
    quiet_s: float = 6.0
    handle_s: float = 3.0
    late_s: float = 1.5
    pong_s: float = 30.0


@dataclass(frozen=True)
class Received:
    """Hold one message of the service.

    Attributes:
        at: Arrival, `time.monotonic()` in seconds.
        message: The message.
        binary: Whether it came in a binary frame.
    """

    at: float
    message: Message
    binary: bool

    @property
    def content(self) -> Message:
        """Its `serverContent`, empty if it has none."""
        content = self.message.get("serverContent")
        return content if isinstance(content, dict) else {}

    @property
    def parts(self) -> list[Message]:
        """The parts of its `modelTurn`."""
        turn = self.content.get("modelTurn")
        parts = turn.get("parts") if isinstance(turn, dict) else None
        return [part for part in parts if isinstance(part, dict)] if parts else []

    @property
    def audio(self) -> list[tuple[str, int]]:
        """MIME type and bytes of each part with audio."""
        blobs = [part["inlineData"] for part in self.parts if "inlineData" in part]
        return [(str(blob.get("mimeType")), _decoded_size(blob.get("data"))) for blob in blobs]

    @property
    def audio_s(self) -> float:
        """Seconds of audio in it, at 24 kHz."""
        return sum(size for _, size in self.audio) / 48000

    @property
    def handle(self) -> str:
        """The handle in it with which the session can be resumed, or ""."""
        update = self.message.get("sessionResumptionUpdate")
        if not isinstance(update, dict) or not update.get("resumable"):
            return ""
        return str(update.get("newHandle") or "")

    def transcript(self, name: str) -> str:
        """The text of its `inputTranscription` or `outputTranscription`."""
        entry = self.content.get(name)
        return str(entry.get("text") or "") if isinstance(entry, dict) else ""


@dataclass
class Service:
    """Connect to a Gemini Live service.

    Attributes:
        base_url: Its address, `https://...`.
        key: The API key; `repr` does not show it.
        model: The model of the checks that need no other one.
        version: The API version.
        speed: How much faster than real time audio is sent; 1 for a real service, whose detection
            follows the clock.
        patience: How long to wait.
        context: TLS settings; None for Python's default.
        lines: Every connection that was opened.
    """

    base_url: str
    key: str = field(repr=False)
    model: str
    version: str = "v1beta"
    speed: float = 1.0
    patience: Patience = field(default_factory=Patience)
    context: ssl.SSLContext | None = None
    lines: list[Line] = field(default_factory=list, repr=False)

    @property
    def url(self) -> str:
        """The address of the WebSocket.

        Raises:
            ConfigError: `base_url` is no address.
        """
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("https", "wss") or not parts.netloc:
            raise ConfigError("GOOGLE_GEMINI_BASE_URL is not an https address")
        path = parts.path.rstrip("/") + _PATH.format(version=self.version)
        return urlunsplit(("wss", parts.netloc, path, "", ""))

    @contextlib.asynccontextmanager
    async def dialled(
        self, *, key: str | None = None, deflate: bool = False, **setup: Any
    ) -> AsyncIterator[Line]:
        """Connect and send a setup; do not wait for the answer to it.

        Args:
            key: Another key than the service's.
            deflate: Whether to offer permessage-deflate.
            setup: Fields of the setup in camelCase; `model` is a bare name.

        Raises:
            RefusedError: The upgrade was answered with an HTTP error.
            ConnectError: The service could not be reached.
        """
        name = setup.pop("model", self.model)
        setup = {
            "model": f"models/{name}",
            "generationConfig": {"responseModalities": ["AUDIO"]},
            **setup,
        }
        try:
            socket = await connect(
                self.url,
                ssl=self.context or ssl.create_default_context(),
                additional_headers={"x-goog-api-key": self.key if key is None else key},
                compression="deflate" if deflate else None,
                max_size=_MAX_MESSAGE_BYTES,
                ping_interval=None,
                open_timeout=self.patience.connect_s,
                close_timeout=2,
                logger=_LOGGER,
            )
        except InvalidStatus as error:
            body = error.response.body or b""
            raise RefusedError(
                error.response.status_code, bytes(body).decode("utf-8", "replace")
            ) from None
        except (OSError, EOFError, WebSocketException, asyncio.TimeoutError) as error:
            # Not as its cause: the frames of the client hold the headers, and those the key.
            detail = str(error) or type(error).__name__
            raise ConnectError(
                f"Could not reach Gemini Live ({type(error).__name__}: {detail})",
                retryable=True,
                remedy="Check the network, HTTPS_PROXY, SSL_CERT_FILE and GOOGLE_GEMINI_BASE_URL.",
            ) from None
        line = Line(socket, setup, self.speed)
        self.lines.append(line)
        try:
            await line.send({"setup": setup})
            yield line
        finally:
            await line.close()

    @contextlib.asynccontextmanager
    async def session(self, **options: Any) -> AsyncIterator[Line]:
        """Connect, and wait until the setup is accepted; options as of `dialled`.

        Raises:
            RefusedError: The service refused.
            ConnectError: The service could not be reached, or did not answer.
        """
        async with self.dialled(**options) as line:
            if await line.wait(lambda each: "setupComplete" in each.message,
                               self.patience.connect_s) is None:  # fmt: skip
                raise ConnectError("Gemini Live did not answer the setup in time", retryable=True)
            yield line

    async def refusal(self, **options: Any) -> tuple[int, str] | None:
        """Return code and reason with which a setup is refused, None if it is accepted."""
        try:
            async with self.session(**options):
                return None
        except RefusedError as error:
            return error.code, error.reason


class Line:
    """Send on one connection, and keep what was received.

    Args:
        socket: The connection.
        setup: The setup that is sent on it.
        speed: How much faster than real time audio is sent.
    """

    def __init__(self, socket: ClientConnection, setup: Message, speed: float) -> None:
        self.setup = setup
        self.opened_at = time.monotonic()
        self.received: list[Received] = []
        self.closed: tuple[int, str] | None = None
        self._socket = socket
        self._speed = speed
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    @property
    def extensions(self) -> str:
        """The WebSocket extensions that the service has accepted."""
        response = self._socket.response
        return response.headers.get("sec-websocket-extensions", "") if response else ""

    async def _read(self) -> None:
        try:
            while True:
                raw = await self._socket.recv()
                at = time.monotonic()
                try:
                    message = json.loads(raw)
                except (ValueError, RecursionError):
                    message = {"": "no JSON"}
                if not isinstance(message, dict):
                    message = {"": "no message"}
                self.received.append(Received(at, message, isinstance(raw, bytes)))
                self._notify()
        except ConnectionClosed as error:
            frame = error.rcvd
            self.closed = (frame.code, frame.reason) if frame else (1006, "no close frame")
            self._notify()

    def _notify(self) -> None:
        self._changed.set()

    async def close(self) -> None:
        """Close the connection."""
        await self._socket.close()
        await self._reader

    async def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            RefusedError: The connection is closed.
        """
        try:
            await self._socket.send(json.dumps(message))
        except ConnectionClosed:
            await self._reader
            raise RefusedError(*(self.closed or (1006, ""))) from None

    async def send_text(self, text: str) -> None:
        """Send a text that is to be answered."""
        await self.send({"realtimeInput": {"text": text}})

    async def speak(
        self, samples: NDArray[np.int16], until: Callable[[], bool] = lambda: False
    ) -> None:
        """Send audio in frames of 20 ms, at the pace of the clock.

        Args:
            samples: int16 mono at `WIRE_RATE`.
            until: Ends it early when it returns True.
        """
        began = time.monotonic()
        for number, start in enumerate(range(0, samples.size, _FRAME)):
            if until():
                return
            data = base64.b64encode(samples[start : start + _FRAME].astype("<i2").tobytes())
            blob = {"mimeType": f"audio/pcm;rate={WIRE_RATE}", "data": data.decode()}
            await self.send({"realtimeInput": {"audio": blob}})
            due = began + (number + 1) * 0.02 / self._speed
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def ping(self) -> asyncio.Future[float]:
        """Send a ping; the future has the seconds until its pong."""
        waiter = await self._socket.ping()
        return asyncio.ensure_future(waiter)

    async def wait(
        self, holds: Callable[[Received], object], timeout: float, start: int = 0
    ) -> Received | None:
        """Wait for a message, from the one with index `start` on; None when the time is up.

        Raises:
            RefusedError: The connection ended before.
        """
        deadline = time.monotonic() + timeout
        position = start
        while True:
            self._changed.clear()
            while position < len(self.received):
                each = self.received[position]
                position += 1
                if holds(each):
                    return each
            if self.closed is not None:
                raise RefusedError(*self.closed)
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    def position(self, each: Received) -> int:
        """The index of a message in `received`."""
        return next(i for i, other in enumerate(self.received) if other is each)


def _decoded_size(data: object) -> int:
    text = data if isinstance(data, str) else ""
    padding = len(text) - len(text.rstrip("="))
    return len(text) * 3 // 4 - padding
