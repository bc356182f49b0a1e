"""`TurnPolicy` when people speak: duck, pause, resume, discard."""

from __future__ import annotations

import pytest
from getstream.plugins.gemini.live._turns.policy import (
    STALE_S,
    DiscardPlayback,
    Duck,
    EndActivity,
    EndTurn,
    Pause,
    Play,
    Resume,
    StartActivity,
    TurnOptions,
    Unduck,
    Withhold,
)
from policy_scenarios import DONE, DONE2, Step, check

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
