"""Run parts of a benchmark as processes: commands and reports are lines of JSON.

Commands come on stdin, reports go to stdout. All times are `time.monotonic()`, which on Linux is
one clock for all processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

BENCHES = Path(__file__).parent

LONGEST_LINE = 64 << 20
"""Greatest length of a line in bytes: the arrival times of all frames of a run are one report."""

# -- in the program --------------------------------------------------------------------------------


def report(event: str, **details: Any) -> None:
    """Send a report with its time to the process that started this one."""
    print(json.dumps({"event": event, "t": time.monotonic(), **details}), flush=True)


async def commands() -> AsyncIterator[dict[str, Any]]:
    """Yield the commands as they come, until stdin is closed."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


# -- where it is started ---------------------------------------------------------------------------


def with_benches(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which the modules of this folder can be imported.

    Args:
        env: The environment to start from; that of this process by default. The folders of its
            PYTHONPATH stay first, because the redirect of the local servers must be first.
    """
    found = dict(os.environ if env is None else env)
    paths = [path for path in (found.get("PYTHONPATH"), str(BENCHES)) if path]
    found["PYTHONPATH"] = os.pathsep.join(paths)
    return found


async def start_module(
    module: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    python: Path | None = None,
) -> asyncio.subprocess.Process:
    """Start a module of this folder, such as `session_cost.paced`, as a process.

    Args:
        module: Name of the module, dotted, from this folder on.
        arguments: Its command line.
        env: Its environment; that of this process by default.
        python: Its interpreter; that of this process by default.
    """
    return await asyncio.create_subprocess_exec(
        *(str(python or sys.executable), "-m", module, *arguments),
        env=with_benches(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        limit=LONGEST_LINE,
    )


class Program:
    """Module of this folder that runs as a process.

    async with Program("session_cost.paced", "ours", env=...) as program:
        found = await program.ask("measured", do="measure", seconds=5)
    """

    def __init__(self, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self._module, self._arguments, self._env = module, arguments, env
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Program:
        self._process = await start_module(self._module, *self._arguments, env=self._env)
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
            if exc is None:
                await asyncio.wait_for(process.wait(), 30)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def tell(self, **command: Any) -> None:
        """Send a command to the program."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")

    def tell_end(self) -> None:
        """Close the program's stdin: no more commands follow."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def wait_report(self, *events: str, timeout: float = 60.0) -> dict[str, Any]:
        """Wait for the next report of one of these events; ignore others before it.

        Raises:
            RuntimeError: The program has ended without it.
            asyncio.TimeoutError: It did not come within `timeout` seconds.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        while True:
            line = await asyncio.wait_for(self._process.stdout.readline(), timeout)
            if not line:
                name = " ".join([self._module, *self._arguments])
                raise RuntimeError(f"{name} has ended without the report {events}")
            found: dict[str, Any] = json.loads(line)
            if found["event"] in events:
                return found

    async def ask(self, event: str, timeout: float = 60.0, **command: Any) -> dict[str, Any]:
        """Send a command, and wait for its report."""
        self.tell(**command)
        return await self.wait_report(event, timeout=timeout)
