"""Run `serve` as a user does, against local servers, and talk to it as Stream does."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from getstream.plugins.gemini.testing import LocalServers

TOKEN = "token-of-the-fleet"
WAIT_S = 30.0
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def joined(call_id: str, user_id: str = "anna", session_id: str = "session-1") -> dict[str, Any]:
    """Return the event of somebody who has joined a call."""
    return {
        "type": "call.session_participant_joined",
        "created_at": time.time(),
        "call_cid": f"default:{call_id}",
        "session_id": session_id,
        "participant": {"user": {"id": user_id}, "user_session_id": "1", "role": "user"},
    }


def ended(call_id: str, session_id: str = "session-1") -> dict[str, Any]:
    """Return the event of the end of a session."""
    return {
        "type": "call.session_ended",
        "created_at": time.time(),
        "call_cid": f"default:{call_id}",
        "session_id": session_id,
    }


@dataclass
class ServedFleet:
    """A `serve` that runs, and what it has printed."""

    servers: LocalServers
    process: asyncio.subprocess.Process
    url: str = ""
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    http: aiohttp.ClientSession | None = None
    reading: list[asyncio.Task[None]] = field(default_factory=list)

    async def webhook(self, event: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Send an event as Stream does, signed."""
        body = json.dumps(event).encode()
        secret = self.servers.stream.api_secret.encode()
        signature = hmac.new(secret, body, hashlib.sha256).hexdigest()
        return await self._ask("POST", "/stream", data=body, headers={"X-Signature": signature})

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Ask as the application does."""
        return await self._ask("GET", path, headers=BEARER)

    async def delete(self, path: str) -> tuple[int, dict[str, Any]]:
        """Delete as the application does."""
        return await self._ask("DELETE", path, headers=BEARER)

    async def post(self, path: str, **values: Any) -> tuple[int, dict[str, Any]]:
        """Ask as the application does."""
        return await self._ask("POST", path, headers=BEARER, json=values)

    async def until_status(self, condition: Any, what: str) -> dict[str, Any]:
        """Wait until the status is as wanted, and return it."""
        deadline = time.monotonic() + WAIT_S
        while True:
            _, status = await self.get("/calls")
            if condition(status):
                return status
            assert time.monotonic() < deadline, f"{what} did not come: {status}"
            await asyncio.sleep(0.05)

    async def until_line(self, text: str) -> str:
        """Wait until a line with a text was printed or logged."""
        deadline = time.monotonic() + WAIT_S
        while True:
            found = [line for line in (*self.out, *self.err) if text in line]
            if found:
                return found[0]
            assert time.monotonic() < deadline, f"no line with {text!r}"
            await asyncio.sleep(0.02)

    @property
    def starts(self) -> list[dict[str, Any]]:
        """Return what the assistants have printed: which call, and why."""
        return [json.loads(line) for line in self.out if line.startswith("{")]

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        code = await asyncio.wait_for(self.process.wait(), WAIT_S)
        await asyncio.gather(*self.reading)
        return code

    async def _ask(self, method: str, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
        assert self.http is not None
        async with self.http.request(method, self.url + path, **options) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else {"text": text}


@asynccontextmanager
async def serving(
    servers: LocalServers, name: str, *options: str, cwd: Path, **variables: str
) -> AsyncIterator[ServedFleet]:
    """Run `serve` with an assistant of `fleet_program`, until the end of the block."""
    support = str(Path(__file__).parent)
    env = servers.environment(PYTHONUNBUFFERED=1, FLEET_TOKEN=TOKEN, **variables)
    env["PYTHONPATH"] = f"{support}:{env.get('PYTHONPATH', '')}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "getstream.plugins.gemini", "serve", name, "--port", "0"),
        *options,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    fleet = ServedFleet(servers, process)

    async def read(stream: asyncio.StreamReader | None, lines: list[str]) -> None:
        assert stream is not None
        while line := await stream.readline():
            lines.append(line.decode().rstrip())

    fleet.reading = [
        asyncio.ensure_future(read(process.stdout, fleet.out)),
        asyncio.ensure_future(read(process.stderr, fleet.err)),
    ]
    try:
        line = await fleet.until_line("Serving on http://")
        fleet.url = line.removeprefix("Serving on ")
        async with aiohttp.ClientSession() as fleet.http:
            yield fleet
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await asyncio.gather(*fleet.reading)
        print("\n".join([*fleet.out, *fleet.err]))
