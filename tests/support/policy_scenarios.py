"""Play scenarios of words against a `TurnPolicy`, and check what it answers."""

from __future__ import annotations

from collections.abc import Callable

from getstream.plugins.gemini.live._turns.policy import (
    NEED_MORE_INPUT,
    Action,
    CompleteTurn,
    Stalled,
    TurnOptions,
    TurnPolicy,
)

Step = tuple[float, str, list[Action]]

DONE, DONE2 = CompleteTurn(1), CompleteTurn(2)
REJECTED = "RESPONSE_REJECTED"


def play(conversation: TurnPolicy, now: float, event: str) -> list[Action]:
    """Do what a word of the scenarios says. An `*` at the end: the assistant is audible."""
    playing = event.endswith("*")
    word = event.rstrip("*")
    acts: dict[str, Callable[[], list[Action]]] = {
        "sign": lambda: conversation.speech_starting("anna", playing),
        "nothing": lambda: conversation.speech_dismissed(now, "anna"),
        "speech": lambda: conversation.speech_started(now, "anna", playing),
        "speech2": lambda: conversation.speech_started(now, "ben", playing),
        "lasts": lambda: conversation.speech_sustained(now, "anna"),
        "lasts2": lambda: conversation.speech_sustained(now, "ben"),
        "silence": lambda: conversation.speech_stopped(now, "anna"),
        "silence2": lambda: conversation.speech_stopped(now, "ben"),
        "audio": lambda: conversation.model_content(now),
        "writes": lambda: conversation.model_wrote(now),
        "works": lambda: conversation.interaction(now, in_progress=True),
        "idle": lambda: conversation.interaction(now, in_progress=False),
        "generated": lambda: conversation.generation_complete(now),
        "complete": lambda: conversation.turn_complete(now),
        "rejected": lambda: conversation.turn_complete(now, REJECTED),
        "more?": lambda: conversation.turn_complete(now, NEED_MORE_INPUT),
        "sign2": lambda: conversation.speech_starting("ben", playing),
        "nothing2": lambda: conversation.speech_dismissed(now, "ben"),
        "asked": lambda: conversation.user_transcribed(now, playing),
        "played": lambda: conversation.playback_finished(now, conversation.turn),
        "played before": lambda: conversation.playback_finished(now, conversation.turn - 1),
        "lost": lambda: conversation.connection_lost(now),
        "resumed": lambda: conversation.connection_resumed(now),
        "interrupted": lambda: conversation.interrupted(now, playing),
        "at work": lambda: conversation.at_work(now),
        "calls": lambda: conversation.tool_called(now, waits=False),
        "calls and waits": lambda: conversation.tool_called(now, waits=True),
        "answers": lambda: conversation.tool_answered(now, waits=False, expects=True),
        "answers who waits": lambda: conversation.tool_answered(now, waits=True, expects=True),
        "answers silently": lambda: conversation.tool_answered(now, waits=False, expects=False),
        "cancels who waits": lambda: conversation.tool_answered(now, waits=True, expects=False),
        "text": lambda: conversation.text_sent(now),
        "nudge": lambda: conversation.text_sent(now, is_nudge=True),
        "hold": lambda: conversation.interrupt(now, drop=False),
        "cut": lambda: conversation.interrupt(now, drop=True),
        "go": conversation.resume,
        "time": lambda: conversation.timeout(now, playing),
    }
    return acts[word]()


def check(scenario: list[Step], rules: TurnOptions | None = None) -> TurnPolicy:
    conversation = TurnPolicy(rules)
    for now, event, expected in scenario:
        assert play(conversation, now, event) == expected, f"{now} {event}"
    return conversation


WATCHED = TurnOptions(stall_after_s=5.0, may_stay_silent=False)
UNANSWERED, UNFINISHED = Stalled(5.0, "unanswered"), Stalled(5.0, "unfinished")
UNHEARD, EMPTY = Stalled(5.0, "unheard"), Stalled(5.0, "empty")
PROACTIVE = TurnOptions(stall_after_s=5.0, may_stay_silent=True)
MARKED_AND_WATCHED = TurnOptions(stall_after_s=5.0, may_stay_silent=True, marks_activity=True)
