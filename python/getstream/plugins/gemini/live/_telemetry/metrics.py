"""Measure the turns of one session: delays from local speech detection, tokens, cost.

Nothing here is called for each frame. What is called are decisions of the speech detector, the
begin and the end of turns, reports of tokens, and the events of tools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._timing import VAD_HANGOVER_MS
from .._tokens import TokenUsage
from .latency import Latency, new_samples, percentiles_of
from .observer import Observer
from .prices import Cost, estimate_cost

if TYPE_CHECKING:
    from .._events import Event

LONGEST_ANSWER_S = 30.0
"""Seconds after the end of somebody's speech for which a turn is taken for the answer to it. The
slowest answers that users report took 15 s; later, the model has begun on its own."""

MOST_PENDING_TURNS = 8
"""Turns whose end is waited for. One may play while others are sent behind it; more are faults."""

MOST_PENDING_CALLS = 256
"""Calls of tools whose result is waited for; the oldest is forgotten first."""


@dataclass
class _Turn:
    """A turn whose numbers are not complete yet.

    Attributes:
        turn: its number.
        began_at: when its first audio came.
        speech_ended_at: when the speech ended that it answers; None if it answers none.
        awaits_end: somebody was speaking when it began, and the detector had not told the end yet.
        sample_at: when its first sample is played.
        is_complete: the service has ended it.
        is_played: nothing of it is left to be played.
    """

    turn: int
    began_at: float
    tokens: TokenUsage
    tool_calls: list[str]
    tool_ms: float | None
    speech_ended_at: float | None = None
    awaits_end: bool = False
    sample_at: float | None = None
    barge_in_ms: float | None = None
    interrupted: bool = False
    heard_ms: float = 0.0
    is_complete: bool = False
    is_played: bool = False


@dataclass
class _ToolCall:
    """A call of a tool whose result has not come."""

    at: float
    turn: _Turn | None


@dataclass
class _Carried:
    """Holds numbers that have come before the turn that they belong to."""

    tokens: TokenUsage = field(default_factory=TokenUsage)
    tool_calls: list[str] = field(default_factory=list)
    tool_ms: float | None = None


class SessionMetrics(Observer):
    """Collects the numbers of one session.

    Times are seconds of the event loop's clock.

    Args:
        model: the name of the model, for its prices.

    Attributes:
        tokens: all that the service has reported.
        send_queue_ms: ages of frames; the send queue appends to it.
        jitter_of: returns the delays of a participant's jitter buffers, in milliseconds.
    """

    event_names = frozenset({"tool_call", "tool_result", "tool_cancelled"})

    def __init__(self, model: str) -> None:
        self.tokens = TokenUsage()
        self.send_queue_ms = new_samples()
        self.jitter_of: Callable[[str], Iterable[float]] = lambda user_id: ()
        self._model = model
        self._first_audio_ms = new_samples()
        self._first_sample_ms = new_samples()
        self._tool_ms = new_samples()
        self._barge_in_ms = new_samples()
        self._jitter_ms = new_samples()
        self._turns: list[_Turn] = []  # oldest first
        self._carried = _Carried()
        self._calls: dict[str, _ToolCall] = {}
        self._speaking: set[str] = set()
        self._signs: dict[str, float] = {}  # when each of those who may speak was first heard
        self._silenced_sign: float | None = None  # the sign after which the output was silenced
        self._is_silenced = False  # because of speech, and somebody's turn is held
        self._speech_ended_at: float | None = None  # of speech that is not answered yet

    def latency(self) -> Latency:
        """Return the percentiles of all delays."""
        return Latency(
            first_audio_ms=percentiles_of(self._first_audio_ms),
            first_sample_ms=percentiles_of(self._first_sample_ms),
            tool_ms=percentiles_of(self._tool_ms),
            barge_in_ms=percentiles_of(self._barge_in_ms),
            send_queue_ms=percentiles_of(self.send_queue_ms),
            jitter_ms=percentiles_of(self._jitter_ms),
        )

    def cost(self) -> Cost | None:
        """Return an estimate of the cost of all tokens; None for a model without a known price."""
        return estimate_cost(self._model, self.tokens)

    def add_usage(self, usage: TokenUsage) -> None:
        """Count tokens: those of the newest turn, or of the next one if that one has ended.

        The service reports each generation once, with all that it has read (seen on three models
        in 2026), so that reports add up.
        """
        self.tokens += usage
        place = self._open_turn() or self._carried
        place.tokens += usage

    # -- speech --------------------------------------------------------------------------------

    def on_speech(self, at: float, user_id: str, phase: str) -> None:
        """Note who speaks, and when speech has ended."""
        if phase in ("starting", "started"):
            self._note_sign(at, user_id)
        if phase == "dismissed":
            self._signs.pop(user_id, None)
        elif phase == "started":
            self._speaking.add(user_id)
        elif phase == "stopped":
            self._signs.pop(user_id, None)
            self._speaking.discard(user_id)
            self._jitter_ms.extend(self.jitter_of(user_id))
            self._note_end_of_speech(at - VAD_HANGOVER_MS / 1000)

    def _note_sign(self, at: float, user_id: str) -> None:
        """Note that somebody may speak; not every speech that starts was starting before."""
        if user_id in self._signs:
            return
        self._signs[user_id] = at
        if self._is_silenced:  # the service has heard it first
            self.silence(at)

    def _note_end_of_speech(self, ended_at: float) -> None:
        for turn in self._turns:
            if turn.awaits_end:
                turn.awaits_end = False
                if ended_at <= turn.began_at:  # the service has noticed it before the detector
                    self._answer(turn, ended_at)
                    return
        self._speech_ended_at = ended_at

    def forget_speech(self) -> None:
        """Forget speech that is not answered: what comes now may answer a text."""
        self._speech_ended_at = None

    # -- turns ---------------------------------------------------------------------------------

    def begin_turn(self, at: float, turn: int) -> None:
        """Note that the first audio of a turn has come."""
        for before in self._turns:
            before.is_complete = True
        carried, self._carried = self._carried, _Carried()
        new = _Turn(turn, at, carried.tokens, carried.tool_calls, carried.tool_ms)
        self._turns.append(new)
        ended_at, self._speech_ended_at = self._speech_ended_at, None
        if ended_at is not None:
            if at - ended_at <= LONGEST_ANSWER_S:
                self._answer(new, ended_at)
        else:
            new.awaits_end = bool(self._speaking)

    def _answer(self, turn: _Turn, ended_at: float) -> None:
        """Measure a turn from the end of the speech that it answers."""
        turn.speech_ended_at = ended_at
        self._first_audio_ms.append((turn.began_at - ended_at) * 1000)
        if turn.sample_at is not None:
            self._first_sample_ms.append((turn.sample_at - ended_at) * 1000)

    def hear_turn(self, at: float, turn: int) -> None:
        """Note that the first sample of a turn is played."""
        found = self._find(turn)
        if found is not None:
            found.sample_at = at
            if found.speech_ended_at is not None:
                self._first_sample_ms.append((at - found.speech_ended_at) * 1000)

    def cut_turn(self, turn: int) -> None:
        """Note that a turn was cut short."""
        found = self._find(turn)
        if found is not None:
            found.interrupted = True

    def end_playback(self, turn: int, heard_ms: float) -> None:
        """Note that the last sample of a turn was played."""
        found = self._find(turn)
        self._is_silenced = False
        if found is not None:
            found.heard_ms, found.is_played = heard_ms, True

    def complete_turn(self) -> None:
        """Note that the service considers the newest turn over."""
        if self._turns:
            self._turns[-1].is_complete = True

    def take_finished(self, unfinished: Iterable[int]) -> list[dict[str, Any]]:
        """Return the fields of a `TurnMetrics` for each turn that is over, and forget it.

        Args:
            unfinished: the turns of which something is queued or may come.
        """
        if not self._turns:
            return []
        playing, over = set(unfinished), []
        for turn in list(self._turns):
            unheard = turn.sample_at is None and turn.turn not in playing
            surplus = len(self._turns) > MOST_PENDING_TURNS
            if (turn.is_complete and (turn.is_played or unheard)) or surplus:
                self._turns.remove(turn)
                over.append(self._fields(turn))
        return over

    def take_all(self, heard_ms: Callable[[int], float]) -> list[dict[str, Any]]:
        """Return the fields of what is left, with as much as is known: the session is over."""
        turns, self._turns = self._turns, []
        for turn in turns:
            if not turn.is_played:
                turn.heard_ms = heard_ms(turn.turn)
        return [self._fields(turn) for turn in turns]

    def _fields(self, turn: _Turn) -> dict[str, Any]:
        ended_at, sample_at = turn.speech_ended_at, turn.sample_at
        cost = estimate_cost(self._model, turn.tokens)
        return {
            "turn": turn.turn,
            "began_at": turn.began_at,
            "speech_ended_at": ended_at,
            "first_audio_ms": None if ended_at is None else (turn.began_at - ended_at) * 1000,
            "first_sample_ms": (
                None if ended_at is None or sample_at is None else (sample_at - ended_at) * 1000
            ),
            "barge_in_ms": turn.barge_in_ms,
            "tool_ms": turn.tool_ms,
            "tool_calls": tuple(turn.tool_calls),
            "interrupted": turn.interrupted,
            "heard_ms": turn.heard_ms,
            "tokens": turn.tokens,
            "cost_usd": None if cost is None else cost.usd,
        }

    def _find(self, number: int) -> _Turn | None:
        return next((turn for turn in self._turns if turn.turn == number), None)

    def _open_turn(self) -> _Turn | None:
        """Return the newest turn if it has not ended."""
        newest = self._turns[-1] if self._turns else None
        return None if newest is None or newest.is_complete else newest

    # -- interruptions -------------------------------------------------------------------------

    def silence(self, at: float) -> None:
        """Note that the output, which was audible, is silent from a time on, because of speech.

        That ends the measurement which the newest sign of speech has begun, or the next one begins.
        """
        self._is_silenced = True
        sign = max(self._signs.values(), default=None)
        turn = None if sign is None else self._heard_at(sign)
        if sign is None or turn is None or sign == self._silenced_sign:
            return
        self._silenced_sign = sign
        turn.barge_in_ms = (at - sign) * 1000
        self._barge_in_ms.append(turn.barge_in_ms)

    def sound(self) -> None:
        """Note that the output is audible again."""
        self._is_silenced = False

    def _heard_at(self, at: float) -> _Turn | None:
        """Return the turn that was heard at a time and still is."""
        for turn in reversed(self._turns):
            if turn.sample_at is not None and turn.sample_at <= at and not turn.is_played:
                return turn
        return None

    # -- tools ---------------------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """Measure the time from the call of a tool to its result.

        The events of tools are known by their names, by `id`, and by `tool` where the service gives
        no id. A result has its own `duration_ms`.
        """
        tool = str(getattr(event, "tool", ""))
        call_id = str(getattr(event, "id", "")) or tool
        if event.name == "tool_call":
            turn = self._open_turn()
            ids = (turn or self._carried).tool_calls
            ids.append(call_id)
            del ids[:-MOST_PENDING_CALLS]
            self._calls[call_id] = _ToolCall(event.at, turn)
            if len(self._calls) > MOST_PENDING_CALLS:
                del self._calls[next(iter(self._calls))]
        else:
            call = self._calls.pop(call_id, None)
            if call is not None and event.name == "tool_result":
                took_ms = float(getattr(event, "duration_ms", (event.at - call.at) * 1000))
                self._tool_ms.append(took_ms)
                place = call.turn or self._turn_with(call_id)
                place.tool_ms = (place.tool_ms or 0.0) + took_ms

    def _turn_with(self, call_id: str) -> _Turn | _Carried:
        """Return the turn that a call from before its begin belongs to."""
        return next((turn for turn in self._turns if call_id in turn.tool_calls), self._carried)
