"""Numbers of a conversation, against what the server has sent and what the listener has heard."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from getstream.plugins.gemini.live import (
    Audio,
    Event,
    GeminiLive,
    Interrupted,
    ModalityTokens,
    Observer,
    Percentiles,
    PlaybackDucked,
    TokenUsage,
    TurnMetrics,
)
from getstream.plugins.gemini.live._session.send_queue import Frame, SendQueue
from getstream.plugins.gemini.live._telemetry.latency import (
    KEPT_SAMPLES,
    new_samples,
    percentiles_of,
)
from getstream.plugins.gemini.live._telemetry.metrics import (
    LONGEST_ANSWER_S,
    MOST_PENDING_CALLS,
    MOST_PENDING_TURNS,
    SessionMetrics,
)
from getstream.plugins.gemini.live._telemetry.prices import (
    PRICES_AS_OF,
    PRICES_SOURCE,
    estimate_cost,
)
from getstream.plugins.gemini.live._timing import VAD_HANGOVER_MS
from getstream.plugins.gemini.testing import ActivityOptions, Script, Turn
from getstream.plugins.gemini.testing.clock import run_virtual
from room import CALL, FADE_MS, TEXT, Local, Room, hold, voice, words

SAID_AT, SAID_S = 1.0, 1.5
SAID_UNTIL = SAID_AT + SAID_S
DETECTION_MS = 100  # how exactly the detector places the end of recorded speech
FRAME_MS = 20

DEAF = ActivityOptions(prefix_padding_ms=60_000)  # only the local detector notices anything
OWN_MARKS = {"realtime_input_config": {"automatic_activity_detection": {"disabled": True}}}


class Seen(Observer):
    """Keeps what tests compare the numbers with."""

    event_names = frozenset({"audio", "interrupted", "turn_metrics"})

    def __init__(self) -> None:
        self.turns: list[TurnMetrics] = []
        self.interrupted: list[Interrupted] = []
        self.audio_at: list[float] = []
        self.signs: list[float] = []

    def on_speech(self, at: float, user_id: str, phase: str) -> None:
        if phase in ("starting", "started"):
            self.signs.append(at)

    def on_event(self, event: Event) -> None:
        if isinstance(event, TurnMetrics):
            self.turns.append(event)
        elif isinstance(event, Interrupted):
            self.interrupted.append(event)
        else:
            self.audio_at.append(event.at)


def converse(
    local: Local, scenario: Callable[[Room], Awaitable[None]], reply: Any, **options: Any
) -> tuple[Room, Any, Seen]:
    seen = Seen()

    async def observed(room: Room) -> None:
        room.gemini.add_observer(seen)
        await scenario(room)

    room, sound = hold(local, observed, reply, **options)
    return room, sound, seen


def loud_at(sound: Any, after_s: float) -> float:
    """Return when the listener hears the first sound after a time, in seconds of the room."""
    start = round(after_s * CALL)
    return float(start + np.flatnonzero(np.abs(sound[start:]) > 50)[0]) / CALL


async def ask(room: Room) -> None:
    room.say(words(SAID_S), at=SAID_AT)
    await room.until(8)


# -- delays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [{}, OWN_MARKS], ids=["server's activity", "own activity"])
def test_an_answer_is_measured_from_the_end_of_the_speech(
    local: Local, config: dict[str, Any]
) -> None:
    reply = Turn(audio=voice(2.0), text=TEXT, delay_ms=300)
    room, sound, seen = converse(local, ask, Script([reply]), config=config)
    (turn,) = seen.turns
    assert turn.began_at == seen.audio_at[0]
    assert turn.speech_ended_at is not None
    ended_ms = (turn.speech_ended_at - room.started_at) * 1000
    assert ended_ms == pytest.approx(SAID_UNTIL * 1000, abs=DETECTION_MS)
    assert turn.first_audio_ms == (turn.began_at - turn.speech_ended_at) * 1000
    heard_ms = loud_at(sound, SAID_UNTIL) * 1000 - ended_ms
    assert turn.first_sample_ms == pytest.approx(heard_ms, abs=FRAME_MS)
    assert (turn.interrupted, turn.heard_ms) == (False, pytest.approx(2000, abs=0.1))
    assert (turn.barge_in_ms, turn.tool_ms, turn.tool_calls) == (None, None, ())
    latency = room.gemini.stats().latency
    assert latency.first_audio_ms == Percentiles(1, turn.first_audio_ms, turn.first_audio_ms)
    assert latency.first_sample_ms == Percentiles(1, turn.first_sample_ms, turn.first_sample_ms)
    assert latency.barge_in_ms == latency.tool_ms == Percentiles(0, None, None)


def test_a_service_that_notices_the_end_before_the_detector(local: Local) -> None:
    async def scenario(room: Room) -> None:
        room.say(words(SAID_S), at=SAID_AT)
        await room.until(SAID_UNTIL + 0.1)
        room.session.say(Turn(audio=voice(1.0), text=TEXT))
        await room.until(5)

    _, _, seen = converse(local, scenario, Script([]), server_options={"activity": DEAF})
    (turn,) = seen.turns
    assert turn.first_audio_ms is not None
    assert 0 < turn.first_audio_ms < VAD_HANGOVER_MS
    assert turn.speech_ended_at is not None
    assert turn.first_sample_ms is not None
    assert turn.first_sample_ms >= turn.first_audio_ms


def test_an_answer_to_a_text_is_not_measured_from_speech(local: Local) -> None:
    async def scenario(room: Room) -> None:
        room.say(words(SAID_S), at=SAID_AT)
        await room.until(3)
        await room.gemini.send_text("Never mind. Hello.")
        await room.until(8)

    reply = Turn(audio=voice(1.0), text=TEXT)
    room, _, seen = converse(local, scenario, Script([reply]), server_options={"activity": DEAF})
    (turn,) = seen.turns
    assert (turn.speech_ended_at, turn.first_audio_ms, turn.first_sample_ms) == (None, None, None)
    assert room.gemini.stats().latency.first_audio_ms.count == 0


@pytest.mark.parametrize(
    ("barge_in", "activity"),
    [(True, DEAF), (False, ActivityOptions(prefix_padding_ms=300))],
    ids=["local barge-in", "only the service's"],
)
def test_barge_in_is_measured_until_the_listener_hears_silence(
    local: Local, barge_in: bool, activity: ActivityOptions
) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        room.say(words(SAID_S), at=3.0)
        await room.until(4.6)

    room, sound, seen = converse(
        local,
        scenario,
        Script([Turn(audio=voice(8.0), text=TEXT), []]),
        server_options={"turn_complete_after": "playback", "activity": activity},
        barge_in=barge_in,
    )
    (turn,) = seen.turns
    silent_at = np.flatnonzero(np.abs(sound) > 0)[-1] / CALL
    sign = seen.signs[0] - room.started_at
    assert 0 < silent_at - sign < 0.6
    assert turn.barge_in_ms == pytest.approx((silent_at - sign) * 1000, abs=6)
    assert room.gemini.stats().latency.barge_in_ms == Percentiles(
        1, turn.barge_in_ms, turn.barge_in_ms
    )


def test_output_that_is_silent_before_the_first_sign_has_lost_no_time(local: Local) -> None:
    """The service hears the word first here, and the detector confirms it."""

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        room.say(words(SAID_S), at=3.0)
        await room.until(6)

    _, _, seen = converse(
        local,
        scenario,
        Script([Turn(audio=voice(8.0), text=TEXT), []]),
        server_options={"turn_complete_after": "playback"},
    )
    (turn,), (cut,) = seen.turns, seen.interrupted
    assert turn.interrupted
    assert turn.heard_ms == pytest.approx(cut.heard_ms, abs=FADE_MS)
    assert turn.barge_in_ms == 0.0


def test_a_turn_without_a_completion_is_told_at_the_end(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        await room.until(4)
        assert seen_before_the_end == []

    seen_before_the_end: list[TurnMetrics] = []
    reply = Turn(audio=voice(1.0), text=TEXT, turn_complete=False)
    _, _, seen = converse(local, scenario, Script([reply]))
    (turn,) = seen.turns
    assert turn.heard_ms == pytest.approx(1000, abs=0.1)


def test_a_call_that_ends_in_mid_turn_has_its_numbers(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        await room.until(2)

    _, _, seen = converse(local, scenario, Script([Turn(audio=voice(8.0), text=TEXT)]))
    (turn,) = seen.turns
    assert 500 < turn.heard_ms < 2100


# -- the send queue and the jitter buffers -------------------------------------------------------


def test_the_age_of_frames_with_speech_is_noted_when_they_are_sent() -> None:
    ages: list[float] = []

    async def main() -> None:
        queue = SendQueue(note_age=ages.append)
        queue.push(b"speech", 1.0)
        queue.push(b"silence", 1.02, is_silence=True)
        queue.push(b"more", 1.04)
        for _ in range(3):
            queue.mark_sent(await queue.next(), 1, 1.25)

    run_virtual(main())
    assert ages == [pytest.approx(250), pytest.approx(210)]


def test_a_frame_that_is_sent_at_once_has_no_age() -> None:
    ages: list[float] = []

    async def main() -> None:
        queue = SendQueue(None, lambda frames: 1, ages.append)
        waiting = asyncio.ensure_future(queue.next())
        await asyncio.sleep(0)
        queue.push(b"speech", 1.0)
        waiting.cancel()

    run_virtual(main())
    assert ages == [0.0]


def test_pre_roll_is_no_delay() -> None:
    ages: list[float] = []

    async def main() -> None:
        queue = SendQueue(300, note_age=ages.append)
        queue.push(b"before", 1.0)
        queue.start_activity(300)
        queue.push(b"after", 1.02)
        for _ in range(3):
            queue.mark_sent(await queue.next(), 1, 1.03)

    run_virtual(main())
    assert ages == [pytest.approx(10)]


def test_speech_that_waited_for_the_connection_shows_in_the_numbers(local: Local) -> None:
    room, _, _ = converse(local, ask, Script([Turn(audio=voice(1.0))]))
    latency = room.gemini.stats().latency
    assert latency.send_queue_ms.count > 50
    assert latency.send_queue_ms.p50 == 0.0
    assert latency.jitter_ms.count == 1
    assert latency.jitter_ms.p50 is not None


# -- tokens and cost -----------------------------------------------------------------------------


def test_tokens_are_those_that_the_service_has_reported(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        await room.until(4)
        room.say(words(SAID_S), at=4.2)
        await room.until(9)

    replies = Script([Turn(audio=voice(2.0), text=TEXT), Turn(audio=voice(1.2), text=TEXT)])
    room, _, seen = converse(local, scenario, replies, model="gemini-3.8-live")
    stats = room.gemini.stats()
    spoken = [round(turn.sent_ms / 1000 * 25) for turn in room.session.spoken]
    assert [turn.tokens.output for turn in seen.turns] == [
        ModalityTokens(audio=count) for count in spoken
    ]
    assert seen.turns[1].tokens.input.audio > 100, "the person's speech, and silence"
    assert seen.turns[0].tokens + seen.turns[1].tokens == stats.tokens
    assert stats.tokens.total == stats.tokens.input.total + sum(spoken)
    assert stats.cost == estimate_cost("gemini-3.8-live", stats.tokens)
    costs = [turn.cost_usd for turn in seen.turns]
    assert stats.cost is not None
    assert stats.cost.usd == pytest.approx(sum(cost for cost in costs if cost is not None))


def test_each_kind_of_token_has_its_price() -> None:
    million = 1_000_000
    for tokens, dollars in (
        (TokenUsage(input=ModalityTokens(text=million)), 0.75),
        (TokenUsage(input=ModalityTokens(audio=million)), 3.0),
        (TokenUsage(input=ModalityTokens(video=million)), 1.0),
        (TokenUsage(input=ModalityTokens(image=million)), 1.0),
        (TokenUsage(input=ModalityTokens(other=million)), 0.75),
        (TokenUsage(output=ModalityTokens(text=million)), 4.5),
        (TokenUsage(output=ModalityTokens(audio=million)), 12.0),
        (TokenUsage(thoughts=million), 4.5),
        (TokenUsage(tool_use=million), 0.75),
        (TokenUsage(cached=million), 0.0),  # a part of the input, which is counted in full
    ):
        cost = estimate_cost("models/gemini-3.8-live", tokens)
        assert cost is not None
        assert cost.usd == pytest.approx(dollars)
        assert (cost.as_of, cost.source) == (PRICES_AS_OF, PRICES_SOURCE)


@pytest.mark.parametrize(
    ("model", "dollars"),
    [
        ("gemini-3.8-live-extended-thinking", 0.75),
        ("gemini-3.1-flash-live-preview", 0.75),
        ("gemini-2.5-flash-native-audio-preview-12-2025", 0.5),
        ("projects/p/locations/l/publishers/google/models/gemini-live-2.5-flash-native-audio", 0.5),
    ],
)
def test_models_have_prices(model: str, dollars: float) -> None:
    cost = estimate_cost(model, TokenUsage(input=ModalityTokens(text=1_000_000)))
    assert cost is not None
    assert cost.usd == dollars


def test_a_model_without_a_known_price_has_no_cost() -> None:
    assert estimate_cost("gemini-9-live", TokenUsage(thoughts=1)) is None


# -- percentiles ---------------------------------------------------------------------------------


def test_percentiles_are_by_nearest_rank() -> None:
    assert percentiles_of([]) == Percentiles()
    assert percentiles_of([7.0]) == Percentiles(1, 7.0, 7.0)
    assert percentiles_of(range(100, 0, -1)) == Percentiles(100, 50, 95)
    assert percentiles_of([1.0, 2.0]) == Percentiles(2, 1.0, 2.0)


def test_only_the_newest_samples_are_kept() -> None:
    samples = new_samples()
    samples.extend(range(10 * KEPT_SAMPLES))
    assert isinstance(samples, deque)
    kept = percentiles_of(samples)
    assert (kept.count, kept.p50) == (KEPT_SAMPLES, 9.5 * KEPT_SAMPLES - 1)


# -- the collector alone -------------------------------------------------------------------------


@dataclass(frozen=True)
class ToolEvent(Event):
    """An event of a tool, as the session tells it."""

    name: ClassVar[str] = "tool_call"
    id: str
    tool: str = "look_up"


@dataclass(frozen=True)
class ToolResult(ToolEvent):
    name: ClassVar[str] = "tool_result"


@dataclass(frozen=True)
class ToolCancelled(ToolEvent):
    name: ClassVar[str] = "tool_cancelled"


def finish(metrics: SessionMetrics) -> list[TurnMetrics]:
    return [TurnMetrics(**fields) for fields in metrics.take_all(lambda turn: 0.0)]


def test_tools_are_timed_and_belong_to_the_turn_that_they_come_before_or_in() -> None:
    metrics = SessionMetrics("gemini-3.8-live")
    metrics.on_event(ToolEvent("a", at=1.0))
    metrics.on_event(ToolEvent("slow", at=1.0))
    metrics.on_event(ToolResult("a", at=1.5))
    metrics.begin_turn(2.0, 1)
    metrics.on_event(ToolResult("slow", at=4.0))
    metrics.on_event(ToolEvent("b", at=4.0))
    metrics.on_event(ToolCancelled("b", at=5.0))
    metrics.on_event(ToolResult("b", at=6.0))
    metrics.on_event(ToolResult("never called", at=6.0))
    metrics.complete_turn()
    metrics.on_event(ToolEvent("later", at=7.0))
    metrics.begin_turn(8.0, 2)
    first, second = finish(metrics)
    assert (first.tool_calls, first.tool_ms) == (("a", "slow", "b"), 3500.0)
    assert (second.tool_calls, second.tool_ms) == (("later",), None)
    assert metrics.latency().tool_ms == Percentiles(2, 500.0, 3000.0)


def test_a_result_that_knows_its_duration_is_believed() -> None:
    @dataclass(frozen=True)
    class TimedResult(ToolResult):
        duration_ms: float = 0.0

    metrics = SessionMetrics("gemini-3.8-live")
    metrics.on_event(ToolEvent("", "look_up", at=1.0))  # the service has given no id
    metrics.on_event(TimedResult("", "look_up", duration_ms=120.0, at=9.0))
    assert metrics.latency().tool_ms == Percentiles(1, 120.0, 120.0)


def test_calls_that_nobody_answers_are_bounded() -> None:
    metrics = SessionMetrics("gemini-3.8-live")
    for number in range(3 * MOST_PENDING_CALLS):
        metrics.on_event(ToolEvent(str(number), at=0.0))
    metrics.on_event(ToolResult("0", at=1.0))
    metrics.on_event(ToolResult(str(3 * MOST_PENDING_CALLS - 1), at=1.0))
    metrics.begin_turn(2.0, 1)
    (turn,) = finish(metrics)
    assert len(turn.tool_calls) == MOST_PENDING_CALLS
    assert metrics.latency().tool_ms.count == 1


def test_turns_whose_end_never_comes_are_bounded() -> None:
    metrics, over = SessionMetrics("gemini-3.8-live"), 0
    for number in range(1, 100):
        metrics.begin_turn(float(number), number)
        metrics.hear_turn(float(number), number)
        over += len(metrics.take_finished([number]))
    assert over == 99 - MOST_PENDING_TURNS


def test_speech_of_long_ago_is_not_what_a_turn_answers() -> None:
    metrics = SessionMetrics("gemini-3.8-live")
    metrics.on_speech(0.0, "anna", "started")
    metrics.on_speech(1.0, "anna", "stopped")
    metrics.begin_turn(1.0 + LONGEST_ANSWER_S, 1)
    (turn,) = finish(metrics)
    assert turn.first_audio_ms is None


def test_speech_that_goes_on_over_the_answer_is_not_what_it_answers() -> None:
    metrics = SessionMetrics("gemini-3.8-live")
    metrics.on_speech(0.0, "anna", "started")
    metrics.on_speech(1.0, "anna", "stopped")
    metrics.on_speech(1.2, "ben", "started")
    metrics.begin_turn(1.8, 1)
    metrics.on_speech(5.0, "ben", "stopped")
    (turn,) = finish(metrics)
    assert turn.first_audio_ms == pytest.approx(1000)
    metrics.begin_turn(5.3, 2)
    (turn,) = finish(metrics)
    assert turn.first_audio_ms == pytest.approx(500), "the end of the second speech"


def test_tokens_that_come_after_the_end_of_a_turn_count_for_the_next_one() -> None:
    metrics = SessionMetrics("gemini-3.8-live")
    metrics.begin_turn(1.0, 1)
    metrics.add_usage(TokenUsage(thoughts=1))
    metrics.complete_turn()
    metrics.add_usage(TokenUsage(thoughts=2))
    metrics.begin_turn(2.0, 2)
    metrics.add_usage(TokenUsage(thoughts=4))
    assert [turn.tokens.thoughts for turn in finish(metrics)] == [1, 6]
    assert metrics.tokens.thoughts == 7


# -- observers of some events --------------------------------------------------------------------


async def test_an_observer_gets_the_events_that_it_names_and_spares_the_others(
    local: Local,
) -> None:
    class All(Observer):
        def on_event(self, event: Event) -> None:
            names.append(event.name)

    names: list[str] = []
    async with local(Script([])), GeminiLive() as gemini:
        events = gemini._supervisor.events
        assert not events.listens(Audio), "the session's own numbers do not need the audio"
        some = Seen()
        gemini.add_observer(some)
        assert events.listens(Audio)
        assert not events.listens(PlaybackDucked)
        gemini.add_observer(All())
        assert events.listens(PlaybackDucked)
        gemini.remove_observer(some)
        events.emit(Audio, pcm=b"")
        assert names == ["audio"]
        assert some.audio_at == []


def test_a_frame_knows_when_it_was_pushed() -> None:
    assert Frame(b"", False).at is None
