"""Let recorders, metrics and benchmarks see what happens in a session."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._events import Event

logger = logging.getLogger("getstream.plugins.gemini")


class Observer:
    """Receives what happens in a session; subclass it and override the methods of interest.

    Add it with `gemini.add_observer(observer)`. Methods are called on the event loop, in the order
    of what happens, and must not block. An observer that raises is logged with its traceback and
    removed. A method that is not overridden costs nothing: what it would be called with is not even
    made. All times are seconds of the event loop's clock (`loop.time()`).

    Attributes:
        event_names: the events that `on_event` takes; None for all. Each chunk of speech is an
            event `audio`: an observer that names others spares the session to make it.
    """

    event_names: frozenset[str] | None = None

    def on_participant_audio(self, at: float, user_id: str, pcm: Any) -> None:
        """Take a packet of a participant, as it came from the call.

        Args:
            at: when it arrived.
            user_id: whose it is, or "".
            pcm: `getstream`'s `PcmData`; not to be changed.
        """

    def on_input_audio(self, at: float, pcm: bytes, sample_rate: int) -> None:
        """Take a frame that is sent to Gemini.

        Args:
            at: when the frame ended.
            pcm: 20 ms of the mixed participants, s16le mono.
            sample_rate: in Hz.
        """

    def on_output_audio(self, at: float, pcm: bytes, sample_rate: int) -> None:
        """Take a frame that is handed to the call, after fades, duck and pause.

        Args:
            at: when its first sample is played.
            pcm: s16le mono.
            sample_rate: 48000 Hz.
        """

    def on_speech(self, at: float, user_id: str, phase: str) -> None:
        """Take a decision of the speech detector.

        Args:
            at: when it was made.
            user_id: who it is about, or "".
            phase: `"starting"` (a first sign), `"dismissed"` (it was nothing), `"started"`,
                `"sustained"` (long enough to commit an interruption) or `"stopped"`.
        """

    def on_message(self, at: float, message: Any) -> None:
        """Take a message of the service, as it was parsed.

        Args:
            at: when it arrived.
            message: a `ServerMessage`; its fields may change between versions.
        """

    def on_event(self, event: Event) -> None:
        """Take an event, whether or not there is a handler for it."""

    def on_close(self) -> None:
        """Note that the session is over: nothing follows."""


METHODS = tuple(name for name in vars(Observer) if name.startswith("on_"))


class Observers:
    """The observers of one session, by the method that they override.

    Attributes:
        changed: called after an observer was added or removed, so that each place that something
            happens at can be wired, or not.
    """

    def __init__(self) -> None:
        self.changed: list[Callable[[], None]] = []
        self._observers: list[Observer] = []
        self._by_method: dict[str, list[Observer]] = {name: [] for name in METHODS}
        self._event_names: frozenset[str] | None = frozenset()  # that somebody takes; None: all

    def add(self, observer: Observer) -> None:
        """Add an observer; one that is there is not added again."""
        if observer not in self._observers:
            self._observers.append(observer)
            self._sort()

    def remove(self, observer: Observer) -> None:
        """Remove an observer, if it is there."""
        if observer in self._observers:
            self._observers.remove(observer)
            self._sort()

    def has(self, method: str) -> bool:
        """Return whether an observer overrides `method`."""
        return bool(self._by_method[method])

    def take(self, event_name: str) -> bool:
        """Return whether an observer takes events of this name."""
        return self._event_names is None or event_name in self._event_names

    def notify(self, method: str, *arguments: Any) -> None:
        """Call `method` of each observer that overrides it."""
        for observer in tuple(self._by_method[method]):
            self._call(observer, method, *arguments)

    def notify_event(self, event: Event) -> None:
        """Call `on_event` of each observer that takes such events."""
        for observer in tuple(self._by_method["on_event"]):
            if observer.event_names is None or event.name in observer.event_names:
                self._call(observer, "on_event", event)

    def close(self) -> None:
        """Call `on_close` of each observer, and nothing of any of them after that."""
        self.notify("on_close")
        self._observers.clear()
        self._sort()

    def _call(self, observer: Observer, method: str, *arguments: Any) -> None:
        try:
            getattr(observer, method)(*arguments)
        except Exception:
            logger.exception("%r has failed in %s, and is removed", observer, method)
            self.remove(observer)

    def _sort(self) -> None:
        for name in METHODS:
            self._by_method[name] = [
                observer
                for observer in self._observers
                if getattr(type(observer), name) is not getattr(Observer, name)
                or name in vars(observer)
            ]
        names = [observer.event_names for observer in self._by_method["on_event"]]
        self._event_names = frozenset[str]()
        for each in names:
            known = self._event_names
            self._event_names = None if each is None or known is None else known | each
        for changed in self.changed:
            changed()
