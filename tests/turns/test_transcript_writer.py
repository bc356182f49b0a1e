"""The lines of a transcript: their order, their speakers, and when they are final."""

from __future__ import annotations

from getstream.plugins.gemini.live._turns.transcript import (
    MAX_LINE_CHARS,
    MAX_LINES,
    Line,
    LineStore,
)
from getstream.plugins.gemini.live._turns.transcript_writer import (
    QUESTION_S,
    QUIET_S,
    TranscriptWriter,
)


class Written:
    """A transcript being written, with what it has told."""

    def __init__(self) -> None:
        self.store = LineStore()
        self.finals: list[Line] = []
        self.deadlines: list[float] = []
        self.writer = TranscriptWriter(self.store, self.finals.append, self.deadlines.append)
        self.writer.name_of = str.title

    def speech(self, user_id: str, started_at: float, ended_at: float | None) -> None:
        self.writer.speakers.started(user_id, user_id, started_at)
        if ended_at is not None:
            self.writer.speakers.stopped(user_id, ended_at)

    @property
    def said(self) -> list[tuple[str, str, str, int]]:
        return [(line.who, line.user_id, line.text, line.turn) for line in self.store.lines]


def test_a_question_and_its_answer() -> None:
    it = Written()
    it.speech("anna", 1.0, 3.0)
    it.writer.user_heard("When does", 2.0)
    it.writer.user_heard(" it leave?", 3.4)
    it.writer.model_began(1, 4.0)
    it.writer.model_said(1, "At nine.", 4.1)
    assert it.finals == []
    assert it.store.lines[1].heard_text == ""
    it.writer.model_started(1, 4.2)
    it.writer.model_ended(1, 5.0)
    answer = Line("assistant", "", "", "At nine.", "At nine.", 1, 4.2, 5.0, True)
    assert it.finals == [answer]
    assert it.deadlines[-1] == 4.0 + QUESTION_S
    it.writer.pass_time(4.0 + QUESTION_S)
    words = "When does it leave?"
    question = Line("user", "anna", "Anna", words, words, 1, 1.0, 3.0, True)
    assert it.finals == [answer, question]
    assert it.store.lines == [question, answer]


def test_of_a_cut_turn_only_what_was_heard_is_spoken() -> None:
    it = Written()
    it.writer.model_began(1, 1.0)
    it.writer.model_said(1, "The train leaves at nine.", 1.1)
    it.writer.model_ended(1, 2.0, "The train")
    assert it.finals[-1].heard_text == it.finals[-1].spoken == "The train"
    it.writer.model_said(1, "The train leaves at nine. Now.", 2.2, "The train leaves")
    assert len(it.finals) == 2, "late text changes the line, and it is told again"
    assert it.finals[-1].text == "The train leaves at nine. Now."
    assert it.finals[-1].heard_text == "The train leaves"
    assert it.finals[-1].started_at == it.finals[0].started_at
    assert it.finals[-1].ended_at == 2.0
    it.writer.model_ended(1, 2.3, "The train leaves")
    assert len(it.finals) == 2, "nothing has changed"


def test_another_speaker_begins_a_line() -> None:
    it = Written()
    it.speech("anna", 0.0, 2.0)
    it.writer.user_heard("What time is it?", 2.3)
    it.speech("ben", 4.0, 5.0)
    it.writer.user_heard("And where are we?", 5.4)
    it.writer.user_heard(" Hm?", 6.5)  # nobody was heard: it goes on
    assert it.said == [
        ("user", "anna", "What time is it?", 0),
        ("user", "ben", "And where are we? Hm?", 0),
    ]
    assert [line.user_id for line in it.finals] == ["anna"], "the next line makes it final"
    it.writer.model_began(1, 7.0)
    assert [line[3] for line in it.said] == [1, 1, 1]


def test_those_who_speak_at_once_are_several() -> None:
    it = Written()
    it.speech("anna", 0.0, 3.0)
    it.speech("ben", 0.5, 3.0)
    it.writer.user_heard("yes no", 2.0)
    it.writer.user_heard(" maybe", 3.2)
    assert it.said == [("several", "", "yes no maybe", 0)]
    assert it.store.lines[0].name == ""
    it.speech("ben", 5.0, 6.0)
    it.writer.user_heard("I mean no.", 6.2)
    assert it.said[1] == ("user", "ben", "I mean no.", 0)


def test_a_word_of_the_last_speaker_may_come_late() -> None:
    it = Written()
    it.speech("anna", 0.0, 2.0)
    it.writer.user_heard("What time", 1.8)
    it.speech("ben", 2.2, None)
    it.writer.user_heard(" is it?", 2.9)
    it.writer.user_heard("Nine.", 4.0)
    assert it.said == [
        ("user", "anna", "What time is it?", 0),
        ("user", "ben", "Nine.", 0),
    ]


def test_a_speaker_who_is_known_later_is_noted() -> None:
    it = Written()
    it.writer.user_heard("Hel", 1.0)
    it.speech("anna", 1.0, None)
    it.writer.user_heard("lo", 1.5)
    assert it.said == [("user", "anna", "Hello", 0)]
    assert it.store.lines[0].name == "Anna"


def test_a_late_question_is_known_by_its_answer() -> None:
    it = Written()
    it.writer.model_began(1, 1.0)
    it.writer.model_said(1, "At nine.", 1.1)
    it.writer.user_heard("When?", 1.5, answered_by=1)
    assert it.said == [("user", "", "When?", 1), ("assistant", "", "At nine.", 1)]
    it.writer.pass_time(1.5 + QUESTION_S)
    assert [line.text for line in it.finals] == ["When?"]


def test_one_who_talks_over_an_answer_is_answered_by_the_next() -> None:
    it = Written()
    it.writer.model_began(1, 1.0)
    it.speech("anna", 2.0, 3.0)
    it.writer.user_heard("Wait!", 3.1)
    it.writer.model_ended(1, 3.2, "")
    it.writer.model_began(2, 4.0)
    assert it.said == [
        ("assistant", "", "", 1),
        ("user", "anna", "Wait!", 2),
        ("assistant", "", "", 2),
    ]


def test_what_nobody_answers_is_final_when_it_is_quiet() -> None:
    it = Written()
    it.speech("anna", 0.0, None)
    it.writer.user_heard("I think", 1.0)
    it.writer.pass_time(1.0 + QUIET_S)
    assert it.finals == [], "she speaks on"
    it.writer.speakers.stopped("anna", 7.0)
    due = it.deadlines[-1]
    it.writer.pass_time(due - 0.001)
    assert it.finals == []
    assert it.deadlines[-1] == due
    it.writer.pass_time(due)
    assert [line.text for line in it.finals] == ["I think"]
    it.writer.user_heard(" so.", due + 1)
    assert [line.text for line in it.finals] == ["I think", "I think so."]


def test_the_end_makes_everything_final() -> None:
    it = Written()
    it.writer.user_heard("Hello", 1.0)
    it.writer.model_began(1, 2.0)
    it.writer.model_said(1, "Good morning", 2.1)
    it.writer.end(3.0, lambda turn: "Good" if turn == 1 else "")
    assert [(line.who, line.heard_text) for line in it.finals] == [
        ("user", "Hello"),
        ("assistant", "Good"),
    ]
    assert it.store.lines[1].ended_at == 3.0


def test_the_application_is_told_from_users() -> None:
    it = Written()
    it.writer.application_said("Greet them.", 1.0)
    assert [(line.who, line.final) for line in it.finals] == [("application", True)]
    it.writer.user_heard("Hello", 2.0)
    assert [line[0] for line in it.said] == ["application", "user"]


def test_all_of_it_is_bounded() -> None:
    it = Written()
    for number in range(MAX_LINES + 5):
        it.writer.application_said(f"line {number}", number)
    assert len(it.store.lines) == MAX_LINES
    assert it.store.dropped == 5
    for second in range(3):
        it.writer.user_heard("x" * (MAX_LINE_CHARS - 1), 2000 + second)
    assert len(it.store.lines[-1].text) == MAX_LINE_CHARS
    for number in range(100):
        it.writer.application_said("y" * 10 * MAX_LINE_CHARS, 3000 + number)
    assert sum(len(line.text) for line in it.store.lines) <= 400_000
    it.writer.pass_time(9000)  # the line of the user is gone, and nothing fails
