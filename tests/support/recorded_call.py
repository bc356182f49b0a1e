"""Play a call with two interruptions of different kinds to an observer, without a session."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from getstream.plugins.gemini.audio import Resampler
from getstream.plugins.gemini.live import (
    Audio,
    Disconnected,
    Event,
    Interrupted,
    Observer,
    PlaybackDucked,
    PlaybackFinished,
    PlaybackPaused,
    PlaybackStarted,
    Reconnecting,
    Resumed,
    SpeechStarted,
    SpeechStopped,
    Text,
    TokenUsage,
    TurnComplete,
    UserText,
)
from getstream.plugins.gemini.recording import read_recording
from getstream.plugins.gemini.recording._wav import StereoWriter
from numpy.typing import NDArray

START = 5000.25
"""Event loop time of the first frame."""

IN_RATE, OUT_RATE = 16_000, 48_000


@dataclass(frozen=True)
class ToolCall(Event):
    """Call of a function by the model."""

    name: ClassVar[str] = "tool_call"
    id: str
    tool: str
    args: dict[str, Any]


@dataclass(frozen=True)
class ToolResult(Event):
    """Answer to a call of a function."""

    name: ClassVar[str] = "tool_result"
    id: str
    tool: str
    result: Any


@dataclass(frozen=True)
class Message:
    """Message of the service, as far as the recorder looks at it."""

    usage: TokenUsage | None = None
    audio: list[Any] = field(default_factory=list)
    turn_complete: bool = False
    handle: str = ""
    resumable: bool | None = None


def clip(name: str, rate: int) -> NDArray[np.int16]:
    """Return a clip of the package at a rate."""
    source = files("getstream.plugins.gemini") / "data" / name
    with source.open("rb") as file, wave.open(file) as wav:
        samples = np.frombuffer(wav.readframes(wav.getnframes()), np.int16)
        own = wav.getframerate()
    resampler = Resampler(own, rate)
    return np.concatenate([resampler.push(samples), resampler.flush()])


GREETING = "Hello everyone. How can I help you today?"
ANSWER = "He was not an ill disposed young man, unless to be rather cold hearted."
HEARD = "He was not an ill disposed"
QUESTION = "He might even have been made amiable himself."


@dataclass
class Script:
    """Frames and events of a call, by time in seconds from its start.

    Attributes:
        seconds: its length.
    """

    seconds: float = 0.0
    events: list[Event] = field(default_factory=list)
    messages: list[tuple[float, Message]] = field(default_factory=list)
    people: list[tuple[float, NDArray[np.int16]]] = field(default_factory=list)
    assistant: list[tuple[float, NDArray[np.int16]]] = field(default_factory=list)

    def lane(self, side: int) -> NDArray[np.int16]:
        """Return one side: the people at 16 kHz, or the assistant at 48 kHz."""
        rate = (IN_RATE, OUT_RATE)[side]
        result = np.zeros(round(self.seconds * rate), np.int16)
        for at, samples in (self.people, self.assistant)[side]:
            first = round(at * rate)
            part = samples[: len(result) - first]
            result[first : first + len(part)] = part
        return result

    def says(self, user: str, at: float, name: str, text: str) -> float:
        """Let a person say a clip; returns its end."""
        samples = clip(name, IN_RATE)
        end = at + len(samples) / IN_RATE
        self.people.append((at, samples))
        self.events += [
            SpeechStarted(user, at=START + at + 0.1),
            *(UserText(f"{word} ", at=START + end - 0.2) for word in text.split()),
            SpeechStopped(user, at=START + end + 0.2),
        ]
        return end

    def answers(
        self, turn: int, at: float, name: str, text: str, *, cut_s: float | None = None, heard: str
    ) -> float:
        """Let the assistant say a clip, or its beginning; returns its end."""
        samples = clip(name, OUT_RATE)
        if cut_s is not None:
            samples = samples[: round(cut_s * OUT_RATE)]
        end = at + len(samples) / OUT_RATE
        self.assistant.append((at, samples))
        words = [
            Text(f"{word} ", turn=turn, at=START + at + 0.05 * index)
            for index, word in enumerate(text.split())
        ]
        heard_ms = 1000 * (end - at)
        self.events += [
            Audio(b"\0" * 960, turn=turn, at=START + at - 0.08),
            Audio(b"\0" * 960, turn=turn, at=START + at - 0.04),
            PlaybackStarted(turn=turn, at=START + at),
            *words,
        ]
        if cut_s is None:
            self.events.append(TurnComplete(turn=turn, text=text, at=START + end - 0.5))
        else:
            self.events.append(Interrupted(turn, heard_ms, heard, "speech", at=START + end + 0.1))
        self.events.append(
            PlaybackFinished(turn, text, heard, heard_ms, cut_s is not None, START + at,
                             START + end, at=START + end + 0.12)
        )  # fmt: skip
        return end


def short_call() -> Script:
    """Return a call: greeting, question, an answer that is cut, a tool, a lost connection."""
    script = Script()
    end = script.answers(1, 0.6, "greeting.wav", GREETING, heard=GREETING)
    end = script.says("anna", end + 0.8, "speech.wav", ANSWER)
    script.answers(2, end + 0.6, "speech.wav", ANSWER, cut_s=2.2, heard=HEARD)
    cut = end + 0.6 + 2.2
    script.events += [
        PlaybackDucked(-12.0, turn=2, at=START + cut - 0.30),
        PlaybackPaused("speech", turn=2, at=START + cut),
    ]
    end = script.says("ben", cut - 0.35, "question.wav", QUESTION)
    script.events += [
        ToolCall("call-1", "book_table", {"people": 4}, turn=3, at=START + end + 0.2),
        ToolResult("call-1", "book_table", {"status": "booked"}, turn=3, at=START + end + 0.5),
    ]
    end = script.answers(3, end + 0.9, "question.wav", QUESTION, heard=QUESTION)
    script.events += [
        Disconnected(ConnectionError("1006 <b>gone</b>"), at=START + end + 0.3),
        Reconnecting(1, 0.0, True, at=START + end + 0.35),
        Resumed(700.0, 1, True, 0.0, at=START + end + 1.0),
    ]
    script.messages += [
        (START + 0.52, Message(audio=[("", 24000)])),
        (
            START + 2.0,
            Message(
                usage=TokenUsage(thoughts=120), turn_complete=True, resumable=True, handle="secret"
            ),
        ),
        (START + 9.0, Message(usage=TokenUsage(thoughts=312))),
    ]
    script.seconds = end + 2.0
    return script


def moments(script: Script) -> Iterator[tuple[float, str, tuple[Any, ...]]]:
    """Return every call of an observer's method, in order of time."""
    found: list[tuple[float, str, tuple[Any, ...]]] = []
    for side, method in ((0, "on_input_audio"), (1, "on_output_audio")):
        rate = (IN_RATE, OUT_RATE)[side]
        lane = script.lane(side)
        for index in range(len(lane) * 50 // rate):
            # Frames of the input have the time of their end, those of the output of their start.
            at = START + (index + (1 - side)) / 50
            pcm = lane[index * rate // 50 : (index + 1) * rate // 50].tobytes()
            found.append((at, method, (at, pcm, rate)))
    found += [(event.at, "on_event", (event,)) for event in script.events]
    found += [(at, "on_message", (at, message)) for at, message in script.messages]
    return iter(sorted(found, key=lambda each: each[0]))


def play(script: Script, observer: Observer, *, until: float | None = None) -> None:
    """Play a call to an observer, as fast as it takes it.

    Args:
        script: the call.
        observer: what it is played to.
        until: seconds after which to stop, in the middle; None for the whole.
    """
    for at, method, arguments in moments(script):
        if until is not None and at >= START + until:
            return
        getattr(observer, method)(*arguments)


HOSTILE = [
    "</script><script>globalThis.hacked = 1</script>",
    "<!--<script>",
    "<img src=x onerror='globalThis.hacked = 1'>",
    "]]>&lt;b&gt;&amp;",
    "@@SCRIPT@@ @@AUDIO@@ @@NONE@@",
    "\\u003c/script\\u003e \\",
    "'; globalThis.hacked = 1; //",
    "${globalThis.hacked = 1}",
    "\u202egnp.exe \u2066\x1b[2J\x07 \u2028 \ud800 \0",
    "a" * 30_000,
    "javascript:globalThis.hacked=1",
]


def hostile_call() -> Script:
    """Return a call in which everybody, the service and the tools say what they should not."""
    script = Script(seconds=len(HOSTILE) * 1.0 + 2)
    for index, text in enumerate(HOSTILE):
        at, turn = START + index, index + 1
        script.events += [
            SpeechStarted(text, at=at),
            SpeechStopped(text, at=at + 0.2),
            UserText(text, at=at + 0.2),
            PlaybackStarted(turn=turn, at=at + 0.3),
            Text(text, turn=turn, at=at + 0.3),
            Interrupted(turn, 300.0, text[:5], text, at=at + 0.6),  # type: ignore[arg-type]
            TurnComplete(turn, text, text, at=at + 0.6),
            ToolCall(text, text, {text: text}, turn=turn, at=at + 0.7),
            ToolResult(text, text, [text], turn=turn, at=at + 0.8),
            Disconnected(ConnectionError(text), at=at + 0.8),
        ]
    return script


def repeat(source: Path, target: Path, times: int, *, sounding: int | None = None) -> None:
    """Write a recording that repeats another one: an hour in seconds.

    Args:
        source: the folder of a recording.
        target: the folder to make.
        times: how often.
        sounding: how often its sound is repeated, if less: the rest is a hole in the file.
    """
    recording = read_recording(source)
    audio = recording.audio(0, recording.audio_frames)
    target.mkdir()
    writer = StereoWriter(target)
    for index in range(sounding or times):
        for side in (0, 1):
            writer.write(side, index * len(audio), audio[:, side])
    writer.write(0, times * len(audio) - 1, audio[-1:, 0])
    writer.commit()
    writer.close()
    first, *rest = (source / "events.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [first]
    for index in range(times):
        for line in rest:
            fields = json.loads(line)
            for name in fields:
                if name == "at" or name.endswith("_at"):
                    fields[name] += index * len(audio)
            if fields.get("turn"):
                fields["turn"] += 3 * index
            if fields["event"] != "end" or index == times - 1:
                lines.append(json.dumps(fields))
    (target / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
