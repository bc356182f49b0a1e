"""The gate over HTTP: who is let in, what the fleet is asked, how each trouble is answered."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import io
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.fleet import CallRequest, FleetFullError, FleetStatus
from getstream.plugins.gemini.fleet import _gate as gate_module
from getstream.plugins.gemini.fleet._calls import Placed, StartCall, WorkerReport, WorkerStatus
from getstream.plugins.gemini.fleet._control import Control
from getstream.plugins.gemini.fleet._gate import Gate
from getstream.plugins.gemini.fleet._metrics import metrics_text
from getstream.plugins.gemini.fleet._placement import Limits
from getstream.plugins.gemini.fleet._records import MemoryRecords
from getstream.plugins.gemini.fleet._webhook import MAX_BODY_BYTES
from prometheus_client.parser import text_string_to_metric_families

SECRET = "secret-of-stream"
TOKEN = "token-of-fleet"
BEARER = {"Authorization": f"Bearer {TOKEN}"}

Client = TestClient[Any, Any]

REPORT = WorkerReport("w1", 4711, "node", {"default:a": 3}, 0.25, 7.5, 184.5, ("default:a",))


class RecordedFleet:
    """A fleet of one call, which keeps what it was asked and answers as it is told.

    With the real control, the gate is tested at the end of this file, and in `test_serve.py`; here
    it is about answers that a real one gives only in trouble.
    """

    def __init__(self) -> None:
        self.placed: list[CallRequest] = []
        self.ended: list[tuple[str, str]] = []
        self.drained: list[str | None] = []
        self.trouble: BaseException | None = None
        self.hangs = False
        self.workers = {"w1": WorkerStatus(True, 0.5, ("default:a",), REPORT)}

    async def place(self, request: CallRequest) -> Placed:
        await self._answer()
        self.placed.append(request)
        repeated = self.placed.count(request) > 1
        return Placed(request.cid, "w1", "running" if repeated else "started")

    async def end(self, cid: str, session_id: str = "") -> bool:
        await self._answer()
        self.ended.append((cid, session_id))
        return cid == "default:a"

    async def drain(self, worker: str | None = None) -> list[str]:
        await self._answer()
        self.drained.append(worker)
        return ["w1"]

    async def status(self) -> FleetStatus:
        await self._answer()
        return FleetStatus(self.workers, 1, 0, 9, 1, 0, {"placed": 1, "refused": 0}, 42)

    async def _answer(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.trouble is not None:
            raise self.trouble


@pytest.fixture
def fleet() -> RecordedFleet:
    return RecordedFleet()


@pytest.fixture
async def client(fleet: RecordedFleet) -> AsyncIterator[Client]:
    gate = Gate(fleet, api_secret=SECRET, token=TOKEN, user_id="assistant")
    async with TestClient(TestServer(gate.app())) as client:
        yield client


def joined(user_id: str = "person") -> dict[str, Any]:
    return {
        "type": "call.session_participant_joined",
        "created_at": time.time_ns(),
        "call_cid": "default:a",
        "session_id": "s1",
        "participant": {"user": {"id": user_id}, "user_session_id": "u", "role": "user"},
    }


async def ask(client: Client, method: str, path: str, **kwargs: Any) -> tuple[int, Any, Any]:
    """Return status, JSON (or text) and headers of an answer."""
    async with client.request(method, path, **kwargs) as answer:
        text = await answer.text()
        if answer.content_type == "application/json":
            return answer.status, json.loads(text), answer.headers
        return answer.status, text, answer.headers


async def send(
    client: Client, event: object, *, pack: bool = False, secret: str = SECRET, **headers: str
) -> tuple[int, Any, Any]:
    body = json.dumps(event).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if pack:
        body = gzip.compress(body)
        headers = {**headers, "Content-Encoding": "gzip"}  # as Stream sends it
    return await ask(
        client, "POST", "/stream", data=body, headers={"X-Signature": signature, **headers}
    )


# -- webhooks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [False, True])
async def test_a_join_places_a_call_once(client: Client, fleet: RecordedFleet, pack: bool) -> None:
    event = joined()
    assert (await send(client, event, pack=pack))[:2] == (
        201,
        {"cid": "default:a", "worker": "w1", "state": "started"},
    )
    assert (await send(client, event, pack=pack))[0] == 200
    assert fleet.placed == [CallRequest("default:a", "s1", "assistant")] * 2


async def test_an_end_ends_the_call(client: Client, fleet: RecordedFleet) -> None:
    for cid, ended in (("default:a", True), ("default:without", False)):
        event = {"type": "call.session_ended", "call_cid": cid, "session_id": "s1"}
        assert (await send(client, event))[:2] == (200, {"ended": ended})
    assert fleet.ended == [("default:a", "s1"), ("default:without", "s1")]


async def test_other_events_are_taken_and_ignored(client: Client, fleet: RecordedFleet) -> None:
    status, answer, _ = await send(client, {"type": "message.new"})
    assert status == 200
    assert "message.new" in answer["ignored"]
    assert (await send(client, joined("assistant")))[0] == 200
    assert fleet.placed == []


async def test_nobody_else_is_taken_for_stream(client: Client, fleet: RecordedFleet) -> None:
    assert (await send(client, joined(), secret="wrong"))[0] == 401
    assert (await ask(client, "POST", "/stream", json=joined()))[0] == 401
    assert (await ask(client, "POST", "/stream", json=joined(), headers=BEARER))[0] == 401
    assert fleet.placed == []


async def test_a_signature_that_is_no_text_is_refused(client: Client) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"POST /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                 b"X-Signature: \xff\xfe\xc3\xa9\r\nContent-Length: 2\r\n\r\n{}")  # fmt: skip
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("encoding", [{}, {"Content-Encoding": "gzip"}])
async def test_large_bodies_are_refused(
    client: Client, fleet: RecordedFleet, encoding: dict[str, str]
) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    assert (await ask(client, "POST", "/stream", data=bomb, headers=encoding))[0] == 413
    large = b" " * (MAX_BODY_BYTES + 1)
    for path in ("/stream", "/calls"):
        body = io.BytesIO(large)
        assert (await ask(client, "POST", path, data=body, headers=BEARER))[0] == 413
    assert fleet.placed == []


async def test_a_body_that_does_not_come_is_not_waited_for(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "BODY_S", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408 ")


# -- the API ---------------------------------------------------------------------------------------

API = [
    ("POST", "/calls"),
    ("GET", "/calls"),
    ("DELETE", "/calls/default:a"),
    ("POST", "/drain"),
]


@pytest.mark.parametrize(("method", "path"), API)
@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer wrong", TOKEN, f"Basic {TOKEN}", "Bearer \xe9"]
)
async def test_the_api_wants_the_token(
    client: Client, fleet: RecordedFleet, method: str, path: str, header: str
) -> None:
    status, answer, headers = await ask(client, method, path, headers={"Authorization": header})
    assert status == 401
    assert "FLEET_TOKEN" in answer["error"]
    assert headers["WWW-Authenticate"] == "Bearer"
    assert (fleet.placed, fleet.ended, fleet.drained) == ([], [], [])


@pytest.mark.parametrize("token", [None, ""])
async def test_without_a_token_there_is_no_api(fleet: RecordedFleet, token: str | None) -> None:
    gate = Gate(fleet, api_secret=SECRET, token=token, user_id="assistant")
    async with TestClient(TestServer(gate.app())) as client:
        for header in ("Bearer ", "Bearer None", ""):
            status, answer, _ = await ask(
                client, "POST", "/calls", json={"cid": "a:b"}, headers={"Authorization": header}
            )
            assert status == 403
            assert "FLEET_TOKEN" in answer["error"]
        assert (await send(client, joined()))[0] == 201  # Stream is let in all the same
    assert len(fleet.placed) == 1


async def test_the_application_places_a_call(client: Client, fleet: RecordedFleet) -> None:
    wanted = {"cid": "a:b", "session_id": "s", "user_id": "tutor", "params": {"topic": "maths"}}
    assert (await ask(client, "POST", "/calls", json=wanted, headers=BEARER))[0] == 201
    assert (await ask(client, "POST", "/calls", json=wanted, headers=BEARER))[0] == 200
    assert (await ask(client, "POST", "/calls", json={"cid": "a:c"}, headers=BEARER))[0] == 201
    assert fleet.placed[0] == CallRequest("a:b", "s", "tutor", {"topic": "maths"})
    assert fleet.placed[2] == CallRequest("a:c", "", "assistant", {})


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"[]", "object"),
        (b"{}", "cid"),
        (b'{"cid": "x"}', "cid"),
        (b'{"cid": 3}', "cid"),
        (b'{"cid": "a:b", "params": 3}', "params"),
        (b'{"cid": "a:b", "user_id": ""}', "user_id"),
        (b'{"cid": "a:b", "session_id": 1}', "session_id"),
        (b'{"cid": "a:b", "session": "s"}', "'session'"),
    ],
)
async def test_a_wrong_request_is_told_what_is_wrong(
    client: Client, fleet: RecordedFleet, body: bytes, named: str
) -> None:
    status, answer, _ = await ask(client, "POST", "/calls", data=body, headers=BEARER)
    assert status == 400
    assert named in answer["error"]
    assert fleet.placed == []


async def test_a_call_is_ended_by_its_cid(client: Client, fleet: RecordedFleet) -> None:
    for path, status in (
        ("/calls/default:a", 200),
        ("/calls/default%3Aa", 200),
        ("/calls/default:b", 404),
    ):
        assert (await ask(client, "DELETE", path, headers=BEARER))[0] == status
    assert fleet.ended == [("default:a", ""), ("default:a", ""), ("default:b", "")]


async def test_a_worker_or_all_are_drained(client: Client, fleet: RecordedFleet) -> None:
    assert (await ask(client, "POST", "/drain", headers=BEARER))[:2] == (200, {"draining": ["w1"]})
    assert (await ask(client, "POST", "/drain?worker=w1", headers=BEARER))[0] == 200
    status, answer, _ = await ask(client, "POST", "/drain?worker=w9", headers=BEARER)
    assert status == 404
    assert "'w9'" in answer["error"]
    assert fleet.drained == [None, "w1"]


async def test_the_status_is_that_of_the_fleet(client: Client, fleet: RecordedFleet) -> None:
    status, answer, _ = await ask(client, "GET", "/calls", headers=BEARER)
    assert status == 200
    assert answer == json.loads(json.dumps((await fleet.status()).to_dict()))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/stream", 405), ("PUT", "/calls", 405)],
)
async def test_what_there_is_not(client: Client, method: str, path: str, status: int) -> None:
    found, answer, headers = await ask(client, method, path)
    assert found == status
    assert "error" in answer
    assert ("Allow" in headers) == (status == 405)


# -- trouble ---------------------------------------------------------------------------------------

PLACES: list[Callable[[Client], Awaitable[tuple[int, Any, Any]]]] = [
    lambda client: send(client, joined()),
    lambda client: ask(client, "POST", "/calls", json={"cid": "a:b"}, headers=BEARER),
]


@pytest.mark.parametrize("place", PLACES)
async def test_a_full_fleet_says_when_to_come_again(
    client: Client, fleet: RecordedFleet, place: Callable[[Client], Awaitable[Any]]
) -> None:
    fleet.trouble = FleetFullError("no room: 10 of 10 calls", 6.2)
    status, answer, headers = await place(client)
    assert (status, answer["error"]) == (503, "no room: 10 of 10 calls")
    assert headers["Retry-After"] == "7"


@pytest.mark.parametrize(("method", "path"), [*API[1:], ("GET", "/readyz"), ("GET", "/metrics")])
async def test_a_fleet_that_hangs_is_not_waited_for(
    client: Client,
    fleet: RecordedFleet,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
) -> None:
    fleet.hangs = True
    for bound in ("ANSWER_S", "STATUS_S"):
        monkeypatch.setattr(gate_module, bound, 0.01)
    status, answer, headers = await ask(client, method, path, headers=BEARER)
    assert status == 503
    assert answer["error"] == "The fleet does not answer"
    assert int(headers["Retry-After"]) > 0


async def test_the_unexpected_is_told_to_nobody(
    client: Client, fleet: RecordedFleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.trouble = RuntimeError("redis://:password@host said nonsense")
    status, answer, _ = await ask(client, "GET", "/calls", headers=BEARER)
    assert status == 500
    assert "password" not in json.dumps(answer) + caplog.text
    assert "RuntimeError" in caplog.text
    assert "test_gate.py:" in caplog.text  # where


async def test_no_secret_is_in_any_log(
    client: Client, fleet: RecordedFleet, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = json.dumps(joined()).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    for trouble in (None, FleetFullError("full"), RuntimeError(SECRET + TOKEN + signature)):
        fleet.trouble = trouble
        await send(client, joined())
        await send(client, joined(), secret="wrong-secret")
        await send(client, {"type": "message.new"})
        await ask(client, "POST", "/stream", data=body, headers={"X-Signature": signature})
        for method, path in API:
            for headers in (BEARER, {"Authorization": "Bearer wrong-token"}):
                await ask(client, method, path, json={"cid": "a:b"}, headers=headers)
    assert "default:a" in caplog.text  # the log was listened to
    for secret in (SECRET, TOKEN, "wrong-secret", "wrong-token", signature):
        assert secret not in caplog.text
    assert SECRET not in repr(Gate(fleet, api_secret=SECRET, token=TOKEN, user_id="a"))


async def test_text_of_others_is_one_line_in_the_log(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="getstream.plugins.gemini.fleet")
    cid = "default:a\n\x1b[2JERROR forged"
    assert (await ask(client, "POST", "/calls", json={"cid": cid}, headers=BEARER))[0] == 201
    placed = [record.getMessage() for record in caplog.records if "forged" in record.getMessage()]
    assert len(placed) == 1
    assert placed[0].isprintable()


@pytest.mark.parametrize("wrong", [{"api_secret": ""}, {"user_id": " "}])
def test_a_gate_needs_a_secret_and_a_user(fleet: RecordedFleet, wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Gate(fleet, **{"api_secret": SECRET, "token": TOKEN, "user_id": "a", **wrong})


# -- probes and metrics ----------------------------------------------------------------------------


async def test_the_probes(client: Client, fleet: RecordedFleet) -> None:
    assert (await ask(client, "GET", "/healthz"))[0] == 200
    assert (await ask(client, "GET", "/readyz"))[0] == 200
    fleet.workers = {"w1": WorkerStatus(False, 0.5, ("default:a",), REPORT)}
    assert (await ask(client, "GET", "/readyz"))[0] == 503
    fleet.workers = {}
    assert (await ask(client, "GET", "/readyz"))[0] == 503
    fleet.hangs = True
    assert (await ask(client, "GET", "/healthz"))[0] == 200


async def test_metrics_are_read_by_prometheus(client: Client) -> None:
    status, text, headers = await ask(client, "GET", "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found == {
        ("gemini_fleet_calls",): 1,
        ("gemini_fleet_calls_unplaced",): 0,
        ("gemini_fleet_room_calls",): 9,
        ("gemini_fleet_workers",): 1,
        ("gemini_fleet_workers_wanted",): 1,
        ("gemini_fleet_workers_starting",): 0,
        ("gemini_fleet_events_total", "placed"): 1,
        ("gemini_fleet_events_total", "refused"): 0,
        ("gemini_fleet_worker_accepting", "w1"): 1,
        ("gemini_fleet_worker_calls", "w1"): 1,
        ("gemini_fleet_worker_silent_seconds", "w1"): 0.5,
        ("gemini_fleet_worker_cpu_cores", "w1"): 0.25,
        ("gemini_fleet_worker_loop_lag_seconds", "w1"): 0.0075,
        ("gemini_fleet_worker_resident_memory_bytes", "w1"): 184.5e6,
        ("gemini_fleet_worker_busy_calls", "w1"): 1,
    }


def test_every_metric_has_one_help_and_one_type_before_its_samples() -> None:
    names = ['a"b\\c\nd', "plain"]
    workers = {name: WorkerStatus(True, 0, (), REPORT) for name in names}
    workers["young"] = WorkerStatus(True, 0, (), None)
    text = metrics_text(FleetStatus(workers, 0, 0, 0, 0, 0, {"placed": 10**12}, 1))
    assert text.endswith("\n")
    seen: list[str] = []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            seen.append(line.split()[2])
        elif line.startswith("# TYPE "):
            assert line.split()[2] == seen[-1]
        else:
            assert line.startswith(seen[-1])
    assert len(seen) == len(set(seen))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    counted = families["gemini_fleet_events"]
    assert (counted.type, counted.samples[0].value) == ("counter", 10**12)
    accepting = families["gemini_fleet_worker_accepting"].samples
    assert {sample.labels["worker"] for sample in accepting} == {*names, "young"}
    assert len(families["gemini_fleet_worker_cpu_cores"].samples) == 2


# -- with the real control -------------------------------------------------------------------------


class OneWorker:
    """An engine of one worker, which keeps what it was told."""

    def __init__(self) -> None:
        self.started: list[StartCall] = []
        self.left: list[str] = []

    async def spawn(self) -> str:
        return "w1"

    async def known_workers(self) -> list[str]:
        return []

    async def wait_dead(self, worker: str) -> None:
        await asyncio.Event().wait()

    async def start_call(self, start: StartCall) -> None:
        self.started.append(start)

    async def leave_call(self, worker: str, cid: str, epoch: int, *, at_rest: bool) -> None:
        self.left.append(cid)

    async def end_worker(self, worker: str) -> None: ...

    async def end_hung_worker(self, worker: str, pid: int, node: str) -> None: ...


async def test_late_and_repeated_webhooks_are_harmless() -> None:
    engine = OneWorker()
    control = Control(engine, MemoryRecords(), Limits(max_calls=4))
    app = Gate(control, api_secret=SECRET, token=TOKEN, user_id="assistant").app()

    def session(name: str, kind: str = "call.session_participant_joined") -> dict[str, Any]:
        return {**joined(), "session_id": name, "type": kind}

    async with TestClient(TestServer(app)) as client:
        answers = await asyncio.gather(*(send(client, session("s1")) for _ in range(50)))
        assert sorted(answer["state"] for _, answer, _ in answers) == ["running"] * 49 + ["started"]
        ended = session("s1", "call.session_ended")
        assert (await send(client, ended))[1] == {"ended": True}
        assert (await send(client, ended))[1] == {"ended": False}
        assert (await send(client, session("s1")))[1]["state"] == "over"
        assert (await send(client, session("s2")))[1]["state"] == "started"
        # The end of the session before, repeated late: somebody is in this one.
        assert (await send(client, ended))[1] == {"ended": False}
        _, status, _ = await ask(client, "GET", "/calls", headers=BEARER)
        assert status["calls"] == 1
        assert (await ask(client, "GET", "/readyz"))[0] == 200
    await control.close()
    assert [start.request.session_id for start in engine.started] == ["s1", "s2"]
    assert engine.left == ["default:a"]
