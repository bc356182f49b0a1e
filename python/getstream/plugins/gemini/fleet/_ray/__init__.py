"""Run the workers and the control of a fleet as Ray actors, on this machine or on a cluster.

Ray starts the processes where there is a CPU for them, finds them by name, carries the calls
between them, tells when one is dead, and restarts the control. Ray restarts no worker: the calls of
a dead worker go on in one that is warm, and `Control` decides in which.

Nothing here imports Ray before it is asked for a fleet.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError

if TYPE_CHECKING:
    from .._placement import Limits
    from ._fleet import RayFleet

__all__ = ["find_ray_fleet", "start_ray_fleet", "this_node"]

ENVIRONMENT = {
    # Each line that a worker prints is repeated by this process once, and without colours: it is
    # read by programs as often as by people.
    "RAY_DEDUP_LOGS": "0",
    "RAY_COLOR_PREFIX": "0",
    # Nothing is reported to the makers of Ray about a fleet.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Or a question to a fleet that was left starts another Ray.
    "RAY_ENABLE_AUTO_CONNECT": "0",
}
"""Variables that Ray reads when it is imported; those that are set already stay as they are."""

LOCAL_ENVIRONMENT = {
    # Ray's processes on this machine believe each other by this token, as they do by default. Left
    # to itself, Ray writes one into the home folder, which a container may not be able to write to.
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
"""Variables for a Ray that is started on this machine."""


def start_ray_fleet(
    app: str, limits: Limits, *, records: str = "", verbose: bool = False
) -> RayFleet:
    """Start a fleet on Ray, or join the one that runs on the cluster.

    With RAY_ADDRESS in the environment, the fleet is on that cluster and outlives this process.
    Without it, Ray starts on this machine and ends with this process, however that ends. Call it in
    the main thread: on Linux, the kernel ends Ray's processes with the thread that started them.

    Args:
        app: the assistant function, as `module:function`; the workers import it.
        limits: of the workers.
        records: where resumptions are kept: a URL or a file; "" is Ray's own store.
        verbose: whether the workers and the control log more.

    Raises:
        ConfigError: Ray is not installed, or the cluster cannot be reached.
    """
    local = not os.environ.get("RAY_ADDRESS")
    if local and "RAY_AUTH_MODE" not in os.environ:
        os.environ.update(LOCAL_ENVIRONMENT)
    return _import_fleet().start(app, limits, records, verbose, local)  # type: ignore[no-any-return]


def find_ray_fleet() -> RayFleet:
    """Join the fleet that runs on the cluster of RAY_ADDRESS, or of this machine.

    Raises:
        ConfigError: Ray is not installed, the cluster cannot be reached, or has no fleet.
    """
    return _import_fleet().find()  # type: ignore[no-any-return]


def this_node() -> str:
    """Return Ray's name for this machine, in a process that has joined a fleet."""
    node: str = _import_fleet().this_node()
    return node


def _import_fleet() -> Any:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from . import _fleet
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] != "ray":
            raise
        raise ConfigError(
            "Workers in processes of their own run on Ray, which is not installed: "
            'pip install "getstream-plugins-gemini[ray]"'
        ) from None
    return _fleet
