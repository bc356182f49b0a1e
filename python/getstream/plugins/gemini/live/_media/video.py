"""Reads video sources and turns frames into small JPEGs."""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, cast

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from ...errors import ConfigError, VideoError

MIN_SIDE = 2
"""Shortest side of a frame in pixels: I420 has one chroma sample for 2 x 2 pixels."""

MAX_PIXELS = 7680 * 4320
"""Largest frame, 8k: 50 MB as I420. Scaling it takes 20 ms of the worker; a side that came from a
broken header would take gigabytes."""

MIN_QUANTIZER, MAX_QUANTIZER = 2, 31
"""Range of mjpeg's scale in FFmpeg, best to worst."""

COARSEST_QUANTIZER = 16
"""Beyond it a smaller image shows more than a coarser one: at 16 the SSIM of a 768 px photograph is
0.94, at 31 it is 0.89, for two thirds of the bytes."""

QUANTIZER_PER_SCALE = 0.08
"""mjpeg's quantizer for one percent of libjpeg's table scale. At equal SSIM, Pillow's quality 75
(scale 50) is quantizer 3 to 6, and 50 (scale 100) is 6 to 10: on a photograph and an editor."""

MAX_ATTEMPTS = 6
"""Encodings of one frame until it fits its byte budget: the size is predicted from the one before,
and the third fits as a rule."""

THUMBNAIL_SIZE = (64, 36)
"""Width and height in pixels. One cell of it is 20 x 20 pixels of a 720p frame, so that one letter
of a shared screen changes its cell by 10 and more of 255, and sensor noise averages out."""

CHANGED_LEVELS = 6
"""Difference of one cell, of 255, from which a frame counts as changed. A VP9 stream of a still
scene moves a cell by up to 3 at a keyframe."""

MIN_READ_INTERVAL_S = 1 / 120
"""Seconds between two frames at least: twice the fastest camera. A source that never waits, such as
a file, would hold the event loop; after a stall, frames that have piled up are read fast enough."""

LIVE_AFTER_S = 0.01
"""Seconds that a read of a live `RemoteTrack` takes: what comes sooner was waiting to be read. A
backlog comes at 1 ms for each frame."""

MAX_BACKLOG_FRAMES = 64

FRESH_S = 0.05
"""Seconds after which a frame of a `RemoteTrack` that nobody has taken is read anew."""

CATCH_UP_S = 1.0
"""Seconds to wait for a live frame. A shared screen in which nothing moves may send none: then the
last of the backlog is what it shows."""

Thumbnail = NDArray[np.uint8]


@dataclass(frozen=True)
class EncodedImage:
    """JPEG of one frame.

    Attributes:
        jpeg: the file.
        width: in pixels, after scaling.
        height: in pixels, after scaling.
        source_size: width and height of the frame, in pixels.
        thumbnail: grey levels of the frame, shape (36, 64).
        fits: whether the byte budget was kept; the smallest attempt if not.
    """

    jpeg: bytes
    width: int
    height: int
    source_size: tuple[int, int]
    thumbnail: Thumbnail
    fits: bool


class ImageEncoder:
    """Scales frames and encodes them as JPEG. Belongs to one thread.

    Args:
        max_side: longest side of an image, in pixels; smaller frames keep their size.
        quality: 1 to 100, about as libjpeg counts.
    """

    def __init__(self, max_side: int, quality: int) -> None:
        self._max_side = max_side
        self._quantizer = quantizer_of(quality)
        # Each keeps its swscale context while the size stays the same.
        self._scaler = VideoReformatter()
        self._thumbnails = VideoReformatter()

    def encode(
        self, frame: Any, max_bytes: int | None = None, previous: Thumbnail | None = None
    ) -> EncodedImage | None:
        """Scale and encode a frame, unless it shows what was shown before.

        Args:
            frame: as `picture_of` takes it.
            max_bytes: byte budget of the JPEG; None for no limit. Quality goes first, then size.
            previous: thumbnail of the image before; None encodes in any case.

        Returns:
            The image, or None if no cell of the thumbnail has changed by `CHANGED_LEVELS`.

        Raises:
            VideoError: the frame is not a picture, or FFmpeg cannot encode it.
        """
        picture = picture_of(frame)
        try:
            width, height = THUMBNAIL_SIZE
            small = self._thumbnails.reformat(
                picture, width=width, height=height, format="gray", interpolation="AREA"
            )
            thumbnail = cast(Thumbnail, small.to_ndarray())  # "gray" is uint8
            if previous is not None and not has_changed(previous, thumbnail):
                return None
            return self._fit(picture, thumbnail, max_bytes)
        except (av.FFmpegError, ValueError, MemoryError) as error:
            raise VideoError(f"encoding failed: {error}") from error

    def _fit(
        self, picture: av.VideoFrame, thumbnail: Thumbnail, max_bytes: int | None
    ) -> EncodedImage:
        quantizer, side = self._quantizer, self._max_side
        scaled = self._scale(picture, side)
        smallest: tuple[bytes, int, int] | None = None
        for _ in range(MAX_ATTEMPTS):
            jpeg = _encode_jpeg(scaled, quantizer)
            if smallest is None or len(jpeg) < len(smallest[0]):
                smallest = jpeg, scaled.width, scaled.height
            if max_bytes is None or len(jpeg) <= max_bytes:
                break
            excess = len(jpeg) / max_bytes
            if quantizer < COARSEST_QUANTIZER:
                # The size goes with about the inverse of the quantizer, and never faster.
                quantizer = min(COARSEST_QUANTIZER, math.ceil(quantizer * max(excess, 1.2)))
            else:
                longest = max(scaled.width, scaled.height)
                side = int(longest * max(0.25, 0.95 / math.sqrt(excess)))
                if side < 2 * MIN_SIDE:
                    break
                scaled = self._scale(picture, side)
        assert smallest is not None
        jpeg, width, height = smallest
        fits = max_bytes is None or len(jpeg) <= max_bytes
        source_size = picture.width, picture.height
        return EncodedImage(jpeg, width, height, source_size, thumbnail, fits)

    def _scale(self, picture: av.VideoFrame, max_side: int) -> av.VideoFrame:
        scale = min(1.0, max_side / max(picture.width, picture.height))
        width, height = (
            max(MIN_SIDE, round(side * scale / 2) * 2) for side in (picture.width, picture.height)
        )
        return self._scaler.reformat(
            picture, width=width, height=height, format="yuvj420p", interpolation="AREA"
        )


def quantizer_of(quality: int) -> int:
    """Return mjpeg's quantizer for a quality of 1 to 100 as libjpeg counts it."""
    # The scale of the tables, in percent: jpeg_quality_scaling in libjpeg.
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return min(MAX_QUANTIZER, max(MIN_QUANTIZER, round(scale * QUANTIZER_PER_SCALE)))


def has_changed(before: Thumbnail, after: Thumbnail) -> bool:
    """Tell whether one cell at least differs by `CHANGED_LEVELS`."""
    difference = np.abs(before.astype(np.int16) - after.astype(np.int16))
    return bool(difference.max() >= CHANGED_LEVELS)


def _encode_jpeg(picture: av.VideoFrame, quantizer: int) -> bytes:
    encoder = cast(av.VideoCodecContext, av.CodecContext.create("mjpeg", "w"))
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "yuvj420p"
    encoder.time_base = fractions.Fraction(1, 1)
    encoder.qmin = encoder.qmax = quantizer
    encoder.thread_count = 1  # it would make one thread for each core, for each image
    picture.pts = 0
    packets = [*encoder.encode(picture), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def picture_of(frame: Any) -> av.VideoFrame:
    """Return a frame as PyAV's.

    Args:
        frame: an `av.VideoFrame`; an object with `data`, `width` and `height`; or an ndarray. Data
            is uint8: I420 of any shape (as an ndarray: (3 * height / 2, width)), or RGB of
            3 * width * height values (as an ndarray: (height, width, 3)).

    Raises:
        VideoError: it is none of these, has no pixels, or more than `MAX_PIXELS`.
    """
    if isinstance(frame, av.VideoFrame):
        _check_size(frame.width, frame.height)
        return frame
    try:
        if isinstance(frame, np.ndarray):
            data, (width, height) = frame, _size_of(frame)
        else:
            width, height = int(frame.width), int(frame.height)
            data = np.asarray(frame.data)
    except (AttributeError, TypeError, ValueError):
        raise VideoError(
            "a frame must be an av.VideoFrame, an I420 or RGB array, or have data, width and "
            f"height, not {type(frame).__name__}"
        ) from None
    _check_size(width, height)
    if data.dtype != np.uint8:
        raise VideoError(f"the values of a frame must be uint8, not {data.dtype}")
    flat = np.ascontiguousarray(data).reshape(-1)
    if flat.size == 3 * width * height:
        picture = av.VideoFrame(width, height, "rgb24")
        _copy_plane(picture.planes[0], flat.reshape(height, 3 * width), bytes_per_pixel=3)
        return picture
    chroma = ((width + 1) // 2) * ((height + 1) // 2)
    if flat.size != width * height + 2 * chroma:
        raise VideoError(
            f"{flat.size} values are neither an I420 nor an RGB picture of {width}x{height}"
        )
    return _copy_i420(flat, width, height)


def _copy_i420(flat: NDArray[np.uint8], width: int, height: int) -> av.VideoFrame:
    """Copy an I420 picture into a frame of even size; an odd last column and row are cut."""
    frame = av.VideoFrame(width // 2 * 2, height // 2 * 2, "yuv420p")
    sizes = [(width, height)] + 2 * [((width + 1) // 2, (height + 1) // 2)]
    start = 0
    for plane, (columns, rows) in zip(frame.planes, sizes, strict=True):
        end = start + columns * rows
        _copy_plane(plane, flat[start:end].reshape(rows, columns))
        start = end
    return frame


def _copy_plane(plane: Any, rows: NDArray[np.uint8], bytes_per_pixel: int = 1) -> None:
    """Fill a plane, whose rows are padded: without that, swscale reads past the end of an array.

    numpy copies without the GIL.
    """
    width, height = plane.width * bytes_per_pixel, plane.height
    target = np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)
    target[:, :width] = rows[:height, :width]


def _size_of(array: NDArray[Any]) -> tuple[int, int]:
    """Return width and height of an RGB array, or of an I420 one."""
    if array.ndim == 3 and array.shape[2] == 3:
        return array.shape[1], array.shape[0]
    if array.ndim == 2 and array.shape[0] % 3 == 0:
        return array.shape[1], array.shape[0] * 2 // 3
    raise ValueError(f"an array of shape {array.shape}")


def _check_size(width: int, height: int) -> None:
    if width < MIN_SIDE or height < MIN_SIDE:
        raise VideoError(f"a frame of {width}x{height} has no pixels")
    if width * height > MAX_PIXELS:
        raise VideoError(f"a frame of {width}x{height} is larger than 8k")


class EndOfVideoError(Exception):
    """The source has no more frames."""


class LatestFrame:
    """Reads a source and keeps its newest frame.

    `RemoteTrack` of `getstream` 7 keeps the newest frame itself and copies it out when it is read,
    1.4 MB at 720p: it is read when a frame is wanted. Its stream begins with what was decoded last,
    and with the packets that came since, seconds old: these are passed over. Every other source is
    read all the time, for frames that nobody reads pile up; a frame is a reference there, and
    nothing is converted.

    Args:
        source: a `RemoteTrack`, an aiortc `MediaStreamTrack`, or an async iterator of frames.

    Attributes:
        read: frames read.
        stopping: whether the owner has no use for further frames.
        ended: set when the source has ended or failed.
    """

    def __init__(self, source: Any) -> None:
        self.read = 0
        self.stopping = False
        self.ended = asyncio.Event()
        self._source: Any = source
        self._keeps_newest = hasattr(source, "video_frames")
        self._read_at = 0.0
        self._frame: Any = None
        self._has_frame = False
        self._failure: Exception | None = None
        self._wanted = asyncio.Event()
        self._came = asyncio.Event()
        self._live = asyncio.Event()  # what is read is not older than the transport

    async def run(self) -> None:
        """Read until the source ends; what it raises is raised by `next`."""
        keeps_newest = self._keeps_newest
        frames, self._source = frames_of(self._source), None
        loop = asyncio.get_running_loop()
        if not keeps_newest:
            self._live.set()
        try:
            while not self.stopping:
                if keeps_newest and self._live.is_set():
                    await self._wanted.wait()
                    self._wanted.clear()
                began = loop.time()
                try:
                    frame = await frames.__anext__()
                except StopAsyncIteration:
                    return
                self.read += 1
                self._frame, self._has_frame, self._read_at = frame, True, loop.time()
                self._came.set()
                del frame
                took_s = self._read_at - began
                # The first one may have waited for a keyframe, with the packets since after it.
                waited = took_s >= LIVE_AFTER_S and self.read > 1
                if waited or self.read >= MAX_BACKLOG_FRAMES:
                    self._live.set()
                rest = MIN_READ_INTERVAL_S - took_s
                if not keeps_newest and rest > 0:
                    await asyncio.sleep(rest)
        except asyncio.CancelledError:
            if not self.stopping:
                # By somebody else: what the source waits for, or the end of the event loop.
                self._failure = VideoError(
                    "The video track failed: what it waits for was cancelled"
                )
            raise
        except Exception as error:
            self._failure = error
        finally:
            self.ended.set()
            self._live.set()
            self._came.set()
            await frames.aclose()

    async def next(self, within_s: float | None = None) -> Any:
        """Return the newest frame, which was not returned before; wait for it if needed.

        Args:
            within_s: seconds to wait for it; None waits as long as it takes.

        Raises:
            asyncio.TimeoutError: there was none in that time.
            EndOfVideoError: the source has ended.
            Exception: what the source has raised.
        """
        if not self._live.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._live.wait(), CATCH_UP_S)
        if self._keeps_newest and self._live.is_set():
            is_old = asyncio.get_running_loop().time() - self._read_at > FRESH_S
            if is_old and not self.ended.is_set():
                self._frame, self._has_frame = None, False
            if not self._has_frame:
                self._wanted.set()
        while self.stopping or not self._has_frame:
            self.check()
            self._came.clear()
            # `wait_for` may leave what it awaits in a task that nobody looks at: no exception.
            await asyncio.wait_for(self._came.wait(), within_s)
        frame, self._frame, self._has_frame = self._frame, None, False
        return frame

    def check(self) -> None:
        """Raise what `next` raises, if the source has ended, or is of no use any more.

        `asyncio.wait_for` may swallow a cancellation that comes with what it waits for.
        """
        if self.stopping:
            raise EndOfVideoError
        if self._failure is not None:
            raise self._failure
        if self.ended.is_set():
            raise EndOfVideoError


def check_source(source: Any) -> None:
    """Check that frames can be read from a source.

    Raises:
        ConfigError: they cannot, or it is not a video track.
    """
    if isinstance(source, (str, bytes)) or not any(
        hasattr(source, name) for name in ("video_frames", "recv", "__aiter__")
    ):
        raise ConfigError(
            "start_video_sender takes a RemoteTrack, an aiortc MediaStreamTrack or an async "
            f"iterator of frames, not {type(source).__name__}"
        )
    if getattr(source, "kind", "video") != "video":
        raise ConfigError(f"start_video_sender takes a video track, not {source.kind!r}")


async def frames_of(source: Any) -> AsyncGenerator[Any, None]:
    """Yield the frames of a source until it ends; close the source if it is a generator."""
    if hasattr(source, "video_frames"):
        source = source.video_frames()
    if not hasattr(source, "__aiter__"):
        while True:
            try:
                frame = await source.recv()
            except MediaStreamError:
                return
            yield frame
    try:
        async for frame in source:
            yield frame
    finally:
        if hasattr(source, "aclose"):
            await source.aclose()
