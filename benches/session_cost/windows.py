"""Measure CPU in windows of time, and compare contenders window by window.

The speed of a shared machine drifts by tens of percent within minutes. Contenders that run at the
same time see the same machine, so the ratio of two of them within a window is steady where their
times are not. A control, the floor measured a second time, says how steady.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CONTROL_OFFSET, CONTROL_SPREAD = 0.03, 0.10
"""Greatest distance from 1 of the median, and of four fifths, of the control's ratios.

Beyond it the ratios of a table are not to be trusted. The ratios of whole calls scatter by 0.04 in
windows of 6 s on a machine that has a core to spare: tables must resolve a difference of 0.03."""

BUSY = 0.8
"""Share of the machine's CPU from which processes queue for it, and windows stretch."""


@dataclass(frozen=True)
class Ratio:
    """Ratios of two contenders, window by window.

    Attributes:
        median: Median of the ratios.
        least: Least ratio.
        most: Greatest ratio.
        inner: Tenth and ninetieth percentile.
        windows: Number of ratios.
    """

    median: float
    least: float
    most: float
    inner: tuple[float, float]
    windows: int

    @classmethod
    def of(cls, over: Sequence[float], under: Sequence[float]) -> Ratio:
        """Compare two contenders in the same windows.

        Raises:
            ValueError: The numbers of windows differ.
        """
        if len(over) != len(under):
            raise ValueError(f"{len(over)} windows beside {len(under)}")
        each = np.asarray(over) / np.asarray(under)
        low, high = np.percentile(each, [10, 90])
        return cls(
            float(np.median(each)),
            float(each.min()),
            float(each.max()),
            (float(low), float(high)),
            each.size,
        )

    def __str__(self) -> str:
        if self.least == self.most == 1:  # the floor itself
            return "1"
        return f"{self.median:.2f} ({self.least:.2f}..{self.most:.2f})"

    @property
    def steady(self) -> bool:
        """Return whether this ratio of a contender to itself is close enough to 1."""
        return (
            abs(self.median - 1) <= CONTROL_OFFSET
            and self.inner[0] >= 1 - CONTROL_SPREAD
            and self.inner[1] <= 1 + CONTROL_SPREAD
        )


async def cpu_in_windows(start: float, windows: int, seconds: float) -> list[float]:
    """Measure the CPU that this process uses in each window, as a share of one core.

    Args:
        start: Start of the first window, by `time.monotonic()`.
        windows: Number of consecutive windows.
        seconds: Length of each window.
    """
    shares = []
    await asyncio.sleep(max(0.0, start - time.monotonic()))
    cpu, began = time.process_time(), time.monotonic()
    for number in range(1, windows + 1):
        await asyncio.sleep(max(0.0, start + number * seconds - time.monotonic()))
        cpu_now, now = time.process_time(), time.monotonic()
        shares.append((cpu_now - cpu) / (now - began))
        cpu, began = cpu_now, now
    return shares


class MachineLoad:
    """Load of the whole machine's CPU since this object was made."""

    def __init__(self) -> None:
        self._before = self._read()

    def busy(self) -> float:
        """Return the share in use, 0 to 1."""
        idle, total = (now - then for now, then in zip(self._read(), self._before, strict=True))
        return 1 - idle / total if total else 0.0

    @staticmethod
    def _read() -> tuple[int, int]:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
        # user nice system idle iowait irq softirq steal; guests are counted in user.
        fields = [int(value) for value in first.split()[1:9]]
        return fields[3] + fields[4], sum(fields)
