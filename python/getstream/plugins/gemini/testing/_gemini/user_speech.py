"""Cut the user's audio into turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .activity import ActivityDetector, ActivityOptions, ActivityStart, ActivityStop, AudioHistory
from .replies import UserTurn
from .wire import RefusalError

__all__ = ["Unfinished", "UserSpeech"]

_PADDING_MS = 200.0  # kept before and after the user's speech
_MAX_USER_TURN_S = 300.0


class Unfinished(NamedTuple):
    """Holds what the user was saying when a resumption handle was issued.

    Attributes:
        data: s16le mono PCM, from the padding before the onset.
        rate: Its rate in Hz.
    """

    data: bytes
    rate: int


class UserSpeech:
    """Cuts the user's audio into turns, by detection or by the marks of the client.

    Args:
        options: Detection, as the session's setup has it.
        ends_with_stream: Whether `audioStreamEnd` ends speech.
        session: Index of the session, for its turns.
        on_start: Called when the user begins to speak.
        on_activity: Called with `ACTIVITY_START` and `ACTIVITY_END`, each with its time in
            milliseconds on the timeline of the audio; not for the client's own marks.
        on_turn: Called with each turn of the user, without its transcript.
    """

    def __init__(
        self,
        options: ActivityOptions,
        *,
        ends_with_stream: bool,
        session: int,
        on_start: Callable[[], None],
        on_activity: Callable[[str, float], None],
        on_turn: Callable[[UserTurn], None],
    ) -> None:
        self._options = options
        self._ends_with_stream = ends_with_stream
        self._session = session
        self._on_start = on_start
        self._on_activity = on_activity
        self._on_turn = on_turn
        self._rate = 0
        self._rate_start_ms = 0.0
        self._history = AudioHistory(16000, _MAX_USER_TURN_S)
        self._detector: ActivityDetector | None = None
        self._onset: int | None = None

    def push(self, data: bytes, rate: int) -> None:
        """Takes s16le mono PCM."""
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

    def end_stream(self) -> None:
        """Takes an `audioStreamEnd`."""
        if self._detector and self._ends_with_stream:
            self._react(self._detector.end_stream())

    def mark(self, *, starts: bool) -> None:
        """Takes an `activityStart` or `activityEnd` of the client.

        Raises:
            RefusalError: 1007: the service detects activity itself.
        """
        if not self._options.disabled:
            raise RefusalError(
                1007,
                "Explicit activity control is not supported when automatic activity detection is "
                "enabled.",
            )
        if starts:
            self._on_start()
            if self._onset is None:  # else it goes on, perhaps from another connection
                self._onset = self._history.position
        elif self._onset is not None:
            self._end_turn(self._onset, self._history.position, padding_ms=0.0)

    @property
    def unfinished(self) -> Unfinished | None:
        """Returns the begun turn of the user that has not ended; None if nobody speaks."""
        if self._onset is None or not self._rate:
            return None
        start = self._onset - (0 if self._options.disabled else self._samples(self._padding))
        audio = self._history.between(start, self._history.position)
        return Unfinished(audio.astype("<i2").tobytes(), self._rate)

    def restore(self, unfinished: Unfinished) -> None:
        """Goes on with what another connection has heard, as if it had come by this one."""
        if self._options.disabled:
            self._onset = 0
        self.push(unfinished.data, unfinished.rate)

    def _change_rate(self, rate: int) -> None:
        if self._detector:
            self._react(self._detector.end_stream())
        if self._rate:
            self._rate_start_ms += self._history.position * 1000.0 / self._rate
        self._rate = rate
        self._history = AudioHistory(rate, _MAX_USER_TURN_S)
        self._detector = None if self._options.disabled else ActivityDetector(rate, self._options)
        self._onset = 0 if self._options.disabled and self._onset is not None else None

    def _react(self, events: list[ActivityStart | ActivityStop]) -> None:
        for event in events:
            if isinstance(event, ActivityStart):
                self._onset = event.onset
                self._on_activity("ACTIVITY_START", self._ms(event.onset))
                self._on_start()
            elif self._onset is not None:
                self._on_activity("ACTIVITY_END", self._ms(event.end))
                self._end_turn(self._onset, event.end, padding_ms=self._padding)

    def _end_turn(self, onset: int, end: int, padding_ms: float) -> None:
        self._onset = None
        padding = self._samples(padding_ms)
        self._on_turn(
            UserTurn(
                "audio",
                audio=self._history.between(onset - padding, end + self._samples(_PADDING_MS)),
                rate=self._rate or 16000,
                onset_ms=self._ms(onset),
                end_ms=self._ms(end),
                session=self._session,
            )
        )

    @property
    def _padding(self) -> float:
        return max(_PADDING_MS, self._options.prefix_padding_ms)

    def _samples(self, ms: float) -> int:
        return round(ms * (self._rate or 16000) / 1000.0)

    def _ms(self, position: int) -> float:
        return self._rate_start_ms + position * 1000.0 / (self._rate or 16000)
