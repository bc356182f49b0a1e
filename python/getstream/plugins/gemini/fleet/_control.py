"""Carry out what `Placement` decides, on an engine that runs workers and a store of records."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from .._terminal import one_line
from ..errors import ClosedError, ConfigError
from ..live import Resumption
from ._calls import (
    CallRecord,
    CallRequest,
    FleetFullError,
    FleetStatus,
    Placed,
    StartCall,
    WorkerReport,
    WorkerStatus,
)
from ._placement import LAGGING_MS, CallState, KnownWorker, Limits, Placement, WorkerPhase
from ._ports import Engine, Records
from ._record_writer import RecordWriter
from ._tasks import NoAnswerError, OwnedTasks

logger = logging.getLogger("getstream.plugins.gemini")

TICK_S = 0.25
"""Seconds between looks at what is due: retries, silent workers, the size of the fleet. A failed
call is tried again after 0.25 s at the earliest."""

LATE_TICK_S = 1.0
"""A tick that is later by this was held up, with the reports that would have come meanwhile: that
the workers were silent says nothing about them then."""

SETTLE_S = 3.0
"""Seconds after the start in which the workers that run already have said what they hold: they
report once a second."""

ROOM_WAIT_S = 15.0
"""Seconds for which a request waits for room: a warm worker takes 3 to 4 s to start, under load 11
to 16."""

RETRY_GROWING_S, RETRY_FULL_S = 5.0, 15.0
"""Seconds after which a refused request may come again: when a worker is about to start, and when
calls have to end first."""

START_TIMEOUT_S = 10.0
"""Seconds that a worker has to confirm a call; it takes some milliseconds, or hangs."""

PREPARE_TIMEOUT_S = 3.0
"""Seconds that a worker has to join a call that will move to it; the call does not wait for longer
than two."""

LEAVE_TIMEOUT_S = 5.0
"""Seconds that a worker has to confirm that it was told to leave a call."""

SPAWN_TIMEOUT_S = 300.0
"""Seconds that a worker has to start: a cluster may have to add a machine for it."""

SPAWN_DELAY_S, LARGEST_SPAWN_DELAY_S = 1.0, 30.0
"""Seconds until a start of a worker that failed is tried again, doubled each time."""

KNOWN_TIMEOUT_S = 10.0
"""Seconds that an engine has to tell which workers run, and a store to return all records."""

LOAD_DELAY_S = 5.0
"""Seconds until records that could not be read are tried again."""

WATCH_DELAY_S = 1.0
"""Seconds until a worker is watched again where its engine failed to."""

HUNG_TIMEOUT_S = 15.0
"""Seconds that the end of a hung process may take: SIGKILL takes milliseconds, but Ray reports a
death 5 s before the process and its sockets are gone."""

END_TIMEOUT_S = 30.0
"""Seconds that the end of an empty worker may take."""

SURGE_WAIT_S = 30.0
"""Seconds for which a drain waits for a new worker to take the calls. After that they may go to
workers that are to be replaced, too: a full cluster has no room for one more until one has gone."""

ROOM_FOR_MOVE_S = 120.0
"""Seconds after which a drain overloads other workers, or is given up where there is none."""

REST_LIMIT_S = 600.0
"""Seconds in which the calls of a worker that goes have to come to rest. After that they are left
at once: nobody talks for so long without a pause of two seconds, but noise may look like it."""

OBEY_S = 30.0
"""Seconds that a worker has to leave calls at once, until it is ended like one that hangs."""

FLUSH_S = 3.0
"""Seconds that the store has at the end."""

CLOSE_S = 3.0
"""Seconds that the tasks have to end."""

MAX_EVENTS = 1000
"""Events that are kept: an hour of a busy fleet, some 200 kB."""

MAX_GONE = 10_000
"""Names of ended workers that are remembered, so that their late words count for nothing."""

LAG_TOLD_EVERY_S = 30.0
"""Seconds between warnings that the event loop of a worker is late."""


@dataclass(frozen=True)
class FleetEvent:
    """Tells one thing that has happened in a fleet.

    Attributes:
        at: when, in seconds since 1970 (UTC).
        kind: of a call "new", "moved" or "crashed" (it was given to a worker for that reason),
            "not started", "failed", "given up", "ended", "missing"; of a worker "worker started",
            "worker found", "worker not started", "worker lost", "worker hung", "worker ended",
            "worker lagging", "draining", "not drained"; of the store "record failed".
        cid: the call, "" if it is about none.
        worker: the worker, "" if it is about none.
        epoch: of the call's assignment, 0 if it is about none.
        detail: the error, or more words for people.
    """

    at: float
    kind: str
    cid: str = ""
    worker: str = ""
    epoch: int = 0
    detail: str = ""


class _Life(Enum):
    NEW = "not started yet"
    STARTING = "reading what an earlier control has left"
    RUNNING = "in operation"
    CLOSED = "closed"


@dataclass
class _Waiter:
    """Holds a request that waits for room, for all who have made it."""

    request: CallRequest
    done: asyncio.Future[Placed]
    users: int = 0


class Control:
    """Runs a fleet: one of it places all calls of all workers. Implements `Fleet`.

    It keeps nothing that cannot be had again. The workers say once a second what they hold, and
    what resumes a call is in the records. So it may die at any time: calls go on without it, and
    the next control finds them. Calls whose worker has died as well are placed again.

    All methods belong to one event loop, which also tells the time. The first one that is called
    starts the control if `start` was not.

    Args:
        engine: starts and reaches workers. What it raises, or does not answer in time, is retried
            or worked around, and never ends a call.
        records: stores what places a call again. Where it fails, calls go on, and the newest record
            of each is stored when it works again.
        limits: what a worker takes, and how many there are.
        room_wait_s: seconds for which `place` waits for room.
        unix_time: returns seconds since 1970: for epochs and events.
    """

    def __init__(
        self,
        engine: Engine,
        records: Records,
        limits: Limits,
        *,
        room_wait_s: float = ROOM_WAIT_S,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._records = records
        self._limits = limits
        self._room_wait_s = room_wait_s
        self._unix_time = unix_time
        # In milliseconds, so that a control that is started again never gives an epoch twice.
        self._placement = Placement(limits, int(unix_time() * 1000))
        self._tasks = OwnedTasks()
        self._writer = RecordWriter(records, self._tasks, self._on_record_failure)
        self._life = _Life.NEW
        self._started = asyncio.Event()  # or closed
        self._settled = asyncio.Event()  # or closed
        self._settle_at = 0.0
        self._has_read_records = False
        self._has_orphans = True  # recorded calls may have no worker
        self._lists_workers = False  # whether the engine has told which workers run
        self._waiters: dict[str, _Waiter] = {}  # by call, in order
        self._starting = 0  # workers
        self._spawn_failures = 0
        self._spawn_not_before = 0.0
        self._to_drain: deque[str] = deque()
        self._draining = False
        self._emptying: set[str] = set()  # workers that are to have no calls
        self._ending: dict[str, asyncio.Task[None]] = {}  # hung workers
        self._announced: set[str] = set()  # workers that the engine has told of
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._gone: dict[str, None] = {}  # workers that have ended, oldest first
        self._lag_told: dict[str, float] = {}
        self._counts = dict.fromkeys(
            ("refused", "hung", "workers_started", "workers_not_started", "records_failed"), 0
        )
        self._events: deque[FleetEvent] = deque(maxlen=MAX_EVENTS)

    # -- the life of the control ---------------------------------------------------------------

    async def start(self) -> None:
        """Find the workers and calls of an earlier control, and begin. Repeating it is harmless.

        Raises:
            ClosedError: it was closed.
        """
        await self._ensure_started()

    async def close(self) -> None:
        """End the control and all its tasks, in 6 s at most. Workers and calls go on without it.

        Close it before its workers where the calls are to be resumed by the next control: what a
        closed control is told changes no record any more.
        """
        if self._life is not _Life.CLOSED:
            self._life = _Life.CLOSED
            self._started.set()
            self._settled.set()
            for cid, waiter in list(self._waiters.items()):
                self._drop_waiter(cid)
                waiter.done.set_exception(ClosedError("The control of this fleet was closed"))
                waiter.done.exception()  # retrieved, if nobody waits any more
            if not await self._writer.flush(FLUSH_S):
                logger.error("The records of %d calls are not stored", self._writer.pending)
        await self._tasks.close(CLOSE_S)

    @property
    def recent_events(self) -> tuple[FleetEvent, ...]:
        """Return what has happened, oldest first, the last thousand events."""
        return tuple(self._events)

    # -- what is asked of a fleet --------------------------------------------------------------

    async def place(self, request: CallRequest) -> Placed:
        """Have one assistant in a call, however often it is asked for.

        It returns when the worker has confirmed the call. If the worker fails to, the call is
        accepted all the same, and given to another one.

        Raises:
            ConfigError: the parameters of the request do not fit in JSON.
            FleetFullError: there is no room, and none came up in time.
            ClosedError: the control was closed.
        """
        _check_params(request)
        await self._ensure_started()
        if self._placement.assignment(request.cid) is None and not self._settled.is_set():
            await self._settled.wait()  # a worker may hold it that has not said so yet
            self._check_open()
        self._advance()
        known = self._placement.assignment(request.cid)
        recorded = known.request if known is not None else None
        try:
            state, start = self._placement.request(request, self._now())
        except FleetFullError:
            return await self._wait_for_room(request)
        if state == "over":
            return Placed(request.cid, "", "over")
        if start is None:
            assert known is not None
            if known.request is not recorded:  # it was not known before in full
                self._write_record(request.cid)
            return Placed(request.cid, known.worker, "running")
        await asyncio.wait([self._carry_out(start)])
        return Placed(request.cid, start.worker, "started")

    async def end(self, cid: str, session_id: str = "") -> bool:
        """End the assistant of a call; returns whether there was one.

        Args:
            cid: the call.
            session_id: the session that has ended: nothing happens to a call that is in a later one
                by now. "" ends the call whatever its session is.
        """
        await self._ensure_started()
        waiter = self._waiters.get(cid)
        if waiter is not None and (not session_id or waiter.request.session_id in ("", session_id)):
            self._drop_waiter(cid)
            waiter.done.set_result(Placed(cid, "", "over"))
            session_id = session_id or waiter.request.session_id
        assignment = self._placement.end(cid, session_id, self._now())
        if assignment is None:
            return False
        self._writer.delete(cid)
        self._note("ended", cid, assignment.worker, assignment.epoch)
        if assignment.state is not CallState.UNPLACED:
            self._tasks.start(
                self._tell_to_leave(assignment.worker, cid, assignment.epoch), f"leave {cid}"
            )
        self._advance()
        return True

    async def drain(self, worker: str | None = None) -> list[str]:
        """Replace a worker, or all that run now: their calls move, each at rest.

        One worker after the other, so that there need be room for one more only. A call that does
        not come to rest in ten minutes is left at once. It returns at once with those that go.

        Raises:
            ConfigError: there is no worker of that name.
        """
        await self._ensure_started()
        known = [w.name for w in self._placement.workers() if w.phase is not WorkerPhase.CLOSED]
        if worker is not None and worker not in known:
            raise ConfigError(
                f"There is no worker {worker!r:.100} that could be drained: there is "
                f"{', '.join(sorted(known)[:20]) or 'none'}"
            )
        going = known if worker is None else [worker]
        self._to_drain.extend(self._placement.retire(going))
        for name in going:
            self._note("draining", worker=name)
        if self._to_drain and not self._draining:
            self._draining = True
            self._tasks.start(self._drain_all(), "drain")
        self._grow()
        return going

    async def status(self) -> FleetStatus:
        """Return how the fleet is."""
        await self._ensure_started()
        now, placement = self._now(), self._placement
        return FleetStatus(
            workers={
                w.name: WorkerStatus(
                    accepting=w.phase in (WorkerPhase.OPEN, WorkerPhase.FOUND),
                    silent_s=round(max(0.0, now - w.seen_at), 3),
                    calls=tuple(w.calls),
                    report=w.report,
                )
                for w in placement.workers()
            },
            calls=placement.held,
            unplaced=placement.unplaced,
            room=placement.room(now),
            wanted=placement.wanted(now),
            starting=self._starting,
            counts=placement.counts | self._counts,
            control_pid=os.getpid(),
        )

    # -- what workers say ----------------------------------------------------------------------

    async def report(self, report: WorkerReport) -> dict[str, int]:
        """Note how a worker is; returns the calls that it must leave, with the epoch of each."""
        await self._ensure_started()
        if report.worker in self._gone:  # it was ended, and lives: its calls have other workers
            return dict(report.calls)
        now, placement = self._now(), self._placement
        is_new = placement.worker(report.worker) is None
        unplaced, adopted = placement.unplaced, placement.counts["adopted"]
        leave = placement.on_report(report, now)
        if placement.counts["adopted"] > adopted:
            logger.warning(
                "Worker %s has calls that are in no record: they stay with it", report.worker
            )
            for cid in report.calls:
                self._write_record(cid)
        if is_new:
            self._note("worker found", worker=report.worker)
            self._watch(report.worker)
        if placement.unplaced > unplaced:
            logger.warning(
                "%d calls of worker %s are missing in its reports: they are placed again",
                placement.unplaced - unplaced, report.worker,
            )  # fmt: skip
            self._note("missing", worker=report.worker)
        self._tell_lag(report, now)
        if self._has_orphans:
            self._settle_if_known(now)
        if placement.unplaced or self._waiters:
            self._advance()
        return leave

    async def save(self, cid: str, epoch: int, resume: Resumption) -> None:
        """Store what resumes a call; the word of a life that is over is ignored."""
        await self._ensure_started()
        if self._placement.on_saved(cid, epoch, resume):
            self._write_record(cid)

    async def prepare_move(self, cid: str, epoch: int) -> None:
        """Have the worker that a moving call goes to join it, while the one before still listens.

        It returns when that has joined, or cannot: the call moves all the same.
        """
        await self._ensure_started()
        worker = self._placement.destination(cid, epoch, self._now())
        assignment = self._placement.assignment(cid)
        if worker is None or assignment is None:
            return
        try:
            await self._tasks.bounded(
                self._engine.prepare_call(worker, assignment.request),
                PREPARE_TIMEOUT_S,
                f"having {worker} join {cid}",
            )
        except NoAnswerError as error:
            logger.info("A move was not prepared: %s", one_line(str(error))[:300])

    async def over(self, cid: str, epoch: int, failed: bool, error: str = "") -> None:
        """Note that a worker no longer holds a call, and do what follows from it."""
        await self._ensure_started()
        assignment = self._placement.assignment(cid)
        worker = assignment.worker if assignment is not None else ""
        verdict = self._placement.on_over(cid, epoch, failed, self._now())
        detail = one_line(error)[:300]
        if verdict in ("ended", "given up", "succeeded"):
            self._writer.delete(cid)
        if verdict in ("ended", "succeeded"):
            self._note("ended", cid, worker, epoch)
        elif verdict == "failed":
            self._note("failed", cid, worker, epoch, detail)
            logger.warning("The assistant of %s has failed and starts again: %s", cid, detail)
        elif verdict == "given up":
            self._note_given_up(cid, worker, epoch, detail)
        self._advance()

    # -- start ---------------------------------------------------------------------------------

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _check_open(self) -> None:
        if self._life is _Life.CLOSED:
            raise ClosedError("The control of this fleet was closed; make a new one")

    async def _ensure_started(self) -> None:
        if self._life is _Life.NEW:
            self._life = _Life.STARTING
            self._tasks.start(self._run(), "control of the fleet")
        if not self._started.is_set():
            await self._started.wait()  # bounded: what it waits for is
        self._check_open()

    async def _run(self) -> None:
        try:
            await self._recover()
        except Exception:  # what engine and store raise is dealt with
            logger.exception("Unexpected: what an earlier control has left was not found")
        if self._life is _Life.STARTING:
            self._life = _Life.RUNNING
        self._started.set()
        last = self._now()
        while self._life is _Life.RUNNING:
            now = self._now()
            if now - last > TICK_S + LATE_TICK_S:
                logger.warning("The control of the fleet was held up for %.1f s", now - last)
                self._placement.excuse_silence(now)
            last = now
            try:
                self._tick(now)
            except Exception:  # calls must not suffer from a fault here
                logger.exception("Unexpected: a tick of the fleet's control has failed")
            await asyncio.sleep(TICK_S)

    async def _recover(self) -> None:
        """Find the workers that run, and the calls that are recorded."""
        try:
            names = await self._tasks.bounded(
                self._engine.known_workers(), KNOWN_TIMEOUT_S, "listing the workers"
            )
        except NoAnswerError as error:
            logger.warning("The workers that run are found by their reports: %s", error)
        else:
            self._lists_workers = True
            for name in names:
                self._placement.worker_found(name, self._now())
                self._announced.add(name)
                self._watch(name)
        if await self._load_records():
            self._has_read_records = True
        else:
            self._tasks.start(self._load_records_later(), "load records")
        self._settle_at = self._now() + SETTLE_S
        self._settle_if_known(self._now())

    async def _load_records(self) -> bool:
        try:
            records = await self._tasks.bounded(
                self._records.load_all(), KNOWN_TIMEOUT_S, "loading the records"
            )
        except NoAnswerError as error:
            self._on_record_failure("", str(error))
            return False
        for cid, text in records.items():
            try:
                record = CallRecord.from_json(text)
                if record.request.cid != cid:
                    raise ConfigError("This is the record of another call")
            except ConfigError as error:
                self._on_record_failure(cid, str(error))
            else:
                if not self._placement.recover(record, self._now()):
                    self._writer.delete(cid)
        return True

    async def _load_records_later(self) -> None:
        while True:
            await asyncio.sleep(LOAD_DELAY_S)
            if await self._load_records():
                break
        self._has_read_records = True
        for cid in self._placement.held_calls():
            self._write_record(cid)
        self._has_orphans = True
        self._settle_if_known(self._now())

    def _settle_if_known(self, now: float) -> None:
        """Take requests when the workers have said what they hold, or have had time to."""
        waits = self._are_workers_unheard()
        if not self._settled.is_set() and (
            now >= self._settle_at or (self._lists_workers and not waits)
        ):
            self._settled.set()
        # A recorded call may be held by a worker that hangs and has not been heard of: that it has
        # ended comes first, as always.
        if self._settled.is_set() and self._has_orphans and not waits:
            self._has_orphans = False
            lost = self._placement.settle(now)
            if lost:
                logger.warning("%d recorded calls have no worker: they are placed again", len(lost))
            self._advance()
            self._grow()

    def _are_workers_unheard(self) -> bool:
        """Tell whether a worker that somebody else has started has not said what it holds."""
        return any(
            w.report is None and w.phase in (WorkerPhase.FOUND, WorkerPhase.RETIRING)
            for w in self._placement.workers()
        )

    def _write_record(self, cid: str) -> None:
        assignment = self._placement.assignment(cid)
        # What is stored of an adopted call may have its request: it has to be read first.
        if assignment is not None and (self._has_read_records or not assignment.anonymous):
            self._writer.put(assignment.record())

    # -- what is due ---------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        self._settle_if_known(now)
        for worker in self._placement.silent(now):
            if worker.name not in self._ending:
                self._ending[worker.name] = self._tasks.start(
                    self._end_hung(worker), f"end {worker.name}"
                )
        if not self._settled.is_set():
            return
        self._advance()
        self._grow()
        for name in self._placement.idle(now):
            logger.info("Worker %s is not needed any more", name)
            self._placement.close_worker(name)
            self._tasks.start(self._empty(name), f"empty {name}")

    def _advance(self) -> None:
        """Give workers to the calls that wait for one: those that had one come first."""
        if self._life is not _Life.RUNNING:
            return
        now = self._now()
        for displaced in self._placement.place_displaced(now):
            self._carry_out(displaced)
        while self._waiters:
            cid, waiter = next(iter(self._waiters.items()))
            try:
                state, start = self._placement.request(waiter.request, now)
            except FleetFullError:
                break
            self._drop_waiter(cid)
            if start is not None:
                self._carry_out(start)
            known = self._placement.assignment(cid)
            waiter.done.set_result(Placed(cid, known.worker if known is not None else "", state))

    async def _wait_for_room(self, request: CallRequest) -> Placed:
        """Wait with all who ask for the same call."""
        waiter = self._waiters.get(request.cid)
        if waiter is None:
            future: asyncio.Future[Placed] = asyncio.get_running_loop().create_future()
            self._waiters[request.cid] = waiter = _Waiter(request, future)
            self._placement.waiting = len(self._waiters)
            self._grow()
        is_first = waiter.users == 0
        waiter.users += 1
        if not is_first:
            self._placement.counts["repeated"] += 1
        try:
            await asyncio.wait([waiter.done], timeout=self._room_wait_s)
        finally:
            waiter.users -= 1
            if waiter.users == 0 and self._waiters.get(request.cid) is waiter:
                self._drop_waiter(request.cid)
        if waiter.done.done():
            placed = waiter.done.result()
            again = placed.state == "started" and not is_first
            return replace(placed, state="running") if again else placed
        self._counts["refused"] += 1
        growing = self._starting or self._placement.shortage(0, self._now())
        raise FleetFullError(
            f"Every worker is full, and no room came up in {self._room_wait_s:g} s: try again "
            "later, or allow more workers",
            RETRY_GROWING_S if growing else RETRY_FULL_S,
        )

    def _drop_waiter(self, cid: str) -> None:
        del self._waiters[cid]
        self._placement.waiting = len(self._waiters)

    # -- calls ---------------------------------------------------------------------------------

    def _carry_out(self, start: StartCall) -> asyncio.Task[None]:
        cid = start.request.cid
        self._note(start.reason, cid, start.worker, start.epoch)
        self._writer.put(CallRecord(start.request, start.epoch, start.worker, start.resume))
        return self._tasks.start(self._start_call(start), f"start {cid}")

    async def _start_call(self, start: StartCall) -> None:
        cid, worker, epoch = start.request.cid, start.worker, start.epoch
        try:
            await self._tasks.bounded(
                self._engine.start_call(start), START_TIMEOUT_S, f"giving {cid} to {worker}"
            )
        except NoAnswerError as error:
            detail = one_line(str(error))[:300]
            logger.warning("A worker has not taken a call: %s", detail)
            self._note("not started", cid, worker, epoch, detail)
        else:
            self._placement.on_started(cid, epoch)
            return
        try:
            await self._tasks.bounded(
                self._engine.leave_call(worker, cid, epoch, at_rest=False),
                LEAVE_TIMEOUT_S,
                f"telling {worker} to leave {cid}",
            )
        except NoAnswerError:
            # It may have the call or not, and must not be the first of two. Its reports tell, or it
            # is silent and will be ended.
            self._placement.on_unconfirmed(cid, epoch)
        else:
            self._placement.on_not_started(cid, epoch, self._now())

    async def _tell_to_leave(self, worker: str, cid: str, epoch: int) -> None:
        # If that fails, the next report of the worker has the call, and is answered with it.
        with contextlib.suppress(NoAnswerError):
            await self._tasks.bounded(
                self._engine.leave_call(worker, cid, epoch, at_rest=False),
                LEAVE_TIMEOUT_S,
                f"telling {worker} to leave {cid}",
            )

    # -- workers -------------------------------------------------------------------------------

    def _grow(self) -> None:
        """Start the workers that are missing."""
        now = self._now()
        if self._life is not _Life.RUNNING or not self._settled.is_set():
            return
        if now < self._spawn_not_before:
            return
        for _ in range(self._placement.shortage(self._starting, now)):
            self._starting += 1
            self._tasks.start(self._spawn(), "start a worker")

    async def _spawn(self) -> None:
        began = self._now()
        try:
            name = await self._tasks.bounded(
                self._engine.spawn(), SPAWN_TIMEOUT_S, "starting a worker"
            )
            if name in self._announced:
                raise NoAnswerError(f"starting a worker: {name} runs already")
        except NoAnswerError as error:
            detail = one_line(str(error))[:300]
            logger.error("No worker could be started: %s", detail)
            self._counts["workers_not_started"] += 1
            self._note("worker not started", detail=detail)
            delay_s = min(
                LARGEST_SPAWN_DELAY_S, SPAWN_DELAY_S * 2.0 ** min(self._spawn_failures, 8)
            )
            self._spawn_failures += 1
            self._spawn_not_before = self._now() + delay_s
            return
        finally:
            self._starting -= 1
        self._spawn_failures = 0
        self._announced.add(name)
        self._gone.pop(name, None)
        self._placement.worker_started(name, self._now())  # unless its report was faster
        self._counts["workers_started"] += 1
        self._note("worker started", worker=name, detail=f"after {self._now() - began:.1f} s")
        logger.info("Worker %s is up after %.1f s", name, self._now() - began)
        self._watch(name)
        self._advance()

    def _watch(self, name: str) -> None:
        if name not in self._watches:
            self._watches[name] = self._tasks.start(self._watch_worker(name), f"watch {name}")

    async def _watch_worker(self, name: str) -> None:
        """Wait for the death of a worker; it has no bound but the worker's life."""
        while True:
            try:
                await self._engine.wait_dead(name)
                break
            except Exception as error:
                logger.warning("The death of worker %s may be missed: %s", name, error)
                await asyncio.sleep(WATCH_DELAY_S)
        # An engine may tell of the death of a hung process before its sockets are closed.
        if name in self._ending:
            await asyncio.wait([self._ending[name]])
        self._lost(name)

    def _lost(self, name: str, *, is_dead: bool = True) -> None:
        """Have the calls of a worker placed again, which is dead or out of reach."""
        if is_dead:
            self._gone[name] = None
            while len(self._gone) > MAX_GONE:
                del self._gone[next(iter(self._gone))]
        self._announced.discard(name)
        self._lag_told.pop(name, None)
        watch = self._watches.pop(name, None)
        if watch is not None and watch is not asyncio.current_task():
            watch.cancel()
        worker = self._placement.worker(name)
        if worker is None:
            return
        displaced = self._placement.worker_lost(name, self._now())
        if worker.phase is WorkerPhase.CLOSED and not displaced:
            logger.info("Worker %s has ended", name)
            self._note("worker ended", worker=name)
        else:
            logger.warning("Worker %s is lost, with %d calls", name, len(displaced))
            self._note("worker lost", worker=name, detail=f"{len(displaced)} calls")
        for cid in displaced:
            if self._placement.assignment(cid) is None:
                self._writer.delete(cid)
                self._note_given_up(cid, name, 0, "its workers die of it")
        self._advance()
        self._grow()

    async def _end_hung(self, worker: KnownWorker) -> None:
        """End a worker that does not answer, and only then have its calls placed again.

        The model's service refuses a second connection to a session, and two assistants in a call
        are worse than none.
        """
        name, began, report = worker.name, self._now(), worker.report
        logger.warning("Worker %s is silent: it is ended, its calls go on elsewhere", name)
        self._counts["hung"] += 1
        self._note("worker hung", worker=name)
        is_dead = True
        try:
            await self._kill(name, report)
        except NoAnswerError as error:
            is_dead = False
            logger.error("A silent worker could not be ended: %s", one_line(str(error))[:300])
        finally:
            del self._ending[name]
        if is_dead or worker.seen_at <= began:  # else it is alive after all
            self._lost(name, is_dead=is_dead)

    async def _kill(self, name: str, report: WorkerReport | None) -> None:
        pid, node = (0, "") if report is None else (report.pid, report.node)
        await self._tasks.bounded(
            self._engine.end_hung_worker(name, pid, node), HUNG_TIMEOUT_S, f"ending {name}"
        )

    async def _drain_all(self) -> None:
        try:
            while self._to_drain:
                await self._replace(self._to_drain.popleft())
        finally:
            self._draining = False

    async def _replace(self, name: str) -> None:
        """Move the calls of a worker as soon as there is room for them, and end it."""
        began = self._now()
        while True:
            worker, now = self._placement.worker(name), self._now()
            if worker is None or worker.phase is WorkerPhase.CLOSED:
                return
            needed = max(1, len(worker.calls) + self._limits.spare_calls)
            surged = now - began > SURGE_WAIT_S
            if self._placement.room_beside(name, now, retiring_too=surged) >= needed:
                break
            if now - began > ROOM_FOR_MOVE_S:
                others = (w for w in self._placement.workers() if w.takes_calls and w is not worker)
                if any(others):
                    logger.warning("There is no room for the calls of %s: others overload", name)
                    break
                logger.error("Worker %s stays: no other worker could be started", name)
                self._placement.keep(name)
                self._note("not drained", worker=name)
                return
            await asyncio.sleep(TICK_S)
        self._placement.close_worker(name)
        await self._empty(name)

    async def _empty(self, name: str) -> None:
        """Have a closed worker leave its calls, each at rest, and end it."""
        if name in self._emptying:
            return
        self._emptying.add(name)
        try:
            if await self._move_calls(name):
                await self._end_empty(name)
        finally:
            self._emptying.discard(name)

    async def _move_calls(self, name: str) -> bool:
        """Wait until a worker has left its calls; False if it has died meanwhile."""
        began, insisted = self._now(), False
        while True:
            worker = self._placement.worker(name)
            if worker is None:
                return False
            if not worker.calls:
                return True
            waited = self._now() - began
            if waited > REST_LIMIT_S + OBEY_S:
                logger.error("Worker %s does not leave its calls: it is ended", name)
                with contextlib.suppress(NoAnswerError):
                    await self._kill(name, worker.report)
                self._lost(name)
                return False
            if waited > REST_LIMIT_S and not insisted:
                insisted = True
                logger.warning("%d calls of %s found no rest in %g s, and move now",
                               len(worker.calls), name, REST_LIMIT_S)  # fmt: skip
                for cid, held in worker.calls.items():
                    self._tasks.start(self._tell_to_leave(name, cid, held.epoch), f"leave {cid}")
            for cid, held in list(worker.calls.items()):
                if self._placement.move(cid, held.epoch):
                    self._write_record(cid)  # the next control must not take it for the call's end
                    self._tasks.start(self._ask_to_move(name, cid, held.epoch), f"move {cid}")
            await asyncio.sleep(TICK_S)

    async def _ask_to_move(self, worker: str, cid: str, epoch: int) -> None:
        try:
            await self._tasks.bounded(
                self._engine.leave_call(worker, cid, epoch, at_rest=True),
                LEAVE_TIMEOUT_S,
                f"telling {worker} to leave {cid} at rest",
            )
        except NoAnswerError as error:
            logger.warning("A call is not moved yet: %s", error)
            await asyncio.sleep(WATCH_DELAY_S)
            self._placement.stay(cid, epoch)
            self._write_record(cid)

    async def _end_empty(self, name: str) -> None:
        """End a worker without calls, however often that has to be tried."""
        delay_s = SPAWN_DELAY_S
        while self._placement.worker(name) is not None:
            try:
                await self._tasks.bounded(
                    self._engine.end_worker(name), END_TIMEOUT_S, f"ending {name}"
                )
            except NoAnswerError as error:
                logger.warning("A worker without calls has not ended yet: %s", error)
                await asyncio.sleep(delay_s)
                delay_s = min(LARGEST_SPAWN_DELAY_S, 2 * delay_s)
            else:
                self._lost(name)

    # -- telling -------------------------------------------------------------------------------

    def _note(
        self, kind: str, cid: str = "", worker: str = "", epoch: int = 0, detail: str = ""
    ) -> None:
        self._events.append(FleetEvent(self._unix_time(), kind, cid, worker, epoch, detail))

    def _note_given_up(self, cid: str, worker: str, epoch: int, detail: str) -> None:
        self._note("given up", cid, worker, epoch, detail)
        logger.error("The assistant of %s has failed too often and is given up: %s", cid, detail)

    def _on_record_failure(self, cid: str, error: str) -> None:
        self._counts["records_failed"] += 1
        detail = one_line(error)[:300]
        self._note("record failed", cid, detail=detail)
        logger.warning("The records of the fleet are not as they should be: %s", detail)

    def _tell_lag(self, report: WorkerReport, now: float) -> None:
        """Warn of a worker whose event loop is held up: it is heard in all of its calls."""
        if report.lag_ms <= LAGGING_MS:
            return
        told_at = self._lag_told.get(report.worker)
        if told_at is None or now - told_at >= LAG_TOLD_EVERY_S:
            self._lag_told[report.worker] = now
            detail = f"{report.lag_ms:.0f} ms"
            self._note("worker lagging", worker=report.worker, detail=detail)
            logger.warning(
                "The event loop of worker %s was held up for %s: something in the assistant "
                "function blocks, or the worker has too many calls",
                report.worker, detail,
            )  # fmt: skip


def _check_params(request: CallRequest) -> None:
    try:
        json.dumps(request.params)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"CallRequest.params have to fit in JSON: {error}") from None
