"""Events to the user's handlers: in order, off the audio path, and never fatal to it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, overload

logger = logging.getLogger("getstream.plugins.gemini")

Handler = Callable[..., Any]
_H = TypeVar("_H", bound=Handler)
Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]

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

# Seconds that a cancelled handler has to end.
CANCEL_GRACE_S = 1.0

# Events that wait for one slow asynchronous handler: 25 audio messages a second make 80 s.
MAX_PENDING = 2048


@dataclass(frozen=True)
class Interrupted:
    """A turn of the assistant was cut short.

    Attributes:
        turn: the number of the turn, counted from 1 in each `GeminiLive`.
        heard_ms: how much of it was played, in milliseconds of speech, at the read head; the
            listener is a frame and the transport behind.
        heard_text: the part of its transcript that was heard, estimated to within one piece of
            text as the service sends them.
        by: `"server"` (Gemini's own activity detection), `"speech"` (local barge-in, where the
            service has nothing left to interrupt or does not detect activity itself) or `"app"`
            (`interrupt_playback(drop=True)`).
    """

    turn: int
    heard_ms: float
    heard_text: str
    by: str


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
        sent_again_ms: audio that the old connection may not have delivered, and that is sent again.
    """

    gap_ms: float
    attempts: int
    same_session: bool
    sent_again_ms: float


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
    has parameters. What a handler raises is logged with its traceback and goes no further.
    """

    def __init__(self, spawn: Spawn) -> None:
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
            ValueError: there is no such event, or the handler cannot be called.
        """
        return self._add(event, handler, once=False)

    def once(self, event: str, handler: Handler | None = None) -> Any:
        """Like `on`, for the next event only."""
        return self._add(event, handler, once=True)

    def remove_listener(self, event: str, handler: Handler) -> None:
        """Stop calling `handler`; an unknown handler is ignored."""
        listeners = self._known(event)
        listeners[:] = [each for each in listeners if each.handler is not handler]

    def emit(self, event: str, *args: Any) -> bool:
        """Hand the event to its listeners. Returns whether there was one. Never raises."""
        listeners = self._known(event)
        heard = bool(listeners)
        for listener in list(listeners):
            if listener.once:
                listeners.remove(listener)
            listener.deliver(args, self._start)
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
        task.add_done_callback(self._tasks.discard)
        return task

    def _add(self, event: str, handler: Handler | None, *, once: bool) -> Any:
        listeners = self._known(event)

        def add(function: Handler) -> Handler:
            if not callable(function):
                raise ValueError(f"a handler of {event!r} must be callable, not {function!r}")
            listeners.append(_Listener(event, function, once))
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
    def __init__(self, event: str, handler: Handler, once: bool) -> None:
        self.event = event
        self.handler = handler
        self.once = once
        self.arity = _positional_parameters(handler)
        self.is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004  (an object with an async __call__)
        )
        self.pending: deque[tuple[Any, ...] | Coroutine[Any, Any, Any]] = deque()
        self.task: asyncio.Task[None] | None = None
        self.dropped = 0

    def deliver(self, args: tuple[Any, ...], start: Spawn) -> None:
        args = args if self.arity is None else args[: self.arity]
        if self.is_async:
            self._queue(args, start)
            return
        try:
            result = self.handler(*args)
        except Exception:
            logger.exception("A handler of %r failed", self.event)
            return
        if inspect.iscoroutine(result):  # a lambda or a partial around an async function
            self._queue(result, start)

    def _queue(self, item: tuple[Any, ...] | Coroutine[Any, Any, Any], start: Spawn) -> None:
        if len(self.pending) >= MAX_PENDING:
            if inspect.iscoroutine(item):
                item.close()
            self.dropped += 1
            if self.dropped == 1:
                logger.error(
                    "A handler of %r is %d events behind; further events are not given to it "
                    "until it catches up",
                    self.event,
                    MAX_PENDING,
                )
            return
        self.dropped = 0
        self.pending.append(item)
        if self.task is None or self.task.done():
            self.task = start(self._run())

    async def _run(self) -> None:
        task = asyncio.current_task()
        while self.pending:
            item = self.pending.popleft()
            try:
                await (self.handler(*item) if isinstance(item, tuple) else item)
            except asyncio.CancelledError:
                if task is None or _is_being_cancelled(task):
                    raise
                logger.exception("A handler of %r was cancelled from inside", self.event)
            except Exception:
                logger.exception("A handler of %r failed", self.event)


def _is_being_cancelled(task: asyncio.Task[None]) -> bool:
    cancelling = getattr(task, "cancelling", None)  # CPython 3.11 and later
    return cancelling is None or cancelling() > 0


def _positional_parameters(handler: Handler) -> int | None:
    """How many positional arguments the handler takes; None: any number."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
