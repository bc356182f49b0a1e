"""Carries out what the conversation decides: on the playback, on the events, on what is remembered.

What is left to its owner is said to it by `Effects`: marks on the wire, and the connection.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import Protocol

from ..errors import AudioError, GeminiError
from ._audio_in import SpeechEvent
from ._audio_out import MODEL_RATE, AudioOutput, WholeChunks
from ._conversation import (
    Action,
    CompleteTurn,
    Conversation,
    Drop,
    Duck,
    EndActivity,
    EndTurn,
    Nudge,
    Pause,
    Play,
    Reconnect,
    Resume,
    Rules,
    StartActivity,
    Unduck,
)
from ._conversation import Stalled as StalledAction
from ._events import (
    Emitter,
    Interrupted,
    PlaybackFinished,
    PlaybackStarted,
    Speech,
    Stalled,
    TurnComplete,
)
from ._session import ServerMessage
from ._transcript import Dialogue, SpokenTurns

logger = logging.getLogger("getstream.plugins.gemini")

HOLD_WARNING_S = 30.0
"""Seconds for which the application may hold speech back before a warning says so."""


class Effects(Protocol):
    """Requests of the turns to their owner."""

    def start_activity(self, since: float) -> None:
        """Mark that the user speaks, who was heard `since` seconds ago."""

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


class Turns:
    """The turns of one conversation, as they happen. Used from one event loop.

    Args:
        rules: how the conversation is held.
        duck_db: the gain of a duck, in decibels.
        events: where to tell.
        effects: what is left to the owner.
        only_speech: whether only the transcript is what the assistant says, and text parts of the
            model are not (reasoning, stray text).
        plays: whether speech is played on a track; otherwise the application plays it as it comes.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        duck_db: float,
        events: Emitter,
        effects: Effects,
        only_speech: bool = False,
        plays: bool = True,
    ) -> None:
        self.conversation = Conversation(rules)
        self.output = AudioOutput(
            self._playback_started,
            self._playback_finished,
            on_unpublished=self.leave_call,
            plays=plays,
        )
        self.dialogue = Dialogue()
        self.counts = Counts()
        self._duck_db = duck_db
        self._events = events
        self._effects = effects
        self._only_speech = only_speech
        self._spoken = SpokenTurns()
        self._early_text = ""  # a transcript may come before the audio of its turn
        self._cut_through = 0  # the newest turn that was interrupted
        self._unasked = False  # a call has ended, and nobody has said anything since
        self._chunks = WholeChunks()  # for the `audio` event
        self._overflowing = False
        self._timer: asyncio.TimerHandle | None = None
        self._hold_warning: asyncio.TimerHandle | None = None
        self._over = False

    @property
    def speaking(self) -> bool:
        """Whether the assistant is heard, or would be if its speech were not late."""
        return self.output.playing and not self.conversation.paused

    def stop(self) -> None:
        """The end of the session: set no timer, tell of no playback any more."""
        self._over = True
        for timer in (self._timer, self._hold_warning):
            if timer is not None:
                timer.cancel()

    def play_out(self) -> None:
        """Nothing more will come. What was said already is still worth hearing, unless the
        application holds it: nobody is left who would tell that the speech which holds it has
        ended."""
        if not self.conversation.paused_by_app:
            self.apply(self.conversation.resume())
        self.output.end_turn(self.conversation.turn)

    def leave_call(self) -> None:
        """Drop what nobody can hear any more, because the call is over.

        So is what the model still answers to those who were in it: until somebody speaks or the
        application sends a text, no turn that begins is played. Nobody else is to hear it.
        """
        if self._over:
            self.output.forget()
            return
        self._unasked = True
        actions = self.conversation.interrupt(drop=True)
        self.apply([replace(a, by="call") if isinstance(a, Drop) else a for a in actions])
        self.output.forget()

    # -- what happens --------------------------------------------------------------------------

    def hear(self, message: ServerMessage) -> None:
        """The service says something."""
        now, conversation = _now(), self.conversation
        texts = () if self._only_speech else message.text
        if message.at_work:
            self.apply(conversation.at_work(now))
        if message.in_progress is not None:
            self.apply(conversation.interaction(now, message.in_progress))
        if message.interrupted:
            # Audio in the same message belongs to the cut turn.
            self.apply(conversation.interrupted(now, self.output.waiting))
            self._early_text = ""
        else:
            for data, rate in message.audio:
                self._play(conversation.model_content(now), data, rate)
                self._emit_audio(data, rate, conversation.turn)
            if texts:
                self._play(conversation.model_content(now), b"", MODEL_RATE)
            elif message.text:
                self.apply(conversation.model_wrote(now))
        for text in texts:
            self._add_text(text)
        if message.spoken:
            self._add_text(message.spoken)
        if message.asked:
            self.dialogue.user_said(message.asked)
            self._events.emit("user_text", message.asked)
        if message.generation_complete:
            self.apply(conversation.generation_complete())
        if message.turn_complete:
            self.apply(conversation.turn_complete(now))
            self._early_text = ""  # the rest of a turn that was cut

    def notice(self, events: list[SpeechEvent]) -> None:
        """The detector has noticed something in the call."""
        conversation, playing = self.conversation, self.output.playing
        for event in events:
            now = _now()
            if event.kind == "starting":
                self.apply(conversation.speech_starting(event.who, playing))
            elif event.kind == "dismissed":
                self.apply(conversation.speech_dismissed(now, event.who))
            elif event.kind == "started":
                self._unasked = False
                self.apply(conversation.speech_started(now, event.who, playing))
                self._events.emit("speech_started", Speech(event.user_id))
            elif event.kind == "sustained":
                self.apply(conversation.speech_sustained(now, event.who))
            else:
                self.apply(conversation.speech_stopped(now, event.who))
                self._events.emit("speech_stopped", Speech(event.user_id))

    def text_sent(self, text: str) -> None:
        """The application has said something in writing."""
        self._unasked = False
        self.dialogue.user_said(text)
        self.apply(self.conversation.text_sent(_now()))

    def hold(self) -> None:
        """The application holds playback."""
        self.apply(self.conversation.interrupt(drop=False))
        if self._hold_warning is None:
            loop = asyncio.get_running_loop()
            self._hold_warning = loop.call_later(HOLD_WARNING_S, self._warn_of_hold)

    # -- what is done --------------------------------------------------------------------------

    def apply(self, actions: list[Action]) -> None:
        """Do what the conversation has decided."""
        for action in actions:
            if isinstance(action, Duck):
                self.output.duck(self._duck_db)
            elif isinstance(action, Unduck):
                self.output.duck(0.0)
            elif isinstance(action, Pause):
                self.counts.barge_ins += not self.conversation.paused_by_app
                self.output.pause()
            elif isinstance(action, Resume):
                self.output.resume()
            elif isinstance(action, EndTurn):
                self.output.end_turn(action.turn)
            elif isinstance(action, CompleteTurn):
                text = self._spoken[action.turn].transcript.text
                self._events.emit("turn_complete", TurnComplete(action.turn, text))
            elif isinstance(action, Drop):
                self._drop(action)
            elif isinstance(action, StartActivity):
                self._effects.start_activity(action.since)
            elif isinstance(action, EndActivity):
                self._effects.end_activity()
            elif isinstance(action, StalledAction):
                self._tell_of_stall(action)
            elif isinstance(action, Nudge):
                self._effects.nudge()
            elif isinstance(action, Reconnect):
                self._effects.leave_stalled()
        if self._hold_warning is not None and not self.conversation.paused_by_app:
            self._hold_warning.cancel()
            self._hold_warning = None
        self._set_timer()

    def _play(self, actions: list[Action], pcm: bytes | str, rate: int) -> None:
        """Do what the conversation makes of content that has just arrived."""
        for action in actions:
            if not isinstance(action, Play):
                self.apply([action])
                continue
            if self._early_text:
                self._spoken[action.turn].transcript.add(self._early_text, 0.0)
                self.dialogue.model_said(action.turn, self._early_text)
                self._early_text = ""
            if self._unasked:
                self.output.refuse(action.turn)
            try:
                fits = self.output.push(pcm, rate, action.turn)
            except AudioError as error:
                self.counts.bad_audio += 1
                if self.counts.bad_audio == 1:
                    logger.warning("Passed over audio of Gemini Live: %s", error)
                continue
            if not fits and not self._overflowing:
                full = AudioError("Playback is full (30 minutes): speech is being dropped")
                self._effects.report(full)
            self._overflowing = not fits
        self._set_timer()

    def _drop(self, action: Drop) -> None:
        cut = set(self.output.unfinished())
        if action.open:
            cut.add(action.turn)
        fresh = sorted(turn for turn in cut if turn > self._cut_through)
        self._cut_through = max([self._cut_through, *fresh])
        self.output.drop()
        for turn in fresh:
            self.counts.interruptions += 1
            heard_ms = self.output.heard_ms(turn)
            heard_text = self._spoken[turn].transcript.heard(heard_ms)
            self.dialogue.model_was_cut(turn, heard_text)
            self._events.emit("interrupted", Interrupted(turn, heard_ms, heard_text, action.by))

    def _tell_of_stall(self, action: StalledAction) -> None:
        self.counts.stalls += 1
        stalled = Stalled(action.waited * 1000, action.unfinished)
        if not self._events.emit("stalled", stalled):
            logger.warning("Gemini Live has stalled: %s", stalled)

    # -- what is said --------------------------------------------------------------------------

    def _add_text(self, text: str) -> None:
        """Keep text with its turn, and tell. Transcripts have no order against the audio."""
        turn = self.conversation.turn
        if not self.conversation.turn_open:
            self._early_text += text
        elif turn > self._cut_through:
            self._spoken[turn].transcript.add(text, self.output.received_ms(turn))
            self.dialogue.model_said(turn, text)
        self._events.emit("text", text)

    def _emit_audio(self, data: bytes | str, rate: int, turn: int) -> None:
        if not self._events.listens("audio"):
            return
        try:
            pcm = self._chunks.take(data, rate, turn)
        except AudioError:
            return  # counted where it was to be played
        if pcm:
            self._events.emit("audio", pcm)

    # -- what is heard -------------------------------------------------------------------------

    def _playback_started(self, turn: int, at: float) -> None:
        self._spoken[turn].started_at = at
        self._emit_soon("playback_started", PlaybackStarted(turn, at))

    def _playback_finished(self, turn: int, at: float) -> None:
        spoken = self._spoken[turn]
        cut, heard_ms = turn <= self._cut_through, self.output.heard_ms(turn)
        text = spoken.transcript.text
        finished = PlaybackFinished(
            turn,
            text=text,
            heard_text=spoken.transcript.heard(heard_ms) if cut else text,
            heard_ms=heard_ms,
            cut=cut,
            started_at=at if spoken.started_at is None else spoken.started_at,
            finished_at=at,
        )
        self._emit_soon("playback_finished", finished)

    def _emit_soon(self, event: str, argument: object) -> None:
        """Emit, but not inside of the call by which the SDK takes a frame."""
        asyncio.get_running_loop().call_soon(self._emit_unless_over, event, argument)

    def _emit_unless_over(self, event: str, argument: object) -> None:
        if not self._over:
            self._events.emit(event, argument)

    # -- time ----------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        due, timer = self.conversation.next_timeout, self._timer
        if due is None or self._over:
            return
        if timer is not None:
            if timer.when() <= due:
                return  # it looks again then; a timer for each message would cost more
            timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        actions = self.conversation.timeout(_now(), self.output.playing)
        if any(isinstance(action, Resume) for action in actions):
            self.counts.false_barge_ins += not any(isinstance(each, Drop) for each in actions)
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
