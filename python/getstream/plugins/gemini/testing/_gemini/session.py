"""One session of the local Gemini Live server."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from .activity import ActivityDetector, ActivityOptions, ActivityStart, ActivityStop, AudioHistory
from .faults import Abort, Close, NeverAnswer, SetupFault
from .log import (
    Frame,
    Recording,
    SessionEndedError,
    SpokenTurn,
    UserAudio,
    Watch,
    WireLog,
    without_media,
)
from .replies import OUTPUT_RATE, FunctionCall, ReplyPolicy, Stall, Turn, Turns, UserTurn
from .wire import (
    INVALID_ARGUMENT,
    REALTIME_ORDER,
    Endpoint,
    Message,
    RefusalError,
    audio_blob,
    check_fields,
    check_setup,
    close_reason,
    decode,
    duration,
    encode_bytes,
    image_blob,
    model_generation,
)

__all__ = ["LiveSession", "Outgoing", "SessionOptions", "SharedState"]

_logger = logging.getLogger("getstream.plugins.gemini.testing")

T = TypeVar("T")
Outgoing = Message | str | bytes
"""What can be sent: a message, or the raw payload of a text or a binary frame."""

_PADDING_MS = 200.0  # kept before and after the user's speech
_MAX_USER_TURN_S = 300.0
_TOKENS_PER_AUDIO_SECOND = 25
_CHARACTERS_PER_TOKEN = 4
_WAIT_S = 10.0
_SENT_KEPT = 2_000
_CONTEXT_KEPT = 1_000
_HANDLES_KEPT = 1_000


@dataclass(frozen=True)
class SessionOptions:
    """Options of a server that its sessions follow; `LocalGemini` documents them."""

    chunk_ms: float
    speed: float
    parts_per_message: int
    bundle_fields: bool
    turn_complete_after: Literal["generation", "playback"]
    interaction_status_in: Literal["content", "message"]
    activity: ActivityOptions
    announced_end_s: float | None
    models: frozenset[str]
    transcribe: Callable[[UserTurn], str]
    on_send: Callable[[LiveSession, Message], Iterable[Outgoing]] | None
    record_bytes: int


@dataclass
class Lease:
    """Whether the connection that issued a handle is still open."""

    open: bool = True


@dataclass(frozen=True)
class ResumePoint:
    """What a resumption handle stands for.

    Attributes:
        context: What was said, as in `LiveSession.context`.
        lease: The connection that issued it.
    """

    context: tuple[str, ...]
    lease: Lease


class SharedState:
    """What the sessions of one server share.

    Attributes:
        handles: Resumption handles that were issued.
        errors: Exceptions that a reply policy or a hook raised.
    """

    def __init__(self) -> None:
        self.handles: dict[str, ResumePoint] = {}
        self.errors: list[Exception] = []

    def issue(self, handle: str, point: ResumePoint) -> None:
        """Remembers a handle; forgets the oldest one beyond a thousand."""
        self.handles[handle] = point
        while len(self.handles) > _HANDLES_KEPT:
            del self.handles[next(iter(self.handles))]


class LiveSession:
    """A connection to the local server, from the WebSocket handshake to its end.

    `LocalGemini` makes sessions. Its methods are for the thread of the server's event loop.

    Attributes:
        index: Its place in `LocalGemini.sessions`.
        endpoint: API version and method that the client dialled.
        setup: The client's setup, keys in camelCase; empty until it was accepted.
        state: `setup` until `setupComplete` was sent, `ready`, then `closed`.
        resumed_from: The handle with which the client resumed a session, else None.
        interruptions: How many times `interrupted` was sent.
        close_code: WebSocket close code once closed; 1006 if there was no close frame.
        close_text: The reason in the close frame.
        closed_by: Who sent the first close frame: `client`, `server`, or `nobody`.
        pings: Pings that came since `delay_pongs`.
    """

    def __init__(
        self,
        index: int,
        connection: ServerConnection,
        endpoint: Endpoint,
        options: SessionOptions,
        policy: ReplyPolicy,
        shared: SharedState,
        log: WireLog | None,
        changed: Callable[[], None],
    ) -> None:
        self.index = index
        self.endpoint = endpoint
        self.setup: Message = {}
        self.state: Literal["setup", "ready", "closed"] = "setup"
        self.resumed_from: str | None = None
        self.interruptions = 0
        self.close_code: int | None = None
        self.close_text = ""
        self.closed_by: Literal["client", "server", "nobody"] = "nobody"
        self.pings = 0
        self._timers: list[asyncio.TimerHandle] = []
        self._connection = connection
        self._options = options
        self._policy = policy
        self._shared = shared
        self._log = log
        self._changed = changed
        self._recording = Recording(options.record_bytes)
        self._sent: deque[Message] = deque(maxlen=_SENT_KEPT)
        self._watch = Watch()
        self._tasks: set[asyncio.Task[Any]] = set()
        # Outgoing messages pass one at a time, and only while the gate is open.
        self._write_lock = asyncio.Lock()
        self._gate = asyncio.Event()
        self._gate.set()
        self._release = asyncio.Event()
        self._stalled = False
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._generation: asyncio.Task[None] | None = None
        self._handles = 0
        self._resumable = False
        self._client_messages = -1
        self._seeding = False
        self._context: deque[str] = deque(maxlen=_CONTEXT_KEPT)
        self._lease = Lease()
        self._pending_calls: dict[str, FunctionCall] = {}
        self._calls = 0
        self._billed_audio_ms = 0.0
        self._user_turns = 0
        self._activity = options.activity
        self._rate = 0
        self._rate_start_ms = 0.0
        self._history = AudioHistory(16000, _MAX_USER_TURN_S)
        self._detector: ActivityDetector | None = None
        self._onset: int | None = None

    def __repr__(self) -> str:
        return f"<LiveSession {self.index} {self.state}>"

    # What was received and sent

    @property
    def frames(self) -> list[Frame]:
        """What the client sent, oldest first, within `record_bytes` of the server."""
        return self._recording.frames

    @property
    def frames_dropped(self) -> int:
        """How many of the oldest frames are no longer kept."""
        return self._recording.frames_dropped

    @property
    def audio(self) -> list[UserAudio]:
        """The audio that the client sent, one entry for each stretch at the same rate."""
        return self._recording.audio()

    @property
    def audio_ms(self) -> float:
        """How much audio the client has sent, in milliseconds."""
        return self._recording.audio_ms

    @property
    def spoken(self) -> list[SpokenTurn]:
        """The turns of the model, oldest first, within `record_bytes` of the server."""
        return self._recording.turns

    @property
    def sent(self) -> list[Message]:
        """The newest 2,000 messages that were sent; media payloads are replaced by lengths."""
        return list(self._sent)

    @property
    def context(self) -> list[str]:
        """What was said by both sides, as texts, with what a resumed session brought along."""
        return list(self._context)

    @property
    def generating(self) -> bool:
        """True while a turn of the model is being made, from the thinking to `turnComplete`."""
        return self._generation is not None

    # What a test can do to it

    async def send(self, message: Outgoing) -> None:
        """Sends a message of your own: a dict as JSON in a binary frame, str or bytes as they are.

        Raises:
            SessionEndedError: The connection is closed.
        """
        try:
            await self._transmit(message)
        except ConnectionClosed as error:
            raise SessionEndedError(f"{self!r} has ended ({error})") from error

    def say(self, turn: Turn) -> None:
        """The model speaks without being asked, after what it is saying now."""
        self._jobs.put_nowait(_Say(turn))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Closes the connection with a close frame; returns when it is closed.

        Args:
            code: 1000 to 1003, 1007 to 1014 or 3000 to 4999; others cannot be sent (`abort()` is
                what a client sees as 1006).
            reason: Text, cut to the 123 bytes that a close frame holds.
        """
        await self._connection.close(code, close_reason(reason))

    def abort(self) -> None:
        """Resets the TCP connection, without a close frame: a network failure."""
        self._connection.transport.abort()

    async def go_away(self, time_left: float = 10.0, *, close: bool = True) -> None:
        """Announces the end of the connection.

        Args:
            time_left: Seconds, as `goAway.timeLeft`.
            close: Close with 1008 "The operation was aborted." once they are over, as the service
                does; returns before that.
        """
        await self.send({"goAway": {"timeLeft": duration(time_left)}})
        if close:
            self._spawn(self._close_after(time_left))

    def hold(self) -> None:
        """Sends nothing more until `release()`: a stalled server, or a stalled network.

        Messages wait, in order; what the client sends is still read.
        """
        self._gate.clear()

    def release(self) -> None:
        """Ends `hold()`, and a `Stall` without a duration."""
        self._gate.set()
        self._release.set()

    def freeze(self) -> None:
        """Neither sends nor reads any more, not even a ping: a half-open connection."""
        self.hold()
        self._connection.transport.pause_reading()

    def thaw(self) -> None:
        """Ends `freeze()`."""
        self.release()
        self._connection.transport.resume_reading()

    def delay_pongs(self, seconds: float) -> None:
        """Answers pings late from now on, and counts them in `pings`."""
        protocol = self._connection.protocol
        send_frame = protocol.send_frame
        loop = asyncio.get_running_loop()

        def send_late(frame: WebSocketFrame) -> None:
            send_frame(frame)
            self._connection.send_data()

        def send_frame_but_pongs(frame: WebSocketFrame) -> None:
            if frame.opcode is Opcode.PONG:
                self.pings += 1
                self._timers.append(loop.call_later(seconds, send_late, frame))
            else:
                send_frame(frame)

        protocol.send_frame = send_frame_but_pongs  # type: ignore[method-assign]

    async def announce_handle(self) -> str:
        """Sends a new resumption handle, which stands for all that was said until now.

        Raises:
            SessionEndedError: The connection is closed.
        """
        try:
            await self._announce_handle()
        except ConnectionClosed as error:
            raise SessionEndedError(f"{self!r} has ended ({error})") from error
        return f"handle-{self.index}-{self._handles}"

    # What a test can wait for. All of them raise TimeoutError after `timeout` seconds, and
    # SessionEndedError if the connection ends before it can come true.

    async def wait_ready(self, timeout: float = _WAIT_S) -> None:
        """Waits until `setupComplete` was sent."""
        await self._until(lambda: self.state == "ready" or None, "setupComplete", timeout)

    async def wait_frames(self, kind: str, count: int = 1, timeout: float = _WAIT_S) -> list[Frame]:
        """Waits until the client has sent `count` frames of a kind; returns those that are kept."""

        def condition() -> list[Frame] | None:
            if self._recording.counts[kind] < count:
                return None
            return [frame for frame in self._recording.frames if frame.kind == kind]

        return await self._until(condition, f"{count} frames of {kind}", timeout)

    async def wait_audio(self, ms: float, timeout: float = _WAIT_S) -> None:
        """Waits until the client has sent `ms` milliseconds of audio."""
        await self._until(
            lambda: self.audio_ms >= ms or None, f"{ms:g} ms of the user's audio", timeout
        )

    async def wait_user_turns(self, count: int = 1, timeout: float = _WAIT_S) -> None:
        """Waits until the user has completed `count` turns."""
        await self._until(
            lambda: self._user_turns >= count or None, f"{count} turns of the user", timeout
        )

    async def wait_turns(self, count: int = 1, timeout: float = _WAIT_S) -> list[SpokenTurn]:
        """Waits until `count` turns of the model have ended; returns those that are kept."""

        def condition() -> list[SpokenTurn] | None:
            turns = self._recording.turns
            ended = self._recording.turn_count - sum(t.outcome == "speaking" for t in turns)
            return turns if ended >= count else None

        return await self._until(condition, f"{count} turns of the model", timeout)

    async def wait_spoken(self, ms: float, turn: int = 0, timeout: float = _WAIT_S) -> SpokenTurn:
        """Waits until `ms` milliseconds of the model's turn number `turn` were sent."""

        def condition() -> SpokenTurn | None:
            for spoken in self._recording.turns:
                if spoken.index == turn and spoken.sent_ms >= ms:
                    return spoken
            return None

        return await self._until(condition, f"{ms:g} ms of turn {turn}", timeout)

    async def wait_stalled(self, timeout: float = _WAIT_S) -> None:
        """Waits until the model is in a `Stall`."""
        await self._until(lambda: self._stalled or None, "stall", timeout)

    async def wait_interrupted(self, count: int = 1, timeout: float = _WAIT_S) -> None:
        """Waits until `interrupted` was sent `count` times."""
        await self._until(
            lambda: self.interruptions >= count or None, f"{count} interruptions", timeout
        )

    async def wait_closed(self, timeout: float = _WAIT_S) -> tuple[int, str]:
        """Waits until the connection is closed; returns close code and reason."""

        def condition() -> tuple[int, str] | None:
            if self.close_code is None:
                return None
            return self.close_code, self.close_text

        return await self._watch.until(condition, f"end of {self!r}", timeout)

    # The connection

    async def run(self, fault: SetupFault | None, refusal: RefusalError | None) -> None:
        """Serves the connection until it ends.

        Args:
            fault: What goes wrong when the setup arrives.
            refusal: Why the client is not let in, whatever its setup is.
        """
        try:
            await self._serve(fault, refusal)
        except RefusalError as error:
            _logger.info("session %d refused: %d %s", self.index, error.code, error.reason)
            await self.close(error.code, error.reason)
        except ConnectionClosed:
            pass
        except Exception as error:
            await self._fail(error)
        finally:
            await self._finish()

    async def _serve(self, fault: SetupFault | None, refusal: RefusalError | None) -> None:
        frame, *_ = self._receive(await self._connection.recv())
        if refusal is not None:
            raise refusal
        if isinstance(fault, Abort):
            self.abort()
        elif isinstance(fault, Close):
            raise RefusalError(fault.code, fault.reason)
        if isinstance(fault, (Abort, NeverAnswer)):
            async for raw in self._connection:  # or the client's close frame is never seen
                self._receive(raw)
            return
        if frame.kind != "setup":
            raise RefusalError(1007, "setup must be the first message and only the first")
        await self._set_up(frame.message["setup"])
        self._spawn(self._converse())
        async for raw in self._connection:
            for frame in self._receive(raw):
                self._dispatch(frame)

    async def _fail(self, error: Exception) -> None:
        """A reply policy or a hook raised: ends the session as an internal error of the service."""
        _logger.error("session %d: a reply policy or a hook failed", self.index, exc_info=error)
        self._shared.errors.append(error)
        await self.close(1011, "Internal error encountered.")

    async def _finish(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for timer in self._timers:
            timer.cancel()
        protocol = self._connection.protocol
        if protocol.close_sent is not None and not protocol.close_rcvd_then_sent:
            self.closed_by = "server"
        elif protocol.close_rcvd is not None:
            self.closed_by = "client"
        first = protocol.close_sent if self.closed_by == "server" else protocol.close_rcvd
        self.close_code = first.code if first else 1006
        self.close_text = first.reason if first else ""
        self.state = "closed"
        self._lease.open = False
        for turn in self._recording.turns:
            if turn.outcome == "speaking":
                turn.outcome, turn.ended_at = "aborted", time.monotonic()
        if self._log:
            end = {"code": self.close_code, "reason": self.close_text}
            self._log.write(self.index, "end", end)
        self._notify()

    def _receive(self, raw: str | bytes) -> list[Frame]:
        """Decodes and records one message: a frame, or one for each field of a `realtimeInput`."""
        message = decode(raw)
        self._client_messages += 1
        at = time.monotonic()
        ((kind, content),) = message.items()
        if kind != "realtimeInput":
            return [self._record(Frame(self._client_messages, at, kind, message))]
        fields = check_fields("realtime_input", content, "realtime_input")
        frames = []
        for name in sorted(fields, key=REALTIME_ORDER.index):
            value, data, rate = fields[name], b"", 0
            if name == "mediaChunks":
                name, value = self._media_chunk(value)
            if name == "audio":
                data, rate = audio_blob(value)
            elif name == "video":
                data = image_blob(value)
            if data:
                value = {"mimeType": value["mimeType"], "data": data}
            light = {"realtimeInput": {name: value}}
            frames.append(self._record(Frame(self._client_messages, at, name, light, data, rate)))
        return frames

    def _media_chunk(self, chunks: object) -> tuple[str, Any]:
        """The older field for all media; 3.x has `audio` and `video` instead."""
        newer = model_generation(self.setup.get("model", "")).startswith("3")
        if newer or not isinstance(chunks, list) or len(chunks) != 1:
            raise RefusalError(1007, INVALID_ARGUMENT)
        mime = str(chunks[0].get("mimeType", "")) if isinstance(chunks[0], dict) else ""
        return ("audio" if mime.startswith("audio/") else "video"), chunks[0]

    def _record(self, frame: Frame) -> Frame:
        if self._log:
            self._log.write(self.index, "in", frame.message)
        frame = replace(frame, message=without_media(frame.message))
        self._recording.add(frame)
        self._notify()
        return frame

    async def _set_up(self, setup: object) -> None:
        fields = check_setup(setup, self.endpoint, self._options.models)
        handle = (fields.get("sessionResumption") or {}).get("handle")
        if handle:
            point = self._shared.handles.get(handle)
            if point is None:
                raise RefusalError(1008, "BidiGenerateContent session not found")
            if point.lease.open:  # the service insists that the old socket is closed first
                raise RefusalError(1011, "Internal error encountered.")
            self._context.extend(point.context)
            self.resumed_from = handle
        self.setup = fields
        detection = self._realtime_config.get("automaticActivityDetection") or {}
        self._activity = self._options.activity.merged(detection)
        history = fields.get("historyConfig") or {}
        self._seeding = bool(history.get("initialHistoryInClientContent"))
        await self._transmit({"setupComplete": {}})
        self.state = "ready"
        self._notify()
        await self._announce_handle()
        if self._options.announced_end_s is not None:
            await self.go_away(self._options.announced_end_s)

    # From the client

    def _dispatch(self, frame: Frame) -> None:
        kind, content = frame.kind, frame.message.get(frame.kind)
        if kind == "audio":
            self._hear(frame.data, frame.rate)
        elif kind == "audioStreamEnd":
            if self._detector and self._ends_with_stream:
                self._react(self._detector.end_stream())
        elif kind in ("activityStart", "activityEnd"):
            self._activity_signal(starts=kind == "activityStart")
        elif kind == "text":
            self._interrupt()
            text = str(frame.message["realtimeInput"]["text"])
            self._context.append(text)
            self._user_says(UserTurn("text", text=text, session=self.index))
        elif kind == "clientContent":
            self._client_content(check_fields("client_content", content, "client_content"))
        elif kind == "toolResponse":
            self._tool_response(check_fields("tool_response", content, "tool_response"))
        elif kind == "contextUpdate":
            self.setup.update(check_fields("context_update", content, "context_update"))
        elif kind == "setup":
            raise RefusalError(1007, "setup must be the first message and only the first")

    @property
    def _ends_with_stream(self) -> bool:
        """Tell whether `audioStreamEnd` ends speech; see `ActivityOptions`."""
        if self._activity.ends_with_stream is not None:
            return self._activity.ends_with_stream
        return model_generation(self.setup["model"]) != "3.8"

    def _activity_signal(self, *, starts: bool) -> None:
        if not self._activity.disabled:
            raise RefusalError(
                1007,
                "Explicit activity control is not supported when automatic activity detection is "
                "enabled.",
            )
        if starts:
            self._interrupt_on_speech()
            self._onset = self._history.position
        elif self._onset is not None:
            self._end_user_turn(self._onset, self._history.position, padding_ms=0.0)

    def _hear(self, data: bytes, rate: int) -> None:
        if not data:
            return
        samples = np.frombuffer(data, dtype="<i2")
        if rate != self._rate:
            self._change_rate(rate)
        self._history.push(samples)
        if self._detector:
            self._react(self._detector.push(samples))
            if not self._detector.speaking:
                self._history.forget(self._history.position - self._samples(1000.0 + self._padding))
        elif self._onset is None:
            self._history.forget(self._history.position)  # outside of activityStart and -End

    def _change_rate(self, rate: int) -> None:
        if self._detector:
            self._react(self._detector.end_stream())
        if self._rate:
            self._rate_start_ms += self._history.position * 1000.0 / self._rate
        self._rate = rate
        self._history = AudioHistory(rate, _MAX_USER_TURN_S)
        self._detector = None if self._activity.disabled else ActivityDetector(rate, self._activity)
        self._onset = 0 if self._activity.disabled and self._onset is not None else None

    def _react(self, events: list[ActivityStart | ActivityStop]) -> None:
        for event in events:
            if isinstance(event, ActivityStart):
                self._onset = event.onset
                self._voice_activity("ACTIVITY_START", event.onset)
                self._interrupt_on_speech()
            elif self._onset is not None:
                self._voice_activity("ACTIVITY_END", event.end)
                self._end_user_turn(self._onset, event.end, padding_ms=self._padding)

    def _voice_activity(self, kind: str, position: int) -> None:
        if self.setup.get("explicitVadSignal"):
            seconds = self._ms(position) / 1000.0
            self._post({"voiceActivity": {"type": kind, "audioOffset": duration(seconds)}})

    def _end_user_turn(self, onset: int, end: int, padding_ms: float) -> None:
        self._onset = None
        padding = self._samples(padding_ms)
        turn = UserTurn(
            "audio",
            audio=self._history.between(onset - padding, end + self._samples(_PADDING_MS)),
            rate=self._rate or 16000,
            onset_ms=self._ms(onset),
            end_ms=self._ms(end),
            session=self.index,
        )
        self._user_says(replace(turn, text=self._options.transcribe(turn)))

    def _client_content(self, content: Message) -> None:
        turns = content.get("turns") or []
        texts = [_text_of(turn) for turn in turns if isinstance(turn, dict)]
        complete = bool(content.get("turnComplete"))
        if self._seeding:
            self._context.extend(texts)
            self._seeding = not complete
            return
        if model_generation(self.setup["model"]) == "3.1":
            raise RefusalError(1007, INVALID_ARGUMENT)  # only to seed the history
        self._context.extend(texts)
        if complete:
            self._interrupt()
            text = texts[-1] if texts else ""
            self._user_says(UserTurn("text", text=text, session=self.index))

    def _tool_response(self, content: Message) -> None:
        answered, silent = [], True
        for response in content.get("functionResponses") or []:
            call = self._pending_calls.get(response.get("id", ""))
            if call is None:  # cancelled, or never asked
                continue
            if not response.get("willContinue"):
                del self._pending_calls[call.id]
            if response.get("scheduling") == "INTERRUPT":
                self._interrupt()
            silent = silent and response.get("scheduling") == "SILENT"
            answered.append(response)
        if answered and not silent:
            responses = tuple(answered)
            self._user_says(UserTurn("tool_response", tool_responses=responses, session=self.index))

    def _user_says(self, turn: UserTurn) -> None:
        self._user_turns += 1
        if turn.text and turn.kind == "audio":
            self._context.append(turn.text)
        # The policy is asked at once, so that it sees every turn of the user and in order, also
        # those that are interrupted before they are answered.
        self._jobs.put_nowait(_Answer(turn, self._policy.reply(turn)))
        self._notify()

    # The model

    def _interrupt_on_speech(self) -> None:
        if self._realtime_config.get("activityHandling") != "NO_INTERRUPTION":
            self._interrupt()

    def _interrupt(self) -> None:
        """Drops what the model is saying and what it was going to say."""
        while not self._jobs.empty():
            self._jobs.get_nowait()
        cancelled = [call.id for call in self._pending_calls.values() if self._blocking(call)]
        for call_id in cancelled:
            del self._pending_calls[call_id]
        if cancelled:
            self._post({"toolCallCancellation": {"ids": cancelled}})
        if self._generation is not None:
            self._generation.cancel()

    def _blocking(self, call: FunctionCall) -> bool:
        """New input cancels blocking calls only; 3.8 does not block unless it is told to."""
        for tool in self.setup.get("tools") or []:
            for declaration in tool.get("functionDeclarations") or []:
                if declaration.get("name") == call.name and declaration.get("behavior"):
                    return bool(declaration["behavior"] == "BLOCKING")
        return model_generation(self.setup["model"]) != "3.8"

    async def _converse(self) -> None:
        """Makes the turns of the model, one after the other."""
        while True:
            job = await self._jobs.get()
            self._generation = asyncio.create_task(self._perform(job))
            try:
                await asyncio.wait([self._generation])
            except asyncio.CancelledError:
                self._generation.cancel()
                await asyncio.gather(self._generation, return_exceptions=True)
                raise
            generation, self._generation = self._generation, None
            try:
                if generation.cancelled():
                    await self._send_interrupted()
                else:
                    generation.result()
                    if self._resumable:
                        await self._announce_handle()
            except ConnectionClosed:
                return
            except Exception as error:
                await self._fail(error)
                return

    async def _perform(self, job: _Job) -> None:
        if isinstance(job, _Say):
            await self._speak(job.turn)
            return
        user = job.user
        if user.kind == "audio" and "inputAudioTranscription" in self.setup and user.text:
            await self._transmit({"serverContent": {"inputTranscription": {"text": user.text}}})
        async for turn in _each(job.turns):
            await self._speak(turn)

    async def _speak(self, turn: Turn) -> None:
        if turn.delay_ms:
            await asyncio.sleep(turn.delay_ms / 1000.0)
        self._resumable = False
        await self._announce_handle(resumable=False)
        text_only = self.setup.get("generationConfig", {}).get("responseModalities") == ["TEXT"]
        pcm = np.zeros(0, dtype=np.int16) if text_only else turn.pcm
        spoken = self._recording.begin_turn(turn.text, pcm)
        if turn.text:
            self._context.append(turn.text)
        started = asyncio.get_running_loop().time()
        if text_only:
            for word in _deltas(turn.text):
                await self._transmit({"serverContent": {"modelTurn": {"parts": [{"text": word}]}}})
        else:
            if turn.written:
                part = {"text": turn.written}
                await self._transmit({"serverContent": {"modelTurn": {"parts": [part]}}})
            await self._send_audio(turn, spoken, pcm)
        if turn.function_calls:
            await self._call_functions(turn.function_calls)
        else:
            await self._transmit({"serverContent": {"generationComplete": True}})
            if self._options.turn_complete_after == "playback":
                ends = started + pcm.size / OUTPUT_RATE
                await asyncio.sleep(ends - asyncio.get_running_loop().time())
            await self._transmit(self._turn_complete(turn, spoken))
        self._resumable = not turn.function_calls
        spoken.outcome, spoken.ended_at = "complete", time.monotonic()
        self._notify()

    async def _send_audio(self, turn: Turn, spoken: SpokenTurn, pcm: NDArray[np.int16]) -> None:
        loop = asyncio.get_running_loop()
        chunk = max(1, round(self._options.chunk_ms * OUTPUT_RATE / 1000.0))
        step = chunk * self._options.parts_per_message
        messages = -(-pcm.size // step)
        deltas = _deltas(turn.text) if "outputAudioTranscription" in self.setup else []
        stall = turn.stall
        next_at = loop.time()
        for number in range(messages):
            start = number * step
            if stall and start >= stall.at_ms * OUTPUT_RATE / 1000.0:
                await self._stall(stall)
                stall, next_at = None, loop.time()
            block = pcm[start : start + step]
            said = deltas[number * len(deltas) // messages : (number + 1) * len(deltas) // messages]
            content: Message = {"modelTurn": {"parts": _audio_parts(block, chunk)}}
            if said and self._options.bundle_fields:
                content["outputTranscription"] = {"text": "".join(said)}
            await self._transmit({"serverContent": content})
            spoken._sent = start + block.size
            self._notify()
            if said and not self._options.bundle_fields:
                delta = {"outputTranscription": {"text": "".join(said)}}
                await self._transmit({"serverContent": delta})
            next_at += block.size / OUTPUT_RATE / self._options.speed
            if next_at > loop.time():
                await asyncio.sleep(next_at - loop.time())
        if not messages and deltas:
            content = {"outputTranscription": {"text": "".join(deltas)}}
            await self._transmit({"serverContent": content})

    async def _stall(self, stall: Stall) -> None:
        self._stalled = True
        self._notify()
        try:
            if stall.seconds is None:
                self._release.clear()
                await self._release.wait()
            else:
                await asyncio.sleep(stall.seconds)
        finally:
            self._stalled = False

    async def _call_functions(self, calls: tuple[FunctionCall, ...]) -> None:
        described = []
        for call in calls:
            self._calls += 1
            identified = FunctionCall(
                call.name, call.args, call.id or f"function-call-{self.index}-{self._calls}"
            )
            self._pending_calls[identified.id] = identified
            described.append(
                {"name": identified.name, "args": identified.args, "id": identified.id}
            )
        await self._transmit({"toolCall": {"functionCalls": described}})

    def _turn_complete(self, turn: Turn, spoken: SpokenTurn) -> Message:
        content: Message = {"turnComplete": True}
        message: Message = {"serverContent": content}
        if self.setup["model"].endswith("-extended-thinking"):
            place = content if self._options.interaction_status_in == "content" else message
            place["interactionStatus"] = "IN_PROGRESS" if turn.in_progress else "IDLE"
        heard = self.audio_ms - self._billed_audio_ms
        self._billed_audio_ms = self.audio_ms
        prompt_text = 10 + sum(map(len, self._context)) // _CHARACTERS_PER_TOKEN
        prompt_audio = round(heard / 1000.0 * _TOKENS_PER_AUDIO_SECOND)
        response_audio = round(spoken.sent_ms / 1000.0 * _TOKENS_PER_AUDIO_SECOND)
        response_text = 0 if response_audio else -(-len(turn.text) // _CHARACTERS_PER_TOKEN)
        response = response_audio or response_text
        answer = "candidates" if self.endpoint.vertex else "response"
        usage = {
            "promptTokenCount": prompt_text + prompt_audio,
            f"{answer}TokenCount": response,
            "totalTokenCount": prompt_text + prompt_audio + response,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": prompt_text},
                {"modality": "AUDIO", "tokenCount": prompt_audio},
            ],
            f"{answer}TokensDetails": [
                {"modality": "AUDIO" if response_audio else "TEXT", "tokenCount": response}
            ],
        }
        return {**message, "usageMetadata": usage}

    async def _send_interrupted(self) -> None:
        for turn in self._recording.turns:
            if turn.outcome == "speaking":
                turn.outcome, turn.ended_at = "interrupted", time.monotonic()
        await self._transmit({"serverContent": {"interrupted": True}})
        await self._transmit({"serverContent": {"turnComplete": True}})
        self.interruptions += 1
        self._notify()
        await self._announce_handle()

    async def _announce_handle(self, *, resumable: bool = True) -> None:
        """Tells where the session can be resumed: nowhere while the model is at work."""
        if "sessionResumption" not in self.setup:
            return
        update: Message = {"resumable": resumable}
        if resumable:
            self._handles += 1
            update["newHandle"] = f"handle-{self.index}-{self._handles}"
            point = ResumePoint(tuple(self._context), self._lease)
            self._shared.issue(update["newHandle"], point)
        if self.setup["sessionResumption"].get("transparent"):
            update["lastConsumedClientMessageIndex"] = str(self._client_messages)
        await self._transmit({"sessionResumptionUpdate": update})

    # To the client

    async def _transmit(self, message: Outgoing) -> None:
        """The one way out: every message passes here, in order."""
        async with self._write_lock:
            hook = self._options.on_send
            outgoing = hook(self, message) if hook and isinstance(message, dict) else [message]
            for item in outgoing:
                await self._gate.wait()
                if isinstance(item, dict):
                    self._sent.append(without_media(item))
                    if self._log:
                        self._log.write(self.index, "out", item)
                    # Google answers with JSON in binary frames.
                    await self._connection.send(json.dumps(item, default=encode_bytes).encode())
                else:
                    await self._connection.send(item)

    def _post(self, message: Message) -> None:
        """Sends without waiting; in order with everything that is posted after it."""
        self._spawn(self._transmit_unless_closed(message))

    async def _transmit_unless_closed(self, message: Message) -> None:
        try:
            await self._transmit(message)
        except ConnectionClosed:
            pass
        except Exception as error:
            await self._fail(error)

    async def _close_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.close(1008, "The operation was aborted.")

    # Helpers

    @property
    def _realtime_config(self) -> Message:
        return self.setup.get("realtimeInputConfig") or {}

    @property
    def _padding(self) -> float:
        return max(_PADDING_MS, self._activity.prefix_padding_ms)

    def _samples(self, ms: float) -> int:
        return round(ms * (self._rate or 16000) / 1000.0)

    def _ms(self, position: int) -> float:
        return self._rate_start_ms + position * 1000.0 / (self._rate or 16000)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _notify(self) -> None:
        self._watch.notify()
        self._changed()

    async def _until(self, condition: Callable[[], T | None], what: str, timeout: float) -> T:
        def checked() -> T | None:
            result = condition()
            if result is None and self.state == "closed":
                raise SessionEndedError(
                    f"{self!r} ended ({self.close_code} {self.close_text}) before: {what}"
                )
            return result

        return await self._watch.until(checked, what, timeout)


@dataclass(frozen=True)
class _Answer:
    user: UserTurn
    turns: Turns


@dataclass(frozen=True)
class _Say:
    turn: Turn


_Job = _Answer | _Say


async def _each(turns: Turns) -> AsyncIterator[Turn]:
    if isinstance(turns, AsyncIterable):
        async for turn in turns:
            yield turn
    else:
        for turn in turns:
            yield turn


def _audio_parts(block: NDArray[np.int16], chunk: int) -> list[Message]:
    mime = f"audio/pcm;rate={OUTPUT_RATE}"
    return [
        {
            "inlineData": {
                "mimeType": mime,
                "data": block[start : start + chunk].astype("<i2").tobytes(),
            }
        }
        for start in range(0, block.size, chunk)
    ]


def _deltas(text: str) -> list[str]:
    """Words as the service sends them: each but the first with the space before it."""
    return [word if i == 0 else f" {word}" for i, word in enumerate(text.split())]


def _text_of(turn: Mapping[str, Any]) -> str:
    parts = turn.get("parts") or []
    return " ".join(
        str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part
    )
