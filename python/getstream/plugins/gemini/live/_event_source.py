"""Register handlers of events: `on`, `once` and `events`, typed by the name of the event."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from ._emitter import Emitter, EventStream, event_type_of
from ._events import (
    Disconnected,
    Interrupted,
    Left,
    PlaybackDucked,
    PlaybackFinished,
    PlaybackPaused,
    PlaybackResumed,
    PlaybackStarted,
    PlaybackUnducked,
    Reconnecting,
    Resumed,
    Speech,
    Stalled,
    ToolCall,
    ToolCancelled,
    ToolResult,
    TurnComplete,
    TurnMetrics,
    VideoStarted,
    VideoStopped,
    ViewChanged,
)
from ._resumption import Resumption

if TYPE_CHECKING:
    from ._turns.transcript import Line

Handler = Callable[..., Any]

# A handler takes what its event is about, or nothing, and may be async.
_OnConnected = TypeVar("_OnConnected", bound=Callable[[], object])
_OnAudio = TypeVar("_OnAudio", bound="Callable[[bytes], object] | Callable[[], object]")
_OnText = TypeVar("_OnText", bound="Callable[[str], object] | Callable[[], object]")
_OnLine = TypeVar("_OnLine", bound="Callable[[Line], object] | Callable[[], object]")
_OnPlaybackStarted = TypeVar(
    "_OnPlaybackStarted", bound="Callable[[PlaybackStarted], object] | Callable[[], object]"
)
_OnPlaybackFinished = TypeVar(
    "_OnPlaybackFinished", bound="Callable[[PlaybackFinished], object] | Callable[[], object]"
)
_OnPlaybackDucked = TypeVar(
    "_OnPlaybackDucked", bound="Callable[[PlaybackDucked], object] | Callable[[], object]"
)
_OnPlaybackUnducked = TypeVar(
    "_OnPlaybackUnducked", bound="Callable[[PlaybackUnducked], object] | Callable[[], object]"
)
_OnPlaybackPaused = TypeVar(
    "_OnPlaybackPaused", bound="Callable[[PlaybackPaused], object] | Callable[[], object]"
)
_OnPlaybackResumed = TypeVar(
    "_OnPlaybackResumed", bound="Callable[[PlaybackResumed], object] | Callable[[], object]"
)
_OnInterrupted = TypeVar(
    "_OnInterrupted", bound="Callable[[Interrupted], object] | Callable[[], object]"
)
_OnTurnComplete = TypeVar(
    "_OnTurnComplete", bound="Callable[[TurnComplete], object] | Callable[[], object]"
)
_OnTurnMetrics = TypeVar(
    "_OnTurnMetrics", bound="Callable[[TurnMetrics], object] | Callable[[], object]"
)
_OnSpeech = TypeVar("_OnSpeech", bound="Callable[[Speech], object] | Callable[[], object]")
_OnStalled = TypeVar("_OnStalled", bound="Callable[[Stalled], object] | Callable[[], object]")
_OnToolCall = TypeVar("_OnToolCall", bound="Callable[[ToolCall], object] | Callable[[], object]")
_OnToolResult = TypeVar(
    "_OnToolResult", bound="Callable[[ToolResult], object] | Callable[[], object]"
)
_OnToolCancelled = TypeVar(
    "_OnToolCancelled", bound="Callable[[ToolCancelled], object] | Callable[[], object]"
)
_OnDisconnected = TypeVar(
    "_OnDisconnected", bound="Callable[[Disconnected], object] | Callable[[], object]"
)
_OnReconnecting = TypeVar(
    "_OnReconnecting", bound="Callable[[Reconnecting], object] | Callable[[], object]"
)
_OnResumed = TypeVar("_OnResumed", bound="Callable[[Resumed], object] | Callable[[], object]")
_OnResumption = TypeVar(
    "_OnResumption", bound="Callable[[Resumption], object] | Callable[[], object]"
)
_OnLeft = TypeVar("_OnLeft", bound="Callable[[Left], object] | Callable[[], object]")
_OnVideoStarted = TypeVar(
    "_OnVideoStarted", bound="Callable[[VideoStarted], object] | Callable[[], object]"
)
_OnVideoStopped = TypeVar(
    "_OnVideoStopped", bound="Callable[[VideoStopped], object] | Callable[[], object]"
)
_OnViewChanged = TypeVar(
    "_OnViewChanged", bound="Callable[[ViewChanged], object] | Callable[[], object]"
)
_OnError = TypeVar("_OnError", bound="Callable[[Exception], object] | Callable[[], object]")
_OnClosed = TypeVar(
    "_OnClosed", bound="Callable[[Exception | None], object] | Callable[[], object]"
)


class EventSource:
    """Registers handlers and streams of events.

    Args:
        emitter: delivers the events.
    """

    def __init__(self, emitter: Emitter) -> None:
        self._events = emitter

    @overload
    def on(self, event: Literal["connected"]) -> Callable[[_OnConnected], _OnConnected]: ...
    @overload
    def on(self, event: Literal["connected"], handler: _OnConnected) -> _OnConnected: ...
    @overload
    def on(self, event: Literal["audio"]) -> Callable[[_OnAudio], _OnAudio]: ...
    @overload
    def on(self, event: Literal["audio"], handler: _OnAudio) -> _OnAudio: ...
    @overload
    def on(self, event: Literal["text", "user_text"]) -> Callable[[_OnText], _OnText]: ...
    @overload
    def on(self, event: Literal["text", "user_text"], handler: _OnText) -> _OnText: ...
    @overload
    def on(self, event: Literal["line"]) -> Callable[[_OnLine], _OnLine]: ...
    @overload
    def on(self, event: Literal["line"], handler: _OnLine) -> _OnLine: ...
    @overload
    def on(
        self, event: Literal["playback_started"]
    ) -> Callable[[_OnPlaybackStarted], _OnPlaybackStarted]: ...
    @overload
    def on(
        self, event: Literal["playback_started"], handler: _OnPlaybackStarted
    ) -> _OnPlaybackStarted: ...
    @overload
    def on(
        self, event: Literal["playback_finished"]
    ) -> Callable[[_OnPlaybackFinished], _OnPlaybackFinished]: ...
    @overload
    def on(
        self, event: Literal["playback_finished"], handler: _OnPlaybackFinished
    ) -> _OnPlaybackFinished: ...
    @overload
    def on(
        self, event: Literal["playback_ducked"]
    ) -> Callable[[_OnPlaybackDucked], _OnPlaybackDucked]: ...
    @overload
    def on(
        self, event: Literal["playback_ducked"], handler: _OnPlaybackDucked
    ) -> _OnPlaybackDucked: ...
    @overload
    def on(
        self, event: Literal["playback_unducked"]
    ) -> Callable[[_OnPlaybackUnducked], _OnPlaybackUnducked]: ...
    @overload
    def on(
        self, event: Literal["playback_unducked"], handler: _OnPlaybackUnducked
    ) -> _OnPlaybackUnducked: ...
    @overload
    def on(
        self, event: Literal["playback_paused"]
    ) -> Callable[[_OnPlaybackPaused], _OnPlaybackPaused]: ...
    @overload
    def on(
        self, event: Literal["playback_paused"], handler: _OnPlaybackPaused
    ) -> _OnPlaybackPaused: ...
    @overload
    def on(
        self, event: Literal["playback_resumed"]
    ) -> Callable[[_OnPlaybackResumed], _OnPlaybackResumed]: ...
    @overload
    def on(
        self, event: Literal["playback_resumed"], handler: _OnPlaybackResumed
    ) -> _OnPlaybackResumed: ...
    @overload
    def on(self, event: Literal["interrupted"]) -> Callable[[_OnInterrupted], _OnInterrupted]: ...
    @overload
    def on(self, event: Literal["interrupted"], handler: _OnInterrupted) -> _OnInterrupted: ...
    @overload
    def on(
        self, event: Literal["turn_complete"]
    ) -> Callable[[_OnTurnComplete], _OnTurnComplete]: ...
    @overload
    def on(self, event: Literal["turn_complete"], handler: _OnTurnComplete) -> _OnTurnComplete: ...
    @overload
    def on(self, event: Literal["turn_metrics"]) -> Callable[[_OnTurnMetrics], _OnTurnMetrics]: ...
    @overload
    def on(self, event: Literal["turn_metrics"], handler: _OnTurnMetrics) -> _OnTurnMetrics: ...
    @overload
    def on(
        self, event: Literal["speech_started", "speech_stopped"]
    ) -> Callable[[_OnSpeech], _OnSpeech]: ...
    @overload
    def on(
        self, event: Literal["speech_started", "speech_stopped"], handler: _OnSpeech
    ) -> _OnSpeech: ...
    @overload
    def on(self, event: Literal["tool_call"]) -> Callable[[_OnToolCall], _OnToolCall]: ...
    @overload
    def on(self, event: Literal["tool_call"], handler: _OnToolCall) -> _OnToolCall: ...
    @overload
    def on(self, event: Literal["tool_result"]) -> Callable[[_OnToolResult], _OnToolResult]: ...
    @overload
    def on(self, event: Literal["tool_result"], handler: _OnToolResult) -> _OnToolResult: ...
    @overload
    def on(
        self, event: Literal["tool_cancelled"]
    ) -> Callable[[_OnToolCancelled], _OnToolCancelled]: ...
    @overload
    def on(
        self, event: Literal["tool_cancelled"], handler: _OnToolCancelled
    ) -> _OnToolCancelled: ...
    @overload
    def on(self, event: Literal["stalled"]) -> Callable[[_OnStalled], _OnStalled]: ...
    @overload
    def on(self, event: Literal["stalled"], handler: _OnStalled) -> _OnStalled: ...
    @overload
    def on(
        self, event: Literal["disconnected"]
    ) -> Callable[[_OnDisconnected], _OnDisconnected]: ...
    @overload
    def on(self, event: Literal["disconnected"], handler: _OnDisconnected) -> _OnDisconnected: ...
    @overload
    def on(
        self, event: Literal["reconnecting"]
    ) -> Callable[[_OnReconnecting], _OnReconnecting]: ...
    @overload
    def on(self, event: Literal["reconnecting"], handler: _OnReconnecting) -> _OnReconnecting: ...
    @overload
    def on(self, event: Literal["resumed"]) -> Callable[[_OnResumed], _OnResumed]: ...
    @overload
    def on(self, event: Literal["resumed"], handler: _OnResumed) -> _OnResumed: ...
    @overload
    def on(self, event: Literal["resumption"]) -> Callable[[_OnResumption], _OnResumption]: ...
    @overload
    def on(self, event: Literal["resumption"], handler: _OnResumption) -> _OnResumption: ...
    @overload
    def on(self, event: Literal["left"]) -> Callable[[_OnLeft], _OnLeft]: ...
    @overload
    def on(self, event: Literal["left"], handler: _OnLeft) -> _OnLeft: ...
    @overload
    def on(
        self, event: Literal["video_started"]
    ) -> Callable[[_OnVideoStarted], _OnVideoStarted]: ...
    @overload
    def on(self, event: Literal["video_started"], handler: _OnVideoStarted) -> _OnVideoStarted: ...
    @overload
    def on(
        self, event: Literal["video_stopped"]
    ) -> Callable[[_OnVideoStopped], _OnVideoStopped]: ...
    @overload
    def on(self, event: Literal["video_stopped"], handler: _OnVideoStopped) -> _OnVideoStopped: ...
    @overload
    def on(self, event: Literal["view_changed"]) -> Callable[[_OnViewChanged], _OnViewChanged]: ...
    @overload
    def on(self, event: Literal["view_changed"], handler: _OnViewChanged) -> _OnViewChanged: ...
    @overload
    def on(self, event: Literal["error"]) -> Callable[[_OnError], _OnError]: ...
    @overload
    def on(self, event: Literal["error"], handler: _OnError) -> _OnError: ...
    @overload
    def on(self, event: Literal["closed"]) -> Callable[[_OnClosed], _OnClosed]: ...
    @overload
    def on(self, event: Literal["closed"], handler: _OnClosed) -> _OnClosed: ...
    def on(self, event: str, handler: Handler | None = None) -> Any:
        """Call `handler` at each `event`; also a decorator: `@gemini.on("audio")`.

        Args:
            event: the name of an event.
            handler: sync or async; it may take fewer arguments than there are.

        Raises:
            ConfigError: there is no such event, or `handler` cannot be called.
        """
        return self._events.on(event, handler)

    @overload
    def once(self, event: Literal["connected"]) -> Callable[[_OnConnected], _OnConnected]: ...
    @overload
    def once(self, event: Literal["connected"], handler: _OnConnected) -> _OnConnected: ...
    @overload
    def once(self, event: Literal["audio"]) -> Callable[[_OnAudio], _OnAudio]: ...
    @overload
    def once(self, event: Literal["audio"], handler: _OnAudio) -> _OnAudio: ...
    @overload
    def once(self, event: Literal["text", "user_text"]) -> Callable[[_OnText], _OnText]: ...
    @overload
    def once(self, event: Literal["text", "user_text"], handler: _OnText) -> _OnText: ...
    @overload
    def once(self, event: Literal["line"]) -> Callable[[_OnLine], _OnLine]: ...
    @overload
    def once(self, event: Literal["line"], handler: _OnLine) -> _OnLine: ...
    @overload
    def once(
        self, event: Literal["playback_started"]
    ) -> Callable[[_OnPlaybackStarted], _OnPlaybackStarted]: ...
    @overload
    def once(
        self, event: Literal["playback_started"], handler: _OnPlaybackStarted
    ) -> _OnPlaybackStarted: ...
    @overload
    def once(
        self, event: Literal["playback_finished"]
    ) -> Callable[[_OnPlaybackFinished], _OnPlaybackFinished]: ...
    @overload
    def once(
        self, event: Literal["playback_finished"], handler: _OnPlaybackFinished
    ) -> _OnPlaybackFinished: ...
    @overload
    def once(
        self, event: Literal["playback_ducked"]
    ) -> Callable[[_OnPlaybackDucked], _OnPlaybackDucked]: ...
    @overload
    def once(
        self, event: Literal["playback_ducked"], handler: _OnPlaybackDucked
    ) -> _OnPlaybackDucked: ...
    @overload
    def once(
        self, event: Literal["playback_unducked"]
    ) -> Callable[[_OnPlaybackUnducked], _OnPlaybackUnducked]: ...
    @overload
    def once(
        self, event: Literal["playback_unducked"], handler: _OnPlaybackUnducked
    ) -> _OnPlaybackUnducked: ...
    @overload
    def once(
        self, event: Literal["playback_paused"]
    ) -> Callable[[_OnPlaybackPaused], _OnPlaybackPaused]: ...
    @overload
    def once(
        self, event: Literal["playback_paused"], handler: _OnPlaybackPaused
    ) -> _OnPlaybackPaused: ...
    @overload
    def once(
        self, event: Literal["playback_resumed"]
    ) -> Callable[[_OnPlaybackResumed], _OnPlaybackResumed]: ...
    @overload
    def once(
        self, event: Literal["playback_resumed"], handler: _OnPlaybackResumed
    ) -> _OnPlaybackResumed: ...
    @overload
    def once(self, event: Literal["interrupted"]) -> Callable[[_OnInterrupted], _OnInterrupted]: ...
    @overload
    def once(self, event: Literal["interrupted"], handler: _OnInterrupted) -> _OnInterrupted: ...
    @overload
    def once(
        self, event: Literal["turn_complete"]
    ) -> Callable[[_OnTurnComplete], _OnTurnComplete]: ...
    @overload
    def once(
        self, event: Literal["turn_complete"], handler: _OnTurnComplete
    ) -> _OnTurnComplete: ...
    @overload
    def once(
        self, event: Literal["turn_metrics"]
    ) -> Callable[[_OnTurnMetrics], _OnTurnMetrics]: ...
    @overload
    def once(self, event: Literal["turn_metrics"], handler: _OnTurnMetrics) -> _OnTurnMetrics: ...
    @overload
    def once(
        self, event: Literal["speech_started", "speech_stopped"]
    ) -> Callable[[_OnSpeech], _OnSpeech]: ...
    @overload
    def once(
        self, event: Literal["speech_started", "speech_stopped"], handler: _OnSpeech
    ) -> _OnSpeech: ...
    @overload
    def once(self, event: Literal["tool_call"]) -> Callable[[_OnToolCall], _OnToolCall]: ...
    @overload
    def once(self, event: Literal["tool_call"], handler: _OnToolCall) -> _OnToolCall: ...
    @overload
    def once(self, event: Literal["tool_result"]) -> Callable[[_OnToolResult], _OnToolResult]: ...
    @overload
    def once(self, event: Literal["tool_result"], handler: _OnToolResult) -> _OnToolResult: ...
    @overload
    def once(
        self, event: Literal["tool_cancelled"]
    ) -> Callable[[_OnToolCancelled], _OnToolCancelled]: ...
    @overload
    def once(
        self, event: Literal["tool_cancelled"], handler: _OnToolCancelled
    ) -> _OnToolCancelled: ...
    @overload
    def once(self, event: Literal["stalled"]) -> Callable[[_OnStalled], _OnStalled]: ...
    @overload
    def once(self, event: Literal["stalled"], handler: _OnStalled) -> _OnStalled: ...
    @overload
    def once(
        self, event: Literal["disconnected"]
    ) -> Callable[[_OnDisconnected], _OnDisconnected]: ...
    @overload
    def once(self, event: Literal["disconnected"], handler: _OnDisconnected) -> _OnDisconnected: ...
    @overload
    def once(
        self, event: Literal["reconnecting"]
    ) -> Callable[[_OnReconnecting], _OnReconnecting]: ...
    @overload
    def once(self, event: Literal["reconnecting"], handler: _OnReconnecting) -> _OnReconnecting: ...
    @overload
    def once(self, event: Literal["resumed"]) -> Callable[[_OnResumed], _OnResumed]: ...
    @overload
    def once(self, event: Literal["resumed"], handler: _OnResumed) -> _OnResumed: ...
    @overload
    def once(self, event: Literal["resumption"]) -> Callable[[_OnResumption], _OnResumption]: ...
    @overload
    def once(self, event: Literal["resumption"], handler: _OnResumption) -> _OnResumption: ...
    @overload
    def once(self, event: Literal["left"]) -> Callable[[_OnLeft], _OnLeft]: ...
    @overload
    def once(self, event: Literal["left"], handler: _OnLeft) -> _OnLeft: ...
    @overload
    def once(
        self, event: Literal["video_started"]
    ) -> Callable[[_OnVideoStarted], _OnVideoStarted]: ...
    @overload
    def once(
        self, event: Literal["video_started"], handler: _OnVideoStarted
    ) -> _OnVideoStarted: ...
    @overload
    def once(
        self, event: Literal["video_stopped"]
    ) -> Callable[[_OnVideoStopped], _OnVideoStopped]: ...
    @overload
    def once(
        self, event: Literal["video_stopped"], handler: _OnVideoStopped
    ) -> _OnVideoStopped: ...
    @overload
    def once(
        self, event: Literal["view_changed"]
    ) -> Callable[[_OnViewChanged], _OnViewChanged]: ...
    @overload
    def once(self, event: Literal["view_changed"], handler: _OnViewChanged) -> _OnViewChanged: ...
    @overload
    def once(self, event: Literal["error"]) -> Callable[[_OnError], _OnError]: ...
    @overload
    def once(self, event: Literal["error"], handler: _OnError) -> _OnError: ...
    @overload
    def once(self, event: Literal["closed"]) -> Callable[[_OnClosed], _OnClosed]: ...
    @overload
    def once(self, event: Literal["closed"], handler: _OnClosed) -> _OnClosed: ...
    def once(self, event: str, handler: Handler | None = None) -> Any:
        """Call `handler` at the next `event` only; also a decorator.

        Args:
            event: the name of an event.
            handler: as for `on`.

        Raises:
            ConfigError: there is no such event, or `handler` cannot be called.
        """
        return self._events.once(event, handler)

    def remove_listener(self, event: str, handler: Handler) -> None:
        """Stop calling `handler` at `event`, also with what waits for it.

        Raises:
            ConfigError: there is no such event.
        """
        self._events.remove_listener(event, handler)

    def events(self, *names: str) -> EventStream:
        """Return a stream of the events from now on: `async for event in gemini.events()`.

        Each event is a frozen dataclass. 2048 events wait for a consumer that is behind; what comes
        beyond is dropped, and counted in the stream's `dropped` and in `stats().events_lost`. The
        stream ends after `closed`.

        Args:
            names: the events of interest; all of them if none is given.

        Raises:
            ConfigError: there is no such event.
        """
        return self._events.stream(tuple(event_type_of(name) for name in names))
