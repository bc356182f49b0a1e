"""`doctor` on this machine: the way to the services, the clock, keys, access, and its speed."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from getstream.plugins.gemini import cli
from getstream.plugins.gemini._cli import doctor
from getstream.plugins.gemini._cli.checks import network
from getstream.plugins.gemini._cli.checks.access import check_gemini_access, check_stream_access
from getstream.plugins.gemini._cli.checks.network import (
    Endpoint,
    Way,
    endpoints,
    judge_clock,
    judge_way,
    try_ways,
)
from getstream.plugins.gemini._cli.checks.results import Result, failed, passed, warned, worst
from getstream.plugins.gemini._cli.checks.wire_client import Patience, Service
from getstream.plugins.gemini.testing import QUOTA_EXCEEDED, Close, LocalGemini, LocalStream
from getstream.plugins.gemini.testing._kit.allow_list import AllowListProxy

KEY = "AIzaSyTestKeyThatIsNobodysInReality0001"
SECRET = "stream-secret-0123456789-0123456789"
VARIABLES = ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GEMINI_LIVE_MODEL", "STREAM_API_KEY",
             "STREAM_API_SECRET", "GOOGLE_GEMINI_BASE_URL", "STREAM_BASE_URL", "SSL_CERT_FILE",
             "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY",
             "no_proxy")  # fmt: skip

# RFC 6761, section 6.4: no resolver knows a name in .invalid.
UNKNOWN = "https://nobody.invalid"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def of(results: list[Result]) -> dict[str, Result]:
    return {each.name: each for each in results}


async def way_to(url: str, **options: Any) -> Way:
    return (await asyncio.to_thread(try_ways, [Endpoint("x", url)], **options))[0]


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve one connection on loopback in a thread; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def http(text: str) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(text.encode())

    return answer


# -- the way ---------------------------------------------------------------------------------------


async def test_the_way_to_a_service_and_its_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    async with LocalGemini() as gemini, LocalStream() as stream:
        monkeypatch.setenv("SSL_CERT_FILE", gemini.env["SSL_CERT_FILE"])
        secure, plain = await way_to(gemini.url), await way_to(stream.env["STREAM_BASE_URL"])
    for way in (secure, plain):
        assert (way.stage, way.error) == ("done", "")
        assert way.connect_ms > 0
        assert judge_way(way).state == "ok"
        assert way.skew_s is not None
        # The same clock, cut off to the second on one side.
        assert abs(way.skew_s) <= way.skew_error_s + 0.001


async def test_a_certificate_of_nobody() -> None:
    async with LocalGemini() as gemini:
        way = await way_to(gemini.url)
    assert way.stage == "certificate"
    assert "SSL_CERT_FILE" in judge_way(way).advice


async def test_by_way_of_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with LocalGemini() as gemini, AllowListProxy(["localhost"]) as proxy:
        monkeypatch.setenv("SSL_CERT_FILE", gemini.env["SSL_CERT_FILE"])
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", f"://user:{SECRET}@"))
        allowed = await way_to(gemini.url.replace("127.0.0.1", "localhost"))
        refused = await way_to("https://generativelanguage.googleapis.com")
    assert allowed.stage == "done"
    assert allowed.proxy in judge_way(allowed).seen
    assert refused.stage == "proxy"
    assert "403" in refused.error
    assert "HTTPS_PROXY" in judge_way(refused).advice
    assert SECRET not in repr([allowed, refused, judge_way(allowed), judge_way(refused)])


async def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "127.0.0.1:9")  # the discard port, and no scheme
    way = await way_to("https://generativelanguage.googleapis.com")
    assert (way.stage, way.proxy) == ("connection", "127.0.0.1:9")
    assert "HTTPS_PROXY" in judge_way(way).advice


async def test_a_name_that_is_not_known() -> None:
    way = await way_to(UNKNOWN)
    assert way.stage == "name"
    assert "DNS" in judge_way(way).advice


def silent(release: threading.Event) -> Callable[[socket.socket], None]:
    return lambda connection: release.wait(10) and None


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("", "answer"),
        ("SSH-2.0-OpenSSH\r\n", "answer"),
        ("HTTP/1.1 200 OK\r\n\r\n", "done"),
        ("HTTP/1.1 200 OK\r\nDate: yesterday\r\n\r\n", "done"),
    ],
    ids=["nothing", "no HTTP", "no date", "a wrong date"],
)
async def test_odd_answers(text: str, stage: str) -> None:
    with server(http(text)) as port:
        way = await way_to(f"http://127.0.0.1:{port}")
    assert way.stage == stage
    assert way.skew_s is None


async def test_a_service_that_never_answers_is_left_in_time() -> None:
    release = threading.Event()
    with server(silent(release)) as port:
        way = await way_to(f"https://127.0.0.1:{port}", deadline_s=0.5)
        release.set()
    assert way.stage == "TLS"


async def test_a_resolver_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: object, **__: object) -> list[Any]:
        release.wait(20)
        return []

    monkeypatch.setattr(network.socket, "getaddrinfo", hang)
    way = await way_to(UNKNOWN, deadline_s=0.2)
    release.set()
    assert (way.stage, way.error) == ("name", "no answer within 0 s")


@pytest.mark.parametrize("url", ["https://", "nonsense", "https://[::1", "https://nobody:99999"])
async def test_an_address_that_is_none(url: str) -> None:
    way = await way_to(url)
    assert way.stage == "address"
    assert way.error
    assert judge_way(way).state == "failed"


def test_the_endpoints_follow_the_environment() -> None:
    hosts = [each.host for each in endpoints({})]
    assert hosts[0] == "generativelanguage.googleapis.com"
    assert "video.stream-io-api.com" in hosts
    own = endpoints(
        {"GOOGLE_GEMINI_BASE_URL": "https://a.example", "STREAM_BASE_URL": "http://b:5"}
    )
    assert [(each.host, each.port) for each in own] == [("a.example", 443), ("b", 5)]


def test_a_host_that_can_be_done_without_is_a_warning() -> None:
    way = Way(Endpoint("x", UNKNOWN, needed=False), "name", "not known")
    assert judge_way(way).state == "warning"


# -- the clock -------------------------------------------------------------------------------------


def dated(skew_s: float) -> Way:
    return Way(Endpoint("x", UNKNOWN), "done", skew_s=skew_s, skew_error_s=0.5)


@pytest.mark.parametrize(
    ("skews", "state"),
    [
        ([0.4], "ok"),
        ([5.4], "ok"),
        ([5.6], "failed"),
        ([-3600.0, -3600.2, -3599.9], "failed"),
        ([0.1, 900.0, 0.2], "ok"),  # one service is wrong, not this machine
        ([], "not checked"),
    ],
)
def test_the_wall_clock(skews: list[float], state: str) -> None:
    assert judge_clock([dated(each) for each in skews], 2.0, 2.0).state == state


def test_a_clock_that_is_set_meanwhile() -> None:
    result = judge_clock([dated(0.0)], 2.0 + 30.0, 2.0)
    assert result.state == "warning"
    assert result.numbers["step_s"] == 30.0
    assert judge_clock([dated(0.0)], 2.001, 2.0).state == "ok"


# -- access ----------------------------------------------------------------------------------------


NO_MODEL = Close(1008, "models/x is not found for API version v1beta")


@pytest.mark.parametrize(
    ("options", "state", "words"),
    [
        ({"accepted_keys": [KEY]}, "ok", "opens"),
        ({"refused_keys": [KEY]}, "failed", "refused the key"),
        ({"setup_fault": QUOTA_EXCEEDED}, "warning", "quota"),
        ({"setup_fault": NO_MODEL}, "failed", "no model"),
        ({"setup_fault": Close(1011, f"Internal error of {KEY}")}, "failed", "[hidden]"),
    ],
)
async def test_access_to_gemini(options: dict[str, Any], state: str, words: str) -> None:
    async with LocalGemini(**options) as gemini:
        service = Service(
            gemini.url,
            KEY,
            "gemini-3.8-live",
            patience=Patience(connect_s=5),
            context=gemini.client_context(),
        )
        result = await check_gemini_access(service)
        assert not [turn for session in gemini.sessions for turn in session.spoken]
    assert result.state == state
    assert words in result.seen
    assert bool(result.advice) == (state != "ok")
    assert KEY not in repr(result)


@pytest.mark.parametrize(("secret", "state"), [(None, "ok"), (SECRET, "failed")])
async def test_access_to_stream(
    monkeypatch: pytest.MonkeyPatch, secret: str | None, state: str
) -> None:
    async with LocalStream() as stream:
        for name in ("STREAM_BASE_URL", "STREAM_API_KEY", "STREAM_API_SECRET"):
            monkeypatch.setenv(name, stream.env[name])
        if secret:
            monkeypatch.setenv("STREAM_API_SECRET", secret)
        result = await check_stream_access([SECRET])
    assert result.state == state
    assert SECRET not in repr(result)
    assert ("dashboard" in result.advice) == (state == "failed")


# -- keys, model -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "state", "words"),
    [
        ({}, "warning", "Gemini (GOOGLE_API_KEY) and Stream"),
        ({"GEMINI_API_KEY": KEY}, "warning", "none for Stream"),
        ({"GEMINI_API_KEY": KEY, "STREAM_API_KEY": "k", "STREAM_API_SECRET": SECRET}, "ok", "set"),
        ({"GOOGLE_API_KEY": f'"{KEY}"'}, "failed", "GOOGLE_API_KEY: a character"),
        ({"GOOGLE_API_KEY": "a key"}, "failed", "GOOGLE_API_KEY"),
        ({"STREAM_API_SECRET": "\u043a\u043b\u044e\u0447"}, "failed", "STREAM_API_SECRET"),
    ],
)
def test_keys(
    monkeypatch: pytest.MonkeyPatch, keys: dict[str, str], state: str, words: str
) -> None:
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    result = doctor._check_keys(os.environ)
    assert result.state == state
    assert words in result.seen
    assert not [value for value in keys.values() if len(value) > 1 and value in repr(result)]


@pytest.mark.parametrize(
    ("model", "state", "words"),
    [
        ("gemini-3.8-live", "ok", "no thinking, non-blocking or blocking tools"),
        ("models/gemini-3.8-live-extended-thinking", "ok", "thinking by level"),
        ("gemini-3.1-flash-live-preview", "ok", "always answers"),
        ("gemini-live-2.5-flash-preview", "warning", "gemini-3.8-live is used"),
        ("gemini-99-live", "warning", "does not know"),
    ],
)
def test_the_model(model: str, state: str, words: str) -> None:
    result = doctor._check_model(doctor.DoctorOptions(model=model))
    assert result.state == state
    assert words in result.seen


def test_the_worst_of_results() -> None:
    good, poor, bad = passed("a", ""), warned("b", "", "x"), failed("c", "", "x")
    assert worst([]) == "not checked"
    assert worst([good]) == "ok"
    assert worst([poor, good]) == "warning"
    assert worst([good, bad, poor]) == "failed"


# -- its speed -------------------------------------------------------------------------------------

FAST = {
    "seconds": 10.0,
    "cpu_percent": 6.5,
    "loop_late_p50_ms": 0.3,
    "loop_late_p99_ms": 2.0,
    "loop_late_max_ms": 8.0,
    "late_frames": 0.0,
    "underruns": 0.0,
    "frames_sent": 500.0,
    "played_ms": 6000.0,
}


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, "ok"),
        ({"loop_late_p99_ms": 12.0}, "warning"),
        ({"late_frames": 1.0}, "warning"),
        ({"loop_late_p99_ms": 21.0}, "failed"),
        ({"late_frames": 6.0}, "failed"),
        ({"cpu_percent": 71.0}, "failed"),
        ({"played_ms": 0.0}, "failed"),
        ({"frames_sent": 0.0}, "failed"),
    ],
)
def test_the_verdict_of_the_speed(change: dict[str, float], state: str) -> None:
    from getstream.plugins.gemini._cli.checks.speed import judge_speed

    result = judge_speed({**FAST, **change})
    assert result.state == state
    assert bool(result.advice) == (state != "ok")
    if not change:
        assert result.numbers["calls_per_core"] == 10


async def test_lateness_of_the_loop_is_seen() -> None:
    from getstream.plugins.gemini._cli.checks.self_test_bot import LoopLateness

    lateness = LoopLateness()
    await asyncio.sleep(0.05)
    time.sleep(0.2)  # what the application must not do
    await asyncio.sleep(0.05)
    await lateness.stop()
    numbers = lateness.numbers()
    assert numbers["loop_late_max_ms"] >= 150
    assert len([late for late in lateness.late_s if late >= 0.15]) == 1


# -- the command -----------------------------------------------------------------------------------


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    base = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run(
        [sys.executable, "-m", "getstream.plugins.gemini", "doctor", *arguments],
        env={**base, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


DEAD = {"GOOGLE_GEMINI_BASE_URL": UNKNOWN, "STREAM_BASE_URL": "https://none.invalid"}
KEYS = {"GOOGLE_API_KEY": KEY, "STREAM_API_KEY": "public", "STREAM_API_SECRET": SECRET}


def test_a_dead_network() -> None:
    done = run("--no-call", **DEAD, **KEYS)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "network.gemini, network.stream.api" in last
    assert "Check the network and DNS" in last
    assert "the service was not reached" in done.stdout
    assert "Traceback" not in done.stderr
    for secret in (KEY, SECRET):
        assert secret not in done.stdout + done.stderr


def can_unshare() -> bool:
    try:
        done = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="needs Linux, unshare and user namespaces")
def test_an_empty_network_namespace() -> None:
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, "-m", "getstream.plugins.gemini", "doctor",
         "--no-call", "--json"],
        env={name: value for name, value in os.environ.items() if name not in VARIABLES},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    states = {each["name"]: each["state"] for each in json.loads(done.stdout)["checks"]}
    assert states["network.gemini"] == "failed"
    assert states["clock"] == "not checked"


def test_json_is_all_that_is_printed() -> None:
    done = run("--no-call", "--json", **DEAD, **KEYS)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert {"doctor", "made_at", "versions", "keys", "model", "core", "checks", "verdict",
            "error"} <= set(document)  # fmt: skip
    assert document["doctor"] == 1
    assert document["verdict"] == "failed"
    assert document["keys"]["GOOGLE_API_KEY"] is True
    assert [each["name"] for each in document["checks"]] == [
        "keys",
        "model",
        "core",
        "network.gemini",
        "network.stream.api",
        "clock",
        "access.gemini",
        "access.stream",
        "speed",
    ]
    for each in document["checks"]:
        assert set(each) == {"name", "state", "seen", "advice", "numbers"}
        assert each["state"] in ("ok", "warning", "failed", "not checked")
        assert bool(each["advice"]) or each["state"] in ("ok", "not checked")
    for secret in (KEY, SECRET):
        assert secret not in done.stdout + done.stderr


def test_json_of_what_could_not_be_started(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--live", "--json"]) == 1
    printed = capsys.readouterr()
    assert "needs a key" in json.loads(printed.out)["error"]
    assert "needs a key" in printed.err


async def test_a_machine_with_all_that_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with LocalGemini(accepted_keys=[KEY]) as gemini, LocalStream() as stream:
        for name, value in {**gemini.env, **stream.env, "GOOGLE_API_KEY": KEY}.items():
            if name in VARIABLES:
                monkeypatch.setenv(name, value)
        assert await asyncio.to_thread(cli.main, ["doctor", "--no-call"]) == 0
    printed = capsys.readouterr().out
    for words in ("the key opens gemini-3.8-live", "the keys open the app", "against the services"):
        assert words in printed
    assert KEY not in printed


async def test_a_call_is_measured() -> None:
    from getstream.plugins.gemini._cli.checks.speed import check_speed

    result = await check_speed(4.0)
    # Whether a busy machine is fast enough is not for a test to say; what it says has figures.
    assert set(FAST) | {"calls_per_core"} == set(result.numbers), result
    assert result.numbers["seconds"] >= 4.0
    assert result.numbers["frames_sent"] > 0
    assert result.numbers["cpu_percent"] > 0


def test_without_the_local_servers_the_speed_is_not_checked(tmp_path: Path) -> None:
    hide = tmp_path / "trustme.py"
    hide.write_text("raise ModuleNotFoundError('no trustme', name='trustme')\n")
    done = run("--json", **DEAD, PYTHONPATH=str(tmp_path))
    speed = json.loads(done.stdout)["checks"][-1]
    assert (speed["name"], speed["state"]) == ("speed", "not checked")
    assert "[testing]" in speed["advice"]
