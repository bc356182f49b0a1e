"""Define the seams of a fleet: engines start processes, records outlive them, gates ask."""

from __future__ import annotations

from typing import Protocol

from ._calls import CallRequest, FleetStatus, Placed, StartCall


class Engine(Protocol):
    """Starts workers and reaches them. Every method is bounded in time by its engine."""

    async def spawn(self) -> str:
        """Start a worker, and return its name when it is warm.

        Names of workers that have ended are not given again, so that a late word of one is known.
        """
        ...

    async def known_workers(self) -> list[str]:
        """Return the workers that run already."""
        ...

    async def wait_dead(self, worker: str) -> None:
        """Return when the process of a worker is gone, however it went."""
        ...

    async def start_call(self, start: StartCall) -> None:
        """Have a worker take a call; repeating it changes nothing."""
        ...

    async def prepare_call(self, worker: str, request: CallRequest) -> None:
        """Have a worker join a call that will move to it; return when it has, or has tried to."""
        ...

    async def leave_call(self, worker: str, cid: str, epoch: int, *, at_rest: bool) -> None:
        """Have a worker leave a call: at once, or when the conversation is at rest.

        It returns when the worker has been told, and does nothing if the worker does not hold the
        call in this epoch.
        """
        ...

    async def end_worker(self, worker: str) -> None:
        """End a worker that has no calls any more."""
        ...

    async def end_hung_worker(self, worker: str, pid: int, node: str) -> None:
        """End the process of a worker that does not answer, on its own machine.

        It returns when the process is gone, or cannot be reached. `pid` is 0 and `node` empty for a
        worker that a control which was started again has not heard of: it hung before.
        """
        ...


class Records(Protocol):
    """Stores one record for each call, some 10 kB, written at the end of each turn."""

    async def put(self, cid: str, record: bytes) -> None:
        """Store the record of a call in place of the one before."""
        ...

    async def delete(self, cid: str) -> None:
        """Forget a call; nothing if it is not known."""
        ...

    async def load_all(self) -> dict[str, bytes]:
        """Return all records by call."""
        ...

    async def close(self) -> None:
        """Let go of files and connections; the records stay."""
        ...


class Fleet(Protocol):
    """Places calls, as the gate and other users see it."""

    async def place(self, request: CallRequest) -> Placed:
        """Have one assistant in a call, however often it is asked for.

        Raises:
            FleetFullError: there is no room, and none came up in time.
        """
        ...

    async def end(self, cid: str, session_id: str = "") -> bool:
        """End the assistant of a call; returns whether there was one.

        Args:
            cid: the call.
            session_id: the session that has ended, from the webhook: nothing happens to a call that
                is in a later one by now. "" ends the call whatever its session is.
        """
        ...

    async def drain(self, worker: str | None = None) -> list[str]:
        """Replace a worker, or all: their calls move, each at rest. Returns those that go.

        Raises:
            ConfigError: there is no worker of that name.
        """
        ...

    async def status(self) -> FleetStatus:
        """Return how the fleet is."""
        ...
