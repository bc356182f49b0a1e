"""Measure quality and time of resamplers.

Signals go through a contender as they would in a call: frame by frame of 20 ms, into one object.
Test tones are never a multiple of 50 Hz, so that errors at the edges of frames show.

* SINAD: a sine and a constant are fitted to the last 0.6 s; the residue is noise, distortion,
  aliases, images and clicks. At -1 dBFS with 16 bits on both sides about 97 dB (48 to 16 kHz) and
  95 dB (24 to 48 kHz) are possible.
* Rejection: for a higher rate in than out, the worst level of a tone above the new Nyquist
  frequency (from 1.1 of it); otherwise the worst level above the old one of tones below 0.85 of it.
* Latency: longest hold of the newest sound after a frame was pushed, and the delay of the filter at
  1 kHz, in addition to the length of the frame itself.
* Time: all contenders in each of many rounds, so that a busy moment hits all of them. p10 over the
  rounds is a quiet moment; a ratio is the median of the ratios within each round.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from contenders import EMPTY, Int16, Push
from numpy.typing import NDArray

Float = NDArray[np.float64]
LEVEL = 10 ** (-1 / 20)


@dataclass(frozen=True)
class Quality:
    """Quality of a resampler; all in dB but the latency."""

    sinad_1k: float
    sinad: float
    rejection: float
    latency_ms: float


@dataclass(frozen=True)
class Time:
    """Cost of a call in microseconds, and relative to the reference.

    `ratio` is the median of the ratios within each round, `ratio_p10` and `ratio_p90` their spread.
    """

    p10: float
    p50: float
    ratio: float
    ratio_p10: float
    ratio_p90: float


def tone(rate: int, hz: float, seconds: float = 1.0) -> Int16:
    n = round(rate * seconds)
    wave = np.sin(2 * np.pi * hz * np.arange(n) / rate)
    return np.round(LEVEL * 32767 * wave).astype(np.int16)


def stream(push: Push, pcm: Int16, rate: int) -> list[Int16]:
    size = rate // 50
    frames = [pcm[k : k + size] for k in range(0, len(pcm) // size * size, size)]
    # A copy: some libraries return a view of memory that they use again.
    return [np.array(push(frame), np.int16) for frame in frames]


def fit(out: Int16, rate: int, hz: float) -> tuple[complex, float, Float]:
    """Fit a sine; return its complex amplitude, the power of the residue, and the residue."""
    out = out[-round(rate * 0.6) :]
    t = np.arange(len(out)) / rate
    basis = np.stack([np.sin(2 * np.pi * hz * t), np.cos(2 * np.pi * hz * t), np.ones_like(t)])
    signal = out / 32768.0
    parts = np.linalg.lstsq(basis.T, signal, rcond=None)[0]
    rest = signal - parts @ basis
    return complex(parts[0], parts[1]), float(np.mean(rest**2)), rest


def measure(make: Callable[[int, int], Push], in_rate: int, out_rate: int) -> Quality:
    nyquist = min(in_rate, out_rate) / 2

    def run(hz: float) -> Int16:
        return np.concatenate(stream(make(in_rate, out_rate), tone(in_rate, hz), in_rate))

    def sinad(hz: float) -> float:
        sine, rest, _ = fit(run(hz), out_rate, hz)
        return 10 * math.log10(abs(sine) ** 2 / 2 / max(rest, 1e-20))

    parts = (0.03, 0.126, 0.374, 0.501, 0.711, 0.849)
    sinads = [sinad(997.37), *(sinad(round(nyquist * part) + 0.37) for part in parts)]
    levels = []
    if in_rate > out_rate:
        for part in (1.1, 1.21, 1.37, 1.7):
            if (hz := nyquist * part) < in_rate / 2:
                out = run(hz)[-round(out_rate * 0.6) :] / 32768
                levels.append(10 * math.log10(max(np.var(out), 1e-20) / (LEVEL**2 / 2)))
    else:
        for part in (0.07, 0.41, 0.849):
            hz = round(nyquist * part) + 0.37
            _, _, rest = fit(run(hz), out_rate, hz)
            spectrum = np.abs(np.fft.rfft(rest * np.hanning(len(rest)))) ** 2
            above = np.fft.rfftfreq(len(rest), 1 / out_rate) > nyquist
            # By Parseval, for one side of the spectrum; the mean square of the window is 3/8.
            power = 2 * float(spectrum[above].sum()) / len(rest) ** 2 / 0.375
            levels.append(10 * math.log10(max(power, 1e-20) / (LEVEL**2 / 2)))
    return Quality(sinads[0], min(sinads), max(levels), latency_ms(make, in_rate, out_rate))


def latency_ms(make: Callable[[int, int], Push], in_rate: int, out_rate: int) -> float:
    low, high = 985.3, 1003.7
    phases, held = [], 0.0
    for hz in (low, high):
        outs = stream(make(in_rate, out_rate), tone(in_rate, hz, 1.2), in_rate)
        produced = np.cumsum([len(out) for out in outs]) / out_rate
        pushed = (np.arange(len(outs)) + 1) * 0.02
        # Skip the beginning, where a filter fills.
        held = max(held, float(np.max((pushed - produced)[10:])))
        out = np.concatenate(outs)
        sine, _, _ = fit(out, out_rate, hz)
        start = len(out) - round(out_rate * 0.6)
        phases.append(np.angle(sine) - 2 * np.pi * hz * start / out_rate)
    # In steps of 1 / (high - low) = 54 ms, which no filter here reaches.
    turn = (phases[1] - phases[0] + np.pi) % (2 * np.pi) - np.pi
    delay = -turn / (2 * np.pi * (high - low))
    return 1000 * (held + float(delay))


def race(
    calls: Mapping[str, Callable[[], object]], reference: str, rounds: int = 60, inner: int = 20
) -> dict[str, Time]:
    """Measure the time of one call of each, in microseconds."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, call in calls.items():
                call()
                start = time.perf_counter()
                for _ in range(inner):
                    call()
                times[name].append((time.perf_counter() - start) / inner * 1e6)
    finally:
        gc.enable()
    base = np.array(times.get(reference) or next(iter(times.values())))
    return {
        name: Time(
            float(np.percentile(each, 10)),
            float(np.percentile(each, 50)),
            *(float(np.percentile(np.array(each) / base, percent)) for percent in (50, 10, 90)),
        )
        for name, each in times.items()
    }


__all__ = ["EMPTY", "LEVEL", "Quality", "Time", "fit", "measure", "race", "stream", "tone"]
