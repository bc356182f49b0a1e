"""Command `serve --workers`: workers as processes on Ray; and `drain`, which replaces them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..fleet import FleetFullError
from ..fleet._gate import Gate
from ..fleet._program import load_assistant
from ..fleet._ray import find_ray_fleet, start_ray_fleet, this_node
from .serve import TOKEN_VARIABLE, ServeOptions, Stop, leave_calls, listening, run

if TYPE_CHECKING:
    from ..fleet._ray import RayFleet

__all__ = ["DrainOptions", "run_drain", "run_serve_on_ray"]

logger = logging.getLogger("getstream.plugins.gemini")

LOOK_S = 0.5
"""Seconds between looks at what is left of a drain."""

SAY_S = 5.0
"""Seconds between lines about what is left."""


def run_serve_on_ray(options: ServeOptions) -> int:
    """Serve until SIGINT or SIGTERM; on this machine the calls are left then, at rest.

    Returns:
        0.

    Raises:
        ConfigError: Ray is not installed or not reached, there is no such function, or the port is
            taken.
    """
    load_assistant(options.assistant)  # what is wrong with it is better said here than by workers
    # Before the loop: Ray sets handlers of signals, which the loop replaces by its own.
    fleet = start_ray_fleet(
        options.assistant,
        options.limits(),
        records="" if options.records == "memory" else options.records,
        verbose=options.verbose,
    )
    with contextlib.suppress(KeyboardInterrupt):
        run(_serve(options, fleet))
    return 0


async def _serve(options: ServeOptions, fleet: RayFleet) -> None:
    stop = Stop()
    gate = Gate(
        fleet,
        api_secret=os.environ["STREAM_API_SECRET"],
        token=os.environ.get(TOKEN_VARIABLE, "").strip() or None,
        user_id=options.user_id,
    )
    try:
        fleet.watch()
        async with listening(gate.app(), options.host, options.port) as url:
            print(f"Serving on {url}", flush=True)
            await stop.asked.wait()
            await leave_calls(fleet, stop, options.grace_s)
    finally:
        await fleet.close(0.0)


@dataclass(frozen=True)
class DrainOptions:
    """Options of the command `drain`.

    Attributes:
        this_node: whether to replace only the workers on this machine, which is about to go.
        wait_s: seconds to wait for their calls to move.
    """

    this_node: bool = False
    wait_s: float = 600.0


def run_drain(options: DrainOptions) -> int:
    """Replace the workers of a fleet on Ray, and wait until their calls have moved.

    Returns:
        0 when all have moved, 1 when the time was up before.

    Raises:
        ConfigError: Ray is not installed, or there is no fleet.
    """
    fleet = find_ray_fleet()
    return asyncio.run(_drain(fleet, options))


async def _drain(fleet: RayFleet, options: DrainOptions) -> int:
    deadline = time.monotonic() + options.wait_s
    said_at = -SAY_S
    try:
        if options.this_node:
            going = await fleet.drain_node(this_node(), options.wait_s)
        else:
            going = await fleet.drain()
        while True:
            left: dict[str, int] | None = None
            with contextlib.suppress(FleetFullError):  # the control is being restarted
                workers = (await fleet.status()).workers
                left = {name: len(workers[name].calls) for name in going if name in workers}
            if left == {}:
                print(f"{len(going)} workers were replaced", flush=True)
                return 0
            now = time.monotonic()
            if left and now - said_at >= SAY_S:
                said_at = now
                print(f"{sum(left.values())} calls in {len(left)} workers are left", flush=True)
            if now > deadline:
                print(f"The drain was not over after {options.wait_s:g} s", flush=True)
                return 1
            await asyncio.sleep(LOOK_S)
    finally:
        await fleet.close(0.0)
