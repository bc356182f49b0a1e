"""Events to the user's handlers: in order, off the audio path, and never fatal to it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, overload

logger = logging.getLogger("getstream.plugins.gemini")

Handler = Callable[..., Any]
_H = TypeVar("_H", bound=Handler)
Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]

Cause = Literal["server", "speech", "app", "call"]
StallReason = Literal["unanswered", "unfinished", "unheard", "empty", "rejected"]

EVENTS = (
    "connected",
    "audio",
    "text",
    "user_text",
    "playback_started",
    "playback_finished",
    "interrupted",
    "turn_complete",
    "speech_started",
    "speech_stopped",
    "stalled",
    "disconnected",
    "reconnecting",
    "resumed",
    "error",
    "closed",
)

CANCEL_GRACE_S = 0.5
"""Seconds that a cancelled handler has to end."""

MAX_PENDING = 2048
"""Events, other than `audio`, that wait for one slow asynchronous handler."""

BYTES_PER_S = 48_000
"""Of the `audio` event: s16le mono 24 kHz."""

MAX_PENDING_BYTES = 600 * BYTES_PER_S
"""Audio that waits for one slow asynchronous handler: ten minutes, 28.8 MB. Speech comes faster
than it is spoken, a long answer within seconds."""

SMALLEST_BYTES = 480
"""What a piece counts for at least, 10 ms: pieces of nothing are bounded, too."""

MERGED_BYTES = BYTES_PER_S
"""While a second of audio waits, what comes is joined into pieces of up to a second: a handler that
has fallen behind has fewer calls to catch up with."""

# Before CPython 3.11 a task does not know whether it is being cancelled.
_TASKS_TELL = hasattr(asyncio.Task, "cancelling")


@dataclass(frozen=True)
class Interrupted:
    """A turn of the assistant was cut short.

    Attributes:
        turn: the number of the turn, counted from 1 in each `GeminiLive`.
        heard_ms: how much of it was played, in milliseconds of speech, at the read head; the
            listener is a frame and the transport behind.
        heard_text: the part of its transcript that was heard, estimated to within one piece of
            text as the service sends them.
        cause: `"server"` (Gemini's own activity detection), `"speech"` (local barge-in, where the
            service has nothing left to interrupt or does not detect activity itself), `"app"`
            (`interrupt_playback(drop=True)`) or `"call"` (the call is over, or the track is not
            published any more).
    """

    turn: int
    heard_ms: float
    heard_text: str
    cause: Cause


@dataclass(frozen=True)
class TurnComplete:
    """The model has finished a turn. Its audio may still be playing.

    Attributes:
        turn: the number of the turn.
        text: the transcript of what the assistant says in it, as far as it has arrived.
        reason: why the service has ended it, where that is not the ordinary reason: its
            `turnCompleteReason`, such as `"GENERATED_AUDIO_SAFETY"`.
    """

    turn: int
    text: str
    reason: str = ""


@dataclass(frozen=True)
class PlaybackStarted:
    """A turn begins to be heard: the SDK has its first sample.

    Attributes:
        turn: the number of the turn.
        at: when it is played, in seconds of the event loop's clock (`loop.time()`); the listener
            is the transport behind.
    """

    turn: int
    at: float


@dataclass(frozen=True)
class PlaybackFinished:
    """A turn is over for the listener: what was said, what was heard, and when.

    Attributes:
        turn: the number of the turn.
        text: the transcript of the turn, as far as it has arrived.
        heard_text: the part of it that was heard; all of it unless the turn was cut short.
        heard_ms: how much of the turn was played, in milliseconds of speech.
        cut: whether the turn was cut short.
        started_at: when its first sample was played, in seconds of the event loop's clock.
        finished_at: when its last one was; pauses lie between them.
    """

    turn: int
    text: str
    heard_text: str
    heard_ms: float
    cut: bool
    started_at: float
    finished_at: float


@dataclass(frozen=True)
class Stalled:
    """The model owes something and nothing comes.

    Attributes:
        waited_ms: for how long.
        unfinished: the model fell silent in the middle of its turn; otherwise it has not begun
            to answer.
        reason: `"unanswered"`: nothing came after a text, or after speech that is answered or was
            transcribed. `"unfinished"`: as above. `"unheard"`: the model has only written, in a
            session that speaks. `"empty"`: its turn had nothing in it. `"rejected"`: the service
            says that there will be no answer, and `detail` says why.
        detail: `turnCompleteReason` of the service, such as `"RESPONSE_REJECTED"`, or "".
    """

    waited_ms: float
    unfinished: bool
    reason: StallReason = "unanswered"
    detail: str = ""


@dataclass(frozen=True)
class Disconnected:
    """The connection to Gemini is gone; the assistant is going to have it again.

    Attributes:
        reason: why; None when the service had announced it and it was left at a boundary between
            turns.
    """

    reason: Exception | None


@dataclass(frozen=True)
class Reconnecting:
    """An attempt to have the connection again begins.

    Attributes:
        attempt: its number, from 1.
        delay_ms: how long it waits first.
        resuming: whether it resumes the session; otherwise it begins a new one with what was said.
    """

    attempt: int
    delay_ms: float
    resuming: bool


@dataclass(frozen=True)
class Resumed:
    """The conversation goes on over a new connection.

    Attributes:
        gap_ms: how long there was none.
        attempts: how many it took.
        same_session: whether the session was resumed; otherwise a new one knows what was said.
        retransmitted_ms: audio sent again because the old connection may not have delivered it.
    """

    gap_ms: float
    attempts: int
    same_session: bool
    retransmitted_ms: float


@dataclass(frozen=True)
class Speech:
    """Somebody in the call started or stopped speaking, as the local detector hears it.

    Attributes:
        user_id: the participant, or "" when the audio came without one.
    """

    user_id: str


class Emitter:
    """Named events with sync and async handlers.

    A sync handler is called at once and should return quickly. Each async handler has a queue
    and a task of its own: it gets its events one after the other, in order, and however slow
    it is, nothing else waits for it. A handler takes as many of the event's arguments as it
    has parameters. What a handler raises is logged with its traceback and goes no further;
    `SystemExit` and `KeyboardInterrupt` end the program.

    What waits for a slow async handler is bounded by `MAX_PENDING_BYTES` for `audio`, whose
    pieces are joined while a second of it waits, and by `MAX_PENDING` for each other event. What
    comes beyond that is lost to this handler: logged, and counted in `lost`.

    Args:
        spawn: makes a task that its owner looks after.

    Attributes:
        lost: events that a handler did not get.
    """

    def __init__(self, spawn: Spawn) -> None:
        self.lost = 0
        self._spawn = spawn
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: dict[str, list[_Listener]] = {name: [] for name in EVENTS}

    @overload
    def on(self, event: str) -> Callable[[_H], _H]: ...
    @overload
    def on(self, event: str, handler: _H) -> _H: ...
    def on(self, event: str, handler: Handler | None = None) -> Any:
        """Call `handler` at each `event`; also usable as a decorator.

        Raises:
            ValueError: there is no such event, or the handler cannot be called, or calling it
                does nothing, as with a generator function.
        """
        return self._add(event, handler, once=False)

    def once(self, event: str, handler: Handler | None = None) -> Any:
        """Like `on`, for the next event only."""
        return self._add(event, handler, once=True)

    def remove_listener(self, event: str, handler: Handler) -> None:
        """Stop calling `handler`, also with what waits for it; an unknown handler is ignored.

        Handlers that are equal are the same one: each access to a bound method makes a new object.
        """
        listeners = self._known(event)
        for listener in list(listeners):
            if listener.is_for(handler):
                listeners.remove(listener)
                listener.remove()

    def emit(self, event: str, *args: Any) -> bool:
        """Hand the event to its listeners. Returns whether there was one.

        Raises nothing but the `SystemExit` or `KeyboardInterrupt` of a sync handler.
        """
        listeners = self._known(event)
        heard = bool(listeners)
        for listener in list(listeners):
            if listener.removed:  # by a handler before it
                continue
            if listener.once:
                listeners.remove(listener)
            listener.deliver(args)
        return heard

    def listens(self, event: str) -> bool:
        """Whether anybody listens to `event`."""
        return bool(self._known(event))

    async def drain(self, timeout: float) -> None:
        """Wait until every async handler has had all its events, but at most `timeout` seconds;
        then cancel those that are still at it. One that ignores that, too, is left and logged."""
        current = asyncio.current_task()
        tasks = {task for task in self._tasks if task is not current}
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=timeout)
        for task in late:
            task.cancel()
        if late:
            _, stuck = await asyncio.wait(late, timeout=CANCEL_GRACE_S)
            for task in stuck:
                logger.error("A handler does not end although it was cancelled: %r", task)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._spawn(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved: what ends the program is raised by the event loop

    def _note_lost(self, count: int) -> None:
        self.lost += count

    def _add(self, event: str, handler: Handler | None, *, once: bool) -> Any:
        listeners = self._known(event)

        def add(function: Handler) -> Handler:
            if not callable(function):
                raise ValueError(f"a handler of {event!r} must be callable, not {function!r}")
            if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
                raise ValueError(f"a handler of {event!r} must not be a generator: {function!r}")
            listeners.append(_Listener(event, function, once, self._start, self._note_lost))
            return function

        return add if handler is None else add(handler)

    def _known(self, event: str) -> list[_Listener]:
        try:
            return self._listeners[event]
        except KeyError:
            raise ValueError(
                f"There is no event {event!r}. The events are: {', '.join(EVENTS)}"
            ) from None


class _Listener:
    def __init__(
        self,
        event: str,
        handler: Handler,
        once: bool,
        start: Spawn,
        note_lost: Callable[[int], None],
    ) -> None:
        self.event = event
        self.once = once
        self.removed = False
        self._handler = handler
        self._start = start
        self._note_lost = note_lost
        self._arity = _positional_parameters(handler)
        self._is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004  (an object with an async __call__)
        )
        self._pending = _Pending(event == "audio")
        self._task: asyncio.Task[None] | None = None
        self._lost = 0  # since the handler was last up to date

    def is_for(self, handler: Handler) -> bool:
        """Tell whether it is this handler, or an equal one."""
        return self._handler is handler or bool(self._handler == handler)

    def remove(self) -> None:
        """Call the handler no more."""
        self.removed = True
        self._pending.clear()

    def deliver(self, args: tuple[Any, ...]) -> None:
        """Hand an event over, now or when the handler is done with those before it."""
        size = max(SMALLEST_BYTES, len(args[0])) if self.event == "audio" else 0
        if self._arity is not None:
            args = args[: self._arity]
        if self._is_async:
            self._queue(args, size)
            return
        try:
            result = self._handler(*args)
        except (Exception, asyncio.CancelledError):
            # The cancellation of something that the handler has looked at, not of who emits.
            logger.exception("A handler of %r failed", self.event)
            return
        if inspect.iscoroutine(result):  # a lambda or a partial around an async function
            self._queue(result, size)

    def _queue(self, item: _Item, size: int) -> None:
        if not self._pending.add(item, size):
            self._lost += 1
            self._note_lost(1)
            if self._lost == 1:
                logger.error(
                    "A handler of %r is %s behind; further events are lost to it until it catches "
                    "up",
                    self.event,
                    self._pending,
                )
            return
        if self._task is None or self._task.done():
            self._task = self._start(self._run())

    async def _run(self) -> None:
        task = asyncio.current_task()
        while self._pending:
            item = self._pending.take()
            try:
                await self._call(item)
            except asyncio.CancelledError:
                if is_being_cancelled(task):
                    self._give_up()
                    raise
                logger.exception("A handler of %r was cancelled from inside", self.event)
            except Exception:
                logger.exception("A handler of %r failed", self.event)
        if self._lost:
            logger.error("A handler of %r has caught up; %d events were lost to it",
                         self.event, self._lost)  # fmt: skip
            self._lost = 0

    async def _call(self, item: _Item) -> None:
        work = self._handler(*item) if isinstance(item, tuple) else item
        if not inspect.isawaitable(work):
            return
        if _TASKS_TELL:
            await work
            return
        # In a task of its own, so that who is cancelled is told apart.
        child = self._start(_awaited(work))
        try:
            await asyncio.wait([child])
        finally:
            child.cancel()
        if child.cancelled():
            logger.error("A handler of %r was cancelled from inside", self.event)
        elif (error := child.exception()) is not None:
            raise error

    def _give_up(self) -> None:
        """Drop what waits for a handler that is cancelled, and tell."""
        lost = len(self._pending)
        if lost:
            self._pending.clear()
            self._note_lost(lost)
            logger.error("A handler of %r was cancelled; %d events were lost to it",
                         self.event, lost)  # fmt: skip


_Item = tuple[Any, ...] | Coroutine[Any, Any, Any]


class _Pending:
    """Holds what waits for a handler: its arguments, or the coroutine that they have made."""

    def __init__(self, is_audio: bool) -> None:
        self._is_audio = is_audio
        self._items: deque[tuple[_Item, int]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def __str__(self) -> str:
        if self._is_audio:
            return f"{self._bytes / BYTES_PER_S:.0f} s of audio"
        return f"{len(self)} events"

    def add(self, item: _Item, size: int) -> bool:
        """Add what comes next, of `size` bytes of audio; False if there is no room for it."""
        if self._is_audio:
            full = self._bytes + size > MAX_PENDING_BYTES
        else:
            full = len(self) >= MAX_PENDING
        if full:
            if inspect.iscoroutine(item):
                item.close()
            return False
        self._bytes += size
        if self._is_audio and self._bytes > MERGED_BYTES and isinstance(item, tuple) and item:
            last, last_size = self._items[-1]
            if isinstance(last, tuple) and last_size + size <= MERGED_BYTES:
                joined = (last[0] + item[0], *item[1:])
                self._items[-1] = joined, last_size + size
                return True
        self._items.append((item, size))
        return True

    def take(self) -> _Item:
        """Take what comes first."""
        item, size = self._items.popleft()
        self._bytes -= size
        return item

    def clear(self) -> None:
        """Forget all of it."""
        while self._items:
            item = self.take()
            if inspect.iscoroutine(item):
                item.close()


def is_being_cancelled(task: Any) -> bool:
    """Tell whether the cancellation that a task has met is meant for it."""
    return task is None or not _TASKS_TELL or task.cancelling() > 0


async def _awaited(work: Awaitable[Any]) -> None:
    await work


def _positional_parameters(handler: Handler) -> int | None:
    """How many positional arguments the handler takes; None: any number."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
