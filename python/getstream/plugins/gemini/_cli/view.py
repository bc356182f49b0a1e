"""Command `report`: one HTML file of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..recording import read_recording
from ..recording.page import summary_lines, write_page

__all__ = ["REPORT_FILE", "ReportOptions", "run_report"]

REPORT_FILE = "report.html"
"""Name of the page, in the folder of its recording, unless another one is given."""


@dataclass(frozen=True)
class ReportOptions:
    """Options of the command `report`.

    Attributes:
        folder: the recording.
        out: the file to write; None for `REPORT_FILE` in the folder of the recording.
    """

    folder: Path
    out: Path | None = None


def run_report(options: ReportOptions) -> int:
    """Write the page of a recording, and print its figures and where it is.

    Returns:
        0.

    Raises:
        ConfigError: there is no recording, or the page cannot be written.
    """
    target = options.folder / REPORT_FILE if options.out is None else options.out
    analysis = write_page(read_recording(options.folder), target)
    print("\n".join(summary_lines(analysis)))
    print(f"\n  {target}  ({target.stat().st_size / 1e6:.1f} MB; open it in a browser)")
    return 0
