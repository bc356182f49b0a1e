"""Signals and helpers for the tests of the audio core."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

Int16 = NDArray[np.int16]


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator of random numbers, the same in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture
def tone() -> Callable[..., Int16]:
    """Return `tone(rate, hz, seconds, level=0.5)`, which makes a sine; level 1.0 is full scale."""
    return _tone


@pytest.fixture
def voice() -> Callable[[int, float], Int16]:
    """Return `voice(rate, seconds)`, which synthesizes speech that a VAD detects."""
    return _voice


def _tone(rate: int, hz: float, seconds: float, level: float = 0.5) -> Int16:
    n = round(rate * seconds)
    return np.round(level * 32767 * np.sin(2 * np.pi * hz * np.arange(n) / rate)).astype(np.int16)


def _voice(rate: int, seconds: float) -> Int16:
    """Synthesize voiced syllables: harmonics of a gliding pitch under moving formants."""
    t = np.arange(round(rate * seconds)) / rate
    pitch = 130 + 20 * np.sin(2 * np.pi * 0.7 * t) + 3 * np.sin(2 * np.pi * 5 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    # Vowels /a/, /i/, /u/ (Peterson and Barney, 1952), each moving into the next.
    vowels = np.array([[730, 1090, 2440], [270, 2290, 3010], [300, 870, 2240]], float)
    syllable = t * 4
    index = syllable.astype(int)
    part = syllable - index
    mix = np.clip(part * 2 - 1, 0, 1)[:, None]
    formants = vowels[index % 3] * (1 - mix) + vowels[(index + 1) % 3] * mix
    out = np.zeros_like(t)
    for h in range(1, 30):
        f = h * pitch
        gain = sum(
            1 / (1 + ((f - formants[:, k]) / width) ** 2) for k, width in enumerate((80, 100, 140))
        )
        out += np.where(f < min(3600, rate / 2), gain, 0) * np.sin(h * phase) / np.sqrt(h)
    out *= np.sqrt(np.sin(np.pi * part))
    return np.asarray(np.round(out / np.abs(out).max() * 16000), dtype=np.int16)
