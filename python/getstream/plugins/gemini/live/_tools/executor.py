"""Run the functions that the model calls, and answer every call.

The reader of the connection hands calls over and goes on: each runs as a task of its own, a
blocking function on a thread. What is to be answered waits in an outbox, from which one sender for
each connection takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from ...errors import ConfigError, GeminiError, ToolError
from .._events import Event, ToolCall, ToolCancelled, ToolCancelReason, ToolResult
from .declarations import ArgumentError, ToolContext, nearest, to_json
from .registry import Entry, ToolRegistry
from .threads import ToolThreads

__all__ = ["ToolExecutor"]

logger = logging.getLogger("getstream.plugins.gemini")

MOST_RUNNING = 16
"""Functions that run at a time; the others wait for their turn. A model calls a few at a time; a
hundred at once is a fault of it, and must not become a hundred requests to a booking system."""

MOST_CALLS = 256
"""Calls that run or wait; what is called beyond that is answered with an error at once."""

MOST_ANSWERS = 32
"""Streamed results that wait for a connection; a generator is not asked for more meanwhile."""

MOST_RESULT_BYTES = 256 * 1024
"""JSON of one result: half of the context of a model (128k tokens of about four characters)."""

MOST_ERROR_CHARACTERS = 500
"""Length of a message to the model about an exception."""

REMEMBERED_IDS = 1_000
"""Ids of calls that were answered, so that one that comes twice runs once."""

REPEATED_S = 60.0
"""Seconds for which the result of a call whose session is gone answers the same call in the next
one, from when it is there in that session. What was asked is repeated in the first answer; the same
call later is another question, such as that for the time."""

CANCEL_GRACE_S = 1.0
"""Seconds that functions have to end when they are cancelled: half of what the end of a session
allows (`HANDLER_GRACE_S`), so that closing the connection and event handlers have theirs."""

_END: Any = object()


class CallState(Enum):
    """State of a call, from the function to its answer."""

    RUNNING = "the function runs, or waits for its turn"
    ANSWERED = "the answer waits to be sent"
    SENT = "the answer was sent, and the service is not known to have it"
    SETTLED = "the answer has arrived, is not wanted any more, or was never to be sent"


@dataclass(eq=False)
class _Run:
    """One call of a function.

    Attributes:
        key: Its id, or a number of our own where the service gave none.
        id: The id of the service, or "".
        name: Name of the function.
        args: Arguments, as they came.
        entry: Who answers; None if nobody does.
        connection: Number of the connection on which it was called.
        called_at: When, in seconds of the event loop's clock.
        state: The state of the call.
        is_owed: The turns have been told of the call, and not yet of its end.
        wanted: The session that has called is still there.
        kept_from: When the answer was there for the next session, if that session is gone.
        task: Looks after the function.
        work: Runs it.
        reply: What the application answers, where it does.
        last: The final answer.
    """

    key: str
    id: str
    name: str
    args: Any
    entry: Entry | None
    connection: int
    called_at: float
    began: float = field(default_factory=time.perf_counter)
    state: CallState = CallState.RUNNING
    is_owed: bool = True
    wanted: bool = True
    kept_from: float = 0.0
    task: asyncio.Task[None] | None = None
    work: asyncio.Task[_Outcome] | None = None
    reply: asyncio.Future[_Outcome] | None = None
    last: _Answer | None = None

    @property
    def waits(self) -> bool:
        """Return whether the model waits for it."""
        return self.entry is not None and self.entry.waits


@dataclass(frozen=True)
class _Outcome:
    """Result of a call, or its error.

    Attributes:
        result: What the function has returned.
        error: A message to the model; None where there was no failure.
        retryable: Whether the model may call again.
        streamed: Results were sent before, one by one.
    """

    result: Any = None
    error: str | None = None
    retryable: bool = False
    streamed: bool = False


@dataclass(frozen=True, eq=False)
class _Answer:
    """An answer to a call, which is to be sent.

    Attributes:
        run: The call.
        response: What the model reads.
        scheduling: When it speaks of it; None leaves that to the service.
        will_continue: More answers to the same call follow.
        result: What the function has returned, for the application.
    """

    run: _Run
    response: dict[str, Any]
    scheduling: str | None
    will_continue: bool = False
    result: Any = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of a `FunctionResponse` of google-genai."""
        fields: dict[str, Any] = {"name": self.run.name, "response": self.response}
        if self.run.id:
            fields["id"] = self.run.id
        if self.scheduling is not None:
            fields["scheduling"] = self.scheduling
        if self.will_continue:
            fields["will_continue"] = True
        return fields


class ToolSurroundings(Protocol):
    """Conversation around a call: it tells what a function may ask for, and is told of calls."""

    def tool_called(self, key: str, *, waits: bool) -> None:
        """Take note that the model has called a function, and whether it waits for the result."""

    def tool_answered(self, key: str, *, waits: bool, expects: bool) -> None:
        """Take note that a call is over, and whether the model is to speak of it."""

    def tool_context(self, call_id: str, name: str) -> ToolContext:
        """Return what a function is told about its call."""


class ToolExecutor:
    """Runs functions and answers their calls. Used from one event loop.

    It is a resource of the session: `cancel`, `aclose` and `discard` end it.

    Args:
        registry: The functions.
        spawn: Makes a task that its owner looks after.
        emit: Tells an event.
        has_handler: Tells whether somebody gets an event who may act on it.
        send: Sends answers, as fields of `FunctionResponse`; raises when the connection is gone.
        streams: Tells whether the service takes several results of one call.
        surroundings: The conversation.
    """

    def __init__(
        self,
        registry: ToolRegistry,
        *,
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
        emit: Callable[..., object],
        has_handler: Callable[[type[Event]], bool],
        send: Callable[[list[dict[str, Any]]], Awaitable[object]],
        streams: Callable[[], bool],
        surroundings: ToolSurroundings,
    ) -> None:
        self.registry = registry
        self._spawn = spawn
        self._emit = emit
        self._has_handler = has_handler
        self._send_answers = send
        self._streams = streams
        self._surroundings = surroundings
        self._threads = ToolThreads()
        self._running = asyncio.Semaphore(MOST_RUNNING)
        self._runs: dict[str, _Run] = {}  # that are not settled
        self._abandoned: list[_Run] = []  # of a session that is gone; may be asked for again
        self._answered_ids: deque[str] = deque(maxlen=REMEMBERED_IDS)
        self._outbox: deque[_Answer] = deque()
        self._changed = asyncio.Event()  # the outbox
        self._work: set[asyncio.Task[Any]] = set()
        self._connection = 1
        self._unnamed = 0
        self._is_closing = False

    @property
    def newest_call_at(self) -> float | None:
        """Return when the newest call was made that is not known to be answered, or None."""
        return max((run.called_at for run in self._runs.values()), default=None)

    def owes_beside(self, task: asyncio.Task[Any] | None) -> bool:
        """Return whether a call is to be answered, other than the one whose function a task runs.

        Args:
            task: the task of a function that waits for the others, or any other task.
        """
        return any(run.is_owed and run.work is not task for run in self._runs.values())

    # -- from the service ----------------------------------------------------------------------

    def call(self, calls: Iterable[Mapping[str, Any]]) -> None:
        """Take calls of the model. Does not wait for anything."""
        for each in calls:
            if not self._is_closing:
                self._take(each)

    def cancel_calls(self, ids: Iterable[str]) -> None:
        """Cancel calls whose answers the model does not want any more."""
        for call_id in ids:
            run = self._runs.get(call_id)
            if run is not None and run.state is not CallState.SENT:
                self._settle(run, expects=False)
                self._tell_cancelled(run, "model")

    def confirm(self) -> None:
        """Take note that the model has finished a turn: it has what was sent before.

        That is no proof where it was speaking anyway; more is not on the wire.
        """
        for run in [each for each in self._runs.values() if each.state is CallState.SENT]:
            self._settle(run)

    # -- connections ---------------------------------------------------------------------------

    async def send(self) -> None:
        """Send answers over the connection that there is, until it is gone.

        Raises:
            SessionError: The connection is gone; what was not sent waits for the next one.
        """
        while True:
            while not self._outbox:
                self._changed.clear()
                await self._changed.wait()
            answers = list(self._outbox)
            try:
                await self._send_answers([answer.fields() for answer in answers])
            except GeminiError:
                raise
            except Exception:
                # The SDK refuses one of them: the others are not to be lost with it.
                await self._send_one_by_one(answers)
            for answer in answers:
                self._note_sent(answer)
            self._changed.set()

    async def _send_one_by_one(self, answers: list[_Answer]) -> None:
        for answer in answers:
            try:
                await self._send_answers([answer.fields()])
            except GeminiError:
                raise
            except Exception as error:
                logger.error("The answer of the tool %s is refused: %s", answer.run.name, error)
            self._note_sent(answer)

    def connected(self, *, same_session: bool) -> None:
        """Take note of another connection.

        Args:
            same_session: It goes on with the session that has called. Otherwise nobody wants the
                answers any more.
        """
        self._connection += 1
        runs = list(self._runs.values())
        if same_session:
            for run in reversed(runs):
                if run.state is CallState.SENT and run.last is not None:
                    run.state = CallState.ANSWERED
                    self._outbox.appendleft(run.last)
            self._changed.set()
            return
        self._answered_ids.clear()
        for run in runs:
            was_sent = run.state is CallState.SENT
            self._abandon(run)
            if not was_sent:
                logger.warning(
                    "The result of the tool %s is dropped: a new session was begun, which has not "
                    "called it",
                    run.name,
                )
                self._tell_cancelled(run, "new session")

    # -- from the application ------------------------------------------------------------------

    def answer(self, call_id: str, result: Any, error: str | None, *, retryable: bool) -> None:
        """Answer a call that the application answers.

        Raises:
            ConfigError: There is no such call, or a function answers it.
        """
        run = self._runs.get(call_id)
        if run is None or run.reply is None:
            raise ConfigError(
                f"no call with the id {call_id!r} waits for an answer of the application: it was "
                "answered or cancelled, has timed out, or a function answers it"
            )
        if run.reply.done():
            raise ConfigError(f"the call {call_id!r} was answered before")
        run.reply.set_result(_Outcome(result, error, retryable))

    # -- the end -------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Return whether functions are still running."""
        return bool(self._work)

    def cancel(self) -> None:
        """Begin to end: no call is taken any more, and those that run are cancelled."""
        self._is_closing = True
        for run in [*self._runs.values(), *self._abandoned]:
            is_running = run.state is CallState.RUNNING
            self._settle(run, expects=False)
            if is_running and run.wanted:
                self._tell_cancelled(run, "closed")

    async def aclose(self) -> None:
        """Wait for the functions that were cancelled; a thread is not waited for."""
        if self._work:
            await asyncio.wait(set(self._work), timeout=CANCEL_GRACE_S)

    def discard(self) -> None:
        """Let go of what is left."""
        for task in self._work:
            logger.error("A tool does not end although it was cancelled: %r", task)
        self._threads.close()
        self._outbox.clear()

    # -- one call ------------------------------------------------------------------------------

    def _take(self, call: Mapping[str, Any]) -> None:
        call_id = str(call.get("id") or "")
        if call_id and (call_id in self._runs or call_id in self._answered_ids):
            logger.debug("Gemini Live has sent the call %s twice", call_id)
            return
        self._unnamed += 1
        name, args = str(call.get("name") or ""), call.get("args")
        run = _Run(
            call_id or f"#{self._unnamed}",
            call_id,
            name,
            {} if args is None else args,
            self.registry.entries.get(name),
            self._connection,
            asyncio.get_running_loop().time(),
        )
        before = self._find_repeated(run)
        if before is not None:
            self._revive(before, run)
            return
        is_too_many = len(self._runs) >= MOST_CALLS
        if run.entry is not None and run.entry.is_manual and self._has_handler(ToolCall):
            run.reply = asyncio.get_running_loop().create_future()  # a handler may answer at once
        self._note_called(run)
        if is_too_many:
            text = f"more than {MOST_CALLS} functions are being called; call fewer at a time"
            self._finish(run, _Outcome(error=text, retryable=True))
        elif run.entry is None:
            self._finish(run, self._unknown(name))
        else:
            run.task = self._start(self._execute(run, run.entry))

    def _note_called(self, run: _Run) -> None:
        self._runs[run.key] = run
        self._surroundings.tool_called(run.key, waits=run.waits)
        self._emit(ToolCall, id=run.id, tool=run.name, args=dict(_mapping(run.args)))

    def _unknown(self, name: str) -> _Outcome:
        known = self.registry.entries
        near = nearest(name, known)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(known) or 'none'}"
        return _Outcome(error=f"there is no function {name!r}; {hint}", retryable=bool(near))

    def _find_repeated(self, run: _Run) -> _Run | None:
        """Find the same call, made over an earlier connection and not known to be answered."""
        for old in [each for each in self._abandoned if _is_stale(each, run.called_at)]:
            self._settle(old)
        for each in (*self._runs.values(), *self._abandoned):
            is_earlier = each.connection < self._connection
            if is_earlier and (each.name, each.args) == (run.name, run.args):
                return each
        return None

    def _revive(self, run: _Run, repeated: _Run) -> None:
        """Let a call from before a reconnect answer its repetition.

        What the function does, a booking for example, is then not done twice.
        """
        logger.info("The tool %s is called again after a reconnect; it runs once", run.name)
        if run in self._abandoned:
            self._abandoned.remove(run)
        else:
            del self._runs[run.key]
            self._note_over(run, expects=False)
            if run.last is None:
                self._tell_cancelled(run, "new session")
        run.key, run.id, run.connection = repeated.key, repeated.id, repeated.connection
        run.called_at, run.began = repeated.called_at, repeated.began
        run.wanted = run.is_owed = True
        self._note_called(run)
        if run.last is None or run.state is CallState.SETTLED:
            return
        run.state = CallState.ANSWERED
        self._tell_result(run, run.last)
        if run.last not in self._outbox:
            self._post(run.last)

    async def _execute(self, run: _Run, entry: Entry) -> None:
        try:
            async with self._running:
                outcome = await self._attempt(run, entry)
        except asyncio.CancelledError:
            if run.state is CallState.RUNNING:  # not by us: somebody cancels what is not theirs
                self._finish(run, _Outcome(error="the call was cancelled", retryable=True))
            raise
        except Exception:
            logger.exception("A call of the tool %s could not be made", run.name)
            outcome = _Outcome(error="the function could not be called")
        self._finish(run, outcome)

    async def _attempt(self, run: _Run, entry: Entry) -> _Outcome:
        """Run the function, within its time."""
        try:
            work = run.work = self._start(self._invoke(run, entry))
        except ArgumentError as error:
            return _Outcome(error=f"wrong arguments: {error}", retryable=True)
        try:
            await asyncio.wait([work], timeout=entry.timeout_s)
        finally:
            work.cancel()
        if not work.done():
            return _Outcome(error=f"{run.name} has not finished within {entry.timeout_s:g} s")
        if work.cancelled():
            return _Outcome(error=f"{run.name} was cancelled from inside")
        failure = work.exception()
        if failure is None:
            outcome: _Outcome = work.result()
            return outcome
        if isinstance(failure, ArgumentError):
            return _Outcome(error=f"wrong arguments: {failure}", retryable=True)
        if isinstance(failure, ToolError):
            return _Outcome(error=_cut(str(failure)), retryable=failure.retryable)
        logger.warning("The tool %s has failed", run.name, exc_info=failure)
        is_network = isinstance(failure, (ConnectionError, TimeoutError, asyncio.TimeoutError))
        text = f"{type(failure).__name__}: {failure}" if str(failure) else type(failure).__name__
        return _Outcome(error=_cut(text), retryable=is_network)

    async def _invoke(self, run: _Run, entry: Entry) -> _Outcome:
        if entry.mcp is not None:
            return _mcp_outcome(await entry.mcp.call_tool(run.name, arguments=_mapping(run.args)))
        if entry.declared is None:
            return await self._ask_application(run)
        if not isinstance(run.args, Mapping):
            raise ArgumentError("", "the arguments are no object")
        context = self._surroundings.tool_context(run.id, run.name)
        args, kwargs = entry.declared.bind(run.args, context)
        function, kind = entry.declared.tool.function, entry.declared.kind
        if kind == "sync":
            result = await self._threads.run(function, *args, **kwargs)
        else:
            result = function(*args, **kwargs)
        if inspect.isawaitable(result):
            result = await result
        if inspect.isgenerator(result):
            result = self._step(result)
        if inspect.isasyncgen(result):
            return await self._stream(run, entry, result)
        return _Outcome(result)

    async def _ask_application(self, run: _Run) -> _Outcome:
        if run.reply is None:
            return _Outcome(error=f"nobody answers {run.name} at the moment")
        return await run.reply

    async def _step(self, generator: Any) -> AsyncIterator[Any]:
        """Iterate over a blocking generator, each step on a thread."""
        try:
            while True:
                item = await self._threads.run(next, generator, _END)
                if item is _END:
                    return
                yield item
        finally:
            with contextlib.suppress(ValueError):  # a step that was cancelled is still running
                generator.close()

    async def _stream(self, run: _Run, entry: Entry, results: Any) -> _Outcome:
        """Answer with each result as it comes; all at once where the service takes one only."""
        collected: list[Any] = []
        at_once = entry.waits or not self._streams()
        async with contextlib.aclosing(results):
            async for item in results:
                if at_once:
                    collected.append(item)
                    continue
                while len(self._outbox) >= MOST_ANSWERS and run.wanted:
                    self._changed.clear()
                    await self._changed.wait()
                response = _response(run.name, _Outcome(item))
                collected.append(None)
                if run.wanted:
                    self._post(_Answer(run, response, entry.scheduling, will_continue=True))
        if at_once:
            return _Outcome(collected)
        return _Outcome(streamed=bool(collected))

    # -- its answer ----------------------------------------------------------------------------

    def _finish(self, run: _Run, outcome: _Outcome) -> None:
        """Answer a call for good."""
        if run.state is not CallState.RUNNING:
            return
        response = _response(run.name, outcome)
        scheduling = run.entry.scheduling if run.entry is not None else None
        if outcome.streamed:  # there is nothing more to say
            scheduling = "SILENT"
        run.last = _Answer(run, response, scheduling, result=outcome.result)
        run.state = CallState.ANSWERED
        if not run.wanted:
            run.kept_from = asyncio.get_running_loop().time()
            return
        self._tell_result(run, run.last)
        if run.state is CallState.ANSWERED:  # no handler has ended the session
            self._post(run.last)

    def _tell_result(self, run: _Run, answer: _Answer) -> None:
        """Emit `tool_result`: once for each `tool_call` that is not cancelled."""
        failed = answer.response["status"] == "error"
        self._emit(
            ToolResult,
            id=run.id,
            tool=run.name,
            result=None if failed else answer.result,
            error=answer.response.get("message", "") if failed else None,
            duration_ms=(time.perf_counter() - run.began) * 1000,
        )

    def _tell_cancelled(self, run: _Run, reason: ToolCancelReason) -> None:
        self._emit(ToolCancelled, id=run.id, tool=run.name, reason=reason)

    def _post(self, answer: _Answer) -> None:
        self._outbox.append(answer)
        self._changed.set()

    def _note_sent(self, answer: _Answer) -> None:
        """Take note that an answer was sent, unless it was withdrawn meanwhile."""
        if answer not in self._outbox:
            return
        self._outbox.remove(answer)
        run, expects = answer.run, answer.scheduling != "SILENT"
        if answer.will_continue:
            if expects and run.is_owed:
                # It is spoken of while the function goes on.
                self._surroundings.tool_answered(run.key, waits=run.waits, expects=True)
                self._surroundings.tool_called(run.key, waits=run.waits)
            return
        run.state = CallState.SENT
        self._note_over(run, expects=expects)

    def _note_over(self, run: _Run, *, expects: bool) -> None:
        if run.is_owed:
            run.is_owed = False
            self._surroundings.tool_answered(run.key, waits=run.waits, expects=expects)

    def _settle(self, run: _Run, *, expects: bool = False) -> None:
        """Forget a call."""
        self._runs.pop(run.key, None)
        if run in self._abandoned:
            self._abandoned.remove(run)
        run.state = CallState.SETTLED
        if run.task is not None:
            run.task.cancel()
        if run.id:
            self._answered_ids.append(run.id)
        self._withdraw(run)
        self._note_over(run, expects=expects)

    def _abandon(self, run: _Run) -> None:
        """Let a call go on whose session is gone: the next one may ask for the same."""
        del self._runs[run.key]
        run.wanted, run.kept_from = False, asyncio.get_running_loop().time()
        self._withdraw(run)
        # The next session knows what was said, and owes an answer to it.
        self._note_over(run, expects=True)
        self._abandoned.append(run)
        while len(self._abandoned) > MOST_CALLS:
            self._settle(self._abandoned[0])

    def _withdraw(self, run: _Run) -> None:
        kept = [answer for answer in self._outbox if answer.run is not run]
        if len(kept) < len(self._outbox):
            self._outbox.clear()
            self._outbox.extend(kept)
        self._changed.set()

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._spawn(work)
        self._work.add(task)
        task.add_done_callback(self._note_done)
        return task

    def _note_done(self, task: asyncio.Task[Any]) -> None:
        self._work.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved; it is told where the call is answered


def _is_stale(run: _Run, now: float) -> bool:
    """Return whether the answer of a call whose session is gone is too old to be given again."""
    return run.state is not CallState.RUNNING and now - run.kept_from > REPEATED_S


def _response(name: str, outcome: _Outcome) -> dict[str, Any]:
    """Return what the model reads of an outcome.

    A model that is told nothing calls again, so that there is always a status, and a message where
    the result is empty.
    """
    error, retryable = outcome.error, outcome.retryable
    if error is None:
        try:
            result = to_json(outcome.result)
            size = len(json.dumps(result))
        except Exception as failure:  # also of a pydantic model, or of a mapping of one's own
            error = f"{name} has run, but its result cannot be sent: {_cut(str(failure))}"
        else:
            if size > MOST_RESULT_BYTES:
                error = (
                    f"{name} has run, but its result has {size} bytes, and {MOST_RESULT_BYTES} is "
                    "the most that can be sent; ask for less"
                )
    if error is not None:
        return {"status": "error", "message": error, "retryable": retryable}
    if outcome.streamed:
        return {"status": "ok", "message": f"{name} has finished; that was all of its results."}
    if result is None:
        return {"status": "ok", "message": f"{name} has succeeded; it has no result to tell."}
    if result in ("", [], {}):
        message = f"{name} has succeeded; its result is empty."
        return {"status": "ok", "result": result, "message": message}
    return {"status": "ok", "result": result}


def _mcp_outcome(result: Any) -> _Outcome:
    """Read the result of a tool of an MCP server."""
    found = (getattr(each, "text", None) for each in result.content or ())
    texts = [text for text in found if isinstance(text, str)]
    is_error = getattr(result, "isError", None) or getattr(result, "is_error", None)
    if is_error:
        return _Outcome(error=_cut("\n".join(texts) or "the MCP server reports an error"))
    for name in ("structuredContent", "structured_content"):
        structured = getattr(result, name, None)
        if structured is not None:
            return _Outcome(structured)
    if not texts and result.content:
        kinds = ", ".join(sorted({str(getattr(each, "type", "?")) for each in result.content}))
        return _Outcome(error=f"the MCP server answers with what is no text: {kinds}")
    return _Outcome("\n".join(texts) or None)


def _mapping(args: Any) -> Mapping[str, Any]:
    return args if isinstance(args, Mapping) else {}


def _cut(text: str) -> str:
    limit = MOST_ERROR_CHARACTERS
    return text if len(text) <= limit else text[: limit - 3] + "..."
