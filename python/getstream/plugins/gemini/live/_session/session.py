"""One session with Gemini Live over one connection after the other.

The SDK connects, authenticates, sends the setup and the rare messages. Audio goes straight to the
websocket that it has opened, and one reader takes every message from there.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, cast

import websockets.exceptions
from google import genai
from google.genai import errors as genai_errors
from google.genai import types
from google.genai.live import AsyncSession
from websockets.asyncio.client import ClientConnection

from ..._websocket import websocket_payload
from ...errors import ConfigError, ConnectError, ConnectionLostError, GeminiError
from . import wire
from .at_once import FrameWriter, writer_of
from .fallback import from_sdk
from .refusals import COMES_BACK, client_error, connect_error, holds_a_secret, lost_error
from .wire import ServerMessage

logger = logging.getLogger("getstream.plugins.gemini")

Seeding = Literal["history", "content"]

API_VERSION = "v1beta"
"""google-genai 3 dials v1 by default; every report of a working Live session is on v1beta."""

TOKEN_API_VERSION = "v1alpha"
"""The only version that takes ephemeral tokens, by the SDK's own word."""

CONNECT_TIMEOUT = 15.0
"""Seconds for the socket and the setup answer; the SDK would wait for the latter without end."""

PING_AFTER_S = 20.0
"""Seconds without a message until the service is asked for a sign of life: proxies and NATs forget
connections that are silent for 30 s and more."""

SILENT_S = 60.0
"""Seconds from that question until the connection counts as dead. Google's pongs have been seen 8
to 30 s late (sip-to-ai #14), and the 20 s of websockets kill healthy sessions. Any message counts
as an answer."""

# At DEBUG, websockets logs the headers of the handshake, and one of them is the key.
_WEBSOCKET_LOGGER = logging.getLogger("getstream.plugins.gemini.websocket")
_WEBSOCKET_LOGGER.setLevel(logging.INFO)

# Messages in a row that cannot be read before the stream counts as broken.
MAX_UNREADABLE = 20

_CAUGHT: contextvars.ContextVar[list[ClientConnection] | None] = contextvars.ContextVar(
    "caught", default=None
)


class _Caught(ClientConnection):
    """A connection that tells who has opened it: see `create_connection` in websockets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        opened = _CAUGHT.get()
        if opened is not None:
            opened.append(self)


# Arguments of websockets.connect, which HttpOptions.async_client_args hands through.
WEBSOCKET_OPTIONS: dict[str, Any] = {
    "compression": None,  # deflate costs ten times the audio's own send path, and gains little
    "create_connection": _Caught,
    "max_size": 16 << 20,  # the default, 1 MiB, kills the call at one large message
    "max_queue": 256,  # messages: a burst must not stop the reading, and with it the pongs
    "ping_interval": None,  # see keep_alive
    "logger": _WEBSOCKET_LOGGER,
    "close_timeout": 2,  # seconds to wait for the service's half of the closing handshake
}

# websockets 14 and later; the SDK itself allows 13.
_TAKES_BYTES = "decode" in inspect.signature(ClientConnection.recv).parameters


class Session:
    """Connects, sends, receives, and turns every failure into an error of this package.

    Args:
        api_key: the key or ephemeral token, or None when `client` is given or Vertex AI takes the
            credentials of the environment.
        vertexai: whether to talk to Vertex AI.
        model: the model's name.
        config: a `LiveConnectConfigDict`.
        seeding: how the model takes the history of a session that could not be resumed.
        client: the user's own client; its options are left alone.
        ask_key: gives the key or token of each connection anew; then there is no `api_key`.
    """

    def __init__(
        self,
        *,
        api_key: str | None,
        model: str,
        config: dict[str, Any],
        vertexai: bool = False,
        seeding: Seeding = "history",
        client: genai.Client | None = None,
        ask_key: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._api_key = api_key
        self._ask_key = ask_key
        self._client_key = api_key  # of the client that there is
        self._vertexai = vertexai
        self._model = model
        self._plain_config = config
        self._seeding = seeding
        self._client = client
        self._owns_client = client is None
        self._config: types.LiveConnectConfig | None = None
        self._preparing: asyncio.Future[None] | None = None
        self._context: AbstractAsyncContextManager[AsyncSession] | None = None
        self._live: AsyncSession | None = None
        self._socket: ClientConnection | None = None
        self._writer: FrameWriter | None = None
        self._sdk_messages: AsyncIterator[types.LiveServerMessage] | None = None
        self._heard_at = 0.0
        self._unreadable_in_a_row = 0
        self._index = 0  # of the newest client message of this connection
        self._told_of_fallback = False
        self.unreadable = 0

    @property
    def lean(self) -> bool:
        """Whether audio goes straight to the websocket, past the SDK."""
        return self._socket is not None

    # -- life ----------------------------------------------------------------------------------

    async def open(self, handle: str = "", history: Sequence[tuple[str, str]] = ()) -> None:
        """Connect and wait for the service to accept the setup.

        Args:
            handle: resumes the session that it stands for.
            history: what was said before, as `("user" | "model", text)`: seeds a new session.

        Raises:
            ConfigError: the SDK does not accept the configuration.
            SessionError: the service could not be reached, did not answer in `CONNECT_TIMEOUT`,
                or refused the key, the model, the configuration or the handle.
        """
        if self._ask_key is not None:
            self._api_key = await self._ask_key()
        if self._config is None or self._api_key != self._client_key:
            # Building a client loads certificates and builds models: 70 to 150 ms that would
            # otherwise hold the event loop.
            self._preparing = asyncio.get_running_loop().run_in_executor(None, self._prepare)
            # A cancellation does not stop the thread: `dispose` closes what it makes.
            await asyncio.shield(self._preparing)
        assert self._client is not None
        opened: list[ClientConnection] = []
        refused: GeminiError | None = None
        token = _CAUGHT.set(opened)
        try:
            context = self._client.aio.live.connect(
                model=self._model, config=self._config_for(handle, history)
            )
            self._live = await _enter(context)
        except GeminiError:
            raise
        except Exception as error:
            reached = bool(opened) and getattr(opened[-1], "response", None) is not None
            refused = connect_error(error, self._model, resuming=bool(handle), reached=reached)
            if not holds_a_secret(error):
                raise refused from error
        finally:
            _CAUGHT.reset(token)
        if refused is not None:
            raise refused  # outside of the handler, where even `from None` keeps what was caught
        self._context = context
        self._socket = self._find_socket(opened)
        self._writer = writer_of(self._socket) if self._socket is not None else None
        self._sdk_messages = None
        self._heard_at = asyncio.get_running_loop().time()
        self._unreadable_in_a_row = 0
        self._index = 0  # the setup
        if history:
            try:
                await self._seed(history)
            except GeminiError:
                await self.close()
                raise

    async def close(self, *, abort: bool = False) -> None:
        """Close the connection. Idempotent; never raises on a connection that is gone.

        Args:
            abort: without the closing handshake, which a dead connection would not answer.
        """
        context, self._context, self._live = self._context, None, None
        socket, self._socket = self._socket, None
        self._writer = None
        if context is None:
            return
        if abort and socket is not None:
            socket.transport.abort()
        try:
            await context.__aexit__(None, None, None)
        except (genai_errors.APIError, websockets.exceptions.WebSocketException, OSError) as error:
            logger.debug("Closing Gemini Live: %s", type(error).__name__)

    async def dispose(self) -> None:
        """Close the connection, and the client unless it is the user's own."""
        await self.close()
        if self._preparing is not None and not self._preparing.done():
            await asyncio.wait([self._preparing])
            self._preparing.exception()  # that nobody waits for
        client = self._client
        if client is None or not self._owns_client:
            return
        # Closing it takes 8 ms, most of them for modules that it imports just then.
        await asyncio.get_running_loop().run_in_executor(None, _close_client, client)

    async def keep_alive(self) -> None:
        """Ask for a sign of life whenever the service is silent, until the connection is gone.

        Raises:
            ConnectionLostError: there was none for `SILENT_S`.
        """
        loop = asyncio.get_running_loop()
        socket = self._socket
        while socket is not None:
            patience = self._heard_at + PING_AFTER_S - loop.time()
            if patience > 0:
                await asyncio.sleep(patience)
                continue
            asked_at = loop.time()
            try:
                pong = cast("asyncio.Future[float]", await socket.ping())
                while self._heard_at < asked_at and not pong.done():
                    left = asked_at + SILENT_S - loop.time()
                    if left <= 0:
                        raise ConnectionLostError(
                            f"Gemini Live has been silent for {PING_AFTER_S + SILENT_S:g} s, "
                            "and does not answer a ping",
                            retryable=True,
                            remedy=COMES_BACK,
                        )
                    await asyncio.wait([pong], timeout=min(left, 1.0))
            except websockets.exceptions.ConnectionClosed:
                break  # the reader tells why
            self._heard_at = max(self._heard_at, loop.time())
        await asyncio.Event().wait()  # the SDK's own path: websockets keeps it alive

    # -- from the service ----------------------------------------------------------------------

    async def next(self) -> ServerMessage:
        """Wait for the next message of the service. One reader at a time.

        Raises:
            SessionError: the connection is gone.
        """
        live, socket = self._require_live(), self._socket
        try:
            if socket is None:
                return await self._next_of_sdk(live)
            raw = await (socket.recv(decode=False) if _TAKES_BYTES else socket.recv())
        except (
            genai_errors.APIError,
            websockets.exceptions.ConnectionClosed,
            OSError,
        ) as error:
            raise lost_error(error, self._model) from error
        self._heard_at = asyncio.get_running_loop().time()
        message = wire.read(raw)
        if message.unreadable:
            self._note_unreadable("it is not JSON")
        else:
            self._unreadable_in_a_row = 0
        return message

    # -- to the service ------------------------------------------------------------------------

    @staticmethod
    def audio_envelope(sample_rate: int) -> tuple[bytes, bytes]:
        """Return what stands before and behind the base64 of audio in `send_audio`'s messages."""
        return wire.audio_envelope(sample_rate)

    # Each returns the number of the message on this connection; the setup has number 0.

    async def send_audio(self, frame: bytes, sample_rate: int) -> int:
        """Send s16le mono audio.

        Args:
            frame: base64 in the envelope of its rate, as `websocket_frame` frames it. It is
                unpacked and framed again, under a new masking key: it may have been sent before, on
                a connection that was lost, and a key is for one sending (RFC 6455, section 5.3).
            sample_rate: of the audio, in Hz.
        """
        message = websocket_payload(frame)
        if self._socket is not None:
            return await self._send_raw(message)
        before, behind = wire.audio_envelope(sample_rate)
        pcm = base64.b64decode(message[len(before) : len(message) - len(behind)])
        blob = types.Blob(data=pcm, mime_type=f"audio/pcm;rate={sample_rate}")
        return await self._send_by_sdk(audio=blob)

    def send_audio_at_once(self, frame: bytes) -> int | None:
        """Send a frame as it is, if that takes no waiting; else do nothing, and return None."""
        if self._writer is None or not self._writer.write(frame):
            return None
        self._index += 1
        return self._index

    async def send_video(self, jpeg: bytes) -> int:
        """Send one picture."""
        if self._socket is not None:
            return await self._send_raw(wire.image_message(base64.b64encode(jpeg)))
        return await self._send_by_sdk(video=types.Blob(data=jpeg, mime_type="image/jpeg"))

    async def send_text(self, text: str) -> int:
        """Send text that the model answers."""
        return await self._send_by_sdk(text=text)

    async def send_activity(self, *, starts: bool) -> int:
        """Tell the service, whose own detection is off, that the user begins or ends to speak."""
        if starts:
            return await self._send_by_sdk(activity_start=types.ActivityStart())
        return await self._send_by_sdk(activity_end=types.ActivityEnd())

    async def send_audio_stream_end(self) -> int:
        """Tell the service that no audio comes for a while, so that it ends the user's turn."""
        return await self._send_by_sdk(audio_stream_end=True)

    # -- inside --------------------------------------------------------------------------------

    async def _send_raw(self, message: bytes) -> int:
        socket = self._socket
        assert socket is not None
        try:
            await (
                socket.send(message, text=True)
                if _TAKES_BYTES
                else socket.send(message.decode("utf8"))
            )
        except (websockets.exceptions.ConnectionClosed, OSError) as error:
            raise lost_error(error, self._model) from error
        self._index += 1
        return self._index

    async def _send_by_sdk(self, **message: Any) -> int:
        try:
            await self._require_live().send_realtime_input(**message)
        except (genai_errors.APIError, websockets.exceptions.ConnectionClosed, OSError) as error:
            raise lost_error(error, self._model) from error
        self._index += 1
        return self._index

    async def _next_of_sdk(self, live: AsyncSession) -> ServerMessage:
        while True:
            if self._sdk_messages is None:
                self._sdk_messages = live.receive()
            try:
                return from_sdk(await self._sdk_messages.__anext__())
            except StopAsyncIteration:
                # receive() ends with each turn of the model, not with the connection.
                self._sdk_messages = None
            except (TypeError, ValueError, AttributeError, KeyError) as error:
                # Unknown kinds stop the SDK's own loop.
                self._sdk_messages = None
                self._note_unreadable(type(error).__name__)

    def _note_unreadable(self, why: str) -> None:
        self.unreadable += 1
        self._unreadable_in_a_row += 1
        if self.unreadable == 1:
            logger.warning("Passed over a message of Gemini Live that cannot be read (%s)", why)
        if self._unreadable_in_a_row >= MAX_UNREADABLE:
            raise ConnectionLostError(
                f"{MAX_UNREADABLE} messages of Gemini Live in a row could not be read",
                retryable=True,
                remedy="Is GOOGLE_GEMINI_BASE_URL the address of a Gemini Live service?",
            )

    async def _seed(self, history: Sequence[tuple[str, str]]) -> None:
        turns: list[types.Content | types.ContentDict] = [
            types.Content(role=role, parts=[types.Part(text=text)]) for role, text in history
        ]
        try:
            # As history, the service takes it without an answer; as content, it would answer what
            # is complete.
            await self._require_live().send_client_content(
                turns=turns, turn_complete=self._seeding == "history"
            )
        except (genai_errors.APIError, websockets.exceptions.ConnectionClosed, OSError) as error:
            raise lost_error(error, self._model) from error
        self._index += 1

    def _require_live(self) -> AsyncSession:
        if self._live is None:
            raise ConnectionLostError(
                "There is no connection to Gemini Live",
                retryable=True,
                remedy=COMES_BACK,
            )
        return self._live

    def _find_socket(self, opened: list[ClientConnection]) -> ClientConnection | None:
        """The websocket behind the SDK's session, or None: then everything goes by the SDK."""
        # The last of them: there may have been redirects. An own client was not told to catch.
        socket = opened[-1] if opened else getattr(self._live, "_ws", None)
        if isinstance(socket, ClientConnection):
            return socket
        if not self._told_of_fallback:
            self._told_of_fallback = True
            logger.warning(
                "This release of google-genai does not show its websocket; audio takes the SDK's "
                "own way, which costs several times as much"
            )
        return None

    def _config_for(self, handle: str, history: Sequence[tuple[str, str]]) -> Any:
        assert self._config is not None
        update: dict[str, Any] = {}
        resumption = self._config.session_resumption
        if resumption is not None:
            update["session_resumption"] = resumption.model_copy(update={"handle": handle or None})
        if history and self._seeding == "history":
            update["history_config"] = types.HistoryConfig(initial_history_in_client_content=True)
        return self._config.model_copy(update=update) if update else self._config

    def _prepare(self) -> None:
        try:
            config = types.LiveConnectConfig.model_validate(self._plain_config)
        except ValueError as error:  # pydantic's ValidationError is one
            # pydantic's own text, in the chain, would show the values: some are secret.
            raise ConfigError(f"config is not valid: {_options_of(error)}") from None
        if self._client is None or self._api_key != self._client_key:
            before, self._client = self._client, self._build_client()
            self._client_key = self._api_key
            if before is not None:
                _close_client(before)
        resumption = config.session_resumption
        if (
            getattr(self._client, "vertexai", False)
            and resumption is not None
            and resumption.transparent is None
        ):
            # It tells what it has consumed; the Gemini API does not offer that.
            transparent = resumption.model_copy(update={"transparent": True})
            config = config.model_copy(update={"session_resumption": transparent})
        self._config = config

    def _build_client(self) -> genai.Client:
        is_token = (self._api_key or "").startswith("auth_tokens/")
        options = types.HttpOptions(async_client_args=dict(WEBSOCKET_OPTIONS))
        if not self._vertexai:
            options.api_version = TOKEN_API_VERSION if is_token else API_VERSION
        try:
            return genai.Client(
                api_key=self._api_key, vertexai=self._vertexai, http_options=options
            )
        except Exception as error:
            refused = client_error(error)
            if not holds_a_secret(error):
                raise refused from error
        raise refused


def _close_client(client: genai.Client) -> None:
    """Close what a client holds, on a thread of its own. What is left open closes itself in the
    end, by a task on whatever loop is running then."""
    try:
        asyncio.run(client.aio.aclose())
        client.close()
    except Exception as error:
        logger.debug("Closing the client of google-genai: %s", type(error).__name__)


async def _enter(context: AbstractAsyncContextManager[AsyncSession]) -> AsyncSession:
    """Enter, within `CONNECT_TIMEOUT`; leave no connection behind when that does not succeed.

    Not by `asyncio.wait_for`: before CPython 3.12 it loses a cancellation that meets the end of
    what it waits for, and the one who cancelled waits for ever. Here the cancellation, whoever it
    comes from, is thrown into the SDK, which closes what it has opened.
    """
    task = asyncio.current_task()
    assert task is not None
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(CONNECT_TIMEOUT, expire)
    try:
        return await context.__aenter__()
    except asyncio.CancelledError:
        if not expired:
            raise
        if hasattr(task, "uncancel"):  # CPython 3.11 and later count
            task.uncancel()
        raise ConnectError(
            f"Gemini Live did not answer within {CONNECT_TIMEOUT:g} s",
            retryable=True,
            remedy="Check the network (a proxy or firewall that swallows WebSockets), "
            "then try again.",
        ) from None
    finally:
        timer.cancel()


def _options_of(error: ValueError) -> str:
    """Name the options that pydantic refuses, without the values (which may be secret)."""
    details = getattr(error, "errors", None)
    if not callable(details):
        return str(error)
    lines = []
    for item in details(include_url=False, include_input=False, include_context=False):
        path = ".".join(str(part) for part in item["loc"])
        lines.append(f"{path}: {item['msg']}")
    return "; ".join(lines)
