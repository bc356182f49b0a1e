"""Analyse received audio: its time, its level, and the parts of a reply in it.

Definitions:

* Heard at: frames are placed by their RTP times. RTP time is mapped to real time by the median,
  over the second around a frame, of the time at which a frame came out of the SDK less its RTP
  time: the jitter of single frames is removed, a growing delay is not. There is no playout delay.
* Level: the RMS of 5 ms, at each millisecond.
* Silent from a time on: for 80 ms, every 5 ms are at least 40 dB below the level before.
* Ducked from a time on: until it is silent, every 5 ms are at least 10 dB below the level before.
* A part of a reply is heard if it is audible (above -45 dBFS; replies are at -20 dBFS, and at
  -35 dBFS when ducked) and correlates with the reply by 0.7 and more. The search uses stretches of
  200 ms, which occur at one place of a reply only. A stretch that is not found is searched in parts
  down to 20 ms, within 25 ms of the place that the stretch before or after it implies. Sound of
  less than 200 ms between two silences counts as heard.
* Hole: a stretch within a reply that is more than 20 dB below its level.
* Step: the difference between two consecutive samples. It is compared with the largest step of the
  same reply when undisturbed, from half a second on: at the beginning the encoder of the SDK makes
  larger steps of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .sounds import BLOCK, FULL_SCALE, RATE, Floats, Int16

MS = RATE // 1000
SILENT_DB, DUCKED_DB, HOLE_DB = -40.0, -10.0, -20.0
SILENT_FOR_MS = 80
STEADY_FROM_S = 0.5
SOUNDING_DBFS = -45.0
STRETCH = RATE // 5
SHORTEST, RELIABLE = RATE // 50, RATE // 25
NEAR_S = 0.025
ALIKE = 0.7
_COARSE = 3  # stretches are looked for at 16 kHz
_MARGIN = RATE // 50 // _COARSE


@dataclass(frozen=True, eq=False)
class Heard:
    """Received stream of audio.

    Attributes:
        samples: int16, without gaps; missing audio is silence.
        starts: Index of the first sample of each frame.
        times: Time at which the first sample of each frame was heard.
        came: Arrival time of each frame.
    """

    samples: Int16
    starts: NDArray[np.int64]
    times: Floats
    came: Floats

    @classmethod
    def load(cls, path: Path) -> Heard:
        with np.load(path) as stored:
            came, positions = stored["times"], stored["positions"]
            lengths, frames = stored["lengths"], stored["samples"]
        # RTP time wraps.
        steps = (np.diff(positions) + 2**31) % 2**32 - 2**31
        starts = np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)
        starts -= starts.min()
        samples = np.zeros(int((starts + lengths).max()), np.int16)
        ends = np.cumsum(lengths)
        for start, length, end in zip(starts, lengths, ends, strict=True):
            samples[start : start + length] = frames[end - length : end]
        late = came - starts / RATE
        window = min(51, 2 * ((len(late) - 1) // 2) + 1)
        padded = np.pad(late, window // 2, mode="edge")
        typical = np.median(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1)
        return cls(samples, starts, starts / RATE + typical, came)

    def time_of(self, index: int) -> float:
        """Return the time at which a sample was heard."""
        frame = max(0, int(np.searchsorted(self.starts, index, "right")) - 1)
        return float(self.times[frame] + (index - self.starts[frame]) / RATE)

    def index_of(self, time: float) -> int:
        """Return the sample heard at a time; the first or the last one if there was none."""
        frame = max(0, int(np.searchsorted(self.times, time, "right")) - 1)
        index = round(float(self.starts[frame]) + (time - self.times[frame]) * RATE)
        return min(max(index, 0), len(self.samples))

    def between(self, start: float, end: float) -> Int16:
        return self.samples[self.index_of(start) : self.index_of(end)]

    def level(self, start: float, end: float) -> float:
        """Return the level between two times, in dBFS."""
        return _db(float(np.mean(np.square(self.between(start, end).astype(np.float64)))))

    def levels(self, start: float, end: float) -> Floats:
        """Return the level of the 5 ms from each millisecond on, in dBFS."""
        return levels(self.between(start, end + BLOCK / RATE))

    def silent_from(self, start: float, end: float, before_dbfs: float) -> float | None:
        """Return the beginning of the first silence after `start`; None if there is none."""
        quiet = self.levels(start, end + SILENT_FOR_MS / 1000) <= before_dbfs + SILENT_DB
        for at in np.flatnonzero(quiet):
            if at + SILENT_FOR_MS > len(quiet):
                break
            if quiet[at : at + SILENT_FOR_MS].all():
                return start + float(at) / 1000
        return None

    def ducked_from(self, start: float, silent: float, before_dbfs: float) -> float:
        """Return the beginning of the duck that leads to the silence at `silent`."""
        low = self.levels(start, silent) <= before_dbfs + DUCKED_DB
        return start + (float(np.flatnonzero(~low)[-1] + 1) / 1000 if not low.all() else 0.0)

    def holes(self, start: float, end: float, before_dbfs: float) -> list[float]:
        """Return the lengths of the holes between two times, in seconds."""
        low = np.concatenate([[0], self.levels(start, end) <= before_dbfs + HOLE_DB, [0]])
        edges = np.diff(low.astype(int))
        begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        return [float(e - b - 1) / 1000 + BLOCK / RATE for b, e in zip(begins, ends, strict=True)]

    def largest_step(self, start: float, end: float) -> int:
        """Return the largest step between two times."""
        return int(np.abs(np.diff(self.between(start, end).astype(np.int32))).max(initial=0))


def levels(samples: Int16) -> Floats:
    """Return the level of the 5 ms from each millisecond on, in dBFS."""
    power = np.concatenate([[0.0], np.cumsum(np.square(samples.astype(np.float64)))])
    firsts = np.arange(0, max(0, len(samples) - BLOCK + 1), MS)
    mean = (power[firsts + BLOCK] - power[firsts]) / BLOCK
    return np.asarray(10 * np.log10(mean / FULL_SCALE**2 + 1e-12))


@dataclass(frozen=True)
class Part:
    """Part of a reply that was heard.

    Attributes:
        at: Time at which it was heard.
        seconds: Its length.
        place: Its position in the reply, in seconds; None if it is too short to tell.
    """

    at: float
    seconds: float
    place: float | None

    @property
    def begin(self) -> float:
        """Return the time at which the reply began, if it was heard in full up to this part."""
        assert self.place is not None
        return self.at - self.place


@dataclass(frozen=True)
class HeardReply:
    """Heard parts of a reply.

    Attributes:
        parts: Its parts, in order of time.
        seconds: The length of the whole reply.
    """

    parts: tuple[Part, ...]
    seconds: float

    @property
    def heard(self) -> float:
        """Return the length of the heard parts, in seconds."""
        return min(self.seconds, sum(part.seconds for part in self.parts))

    @property
    def share(self) -> float:
        return self.heard / self.seconds

    @property
    def lost(self) -> float:
        """Return the length of the parts that were never heard, in seconds."""
        return self.seconds - self.heard

    @property
    def placed(self) -> list[Part]:
        return [part for part in self.parts if part.place is not None]

    @property
    def begin(self) -> float | None:
        """Return the time at which its first sample was heard.

        None if the first part that can be placed is not its beginning."""
        placed = self.placed
        if not placed or placed[0].place is None or placed[0].place > 0.1:
            return None
        return placed[0].begin

    @property
    def later(self) -> float:
        """Return by how many seconds its end was later than its beginning: the pauses in it."""
        placed = self.placed
        return placed[-1].begin - placed[0].begin if placed else 0.0


def find_reply(heard: Heard, reply: Int16, start: float, end: float) -> HeardReply:
    """Find the heard parts of a reply between two times."""
    first = heard.index_of(start)
    sound = heard.between(start, end)
    sounding = levels(sound) > SOUNDING_DBFS
    edges = np.diff(np.concatenate([[0], sounding, [0]]).astype(int))
    finder = _Finder(reply)
    parts = []
    for begin, stop in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        run = sound[begin * MS : (stop - 1) * MS + BLOCK]
        loud = np.flatnonzero(np.abs(run.astype(int)) > FULL_SCALE * 10 ** (SOUNDING_DBFS / 20))
        if loud.size:
            from_, to = begin * MS + int(loud[0]), begin * MS + int(loud[-1]) + 1
            for a, b, place in finder.look(sound, from_, to):
                parts.append(Part(heard.time_of(first + a), (b - a) / RATE, place))
    return HeardReply(tuple(parts), len(reply) / RATE)


class _Finder:
    """Search for the parts of a sound in a reply by normalized cross-correlation."""

    def __init__(self, reply: Int16) -> None:
        # A codec rings a little beyond both ends.
        self._reply = np.pad(_coarse(reply), _MARGIN)
        self._size = 1 << (len(self._reply) + 2 * STRETCH // _COARSE).bit_length()
        self._spectrum = np.fft.rfft(self._reply, self._size)
        self._energy = np.concatenate([[0.0], np.cumsum(self._reply**2)])
        self._begins: list[float] = []  # of the reply in the sound, as the part before has it
        self._heard: tuple[int, float] | None = None  # the end of the run before, and the same

    def look(self, sound: Int16, first: int, end: int) -> list[tuple[int, int, float | None]]:
        """Return the parts of a sound in the reply: from, to, position. Call in order of time."""
        if end - first < STRETCH:
            return [(first, end, None)]
        count = (end - first) // STRETCH
        stretches = list(pairwise([*(first + k * STRETCH for k in range(count)), end]))
        begins = []  # of the reply in the sound, as each stretch has it
        for a, b in stretches:
            place = self._place(sound[a:b])
            begins.append(None if place is None else a / RATE - place)
        if self._heard is not None:
            # After a silence the reply goes on where it was, or where it would be by now.
            until, begin = self._heard
            self._begins = [begin, begin + (first - until) / RATE]
        parts: list[tuple[int, int, float | None]] = []
        for number, ((a, b), begin) in enumerate(zip(stretches, begins, strict=True)):
            if begin is not None:
                self._begins = [begin]
                parts.append((a, b, a / RATE - begin))
                continue
            # The stretch may contain a splice, where audio is missing or was inserted.
            behind = [each for each in begins[number:] if each is not None][:1]
            for half in _halves(a, b):
                parts += self._find(sound, *half, behind)
        if len(self._begins) == 1:
            self._heard = (end, self._begins[0])
        return parts

    def _find(
        self, sound: Int16, a: int, b: int, behind: Sequence[float]
    ) -> list[tuple[int, int, float | None]]:
        """Return the parts of a stretch, near the positions implied by its neighbours."""
        begins = [*self._begins, *behind]
        place = self._place(sound[a:b], [a / RATE - begin for begin in begins])
        if place is not None:
            if b - a >= RELIABLE:
                self._begins = [a / RATE - place]
            return [(a, b, place)]
        if b - a < 2 * SHORTEST:
            return []
        return [part for half in _halves(a, b) for part in self._find(sound, *half, behind)]

    def _place(self, stretch: Int16, near: Sequence[float] | None = None) -> float | None:
        """Return the position of a stretch in the reply, in seconds; None if it is not part of it.

        Args:
            stretch: Samples to find.
            near: Expected positions, within `NEAR_S`, for a stretch that is too short to occur at
                one place only.
        """
        x = _coarse(stretch)
        count = len(self._reply) - len(x) + 1
        product = np.fft.irfft(self._spectrum * np.conj(np.fft.rfft(x, self._size)), self._size)
        energy = self._energy[len(x) :] - self._energy[:count]
        alike = product[:count] / np.sqrt(np.maximum(energy, 1.0) * max(float(x @ x), 1.0))
        places = (np.arange(count) - _MARGIN) * _COARSE / RATE
        if near is not None:
            far = np.min([np.abs(places - each) for each in near] or [np.inf], axis=0) > NEAR_S
            alike[far] = -1.0
        best = int(np.argmax(alike))
        return float(places[best]) if alike[best] >= ALIKE else None


def _halves(a: int, b: int) -> tuple[tuple[int, int], tuple[int, int]]:
    middle = (a + b) // 2
    return (a, middle), (middle, b)


def _coarse(samples: Int16) -> Floats:
    return samples[::_COARSE].astype(np.float64)


def _db(power: float) -> float:
    return float(10 * np.log10(power / FULL_SCALE**2 + 1e-12))
