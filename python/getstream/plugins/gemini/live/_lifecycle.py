"""The life of a session: one state with one setter, one task that does the work, and one end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any

from ..errors import ClosedError, ConfigError, ConnectError, GeminiError

logger = logging.getLogger("getstream.plugins.gemini")

STOP_S = 0.5
"""Seconds that the work has to end when it is cancelled: its sockets are cut, so that it takes
none. One that ignores its cancellation is left, and logged."""

CLOSE_S = 3.5
"""Seconds that `Lifecycle.close` waits, at most. Stopping the work and winding up are bounded, and
take 3 s together."""


class Life(Enum):
    """Names where a session can be in its life."""

    NEW = "not used yet"
    CONNECTING = "about to be set up for the first time"
    READY = "set up"
    RESTING = "without a connection, because nobody is there"
    RECONNECTING = "without a connection, about to have one again"
    FAILED = "ended by itself"
    CLOSED = "closed, or ended with its event loop"


_NEXT = {
    Life.NEW: {Life.CONNECTING, Life.CLOSED},
    Life.CONNECTING: {Life.READY, Life.FAILED, Life.CLOSED},
    Life.READY: {Life.RECONNECTING, Life.FAILED, Life.CLOSED},
    Life.RECONNECTING: {Life.READY, Life.RESTING, Life.FAILED, Life.CLOSED},
    Life.RESTING: {Life.RECONNECTING, Life.FAILED, Life.CLOSED},
    Life.FAILED: {Life.CLOSED},
    Life.CLOSED: set[Life](),
}

OVER = (Life.FAILED, Life.CLOSED)


class Lifecycle:
    """Runs the work of a session until it fails or is closed, and winds up, once.

    The work is a task of its own, and only that task is ever cancelled from here: neither a
    cancellation before the first step nor one that the work mistakes for its own loses the end.

    Args:
        run: the work of the session; it runs until it raises the reason of its end.
        shut_down: ends everything and says so, in bounded time; called with the failure, or with
            None if the session was closed.
        on_abandoned: says that the session is over, without waiting, where there is no time to shut
            down: it had not begun when its event loop ended, or the event loop is gone.
        on_closed: called when the session is closed, before anything is shut down.
        on_wanted: called when somebody waits for a connection.
    """

    def __init__(
        self,
        run: Callable[[], Coroutine[Any, Any, None]],
        shut_down: Callable[[GeminiError | None], Coroutine[Any, Any, None]],
        *,
        on_abandoned: Callable[[], None],
        on_closed: Callable[[], None],
        on_wanted: Callable[[], None] = lambda: None,
    ) -> None:
        self._do_run = run
        self._shut_down = shut_down
        self._on_abandoned = on_abandoned
        self._on_closed = on_closed
        self._on_wanted = on_wanted
        self._life = Life.NEW
        self._failure: GeminiError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        # Futures of the loop, made when it is known: ready or over; over.
        self._settled: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] | None = None

    # -- what is known -------------------------------------------------------------------------

    @property
    def life(self) -> Life:
        """Return where the session is in its life."""
        return self._life

    @property
    def failure(self) -> GeminiError | None:
        """Return why the session has ended by itself, if it has."""
        return self._failure

    @property
    def is_ready(self) -> bool:
        """Tell whether there is a connection that is set up."""
        return self._life is Life.READY

    def is_ready_on(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether there is a connection that is set up, and `loop` is the session's own."""
        return self._life is Life.READY and self._loop is loop

    @property
    def is_closed(self) -> bool:
        """Tell whether the session was closed; one that has failed may not be yet."""
        return self._life is Life.CLOSED

    @property
    def is_over(self) -> bool:
        """Tell whether the session has failed or was closed."""
        return self._life in OVER

    @property
    def ended(self) -> asyncio.Future[None]:
        """Return what is done when the session is over; it must not be cancelled."""
        assert self._ended is not None  # made by `start`
        return self._ended

    @property
    def task(self) -> asyncio.Task[None] | None:
        """Return the task that runs the session, once there is one."""
        return self._task

    def check_open(self) -> None:
        """Raise why nothing more can be done: `ClosedError`, or the session's failure."""
        if self._life is Life.CLOSED:
            closed = ClosedError("This GeminiLive has been closed; make a new one")
            raise closed from self._failure
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    def check_loop(self) -> None:
        """Raise `ConfigError` if the session belongs to another event loop than the caller."""
        if self._loop is not None and self._loop is not _running_loop() and not self.is_over:
            raise ConfigError(
                "This GeminiLive belongs to another event loop; make one per loop, and call it "
                "there (asyncio.run_coroutine_threadsafe does so from another thread)"
            )

    async def wait_until_settled(self, timeout: float | None = None) -> bool:
        """Wait until the session is ready, or over; False if `timeout` seconds pass before.

        Raises:
            SessionError: it has failed.
            ClosedError: it was closed.
        """
        self.check_open()
        self.check_loop()
        settled = self._settled
        assert settled is not None  # made by `start`
        if not settled.done():
            self._on_wanted()
            # Not by `asyncio.wait_for`: before CPython 3.12 it loses a cancellation that meets the
            # end of what it waits for.
            await asyncio.wait([settled], timeout=timeout)
            if not settled.done():
                return False
        self.check_open()
        return True

    # -- what happens --------------------------------------------------------------------------

    def start(self) -> None:
        """Begin in the running event loop, unless the session has begun, or is over.

        Raises:
            ConfigError: it belongs to another event loop.
        """
        if self._life is not Life.NEW:
            self.check_loop()
            return
        self._loop = loop = asyncio.get_running_loop()
        self._settled = loop.create_future()
        self._ended = loop.create_future()
        self._become(Life.CONNECTING)
        self._task = loop.create_task(self._run(), name="GeminiLive")
        self._task.add_done_callback(self._check_end)

    def ready(self) -> None:
        """Note that the session is set up. Raises `ClosedError` if it is over."""
        self._become(Life.READY)

    def reconnecting(self) -> None:
        """Note that the connection is gone. Raises `ClosedError` if the session is over."""
        self._become(Life.RECONNECTING)

    def resting(self) -> None:
        """Note that there is to be no connection. Raises `ClosedError` if the session is over."""
        self._become(Life.RESTING)

    async def close(self, *, wait: bool) -> None:
        """End the session, from any event loop, in any state, any number of times.

        Args:
            wait: whether to return when everything has ended. Who is waited for in the end must
                not wait for it.

        Raises:
            ConfigError: it belongs to another event loop, which does not run.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            await self._close_elsewhere(self._loop)
            return
        if self._life is Life.NEW:
            self._loop = loop
            self._become(Life.CLOSED)
            await self._shut_down(None)
            return
        if self._life is not Life.CLOSED:
            self._become(Life.CLOSED)
        if wait and self._task is not None and not self._task.done():
            _, late = await asyncio.wait([self._task], timeout=CLOSE_S)
            if late:
                logger.error("GeminiLive has not ended within %g s: %r", CLOSE_S, self._task)

    # -- inside --------------------------------------------------------------------------------

    def _become(self, life: Life) -> None:
        """Change the state: nothing else does."""
        if life not in _NEXT[self._life]:
            raise ClosedError(f"This GeminiLive is {self._life.value}, and cannot be {life.value}")
        self._life = life
        # Who waits while there is no connection is not to wait for another future.
        settled = self._settled is None or self._settled.done()
        if life is Life.RECONNECTING and self._loop is not None and settled:
            self._settled = self._loop.create_future()
        if life in (Life.READY, *OVER):
            _finish(self._settled)
        if life in OVER:
            _finish(self._ended)
        if life is Life.CLOSED:
            self._on_closed()

    async def _run(self) -> None:
        """Do the work, and wind up whatever became of it."""
        work: asyncio.Task[None] | None = None
        cancelled = False
        if not self.is_over:
            work = asyncio.ensure_future(self._do_run())
            try:
                await asyncio.wait([work, self.ended], return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:  # the event loop is being shut down
                cancelled = True
        if not self.is_over:
            assert work is not None
            if cancelled:
                self._become(Life.CLOSED)
            else:
                self._failure = _failure_of(work)
                self._become(Life.FAILED)
        try:
            if work is not None:
                await _stop(work)
        finally:
            await self._shut_down(self._failure)
        if cancelled:
            raise asyncio.CancelledError

    def _check_end(self, task: asyncio.Task[None]) -> None:
        """Make up for an end that nobody has told of: the task was cancelled before it began."""
        if not self.is_over:
            self._become(Life.CLOSED)
            self._on_abandoned()
        if not task.cancelled() and task.exception() is not None:
            logger.error("GeminiLive has ended unexpectedly", exc_info=task.exception())

    async def _close_elsewhere(self, owner: asyncio.AbstractEventLoop) -> None:
        if not owner.is_running():
            if not self.is_over and not owner.is_closed():
                raise ConfigError(
                    "This GeminiLive belongs to another event loop, which does not run: close it "
                    "there"
                )
            if not self.is_over:
                self._become(Life.CLOSED)
                self._on_abandoned()
            return
        closing = asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(self.close(wait=True), owner)
        )
        await asyncio.wait([closing], timeout=CLOSE_S + STOP_S)
        if not closing.done():
            logger.error("GeminiLive has not ended: its event loop is held up")
        elif not closing.cancelled():  # by the end of that event loop
            closing.result()


def _finish(future: asyncio.Future[None] | None) -> None:
    if future is None or future.done():
        return
    try:
        future.set_result(None)
    except RuntimeError:  # the event loop is closed: nobody waits any more
        logger.debug("A session ends after its event loop")


async def _stop(work: asyncio.Task[None]) -> None:
    """Cancel the work, unless it has ended, and wait for its end."""
    if not work.done():
        work.cancel()
        await asyncio.wait([work], timeout=STOP_S)
    if not work.done():
        logger.error("GeminiLive does not end although it was cancelled: %r", work)
    elif not work.cancelled():
        work.exception()  # retrieved: what comes after the end is of no interest


def _failure_of(work: asyncio.Task[None]) -> GeminiError:
    """Return why the work has ended by itself."""
    if work.cancelled():
        return ConnectError("GeminiLive was cancelled from outside; make a new one")
    error = work.exception()
    if isinstance(error, GeminiError):
        return error
    if error is None:
        return ConnectError("GeminiLive has ended without a reason")
    logger.error("GeminiLive failed unexpectedly", exc_info=error)
    failure = ConnectError(f"GeminiLive failed ({type(error).__name__}: {error})")
    failure.__cause__ = error
    return failure


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
