"""TCP path of a given rate between a client and a server: an uplink that is slow."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

TICK_S = 0.002
"""Time between two reads of the proxy: the grain of its rate."""

WINDOW_BYTES = 4 << 10
"""Receive buffer of the proxy, so that what the path cannot carry waits at the sender."""


class SlowPath:
    """Forwards TCP connections; what the client sends passes at `bytes_per_s` at most.

    Args:
        port: of the server, on loopback.
        bytes_per_s: rate of the uplink; it may be changed.

    Attributes:
        port: of this proxy.
    """

    def __init__(self, port: int, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self.port = 0
        self._server_port = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> SlowPath:
        listener = socket.socket()
        # Before `listen`, or it does not bound the window that is offered.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW_BYTES)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._start(self._accept(listener))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        return task

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                near, _ = await loop.sock_accept(listener)
                self._start(self._serve(near))

    async def _serve(self, near: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with near, socket.socket() as far:
            for each in (near, far):
                each.setblocking(False)
            await loop.sock_connect(far, ("127.0.0.1", self._server_port))
            ways = [
                self._start(self._copy(near, far, slow=True)),
                self._start(self._copy(far, near, slow=False)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)

    async def _copy(self, source: socket.socket, target: socket.socket, *, slow: bool) -> None:
        # Sockets, for a stream of asyncio would read 16 kB ahead.
        loop = asyncio.get_running_loop()
        free_at = loop.time()
        with contextlib.suppress(OSError):
            while True:
                most = max(64, int(self.bytes_per_s * TICK_S)) if slow else 1 << 16
                data = await loop.sock_recv(source, most)
                if not data:
                    return
                await loop.sock_sendall(target, data)
                if slow:
                    now = loop.time()
                    free_at = max(free_at, now - TICK_S) + len(data) / self.bytes_per_s
                    if free_at > now:
                        await asyncio.sleep(free_at - now)
