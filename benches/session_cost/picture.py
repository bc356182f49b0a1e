"""Draw the cost of each path beside the floor and the SDK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from .tables import BARE, net, percent

WIDTH, LEFT, RIGHT = 900, 330, 90
ROW, BAR, GAP, TOP = 26, 16, 44, 60
OURS, FLOOR, OTHER = "#1a7f5a", "#8795a1", "#b7791f"
SOFT = 'class="soft" fill="#8795a1"'

Row = tuple[str, float, str]
"""Row of a chart: a label, a value, and a colour."""


def picture(found: Mapping[str, Any]) -> str:
    """Return four panels of bars as SVG; needs the parts `wire`, `paced` and `call`."""
    sending, receiving = (net(found["wire"][name]["times"]) for name in ("sending", "receiving"))
    panels: list[tuple[str, str, list[Row]]] = [
        (
            "One frame of 20 ms to the service",
            "µs",
            [
                ("floor: a frame that is ready", _mid(sending["floor"]), FLOOR),
                ("this package, less the detector", _mid(sending[BARE]), OURS),
                ("this package, with the detector", _mid(sending["ours"]), OURS),
                ("google-genai, same resampler", _mid(sending["sdk resampled"]), OTHER),
            ],
        ),
        (
            "One message with 40 ms of speech",
            "µs",
            [
                ("floor: a message that nobody reads in", _mid(receiving["floor"]), FLOOR),
                ("this package, into playback", _mid(receiving["ours"]), OURS),
                ("google-genai", _mid(receiving["sdk"]), OTHER),
            ],
        ),
        _sessions(found["paced"]),
        (
            "A whole call, the assistant's process",
            "% of a core",
            [
                ("a handler that does nothing, ready frames", _call(found, "ready"), FLOOR),
                ("this package, with the detector", _call(found, "ours"), OURS),
                ("plain wiring of the two SDKs", _call(found, "plain"), OTHER),
            ],
        ),
    ]
    return chart(
        "CPU of a session: this package beside the floor and the SDK",
        "CPU of a session: shorter is cheaper",
        panels,
    )


def chart(title: str, heading: str, panels: Sequence[tuple[str, str, Sequence[Row]]]) -> str:
    """Return panels of bars, one below the other, as SVG.

    Args:
        title: for those who do not see it.
        heading: above the panels.
        panels: each with its title, the unit and its rows.
    """
    height = TOP + sum(GAP + ROW * len(rows) for _, _, rows in panels) + 10
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" fill="#1f2933" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" font-family="system-ui, sans-serif" font-size="12"'
        ' role="img">',
        f"<title>{escape(title)}</title>",
        "<style>svg{--ink:#1f2933;--soft:#8795a1;--paper:#fff}"
        "@media(prefers-color-scheme:dark){svg{--ink:#e4e8ec;--soft:#8795a1;--paper:#15191e}}"
        "text{fill:var(--ink)}.soft{fill:var(--soft)}.paper{fill:var(--paper)}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="24" y="30" font-size="16" font-weight="600">{escape(heading)}</text>',
    ]
    top = TOP
    for title, unit, rows in panels:
        out += _panel(top, title, unit, rows)
        top += GAP + ROW * len(rows)
    return "\n".join([*out, "</svg>"]) + "\n"


def _panel(top: int, title: str, unit: str, rows: Sequence[Row]) -> list[str]:
    scale = (WIDTH - LEFT - RIGHT) / max(value for _, value, _ in rows)
    out = [
        f'<text x="24" y="{top + 8}" font-weight="600">{escape(title)}'
        f'<tspan {SOFT} font-weight="400">, {escape(unit)}</tspan></text>'
    ]
    for number, (label, value, colour) in enumerate(rows):
        y = top + 20 + number * ROW
        weight = ' font-weight="600"' if colour == OURS else ""
        length = max(1.0, value * scale)
        text = f"{value:.1f}" if value >= 3 else f"{value:.2f}"
        out += [
            f'<text x="{LEFT - 12}" y="{y + 12}" text-anchor="end"{weight}>{escape(label)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"'
            f' fill="{colour}"/>',
            f'<text x="{LEFT + length + 8:.1f}" y="{y + 12}"{weight}>{text}</text>',
        ]
    return out


def _sessions(found: Mapping[str, Any]) -> tuple[str, str, list[Row]]:
    names = (
        ("floor", "floor: the websocket alone", FLOOR),
        ("ours", "this package, with the detector", OURS),
        ("sdk", "google-genai, same resampler", OTHER),
    )
    together = found["together"]
    rows = [(label, percent(together[who]["shares"]), colour) for who, label, colour in names]
    count = together["floor"]["sessions"]
    return f"One of {count} sessions in real time", "% of a core", rows


def _call(found: Mapping[str, Any], kind: str) -> float:
    return percent(found["call"]["shares"][kind])


def _mid(values: Any) -> float:
    return float(np.median(values))
