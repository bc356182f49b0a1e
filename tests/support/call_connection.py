"""The connection of the Stream SDK, as far as an assistant uses it, without media servers."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any

from aiortc.mediastreams import MediaStreamError
from getstream.video.rtc.audio_track import AudioStreamTrack

PACES_ITSELF = not hasattr(AudioStreamTrack, "wait_for_flush")
"""Whether the track has the clock, as on `getstream` 6."""


class State(Enum):
    JOINED = "joined"
    LEFT = "left"


class CallConnection:
    """Emits events to handlers, and reads the published track as the SDK does.

    Attributes:
        heard: each frame that was read, int16.
        tasks: those that read.
    """

    def __init__(self) -> None:
        self.handlers: dict[str, list[Any]] = {}
        self.connection_state = State.JOINED
        self.heard: list[Any] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()

    def on(self, event: str, handler: Any) -> None:
        self.handlers.setdefault(event, []).append(handler)

    def remove_listener(self, event: str, handler: Any) -> None:
        self.handlers[event].remove(handler)

    def emit(self, event: str, *args: Any) -> None:
        for handler in list(self.handlers.get(event, ())):
            handler(*args)

    async def add_tracks(self, audio: Any) -> None:
        self.tasks.append(asyncio.ensure_future(self._read(audio)))
        if not PACES_ITSELF:
            self.tasks.append(asyncio.ensure_future(self._flush(audio)))

    async def wait(self) -> None:
        await self._over.wait()

    async def stop(self) -> None:
        """End the tasks that read."""
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _read(self, track: Any) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            self.heard.append(frame.to_ndarray().reshape(-1).copy())

    async def _flush(self, track: Any) -> None:
        while True:
            await track.wait_for_flush()
