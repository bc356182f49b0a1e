"""Hold sessions in real time in one process: `python -m session_cost.paced CONTENDER SESSIONS`.

Contenders: `ours` (`GeminiLive`), `sdk` (google-genai by its own methods, with the resampler of
this package), `floor` (ready frames, and messages that are not parsed) and `floor again` (the
same, as a control), `driver` (the clock of the frames alone, on connections that are silent).

Command `run`: so many `sessions`, each with 50 frames in and 25 messages of audio out per second,
for so many `windows` of so many `seconds` each, from `start` on. `offset` seconds are between
`start` and the first frame, so that contenders at the same time do not wake up together. Reports
the CPU of the process in each window, and how late frames were with the service.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
from getstream.plugins.gemini.audio import Resampler
from getstream.plugins.gemini.live import GeminiLive
from google.genai import types
from programs import commands, report

from .contenders import (
    CALL_RATE,
    FRAME_S,
    MIME,
    WIRE_RATE,
    audio_message,
    build_assistant,
    build_client,
    frames,
    sdk_session,
    socket_of,
)
from .service import Control
from .windows import cpu_in_windows

SETTLE_S = 0.5
"""Duration of frames before the first window, in seconds."""

LINGER_S = 0.5
"""Time from the last frame to the request for the times of arrival, in seconds."""

Send = Callable[[Any], Awaitable[Any]]


class Ours:
    """Contender `ours`: a `GeminiLive` whose speech is queued and never played."""

    def __init__(self, gemini: GeminiLive) -> None:
        self._gemini = gemini

    async def send(self, pcm: Any) -> None:
        await self._gemini.send_audio_pcm(pcm, WIRE_RATE)

    async def forget(self) -> None:
        await self._gemini.interrupt_playback(drop=True)

    def stop(self) -> None:
        pass


class Sdk:
    """Contender `sdk`: a session of the SDK; the audio is taken out of its messages."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._resampler = Resampler(CALL_RATE, WIRE_RATE)
        self._reader = asyncio.create_task(self._read())
        self.heard = 0

    async def _read(self) -> None:
        while True:
            async for message in self._session.receive():
                content = message.server_content
                if content and content.model_turn:
                    self.heard += len(content.model_turn.parts[0].inline_data.data)

    async def send(self, pcm: Any) -> None:
        wire = self._resampler.push(pcm.samples, pcm.channels).tobytes()
        await self._session.send_realtime_input(audio=types.Blob(data=wire, mime_type=MIME))

    async def forget(self) -> None:
        self.heard = 0

    def stop(self) -> None:
        self._reader.cancel()


class Floor:
    """Contender `floor`: the websocket of a session of the SDK, alone."""

    def __init__(self, session: Any) -> None:
        self._socket = socket_of(session)
        self._reader = asyncio.create_task(self._read())
        wire = Resampler(CALL_RATE, WIRE_RATE).push(next(frames()).samples, 2)
        self._frame = audio_message(wire)

    async def _read(self) -> None:
        while True:
            await self._socket.recv(decode=False)

    async def send(self, _pcm: Any) -> None:
        await self._socket.send(self._frame, text=True)

    async def forget(self) -> None:
        pass

    def stop(self) -> None:
        self._reader.cancel()


class Driver(Floor):
    """Contender `driver`: a session in which nothing is sent."""

    async def send(self, _pcm: Any) -> None:
        pass


CONTENDERS = {"sdk": Sdk, "floor": Floor, "floor again": Floor, "driver": Driver}


async def drive(send: Send, source: Any, start: float, count: int) -> None:
    """Send frames, each at its time; a late one at once."""
    for number in range(count):
        delay = start + number * FRAME_S - time.monotonic()
        if delay > 0:
            await asyncio.sleep(delay)
        await send(next(source))


async def run(
    control: Control,
    who: str,
    them: list[Any],
    sources: list[Any],
    *,
    start: float,
    offset: float,
    windows: int,
    seconds: float,
) -> dict[str, Any]:
    """Measure one run; see the module."""
    labels = [f"{who} {number}" for number in range(len(them))]
    length = SETTLE_S + windows * seconds
    count = round(length / FRAME_S)
    if who != "driver":
        await control.tell("pace", labels=labels, start=start + offset, seconds=length)
    starts = [start + offset + number / len(them) * FRAME_S for number in range(len(them))]
    gc.collect()
    works = [
        asyncio.create_task(drive(each.send, source, begin, count))
        for each, source, begin in zip(them, sources, starts, strict=True)
    ]
    shares = await cpu_in_windows(start + SETTLE_S, windows, seconds)
    await asyncio.gather(*works)
    found: dict[str, Any] = {
        "shares": [share / len(them) for share in shares],
        "sessions": len(them),
        "missing": 0,
    }
    if who == "driver":
        return found
    await control.done()
    await asyncio.sleep(LINGER_S)
    late = []
    for begin, arrivals in zip(starts, await control.ask("arrivals", labels=labels), strict=True):
        times = np.array(arrivals[:count])
        late.append(times - begin - np.arange(len(times)) * FRAME_S)
        found["missing"] += count - len(times)
    for each in them:
        await each.forget()
    percentiles = np.percentile(np.concatenate(late) * 1000, [50, 99])
    return {**found, "late_ms": [round(float(value), 3) for value in percentiles]}


async def main(who: str, most: int) -> None:
    control, client = await Control.open(), build_client()
    them: list[Any] = []
    async with AsyncExitStack() as stack:
        for number in range(most):
            label = f"{who} {number}"
            if who == "ours":
                gemini = await stack.enter_async_context(build_assistant(client, label))
                them.append(Ours(gemini))
            else:
                session = await stack.enter_async_context(sdk_session(client, label))
                them.append(CONTENDERS[who](session))
        sources = [frames() for _ in them]
        for each, source in zip(them, sources, strict=True):  # what is built with the first frame
            await each.send(next(source))
            await asyncio.sleep(0)
        report("ready")
        async for command in commands():
            del command["do"]
            count = command.pop("sessions")
            report("ran", **await run(control, who, them[:count], sources[:count], **command))
        for each in them:
            each.stop()
    await control.close()


if __name__ == "__main__":
    logging.getLogger("getstream").setLevel(logging.ERROR)
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
