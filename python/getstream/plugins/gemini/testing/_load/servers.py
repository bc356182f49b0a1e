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
from .._gemini import LiveSession, LocalGemini, Turn, UserTurn
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

    The service ends a turn of the user by the silence after its last word. The time from the
    arrival of that word until then belongs to the service, and to no fleet.
    """

    def __init__(self) -> None:
        self.server: LocalGemini | None = None
        self.waits_s: list[float] = []
        """Seconds from the last word of each question until the service has decided to answer."""
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
            arrived_at = None if session is None else arrival_of(session, user.end_ms)
            if arrived_at is not None:
                self.waits_s.append(round(time.monotonic() - arrived_at, 4))
        self._next += 1
        return [self._turns[self._next % len(self._turns)]]


def arrival_of(session: LiveSession, position_ms: float) -> float | None:
    """Return the monotonic time at which a position of the user's audio came to a session.

    Args:
        session: It keeps the newest frames only.
        position_ms: On the timeline of its audio.

    Returns:
        None if that frame is not kept any more.
    """
    end_ms = session.audio_ms
    for frame in reversed(session.frames):
        if not frame.rate:
            continue
        end_ms -= len(frame.data) * 500.0 / frame.rate  # s16le: 2 bytes a sample
        if end_ms < position_ms:
            return frame.at
    return None


async def _serve_gemini() -> None:
    answers = Answers()
    server = LocalGemini(answers, record_bytes=RECORD_BYTES, keep_sessions=SESSIONS)
    answers.server = server
    async with server, LoopLag() as lag:
        send_report("ready", env=server.env)
        async for command in read_commands():
            if command["do"] == "measure":
                waits_s, answers.waits_s = answers.waits_s, []
                send_report("measured", waits_s=waits_s, lag_ms=lag.take_ms())


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
