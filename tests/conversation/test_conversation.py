"""The rules of `_conversation`, as tables of scenarios and as invariants over random ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from getstream.plugins.gemini.live._conversation import (
    DOUBT,
    DUCK_HOLD,
    HEARD,
    Action,
    CompleteTurn,
    Conversation,
    Drop,
    Duck,
    EndActivity,
    EndTurn,
    Nudge,
    Pause,
    Play,
    Reconnect,
    Resume,
    Rules,
    Stalled,
    StartActivity,
    Unduck,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

Step = tuple[float, str, list[Action]]

DONE = CompleteTurn(1)


def play(conversation: Conversation, now: float, event: str) -> list[Action]:
    """Do what a word of the scenarios says. An `*` at the end: the assistant is audible."""
    playing = event.endswith("*")
    word = event.rstrip("*")
    acts: dict[str, Callable[[], list[Action]]] = {
        "sign": lambda: conversation.speech_starting("anna", playing),
        "nothing": lambda: conversation.speech_dismissed(now, "anna"),
        "speech": lambda: conversation.speech_started(now, "anna", playing),
        "speech2": lambda: conversation.speech_started(now, "ben", playing),
        "lasts": lambda: conversation.speech_sustained(now, "anna"),
        "lasts2": lambda: conversation.speech_sustained(now, "ben"),
        "silence": lambda: conversation.speech_stopped(now, "anna"),
        "silence2": lambda: conversation.speech_stopped(now, "ben"),
        "audio": lambda: conversation.model_content(now),
        "writes": lambda: conversation.model_wrote(now),
        "works": lambda: conversation.interaction(now, in_progress=True),
        "idle": lambda: conversation.interaction(now, in_progress=False),
        "generated": conversation.generation_complete,
        "complete": lambda: conversation.turn_complete(now),
        "interrupted": lambda: conversation.interrupted(now, playing),
        "text": lambda: conversation.text_sent(now),
        "hold": lambda: conversation.interrupt(drop=False),
        "cut": lambda: conversation.interrupt(drop=True),
        "go": conversation.resume,
        "time": lambda: conversation.timeout(now, playing),
    }
    return acts[word]()


def check(scenario: list[Step], rules: Rules | None = None) -> Conversation:
    conversation = Conversation(rules)
    for now, event, expected in scenario:
        assert play(conversation, now, event) == expected, f"{now} {event}"
    return conversation


# The detector reports silence 0.2 s late; playback goes on 0.4 s after the speech; a reply that
# has been received whole is dropped when speech "lasts": the detector has heard 0.6 s of it.
SCENARIOS: dict[str, list[Step]] = {
    "a plain turn": [
        (0.0, "audio", [Play(1)]),
        (0.1, "audio", [Play(1)]),
        (0.2, "generated", [EndTurn(1)]),
        (2.0, "complete", [DONE]),
        (3.0, "audio", [Play(2)]),
    ],
    # -- stages
    "a click: ducked for a moment, nothing lost": [
        (0.0, "audio", [Play(1)]),
        (1.00, "sign*", [Duck()]),
        (1.02, "nothing*", []),
        (1.10, "time*", []),
        (1.22, "time*", [Unduck()]),
    ],
    "signs that flicker keep the duck": [
        (0.0, "audio", [Play(1)]),
        (1.00, "sign*", [Duck()]),
        (1.02, "nothing*", []),
        (1.10, "sign*", []),
        (1.30, "time*", []),
        (1.32, "nothing*", []),
        (1.52, "time*", [Unduck()]),
    ],
    "a sign that holds pauses": [
        (0.0, "audio", [Play(1)]),
        (1.00, "sign*", [Duck()]),
        (1.02, "speech*", [Pause()]),
        (1.40, "silence*", []),
        (1.60, "time*", [Unduck(), Resume()]),
    ],
    "a sign over silence ducks nothing": [
        (0.0, "sign", []),
        (0.1, "speech", []),
        (1.0, "silence", []),
        (1.1, "audio", [Play(1)]),
    ],
    "the assistant falls silent under a duck: the answer comes at full level": [
        (0.0, "audio", [Play(1)]),
        (0.1, "complete", [EndTurn(1), DONE]),
        (1.00, "sign*", [Duck()]),
        (1.02, "speech", [Unduck()]),
        (2.0, "audio", [Play(2)]),
    ],
    "a cough while the model is still sending: pause, go on, nothing lost": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.1, "audio*", [Play(1)]),
        (1.4, "silence*", []),
        (1.5, "time*", []),
        (1.6, "time*", [Resume()]),
        (1.7, "audio*", [Play(1)]),
    ],
    # -- commit
    "the service confirms: the turn is dropped, the next one speaks": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "interrupted*", [Drop(1, "server", open=True), Resume()]),
        (1.3, "complete", []),
        (2.5, "audio", [Play(2)]),
    ],
    "the service confirms what was ducked: the next turn comes at full level": [
        (0.0, "audio", [Play(1)]),
        (1.00, "sign*", [Duck()]),
        (1.02, "speech*", [Pause()]),
        (1.3, "interrupted*", [Drop(1, "server", open=True), Unduck(), Resume()]),
        (2.5, "audio", [Play(2)]),
    ],
    "long speech while the turn is open is not cut here": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.6, "lasts*", []),
        (5.0, "time*", []),
    ],
    "speech over a finished turn: dropped when it lasts, whatever the time": [
        (0.0, "audio", [Play(1)]),
        (0.1, "generated", [EndTurn(1)]),
        (0.2, "complete", [DONE]),
        (1.0, "speech*", [Pause()]),
        (5.5, "time*", []),
        (5.6, "lasts*", [Drop(1, "speech", open=False), Resume()]),
        (6.5, "silence", []),
        (6.6, "audio", [Play(2)]),
    ],
    "short words of two people over a finished turn are not long speech": [
        (0.0, "audio", [Play(1)]),
        (0.2, "complete", [EndTurn(1), DONE]),
        (1.0, "speech*", [Pause()]),
        (1.3, "speech2*", []),
        (1.5, "silence*", []),
        (1.8, "silence2*", []),
        (2.0, "time*", [Resume()]),
    ],
    "the second of two people speaks for long": [
        (0.0, "audio", [Play(1)]),
        (0.2, "complete", [EndTurn(1), DONE]),
        (1.0, "speech*", [Pause()]),
        (1.3, "speech2*", []),
        (1.5, "silence*", []),
        (1.9, "lasts2*", [Drop(1, "speech", open=False), Resume()]),
    ],
    "somebody has spoken for long when the reply comes, and goes on": [
        (0.0, "speech", []),
        (0.6, "lasts", []),
        (1.0, "audio", [Play(1)]),
        (1.1, "complete", [EndTurn(1), DONE]),
        (1.6, "time*", [Pause(), Drop(1, "speech", open=False), Resume()]),
    ],
    "the turn is completed while the user speaks over it": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.2, "generated", [EndTurn(1)]),
        (1.6, "lasts*", []),
        (1.9, "complete", [DONE, Drop(1, "speech", open=False), Resume()]),
    ],
    "a short word over a finished turn, answered before playback goes on": [
        (0.0, "audio", [Play(1)]),
        (0.2, "complete", [EndTurn(1), DONE]),
        (1.0, "speech*", [Pause()]),
        (1.3, "silence*", []),
        (1.4, "audio*", [Drop(1, "speech", open=False), Resume(), Play(2)]),
    ],
    "mhm over a finished turn, not answered": [
        (0.0, "audio", [Play(1)]),
        (0.2, "complete", [EndTurn(1), DONE]),
        (1.0, "speech*", [Pause()]),
        (1.3, "silence*", []),
        (1.5, "time*", [Resume()]),
    ],
    "speech again before playback goes on": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "silence*", []),
        (1.4, "speech*", []),
        (1.5, "time*", []),
        (2.0, "silence*", []),
        (2.2, "time*", [Resume()]),
    ],
    "two people: playback waits for both": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.1, "speech2*", []),
        (1.3, "silence*", []),
        (2.0, "time*", []),
        (2.0, "silence2*", []),
        (2.2, "time*", [Resume()]),
    ],
    "the reply comes inside the detector's hangover and is heard": [
        (0.0, "speech", []),
        (1.0, "audio", [Play(1)]),
        (1.1, "silence*", []),
        (1.6, "time*", []),
    ],
    "the user goes on speaking into the reply": [
        (0.0, "speech", []),
        (1.0, "audio", [Play(1)]),
        (1.6, "time*", [Pause()]),
    ],
    "speech in a stall of the model: the rest waits until it has ended": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech", [Pause()]),
        (1.5, "audio", [Play(1)]),
        (2.0, "silence*", []),
        (2.2, "time*", [Resume()]),
    ],
    # -- interruptions
    "a phantom interruption over silence": [
        (0.0, "interrupted", []),
        (1.0, "audio", [Play(1)]),
        (1.1, "complete", [EndTurn(1), DONE]),
        (9.0, "interrupted", []),
        (9.1, "audio", [Play(2)]),
    ],
    "an interruption that nobody here has heard pauses, and is forgotten": [
        (0.0, "audio", [Play(1)]),
        (1.0, "interrupted*", [Pause()]),
        (1.0, "complete*", [EndTurn(1)]),
        (2.9, "time*", []),
        (3.0, "time*", [Resume(), DONE]),
        (4.0, "audio*", [Play(2)]),
    ],
    "and comes several times": [
        (0.0, "audio", [Play(1)]),
        (0.2, "complete", [EndTurn(1), DONE]),
        (1.0, "interrupted*", [Pause()]),
        (1.1, "interrupted*", []),
        (2.0, "interrupted*", []),
        (3.0, "time*", [Resume()]),
    ],
    "it is confirmed by speech that is heard then": [
        (0.0, "audio", [Play(1)]),
        (1.00, "interrupted*", [Pause()]),
        (1.02, "speech*", [Drop(1, "server", open=True), Resume()]),
        (1.03, "complete", []),
        (2.0, "silence", []),
        (2.5, "audio", [Play(2)]),
    ],
    "it is confirmed by the answer": [
        (0.0, "audio", [Play(1)]),
        (1.0, "interrupted*", [Pause()]),
        (1.0, "complete*", [EndTurn(1)]),
        (2.5, "audio*", [Drop(1, "server", open=True), Resume(), Play(2)]),
    ],
    "it is refuted by more of the same turn": [
        (0.0, "audio", [Play(1)]),
        (1.0, "interrupted*", [Pause()]),
        (1.1, "audio*", [Resume(), Play(1)]),
    ],
    "an interruption that explains itself: speech a moment ago": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.5, "silence*", []),
        (1.7, "time*", [Resume()]),
        (2.0, "interrupted*", [Drop(1, "server", open=True)]),
        (3.0, "audio", [Play(2)]),
    ],
    "an interruption by a text": [
        (0.0, "audio", [Play(1)]),
        (1.0, "text*", []),
        (1.1, "interrupted*", [Drop(1, "server", open=True)]),
        (1.1, "complete", []),
        (1.5, "audio", [Play(2)]),
    ],
    "a late interruption, after the cut was made here: the next turn is not touched": [
        (0.0, "audio", [Play(1)]),
        (0.2, "complete", [EndTurn(1), DONE]),
        (1.0, "speech*", [Pause()]),
        (1.6, "lasts*", [Drop(1, "speech", open=False), Resume()]),
        (1.7, "interrupted", []),
        (2.5, "silence", []),
        (2.6, "audio", [Play(2)]),
    ],
    # -- the application
    "held by the application: speech neither resumes nor pauses it again": [
        (0.0, "audio", [Play(1)]),
        (0.5, "hold*", [Pause()]),
        (0.6, "audio*", [Play(1)]),
        (0.9, "sign*", []),
        (1.0, "speech*", []),
        (1.2, "silence*", []),
        (1.4, "time*", []),
        (3.0, "go*", [Resume()]),
    ],
    "held by the application: speech over it does not drop it either": [
        (0.0, "audio", [Play(1)]),
        (0.2, "complete", [EndTurn(1), DONE]),
        (0.5, "hold*", [Pause()]),
        (1.0, "speech*", []),
        (1.7, "lasts*", []),
        (2.0, "silence*", []),
        (2.5, "audio*", [Play(2)]),
        (3.0, "go*", [Resume()]),
    ],
    "held by the application while paused by speech: it stays held": [
        (0.0, "audio", [Play(1)]),
        (0.2, "complete", [EndTurn(1), DONE]),
        (1.0, "speech*", [Pause()]),
        (1.1, "hold*", []),
        (1.6, "lasts*", []),
        (1.8, "silence*", []),
        (2.0, "time*", []),
        (3.0, "go*", [Resume()]),
    ],
    "held by the application while an interruption is doubted: it stays held": [
        (0.0, "audio", [Play(1)]),
        (1.0, "interrupted*", [Pause()]),
        (1.1, "hold*", []),
        (3.0, "time*", []),
        (4.0, "go*", [Resume()]),
    ],
    "held by the application, interrupted by the service: the next turn speaks": [
        (0.0, "audio", [Play(1)]),
        (0.5, "hold*", [Pause()]),
        (1.0, "interrupted*", [Drop(1, "server", open=True), Resume()]),
        (2.0, "audio", [Play(2)]),
    ],
    "cut by the application: the rest of the turn is not heard, the next one is": [
        (0.0, "audio", [Play(1)]),
        (0.5, "cut*", [Drop(1, "app", open=True)]),
        (0.6, "audio", []),
        (0.7, "generated", [EndTurn(1)]),
        (0.8, "audio", [Play(2)]),
    ],
    "cut by the application, then interrupted by the service": [
        (0.0, "audio", [Play(1)]),
        (0.5, "cut*", [Drop(1, "app", open=True)]),
        (0.6, "interrupted", [Drop(1, "server", open=True)]),
        (0.7, "audio", [Play(2)]),
    ],
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    check(SCENARIOS[name])


# The service's own detection is off: the user's turn ends after 0.5 s of silence.
MARKED: dict[str, list[Step]] = {
    "speech over silence is told at once, its end after 0.5 s": [
        (0.0, "speech", [StartActivity(0.0)]),
        (2.0, "silence", []),
        (2.2, "time", []),
        (2.3, "time", [EndActivity()]),
        (3.0, "audio", [Play(1)]),
    ],
    "a pause for breath does not end the turn": [
        (0.0, "speech", [StartActivity(0.0)]),
        (1.0, "silence", []),
        (1.2, "speech", []),
        (1.4, "time", []),
        (2.0, "silence", []),
        (2.3, "time", [EndActivity()]),
    ],
    "two people speak in one turn": [
        (0.0, "speech", [StartActivity(0.0)]),
        (0.5, "speech2", []),
        (1.0, "silence", []),
        (1.5, "time", []),
        (2.0, "silence2", []),
        (2.3, "time", [EndActivity()]),
    ],
    "mhm over the assistant is not told, and costs nothing": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.4, "silence*", []),
        (1.6, "time*", [Resume()]),
        (1.7, "audio*", [Play(1)]),
    ],
    "speech over an open turn is cut here, and told with what was said": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "audio*", [Play(1)]),
        (1.6, "lasts*", [Drop(1, "speech", open=True), Resume(), StartActivity(1.6 - 1.0)]),
        (1.65, "audio", []),
        (1.7, "interrupted", [Drop(1, "server", open=True)]),
        (1.7, "complete", []),
        (2.5, "silence", []),
        (2.8, "time", [EndActivity()]),
        (3.5, "audio", [Play(2)]),
    ],
    "the cut turn was finished meanwhile: the next one speaks": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.6, "lasts*", [Drop(1, "speech", open=True), Resume(), StartActivity(1.6 - 1.0)]),
        (1.62, "audio", []),
        (1.63, "generated", [EndTurn(1)]),
        (1.64, "complete", []),
        (2.5, "silence", []),
        (2.8, "time", [EndActivity()]),
        (3.5, "audio", [Play(2)]),
    ],
    "an interruption that nothing has caused": [
        (0.0, "audio", [Play(1)]),
        (0.5, "interrupted*", []),
        (0.6, "audio*", [Play(1)]),
        (0.7, "interrupted*", []),
        (0.8, "audio*", [Play(1)]),
    ],
    "held by the application: speech is told at once, and its interruption counts": [
        (0.0, "audio", [Play(1)]),
        (0.5, "hold*", [Pause()]),
        (1.0, "speech*", [StartActivity(0.0)]),
        (1.1, "interrupted*", [Drop(1, "server", open=True), Resume()]),
    ],
}


@pytest.mark.parametrize("name", MARKED)
def test_scenario_without_the_detection_of_the_service(name: str) -> None:
    check(MARKED[name], Rules(marks_activity=True))


def test_without_barge_in_speech_changes_nothing() -> None:
    conversation = check(
        [
            (0.0, "audio", [Play(1)]),
            (0.9, "sign*", []),
            (1.0, "speech*", []),
            (2.0, "audio*", [Play(1)]),
            (2.5, "silence*", []),
            (9.0, "interrupted*", [Drop(1, "server", open=True)]),
        ],
        Rules(barge_in=False),
    )
    assert conversation.next_timeout is None


def test_without_barge_in_and_detection_speech_is_told_at_once() -> None:
    check(
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "speech*", [StartActivity(0.0)]),
            (1.1, "interrupted*", [Drop(1, "server", open=True)]),
        ],
        Rules(barge_in=False, marks_activity=True),
    )


def test_speech_over_silence_sets_no_timer() -> None:
    conversation = check([(0.0, "speech", []), (1.0, "silence", [])])
    assert conversation.next_timeout is None


WATCHED = Rules(stall_after=5.0, may_stay_silent=False)
UNANSWERED, UNFINISHED = Stalled(5.0, unfinished=False), Stalled(5.0, unfinished=True)
STALLS: dict[str, tuple[Rules, list[Step]]] = {
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
        Rules(stall_after=5.0, may_stay_silent=True),
        [(0.0, "speech", []), (2.0, "silence", []), (9.0, "time", [])],
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
        Rules(stall_after=5.0, may_stay_silent=True),
        [(0.0, "text", []), (5.0, "time", [UNANSWERED])],
    ),
    "a text that interrupts is owed an answer all the same": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "text*", []),
            (1.1, "audio*", [Play(1)]),
            (1.2, "interrupted*", [Drop(1, "server", open=True)]),
            (1.2, "complete", []),
            (6.2, "time", [UNANSWERED]),
        ],
    ),
    "silence after an interruption: the model has gone dead": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "speech*", [Pause()]),
            (1.3, "interrupted*", [Drop(1, "server", open=True), Resume()]),
            (1.3, "complete", []),
            (3.0, "silence", []),
            (8.0, "time", [UNANSWERED]),
        ],
    ),
    "a text is answered in writing, which nobody hears": (
        Rules(stall_after=5.0),
        [
            (0.0, "text", []),
            (1.0, "writes", []),
            (1.1, "complete", []),
            (6.0, "time", [UNANSWERED]),
        ],
    ),
    "speech is answered in writing, by a model that may stay silent": (
        Rules(stall_after=5.0, may_stay_silent=True),
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (3.0, "writes", []),
            (3.0, "generated", []),
            (3.0, "complete", []),
            (8.0, "time", [UNANSWERED]),
        ],
    ),
    "what was written is said after all": (
        Rules(stall_after=5.0, may_stay_silent=True),
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
        Rules(stall_after=5.0, may_stay_silent=True),
        [
            (0.0, "speech", []),
            (1.0, "writes", []),
            (7.0, "time", []),
            (8.0, "silence", []),
            (99.0, "time", []),
        ],
    ),
    "the model stops in the middle": (
        Rules(stall_after=5.0, may_stay_silent=True),
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
        Rules(stall_after=5.0, nudge=True, reconnect=True),
        [
            (0.0, "text", []),
            (5.0, "time", [UNANSWERED, Nudge()]),
            (6.0, "audio", [Play(1)]),
            (6.1, "complete", [EndTurn(1), DONE]),
            (99.0, "time", []),
        ],
    ),
    "a nudge, and nothing helps": (
        Rules(stall_after=5.0, nudge=True, reconnect=True),
        [
            (0.0, "text", []),
            (5.0, "time", [UNANSWERED, Nudge()]),
            (9.9, "time", []),
            (10.0, "time", [Reconnect()]),
            (99.0, "time", []),
        ],
    ),
    "a new connection at once": (
        Rules(stall_after=5.0, reconnect=True),
        [(0.0, "text", []), (5.0, "time", [UNANSWERED, Reconnect()])],
    ),
    "the user's turn, marked here, is not answered": (
        Rules(stall_after=5.0, may_stay_silent=False, marks_activity=True),
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
    assert conversation.rests_since is None, "the turn was a filler"
    conversation.interaction(5.0, in_progress=False)
    assert conversation.rests_since == 5.0
    conversation.interaction(7.0, in_progress=False)
    assert conversation.rests_since == 5.0, "it said so before"
    conversation.interaction(8.0, in_progress=True)
    conversation.connection_lost(9.0)
    assert conversation.rests_since == 5.0, "another connection has to tell anew"


@pytest.mark.parametrize("name", STALLS)
def test_stalls(name: str) -> None:
    rules, scenario = STALLS[name]
    check(scenario, rules)


def test_old_speech_explains_nothing() -> None:
    for age, expected in ((HEARD, [Drop(1, "server", open=True)]), (HEARD + 0.1, [Pause()])):
        conversation = check([(0.0, "speech", []), (1.0, "silence", []), (1.1, "audio", [Play(1)])])
        assert conversation.interrupted(1.0 + age, playing=True) == expected


class Listener(RuleBasedStateMachine):
    """A playback that obeys the actions, and what must hold whatever happens."""

    @initialize(
        barge_in=st.booleans(),
        marks_activity=st.booleans(),
        watched=st.booleans(),
        may_stay_silent=st.booleans(),
        nudge=st.booleans(),
    )
    def begin(self, watched: bool, **rules: Any) -> None:
        self.rules = Rules(stall_after=5.0 if watched else None, reconnect=True, **rules)
        self.conversation = Conversation(self.rules)
        self.now = 0.0
        self.held = False
        self.ducked = False
        self.told = False  # the service knows that the user speaks
        self.sent = 0
        self.queue: list[tuple[int, int]] = []  # (turn, chunk)
        self.heard: list[tuple[int, int]] = []
        self.lost: set[int] = set()
        self.cut: set[int] = set()
        self.ended: set[int] = set()
        self.complete_turns: set[int] = set()

    @property
    def playing(self) -> bool:
        return bool(self.queue)

    def obey(self, actions: list[Action], chunk: int | None = None) -> None:
        for action in actions:
            if isinstance(action, Play):
                assert action.turn not in self.cut, "a cut turn speaks again"
                assert action.turn not in self.ended, "audio for a turn that has ended"
                if chunk is not None:
                    self.queue.append((action.turn, chunk))
            elif isinstance(action, EndTurn):
                self.ended.add(action.turn)
            elif isinstance(action, CompleteTurn):
                assert action.turn not in self.cut, "a cut turn is never complete"
                assert action.turn not in self.complete_turns, "and none is so twice"
                self.complete_turns.add(action.turn)
            elif isinstance(action, Duck):
                assert not self.ducked
                assert self.playing
                self.ducked = True
            elif isinstance(action, Unduck):
                assert self.ducked
                self.ducked = False
            elif isinstance(action, Pause):
                assert not self.held
                self.held = True
            elif isinstance(action, Resume):
                assert self.held
                self.held = False
            elif isinstance(action, Drop):
                self.cut |= {turn for turn, _ in self.queue}
                if action.open:
                    self.cut.add(action.turn)
                self.lost |= {chunk for _, chunk in self.queue}
                self.queue.clear()
            elif isinstance(action, StartActivity):
                assert not self.told
                assert action.since >= 0
                self.told = True
            elif isinstance(action, EndActivity):
                assert self.told
                self.told = False
            elif isinstance(action, Nudge):
                assert self.rules.nudge
            elif isinstance(action, Stalled):
                assert self.rules.stall_after is not None

    @rule(seconds=st.sampled_from([0.02, 0.1, 0.3, 1.0, 3.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        steps = 0
        while (due := self.conversation.next_timeout) is not None and due <= end:
            self.now = max(self.now, due)
            self.obey(self.conversation.timeout(self.now, self.playing))
            steps += 1
            assert steps < 50, "a timer that does not go away"
        self.now = end

    @precondition(lambda self: self.queue and not self.held)
    @rule()
    def a_chunk_is_heard(self) -> None:
        self.heard.append(self.queue.pop(0))

    @rule()
    def audio(self) -> None:
        self.sent += 1
        actions = self.conversation.model_content(self.now)
        before = list(self.queue)
        self.obey(actions, self.sent)
        if not any(isinstance(action, Drop) for action in actions):
            assert self.queue[: len(before)] == before, "queued audio was lost without a cut"
        if not any(isinstance(action, Play) for action in actions):
            assert self.conversation.turn in self.cut, "audio of an uncut turn was refused"
            self.lost.add(self.sent)

    @rule()
    def writes(self) -> None:
        self.obey(self.conversation.model_wrote(self.now))

    @rule()
    def generated(self) -> None:
        self.obey(self.conversation.generation_complete())

    @rule()
    def complete(self) -> None:
        self.obey(self.conversation.turn_complete(self.now))

    @rule()
    def interrupted(self) -> None:
        self.obey(self.conversation.interrupted(self.now, self.playing))

    @rule()
    def text(self) -> None:
        self.obey(self.conversation.text_sent(self.now))

    @rule(who=st.sampled_from(["anna", "ben"]))
    def sign(self, who: str) -> None:
        if who not in self.conversation._speakers:
            self.obey(self.conversation.speech_starting(who, self.playing))

    @rule(who=st.sampled_from(["anna", "ben"]))
    def nothing(self, who: str) -> None:
        if who in self.conversation._starting:
            self.obey(self.conversation.speech_dismissed(self.now, who))

    @rule(who=st.sampled_from(["anna", "ben"]))
    def speech(self, who: str) -> None:
        self.obey(self.conversation.speech_started(self.now, who, self.playing))

    @rule(who=st.sampled_from(["anna", "ben"]))
    def lasts(self, who: str) -> None:
        self.obey(self.conversation.speech_sustained(self.now, who))

    @rule(who=st.sampled_from(["anna", "ben"]))
    def silence(self, who: str) -> None:
        self.obey(self.conversation.speech_stopped(self.now, who))

    @rule()
    def hold(self) -> None:
        self.obey(self.conversation.interrupt(drop=False))
        assert self.held

    @rule()
    def resume(self) -> None:
        self.obey(self.conversation.resume())
        assert not self.held
        assert not self.ducked

    @rule()
    def cut_by_the_application(self) -> None:
        self.obey(self.conversation.interrupt(drop=True))
        assert not self.queue
        assert not self.held

    @rule()
    def everybody_falls_silent_and_the_model_speaks(self) -> None:
        """From every state: once nobody holds playback, the next turn of the model is heard."""
        for who in list(self.conversation._starting):
            self.obey(self.conversation.speech_dismissed(self.now, who))
        for who in list(self.conversation._speakers):
            self.obey(self.conversation.speech_stopped(self.now, who))
        if self.conversation.paused_by_app:
            self.obey(self.conversation.resume())
        self.complete()
        self.time_passes(DOUBT + DUCK_HOLD + 10)
        self.audio()
        assert self.queue, "the next turn is queued"
        assert not self.held, "and heard"
        assert not self.ducked, "at full level"

    @invariant()
    def nothing_is_lost_but_by_a_cut(self) -> None:
        if not hasattr(self, "conversation"):
            return
        chunks = [*self.heard, *self.queue]
        assert chunks == sorted(chunks, key=lambda item: item[1]), "in order"
        assert len(chunks) + len(self.lost) == self.sent

    @invariant()
    def no_state_without_a_way_out(self) -> None:
        """Held or ducked by speech: either somebody speaks, or a timer will end it."""
        if not hasattr(self, "conversation"):
            return
        conversation = self.conversation
        assert self.held == conversation.paused
        somebody = conversation._speakers or conversation._starting
        if self.held and not conversation.paused_by_app:
            assert somebody or conversation.next_timeout is not None
        if self.ducked and not self.held:
            assert somebody or conversation._unduck_at is not None


TestListener = Listener.TestCase
TestListener.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
