"""Keep the garbage collector from stopping a call."""

from __future__ import annotations

import functools
import gc


@functools.cache
def spare_long_lived_objects() -> None:
    """Have the garbage collector leave alone what is there when the first session begins.

    A full collection looks at every object that has come from modules: with the Stream SDK, which
    brings some hundred thousand, it holds the interpreter for 60 to 130 ms, at any time, in
    mid-speech as well. That is heard as a hole. One collection is made here, before anything is
    said; what it leaves (`gc.freeze`) is not looked at again, and later collections take a few
    milliseconds. Once in a process; not where the application has frozen or disabled the collector
    itself.
    """
    if gc.isenabled() and not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
