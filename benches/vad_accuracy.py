#!/usr/bin/env python3
"""Measure accuracy, latency and cost of voice activity detectors.

    python benches/vad_accuracy.py [--set DIR] [--only REGEX] [--json FILE] [--results DIR]

Prints Markdown tables of this package's `Vad` beside Silero on onnxruntime, WebRTC's detector and
earshot, and writes them to `vad.md`: a whole run with `PUBLISH=1` to `benches/results`, otherwise
to `target/bench-results`. A contender that is not installed is left out with a message
(`make bench-vad` installs all of them). Takes two minutes.

It works on the two sets of `vad_sets.py`: sentences of a synthesizer, whose labels are known by
construction, and the recordings of the package. `--set` names the folder of another one.

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
import datetime
import importlib.metadata
import importlib.util
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from command_line import publish, results_folder, table
from numpy.typing import NDArray
from progress import Progress
from report import machine
from vad_sets import (
    RATE,
    SETS,
    SNRS,
    TICK,
    Floats,
    Int16,
    LabelledSet,
    checksum,
    read_set,
    synthesizer,
    to_int16,
)

PACKAGES = (
    "getstream-plugins-gemini", "onnxruntime", "silero-vad", "webrtcvad-wheels", "earshot", "numpy",
)  # fmt: skip


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
    yield Contender("Vad.probability, 10 ms", 160, Vad().threshold, Probability)
    # From here on `Capture` takes a push for the possible beginning of speech.
    yield Contender("Vad.probability from 0.1", 320, 0.1, Probability)
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
    """Return the installed contenders whose name matches, and print which are not installed."""
    found = []
    sources: list[Source] = [ours, silero, webrtc, earshot]
    for source in sources:
        try:
            found += [c for c in source() if re.search(only, c.name)]
        except ImportError as error:
            print(f"left out: {source.__name__} ({error})", file=sys.stderr)
    return found


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


def measure(
    contender: Contender,
    data: LabelledSet,
    advance: Callable[[float], None] = lambda share: None,
) -> Result:
    """Measure a contender on a set; `advance` is told each share of the work that is done."""
    conditions = {}
    for condition in data.conditions():
        advance(1 / len(data.conditions()))
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


def spread(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{np.median(values):.0f} / {np.percentile(values, 95):.0f}"


HEAD = (
    "detector",
    "push, ms",
    "AUC",
    "TPR / FPR, %",
    "false alarms on other sounds, %",
    "onset, ms, p50 / p95",
    "missed / early",
    "hangover, ms, p50 / p95",
)


def summary(field_: list[Contender], results: dict[str, Result]) -> list[str]:
    """Return the table of all conditions together."""
    rows = []
    for c in field_:
        result, total = results[c.name], results[c.name].total()
        rows.append(
            [
                f"**{c.name}**" if c.name.startswith("Vad") else c.name,
                f"{c.hop / 16:.0f}",
                f"{total.auc():.4f}",
                f"{100 * total.tpr(c.threshold):.1f} / {100 * total.fpr(c.threshold):.2f}",
                f"{100 * float(np.mean(list(result.nonspeech.values()))):.2f}",
                spread(total.onset),
                f"{total.missed} / {total.early}",
                spread(total.hangover),
            ]
        )
    return table(HEAD, rows)


def by_condition(
    data: LabelledSet, field_: list[Contender], results: dict[str, Result]
) -> list[str]:
    """Return the tables by noise, by SNR, and by sound."""
    names = [c.name for c in field_]
    rates = [
        [f"{noise}, {snr} dB" if noise else "clean"]
        + [
            f"{100 * tally.tpr(c.threshold):.1f} / {100 * tally.fpr(c.threshold):.1f}"
            for c in field_
            for tally in [results[c.name].conditions[noise, snr]]
        ]
        for noise, snr in data.conditions()
    ]
    onsets = [["clean", *(spread(results[c.name].conditions[None, 0].onset) for c in field_)]]
    for snr in SNRS:
        totals = [results[c.name].total(lambda n, s, snr=snr: n and s == snr) for c in field_]
        onsets.append([f"{snr} dB", *(spread(total.onset) for total in totals)])
    alarms = [
        [name, *(f"{100 * results[c.name].nonspeech[name]:.1f}" for c in field_)]
        for name in data.nonspeech
    ]
    return [
        "### TPR / FPR by noise, %",
        "",
        *table(["noise, SNR", *names], rates),
        "### Onset by SNR, ms, p50 / p95",
        "",
        *table(["SNR", *names], onsets),
        "### False alarms on other sounds, %",
        "",
        *table(["sound", *names], alarms),
    ]


def figures(contender: Contender, result: Result) -> dict[str, Any]:
    """Return the figures of a contender on a set, for `--json`."""
    total = result.total()
    return {
        "auc": total.auc(),
        "tpr": total.tpr(contender.threshold),
        "fpr": total.fpr(contender.threshold),
        "nonspeech": result.nonspeech,
        "onset_ms": [float(np.median(total.onset)), float(np.percentile(total.onset, 95))],
    }


def versions() -> str:
    """Return the names and versions of what takes part."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", type=Path, help="folder of a labelled set, in place of the two")
    parser.add_argument("--only", default="", help="contenders whose name matches")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    parser.add_argument("--results", type=Path, help="folder for the tables")
    arguments = parser.parse_args()
    if arguments.set:
        sets = {str(arguments.set): read_set(arguments.set)}
    else:
        sets = {name: make() for name, make in SETS.items()}
    field_ = contenders(arguments.only)
    progress = Progress({name: data.seconds() for name, data in sets.items()})
    written: dict[str, Any] = {}
    lines = [
        "# Voice activity detection",
        "",
        f"{datetime.date.today()}, {machine()}. {versions()}.",
        "",
        "The accuracy is the same in every run; the cost depends on the machine. The definitions "
        "are those of `benches/vad_accuracy.py`, the sets those of `benches/vad_sets.py`.",
        "",
    ]
    for name, data in sets.items():
        results = {}
        for c in field_:

            def advance(share: float, name: str = name, who: str = c.name) -> None:
                progress.advance(name, share / len(field_), f"{name}, {who}")

            results[c.name] = measure(c, data, advance)
        written[name] = {c.name: figures(c, results[c.name]) for c in field_}
        source = f" (espeak-ng {synthesizer().version})" if name == "synthesized" else ""
        lines += [
            f"## Speech: {name}{source}",
            "",
            f"{len(data.clips)} clips, {data.seconds():.0f} s, each in "
            f"{len(data.conditions())} conditions; checksum of the clips {checksum(data)}.",
            "",
            *summary(field_, results),
            *by_condition(data, field_, results),
        ]
    data = next(iter(sets.values()))
    clip, noise = next(iter(data.clips)), next(iter(data.noise))
    cost = costs(field_, np.tile(data.mixed(clip, noise, 20), 3))
    reference = cost[next(iter(cost))]
    lines += [
        "## Cost, µs of CPU for each 20 ms of sound, p10 over the rounds",
        "",
        *table(
            ["detector", "push, ms", "µs", f"× {next(iter(cost))}"],
            [
                [
                    c.name,
                    f"{c.hop / 16:.0f}",
                    f"{cost[c.name]:.1f}",
                    f"{cost[c.name] / reference:.2f}",
                ]
                for c in field_
            ],
        ),
        "How it is measured: `benches/vad_accuracy.py`. Run it yourself: `make bench-vad`.",
    ]
    whole = not (arguments.set or arguments.only) and len(field_) == ALL_CONTENDERS
    publish(lines, "", "vad", results_folder(arguments.results, whole))
    if arguments.json:
        written["us_per_20_ms"] = cost
        arguments.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


ALL_CONTENDERS = 8
"""Number of contenders when everything is installed: five of ours, and three others."""


if __name__ == "__main__":
    main()
