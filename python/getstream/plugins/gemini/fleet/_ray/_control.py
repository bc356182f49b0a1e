"""Run the control as a Ray actor, which Ray restarts when it dies."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from typing import Any

import psutil  # Ray brings it
import ray

from ...live import Resumption
from .._calls import CallRequest, FleetStatus, Placed, WorkerReport
from .._control import Control, FleetEvent
from .._placement import Limits
from .._ports import Records
from ._actors import RayRecords, configure_logging
from ._engine import RayEngine
from ._fate import die_with_parent

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Says how a fleet was started; the control is restarted with the same.

    Attributes:
        app: the assistant function, as `module:function`.
        limits: of the workers.
        cpus: the CPUs that Ray counts for a worker.
        records: where resumptions are kept: a URL or a file; "" is Ray's own store.
        verbose: whether the workers and the control log more.
    """

    app: str
    limits: Limits
    cpus: float
    records: str
    verbose: bool


@dataclass(frozen=True)
class Identity:
    """Says which process an actor is: its number may be given to another one later."""

    pid: int
    created: float
    node: str


class ControlActor:
    """Holds the fleet's `Control` in a process of its own.

    Everything that it knows can be had again: from its workers' reports, and from the records.
    """

    def __init__(self, settings: Settings) -> None:
        die_with_parent()
        configure_logging(settings.verbose)
        self._settings = settings
        self._control: Control | None = None
        self._starting: asyncio.Task[Control] | None = None
        # By its own call: after a crash nobody else may be there to ask it for anything.
        ray.get_runtime_context().current_actor.start.remote()

    async def start(self) -> None:
        """Find the workers and records that there are, and begin to place."""
        await self._started()

    async def place(self, request: CallRequest) -> Placed:
        """Have one assistant in a call."""
        return await (await self._started()).place(request)

    async def end(self, cid: str, session_id: str) -> bool:
        """End the assistant of a call."""
        return await (await self._started()).end(cid, session_id)

    async def drain(self, worker: str | None) -> list[str]:
        """Replace a worker, or all."""
        return await (await self._started()).drain(worker)

    async def status(self) -> FleetStatus:
        """Return how the fleet is."""
        return await (await self._started()).status()

    async def report(self, report: WorkerReport) -> dict[str, int]:
        """Hear how a worker is; returns the calls that it has to leave."""
        return await (await self._started()).report(report)

    async def prepare_move(self, cid: str, epoch: int) -> None:
        """Have the worker to which a call will move join it."""
        await (await self._started()).prepare_move(cid, epoch)

    async def save(self, cid: str, epoch: int, resume: Resumption) -> None:
        """Hear what resumes a call."""
        await (await self._started()).save(cid, epoch, resume)
        logger.debug("%s has told what resumes it", cid)

    async def over(self, cid: str, epoch: int, failed: bool, error: str) -> None:
        """Hear that a call is not held any more."""
        await (await self._started()).over(cid, epoch, failed, error)

    async def events(self) -> tuple[FleetEvent, ...]:
        """Return what has happened, oldest first."""
        return (await self._started()).recent_events

    async def identity(self) -> Identity:
        """Return which process this is; it is also the question whether it answers."""
        created = psutil.Process().create_time()
        return Identity(os.getpid(), created, ray.get_runtime_context().get_node_id())

    async def settings(self) -> Settings:
        """Return how the fleet was started."""
        return self._settings

    async def _started(self) -> Control:
        if self._control is not None:
            return self._control
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        starting = self._starting
        try:
            return await asyncio.shield(starting)
        except BaseException:
            if starting.done() and self._starting is starting:
                self._starting = None  # whoever asks next tries again
            raise

    async def _start(self) -> Control:
        settings = self._settings
        engine = RayEngine(settings.app, settings.cpus, settings.verbose)
        control = Control(engine, _records_of(settings.records), settings.limits)
        await control.start()
        self._control = control
        return control


def _records_of(where: str) -> Records:
    if not where:
        return RayRecords()
    from .._records import open_records

    records: Any = open_records(where)
    return records  # type: ignore[no-any-return]
