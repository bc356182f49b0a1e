"""Measure a call in its recording and its events, all on one clock.

Every time is that of a sample which has come out of the Stream SDK on the person's side, or has
gone into it. No figure is taken from a setting.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..testing.signals import align
from .clips import loud_parts, loud_span

__all__ = [
    "AssistantTurn",
    "Call",
    "Match",
    "Measures",
    "PersonTurn",
    "ServiceTurn",
    "Utterance",
    "compare",
    "measure",
    "median",
]

Event = dict[str, Any]

# Band in which voiced speech has its energy and Opus keeps its waveform. Below, its encoder has a
# high-pass that turns the phase by 20 to 80 degrees a pass (which leaves a correlation of 0.81 of a
# male voice); above, it codes noise as noise. In this band two passes leave about 0.97.
BAND_HZ = (400.0, 2000.0)
_BAND_EDGE_HZ = 100.0

_MATCH_SECONDS = 0.5
"""Least length of an answer that is compared with the person's speech, in seconds."""


@dataclass(frozen=True)
class Utterance:
    """Utterance of the person, as reported by the person's program.

    Attributes:
        start: Its beginning, silence at its start included; seconds on the recording's clock.
        end: Its end.
        text: Its transcript.
    """

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class ServiceTurn:
    """Turn as the service sent it.

    Attributes:
        sent_at: Monotonic time at which its first message left.
        quiet: Seconds from its first sample to its first loud one.
    """

    sent_at: float
    quiet: float


@dataclass(frozen=True, eq=False)
class Call:
    """Call: its recording, and the reports of its programs.

    Attributes:
        said: Audio sent by the person: int16 mono, shape `(n,)`.
        heard: Audio received by the person, on the same clock.
        rate: Their sample rate.
        started_at: Monotonic time of sample 0 of both.
        utterances: Utterances of the person, in order.
        events: Reports of the assistant; `t` is monotonic.
        service: Turns as the service sent them; empty if unknown.
        parrot: True if the model answers with the person's own words.
    """

    said: NDArray[np.int16]
    heard: NDArray[np.int16]
    rate: int
    started_at: float
    utterances: Sequence[Utterance]
    events: Sequence[Event]
    service: Sequence[ServiceTurn] = ()
    parrot: bool = True


@dataclass(frozen=True)
class Match:
    """Comparison of an answer with the person's speech, in the band from 400 to 2000 Hz.

    Attributes:
        correlation: Normalized correlation at the best alignment; 1 is the same waveform.
        level_db: Level of the answer less the level of the speech.
        seconds: Length of the compared audio.
    """

    correlation: float
    level_db: float
    seconds: float


@dataclass(frozen=True)
class PersonTurn:
    """Turn of the person.

    Attributes:
        start: Its first loud sample, in seconds on the recording's clock.
        end: Its last one.
        text: Its transcript.
        interrupts: Number of the assistant's turn that it cut, None if none.
    """

    start: float
    end: float
    text: str
    interrupts: int | None = None


@dataclass(frozen=True)
class AssistantTurn:
    """Turn of the assistant that was heard.

    Attributes:
        number: Its number, from 1.
        start: Its first loud sample, in seconds on the recording's clock.
        end: Its last one.
        text: Its transcript.
        heard: What was heard of it; None if that is all.
        arrived: Time at which its first audio reached the assistant.
        sent: Time at which the service began to send it; None if unknown.
        quiet: Seconds from its first sample to its first loud one; None if unknown.
        answers_at: End of the person's speech that it answers; None if it answers nothing.
        cut_at: Beginning of the person's speech that cut it; None if it was not cut.
        match: Comparison with the person's speech; None if there is none.
    """

    number: int
    start: float
    end: float
    text: str
    arrived: float
    sent: float | None = None
    quiet: float | None = None
    answers_at: float | None = None
    cut_at: float | None = None
    match: Match | None = None
    heard: str | None = None

    @property
    def unheard(self) -> str:
        """Return the end of the transcript that was not heard."""
        if self.heard is None:
            return ""
        return self.text[len(_common_start(self.text, self.heard)) :].strip()

    @property
    def latency(self) -> float | None:
        """Return the seconds from the end of the person's speech to the answer's first sound."""
        return None if self.answers_at is None else self.start - self.answers_at

    @property
    def silenced_after(self) -> float | None:
        """Return the seconds from the start of the interrupting speech to this turn's last sound.

        Zero if this turn was in a pause between two words just then, and stayed in it.
        """
        return None if self.cut_at is None else max(0.0, self.end - self.cut_at)


@dataclass(frozen=True)
class Measures:
    """Figures of a call.

    Attributes:
        person: Turns of the person, in order.
        assistant: Turns of the assistant that were heard, in order.
        turns_unheard: Turns of the assistant of which no sound reached the person.
        stats: Counters that the assistant's program reported at its end; empty if it did not.
    """

    person: tuple[PersonTurn, ...]
    assistant: tuple[AssistantTurn, ...]
    turns_unheard: int
    stats: Event

    @property
    def greeting(self) -> AssistantTurn | None:
        """Return the first turn, if it was heard before the person had said anything."""
        first = self.assistant[0] if self.assistant else None
        return first if first is not None and first.answers_at is None else None

    @property
    def answers(self) -> tuple[AssistantTurn, ...]:
        """Return the turns that answer the person."""
        return tuple(turn for turn in self.assistant if turn.answers_at is not None)

    @property
    def cuts(self) -> tuple[AssistantTurn, ...]:
        """Return the turns that the person has cut."""
        return tuple(turn for turn in self.assistant if turn.cut_at is not None)


def measure(call: Call) -> Measures:
    """Measure a call."""
    person = _person_turns(call)
    numbers, texts, arrivals, cuts = _reported_turns(call)
    heard = {
        int(event["turn"]): str(event["heard_text"])
        for event in call.events
        if event.get("event") == "interrupted" and event.get("heard_text") is not None
    }
    assistant: list[AssistantTurn] = []
    unheard = 0
    previous = 0.0
    for position, number in enumerate(numbers):
        arrived = arrivals[number]
        following = numbers[position + 1 : position + 2]
        until = arrivals[following[0]] if following else len(call.heard) / call.rate
        span = _loud(call.heard, call.rate, arrived, until)
        answers_at = _last_said(call, person, previous, arrived)
        previous = arrived
        if span is None:
            unheard += 1
            continue
        start, end = span
        cut_at = None
        if number in cuts:
            # The speech that was under way when the turn was cut; earlier speech did not cut it.
            causes = [turn.start for turn in person if start < turn.start <= cuts[number]]
            cut_at = causes[-1] if causes else None
        match = None
        if call.parrot and answers_at is not None:
            match = _match_with_said(call, person, answers_at, span)
        service = _as_sent(call, arrived)
        assistant.append(
            AssistantTurn(
                number=number,
                start=start,
                end=end,
                text=texts.get(number, ""),
                arrived=arrived,
                sent=service.sent_at - call.started_at if service else None,
                quiet=service.quiet if service else None,
                answers_at=answers_at,
                cut_at=cut_at,
                match=match,
                heard=heard.get(number),
            )
        )
    by_start = {turn.cut_at: turn.number for turn in assistant if turn.cut_at is not None}
    return Measures(
        person=tuple(
            PersonTurn(turn.start, turn.end, turn.text, by_start.get(turn.start)) for turn in person
        ),
        assistant=tuple(assistant),
        turns_unheard=unheard,
        stats=next((e for e in reversed(call.events) if e.get("event") == "stats"), {}),
    )


def compare(reference: NDArray[np.int16], recording: NDArray[np.int16], rate: int) -> Match | None:
    """Compare a recording with its reference where the two agree best; None if one is silent."""
    a, b = _band(reference, rate), _band(recording, rate)
    if not a.any() or not b.any():
        return None
    where = align(a, b, rate)
    offset = round(where.offset_samples)
    start, stop = max(0, offset), min(len(b), offset + len(a))
    x, y = a[start - offset : stop - offset], b[start:stop]
    power_x, power_y = float(np.mean(x**2)), float(np.mean(y**2))
    if not power_x or not power_y:
        return None
    level = 10 * math.log10(power_y / power_x)
    return Match(float(where.correlation), level, (stop - start) / rate)


def median(values: Sequence[float]) -> float | None:
    """Return the median; None of an empty sequence."""
    return statistics.median(values) if values else None


def _common_start(text: str, start: str) -> str:
    """Return the part of a text that a start of it covers, whatever spaces either has."""
    position = 0
    for char in "".join(start.split()):
        while position < len(text) and text[position].isspace():
            position += 1
        if position == len(text) or text[position] != char:
            break
        position += 1
    return text[:position]


def _person_turns(call: Call) -> list[PersonTurn]:
    """Split the person's speech into turns at its pauses."""
    turns = []
    for utterance in call.utterances:
        first = max(0, round(utterance.start * call.rate))
        samples = call.said[first : max(first, round(utterance.end * call.rate))]
        parts = loud_parts(samples, call.rate)
        for number, (onset, end) in enumerate(parts, 1):
            text = utterance.text
            if len(parts) > 1:
                text = f"{text} (part {number} of {len(parts)})"
            turns.append(PersonTurn((first + onset) / call.rate, (first + end) / call.rate, text))
    return turns


def _reported_turns(
    call: Call,
) -> tuple[list[int], dict[int, str], dict[int, float], dict[int, float]]:
    """Return the assistant's turns: numbers in order, texts, arrivals, and times of cuts."""
    texts: dict[int, str] = {}
    arrivals: dict[int, float] = {}
    cuts: dict[int, float] = {}
    newest = 0
    for event in call.events:
        name, at = event.get("event"), float(event.get("t", 0.0)) - call.started_at
        if name == "audio_started":
            newest = int(event["turn"])
            arrivals.setdefault(newest, at)
        elif name == "text" and newest:
            texts[newest] = texts.get(newest, "") + event["text"]
        elif name == "turn_complete" and event["text"].strip():
            texts[int(event["turn"])] = event["text"]
        elif name == "interrupted":
            cuts.setdefault(int(event["turn"]), at)
    numbers = sorted(arrivals, key=lambda number: arrivals[number])
    return numbers, {number: text.strip() for number, text in texts.items()}, arrivals, cuts


def _loud(
    samples: NDArray[np.int16], rate: int, start: float, end: float
) -> tuple[float, float] | None:
    """Return the first and the last loud sample between two times."""
    first = max(0, round(start * rate))
    span = loud_span(samples[first : max(first, round(end * rate))], rate)
    return None if span is None else ((first + span[0]) / rate, (first + span[1]) / rate)


def _last_said(
    call: Call, person: Sequence[PersonTurn], after: float, before: float
) -> float | None:
    """Return the end of the person's speech between two times; None if there was none."""
    for turn in reversed(person):
        if turn.end <= before:
            return turn.end if turn.end > after else None
        if turn.start < before:
            # In the middle of the person's turn: the service took a short pause for its end.
            span = _loud(call.said, call.rate, max(after, turn.start), before)
            return None if span is None else span[1]
    return None


def _as_sent(call: Call, arrived: float) -> ServiceTurn | None:
    """Return the service's record of the turn that arrived then."""
    before = [turn for turn in call.service if turn.sent_at - call.started_at <= arrived]
    return max(before, key=lambda turn: turn.sent_at, default=None)


def _match_with_said(
    call: Call, person: Sequence[PersonTurn], answers_at: float, span: tuple[float, float]
) -> Match | None:
    """Compare an answer, as far as it was heard, with the speech before it."""
    said = [turn for turn in person if turn.start < answers_at]
    if not said or span[1] - span[0] < _MATCH_SECONDS:
        return None
    rate = call.rate
    reference = call.said[round(said[-1].start * rate) : round(answers_at * rate)]
    return compare(reference, call.heard[round(span[0] * rate) : round(span[1] * rate)], rate)


def _band(samples: NDArray[np.int16], rate: int) -> NDArray[np.float64]:
    """Return the part of a signal within `BAND_HZ`, without phase shift, with edges of 100 Hz."""
    low, high = BAND_HZ
    # Silence after it keeps the circular filter from wrapping the end onto the start.
    size = len(samples) + rate // 10
    spectrum = np.fft.rfft(samples.astype(np.float64), size)
    frequency = np.fft.rfftfreq(size, 1 / rate)
    above = np.clip((frequency - low) / _BAND_EDGE_HZ + 0.5, 0, 1)
    below = np.clip((high - frequency) / _BAND_EDGE_HZ + 0.5, 0, 1)
    passed = spectrum * (0.5 - 0.5 * np.cos(np.pi * np.minimum(above, below)))
    return np.asarray(np.fft.irfft(passed, size)[: len(samples)])
