"""Hold the calls of a file of scenarios, one after the other, and report each."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..._terminal import one_line
from .call import LocalCall
from .errors import ScenarioError
from .people import CallPerson
from .scenarios import Scenario, Step, clip_path, read_scenarios

__all__ = ["ScenarioOutcome", "run_scenarios"]

_TOOL_S = 10.0
_PACKETS_S = 2.0
"""Seconds by which a silence may be known later than it lasts: the stream may have stopped."""


@dataclass(frozen=True)
class ScenarioOutcome:
    """The result of one scenario.

    Attributes:
        name: Its name.
        error: Why it failed; empty if it did not.
        seconds: How long it took.
        folder: Where its report is.
    """

    name: str
    error: str
    seconds: float
    folder: Path

    @property
    def passed(self) -> bool:
        """Return whether every step went as expected."""
        return not self.error


class _StepFailedError(Exception):
    """A step did not go as expected; the message says how it went."""


def run_scenarios(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    only: str | None = None,
    on_outcome: Callable[[ScenarioOutcome], None] | None = None,
) -> list[ScenarioOutcome]:
    """Hold the calls of a file of scenarios, one after the other, and report each.

    It runs event loops of its own: call it where none runs.

    Args:
        file: TOML; see `docs/how-to/test-your-assistant.md`.
        out: Folder that gets a folder for each scenario: `report.json`, and a WAV file per person.
        only: Name of the only scenario to run; None runs all.
        on_outcome: Called after each.

    Raises:
        ScenarioError: The file cannot be used; no call was held then.
    """
    scenarios = read_scenarios(Path(file))
    numbered = [(n, each) for n, each in enumerate(scenarios, 1) if only in (None, each.name)]
    if not numbered:
        names = ", ".join(repr(scenario.name) for scenario in scenarios)
        raise ScenarioError(f"{file} has no scenario {only!r}; there are {names}")
    outcomes = []
    for number, scenario in numbered:
        outcome = asyncio.run(_run(scenario, Path(out) / f"{number:02}-{_slug(scenario.name)}"))
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)
    return outcomes


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "scenario"


async def _run(scenario: Scenario, folder: Path) -> ScenarioOutcome:
    began = time.monotonic()
    run = _Run(scenario)
    error = ""
    try:
        async with run.call:
            await asyncio.wait_for(run.do_steps(), scenario.limit_s)
    except asyncio.TimeoutError as timeout:
        # `wait_for` raises one without a text; the waits of steps say what they waited for.
        error = (
            str(timeout) or f"{run.where}: the scenario lasts longer than {scenario.limit_s:g} s"
        )
    except Exception as failure:
        error = str(failure) or type(failure).__name__
    _remove_recordings(folder)
    run.call.write_report(
        folder,
        scenario=scenario.name,
        passed=not error,
        error=error,
        steps=run.log,
    )
    return ScenarioOutcome(scenario.name, error, time.monotonic() - began, folder)


def _remove_recordings(folder: Path) -> None:
    """Remove the recordings of an earlier run, which may have had other people."""
    for stale in folder.glob("*.wav"):
        stale.unlink()


class _Run:
    """One call of a scenario, and how far it got.

    Attributes:
        call: The call.
        where: Names the step that is being done.
        log: Each step that was begun, as plain data.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.call = LocalCall(scenario.bot, reply=scenario.policy(), **scenario.options)
        self.where = "before the first step"
        self.log: list[dict[str, Any]] = []
        self._scenario = scenario
        self._people: dict[str, CallPerson] = {}

    async def do_steps(self) -> None:
        """Let the people join, the bot last, and do the steps.

        Raises:
            _StepFailedError: A step did not go as expected.
        """
        for name in dict.fromkeys(step.person for step in self._scenario.steps):
            self._people[name] = await self.call.person(name, start_bot=False)
        await self.call.start_bot()
        for number, step in enumerate(self._scenario.steps, 1):
            self.where = f"step {number} ({one_line(str(step))})"
            began = time.monotonic()
            entry = {"step": str(step), "at_s": round(began - self.call.started_at, 3)}
            self.log.append(entry)
            try:
                await getattr(self, f"_{step.verb}")(step)
            except (Exception, asyncio.CancelledError) as error:
                entry["outcome"] = one_line(str(error)) or type(error).__name__
                if isinstance(error, asyncio.CancelledError):
                    raise
                raise _StepFailedError(f"{self.where}: {error}") from error
            entry["outcome"] = "ok"
            entry["took_s"] = round(time.monotonic() - began, 3)

    async def _say(self, step: Step) -> None:
        clip = clip_path(step.value, self._scenario.folder)
        await self._people[step.person].say(step.value if clip is None else clip)

    async def _hear_within_s(self, step: Step) -> None:
        turn = await self._people[step.person].hear_turn(step.value)
        least = step.options.get("at_least_ms", 0)
        if turn.duration * 1000 < least:
            raise _StepFailedError(f"the turn lasted {turn.duration * 1000:.0f} ms")

    async def _silent_for_ms(self, step: Step) -> None:
        person = self._people[step.person]
        called = person.now
        limit = step.value / 1000 + _PACKETS_S
        try:
            since = await person.hear_silence(step.value, limit)
        except TimeoutError as error:
            raise _StepFailedError("somebody spoke all the time") from error
        if since > called + 0.02:  # a frame, which was on its way
            raise _StepFailedError(f"somebody spoke for {(since - called) * 1000:.0f} ms")

    async def _pause_ms(self, step: Step) -> None:
        await asyncio.sleep(step.value / 1000)

    async def _expect_tool(self, step: Step) -> None:
        await self.call.tools.wait_called(
            step.value, step.options.get("within_s", _TOOL_S), **step.options.get("args", {})
        )

    async def _drop(self, step: Step) -> None:
        sessions = len(self.call.gemini.sessions)
        self.call.gemini.drop(step.value, step.options.get("reason", ""))
        await self._wait_back(step, sessions)

    async def _go_away_s(self, step: Step) -> None:
        sessions = len(self.call.gemini.sessions)
        if not sessions:
            raise _StepFailedError("the bot has opened no session")
        await self.call.gemini.sessions[-1].go_away(step.value)
        await self._wait_back(step, sessions)

    async def _wait_back(self, step: Step, sessions: int) -> None:
        """Wait for the next session, if the step says within which time it has to come."""
        if "back_within_s" in step.options:
            await self.call.gemini.wait_session(sessions, timeout=step.options["back_within_s"])

    async def _latency_below_ms(self, step: Step) -> None:
        latency = self.call.latency.p95_ms
        if latency >= step.value:
            raise _StepFailedError(f"the 95th percentile is {latency:.0f} ms")

    async def _end_within_s(self, step: Step) -> None:
        code = await self.call.end(step.value)
        if code != step.options.get("code", 0):
            raise _StepFailedError(f"the bot ended with exit code {code}; {self.call.diagnosis()}")
