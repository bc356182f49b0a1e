"""`GeminiLive`: wires the call, the session and the conversation, and owns every task."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from .._exit import outlast_native_threads
from ..errors import (
    AudioError,
    CallError,
    ConfigError,
    ConnectionLostError,
    GeminiError,
    SessionError,
    VideoError,
)
from . import _call
from ._events import Disconnected, Emitter, Reconnecting, Resumed, is_being_cancelled
from ._lifecycle import Life, Supervisor
from ._media.capture import AudioInput, ListenTo, TrackKind, check_rate
from ._media.playout import MODEL_RATE, OutputTrack
from ._media.video import VideoSender, check_fps
from ._models import check_config, default_options, is_proactive, model_of, resolve_model
from ._options import (
    BargeIn,
    Watchdog,
    build_config,
    check_answered_key,
    check_choice,
    is_only_speech,
    resolve_access,
    resolve_activity,
    resolve_handle,
    resolve_switch,
)
from ._session import KeySource, ServerMessage, Session
from ._session.reconnect import ReconnectAttempt, ReconnectPolicy
from ._session.send_queue import KEPT_SPEECH_MS, ActivityMarker, SendQueue, Text
from ._telemetry.stats import Stats
from ._turns.controller import TurnController
from ._turns.policy import Phase, TurnOptions

if TYPE_CHECKING:
    from getstream.video.rtc.tracks import SubscriptionConfig
    from google import genai
    from google.genai.types import LiveConnectConfigDict

State = Literal["new", "connecting", "ready", "reconnecting", "closed"]

logger = logging.getLogger("getstream.plugins.gemini")

_H = TypeVar("_H", bound=Callable[..., Any])
_T = TypeVar("_T")

_STATES: dict[Life, State] = {
    Life.NEW: "new",
    Life.CONNECTING: "connecting",
    Life.READY: "ready",
    Life.RECONNECTING: "reconnecting",
    Life.FAILED: "closed",
    Life.CLOSED: "closed",
}

VAD_HANGOVER_MS = 200
VAD_DELAY_MS = 64
"""From the first sound of a word until the detector's first frame of speech: two steps of its
network."""

SAMPLES_PER_MS = MODEL_RATE // 1000
FRAME_MS = 20

TAIL_MS = 2000
"""Silence after the last speech when nobody sends any more (everybody muted, or gone). The service
finds the end of speech in the audio: after 0.8 s of silence `gemini-3.8-live` was seen not to
answer, after 1.5 s it did."""

TAIL_BEYOND_MS = 500
"""Silence after the last speech beyond `silence_duration_ms`, where that is longer."""

HALF_DUPLEX_TAIL_S = 0.3
"""With `half_duplex`, seconds after the last speech for which nobody is heard: its echo is still on
the way."""

PREROLL_MS = 300.0
"""Audio from before a word was detected that belongs to it all the same: soft onsets."""

DRAIN_S = 1.0
"""Seconds for reading what has arrived on a connection on which nothing can be sent any more."""

ADVANCE_AGAIN_S = 0.02
"""Seconds after which the way in is advanced again when that has failed."""

ADVANCE_EARLY_S = 0.001
"""Seconds by which the timer of the way in may fire early: clocks have a resolution."""

BOUNDARY_POLL_S = 0.1
"""How often to look for a boundary between turns, once the end of the connection that the service
has announced is near."""

HANDLER_GRACE_S = 2.0
"""Seconds from the end of the session in which async event handlers and the video source may finish
what they are doing. Closing the connection counts, so that all of it takes less than 3 s."""

STOP_S = 0.3
"""Seconds that the tasks of a connection have to end when they are cancelled, which takes none."""


class GeminiLive:
    """Gemini Live as a participant of a Stream call: it hears, sees and speaks.

        async with GeminiLive(instructions="You are a friendly guide.") as gemini:
            async with await rtc.join(call, user_id="assistant") as connection:
                await gemini.attach(connection)
                await gemini.send_text("Greet the participants.")
                await connection.wait()

    It may be made anywhere. Inside a running event loop it begins to connect at once, so that
    joining the call and connecting overlap; otherwise with the first call that needs the
    connection. A failure to connect is raised by the next awaited call and by
    `wait_until_ready`. All methods but `close` belong to one event loop; called in another one they
    raise `ConfigError`.

    Events, by `@gemini.on(name)`; handlers may be sync or async and may take fewer arguments. An
    async handler gets its events in order, however slow it is: up to ten minutes of `audio` wait
    for it, joined into pieces of up to a second, and up to 2048 of each other event.
    `stats().events_lost` counts what is beyond:

    ==================  ====================================================================
    `connected`         the session is set up
    `audio`             `bytes`: a chunk of speech as it arrives, s16le mono 24 kHz
    `text`              `str`: a piece of what the assistant says: of its transcript, or of its
                        text parts where it has none
    `user_text`         `str`: a piece of what the user says (its transcript)
    `playback_started`  `PlaybackStarted`: a turn begins to be heard
    `playback_finished` `PlaybackFinished`: what was said in it, what was heard, and when
    `interrupted`       `Interrupted`: a turn was cut short
    `turn_complete`     `TurnComplete`: the model has finished a turn
    `speech_started`    `Speech`: somebody in the call has begun to speak
    `speech_stopped`    `Speech`: and has stopped
    `stalled`           `Stalled`: the model owes an answer and nothing comes
    `disconnected`      `Disconnected`: the connection is gone, or was left in time
    `reconnecting`      `Reconnecting`: an attempt to have it again begins
    `resumed`           `Resumed`: the conversation goes on over a new connection
    `error`             `Exception`: something failed; logged when nobody listens
    `closed`            `Exception | None`: the end, with its cause unless `close()` was called
    ==================  ====================================================================

    Args:
        api_key: the Gemini key, or an ephemeral token (`auth_tokens/...`); else the variable
            `GOOGLE_API_KEY`, else `GEMINI_API_KEY`. A function (sync, on a worker thread, or async)
            that returns it is asked at each connect, and may take 10 s: so a token that has expired
            is replaced by the next one.
        model: the model; else the variable `GEMINI_LIVE_MODEL`, else `gemini-3.8-live`. A model
            that was shut down is replaced by its successor, with a `RetiredModelWarning`.
        config: a `LiveConnectConfigDict`, merged over the defaults key by key.
        instructions: the system instruction.
        voice: a prebuilt voice, such as `"Kore"`.
        language: a BCP-47 code, such as `"en-US"`.
        barge_in: whether local speech lowers and pauses the assistant; `BargeIn(...)` sets how.
        client: an own `google.genai.Client`, used as it is; then no key is needed here.
        half_duplex: nobody is heard while the assistant speaks, so that nothing can interrupt it:
            for loudspeakers without echo cancellation.
        listen_to: `"everybody"` mixes all participants; `"active_speaker"` sends only who has the
            floor, from 300 ms before they began to speak.
        watchdog: whether to notice that the model owes an answer; `Watchdog(...)` sets how.
        playback: False where the application plays what the `audio` event brings: on a telephone
            line, into a file. There is no `output_track` then, `attach` publishes nothing, and the
            speech is taken to be heard as it comes.

    Raises:
        ConfigError: no key, an argument that cannot be used, or an option of `config` that the
            model does not accept.
    """

    def __init__(
        self,
        api_key: str | Callable[[], str | Awaitable[str]] | None = None,
        model: str | None = None,
        config: LiveConnectConfigDict | Mapping[str, Any] | None = None,
        *,
        instructions: str | None = None,
        voice: str | None = None,
        language: str | None = None,
        barge_in: bool | BargeIn = True,
        client: genai.Client | None = None,
        half_duplex: bool = False,
        listen_to: ListenTo = "everybody",
        watchdog: bool | Watchdog = True,
        playback: bool = True,
    ) -> None:
        gives_way = resolve_switch("barge_in", barge_in, BargeIn)
        watch = resolve_switch("watchdog", watchdog, Watchdog)
        check_choice("half_duplex", half_duplex, (True, False))
        check_choice("playback", playback, (True, False))
        check_choice("listen_to", listen_to, ("everybody", "active_speaker"))
        self._model = resolve_model(model)
        merged = build_config(
            config,
            defaults=default_options(self._model),
            instructions=instructions,
            voice=voice,
            language=language,
        )
        check_config(self._model, merged)
        access = None if client is not None else resolve_access(api_key)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._supervisor = Supervisor(
            self._work, self._shut_down, bury=self._bury, closed=self._let_go
        )
        ask = access.ask if access else None
        self._session = Session(
            api_key=access.api_key if access else None,
            vertexai=access is not None and access.vertexai,
            model=self._model,
            config=merged,
            seeding=model_of(self._model).seeding,
            client=client,
            spawn=self._spawn,
            ask_key=KeySource(ask, check_answered_key, self._spawn) if ask else None,
        )
        self._reconnect_policy = ReconnectPolicy(
            resumable="session_resumption" in merged,
            handle=resolve_handle(merged),
            # A client for Vertex AI signs in anew when its token has expired.
            renews_key=access.renews if access else bool(getattr(client, "vertexai", False)),
            random=random.random,
        )
        self._half_duplex = half_duplex
        self._nudge = watch.nudge if watch else None
        self._activity = activity = resolve_activity(merged)
        times = gives_way or BargeIn()
        may_stay_silent = watch.may_stay_silent if watch else None
        if may_stay_silent is None:
            may_stay_silent = is_proactive(self._model, merged)
        rules = TurnOptions(
            # If the model is not to be interrupted, local speech does not do it either.
            barge_in=gives_way is not None and activity.interrupts,
            resume_after_s=times.resume_after_ms / 1000,
            hangover_s=VAD_HANGOVER_MS / 1000,
            marks_activity=activity.marked,
            end_of_turn_s=activity.silence_ms / 1000,
            stall_after_s=watch.after_ms / 1000 if watch else None,
            may_stay_silent=may_stay_silent,
            transcript_is_request=watch is None or watch.may_stay_silent is not True,
            nudge=self._nudge is not None,
            reconnect=watch is not None and watch.reconnect,
        )
        self._events = Emitter(self._spawn)
        self._turns = TurnController(
            rules,
            duck_db=times.duck_db,
            events=self._events,
            effects=_Effects(self),
            only_speech=is_only_speech(merged),
            plays=playback,
            nudge=self._nudge,
        )
        self._detection_ms = times.pause_after_ms + VAD_DELAY_MS
        before_speech_ms = activity.padding_ms + self._detection_ms
        self._send_queue = SendQueue(
            before_speech_ms + times.commit_after_ms + 100 if activity.marked else None,
            self._session.send_audio_now,
        )
        self._input = AudioInput(
            self._send_queue.push,
            Session.audio_envelope,
            end_stream=self._send_queue.end_stream,
            onset_ms=math.ceil(times.pause_after_ms),
            hangover_ms=VAD_HANGOVER_MS,
            sustained_ms=math.ceil(times.commit_after_ms),
            tail_ms=max(TAIL_MS, math.ceil(activity.silence_ms) + TAIL_BEYOND_MS),
            listen_to=listen_to,
            echo=self._turns.output.reference,
        )
        self._leaving: asyncio.Future[SessionError | None] | None = None
        self._go_away_timer: asyncio.TimerHandle | None = None
        self._advance_timer: asyncio.TimerHandle | None = None  # of the way in
        self._video: VideoSender | None = None
        self._video_task: asyncio.Task[None] | None = None
        self._video_worker: ThreadPoolExecutor | None = None
        self._attached: _call.Attachment | None = None
        self._muted_until = 0.0
        self._messages = self._tokens = self._disconnects = self._planned_reconnects = 0
        self._bad_input = self._refused_frames = 0
        self._input_fault_told = False
        self._video_frames_sent = self._video_frames_rejected = 0
        self._server_acks = False  # the service tells by number what it has taken
        self._handle_in_speech: float | None = None  # when the speech began in which the last came
        self._failure_told = False
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        self._supervisor.start()

    def __repr__(self) -> str:
        return f"<GeminiLive model={self._model!r} {self.state}>"

    @property
    def state(self) -> State:
        """`new` before it is used, `connecting`, `ready`, `reconnecting`, `closed` at the end."""
        return _STATES[self._supervisor.life]

    @property
    def output_track(self) -> OutputTrack:
        """The assistant's voice, to publish with `connection.add_tracks(audio=...)`.

        Raises:
            ConfigError: this assistant was made with `playback=False`.
        """
        return self._turns.output.track

    # -- life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> GeminiLive:
        self._supervisor.start()
        try:
            await self._supervisor.settled()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def wait_until_ready(self, timeout: float | None = 10.0) -> bool:
        """Wait until the session is set up, also while it is being resumed.

        Args:
            timeout: seconds to wait; None waits as long as connecting takes, which is bounded.

        Returns:
            True when ready, False when the time is up; connecting goes on then.

        Raises:
            SessionError: connecting failed.
            ClosedError: `close()` was called.
        """
        self._supervisor.start()
        return await self._supervisor.settled(timeout)

    async def close(self) -> None:
        """End the session, every task and the output track, within 3 s. Idempotent.

        It may be called from any event loop and thread, and from an event handler, which does not
        wait for the end, because the end waits for the handler.

        Raises:
            ConfigError: the event loop that the session belongs to is another one, and does not
                run.
        """
        await self._supervisor.close(wait=not self._is_own_task())

    # -- to the model --------------------------------------------------------------------------

    async def send_audio_pcm(self, pcm: Any, target_rate: int = 48000) -> None:
        """Send a piece of a participant's audio.

        The audio is converted, examined for speech and queued before this method first awaits,
        so calls made in order are sent in order. It never waits for the connection: audio from
        before the session is ready is kept for up to 10 s.

        Args:
            pcm: `getstream`'s `PcmData`: int16 or float32; `(n,)`, `(1, n)`, `(2, n)` or
                interleaved stereo; any length; 8 to 96 kHz. Frames of several participants are
                told apart by `pcm.participant` and mixed.
            target_rate: the rate on the wire, in Hz: one for the whole session, which the first
                call fixes. 16000 is native to Gemini and the recommended value: a third of the
                bytes, and nothing is lost. It is what `attach` uses; here the default is the 48000
                that was documented first.

        Raises:
            AudioError: the audio cannot be used, or `target_rate` differs from the first call's.
            SessionError: the session has failed. Raised once; audio that comes later is counted
                and dropped, because the SDK logs a traceback for each frame whose handler raises.
            ClosedError: `close()` was called.
        """
        self._take_audio(pcm, target_rate)

    def _take_audio(self, pcm: Any, target_rate: int) -> None:
        """Take a piece of a participant's audio, as `send_audio_pcm` says; nothing in it waits."""
        loop = asyncio.get_running_loop()
        if not self._supervisor.is_ready_on(loop) and self._refuses_audio():
            return
        now = loop.time()
        events = self._input.push(pcm, target_rate, now, muted=self._is_half_duplex_muted(now))
        if events:
            self._turns.on_speech_events(events)
        self._set_advance_timer()

    def _refuses_audio(self) -> bool:
        """Begin the session if it has not begun; tell whether audio is counted and dropped.

        Raises:
            SessionError: the session has failed, and this has not been raised yet.
            ClosedError, ConfigError: as `send_audio_pcm`.
        """
        supervisor = self._supervisor
        supervisor.start()
        failed = supervisor.life is Life.FAILED
        if failed and self._failure_told:
            self._refused_frames += 1
            return True
        self._failure_told = failed
        supervisor.check_open()
        return False

    async def send_text(self, text: str) -> None:
        """Send text that the model answers aloud. Waits until the session is ready; when the
        connection is lost on the way, the text is sent again on the next one.

        Raises:
            ConfigError: the text is not a non-empty string.
            SessionError: connecting failed, or the connection is lost.
            ClosedError: `close()` was called.
        """
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"send_text takes a non-empty string, not {text!r}")
        self._supervisor.start()
        await self._send_when_ready(text)

    async def start_video_sender(self, track: Any, fps: float = 1) -> None:
        """Send pictures of a video track until it ends. A sender that runs is replaced.

        Args:
            track: a `RemoteTrack` (`getstream` 7), an aiortc `MediaStreamTrack`, or an async
                iterator of `av.VideoFrame`.
            fps: pictures per second. Gemini looks at one per second, and bills each.

        Raises:
            ConfigError: the track or `fps` cannot be used.
            SessionError, ClosedError: as `send_text`.
        """
        self._supervisor.start()
        self._supervisor.check_open()
        if self._video_worker is None:
            # A thread of its own: aiortc encodes the outgoing audio in the default executor.
            self._video_worker = ThreadPoolExecutor(1, thread_name_prefix="gemini-video")
        sender = VideoSender(track, fps, self._send_picture, self._video_worker)
        while self._video_task is not None:  # another call may start one while this one waits
            await self.stop_video_sender()
        self._supervisor.check_open()
        self._video = sender
        self._video_task = self._spawn(self._run_video(sender))

    async def stop_video_sender(self) -> None:
        """Stop sending pictures. Idempotent.

        Called by the video source itself, it stops the source at its next wait or frame.
        """
        self._supervisor.check_loop()
        task, self._video_task = self._video_task, None
        if task is None:
            return
        if self._video is not None:
            self._video.stopped = True
        task.cancel()
        if task is not asyncio.current_task():
            _, stuck = await asyncio.wait([task], timeout=HANDLER_GRACE_S)
            if stuck:
                logger.error("The video track does not end although it was cancelled: %r", task)

    async def attach(
        self,
        connection: Any,
        *,
        audio: bool = True,
        video: bool = False,
        fps: float = 1,
        target_rate: int = 16000,
    ) -> None:
        """Wire the assistant to an entered connection: publish its voice, hear, and see.

        It ends with the call: what has not been said by then is dropped, and the assistant may be
        attached to the next one.

        Args:
            connection: what `await rtc.join(...)` gives, entered.
            audio: whether to hear the participants.
            video: whether to look at the first camera or shared screen; when it ends, at the
                next one that is added. The connection must have been made with
                `subscription_config=GeminiLive.subscription_config()`.
            fps: pictures per second.
            target_rate: the rate of the audio on the wire, in Hz; see `send_audio_pcm`.

        Raises:
            CallError: the SDK refused to publish, the connection has no subscription to video, has
                left its call, or is attached already, or the assistant is in another call.
            AudioError: `target_rate` cannot be used, or differs from the one that is in use.
            ConfigError: `connection` is no connection, or `fps` cannot be used.
        """
        self._supervisor.start()
        self._supervisor.check_open()
        _call.check_connection(connection)
        check_choice("audio", audio, (True, False))
        check_choice("video", video, (True, False))
        check_rate(target_rate)
        if audio and self._input.rate not in (None, target_rate):
            raise AudioError(
                f"The audio on the wire has {self._input.rate} Hz since the first piece, and "
                f"cannot have {target_rate} Hz: one session has one rate. attach uses 16000 "
                "unless told otherwise, send_audio_pcm 48000"
            )
        check_fps(fps)
        if self._attached is not None:
            if self._attached.is_over:
                self._call_over(self._attached)
            elif self._attached.is_to(connection):
                raise CallError("This connection is attached already")
            else:
                raise CallError(
                    "This GeminiLive is in another call, and one assistant can be in one call at a "
                    "time: leave that first, or make another GeminiLive"
                )
        self._attached = attached = _call.Attachment(connection)
        try:
            await self._wire(attached, connection, audio, video, fps, target_rate)
        except BaseException:
            attached.detach()
            if self._attached is attached:
                self._attached = None
            raise

    async def _wire(
        self,
        attached: _call.Attachment,
        connection: Any,
        audio: bool,
        video: bool,
        fps: float,
        target_rate: int,
    ) -> None:
        """Listen to a connection, and publish."""
        senders: list[VideoSender | None] = []  # the newest that this call has started

        def hear(pcm: Any) -> None:
            # Raised into the SDK, an error would be a traceback for each frame.
            if self._supervisor.is_closed:
                return
            try:
                self._take_audio(pcm, target_rate)
            except AudioError as error:
                self._bad_input += 1
                if self._bad_input == 1:
                    self._report(error)
            except Exception as error:
                # The failure of the session has been reported, and its end is known.
                if error is not self._supervisor.failure and not self._supervisor.is_closed:
                    self._note_fault(error)

        async def see(track: Any) -> None:
            busy = self._video_task is not None and not self._video_task.done()
            if not self._supervisor.is_closed and not busy:
                await self.start_video_sender(track, fps)
                senders[:] = [self._video]
                if self._attached is not attached:
                    stop_seeing()

        def stop_seeing() -> None:
            if (
                self._video is not None
                and self._video in senders
                and not self._supervisor.is_closed
            ):
                self._spawn(self.stop_video_sender())

        if video:
            attached.add(_call.on_video(connection, see))
            attached.add(stop_seeing)
        if audio:
            attached.add(_call.on_audio(connection, hear))
            attached.add(_call.on_audio_track(connection, self._track_added))
            attached.add(_call.on_joined(connection, self._input.join))
            attached.add(_call.on_left(connection, self._participant_left))
        if self._turns.output.plays:
            await _call.publish(connection, self.output_track)
            self._supervisor.check_open()  # publishing takes a while
        attached.add(_call.on_ended(connection, lambda: self._call_over(attached)))
        watch = self._spawn(self._watch_call(attached, connection))
        attached.add(watch.cancel)
        await _call.announce_present_tracks(connection)

    @staticmethod
    def subscription_config() -> SubscriptionConfig:
        """The `subscription_config` for `rtc.join` with which the assistant hears and sees."""
        return _call.subscription_config()

    # -- playback ------------------------------------------------------------------------------

    async def interrupt_playback(self, drop: bool = False) -> None:
        """Fade the assistant out, at once. Without `await` nothing happens.

        Without `drop` its speech is held, and what arrives meanwhile is queued, until
        `resume_playback()` or until the service itself interrupts the turn. With `drop` the turn
        is over: what is queued of it is dropped, and so is what still arrives of it; the next
        turn is heard.
        """
        self._supervisor.check_loop()
        if drop:
            self._turns.interrupt()
        else:
            self._turns.hold_playback()

    def resume_playback(self) -> _Done:
        """Go on with the exact sample at which playback was held. May be awaited or not."""
        self._supervisor.check_loop()
        self._turns.apply(self._turns.policy.resume())
        return _Done()

    # -- events --------------------------------------------------------------------------------

    @overload
    def on(self, event: str) -> Callable[[_H], _H]: ...
    @overload
    def on(self, event: str, handler: _H) -> _H: ...
    def on(self, event: str, handler: Any = None) -> Any:
        """Call `handler` at each `event`; also a decorator: `@gemini.on("audio")`.

        Raises:
            ValueError: there is no such event.
        """
        return self._events.on(event) if handler is None else self._events.on(event, handler)

    def once(self, event: str, handler: Any = None) -> Any:
        """Like `on`, for the next event only."""
        return self._events.once(event, handler)

    def remove_listener(self, event: str, handler: Callable[..., Any]) -> None:
        """Stop calling `handler` at `event`."""
        self._events.remove_listener(event, handler)

    def stats(self) -> Stats:
        """Return a snapshot of the counters."""
        playback, counts, video = self._turns.output.stats(), self._turns.counts, self._video
        return Stats(
            frames_in=self._input.frames_in,
            frames_refused=self._refused_frames + self._bad_input,
            frames_sent=self._send_queue.sent,
            echo_suppressed_ms=self._input.echo_suppressed_ms,
            retransmitted_ms=self._send_queue.retransmitted * FRAME_MS,
            disconnects=self._disconnects,
            planned_reconnects=self._planned_reconnects,
            input_dropped_ms=self._send_queue.dropped_ms,
            messages=self._messages,
            unreadable_messages=self._session.unreadable + counts.bad_audio,
            turns=self._turns.policy.turn,
            interruptions=counts.interruptions,
            barge_ins=counts.barge_ins,
            false_barge_ins=counts.false_barge_ins,
            stalls=counts.stalls,
            queued_ms=playback.queued / SAMPLES_PER_MS,
            played_ms=playback.played / SAMPLES_PER_MS,
            dropped_ms=playback.dropped / SAMPLES_PER_MS,
            overflow_ms=playback.overflowed / SAMPLES_PER_MS,
            underruns=playback.underruns,
            late_frames=self._turns.output.late_frames,
            playout_underruns=self._turns.output.gaps,
            video_frames_sent=self._video_frames_sent + (video.sent if video else 0),
            video_frames_rejected=self._video_frames_rejected + (video.bad if video else 0),
            events_lost=self._events.lost,
            tokens=self._tokens,
            tracks=tuple(self._input.track_stats()),
        )

    # -- supervisor ----------------------------------------------------------------------------

    async def _work(self) -> None:
        """Hold the session over one connection after the other, until one cannot be had."""
        outlast_native_threads()
        await self._connect()
        self._note_open()
        self._events.emit("connected")
        while True:
            await self._reconnect(await self._talk())

    async def _connect(self) -> None:
        """Set up the first connection, or raise why that is not possible."""
        plan = self._reconnect_policy.first_attempt(self._now())
        while True:
            try:
                await self._session.open(plan.handle)
                return
            except SessionError as error:
                again = self._reconnect_policy.on_attempt_failed(self._now(), error)
                if again is None:
                    raise
                if plan.handle and not again.handle:
                    logger.warning("Gemini Live: new session without the given handle: %s", error)
                else:
                    logger.info("Gemini Live: connecting again: %s", error)
            plan = again
            await asyncio.sleep(plan.delay)

    async def _talk(self) -> SessionError | None:
        """Send and receive until the connection is gone; returns why, or None if it is time to
        leave it."""
        self._leaving = asyncio.get_running_loop().create_future()
        receiving = asyncio.ensure_future(self._receive())
        sending = asyncio.ensure_future(self._send_audio())
        living = asyncio.ensure_future(self._session.keep_alive())
        work: tuple[asyncio.Future[Any], ...] = (receiving, sending, living)
        try:
            await asyncio.wait([*work, self._leaving], return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not receiving.done():
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
        lost_at = self._now()
        self._supervisor.reconnecting()
        self._disconnects += reason is not None
        self._planned_reconnects += reason is None
        again = self._send_queue.retransmitted
        turns = self._turns
        turns.apply(turns.policy.connection_lost(lost_at))
        if given_up := self._send_queue.requeue_unacked():
            logger.warning("Gemini Live: %d texts without an answer are not sent again", given_up)
        if reason is not None:
            logger.warning("Gemini Live: %s", reason)
        self._events.emit("disconnected", Disconnected(reason))
        error: SessionError = reason or ConnectionLostError(
            "Gemini Live ends each connection soon after it was made", retryable=True
        )
        plan = self._reconnect_policy.on_disconnected(lost_at, reason)
        while plan is not None:
            try:
                await self._try(plan, abort=reason is not None)
            except SessionError as failed:
                error = failed
                plan = self._reconnect_policy.on_attempt_failed(self._now(), failed)
                continue
            self._note_open()
            turns.apply(turns.policy.connection_resumed(self._now()))
            resumed = Resumed(
                gap_ms=(self._now() - lost_at) * 1000,
                attempts=plan.attempt,
                same_session=bool(plan.handle),
                retransmitted_ms=(self._send_queue.retransmitted - again) * FRAME_MS,
            )
            logger.info("Gemini Live: %s", resumed)
            self._events.emit("resumed", resumed)
            return
        raise error

    async def _try(self, plan: ReconnectAttempt, *, abort: bool) -> None:
        """Make one attempt to have the connection again."""
        resuming = bool(plan.handle)
        self._events.emit("reconnecting", Reconnecting(plan.attempt, plan.delay * 1000, resuming))
        # The service refuses to resume a session whose connection is open.
        await self._session.close(abort=abort)
        if plan.delay:
            await asyncio.sleep(plan.delay)
        await self._session.open(plan.handle, () if resuming else self._turns.history.lines())

    def _note_open(self) -> None:
        self._reconnect_policy.on_connected(self._now())
        self._supervisor.ready()

    def _leave_connection(self, reason: SessionError | None) -> None:
        """End `_talk`."""
        if self._leaving is not None and not self._leaving.done():
            self._leaving.set_result(reason)

    def _move_when_idle(self) -> None:
        """Leave the connection, whose end is announced, at a boundary between turns, or in time."""
        self._go_away_timer = None
        now, talk = self._now(), self._turns.policy
        if self._reconnect_policy.should_leave(now, talk.idle_since, talk.generating):
            self._leave_connection(None)
            return
        earliest = self._reconnect_policy.may_leave_from
        if earliest is not None and not self._supervisor.is_over:
            loop = asyncio.get_running_loop()
            at = max(earliest, now + BOUNDARY_POLL_S)
            self._go_away_timer = loop.call_at(at, self._move_when_idle)

    async def _shut_down(self, failure: GeminiError | None) -> None:
        """End everything and tell so, within `HANDLER_GRACE_S` and what cancelling takes."""
        loop = asyncio.get_running_loop()
        end_at = loop.time() + HANDLER_GRACE_S
        if failure is not None:
            logger.error("Gemini Live: %s", failure)
            self._events.emit("error", failure)
        self._turns.stop()
        for timer in (self._go_away_timer, self._advance_timer):
            if timer is not None:
                timer.cancel()
        if self._video_task is not None:
            self._video_task.cancel()  # it ends while the connection does
        try:
            await self._session.close()
            if self._video_task is not None:
                stopping = self._spawn(self.stop_video_sender())
                await asyncio.wait([stopping], timeout=max(0.0, end_at - loop.time()))
        finally:
            if self._video_worker is not None:
                self._video_worker.shutdown(wait=False)
            if failure is None:
                self._turns.output.stop()
            else:
                self._turns.drain()
            self._events.emit("closed", failure)
        await self._session.dispose()
        await self._events.drain(max(0.0, end_at - loop.time()))

    def _bury(self) -> None:
        """Tell that the session is over which has never been, or whose event loop is gone."""
        self._turns.stop()
        self._events.emit("closed", None)

    def _let_go(self) -> None:
        """Silence the track and undo what is wired to a call: the session is closed."""
        attached, self._attached = self._attached, None
        try:
            self._turns.output.stop()
            if attached is not None:
                attached.detach()
        except RuntimeError:  # the event loop is closed, and so is whoever waits for the track
            logger.debug("The output track ends after its event loop")

    def _is_own_task(self) -> bool:
        """Whether the caller runs inside the supervisor or one of its handlers, which must not
        wait for the supervisor: it waits for them."""
        current = asyncio.current_task()
        return current is self._supervisor.task or current in self._tasks

    def _spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- from the service ----------------------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            message = await self._session.next()
            self._messages += 1
            self._handle(message)

    def _handle(self, message: ServerMessage) -> None:
        now = self._now()
        if message.tokens is not None:
            self._tokens = message.tokens
        if message.time_left is not None:
            logger.info("Gemini Live will end this connection in %g s", message.time_left)
            self._reconnect_policy.on_go_away(now, message.time_left)
            if self._go_away_timer is not None:
                self._go_away_timer.cancel()
            self._move_when_idle()
        conversation = self._turns.policy
        if message.resumable is not None:
            self._reconnect_policy.on_resumption_handle(message.handle, message.resumable)
            if message.consumed is not None:
                self._server_acks = True
                self._send_queue.acknowledge(number=message.consumed)
            elif message.resumable:
                # What was said in the last moment may not have been there yet.
                moment = now - PREROLL_MS / 1000
                speech = conversation.unanswered_since
                in_speech = (
                    speech is not None and self._send_queue.silence_ms < self._activity.silence_ms
                )
                if in_speech and speech == self._handle_in_speech:
                    # The second one since somebody began: this service issues them by time, and
                    # not only between turns, so that what was said before is in there.
                    self._send_queue.acknowledge(before=moment, keep_speech_ms=KEPT_SPEECH_MS)
                else:
                    self._settle_uplink(max(conversation.turn_began_at, moment))
                self._handle_in_speech = speech
        if message.tool_calls:
            names = ", ".join(str(call.get("name")) for call in message.tool_calls)
            logger.warning("Gemini Live calls functions that nobody has declared: %s", names)
        is_under_way = conversation.phase in (Phase.GENERATING, Phase.SENT, Phase.CUT)
        in_turn = is_under_way or bool(message.audio or message.text)
        self._turns.on_server_message(message)
        if message.generation_complete and not self._server_acks:
            self._settle_uplink(conversation.turn_began_at)
        # A text has its answer when a turn is over that began after it, and not before: what a
        # handle stands for may hold the text, and no answer would come of that.
        if in_turn and message.interrupted:
            self._send_queue.acknowledge_texts(before=conversation.turn_began_at, cut=True)
        elif message.generation_complete or (in_turn and message.turn_complete):
            self._send_queue.acknowledge_texts(before=conversation.turn_began_at)

    def _settle_uplink(self, before: float) -> None:
        """Forget what was sent before a time, except what the user has begun to say since."""
        since = self._turns.policy.unanswered_since
        if since is not None:
            before = min(before, since - (self._detection_ms + PREROLL_MS) / 1000)
        self._send_queue.acknowledge(before=before)

    # -- to the service ------------------------------------------------------------------------

    async def _send_audio(self) -> None:
        while True:
            item = await self._send_queue.next()
            if item is ActivityMarker.STREAM_END:
                number = await self._session.send_audio_stream_end()
            elif isinstance(item, ActivityMarker):
                number = await self._session.send_activity(
                    starts=item is ActivityMarker.ACTIVITY_START
                )
            elif isinstance(item, Text):
                number = await self._session.send_text(item.text)
                if not item.sent.done():
                    self._turns.text_sent(item.text)
            else:
                assert self._input.rate is not None  # fixed by the push that made the frame
                number = await self._session.send_audio(item.data, self._input.rate)
            self._send_queue.mark_sent(item, number, self._now())

    async def _send_when_ready(self, text: str) -> None:
        """Send a text, now or when there is a connection, or raise why that will never be."""
        supervisor = self._supervisor
        await supervisor.settled()
        item = self._send_queue.push_text(text)
        try:
            await asyncio.wait([item.sent, supervisor.ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not item.sent.done():
                self._send_queue.withdraw(item)
        if not item.sent.done():
            supervisor.check_open()

    async def _send_nudge(self) -> None:
        assert self._nudge is not None
        try:
            await self._send_when_ready(self._nudge)
        except GeminiError as error:
            logger.debug("The nudge was not sent: %s", error)

    async def _run_video(self, sender: VideoSender) -> None:
        try:
            await self._supervisor.settled()
            await sender.run()
            logger.info("The video track has ended after %d pictures", sender.sent)
        except (AudioError, VideoError) as error:
            self._report(error)
        except GeminiError:
            pass  # the session's failure, which the supervisor reports
        except asyncio.CancelledError:
            if is_being_cancelled(asyncio.current_task()):
                raise
            # Something that the source waits for was cancelled, not the sender.
            self._report(VideoError("The video track failed: what it waits for was cancelled"))
        except Exception as error:
            failure = VideoError(f"The video track failed ({type(error).__name__}: {error})")
            failure.__cause__ = error
            self._report(failure)
        finally:
            self._video_frames_sent += sender.sent
            self._video_frames_rejected += sender.bad
            if self._video is sender:
                self._video = None

    async def _send_picture(self, jpeg: bytes) -> bool:
        """Send a picture, unless there is no connection: the next one will be newer."""
        if not self._supervisor.is_ready:
            return False
        try:
            await self._session.send_video(jpeg)
        except SessionError as error:
            self._leave_connection(error)
            return False
        return True

    # -- the call ------------------------------------------------------------------------------

    async def _watch_call(self, attached: _call.Attachment, connection: Any) -> None:
        await _call.wait_left(connection)
        self._call_over(attached)

    def _call_over(self, attached: _call.Attachment) -> None:
        """Leave nothing of a call behind: neither its people nor what was being said to them."""
        if self._attached is not attached:
            return
        self._attached = None
        attached.detach()
        if self._supervisor.is_closed:
            return
        people = {(track.user_id, track.session_id) for track in self._input.track_stats()}
        for user_id, session_id in people:
            self._participant_left(user_id, session_id)
        self._muted_until = 0.0
        self._turns.leave_call()

    def _participant_left(self, user_id: str, session_id: str) -> None:
        if not self._supervisor.is_closed:
            self._turns.on_speech_events(self._input.leave(user_id, session_id, self._now()))
            self._set_advance_timer()

    def _track_added(self, user_id: str, session_id: str, kind: TrackKind) -> None:
        self._input.expect_track(user_id, session_id, kind)

    def _set_advance_timer(self) -> None:
        """Let time pass on the way in while frames are due: silence happens by time.

        A timer that is early looks when it expires, which costs less than one for each packet.
        """
        due, timer = self._input.advance_at, self._advance_timer
        if due is None or (timer is not None and timer.when() <= due):
            return
        if self._supervisor.is_over:
            return
        if timer is not None:
            timer.cancel()
        self._advance_timer = asyncio.get_running_loop().call_at(due, self._advance_input)

    def _advance_input(self) -> None:
        self._advance_timer = None
        now, due = self._now(), self._input.advance_at
        if due is not None and due - now < ADVANCE_EARLY_S:
            try:
                self._turns.on_speech_events(self._input.advance(now))
                self._send_queue.pass_time(now)
            except Exception as error:
                # Without the next one, speech would never end.
                self._note_fault(error)
                self._input.advance_at = now + ADVANCE_AGAIN_S
        self._set_advance_timer()

    def _is_half_duplex_muted(self, now: float) -> bool:
        """Whether nobody is listened to at the moment."""
        if self._half_duplex and self._turns.speaking:
            self._muted_until = now + HALF_DUPLEX_TAIL_S
        return now < self._muted_until

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _note_fault(self, error: Exception) -> None:
        """Count a frame of the call that could not be taken for an unforeseen reason; tell once."""
        self._bad_input += 1
        if self._input_fault_told:
            return
        self._input_fault_told = True
        logger.error("A frame of the call could not be taken", exc_info=error)
        failure = AudioError(
            f"A frame of the call could not be taken ({type(error).__name__}: {error})"
        )
        failure.__cause__ = error
        self._events.emit("error", failure)

    def _report(self, error: GeminiError) -> None:
        if not self._events.emit("error", error):
            logger.error("Gemini Live: %s", error)


class _Effects:
    """What the turns ask of the assistant."""

    def __init__(self, owner: GeminiLive) -> None:
        self._owner = owner

    def start_activity(self, since: float) -> None:
        owner = self._owner
        before_ms = since * 1000 + owner._detection_ms + owner._activity.padding_ms
        owner._send_queue.start_activity(before_ms)

    def end_activity(self) -> None:
        self._owner._send_queue.end_activity()

    def nudge(self) -> None:
        self._owner._spawn(self._owner._send_nudge())

    def leave_stalled(self) -> None:
        stalled = ConnectionLostError("Gemini Live has stalled", retryable=True)
        self._owner._leave_connection(stalled)

    def report(self, error: GeminiError) -> None:
        self._owner._report(error)


class _Done:
    """Result of `resume_playback()`, which is done already and may be awaited all the same."""

    def __await__(self) -> Any:
        return iter(())


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
