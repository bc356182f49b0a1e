"""Hold many calls side by side on one event loop, whatever their assistant functions do."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import time
import traceback
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

from .._terminal import one_line, printable_lines
from ..errors import ConfigError, GeminiError
from ..live import GeminiLive, Resumption
from . import _stream
from ._calls import CallRequest, StartCall, WorkerReport
from ._load import Load, resident_mb
from ._program import Assistant, check_assistant
from ._seat import Leaving, Seat, SeatPhase
from ._stream import CallEntry

if TYPE_CHECKING:
    from getstream import AsyncStream

logger = logging.getLogger("getstream.plugins.gemini")

RETURN_S = 10.0
"""Seconds in which an assistant function returns when it has to give its call up and `follow` is
over: leaving a call takes one, closing a session at most three; the rest is the application's."""

UNFOLLOWED_S = 30.0
"""The same where it gives up at rest and does not wait in `follow`: it may be joining still, which
takes up to `JOIN_S`."""

CANCELLED_S = 5.0
"""Seconds in which it ends when it is cancelled. Then it is left alone, outside of its call."""

TELL_S = 10.0
"""Seconds to tell the control one thing."""

KNOWN_CALLS = 4096
"""Calls whose newest epoch is remembered, so that an order that comes late starts nothing. One is
late by seconds, and a worker begins a few calls a second at most."""

PREPARED_S = 2.0
"""Seconds that an assistant at rest waits for the next one to join its call, which takes 0.2."""

STANDBY_S = 10.0
"""Seconds for which a call that was joined in advance is kept. The one before leaves it when it is
at rest still, or asks again."""

KEPT_BEFORE_S = 0.3
"""Seconds of audio from before a call was handed over that the next assistant hears. It is silence,
or the beginning of words that the one before did not answer any more. More of it at once would be
taken for a stall of the network, in which the jitter buffer gives up what is too late."""

MAX_ERROR_CHARS = 300

SECRET_VARIABLES = (
    "STREAM_API_SECRET",
    "STREAM_API_KEY",
    "GOOGLE_API_KEY",
    "GEMINI_API_KEY",
    "FLEET_TOKEN",
)
"""Variables whose values are in no log: exceptions of HTTP clients quote URLs with keys in them."""

OnSaved = Callable[[str, int, Resumption], Any]
OnOver = Callable[[str, int, bool, str], Any]
OnRest = Callable[[str, int], Awaitable[None]]


class LifeState(Enum):
    """Names the states of an assistant in a call; they follow each other in this order."""

    WAITING = "the one before has not ended yet"
    RUNNING = "its function runs"
    CANCELLED = "its function was cancelled"
    OVER = "its function has ended, or was given up"


class Worker:
    """Holds calls in this process, each with an assistant of its own.

    All methods belong to one event loop, and none of them waits for an assistant but `close`.

    Args:
        name: identifies it in the fleet.
        assistant: the application's function.
        on_saved: told what resumes a call when that changes: call, epoch, resumption.
        on_over: told that a call is not held any more: call, epoch, whether its assistant has
            failed, and with what. Both may return an awaitable, and are told one thing after the
            other for each call.
        on_rest: told that a call that moves is at rest: call and epoch. It is left as soon as that
            returns, or in `PREPARED_S`, so that the next worker may join it before.
        node: the machine, by the engine's name for it.

    Raises:
        ConfigError: `assistant` is no async function of one argument.
    """

    def __init__(
        self,
        name: str,
        assistant: Assistant,
        *,
        on_saved: OnSaved,
        on_over: OnOver,
        on_rest: OnRest | None = None,
        node: str = "local",
    ) -> None:
        self.name = name
        self._assistant = check_assistant(assistant)
        self._on_saved = on_saved
        self._on_over = on_over
        self._on_rest = on_rest
        self._node = node
        self._client: AsyncStream | None = None
        self._load = Load()
        self._held: dict[str, _Life] = {}
        self._ending: set[_Life] = set()  # not held any more; their functions run still
        self._newest: OrderedDict[str, int] = OrderedDict()
        self._standby: dict[str, _Standby] = {}
        self._closing = False

    async def warm_up(self) -> None:
        """Do what the first call would wait for: imports, models, clients. Idempotent.

        Raises:
            ConfigError: there are no keys for Stream.
        """
        if self._client is not None:
            return
        self._client = await asyncio.to_thread(_stream.make_client)
        self._load.start()
        await _stream.warm_up(self._client, "warm-up")
        # Last: it has the garbage collector leave alone what is there by then.
        try:
            await GeminiLive.prewarm()
        except ConfigError:  # the application gives a key, or a client of its own
            await GeminiLive.prewarm("of the application")

    async def prepare_call(self, request: CallRequest) -> None:
        """Join a call that will move here; return when it is joined. Bounded.

        It is left again if the call does not come within `STANDBY_S`. Repeating this prolongs it.

        Raises:
            ConfigError: the worker is not warm, or is closed.
        """
        client = self._check_open()
        if request.cid in self._held:
            return
        standby = self._standby.get(request.cid)
        if standby is None:
            standby = self._standby[request.cid] = _Standby(CallEntry(client, request))
            standby.entry.enter_early()
        standby.expire_in(STANDBY_S, lambda: self._drop_standby(request.cid))
        await standby.entry.wait_entered(PREPARED_S)

    def start_call(self, start: StartCall) -> None:
        """Take a call. Repeating it changes nothing; a newer epoch replaces the one before.

        The assistant of the older epoch leaves before the newer one begins.

        Raises:
            ConfigError: the worker is not warm, or is closed.
        """
        client = self._check_open()
        cid = start.request.cid
        if self._newest.get(cid, -1) >= start.epoch:
            return
        self._newest[cid] = start.epoch
        self._newest.move_to_end(cid)
        while len(self._newest) > KNOWN_CALLS:
            self._newest.popitem(last=False)
        before = [life for life in (*self._held.values(), *self._ending) if life.cid == cid]
        if cid in self._held:
            older = self._held.pop(cid)
            self._ending.add(older)
            older.leave(at_rest=False)
        standby = self._standby.pop(cid, None)
        early = None if standby is None else standby.take(start.request)
        life = _Life(self, start, client, before, early)
        self._held[cid] = life
        life.begin()

    def leave_call(self, cid: str, epoch: int, *, at_rest: bool) -> None:
        """Give a call up: at once, or when nobody speaks. Nothing if it is of another epoch."""
        life = self._held.get(cid)
        if life is not None and life.epoch == epoch:
            life.leave(at_rest=at_rest)

    def report(self) -> WorkerReport:
        """Return how this worker is; `lag_ms` is the worst since the last report."""
        return WorkerReport(
            worker=self.name,
            pid=os.getpid(),
            node=self._node,
            calls={cid: life.epoch for cid, life in self._held.items()},
            cpu=self._load.cpu,
            lag_ms=self._load.worst_lag_ms(),
            resident_mb=resident_mb(),
            busy=tuple(cid for cid, life in self._held.items() if life.seat.is_busy),
        )

    async def close(self, timeout_s: float) -> None:
        """Give all calls up: each at rest, and at once when the time is up. Idempotent.

        What resumes them is still told to `on_saved`. That they are over is told only of calls that
        have ended meanwhile: whoever starts next may go on with the others.

        Args:
            timeout_s: seconds for calls to come to rest. Ending takes up to 15 s more where an
                assistant function does not end.
        """
        self._closing = True
        for cid in list(self._standby):
            self._drop_standby(cid)
        for at_rest in (True, False):
            lives = {*self._held.values(), *self._ending}
            for life in self._held.values():
                life.leave(at_rest=at_rest)
            if lives:
                # Every life that leaves at once ends in bounded time.
                await asyncio.wait(
                    [life.ended for life in lives], timeout=timeout_s if at_rest else None
                )
        client, self._client = self._client, None
        if client is not None:
            await self._load.stop()
            await client.aclose()

    def _check_open(self) -> AsyncStream:
        if self._client is None or self._closing:
            state = "closed" if self._closing else "not warm"
            raise ConfigError(f"The worker {self.name} is {state} and takes no calls")
        return self._client

    def _drop_standby(self, cid: str) -> None:
        self._standby.pop(cid).drop()

    # -- for a life ----------------------------------------------------------------------------

    def call_assistant(self, seat: Seat) -> Any:
        """Call the assistant function; returns its coroutine."""
        return self._assistant(seat)

    async def rest(self, life: _Life) -> None:
        """Tell the control that a call that moves is at rest, and wait for the next worker."""
        if self._on_rest is None or self._closing:
            return
        try:
            await asyncio.wait_for(self._on_rest(life.cid, life.epoch), PREPARED_S)
        except Exception as error:  # it is moved all the same
            logger.info("The move of %s was not prepared (%s)", life.cid, short_error(error))

    def save(self, life: _Life, resume: Resumption) -> Any:
        """Tell the control what resumes a call."""
        return self._on_saved(life.cid, life.epoch, resume)

    def release(self, life: _Life, failed: bool, error: str) -> Any:
        """Tell the control that a call is not held any more, unless a newer epoch holds it."""
        if self._held.get(life.cid) is not life:
            return None
        # From here on no report has it: whatever becomes of what is told, the control will see.
        del self._held[life.cid]
        if life.state is not LifeState.OVER:
            self._ending.add(life)
        if self._closing and not life.has_finished:
            return None
        return self._on_over(life.cid, life.epoch, failed, error)

    def forget(self, life: _Life) -> None:
        """Take note that the function of a life has ended."""
        self._ending.discard(life)


class _Standby:
    """Holds a call that was joined in advance."""

    def __init__(self, entry: CallEntry) -> None:
        self.entry = entry
        self._expiry: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None

    def expire_in(self, seconds: float, expire: Callable[[], None]) -> None:
        """Give it up after so many seconds from now."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_later(seconds, expire)

    def take(self, request: CallRequest) -> CallEntry | None:
        """Return the entry for whoever takes the call; None if it cannot be used."""
        if self._expiry is not None:
            self._expiry.cancel()
        if not self.entry.is_for(request):
            self.drop()
            return None
        self.entry.forget_before(KEPT_BEFORE_S)
        return self.entry

    def drop(self) -> None:
        """Leave the call."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._leaving = asyncio.ensure_future(self.entry.leave())


class _Life:
    """Runs the assistant function of one call in one epoch, and sees that it ends."""

    def __init__(
        self,
        worker: Worker,
        start: StartCall,
        client: AsyncStream,
        before: list[_Life],
        early: CallEntry | None,
    ) -> None:
        self.cid = start.request.cid
        self.epoch = start.epoch
        self.state = LifeState.WAITING
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.seat = Seat(
            start.request,
            start.reason,
            start.resume,
            client=client,
            save=self._save,
            changed=self._on_seat_changed,
            prepare=lambda: worker.rest(self),
            early=early,
        )
        self._worker = worker
        self._before = before
        self._began_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._to_tell: list[Callable[[], Any]] = []
        self._telling: asyncio.Task[None] | None = None
        self._unsaved: Resumption | None = None
        self.has_finished = False  # by itself: its call is over
        self._released = False
        self._vacating: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin when the assistants before have ended."""
        self._task = asyncio.ensure_future(self._run())
        self._task.add_done_callback(self._on_done)

    def leave(self, *, at_rest: bool) -> None:
        """Have the function give the call up, and cancel it if it does not."""
        before = self.seat.leaving
        self.seat.leave(at_rest=at_rest)
        if self.seat.leaving is not before:  # the control repeats itself at each report
            self._set_deadline()

    # -- the function --------------------------------------------------------------------------

    async def _run(self) -> None:
        if self._before:
            await asyncio.wait([life.ended for life in self._before])
            self._before = []
        self.state = LifeState.RUNNING
        if self.seat.leaving is not Leaving.NO:
            return
        self._began_at = time.monotonic()
        if self.seat.reason != "new":
            self.seat.enter_early()
        try:
            await self._worker.call_assistant(self.seat)
        except SystemExit as error:  # it would end the process, and every other call
            raise RuntimeError("the assistant function has called sys.exit()") from error
        except asyncio.CancelledError as error:
            if self.state is LifeState.CANCELLED:
                raise
            raise RuntimeError("the assistant function was cancelled by its own code") from error

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if self.state is LifeState.OVER:
            logger.warning("The assistant of %s has ended after all", self.cid)
            if not task.cancelled():
                task.exception()
            return
        error = None if task.cancelled() else task.exception()
        failed = error is not None and self.state is not LifeState.CANCELLED
        followed = self.seat.phase is not SeatPhase.UNUSED
        gave_way = self.seat.is_handed_over or self.state is LifeState.CANCELLED
        self.has_finished = followed and error is None and not gave_way
        if error is not None:
            self._log(error)
        elif self.seat.phase is SeatPhase.UNUSED and self.seat.leaving is Leaving.NO:
            logger.warning(
                "The assistant of %s returned after %.1f s without having called seat.follow()",
                self.cid,
                time.monotonic() - self._began_at,
            )
        self._end(failed, short_error(error) if failed and error is not None else "")

    def _on_seat_changed(self) -> None:
        """Note that the function has come to `follow`, or is through with it."""
        if self.seat.leaving is not Leaving.NO:
            self._set_deadline()
        if self.seat.phase is SeatPhase.RELEASED:
            # Called at the end of `follow`, when the session is closed if it was to be.
            asyncio.get_running_loop().call_soon(self._hand_over)

    def _hand_over(self) -> None:
        """Tell that the next assistant may begin, while this one is leaving the call."""
        if self.seat.is_handed_over:
            self._release(False, "")

    # -- its end -------------------------------------------------------------------------------

    def _set_deadline(self) -> None:
        """Arm the timer that cancels the function, for what it does now."""
        if self.state not in (LifeState.WAITING, LifeState.RUNNING):
            return
        seat = self.seat
        if seat.leaving is Leaving.NOW or seat.phase is SeatPhase.RELEASED:
            seconds = RETURN_S
        elif seat.phase is SeatPhase.UNUSED:
            seconds = UNFOLLOWED_S
        else:
            seconds = None  # `follow` returns in bounded time
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None:
            self._deadline = asyncio.get_running_loop().call_later(seconds, self._cancel)

    def _cancel(self) -> None:
        logger.warning("The assistant of %s does not give its call up: it is cancelled", self.cid)
        self.state = LifeState.CANCELLED
        if self._task is not None:
            self._task.cancel()
        self._deadline = asyncio.get_running_loop().call_later(CANCELLED_S, self._abandon)

    def _abandon(self) -> None:
        logger.error(
            "The assistant of %s was cancelled %g s ago and runs on: it is left alone. Does it "
            "catch CancelledError, or wait for what never comes in a `finally`?",
            self.cid,
            CANCELLED_S,
        )
        self._end(True, f"it was cancelled and did not end within {CANCELLED_S:g} s")

    def _end(self, failed: bool, error: str) -> None:
        self.state = LifeState.OVER
        if self._deadline is not None:
            self._deadline.cancel()
        self._vacating = asyncio.ensure_future(self._vacate(failed, error))

    async def _vacate(self, failed: bool, error: str) -> None:
        """Leave what is left of the call, and tell then: the next one may begin at once."""
        await self.seat.vacate()
        self._release(failed, error)
        self._tell(self._finish)

    def _finish(self) -> None:
        self._worker.forget(self)
        if not self.ended.done():
            self.ended.set_result(None)

    # -- to the control ------------------------------------------------------------------------

    def _save(self, resume: Resumption) -> None:
        if self._released:
            return
        is_queued = self._unsaved is not None
        self._unsaved = resume
        if not is_queued:
            self._tell(self._save_newest)

    def _save_newest(self) -> Any:
        resume, self._unsaved = self._unsaved, None
        return None if resume is None else self._worker.save(self, resume)

    def _release(self, failed: bool, error: str) -> None:
        if not self._released:
            self._released = True
            self._tell(lambda: self._worker.release(self, failed, error))

    def _tell(self, what: Callable[[], Any]) -> None:
        """Do one thing after the other, in order."""
        self._to_tell.append(what)
        if self._telling is None:
            self._telling = asyncio.ensure_future(self._tell_all())

    async def _tell_all(self) -> None:
        while self._to_tell:
            told = self._to_tell.pop(0)
            try:
                result = told()
                if inspect.isawaitable(result):
                    await asyncio.wait_for(result, TELL_S)
            except Exception as error:
                logger.warning(
                    "The control was not told about %s (%s)", self.cid, short_error(error)
                )
        self._telling = None

    def _log(self, error: BaseException) -> None:
        text = "".join(traceback.format_exception(error))
        logger.error(
            "The assistant of %s failed after %.1f s: %s\n%s",
            self.cid,
            time.monotonic() - self._began_at,
            short_error(error),
            printable_lines(without_secrets(text)).rstrip(),
        )


def short_error(error: BaseException) -> str:
    """Return an error as one line without keys, of at most `MAX_ERROR_CHARS` characters."""
    text = str(error) if isinstance(error, GeminiError) else f"{type(error).__name__}: {error}"
    return one_line(without_secrets(text))[:MAX_ERROR_CHARS]


def without_secrets(text: str) -> str:
    """Return text without the keys that are in this process's environment."""
    for name in SECRET_VARIABLES:
        value = os.environ.get(name, "").strip()
        if value:
            text = text.replace(value, "...")
    return text
