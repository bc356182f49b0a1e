"""End processes: with their parent, or on their own machine when they hang."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

import psutil  # Ray brings it

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CREATED_TOLERANCE_S = 0.02
"""Seconds by which two readings of one process's start may differ: two ticks of 10 ms."""


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent, Ray's raylet, is gone (Linux).

    Ray's own processes end themselves when the raylet is gone; one that is stopped or whose loop is
    blocked cannot, and would hold its calls.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it went before the kernel was told
        os._exit(1)


def end_process(pid: int, created: float, timeout_s: float) -> bool:
    """Kill a process on this machine, and wait until it is gone.

    Args:
        pid: the process.
        created: when it began, in seconds since 1970. A process of the same number that began at
            another time is somebody else's, and left alone.
        timeout_s: seconds to wait.

    Returns:
        whether it is gone.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if abs(process.create_time() - created) > CREATED_TOLERANCE_S:
            return True
        process.kill()
        try:
            process.wait(timeout_s)
        except psutil.TimeoutExpired:
            is_zombie: bool = process.status() == psutil.STATUS_ZOMBIE  # its sockets are closed
            return is_zombie
    return True
