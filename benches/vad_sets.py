#!/usr/bin/env python3
"""Make labelled sets of sound for `vad_accuracy.py`: where speech is, frame by frame.

    python benches/vad_sets.py FOLDER

writes the synthesized set as WAV files with `labels.json`, and prints its checksum.

* Synthesized: sentences of espeak-ng (`pip install espeakng-loader`) in the voices of `VOICES`,
  with pauses of digital silence between them, at two levels. Where speech is, is known by
  construction: the synthesizer's samples are not zero there. Silence within a sentence (a stop
  consonant, a comma) is neither speech nor a pause. All chance has a fixed seed: with the same
  version of the synthesizer the set is the same in each run.
* Recorded: the three recordings of this package, labelled by their level.

Both are mixed with the same noises, made from formulas; sounds that are no speech are, too.

A folder with a set of one's own holds:

    labels.json   {"clips": {name: {"file": ..., "labels": "0012..."}}, "noise": [...],
                   "nonspeech": [...]}; a label for each 10 ms: 0 no speech, 1 speech, 2 either
    speech/*.wav, noise/*.wav, nonspeech/*.wav     16 kHz, mono, 16 bit
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
import wave
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
TICK = RATE // 100
SNRS = (30, 20, 10, 5, 0)

Int16 = NDArray[np.int16]
Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass
class LabelledSet:
    """Clips with their labels, noises to mix with them, and sounds that are not speech."""

    clips: dict[str, tuple[Floats, Labels]] = field(default_factory=dict)
    noise: dict[str, Floats] = field(default_factory=dict)
    nonspeech: dict[str, Floats] = field(default_factory=dict)

    def conditions(self) -> list[tuple[str | None, int]]:
        """Return each noise with each SNR, and first no noise."""
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

    def seconds(self) -> float:
        """Return the length of all clips."""
        return sum(len(x) for x, _ in self.clips.values()) / RATE


# Synthesized speech

VOICES = ("en-us", "en", "de", "fr", "es", "it", "pl", "hi", "tr", "pt")
VARIANTS = ("", "f2", "m3", "f4", "m7", "f5", "m1", "f1", "m5", "f3")
"""Variant of each voice, in order: women and men, from light to dark."""

SPEEDS_WPM = (140, 175, 210)

SENTENCES = {
    "en": ("Hello, can you hear me?", "No.", "Please stop, I have a question about the invoice.",
           "The train leaves at twenty past seven from platform nine.", "Yes, exactly.",
           "She sells fresh fish at the harbour every Saturday morning."),
    "de": ("Guten Tag, hören Sie mich?", "Nein.", "Einen Moment bitte, ich habe noch eine Frage.",
           "Der Zug fährt um sieben Uhr zwanzig von Gleis neun.", "Ja, genau."),
    "fr": ("Bonjour, vous m'entendez?", "Non.", "Attendez, j'ai une question sur la facture.",
           "Le train part à sept heures vingt de la voie neuf.", "Oui, c'est cela."),
    "es": ("Hola, ¿me oye usted?", "No.", "Espere, tengo una pregunta sobre la factura.",
           "El tren sale a las siete y veinte del andén nueve.", "Sí, exactamente."),
    "it": ("Buongiorno, mi sente?", "No.", "Aspetti, ho una domanda sulla fattura.",
           "Il treno parte alle sette e venti dal binario nove.", "Sì, esatto."),
    "pl": ("Dzień dobry, czy mnie słychać?", "Nie.", "Proszę poczekać, mam jeszcze pytanie.",
           "Pociąg odjeżdża o siódmej dwadzieścia z toru dziewiątego.", "Tak, dokładnie."),
    "hi": ("नमस्ते, क्या आप मुझे सुन सकते हैं?", "नहीं.", "रुकिए, मेरा एक सवाल है.",
           "रेलगाड़ी सात बजकर बीस मिनट पर चलती है.", "हाँ, बिल्कुल."),
    "tr": ("Merhaba, beni duyuyor musunuz?", "Hayır.", "Bekleyin, fatura hakkında bir sorum var.",
           "Tren yediyi yirmi geçe dokuzuncu perondan kalkıyor.", "Evet, aynen."),
    "pt": ("Olá, está a ouvir-me?", "Não.", "Espere, tenho uma pergunta sobre a fatura.",
           "O comboio parte às sete e vinte da linha nove.", "Sim, exatamente."),
}  # fmt: skip

LEVELS_DBFS = (-20, -32)
PAUSE_S = (0.7, 1.6)
"""Least and greatest pause between two sentences, in seconds."""

FULL_SCALE = 32_768


class Synthesizer:
    """Speech of espeak-ng, by the library in the wheel `espeakng-loader`.

    The library has one state for the process: use `synthesizer()`.

    Raises:
        ImportError: The wheel is not installed.
        RuntimeError: The library cannot be started, or lacks a voice.
    """

    _RETRIEVAL, _UTF8, _SPEED = 1, 1, 1  # speak_lib.h: AUDIO_OUTPUT_RETRIEVAL, ..., espeakRATE

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        folder = str(Path(espeakng_loader.get_data_path()).parent).encode()
        self._rate = self._library.espeak_Initialize(self._RETRIEVAL, 0, folder, 0)
        if self._rate <= 0:
            raise RuntimeError(f"espeak-ng does not start: status {self._rate}")
        self._heard: list[Int16] = []
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )
        self._callback = kind(self._take)  # kept: the library holds no reference
        self._library.espeak_SetSynthCallback(self._callback)

    @property
    def version(self) -> str:
        """Version of espeak-ng."""
        self._library.espeak_Info.restype = ctypes.c_char_p
        return str(self._library.espeak_Info(None).decode())

    def say(self, text: str, voice: str, variant: str, speed_wpm: int) -> Floats:
        """Return a sentence at 16 kHz, from its first sample that is not zero to its last."""
        name = f"{voice}+{variant}" if variant else voice
        if self._library.espeak_SetVoiceByName(name.encode()):
            raise RuntimeError(f"espeak-ng has no voice {name}")
        self._library.espeak_SetParameter(self._SPEED, speed_wpm, 0)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # the breath of some variants
        self._heard.clear()
        encoded = text.encode() + b"\0"
        self._library.espeak_Synth(encoded, len(encoded), 0, 0, 0, self._UTF8, None, None)
        self._library.espeak_Synchronize()
        said = np.concatenate([np.empty(0, np.int16), *self._heard])
        sounding = np.flatnonzero(said)
        return _to_16_khz(said[sounding[0] : sounding[-1] + 1], self._rate)

    def _take(self, samples: Any, count: int, _events: Any) -> int:
        if count > 0 and samples:
            self._heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


@cache
def synthesizer() -> Synthesizer:
    """Return the synthesizer of this process."""
    return Synthesizer()


def _to_16_khz(samples: Int16, rate: int) -> Floats:
    from getstream.plugins.gemini.audio import Resampler

    resampler = Resampler(rate, RATE, quality="music")
    padded = np.concatenate([samples, np.zeros(rate // 10, np.int16)])
    out = np.concatenate([resampler.push(padded), resampler.flush()]).astype(np.float64)
    return out[: round(len(samples) * RATE / rate)]


def synthesized_set() -> LabelledSet:
    """Make the synthesized set."""
    made = LabelledSet(noise=noises(), nonspeech=sounds())
    random = np.random.Generator(np.random.PCG64(2))
    for number, (voice, variant) in enumerate(zip(VOICES, VARIANTS, strict=True)):
        speed = SPEEDS_WPM[number % len(SPEEDS_WPM)]
        parts: list[Floats] = []
        for sentence in SENTENCES[voice.partition("-")[0]]:
            parts.append(np.zeros(TICK * int(100 * random.uniform(*PAUSE_S))))
            parts.append(synthesizer().say(sentence, voice, variant, speed))
        x = np.concatenate([*parts, np.zeros(RATE)])
        labels = labels_of(parts, len(x) // TICK)
        loudness = rms(x[: len(labels) * TICK][np.repeat(labels == 1, TICK)])
        for dbfs in LEVELS_DBFS:
            gain = FULL_SCALE * 10 ** (dbfs / 20) / loudness
            made.clips[f"{voice} {variant} {dbfs} dBFS"] = (np.rint(x * gain), labels)
    return made


def labels_of(parts: list[Floats], ticks: int) -> Labels:
    """Label pauses, which are all zeros, and sentences; parts follow each other.

    A frame of 10 ms is a pause if all of it is, speech if all of it is within a sentence and its
    level is within 40 dB of the sentence's loudest frame; what is in between is either.
    """
    pause = np.ones(ticks * TICK, bool)
    level = np.full(ticks, -np.inf)
    at = 0
    for part in parts:
        if part.any():
            pause[at : at + len(part)] = False
            first, last = -(-at // TICK), (at + len(part)) // TICK
            frames = part[first * TICK - at : last * TICK - at].reshape(-1, TICK)
            power = np.mean(frames**2, axis=1)
            level[first:last] = 10 * np.log10(power / power.max() + 1e-12)
        at += len(part)
    labels = np.where(level >= QUIETEST_DB, 1, 2)
    labels[pause.reshape(-1, TICK).all(axis=1)] = 0
    return labels


QUIETEST_DB = -40.0
"""Level of the quietest frame that is labelled speech, relative to the sentence's loudest frame."""


# Recorded speech


def recorded_set() -> LabelledSet:
    """Make a small set of the package's recordings, each at two levels."""
    import getstream.plugins.gemini

    data = Path(next(iter(getstream.plugins.gemini.__path__))) / "data"
    made = LabelledSet(noise=noises(), nonspeech=sounds())
    pause = np.zeros(RATE)
    for name in ("speech", "question", "greeting"):
        x = np.concatenate([pause, read_wav(data / f"{name}.wav"), pause])
        labels = labels_by_level(x)
        for dbfs in LEVELS_DBFS:
            made.clips[f"{name} {dbfs} dBFS"] = (x * 10 ** ((dbfs + 20) / 20), labels)
    return made


def labels_by_level(x: Floats) -> Labels:
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


# Noises and sounds, from formulas

_TIMES = np.arange(15 * RATE) / RATE


def noises() -> dict[str, Floats]:
    """Make 15 s of each noise."""
    t = _TIMES
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
    return {
        "white": random.standard_normal(len(t)),
        "pink": coloured(1.0),
        "brown": coloured(2.0),
        "hum": np.asarray(hum),
        "keyboard": keys,
    }


def sounds() -> dict[str, Floats]:
    """Make 15 s of each sound that is no speech, at -20 dBFS: the noises, signals, music."""
    t = _TIMES
    random = np.random.Generator(np.random.PCG64(3))

    def sine(hz: Any) -> Floats:
        return np.asarray(np.sin(2 * np.pi * np.cumsum(np.broadcast_to(hz, t.shape)) / RATE))

    beat = t % 0.2 < 0.1
    chord = sum(sine(hz) for hz in (220.0, 277.2, 329.6)) * np.exp(-3 * (t % 0.5))
    made = {
        **noises(),
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
    return {**{name: x / rms(x) * 3_277 for name, x in made.items()}, "silence": np.zeros(len(t))}


# Files


def read_set(folder: Path) -> LabelledSet:
    """Read a set from its files."""
    meta = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    return LabelledSet(
        {
            name: (read_wav(folder / clip["file"]), np.array(list(clip["labels"]), dtype=np.int64))
            for name, clip in meta["clips"].items()
        },
        {name: read_wav(folder / "noise" / f"{name}.wav") for name in meta["noise"]},
        {name: read_wav(folder / "nonspeech" / f"{name}.wav") for name in meta["nonspeech"]},
    )


def write_set(made: LabelledSet, folder: Path) -> None:
    """Write a set as files that `read_set` reads; noises are scaled to -20 dBFS."""
    clips = {
        name: {"file": f"speech/{name}.wav", "labels": "".join(map(str, labels))}
        for name, (_, labels) in made.clips.items()
    }
    files = {f"speech/{name}.wav": x for name, (x, _) in made.clips.items()}
    files |= {f"noise/{name}.wav": x / rms(x) * 3_277 for name, x in made.noise.items()}
    files |= {f"nonspeech/{name}.wav": x for name, x in made.nonspeech.items()}
    for name, x in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(to_int16(x).astype("<i2").tobytes())
    meta = {"clips": clips, "noise": [*made.noise], "nonspeech": [*made.nonspeech]}
    (folder / "labels.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def checksum(made: LabelledSet) -> str:
    """Return the first 12 digits of the SHA-256 of all clips, as 16 bits, and their labels."""
    digest = hashlib.sha256()
    for x, labels in made.clips.values():
        digest.update(to_int16(x).astype("<i2").tobytes())
        digest.update(labels.astype(np.uint8).tobytes())
    return digest.hexdigest()[:12]


def read_wav(path: Path) -> Floats:
    """Read a file of 16 kHz, mono, 16 bit; ends the program if it is something else."""
    with wave.open(str(path), "rb") as file:
        form = (file.getframerate(), file.getnchannels(), file.getsampwidth())
        if form != (RATE, 1, 2):
            raise SystemExit(f"{path}: needs to be 16 kHz, mono, 16 bit, is {form}")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)


def rms(x: Floats) -> float:
    return float(np.sqrt(np.mean(x * x)))


def to_int16(x: Floats) -> Int16:
    return np.clip(np.rint(x), -32_768, 32_767).astype(np.int16)


SETS: dict[str, Callable[[], LabelledSet]] = {
    "synthesized": synthesized_set,
    "recorded": recorded_set,
}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python benches/vad_sets.py FOLDER")
    synthesized = synthesized_set()
    write_set(synthesized, Path(sys.argv[1]))
    print(f"{len(synthesized.clips)} clips, {synthesized.seconds():.0f} s, {checksum(synthesized)}")
