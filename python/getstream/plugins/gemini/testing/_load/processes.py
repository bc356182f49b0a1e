"""Run parts of the generator as programs that take commands and report, as lines of JSON.

All times are `time.monotonic()`, which on Linux is one clock for all processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any

from ...errors import ConfigError

__all__ = ["Program", "read_commands", "send_report"]

LONGEST_LINE = 64 << 20
"""Bytes of the longest report: lists of all answers of a step."""

END_S = 10.0
"""Longest time for a program to end after its commands have ended; then it is killed."""


def send_report(event: str, **details: Any) -> None:
    """Send a report to the process that has started this one."""
    print(json.dumps({"event": event, **details}), flush=True)


async def read_commands() -> AsyncIterator[dict[str, Any]]:
    """Yield the commands as they come, until stdin is closed."""
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


class Program:
    """Module of this package that runs as a process.

        async with Program("people", environment) as program:
            found = await program.ask("window", timeout_s=30, do="window")

    Reports are waited for by their event; each is given out once, in order.
    """

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str]) -> None:
        """Prepare it; it starts inside `async with`.

        Args:
            module: Name of a module of this folder.
            arguments: Its command line.
            environment: All of its environment variables.
        """
        self.name = " ".join([module, *arguments])
        self._command = (sys.executable, "-m", f"{__package__}.{module}", *arguments)
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._reports: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self._process is not None, "it has been started"
        return self._process.pid

    async def __aenter__(self) -> Program:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=LONGEST_LINE,
            # Ctrl-C is for the command: it ends the programs in their order.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._reading = asyncio.create_task(self._read(self._process.stdout))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        try:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), END_S)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            if self._reading is not None:
                self._reading.cancel()
                await asyncio.wait([self._reading])

    async def tell(self, **command: Any) -> None:
        """Send a command."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        with contextlib.suppress(ConnectionError):  # its end is noticed by who waits for a report
            await asyncio.wait_for(self._process.stdin.drain(), END_S)

    async def wait_report(self, *events: str, timeout_s: float, **details: Any) -> dict[str, Any]:
        """Wait for the next report of one of these events with these details.

        Raises:
            ConfigError: The program has ended without it.
            TimeoutError: It did not come in time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            self._news.clear()
            for position, report in enumerate(self._reports):
                if report["event"] in events and details.items() <= report.items():
                    return self._reports.pop(position)
            assert self._reading is not None
            if self._reading.done():
                raise ConfigError(f"The program {self.name} has ended; its last words are above")
            left_s = deadline - loop.time()
            if left_s <= 0:
                raise TimeoutError(f"The program {self.name} did not answer within {timeout_s:g} s")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), left_s)

    def take_reports(self, event: str) -> list[dict[str, Any]]:
        """Return the reports of an event that nobody has waited for."""
        taken = [report for report in self._reports if report["event"] == event]
        self._reports = [report for report in self._reports if report["event"] != event]
        return taken

    async def ask(self, event: str, timeout_s: float, **command: Any) -> dict[str, Any]:
        """Send a command, and wait for the report of an event."""
        await self.tell(**command)
        return await self.wait_report(event, timeout_s=timeout_s)

    async def _read(self, stream: asyncio.StreamReader) -> None:
        try:
            while line := await stream.readline():
                self._reports.append(json.loads(line))
                self._news.set()
        finally:
            self._news.set()


def base_environment() -> dict[str, str]:
    """Return the environment of this process without keys that could lead elsewhere."""
    environment = dict(os.environ)
    environment.pop("GEMINI_API_KEY", None)  # a second key would only make the SDK warn
    return environment
