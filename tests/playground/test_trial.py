"""Tests of the verdict on a fault: it says what the counters say, and no more."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from getstream.plugins.gemini.live import (
    Closed,
    Disconnected,
    GeminiLive,
    Resumed,
    Stats,
    TurnComplete,
)
from getstream.plugins.gemini.playground import _trial
from getstream.plugins.gemini.playground._trial import SentTurns, Trial, Verdict, judge

BACK = Resumed(gap_ms=312.4, attempts=1, same_session=True, retransmitted_ms=900)


@pytest.fixture(scope="module")
def stats() -> Stats:
    return GeminiLive(api_key="none").stats()


def change(stats: Stats, **counters: Any) -> Stats:
    return dataclasses.replace(stats, **counters)


def test_nothing_was_lost(stats: Stats) -> None:
    verdict = judge(stats, change(stats, retransmitted_ms=900.0), BACK, gone=False, closed=False)
    assert verdict == Verdict(
        "Back after 312 ms and 1 attempt, in the same session. 0.9 s of your voice were sent "
        "again. None of your voice was given up. No queued speech was lost, and no gap in it was "
        "counted.",
        lossless=True,
    )


@pytest.mark.parametrize(
    ("counters", "said"),
    [
        ({"input_dropped_ms": 1500.0}, "1.5 s of your voice were given up."),
        ({"dropped_ms": 2000.0}, "2.0 s of queued speech were dropped."),
        (
            {"dropped_ms": 2000.0, "interruptions": 1},
            "2.0 s of queued speech were dropped by 1 interruption.",
        ),
        ({"overflow_ms": 400.0}, "0.4 s of queued speech were dropped."),
        ({"underruns": 2}, "The assistant's voice ran dry 2 times in mid-turn."),
        ({"playout_underruns": 1}, "too busy 1 time: a gap in it was heard."),
    ],
)
def test_each_loss_is_said(stats: Stats, counters: dict[str, Any], said: str) -> None:
    verdict = judge(stats, change(stats, **counters), BACK, gone=False, closed=False)
    assert said in verdict.text
    assert not verdict.lossless
    assert "nothing" not in verdict.text.lower()


def test_what_was_lost_before_does_not_count(stats: Stats) -> None:
    before = change(stats, input_dropped_ms=700.0, underruns=3)
    assert judge(before, before, BACK, gone=False, closed=False).lossless


def test_a_new_session_an_end_and_no_end(stats: Stats) -> None:
    new = dataclasses.replace(BACK, same_session=False, attempts=4)
    assert "4 attempts, in a new session" in judge(stats, stats, new, gone=False, closed=False).text
    assert "connection stayed" in judge(stats, stats, None, gone=False, closed=False).text
    gone = judge(stats, stats, None, gone=True, closed=False)
    assert ("still no connection" in gone.text, gone.lossless) == (True, False)
    closed = judge(stats, stats, None, gone=False, closed=True)
    assert ("has ended" in closed.text, closed.lossless) == (True, False)


class Follow:
    """A trial, and what it says."""

    def __init__(self, stats: Stats, fault: str = "drop") -> None:
        self.verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.turns = SentTurns()
        self.trial = Trial(fault, lambda: stats, self.turns, self.verdict.set_result)


async def test_it_waits_until_the_assistant_is_back(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_trial, "SETTLE_S", 0.0)
    follow = Follow(stats)
    follow.trial.on_event(Disconnected(reason=None))
    follow.trial.on_event(BACK)
    assert "Back after 312 ms" in (await follow.verdict).text
    follow.trial.on_event(Closed(cause=None))  # a second verdict would raise


@pytest.mark.parametrize(
    ("before", "after", "lossless"), [([], [], False), ([2], [], True), ([], [2], True)]
)
async def test_a_turn_that_was_broken_off_is_a_loss(
    stats: Stats,
    monkeypatch: pytest.MonkeyPatch,
    before: list[int],
    after: list[int],
    lossless: bool,
) -> None:
    """No counter moves; unless the turn was sent before, or its rest comes later, it is said."""
    monkeypatch.setattr(_trial, "SETTLE_S", 0.0)
    follow = Follow(stats)
    for turn in before:
        follow.turns.on_event(TurnComplete(turn=turn, text=""))
    follow.trial.on_event(Disconnected(reason=None, turn=2))
    follow.trial.on_event(BACK)
    for turn in after:
        follow.trial.on_event(TurnComplete(turn=turn, text=""))
    verdict = await follow.verdict
    assert verdict.lossless is lossless
    assert ("in mid-turn" in verdict.text) is not lossless


async def test_a_stall_ends_by_itself(stats: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_trial, "SETTLE_S", 0.0)
    monkeypatch.setattr(_trial, "STALL_S", 0.0)
    assert "connection stayed" in (await Follow(stats, "stall").verdict).text


async def test_it_does_not_wait_for_ever(stats: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_trial, "LONGEST_S", 0.0)
    follow = Follow(stats)
    follow.trial.on_event(Disconnected(reason=None))
    assert "still no connection" in (await follow.verdict).text


async def test_the_end_of_the_session_is_a_verdict(stats: Stats) -> None:
    follow = Follow(stats)
    follow.trial.on_event(Closed(cause=None))
    assert "has ended" in (await follow.verdict).text


async def test_one_that_is_stopped_says_nothing(stats: Stats) -> None:
    follow = Follow(stats)
    follow.trial.stop()
    follow.trial.on_event(Closed(cause=None))
    assert not follow.verdict.done()
