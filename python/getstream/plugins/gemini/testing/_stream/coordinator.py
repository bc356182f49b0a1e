"""The coordinator: users and calls over REST, and the coordinator's WebSocket."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
from aiohttp import WSCloseCode, WSMsgType, web
from getstream.video.rtc.pb.stream.video.sfu.event import events_pb2 as events
from getstream.video.rtc.pb.stream.video.sfu.models import models_pb2 as models

from .auth import Credentials
from .call import Call
from .settings import call_settings

__all__ = ["Coordinator"]

logger = logging.getLogger(__name__)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CAPABILITIES = [
    "create-call",
    "create-reaction",
    "end-call",
    "join-call",
    "mute-users",
    "read-call",
    "screenshare",
    "send-audio",
    "send-video",
    "update-call",
    "update-call-permissions",
]
_CLOSE_TIMEOUT = 1.0
# Stream's error codes (https://getstream.io/video/docs/api/errors/).
_AUTHENTICATION_FAILED = 5
_ACCESS_KEY_ERROR = 2
_INPUT_ERROR = 4
_DOES_NOT_EXIST = 16
_NOT_ALLOWED = 17
# aiohttp 3.14 warns about plain strings as keys, 3.13 has nothing else.
_USER_ID: Any = web.RequestKey("user_id", str) if hasattr(web, "RequestKey") else "user_id"


class Coordinator:
    """Users, calls, join credentials and the events of a call.

    Attributes:
        calls: By cid ("<type>:<id>").
        requests: How often each route was called, for example "POST /api/v2/users".
    """

    def __init__(self, credentials: Credentials, changed: Callable[[], None]) -> None:
        self.calls: dict[str, Call] = {}
        self.requests: dict[str, int] = {}
        self._credentials = credentials
        self._changed = changed
        self._users: dict[str, dict[str, Any]] = {}
        self._connections: dict[str, tuple[str, web.WebSocketResponse]] = {}
        self._http_address = ""
        self._ice_servers: list[dict[str, Any]] = []

    def configure(self, http_address: str, stun_address: str | None) -> None:
        """Say where the server listens ("host:port"), once the ports are bound."""
        self._http_address = http_address
        if stun_address is not None:
            self._ice_servers = [{"urls": [f"stun:{stun_address}"], "username": "", "password": ""}]

    def routes(self) -> list[web.RouteDef]:
        """The HTTP routes."""
        call = "/api/v2/video/call/{type}/{id}"
        return [
            web.get("/api/v2/connect", self._socket),
            web.post("/api/v2/users", self._update_users),
            web.get("/api/v2/users", self._query_users),
            web.post(call, self._get_or_create_call),
            web.get(call, self._get_or_create_call),
            web.patch(call, self._get_or_create_call),
            web.post(call + "/join", self._join_call),
            web.post(call + "/members", self._update_members),
            web.post(call + "/event", self._send_event),
            web.post(call + "/mark_ended", self._end_call),
            web.post(call + "/delete", self._end_call),
        ]

    @web.middleware
    async def middleware(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Count, check the key and the token, and answer errors the way the SDKs parse them."""
        resource = request.match_info.route.resource
        route = f"{request.method} {resource.canonical if resource else request.path}"
        self.requests[route] = self.requests.get(route, 0) + 1
        if request.path.startswith("/api/v2/"):
            api_key = request.query.get("api_key", self._credentials.api_key)
            if api_key != self._credentials.api_key:
                return _error(401, _ACCESS_KEY_ERROR, "api_key not valid")
            if request.path != "/api/v2/connect":  # its token comes in its first message
                try:
                    claims = self._credentials.decode(request.headers.get("Authorization", ""))
                except jwt.PyJWTError as error:
                    message = f"Token signature is invalid: {error}"
                    return _error(401, _AUTHENTICATION_FAILED, message)
                allowed = claims.get("call_cids")  # of a call token: no other call is open to it
                names_call = "id" in request.match_info
                if allowed is not None and names_call and _cid(request) not in allowed:
                    return _error(403, _NOT_ALLOWED, "the token is not for this call")
                if claims.get("user_id"):
                    request[_USER_ID] = claims["user_id"]
        try:
            return await handler(request)
        except web.HTTPNotFound:
            # As it was sent, percent-encoded: a path that was decoded could steer a terminal.
            path = request.rel_url.raw_path
            logger.warning("the local Stream backend has no %s %s", request.method, path)
            message = f"the local Stream backend has no {request.method} {request.path}"
            return _error(404, _DOES_NOT_EXIST, message)
        except json.JSONDecodeError as error:
            return _error(400, _INPUT_ERROR, f"the body is no JSON: {error}")

    def call(self, cid: str) -> Call:
        """The call with this cid; created if there is none."""
        if cid not in self.calls:
            call_type, _, call_id = cid.partition(":")
            self.calls[cid] = Call(call_type, call_id)
            self._changed()
        return self.calls[cid]

    async def end(self, call: Call) -> None:
        """End a call for everybody in it."""
        call.ended_at = time.time_ns()
        call.broadcast(call_ended=events.CallEnded(reason=models.CALL_ENDED_REASON_ENDED))
        await self._emit(call, {"type": "call.ended"})
        self._changed()

    async def drop_connections(self, user_id: str) -> int:
        """Close the coordinator sockets of a user; returns how many there were."""
        sockets = [s for uid, s in self._connections.values() if uid == user_id]
        for socket in sockets:
            await socket.close()
        return len(sockets)

    async def close(self) -> None:
        """Close all sockets."""
        sockets = [socket for _, socket in self._connections.values()]
        await asyncio.gather(*(socket.close(code=WSCloseCode.GOING_AWAY) for socket in sockets))

    # -- WebSocket ----------------------------------------------------------

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0, timeout=_CLOSE_TIMEOUT)
        await socket.prepare(request)
        connection_id = secrets.token_hex(8)
        common = {"connection_id": connection_id}
        try:
            async for message in socket:
                if message.type != WSMsgType.TEXT:
                    continue
                data = json.loads(message.data)
                if "token" not in data or "user_details" not in data:
                    health = {"type": "health.check", "cid": "*", "created_at": time.time_ns()}
                    await socket.send_json({**common, **health})
                    continue
                user_id = data["user_details"]["id"]
                try:
                    claims = self._credentials.decode(data["token"])
                    if claims.get("user_id") != user_id:
                        raise jwt.InvalidTokenError("the token is for another user")
                except jwt.PyJWTError as error:
                    refusal = {
                        "StatusCode": 401,
                        "code": _AUTHENTICATION_FAILED,
                        "message": f"Token signature is invalid: {error}",
                    }
                    await socket.send_json({**common, "type": "connection.error", "error": refusal})
                    break
                self._connections[connection_id] = (user_id, socket)
                me = self._user(user_id, data["user_details"])
                ok = {"type": "connection.ok", "created_at": time.time_ns(), "me": me}
                await socket.send_json({**common, **ok})
        finally:
            self._connections.pop(connection_id, None)
        return socket

    async def _emit(self, call: Call, event: dict[str, Any]) -> None:
        event = {
            "call_cid": call.cid,
            "created_at": time.time_ns(),
            "call": self._call_json(call),
            **event,
        }
        for _, socket in list(self._connections.values()):
            if not socket.closed:
                try:
                    await socket.send_json(event)
                except (ConnectionError, RuntimeError):
                    logger.debug("a coordinator socket closed while an event was sent")

    # -- REST ---------------------------------------------------------------

    async def _update_users(self, request: web.Request) -> web.Response:
        users = (await _body(request)).get("users") or {}
        return web.json_response(
            {
                "users": {uid: self._user(uid, details) for uid, details in users.items()},
                "membership_deletion_task_id": "",
                "duration": "0ms",
            }
        )

    async def _query_users(self, request: web.Request) -> web.Response:
        return web.json_response({"users": list(self._users.values()), "duration": "0ms"})

    async def _get_or_create_call(self, request: web.Request) -> web.Response:
        cid = _cid(request)
        created = cid not in self.calls
        call = self.call(cid)
        if request.method != "GET":
            call.update(await _body(request))
        return web.json_response({"created": created, **self._call_response(call)})

    async def _update_members(self, request: web.Request) -> web.Response:
        call, body = self.call(_cid(request)), await _body(request)
        for member in body.get("update_members") or []:
            call.members[member["user_id"]] = member
        for user_id in body.get("remove_members") or []:
            call.members.pop(user_id, None)
        return web.json_response({"members": self._members_json(call), "duration": "0ms"})

    async def _join_call(self, request: web.Request) -> web.Response:
        user_id = request.get(_USER_ID)
        if user_id is None:
            return _error(403, _NOT_ALLOWED, "to join a call takes the token of a user")
        cid, body = _cid(request), await _body(request)
        created = cid not in self.calls
        if created and not body.get("create"):
            return _error(404, _DOES_NOT_EXIST, f"Can't find call with id {cid}")
        call = self.call(cid)
        call.update(body)
        self._user(user_id)
        credentials = {
            "server": {
                "edge_name": "local",
                "url": f"http://{self._http_address}/twirp",
                "ws_endpoint": f"ws://{self._http_address}/sfu/ws",
            },
            "token": self._credentials.sign(user_id=user_id, call_cid=cid),
            "ice_servers": self._ice_servers,
        }
        return web.json_response(
            {
                "created": created,
                **self._call_response(call),
                "membership": None,
                "credentials": credentials,
                "stats_options": {"reporting_interval_ms": 10_000, "enable_rtc_stats": False},
            },
            status=201,
        )

    async def _send_event(self, request: web.Request) -> web.Response:
        call, body = self.call(_cid(request)), await _body(request)
        sender = request.get(_USER_ID) or body.get("user_id")
        user = self._user(sender or (body.get("user") or {}).get("id") or "system")
        await self._emit(call, {"type": "custom", "custom": body.get("custom") or {}, "user": user})
        return web.json_response({"duration": "0ms"})

    async def _end_call(self, request: web.Request) -> web.Response:
        await self.end(self.call(_cid(request)))
        return web.json_response({"duration": "0ms"})

    # -- JSON ---------------------------------------------------------------
    # Times are unix nanoseconds: the only form that the Python SDK decodes.

    def _user(self, user_id: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
        now = time.time_ns()
        user = self._users.setdefault(
            user_id,
            {
                "id": user_id,
                "role": "user",
                "language": "",
                "teams": [],
                "blocked_user_ids": [],
                "custom": {},
                "created_at": now,
                "updated_at": now,
                "banned": False,
                "online": False,
                "invisible": False,
                "shadow_banned": False,
                "devices": [],
                "mutes": [],
                "channel_mutes": [],
                "total_unread_count": 0,
                "unread_channels": 0,
                "unread_count": 0,
                "unread_threads": 0,
            },
        )
        for field in ("name", "image", "role", "custom"):
            if details and details.get(field) is not None:
                user[field] = details[field]
        return user

    def _call_response(self, call: Call) -> dict[str, Any]:
        return {
            "call": self._call_json(call),
            "members": self._members_json(call),
            "own_capabilities": _CAPABILITIES,
            "duration": "0ms",
        }

    def _call_json(self, call: Call) -> dict[str, Any]:
        participants = [
            {
                "user": self._user(p.user_id),
                "user_session_id": p.session_id,
                "role": "user",
                "joined_at": int(p.joined_at * 1e9),
            }
            for p in call.participants.values()
        ]
        return {
            "cid": call.cid,
            "id": call.id,
            "type": call.type,
            "created_at": call.created_at,
            "updated_at": call.created_at,
            "ended_at": call.ended_at,
            "backstage": False,
            "captioning": False,
            "recording": False,
            "transcribing": False,
            "translating": False,
            "current_session_id": call.session_id,
            "blocked_user_ids": [],
            "created_by": self._user(call.created_by),
            "custom": call.custom,
            "egress": {"broadcasting": False, "rtmps": []},
            "ingress": {"rtmp": {"address": ""}, "srt": {"address": ""}, "whip": {"address": ""}},
            "settings": call_settings(call.settings),
            "session": {
                "id": call.session_id,
                "anonymous_participant_count": 0,
                "accepted_by": {},
                "missed_by": {},
                "rejected_by": {},
                "participants_count_by_role": {"user": len(participants)},
                "participants": participants,
            },
        }

    def _members_json(self, call: Call) -> list[dict[str, Any]]:
        return [
            {
                "user_id": user_id,
                "user": self._user(user_id),
                "role": member.get("role", "user"),
                "custom": member.get("custom") or {},
                "created_at": call.created_at,
                "updated_at": call.created_at,
            }
            for user_id, member in call.members.items()
        ]


def _cid(request: web.Request) -> str:
    return f"{request.match_info['type']}:{request.match_info['id']}"


async def _body(request: web.Request) -> dict[str, Any]:
    text = await request.text()
    body = json.loads(text) if text else {}
    return body if isinstance(body, dict) else {}


def _error(status: int, code: int, message: str) -> web.Response:
    body = {
        "StatusCode": status,
        "code": code,
        "message": message,
        "details": [],
        "more_info": "",
        "duration": "0ms",
        "unrecoverable": status == 401,
    }
    return web.json_response(body, status=status)
