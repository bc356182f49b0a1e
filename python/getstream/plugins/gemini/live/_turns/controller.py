"""Carries out what the conversation decides: on the playback, on the events, on what is remembered.

What is left to its owner is said to it by `Effects`: marks on the wire, and the connection.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ...errors import AudioError, GeminiError
from .._emitter import Emitter
from .._events import (
    Audio,
    Event,
    Interrupted,
    PlaybackDucked,
    PlaybackFinished,
    PlaybackPaused,
    PlaybackResumed,
    PlaybackStarted,
    PlaybackUnducked,
    SpeechStarted,
    SpeechStopped,
    Stalled,
    Text,
    TurnComplete,
    TurnMetrics,
    UserText,
)
from .._media.capture import SpeechEvent
from .._media.playout import MODEL_RATE, AudioOutput, WholeChunks
from .._session import ServerMessage
from .._telemetry.metrics import SessionMetrics
from .policy import (
    Action,
    CompleteTurn,
    DiscardPlayback,
    Duck,
    EndActivity,
    EndTurn,
    Nudge,
    Pause,
    Phase,
    Play,
    PlayWithheld,
    Reconnect,
    Resume,
    StartActivity,
    TurnOptions,
    TurnPolicy,
    Unduck,
    Withhold,
)
from .policy import Stalled as StalledAction
from .transcript_feed import TranscriptFeed
from .transcript_writer import QUESTION_S
from .turn_text import AssistantTurns

logger = logging.getLogger("getstream.plugins.gemini")

LATE_TEXT_S = 2.0
"""Seconds after the end of a turn for which text may still be of it: a transcript has no order
against the audio, and was seen behind `turn_complete`."""

EARLY_TEXT_S = 1.0
"""Seconds for which text may come before the audio of its turn."""

TEXT_LAG_S = 1.0
"""Seconds after the last audio of a turn for which text may still be of it although the next turn
has begun. The one that answers somebody begins later than that."""

HOLD_WARNING_S = 30.0
"""Seconds for which the application may hold speech back before a warning says so."""


STALLS_TOLD = frozenset({10, 100, 1000})
"""Stalls in a row, beside the first one, of which the log is told when nobody listens."""

_Audio = tuple[bytes | str, int]
"""Audio with its rate in Hz: s16le, or that as base64."""


class Effects(Protocol):
    """Requests of the turns to their owner."""

    def start_activity(self, since_s: float) -> None:
        """Mark that the user speaks, who was heard `since_s` seconds ago."""

    def end_activity(self) -> None:
        """Mark that the user has finished."""

    def nudge(self) -> None:
        """Remind the service that it owes something."""

    def leave_stalled(self) -> None:
        """Try another connection."""

    def report(self, error: GeminiError) -> None:
        """Tell of an error that ends nothing."""


@dataclass
class Counts:
    """Numbers of the turns; see `Stats`."""

    interruptions: int = 0
    barge_ins: int = 0
    false_barge_ins: int = 0
    stalls: int = 0
    bad_audio: int = 0


class TurnController:
    """The turns of one conversation, as they happen. Used from one event loop.

    Args:
        rules: how the conversation is held.
        duck_db: the gain of a duck, in decibels.
        events: where to tell.
        effects: what is left to the owner.
        only_speech: whether only the transcript is what the assistant says, and text parts of the
            model are not (reasoning, stray text).
        plays: whether speech is played on a track; otherwise the application plays it as it comes.
        detection_s: seconds from the first sound of speech until it counts as speech.
        nudge: the text with which the owner reminds the service, to know it from a request.
        metrics: what measures the turns.
    """

    def __init__(
        self,
        rules: TurnOptions,
        *,
        duck_db: float,
        events: Emitter,
        effects: Effects,
        only_speech: bool = False,
        plays: bool = True,
        detection_s: float = 0.0,
        nudge: str | None = None,
        metrics: SessionMetrics,
    ) -> None:
        self.policy = TurnPolicy(rules)
        self.output = AudioOutput(
            self._playback_started,
            self._playback_finished,
            on_unpublished=self.leave_call,
            plays=plays,
        )
        self.feed = TranscriptFeed(events, detection_s=detection_s, hangover_s=rules.hangover_s)
        self.history = self.feed.history
        self.counts = Counts()
        self.last_speaker = ""  # the participant who has begun to speak last
        self.heard_until = float("-inf")  # the end of the last turn that was played
        self._duck_db = duck_db
        self._events = events
        self._effects = effects
        self._only_speech = only_speech
        self._nudge = nudge
        self._metrics = metrics
        self._spoken = AssistantTurns()
        self._early_text: list[tuple[float, str]] = []  # it has come before the audio of its turn
        self._withheld: list[_Audio | str] = []  # of the turn that was cut, or of the next one
        self._withheld_of = 0  # the turn that was cut
        self._texts_finish = False  # the service says when a transcript is complete
        self._stalls_in_a_row = 0  # that nobody listened to
        self._begun = 0  # the newest turn of which something was queued
        self._pushed_at = self._pushed_before_at = float("-inf")  # of it, and of the one before
        self._unasked = False  # a call has ended, and nobody has said anything since
        self._chunks = WholeChunks()  # for the `audio` event
        self._overflowing = False
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._hold_warning: asyncio.TimerHandle | None = None
        self._over = False

    @property
    def speaking(self) -> bool:
        """Whether the assistant is heard, or would be if its speech were not late."""
        return self.output.playing and not self.policy.paused

    def stop(self) -> None:
        """The end of the session: set no timer, tell of no playback any more."""
        for fields in self._metrics.take_all(self.output.heard_ms):
            self._events.emit(TurnMetrics, **fields)
        if not self._over:
            self.feed.end(self._heard_so_far)
        self._over = True
        for timer in (self._timer, self._hold_warning):
            if timer is not None:
                timer.cancel()

    def drain(self) -> None:
        """Nothing more will come. What was said already is still worth hearing, unless the
        application holds it: nobody is left who would tell that the speech which holds it has
        ended."""
        if not self.policy.paused_by_app:
            self.apply(self.policy.resume())
        self.output.end_turn(self.policy.turn)

    def leave_call(self) -> None:
        """Drop what nobody can hear any more, because the call is over.

        So is what the model still answers to those who were in it: until somebody speaks or the
        application sends a text, no turn that begins is played. Nobody else is to hear it.
        """
        if self._over:
            self.output.forget()
            return
        self._unasked = True
        actions = self.policy.interrupt(_now(), drop=True)
        self.apply(
            [replace(a, cause="call") if isinstance(a, DiscardPlayback) else a for a in actions]
        )
        self.output.forget()

    # -- what happens --------------------------------------------------------------------------

    def on_server_message(self, message: ServerMessage) -> None:
        """Take a message of the service."""
        now, policy = _now(), self.policy
        texts = () if self._only_speech else message.text
        if message.at_work:
            self.apply(policy.at_work(now))
        if message.in_progress is not None:
            self.apply(policy.interaction(now, message.in_progress))
        if message.interrupted:
            # Audio in the same message belongs to the cut turn.
            self.apply(policy.interrupted(now, self.output.waiting))
            self._early_text.clear()
        else:
            for data, rate in message.audio:
                self._play(now, policy.model_content(now), (data, rate))
                self._emit_audio(data, rate, policy.turn)
            if texts:
                self._play(now, policy.model_content(now), (b"", MODEL_RATE))
            elif message.text:
                self.apply(policy.model_wrote(now))
        for text in texts:
            self._add_text(now, text)
        if message.output_transcription:
            self._add_text(now, message.output_transcription)
        if message.output_transcription_finished:
            self._finish_text(now)
        if message.input_transcription:
            answered_by = self._turn_that_answers(now)
            self.feed.lines.user_heard(message.input_transcription, now, answered_by)
            self._events.emit(UserText, text=message.input_transcription)
            self.apply(policy.user_transcribed(now, self.output.playing))
        if message.generation_complete:
            self.apply(policy.generation_complete(now))
        if message.turn_complete:
            self.apply(policy.turn_complete(now, message.complete_reason))
            self._metrics.complete_turn()
            self._tell_metrics()

    def on_speech_events(self, events: list[SpeechEvent]) -> None:
        """The detector has noticed something in the call."""
        policy, playing = self.policy, self.output.playing
        observers = self._events.observers
        for event in events:
            now = _now()
            observers.notify("on_speech", now, event.user_id, event.kind)
            self.feed.note_speech(now, event)
            if event.kind == "starting":
                self.apply(policy.speech_starting(event.who, playing))
            elif event.kind == "dismissed":
                self.apply(policy.speech_dismissed(now, event.who))
            elif event.kind == "started":
                self._unasked = False
                self.last_speaker = event.user_id
                self.apply(policy.speech_started(now, event.who, playing))
                self._events.emit(SpeechStarted, user_id=event.user_id)
            elif event.kind == "sustained":
                self.apply(policy.speech_sustained(now, event.who))
            else:
                self.apply(policy.speech_stopped(now, event.who))
                self._events.emit(SpeechStopped, user_id=event.user_id)

    def text_sent(self, text: str) -> None:
        """Take note of a text that was sent."""
        if text != self._nudge:
            self._unasked = False
            self._metrics.forget_speech()
            self.feed.lines.application_said(text, _now())
        self.apply(self.policy.text_sent(_now(), is_nudge=text == self._nudge))

    def content_sent(self, texts: list[tuple[str, str]], *, asks: bool) -> None:
        """Take note of turns that were sent: what they say, and whether they ask for an answer."""
        self._unasked = False
        for role, text in texts:
            self.feed.lines.application_said(text, _now(), as_assistant=role == "model")
        if asks:
            self.apply(self.policy.text_sent(_now()))

    def change_barge_in(self, rules: TurnOptions, duck_db: float) -> None:
        """Go on by other rules of barge-in; a duck that is under way takes its new depth.

        Args:
            rules: options of which `barge_in` and `resume_after_s` count.
            duck_db: the gain of a duck, in decibels.
        """
        if self.policy.ducked and duck_db != self._duck_db:
            self.output.duck(duck_db)
        self._duck_db = duck_db
        actions = self.policy.change_barge_in(
            _now(),
            self.output.playing,
            barge_in=rules.barge_in,
            resume_after_s=rules.resume_after_s,
        )
        self.apply(actions)

    def interrupt(self) -> None:
        """End the turn, as the application wants it."""
        self.apply(self.policy.interrupt(_now(), drop=True))

    def hold_playback(self) -> None:
        """Hold playback for the application."""
        self.apply(self.policy.interrupt(_now(), drop=False))
        if self._hold_warning is None:
            loop = asyncio.get_running_loop()
            self._hold_warning = loop.call_later(HOLD_WARNING_S, self._warn_of_hold)

    # -- what is done --------------------------------------------------------------------------

    def apply(self, actions: list[Action]) -> None:
        """Do what the conversation has decided."""
        for action in actions:
            if isinstance(action, Duck):
                self.output.duck(self._duck_db)
                self._events.emit(PlaybackDucked, gain_db=self._duck_db)
            elif isinstance(action, Unduck):
                self.output.duck(0.0)
                self._events.emit(PlaybackUnducked)
            elif isinstance(action, Pause):
                if not self.policy.paused_by_app:
                    self.counts.barge_ins += 1
                    self._note_silence()
                self.output.pause()
                self._events.emit(PlaybackPaused, reason=self.policy.hold_reason)
            elif isinstance(action, Resume):
                self.output.resume()
                self._metrics.sound()
                self._events.emit(PlaybackResumed)
            elif isinstance(action, PlayWithheld):
                self._play_withheld(action.turn)
            elif isinstance(action, EndTurn):
                self._end_turn(action.turn)
            elif isinstance(action, CompleteTurn):
                text = self._spoken[action.turn].transcript.text
                self._events.emit(TurnComplete, turn=action.turn, text=text, reason=action.reason)
            elif isinstance(action, DiscardPlayback):
                self._drop(action)
            elif isinstance(action, StartActivity):
                self._effects.start_activity(action.since_s)
            elif isinstance(action, EndActivity):
                self._effects.end_activity()
            elif isinstance(action, StalledAction):
                self._tell_of_stall(action)
            elif isinstance(action, Nudge):
                self._effects.nudge()
            elif isinstance(action, Reconnect):
                self._effects.leave_stalled()
        if self._hold_warning is not None and not self.policy.paused_by_app:
            self._hold_warning.cancel()
            self._hold_warning = None
        if self._withheld and self.policy.phase is not Phase.STALE:
            self._drop_withheld()
        self._set_timer()

    def _play(self, now: float, actions: list[Action], audio: _Audio) -> None:
        """Do what the conversation makes of content that has just arrived."""
        for action in actions:
            if isinstance(action, Play):
                self._push(now, action.turn, audio)
            elif isinstance(action, Withhold):
                self._withhold(audio)
            else:
                self.apply([action])
        self._set_timer()

    def _push(self, now: float, turn: int, audio: _Audio) -> None:
        """Queue audio of a turn."""
        if turn != self._begun:
            self._begin_turn(now, turn)
        self._pushed_at = now
        if self._unasked:
            self.output.refuse(turn)
        try:
            fits = self.output.push(*audio, turn)
        except AudioError as error:
            self.counts.bad_audio += 1
            if self.counts.bad_audio == 1:
                logger.warning("Passed over audio of Gemini Live: %s", error)
            return
        if not fits and not self._overflowing:
            full = AudioError("Playback is full (30 minutes): speech is being dropped")
            self._effects.report(full)
        self._overflowing = not fits

    def _begin_turn(self, now: float, turn: int) -> None:
        """Give a turn its place in the dialogue, and the text that has come before its audio."""
        if self._withheld:
            self._drop_withheld()
        self._begun, self._pushed_before_at = turn, self._pushed_at
        self._stalls_in_a_row = 0
        self._metrics.begin_turn(now, turn)
        self._tell_metrics()
        self.feed.lines.model_began(turn, now)
        early, self._early_text = self._early_text, []
        ended_at = self.policy.ended_at
        for at, text in early:
            if now - at <= EARLY_TEXT_S:
                self._note_spoken(turn, text)
            elif turn > 1 and at - ended_at <= LATE_TEXT_S:
                self._note_spoken(turn - 1, text)  # late, after all
            # Else its audio has never come.

    def _end_turn(self, turn: int) -> None:
        self.output.end_turn(turn)
        if turn not in self.output.unfinished():
            # Nothing of it is left to play, or there never was any.
            self.feed.lines.model_ended(turn, _now(), self._heard_text(turn))
            self.apply(self.policy.playback_finished(_now(), turn))

    def _withhold(self, item: _Audio | str) -> None:
        """Keep audio or text of the turn that was cut or of the next one."""
        self._withheld.append(item)
        self._withheld_of = self.policy.turn

    def _play_withheld(self, turn: int) -> None:
        """Queue what was withheld: it is of this turn."""
        withheld, self._withheld = self._withheld, []
        for item in withheld:
            if isinstance(item, str):
                self._note_spoken(turn, item)
            else:
                self._push(_now(), turn, item)

    def _drop_withheld(self) -> None:
        """Forget what was withheld, except the text: it is of the turn that was cut."""
        withheld, self._withheld = self._withheld, []
        for item in withheld:
            if isinstance(item, str):
                self._note_spoken(self._withheld_of, item)

    def _drop(self, action: DiscardPlayback) -> None:
        cut = set(self.output.unfinished())
        if action.open:
            cut.add(action.turn)
        fresh = sorted(turn for turn in cut if not self._spoken[turn].cut)
        for turn in fresh:
            self._spoken[turn].cut = True
            self._metrics.cut_turn(turn)
        if action.cause in ("speech", "server"):
            self._note_silence()
        self.output.drop()
        for turn in fresh:
            self.counts.interruptions += 1
            heard_ms = self.output.heard_ms(turn)
            heard_text = self._spoken[turn].transcript.heard(heard_ms)
            self.feed.lines.model_ended(turn, _now(), heard_text)
            self._events.emit(
                Interrupted,
                turn=turn,
                heard_ms=heard_ms,
                heard_text=heard_text,
                cause=action.cause,
            )
        self._tell_metrics()

    def _note_silence(self) -> None:
        """Measure how soon the output is silent that is about to be paused or dropped."""
        silent_at = self.output.silent_at(_now())
        if silent_at is not None:
            self._metrics.silence(silent_at)

    def _tell_metrics(self) -> None:
        """Tell the numbers of turns that are over."""
        for fields in self._metrics.take_finished(self.output.unfinished()):
            self._emit_soon(TurnMetrics, **fields)

    def _tell_of_stall(self, action: StalledAction) -> None:
        self.counts.stalls += 1
        unfinished = action.reason == "unfinished"
        waited_ms = action.waited_s * 1000
        if self._events.emit(
            Stalled,
            waited_ms=waited_ms,
            unfinished=unfinished,
            reason=action.reason,
            detail=action.detail,
        ):
            return
        stalled = f"{action.reason} for {waited_ms:.0f} ms {action.detail}".rstrip()
        self._stalls_in_a_row += 1
        if self._stalls_in_a_row == 1:
            logger.warning("Gemini Live has stalled: %s", stalled)
        elif self._stalls_in_a_row in STALLS_TOLD:
            number = self._stalls_in_a_row
            logger.warning("Gemini Live has stalled %d times in a row: %s", number, stalled)

    # -- what is said --------------------------------------------------------------------------

    def _add_text(self, now: float, text: str) -> None:
        """Keep text with its turn, and tell. Transcripts have no order against the audio."""
        turn = self._turn_of_text(now, text)
        if self.policy.phase is Phase.STALE:
            self._withhold(text)
        elif turn is None:
            self._early_text.append((now, text))
        else:
            self._note_spoken(turn, text)
        self._events.emit(Text, text=text)

    def _turn_of_text(self, now: float, text: str) -> int | None:
        """Find the turn of text that has just come; None: one that has not begun.

        Without ids on the wire, by what is known: a turn cannot have much more text than audio;
        what nobody has asked for since a turn is of that turn; and where the service says when a
        transcript is complete, it is complete then and not before.
        """
        policy = self.policy
        turn, before = policy.turn, policy.turn - 1
        if policy.phase is Phase.IDLE:
            recent = turn and now - policy.ended_at <= LATE_TEXT_S
            if recent and (self._awaits_text(turn) or not policy.answer_due):
                return turn
            return None
        if before and now - self._pushed_before_at <= TEXT_LAG_S and self._awaits_text(before):
            spoken, received_ms = self._spoken[turn], self.output.received_ms(turn)
            if self._texts_finish or not spoken.has_room_for(text, received_ms):
                return before
        return turn

    def _awaits_text(self, turn: int) -> bool:
        """Tell whether more of the transcript of a turn that has ended is to come."""
        spoken = self._spoken[turn]
        if self._texts_finish and spoken.transcript.text and not spoken.cut:
            return not spoken.finished
        return spoken.lacks_text(self.output.received_ms(turn))

    def _finish_text(self, now: float) -> None:
        """Take note that the transcript of a turn is complete."""
        turn = self._turn_of_text(now, "")
        self._texts_finish = True
        if turn is not None:
            self._spoken[turn].finished = True

    def _note_spoken(self, turn: int, text: str) -> None:
        """Add text to a turn; to one that was cut, as far as it was heard."""
        transcript = self._spoken[turn].transcript
        transcript.add(text, self.output.received_ms(turn))
        self.feed.lines.model_said(turn, transcript.text, _now(), self._heard_text(turn))

    def _heard_text(self, turn: int) -> str:
        """Return what was heard of a turn that was cut or refused; else all of its text."""
        spoken, heard_ms = self._spoken[turn], self.output.heard_ms(turn)
        if spoken.cut or (not heard_ms and self.output.was_cut(turn)):
            return spoken.transcript.heard(heard_ms)
        return spoken.transcript.text

    def _heard_so_far(self, turn: int) -> str:
        """Return what was heard of a turn up to now."""
        return self._spoken[turn].transcript.heard(self.output.heard_ms(turn))

    def _turn_that_answers(self, now: float) -> int:
        """Return the turn that answers what the user is heard saying; 0: one that has not begun."""
        policy = self.policy
        since, began_at = policy.unanswered_since, policy.turn_began_at
        spoken_over = since is not None and since > began_at
        if not policy.turn or spoken_over or now - began_at > QUESTION_S:
            return 0
        return policy.turn

    def _emit_audio(self, data: bytes | str, rate: int, turn: int) -> None:
        if not self._events.listens(Audio):
            return
        try:
            pcm = self._chunks.take(data, rate, turn)
        except AudioError:
            return  # counted where it was to be played
        if pcm:
            self._events.emit(Audio, pcm=pcm)

    # -- what is heard -------------------------------------------------------------------------

    def _playback_started(self, turn: int, at: float) -> None:
        self._spoken[turn].started_at = at
        self._metrics.hear_turn(at, turn)
        self.feed.lines.model_started(turn, at)
        self._emit_soon(PlaybackStarted, turn=turn, at=at)

    def _playback_finished(self, turn: int, at: float) -> None:
        self.heard_until = at
        spoken = self._spoken[turn]
        cut, heard_ms = spoken.cut, self.output.heard_ms(turn)
        text = spoken.transcript.text
        self.feed.lines.model_ended(turn, at, self._heard_text(turn))
        self._emit_soon(
            PlaybackFinished,
            turn=turn,
            text=text,
            heard_text=spoken.transcript.heard(heard_ms) if cut else text,
            heard_ms=heard_ms,
            cut=cut,
            started_at=at if spoken.started_at is None else spoken.started_at,
            finished_at=at,
        )
        self._metrics.end_playback(turn, heard_ms)
        self._tell_metrics()
        self.apply(self.policy.playback_finished(at, turn))

    def _emit_soon(self, event_type: type[Event], **fields: Any) -> None:
        """Emit, but not inside of the call by which the SDK takes a frame."""
        asyncio.get_running_loop().call_soon(self._emit_unless_over, event_type, fields)

    def _emit_unless_over(self, event_type: type[Event], fields: dict[str, Any]) -> None:
        if not self._over:
            self._events.emit(event_type, **fields)

    # -- time ----------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        due, timer = self.policy.next_timeout, self._timer
        if due is None or self._over:
            return
        if timer is not None:
            if self._timer_at <= due:
                return  # it looks again then; a timer for each message would cost more
            timer.cancel()
        # uvloop gives a handle that knows no time, where the time has come.
        self._timer, self._timer_at = asyncio.get_running_loop().call_at(due, self._on_timer), due

    def _on_timer(self) -> None:
        self._timer = None
        actions = self.policy.timeout(_now(), self.output.playing)
        kinds = {type(action) for action in actions}
        if Resume in kinds and DiscardPlayback not in kinds:
            self.counts.false_barge_ins += 1
        self.apply(actions)

    def _warn_of_hold(self) -> None:
        self._hold_warning = None
        if self.output.playing:
            logger.warning(
                "Playback has been held by interrupt_playback() for %g s, and speech is waiting; "
                "resume_playback() goes on with it",
                HOLD_WARNING_S,
            )


def _now() -> float:
    return asyncio.get_running_loop().time()
