#!/usr/bin/env python3
"""Measure the cost of a session: CPU, lateness, memory, and the time to reconnect.

    python benches/session.py [--quick] [--only PART,...] [--results DIR]

Prints Markdown tables, and writes them to `session.md`, and a chart to `session.svg`: a whole run
(seven minutes) with `PUBLISH=1` to `benches/results`, otherwise to `target/bench-results`. A quick
run takes two minutes. Needs Linux.

A contender is a process of its own: its CPU is all that it uses, by `time.process_time`, the
kernel's share for its sockets included. The service is another process, the connection is TLS on
loopback, and the SDK's own path gets the websocket options of this package, which favour it.

Contenders run at the same time, and are compared within the same windows: a ratio is the median of
the ratios of all windows, with the least and the greatest one. The floor takes part twice. Its
ratio to itself is the control: where that is not near 1 (see `session_cost/windows.py`), or the
machine has no CPU to spare, the table says that it is not to be trusted.

Parts:

* `wire`: one frame of 20 ms to the service, and one message with 40 ms of speech from it. The floor
  is the websocket alone: `send` of a ready frame, `recv` of a message that is not parsed.
  Contenders are in one process and take turns of some milliseconds; a window is five rounds.
  Each frame is sent in a turn of the event loop of its own; an empty turn is subtracted from all.
  Every eighth message is followed by one with a word of the transcript, which is counted in. The
  cost of this package without its voice activity detector, which the SDK lacks, is its cost less
  that of the detector alone in the same window.
* `paced`: sessions in real time, each with 50 frames and 25 messages per second. 20 of each
  contender at the same time; and 50 and 100 of one contender, in turns, because all of them at once
  would need more than the machine has. Lateness is from the time of a frame to its arrival at the
  service.
* `call`: whole calls through both local servers and the real Stream SDK, all at the same time. A
  window is a round of six seconds: the model speaks for 3.5 s and the person for 1.6 s.
* `reconnect`: the connection ends in the middle of a reply that is being played, and again in the
  middle of a person's speech.
* `memory`: memory of a session, and its growth.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import time
from contextlib import AsyncExitStack
from typing import Any

from command_line import parser_of, parts_of, publish, results_folder, versions
from programs import Program
from progress import Progress
from report import machine
from session_cost import call, reconnect, tables
from session_cost.picture import picture
from session_cost.windows import MachineLoad

PACKAGES = ("getstream-plugins-gemini", "getstream", "google-genai", "websockets", "numpy")
PARTS = {"wire": 60.0, "paced": 120.0, "call": 90.0, "reconnect": 60.0, "memory": 60.0}
"""Parts, with the seconds that each takes, roughly: for the time that is left."""

TOGETHER = ("driver", "floor", "ours", "sdk", "floor again")
TOGETHER_COUNT = 20
IN_TURNS = ("floor", "ours", "sdk")
IN_TURNS_COUNTS = (50, 100)
OFFSET_S = 0.0002
"""Offset between the frames of one contender and those of the next one.

It is a fifth of the millisecond between the sessions of one, so that no two wake up together."""

ONE_CORE = 0.95
"""Greatest predicted share of a core: a larger run is skipped."""


class Plan:
    """Extent of the measurement."""

    def __init__(self, quick: bool) -> None:
        self.windows = 4 if quick else 12
        self.seconds = 2.0 if quick else 4.0
        self.counts = IN_TURNS_COUNTS[:1] if quick else IN_TURNS_COUNTS
        self.repeats = 1 if quick else 4
        self.alone_seconds = 2.0
        self.trials = 1 if quick else 8
        self.sessions = 10 if quick else 50
        self.turns = 300 if quick else 2000


async def measure_wire(plan: Plan, env: dict[str, str], progress: Progress) -> dict[str, Any]:
    """Measure frames and messages one by one."""
    found = {}
    async with Program("session_cost.wire", str(plan.windows), env=env) as program:
        names = ("sending", "receiving", "receiving alone")
        for name in names:
            load = MachineLoad()
            times = (await program.wait_report(name, timeout=180))["times"]
            found[name] = {"times": times, "busy": load.busy()}
            progress.done("wire", 1 / len(names), name)
    return found


async def measure_paced(plan: Plan, env: dict[str, str], progress: Progress) -> dict[str, Any]:
    """Measure sessions in real time: all contenders at once, then larger numbers in turns."""
    async with AsyncExitStack() as stack:
        programs = {}
        for who in TOGETHER:
            most = max(plan.counts) if who in IN_TURNS else TOGETHER_COUNT
            programs[who] = Program("session_cost.paced", who, str(most), env=env)
            await stack.enter_async_context(programs[who])
            await programs[who].wait_report("ready", timeout=120)
        load = MachineLoad()
        start, length = time.monotonic() + 0.5, plan.windows * plan.seconds
        asked = [
            program.ask(
                "ran",
                timeout=length + 60,
                do="run",
                sessions=TOGETHER_COUNT,
                start=start,
                offset=number * OFFSET_S,
                windows=plan.windows,
                seconds=plan.seconds,
            )
            for number, program in enumerate(programs.values())
        ]
        ran = await asyncio.gather(*asked)
        busy = load.busy()
        progress.done("paced", 0.5, f"{TOGETHER_COUNT} sessions of each")
        found: dict[str, Any] = {
            "together": dict(zip(TOGETHER, ran, strict=True)),
            "busy": busy,
            "seconds": plan.seconds,
            "in turns": {},
            "alone seconds": plan.alone_seconds,
        }
        for sessions in plan.counts:
            runs: dict[str, list[dict[str, Any]]] = {who: [] for who in IN_TURNS}
            for _ in range(plan.repeats):
                for who in IN_TURNS:
                    share = min(found["together"][who]["shares"])
                    if share * sessions <= ONE_CORE:
                        runs[who].append(
                            await run_alone(programs[who], sessions, plan.alone_seconds)
                        )
            found["in turns"][sessions] = runs
            progress.done("paced", 0.5 / len(plan.counts), f"{sessions} sessions")
    return found


async def run_alone(program: Program, sessions: int, seconds: float) -> dict[str, Any]:
    """Run sessions of one contender for one window."""
    start = time.monotonic() + 0.3
    command = {"sessions": sessions, "start": start, "windows": 1, "seconds": seconds}
    return await program.ask("ran", do="run", offset=0.0, **command)


async def measure_calls(plan: Plan, progress: Progress) -> dict[str, Any]:
    """Measure whole calls."""
    found = await call.measure(plan.windows)
    progress.done("call", 1.0, "calls")
    return found


async def measure_reconnect(plan: Plan, progress: Progress) -> list[reconnect.Trial]:
    """End connections, and measure the time and audio lost."""
    async with Program("session_cost.reconnect") as program:
        kinds = [kind for _ in range(plan.trials) for kind in reconnect.KINDS]
        found = await reconnect.Trials(program).run(kinds, at_once=8)
    progress.done("reconnect", 1.0, "reconnect")
    return found


async def measure_memory(plan: Plan, env: dict[str, str], progress: Progress) -> dict[str, Any]:
    """Measure the memory of sessions."""
    found: dict[str, Any] = {}
    for who in ("sdk", "ours", "sdk shared", "ours shared"):
        async with Program("session_cost.memory", who, str(plan.sessions), env=env) as program:
            found[who] = (await program.wait_report("idle", timeout=120))["bytes"]
            if who.startswith("ours"):
                found[f"{who}, queued"] = (await program.wait_report("queued"))["bytes"]
        progress.done("memory", 0.15, f"memory, {who}")
    async with Program("session_cost.memory", "turns", str(plan.turns), env=env) as program:
        found["turns"] = await program.wait_report("turns", timeout=180)
    progress.done("memory", 0.4, "memory, turns")
    return found


async def measure(plan: Plan, parts: list[str]) -> dict[str, Any]:
    """Measure the parts, one after the other."""
    found: dict[str, Any] = {}
    progress = Progress({part: PARTS[part] for part in parts})
    async with Program("session_cost.service") as service:
        env = {**os.environ, **(await service.wait_report("ready"))["env"]}
        if "wire" in parts:
            found["wire"] = await measure_wire(plan, env, progress)
        if "paced" in parts:
            found["paced"] = await measure_paced(plan, env, progress)
        if "memory" in parts:
            found["memory"] = await measure_memory(plan, env, progress)
    if "call" in parts:
        found["call"] = await measure_calls(plan, progress)
    if "reconnect" in parts:
        found["reconnect"] = await measure_reconnect(plan, progress)
    return found


def head(seconds: float, load: float) -> list[str]:
    """Return the lines before the tables."""
    return [
        "# What a session costs",
        "",
        f"{datetime.date.today()}, {machine()}, {os.cpu_count()} cores; {seconds / 60:.0f} "
        f"minutes. The load average before it was {load:.1f}. {versions(PACKAGES)}.",
        "",
        "“Ours” is this package. “SDK” is google-genai by its own methods, with the resampler of "
        "this package. “Floor” is the SDK's websocket alone. Over TLS on loopback, with the "
        "service in another process. A ratio is the median of the ratios within the same windows, "
        "with the least and the greatest one; the control is the floor beside itself.",
        "",
    ]


def main() -> None:
    parser = parser_of(__doc__, [*PARTS])
    parser.add_argument("--quick", action="store_true", help="little of everything")
    options = parser.parse_args()
    parts = parts_of(parser, options.only, [*PARTS])
    whole = not (options.only or options.quick)

    os.environ.pop("GEMINI_API_KEY", None)  # a second key would only make the SDK warn
    began, load = time.monotonic(), os.getloadavg()[0]
    found = asyncio.run(measure(Plan(options.quick), parts))
    lines = head(time.monotonic() - began, load) + tables.all_of(found)
    lines.append("How it is measured: `benches/session.py`. Run it yourself: `make bench-session`.")
    drawing = picture(found) if set(parts) >= {"wire", "paced", "call"} else ""
    publish(lines, drawing, "session", results_folder(options.results, whole))


if __name__ == "__main__":
    main()
