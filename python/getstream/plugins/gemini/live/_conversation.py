"""The rules of a full-duplex conversation: who speaks, who gives way, and what is dropped.

Sans-IO: no asyncio, no clock, no logger. Events of the call and of the service come in as method
calls with the time as an argument; what is to be done comes out as a list of actions; and
`next_timeout` tells when `timeout` wants to be called. Times are seconds on any monotonic clock.

The model's turns
- A turn begins with its first audio (or text part, where texts are what is said) and is open until
  the service says `turn_complete` or `interrupted`. Its audio ends with `generation_complete`: the
  service delays `turn_complete` until it believes the playback over.
- A cut turn never speaks again, not even from audio that arrives late; the turn after it always
  does.

Barge-in, in stages
- Evidence: at the first sign of speech the assistant is ducked. If it was nothing, the duck ends.
- Speech: when the sign holds, playback pauses. What arrives meanwhile is queued, never dropped.
- Then one of two things. Commit: what is queued is dropped. Or playback goes on at the exact
  sample, `resume_after` after the speech has ended. So a cough costs nothing.

Who commits
- While the model's turn is open under the service's own detection of activity, only the service,
  by `interrupted`: the wire has no turn ids, so the audio that follows a cut that the service does
  not know of could not be told apart.
- After `turn_complete` the service has nothing left to interrupt. What is still queued is dropped
  once somebody's speech is sustained, or when the model's answer to that speech arrives.
- With the service's detection off (`marks_activity`), this side: once speech over the assistant is
  sustained, at once otherwise, it tells the service that the user speaks.
- Speech is sustained when the detector has heard `BargeIn.commit_after_ms` of it. Neither its
  hangover nor time in which no audio arrived counts, so this is an event and no timer.

Interruptions that nobody here has heard
- The service may be wrong (a click, a phantom). Playback pauses at once, but what is queued waits
  for `DOUBT`: local speech or a new turn of the model confirms the cut; more audio of the same
  turn, or nothing, refutes it, and playback goes on. With nothing open and nothing playing, an
  interruption means nothing.

The application
- What it holds stays held, whoever speaks, until it lets go or the service interrupts.

Stalls
- What the model writes where only audio is speech (reasoning, or an answer that ends without any
  audio) is heard by nobody: the answer is still owed, also by a model that may stay silent.
- When the user's turn has ended and nothing comes, or the model falls silent in the middle of its
  turn, that is reported after `stall_after`. Silence after speech is not a stall where the model
  may choose it (proactive audio).
"""

from __future__ import annotations

from dataclasses import dataclass

DUCK_HOLD = 0.2
"""Seconds without a sign of speech until a duck ends: single frames must not make it flutter."""

DOUBT = 2.0
"""Seconds for which an interruption that nobody here has heard may still be confirmed: what a
person says until the model begins to answer it takes about as long."""

HEARD = 3.0
"""Seconds for which speech explains an interruption: the service decides on its own audio, with
its own delay, and may tell late."""

TURN_OF_THE_USER = 0.3
"""Seconds of speech that make a turn that an answer is expected to: less is a cough or a click."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How a conversation is held. Times are in seconds.

    Attributes:
        barge_in: whether local speech ducks, pauses and commits at all.
        resume_after: silence after which a paused reply goes on.
        hangover: silence that has already passed when `speech_stopped` is called.
        marks_activity: the service's own detection is off: this side tells when the user speaks.
        end_of_turn: silence after which it tells that the user has finished.
        stall_after: how long the model may owe an answer, or None: it is not watched.
        may_stay_silent: the model may choose not to answer what is said.
        nudge: whether to nudge the service when it has stalled.
        reconnect: whether to reconnect when that does not help either.
    """

    barge_in: bool = True
    resume_after: float = 0.4
    hangover: float = 0.2
    marks_activity: bool = False
    end_of_turn: float = 0.5
    stall_after: float | None = None
    may_stay_silent: bool = True
    nudge: bool = False
    reconnect: bool = False


# -- what is to be done --------------------------------------------------------------------------


@dataclass(frozen=True)
class Play:
    """Queue the audio that has just arrived, as part of this turn."""

    turn: int


@dataclass(frozen=True)
class EndTurn:
    """No more audio of this turn will come."""

    turn: int


@dataclass(frozen=True)
class CompleteTurn:
    """The service has completed this turn, and it was not cut."""

    turn: int


@dataclass(frozen=True)
class Duck:
    """Lower the voice of the assistant."""


@dataclass(frozen=True)
class Unduck:
    """Bring it back to its level."""


@dataclass(frozen=True)
class Pause:
    """Fade out and hold the read head."""


@dataclass(frozen=True)
class Resume:
    """Fade in at the exact sample where the read head stands."""


@dataclass(frozen=True)
class Drop:
    """Fade out, and forget what is queued of this turn and of those before it.

    Attributes:
        turn: the newest turn.
        by: who cut it: `server`, `speech` or `app`.
        open: the service had not completed it yet: then it was cut even if nothing is queued.
    """

    turn: int
    by: str
    open: bool


@dataclass(frozen=True)
class StartActivity:
    """Tell the service that the user speaks, and send what was said already.

    Attributes:
        since: how long ago the speech was confirmed, in seconds.
    """

    since: float


@dataclass(frozen=True)
class EndActivity:
    """Tell the service that the user has finished."""


@dataclass(frozen=True)
class Stalled:
    """Report that the model owes something.

    Attributes:
        waited: for how long, in seconds.
        unfinished: it fell silent in the middle of a turn; otherwise it has not answered.
    """

    waited: float
    unfinished: bool


@dataclass(frozen=True)
class Nudge:
    """Remind the service."""


@dataclass(frozen=True)
class Reconnect:
    """Give up on this connection, and resume the session on a new one."""


Action = (
    Play
    | EndTurn
    | CompleteTurn
    | Duck
    | Unduck
    | Pause
    | Resume
    | Drop
    | StartActivity
    | EndActivity
    | Stalled
    | Nudge
    | Reconnect
)


class Conversation:
    """The state of one conversation.

    `playing`, in the methods that take it, says whether any of the assistant's audio is queued
    or sounding.
    """

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules = rules or Rules()
        self._resume_delay = max(0.0, rules.resume_after - rules.hangover)
        self._end_of_turn_delay = max(0.0, rules.end_of_turn - rules.hangover)
        # Speech that was under way when a turn began counts as barge-in only if it outlives the
        # hangover: at that moment the detector still reports the words that the turn answers.
        self._overlap_delay = rules.hangover + rules.resume_after

        # The model's turn.
        self.turn = 0
        self._turn_since = float("-inf")
        self._generating = False  # the service is sending it
        self._open = False  # neither complete nor interrupted
        self._cut = False  # dropped here while the service goes on sending it
        self._cut_turn = 0  # the newest turn that was cut before it was complete
        self._provoked = False  # something was sent since it began that may interrupt it
        self._in_progress = False  # the service is at work, between turns, too

        # The people.
        self._starting: set[str] = set()  # signs of speech that are not confirmed
        self._speakers: set[str] = set()
        self._sustained: set[str] = set()  # those of them who have spoken for long
        self._speech_since = 0.0
        self._unanswered_since: float | None = None
        self._heard_at: float | None = None  # when somebody was last known to speak
        self._activity = False  # the service has been told that the user speaks

        # The gate of playback.
        self._ducked = False
        self._paused_by_speech = False
        self._paused_by_app = False
        self._doubted = False  # paused by an interruption that nobody here has heard
        self._completion_waits = False  # of the turn in doubt

        self._stirred_at = float("-inf")  # when something was last said, by anybody

        # What is due.
        self._unduck_at: float | None = None
        self._resume_at: float | None = None
        self._overlap_at: float | None = None
        self._doubt_ends_at: float | None = None
        self._activity_ends_at: float | None = None
        self._stalls_at: float | None = None
        self._owed = False  # an answer, whatever becomes of the turn that is being sent
        self._reminded = False  # a stall has been reported, and nudged

    @property
    def paused_by_app(self) -> bool:
        """Whether the application holds playback."""
        return self._paused_by_app

    @property
    def paused(self) -> bool:
        """Whether playback is held, by anybody."""
        return self._paused_by_speech or self._paused_by_app or self._doubted

    @property
    def turn_open(self) -> bool:
        """Whether the service may still send or interrupt the current turn."""
        return self._open

    @property
    def generating(self) -> bool:
        """Whether the service is sending the current turn."""
        return self._generating

    @property
    def rests_since(self) -> float | None:
        """Since when nobody speaks and nothing is expected of the model; None if that is not so."""
        people = self._speakers or self._starting or self._activity
        busy = people or self._open or self._owed or self._in_progress
        return None if busy else self._stirred_at

    @property
    def turn_since(self) -> float:
        """When the newest turn of the model began."""
        return self._turn_since

    @property
    def unanswered_since(self) -> float | None:
        """When the speech began that the model has not begun to answer, or None."""
        return self._unanswered_since

    @property
    def next_timeout(self) -> float | None:
        """When to call `timeout`, or None."""
        times = (
            self._unduck_at,
            self._resume_at,
            self._overlap_at,
            self._doubt_ends_at,
            self._activity_ends_at,
            self._stalls_at,
        )
        due = None
        for time in times:  # asked after each message; a generator would take twice as long
            if time is not None and (due is None or time < due):
                due = time
        return due

    # -- from the call -------------------------------------------------------------------------

    def speech_starting(self, who: str, playing: bool) -> list[Action]:
        """There is a first sign that a participant speaks."""
        self._starting.add(who)
        self._unduck_at = None
        if not (self._rules.barge_in and playing) or self.paused or self._ducked:
            return []
        self._ducked = True
        return [Duck()]

    def speech_dismissed(self, now: float, who: str) -> list[Action]:
        """That sign was nothing."""
        self._starting.discard(who)
        self._end_duck(now)
        return []

    def speech_started(self, now: float, who: str, playing: bool) -> list[Action]:
        """A participant has begun to speak."""
        self._starting.discard(who)
        if not self._speakers:
            self._speech_since = now
        if self._unanswered_since is None:
            self._unanswered_since = now
        self._speakers.add(who)
        self._sustained.discard(who)
        self._stalls_at = self._activity_ends_at = None
        self._owed = False
        actions: list[Action] = []
        if self._doubted:
            actions += self._drop("server")
            playing = False
        if not playing:
            actions += self._unduck()
        answers = self._rules.barge_in and not self._paused_by_app
        over_assistant = answers and (playing or self._generating)
        if self._rules.marks_activity and not self._activity and not over_assistant:
            actions.append(self._start_activity(now))
        if not self._rules.barge_in:
            return actions
        self._resume_at = None
        if playing or self._generating:
            actions += self._pause_for_speech(now)
        return actions

    def speech_sustained(self, now: float, who: str) -> list[Action]:
        """A participant who speaks has been heard for so long that it is no cough and no "mhm"."""
        if who not in self._speakers:
            return []
        self._sustained.add(who)
        return self._commit_if_due(now)

    def speech_stopped(self, now: float, who: str) -> list[Action]:
        """A participant has been silent for the detector's hangover, or has left."""
        if who not in self._speakers:
            return self.speech_dismissed(now, who)
        self._speakers.discard(who)
        self._sustained.discard(who)
        self._heard_at = self._stirred_at = now
        if self._speakers:
            return []
        self._overlap_at = None
        self._end_duck(now)
        if self._paused_by_speech:
            self._resume_at = now + self._resume_delay
        if self._activity:
            self._activity_ends_at = now + self._end_of_turn_delay
        elif self._generating:
            self._watch(now)
        elif not self.paused:
            self._expect_answer_to_speech(now)
        return []

    # -- from the service ----------------------------------------------------------------------

    def model_content(self, now: float) -> list[Action]:
        """Audio or text of the model has arrived. Without a `Play` in the answer, drop it."""
        self._watch(now)  # for the rest of it
        self._stirred_at = now
        if self._cut:
            return []
        actions: list[Action] = []
        if self._doubted:
            # The turn goes on, so it was not interrupted; or another one answers somebody.
            actions += self._release() if self._generating else self._drop("server")
        if not self._generating:
            if self._paused_by_speech and not self._paused_by_app and not self._open:
                # The model answers what was said over its finished turn.
                actions += self._drop("speech")
            self.turn += 1
            self._turn_since = now
            self._generating = self._open = True
            self._provoked = self._activity
            self._owed = False
            self._unanswered_since = self._speech_since if self._speakers else None
            if self._speakers and self._rules.barge_in:
                self._overlap_at = now + self._overlap_delay
        actions.append(Play(self.turn))
        return actions

    def generation_complete(self) -> list[Action]:
        """The model has sent all of its turn."""
        if not self._generating:
            return []
        self._generating = self._cut = self._owed = False
        self._stalls_at = None
        return [EndTurn(self.turn)]

    def turn_complete(self, now: float) -> list[Action]:
        """The service considers the turn over."""
        actions = self.generation_complete()
        self._stirred_at = now
        if self._open and self._doubted:
            self._completion_waits = True
        elif self._open:
            actions += self._complete()
        self._open = False
        return actions + self._commit_if_due(now)

    def interrupted(self, now: float, playing: bool) -> list[Action]:
        """The service says that the user has interrupted the model. `playing`: there is something
        to lose."""
        if self._rules.marks_activity and not self._provoked:
            return []  # nothing that it was told could have done that
        if not (self._open or playing):
            return self._release()
        if playing and not self._explained(now):
            return [] if self._doubted else self._doubt(now)
        actions = self._drop("server")
        self._stalls_at = None
        if self._owed:
            self._watch(now)
        elif not self._speakers:
            self._expect_answer_to_speech(now)
        return actions

    def model_wrote(self, now: float) -> list[Action]:
        """Take note of text of the model that is not speech: it answers, and nobody hears it."""
        if self._open:
            return self.at_work(now)
        if not (self._speakers or self._activity):  # or it is to answer what is being said
            self._owed = True
            self._stirred_at = now
            self._watch(now)
        return []

    def at_work(self, now: float) -> list[Action]:
        """The service shows that it is at work without having said anything."""
        if self._stalls_at is not None:
            self._watch(now)
        return []

    def interaction(self, now: float, in_progress: bool) -> list[Action]:
        """Take note of whether the service is at work: then a finished turn is not the answer."""
        if self._in_progress and not in_progress:
            self._stirred_at = now
        self._in_progress = in_progress
        return []

    def connection_lost(self, now: float) -> list[Action]:
        """The connection is gone, and with it the rest of the turn that was being sent."""
        owed = self._owed
        actions = self.generation_complete()
        self._owed = owed
        self._open = self._cut = self._in_progress = False
        self._completion_waits = False
        self._stalls_at = None
        if self._doubted:
            self._doubted = False
            self._doubt_ends_at = None
            actions += self._let_go()
        return actions + self._commit_if_due(now)

    def connection_resumed(self, now: float) -> list[Action]:
        """The session goes on over another connection; what was asked is asked again."""
        if self._owed:
            self._watch(now)
        return []

    # -- from the application ------------------------------------------------------------------

    def text_sent(self, now: float) -> list[Action]:
        """The application has sent a text, which interrupts the model and asks for an answer."""
        self._provoked = self._owed = True
        self._stirred_at = now
        self._watch(now)
        return []

    def interrupt(self, drop: bool) -> list[Action]:
        """Pause, or with `drop` end the turn for good."""
        if not drop:
            held, self._paused_by_app = self.paused, True
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
        if _due(self._resume_at, now):
            self._resume_at = None
            self._paused_by_speech = False
            actions += self._let_go()
        if _due(self._doubt_ends_at, now):
            self._doubt_ends_at = None
            self._doubted = False
            actions += self._let_go()
            if self._completion_waits:
                actions += self._complete()
        if _due(self._unduck_at, now):
            self._unduck_at = None
            self._ducked = False
            actions.append(Unduck())
        if _due(self._activity_ends_at, now):
            self._activity_ends_at = None
            self._activity = False
            actions.append(EndActivity())
            self._expect_answer_to_speech(now)
        if _due(self._stalls_at, now):
            actions += self._stall(now)
        return actions

    # -- barge-in ------------------------------------------------------------------------------

    @property
    def _may_commit(self) -> bool:
        """Whether this side may cut the turn: see "Who commits"."""
        return not self._open or (self._rules.marks_activity and not self._activity)

    def _pause_for_speech(self, now: float) -> list[Action]:
        if self._paused_by_app:
            return []
        pause: list[Action] = [] if self._paused_by_speech else [Pause()]
        self._paused_by_speech = True
        return pause + self._commit_if_due(now)

    def _commit_if_due(self, now: float) -> list[Action]:
        """Drop what is paused for speech that has lasted, if that is for this side to decide."""
        paused = self._paused_by_speech and not self._paused_by_app
        return self._commit(now) if paused and self._sustained and self._may_commit else []

    def _commit(self, now: float) -> list[Action]:
        actions = self._drop("speech")
        if self._rules.marks_activity and not self._activity:
            self._cut = self._generating
            actions.append(self._start_activity(now))
        return actions

    def _start_activity(self, now: float) -> Action:
        self._activity = self._provoked = True
        return StartActivity(now - self._speech_since)

    def _end_duck(self, now: float) -> None:
        if self._ducked and not self.paused and not self._starting and not self._speakers:
            self._unduck_at = now + DUCK_HOLD

    def _drop(self, by: str) -> list[Action]:
        was_open = self._open or self._completion_waits
        if was_open:
            self._cut_turn = self.turn
        if by == "server":
            self._generating = self._open = self._cut = False
        self._completion_waits = False
        return [Drop(self.turn, by, was_open), *self._release()]

    def _complete(self) -> list[Action]:
        self._completion_waits = False
        return [CompleteTurn(self.turn)] if self.turn > self._cut_turn else []

    def _let_go(self) -> list[Action]:
        """One reason to hold playback is gone; go on if it was the last."""
        return [] if self.paused else [*self._unduck(), Resume()]

    def _release(self) -> list[Action]:
        """Open the gate: whatever comes next is heard, at full level."""
        held = self.paused
        self._paused_by_speech = self._paused_by_app = self._doubted = False
        self._resume_at = self._overlap_at = self._doubt_ends_at = None
        actions: list[Action] = [*self._unduck(), Resume()] if held else self._unduck()
        return [*actions, *self._complete()] if self._completion_waits else actions

    def _unduck(self) -> list[Action]:
        ducked, self._ducked = self._ducked, False
        self._unduck_at = None
        return [Unduck()] if ducked else []

    # -- interruptions that nobody here has heard ----------------------------------------------

    def _explained(self, now: float) -> bool:
        """Whether something is known that an interruption can be about."""
        if not self._rules.barge_in or self._paused_by_app or self._provoked or self._speakers:
            return True
        return self._heard_at is not None and now - self._heard_at <= HEARD

    def _doubt(self, now: float) -> list[Action]:
        held, self._doubted = self.paused, True
        self._doubt_ends_at = now + DOUBT
        return [] if held else [Pause()]

    # -- stalls --------------------------------------------------------------------------------

    def _watch(self, now: float) -> None:
        """The service should say something from here on."""
        self._reminded = False
        if self._rules.stall_after is not None:
            self._stalls_at = now + self._rules.stall_after

    def _expect_answer_to_speech(self, now: float) -> None:
        if self._rules.may_stay_silent or self._heard_at is None:
            return
        if self._heard_at - self._rules.hangover - self._speech_since >= TURN_OF_THE_USER:
            self._owed = True
            self._watch(now)

    def _stall(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if not self._reminded:
            actions.append(Stalled(self._rules.stall_after or 0.0, self._generating))
            if self._rules.nudge:
                self._watch(now)
                self._reminded = True
                return [*actions, Nudge()]
        self._stalls_at = None
        if self._rules.reconnect:
            actions.append(Reconnect())
        return actions


def _due(at: float | None, now: float) -> bool:
    return at is not None and now >= at
