"""Speak to a `GeminiLive` without a call, and hear it."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from getstream.plugins.gemini.errors import GeminiError
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.testing import LocalGemini, Reject
from getstream.video.rtc import PcmData


def pcm(samples: Any, rate: int = 48000, **more: Any) -> PcmData:
    samples = np.asarray(samples)
    kind = "f32" if samples.dtype == np.float32 else "s16"
    return PcmData(sample_rate=rate, format=kind, samples=samples, **more)


async def speak(gemini: GeminiLive, samples: Any, rate: int = 48000, wire: int = 16000) -> None:
    """Send speech as 20 ms frames, and silence after it so that its end is heard."""
    step = rate // 50
    quiet = np.zeros(rate, np.int16)
    everything = np.concatenate([samples, quiet])
    starts = range(0, len(everything) - step + 1, step)
    await talk(gemini, [pcm(everything[start : start + step], rate) for start in starts], wire)


async def talk(gemini: GeminiLive, frames: list[Any], wire: int = 16000) -> None:
    """Send frames of 20 ms as they come from a call, in real time."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    for index, frame in enumerate(frames):
        await gemini.send_audio_pcm(frame, wire)
        await asyncio.sleep(start + (index + 1) * 0.02 - loop.time())


async def heard(gemini: GeminiLive, frames: int) -> Any:
    """Take frames from the track as the SDK does, at most until nothing is queued."""
    sound = []
    while len(sound) < frames and (not sound or gemini.stats().queued_ms > 0):
        sound.append((await gemini.output_track.recv()).to_ndarray().reshape(-1))
    return np.concatenate(sound)


async def ready_again(gemini: GeminiLive) -> type[BaseException] | None:
    """Return what `wait_until_ready(0)` raises."""
    try:
        await gemini.wait_until_ready(0)
    except GeminiError as error:
        return type(error)
    return None


async def happens(gemini: GeminiLive, event: str) -> tuple[Any, ...]:
    """Wait for the next `event` and return its arguments."""
    future: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()
    gemini.once(event, lambda *args: future.done() or future.set_result(args))
    return await asyncio.wait_for(future, 10)


async def lose_for_good(server: LocalGemini) -> None:
    """The connection is lost, and nobody is let in again."""
    server.fail_next(Reject(403), times=20)
    (await server.wait_session()).abort()
