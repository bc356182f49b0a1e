"""Sounds beside the assistant's speech: read, mixed into the frames of the track, heard or cut."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ...audio import Playback, Resampler
from ...errors import AudioError, ConfigError

SAMPLE_RATE = 48_000
FRAME_S = 0.020

MAX_SOUND_S = 600
"""Longest sound in seconds: ten minutes are 58 MB of samples."""

SOUND_DUCK_DB = -12.0
"""Gain of the assistant's voice while a sound with `duck` is heard, in decibels: a quarter of the
amplitude, behind the sound and still understood."""

RATES = range(8_000, 96_001)
"""Sample rates in Hz that the resampler takes."""

Progress = tuple[tuple[int, bool], ...]
Pcm = NDArray[np.int16]


@dataclass(frozen=True)
class PlayedSound:
    """Tells how much of a sound was played.

    Attributes:
        duration_ms: its length in milliseconds.
        heard_ms: how much of it was played.
        cut: whether it was cut short: by somebody who speaks, by the application, by another
            end of the call or of the session.
    """

    duration_ms: float
    heard_ms: float
    cut: bool


def check_sound(sound: Any, rate: int | None) -> None:
    """Check that something may be a sound, without reading it.

    Raises:
        ConfigError: it is neither a path nor samples, or `rate` is missing or not wanted.
        AudioError: the samples or their rate cannot be used.
    """
    if isinstance(sound, (str, os.PathLike)):
        if rate is not None:
            raise ConfigError("play takes no rate with a file, which has its own")
        return
    if isinstance(sound, np.ndarray):
        if sound.dtype != np.int16 or sound.ndim != 1:
            raise AudioError(
                f"play takes int16 of shape (n,), not {sound.dtype} of shape {sound.shape}"
            )
        samples = sound.size
    elif isinstance(sound, (bytes, bytearray, memoryview)):
        size = memoryview(sound).nbytes
        if size % 2:
            raise AudioError(f"play takes s16le bytes, two for each sample, not {size}")
        samples = size // 2
    else:
        raise ConfigError(
            "play takes the path of an audio file, an int16 array or s16le bytes, not "
            f"{type(sound).__name__}"
        )
    if rate is None:
        raise ConfigError("play needs the rate of samples in Hz: play(pcm, rate=24000)")
    if isinstance(rate, bool) or not isinstance(rate, int) or rate not in RATES:
        raise AudioError(f"rate must be 8000 to 96000 Hz, not {rate!r}")
    if samples > MAX_SOUND_S * rate:
        raise AudioError(f"A sound has at most {MAX_SOUND_S} s")


def read_sound(sound: Any, rate: int | None) -> Pcm:
    """Return a sound that `check_sound` has accepted as int16 mono at 48 kHz.

    Decodes a file, or converts samples; call it off the event loop.

    Raises:
        ConfigError: the file cannot be read.
        AudioError: there is no audio in it that can be decoded, or more than `MAX_SOUND_S`.
    """
    if rate is None:
        return _decode(Path(sound))
    given = sound if isinstance(sound, np.ndarray) else np.frombuffer(bytes(sound), "<i2")
    pcm: Pcm = np.array(given, np.int16)  # its own: the caller may change what it has passed
    if rate == SAMPLE_RATE:
        return pcm
    resampler = Resampler(rate, SAMPLE_RATE)
    converted = np.concatenate([resampler.push(pcm), resampler.flush()])
    return converted[round(resampler.delay) :]


def _decode(path: Path) -> Pcm:
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        is_file = False
    if not is_file:
        raise ConfigError(f"There is no sound file {path}")
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    pieces, samples = list[Pcm](), 0
    try:
        with av.open(str(path)) as file:
            if not file.streams.audio:
                raise AudioError(f"There is no audio in {path}")
            for frame in file.decode(audio=0):
                for piece in resampler.resample(frame):
                    pieces.append(piece.to_ndarray().reshape(-1).astype(np.int16))
                    samples += len(pieces[-1])
                if samples > MAX_SOUND_S * SAMPLE_RATE:
                    raise AudioError(f"A sound has at most {MAX_SOUND_S} s; {path} is longer")
            for piece in resampler.resample(None):
                pieces.append(piece.to_ndarray().reshape(-1).astype(np.int16))
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(f"{path} cannot be decoded: {type(error).__name__}") from error
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


class Sound:
    """One sound on its way to the listener.

    Attributes:
        number: its turn in the store of its layer.
        samples: its length, at 48 kHz.
        duck: whether the assistant is lowered meanwhile.
        on_started: called when its first sample is played.
        done: done when it was heard, or cut.
    """

    def __init__(
        self, number: int, samples: int, duck: bool, on_started: Callable[[], None]
    ) -> None:
        self.number = number
        self.samples = samples
        self.duck = duck
        self.on_started = on_started
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class SoundLayer:
    """Plays sounds one after the other beside the speech, each as a turn of its own.

    Args:
        changed: called when there is something else to play.
        gives_way: whether it is held while the assistant is heard.
    """

    def __init__(self, changed: Callable[[], None], *, gives_way: bool = False) -> None:
        self.gives_way = gives_way
        self.ducks = False
        self.on_ducks: Callable[[], None] = lambda: None
        self._changed = changed
        self._store = Playback(SAMPLE_RATE, SAMPLE_RATE, prefill_ms=0, max_prefill_ms=0)
        self._sounds: dict[int, Sound] = {}  # that are not done
        self._newest = 0
        self._holds: set[str] = set()

    @property
    def is_sounding(self) -> bool:
        """Return whether the next frame would hold any sound."""
        return self._store.audible

    @property
    def is_waiting(self) -> bool:
        """Return whether a sound is not done, be it held."""
        return bool(self._sounds) or self._store.audible

    def push(
        self, pcm: Pcm, *, duck: bool = False, on_started: Callable[[], None] = lambda: None
    ) -> Sound:
        """Queue a sound behind those that wait.

        Args:
            pcm: int16 mono at 48 kHz, shape `(n,)`.
            duck: whether the assistant is lowered while it is heard.
            on_started: called when its first sample is played.

        Raises:
            AudioError: too much is queued already.
        """
        self._newest += 1
        sound = Sound(self._newest, len(pcm), duck, on_started)
        self._sounds[sound.number] = sound
        accepted = self._store.push(pcm, sound.number)
        self._store.end_turn(sound.number)
        if accepted < len(pcm):
            self.cut(sound)
            raise AudioError("Too many sounds wait to be played (30 minutes)")
        if not len(pcm):
            self._finish(sound.number)
        self._changed()
        return sound

    def pop(self, at: float, under: bytes | None) -> bytes:
        """Return the next frame, added to another one; `at` is when it is played."""
        samples, _, _, progress = self._store.pop(at, under)
        self._note(progress, at + FRAME_S)
        return samples

    def result_of(self, sound: Sound) -> PlayedSound:
        """Return what became of a sound."""
        heard_ms = self._store.played_ms(sound.number)
        stats = self._store.turn_stats(sound.number)
        was_cut = stats is not None and stats.dropped > 0
        return PlayedSound(sound.samples * 1000 / SAMPLE_RATE, heard_ms, was_cut)

    def cut(self, sound: Sound) -> None:
        """Fade one sound out, and forget the rest of it."""
        self._store.flush_turn(sound.number)
        self._finish(sound.number)
        self._changed()

    def flush(self) -> None:
        """Fade out, and forget all sounds."""
        self._store.flush()
        self._finish_all()

    def clear(self) -> None:
        """Forget all sounds at once, without a fade."""
        self._store.clear()
        self._finish_all()

    def hold(self, reason: str) -> None:
        """Fade out and stand still, until nobody holds it any more."""
        self._holds.add(reason)
        self._store.pause()

    def release(self, reason: str) -> None:
        """Go on, unless there is another reason to hold it."""
        if reason in self._holds:
            self._holds.discard(reason)
            if not self._holds:
                self._store.resume()

    def duck(self, db: float) -> None:
        """Set the gain in dB, zero or negative."""
        self._store.duck(db)

    def fade_in(self) -> None:
        """Fade the next frame in: the listener has heard a gap."""
        self._store.fade_in()

    def _note(self, progress: Progress, ended_at: float) -> None:
        for number, ended in progress:
            sound = self._sounds.get(number)
            if sound is None:
                continue
            if ended:
                loop = asyncio.get_running_loop()
                loop.call_at(ended_at, self._finish, number)
                self._set_ducks(False)
            else:
                self._set_ducks(sound.duck)
                sound.on_started()

    def _finish(self, number: int) -> None:
        sound = self._sounds.pop(number, None)
        if sound is not None and not sound.done.done():
            sound.done.set_result(None)
        if not self._sounds:
            self._set_ducks(False)

    def _finish_all(self) -> None:
        for number in list(self._sounds):
            self._finish(number)

    def _set_ducks(self, ducks: bool) -> None:
        if ducks != self.ducks:
            self.ducks = ducks
            self.on_ducks()


class MixedPlayback:
    """Mixes layers of sounds into the frames of the speech, for the track that pops them.

    Where no sound is played, it costs a call.

    Args:
        speech: the store of the assistant's speech.
        layers: the sounds.
    """

    def __init__(self, speech: Playback, layers: tuple[SoundLayer, ...]) -> None:
        self._speech = speech
        self._layers = layers

    @property
    def next_frame(self) -> str:
        """Return what the next frame would be: `silent`, `starved` or `sound`."""
        return self._with_sounds(self._speech.next_frame)

    @property
    def audible(self) -> bool:
        """Return whether the next frame would hold any sound."""
        return self._speech.audible or any(layer.is_sounding for layer in self._layers)

    @property
    def starts_at(self) -> float | None:
        """Return when a turn that waits for its prefill starts without it."""
        return self._speech.starts_at

    def pass_time(self, at: float) -> None:
        """Let time pass without a pop."""
        self._speech.pass_time(at)

    def fade_in(self) -> None:
        """Fade the next frame in: the listener has heard a gap."""
        self._speech.fade_in()
        for layer in self._layers:
            layer.fade_in()

    def pop(self, at: float) -> tuple[bytes, bool, str, Progress]:
        """Pop the next frame, as `Playback.pop`."""
        under: bytes | None = None
        for layer in self._layers:
            if layer.is_waiting:
                if layer.gives_way and self._speech.next_frame != "silent":
                    layer.hold("speech")
                under = layer.pop(at, under)
        samples, sounding, ahead, progress = self._speech.pop(at, under)
        return samples, sounding, self._with_sounds(ahead), progress

    def _with_sounds(self, ahead: str) -> str:
        if ahead != "silent":
            return ahead
        for layer in self._layers:
            if layer.gives_way:
                layer.release("speech")
        return "sound" if any(layer.is_sounding for layer in self._layers) else ahead


HOLD_DELAY_S = 1.0
"""Seconds that something may last in silence until a sound fills it: a pause that two people in a
conversation hardly ever leave."""


class HoldSound:
    """Loops a sound while something lasts that the caller waits for, such as a tool.

    It begins `delay_s` after the first of the running ones was started, gives way to the
    assistant's voice, and ends with the last of them. Who speaks over it silences it until then.

    Args:
        layer: where it is played.
        pcm: one pass of it: int16 mono at 48 kHz.
        delay_s: how long there is silence first.
    """

    def __init__(self, layer: SoundLayer, pcm: Pcm, *, delay_s: float = HOLD_DELAY_S) -> None:
        if not len(pcm):
            raise AudioError("A sound to be looped must not be empty")
        self._layer = layer
        # Frames are mixed one by one: shorter passes would be queued faster than they are played.
        self._pcm = np.tile(pcm, -(-SAMPLE_RATE // len(pcm)))
        self._delay_s = delay_s
        self._running: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_active(self) -> bool:
        """Return whether something lasts."""
        return bool(self._running)

    def start(self, call_id: str) -> None:
        """Take note that something begins to last."""
        if not self._running:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._delay_s, self._play_pass)
        self._running.add(call_id)

    def stop(self, call_id: str) -> None:
        """Take note that it has ended; what is not known is passed over."""
        self._running.discard(call_id)
        if not self._running:
            self.close()

    def close(self) -> None:
        """Fall silent, whatever lasts."""
        self._running.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._layer.flush()

    def _play_pass(self) -> None:
        """Queue one pass; the next one is queued when it has begun."""
        self._timer = None
        if self._running:
            self._layer.push(self._pcm, on_started=self._play_pass)
