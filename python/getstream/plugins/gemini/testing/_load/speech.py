"""Encode what people say once for all of them, and tell speech from silence in what they hear."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from .._person.opus import FRAME_SAMPLES, OpusEncoder

__all__ = ["Clip", "encode_clip", "is_loud"]

SILENCE_FRAMES = 25
"""Frames of silence around a clip (0.5 s): the encoder's state is that of a long silence again."""

LOUD_DBFS = -50.0
"""Level above which a frame of 20 ms is speech; both voices are clean, and 20 to 30 dB louder."""

SILENT_LEVEL = 127
"""RFC 6464: levels are -dBov, 127 is digital silence."""

_FULL_SCALE = 32768.0
_LOUD_POWER = 10 ** (LOUD_DBFS / 10) * _FULL_SCALE**2


@dataclass(frozen=True)
class Clip:
    """Holds speech as Opus packets of 20 ms, which everybody may send at once.

    Attributes:
        packets: Payload and RFC 6464 level of each.
        silence: Payload of a frame of silence, for the time between two clips.
        last_word: Number of the last packet that is speech.
    """

    packets: tuple[tuple[bytes, int], ...]
    silence: bytes
    last_word: int


def encode_clip(samples: NDArray[np.int16]) -> Clip:
    """Encode speech, with silence before and after it.

    Every frame is sent, without discontinuous transmission: a microphone in a room is never silent
    enough for it, and the assistant has to take each packet.

    Args:
        samples: int16 mono 48 kHz, shape (n,).

    Raises:
        ConfigError: There is no speech in it.
    """
    count = SILENCE_FRAMES + math.ceil(len(samples) / FRAME_SAMPLES) + SILENCE_FRAMES
    padded = np.zeros(count * FRAME_SAMPLES, dtype=np.int16)
    start = SILENCE_FRAMES * FRAME_SAMPLES
    padded[start : start + len(samples)] = samples
    encoder = OpusEncoder(dtx=False)
    try:
        packets: list[tuple[bytes, int]] = []
        last_word = -1
        for number, frame in enumerate(padded.reshape(count, FRAME_SAMPLES)):
            payload = encoder.encode(frame)
            assert payload is not None, "without DTX every frame is sent"
            packets.append((payload, _level(frame)))
            if is_loud(frame):
                last_word = number
    finally:
        encoder.close()
    if last_word < 0:
        raise ConfigError(f"There is no speech in the clip: nothing is above {LOUD_DBFS:g} dBFS")
    return Clip(tuple(packets), packets[-1][0], last_word)


def is_loud(frame: NDArray[np.int16]) -> bool:
    """Return whether a frame (int16, shape (n,)) is speech by its level."""
    x = frame.astype(np.float32)
    return bool(len(x)) and float(x @ x) > _LOUD_POWER * len(x)


def _level(frame: NDArray[np.int16]) -> int:
    x = frame.astype(np.float64)
    power = float(x @ x) / len(x) / _FULL_SCALE**2
    return min(SILENT_LEVEL, max(0, round(-10 * math.log10(power)))) if power > 0 else SILENT_LEVEL
