"""Sessions in real time in one process: `python -m session_cost.paced CONTENDER SESSIONS`.

Contenders: `ours` and `ours with detector` (`GeminiLive`), `sdk` (its own methods, with the
resampler of this package), `floor` (ready frames, and messages that nobody reads in), `driver` (the
clock of the frames alone, on connections that are silent).

Command `run`: so many `sessions` for so many `seconds`, each with 50 frames in and 25 messages of
audio out per second. Reports the CPU of the process, and how late frames were with the service.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, nullcontext
from typing import Any

import numpy as np
from getstream.plugins.gemini.audio import Resampler, encode_base64
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.live._session import Session
from google.genai import types

from .contenders import (
    MIME,
    WIRE_RATE,
    build_client,
    frames,
    sdk_session,
    socket_of,
    without_network,
)
from .program import commands, report
from .service import Control

FRAME_S = 0.020
LEAD_S = 0.3
"""From the command to the first frame."""

LINGER_S = 0.5
"""From the last frame until the times of arrival are asked for."""

Send = Callable[[Any], Awaitable[Any]]


class Ours:
    """A `GeminiLive`; what it is told it keeps for playback, and nobody plays it."""

    def __init__(self, gemini: GeminiLive) -> None:
        self.socket = socket_of(gemini)
        self._gemini = gemini

    async def send(self, pcm: Any) -> None:
        await self._gemini.send_audio_pcm(pcm, WIRE_RATE)

    async def forget(self) -> None:
        await self._gemini.interrupt_playback(drop=True)


class Sdk:
    """A session of the SDK; what it is told is taken out of the messages."""

    def __init__(self, session: Any) -> None:
        self.socket = socket_of(session)
        self._session = session
        self._resampler = Resampler(48_000, WIRE_RATE)
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


class Floor:
    """The websocket alone."""

    def __init__(self, session: Any) -> None:
        self.socket = socket_of(session)
        self._reader = asyncio.create_task(self._read())
        wire = Resampler(48_000, WIRE_RATE).push(next(frames()).samples, 2)
        before, behind = Session.audio_envelope(WIRE_RATE)
        self._frame = before + encode_base64(wire) + behind

    async def _read(self) -> None:
        while True:
            await self.socket.recv(decode=False)

    async def send(self, _pcm: Any) -> None:
        await self.socket.send(self._frame, text=True)

    async def forget(self) -> None:
        pass


class Driver(Floor):
    """Nothing is sent."""

    async def send(self, _pcm: Any) -> None:
        pass


async def drive(send: Send, source: Any, start: float, count: int) -> None:
    """Send frames, each at its time; a late one at once."""
    for number in range(count):
        delay = start + number * FRAME_S - time.monotonic()
        if delay > 0:
            await asyncio.sleep(delay)
        await send(next(source))


async def run(
    control: Control, who: str, them: list[Any], sources: list[Any], seconds: float
) -> dict[str, Any]:
    labels = [f"{who} {number}" for number in range(len(them))]
    start, count = time.monotonic() + LEAD_S, round(seconds / FRAME_S)
    if who != "driver":
        await control.tell("pace", labels=labels, start=start, seconds=seconds)
    starts = [start + number / len(them) * FRAME_S for number in range(len(them))]
    works = [
        asyncio.create_task(drive(each.send, source, begin, count))
        for each, source, begin in zip(them, sources, starts, strict=True)
    ]
    gc.collect()
    await asyncio.sleep(start - time.monotonic())
    cpu, began = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    cpu, took = time.process_time() - cpu, time.monotonic() - began
    await asyncio.gather(*works)
    found = {"share": cpu / took / len(them), "sessions": len(them), "missing": 0}
    if who == "driver":
        return found
    await control.done()
    await asyncio.sleep(LINGER_S)
    late = []
    for begin, arrivals in zip(starts, await control.ask("arrivals", labels=labels), strict=True):
        times = np.array(arrivals[:count])
        late.append(times - begin - np.arange(len(times)) * FRAME_S)
        found["missing"] += count - len(times)
    lateness = np.concatenate(late) * 1000
    for each in them:
        await each.forget()
    percentiles = np.percentile(lateness, [50, 99, 100])
    return {**found, "late_ms": [round(float(value), 3) for value in percentiles]}


async def main(who: str, most: int) -> None:
    control, client = await Control.open(), build_client()
    them: list[Any] = []
    async with AsyncExitStack() as stack:
        for _ in range(most):
            if who.startswith("ours"):
                gemini = await stack.enter_async_context(GeminiLive(client=client))
                them.append(Ours(gemini))
            else:
                session = await stack.enter_async_context(sdk_session(client))
                them.append({"sdk": Sdk, "floor": Floor, "driver": Driver}[who](session))
        labels = [f"{who} {number}" for number in range(most)]
        await control.label([each.socket for each in them], labels)
        sources = [frames() for _ in them]
        with without_network() if who == "ours" else nullcontext():
            for each, source in zip(them, sources, strict=True):
                await each.send(next(source))
                await asyncio.sleep(0)
        report("ready")
        async for command in commands():
            count = command["sessions"]
            found = await run(control, who, them[:count], sources[:count], command["seconds"])
            report("ran", **found)
        for each in them:
            if hasattr(each, "_reader"):
                each._reader.cancel()
    await control.close()


if __name__ == "__main__":
    logging.getLogger("getstream").setLevel(logging.ERROR)
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
