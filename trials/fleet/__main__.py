"""Break a fleet while people talk to it, and hold what they hear against goals.

    python -m trials.fleet [TRIAL...] [--times N] [--out DIR] [--results DIR]

Starts the package's local servers, fleets of `getstream-gemini serve`, and people in programs of
their own. Prints a Markdown table, and writes it to `fleet.md` and `fleet.json`: a whole run (a
quarter of an hour) with `PUBLISH=1` to `benches/results`, otherwise to `target/bench-results`.
Logs, and what a person heard of a crash, are in the folder `--out`.

The exit code is 0 if every goal is met, 1 if one is missed or a trial could not be carried through,
2 if the command cannot be carried out. Needs Linux, and Ray for all but `restart` and `endings`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import importlib.util
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command_line import SCRATCH, results_folder, versions
from progress import Progress
from report import machine

from . import costs, crashes, drains, ears, endings, requests
from .stage import Served, Stage, TrialError
from .tables import as_json, markdown
from .verdicts import Result, exit_code

Progressed = Callable[[int], None]
OnShared = Callable[[Stage, Served, int, Progressed], Awaitable[Result]]
OnItsOwn = Callable[[Stage, int, Progressed], Awaitable[Result]]

WORKERS = 2
"""Workers of the fleet that most trials share: one to die, and one to go on."""

BUSY = 0.5
"""Load for each core, before anything is started, from which on the times are doubted."""

PACKAGES = ["getstream-plugins-gemini", "getstream", "google-genai"]


@dataclass(frozen=True)
class Trial:
    """One trial, as the command line knows it.

    Attributes:
        times: how often it is done in a whole run.
        each_s: seconds of each time, roughly: for the time that is left.
        shared: its function, if it uses the fleet that trials share.
        own: its function, if it starts fleets of its own.
        ray: whether it needs Ray.
    """

    times: int
    each_s: float
    shared: OnShared | None = None
    own: OnItsOwn | None = None
    ray: bool = True


# Those that share a fleet come first, and need it once.
TRIALS = {
    "webhooks": Trial(2, 10, shared=requests.webhooks),
    "kill": Trial(20, 11, shared=crashes.kill),
    "hang": Trial(2, 20, shared=crashes.hang),
    "control": Trial(2, 10, shared=crashes.control),
    "both": Trial(2, 18, shared=crashes.both),
    "ears": Trial(1, 40, shared=ears.ears),
    "drain": Trial(2, 36, shared=drains.drain),
    "cost": Trial(8, 12, own=costs.cost),
    "endings-ray": Trial(1, 75, own=endings.endings_ray),
    "endings": Trial(1, 35, own=endings.endings, ray=False),
    "restart": Trial(3, 15, own=endings.restart, ray=False),
}


async def run(
    names: Sequence[str], times: int | None, out: Path, on_result: Callable[[Result], None]
) -> list[Result]:
    """Run trials, one after the other; one that fails does not keep the others from running.

    Args:
        names: the trials.
        times: how often each is done; None for what a whole run does.
        out: folder for logs and recordings.
        on_result: called with each result.
    """
    counts = {name: times or TRIALS[name].times for name in names}
    progress = Progress({name: counts[name] * TRIALS[name].each_s for name in names})
    results = []
    async with Stage(out) as stage, AsyncExitStack() as fleets:
        shared: Served | None = None
        for name in names:
            trial, count = TRIALS[name], counts[name]

            def done(number: int, name: str = name, count: int = count) -> None:
                progress.done(name, 1 / count, f"{name}, {number} of {count}")

            try:
                if trial.shared is not None:
                    if shared is None:
                        shared = await fleets.enter_async_context(stage.fleet(WORKERS))
                    result = await trial.shared(stage, shared, count, done)
                else:
                    assert trial.own is not None
                    # Beside an idle fleet it would be measured wrongly.
                    await fleets.aclose()
                    shared = None
                    result = await trial.own(stage, count, done)
            except TrialError as error:
                result = Result(name, "", error=str(error))
                # Whatever state the fleet is in, the next trial does not begin with it.
                await fleets.aclose()
                shared = None
            results.append(result)
            on_result(result)
    return results


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        prog="python -m trials.fleet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("trials", nargs="*", metavar="TRIAL", help=f"of {', '.join(TRIALS)}")
    found.add_argument("--times", type=int, metavar="N", help="do each so often")
    found.add_argument("--out", type=Path, metavar="DIR", help="folder for logs and recordings")
    found.add_argument("--results", type=Path, metavar="DIR", help="folder for the tables")
    return found


def main() -> int:
    """Run the command; returns its exit code."""
    command = parser()
    options = command.parse_args()
    names = [name for name in TRIALS if name in options.trials or not options.trials]
    if unknown := sorted(set(options.trials) - set(TRIALS)):
        command.error(f"there is no trial {', '.join(unknown)}; there is {', '.join(TRIALS)}")
    if options.times is not None and options.times < 1:
        command.error("--times is at least 1")
    if not sys.platform.startswith("linux"):
        command.error("the trials read /proc, and need Linux")
    need_ray = [name for name in names if TRIALS[name].ray]
    if need_ray and importlib.util.find_spec("ray") is None:
        without = ", ".join(name for name in TRIALS if not TRIALS[name].ray)
        command.error(
            f"{', '.join(need_ray)} need Ray: pip install 'getstream-plugins-gemini[ray]'; "
            f"these do not: {without}"
        )
    whole = len(names) == len(TRIALS) and options.times is None
    folder = results_folder(options.results, whole)
    about: dict[str, Any] = {
        "date": str(datetime.date.today()),
        "machine": machine(),
        "cores": os.cpu_count(),
        "load_at_start": round(os.getloadavg()[0], 1),
        "versions": versions(PACKAGES + (["ray"] if need_ray else [])),
        "whole": whole,
    }
    out = options.out or SCRATCH / "fleet"
    results = asyncio.run(run(names, options.times, out, show))
    head = [
        f"{about['date']}, {about['machine']}, {about['cores']} cores; load at the start "
        f"{about['load_at_start']}.",
        "",
        about["versions"],
        *doubts(about["load_at_start"], about["cores"] or 1),
    ]
    text = markdown(results, head)
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fleet.md").write_text(text, encoding="utf-8")
    (folder / "fleet.json").write_text(as_json(results, about), encoding="utf-8")
    print(f"written to {folder / 'fleet.md'}; logs are in {out}", file=sys.stderr)
    return exit_code(results)


def doubts(load: float, cores: int) -> list[str]:
    """Return why the figures are not to be trusted, as lines of Markdown; none if they are."""
    if load < cores * BUSY:
        return []
    return [
        "",
        "**Not to be trusted: the machine was busy with something else, and times are long.**",
    ]


def show(result: Result) -> None:
    """Print a verdict as soon as it is known."""
    verdict = "passed" if result.passed else "MISSED"
    print(f"{result.trial}: {verdict} {result.error}".rstrip(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
