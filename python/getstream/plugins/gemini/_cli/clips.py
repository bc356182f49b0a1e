"""Recordings that the person says in the demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import AudioError
from .audio_files import read_audio

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
"""Longest clip in seconds: a demo is meant to be watched, and a longer speech is refused."""

LOUD_DBFS = -50.0
"""RMS level above which a frame is speech: the threshold of the demo's person."""

MIN_SPEECH_S = 0.3
"""Least length of speech in seconds: less is a click, which no speech detector reports."""

FRAME_S = 0.020

PAUSE_S = 0.5
"""Silence after which speech counts as a new turn, as in the service's detection."""

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
    """Recording that the person says.

    Attributes:
        path: Its file.
        text: Transcript; the name of the file in brackets if unknown.
        seconds: Length.
        parts: Stretches of speech between pauses of `PAUSE_S` and more: first loud sample and end
            of the last one, in seconds from the start. At least one.
        contour: Loudness over time, for `Transcriber`; shape `(n,)`.
        samples: int16 mono, shape `(n,)`.
        rate: Samples per second.
    """

    path: Path
    text: str
    seconds: float
    parts: tuple[tuple[float, float], ...]
    contour: NDArray[np.float32] = field(repr=False, compare=False)
    samples: NDArray[np.int16] = field(repr=False, compare=False)
    rate: int

    @property
    def onset(self) -> float:
        """Return the time of its first loud sample, in seconds."""
        return self.parts[0][0]

    @property
    def end(self) -> float:
        """Return the end of its last loud sample, in seconds."""
        return self.parts[-1][1]

    @property
    def speech_seconds(self) -> float:
        """Return the time from the first loud sample to the last one, in seconds."""
        return self.end - self.onset


def data_file(name: str) -> Path:
    """Return the path of a file of the package."""
    return Path(__file__).parents[1] / "data" / name


def speech() -> Clip:
    """Return the clip that the person says first."""
    return open_clip(data_file("speech.wav"), _SPEECH_TEXT)


def question() -> Clip:
    """Return the clip with which the person interrupts."""
    return open_clip(data_file("question.wav"), _QUESTION_TEXT)


def open_clip(path: Path, text: str = "") -> Clip:
    """Read and check a file that the person is to say.

    Raises:
        ConfigError: the file does not exist, or cannot be read.
        AudioError: the file has no sound, is silent, broken or too long.
    """
    mono, rate = read_audio(path, MAX_SECONDS)
    loud_seconds = float(loud_frames(mono, rate).sum() * FRAME_S)
    parts = loud_parts(mono, rate)
    if not parts or loud_seconds < MIN_SPEECH_S:
        raise AudioError(
            f"{path} is silent: it has {loud_seconds:.2f} s above {LOUD_DBFS:.0f} dBFS, and "
            f"{MIN_SPEECH_S} s are needed. Is it the right channel, and loud enough?"
        )
    times = tuple((onset / rate, end / rate) for onset, end in parts)
    return Clip(
        path,
        text or f"[{path.name}]",
        mono.size / rate,
        times,
        contour(mono, rate),
        mono,
        rate,
    )


class Transcriber:
    """Transcribe known clips, which are recognized by their loudness over time.

    This is no speech recognition: other audio is only described.

    Args:
        known: Clips that may be said.
    """

    def __init__(self, known: Sequence[Clip]) -> None:
        self._known = known

    def __call__(self, samples: NDArray[np.int16], rate: int) -> str:
        """Return the transcript of speech, given as int16 mono of shape `(n,)`."""
        seconds = len(samples) / rate
        shape = contour(samples, rate)
        for clip in self._known:
            alike = abs(clip.seconds - seconds) < _SAME_LENGTH_S
            if alike and _likeness(clip.contour, shape) > _SAME_SHAPE:
                return clip.text
        return f"[{seconds:.1f} seconds of speech]"


def contour(samples: Samples, rate: int) -> NDArray[np.float32]:
    """Return the level of each frame of 20 ms in dB above `LOUD_DBFS`; 0 for quieter ones."""
    power = _frame_power(samples, rate)
    return np.asarray(10 * np.log10(np.maximum(power / _LOUD**2, 1.0)), dtype=np.float32)


def _likeness(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the greatest normalized correlation of two contours, over all shifts."""
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.correlate(a, b, "full").max()) / norm if norm else 0.0


def loud_frames(samples: Samples, rate: int) -> NDArray[np.bool_]:
    """Return, for each frame of 20 ms, whether it is louder than `LOUD_DBFS`.

    Args:
        samples: mono, in int16 units, shape `(n,)`.
        rate: samples per second.

    Returns:
        Shape `(ceil(n / frame),)`.
    """
    return np.asarray(_frame_power(samples, rate) > _LOUD**2)


def loud_parts(samples: Samples, rate: int) -> list[tuple[int, int]]:
    """Return the stretches of speech between pauses of at least `PAUSE_S`, as `loud_span` does."""
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
    """Return the mean square of each frame of 20 ms; the last one may be shorter."""
    frame = round(rate * FRAME_S)
    count = -(-len(samples) // frame)
    padded = np.zeros(count * frame, dtype=np.float32)
    padded[: len(samples)] = samples
    return np.asarray(np.square(padded.reshape(count, frame)).mean(axis=1))


def loud_span(samples: Samples, rate: int) -> tuple[int, int] | None:
    """Find the beginning and the end of speech, exact to the sample.

    Returns:
        Positions of the first loud sample and of the one after the last, each within the first and
        the last loud frame; None if no frame is loud.
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
