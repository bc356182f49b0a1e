"""Programs in processes of their own: commands and reports are lines of JSON.

Commands come on stdin, reports go to stdout. All times are `time.monotonic()`, which on Linux is
one clock for all processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

BENCHES = Path(__file__).parent.parent
LONGEST_LINE = 64 << 20

# -- in the program --------------------------------------------------------------------------------


def report(event: str, **details: Any) -> None:
    print(json.dumps({"event": event, **details}), flush=True)


async def commands() -> AsyncIterator[dict[str, Any]]:
    """The commands as they come, until stdin is closed."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


# -- where it is started ---------------------------------------------------------------------------


class Program:
    """A module of this folder that runs as a process.

    async with Program("paced", "ours", env=...) as program:
        found = await program.ask("measured", do="measure", seconds=5)
    """

    def __init__(self, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self._name = " ".join([module, *arguments])
        self._command = (sys.executable, "-m", f"session_cost.{module}", *arguments)
        self._env = dict(os.environ if env is None else env)
        # What redirects the SDKs comes first.
        paths = [path for path in (self._env.get("PYTHONPATH"), str(BENCHES)) if path]
        self._env["PYTHONPATH"] = os.pathsep.join(paths)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Program:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=LONGEST_LINE,
        )
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
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")

    def tell_end(self) -> None:
        """No more commands."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def wait_report(self, *events: str, timeout: float = 60.0) -> dict[str, Any]:
        """The next report of one of these events; others before it are passed over."""
        assert self._process is not None
        assert self._process.stdout is not None
        while True:
            line = await asyncio.wait_for(self._process.stdout.readline(), timeout)
            if not line:
                raise RuntimeError(f"{self._name} has ended without the report {events}")
            found: dict[str, Any] = json.loads(line)
            if found["event"] in events:
                return found

    async def ask(self, event: str, timeout: float = 60.0, **command: Any) -> dict[str, Any]:
        """Give a command, and wait for its report."""
        self.tell(**command)
        return await self.wait_report(event, timeout=timeout)
