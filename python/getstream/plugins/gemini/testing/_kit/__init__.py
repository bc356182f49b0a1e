"""Test a bot in a call: servers, redirection, the bot and the people have one owner."""

from __future__ import annotations

from .call import LocalCall, LocalCallFactory
from .errors import BotExitedError, ScenarioError, SpeechSynthesisError, TurnTimeoutError
from .observations import Latency, SaidLine, ToolCall, ToolLog
from .people import CallPerson, HeardTurn
from .runner import ScenarioOutcome, run_scenarios

__all__ = [
    "BotExitedError",
    "CallPerson",
    "HeardTurn",
    "Latency",
    "LocalCall",
    "LocalCallFactory",
    "SaidLine",
    "ScenarioError",
    "ScenarioOutcome",
    "SpeechSynthesisError",
    "ToolCall",
    "ToolLog",
    "TurnTimeoutError",
    "run_scenarios",
]
