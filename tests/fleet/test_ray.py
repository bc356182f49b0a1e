"""Fleets on Ray: real processes, the real SDKs, the local servers; processes are killed.

The tests of the first part share one cluster, which has one fleet and a gate; the second part
starts Ray on this machine, as `serve --workers` does without a cluster.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
import pytest_asyncio
from getstream.plugins.gemini.testing import LiveSession, LocalServers

pytest.importorskip("ray", reason="the extra `ray` is not installed: fleets on Ray are NOT tested")
import psutil

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes end as on Linux"),
    pytest.mark.timeout(150),
]

T = TypeVar("T")
TOKEN = "a-token"
SUPPORT = Path(__file__).parents[1] / "support"
START_S = 90.0
"""Seconds for Ray and a fleet to start: 8, and several times that on a machine that is busy."""

GONE_S = 15.0
"""Seconds in which every process of a fleet has to be gone."""


class Program:
    """A program that logs to stderr, and is waited for by what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        assert process.stdout is not None
        assert process.stderr is not None
        self._reading = [
            asyncio.create_task(self._read(process.stdout, self.out)),
            asyncio.create_task(self._read(process.stderr, self.err)),
        ]

    @classmethod
    async def start(cls, *command: str, env: dict[str, str]) -> Program:
        return cls(
            await asyncio.create_subprocess_exec(
                *command,
                env=env,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        )

    async def until_line(self, part: str, timeout_s: float = START_S) -> str:
        def found() -> str:
            line = next((line for line in self.out + self.err if part in line), "")
            assert line or self.process.returncode is None, "\n".join(self.out + self.err)
            return line

        return await until(found, part, timeout_s, lambda: "\n".join(self.out + self.err))

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
        await self.ended()

    async def ended(self, timeout_s: float = 60) -> int:
        code = await asyncio.wait_for(self.process.wait(), timeout_s)
        await asyncio.wait(self._reading, timeout=5)
        return code

    async def _read(self, stream: asyncio.StreamReader, lines: list[str]) -> None:
        while line := await stream.readline():
            lines.append(line.decode(errors="replace").rstrip())


async def until(
    condition: Callable[[], T | Awaitable[T]],
    what: str,
    timeout_s: float = 40,
    tell: Callable[[], str] = str,
) -> T:
    """Wait until a condition is true, and return its value."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value  # type: ignore[return-value]
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:.0f} s\n{tell()[-6000:]}")
        await asyncio.sleep(0.05)


class Stage:
    """The local servers, a gate, and what the test asks it."""

    def __init__(self, servers: LocalServers, http: aiohttp.ClientSession, tmp: str) -> None:
        self.servers = servers
        self.tmp = tmp
        self.gate: Program | None = None
        self.cluster: dict[str, str] = {}  # variables that lead to it
        self.url = ""
        self._http = http

    def environment(self, **extra: str) -> dict[str, str]:
        env = self.servers.environment(
            FLEET_TOKEN=TOKEN, RAY_TMPDIR=self.tmp, PYTHONUNBUFFERED="1", **extra
        )
        env["PYTHONPATH"] = os.pathsep.join([str(SUPPORT), env.get("PYTHONPATH", "")])
        return env

    async def serve(self, *options: str, **extra: str) -> Program:
        self.gate = await Program.start(
            sys.executable, "-m", "getstream.plugins.gemini", "serve", "ray_fleet_app:assistant",
            "--port", "0", "--call-cpu", "0.05", *options, env=self.environment(**extra),
        )  # fmt: skip
        line = await self.gate.until_line("Serving on ")
        self.url = line.rpartition(" ")[2]
        return self.gate

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with self._http.request(
            method, self.url + path, headers=headers, **options
        ) as answer:
            return answer.status, await answer.json()

    async def status(self) -> Any:
        code, status = await self.ask("GET", "/calls")
        return status if code == 200 else None

    async def webhook(self, call_id: str) -> tuple[int, Any]:
        body = json.dumps(joined(call_id)).encode()
        key = self.servers.stream.api_secret.encode()
        signature = hmac.new(key, body, hashlib.sha256).hexdigest()
        async with self._http.post(
            f"{self.url}/stream", data=body, headers={"X-Signature": signature}
        ) as answer:
            return answer.status, await answer.json()

    async def workers(self, count: int) -> dict[str, Any]:
        """Wait until so many workers take calls."""

        async def ready() -> dict[str, Any] | None:
            status = await self.status()
            workers = status["workers"] if status else {}
            accepting = {n: w for n, w in workers.items() if w["accepting"] and w["report"]}
            return accepting if len(accepting) >= count else None

        found = await until(ready, f"{count} workers", START_S, self.log)
        assert found is not None
        return found

    async def holder(self, call_id: str) -> tuple[str, Any]:
        """Wait until a worker reports the call; return its name and what it reports."""

        async def find() -> tuple[str, Any] | None:
            status = await self.status()
            for name, worker in (status["workers"] if status else {}).items():
                if worker["report"] and f"default:{call_id}" in worker["report"]["calls"]:
                    return name, worker["report"]
            return None

        found = await until(find, f"a worker of {call_id}", tell=self.log)
        assert found is not None
        return found

    async def begin(self, call_id: str) -> LiveSession:
        """Have an assistant in a call, and wait until what resumes it is stored."""
        code, answer = await self.webhook(call_id)
        assert (code, answer["state"]) == (201, "started"), answer
        (session,) = await until(lambda: self.sessions(call_id), "a session", tell=self.log)
        await session.wait_turns(1, 30)
        await self.stored(call_id)
        return session

    async def stored(self, call_id: str) -> None:
        """Wait until the control has stored what resumes a call."""

        def found() -> bool:
            assert self.gate is not None
            lines = iter(self.gate.err)
            return any(
                f"default:{call_id} has told what resumes it" in line for line in lines
            ) and (any(f"The record of default:{call_id} is stored" in line for line in lines))

        await until(found, f"the record of {call_id}", 30, self.log)

    async def resumed(self, call_id: str, after: LiveSession, timeout_s: float) -> LiveSession:
        """Wait until a session has resumed another one, and publishes."""

        def find() -> LiveSession | None:
            later = [s for s in self.sessions(call_id) if s.index > after.index]
            return next((s for s in later if s.state == "ready"), None)

        session = await until(find, f"a session after {after}", timeout_s, self.log)
        assert session is not None
        return session

    def sessions(self, call_id: str) -> list[LiveSession]:
        """The sessions with the model for a call: its assistant's instructions name it."""
        mark = f"<default:{call_id}>"
        return [s for s in self.servers.gemini.sessions if mark in json.dumps(s.setup)]

    def connected(self, call_id: str) -> list[str]:
        """The assistant's sessions in the call that are connected."""
        return [
            participant.session_id
            for call in self.servers.stream.state().calls
            if call.call_id == call_id
            for participant in call.participants
            if participant.user_id == "assistant" and participant.connected
        ]

    def log(self) -> str:
        return "" if self.gate is None else "\n".join(self.gate.out + self.gate.err)


def joined(call_id: str) -> dict[str, Any]:
    """The webhook of a person who has joined a call, as far as it is read."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {
        "type": "call.session_participant_joined",
        "created_at": now,
        "call_cid": f"default:{call_id}",
        "session_id": f"session-of-{call_id}",
        "participant": {"user": {"id": "person"}, "user_session_id": "1", "joined_at": now},
    }


def tree(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def alive(processes: list[psutil.Process]) -> list[str]:
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {process.name()}")
        except psutil.NoSuchProcess:
            pass
    return found


@asynccontextmanager
async def a_stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        # Sockets in there have paths of 107 characters at most.
        tmp = stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet", dir="/tmp"))
        servers = await stack.enter_async_context(LocalServers())
        http = await stack.enter_async_context(aiohttp.ClientSession())
        stage = Stage(servers, http, tmp)
        try:
            yield stage
        finally:
            if stage.gate is not None:
                await stage.gate.stop()


# -- on a cluster ----------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet() -> AsyncIterator[Stage]:
    """A cluster of one machine, and a fleet with two workers."""
    async with a_stage() as stage:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        head = await Program.start(
            str(Path(sys.executable).with_name("ray")), "start", "--head", "--block",
            "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=4",
            "--dashboard-agent-listen-port=0",
            "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={stage.tmp}",
            "--object-store-memory=80000000",
            env=stage.environment(RAY_AUTH_MODE="disabled"),
        )  # fmt: skip
        try:
            await head.until_line("Ray runtime started")
            stage.cluster = {"RAY_ADDRESS": f"127.0.0.1:{port}", "RAY_AUTH_MODE": "disabled"}
            await stage.serve("--workers", "2", "--max-workers", "3", "--verbose", **stage.cluster)
            await stage.workers(2)
            yield stage
        finally:
            if stage.gate is not None:  # it would wait for the head
                await stage.gate.stop()
            processes = tree(head.process.pid)
            for process in processes:  # SIGTERM takes half a minute
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            await head.ended()
    await until(lambda: not alive(processes), "the end of the cluster", GONE_S)


async def test_a_webhook_that_comes_fifty_times_at_once_brings_one_assistant(fleet: Stage) -> None:
    answers = await asyncio.gather(*(fleet.webhook("often") for _ in range(50)))
    assert {code for code, _ in answers} == {200, 201}
    assert [answer["state"] for _, answer in answers].count("started") == 1
    await fleet.holder("often")
    await until(lambda: fleet.connected("often"), "an assistant in the call")
    assert len(fleet.sessions("often")) == 1
    assert len(fleet.connected("often")) == 1
    code, _ = await fleet.ask("DELETE", "/calls/default:often")
    assert code == 200
    await until(lambda: not fleet.connected("often"), "the end of the call")


async def test_a_worker_that_is_killed(fleet: Stage) -> None:
    session = await fleet.begin("killed")
    name, report = await fleet.holder("killed")
    os.kill(report["pid"], signal.SIGKILL)
    after = await fleet.resumed("killed", session, 20)
    assert str(after.resumed_from).startswith(f"handle-{session.index}-")
    assert (await fleet.holder("killed"))[0] != name
    await fleet.workers(2)


async def test_a_worker_that_hangs(fleet: Stage) -> None:
    session = await fleet.begin("hung")
    _, report = await fleet.holder("hung")
    process = psutil.Process(report["pid"])
    process.suspend()
    after = await fleet.resumed("hung", session, 30)
    # The service would not let anybody resume while the old connection is open.
    assert alive([process]) == []
    assert str(after.resumed_from).startswith(f"handle-{session.index}-")
    await fleet.workers(2)


async def test_a_control_that_is_killed_moves_no_call(fleet: Stage) -> None:
    session = await fleet.begin("uncontrolled")
    before = await fleet.status()
    name, report = await fleet.holder("uncontrolled")
    os.kill(before["control_pid"], signal.SIGKILL)

    async def restarted() -> bool:
        status = await fleet.status()
        return bool(status) and status["control_pid"] != before["control_pid"]

    await until(restarted, "another control", tell=fleet.log)
    await fleet.workers(2)
    holder, again = await fleet.holder("uncontrolled")
    assert (holder, again["pid"], again["calls"]) == (name, report["pid"], report["calls"])
    assert fleet.sessions("uncontrolled") == [session]
    code, answer = await fleet.webhook("uncontrolled")
    assert (code, answer["state"]) == (200, "running")


async def test_a_control_and_a_worker_that_are_killed(fleet: Stage) -> None:
    session = await fleet.begin("both")
    _, report = await fleet.holder("both")
    os.kill((await fleet.status())["control_pid"], signal.SIGKILL)
    os.kill(report["pid"], signal.SIGKILL)
    after = await fleet.resumed("both", session, 30)
    assert str(after.resumed_from).startswith(f"handle-{session.index}-")
    await fleet.workers(2)


async def test_a_gate_that_ends_leaves_the_calls(fleet: Stage) -> None:
    session = await fleet.begin("left")
    assert fleet.gate is not None
    first = fleet.gate
    held = fleet.connected("left")
    processes = tree(first.process.pid)
    first.process.terminate()
    assert await first.ended() == 0
    await until(lambda: not alive(processes), "the end of the gate's processes", GONE_S)
    assert fleet.connected("left") == held
    await fleet.serve("--workers", "2", "--max-workers", "3", "--verbose", **fleet.cluster)
    code, answer = await fleet.webhook("left")
    assert (code, answer["state"]) == (200, "running")
    assert fleet.connected("left") == held
    assert fleet.sessions("left") == [session]


async def test_drain_moves_every_call(fleet: Stage) -> None:
    session = fleet.sessions("left")[0]
    before = await fleet.workers(2)
    drain = await Program.start(
        sys.executable, "-m", "getstream.plugins.gemini", "drain", "--wait", "60",
        env=fleet.environment(**fleet.cluster),
    )  # fmt: skip
    assert await drain.ended(90) == 0, drain.out + drain.err
    assert not set(await fleet.workers(2)) & set(before)
    after = await fleet.resumed("left", session, 10)
    assert str(after.resumed_from).startswith(f"handle-{session.index}-")


# -- on this machine -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_nothing_outlives_serve(how: signal.Signals) -> None:
    """`serve` has a worker with a call, and, if it is killed, one that is stopped as well."""
    async with a_stage() as stage:
        gate = await stage.serve("--workers", "1", "--verbose")
        worker = next(iter((await stage.workers(1)).values()))
        await stage.begin("a-call")
        assert gate.out == [f"Serving on {stage.url}"]
        processes = tree(gate.process.pid)
        names = " ".join(process.name() for process in processes)
        assert "gcs_server" in names
        assert "raylet" in names
        assert worker["report"]["pid"] in [process.pid for process in processes]
        if how is signal.SIGKILL:
            psutil.Process(worker["report"]["pid"]).suspend()
        gate.process.send_signal(how)
        code = await gate.ended()
        assert code == (0 if how is signal.SIGTERM else -how), stage.log()
        await until(
            lambda: not alive(processes), "the end", GONE_S, lambda: "\n".join(alive(processes))
        )
        secret = stage.servers.stream.api_secret
        assert secret not in stage.log()
        assert "api_key=" not in stage.log()
