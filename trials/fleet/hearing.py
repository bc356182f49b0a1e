"""Find sounds and gaps in what a person heard. Times are in seconds; samples are int16, 48 kHz."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE = 48_000
FRAME = RATE // 50
"""Samples of a frame of 20 ms: what is looked at as one."""

LOUD_DBFS = -50.0
"""Level of a frame that is sound, as for the people of the package: `Person(threshold_dbfs=)`."""

JOINED_S = 0.1
"""Pause that does not end a sound, in seconds: between syllables, and in plosives."""

Span = tuple[float, float]
"""Beginning and end in seconds."""


def sounds(samples: NDArray[np.int16], joined_s: float = JOINED_S) -> list[Span]:
    """Return when there is sound, from the first sample on.

    Args:
        samples: int16, 48 kHz, shape (n,). Part of a frame at the end is not looked at.
        joined_s: pauses that are shorter than this are part of a sound.
    """
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    threshold = 32768.0 * 10 ** (LOUD_DBFS / 20)
    loud = np.flatnonzero(np.sqrt((frames**2).mean(axis=1)) > threshold)
    found: list[Span] = []
    for index in loud.tolist():
        start, end = index * FRAME / RATE, (index + 1) * FRAME / RATE
        if found and start - found[-1][1] < joined_s - 1e-9:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return found


@dataclass(frozen=True)
class Gap:
    """Silence that a fault has made.

    Attributes:
        stopped: end of the last sound that began before the fault.
        back: beginning of the first sound after it; None if there is none.
    """

    stopped: float
    back: float | None

    @property
    def seconds(self) -> float | None:
        """Return its length; None if nothing came back."""
        return None if self.back is None else self.back - self.stopped


def gap_after(spans: Sequence[Span], fault: float, tail_s: float = 0.15) -> Gap | None:
    """Return the silence after a fault; None if nothing was heard before it.

    Args:
        spans: sounds, in order, as `sounds` returns them.
        fault: when it happened.
        tail_s: a sound that begins so soon after the fault was on its way already: packets that
            wait in sockets and buffers are heard for a moment after their sender is gone.
    """
    before = [span for span in spans if span[0] <= fault + tail_s]
    if not before:
        return None
    after = [span for span in spans if span[0] > fault + tail_s]
    return Gap(before[-1][1], after[0][0] if after else None)


def longest_pause(spans: Sequence[Span]) -> float:
    """Return the longest silence between two sounds; 0 if there are not two."""
    pauses = [after[0] - before[1] for before, after in itertools.pairwise(spans)]
    return max(pauses, default=0.0)


def within(spans: Sequence[Span], start: float, end: float) -> list[Span]:
    """Return the parts of spans that lie between two times."""
    return [(max(a, start), min(b, end)) for a, b in spans if b > start and a < end]


def quiet_before(spans: Sequence[Span], at: float) -> float | None:
    """Return for how long nothing had been said at a time; None if somebody was speaking then.

    Before the first span it was quiet for as long as is known: since 0.
    """
    if any(start <= at < end for start, end in spans):
        return None
    return at - max((end for _, end in spans if end <= at), default=0.0)
