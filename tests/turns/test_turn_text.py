"""The text of one turn of the assistant, and what was heard of it."""

from __future__ import annotations

import pytest
from getstream.plugins.gemini.live._turns.turn_text import (
    TURNS_KEPT,
    AssistantTurn,
    AssistantTurns,
    TurnText,
)

SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank"
WORDS = SENTENCE.split()
PIECES = [WORDS[0], *(f" {word}" for word in WORDS[1:])]


def spoken(pieces: list[str], ms_each: float, *, late: int = 0) -> TurnText:
    """Each piece takes as long as the others, and comes with the end of its audio."""
    transcript = TurnText()
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
    assert TurnText().heard(1000) == ""
    assert TurnText().text == ""


def test_pieces_of_several_words_are_spread_evenly() -> None:
    transcript = TurnText()
    transcript.add("One two three four five", 2000)
    transcript.add(" six seven", 3000)
    assert transcript.heard(900) == ""
    assert transcript.heard(1200) == "One two three four five"
    assert transcript.heard(2400) == "One two three four five"
    assert transcript.heard(2600) == transcript.text


def test_text_that_runs_ahead_of_its_audio_is_not_taken_for_heard() -> None:
    transcript = TurnText()
    for piece in PIECES:
        transcript.add(piece, 40)
    assert transcript.heard(200) == "The"
    assert len(transcript.heard(1000)) < 30
    assert transcript.heard(10_000) == transcript.text


def test_an_offset_never_goes_back_and_an_empty_piece_says_nothing() -> None:
    transcript = TurnText()
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
    spoken = AssistantTurn(TurnText())
    assert not spoken.lacks_text(900), "a sound without words"
    assert spoken.lacks_text(1000)
    spoken.transcript.add("Hi.", 1000)
    assert not spoken.lacks_text(1500)
    assert spoken.lacks_text(1501)


def test_audio_holds_so_much_text() -> None:
    spoken = AssistantTurn(TurnText())
    assert spoken.has_room_for("x" * 25, 1000)
    assert not spoken.has_room_for("x" * 26, 1000)
    spoken.transcript.add("x" * 20, 1000)
    assert spoken.has_room_for("xxxxx", 1000)
    assert not spoken.has_room_for("xxxxxx", 1000)
