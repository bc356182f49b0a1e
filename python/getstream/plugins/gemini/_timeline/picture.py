"""Drawing of a timeline as an SVG document."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from .axis import Event, Line, break_lines, on_axis, ticks_of
from .canvas import Canvas, box_path, dimension_path
from .curves import envelope, envelope_path, full_scale_db, gain_points, gain_runs
from .layout import (
    Dimension,
    Pill,
    Turn,
    caption,
    heard_length,
    lay_out_dimensions,
    lay_out_pills,
    lay_out_turns,
    row_count,
    split_lines,
    turn_row_heights,
)
from .model import SIDES, THEMES, Theme, Timeline, Track, Who
from .style import (
    EVENT_COLOURS,
    FONT,
    GAIN_FLOOR_DB,
    GUTTER,
    LINE_HEIGHT,
    MARGIN,
    MAX_LEGEND_KINDS,
    PALETTE,
    PEAK_OPACITY,
    PILL_HEIGHT,
    SMALL_SIZE,
    TEXT_SIZE,
    style_sheet,
)
from .text import (
    clean,
    count_text,
    num,
    signed,
    text_width,
    truncate,
    wrap,
)
from .words import description, interval_title, kinds_of, name_of, summary_of


def render_svg(timeline: Timeline, *, width: int = 1200, theme: Theme = "auto") -> str:
    """Draw a conversation as a self-contained SVG document.

    The same timeline gives the same text, byte for byte.

    Args:
        timeline: What to draw.
        width: Width of the picture in pixels, 480 at least; the height follows from the content.
        theme: ``"auto"`` follows the reader's preference; ``"light"`` and ``"dark"`` are fixed,
            for slides and for renderers that do not know the preference.

    Returns:
        An ``<svg>`` element without an XML declaration, so that it can be put into an HTML page;
        written to a file as UTF-8 it is a complete document.

    Raises:
        ValueError: The width is too small, or the theme is unknown.
    """
    if not 480 <= width <= 20_000:
        raise ValueError(f"width must be from 480 to 20000 pixels, got {width!r}")
    if theme not in THEMES:
        raise ValueError(f"theme must be one of {THEMES}, got {theme!r}")
    return _Picture(timeline, int(width), theme).render()


class _Picture:
    """One rendering, from the headline down to the notes."""

    def __init__(self, timeline: Timeline, width: int, theme: Theme) -> None:
        self._timeline = timeline
        self._width = width
        self._theme = theme
        self._canvas = Canvas(theme)
        self._length = timeline.length
        self._plot_right = width - MARGIN
        self._lines = break_lines(self._length, width - 2 * MARGIN - GUTTER)
        self._half_height = 46 if len(self._lines) == 1 else 30
        self._gain_height = 30 if len(self._lines) == 1 else 24
        self._full_scale_db = full_scale_db(timeline)
        self._spans = on_axis(timeline.spans, self._length)
        self._marks = on_axis(timeline.marks, self._length)
        self._latencies = on_axis(timeline.latencies, self._length)
        self._gain = gain_runs(timeline.gain, self._length)
        labels = {clean(latency.label) for latency in timeline.latencies}
        # Many delays of one kind: the legend names it once.
        self._one_latency = labels.pop() if len(labels) == 1 and len(self._lines) > 1 else ""
        self._hidden = 0  # labels for which there was no room

    def render(self) -> str:
        title = clean(self._timeline.title) or "Conversation"
        summary = summary_of(self._timeline)
        subtitle = clean(self._timeline.subtitle) or summary
        y = self._header(title, subtitle)
        for line in self._lines:
            y = self._line(line, y)
        height = self._notes(y)

        body = "\n".join(self._canvas.parts)
        # Several pictures may stand in one page: ids must differ, and must not be random.
        key = hashlib.sha256(f"{title}{self._width}{body}".encode()).hexdigest()[:10]
        shade = 1 if self._theme == "dark" else 0
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="gsg-timeline gsg-{self._theme}"'
            f' viewBox="0 0 {self._width} {num(height)}" width="{self._width}"'
            f' height="{num(height)}" role="img" aria-labelledby="gsg-{key}-t gsg-{key}-d"'
            f' font-family="{FONT}" font-size="{num(SMALL_SIZE)}"'
            f' fill="{PALETTE["ink"][shade]}">\n'
            f'<title id="gsg-{key}-t">{escape(title)}</title>\n'
            f'<desc id="gsg-{key}-d">{escape(description(self._timeline, summary))}</desc>\n'
            f"<style>{style_sheet(self._theme)}</style>\n"
            f'<rect class="gsg-f-bg" fill="{PALETTE["bg"][shade]}" width="{self._width}"'
            f' height="{num(height)}" rx="8"/>\n'
            f"{body}\n</svg>\n"
        )

    def _track(self, who: Who) -> Track:
        return self._timeline.track(who)

    def _name(self, who: Who) -> str:
        return name_of(self._timeline, who)

    # Head and foot

    def _header(self, title: str, subtitle: str) -> float:
        canvas, room = self._canvas, self._width - 2 * MARGIN
        shown = truncate(title, room / 1.12, 20)  # 1.12: the bold face is wider
        y = MARGIN + 18.0
        canvas.text(MARGIN, y, shown, 20, bold=True, title=title if shown != title else "")
        y += 4
        for text in wrap(subtitle, room, 13, 2):
            y += 18
            canvas.text(MARGIN, y, text, 13, "muted", title=subtitle if "…" in text else "")
        return self._legend(y + 24) + 14

    def _legend(self, y: float) -> float:
        """Draw the legend of the colours, and return the baseline of its last row."""
        entries: list[tuple[str, str, str]] = [
            (who, "wave", f"{self._name(who)}: peak, RMS") for who in SIDES
        ]
        if self._gain:
            entries.append(("assistant", "line", "playback gain"))
        if self._latencies:
            entries.append(("ink", "dimension", self._one_latency or "latency"))
        kinds = Counter(kinds_of(self._timeline))
        for kind, number in list(kinds.items())[:MAX_LEGEND_KINDS]:
            entries.append((EVENT_COLOURS.get(kind, "muted"), "mark", f"{kind} {number}"))
        if len(kinds) > MAX_LEGEND_KINDS:
            entries.append(("muted", "mark", f"{len(kinds) - MAX_LEGEND_KINDS} more kinds"))
        x = float(MARGIN)
        for colour, glyph, text in entries:
            text = truncate(text, 220.0, 11)
            indent = 9 if glyph == "mark" else 20
            width = indent + text_width(text, 11) + 18
            if x + width > self._width - MARGIN and x > MARGIN:
                x, y = float(MARGIN), y + 17
            self._glyph(x, y - 4, colour, glyph)
            self._canvas.text(x + indent, y, text, 11, "muted")
            x += width
        return y

    def _glyph(self, x: float, y: float, colour: str, glyph: str) -> None:
        canvas = self._canvas
        if glyph == "wave":
            canvas.rect(x, y - 5, 14, 10, colour, rx=2, fill_opacity=PEAK_OPACITY)
            canvas.rect(x, y - 2, 14, 4, colour)
        elif glyph == "line":
            canvas.path(f"M{num(x)} {num(y - 3)}h6v6h8", stroke=colour, stroke_width=1.5)
        elif glyph == "dimension":
            canvas.path(dimension_path(x, x + 14, y), stroke=colour, stroke_width=1.2)
        else:
            canvas.path(f"M{num(x + 1.5)} {num(y - 5)}v10", stroke=colour, stroke_width=2.5)

    def _notes(self, y: float) -> float:
        """Write what could not be shown as it is, and return the height of the picture."""
        groups: list[Sequence[Event[Any]]] = [self._spans, self._marks, self._latencies]
        clamped = sum(event.clamped for events in groups for event in events)
        unknown = sum(math.isnan(gain_db) for _, gain_db in self._timeline.gain)
        notes = []
        if clamped:
            range_text = f"0 to {self._length:.2f} s"
            notes.append(
                f"{count_text(clamped, 'event')} outside the recording ({range_text})"
                " drawn at its edge, dashed."
            )
        if unknown:
            notes.append(f"{count_text(unknown, 'gain value')} unknown (NaN), drawn as a gap.")
        if self._hidden:
            notes.append(f"{count_text(self._hidden, 'label')} left out for want of room.")
        for note in notes:
            for text in wrap(note, self._width - 2 * MARGIN, 11, 3):
                self._canvas.text(MARGIN, y + 6, text, 11, "muted")
                y += 17
        return y + 10

    # One line

    def _line(self, line: Line, y: float) -> float:
        turns = {who: lay_out_turns(self._spans, who, self._lines, line) for who in SIDES}
        pills = {who: lay_out_pills(self._marks, who, line, self._plot_right) for who in SIDES}
        dimensions = lay_out_dimensions(
            self._latencies, line, self._plot_right, labelled=not self._one_latency
        )
        pill_heights = {who: PILL_HEIGHT * row_count(pills[who]) for who in SIDES}
        self._hidden += sum(p.row is None for who in SIDES for p in pills[who])
        self._hidden += sum(bool(d.runs) and d.row is None for d in dimensions)

        height = 2.0 * self._half_height
        person_turns = y
        person_pills = y + sum(turn_row_heights(turns["person"]))
        person = person_pills + pill_heights["person"]
        between = person + height
        assistant = between + max(8.0, PILL_HEIGHT * row_count(dimensions) + 4)
        gain = assistant + height
        assistant_pills = gain + (self._gain_height + 6 if self._gain else 0)
        assistant_turns = assistant_pills + pill_heights["assistant"] + 2
        axis = assistant_turns + sum(turn_row_heights(turns["assistant"]))

        top = {"person": person, "assistant": assistant}
        ticks = ticks_of(line, self._length)
        for who in SIDES:
            self._lane(who, line, top[who], turns[who], ticks)
        self._bands(dimensions, person, between, assistant)
        if self._gain:
            self._gain_strip(line, gain + 6, ticks)
        for who in SIDES:
            self._waveform(who, line, top[who] + self._half_height)
        self._dimension_lines(dimensions, between + 2)
        # The leaders of the assistant's marks run through the gain strip: the cause next to the
        # effect.
        self._mark_lines(pills["person"], line, person_pills + pill_heights["person"], between, -1)
        self._mark_lines(pills["assistant"], line, assistant_pills, assistant, 1)
        self._turn_rows(turns["person"], person_turns, above=True)
        self._turn_rows(turns["assistant"], assistant_turns, above=False)
        return self._axis(line, axis + 4, ticks)

    def _lane(
        self,
        who: Who,
        line: Line,
        y: float,
        turns: Sequence[Turn],
        ticks: Sequence[tuple[float, str]],
    ) -> None:
        """Draw the background of a waveform: scale, grid, and a tint during turns."""
        canvas, half = self._canvas, float(self._half_height)
        canvas.rect(line.left, y, line.right - line.left, 2 * half, "lane", rx=3)
        tint = "".join(box_path(turn.x0, turn.x1, y, y + 2 * half) for turn in turns)
        canvas.path(tint, fill=who, fill_opacity=0.1, data_tint=who)
        grid = "".join(
            f"M{num(line.x(time))} {num(y)}v{num(2 * half)}" for time, text in ticks if text
        )
        for level in (-0.5, 0.0, 0.5):
            grid += f"M{num(line.left)} {num(y + half * (1 + level))}H{num(line.right)}"
        canvas.path(grid, stroke="grid")

        name = truncate(self._name(who), GUTTER - 8, TEXT_SIZE * 1.12)
        canvas.text(
            MARGIN,
            y + half + 4,
            name,
            TEXT_SIZE,
            who,
            bold=True,
            title=self._name(who) if name != self._name(who) else "",
        )
        top_db = self._full_scale_db
        canvas.text(line.left - 7, y + 8, f"{signed(top_db)} dBFS", 9.5, "muted", anchor="end")
        canvas.text(
            line.left - 7, y + half / 2 + 3.5, signed(top_db - 6), 9.5, "muted", anchor="end"
        )

    def _waveform(self, who: Who, line: Line, centre: float) -> None:
        canvas, track = self._canvas, self._track(who)
        audio_end = min(line.end, track.duration)
        if not len(track.samples) and line.start == 0:
            canvas.text(
                (line.left + line.right) / 2,
                centre + 4,
                "no audio",
                TEXT_SIZE,
                "muted",
                anchor="middle",
            )
        if audio_end <= line.start:
            return
        # Where there was audio there is a line, however quiet it was.
        canvas.path(
            f"M{num(line.left)} {num(centre)}H{num(line.x(audio_end))}",
            stroke=who,
            stroke_width=0.75,
        )
        # Paths of integers in units of their own. A long call is drawn coarser to keep the file
        # small: whole pixels in height instead of halves, and an RMS of two pixels in width.
        short = len(self._lines) == 1
        steps_per_pixel = 2 if short else 1
        for kind, step, opacity in (("peak", 1, PEAK_OPACITY), ("rms", 1 if short else 2, None)):
            columns = math.ceil((line.end - line.start) * line.scale / step - 1e-6)
            low, high, rms = envelope(track, line.start, step / line.scale, columns)
            if kind == "rms":  # on an asymmetric waveform it may exceed the peak of one side
                low, high = np.maximum(-rms, low), np.minimum(rms, high)
            scale = 10 ** (-self._full_scale_db / 20) * self._half_height * steps_per_pixel
            canvas.path(
                envelope_path(low * scale, high * scale),
                fill=who,
                fill_opacity=opacity,
                transform=f"translate({num(line.left)} {num(centre)})"
                f" scale({step} {num(1 / steps_per_pixel)})",
                data_track=who,
                data_wave=kind,
            )

    def _bands(
        self, dimensions: Sequence[Dimension], top: float, between: float, assistant: float
    ) -> None:
        """Shade the time that the person waits, from the cause in one waveform to the effect."""
        bottom = assistant + 2 * self._half_height
        bands = (box_path(d.x0, max(d.x1, d.x0 + 0.5), top, bottom) for d in dimensions)
        self._canvas.path("".join(bands), fill="ink", fill_opacity=0.06)
        edges = (
            f"M{num(d.x0)} {num(top)}V{num(between + 2)}"
            f"M{num(d.x1)} {num(assistant - 2)}V{num(bottom)}"
            for d in dimensions
        )
        self._canvas.path("".join(edges), stroke="muted", stroke_dasharray="2 3")

    def _dimension_lines(self, dimensions: Sequence[Dimension], y: float) -> None:
        for d in dimensions:
            if d.row is None:
                continue
            middle = y + d.row * PILL_HEIGHT + PILL_HEIGHT / 2
            self._canvas.path(
                dimension_path(d.x0, d.x1, middle),
                stroke="ink",
                stroke_width=1.2,
                stroke_dasharray="3 2" if d.event.clamped else None,
                title=interval_title(d.event, clean(d.event.item.label) or "latency"),
            )
            if d.runs:
                self._canvas.text(d.text_x, middle + 3.8, d.runs, SMALL_SIZE, anchor=d.anchor)

    def _gain_strip(self, line: Line, y: float, ticks: Sequence[tuple[float, str]]) -> None:
        canvas, height = self._canvas, float(self._gain_height)
        loudest = max((g for run in self._gain for _, g in run), default=0.0)
        top_db = max(0, math.ceil(loudest / 6) * 6)
        canvas.rect(line.left, y, line.right - line.left, height, "lane", rx=3)
        grid = "".join(f"M{num(line.x(t))} {num(y)}v{num(height)}" for t, text in ticks if text)
        canvas.path(grid, stroke="grid")
        canvas.text(MARGIN, y + height / 2 + 4, "gain", SMALL_SIZE, "muted")
        canvas.text(line.left - 7, y + 8, f"{signed(top_db)} dB", 9.5, "muted", anchor="end")
        canvas.text(
            line.left - 7, y + height, signed(int(GAIN_FLOOR_DB)), 9.5, "muted", anchor="end"
        )
        per_db = (height - 4) / (top_db - GAIN_FLOOR_DB)
        for run in self._gain:
            points = [(x, y + 2 + (top_db - g) * per_db) for x, g in gain_points(run, line)]
            if not points:
                continue
            curve = "L".join(f"{num(x)} {num(level)}" for x, level in points)
            base = num(y + height)
            canvas.path(
                f"M{num(points[0][0])} {base}L{curve}V{base}z", fill="assistant", fill_opacity=0.16
            )
            canvas.path(
                f"M{curve}",
                stroke="assistant",
                stroke_width=1.5,
                stroke_linejoin="round",
                data_curve="gain",
            )

    def _mark_lines(
        self, pills: Sequence[Pill], line: Line, near: float, far: float, direction: int
    ) -> None:
        """Draw the marks of one side.

        Args:
            pills: The labels.
            line: The line they stand in.
            near: The edge of the strip of labels that faces the waveform.
            far: The other edge of the waveform.
            direction: 1 when the labels are below the waveform, -1 when they are above.
        """
        canvas = self._canvas
        for pill in pills:
            dashes = "3 2" if pill.clamped else None
            hairlines = dict.fromkeys(round(x * 2) / 2 for x in pill.xs)  # each half pixel once
            canvas.path(
                "".join(f"M{num(x)} {num(far)}V{num(near)}" for x in hairlines),
                stroke=pill.colour,
                stroke_width=1.25,
                stroke_dasharray=dashes,
                title="" if pill.row is not None else pill.title,
            )
            if pill.row is None:
                continue
            edge = near + direction * pill.row * PILL_HEIGHT
            top = edge + 2 if direction > 0 else edge - PILL_HEIGHT
            canvas.path(
                f"M{num(pill.x)} {num(near)}V{num(top + 7)}", stroke=pill.colour, stroke_width=1.25
            )
            with canvas.group(pill.title):
                canvas.rect(
                    pill.left,
                    top,
                    pill.width,
                    PILL_HEIGHT - 2,
                    "bg",
                    rx=3,
                    stroke=pill.colour,
                    stroke_dasharray=dashes,
                )
                canvas.text(pill.left + 5, top + 11.2, pill.text, SMALL_SIZE, pill.colour)

    def _turn_rows(self, turns: Sequence[Turn], y: float, *, above: bool) -> None:
        """Draw the bars and transcripts of one side; row 0 is next to the waveform."""
        canvas = self._canvas
        heights = turn_row_heights(turns)
        for turn in turns:
            before = heights[turn.row + 1 :] if above else heights[: turn.row]
            row_top = y + sum(before)
            bar = row_top + heights[turn.row] - 7 if above else row_top + 3
            span = turn.event.item
            outcome = clean(span.outcome)
            colour = EVENT_COLOURS.get(outcome, "muted")
            with canvas.group(interval_title(turn.event, self._name(span.who), caption(span))):
                canvas.rect(
                    turn.x0,
                    bar,
                    turn.x1 - turn.x0,
                    4,
                    span.who,
                    rx=2 if turn.begins and turn.ends else None,
                    fill_opacity=0.5 if turn.event.clamped else None,
                )
                if outcome in EVENT_COLOURS and turn.ends:
                    canvas.rect(max(turn.x1 - 3, turn.x0), bar - 3, 3, 10, colour, rx=1)
                baseline = bar - 6 - (len(turn.text) - 1) * LINE_HEIGHT if above else bar + 17
                for number, (heard, unheard) in enumerate(
                    split_lines(turn.text, heard_length(span))
                ):
                    runs = [(heard, "ink")]
                    if number == 0 and outcome and heard.startswith(outcome):
                        runs = [(outcome, colour), (heard[len(outcome) :], "ink")]
                    runs += [(unheard, "unheard")] if unheard else []
                    canvas.text(turn.x0, baseline + number * LINE_HEIGHT, runs, TEXT_SIZE)

    def _axis(self, line: Line, y: float, ticks: Sequence[tuple[float, str]]) -> float:
        data = f"M{num(line.left)} {num(y)}H{num(line.right)}"
        for time, text in ticks:
            data += f"M{num(line.x(time))} {num(y)}v{6 if text else 3}"
            if text:
                x = min(line.x(time), self._width - text_width(text, SMALL_SIZE) / 2)
                self._canvas.text(x, y + 17, text, SMALL_SIZE, "muted", anchor="middle")
        self._canvas.path(data, stroke="muted")
        return y + (28 if line.last else 38)
