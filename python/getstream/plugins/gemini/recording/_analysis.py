"""Work out what happened in a recorded call: turns, delays, tools, gaps, and what to doubt.

Times are seconds from the start of the recording. Both sides are seen from where the session runs:
the way through the network to and from the listeners is not in them.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .._terminal import one_line
from ._levels import Levels
from ._wav import LEFT, RIGHT
from .reader import Entry, Recording

__all__ = [
    "Analysis",
    "Delay",
    "Mark",
    "Span",
    "Tool",
    "Turn",
    "analyse",
    "median",
]

SAME_TURN_S = 1.0
"""Pause within which the same person goes on with the same turn: no service waits longer for the
end of a turn by default."""

ONSET_S = 0.4
"""Longest time from the first sound of a word until it is reported as speech."""

LATE_MS = 100.0
"""Lateness of a thread that is doubted: as long as the shortest delay that is measured."""

LATE_FRAMES = 0.01
"""Share of late frames that is doubted. A machine with nothing else to do has none."""

FRAMES_PER_S = 50

Who = Literal["person", "assistant"]


@dataclass(frozen=True)
class Delay:
    """Time from the end of a person's speech to the first sound of the answer, and its parts.

    Attributes:
        total_ms: all of it.
        service_ms: until the first audio arrived: the service finds the end of the speech, thinks
            and begins to speak, and the network brings it. None if the arrival was not recorded.
        silent_start_ms: silence at the beginning of the audio.
        rest_ms: from the arrival until the first sample was played: this package.
    """

    total_ms: float
    service_ms: float | None
    silent_start_ms: float
    rest_ms: float | None


@dataclass
class Turn:
    """One turn of a person or of the assistant.

    Attributes:
        who: `"person"` or `"assistant"`.
        name: the user's id, or "" if it is not known.
        number: the number of the assistant's turn; 0 of a person's.
        start: its first sound, or when its audio began to be played, if it has none.
        end: its last one.
        text: its transcript, one line.
        heard: the part of it that was heard.
        cut: whether it was cut short.
        cause: who or what has cut it, such as `"speech"`.
        reason: why the service has ended it, if it says so.
        played: whether any of it was played.
        delay: how long the person waited for it; None if it answers nothing.
        silent_after_ms: from the beginning of the speech that cut it to its last sound; None if it
            was not cut by speech.
    """

    who: Who
    start: float
    end: float
    name: str = ""
    number: int = 0
    text: str = ""
    heard: str = ""
    cut: bool = False
    cause: str = ""
    reason: str = ""
    played: bool = True
    delay: Delay | None = None
    silent_after_ms: float | None = None


@dataclass(frozen=True)
class Span:
    """Stretch of time in which something held.

    Attributes:
        kind: `"duck"` (the assistant is lower), `"pause"` (it is held) or `"offline"` (there is no
            connection).
        start: its beginning.
        end: its end.
        text: what is known of it.
    """

    kind: Literal["duck", "pause", "offline"]
    start: float
    end: float
    text: str = ""


@dataclass(frozen=True)
class Tool:
    """Call of a function.

    Attributes:
        name: the function.
        start: when the model called it.
        end: when it was answered or cancelled; None if it never was.
        arguments: as JSON.
        result: as JSON, or why there is none.
    """

    name: str
    start: float
    end: float | None
    arguments: str
    result: str


@dataclass(frozen=True)
class Mark:
    """Moment at which something happened that has no length.

    Attributes:
        at: when.
        text: what.
    """

    at: float
    text: str


@dataclass(frozen=True)
class Analysis:
    """Everything that a page or a program says of a recording.

    Attributes:
        turns: by their beginnings.
        spans: duck, pause and gaps of the connection, by their beginnings.
        tools: calls of functions, by their beginnings.
        marks: errors, stalls, attempts to connect and announced ends.
        numbers: the counters at the end, by name.
        doubts: reasons not to trust the times.
        notes: what else a reader should know, such as a missing end.
    """

    turns: tuple[Turn, ...]
    spans: tuple[Span, ...]
    tools: tuple[Tool, ...]
    marks: tuple[Mark, ...]
    numbers: Mapping[str, float]
    doubts: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def delays_ms(self) -> list[float]:
        """Return the delays of the answers."""
        return [turn.delay.total_ms for turn in self.turns if turn.delay is not None]

    @property
    def silences_ms(self) -> list[float]:
        """Return, for each turn that speech has cut, how long it was heard on."""
        return [t.silent_after_ms for t in self.turns if t.silent_after_ms is not None]


def median(values: Sequence[float]) -> float | None:
    """Return the median; None of an empty sequence."""
    return statistics.median(values) if values else None


def analyse(recording: Recording, levels: Levels) -> Analysis:
    """Work out what happened."""
    assistant, played_from, arrived = _assistant_turns(recording, levels)
    person = _person_turns(recording, levels, [turn.start for turn in assistant])
    _measure_delays(assistant, person, levels, played_from, arrived)
    _measure_silences(assistant, person, recording, levels)
    numbers = _numbers(recording)
    return Analysis(
        turns=tuple(sorted([*person, *assistant], key=lambda turn: turn.start)),
        spans=tuple(_spans(recording)),
        tools=tuple(_tools(recording)),
        marks=tuple(_marks(recording)),
        numbers=numbers,
        doubts=tuple(_doubts(recording, numbers)),
        notes=tuple(_notes(recording)),
    )


# -- the assistant --------------------------------------------------------------------------------


@dataclass
class _Playback:
    """Gather what the events say of one turn of the assistant."""

    seen: float
    """Time of the first event that names it."""
    arrived: float | None = None
    started: float | None = None
    finished: float | None = None
    cut_at: float | None = None
    deltas: list[str] = field(default_factory=list)
    text: str | None = None
    heard: str | None = None
    cut: bool = False
    cause: str = ""
    reason: str = ""


def _assistant_turns(
    recording: Recording, levels: Levels
) -> tuple[list[Turn], dict[int, float], dict[int, float]]:
    """Return the turns, and by number when each was played from and when its audio arrived."""
    found = _playbacks(recording)
    turns, played_from, arrived = [], {}, {}
    starts = sorted(p.started for p in found.values() if p.started is not None)
    for number, playback in found.items():
        text = one_line("".join(playback.deltas) if playback.text is None else playback.text)
        if playback.arrived is not None:
            arrived[number] = playback.arrived
        if playback.started is None:
            if text:
                seen = playback.arrived if playback.arrived is not None else playback.seen
                turns.append(Turn("assistant", seen, seen, number=number, text=text, played=False,
                                  cut=playback.cut, cause=playback.cause,
                                  reason=playback.reason))  # fmt: skip
            continue
        played_from[number] = playback.started
        following = next((s for s in starts if s > playback.started), recording.seconds)
        end = playback.finished
        if end is None:
            end = following if playback.cut_at is None else playback.cut_at
        end = max(end, playback.started)
        sound = levels.loud_span(RIGHT, playback.started, end) or (playback.started, end)
        heard = text if playback.heard is None else one_line(playback.heard)
        turns.append(
            Turn(
                "assistant",
                *sound,
                number=number,
                text=text,
                heard=heard if playback.cut else text,
                cut=playback.cut,
                cause=playback.cause,
                reason=playback.reason,
            )
        )
    return sorted(turns, key=lambda turn: turn.start), played_from, arrived


def _playbacks(recording: Recording) -> dict[int, _Playback]:
    """Gather the events of each turn of the assistant, by its number."""
    found: dict[int, _Playback] = {}
    for entry in recording.named(*_OF_A_TURN):
        if not entry.turn:
            continue
        turn = found.setdefault(entry.turn, _Playback(entry.seconds))
        if entry.event == "audio":
            turn.arrived = entry.seconds if turn.arrived is None else turn.arrived
        elif entry.event == "text":
            turn.deltas.append(entry.text("text"))
        elif entry.event == "turn_complete":
            turn.text = entry.text("text") or turn.text
            turn.reason = one_line(entry.text("reason"))
        elif entry.event == "playback_started":
            turn.started = entry.seconds
        elif entry.event == "interrupted":
            turn.cut, turn.cut_at = True, entry.seconds
            turn.cause = one_line(entry.text("cause"))
            turn.heard = entry.text("heard_text")
        else:
            turn.started = _first(entry.moment("started_at"), turn.started, entry.seconds)
            turn.finished = _first(entry.moment("finished_at"), entry.seconds)
            turn.text = entry.text("text") or turn.text
            turn.cut = turn.cut or entry.fields.get("cut") is True
            turn.heard = entry.text("heard_text")
    return found


_OF_A_TURN = (
    "audio",
    "text",
    "turn_complete",
    "playback_started",
    "playback_finished",
    "interrupted",
)


def _first(*values: float | None) -> float:
    """Return the first value that is known; the last one always is."""
    return next(value for value in values if value is not None)


# -- the people -----------------------------------------------------------------------------------


def _person_turns(recording: Recording, levels: Levels, answered_at: Sequence[float]) -> list[Turn]:
    """Return the turns of the people: their speech, as it was detected and as it sounds."""
    turns: list[Turn] = []
    for name, start, end in _speech(recording):
        previous = max((turn.end for turn in turns if turn.end <= start), default=0.0)
        sound = levels.loud_span(LEFT, max(previous, start - ONSET_S), end)
        if sound is not None:
            start, end = sound
        last = next((turn for turn in reversed(turns) if turn.name == name), None)
        if (
            last is not None
            and start - last.end <= SAME_TURN_S
            and not any(last.end < at < start for at in answered_at)
        ):
            last.end = max(last.end, end)
        else:
            turns.append(Turn("person", start, end, name=name))
    _give_texts(turns, recording.named("user_text"))
    for turn in turns:
        turn.text = turn.heard = one_line(turn.text)
    return turns


def _speech(recording: Recording) -> list[tuple[str, float, float]]:
    """Return who spoke from when to when, by the beginnings, as it was detected."""
    found: list[tuple[str, float, float]] = []
    open_since: dict[str, float] = {}
    for entry in recording.named("speech_started", "speech_stopped"):
        name = one_line(entry.text("user_id"))
        if entry.event == "speech_started":
            open_since.setdefault(name, entry.seconds)
        elif name in open_since:
            found.append((name, open_since.pop(name), entry.seconds))
    found += [(name, start, recording.seconds) for name, start in open_since.items()]
    return sorted(found, key=lambda each: each[1])


def _give_texts(turns: list[Turn], texts: Iterable[Entry]) -> None:
    """Give each piece of a transcript to the speech before it; make a turn where there is none."""
    for entry in texts:
        at = entry.seconds
        owner = next((turn for turn in reversed(turns) if turn.start <= at), None)
        if owner is None:
            owner = Turn("person", at, at)
            turns.insert(0, owner)
        owner.text += entry.text("text")


# -- what is measured -----------------------------------------------------------------------------


def _measure_delays(
    assistant: Sequence[Turn],
    person: Sequence[Turn],
    levels: Levels,
    played_from: Mapping[int, float],
    arrived: Mapping[int, float],
) -> None:
    """Measure how long the people waited for each answer, and for what."""
    previous = -1.0
    for turn in assistant:
        if not turn.played:
            continue
        start = played_from[turn.number]
        ends = [said.end for said in person if previous < said.end <= turn.start]
        speaking = any(said.start < turn.start < said.end for said in person)
        previous = start
        if not ends or speaking:
            continue
        asked = max(ends)
        came = arrived.get(turn.number)
        turn.delay = Delay(
            total_ms=_ms(turn.start - asked),
            service_ms=None if came is None else _ms(came - asked),
            silent_start_ms=_ms(turn.start - start),
            rest_ms=None if came is None else _ms(start - came),
        )


def _measure_silences(
    assistant: Sequence[Turn], person: Sequence[Turn], recording: Recording, levels: Levels
) -> None:
    """Measure for how long a turn was heard on after somebody had begun to speak over it."""
    cut_at = {entry.turn: entry.seconds for entry in recording.named("interrupted")}
    for turn in assistant:
        at = cut_at.get(turn.number)
        if at is None or not turn.played:
            continue
        causes = [said.start for said in person if turn.start < said.start <= at]
        if causes:
            turn.silent_after_ms = _ms(max(0.0, turn.end - causes[-1]))


# -- what else happened ---------------------------------------------------------------------------


def _spans(recording: Recording) -> list[Span]:
    """Return when the assistant was lower or held, and when there was no connection."""
    spans: list[Span] = []
    begun: dict[str, tuple[float, str]] = {}

    def end(kind: Literal["duck", "pause", "offline"], at: float) -> None:
        if kind in begun:
            start, text = begun.pop(kind)
            spans.append(Span(kind, start, max(at, start), text))

    for entry in recording.entries:
        at = entry.seconds
        if entry.event == "playback_ducked":
            begun.setdefault("duck", (at, ""))
        elif entry.event == "playback_paused":
            begun.setdefault("pause", (at, one_line(entry.text("reason"))))
            end("duck", at)
        elif entry.event == "playback_unducked":
            end("duck", at)
        elif entry.event in ("playback_resumed", "interrupted"):
            end("duck", at)
            end("pause", at)
        elif entry.event == "disconnected":
            begun.setdefault("offline", (at, _message(entry)))
        elif entry.event == "resumed":
            end("offline", at)
    end("duck", recording.seconds)
    end("pause", recording.seconds)
    end("offline", recording.seconds)
    return sorted(spans, key=lambda span: span.start)


def _message(entry: Entry) -> str:
    """Return the reason of an event: text, or an error."""
    for name in ("reason", "error", "cause"):
        reason = entry.fields.get(name)
        if isinstance(reason, dict):
            reason = f"{reason.get('type', 'error')}: {reason.get('message', '')}"
        if isinstance(reason, str):
            return one_line(reason)
    return ""


def _tools(recording: Recording) -> list[Tool]:
    """Return the calls of functions with what came of them."""
    tools: list[Tool] = []
    waiting: list[tuple[str, str]] = []  # the ids and names of those calls, "" when they are over
    for entry in recording.named("tool_call", "tool_result", "tool_cancelled"):
        call = (str(entry.fields.get("id")), one_line(entry.text("tool")))
        if entry.event == "tool_call":
            tools.append(
                Tool(
                    name=call[1] or "?",
                    start=entry.seconds,
                    end=None,
                    arguments=_json(entry.fields.get("args")),
                    result="no answer",
                )
            )
            waiting.append(call)
        elif call in waiting:
            # Calls without an id are answered in order.
            index = waiting.index(call)
            waiting[index] = ("", "")
            tools[index] = dataclasses.replace(
                tools[index], end=entry.seconds, result=_result(entry)
            )
    return tools


def _result(entry: Entry) -> str:
    """Return what came of a call: what it returned, why it failed, or why it was cancelled."""
    if entry.event == "tool_cancelled":
        return f"cancelled: {one_line(entry.text('reason'))}"
    if entry.text("error"):
        return f"failed: {one_line(entry.text('error'))}"
    return _json(entry.fields.get("result"))


def _json(value: Any) -> str:
    return one_line(json.dumps(value, ensure_ascii=False)) if value is not None else ""


def _marks(recording: Recording) -> list[Mark]:
    """Return what happened at one moment and may explain what is heard."""
    marks = []
    for entry in recording.entries:
        text = ""
        if entry.event == "stalled":
            text = f"no answer for {entry.number('waited_ms') or 0:.0f} ms"
        elif entry.event == "reconnecting":
            text = f"attempt {entry.number('attempt') or 0:.0f} to connect"
        elif entry.event == "error":
            text = f"error: {_message(entry)}"
        elif entry.event == "closed" and _message(entry):
            text = f"closed: {_message(entry)}"
        elif entry.event == "message" and entry.number("time_left") is not None:
            text = f"the service ends the connection in {entry.number('time_left'):.0f} s"
        elif entry.event == "dropped":
            text = f"the recorder dropped {entry.number('count') or 0:.0f} frames or events"
        if text:
            marks.append(Mark(entry.seconds, text))
    return marks


def _numbers(recording: Recording) -> dict[str, float]:
    """Return the counters as they were last."""
    stats = recording.named("stats")
    last = stats[-1] if stats else None
    numbers = {}
    for name in last.fields if last is not None else ():
        value = last.number(name) if last is not None else None
        if value is not None:
            numbers[one_line(name)] = value
    return numbers


def _doubts(recording: Recording, numbers: Mapping[str, float]) -> list[str]:
    """Return why the times may be wrong: the machine was too slow, or the recorder was."""
    doubts = []
    late = max((e.number("late_ms") or 0.0 for e in recording.named("recorder")), default=0.0)
    if late >= LATE_MS:
        doubts.append(f"the program was kept from running for {late:.0f} ms")
    gaps = numbers.get("playout_underruns", 0.0)
    if gaps:
        doubts.append(f"the listener heard {gaps:.0f} gaps, because audio came too late")
    frames = numbers.get("late_frames", 0.0)
    if frames > LATE_FRAMES * FRAMES_PER_S * max(1.0, recording.seconds):
        doubts.append(f"{frames:.0f} frames were late")
    dropped = sum(entry.number("count") or 0.0 for entry in recording.named("dropped"))
    if dropped:
        doubts.append(f"the recorder dropped {dropped:.0f} frames or events")
    return doubts


def _notes(recording: Recording) -> list[str]:
    """Return what a reader should know of the recording itself."""
    notes = []
    if not recording.is_complete:
        notes.append("The recording has no end: the program was killed, or the disk was full.")
    if recording.unreadable_lines:
        notes.append(f"{recording.unreadable_lines} lines of the events could not be read.")
    return notes


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
