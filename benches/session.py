#!/usr/bin/env python3
"""What a session costs: CPU, lateness, memory, and the time that a lost connection takes.

    python benches/session.py [--quick] [--only PART,...] [--results DIR]

Prints Markdown tables. A whole run (nine minutes) writes them to `benches/results/session.md`, and
a picture to `session.svg`; a part of one, or a quick one (two minutes), writes only with
`--results`. Needs Linux.

What is measured is a process of its own: its CPU is all that it uses, by `time.process_time`, the
kernel's share for its sockets included. The service is another process, the connection is TLS on
loopback, and the SDK's own path gets the websocket options of this package, which favour it. A
ratio is the median of the ratios within each round.

Parts:

* `wire`: one frame of 20 ms to the service, and one message with 40 ms of speech from it. The floor
  is the websocket alone: `send` of a frame that is ready, `recv` of a message that nobody reads in.
  Each frame is sent in a turn of the event loop of its own; an empty turn is subtracted from all.
  Every eighth message is followed by one with a word of the transcript, which is counted in.
* `paced`: 20 to 200 sessions in real time in one process, each with 50 frames and 25 messages per
  second. Lateness is from the time of a frame to its arrival at the service.
* `call`: a whole call through both local servers and the real Stream SDK. In each round of six
  seconds the model speaks for 3.5 s and the person for 1.6 s.
* `reconnect`: the connection ends in the middle of a reply that is being played, and again in the
  middle of what a person says.
* `memory`: what a session holds, and whether that grows.

"Without the detector" leaves the network of the voice activity detector out, and nothing else: the
SDK has none either.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import importlib.metadata
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from report import machine
from session_cost import call, reconnect, tables
from session_cost.picture import picture
from session_cost.program import Program

HERE = Path(__file__).parent
PACKAGES = ("getstream-plugins-gemini", "getstream", "google-genai", "websockets", "numpy")
PARTS = ("wire", "paced", "call", "reconnect", "memory")

COUNTS = (20, 50, 100, 200)
PACED = ("driver", "floor", "ours", "ours with detector", "sdk")
ONE_CORE = 0.95
"""Of a core: what is predicted to take more is not run."""


class Plan:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.rounds = 8 if quick else 30
        self.counts = COUNTS[:1] if quick else COUNTS
        self.seconds = 2.0 if quick else 4.0
        self.repeats = 1 if quick else 2
        self.calls = 1 if quick else 3
        self.call_seconds = 6.0 if quick else 12.0
        self.trials = 1 if quick else 8
        self.sessions = 10 if quick else 50
        self.turns = 300 if quick else 2000


def progress(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


async def measure_wire(plan: Plan, env: dict[str, str]) -> dict[str, Any]:
    found = {}
    async with Program("wire", str(plan.rounds), env=env) as program:
        for name in ("sending", "receiving", "receiving alone"):
            found[name] = (await program.wait_report(name, timeout=180))["times"]
            progress(name)
    return found


async def measure_paced(plan: Plan, env: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Each contender is a process that waits while another one is measured."""
    found: dict[str, list[dict[str, Any]]] = {who: [] for who in PACED}
    programs = {who: Program("paced", who, str(max(plan.counts)), env=env) for who in PACED}
    async with AsyncExitStack() as stack:
        for program in programs.values():
            await stack.enter_async_context(program)
            await program.wait_report("ready", timeout=120)
        for sessions in plan.counts * plan.repeats:
            for who, program in programs.items():
                shares = [run["share"] for run in found[who]]
                if shares and min(shares) * sessions > ONE_CORE:
                    continue
                seconds = plan.seconds
                run = await program.ask("ran", do="run", sessions=sessions, seconds=seconds)
                found[who].append(run)
            progress(f"{sessions} sessions")
    return found


async def measure_calls(plan: Plan) -> list[dict[str, dict[str, Any]]]:
    found = []
    for number in range(plan.calls):
        found.append({kind: await call.measure(kind, plan.call_seconds) for kind in call.KINDS})
        progress(f"calls {number + 1}")
    return found


async def measure_reconnect(plan: Plan) -> list[reconnect.Trial]:
    async with Program("reconnect") as program:
        kinds = [kind for _ in range(plan.trials) for kind in reconnect.KINDS]
        found = await reconnect.Trials(program).run(kinds, at_once=8)
    progress("reconnect")
    return found


async def measure_memory(plan: Plan, env: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for who in ("sdk", "ours", "sdk shared", "ours shared"):
        async with Program("memory", who, str(plan.sessions), env=env) as program:
            found[who] = (await program.wait_report("idle", timeout=120))["bytes"]
            if who.startswith("ours"):
                found[f"{who}, queued"] = (await program.wait_report("queued"))["bytes"]
        progress(f"memory, {who}")
    async with Program("memory", "turns", str(plan.turns), env=env) as program:
        found["turns"] = await program.wait_report("turns", timeout=180)
    progress("memory, turns")
    return found


async def measure(plan: Plan, parts: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async with Program("service") as service:
        env = {**os.environ, **(await service.wait_report("ready"))["env"]}
        if "wire" in parts:
            found["wire"] = await measure_wire(plan, env)
        if "paced" in parts:
            found["paced"] = await measure_paced(plan, env)
        if "memory" in parts:
            found["memory"] = await measure_memory(plan, env)
    if "call" in parts:
        found["call"] = await measure_calls(plan)
    if "reconnect" in parts:
        found["reconnect"] = await measure_reconnect(plan)
    return found


def head(seconds: float, load: float) -> list[str]:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return [
        "# What a session costs",
        "",
        f"{datetime.date.today()}, {machine()}, {os.cpu_count()} cores; {seconds / 60:.0f} "
        f"minutes. The load average before it was {load:.1f}. {versions}.",
        "",
        "“Ours” is this package. “SDK” is google-genai by its own methods, with the resampler of "
        "this package. “Floor” is the SDK's websocket alone. All are measured in turns, in one "
        "run, over TLS on loopback, with the service in another process.",
        "",
    ]


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", default="", help=f"parts, separated by commas: {', '.join(PARTS)}")
    add("--quick", action="store_true", help="little of everything")
    add("--results", type=Path, help="folder for the tables and the picture")
    options = parser.parse_args()
    parts = options.only.split(",") if options.only else list(PARTS)
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"there is no part {', '.join(unknown)}; there is {', '.join(PARTS)}")
    whole = not (options.only or options.quick)
    folder = options.results or (HERE / "results" if whole else None)

    os.environ.pop("GEMINI_API_KEY", None)  # a second key would only make the SDK warn
    began, load = time.monotonic(), os.getloadavg()[0]
    found = asyncio.run(measure(Plan(options.quick), parts))
    lines = head(time.monotonic() - began, load) + tables.all_of(found)
    lines.append("How it is measured: `benches/session.py`. Run it yourself: `make bench-session`.")
    text = "\n".join(lines) + "\n"
    print(text)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "session.md").write_text(text, encoding="utf-8")
        if set(parts) >= {"wire", "paced", "call"}:
            (folder / "session.svg").write_text(picture(found), encoding="utf-8")


if __name__ == "__main__":
    main()
