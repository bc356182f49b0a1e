"""`start_video_sender` and `stop_video_sender`, also by the source itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from gemini_calls import happens
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.testing import Parrot, Script

Local = Callable[..., Any]


async def test_video_goes_to_the_service(local: Local) -> None:
    async def camera() -> Any:
        for _ in range(2):
            yield SimpleNamespace(
                data=np.full(640 * 480 * 3 // 2, 128, np.uint8), width=640, height=480
            )

    async with local(Parrot()) as server, GeminiLive() as gemini:
        await gemini.start_video_sender(camera(), fps=30)
        session = await server.wait_session()
        (frame, *_) = await session.wait_frames("video", 1)
        assert frame.data[:2] == b"\xff\xd8", "a JPEG"
        await gemini.stop_video_sender()
        await gemini.stop_video_sender()


async def test_a_video_track_that_fails_is_reported(local: Local, collect: Any) -> None:
    async def broken() -> Any:
        yield None
        raise OSError("camera unplugged")

    async with local(Parrot()), GeminiLive() as gemini:
        failed = asyncio.ensure_future(happens(gemini, "error"))
        await gemini.start_video_sender(broken(), fps=30)
        (error,) = await failed
        assert "camera unplugged" in str(error)
        assert gemini.stats().video_frames_rejected == 1


@pytest.mark.parametrize("then", ["yield", "wait", "return", "swallow"])
async def test_a_video_source_may_stop_its_sender(local: Local, then: str) -> None:
    async with local(Script([[]] * 9)), GeminiLive() as gemini:
        after = 0
        stopped = asyncio.Event()

        async def camera() -> AsyncIterator[Any]:
            nonlocal after
            try:
                yield picture
                await gemini.stop_video_sender()
                stopped.set()
                if then == "return":
                    return
                if then != "yield":
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                if then != "swallow":
                    raise
            while True:
                after += 1
                yield picture

        picture = av.VideoFrame(64, 48, "yuv420p")
        await gemini.start_video_sender(camera(), fps=30)
        (task,) = [each for each in asyncio.all_tasks() if "VideoInput._run" in repr(each)]
        await asyncio.wait_for(asyncio.wait([task]), 10)
        assert stopped.is_set()
        assert after <= 1, "it was read no further"
        assert gemini.stats().video_frames_sent == 1
        # And there may be another one.
        assert gemini.stats().video.view == ()
        await gemini.start_video_sender(forever(picture), fps=30)
        while gemini.stats().video_frames_sent < 2:
            await asyncio.sleep(0.01)
        await gemini.stop_video_sender()


async def forever(picture: Any) -> AsyncIterator[Any]:
    while True:
        yield picture
        await asyncio.sleep(0.01)


async def test_a_video_source_may_start_another_sender(local: Local) -> None:
    async with local(Script([[]] * 9)), GeminiLive() as gemini:
        picture = av.VideoFrame(64, 48, "yuv420p")
        ended = asyncio.Event()

        async def first() -> AsyncIterator[Any]:
            try:
                yield picture
                await gemini.start_video_sender(forever(picture), fps=30)
                while True:
                    yield picture
                    await asyncio.sleep(0.01)
            finally:
                ended.set()

        await gemini.start_video_sender(first(), fps=30)
        await asyncio.wait_for(ended.wait(), 10)
        while gemini.stats().video_frames_sent < 3:
            await asyncio.sleep(0.01)
        running = [each for each in asyncio.all_tasks() if "VideoInput._run" in repr(each)]
        assert len(running) == 1
        await gemini.stop_video_sender()
        assert running[0].done()


async def test_a_video_source_may_close_the_assistant(local: Local) -> None:
    async with local(Script([[]] * 9)):
        gemini = GeminiLive()
        await gemini.wait_until_ready()
        picture = av.VideoFrame(64, 48, "yuv420p")

        async def camera() -> AsyncIterator[Any]:
            yield picture
            await gemini.close()
            while True:
                yield picture
                await asyncio.sleep(0.01)

        closed = asyncio.ensure_future(happens(gemini, "closed"))
        await gemini.start_video_sender(camera(), fps=30)
        await closed
        await gemini.close()
        assert not [each for each in asyncio.all_tasks() if "VideoInput._run" in repr(each)]


async def test_two_video_senders_at_once_are_one(local: Local) -> None:
    running = 0

    async def camera() -> Any:
        nonlocal running
        running += 1
        try:
            while True:
                yield None
                await asyncio.Event().wait()
        finally:
            running -= 1

    async with local(Parrot()), GeminiLive() as gemini:
        await gemini.start_video_sender(camera())
        await asyncio.gather(*(gemini.start_video_sender(camera()) for _ in range(3)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert running <= 1
        await gemini.stop_video_sender()
    for _ in range(20):
        await asyncio.sleep(0)
    assert running == 0
