"""Serve the files of the page and its WebSocket, to this machine's own browser alone."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from importlib.resources import files
from types import TracebackType

from aiohttp import web

from ..errors import ConfigError
from ._service import LocalService
from ._visit import MAX_MESSAGE_BYTES, MakeAssistant, Visit

__all__ = ["Playground"]

HOST = "127.0.0.1"

TOKEN_BYTES = 24
"""192 random bits: nobody guesses them."""

HELLO_S = 5.0
"""Seconds in which a page has to show its token."""

HEARTBEAT_S = 15.0
"""Seconds between pings. A page that does not answer one in half of that is gone."""

SHUTDOWN_S = 5.0
"""Longest wait for the visit to end; closing an assistant takes 3 s at most."""

CLOSE_TOKEN = 4401
"""Close code for a page without the token; 4401 by the HTTP status for the same."""

_FILES = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/meter.js": ("meter.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Playground:
    """A page on this machine on which a person talks to an assistant.

        async with Playground(make_assistant, port=8080) as playground:
            print(playground.url)
            await asyncio.Event().wait()

    One page at a time: a new one takes the place of the one before, whose page says so. Each visit
    has an assistant of its own, which is closed with it.

    Args:
        make_assistant: makes a `GeminiLive`, or a coroutine function that does. It is called inside
            the event loop, once for each visit.
        service: the local server that the assistant talks to, which the page can then make
            misbehave; None for the real one.
        port: TCP port on 127.0.0.1; 0 takes a free one.
    """

    def __init__(
        self, make_assistant: MakeAssistant, *, service: LocalService | None = None, port: int = 0
    ) -> None:
        self._make_assistant = make_assistant
        self._service = service
        self._port = port
        self._token = secrets.token_urlsafe(TOKEN_BYTES)
        self._visit: Visit | None = None
        self._door = asyncio.Lock()
        self._runner: web.AppRunner | None = None
        self._page = files(__package__) / "_page"

    @property
    def port(self) -> int:
        """Return the TCP port."""
        return self._port

    @property
    def url(self) -> str:
        """Return the address with the token, for one browser on this machine."""
        # Behind a fragment it is in no request line, no log and no Referer.
        return f"http://{HOST}:{self._port}/#{self._token}"

    async def __aenter__(self) -> Playground:
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            handler_cancellation=False,
            shutdown_timeout=SHUTDOWN_S,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigError(
                f"The playground cannot listen on port {self._port} ({error.strerror or error}); "
                "choose another one with --port, or none"
            ) from error
        self._runner = runner
        self._port = int(runner.addresses[0][1])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    # -- requests ----------------------------------------------------------------------------------

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard])
        for path in _FILES:
            application.router.add_get(path, self._file)
        application.router.add_get("/live", self._live)
        application.on_response_prepare.append(self._add_headers)
        application.on_shutdown.append(self._shut_down)
        return application

    async def _shut_down(self, _: web.Application) -> None:
        async with self._door:
            await self._end_visit("The playground was stopped.")

    def _names(self) -> set[str]:
        return {f"{name}:{self._port}" for name in (HOST, "localhost")}

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Refuse foreign names, which are DNS rebinding, and foreign pages."""
        names = self._names()
        if request.headers.get("Host") not in names:
            raise web.HTTPForbidden(text="Not this host.\n")
        origin = request.headers.get("Origin")
        if origin is not None and origin not in {f"http://{name}" for name in names}:
            raise web.HTTPForbidden(text="Not this origin.\n")
        return await handler(request)

    async def _add_headers(self, _: web.Request, response: web.StreamResponse) -> None:
        sockets = " ".join(f"ws://{name}" for name in sorted(self._names()))
        policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; "
            f"connect-src 'self' {sockets}; "  # to some browsers 'self' is no WebSocket
            "media-src 'self' blob:; img-src data:; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        response.headers.update(
            {
                "Content-Security-Policy": policy,
                "Cross-Origin-Opener-Policy": "same-origin",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Permissions-Policy": "microphone=(self), camera=(self), display-capture=(self)",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "Cache-Control": "no-store",
            }
        )

    async def _file(self, request: web.Request) -> web.Response:
        name, kind = _FILES[request.path]
        body = (self._page / name).read_bytes()
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def _live(self, request: web.Request) -> web.StreamResponse:
        if "Origin" not in request.headers:
            raise web.HTTPForbidden(text="For pages only.\n")
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES, compress=False
        )
        if not socket.can_prepare(request).ok:
            raise web.HTTPUpgradeRequired(text="For WebSockets only.\n")
        await socket.prepare(request)
        if not await self._shows_token(socket):
            await socket.close(code=CLOSE_TOKEN, message=b"The link is not of this playground.")
            return socket
        async with self._door:
            await self._end_visit("Another page has taken over.")
            visit = self._visit = Visit(socket, self._make_assistant, self._service)
        try:
            await visit.run()
        finally:
            if self._visit is visit:
                self._visit = None
        return socket

    async def _end_visit(self, reason: str) -> None:
        if self._visit is not None:
            await self._visit.replace(reason)

    async def _shows_token(self, socket: web.WebSocketResponse) -> bool:
        token = ""
        with contextlib.suppress(asyncio.TimeoutError, TypeError, ValueError, AttributeError):
            hello = await asyncio.wait_for(socket.receive_json(), HELLO_S)
            token = str(hello.get("token", ""))
        return hmac.compare_digest(token.encode(), self._token.encode())
