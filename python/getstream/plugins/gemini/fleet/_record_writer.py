"""Write the records of calls in order, one at a time for each call, however the store behaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ._calls import CallRecord
from ._ports import Records
from ._tasks import NoAnswerError, OwnedTasks

logger = logging.getLogger("getstream.plugins.gemini")

WRITE_TIMEOUT_S = 10.0
"""Seconds that one write may take: it takes milliseconds, or the store is gone."""

FIRST_DELAY_S, LARGEST_DELAY_S = 0.5, 30.0
"""Seconds between attempts to write, doubled each time."""

CONCURRENT_WRITES = 32
"""Writes at a time, of different calls: a fleet that is moved must not open thousands of
connections to its store."""


class RecordWriter:
    """Brings a store to the newest state of each call.

    For each call one write is under way at most, and of those that wait only the newest is done: so
    an older record never overwrites a newer one, and a deleted one does not come back. A write that
    has failed is tried again until it succeeds or is out of date. (A store that carries out a write
    long after it was cancelled, as behind a stalled network, could still undo a newer one.)

    Args:
        records: the store.
        tasks: owns the tasks that write.
        on_failure: called with the call and the error at each write that failed.
    """

    def __init__(
        self, records: Records, tasks: OwnedTasks, on_failure: Callable[[str, str], None]
    ) -> None:
        self._records = records
        self._tasks = tasks
        self._on_failure = on_failure
        self._wanted: dict[str, CallRecord | None] = {}  # None: to be deleted
        self._writing: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(CONCURRENT_WRITES)

    @property
    def pending(self) -> int:
        """Return how many calls are not stored as they are."""
        return len(self._writing)

    def put(self, record: CallRecord) -> None:
        """Have the record of a call stored."""
        self._want(record.request.cid, record)

    def delete(self, cid: str) -> None:
        """Have a call forgotten."""
        self._want(cid, None)

    async def flush(self, timeout_s: float) -> bool:
        """Wait until everything is stored; False if it is not after `timeout_s`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self._writing:
            left = deadline - loop.time()
            if left <= 0:
                return False
            await asyncio.wait(set(self._writing.values()), timeout=left)
        return True

    def _want(self, cid: str, record: CallRecord | None) -> None:
        self._wanted[cid] = record
        if cid not in self._writing:
            self._writing[cid] = self._tasks.start(self._write_all(cid), f"records of {cid}")

    async def _write_all(self, cid: str) -> None:
        delay_s = FIRST_DELAY_S
        try:
            while cid in self._wanted:
                async with self._slots:
                    record = self._wanted.pop(cid)
                    written = await self._write(cid, record)
                if written:
                    delay_s = FIRST_DELAY_S
                    continue
                self._wanted.setdefault(cid, record)
                await asyncio.sleep(delay_s)
                delay_s = min(LARGEST_DELAY_S, 2 * delay_s)
        finally:
            del self._writing[cid]

    async def _write(self, cid: str, record: CallRecord | None) -> bool:
        """Write once; False if that is to be tried again."""
        try:
            if record is None:
                work = self._records.delete(cid)
            else:
                work = self._records.put(cid, record.to_json())
            await self._tasks.bounded(work, WRITE_TIMEOUT_S, f"storing {cid}")
        except (NoAnswerError, OSError) as error:
            self._on_failure(cid, str(error))
            return False
        return True
