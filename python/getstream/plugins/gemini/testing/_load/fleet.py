"""Run the fleet under test as its user does, and send it the webhooks that Stream would."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import hmac
import json
import os
import re
import secrets
import shlex
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from ..._terminal import one_line
from ...errors import ConfigError
from .measure import ProcessTree

__all__ = ["FleetUnderTest", "Placing"]

START_S = 120.0
"""Longest time to start: Ray with several workers takes 16 s on a loaded machine."""

END_S = 40.0
"""Longest time to end after SIGTERM; `serve` itself gives its calls 20 s."""

KILL_S = 5.0
"""Longest time to be gone after SIGKILL."""

LOOK_S = 0.05
"""Time between two looks whether a process is gone."""

WEBHOOK_S = 30.0
"""Longest time for an answer to a webhook; the gate gives up after that, too."""

STATUS_S = 5.0
READY_S = 0.2
"""Time between two questions whether a worker takes calls."""

MARKER = "GETSTREAM_LOAD_RUN"
"""Variable in the environment of the fleet, by which its processes are found."""

_SERVING = re.compile(r"Serving on (https?://\S+)")
_LAST_LINES = 8
_CALL_TYPE = "default"


@dataclass(frozen=True)
class Placing:
    """Tells how the fleet has answered the webhook of a call.

    Attributes:
        status: HTTP status; 0 if there was no answer.
        text: The answer, on one line.
    """

    status: int
    text: str

    @property
    def taken(self) -> bool:
        """Return whether the fleet has taken the call."""
        return 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Return whether the fleet has no room."""
        return self.status == 503


class FleetUnderTest:
    """The user's program, from its start to the end of its last process.

    Attributes:
        log: File with everything that it has printed.
    """

    def __init__(self, command: str, environment: Mapping[str, str], log: Path) -> None:
        """Prepare it; it starts inside `async with`.

        Args:
            command: How it is started, as in a shell. It prints `Serving on URL`.
            environment: All of its environment, with the local servers in it.
            log: File for what it prints.

        Raises:
            ConfigError: The command cannot be read.
        """
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"--serve cannot be read as a command: {error}") from None
        if not self._command:
            raise ConfigError("--serve is empty; it is the command that starts the fleet")
        self.log = log
        self._token = secrets.token_urlsafe(16)
        self._run = secrets.token_hex(8)
        self._environment = {
            **environment,
            "FLEET_TOKEN": self._token,
            "PYTHONUNBUFFERED": "1",
            MARKER: self._run,
        }
        self._secret = environment["STREAM_API_SECRET"].encode()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._serving: asyncio.Future[str] | None = None
        self._http: aiohttp.ClientSession | None = None
        self._url = ""

    async def __aenter__(self) -> FleetUnderTest:
        self._serving = asyncio.get_running_loop().create_future()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigError(
                f"The fleet cannot be started: {self._command[0]}: {error.strerror or error}"
            ) from None
        try:
            assert self._process.stdout is not None
            self._reading = asyncio.create_task(self._read(self._process.stdout))
            try:
                self._url = (await asyncio.wait_for(self._serving, START_S)).rstrip("/")
            except asyncio.TimeoutError:
                raise ConfigError(
                    f"The fleet did not print `Serving on URL` within {START_S:g} s"
                    f"{self._last_lines()}"
                ) from None
            self._http = aiohttp.ClientSession()
            await self._wait_ready(self._http)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end()

    def processes(self) -> ProcessTree:
        """Return what measures its processes."""
        assert self._process is not None, "it has been started"
        return ProcessTree(self._process.pid, f"{MARKER}={self._run}")

    def check(self) -> None:
        """Check that it still runs.

        Raises:
            ConfigError: It has ended.
        """
        assert self._process is not None, "it has been started"
        if self._process.returncode is not None:
            raise ConfigError(
                f"The fleet has ended with {self._process.returncode}{self._last_lines()}"
            )

    async def person_joined(self, call_id: str, user_id: str) -> Placing:
        """Tell it that somebody has joined a call."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        user = {"id": user_id, "role": "user", "created_at": now, "updated_at": now, "custom": {}}
        return await self._webhook(
            {
                "type": "call.session_participant_joined",
                "created_at": now,
                "call_cid": f"{_CALL_TYPE}:{call_id}",
                "session_id": f"session-{call_id}",
                "participant": {
                    "user": user,
                    "user_session_id": f"person-{call_id}",
                    "role": "user",
                    "joined_at": now,
                },
            }
        )

    async def session_ended(self, call_id: str) -> Placing:
        """Tell it that the session of a call is over."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        return await self._webhook(
            {
                "type": "call.session_ended",
                "created_at": now,
                "call_cid": f"{_CALL_TYPE}:{call_id}",
                "session_id": f"session-{call_id}",
            }
        )

    async def loop_lag_ms(self) -> float | None:
        """Return the worst lateness of a worker's event loop; None if it does not tell."""
        assert self._http is not None, "it has been started"
        try:
            async with self._http.get(
                f"{self._url}/calls",
                headers={"Authorization": f"Bearer {self._token}"},
                timeout=aiohttp.ClientTimeout(total=STATUS_S),
            ) as answer:
                if answer.status != 200:
                    return None
                return worst_lag_ms(await answer.json())
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError):
            return None

    async def _wait_ready(self, http: aiohttp.ClientSession) -> None:
        """Wait while it says at `/readyz` that no worker takes calls: Ray starts them afterwards.

        Raises:
            ConfigError: That lasts too long.
        """
        deadline = asyncio.get_running_loop().time() + START_S
        timeout = aiohttp.ClientTimeout(total=STATUS_S)
        while asyncio.get_running_loop().time() < deadline:
            self.check()
            try:
                async with http.get(f"{self._url}/readyz", timeout=timeout) as answer:
                    if answer.status != 503:
                        return
            except asyncio.TimeoutError:
                continue
            except (aiohttp.ClientError, OSError):
                return  # the first webhook tells what is wrong
            await asyncio.sleep(READY_S)
        raise ConfigError(f"No worker of the fleet took calls within {START_S:g} s")

    async def _webhook(self, event: dict[str, Any]) -> Placing:
        assert self._http is not None, "it has been started"
        body = json.dumps(event).encode()
        signature = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        headers = {"X-Signature": signature, "Content-Type": "application/json"}
        try:
            async with self._http.post(
                f"{self._url}/stream",
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=WEBHOOK_S),
            ) as answer:
                return Placing(answer.status, one_line(await answer.text())[:300])
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            return Placing(0, one_line(f"{type(error).__name__} {error}")[:300])

    async def _read(self, stream: asyncio.StreamReader) -> None:
        assert self._serving is not None
        with self.log.open("wb") as log:
            try:
                # By blocks: a line may be longer than any limit.
                rest = b""
                while block := await stream.read(1 << 16):
                    log.write(block)
                    log.flush()
                    if not self._serving.done():
                        *lines, rest = (rest + block)[-(1 << 16) :].split(b"\n")
                        for line in lines:
                            found = _SERVING.search(line.decode(errors="replace"))
                            if found and not self._serving.done():
                                self._serving.set_result(found[1])
            finally:
                if not self._serving.done():
                    self._serving.set_exception(
                        ConfigError(f"The fleet has ended before it served{self._last_lines()}")
                    )
                    self._serving.exception()  # who waits for it gets it as well

    def _last_lines(self) -> str:
        """Return the end of its log, for a message."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        last = [one_line(line) for line in lines if line.strip()][-_LAST_LINES:]
        return f". The end of {self.log}:\n  " + "\n  ".join(last) if last else ""

    async def _end(self) -> None:
        if self._http is not None:
            await self._http.close()
        process = self._process
        if process is None:
            return
        try:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
                await self._wait_exit(process, END_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await self._wait_exit(process, KILL_S)
            await self._kill_rest()
            if self._reading is not None:
                self._reading.cancel()
                await asyncio.wait([self._reading])

    @staticmethod
    async def _wait_exit(process: asyncio.subprocess.Process, timeout_s: float) -> None:
        """Wait until it has ended; `process.wait` waits for whoever has its stdout, too."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while process.returncode is None:
            if asyncio.get_running_loop().time() >= deadline:
                return
            await asyncio.sleep(LOOK_S)

    async def _kill_rest(self) -> None:
        """Kill the processes that it has left; those of an engine may have a session of theirs."""
        tree = self.processes()
        deadline = asyncio.get_running_loop().time() + KILL_S
        while (left := tree.pids) and asyncio.get_running_loop().time() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(LOOK_S)


def worst_lag_ms(status: Any) -> float | None:
    """Return the worst `lag_ms` of the workers in the JSON of `GET /calls`; None if it has none."""
    if not isinstance(status, dict) or not isinstance(status.get("workers"), dict):
        return None
    lags = [
        float(report["lag_ms"])
        for worker in status["workers"].values()
        if isinstance(worker, dict)
        and isinstance(report := worker.get("report"), dict)
        and isinstance(report.get("lag_ms"), (int, float))
    ]
    return max(lags, default=None)
