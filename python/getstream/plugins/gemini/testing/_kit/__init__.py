"""Test a bot in a call: servers, redirection, the bot and the people have one owner."""

from __future__ import annotations

from .call import LocalCall, LocalCallFactory
from .errors import BotExitedError, ScenarioError, SpeechSynthesisError, TurnTimeoutError
from .observations import CallTools, Latency, SaidLine, ToolCall
from .people import CallPerson, HeardTurn
from .runner import ScenarioOutcome, run_scenarios

__all__ = [
    "BotExitedError",
    "CallPerson",
    "CallTools",
    "HeardTurn",
    "Latency",
    "LocalCall",
    "LocalCallFactory",
    "SaidLine",
    "ScenarioError",
    "ScenarioOutcome",
    "SpeechSynthesisError",
    "ToolCall",
    "TurnTimeoutError",
    "run_scenarios",
]
