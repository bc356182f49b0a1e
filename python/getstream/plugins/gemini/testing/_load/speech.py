"""Encode what people say once for all of them, and tell speech from silence in what they hear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...audio import Resampler
from ...errors import ConfigError
from .._gemini import ActivityOptions
from .._gemini.activity import ActivityDetector, ActivityStop
from .._person.opus import FRAME_SAMPLES, OpusDecoder, OpusEncoder

__all__ = ["Clip", "encode_clip", "is_loud"]

SILENCE_FRAMES = 25
"""Frames of silence around a clip (0.5 s): the encoder's state is that of a long silence again."""

LOUD_DBFS = -50.0
"""Level above which a frame of 20 ms is speech; both voices are clean, and 20 to 30 dB louder."""

SILENT_LEVEL = 127
"""RFC 6464: levels are -dBov, 127 is digital silence."""

_SETTLE_FRAMES = 200
"""Silence (4 s) before a clip, after which the service's noise floor is that of silence."""

_RATE, _SERVICE_RATE = 48_000, 16_000
_FULL_SCALE = 32768.0
_LOUD_POWER = 10 ** (LOUD_DBFS / 10) * _FULL_SCALE**2


@dataclass(frozen=True)
class Clip:
    """Holds speech as Opus packets of 20 ms, which everybody may send at once.

    Attributes:
        packets: Payload and RFC 6464 level of each.
        silence: Payload of a frame of silence, for the time between two clips.
        last_word: Number of the packet in which the last word ends: for the local service, which
            answers some time after that. Faint breath behind it counts for nothing, as there.
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
        ConfigError: It is not one turn of a person: there is no speech in it, or a long pause.
    """
    count = SILENCE_FRAMES + math.ceil(len(samples) / FRAME_SAMPLES) + SILENCE_FRAMES
    padded = np.zeros(count * FRAME_SAMPLES, dtype=np.int16)
    start = SILENCE_FRAMES * FRAME_SAMPLES
    padded[start : start + len(samples)] = samples
    encoder = OpusEncoder(dtx=False)
    try:
        packets: list[tuple[bytes, int]] = []
        for frame in padded.reshape(count, FRAME_SAMPLES):
            payload = encoder.encode(frame)
            assert payload is not None, "without DTX every frame is sent"
            packets.append((payload, _level(frame)))
    finally:
        encoder.close()
    silence = packets[-1][0]
    return Clip(tuple(packets), silence, _last_word([each for each, _ in packets], silence))


def is_loud(frame: NDArray[np.int16]) -> bool:
    """Return whether a frame (int16, shape (n,)) is speech by its level."""
    x = frame.astype(np.float32)
    return bool(len(x)) and float(x @ x) > _LOUD_POWER * len(x)


def _last_word(packets: Sequence[bytes], silence: bytes) -> int:
    """Return the number of the packet in which the service finds the end of the speech."""
    decoder = OpusDecoder()
    try:
        stream = [silence] * _SETTLE_FRAMES + [*packets] + [silence] * _SETTLE_FRAMES
        heard = np.concatenate([decoder.decode(packet).copy() for packet in stream])
    finally:
        decoder.close()
    detector = ActivityDetector(_SERVICE_RATE, ActivityOptions())
    found = detector.push(Resampler(_RATE, _SERVICE_RATE).push(heard))
    ends = [event.end for event in found if isinstance(event, ActivityStop)]
    if len(ends) != 1:
        raise ConfigError(
            f"A clip is one turn of a person; the local service finds {len(ends)} turns in this one"
        )
    frame = _SERVICE_RATE * FRAME_SAMPLES // _RATE
    return math.ceil(ends[0] / frame) - 1 - _SETTLE_FRAMES


def _level(frame: NDArray[np.int16]) -> int:
    x = frame.astype(np.float64)
    power = float(x @ x) / len(x) / _FULL_SCALE**2
    return min(SILENT_LEVEL, max(0, round(-10 * math.log10(power)))) if power > 0 else SILENT_LEVEL
