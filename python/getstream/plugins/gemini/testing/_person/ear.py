"""What a person heard: the sound on a continuous timeline, and when somebody spoke."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["SAMPLE_RATE", "Ear", "Speech", "Timeline"]

SAMPLE_RATE = 48_000
"""Hz: the rate of Opus, of the SDK's audio frames and of their RTP timestamps."""

_PTS_WRAP = 1 << 32
_RESYNC = 1.0
"""Seconds by which RTP time and arrival may disagree before a new stretch is begun."""
_FULL_SCALE = 32768.0


@dataclass
class _Stretch:
    """Frames whose RTP timestamps are on one clock.

    Attributes:
        origin: When its first sample would have arrived had no frame been delayed: the earliest
            (arrival - offset) of all its frames, in seconds on the monotonic clock.
    """

    first_pts: int
    origin: float
    end: int = 0
    frames: list[tuple[int, NDArray[np.int16]]] = field(default_factory=list)

    def start_time(self, offset: int) -> float:
        """When the sample at `offset` was heard."""
        return self.origin + offset / SAMPLE_RATE


class Timeline:
    """The sound of one remote session, placed by its RTP timestamps.

    Arrival times jitter by the length of a frame and more, RTP timestamps do not. So a frame lies
    where its timestamp says, relative to the frame of the same stretch that was delayed least. What
    was lost or not sent is silence. Two clocks of one machine agree; those of two machines drift
    apart by some 50 ppm, 3 ms a minute, which this does not correct.
    """

    def __init__(self) -> None:
        self._stretches: list[_Stretch] = []

    def add(self, arrival: float, pts: int | None, samples: NDArray[np.int16]) -> float:
        """Add one frame.

        Args:
            arrival: Monotonic time at which it came, in seconds.
            pts: RTP timestamp of its first sample, 48 kHz, modulo 2**32; None: it follows the last.
            samples: int16 mono, 48 kHz, shape (n,). Kept, not copied.

        Returns:
            When its first sample was heard, in seconds on the monotonic clock.
        """
        stretch = self._stretches[-1] if self._stretches else None
        offset = 0
        if stretch is not None:
            offset = stretch.end if pts is None else _distance(stretch.first_pts, pts)
            if abs(arrival - stretch.start_time(offset)) > _RESYNC or offset < 0:
                stretch = None
        if stretch is None:
            offset = 0
            stretch = _Stretch(first_pts=pts or 0, origin=arrival)
            self._stretches.append(stretch)
        stretch.origin = min(stretch.origin, arrival - offset / SAMPLE_RATE)
        stretch.end = max(stretch.end, offset + len(samples))
        stretch.frames.append((offset, samples))
        return stretch.start_time(offset)

    def render(self, into: NDArray[np.int32], start: float) -> None:
        """Add the sound to `into`, whose first sample was heard at the monotonic time `start`."""
        for stretch in self._stretches:
            base = round((stretch.origin - start) * SAMPLE_RATE)
            for offset, samples in stretch.frames:
                first = base + offset
                head, tail = max(0, -first), min(len(samples), len(into) - first)
                if head < tail:
                    into[first + head : first + tail] += samples[head:tail]


def _distance(first: int, pts: int) -> int:
    """Samples from `first` to `pts`, both modulo 2**32."""
    distance = (pts - first) % _PTS_WRAP
    return distance - _PTS_WRAP if distance >= _PTS_WRAP // 2 else distance


@dataclass(frozen=True)
class Speech:
    """A stretch of speech that was heard.

    Attributes:
        start: When its first loud sample was heard, in seconds on the person's clock.
        end: When its last loud frame ended; the newest one while it goes on.
        level_dbfs: RMS level of its loud frames.
    """

    start: float
    end: float
    level_dbfs: float


class Ear:
    """Tells speech from silence by level, frame by frame.

    The other side of a call is clean: a synthetic voice, or a recording. A level is all it takes,
    and unlike a voice detector it has no delay of its own.

    Attributes:
        heard_until: Everything before this has been heard; seconds on the monotonic clock.
        last_arrival: When the newest frame came.
        speech: The current or the latest speech on the monotonic clock, None before the first.
        speaking: True while `speech` goes on.
    """

    def __init__(self, threshold_dbfs: float, hangover: float) -> None:
        """Create an ear.

        Args:
            threshold_dbfs: A frame is loud if its RMS level is above this.
            hangover: Seconds of silence that end a speech.
        """
        self.heard_until = -math.inf
        self.last_arrival = -math.inf
        self.speech: Speech | None = None
        self.speaking = False
        self._amplitude = 10 ** (threshold_dbfs / 20) * _FULL_SCALE
        self._hangover = hangover
        self._energy = 0.0
        self._loud_samples = 0

    def hear(self, time: float, arrival: float, samples: NDArray[np.int16]) -> str | None:
        """Take one frame heard at `time`; returns "started" or "stopped" if speech did so."""
        self.last_arrival = arrival
        end = time + len(samples) / SAMPLE_RATE
        self.heard_until = max(self.heard_until, end)
        x = samples.astype(np.float64)
        energy = float(x @ x)
        if energy > self._amplitude**2 * len(samples) > 0:
            return self._loud(time, end, samples, energy)
        if self.speaking and self.speech and self.heard_until - self.speech.end >= self._hangover:
            self.speaking = False
            return "stopped"
        return None

    def _loud(
        self, time: float, end: float, samples: NDArray[np.int16], energy: float
    ) -> str | None:
        event = None
        if self.speaking and self.speech is not None:
            start = self.speech.start
        else:
            # The first sample that is loud, not the first frame: onsets are exact to the sample.
            above = np.abs(samples.astype(np.int32)) > self._amplitude
            start = time + int(np.argmax(above)) / SAMPLE_RATE
            self._energy, self._loud_samples = 0.0, 0
            self.speaking = True
            event = "started"
        self._energy += energy
        self._loud_samples += len(samples)
        level = 10 * math.log10(self._energy / self._loud_samples / _FULL_SCALE**2)
        self.speech = Speech(start, end, level)
        return event
