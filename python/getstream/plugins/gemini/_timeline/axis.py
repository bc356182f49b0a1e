"""The time axis: its lines, its ticks, and the events on it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Generic, TypeVar

from .model import Latency, Mark, Span
from .style import GUTTER, MARGIN, SMALL_SIZE
from .text import text_width

# A conversation up to this length stays in one line.
_ONE_LINE_SECONDS: Final = 40.0
_LINE_SECONDS: Final = (30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
_MAX_LINES: Final = 12

# Seconds between two labelled ticks, and the parts that smaller ticks divide them into.
_TICKS: Final = (
    *((m * 10.0**e, parts) for e in range(-6, 0) for m, parts in ((1, 5), (2, 4), (5, 5))),
    *((1.0, 5), (2.0, 4), (5.0, 5), (10.0, 5), (15.0, 3), (30.0, 6), (60.0, 6), (120.0, 4)),
    *((300.0, 5), (600.0, 5), (900.0, 3), (1800.0, 6), (3600.0, 6), (7200.0, 4), (14400.0, 4)),
)


_Item = TypeVar("_Item", Span, Mark, Latency)


@dataclass(frozen=True)
class Event(Generic[_Item]):
    """A span, mark or latency with its place on the time axis, in seconds."""

    item: _Item
    start: float
    end: float
    clamped: bool


def on_axis(items: Iterable[_Item], length: float) -> list[Event[_Item]]:
    """Return the events in order of time, those outside ``[0, length]`` moved to its edge."""
    events = []
    for item in items:
        start, end = (item.time, item.time) if isinstance(item, Mark) else (item.start, item.end)
        inside = min(max(start, 0.0), length), min(max(end, 0.0), length)
        # An end that differs by less than a sample at 96 kHz is rounding, not a stray event.
        clamped = max(abs(inside[0] - start), abs(inside[1] - end)) > 1e-5
        events.append(Event(item, *inside, clamped))
    return sorted(events, key=lambda event: (event.start, event.end))


@dataclass(frozen=True)
class Line:
    """One line of the picture: a stretch of the time axis and where it is drawn."""

    start: float
    end: float
    left: float
    scale: float  # pixels per second
    last: bool

    def x(self, time: float) -> float:
        """Return the horizontal position of a moment."""
        return self.left + (time - self.start) * self.scale

    @property
    def right(self) -> float:
        """Horizontal position of the end of the line."""
        return self.x(self.end)

    def holds(self, time: float) -> bool:
        """Return whether a moment is drawn in this line: each is, in exactly one."""
        return self.start <= time < self.end or (self.last and time >= self.end)

    def overlap(self, event: Event[Any]) -> float:
        """Return the seconds of an event that this line shows; negative for none."""
        return min(event.end, self.end) - max(event.start, self.start)

    def shows(self, event: Event[Any]) -> bool:
        """Return whether a part of an event is drawn in this line."""
        return self.overlap(event) > 0 or (event.start == event.end and self.holds(event.start))


def break_lines(length: float, plot_width: float) -> list[Line]:
    """Break the time axis into lines of a round number of seconds."""
    left = float(MARGIN + GUTTER)
    if length <= _ONE_LINE_SECONDS:
        shown = length or 1.0
        return [Line(0.0, shown, left, plot_width / shown, True)]
    seconds = next((s for s in _LINE_SECONDS if s * _MAX_LINES >= length), length / _MAX_LINES)
    starts = [k * seconds for k in range(math.ceil(length / seconds))]
    return [
        Line(start, min(start + seconds, length), left, plot_width / seconds, start == starts[-1])
        for start in starts
    ]


def ticks_of(line: Line, length: float) -> list[tuple[float, str]]:
    """Return the ticks of a line as ``(time, text)``; the smaller ones have no text."""

    def text_of(time: float, step: float) -> str:
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        if length < 60:
            return f"{time:.{decimals}f} s"
        minutes, seconds = divmod(round(time), 60)
        hours, minutes = divmod(minutes, 60)
        head = f"{hours}:{minutes:02d}" if length >= 3600 else f"{minutes}"
        return f"{head}:{seconds:02d}"

    days = ((86_400.0 * 2**k, 4) for k in range(1000))  # one of them is wide enough
    step, parts = next(
        (step, parts)
        for step, parts in chain(_TICKS, days)
        if step * line.scale >= max(60.0, text_width(text_of(line.end, step), SMALL_SIZE) + 28)
    )
    divided = step / parts
    first, last = math.ceil(line.start / divided - 1e-6), math.floor(line.end / divided + 1e-6)
    return [
        (k * divided, text_of(k * divided, step) if k % parts == 0 else "")
        for k in range(first, last + 1)
    ]
