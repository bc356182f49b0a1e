"""A synthetic picture that says which frame it is."""

from __future__ import annotations

import asyncio
import fractions
import time

import aiortc
import av
import numpy as np
from numpy.typing import NDArray

__all__ = ["Camera", "read_frame_number"]

_BITS = 16
_VIDEO_CLOCK = 90_000
_BLACK, _WHITE = 16, 235  # the limits of video range luma (ITU-R BT.601)


class Camera(aiortc.MediaStreamTrack):
    """A diagonal grey gradient that moves, under a row of 16 squares: the frame number in binary.

    The squares are large enough to survive any codec; `read_frame_number` reads them back.
    """

    kind = "video"

    def __init__(
        self, fps: float = 15.0, size: tuple[int, int] = (320, 240), first: int = 0
    ) -> None:
        """Create a camera.

        Args:
            fps: Frames per second.
            size: Width and height in pixels, both even, at least 64 x 48.
            first: The number of the first frame: two cameras with numbers far apart can be told
                apart.

        Raises:
            ValueError: The size or the rate cannot be used.
        """
        super().__init__()
        width, height = size
        if width < 64 or height < 48 or width % 2 or height % 2:
            raise ValueError(f"size is {size}; width and height must be even, at least 64 x 48")
        if not 0 < fps <= 60:
            raise ValueError(f"fps is {fps}; it must be above 0 and at most 60")
        self._fps = fps
        self._size = size
        self._count = 0
        self._origin = 0.0
        self._first = first
        # Drawn once: a frame is a window of it, for 30 frames of 720p a second are much to compute.
        period = _WHITE - _BLACK
        self._ramp = (_BLACK + np.arange(width + height + period) % period).astype(np.uint8)
        self._chroma = np.full((height // 2, width), 128, np.uint8)

    async def recv(self) -> av.VideoFrame:
        """The next frame, when it is due."""
        if self.readyState != "live":
            raise aiortc.mediastreams.MediaStreamError
        if self._count == 0:
            self._origin = time.monotonic()
        due = self._origin + self._count / self._fps
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        frame = self._draw(self._first + self._count)
        frame.pts = round(self._count / self._fps * _VIDEO_CLOCK)
        frame.time_base = fractions.Fraction(1, _VIDEO_CLOCK)
        self._count += 1
        return frame

    def _draw(self, number: int) -> av.VideoFrame:
        width, height = self._size
        shift = 4 * number % (_WHITE - _BLACK)
        # Row y is the ramp from y on: sliding windows are views, and only their copy costs.
        windows = np.lib.stride_tricks.sliding_window_view(self._ramp[shift:], width)
        luma = windows[:height].copy()
        square = width // _BITS
        for bit in range(_BITS):
            value = _WHITE if number >> bit & 1 else _BLACK
            luma[: height // 8, bit * square : (bit + 1) * square] = value
        picture = np.concatenate([luma, self._chroma])
        return av.VideoFrame.from_ndarray(picture, format="yuv420p")


def read_frame_number(luma: NDArray[np.uint8]) -> int:
    """The number, modulo 65536, of a frame that a `Camera` drew.

    Args:
        luma: The Y plane, shape (height, width), of any size and after any codec.
    """
    height, width = luma.shape
    square = width / _BITS
    number = 0
    for bit in range(_BITS):
        left, right = int((bit + 0.3) * square), int((bit + 0.7) * square)
        patch = luma[height // 32 : 3 * height // 32 + 1, left : right + 1]
        number |= int(patch.mean() > (_BLACK + _WHITE) / 2) << bit
    return number
