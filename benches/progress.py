"""Print to stderr how far a run is, and the time that is left; the tables go to stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

QUIET_S = 10.0
"""Least time between two lines of `advance`, in seconds: what is shorter prints none."""


class Progress:
    """Progress of a run that has several parts.

    progress = Progress({"latency": 240, "conversation": 660})
    progress.done("latency", 0.5, "earlier rules: 17 trials")

    Args:
        parts: Expected seconds of each part. Only their proportions matter: the time left is
            computed from the time that the parts before have taken.
        out: Stream for the lines; stderr if it is None.
        clock: Clock in seconds.
    """

    def __init__(
        self,
        parts: Mapping[str, float],
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = dict(parts)
        self._total = sum(parts.values())
        self._out = out
        self._clock = clock
        self._began = self._printed = clock()
        self._done = 0.0

    def done(self, part: str, share: float, text: str) -> None:
        """Add a share of a part, from 0 to 1, and print a line."""
        self._done += share * self._parts[part]
        self._print(text)

    def advance(self, part: str, share: float, text: str) -> None:
        """Add a share of a part, and print a line if the last one is `QUIET_S` ago."""
        self._done += share * self._parts[part]
        if self._clock() - self._printed >= QUIET_S:
            self._print(text)

    def left_s(self) -> float | None:
        """Return the seconds that are left; None before anything is done."""
        if self._done <= 0:
            return None
        elapsed = self._clock() - self._began
        return elapsed * max(0.0, self._total - self._done) / self._done

    def _print(self, text: str) -> None:
        self._printed = self._clock()
        left = self.left_s()
        rest = "" if left is None else f", {_duration(left)} left"
        share = 100 * self._done / self._total if self._total else 100.0
        line = f"{time.strftime('%H:%M:%S')} {share:3.0f} %{rest}: {text}"
        print(line, file=self._out or sys.__stderr__, flush=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
