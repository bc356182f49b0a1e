"""Keep the transcript of a session on its event loop, and tell of each line that is final."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._events import LineEvent
from .history import ConversationHistory
from .transcript import Line, LineStore, Transcript
from .transcript_writer import TranscriptWriter

if TYPE_CHECKING:
    from .._emitter import Emitter
    from .._media.capture import SpeechEvent


class TranscriptFeed:
    """Owns the transcript: its lines, the timer that makes them final, and the event `line`.

    Args:
        events: where to tell.
        detection_s: seconds from the first sound of speech until it counts as speech.
        hangover_s: seconds of silence that have passed when speech is reported to have stopped.

    Attributes:
        lines: writes the lines.
        transcript: what the application reads.
        history: what a new session is told of it.
        detection_s: as the argument; it may be changed.
    """

    def __init__(self, events: Emitter, *, detection_s: float, hangover_s: float) -> None:
        # The clock of the event loop is the monotonic one.
        self._store = LineStore(epoch_s=time.time() - time.monotonic())
        self.lines = TranscriptWriter(self._store, self._on_final, self._on_deadline)
        self.transcript = Transcript(self._store)
        self.history = ConversationHistory(self._store)
        self._events = events
        self.detection_s = detection_s
        self._hangover_s = hangover_s
        self._untold: deque[Line] = deque()
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._is_over = False

    def note_speech(self, now: float, event: SpeechEvent) -> None:
        """Take note of who speaks."""
        if event.kind == "started":
            self.lines.speakers.started(event.who, event.user_id, now - self.detection_s)
        elif event.kind == "stopped":
            self.lines.speakers.stopped(event.who, now - self._hangover_s)

    def end(self, heard_text: Callable[[int], str]) -> None:
        """Make every line final, and tell: the session is over.

        Args:
            heard_text: tells what was heard of a turn so far.
        """
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        self.lines.end(asyncio.get_running_loop().time(), heard_text)
        self._tell()

    def _on_final(self, line: Line) -> None:
        """Tell of a line, but not inside of the call by which the SDK takes a frame."""
        if not self._untold and not self._is_over:
            asyncio.get_running_loop().call_soon(self._tell)
        self._untold.append(line)

    def _tell(self) -> None:
        while self._untold:
            line = self._untold.popleft()
            self._events.emit(LineEvent, line=line, turn=line.turn)

    def _on_deadline(self, at: float) -> None:
        if self._is_over or (self._timer is not None and self._timer_at <= at):
            return  # it looks again then
        if self._timer is not None:
            self._timer.cancel()
        # uvloop gives a handle that knows no time, where the time has come.
        self._timer, self._timer_at = asyncio.get_running_loop().call_at(at, self._pass_time), at

    def _pass_time(self) -> None:
        self._timer = None
        self.lines.pass_time(asyncio.get_running_loop().time())
