"""Measure whole calls at the same time, each with an assistant in its own process.

Both local servers run here. In each round of 6 s the model speaks for 3.5 s, and then the person
for 1.6 s; a window is one round, so that it does not matter where in the round it begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

from getstream.plugins.gemini.testing import (
    ActivityOptions,
    LiveSession,
    LocalGemini,
    LocalServers,
    Script,
    Turn,
    signals,
)
from programs import Program

from .assistant import REPLY_S, ROUND_S
from .windows import MachineLoad

KINDS = {"ready": "ready", "ready again": "ready", "ours": "ours", "plain": "plain"}
"""Kind of assistant of each contender."""

SETTLE_S = 3.0
"""Time from the last assistant's joining to the first window."""

NEVER_MS = 60_000.0

MIN_PLAYED = 0.8
"""Least share of the model's speech that an assistant must have played to count as measured."""


async def measure(windows: int) -> dict[str, Any]:
    """Hold the calls.

    Returns:
        `shares`: for each contender its process's share of a core in each window. `busy`: the
        share of the whole machine that was in use.

    Raises:
        RuntimeError: An assistant did not take part in its call.
    """
    # The service detects no speech: replies come on command.
    service = LocalGemini(
        Script([]), speed=4.0, activity=ActivityOptions(prefix_padding_ms=NEVER_MS)
    )
    replies = [signals.speech_like(REPLY_S * 1000, 24_000, seed=seed) for seed in range(4)]
    async with LocalServers(service) as servers, AsyncExitStack() as stack:
        env = servers.environment()
        assistants, talks, sessions = [], [], 0
        for number, kind in enumerate(KINDS.values()):
            call_id = f"call-{number}"
            person = Program("session_cost.talker", call_id, env=env)
            await stack.enter_async_context(person)
            await person.wait_report("ready")
            assistant = Program("session_cost.assistant", kind, call_id, env=env)
            await stack.enter_async_context(assistant)
            await assistant.wait_report("ready")
            assistants.append(assistant)
            session = None
            if kind != "ready":
                session = await servers.gemini.wait_session(sessions)
                sessions += 1
            talks.append((session, person))
        start = time.monotonic()
        talking = [
            asyncio.create_task(_talk(session, person, replies, number / len(talks) * ROUND_S))
            for number, (session, person) in enumerate(talks)
        ]
        try:
            await asyncio.sleep(SETTLE_S - 1.0)
            load = MachineLoad()
            command = {"start": start + SETTLE_S, "windows": windows, "seconds": ROUND_S}
            timeout = windows * ROUND_S + 60
            measured = await asyncio.gather(
                *(each.ask("measured", timeout, do="measure", **command) for each in assistants)
            )
            busy = load.busy()
        finally:
            for task in talking:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        for name, each in zip(KINDS, assistants, strict=True):
            each.tell_end()
            counted = await each.wait_report("counted")
            if counted["played_ms"] < MIN_PLAYED * windows * REPLY_S * 1000:
                raise RuntimeError(f"{name} has played only {counted['played_ms']:.0f} ms")
            if counted["frames_in"] < MIN_PLAYED * windows * ROUND_S * 50:
                raise RuntimeError(f"{name} has had only {counted['frames_in']} frames")
    shares = {name: each["shares"] for name, each in zip(KINDS, measured, strict=True)}
    return {"shares": shares, "busy": busy, "seconds": ROUND_S}


async def _talk(
    session: LiveSession | None, person: Program, replies: list[Any], offset: float
) -> None:
    """Let the model and the person speak in turns, from `offset` seconds on."""
    loop = asyncio.get_running_loop()
    began = loop.time() + offset
    for number in count():
        await asyncio.sleep(began + number * ROUND_S - loop.time())
        if session is not None:
            reply = replies[number % len(replies)]
            session.say(Turn(audio=reply, text="This is what the model says in this round."))
        await asyncio.sleep(REPLY_S + 0.5)
        person.tell(do="say")
