"""Detect stalls of the machine itself, by a process that wants to wake up each 2 ms.

Prints a JSON list of `[time.monotonic(), milliseconds]`, one pair for each time that it was woken
more than LIMIT_MS late, when its standard input is closed.
"""

from __future__ import annotations

import json
import select
import sys
import time

STEP_S = 0.002
LIMIT_MS = 20.0


def main() -> None:
    stalls: list[tuple[float, float]] = []
    last = time.monotonic()
    while not select.select([sys.stdin], [], [], STEP_S)[0]:
        now = time.monotonic()
        late = (now - last - STEP_S) * 1e3
        if late > LIMIT_MS:
            stalls.append((now, late))
        last = now
    json.dump(stalls, sys.stdout)


if __name__ == "__main__":
    main()
