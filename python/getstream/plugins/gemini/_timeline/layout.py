"""Layout of one line: turns, marks and latencies in rows where none covers another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .axis import Event, Line
from .model import Latency, Mark, Span, Who
from .style import (
    EVENT_COLOURS,
    GAP,
    LINE_HEIGHT,
    MAX_MARK_ROWS,
    MAX_TURN_ROWS,
    SMALL_SIZE,
    TEXT_SIZE,
)
from .text import clean, clock_text, delay_text, text_width, truncate, wrap


@dataclass
class Turn:
    """The bar of a turn, and its transcript if there is room for it."""

    event: Event[Span]
    x0: float
    x1: float
    row: int
    begins: bool
    ends: bool
    text: list[str] = field(default_factory=list)


def lay_out_turns(
    events: Sequence[Event[Span]], who: Who, lines: Sequence[Line], line: Line
) -> list[Turn]:
    """Lay out bars in rows; two share a row when they and the beginnings of their texts fit."""
    turns: list[Turn] = []
    captioned: list[bool] = []
    row_ends: list[float] = []
    for event in events:
        if event.item.who != who or not line.shows(event):
            continue
        begins, ends = event.start >= line.start, event.end <= line.end
        x0 = line.x(max(event.start, line.start))
        x1 = max(line.x(min(event.end, line.end)), x0 + 2)
        # The transcript stands in the line that shows most of the turn.
        captioned.append(bool(caption(event.item)) and line is max(lines, key=_shows(event)))
        taken = x1
        if captioned[-1]:
            taken = max(x1, x0 + min(text_width(caption(event.item), TEXT_SIZE), 56.0) + GAP)
        row = next((r for r, end in enumerate(row_ends) if end <= x0 + 0.01), len(row_ends))
        if row == MAX_TURN_ROWS:  # crowded beyond use: bars may overlap, texts may not
            row = row_ends.index(min(row_ends))
            captioned[-1] = False
        if row == len(row_ends):
            row_ends.append(0.0)
        row_ends[row] = max(row_ends[row], taken)
        turns.append(Turn(event, x0, x1, row, begins, ends))

    plot_right = max(line.right for line in lines)
    for index, turn in enumerate(turns):
        if captioned[index]:
            following = (t.x0 - GAP for t in turns[index + 1 :] if t.row == turn.row)
            room = min(next(following, plot_right) - turn.x0, max(turn.x1 - turn.x0, 260.0))
            text_lines = 3 if len(lines) == 1 else 2
            turn.text = wrap(caption(turn.event.item), room, TEXT_SIZE, text_lines)
    return turns


def _shows(event: Event[Any]) -> Callable[[Line], float]:
    return lambda line: line.overlap(event)


def caption(span: Span) -> str:
    """Return the outcome of a turn and its words, the unheard ones last."""
    words = clean(f"{span.label} {span.unheard}")
    return " · ".join(filter(None, (clean(span.outcome), words)))


def heard_length(span: Span) -> int:
    """Return how many characters of the caption come before the unheard words."""
    unheard = clean(span.unheard)
    return len(caption(span)) - len(unheard)


def split_lines(lines: Sequence[str], length: int) -> list[tuple[str, str]]:
    """Divide the lines of a wrapped caption after its first `length` characters."""
    parts = []
    for line in lines:
        kept = max(0, min(length, len(line)))
        if kept == len(line) - 1 and line.endswith("…"):
            kept = len(line)  # the sign alone would be struck out
        parts.append((line[:kept], line[kept:]))
        length -= len(line) + 1  # and the space at which it was broken
    return parts


@dataclass
class Pill:
    """The label of a mark, or of several of one kind that are too close to be told apart."""

    x: float
    text: str
    colour: str
    title: str
    clamped: bool
    left: float
    width: float
    xs: list[float]  # all the moments it stands for
    row: int | None = None  # None: no room


def lay_out_pills(events: Sequence[Event[Mark]], who: Who, line: Line, right: float) -> list[Pill]:
    """Lay out labels in rows, row 0 next to the waveform; no leader line crosses a label.

    A leader runs from the waveform through the rows before that of its label. Most labels stand
    to the right of their leaders: placed from right to left, each goes to the first row that is
    free. Those that would stick out at the right edge stand to the left, and are placed from left
    to right.
    """
    groups: list[list[Event[Mark]]] = []
    open_group: dict[tuple[str, str], list[Event[Mark]]] = {}
    for event in events:
        mark = event.item
        if mark.who != who or not line.holds(event.start):
            continue
        key = (mark.kind, mark.label)
        group = open_group.get(key)
        reach = text_width(_mark_text(mark, 2), SMALL_SIZE) + 2 * GAP
        if group and (line.x(event.start) - line.x(group[-1].start) < reach):
            group.append(event)
        else:
            open_group[key] = [event]
            groups.append(open_group[key])

    pills: list[Pill] = []
    for group in groups:
        x = line.x(group[0].start)
        text = truncate(_mark_text(group[0].item, len(group)), 220.0, SMALL_SIZE)
        width = text_width(text, SMALL_SIZE) + 10
        times = ", ".join(clock_text(event.item.time) for event in group[:8])
        more = f" and {len(group) - 8} more" if len(group) > 8 else ""
        clamped = any(event.clamped for event in group)
        outside = " (outside the recording)" if clamped else ""
        title = f"{_mark_text(group[0].item, len(group))} at {times}{more}{outside}"
        left = x if x + width <= right else x - width
        colour = EVENT_COLOURS.get(group[0].item.kind, "muted")
        xs = [line.x(event.start) for event in group]
        pills.append(Pill(x, text, colour, title, clamped, left, width, xs))

    boxes: list[list[tuple[float, float]]] = [[] for _ in range(MAX_MARK_ROWS)]
    leaders: list[list[float]] = [[] for _ in range(MAX_MARK_ROWS)]
    to_the_right = [pill for pill in reversed(pills) if pill.left == pill.x]
    to_the_left = [pill for pill in pills if pill.left != pill.x]
    for pill in to_the_right + to_the_left:
        a, b = pill.left, pill.left + pill.width
        for row in range(MAX_MARK_ROWS):
            free = all(b + 2 <= left or right + 2 <= a for left, right in boxes[row])
            if free and not any(_inside(x, a, b) for x in leaders[row]):
                pill.row = row
                boxes[row].append((a, b))
                break
            if any(_inside(pill.x, left, right) for left, right in boxes[row]):
                break  # its leader would cross a label of this row
        for passed in leaders[: pill.row or 0]:
            passed.append(pill.x)
    return pills


def _inside(x: float, left: float, right: float) -> bool:
    return left + 0.5 < x < right - 0.5  # along the edge of a label is not across it


def _mark_text(mark: Mark, count: int) -> str:
    times = f" ×{count}" if count > 1 else ""
    label = f" · {clean(mark.label)}" if clean(mark.label) else ""
    return f"{clean(mark.kind)}{times}{label}"


@dataclass
class Dimension:
    """The dimension line of a latency."""

    event: Event[Latency]
    x0: float
    x1: float
    runs: list[tuple[str, str]]
    text_x: float = 0.0
    anchor: str | None = None
    row: int | None = None  # None: no room for the line and its text, only the band is drawn


def lay_out_dimensions(
    events: Sequence[Event[Latency]], line: Line, right: float, *, labelled: bool
) -> list[Dimension]:
    """Lay out dimension lines in rows, the text behind the line, or before it at the edge."""
    dimensions: list[Dimension] = []
    rows: list[list[tuple[float, float]]] = []
    for event in events:
        if not line.shows(event):
            continue
        x0, x1 = line.x(max(event.start, line.start)), line.x(min(event.end, line.end))
        dimension = Dimension(event, x0, x1, [])
        dimensions.append(dimension)
        delay = delay_text(event.item.seconds)
        label = truncate(clean(event.item.label), 200.0, SMALL_SIZE) if labelled else ""
        width = 0.0
        if event.end <= line.end:  # else it goes on in the next line and is labelled there
            dimension.runs = [(f"{delay} ", "ink"), (label, "muted")] if label else [(delay, "ink")]
            width = text_width(f"{delay} {label}", SMALL_SIZE) + GAP
        a, b = x0, x1 + width
        dimension.text_x = x1 + GAP
        if b > right:
            a, b = x0 - width, x1
            dimension.text_x, dimension.anchor = x0 - GAP, "end"
        if a < line.left:
            continue
        for row in range(MAX_MARK_ROWS):
            if row == len(rows):
                rows.append([])
            if all(b + GAP <= left or end + GAP <= a for left, end in rows[row]):
                rows[row].append((a, b))
                dimension.row = row
                break
    return dimensions


def row_count(labels: Sequence[Pill] | Sequence[Dimension]) -> int:
    return max((label.row + 1 for label in labels if label.row is not None), default=0)


def turn_row_heights(turns: Sequence[Turn]) -> list[float]:
    """Return the height of each row of turns: its bar, and its lines of text."""
    rows = max((turn.row + 1 for turn in turns), default=0)
    lines = [max((len(t.text) for t in turns if t.row == row), default=0) for row in range(rows)]
    return [10.0 + (count * LINE_HEIGHT + 4 if count else 0) for count in lines]
