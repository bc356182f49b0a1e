"""`TurnPolicy` at the end of a turn, and when an answer replaces what is left of one."""

from __future__ import annotations

import pytest
from getstream.plugins.gemini.live._turns.policy import (
    CUT_GAP_S,
    LATE_COMPLETION_S,
    LATE_TRANSCRIPT_S,
    CompleteTurn,
    DiscardPlayback,
    EndActivity,
    EndTurn,
    Pause,
    Play,
    PlayWithheld,
    Resume,
    StartActivity,
    TurnOptions,
    Withhold,
)
from policy_scenarios import DONE, DONE2, UNANSWERED, Step, check

# -- how a turn ends -----------------------------------------------------------------------------

ENDS: dict[str, list[Step]] = {
    "without turn_complete it is over a moment after it was played": [
        (0.0, "audio", [Play(1)]),
        (0.2, "generated", [EndTurn(1)]),
        (3.0, "played", []),
        (3.9, "time", []),
        (4.0, "time", [DONE]),
        (5.0, "complete", []),
        (6.0, "audio", [Play(2)]),
        (6.1, "generated", [EndTurn(2)]),
        (6.2, "complete", [DONE2]),
    ],
    "it is not over while it is played": [
        (0.0, "audio", [Play(1)]),
        (0.2, "generated", [EndTurn(1)]),
        (99.0, "time*", []),
        (99.5, "complete*", [DONE]),
    ],
    "what is played of the turn before says nothing": [
        (0.0, "audio", [Play(1)]),
        (0.1, "complete", [EndTurn(1), DONE]),
        (0.2, "audio", [Play(2)]),
        (0.3, "generated", [EndTurn(2)]),
        (1.0, "played before", []),
        (3.0, "time", []),
        (3.0, "played", []),
        (4.0, "time", [DONE2]),
    ],
    "turn_complete comes in time": [
        (0.0, "audio", [Play(1)]),
        (0.2, "generated", [EndTurn(1)]),
        (3.0, "played", []),
        (3.5, "complete", [DONE]),
        (9.0, "time", []),
    ],
    "the next turn ends one that was not completed": [
        (0.0, "audio", [Play(1)]),
        (0.2, "generated", [EndTurn(1)]),
        (1.0, "audio*", [DONE, Play(2)]),
        (1.1, "complete", []),
        (1.2, "audio", [Play(2)]),
        (1.3, "generated", [EndTurn(2)]),
        (1.4, "complete", [DONE2]),
    ],
    "a late turn_complete of a cut turn comes after the next one has begun": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
        (1.8, "time", []),
        (1.9, "silence", []),
        (2.5, "audio", [Play(2)]),
        (2.6, "complete", []),
        (3.0, "audio", [Play(2)]),
        (9.0, "time*", []),
        (9.1, "generated", [EndTurn(2)]),
        (9.2, "complete", [DONE2]),
    ],
    "a late turn_complete of a cut turn comes after the next one was sent": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
        (1.9, "silence", []),
        (2.5, "audio", [Play(2)]),
        (2.6, "generated", [EndTurn(2)]),
        (2.7, "complete", [DONE2]),
        (2.8, "complete", []),
        (3.0, "audio", [Play(3)]),
    ],
    "what seemed late was its own: nothing more comes": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
        (1.9, "silence", []),
        (2.5, "audio", [Play(2)]),
        (2.6, "complete", []),
        (3.5, "time", []),
        (3.6, "time", [EndTurn(2), DONE2]),
        (3.7, "complete", []),
        (4.0, "audio", [Play(3)]),
        (4.1, "complete", [EndTurn(3), CompleteTurn(3)]),
    ],
    "one turn_complete is late, and the other one is not": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
        (1.8, "time", []),
        (1.9, "silence", []),
        (2.5, "audio", [Play(2)]),
        (2.6, "complete", []),
        (2.7, "audio", [Play(2)]),
        (2.8, "complete", [EndTurn(2), DONE2]),
    ],
    "a late turn_complete is expected, and an interruption is unconfirmed": [
        (0.0, "audio", [Play(1)]),
        (0.1, "generated", [EndTurn(1)]),
        (1.0, "audio*", [DONE, Play(2)]),
        (2.0, "interrupted*", [Pause()]),
        (2.1, "complete*", [EndTurn(2)]),
        (4.0, "time*", [Resume(), DONE2]),
    ],
    "nothing is late for ever": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
        (1.8, "time", []),
        (1.9, "silence", []),
        (9.0, "audio", [Play(2)]),
        (1.8 + LATE_COMPLETION_S, "complete", [EndTurn(2), DONE2]),
    ],
    "a pair that interrupts nothing, and comes apart": [
        (0.0, "interrupted", []),
        (1.0, "audio", [Play(1)]),
        (1.1, "complete", []),
        (1.2, "generated", [EndTurn(1)]),
        (1.3, "complete", [DONE]),
    ],
    "a pair that interrupts what is only played, and comes apart": [
        (0.0, "audio", [Play(1)]),
        (0.1, "complete", [EndTurn(1), DONE]),
        (1.0, "speech*", [Pause()]),
        (1.2, "interrupted*", [DiscardPlayback(1, "server", open=False), Resume()]),
        (1.5, "silence", []),
        (2.0, "audio", [Play(2)]),
        (2.1, "complete", []),
        (2.2, "generated", [EndTurn(2)]),
        (2.3, "complete", [DONE2]),
    ],
    # -- the end of a cut turn, or the next one
    "the end of a cut turn is not heard": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
        (1.31, "audio", [Withhold()]),
        (1.35, "audio", [Withhold()]),
        (1.4, "complete", []),
        (2.5, "audio", [Play(2)]),
        (2.6, "complete", [EndTurn(2), DONE2]),
    ],
    "what goes on is the next turn": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
        (1.6, "audio", [Withhold()]),
        (1.7, "time", []),
        (1.8, "time", [PlayWithheld(2)]),
        (1.9, "audio", [Play(2)]),
        (2.0, "complete", []),
        (2.1, "generated", [EndTurn(2)]),
        (2.2, "complete", [DONE2]),
    ],
    "what is sent to its end is the next turn": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
        (1.4, "generated", []),
        (1.5, "audio", [Withhold()]),
        (1.6, "generated", [PlayWithheld(2), EndTurn(2)]),
        (1.7, "complete", [DONE2]),
        (9.0, "time", []),
    ],
    "the clock is late": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
        (1.6, "audio", [Withhold()]),
        (2.0, "audio", [PlayWithheld(2), Play(2)]),
    ],
    "interrupted again meanwhile": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
        (1.4, "interrupted", []),
        (1.5, "complete", []),
        (1.6, "audio", [Play(2)]),
    ],
    "after a turn that was sent nothing can be the end of it": [
        (0.0, "audio", [Play(1)]),
        (0.1, "generated", [EndTurn(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
        (1.4, "audio", [Play(2)]),
    ],
    # -- heard whole
    "interrupted after it was heard whole": [
        (0.0, "audio", [Play(1)]),
        (0.1, "generated", [EndTurn(1)]),
        (2.0, "interrupted", [DONE]),
        (2.1, "complete", []),
        (3.0, "audio", [Play(2)]),
    ],
    "cut by the application after it was heard whole": [
        (0.0, "audio", [Play(1)]),
        (0.1, "generated", [EndTurn(1)]),
        (2.0, "played", []),
        (2.5, "cut", [DONE]),
        (2.6, "complete", []),
        (2.7, "time", []),
        (9.0, "time", []),
    ],
    "a turn is cut after the one before was played": [
        (0.0, "audio", [Play(1)]),
        (0.1, "complete", [EndTurn(1), DONE]),
        (1.0, "played", []),
        (2.0, "audio", [Play(2)]),
        (2.1, "generated", [EndTurn(2)]),
        (2.2, "cut*", [DiscardPlayback(2, "app", open=True)]),
    ],
    "cut by the application before that": [
        (0.0, "audio", [Play(1)]),
        (0.1, "generated", [EndTurn(1)]),
        (2.0, "cut*", [DiscardPlayback(1, "app", open=True)]),
        (2.1, "complete", []),
        (2.2, "audio", [Play(2)]),
    ],
    "speech that it ran dry under, after which nothing came": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech", [Pause()]),
        (1.6, "lasts", []),
        (1.7, "generated", [EndTurn(1)]),
        (1.7, "played", []),
        (1.9, "complete", [DONE, DiscardPlayback(1, "speech", open=False), Resume()]),
    ],
    # -- cut here, and never ended by the service
    "a turn that was cut is over when a request is answered after a while": [
        (0.0, "audio", [Play(1)]),
        (0.5, "cut*", [DiscardPlayback(1, "app", open=True)]),
        (0.6, "audio", []),
        (1.0, "text", []),
        (1.5, "audio", []),
        (1.4 + CUT_GAP_S, "audio", []),
        (1.4 + 2 * CUT_GAP_S, "audio", [Play(2)]),
        (1.5 + 2 * CUT_GAP_S, "complete", []),
    ],
    "a turn that was cut goes on without a request": [
        (0.0, "audio", [Play(1)]),
        (0.5, "cut*", [DiscardPlayback(1, "app", open=True)]),
        (9.0, "audio", []),
        (9.1, "generated", [EndTurn(1)]),
        (9.2, "complete", []),
        (9.3, "audio", [Play(2)]),
    ],
    "a turn that was cut is completed without its end": [
        (0.0, "audio", [Play(1)]),
        (0.5, "cut*", [DiscardPlayback(1, "app", open=True)]),
        (0.6, "complete", [EndTurn(1)]),
        (0.7, "audio", [Play(2)]),
        (0.8, "complete", [EndTurn(2), DONE2]),
    ],
    "the turn_complete of a turn that was cut is late": [
        (0.0, "audio", [Play(1)]),
        (0.5, "cut*", [DiscardPlayback(1, "app", open=True)]),
        (0.6, "generated", [EndTurn(1)]),
        (0.7, "audio", [Play(2)]),
        (0.8, "complete", []),
        (0.9, "generated", [EndTurn(2)]),
        (1.0, "complete", [DONE2]),
    ],
}


@pytest.mark.parametrize("name", ENDS)
def test_the_end_of_a_turn(name: str) -> None:
    check(ENDS[name])


def test_an_interruption_that_nothing_has_caused_is_followed_by_its_turn_complete() -> None:
    check(
        [
            (0.0, "audio", [Play(1)]),
            (0.5, "interrupted*", []),
            (0.5, "complete", []),
            (0.6, "audio*", [Play(1)]),
            (0.7, "generated", [EndTurn(1)]),
            (0.8, "complete", [DONE]),
        ],
        TurnOptions(marks_activity=True),
    )


def test_activity_interrupts_what_was_heard_whole() -> None:
    """A spurious pair follows `activityStart` (langwatch/scenario #360)."""
    check(
        [
            (0.0, "audio", [Play(1)]),
            (0.1, "generated", [EndTurn(1)]),
            (1.5, "played", []),
            (2.0, "speech", [StartActivity(0.0)]),
            (2.1, "interrupted", [DONE]),
            (2.1, "complete", []),
            (3.0, "silence", []),
            (3.3, "time", [EndActivity()]),
            (4.0, "audio", [Play(2)]),
            (4.1, "generated", [EndTurn(2)]),
            (4.2, "complete", [DONE2]),
        ],
        TurnOptions(marks_activity=True),
    )


@pytest.mark.parametrize("marks_activity", [False, True])
def test_the_second_of_two_texts_interrupts_the_answer_to_the_first(marks_activity: bool) -> None:
    check(
        [
            (0.0, "text", []),
            (0.3, "text", []),
            (0.5, "audio", [Play(1)]),
            (0.6, "interrupted*", [DiscardPlayback(1, "server", open=True)]),
            (0.61, "complete", []),
            (1.2, "audio", [Play(2)]),
            (1.3, "generated", [EndTurn(2)]),
            (1.4, "complete", [DONE2]),
            (99.0, "time", []),
        ],
        TurnOptions(marks_activity=marks_activity, stall_after_s=5.0),
    )


def test_the_answer_to_the_second_text_is_owed() -> None:
    check(
        [
            (0.0, "text", []),
            (0.3, "text", []),
            (0.5, "audio", [Play(1)]),
            (0.6, "interrupted*", [DiscardPlayback(1, "server", open=True)]),
            (0.61, "complete", []),
            (5.6, "time", [UNANSWERED]),
        ],
        TurnOptions(stall_after_s=5.0),
    )


@pytest.mark.parametrize("texts", [1, 2])
def test_a_text_that_was_answered_explains_no_interruption(texts: int) -> None:
    """Two texts may be answered by one turn."""
    check(
        [
            *[(0.0, "text", [])] * texts,
            (0.5, "audio", [Play(1)]),
            (0.6, "generated", [EndTurn(1)]),
            (0.7, "complete", [DONE]),
            (2.0, "text", []),
            (2.5, "audio", [Play(2)]),
            (2.6, "interrupted*", [Pause()]),
        ]
    )


# -- an answer takes the place of what is left of the turn before it -------------------------------

STALE_REPLY = DiscardPlayback(1, "server", open=False)
REPLACED: dict[str, list[Step]] = {
    "speech over a turn that is never completed, answered after playback went on": [
        (0.0, "audio", [Play(1)]),
        (0.1, "generated", [EndTurn(1)]),
        (2.0, "speech*", [Pause()]),
        (2.6, "lasts*", []),
        (3.5, "silence*", []),
        (3.7, "time*", [Resume()]),
        (4.3, "audio*", [DiscardPlayback(1, "speech", open=True), Play(2)]),
        (4.4, "generated", [EndTurn(2)]),
        (4.5, "complete", [DONE2]),
    ],
    "speech that had lasted when the turn came": [
        (0.0, "speech", []),
        (0.6, "lasts", []),
        (1.0, "audio", [Play(1)]),
        (1.1, "generated", [EndTurn(1)]),
        (1.6, "time*", [Pause()]),
        (2.0, "silence*", []),
        (2.2, "time*", [Resume()]),
        (3.0, "audio*", [DiscardPlayback(1, "speech", open=True), Play(2)]),
    ],
    "a short word over it does not replace it later": [
        (0.0, "audio", [Play(1)]),
        (0.1, "generated", [EndTurn(1)]),
        (2.0, "speech*", [Pause()]),
        (2.3, "silence*", []),
        (2.5, "time*", [Resume()]),
        (4.3, "audio*", [DONE, Play(2)]),
    ],
    "what was played to its end is not replaced": [
        (0.0, "audio", [Play(1)]),
        (0.1, "generated", [EndTurn(1)]),
        (2.0, "speech*", [Pause()]),
        (2.6, "lasts*", []),
        (3.5, "silence*", []),
        (3.7, "time*", [Resume()]),
        (3.9, "played", []),
        (4.3, "audio", [DONE, Play(2)]),
    ],
    "only the service has heard it": [
        (0.0, "audio", [Play(1)]),
        (0.1, "complete", [EndTurn(1), DONE]),
        (2.0, "asked*", []),
        (9.0, "audio*", [STALE_REPLY, Play(2)]),
        (9.1, "complete", [EndTurn(2), DONE2]),
        (9.2, "audio*", [Play(3)]),
    ],
    "it is heard here, and by the service": [
        (0.0, "audio", [Play(1)]),
        (0.1, "generated", [EndTurn(1)]),
        (2.0, "speech*", [Pause()]),
        (2.6, "lasts*", []),
        (3.5, "silence*", []),
        (3.7, "time*", [Resume()]),
        (3.8, "asked*", []),
        (4.3, "audio*", [DiscardPlayback(1, "speech", open=True), Play(2)]),
    ],
    "a transcript of the question comes late": [
        (2.0, "audio", [Play(1)]),
        (2.1, "complete", [EndTurn(1), DONE]),
        (2.0 + LATE_TRANSCRIPT_S, "asked*", []),
        (9.0, "audio*", [Play(2)]),
    ],
    "while the service is still sending, it interrupts by itself": [
        (0.0, "audio", [Play(1)]),
        (2.0, "asked*", []),
        (2.1, "complete", [EndTurn(1), DONE]),
        (9.0, "audio*", [Play(2)]),
    ],
    "a text asks for what comes": [
        (0.0, "audio", [Play(1)]),
        (0.1, "complete", [EndTurn(1), DONE]),
        (2.0, "asked*", []),
        (3.0, "text*", []),
        (9.0, "audio*", [Play(2)]),
        (9.1, "complete", [EndTurn(2), DONE2]),
        (9.9, "audio*", [Play(3)]),
    ],
    "the turn was a filler, and the answer is behind it": [
        (0.0, "audio", [Play(1)]),
        (0.1, "works", []),
        (0.1, "complete", [EndTurn(1), DONE]),
        (2.0, "asked*", []),
        (9.0, "audio*", [Play(2)]),
    ],
    "it is held by the application": [
        (0.0, "audio", [Play(1)]),
        (0.1, "complete", [EndTurn(1), DONE]),
        (1.0, "hold*", [Pause()]),
        (2.0, "asked*", []),
        (9.0, "audio*", [Play(2)]),
        (9.5, "go*", [Resume()]),
    ],
    "an interruption that was not believed: the answer is late": [
        (0.0, "audio", [Play(1)]),
        (0.1, "complete", [EndTurn(1), DONE]),
        (1.0, "interrupted*", [Pause()]),
        (3.0, "time*", [Resume()]),
        (6.0, "audio*", [STALE_REPLY, Play(2)]),
    ],
    "the same in a turn that was still being sent": [
        (0.0, "audio", [Play(1)]),
        (1.0, "interrupted*", [Pause()]),
        (3.0, "time*", [Resume(), EndTurn(1), DONE]),
        (5.0, "complete", []),
        (6.0, "audio*", [STALE_REPLY, Play(2)]),
        (6.1, "complete", [EndTurn(2), DONE2]),
    ],
    "the same in a turn that was sent": [
        (0.0, "audio", [Play(1)]),
        (0.5, "generated", [EndTurn(1)]),
        (1.0, "interrupted*", [Pause()]),
        (3.0, "time*", [Resume(), DONE]),
        (5.0, "complete", []),
        (6.0, "audio*", [STALE_REPLY, Play(2)]),
    ],
    "an interruption that is not known to be right, and the next turn without an end of the old": [
        (0.0, "audio", [Play(1)]),
        (1.0, "interrupted*", [Pause()]),
        (2.5, "audio*", [EndTurn(1), DiscardPlayback(1, "server", open=True), Resume(), Play(2)]),
        (2.6, "complete", []),
        (2.7, "generated", [EndTurn(2)]),
        (2.8, "complete", [DONE2]),
    ],
    "the same when the application has gone on": [
        (0.0, "audio", [Play(1)]),
        (1.0, "interrupted*", [Pause()]),
        (1.5, "go*", [Resume()]),
        (2.5, "audio*", [EndTurn(1), DiscardPlayback(1, "server", open=True), Play(2)]),
    ],
    "an unconfirmed interruption of a turn that was sent": [
        (0.0, "audio", [Play(1)]),
        (0.5, "generated", [EndTurn(1)]),
        (1.0, "interrupted*", [Pause()]),
        (2.0, "complete", []),
        (2.5, "audio*", [DiscardPlayback(1, "server", open=True), Resume(), Play(2)]),
        (2.6, "complete", [EndTurn(2), DONE2]),
    ],
}


@pytest.mark.parametrize("name", REPLACED)
def test_an_answer_replaces_what_is_left(name: str) -> None:
    check(REPLACED[name])


def test_without_barge_in_nothing_is_replaced() -> None:
    check(
        [
            (0.0, "audio", [Play(1)]),
            (0.1, "complete", [EndTurn(1), DONE]),
            (2.0, "asked*", []),
            (9.0, "audio*", [Play(2)]),
        ],
        TurnOptions(barge_in=False),
    )
