"""Play a sound while the model waits for a tool."""

from __future__ import annotations

import asyncio
from typing import Any

from ..errors import GeminiError
from ._media.sounds import HoldSound, check_sound, read_sound
from ._supervisor import Supervisor


class ToolSounds:
    """Loops a sound while the model waits for a tool, from a second on.

    The sound is read when the first tool runs. One that cannot be read is reported once, and tools
    go on without it.

    Args:
        supervisor: the session.
        sound: the path of an audio file, or `(samples, rate)` as `GeminiLive.play` takes them.

    Raises:
        ConfigError, AudioError: it cannot be a sound.
    """

    def __init__(self, supervisor: Supervisor, sound: Any) -> None:
        is_pair = isinstance(sound, tuple) and len(sound) == 2
        self._sound: Any = sound[0] if is_pair else sound
        self._rate: int | None = sound[1] if is_pair else None
        check_sound(self._sound, self._rate)
        self._supervisor = supervisor
        self._hold: HoldSound | None = None
        self._loading: asyncio.Task[None] | None = None
        self._running: set[str] = set()  # tools, until the sound is read
        supervisor.on_shut_down.append(self._close)

    def start(self, key: str) -> None:
        """Take note that a tool begins to run."""
        if self._hold is not None:
            self._hold.start(key)
            return
        self._running.add(key)
        if self._loading is None and self._supervisor.turns.output.plays:
            self._loading = self._supervisor.spawn(self._load())

    def stop(self, key: str) -> None:
        """Take note that it has ended; what is not known is passed over."""
        self._running.discard(key)
        if self._hold is not None:
            self._hold.stop(key)

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            pcm = await loop.run_in_executor(None, read_sound, self._sound, self._rate)
            hold = HoldSound(self._supervisor.turns.output.hold_sounds, pcm)
        except GeminiError as error:
            self._supervisor.report(error)
            return
        self._hold = hold
        for key in self._running:
            hold.start(key)
        self._running.clear()

    def _close(self) -> None:
        if self._hold is not None:
            self._hold.close()
