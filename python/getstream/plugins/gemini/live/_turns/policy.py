"""The rules of a full-duplex conversation: who speaks, who gives way, and what is dropped.

Sans-IO: no asyncio, no clock, no logger. Events of the call and of the service come in as method
calls with the time as an argument; what is to be done comes out as a list of actions; and
`next_timeout` tells when `timeout` wants to be called. Times are seconds on any monotonic clock.

The model's turns
- A turn begins with its first audio (or text part, where texts are what is said). Its audio ends
  with `generation_complete`: the service delays `turn_complete` until it believes the playback
  over, and sometimes sends none (livekit agents #4979). So a turn is also over `SETTLE_S` after its
  last sample was played, and when the next one begins.
- A cut turn never speaks again, not even from audio that arrives late; the turn after it always
  does. What arrives in the first moment after an interruption is withheld until it is known
  whether it is the end of the old turn or the begin of the next one.
- A `turn_complete` that comes late is told from the one of a running turn by
  `generation_complete`, which every turn that was not interrupted has before it.

Barge-in, in stages
- Evidence: at the first sign of speech the assistant is ducked. If it was nothing, the duck ends.
- Speech: when the sign holds, playback pauses. What arrives meanwhile is queued, never dropped.
- Then one of two things. Commit: what is queued is dropped. Or playback goes on at the exact
  sample, `resume_after_s` after the speech has ended. So a cough costs nothing.

Who commits
- While the model's turn is open under the service's own detection of activity, only the service,
  by `interrupted`: the wire has no turn ids, so the audio that follows a cut that the service does
  not know of could not be told apart.
- After `turn_complete` the service has nothing left to interrupt. What is still queued is dropped
  once somebody's speech is sustained.
- The answer to speech replaces what is queued of the turn before it, once all of that has been
  sent: also when playback has gone on meanwhile, and when only the service has heard the speech.
- With the service's detection off (`marks_activity`), this side: once speech over the assistant is
  sustained, at once otherwise, it tells the service that the user speaks.
- Speech is sustained when the detector has heard `BargeIn.commit_after_ms` of it. Neither its
  hangover nor time in which no audio arrived counts, so this is an event and no timer.

Interruptions that nobody here has heard
- The service may be wrong (a click, a phantom). Playback pauses at once, but what is queued waits
  for `UNCONFIRMED_INTERRUPTION_S`: local speech or a new turn of the model confirms the cut; more
  audio of the same turn, or nothing, refutes it, and playback goes on.
- An interruption means nothing when no turn is open and nothing is playing. A turn that was heard
  whole is complete, not interrupted.

The application
- What it holds stays held, whoever speaks, until it lets go or the service interrupts.

Stalls
- A request is a text, speech to a model that always answers, or speech of which the service has
  sent a transcript, whatever the model may do. When nothing comes, or the model falls silent in
  the middle of its turn, that is reported after `stall_after_s`.
- A turn that ends without audio answers nothing: what the model only writes where audio is speech
  (reasoning, stray text) is heard by nobody. It is reported after `stall_after_s`, or when somebody
  speaks again before that; at once where the service says that it has rejected the answer.
- A function that the model has called is a request to this side: nothing is owed until it is
  answered, and nothing can come while the model waits for it. The answer is a request again.
- For each stall the service is nudged once. A new connection is tried once until the model speaks
  again: it sends again what was not answered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from .._events import Cause, HoldReason, StallReason

DUCK_HOLD_S = 0.2
"""Seconds without a sign of speech until a duck ends: single frames must not make it flutter."""

UNCONFIRMED_INTERRUPTION_S = 2.0
"""Seconds for which an interruption that nobody here has heard may still be confirmed: what a
person says until the model begins to answer it takes about as long."""

RECENT_SPEECH_S = 3.0
"""Seconds for which speech explains an interruption: the service decides on its own audio, with
its own delay, and may tell late. Likewise, a transcript that comes later than this after the begin
of a turn is not of the question that the turn answers."""

MIN_REQUEST_S = 0.3
"""Seconds of speech that make a request: less is a cough or a click."""

STALE_S = 0.5
"""Seconds after `interrupted` in which audio may be the end of the cut turn. In recorded sessions
its `turn_complete` comes 0.09 s after it, and the next turn not before 1.4 s; an answer to speech
cannot come in less than the silence that ends the speech (0.5 s by default)."""

SETTLE_S = 1.0
"""Seconds after the last sample of a turn until it is over without `turn_complete`. The service's
estimate of the playback begins earlier than the playback, by the prefill and the way here."""

LATE_COMPLETION_S = 10.0
"""Seconds for which the `turn_complete` of an earlier turn is expected to come late."""

CUT_GAP_S = 2.0
"""Seconds without content after which a request is answered by what comes, although the end of the
turn that was cut here was never told. The model's longest pauses inside of a turn are shorter."""

LATE_TRANSCRIPT_S = 1.0
"""Seconds after the begin of a turn in which a transcript of the user is of its question: it has no
order against the audio."""

NEED_MORE_INPUT = "NEED_MORE_INPUT"
"""Reason of `turn_complete` that is no failure: the model waits for the rest of what is said."""


@dataclass(frozen=True, kw_only=True)
class TurnOptions:
    """Options of the turn policy. Times are in seconds.

    Attributes:
        barge_in: whether local speech ducks, pauses and commits at all.
        resume_after_s: silence after which a paused reply goes on.
        hangover_s: silence that has already passed when `speech_stopped` is called.
        marks_activity: the service's own detection is off: this side tells when the user speaks.
        end_of_turn_s: silence after which it tells that the user has finished.
        stall_after_s: how long the model may owe an answer, or None: it is not watched.
        may_stay_silent: the model may choose not to answer what is said.
        transcript_is_request: it has to answer all the same what the service has transcribed.
        nudge: whether to nudge the service when it has stalled.
        reconnect: whether to reconnect when that does not help either.
    """

    barge_in: bool = True
    resume_after_s: float = 0.4
    hangover_s: float = 0.2
    marks_activity: bool = False
    end_of_turn_s: float = 0.5
    stall_after_s: float | None = None
    may_stay_silent: bool = True
    transcript_is_request: bool = True
    nudge: bool = False
    reconnect: bool = False


# -- what is to be done --------------------------------------------------------------------------


@dataclass(frozen=True)
class Play:
    """Queue the content that has just arrived, as part of this turn."""

    turn: int


@dataclass(frozen=True)
class Withhold:
    """Keep the content that has just arrived until `PlayWithheld`.

    It is of the turn that was cut, and void, when the phase is no longer `STALE` without that.
    """


@dataclass(frozen=True)
class PlayWithheld:
    """Queue what was withheld, as part of this turn."""

    turn: int


@dataclass(frozen=True)
class EndTurn:
    """Note that no more audio of this turn will come."""

    turn: int


@dataclass(frozen=True)
class CompleteTurn:
    """Tell that this turn is complete, and was not cut.

    Attributes:
        turn: the turn.
        reason: `turnCompleteReason` of the service, or "".
    """

    turn: int
    reason: str = ""


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
class DiscardPlayback:
    """Fade out, and forget what is queued of this turn and of those before it.

    Attributes:
        turn: the newest turn.
        cause: who cut it.
        open: the service had not completed it yet: then it was cut even if nothing is queued.
    """

    turn: int
    cause: Cause
    open: bool


@dataclass(frozen=True)
class StartActivity:
    """Tell the service that the user speaks, and send what was said already.

    Attributes:
        since_s: how long ago the speech was confirmed, in seconds.
    """

    since_s: float


@dataclass(frozen=True)
class EndActivity:
    """Tell the service that the user has finished."""


@dataclass(frozen=True)
class Stalled:
    """Report that the model owes something.

    Attributes:
        waited_s: for how long, in seconds.
        reason: `unfinished`: it fell silent in the middle of a turn. `unanswered`: nothing came.
            `unheard`: it has only written, in a session that speaks. `empty`: its turn had nothing
            in it. `rejected`: the service says that there will be no answer.
        detail: `turnCompleteReason` of the service, or "".
    """

    waited_s: float
    reason: StallReason
    detail: str = ""


@dataclass(frozen=True)
class Nudge:
    """Remind the service."""


@dataclass(frozen=True)
class Reconnect:
    """Give up on this connection, and resume the session on a new one."""


Action = (
    Play
    | Withhold
    | PlayWithheld
    | EndTurn
    | CompleteTurn
    | Duck
    | Unduck
    | Pause
    | Resume
    | DiscardPlayback
    | StartActivity
    | EndActivity
    | Stalled
    | Nudge
    | Reconnect
)


# -- the state -----------------------------------------------------------------------------------


class Phase(Enum):
    """The state of the model's newest turn."""

    IDLE = "over, or none has begun"
    GENERATING = "the service is sending it"
    SENT = "sent, and not complete"
    CUT = "cut here, while the service goes on sending it"
    STALE = "interrupted by the service, and its last audio may still be on the way"


class Remedy(Enum):
    """The newest thing that was tried against a stall that has been reported."""

    NONE = "no stall has been reported"
    NUDGE = "a nudge"
    RECONNECT = "a new connection"


Deadline = Literal[
    "overlap",  # speech that was under way when the turn began has outlived its hangover
    "resume",  # silence after the speech for which playback is paused
    "unconfirmed",  # an interruption that nobody here has heard is no longer believed
    "unduck",  # the duck ends
    "activity end",  # the service is told that the user has finished
    "stale",  # what arrives now is no longer the end of the cut turn
    "settle",  # the turn is over without having been completed
    "stall",  # the model should have said something
]


class TurnPolicy:
    """The state of one conversation.

    `playing`, in the methods that take it, says whether any of the assistant's audio is queued
    or sounding.
    """

    def __init__(self, rules: TurnOptions | None = None) -> None:
        self._rules = rules = rules or TurnOptions()
        self._end_of_turn_delay = max(0.0, rules.end_of_turn_s - rules.hangover_s)
        self._deadlines: dict[Deadline, float] = {}

        # The model's turn.
        self.turn = 0
        self._play = Play(0)  # of the newest turn, made once
        self._phase = Phase.IDLE
        self._turn_began_at = float("-inf")
        self._ended_at = float("-inf")  # when the service was done with the newest turn
        self._content_at = float("-inf")
        self._unconfirmed_since: float | None = None  # when an unconfirmed interruption of it came
        self._played_out = False  # nothing more of it will be played
        self._input_since_turn = False  # something was sent since it began that may interrupt it
        self._spoken_over: Cause | None = None  # who has heard speech that the next turn answers
        self._withheld = False  # content that may be of the cut turn or of the next one
        self._late_completion_until = float("-inf")
        self._in_progress = False  # the service is at work, between turns, too

        # The people.
        self._starting: set[str] = set()  # signs of speech that are not confirmed
        self._speakers: set[str] = set()
        self._sustained: set[str] = set()  # those of them who have spoken for long
        self._speech_since = 0.0
        self._unanswered_since: float | None = None
        self._heard_at: float | None = None  # when somebody was last known to speak
        self._transcribed = False  # the service has heard what is being said
        self._activity = False  # the service has been told that the user speaks

        # The gate of playback.
        self._ducked = False
        self._holds: set[HoldReason] = set()
        self._completion_waits = False  # of the turn whose interruption is unconfirmed

        # What is expected of the model.
        self._last_activity_at = float("-inf")  # when something was last said, by anybody
        self._texts = 0  # that no turn has answered
        self._response_pending: StallReason | None = None
        self._asked_at: float | None = None
        self._remedy = Remedy.NONE
        self._reconnected = False  # since the model last spoke
        self._tool_calls = 0  # that are not answered
        self._blocking_calls = 0  # those of them that the model waits for

    @property
    def phase(self) -> Phase:
        """Return the state of the newest turn."""
        return self._phase

    @property
    def paused_by_app(self) -> bool:
        """Tell whether the application holds playback."""
        return "app" in self._holds

    @property
    def hold_reason(self) -> HoldReason:
        """Return the reason for which playback is held; the application's first."""
        if "app" in self._holds:
            return "app"
        return "speech" if "speech" in self._holds else "unconfirmed"

    @property
    def paused(self) -> bool:
        """Tell whether playback is held, by anybody."""
        return bool(self._holds)

    @property
    def ducked(self) -> bool:
        """Tell whether the voice of the assistant is lowered, or will be when it goes on."""
        return self._ducked

    @property
    def generating(self) -> bool:
        """Tell whether the service is sending the current turn."""
        return self._phase in (Phase.GENERATING, Phase.CUT)

    @property
    def idle_since(self) -> float | None:
        """Return since when nobody speaks and no answer is expected; None if that is not so."""
        people = self._speakers or self._starting or self._activity
        expected = self._response_pending is not None or self._in_progress
        busy = people or expected or self._tool_calls or self._phase is not Phase.IDLE
        return None if busy else self._last_activity_at

    @property
    def is_between_turns(self) -> bool:
        """Tell whether nobody speaks, nothing is being sent and no answer is owed.

        What has been sent may still be playing.
        """
        people = self._speakers or self._starting or self._activity
        owed = self.answer_due or self._in_progress
        return not people and not owed and self._phase in (Phase.IDLE, Phase.SENT)

    @property
    def turn_began_at(self) -> float:
        """Return when the newest turn of the model began."""
        return self._turn_began_at

    @property
    def ended_at(self) -> float:
        """Return when the service was done with the newest turn that has ended."""
        return self._ended_at

    @property
    def unanswered_since(self) -> float | None:
        """Return when the speech began that the model has not begun to answer, or None."""
        return self._unanswered_since

    @property
    def answer_due(self) -> bool:
        """Tell whether something was said or written that the next turn will answer."""
        spoken = self._unanswered_since is not None and not self._speakers
        return spoken or self._texts > 0 or self._response_pending is not None

    @property
    def next_timeout(self) -> float | None:
        """Return when to call `timeout`, or None."""
        # Asked after each message.
        return min(self._deadlines.values()) if self._deadlines else None

    # -- from the call -------------------------------------------------------------------------

    def speech_starting(self, who: str, playing: bool) -> list[Action]:
        """Take note of a first sign that a participant speaks."""
        self._starting.add(who)
        self._cancel("unduck")
        if not (self._rules.barge_in and playing) or self.paused or self._ducked:
            return []
        self._ducked = True
        return [Duck()]

    def speech_dismissed(self, now: float, who: str) -> list[Action]:
        """Take note that the sign was nothing."""
        self._starting.discard(who)
        if self._ducked and not self.paused and not self._starting:
            self._deadlines["unduck"] = now + DUCK_HOLD_S
        return []

    def speech_started(self, now: float, who: str, playing: bool) -> list[Action]:
        """Take note that a participant has begun to speak."""
        self._starting.discard(who)
        if not self._speakers:
            self._speech_since = now
            self._transcribed = False
        if self._unanswered_since is None:
            self._unanswered_since = now
        self._speakers.add(who)
        actions: list[Action] = []
        if self._response_pending in ("unheard", "empty") and self._remedy is Remedy.NONE:
            actions += self._report_stall(now, self._waited(now))
        self._cancel("stall")
        self._cancel("activity end")
        if "unconfirmed" in self._holds:
            actions += self._drop(now, "server")
            playing = False
        if not playing:
            actions += self._unduck()
        over_assistant = playing or self._phase is Phase.GENERATING
        answers = self._rules.barge_in and not self.paused_by_app
        if self._rules.marks_activity and not self._activity and not (answers and over_assistant):
            actions.append(self._start_activity(now))
        if not self._rules.barge_in:
            return actions
        self._cancel("resume")
        if over_assistant:
            actions += self._pause_for_speech(now)
        return actions

    def speech_sustained(self, now: float, who: str) -> list[Action]:
        """Take note that a speaker was heard for so long that it is no cough and no "mhm"."""
        if who not in self._speakers:
            return []
        self._sustained.add(who)
        if "speech" in self._holds:
            self._spoken_over = "speech"
        return self._commit_if_due(now)

    def speech_stopped(self, now: float, who: str) -> list[Action]:
        """Take note that a participant was silent for the detector's hangover, or has left."""
        if who not in self._speakers:
            return self.speech_dismissed(now, who)
        self._speakers.discard(who)
        self._sustained.discard(who)
        self._heard_at = self._last_activity_at = now
        if self._speakers:
            return []
        self._cancel("overlap")
        if "speech" in self._holds:
            self._deadlines["resume"] = now + self._resume_delay
        if self._activity:
            self._deadlines["activity end"] = now + self._end_of_turn_delay
        else:
            self._expect_answer_to_speech(now)
        return []

    def playback_finished(self, now: float, turn: int) -> list[Action]:
        """Take note that the last sample was played of a turn of which no more will come."""
        if turn == self.turn:
            self._played_out = True
            if self._phase is Phase.SENT:
                self._deadlines["settle"] = now + SETTLE_S
        return []

    # -- from the service ----------------------------------------------------------------------

    def model_content(self, now: float) -> list[Action]:
        """Decide on audio or text of the model: without `Play` or `Withhold` it is dropped."""
        silent_for = now - self._content_at
        self._content_at = self._last_activity_at = now
        if self._phase is Phase.GENERATING and self._unconfirmed_since is None:
            return self._go_on(now, [])
        actions: list[Action] = []
        if self._is_due("stale", now):
            actions += self._play_withheld(now)
        if self._phase is Phase.STALE:
            self._withheld = True
            return [Withhold()]
        if self._phase is Phase.CUT:
            if silent_for < CUT_GAP_S or not self.answer_due:
                return []
            self._end_turn(now, late_completion=True)
        if self._phase is Phase.GENERATING and self._unconfirmed_since is not None:
            if now - self._unconfirmed_since < STALE_S:
                return [self._play]  # queued: it may be the end of the interrupted turn
            if silent_for >= STALE_S:  # the service did stop: this is the next turn
                self._enter(now, Phase.SENT)
                self._spoken_over = "server"
                actions.append(EndTurn(self.turn))
            else:
                self._unconfirmed_since = None
                actions += self._let_go("unconfirmed")
        if self._phase is not Phase.GENERATING:
            actions += self._begin_turn(now)
        return self._go_on(now, actions)

    def _go_on(self, now: float, actions: list[Action]) -> list[Action]:
        """Go on with the turn that is being sent."""
        self._watch(now)  # for the rest of it
        self._remedy = Remedy.NONE
        self._reconnected = False
        if "settle" in self._deadlines:
            self._cancel("settle")
        actions.append(self._play)
        return actions

    def generation_complete(self, now: float) -> list[Action]:
        """Take note that the model has sent all of its turn."""
        actions: list[Action] = []
        if self._withheld:
            actions += self._play_withheld(now)  # an interrupted turn has no such end
        if self._phase is Phase.CUT:
            self._end_turn(now, late_completion=True)
            return [EndTurn(self.turn)]
        if self._phase is not Phase.GENERATING:
            return actions
        self._enter(now, Phase.SENT)
        return [*actions, EndTurn(self.turn)]

    def turn_complete(self, now: float, reason: str = "") -> list[Action]:
        """Take note that the service considers the turn over.

        Args:
            now: the time.
            reason: `turnCompleteReason`, or "".
        """
        self._last_activity_at = now
        late = now < self._late_completion_until
        phase, actions = self._phase, list[Action]()
        if phase is Phase.IDLE:
            return self._note_empty_turn(now, reason, late)
        if phase is Phase.GENERATING and late and "unconfirmed" not in self._holds:
            # Not this turn's: it has not been sent yet. Should it be so all the same, nothing more
            # will come.
            self._late_completion_until = float("-inf")
            self._deadlines["settle"] = now + SETTLE_S
            return []
        if phase in (Phase.GENERATING, Phase.CUT):
            actions.append(EndTurn(self.turn))
        self._end_turn(now)
        if phase in (Phase.CUT, Phase.STALE):
            return actions
        if "unconfirmed" in self._holds:
            self._completion_waits = True
        else:
            actions += self._complete(reason)
        return actions + self._commit_if_due(now)

    def interrupted(self, now: float, playing: bool) -> list[Action]:
        """Decide on an interruption that the service tells.

        Args:
            now: the time.
            playing: whether there is something to lose.
        """
        if self._phase is Phase.CUT:
            self._end_turn(now)
            self._enter(now, Phase.STALE)
            return []
        if self._rules.marks_activity and not self._input_since_turn:
            # Nothing that it was told could have done that. A `turn_complete` follows it.
            self._late_completion_until = now + LATE_COMPLETION_S
            return []
        if self._phase is Phase.SENT and not playing:
            self._end_turn(now, late_completion=True)
            return self._complete()
        if "unconfirmed" in self._holds:
            return []
        if self._phase is Phase.IDLE:
            self._late_completion_until = now + LATE_COMPLETION_S  # of this interruption
        if not (playing or self._phase is Phase.GENERATING):
            return []
        if playing and not self._has_local_evidence(now):
            return self._await_confirmation(now)
        actions = self._drop(now, "server")
        if self._texts:
            self._response_pending = "unanswered"
        if not self._speakers:
            self._expect_answer_to_speech(now)
        return actions

    def model_wrote(self, now: float) -> list[Action]:
        """Take note of text of the model that is not speech: it answers, and nobody hears it."""
        if self._phase is not Phase.IDLE:
            return self.at_work(now)
        if not (self._speakers or self._activity):  # or it is to answer what is being said
            self._response_pending = "unheard"
            self._asked_at = self._last_activity_at = now
            self._watch(now)
        return []

    def user_transcribed(self, now: float, playing: bool) -> list[Action]:
        """Take note that the service has heard the user: a piece of a transcript came."""
        if self._speakers or self._activity:
            # An answer is expected when it has ended.
            self._transcribed = self._rules.transcript_is_request
            return []
        if self._phase is Phase.GENERATING or self._in_progress:
            return []
        if playing:
            if self._rules.barge_in and now - self._turn_began_at > LATE_TRANSCRIPT_S:
                self._spoken_over = self._spoken_over or "server"
            return []
        is_news = self._unanswered_since is not None or now - self._turn_began_at > RECENT_SPEECH_S
        # Where nobody watches, nobody would give it up again.
        if is_news and self._rules.transcript_is_request and self._rules.stall_after_s is not None:
            self._expect_answer(now)
        return []

    def at_work(self, now: float) -> list[Action]:
        """Take note that the service is at work without having said anything."""
        if "stall" in self._deadlines:
            self._watch(now)
        return []

    def interaction(self, now: float, in_progress: bool) -> list[Action]:
        """Take note of whether the service is at work: then a finished turn is not the answer."""
        if self._in_progress:
            self._last_activity_at = now
        self._in_progress = in_progress
        return []

    def tool_called(self, now: float, waits: bool) -> list[Action]:
        """Take note that the model has called a function: it is this side's turn to answer.

        Args:
            now: the time.
            waits: the model says nothing until the function is answered.
        """
        self._tool_calls += 1
        self._blocking_calls += 1 if waits else 0
        self._last_activity_at = now
        self._response_pending = None
        self._remedy = Remedy.NONE
        if not self._speakers:
            self._unanswered_since = None
        self._cancel("stall")
        return []

    def tool_answered(self, now: float, waits: bool, expects: bool) -> list[Action]:
        """Take note that a call is over: it was answered, or no answer is wanted.

        Args:
            now: the time.
            waits: as in `tool_called`.
            expects: the model has to speak of it.
        """
        self._tool_calls -= 1
        self._blocking_calls -= 1 if waits else 0
        self._last_activity_at = now
        if expects and self._phase is not Phase.GENERATING:
            self._expect_answer(now)
        elif expects or (self._response_pending is not None and not self._speakers):
            self._watch(now)
        return []

    def connection_lost(self, now: float) -> list[Action]:
        """End what the connection that is gone has taken with it: the rest of the turn."""
        phase, actions = self._phase, list[Action]()
        if phase in (Phase.GENERATING, Phase.CUT):
            actions.append(EndTurn(self.turn))
        if phase is not Phase.IDLE:
            self._end_turn(now)
        self._late_completion_until = float("-inf")
        self._in_progress = False
        self._cancel("stall")
        if "unconfirmed" in self._holds:
            actions += self._let_go("unconfirmed")
        if phase is Phase.SENT or self._completion_waits:
            actions += self._complete()
        return actions + self._commit_if_due(now)

    def connection_resumed(self, now: float) -> list[Action]:
        """Watch again for what was asked: it is asked again over another connection."""
        if self._response_pending is not None and not self._speakers:
            self._watch(now)
        return []

    # -- from the application ------------------------------------------------------------------

    def text_sent(self, now: float, is_nudge: bool = False) -> list[Action]:
        """Take note of a text, which interrupts the model and asks for an answer.

        Args:
            now: the time.
            is_nudge: it is the one that `Nudge` has asked for, which is no new request.
        """
        remedy = self._remedy if is_nudge else Remedy.NONE
        self._input_since_turn = True
        self._texts += 1
        self._last_activity_at = now
        self._expect_answer(now)
        self._remedy = remedy
        return []

    def interrupt(self, now: float, drop: bool) -> list[Action]:
        """Pause, or with `drop` end the turn for good."""
        if not drop:
            held = self.paused
            self._holds.add("app")
            return [] if held else [Pause()]
        return self._drop(now, "app")

    def resume(self) -> list[Action]:
        """Go on, whoever paused."""
        return self._release()

    def change_barge_in(
        self, now: float, playing: bool, *, barge_in: bool, resume_after_s: float
    ) -> list[Action]:
        """Go on by other rules of barge-in, as if they had held since the speech began.

        A wait that is under way ends by the new time. Without barge-in, playback goes on that is
        held or lowered for speech; with it, who is speaking over the assistant pauses it. The hold
        of the application stays, and so does an interruption that waits to be confirmed.

        Args:
            now: the time.
            playing: whether any of the assistant's audio is queued or sounding.
            barge_in: see `TurnOptions`.
            resume_after_s: see `TurnOptions`.
        """
        had_barge_in = self._rules.barge_in
        self._rules = replace(self._rules, barge_in=barge_in, resume_after_s=resume_after_s)
        if had_barge_in and not barge_in:
            return self._stop_giving_way(now)
        if barge_in and not had_barge_in:
            return self._give_way(now, playing)
        if "resume" in self._deadlines and self._heard_at is not None:
            self._deadlines["resume"] = self._heard_at + self._resume_delay
        if "overlap" in self._deadlines:
            self._deadlines["overlap"] = self._turn_began_at + self._overlap_delay
        return []

    # -- from the clock ------------------------------------------------------------------------

    def timeout(self, now: float, playing: bool) -> list[Action]:
        """Do what has become due."""
        actions: list[Action] = []
        if self._is_due("overlap", now) and playing:
            actions += self._pause_for_speech(now)
        if self._is_due("resume", now):
            actions += self._let_go("speech")
        if self._is_due("unconfirmed", now):
            actions += self._dismiss_interruption(now)
        if self._is_due("unduck", now):
            actions += self._unduck()
        if self._is_due("activity end", now):
            self._activity = False
            actions.append(EndActivity())
            self._expect_answer_to_speech(now)
        if self._is_due("stale", now):
            actions += self._play_withheld(now)
        if self._is_due("settle", now):
            if self._phase is Phase.GENERATING:
                actions.append(EndTurn(self.turn))
            self._end_turn(now, late_completion=True)
            actions += self._complete()
        if self._is_due("stall", now):
            actions += self._stall(now)
        return actions

    def _is_due(self, deadline: Deadline, now: float) -> bool:
        """Tell whether a deadline has passed, and forget it then."""
        at = self._deadlines.get(deadline)
        if at is None or now < at:
            return False
        del self._deadlines[deadline]
        return True

    def _cancel(self, deadline: Deadline) -> None:
        self._deadlines.pop(deadline, None)

    # -- the model's turn ----------------------------------------------------------------------

    def _enter(self, now: float, phase: Phase) -> None:
        """Set the phase of the turn; the deadlines of the one before are over."""
        self._phase = phase
        self._cancel("settle")
        self._cancel("stale")
        self._withheld = False
        if phase is Phase.STALE:
            self._deadlines["stale"] = now + STALE_S

    def _begin_turn(self, now: float) -> list[Action]:
        """Begin the next turn, which ends the one before it."""
        actions: list[Action] = []
        by: Cause | None = None
        may_replace = not (self.paused_by_app or self._played_out)
        if "unconfirmed" in self._holds:
            by = "server"
        elif may_replace and "speech" in self._holds:
            by = "speech"
        elif may_replace and not self._texts:  # what a text asks for is queued behind what is there
            by = self._spoken_over
        if by is not None:
            actions += self._drop(now, by)  # it answers what was said over that
        elif self._phase is Phase.SENT:
            self._end_turn(now, late_completion=True)
            actions += self._complete()
        self.turn += 1
        self._play = Play(self.turn)
        self._enter(now, Phase.GENERATING)
        self._turn_began_at = now
        self._unconfirmed_since = None
        self._played_out = False
        self._spoken_over = None
        # Of several texts the first is answered; those after it may interrupt the answer.
        self._input_since_turn = self._activity or self._texts > 1
        self._texts = max(0, self._texts - 1)
        self._response_pending = None
        self._unanswered_since = self._speech_since if self._speakers else None
        if self._speakers and self._rules.barge_in:
            self._deadlines["overlap"] = now + self._overlap_delay
        return actions

    def _end_turn(self, now: float, late_completion: bool = False) -> None:
        """Close the turn; with `late_completion`, its `turn_complete` is still to come."""
        self._enter(now, Phase.IDLE)
        self._ended_at = now
        if late_completion:
            self._late_completion_until = now + LATE_COMPLETION_S

    def _complete(self, reason: str = "") -> list[Action]:
        self._completion_waits = False
        # A text from before its begin was answered with it; one from after that was not.
        self._texts = min(self._texts, int(self._response_pending is not None))
        return [CompleteTurn(self.turn, reason)]

    def _note_empty_turn(self, now: float, reason: str, late: bool) -> list[Action]:
        """Take note of a `turn_complete` without anything before it."""
        if reason and reason != NEED_MORE_INPUT:
            self._response_pending = "rejected"
            return self._report_stall(now, self._waited(now), reason)
        if late:
            self._late_completion_until = float("-inf")
            return []
        if self._speakers or self._activity or self._in_progress or self._tool_calls or reason:
            return []
        if self._response_pending == "unheard":
            return []
        if self._response_pending is not None or self._unanswered_since is not None:
            self._response_pending = "empty"
            if "stall" not in self._deadlines:
                self._watch(now)
        return []

    def _play_withheld(self, now: float) -> list[Action]:
        """End the wait for the end of the cut turn: what has come since is another one."""
        withheld = self._withheld
        self._end_turn(now, late_completion=True)
        return [*self._begin_turn(now), PlayWithheld(self.turn)] if withheld else []

    # -- barge-in ------------------------------------------------------------------------------

    @property
    def _resume_delay(self) -> float:
        """Return the seconds from the reported end of speech until playback goes on."""
        return max(0.0, self._rules.resume_after_s - self._rules.hangover_s)

    @property
    def _overlap_delay(self) -> float:
        """Return the seconds after which speech that a turn has begun in counts as barge-in.

        It has to outlive the hangover: when the turn begins, the detector still reports the words
        that the turn answers.
        """
        return self._rules.hangover_s + self._rules.resume_after_s

    def _stop_giving_way(self, now: float) -> list[Action]:
        """Let go of what is held or lowered for speech: barge-in has been switched off."""
        self._cancel("resume")
        self._cancel("overlap")
        self._cancel("unduck")
        if self._spoken_over == "speech":
            self._spoken_over = None
        held_for_speech = "speech" in self._holds
        actions = self._let_go("speech") if held_for_speech else []
        if not self.paused:
            actions += self._unduck()
        if self._rules.marks_activity and self._speakers and not self._activity:
            actions.append(self._start_activity(now))  # it waited to be sustained
        return actions

    def _give_way(self, now: float, playing: bool) -> list[Action]:
        """Give way to who is speaking: barge-in has been switched on."""
        if self._speakers:
            if self._speech_since < self._turn_began_at:
                self._deadlines["overlap"] = self._turn_began_at + self._overlap_delay
                return []
            over_assistant = playing or self._phase is Phase.GENERATING
            return self._pause_for_speech(now) if over_assistant else []
        if self._starting and playing and not self.paused:
            self._ducked = True
            return [Duck()]
        return []

    def _pause_for_speech(self, now: float) -> list[Action]:
        if self.paused_by_app:
            return []
        pause: list[Action] = [] if "speech" in self._holds else [Pause()]
        self._holds.add("speech")
        if self._sustained:
            self._spoken_over = "speech"
        return pause + self._commit_if_due(now)

    def _commit_if_due(self, now: float) -> list[Action]:
        """Drop what is paused for speech that has lasted, if that is for this side to decide."""
        if "speech" not in self._holds or self.paused_by_app or not self._sustained:
            return []
        unmarked = self._rules.marks_activity and not self._activity
        if self._phase in (Phase.GENERATING, Phase.SENT) and not unmarked:
            return []  # the service decides
        actions = self._drop(now, "speech")
        return [*actions, self._start_activity(now)] if unmarked else actions

    def _start_activity(self, now: float) -> Action:
        self._activity = self._input_since_turn = True
        return StartActivity(now - self._speech_since)

    def _drop(self, now: float, cause: Cause) -> list[Action]:
        """Cut the newest turn, and open the gate for the next one."""
        phase = self._phase
        if phase is Phase.SENT and self._played_out:
            self._end_turn(now, late_completion=True)
            return [*self._complete(), *self._release()]
        was_open = phase in (Phase.GENERATING, Phase.SENT) or self._completion_waits
        if phase is Phase.GENERATING:
            self._enter(now, Phase.STALE if cause == "server" else Phase.CUT)
        elif phase is Phase.SENT:
            self._end_turn(now, late_completion=True)
        if cause == "server" and not self._texts and self._unanswered_since is None:
            self._unanswered_since = now  # somebody whom only the service has heard
        self._completion_waits = False
        self._spoken_over = None
        return [DiscardPlayback(self.turn, cause, was_open), *self._release()]

    def _let_go(self, hold: HoldReason) -> list[Action]:
        """End one reason to hold playback; go on if it was the last."""
        self._holds.discard(hold)
        if hold == "unconfirmed":
            self._cancel("unconfirmed")
        return [] if self.paused else [*self._unduck(), Resume()]

    def _release(self) -> list[Action]:
        """Open the gate: whatever comes next is heard, at full level."""
        held = self.paused
        self._holds.clear()
        for deadline in ("resume", "overlap", "unconfirmed"):
            self._cancel(deadline)
        actions: list[Action] = [*self._unduck(), Resume()] if held else self._unduck()
        return [*actions, *self._complete()] if self._completion_waits else actions

    def _unduck(self) -> list[Action]:
        ducked, self._ducked = self._ducked, False
        return [Unduck()] if ducked else []

    # -- interruptions that nobody here has heard ----------------------------------------------

    def _has_local_evidence(self, now: float) -> bool:
        """Tell whether something is known here that an interruption can be about."""
        known = self.paused_by_app or self._input_since_turn or bool(self._speakers)
        if not self._rules.barge_in or known:
            return True
        return self._heard_at is not None and now - self._heard_at <= RECENT_SPEECH_S

    def _await_confirmation(self, now: float) -> list[Action]:
        held = self.paused
        self._holds.add("unconfirmed")
        self._unconfirmed_since = now
        self._deadlines["unconfirmed"] = now + UNCONFIRMED_INTERRUPTION_S
        return [] if held else [Pause()]

    def _dismiss_interruption(self, now: float) -> list[Action]:
        """Go on with what is queued: nothing has confirmed the interruption.

        The service has stopped sending all the same. Should it have heard somebody after all, its
        answer is late, and replaces the rest.
        """
        phase, actions = self._phase, self._let_go("unconfirmed")
        self._spoken_over = "server"
        if phase is Phase.GENERATING:
            actions.append(EndTurn(self.turn))
        if phase is not Phase.IDLE:
            self._end_turn(now, late_completion=True)
        elif not self._completion_waits:
            return actions
        return actions + self._complete()

    # -- stalls --------------------------------------------------------------------------------

    def _watch(self, now: float) -> None:
        """Expect the service to say something within `stall_after_s` from here on."""
        if self._rules.stall_after_s is not None and not self._blocking_calls:
            self._deadlines["stall"] = now + self._rules.stall_after_s

    def _expect_answer(self, now: float) -> None:
        """Take note of a request."""
        self._response_pending = "unanswered"
        self._remedy = Remedy.NONE
        self._asked_at = now
        self._watch(now)

    def _expect_answer_to_speech(self, now: float) -> None:
        """Expect what has to follow, now that nobody speaks."""
        self._asked_at = now
        if self._phase is Phase.GENERATING:
            self._watch(now)  # for the rest of it
            return
        to_be_answered = not self._rules.may_stay_silent or self._transcribed
        if to_be_answered and self._spoke_long_enough and "speech" not in self._holds:
            self._remedy = Remedy.NONE
            self._response_pending = "unanswered"
        if self._response_pending is not None:
            self._watch(now)

    @property
    def _spoke_long_enough(self) -> bool:
        """Tell whether the newest speech, which has ended, was more than a cough."""
        if self._heard_at is None:
            return False
        return self._heard_at - self._rules.hangover_s - self._speech_since >= MIN_REQUEST_S

    def _waited(self, now: float) -> float:
        """Return the seconds since something was last asked."""
        return 0.0 if self._asked_at is None else now - self._asked_at

    def _stall(self, now: float) -> list[Action]:
        """Report that nothing has come, or try what is left when that was reported."""
        if self._remedy is not Remedy.NONE:
            return self._try_remedy(now)
        return self._report_stall(now, self._rules.stall_after_s or 0.0)

    def _report_stall(self, now: float, waited: float, detail: str = "") -> list[Action]:
        self._cancel("stall")
        reason = "unfinished" if self._phase is Phase.GENERATING else self._response_pending
        if self._rules.stall_after_s is None or reason is None:
            self._response_pending = None
            return []
        stalled = Stalled(waited, reason, detail)
        if self._speakers:  # whoever speaks has asked again
            self._response_pending = None
            return [stalled]
        return [stalled, *self._try_remedy(now)]

    def _try_remedy(self, now: float) -> list[Action]:
        """Try the next remedy of a stall, or give up the answer."""
        if self._rules.nudge and self._remedy is Remedy.NONE:
            self._remedy = Remedy.NUDGE
            self._watch(now)
            return [Nudge()]
        if self._rules.reconnect and not self._reconnected:
            self._remedy = Remedy.RECONNECT
            self._reconnected = True
            return [Reconnect()]
        self._remedy = Remedy.NONE
        self._response_pending = None
        self._texts = 0
        return []
