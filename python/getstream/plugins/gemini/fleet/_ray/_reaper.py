"""End all processes of a fleet when the process that started Ray has died (Linux).

It is a program of its own, of the standard library alone: it has to outlive `kill -9` of that
process. Ray's processes end with their parent or when they notice that it is gone, but for two
agents: these first publish the news to Ray's head, which is dead, too, and wait a minute for it.
"""

from __future__ import annotations

import os
import secrets
import signal
import stat
import subprocess
import sys
import time

VARIABLE = "GETSTREAM_FLEET_ID"
"""Marks the processes of a fleet: whatever they start inherits it. It does not show in those that
change their title, as Ray's Python processes do: that overwrites what the kernel shows."""

SWEEP_S = 10.0
"""Seconds in which all processes have to be found and ended: milliseconds, where none of them is in
the middle of a system call that cannot be interrupted."""

LOOK_S = 0.05
"""Seconds between looks at what is left."""


class Reaper:
    """Runs this module beside the process that starts Ray, which calls `close` if it can.

    The two are joined by a pipe, whose end the kernel closes however that process dies. Make it
    before Ray is started: the mark goes into the environment of this process.
    """

    def __init__(self) -> None:
        os.environ[VARIABLE] = mark = secrets.token_hex(16)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", os.path.abspath(__file__), mark],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal is not meant for it
        )

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def add_folder(self, folder: str) -> None:
        """Tell it where Ray's processes log to: whatever writes there belongs to the fleet."""
        assert self._process.stdin is not None
        self._process.stdin.write(os.path.realpath(folder).encode() + b"\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Have it end what is left, and wait for its own end. Idempotent."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(SWEEP_S + 1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def marked(mark: str, folders: list[str], spared: int) -> list[int]:
    """Return the processes that have the mark, or a file open in one of the folders to write.

    Neither this one nor `spared` is among them.
    """
    wanted = f"{VARIABLE}={mark}".encode()
    inside = tuple(f"{folder}/" for folder in folders)
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in (os.getpid(), spared):
            continue
        if _has_mark(name, wanted) or _writes_to(name, inside):
            found.append(int(name))
    return found


def _has_mark(process: str, wanted: bytes) -> bool:
    try:
        with open(f"/proc/{process}/environ", "rb") as environment:
            return wanted in environment.read().split(b"\0")
    except OSError:  # it has ended, or is somebody else's
        return False


def _writes_to(process: str, inside: tuple[str, ...]) -> bool:
    if not inside:
        return False
    folder = f"/proc/{process}/fd"
    try:
        for name in os.listdir(folder):
            path = f"{folder}/{name}"
            # Whoever only reads a log is somebody else: `tail -f`.
            if os.readlink(path).startswith(inside) and os.lstat(path).st_mode & stat.S_IWUSR:
                return True
    except OSError:  # likewise
        pass
    return False


def end_marked(mark: str, folders: list[str], spared: int, timeout_s: float) -> bool:
    """Kill the marked processes until there are none; returns whether there are none."""
    deadline = time.monotonic() + timeout_s
    while pids := marked(mark, folders, spared):
        if time.monotonic() > deadline:
            return False
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        time.sleep(LOOK_S)
    return True


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends when the pipe does
    owner = os.getppid()  # which lives if it has closed the pipe itself
    told = sys.stdin.buffer.read().decode().splitlines()
    sys.exit(not end_marked(sys.argv[1], told, owner, SWEEP_S))
