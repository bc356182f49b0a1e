"""`TurnPolicy` whose rules of barge-in are changed in the middle of a conversation."""

from __future__ import annotations

import pytest
from getstream.plugins.gemini.live._turns.policy import (
    Action,
    DiscardPlayback,
    Duck,
    EndTurn,
    Pause,
    Play,
    Resume,
    StartActivity,
    TurnOptions,
    TurnPolicy,
    Unduck,
)
from policy_scenarios import DONE, Step, check, play

OFF = TurnOptions(barge_in=False)


def change(
    policy: TurnPolicy, now: float, *, on: bool = True, resume_after_s: float = 0.4
) -> list[Action]:
    """Change the rules while the assistant is audible."""
    return policy.change_barge_in(now, True, barge_in=on, resume_after_s=resume_after_s)


DUCKED: list[Step] = [(0.0, "audio", [Play(1)]), (1.0, "sign*", [Duck()])]
PAUSED: list[Step] = [*DUCKED, (1.02, "speech*", [Pause()])]
SILENT: list[Step] = [*PAUSED, (1.4, "silence*", [])]  # since 1.2: playback goes on at 1.6


def test_a_pause_ends_by_the_new_time_when_that_is_longer() -> None:
    policy = check(SILENT)
    assert change(policy, 1.5, resume_after_s=2.0) == []
    assert play(policy, 1.6, "time*") == []
    assert policy.next_timeout == pytest.approx(3.2)
    assert play(policy, 3.21, "time*") == [Unduck(), Resume()]


def test_a_pause_that_has_lasted_for_the_new_time_ends_at_once() -> None:
    policy = check(SILENT)
    assert change(policy, 1.5, resume_after_s=0.25) == []
    assert policy.next_timeout == pytest.approx(1.45)
    assert play(policy, 1.5, "time*") == [Unduck(), Resume()]


def test_speech_under_way_ends_by_the_new_time() -> None:
    policy = check(PAUSED)
    assert change(policy, 1.2, resume_after_s=1.0) == []
    assert play(policy, 2.0, "silence*") == []
    assert policy.next_timeout == pytest.approx(2.8)


def test_speech_that_a_turn_has_begun_in_counts_by_the_new_time() -> None:
    policy = check([(0.0, "speech", []), (1.0, "audio", [Play(1)])])
    assert policy.next_timeout == pytest.approx(1.6)
    assert change(policy, 1.1, resume_after_s=1.0) == []
    assert play(policy, 1.6, "time*") == []
    assert play(policy, 2.21, "time*") == [Pause()]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (DUCKED, [Unduck()]),
        ([*DUCKED, (1.1, "nothing*", [])], [Unduck()]),
        (PAUSED, [Unduck(), Resume()]),
        (SILENT, [Unduck(), Resume()]),
    ],
    ids=["ducked", "about to unduck", "paused", "about to go on"],
)
def test_switched_off_it_goes_on_at_once_and_no_timer_is_left(
    steps: list[Step], expected: list[Action]
) -> None:
    policy = check(steps)
    assert change(policy, 1.5, on=False) == expected
    assert policy.next_timeout is None
    assert not policy.paused
    assert not policy.ducked


def test_switched_off_speech_cuts_nothing_any_more() -> None:
    policy = check([*PAUSED, (1.7, "lasts*", []), (1.8, "generated*", [EndTurn(1)])])
    assert change(policy, 1.9, on=False) == [Unduck(), Resume()]
    assert play(policy, 2.0, "complete*") == [DONE]
    assert play(policy, 2.1, "lasts*") == []
    assert play(policy, 3.0, "audio*") == [Play(2)], "the rest of the first is heard before it"


def test_switched_off_the_hold_of_the_application_stays() -> None:
    policy = check([*PAUSED, (1.1, "hold*", [])])
    assert change(policy, 1.2, on=False) == []
    assert policy.paused_by_app
    assert play(policy, 2.0, "go") == [Unduck(), Resume()]


def test_switched_off_an_unconfirmed_interruption_is_still_decided() -> None:
    policy = check([(0.0, "audio", [Play(1)]), (5.0, "interrupted*", [Pause()])])
    assert change(policy, 5.1, on=False) == []
    assert play(policy, 7.0, "time*") == [Resume(), EndTurn(1), DONE]


def test_switched_off_the_service_is_told_of_who_speaks() -> None:
    """Over the assistant it was to be told when the speech is sustained."""
    rules = TurnOptions(marks_activity=True)
    policy = check([(0.0, "audio", [Play(1)]), (1.0, "speech*", [Pause()])], rules)
    assert change(policy, 1.25, on=False) == [Resume(), StartActivity(0.25)]
    assert change(policy, 1.3, on=False) == []


def test_switched_on_it_gives_way_to_who_speaks() -> None:
    policy = check([(0.0, "audio", [Play(1)]), (1.0, "speech*", [])], OFF)
    assert change(policy, 1.2) == [Pause()]
    assert play(policy, 2.0, "silence*") == []
    assert play(policy, 2.21, "time*") == [Resume()]


def test_switched_on_it_is_ducked_for_a_sign() -> None:
    policy = check([(0.0, "audio", [Play(1)]), (1.0, "sign*", [])], OFF)
    assert change(policy, 1.01) == [Duck()]
    assert change(policy, 1.02) == []


def test_switched_on_words_that_the_turn_answers_do_not_pause_it() -> None:
    policy = check([(0.0, "speech", []), (1.0, "audio", [Play(1)])], OFF)
    assert change(policy, 1.1) == []
    assert play(policy, 1.15, "silence*") == []
    assert policy.next_timeout is None


def test_switched_on_a_finished_reply_is_dropped_for_speech_that_has_lasted() -> None:
    policy = check(
        [
            (0.0, "audio", [Play(1)]),
            (0.1, "generated", [EndTurn(1)]),
            (0.2, "complete*", [DONE]),
            (1.0, "speech*", []),
            (1.7, "lasts*", []),
        ],
        OFF,
    )
    assert change(policy, 1.8) == [Pause(), DiscardPlayback(1, "speech", open=False), Resume()]
