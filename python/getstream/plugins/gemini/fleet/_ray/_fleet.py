"""Start Ray and the control, and reach them from the process of the gate."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import psutil  # Ray brings it
import ray

from ...errors import ConfigError
from .._calls import CallRequest, FleetFullError, FleetStatus, Placed
from .._control import FleetEvent
from .._placement import Limits
from ._actors import CONTROL, NAMESPACE, ControlLink, off_loop
from ._control import ControlActor, Identity, Settings
from ._engine import CALLS_AT_ONCE, CLOSE_S, end_hung_process
from ._outbox import ControlSilentError
from ._reaper import Reaper

logger = logging.getLogger(__name__)

PLACE_S = 28.0
"""Seconds in which a call is placed, or refused: the control itself waits up to 20 s for room, and
the gate 30 s for an answer."""

ASK_S = 10.0
"""Seconds in which any other question is answered. Ray restarts a control within 2 to 6 s."""

RETRY_S = 0.2
"""Seconds between attempts to reach a control that is being restarted."""

WATCH_S = 1.0
"""Seconds between questions whether the control answers."""

CONTROL_SILENT_S = 10.0
"""Seconds after which a control that does not answer is ended. It does nothing that takes one."""

START_S = 60.0
"""Seconds in which the control's process starts: 2 s, and 10 s on two cores that are busy."""

LOCAL_WORKER_CPUS = 0.001
"""The CPUs that Ray counts for a worker on this machine. There is no other machine to choose, and
`max_workers` is the bound; counted as a whole CPU, the worker that replaces one would have to wait
for it to go."""

OBJECT_STORE_BYTES = 80_000_000
"""Ray's shared memory, which the fleet does not use. The least that Ray takes is 75 MB; its default
is 30 % of the machine's memory."""

HEAD = "node:__internal_head__"
"""The resource of Ray that only the head has. The control runs there: it can do nothing without."""

ENDED_S = 5.0
"""Seconds that Ray's processes on this machine may take to end, before they are killed."""


def start(app: str, limits: Limits, records: str, verbose: bool, local: bool) -> RayFleet:
    """Do what `start_ray_fleet` says; `local` is whether Ray is started on this machine."""
    reaper = None
    if local:
        reaper = Reaper() if sys.platform.startswith("linux") else None
        folder = _start_ray_here()
        if reaper is not None:
            reaper.add_folder(folder)
        cpus = LOCAL_WORKER_CPUS
    else:
        _join_ray()
        cpus = _cpus_of_worker(limits)
    settings = Settings(app, limits, cpus, records, verbose)
    actor = (
        ray.remote(ControlActor)
        .options(
            name=CONTROL,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            resources={HEAD: 0.001},
            max_concurrency=CALLS_AT_ONCE,
            max_restarts=-1,
        )
        .remote(settings)
    )
    try:
        there = ray.get(actor.settings.remote(), timeout=START_S)
    except ray.exceptions.RayError as error:
        ray.shutdown()
        if reaper is not None:
            reaper.close()
        raise ConfigError(f"The control of the fleet did not start: {error}") from None
    if there != settings:
        logger.warning(
            "The fleet on this cluster was started with other options (%s), and keeps them", there
        )
    return RayFleet(actor, local=local, reaper=reaper)


def find() -> RayFleet:
    """Do what `find_ray_fleet` says."""
    _join_ray()
    try:
        return RayFleet(ray.get_actor(CONTROL, NAMESPACE), local=False)
    except ValueError:
        ray.shutdown()
        raise ConfigError(
            "There is no fleet on this cluster: `getstream-gemini serve APP --workers N` starts one"
        ) from None


def _start_ray_here() -> str:
    """Start Ray on this machine; returns the folder of its logs and sockets."""
    context = ray.init(
        address="local",  # never one that somebody else has started on this machine
        namespace=NAMESPACE,
        # Ray keeps so many idle processes: one, which ends workers that hang.
        num_cpus=1,
        num_gpus=0,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        logging_level=logging.WARNING,
    )
    folder: str = context.address_info["session_dir"]
    return folder


def _join_ray() -> None:
    try:
        ray.init(address="auto", namespace=NAMESPACE, logging_level=logging.WARNING)
    except (ConnectionError, ray.exceptions.RayError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"The Ray cluster at RAY_ADDRESS={os.environ.get('RAY_ADDRESS', 'auto')!r} cannot be "
            f"reached: {error}"
        ) from None


def _cpus_of_worker(limits: Limits) -> float:
    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    cpus = cpus_of_worker(nodes, limits.min_workers)
    places = sum(math.floor(node / cpus) for node in nodes)
    if places <= limits.max_workers:
        logger.info(
            "The cluster has CPUs for %d workers, one of which a drain needs; more are started "
            "when Ray's autoscaler adds machines",
            places,
        )
    return cpus


def cpus_of_worker(nodes: Sequence[float], workers: int) -> float:
    """Return the CPUs to count for a worker, so that a drain does not wait for one.

    A drain replaces workers one by one, and so needs room for one more. A worker is one process,
    which uses one CPU at most; where the machines are too small for that, it counts as less.

    Args:
        nodes: the CPUs of each machine.
        workers: the workers that run there at least.

    Returns:
        1, or the greatest share of a CPU with which `workers + 1` fit.
    """
    needed = workers + 1
    shares = {1.0, *(node / count for node in nodes for count in range(1, needed + 1) if node > 0)}
    for share in sorted((share for share in shares if share <= 1), reverse=True):
        # Ray counts in ten-thousandths of a CPU.
        share = math.floor(share * 10_000) / 10_000
        if share > 0 and sum(math.floor(node / share + 1e-9) for node in nodes) >= needed:
            return share
    return 1.0  # there is no machine with a CPU yet: the autoscaler starts them


class RayFleet:
    """Reaches the control of a fleet on Ray: the port `Fleet`, for the gate.

    A question is asked again while Ray restarts the control. A control that hangs is ended, so that
    Ray restarts it.

    Args:
        actor: the control's.
        local: whether Ray runs on this machine, and ends with this process.
        reaper: ends what that leaves.
    """

    def __init__(self, actor: Any, *, local: bool, reaper: Reaper | None = None) -> None:
        self._actor = actor
        self._link = ControlLink(actor)
        self._local = local
        self._reaper = reaper
        self._watching: asyncio.Task[None] | None = None

    async def place(self, request: CallRequest) -> Placed:
        """Have one assistant in a call, however often it is asked for.

        Raises:
            FleetFullError: there is no room, or the control did not answer in time.
        """
        placed: Placed = await self._ask("place", request, timeout_s=PLACE_S)
        return placed

    async def end(self, cid: str, session_id: str = "") -> bool:
        """End the assistant of a call; returns whether there was one.

        Args:
            cid: the call.
            session_id: the session that has ended: nothing happens to a call that is in a later
                one by now.

        Raises:
            FleetFullError: the control did not answer in time; so do the methods below.
        """
        return bool(await self._ask("end", cid, session_id))

    async def drain(self, worker: str | None = None) -> list[str]:
        """Replace a worker, or all; returns those that go."""
        going: list[str] = await self._ask("drain", worker)
        return going

    async def status(self) -> FleetStatus:
        """Return how the fleet is."""
        status: FleetStatus = await self._ask("status")
        return status

    async def events(self) -> tuple[FleetEvent, ...]:
        """Return what has happened since the control began, oldest first."""
        events: tuple[FleetEvent, ...] = await self._ask("events")
        return events

    async def drain_node(self, node: str, deadline_s: float) -> list[str]:
        """Replace the workers on a machine, and have Ray start no other there.

        Args:
            node: the machine, by Ray's name for it.
            deadline_s: seconds after which it goes.

        Returns:
            the workers that go.
        """
        if not await off_loop(_close_node, node, deadline_s):
            logger.warning("Ray may start workers on this machine although it is drained")
        workers = (await self.status()).workers
        there = [name for name, w in workers.items() if w.report and w.report.node == node]
        going = []
        for name in there:
            with contextlib.suppress(ConfigError):  # it has ended meanwhile
                going += await self.drain(name)
        return going

    def watch(self) -> None:
        """Begin to watch whether the control answers, until `close`."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="watch over the control")

    async def close(self, grace_s: float) -> None:
        """Leave the fleet. On a cluster it goes on; on this machine its calls are left. Idempotent.

        A second call with less grace hurries one that still waits.

        Args:
            grace_s: seconds for calls to come to rest; then they are left at once.
        """
        if self._local and ray.is_initialized():
            await self._close_workers(grace_s)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        if not ray.is_initialized():
            return
        children = psutil.Process().children(recursive=True) if self._local else []
        ray.shutdown()
        if self._reaper is not None:
            self._reaper.close()
        elif children:
            _end(children)

    async def _close_workers(self, grace_s: float) -> None:
        """Have all workers leave their calls; what hangs or is dead is not waited for."""
        status = None
        with contextlib.suppress(FleetFullError):
            status = await self._link.ask("status", timeout_s=CLOSE_S)
        closing = []
        for name in status.workers if status is not None else ():
            with contextlib.suppress(ValueError):
                worker = await off_loop(ray.get_actor, name, NAMESPACE)
                closing.append(asyncio.wrap_future(worker.close.remote(grace_s).future()))
        if closing:
            _, open_ = await asyncio.wait(closing, timeout=grace_s + CLOSE_S)
            for each in open_:
                each.cancel()
            for each in closing:
                if each.done() and not each.cancelled():
                    each.exception()  # of a worker that has died: it has left its calls

    async def _ask(self, method: str, *args: Any, timeout_s: float = ASK_S) -> Any:
        deadline = time.monotonic() + timeout_s
        while True:
            left = deadline - time.monotonic()
            try:
                return await self._link.ask(method, *args, timeout_s=max(left, 0.0))
            except ControlSilentError:
                # What the control does may be done twice: a request that it had begun with counts
                # as repeated.
                if deadline - time.monotonic() < RETRY_S:
                    raise
            await asyncio.sleep(RETRY_S)

    async def _watch(self) -> None:
        identity: Identity | None = None
        answered_at = time.monotonic()
        while True:
            try:
                identity = await self._link.ask("identity", timeout_s=CONTROL_SILENT_S / 2)
                answered_at = time.monotonic()
            except ControlSilentError:
                if identity is not None and time.monotonic() - answered_at > CONTROL_SILENT_S:
                    logger.error("The control does not answer: it is ended, and Ray restarts it")
                    pid, created, node = identity.pid, identity.created, identity.node
                    await end_hung_process("control", pid, created, node)
                    identity = None
            await asyncio.sleep(WATCH_S)


def _end(processes: list[Any]) -> None:
    _, alive = psutil.wait_procs(processes, ENDED_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, ENDED_S)


def this_node() -> str:
    """Return Ray's name for this machine."""
    node: str = ray.get_runtime_context().get_node_id()
    return node


def _close_node(node: str, deadline_s: float) -> bool:
    """Tell Ray that a node is about to go, so that it places nothing there."""
    from ray.core.generated import autoscaler_pb2
    from ray.experimental import internal_kv

    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    deadline_ms = int((time.time() + deadline_s) * 1000)
    try:
        client = internal_kv.internal_kv_get_gcs_client()
        accepted, _ = client.drain_node(node, reason, "the fleet leaves this node", deadline_ms)
    except Exception as error:  # not a public method of Ray: the drain goes on without it
        logger.info("Ray's drain of the node failed: %s", type(error).__name__)
        return False
    return bool(accepted)
