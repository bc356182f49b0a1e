"""Curves over time: the envelope of a waveform, and the playback gain."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from .axis import Line
from .model import Timeline, Track
from .style import GAIN_FLOOR_DB


def envelope(
    track: Track, start: float, column_seconds: float, columns: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return minimum, maximum and RMS of each pixel column.

    Column ``c`` covers the samples ``i`` whose time ``i / sample_rate`` lies in
    ``[start + c * column_seconds, start + (c + 1) * column_seconds)``. A column between two
    samples holds the value of the earlier one.

    Returns:
        Three arrays of shape ``(columns,)``, full scale = 1; NaN where there is no audio.
    """
    rate, count = track.sample_rate, len(track.samples)
    # A sample at the very edge of a column must not change sides by rounding: 1e-6 of a sample.
    position = (start + np.arange(columns + 1) * column_seconds) * rate - 1e-6
    edges = np.clip(np.ceil(position), 0, count).astype(np.int64)
    begin, end = edges[:-1], edges[1:]
    low, high, rms = (np.full(columns, np.nan) for _ in range(3))

    filled = np.flatnonzero(end > begin)
    if len(filled):
        # The filled columns follow each other without a gap, as reduceat needs it.
        block = track.samples[begin[filled[0]] : end[filled[-1]]]
        at = begin[filled] - begin[filled[0]]
        low[filled] = np.minimum.reduceat(block, at)
        high[filled] = np.maximum.reduceat(block, at)
        power = np.add.reduceat(np.square(block, dtype=np.float64), at)
        rms[filled] = np.sqrt(power / (end - begin)[filled])

    held = np.flatnonzero((end == begin) & (position[:-1] < count - 1e-3) & (begin > 0))
    if len(held):
        value = track.samples[begin[held] - 1].astype(np.float64)
        low[held] = high[held] = value
        rms[held] = np.abs(value)
    return low / 32768, high / 32768, rms / 32768


def envelope_path(low: NDArray[np.float64], high: NDArray[np.float64]) -> str:
    """Return the outline of an envelope: x counts columns, y the steps below the centre line.

    Every column is a rectangle of its own: what is drawn is the minimum and the maximum, not a
    line between the columns. Columns without audio, and those that are silent, are left out.

    Args:
        low: Lower edge of each column, in steps above the centre line; NaN for no audio.
        high: Upper edge.
    """
    with np.errstate(invalid="ignore"):
        visible = np.maximum(np.abs(low), np.abs(high)) >= 0.5
    top = np.round(-np.where(visible, high, 0)).astype(np.int64)
    bottom = np.round(-np.where(visible, low, 0)).astype(np.int64)
    # A steady level is one step thick, on the side of the centre line, or it would not be seen.
    steady = top == bottom
    top, bottom = top - (steady & (top > 0)), bottom + (steady & (top <= 0))

    change = np.flatnonzero(np.diff(np.concatenate(([0], visible.view(np.int8), [0]))))
    parts: list[str] = []
    for first, last in zip(change[::2].tolist(), change[1::2].tolist(), strict=True):
        there = _staircase(top[first:last].tolist(), 1)
        back = _staircase(bottom[first:last].tolist()[::-1], -1)
        turn = int(bottom[last - 1] - top[last - 1])
        parts.append(f"M{first} {int(top[first])}{there}v{turn}{back}z")
    return "".join(parts)


def _staircase(levels: list[int], step: int) -> str:
    """Return one horizontal step per level as relative path commands; equal ones are joined."""
    parts: list[str] = []
    level, run = levels[0], 0
    for following in levels:
        if following != level:
            parts.append(f"h{run * step}v{following - level}")
            level, run = following, 0
        run += 1
    parts.append(f"h{run * step}")
    return "".join(parts)


def full_scale_db(timeline: Timeline) -> int:
    """Return the level that fills the height of both waveforms, in whole dBFS, at least -24."""
    tracks = (timeline.person, timeline.assistant)
    extremes = (f(t.samples) for t in tracks if len(t.samples) for f in (np.min, np.max))
    peak = max((abs(int(value)) for value in extremes), default=0)
    return max(-24, min(0, math.ceil(20 * math.log10(peak / 32768)))) if peak else 0


def gain_runs(
    gain: Sequence[tuple[float, float]], length: float
) -> list[list[tuple[float, float]]]:
    """Return the curve as unbroken runs, held to both ends and limited to the floor."""
    runs: list[list[tuple[float, float]]] = [[]]
    for time, gain_db in gain:
        if math.isnan(gain_db):
            runs.append([])
        else:
            runs[-1].append((time, max(gain_db, GAIN_FLOOR_DB)))
    if runs[0]:
        runs[0].insert(0, (min(0.0, runs[0][0][0]), runs[0][0][1]))
    if runs[-1]:
        runs[-1].append((max(length, runs[-1][-1][0]), runs[-1][-1][1]))
    return [run for run in runs if run]


def gain_points(run: Sequence[tuple[float, float]], line: Line) -> list[tuple[float, float]]:
    """Return the part of a run in one line as ``(x, gain in dB)``, 4 points per pixel at most."""
    start, end = max(run[0][0], line.start), min(run[-1][0], line.end)
    if end < start:
        return []
    inner = [(t, g) for t, g in run if start < t < end]
    points = [(start, _gain_at(run, start, after=True)), *inner, (end, _gain_at(run, end))]
    thinned: list[tuple[float, float]] = []
    placed = ((line.x(t), g) for t, g in points)
    for _, group in groupby(placed, key=lambda point: math.floor(point[0])):
        held = list(group)
        low, high = min(held, key=itemgetter(1)), max(held, key=itemgetter(1))
        keep = sorted({0, held.index(low), held.index(high), len(held) - 1})
        thinned.extend(held[k] for k in keep)
    return thinned


def _gain_at(run: Sequence[tuple[float, float]], time: float, *, after: bool = False) -> float:
    """Return the curve at a moment; at a step the gain before it, or after it."""
    times = [t for t, _ in run]
    k = bisect_right(times, time) if after else bisect_left(times, time)
    if k == 0:
        return run[0][1]
    if k == len(run):
        return run[-1][1]
    (t0, g0), (t1, g1) = run[k - 1], run[k]
    return g0 + (g1 - g0) * (time - t0) / (t1 - t0)
