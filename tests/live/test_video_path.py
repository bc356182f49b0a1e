"""Images on a slow uplink: real sockets, real time; audio and images share one connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from getstream.plugins.gemini.live import GeminiLive, VideoOptions
from getstream.plugins.gemini.live._media.video_sources import (
    MAX_AUDIO_DELAY_S,
    SMALLEST_MESSAGE_BYTES,
)
from getstream.plugins.gemini.testing import LiveSession, Script
from getstream.video.rtc import PcmData
from room import Local, words
from slow_path import SlowPath

WIRE = 16_000


async def mosaics() -> AsyncIterator[Any]:
    """Yield frames in which everything changes: 45 kB each at the default quality."""
    rng = np.random.default_rng(1)
    while True:
        tiles = rng.integers(0, 256, (90, 160, 3), np.uint8)
        yield tiles.repeat(8, axis=0).repeat(8, axis=1)
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def on_a_path(
    local: Local, monkeypatch: pytest.MonkeyPatch, bytes_per_s: float
) -> AsyncIterator[tuple[GeminiLive, LiveSession, SlowPath]]:
    """Connect an assistant over a slow path, to which somebody speaks."""
    async with local(Script([])) as server:
        url = urlsplit(server.url)
        assert url.port is not None
        async with SlowPath(url.port, bytes_per_s) as path:
            slow = server.url.replace(str(url.port), str(path.port))
            monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", slow)
            async with GeminiLive() as gemini:
                session = await server.wait_session()
                speaking = asyncio.ensure_future(speak(gemini))
                try:
                    yield gemini, session, path
                finally:
                    speaking.cancel()
                    await asyncio.wait([speaking])


async def speak(gemini: GeminiLive) -> None:
    """Send a frame of speech each 20 ms."""
    loop = asyncio.get_running_loop()
    said, start = words(3.0), loop.time()
    for number in range(1 << 30):
        at = number * 320 % (len(said) - 320)
        pcm = PcmData(sample_rate=WIRE, format="s16", samples=said[at : at + 320])
        await gemini.send_audio_pcm(pcm, target_rate=WIRE)
        await asyncio.sleep(max(0.0, start + 0.02 * (number + 1) - loop.time()))


def message_sizes(session: LiveSession) -> list[int]:
    return [len(frame.data) * 4 // 3 for frame in session.frames if frame.kind == "video"]


async def until(what: Callable[[], Any]) -> None:
    async def poll() -> None:
        while not what():
            await asyncio.sleep(0.02)

    await asyncio.wait_for(poll(), 30)


async def test_images_shrink_until_audio_is_not_late(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 3 MB/s an image of 45 kB would hold audio up for 20 ms."""
    rate = 3_000_000
    async with on_a_path(local, monkeypatch, rate) as (gemini, session, _path):
        await until(lambda: gemini.stats().frames_sent > 50)
        options = VideoOptions(fps=10, skip_unchanged=False)
        gemini._video.note_speech("anna", True)
        await gemini.start_video_sender(mosaics(), options=options)
        await until(lambda: len(message_sizes(session)) >= 16)
        sizes = message_sizes(session)
        print(sizes)
        # What the path carries in 5 ms, and the proxy's own buffer and grain.
        assert max(sizes[8:]) <= rate * MAX_AUDIO_DELAY_S + 12_000
        assert min(sizes) >= SMALLEST_MESSAGE_BYTES // 2
        assert gemini.stats().video.frames_rejected == 0


async def test_on_a_path_that_is_too_slow_images_wait_for_a_silence(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 100 kB/s the smallest image would hold audio up for 40 ms."""
    async with on_a_path(local, monkeypatch, 100_000) as (gemini, session, path):
        await until(lambda: gemini.stats().frames_sent > 50)
        gemini._video.note_speech("anna", True)
        options = VideoOptions(fps=5, skip_unchanged=False)
        await gemini.start_video_sender(mosaics(), options=options)
        await until(lambda: gemini.stats().video.images_postponed >= 1)
        await until(lambda: gemini._video._budget.max_bytes(speaking=True) is None)
        sent = len(message_sizes(session))
        frames = gemini.stats().frames_sent
        await until(lambda: gemini.stats().frames_sent > frames + 100)
        assert len(message_sizes(session)) <= sent + 1, "no more, while two seconds were said"
        path.bytes_per_s = 10e6
        gemini._video.note_speech("anna", False)
        await until(lambda: len(message_sizes(session)) > sent + 3)
        assert gemini.stats().input_dropped_ms == 0
