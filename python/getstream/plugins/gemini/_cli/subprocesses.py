"""Run a program of the demo in its own process, which reports as JSON lines on its stdout."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from .._terminal import printable_lines

__all__ = ["Program"]

Event = dict[str, Any]

_KEPT_LINES = 40
_LONGEST_LINE = 1 << 20


class Program:
    """Module of this package that runs as `python -m MODULE ARGUMENTS`.

        async with Program("assistant", module, arguments, env, on_event) as program:
            await program.wait()

    Leaving the block kills it if it still runs; no process survives.

    Attributes:
        name: Name in messages.
        events: Reports until now.
        stderr: Last lines of its stderr.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        on_event: Callable[[Event], None],
        *,
        echo: bool = False,
    ) -> None:
        """Prepare it; it starts inside `async with`.

        Args:
            name: Name in messages.
            module: Module that `python -m` runs.
            arguments: Command line.
            environment: All environment variables.
            on_event: Called with each report.
            echo: True to show its stderr while it runs.
        """
        self.name = name
        self.events: list[Event] = []
        self.stderr: deque[str] = deque(maxlen=_KEPT_LINES)
        self._command = (sys.executable, "-m", module, *arguments)
        self._environment = dict(environment)
        self._on_event = on_event
        self._echo = echo
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()

    async def __aenter__(self) -> Program:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            limit=_LONGEST_LINE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._readers = [
            asyncio.create_task(self._read_events(process.stdout)),
            asyncio.create_task(self._read_errors(process.stderr)),
        ]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        process = self._process
        assert process is not None
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        # Reap it even if this task is cancelled once more.
        await asyncio.shield(self._finish(process))

    async def _finish(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self._process is not None
        return self._process.pid

    async def wait(self) -> int:
        """Wait until it has ended and all its reports are read; return its exit code."""
        assert self._process is not None
        await asyncio.wait(self._readers)  # which, unlike gather, does not cancel them with itself
        for reader in self._readers:
            reader.result()
        return await self._process.wait()

    async def wait_event(self, *names: str) -> Event | None:
        """Wait for the first report with one of these names; None if it ends without one."""
        while True:
            self._news.clear()
            for event in self.events:
                if event.get("event") in names:
                    return event
            if self._readers[0].done():
                return None
            await self._news.wait()

    async def interrupt(self, patience: float) -> int:
        """Ask it to end, as Ctrl-C does; kill it if it has not ended after `patience` seconds."""
        process = self._process
        assert process is not None
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                if os.name == "posix":
                    process.send_signal(signal.SIGINT)
                else:  # Windows has no gentle way
                    process.terminate()
        try:
            return await asyncio.wait_for(self.wait(), patience)
        except asyncio.TimeoutError:
            process.kill()
            return await process.wait()

    def tail(self, lines: int = 12) -> str:
        """Return the last lines of its stderr, indented; empty if there were none."""
        return "\n".join(f"    {line}" for line in list(self.stderr)[-lines:])

    async def _read_events(self, stream: asyncio.StreamReader) -> None:
        try:
            async for line in stream:
                try:
                    event = json.loads(line)
                except ValueError:
                    self._note(f"(on stdout) {line.decode(errors='replace').rstrip()}")
                    continue
                if isinstance(event, dict):
                    self.events.append(event)
                    self._on_event(event)
                    self._news.set()
        finally:
            self._news.set()

    async def _read_errors(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            self._note(line.decode(errors="replace").rstrip())

    def _note(self, line: str) -> None:
        line = printable_lines(line)
        self.stderr.append(line)
        if self._echo:
            print(f"[{self.name}] {line}", file=sys.stderr, flush=True)
