"""Run a local Gemini Live server, which repeats what it hears, in a process of its own.

In the process of the page it would cost the assistant late frames. The two talk in JSON lines:
faults go to the stdin of `_local_server`, and from its stdout comes what became of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from ..errors import ConfigError

__all__ = ["LocalService"]

PROGRAM = f"{__package__}._local_server"

START_S = 60.0
"""Longest time in which the process starts: importing the SDKs takes a second, or ten on a loaded
machine."""

REPLY_S = 5.0
"""Longest wait for the process to say what became of a fault."""

END_S = 5.0
"""Longest time in which the process ends by itself."""


class LocalService:
    """A local Gemini Live server in its own process: no key, no network, no model.

        async with LocalService() as service:
            os.environ.update(service.env)  # GeminiLive() finds it there
            assistant = GeminiLive()

    Args:
        greeting: a WAV file with what it says when it gets a text; None for a synthetic voice.
        greeting_text: the words of it.
        environment: environment of the process; None for that of this one.
    """

    def __init__(
        self,
        greeting: Path | None = None,
        greeting_text: str = "Hello, it is good to hear from you.",
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._arguments = ["--text", greeting_text]
        if greeting is not None:
            self._arguments += ["--wav", str(greeting)]
        self._environment = None if environment is None else dict(environment)
        self._env: dict[str, str] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._replies: dict[int, asyncio.Future[bool]] = {}
        self._next_id = 0

    @property
    def env(self) -> dict[str, str]:
        """Return the variables with which the SDK of a program finds the server."""
        return dict(self._env)

    @property
    def pid(self) -> int:
        """Return the id of its process."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> LocalService:
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", PROGRAM, *self._arguments),
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), START_S)
            self._env = dict(json.loads(line)["env"])
        except (asyncio.TimeoutError, ValueError, KeyError, TypeError):
            await self._end(process)
            raise ConfigError(
                f"The local Gemini server did not start (exit code {process.returncode}); what it "
                "wrote to stderr says why"
            ) from None
        except BaseException:
            await self._end(process)
            raise
        self._reader = asyncio.create_task(self._read(process.stdout))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            await asyncio.shield(self._end(self._process))

    async def inject(self, fault: str) -> bool:
        """Do a fault to the newest session; return whether there was one to do it to.

        Args:
            fault: `"drop"`, `"error"`, `"outage"`, `"go_away"` or `"stall"`.
        """
        process = self._process
        if process is None or process.stdin is None or process.returncode is not None:
            return False
        self._next_id += 1
        number = self._next_id
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        try:
            process.stdin.write(json.dumps({"id": number, "fault": fault}).encode() + b"\n")
            return await asyncio.wait_for(reply, REPLY_S)
        except (asyncio.TimeoutError, ConnectionError):
            return False
        finally:
            del self._replies[number]

    async def _read(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            message = json.loads(line)
            reply = self._replies.get(message["id"])
            if reply is not None and not reply.done():
                reply.set_result(bool(message["done"]))
        for reply in self._replies.values():
            if not reply.done():
                reply.set_result(False)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except asyncio.TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reader is not None:
            await asyncio.wait([self._reader])
