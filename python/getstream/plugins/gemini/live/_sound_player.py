"""Play a sound of the application to those in the call, and tell what was heard of it."""

from __future__ import annotations

import asyncio
from typing import Any

from ..errors import CallError
from ._media.sounds import PlayedSound, Sound, check_sound, read_sound
from ._options import check_choice
from ._supervisor import Supervisor

UNHEARD_S = 10.0
"""Seconds that a sound waits for a reader of the track: joining a call and publishing take less."""


class SoundPlayer:
    """Plays sounds of the application beside the assistant's speech.

    Args:
        supervisor: the session, whose output plays them.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def play(self, sound: Any, rate: int | None, *, duck: bool) -> PlayedSound:
        """Play a sound, as `GeminiLive.play` says."""
        check_sound(sound, rate)
        check_choice("duck", duck, (True, False))
        lifecycle, output = self._supervisor.lifecycle, self._supervisor.turns.output
        assert output.track  # or a ConfigError says that there is none
        lifecycle.start()
        lifecycle.check_open()
        pcm = await asyncio.get_running_loop().run_in_executor(None, read_sound, sound, rate)
        lifecycle.check_open()
        playing = output.sounds.push(pcm, duck=duck)
        try:
            await self._wait(playing)
        finally:
            if not playing.done.done():
                output.sounds.cut(playing)
        return output.sounds.result_of(playing)

    async def _wait(self, playing: Sound) -> None:
        """Wait until a sound was heard or cut, or the session has ended.

        Raises:
            CallError: nobody reads the track.
        """
        ended, output = self._supervisor.lifecycle.ended, self._supervisor.turns.output
        while not playing.done.done() and not ended.done():
            waited = [playing.done, ended]
            await asyncio.wait(waited, timeout=UNHEARD_S, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done.done() and not output.is_read:
                raise CallError(
                    "Nobody hears the sound: output_track is in no call. Attach the assistant "
                    "before it plays something"
                )
