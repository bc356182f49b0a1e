"""Reach Ray's actors and its store without blocking an event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import ray
from ray.experimental import internal_kv

from ._outbox import ControlSilentError

logger = logging.getLogger(__name__)

T = TypeVar("T")

NAMESPACE = "getstream-gemini"
"""The Ray namespace of the actors' names; one fleet for each cluster."""

CONTROL = "control"
"""The name of the control's actor."""

KV_TIMEOUT_S = 5.0
"""Seconds that one access to Ray's store may take. Ray's own default is a minute."""

_THREADS = ThreadPoolExecutor(2, thread_name_prefix="fleet-ray")
"""Ray's synchronous functions wait for the head, up to a minute where it does not answer. They get
threads of their own, so that the loop's other work on threads goes on meanwhile."""


async def off_loop(function: Callable[..., T], *args: Any) -> T:
    """Run a function of Ray that blocks, on a thread."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, function, *args)


class Actors:
    """Looks actors up by name, each once."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    async def get(self, name: str) -> Any:
        """Return the handle of an actor.

        Raises:
            ValueError: there is no actor of this name, or it is dead.
        """
        if name not in self._known:
            self._known[name] = await off_loop(ray.get_actor, name, NAMESPACE)
        return self._known[name]

    def add(self, name: str, actor: Any) -> None:
        """Keep the handle of an actor that was just made."""
        self._known[name] = actor

    def forget(self, name: str) -> None:
        """Look the actor up anew the next time."""
        self._known.pop(name, None)


class Store:
    """Keeps bytes by name in Ray's key-value store, which outlives every process but the head.

    With fault tolerance of the head (Redis, set for the cluster), it outlives that as well.

    Args:
        name: separates the keys from those of others.
    """

    def __init__(self, name: str) -> None:
        self._namespace = f"{NAMESPACE}/{name}".encode()

    async def put(self, key: str, value: bytes) -> None:
        """Store a value in place of the one before."""
        await off_loop(
            lambda: self._client().internal_kv_put(
                key.encode(), value, True, self._namespace, timeout=KV_TIMEOUT_S
            )
        )

    async def get(self, key: str) -> bytes | None:
        """Return a value, None if there is none."""
        return await off_loop(
            lambda: self._client().internal_kv_get(
                key.encode(), self._namespace, timeout=KV_TIMEOUT_S
            )
        )

    async def delete(self, key: str) -> None:
        """Remove a value; nothing if there is none."""
        await off_loop(
            lambda: self._client().internal_kv_del(
                key.encode(), False, self._namespace, timeout=KV_TIMEOUT_S
            )
        )

    async def load_all(self) -> dict[str, bytes]:
        """Return all values."""

        def load() -> dict[bytes, bytes]:
            client = self._client()
            keys = client.internal_kv_keys(b"", self._namespace, timeout=KV_TIMEOUT_S)
            if not keys:
                return {}
            found: dict[bytes, bytes] = client.internal_kv_multi_get(
                keys, self._namespace, timeout=KV_TIMEOUT_S
            )
            return found

        return {key.decode(): value for key, value in (await off_loop(load)).items()}

    @staticmethod
    def _client() -> Any:
        client = internal_kv.internal_kv_get_gcs_client()
        if client is None:
            raise RuntimeError("Ray is not connected")
        return client


class RayRecords(Store):
    """Stores the records of calls in Ray's own key-value store: the port `Records`."""

    def __init__(self) -> None:
        super().__init__("records")

    async def put(self, key: str, value: bytes) -> None:
        """Store the record of a call in place of the one before."""
        await super().put(key, value)
        logger.debug("The record of %s is stored: %d bytes", key, len(value))

    async def close(self) -> None:
        """Do nothing: the connection is Ray's."""


class ControlLink:
    """Asks the control's actor, with a bound for each question.

    Args:
        actor: its handle, if known.
    """

    def __init__(self, actor: Any = None) -> None:
        self._actors = Actors()
        if actor is not None:
            self._actors.add(CONTROL, actor)

    async def ask(self, method: str, *args: Any, timeout_s: float) -> Any:
        """Call a method of the control once, and return its answer.

        Raises:
            ControlSilentError: it is not there, or has not answered in time.
            Exception: what the method has raised.
        """
        try:
            return await asyncio.wait_for(self._ask(method, args), timeout_s)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None  # the error of the method, not its wrapper
        except (ray.exceptions.RayError, ValueError, asyncio.TimeoutError) as error:
            self._actors.forget(CONTROL)
            raise ControlSilentError(
                f"The control of the fleet does not answer ({type(error).__name__})"
            ) from None

    async def _ask(self, method: str, args: tuple[Any, ...]) -> Any:
        actor = await self._actors.get(CONTROL)
        return await getattr(actor, method).remote(*args)


def configure_logging(verbose: bool) -> None:
    """Set up the log of a process that Ray has started; Ray repeats its lines at the driver."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        force=True,
    )
    logging.getLogger("getstream.plugins.gemini").setLevel(logging.INFO)
    logging.getLogger("getstream.plugins.gemini.fleet").setLevel(
        logging.DEBUG if verbose else logging.INFO
    )
    # At INFO it logs each URL, with the API key in it.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if not verbose:
        # The SDK warns of each network interface and each relay that ICE cannot use.
        logging.getLogger("getstream").setLevel(logging.ERROR)
