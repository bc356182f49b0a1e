"""Run a fleet in this process: workers, their control and the gate on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import ClosedError, ConfigError
from ..live import Resumption
from ._calls import (
    CallRecord,
    CallRequest,
    FleetFullError,
    FleetStatus,
    Placed,
    StartCall,
    WorkerStatus,
)
from ._control import Control
from ._placement import Limits
from ._ports import Records
from ._program import Assistant, check_assistant
from ._records import MemoryRecords
from ._stream import make_client
from ._worker import Worker

if TYPE_CHECKING:
    from aiohttp import web

logger = logging.getLogger("getstream.plugins.gemini")

REPORT_S = 1.0
"""Seconds between two reports of a worker, as the control expects them."""

END_S = 5.0
"""Seconds that calls may take to come to rest in a worker that is ended; the control ends those
that have no calls."""


class LocalEngine:
    """Runs workers in this process.

    It cannot end a worker that hangs: whoever could would hang, too. The log says where it hangs.

    Args:
        assistant: the application's function.
        records: keeps what resumes the calls while they are left, when there is no control any
            more.

    Raises:
        ConfigError: `assistant` is no async function of one argument.
    """

    def __init__(self, assistant: Assistant, records: Records) -> None:
        self._assistant = check_assistant(assistant)
        self._records = records
        self._control: Control | None = None
        self._closing = False
        self._starts: dict[str, StartCall] = {}  # the newest of each call that is held
        self._workers: dict[str, Worker] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._reporting: dict[str, asyncio.Task[None]] = {}
        self._spawned = 0

    def bind(self, control: Control) -> None:
        """Set whom the workers tell."""
        self._control = control

    async def spawn(self) -> str:
        """Start a worker, and return its name when it is warm."""
        assert self._control is not None, "bind() comes first"
        if self._closing:
            raise ConfigError("This fleet is closed")
        control = self._control
        self._spawned += 1
        name = f"local-{self._spawned}"
        worker = Worker(
            name,
            self._assistant,
            on_saved=self._save,
            on_over=self._over,
            on_rest=control.prepare_move,
        )
        try:
            await worker.warm_up()
        except BaseException:
            await worker.close(0.0)
            raise
        self._workers[name] = worker
        self._ended[name] = asyncio.Event()
        self._reporting[name] = asyncio.ensure_future(self._report(worker, control))
        return name

    async def known_workers(self) -> list[str]:
        """Return the workers that run already."""
        return list(self._workers)

    async def wait_dead(self, worker: str) -> None:
        """Return when a worker was ended."""
        if worker in self._ended:
            await self._ended[worker].wait()

    async def start_call(self, start: StartCall) -> None:
        """Have a worker take a call; repeating it changes nothing."""
        self._worker(start.worker).start_call(start)
        self._starts[start.request.cid] = start

    async def prepare_call(self, worker: str, request: CallRequest) -> None:
        """Have a worker join a call that will move to it."""
        await self._worker(worker).prepare_call(request)

    async def leave_call(self, worker: str, cid: str, epoch: int, *, at_rest: bool) -> None:
        """Have a worker leave a call: at once, or when the conversation is at rest."""
        self._worker(worker).leave_call(cid, epoch, at_rest=at_rest)

    async def end_worker(self, worker: str) -> None:
        """End a worker that has no calls any more."""
        await self._end(worker, END_S)

    async def end_hung_worker(self, worker: str, pid: int, node: str) -> None:
        """End a worker that has not reported in time: it runs again, or this would not."""
        await self._end(worker, 0.0)

    async def close(self, grace_s: float) -> None:
        """End all workers: each call at rest, and at once when the time is up.

        The control has to be closed before: it would place the calls again.
        """
        self._closing = True
        await asyncio.gather(*(self._end(name, grace_s) for name in list(self._workers)))

    def statuses(self) -> dict[str, WorkerStatus]:
        """Return the workers that are being closed, by name."""
        reports = [worker.report() for worker in self._workers.values()]
        return {
            report.worker: WorkerStatus(False, 0.0, tuple(report.calls), report)
            for report in reports
        }

    def _worker(self, name: str) -> Worker:
        if name not in self._workers:
            raise ConfigError(f"There is no worker {name!r:.100} any more")
        return self._workers[name]

    async def _end(self, name: str, grace_s: float) -> None:
        worker = self._workers.get(name)
        if worker is None:
            return
        if self._closing and (reporting := self._reporting.get(name)) is not None:
            reporting.cancel()  # nobody is there to read them
        await worker.close(grace_s)
        self._workers.pop(name, None)
        if (reporting := self._reporting.pop(name, None)) is not None:
            reporting.cancel()
            await asyncio.wait([reporting])
        self._ended[name].set()

    async def _save(self, cid: str, epoch: int, resume: Resumption) -> None:
        if not self._closing and self._control is not None:
            await self._control.save(cid, epoch, resume)
        elif (start := self._starts.get(cid)) is not None and start.epoch == epoch:
            record = CallRecord(start.request, epoch, start.worker, resume)
            await self._records.put(cid, record.to_json())

    async def _over(self, cid: str, epoch: int, failed: bool, error: str) -> None:
        start = self._starts.get(cid)
        if start is not None and start.epoch == epoch:
            del self._starts[cid]
        if not self._closing and self._control is not None:
            await self._control.over(cid, epoch, failed, error)
        else:
            await self._records.delete(cid)

    async def _report(self, worker: Worker, control: Control) -> None:
        while True:
            try:
                leave = await control.report(worker.report())
                for cid, epoch in leave.items():
                    worker.leave_call(cid, epoch, at_rest=False)
            except Exception:
                logger.exception("A report of %s was not taken", worker.name)
            await asyncio.sleep(REPORT_S)


LOCAL_LIMITS = Limits(max_workers=1, spare_calls=0)
"""One worker: another one in this process would have no CPU of its own."""


class LocalFleet:
    """Runs a fleet in this process, for an application that has an event loop of its own.

        async with LocalFleet(assistant) as fleet:
            await fleet.place(CallRequest("default:my-call"))

    It is what `serve` runs without Ray: all calls on the running event loop, good for one core.
    The variables `STREAM_API_KEY` and `STREAM_API_SECRET` have to be set.

    Args:
        assistant: an async function of one argument, the `Seat`, which holds one call.
        limits: how many calls there may be; what it says of workers is of no use here.
        records: keeps what resumes the calls, so that another process can go on with them; in the
            memory of this process unless given.
        grace_s: seconds for calls to come to rest at the end of the block. Those that have not are
            left at once then.

    Raises:
        ConfigError: `assistant` is no async function of one argument; or, when the block begins,
            there are no keys for Stream.
    """

    def __init__(
        self,
        assistant: Assistant,
        *,
        limits: Limits | None = None,
        records: Records | None = None,
        grace_s: float = 5.0,
    ) -> None:
        records = records if records is not None else MemoryRecords()
        limits = replace(limits or LOCAL_LIMITS, min_workers=1, max_workers=1, spare_calls=0)
        self._engine = LocalEngine(assistant, records)
        self._control = Control(self._engine, records, limits)
        self._engine.bind(self._control)
        self._grace_s = grace_s
        self._last: FleetStatus | None = None  # once it is being closed

    async def __aenter__(self) -> LocalFleet:
        make_client()  # raises what the control would only log
        try:
            await self._control.start()
        except BaseException:
            await self.close(0.0)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self, grace_s: float | None = None) -> None:
        """Leave all calls: each at rest, and at once when the time is up. Idempotent.

        What resumes them stays in the records.

        Args:
            grace_s: seconds for that, instead of those of the constructor.
        """
        if self._last is None:
            with contextlib.suppress(ClosedError):
                self._last = await self._control.status()
        await self._control.close()
        await self._engine.close(self._grace_s if grace_s is None else grace_s)

    async def place(self, request: CallRequest) -> Placed:
        """Have one assistant in a call, however often it is asked for.

        Raises:
            FleetFullError: there is no room, and none came up in time; or the fleet is ending.
        """
        try:
            return await self._control.place(request)
        except ClosedError:
            raise FleetFullError("This process is ending, and takes no calls") from None

    async def end(self, cid: str, session_id: str = "") -> bool:
        """End the assistant of a call, in that session alone if one is named.

        Returns:
            whether there was one.
        """
        try:
            return await self._control.end(cid, session_id)
        except ClosedError:
            raise FleetFullError("This process is ending: its calls are being left") from None

    async def drain(self, worker: str | None = None) -> list[str]:
        """Replace a worker, or all: their calls move, each at rest. Returns those that go."""
        try:
            return await self._control.drain(worker)
        except ClosedError:
            raise FleetFullError("This process is ending: its calls are being left") from None

    async def status(self) -> FleetStatus:
        """Return how the fleet is."""
        if self._last is None:
            return await self._control.status()
        workers = self._engine.statuses()
        calls = sum(len(worker.calls) for worker in workers.values())
        return replace(self._last, workers=workers, calls=calls, unplaced=0, room=0, starting=0)

    def app(
        self, *, api_secret: str, token: str | None = None, user_id: str = "assistant"
    ) -> web.Application:
        """Return the gate as an aiohttp application: webhooks, calls, metrics.

        Args:
            api_secret: of the Stream app, which signs its webhooks.
            token: what the application sends as `Authorization: Bearer`; without one the API is
                off.
            user_id: the user that assistants are in the calls.
        """
        from ._gate import Gate

        return Gate(self, api_secret=api_secret, token=token, user_id=user_id).app()
