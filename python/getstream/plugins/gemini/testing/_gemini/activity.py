"""Detection of the user's speech, as the service does it on its side.

The clock is the audio itself: a position is a number of samples; neither the wall clock nor the
arrival of messages changes what is detected.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..._beliefs import believed
from .wire import Message

__all__ = ["ActivityDetector", "ActivityOptions", "ActivityStart", "ActivityStop", "AudioHistory"]

_FRAME_MS = 10
_FULL_SCALE = 32768.0
# Noise floor: the minimum of the smoothed level over three seconds; speech reaches it in the gaps
# between its words ("minimum statistics", Martin, IEEE Trans. SAP 9 (5), 2001).
_SMOOTHING = 0.2  # per frame: a time constant of about 50 ms
_MINIMUM_BLOCK = 25  # frames
_MINIMUM_BLOCKS = 12
# While somebody speaks the floor rises slowly: a vowel that is held is not noise.
_FLOOR_RISE_DB = 4.0 * _FRAME_MS / 1000.0
# Below, a threshold would catch the hiss of a microphone; above, it would miss ordinary speech.
_LOWEST_FLOOR_DB, _HIGHEST_FLOOR_DB = -57.0, -35.0
_START_MARGIN_DB = {"HIGH": 12.0, "LOW": 18.0}
_STOP_HYSTERESIS_DB = {"HIGH": 3.0, "LOW": 6.0}


@dataclass(frozen=True)
class ActivityOptions:
    """Options of automatic activity detection, with the service's names and defaults.

    Attributes:
        disabled: The client sends `activityStart` and `activityEnd` itself.
        start_sensitivity: HIGH detects quieter speech (12 dB above the noise, else 18 dB).
        end_sensitivity: HIGH ends speech earlier (hysteresis of 3 dB, else 6 dB).
        prefix_padding_ms: Speech that is needed before its start is committed.
        silence_duration_ms: Silence that is needed before its end is committed, as audio: time in
            which nothing is sent is none. Reports of gemini-3.8-live, with nothing set, have no
            end after 0.8 s and one after 1.5 s; a server that is as slow has 1200 here.
        ends_with_stream: Whether `audioStreamEnd` ends speech at once. None: as the session's model
            does it. gemini-3.8-live does not: it finds the end in the audio alone, and who stops to
            send right after a word gets no answer. The other models do.
    """

    disabled: bool = False
    start_sensitivity: Literal["HIGH", "LOW"] = "HIGH"
    end_sensitivity: Literal["HIGH", "LOW"] = "HIGH"
    prefix_padding_ms: float = 20.0
    silence_duration_ms: float = believed("silence_ends_turn")
    ends_with_stream: bool | None = None

    def merged(self, setup: Message) -> ActivityOptions:
        """These options, overridden by what a session's `automaticActivityDetection` sets."""
        start, end = setup.get("startOfSpeechSensitivity"), setup.get("endOfSpeechSensitivity")
        return ActivityOptions(
            disabled=bool(setup.get("disabled", self.disabled)),
            start_sensitivity=_sensitivity(start, self.start_sensitivity),
            end_sensitivity=_sensitivity(end, self.end_sensitivity),
            prefix_padding_ms=float(setup.get("prefixPaddingMs", self.prefix_padding_ms)),
            silence_duration_ms=float(setup.get("silenceDurationMs", self.silence_duration_ms)),
            ends_with_stream=self.ends_with_stream,
        )


@dataclass(frozen=True)
class ActivityStart:
    """Speech has begun.

    Attributes:
        onset: Position of its first sample.
        position: Position at which that was certain.
    """

    onset: int
    position: int


@dataclass(frozen=True)
class ActivityStop:
    """Speech has ended.

    Attributes:
        end: Position after its last sample.
        position: Position at which that was certain.
    """

    end: int
    position: int


class ActivityDetector:
    """Finds speech in a stream of PCM by its energy above an adaptive noise floor.

    Args:
        rate: Sample rate in Hz.
        options: What the session asked for.
        position: Position of the first sample.
    """

    def __init__(self, rate: int, options: ActivityOptions, position: int = 0) -> None:
        self._options = options
        self._frame = rate * _FRAME_MS // 1000
        self._rest: NDArray[np.int16] = np.zeros(0, dtype=np.int16)
        self._position = position
        self._level = 0.0
        self._minima: deque[float] = deque(maxlen=_MINIMUM_BLOCKS)
        self._block: list[float] = []
        self._floor_db = _LOWEST_FLOOR_DB
        self._speaking = False
        self._speech_ms = 0.0
        self._silence_ms = 0.0
        self._onset = position
        self._end = position

    @property
    def speaking(self) -> bool:
        """True between an `ActivityStart` and its `ActivityStop`."""
        return self._speaking

    def push(self, samples: NDArray[np.int16]) -> list[ActivityStart | ActivityStop]:
        """Takes int16 mono samples, any number; returns what was detected, in order."""
        if self._rest.size:
            samples = np.concatenate((self._rest, samples))
        count = samples.size // self._frame
        self._rest = samples[count * self._frame :].copy()
        frames = samples[: count * self._frame].reshape(count, self._frame).astype(np.float64)
        powers = frames.var(axis=1) / _FULL_SCALE**2  # variance: an offset (DC) is not speech
        events = (self._next_frame(float(power)) for power in powers)
        return [event for event in events if event is not None]

    def end_stream(self) -> list[ActivityStart | ActivityStop]:
        """The client has said that its audio pauses: speech ends without waiting for silence."""
        self._position += self._rest.size
        self._rest = np.zeros(0, dtype=np.int16)
        self._speech_ms = 0.0
        if not self._speaking:
            return []
        return [self._stop()]

    def _next_frame(self, power: float) -> ActivityStart | ActivityStop | None:
        start = self._position
        self._position += self._frame
        self._track_floor(power)
        floor = min(max(self._floor_db, _LOWEST_FLOOR_DB), _HIGHEST_FLOOR_DB)
        threshold = floor + _START_MARGIN_DB[self._options.start_sensitivity]
        level = _db(power)
        if self._speaking:
            if level >= threshold - _STOP_HYSTERESIS_DB[self._options.end_sensitivity]:
                self._silence_ms = 0.0
                self._end = self._position
                return None
            self._silence_ms += _FRAME_MS
            if self._silence_ms >= self._options.silence_duration_ms:
                return self._stop()
            return None
        if level < threshold:
            # A frame of silence takes back a frame of speech: a stop consonant does not start over.
            self._speech_ms = max(0.0, self._speech_ms - _FRAME_MS)
            return None
        if self._speech_ms == 0.0:
            self._onset = start
        self._speech_ms += _FRAME_MS
        if self._speech_ms < self._options.prefix_padding_ms:
            return None
        self._speaking, self._silence_ms, self._end = True, 0.0, self._position
        return ActivityStart(self._onset, self._position)

    def _stop(self) -> ActivityStop:
        self._speaking, self._speech_ms = False, 0.0
        return ActivityStop(self._end, self._position)

    def _track_floor(self, power: float) -> None:
        self._level += _SMOOTHING * (power - self._level)
        self._block.append(self._level)
        if len(self._block) == _MINIMUM_BLOCK:
            self._minima.append(min(self._block))
            self._block.clear()
        if len(self._minima) < _MINIMUM_BLOCKS:
            return
        target = _db(min(self._minima))
        limit = self._floor_db + _FLOOR_RISE_DB if self._speaking else math.inf
        self._floor_db = max(min(target, limit), _LOWEST_FLOOR_DB)


class AudioHistory:
    """The newest part of a stream of PCM, by position.

    Args:
        rate: Sample rate in Hz.
        seconds: How much is kept; older audio is forgotten.
        position: Position of the first sample.
    """

    def __init__(self, rate: int, seconds: float, position: int = 0) -> None:
        self._limit = int(rate * seconds)
        self._parts: deque[NDArray[np.int16]] = deque()
        self._start = self._stop = position

    @property
    def position(self) -> int:
        """Position after the newest sample."""
        return self._stop

    def push(self, samples: NDArray[np.int16]) -> None:
        """Appends int16 mono samples."""
        self._parts.append(samples)
        self._stop += samples.size
        self.forget(self._stop - self._limit)

    def forget(self, before: int) -> None:
        """Drops whole pushes that end before a position."""
        while self._parts and self._start + self._parts[0].size <= before:
            self._start += self._parts.popleft().size

    def between(self, start: int, stop: int) -> NDArray[np.int16]:
        """A copy of what is kept of `[start, stop)`."""
        start, stop = max(start, self._start), min(stop, self._stop)
        if stop <= start:
            return np.zeros(0, dtype=np.int16)
        return np.concatenate(list(self._parts))[start - self._start : stop - self._start].copy()


def _db(power: float) -> float:
    return 10 * math.log10(power) if power > 1e-12 else -120.0


def _sensitivity(value: object, default: Literal["HIGH", "LOW"]) -> Literal["HIGH", "LOW"]:
    text = str(value or "")
    if text.endswith("_HIGH"):
        return "HIGH"
    return "LOW" if text.endswith("_LOW") else default
