"""Percentiles of delays over the newest samples, in bounded memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

KEPT_SAMPLES = 512
"""Samples of each delay that are kept, the newest: of one for each turn that is a day of talk, of
one for each frame ten seconds of speech. 4 KB, and the p95 still has 25 samples above it."""


@dataclass(frozen=True)
class Percentiles:
    """The middle and the slow end of a delay, over its newest 512 samples.

    Attributes:
        count: samples that it is made of, at most 512.
        p50: half of them are not above it, by nearest rank; None without a sample.
        p95: 95 % of them are not above it, by nearest rank; None without a sample.
    """

    count: int = 0
    p50: float | None = None
    p95: float | None = None


@dataclass(frozen=True)
class Latency:
    """Delays of one assistant in milliseconds, measured from local speech detection.

    Attributes:
        first_audio_ms: from the end of the user's speech to the first audio of the answer from the
            service. The end is that of the detector, less its hangover of 200 ms; what the network
            of the participant takes, and its jitter buffer, comes on top.
        first_sample_ms: from there to the first sample of the answer that is played.
        tool_ms: from a call of a tool to its result.
        barge_in_ms: from the first sign of somebody's speech, while the assistant is heard, until
            the output is silent; 0 where the service noticed it first, and the output was silent
            already. The sound began about 64 ms before its first sign.
        send_queue_ms: age of a frame with speech in it when it is written to the socket.
        jitter_ms: delay of a participant's jitter buffer, taken at the end of each utterance.
    """

    first_audio_ms: Percentiles
    first_sample_ms: Percentiles
    tool_ms: Percentiles
    barge_in_ms: Percentiles
    send_queue_ms: Percentiles
    jitter_ms: Percentiles


def new_samples() -> deque[float]:
    """Return a place for the newest samples of one delay."""
    return deque(maxlen=KEPT_SAMPLES)


def percentiles_of(samples: Iterable[float]) -> Percentiles:
    """Return the percentiles of samples, by nearest rank."""
    ordered = sorted(samples)
    count = len(ordered)
    if not count:
        return Percentiles()
    p50, p95 = (ordered[math.ceil(share * count) - 1] for share in (0.5, 0.95))
    return Percentiles(count, p50, p95)
