"""Draw the growth of a load: lateness of frames, time to answer, and CPU, over the calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from .plan import Bounds, Step, Verdict

__all__ = ["picture"]

WIDTH, LEFT, RIGHT, TOP = 900, 76, 190, 88
PANEL, GAP, BOTTOM = 150, 62, 42
TICKS = 4
"""Lines of the grid in a panel, roughly."""

COLOURS = {
    "ink": ("#17202b", "#e8edf3"),
    "soft": ("#596677", "#9aa7b6"),
    "grid": ("#dbe1e8", "#2c3744"),
    "paper": ("#ffffff", "#10151c"),
    "shade": ("#f3e3c9", "#3a2f1d"),
    "fleet": ("#147a5a", "#4fd1a5"),
    "middle": ("#5b4bd6", "#a599ff"),
    "high": ("#c81e3a", "#ff6b81"),
    "generator": ("#9a5800", "#f5b14c"),
}
"""Each as (light, dark); text has a contrast of 4.5 or more on the paper (WCAG AA)."""


@dataclass(frozen=True)
class _Line:
    label: str
    colour: str
    value: Callable[[Step], float | None]


@dataclass(frozen=True)
class _Panel:
    title: str
    unit: str
    lines: tuple[_Line, ...]
    bound: tuple[str, float] | None = None


def picture(steps: Sequence[Step], verdict: Verdict, bounds: Bounds, heading: str) -> str:
    """Return the picture as SVG; "" if there are no steps.

    Args:
        steps: In the order of their calls.
        verdict: Of these steps; where the level was lost is marked, and what is not the fleet's.
        bounds: Of the service level; drawn as lines.
        heading: Above the panels.
    """
    if not steps:
        return ""
    panels = _panels(steps[-1], bounds)
    height = TOP + len(panels) * (PANEL + GAP) + BOTTOM - GAP
    summary = _summary(verdict)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" font-family="system-ui, sans-serif" font-size="12" role="img">',
        f"<title>{escape(heading)}: {escape(summary)}</title>",
        f"<style>{_style()}</style>",
        f'<rect class="f-paper" width="{WIDTH}" height="{height}"/>',
        f'<text class="f-ink" x="24" y="28" font-size="16" font-weight="600">{escape(heading)}'
        "</text>",
        f'<text class="f-soft" x="24" y="46">{escape(summary)}</text>',
    ]
    across = _Across(steps)
    for number, panel in enumerate(panels):
        out += _panel(panel, TOP + number * (PANEL + GAP), steps, verdict, across)
    bottom = TOP + len(panels) * (PANEL + GAP) - GAP
    for step in steps:
        x = across.of(step.calls)
        out.append(
            f'<text class="f-soft" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">'
            f"{step.calls}</text>"
        )
    out.append(
        f'<text class="f-soft" x="{(LEFT + WIDTH - RIGHT) / 2:.1f}" y="{bottom + 34}"'
        ' text-anchor="middle">calls at the same time</text>'
    )
    return "\n".join([*out, "</svg>"]) + "\n"


class _Across:
    """Places numbers of calls on the horizontal axis."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._least, self._most = steps[0].calls, steps[-1].calls

    def of(self, calls: float) -> float:
        if self._least == self._most:
            return (LEFT + WIDTH - RIGHT) / 2
        share = (calls - self._least) / (self._most - self._least)
        return LEFT + 14 + share * (WIDTH - RIGHT - LEFT - 28)


def _panels(last: Step, bounds: Bounds) -> list[_Panel]:
    return [
        _Panel(
            "Frames of 20 ms, as people receive them: how late",
            "ms",
            (
                _Line("p50", "fleet", lambda s: s.late_p50_ms),
                _Line("p95", "middle", lambda s: s.late_p95_ms),
                _Line("p99", "high", lambda s: s.late_p99_ms),
            ),
            ("bound of p99", bounds.late_ms),
        ),
        _Panel(
            "From the last word of a question to the first sound of its answer",
            "ms",
            (
                _Line("the service's own, p50", "generator", lambda s: s.service_p50_ms),
                _Line("p50", "fleet", lambda s: s.answer_p50_ms),
                _Line("p95", "high", lambda s: s.answer_p95_ms),
            ),
            ("bound of p95", bounds.answer_ms),
        ),
        _Panel(
            "CPU",
            "cores",
            (
                _Line("fleet", "fleet", lambda s: s.fleet_cores),
                _Line("generator", "generator", lambda s: s.generator_total),
                _Line("machine", "middle", lambda s: s.machine_busy * s.machine_cores),
            ),
            ("cores of the machine", float(last.machine_cores)),
        ),
    ]


def _panel(
    panel: _Panel, top: float, steps: Sequence[Step], verdict: Verdict, across: _Across
) -> list[str]:
    values = [v for line in panel.lines for s in steps if (v := line.value(s)) is not None]
    most = max([*values, panel.bound[1] if panel.bound else 0.0, 1e-9])
    tick = _tick(most)
    most = max(most, tick) * 1.05
    right = WIDTH - RIGHT

    def height_of(value: float) -> float:
        return top + PANEL - value / most * PANEL

    out = [
        f'<text class="f-ink" x="{LEFT}" y="{top - 9}" font-weight="600">{escape(panel.title)}'
        f'<tspan class="f-soft" font-weight="400">, {escape(panel.unit)}</tspan></text>'
    ]
    if verdict.saturated_at is not None:
        start = across.of(verdict.saturated_at) - 8
        out.append(
            f'<rect class="f-shade" x="{start:.1f}" y="{top}" width="{right - start:.1f}"'
            f' height="{PANEL}"><title>not the fleet alone</title></rect>'
        )
    level = 0.0
    while level <= most:
        y = height_of(level)
        out += [
            f'<line class="s-grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text class="f-soft" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{level:g}'
            "</text>",
        ]
        level = round(level + tick, 6)
    if verdict.lost_at is not None:
        x = across.of(verdict.lost_at)
        out.append(
            f'<line class="s-high" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + PANEL}"'
            ' stroke-dasharray="2 3"><title>the service level was lost</title></line>'
        )
    ends: list[tuple[float, str, str]] = []
    if panel.bound is not None:
        label, bound = panel.bound
        y = height_of(bound)
        out.append(
            f'<line class="s-soft" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"'
            ' stroke-dasharray="6 4"/>'
        )
        ends.append((y, "soft", label))
    for line in panel.lines:
        points = [(across.of(s.calls), v) for s in steps if (v := line.value(s)) is not None]
        if not points:
            continue
        path = " ".join(f"{x:.1f},{height_of(v):.1f}" for x, v in points)
        out.append(f'<polyline class="s-{line.colour}" points="{path}"/>')
        out += [
            f'<circle class="f-{line.colour}" cx="{x:.1f}" cy="{height_of(v):.1f}" r="2.5"/>'
            for x, v in points
        ]
        ends.append(
            (height_of(points[-1][1]), line.colour, f"{line.label} {_short(points[-1][1])}")
        )
    for y, colour, label in _spread(ends, top):
        out.append(
            f'<text class="f-{colour}" x="{right + 8}" y="{y + 4:.1f}">{escape(label)}</text>'
        )
    return out


def _spread(ends: Sequence[tuple[float, str, str]], top: float) -> list[tuple[float, str, str]]:
    """Move labels apart that would lie on each other."""
    placed: list[tuple[float, str, str]] = []
    last = top - 14
    for y, colour, label in sorted(ends):
        last = max(y, last + 14)
        placed.append((last, colour, label))
    return placed


def _tick(most: float) -> float:
    """Return a round distance of about `TICKS` lines up to a value."""
    power = 1.0
    while most / power > 10 * TICKS:
        power *= 10
    while most / power < TICKS:
        power /= 10
    for factor in (1, 2, 5, 10):
        if most / (power * factor) <= TICKS + 1:
            return power * factor
    return power * 10


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}".rstrip("0").rstrip(".")


def _summary(verdict: Verdict) -> str:
    parts = [f"{verdict.carried} calls within the service level"]
    if verdict.lost_at is not None:
        parts.append(f"lost at {verdict.lost_at} (dotted)")
    if verdict.saturated_at is not None:
        parts.append(f"not the fleet alone from {verdict.saturated_at} on (shaded)")
    return "; ".join(parts)


def _style() -> str:
    def rules(shade: int) -> str:
        return ";".join(f"--{name}:{pair[shade]}" for name, pair in COLOURS.items())

    out = [f"svg{{{rules(0)}}}", f"@media(prefers-color-scheme:dark){{svg{{{rules(1)}}}}}"]
    out += [f".f-{name}{{fill:var(--{name})}}" for name in COLOURS]
    out += [f".s-{name}{{stroke:var(--{name})}}" for name in COLOURS]
    out.append("polyline{fill:none;stroke-width:2}line{fill:none}")
    return "".join(out)
