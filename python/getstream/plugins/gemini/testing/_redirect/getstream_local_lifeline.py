"""Ends a program when the test process that started it has gone. Standard library only.

The test process holds one end of a pipe, and closes it when it ends, however it ends; the program
reads the other end. Nothing happens unless the variable is set.
"""

from __future__ import annotations

import os
import threading

__all__ = ["VARIABLE", "install"]

VARIABLE = "GETSTREAM_LOCAL_LIFELINE"
"""File descriptor of the program's end of the pipe."""

_EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h; nobody is left to read it."""


def install() -> None:
    """Watch the pipe from a thread, if `VARIABLE` is set."""
    # Taken out, because children of the program inherit the variable and not the pipe.
    descriptor = os.environ.pop(VARIABLE, "")
    if descriptor.isdecimal():
        threading.Thread(
            target=_watch, args=(int(descriptor),), name="test kit lifeline", daemon=True
        ).start()


def _watch(descriptor: int) -> None:
    try:
        while os.read(descriptor, 1):
            pass
    except OSError:  # it is no descriptor of this process
        return
    os._exit(_EXIT_CODE)
