"""Turn what happens in the session into messages for the page."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from ..live import Event, GeminiLive, Observer

__all__ = ["Tell", "Teller", "counters", "plain"]

Tell = Callable[..., None]
"""Called with the name of a message and its fields; never waits."""

LONGEST_TEXT = 2_000
"""Characters of one value: results of tools may be of any size."""

EVENT_NAMES = frozenset({
    "connected", "text", "user_text", "playback_started", "playback_finished", "playback_ducked",
    "playback_unducked", "playback_paused", "playback_resumed", "interrupted", "turn_complete",
    "speech_started", "speech_stopped", "stalled", "tool_call", "tool_result", "tool_cancelled",
    "disconnected", "reconnecting", "resumed", "error", "closed",
})  # fmt: skip
"""Events with a place on the page. `resumption` has none: its handle is as good as a key."""


class Teller(Observer):
    """Observer that tells the page of every event and every decision of the speech detector."""

    event_names = EVENT_NAMES

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def on_event(self, event: Event) -> None:
        """Tell of an event, with the fields of its own and its turn."""
        fields = {
            each.name: plain(getattr(event, each.name))
            for each in dataclasses.fields(event)
            if each.name not in ("at", "turn")
        }
        self._tell(event.name, turn=event.turn, **fields)

    def on_speech(self, at: float, user_id: str, phase: str) -> None:
        """Tell of a first sign of speech, and of what became of it."""
        if phase not in ("started", "stopped"):  # which are events as well
            self._tell("speech", phase=phase)


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: bounded, and a text where it is an object."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


def counters(assistant: GeminiLive) -> dict[str, float]:
    """Return the counters of an assistant as numbers by name, nested ones left out but for two."""
    stats = assistant.stats()
    found = {
        each.name: value
        for each in dataclasses.fields(stats)
        if isinstance(value := getattr(stats, each.name), (int, float))
    }
    found["tokens"] = stats.tokens.total
    if stats.cost is not None:
        found["cost_usd"] = stats.cost.usd
    return found
