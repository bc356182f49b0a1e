"""Tests of what is worked out of a recording: turns, delays, stages, tools, doubts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recorded_call as call
from getstream.plugins.gemini.recording import Recorder, Recording, read_recording
from getstream.plugins.gemini.recording._analysis import Analysis, Turn, analyse
from getstream.plugins.gemini.recording._levels import measure_levels
from numpy.typing import NDArray
from recorded_call import START, Script


@pytest.fixture(scope="module")
def analysis(recorded: Path) -> Analysis:
    recording = read_recording(recorded)
    return analyse(recording, measure_levels(recording))


def of(script: Script, folder: Path, *more: tuple[str, dict[str, Any]]) -> Analysis:
    """Record a script, with counters of the recorder's own, and work it out."""
    recorder = Recorder(folder, stats=lambda: dict(more[0][1]) if more else {})
    call.play(script, recorder)
    recorder.on_close()
    assert recorder.wait_closed(30)
    recording = read_recording(folder)
    return analyse(recording, measure_levels(recording))


def sound(seconds: float, rate: int, level: float = 3000.0) -> NDArray[np.int16]:
    noise = np.random.default_rng(1).uniform(-1, 1, round(seconds * rate))
    return (level * noise).astype(np.int16)


def said(script: Script, start: float, end: float, user: str = "anna") -> None:
    """Let a person speak, detected as the real detector does: 64 ms late, 200 ms of hangover."""
    script.people.append((start, sound(end - start, 16_000)))
    script.events += [
        call.SpeechStarted(user, at=START + start + 0.064),
        call.SpeechStopped(user, at=START + end + 0.2),
    ]
    script.seconds = max(script.seconds, end + 1)


def answered(
    script: Script, turn: int, start: float, end: float, *, arrived: float, quiet: float = 0.0
) -> None:
    """Let the assistant speak, with silence at the start of its audio."""
    script.assistant.append((start + quiet, sound(end - start - quiet, 48_000)))
    script.events += [
        call.Audio(b"", turn=turn, at=START + arrived),
        call.PlaybackStarted(turn=turn, at=START + start),
        call.PlaybackFinished(turn, "yes", "yes", 1000 * (end - start), False, START + start,
                              START + end, at=START + end),
    ]  # fmt: skip
    script.seconds = max(script.seconds, end + 1)


def turns_of(analysis: Analysis, who: str) -> list[Turn]:
    return [turn for turn in analysis.turns if turn.who == who]


def test_the_turns_of_the_short_call(analysis: Analysis) -> None:
    found = [(turn.who, turn.name, turn.text) for turn in analysis.turns]
    assert found == [
        ("assistant", "", call.GREETING),
        ("person", "anna", call.ANSWER),
        ("assistant", "", call.ANSWER),
        ("person", "ben", call.QUESTION),
        ("assistant", "", call.QUESTION),
    ]
    assert [turn.cut for turn in analysis.turns] == [False, False, True, False, False]
    cut = analysis.turns[2]
    assert (cut.heard, cut.cause) == (call.HEARD, "speech")


def test_a_delay_is_split_into_its_parts(tmp_path: Path) -> None:
    script = Script()
    said(script, 1.0, 2.5)
    answered(script, 1, 3.2, 5.0, arrived=3.1, quiet=0.15)
    (turn,) = turns_of(of(script, tmp_path / "r"), "assistant")
    assert turn.delay is not None
    assert turn.delay.total_ms == pytest.approx(850, abs=15)
    assert turn.delay.service_ms == pytest.approx(600, abs=15)
    assert turn.delay.silent_start_ms == pytest.approx(150, abs=15)
    assert turn.delay.rest_ms == pytest.approx(100, abs=1)
    parts = turn.delay.service_ms + turn.delay.silent_start_ms + turn.delay.rest_ms  # type: ignore[operator]
    assert parts == pytest.approx(turn.delay.total_ms, abs=0.5)


def test_only_an_answer_has_a_delay(tmp_path: Path) -> None:
    script = Script()
    answered(script, 1, 0.5, 1.0, arrived=0.4)  # a greeting
    said(script, 2.0, 3.0)
    answered(script, 2, 3.5, 4.0, arrived=3.4)
    answered(script, 3, 5.0, 6.0, arrived=4.9)  # goes on by itself
    said(script, 7.0, 9.0)
    answered(script, 4, 8.0, 8.5, arrived=7.9)  # into the person's words
    analysis = of(script, tmp_path / "r")
    assert [t.delay is not None for t in turns_of(analysis, "assistant")] == [
        False, True, False, False,
    ]  # fmt: skip
    assert analysis.delays_ms == [pytest.approx(500, abs=15)]


def test_words_of_one_breath_are_one_turn(tmp_path: Path) -> None:
    script = Script()
    said(script, 1.0, 2.0)
    said(script, 2.6, 3.5)  # a pause of 0.6 s
    said(script, 5.0, 6.0)  # a pause of 1.5 s
    said(script, 6.5, 7.0, "ben")  # somebody else
    turns = turns_of(of(script, tmp_path / "r"), "person")
    spans = [(turn.name, round(turn.start, 1), round(turn.end, 1)) for turn in turns]
    assert spans == [("anna", 1.0, 3.5), ("anna", 5.0, 6.0), ("ben", 6.5, 7.0)]


def test_noise_of_a_room_is_no_speech(tmp_path: Path) -> None:
    """Noise at -40 dBFS, which would be loud, is the floor here; the speech in it is found."""
    script = Script()
    said(script, 2.0, 3.0)
    answered(script, 1, 3.6, 4.5, arrived=3.5)
    script.people.insert(0, (0.0, sound(10.0, 16_000, 500.0)))
    script.seconds = 10.0
    (turn,) = turns_of(of(script, tmp_path / "r"), "person")
    assert (turn.start, turn.end) == (pytest.approx(2.0, abs=0.03), pytest.approx(3.0, abs=0.03))


def test_silence_after_a_barge_in_is_measured_in_the_audio(analysis: Analysis) -> None:
    cut = analysis.turns[2]
    by = analysis.turns[3]
    assert cut.silent_after_ms == pytest.approx(1000 * (cut.end - by.start), abs=0.1)
    assert 200 < cut.silent_after_ms < 350
    assert analysis.silences_ms == [cut.silent_after_ms]


def test_stages_and_gaps(analysis: Analysis) -> None:
    spans = [(span.kind, round(span.end - span.start, 2)) for span in analysis.spans]
    assert spans == [("duck", 0.3), ("pause", 0.1), ("offline", 0.7)]
    assert analysis.spans[2].text == "ConnectionError: 1006 <b>gone</b>"
    assert [mark.text for mark in analysis.marks] == ["attempt 1 to connect"]


def test_tools(analysis: Analysis) -> None:
    (tool,) = analysis.tools
    assert tool.name == "book_table"
    assert tool.end is not None
    assert tool.end - tool.start == pytest.approx(0.3, abs=1e-3)
    assert tool.arguments == '{"people": 4}'
    assert tool.result == '{"status": "booked"}'


def test_a_turn_that_nobody_heard(tmp_path: Path) -> None:
    script = Script(seconds=4.0)
    script.events += [
        call.Text("Nobody hears this.", turn=1, at=START + 1),
        call.Interrupted(1, 0.0, "", "server", at=START + 2),
    ]
    (turn,) = of(script, tmp_path / "r").turns
    assert not turn.played
    assert (turn.text, turn.heard) == ("Nobody hears this.", "")


def test_a_turn_in_which_the_recording_ends(recorded: Path, tmp_path: Path, script: Script) -> None:
    recorder = Recorder(tmp_path / "r")
    call.play(script, recorder, until=14.2)
    recorder.on_close()
    assert recorder.wait_closed(30)
    recording = read_recording(tmp_path / "r")
    turn = analyse(recording, measure_levels(recording)).turns[-1]
    assert (turn.who, turn.cut) == ("assistant", False)
    assert turn.end == pytest.approx(14.2, abs=0.1)


def test_transcripts_without_speech_are_a_turn(tmp_path: Path) -> None:
    script = Script(seconds=3.0)
    script.events += [call.UserText("by ", at=START + 1), call.UserText("post", at=START + 1.1)]
    assert [(t.who, t.text) for t in of(script, tmp_path / "r").turns] == [("person", "by post")]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({}, []),
        ({"late_frames": 2}, []),
        ({"late_frames": 500}, ["500 frames were late"]),
        ({"playout_underruns": 3}, ["the listener heard 3 gaps"]),
    ],
)
def test_a_machine_that_is_too_slow_says_so(
    tmp_path: Path, numbers: dict[str, int], words: list[str]
) -> None:
    analysis = of(Script(seconds=5.0), tmp_path / "r", ("stats", numbers))
    doubts = [doubt for doubt in analysis.doubts if "kept from running" not in doubt]
    assert len(doubts) == len(words)
    assert all(word in doubt for word, doubt in zip(words, doubts, strict=True))


def test_lateness_of_the_recorder_is_a_doubt(recording: Recording) -> None:
    from dataclasses import replace

    from getstream.plugins.gemini.recording import Entry

    entries = [e for e in recording.entries if e.event != "recorder"]
    for late, doubted in ((20.0, False), (400.0, True)):
        changed = replace(recording, entries=(*entries, Entry(0, "recorder", 0, {"late_ms": late})))
        doubts = analyse(changed, measure_levels(changed)).doubts
        assert bool(doubts) is doubted


def test_numbers_are_the_last_ones(analysis: Analysis) -> None:
    assert analysis.numbers["played_ms"] == 8400.1
    assert analysis.numbers["tokens"] == 312
