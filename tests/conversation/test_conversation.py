"""The rules of `_conversation`, as tables of scenarios and as invariants over random ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from getstream.plugins.gemini.live._conversation import (
    Action,
    Conversation,
    Drop,
    EndTurn,
    Pause,
    Play,
    Resume,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

Step = tuple[float, str, list[Action]]


def play(conversation: Conversation, now: float, event: str) -> list[Action]:
    """Do what a word of the scenarios says. An `*` at the end: the assistant is audible."""
    playing = event.endswith("*")
    word = event.rstrip("*")
    acts: dict[str, Callable[[], list[Action]]] = {
        "speech": lambda: conversation.speech_started(now, "anna", playing),
        "speech2": lambda: conversation.speech_started(now, "ben", playing),
        "silence": lambda: conversation.speech_stopped(now, "anna"),
        "silence2": lambda: conversation.speech_stopped(now, "ben"),
        "audio": lambda: conversation.model_content(now),
        "generated": conversation.generation_complete,
        "complete": lambda: conversation.turn_complete(now),
        "interrupted": lambda: conversation.interrupted(playing),
        "hold": lambda: conversation.interrupt(drop=False),
        "cut": lambda: conversation.interrupt(drop=True),
        "go": conversation.resume,
        "time": lambda: conversation.timeout(now, playing),
    }
    return acts[word]()


# The detector reports silence 0.2 s late; playback goes on 0.4 s after the speech; a reply that
# has been received whole is dropped after 0.6 s of speech.
SCENARIOS: dict[str, list[Step]] = {
    "a plain turn": [
        (0.0, "audio", [Play(1)]),
        (0.1, "audio", [Play(1)]),
        (0.2, "generated", [EndTurn(1)]),
        (2.0, "complete", []),
        (3.0, "audio", [Play(2)]),
    ],
    "a cough while the model is still sending: pause, go on, nothing lost": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.1, "audio*", [Play(1)]),
        (1.4, "silence*", []),
        (1.5, "time*", []),
        (1.6, "time*", [Resume()]),
        (1.7, "audio*", [Play(1)]),
    ],
    "the service confirms: the turn is dropped, the next one speaks": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "interrupted*", [Drop(1, "server", open=True), Resume()]),
        (1.3, "complete", []),
        (2.5, "audio", [Play(2)]),
    ],
    "long speech while the turn is open is not cut here": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.6, "time*", []),
        (5.0, "time*", []),
    ],
    "speech over a finished turn: dropped after 0.6 s": [
        (0.0, "audio", [Play(1)]),
        (0.1, "generated", [EndTurn(1)]),
        (0.2, "complete", []),
        (1.0, "speech*", [Pause()]),
        (1.5, "time*", []),
        (1.6, "time*", [Drop(1, "speech", open=False), Resume()]),
        (2.5, "silence", []),
        (2.6, "audio", [Play(2)]),
    ],
    "the turn is completed while the user speaks over it": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.2, "generated", [EndTurn(1)]),
        (1.9, "complete", []),
        (1.9, "time*", [Drop(1, "speech", open=False), Resume()]),
    ],
    "a short word over a finished turn, answered before playback goes on": [
        (0.0, "audio", [Play(1)]),
        (0.2, "complete", [EndTurn(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "silence*", []),
        (1.4, "audio*", [Drop(1, "speech", open=False), Resume(), Play(2)]),
    ],
    "mhm over a finished turn, not answered": [
        (0.0, "audio", [Play(1)]),
        (0.2, "complete", [EndTurn(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "silence*", []),
        (1.5, "time*", [Resume()]),
    ],
    "speech again before playback goes on": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.3, "silence*", []),
        (1.4, "speech*", []),
        (1.5, "time*", []),
        (2.0, "silence*", []),
        (2.2, "time*", [Resume()]),
    ],
    "two people: playback waits for both": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech*", [Pause()]),
        (1.1, "speech2*", []),
        (1.3, "silence*", []),
        (2.0, "time*", []),
        (2.0, "silence2*", []),
        (2.2, "time*", [Resume()]),
    ],
    "the reply comes inside the detector's hangover and is heard": [
        (0.0, "speech", []),
        (1.0, "audio", [Play(1)]),
        (1.1, "silence*", []),
        (1.6, "time*", []),
    ],
    "the user goes on speaking into the reply": [
        (0.0, "speech", []),
        (1.0, "audio", [Play(1)]),
        (1.6, "time*", [Pause()]),
    ],
    "a phantom interruption": [
        (0.0, "interrupted", []),
        (1.0, "audio", [Play(1)]),
        (1.1, "complete", [EndTurn(1)]),
        (9.0, "interrupted", []),
        (9.1, "audio", [Play(2)]),
    ],
    "a late interruption, after the turn is complete and while it plays": [
        (0.0, "audio", [Play(1)]),
        (0.2, "complete", [EndTurn(1)]),
        (1.0, "interrupted*", [Drop(1, "server", open=False)]),
        (2.0, "audio", [Play(2)]),
    ],
    "held by the application: speech neither resumes nor pauses it again": [
        (0.0, "audio", [Play(1)]),
        (0.5, "hold*", [Pause()]),
        (0.6, "audio*", [Play(1)]),
        (1.0, "speech*", []),
        (1.2, "silence*", []),
        (1.4, "time*", []),
        (3.0, "go*", [Resume()]),
    ],
    "held by the application: speech over it does not drop it either": [
        (0.0, "audio", [Play(1)]),
        (0.2, "complete", [EndTurn(1)]),
        (0.5, "hold*", [Pause()]),
        (1.0, "speech*", []),
        (1.7, "time*", []),
        (2.0, "silence*", []),
        (2.5, "audio*", [Play(2)]),
        (3.0, "go*", [Resume()]),
    ],
    "held by the application while paused by speech: it stays held": [
        (0.0, "audio", [Play(1)]),
        (0.2, "complete", [EndTurn(1)]),
        (1.0, "speech*", [Pause()]),
        (1.1, "hold*", []),
        (1.6, "time*", []),
        (1.8, "silence*", []),
        (2.0, "time*", []),
        (3.0, "go*", [Resume()]),
    ],
    "speech in a stall of the model: the rest waits until it has ended": [
        (0.0, "audio", [Play(1)]),
        (1.0, "speech", [Pause()]),
        (1.5, "audio", [Play(1)]),
        (2.0, "silence*", []),
        (2.2, "time*", [Resume()]),
    ],
    "held by the application, interrupted by the service: the next turn speaks": [
        (0.0, "audio", [Play(1)]),
        (0.5, "hold*", [Pause()]),
        (1.0, "interrupted*", [Drop(1, "server", open=True), Resume()]),
        (2.0, "audio", [Play(2)]),
    ],
    "cut by the application: the rest of the turn is not heard, the next one is": [
        (0.0, "audio", [Play(1)]),
        (0.5, "cut*", [Drop(1, "app", open=True)]),
        (0.6, "audio", []),
        (0.7, "generated", [EndTurn(1)]),
        (0.8, "audio", [Play(2)]),
    ],
    "cut by the application, then interrupted by the service": [
        (0.0, "audio", [Play(1)]),
        (0.5, "cut*", [Drop(1, "app", open=True)]),
        (0.6, "interrupted", [Drop(1, "server", open=True)]),
        (0.7, "audio", [Play(2)]),
    ],
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    conversation = Conversation()
    for now, event, expected in SCENARIOS[name]:
        assert play(conversation, now, event) == expected, f"{now} {event}"


def test_without_barge_in_speech_changes_nothing() -> None:
    conversation = Conversation(barge_in=False)
    assert play(conversation, 0.0, "audio") == [Play(1)]
    assert play(conversation, 1.0, "speech*") == []
    assert conversation.next_timeout is None
    assert play(conversation, 2.0, "audio*") == [Play(1)]
    assert play(conversation, 3.0, "interrupted*") == [Drop(1, "server", open=True)]


def test_speech_over_silence_sets_no_timer() -> None:
    conversation = Conversation()
    play(conversation, 0.0, "speech")
    play(conversation, 1.0, "silence")
    assert conversation.next_timeout is None


class Listener(RuleBasedStateMachine):
    """A playback that obeys the actions, and what must hold whatever happens."""

    def __init__(self) -> None:
        super().__init__()
        self.conversation = Conversation()
        self.now = 0.0
        self.held = False
        self.sent = 0
        self.queue: list[tuple[int, int]] = []  # (turn, chunk)
        self.heard: list[tuple[int, int]] = []
        self.cut: set[int] = set()
        self.ended: set[int] = set()

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
            elif isinstance(action, EndTurn):
                self.ended.add(action.turn)
            elif isinstance(action, Pause):
                assert not self.held
                self.held = True
            elif isinstance(action, Resume):
                assert self.held
                self.held = False
            elif isinstance(action, Drop):
                if self.queue:
                    self.cut |= {turn for turn, _ in self.queue}
                self.queue.clear()

    @rule(seconds=st.sampled_from([0.02, 0.1, 0.3, 1.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.conversation.next_timeout) is not None and due <= end:
            self.now = max(self.now, due)
            self.obey(self.conversation.timeout(self.now, self.playing))
        self.now = end

    @precondition(lambda self: self.queue and not self.held)
    @rule()
    def a_chunk_is_heard(self) -> None:
        self.heard.append(self.queue.pop(0))

    @rule()
    def audio(self) -> None:
        self.sent += 1
        actions = self.conversation.model_content(self.now)
        before = list(self.queue)
        self.obey(actions, self.sent)
        if not any(isinstance(action, Drop) for action in actions):
            assert self.queue[: len(before)] == before, "queued audio was lost without a cut"

    @rule()
    def generated(self) -> None:
        self.obey(self.conversation.generation_complete())

    @rule()
    def complete(self) -> None:
        self.obey(self.conversation.turn_complete(self.now))

    @rule()
    def interrupted(self) -> None:
        self.obey(self.conversation.interrupted(self.playing))
        assert not self.held, "mute after an interruption"

    @rule(who=st.sampled_from(["anna", "ben"]))
    def speech(self, who: str) -> None:
        self.obey(self.conversation.speech_started(self.now, who, self.playing))

    @rule(who=st.sampled_from(["anna", "ben"]))
    def silence(self, who: str) -> None:
        self.obey(self.conversation.speech_stopped(self.now, who))

    @rule()
    def hold(self) -> None:
        self.obey(self.conversation.interrupt(drop=False))
        assert self.held

    @rule()
    def resume(self) -> None:
        self.obey(self.conversation.resume())
        assert not self.held

    @rule()
    def cut_by_the_application(self) -> None:
        self.obey(self.conversation.interrupt(drop=True))
        assert not self.queue
        assert not self.held

    @invariant()
    def heard_in_order(self) -> None:
        assert self.heard == sorted(self.heard, key=lambda item: item[1])

    @invariant()
    def no_state_without_a_way_out(self) -> None:
        """Held by speech: either somebody speaks, or a timer will end it."""
        assert self.held == self.conversation.paused
        if self.held and not self.conversation.paused_by_app:
            assert self.conversation._speakers or self.conversation.next_timeout is not None


TestListener = Listener.TestCase
TestListener.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
