#!/usr/bin/env python3
"""Measure accuracy, latency and cost of voice activity detectors.

    python benches/vad_accuracy.py [--set DIR] [--only REGEX] [--json FILE]

Prints Markdown tables of this package's `Vad` beside Silero on onnxruntime, WebRTC's detector and
earshot; a contender that is not installed is left out with a message
(`pip install onnxruntime webrtcvad-wheels earshot`, `pip install --no-deps silero-vad`).

Without `--set` it works on a small labelled set that it makes itself: the recorded speech of the
package, noises and sounds that are computed. With `--set` on a folder:

    labels.json   {"clips": {name: {"file": ..., "labels": "0012..."}}, "noise": [...],
                   "nonspeech": [...]}; a label for each 10 ms: 0 no speech, 1 speech, 2 either
    speech/*.wav, noise/*.wav, nonspeech/*.wav     16 kHz, mono, 16 bit

Definitions, in frames of 10 ms:

* A decision exists from the end of the push that made it, and holds until the next: no look-back.
* TPR: share of the frames with speech that are active, the first 100 ms of each run left out.
* FPR: share of the frames without speech that are active, 300 ms after each run left out.
* Onset: from the first frame of speech (after 200 ms without) to the first active decision; left
  out where the detector was active before.
* Hangover: from the end of speech (500 ms without follow) to the decision that it is over and that
  holds for 100 ms; the length of the pause at most.
* AUC: of the scores of the frames of TPR and FPR.
* Cost: CPU time of one thread for each 20 ms of sound; all contenders in each round, 10th
  percentile over the rounds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import time
import wave
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
TICK = RATE // 100
SNRS = (30, 20, 10, 5, 0)

Int16 = NDArray[np.int16]
Floats = NDArray[np.float64]


# Contenders


class Detector(Protocol):
    """Detector that takes `hop` samples at 16 kHz and returns the probability of speech."""

    def __call__(self, pcm: Int16) -> float: ...


@dataclass(frozen=True)
class Contender:
    name: str
    hop: int
    threshold: float
    make: Callable[[], Detector]


Source = Callable[[], Iterator[Contender]]


def ours() -> Iterator[Contender]:
    from getstream.plugins.gemini.audio import Vad

    class Probability:
        def __init__(self) -> None:
            self.vad = Vad()

        def __call__(self, pcm: Int16) -> float:
            self.vad.push(pcm)
            return self.vad.probability

    class Speaking(Probability):
        def __call__(self, pcm: Int16) -> float:
            self.vad.push(pcm)
            return float(self.vad.speaking)

    yield Contender("Vad.probability", 320, Vad().threshold, Probability)
    yield Contender("Vad.probability, 16 ms", 256, Vad().threshold, Probability)
    yield Contender("Vad.speaking (with hangover)", 320, 0.5, Speaking)


def silero() -> Iterator[Contender]:
    import onnxruntime

    spec = importlib.util.find_spec("silero_vad")  # importing it would need torch
    if spec is None or spec.origin is None:
        raise ImportError("No module named 'silero_vad'")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    path = Path(spec.origin).parent / "data" / "silero_vad.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    class Silero:
        def __init__(self) -> None:
            self.state = np.zeros((2, 1, 128), np.float32)
            self.window = np.zeros((1, 576), np.float32)
            self.rate = np.array(RATE, np.int64)

        def __call__(self, pcm: Int16) -> float:
            self.window[0, :64] = self.window[0, 512:]
            self.window[0, 64:] = pcm
            self.window[0, 64:] *= np.float32(1 / 32768)
            feed = {"input": self.window, "state": self.state, "sr": self.rate}
            probability, self.state = session.run(None, feed)
            return float(probability[0, 0])

    yield Contender("Silero 6 on onnxruntime", 512, 0.5, Silero)


def webrtc() -> Iterator[Contender]:
    import webrtcvad

    class WebRtc:
        def __init__(self) -> None:
            self.vad = webrtcvad.Vad(3)

        def __call__(self, pcm: Int16) -> float:
            return float(self.vad.is_speech(pcm.tobytes(), RATE))

    yield Contender("WebRTC, mode 3", 320, 0.5, WebRtc)


def earshot() -> Iterator[Contender]:
    from earshot import Detector as Earshot

    class Detector:
        def __init__(self) -> None:
            self.detector = Earshot()

        def __call__(self, pcm: Int16) -> float:
            return float(self.detector.predict_i16(pcm))

    yield Contender("earshot", 256, 0.5, Detector)


def contenders(only: str = "") -> list[Contender]:
    """Return all installed contenders, and print which are not installed."""
    found = []
    sources: list[Source] = [ours, silero, webrtc, earshot]
    for source in sources:
        try:
            found += [c for c in source() if re.search(only, c.name)]
        except ImportError as error:
            print(f"left out: {source.__name__} ({error})\n")
    return found


# Labelled sets


@dataclass
class LabelledSet:
    """Clips with their labels, noises to mix with them, and sounds that are not speech."""

    clips: dict[str, tuple[Floats, NDArray[np.int64]]] = field(default_factory=dict)
    noise: dict[str, Floats] = field(default_factory=dict)
    nonspeech: dict[str, Floats] = field(default_factory=dict)

    def conditions(self) -> list[tuple[str | None, int]]:
        return [(None, 0)] + [(noise, snr) for noise in self.noise for snr in SNRS]

    def mixed(self, clip: str, noise: str | None, snr: int) -> Int16:
        """Mix a clip with noise, `snr` dB below the level of its speech."""
        x, labels = self.clips[clip]
        if noise is None:
            return to_int16(x)
        speech = x[: len(labels) * TICK][np.repeat(labels == 1, TICK)]
        offset = RATE * (zlib.crc32((clip + noise).encode()) % 15)
        n = np.resize(np.roll(self.noise[noise], -offset), len(x))
        y = x + n * (rms(speech) / rms(n) / 10 ** (snr / 20))
        return to_int16(y * min(1.0, 32_000 / np.abs(y).max()))


def read_set(folder: Path) -> LabelledSet:
    meta = json.loads((folder / "labels.json").read_text())
    return LabelledSet(
        {
            name: (read_wav(folder / clip["file"]), np.array(list(clip["labels"]), dtype=np.int64))
            for name, clip in meta["clips"].items()
        },
        {name: read_wav(folder / "noise" / f"{name}.wav") for name in meta["noise"]},
        {name: read_wav(folder / "nonspeech" / f"{name}.wav") for name in meta["nonspeech"]},
    )


def own_set() -> LabelledSet:
    """Make a small set: the package's recordings, each at two levels, and computed sounds."""
    import getstream.plugins.gemini

    data = Path(next(iter(getstream.plugins.gemini.__path__))) / "data"
    made = LabelledSet()
    pause = np.zeros(RATE)
    for name in ("speech", "question", "greeting"):
        x = np.concatenate([pause, read_wav(data / f"{name}.wav"), pause])
        labels = label(x)
        for dbfs in (-20, -32):
            made.clips[f"{name} {dbfs} dBFS"] = (x * 10 ** ((dbfs + 20) / 20), labels)
    t = np.arange(15 * RATE) / RATE
    random = np.random.Generator(np.random.PCG64(1))

    def coloured(slope: float) -> Floats:
        """Make noise whose power falls with frequency to the power of `slope`."""
        spectrum = np.fft.rfft(random.standard_normal(len(t)))
        spectrum[1:] *= np.arange(1, len(spectrum)) ** (-slope / 2)
        spectrum[0] = 0.0
        return np.asarray(np.fft.irfft(spectrum, len(t)))

    keys = np.zeros(len(t))
    for start in random.integers(0, len(t) - 1_000, 60):
        keys[start : start + 1_000] += random.standard_normal(1_000) * np.exp(-t[:1_000] * 300)
    hum = sum(np.sin(2 * np.pi * 50 * k * t + k) / k for k in range(1, 12))
    made.noise = {
        "white": random.standard_normal(len(t)),
        "pink": coloured(1.0),
        "brown": coloured(2.0),
        "hum": np.asarray(hum),
        "keyboard": keys,
    }

    def sine(hz: Any) -> Floats:
        return np.asarray(np.sin(2 * np.pi * np.cumsum(np.broadcast_to(hz, t.shape)) / RATE))

    beat = t % 0.2 < 0.1
    chord = sum(sine(hz) for hz in (220.0, 277.2, 329.6)) * np.exp(-3 * (t % 0.5))
    sounds = {
        **made.noise,
        "tone 440 Hz": sine(440.0),
        "tone 1 kHz": sine(1_000.0),
        "DTMF": (sine(770.0) + sine(1_336.0)) * beat,
        "ringback": (sine(440.0) + sine(480.0)) * (t % 6 < 2),
        "busy": sine(425.0) * (t % 1 < 0.5),
        "siren": sine(700 + 300 * np.sin(2 * np.pi * 0.4 * t)),
        "sweep": sine(100 * 40 ** (t / t[-1])),
        "chords": np.asarray(chord),
        "bursts": random.standard_normal(len(t)) * (t % 0.9 < 0.25),
    }
    made.nonspeech = {name: x / rms(x) * 3_277 for name, x in sounds.items()}
    made.nonspeech["silence"] = np.zeros(len(t))
    return made


def label(x: Floats) -> NDArray[np.int64]:
    """Label clean speech by its level.

    Frames within 30 dB of the loud frames are speech, more than 45 dB below they are not. Gaps of
    80 ms inside and runs of 20 ms are either."""
    level = 10 * np.log10(np.mean(x[: len(x) // TICK * TICK].reshape(-1, TICK) ** 2, axis=1) + 1e-3)
    loud = np.percentile(level[level > 0], 95)
    labels = np.where(level > loud - 30, 1, np.where(level < loud - 45, 0, 2))
    edges = np.flatnonzero(np.diff(labels)) + 1
    for start, stop in pairwise(edges):
        if stop - start < (3 if labels[start] == 1 else 8):
            labels[start:stop] = 2
    return labels


def read_wav(path: Path) -> Floats:
    with wave.open(str(path), "rb") as file:
        form = (file.getframerate(), file.getnchannels(), file.getsampwidth())
        if form != (RATE, 1, 2):
            raise SystemExit(f"{path}: needs to be 16 kHz, mono, 16 bit, is {form}")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)


def rms(x: Floats) -> float:
    return float(np.sqrt(np.mean(x * x)))


def to_int16(x: Floats) -> Int16:
    return np.clip(np.rint(x), -32_768, 32_767).astype(np.int16)


# Measures


def scores(contender: Contender, pcm: Int16, ticks: int) -> Floats:
    """Return the score that is known at the end of each 10 ms."""
    detector, hop = contender.make(), contender.hop
    got = [0.0] + [detector(pcm[k : k + hop]) for k in range(0, len(pcm) - hop + 1, hop)]
    known = np.minimum((np.arange(ticks) + 1) * TICK // hop, len(got) - 1)
    return np.array(got)[known]


@dataclass
class Tally:
    """Counts and times over several clips."""

    speech: list[Floats] = field(default_factory=list)
    pause: list[Floats] = field(default_factory=list)
    onset: list[float] = field(default_factory=list)
    hangover: list[float] = field(default_factory=list)
    missed: int = 0
    early: int = 0

    def add(self, labels: NDArray[np.int64], score: Floats, threshold: float) -> None:
        active, speech, pause = score >= threshold, labels == 1, labels == 0
        starts = [
            i for i in np.flatnonzero(labels == 1) if i >= 20 and not speech[i - 20 : i].any()
        ]
        ends = [
            i + 1
            for i in np.flatnonzero(speech)
            if i + 51 <= len(labels) and not speech[i + 1 : i + 51].any()
        ]
        for i in starts:
            if active[i - 1]:
                self.early += 1
            elif active[i : i + 100].any():
                self.onset.append(10.0 * (int(np.argmax(active[i:])) + 1))
            else:
                self.missed += 1
        for i in ends:
            rest = active[i : i + int(np.argmax(np.append(speech[i:], True)))]
            if active[max(0, i - 15) : i + 1].any():
                quiet = [k for k in range(len(rest)) if not rest[k : k + 10].any()]
                self.hangover.append(10.0 * (quiet[0] if quiet else len(rest)))
        counted_speech, counted_pause = speech.copy(), pause.copy()
        for i in starts:
            counted_speech[i : i + 10] = False
        for i in np.flatnonzero((labels[:-1] != 0) & (labels[1:] == 0)):
            counted_pause[i + 1 : i + 31] = False
        self.speech.append(score[counted_speech])
        self.pause.append(score[counted_pause])

    def join(self, other: Tally) -> None:
        self.speech += other.speech
        self.pause += other.pause
        self.onset += other.onset
        self.hangover += other.hangover
        self.missed += other.missed
        self.early += other.early

    def tpr(self, threshold: float) -> float:
        return float(np.mean(np.concatenate(self.speech) >= threshold))

    def fpr(self, threshold: float) -> float:
        return float(np.mean(np.concatenate(self.pause) >= threshold))

    def auc(self) -> float:
        """Return the probability that speech outscores non-speech, frame by frame; ties half."""
        speech, pause = np.concatenate(self.speech), np.concatenate(self.pause)
        _, inverse, counts = np.unique(
            np.concatenate([speech, pause]), return_inverse=True, return_counts=True
        )
        rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
        above = rank[: len(speech)].sum() - len(speech) * (len(speech) + 1) / 2
        return float(above / (len(speech) * len(pause)))


@dataclass
class Result:
    conditions: dict[tuple[str | None, int], Tally]
    nonspeech: dict[str, float]

    def total(self, keep: Callable[[str | None, int], bool] = lambda noise, snr: True) -> Tally:
        total = Tally()
        for condition, tally in self.conditions.items():
            if keep(*condition):
                total.join(tally)
        return total


def measure(contender: Contender, data: LabelledSet) -> Result:
    conditions = {}
    for condition in data.conditions():
        tally = conditions[condition] = Tally()
        for clip, (_, labels) in data.clips.items():
            score = scores(contender, data.mixed(clip, *condition), len(labels))
            tally.add(labels, score, contender.threshold)
    nonspeech = {
        name: float(np.mean(scores(contender, to_int16(x), len(x) // TICK) >= contender.threshold))
        for name, x in data.nonspeech.items()
    }
    return Result(conditions, nonspeech)


def costs(field_: list[Contender], pcm: Int16, rounds: int = 60) -> dict[str, float]:
    """Measure the microseconds for each 20 ms of sound."""
    streams = {}
    for c in field_:
        frames = [pcm[k : k + c.hop].copy() for k in range(0, len(pcm) - c.hop + 1, c.hop)]
        streams[c.name] = (c, c.make(), frames)
    times: dict[str, list[float]] = {name: [] for name in streams}
    for r in range(rounds):
        for name, (c, detector, frames) in streams.items():
            count = RATE // 4 // c.hop  # a quarter of a second
            start = r * count % (len(frames) - count)
            detector(frames[start])  # the others have filled the caches
            begin = time.thread_time_ns()
            for frame in frames[start : start + count]:
                detector(frame)
            spent = time.thread_time_ns() - begin
            times[name].append(spent / 1e3 / count * (RATE // 50) / c.hop)
    return {name: float(np.percentile(spent, 10)) for name, spent in times.items()}


# Tables


def table(head: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def spread(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{np.median(values):.0f} / {np.percentile(values, 95):.0f}"


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", type=Path, help="folder of a labelled set")
    parser.add_argument("--only", default="", help="contenders whose name matches")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    arguments = parser.parse_args()
    data = read_set(arguments.set) if arguments.set else own_set()
    field_ = contenders(arguments.only)
    results = {c.name: measure(c, data) for c in field_}
    clip = next(iter(data.clips))
    noise = next(iter(data.noise))
    cost = costs(field_, np.tile(data.mixed(clip, noise, 20), 3))
    dearest = max(cost.values())
    written: dict[str, Any] = {}

    print(f"{len(data.clips)} clips, {len(data.conditions())} conditions\n")
    rows = []
    for c in field_:
        result, total = results[c.name], results[c.name].total()
        false = float(np.mean(list(result.nonspeech.values())))
        written[c.name] = {
            "auc": total.auc(),
            "tpr": total.tpr(c.threshold),
            "fpr": total.fpr(c.threshold),
            "nonspeech": result.nonspeech,
            "onset_ms": [float(np.median(total.onset)), float(np.percentile(total.onset, 95))],
            "us_per_20_ms": cost[c.name],
        }
        rows.append(
            [
                c.name,
                f"{c.hop / 16:.0f}",
                f"{total.auc():.4f}",
                f"{100 * total.tpr(c.threshold):.1f} / {100 * total.fpr(c.threshold):.2f}",
                f"{100 * false:.2f}",
                spread(total.onset),
                f"{total.missed} / {total.early}",
                spread(total.hangover),
                f"{cost[c.name]:.1f}",
                f"{dearest / cost[c.name]:.1f}",
            ]
        )
    head = "detector;push ms;AUC;TPR / FPR %;false alarms on other sounds %;onset ms p50 / p95;"
    head += "missed / early;hangover ms p50 / p95;µs per 20 ms;times cheaper than the dearest"
    table(head.split(";"), rows)

    print("TPR / FPR in % by noise and SNR\n")
    rows = [
        [noise or "clean", "" if noise is None else f"{snr} dB"]
        + [
            f"{100 * tally.tpr(c.threshold):.1f} / {100 * tally.fpr(c.threshold):.1f}"
            for c in field_
            for tally in [results[c.name].conditions[noise, snr]]
        ]
        for noise, snr in data.conditions()
    ]
    table(["noise", "SNR", *(c.name for c in field_)], rows)

    print("Onset in ms, p50 / p95\n")
    rows = [["clean", *(spread(results[c.name].conditions[None, 0].onset) for c in field_)]]
    for snr in SNRS:
        totals = [results[c.name].total(lambda n, s, snr=snr: n and s == snr) for c in field_]
        rows.append([f"{snr} dB", *(spread(total.onset) for total in totals)])
    table(["SNR", *(c.name for c in field_)], rows)

    print("False alarms on other sounds, %\n")
    rows = [
        [name, *(f"{100 * results[c.name].nonspeech[name]:.1f}" for c in field_)]
        for name in data.nonspeech
    ]
    table(["sound", *(c.name for c in field_)], rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
