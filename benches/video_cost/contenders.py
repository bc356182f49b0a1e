"""Send frames of a camera as other agents do, by their sources.

Each takes an iterator of `av.VideoFrame` and sends an image every `1 / FPS` seconds. Sources: the
original plugin `live.py` of GetStream/stream-py (August 2025); Vision-Agents `video_utils.py` and
`video_forwarder.py`; Pipecat `smallwebrtc/transport.py` and `gemini_live/llm.py`; LiveKit
`utils/images/image.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import av
from getstream.plugins.gemini.live import VideoOptions
from getstream.plugins.gemini.live._media.video_input import VideoInput
from PIL import Image

FPS = 2.0
"""Images a second: twice the rate that Gemini looks at, for more of them to measure."""

Send = Callable[[bytes], None]
Frames = AsyncIterator[av.VideoFrame]
Run = Callable[[Any, Send], Awaitable[None]]


class _Due:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time()

    def __call__(self) -> bool:
        if self._loop.time() < self._at:
            return False
        self._at += 1 / FPS
        return True


async def floor(frames: Frames, send: Send) -> None:
    """Read every frame, and do nothing with it."""
    async for _ in frames:
        pass


def _png(frame: av.VideoFrame) -> bytes:
    out = io.BytesIO()
    frame.to_image().save(out, "PNG")
    return out.getvalue()


async def original(frames: Frames, send: Send) -> None:
    """PNG of the whole frame, on the event loop."""
    due = _Due()
    async for frame in frames:
        if due():
            send(_png(frame))


async def vision_agents(frames: Frames, send: Send) -> None:
    """PNG of the whole frame, in the default executor."""
    due, loop = _Due(), asyncio.get_running_loop()
    async for frame in frames:
        if due():
            send(await loop.run_in_executor(None, _png, frame))


async def pipecat(frames: Frames, send: Send) -> None:
    """RGB of every frame, and JPEG of the whole frame, on the event loop."""
    due = _Due()
    async for frame in frames:
        pixels = frame.to_ndarray(format="rgb24").tobytes()
        if due():
            out = io.BytesIO()
            Image.frombytes("RGB", (frame.width, frame.height), pixels).save(out, "JPEG")
            send(out.getvalue())


async def livekit(frames: Frames, send: Send) -> None:
    """RGBA, Pillow's resize to 1024, and JPEG, on the event loop."""
    due = _Due()
    async for frame in frames:
        if due():
            pixels = frame.to_ndarray(format="rgba")
            image = Image.fromarray(pixels).convert("RGB").resize((1024, 576))
            out = io.BytesIO()
            image.save(out, "JPEG", quality=75)
            send(out.getvalue())


async def pillow(frames: Frames, send: Send) -> None:
    """Pillow's resize to 768, and JPEG, on the event loop."""
    due = _Due()
    async for frame in frames:
        if due():
            out = io.BytesIO()
            frame.to_image().resize((768, 432)).save(out, "JPEG", quality=75)
            send(out.getvalue())


class _Link:
    def __init__(self, send: Send) -> None:
        self._send = send

    def may_send_video(self) -> bool:
        return True

    def late_frames(self) -> int:
        return 0

    async def send_video(self, jpeg: bytes) -> float | None:
        self._send(jpeg)
        return 0.0

    async def send_note(self, text: str) -> None:
        raise AssertionError(f"nobody asked to announce {text!r}")


async def ours(source: Any, send: Send) -> None:
    """This package, on whatever it takes."""
    video = VideoInput(
        spawn=asyncio.ensure_future,  # type: ignore[arg-type]
        link=_Link(send),
        emit=lambda *_, **__: None,
        report=lambda error: print(f"error: {error}"),
    )
    options = VideoOptions(fps=FPS, fps_idle=None, skip_unchanged=False)
    await video.start_track(source, options, lambda: None)
    try:
        await asyncio.Event().wait()
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await video.aclose()
        video.discard()


CONTENDERS: dict[str, Run] = {
    "read and dropped (the floor)": floor,
    "this package": ours,
    "this package, RemoteTrack": ours,
    "Pillow JPEG at 768, inline": pillow,
    "LiveKit Agents": livekit,
    "Pipecat": pipecat,
    "Vision-Agents": vision_agents,
    "original plugin": original,
}
