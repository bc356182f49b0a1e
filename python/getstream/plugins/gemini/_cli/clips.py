"""What the person says in the demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import AudioError, ConfigError
from ..testing.signals import read_wav

__all__ = [
    "GREETING_TEXT",
    "LOUD_DBFS",
    "MAX_SECONDS",
    "Clip",
    "data_file",
    "loud_frames",
    "loud_span",
    "open_clip",
    "question",
    "speech",
]

MAX_SECONDS = 60.0
"""A demo is to be watched: a longer speech is refused."""

LOUD_DBFS = -50.0
"""A frame is speech if its RMS level is above this: the threshold of the demo's person."""

MIN_SPEECH_S = 0.3
"""Less than this is a click, and no detector of speech answers it."""

FRAME_S = 0.020

Samples = NDArray[np.int16] | NDArray[np.float64]

_LOUD = 32768.0 * 10 ** (LOUD_DBFS / 20)

GREETING_TEXT = "Hello everyone. How can I help you today?"
_SPEECH_TEXT = (
    "He was not an ill disposed young man, unless to be rather cold hearted and rather selfish is "
    "to be ill disposed."
)
_QUESTION_TEXT = "He might even have been made amiable himself."


@dataclass(frozen=True)
class Clip:
    """A file that the person says.

    Attributes:
        path: The WAV file.
        text: What it says; its name in brackets if that is not known.
        seconds: Its length.
        onset: When its first loud sample comes, in seconds from its start.
        end: When its last one has been.
    """

    path: Path
    text: str
    seconds: float
    onset: float
    end: float

    @property
    def speech_seconds(self) -> float:
        """From the first loud sample to the last one."""
        return self.end - self.onset


def data_file(name: str) -> Path:
    """A file that comes with the package."""
    return Path(__file__).parents[1] / "data" / name


def speech() -> Clip:
    """What the person says first."""
    return open_clip(data_file("speech.wav"), _SPEECH_TEXT)


def question() -> Clip:
    """What the person interrupts with."""
    return open_clip(data_file("question.wav"), _QUESTION_TEXT)


def open_clip(path: Path, text: str = "") -> Clip:
    """Look at a file that the person shall say.

    Raises:
        ConfigError: it is not there, or cannot be read.
        AudioError: it is not 16-bit PCM, or nobody could hear it, or it is too long.
    """
    try:
        samples, rate = read_wav(path)
    except FileNotFoundError as error:
        raise ConfigError(f"There is no file {path}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    mono = samples if samples.ndim == 1 else samples.astype(np.float64).mean(axis=1)
    if not 8000 <= rate <= 96_000:
        raise AudioError(f"{path} has {rate} samples per second; 8000 to 96000 can be said")
    if not mono.size:
        raise AudioError(f"{path} holds no audio at all")
    seconds = mono.size / rate
    if seconds > MAX_SECONDS:
        raise AudioError(f"{path} lasts {seconds:.1f} s; the limit is {MAX_SECONDS:.0f} s")
    loud_seconds = float(loud_frames(mono, rate).sum() * FRAME_S)
    span = loud_span(mono, rate)
    if span is None or loud_seconds < MIN_SPEECH_S:
        raise AudioError(
            f"{path} is silent: it has {loud_seconds:.2f} s above {LOUD_DBFS:.0f} dBFS, and "
            f"{MIN_SPEECH_S} s are needed. Is it the right channel, and loud enough?"
        )
    onset, end = (position / rate for position in span)
    return Clip(path, text or f"[{path.name}]", seconds, onset, end)


def loud_frames(samples: Samples, rate: int) -> NDArray[np.bool_]:
    """Which frames of 20 ms are louder than `LOUD_DBFS`.

    Args:
        samples: mono, in int16 units, shape `(n,)`.
        rate: samples per second.

    Returns:
        Shape `(ceil(n / frame),)`.
    """
    frame = round(rate * FRAME_S)
    count = -(-len(samples) // frame)
    padded = np.zeros(count * frame, dtype=np.float32)
    padded[: len(samples)] = samples
    power = np.square(padded.reshape(count, frame)).mean(axis=1)
    return np.asarray(power > _LOUD**2)


def loud_span(samples: Samples, rate: int) -> tuple[int, int] | None:
    """Where speech begins and ends: exact to the sample, not to the frame.

    Returns:
        The position of the first loud sample and that after the last one, each within the first
        and the last loud frame; None if no frame is loud.
    """
    loud = np.flatnonzero(loud_frames(samples, rate))
    if not loud.size:
        return None
    frame = round(rate * FRAME_S)
    first, last = int(loud[0]) * frame, int(loud[-1]) * frame
    # A frame with an RMS above the threshold has a sample above it.
    onset = int(np.argmax(np.abs(samples[first : first + frame].astype(np.float64)) > _LOUD))
    tail = np.abs(samples[last : last + frame].astype(np.float64)) > _LOUD
    return first + onset, last + int(np.flatnonzero(tail)[-1]) + 1
