"""Run the assistant of a call: `python -m session_cost.assistant KIND CALL_ID`.

* `ours`: this package, in the short form of the README.
* `plain`: a page of code on the two SDKs, with their own resampler, session and queue. It has no
  speech detection and no barge-in, and ends with its connection.
* `ready`: a handler that does nothing, and ready frames at 48 kHz at the times of the replies,
  without a service: the cost of a call on this SDK.

Command `measure`: the CPU of this process in each of so many `windows` of so many `seconds`, from
`start` on. At the end it reports the frames it has had, and the milliseconds it has played.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from getstream import AsyncStream
from getstream.plugins.gemini.live import GeminiLive
from getstream.video import rtc
from getstream.video.rtc import AudioStreamTrack, PcmData
from google import genai
from google.genai import types
from programs import commands, report

from .contenders import MIME, WIRE_RATE, sdk_session
from .windows import cpu_in_windows

REPLY_S, ROUND_S = 3.5, 6.0
"""Duration of the model's speech, and of a round, in seconds; see `call`."""


@contextlib.asynccontextmanager
async def ours(connection: Any) -> AsyncIterator[None]:
    async with GeminiLive() as gemini:
        await gemini.attach(connection)
        yield
        report("counted", played_ms=gemini.stats().played_ms, frames_in=gemini.stats().frames_in)


@contextlib.asynccontextmanager
async def plain(connection: Any) -> AsyncIterator[None]:
    client = genai.Client(http_options=types.HttpOptions(api_version="v1beta"))
    track = AudioStreamTrack(sample_rate=48_000, channels=1)
    sent, heard = 0, 0
    async with sdk_session(client) as session:

        @connection.on("audio")
        async def on_audio(pcm: PcmData) -> None:
            nonlocal sent
            wire = pcm.resample(WIRE_RATE, 1).to_bytes()
            sent += 1
            await session.send_realtime_input(audio=types.Blob(data=wire, mime_type=MIME))

        async def play() -> None:
            nonlocal heard
            while True:
                async for message in session.receive():
                    content = message.server_content
                    for part in (content and content.model_turn and content.model_turn.parts) or []:
                        if part.inline_data and part.inline_data.data:
                            samples = np.frombuffer(part.inline_data.data, np.int16)
                            heard += samples.size
                            await track.write(PcmData(24_000, "s16", samples, channels=1))

        await connection.add_tracks(audio=track)
        playing = asyncio.create_task(play())
        yield
        report("counted", played_ms=heard / 24, frames_in=sent)
        playing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await playing


@contextlib.asynccontextmanager
async def ready(connection: Any) -> AsyncIterator[None]:
    track = AudioStreamTrack(sample_rate=48_000, channels=1)
    wave = (6000 * np.sin(2 * np.pi * 220 * np.arange(48_000) / 48_000)).astype(np.int16)
    frames = [PcmData(48_000, "s16", part, channels=1) for part in np.split(wave, 50)]
    handled = played = 0

    @connection.on("audio")
    async def on_audio(_pcm: PcmData) -> None:
        nonlocal handled
        handled += 1

    async def play() -> None:
        nonlocal played
        start = time.monotonic()
        while True:
            for number in range(round(REPLY_S * 50)):
                delay = start + number * 0.02 - time.monotonic()
                if delay > 0:
                    await asyncio.sleep(delay)
                await track.write(frames[number % 50])
                played += 1
            start += ROUND_S
            await asyncio.sleep(max(0.0, start - time.monotonic()))

    await connection.add_tracks(audio=track)
    playing = asyncio.create_task(play())
    yield
    report("counted", played_ms=played * 20, frames_in=handled)
    playing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await playing


async def main(kind: str, call_id: str) -> None:
    assistant = {"ours": ours, "plain": plain, "ready": ready}[kind]
    async with AsyncStream(base_url=None) as client:
        call = client.video.call("default", call_id)
        await call.get_or_create(data={"created_by_id": "assistant"})
        async with await rtc.join(call, "assistant") as connection:
            async with assistant(connection):
                report("ready")
                async for command in commands():
                    del command["do"]
                    report("measured", shares=await cpu_in_windows(**command))


if __name__ == "__main__":
    logging.getLogger("getstream").setLevel(logging.ERROR)
    asyncio.run(main(sys.argv[1], sys.argv[2]))
