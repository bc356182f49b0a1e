"""Run the bot under test: a program in its own process, or a coroutine function in this one."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import inspect
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakSet

from ..._terminal import format_exception, printable_lines
from ...errors import ConfigError
from .._redirect.getstream_local_lifeline import VARIABLE as LIFELINE
from .errors import BotExitedError

__all__ = ["Bot", "BotFunction", "CallableBot", "ProgramBot", "check_bot"]

BotFunction = Callable[[str], Awaitable[object]]
"""A bot in this process: called with the id of the call."""

_KEPT_LINES = 200
_LONGEST_LINE = 1 << 20
_SHOWN_LINES = 20
"""Lines of stderr in a message; a traceback of a typical bot has fewer."""
_INTERRUPT_S = 8.0
"""Seconds from SIGINT, or the cancellation of a callable, to the end by force. Leaving a call and
closing the SDKs takes about one."""
_PIPES_S = 2.0
"""Seconds for what is left in the pipes of a program that has ended, if its children hold them."""


class Bot(Protocol):
    """The bot of one call."""

    @property
    def ended(self) -> bool:
        """Return whether it has ended."""

    @property
    def failed(self) -> bool:
        """Return whether it has ended by itself with an exception or a nonzero exit code."""

    @property
    def code(self) -> int | None:
        """Return the exit code of a program; 0 or 1 for a callable; None while it runs."""

    @property
    def stderr(self) -> str:
        """Return the last lines of its stderr, or the traceback of its exception."""

    async def start(self) -> None:
        """Start it."""

    async def wait(self) -> None:
        """Wait until it has ended, by itself or not."""

    async def stop(self) -> None:
        """End it, by force if it does not end in time."""

    def kill(self) -> None:
        """End it by force, at once; also without an event loop."""

    def exited_error(self, when: str) -> BotExitedError:
        """Return the error that says how it ended, and when."""


def check_bot(bot: object) -> Path | BotFunction:
    """Return a bot as the path of an existing file, or as a function.

    Raises:
        ConfigError: It is neither; the message says what to write instead.
    """
    if inspect.iscoroutine(bot):
        name = bot.__qualname__
        bot.close()
        raise ConfigError(f"the bot is a coroutine: pass the function, {name}, and not its result")
    if callable(getattr(bot, "reply", None)):
        name = bot.__name__ if isinstance(bot, type) else type(bot).__name__
        raise ConfigError(
            f"{name} decides what the model says, and is no bot: LocalCall(bot, reply={name}(...))"
        )
    if isinstance(bot, (str, os.PathLike)):
        path = Path(bot)
        if not path.is_file():
            raise ConfigError(f"there is no file {path} (the current folder is {Path.cwd()})")
        return path
    if callable(bot):
        if not _is_async(bot):
            raise ConfigError(
                f"the bot {_name(bot)} is no coroutine function: write `async def bot(call_id)`, "
                "or pass the path of a program"
            )
        return bot
    raise ConfigError(
        f"the bot is a {type(bot).__name__}; it is the path of a program, or an async function "
        "that takes the id of the call"
    )


def _is_async(function: object) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 (an object with an async __call__)
    )


def _name(function: object) -> str:
    return str(getattr(function, "__qualname__", repr(function)))


_running: WeakSet[ProgramBot] = WeakSet()


def _kill_all() -> None:
    for bot in list(_running):
        bot.kill()


class ProgramBot:
    """A Python program that runs in a process of its own.

    It leads a process group, so that its children end with it. It is killed when this interpreter
    ends, however that happens: at exit, or, if this process is killed itself, because the program
    watches a pipe of it (see `_redirect`; not on Windows).
    """

    def __init__(
        self, path: Path, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        """Prepare it.

        Args:
            path: The program.
            arguments: Its command line.
            environment: All its environment variables.
        """
        self._path = path
        self._command = (sys.executable, str(path), *arguments)
        self._environment = dict(environment)
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._output: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._lifeline: int | None = None
        self._stopping = False

    @property
    def ended(self) -> bool:
        """Return whether the process has ended."""
        return self.code is not None

    @property
    def failed(self) -> bool:
        """Return whether it has ended by itself with a nonzero exit code."""
        return self.code not in (None, 0) and not self._stopping

    @property
    def code(self) -> int | None:
        """Return its exit code, negative for a signal; None while it runs."""
        return None if self._process is None else self._process.returncode

    @property
    def pid(self) -> int | None:
        """Return its process id; None before it was started."""
        return None if self._process is None else self._process.pid

    @property
    def stderr(self) -> str:
        """Return the last lines of its stderr."""
        return "\n".join(self._lines)

    @property
    def stdout(self) -> str:
        """Return the last lines of its stdout."""
        return "\n".join(self._output)

    async def start(self) -> None:
        """Start the process."""
        options: dict[str, Any] = {}
        environment = {"PYTHONUNBUFFERED": "1", **self._environment}
        theirs: int | None = None
        if os.name == "posix":
            theirs, self._lifeline = os.pipe()
            options = {"start_new_session": True, "pass_fds": (theirs,)}
            environment[LIFELINE] = str(theirs)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                limit=_LONGEST_LINE,
                **options,
            )
        except BaseException:
            self._cut_lifeline()
            raise
        finally:
            if theirs is not None:
                os.close(theirs)
        if not _running:
            atexit.unregister(_kill_all)
            atexit.register(_kill_all)
        _running.add(self)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            asyncio.create_task(_read(self._process.stdout, self._output)),
            asyncio.create_task(_read(self._process.stderr, self._lines)),
        ]

    async def wait(self) -> None:
        """Wait until it has ended and its output is read."""
        assert self._process is not None
        await self._process.wait()
        if self._readers:
            await asyncio.wait(self._readers, timeout=_PIPES_S)

    async def stop(self) -> None:
        """Interrupt it as Ctrl-C does; kill it, and its children, if it does not end in time."""
        process = self._process
        if process is None:
            return
        self._stopping = process.returncode is None or self._stopping
        try:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    if os.name == "posix":
                        process.send_signal(signal.SIGINT)
                    else:  # Windows has no gentle way
                        process.terminate()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(process.wait(), _INTERRUPT_S)
        finally:
            self.kill()
            # Reap it even if this task is cancelled once more.
            await asyncio.shield(self._finish(process))

    async def _finish(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        await asyncio.wait(self._readers, timeout=_PIPES_S)
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def kill(self) -> None:
        """Kill the process and what is left of its group, at once; also without an event loop."""
        process = self._process
        if process is None or self not in _running:
            return
        _running.discard(self)
        self._stopping = process.returncode is None or self._stopping
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)  # the group lives as long as a member
            elif process.returncode is None:
                process.kill()
        self._cut_lifeline()

    def exited_error(self, when: str) -> BotExitedError:
        """Return the error that says how it ended, with its stderr."""
        end = f"exit code {self.code}"
        if self.code is not None and self.code < 0:
            with contextlib.suppress(ValueError):
                end = signal.Signals(-self.code).name
        tail = list(self._lines)[-_SHOWN_LINES:]
        shown = "\n".join(f"    {line}" for line in tail) or "    (nothing)"
        message = f"{self._path.name} ended with {end} {when}; its stderr:\n{shown}"
        return BotExitedError(message, code=self.code, stderr=self.stderr)

    def _cut_lifeline(self) -> None:
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            os.close(lifeline)


class CallableBot:
    """A coroutine function that runs as a task of this event loop."""

    def __init__(self, function: BotFunction, call_id: str) -> None:
        """Prepare it.

        Args:
            function: The bot.
            call_id: Its argument.
        """
        self._function = function
        self._call_id = call_id
        self._task: asyncio.Task[int] | None = None
        self._stopping = False

    @property
    def ended(self) -> bool:
        """Return whether the function has returned or raised."""
        return self._task is not None and self._task.done()

    @property
    def failed(self) -> bool:
        """Return whether it has raised by itself, or exited with a nonzero code."""
        return self.ended and self.code != 0 and not self._stopping

    @property
    def code(self) -> int | None:
        """Return 0 after it returned, 1 after it raised, or the code of its `sys.exit`."""
        if self._task is None or not self._task.done():
            return None
        if self._task.cancelled() or self._task.exception() is not None:
            return 1
        return self._task.result()

    @property
    def stderr(self) -> str:
        """Return the traceback of its exception; empty if there is none."""
        error = self._error()
        return "" if error is None else format_exception(error).rstrip()

    async def start(self) -> None:
        """Start the task."""
        self._task = asyncio.create_task(self._run(), name=f"bot {_name(self._function)}")

    async def _run(self) -> int:
        # SystemExit in a task would end the event loop, and with it the test run.
        try:
            await self._function(self._call_id)
        except SystemExit as end:
            if end.code is not None:
                return end.code if isinstance(end.code, int) else 1
        return 0

    async def wait(self) -> None:
        """Wait until it has ended."""
        assert self._task is not None
        await asyncio.wait([self._task])

    async def stop(self) -> None:
        """Cancel it, and wait until it has ended.

        Raises:
            BotExitedError: It goes on in spite of the cancellation.
        """
        task = self._task
        if task is None or task.done():
            return
        self._stopping = True
        task.cancel()
        await asyncio.wait([task], timeout=_INTERRUPT_S)
        if not task.done():
            raise BotExitedError(
                f"the bot {_name(self._function)} was cancelled, and still runs after "
                f"{_INTERRUPT_S:g} s{_place(task)}; a coroutine must let CancelledError through"
            )

    def kill(self) -> None:
        """Do nothing: a task ends with its event loop."""

    def exited_error(self, when: str) -> BotExitedError:
        """Return the error that says how it ended; its cause is the bot's exception."""
        error = self._error()
        how = "returned" if error is None else f"raised {type(error).__name__}: {error}"
        if error is None and self.code:
            how = f"exited with code {self.code}"
        exited = BotExitedError(f"the bot {_name(self._function)} {how} {when}", code=self.code)
        exited.__cause__ = error
        return exited

    def _error(self) -> BaseException | None:
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()


def _place(task: asyncio.Task[int]) -> str:
    """Return the file and the line at which a task waits: the innermost outside of asyncio."""
    library, place = os.path.dirname(asyncio.__file__), ""
    waiting: Any = task.get_coro()
    while inspect.iscoroutine(waiting) and waiting.cr_frame is not None:
        if not waiting.cr_code.co_filename.startswith(library):
            place = f" in {waiting.cr_code.co_filename}:{waiting.cr_frame.f_lineno}"
        waiting = waiting.cr_await
    return place


async def _read(stream: asyncio.StreamReader, lines: deque[str]) -> None:
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # longer than the limit; its rest follows
            continue
        if not line:
            return
        lines.append(printable_lines(line.decode(errors="replace").rstrip()))
