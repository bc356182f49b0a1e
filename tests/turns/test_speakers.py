"""Who speaks in a transcript, from when the detector has heard whom."""

from __future__ import annotations

import pytest
from getstream.plugins.gemini.live._turns.speakers import (
    LONGEST_PIECE_S,
    MAX_STRETCHES,
    Attribution,
    SpeakerLog,
)

NOBODY = float("-inf")


def log_of(*stretches: tuple[str, float, float | None]) -> SpeakerLog:
    """Return a log of stretches of speech: user id, begin, end (None: it goes on)."""
    log = SpeakerLog()
    for user_id, started_at, ended_at in stretches:
        log.started(f"track of {user_id}", user_id, started_at)
        if ended_at is not None:
            log.stopped(f"track of {user_id}", ended_at)
    return log


@pytest.mark.parametrize(
    ("stretches", "since", "until", "expected"),
    [
        pytest.param([], NOBODY, 5.0, Attribution(), id="nobody was heard"),
        pytest.param([("anna", 1, 3)], NOBODY, 4, Attribution(("anna",), 1, 3), id="one"),
        pytest.param([("anna", 1, None)], NOBODY, 4, Attribution(("anna",), 1, 4), id="goes on"),
        pytest.param(
            [("anna", 1, 3), ("ben", 6, 8)], 4, 8.5, Attribution(("ben",), 6, 8), id="the next one"
        ),
        pytest.param(
            [("anna", 0, 5), ("ben", 6, 6.5)], 5.5, 7, Attribution(("ben",), 6, 6.5), id="a reply"
        ),
        pytest.param(
            [("anna", 0, 2), ("ben", 2.2, None)],
            1.8,
            3.0,
            Attribution(("ben", "anna"), 0, 3.0),
            id="it may be the end of what was said before",
        ),
        pytest.param(
            [("anna", 1, 3), ("ben", 1, 3)],
            NOBODY,
            3.5,
            Attribution(("anna", "ben"), 1, 3),
            id="at once",
        ),
        pytest.param(
            [("anna", 1, 3), ("anna", 6, 8)],
            3.3,  # the text came sooner than `LAG_S` after its words
            8.5,
            Attribution(("anna",), 6, 8),
            id="the next one of the same",
        ),
        pytest.param(
            [("anna", 1, 3)], 3.3, 4, Attribution(("anna",), 1, 3), id="the rest of the same"
        ),
        pytest.param(
            [("anna", 1, 5), ("ben", 2, 2.5)],
            NOBODY,
            5.5,
            Attribution(("anna",), 1, 5),
            id="a cough does not count",
        ),
        pytest.param(
            [("ben", 1, 9), ("anna", 100, 103)],
            NOBODY,
            104,
            Attribution(("anna",), 100, 103),
            id="long ago",
        ),
        pytest.param([("anna", 1, 3)], 4, 8, Attribution(), id="already transcribed"),
        pytest.param([("anna", 9, None)], NOBODY, 8, Attribution(), id="later than the text"),
    ],
)
def test_attribution(
    stretches: list[tuple[str, float, float | None]],
    since: float,
    until: float,
    expected: Attribution,
) -> None:
    log = log_of(*stretches)
    assert log.attribute(since, until) == expected


def test_two_tracks_of_one_participant_are_one() -> None:
    log = SpeakerLog()
    log.started("microphone", "anna", 1)
    log.started("screen", "anna", 1)
    assert log.attribute(NOBODY, 2).user_ids == ("anna",)


def test_events_that_do_not_match_do_no_harm() -> None:
    log = SpeakerLog()
    log.stopped("a", 1)
    assert not log.is_speech
    log.started("a", "anna", 2)
    log.started("a", "anna", 3)  # the stop was lost
    log.stopped("a", 2.5)  # before its begin
    assert not log.is_speech
    assert log.attribute(NOBODY, 4) == Attribution(("anna",), 2, 3)


def test_the_memory_is_bounded() -> None:
    log = SpeakerLog()
    for second in range(3 * MAX_STRETCHES):
        log.started("a", "anna", second)
        log.stopped("a", second + 0.5)
    assert len(log._stretches) == MAX_STRETCHES
    until = 3 * MAX_STRETCHES
    assert log.attribute(NOBODY, until).started_at == until - LONGEST_PIECE_S
