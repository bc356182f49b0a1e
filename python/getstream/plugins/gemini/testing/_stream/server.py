"""`LocalStream`: a Stream video backend on loopback, for tests, demos and benchmarks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Literal

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from getstream.video.rtc.pb.stream.video.sfu.event import events_pb2 as events
from getstream.video.rtc.pb.stream.video.sfu.models import models_pb2 as models

from . import control, redirect
from .auth import Credentials
from .coordinator import Coordinator
from .ice import IceLite
from .network import Network
from .participant import Participant, Services
from .sfu import Sfu
from .state import ParticipantState, StreamState
from .tracks import KINDS

__all__ = ["LocalStream"]

_HOST = "127.0.0.1"
_SHUTDOWN_TIMEOUT = 2.0
_MAX_BODY = 64 << 20
_DIRECTIONS = ("from", "to")


class _WithoutRequest(logging.Filter):
    """Keeps what clients send out of the log: aiohttp quotes the bytes that it cannot parse."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace a traceback that quotes a request by the kind of the error."""
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, HttpProcessingError):
            record.msg, record.args = f"{record.getMessage()}: {type(error).__name__}", ()
            record.exc_info = record.exc_text = None
        return True


_HTTP_LOGGER = logging.getLogger("getstream.plugins.gemini.testing.http")
_HTTP_LOGGER.addFilter(_WithoutRequest())

ReconnectStrategy = Literal["disconnect", "fast", "rejoin", "migrate"]
_STRATEGIES: dict[str, models.WebsocketReconnectStrategy.ValueType] = {
    "disconnect": models.WEBSOCKET_RECONNECT_STRATEGY_DISCONNECT,
    "fast": models.WEBSOCKET_RECONNECT_STRATEGY_FAST,
    "rejoin": models.WEBSOCKET_RECONNECT_STRATEGY_REJOIN,
    "migrate": models.WEBSOCKET_RECONNECT_STRATEGY_MIGRATE,
}


class LocalStream:
    """A Stream video backend on 127.0.0.1 that the real SDKs talk to.

    One TCP port serves the coordinator (REST and WebSocket) and the SFU (WebSocket and Twirp), one
    UDP port ICE, STUN and DTLS-SRTP. Media is forwarded packet by packet and never transcoded::

        async with LocalStream() as stream:
            program = await asyncio.create_subprocess_exec(
                sys.executable, "main.py", env={**os.environ, **stream.env}
            )
            await stream.wait_track("assistant", "audio")

    Works with getstream 7 and 6.1. Audio passes between them; video does not, because 7 publishes
    and decodes VP9 and VP8 and 6 publishes H264 only. Not there: simulcast, bandwidth estimation,
    recording, chat, permissions and TURN.

    Users are named by `user_id`; a fault applies to all their sessions. Every control is also
    there over HTTP (`POST /_local/...`, see `control_token`), for a server that runs in another
    process.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        api_secret: str | None = None,
        video_codec: Literal["vp9", "vp8", "h264"] | None = None,
        stun: bool = True,
        seed: int = 0,
    ) -> None:
        """Create a backend; it listens after `start`, or inside `async with`.

        Args:
            api_key: The API key; random unless given.
            api_secret: The API secret, 32 bytes or more; random unless given.
            video_codec: What everybody is told to publish. None, the default, chooses for each
                participant what its SDK can encode: VP9 for getstream 7, H264 for 6.
            stun: Offer the UDP port as a STUN server too. getstream 7 needs it on a machine that
                has nothing but a loopback interface.
            seed: Mixed into the seed of each `Network`.

        Raises:
            ValueError: A key, a secret or a codec cannot be used.
        """
        if video_codec not in (None, "vp9", "vp8", "h264"):
            raise ValueError(f"video_codec is {video_codec!r}; it is vp9, vp8, h264 or None")
        self._credentials = Credentials(api_key, api_secret)
        self._stun = stun
        self._seed = seed
        self._port = 0
        self._control_token = secrets.token_urlsafe(32)  # 256 bits
        self._services = Services(IceLite())
        self._coordinator = Coordinator(self._credentials, self._services.changed)
        self._sfu = Sfu(
            self._services, self._credentials, self._coordinator.call, self._on_join, video_codec
        )
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._levels: asyncio.Task[None] | None = None
        # By user id: faults that also apply to the sessions that are still to come.
        self._blackholed: set[str] = set()
        self._networks: dict[tuple[str, str], Network] = {}

    # -- life ---------------------------------------------------------------

    async def start(self) -> None:
        """Bind the ports and serve. Raises RuntimeError if it has been started before."""
        if self._runner is not None:
            raise RuntimeError("this LocalStream has been started before; make a new one")
        await self._services.ice.open(_HOST)
        listener = socket.create_server((_HOST, 0))
        self._port = listener.getsockname()[1]
        stun = "{}:{}".format(*self._services.ice.address) if self._stun else None
        self._coordinator.configure(f"{_HOST}:{self._port}", stun)
        app = web.Application(middlewares=[self._coordinator.middleware], client_max_size=_MAX_BODY)
        app.add_routes([*self._coordinator.routes(), *self._sfu.routes(), *control.routes(self)])
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_HTTP_LOGGER,
            shutdown_timeout=_SHUTDOWN_TIMEOUT,
            handle_signals=False,
        )
        await self._runner.setup()
        self._site = web.SockSite(self._runner, listener)
        await self._site.start()
        self._levels = asyncio.create_task(
            self._sfu.report_levels(lambda: list(self._coordinator.calls.values())),
            name="stream-audio-levels",
        )

    async def aclose(self) -> None:
        """Close all connections and both ports. May be called twice."""
        if self._levels is not None:
            self._levels.cancel()
            await asyncio.wait([self._levels])
            self._levels = None
        if self._site is not None:
            await self._site.stop()  # first: a client that loses its socket connects again
            self._site = None
        await self._sfu.close()
        await self._coordinator.close()
        if self._runner is not None:
            await self._runner.cleanup()
        self._services.ice.close()

    async def __aenter__(self) -> LocalStream:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    # -- how to reach it ----------------------------------------------------

    @property
    def url(self) -> str:
        """The REST address, for `base_url` and STREAM_BASE_URL."""
        return f"http://{_HOST}:{self._require_port()}"

    @property
    def ws_url(self) -> str:
        """The address of the coordinator's WebSocket."""
        return f"ws://{_HOST}:{self._require_port()}/api/v2/connect"

    @property
    def api_key(self) -> str:
        """The API key."""
        return self._credentials.api_key

    @property
    def api_secret(self) -> str:
        """The API secret."""
        return self._credentials.api_secret

    @property
    def control_token(self) -> str:
        """The token of `POST /_local/...`, in the header `Authorization: Bearer <token>`."""
        return self._control_token

    @property
    def hosts(self) -> tuple[str, ...]:
        """The `Host` headers under which the controls are reached."""
        return tuple(f"{name}:{self._require_port()}" for name in (_HOST, "localhost"))

    @property
    def env(self) -> dict[str, str]:
        """Variables with which an unchanged Python program talks to this backend.

        Add them to the environment of the program: `{**os.environ, **stream.env}`. PYTHONPATH
        holds what this process has there too; it makes a `sitecustomize` of the test kit lead the
        coordinator's WebSocket here, for which getstream has no variable. It has no effect on a
        program that is run with `python -I`, `-E` or `-S`, and a program must build its client
        with `Stream.from_env()`: `Stream()` does not read STREAM_BASE_URL.
        """
        return redirect.child_environment(*self._address, os.environ)

    @contextlib.contextmanager
    def redirected(self) -> Iterator[None]:
        """Lead the Stream SDK of this process here: `with stream.redirected(): ...`.

        Sets the variables of `env` but PYTHONPATH, and redirects the SDK's coordinator socket.
        When the block ends everything is as before. Blocks of several backends may be nested.
        """
        with redirect.redirected(*self._address):
            yield

    # -- what is going on ---------------------------------------------------

    def state(self) -> StreamState:
        """Calls, participants, tracks and packet counts at this moment."""
        return StreamState.of(self._coordinator.calls.values(), self._coordinator.requests)

    async def wait_for(
        self, condition: Callable[[StreamState], bool], *, timeout: float = 10.0, what: str = "it"
    ) -> StreamState:
        """Wait until `condition` holds for the state, and return that state.

        It is looked at when somebody joins or leaves, when a track, a subscription or a connection
        changes, and at the first packet of a track; not at every packet.

        Raises:
            TimeoutError: It did not hold within `timeout` seconds; says `what` and the state.
        """

        def look() -> StreamState | None:
            state = self.state()
            return state if condition(state) else None

        return await self._services.changes.until(
            look, timeout=timeout, what=what, hint=lambda: str(self.state())
        )

    async def wait_participant(self, user_id: str, *, timeout: float = 10.0) -> ParticipantState:
        """Wait until a user is in a call, and return its state.

        Raises:
            TimeoutError: The user did not join within `timeout` seconds.
        """
        state = await self.wait_for(
            lambda state: any(p.user_id == user_id for p in state.participants),
            timeout=timeout,
            what=f"the join of {user_id!r}",
        )
        return next(p for p in state.participants if p.user_id == user_id)

    async def wait_track(
        self, user_id: str, kind: str, *, timeout: float = 10.0
    ) -> ParticipantState:
        """Wait until a user publishes a track and its first packet has arrived.

        Args:
            user_id: The user.
            kind: "audio", "video", "screen_share" or "screen_share_audio".
            timeout: Seconds to wait.

        Raises:
            ValueError: There is no such kind.
            TimeoutError: Nothing arrived in time.
        """
        _require_kind(kind)

        def found(state: StreamState) -> list[ParticipantState]:
            return [
                p
                for p in state.participants
                if p.user_id == user_id
                for t in p.published
                if t.kind == kind and not t.muted and t.packets
            ]

        state = await self.wait_for(
            lambda state: bool(found(state)),
            timeout=timeout,
            what=f"{kind} of {user_id!r}",
        )
        return found(state)[0]

    async def wait_left(self, user_id: str, *, timeout: float = 15.0) -> None:
        """Wait until a user is in no call. A client that just vanished is kept for 10 s.

        Raises:
            TimeoutError: The user is still there after `timeout` seconds.
        """
        await self.wait_for(
            lambda state: all(p.user_id != user_id for p in state.participants),
            timeout=timeout,
            what=f"the leave of {user_id!r}",
        )

    # -- faults -------------------------------------------------------------
    # Each raises LookupError if the user is in no call.

    async def drop_sfu_socket(
        self, user_id: str, how: Literal["abort", "clean", "forget"] = "abort"
    ) -> None:
        """Close the signalling socket of a user; media goes on.

        Args:
            user_id: The user.
            how: "abort" resets the TCP connection, "clean" closes with a close frame (the SDK
                reconnects fast, into the same session), "forget" aborts and ends the session, so
                that a fast reconnect is impossible.
        """
        if how not in ("abort", "clean", "forget"):
            raise ValueError(f"how is {how!r}; it is abort, clean or forget")
        for participant in self._participants(user_id):
            outbox = participant.outbox
            if how == "forget":
                self._sfu.leave(participant)
            if outbox is None:
                continue
            if how == "clean":
                await outbox.socket.close()
            else:
                outbox.abort()

    async def drop_coordinator(self, user_id: str) -> None:
        """Close the coordinator socket of a user; the SDK rejoins."""
        if not await self._coordinator.drop_connections(user_id):
            raise LookupError(f"{user_id!r} has no coordinator socket")

    def blackhole(self, user_id: str, sticky: bool = False) -> None:
        """Drop all UDP of a user, both ways, until `heal`.

        Args:
            user_id: The user.
            sticky: Also in sessions that begin later, so that a rejoin does not help.
        """
        participants = self._participants(user_id)
        if sticky:
            self._blackholed.add(user_id)
        for participant in participants:
            _set_blackhole(participant, True)

    def heal(self, user_id: str) -> None:
        """End `blackhole` and `impair` of a user, in both directions."""
        self._blackholed.discard(user_id)
        for direction in _DIRECTIONS:
            self._networks.pop((user_id, direction), None)
        for participant in self._participants(user_id):
            _set_blackhole(participant, False)
            self._apply_networks(participant)

    def impair(
        self,
        user_id: str,
        network: Network | None = None,
        *,
        direction: Literal["to", "from", "both"] = "to",
        **conditions: Any,
    ) -> None:
        """Give a user a bad network, now and in later sessions, until `heal`.

        `impair("anna", Network(jitter_ms=60), direction="from")` and
        `impair("anna", jitter_ms=60, direction="from")` are the same. The conditions replace those
        of the same direction and start anew; the other direction keeps what it has.

        Args:
            user_id: The user.
            network: The conditions.
            direction: "to" the user (what it hears of everybody), "from" it (what everybody hears
                of it), or both.
            conditions: The fields of `Network`, instead of one.

        Raises:
            ValueError: `Network` refuses a value, or there is no such direction.
            TypeError: `Network` has no such field, or there are both a network and conditions.
        """
        if network is not None and conditions:
            raise TypeError("impair takes a Network or its fields, not both")
        if network is None:
            network = Network(**conditions)
        if direction not in (*_DIRECTIONS, "both"):
            raise ValueError(f"direction is {direction!r}; it is to, from or both")
        directions = _DIRECTIONS if direction == "both" else (direction,)
        participants = self._participants(user_id)
        for each in directions:
            self._networks[user_id, each] = network
        for participant in participants:
            self._apply_networks(participant, directions)

    def error(self, user_id: str, strategy: ReconnectStrategy = "rejoin") -> None:
        """Send an SFU error that tells the client how to reconnect, or ("disconnect") not to."""
        if strategy not in _STRATEGIES:
            raise ValueError(f"strategy is {strategy!r}; it is one of {', '.join(_STRATEGIES)}")
        cause = models.Error(
            code=models.ERROR_CODE_INTERNAL_SERVER_ERROR, message="asked for by the test"
        )
        for participant in self._participants(user_id):
            participant.send(
                error=events.Error(error=cause, reconnect_strategy=_STRATEGIES[strategy])
            )

    def go_away(self, user_id: str) -> None:
        """Tell a client to move to another SFU (which is this one again)."""
        for participant in self._participants(user_id):
            participant.send(go_away=events.GoAway(reason=models.GO_AWAY_REASON_REBALANCE))

    async def end_call(self, call_id: str, call_type: str = "default") -> None:
        """End a call for everybody in it. Raises LookupError if there is no such call."""
        cid = f"{call_type}:{call_id}"
        if cid not in self._coordinator.calls:
            raise LookupError(f"there is no call {cid}; {self.state()}")
        await self._coordinator.end(self._coordinator.calls[cid])

    # -- inside -------------------------------------------------------------

    @property
    def _address(self) -> tuple[str, str, str, str, str]:
        return (self.url, self.ws_url, self.api_key, self.api_secret, self._control_token)

    def _require_port(self) -> int:
        if not self._port:
            raise RuntimeError("LocalStream is not started: use `async with LocalStream() as ...`")
        return self._port

    def _participants(self, user_id: str) -> list[Participant]:
        found = [
            participant
            for call in self._coordinator.calls.values()
            for participant in call.participants.values()
            if participant.user_id == user_id
        ]
        if not found:
            raise LookupError(f"{user_id!r} is in no call; {self.state()}")
        return found

    def _on_join(self, participant: Participant) -> None:
        if participant.user_id in self._blackholed:
            _set_blackhole(participant, True)
        self._apply_networks(participant)

    def _apply_networks(
        self, participant: Participant, directions: Iterable[str] = _DIRECTIONS
    ) -> None:
        """Give the links of a session the networks of its user; they start anew."""
        for direction in directions:
            network = self._networks.get((participant.user_id, direction))
            key = f"{self._seed}:{participant.user_id}:{direction}"
            participant.links[direction].set(network, key)


def _require_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; it is one of {', '.join(KINDS)}")


def _set_blackhole(participant: Participant, on: bool) -> None:
    participant.publisher.peer.ice.blackhole = on
    participant.subscriber.peer.ice.blackhole = on
