"""Command `serve`: assistants for every call of which Stream tells."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from .._terminal import TerminalFormatter
from ..errors import ConfigError
from ..fleet import Limits, LocalFleet
from ..fleet._program import load_assistant
from ..fleet._records import open_records
from .join import require_stream_keys

__all__ = ["ServeOptions", "run_serve"]

logger = logging.getLogger("getstream.plugins.gemini")

TOKEN_VARIABLE = "FLEET_TOKEN"


@dataclass(frozen=True)
class ServeOptions:
    """Options of the command `serve`; None leaves the choice to `Limits`.

    Attributes:
        assistant: `"module:function"`, an async function of one argument, the seat.
        host: the address to listen on.
        port: TCP port; 0 for a free one.
        user_id: the user that assistants are in the calls.
        workers: processes on Ray, at least; None for this process, without Ray.
        max_workers: and at most.
        max_calls: calls in one worker.
        max_cpu: cores that one worker may use.
        call_cpu: cores that a call is assumed to use until it is measured.
        spare_calls: calls for which there is room at any time.
        idle_s: seconds without a call after which a worker that is not needed is ended.
        records: where what resumes the calls is kept: `memory`, a folder, or a Redis URL.
        grace_s: seconds for calls to come to rest when the program is to end.
        verbose: whether to log more.
    """

    assistant: str
    host: str = "127.0.0.1"
    port: int = 8080
    user_id: str = "assistant"
    workers: int | None = None
    max_workers: int | None = None
    max_calls: int | None = None
    max_cpu: float | None = None
    call_cpu: float | None = None
    spare_calls: int | None = None
    idle_s: float | None = None
    records: str = "memory"
    grace_s: float = 20.0
    verbose: bool = False

    def limits(self) -> Limits:
        """Return what is asked for.

        Raises:
            ConfigError: a value is out of its range.
        """
        values = {
            "min_workers": self.workers,
            "max_workers": self.max_workers,
            "max_calls": self.max_calls,
            "max_cpu": self.max_cpu,
            "call_cpu": self.call_cpu,
            "spare_calls": self.spare_calls,
            "idle_s": self.idle_s,
        }
        given: dict[str, Any] = {name: each for name, each in values.items() if each is not None}
        if self.workers is not None and self.max_workers is None:
            given["max_workers"] = max(self.workers, Limits().max_workers)
        return Limits(**given)


def run_serve(options: ServeOptions) -> int:
    """Serve until SIGINT or SIGTERM, and leave the calls at rest then.

    Returns:
        0.

    Raises:
        ConfigError: there is no such function, a key is missing, or the port is taken.
    """
    _set_up_logging(options.verbose)
    require_stream_keys(os.environ)
    if options.workers is not None:
        from .serve_on_ray import run_serve_on_ray

        return run_serve_on_ray(options)
    with contextlib.suppress(KeyboardInterrupt):
        run(_serve(options))
    return 0


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run it on uvloop where that is installed: a call costs 0.4 percent of a core less."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def _set_up_logging(verbose: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(TerminalFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
    logging.getLogger("getstream.plugins.gemini").setLevel(logging.INFO)
    # At INFO it logs each URL, with the API key in it.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if not verbose:
        # The SDK warns of each network interface and each relay that ICE cannot use.
        logging.getLogger("getstream").setLevel(logging.ERROR)


class Leavable(Protocol):
    """Holds calls that can be left; a second `close` with less grace hurries the first."""

    async def close(self, grace_s: float) -> None:
        """Leave all calls: each at rest, and at once when the time is up."""
        ...


class Stop:
    """Tells when the program is to end, and when it is to end at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()
        with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self.asked.is_set():
            self.at_once.set()
        self.asked.set()


async def _serve(options: ServeOptions) -> None:
    stop = Stop()
    records = open_records(options.records)
    fleet = LocalFleet(
        load_assistant(options.assistant),
        limits=options.limits(),
        records=records,
        grace_s=0.0,  # below, where it can be cut short
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(records.close)
        await stack.enter_async_context(fleet)
        app = fleet.app(
            api_secret=os.environ["STREAM_API_SECRET"],
            token=os.environ.get(TOKEN_VARIABLE, "").strip() or None,
            user_id=options.user_id,
        )
        url = await stack.enter_async_context(listening(app, options.host, options.port))
        print(f"Serving on {url}", flush=True)
        await stop.asked.wait()
        calls = (await fleet.status()).calls
        if calls:
            logger.info(
                "%d calls are left when nobody speaks, within %g s; a second signal leaves them at "
                "once",
                calls,
                options.grace_s,
            )
        await leave_calls(fleet, stop, options.grace_s)


async def leave_calls(fleet: Leavable, stop: Stop, grace_s: float) -> None:
    """Leave all calls at rest; at once when the time is up, or at a second signal."""
    closing = asyncio.ensure_future(fleet.close(grace_s))
    hurried = asyncio.ensure_future(stop.at_once.wait())
    try:
        await asyncio.wait([closing, hurried], return_when=asyncio.FIRST_COMPLETED)
        if not closing.done():
            await fleet.close(0.0)
        await closing
    finally:
        hurried.cancel()


@contextlib.asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> Any:
    """Serve an application; gives its URL.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigError(
                f"Cannot listen on {host}:{port} ({error.strerror or error}); choose another --port"
            ) from None
        bound = runner.addresses[0][1]
        name = f"[{host}]" if ":" in host else host
        yield f"http://{name}:{bound}"
    finally:
        await runner.cleanup()
