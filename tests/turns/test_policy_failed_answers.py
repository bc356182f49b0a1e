"""`TurnPolicy` when answers fail."""

from __future__ import annotations

import pytest
from getstream.plugins.gemini.live._turns.policy import (
    MIN_REQUEST_S,
    RECENT_SPEECH_S,
    Action,
    CompleteTurn,
    DiscardPlayback,
    EndActivity,
    EndTurn,
    Nudge,
    Pause,
    Play,
    Reconnect,
    Resume,
    Stalled,
    StartActivity,
    TurnOptions,
)
from policy_scenarios import (
    DONE,
    EMPTY,
    MARKED_AND_WATCHED,
    PROACTIVE,
    REJECTED,
    UNANSWERED,
    UNFINISHED,
    UNHEARD,
    WATCHED,
    Step,
    check,
)

FAILED: dict[str, tuple[TurnOptions, list[Step]]] = {
    "speech is answered by an empty turn, by a model that may stay silent": (
        PROACTIVE,
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (2.5, "complete", []),
            (7.4, "time", []),
            (7.5, "time", [EMPTY]),
            (99.0, "time", []),
        ],
    ),
    "an empty turn does not put off what is due": (
        WATCHED,
        [
            (0.0, "text", []),
            (2.5, "complete", []),
            (4.9, "time", []),
            (5.0, "time", [EMPTY]),
        ],
    ),
    "an answer comes behind an empty turn": (
        PROACTIVE,
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (2.5, "complete", []),
            (4.0, "audio", [Play(1)]),
            (4.1, "complete", [EndTurn(1), DONE]),
            (99.0, "time", []),
        ],
    ),
    "who gets empty turns only speaks again and again": (
        PROACTIVE,
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (2.5, "complete", []),
            (4.0, "speech", [Stalled(2.0, "empty")]),
            (6.0, "silence", []),
            (6.5, "complete", []),
            (8.0, "speech", [Stalled(2.0, "empty")]),
            (99.0, "time", []),
        ],
    ),
    "who is answered in writing speaks again": (
        PROACTIVE,
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (2.5, "writes", []),
            (2.6, "complete", []),
            (4.0, "speech", [Stalled(1.5, "unheard")]),
            (6.0, "silence", []),
            (99.0, "time", []),
        ],
    ),
    "an empty turn that nothing was asked of": (
        PROACTIVE,
        [(1.0, "complete", []), (9, "time", [])],
    ),
    "an empty turn while somebody speaks": (
        PROACTIVE,
        [
            (0.0, "speech", []),
            (1.0, "complete", []),
            (2.0, "silence", []),
            (99.0, "time", []),
        ],
    ),
    "an empty turn of a model that is at work": (
        PROACTIVE,
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (2.5, "works", []),
            (2.5, "complete", []),
            (99.0, "time", []),
        ],
    ),
    "the model waits for the rest": (
        PROACTIVE,
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (2.5, "more?", []),
            (99.0, "time", []),
        ],
    ),
    "the answer is rejected": (
        PROACTIVE,
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (2.5, "rejected", [Stalled(0.5, "rejected", REJECTED)]),
            (99.0, "time", []),
        ],
    ),
    "each of them is rejected": (
        PROACTIVE,
        [
            (0.0, "text", []),
            (0.5, "rejected", [Stalled(0.5, "rejected", REJECTED)]),
            (1.0, "text", []),
            (2.0, "rejected", [Stalled(1.0, "rejected", REJECTED)]),
        ],
    ),
    "something is rejected that nobody has asked for": (
        PROACTIVE,
        [(9.0, "rejected", [Stalled(0.0, "rejected", REJECTED)])],
    ),
    "rejected while the next thing is being said": (
        TurnOptions(stall_after_s=5.0, nudge=True),
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (3.0, "speech", []),
            (3.5, "rejected", [Stalled(1.5, "rejected", REJECTED)]),
            (99.0, "time", []),
        ],
    ),
    "a rejected answer, a nudge, and nothing helps": (
        TurnOptions(stall_after_s=5.0, nudge=True),
        [
            (0.0, "text", []),
            (0.5, "rejected", [Stalled(0.5, "rejected", REJECTED), Nudge()]),
            (0.6, "nudge", []),
            (5.5, "time", []),
            (5.6, "time", []),
            (99.0, "time", []),
        ],
    ),
    "a turn that was said is not complete for the ordinary reason": (
        PROACTIVE,
        [
            (0.0, "audio", [Play(1)]),
            (0.1, "generated", [EndTurn(1)]),
            (0.2, "rejected", [CompleteTurn(1, REJECTED)]),
        ],
    ),
    "speech was transcribed, and nothing follows": (
        PROACTIVE,
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (2.5, "asked", []),
            (2.7, "asked", []),
            (7.6, "time", []),
            (7.7, "time", [UNANSWERED]),
            (99.0, "time", []),
        ],
    ),
    "the transcript came before the end": (
        PROACTIVE,
        [
            (0.0, "speech", []),
            (1.5, "asked", []),
            (2.0, "silence", []),
            (7.0, "time", [UNANSWERED]),
        ],
    ),
    "what was transcribed before is not what is said now": (
        PROACTIVE,
        [
            (0.0, "speech", []),
            (1.5, "asked", []),
            (2.0, "silence", []),
            (7.0, "time", [UNANSWERED]),
            (9.0, "speech", []),
            (11.0, "silence", []),
            (99.0, "time", []),
        ],
    ),
    "a transcribed click needs no answer": (
        PROACTIVE,
        [
            (0.0, "speech", []),
            (0.2, "asked", []),
            (0.4, "silence", []),
            (99.0, "time", []),
        ],
    ),
    "the transcript of what was answered comes late": (
        PROACTIVE,
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (2.5, "audio", [Play(1)]),
            (2.6, "asked", []),
            (2.7, "complete", [EndTurn(1), DONE]),
            (2.5 + RECENT_SPEECH_S, "asked", []),
            (99.0, "time", []),
        ],
    ),
    "only the service has heard it": (
        PROACTIVE,
        [
            (0.0, "audio", [Play(1)]),
            (0.7, "complete", [EndTurn(1), DONE]),
            (9.0, "asked", []),
            (14.0, "time", [UNANSWERED]),
        ],
    ),
    "only the service has heard it, and was interrupted": (
        PROACTIVE,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "interrupted", [DiscardPlayback(1, "server", open=True)]),
            (1.1, "asked", []),
            (1.2, "complete", []),
            (6.1, "time", [UNANSWERED]),
        ],
    ),
    "mhm over the assistant is transcribed": (
        PROACTIVE,
        [
            (0.0, "audio", [Play(1)]),
            (0.2, "complete", [EndTurn(1), DONE]),
            (1.0, "speech*", [Pause()]),
            (1.55, "silence*", []),
            (1.6, "asked*", []),
            (1.75, "time*", [Resume()]),
            (99.0, "time", []),
        ],
    ),
    "a transcript while the model is at work": (
        PROACTIVE,
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (2.1, "works", []),
            (2.5, "asked", []),
            (99.0, "time", []),
        ],
    ),
    "speech that has ended when the service interrupts": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "speech*", [Pause()]),
            (2.0, "silence*", []),
            (2.1, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
            (2.1, "complete", []),
            (7.0, "time", []),
            (7.1, "time", [UNANSWERED]),
        ],
    ),
    "the service interrupts, and the speech goes on": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "speech*", [Pause()]),
            (1.3, "silence*", []),
            (1.4, "speech*", []),
            (1.5, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
            (1.5, "complete", []),
            (99.0, "time", []),
        ],
    ),
    # -- what is asked is not forgotten
    "a cough does not take the place of a text": (
        PROACTIVE,
        [
            (0.0, "text", []),
            (1.0, "speech", []),
            (5.5, "time", []),
            (6.0, "silence", []),
            (10.9, "time", []),
            (11.0, "time", [UNANSWERED]),
        ],
    ),
    "a text in the middle of a turn that ends": (
        PROACTIVE,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "text*", []),
            (1.1, "audio*", [Play(1)]),
            (1.2, "generated", [EndTurn(1)]),
            (1.3, "complete", [DONE]),
            (6.0, "time", []),
            (6.1, "time", [UNANSWERED]),
        ],
    ),
    "a text in the middle of a turn that ends at once": (
        PROACTIVE,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "text*", []),
            (1.1, "audio*", [Play(1)]),
            (1.3, "complete", [EndTurn(1), DONE]),
            (6.0, "time", []),
            (6.1, "time", [UNANSWERED]),
        ],
    ),
    "a text in the middle of a turn that is never ended": (
        PROACTIVE,
        [
            (0.0, "audio", [Play(1)]),
            (0.5, "interrupted*", [Pause()]),
            (1.0, "text*", []),
            (2.5, "time*", [Resume(), EndTurn(1), DONE]),
            (2.6, "complete*", []),
            (5.9, "time", []),
            (6.0, "time", [UNANSWERED]),
        ],
    ),
    "a text in a turn that the application cuts": (
        PROACTIVE,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "text*", []),
            (1.9, "audio*", [Play(1)]),
            (2.0, "cut*", [DiscardPlayback(1, "app", open=True)]),
            (3.0, "audio", []),
            (4.0, "generated", [EndTurn(1)]),
            (4.1, "complete", []),
            (6.8, "time", []),
            (6.9, "time", [UNANSWERED]),
        ],
    ),
    "nothing is expected of a turn that the application cuts": (
        PROACTIVE,
        [
            (0.0, "audio", [Play(1)]),
            (2.0, "cut*", [DiscardPlayback(1, "app", open=True)]),
            (3.0, "audio", []),
            (99.0, "time", []),
        ],
    ),
    "nothing is expected of a turn that was sent": (
        PROACTIVE,
        [(0.0, "audio", [Play(1)]), (0.2, "generated", [EndTurn(1)]), (99.0, "time", [])],
    ),
    "signs of work put it off": (
        PROACTIVE,
        [
            (0.0, "text", []),
            (4.0, "at work", []),
            (5.0, "time", []),
            (9.0, "time", [UNANSWERED]),
            (10.0, "at work", []),
            (99.0, "time", []),
        ],
    ),
    "the late turn_complete of a turn that was heard is no answer to a text": (
        PROACTIVE,
        [
            (0.0, "audio", [Play(1)]),
            (0.1, "generated", [EndTurn(1)]),
            (2.0, "text", []),
            (2.1, "interrupted", [DONE]),
            (2.2, "complete", []),
            (7.0, "time", [UNANSWERED]),
        ],
    ),
    "nor is that of a turn that was heard and is cut": (
        PROACTIVE,
        [
            (0.0, "audio", [Play(1)]),
            (0.1, "generated", [EndTurn(1)]),
            (1.0, "played", []),
            (1.5, "text", []),
            (1.6, "cut", [DONE]),
            (2.2, "complete", []),
            (6.5, "time", [UNANSWERED]),
        ],
    ),
    "nor is that of a turn that is over without it": (
        PROACTIVE,
        [
            (0.0, "audio", [Play(1)]),
            (0.1, "generated", [EndTurn(1)]),
            (1.0, "played", []),
            (2.0, "time", [DONE]),
            (3.0, "text", []),
            (3.1, "complete", []),
            (8.0, "time", [UNANSWERED]),
        ],
    ),
    "nor is that of a turn that speech has interrupted": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (0.1, "generated", [EndTurn(1)]),
            (1.0, "speech*", [Pause()]),
            (1.5, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
            (2.0, "silence", []),
            (2.1, "complete", []),
            (7.0, "time", [UNANSWERED]),
        ],
    ),
    "speech over a turn that is still being sent: the rest is missing": (
        PROACTIVE,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "speech*", [Pause()]),
            (2.0, "silence*", []),
            (2.2, "time*", [Resume()]),
            (6.9, "time", []),
            (7.0, "time", [UNFINISHED]),
        ],
    ),
    "the service alone has heard the first words": (
        PROACTIVE,
        [(1.0, "asked", []), (6.0, "time", [UNANSWERED])],
    ),
    # -- what is tried
    "a nudge, and what it speaks ends in the middle": (
        TurnOptions(stall_after_s=5.0, nudge=True),
        [
            (0.0, "text", []),
            (5.0, "time", [UNANSWERED, Nudge()]),
            (5.1, "nudge", []),
            (6.0, "audio", [Play(1)]),
            (11.0, "time", [UNFINISHED, Nudge()]),
        ],
    ),
    "what only the service has heard is another question": (
        TurnOptions(stall_after_s=5.0, nudge=True),
        [
            (0.0, "text", []),
            (5.0, "time", [UNANSWERED, Nudge()]),
            (5.1, "nudge", []),
            (6.0, "asked", []),
            (11.0, "time", [UNANSWERED, Nudge()]),
        ],
    ),
    "a nudge that is rejected, too": (
        TurnOptions(stall_after_s=5.0, nudge=True),
        [
            (0.0, "text", []),
            (0.5, "rejected", [Stalled(0.5, "rejected", REJECTED), Nudge()]),
            (1.0, "nudge", []),
            (1.5, "rejected", [Stalled(0.5, "rejected", REJECTED)]),
            (99.0, "time", []),
            (100.5, "rejected", [Stalled(99.5, "rejected", REJECTED), Nudge()]),
        ],
    ),
    "a nudge for what was written, and somebody speaks": (
        TurnOptions(stall_after_s=5.0, nudge=True),
        [
            (0.0, "writes", []),
            (5.0, "time", [UNHEARD, Nudge()]),
            (5.5, "speech", []),
            (7.0, "silence", []),
            (12.0, "time", []),
        ],
    ),
    "one nudge, although it is a text": (
        TurnOptions(stall_after_s=5.0, nudge=True),
        [
            (0.0, "text", []),
            (5.0, "time", [UNANSWERED, Nudge()]),
            (5.1, "nudge", []),
            (10.0, "time", []),
            (10.1, "time", []),
            (99.0, "time", []),
        ],
    ),
    "the next stall is nudged again": (
        TurnOptions(stall_after_s=5.0, nudge=True),
        [
            (0.0, "text", []),
            (5.0, "time", [UNANSWERED, Nudge()]),
            (5.1, "nudge", []),
            (6.0, "audio", [Play(1)]),
            (6.1, "complete", [EndTurn(1), DONE]),
            (20.0, "text", []),
            (25.0, "time", [UNANSWERED, Nudge()]),
        ],
    ),
    "another text is another stall": (
        TurnOptions(stall_after_s=5.0, nudge=True),
        [
            (0.0, "text", []),
            (5.0, "time", [UNANSWERED, Nudge()]),
            (5.1, "nudge", []),
            (6.0, "text", []),
            (11.0, "time", [UNANSWERED, Nudge()]),
        ],
    ),
    "so is another question": (
        TurnOptions(stall_after_s=5.0, nudge=True, may_stay_silent=False),
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (7.0, "time", [UNANSWERED, Nudge()]),
            (7.1, "nudge", []),
            (8.0, "speech", []),
            (10.0, "silence", []),
            (15.0, "time", [UNANSWERED, Nudge()]),
        ],
    ),
    "a text like the nudge that was not asked for": (
        TurnOptions(stall_after_s=5.0, nudge=True),
        [
            (0.0, "nudge", []),
            (5.0, "time", [UNANSWERED, Nudge()]),
        ],
    ),
    "one connection, and what was asked is not repeated for ever": (
        TurnOptions(stall_after_s=5.0, reconnect=True),
        [
            (0.0, "text", []),
            (5.0, "time", [UNANSWERED, Reconnect()]),
            (5.1, "lost", []),
            (6.0, "resumed", []),
            (11.0, "time", []),
            (99.0, "time", []),
            (100.0, "text", []),
            (105.0, "time", [UNANSWERED]),
        ],
    ),
    "another connection for the next stall, once the model has spoken": (
        TurnOptions(stall_after_s=5.0, reconnect=True),
        [
            (0.0, "text", []),
            (5.0, "time", [UNANSWERED, Reconnect()]),
            (5.1, "lost", []),
            (6.0, "resumed", []),
            (7.0, "audio", [Play(1)]),
            (7.1, "complete", [EndTurn(1), DONE]),
            (20.0, "text", []),
            (25.0, "time", [UNANSWERED, Reconnect()]),
        ],
    ),
    "a nudge, then a connection, each once": (
        TurnOptions(stall_after_s=5.0, nudge=True, reconnect=True),
        [
            (0.0, "text", []),
            (5.0, "time", [UNANSWERED, Nudge()]),
            (5.1, "nudge", []),
            (10.1, "time", [Reconnect()]),
            (10.2, "lost", []),
            (11.0, "resumed", []),
            (16.0, "time", []),
            (99.0, "time", []),
        ],
    ),
    "a turn without an end, and a connection": (
        TurnOptions(stall_after_s=5.0, reconnect=True),
        [
            (0.0, "audio", [Play(1)]),
            (5.0, "time", [UNFINISHED, Reconnect()]),
            (5.1, "lost", [EndTurn(1)]),
            (6.0, "resumed", []),
            (99.0, "time", []),
        ],
    ),
}


@pytest.mark.parametrize("name", FAILED)
def test_an_answer_fails(name: str) -> None:
    rules, scenario = FAILED[name]
    check(scenario, rules)


def test_an_unanswered_text_is_given_up_when_that_was_reported() -> None:
    conversation = check([(0.0, "text", []), (5.0, "time", [UNANSWERED])], PROACTIVE)
    assert not conversation.answer_due
    assert conversation.idle_since == 0.0


def test_nobody_watches() -> None:
    conversation = check(
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (2.5, "asked", []),
            (3.0, "rejected", []),
            (4.0, "complete", []),
            (5.0, "speech", []),
            (7.0, "silence", []),
        ],
        TurnOptions(may_stay_silent=True),
    )
    assert conversation.next_timeout is None
    assert conversation.idle_since == 7.0


def test_what_is_transcribed_is_not_waited_for_when_nobody_watches() -> None:
    conversation = check([(9.0, "asked", [])], TurnOptions())
    assert not conversation.answer_due
    assert conversation.idle_since is not None


@pytest.mark.parametrize("moment", ["while it is said", "afterwards"])
def test_the_application_may_say_that_silence_is_meant(moment: str) -> None:
    rules = TurnOptions(stall_after_s=5.0, may_stay_silent=True, transcript_is_request=False)
    asked = (1.5 if moment == "while it is said" else 2.5, "asked", list[Action]())
    scenario: list[Step] = [(0.0, "speech", []), (2.0, "silence", []), asked]
    check([*sorted(scenario), (99.0, "time", [])], rules)


def test_speech_is_a_request_from_a_certain_length_on() -> None:
    for length, expected in ((MIN_REQUEST_S, [UNANSWERED]), (MIN_REQUEST_S - 0.01, [])):
        said = 1.0 + length + TurnOptions().hangover_s + 1e-9
        check([(1.0, "speech", []), (said, "silence", []), (said + 5.0, "time", expected)], WATCHED)


def test_what_comes_before_the_end_of_a_marked_turn_is_no_answer_to_it() -> None:
    for event in ("writes", "complete"):
        check(
            [
                (0.0, "speech", [StartActivity(0.0)]),
                (2.0, "silence", []),
                (2.1, event, []),
                (2.3, "time", [EndActivity()]),
                (99.0, "time", []),
            ],
            MARKED_AND_WATCHED,
        )


def test_what_was_transcribed_of_a_marked_turn_is_answered() -> None:
    check(
        [
            (0.0, "speech", [StartActivity(0.0)]),
            (2.0, "silence", []),
            (2.1, "asked", []),
            (2.3, "time", [EndActivity()]),
            (7.2, "time", []),
            (7.3, "time", [UNANSWERED]),
        ],
        MARKED_AND_WATCHED,
    )


def test_a_transcribed_cough_in_a_marked_turn_needs_no_answer() -> None:
    check(
        [
            (0.0, "speech", [StartActivity(0.0)]),
            (0.4, "silence", []),
            (0.5, "asked", []),
            (0.7, "time", [EndActivity()]),
            (99.0, "time", []),
        ],
        MARKED_AND_WATCHED,
    )


def test_activity_is_marked_once() -> None:
    check(
        [
            (0.0, "audio", [Play(1)]),
            (0.1, "complete", [EndTurn(1), DONE]),
            (1.0, "hold*", [Pause()]),
            (2.0, "speech*", [StartActivity(0.0)]),
            (2.1, "go*", [Resume()]),
            (2.2, "speech2*", [Pause()]),
            (2.8, "lasts2*", [DiscardPlayback(1, "speech", open=False), Resume()]),
        ],
        TurnOptions(marks_activity=True),
    )


def test_no_timer_without_a_reason() -> None:
    for scenario in (
        [(0.0, "sign", []), (0.1, "nothing", [])],
        [(0.0, "lost", []), (0.1, "resumed", [])],
        [(0.0, "text", []), (1.0, "rejected", [Stalled(1.0, "rejected", REJECTED)])],
    ):
        assert check(scenario, WATCHED).next_timeout is None


def test_a_turn_that_begins_in_a_marked_one_may_be_interrupted() -> None:
    check(
        [
            (0.0, "speech", [StartActivity(0.0)]),
            (2.0, "audio", [Play(1)]),
            (2.1, "interrupted*", [DiscardPlayback(1, "server", open=True)]),
        ],
        TurnOptions(marks_activity=True),
    )


def test_nothing_was_told_that_could_interrupt() -> None:
    check([(0.0, "interrupted", []), (0.1, "complete", [])], TurnOptions(marks_activity=True))


def test_without_barge_in_who_speaks_into_a_reply_does_not_pause_it() -> None:
    check(
        [(0.0, "speech", []), (1.0, "audio", [Play(1)]), (9.0, "time*", [])],
        TurnOptions(barge_in=False),
    )
