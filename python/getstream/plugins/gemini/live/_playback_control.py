"""Hold, drop and resume the assistant's speech, and play sounds: the methods of `GeminiLive`."""

from __future__ import annotations

import asyncio
from os import PathLike
from typing import TYPE_CHECKING, Any

from ..errors import CallError
from ._media.playout import OutputTrack
from ._media.sounds import PlayedSound, Sound, check_sound, read_sound
from ._options import check_choice
from ._supervisor import Supervisor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNHEARD_S = 10.0
"""Seconds that a sound waits for a reader of the track: joining a call and publishing take less."""


class PlaybackControl:
    """Holds, drops and resumes the assistant's speech, and plays sounds beside it."""

    _supervisor: Supervisor

    @property
    def output_track(self) -> OutputTrack:
        """The assistant's voice, to publish with `connection.add_tracks(audio=...)`.

        Raises:
            ConfigError: this assistant was made with `playback=False`.
        """
        return self._supervisor.turns.output.track

    async def interrupt_playback(self, drop: bool = False) -> None:
        """Fade the assistant out, at once. Without `await` nothing happens.

        Without `drop` its speech is held, and what arrives meanwhile is queued, until
        `resume_playback()` or until the service itself interrupts the turn. With `drop` the turn
        is over: what is queued of it is dropped, and so is what still arrives of it; the next
        turn is heard.
        """
        self._supervisor.lifecycle.check_loop()
        if drop:
            self._supervisor.turns.interrupt()
        else:
            self._supervisor.turns.hold_playback()

    def resume_playback(self) -> _Done:
        """Go on with the exact sample at which playback was held. May be awaited or not."""
        self._supervisor.lifecycle.check_loop()
        self._supervisor.turns.apply(self._supervisor.turns.policy.resume())
        return _Done()

    async def play(
        self,
        sound: str | PathLike[str] | bytes | NDArray[np.int16],
        rate: int | None = None,
        *,
        duck: bool = True,
    ) -> PlayedSound:
        """Play a sound beside the assistant's speech, and return when it was heard or cut.

        Sounds wait for each other. Who speaks over one ducks, pauses and cuts it like speech, and
        so does `interrupt_playback`. Cancelling this call cuts it.

        Args:
            sound: the path of an audio file, or mono samples: an int16 array or s16le bytes.
            rate: the rate of samples in Hz; none for a file. A sound has ten minutes at most.
            duck: whether the assistant is lowered meanwhile.

        Raises:
            ConfigError: `sound` is none of these, the file is not there, or `playback=False`.
            AudioError: it cannot be decoded, or is too long.
            CallError: `output_track` is in no call for 10 s.
            SessionError, ClosedError: the session is over.
        """
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
            await self._wait_heard(playing)
        finally:
            if not playing.done.done():
                output.sounds.cut(playing)
        return output.sounds.result_of(playing)

    async def _wait_heard(self, playing: Sound) -> None:
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


class _Done:
    """Result of `resume_playback()`, which is done already and may be awaited all the same."""

    def __await__(self) -> Any:
        return iter(())
