"""Video: any source, the newest frame, a small JPEG, and garbage that does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError, VideoStreamTrack
from getstream.plugins.gemini.errors import ConfigError, VideoError
from getstream.plugins.gemini.live._media.video import MAX_BAD_FRAMES, VideoSender, encode_jpeg
from getstream.plugins.gemini.testing.clock import run_virtual


def picture(width: int = 640, height: int = 480) -> av.VideoFrame:
    """A smooth picture: red grows to the right, green downwards."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 0] = np.linspace(0, 255, width)[None, :]
    rgb[..., 1] = np.linspace(0, 255, height)[:, None]
    return av.VideoFrame.from_ndarray(rgb, format="rgb24")


def i420(width: int, height: int, luma: int) -> SimpleNamespace:
    """Frame of `getstream` 7: planes in one flat array."""
    chroma = ((width + 1) // 2) * ((height + 1) // 2)
    data = np.full(width * height + 2 * chroma, 128, np.uint8)
    data[: width * height] = luma
    return SimpleNamespace(data=data, width=width, height=height)


def decode(jpeg: bytes) -> np.ndarray[Any, Any]:
    frame = av.CodecContext.create("mjpeg", "r").decode(av.Packet(jpeg))[0]
    return frame.to_ndarray(format="rgb24")


def test_the_picture_survives() -> None:
    seen = decode(encode_jpeg(picture())).astype(int)
    assert seen.shape == (480, 640, 3)
    assert abs(seen[240, 40, 0] - 16) < 8
    assert abs(seen[240, 600, 0] - 239) < 8
    assert abs(seen[20, 320, 1] - 10) < 8
    assert abs(seen[460, 320, 1] - 244) < 8


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1280, 720), (768, 432)), ((720, 1280), (432, 768)), ((100, 60), (100, 60))],
)
def test_no_side_is_longer_than_768(size: tuple[int, int], expected: tuple[int, int]) -> None:
    height, width, _ = decode(encode_jpeg(picture(*size))).shape
    assert (width, height) == expected


@pytest.mark.parametrize("size", [(640, 480), (641, 481), (3, 3)])
@pytest.mark.parametrize("luma", [16, 126, 235])
def test_frames_of_the_stream_sdk(size: tuple[int, int], luma: int) -> None:
    seen = decode(encode_jpeg(i420(*size, luma))).astype(int)
    # BT.601 limited range: 16 is black, 235 is white.
    assert np.abs(seen - (luma - 16) * 255 / 219).max() < 6


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        b"jpeg?",
        SimpleNamespace(data=np.zeros(10, np.uint8), width=640, height=480),
        SimpleNamespace(data=np.zeros(460800, np.float32), width=640, height=480),
        SimpleNamespace(data=None, width=640, height=480),
        SimpleNamespace(data=np.zeros(0, np.uint8), width=0, height=0),
        SimpleNamespace(data=np.zeros(1, np.uint8), width="wide", height=1),
    ],
)
def test_garbage_is_a_typed_error(garbage: Any) -> None:
    with pytest.raises(VideoError):
        encode_jpeg(garbage)


class Inline(ThreadPoolExecutor):
    """Encodes at once: a virtual clock has no thread to wait for."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        future = super().submit(fn, *args, **kwargs)
        future.exception()
        return future


def run(
    source: Any, fps: float, takes: bool = True
) -> tuple[VideoSender, list[tuple[float, bytes]]]:
    sent: list[tuple[float, bytes]] = []

    async def main() -> VideoSender:
        loop = asyncio.get_running_loop()

        async def send(jpeg: bytes) -> bool:
            sent.append((loop.time(), jpeg))
            return takes

        with Inline(1) as worker:
            sender = VideoSender(source, fps, send, worker)
            await sender.run()
            return sender

    return run_virtual(main()), sent


async def camera(seconds: float, fps: float = 30.0) -> AsyncIterator[Any]:
    for index in range(int(seconds * fps)):
        yield i420(64, 48, 16 + index % 200)
        await asyncio.sleep(1 / fps)


def test_one_picture_a_second_and_always_the_newest() -> None:
    sender, sent = run(camera(5.0), fps=1)
    assert sender.sent == len(sent) == 5
    times = [round(time, 1) for time, _ in sent]
    assert times == [0.0, 1.0, 2.0, 3.0, 4.0]
    refused, _ = run(camera(2.0), fps=1, takes=False)
    assert refused.sent == 0, "there is no connection"
    # 30 frames of luma 16, 17, ...: the picture at second 2 is number 60.
    assert abs(decode(sent[2][1]).mean() - 60 * 255 / 219) < 4


def test_a_source_that_is_slower_than_fps() -> None:
    _, sent = run(camera(3.0, fps=2.0), fps=10)
    assert len(sent) == 6


def test_an_aiortc_track_that_ends() -> None:
    class Track(VideoStreamTrack):
        count = 0

        async def recv(self) -> av.VideoFrame:
            self.count += 1
            if self.count > 3:
                raise MediaStreamError
            await asyncio.sleep(1)
            return picture(64, 48)

    sender, _ = run(Track(), fps=1)
    assert sender.sent == 3


def test_some_garbage_is_counted_and_passed_over() -> None:
    async def source() -> AsyncIterator[Any]:
        for index in range(6):
            yield None if index % 2 else picture(64, 48)
            await asyncio.sleep(1)

    sender, _ = run(source(), fps=1)
    assert (sender.sent, sender.bad) == (3, 3)


def test_nothing_but_garbage_ends_the_sender() -> None:
    async def source() -> AsyncIterator[Any]:
        while True:
            yield b"not a frame"
            await asyncio.sleep(1)

    with pytest.raises(VideoError, match=f"{MAX_BAD_FRAMES} video frames in a row"):
        run(source(), fps=1)


@pytest.mark.parametrize("fps", [0, -1, 31, float("nan"), "1"])
def test_fps_is_checked(fps: Any) -> None:
    with pytest.raises(ConfigError, match="fps"):
        VideoSender(camera(1), fps, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", [None, "track", b"", 3])
def test_a_source_that_is_none(source: Any) -> None:
    with pytest.raises(ConfigError, match="start_video_sender takes"):
        VideoSender(source, 1, None, None)  # type: ignore[arg-type]
