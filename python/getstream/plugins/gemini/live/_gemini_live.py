"""Define `GeminiLive`: its arguments, its documentation, and the parts it hands calls to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from ..errors import AudioError
from . import _call
from ._attachment import CallAttachment
from ._call_audio import CallAudio
from ._continuation import Continuation
from ._lifecycle import Life
from ._media.capture import ListenTo, check_rate
from ._media.video_input import VideoInput
from ._media.video_sources import VideoOptions, resolve_call_options, resolve_track_options
from ._options import BargeIn, Watchdog, check_choice
from ._playback_control import PlaybackControl
from ._presence import Stay
from ._requests import Requests
from ._session import Resume
from ._settings import resolve_settings
from ._stats import collect_stats
from ._supervisor import Supervisor
from ._telemetry import observer_for
from ._telemetry.observer import Observer
from ._telemetry.stats import Stats
from ._tool_sounds import ToolSounds
from ._turns.transcript import Transcript

if TYPE_CHECKING:
    import numpy as np
    from getstream.video.rtc.tracks import SubscriptionConfig
    from google import genai
    from google.genai.types import LiveConnectConfigDict
    from numpy.typing import NDArray

State = Literal["new", "connecting", "ready", "reconnecting", "resting", "closed"]

_STATES: dict[Life, State] = {
    Life.NEW: "new",
    Life.CONNECTING: "connecting",
    Life.READY: "ready",
    Life.RECONNECTING: "reconnecting",
    Life.RESTING: "resting",
    Life.FAILED: "closed",
    Life.CLOSED: "closed",
}


class GeminiLive(Continuation, Requests, PlaybackControl):
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
    `line`              `Line`: a line of the transcript is final, or a final one has changed
    `playback_started`  `PlaybackStarted`: a turn begins to be heard
    `playback_finished` `PlaybackFinished`: what was said in it, what was heard, and when
    `playback_ducked`   `PlaybackDucked`: the voice is lowered, somebody may have begun to speak
    `playback_unducked` `PlaybackUnducked`: and is back at its level
    `playback_paused`   `PlaybackPaused`: the voice is held, with the reason
    `playback_resumed`  `PlaybackResumed`: and goes on
    `interrupted`       `Interrupted`: a turn was cut short
    `turn_complete`     `TurnComplete`: the model has finished a turn
    `turn_metrics`      `TurnMetrics`: the delays, the tokens and the cost of a turn that is over
    `speech_started`    `Speech`: somebody in the call has begun to speak
    `speech_stopped`    `Speech`: and has stopped
    `stalled`           `Stalled`: the model owes an answer and nothing comes
    `tool_call`         `ToolCall`: the model calls a function
    `tool_result`       `ToolResult`: the function has returned or failed
    `tool_cancelled`    `ToolCancelled`: nobody wants its answer any more
    `disconnected`      `Disconnected`: the connection is gone, or was left in time
    `reconnecting`      `Reconnecting`: an attempt to have it again begins
    `resumed`           `Resumed`: the conversation goes on over a new connection
    `resumption`        `Resumption`: what to store to go on with the conversation elsewhere
    `left`              `Left`: the assistant has left its call
    `video_started`     `VideoStarted`: the first image of a source went to the model
    `video_stopped`     `VideoStopped`: no more images of a source go to the model
    `view_changed`      `ViewChanged`: the model looks at other sources
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
        history: what was said before: pairs `("user" | "model", text)`, or `Content` of the SDK
            with text. The newest 8,000 characters count.
        resume: goes on with a conversation: a `Resumption`, or an awaitable or a function (sync, on
            a worker thread, or async) that gives one or None, within 10 s. Where the service
            refuses it, or it is of another model, a new session begins with what was said. What is
            heard until then is kept. If it fails, the event `error` says so, and a new
            conversation begins.
        tools: what the model may call: functions with annotations, `tool(function, ...)`, and what
            google-genai takes (`{"google_search": {}}`, `Tool`, MCP `ClientSession`s).
        tool_sound: what is heard while the model waits for a tool, from a second on: the path of an
            audio file, or `(samples, rate)` as `play` takes them.
        record: a folder to record the session in: see `Recorder`.
        telemetry: whether to export spans and metrics to OpenTelemetry, which the extra `otel`
            brings. None does so where it is installed and imported, by `getstream` for example.

    Raises:
        ConfigError: no key, an argument that cannot be used, an option of `config` that the model
            does not accept, or `telemetry=True` without OpenTelemetry.
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
        history: Sequence[Any] | None = None,
        resume: Resume | None = None,
        tools: Sequence[Any] = (),
        tool_sound: str | PathLike[str] | tuple[NDArray[np.int16] | bytes, int] | None = None,
        record: str | PathLike[str] | None = None,
        telemetry: bool | None = None,
    ) -> None:
        check_choice("telemetry", telemetry, (True, False, None))
        settings = resolve_settings(
            api_key=api_key,
            has_client=client is not None,
            model=model,
            config=config,
            instructions=instructions,
            voice=voice,
            language=language,
            barge_in=barge_in,
            half_duplex=half_duplex,
            listen_to=listen_to,
            watchdog=watchdog,
            playback=playback,
            history=history,
            resume=resume,
            tools=tools,
        )
        self._settings = settings
        supervisor = Supervisor(settings, client)
        supervisor.assistant = self
        super().__init__(supervisor)
        self._audio = CallAudio(settings, supervisor)
        self._video = VideoInput(
            spawn=supervisor.spawn,
            link=supervisor,
            emit=supervisor.events.emit,
            report=supervisor.report,
            tokens_per_image=settings.tokens_per_image,
        )
        self._video.follow(supervisor.events.on)
        supervisor.add_resource(self._video)
        if tool_sound is not None:
            supervisor.tool_sound = ToolSounds(supervisor, tool_sound)
        vertexai = bool(getattr(settings.access or client, "vertexai", False))
        exporter = observer_for(telemetry, model=settings.model, vertexai=vertexai)
        if exporter is not None:
            self.add_observer(exporter)
        if record is not None:  # last: nothing that is refused leaves a recording behind
            from ..recording import Recorder

            self.add_observer(Recorder(record, config=settings.config, stats=self.stats))
        self._attachment = CallAttachment(supervisor, self._audio, self._video)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        supervisor.lifecycle.start()

    def __repr__(self) -> str:
        return f"<GeminiLive model={self._settings.model!r} {self.state}>"

    @property
    def state(self) -> State:
        """`new` before it is used, `connecting`, `ready`, `reconnecting`, `resting` (without a
        connection, while a call is empty), `closed` at the end."""
        return _STATES[self._supervisor.lifecycle.life]

    @property
    def transcript(self) -> Transcript:
        """The lines of the conversation so far: who said what, and how much of it was heard."""
        return self._supervisor.turns.feed.transcript

    # -- life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> GeminiLive:
        self._supervisor.lifecycle.start()
        try:
            await self._supervisor.lifecycle.wait_until_settled()
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
        self._supervisor.lifecycle.start()
        return await self._supervisor.lifecycle.wait_until_settled(timeout)

    async def close(self) -> None:
        """End the session, every task and the output track, within 3 s. Idempotent.

        It may be called from any event loop and thread, and from an event handler, which does not
        wait for the end, because the end waits for the handler.

        Raises:
            ConfigError: the event loop that the session belongs to is another one, and does not
                run.
        """
        await self._supervisor.close()

    # -- audio, video, calls -------------------------------------------------------------------

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
        self._supervisor.wake()
        self._audio.push(pcm, target_rate)

    async def start_video_sender(
        self, track: Any, fps: float = 1, *, options: VideoOptions | None = None
    ) -> None:
        """Send images of a video track until it ends. A track that is sent is replaced.

        Args:
            track: a `RemoteTrack` (`getstream` 7), an aiortc `MediaStreamTrack`, or an async
                iterator of `av.VideoFrame`, or of I420 or RGB arrays. It is looked at instead of
                the sources of a call.
            fps: images per second, 0.01 to 60, changed or not. Gemini looks at one per second, and
                bills each.
            options: instead of `fps`: rates, size and quality.

        Raises:
            ConfigError: the track, `fps` or `options` cannot be used.
            SessionError, ClosedError: as `send_text`.
        """
        chosen = resolve_track_options(fps, options)
        self._supervisor.lifecycle.start()
        self._supervisor.lifecycle.check_open()
        await self._video.start_track(track, chosen, self._supervisor.lifecycle.check_open)

    async def stop_video_sender(self) -> None:
        """Stop sending images, until the next track is started or added. Idempotent.

        Called by the video source itself, it stops the source at its next wait or frame.
        """
        self._supervisor.lifecycle.check_loop()
        await self._video.stop()

    async def attach(
        self,
        connection: Any,
        *,
        audio: bool = True,
        video: bool | VideoOptions = False,
        fps: float | None = None,
        target_rate: int = 16000,
        leave_when_alone_s: float | None = 60.0,
        first_participant_timeout_s: float | None = 300.0,
        max_duration_s: float | None = None,
    ) -> None:
        """Wire the assistant to an entered connection: publish its voice, hear, and see.

        It ends with the call: what has not been said by then is dropped, and the assistant may be
        attached to the next one. An assistant that nobody is with leaves the call, so that
        `connection.wait()` returns; it stays open itself, until it is closed. The event `left` says
        why. After 20 s without anybody the connection to Gemini is let go (`state` is `resting`),
        and who comes back finds the same conversation.

        Args:
            connection: what `await rtc.join(...)` gives, entered.
            audio: whether to hear the participants.
            video: whether to look at the call: at the newest shared screen, else at the first
                camera; when that ends, at the next best. `VideoOptions(...)` sets what and how
                often. The connection must have been made with
                `subscription_config=GeminiLive.subscription_config()`.
            fps: images per second, also in silence; without it, `VideoOptions` says.
            target_rate: the rate of the audio on the wire, in Hz; see `send_audio_pcm`.
            leave_when_alone_s: seconds after the last person has left until the assistant leaves,
                too; None: never. Participants with its own user id and the other assistants of this
                process are no people.
            first_participant_timeout_s: seconds to wait for the first person; None: for ever.
            max_duration_s: seconds in the call, whoever is there; None: any time.

        Raises:
            CallError: the SDK refused to publish, the connection has no subscription to video, has
                left its call, or is attached already, or the assistant is in another call.
            AudioError: `target_rate` cannot be used, or differs from the one that is in use.
            ConfigError: `connection` is no connection, or `video` or `fps` cannot be used.
        """
        self._supervisor.lifecycle.start()
        self._supervisor.lifecycle.check_open()
        _call.check_connection(connection)
        check_choice("audio", audio, (True, False))
        options = resolve_call_options(video, fps, hears=audio)
        check_rate(target_rate)
        if audio and self._audio.input.rate not in (None, target_rate):
            raise AudioError(
                f"The audio on the wire has {self._audio.input.rate} Hz since the first piece, and "
                f"cannot have {target_rate} Hz: one session has one rate. attach uses 16000 "
                "unless told otherwise, send_audio_pcm 48000"
            )
        stay = Stay(leave_when_alone_s, first_participant_timeout_s, max_duration_s)
        await self._attachment.attach(
            connection, audio=audio, video=options, target_rate=target_rate, stay=stay
        )

    async def detach(self) -> None:
        """Leave the call: hear, see and say nothing there any more, and leave the connection.

        What was being said is dropped; `drain()` first where it matters. The assistant may be
        attached to another call then. Nothing happens where it is in none.
        """
        self._supervisor.lifecycle.check_loop()
        await self._attachment.leave("detached")

    @staticmethod
    def subscription_config(*, video: bool | VideoOptions = True) -> SubscriptionConfig:
        """Return a `subscription_config` for `rtc.join` that lets the assistant hear and see.

        Args:
            video: what `attach` will be given: only the kinds of sources that it names are
                received, in the size in which they are sent.
        """
        options = resolve_call_options(video, None, hears=True)
        if options is None:
            return _call.subscription_config(())
        return _call.subscription_config(options.kinds, options.max_side)

    # -- what is seen --------------------------------------------------------------------------

    def add_observer(self, observer: Observer) -> None:
        """Let an `Observer` see frames, messages, decisions and events from now on."""
        self._supervisor.events.observers.add(observer)

    def remove_observer(self, observer: Observer) -> None:
        """Stop calling an `Observer`."""
        self._supervisor.events.observers.remove(observer)

    def stats(self) -> Stats:
        """Return a snapshot of the counters."""
        return collect_stats(self._supervisor, self._audio, self._video)
