"""Place received sound on a continuous timeline, and find the speech in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SAMPLE_RATE", "Speech", "SpeechReceiver", "Timeline"]

SAMPLE_RATE = 48_000
"""Hz: the rate of Opus, of the SDK's audio frames and of their RTP timestamps."""

_PTS_WRAP = 1 << 32
_RESYNC = 1.0
"""Seconds by which a frame may be late; if it is more, the sender's timestamps jumped."""
_SHIFT = 0.03
"""Seconds: a change of the delay by more than a frame and a half is not jitter."""
_SHIFT_FRAMES = 20
"""Frames (0.4 s) that must all be late for it."""
_FULL_SCALE = 32768.0


@dataclass(frozen=True)
class _Frame:
    offset: int
    delay: float
    samples: NDArray[np.int16]


class _Stretch:
    """Frames that lie where their RTP timestamps say, relative to one origin.

    Attributes:
        origin: When the sample at offset 0 was heard, in seconds on the monotonic clock.
        end: Offset after the newest sample.
    """

    def __init__(self, first_pts: int, origin: float) -> None:
        self.first_pts = first_pts
        self.origin = origin
        self.end = 0
        self.frames: list[_Frame] = []

    def delay(self, arrival: float, offset: int) -> float:
        """By how much later a frame came than the frame that was delayed least."""
        return arrival - self.origin - offset / SAMPLE_RATE

    def append(self, arrival: float, offset: int, samples: NDArray[np.int16]) -> None:
        """Add a frame; one that came earlier than the others moves the origin."""
        delay = self.delay(arrival, offset)
        if delay < 0:
            self.origin += delay
            self.frames = [_Frame(f.offset, f.delay - delay, f.samples) for f in self.frames]
        self.frames.append(_Frame(offset, max(0.0, delay), samples))
        self.end = max(self.end, offset + len(samples))

    def split_off_late(self) -> _Stretch | None:
        """If the newest frames are all late they are a stretch of their own; cut it off."""
        newest = self.frames[-_SHIFT_FRAMES:]
        late = min(frame.delay for frame in newest)
        if len(self.frames) <= _SHIFT_FRAMES or late <= _SHIFT:
            return None
        del self.frames[-_SHIFT_FRAMES:]
        other = _Stretch(self.first_pts, self.origin + late)
        other.frames = [_Frame(f.offset, f.delay - late, f.samples) for f in newest]
        other.end = self.end
        return other


class Timeline:
    """The sound of one remote session, placed by its RTP timestamps.

    Arrival times jitter by the length of a frame and more, RTP timestamps do not. So a frame lies
    where its timestamp says, relative to the frame of its stretch that was delayed least. What was
    lost or not sent is silence. When everything comes later than that for 0.4 s, or something
    comes much earlier, the delay itself has changed, and a new stretch begins.
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
        stretch, offset = self._place(arrival, pts)
        stretch.append(arrival, offset, samples)
        late = stretch.split_off_late()
        if late is not None:
            self._stretches.append(late)
            stretch = late
        return stretch.origin + offset / SAMPLE_RATE

    def render(self, count: int, start: float) -> NDArray[np.int16]:
        """The sound from the monotonic time `start` on: int16, shape (count,)."""
        track = np.zeros(count, dtype=np.int16)
        for stretch in self._stretches:
            base = round((stretch.origin - start) * SAMPLE_RATE)
            for frame in stretch.frames:
                first = base + frame.offset
                head, tail = max(0, -first), min(len(frame.samples), count - first)
                if head < tail:
                    track[first + head : first + tail] = frame.samples[head:tail]
        return track

    def _place(self, arrival: float, pts: int | None) -> tuple[_Stretch, int]:
        """The stretch that a frame belongs to, and its offset in it."""
        if self._stretches:
            stretch = self._stretches[-1]
            offset = stretch.end if pts is None else _distance(stretch.first_pts, pts)
            delay = stretch.delay(arrival, offset)
            # Until there are enough frames the origin is a guess, and may move as far as it must.
            earliest = -_SHIFT if len(stretch.frames) >= _SHIFT_FRAMES else -_RESYNC
            if offset >= 0 and earliest < delay < _RESYNC:
                return stretch, offset
        stretch = _Stretch(first_pts=pts or 0, origin=arrival)
        self._stretches.append(stretch)
        return stretch, 0


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


class SpeechReceiver:
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
        """Create a receiver.

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

    def settle(self, time: float) -> str | None:
        """End a speech after which no frame came until `time`; returns "stopped" if it does.

        A mute or discontinuous transmission stops the frames, and with them `hear`.
        """
        if self.speaking and self.speech and time - self.speech.end >= self._hangover:
            self.speaking = False
            return "stopped"
        return None

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
