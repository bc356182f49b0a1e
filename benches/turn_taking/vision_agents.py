"""Run Vision-Agents as the assistant of a call, on the SDKs that it asks for.

    python -m turn_taking.vision_agents CALL_ID FOLDER [deaf]

Runs in the environment that `make bench-barge-in` makes for it: `vision-agents` with its
plugins for Stream and Gemini, unchanged, and none of this package. Its `Agent` has no detector of
its own with Gemini: it stops when the service interrupts. Not part of its defaults:

* the conversation is not written to a chat channel, which the local backend has not;
* the user is not updated over REST: the local backend creates it when it joins;
* the model is that of the other assistants;
* with `deaf` the service is asked for a minute of speech before it takes it for speech: it hears
  nothing. Without, the configuration is Vision-Agents' own.

A handler notes the arrival of each frame; nothing is changed.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from getstream import AsyncStream
from programs import commands, report
from vision_agents.core import Agent, User
from vision_agents.core.agents.conversation import InMemoryConversation
from vision_agents.plugins import gemini, getstream

from .program import Record

MODEL = "gemini-3.8-live"
DEAF: Any = {
    "realtime_input_config": {"automatic_activity_detection": {"prefix_padding_ms": 60_000}}
}


class Edge(getstream.Edge):  # type: ignore[misc]
    """Connection to the call that keeps the conversation in memory, and notes arriving frames."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.client = AsyncStream(base_url=None)  # the address is that of the environment
        self._record = record

    async def authenticate(self, user: User) -> None:
        self._agent_user_id = user.id

    async def create_conversation(self, call: Any, user: User, instructions: str) -> Any:
        return InMemoryConversation(instructions, [])

    async def join(self, agent: Agent, call: Any, **options: Any) -> Any:
        joined = await super().join(agent, call, **options)

        @self._connection.on("audio")
        async def on_audio(pcm: Any) -> None:
            samples = np.asarray(pcm.samples, np.int16).reshape(-1)
            self._record.arrivals.add(time.monotonic(), pcm.pts or 0, samples)

        return joined


async def main(call_id: str, folder: Path, deaf: bool) -> None:
    record = Record()
    agent = Agent(
        edge=Edge(record),
        agent_user=User(name="assistant", id="assistant"),
        instructions="You are the assistant of a call.",
        llm=gemini.Realtime(model=MODEL, config=DEAF if deaf else None),
    )
    call = await agent.create_call("default", call_id)
    async with agent.join(call):
        report("ready")
        async for command in commands():
            if command["do"] == "stats":
                report("stats")
    record.save(folder)


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), "deaf" in sys.argv[3:]))
