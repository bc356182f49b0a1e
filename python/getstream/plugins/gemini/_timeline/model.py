"""The model of a timeline: two tracks, turns, marks, latencies and a gain curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Who = Literal["person", "assistant"]
Theme = Literal["auto", "light", "dark"]

SIDES: Final[tuple[Who, Who]] = ("person", "assistant")
THEMES: Final[tuple[Theme, ...]] = ("auto", "light", "dark")


@dataclass(frozen=True, eq=False)
class Track:
    """The audio of one side; its first sample is at 0 s.

    Attributes:
        samples: Mono audio, int16, shape ``(n,)``; ``n`` may be 0.
        sample_rate: Samples per second.
        name: The name at the left of the waveform.

    Raises:
        ValueError: ``samples`` is not a one-dimensional int16 array, or the rate is not positive.
    """

    samples: NDArray[np.int16]
    sample_rate: int
    name: str = ""

    def __post_init__(self) -> None:
        samples: object = self.samples  # callers without a type checker pass anything
        if not isinstance(samples, np.ndarray) or samples.dtype != np.int16 or samples.ndim != 1:
            got = (
                f"{samples.dtype} of shape {samples.shape}"
                if isinstance(samples, np.ndarray)
                else type(samples).__name__
            )
            raise ValueError(f"samples must be a mono int16 ndarray of shape (n,), got {got}")
        if not isinstance(self.sample_rate, (int, np.integer)) or self.sample_rate <= 0:
            raise ValueError(f"sample_rate must be a positive integer, got {self.sample_rate!r}")

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class Span:
    """A turn: one side holds the floor.

    Attributes:
        who: The side that speaks.
        start: Begin, in seconds from the start of the recording.
        end: End, in seconds.
        label: What was said, and heard.
        unheard: What would have been said after that, and was not heard: drawn struck out.
        outcome: How the turn ended if that is worth a word: ``"interrupted"``, ``"resumed"``, ...

    Raises:
        ValueError: A time is not finite, the end is before the start, or ``who`` is unknown.
    """

    who: Who
    start: float
    end: float
    label: str = ""
    outcome: str = ""
    unheard: str = ""

    def __post_init__(self) -> None:
        _check_who(self.who)
        _check_interval("span", self.start, self.end)


@dataclass(frozen=True)
class Mark:
    """An event of one moment.

    Attributes:
        time: Seconds from the start of the recording.
        kind: ``interrupted``, ``duck``, ``pause``, ``resume`` and ``underrun`` have colours of
            their own; any other kind is drawn in a neutral one.
        label: A detail that is shown behind the kind.
        who: The side whose waveform carries the mark.

    Raises:
        ValueError: The time is not finite, the kind is empty, or ``who`` is unknown.
    """

    time: float
    kind: str
    label: str = ""
    who: Who = "assistant"

    def __post_init__(self) -> None:
        _check_who(self.who)
        if not math.isfinite(self.time):
            raise ValueError(f"the time of a mark must be finite, got {self.time!r}")
        if not self.kind:
            raise ValueError("a mark needs a kind, for example 'interrupted'")


@dataclass(frozen=True)
class Latency:
    """The time from a cause to its effect, drawn as a dimension line.

    Attributes:
        start: The cause, for example the end of the person's speech, in seconds.
        end: The effect, for example the first sample of the answer, in seconds.
        label: What was measured; latencies of one label are summarized together.

    Raises:
        ValueError: A time is not finite, or the effect is before its cause.
    """

    start: float
    end: float
    label: str = ""

    def __post_init__(self) -> None:
        _check_interval("latency", self.start, self.end)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.end - self.start


@dataclass(frozen=True, eq=False)
class Timeline:
    """A conversation, all of it on one clock: seconds from the start of the recording.

    Attributes:
        person: What the person said.
        assistant: What was heard of the assistant.
        spans: The turns of both sides, in any order.
        marks: The events, in any order.
        latencies: The measured delays, in any order.
        gain: ``(time, gain in dB)`` points of the assistant's playback gain, times not
            decreasing, straight lines between them; two points of one time make a step. ``-inf``
            is silence; a NaN leaves a gap.
        title: The headline.
        subtitle: The line below it; empty for a summary of the key numbers.
        duration: Length of the time axis in seconds; ``None`` for that of the longer track.

    Events outside the time axis are drawn at its edge, dashed, and counted in a note.

    Raises:
        ValueError: The duration is negative or not finite, or the gain points are out of order,
            at a time that is not finite, or of a gain of ``+inf``.
    """

    person: Track
    assistant: Track
    spans: Sequence[Span] = ()
    marks: Sequence[Mark] = ()
    latencies: Sequence[Latency] = ()
    gain: Sequence[tuple[float, float]] = ()
    title: str = "Conversation"
    subtitle: str = ""
    duration: float | None = None

    def __post_init__(self) -> None:
        if self.duration is not None and not 0 <= self.duration < math.inf:
            raise ValueError(f"duration must be finite and not negative, got {self.duration!r}")
        previous = -math.inf
        for time, gain_db in self.gain:
            if not math.isfinite(time) or time < previous:
                raise ValueError(f"gain points must be in order of finite times, got {time!r} s")
            if gain_db == math.inf:
                raise ValueError(f"the gain at {time!r} s is infinite")
            previous = time

    @property
    def length(self) -> float:
        """Length of the time axis in seconds."""
        if self.duration is not None:
            return self.duration
        return max(self.person.duration, self.assistant.duration)

    def track(self, who: Who) -> Track:
        """Return the audio of one side."""
        return self.person if who == "person" else self.assistant


def _check_who(who: str) -> None:
    if who not in SIDES:
        raise ValueError(f"who must be one of {SIDES}, got {who!r}")


def _check_interval(what: str, start: float, end: float) -> None:
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ValueError(f"the times of a {what} must be finite, got {start!r} and {end!r}")
    if end < start:
        raise ValueError(f"a {what} cannot end before it starts: {start!r} s to {end!r} s")
