"""Turn arrival times into lateness, and read from `/proc` what processes use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError

__all__ = [
    "Heard",
    "MachineCpu",
    "ProcessTree",
    "cpu_seconds",
    "lateness_ms",
    "percentile",
    "summarize",
]

RATE = 48_000
"""Hz: the clock of RTP timestamps of Opus (RFC 7587)."""

MEMORY_FRAMES = 100
"""Frames (2 s) within which the least delayed one is on time: the memory of an adaptive jitter
buffer. A sender that comes later for good is late for these two seconds, and not for ever."""

JUMP_S = 1.0
"""Seconds by which timestamps and arrivals may part; beyond, the sender has begun anew."""

GAP_MS = 60.0
"""Time between two frames that is heard as a gap: three frames, more than a receiver conceals."""


class Track(Protocol):
    """Keeps what came of one RTP stream; see `HeardTrack`."""

    arrivals: list[float]
    timestamps: list[int]
    numbers: list[int]


@dataclass(frozen=True)
class Heard:
    """Describes all frames that people have received.

    Attributes:
        frames: Their number.
        late_p50_ms: Median lateness.
        late_p95_ms: 95th percentile.
        late_p99_ms: 99th percentile.
        gaps: Times between two frames above `GAP_MS`.
        lost: Frames that never came, by their numbers.
    """

    frames: int
    late_p50_ms: float
    late_p95_ms: float
    late_p99_ms: float
    gaps: int
    lost: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as values that fit in JSON."""
        return asdict(self)


def summarize(tracks: Iterable[Track]) -> Heard:
    """Describe the frames of all streams together; all zero if there are none."""
    late: list[NDArray[np.float64]] = []
    gaps = lost = 0
    for track in tracks:
        arrivals = np.asarray(track.arrivals, dtype=np.float64)
        if not len(arrivals):
            continue
        late.append(lateness_ms(arrivals, np.asarray(track.timestamps, dtype=np.int64)))
        gaps += int(np.count_nonzero(np.diff(arrivals) * 1000 > GAP_MS))
        numbers = _unwrapped(np.asarray(track.numbers, dtype=np.int64), 1 << 16)
        lost += int(numbers.max() - numbers.min()) + 1 - len(np.unique(numbers))
    if not late:
        return Heard(0, 0.0, 0.0, 0.0, 0, 0)
    everything = np.concatenate(late)
    middle, high, highest = (round(float(p), 2) for p in np.percentile(everything, [50, 95, 99]))
    return Heard(len(everything), middle, high, highest, gaps, lost)


def lateness_ms(
    arrivals: NDArray[np.float64], timestamps: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return how late each frame came, beside the least delayed of the last `MEMORY_FRAMES`.

    The delay of a frame is its arrival less its RTP time; only differences of delays mean anything.
    A sender that pauses or repeats nothing has a lateness of 0 throughout.

    Args:
        arrivals: Monotonic times in seconds, shape (n,), rising.
        timestamps: RTP timestamps, 48 kHz, modulo 2**32, shape (n,).

    Returns:
        Milliseconds, shape (n,).
    """
    delays = arrivals - _unwrapped(timestamps, 1 << 32) / RATE
    late = np.empty(len(delays))
    breaks = np.flatnonzero(np.abs(np.diff(delays)) > JUMP_S) + 1
    for part in np.split(np.arange(len(delays)), breaks):
        delay = delays[part]
        padded = np.concatenate([np.full(MEMORY_FRAMES - 1, np.inf), delay])
        least = np.lib.stride_tricks.sliding_window_view(padded, MEMORY_FRAMES).min(axis=1)
        late[part] = (delay - least) * 1000
    return late


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return a percentile of some values; None if there are none."""
    return float(np.percentile(values, percent)) if len(values) else None


def _unwrapped(values: NDArray[np.int64], modulus: int) -> NDArray[np.int64]:
    """Return counters without their wraps; a step back of less than half the range stays one."""
    steps = np.diff(values)
    steps = (steps + modulus // 2) % modulus - modulus // 2
    return np.concatenate([values[:1], values[:1] + np.cumsum(steps)])


# -- processes ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Process:
    parent: int
    started: int
    cpu_s: float


class ProcessTree:
    """Adds up what a program and all of its processes use.

    Processes are found by their parents, and by a variable in their environment: some engines have
    processes that outlive, or never had, a parent in the tree. Needs Linux.
    """

    def __init__(self, root: int, marker: str, proc: Path = Path("/proc")) -> None:
        """Watch a program.

        Args:
            root: Its process id.
            marker: `NAME=value`, in the environment of its processes and of no others.
            proc: Where processes are described.

        Raises:
            ConfigError: There is no `/proc`.
        """
        if not (proc / "stat").exists():
            raise ConfigError("load measures processes by /proc, which only Linux has")
        self._root = root
        self._marker = marker.encode()
        self._proc = proc
        self._counted: dict[tuple[int, int], float] = {}
        self._foreign: set[tuple[int, int]] = set()
        self._cpu_s = 0.0

    def sample(self) -> float:
        """Return the CPU seconds that its processes have used; call it once a second or more.

        What a process uses after the last sample that saw it is not counted.
        """
        for pid, process in self._members().items():
            key = (pid, process.started)
            self._cpu_s += max(0.0, process.cpu_s - self._counted.get(key, 0.0))
            self._counted[key] = process.cpu_s
        return self._cpu_s

    def memory_mb(self) -> float:
        """Return its memory in 10^6 bytes; shared pages count in parts (PSS), or else in each."""
        return sum(_memory_bytes(self._proc / str(pid)) for pid in self._members()) / 1e6

    @property
    def pids(self) -> tuple[int, ...]:
        """Return its processes."""
        return tuple(self._members())

    def _members(self) -> dict[int, _Process]:
        processes = dict(_processes(self._proc))
        members: dict[int, _Process] = {}
        for pid, process in processes.items():
            key = (pid, process.started)
            if self._descends(pid, processes) or key in self._counted:
                members[pid] = process
            elif key not in self._foreign:
                if self._is_marked(pid):
                    members[pid] = process
                else:
                    self._foreign.add(key)
        return members

    def _descends(self, pid: int, processes: dict[int, _Process]) -> bool:
        seen: set[int] = set()
        while pid in processes and pid not in seen:
            if pid == self._root:
                return True
            seen.add(pid)
            pid = processes[pid].parent
        return False

    def _is_marked(self, pid: int) -> bool:
        try:
            variables = (self._proc / str(pid) / "environ").read_bytes()
        except OSError:  # it has ended, or belongs to somebody else
            return False
        return self._marker in variables.split(b"\0")


def cpu_seconds(pid: int, proc: Path = Path("/proc")) -> float:
    """Return the CPU seconds that one process has used; 0 if it has ended."""
    process = _read_process(proc / str(pid))
    return process.cpu_s if process is not None else 0.0


class MachineCpu:
    """Measures the CPU of the whole machine since this object was made."""

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._before = self._read()

    def busy(self) -> float:
        """Return the share of all cores that was in use, 0 to 1."""
        idle, total = (now - then for now, then in zip(self._read(), self._before, strict=True))
        return 1 - idle / total if total else 0.0

    def _read(self) -> tuple[int, int]:
        first = self._stat.read_text(encoding="ascii").splitlines()[0]
        # user nice system idle iowait irq softirq steal; guests are counted in user.
        fields = [int(value) for value in first.split()[1:9]]
        return fields[3] + fields[4], sum(fields)


def _processes(proc: Path) -> Iterable[tuple[int, _Process]]:
    for entry in os.listdir(proc):
        if entry.isdigit():
            process = _read_process(proc / entry)
            if process is not None:
                yield int(entry), process


def _read_process(folder: Path) -> _Process | None:
    try:
        text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # proc(5): the name, in parentheses, may hold anything; state is the first field behind it.
    fields = text.rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return _Process(
        parent=int(fields[1]),
        started=int(fields[19]),
        cpu_s=(int(fields[11]) + int(fields[12])) / ticks,
    )


def _memory_bytes(folder: Path) -> int:
    with contextlib.suppress(OSError):
        for line in (folder / "smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError):
        pages = (folder / "statm").read_text(encoding="ascii").split()
        return int(pages[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
