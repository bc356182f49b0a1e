"""A whole call: both local servers here, the person and the assistant in processes of their own.

In each round of 6 s the model speaks for 3.5 s, and then the person for about two.
"""

from __future__ import annotations

import asyncio
import contextlib
from itertools import count
from typing import Any, Literal

from getstream.plugins.gemini.testing import (
    ActivityOptions,
    LiveSession,
    LocalGemini,
    LocalServers,
    Script,
    Turn,
    signals,
)

from .assistant import REPLY_S, ROUND_S
from .program import Program

Kind = Literal["ours", "plain", "ready"]
KINDS: tuple[Kind, ...] = ("ours", "plain", "ready")

SETTLE_S = 2.0
NEVER_MS = 60_000.0


async def measure(kind: Kind, seconds: float) -> dict[str, Any]:
    """Hold a call; returns the share of a core that the assistant's process takes."""
    # The service takes nothing for speech: replies come when they are told to.
    service = LocalGemini(
        Script([]), speed=4.0, activity=ActivityOptions(prefix_padding_ms=NEVER_MS)
    )
    async with LocalServers(service) as servers:
        env = servers.environment()
        talking: asyncio.Task[None] | None = None
        async with Program("talker", "a-call", env=env) as person:
            await person.wait_report("ready")
            async with Program("assistant", kind, "a-call", env=env) as assistant:
                await assistant.wait_report("ready")
                session = None if kind == "ready" else await servers.gemini.wait_session()
                talking = asyncio.create_task(_talk(session, person))
                try:
                    await asyncio.sleep(SETTLE_S)
                    found = await assistant.ask("measured", do="measure", seconds=seconds)
                finally:
                    talking.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await talking
                assistant.tell_end()
                return {**found, **await assistant.wait_report("counted")}


async def _talk(session: LiveSession | None, person: Program) -> None:
    """The model and the person in turns."""
    for number in count():
        began = asyncio.get_running_loop().time()
        if session is not None:
            audio = signals.speech_like(REPLY_S * 1000, 24_000, seed=number % 4)
            session.say(Turn(audio=audio, text="This is what the model says in this round."))
        await asyncio.sleep(REPLY_S + 0.5)
        person.tell(do="say")
        await asyncio.sleep(began + ROUND_S - asyncio.get_running_loop().time())
