"""Read CPU, memory, children and environment of processes from /proc. Linux alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")


def _fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, which may hold spaces (proc(5))."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and was not waited for does not."""
    try:
        return _fields(pid)[0] not in "ZX"
    except OSError:
        return False


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds of processes, user and system; those that have ended count nothing."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = _fields(pid)
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in 10^6 bytes, shared pages included."""
    pages = (_PROC / str(pid) / "statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def own_mb(pid: int) -> float:
    """Return the memory that a process has for itself, in 10^6 bytes: what it would give back."""
    text = (_PROC / str(pid) / "smaps_rollup").read_text()
    return sum(
        int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Private_")
    ) / 1e6  # fmt: skip


def descendants(pid: int) -> list[int]:
    """Return the processes below a process."""
    parents: dict[int, list[int]] = {}
    for each in all_pids():
        with contextlib.suppress(OSError):
            parents.setdefault(int(_fields(each)[1]), []).append(each)
    found, rest = [], list(parents.get(pid, ()))
    while rest:
        each = rest.pop()
        found.append(each)
        rest += parents.get(each, ())
    return found


def all_pids() -> list[int]:
    """Return all processes."""
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]


def with_variable(name: str, value: str) -> list[int]:
    """Return the running processes that were started with a variable in their environment.

    It is inherited, and so finds what has lost its parents, too.
    """
    wanted = f"{name}={value}".encode()
    found = []
    for pid in all_pids():
        with contextlib.suppress(OSError):
            variables = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
            if wanted in variables and is_alive(pid):
                found.append(pid)
    return found


def command(pid: int) -> str:
    """Return the command line of a process, at most 80 characters; "" if it has ended."""
    try:
        text = (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return ""
    return text.decode(errors="replace").strip()[:80]
