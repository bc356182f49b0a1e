"""Detect stalls of the machine itself, by a process that wants to wake up every 2 ms.

When its standard input is closed it prints a JSON list of `[began, ended]`, a pair for each time
that it was woken more than `LIMIT_S` late: between the two, in `time.monotonic()`, it did not run.
"""

from __future__ import annotations

import json
import select
import sys
import time

STEP_S = 0.002
LIMIT_S = 0.010


def main() -> None:
    stalls: list[tuple[float, float]] = []
    last = time.monotonic()
    while not select.select([sys.stdin], [], [], STEP_S)[0]:
        now = time.monotonic()
        if now - last - STEP_S > LIMIT_S:
            stalls.append((last + STEP_S, now))
        last = now
    json.dump(stalls, sys.stdout)


if __name__ == "__main__":
    main()
