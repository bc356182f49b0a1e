"""Write the results of a run: a Markdown table, and a chart of the resamplers."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import platform
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from contenders import OURS, Contender
from measuring import Quality, Time

Pair = tuple[int, int]


@dataclass
class Report:
    """Collects results; `write` puts `benchmarks.md` and `resample.svg` into a folder."""

    resamplers: dict[Pair, list[tuple[Contender, Quality, Time]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    paths: dict[str, tuple[str, dict[str, Time]]] = field(default_factory=dict)
    """For each title, the contender of the ratios, and the times."""
    edges: dict[str, tuple[int, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def resampler(self, pair: Pair, contender: Contender, quality: Quality, time: Time) -> None:
        self.resamplers[pair].append((contender, quality, time))

    def path(self, title: str, reference: str, times: dict[str, Time]) -> None:
        self.paths[title] = (reference, times)

    def edge(self, name: str, step: int, slope: float) -> None:
        self.edges[name] = (step, slope)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def is_whole(self) -> bool:
        """Return whether the run had results of every kind, and not those of a few tests."""
        return bool(self.resamplers and self.paths and self.edges)

    def write(self, folder: Path) -> str:
        """Write the files and return the table's text; a run without results writes nothing."""
        if not (self.resamplers or self.paths or self.edges):
            return ""
        text = self.markdown()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "benchmarks.md").write_text(text, encoding="utf-8")
        if self.resamplers:
            (folder / "resample.svg").write_text(picture(self.resamplers), encoding="utf-8")
        return text

    def markdown(self) -> str:
        lines = ["# Benchmarks", "", f"{datetime.date.today()}, {machine()}.", ""]
        lines += [f"{versions(self.resamplers)}", ""]
        for pair, rows in self.resamplers.items():
            lines += [
                f"## Resampling {pair[0] / 1000:g} to {pair[1] / 1000:g} kHz, 20 ms, int16",
                "",
                "| | µs p10 | µs p50 | × soxr HQ (p10 to p90) | SINAD at 1 kHz, dB "
                "| worst to 0.85 Nyquist, dB | rejection, dB | latency, ms |",
                "|---|---:|---:|---:|---:|---:|---:|---:|",
            ]
            for contender, quality, time in sorted(rows, key=lambda row: row[2].p10):
                name = f"**{contender.name}**" if contender.name == OURS else contender.name
                lines.append(
                    f"| {name} | {time.p10:.2f} | {time.p50:.2f} | {_ratio(time)} "
                    f"| {quality.sinad_1k:.0f} | {quality.sinad:.0f} | {_floor(quality.rejection)} "
                    f"| {abs(quality.latency_ms):.1f} |"
                )
            lines.append("")
        for title, (reference, times) in self.paths.items():
            lines += [f"## {title}", ""]
            lines += [
                f"| | µs p10 | µs p50 | × {reference} (p10 to p90) |",
                "|---|---:|---:|---:|",
            ]
            lines += [
                f"| {name} | {time.p10:.2f} | {time.p50:.2f} | {_ratio(time)} |"
                for name, time in times.items()
            ]
            lines.append("")
        if self.edges:
            lines += [
                "## Edges of the playback",
                "",
                "Largest step between two samples of a 443 Hz tone at half scale, beside its own.",
                "",
                "| | step | the tone's own |",
                "|---|---:|---:|",
            ]
            lines += [
                f"| {name} | {step} | {slope:.0f} |" for name, (step, slope) in self.edges.items()
            ]
            lines.append("")
        lines += [*self.notes, ""] if self.notes else []
        lines.append(
            "How it is measured: `benches/measuring.py`. A ratio is the median of the ratios "
            "within each round, with p10 and p90 over the rounds. Run it yourself: `make bench`."
        )
        return "\n".join(lines) + "\n"


def _ratio(time: Time) -> str:
    """Return the median of the ratios, with the spread of those of the rounds."""
    return f"{time.ratio:.2f} ({time.ratio_p10:.2f} to {time.ratio_p90:.2f})"


def _floor(db: float) -> str:
    """Limit a level to the resolution of 16 bits, 100 dB below a tone near full scale."""
    return f"{db:.0f}" if db > -110 else "≤ -110"


def machine() -> str:
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {platform.system()}, CPython {platform.python_version()}"


def versions(resamplers: dict[Pair, list[tuple[Contender, Quality, Time]]]) -> str:
    from getstream.plugins.gemini import _core
    from getstream.plugins.gemini.audio import Resampler

    kernel = Resampler(48000, 16000).kernel
    found = {f"this package {_core.__version__} ({kernel} kernel)": None}
    for rows in resamplers.values():
        found |= {f"{row[0].package} {row[0].version}": None for row in rows}
    found |= {f"numpy {importlib.metadata.version('numpy')}": None}
    return ", ".join(found)


# --- The chart ------------------------------------------------------------------------------------

WIDTH, PANEL, LEFT, TOP = 900, 330, 70, 70
COLOURS = [(93.0, "#1a7f5a"), (85.0, "#2f6fb2"), (60.0, "#b7791f"), (-math.inf, "#b3372f")]

# The plain colour is an attribute, for renderers that know no custom properties.
SOFT = 'class="soft" fill="#8795a1"'
GRID = 'class="grid" stroke="#e1e6eb"'
LEADER = 'class="leader" stroke="#8795a1"'


def _fidelity(quality: Quality) -> float:
    """Return the worse of SINAD and image rejection, in dB."""
    return min(quality.sinad, -quality.rejection)


def picture(resamplers: dict[Pair, list[tuple[Contender, Quality, Time]]]) -> str:
    """Draw speed against delay, one panel per pair of rates; the colour is the quality."""
    height = TOP + len(resamplers) * (PANEL + 70) + 20
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" fill="#1f2933" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" font-family="system-ui, sans-serif" font-size="12"'
        ' role="img">',
        "<title>Resamplers: cost of a 20 ms frame against latency, coloured by quality</title>",
        "<style>svg{--ink:#1f2933;--soft:#8795a1;--grid:#e1e6eb;--paper:#fff}"
        "@media(prefers-color-scheme:dark){svg{--ink:#e4e8ec;--soft:#8795a1;--grid:#303a44;"
        "--paper:#15191e}}text{fill:var(--ink)}.soft{fill:var(--soft)}.paper{fill:var(--paper)}"
        ".grid{stroke:var(--grid)}.leader{stroke:var(--soft);stroke-width:.7}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="26" font-size="16" font-weight="600">Resampling one frame of 20 ms'
        " through Python: left is sooner, down is cheaper</text>",
    ]
    x = LEFT
    labels = ["from 93 dB", "from 85 dB", "from 60 dB", "below 60 dB"]
    out.append(f'<text x="{x}" y="49" {SOFT}>worse of SINAD and rejection:</text>')
    x += 180
    for (_, colour), label in zip(COLOURS, labels, strict=True):
        out.append(f'<circle cx="{x + 5}" cy="45" r="5" fill="{colour}"/>')
        out.append(f'<text x="{x + 15}" y="49" {SOFT}>{label}</text>')
        x += 110
    for index, (pair, rows) in enumerate(resamplers.items()):
        out += _panel(TOP + index * (PANEL + 70), pair, rows)
    out.append("</svg>")
    return "\n".join(out) + "\n"


def _panel(top: float, pair: Pair, rows: list[tuple[Contender, Quality, Time]]) -> list[str]:
    x_of = _log_axis(0.5, 100.0, LEFT, WIDTH - 210)
    y_of = _log_axis(0.5, 300.0, top + PANEL, top + 20)
    title = f"{pair[0] / 1000:g} to {pair[1] / 1000:g} kHz"
    out = [f'<text x="{LEFT}" y="{top + 8}" font-weight="600">{title}</text>']
    for value in (0.5, 1, 2, 5, 10, 20, 50, 100):
        x = x_of(value)
        out.append(f'<line {GRID} x1="{x:.1f}" y1="{top + 20}" x2="{x:.1f}" y2="{top + PANEL}"/>')
        label = "≤ 0.5" if value == 0.5 else f"{value:g}"
        out.append(
            f'<text {SOFT} x="{x:.1f}" y="{top + PANEL + 16}" text-anchor="middle">{label}</text>'
        )
    for value in (0.5, 1, 2, 5, 10, 20, 50, 100, 200):
        y = y_of(value)
        out.append(f'<line {GRID} x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - 210}" y2="{y:.1f}"/>')
        out.append(
            f'<text {SOFT} x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    out.append(
        f'<text {SOFT} x="{(LEFT + WIDTH - 210) / 2}" y="{top + PANEL + 34}"'
        ' text-anchor="middle">latency, ms</text>'
    )
    out.append(
        f'<text {SOFT} transform="rotate(-90 {LEFT - 44} {top + PANEL / 2})" x="{LEFT - 44}"'
        f' y="{top + PANEL / 2}" text-anchor="middle">µs for 20 ms</text>'
    )
    marks = sorted(
        (y_of(time.p10), x_of(abs(quality.latency_ms)), contender.name, _fidelity(quality))
        for contender, quality, time in rows
    )
    # Labels in one column at the right, in the order of their marks, never over each other.
    label_y = -math.inf
    for y, x, name, fidelity in marks:
        label_y = max(label_y + 16, y)
        colour = next(colour for least, colour in COLOURS if fidelity >= least)
        weight = ' font-weight="600"' if name == OURS else ""
        radius = 7 if name == OURS else 5
        out.append(f'<path {LEADER} fill="none" d="M{x:.1f} {y:.1f}L{WIDTH - 208} {label_y:.1f}"/>')
        out.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"><title>'
            f"{escape(name)}: {fidelity:.0f} dB</title></circle>"
        )
        out.append(f'<text x="{WIDTH - 203}" y="{label_y + 4:.1f}"{weight}>{escape(name)}</text>')
    return out


def _log_axis(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    scale = (end - start) / math.log(high / low)
    return lambda value: start + math.log(min(max(value, low), high) / low) * scale
