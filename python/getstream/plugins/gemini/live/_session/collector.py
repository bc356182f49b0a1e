"""Keep the garbage collector from stopping a call."""

from __future__ import annotations

import gc
import threading

_once = threading.Lock()


def spare_long_lived_objects() -> None:
    """Have the garbage collector leave alone what is there when the first session begins.

    A full collection looks at every object that the imported modules hold: 214,000 with
    `getstream` 7 and 222,000 with 6.1, for which it stopped the interpreter for 107 and 120 ms
    (CPython 3.11), at any time, in mid-speech as well. The listener hears that as a hole. One
    collection is made here, before anything is said; what it leaves (`gc.freeze`) is not looked at
    again, and later collections only see what is new. Once in a process, also where two sessions
    begin at once; not where the application has frozen or disabled the collector itself.
    """
    with _once:
        if gc.isenabled() and not gc.get_freeze_count():
            gc.collect()
            gc.freeze()
