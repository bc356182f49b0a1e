"""Join Stream calls for the assistants of a process: one client, and bounds on what it does."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from getstream import AsyncStream
from getstream.video import rtc

from ..errors import CallError, ConfigError
from ..live import GeminiLive
from ._calls import CallRequest

logger = logging.getLogger("getstream.plugins.gemini")

JOIN_S = 20.0
"""Seconds for the SDK to join a call. It tries again by itself, and takes less than one when all is
well; whoever asked for an assistant does not wait longer than that."""

LEAVE_S = 5.0
"""Seconds for the SDK to leave a call, as `GeminiLive` gives it."""

KEPT_EVENTS = 3000
"""Events that are kept of a call until the assistant is attached to it: 20 s of three people who
speak, in packets of 20 ms, at 2 kB each."""

HELD_EVENTS = frozenset({"audio", "track_added", "track_published", "track_unpublished"})
"""Events that `GeminiLive.attach` listens to and that are not repeated for those who come late."""


def make_client(environment: Mapping[str, str] = os.environ) -> AsyncStream:
    """Make the client that all calls of a process share.

    Raises:
        ConfigError: a key is missing; names it, and says where to get it.
    """
    names = ("STREAM_API_KEY", "STREAM_API_SECRET")
    missing = [name for name in names if not environment.get(name, "").strip()]
    if missing:
        raise ConfigError(
            f"No keys for Stream: set the environment variable{'s' * (len(missing) > 1)} "
            f"{' and '.join(missing)}. Both are on the dashboard of your app: "
            "https://dashboard.getstream.io"
        )
    # base_url=None is what makes the client read STREAM_BASE_URL.
    return AsyncStream(base_url=None)


async def warm_up(client: AsyncStream, user_id: str) -> None:
    """Make a connection object and drop it: the first one of a process loads certificates."""
    await rtc.join(client.video.call("default", "warm-up"), user_id)


class CallEntry:
    """Enters a call and leaves it, as the SDK's own connection does, in bounded time.

    `async with` gives the SDK's connection. `enter_early` enters before that, for an assistant that
    takes a call over while it connects to Gemini: what people say meanwhile is kept, and handed to
    whoever listens first.

    Args:
        client: the client of the process.
        request: the call.
    """

    def __init__(self, client: AsyncStream, request: CallRequest) -> None:
        self._client = client
        self._request = request
        self._connection: Any = None
        self._entering: asyncio.Task[Any] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._held: HeldEvents | None = None

    def enter_early(self) -> None:
        """Begin to enter the call, and to keep what is said in it."""
        if self._entering is None:
            self._entering = asyncio.ensure_future(self._enter(hold=True))
            self._entering.add_done_callback(_retrieve)

    def is_for(self, request: CallRequest) -> bool:
        """Tell whether it enters the call as that user, or has, and has not failed to."""
        entering = self._entering
        failed = entering is not None and entering.done() and self._connection is None
        same = self._request.cid == request.cid and self._request.user_id == request.user_id
        return same and not failed and self._leaving is None

    async def wait_entered(self, timeout_s: float) -> bool:
        """Wait until the call that was entered early is joined; returns whether it is."""
        if self._entering is None:
            return False
        await asyncio.wait([self._entering], timeout=timeout_s)
        return self._connection is not None

    def forget_before(self, kept_s: float) -> None:
        """Forget the audio that was kept, but for the last `kept_s` seconds."""
        if self._held is not None:
            self._held.forget_audio(time.monotonic() - kept_s)

    def release(self) -> None:
        """Keep nothing any more: whoever wanted to listen does."""
        if self._held is not None:
            self._held.release()

    async def __aenter__(self) -> Any:
        if self._entering is None:
            self._entering = asyncio.ensure_future(self._enter(hold=False))
            self._entering.add_done_callback(_retrieve)
        try:
            connection = await asyncio.shield(self._entering)
        except asyncio.CancelledError:
            await self.leave()
            raise
        if self._leaving is not None:
            raise CallError(f"The call {self._request.cid} was left")
        return connection

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Leave the call within `LEAVE_S`, entered or not. Idempotent."""
        if self._leaving is None:
            self._leaving = asyncio.ensure_future(self._leave())
        await asyncio.shield(self._leaving)

    async def _enter(self, *, hold: bool) -> Any:
        request = self._request
        try:
            call = self._client.video.call(request.call_type, request.call_id)
            connection = await rtc.join(
                call, request.user_id, subscription_config=GeminiLive.subscription_config()
            )
            if hold:
                self._held = HeldEvents(connection)
            entering = asyncio.ensure_future(connection.__aenter__())
            entering.add_done_callback(lambda done: self._note_entered(connection, done))
            try:
                await asyncio.wait([entering], timeout=JOIN_S)
            finally:
                # The SDK leaves the call itself where entering it is cancelled; that may hang, too.
                entering.cancel()
            if not entering.done():
                raise TimeoutError(f"no answer within {JOIN_S:g} s")
            entering.result()
        except Exception as error:
            raise CallError(
                f"The call {request.cid} could not be joined ({type(error).__name__}). Do "
                "STREAM_API_KEY and STREAM_API_SECRET belong together, is the call type known to "
                "your app, and is the network up?"
            ) from error
        return connection

    def _note_entered(self, connection: Any, entering: asyncio.Task[Any]) -> None:
        if not entering.cancelled() and entering.exception() is None:
            self._connection = connection

    async def _leave(self) -> None:
        if self._entering is not None and not self._entering.done():
            self._entering.cancel()
            await asyncio.wait([self._entering], timeout=LEAVE_S)
        if self._held is not None:
            self._held.discard()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        leaving = asyncio.ensure_future(connection.leave())
        leaving.add_done_callback(_retrieve)
        await asyncio.wait([leaving], timeout=LEAVE_S)
        if not leaving.done():
            leaving.cancel()
            logger.error("The call %s was not left within %g s", self._request.cid, LEAVE_S)
        elif not leaving.cancelled() and (error := leaving.exception()) is not None:
            logger.error("The call %s could not be left (%s)", self._request.cid, type(error))


class HeldEvents:
    """Keeps the media events of a connection until somebody listens, and then emits them in order.

    Between joining and `attach`, people may begin to speak, and tracks are announced once. The
    connection's `emit` is replaced for that time; the first listener for one of `HELD_EVENTS`
    gets what was kept as soon as whoever adds it waits, when all of its listeners are there.

    Args:
        connection: of the SDK, not entered yet.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._emit = connection.emit
        self._kept: deque[tuple[float, str, tuple[Any, ...]]] = deque()
        self._is_held = True
        connection.emit = self._hold
        connection.on("new_listener", self._on_listener)

    def release(self) -> None:
        """Emit what was kept, and keep nothing any more. Idempotent."""
        if not self._is_held:
            return
        self._stop()
        while self._kept:
            _, event, arguments = self._kept.popleft()
            self._emit(event, *arguments)

    def forget_audio(self, before: float) -> None:
        """Forget the audio that came before a time of the monotonic clock."""
        self._kept = deque(kept for kept in self._kept if kept[1] != "audio" or kept[0] >= before)

    def discard(self) -> None:
        """Forget what was kept, and keep nothing any more. Idempotent."""
        if self._is_held:
            self._stop()
            self._kept.clear()

    def _stop(self) -> None:
        self._is_held = False
        del self._connection.emit  # the method of its class is there again
        self._connection.remove_listener("new_listener", self._on_listener)

    def _on_listener(self, event: str, *_listener: Any) -> None:
        if event in HELD_EVENTS:
            asyncio.get_running_loop().call_soon(self.release)

    def _hold(self, event: str, *arguments: Any, **options: Any) -> Any:
        if event not in HELD_EVENTS or not self._is_held:
            # `getstream` 6 keeps the method that it was given while it was joining.
            return self._emit(event, *arguments, **options)
        if len(self._kept) >= KEPT_EVENTS:
            self._drop_oldest_audio()
        self._kept.append((time.monotonic(), event, arguments))
        return True

    def _drop_oldest_audio(self) -> None:
        for index, (_, event, _) in enumerate(self._kept):
            if event == "audio":
                del self._kept[index]
                return


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at the error of a task, which whoever awaits it gets; maybe nobody does any more."""
    if not task.cancelled():
        task.exception()
