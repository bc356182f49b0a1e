"""Start workers as Ray actors, and reach them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ...errors import GeminiError
from .._calls import CallRequest, StartCall
from ._actors import NAMESPACE, Actors, Store, off_loop
from ._fate import end_process
from ._worker import IDENTITIES, WorkerActor

logger = logging.getLogger(__name__)

WORKER_PREFIX = "worker-"

CALLS_AT_ONCE = 1000
"""Methods that an actor runs side by side on its loop: Ray's default for asynchronous actors."""

PLACING_S = 230.0
"""Seconds that a worker may wait for a machine: Ray's autoscaler may have to start one. With the
warm-up below, it is less than the control gives an engine."""

PENDING_WARNING_S = 30.0
"""Seconds after which a worker that waits for a machine is worth a warning."""

WARM_UP_S = 60.0
"""Seconds that a worker may take to import the application and the SDKs: 3 to 4 s, and 16 s on
two cores that are busy."""

ASK_S = 5.0
"""Seconds that a worker may take to answer. One that does not is silent, and is ended for that."""

CLOSE_S = 5.0
"""Seconds that a worker may take to leave what it holds when it is ended."""

END_HUNG_S = 10.0
"""Seconds that ending a hung process on another machine may take: Ray may have to start a process
for it there. The control gives an engine 15 s."""


class RayEngine:
    """Runs each worker as a detached actor: the port `Engine`.

    A detached actor outlives the control, so that a crash of the control takes no calls with it.

    Args:
        app: the assistant function, as `module:function`.
        cpus: the CPUs that Ray counts for a worker.
        verbose: whether the workers log more.
    """

    def __init__(self, app: str, cpus: float, verbose: bool) -> None:
        self._app = app
        self._cpus = cpus
        self._verbose = verbose
        self._actors = Actors()
        self._identities = Store(IDENTITIES)

    async def spawn(self) -> str:
        """Start a worker, and return its name when it is warm.

        Raises:
            GeminiError: it had no machine, or was not warm, in time.
            ConfigError: the assistant function cannot be imported.
        """
        name = f"{WORKER_PREFIX}{uuid.uuid4().hex[:8]}"
        actor = (
            ray.remote(WorkerActor)
            .options(
                name=name,
                namespace=NAMESPACE,
                lifetime="detached",
                num_cpus=self._cpus,
                max_concurrency=CALLS_AT_ONCE,
                max_restarts=0,
            )
            .remote(name, self._app, self._verbose)
        )
        self._actors.add(name, actor)
        try:
            await self._until_placed(name, actor)
            await asyncio.wait_for(actor.warm_up.remote(), WARM_UP_S)
        except BaseException as error:
            ray.kill(actor)
            self._actors.forget(name)
            if isinstance(error, ray.exceptions.RayTaskError):
                raise error.cause from None
            if isinstance(error, asyncio.TimeoutError):
                raise GeminiError(f"A worker was not warm after {WARM_UP_S:.0f} s") from None
            raise
        return name

    async def _until_placed(self, name: str, actor: Any) -> None:
        """Wait until Ray has found a machine for the process, and has started it."""
        placed = asyncio.wrap_future(actor.__ray_ready__.remote().future())
        done, _ = await asyncio.wait([placed], timeout=PENDING_WARNING_S)
        if not done:
            logger.warning(
                "%s has waited %.0f s for a machine with %.3g free CPUs: Ray's autoscaler starts "
                "one, or the cluster needs one more than --max-workers has workers",
                name,
                PENDING_WARNING_S,
                self._cpus,
            )
            done, _ = await asyncio.wait([placed], timeout=PLACING_S - PENDING_WARNING_S)
        if not done:
            placed.cancel()
            raise GeminiError(f"Ray had no machine for a worker within {PLACING_S:.0f} s")
        placed.result()

    async def known_workers(self) -> list[str]:
        """Return the workers that run already."""
        actors = await off_loop(lambda: ray.util.list_named_actors(all_namespaces=True))
        return [
            each["name"]
            for each in actors
            if each["namespace"] == NAMESPACE and each["name"].startswith(WORKER_PREFIX)
        ]

    async def wait_dead(self, worker: str) -> None:
        """Return when the process of a worker is gone: a method that never returns has failed."""
        while True:
            try:
                await (await self._actors.get(worker)).until_gone.remote()
                break  # it has closed, and its process is about to end
            except ray.exceptions.ActorUnavailableError:
                # The connection broke. Ray knows within milliseconds whether the process is dead,
                # and says so to the next call.
                await asyncio.sleep(0.01)
            except (ray.exceptions.RayActorError, ValueError):
                break
        self._actors.forget(worker)
        await self._identities.delete(worker)

    async def start_call(self, start: StartCall) -> None:
        """Have a worker take a call."""
        actor = await self._actors.get(start.worker)
        await _bounded(actor.start_call.remote(start), ASK_S)

    async def prepare_call(self, worker: str, request: CallRequest) -> None:
        """Have a worker join a call that will move to it."""
        actor = await self._actors.get(worker)
        await _bounded(actor.prepare_call.remote(request), ASK_S)

    async def leave_call(self, worker: str, cid: str, epoch: int, *, at_rest: bool) -> None:
        """Have a worker leave a call."""
        actor = await self._actors.get(worker)
        await _bounded(actor.leave_call.remote(cid, epoch, at_rest), ASK_S)

    async def end_worker(self, worker: str) -> None:
        """End a worker that has no calls any more."""
        try:
            actor = await self._actors.get(worker)
        except ValueError:
            return  # it is dead
        try:
            await _bounded(actor.close.remote(CLOSE_S), CLOSE_S + 1)
        except (asyncio.TimeoutError, ray.exceptions.RayError) as error:
            logger.info("%s did not close (%s)", worker, type(error).__name__)
        await off_loop(ray.kill, actor)

    async def end_hung_worker(self, worker: str, pid: int, node: str) -> None:
        """Kill a worker that does not answer on its own machine; then Ray may know.

        Ray calls an actor dead as soon as it is told to kill it. A process that hangs lives on for
        5 s after that, and with it the connection to its Gemini session, which nobody can resume
        meanwhile: the service closes the new connection with 1011.
        """
        identity = await self._identities.get(worker)
        known = json.loads(identity) if identity else {}
        if known and pid in (0, known["pid"]):  # 0: the control has not heard of it yet
            await end_hung_process(worker, known["pid"], known["created"], known["node"])
        with contextlib.suppress(ValueError, ray.exceptions.RayError):  # Ray knows by itself
            await off_loop(ray.kill, await self._actors.get(worker))


async def end_hung_process(what: str, pid: int, created: float, node: str) -> bool:
    """Kill a process on a node of the cluster; returns whether it is known to be gone."""
    if node == ray.get_runtime_context().get_node_id():  # at once, and however busy Ray is
        return await off_loop(end_process, pid, created, END_HUNG_S)
    where = NodeAffinitySchedulingStrategy(node, soft=False)
    end = ray.remote(end_process).options(
        scheduling_strategy=where, num_cpus=0, max_retries=0, name=f"end {what}"
    )
    try:
        return bool(await _bounded(end.remote(pid, created, END_HUNG_S - 1), END_HUNG_S))
    except (asyncio.TimeoutError, ray.exceptions.RayError) as error:
        logger.warning("%s: its machine cannot be reached (%s)", what, type(error).__name__)
        return False


async def _bounded(reference: Any, timeout_s: float) -> Any:
    try:
        return await asyncio.wait_for(asyncio.wrap_future(reference.future()), timeout_s)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
