"""The controls of `LocalStream` over HTTP, for tests whose server runs in another process.

`POST /_local/<action>?<arguments>`, with the arguments of the method of the same name and the
header `Authorization: Bearer <token>`. The token is `LocalStream.control_token`; programs that got
their variables from `LocalStream.env` have it in `GETSTREAM_LOCAL_TOKEN`.

======================  ==============================================================
`state`                 the state as JSON
`wait-participant`      `user_id`, `timeout`
`wait-track`            `user_id`, `kind`, `timeout`
`wait-left`             `user_id`, `timeout`
`drop-sfu-socket`       `user_id`, `how` = abort, clean or forget
`drop-coordinator`      `user_id`
`blackhole`             `user_id`, `sticky` = 0 or 1
`heal`                  `user_id`
`impair`                `user_id`, `direction`, and the fields of `Network`
`error`                 `user_id`, `strategy` = disconnect, fast, rejoin or migrate
`go-away`               `user_id`
`end-call`              `call_id`, `call_type`
======================  ==============================================================

A wrong argument is answered with 400, a user who is not there with 404, a wait in vain with 408,
each with `{"error": ...}`. A web page that somebody has open on this machine must not reach the
controls: another method than POST is answered with 405, a request without the token with 401, and a
`Host` that is not this server (a name that was made to lead here, "DNS rebinding") with 403.
"""

from __future__ import annotations

import dataclasses
import hmac
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from .network import Network
from .redirect import TOKEN_VARIABLE

if TYPE_CHECKING:
    from .server import LocalStream

__all__ = ["routes"]

_ACTIONS = (
    "wait-participant",
    "wait-track",
    "wait-left",
    "drop-sfu-socket",
    "drop-coordinator",
    "blackhole",
    "heal",
    "impair",
    "error",
    "go-away",
    "end-call",
)
_CONVERTERS: dict[str, Callable[[str], Any]] = {
    **{field.name: float for field in dataclasses.fields(Network)},
    "seed": int,
    "timeout": float,
    "sticky": lambda text: text not in ("", "0", "false"),
}


def routes(stream: LocalStream) -> list[web.RouteDef]:
    """Return the HTTP routes."""

    async def control(request: web.Request) -> web.Response:
        if request.method != "POST":
            return _failure(405, "the controls take POST", {"Allow": "POST"})
        if request.host not in stream.hosts:
            return _failure(403, "the Host header does not name this server")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            token.strip().encode("utf-8", "surrogateescape"), stream.control_token.encode()
        ):
            needed = f"the header `Authorization: Bearer <{TOKEN_VARIABLE}>` is needed"
            return _failure(401, needed, {"WWW-Authenticate": "Bearer"})
        action = request.match_info["action"]
        if action == "state":
            return web.json_response(dataclasses.asdict(stream.state()))
        if action not in _ACTIONS:
            known = ", ".join(("state", *_ACTIONS))
            return _failure(400, f"there is no {action!r}; there is {known}")
        method = getattr(stream, action.replace("-", "_"))
        try:
            arguments = {k: _CONVERTERS.get(k, str)(v) for k, v in request.query.items()}
            bound = inspect.signature(method).bind(**arguments)
            result = method(*bound.args, **bound.kwargs)
            if inspect.isawaitable(result):
                result = await result
        except LookupError as error:
            return _failure(404, str(error.args[0]))
        except TimeoutError as error:
            return _failure(408, str(error))
        except (TypeError, ValueError) as error:
            return _failure(400, str(error))
        if dataclasses.is_dataclass(result) and not isinstance(result, type):
            return web.json_response(dataclasses.asdict(result))
        return web.json_response({"ok": True})

    return [web.route("*", "/_local/{action}", control)]


def _failure(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": message}, status=status, headers=headers)
