"""Sounds of the turn-taking measurements, all int16, mono, 48 kHz.

- Openings: the recorded speech of the package from each word after a pause.
- The reply: a steady harmonic tone, whose level can be read in any 5 ms and whose every moment is
  different from every other.
- Sounds that are no turn: a click, a cough, a short word.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from getstream.plugins.gemini.audio import Resampler
from getstream.plugins.gemini.testing.signals import read_wav
from numpy.typing import NDArray

Int16 = NDArray[np.int16]
Floats = NDArray[np.float64]

RATE = 48_000
FRAME = RATE // 50
SERVICE_RATE = 24_000

LOUD_DBFS = -35.0
"""Least RMS level of 5 ms that are loud.

It is 15 dB below the level of the clips, 10 dB above the room in the recordings."""

BLOCK = RATE // 200
PAUSE_MS = 40
SHORTEST_MS = 100
OPENING_MS = 350
FULL_SCALE = 32768.0

CLIPS = ("speech.wav", "question.wav", "greeting.wav")


@dataclass(frozen=True, eq=False)
class Sound:
    """Sound that the person makes.

    Attributes:
        name: Its name in the tables.
        samples: The sound; its first sample is loud.
    """

    name: str
    samples: Int16

    @property
    def loud_until(self) -> float:
        """Return the time from its beginning to the end of its last loud 5 ms, in seconds."""
        return float((np.flatnonzero(loud_blocks(self.samples))[-1] + 1) * BLOCK / RATE)


def clip(name: str) -> Int16:
    """Read a recording of the package, at the rate of the call, without the resampler's delay."""
    samples, rate = read_wav(Path(str(files("getstream.plugins.gemini") / "data" / name)))
    resampler = Resampler(rate, RATE)
    delay = resampler.delay
    whole = np.concatenate([resampler.push(samples), resampler.flush()])
    return whole[delay : delay + round(len(samples) * RATE / rate)]


def loud_blocks(samples: Int16) -> NDArray[np.bool_]:
    """Return, for each whole block of 5 ms, whether it is loud."""
    count = len(samples) // BLOCK
    power = np.square(samples[: count * BLOCK].reshape(count, BLOCK).astype(np.float64)).mean(1)
    return power >= FULL_SCALE**2 * 10 ** (LOUD_DBFS / 10)


def openings() -> list[Sound]:
    """Cut the clips from the first loud sample after each pause, `OPENING_MS` long.

    A pause is `PAUSE_MS` and more without anything loud; sound shorter than `SHORTEST_MS` between
    two pauses is a breath or a click of the tongue. The first loud sample is the first one of the
    first loud block that reaches the RMS level that makes a block loud. Nothing before it is sent,
    so the detector cannot detect it sooner. They are short enough not to commit anything.
    """
    found = []
    level = FULL_SCALE * 10 ** (LOUD_DBFS / 20)
    for name in CLIPS:
        samples = clip(name)
        loud = np.flatnonzero(loud_blocks(samples))
        breaks = np.flatnonzero(np.diff(loud) > PAUSE_MS // 5)
        firsts = [int(loud[0]), *(int(loud[k + 1]) for k in breaks)]
        lasts = [*(int(loud[k]) for k in breaks), int(loud[-1])]
        for first, last in zip(firsts, lasts, strict=True):
            if (last - first + 1) * 5 < SHORTEST_MS:
                continue
            block = np.abs(samples[first * BLOCK : (first + 1) * BLOCK].astype(int))
            start = first * BLOCK + int(np.argmax(block >= level))
            said = samples[start : start + RATE * OPENING_MS // 1000]
            found.append(Sound(f"{name} {start / RATE:.2f} s", faded(said, fade_in_ms=0)))
    return found


def short_word() -> Sound:
    """Return a recorded word of 285 ms between two pauses, as a backchannel like "mhm"."""
    samples = clip("speech.wav")[round(3.020 * RATE) : round(3.305 * RATE)]
    return Sound("short word", faded(samples, fade_in_ms=2))


def phrase() -> Sound:
    """Return 450 ms of recorded speech without a pause: too short to commit (600 ms by default)."""
    samples = clip("question.wav")[round(1.040 * RATE) : round(1.490 * RATE)]
    return Sound("450 ms of speech", faded(samples, fade_in_ms=2))


def click(seed: int = 0) -> Sound:
    """Make 20 ms of noise from 1 to 4 kHz at -10 dBFS: a knock that Opus keeps."""
    noise = _band_noise(RATE, (1000, 4000), seed)[: RATE // 50]
    return Sound("click", faded(_at_level(noise, -10.0), fade_in_ms=0.5))


def cough(seed: int = 0) -> Sound:
    """Synthesize a cough of 330 ms, since no recording with a clear licence is available.

    As coughs are described: an explosion of noise with a rise of a few milliseconds, breath through
    an open throat that decays, and a voiced end. Its loudest 20 ms are at about -9 dBFS.
    """
    t = np.arange(round(0.33 * RATE)) / RATE
    burst = _band_noise(len(t), (300, 3500), seed) * np.minimum(t / 0.004, 1) * np.exp(-t / 0.035)
    breath = _band_noise(len(t), (400, 2500), seed + 1) * np.minimum(t / 0.02, 1)
    breath *= np.exp(-t / 0.11)
    pitch = 150 - 60 * t / t[-1]
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = sum(np.sin(k * phase) / k for k in range(1, 12))
    voice *= np.clip((t - 0.19) / 0.02, 0, 1) * np.clip((0.33 - t) / 0.06, 0, 1)
    whole = burst / _rms(burst) + 0.7 * breath / _rms(breath) + 0.25 * voice / _rms(voice)
    return Sound("cough", faded(_at_level(whole, -18.0), fade_in_ms=0))


def reply(ms: float, seed: int) -> Int16:
    """Synthesize a reply of the assistant, at -20 dBFS.

    Ten harmonics of equal strength, up to 2.5 kHz, of a pitch that wanders from 110 to 220 Hz, with
    phases that keep its level within 1 dB over any 5 ms. The pitch never repeats: 200 ms of it
    occur at one place only. It fades in and out over 5 ms.
    """
    count = round(ms * RATE / 1000)
    random = np.random.default_rng(seed)
    pitches = random.uniform(110, 220, int(ms / 50) + 3)  # one for each 50 ms, and lines between
    pitch = np.interp(np.arange(count) / RATE / 0.05, np.arange(len(pitches)), pitches)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = np.zeros(count)
    for k in range(1, 11):
        gain = np.clip((2500 - k * pitch) / 300, 0, 1)
        voice += gain * np.sin(k * phase + np.pi * k * (k - 1) / 10)
    return faded(_at_level(voice, -20.0), fade_in_ms=5, fade_out_ms=5)


def for_service(samples: Int16) -> Int16:
    """Convert a sound of this module to the rate of the service: it has nothing above 8 kHz."""
    return np.ascontiguousarray(samples[:: RATE // SERVICE_RATE])


def faded(samples: Int16, *, fade_in_ms: float, fade_out_ms: float = 10) -> Int16:
    """Apply a raised cosine at the beginning and the end."""
    out = samples.astype(np.float64)
    for ms, part in ((fade_in_ms, slice(None)), (fade_out_ms, slice(None, None, -1))):
        count = round(ms * RATE / 1000)
        if count:
            out[part][:count] *= 0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / count)
    return np.rint(out).astype(np.int16)


def _band_noise(count: int, band: tuple[float, float], seed: int) -> Floats:
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    frequency = np.fft.rfftfreq(count, 1 / RATE)
    spectrum[(frequency < band[0]) | (frequency > band[1])] = 0
    return np.asarray(np.fft.irfft(spectrum, count))


def _rms(samples: Floats) -> float:
    return float(np.sqrt(np.mean(samples**2)))


def _at_level(samples: Floats, dbfs: float) -> Int16:
    loud = samples / _rms(samples) * FULL_SCALE * 10 ** (dbfs / 20)
    return np.clip(np.rint(loud), -32768, 32767).astype(np.int16)
