"""Run a worker as a Ray actor: one process with many calls on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from typing import Any

import psutil  # Ray brings it
import ray

from ...live import Resumption
from .._calls import CallRequest, StartCall
from .._program import load_assistant
from .._worker import Worker
from ._actors import ControlLink, Store, configure_logging, off_loop
from ._fate import die_with_parent
from ._outbox import ControlSilentError, Outbox

logger = logging.getLogger(__name__)

REPORT_S = 1.0
"""Seconds between reports."""

CONTROL_TIMEOUT_S = 2.0
"""Seconds that the control may take to hear something; it takes 5 ms when it is well."""

FAILED_LINGER_S = 10.0
"""Seconds for which a worker that could not warm up remains, so that it can say why."""

IDENTITIES = "identities"
"""The store of what each worker's process is, which is read before one is killed."""


class WorkerActor:
    """Holds calls in one process, reports once a second, and repeats what was not heard.

    The control may be away: the calls go on, and what is to be said waits in the outbox.

    Args:
        name: the worker's, and the actor's.
        app: the assistant function, as `module:function`.
        verbose: whether to log more.
    """

    def __init__(self, name: str, app: str, verbose: bool) -> None:
        die_with_parent()
        configure_logging(verbose)
        self._name = name
        self._app = app
        self._worker: Worker | None = None
        self._warming: asyncio.Task[Worker] | None = None
        self._control = ControlLink()
        self._outbox = Outbox(self._save, self._over)
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = asyncio.Event()
        self._control_answers = True
        # By its own call: whoever started it may be dead by now.
        ray.get_runtime_context().current_actor.begin.remote()

    async def begin(self) -> None:
        """Get ready and report; a worker that cannot ends its process."""
        try:
            await self.warm_up()
        except Exception as error:
            logger.error("%s cannot start: %s: %s", self._name, type(error).__name__, error)
            asyncio.get_running_loop().call_later(FAILED_LINGER_S, os._exit, 1)

    async def warm_up(self) -> None:
        """Return when calls can be taken, however often it is asked for.

        Raises:
            ConfigError: the assistant function cannot be imported.
        """
        if self._warming is None:
            self._warming = asyncio.create_task(self._warm_up())
        await asyncio.shield(self._warming)

    async def _warm_up(self) -> Worker:
        node = ray.get_runtime_context().get_node_id()
        process = psutil.Process()
        identity = {"pid": process.pid, "created": process.create_time(), "node": node}
        await Store(IDENTITIES).put(self._name, json.dumps(identity).encode())
        worker = Worker(
            self._name,
            await off_loop(load_assistant, self._app),
            on_saved=self._outbox.put_saved,
            on_over=self._outbox.put_over,
            on_rest=self._prepare_move,
            node=node,
        )
        await worker.warm_up()
        self._worker = worker
        self._tasks = [
            asyncio.create_task(self._report(worker), name="reports of the worker"),
            asyncio.create_task(self._outbox.run(), name="news of calls"),
        ]
        return worker

    async def start_call(self, start: StartCall) -> None:
        """Take a call."""
        await self.warm_up()
        self._ready.start_call(start)

    async def prepare_call(self, request: CallRequest) -> None:
        """Join a call that will move here."""
        await self.warm_up()
        await self._ready.prepare_call(request)

    async def leave_call(self, cid: str, epoch: int, at_rest: bool) -> None:
        """Leave a call: at once, or when the conversation is at rest."""
        if self._worker is not None:
            self._worker.leave_call(cid, epoch, at_rest=at_rest)

    async def until_gone(self) -> None:
        """Never return while this process lives: the error of this tells at once that it died."""
        await self._closed.wait()

    async def close(self, timeout_s: float) -> None:
        """Leave all calls, and deliver what is still to be said, within the time."""
        if self._worker is not None:
            deadline = time.monotonic() + timeout_s
            await self._worker.close(timeout_s)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._outbox.wait_empty(), deadline - time.monotonic())
        for task in self._tasks:
            task.cancel()
        self._closed.set()

    @property
    def _ready(self) -> Worker:
        assert self._worker is not None
        return self._worker

    async def _report(self, worker: Worker) -> None:
        while True:
            began = time.monotonic()
            try:
                leave = await self._ask("report", worker.report())
                for cid, epoch in leave.items():
                    worker.leave_call(cid, epoch, at_rest=False)
            except ControlSilentError:
                pass  # calls go on without a control
            except Exception:
                logger.exception("%s: the control refused a report", self._name)
            await asyncio.sleep(max(0.0, began + REPORT_S - time.monotonic()))

    async def _prepare_move(self, cid: str, epoch: int) -> None:
        # Its time is the worker's to bound; and a control that is away has nothing to prepare.
        await self._control.ask("prepare_move", cid, epoch, timeout_s=CONTROL_TIMEOUT_S)

    async def _save(self, cid: str, epoch: int, resume: Resumption) -> None:
        await self._ask("save", cid, epoch, resume)

    async def _over(self, cid: str, epoch: int, failed: bool, error: str) -> None:
        await self._ask("over", cid, epoch, failed, error)

    async def _ask(self, method: str, *args: Any) -> Any:
        try:
            answer = await self._control.ask(method, *args, timeout_s=CONTROL_TIMEOUT_S)
        except ControlSilentError as error:
            if self._control_answers:
                logger.warning("%s: %s; the calls go on", self._name, error)
            self._control_answers = False
            raise
        if not self._control_answers:
            logger.info("%s: the control answers again", self._name)
        self._control_answers = True
        return answer
