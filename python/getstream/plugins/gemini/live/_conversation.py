"""The rules of a full-duplex conversation: who speaks, who gives way, and what is dropped.

Sans-IO: no asyncio, no clock, no logger. Events of the call and of the service come in as method
calls with the time as an argument; what is to be done comes out as a list of actions; and
`next_timeout` tells when `timeout` wants to be called. Times are seconds on any monotonic clock.

The rules
- A turn of the model begins with its first audio (or text part) and is open until the service
  says `turn_complete` or `interrupted`. Its audio ends with `generation_complete`: the service
  delays `turn_complete` until it believes the playback over.
- When somebody begins to speak while the assistant is heard, or while the service is sending its
  turn, playback pauses. What arrives meanwhile is queued, never dropped.
- What the application holds stays held, whoever speaks, until the application lets it go or the
  service interrupts.
- While the model's turn is open, only the service may cut it: the wire has no turn ids, so the
  audio that follows a cut that the service does not know of could not be told apart.
- After `turn_complete` the service has nothing left to interrupt. What is still queued is dropped
  once the user has spoken for `commit_after`, or when the model's answer to that speech arrives.
- In every other case playback goes on at the exact sample, `resume_after` after the speech ended.
- A cut turn never speaks again; the turn after it always does.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Play:
    """Queue the audio that has just arrived, as part of this turn."""

    turn: int


@dataclass(frozen=True)
class EndTurn:
    """No more audio of this turn will come."""

    turn: int


@dataclass(frozen=True)
class Pause:
    """Fade out and hold the read head."""


@dataclass(frozen=True)
class Resume:
    """Fade in at the exact sample where the read head stands."""


@dataclass(frozen=True)
class Drop:
    """Fade out, and forget what is queued of this turn and of those before it.

    `open` tells whether the service had not completed this turn yet: then it was cut even if
    nothing of it is queued.
    """

    turn: int
    by: str
    open: bool


Action = Play | EndTurn | Pause | Resume | Drop


class Conversation:
    """The state of one conversation.

    `playing`, in the methods that take it, says whether any of the assistant's audio is queued
    or sounding.

    Args:
        resume_after: seconds of silence after which a paused reply goes on.
        commit_after: seconds of speech after which a fully received reply is dropped.
        barge_in: whether local speech pauses playback at all.
        hangover: seconds of silence that have already passed when `speech_stopped` is called.
    """

    def __init__(
        self,
        *,
        resume_after: float = 0.4,
        commit_after: float = 0.6,
        barge_in: bool = True,
        hangover: float = 0.2,
    ) -> None:
        self._barge_in = barge_in
        self._commit_after = commit_after
        self._resume_delay = max(0.0, resume_after - hangover)
        # Speech that was under way when a turn began counts as barge-in only if it outlives the
        # hangover: at that moment the detector still reports the words that the turn answers.
        self._overlap_delay = hangover + resume_after

        self.turn = 0
        self._generating = False  # the service is sending this turn
        self._open = False  # neither complete nor interrupted
        self._cut = False  # dropped here while the service goes on sending it
        self._speakers: set[str] = set()
        self._speech_since = 0.0
        self._paused_by_speech = False
        self._paused_by_app = False
        self._resume_at: float | None = None
        self._commit_at: float | None = None
        self._overlap_at: float | None = None

    @property
    def paused_by_app(self) -> bool:
        """Whether the application holds playback."""
        return self._paused_by_app

    @property
    def paused(self) -> bool:
        """Whether playback is held, by speech or by the application."""
        return self._paused_by_speech or self._paused_by_app

    @property
    def turn_open(self) -> bool:
        """Whether the service may still send or interrupt the current turn."""
        return self._open

    @property
    def next_timeout(self) -> float | None:
        """When to call `timeout`, or None."""
        times = [t for t in (self._resume_at, self._commit_at, self._overlap_at) if t is not None]
        return min(times, default=None)

    # -- from the call -------------------------------------------------------------------------

    def speech_started(self, now: float, who: str, playing: bool) -> list[Action]:
        """A participant has begun to speak."""
        if not self._speakers:
            self._speech_since = now
        self._speakers.add(who)
        if not self._barge_in:
            return []
        self._resume_at = None
        return self._pause_for_speech(now) if playing or self._generating else []

    def speech_stopped(self, now: float, who: str) -> list[Action]:
        """A participant has been silent for the detector's hangover, or has left."""
        self._speakers.discard(who)
        if self._speakers:
            return []
        self._commit_at = self._overlap_at = None
        if self._paused_by_speech:
            self._resume_at = now + self._resume_delay
        return []

    # -- from the service ----------------------------------------------------------------------

    def model_content(self, now: float) -> list[Action]:
        """Audio or text of the model has arrived. Without a `Play` in the answer, drop it."""
        if self._cut:
            return []
        actions: list[Action] = []
        if not self._generating:
            if self._paused_by_speech and not self._paused_by_app and not self._open:
                # The model answers what was said over its finished turn.
                actions += self._drop("speech")
            self.turn += 1
            self._generating = self._open = True
            if self._speakers and self._barge_in:
                self._overlap_at = now + self._overlap_delay
        actions.append(Play(self.turn))
        return actions

    def generation_complete(self) -> list[Action]:
        """The model has sent all of its turn."""
        if not self._generating:
            return []
        self._generating = self._cut = False
        return [EndTurn(self.turn)]

    def turn_complete(self, now: float) -> list[Action]:
        """The service considers the turn over."""
        actions = self.generation_complete()
        self._open = False
        if self._paused_by_speech and self._speakers and not self._paused_by_app:
            self._commit_at = max(now, self._speech_since + self._commit_after)
        return actions

    def interrupted(self, playing: bool) -> list[Action]:
        """The service has cut the turn. With nothing open and nothing queued: a phantom."""
        if not (self._open or playing):
            return self._release()
        actions = self._drop("server")
        self._generating = self._open = self._cut = False
        return actions

    # -- from the application ------------------------------------------------------------------

    def interrupt(self, drop: bool) -> list[Action]:
        """Pause, or with `drop` end the turn for good."""
        if not drop:
            held, self._paused_by_app = self.paused, True
            self._commit_at = None
            return [] if held else [Pause()]
        self._cut = self._generating
        return self._drop("app")

    def resume(self) -> list[Action]:
        """Go on, whoever paused."""
        return self._release()

    # -- from the clock ------------------------------------------------------------------------

    def timeout(self, now: float, playing: bool) -> list[Action]:
        """Do what has become due."""
        actions: list[Action] = []
        if _due(self._overlap_at, now):
            self._overlap_at = None
            if self._speakers and playing:
                actions += self._pause_for_speech(now)
        if _due(self._commit_at, now):
            self._commit_at = None
            if self._paused_by_speech and not self._open:
                actions += self._drop("speech")
        if _due(self._resume_at, now):
            self._resume_at = None
            self._paused_by_speech = False
            if not self._paused_by_app:
                actions.append(Resume())
        return actions

    # ------------------------------------------------------------------------------------------

    def _pause_for_speech(self, now: float) -> list[Action]:
        if self._paused_by_app:
            return []
        if not self._open:
            self._commit_at = max(now, self._speech_since + self._commit_after)
        if self._paused_by_speech:
            return []
        self._paused_by_speech = True
        return [Pause()]

    def _drop(self, by: str) -> list[Action]:
        return [Drop(self.turn, by, self._open), *self._release()]

    def _release(self) -> list[Action]:
        """Open the gate: whatever comes next is heard."""
        held = self.paused
        self._paused_by_speech = self._paused_by_app = False
        self._resume_at = self._commit_at = self._overlap_at = None
        return [Resume()] if held else []


def _due(at: float | None, now: float) -> bool:
    return at is not None and now >= at
