"""Take the audio of a call: feed the capture core, let time pass on it, and tell its faults."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any

from ..errors import AudioError
from ._events import ErrorEvent
from ._lifecycle import Life
from ._media.capture import AudioInput, TrackKind
from ._options import BargeIn
from ._session import Session
from ._settings import Settings
from ._supervisor import Supervisor
from ._timing import VAD_HANGOVER_MS

logger = logging.getLogger("getstream.plugins.gemini")

HALF_DUPLEX_TAIL_S = 0.3
"""With `half_duplex`, seconds after the last speech for which nobody is heard: its echo is still on
the way."""

ADVANCE_AGAIN_S = 0.02
"""Seconds after which the capture is advanced again when that has failed."""

ADVANCE_EARLY_S = 0.001
"""Seconds by which the timer of the capture may fire early: clocks have a resolution."""


class CallAudio:
    """Takes packets of the call on the event loop, and arms the timer by which silence happens.

    Frames go to the supervisor's send queue, speech events to its turns.

    Args:
        settings: the settings of the assistant.
        supervisor: whom the audio goes to.

    Attributes:
        frames_refused: packets that came after the session had failed, or that were of no use.
    """

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self.frames_refused = 0
        self._supervisor = supervisor
        self._lifecycle = supervisor.lifecycle
        self._turns = supervisor.turns
        self._half_duplex = settings.half_duplex
        self._observers = supervisor.events.observers
        self._observers.changed.append(self._wire_observers)
        times = settings.times
        self._input = AudioInput(
            supervisor.send_queue.push,
            Session.audio_envelope,
            end_stream=supervisor.send_queue.end_stream,
            onset_ms=math.ceil(times.pause_after_ms),
            hangover_ms=VAD_HANGOVER_MS,
            sustained_ms=math.ceil(times.commit_after_ms),
            tail_ms=settings.tail_ms,
            listen_to=settings.listen_to,
            echo=supervisor.turns.output.reference,
        )
        supervisor.metrics.jitter_of = self._input.jitter_of
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._muted_until = 0.0
        self._failure_told = False
        self._unusable_told = False
        self._fault_told = False
        self._packets_observed = False
        supervisor.on_shut_down.append(self._stop)
        supervisor.on_barge_in_changed.append(self._change_detection)

    @property
    def input(self) -> AudioInput:
        """Return the capture: its rate and its counters."""
        return self._input

    def _change_detection(self, times: BargeIn, on_changed: Callable[[], None]) -> None:
        """Detect speech by other times, from the next time on that nobody speaks."""
        self._input.change_detection(
            math.ceil(times.pause_after_ms), math.ceil(times.commit_after_ms), on_changed
        )

    def push(self, pcm: Any, target_rate: int) -> None:
        """Take a packet, as `GeminiLive.send_audio_pcm` says; nothing in it waits."""
        loop = asyncio.get_running_loop()
        if not self._lifecycle.is_ready_on(loop) and self._refuses():
            return
        now = loop.time()
        events = self._input.push(pcm, target_rate, now, muted=self._is_muted(now))
        if self._packets_observed:
            user_id = str(getattr(getattr(pcm, "participant", None), "user_id", None) or "")
            self._observers.notify("on_participant_audio", now, user_id, pcm)
        if events:
            self._turns.on_speech_events(events)
        self._set_timer()

    def push_of_call(self, pcm: Any, target_rate: int) -> None:
        """Take a packet that the SDK hands over, and raise nothing into the SDK.

        Raised there, an error would be a traceback for each frame.
        """
        if self._lifecycle.is_closed:
            return
        try:
            self.push(pcm, target_rate)
        except AudioError as error:
            self.frames_refused += 1
            if not self._unusable_told:
                self._unusable_told = True
                self._supervisor.report(error)
        except Exception as error:
            # The failure of the session has been reported, and its end is known.
            if error is not self._lifecycle.failure and not self._lifecycle.is_closed:
                self._note_fault(error)

    def expect_track(self, user_id: str, session_id: str, kind: TrackKind) -> None:
        """Note the kind of a track that a participant has added."""
        self._input.expect_track(user_id, session_id, kind)

    def join(self, user_id: str, session_id: str) -> None:
        """Hear a participant who has joined, or joined again."""
        self._input.join(user_id, session_id)

    def leave(self, user_id: str, session_id: str) -> None:
        """End the tracks of a participant who has left."""
        if not self._lifecycle.is_closed:
            left = self._input.leave(user_id, session_id, self._supervisor.now())
            self._turns.on_speech_events(left)
            self._set_timer()

    def leave_all(self) -> None:
        """End the tracks of everybody: the call is over."""
        people = {(track.user_id, track.session_id) for track in self._input.track_stats()}
        for user_id, session_id in people:
            self.leave(user_id, session_id)
        self._muted_until = 0.0

    def _refuses(self) -> bool:
        """Begin the session if it has not begun; return whether audio is counted and dropped.

        Raises:
            SessionError: the session has failed, and this has not been raised yet.
            ClosedError, ConfigError: as `GeminiLive.send_audio_pcm`.
        """
        lifecycle = self._lifecycle
        lifecycle.start()
        failed = lifecycle.life is Life.FAILED
        if failed and self._failure_told:
            self.frames_refused += 1
            return True
        self._failure_told = failed
        lifecycle.check_open()
        return False

    def _is_muted(self, now: float) -> bool:
        """Return whether nobody is listened to, because the assistant speaks."""
        if self._half_duplex and self._turns.speaking:
            self._muted_until = now + HALF_DUPLEX_TAIL_S
        return now < self._muted_until

    # -- time ----------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        """Let time pass on the capture while frames are due: silence happens by time.

        A timer that is early looks when it expires, which costs less than one for each packet.
        """
        due, timer = self._input.advance_at, self._timer
        if due is None or (timer is not None and self._timer_at <= due):
            return
        if self._lifecycle.is_over:
            return
        if timer is not None:
            timer.cancel()
        # uvloop gives a handle that knows no time, where the time has come.
        self._timer, self._timer_at = asyncio.get_running_loop().call_at(due, self._advance), due

    def _advance(self) -> None:
        self._timer = None
        now, due = self._supervisor.now(), self._input.advance_at
        if due is not None and due - now < ADVANCE_EARLY_S:
            try:
                self._turns.on_speech_events(self._input.advance(now))
                self._supervisor.send_queue.pass_time(now)
            except Exception as error:
                # Without the next one, speech would never end.
                self._note_fault(error)
                self._input.advance_at = now + ADVANCE_AGAIN_S
        self._set_timer()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _note_fault(self, error: Exception) -> None:
        """Count a packet that could not be taken for an unforeseen reason; tell once."""
        self.frames_refused += 1
        if self._fault_told:
            return
        self._fault_told = True
        logger.error("A frame of the call could not be taken", exc_info=error)
        failure = AudioError(
            f"A frame of the call could not be taken ({type(error).__name__}: {error})"
        )
        failure.__cause__ = error
        self._supervisor.events.emit(ErrorEvent, error=failure)

    # -- observers -----------------------------------------------------------------------------

    def _wire_observers(self) -> None:
        """Wire what an observer wants to see, and nothing else."""
        self._packets_observed = self._observers.has("on_participant_audio")
        push = self._supervisor.send_queue.push
        observed = self._observers.has("on_input_audio")
        self._input.send = self._send_observed if observed else push

    def _send_observed(self, frame: bytes, now: float, is_silence: bool) -> None:
        self._observers.notify("on_input_audio", now, *Session.audio_of(frame))
        self._supervisor.send_queue.push(frame, now, is_silence)
