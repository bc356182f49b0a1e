"""What a new session is told of a conversation, and in which order."""

from __future__ import annotations

import pytest
from getstream.plugins.gemini.live._turns.history import (
    MAX_HISTORY_CHARS,
    MAX_HISTORY_LINES,
    ConversationHistory,
)
from getstream.plugins.gemini.live._turns.transcript import LineStore
from getstream.plugins.gemini.live._turns.transcript_writer import TranscriptWriter


class Dialogue:
    """A transcript that is written without times, and its history."""

    def __init__(self) -> None:
        self.store = LineStore()
        self.writer = TranscriptWriter(self.store)
        self.history = ConversationHistory(self.store)
        self.texts: dict[int, str] = {}
        self.at = 0.0

    def tick(self) -> float:
        self.at += 0.1
        return self.at

    def user_heard(self, text: str, answered_by: int = 0) -> None:
        self.writer.user_heard(text, self.tick(), answered_by)

    def user_said(self, text: str) -> None:
        self.writer.application_said(text, self.tick())

    def model_began(self, turn: int) -> None:
        self.writer.model_began(turn, self.tick())

    def model_said(self, turn: int, text: str) -> None:
        self.texts[turn] = self.texts.get(turn, "") + text
        self.writer.model_said(turn, self.texts[turn], self.tick())

    def model_was_cut(self, turn: int, heard_text: str) -> None:
        self.writer.model_ended(turn, self.tick(), heard_text)

    def lines(self) -> list[tuple[str, str]]:
        return self.history.lines()


def test_one_line_for_each_turn() -> None:
    dialogue = Dialogue()
    dialogue.user_heard("When does")
    dialogue.user_heard(" it leave?")
    dialogue.model_began(1)
    dialogue.model_said(1, "At nine. ")
    dialogue.user_heard("wait")
    dialogue.model_said(1, "It arrives at noon.")
    dialogue.model_said(2, "Yes?")
    assert dialogue.lines() == [
        ("user", "When does it leave?"),
        ("model", "At nine. It arrives at noon."),
        ("user", "wait"),
        ("model", "Yes?"),
    ]


def test_of_a_turn_that_was_cut_only_what_was_heard() -> None:
    dialogue = Dialogue()
    dialogue.model_said(1, "The train leaves at nine. ")
    dialogue.user_heard("wait")
    dialogue.model_said(1, "It arrives at noon. ")
    dialogue.model_was_cut(1, "The train ")
    assert dialogue.lines() == [("model", "The train"), ("user", "wait")]
    dialogue.model_was_cut(1, "The train leaves ")
    assert dialogue.lines()[0] == ("model", "The train leaves"), "more text of it has come"
    dialogue.model_was_cut(7, "nothing")
    assert len(dialogue.lines()) == 2


def test_a_turn_of_which_nothing_was_heard_is_no_line() -> None:
    dialogue = Dialogue()
    dialogue.model_began(1)
    dialogue.user_heard("Stop.")
    dialogue.model_was_cut(1, "")
    assert dialogue.lines() == [("user", "Stop.")]


def test_texts_stand_apart() -> None:
    dialogue = Dialogue()
    dialogue.user_said("Greet the participants.")
    dialogue.user_said("Be brief.")
    dialogue.user_heard("Hello")
    dialogue.user_heard("?")
    dialogue.user_said("Answer him.")
    assert dialogue.lines() == [
        ("user", "Greet the participants."),
        ("user", "Be brief."),
        ("user", "Hello?"),
        ("user", "Answer him."),
    ]


def test_a_late_question_stands_before_its_answer() -> None:
    dialogue = Dialogue()
    dialogue.user_said("Be brief.")
    dialogue.model_said(1, "At nine.")
    dialogue.user_heard("When", answered_by=1)
    dialogue.user_heard(" does it leave?", answered_by=1)
    dialogue.user_heard("And then?")
    dialogue.user_heard(" Really?", answered_by=9)
    assert dialogue.lines() == [
        ("user", "Be brief."),
        ("user", "When does it leave?"),
        ("model", "At nine."),
        ("user", "And then? Really?"),
    ]


def test_a_late_question_may_be_the_first_line() -> None:
    dialogue = Dialogue()
    dialogue.model_said(1, "At nine.")
    dialogue.user_heard("When?", answered_by=1)
    assert dialogue.lines() == [("user", "When?"), ("model", "At nine.")]


@pytest.mark.parametrize(
    ("first", "then", "together"),
    [
        ("Hello?", "Anybody there?", "Hello? Anybody there?"),
        ("Hello", "?", "Hello?"),
        ("Wa", "it", "Wait"),
        ("It is 1.", " And 2", "It is 1. And 2"),
    ],
)
def test_sentences_are_spaced(first: str, then: str, together: str) -> None:
    dialogue = Dialogue()
    dialogue.user_heard(first)
    dialogue.user_heard(then)
    assert dialogue.lines() == [("user", together)]


@pytest.mark.parametrize("who", ["user_heard", "user_said", "model_said", "both"])
def test_the_bound_holds_whoever_speaks(who: str) -> None:
    dialogue = Dialogue()
    for number in range(3000):
        words = f" some words and the number {number}."
        if who == "user_heard" or (who == "both" and number % 40):
            dialogue.user_heard(words)
        elif who == "user_said":
            dialogue.user_said(words)
        else:
            dialogue.model_said(1 + number // 100, words)
    lines = dialogue.lines()
    kept = sum(len(text) for _, text in lines)
    assert MAX_HISTORY_CHARS - 2 * MAX_HISTORY_LINES < kept <= MAX_HISTORY_CHARS
    assert lines[-1][1].endswith("the number 2999.")


def test_one_text_beyond_the_bound_keeps_its_end() -> None:
    dialogue = Dialogue()
    dialogue.user_said("before")
    dialogue.user_said("x" * MAX_HISTORY_CHARS + "the end")
    assert dialogue.lines() == [("user", "x" * (MAX_HISTORY_CHARS - 7) + "the end")]


def test_a_cut_gives_back_its_room() -> None:
    dialogue = Dialogue()
    dialogue.model_said(1, "x" * (MAX_HISTORY_CHARS - 10))
    dialogue.model_was_cut(1, "x")
    dialogue.user_said("y" * (MAX_HISTORY_CHARS - 1))
    assert [len(text) for _, text in dialogue.lines()] == [1, MAX_HISTORY_CHARS - 1]


def test_turns_without_text_take_no_room() -> None:
    dialogue = Dialogue()
    dialogue.user_said("Hello.")
    for turn in range(1, MAX_HISTORY_LINES):
        dialogue.model_began(turn)
    assert dialogue.lines() == [("user", "Hello.")]
