"""`test`: hold the calls of a file of scenarios, and judge them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from .._terminal import one_line, printable_lines
from ..testing import ScenarioError, ScenarioOutcome, run_scenarios

__all__ = ["ScenarioOptions", "run_test"]


@dataclass(frozen=True)
class ScenarioOptions:
    """The command line of `test`.

    Attributes:
        file: The file of scenarios.
        out: Folder for the reports.
        only: Name of the only scenario to run; None runs all.
    """

    file: Path
    out: Path
    only: str | None


def run_test(options: ScenarioOptions) -> int:
    """Hold the calls, and print the result of each.

    Returns:
        0 if every scenario passed, 1 if one failed, 2 if the file cannot be used.
    """
    try:
        outcomes = run_scenarios(
            options.file, options.out, only=options.only, on_outcome=_print_outcome
        )
    except ScenarioError as error:
        print(f"getstream-gemini: error: {printable_lines(str(error))}", file=sys.stderr)
        return 2
    failed = len([outcome for outcome in outcomes if not outcome.passed])
    print(f"scenarios: {len(outcomes) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _print_outcome(outcome: ScenarioOutcome) -> None:
    word = "ok  " if outcome.passed else "FAIL"
    print(f"{word}  {one_line(outcome.name)}  ({outcome.seconds:.1f} s, {outcome.folder})")
    if not outcome.passed:
        for line in printable_lines(outcome.error).splitlines():
            print(f"      {line}")
    sys.stdout.flush()
