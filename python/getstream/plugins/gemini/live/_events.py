"""The events of an assistant, each a frozen dataclass.

A handler of `gemini.on(name)` is called with the event's `arguments()`: with the event itself, or,
for the six simplest ones, with what it is about. `gemini.events()` yields the events themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from ._tokens import TokenUsage
    from ._turns.transcript import Line

from ._resumption import Resumption

Cause = Literal["server", "speech", "app", "call"]
"""The side that cut a turn."""

StallReason = Literal["unanswered", "unfinished", "unheard", "empty", "rejected"]
"""The kind of answer that is missing; see `Stalled.reason`."""

LeftReason = Literal["alone", "nobody_came", "max_duration", "ended", "detached"]
"""The reason to leave a call; see `Left.reason`."""

ToolCancelReason = Literal["model", "new session", "closed"]
"""The side that no longer wants an answer; see `ToolCancelled.reason`."""

HoldReason = Literal["speech", "app", "unconfirmed"]
"""The reason to hold playback: speech, the application, or an unconfirmed interruption."""

SourceKind = Literal["camera", "screen", "track"]
"""The kind of a video source."""

VideoStopReason = Literal["ended", "muted", "left", "replaced", "stopped", "failed", "no_frames"]
"""The reason why a video source is not looked at any more; see `VideoStopped.reason`."""


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        name: the name of the event, as `on` takes it.
        turn: the newest turn of the model then, counted from 1 in each `GeminiLive`; 0 before the
            first. Where an event is about one turn, the number of that.
        at: when it happened, in seconds of the event loop's clock (`loop.time()`).
    """

    name: ClassVar[str]
    turn: int = field(default=0, kw_only=True, compare=False)
    at: float = field(default=0.0, kw_only=True, compare=False)

    def arguments(self) -> tuple[Any, ...]:
        """Return the arguments of a handler."""
        return (self,)


@dataclass(frozen=True)
class Connected(Event):
    """The session is set up, for the first time. Handlers get no argument."""

    name: ClassVar[str] = "connected"

    def arguments(self) -> tuple[Any, ...]:
        """Return no argument."""
        return ()


@dataclass(frozen=True)
class Audio(Event):
    """A chunk of the assistant's speech arrives. Handlers get `pcm`.

    Attributes:
        pcm: s16le mono 24 kHz.
    """

    name: ClassVar[str] = "audio"
    pcm: bytes

    def arguments(self) -> tuple[Any, ...]:
        """Return the samples."""
        return (self.pcm,)


@dataclass(frozen=True)
class Text(Event):
    """More text of what the assistant says arrives. Handlers get `text`.

    Attributes:
        text: a part of its transcript, or of its text parts where it has no transcript.
    """

    name: ClassVar[str] = "text"
    text: str

    def arguments(self) -> tuple[Any, ...]:
        """Return the text."""
        return (self.text,)


@dataclass(frozen=True)
class UserText(Event):
    """More text of what the user says arrives. Handlers get `text`.

    Attributes:
        text: a part of the transcript of the user's speech.
    """

    name: ClassVar[str] = "user_text"
    text: str

    def arguments(self) -> tuple[Any, ...]:
        """Return the text."""
        return (self.text,)


@dataclass(frozen=True)
class LineEvent(Event):
    """A line of the transcript is final, or a final line has changed. Handlers get `line`.

    Attributes:
        line: the line as it is now.
    """

    name: ClassVar[str] = "line"
    line: Line

    def arguments(self) -> tuple[Any, ...]:
        """Return the line."""
        return (self.line,)


@dataclass(frozen=True)
class PlaybackStarted(Event):
    """A turn begins to be heard: the SDK has its first sample.

    Attributes:
        turn: the number of the turn.
        at: when it is played, in seconds of the event loop's clock (`loop.time()`); the listener
            is the transport behind.
    """

    name: ClassVar[str] = "playback_started"
    turn: int = field()
    at: float = field()


@dataclass(frozen=True)
class PlaybackFinished(Event):
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

    name: ClassVar[str] = "playback_finished"
    turn: int = field()
    text: str
    heard_text: str
    heard_ms: float
    cut: bool
    started_at: float
    finished_at: float


@dataclass(frozen=True)
class PlaybackDucked(Event):
    """The assistant's voice is lowered: somebody may have begun to speak.

    Attributes:
        gain_db: the gain from now on, in decibels.
    """

    name: ClassVar[str] = "playback_ducked"
    gain_db: float


@dataclass(frozen=True)
class PlaybackUnducked(Event):
    """The assistant's voice is back at its level."""

    name: ClassVar[str] = "playback_unducked"


@dataclass(frozen=True)
class PlaybackPaused(Event):
    """The assistant's voice is faded out, and the read head is held.

    Attributes:
        reason: `"speech"` (somebody speaks), `"app"` (`interrupt_playback()`) or `"unconfirmed"`
            (an interruption by Gemini that nobody in the call was heard to make).
    """

    name: ClassVar[str] = "playback_paused"
    reason: HoldReason


@dataclass(frozen=True)
class PlaybackResumed(Event):
    """The read head moves on, at the exact sample where it was held."""

    name: ClassVar[str] = "playback_resumed"


@dataclass(frozen=True)
class Interrupted(Event):
    """A turn of the assistant was cut short.

    Attributes:
        turn: the number of the turn.
        heard_ms: how much of it was played, in milliseconds of speech, at the read head; the
            listener is a frame and the transport behind.
        heard_text: the part of its transcript that was heard, estimated to within one piece of
            text as the service sends them.
        cause: `"server"` (Gemini's own activity detection), `"speech"` (local barge-in, where the
            service has nothing left to interrupt or does not detect activity itself), `"app"`
            (`interrupt_playback(drop=True)`) or `"call"` (the call is over, or the track is not
            published any more).
    """

    name: ClassVar[str] = "interrupted"
    turn: int = field()
    heard_ms: float
    heard_text: str
    cause: Cause


@dataclass(frozen=True)
class TurnComplete(Event):
    """The model has finished a turn. Its audio may still be playing.

    Attributes:
        turn: the number of the turn.
        text: the transcript of what the assistant says in it, as far as it has arrived.
        reason: why the service has ended it, where that is not the ordinary reason: its
            `turnCompleteReason`, such as `"GENERATED_AUDIO_SAFETY"`.
    """

    name: ClassVar[str] = "turn_complete"
    turn: int = field()
    text: str
    reason: str = ""


@dataclass(frozen=True)
class TurnMetrics(Event):
    """The numbers of a turn that is over: sent by the service, and played or cut.

    What is not known, or has not happened, is None. Tokens that the service reports after its
    `turn_complete` count for the next turn.

    Attributes:
        turn: the number of the turn.
        began_at: when its first audio came, in seconds of the event loop's clock.
        speech_ended_at: when the speech ended that it answers, by the local detector, on that
            clock; None if it answers a text or nothing.
        first_audio_ms: from there to `began_at`.
        first_sample_ms: from there to the first sample that was played.
        barge_in_ms: from the first sign that somebody spoke over it until the output was silent.
        tool_ms: time that its tool calls took, added up.
        tool_calls: the ids of its tool calls.
        interrupted: whether it was cut short.
        heard_ms: how much of it was played, in milliseconds of speech.
        tokens: what it has taken.
        cost_usd: an estimate of what they cost, in US dollars; None for a model whose price is not
            known here.
    """

    name: ClassVar[str] = "turn_metrics"
    turn: int = field()
    began_at: float
    speech_ended_at: float | None
    first_audio_ms: float | None
    first_sample_ms: float | None
    barge_in_ms: float | None
    tool_ms: float | None
    tool_calls: tuple[str, ...]
    interrupted: bool
    heard_ms: float
    tokens: TokenUsage
    cost_usd: float | None


@dataclass(frozen=True)
class Speech(Event):
    """Somebody in the call started or stopped speaking, as the local detector hears it.

    Attributes:
        user_id: the participant, or "" when the audio came without one.
    """

    user_id: str


@dataclass(frozen=True)
class SpeechStarted(Speech):
    """Somebody in the call has begun to speak, as the local detector hears it."""

    name: ClassVar[str] = "speech_started"


@dataclass(frozen=True)
class SpeechStopped(Speech):
    """Somebody in the call has stopped speaking, as the local detector hears it."""

    name: ClassVar[str] = "speech_stopped"


@dataclass(frozen=True)
class Stalled(Event):
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

    name: ClassVar[str] = "stalled"
    waited_ms: float
    unfinished: bool
    reason: StallReason = "unanswered"
    detail: str = ""


@dataclass(frozen=True)
class ToolCall(Event):
    """The model has called a function.

    Attributes:
        id: the id of the call; "" where the service gives none.
        tool: the name of the function.
        args: its arguments, as the model has sent them.
    """

    name: ClassVar[str] = "tool_call"
    id: str
    tool: str
    args: dict[str, Any]


@dataclass(frozen=True)
class ToolResult(Event):
    """A function has returned, has failed, or could not be called; the model is told.

    Attributes:
        id: the id of the call.
        tool: the name of the function.
        result: what it has returned; None where it has failed, or has streamed its results.
        error: what the model is told about the failure; None where there was none.
        duration_ms: from the call to the answer.
    """

    name: ClassVar[str] = "tool_result"
    id: str
    tool: str
    result: Any
    error: str | None
    duration_ms: float


@dataclass(frozen=True)
class ToolCancelled(Event):
    """The answer to a call is not wanted any more.

    Attributes:
        id: the id of the call.
        tool: the name of the function.
        reason: `"model"`: the model has cancelled the call, because somebody has spoken.
            `"new session"`: the session that has called could not be resumed, or was resumed from
            a moment before the call; the function runs on, and its result answers the session
            that goes on should that call the same. `"closed"`: the session is over.
    """

    name: ClassVar[str] = "tool_cancelled"
    id: str
    tool: str
    reason: ToolCancelReason


@dataclass(frozen=True)
class Disconnected(Event):
    """The connection to Gemini is gone; the assistant is going to have it again.

    Attributes:
        reason: why; None when the service had announced it and it was left at a boundary between
            turns.
    """

    name: ClassVar[str] = "disconnected"
    reason: Exception | None


@dataclass(frozen=True)
class Reconnecting(Event):
    """An attempt to have the connection again begins.

    Attributes:
        attempt: its number, from 1.
        delay_ms: how long it waits first.
        resuming: whether it resumes the session; otherwise it begins a new one with what was said.
    """

    name: ClassVar[str] = "reconnecting"
    attempt: int
    delay_ms: float
    resuming: bool


@dataclass(frozen=True)
class Resumed(Event):
    """The conversation goes on over a new connection.

    Attributes:
        gap_ms: how long there was none.
        attempts: how many it took.
        same_session: whether the session was resumed; otherwise a new one knows what was said.
        retransmitted_ms: audio sent again because the old connection may not have delivered it.
    """

    name: ClassVar[str] = "resumed"
    gap_ms: float
    attempts: int
    same_session: bool
    retransmitted_ms: float


@dataclass(frozen=True)
class ResumptionEvent(Event):
    """The conversation can be resumed from here. Handlers get `resumption`.

    Attributes:
        resumption: what to store, in place of the one before.
    """

    name: ClassVar[str] = "resumption"
    resumption: Resumption

    def arguments(self) -> tuple[Any, ...]:
        """Return the `Resumption`."""
        return (self.resumption,)


@dataclass(frozen=True)
class Left(Event):
    """The assistant has left its call, or is about to: nothing is heard or said there any more.

    Attributes:
        reason: `"alone"` (everybody else has left, `leave_when_alone_s` ago), `"nobody_came"`
            (within `first_participant_timeout_s`), `"max_duration"` (`max_duration_s` is over),
            `"ended"` (the call was ended, or the application has left the connection) or
            `"detached"` (`detach()` was called).
    """

    name: ClassVar[str] = "left"
    reason: LeftReason


@dataclass(frozen=True)
class VideoSource:
    """Camera or shared screen of a participant, or the track of `start_video_sender`.

    Attributes:
        name: unique in the call, such as `"anna's screen"`; `"track"` for that of
            `start_video_sender`.
        kind: `"camera"`, `"screen"` or `"track"`.
        user_id: the participant, or "" for a track.
        session_id: the participant's session: one user may have joined twice.
        added_at: when it was published, in seconds of the event loop's clock.
        speaking: whether the participant speaks now.
        spoke_at: when the participant was last heard to speak, in seconds of the event loop's
            clock; None if never.
    """

    name: str
    kind: SourceKind
    user_id: str = ""
    session_id: str = ""
    added_at: float = 0.0
    speaking: bool = False
    spoke_at: float | None = None


@dataclass(frozen=True)
class VideoStarted(Event):
    """The first image of a source went to the model.

    Attributes:
        source: the source.
        width: of the source's frames, in pixels.
        height: of the source's frames, in pixels.
    """

    name: ClassVar[str] = "video_started"
    source: VideoSource
    width: int
    height: int


@dataclass(frozen=True)
class VideoStopped(Event):
    """No more images of a source go to the model.

    Attributes:
        source: the source.
        reason: `"ended"` (the track has ended), `"muted"` (or taken out of the call, which looks
            the same), `"left"` (the participant, or the assistant itself), `"replaced"` (another
            source is looked at), `"stopped"` (by the application), `"failed"` (the track raised an
            error, or its frames cannot be used) or `"no_frames"`.
    """

    name: ClassVar[str] = "video_stopped"
    source: VideoSource
    reason: VideoStopReason


@dataclass(frozen=True)
class ViewChanged(Event):
    """The model looks at other sources.

    Attributes:
        sources: what it looks at now, the most important first; empty if there is nothing.
        previous: what it looked at before.
    """

    name: ClassVar[str] = "view_changed"
    sources: tuple[VideoSource, ...]
    previous: tuple[VideoSource, ...]


@dataclass(frozen=True)
class ErrorEvent(Event):
    """Something failed. Handlers get `error`; it is logged when nobody listens.

    Attributes:
        error: a `GeminiError`.
    """

    name: ClassVar[str] = "error"
    error: Exception

    def arguments(self) -> tuple[Any, ...]:
        """Return the exception."""
        return (self.error,)


@dataclass(frozen=True)
class Closed(Event):
    """The session is over. Handlers get `cause`.

    Attributes:
        cause: why it has ended by itself; None if `close()` was called.
    """

    name: ClassVar[str] = "closed"
    cause: Exception | None

    def arguments(self) -> tuple[Any, ...]:
        """Return the cause."""
        return (self.cause,)


EVENT_TYPES: dict[str, type[Event]] = {
    event.name: event
    for event in (
        Connected,
        Audio,
        Text,
        UserText,
        LineEvent,
        PlaybackStarted,
        PlaybackFinished,
        PlaybackDucked,
        PlaybackUnducked,
        PlaybackPaused,
        PlaybackResumed,
        Interrupted,
        TurnComplete,
        TurnMetrics,
        SpeechStarted,
        SpeechStopped,
        Stalled,
        ToolCall,
        ToolResult,
        ToolCancelled,
        Disconnected,
        Reconnecting,
        Resumed,
        ResumptionEvent,
        Left,
        VideoStarted,
        VideoStopped,
        ViewChanged,
        ErrorEvent,
        Closed,
    )
}
"""The class of each event by its name."""
