"""Decide which worker holds which call: admission, displaced calls, retries, drains, size.

Sans-IO: what happens comes in with the time, decisions come out.

- A call has at most one assignment, and each assignment an epoch, which is a number larger than all
  before it. A word about a call in another epoch is about a life that is over, and counts for
  nothing: so a worker that was taken for dead cannot end or double what another one has by now.
- A new call is admitted by the CPU that a worker measures, in which calls placed a moment ago do
  not show yet: these count at what a call is assumed to cost. Livekit's agents sample the load each
  0.5 s, and so a burst of calls sees the same idle worker again and again (livekit agents #4884).
- A displaced call, whose worker died or gave way, comes before new ones and may take more than a
  worker should have: people are in it, and audio that may be late is better than none.
- What a worker reports is the truth about what it holds. A call that is assigned to it and missing
  in its reports is placed again; one that it holds in an older epoch, or after the call's end, it
  is told to leave; one that nobody knows, because the records were lost, is adopted: people are
  talking in it, and a second assistant must not come.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal

from ..errors import ConfigError
from ..live import Resumption
from ._calls import CallRecord, CallRequest, FleetFullError, Reason, StartCall, WorkerReport

SHOWS_AFTER_S = 6.0
"""Seconds until a new call shows in the smoothed CPU of its worker: three half-lives of 2 s."""

MEASURED_CALLS = 3
"""Calls of a report from which the cost of one is computed: with fewer, what a process does anyway
(its heartbeat, a collection of garbage) is taken for the calls' own."""

ENDED_FOR_S = 3600.0
"""Seconds for which the end of a session is remembered, as webhooks are retried late."""

FAILURE_WINDOW_S = 120.0
"""Seconds in which the failures of one call are counted."""

MAX_FAILURES = 8
"""Failures in that time with which a call is given up: the delays between them add up to 24 s, and
what fails for so long is a fault of the application or of its key."""

FIRST_DELAY_S, LARGEST_DELAY_S = 0.25, 8.0
"""Seconds until a failed call is tried again, doubled each time. The service refuses a handle for
as long as it takes the connection of the process before for open: 5 s after a hang."""

HANDLE_FAILURES = 5
"""Failures in a row with which the handle is dropped, after 4 s of trying: a new session, seeded
with the lines of the conversation, is better than none."""

EARLY_CRASH_S = 3.0
"""A worker that is last heard of so soon after it was given a call may have died of it, or be held
up by it: the call is tried again like one that has failed, with a delay and not for ever."""

MISSING_S = 3.0
"""Seconds after its start from which a call has to be in the reports of its worker, which come once
a second; a report may be older than the start."""

MISSING_REPORTS = 2
"""Reports in a row without a call after which its worker does not have it."""

LAGGING_MS = 250.0
"""How late the event loop of a worker may be before new calls rather go elsewhere. Half of it is
what jitter buffers cover; importing the SDKs in the first call takes 195 ms."""


@dataclass(frozen=True)
class Limits:
    """Limits what a worker takes, and how many workers there are.

    Attributes:
        max_calls: calls in one worker, at most; None to go by the CPU alone.
        max_cpu: cores that one worker may use. Python runs on one at a time, and audio that waits
            for it is heard late: stay clear of 1.
        call_cpu: cores that a call is assumed to use until it is measured. A talking call takes
            0.05 to 0.06 with an idle machine, and twice that when it is heard and answers at once.
        min_workers: workers, at least.
        max_workers: workers, at most; while some are replaced, one more.
        spare_calls: calls for which there is room at any time, so that the next one need not wait
            for a process to start.
        idle_s: seconds without a call after which a worker that is not needed is ended.
        silent_s: seconds without a report after which a worker is taken to hang. Its calls are
            mute for as long; a worker that is only late is ended, too.

    Raises:
        ConfigError: a value is not a number in its range.
    """

    max_calls: int | None = None
    max_cpu: float = 0.75
    call_cpu: float = 0.11
    min_workers: int = 1
    max_workers: int = 4
    spare_calls: int = 1
    idle_s: float = 60.0
    silent_s: float = 5.0

    def __post_init__(self) -> None:
        if self.max_calls is not None:
            _check_whole("max_calls", self.max_calls, 1)
        _check_whole("min_workers", self.min_workers, 0)
        _check_whole("max_workers", self.max_workers, 1)
        _check_whole("spare_calls", self.spare_calls, 0)
        _check_number("max_cpu", self.max_cpu, 0.01)
        _check_number("call_cpu", self.call_cpu, 0.001)
        _check_number("idle_s", self.idle_s, 0)
        _check_number("silent_s", self.silent_s, 2)  # reports come once a second
        if self.call_cpu > self.max_cpu:
            raise ConfigError(
                f"Limits.call_cpu is at most max_cpu, or no worker takes a call: {self.call_cpu} "
                f"is more than {self.max_cpu}"
            )
        if self.min_workers > self.max_workers:
            raise ConfigError(
                f"Limits.min_workers is at most max_workers: {self.min_workers} is more than "
                f"{self.max_workers}"
            )

    def calls_per_worker(self, call_cpu: float) -> int:
        """Return how many calls of that cost an empty worker takes, at least one."""
        calls = max(1, math.floor(self.max_cpu / call_cpu + 1e-9))
        return calls if self.max_calls is None else min(calls, self.max_calls)


def _check_whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"Limits.{name} is a whole number from {least} on, not {value!r:.100}")


def _check_number(name: str, value: object, least: float) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not least <= value < math.inf:  # type: ignore[operator]
        raise ConfigError(f"Limits.{name} is a number from {least} on, not {value!r:.100}")


class CallState(Enum):
    """Names where a call can be in its life."""

    RECORDED = "recorded by an earlier control; its worker has not reported it yet"
    STARTING = "given to a worker, which has not confirmed it yet"
    RUNNING = "held by its worker"
    MOVING = "held by a worker that was told to leave it"
    UNPLACED = "waiting for a worker"


@dataclass
class Assignment:
    """Tells who holds a call, or that nobody does.

    Attributes:
        request: the call.
        epoch: the number of this assignment, or of the last one if it is unplaced.
        worker: the worker that holds it, or held it last.
        state: where it is in its life; only `Placement` changes it.
        reason: why its assistant was started, or will be.
        since: when it was assigned, or when it became unplaced; minus infinity if an earlier
            control assigned it.
        resume: what its assistant goes on with.
        anonymous: whether it was adopted, so that only its cid is known of the request.
        successor: the request of a newer session that came while this one was held.
        failures: when it failed, within `FAILURE_WINDOW_S`.
        refusals: how many workers in a row did not take it.
        not_before: when it may be placed again.
        missing: reports of its worker in a row that did not have it.
        destination: the worker that it will move to, "" if none was chosen.
        recorded_moving: whether an earlier control had told its worker to leave it.
    """

    request: CallRequest
    epoch: int
    worker: str
    state: CallState
    reason: Reason
    since: float
    resume: Resumption | None = None
    anonymous: bool = False
    successor: CallRequest | None = None
    failures: deque[float] = field(default_factory=deque)
    refusals: int = 0
    not_before: float = 0.0
    missing: int = 0
    destination: str = ""
    recorded_moving: bool = False

    def record(self) -> CallRecord:
        """Return what is stored of it."""
        return CallRecord(self.request, self.epoch, self.worker, self.resume, self.is_moving)

    @property
    def is_moving(self) -> bool:
        """Tell whether its worker was told to leave it, maybe by an earlier control."""
        moves_by_record = self.state is CallState.RECORDED and self.recorded_moving
        return self.state is CallState.MOVING or moves_by_record


class WorkerPhase(Enum):
    """Names where a worker can be in its life."""

    FOUND = "runs already; it takes calls when it has said how it is"
    OPEN = "takes calls"
    RETIRING = "is to be replaced; it takes a call only where nobody else can"
    CLOSED = "takes no more calls"


@dataclass
class KnownWorker:
    """Describes a worker as far as placement knows it.

    Attributes:
        name: its name.
        phase: where it is in its life; only `Placement` changes it.
        seen_at: when it was last heard of.
        idle_since: since when it has no calls; None if it has some.
        report: what it said last.
        calls: its assignments, by cid.
        fresh: when calls were given to it, oldest first, that do not show in its CPU yet.
        refusals: how many starts in a row it did not take.
    """

    name: str
    phase: WorkerPhase
    seen_at: float
    idle_since: float | None
    report: WorkerReport | None = None
    calls: dict[str, Assignment] = field(default_factory=dict)
    fresh: dict[str, float] = field(default_factory=dict)
    refusals: int = 0

    @property
    def takes_calls(self) -> bool:
        """Tell whether a call may be given to it at all."""
        return self.phase in (WorkerPhase.OPEN, WorkerPhase.RETIRING)

    @property
    def is_lagging(self) -> bool:
        """Tell whether its event loop was late in its last report."""
        return self.report is not None and self.report.lag_ms > LAGGING_MS


Requested = Literal["started", "running", "over"]
Over = Literal["stale", "ended", "moved", "failed", "given up", "succeeded"]
"""What the end of an assignment means: nothing, as it is of an older epoch; the end of the call; a
call to be placed on another worker, or again after a failure; the end of a call that failed too
often; or the beginning of a newer session of the same call."""

_Rank = tuple[bool, bool, bool, float, int, str]


class Placement:
    """Holds the assignments of all calls, and the workers.

    A request costs one look at each worker; a report, the calls of that worker; the death of one,
    its calls and the logarithm of the number of workers for each.

    Args:
        limits: what a worker takes, and how many there are.
        first_epoch: the epoch of the first assignment. It has to be larger than all that an earlier
            control of the same fleet has given, such as the Unix time in milliseconds: one call a
            millisecond is more than any fleet places.
    """

    def __init__(self, limits: Limits, first_epoch: int) -> None:
        self.limits = limits
        self.counts = dict.fromkeys(
            (
                "placed", "repeated", "crashed", "moved", "failed", "given_up", "ended", "late",
                "adopted", "missing", "not_started",
            ),
            0,
        )  # fmt: skip
        self.waiting = 0
        """Calls that were refused and wait for room; the caller sets it, and it counts for size."""
        self._calls: dict[str, Assignment] = {}
        self._unplaced: dict[str, None] = {}  # in order; keys of `_calls`
        self._workers: dict[str, KnownWorker] = {}
        self._last_epoch = first_epoch - 1
        self._is_settled = False
        # Oldest first, so that what is forgotten is at the front.
        self._ended_sessions: dict[tuple[str, str], float] = {}
        self._ended_epochs: dict[str, tuple[int, float]] = {}

    # -- what is known -------------------------------------------------------------------------

    def assignment(self, cid: str) -> Assignment | None:
        """Return the assignment of a call, if it has one or waits for one."""
        return self._calls.get(cid)

    def held_calls(self) -> list[str]:
        """Return the calls that a worker is known to hold."""
        return [
            cid
            for cid, assignment in self._calls.items()
            if assignment.state in (CallState.RUNNING, CallState.MOVING)
        ]

    def worker(self, name: str) -> KnownWorker | None:
        """Return a worker, if it is known."""
        return self._workers.get(name)

    def workers(self) -> list[KnownWorker]:
        """Return all workers."""
        return list(self._workers.values())

    @property
    def held(self) -> int:
        """Return how many calls have a worker."""
        return len(self._calls) - len(self._unplaced)

    @property
    def unplaced(self) -> int:
        """Return how many calls wait for a worker, not counting those that were refused."""
        return len(self._unplaced)

    def next_retry_at(self) -> float | None:
        """Return when the first of the unplaced calls may be placed, if there are any."""
        return min((self._calls[cid].not_before for cid in self._unplaced), default=None)

    # -- workers -------------------------------------------------------------------------------

    def worker_started(self, name: str, now: float) -> bool:
        """Note that a new worker is there, warm and empty; False if it was known already."""
        if name in self._workers:
            return False
        self._workers[name] = KnownWorker(name, WorkerPhase.OPEN, now, now)
        return True

    def worker_found(self, name: str, now: float) -> None:
        """Note that a worker runs that somebody else has started: it may hold calls."""
        if name not in self._workers:
            self._workers[name] = KnownWorker(name, WorkerPhase.FOUND, now, None)

    def on_report(self, report: WorkerReport, now: float) -> dict[str, int]:
        """Note how a worker is, and what it holds.

        Returns:
            The calls that it must leave, with the epoch in which it holds each.
        """
        self.worker_found(report.worker, now)
        worker = self._workers[report.worker]
        worker.report, worker.seen_at = report, now
        if worker.phase is WorkerPhase.FOUND:
            worker.phase = WorkerPhase.OPEN
        leave = {
            cid: epoch
            for cid, epoch in report.calls.items()
            if not self._confirm(cid, epoch, worker, now)
        }
        for assignment in [
            a for cid, a in worker.calls.items() if report.calls.get(cid) != a.epoch
        ]:
            self._miss(assignment, now)
        if worker.calls or report.calls:
            worker.idle_since = None
        elif worker.idle_since is None:
            worker.idle_since = now
        return leave

    def worker_lost(self, name: str, now: float) -> list[str]:
        """Note that a worker is dead, and return its calls: they are unplaced now, or given up."""
        worker = self._workers.pop(name, None)
        if worker is None:
            return []
        displaced = list(worker.calls)
        for cid in displaced:
            assignment = worker.calls[cid]
            self.counts["crashed"] += 1
            early = worker.seen_at - assignment.since < EARLY_CRASH_S
            if early:
                if self._note_failure(assignment, now):
                    self._give_up(cid, now)
                    continue
            else:
                assignment.not_before = now
            self._displace(assignment, "crashed", now)
        return displaced

    def silent(self, now: float) -> list[KnownWorker]:
        """Return the workers that have said nothing for too long: they hang or are out of reach."""
        return [w for w in self._workers.values() if now - w.seen_at > self.limits.silent_s]

    def excuse_silence(self, now: float) -> None:
        """Take all workers as heard of now: it was the caller who did not listen."""
        for worker in self._workers.values():
            worker.seen_at = now

    def retire(self, names: Iterable[str]) -> list[str]:
        """Note that workers are to be replaced; return those to which this is new."""
        new = []
        for name in names:
            worker = self._workers.get(name)
            if worker is not None and worker.phase in (WorkerPhase.OPEN, WorkerPhase.FOUND):
                worker.phase = WorkerPhase.RETIRING
                new.append(name)
        return new

    def keep(self, name: str) -> None:
        """Take back that a worker is to be replaced."""
        worker = self._workers.get(name)
        if worker is not None and worker.phase is WorkerPhase.RETIRING:
            worker.phase = WorkerPhase.OPEN

    def close_worker(self, name: str) -> None:
        """Give a worker no more calls."""
        if name in self._workers:
            self._workers[name].phase = WorkerPhase.CLOSED

    # -- calls ---------------------------------------------------------------------------------

    def request(self, request: CallRequest, now: float) -> tuple[Requested, StartCall | None]:
        """Have one assistant in a call, however often it is asked for.

        Returns:
            "started" and what to carry out; or "running" if there is an assignment already, and
            "over" if the session has ended and this is a late repetition.

        Raises:
            FleetFullError: there is no room.
        """
        cid = request.cid
        if request.session_id and (cid, request.session_id) in self._ended_sessions:
            self.counts["late"] += 1
            return "over", None
        known = self._calls.get(cid)
        if known is not None:
            self.counts["repeated"] += 1
            if known.anonymous:
                known.request, known.anonymous = request, False
            elif request.session_id not in ("", known.request.session_id):
                if not known.request.session_id:
                    known.request = replace(known.request, session_id=request.session_id)
                else:
                    known.successor = request
            return "running", None
        cost = self._fleet_call_cpu()
        due = any(self._calls[c].not_before <= now for c in self._unplaced)
        if due or (self._unplaced and self.room(now) <= len(self._unplaced)):
            worker = None  # these come first, also those that wait to be tried again
        else:
            rooms = (
                (self._rank(w, now), w) for w in self._workers.values() if self._room(w, now, cost)
            )
            worker = min(rooms, key=lambda each: each[0], default=(None, None))[1]
        if worker is None:
            raise FleetFullError("Every worker is full: try again later, or allow more workers")
        self.counts["placed"] += 1
        assignment = Assignment(request, 0, "", CallState.UNPLACED, "new", now)
        return "started", self._assign(assignment, worker, now)

    def place_displaced(self, now: float) -> list[StartCall]:
        """Give the unplaced calls whose time has come to workers, the emptiest first."""
        due = [c for c in self._unplaced if self._calls[c].not_before <= now]
        if not due:
            return []
        heap = [(self._rank(w, now), w.name) for w in self._workers.values() if w.takes_calls]
        heapq.heapify(heap)
        starts = []
        for cid in due:
            if not heap:
                break
            chosen = self._workers.get(self._calls[cid].destination)
            name = heap[0][1] if chosen is None or not chosen.takes_calls else chosen.name
            starts.append(self._assign(self._calls[cid], self._workers[name], now))
            if name == heap[0][1]:
                heapq.heapreplace(heap, (self._rank(self._workers[name], now), name))
            else:  # seldom: a call that moves to where it was expected
                heap = [(self._rank(self._workers[other], now), other) for _, other in heap]
                heapq.heapify(heap)
        return starts

    def on_started(self, cid: str, epoch: int) -> None:
        """Note that a worker has taken a call."""
        assignment = self._current(cid, epoch)
        if assignment is not None and assignment.state is CallState.STARTING:
            self._run(assignment)

    def on_not_started(self, cid: str, epoch: int, now: float) -> bool:
        """Note that a worker has not taken a call, for certain; it is placed again after a delay.

        It is never given up for this: workers that take nothing are no fault of the call.

        Returns:
            Whether that is news: the call is still in this epoch.
        """
        assignment = self._current(cid, epoch)
        if assignment is None or assignment.state is not CallState.STARTING:
            return False
        self.counts["not_started"] += 1
        self._workers[assignment.worker].refusals += 1
        assignment.refusals += 1
        assignment.not_before = now + _delay_s(assignment.refusals)
        self._displace(assignment, assignment.reason, now)
        return True

    def on_unconfirmed(self, cid: str, epoch: int) -> None:
        """Note that a worker has taken a call, or has not: its reports tell."""
        assignment = self._current(cid, epoch)
        if assignment is not None and assignment.state is CallState.STARTING:
            assignment.state = CallState.RUNNING
            self._workers[assignment.worker].refusals += 1

    def on_saved(self, cid: str, epoch: int, resume: Resumption) -> bool:
        """Note what resumes a call; False if that is the word of a life that is over."""
        assignment = self._calls.get(cid)
        if assignment is None or assignment.epoch != epoch:
            return False
        assignment.resume = resume
        return True

    def on_over(self, cid: str, epoch: int, failed: bool, now: float) -> Over:
        """Note that a worker no longer holds a call, and say what follows."""
        assignment = self._current(cid, epoch)
        if assignment is None:
            return "stale"
        if assignment.is_moving:
            self.counts["moved"] += 1
            assignment.not_before = now
            self._displace(assignment, "moved", now)
            return "moved"
        if failed:
            self.counts["failed"] += 1
            if self._note_failure(assignment, now):
                self._give_up(cid, now)
                return "given up"
            self._displace(assignment, "crashed", now)
            return "failed"
        self.counts["ended"] += 1
        self._forget(cid, now)
        if assignment.successor is None:
            return "ended"
        self._last_epoch += 1  # what the worker says of the session before is too old already
        successor = Assignment(
            assignment.successor, self._last_epoch, "", CallState.UNPLACED, "new", now
        )
        self._calls[cid] = successor
        self._unplaced[cid] = None
        return "succeeded"

    def move(self, cid: str, epoch: int) -> bool:
        """Note that a worker was told to leave a call, which is placed again when it has."""
        assignment = self._current(cid, epoch)
        if assignment is None or assignment.state is not CallState.RUNNING:
            return False
        assignment.state = CallState.MOVING
        return True

    def destination(self, cid: str, epoch: int, now: float) -> str | None:
        """Choose the worker that a moving call goes to, and keep to it; None if there is none."""
        assignment = self._current(cid, epoch)
        if assignment is None or assignment.state is not CallState.MOVING:
            return None
        chosen = self._workers.get(assignment.destination)
        if chosen is None or not chosen.takes_calls:
            worker = self._workers[assignment.worker]
            coming = Counter(a.destination for a in worker.calls.values())
            others = [w for w in self._workers.values() if w.takes_calls and w is not worker]
            if not others:
                return None
            ranks = {w.name: self._rank(w, now) for w in others}
            # Those that go, refuse or are late come last; among the others, calls are spread.
            chosen = min(others, key=lambda w: (ranks[w.name][:3], coming[w.name], ranks[w.name]))
            assignment.destination = chosen.name
        return chosen.name

    def stay(self, cid: str, epoch: int) -> None:
        """Take back that a worker was told to leave a call: it could not be told."""
        assignment = self._current(cid, epoch)
        if assignment is not None and assignment.state is CallState.MOVING:
            assignment.state = CallState.RUNNING

    def end(self, cid: str, session_id: str, now: float) -> Assignment | None:
        """End a call, whoever holds it.

        Args:
            cid: the call.
            session_id: the session that has ended; "" ends the call whatever its session is. Of a
                call that is in a later session by now nothing is ended.
            now: the time.

        Returns:
            What its assignment was; None if there was none.
        """
        if session_id:
            self._remember_session(cid, session_id, now)
        assignment = self._calls.get(cid)
        if assignment is None:
            if not session_id:  # its record may be read later, or a worker report it
                self._remember_epoch(cid, self._last_epoch, now)
            return None
        if session_id and assignment.request.session_id not in ("", session_id):
            if assignment.successor is not None and assignment.successor.session_id == session_id:
                assignment.successor = None
            return None
        self.counts["ended"] += 1
        self._forget(cid, now)
        return assignment

    # -- recovery ------------------------------------------------------------------------------

    def recover(self, record: CallRecord, now: float) -> bool:
        """Take over a call that an earlier control has recorded; False if it is known to be over.

        Its worker has to report it, or `settle` places it again.
        """
        cid = record.request.cid
        self._last_epoch = max(self._last_epoch, record.epoch)
        ended = self._ended_epochs.get(cid)
        if ended is not None and ended[0] >= record.epoch:
            return False
        if (cid, record.request.session_id) in self._ended_sessions:
            return False
        known = self._calls.get(cid)
        if known is None:
            self._calls[cid] = assignment = Assignment(
                record.request, record.epoch, record.worker, CallState.RECORDED, "new", -math.inf,
                record.resume, recorded_moving=record.moving,
            )  # fmt: skip
            worker = self._workers.get(record.worker)
            if worker is not None:
                worker.calls[cid] = assignment
        elif known.anonymous:
            known.request, known.anonymous = record.request, False
            known.resume = known.resume or record.resume
            if record.moving and record.epoch == known.epoch:
                self.move(cid, known.epoch)
        return True

    def settle(self, now: float) -> list[str]:
        """Have the recorded calls placed again whose worker is not there, or does not have them.

        A recorded call whose worker is there but has not reported stays with it: the report says
        whether it has it, and a worker that does not report is silent and will be ended.

        Returns:
            The calls.
        """
        self._is_settled = True
        lost = [
            assignment
            for assignment in self._calls.values()
            if assignment.state is CallState.RECORDED and assignment.worker not in self._workers
        ]
        for assignment in lost:
            self.counts["crashed"] += 1
            assignment.not_before = now
            self._displace(assignment, "crashed", now)
        return [assignment.request.cid for assignment in lost]

    # -- size ----------------------------------------------------------------------------------

    def room(self, now: float) -> int:
        """Return how many calls could be taken now."""
        cost = self._fleet_call_cpu()
        return sum(self._room(w, now, cost) for w in self._workers.values())

    def room_beside(self, name: str, now: float, *, retiring_too: bool) -> int:
        """Return how many calls could be taken by others than a worker.

        Args:
            name: the worker.
            now: the time.
            retiring_too: whether those count that are to be replaced as well.
        """
        cost = self._fleet_call_cpu()
        return sum(
            self._room(w, now, cost)
            for w in self._workers.values()
            if w.name != name and (retiring_too or w.phase is WorkerPhase.OPEN)
        )

    def current(self) -> int:
        """Return how many workers there are that stay."""
        return sum(w.phase in _STAYING for w in self._workers.values())

    def wanted(self, now: float) -> int:
        """Return how many workers there should be that stay."""
        limits, current = self.limits, self.current()
        missing = -self._spare_room(now)
        if missing > 0:
            current += math.ceil(missing / limits.calls_per_worker(self._fleet_call_cpu()))
        else:
            current -= len(self._dispensable(now))
        return min(limits.max_workers, max(limits.min_workers, current))

    def shortage(self, starting: int, now: float) -> int:
        """Return how many workers should be started beside those that are starting.

        While some are replaced there is one worker more than `max_workers`, but not two.
        """
        missing = self.wanted(now) - self.current() - starting
        leaving = len(self._workers) - self.current()
        most = self.limits.max_workers + (1 if leaving else 0)
        return max(0, min(missing, most - len(self._workers) - starting))

    def idle(self, now: float) -> list[str]:
        """Return the workers that have had no call for long and are not needed."""
        idle_s = self.limits.idle_s
        return [
            w.name
            for w in self._dispensable(now)
            if w.idle_since is not None and now - w.idle_since >= idle_s
        ]

    # -- inside --------------------------------------------------------------------------------

    def _current(self, cid: str, epoch: int) -> Assignment | None:
        """Return the assignment of a call if a worker has it in this epoch."""
        assignment = self._calls.get(cid)
        if assignment is None or assignment.epoch != epoch:
            return None
        return None if assignment.state is CallState.UNPLACED else assignment

    def _confirm(self, cid: str, epoch: int, worker: KnownWorker, now: float) -> bool:
        """Note that a worker holds a call; False if it must leave it."""
        known = self._calls.get(cid)
        if known is None:
            ended = self._ended_epochs.get(cid)
            if ended is not None and epoch <= ended[0]:
                return False
            try:
                request = CallRequest(cid)
            except ConfigError:  # no call that can be placed has this name
                return False
            self.counts["adopted"] += 1
            known = Assignment(
                request, epoch, worker.name, CallState.RUNNING, "new", -math.inf, anonymous=True
            )
            self._calls[cid] = worker.calls[cid] = known
            self._last_epoch = max(self._last_epoch, epoch)
            return True
        if epoch > known.epoch:  # of a control whose record was not stored: the newest counts
            self._release(known)
            known.epoch, known.worker, known.since = epoch, worker.name, -math.inf
            self._last_epoch = max(self._last_epoch, epoch)
            worker.calls[cid] = known
            self._run(known)
            return True
        if self._current(cid, epoch) is None:
            return False
        if known.state is CallState.RECORDED:
            self._release(known)
            known.worker = worker.name
            worker.calls[cid] = known
        elif known.worker != worker.name:
            return False
        known.missing = 0
        if known.is_moving:
            known.state = CallState.MOVING
        else:
            self._run(known)
        return True

    def _miss(self, assignment: Assignment, now: float) -> None:
        """Note that the report of a worker does not have a call that is assigned to it."""
        if assignment.state is CallState.RECORDED:
            # The report is newer than the record; but another worker may have it by now.
            lost = self._is_settled
            self._release(assignment)
            assignment.worker = ""
        else:
            if assignment.state is CallState.STARTING or now - assignment.since < MISSING_S:
                return
            assignment.missing += 1
            lost = assignment.missing >= MISSING_REPORTS
        if lost:
            moved = assignment.state is CallState.MOVING
            self.counts["moved" if moved else "missing"] += 1
            assignment.not_before = now
            self._displace(assignment, "moved" if moved else "crashed", now)

    def _run(self, assignment: Assignment) -> None:
        if assignment.state is CallState.STARTING:
            self._workers[assignment.worker].refusals = 0
        assignment.refusals = assignment.missing = 0
        assignment.state = CallState.RUNNING

    def _assign(self, assignment: Assignment, worker: KnownWorker, now: float) -> StartCall:
        cid = assignment.request.cid
        self._last_epoch += 1
        assignment.epoch, assignment.worker = self._last_epoch, worker.name
        assignment.state, assignment.since, assignment.missing = CallState.STARTING, now, 0
        assignment.destination = ""
        self._unplaced.pop(cid, None)
        self._calls[cid] = worker.calls[cid] = assignment
        worker.fresh[cid] = now
        worker.idle_since = None
        return StartCall(
            worker.name, assignment.request, assignment.epoch, assignment.reason, assignment.resume
        )

    def _release(self, assignment: Assignment) -> None:
        """Take a call from its worker, if it has one, and from those that wait."""
        cid = assignment.request.cid
        self._unplaced.pop(cid, None)
        worker = self._workers.get(assignment.worker)
        if worker is not None and worker.calls.get(cid) is assignment:
            del worker.calls[cid]
            worker.fresh.pop(cid, None)

    def _displace(self, assignment: Assignment, reason: Reason, now: float) -> None:
        self._release(assignment)
        assignment.state, assignment.reason, assignment.since = CallState.UNPLACED, reason, now
        self._unplaced[assignment.request.cid] = None

    def _note_failure(self, assignment: Assignment, now: float) -> bool:
        """Count a failure, and set when to try again; True if it is one too many."""
        failures = assignment.failures
        failures.append(now)
        while failures[0] <= now - FAILURE_WINDOW_S:
            failures.popleft()
        assignment.not_before = now + _delay_s(len(failures))
        if len(failures) >= HANDLE_FAILURES and assignment.resume is not None:
            assignment.resume = replace(assignment.resume, handle="")
        return len(failures) >= MAX_FAILURES

    def _give_up(self, cid: str, now: float) -> None:
        self.counts["given_up"] += 1
        self._forget(cid, now)

    def _forget(self, cid: str, now: float) -> None:
        """Drop a call, and remember that it is over."""
        assignment = self._calls.pop(cid)
        self._release(assignment)
        self._remember_epoch(cid, assignment.epoch, now)
        if assignment.request.session_id:
            self._remember_session(cid, assignment.request.session_id, now)

    def _remember_epoch(self, cid: str, epoch: int, now: float) -> None:
        """Note that the assignments of a call up to this one are over."""
        self._ended_epochs.pop(cid, None)  # to the end of the order
        self._ended_epochs[cid] = (epoch, now)
        while True:
            oldest = next(iter(self._ended_epochs))
            if self._ended_epochs[oldest][1] > now - ENDED_FOR_S:
                break
            del self._ended_epochs[oldest]

    def _remember_session(self, cid: str, session_id: str, now: float) -> None:
        self._ended_sessions.pop((cid, session_id), None)
        self._ended_sessions[cid, session_id] = now
        while True:
            oldest = next(iter(self._ended_sessions))
            if self._ended_sessions[oldest] > now - ENDED_FOR_S:
                break
            del self._ended_sessions[oldest]

    def _fleet_call_cpu(self) -> float:
        """Return what a call costs: what is measured on average, but no less than assumed."""
        reports = [w.report for w in self._workers.values() if w.report is not None]
        calls = sum(len(report.calls) for report in reports if report.calls)
        if calls < MEASURED_CALLS:
            return self.limits.call_cpu
        cpu = sum(report.cpu for report in reports if report.calls)
        return min(self.limits.max_cpu, max(self.limits.call_cpu, cpu / calls))

    def _cpu(self, worker: KnownWorker, now: float) -> float:
        """Return the cores that a worker uses, or will when its new calls show."""
        while worker.fresh:
            cid = next(iter(worker.fresh))
            if now - worker.fresh[cid] < SHOWS_AFTER_S:
                break
            del worker.fresh[cid]
        measured = worker.report.cpu if worker.report is not None else 0.0
        return measured + len(worker.fresh) * self.limits.call_cpu

    def _room(self, worker: KnownWorker, now: float, call_cpu: float) -> int:
        """Return how many calls a worker could take now."""
        if not worker.takes_calls:
            return 0
        limits = self.limits
        room = math.floor((limits.max_cpu - self._cpu(worker, now)) / call_cpu + 1e-9)
        if limits.max_calls is not None:
            room = min(room, limits.max_calls - len(worker.calls))
        return max(0, room)

    def _rank(self, worker: KnownWorker, now: float) -> _Rank:
        """Return an order of workers: the one that should take the next call is the smallest."""
        return (
            worker.phase is WorkerPhase.RETIRING,
            worker.refusals > 0,
            worker.is_lagging,
            self._cpu(worker, now),
            len(worker.calls),
            worker.name,
        )

    def _spare_room(self, now: float) -> int:
        """Return for how many calls there is room beyond what is needed; negative if it lacks."""
        cost = self._fleet_call_cpu()
        room = sum(
            self._room(w, now, cost) for w in self._workers.values() if w.phase is WorkerPhase.OPEN
        )
        found = sum(w.phase is WorkerPhase.FOUND for w in self._workers.values())
        leaving = sum(len(w.calls) for w in self._workers.values() if w.phase not in _STAYING)
        needed = len(self._unplaced) + self.waiting + leaving + self.limits.spare_calls
        # A worker that has not said yet how it is may have room: it says so within a second.
        return room + found * self.limits.calls_per_worker(cost) - needed

    def _dispensable(self, now: float) -> list[KnownWorker]:
        """Return the workers without a call that are not needed, the one idle for longest first."""
        spare = self._spare_room(now)
        surplus = self.current() - self.limits.min_workers
        empty = [
            w
            for w in self._workers.values()
            if w.phase is WorkerPhase.OPEN and not w.calls and w.idle_since is not None
        ]
        found = []
        cost = self._fleet_call_cpu()
        for worker in sorted(empty, key=lambda w: w.idle_since or 0.0):
            room = self._room(worker, now, cost)
            if surplus <= 0 or room > spare:
                break
            found.append(worker)
            surplus -= 1
            spare -= room
        return found


_STAYING = (WorkerPhase.FOUND, WorkerPhase.OPEN)


def _delay_s(failures: int) -> float:
    return min(LARGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures - 1, 16))
