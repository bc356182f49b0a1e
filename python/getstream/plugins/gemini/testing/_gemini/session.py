"""One session of the local Gemini Live server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode, Opcode
from websockets.frames import Frame as WebSocketFrame

from ..._beliefs import believed
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
from .model import Model
from .options import Outgoing, SessionOptions
from .outbox import Outbox
from .replies import ReplyPolicy, Turn, UserTurn
from .resumption import Handles, SharedState
from .tokens import TokenState
from .user_speech import UserSpeech
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
    image_blob,
    model_generation,
)

__all__ = ["LiveSession"]

_logger = logging.getLogger("getstream.plugins.gemini.testing")

T = TypeVar("T")

_WAIT_S = 10.0
_CONTEXT_KEPT = 1_000
_ENDS_IN_SILENCE_ALONE: tuple[str, ...] = believed("stream_end_ends_turn")


class LiveSession:
    """A connection to the local server, from the WebSocket handshake to its end.

    `LocalGemini` makes sessions. Its methods are for the thread of the server's event loop.

    Attributes:
        index: Its place in `LocalGemini.sessions`.
        endpoint: API version and method that the client dialled.
        setup: The client's setup, keys in camelCase; empty until it was accepted.
        state: `setup` until `setupComplete` was sent, `ready`, then `closed`.
        resumed_from: The handle with which the client resumed a session, else None.
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
        self.close_code: int | None = None
        self.close_text = ""
        self.closed_by: Literal["client", "server", "nobody"] = "nobody"
        self.pings = 0
        self._timers: list[asyncio.TimerHandle] = []
        self._connection = connection
        self._options = options
        self._shared = shared
        self._log = log
        self._changed = changed
        self._recording = Recording(options.record_bytes)
        self._watch = Watch()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._client_messages = -1
        self._seeding = False
        self._context: deque[str] = deque(maxlen=_CONTEXT_KEPT)
        self._outbox = Outbox(connection, self._altered, self._log_sent, options.quirks)
        self._handles = Handles(
            index,
            options.resumption,
            shared,
            context=lambda: tuple(self._context),
            unfinished=lambda: self._speech.unfinished if self._speech else None,
            transmit=self._outbox.send,
        )
        self._model = Model(
            index,
            endpoint,
            options,
            policy,
            self._recording,
            self._context,
            shared.tools,
            transmit=self._outbox.send,
            post=self._post,
            announce_handle=self._announce_handle,
            notify=self._notify,
            fail=self._fail,
        )
        self._speech: UserSpeech | None = None
        if options.pong_delay_s:
            self.delay_pongs(options.pong_delay_s)

    def __repr__(self) -> str:
        return f"<LiveSession {self.index} {self.state}>"

    # What was received and sent

    @property
    def frames(self) -> list[Frame]:
        """Returns the messages of the client, oldest first, within `record_bytes` of the server."""
        return self._recording.frames

    @property
    def frames_dropped(self) -> int:
        """Counts the oldest frames that are no longer kept."""
        return self._recording.frames_dropped

    @property
    def audio(self) -> list[UserAudio]:
        """The audio that the client sent, one entry for each stretch at the same rate."""
        return self._recording.audio()

    @property
    def audio_ms(self) -> float:
        """Returns the length of the audio that the client has sent, in milliseconds."""
        return self._recording.audio_ms

    @property
    def spoken(self) -> list[SpokenTurn]:
        """The turns of the model, oldest first, within `record_bytes` of the server."""
        return self._recording.turns

    @property
    def sent(self) -> list[Message]:
        """The newest 2,000 messages that were sent; media payloads are replaced by lengths."""
        return self._outbox.sent

    @property
    def context(self) -> list[str]:
        """Returns the texts of both sides, with those that a resumed session brought along."""
        return list(self._context)

    @property
    def generating(self) -> bool:
        """True while a turn of the model is being made, from the thinking to `turnComplete`."""
        return self._model.generating

    @property
    def interruptions(self) -> int:
        """Counts the times that `interrupted` was sent."""
        return self._model.interruptions

    # What a test can do to it

    async def send(self, message: Outgoing) -> None:
        """Sends a message of your own: a dict as JSON in a binary frame, str or bytes as they are.

        Raises:
            SessionEndedError: The connection is closed.
        """
        try:
            await self._outbox.send(message)
        except ConnectionClosed as error:
            raise SessionEndedError(f"{self!r} has ended ({error})") from error

    def say(self, turn: Turn) -> None:
        """The model speaks without being asked, after what it is saying now."""
        self._model.say(turn)

    def cancel_calls(self, *ids: str) -> None:
        """The model no longer wants the answers to functions that it has called.

        Args:
            ids: Ids of the calls, which wait for their answers; none means all of them.

        Raises:
            KeyError: There is no such call, or it was answered.
        """
        self._model.cancel_calls(ids or list(self._model.waiting_calls))
        self._notify()

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

    def drop(self, code: int, reason: str = "") -> None:
        """Starts to end the connection; see `LocalGemini.drop` for the codes."""
        if code == CloseCode.ABNORMAL_CLOSURE:
            self.abort()
        else:
            self._spawn(self.close(code, reason))

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
        self._outbox.hold()

    def release(self) -> None:
        """Ends `hold()`, and a `Stall` without a duration."""
        self._outbox.release()
        self._model.release()

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
            await self._announce_handle(True)
        except ConnectionClosed as error:
            raise SessionEndedError(f"{self!r} has ended ({error})") from error
        return self._handles.newest

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
            lambda: self._model.user_turns >= count or None, f"{count} turns of the user", timeout
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
        await self._until(lambda: self._model.stalled or None, "stall", timeout)

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

    async def run(
        self, fault: SetupFault | None, refusal: RefusalError | None, token: TokenState | None
    ) -> None:
        """Serves the connection until it ends.

        Args:
            fault: What goes wrong when the setup arrives.
            refusal: Why the client is not let in, whatever its setup is.
            token: What is left of the ephemeral token with which the client came.
        """
        try:
            await self._serve(fault, refusal, token)
        except RefusalError as error:
            _logger.info("session %d refused: %d %s", self.index, error.code, error.reason)
            await self.close(error.code, error.reason)
        except ConnectionClosed:
            pass
        except Exception as error:
            await self._fail(error)
        finally:
            await self._finish()

    async def _serve(
        self, fault: SetupFault | None, refusal: RefusalError | None, token: TokenState | None
    ) -> None:
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
        await self._set_up(frame.message["setup"], token)
        self._spawn(self._model.run())
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
        self._shared.tools.ended(
            self.index, self._model.waiting_calls.values(), by_client=self.closed_by == "client"
        )
        self._handles.end(self._model.waiting_calls)
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

    async def _set_up(self, setup: object, token: TokenState | None) -> None:
        fields = check_setup(setup, self.endpoint, self._options.models)
        handle = (fields.get("sessionResumption") or {}).get("handle")
        if token is not None:
            token.admit(resuming=bool(handle))
            self._spawn(self._close_expired(token))
        point = self._shared.resume(handle, self._options.resumption) if handle else None
        if point is not None:
            self._context.extend(point.context)
            self.resumed_from = handle
            if self._options.resumption.keeps_calls:
                self._model.waiting_calls.update(point.lease.waiting_calls)
                self._shared.tools.resumed(point.lease.waiting_calls.values())
                point.lease.waiting_calls.clear()
        self.setup = fields
        self._model.begin(fields)
        self._handles.begin(fields)
        self._speech = self._new_speech(fields)
        history = fields.get("historyConfig") or {}
        self._seeding = bool(history.get("initialHistoryInClientContent"))
        await self._outbox.send({"setupComplete": {}})
        self.state = "ready"
        self._notify()
        await self._announce_handle(True)
        if point is not None and point.unfinished is not None:
            self._speech.restore(point.unfinished)
        if self._options.resumption.every_s is not None:
            self._spawn(self._announce_handles(self._options.resumption.every_s))
        if self._options.announced_end_s is not None:
            await self.go_away(self._options.announced_end_s)

    def _new_speech(self, setup: Message) -> UserSpeech:
        realtime = setup.get("realtimeInputConfig") or {}
        detection = realtime.get("automaticActivityDetection") or {}
        options = self._options.activity.merged(detection)
        ends_with_stream = options.ends_with_stream
        if ends_with_stream is None:
            ends_with_stream = model_generation(setup["model"]) not in _ENDS_IN_SILENCE_ALONE
        return UserSpeech(
            options,
            ends_with_stream=ends_with_stream,
            session=self.index,
            on_start=self._model.interrupt_on_speech,
            on_activity=self._tell_activity,
            on_turn=self._take_user_turn,
        )

    # From the client

    def _dispatch(self, frame: Frame) -> None:
        assert self._speech is not None
        kind, content = frame.kind, frame.message.get(frame.kind)
        if kind == "audio":
            self._speech.push(frame.data, frame.rate)
        elif kind == "audioStreamEnd":
            self._speech.end_stream()
        elif kind in ("activityStart", "activityEnd"):
            self._speech.mark(starts=kind == "activityStart")
        elif kind == "text":
            self._model.interrupt()
            text = str(frame.message["realtimeInput"]["text"])
            self._context.append(text)
            self._model.answer(UserTurn("text", text=text, session=self.index))
        elif kind == "clientContent":
            self._client_content(check_fields("client_content", content, "client_content"))
        elif kind == "toolResponse":
            response = check_fields("tool_response", content, "tool_response")
            self._model.take_tool_response(response)
        elif kind == "contextUpdate":
            self.setup.update(check_fields("context_update", content, "context_update"))
        elif kind == "setup":
            raise RefusalError(1007, "setup must be the first message and only the first")

    def _tell_activity(self, kind: str, at_ms: float) -> None:
        if self.setup.get("explicitVadSignal") or "voice_activity" in self._options.quirks:
            offset = duration(at_ms / 1000.0)
            self._post([{"voiceActivity": {"type": kind, "audioOffset": offset}}])

    def _take_user_turn(self, turn: UserTurn) -> None:
        self._model.answer(replace(turn, text=self._options.transcribe(turn)))

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
            self._model.interrupt()
            text = texts[-1] if texts else ""
            self._model.answer(UserTurn("text", text=text, session=self.index))

    # To the client

    async def _announce_handle(self, resumable: bool) -> None:
        await self._handles.announce(self._client_messages, resumable=resumable)

    def _altered(self, message: Message) -> Iterable[Outgoing]:
        hook = self._options.on_send
        return hook(self, message) if hook else [message]

    def _log_sent(self, message: Message) -> None:
        if self._log:
            self._log.write(self.index, "out", message)

    def _post(self, messages: Sequence[Message], delay_s: float = 0.0) -> None:
        """Sends without waiting; in order with everything that is posted after it."""
        self._spawn(self._send_unless_closed(messages, delay_s))

    async def _send_unless_closed(self, messages: Sequence[Message], delay_s: float) -> None:
        if delay_s:
            await asyncio.sleep(delay_s)
        try:
            for message in messages:
                await self._outbox.send(message)
        except ConnectionClosed:
            pass
        except Exception as error:
            await self._fail(error)

    async def _announce_handles(self, every_s: float) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(every_s)
                await self._announce_handle(True)

    async def _close_expired(self, token: TokenState) -> None:
        end = await token.wait_expired()
        await self.close(end.code, end.reason)

    async def _close_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.close(1008, "The operation was aborted.")

    # Helpers

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


def _text_of(turn: Mapping[str, Any]) -> str:
    parts = turn.get("parts") or []
    return " ".join(
        str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part
    )
