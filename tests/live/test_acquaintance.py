"""Who may be a loudspeaker: the verdicts, on stated times."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from getstream.plugins.gemini.live._acquaintance import (
    QUIET_S,
    SURE_AFTER,
    VERDICT_S,
    Acquaintance,
)


@dataclass
class Stream:
    """What the detector and the guard say."""

    starting: bool = False
    speaking: bool = False
    echo: bool = False
    echo_delay_ms: float | None = None


PIECE_S = 0.020
SILENCE, STARTING, SPEECH = Stream(), Stream(starting=True), Stream(speaking=True)
FOUND = Stream(speaking=True, echo_delay_ms=60.0)
ECHO = Stream(speaking=True, echo=True, echo_delay_ms=60.0)
OVER = Stream(speaking=True, echo_delay_ms=60.0)


def listen(
    *stretches: tuple[Stream, float], sounding: bool = True
) -> tuple[Acquaintance, list[tuple[float, str]]]:
    """Listen to stretches of so many seconds; returns the verdicts and when they came."""
    acquaintance, verdicts, count, silent = Acquaintance(), [], 0, True
    for stream, seconds in stretches:
        for _ in range(round(seconds / PIECE_S)):
            now = count * PIECE_S
            count += 1
            verdict = acquaintance.listen(stream, PIECE_S, sounding=sounding, silent_before=silent)
            silent = not (stream.starting or stream.speaking)
            if verdict is not None:
                verdicts.append((round(now, 3), verdict))
            if acquaintance.known or verdict is not None:
                return acquaintance, verdicts
    return acquaintance, verdicts


def test_who_is_silent_while_the_assistant_speaks_is_known() -> None:
    acquaintance, verdicts = listen((SILENCE, QUIET_S - PIECE_S))
    assert not acquaintance.known
    acquaintance, verdicts = listen((SILENCE, QUIET_S + PIECE_S))
    assert acquaintance.known
    assert not verdicts


def test_nothing_is_learned_while_nobody_is_heard() -> None:
    stretches = ((SILENCE, 60.0), (SPEECH, 2.0))
    acquaintance, verdicts = listen(*stretches, sounding=False)
    assert not acquaintance.known
    assert not acquaintance.doubted
    assert not verdicts


@pytest.mark.parametrize(
    ("stretches", "after", "verdict"),
    [
        pytest.param([(SPEECH, 1.0)], VERDICT_S, "speech", id="a person"),
        pytest.param(
            [(STARTING, 0.04), (SPEECH, 0.2), (SILENCE, 1)], VERDICT_S, "speech", id="mhm"
        ),
        pytest.param([(STARTING, 0.04), (SILENCE, 1.0)], VERDICT_S, "nothing", id="a click"),
        pytest.param(
            [(SPEECH, 0.1), (FOUND, 0.04), (ECHO, 1.0)],
            0.14 + (SURE_AFTER - 1) * PIECE_S,
            "echo",
            id="an echo",
        ),
        pytest.param(
            [(SPEECH, 0.1), (FOUND, 0.04), (ECHO, 0.02), (FOUND, 0.04), (ECHO, 1.0)],
            0.2 + (SURE_AFTER - 1) * PIECE_S,
            "echo",
            id="an echo that is learned",
        ),
        pytest.param([(SPEECH, 0.1), (OVER, 1.0)], VERDICT_S, "speech", id="a person over an echo"),
        pytest.param(
            [(Stream(echo_delay_ms=60.0), 1.0)], VERDICT_S, "echo", id="an echo too soft to notice"
        ),
    ],
)
def test_verdicts(stretches: list[tuple[Stream, float]], after: float, verdict: str) -> None:
    acquaintance, verdicts = listen((SILENCE, 0.5), *stretches)
    assert verdicts == [(pytest.approx(0.5 + after), verdict)]
    assert acquaintance.known == (verdict != "nothing")


def test_who_speaks_before_the_assistant_is_no_echo_of_it() -> None:
    acquaintance = Acquaintance()
    for _ in range(100):
        verdict = acquaintance.listen(SPEECH, PIECE_S, sounding=True, silent_before=False)
        assert verdict is None
        assert not acquaintance.doubted
