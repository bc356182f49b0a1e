"""Hold local servers, fleets and people: everything that a trial needs, each in its own process."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
from getstream.plugins.gemini.testing import LiveSession, LocalGemini, LocalServers, LocalStream

from . import ROOT
from .assistants import instructions_of
from .presence import Presence, watch
from .processes import command, is_alive, with_variable

T = TypeVar("T")

USER = "assistant"
TOKEN = "token-of-the-trials"
MARK = "GETSTREAM_TRIAL"
"""Variable by which everything that a trial has started is found, wherever its parents are."""

START_S = 120.0
"""Longest start of a fleet: Ray takes 16 s on a machine that is busy, and is started once."""

SESSIONS_KEPT = 2000
"""Sessions that the local Gemini server keeps; twenty kills make some fifty."""

SESSION_BYTES = 24 << 20
"""Memory of one session at the local Gemini server, for each side: some minutes of audio."""

WIDE = ("--call-cpu", "0.02", "--max-cpu", "50")
"""Options with which a fleet refuses no call. Admission is not what the trials are about, and the
machine of the trials has the people and the servers to carry as well."""


class Program:
    """A program whose reports are lines of JSON on stdout; other lines are kept as text.

    Attributes:
        process: the process.
        mark: the value of `MARK` in its environment.
        reports: its reports, oldest first.
        lines: its other lines.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, name: str, mark: str, log: Path
    ) -> None:
        self.process = process
        self.name = name
        self.mark = mark
        self.reports: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self._log = log
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    def __repr__(self) -> str:
        return f"<{self.name}, process {self.process.pid}>"

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self.process.pid

    def tell(self, **order: Any) -> None:
        """Send it a command, as a line of JSON on stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")

    def found(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Return its reports of an event with these fields."""
        return [
            each
            for each in self.reports
            if each["event"] == event and all(each.get(k) == v for k, v in fields.items())
        ]

    async def wait_reports(
        self, event: str, count: int, timeout_s: float = 60.0, **fields: Any
    ) -> list[dict[str, Any]]:
        """Wait until there are so many reports of an event with these fields; returns them all.

        Raises:
            TrialError: they did not come, the program has ended, or a person's step failed.
        """
        what = f"{count} reports of {event}{fields or ''}"

        def enough() -> list[dict[str, Any]] | None:
            found = self.found(event, **fields)
            return found if len(found) >= count else None

        return await self.wait_for(enough, what, timeout_s)

    async def wait_line(self, start: str, timeout_s: float = START_S) -> str:
        """Wait for a line of text that begins so.

        Raises:
            TrialError: it did not come, or the program has ended.
        """

        def there() -> str | None:
            return next((line for line in self.lines if line.startswith(start)), None)

        return await self.wait_for(there, f"a line {start!r}", timeout_s)

    async def wait_for(self, find: Callable[[], T | None], what: str, timeout_s: float) -> T:
        """Wait until a function of its reports and lines returns something else than None.

        Raises:
            TrialError: it did not within the time, or the program has ended.
        """
        deadline = time.monotonic() + timeout_s
        async with self._news:
            while (result := find()) is None:
                left = deadline - time.monotonic()
                if left <= 0 or self._reading.done():
                    state = "timed out" if left <= 0 else "has ended"
                    raise TrialError(
                        f"{self!r} {state} before {what}; {self._describe_end()}; see {self._log}"
                    )
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._news.wait(), min(left, 1.0))
        return result

    async def end(self, grace_s: float = 20.0) -> None:
        """End it: by SIGTERM, and by SIGKILL if that does not help."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), grace_s)
            except asyncio.TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self.process.kill()
                await self.process.wait()
        # Children of a killed program may hold its stdout open.
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip()
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            async with self._news:
                if isinstance(value, dict) and "event" in value:
                    self.reports.append(value)
                elif line:
                    self.lines.append(line)
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()

    def _describe_end(self) -> str:
        failed = [report["error"] for report in self.found("failed")]
        return f"failures: {failed[-3:]}" if failed else f"its last lines: {self.lines[-3:]}"


class TrialError(Exception):
    """A trial could not be carried through."""


class Served:
    """A fleet: the program `serve`, and its HTTP interface.

    Attributes:
        program: the program.
        url: where it takes webhooks.
        folder: its files: records, Ray's session.
    """

    def __init__(
        self, program: Program, url: str, http: aiohttp.ClientSession, secret: str
    ) -> None:
        self.program = program
        self.url = url
        self._http = http
        self._secret = secret

    async def status(self) -> dict[str, Any]:
        """Return what `GET /calls` says: the fields of `FleetStatus`.

        Raises:
            TrialError: it is refused, or nobody answers.
        """
        code, answer = await self.ask("GET", "/calls")
        if code != 200:
            raise TrialError(f"GET /calls: {code} {answer}")
        found: dict[str, Any] = answer
        return found

    async def ask(self, method: str, path: str, timeout_s: float = 30.0) -> tuple[int, Any]:
        """Ask the API; returns the status and the body.

        Raises:
            TrialError: nobody answers.
        """
        headers = {"Authorization": f"Bearer {TOKEN}"}
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._http.request(
                method, self.url + path, headers=headers, timeout=timeout
            ) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            raise TrialError(f"{method} {path}: {type(error).__name__} {error}") from error

    async def webhook(self, call: str, session: str = "session-1") -> tuple[int, Any]:
        """Send the signed webhook by which Stream says that somebody has joined a call.

        Raises:
            TrialError: nobody answers.
        """
        body = json.dumps(somebody_joined(call, session)).encode()
        signature = hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"X-Signature": signature, "Content-Type": "application/json"}
        try:
            async with self._http.post(
                f"{self.url}/stream", data=body, headers=headers, timeout=WEBHOOK_TIMEOUT
            ) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            raise TrialError(f"POST /stream: {type(error).__name__} {error}") from error

    async def place(self, *calls: str) -> None:
        """Send one webhook for each call, and check that it was taken.

        Raises:
            TrialError: it was not.
        """
        for call in calls:
            code, answer = await self.webhook(call)
            if not 200 <= code < 300:
                raise TrialError(f"the webhook of {call} was answered with {code}: {answer}")

    async def end_calls(self, *calls: str) -> None:
        """End the assistants of calls."""
        for call in calls:
            await self.ask("DELETE", f"/calls/default:{call}")

    async def wait_workers(self, count: int, timeout_s: float = START_S) -> dict[str, Any]:
        """Wait until so many workers take calls and have reported; returns the status.

        Raises:
            TrialError: they do not come.
        """

        def enough(status: dict[str, Any]) -> bool:
            return len(reporting(status)) >= count

        return await self.wait_status(enough, f"{count} workers", timeout_s)

    async def wait_status(
        self, condition: Callable[[dict[str, Any]], bool], what: str, timeout_s: float
    ) -> dict[str, Any]:
        """Wait for a condition of the status; returns it.

        Raises:
            TrialError: it does not come true.
        """
        deadline = time.monotonic() + timeout_s
        status: dict[str, Any] = {}
        while time.monotonic() < deadline:
            with contextlib.suppress(TrialError):  # the control may be starting again
                status = await self.status()
                if condition(status):
                    return status
            await asyncio.sleep(0.2)
        raise TrialError(f"no {what} within {timeout_s:g} s; status: {status}")


WEBHOOK_TIMEOUT = aiohttp.ClientTimeout(total=40.0)
"""A webhook waits for room for 20 s before it is refused."""


def reporting(status: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the workers that take calls and have said how they are, by name."""
    return {
        name: worker
        for name, worker in status["workers"].items()
        if worker["accepting"] and worker["report"] is not None
    }


def holder(status: dict[str, Any], call: str) -> str | None:
    """Return the worker that holds a call; None if none does."""
    cid = f"default:{call}"
    return next((n for n, w in status["workers"].items() if cid in w["calls"]), None)


class Stage:
    """Local servers, and every program that was started beside them.

    Everything is ended with the block, also what has lost its parents.

    Args:
        out: folder for the logs of the programs.

    Attributes:
        out: the same.
        scratch: folder that is removed at the end.
        gemini: the Gemini Live server.
        stream: the Stream backend.
        servers: both.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._turns = itertools.count(1)
        self.gemini = LocalGemini(
            keep_sessions=SESSIONS_KEPT,
            record_bytes=SESSION_BYTES,
            transcribe=lambda turn: (
                f"Sentence {next(self._turns)}."
            ),  # each can be told from others
        )
        self.stream = LocalStream()
        self.servers = LocalServers(self.gemini, self.stream)
        self._stack = AsyncExitStack()
        self._http: aiohttp.ClientSession | None = None
        self._marks: list[str] = []
        # Ray's sockets are below it: their paths may have 107 characters.
        self.scratch = Path(tempfile.mkdtemp(prefix="trial-"))

    async def __aenter__(self) -> Stage:
        self.out.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            stack.callback(shutil.rmtree, self.scratch, ignore_errors=True)
            await stack.enter_async_context(self.servers)
            stack.callback(self._end_the_rest)
            self._http = await stack.enter_async_context(aiohttp.ClientSession())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @contextlib.asynccontextmanager
    async def people(self, *calls: str) -> AsyncIterator[Program]:
        """Have one person in each of these calls, all in one program; they leave at the end."""
        program = await self.start("-m", "trials.fleet.people", *calls, name="people")
        try:
            await program.wait_reports("joined", len(calls))
            yield program
        finally:
            assert program.process.stdin is not None
            program.process.stdin.close()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(program.process.wait(), 10.0)
            await program.end(1.0)

    @contextlib.asynccontextmanager
    async def fleet(
        self, workers: int = 0, *options: str, name: str = "fleet", wide: bool = True
    ) -> AsyncIterator[Served]:
        """Serve `assistants`, and wait for its workers; it is ended at the end of the block.

        Args:
            workers: workers on Ray; 0 serves in the one process.
            options: more of its command line.
            name: name of its log.
            wide: whether it takes calls whatever they cost.
        """
        served = await self.serve(workers, *options, name=name, wide=wide)
        try:
            await served.wait_workers(max(1, workers))
            yield served
        finally:
            await served.program.end()

    async def serve(
        self, workers: int = 0, *options: str, name: str = "fleet", wide: bool = True
    ) -> Served:
        """Start `serve`, and wait until it accepts webhooks; see `fleet`."""
        more = [*(WIDE if wide else ()), *options]
        if workers:
            more += ["--workers", str(workers), "--max-workers", str(workers + 2)]
        program = await self.start(
            *("-m", "getstream.plugins.gemini", "serve", "trials.fleet.assistants:assistant"),
            *("--port", "0", "--user-id", USER, *more),
            name=name,
        )
        line = await program.wait_line("Serving on ")
        assert self._http is not None
        return Served(program, line.rpartition(" ")[2], self._http, self.stream.api_secret)

    async def start(self, *arguments: str, name: str) -> Program:
        """Start a program in this interpreter; its stderr goes to a log."""
        mark = f"{os.getpid()}-{len(self._marks)}"
        self._marks.append(mark)
        log = self.out / f"{len(self._marks):02}-{name}.log"
        extra = {
            MARK: mark,
            "FLEET_TOKEN": TOKEN,
            "PYTHONUNBUFFERED": "1",
            "RAY_TMPDIR": str(self.scratch),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        environment = {**self.servers.environment(), **extra}
        environment.pop("RAY_ADDRESS", None)  # a cluster of somebody else
        paths = [environment.get("PYTHONPATH", ""), str(ROOT)]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                env=environment,
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=16 << 20,  # the sounds of a long call are one line
            )
        program = Program(process, name, mark, log)
        self._stack.push_async_callback(program.end)
        return program

    @contextlib.asynccontextmanager
    async def presence(self) -> AsyncIterator[Presence]:
        """Watch who publishes in the calls."""
        presence = Presence()
        watching = asyncio.create_task(watch(self.stream, presence, USER))
        try:
            yield presence
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            if not watching.cancelled():
                watching.result()  # a watch that has failed has seen nothing

    def assistants(self, call: str) -> list[str]:
        """Return the ids of the assistant's sessions that are in a call."""
        return [
            p.session_id
            for each in self.stream.state().calls
            if each.call_id == call
            for p in each.participants
            if p.user_id == USER
        ]

    def sessions(self, call: str) -> list[LiveSession]:
        """Return the sessions with the model that a call has had, oldest first."""
        words = json.dumps(instructions_of(call)).strip('"')
        return [
            session
            for session in self.gemini.sessions
            if words in json.dumps(session.setup.get("systemInstruction", ""))
        ]

    async def until(
        self, condition: Callable[[], bool], what: str, timeout_s: float = 30.0
    ) -> float:
        """Wait for a condition of the servers; returns when it came true.

        Raises:
            TrialError: it did not.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() >= deadline:
                raise TrialError(f"no {what} within {timeout_s:g} s; {self.stream.state()}")
            await asyncio.sleep(0.02)
        return time.monotonic()

    def left_over(self, program: Program) -> list[int]:
        """Return the running processes that a program has started, itself included."""
        return with_variable(MARK, program.mark)

    def _end_the_rest(self) -> None:
        for mark in self._marks:
            for pid in with_variable(MARK, mark):
                print(f"ended what was left over: {pid} {command(pid)}", file=sys.stderr)
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)


async def wait_gone(pids: Sequence[int], timeout_s: float) -> list[int]:
    """Wait until processes have ended; returns those that have not."""
    deadline = time.monotonic() + timeout_s
    while True:
        alive = [pid for pid in pids if is_alive(pid)]
        if not alive or time.monotonic() >= deadline:
            return alive
        await asyncio.sleep(0.05)  # they are nobody's children here: there is nothing to wait for


def somebody_joined(call: str, session: str) -> dict[str, Any]:
    """Return the webhook `call.session_participant_joined`, with the fields of Stream's own."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    user = {
        "id": "person",
        "role": "user",
        "created_at": now,
        "updated_at": now,
        "custom": {},
        "teams": [],
        "language": "",
        "banned": False,
        "online": True,
        "blocked_user_ids": [],
    }
    return {
        "type": "call.session_participant_joined",
        "created_at": now,
        "call_cid": f"default:{call}",
        "session_id": session,
        "participant": {
            "user": user,
            "user_session_id": "session-of-the-person",
            "role": "user",
            "joined_at": now,
        },
    }
