"""The local Gemini Live server."""

from __future__ import annotations

import http
import logging
import math
import os
import ssl
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, get_args
from weakref import WeakKeyDictionary

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from ..._beliefs import believed
from ...errors import ConfigError
from .._tls import Authority
from .activity import ActivityOptions
from .faults import Reject, SetupFault
from .log import SessionEndedError, Watch, WireLog
from .options import Outgoing, SessionOptions
from .replies import Parrot, ReplyPolicy, UserTurn, require_policy
from .resumption import SharedState
from .session import LiveSession
from .tokens import EphemeralToken, TokenState
from .tools import ToolCallRecord, ToolResponseRecord, ToolViolation
from .variants import (
    Chunk,
    InterruptionOptions,
    Quirk,
    ResumptionOptions,
    check_names,
)
from .wire import Credentials, Endpoint, Message, RefusalError, credentials, endpoint

__all__ = ["LocalGemini"]

_HOST = "127.0.0.1"

# At DEBUG, websockets logs the request line and the headers of each handshake: the client's key.
_WEBSOCKET_LOGGER = logging.getLogger("getstream.plugins.gemini.testing.websocket")
_WEBSOCKET_LOGGER.setLevel(logging.INFO)

_CLOSE_TIMEOUT_S = 2.0  # for a client that does not answer a close frame
_MAX_MESSAGE_BYTES = 16 << 20
_CHUNK_MS: float = believed("chunk_size")
_SPEED: float = believed("pace")
_UNREGISTERED = (
    "Method doesn't allow unregistered callers (callers without established identity). "
    "Please use API Key or other form of API credentials to call this API.\n"
)
_NOT_RUNNING = "LocalGemini is not running; use `async with LocalGemini() as server`"
_INVALID_KEY_CODE, _INVALID_KEY = believed("key_refused")


class _Admission(NamedTuple):
    """Decision of the WebSocket handshake about a connection."""

    endpoint: Endpoint
    fault: SetupFault | None
    refusal: RefusalError | None
    token: TokenState | None


class LocalGemini:
    """A Gemini Live server on a free loopback port, true to the wire.

    It speaks TLS WebSocket as the service does, so SDKs and programs run against it unchanged::

        async with LocalGemini(Parrot()) as server:
            client = genai.Client(
                api_key=server.api_key,
                http_options=types.HttpOptions(
                    base_url=server.url,
                    api_version="v1beta",
                    async_client_args={"ssl": server.client_context()},
                ),
            )
            async with client.aio.live.connect(model="gemini-3.8-live", config=config) as session:
                await session.send_realtime_input(text="Hello")
                async for message in session.receive():
                    ...
            print(server.sessions[0].spoken)

    A client has to read: one that does not (websockets queues 16 messages) sees no close frame, and
    leaves only after its own timeout of 10 s.

    A program in another process gets `server.env` instead. The server lives on the event loop that
    enters it and is driven from that loop's thread. It shares the loop with the client well enough
    for tests of behaviour; for measurements of time give it a process of its own.

    Detection of speech, interruption, transcription, usage, resumption and the refusals follow the
    service as far as its behaviour is documented. There is no model: `reply` says what is said.

    Leaving the block closes every connection with 1001 and leaves no task behind. It raises the
    first exception that a reply policy or `on_send` raised, unless the block raises one itself.

    Where the service is reported to behave now in one way, now in another, the default is what it
    is believed to do (`BELIEFS`), and an option or a field of `Turn` has the rest.

    Args:
        reply: What the model says.
        port: TCP port; 0 takes a free one.
        chunk_ms: Audio in one part of a message, in milliseconds.
        speed: How much faster than real time a reply is sent; `math.inf` sends it at once.
        chunks: A pace instead of `chunk_ms` and `speed`: each message with audio and the pause
            after it; the last one repeats to the end of the turn. `IRREGULAR_CHUNKS` is from logs.
        parts_per_message: Audio parts in one message.
        bundle_fields: True puts a transcription delta into the message of its audio; False into a
            message of its own after it.
        turn_complete_after: `generation` sends `turnComplete` when everything was sent;
            `playback` only when the audio would have been played in real time, and interrupts until
            then.
        interaction_status_in: Where extended thinking tells its `interactionStatus`: in the
            `serverContent` (`content`), at the top level of the message (`message`), as Google's
            pages show both, or in `both`.
        transcripts: `in_time` sends the transcript of the user before the answer, and that of the
            answer beside its audio; `late` sends the one after the answer's first audio, and the
            last word of the other after `turnComplete`.
        activity: Detection of speech where the session's setup does not say otherwise.
        announced_end_s: Seconds after which each connection ends, which `goAway` announces as soon
            as it is set up: 300 was seen with `gemini-3.8-live`. None announces nothing.
        api_key: The key in `env`.
        accepted_keys: Keys and tokens that are accepted; None accepts all but `refused_keys`.
        refused_keys: Keys and tokens that are refused.
        refused_key_code: Close code for a refused key. Reports of the real service also have 1007
            with the same text, so a client should go by the text.
        tokens: Ephemeral tokens that are accepted within their limits. They start to age when the
            server starts.
        repeats_empty_calls: How often a model of 3.8 calls a function again whose result says
            nothing, as it is reported to do two to five times; 0 takes every result.
        models: Names of models that exist beside the service's own (without `models/`); they have
            no restrictions and may answer in text.
        transcribe: Makes the transcript of the user's speech; the default describes it.
        setup_fault: What goes wrong with every connection; `fail_next` is for some of them.
        on_send: Sees every outgoing message before it leaves and returns what is sent instead: the
            same, none, several, altered ones, or raw payloads (str, bytes).
        log_file: Writes the wire to this file, a JSON object per line: `t` (`time.monotonic()`),
            `session`, `direction` (`in`, `out`, `end`), `message`, with the length and SHA-256 of
            media instead of the payload.
        log_payloads: True writes media to the log in full, as base64.
        record_bytes: Memory for what the client of one session sent, and again for what the model
            said; the oldest is dropped beyond it. The default, 64 MiB, holds seven minutes of
            audio at 48 kHz in frames of 20 ms.
        keep_sessions: Sessions that are kept in `sessions`; the oldest are forgotten beyond it.
        authority: Certificates to share with another server; by default the server makes its own
            and removes them when it is closed.
    """

    def __init__(
        self,
        reply: ReplyPolicy | None = None,
        *,
        port: int = 0,
        chunk_ms: float = _CHUNK_MS,
        speed: float = _SPEED,
        chunks: Sequence[Chunk] | None = None,
        parts_per_message: int = 1,
        bundle_fields: bool = False,
        turn_complete_after: Literal["generation", "playback"] = believed("turn_complete_time"),
        interaction_status_in: Literal["content", "message", "both"] = believed(
            "interaction_status_place"
        ),
        transcripts: Literal["in_time", "late"] = believed("output_transcript_in_time"),
        activity: ActivityOptions | None = None,
        announced_end_s: float | None = believed("early_go_away"),
        resumption: ResumptionOptions | None = None,
        interruption: InterruptionOptions | None = None,
        quirks: Collection[Quirk] = (),
        pong_delay_s: float = believed("pong_delay"),
        versions: Collection[str] | None = None,
        deflate: bool = believed("deflate"),
        api_key: str = "local-gemini-key",
        accepted_keys: Collection[str] | None = None,
        refused_keys: Collection[str] = (),
        refused_key_code: int = _INVALID_KEY_CODE,
        tokens: Collection[EphemeralToken] = (),
        repeats_empty_calls: int = believed("empty_results"),
        models: Collection[str] = (),
        transcribe: Callable[[UserTurn], str] | None = None,
        setup_fault: SetupFault | None = None,
        on_send: Callable[[LiveSession, Message], Iterable[Outgoing]] | None = None,
        log_file: str | os.PathLike[str] | None = None,
        log_payloads: bool = False,
        record_bytes: int = 64 << 20,
        keep_sessions: int = 64,
        authority: Authority | None = None,
    ) -> None:
        if chunk_ms <= 0 or speed <= 0 or parts_per_message < 1 or keep_sessions < 1:
            raise ConfigError(
                "LocalGemini needs chunk_ms > 0, speed > 0 and parts_per_message >= 1"
            )
        _check_choice("turn_complete_after", turn_complete_after, ("generation", "playback"))
        _check_choice(
            "interaction_status_in", interaction_status_in, ("content", "message", "both")
        )
        _check_choice("transcripts", transcripts, ("in_time", "late"))
        check_names("LocalGemini(quirks=)", quirks, get_args(Quirk))
        if transcripts == "late" and bundle_fields:
            raise ConfigError("transcripts='late' is not beside audio: leave bundle_fields out")
        if not 0 <= pong_delay_s < math.inf:
            raise ConfigError(f"pong_delay_s is {pong_delay_s!r}; it is a time >= 0")
        if announced_end_s is not None and not 0 < announced_end_s < math.inf:
            raise ConfigError(f"announced_end_s is {announced_end_s!r}; it is a time > 0, or None")
        if chunks is not None:
            if not chunks:
                raise ConfigError("chunks is empty; None sends chunk_ms at speed")
            if (chunk_ms, speed, parts_per_message) != (_CHUNK_MS, _SPEED, 1):
                raise ConfigError(
                    "chunks is a whole pace: leave chunk_ms, speed and parts_per_message out"
                )
        if isinstance(repeats_empty_calls, bool) or not isinstance(repeats_empty_calls, int):
            raise ConfigError(f"repeats_empty_calls is a number, not {repeats_empty_calls!r}")
        names = [token.name for token in tokens]
        if len(set(names)) < len(names):
            raise ConfigError("tokens holds one token twice")
        if any(name in refused_keys or name in (accepted_keys or ()) for name in names):
            raise ConfigError(
                "a token of `tokens` is in accepted_keys or refused_keys, too: its own limits say "
                "whether it is accepted"
            )
        if reply is not None:
            require_policy(reply, "LocalGemini(reply=)")
        self.api_key = api_key
        self._reply: ReplyPolicy = Parrot() if reply is None else reply
        self._port = port
        self._options = SessionOptions(
            chunk_ms=chunk_ms,
            speed=speed,
            chunks=tuple(chunks or ()),
            parts_per_message=parts_per_message,
            bundle_fields=bundle_fields,
            turn_complete_after=turn_complete_after,
            interaction_status_in=interaction_status_in,
            transcripts=transcripts,
            activity=activity or ActivityOptions(),
            resumption=resumption or ResumptionOptions(),
            interruption=interruption or InterruptionOptions(),
            quirks=frozenset(quirks),
            pong_delay_s=pong_delay_s,
            announced_end_s=announced_end_s,
            repeats_empty_calls=repeats_empty_calls,
            models=frozenset(models),
            transcribe=transcribe or _describe,
            on_send=on_send,
            record_bytes=record_bytes,
        )
        self._accepted_keys = None if accepted_keys is None else frozenset(accepted_keys)
        self._refused_keys = frozenset(refused_keys)
        self._refused_key_code = refused_key_code
        self._tokens = tuple(tokens)
        self._token_states: dict[str, TokenState] = {}
        self._versions = None if versions is None else frozenset(versions)
        self._compression = "deflate" if deflate else None
        self._setup_fault = setup_fault
        self._next_faults: deque[SetupFault] = deque()
        self._log_file = None if log_file is None else Path(log_file)
        self._log_payloads = log_payloads
        self._log: WireLog | None = None
        self._given_authority = authority
        self._authority: Authority | None = None
        self._server: Server | None = None
        self._sessions: deque[LiveSession] = deque(maxlen=keep_sessions)
        self._session_count = 0
        self._shared = SharedState()
        self._watch = Watch()
        self._admitted: WeakKeyDictionary[ServerConnection, _Admission] = WeakKeyDictionary()

    # Where it is

    @property
    def port(self) -> int:
        """The TCP port."""
        if self._server is None:
            raise ConfigError(_NOT_RUNNING)
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The base URL for clients, `https://127.0.0.1:PORT`."""
        return f"https://{_HOST}:{self.port}"

    @property
    def ca_file(self) -> Path:
        """PEM file of the authority that a client has to trust; gone when the server is closed."""
        if self._authority is None:
            raise ConfigError(_NOT_RUNNING)
        return self._authority.ca_file

    @property
    def env(self) -> dict[str, str]:
        """Variables with which an unchanged program talks to this server.

        `SSL_CERT_FILE` replaces the default store of Python's `ssl`: such a program trusts this
        server and no other one.
        """
        return {
            "GOOGLE_GEMINI_BASE_URL": self.url,
            "SSL_CERT_FILE": str(self.ca_file),
            "GOOGLE_API_KEY": self.api_key,
        }

    def client_context(self) -> ssl.SSLContext:
        """A TLS context that trusts this server."""
        if self._authority is None:
            raise ConfigError(_NOT_RUNNING)
        return self._authority.client_context()

    # What happened, and what shall happen

    @property
    def sessions(self) -> list[LiveSession]:
        """Connections that passed the WebSocket handshake, oldest first; the newest are kept."""
        return list(self._sessions)

    @property
    def tool_calls(self) -> list[ToolCallRecord]:
        """Calls of functions that the models of all sessions have made, oldest first."""
        return list(self._shared.tools.calls)

    @property
    def tool_responses(self) -> list[ToolResponseRecord]:
        """Answers that clients have sent to them, in the order of arrival."""
        return list(self._shared.tools.responses)

    @property
    def tool_violations(self) -> list[ToolViolation]:
        """Return the faults of those answers: unknown ids, missing ones, and the like."""
        return self._shared.tools.violations

    async def wait_tool_calls(self, count: int = 1, timeout: float = 10.0) -> list[ToolCallRecord]:
        """Waits until the models have made `count` calls of functions.

        Raises:
            TimeoutError: They did not, within `timeout` seconds.
        """

        def condition() -> list[ToolCallRecord] | None:
            return self.tool_calls if len(self._shared.tools.calls) >= count else None

        return await self._watch.until(condition, f"{count} calls of functions", timeout)

    async def wait_tool_responses(
        self, count: int = 1, timeout: float = 10.0
    ) -> list[ToolResponseRecord]:
        """Waits until clients have sent `count` answers to calls of functions.

        Raises:
            TimeoutError: They did not, within `timeout` seconds.
        """

        def condition() -> list[ToolResponseRecord] | None:
            return self.tool_responses if len(self._shared.tools.responses) >= count else None

        return await self._watch.until(condition, f"{count} answers to functions", timeout)

    def fail_next(self, fault: SetupFault, times: int = 1) -> None:
        """The next connections fail; they come before `setup_fault`, and add up."""
        self._next_faults.extend([fault] * times)

    def clear_faults(self) -> None:
        """The next connections succeed again: forgets what `fail_next` has left."""
        self._next_faults.clear()

    def drop(self, code: int = 1006, reason: str = "") -> int:
        """Ends every open connection now, from the side of the service.

        Args:
            code: 1006 resets the TCP connections without a close frame, as a lost network does;
                1000 to 1003, 1007 to 1014 and 3000 to 4999 are sent as close frames.
            reason: Text of the close frame.

        Returns:
            The number of connections that were ended.

        Raises:
            ConfigError: No connection is open, or the code cannot be sent.
        """
        if code != CloseCode.ABNORMAL_CLOSURE and not _can_be_sent(code):
            raise ConfigError(
                f"close code {code} cannot be sent: take 1006 for a lost network, 1000 to 1003, "
                "1007 to 1014, or 3000 to 4999"
            )
        open_sessions = [session for session in self._sessions if session.state != "closed"]
        if not open_sessions:
            raise ConfigError(
                "there is no open connection to drop; `await wait_session()` waits for one"
            )
        for session in open_sessions:
            session.drop(code, reason)
        return len(open_sessions)

    def expire_token(self, name: str) -> None:
        """Ends one of `tokens` now, and with it the sessions that it has opened.

        Raises:
            ConfigError: The server is not running, or there is no such token.
        """
        if name not in self._token_states:
            raise ConfigError(_NOT_RUNNING if self._server is None else "there is no such token")
        self._token_states[name].expire()

    async def wait_session(
        self, index: int = 0, *, ready: bool = True, timeout: float = 10.0
    ) -> LiveSession:
        """Waits for the connection number `index`, counted from 0.

        Args:
            index: Its place in `sessions`.
            ready: True waits until its setup is complete, False only for the handshake.
            timeout: Seconds.

        Raises:
            TimeoutError: It did not come.
            SessionEndedError: It was closed before its setup was complete.
            LookupError: It is no longer among the `keep_sessions` newest.
        """

        def condition() -> LiveSession | None:
            if self._session_count <= index:
                return None
            oldest = self._session_count - len(self._sessions)
            if index < oldest:
                raise LookupError(f"session {index} is forgotten; raise keep_sessions")
            session = self._sessions[index - oldest]
            if ready and session.state == "closed" and not session.setup:
                raise SessionEndedError(
                    f"{session!r} ended ({session.close_code} {session.close_text}) in its setup"
                )
            return session if not ready or session.state != "setup" else None

        return await self._watch.until(condition, f"session {index}", timeout)

    # Its life

    async def __aenter__(self) -> LocalGemini:
        if self._server is not None:
            raise ConfigError("LocalGemini is running already")
        self._authority = self._given_authority or Authority()
        self._token_states = {token.name: TokenState(token) for token in self._tokens}
        try:
            if self._log_file is not None:
                self._log = WireLog(self._log_file, payloads=self._log_payloads)
            self._server = await serve(
                self._handle,
                _HOST,
                self._port,
                ssl=self._authority.server_context(),
                process_request=self._admit,
                compression=self._compression,
                max_size=_MAX_MESSAGE_BYTES,
                ping_interval=None,
                close_timeout=_CLOSE_TIMEOUT_S,
                logger=_WEBSOCKET_LOGGER,
            )
        except BaseException:
            self._release()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        for session in self._sessions:
            session.release()
        try:
            self._server.close()
            await self._server.wait_closed()
        finally:
            self._server = None
            self._release()
        if exc is None and self._shared.errors:
            raise self._shared.errors[0]

    def _release(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._authority is not None and self._given_authority is None:
            self._authority.close()
        self._authority = None

    # Connections

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answers the WebSocket upgrade: None lets it pass."""
        where = endpoint(request.path)
        if where is None or not self._serves(where):
            return connection.respond(http.HTTPStatus.NOT_FOUND, "Not Found\n")
        who = credentials(request.path, request.headers)
        if who is None or (where.constrained and who.kind != "token"):
            return connection.respond(http.HTTPStatus.FORBIDDEN, _UNREGISTERED)
        fault = self._next_faults.popleft() if self._next_faults else self._setup_fault
        if isinstance(fault, Reject):
            return connection.respond(http.HTTPStatus(fault.status), fault.body)
        token = self._token_states.get(who.secret)
        accepted = token is not None or self._accepts(who)
        refusal = None if accepted else RefusalError(self._refused_key_code, _INVALID_KEY)
        self._admitted[connection] = _Admission(where, fault, refusal, token)
        return None

    def _serves(self, where: Endpoint) -> bool:
        return self._versions is None or where.vertex or where.version in self._versions

    def _accepts(self, who: Credentials) -> bool:
        if who.secret in self._refused_keys:
            return False
        return self._accepted_keys is None or who.secret in self._accepted_keys

    async def _handle(self, connection: ServerConnection) -> None:
        admission = self._admitted.pop(connection)
        session = LiveSession(
            self._session_count,
            connection,
            admission.endpoint,
            self._options,
            self._reply,
            self._shared,
            self._log,
            self._watch.notify,
        )
        self._sessions.append(session)
        self._session_count += 1
        self._watch.notify()
        await session.run(admission.fault, admission.refusal, admission.token)


def _can_be_sent(code: int) -> bool:
    """Return whether RFC 6455, section 7.4, lets an endpoint send a close code."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def _check_choice(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{option} is {value!r}; it is one of {', '.join(map(repr, known))}")


def _describe(turn: UserTurn) -> str:
    return f"[{turn.audio.size / turn.rate:.1f} seconds of speech]"
