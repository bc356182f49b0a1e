"""One connection to Gemini Live, on the real `google-genai` SDK. Nobody else imports it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import websockets.exceptions
from google import genai
from google.genai import errors as genai_errors
from google.genai import types
from google.genai.live import AsyncSession

from ..errors import (
    AuthError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    GeminiError,
    ModelNotFoundError,
    QuotaError,
    RequestError,
    SessionError,
)

logger = logging.getLogger("getstream.plugins.gemini")

API_VERSION = "v1beta"
"""google-genai 3 dials v1 by default; every report of a working Live session is on v1beta."""

CONNECT_TIMEOUT = 15.0
"""Seconds for the socket and the setup answer; the SDK would wait for the latter without end."""

# At DEBUG, websockets logs the headers of the handshake, and one of them is the key.
_WEBSOCKET_LOGGER = logging.getLogger("getstream.plugins.gemini.websocket")
_WEBSOCKET_LOGGER.setLevel(logging.INFO)

# Arguments of websockets.connect, which HttpOptions.async_client_args hands through.
WEBSOCKET_OPTIONS: dict[str, Any] = {
    "compression": None,  # deflate costs ten times the audio's own send path, and gains little
    "max_size": 16 << 20,  # the default, 1 MiB, kills the call at one large message
    "ping_interval": 20,
    "ping_timeout": 90,  # Google's pongs have been seen 8 to 30 s late; the default of 20 s kills
    "logger": _WEBSOCKET_LOGGER,
    "close_timeout": 2,  # seconds to wait for the service's half of the closing handshake
}

# Messages in a row that the SDK may fail to read before the stream counts as broken.
MAX_UNREADABLE = 20


@dataclass
class ServerMessage:
    """What one message of the service says: every field and every part of it.

    Attributes:
        audio: s16le mono chunks with their sample rates in Hz, in order.
        text: text parts of the model that are not thoughts.
        spoken: delta of the transcript of the model's speech.
        interrupted: the user has interrupted the model; `audio` of the same message is void.
        generation_complete: the model has sent all of its turn.
        turn_complete: the service considers the turn over.
        time_left: the service will end this connection after so long, as it states it, or None.
        tokens: total tokens that the service reports with this message, or None.
    """

    audio: list[tuple[bytes, int]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    spoken: str = ""
    interrupted: bool = False
    generation_complete: bool = False
    turn_complete: bool = False
    time_left: str | None = None
    tokens: int | None = None


class Session:
    """Connects, sends, receives, and turns every failure into an error of this package.

    Args:
        api_key: the key, or None when `client` is given.
        model: the model's name.
        config: a `LiveConnectConfigDict`.
        client: the user's own client; its options are left alone.
    """

    def __init__(
        self,
        *,
        api_key: str | None,
        model: str,
        config: dict[str, Any],
        client: genai.Client | None = None,
    ) -> None:
        self._api_key = api_key
        self._model = model
        self._config = config
        self._client = client
        self._context: AbstractAsyncContextManager[AsyncSession] | None = None
        self._live: AsyncSession | None = None
        self.unreadable = 0

    async def open(self) -> None:
        """Connect and wait for the service to accept the setup.

        Raises:
            ConfigError: the SDK does not accept the configuration.
            SessionError: the service could not be reached, did not answer in `CONNECT_TIMEOUT`,
                or refused the key, the model or the configuration.
        """
        # Building a client loads certificates and builds models: 70 to 150 ms that would
        # otherwise hold the event loop.
        client, config = await asyncio.get_running_loop().run_in_executor(None, self._prepare)
        try:
            context = client.aio.live.connect(model=self._model, config=config)
            self._live = await _enter(context)
        except GeminiError:
            raise
        except websockets.exceptions.InvalidHeader as error:
            # Its text, and so its place in the chain, would show the header: the key.
            raise AuthError(
                f"The key cannot be sent as an HTTP header ({error.name})",
                remedy="Copy it again; a quote or a line break may have come along.",
            ) from None
        except Exception as error:
            raise _connect_error(error, self._model) from error
        self._context = context

    async def receive(self) -> AsyncIterator[ServerMessage]:
        """Yield what the service says until the connection ends, which raises.

        A message that the SDK cannot read (unknown kinds stop its own loop) is counted, logged
        once, and passed over.

        Raises:
            SessionError: the connection is gone.
        """
        live = self._require_live()
        unreadable = 0
        while True:
            try:
                # receive() ends with each turn of the model, not with the connection.
                async for message in live.receive():
                    unreadable = 0
                    yield _read(message)
            except (genai_errors.APIError, websockets.exceptions.ConnectionClosed) as error:
                raise _lost_error(error) from error
            except OSError as error:
                raise _lost_error(error) from error
            except (TypeError, ValueError, AttributeError, KeyError) as error:
                unreadable += 1
                self.unreadable += 1
                if self.unreadable == 1:
                    logger.warning(
                        "Passed over a message of Gemini Live that the SDK cannot read (%s)",
                        type(error).__name__,
                    )
                if unreadable >= MAX_UNREADABLE:
                    raise ConnectionLostError(
                        f"{unreadable} messages of Gemini Live in a row could not be read",
                        retryable=True,
                        remedy="Upgrade google-genai; the service may speak a newer protocol.",
                    ) from error

    async def send_audio(self, pcm: bytes, sample_rate: int) -> None:
        """Send s16le mono audio."""
        blob = types.Blob(data=pcm, mime_type=f"audio/pcm;rate={sample_rate}")
        await self._send(audio=blob)

    async def send_video(self, jpeg: bytes) -> None:
        """Send one picture."""
        await self._send(video=types.Blob(data=jpeg, mime_type="image/jpeg"))

    async def send_text(self, text: str) -> None:
        """Send text that the model answers."""
        await self._send(text=text)

    async def send_activity(self, *, starts: bool) -> None:
        """Tell the service, whose own detection is off, that the user begins or ends to speak."""
        if starts:
            await self._send(activity_start=types.ActivityStart())
        else:
            await self._send(activity_end=types.ActivityEnd())

    async def send_audio_stream_end(self) -> None:
        """Tell the service that no audio comes for a while, so that it ends the user's turn."""
        await self._send(audio_stream_end=True)

    async def close(self) -> None:
        """Close the connection. Idempotent; never raises on a connection that is gone."""
        context, self._context, self._live = self._context, None, None
        if context is None:
            return
        try:
            await context.__aexit__(None, None, None)
        except (genai_errors.APIError, websockets.exceptions.WebSocketException, OSError) as error:
            logger.debug("Closing Gemini Live: %s", type(error).__name__)

    async def _send(self, **message: Any) -> None:
        try:
            await self._require_live().send_realtime_input(**message)
        except (genai_errors.APIError, websockets.exceptions.ConnectionClosed, OSError) as error:
            raise _lost_error(error) from error

    def _require_live(self) -> AsyncSession:
        if self._live is None:
            raise ConnectionLostError(
                "There is no connection to Gemini Live",
                retryable=True,
                remedy="Make a new GeminiLive.",
            )
        return self._live

    def _prepare(self) -> tuple[genai.Client, types.LiveConnectConfig]:
        try:
            config = types.LiveConnectConfig.model_validate(self._config)
        except ValueError as error:  # pydantic's ValidationError is one
            # pydantic's own text, in the chain, would show the values: some are secret.
            raise ConfigError(f"config is not valid: {_options_of(error)}") from None
        if self._client is not None:
            return self._client, config
        options = types.HttpOptions(
            api_version=API_VERSION, async_client_args=dict(WEBSOCKET_OPTIONS)
        )
        try:
            client = genai.Client(api_key=self._api_key, vertexai=False, http_options=options)
        except OSError as error:
            raise ConfigError(
                f"google-genai could not be set up ({type(error).__name__}: {error}); does "
                "SSL_CERT_FILE or SSL_CERT_DIR name something that is not there?"
            ) from error
        return client, config


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


def warm_up() -> None:
    """Build the SDK's lazy models. The first messages cost 30 ms otherwise, on the event loop."""
    # What the SDK itself calls for each message; not public, and not needed for anything else.
    parse = getattr(types.LiveServerMessage, "_from_response", None)
    for message in _WARM_UP_MESSAGES:
        parsed = types.LiveServerMessage.model_validate(message)
        if parse is not None:
            with contextlib.suppress(Exception):  # of another release: then it is only slower
                parse(response=message, kwargs=types.LiveServerMessage().model_dump())
        _read(parsed)
    types.LiveConnectConfig.model_validate({})
    types.LiveClientRealtimeInput(audio=types.Blob(data=b"", mime_type="audio/pcm"))


_WARM_UP_MESSAGES: tuple[dict[str, Any], ...] = (
    {
        "server_content": {
            "model_turn": {"parts": [{"inline_data": {"data": "", "mime_type": "audio/pcm"}}]},
            "output_transcription": {"text": ""},
        }
    },
    {"server_content": {"model_turn": {"parts": [{"text": ""}]}, "generation_complete": True}},
    {
        "server_content": {"turn_complete": True},
        "usage_metadata": {
            "total_token_count": 0,
            "prompt_tokens_details": [{"modality": "AUDIO", "token_count": 0}],
        },
    },
    {"tool_call": {"function_calls": [{"id": "0", "name": "f", "args": {}}]}},
    {"session_resumption_update": {"new_handle": "", "resumable": True}},
)


def _read(message: types.LiveServerMessage) -> ServerMessage:
    result = ServerMessage()
    if message.usage_metadata is not None:
        result.tokens = message.usage_metadata.total_token_count
    if message.go_away is not None:
        result.time_left = message.go_away.time_left or "a short time"
    content = message.server_content
    if content is None:
        return result
    result.interrupted = bool(content.interrupted)
    result.generation_complete = bool(content.generation_complete)
    result.turn_complete = bool(content.turn_complete)
    if content.output_transcription is not None:
        result.spoken = content.output_transcription.text or ""
    parts = content.model_turn.parts if content.model_turn is not None else None
    for part in parts or ():
        blob = part.inline_data
        if blob is not None and blob.data and (blob.mime_type or "").startswith("audio/"):
            result.audio.append((blob.data, _rate_of(blob.mime_type or "")))
        elif part.text and not part.thought:
            result.text.append(part.text)
    return result


def _rate_of(mime_type: str) -> int:
    """The sample rate in `audio/pcm;rate=24000`; 24 kHz, Gemini's rate, when none is stated."""
    for parameter in mime_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip() == "rate" and value.strip().isdigit():
            return int(value)
    return 24000


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


def _close_of(error: BaseException) -> tuple[int | None, str]:
    """The close code and reason behind an error of the SDK or of websockets."""
    if isinstance(error, genai_errors.APIError):
        # The SDK puts the close reason where a response body would be.
        detail = error.message or error.details
        reason = detail if isinstance(detail, str) else json.dumps(detail, default=str)
        return error.code, reason
    if isinstance(error, websockets.exceptions.ConnectionClosed):
        frame = error.rcvd
        return (frame.code, frame.reason) if frame is not None else (1006, "abnormal closure")
    return None, str(error) or type(error).__name__


def _refusal(code: int | None, reason: str, model: str) -> SessionError | None:
    """The typed error of a close whose reason text tells what was wrong."""
    text = reason.lower()
    where: dict[str, Any] = {"code": code, "reason": reason}
    if code in (401, 403) or "api key" in text or "unauthenticated" in text:
        return AuthError(
            f"Gemini refused the key ({code}: {reason})",
            retryable=False,
            remedy="Check GOOGLE_API_KEY: it must be a key of a project with the Gemini API "
            "enabled. Keys: https://aistudio.google.com/apikey",
            **where,
        )
    if "quota" in text or code == 429:
        return QuotaError(
            f"The quota of the Gemini key is used up ({code}: {reason})",
            retryable=True,
            remedy="Wait, close other sessions, or raise the quota of the project.",
            **where,
        )
    if code == 1008 and ("not found" in text or "not supported for bidi" in text):
        return ModelNotFoundError(
            f"Gemini Live has no model {model!r} ({code}: {reason})",
            retryable=False,
            remedy="Choose a current Live model: https://ai.google.dev/gemini-api/docs/live",
            **where,
        )
    if code == 1007:
        return RequestError(
            f"Gemini Live refused the request ({code}: {reason})",
            retryable=False,
            remedy=f"Check that every option of config is one that {model!r} accepts.",
            **where,
        )
    return None


def _connect_error(error: Exception, model: str) -> GeminiError:
    code, reason = _close_of(error)
    if isinstance(error, websockets.exceptions.InvalidStatus):
        code = error.response.status_code
        reason = f"HTTP {code}"
    refusal = _refusal(code, reason, model)
    if refusal is not None:
        return refusal
    if isinstance(error, websockets.exceptions.InvalidURI):
        return ConfigError(
            f"GOOGLE_GEMINI_BASE_URL (or base_url) is not the address of a service: {error.uri!r}"
        )
    if isinstance(error, (genai_errors.APIError, websockets.exceptions.WebSocketException)):
        return ConnectError(
            f"Gemini Live closed the connection before it was set up ({code}: {reason})",
            code=code,
            reason=reason,
            retryable=code != 1008,
            remedy="Try again; if it persists, check the model and the configuration.",
        )
    if isinstance(error, (OSError, EOFError)):
        return ConnectError(
            f"Could not reach Gemini Live ({type(error).__name__}: {reason})",
            reason=reason,
            retryable=True,
            remedy="Check the network, HTTPS_PROXY, SSL_CERT_FILE and GOOGLE_GEMINI_BASE_URL.",
        )
    return ConfigError(f"google-genai could not connect ({type(error).__name__}: {error})")


def _lost_error(error: Exception) -> SessionError:
    code, reason = _close_of(error)
    refusal = _refusal(code, reason, "this model")
    if isinstance(refusal, (QuotaError, RequestError)):
        return refusal
    return ConnectionLostError(
        f"The connection to Gemini Live was lost ({code}: {reason})",
        code=code,
        reason=reason,
        retryable=True,
        remedy="Make a new GeminiLive.",
    )
