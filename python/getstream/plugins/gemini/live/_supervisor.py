"""Hold one conversation over one connection after the other: connect, run, reconnect, shut down."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .._exit import outlast_native_threads
from ..errors import ConnectionLostError, GeminiError, SessionError
from ._emitter import Emitter
from ._events import (
    Closed,
    Connected,
    Disconnected,
    ErrorEvent,
    Reconnecting,
    Resumed,
    ResumptionEvent,
)
from ._lifecycle import Lifecycle
from ._options import BargeIn, check_answered_key
from ._reconfiguration import Reconfiguration
from ._resumption import Resumption
from ._session import KeySource, ResumeSource, ServerMessage, Session
from ._session.reconnect import REST_S, ReconnectAttempt, ReconnectPolicy
from ._session.send_queue import (
    KEPT_SPEECH_MS,
    ActivityMarker,
    Content,
    Image,
    Request,
    SendQueue,
    Text,
)
from ._settings import Settings
from ._telemetry.metrics import SessionMetrics
from ._timing import FRAME_MS, PREROLL_MS
from ._tools.declarations import ToolContext
from ._tools.executor import ToolExecutor
from ._turns.controller import TurnController
from ._turns.policy import Phase

if TYPE_CHECKING:
    from google import genai

logger = logging.getLogger("getstream.plugins.gemini")

_T = TypeVar("_T")

DRAIN_S = 1.0
"""Seconds for reading what has arrived on a connection on which nothing can be sent any more."""

BOUNDARY_POLL_S = 0.1
"""Seconds between looks for a boundary between turns, once the announced end of the connection is
near."""

HANDLER_GRACE_S = 2.0
"""Seconds from the end of the session in which async event handlers and the video source may finish
what they are doing. Closing the connection counts, so that all of it takes less than 3 s."""

DRAIN_POLL_S = 0.1
"""Seconds between two looks whether the conversation has come to rest, in `drain`."""

STOP_S = 0.3
"""Seconds that the tasks of a connection have to end when they are cancelled, which takes none."""


class ToolSound(Protocol):
    """Something that is heard while tools run."""

    def start(self, key: str) -> None:
        """Take note that a tool begins to run."""

    def stop(self, key: str) -> None:
        """Take note that it has ended; what is not known is passed over."""


class Resource(Protocol):
    """Something that ends with the session."""

    @property
    def is_busy(self) -> bool:
        """Return whether there is anything that has to end."""

    def cancel(self) -> None:
        """Begin to end, without waiting."""

    async def aclose(self) -> None:
        """End; the time for it is bounded by the caller."""

    def discard(self) -> None:
        """Let go of what is left, whatever has become of `aclose`."""


class Supervisor:
    """Owns the session with Gemini: its connections, what is sent, the turns, and every task.

    Messages of the service reach the turns and the send queue here; actions of the turns reach the
    service here (it is their `Effects`).

    Args:
        settings: the settings of the assistant.
        client: the application's own client, or None.

    Attributes:
        lifecycle: the state of the session.
        events: the events to the application.
        session: the connection to the service.
        send_queue: what is to be sent.
        turns: the turns of the conversation.
        tools: the functions that the model may call.
        assistant: the `GeminiLive`, for functions that ask for their context.
        tool_sound: what is heard while the model waits for a tool, or None.
        messages: how many messages the service has sent.
        metrics: delays, tokens and cost.
        disconnects: connections that ended without having been asked to.
        planned_reconnects: connections that were left because their end was announced.
        on_closed: called when the session is closed, before anything is shut down.
        on_shut_down: called when the session begins to end.
        on_barge_in_changed: called with the times of barge-in when they were changed, and with what
            to call when the detector goes by them.
    """

    def __init__(self, settings: Settings, client: genai.Client | None) -> None:
        self.lifecycle = Lifecycle(
            self._run,
            self._shut_down,
            on_abandoned=self._abandon,
            on_closed=self._silence,
            on_wanted=self.wake,
        )
        self.events = Emitter(self.spawn, self.now, lambda: self.turns.policy.turn)
        self.messages = 0
        self.metrics = SessionMetrics(settings.model)
        self.events.observers.add(self.metrics)
        self.disconnects = self.planned_reconnects = 0
        self.on_closed: list[Callable[[], None]] = []
        self.on_shut_down: list[Callable[[], None]] = []
        self.on_barge_in_changed: list[Callable[[BargeIn, Callable[[], None]], None]] = []
        self._settings = settings
        self._detection_ms = settings.detection_ms  # by the times that the detector goes by
        self._tasks: set[asyncio.Task[Any]] = set()
        self._resources: list[Resource] = []
        access = settings.access
        ask = access.ask if access else None
        self.session = Session(
            api_key=access.api_key if access else None,
            vertexai=access is not None and access.vertexai,
            model=settings.model,
            config=settings.config,
            history_mode=settings.history_mode,
            client=client,
            spawn=self.spawn,
            ask_key=KeySource(ask, check_answered_key, self.spawn) if ask else None,
        )
        self._reconnect_policy = ReconnectPolicy(
            resumable="session_resumption" in settings.config,
            handle=settings.handle,
            # A client for Vertex AI signs in anew when its token has expired.
            renews_key=access.renews if access else bool(getattr(client, "vertexai", False)),
            random=random.random,
        )
        self._nudge = settings.watchdog.nudge if settings.watchdog else None
        self.turns = TurnController(
            settings.turn_options,
            duck_db=settings.times.duck_db,
            events=self.events,
            effects=self,
            only_speech=settings.only_speech,
            plays=settings.playback,
            detection_s=settings.detection_ms / 1000,
            nudge=self._nudge,
            metrics=self.metrics,
        )
        self.send_queue = SendQueue(
            settings.activity_preroll_ms,
            self.session.send_audio_now,
            self.metrics.send_queue_ms.append,
        )
        self.events.observers.changed.append(self._wire_observers)
        self.assistant: Any = None
        self.tool_sound: ToolSound | None = None
        self.tools = ToolExecutor(
            settings.tools,
            spawn=self.spawn,
            emit=self.events.emit,
            has_handler=self.events.has_handler,
            send=self.session.send_tool_responses,
            streams=lambda: self.session.streams_tool_results,
            surroundings=self,
        )
        self.add_resource(self.tools)
        self.reconfiguration = Reconfiguration(self, settings)
        self.turns.history.begin_with(settings.history)
        self._resume = ResumeSource(settings.resume, self.spawn)
        self._leaving: asyncio.Future[SessionError | None] | None = None
        self._awake: asyncio.Future[None] | None = None  # while there is to be no connection
        self._go_away_timer: asyncio.TimerHandle | None = None
        self._server_acks = False  # the service tells by number what it has taken
        self._handle_in_speech: float | None = None  # when the speech began in which the last came

    # -- life ----------------------------------------------------------------------------------

    def add_resource(self, resource: Resource) -> None:
        """Look after something that ends with the session."""
        self._resources.append(resource)

    def spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Start a task that does not outlive its reference by accident."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def now(self) -> float:
        """Return the time of the event loop, in seconds."""
        return asyncio.get_running_loop().time()

    async def close(self) -> None:
        """End the session; see `GeminiLive.close`."""
        # A task of the session must not wait for its end: the end waits for the task.
        current = asyncio.current_task()
        is_own = current is self.lifecycle.task or current in self._tasks
        await self.lifecycle.close(wait=not is_own)

    def report(self, error: GeminiError) -> None:
        """Emit `error`, or log it where nobody listens."""
        if not self.events.emit(ErrorEvent, error=error):
            logger.error("Gemini Live: %s", error)

    def leave_connection(self, reason: SessionError | None) -> None:
        """Leave the connection; it is reconnected. `reason` is None where that was planned."""
        if self._leaving is not None and not self._leaving.done():
            self._leaving.set_result(reason)

    async def send_request(self, make: Callable[[], Request]) -> None:
        """Send something of the application, now or when there is a connection.

        Args:
            make: makes it, when there has been a connection.

        Raises:
            SessionError, ClosedError: there will never be one.
        """
        lifecycle = self.lifecycle
        await lifecycle.wait_until_settled()
        item = make()
        self.send_queue.push_request(item)
        self.wake()
        try:
            await asyncio.wait([item.sent, lifecycle.ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not item.sent.done():
                self.send_queue.withdraw(item)
        if not item.sent.done():
            lifecycle.check_open()

    def may_send_video(self) -> bool:
        """Return whether there is a connection, and no audio waits for it."""
        return self.lifecycle.is_ready and not self.send_queue.is_behind and self.session.has_room()

    def late_frames(self) -> int:
        """Return how many frames of playback were late, since the start."""
        output = self.turns.output
        return output.late_frames + output.gaps

    async def send_video(self, jpeg: bytes) -> float | None:
        """Send an image; None if there is no connection: the next one will be newer.

        Returns:
            For how many seconds audio after it would have waited.
        """
        if not self.lifecycle.is_ready:
            return None
        try:
            return await self.session.send_image(jpeg)
        except SessionError as error:
            self.leave_connection(error)
            return None

    async def send_note(self, text: str) -> None:
        """Send a text to which no answer is owed, if there is a connection."""
        try:
            if self.lifecycle.is_ready:
                await self.session.send_text(text)
        except SessionError as error:
            self.leave_connection(error)

    def _wire_observers(self) -> None:
        """Hand over frames of the output where an observer wants them."""
        observers, output = self.events.observers, self.turns.output
        wanted = observers.has("on_output_audio")
        output.on_frame = partial(observers.notify, "on_output_audio") if wanted else None

    # -- rest ----------------------------------------------------------------------------------

    @property
    def is_at_rest(self) -> bool:
        """Return whether nobody has spoken, and nothing was heard or owed, for `REST_S`."""
        if self.lifecycle.is_over:
            return not self.turns.output.playing  # nothing more comes
        since = self.turns.policy.idle_since
        # People answer what they hear, and the service is done with it long before.
        rests = since is not None and self.now() - max(since, self.turns.heard_until) >= REST_S
        return rests and not self.turns.output.playing and not self.send_queue.holds_request

    async def wait_at_rest(self, timeout_s: float) -> bool:
        """Wait until the conversation is at rest; False if the time is up before."""
        latest = self.now() + timeout_s
        while not self.is_at_rest:
            left = latest - self.now()
            if left <= 0 or self.lifecycle.is_closed:
                return False
            await asyncio.sleep(min(DRAIN_POLL_S, left))
        return True

    def rest(self) -> bool:
        """Let the connection go until `wake`, if the conversation is at rest; return whether."""
        if self._awake is None and self.lifecycle.is_ready and self.is_at_rest:
            self._awake = asyncio.get_running_loop().create_future()
            self.leave_connection(None)
        return self._awake is not None

    def wake(self) -> None:
        """Have a connection again, if it was let go."""
        if self._awake is not None and not self._awake.done():
            self._awake.set_result(None)

    # -- what is carried on, and changed -------------------------------------------------------

    @property
    def barge_in(self) -> BargeIn | None:
        """Return how local speech lowers and pauses the assistant; None where it does not."""
        return self._settings.barge_in

    def change_barge_in(self, barge_in: BargeIn | None) -> None:
        """Give way by other options from now on."""
        settings = self._settings = replace(self._settings, barge_in=barge_in)
        self.send_queue.keep_before_activity(settings.activity_preroll_ms)
        self.turns.change_barge_in(settings.turn_options, settings.times.duck_db)

        def on_detection_changed() -> None:
            self._detection_ms = settings.detection_ms
            self.turns.feed.detection_s = settings.detection_ms / 1000

        for change in self.on_barge_in_changed:
            change(settings.times, on_detection_changed)

    @property
    def resumption(self) -> Resumption | None:
        """Return what another session needs to go on; None if there is nothing to go on with."""
        handle, lines = self._reconnect_policy.handle, self.turns.history.lines()
        if not handle and not lines:
            return None
        return Resumption(handle, self._settings.model, tuple(lines), time.time())

    async def _take_resume(self) -> None:
        """Begin with the conversation that the application wants to go on with, if it has one."""
        try:
            resumption = await self._resume.get()
        except SessionError as error:  # a fresh assistant is better than none
            self.report(error)
            return
        if resumption is not None:
            handle = resumption.handle_for(self._settings.model, time.time())
            self._reconnect_policy.exchange_handle(handle)
            self.turns.history.begin_with(resumption.lines)

    def is_between_turns(self, task: asyncio.Task[Any] | None) -> bool:
        """Return whether nobody speaks, nothing is being sent, and no answer is owed by any side.

        Args:
            task: who asks; where that is a tool, its own answer does not count.
        """
        owed = self.send_queue.holds_request or self.tools.owes_beside(task)
        return self.turns.policy.is_between_turns and not owed

    def exchange_handle(self, handle: str) -> str:
        """Set the handle that the next connection resumes; return the one before."""
        return self._reconnect_policy.exchange_handle(handle)

    # -- one connection after the other --------------------------------------------------------

    async def _run(self) -> None:
        """Hold the session over one connection after the other, until one cannot be had."""
        outlast_native_threads()
        await self.reconfiguration.prepare_tools()
        await self._connect()
        self._note_open()
        self.events.emit(Connected)
        while True:
            await self._reconnect(await self._run_connection())

    async def _connect(self) -> None:
        """Set up the first connection, or raise why that is not possible."""
        await self._take_resume()
        attempt = self._reconnect_policy.first_attempt(self.now())
        while True:
            try:
                await self._open(attempt.handle)
                return
            except SessionError as error:
                again = self._reconnect_policy.on_attempt_failed(self.now(), error)
                if again is None:
                    raise
                if attempt.handle and not again.handle:
                    logger.warning("Gemini Live: new session without the given handle: %s", error)
                else:
                    logger.info("Gemini Live: connecting again: %s", error)
            attempt = again
            await asyncio.sleep(attempt.delay_s)

    async def _run_connection(self) -> SessionError | None:
        """Send and receive until the connection is gone.

        Returns:
            Why it is gone, or None if it is time to leave it.
        """
        self._leaving = asyncio.get_running_loop().create_future()
        receiving = asyncio.ensure_future(self._receive())
        sending = asyncio.ensure_future(self._send())
        answering = asyncio.ensure_future(self.tools.send())
        living = asyncio.ensure_future(self.session.keep_alive())
        work: tuple[asyncio.Future[Any], ...] = (receiving, sending, answering, living)
        try:
            await asyncio.wait([*work, self._leaving], return_when=asyncio.FIRST_COMPLETED)
            if (sending.done() or answering.done()) and not receiving.done():
                # What has arrived before the end is still to be read; and the reader has seen the
                # close code.
                await asyncio.wait([receiving], timeout=DRAIN_S)
            for task in work:
                error = _error_of(task) if task.done() else None
                if isinstance(error, SessionError):
                    return error
                if error is not None:
                    raise error
            return self._leaving.result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.wait(work, timeout=STOP_S)
            for task in work:
                if task.done():
                    _error_of(task)

    async def _reconnect(self, reason: SessionError | None) -> None:
        """Have the connection again, or raise why that is not possible."""
        lost_at = self.now()
        self.lifecycle.reconnecting()
        if reason is None:
            self.planned_reconnects += 1
        else:
            self.disconnects += 1
        before = self.send_queue.retransmitted
        turns = self.turns
        turns.apply(turns.policy.connection_lost(lost_at))
        asked_before = self.tools.newest_call_at
        if asked_before is not None:
            # Sent again, it would be done again: the function that it has led to is running.
            self.send_queue.acknowledge_texts(before=asked_before)
            self.send_queue.acknowledge(before=asked_before)
        if given_up := self.send_queue.requeue_unacked():
            logger.warning("Gemini Live: %d texts without an answer are not sent again", given_up)
        if reason is not None:
            logger.warning("Gemini Live: %s", reason)
        self.events.emit(Disconnected, reason=reason)
        if self._awake is not None:
            await self._rest()
        error: SessionError = reason or ConnectionLostError(
            "Gemini Live ends each connection soon after it was made", retryable=True
        )
        attempt = self._reconnect_policy.on_disconnected(self.now(), reason)
        while attempt is not None:
            if self.reconfiguration.begin():
                attempt = replace(attempt, handle="")
            try:
                await self._try(attempt, abort=reason is not None)
            except SessionError as failed:
                error = failed
                if self.reconfiguration.refused(failed):
                    attempt = self._reconnect_policy.on_disconnected(self.now(), None)
                    continue
                attempt = self._reconnect_policy.on_attempt_failed(self.now(), failed)
                continue
            self._note_open()
            same_session = bool(attempt.handle)
            self.tools.connected(same_session=same_session)
            turns.apply(turns.policy.connection_resumed(self.now()))
            gap_ms = (self.now() - lost_at) * 1000
            retransmitted_ms = (self.send_queue.retransmitted - before) * FRAME_MS
            logger.info(
                "Gemini Live goes on after %.0f ms without a connection, in %s session",
                gap_ms,
                "the same" if same_session else "a new",
            )
            self.events.emit(
                Resumed,
                gap_ms=gap_ms,
                attempts=attempt.attempt,
                same_session=same_session,
                retransmitted_ms=retransmitted_ms,
            )
            return
        raise error

    async def _try(self, attempt: ReconnectAttempt, *, abort: bool) -> None:
        """Make one attempt to have the connection again."""
        resuming = bool(attempt.handle)
        self.events.emit(
            Reconnecting,
            attempt=attempt.attempt,
            delay_ms=attempt.delay_s * 1000,
            resuming=resuming,
        )
        # The service refuses to resume a session whose connection is open.
        await self.session.close(abort=abort)
        if attempt.delay_s:
            await asyncio.sleep(attempt.delay_s)
        await self._open(attempt.handle)

    async def _open(self, handle: str) -> None:
        """Resume the session of a handle, or begin a new one with what was said before."""
        await self.session.open(handle, () if handle else self.turns.history.lines())

    async def _rest(self) -> None:
        """Wait without a connection until one is wanted."""
        assert self._awake is not None
        if not self.send_queue.holds_request:
            self.lifecycle.resting()
            await self.session.close()
            logger.info("Gemini Live is let go until somebody is there")
            await self._awake
            self.lifecycle.reconnecting()
        self._awake = None

    def _note_open(self) -> None:
        self._reconnect_policy.on_connected(self.now())
        self.reconfiguration.accepted()
        self.lifecycle.ready()

    def _move_when_idle(self) -> None:
        """Leave the connection, whose end is announced, at a boundary between turns, or in time."""
        self._go_away_timer = None
        now, turns = self.now(), self.turns.policy
        reconnect = self._reconnect_policy
        if reconnect.should_leave(now, turns.idle_since, turns.generating):
            self.leave_connection(None)
            return
        earliest = reconnect.may_leave_from
        if earliest is not None and not self.lifecycle.is_over:
            loop = asyncio.get_running_loop()
            at = max(earliest, now + BOUNDARY_POLL_S)
            self._go_away_timer = loop.call_at(at, self._move_when_idle)

    # -- the end -------------------------------------------------------------------------------

    async def _shut_down(self, failure: GeminiError | None) -> None:
        """End everything and tell so, within `HANDLER_GRACE_S` and what cancelling takes."""
        loop = asyncio.get_running_loop()
        end_at = loop.time() + HANDLER_GRACE_S
        if failure is not None:
            logger.error("Gemini Live: %s", failure)
            self.events.emit(ErrorEvent, error=failure)
        self.turns.stop()
        if self._go_away_timer is not None:
            self._go_away_timer.cancel()
        for callback in self.on_shut_down:
            callback()
        for resource in self._resources:
            resource.cancel()  # they end while the connection does
        try:
            await self.session.close()
            busy = [resource for resource in self._resources if resource.is_busy]
            ending = [self.spawn(resource.aclose()) for resource in busy]
            if ending:
                await asyncio.wait(ending, timeout=max(0.0, end_at - loop.time()))
        finally:
            for resource in self._resources:
                resource.discard()
            if failure is None:
                self.turns.output.stop()
            else:
                self.turns.drain()
            self._tell_end(failure)
        await self.session.aclose()
        await self.events.drain(max(0.0, end_at - loop.time()))

    def _tell_resumption(self) -> None:
        if self.events.listens(ResumptionEvent) and (resumption := self.resumption) is not None:
            self.events.emit(ResumptionEvent, resumption=resumption)

    def _tell_end(self, failure: GeminiError | None) -> None:
        self._resume.discard()
        self._tell_resumption()
        self.events.emit(Closed, cause=failure)
        self.events.end_streams()
        self.events.observers.close()

    def _abandon(self) -> None:
        """Tell that the session is over, where it has not begun or its event loop is gone."""
        self.turns.stop()
        self._tell_end(None)

    def _silence(self) -> None:
        """Silence the track, and undo what is wired to a call: the session is closed."""
        try:
            self.turns.output.stop()
            for callback in self.on_closed:
                callback()
        except RuntimeError:  # the event loop is closed, and so is whoever waits for the track
            logger.debug("The output track ends after its event loop")

    # -- from the service ----------------------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            message = await self.session.next()
            self.messages += 1
            self._on_server_message(message)

    def _on_server_message(self, message: ServerMessage) -> None:
        now = self.now()
        self.events.observers.notify("on_message", now, message)
        if message.usage is not None:
            self.metrics.add_usage(message.usage)
        if message.time_left is not None:
            logger.info("Gemini Live will end this connection in %g s", message.time_left)
            self._reconnect_policy.on_go_away(now, message.time_left)
            if self._go_away_timer is not None:
                self._go_away_timer.cancel()
            self._move_when_idle()
        if message.resumable is not None:
            self._on_resumption_update(now, message)
        policy = self.turns.policy
        is_under_way = policy.phase in (Phase.GENERATING, Phase.SENT, Phase.CUT)
        in_turn = is_under_way or bool(message.audio or message.text)
        self.turns.on_server_message(message)
        if message.turn_complete:
            self.tools.confirm()
        if message.cancelled_calls:
            self.tools.cancel_calls(message.cancelled_calls)
        if message.tool_calls:
            self.tools.call(message.tool_calls)
        if message.generation_complete and not self._server_acks:
            self._acknowledge(policy.turn_began_at)
        # A text has its answer when a turn is over that began after it, and not before: what a
        # handle stands for may hold the text, and no answer would come of that.
        if in_turn and message.interrupted:
            self.send_queue.acknowledge_texts(before=policy.turn_began_at, cut=True)
        elif message.generation_complete or (in_turn and message.turn_complete):
            self.send_queue.acknowledge_texts(before=policy.turn_began_at)

    def _on_resumption_update(self, now: float, message: ServerMessage) -> None:
        """Note a resumption handle, and what the service has taken when it issues one."""
        assert message.resumable is not None
        before = self._reconnect_policy.handle
        self._reconnect_policy.on_resumption_handle(message.handle, message.resumable)
        if self._reconnect_policy.handle != before:
            self._tell_resumption()
        if message.consumed is not None:
            self._server_acks = True
            self.send_queue.acknowledge(number=message.consumed)
            return
        if not message.resumable:
            return
        # What was said in the last moment may not have been there yet.
        moment = now - PREROLL_MS / 1000
        policy = self.turns.policy
        speech = policy.unanswered_since
        silence_ms = self._settings.activity.silence_ms
        in_speech = speech is not None and self.send_queue.silence_ms < silence_ms
        if in_speech and speech == self._handle_in_speech:
            # The second one since somebody began: this service issues them by time, and not only
            # between turns, so that what was said before is in there.
            self.send_queue.acknowledge(before=moment, keep_speech_ms=KEPT_SPEECH_MS)
        else:
            self._acknowledge(max(policy.turn_began_at, moment))
        self._handle_in_speech = speech

    def _acknowledge(self, before: float) -> None:
        """Forget what was sent before a time, except what the user has begun to say since."""
        since = self.turns.policy.unanswered_since
        if since is not None:
            before = min(before, since - (self._detection_ms + PREROLL_MS) / 1000)
        self.send_queue.acknowledge(before=before)

    # -- to the service ------------------------------------------------------------------------

    async def _send(self) -> None:
        while True:
            item = await self.send_queue.next()
            if item is ActivityMarker.STREAM_END:
                number = await self.session.send_audio_stream_end()
            elif isinstance(item, ActivityMarker):
                starts = item is ActivityMarker.ACTIVITY_START
                number = await self.session.send_activity(starts=starts)
            elif isinstance(item, Request):
                number = await self._send_request(item)
            else:
                number = await self.session.send_audio(item.data)
            self.send_queue.mark_sent(item, number, self.now())

    async def _send_request(self, item: Request) -> int:
        is_first = not item.sent.done()
        if isinstance(item, Text):
            number = await self.session.send_text(item.text)
            if is_first:
                self.turns.text_sent(item.text)
        elif isinstance(item, Image):
            number = await self.session.send_still(item.encoded, item.mime_type)
        else:
            assert isinstance(item, Content)
            complete = item.turn_complete
            number = await self.session.send_content(item.turns, turn_complete=complete)
            if is_first:
                self.turns.content_sent(item.texts, asks=complete)
        return number

    # -- what the turns ask for ----------------------------------------------------------------

    def start_activity(self, since_s: float) -> None:
        """Mark that the user speaks, who was heard `since_s` seconds ago."""
        padding_ms = self._settings.activity.padding_ms
        before_ms = since_s * 1000 + self._detection_ms + padding_ms
        self.send_queue.start_activity(before_ms)

    def end_activity(self) -> None:
        """Mark that the user has finished."""
        self.send_queue.end_activity()

    def nudge(self) -> None:
        """Remind the service that it owes something."""
        self.spawn(self._send_nudge())

    def leave_stalled(self) -> None:
        """Try another connection: this one has stalled."""
        self.leave_connection(ConnectionLostError("Gemini Live has stalled", retryable=True))

    # -- what the tools ask for ----------------------------------------------------------------

    def tool_called(self, key: str, *, waits: bool) -> None:
        """Take note that the model has called a function, and whether it waits for the result."""
        if waits and self.tool_sound is not None:
            self.tool_sound.start(key)
        self.turns.apply(self.turns.policy.tool_called(self.now(), waits))

    def tool_answered(self, key: str, *, waits: bool, expects: bool) -> None:
        """Take note that a call is over, and whether the model is to speak of it."""
        if self.tool_sound is not None:
            self.tool_sound.stop(key)
        self.turns.apply(self.turns.policy.tool_answered(self.now(), waits, expects))

    def tool_context(self, call_id: str, name: str) -> ToolContext:
        """Return what a function is told about its call."""
        turns = self.turns
        said = tuple(turns.history.lines())
        return ToolContext(self.assistant, call_id, name, turns.last_speaker, said)

    async def _send_nudge(self) -> None:
        nudge = self._nudge
        assert nudge is not None
        try:
            await self.send_request(lambda: Text(nudge))
        except GeminiError as error:
            logger.debug("The nudge was not sent: %s", error)


def _error_of(task: asyncio.Future[Any]) -> Exception | None:
    """Return what a task of the connection, which is done, has failed with."""
    if task.cancelled():
        # Not by this session, or it would not look: somebody cancels tasks that are not theirs.
        return ConnectionLostError("A task of the connection was cancelled", retryable=True)
    error = task.exception()
    if error is None or isinstance(error, Exception):
        return error
    # SystemExit and KeyboardInterrupt, raised by a sync event handler, go through the event loop to
    # whoever runs it. Raised here, too, they would end a second program.
    return ConnectionLostError(f"An event handler has ended the program ({error!r})")
