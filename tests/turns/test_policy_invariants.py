"""`TurnPolicy` in random conversations: what holds whatever happens."""

from __future__ import annotations

from typing import Any

from getstream.plugins.gemini.live._turns.policy import (
    DUCK_HOLD_S,
    NEED_MORE_INPUT,
    SETTLE_S,
    UNCONFIRMED_INTERRUPTION_S,
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
    Resume,
    Stalled,
    StartActivity,
    TurnOptions,
    TurnPolicy,
    Unduck,
    Withhold,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from policy_scenarios import REJECTED


class Listener(RuleBasedStateMachine):
    """A playback that obeys the actions, and what must hold whatever happens."""

    @initialize(
        barge_in=st.booleans(),
        marks_activity=st.booleans(),
        watched=st.booleans(),
        may_stay_silent=st.booleans(),
        nudge=st.booleans(),
    )
    def begin(self, watched: bool, **rules: Any) -> None:
        self.rules = TurnOptions(stall_after_s=5.0 if watched else None, reconnect=True, **rules)
        self.conversation = TurnPolicy(self.rules)
        self.now = 0.0
        self.withheld: list[int] = []
        self.held = False
        self.ducked = False
        self.told = False  # the service knows that the user speaks
        self.sent = 0
        self.queue: list[tuple[int, int]] = []  # (turn, chunk)
        self.heard: list[tuple[int, int]] = []
        self.lost: set[int] = set()
        self.cut: set[int] = set()
        self.ended: set[int] = set()
        self.complete_turns: set[int] = set()
        self.calls: list[bool] = []  # of functions: whether the model waits

    @property
    def playing(self) -> bool:
        return bool(self.queue)

    def obey(self, actions: list[Action], chunk: int | None = None) -> None:
        for action in actions:
            if isinstance(action, Play):
                assert action.turn not in self.cut, "a cut turn speaks again"
                assert action.turn not in self.ended, "audio for a turn that has ended"
                if chunk is not None:
                    self.queue.append((action.turn, chunk))
            elif isinstance(action, Withhold):
                assert chunk is not None
                self.withheld.append(chunk)
            elif isinstance(action, PlayWithheld):
                assert self.withheld
                assert action.turn not in self.cut | self.ended
                self.queue += [(action.turn, each) for each in self.withheld]
                self.withheld.clear()
            elif isinstance(action, EndTurn):
                self.ended.add(action.turn)
                self.note_played_out(action.turn)
            elif isinstance(action, CompleteTurn):
                assert action.turn not in self.cut, "a cut turn is never complete"
                assert action.turn not in self.complete_turns, "and none is so twice"
                self.complete_turns.add(action.turn)
            elif isinstance(action, Duck):
                assert not self.ducked
                assert self.playing
                self.ducked = True
            elif isinstance(action, Unduck):
                assert self.ducked
                self.ducked = False
            elif isinstance(action, Pause):
                assert not self.held
                self.held = True
            elif isinstance(action, Resume):
                assert self.held
                self.held = False
            elif isinstance(action, DiscardPlayback):
                self.cut |= {turn for turn, _ in self.queue}
                if action.open:
                    self.cut.add(action.turn)
                self.lost |= {chunk for _, chunk in self.queue}
                self.queue.clear()
            elif isinstance(action, StartActivity):
                assert not self.told
                assert action.since_s >= 0
                self.told = True
            elif isinstance(action, EndActivity):
                assert self.told
                self.told = False
            elif isinstance(action, Nudge):
                assert self.rules.nudge
            elif isinstance(action, Stalled):
                assert self.rules.stall_after_s is not None
                assert action.reason != "unanswered" or not any(self.calls)
                assert action.waited_s >= 0
        if self.withheld and self.conversation.phase is not Phase.STALE:
            self.lost |= set(self.withheld)
            self.withheld.clear()

    def note_played_out(self, turn: int) -> None:
        if turn in self.ended and not any(each == turn for each, _ in self.queue):
            self.obey(self.conversation.playback_finished(self.now, turn))

    @rule(waits=st.booleans())
    def a_function_is_called(self, waits: bool) -> None:
        self.calls.append(waits)
        self.obey(self.conversation.tool_called(self.now, waits))
        assert self.conversation.idle_since is None

    @precondition(lambda self: self.calls)
    @rule(expects=st.booleans())
    def a_function_is_answered(self, expects: bool) -> None:
        self.obey(self.conversation.tool_answered(self.now, self.calls.pop(), expects))

    @rule(seconds=st.sampled_from([0.02, 0.1, 0.3, 1.0, 3.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        steps = 0
        while (due := self.conversation.next_timeout) is not None and due <= end:
            self.now = max(self.now, due)
            self.obey(self.conversation.timeout(self.now, self.playing))
            steps += 1
            assert steps < 50, "a timer that does not go away"
        self.now = end

    @precondition(lambda self: self.queue and not self.held)
    @rule()
    def a_chunk_is_heard(self) -> None:
        self.heard.append(self.queue.pop(0))
        self.note_played_out(self.heard[-1][0])

    @rule()
    def audio(self) -> None:
        self.sent += 1
        actions = self.conversation.model_content(self.now)
        before = list(self.queue)
        self.obey(actions, self.sent)
        if not any(isinstance(action, DiscardPlayback) for action in actions):
            assert self.queue[: len(before)] == before, "queued audio was lost without a cut"
        if not actions:
            assert self.conversation.turn in self.cut, "audio of an uncut turn was refused"
            self.lost.add(self.sent)

    @rule()
    def writes(self) -> None:
        self.obey(self.conversation.model_wrote(self.now))

    @rule()
    def generated(self) -> None:
        self.obey(self.conversation.generation_complete(self.now))

    @rule()
    def complete(self) -> None:
        self.obey(self.conversation.turn_complete(self.now))

    @rule(reason=st.sampled_from([REJECTED, NEED_MORE_INPUT]))
    def complete_for_a_reason(self, reason: str) -> None:
        self.obey(self.conversation.turn_complete(self.now, reason))

    @rule()
    def transcribed(self) -> None:
        self.obey(self.conversation.user_transcribed(self.now, self.playing))

    @rule()
    def another_connection(self) -> None:
        self.obey(self.conversation.connection_lost(self.now))
        assert self.conversation.phase is Phase.IDLE
        self.obey(self.conversation.connection_resumed(self.now))

    @rule()
    def interrupted(self) -> None:
        self.obey(self.conversation.interrupted(self.now, self.playing))

    @rule()
    def text(self) -> None:
        self.obey(self.conversation.text_sent(self.now))

    @rule(who=st.sampled_from(["anna", "ben"]))
    def sign(self, who: str) -> None:
        if who not in self.conversation._speakers:
            self.obey(self.conversation.speech_starting(who, self.playing))

    @rule(who=st.sampled_from(["anna", "ben"]))
    def nothing(self, who: str) -> None:
        if who in self.conversation._starting:
            self.obey(self.conversation.speech_dismissed(self.now, who))

    @rule(who=st.sampled_from(["anna", "ben"]))
    def speech(self, who: str) -> None:
        self.obey(self.conversation.speech_started(self.now, who, self.playing))

    @rule(who=st.sampled_from(["anna", "ben"]))
    def lasts(self, who: str) -> None:
        self.obey(self.conversation.speech_sustained(self.now, who))

    @rule(who=st.sampled_from(["anna", "ben"]))
    def silence(self, who: str) -> None:
        self.obey(self.conversation.speech_stopped(self.now, who))

    @rule(barge_in=st.booleans(), resume_after_s=st.sampled_from([0.0, 0.2, 0.4, 3.0]))
    def the_rules_of_barge_in_change(self, barge_in: bool, resume_after_s: float) -> None:
        conversation = self.conversation
        queued = list(self.queue)
        actions = conversation.change_barge_in(
            self.now, self.playing, barge_in=barge_in, resume_after_s=resume_after_s
        )
        self.obey(actions)
        if barge_in:
            return
        assert self.queue == queued, "switching it off drops nothing"
        assert "speech" not in conversation._holds
        assert not {"resume", "overlap", "unduck"} & set(conversation._deadlines)
        assert conversation.paused or not self.ducked

    @rule()
    def hold(self) -> None:
        self.obey(self.conversation.interrupt(self.now, drop=False))
        assert self.held

    @rule()
    def resume(self) -> None:
        self.obey(self.conversation.resume())
        assert not self.held
        assert not self.ducked

    @rule()
    def cut_by_the_application(self) -> None:
        self.obey(self.conversation.interrupt(self.now, drop=True))
        assert not self.queue
        assert not self.held

    @rule()
    def everybody_falls_silent_and_the_model_speaks(self) -> None:
        """From every state: once nobody holds playback, the next turn of the model is heard."""
        for who in list(self.conversation._starting):
            self.obey(self.conversation.speech_dismissed(self.now, who))
        for who in list(self.conversation._speakers):
            self.obey(self.conversation.speech_stopped(self.now, who))
        if self.conversation.paused_by_app:
            self.obey(self.conversation.resume())
        self.complete()
        self.time_passes(UNCONFIRMED_INTERRUPTION_S + DUCK_HOLD_S + SETTLE_S + 10)
        assert self.conversation.phase is Phase.IDLE
        self.audio()
        assert self.queue, "the next turn is queued"
        assert not self.held, "and heard"
        assert not self.ducked, "at full level"

    @invariant()
    def nothing_is_lost_but_by_a_cut(self) -> None:
        if not hasattr(self, "conversation"):
            return
        chunks = [*self.heard, *self.queue]
        assert chunks == sorted(chunks, key=lambda item: item[1]), "in order"
        assert len(chunks) + len(self.lost) + len(self.withheld) == self.sent

    @invariant()
    def no_state_without_a_way_out(self) -> None:
        """Held or ducked by speech: either somebody speaks, or a timer will end it."""
        if not hasattr(self, "conversation"):
            return
        conversation = self.conversation
        assert self.held == conversation.paused
        somebody = conversation._speakers or conversation._starting
        if self.held and not conversation.paused_by_app:
            assert somebody or conversation.next_timeout is not None
        if self.ducked and not self.held:
            assert somebody or "unduck" in conversation._deadlines
        if self.withheld:
            assert "stale" in conversation._deadlines


TestListener = Listener.TestCase
TestListener.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
