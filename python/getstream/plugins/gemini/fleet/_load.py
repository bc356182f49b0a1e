"""Measure what this process uses, and notice when its event loop is blocked.

CPU is the process's own clock, and not a counter of the machine or of its container: those count
what others do, and read differently under each container runtime.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback

logger = logging.getLogger("getstream.plugins.gemini")

STEP_S = 0.25
"""Seconds between two samples, and so the resolution of the lateness that is told."""

HALF_LIFE_S = 2.0
"""Seconds after which a sample of CPU counts half: a burst of one second admits and refuses nobody,
and a call that has begun is seen within a few."""

BLOCKED_S = 1.0
"""Seconds without the event loop that are told as a block. People hear one of 0.1 s already; what
takes so long is no burst of work, but a call that waits."""


class Load:
    """Samples the CPU, the lateness of the running event loop, and memory.

    Attributes:
        cpu: cores that the process uses, smoothed.
    """

    def __init__(self) -> None:
        self.cpu = 0.0
        self._worst_s = 0.0
        self._due = 0.0  # when the next sample is to be taken
        self._sampling: asyncio.Task[None] | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to sample, and to watch the event loop that runs now. Idempotent."""
        if self._sampling is not None:
            return
        self._due = time.monotonic() + STEP_S
        self._sampling = asyncio.ensure_future(self._sample())
        thread = threading.Thread(
            target=self._watch,
            args=[threading.get_ident()],
            name="fleet-loop-watchdog",
            daemon=True,
        )
        thread.start()

    async def stop(self) -> None:
        """End sampling and watching."""
        self._stopped.set()
        if self._sampling is not None:
            self._sampling.cancel()
            await asyncio.wait([self._sampling])

    def worst_lag_ms(self) -> float:
        """Return the worst lateness of the loop since the last time somebody asked."""
        worst_s, self._worst_s = self._worst_s, 0.0
        return worst_s * 1000

    async def _sample(self) -> None:
        at, used = time.monotonic(), time.process_time()
        while True:
            await asyncio.sleep(max(0.0, self._due - time.monotonic()))
            now, used_now = time.monotonic(), time.process_time()
            self._worst_s = max(self._worst_s, now - self._due)
            self._due = now + STEP_S
            if now > at:
                weight = 1 - 0.5 ** ((now - at) / HALF_LIFE_S)
                self.cpu += weight * ((used_now - used) / (now - at) - self.cpu)
            at, used = now, used_now

    def _watch(self, loop_thread: int) -> None:
        """Log the stack of the loop's thread, once for each block. Runs on a thread of its own."""
        told_of = 0.0
        asleep_at = time.monotonic()
        while not self._stopped.wait(STEP_S):
            now = time.monotonic()
            # Stopped as a whole (SIGSTOP, a machine that sleeps): the loop is not to blame.
            whole_process = now - asleep_at > STEP_S + BLOCKED_S / 2
            asleep_at = now
            due = self._due
            if whole_process or due == told_of or now - due < BLOCKED_S:
                continue
            told_of = due
            frame = sys._current_frames().get(loop_thread)
            stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
            del frame
            logger.error(
                "The event loop is blocked for %.1f s: in no call here is anybody heard. "
                "Await what takes long, or use asyncio.to_thread. It is here:\n%s",
                now - due,
                stack,
            )


def resident_mb() -> float:
    """Return the memory of this process, in 10^6 bytes; its peak where that is all there is."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    try:
        with open("/proc/self/statm", encoding="ascii") as pages:
            return int(pages.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        unit = 1e6 if sys.platform == "darwin" else 1e3
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
