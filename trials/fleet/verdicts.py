"""Hold figures against goals: quantiles, goals, results. No clock, no I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["at most", "exactly"]


def quantile(values: Sequence[float], q: float) -> float:
    """Return a quantile: the least value that a share of `q` of the values does not exceed.

    It is one of the values (the nearest-rank method): with 20 of them p95 is the second largest.

    Raises:
        ValueError: there are no values, or `q` is not in (0, 1].
    """
    if not values or not 0 < q <= 1:
        raise ValueError(f"no quantile {q} of {len(values)} values")
    # Rounded, because 0.95 * 20 is a little more than 19.
    return sorted(values)[max(0, math.ceil(round(q * len(values), 9)) - 1)]


@dataclass(frozen=True)
class Goal:
    """One figure beside its goal.

    Attributes:
        what: the figure, in words.
        value: what was measured; None if it could not be, which misses the goal.
        limit: the goal.
        unit: unit of both, such as "s"; "" for counts.
        kind: how `value` and `limit` have to compare.
        detail: what else belongs to the figure, such as the median and the number of values.
    """

    what: str
    value: float | None
    limit: float
    unit: str = ""
    kind: Kind = "at most"
    detail: str = ""

    @property
    def met(self) -> bool:
        """Return whether the goal is met. What was not measured, or is no number, meets none."""
        if self.value is None or math.isnan(self.value):
            return False
        return self.value <= self.limit if self.kind == "at most" else self.value == self.limit


@dataclass(frozen=True)
class Result:
    """Outcome of one trial.

    Attributes:
        trial: its name on the command line.
        title: what was done, as a sentence.
        goals: its figures that have goals.
        notes: other figures, as sentences.
        figures: everything that was measured, as values that fit in JSON.
        error: why it could not be carried through; "" if it was. Such a trial misses its goals.
    """

    trial: str
    title: str
    goals: tuple[Goal, ...] = ()
    notes: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def passed(self) -> bool:
        """Return whether the trial was carried through and every goal is met."""
        return not self.error and bool(self.goals) and all(goal.met for goal in self.goals)


def exit_code(results: Sequence[Result]) -> int:
    """Return the exit code of a run: 0 if every trial has passed, else 1."""
    return 0 if results and all(result.passed for result in results) else 1


def spread(what: str, values: Sequence[float], limit: float, unit: str = "s") -> Goal:
    """Return the goal of a p95, with p50, the greatest value and the number in its detail."""
    if not values:
        return Goal(f"{what}, p95", None, limit, unit, detail="nothing was measured")
    return Goal(
        f"{what}, p95",
        quantile(values, 0.95),
        limit,
        unit,
        detail=f"p50 {plain(quantile(values, 0.5))}, max {plain(max(values))}, n {len(values)}",
    )


def worst(what: str, values: Sequence[float], limit: float, unit: str = "s") -> Goal:
    """Return the goal of a greatest value, with the median and the number in its detail."""
    if not values:
        return Goal(what, None, limit, unit, detail="nothing was measured")
    detail = f"p50 {plain(quantile(values, 0.5))}, n {len(values)}"
    return Goal(what, max(values), limit, unit, detail=detail)


def none_of(what: str, count: int, of: int) -> Goal:
    """Return the goal that something happens in none of so many cases; none at all is no proof."""
    return Goal(what, count if of else None, 0, kind="exactly", detail=f"of {of}")


def so_often(times: int) -> str:
    """Return a number of times in words: "once", "20 times"."""
    return "once" if times == 1 else f"{times} times"


def plain(value: float) -> str:
    """Return a figure with three digits or so, without an exponent."""
    size = abs(value)
    digits = 0 if size >= 100 or value == int(value) else 1 if size >= 10 else 2
    return f"{value:.{digits}f}"
