"""Serve a fleet over HTTP: webhooks of Stream, an API for the application, probes and metrics.

| request | who may | does |
|---|---|---|
| `POST /stream` | Stream, by its signature | has an assistant in a call that somebody joins |
| `POST /calls` | the application, by its token | has an assistant in a call |
| `GET /calls` | the application | returns the state of the fleet |
| `DELETE /calls/{cid}` | the application | ends the assistant of a call |
| `POST /drain` | the application | replaces a worker (`?worker=NAME`), or all |
| `GET /healthz` | everybody | answers while the process works |
| `GET /readyz` | everybody | answers 200 while a worker takes calls, else 503 |
| `GET /metrics` | everybody | returns the state for Prometheus |

An answer is JSON, but for the last three; a refusal is `{"error": "..."}`.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, TypeVar

from aiohttp import web

from .._terminal import one_line
from ..errors import ConfigError
from ._calls import CallRequest, FleetFullError, FleetStatus
from ._metrics import CONTENT_TYPE, metrics_text
from ._ports import Fleet
from ._webhook import MAX_BODY_BYTES, End, Start, WebhookError, read_webhook

__all__ = ["Gate"]

BODY_S = 10.0
"""Longest time for a body to arrive: 1 MiB in that is 1 Mbit/s."""

ANSWER_S = 30.0
"""Longest time for the fleet to answer; it refuses by itself long before, unless it hangs."""

STATUS_S = 5.0
"""Longest time for a status, which waits for nothing."""

RETRY_S = 5
"""`Retry-After` where the fleet does not answer: a control is replaced in about that time."""

_FIELDS = ("cid", "session_id", "user_id", "params")

_logger = logging.getLogger(__name__)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_T = TypeVar("_T")


class Gate:
    """Lets Stream and the application in to a fleet, and nobody else.

        runner = web.AppRunner(Gate(fleet, api_secret=secret, token=token, user_id="bot").app())

    Args:
        fleet: places the calls.
        api_secret: the secret of the Stream API, which signs webhooks.
        token: what the application sends as `Authorization: Bearer`; without one the API is off.
        user_id: the user that assistants are in calls, unless a request names another one.

    Raises:
        ConfigError: the secret or the user is empty.
    """

    def __init__(self, fleet: Fleet, *, api_secret: str, token: str | None, user_id: str) -> None:
        if not api_secret:
            raise ConfigError("api_secret is empty: webhooks cannot be verified without it")
        if not user_id.strip():
            raise ConfigError("user_id is empty: assistants need a user in their calls")
        self._fleet = fleet
        self._api_secret = api_secret
        self._token = token
        self._user_id = user_id

    def app(self) -> web.Application:
        """Return an application for aiohttp's runners; make one for each of them."""
        app = web.Application(
            client_max_size=MAX_BODY_BYTES,
            middlewares=[_answer_errors],
            # A webhook may be gzip, and is unpacked with a limit of ours. The access log would only
            # repeat what is logged here.
            handler_args={"auto_decompress": False, "access_log": None},
        )
        app.add_routes(
            [
                web.post("/stream", self._on_webhook),
                web.post("/calls", self._on_place),
                web.get("/calls", self._on_status),
                web.delete("/calls/{cid}", self._on_end),
                web.post("/drain", self._on_drain),
                web.get("/healthz", self._on_health),
                web.get("/readyz", self._on_ready),
                web.get("/metrics", self._on_metrics),
            ]
        )
        return app

    # -- webhooks ----------------------------------------------------------------------------------

    async def _on_webhook(self, request: web.Request) -> web.Response:
        decision = read_webhook(
            await _body(request),
            request.headers.get("X-Signature", ""),
            api_secret=self._api_secret,
            user_id=self._user_id,
            now_s=time.time(),
        )
        if isinstance(decision, Start):
            return await self._place(CallRequest(decision.cid, decision.session_id, self._user_id))
        if isinstance(decision, End):
            # Stream tells of the end of every call, also of those that had no assistant.
            return web.json_response({"ended": await self._end(decision.cid, decision.session_id)})
        _logger.debug("Webhook ignored: %s", decision.reason)
        return web.json_response({"ignored": decision.reason})

    # -- the API of the application ----------------------------------------------------------------

    async def _on_place(self, request: web.Request) -> web.Response:
        self._authorize(request)
        return await self._place(_read_request(await _body(request), self._user_id))

    async def _on_status(self, request: web.Request) -> web.Response:
        self._authorize(request)
        return web.json_response((await self._status()).to_dict())

    async def _on_end(self, request: web.Request) -> web.Response:
        self._authorize(request)
        cid = request.match_info["cid"]
        if not await self._end(cid):
            raise _RefusedError(404, f"No assistant is in the call {cid!r:.100}")
        return web.json_response({"ended": True})

    async def _on_drain(self, request: web.Request) -> web.Response:
        self._authorize(request)
        worker = request.query.get("worker")
        if worker is not None and worker not in (await self._status()).workers:
            raise _RefusedError(404, f"There is no worker {worker!r:.100}; GET /calls lists them")
        draining = await _bounded(self._fleet.drain(worker), ANSWER_S)
        _logger.info("Draining %s", one_line(", ".join(draining)) or "nothing")
        return web.json_response({"draining": draining})

    def _authorize(self, request: web.Request) -> None:
        if not self._token:
            raise _RefusedError(
                403, "The API of this gate is off, because it was started without FLEET_TOKEN"
            )
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # Bytes: `compare_digest` takes no other text than ASCII. A header may hold surrogates.
        same = hmac.compare_digest(
            given.strip().encode("utf-8", "surrogateescape"), self._token.encode()
        )
        if scheme.lower() != "bearer" or not same:
            raise _RefusedError(
                401,
                "The header has to be Authorization: Bearer TOKEN, with the token of FLEET_TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )

    # -- probes and metrics ------------------------------------------------------------------------

    async def _on_health(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _on_ready(self, _: web.Request) -> web.Response:
        status = await self._status()
        # A full fleet is ready: it has to hear of calls that end, and answers others with 503.
        accepting = sum(worker.accepting for worker in status.workers.values())
        return web.Response(
            status=200 if accepting else 503,
            text=f"{accepting} workers take calls, with room for {status.room}\n",
        )

    async def _on_metrics(self, _: web.Request) -> web.Response:
        text = metrics_text(await self._status())
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    # -- the fleet ---------------------------------------------------------------------------------

    async def _place(self, request: CallRequest) -> web.Response:
        placed = await _bounded(self._fleet.place(request), ANSWER_S)
        _logger.info("Call %s: %s, worker %s", one_line(request.cid), placed.state, placed.worker)
        return web.json_response(asdict(placed), status=201 if placed.state == "started" else 200)

    async def _end(self, cid: str, session_id: str = "") -> bool:
        ended = await _bounded(self._fleet.end(cid, session_id), ANSWER_S)
        if ended:
            _logger.info("Call %s: ended", one_line(cid))
        return ended

    async def _status(self) -> FleetStatus:
        return await _bounded(self._fleet.status(), STATUS_S)


class _RefusedError(Exception):
    """Ends a request with a status and a text."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


@web.middleware
async def _answer_errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Answer whatever goes wrong as JSON; what is unexpected is told to the log alone."""
    try:
        return await handler(request)
    except _RefusedError as refusal:
        return _error(refusal.status, str(refusal), refusal.headers)
    except WebhookError as error:
        _logger.warning("Webhook refused: %s", error)
        return _error(error.status, str(error))
    except FleetFullError as full:
        _logger.warning("No room: %s", one_line(str(full)))
        return _unavailable(str(full), max(1, math.ceil(full.retry_after_s)))
    except ConfigError as error:  # of a CallRequest
        return _error(400, str(error))
    except asyncio.TimeoutError:
        _logger.error("The fleet did not answer %s %s", request.method, one_line(request.path))
        return _unavailable("The fleet does not answer", RETRY_S)
    except web.HTTPException as error:
        allow = error.headers.get("Allow")
        return _error(error.status, error.reason, {"Allow": allow} if allow else None)
    except Exception as error:
        # Neither text nor traceback: either may hold a password of a store, or a conversation.
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = "?" if where is None else f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}"
        _logger.error("%s %s failed: %s at %s", request.method, one_line(request.path),
                      type(error).__name__, place)  # fmt: skip
        return _error(500, "The request failed; the log of the gate says where")


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": text}, status=status, headers=headers)


def _unavailable(text: str, retry_s: int) -> web.Response:
    return _error(503, text, {"Retry-After": str(retry_s)})


async def _body(request: web.Request) -> bytes:
    try:
        return await asyncio.wait_for(request.read(), BODY_S)
    except asyncio.TimeoutError:
        raise _RefusedError(408, f"The body did not arrive within {BODY_S:.0f} s") from None


async def _bounded(answer: Awaitable[_T], timeout_s: float) -> _T:
    return await asyncio.wait_for(answer, timeout_s)


def _read_request(body: bytes, user_id: str) -> CallRequest:
    """Read the JSON of `POST /calls`.

    Raises:
        ConfigError: a value is wrong.
        _RefusedError: it is no object of known fields.
    """
    try:
        wanted: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise _RefusedError(400, "The body is not JSON") from None
    if not isinstance(wanted, dict):
        raise _RefusedError(400, 'The body has to be an object, such as {"cid": "default:my-call"}')
    unknown = sorted(set(wanted) - set(_FIELDS))
    if unknown:
        known = ", ".join(_FIELDS)
        raise _RefusedError(400, f"Unknown field {unknown[0]!r:.100}; there are {known}")
    if "cid" not in wanted:
        raise _RefusedError(400, 'The field cid is missing: "type:id", such as "default:my-call"')
    return CallRequest(**{"user_id": user_id, **wanted})
