"""Hold a call on local servers in this process; every program is a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from getstream.plugins.gemini.audio import Resampler
from getstream.plugins.gemini.testing import (
    ActivityOptions,
    LiveSession,
    LocalGemini,
    LocalServers,
    Script,
    Stall,
    Turn,
)
from programs import start_module

from .hearing import Heard
from .program import Frames
from .sounds import FRAME, RATE, Int16, Sound, for_service, reply

SETTLE_S = 0.7
"""Time from the joining of both programs to the first sound, in seconds.

The SDK does not report when its media connection is up, and both sides hold back for 500 ms."""

JOIN_S = 90.0
"""Longest start of a call's programs in seconds, on a busy machine."""

WARM_UP_MS = 800
"""Length of a first reply that is not measured, in milliseconds.

The SDK's encoder distorts the first 300 ms of speech in a call (correlation 0.3 to 0.9)."""

NEVER_MS = 60_000.0

Who = Literal["ours", "earlier", "vision_agents"]
PEER: Who = "vision_agents"

PEER_PYTHON = Path(__file__).parents[2] / ".venv-vision-agents" / "bin" / "python"
"""Interpreter of the environment of the peer, which needs another version of Stream's SDK."""

Bystander = Literal["sending", "dtx"]
Impair = Callable[[LocalServers], None]


@dataclass(frozen=True)
class Service:
    """Behaviour of the local Gemini Live server.

    Attributes:
        speed: Speed of a reply as a multiple of real time.
        chunk_ms: Audio per message, in milliseconds.
        complete_after: Time of `turnComplete`, see `LocalGemini`.
        interrupts: True if the server detects the person's speech, and so interrupts.
    """

    speed: float = 4.0
    chunk_ms: float = 40.0
    complete_after: Literal["generation", "playback"] = "playback"
    interrupts: bool = False

    def servers(self) -> LocalServers:
        # Without interruptions, speech would have to last a minute before it is detected.
        needed_ms = ActivityOptions.prefix_padding_ms if self.interrupts else NEVER_MS
        return LocalServers(
            LocalGemini(
                Script([]),  # it speaks only on command
                speed=self.speed,
                chunk_ms=self.chunk_ms,
                turn_complete_after=self.complete_after,
                activity=ActivityOptions(prefix_padding_ms=needed_ms),
            )
        )


class _Process:
    """Program with its commands and its reports."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self.name = name
        self._process = process
        self._reports: list[dict[str, Any]] = []
        self._news = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, name: str, env: dict[str, str], *arguments: str) -> _Process:
        python = PEER_PYTHON if name == PEER else None
        started = await start_module(f"turn_taking.{name}", *arguments, env=env, python=python)
        return cls(started, name)

    async def tell(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()

    async def wait_report(
        self, event: str, number: int = 1, timeout: float = 30.0
    ) -> dict[str, Any]:
        """Wait for report number `number` of an event, counted from 1."""

        def found() -> list[dict[str, Any]]:
            return [each for each in self._reports if each["event"] == event]

        async with self._news:
            await asyncio.wait_for(
                self._news.wait_for(lambda: len(found()) >= number or self._reader.done()), timeout
            )
        if len(found()) < number:
            raise RuntimeError(f"{self.name} has ended without the report {event!r}")
        return found()[number - 1]

    def count(self, event: str) -> int:
        return sum(each["event"] == event for each in self._reports)

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        status = await asyncio.wait_for(self._process.wait(), 30)
        await self._reader
        if status:
            raise RuntimeError(f"{self.name} has ended with status {status}")

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self._reader.cancel()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                async with self._news:
                    self._reports.append(json.loads(line))
                    self._news.notify_all()
        finally:
            async with self._news:
                self._news.notify_all()


@dataclass
class Call:
    """Call in progress, and its records when it is over.

    Attributes:
        servers: Both servers.
        session: The assistant's session with the service.
        stalls: Stalls of the machine, as `(began, ended)`.
        began: Time at which everything was ready and silent.
    """

    servers: LocalServers
    session: LiveSession
    stalls: list[tuple[float, float]] = field(default_factory=list)
    began: float = 0.0
    _person: _Process = field(repr=False, kw_only=True)
    _assistant: _Process = field(repr=False, kw_only=True)
    _folder: Path = field(repr=False, kw_only=True)
    _files: dict[int, Path] = field(default_factory=dict, repr=False)
    _sounds: list[Sound] = field(default_factory=list, repr=False)

    # -- during the call -----------------------------------------------------------------------

    async def say(self, sound: Sound) -> float:
        """Make the person say a sound; return the time at which the SDK has its first sample."""
        if id(sound) not in self._files:
            self._files[id(sound)] = self._folder / f"sound-{len(self._files)}.npy"
            np.save(self._files[id(sound)], sound.samples)
            self._sounds.append(sound)  # an id is only good for as long as its object lives
        number = self._person.count("said") + 1
        await self._person.tell(do="say", file=str(self._files[id(sound)]))
        said = await self._person.wait_report("said", number)
        return float(said["at"])

    def reply(self, samples: Int16, stall: Stall | None = None) -> float:
        """Make the model speak from now on; return the time."""
        self.session.say(Turn(audio=for_service(samples), stall=stall))
        return time.monotonic()

    async def stall_assistant(self, ms: float) -> None:
        await self._assistant.tell(do="stall", ms=ms)

    async def cut(self) -> None:
        await self._assistant.tell(do="drop")

    async def stats(self) -> dict[str, Any]:
        """Return the counters of our assistant; the model of the earlier rules has none."""
        number = self._assistant.count("stats") + 1
        await self._assistant.tell(do="stats")
        return await self._assistant.wait_report("stats", number)

    async def wait_finished(self, number: int, timeout: float) -> None:
        """Wait until our assistant has finished reply number `number`, or for `timeout`."""
        with contextlib.suppress(asyncio.TimeoutError):
            await self._assistant.wait_report("finished", 1 + number, timeout)  # the warm-up

    # -- after the call ------------------------------------------------------------------------

    def heard(self) -> Heard:
        """Return the audio that the person received."""
        return Heard.load(self._folder / "heard.npz")

    def arrivals(self) -> Heard:
        """Return the audio that the assistant received."""
        return Heard.load(self._folder / "arrivals.npz")

    def wire(self) -> Heard:
        """Return the audio that the service received, in its original frames."""
        frames = [frame for frame in self.session.frames if frame.kind == "audio"]
        wire, position = Frames(), 0
        resampler = Resampler(frames[0].rate, RATE)
        for frame in frames:
            samples = resampler.push(np.frombuffer(frame.data, "<i2").astype(np.int16))
            wire.add(frame.at, position, samples)
            position += len(samples)
        wire.save(self._folder / "wire.npz")
        return Heard.load(self._folder / "wire.npz")

    def handed(self) -> tuple[Any, Any]:
        """Return due times and samples of the frames that our assistant handed to the SDK."""
        with np.load(self._folder / "handed.npz") as stored:
            return stored["times"], stored["samples"].reshape(-1, FRAME)

    def events(self, *names: str) -> list[dict[str, Any]]:
        """Return the assistant's events of these names, in order of time."""
        noted = json.loads((self._folder / "events.json").read_text(encoding="utf-8"))
        found = [each for each in noted if each["event"] in names and each["t"] > self.began]
        return sorted(found, key=lambda event: event["t"])

    def disturbed(self, start: float, end: float) -> bool:
        """Return whether the machine stood still at any moment between two times."""
        return any(began < end and ended > start for began, ended in self.stalls)


@contextlib.asynccontextmanager
async def hold_call(
    who: Who,
    service: Service,
    folder: Path,
    impair: Impair | None = None,
    *,
    warm_up: bool = True,
    bystanders: Sequence[Bystander] = (),
) -> AsyncIterator[Call]:
    """Hold a call: the person and the assistant join; both leave at the end of the block.

    Args:
        who: The assistant.
        service: Behaviour of the service.
        folder: Empty folder for the programs' files.
        impair: Called with the servers when both are in the call.
        warm_up: True to let the assistant speak before the block begins.
        bystanders: Other participants, `bystander-0` and so on.
    """
    folder.mkdir()  # noqa: ASYNC240
    sentinel = await start_module("turn_taking.sentinel")
    processes: list[_Process] = []
    try:
        async with service.servers() as servers:
            env = servers.environment(PYTHONUNBUFFERED=1)
            person = await _Process.start("person", env, "a-call", str(folder))
            processes.append(person)
            # The peer's own configuration takes the place of the service's.
            deaf = ["deaf"] if who == PEER and not service.interrupts else []
            assistant = await _Process.start(who, env, "a-call", str(folder), *deaf)
            processes.append(assistant)
            for number, each in enumerate(bystanders):
                arguments = ["a-call", f"bystander-{number}", *(["dtx"] if each == "dtx" else [])]
                processes.append(await _Process.start("bystander", env, *arguments))
            for process in processes:
                await process.wait_report("ready", timeout=JOIN_S)
            session = await servers.gemini.wait_session()
            call = Call(servers, session, _person=person, _assistant=assistant, _folder=folder)
            await asyncio.sleep(SETTLE_S)
            if warm_up:
                call.reply(reply(WARM_UP_MS, seed=0))
                await asyncio.sleep(WARM_UP_MS / 1000 + 0.4)
            call.began = time.monotonic()
            if impair is not None:
                impair(servers)
            yield call
            await asyncio.gather(*(process.end() for process in processes))
        found, _ = await sentinel.communicate(b"")
        call.stalls += [(began, ended) for began, ended in json.loads(found)]
    finally:
        for process in processes:
            await process.kill()
        if sentinel.returncode is None:
            sentinel.kill()
            await sentinel.wait()
