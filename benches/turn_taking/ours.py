"""Run this package as the assistant of a call: `python -m turn_taking.ours CALL_ID FOLDER`.

The program is the short form of the README. Calls between the parts of the package are recorded as
they are made; nothing is changed.

Commands: `stall` holds the event loop for `ms`, `drop` cuts the reply, `stats` reports the
counters.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from getstream import AsyncStream
from getstream.plugins.gemini.live import GeminiLive
from getstream.video import rtc
from programs import commands, report

from .program import Record

PERSON = "person"
"""User id of the person whose frames are recorded; others in the call only listen."""


def watch(gemini: GeminiLive, record: Record) -> None:
    """Record incoming frames, turn decisions, and outgoing frames."""
    taken, output = gemini._input.push, gemini._turns.output

    def push(pcm: Any, *arguments: Any, **options: Any) -> Any:
        at = time.monotonic()
        events = taken(pcm, *arguments, **options)
        if getattr(pcm.participant, "user_id", PERSON) == PERSON:
            record.arrivals.add(at, pcm.pts or 0, pcm.samples)
        for event in events:
            record.note(event.kind)
        return events

    class Noting:
        """Playback store that records the popped frames."""

        def __init__(self, playback: Any) -> None:
            self._playback = playback

        def pop(self, at: float) -> Any:
            popped = self._playback.pop(at)
            record.handed.add(at, 0, np.frombuffer(popped[0], np.int16))
            return popped

        def __getattr__(self, name: str) -> Any:
            return getattr(self._playback, name)

    def noting(name: str) -> None:
        action = getattr(output, name)

        def noted(*arguments: Any) -> None:
            # The next frame that is handed over is the first one with it.
            record.note(name, arguments=arguments, frame=len(record.handed.times))
            action(*arguments)

        setattr(output, name, noted)

    gemini._input.push = push  # type: ignore[method-assign]
    output.track._playback = Noting(output.track._playback)  # type: ignore[assignment]
    for name in ("duck", "pause", "resume", "drop"):
        noting(name)

    @gemini.on("playback_started")
    def on_started(started: Any) -> None:
        record.note("playback_started", started.at, turn=started.turn)

    @gemini.on("playback_finished")
    def on_finished(finished: Any) -> None:
        report("finished", turn=finished.turn, cut=finished.cut, heard_ms=finished.heard_ms)

    @gemini.on("interrupted")
    def on_interrupted(interrupted: Any) -> None:
        record.note("interrupted", cause=interrupted.cause, turn=interrupted.turn)


async def main(call_id: str, folder: Path) -> None:
    record = Record()
    async with AsyncStream(base_url=None) as client, GeminiLive() as gemini:
        watch(gemini, record)
        call = client.video.call("default", call_id)
        await call.get_or_create(data={"created_by_id": "assistant"})
        async with await rtc.join(call, "assistant") as connection:
            await gemini.attach(connection)
            report("ready")
            async for command in commands():
                if command["do"] == "stall":
                    record.note("stall", ms=command["ms"])
                    time.sleep(command["ms"] / 1000)  # noqa: ASYNC251  (this is the measurement)
                elif command["do"] == "drop":
                    await gemini.interrupt_playback(drop=True)
                elif command["do"] == "stats":
                    report("stats", **dataclasses.asdict(gemini.stats()))
    record.save(folder)


if __name__ == "__main__":
    logging.getLogger("getstream").setLevel(logging.ERROR)
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
