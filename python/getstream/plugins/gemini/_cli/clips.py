"""What the person says in the demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    "Transcriber",
    "contour",
    "data_file",
    "loud_frames",
    "loud_parts",
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

PAUSE_S = 0.5
"""Silence after which speech counts as a new turn, as the service's detection has it."""

_SAME_LENGTH_S = 0.6  # the service gives some silence around a turn
_SAME_SHAPE = 0.9

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
        parts: The stretches of its speech between pauses of `PAUSE_S` and more: first loud sample
            and end of the last one, in seconds from its start. At least one.
        contour: Its loudness, for `Transcriber`; shape `(n,)`.
    """

    path: Path
    text: str
    seconds: float
    parts: tuple[tuple[float, float], ...]
    contour: NDArray[np.float32] = field(repr=False, compare=False)

    @property
    def onset(self) -> float:
        """When its first loud sample comes."""
        return self.parts[0][0]

    @property
    def end(self) -> float:
        """When its last one has been."""
        return self.parts[-1][1]

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
    parts = loud_parts(mono, rate)
    if not parts or loud_seconds < MIN_SPEECH_S:
        raise AudioError(
            f"{path} is silent: it has {loud_seconds:.2f} s above {LOUD_DBFS:.0f} dBFS, and "
            f"{MIN_SPEECH_S} s are needed. Is it the right channel, and loud enough?"
        )
    times = tuple((onset / rate, end / rate) for onset, end in parts)
    return Clip(path, text or f"[{path.name}]", seconds, times, contour(mono, rate))


class Transcriber:
    """Knows the transcripts of clips, and which of them was said by the shape of its loudness.

    There is no speech recognition here. What is no known clip is described.

    Args:
        known: The clips that may be said.
    """

    def __init__(self, known: Sequence[Clip]) -> None:
        self._known = known

    def __call__(self, samples: NDArray[np.int16], rate: int) -> str:
        """The transcript of what was said: int16 mono, shape `(n,)`."""
        seconds = len(samples) / rate
        shape = contour(samples, rate)
        for clip in self._known:
            alike = abs(clip.seconds - seconds) < _SAME_LENGTH_S
            if alike and _likeness(clip.contour, shape) > _SAME_SHAPE:
                return clip.text
        return f"[{seconds:.1f} seconds of speech]"


def contour(samples: Samples, rate: int) -> NDArray[np.float32]:
    """The level of each frame of 20 ms in dB above `LOUD_DBFS`; 0 for those that are quieter."""
    power = _frame_power(samples, rate)
    return np.asarray(10 * np.log10(np.maximum(power / _LOUD**2, 1.0)), dtype=np.float32)


def _likeness(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """The greatest normalized correlation of two contours, over all shifts."""
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.correlate(a, b, "full").max()) / norm if norm else 0.0


def loud_frames(samples: Samples, rate: int) -> NDArray[np.bool_]:
    """Which frames of 20 ms are louder than `LOUD_DBFS`.

    Args:
        samples: mono, in int16 units, shape `(n,)`.
        rate: samples per second.

    Returns:
        Shape `(ceil(n / frame),)`.
    """
    return np.asarray(_frame_power(samples, rate) > _LOUD**2)


def loud_parts(samples: Samples, rate: int) -> list[tuple[int, int]]:
    """The stretches of speech between pauses of `PAUSE_S` and more, as `loud_span` gives them."""
    loud = np.flatnonzero(loud_frames(samples, rate))
    if not loud.size:
        return []
    frame = round(rate * FRAME_S)
    pauses = np.flatnonzero(np.diff(loud) - 1 >= PAUSE_S / FRAME_S)
    firsts = [int(loud[0]), *(int(loud[pause + 1]) for pause in pauses)]
    lasts = [*(int(loud[pause]) for pause in pauses), int(loud[-1])]
    parts = []
    for first, last in zip(firsts, lasts, strict=True):
        span = loud_span(samples[first * frame : (last + 1) * frame], rate)
        assert span is not None, "it begins and ends with a loud frame"
        parts.append((first * frame + span[0], first * frame + span[1]))
    return parts


def _frame_power(samples: Samples, rate: int) -> NDArray[np.float32]:
    """The mean square of each frame of 20 ms; the last one may be a part of one."""
    frame = round(rate * FRAME_S)
    count = -(-len(samples) // frame)
    padded = np.zeros(count * frame, dtype=np.float32)
    padded[: len(samples)] = samples
    return np.asarray(np.square(padded.reshape(count, frame)).mean(axis=1))


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
