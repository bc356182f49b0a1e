"""Deliver events to handlers, streams and observers: in order, off the audio path, never fatal."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from ..errors import ConfigError
from ._events import EVENT_TYPES, Audio, Event
from ._telemetry.observer import Observers

logger = logging.getLogger("getstream.plugins.gemini")

Handler = Callable[..., Any]
Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]

CANCEL_GRACE_S = 0.5
"""Seconds that a cancelled handler has to end."""

MAX_PENDING = 2048
"""Events, other than `audio`, that wait for one slow asynchronous handler."""

BYTES_PER_S = 48_000
"""Bytes per second of the `audio` event: s16le mono 24 kHz."""

MAX_PENDING_BYTES = 600 * BYTES_PER_S
"""Audio that waits for one slow asynchronous handler: ten minutes, 28.8 MB. Speech comes faster
than it is spoken, a long answer within seconds."""

SMALLEST_BYTES = 480
"""Least size that a chunk counts for, 10 ms: empty chunks are bounded, too."""

MERGED_BYTES = BYTES_PER_S
"""While a second of audio waits, what comes is joined into pieces of up to a second: a handler that
has fallen behind has fewer calls to catch up with."""

# Before CPython 3.11 a task does not know whether it is being cancelled.
_TASKS_TELL = hasattr(asyncio.Task, "cancelling")


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
        now: the time of an event, in seconds of the event loop's clock.
        turn: the newest turn of the model.

    Attributes:
        lost: events that a handler or a stream did not get.
        observers: get every event.
    """

    def __init__(
        self,
        spawn: Spawn,
        now: Callable[[], float],
        turn: Callable[[], int] = lambda: 0,
    ) -> None:
        self.lost = 0
        self.observers = Observers()
        self._spawn = spawn
        self._now = now
        self._turn = turn
        self._streams: list[EventStream] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: dict[str, list[_Listener]] = {name: [] for name in EVENT_TYPES}

    def on(self, event: str, handler: Handler | None = None) -> Any:
        """Call `handler` at each `event`; also usable as a decorator.

        Raises:
            ConfigError: there is no such event, or the handler cannot be called, or calling it
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

    def emit(self, event_type: type[Event], **fields: Any) -> bool:
        """Make an event and hand it to its listeners, streams and observers.

        Nothing is made where nobody listens. Raises nothing but the `SystemExit` or
        `KeyboardInterrupt` of a sync handler.

        Args:
            event_type: the class of the event.
            fields: its fields; `at` and `turn` are now and the newest turn unless they are given.

        Returns:
            Whether a handler or a stream got it.
        """
        if not self.listens(event_type):
            return False
        fields.setdefault("at", self._now())
        fields.setdefault("turn", self._turn())
        event = event_type(**fields)
        self.observers.notify_event(event)
        listeners = self._listeners[event.name]
        heard = bool(listeners)
        arguments = event.arguments()
        for listener in list(listeners):
            if listener.removed:  # by a handler before it
                continue
            if listener.once:
                listeners.remove(listener)
            listener.deliver(arguments)
        for stream in list(self._streams):
            heard |= stream.put(event)
        return heard

    def listens(self, event_type: type[Event]) -> bool:
        """Return whether anybody gets events of this class, an observer included."""
        return self.observers.take(event_type.name) or self.is_handled(event_type)

    def is_handled(self, event_type: type[Event]) -> bool:
        """Return whether a handler or a stream gets events of this class: it may act on them."""
        return bool(self._listeners[event_type.name]) or any(
            each.takes(event_type) for each in self._streams
        )

    def stream(self, event_types: tuple[type[Event], ...] = ()) -> EventStream:
        """Return a stream of the events from now on; of all classes unless some are named."""
        stream = EventStream(event_types, self._note_lost, self._streams.remove)
        self._streams.append(stream)
        return stream

    def end_streams(self) -> None:
        """End all streams, after what they still hold."""
        for stream in list(self._streams):
            stream.end()

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
                raise ConfigError(f"A handler of {event!r} must be callable, not {function!r}")
            if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
                raise ConfigError(f"A handler of {event!r} must not be a generator: {function!r}")
            listeners.append(_Listener(event, function, once, self._start, self._note_lost))
            return function

        return add if handler is None else add(handler)

    def _known(self, event: str) -> list[_Listener]:
        return self._listeners[event_type_of(event).name]


def event_type_of(name: object) -> type[Event]:
    """Return the class of an event.

    Raises:
        ConfigError: there is no such event; it names the nearest one.
    """
    found = EVENT_TYPES.get(name) if isinstance(name, str) else None
    if found is not None:
        return found
    nearest = difflib.get_close_matches(str(name), EVENT_TYPES, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise ConfigError(f"There is no event {name!r}.{hint} The events are: {', '.join(EVENT_TYPES)}")


class EventStream:
    """Yields events in order; what comes beyond `MAX_PENDING` is dropped and counted.

    Iterate it with `async for`; it ends when the session is over, or with `close()`. It belongs to
    one consumer.

    Attributes:
        dropped: events that did not fit while the consumer was behind.
    """

    def __init__(
        self,
        event_types: tuple[type[Event], ...],
        note_lost: Callable[[int], None],
        forget: Callable[[EventStream], None],
    ) -> None:
        self.dropped = 0
        self._types = event_types
        self._note_lost = note_lost
        self._forget = forget
        self._events: deque[Event] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._is_over = False

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._is_over:
                raise StopAsyncIteration
            if self._waiter is not None and not self._waiter.done():
                raise RuntimeError("A stream of events has one consumer; make one for each")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._events.popleft()

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop, and forget what was not consumed."""
        self._events.clear()
        self.end()

    def takes(self, event_type: type[Event]) -> bool:
        """Return whether events of this class are of interest."""
        return not self._types or event_type in self._types

    def put(self, event: Event) -> bool:
        """Append an event; return whether it is of interest."""
        if not self.takes(type(event)):
            return False
        if len(self._events) >= MAX_PENDING:
            if not self.dropped:
                logger.error("A stream of events is %d events behind; more are dropped",
                             MAX_PENDING)  # fmt: skip
            self.dropped += 1
            self._note_lost(1)
            return True
        self._events.append(event)
        self._wake()
        return True

    def end(self) -> None:
        """End the stream after the events that it holds."""
        if not self._is_over:
            self._is_over = True
            self._forget(self)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


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
        self._pending = _Pending(event == Audio.name)
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
        size = max(SMALLEST_BYTES, len(args[0])) if self.event == Audio.name else 0
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
    """Return the number of positional arguments that a handler takes; None: any number."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
