"""Transcripts: what was heard of them, and what a new session is told of them."""

from __future__ import annotations

import pytest
from getstream.plugins.gemini.live._turns.transcript import (
    MAX_HISTORY_CHARS,
    MAX_HISTORY_LINES,
    TURNS_KEPT,
    AssistantTurn,
    AssistantTurns,
    ConversationHistory,
    Transcript,
)

SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank"
WORDS = SENTENCE.split()
PIECES = [WORDS[0], *(f" {word}" for word in WORDS[1:])]


def spoken(pieces: list[str], ms_each: float, *, late: int = 0) -> Transcript:
    """Each piece takes as long as the others, and comes with the end of its audio."""
    transcript = Transcript()
    for number, piece in enumerate(pieces):
        transcript.add(piece, (number + 1 + late) * ms_each)
    return transcript


@pytest.mark.parametrize("heard_ms", range(0, 13 * 300 + 1, 50))
def test_heard_to_within_one_piece(heard_ms: int) -> None:
    transcript = spoken(PIECES, 300)
    heard = transcript.heard(heard_ms)
    assert transcript.text.startswith(heard)
    words = len(heard.split())
    assert words - 1 <= heard_ms / 300 <= words + 1


def test_nothing_and_all() -> None:
    transcript = spoken(PIECES, 300)
    assert transcript.text == SENTENCE
    assert transcript.heard(0) == ""
    assert transcript.heard(13 * 300) == transcript.text
    assert Transcript().heard(1000) == ""
    assert Transcript().text == ""


def test_pieces_of_several_words_are_spread_evenly() -> None:
    transcript = Transcript()
    transcript.add("One two three four five", 2000)
    transcript.add(" six seven", 3000)
    assert transcript.heard(900) == ""
    assert transcript.heard(1200) == "One two three four five"
    assert transcript.heard(2400) == "One two three four five"
    assert transcript.heard(2600) == transcript.text


def test_text_that_runs_ahead_of_its_audio_is_not_taken_for_heard() -> None:
    transcript = Transcript()
    for piece in PIECES:
        transcript.add(piece, 40)
    assert transcript.heard(200) == "The"
    assert len(transcript.heard(1000)) < 30
    assert transcript.heard(10_000) == transcript.text


def test_an_offset_never_goes_back_and_an_empty_piece_says_nothing() -> None:
    transcript = Transcript()
    transcript.add("Hello", 500)
    transcript.add("", 9000)
    transcript.add(" there", 300)
    assert transcript.heard(600) == "Hello there"


def test_old_turns_are_forgotten() -> None:
    turns = AssistantTurns()
    for turn in range(1, 3 * TURNS_KEPT):
        turns[turn].transcript.add("x", 0)
    assert turns[3 * TURNS_KEPT - 1].transcript.text == "x"
    assert turns[1].transcript.text == ""
    assert len(turns._turns) == TURNS_KEPT


def test_text_that_is_missing() -> None:
    spoken = AssistantTurn(Transcript())
    assert not spoken.lacks_text(900), "a sound without words"
    assert spoken.lacks_text(1000)
    spoken.transcript.add("Hi.", 1000)
    assert not spoken.lacks_text(1500)
    assert spoken.lacks_text(1501)


def test_audio_holds_so_much_text() -> None:
    spoken = AssistantTurn(Transcript())
    assert spoken.has_room_for("x" * 25, 1000)
    assert not spoken.has_room_for("x" * 26, 1000)
    spoken.transcript.add("x" * 20, 1000)
    assert spoken.has_room_for("xxxxx", 1000)
    assert not spoken.has_room_for("xxxxxx", 1000)


# -- the dialogue ----------------------------------------------------------------------------------


def test_one_line_for_each_turn() -> None:
    dialogue = ConversationHistory()
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
    dialogue = ConversationHistory()
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
    dialogue = ConversationHistory()
    dialogue.model_began(1)
    dialogue.user_heard("Stop.")
    dialogue.model_was_cut(1, "")
    assert dialogue.lines() == [("user", "Stop.")]


def test_texts_stand_apart() -> None:
    dialogue = ConversationHistory()
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
    dialogue = ConversationHistory()
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
    dialogue = ConversationHistory()
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
    dialogue = ConversationHistory()
    dialogue.user_heard(first)
    dialogue.user_heard(then)
    assert dialogue.lines() == [("user", together)]


@pytest.mark.parametrize("who", ["user_heard", "user_said", "model_said", "both"])
def test_the_bound_holds_whoever_speaks(who: str) -> None:
    dialogue = ConversationHistory()
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
    assert dialogue._size == sum(len(line.text) for line in dialogue._lines)


def test_one_text_beyond_the_bound_keeps_its_end() -> None:
    dialogue = ConversationHistory()
    dialogue.user_said("before")
    dialogue.user_said("x" * MAX_HISTORY_CHARS + "the end")
    assert dialogue.lines() == [("user", "x" * (MAX_HISTORY_CHARS - 7) + "the end")]


def test_a_cut_gives_back_its_room() -> None:
    dialogue = ConversationHistory()
    dialogue.model_said(1, "x" * (MAX_HISTORY_CHARS - 10))
    dialogue.model_was_cut(1, "x")
    dialogue.user_said("y" * (MAX_HISTORY_CHARS - 1))
    assert [len(text) for _, text in dialogue.lines()] == [1, MAX_HISTORY_CHARS - 1]


def test_turns_without_text_are_forgotten() -> None:
    dialogue = ConversationHistory()
    dialogue.user_said("Hello.")
    for turn in range(1, MAX_HISTORY_LINES):
        dialogue.model_began(turn)
    assert dialogue.lines() == [("user", "Hello.")]
    dialogue.model_began(MAX_HISTORY_LINES)
    assert dialogue.lines() == []
    assert dialogue._size == 0
