"""Measure how loud each side of a recording is, in steps of 10 ms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._wav import RATE
from .reader import Recording

__all__ = ["STEPS_PER_S", "Levels", "measure_levels"]

STEPS_PER_S = 100
"""Steps a second: the times that are measured in the audio are exact to 10 ms."""

LOUD_DBFS = -60.0
"""RMS level from which a step is speech. Measured: the first and last sounds of a sentence, which
leave the speaker at -50 dBFS, come out of Opus and the mixer at -52 to -58 dBFS, for 0.2 s."""

ABOVE_FLOOR_DB = 10.0
"""Level of speech above the noise of its room, where that noise is above `LOUD_DBFS` less this."""

_FULL_SCALE = 32768.0
_STEP = RATE // STEPS_PER_S
_BLOCK = 10 * RATE


@dataclass(frozen=True, eq=False)
class Levels:
    """Levels of both sides, step by step.

    Attributes:
        peaks: lowest and highest sample of each step in 1/128 of full scale: int8, shape
            `(steps, 2, 2)`, by step, side, lowest and highest.
        loud: whether a step is louder than noise: bool, shape `(steps, 2)`.
    """

    peaks: NDArray[np.int8]
    loud: NDArray[np.bool_]

    def loud_span(self, side: int, start: float, end: float) -> tuple[float, float] | None:
        """Return where one side is first and last loud between two times; None if it is not.

        Args:
            side: 0 for the participants, 1 for the assistant.
            start: in seconds.
            end: in seconds.
        """
        first = max(0, round(start * STEPS_PER_S))
        steps = np.flatnonzero(self.loud[first : max(first, round(end * STEPS_PER_S)), side])
        if not len(steps):
            return None
        return (first + int(steps[0])) / STEPS_PER_S, (first + int(steps[-1]) + 1) / STEPS_PER_S


def measure_levels(recording: Recording) -> Levels:
    """Measure the levels of a recording, piece by piece."""
    count = -(-recording.audio_frames // _STEP)
    peaks = np.zeros((count, 2, 2), np.int8)
    level = np.zeros((count, 2), np.float32)
    first = 0
    for block in recording.blocks(_BLOCK):
        padded = np.pad(block, ((0, -len(block) % _STEP), (0, 0)))
        stop = first + len(padded) // _STEP
        for side in (0, 1):
            steps = np.ascontiguousarray(padded[:, side]).reshape(-1, _STEP)
            # Towards zero: noise of a bit is not drawn.
            peaks[first:stop, side, 0] = steps.min(axis=1) / 256
            peaks[first:stop, side, 1] = steps.max(axis=1) / 256
            samples = steps.astype(np.float32)
            level[first:stop, side] = np.sqrt(np.einsum("ij,ij->i", samples, samples) / _STEP)
        first = stop
    if not count:
        return Levels(peaks, level > 0)
    return Levels(peaks, level > np.array([_threshold(level[:, side]) for side in (0, 1)]))


def _threshold(level: NDArray[np.float32]) -> float:
    """Return the level above which a side is loud: fixed, or above the noise of its room."""
    fixed = _FULL_SCALE * 10 ** (LOUD_DBFS / 20)
    # Whoever sends noise all the time is silent for a tenth of it at least.
    noise = float(np.percentile(level, 10)) * 10 ** (ABOVE_FLOOR_DB / 20)
    # Somebody who never pauses has no floor: half of the loudest level is speech in any case.
    return max(fixed, min(noise, float(level.max()) / 2))
