"""Check whether this machine is fast enough, by a call on local servers."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from ...errors import GeminiError
from ...testing import LocalServers
from .. import clips
from ..environment import local_environment
from ..subprocesses import Program
from .results import Result, failed, passed, warned

__all__ = ["SECONDS", "check_speed", "judge_speed"]

NAME = "speed"

SECONDS = 10.0
"""Length of what is measured, in seconds."""

START_S = 45.0
"""Longest time until both programs are in the call, on a slow machine, in seconds."""

BOT = "getstream.plugins.gemini._cli.checks.self_test_bot"
PERSON = "getstream.plugins.gemini.testing.person"
CALL_ID = "doctor"

FRAME_MS = 20.0
"""A loop that is later than one frame makes the sound late: the SDK takes one every 20 ms."""

GOOD_LATE_MS = FRAME_MS / 2
"""Lateness (p99) from which there is little room for the application's own work."""

MAX_LATE_FRAMES_PER_S = 0.5
"""Late frames: one percent of 50 a second."""

USABLE_CORE = 0.7
"""Share of a core that calls may use: bursts (a join, a reconnect) need the rest."""


async def check_speed(seconds: float = SECONDS) -> Result:
    """Hold a call between a person and an assistant in processes of their own, and measure it.

    The servers run in this process, and the person on this machine, too: the figures of the
    assistant's process are those of a machine that has more to do than an assistant alone.

    Args:
        seconds: Length of what is measured.
    """
    try:
        numbers = await _measured(seconds)
    except (GeminiError, OSError) as error:
        return failed(NAME, f"the call did not work: {error}", "`demo --verbose` shows more.")
    return judge_speed(numbers)


class _NoCallError(GeminiError):
    """A program of the call ended, or was not ready in time."""


async def _measured(seconds: float) -> dict[str, float]:
    said = clips.speech()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gemini-doctor-"))
        servers = await stack.enter_async_context(LocalServers())
        environment = local_environment(os.environ, servers.env)
        # The person speaks, hears the answer, and speaks again, for longer than is measured.
        rounds = 2 + int(seconds / (2 * said.seconds))
        script = ";".join(["say:0", f"pause:{said.seconds * 1000:.0f}"] * rounds)
        arguments = ["--call", CALL_ID, "--script", script, "--speech", str(said.path),
                     "--out", folder, "--timeout", "30"]  # fmt: skip
        person = Program("person", PERSON, arguments, environment, lambda _: None)
        await stack.enter_async_context(person)
        await _reported(person, "ready", START_S)
        bot = Program("assistant", BOT, [CALL_ID, str(seconds)], environment, lambda _: None)
        await stack.enter_async_context(bot)
        await _reported(bot, "joined", START_S)
        measured = await _reported(bot, "measured", 3 * seconds + START_S)
    return {name: float(value) for name, value in measured.items() if name not in ("event", "t")}


async def _reported(program: Program, event: str, patience_s: float) -> dict[str, Any]:
    try:
        found = await asyncio.wait_for(program.wait_event(event), patience_s)
    except asyncio.TimeoutError:
        raise _NoCallError(f"the {program.name} was not {event} in {patience_s:.0f} s") from None
    if found is None:
        last = program.stderr[-1] if program.stderr else "without a word"
        raise _NoCallError(f"the {program.name} ended before it was {event} ({last})")
    return found


def judge_speed(numbers: Mapping[str, float]) -> Result:
    """Judge the figures of a call."""
    seconds, cpu = numbers["seconds"], numbers["cpu_percent"]
    late_ms, late_frames = numbers["loop_late_p99_ms"], numbers["late_frames"]
    calls = int(100 * USABLE_CORE / cpu) if cpu > 0 else 0
    told = {**numbers, "calls_per_core": calls}
    if not (numbers["frames_sent"] and numbers["played_ms"]):
        advice = "`demo --verbose` shows more."
        return failed(NAME, "the assistant did not hear and answer the person", advice, **told)
    seen = (
        f"{cpu:.1f} % of a core for a call, room for {calls} in one; event loop late by "
        f"{numbers['loop_late_p50_ms']:.1f} ms (p50), {late_ms:.1f} ms (p99), "
        f"{numbers['loop_late_max_ms']:.0f} ms at most; {late_frames:.0f} late frames in "
        f"{seconds:.0f} s"
    )
    if late_ms > FRAME_MS or late_frames > MAX_LATE_FRAMES_PER_S * seconds or not calls:
        return failed(
            NAME,
            f"too slow: {seen}",
            "Speech will be broken. End what else runs here, or use a machine with more cores, "
            "of its own.",
            **told,
        )
    if late_ms > GOOD_LATE_MS or late_frames:
        return warned(
            NAME,
            f"just fast enough: {seen}",
            "There is little room for work of your own in the event loop, or for a second call.",
            **told,
        )
    return passed(NAME, f"fast enough: {seen}", **told)
