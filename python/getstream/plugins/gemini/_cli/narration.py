"""Narrate the demo's call from the reports of its two programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from .._terminal import one_line
from .clips import Clip

__all__ = ["ASSISTANT_ID", "PERSON_ID", "CallNarrator", "Line", "one_line"]

PERSON_ID = "person"
ASSISTANT_ID = "assistant-bot"

Who = Literal["person", "assistant", ""]
Event = dict[str, Any]

LOWEST_DB = -60.0
"""Level above which Stream reports a participant's level, in dB."""

_DBOV_RANGE = 127.0
"""Range of levels in dB: 1 is 0 dBov, 0 is -127 dBov (RFC 6464, as scaled by Stream)."""


@dataclass(frozen=True)
class Line:
    """Line of the narration.

    Attributes:
        time: Seconds since the assistant was in the call; None before.
        who: Side of the call, if any.
        text: Description of the event.
    """

    time: float | None
    who: Who
    text: str


class CallNarrator:
    """Follows the state of the call, and emits a line for every event.

    The narration is from the person's side. Its times are preliminary: they come from the programs'
    reports; the summary's come from the recording.

    Attributes:
        saying: Text that the person is saying now, else "".
        answering: True while the assistant is heard.
        turns: Number of turns of the assistant that have been heard.
        interruptions: Number of them that the person has cut.
        latency: Seconds from the person's last word to the newest answer.
        silenced: Seconds from the person's first word to the assistant's silence.
        levels: Newest level of each side in dB, with its time of arrival.
    """

    def __init__(self, clips: list[Clip], emit: Callable[[Line], None]) -> None:
        """Create the narrator.

        Args:
            clips: Clips that the person says, in order.
            emit: Called with each line.
        """
        self.saying = ""
        self.answering = False
        self.turns = 0
        self.interruptions = 0
        self.latency: float | None = None
        self.silenced: float | None = None
        self.levels: dict[str, tuple[float, float]] = {}
        self._clips = clips
        self._emit = emit
        self._person_zero = 0.0
        self._zero: float | None = None
        self._said = 0
        # The person's speech so far, in stretches between pauses; monotonic times.
        self._parts: list[tuple[float, float]] = []
        self._answered_until = 0.0
        self._turn = 0  # the newest turn of which audio has arrived
        self._heard_turn = 0
        self._heard_until = 0.0
        self._cut_turn = 0
        self._cut_at = 0.0
        self._texts: dict[int, str] = {}
        self._silent_since: float | None = None  # of a turn whose end is not certain yet

    @property
    def zero(self) -> float | None:
        """Return the monotonic time at which the assistant was in the call, None before."""
        return self._zero

    @property
    def said(self) -> str:
        """Return the transcript so far of the turn that is heard, or was heard last."""
        return one_line(self._texts.get(self._heard_turn, ""))

    def setup(self, text: str) -> None:
        """Report a step of the preparations."""
        self._emit(Line(None, "", text))

    # -- the person's program ---------------------------------------------------------------------

    def on_person(self, event: Event) -> None:
        """Process a report of the person's program; its times are on the person's clock."""
        name = event.get("event")
        if name == "joined":
            self._person_zero = float(event["started_at"])
            self._line(None, "person", "joins the call")
        at = self._person_zero + float(event.get("t", 0.0))
        if name == "say_started":
            self._on_say_started(at)
        elif name == "say_stopped":
            self.saying = ""
        elif name == "speech_started":
            self._on_heard(at)
        elif name == "speech_stopped":
            self._on_silent(at)
        elif name == "left":
            self._emit_end()
            self._line(at, "person", "leaves the call")

    def _on_say_started(self, at: float) -> None:
        clip = self._clips[min(self._said, len(self._clips) - 1)]
        self._said += 1
        self._parts += [(at + onset, at + end) for onset, end in clip.parts]
        self.saying = one_line(clip.text)
        self._emit_end()
        verb = "interrupts" if self.answering else "says"
        self._line(at + clip.onset, "person", f"{verb}: {_quoted(self.saying)}")

    def _on_heard(self, at: float) -> None:
        self.answering = True
        if self._turn == self._heard_turn:
            self._silent_since = None  # it goes on after a pause between two sentences
            return
        self._emit_end()
        self._heard_turn = self._turn
        self.turns += 1
        if not self._parts:
            self._line(at, "assistant", "greets")
            return
        ended = max((end for _, end in self._parts if end <= at), default=0.0)
        if ended <= self._answered_until:
            self._line(at, "assistant", "speaks")
            return
        self._answered_until = ended
        self.latency = at - ended
        self._line(at, "assistant", f"answers, {_ms(self.latency)} after the person's last word")

    def _on_silent(self, at: float) -> None:
        self.answering = False
        self._heard_until = self._silent_since = at
        if self._cut_turn == self._heard_turn:
            self._emit_cut()

    # -- the assistant's program ------------------------------------------------------------------

    def on_assistant(self, event: Event) -> None:
        """Process a report of the assistant's program; its times are monotonic."""
        name, at = event.get("event"), float(event.get("t", 0.0))
        if name == "connected":
            self._line(None, "assistant", "is connected to Gemini Live")
        elif name == "joined":
            self._zero = at
            self._line(at, "assistant", "joins the call")
        elif name == "levels":
            for who, level in event["levels"].items():
                self.levels[who] = (at, (float(level) - 1.0) * _DBOV_RANGE)
        elif name == "audio_started":
            self._turn = int(event["turn"])
            self._texts[self._turn] = ""
        elif name == "text":
            self._texts[self._turn] = self._texts.get(self._turn, "") + event["text"]
        elif name == "interrupted":
            self._cut_turn, self._cut_at = int(event["turn"]), at
            if self._cut_turn == self._heard_turn and not self.answering:
                self._emit_cut()
        elif name == "error":
            self._line(at, "assistant", f"error: {one_line(event['message'])}")

    def _emit_end(self) -> None:
        """Report the end of the previous turn, since a new event follows."""
        if self._silent_since is not None and self.said:
            self._line(self._silent_since, "assistant", f"has said: {_quoted(self.said)}")
        self._silent_since = None

    def _emit_cut(self) -> None:
        """Report that the assistant has been cut and is silent for the person."""
        self._cut_turn = 0
        self._silent_since = None
        self.interruptions += 1
        began = max((start for start, _ in self._parts if start <= self._cut_at), default=None)
        if began is None:
            self._line(self._heard_until, "assistant", "is cut short")
            return
        self.silenced = max(0.0, self._heard_until - began)
        self._line(
            self._heard_until,
            "assistant",
            f"gives way, silent {_ms(self.silenced)} after the person's first word",
        )

    def _line(self, at: float | None, who: Who, text: str) -> None:
        time = None if at is None or self._zero is None else max(0.0, at - self._zero)
        self._emit(Line(time, who, text))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _quoted(text: str) -> str:
    return text if text.startswith("[") else f"“{text}”"
