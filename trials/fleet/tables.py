"""Write the results of the trials as Markdown and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .verdicts import Goal, Result, plain

NOTHING = "–"


def markdown(results: Sequence[Result], head: Sequence[str]) -> str:
    """Return the report: one table of goals, then what else each trial has shown.

    Args:
        results: the trials, in order.
        head: lines about the machine and the versions.
    """
    missed = sum(not goal.met for result in results for goal in result.goals)
    failed = [result.trial for result in results if result.error]
    lines = ["# The fleet, broken", "", *head, ""]
    lines += [
        "Every figure is measured at the ears of people in the calls, at the local Stream backend, "
        "or at the local Gemini server, which answers at once: a real model adds its own time to "
        "the first sound.",
        "",
        f"Goals missed: {missed}."
        + (f" Not carried through: {', '.join(failed)}." if failed else ""),
        "",
        "| trial | figure | goal | measured | | more |",
        "|---|---|---:|---:|---|---|",
    ]
    for result in results:
        for number, goal in enumerate(result.goals):
            lines.append(row(result.trial if number == 0 else "", goal))
        if result.error:
            lines.append(f"| {result.trial} | not carried through | | | **missed** | |")
    lines.append("")
    for result in results:
        lines += [f"## {result.trial}", "", f"{result.title}.", ""]
        lines += [f"- {note}" for note in result.notes]
        if result.error:
            lines.append(f"- not carried through: {cell(result.error)}")
        lines += [""]
    lines.append(
        "How it is measured: `trials/fleet`. Run it yourself: `make trial-fleet`; needs Linux."
    )
    return "\n".join(lines) + "\n"


def row(trial: str, goal: Goal) -> str:
    """Return the row of one goal."""
    sign = "≤ " if goal.kind == "at most" else ""
    limit = f"{sign}{with_unit(goal.limit, goal.unit)}"
    value = NOTHING if goal.value is None else with_unit(goal.value, goal.unit)
    verdict = "met" if goal.met else "**missed**"
    return f"| {trial} | {cell(goal.what)} | {limit} | {value} | {verdict} | {cell(goal.detail)} |"


def with_unit(value: float, unit: str) -> str:
    """Return a figure with its unit."""
    text = NOTHING if math.isnan(value) else plain(value)
    return f"{text} {unit}".strip()


def cell(text: str) -> str:
    """Return text that fits in a cell: one line, at most 300 characters, without a border."""
    return " ".join(text.replace("|", "/").split())[:300]


def as_json(results: Sequence[Result], about: dict[str, Any]) -> str:
    """Return everything that was measured, with the verdicts."""
    trials = []
    for result in results:
        values = asdict(result)
        values["passed"] = result.passed
        for goal, each in zip(values["goals"], result.goals, strict=True):
            goal["met"] = each.met
        trials.append(values)
    return json.dumps({**about, "trials": _finite(trials)}, indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """Return a value that fits in JSON: rounded, and null for what is no number."""
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value
