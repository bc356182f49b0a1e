"""The state that `TurnPolicy` tells: rest, phases, what a turn answers."""

from __future__ import annotations

from getstream.plugins.gemini.live._turns.policy import (
    DiscardPlayback,
    EndActivity,
    EndTurn,
    Pause,
    Play,
    Resume,
    StartActivity,
    TurnOptions,
    TurnPolicy,
)
from policy_scenarios import DONE, Step, check, play


def rests(*scenario: Step) -> float | None:
    return check(list(scenario)).idle_since


def test_rest() -> None:
    assert rests() == float("-inf")
    audio, generated = (1.0, "audio", [Play(1)]), (1.5, "generated", [EndTurn(1)])
    assert rests(audio) is None
    assert rests(audio, generated) is None
    assert rests(audio, generated, (2.0, "complete", [DONE])) == 2.0
    assert rests(audio, generated, (2.0, "played", []), (3.0, "time", [DONE])) == 1.0
    cut = (1.2, "cut*", [DiscardPlayback(1, "app", open=True)])
    assert rests(audio, cut) is None
    assert rests(audio, cut, generated) == 1.0
    assert rests((1.0, "sign", [])) is None
    assert rests((1.0, "sign", []), (1.1, "nothing", [])) == float("-inf")
    assert rests((1.0, "speech", [])) is None
    assert rests((1.0, "speech", []), (2.0, "silence", [])) == 2.0
    assert rests((0.9, "sign", []), (1.0, "speech", []), (2.0, "silence", [])) == 2.0
    assert rests((1.0, "text", [])) is None
    assert rests((1.0, "writes", [])) is None
    assert rests((1.0, "calls", [])) is None
    assert rests((1.0, "calls", []), (2.0, "answers", [])) is None
    assert rests((1.0, "calls", []), (2.0, "answers silently", [])) == 2.0


def test_rest_without_the_detection_of_the_service() -> None:
    rules = TurnOptions(marks_activity=True)
    said: list[Step] = [(1.0, "speech", [StartActivity(0.0)]), (2.0, "silence", [])]
    assert check(said, rules).idle_since is None
    assert check([*said, (2.3, "time", [EndActivity()])], rules).idle_since == 2.0


def test_what_the_next_turn_answers() -> None:
    conversation = TurnPolicy()
    assert conversation.unanswered_since is None
    play(conversation, 1.0, "speech")
    assert conversation.unanswered_since == 1.0
    assert not conversation.answer_due, "it is still being said"
    play(conversation, 2.0, "speech2")
    assert conversation.unanswered_since == 1.0
    play(conversation, 3.0, "silence")
    play(conversation, 3.0, "silence2")
    assert conversation.answer_due
    play(conversation, 4.0, "audio")
    assert conversation.unanswered_since is None
    assert not conversation.answer_due
    play(conversation, 5.0, "text")
    assert conversation.answer_due
    play(conversation, 6.0, "complete")
    assert conversation.answer_due, "it came too late for that turn"
    play(conversation, 7.0, "audio")
    assert not conversation.answer_due
    play(conversation, 8.0, "complete")
    play(conversation, 8.0, "text")
    play(conversation, 8.1, "text")
    play(conversation, 9.0, "audio")
    assert conversation.answer_due, "the second text may have come too late for that turn"
    play(conversation, 9.1, "complete")
    assert not conversation.answer_due
    play(conversation, 9.2, "writes")
    assert conversation.answer_due


def test_what_goes_on_into_the_turn_is_not_answered_by_it() -> None:
    conversation = check([(0.0, "speech", []), (1.0, "audio", [Play(1)])])
    assert conversation.unanswered_since == 0.0
    assert conversation.turn_began_at == 1.0


def test_an_interruption_without_known_speech_is_by_somebody() -> None:
    conversation = check(
        [(0.0, "audio", [Play(1)]), (1.0, "interrupted", [DiscardPlayback(1, "server", open=True)])]
    )
    assert conversation.unanswered_since == 1.0
    conversation = check(
        [
            (0.0, "audio", [Play(1)]),
            (0.5, "text", []),
            (1.0, "interrupted", [DiscardPlayback(1, "server", open=True)]),
        ]
    )
    assert conversation.unanswered_since is None
    conversation = check(
        [
            (0.0, "audio", [Play(1)]),
            (0.9, "speech*", [Pause()]),
            (1.0, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
        ]
    )
    assert conversation.unanswered_since == 0.9


def test_the_phases_of_a_turn() -> None:
    conversation = TurnPolicy()
    phases = []
    for now, event in enumerate(
        ["audio", "generated", "complete", "audio", "cut*", "interrupted", "complete"]
    ):
        play(conversation, float(now), event)
        phases.append((conversation.phase.name, conversation.generating, conversation.ended_at))
    assert phases == [
        ("GENERATING", True, float("-inf")),
        ("SENT", False, float("-inf")),
        ("IDLE", False, 2.0),
        ("GENERATING", True, 2.0),
        ("CUT", True, 2.0),
        ("STALE", False, 5.0),
        ("IDLE", False, 6.0),
    ]
