"""Results of the checks of this machine and of the way to the services."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Result", "State", "failed", "not_checked", "passed", "warned", "worst"]

State = Literal["ok", "warning", "failed", "not checked"]

_ORDER: tuple[State, ...] = ("not checked", "ok", "warning", "failed")


@dataclass(frozen=True)
class Result:
    """Outcome of one check.

    Attributes:
        name: Stable name, such as `network.gemini`.
        state: `ok`, `warning` (it works, with less), `failed`, or `not checked`.
        seen: What was seen, in words; without keys.
        advice: What to do; empty where nothing is to be done.
        numbers: The same in numbers, by name, each with its unit.
    """

    name: str
    state: State
    seen: str
    advice: str = ""
    numbers: dict[str, float] = field(default_factory=dict)


def passed(name: str, seen: str, **numbers: float) -> Result:
    """Return the result of a check that found nothing wrong."""
    return Result(name, "ok", seen, numbers=_rounded(numbers))


def warned(name: str, seen: str, advice: str, **numbers: float) -> Result:
    """Return the result of a check after which the assistant works, with less."""
    return Result(name, "warning", seen, advice, _rounded(numbers))


def failed(name: str, seen: str, advice: str, **numbers: float) -> Result:
    """Return the result of a check that found what keeps the assistant from working."""
    return Result(name, "failed", seen, advice, _rounded(numbers))


def not_checked(name: str, seen: str, advice: str = "") -> Result:
    """Return the result of a check that could not be made."""
    return Result(name, "not checked", seen, advice)


def worst(results: Iterable[Result]) -> State:
    """Return the worst state of several results."""
    return max((each.state for each in results), key=_ORDER.index, default="not checked")


def _rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in numbers.items()}
