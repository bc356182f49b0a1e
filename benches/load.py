#!/usr/bin/env python3
"""Measure how many calls one process of a fleet carries: growth from 2 calls until it is lost.

    python benches/load.py [--quick] [--calls 2:40] [--serve COMMAND] [--results DIR]

Runs the load generator (`python -m getstream.plugins.gemini.testing load`) against
`getstream-gemini serve` in one process, with the assistant of `load_assistant.py`. Prints the
table, and writes `load.md`, `load.json` and `load.svg`: a whole run with `PUBLISH=1` to
`benches/results`, otherwise to `target/bench-results`. It takes five minutes at most. Needs Linux,
and a machine on which nothing else runs.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import shlex
import shutil
import sys
from pathlib import Path

from command_line import publish, results_folder, versions
from getstream.plugins.gemini.testing._load.command import (
    LoadOptions,
    LoadResult,
    machine,
    markdown_table,
    run_load,
)
from getstream.plugins.gemini.testing._load.plan import parse_calls
from programs import with_benches

PACKAGES = ("getstream-plugins-gemini", "getstream", "google-genai", "websockets", "numpy")
WHOLE = "2:40"
QUICK = "2:6"
QUICK_S = 8.0
SERVE = ("-m", "getstream.plugins.gemini", "serve", "load_assistant:assistant", "--port", "0")
SCRATCH = Path(__file__).parent.parent / "target" / "load"


def page(result: LoadResult, load: float) -> list[str]:
    """Return the lines of `load.md`."""
    options = result.options
    return [
        "# What a fleet carries",
        "",
        f"{datetime.date.today()}, {machine()}; {result.seconds:.0f} seconds. The load "
        f"average before it was {load:.1f}. {versions(PACKAGES)}.",
        "",
        "**The fleet and the generator share the cores of this machine.** The fleet is `serve` in "
        "one process, which uses one core at most and takes no call beyond three quarters of it. "
        "The local servers and all people are three processes more, whose CPU is in the column "
        "“generator” and in no other. People ask, hear the answer (3 s), think, and ask again; "
        f"each step is measured for {options.seconds:g} s.",
        "",
        *markdown_table(result.steps, options.bounds),
        *[f"{line}\n" for line in result.lines()],
        "“late” is the lateness of frames of 20 ms as people receive them, beside the least "
        "delayed of the last two seconds; “gaps” are more than 60 ms between two of them, for each "
        "minute of a call. “answer” is from the last word of a question to the first sound of its "
        "answer; "
        "“of it the service” is the silence that the local Gemini server waits for. “joined” is "
        "from the webhook to the first frame.",
        "",
        "How it is measured: `benches/load.py`. Run it yourself: `make bench-load`.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two short steps")
    parser.add_argument("--calls", default="", help=f"FIRST:LAST[:STEP]; without it {WHOLE}")
    parser.add_argument("--serve", default="", help="command that starts another fleet")
    parser.add_argument("--results", type=Path, help="folder for the results")
    options = parser.parse_args()

    whole = not (options.quick or options.calls or options.serve)
    os.environ["PYTHONPATH"] = with_benches()["PYTHONPATH"]
    load = os.getloadavg()[0]
    calls = options.calls or (QUICK if options.quick else WHOLE)
    plan = LoadOptions(
        serve=options.serve or shlex.join([sys.executable, *SERVE]),
        calls=tuple(parse_calls(calls)),
        out=SCRATCH,
        **({"seconds": QUICK_S} if options.quick else {}),
    )
    result = asyncio.run(run_load(plan, show=lambda line: print(line, flush=True)))
    result.write()
    folder = results_folder(options.results, whole)
    publish(page(result, load), result.drawing(), "load", folder)
    shutil.copyfile(SCRATCH / "load.json", folder / "load.json")


if __name__ == "__main__":
    main()
