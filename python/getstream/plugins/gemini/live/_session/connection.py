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
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, cast

import websockets.exceptions
from google import genai
from google.genai import errors as genai_errors
from google.genai import types
from google.genai.live import AsyncSession
from websockets.asyncio.client import ClientConnection

from ..._websocket import websocket_payload
from ...errors import (
    ConfigError,
    ConnectError,
    ConnectionLostError,
    GeminiError,
    SessionError,
)
from . import protocol
from .close_errors import (
    ABNORMAL,
    COMES_BACK,
    client_error,
    connect_error,
    lost_error,
    safe_cause,
    without_frames,
)
from .collector import spare_long_lived_objects
from .direct_send import FrameWriter, writer_of
from .path import (
    LOOK_S,
    STUCK_S,
    UNACKNOWLEDGED_S,
    PathWatch,
    acknowledged,
    is_unacknowledged,
    path_state,
    watch_socket,
)
from .protocol import ServerMessage
from .sdk_protocol import from_sdk, warm_up
from .spare_client import SPARE

logger = logging.getLogger("getstream.plugins.gemini")

HistoryMode = Literal["history", "content"]
Spawn = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]

API_VERSION = "v1beta"
"""google-genai 3 dials v1 by default; every report of a working Live session is on v1beta."""

TOKEN_API_VERSION = "v1alpha"
"""The only version that takes ephemeral tokens, by the SDK's own word."""

CONNECT_TIMEOUT_S = 15.0
"""Seconds for the socket, the setup answer and the history; the SDK would wait for the last two
without end."""

CLOSE_S = 1.2
"""Seconds for the closing handshake and whatever the SDK does then. The handshake alone has 1 s,
but not where the socket is stuck: the close frame waits behind what cannot be sent."""

ABORT_S = 0.2
"""Seconds for the end of what waits for a connection that has been cut, which takes none."""

ACLOSE_S = 0.5
"""Seconds that closing the SDK's client, and making it, are waited for. Closing takes 8 ms; both go
on in their thread if they take longer."""

PING_AFTER_S = 20.0
"""Seconds without a message until the service is asked for a sign of life: proxies and NATs forget
connections that are silent for 30 s and more."""

SILENT_S = 60.0
"""Seconds from that question until the connection counts as dead. Google's pongs have been seen 8
to 30 s late (sip-to-ai #14), and the 20 s of websockets kill healthy sessions. Any message counts
as an answer."""

LONGEST_IMAGE_S = 1.0
"""Seconds for which the way of an image is watched."""

LOOK_AT_IMAGE_S = 0.001

# At DEBUG, websockets logs the headers of the handshake, and one of them is the key.
_WEBSOCKET_LOGGER = logging.getLogger("getstream.plugins.gemini.websocket")
_WEBSOCKET_LOGGER.setLevel(logging.INFO)

# Messages in a row that cannot be read before the stream counts as broken.
MAX_UNREADABLE = 20

_CAUGHT: contextvars.ContextVar[list[ClientConnection] | None] = contextvars.ContextVar(
    "caught", default=None
)


class _CapturingConnection(ClientConnection):
    """A connection that tells who has opened it: see `create_connection` in websockets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        opened = _CAUGHT.get()
        if opened is not None:
            opened.append(self)


# Arguments of websockets.connect, which HttpOptions.async_client_args hands through.
WEBSOCKET_OPTIONS: dict[str, Any] = {
    "compression": None,  # deflate costs ten times the audio's own send path, and gains little
    "create_connection": _CapturingConnection,
    "max_size": 16 << 20,  # the default, 1 MiB, kills the call at one large message
    "max_queue": 256,  # messages: a burst must not stop the reading, and with it the pongs
    "ping_interval": None,  # see keep_alive
    "logger": _WEBSOCKET_LOGGER,
    "close_timeout": 1,  # seconds to wait for the service's half of the closing handshake
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
        history_mode: how the model takes the history of a session that could not be resumed.
        client: the user's own client; its options are left alone.
        spawn: makes a task that its owner looks after.
        ask_key: gives the key or token of each connection anew; then there is no `api_key`.
    """

    def __init__(
        self,
        *,
        api_key: str | None,
        model: str,
        config: dict[str, Any],
        vertexai: bool = False,
        history_mode: HistoryMode = "history",
        client: genai.Client | None = None,
        spawn: Spawn,
        ask_key: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._spawn = spawn
        self._api_key = api_key
        self._ask_key = ask_key
        self._client_key = api_key  # of the client that there is
        self._vertexai = vertexai
        self._model = model
        self._plain_config = config
        self._history_mode = history_mode
        self._client = client
        self._owns_client = client is None
        self._config: types.LiveConnectConfig | None = None
        self._preparing: asyncio.Future[None] | None = None
        self._preparing_ends = threading.Lock()
        self._is_closed = False  # a client that is made after that is closed where it was made
        self._context: AbstractAsyncContextManager[AsyncSession] | None = None
        self._live: AsyncSession | None = None
        self._socket: ClientConnection | None = None
        self._writer: FrameWriter | None = None
        self._sdk_messages: AsyncIterator[types.LiveServerMessage] | None = None
        self._heard_at = 0.0
        self._unreadable_in_a_row = 0
        self._index = 0  # of the newest client message of this connection
        self._sdk_sends = 0  # that have not returned
        self._told_of_fallback = False
        self.unreadable = 0

    @property
    def uses_raw_socket(self) -> bool:
        """Whether audio goes straight to the websocket, past the SDK."""
        return self._socket is not None

    @property
    def can_update_context(self) -> bool:
        """Whether this release of the SDK can change the context of a running session."""
        return hasattr(AsyncSession, "send_context_update")

    def configure(self, config: dict[str, Any]) -> None:
        """Use a configuration from the next connection on."""
        self._plain_config, self._config = config, None

    # -- life ----------------------------------------------------------------------------------

    async def open(self, handle: str = "", history: Sequence[tuple[str, str]] = ()) -> None:
        """Connect and wait for the service to accept the setup.

        Args:
            handle: resumes the session that it stands for.
            history: what was said before, as `("user" | "model", text)`: seeds a new session.

        Raises:
            ConfigError: the SDK does not accept the configuration.
            SessionError: the service could not be reached, did not answer in `CONNECT_TIMEOUT_S`,
                or refused the key, the model, the configuration or the handle.
        """
        if self._ask_key is not None:
            self._api_key = await self._ask_key()
        if self._config is None or self._api_key != self._client_key:
            # Building a client loads certificates and builds models: 70 to 150 ms that would
            # otherwise hold the event loop.
            self._preparing = asyncio.get_running_loop().run_in_executor(None, self._prepare)
            # A cancellation does not stop the thread: `aclose` closes what it makes.
            await asyncio.shield(self._preparing)
        assert self._client is not None
        opened: list[ClientConnection] = []
        refused: Exception | None = None
        token = _CAUGHT.set(opened)
        try:
            context = self._client.aio.live.connect(
                model=self._model, config=self._config_for(handle, history)
            )
            # In a task of its own: whether the time is up or somebody cancels is then told apart
            # without a doubt, and neither depends on what the SDK makes of a cancellation.
            setting_up = self._spawn(self._set_up(context, opened, history))
        except Exception as error:
            refused = error
        finally:
            _CAUGHT.reset(token)
        if refused is not None:
            # Outside of `except`: even `from None` leaves what was caught in the chain.
            raise connect_error(refused, self._model, resuming=bool(handle)) from safe_cause(
                refused
            )
        try:
            await asyncio.wait([setting_up], timeout=CONNECT_TIMEOUT_S)
            in_time = setting_up.done()
        finally:
            if not setting_up.done() or setting_up.cancelled() or setting_up.exception():
                await self._cut(setting_up, opened)
        if not in_time:
            raise ConnectError(
                f"Gemini Live did not answer within {CONNECT_TIMEOUT_S:g} s",
                retryable=True,
                remedy="Check the network (a proxy or firewall that swallows WebSockets), "
                "then try again.",
            )
        self._check_set_up(setting_up, resuming=bool(handle), reached=_was_reached(opened))

    async def _set_up(
        self,
        context: AbstractAsyncContextManager[AsyncSession],
        opened: list[ClientConnection],
        history: Sequence[tuple[str, str]],
    ) -> None:
        self._live = await context.__aenter__()
        self._context = context
        self._socket = self._find_socket(opened)
        self._writer = None
        if self._socket is not None:
            self._writer = writer_of(self._socket)
            watch_socket(self._socket.transport)
        self._sdk_messages = None
        self._heard_at = asyncio.get_running_loop().time()
        self._unreadable_in_a_row = 0
        self._index = 0  # the setup
        if history:
            await self._seed(history)

    def _check_set_up(
        self, setting_up: asyncio.Task[None], *, resuming: bool, reached: bool
    ) -> None:
        """Raise why the session could not be set up, if it could not."""
        cause: Exception | None = None
        try:
            setting_up.result()
            return
        except GeminiError:
            raise
        except asyncio.CancelledError:
            failure: GeminiError = ConnectError(
                "Connecting was cancelled from outside", retryable=True
            )
        except Exception as error:
            failure = connect_error(error, self._model, resuming=resuming, reached=reached)
            cause = safe_cause(error)
        raise failure from cause

    async def _cut(self, work: asyncio.Task[None], opened: Sequence[ClientConnection]) -> None:
        """End an attempt to connect, and leave no connection behind."""
        for socket in opened:
            _abort(socket)
        if not work.done():
            work.cancel()
            await asyncio.wait([work], timeout=ABORT_S)
        if not work.done():
            logger.warning("google-genai goes on to connect although that was cancelled")
        await self.close(abort=True)

    async def close(self, *, abort: bool = False) -> None:
        """Close the connection, within `CLOSE_S` and `ABORT_S`, whatever it does.

        Idempotent; never raises on a connection that is gone.

        Args:
            abort: without the closing handshake, which a dead connection would not answer.
        """
        context, self._context, live, self._live = self._context, None, self._live, None
        socket, self._socket = self._socket, None
        self._writer = None
        if context is None:
            return
        # An SDK that hides its websocket may hide another one there.
        connection = socket if socket is not None else getattr(live, "_ws", None)
        if abort:
            _abort(connection)
        leaving = self._spawn(_leave(context))
        try:
            await asyncio.wait([leaving], timeout=CLOSE_S)
        finally:
            if not leaving.done():
                _abort(connection)
                leaving.cancel()
                await asyncio.wait([leaving], timeout=ABORT_S)

    async def aclose(self) -> None:
        """Close the connection, and the client unless it is the user's own."""
        await self.close()
        with self._preparing_ends:
            self._is_closed = True
            client = self._client
        if self._preparing is not None and not self._preparing.done():
            await asyncio.wait([self._preparing], timeout=ACLOSE_S)
        if self._preparing is not None and self._preparing.done():
            self._preparing.exception()  # that nobody waits for
        if client is None or not self._owns_client:
            return
        # Closing it takes 8 ms, most of them for modules that it imports just then.
        closing = asyncio.get_running_loop().run_in_executor(None, close_client, client)
        await asyncio.wait([closing], timeout=ACLOSE_S)

    async def keep_alive(self) -> None:
        """Look after the connection until it is gone: whether its path and the service are alive.

        Raises:
            ConnectionLostError: nothing that waited to be sent has left for `STUCK_S`, or there
                was no sign of life for `SILENT_S` after it was asked for.
        """
        loop = asyncio.get_running_loop()
        socket = self._socket
        watch = PathWatch(loop.time())
        asking: asyncio.Task[bool] | None = None
        asked_at: float | None = None  # for a sign of life that has not come
        try:
            while True:
                now = loop.time()
                if watch.look(now, self._bytes_waiting(), self._progress()) >= STUCK_S:
                    raise ConnectionLostError(
                        "The network path to Gemini Live is dead: nothing that waits to be sent "
                        f"has left for {STUCK_S:g} s",
                        retryable=True,
                        remedy=COMES_BACK,
                    )
                if asking is not None and asking.done():
                    if not asking.cancelled() and asking.result():
                        self._heard_at = max(self._heard_at, now)
                    asking = None
                if asked_at is not None and self._heard_at >= asked_at:
                    asked_at = None
                if socket is None:
                    pass  # the SDK's own path, on which nothing can be asked
                elif asked_at is None and now >= self._heard_at + PING_AFTER_S:
                    asked_at = now
                    if asking is not None:
                        asking.cancel()
                    asking = self._spawn(_ask(socket))
                elif asked_at is not None and now >= asked_at + SILENT_S:
                    raise ConnectionLostError(
                        f"Gemini Live has been silent for {PING_AFTER_S + SILENT_S:g} s, "
                        "and does not answer a ping",
                        retryable=True,
                        remedy=COMES_BACK,
                    )
                await asyncio.sleep(LOOK_S)
        finally:
            if asking is not None:
                asking.cancel()

    def _bytes_waiting(self) -> int:
        """Return what waits in this process to be sent; on the SDK's own path, whether any does."""
        if self._socket is None:
            return self._sdk_sends
        transport = self._socket.transport
        # asyncio's TLS transport knows no size any more once it was closed twice.
        return 0 if transport.is_closing() else transport.get_write_buffer_size()

    def _progress(self) -> int:
        """Return a number that grows with whatever is sent and acknowledged."""
        if self._socket is None or self._socket.transport.is_closing():
            return self._index
        return self._index + acknowledged(self._socket.transport)

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
            raise self._lost(error) from without_frames(error)
        self._heard_at = asyncio.get_running_loop().time()
        message = protocol.read(raw)
        if message.unreadable:
            self._note_unreadable("it is not JSON")
        else:
            self._unreadable_in_a_row = 0
        return message

    # -- to the service ------------------------------------------------------------------------

    @staticmethod
    def audio_envelope(sample_rate: int) -> tuple[bytes, bytes]:
        """Return what stands before and behind the base64 of audio in `send_audio`'s messages."""
        return protocol.audio_envelope(sample_rate)

    @staticmethod
    def audio_of(frame: bytes) -> tuple[bytes, int]:
        """Return the s16le samples of a frame that `send_audio` takes, and their rate in Hz."""
        return protocol.read_audio(websocket_payload(frame))

    # Each returns the number of the message on this connection; the setup has number 0.

    async def send_audio(self, frame: bytes) -> int:
        """Send s16le mono audio.

        Args:
            frame: base64 in the envelope of its rate, as `websocket_frame` frames it. It is
                unpacked and framed again, under a new masking key: it may have been sent before, on
                a connection that was lost, and a key is for one sending (RFC 6455, section 5.3).
        """
        message = websocket_payload(frame)
        if self._socket is not None:
            return await self._send_raw(message)
        pcm, sample_rate = protocol.read_audio(message)
        blob = types.Blob(data=pcm, mime_type=f"audio/pcm;rate={sample_rate}")
        return await self._send_by_sdk(audio=blob)

    def send_audio_now(self, frames: list[bytes]) -> int | None:
        """Send frames as they are in one write, if that takes no waiting; else do nothing.

        Returns:
            The number of the last message, or None if nothing was done.
        """
        if self._writer is None or not self._writer.write(frames):
            return None
        self._index += len(frames)
        return self._index

    async def send_video(self, jpeg: bytes) -> int:
        """Send one picture."""
        if self._socket is not None:
            return await self._send_raw(protocol.image_message(base64.b64encode(jpeg)))
        return await self._send_by_sdk(video=types.Blob(data=jpeg, mime_type="image/jpeg"))

    async def send_still(self, encoded: bytes, mime_type: str) -> int:
        """Send one image of the application, given as base64."""
        if self._socket is not None:
            return await self._send_raw(protocol.image_message(encoded, mime_type))
        data = base64.b64decode(encoded)
        return await self._send_by_sdk(video=types.Blob(data=data, mime_type=mime_type))

    async def send_content(self, turns: list[Any], *, turn_complete: bool) -> int:
        """Send turns of a conversation, as `contents_of` returns them."""
        return await self._send_by_call(
            lambda live: live.send_client_content(turns=turns, turn_complete=turn_complete)
        )

    def has_room(self) -> bool:
        """Tell whether a message could be written now without waiting for another one."""
        if self._writer is not None:
            return self._writer.may_write()
        return self._live is not None and not self._sdk_sends

    async def send_image(self, jpeg: bytes) -> float:
        """Send one image, and wait until it has left, for `LONGEST_IMAGE_S` at most.

        Returns:
            For how many seconds a message after it would have waited, as far as the system tells.
        """
        loop = asyncio.get_running_loop()
        socket, began = self._socket, loop.time()
        if socket is None:
            await self.send_video(jpeg)
            return loop.time() - began
        before = path_state(socket.transport)
        await self.send_video(jpeg)
        # Delayed acknowledgements: the last two segments may be acknowledged 40 ms late.
        goal = before.acknowledged + len(jpeg) * 4 // 3 - 2 * before.segment
        while self._socket is socket:
            now = path_state(socket.transport)
            took_s = loop.time() - began
            if not now.unsent and (not before.segment or now.acknowledged >= goal):
                return max(0.0, took_s - now.min_rtt_s)
            if took_s >= LONGEST_IMAGE_S:
                return took_s
            await asyncio.sleep(max(LOOK_AT_IMAGE_S, took_s / 4))
        return loop.time() - began

    async def send_text(self, text: str) -> int:
        """Send text that the model answers."""
        return await self._send_by_sdk(text=text)

    async def send_activity(self, *, starts: bool) -> int:
        """Tell the service, whose own detection is off, that the user begins or ends to speak."""
        if starts:
            return await self._send_by_sdk(activity_start=types.ActivityStart())
        return await self._send_by_sdk(activity_end=types.ActivityEnd())

    @property
    def streams_tool_results(self) -> bool:
        """Whether the service takes several results of one call; Vertex AI does not."""
        return not getattr(self._client, "vertexai", False)

    async def send_tool_responses(self, responses: Sequence[dict[str, Any]]) -> int:
        """Answer functions that the model has called.

        Args:
            responses: fields of `FunctionResponse`.
        """
        answers = [types.FunctionResponse.model_validate(each) for each in responses]
        return await self._send_by_call(
            lambda live: live.send_tool_response(function_responses=answers)
        )

    async def send_audio_stream_end(self) -> int:
        """Tell the service that no audio comes for a while, so that it ends the user's turn."""
        return await self._send_by_sdk(audio_stream_end=True)

    async def update_context(
        self, *, instructions: Any = None, tools: list[Any] | None = None
    ) -> int:
        """Replace the system instruction or the tools of the running session.

        Raises:
            SessionError: the connection is gone.
        """
        return await self._send_by_call(
            lambda live: live.send_context_update(system_instruction=instructions, tools=tools)
        )

    async def add_instructions(self, instructions: str) -> int:
        """Add a system instruction to the content of the running session.

        Raises:
            SessionError: the connection is gone.
        """
        turn = types.Content(role="system", parts=[types.Part(text=instructions)])
        return await self._send_by_call(
            lambda live: live.send_client_content(turns=turn, turn_complete=False)
        )

    # -- inside --------------------------------------------------------------------------------

    async def _send_by_call(self, send: Callable[[AsyncSession], Awaitable[None]]) -> int:
        self._sdk_sends += 1
        try:
            await send(self._require_live())
        except (genai_errors.APIError, websockets.exceptions.ConnectionClosed, OSError) as error:
            raise self._lost(error) from without_frames(error)
        finally:
            self._sdk_sends -= 1
        self._index += 1
        return self._index

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
            raise self._lost(error) from without_frames(error)
        self._index += 1
        return self._index

    async def _send_by_sdk(self, **message: Any) -> int:
        return await self._send_by_call(lambda live: live.send_realtime_input(**message))

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
        turns = [types.Content(role=role, parts=[types.Part(text=text)]) for role, text in history]
        # As history, the service takes it without an answer; as content, it would answer what is
        # complete.
        await self.send_content(turns, turn_complete=self._history_mode == "history")

    def _lost(self, error: Exception) -> SessionError:
        """Return why a session that was set up has ended."""
        if is_unacknowledged(error):
            return ConnectionLostError(
                "The network path to Gemini Live is dead: nothing has been acknowledged for "
                f"{UNACKNOWLEDGED_S:g} s",
                code=ABNORMAL,
                retryable=True,
                remedy=COMES_BACK,
            )
        return lost_error(error, self._model)

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
        if history and self._history_mode == "history":
            update["history_config"] = types.HistoryConfig(initial_history_in_client_content=True)
        return self._config.model_copy(update=update) if update else self._config

    def _prepare(self) -> None:
        config = validate_config(self._plain_config)
        if self._client is None or self._api_key != self._client_key:
            client = self._build_client()
            with self._preparing_ends:
                closed, before = self._is_closed, self._client
                if not closed:
                    self._client, self._client_key = client, self._api_key
            # Here, on a thread of its own: the modules of the SDK have just been imported.
            spare_long_lived_objects()
            unused = client if closed else before
            if unused is not None:
                close_client(unused)
            if closed:
                return
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
        spare = SPARE.take(self._api_key, self._vertexai)
        return spare if spare is not None else build_client(self._api_key, self._vertexai)


async def prewarm(api_key: str | None, vertexai: bool) -> None:
    """Load the SDK, and make a client for the first session with that key, on a worker thread.

    Raises:
        ConfigError: the SDK does not accept the key.
    """
    await asyncio.to_thread(_prewarm, api_key, vertexai)


def _prewarm(api_key: str | None, vertexai: bool) -> None:
    warm_up()
    before = SPARE.put(build_client(api_key, vertexai), api_key, vertexai)
    if before is not None:
        close_client(before)
    # Not in the first call: it takes the interpreter from all threads, the event loop's as well.
    spare_long_lived_objects()


def build_client(api_key: str | None, vertexai: bool) -> genai.Client:
    """Make a client of the SDK that is set up for Live sessions; it takes 60 ms.

    Raises:
        ConfigError: the SDK does not accept the key, or finds no credentials.
    """
    is_token = (api_key or "").startswith("auth_tokens/")
    options = types.HttpOptions(async_client_args=dict(WEBSOCKET_OPTIONS))
    if not vertexai:
        options.api_version = TOKEN_API_VERSION if is_token else API_VERSION
    try:
        return genai.Client(api_key=api_key, vertexai=vertexai, http_options=options)
    except Exception as error:
        refused, cause = client_error(error), safe_cause(error)
    raise refused from cause


def validate_config(config: dict[str, Any]) -> types.LiveConnectConfig:
    """Return a configuration as the SDK takes it.

    Raises:
        ConfigError: the SDK does not accept it.
    """
    # Raised outside of the handler: pydantic's error, in the chain, holds the values, and some are
    # secret.
    try:
        return types.LiveConnectConfig.model_validate(config)
    except ValueError as error:  # pydantic's ValidationError is one
        refused = ConfigError(f"config is not valid: {_options_of(error)}")
    raise refused


def close_client(client: genai.Client) -> None:
    """Close what a client holds, on a thread of its own. What is left open closes itself in the
    end, by a task on whatever loop is running then."""
    try:
        asyncio.run(client.aio.aclose())
        client.close()
    except Exception as error:
        logger.debug("Closing the client of google-genai: %s", type(error).__name__)


async def _leave(context: AbstractAsyncContextManager[AsyncSession]) -> None:
    """Close the connection of the SDK; never raise on one that is gone."""
    try:
        await context.__aexit__(None, None, None)
    except (genai_errors.APIError, websockets.exceptions.WebSocketException, OSError) as error:
        logger.debug("Closing Gemini Live: %s", type(error).__name__)


async def _ask(socket: ClientConnection) -> bool:
    """Send a ping and wait for its pong; False if the connection is gone, of which others tell."""
    try:
        pong = cast("asyncio.Future[float]", await socket.ping())
        await asyncio.wait([pong])
    except (websockets.exceptions.ConnectionClosed, OSError):
        return False
    return not pong.cancelled() and pong.exception() is None


def _was_reached(opened: Sequence[ClientConnection]) -> bool:
    """Tell whether the newest WebSocket was open: what failed then is not the configuration."""
    return bool(opened) and getattr(opened[-1], "response", None) is not None


def _abort(connection: Any) -> None:
    """Cut a connection, whatever waits in it; one that has not been made is left alone."""
    transport = getattr(connection, "transport", None)
    if transport is not None:
        transport.abort()


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
