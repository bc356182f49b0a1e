#!/usr/bin/env python3
"""Measure the echo suppressor of `InputStream` on echoes, on people, and on double talk.

    python benches/echo.py [--set DIR] [--runs N] [--independent HOURS] [--results DIR]

Prints Markdown tables, and writes them to `echo.md`: with `PUBLISH=1` and the default arguments to
`benches/results`, otherwise to `target/bench-results`. Takes six minutes; all but the cost is the
same on every machine. Everything is measured without and with the suppressor on the same sound, in
the same run. Without `--set` the voices are the package's own recordings, with it clips of a folder
as `vad_sets.py` describes it. Opus needs PyAV, which `getstream[webrtc]` brings.

How a sound is made:

* An assistant speaks at -20 dBFS, a person at -22 dBFS: their ordinary levels, over the frames
  within 30 dB of the loudest.
* The assistant's speech comes back after 60 to 600 ms, at a level relative to the person's, after
  passing (by condition) a loudspeaker that reproduces nothing below 300 Hz and clips softly
  (`tanh`, 1.5 times the level), a room (noise that decays by 60 dB in 0.2 or 0.5 s, its energy
  3 dB below the direct sound's), a client's echo suppressor (gains of 0, -6, -12 or
  -18 dB that change every 60 to 300 ms, on an echo that is as loud as stated at 0 dB), and Opus at
  24 kbit/s, there and back.
* The microphone adds noise of -72 dBFS, or of -50 dBFS. It is captured at 48 kHz; frames of 20 ms
  arrive with a jitter of 5 ms, or of 40 ms; render frames are handed over with a jitter of 3 ms.

Definitions:

* Found: from the first 20 ms of the echo that exceed the noise by 10 dB to the end of the frame
  with which a delay is known; of the runs with half a second of such frames.
* Speech starts: `SpeechStarted` of the VAD per minute of echo; of an energy-based service:
  `ActivityDetector` of the test kit's server, at its defaults. "After" counts those after the
  frame in which the delay was found; one before that is the first syllable of a call.
* Passed: mean power, in dBFS, and share of the frames with an echo of 10 dB and more above the
  noise that reach the wire unsilenced, after the delay was found.
* A person who barges in speaks over the echo from some moment on: the echo is 12 or 26 dB below a
  person's ordinary level, and this person the stated number of dB above it. Onset: their first
  `SpeechStarted` less the one that the VAD gives for the person alone. Silenced: share of the
  frames within 20 dB of the person's level that the suppressor took for echo. Left out: the VAD was
  active before.
* Closed loop: the assistant pauses at every `SpeechStarted` and resumes 0.4 s after the end of
  speech, as the plugin does; nobody else speaks.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from command_line import publish, results_folder, table
from getstream.plugins.gemini.audio import (
    EchoReference,
    InputStream,
    Playback,
    Resampler,
    SpeechStarted,
)
from getstream.plugins.gemini.testing._gemini.activity import (
    ActivityDetector,
    ActivityOptions,
    ActivityStart,
)
from numpy.typing import NDArray
from progress import Progress
from report import machine
from vad_accuracy import spread
from vad_sets import Floats, Int16, read_set, read_wav, to_int16

Bools = NDArray[np.bool_]

RATE = 16_000
FRAME = RATE // 50
CALL_RATE = 48_000
ASSISTANT_DBFS, PERSON_DBFS = -20.0, -22.0
LEVELS = (-6, -12, -20, -30, -40)
OVER = (0, 6, 12, 20)

RUNS, INDEPENDENT_HOURS = 10, 1.0
"""Extent of a whole run: runs of each condition, and of people without an echo."""

EXPECTED_S = {"echoes": 70.0, "barging": 130.0, "independent": 110.0, "calls": 80.0}
"""Seconds of each part, roughly: for the time that is left."""

# Sounds


@dataclass(frozen=True)
class Way:
    """Echo path: loudspeaker, room, client and codec."""

    name: str
    reverberation: float = 0.0
    clipping: float = 0.0
    suppressed: bool = False
    opus: bool = False
    noise_dbfs: float = -72.0
    jitter: float = 0.005


WAYS = (
    Way("a wire"),
    Way("room, 0.2 s", 0.2),
    Way("room, 0.5 s", 0.5),
    Way("loudspeaker that clips, room", 0.3, 1.5),
    Way("the same, Opus twice", 0.3, 1.5, opus=True),
    Way("the same, a client's suppressor", 0.3, 1.5, suppressed=True),
    Way("the same, noise of -50 dBFS", 0.3, 1.5, noise_dbfs=-50.0),
    Way("the same, arrival jitter of 40 ms", 0.3, 1.5, jitter=0.04),
)


@dataclass(frozen=True)
class Voices:
    """Clips by speaker, at unit scale, and the pairs of assistant and person."""

    clips: dict[str, Floats]
    pairs: list[tuple[str, str]]


def own_voices() -> Voices:
    """Return the recordings of the package; two are of one person, who interrupts herself."""
    import getstream.plugins.gemini

    data = Path(next(iter(getstream.plugins.gemini.__path__))) / "data"
    names = ("greeting", "speech", "question")
    clips = {name: read_wav(data / f"{name}.wav") / 32_768 for name in names}
    return Voices(clips, [(a, p) for a, p in product(names, names) if a != p and p != "greeting"])


def set_voices(folder: Path) -> Voices:
    clips = {name: x / 32_768 for name, (x, _) in read_set(folder).clips.items()}
    people = [name for name in clips if name.startswith("rec")] or list(clips)
    return Voices(clips, [(a, p) for a, p in product(clips, people) if a != p])


def level_of(x: Floats) -> float:
    """Return the root mean square over the frames within 30 dB of the loudest."""
    power = frames(x).var(axis=1)
    return float(np.sqrt(power[power > power.max() / 1000].mean()))


def at_level(x: Floats, dbfs: float) -> Floats:
    return x * (10 ** (dbfs / 20) / level_of(x))


def frames(x: Any) -> Any:
    return x[: len(x) // FRAME * FRAME].reshape(-1, FRAME)


def spoken(clip: Floats, seconds: float) -> Floats:
    """Repeat a clip with pauses of 0.5 s."""
    sound = np.flatnonzero(np.abs(clip) > 0.01 * np.abs(clip).max())
    part = np.concatenate([clip[max(0, sound[0] - 320) : sound[-1] + 320], np.zeros(RATE // 2)])
    return np.resize(part, round(seconds * RATE))


def filtered(x: Floats, response: Floats) -> Floats:
    n = len(x) + len(response)
    return np.asarray(np.fft.irfft(np.fft.rfft(x, n) * np.fft.rfft(response, n), n)[: len(x)])


def room(seconds: float, random: np.random.Generator) -> Floats:
    if not seconds:
        return np.ones(1)
    t = np.arange(round(RATE * seconds)) / RATE
    tail = random.standard_normal(len(t)) * 10 ** (-3 * t / seconds)
    tail[: RATE // 300] = 0.0
    tail *= np.sqrt(0.5 / np.sum(tail**2))
    tail[0] = 1.0
    return np.asarray(tail)


def loudspeaker(x: Floats, clipping: float) -> Floats:
    if not clipping:
        return x
    hz = np.fft.rfftfreq(2 * len(x), 1 / RATE)
    gain = 1 / np.sqrt(1 + (300 / np.maximum(hz, 1.0)) ** 4)
    high = np.fft.irfft(np.fft.rfft(x, 2 * len(x)) * gain)[: len(x)]
    scale = level_of(x) / clipping
    return np.asarray(scale * np.tanh(high / scale))


def suppressor(n: int, random: np.random.Generator) -> Floats:
    gains = np.empty(n)
    start = 0
    while start < n:
        length = round(RATE * random.uniform(0.06, 0.3))
        gains[start : start + length] = 10 ** (random.choice([0, -6, -12, -18]) / 20)
        start += length
    return np.asarray(np.convolve(gains, np.ones(160) / 160)[:n])


def opus(pcm: Int16) -> Int16:
    """Pass 48 kHz sound through an encoder and a decoder, at 24 kbit/s."""
    import av

    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = CALL_RATE, "mono", "s16"
    encoder.bit_rate = 24_000
    encoder.options = {"application": "voip", "frame_duration": "20"}
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = CALL_RATE, "mono"
    out = []
    for k in range(0, len(pcm) // 960 * 960, 960):
        frame = av.AudioFrame.from_ndarray(pcm[None, k : k + 960], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = CALL_RATE, k, Fraction(1, CALL_RATE)
        for packet in encoder.encode(frame):
            for decoded in decoder.decode(packet):
                samples = decoded.to_ndarray().ravel()
                scale = 1.0 if samples.dtype == np.int16 else 32_768.0
                out.append(to_int16(samples * scale))
    coded = np.concatenate(out)
    return np.pad(coded, (0, max(0, len(pcm) - len(coded))))[: len(pcm)]


def resampled(pcm: Int16, in_rate: int, out_rate: int) -> Int16:
    return np.asarray(Resampler(in_rate, out_rate).push(pcm))


def coloured_noise(n: int, dbfs: float, random: np.random.Generator) -> Floats:
    """Make noise that falls by 6 dB per octave from 1 kHz on, like room noise on a headset."""
    white = np.fft.rfft(random.standard_normal(n))
    noise = np.fft.irfft(white / np.sqrt(1 + (np.fft.rfftfreq(n, 1 / RATE) / 1_000) ** 2), n)
    return np.asarray(noise * (10 ** (dbfs / 20) / noise.std()))


@dataclass
class Scene:
    """Signals of one run: an assistant, its echo, and perhaps a person."""

    far: Int16  # at the rate of the call
    near: Int16  # at the rate of the call
    alone: Int16  # the same without the echo
    echo: Floats  # at 16 kHz, without noise and person
    person: Floats
    noise_dbfs: float
    jitter: float
    delay_ms: float


def scene(
    assistant: Floats,
    way: Way,
    echo_dbfs: float | None,
    random: np.random.Generator,
    person: Floats | None = None,
) -> Scene:
    n = len(assistant) // FRAME * FRAME
    far = at_level(assistant[:n], ASSISTANT_DBFS)
    far48 = resampled(to_int16(far * 32_767), RATE, CALL_RATE)
    delay_ms = float(random.integers(60, 601))
    heard = far
    if way.opus:
        heard = resampled(opus(far48), CALL_RATE, RATE) / 32_768
    heard = filtered(loudspeaker(heard, way.clipping), room(way.reverberation, random))
    heard = np.concatenate([np.zeros(round(delay_ms * RATE / 1000)), heard])[:n]
    heard = np.zeros(n) if echo_dbfs is None else at_level(heard, echo_dbfs)
    if way.suppressed:
        heard = heard * suppressor(n, random)
    person = np.zeros(n) if person is None else person[:n]
    noise = coloured_noise(n, way.noise_dbfs, random)

    def captured(x: Floats) -> Int16:
        pcm = resampled(to_int16(x * 32_767), RATE, CALL_RATE)
        return opus(pcm) if way.opus else pcm

    return Scene(
        far48,
        captured(heard + person + noise),
        captured(person + noise),
        heard,
        person,
        way.noise_dbfs,
        way.jitter,
        delay_ms,
    )


# Runs


@dataclass
class Heard:
    """Result of a captured stream, frame by frame."""

    wire: Int16
    echo: Bools
    starts: list[int]
    speaking: Bools
    found: int | None  # frame in which the delay was known
    delay_ms: float | None


def run(made: Scene, near: Int16, guard: bool, seed: int = 0) -> Heard:
    random = np.random.default_rng(seed)
    reference = EchoReference(CALL_RATE)
    stream = InputStream(RATE, echo=reference if guard else None)
    count = len(near) // 960
    handed = 1_000.0 + 0.02 * np.arange(count) + random.uniform(0, 0.003, count)
    arrived = 1_000.02 + 0.02 * np.arange(count) + random.uniform(0, made.jitter, count)
    wire, echo, speaking, starts = [], [], [], []
    found = None
    for k in range(count):
        played = made.far[960 * k : 960 * (k + 1)]
        if guard and played.any():
            reference.push(played, handed[k])
        samples, events = stream.push(near[960 * k : 960 * (k + 1)], CALL_RATE, at=arrived[k])
        wire.append(samples)
        echo.append(stream.echo)
        speaking.append(stream.speaking)
        starts += [k for event in events if isinstance(event, SpeechStarted)]
        if found is None and stream.echo_delay_ms is not None:
            found = k
    delay = stream.echo_delay_ms
    return Heard(np.concatenate(wire), np.array(echo), starts, np.array(speaking), found, delay)


def triggers(wire: Int16) -> list[int]:
    """Return the frames in which an energy-based service would detect the start of speech."""
    detector = ActivityDetector(RATE, ActivityOptions())
    found = [event for event in detector.push(wire) if isinstance(event, ActivityStart)]
    return [event.position // FRAME for event in found]


def audible(x: Floats, noise_dbfs: float) -> Bools:
    return np.asarray(frames(x).var(axis=1) > 10 ** ((noise_dbfs + 10) / 10))


# Echoes alone


def counts() -> NDArray[np.int64]:
    return np.zeros(3, np.int64)


@dataclass
class Echoes:
    """Figures of runs with an echo and nobody else."""

    minutes: float = 0.0
    runs: int = 0
    wrong: int = 0
    found_ms: list[float] = field(default_factory=list)
    # Starts without the suppressor, with it, and with it after the delay was found.
    vad: NDArray[np.int64] = field(default_factory=counts)
    service: NDArray[np.int64] = field(default_factory=counts)
    # Powers of the frames with an echo, after the delay was found, and whether they passed.
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    passed: list[float] = field(default_factory=list)

    def add(self, made: Scene, seed: int) -> None:
        without, with_ = run(made, made.near, False, seed), run(made, made.near, True, seed)
        heard = audible(made.echo, made.noise_dbfs)[: len(with_.echo)]
        can_be_heard = np.sum(heard) >= 25
        self.runs += int(can_be_heard)
        self.minutes += len(heard) / 50 / 60
        behind = len(heard)
        if with_.found is not None:
            behind = with_.found + 1
            if can_be_heard:
                self.found_ms.append(20.0 * (behind - int(np.argmax(heard))))
            # Arrival adds a frame, the resamplers 4 ms, Opus 13 ms.
            error = (with_.delay_ms or 0.0) - made.delay_ms - 20.0
            self.wrong += int(not -30 <= error <= 60)
        for found, starts in (
            (self.vad, (without.starts, with_.starts)),
            (self.service, (triggers(without.wire), triggers(with_.wire))),
        ):
            found += [len(starts[0]), len(starts[1]), sum(k >= behind for k in starts[1])]
        late = heard & (np.arange(len(heard)) >= behind)
        self.before += frames(without.wire / 32_768).var(axis=1)[late].tolist()
        self.after += frames(with_.wire / 32_768).var(axis=1)[late].tolist()
        self.passed += (~with_.echo[late]).tolist()

    def row(self) -> list[str]:
        def per_minute(starts: NDArray[np.int64]) -> str:
            return " / ".join(f"{count / self.minutes:.1f}" for count in starts)

        def dbfs(powers: list[float]) -> str:
            return f"{10 * np.log10(np.mean(powers) + 1e-10):.0f}" if powers else "-"

        return [
            f"{len(self.found_ms)} of {self.runs}",
            spread(self.found_ms),
            per_minute(self.vad),
            per_minute(self.service),
            f"{dbfs(self.before)} / {dbfs(self.after)}",
            f"{100 * np.mean(self.passed):.1f}" if self.passed else "-",
        ]


ECHO_HEAD = [
    "found",
    "found after ms p50 / p95",
    "speech starts per minute: without / with / after",
    "a service's: without / with / after",
    "dBFS without / after",
    "passed %",
]


def echoes(
    voices: Voices, ways: tuple[Way, ...], runs: int, progress: Progress
) -> dict[tuple[str, int], Echoes]:
    tallies: dict[tuple[str, int], Echoes] = {}
    random = np.random.default_rng(1)
    assistants = sorted({assistant for assistant, _ in voices.pairs})
    for way, level in product(ways, LEVELS):
        tally = tallies[way.name, level] = Echoes()
        for k in range(runs):
            clip = voices.clips[assistants[k % len(assistants)]]
            quiet = np.zeros(round(RATE * random.uniform(0.3, 1.0)))
            made = scene(
                np.concatenate([quiet, spoken(clip, 12.0)]), way, PERSON_DBFS + level, random
            )
            tally.add(made, k)
        progress.advance("echoes", 1 / len(ways) / len(LEVELS), f"echoes, {way.name}")
    return tallies


# People


@dataclass
class Barging:
    onset_ms: list[float] = field(default_factory=list)
    missed: int = 0
    already: int = 0
    silenced: list[float] = field(default_factory=list)
    runs: int = 0

    def add(self, made: Scene, start: int, seed: int) -> None:
        with_ = run(made, made.near, True, seed)
        alone = run(made, made.alone, False, seed)
        self.runs += 1
        first = next((k for k in alone.starts if k >= start - 1), None)
        if first is None:
            return
        power = frames(made.person).var(axis=1)[: len(with_.echo)]
        speaks = power > level_of(made.person) ** 2 / 100
        self.silenced += with_.echo[speaks].tolist()
        if with_.speaking[start - 1]:
            self.already += 1
            return
        heard = next((k for k in with_.starts if k >= start - 1), None)
        if heard is None or heard - first > 50:
            self.missed += 1
        else:
            self.onset_ms.append(20.0 * (heard - first))

    def row(self) -> list[str]:
        heard = len(self.onset_ms)
        return [
            f"{heard} of {heard + self.missed}",
            spread(self.onset_ms),
            f"{100 * np.mean(self.silenced):.1f}" if self.silenced else "-",
            str(self.already),
        ]


BARGE_HEAD = ["heard within 1 s", "added onset ms p50 / p95", "silenced %", "left out"]


def barging(
    voices: Voices, ways: tuple[Way, ...], runs: int, progress: Progress
) -> dict[tuple[str, int], Barging]:
    tallies: dict[tuple[str, int], Barging] = {}
    random = np.random.default_rng(2)
    for way, over in product(ways, OVER):
        tally = tallies[way.name, over] = Barging()
        for k in range(runs):
            assistant, speaker = voices.pairs[k % len(voices.pairs)]
            level = PERSON_DBFS + (-12, -26)[k % 2]
            far = np.concatenate([np.zeros(RATE // 2), spoken(voices.clips[assistant], 9.0)])
            start = int(random.integers(180, 300))
            words = at_level(spoken(voices.clips[speaker], 9.5), level + over)
            person = np.concatenate([np.zeros(start * FRAME), words])[: len(far)]
            tally.add(scene(far, way, level, random, person), start, k)
        progress.advance("barging", 1 / len(ways) / len(OVER), f"a person over it, {way.name}")
    return tallies


@dataclass
class Undisturbed:
    minutes: float = 0.0
    runs: int = 0
    found: int = 0
    other_samples: int = 0
    other_events: int = 0


def independent(voices: Voices, minutes: float, progress: Progress) -> Undisturbed:
    """Run people without an echo who speak at the same time as the assistant."""
    result = Undisturbed()
    random = np.random.default_rng(3)
    while result.minutes < minutes:
        assistant, speaker = voices.pairs[result.runs % len(voices.pairs)]
        far = np.concatenate([np.zeros(RATE // 2), spoken(voices.clips[assistant], 9.5)])
        words = at_level(spoken(voices.clips[speaker], 12.0), PERSON_DBFS)
        words = np.roll(words, int(random.integers(len(words))))
        person = np.concatenate([np.zeros(int(random.integers(0, 2 * RATE))), words])[: len(far)]
        made = scene(far, WAYS[0], None, random, person)
        without = run(made, made.near, False, result.runs)
        with_ = run(made, made.near, True, result.runs)
        result.runs += 1
        result.minutes += len(far) / RATE / 60
        progress.advance("independent", len(far) / RATE / 60 / minutes, "people without an echo")
        result.found += int(with_.found is not None)
        result.other_samples += int(np.sum(without.wire != with_.wire))
        result.other_events += int(without.starts != with_.starts)
    return result


# A call


def call(clip: Floats, echo_dbfs: float, guard: bool, seed: int) -> tuple[int, float]:
    """Count pauses of the assistant, and their share of time, until it has spoken for 20 s."""
    random = np.random.default_rng(seed)
    response = room(0.3, random)
    response *= 10 ** ((echo_dbfs - ASSISTANT_DBFS) / 20) / np.sqrt(np.sum(response**2))
    delay = round(random.uniform(0.06, 0.6) * 50)
    playback = Playback(RATE, CALL_RATE, prefill_ms=0)
    assert playback.push(to_int16(at_level(spoken(clip, 20.0), ASSISTANT_DBFS) * 32_767), 1) > 0
    playback.end_turn(1)
    reference = EchoReference(CALL_RATE)
    stream = InputStream(RATE, echo=reference if guard else None)
    down = Resampler(CALL_RATE, RATE)
    tail = np.zeros(len(response) - 1)
    on_the_way: list[Floats] = [np.zeros(FRAME)] * delay
    pauses = paused = tick = 0
    resume: int | None = None
    held = False
    while (playback.audible or held) and tick < 50 * 60:
        now = 0.02 * tick
        if playback.audible:
            played = playback.pop_frame()
            reference.push(played, now)
        else:
            played = np.zeros(960, np.int16)
        sound: Floats = np.convolve(down.push(played) / 32_768, response)
        sound[: len(tail)] += tail
        sound, tail = sound[:FRAME], sound[FRAME:]
        on_the_way.append(sound)
        near = on_the_way.pop(0) + random.standard_normal(FRAME) * 10 ** (-72 / 20)
        _, events = stream.push(to_int16(near * 32_768), RATE, at=now + 0.02)
        for event in events:
            if isinstance(event, SpeechStarted):
                if not held:
                    pauses += 1
                    playback.pause()
                held, resume = True, None
            else:
                resume = tick + 20
        if held and resume is not None and tick >= resume:
            held, resume = False, None
            playback.resume()
        paused += held
        tick += 1
    return pauses, paused / tick


def costs(rounds: int = 40) -> tuple[float, float, float]:
    """Measure µs per 20 ms: without a suppressor, with one that searches, and of a reference."""
    random = np.random.default_rng(4)
    far = random.integers(-9_000, 9_000, (50, 960), dtype=np.int16)
    near = random.integers(-2_000, 2_000, (50, 960), dtype=np.int16)
    reference = EchoReference(CALL_RATE)
    streams = [InputStream(RATE), InputStream(RATE, echo=reference)]
    times: list[list[float]] = [[], [], []]
    now = 0.0
    for _ in range(rounds):
        spent = [0, 0, 0]
        for played, captured in zip(far, near, strict=True):
            begin = time.thread_time_ns()
            reference.push(played, now)
            spent[2] += time.thread_time_ns() - begin
            for k, stream in enumerate(streams):
                begin = time.thread_time_ns()
                stream.push(captured, CALL_RATE, at=now)
                spent[k] += time.thread_time_ns() - begin
            now += 0.02
        for every, ns in zip(times, spent, strict=True):
            every.append(ns / 50 / 1e3)
    without, with_, pushed = (float(np.percentile(every, 10)) for every in times)
    return without, with_, pushed


def usable(ways: tuple[Way, ...]) -> Iterator[Way]:
    try:
        opus(np.zeros(960, np.int16))
    except Exception as error:
        print(f"left out: Opus ({error})", file=sys.stderr)
        yield from (way for way in ways if not way.opus)
    else:
        yield from ways


def rows(tallies: dict[tuple[str, int], Any], name: Callable[[str, int], str]) -> list[list[str]]:
    """Return table rows, with tallies of the same name joined."""
    joined: dict[str, Any] = {}
    for (way, level), tally in tallies.items():
        total = joined.setdefault(name(way, level), type(tally)())
        for key, value in vars(tally).items():
            setattr(total, key, getattr(total, key) + value)
    return [[which, *total.row()] for which, total in joined.items()]


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", type=Path, help="folder of a labelled set")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each condition")
    parser.add_argument("--independent", type=float, default=INDEPENDENT_HOURS, metavar="HOURS")
    parser.add_argument("--results", type=Path, help="folder for the tables")
    arguments = parser.parse_args()
    voices = set_voices(arguments.set) if arguments.set else own_voices()
    ways = tuple(usable(WAYS))
    progress = Progress(EXPECTED_S)

    found = echoes(voices, ways, arguments.runs, progress)
    total = sum(tally.runs for tally in found.values())
    minutes = sum(tally.minutes for tally in found.values())
    wrong = sum(tally.wrong for tally in found.values())
    lines = [
        "# The echo suppressor",
        "",
        f"{datetime.date.today()}, {machine()}. `python benches/echo.py --runs {arguments.runs} "
        f"--independent {arguments.independent:g}`, which says what each column is.",
        "",
        "## Echoes alone",
        "",
        f"{total} runs, {minutes:.0f} min; a wrong delay in {wrong}.",
        "",
        *table(["way", *ECHO_HEAD], rows(found, lambda way, level: way)),
        "Without the way through a client's suppressor, by the level of the echo:",
        "",
        *table(
            ["echo to person", *ECHO_HEAD],
            rows({k: v for k, v in found.items() if "suppr" not in k[0]}, lambda _, db: f"{db} dB"),
        ),
    ]

    barged = barging(voices, ways, 2 * arguments.runs, progress)
    lines += [
        "## A person who speaks over an echo",
        "",
        *table(["person to echo", *BARGE_HEAD], rows(barged, lambda _, over: f"+{over} dB")),
        *table(
            ["way, person to echo", *BARGE_HEAD],
            rows(barged, lambda way, over: f"{way}, +{over} dB"),
        ),
    ]

    calm = independent(voices, 60 * arguments.independent, progress)
    lines += [
        "## People without an echo who speak at the same time",
        "",
        f"{calm.runs} runs, {calm.minutes:.0f} min; an echo found in {calm.found}, samples that "
        f"differ on the wire {calm.other_samples}, runs with other speech starts "
        f"{calm.other_events}.",
        "",
    ]

    names = sorted({assistant for assistant, _ in voices.pairs})
    closed = []
    for level in LEVELS:
        cells = []
        for guard in (False, True):
            got = [
                call(voices.clips[names[k % len(names)]], PERSON_DBFS + level, guard, k)
                for k in range(2 * arguments.runs)
            ]
            spoken_minutes = len(got) * 20 / 60
            pauses, paused = sum(p for p, _ in got), np.mean([share for _, share in got])
            cells.append(f"{pauses / spoken_minutes:.1f} / {100 * paused:.0f}")
            progress.advance("calls", 1 / len(LEVELS) / 2, f"closed loop, {level} dB")
        closed.append([f"{level} dB", *cells])
    without, with_, pushed = costs()
    lines += [
        "## Closed loop: pauses per minute / time in them, %",
        "",
        *table(["echo to person", "without", "with"], closed),
        "## Cost through Python, µs per 20 ms of 48 kHz, p10",
        "",
        *table(
            ["", "µs"],
            [
                ["a stream with VAD", f"{without:.1f}"],
                ["the same, with a suppressor that searches", f"{with_:.1f}"],
                ["a push to the reference", f"{pushed:.1f}"],
            ],
        ),
        "How it is measured: `benches/echo.py`. Run it yourself: `make bench-echo`.",
    ]
    whole = (arguments.set, arguments.runs, arguments.independent) == (
        None,
        RUNS,
        INDEPENDENT_HOURS,
    )
    publish(lines, "", "echo", results_folder(arguments.results, whole))


if __name__ == "__main__":
    main()
