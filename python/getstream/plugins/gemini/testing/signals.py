"""Test signals and measures for speech, in numpy.

Signals are int16, mono, shape `(n,)`, and depend on their arguments alone. Levels are RMS in dBFS
relative to 32768: a full-scale square wave is 0 dBFS, a full-scale sine -3.01 dBFS. Durations are
milliseconds, rates are Hz.
"""

from __future__ import annotations

import math
import os
import wave
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import AudioError

__all__ = [
    "Alignment",
    "align",
    "click",
    "largest_step",
    "longest_silence",
    "read_wav",
    "rms_dbfs",
    "silence",
    "speech_like",
    "tone",
    "write_wav",
]

_FULL_SCALE = 32768.0

# First three formants of the vowels of American English, male speakers, in Hz.
# Source: Peterson and Barney, "Control methods used in a study of the vowels", JASA 24 (1952).
_VOWELS = (
    (270, 2290, 3010),  # heed
    (390, 1990, 2550),  # hid
    (530, 1840, 2480),  # head
    (660, 1720, 2410),  # had
    (730, 1090, 2440),  # hod
    (570, 840, 2410),  # hawed
    (300, 870, 2240),  # who'd
    (640, 1190, 2390),  # hud
)
_FORMANT_BANDWIDTHS = (80.0, 120.0, 160.0)
_FORMANT_GAINS = (1.0, 0.5, 0.25)
_SYLLABLE_MS = 250.0  # 4 syllables a second, the modulation rate of speech


def silence(ms: float, rate: int) -> NDArray[np.int16]:
    """Digital silence."""
    return np.zeros(_samples(ms, rate), dtype=np.int16)


def tone(freq: float, ms: float, rate: int, dbfs: float = -20.0) -> NDArray[np.int16]:
    """A sine that starts at phase zero.

    Args:
        freq: Frequency in Hz, below half the rate.
        ms: Duration.
        rate: Sample rate.
        dbfs: RMS level, at most -3.02 (then it saturates).
    """
    if not 0 < freq < rate / 2:
        raise AudioError(f"a tone of {freq} Hz cannot exist at {rate} Hz; use 0 < freq < rate / 2")
    t = np.arange(_samples(ms, rate)) / rate
    return _to_int16(np.sin(2 * np.pi * freq * t) * math.sqrt(2) * _amplitude(dbfs))


def click(ms: float, rate: int, dbfs: float = -10.0, seed: int = 0) -> NDArray[np.int16]:
    """A burst of white noise with hard edges: a knock, a key, a dropped pen.

    Args:
        ms: Duration.
        rate: Sample rate.
        dbfs: RMS level.
        seed: Chooses the noise.
    """
    noise = np.random.Generator(np.random.PCG64(seed)).uniform(-1, 1, _samples(ms, rate))
    return _scaled(noise, dbfs)


def speech_like(ms: float, rate: int, seed: int = 0, dbfs: float = -20.0) -> NDArray[np.int16]:
    """A voiced babble that behaves as speech does in codecs, detectors and alignment.

    Harmonics of a moving fundamental (90 to 160 Hz), shaped by the formants of a new vowel for each
    syllable, four syllables a second whose level dips by 20 dB between them, never to nothing.
    Pitch and vowels do not repeat, so that an alignment has one answer. It fades in and out
    over 10 ms.

    Args:
        ms: Duration.
        rate: Sample rate.
        seed: Chooses pitch and vowels.
        dbfs: RMS level of the whole; peaks are about 12 dB above it.
    """
    count = _samples(ms, rate)
    if count == 0:
        return np.zeros(0, dtype=np.int16)
    random = np.random.Generator(np.random.PCG64(seed))
    syllables = math.ceil(ms / _SYLLABLE_MS) + 2
    # Linear interpolation between syllable centres keeps pitch, vowel and phase continuous.
    position = np.arange(count) / rate * 1000.0 / _SYLLABLE_MS
    centres = np.arange(syllables)
    pitch = np.interp(position, centres, random.uniform(90.0, 160.0, syllables))
    vowels = np.array(_VOWELS, dtype=float)[random.integers(0, len(_VOWELS), syllables)]
    formants = [np.interp(position, centres, vowels[:, k]) for k in range(3)]
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = np.zeros(count)
    highest = min(4000.0, 0.45 * rate)
    for harmonic in range(1, int(highest / 90.0) + 1):
        frequency = harmonic * pitch
        gain = np.zeros(count)
        for formant, width, weight in zip(
            formants, _FORMANT_BANDWIDTHS, _FORMANT_GAINS, strict=True
        ):
            gain += weight / (1.0 + ((frequency - formant) / width) ** 2)
        gain += 0.02  # the skirts of real formants never vanish
        gain[frequency > highest] = 0.0
        voice += gain * np.sin(harmonic * phase)
    dip = 10 ** (-20.0 / 20.0)
    voice *= dip + (1 - dip) * 0.5 * (1 - np.cos(2 * np.pi * position))
    edge = min(count // 2, _samples(10.0, rate))
    if edge:
        ramp = 0.5 * (1 - np.cos(np.pi * (np.arange(edge) + 0.5) / edge))
        voice[:edge] *= ramp
        voice[-edge:] *= ramp[::-1]
    return _scaled(voice, dbfs)


def rms_dbfs(samples: ArrayLike) -> float:
    """RMS level in dBFS; minus infinity for digital silence and for no samples at all."""
    x = np.asarray(samples, dtype=np.float64).ravel()
    power = float(np.mean(x * x)) if x.size else 0.0
    return 10 * math.log10(power / _FULL_SCALE**2) if power else -math.inf


def longest_silence(samples: ArrayLike, rate: int, floor_dbfs: float = -60.0) -> float:
    """The longest run of samples whose magnitude stays below a floor, in milliseconds.

    It looks at samples, not at blocks, and is therefore exact: half a period of the fundamental is
    the shortest run that speech itself can show.

    Args:
        samples: int16, shape `(n,)`.
        rate: Sample rate.
        floor_dbfs: The floor, as a magnitude: -60 is 33 of 32768.
    """
    x = np.abs(np.asarray(samples, dtype=np.int32))
    loud = np.flatnonzero(x >= _amplitude(floor_dbfs) * _FULL_SCALE)
    edges = np.concatenate(([-1], loud, [x.size]))
    return float(np.max(np.diff(edges)) - 1) * 1000.0 / rate


def largest_step(samples: ArrayLike) -> int:
    """The largest difference between neighbouring samples, in int16 units; 0 for fewer than two.

    A click that a gap or a hard cut leaves is a step that the signal itself does not have.
    """
    x = np.asarray(samples, dtype=np.int32)
    return int(np.max(np.abs(np.diff(x)))) if x.size > 1 else 0


@dataclass(frozen=True)
class Alignment:
    """Position of a reference in a recording, and how well the two agree there.

    Attributes:
        offset_samples: Position of the reference's first sample in the recording, in samples, with
            its fraction; negative if the recording begins later than the reference.
        correlation: Normalized correlation over the overlap, -1 to 1.
        gain_db: Level of the recording relative to the reference (least squares), in dB; minus
            infinity if they do not correlate.
        rate: Sample rate of both.
    """

    offset_samples: float
    correlation: float
    gain_db: float
    rate: int

    @property
    def offset_ms(self) -> float:
        """The offset in milliseconds."""
        return self.offset_samples * 1000.0 / self.rate


def align(reference: ArrayLike, recording: ArrayLike, rate: int) -> Alignment:
    """Finds the reference in the recording by normalized cross-correlation.

    Every offset at which the two overlap by at least half of the shorter one is considered. The
    best one is refined to a fraction of a sample (parabola through the peak, then a band-limited
    shift of the reference), because half a sample costs several percent of correlation.

    Args:
        reference: int16 or float, shape `(n,)`.
        recording: As the reference, at the same rate.
        rate: Sample rate of both.

    Raises:
        AudioError: One of them is empty, or digital silence.
    """
    a = np.asarray(reference, dtype=np.float64).ravel()
    b = np.asarray(recording, dtype=np.float64).ravel()
    if not a.any() or not b.any():
        raise AudioError("nothing to align: the reference or the recording is silent or empty")
    size = 1 << (a.size + b.size - 2).bit_length() if a.size + b.size > 2 else 2
    product = np.fft.irfft(np.fft.rfft(b, size) * np.conj(np.fft.rfft(a, size)), size)
    offsets = np.arange(-(a.size - 1), b.size)
    cross = product[offsets % size]
    energy_a = np.concatenate(([0.0], np.cumsum(a * a)))
    energy_b = np.concatenate(([0.0], np.cumsum(b * b)))
    start = np.maximum(0, offsets)
    stop = np.minimum(b.size, offsets + a.size)
    norm = np.sqrt(
        np.maximum(energy_a[stop - offsets] - energy_a[start - offsets], 0.0)
        * np.maximum(energy_b[stop] - energy_b[start], 0.0)
    )
    usable = (2 * (stop - start) >= min(a.size, b.size)) & (norm > 1e-9 * norm.max())
    score = np.full(cross.shape, -np.inf)
    score[usable] = cross[usable] / norm[usable]
    best = int(np.argmax(score))
    fraction = 0.0
    if 0 < best < score.size - 1 and np.isfinite(score[best - 1 : best + 2]).all():
        left, peak, right = score[best - 1 : best + 2]
        curvature = left - 2 * peak + right
        if curvature < 0:
            fraction = float(0.5 * (left - right) / curvature)
    offset = int(offsets[best])
    candidates = [_compare(a, b, offset, f) for f in {0.0, fraction}]
    correlation, gain, refined = max(candidates)
    gain_db = 20 * math.log10(gain) if gain > 0 else -math.inf
    return Alignment(offset + refined, correlation, gain_db, rate)


def read_wav(path: str | os.PathLike[str]) -> tuple[NDArray[np.int16], int]:
    """Reads a WAV file of 16-bit PCM.

    Returns:
        The samples, shape `(n,)` for one channel and `(n, channels)` for more, and the rate in Hz.

    Raises:
        AudioError: Not a WAV file, or not 16-bit PCM.
        OSError: The file cannot be read.
    """
    try:
        with wave.open(os.fspath(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise AudioError(
            f"{os.fspath(path)} is not a WAV file of PCM ({error}); convert it to 16-bit PCM"
        ) from error
    if width != 2:
        raise AudioError(
            f"{os.fspath(path)} has {8 * width} bits per sample; convert it to 16-bit PCM"
        )
    whole = len(data) - len(data) % (2 * channels)  # a truncated file may end inside a sample
    samples = np.frombuffer(data[:whole], dtype="<i2").astype(np.int16)
    return (samples if channels == 1 else samples.reshape(-1, channels)), rate


def write_wav(path: str | os.PathLike[str], samples: NDArray[np.int16], rate: int) -> None:
    """Writes a WAV file of 16-bit PCM.

    Args:
        path: The file; it is overwritten.
        samples: int16, shape `(n,)` or `(n, channels)`.
        rate: Sample rate.

    Raises:
        AudioError: Another dtype or shape.
        OSError: The file cannot be written.
    """
    x = np.asarray(samples)
    if x.dtype != np.int16 or x.ndim not in (1, 2):
        raise AudioError(
            f"write_wav takes int16 of shape (n,) or (n, channels), not {x.dtype} {x.shape}"
        )
    with wave.open(os.fspath(path), "wb") as file:
        file.setnchannels(1 if x.ndim == 1 else x.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(x.astype("<i2").tobytes())


def _compare(
    a: NDArray[np.float64], b: NDArray[np.float64], offset: int, fraction: float
) -> tuple[float, float, float]:
    """Correlation and gain of `b` against `a` delayed by `offset + fraction` samples."""
    if fraction:
        # Zeros at the end keep the circular shift from wrapping the tail onto the head.
        size = a.size + 64
        turn = np.exp(-2j * np.pi * np.fft.rfftfreq(size) * fraction)
        a = np.fft.irfft(np.fft.rfft(a, size) * turn, size)[: a.size]
    start, stop = max(0, offset), min(b.size, offset + a.size)
    x, y = a[start - offset : stop - offset], b[start:stop]
    cross, energy = float(x @ y), float(x @ x)
    norm = math.sqrt(energy * float(y @ y))
    return (cross / norm if norm else 0.0), (cross / energy if energy else 0.0), fraction


def _samples(ms: float, rate: int) -> int:
    if not rate > 0 or not ms >= 0:
        raise AudioError(f"a signal needs ms >= 0 and rate > 0, not {ms} ms at {rate} Hz")
    return round(ms * rate / 1000.0)


def _amplitude(dbfs: float) -> float:
    return float(10 ** (dbfs / 20.0))


def _scaled(x: NDArray[np.float64], dbfs: float) -> NDArray[np.int16]:
    rms = math.sqrt(float(np.mean(x * x))) if x.size else 0.0
    return _to_int16(x / rms * _amplitude(dbfs)) if rms else np.zeros(x.size, dtype=np.int16)


def _to_int16(x: NDArray[np.float64]) -> NDArray[np.int16]:
    return np.clip(np.rint(x * _FULL_SCALE), -32768, 32767).astype(np.int16)
