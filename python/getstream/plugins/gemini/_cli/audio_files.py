"""Read the sound of any file that FFmpeg can decode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AudioError, ConfigError
from ..testing.signals import read_wav

__all__ = ["read_audio"]

LOWEST_RATE, HIGHEST_RATE = 8_000, 96_000
"""Rates that are kept; what has another one is converted to `CALL_RATE`."""

CALL_RATE = 48_000

PADDING_S = 0.1
"""Sound in seconds that encoders add at both ends (MP3: up to 2257 samples)."""

_KINDS = "WAV, MP3, Ogg, M4A, FLAC and the sound of videos can be"


def read_audio(path: Path, max_s: float) -> tuple[NDArray[np.int16], int]:
    """Read the first audio stream of a file as mono; what is too long is not read to its end.

    Args:
        path: The file.
        max_s: Longest sound in seconds.

    Returns:
        int16, shape `(n,)`, and its rate in Hz, from 8000 to 96000.

    Raises:
        ConfigError: There is no such file, or it may not be read.
        AudioError: It holds no sound, is broken, or is too long.
    """
    if not path.exists():
        raise ConfigError(f"There is no file {path}")
    if path.is_dir():
        raise ConfigError(f"{path} cannot be read: it is a folder")
    if not path.is_file():  # a pipe might never end, and a device does not
        raise ConfigError(f"{path} cannot be read: it is no ordinary file")
    try:
        samples, rate = _read_pcm(path) or _decode(path, max_s)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    if not samples.size:
        raise AudioError(f"{path} holds no audio at all")
    if samples.size > (max_s + PADDING_S) * rate:
        raise AudioError(f"{path} lasts {samples.size / rate:.1f} s; the limit is {max_s:.0f} s")
    return samples[: round(max_s * rate)], rate


def _read_pcm(path: Path) -> tuple[NDArray[np.int16], int] | None:
    """Read a WAV file of 16-bit PCM, as the clips of the package are; None if it is none."""
    if path.suffix.lower() != ".wav":
        return None
    try:
        samples, rate = read_wav(path)
    except AudioError:
        return None
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        return None
    if samples.ndim == 2:
        samples = np.rint(samples.mean(axis=1)).astype(np.int16)
    return samples, rate


def _decode(path: Path, max_s: float) -> tuple[NDArray[np.int16], int]:
    import av  # 0.1 s, which the clips of the package do not need

    parts: list[NDArray[np.int16]] = []
    count = 0
    try:
        # As a file, whatever its name looks like; and a playlist leads to nothing but files.
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
            if not container.streams.audio:
                raise AudioError(f"{path} has no sound in it")
            stream = container.streams.audio[0]
            rate = stream.rate or 0
            if not LOWEST_RATE <= rate <= HIGHEST_RATE:
                rate = CALL_RATE
            seconds = container.duration / av.time_base if container.duration else 0.0
            resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
            for frame in container.decode(stream):
                # The time is counted here: that of a stream need not begin at 0, nor go on.
                frame.pts = None
                parts += [_samples_of(each) for each in resampler.resample(frame)]
                count += frame.samples * rate // (frame.sample_rate or rate)
                if count > (max_s + PADDING_S) * rate:
                    lasts = f"{seconds:.1f} s" if seconds > max_s else f"more than {max_s:.0f} s"
                    raise AudioError(f"{path} lasts {lasts}; the limit is {max_s:.0f} s")
            parts += [_samples_of(each) for each in resampler.resample(None)]
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, PermissionError):
            raise
        why = getattr(error, "strerror", None) or str(error)
        where = f" after {count / rate:.1f} s" if count else ""
        raise AudioError(f"{path} cannot be decoded{where} ({why}); {_KINDS}") from error
    return (np.concatenate(parts) if parts else np.zeros(0, np.int16)), rate


def _samples_of(frame: Any) -> NDArray[np.int16]:
    """Return the samples of a frame of one channel of `s16`."""
    return np.asarray(frame.to_ndarray(), dtype=np.int16).reshape(-1)
