"""Run the person of a call: `python -m turn_taking.person CALL_ID FOLDER`.

Commands: `say` with the `file` of a sound says it now.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from getstream.plugins.gemini.testing import Person
from programs import commands, report

from .program import Frames

ASSISTANT = "assistant"
"""User id of the assistant, in all programs of a call."""


class Listener(Person):
    """Person who records the assistant's audio: each frame, its time and its RTP time."""

    def __init__(self, call_id: str) -> None:
        super().__init__(call_id, on_event=self._report)
        self.frames = Frames()

    def _report(self, event: dict[str, Any]) -> None:
        if event["event"] == "say_started":
            report("said", at=self.started_at + event["t"])

    def _on_audio(self, pcm: Any, user: Any = None) -> None:
        at = time.monotonic()
        if (pcm.participant or user).user_id == ASSISTANT:
            self.frames.add(at, pcm.pts, pcm.samples)


async def main(call_id: str, folder: Path) -> None:
    async with Listener(call_id) as person:
        report("ready")
        async for command in commands():
            await person.say(np.load(command["file"]))
    person.frames.save(folder / "heard.npz")


if __name__ == "__main__":
    logging.getLogger("getstream").setLevel(logging.ERROR)
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
