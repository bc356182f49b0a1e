"""Pictures to the model: the newest frame, small, as JPEG, and never at the cost of the audio."""

from __future__ import annotations

import asyncio
import fractions
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, cast

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError

from ...errors import ConfigError, VideoError

logger = logging.getLogger("getstream.plugins.gemini")

MAX_SIDE = 768
"""Longest side in pixels; the model sees 768x768 (ai.google.dev, Live API best practices)."""

JPEG_QUANTIZER = 4
"""mjpeg's scale, 2 (best) to 31: 22 kB for a 768x432 picture of a room."""

MAX_FPS = 30.0
MAX_BAD_FRAMES = 10
"""Frames in a row that cannot be used before the sender gives the track up."""


class VideoSender:
    """Reads one video source and sends a picture every `1 / fps` seconds.

    Frames in between are read and thrown away, so that what is sent is never old. Scaling and
    encoding run on `worker`, off the event loop.

    Args:
        source: a `RemoteTrack` of `getstream` 7, an aiortc `MediaStreamTrack`, or an async
            iterator of `av.VideoFrame` or of objects with `data` (I420, uint8), `width`, `height`.
        fps: pictures per second, above 0 and at most 30. Gemini looks at one per second.
        send: sends one JPEG.
        worker: where to encode.

    Raises:
        ConfigError: `fps` is out of range, or `source` is none of these.
    """

    def __init__(
        self,
        source: Any,
        fps: float,
        send: Callable[[bytes], Awaitable[bool]],
        worker: Executor,
    ) -> None:
        check_fps(fps)
        if isinstance(source, (str, bytes)) or not any(
            hasattr(source, name) for name in ("video_frames", "recv", "__aiter__")
        ):
            raise ConfigError(
                "start_video_sender takes a RemoteTrack, an aiortc MediaStreamTrack or an async "
                f"iterator of frames, not {type(source).__name__}"
            )
        if getattr(source, "kind", "video") != "video":
            raise ConfigError(f"start_video_sender takes a video track, not {source.kind!r}")
        self.source = source
        self.sent = 0
        self.bad = 0
        self.stopped = False
        self._interval = 1.0 / fps
        self._send = send
        self._worker = worker

    async def run(self) -> None:
        """Send until the source ends, or `stopped` is set.

        Raises:
            VideoError: `MAX_BAD_FRAMES` frames in a row could not be used.
        """
        loop = asyncio.get_running_loop()
        due = loop.time()
        bad = 0
        async for frame in _frames_of(self.source):
            if self.stopped:  # by the source itself, in this very task
                return
            now = loop.time()
            if now < due:
                continue
            # Keep the rhythm; after a gap begin a new one.
            on_time = now < due + self._interval
            due = (due if on_time else now) + self._interval
            try:
                jpeg = await loop.run_in_executor(self._worker, encode_jpeg, frame)
            except VideoError as error:
                bad += 1
                self.bad += 1
                if self.bad == 1:
                    logger.warning("A video frame cannot be sent: %s", error)
                if bad >= MAX_BAD_FRAMES:
                    raise VideoError(
                        f"{bad} video frames in a row could not be used, the last one because: "
                        f"{error}. The video sender has stopped."
                    ) from error
                continue
            bad = 0
            self.sent += await self._send(jpeg)


def check_fps(fps: float) -> None:
    """Raises ConfigError unless `fps` is above 0 and at most `MAX_FPS`."""
    if not isinstance(fps, (int, float)) or not 0 < fps <= MAX_FPS:
        raise ConfigError(f"fps must be above 0 and at most {MAX_FPS:g}, not {fps!r}")


def encode_jpeg(frame: Any) -> bytes:
    """Scale a frame to at most `MAX_SIDE` pixels a side and encode it.

    Raises:
        VideoError: the frame is not a picture.
    """
    picture = _picture_of(frame)
    scale = min(1.0, MAX_SIDE / max(picture.width, picture.height))
    width, height = (
        max(2, round(side * scale / 2) * 2) for side in (picture.width, picture.height)
    )
    try:
        scaled = picture.reformat(width=width, height=height, format="yuvj420p")
        encoder = cast(av.VideoCodecContext, av.CodecContext.create("mjpeg", "w"))
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
        encoder.time_base = fractions.Fraction(1, 1)
        encoder.qmin = encoder.qmax = JPEG_QUANTIZER
        scaled.pts = 0
        packets = [*encoder.encode(scaled), *encoder.encode(None)]
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise VideoError(f"encoding failed: {error}") from error
    return b"".join(bytes(packet) for packet in packets)


def _picture_of(frame: Any) -> av.VideoFrame:
    if isinstance(frame, av.VideoFrame):
        if frame.width < 1 or frame.height < 1:
            raise VideoError("it has no pixels")
        return frame
    try:
        width, height = int(frame.width), int(frame.height)
        data = np.asarray(frame.data)
    except (AttributeError, TypeError, ValueError):
        raise VideoError(
            f"a frame must be an av.VideoFrame or have data, width and height, "
            f"not {type(frame).__name__}"
        ) from None
    chroma = ((width + 1) // 2) * ((height + 1) // 2)
    if (
        width < 2
        or height < 2
        or data.dtype != np.uint8
        or data.size != width * height + 2 * chroma
    ):
        raise VideoError(
            f"{data.size} values of {data.dtype} are not an I420 picture of {width}x{height}"
        )
    flat = np.ascontiguousarray(data).reshape(-1)
    if width % 2 or height % 2:
        flat = _even_i420(flat, width, height)
        width, height = width // 2 * 2, height // 2 * 2
    return av.VideoFrame.from_ndarray(flat.reshape(height * 3 // 2, width), format="yuv420p")


def _even_i420(flat: Any, width: int, height: int) -> Any:
    """Cut the odd last column and row: PyAV takes I420 of even sizes only."""
    even_w, even_h = width // 2 * 2, height // 2 * 2
    chroma_w, chroma_h = (width + 1) // 2, (height + 1) // 2
    luma, rest = flat[: width * height], flat[width * height :]
    planes = [luma.reshape(height, width)[:even_h, :even_w]]
    planes += [
        plane.reshape(chroma_h, chroma_w)[: even_h // 2, : even_w // 2]
        for plane in (rest[: chroma_w * chroma_h], rest[chroma_w * chroma_h :])
    ]
    return np.concatenate([plane.reshape(-1) for plane in planes])


async def _frames_of(source: Any) -> AsyncIterator[Any]:
    if hasattr(source, "video_frames"):
        source = source.video_frames()
    if hasattr(source, "__aiter__"):
        async for frame in source:
            yield frame
        return
    while True:
        try:
            yield await source.recv()
        except MediaStreamError:
            return
