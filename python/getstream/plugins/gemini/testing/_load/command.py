"""The verb `load`: let a load grow step by step, and measure the fleet under it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..._terminal import one_line
from ...errors import ConfigError, GeminiError
from .fleet import FleetUnderTest
from .measure import MachineCpu, cpu_seconds, percentile
from .picture import picture
from .plan import (
    Bounds,
    Step,
    is_disturbed,
    judge,
    lost_level,
    parse_calls,
    saturation,
    verdict_lines,
)
from .processes import Program, base_environment

__all__ = ["LoadOptions", "LoadResult", "main", "run_load"]

ARRIVAL_S = 0.25
"""Time between two calls that are added: people do not all come in the same moment."""

HEARD_S = 30.0
"""Longest time from the webhooks of a step to the first frame of each assistant."""

SETTLE_S = 4.0
"""Time from then to the measurement: greetings are over, and first questions are under way."""

READY_S = 60.0
"""Longest time for a process of the generator to start; on a loaded machine it takes five."""

REPORT_S = 60.0
SAMPLE_S = 0.5
"""Time between two looks at the fleet; its workers report once a second."""

CALL_S = 1.0
"""Estimated seconds until the last call of a step is heard, for the time that is left."""

_DESCRIPTION = """\
Load a fleet with calls until its service level is lost, and measure what it
carries. The local servers and people who talk by script run in processes of
their own; the fleet is started by a command, and told of each call by signed
webhooks. Nothing needs a key or a network. Needs Linux.

DIR gets load.json (all figures), load.svg (the growth as a picture) and
fleet.log (what the fleet has printed)."""

_EPILOG = """\
examples:
  python -m getstream.plugins.gemini.testing load app:assistant --calls 2:40
  python -m getstream.plugins.gemini.testing load --calls 10:100:10 \\
      --serve "getstream-gemini serve app:assistant --workers 4"

The exit code is 0 if the service level held for --at-least calls (by default
those of the first step), 3 if it did not, 1 if nothing could be measured, 2 if
the command line is wrong, 130 after Ctrl-C."""


@dataclass(frozen=True)
class LoadOptions:
    """Options of the verb `load`.

    Attributes:
        serve: Command that starts the fleet, as in a shell; it prints `Serving on URL`.
        calls: Number of calls of each step, rising.
        seconds: Length of the measurement in each step.
        bounds: The service level.
        out: Folder for the files.
    """

    serve: str
    calls: tuple[int, ...]
    seconds: float = 20.0
    bounds: Bounds = field(default_factory=Bounds)
    out: Path = Path("load-out")


@dataclass(frozen=True)
class LoadResult:
    """Holds what a run has measured.

    Attributes:
        options: How it was run.
        steps: Figures of each step that was reached.
        person_cores: CPU of one person, in the step with the most calls.
        seconds: Length of the run.
    """

    options: LoadOptions
    steps: tuple[Step, ...]
    person_cores: float | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as values that fit in JSON."""
        bounds = self.options.bounds
        verdict = judge(self.steps, bounds)
        return {
            "version": 1,
            "date": datetime.date.today().isoformat(),
            "machine": machine(),
            "package": importlib.metadata.version("getstream-plugins-gemini"),
            "serve": self.options.serve.replace(sys.executable, "python"),
            "seconds": round(self.seconds, 1),
            "bounds": {
                "late_ms": bounds.late_ms,
                "answer_ms": bounds.answer_ms,
                "unanswered": bounds.unanswered,
            },
            "person_cores": self.person_cores,
            "carried": verdict.carried,
            "lost_at": verdict.lost_at,
            "lost_by": verdict.reasons,
            "saturated_at": verdict.saturated_at,
            "saturated_by": verdict.saturated_by,
            "steps": [step.to_dict() for step in self.steps],
        }

    def lines(self) -> list[str]:
        """Return the verdict in sentences."""
        bounds = self.options.bounds
        lines = verdict_lines(judge(self.steps, bounds), bounds)
        if self.person_cores is not None:
            lines.append(f"A person takes {self.person_cores * 100:.2f} % of a core.")
        return lines

    def drawing(self) -> str:
        """Return the picture as SVG; "" if no step was reached."""
        bounds = self.options.bounds
        heading = "Growth of a load, from call to call"
        return picture(self.steps, judge(self.steps, bounds), bounds, heading)

    def write(self) -> None:
        """Write `load.json` and `load.svg`."""
        self.options.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=1) + "\n"
        (self.options.out / "load.json").write_text(text, encoding="utf-8")
        drawing = self.drawing()
        if drawing:
            (self.options.out / "load.svg").write_text(drawing, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verb; returns its exit status.

    0: the level held for `--at-least` calls. 3: it did not. 1: nothing could be measured. 2: the
    command line is wrong. 130 and 143: stopped by SIGINT or SIGTERM.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    if (given.app is None) == (given.serve is None):
        parser.error("name the assistant (app:assistant), or the command that serves it (--serve)")
    try:
        calls = parse_calls(given.calls)
        bounds = Bounds(late_ms=given.late_ms, answer_ms=given.answer_ms)
        if not given.seconds >= 5:
            raise ConfigError("--seconds is 5 or more: a question and its answer take four")
    except ConfigError as error:
        parser.error(str(error))
    default = [sys.executable, "-m", "getstream.plugins.gemini", "serve", given.app or ""]
    options = LoadOptions(
        serve=given.serve if given.serve is not None else shlex.join([*default, "--port", "0"]),
        calls=tuple(calls),
        seconds=given.seconds,
        bounds=bounds,
        out=given.out,
    )
    try:
        stopped, result = asyncio.run(_run_until_stopped(options))
    except (GeminiError, OSError, TimeoutError) as error:
        # The message may hold lines of the fleet's log, which are made printable there.
        print(f"error: {error}", file=sys.stderr)
        return 1
    if result is not None and result.steps:
        result.write()
        print("\n" + "\n".join(result.lines()))
        print(f"{options.out / 'load.json'} and {options.out / 'load.svg'} are written.")
    if stopped:
        return 128 + stopped
    if result is None or not result.steps:
        return 1
    least = given.at_least if given.at_least is not None else calls[0]
    return 0 if judge(result.steps, bounds).carried >= least else 3


async def _run_until_stopped(options: LoadOptions) -> tuple[int, LoadResult | None]:
    """Run, and end with what there is at a signal; returns its number, or 0."""
    loop = asyncio.get_running_loop()
    steps: list[Step] = []
    running = asyncio.ensure_future(run_load(options, on_step=steps.append, show=print))
    stopped: list[int] = []

    def stop(number: int) -> None:
        stopped.append(number)
        running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, int(number))
    began = time.monotonic()
    try:
        return 0, await running
    except asyncio.CancelledError:
        if not stopped:
            raise
        seconds = time.monotonic() - began
        return stopped[0], LoadResult(options, tuple(steps), None, seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m getstream.plugins.gemini.testing load",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("app", nargs="?", metavar="MODULE:FUNCTION", help="the assistant, as `serve` takes it")
    add(
        "--calls",
        default="2:40",
        metavar="FIRST:LAST[:STEP]",
        help="calls of the first and the last step (default %(default)s, in about ten steps)",
    )
    add(
        "--serve",
        metavar="COMMAND",
        help="start the fleet by this command instead; it prints `Serving on URL`",
    )
    add(
        "--seconds",
        type=float,
        default=20.0,
        metavar="S",
        help="measure each step for so long (default %(default)g)",
    )
    add(
        "--late-ms",
        type=float,
        default=Bounds.late_ms,
        metavar="MS",
        help="lateness of frames (p99) that is no service any more (default %(default)g)",
    )
    add(
        "--answer-ms",
        type=float,
        default=Bounds.answer_ms,
        metavar="MS",
        help="time to answer (p95) that is no service any more (default %(default)g)",
    )
    add("--at-least", type=int, metavar="N", help="calls that must be carried for the exit code 0")
    add(
        "--out",
        type=Path,
        default=Path("load-out"),
        metavar="DIR",
        help="folder for the results (default %(default)s)",
    )
    return parser


async def run_load(
    options: LoadOptions,
    *,
    on_step: Callable[[Step], None] = lambda _: None,
    show: Callable[[str], None] = lambda _: None,
) -> LoadResult:
    """Start the servers, the people and the fleet, and let the load grow.

    The growth ends with the first step without its service level.

    Args:
        options: What to do.
        on_step: Gets the figures of each step when it is over.
        show: Prints a line of the table; progress goes to stderr.

    Raises:
        ConfigError: The fleet does not start, a process of the generator has ended, or this is not
            Linux.
    """
    began = time.monotonic()
    _prepare(options.out)
    steps: list[Step] = []
    person_cores = None
    async with AsyncExitStack() as stack:
        environment = base_environment()
        programs: dict[str, Program] = {}
        servers = []
        for name in ("gemini", "stream"):
            program = Program("servers", name, environment=environment)
            programs[name] = await stack.enter_async_context(program)
            servers.append(program.wait_report("ready", timeout_s=READY_S))
        for ready in await asyncio.gather(*servers):
            environment.update(ready["env"])
        people = Program("people", environment=environment)
        programs["people"] = await stack.enter_async_context(people)
        await people.wait_report("ready", timeout_s=READY_S)
        command = options.serve
        _progress(None, f"starting the fleet: {one_line(command)}")
        fleet = FleetUnderTest(command, environment, options.out / "fleet.log")
        await stack.enter_async_context(fleet)
        load = _Load(options, fleet, programs)
        show(table_head())
        for number, calls in enumerate(options.calls):
            step, person_cores = await load.step(calls)
            steps.append(step)
            on_step(step)
            show(table_row(step, options.bounds))
            _progress(_left_s(options, number), f"{calls} calls measured")
            if lost_level(step, options.bounds):
                break
        await load.end_calls()
    return LoadResult(options, tuple(steps), person_cores, time.monotonic() - began)


class _Load:
    """Adds calls, and measures all that there are."""

    def __init__(
        self, options: LoadOptions, fleet: FleetUnderTest, programs: dict[str, Program]
    ) -> None:
        self._options = options
        self._fleet = fleet
        self._programs = programs
        self._people = programs["people"]
        self._tree = fleet.processes()
        self._calls: list[str] = []
        self._number = 0

    async def step(self, calls: int) -> tuple[Step, float | None]:
        """Grow to a number of calls and measure; returns the CPU of a person as well."""
        refused, missing, joins = await self._grow(calls)
        await asyncio.sleep(SETTLE_S)
        step = await self._measure(calls, refused, missing, joins)
        if lost_level(step, self._options.bounds) and is_disturbed(step):
            # A backup or a browser must not end the growth; what lasts does, and is told.
            _progress(None, f"other programs used {step.other_cores:.2f} cores; measured again")
            step = await self._measure(calls, refused, missing, joins)
        self._fleet.check()
        held = step.held or None
        return step, step.generator_cores["people"] / held if held else None

    async def end_calls(self) -> None:
        """Have everybody leave, and tell the fleet."""
        await asyncio.gather(*(self._end(call_id) for call_id in list(self._calls)))

    async def _grow(self, calls: int) -> tuple[int, int, list[float]]:
        """Add calls up to a number; returns those refused, those without assistant, and delays."""
        refused = missing = 0
        adding: list[asyncio.Future[tuple[str, float | str]]] = []
        while len(self._calls) + len(adding) < calls:
            self._number += 1
            adding.append(asyncio.ensure_future(self._add(f"load-{self._number}")))
            await asyncio.sleep(ARRIVAL_S)
        joins: list[float] = []
        for call_id, outcome in await asyncio.gather(*adding):
            if isinstance(outcome, float):
                joins.append(outcome)
                self._calls.append(call_id)
            else:
                refused += outcome == "refused"
                missing += outcome != "refused"
                await self._end(call_id)
        return refused, missing, joins

    async def _add(self, call_id: str) -> tuple[str, float | str]:
        """Add a call; returns the seconds until its assistant was heard, or why it was not."""
        await self._people.tell(do="join", call=call_id)
        joined = await self._people.wait_report("joined", "failed", timeout_s=HEARD_S, call=call_id)
        if joined["event"] == "failed":
            _progress(None, f"{call_id}: {joined['reason']}")
            return call_id, "no person"
        asked_at = time.monotonic()
        placing = await self._fleet.person_joined(call_id, f"person-{call_id}")
        if not placing.taken:
            _progress(None, f"{call_id}: the fleet answers {placing.status} {placing.text}")
            return call_id, "refused" if placing.refused else "failed"
        try:
            heard = await self._people.wait_report("heard", timeout_s=HEARD_S, call=call_id)
        except TimeoutError:
            _progress(None, f"{call_id}: no frame of an assistant within {HEARD_S:g} s")
            return call_id, "not heard"
        return call_id, float(heard["at"]) - asked_at

    async def _end(self, call_id: str) -> None:
        with contextlib.suppress(ValueError):
            self._calls.remove(call_id)
        await self._people.tell(do="leave", call=call_id)
        with contextlib.suppress(TimeoutError):
            await self._people.wait_report("left", timeout_s=HEARD_S, call=call_id)
        await self._fleet.session_ended(call_id)

    async def _measure(
        self, calls: int, refused: int, missing: int, joins: Sequence[float]
    ) -> Step:
        await self._reports()  # what came before is forgotten
        used = self._used()
        cpu, machine_cpu, began = self._tree.sample(), MachineCpu(), time.monotonic()
        lag_ms: float | None = None
        while (left_s := began + self._options.seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(SAMPLE_S, left_s))
            self._tree.sample()
            worst = await self._fleet.loop_lag_ms()
            if worst is not None:
                lag_ms = max(worst, lag_ms or 0.0)
        seconds = time.monotonic() - began
        busy = machine_cpu.busy()
        cores = (self._tree.sample() - cpu) / seconds
        generator = {name: (now - used[name]) / seconds for name, now in self._used().items()}
        reports = await self._reports()
        people, heard = reports["people"], reports["people"]["heard"]
        held = len(self._calls)
        for report in self._people.take_reports("failed"):
            missing += 1
            _progress(None, f"{report['call']}: {report['reason']}")
        latencies = [1000 * value for value in people["latencies_s"]]
        waits = [1000 * value for value in reports["gemini"]["waits_s"]]
        lags = [percentile(report["lag_ms"], 99) or 0.0 for report in reports.values()]
        return Step(
            calls=calls,
            held=held,
            refused=refused,
            missing=missing,
            seconds=round(seconds, 2),
            fleet_cores=round(cores, 4),
            generator_cores={name: round(value, 4) for name, value in generator.items()},
            generator_late_ms=round(max(lags), 2),
            machine_busy=round(busy, 4),
            machine_cores=os.cpu_count() or 1,
            late_p50_ms=heard["late_p50_ms"],
            late_p95_ms=heard["late_p95_ms"],
            late_p99_ms=heard["late_p99_ms"],
            gaps_per_minute=round(heard["gaps"] / (held * seconds / 60), 2) if held else 0.0,
            lost=round(heard["lost"] / (heard["frames"] + heard["lost"]), 6)
            if heard["frames"]
            else 0.0,
            answers=len(latencies),
            unanswered=people["unanswered"],
            answer_p50_ms=_rounded(percentile(latencies, 50)),
            answer_p95_ms=_rounded(percentile(latencies, 95)),
            service_p50_ms=_rounded(percentile(waits, 50)),
            join_p95_ms=_rounded(percentile([1000 * value for value in joins], 95)),
            loop_lag_ms=_rounded(lag_ms),
            memory_mb=round(self._tree.memory_mb(), 1),
        )

    def _used(self) -> dict[str, float]:
        """Return the CPU seconds of each process of the generator."""
        used = {name: cpu_seconds(program.pid) for name, program in self._programs.items()}
        return {**used, "load": time.process_time()}

    async def _reports(self) -> dict[str, dict[str, Any]]:
        asked = [each.ask("measured", REPORT_S, do="measure") for each in self._programs.values()]
        return dict(zip(self._programs, await asyncio.gather(*asked), strict=True))


# -- what is printed -------------------------------------------------------------------------------

_COLUMNS: tuple[tuple[str, str, Callable[[Step], str]], ...] = (
    ("calls", "", lambda s: str(s.calls)),
    ("% of a core", "per call", lambda s: _figure(s.call_cores, 1, 100)),
    ("calls", "per core", lambda s: _figure(s.calls_per_core, 1)),
    ("MB", "", lambda s: _figure(s.memory_mb)),
    ("late, ms", "p50 p95 p99", lambda s: _three(s.late_p50_ms, s.late_p95_ms, s.late_p99_ms)),
    ("gaps", "per minute", lambda s: _figure(s.gaps_per_minute, 1)),
    ("answer, ms", "p50 p95", lambda s: f"{_figure(s.answer_p50_ms)} {_figure(s.answer_p95_ms)}"),
    ("of it the", "service", lambda s: _figure(s.service_p50_ms)),
    ("joined, ms", "p95", lambda s: _figure(s.join_p95_ms)),
    ("loop lag", "ms", lambda s: _figure(s.loop_lag_ms)),
    ("refused", "", lambda s: str(s.refused)),
    ("machine", "busy %", lambda s: _figure(s.machine_busy, 0, 100)),
    ("generator", "cores", lambda s: _figure(s.generator_total, 2)),
    ("others", "cores", lambda s: _figure(s.other_cores, 2)),
)


def table_head() -> str:
    """Return the two lines above the rows."""
    rows = ([column[0] for column in _COLUMNS], [column[1] for column in _COLUMNS])
    return "\n".join(_aligned(row) for row in rows)


def table_row(step: Step, bounds: Bounds) -> str:
    """Return the row of a step, with a mark if it is no service, or not the fleet's."""
    marks = []
    if lost_level(step, bounds):
        marks.append("level lost")
    if saturation(step):
        marks.append("not the fleet's")
    cells = [column[2](step) for column in _COLUMNS]
    return "  ".join([_aligned(cells), *marks]).rstrip()


def markdown_table(steps: Sequence[Step], bounds: Bounds) -> list[str]:
    """Return the table as Markdown, for a page."""
    heads = [" ".join(part for part in column[:2] if part) for column in _COLUMNS]
    lines = ["| " + " | ".join([*heads, ""]) + " |", "|" + "---:|" * len(heads) + "---|"]
    for step in steps:
        cells = [column[2](step) for column in _COLUMNS]
        marks = ["level lost"] if lost_level(step, bounds) else []
        marks += ["not the fleet's"] if saturation(step) else []
        lines.append("| " + " | ".join([*cells, ", ".join(marks)]) + " |")
    return [*lines, ""]


def machine() -> str:
    """Describe the machine in a line."""
    cpu = ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                cpu = one_line(line.partition(":")[2])
                break
    parts = [cpu or platform.machine(), f"{os.cpu_count()} cores", platform.system()]
    return ", ".join([*parts, f"CPython {platform.python_version()}"])


def _aligned(cells: Sequence[str]) -> str:
    widths = [max(len(column[0]), len(column[1]), 5) for column in _COLUMNS]
    return "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _figure(value: float | None, digits: int = 0, scale: float = 1.0) -> str:
    return "–" if value is None else f"{value * scale:.{digits}f}"


def _three(*values: float) -> str:
    return " ".join(f"{value:.0f}" for value in values)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _left_s(options: LoadOptions, number: int) -> float:
    """Estimate the seconds that the steps after step `number` take, if none is the last."""
    later = options.calls[number + 1 :]
    added = options.calls[-1] - options.calls[number]
    return len(later) * (options.seconds + SETTLE_S + CALL_S) + added * ARRIVAL_S


def _prepare(folder: Path) -> None:
    if not Path("/proc/stat").exists():
        raise ConfigError("load measures processes by /proc, which only Linux has")
    folder.mkdir(parents=True, exist_ok=True)


def _progress(left_s: float | None, text: str) -> None:
    left = ""
    if left_s is not None and left_s > 0:
        left = (
            f"{left_s:.0f} s left at most: "
            if left_s < 90
            else f"{left_s / 60:.0f} min left at most: "
        )
    print(f"{time.strftime('%H:%M:%S')} {left}{text}", file=sys.stderr, flush=True)
