"""Judge by the counters what a fault has cost, once the assistant is back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from ..live import Closed, Disconnected, Event, Observer, Resumed, Stats, TurnComplete
from ._faults import STALL_S

__all__ = ["SentTurns", "Trial", "Verdict", "judge"]

SETTLE_S = 1.0
"""Seconds from the new connection to the verdict: what waited has been sent again by then, and
audio that ran dry has been counted."""

LONGEST_S = 60.0
"""Seconds until a verdict is given without the assistant being back. An announced end takes 8 s
and the end of the turn that is being said."""

_LOSSES = ("input_dropped_ms", "dropped_ms", "overflow_ms", "underruns", "playout_underruns")


@dataclass(frozen=True)
class Verdict:
    """Judgement of one fault.

    Attributes:
        text: what happened, in sentences for a person.
        lossless: whether no counter of a loss has moved, and no turn was broken off.
    """

    text: str
    lossless: bool


class SentTurns(Observer):
    """Observer that knows which turn of the model was sent to its end, for all of a visit.

    No counter tells that a connection took the rest of a turn with it.

    Attributes:
        ended: number of the newest turn that the service has completed, or that was interrupted.
    """

    event_names = frozenset({"turn_complete", "interrupted"})

    def __init__(self) -> None:
        self.ended = 0

    def on_event(self, event: Event) -> None:
        """Note the end of a turn."""
        self.ended = max(self.ended, event.turn)


class _Stage(Enum):
    WAITING = auto()  # for the connection to go
    GONE = auto()
    SETTLING = auto()
    OVER = auto()


class Trial(Observer):
    """Observer from a fault to its verdict.

    Args:
        fault: name of the fault.
        stats: returns the counters; those of now are what the later ones are compared with.
        turns: knows what was sent before.
        on_verdict: called once with the verdict, on the event loop.
    """

    event_names = frozenset({"disconnected", "resumed", "closed", "turn_complete"})

    def __init__(
        self,
        fault: str,
        stats: Callable[[], Stats],
        turns: SentTurns,
        on_verdict: Callable[[Verdict], None],
    ) -> None:
        self._stats = stats
        self._before = stats()
        self._on_verdict = on_verdict
        self._turns = turns
        self._unfinished: int | None = None  # the turn that the connection broke off
        self._resumed: Resumed | None = None
        self._closed = False
        self._stage = _Stage.WAITING
        # A stall ends by itself, and the connection stays.
        self._timer = self._call_later(STALL_S + SETTLE_S if fault == "stall" else LONGEST_S)

    def on_event(self, event: Event) -> None:
        """Follow the connection."""
        if self._stage is _Stage.OVER:
            return
        if isinstance(event, Disconnected):
            if event.turn > self._turns.ended:
                self._unfinished = event.turn
            self._set(_Stage.GONE, LONGEST_S)
        elif isinstance(event, Resumed):
            self._resumed = event
            self._set(_Stage.SETTLING, SETTLE_S)
        elif isinstance(event, TurnComplete):
            if event.turn == self._unfinished:
                self._unfinished = None
        elif isinstance(event, Closed):
            self._closed = True
            self._finish()

    def stop(self) -> None:
        """End without a verdict: another fault, or the end of the visit."""
        self._set(_Stage.OVER, None)

    def _set(self, stage: _Stage, verdict_in_s: float | None) -> None:
        self._stage = stage
        self._timer.cancel()
        if verdict_in_s is not None:
            self._timer = self._call_later(verdict_in_s)

    def _call_later(self, seconds: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._finish)

    def _finish(self) -> None:
        gone = self._stage is _Stage.GONE
        self._set(_Stage.OVER, None)
        after = self._stats()
        self._on_verdict(
            judge(
                self._before,
                after,
                self._resumed,
                gone=gone,
                closed=self._closed,
                unfinished=self._unfinished is not None,
            )
        )


def judge(
    before: Stats,
    after: Stats,
    resumed: Resumed | None,
    *,
    gone: bool,
    closed: bool,
    unfinished: bool = False,
) -> Verdict:
    """Return the verdict on what happened between two snapshots.

    Args:
        before: counters when the fault was made.
        after: counters when all was over.
        resumed: the event of the new connection; None if there was none.
        gone: whether there was no connection in the end.
        closed: whether the session has ended.
        unfinished: whether the connection broke a turn off, and its rest never came.
    """
    lost = {name: getattr(after, name) - getattr(before, name) for name in _LOSSES}
    sentences = [_connection(resumed, gone=gone, closed=closed)]
    again = after.retransmitted_ms - before.retransmitted_ms
    if again:
        sentences.append(f"{again / 1000:.1f} s of your voice were sent again.")
    if lost["input_dropped_ms"]:
        sentences.append(f"{lost['input_dropped_ms'] / 1000:.1f} s of your voice were given up.")
    else:
        sentences.append("None of your voice was given up.")
    if unfinished:
        sentences.append("The service was in mid-turn, and has not sent the rest of it.")
    dropped = lost["dropped_ms"] + lost["overflow_ms"]
    if dropped:
        cut = after.interruptions - before.interruptions
        why = f" by {_count(cut, 'interruption')}" if cut else ""
        sentences.append(f"{dropped / 1000:.1f} s of queued speech were dropped{why}.")
    if lost["underruns"]:
        sentences.append(
            f"The assistant's voice ran dry {_count(lost['underruns'], 'time')} in mid-turn."
        )
    if lost["playout_underruns"]:
        sentences.append(
            f"This machine was too busy {_count(lost['playout_underruns'], 'time')}: a gap in it "
            "was heard."
        )
    if not any(lost[name] for name in _LOSSES[1:]):
        sentences.append("No queued speech was lost, and no gap in it was counted.")
    lossless = not (gone or closed or unfinished or any(lost.values()))
    return Verdict(" ".join(sentences), lossless)


def _connection(resumed: Resumed | None, *, gone: bool, closed: bool) -> str:
    if closed:
        return "The session has ended."
    if gone:
        return "There is still no connection."
    if resumed is None:
        return "The connection stayed."
    where = "in the same session" if resumed.same_session else "in a new session"
    tries = _count(resumed.attempts, "attempt")
    return f"Back after {resumed.gap_ms:.0f} ms and {tries}, {where}."


def _count(number: float, noun: str) -> str:
    return f"{number:.0f} {noun}" if number == 1 else f"{number:.0f} {noun}s"
