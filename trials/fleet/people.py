"""Program: people in calls. Started as `python -m trials.fleet.people CALL...`.

Each joins, and reports what happens: `joined`, `said`, `heard_from` and `heard_to` for each speech
that is heard, `failed`. All times are `time.monotonic()`. Commands, for one call (`call`) or all:

* `ask`: say the question, wait for an answer, then for silence: `asked`, `answer`, `calm`.
* `say`: say the question at once, without its first `skip_ms`: `asked`.
* `talk`: ask again and again, with rests of `rest_s` seconds.
* `stop`: ask no more.
* `calm`: wait for `ms` of silence: `calm`, with the `tag` of the command.
* `heard`: report all sounds since `since`: `heard`, with `sounds`, in which pauses that are shorter
  than `joined_s` do not count.
* `keep`: write what was said (left) and heard (right) to `path`, a WAV file: `kept`.
"""

from __future__ import annotations

import asyncio
import random
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from getstream.plugins.gemini.testing import Person
from getstream.plugins.gemini.testing.signals import read_wav, write_wav
from programs import commands, report

from .hearing import JOINED_S, RATE, sounds

QUESTION = "question.wav"
LONG = "speech.wav"

ANSWER_S = 20.0
CALM_MS = 1000.0
CALM_S = 60.0


def recording_of(name: str) -> str:
    """Return the path of a recording of the package."""
    return str(files("getstream.plugins.gemini") / "data" / name)


class Talker:
    """Somebody in a call, and what he was told to do."""

    def __init__(self, call: str) -> None:
        self.call = call
        self.person = Person(call, on_event=self._on_event)
        self._tasks: set[asyncio.Task[None]] = set()
        self._talking: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Join the call."""
        await self.person.join()
        self._report("joined", started_at=self.person.started_at)

    async def leave(self) -> None:
        """Leave the call, whatever is being done."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.person.leave()

    def do(self, command: dict[str, Any]) -> None:
        """Begin what a command says."""
        match command["do"]:
            case "ask":
                self._start(self._ask(command.get("file", QUESTION)))
            case "say":
                self._start(self._say(QUESTION, command.get("skip_ms", 0)))
            case "talk":
                self._talking = self._start(self._talk(command["rest_s"], command["seed"]))
            case "stop":
                if self._talking is not None:
                    self._talking.cancel()
            case "calm":
                self._start(self._calm(command.get("ms", CALM_MS), command.get("tag", "")))
            case "heard":
                joined_s = command.get("joined_s", JOINED_S)
                self._report("heard", sounds=self._sounds(command["since"], joined_s))
            case "keep":
                self._keep(Path(command["path"]))
            case unknown:
                self._report("failed", error=f"there is no command {unknown!r}")

    async def _say(self, name: str, skip_ms: int = 0) -> None:
        samples, rate = read_wav(recording_of(name))
        said = await self.person.say(samples[skip_ms * rate // 1000 :], rate)
        zero = self.person.started_at
        self._report("asked", start=zero + said.start, end=zero + said.end, skip_ms=skip_ms)

    async def _ask(self, name: str = QUESTION) -> None:
        await self._say(name)
        answer = await self.person.hear_speech(ANSWER_S)
        self._report("answer", began=self.person.started_at + answer.start)
        await self._calm(CALM_MS)

    async def _calm(self, ms: float, tag: str = "") -> None:
        since = await self.person.hear_silence(ms, CALM_S)
        self._report("calm", tag=tag, since=self.person.started_at + since)

    async def _talk(self, rest_s: float, seed: int) -> None:
        dice = random.Random(f"{seed} {self.call}")  # so that the calls do not keep in step
        while True:
            await asyncio.sleep(rest_s * dice.uniform(0.2, 1.2))
            await self._ask()

    def _sounds(self, since: float, joined_s: float) -> list[tuple[float, float]]:
        heard, zero = self.person.heard, self.person.started_at
        first = max(0, round((since - zero) * RATE))
        offset = zero + first / RATE
        return [(offset + start, offset + end) for start, end in sounds(heard[first:], joined_s)]

    def _keep(self, path: Path) -> None:
        write_wav(path, self.person.recording(), RATE)
        self._report("kept", path=str(path), started_at=self.person.started_at)

    def _on_event(self, event: dict[str, Any]) -> None:
        at = self.person.started_at + event["t"]
        if event["event"] == "speech_started":
            self._report("heard_from", at=at)
        elif event["event"] == "speech_stopped":
            self._report("heard_to", at=at)

    def _report(self, event: str, **details: Any) -> None:
        report(event, call=self.call, **details)

    def _start(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report("failed", error=f"{type(error).__name__}: {error}")


async def main(calls: list[str]) -> None:
    """Be the people of these calls until stdin is closed."""
    talkers = {call: Talker(call) for call in calls}
    try:
        await asyncio.gather(*(talker.join() for talker in talkers.values()))
        async for command in commands():
            for call, talker in talkers.items():
                if command.get("call", call) == call:
                    talker.do(command)
    finally:
        await asyncio.gather(*(talker.leave() for talker in talkers.values()))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
