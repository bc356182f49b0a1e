"""`TurnPolicy` when the model owes an answer and nothing comes."""

from __future__ import annotations

import pytest
from getstream.plugins.gemini.live._turns.policy import (
    RECENT_SPEECH_S,
    DiscardPlayback,
    EndActivity,
    EndTurn,
    Nudge,
    Pause,
    Play,
    Reconnect,
    Resume,
    StartActivity,
    TurnOptions,
)
from policy_scenarios import DONE, UNANSWERED, UNFINISHED, UNHEARD, WATCHED, Step, check

STALLS: dict[str, tuple[TurnOptions, list[Step]]] = {
    "speech is not answered": (
        WATCHED,
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (6.9, "time", []),
            (7.0, "time", [UNANSWERED]),
            (99.0, "time", []),
        ],
    ),
    "speech is answered": (
        WATCHED,
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (3.0, "audio", [Play(1)]),
            (3.5, "complete", [EndTurn(1), DONE]),
            (99.0, "time", []),
        ],
    ),
    "a click needs no answer": (
        WATCHED,
        [(0.0, "speech", []), (0.4, "silence", []), (9.0, "time", [])],
    ),
    "silence is meant": (
        TurnOptions(stall_after_s=5.0, may_stay_silent=True),
        [(0.0, "speech", []), (2.0, "silence", []), (9.0, "time", [])],
    ),
    "a function that the model waits for is no stall; its answer is a request": (
        WATCHED,
        [
            (0.0, "text", []),
            (1.0, "calls and waits", []),
            (30.0, "time", []),
            (31.0, "answers who waits", []),
            (35.9, "time", []),
            (36.0, "time", [UNANSWERED]),
        ],
    ),
    "a function that nobody waits for is no stall either": (
        WATCHED,
        [
            (0.0, "text", []),
            (1.0, "calls", []),
            (1.1, "complete", []),  # of the turn that has only called
            (30.0, "time", []),
            (31.0, "answers", []),
            (36.0, "time", [UNANSWERED]),
        ],
    ),
    "the answer to a function is answered": (
        WATCHED,
        [
            (0.0, "text", []),
            (1.0, "calls", []),
            (2.0, "answers", []),
            (3.0, "audio", [Play(1)]),
            (3.5, "complete", [EndTurn(1), DONE]),
            (99.0, "time", []),
        ],
    ),
    "what is said while a function runs is a request of its own": (
        WATCHED,
        [
            (0.0, "calls", []),
            (1.0, "speech", []),
            (2.0, "silence", []),
            (7.0, "time", [UNANSWERED]),
        ],
    ),
    "while the model waits for a function, what is said waits, too": (
        WATCHED,
        [
            (0.0, "calls and waits", []),
            (1.0, "speech", []),
            (2.0, "silence", []),
            (9.0, "time", []),
            (10.0, "cancels who waits", []),
            (14.9, "time", []),
            (15.0, "time", [UNANSWERED]),
        ],
    ),
    "of two functions that are waited for, the second one counts": (
        WATCHED,
        [
            (0.0, "calls and waits", []),
            (0.1, "calls and waits", []),
            (1.0, "answers who waits", []),
            (9.0, "time", []),
            (10.0, "answers who waits", []),
            (15.0, "time", [UNANSWERED]),
        ],
    ),
    "a silent result is no request": (
        WATCHED,
        [
            (0.0, "speech", []),
            (1.0, "silence", []),
            (1.5, "calls", []),
            (2.0, "answers silently", []),
            (2.1, "complete", []),
            (99.0, "time", []),
        ],
    ),
    "a call in the middle of a turn, of which the rest comes with the answer": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "calls and waits", []),
            (20.0, "time", []),
            (21.0, "answers who waits", []),
            (25.9, "time", []),
            (26.0, "time", [UNFINISHED]),
        ],
    ),
    "a call in the middle of a turn, and its answer": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "calls", []),
            (2.0, "answers", []),
            (3.0, "audio", [Play(1)]),
            (3.5, "complete", [EndTurn(1), DONE]),
            (99.0, "time", []),
        ],
    ),
    "mhm over the assistant needs no answer": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (0.2, "complete", [EndTurn(1), DONE]),
            (1.0, "speech*", [Pause()]),
            (1.55, "silence*", []),
            (1.75, "time*", [Resume()]),
            (9.0, "time", []),
        ],
    ),
    "a text is answered by every model": (
        TurnOptions(stall_after_s=5.0, may_stay_silent=True),
        [(0.0, "text", []), (5.0, "time", [UNANSWERED])],
    ),
    "a text that interrupts is owed an answer all the same": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "text*", []),
            (1.1, "audio*", [Play(1)]),
            (1.2, "interrupted*", [DiscardPlayback(1, "server", open=True)]),
            (1.2, "complete", []),
            (6.2, "time", [UNANSWERED]),
        ],
    ),
    "silence after an interruption: the model has gone dead": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "speech*", [Pause()]),
            (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
            (1.3, "complete", []),
            (3.0, "silence", []),
            (8.0, "time", [UNANSWERED]),
        ],
    ),
    "a text is answered in writing, which nobody hears": (
        TurnOptions(stall_after_s=5.0),
        [
            (0.0, "text", []),
            (1.0, "writes", []),
            (1.1, "complete", []),
            (5.9, "time", []),
            (6.0, "time", [UNHEARD]),
        ],
    ),
    "speech is answered in writing, by a model that may stay silent": (
        TurnOptions(stall_after_s=5.0, may_stay_silent=True),
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (3.0, "writes", []),
            (3.0, "generated", []),
            (3.0, "complete", []),
            (8.0, "time", [UNHEARD]),
        ],
    ),
    "what was written is said after all": (
        TurnOptions(stall_after_s=5.0, may_stay_silent=True),
        [
            (0.0, "writes", []),
            (4.0, "audio", [Play(1)]),
            (4.5, "complete", [EndTurn(1), DONE]),
            (99.0, "time", []),
        ],
    ),
    "writing in the middle of a turn": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (4.0, "writes", []),
            (5.0, "time", []),
            (9.0, "time", [UNFINISHED]),
        ],
    ),
    "writing behind a turn that has been sent": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (0.2, "generated", [EndTurn(1)]),
            (0.3, "writes", []),
            (2.0, "complete", [DONE]),
            (99.0, "time", []),
        ],
    ),
    "writing while somebody speaks": (
        TurnOptions(stall_after_s=5.0, may_stay_silent=True),
        [
            (0.0, "speech", []),
            (1.0, "writes", []),
            (7.0, "time", []),
            (8.0, "silence", []),
            (99.0, "time", []),
        ],
    ),
    "the model stops in the middle": (
        TurnOptions(stall_after_s=5.0, may_stay_silent=True),
        [(0.0, "audio", [Play(1)]), (1.0, "audio", [Play(1)]), (6.0, "time", [UNFINISHED])],
    ),
    "who asks again is not answered either": (
        WATCHED,
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (5.0, "speech", []),
            (7.0, "time", []),
            (8.0, "silence", []),
            (13.0, "time", [UNANSWERED]),
        ],
    ),
    "a nudge, and it speaks": (
        TurnOptions(stall_after_s=5.0, nudge=True, reconnect=True),
        [
            (0.0, "text", []),
            (5.0, "time", [UNANSWERED, Nudge()]),
            (6.0, "audio", [Play(1)]),
            (6.1, "complete", [EndTurn(1), DONE]),
            (99.0, "time", []),
        ],
    ),
    "a nudge, and nothing helps": (
        TurnOptions(stall_after_s=5.0, nudge=True, reconnect=True),
        [
            (0.0, "text", []),
            (5.0, "time", [UNANSWERED, Nudge()]),
            (9.9, "time", []),
            (10.0, "time", [Reconnect()]),
            (99.0, "time", []),
        ],
    ),
    "a new connection at once": (
        TurnOptions(stall_after_s=5.0, reconnect=True),
        [(0.0, "text", []), (5.0, "time", [UNANSWERED, Reconnect()])],
    ),
    "the user's turn, marked here, is not answered": (
        TurnOptions(stall_after_s=5.0, may_stay_silent=False, marks_activity=True),
        [
            (0.0, "speech", [StartActivity(0.0)]),
            (2.0, "silence", []),
            (2.3, "time", [EndActivity()]),
            (7.3, "time", [UNANSWERED]),
        ],
    ),
}


def test_work_in_progress_is_no_rest() -> None:
    conversation = check(
        [
            (0.0, "audio", [Play(1)]),
            (0.8, "works", []),
            (0.8, "complete", [EndTurn(1), DONE]),
        ]
    )
    assert conversation.idle_since is None, "the turn was a filler"
    conversation.interaction(5.0, in_progress=False)
    assert conversation.idle_since == 5.0
    conversation.interaction(7.0, in_progress=False)
    assert conversation.idle_since == 5.0, "it said so before"
    conversation.interaction(8.0, in_progress=True)
    conversation.connection_lost(9.0)
    assert conversation.idle_since == 5.0, "another connection has to tell anew"


@pytest.mark.parametrize("name", STALLS)
def test_stalls(name: str) -> None:
    rules, scenario = STALLS[name]
    check(scenario, rules)


def test_old_speech_explains_nothing() -> None:
    for age, expected in (
        (RECENT_SPEECH_S, [DiscardPlayback(1, "server", open=True)]),
        (RECENT_SPEECH_S + 0.1, [Pause()]),
    ):
        conversation = check([(0.0, "speech", []), (1.0, "silence", []), (1.1, "audio", [Play(1)])])
        assert conversation.interrupted(1.0 + age, playing=True) == expected
