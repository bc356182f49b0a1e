"""The control of a fleet on an engine of paper: deaths, hangs and stores that fail, in no time."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import virtual_time
from getstream.plugins.gemini.errors import ClosedError, ConfigError
from getstream.plugins.gemini.fleet._calls import (
    CallRecord,
    CallRequest,
    FleetFullError,
    StartCall,
    WorkerReport,
)
from getstream.plugins.gemini.fleet._control import (
    OBEY_S,
    REST_LIMIT_S,
    ROOM_FOR_MOVE_S,
    TICK_S,
    Control,
)
from getstream.plugins.gemini.fleet._placement import MAX_FAILURES, Limits
from getstream.plugins.gemini.live import Resumption

SPAWN_S = 3.0
"""Virtual seconds in which a worker starts."""

LIMITS = Limits(max_calls=5, max_workers=4)
RESUME = Resumption("handle", "model", (("user", "Hello."), ("model", "Hi.")), 5.0)


class PaperError(Exception):
    """A fault that a test has asked for."""


async def never() -> None:
    await asyncio.Event().wait()


@dataclass
class PaperWorker:
    """A process that holds calls.

    Attributes:
        held: calls, with the epoch of each.
        hangs: whether it says nothing and does nothing, and holds on to its calls.
        muted: whether only its reports are lost: it is out of reach of the control.
        rest_s: seconds until a call is at rest; None: it never is.
        disobeys: whether it never leaves a call.
        takes_calls: what it does when it is given one, before it has it.
        spoils_leave: whether it cannot be told to leave a call.
    """

    name: str
    held: dict[str, int] = field(default_factory=dict)
    hangs: bool = False
    muted: bool = False
    rest_s: float | None = 1.0
    disobeys: bool = False
    takes_calls: Callable[[], Coroutine[Any, Any, None]] | None = None
    spoils_leave: bool = False
    dead: asyncio.Event = field(default_factory=asyncio.Event)


class PaperEngine:
    """Runs paper workers, and notes what happens to them.

    Attributes:
        control: what the workers report to; None while there is none.
        log: what was asked of the engine: the verb, the worker and the call, if any.
        doubled: calls that two workers held at a time, with the time.
    """

    def __init__(self) -> None:
        self.control: Control | None = None
        self.workers: dict[str, PaperWorker] = {}
        self.log: list[tuple[str, ...]] = []
        self.starts: list[StartCall] = []
        self.doubled: list[tuple[str, float]] = []
        self.spawn_faults: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.prepare: Callable[[PaperWorker], None] = lambda worker: None
        self.unlisted = False
        self.end_hung_fails = False
        self._names = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def alive(self) -> dict[str, PaperWorker]:
        return {name: w for name, w in self.workers.items() if not w.dead.is_set()}

    def holder(self, cid: str) -> PaperWorker:
        (worker,) = (w for w in self.alive.values() if cid in w.held)
        return worker

    def add(self) -> PaperWorker:
        self._names += 1
        worker = PaperWorker(f"w{self._names}")
        self.prepare(worker)
        self.workers[worker.name] = worker
        self.do(self._report(worker))
        return worker

    def kill(self, worker: PaperWorker) -> None:
        worker.held.clear()
        worker.dead.set()

    async def tell(self, *words: Any) -> None:
        """Have a worker say that a call is over, to whatever control there is."""
        if self.control is not None:
            with suppress(ClosedError):
                await self.control.over(*words)

    async def _report(self, worker: PaperWorker) -> None:
        while not worker.dead.is_set():
            if not worker.hangs and not worker.muted and self.control is not None:
                said = WorkerReport(
                    worker.name, 17, "node", dict(worker.held), 0.05 * len(worker.held), 1.0, 100.0
                )
                try:
                    leave = await self.control.report(said)
                except ClosedError:
                    leave = {}
                for cid, epoch in leave.items():
                    if worker.held.get(cid) == epoch:
                        self.log.append(("told to leave", worker.name, cid))
                        del worker.held[cid]
            await asyncio.sleep(1)

    async def _leave_at_rest(self, worker: PaperWorker, cid: str, epoch: int) -> None:
        if worker.rest_s is None:
            return
        await asyncio.sleep(worker.rest_s)
        if self.control is not None:
            with suppress(ClosedError):
                await self.control.prepare_move(cid, epoch)
        await self._leave(worker, cid, epoch)

    async def _leave(self, worker: PaperWorker, cid: str, epoch: int) -> None:
        if worker.held.get(cid) == epoch and not worker.dead.is_set() and not worker.hangs:
            del worker.held[cid]
            await self.tell(cid, epoch, False)

    # -- Engine ----------------------------------------------------------------------------

    async def spawn(self) -> str:
        self.log.append(("spawn",))
        await asyncio.sleep(SPAWN_S)
        if self.spawn_faults:
            await self.spawn_faults.pop(0)()
        return self.add().name

    async def known_workers(self) -> list[str]:
        if self.unlisted:
            raise PaperError("no list of workers")
        return list(self.alive)

    async def wait_dead(self, worker: str) -> None:
        await self.workers[worker].dead.wait()

    async def start_call(self, start: StartCall) -> None:
        cid = start.request.cid
        self.log.append(("start", start.worker, cid))
        self.starts.append(start)
        worker = self.workers[start.worker]
        if worker.takes_calls is not None:
            await worker.takes_calls()
        if worker.dead.is_set():
            raise PaperError(f"{worker.name} is dead")
        if worker.hangs:
            await never()
        if any(cid in w.held for w in self.alive.values() if w is not worker):
            self.doubled.append((cid, asyncio.get_running_loop().time()))
        if worker.held.get(cid, -1) < start.epoch:
            worker.held[cid] = start.epoch

    async def prepare_call(self, worker: str, request: CallRequest) -> None:
        self.log.append(("prepare", worker, request.cid))
        if self.workers[worker].hangs:
            await never()

    async def leave_call(self, worker: str, cid: str, epoch: int, *, at_rest: bool) -> None:
        self.log.append(("leave at rest" if at_rest else "leave", worker, cid))
        told = self.workers[worker]
        if told.spoils_leave or told.dead.is_set():
            raise PaperError("the worker cannot be told")
        if told.hangs:
            await never()
        if told.disobeys:
            return
        leave = self._leave_at_rest if at_rest else self._leave
        self.do(leave(told, cid, epoch))

    async def end_worker(self, worker: str) -> None:
        self.log.append(("end", worker))
        assert not self.workers[worker].held, "it has calls"
        self.kill(self.workers[worker])

    async def end_hung_worker(self, worker: str, pid: int, node: str) -> None:
        assert (pid, node) in ((17, "node"), (0, ""))  # 0: it has not been heard of
        self.log.append(("end hung", worker))
        if self.end_hung_fails:
            raise PaperError("its node is out of reach")
        # The death is told of before the process and its sockets are gone.
        self.workers[worker].dead.set()
        await asyncio.sleep(0.5)
        self.workers[worker].held.clear()
        self.log.append(("ended", worker))


class PaperRecords:
    """Stores records, each write after a while, unless a test wants it to fail.

    Attributes:
        stored: what is stored.
        write_s: virtual seconds that the next writes take; the last one stays.
        fails: whether everything raises.
    """

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.write_s: list[float] = [0.01]
        self.fails = False
        self.writes = 0

    def record(self, cid: str) -> CallRecord:
        return CallRecord.from_json(self.stored[cid])

    async def _write(self) -> None:
        self.writes += 1
        await asyncio.sleep(self.write_s.pop(0) if len(self.write_s) > 1 else self.write_s[0])
        if self.fails:
            raise PaperError("the store is gone")

    async def put(self, cid: str, record: bytes) -> None:
        await self._write()
        self.stored[cid] = record

    async def delete(self, cid: str) -> None:
        await self._write()
        self.stored.pop(cid, None)

    async def load_all(self) -> dict[str, bytes]:
        await self._write()
        return dict(self.stored)

    async def close(self) -> None:
        pass


class Stage:
    """An engine and a store, and the control of the moment."""

    def __init__(self, limits: Limits = LIMITS, **options: Any) -> None:
        self.limits = limits
        self.options = {"room_wait_s": 15.0} | options
        self.engine = PaperEngine()
        self.records = PaperRecords()
        self.control = self.new_control()

    def new_control(self) -> Control:
        loop = asyncio.get_running_loop()
        self.control = Control(
            self.engine, self.records, self.limits, unix_time=loop.time, **self.options
        )
        self.engine.control = self.control
        return self.control

    async def restart(self, down_s: float = 0.0) -> None:
        """End the control, as a crash does: nothing is told to anybody."""
        self.engine.control = None
        await self.control.close()
        await asyncio.sleep(down_s)
        await self.new_control().start()

    async def place(self, *names: object) -> None:
        for name in names:
            await self.control.place(call(name))

    def kinds(self, cid: str | None = None) -> list[str]:
        return [e.kind for e in self.control.recent_events if cid is None or e.cid == cid]

    async def settled(self) -> None:
        """Wait until every call has a worker that reports it, and nothing is under way."""
        await asyncio.sleep(5)

    def held(self) -> Counter[str]:
        return Counter(cid for w in self.engine.alive.values() for cid in w.held)


def call(name: object = "x", session: str = "") -> CallRequest:
    return CallRequest(f"default:{name}", session)


@asynccontextmanager
async def stage(limits: Limits = LIMITS, **options: Any) -> AsyncIterator[Stage]:
    built = Stage(limits, **options)
    try:
        yield built
    finally:
        await built.control.close()


def now() -> float:
    return asyncio.get_running_loop().time()


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make an ordinary test of one that is a coroutine."""

    def run(**arguments: Any) -> None:
        virtual_time.run(test(**arguments))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return run


# -- requests ----------------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [True, False])
@in_virtual_time
async def test_fifty_requests_at_once_are_one_assistant(warm: bool) -> None:
    async with stage() as it:
        if warm:
            await it.place("other")
        placed = await asyncio.gather(*(it.control.place(call()) for _ in range(50)))
        assert Counter(p.state for p in placed) == {"started": 1, "running": 49}
        assert len({p.worker for p in placed}) == 1
        assert [s.request for s in it.engine.starts].count(call()) == 1
        assert (await it.control.status()).counts["repeated"] == 49


@in_virtual_time
async def test_the_same_request_that_waits_fifty_times_asks_for_one_worker() -> None:
    async with stage(Limits(max_calls=1, spare_calls=0, max_workers=10)) as it:
        await asyncio.gather(*(it.control.place(call()) for _ in range(50)))
        assert it.engine.log.count(("spawn",)) == 1


@in_virtual_time
async def test_a_burst_of_calls_starts_as_many_workers_as_it_needs() -> None:
    async with stage() as it:
        await asyncio.gather(*(it.control.place(call(n)) for n in range(20)))
        assert Counter(s.worker for s in it.engine.starts) == {f"w{n}": 5 for n in range(1, 5)}


@in_virtual_time
async def test_a_call_that_finds_no_room_waits_until_one_ends() -> None:
    async with stage(Limits(max_calls=1, max_workers=1)) as it:
        await it.place("first")
        waiting = asyncio.create_task(it.control.place(call("second")))
        await asyncio.sleep(5)
        assert not waiting.done()
        assert await it.control.end("default:first")
        assert (await waiting).state == "started"


@in_virtual_time
async def test_a_call_that_finds_no_room_in_time_is_refused_and_says_when_to_come_again() -> None:
    async with stage(Limits(max_calls=1, max_workers=1)) as it:
        await it.place("first")
        began = now()
        with pytest.raises(FleetFullError) as refused:
            await it.control.place(call("second"))
        assert now() - began == pytest.approx(15)
        assert refused.value.retry_after_s == 15
        status = await it.control.status()
        assert status.counts["refused"] == 1
        assert status.calls == 1


@in_virtual_time
async def test_a_refused_call_may_come_sooner_where_a_worker_is_about_to_start() -> None:
    async with stage(room_wait_s=1.0) as it:
        with pytest.raises(FleetFullError) as refused:
            await it.control.place(call())
        assert refused.value.retry_after_s == 5


@in_virtual_time
async def test_who_gives_up_waiting_takes_no_room() -> None:
    async with stage(Limits(max_calls=1, max_workers=1)) as it:
        await it.place("first")
        waiting = asyncio.create_task(it.control.place(call("second")))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait([waiting])
        await it.control.end("default:first")
        await it.place("third")
        assert "default:second" not in it.held()


@in_virtual_time
async def test_the_end_of_a_call_that_waits_for_room_ends_its_request() -> None:
    async with stage(Limits(max_calls=1, max_workers=1)) as it:
        await it.place("first")
        waiting = asyncio.create_task(it.control.place(call("second", "one")))
        await asyncio.sleep(1)
        await it.control.end("default:second", "one")
        assert (await waiting).state == "over"
        assert (await it.control.place(call("second", "one"))).state == "over"


@in_virtual_time
async def test_a_late_request_of_an_ended_session_brings_nobody() -> None:
    async with stage() as it:
        await it.control.place(call("x", "one"))
        assert await it.control.end("default:x", "one")
        assert not await it.control.end("default:x", "one")
        assert (await it.control.place(call("x", "one"))).state == "over"
        await it.settled()
        assert not it.held()
        assert not it.records.stored
        assert (await it.control.place(call("x", "two"))).state == "started"


@in_virtual_time
async def test_parameters_that_do_not_fit_in_json_are_refused() -> None:
    async with stage() as it:
        with pytest.raises(ConfigError, match="params"):
            await it.control.place(CallRequest("default:x", params={"bad": object()}))


# -- deaths ------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_calls_of_a_dead_worker_go_on_at_once_with_what_resumes_them() -> None:
    async with stage() as it:
        await it.place(*range(8))
        await asyncio.sleep(10)
        worker = it.engine.holder("default:0")
        calls = dict(worker.held)
        await it.control.save("default:0", worker.held["default:0"], RESUME)
        died_at = now()
        it.engine.kill(worker)
        while len(it.held()) < 8:
            await asyncio.sleep(0.01)
        assert now() - died_at <= TICK_S
        again = {s.request.cid: s for s in it.engine.starts[-len(calls) :]}
        assert again.keys() == calls.keys()
        assert all(s.reason == "crashed" and s.epoch > calls[c] for c, s in again.items())
        assert again["default:0"].resume == RESUME
        assert not it.engine.doubled
        await it.settled()
        assert it.records.record("default:0").worker == it.engine.holder("default:0").name


@in_virtual_time
async def test_a_call_without_any_worker_waits_for_the_next_one() -> None:
    async with stage() as it:
        await it.place("x")
        await asyncio.sleep(10)
        it.engine.kill(it.engine.holder("default:x"))
        await asyncio.sleep(0.5)
        assert (await it.control.status()).unplaced == 1
        await asyncio.sleep(SPAWN_S)
        assert it.held() == {"default:x": 1}


@in_virtual_time
async def test_a_hung_worker_is_ended_before_another_takes_its_calls() -> None:
    async with stage(Limits(max_calls=5, min_workers=2)) as it:
        await it.place("x")
        await asyncio.sleep(10)
        worker = it.engine.holder("default:x")
        hung_at = now()
        worker.hangs = True
        while len(it.engine.starts) < 2:
            await asyncio.sleep(0.01)
        assert now() - hung_at < 10
        assert it.engine.log.index(("ended", worker.name)) < it.engine.log.index(
            ("start", it.engine.starts[-1].worker, "default:x")
        )
        await it.settled()
        assert it.held() == {"default:x": 1}
        assert not it.engine.doubled
        assert (await it.control.status()).counts["hung"] == 1


@in_virtual_time
async def test_a_worker_out_of_reach_is_replaced_and_leaves_its_calls_when_it_is_back() -> None:
    async with stage(Limits(max_calls=5, min_workers=2)) as it:
        await it.place("x")
        await asyncio.sleep(10)
        worker = it.engine.holder("default:x")
        worker.muted = it.engine.end_hung_fails = True
        await asyncio.sleep(30)
        assert it.held() == {"default:x": 2}  # nobody can help that
        worker.muted = False
        await asyncio.sleep(2)
        assert it.held() == {"default:x": 1}
        assert not worker.held


@in_virtual_time
async def test_a_worker_that_was_only_late_and_could_not_be_ended_keeps_its_calls() -> None:
    async with stage() as it:
        await it.place("x")
        await asyncio.sleep(10)
        worker = it.engine.holder("default:x")
        worker.muted = True

        async def slow_fault(*_: object) -> None:
            worker.muted = False
            await asyncio.sleep(3)
            raise PaperError("out of reach")

        it.engine.end_hung_worker = slow_fault  # type: ignore[method-assign]
        await asyncio.sleep(20)
        assert it.held() == {"default:x": 1}
        assert len(it.engine.starts) == 1


@in_virtual_time
async def test_workers_are_not_blamed_for_a_control_that_was_held_up() -> None:
    async with stage() as it:
        await it.place(*range(8))
        await asyncio.sleep(10)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual_time.VirtualTimeLoop)
        loop.hold_up(60)
        await asyncio.sleep(10)
        assert "worker hung" not in it.kinds()
        assert len(it.engine.starts) == 8


# -- restarts ----------------------------------------------------------------------------------


@in_virtual_time
async def test_a_control_that_is_started_again_finds_the_calls_and_starts_nothing() -> None:
    async with stage() as it:
        await it.place(*range(8))
        await it.settled()
        held = {name: dict(w.held) for name, w in it.engine.workers.items()}
        await it.restart(down_s=30)
        again = await it.control.place(call(3))
        assert again.state == "running"
        await it.settled()
        assert {name: w.held for name, w in it.engine.workers.items()} == held
        assert len(it.engine.starts) == 8
        status = await it.control.status()
        assert (status.calls, status.unplaced) == (8, 0)
        await it.place("new")
        assert it.engine.starts[-1].epoch > max(s.epoch for s in it.engine.starts[:-1])


@in_virtual_time
async def test_a_request_at_once_after_a_restart_waits_for_what_the_workers_say() -> None:
    async with stage() as it:
        await it.place("x")
        await it.settled()
        it.records.stored.clear()  # nobody knows of the call but its worker
        it.engine.control = None
        await it.control.close()
        control = it.new_control()
        assert (await control.place(call("x"))).state == "running"
        assert it.held() == {"default:x": 1}
        assert (await control.status()).counts["adopted"] == 1


@pytest.mark.parametrize("unlisted", [False, True])
@in_virtual_time
async def test_calls_whose_worker_died_with_the_control_go_on(unlisted: bool) -> None:
    async with stage() as it:
        await it.place(*range(8))
        await it.settled()
        worker = it.engine.holder("default:0")
        lost = set(worker.held)
        await it.control.save("default:0", worker.held["default:0"], RESUME)
        await asyncio.sleep(1)
        it.engine.unlisted = unlisted
        it.engine.control = None
        it.engine.kill(worker)
        await it.control.close()
        began = now()
        await it.new_control().start()
        while len(it.held()) < 8:
            await asyncio.sleep(0.01)
        assert now() - began < 10
        again = {s.request.cid: s for s in it.engine.starts[8:]}
        assert again.keys() == lost
        assert again["default:0"].resume == RESUME
        assert not it.engine.doubled


@in_virtual_time
async def test_a_worker_that_hangs_when_the_control_starts_is_ended_first() -> None:
    async with stage() as it:
        await it.place("x")
        await it.settled()
        worker = it.engine.holder("default:x")
        worker.hangs = True
        it.engine.control = None
        await it.control.close()
        await it.new_control().start()
        await asyncio.sleep(15)
        assert it.held() == {"default:x": 1}
        assert not it.engine.doubled


@in_virtual_time
async def test_the_next_worker_joins_a_call_before_it_is_left() -> None:
    async with stage() as it:
        it.engine.prepare = lambda worker: setattr(worker, "rest_s", 1)
        await it.place("x")
        await it.settled()
        await it.control.drain()
        await asyncio.sleep(20)
        verbs = [each for each in it.engine.log if each[-1] == "default:x"]
        assert verbs == [
            ("start", "w1", "default:x"),
            ("leave at rest", "w1", "default:x"),
            ("prepare", "w2", "default:x"),
            ("start", "w2", "default:x"),
        ]
        # Of a call that does not move, nothing is prepared.
        await it.control.prepare_move("default:x", it.engine.starts[-1].epoch)
        await it.control.prepare_move("default:unknown", 1)
        assert it.engine.log[-1] != ("prepare", "w2", "default:x")


@in_virtual_time
async def test_a_move_is_not_taken_for_the_end_of_a_call_by_the_next_control() -> None:
    async with stage() as it:
        it.engine.prepare = lambda worker: setattr(worker, "rest_s", 10)
        await it.place("x")
        await it.settled()
        await it.control.drain()
        while ("leave at rest", "w1", "default:x") not in it.engine.log:
            await asyncio.sleep(1)
        await asyncio.sleep(1)
        await it.restart()
        await asyncio.sleep(20)
        assert it.held() == {"default:x": 1}
        assert it.engine.starts[-1].reason == "moved"


@in_virtual_time
async def test_a_call_whose_record_is_old_may_be_held_by_a_worker_that_hangs() -> None:
    async with stage() as it:
        await it.place(*range(6))
        await it.settled()
        worker = it.engine.holder("default:0")
        old = it.records.record("default:0")
        it.records.stored["default:0"] = CallRecord(
            old.request, old.epoch - 1, "gone", None
        ).to_json()
        it.engine.control = None
        worker.hangs = True
        await it.control.close()
        await it.new_control().start()
        await asyncio.sleep(15)
        assert len(it.held()) == 6
        assert not it.engine.doubled


@in_virtual_time
async def test_records_that_cannot_be_read_are_told_and_kept() -> None:
    async with stage() as it:
        it.records.stored = {"default:x": b"nonsense", "default:y": b'{"version": 99}'}
        await it.control.start()
        assert it.kinds() == ["record failed"] * 2
        assert (await it.control.place(call("z"))).state == "started"
        assert {"default:x", "default:y"} <= it.records.stored.keys()


@in_virtual_time
async def test_a_store_that_is_gone_at_the_start_is_read_later() -> None:
    async with stage() as it:
        await it.place("alive", "dead")
        await it.settled()
        stored = dict(it.records.stored)
        it.engine.holder("default:dead").held.clear()
        it.records.fails = True
        await it.restart()
        assert (await it.control.place(call("new"))).state == "started"
        await it.settled()
        assert "default:dead" not in it.held()
        it.records.fails = False
        it.records.stored = stored
        await asyncio.sleep(40)
        assert it.held() == {"default:alive": 1, "default:dead": 1, "default:new": 1}
        assert not it.engine.doubled
        assert it.records.stored.keys() == it.held().keys()


# -- drain -------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_drain_replaces_all_workers_and_moves_each_call_once() -> None:
    async with stage() as it:
        await it.place(*range(8))
        await it.settled()
        old = set(it.engine.alive)
        assert set(await it.control.drain()) == old
        await asyncio.sleep(60)
        assert not old & it.engine.alive.keys()
        assert it.held() == Counter({f"default:{n}": 1 for n in range(8)})
        assert not it.engine.doubled
        moved = [s for s in it.engine.starts if s.reason == "moved"]
        assert Counter(s.request.cid for s in moved) == it.held()
        assert not any(w.startswith("leave") and w != "leave at rest" for w, *_ in it.engine.log)


@in_virtual_time
async def test_a_drain_takes_one_worker_after_the_other() -> None:
    async with stage() as it:
        await it.place(*range(8))
        await it.settled()
        first, second = sorted(it.engine.alive)
        it.engine.workers[first].rest_s = 20
        await it.control.drain()
        await asyncio.sleep(15)
        assert ("leave at rest", first, "default:0") in it.engine.log
        assert not [w for w in it.engine.log if w[:2] == ("leave at rest", second)]
        await asyncio.sleep(60)
        assert not {first, second} & it.engine.alive.keys()


@in_virtual_time
async def test_a_drain_of_one_worker_leaves_the_others() -> None:
    async with stage() as it:
        await it.place(*range(8))
        await it.settled()
        first, second = sorted(it.engine.alive)
        kept = dict(it.engine.workers[second].held)
        assert await it.control.drain(first) == [first]
        assert await it.control.drain(first) == [first]  # repeated
        await asyncio.sleep(60)
        assert first not in it.engine.alive
        assert kept.items() <= it.engine.workers[second].held.items()


@in_virtual_time
async def test_a_drain_of_nobody_is_refused() -> None:
    async with stage() as it:
        await it.place("x")
        with pytest.raises(ConfigError, match=r"w1"):
            await it.control.drain("nobody")


@in_virtual_time
async def test_a_call_that_never_rests_is_left_after_ten_minutes() -> None:
    async with stage() as it:
        it.engine.prepare = lambda worker: setattr(worker, "rest_s", None)
        await it.place("x")
        await it.settled()
        worker = it.engine.holder("default:x")
        await it.control.drain(worker.name)
        await asyncio.sleep(REST_LIMIT_S)
        assert "default:x" in worker.held
        await asyncio.sleep(OBEY_S)
        assert worker.dead.is_set()
        assert it.held() == {"default:x": 1}
        assert it.engine.starts[-1].reason == "moved"


@in_virtual_time
async def test_a_worker_that_does_not_leave_its_calls_is_ended() -> None:
    async with stage() as it:
        await it.place("x")
        await it.settled()
        worker = it.engine.holder("default:x")
        worker.disobeys = True
        await it.control.drain(worker.name)
        await asyncio.sleep(REST_LIMIT_S + OBEY_S + 30)
        assert worker.dead.is_set()
        assert it.held() == {"default:x": 1}
        assert not it.engine.doubled


@in_virtual_time
async def test_a_worker_that_cannot_be_told_at_first_is_told_again() -> None:
    async with stage() as it:
        await it.place("x")
        await it.settled()
        worker = it.engine.holder("default:x")
        worker.spoils_leave = True
        await it.control.drain(worker.name)
        await asyncio.sleep(30)
        assert "default:x" in worker.held
        worker.spoils_leave = False
        await asyncio.sleep(30)
        assert worker.dead.is_set()
        assert it.held() == {"default:x": 1}


@in_virtual_time
async def test_a_drain_without_room_for_a_new_worker_is_given_up_and_told() -> None:
    async with stage(Limits(max_calls=5, max_workers=1)) as it:
        await it.place("x")
        await it.settled()
        it.engine.spawn = raises  # type: ignore[method-assign]
        await it.control.drain()
        await asyncio.sleep(ROOM_FOR_MOVE_S + 10)
        assert "not drained" in it.kinds()
        assert it.held() == {"default:x": 1}
        assert (await it.control.place(call("y"))).state == "started"


async def raises(*_: object) -> Any:
    raise PaperError("not now")


@in_virtual_time
async def test_a_full_cluster_drains_by_turns() -> None:
    """No new worker can start until an old one has gone."""
    async with stage(Limits(max_calls=5, max_workers=2, min_workers=2)) as it:
        await it.place(*range(4))
        await asyncio.sleep(20)
        old = set(it.engine.alive)
        assert len(old) == 2
        spawn = it.engine.spawn

        async def spawn_if_there_is_a_cpu() -> str:
            while len(it.engine.alive) >= 2:
                await asyncio.sleep(1)
            return await spawn()

        it.engine.spawn = spawn_if_there_is_a_cpu  # type: ignore[method-assign]
        await it.control.drain()
        await asyncio.sleep(200)
        assert not old & it.engine.alive.keys()
        assert len(it.held()) == 4
        assert not it.engine.doubled


@in_virtual_time
async def test_an_idle_worker_is_ended_when_it_is_not_needed() -> None:
    async with stage(Limits(max_calls=2, idle_s=30)) as it:
        await it.place(*range(4))
        assert len(it.engine.alive) >= 2
        for number in range(4):
            await it.control.end(f"default:{number}")
        await asyncio.sleep(120)
        assert len(it.engine.alive) == 1
        assert (await it.control.status()).wanted == 1


@in_virtual_time
async def test_a_worker_that_does_not_end_at_first_is_ended_again() -> None:
    async with stage() as it:
        await it.place("x")
        await it.settled()
        worker = it.engine.holder("default:x")
        end_worker, it.engine.end_worker = it.engine.end_worker, raises  # type: ignore[method-assign]
        await it.control.drain()
        await asyncio.sleep(30)
        assert not worker.dead.is_set()
        it.engine.end_worker = end_worker  # type: ignore[method-assign]
        await asyncio.sleep(60)
        assert worker.dead.is_set()


# -- starts that fail --------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [raises, never])
@in_virtual_time
async def test_a_start_that_fails_does_not_lose_the_call(fault: Any) -> None:
    async with stage(Limits(max_calls=5, min_workers=2)) as it:
        await it.control.start()
        await asyncio.sleep(10)
        first = min(it.engine.alive)
        it.engine.workers[first].takes_calls = fault
        placed = await it.control.place(call())
        assert (placed.worker, placed.state) == (first, "started")
        await asyncio.sleep(5)
        assert it.held() == {"default:x": 1}
        assert "default:x" in it.engine.workers["w2"].held
        assert it.kinds("default:x") == ["new", "not started", "new"]
        assert not it.engine.doubled


@in_virtual_time
async def test_a_call_taken_without_a_word_is_not_given_to_another_worker() -> None:
    async with stage(Limits(max_calls=5, min_workers=2)) as it:
        await it.control.start()
        await asyncio.sleep(10)
        first = it.engine.workers[min(it.engine.alive)]
        first.spoils_leave = True

        async def take_and_fail() -> None:
            start = it.engine.starts[-1]
            first.held[start.request.cid] = start.epoch
            raise PaperError("the answer was lost")

        first.takes_calls = take_and_fail
        await it.control.place(call())
        await asyncio.sleep(30)
        assert it.held() == {"default:x": 1}
        assert len(it.engine.starts) == 1


@in_virtual_time
async def test_a_call_neither_taken_nor_left_is_missed_in_the_reports() -> None:
    async with stage(Limits(max_calls=5, min_workers=2)) as it:
        await it.control.start()
        await asyncio.sleep(10)
        first = it.engine.workers[min(it.engine.alive)]
        first.spoils_leave, first.takes_calls = True, raises
        await it.control.place(call())
        await asyncio.sleep(10)
        assert it.held() == {"default:x": 1}
        assert "missing" in it.kinds()


@in_virtual_time
async def test_a_worker_that_dies_as_it_is_given_a_call_loses_nothing() -> None:
    async with stage(Limits(max_calls=5, min_workers=2)) as it:
        await it.control.start()
        await asyncio.sleep(10)
        first = it.engine.workers[min(it.engine.alive)]

        async def die() -> None:
            it.engine.kill(first)
            raise PaperError("the worker has died")

        first.takes_calls = die
        await it.control.place(call())
        await asyncio.sleep(5)
        assert it.held() == {"default:x": 1}


@in_virtual_time
async def test_workers_that_do_not_start_are_tried_ever_later() -> None:
    async with stage(room_wait_s=100) as it:
        it.engine.spawn_faults = [raises] * 3
        began = now()
        assert (await it.control.place(call())).state == "started"
        assert now() - began >= 4 * SPAWN_S + 1 + 2 + 4
        assert it.engine.log.count(("spawn",)) == 4
        assert (await it.control.status()).counts["workers_not_started"] == 3


@in_virtual_time
async def test_an_engine_that_names_the_same_worker_again_is_not_asked_without_end() -> None:
    async with stage(Limits(max_calls=1, max_workers=4)) as it:
        await it.place("x")
        spawns = it.engine.log.count(("spawn",))

        async def same() -> str:
            it.engine.log.append(("spawn",))
            return "w1"

        it.engine.spawn = same  # type: ignore[method-assign]
        await asyncio.sleep(60)
        assert it.engine.log.count(("spawn",)) - spawns < 15


# -- assistants that fail ----------------------------------------------------------------------


@in_virtual_time
async def test_an_assistant_that_always_fails_is_given_up_and_told() -> None:
    async with stage() as it:
        await it.control.place(call("x", "one"))
        for _ in range(MAX_FAILURES):
            while not it.held():
                await asyncio.sleep(0.05)
            worker = it.engine.holder("default:x")
            epoch = worker.held.pop("default:x")
            await it.control.over("default:x", epoch, True, "ValueError: \x1b[31mno\nkey")
        await asyncio.sleep(60)
        assert not it.held()
        assert not it.records.stored
        status = await it.control.status()
        assert (status.calls, status.unplaced) == (0, 0)
        assert (status.counts["failed"], status.counts["given_up"]) == (MAX_FAILURES, 1)
        event = it.control.recent_events[-1]
        assert event.kind == "given up"
        assert event.cid == "default:x"
        assert "\x1b" not in event.detail
        assert "\n" not in event.detail
        assert (await it.control.place(call("x", "one"))).state == "over"


@in_virtual_time
async def test_the_word_of_a_life_that_is_over_changes_nothing() -> None:
    async with stage() as it:
        await it.place("x")
        epoch = it.engine.holder("default:x").held["default:x"]
        await it.control.save("default:x", epoch, RESUME)
        await asyncio.sleep(1)
        await it.control.save("default:x", epoch - 1, Resumption("old", "model"))
        await it.control.over("default:x", epoch - 1, False)
        await it.control.over("default:unknown", 1, True)
        await it.settled()
        assert it.records.record("default:x").resume == RESUME
        assert (await it.control.status()).calls == 1


@in_virtual_time
async def test_what_is_stored_of_a_call_is_not_spoiled_by_a_control_that_could_not_read_it() -> (
    None
):
    async with stage() as it:
        asked = CallRequest("default:x", "one", "bot", {"language": "fr"})
        await it.control.place(asked)
        await it.settled()
        load, it.records.load_all = it.records.load_all, raises  # type: ignore[method-assign]
        await it.restart()
        await asyncio.sleep(2)
        epoch = it.engine.holder("default:x").held["default:x"]
        await it.control.save("default:x", epoch, RESUME)
        await asyncio.sleep(2)
        assert it.records.record("default:x").request == asked
        it.records.load_all = load  # type: ignore[method-assign]
        await asyncio.sleep(20)
        stored = it.records.record("default:x")
        assert (stored.request, stored.resume) == (asked, RESUME)


# -- records -----------------------------------------------------------------------------------


@in_virtual_time
async def test_an_older_record_never_overwrites_a_newer_one() -> None:
    async with stage() as it:
        await it.place("x")
        await it.settled()
        epoch = it.engine.holder("default:x").held["default:x"]
        it.records.write_s = [8.0, 0.01]  # the first write is slow
        writes = it.records.writes
        for number in range(20):
            await it.control.save("default:x", epoch, Resumption(f"h{number}", "model"))
            await asyncio.sleep(0.1)
        await asyncio.sleep(20)
        resume = it.records.record("default:x").resume
        assert resume is not None
        assert resume.handle == "h19"
        assert it.records.writes - writes == 2  # what was out of date was left out


@in_virtual_time
async def test_a_deleted_record_is_not_brought_back_by_a_slow_write() -> None:
    async with stage() as it:
        await it.place("x")
        await it.settled()
        epoch = it.engine.holder("default:x").held["default:x"]
        it.records.write_s = [8.0, 0.01]
        await it.control.save("default:x", epoch, RESUME)
        await asyncio.sleep(0.1)
        await it.control.end("default:x")
        await asyncio.sleep(20)
        assert not it.records.stored


@in_virtual_time
async def test_a_store_that_fails_for_a_while_ends_with_the_newest_records() -> None:
    async with stage() as it:
        it.records.fails = True
        await it.place("x", "y")
        assert (await it.control.status()).calls == 2
        epoch = it.engine.holder("default:x").held["default:x"]
        await it.control.save("default:x", epoch, RESUME)
        await it.control.end("default:y")
        await asyncio.sleep(60)
        assert "record failed" in it.kinds()
        it.records.fails = False
        await asyncio.sleep(31)
        assert it.records.stored.keys() == {"default:x"}
        assert it.records.record("default:x").resume == RESUME


@in_virtual_time
async def test_a_store_that_never_answers_holds_up_nothing() -> None:
    async with stage() as it:
        it.records.write_s = [0.01, 1e6]
        await it.control.start()
        began = now()
        await it.place("x")
        assert now() - began <= SPAWN_S + TICK_S
        await asyncio.sleep(60)
        assert it.held() == {"default:x": 1}
        assert "record failed" in it.kinds()


# -- the end -----------------------------------------------------------------------------------


@in_virtual_time
async def test_close_ends_every_task_and_every_wait_but_no_call() -> None:
    before = asyncio.all_tasks()
    it = Stage(Limits(max_calls=1, max_workers=1))
    await it.place("x")
    waiting = asyncio.create_task(it.control.place(call("y")))
    await it.control.drain()
    await asyncio.sleep(0.5)
    await it.control.close()
    await it.control.close()  # harmless
    with pytest.raises(ClosedError):
        await waiting
    its_own = asyncio.all_tasks() - before - it.engine._tasks
    assert not its_own
    assert it.held() == {"default:x": 1}
    assert it.records.record("default:x").request == call("x")
    for work in (
        it.control.start(),
        it.control.place(call()),
        it.control.end("default:x"),
        it.control.drain(),
        it.control.status(),
        it.control.report(WorkerReport("w1", 1, "node", {}, 0, 0, 0)),
        it.control.save("default:x", 1, RESUME),
        it.control.over("default:x", 1, False),
    ):
        with pytest.raises(ClosedError):
            await work


@in_virtual_time
async def test_close_is_bounded_whatever_engine_and_store_do() -> None:
    it = Stage()
    stubborn = asyncio.Event()

    async def ignores_cancellation(*_: object) -> Any:
        while not stubborn.is_set():
            try:
                await stubborn.wait()
            except asyncio.CancelledError:
                continue

    it.records.put = ignores_cancellation  # type: ignore[method-assign]
    await it.place("x")
    it.engine.spawn = ignores_cancellation  # type: ignore[method-assign]
    await it.control.drain()
    began = now()
    await it.control.close()
    assert now() - began <= 7
    stubborn.set()


@in_virtual_time
async def test_a_control_that_was_never_used_can_be_closed() -> None:
    it = Stage()
    await it.control.close()
    with pytest.raises(ClosedError):
        await it.control.start()


@in_virtual_time
async def test_events_are_bounded() -> None:
    async with stage() as it:
        for number in range(600):
            await it.place(number)
            await it.control.end(f"default:{number}")
        assert len(it.control.recent_events) == 1000
        assert it.control.recent_events[-1].cid == "default:599"


# -- any course --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
@in_virtual_time
async def test_whatever_happens_each_call_ends_up_with_one_assistant(seed: int) -> None:
    """Deaths, hangs, restarts, drains, failing starts and stores, for five minutes."""
    chance = random.Random(seed)
    async with stage(Limits(max_calls=4, max_workers=6, min_workers=2)) as it:
        engine, wanted = it.engine, set[str]()
        for number in range(60):
            await asyncio.sleep(chance.uniform(0, 10))
            name = f"default:{number}"
            alive = list(engine.alive.values())
            held = [(w, cid) for w in alive for cid in w.held]
            deed = chance.choice(
                ["place"] * 4
                + ["end", "kill", "hang", "restart", "drain", "fail", "spoil", "store"]
            )
            if deed == "place":
                try:
                    await it.control.place(CallRequest(name, "one"))
                    wanted.add(name)
                except FleetFullError:
                    pass
            elif deed == "end" and wanted:
                cid = chance.choice(sorted(wanted))
                wanted.discard(cid)
                await it.control.end(cid)
            elif deed == "kill" and alive:
                engine.kill(chance.choice(alive))
            elif deed == "hang" and alive:
                chance.choice(alive).hangs = True
            elif deed == "restart" and it.records.stored.keys() == wanted:  # else it may lose some
                await it.restart(down_s=chance.uniform(0, 3))
            elif deed == "drain":
                await it.control.drain()
            elif deed == "fail" and held:
                worker, cid = chance.choice(held)
                if not worker.hangs:
                    await engine.tell(cid, worker.held.pop(cid), True)
            elif deed == "spoil" and alive:
                worker = chance.choice(alive)
                worker.takes_calls = chance.choice([None, raises, never])
            elif deed == "store":
                it.records.fails = not it.records.fails
        it.records.fails = False
        for worker in engine.alive.values():
            worker.takes_calls = None
        await asyncio.sleep(200)
        assert it.held() == Counter(dict.fromkeys(wanted, 1))
        assert not engine.doubled
        assert it.records.stored.keys() == wanted
        status = await it.control.status()
        assert (status.calls, status.unplaced) == (len(wanted), 0)
        epochs = [s.epoch for s in engine.starts]
        assert epochs == sorted(epochs)
