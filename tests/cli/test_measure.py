"""Tests of the figures of a call, on recordings made sample by sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from getstream.plugins.gemini._cli import report
from getstream.plugins.gemini._cli.measure import (
    Call,
    Measures,
    ServiceTurn,
    Utterance,
    compare,
    measure,
)
from getstream.plugins.gemini.testing import signals
from numpy.typing import NDArray

RATE = 48000
ZERO = 1000.0  # the monotonic time of the recording's first sample
SECONDS = 14.0
EDGE = 0.012  # the babble fades in and out over 10 ms: its first loud sample is not its first one

Samples = NDArray[np.int16]


def babble(seconds: float, seed: int) -> Samples:
    return signals.speech_like(seconds * 1000, RATE, seed=seed)


def track(*pieces: tuple[float, Samples]) -> Samples:
    samples = np.zeros(round(SECONDS * RATE), dtype=np.int16)
    for start, piece in pieces:
        first = round(start * RATE)
        samples[first : first + len(piece)] = piece
    return samples


GREETING, QUESTION, REMARK = babble(1.0, 1), babble(3.0, 2), babble(2.0, 3)


def event(name: str, at: float, **details: Any) -> dict[str, Any]:
    return {"t": ZERO + at, "event": name, **details}


def quieter(samples: Samples, db: float) -> Samples:
    return np.rint(samples * 10 ** (db / 20)).astype(np.int16)


@pytest.fixture(scope="module")
def call() -> Call:
    """Make a call with a greeting, a question, an interrupted answer, and another answer.

    Greeting at 0.5; question 2 to 5; its answer from 5.6, cut by the remark at 7 and silent 0.15 s
    later; the remark's answer from 9.5."""
    cut = QUESTION[: round(1.55 * RATE)]
    return Call(
        said=track((2.0, QUESTION), (7.0, REMARK)),
        heard=track((0.5, GREETING), (5.6, quieter(cut, -1.0)), (9.5, quieter(REMARK, -1.0))),
        rate=RATE,
        started_at=ZERO,
        utterances=[
            # As the person's program reports them: with the silence around.
            Utterance(1.9, 5.1, "the question"),
            Utterance(6.9, 9.1, "the remark"),
        ],
        events=[
            event("joined", 0.0),
            event("audio_started", 0.3, turn=1),
            event("text", 0.31, text="Hello "),
            event("text", 0.32, text="there."),
            event("turn_complete", 0.4, turn=1, text="Hello there."),
            event("audio_started", 5.4, turn=2),
            event("text", 5.41, text=" the question"),
            event("interrupted", 7.2, turn=2, heard_ms=1500.0, cause="server"),
            event("audio_started", 9.3, turn=3),
            event("turn_complete", 9.6, turn=3, text="the remark"),
            event("stats", 14.0, frames_in=600, frames_sent=590, cpu_percent=7.5),
        ],
        service=[
            ServiceTurn(ZERO + 0.29, 0.05),
            ServiceTurn(ZERO + 5.39, 0.1),
            ServiceTurn(ZERO + 9.29, 0.1),
        ],
    )


@pytest.fixture(scope="module")
def measures(call: Call) -> Measures:
    return measure(call)


def test_turns(measures: Measures) -> None:
    assert [turn.text for turn in measures.person] == ["the question", "the remark"]
    assert [turn.interrupts for turn in measures.person] == [None, 2]
    assert [turn.text for turn in measures.assistant] == [
        "Hello there.",
        "the question",
        "the remark",
    ]
    assert measures.turns_unheard == 0
    assert measures.greeting is measures.assistant[0]
    assert [turn.number for turn in measures.answers] == [2, 3]
    assert [turn.number for turn in measures.cuts] == [2]
    starts = [0.5, 5.6, 9.5]
    assert [turn.start for turn in measures.assistant] == pytest.approx(starts, abs=EDGE)
    ends = [1.5, 7.15, 11.5]
    assert [turn.end for turn in measures.assistant] == pytest.approx(ends, abs=EDGE)


def test_latencies(measures: Measures) -> None:
    first, second = measures.answers
    assert first.latency == pytest.approx(0.6, abs=2 * EDGE)
    assert second.latency == pytest.approx(0.5, abs=2 * EDGE)
    assert first.arrived == pytest.approx(5.4)
    assert first.sent == pytest.approx(5.39)
    assert first.quiet == pytest.approx(0.1)
    greeting = measures.greeting
    assert greeting is not None
    assert greeting.latency is None


def test_barge_in(measures: Measures) -> None:
    (cut,) = measures.cuts
    assert cut.cut_at == measures.person[1].start
    assert cut.silenced_after == pytest.approx(0.15, abs=2 * EDGE)


def test_answers_are_compared_with_what_was_said(measures: Measures) -> None:
    for answer, seconds in zip(measures.answers, (1.55, 2.0), strict=True):
        assert answer.match is not None
        assert answer.match.correlation > 0.99
        assert answer.match.level_db == pytest.approx(-1.0, abs=0.1)
        assert answer.match.seconds == pytest.approx(seconds, abs=2 * EDGE)


def altered(call: Call, **changes: Any) -> Measures:
    return measure(Call(**{**vars(call), **changes}))


def test_another_answer_does_not_match(call: Call) -> None:
    heard = track((0.5, GREETING), (5.6, babble(1.55, 8)), (9.5, babble(2.0, 9)))
    found = altered(call, heard=heard)
    assert [answer.match and answer.match.correlation < 0.6 for answer in found.answers] == [
        True,
        True,
    ]


def test_a_model_that_is_no_parrot_is_not_compared(call: Call) -> None:
    found = altered(call, parrot=False, service=[])
    assert [turn.match for turn in found.assistant] == [None] * 3
    assert [turn.sent for turn in found.assistant] == [None] * 3
    assert len(found.answers) == 2


def test_a_turn_that_nobody_heard_is_no_answer(call: Call) -> None:
    found = altered(call, heard=track((0.5, GREETING)))
    assert [turn.number for turn in found.assistant] == [1]
    assert found.turns_unheard == 2
    assert found.answers == ()


def test_silence(call: Call) -> None:
    found = altered(call, heard=track(), events=[])
    assert found.assistant == ()
    assert found.greeting is None
    assert found.stats == {}
    assert len(found.person) == 2


def test_an_assistant_that_speaks_first_after_the_person_has_not_greeted(call: Call) -> None:
    found = altered(call, events=[e for e in call.events if e.get("turn") != 1])
    assert found.greeting is None
    assert [turn.number for turn in found.answers] == [2, 3]


def test_a_pause_makes_two_turns_of_a_speech(call: Call) -> None:
    """The person pauses, is answered, and goes on, which cuts the answer."""
    said = track((2.0, QUESTION[: 2 * RATE]), (7.0, QUESTION[2 * RATE :]), (8.2, REMARK[:RATE]))
    found = altered(call, said=said, utterances=[Utterance(1.9, 9.4, "a speech")])
    assert [(turn.text, turn.interrupts) for turn in found.person] == [
        ("a speech (part 1 of 2)", None),
        ("a speech (part 2 of 2)", 2),
    ]
    first, second = found.answers
    assert first.answers_at == pytest.approx(4.0, abs=0.03)
    assert first.latency == pytest.approx(1.6, abs=0.03)
    assert first.silenced_after == pytest.approx(0.15, abs=0.03)
    assert second.answers_at == pytest.approx(9.2, abs=0.03)


def test_an_answer_in_the_middle_of_a_turn(call: Call) -> None:
    """The service takes a short pause for the end: the answer is to the words before it."""
    said = track((2.0, QUESTION), (5.35, REMARK))
    found = altered(call, said=said, utterances=[Utterance(1.9, 7.5, "a speech")])
    assert len(found.person) == 1
    (answer, *_) = found.answers
    assert answer.arrived == pytest.approx(5.4)
    assert answer.answers_at == pytest.approx(5.4, abs=0.03), "speech until it was answered"


def test_an_interruption_in_a_pause_of_the_assistant_took_no_time(call: Call) -> None:
    said = track((2.0, QUESTION), (7.16, REMARK))
    utterances = [call.utterances[0], Utterance(7.1, 9.2, "the remark")]
    found = altered(call, said=said, utterances=utterances)
    (cut,) = found.cuts
    assert cut.silenced_after == 0.0


def test_a_cut_without_speech_of_the_person_is_no_barge_in(call: Call) -> None:
    events = [e if e["event"] != "interrupted" else {**e, "t": ZERO + 6.0} for e in call.events]
    assert altered(call, events=events).cuts == ()


def test_compare() -> None:
    same = compare(QUESTION, QUESTION, RATE)
    assert same is not None
    assert same.correlation == pytest.approx(1.0)
    assert same.level_db == pytest.approx(0.0, abs=1e-6)
    # Outside the band: a tone of 100 Hz that Opus may turn and weaken as it likes.
    hum = signals.tone(100, 3000, RATE, dbfs=-20)
    hummed = compare(QUESTION, (QUESTION // 2 + hum // 2).astype(np.int16), RATE)
    assert hummed is not None
    assert hummed.correlation > 0.99
    assert hummed.level_db == pytest.approx(-6.02, abs=0.1)
    assert compare(QUESTION, np.zeros(RATE, np.int16), RATE) is None


# -- what is written ------------------------------------------------------------------------------


def test_report(call: Call, measures: Measures, tmp_path: Path) -> None:
    numbers = report.summary(call, measures, gemini="local")
    report.prepare_folder(tmp_path)
    report.write_report(tmp_path, call, measures, numbers)

    samples, rate = signals.read_wav(tmp_path / "conversation.wav")
    assert rate == RATE
    assert np.array_equal(samples[:, 0], call.said)
    assert np.array_equal(samples[:, 1], call.heard)

    stored = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert stored == numbers
    assert stored["turns"] == {
        "person": 2,
        "assistant": 3,
        "assistant_unheard": 0,
        "interrupted": 1,
    }
    assert stored["answer_latency_ms"]["p50"] == pytest.approx(550, abs=2000 * EDGE)
    assert stored["answer_latency_ms"]["max"] == pytest.approx(600, abs=2000 * EDGE)
    assert stored["barge_in_to_silence_ms"]["count"] == 1
    order = [(turn["who"], turn["text"]) for turn in stored["conversation"]]
    assert order == [
        ("assistant", "Hello there."),
        ("person", "the question"),
        ("assistant", "the question"),
        ("person", "the remark"),
        ("assistant", "the remark"),
    ]
    answer = stored["conversation"][2]
    parts = answer["until_audio_arrived_ms"] + answer["from_arrival_to_heard_ms"]
    assert parts == pytest.approx(answer["latency_ms"], abs=0.2)
    assert stored["assistant"] == {"frames_in": 600, "frames_sent": 590, "cpu_percent": 7.5}

    picture = ElementTree.parse(tmp_path / "timeline.svg").getroot()
    words = " ".join(picture.itertext())
    for word in ("the question", "interrupted", "barge-in to silence", "answer", "Hello there."):
        assert word in words


def test_printed_summary(call: Call, measures: Measures) -> None:
    stats = dict.fromkeys(
        (
            *("frames_in", "frames_sent", "input_dropped_ms", "played_ms", "dropped_ms"),
            *("underruns", "playout_underruns", "late_frames", "cpu_percent", "call_seconds"),
        ),
        1,
    )
    whole = Measures(measures.person, measures.assistant, 0, {"event": "stats", **stats})
    printed = report.printed_summary(report.summary(call, whole, gemini="local"), Path("out"))
    for fact in (
        "2 of the person, 3 of the assistant, 1 interrupted",
        "p50 5",
        "correlation 1.000",
        "level -1.0 dB",
        "1 frames in, 1 sent",
        "1.0 % of a core",
        str(Path("out") / "conversation.wav"),
    ):
        assert fact in printed
    assert max(map(len, printed.splitlines())) < 80


def test_a_call_in_which_nothing_happened_can_be_reported(tmp_path: Path) -> None:
    silent = track()
    call = Call(silent, silent, RATE, ZERO, [], [])
    measures = measure(call)
    numbers = report.summary(call, measures, gemini="real")
    report.write_report(tmp_path, call, measures, numbers)
    assert "nothing to measure" in report.printed_summary(numbers, tmp_path)
    ElementTree.parse(tmp_path / "timeline.svg")


@pytest.mark.parametrize(
    ("heard", "unheard"),
    [
        ("It is a", "mile from here."),
        (" It  is\na ", "mile from here."),
        ("It is a mile from here.", ""),
        ("", "It is a mile from here."),
        (None, ""),
    ],
)
def test_the_picture_strikes_out_what_was_not_heard(
    call: Call, heard: str | None, unheard: str
) -> None:
    number = next(e["turn"] for e in call.events if e["event"] == "interrupted")
    events = [
        {**e, "heard_text": heard} if e["event"] == "interrupted" else e
        for e in call.events
        if not (e["event"] in ("text", "turn_complete") and e.get("turn", number) == number)
    ]
    events.append(event("turn_complete", 13.0, turn=number, text="It is a mile from here."))
    measures = measure(Call(**{**vars(call), "events": events}))
    turn = next(each for each in measures.assistant if each.number == number)
    assert turn.unheard == unheard
    span = next(s for s in report.timeline(call, measures).spans if s.outcome == "interrupted")
    assert (span.unheard, f"{span.label}{span.unheard}") == (unheard, "It is a mile from here.")
    numbers = report.summary(call, measures, gemini="local")
    said = [each for each in numbers["conversation"] if each.get("turn") == number]
    assert said[0]["unheard_text"] == unheard
