#!/usr/bin/env python3
"""Measure what importing this package costs: CPU time and memory.

    python benches/import_cost.py [--runs N] [--results DIR]

Prints a Markdown table, and writes it to `import.md`: with `PUBLISH=1` and the default number of
runs to `benches/results`, otherwise to `target/bench-results`. Takes two minutes. Needs Linux.

Each import is a process of its own, with bytecode and files in the caches: one run before is not
counted. Time is the CPU time of the import statement, because that of the clock depends on what
else the machine does; memory is the growth of the process's resident pages (`VmRSS`). Each row is
what that line needs from a bare interpreter, or after what the row says is there before; the runs
of the rows are in turns.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from command_line import publish, results_folder, table, versions
from progress import Progress
from report import machine

PACKAGES = ("getstream-plugins-gemini", "getstream", "google-genai", "numpy")
RUNS = 21

IMPORTS = (
    ("", "numpy"),
    ("", "getstream"),
    ("", "getstream.plugins.gemini.audio"),
    ("getstream", "getstream.plugins.gemini.audio"),
    ("", "getstream.video.rtc, google.genai"),
    ("", "getstream.plugins.gemini.live"),
    ("getstream.video.rtc, google.genai", "getstream.plugins.gemini.live"),
)
"""Modules that are there before, and modules that are imported, as import statements."""

PROGRAM = """
import json, time
{before}

def resident_kib():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

before, began = resident_kib(), time.process_time()
import {name}
took = time.process_time() - began
print(json.dumps([took * 1000, (resident_kib() - before) / 1024]))
"""


def import_once(before: str, name: str) -> tuple[float, float]:
    """Return the milliseconds and the MiB of one import in a new process."""
    program = PROGRAM.format(before=f"import {before}" if before else "", name=name)
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    milliseconds, mebibytes = json.loads(ran.stdout)
    return float(milliseconds), float(mebibytes)


def spread(values: list[float], digits: int) -> str:
    """Return the median, with the least and the greatest."""
    median, least, most = np.median(values), min(values), max(values)
    return f"{median:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=RUNS, help="of each import")
    parser.add_argument("--results", type=Path, help="folder for the table")
    arguments = parser.parse_args()
    progress = Progress({"runs": 1.0})
    found: dict[tuple[str, str], list[tuple[float, float]]] = {each: [] for each in IMPORTS}
    for run in range(arguments.runs + 1):
        for each, measured in found.items():
            one = import_once(*each)
            if run > 0:
                measured.append(one)
        progress.advance("runs", 1 / (arguments.runs + 1), f"run {run}")
    rows = [
        [
            f"`import {name}`" + (f", `{before}` there before" if before else ""),
            spread([milliseconds for milliseconds, _ in measured], 0),
            spread([mebibytes for _, mebibytes in measured], 1),
        ]
        for (before, name), measured in found.items()
    ]
    lines = [
        "# What importing costs",
        "",
        f"{datetime.date.today()}, {machine()}. {versions(PACKAGES)}.",
        "",
        f"The median of {arguments.runs} new processes each, with the least and the greatest; what "
        "a line imports is counted in.",
        "",
        *table(["", "CPU, ms", "MiB"], rows),
        "How it is measured: `benches/import_cost.py`. Run it yourself: `make bench-import`.",
    ]
    publish(lines, "", "import", results_folder(arguments.results, arguments.runs == RUNS))


if __name__ == "__main__":
    main()
