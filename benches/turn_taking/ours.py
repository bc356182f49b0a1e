"""Run this package as the assistant of a call: `python -m turn_taking.ours CALL_ID FOLDER`.

The program is the short form of the README, with an observer.

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
from getstream.plugins.gemini.live import (
    Event,
    GeminiLive,
    Interrupted,
    Observer,
    PlaybackDucked,
    PlaybackFinished,
    PlaybackPaused,
    PlaybackResumed,
    PlaybackStarted,
    PlaybackUnducked,
)
from getstream.video import rtc
from programs import commands, report

from .program import Record

PERSON = "person"
"""User id of the person whose frames are recorded; others in the call only listen."""


class Watching(Observer):
    """Records frames of the person, decisions, and frames that were handed over."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def on_participant_audio(self, at: float, user_id: str, pcm: Any) -> None:
        if user_id in ("", PERSON):
            self._record.arrivals.add(at, pcm.pts or 0, pcm.samples)

    def on_output_audio(self, at: float, pcm: bytes, sample_rate: int) -> None:
        self._record.handed.add(at, 0, np.frombuffer(pcm, np.int16))

    def on_speech(self, at: float, user_id: str, phase: str) -> None:
        self._record.note(phase, at)

    def on_event(self, event: Event) -> None:
        if isinstance(event, PlaybackDucked):
            self._decide("duck", event, event.gain_db)
        elif isinstance(event, PlaybackUnducked):
            self._decide("duck", event, 0.0)
        elif isinstance(event, PlaybackPaused):
            self._decide("pause", event)
        elif isinstance(event, PlaybackResumed):
            self._decide("resume", event)
        elif isinstance(event, Interrupted):
            self._decide("drop", event)
            self._record.note("interrupted", event.at, cause=event.cause, turn=event.turn)
        elif isinstance(event, PlaybackStarted):
            self._record.note("playback_started", event.at, turn=event.turn)
        elif isinstance(event, PlaybackFinished):
            report("finished", turn=event.turn, cut=event.cut, heard_ms=event.heard_ms)

    def _decide(self, name: str, event: Event, *arguments: float) -> None:
        # The next frame that is handed over is the first one with it.
        frame = len(self._record.handed.times)
        self._record.note(name, event.at, arguments=arguments, frame=frame)


async def main(call_id: str, folder: Path) -> None:
    record = Record()
    async with AsyncStream(base_url=None) as client, GeminiLive() as gemini:
        gemini.add_observer(Watching(record))
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
