"""`TurnPolicy` under the hold of the application, and when a connection is lost."""

from __future__ import annotations

import pytest
from getstream.plugins.gemini.live._turns.policy import (
    DiscardPlayback,
    EndTurn,
    Pause,
    Play,
    Resume,
    TurnOptions,
    Withhold,
)
from policy_scenarios import DONE, DONE2, EMPTY, UNANSWERED, WATCHED, Step, check

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
