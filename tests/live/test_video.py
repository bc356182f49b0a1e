"""Video frames: any source, the newest frame, a small JPEG, and garbage that does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError, VideoStreamTrack
from getstream.plugins.gemini.errors import ConfigError, VideoError
from getstream.plugins.gemini.live._media.video import (
    CHANGED_LEVELS,
    MAX_BACKLOG_FRAMES,
    EncodedImage,
    EndOfVideoError,
    ImageEncoder,
    LatestFrame,
    check_source,
    has_changed,
    picture_of,
    quantizer_of,
)
from getstream.plugins.gemini.testing.clock import run_virtual


def picture(width: int = 640, height: int = 480) -> av.VideoFrame:
    """Draw a smooth picture: red grows to the right, green downwards."""
    return av.VideoFrame.from_ndarray(rgb(width, height), format="rgb24")


def rgb(width: int = 640, height: int = 480) -> np.ndarray[Any, Any]:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)[None, :]
    pixels[..., 1] = np.linspace(0, 255, height)[:, None]
    return pixels


def mosaic(width: int, height: int) -> np.ndarray[Any, Any]:
    """Draw tiles of 8 x 8 pixels in random colours: much to encode, at any size."""
    shape = (height // 8, width // 8, 3)
    tiles = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    return tiles.repeat(8, axis=0).repeat(8, axis=1)


def i420(width: int, height: int, luma: int) -> SimpleNamespace:
    """Make what `getstream` 7 hands over: planes in one flat array."""
    chroma = ((width + 1) // 2) * ((height + 1) // 2)
    data = np.full(width * height + 2 * chroma, 128, np.uint8)
    data[: width * height] = luma
    return SimpleNamespace(data=data, width=width, height=height)


def encode(frame: Any, max_side: int = 768, quality: int = 75, **options: Any) -> EncodedImage:
    image = ImageEncoder(max_side, quality).encode(frame, **options)
    assert image is not None
    return image


def decode(jpeg: bytes) -> np.ndarray[Any, Any]:
    decoder = av.CodecContext.create("mjpeg", "r")
    frame = decoder.decode(av.Packet(jpeg))[0]  # type: ignore[attr-defined]
    return frame.to_ndarray(format="rgb24")  # type: ignore[no-any-return]


# -- images --------------------------------------------------------------------------------------


def check_colours(jpeg: bytes) -> None:
    seen = decode(jpeg).astype(int)
    assert seen.shape == (480, 640, 3)
    assert abs(seen[240, 40, 0] - 16) < 8
    assert abs(seen[240, 600, 0] - 239) < 8
    assert abs(seen[20, 320, 1] - 10) < 8
    assert abs(seen[460, 320, 1] - 244) < 8


def test_the_picture_survives() -> None:
    check_colours(encode(picture()).jpeg)


@pytest.mark.parametrize("of", ["array", "object", "read-only"])
def test_rgb_arrays(of: str) -> None:
    pixels = rgb()
    frame: Any = pixels
    if of == "object":
        frame = SimpleNamespace(data=pixels.reshape(-1), width=640, height=480)
    if of == "read-only":
        pixels.flags.writeable = False
    check_colours(encode(frame).jpeg)


def test_an_i420_array() -> None:
    frame = i420(640, 480, 235)
    assert decode(encode(frame.data.reshape(720, 640)).jpeg).mean() > 249


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1280, 720), (768, 432)), ((720, 1280), (432, 768)), ((100, 60), (100, 60))],
)
def test_no_side_is_longer_than_768(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = encode(picture(*size))
    height, width, _ = decode(image.jpeg).shape
    assert (width, height) == (image.width, image.height) == expected
    assert image.source_size == size


def test_the_size_is_an_option() -> None:
    assert decode(encode(picture(), max_side=320).jpeg).shape == (240, 320, 3)


@pytest.mark.parametrize("size", [(640, 480), (641, 481), (3, 3)])
@pytest.mark.parametrize("luma", [16, 126, 235])
def test_frames_of_the_stream_sdk(size: tuple[int, int], luma: int) -> None:
    seen = decode(encode(i420(*size, luma)).jpeg).astype(int)
    # BT.601 limited range: 16 is black, 235 is white.
    assert np.abs(seen - (luma - 16) * 255 / 219).max() < 6


def test_a_frame_of_8k_and_one_beyond() -> None:
    image = encode(i420(7680, 4320, 126))
    assert (image.width, image.height) == (768, 432)
    with pytest.raises(VideoError, match="larger than 8k"):
        encode(SimpleNamespace(data=np.zeros(1, np.uint8), width=7682, height=4320))


def test_an_encoder_follows_the_size_of_the_frames() -> None:
    encoder = ImageEncoder(768, 75)
    sizes = [(1280, 720), (320, 240), (720, 1280), (1280, 720)]
    images = [encoder.encode(i420(*size, 100)) for size in sizes]
    assert [image and (image.width, image.height) for image in images] == [
        (768, 432),
        (320, 240),
        (432, 768),
        (768, 432),
    ]


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        b"jpeg?",
        np.zeros(10, np.uint8),
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((480, 640, 4), np.uint8),
        SimpleNamespace(data=np.zeros(10, np.uint8), width=640, height=480),
        SimpleNamespace(data=np.zeros(460800, np.float32), width=640, height=480),
        SimpleNamespace(data=None, width=640, height=480),
        SimpleNamespace(data=np.zeros(0, np.uint8), width=0, height=0),
        SimpleNamespace(data=np.zeros(1, np.uint8), width="wide", height=1),
        SimpleNamespace(data=np.zeros(1, np.uint8), width=1, height=1),
        SimpleNamespace(data=np.zeros(1, np.uint8), width=-640, height=-480),
    ],
)
def test_garbage_is_a_typed_error(garbage: Any) -> None:
    with pytest.raises(VideoError):
        encode(garbage)


@pytest.mark.parametrize("size", [(640, 480), (642, 482), (2, 2), (1280, 720)])
def test_the_rows_of_a_picture_are_padded(size: tuple[int, int]) -> None:
    """swscale reads whole SIMD registers: past the end of an array that is not padded."""
    for plane in picture_of(i420(*size, 100)).planes:
        assert plane.line_size % 16 == 0
        assert plane.line_size >= plane.width
    (plane,) = picture_of(rgb(*size)).planes
    assert plane.line_size % 16 == 0


def test_quality_goes_by_the_tables_of_libjpeg() -> None:
    assert [quantizer_of(quality) for quality in (1, 25, 50, 75, 100)] == [31, 16, 8, 4, 2]
    sizes = [len(encode(mosaic(320, 240), quality=quality).jpeg) for quality in (25, 50, 75, 90)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("max_bytes", [60_000, 20_000, 6_000, 2_000])
def test_a_byte_budget_is_kept(max_bytes: int) -> None:
    image = encode(mosaic(1280, 720), max_bytes=max_bytes)
    assert len(image.jpeg) <= max_bytes
    assert image.fits
    assert decode(image.jpeg).shape == (image.height, image.width, 3)
    assert len(image.jpeg) > max_bytes / 4, "it is used, too"


def test_the_size_stays_while_quality_is_enough() -> None:
    full = encode(picture(1280, 720))
    image = encode(picture(1280, 720), max_bytes=len(full.jpeg) * 3 // 4)
    assert (image.width, image.height) == (768, 432)
    assert image.fits


def test_a_budget_that_cannot_be_kept_is_told() -> None:
    image = encode(mosaic(640, 480), max_bytes=100)
    assert not image.fits
    assert decode(image.jpeg).shape == (image.height, image.width, 3)


# -- changes -------------------------------------------------------------------------------------


def text_on_white(letters: int) -> np.ndarray[Any, Any]:
    """Draw a white 720p screen with so many letters: 8 x 12 pixels, 40 % of them ink."""
    screen = np.full((720, 1280, 3), 255, np.uint8)
    ink = np.random.default_rng(2).random((12, 8)) < 0.4
    for index in range(letters):
        y, x = 20 + 20 * (index // 100), 20 + 12 * (index % 100)
        screen[y : y + 12, x : x + 8][ink] = 0
    return screen


def test_one_letter_is_a_change() -> None:
    encoder = ImageEncoder(768, 75)
    before = encoder.encode(text_on_white(250))
    assert before is not None
    assert encoder.encode(text_on_white(250), previous=before.thumbnail) is None
    after = encoder.encode(text_on_white(251), previous=before.thumbnail)
    assert after is not None
    difference = after.thumbnail.astype(int) - before.thumbnail.astype(int)
    assert np.abs(difference).max() >= 2 * CHANGED_LEVELS, "with a margin"


def test_the_noise_of_a_sensor_is_none() -> None:
    encoder = ImageEncoder(768, 75)
    rng = np.random.default_rng(3)
    clean = rgb(1280, 720).astype(int)
    frames = [
        np.clip(clean + rng.normal(0, 6, clean.shape), 0, 255).astype(np.uint8) for _ in range(2)
    ]
    first = encoder.encode(frames[0])
    assert first is not None
    assert encoder.encode(frames[1], previous=first.thumbnail) is None


@pytest.mark.parametrize(("levels", "changed"), [(0, False), (5, False), (6, True), (-6, True)])
def test_the_threshold(levels: int, changed: bool) -> None:
    before = np.full((36, 64), 100, np.uint8)
    after = before.copy()
    after[7, 7] = 100 + levels
    assert has_changed(before, after) is changed


# -- reading -------------------------------------------------------------------------------------


async def camera(seconds: float, fps: float = 30.0) -> AsyncIterator[Any]:
    for index in range(int(seconds * fps)):
        yield index
        await asyncio.sleep(1 / fps)


def reading(source: Any, scenario: Any) -> LatestFrame:
    """Run `scenario(reader)` on a virtual clock while `source` is read."""

    async def main() -> LatestFrame:
        reader = LatestFrame(source)
        task = asyncio.ensure_future(reader.run())
        try:
            await scenario(reader)
        finally:
            reader.stopping = True
            task.cancel()
            await asyncio.wait([task])
        return reader

    return run_virtual(main())


class Track(VideoStreamTrack):
    """Thirty frames a second, for a second."""

    count = 0

    async def recv(self) -> Any:
        if self.count == 30:
            raise MediaStreamError
        self.count += 1
        await asyncio.sleep(1 / 30)
        return self.count - 1


@pytest.mark.parametrize("source", [lambda: camera(1.0), Track], ids=["iterator", "aiortc"])
def test_the_newest_frame_and_each_once(source: Any) -> None:
    async def scenario(reader: LatestFrame) -> None:
        await asyncio.sleep(0.51)
        assert await reader.next() in (14, 15)
        assert await reader.next() in (15, 16), "the one after it"
        await asyncio.sleep(1.0)
        assert await reader.next() == 29
        assert reader.ended.is_set()
        with pytest.raises(EndOfVideoError):
            await reader.next()

    assert reading(source(), scenario).read == 30, "all of them are read"


class NativeTrack:
    """`RemoteTrack`: keeps the newest frame; a stream begins with what has piled up.

    A stream counts what it hands over, which the SDK copies out each time.
    """

    def __init__(self, backlog: int = 0) -> None:
        self.copies = 0
        self._backlog = backlog

    async def video_frames(self) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        for index in range(self._backlog):
            self.copies += 1
            yield -1 - index
        start, last = loop.time(), -1
        while True:
            due = start + (last + 1) / 30
            if loop.time() < due:
                await asyncio.sleep(due - loop.time())
            last = int((loop.time() - start) * 30 + 1e-6)
            self.copies += 1
            yield last


def test_a_remote_track_is_read_when_a_frame_is_wanted() -> None:
    track = NativeTrack()

    async def scenario(reader: LatestFrame) -> None:
        await reader.next()
        for _ in range(4):
            await asyncio.sleep(1.0)
            now = asyncio.get_running_loop().time()
            frame = await reader.next()
            assert abs(frame - (now - start) * 30) <= 1.1
        assert reader.read <= 7

    start = 0.0

    async def begin(reader: LatestFrame) -> None:
        nonlocal start
        start = asyncio.get_running_loop().time()
        await scenario(reader)

    reading(track, begin)
    assert track.copies <= 8, "of 120 frames"


def test_a_backlog_is_passed_over() -> None:
    async def scenario(reader: LatestFrame) -> None:
        assert await reader.next() >= 0

    reading(NativeTrack(backlog=20), scenario)


def test_the_last_of_a_backlog_is_all_that_a_still_screen_has() -> None:
    class Still:
        async def video_frames(self) -> AsyncIterator[Any]:
            for index in range(5):
                yield index
            await asyncio.Event().wait()

    async def scenario(reader: LatestFrame) -> None:
        assert await reader.next() == 4

    reading(Still(), scenario)


def test_a_source_that_never_waits_does_not_hold_the_loop() -> None:
    async def file() -> AsyncIterator[Any]:
        for index in range(10_000):
            yield index

    async def scenario(reader: LatestFrame) -> None:
        await asyncio.sleep(1.0)
        assert 100 <= reader.read <= 130

    reading(file(), scenario)


def test_so_does_a_remote_track_that_never_waits() -> None:
    class Fast:
        async def video_frames(self) -> AsyncIterator[Any]:
            for index in range(10_000):
                yield index

    async def scenario(reader: LatestFrame) -> None:
        await reader.next()
        await asyncio.sleep(1.0)
        assert reader.read <= MAX_BACKLOG_FRAMES + 1

    reading(Fast(), scenario)


def test_what_a_source_raises_comes_after_its_last_frame() -> None:
    async def broken() -> AsyncIterator[Any]:
        yield "last"
        raise OSError("camera unplugged")

    async def scenario(reader: LatestFrame) -> None:
        assert await reader.next() == "last"
        with pytest.raises(OSError, match="camera unplugged"):
            await reader.next()

    reading(broken(), scenario)


def test_a_generator_is_closed() -> None:
    closed = []

    async def source() -> AsyncIterator[Any]:
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    async def scenario(reader: LatestFrame) -> None:
        await reader.next()

    reading(source(), scenario)
    assert closed == [True]


@pytest.mark.parametrize("source", [None, "track", b"", 3, SimpleNamespace(recv=1, kind="audio")])
def test_a_source_that_is_none(source: Any) -> None:
    with pytest.raises(ConfigError, match="start_video_sender takes"):
        check_source(source)
