"""Serve one of the two local servers: `python -m ..._load.servers gemini|stream`.

Each has a process, and so a core, of its own. Reports `ready` with the environment of programs that
are to reach it. The command `measure` reports what has gathered since the last one.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Iterable
from typing import Any

from .. import signals
from .._gemini import LocalGemini, Turn, UserTurn
from .._stream import LocalStream
from .lag import LoopLag
from .processes import read_commands, send_report

ANSWER_S = 3.0
"""Seconds of speech in each answer: a sentence or two."""

SEEDS = 8
"""Different answers; they are made once."""

RECORD_BYTES = 1 << 20
"""What a session keeps of its call; nobody looks at it, and 40 calls of an hour must fit."""

SESSIONS = 4096
"""Sessions that are kept, to be found by their index: more than a run has calls."""


class Answers:
    """Answers each question with speech, and notes how long the service itself has waited.

    The service ends a turn of the user by the silence after its last word. What it has heard beyond
    that word when it decides, as audio, is the delay that belongs to the service, and to no fleet.
    """

    def __init__(self) -> None:
        self.server: LocalGemini | None = None
        self.waits: list[tuple[float, float]] = []
        """Monotonic time of each answer to speech, and seconds from the last word until then."""
        rate = 24_000
        self._turns = [
            Turn(
                audio=signals.speech_like(ANSWER_S * 1000, rate, seed=seed),
                text="This is the answer of the model to what the person has said.",
            )
            for seed in range(SEEDS)
        ]
        self._next = 0

    def reply(self, user: UserTurn) -> Iterable[Turn]:
        """Return the next answer."""
        assert self.server is not None, "it is set before the server starts"
        if user.kind == "audio":
            session = next((s for s in self.server.sessions if s.index == user.session), None)
            if session is not None:
                wait_s = (session.audio_ms - user.end_ms) / 1000
                self.waits.append((time.monotonic(), round(wait_s, 4)))
        self._next += 1
        return [self._turns[self._next % len(self._turns)]]


async def _serve_gemini() -> None:
    answers = Answers()
    server = LocalGemini(answers, record_bytes=RECORD_BYTES, keep_sessions=SESSIONS)
    answers.server = server
    async with server, LoopLag() as lag:
        send_report("ready", env=server.env)
        async for command in read_commands():
            if command["do"] == "measure":
                waits, answers.waits = answers.waits, []
                send_report("measured", waits=waits, lag_ms=lag.take_ms())


async def _serve_stream() -> None:
    async with LocalStream() as server, LoopLag() as lag:
        send_report("ready", env=server.env)
        async for command in read_commands():
            if command["do"] == "measure":
                send_report("measured", lag_ms=lag.take_ms())


def main(which: str) -> None:
    """Serve until stdin is closed."""
    logging.getLogger("getstream").setLevel(logging.ERROR)
    serve: Any = {"gemini": _serve_gemini, "stream": _serve_stream}[which]
    asyncio.run(serve())


if __name__ == "__main__":
    main(sys.argv[1])
