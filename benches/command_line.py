"""Parse arguments and write results of the benchmarks with a command line."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from pathlib import Path

PUBLISHED = Path(__file__).parent / "results"
"""Folder of the committed results, which README and docs quote."""

SCRATCH = Path(__file__).parent.parent / "target" / "bench-results"
"""Folder of everybody's own results."""


def results_folder(chosen: Path | None, whole: bool = True) -> Path:
    """Return the folder for the results of a run.

    It is the one that was chosen, `PUBLISHED` for a whole run with `PUBLISH=1` in the environment,
    otherwise `SCRATCH`: a part of a run never takes the place of published results.
    """
    if chosen is not None:
        return chosen
    if os.environ.get("PUBLISH") != "1":
        return SCRATCH
    if not whole:
        print("PUBLISH=1 has no effect on a part of a run", file=sys.stderr)
        return SCRATCH
    return PUBLISHED


def parser_of(description: str | None, parts: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser with the common options `--only` and `--results`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help=f"separated by commas: {', '.join(parts)}")
    parser.add_argument(
        "--results", type=Path, help=f"folder for the tables and the picture; without it {SCRATCH}"
    )
    return parser


def parts_of(parser: argparse.ArgumentParser, only: str, parts: Sequence[str]) -> list[str]:
    """Return the parts that `--only` names, all of them if it names none.

    Ends the program with the parser's message if one of them does not exist.
    """
    chosen = only.split(",") if only else list(parts)
    if unknown := sorted(set(chosen) - set(parts)):
        parser.error(f"there is no part {', '.join(unknown)}; there is {', '.join(parts)}")
    return chosen


def publish(lines: Sequence[str], drawing: str, name: str, folder: Path) -> None:
    """Print the report, and write it to `<name>.md` and the drawing to `<name>.svg`.

    Args:
        lines: The report, as Markdown.
        drawing: The chart as SVG; not written if it is empty.
        name: Name of the files, without suffix.
        folder: Folder for the files, see `results_folder`.
    """
    text = "\n".join(lines) + "\n"
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    if drawing:
        (folder / f"{name}.svg").write_text(drawing, encoding="utf-8")
    print(f"written to {folder / name}.md", file=sys.stderr)


def versions(packages: Sequence[str]) -> str:
    """Return the names and versions of installed distributions."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table whose first column is text and whose others are numbers."""
    return [
        "| " + " | ".join(head) + " |",
        "|---|" + "---:|" * (len(head) - 1),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]
