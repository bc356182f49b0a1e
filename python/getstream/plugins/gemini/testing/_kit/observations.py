"""Describe what happened in a call: lines that were said, tools that were called, delays."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .._gemini import LiveSession, LocalGemini

__all__ = ["CallTools", "Latency", "SaidLine", "ToolCall", "model_lines"]

_LOOK_AGAIN_S = 0.05
"""Seconds between looks for a tool call: those of several sessions have no event in common."""


@dataclass(frozen=True)
class SaidLine:
    """Something that was said in the call.

    Attributes:
        who: User id of a person, or `bot`.
        text: The text; in brackets a description of speech whose text is not known.
        at: Start in seconds from the start of the call: for a person, when the first sample left;
            for the bot, when the service sent the first message of the turn.
        outcome: `said` for a person; for the bot, as in `SpokenTurn`: `complete`, `interrupted`,
            `aborted`, or `speaking`.
    """

    who: str
    text: str
    at: float
    outcome: Literal["said", "speaking", "complete", "interrupted", "aborted"]


def model_lines(gemini: LocalGemini, started_at: float) -> list[SaidLine]:
    """Return the turns of the model of all sessions that have a text or audio.

    Args:
        gemini: The server.
        started_at: Start of the call, `time.monotonic()` in seconds.
    """
    lines = []
    for session in gemini.sessions:
        for turn in session.spoken:
            if turn.text or turn.sent_ms:
                text = turn.text or f"[{turn.sent_ms / 1000:.1f} seconds of speech]"
                at = turn.started_at - started_at
                lines.append(SaidLine("bot", text, at, turn.outcome))
    return lines


@dataclass(frozen=True)
class ToolCall:
    """A function call of the model, and what the bot answered.

    Attributes:
        name: Name of the function.
        args: Arguments that the model gave.
        id: Id of the call.
        response: `response` of the bot's newest answer; None without one.
        session: Index of the session in `LocalGemini.sessions`.
        cancelled: True if the model took the call back before it was answered.
    """

    name: str
    args: dict[str, Any]
    id: str
    response: dict[str, Any] | None
    session: int
    cancelled: bool = False

    @property
    def answered(self) -> bool:
        """Return whether the bot has answered."""
        return self.response is not None

    def __str__(self) -> str:
        args = ", ".join(f"{name}={value!r}" for name, value in self.args.items())
        if self.response is not None:
            return f"{self.name}({args}) -> {self.response!r}"
        return f"{self.name}({args}): {'cancelled' if self.cancelled else 'not answered'}"


class CallTools:
    """The function calls of a call, from the wire of the local Gemini server.

    A `FunctionCall` in a `Script` makes the model call. A function counts as called when the bot
    has answered it with a `toolResponse`.

    Args:
        gemini: The server.
        check: Called between looks of `wait_called`; raises if waiting is in vain.
    """

    def __init__(self, gemini: LocalGemini, check: Callable[[str], None]) -> None:
        self._gemini = gemini
        self._check = check

    @property
    def calls(self) -> list[ToolCall]:
        """Return the calls, oldest first: those among the newest 2,000 messages of each session."""
        return _calls_of(self._gemini.sessions)

    @property
    def responses(self) -> list[dict[str, Any]]:
        """Return the `functionResponses` of the bot as they came, oldest first."""
        return [
            response for session in self._gemini.sessions for response in _responses_of(session)
        ]

    def assert_called(self, name: str, **args: Any) -> ToolCall:
        """Assert that the bot has answered a call of a function.

        Args:
            name: Name of the function.
            args: Arguments that the call must have had; it may have had others.

        Returns:
            The newest of these calls.

        Raises:
            AssertionError: There is none; the message lists the calls that there are.
        """
        found = self._find(name, args)
        if found is None:
            raise AssertionError(self._message(name, args))
        return found

    def assert_not_called(self, name: str) -> None:
        """Assert that the bot has answered no call of a function.

        Raises:
            AssertionError: It has.
        """
        found = self._find(name, {})
        if found is not None:
            raise AssertionError(f"{name} was called: {found}")

    async def wait_called(self, name: str, timeout: float = 10.0, **args: Any) -> ToolCall:
        """Wait until the bot has answered a call of a function.

        Raises:
            AssertionError: It has not within `timeout` seconds; lists the calls that there are.
            BotExitedError: The bot has ended.
        """
        deadline = time.monotonic() + timeout
        while (found := self._find(name, args)) is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"within {timeout:g} s: {self._message(name, args)}")
            self._check(f"before it answered {name}")
            await asyncio.sleep(_LOOK_AGAIN_S)
        return found

    def _find(self, name: str, args: dict[str, Any]) -> ToolCall | None:
        for call in reversed(self.calls):
            if call.answered and call.name == name and args.items() <= call.args.items():
                return call
        return None

    def _message(self, name: str, args: dict[str, Any]) -> str:
        wanted = ", ".join(f"{key}={value!r}" for key, value in args.items())
        there = "; ".join(map(str, self.calls)) or "none; the replies call no function"
        return f"{name}({wanted}) was not called and answered. Calls: {there}"


def _calls_of(sessions: Sequence[LiveSession]) -> list[ToolCall]:
    # A call may be answered in the session that resumes its own.
    responses = {
        each.get("id"): each.get("response") or {}
        for session in sessions
        for each in _responses_of(session)
    }
    sent = [(session.index, message) for session in sessions for message in session.sent]
    cancelled = {
        call_id
        for _, message in sent
        for call_id in (message.get("toolCallCancellation") or {}).get("ids", ())
    }
    return [
        ToolCall(
            name=call["name"],
            args=dict(call.get("args") or {}),
            id=call.get("id", ""),
            response=responses.get(call.get("id", "")),
            session=index,
            cancelled=call.get("id") in cancelled,
        )
        for index, message in sent
        for call in (message.get("toolCall") or {}).get("functionCalls", ())
    ]


def _responses_of(session: LiveSession) -> list[dict[str, Any]]:
    return [
        response
        for frame in session.frames
        if frame.kind == "toolResponse"
        for response in frame.message["toolResponse"].get("functionResponses") or ()
    ]


@dataclass(frozen=True)
class Latency:
    """Delays of the bot's answers, as the people in the call heard them.

    One for each utterance that was answered before the same person spoke again: from its last
    sample, as it left the person, to the first audible sample of the bot that arrived afterwards.
    An utterance at whose end the bot was speaking counts once the bot has fallen silent and spoken
    again.

    Attributes:
        turns_ms: The delays in milliseconds, in the order of the utterances.
    """

    turns_ms: tuple[float, ...]

    @property
    def p50_ms(self) -> float:
        """Return the median. Raises LookupError if nothing was answered."""
        return self._percentile(0.5)

    @property
    def p95_ms(self) -> float:
        """Return the 95th percentile (nearest rank). Raises LookupError if nothing was answered."""
        return self._percentile(0.95)

    def _percentile(self, share: float) -> float:
        if not self.turns_ms:
            raise LookupError("no utterance has been answered yet, so there is no latency")
        ordered = sorted(self.turns_ms)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    @classmethod
    def of(cls, answers: Sequence[tuple[float, float]]) -> Latency:
        """Return the latency of (end of an utterance, onset of its answer), in seconds."""
        return cls(tuple((onset - end) * 1000.0 for end, onset in sorted(answers)))
