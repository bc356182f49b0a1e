"""The end of a program on `getstream` 7, whose native threads call into Python."""

from __future__ import annotations

import atexit
import functools
import time

NATIVE_THREADS_S = 0.2
"""Seconds that native threads have to come out of Python before the interpreter ends; they need
milliseconds, and on a machine that is busy tens of them."""


@functools.cache
def outlast_native_threads() -> None:
    """Have the interpreter wait at exit for what the Stream SDK's threads are still doing in it.

    A native future of `getstream_rtc` (a frame, a call that was left) tells the event loop of its
    end from a thread of tokio. The program may be over before that thread has come back: then
    CPython ends the thread inside of Python, and its unwinding takes the whole process with it,
    with `Fatal Python error: PyGILState_Release` or a segmentation fault instead of the exit code.
    Closing the loop does not wait for such threads, and no API of the SDK does.
    """
    atexit.register(time.sleep, NATIVE_THREADS_S)
