"""The look of the picture: colours, sizes, and the style sheet made of them."""

from __future__ import annotations

from typing import Final

from .model import Theme

# name: (light, dark). Every text colour has a contrast of at least 4.5 on its background (WCAG AA).
PALETTE: Final[dict[str, tuple[str, str]]] = {
    "bg": ("#ffffff", "#10151c"),
    "lane": ("#f4f6f9", "#18202a"),
    "grid": ("#dbe1e8", "#2c3744"),
    "ink": ("#17202b", "#e8edf3"),
    "muted": ("#596677", "#9aa7b6"),
    "unheard": ("#6b7686", "#8c98a8"),
    "person": ("#0b7a75", "#3ccfc4"),
    "assistant": ("#5b4bd6", "#a599ff"),
    "interrupted": ("#c81e3a", "#ff6b81"),
    "duck": ("#9a5800", "#f5b14c"),
    "pause": ("#47566b", "#b6c2d1"),
    "resume": ("#147a3b", "#5fd38a"),
    "underrun": ("#a81592", "#f58be0"),
}
STRUCK: Final = frozenset({"unheard"})
"""Colours of text that is struck out."""

EVENT_COLOURS: Final = {
    **{kind: kind for kind in ("interrupted", "duck", "pause", "resume", "underrun")},
    "resumed": "resume",
}
FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', Arial, sans-serif"

MARGIN: Final = 24
GUTTER: Final = 84  # from the margin to the plot: name of the track and dBFS scale
TEXT_SIZE: Final = 12.0  # transcripts
SMALL_SIZE: Final = 10.5  # pills, axis, scales
LINE_HEIGHT: Final = 15.0  # line height of transcripts
PILL_HEIGHT: Final = 17.0  # row height of marks and latencies
GAP: Final = 6.0  # least distance between two labels
MAX_MARK_ROWS: Final = 4
MAX_TURN_ROWS: Final = 4
MAX_LEGEND_KINDS: Final = 10
GAIN_FLOOR_DB: Final = -40.0
PEAK_OPACITY: Final = 0.4


def style_sheet(theme: Theme) -> str:
    """Return the style sheet, every rule scoped: inside HTML it applies to the whole page."""

    def variables(shade: int) -> str:
        return ";".join(f"--gsg-{name}:{pair[shade]}" for name, pair in PALETTE.items())

    rules = [
        ".gsg-timeline{max-width:100%;height:auto;fill:var(--gsg-ink)}",
        f".gsg-{theme}{{{variables(1 if theme == 'dark' else 0)}}}",
    ]
    if theme == "auto":
        rules.append(f"@media (prefers-color-scheme:dark){{.gsg-auto{{{variables(1)}}}}}")
    for name in PALETTE:
        rules.append(f".gsg-timeline .gsg-f-{name}{{fill:var(--gsg-{name})}}")
        rules.append(f".gsg-timeline .gsg-s-{name}{{stroke:var(--gsg-{name})}}")
    return "\n".join(rules)
