"""What waits to be sent to the service: frames of the call, and the marks between them."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum

FRAME_MS = 20

MAX_QUEUED_MS = 10_000
"""Audio that waits for a session that is not ready, or for a socket that is stuck. Older audio is
dropped and counted: what somebody said ten seconds ago no longer helps a conversation."""


class Mark(Enum):
    """A place in the stream."""

    ACTIVITY_START = "the user begins to speak"
    ACTIVITY_END = "the user has finished"


class Uplink:
    """A bounded queue of 20 ms frames and marks, for one sender on one event loop.

    Args:
        preroll_ms: with a number, frames are sent only between `start_activity` and
            `end_activity`, and so much of what came before is at hand when an activity starts.
            None sends every frame.
    """

    def __init__(self, preroll_ms: float | None = None) -> None:
        self.sent = 0
        self.dropped_ms = 0.0
        self._queue: deque[bytes | Mark] = deque()
        self._frames = 0  # in the queue
        self._preroll: deque[bytes] | None = None
        if preroll_ms is not None:
            self._preroll = deque(maxlen=max(1, round(preroll_ms / FRAME_MS)))
        self._open = self._preroll is None
        self._pushed_at = float("-inf")
        self._arrived = asyncio.Event()

    def push(self, frame: bytes, now: float) -> None:
        """Take the next 20 ms of the call; `now` is the time of the event loop."""
        self._pushed_at = now
        if self._open:
            self._enqueue(frame)
        elif self._preroll is not None:
            self._preroll.append(frame)

    def start_activity(self, before_ms: float) -> None:
        """Mark that the user speaks, and send what came in the last `before_ms` after the mark."""
        self._open = True
        self._enqueue(Mark.ACTIVITY_START)
        if self._preroll is not None:
            count = min(len(self._preroll), round(before_ms / FRAME_MS))
            for frame in list(self._preroll)[len(self._preroll) - count :]:
                self._enqueue(frame)
            self._preroll.clear()

    def end_activity(self) -> None:
        """Mark that the user has finished."""
        self._enqueue(Mark.ACTIVITY_END)
        self._open = self._preroll is None

    async def next(self, idle_after: float) -> bytes | Mark | None:
        """Return what is to be sent next, or None when `push` was not called for `idle_after` s."""
        loop = asyncio.get_running_loop()
        called_at = loop.time()
        while not self._queue:
            due = max(self._pushed_at, called_at) + idle_after
            if loop.time() >= due:
                return None
            self._arrived.clear()
            # A timer that sets the event costs a tenth of what asyncio.wait_for does.
            timer = loop.call_at(due, self._arrived.set)
            try:
                await self._arrived.wait()
            finally:
                timer.cancel()
        item = self._queue.popleft()
        if isinstance(item, bytes):
            self._frames -= 1
            self.sent += 1
        return item

    def _enqueue(self, item: bytes | Mark) -> None:
        self._queue.append(item)
        self._arrived.set()
        if isinstance(item, Mark):
            return
        self._frames += 1
        if self._frames * FRAME_MS > MAX_QUEUED_MS:
            # The oldest frame; a mark is never lost.
            oldest = next(i for i, each in enumerate(self._queue) if isinstance(each, bytes))
            del self._queue[oldest]
            self._frames -= 1
            self.dropped_ms += FRAME_MS
