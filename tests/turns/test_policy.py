"""The rules of `_conversation`, as tables of scenarios and as invariants over random ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from getstream.plugins.gemini.live._turns.policy import (
    CUT_GAP_S,
    DUCK_HOLD_S,
    LATE_COMPLETION_S,
    LATE_TRANSCRIPT_S,
    MIN_REQUEST_S,
    NEED_MORE_INPUT,
    RECENT_SPEECH_S,
    SETTLE_S,
    STALE_S,
    UNCONFIRMED_INTERRUPTION_S,
    Action,
    CompleteTurn,
    DiscardPlayback,
    Duck,
    EndActivity,
    EndTurn,
    Nudge,
    Pause,
    Phase,
    Play,
    PlayWithheld,
    Reconnect,
    Resume,
    Stalled,
    StartActivity,
    TurnOptions,
    TurnPolicy,
    Unduck,
    Withhold,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

Step = tuple[float, str, list[Action]]

DONE, DONE2 = CompleteTurn(1), CompleteTurn(2)
REJECTED = "RESPONSE_REJECTED"


def play(conversation: TurnPolicy, now: float, event: str) -> list[Action]:
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
        "generated": lambda: conversation.generation_complete(now),
        "complete": lambda: conversation.turn_complete(now),
        "rejected": lambda: conversation.turn_complete(now, REJECTED),
        "more?": lambda: conversation.turn_complete(now, NEED_MORE_INPUT),
        "sign2": lambda: conversation.speech_starting("ben", playing),
        "nothing2": lambda: conversation.speech_dismissed(now, "ben"),
        "asked": lambda: conversation.user_transcribed(now, playing),
        "played": lambda: conversation.playback_finished(now, conversation.turn),
        "played before": lambda: conversation.playback_finished(now, conversation.turn - 1),
        "lost": lambda: conversation.connection_lost(now),
        "resumed": lambda: conversation.connection_resumed(now),
        "interrupted": lambda: conversation.interrupted(now, playing),
        "at work": lambda: conversation.at_work(now),
        "calls": lambda: conversation.tool_called(now, waits=False),
        "calls and waits": lambda: conversation.tool_called(now, waits=True),
        "answers": lambda: conversation.tool_answered(now, waits=False, expects=True),
        "answers who waits": lambda: conversation.tool_answered(now, waits=True, expects=True),
        "answers silently": lambda: conversation.tool_answered(now, waits=False, expects=False),
        "cancels who waits": lambda: conversation.tool_answered(now, waits=True, expects=False),
        "text": lambda: conversation.text_sent(now),
        "nudge": lambda: conversation.text_sent(now, is_nudge=True),
        "hold": lambda: conversation.interrupt(now, drop=False),
        "cut": lambda: conversation.interrupt(now, drop=True),
        "go": conversation.resume,
        "time": lambda: conversation.timeout(now, playing),
    }
    return acts[word]()


def check(scenario: list[Step], rules: TurnOptions | None = None) -> TurnPolicy:
    conversation = TurnPolicy(rules)
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
        (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
        (1.3, "complete", []),
        (2.5, "audio", [Play(2)]),
    ],
    "the service confirms what was ducked: the next turn comes at full level": [
        (0.0, "audio", [Play(1)]),
        (1.00, "sign*", [Duck()]),
        (1.02, "speech*", [Pause()]),
        (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Unduck(), Resume()]),
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
        (5.6, "lasts*", [DiscardPlayback(1, "speech", open=False), Resume()]),
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
        (1.9, "lasts2*", [DiscardPlayback(1, "speech", open=False), Resume()]),
    ],
    "somebody has spoken for long when the reply comes, and goes on": [
        (0.0, "speech", []),
        (0.6, "lasts", []),
        (1.0, "audio", [Play(1)]),
        (1.1, "complete", [EndTurn(1), DONE]),
        (1.6, "time*", [Pause(), DiscardPlayback(1, "speech", open=False), Resume()]),
    ],
    "the turn is completed while the user speaks over it": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.2, "generated", [EndTurn(1)]),
        (1.6, "lasts*", []),
        (1.9, "complete", [DONE, DiscardPlayback(1, "speech", open=False), Resume()]),
    ],
    "a short word over a finished turn, answered before playback goes on": [
        (0.0, "audio", [Play(1)]),
        (0.2, "complete", [EndTurn(1), DONE]),
        (1.0, "speech*", [Pause()]),
        (1.3, "silence*", []),
        (1.4, "audio*", [DiscardPlayback(1, "speech", open=False), Resume(), Play(2)]),
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
        (1.59, "time*", []),
        (1.6, "time*", [Pause()]),
    ],
    "the user goes on speaking into a reply that has run dry": [
        (0.0, "speech", []),
        (1.0, "audio", [Play(1)]),
        (1.6, "time", []),
    ],
    "the user has finished within the hangover, and another one begins over nothing": [
        (0.0, "speech", []),
        (1.0, "audio", [Play(1)]),
        (1.1, "silence*", []),
        (1.2, "complete", [EndTurn(1), DONE]),
        (1.6, "time*", []),
    ],
    "who has spoken for long speaks a short word": [
        (0.0, "speech", []),
        (0.6, "lasts", []),
        (0.8, "silence", []),
        (1.5, "audio", [Play(1)]),
        (1.6, "complete", [EndTurn(1), DONE]),
        (3.0, "speech*", [Pause()]),
        (3.3, "silence*", []),
        (3.5, "time*", [Resume()]),
    ],
    "who does not speak has not spoken for long": [
        (0.0, "audio", [Play(1)]),
        (0.1, "complete", [EndTurn(1), DONE]),
        (0.5, "lasts*", []),
        (1.0, "speech2*", [Pause()]),
        (1.3, "silence2*", []),
        (1.5, "time*", [Resume()]),
    ],
    "one of two signs was nothing": [
        (0.0, "audio", [Play(1)]),
        (1.0, "sign*", [Duck()]),
        (1.0, "sign2*", []),
        (1.1, "nothing*", []),
        (1.3, "time*", []),
        (1.4, "nothing2*", []),
        (1.59, "time*", []),
        (1.6, "time*", [Unduck()]),
    ],
    "a sign that was nothing while another one is heard": [
        (0.0, "audio", [Play(1)]),
        (1.0, "sign*", [Duck()]),
        (1.0, "sign2*", []),
        (1.1, "speech*", [Pause()]),
        (1.2, "nothing2*", []),
        (1.5, "time*", []),
        (2.0, "silence*", []),
        (2.2, "time*", [Unduck(), Resume()]),
    ],
    "the application goes on at once after speech": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.4, "silence*", []),
        (1.5, "go*", [Resume()]),
        (1.6, "time*", []),
    ],
    "the application goes on before an interruption is believed": [
        (0.0, "audio", [Play(1)]),
        (0.1, "generated", [EndTurn(1)]),
        (1.0, "interrupted*", [Pause()]),
        (1.1, "complete", []),
        (1.5, "go*", [Resume(), DONE]),
        (3.0, "time*", []),
        (4.0, "hold*", [Pause()]),
        (4.1, "go*", [Resume()]),
    ],
    "the application goes on while the user speaks into the reply": [
        (0.0, "speech", []),
        (1.0, "audio", [Play(1)]),
        (1.1, "hold*", [Pause()]),
        (1.2, "go*", [Resume()]),
        (1.6, "time*", []),
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
        (1.1, "generated", [EndTurn(1)]),
        (1.1, "complete", [DONE]),
        (9.0, "interrupted", []),
        (9.1, "audio", [Play(2)]),
    ],
    "an interruption that nobody here has heard pauses, and is forgotten": [
        (0.0, "audio", [Play(1)]),
        (1.0, "interrupted*", [Pause()]),
        (1.0, "complete*", [EndTurn(1)]),
        (2.9, "time*", []),
        (3.0, "time*", [Resume(), DONE]),
        (3.5, "played", []),
        (4.0, "audio", [Play(2)]),
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
        (1.02, "speech*", [DiscardPlayback(1, "server", open=True), Resume()]),
        (1.03, "complete", []),
        (2.0, "silence", []),
        (2.5, "audio", [Play(2)]),
    ],
    "it is confirmed by the answer": [
        (0.0, "audio", [Play(1)]),
        (1.0, "interrupted*", [Pause()]),
        (1.0, "complete*", [EndTurn(1)]),
        (2.5, "audio*", [DiscardPlayback(1, "server", open=True), Resume(), Play(2)]),
        (3.5, "audio*", [Play(2)]),
    ],
    "it is refuted by more of the same turn": [
        (0.0, "audio", [Play(1)]),
        (0.9, "audio*", [Play(1)]),
        (1.0, "interrupted*", [Pause()]),
        (1.1, "audio*", [Play(1)]),
        (1.4, "audio*", [Play(1)]),
        (1.5, "audio*", [Resume(), Play(1)]),
        (1.8, "audio*", [Play(1)]),
        (1.9, "generated", [EndTurn(1)]),
        (2.0, "complete", [DONE]),
    ],
    "an interruption that explains itself: speech a moment ago": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.5, "silence*", []),
        (1.7, "time*", [Resume()]),
        (2.0, "interrupted*", [DiscardPlayback(1, "server", open=True)]),
        (3.0, "audio", [Play(2)]),
    ],
    "an interruption by a text": [
        (0.0, "audio", [Play(1)]),
        (1.0, "text*", []),
        (1.1, "interrupted*", [DiscardPlayback(1, "server", open=True)]),
        (1.1, "complete", []),
        (1.5, "audio", [Play(2)]),
    ],
    "a late interruption, after the cut was made here: the next turn is not touched": [
        (0.0, "audio", [Play(1)]),
        (0.2, "complete", [EndTurn(1), DONE]),
        (1.0, "speech*", [Pause()]),
        (1.6, "lasts*", [DiscardPlayback(1, "speech", open=False), Resume()]),
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
        (1.2, "audio*", [Play(2)]),
        (1.3, "complete*", [EndTurn(2), DONE2]),
        (1.6, "lasts*", []),
        (1.8, "silence*", []),
        (2.0, "time*", []),
        (3.0, "go*", [Resume()]),
    ],
    "held by the application while an interruption is doubted: it stays held": [
        (0.0, "audio", [Play(1)]),
        (1.0, "interrupted*", [Pause()]),
        (1.1, "hold*", []),
        (3.0, "time*", [EndTurn(1), DONE]),
        (4.0, "go*", [Resume()]),
    ],
    "held by the application, interrupted by the service: the next turn speaks": [
        (0.0, "audio", [Play(1)]),
        (0.5, "hold*", [Pause()]),
        (1.0, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
        (2.0, "audio", [Play(2)]),
    ],
    "cut by the application: the rest of the turn is not heard, the next one is": [
        (0.0, "audio", [Play(1)]),
        (0.5, "cut*", [DiscardPlayback(1, "app", open=True)]),
        (0.6, "audio", []),
        (0.7, "generated", [EndTurn(1)]),
        (0.8, "audio", [Play(2)]),
    ],
    "cut by the application, then interrupted by the service": [
        (0.0, "audio", [Play(1)]),
        (0.5, "cut*", [DiscardPlayback(1, "app", open=True)]),
        (0.6, "interrupted", []),
        (0.62, "audio", [Withhold()]),
        (0.65, "complete", []),
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
        (
            1.6,
            "lasts*",
            [DiscardPlayback(1, "speech", open=True), Resume(), StartActivity(1.6 - 1.0)],
        ),
        (1.65, "audio", []),
        (1.7, "interrupted", []),
        (1.7, "complete", []),
        (2.5, "silence", []),
        (2.8, "time", [EndActivity()]),
        (3.5, "audio", [Play(2)]),
    ],
    "the cut turn was finished meanwhile: the next one speaks": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (
            1.6,
            "lasts*",
            [DiscardPlayback(1, "speech", open=True), Resume(), StartActivity(1.6 - 1.0)],
        ),
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
        (1.1, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
    ],
}


@pytest.mark.parametrize("name", MARKED)
def test_scenario_without_the_detection_of_the_service(name: str) -> None:
    check(MARKED[name], TurnOptions(marks_activity=True))


def test_without_barge_in_speech_changes_nothing() -> None:
    conversation = check(
        [
            (0.0, "audio", [Play(1)]),
            (0.9, "sign*", []),
            (1.0, "speech*", []),
            (2.0, "audio*", [Play(1)]),
            (2.5, "silence*", []),
            (9.0, "interrupted*", [DiscardPlayback(1, "server", open=True)]),
        ],
        TurnOptions(barge_in=False),
    )
    assert conversation.next_timeout == 9.0 + STALE_S


def test_without_barge_in_and_detection_speech_is_told_at_once() -> None:
    check(
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "speech*", [StartActivity(0.0)]),
            (1.1, "interrupted*", [DiscardPlayback(1, "server", open=True)]),
        ],
        TurnOptions(barge_in=False, marks_activity=True),
    )


def test_speech_over_silence_sets_no_timer() -> None:
    conversation = check([(0.0, "speech", []), (1.0, "silence", [])])
    assert conversation.next_timeout is None


WATCHED = TurnOptions(stall_after_s=5.0, may_stay_silent=False)
UNANSWERED, UNFINISHED = Stalled(5.0, "unanswered"), Stalled(5.0, "unfinished")
UNHEARD, EMPTY = Stalled(5.0, "unheard"), Stalled(5.0, "empty")
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


# -- the hold of the application -------------------------------------------------------------------

HELD: dict[str, list[Step]] = {
    "an interruption of nothing": [
        (0.0, "hold", [Pause()]),
        (1.0, "interrupted", []),
        (1.0, "complete", []),
    ],
    "an interruption of what was heard whole": [
        (0.0, "audio", [Play(1)]),
        (0.1, "generated", [EndTurn(1)]),
        (1.0, "hold", [Pause()]),
        (2.0, "interrupted", [DONE]),
    ],
    "speech": [
        (0.0, "audio", [Play(1)]),
        (1.0, "hold*", [Pause()]),
        (2.0, "speech*", []),
        (3.0, "lasts*", []),
        (4.0, "silence*", []),
        (5.0, "time*", []),
    ],
    "an interruption that is not believed": [
        (0.0, "audio", [Play(1)]),
        (1.0, "interrupted*", [Pause()]),
        (1.1, "hold*", []),
        (3.0, "time*", [EndTurn(1), DONE]),
    ],
    "an interruption that more of the turn refutes": [
        (0.0, "audio", [Play(1)]),
        (1.0, "interrupted*", [Pause()]),
        (1.1, "hold*", []),
        (1.3, "audio*", [Play(1)]),
        (1.7, "audio*", [Play(1)]),
    ],
    "the end of the connection": [
        (0.0, "audio", [Play(1)]),
        (1.0, "hold*", [Pause()]),
        (2.0, "lost*", [EndTurn(1)]),
        (3.0, "resumed*", []),
    ],
}


@pytest.mark.parametrize("name", HELD)
def test_the_application_holds_against(name: str) -> None:
    conversation = check(HELD[name])
    assert conversation.paused_by_app
    assert conversation.resume() == [Resume()]


# -- the end of a connection -----------------------------------------------------------------------

LOST: dict[str, tuple[TurnOptions, list[Step]]] = {
    "in the middle of a turn": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "lost", [EndTurn(1)]),
            (2.0, "resumed", []),
            (99.0, "time", []),
            (99.0, "complete", []),
            (99.5, "audio", [Play(2)]),
            (99.6, "complete", [EndTurn(2), DONE2]),
        ],
    ),
    "after a turn was sent": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (0.1, "generated", [EndTurn(1)]),
            (1.0, "lost*", [DONE]),
            (2.0, "resumed*", []),
            (3.0, "audio", [Play(2)]),
            (3.1, "complete", [EndTurn(2), DONE2]),
        ],
    ),
    "in a turn that was cut": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (0.5, "cut*", [DiscardPlayback(1, "app", open=True)]),
            (1.0, "lost", [EndTurn(1)]),
            (2.0, "audio", [Play(2)]),
        ],
    ),
    "after an interruption": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "speech*", [Pause()]),
            (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
            (1.4, "audio", [Withhold()]),
            (1.5, "lost", []),
            (1.6, "audio", [Play(2)]),
            (1.7, "complete", [EndTurn(2), DONE2]),
        ],
    ),
    "while a text waits for its answer": (
        WATCHED,
        [
            (0.0, "text", []),
            (1.0, "lost", []),
            (99.0, "time", []),
            (99.0, "resumed", []),
            (103.9, "time", []),
            (104.0, "time", [UNANSWERED]),
        ],
    ),
    "while a text in a turn waits for its answer": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "text*", []),
            (2.0, "lost*", [EndTurn(1)]),
            (3.0, "resumed*", []),
            (8.0, "time", [UNANSWERED]),
        ],
    ),
    "while speech waits for its answer": (
        WATCHED,
        [
            (0.0, "speech", []),
            (2.0, "silence", []),
            (3.0, "lost", []),
            (4.0, "resumed", []),
            (9.0, "time", [UNANSWERED]),
        ],
    ),
    "while somebody speaks": (
        WATCHED,
        [
            (0.0, "text", []),
            (1.0, "speech", []),
            (3.0, "lost", []),
            (4.0, "resumed", []),
            (9.0, "time", []),
            (10.0, "silence", []),
            (15.0, "time", [UNANSWERED]),
        ],
    ),
    "while an interruption is unconfirmed": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "interrupted*", [Pause()]),
            (1.5, "lost*", [EndTurn(1), Resume()]),
            (9.0, "time*", []),
            (9.5, "audio*", [Play(2)]),
        ],
    ),
    "while an interruption of a turn that was sent is unconfirmed": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (0.5, "generated", [EndTurn(1)]),
            (1.0, "interrupted*", [Pause()]),
            (1.5, "lost*", [Resume(), DONE]),
            (9.0, "time*", []),
        ],
    ),
    "while an interruption of a turn that is complete is unconfirmed": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "interrupted*", [Pause()]),
            (1.1, "complete*", [EndTurn(1)]),
            (1.5, "lost*", [Resume(), DONE]),
            (9.0, "time*", []),
        ],
    ),
    "while somebody speaks over a turn": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (1.0, "speech*", [Pause()]),
            (1.6, "lasts*", []),
            (1.7, "lost*", [EndTurn(1), DiscardPlayback(1, "speech", open=False), Resume()]),
        ],
    ),
    "no turn_complete comes late over another connection": (
        WATCHED,
        [
            (0.0, "audio", [Play(1)]),
            (0.1, "generated", [EndTurn(1)]),
            (1.0, "speech*", [Pause()]),
            (1.3, "interrupted*", [DiscardPlayback(1, "server", open=True), Resume()]),
            (1.5, "lost", []),
            (1.6, "silence", []),
            (2.0, "resumed", []),
            (3.0, "complete", []),
            (8.0, "time", [EMPTY]),
        ],
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_the_connection_is_lost(name: str) -> None:
    rules, scenario = LOST[name]
    conversation = check(scenario, rules)
    assert not conversation.paused


# -- answers that fail -----------------------------------------------------------------------------

PROACTIVE = TurnOptions(stall_after_s=5.0, may_stay_silent=True)
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


MARKED_AND_WATCHED = TurnOptions(stall_after_s=5.0, may_stay_silent=True, marks_activity=True)


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


# -- what is known of it ---------------------------------------------------------------------------


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
        self.rules = TurnOptions(stall_after_s=5.0 if watched else None, reconnect=True, **rules)
        self.conversation = TurnPolicy(self.rules)
        self.now = 0.0
        self.withheld: list[int] = []
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
        self.calls: list[bool] = []  # of functions: whether the model waits

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
            elif isinstance(action, Withhold):
                assert chunk is not None
                self.withheld.append(chunk)
            elif isinstance(action, PlayWithheld):
                assert self.withheld
                assert action.turn not in self.cut | self.ended
                self.queue += [(action.turn, each) for each in self.withheld]
                self.withheld.clear()
            elif isinstance(action, EndTurn):
                self.ended.add(action.turn)
                self.note_played_out(action.turn)
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
            elif isinstance(action, DiscardPlayback):
                self.cut |= {turn for turn, _ in self.queue}
                if action.open:
                    self.cut.add(action.turn)
                self.lost |= {chunk for _, chunk in self.queue}
                self.queue.clear()
            elif isinstance(action, StartActivity):
                assert not self.told
                assert action.since_s >= 0
                self.told = True
            elif isinstance(action, EndActivity):
                assert self.told
                self.told = False
            elif isinstance(action, Nudge):
                assert self.rules.nudge
            elif isinstance(action, Stalled):
                assert self.rules.stall_after_s is not None
                assert action.reason != "unanswered" or not any(self.calls)
                assert action.waited_s >= 0
        if self.withheld and self.conversation.phase is not Phase.STALE:
            self.lost |= set(self.withheld)
            self.withheld.clear()

    def note_played_out(self, turn: int) -> None:
        if turn in self.ended and not any(each == turn for each, _ in self.queue):
            self.obey(self.conversation.playback_finished(self.now, turn))

    @rule(waits=st.booleans())
    def a_function_is_called(self, waits: bool) -> None:
        self.calls.append(waits)
        self.obey(self.conversation.tool_called(self.now, waits))
        assert self.conversation.idle_since is None

    @precondition(lambda self: self.calls)
    @rule(expects=st.booleans())
    def a_function_is_answered(self, expects: bool) -> None:
        self.obey(self.conversation.tool_answered(self.now, self.calls.pop(), expects))

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
        self.note_played_out(self.heard[-1][0])

    @rule()
    def audio(self) -> None:
        self.sent += 1
        actions = self.conversation.model_content(self.now)
        before = list(self.queue)
        self.obey(actions, self.sent)
        if not any(isinstance(action, DiscardPlayback) for action in actions):
            assert self.queue[: len(before)] == before, "queued audio was lost without a cut"
        if not actions:
            assert self.conversation.turn in self.cut, "audio of an uncut turn was refused"
            self.lost.add(self.sent)

    @rule()
    def writes(self) -> None:
        self.obey(self.conversation.model_wrote(self.now))

    @rule()
    def generated(self) -> None:
        self.obey(self.conversation.generation_complete(self.now))

    @rule()
    def complete(self) -> None:
        self.obey(self.conversation.turn_complete(self.now))

    @rule(reason=st.sampled_from([REJECTED, NEED_MORE_INPUT]))
    def complete_for_a_reason(self, reason: str) -> None:
        self.obey(self.conversation.turn_complete(self.now, reason))

    @rule()
    def transcribed(self) -> None:
        self.obey(self.conversation.user_transcribed(self.now, self.playing))

    @rule()
    def another_connection(self) -> None:
        self.obey(self.conversation.connection_lost(self.now))
        assert self.conversation.phase is Phase.IDLE
        self.obey(self.conversation.connection_resumed(self.now))

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
        self.obey(self.conversation.interrupt(self.now, drop=False))
        assert self.held

    @rule()
    def resume(self) -> None:
        self.obey(self.conversation.resume())
        assert not self.held
        assert not self.ducked

    @rule()
    def cut_by_the_application(self) -> None:
        self.obey(self.conversation.interrupt(self.now, drop=True))
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
        self.time_passes(UNCONFIRMED_INTERRUPTION_S + DUCK_HOLD_S + SETTLE_S + 10)
        assert self.conversation.phase is Phase.IDLE
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
        assert len(chunks) + len(self.lost) + len(self.withheld) == self.sent

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
            assert somebody or "unduck" in conversation._deadlines
        if self.withheld:
            assert "stale" in conversation._deadlines


TestListener = Listener.TestCase
TestListener.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
