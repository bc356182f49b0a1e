"""Run contenders on a camera of 30 frames a second, and measure CPU and holds of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import av
import numpy as np

from .contenders import Run

CAMERA_FPS = 30


@dataclass(frozen=True)
class Measured:
    """One run of one contender.

    Attributes:
        cpu_ms: CPU of the process.
        holds_ms: the longest callbacks, each between two images: CPU of the event loop's thread.
        sizes: bytes of the images.
        read: frames that were taken from the camera.
    """

    cpu_ms: float
    holds_ms: list[float]
    sizes: list[int]
    read: int


class Camera:
    """Frames of a list, 30 a second: `av.VideoFrame` as aiortc hands them over."""

    def __init__(self, frames: Sequence[av.VideoFrame]) -> None:
        self.read = 0
        self._frames = frames

    async def __aiter__(self) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        start = loop.time()
        number = 0
        while True:
            await asyncio.sleep(start + number / CAMERA_FPS - loop.time())
            # A sender that is late has missed frames: what piles up elsewhere is not counted here.
            number = max(number, int((loop.time() - start) * CAMERA_FPS))
            self.read += 1
            yield self._frames[number % len(self._frames)]
            number += 1


class RemoteCamera:
    """Frames as `RemoteTrack` of `getstream` 7 hands them over: a copy of the newest one."""

    def __init__(self, frames: Sequence[av.VideoFrame]) -> None:
        self.read = 0
        self._planes = [np.ascontiguousarray(frame.to_ndarray()).reshape(-1) for frame in frames]
        self._size = frames[0].width, frames[0].height

    async def video_frames(self) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        start, last = loop.time(), -1
        width, height = self._size
        while True:
            wait_s = start + (last + 1) / CAMERA_FPS - loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            last = max(last + 1, int((loop.time() - start) * CAMERA_FPS))
            self.read += 1
            data = self._planes[last % len(self._planes)].copy()
            yield SimpleNamespace(data=data, width=width, height=height)


@contextlib.contextmanager
def watched() -> Iterator[list[tuple[float, float]]]:
    """Note `(time, CPU in ms)` of each callback of the event loop."""
    seen: list[tuple[float, float]] = []
    run = asyncio.Handle._run

    def watch(handle: asyncio.Handle) -> None:
        before = time.thread_time()
        run(handle)
        seen.append((time.perf_counter(), (time.thread_time() - before) * 1e3))

    asyncio.Handle._run = watch  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]


def measure(contender: Run, camera: Any, seconds: float) -> Measured:
    """Run one contender for so long."""
    sent: list[tuple[float, int]] = []

    async def main() -> float:
        def send(data: bytes) -> None:
            sent.append((time.perf_counter(), len(data)))

        running = asyncio.ensure_future(contender(camera, send))
        await asyncio.sleep(0.5)  # the first image makes the encoder
        sent.clear()
        before = time.process_time()
        await asyncio.sleep(seconds)
        cpu_s = time.process_time() - before
        running.cancel()
        await asyncio.wait([running])
        return cpu_s

    with watched() as callbacks:
        cpu_s = asyncio.run(main())
    ends = [at for at, _ in sent]
    holds = [
        max((cpu for at, cpu in callbacks if begin < at <= end), default=0.0)
        for begin, end in zip(ends, [*ends[1:], float("inf")], strict=False)
    ]
    return Measured(cpu_s * 1e3, holds, [size for _, size in sent], camera.read)
