"""Observers and streams of events see what happens, and hurt nobody."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.live import (
    Closed,
    Event,
    EventStream,
    GeminiLive,
    Observer,
    PlaybackPaused,
    Text,
)
from getstream.plugins.gemini.live._emitter import MAX_PENDING, Emitter
from getstream.plugins.gemini.live._events import EVENT_TYPES
from getstream.plugins.gemini.live._telemetry.observer import Observers
from getstream.plugins.gemini.testing import Parrot, Script, Turn
from room import CALL, WIRE, Int16, Local, Room, hold, voice, words


class Everything(Observer):
    """Keeps all that it is shown."""

    def __init__(self) -> None:
        self.packets: list[tuple[float, str, Any]] = []
        self.sent: list[tuple[float, bytes, int]] = []
        self.played: list[tuple[float, bytes, int]] = []
        self.phases: list[tuple[float, str, str]] = []
        self.messages: list[Any] = []
        self.events: list[Event] = []
        self.closed = 0

    def on_participant_audio(self, at: float, user_id: str, pcm: Any) -> None:
        self.packets.append((at, user_id, pcm))

    def on_input_audio(self, at: float, pcm: bytes, sample_rate: int) -> None:
        self.sent.append((at, pcm, sample_rate))

    def on_output_audio(self, at: float, pcm: bytes, sample_rate: int) -> None:
        self.played.append((at, pcm, sample_rate))

    def on_speech(self, at: float, user_id: str, phase: str) -> None:
        self.phases.append((at, user_id, phase))

    def on_message(self, at: float, message: Any) -> None:
        self.messages.append(message)

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def on_close(self) -> None:
        self.closed += 1


class EventsOnly(Observer):
    def __init__(self) -> None:
        self.names: list[str] = []

    def on_event(self, event: Event) -> None:
        self.names.append(event.name)


def observed(local: Local, *observers: Observer) -> tuple[Room, Int16]:
    """Hold a call in which somebody says a short word over a reply."""

    async def scenario(room: Room) -> None:
        for observer in observers:
            room.gemini.add_observer(observer)
            room.gemini.add_observer(observer)
        await room.gemini.send_text("Go.")
        room.say(words(0.4), at=2.0)
        await room.until(8)

    return hold(local, scenario, Script([Turn(audio=voice(5.0))]))


def samples(frames: list[tuple[float, bytes, int]]) -> Int16:
    return np.frombuffer(b"".join(pcm for _, pcm, _ in frames), np.int16)


def test_an_observer_sees_frames_decisions_messages_and_events(local: Local) -> None:
    seen = Everything()
    room, heard = observed(local, seen)
    assert {rate for _, _, rate in seen.sent} == {WIRE}
    (arrived,) = room.session.audio
    sent = samples(seen.sent)
    assert len(sent) > 7 * WIRE
    assert sent.tobytes().startswith(arrived.samples.tobytes()[: 2 * 7 * WIRE])
    assert {rate for _, _, rate in seen.played} == {CALL}
    spoken = np.flatnonzero(samples(seen.played))
    assert len(spoken) > 4 * CALL
    assert np.isin(samples(seen.played)[spoken[:1000]], heard).all()
    times = [at for at, _, _ in seen.played]
    assert times == sorted(times)
    assert {user for _, user, _ in seen.packets} == {"anna"}
    assert [phase for _, user, phase in seen.phases if user == "anna"][:2] == [
        "starting",
        "started",
    ]
    names = [event.name for event in seen.events]
    assert names.index("playback_ducked") < names.index("playback_paused")
    assert names.index("playback_paused") < names.index("playback_resumed")
    (paused,) = [event for event in seen.events if isinstance(event, PlaybackPaused)]
    assert (paused.reason, paused.turn) == ("speech", 1)
    assert room.started_at + 2.0 < paused.at < room.started_at + 2.5
    assert [message.turn_complete for message in seen.messages].count(True) == 1
    assert names[-1] == "closed"
    assert seen.closed == 1


def test_nothing_follows_the_end() -> None:
    """A session that has failed plays on, and errors may be told after the end."""
    seen, observers = Everything(), Observers()
    observers.add(seen)
    observers.close()
    observers.close()
    observers.notify("on_output_audio", 1.0, b"", CALL)
    observers.notify_event(Closed(None))
    assert not observers.has("on_output_audio")
    assert not observers.take("closed")
    assert (seen.played, seen.events, seen.closed) == ([], [], 1)


def test_an_observer_that_raises_is_removed_and_the_call_goes_on(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Observer):
        def on_output_audio(self, at: float, pcm: bytes, sample_rate: int) -> None:
            raise RuntimeError("disk full")

    other = EventsOnly()
    with caplog.at_level(logging.ERROR):
        room, _ = observed(local, Broken(), other)
    assert caplog.text.count("has failed in on_output_audio") == 1
    assert "playback_finished" in other.names
    assert room.gemini.stats().played_ms == pytest.approx(5000, abs=1)


async def test_an_observer_that_was_removed_sees_nothing(local: Local) -> None:
    async with local(Parrot()), GeminiLive() as gemini:
        seen = Everything()
        gemini.add_observer(seen)
        gemini.remove_observer(seen)
        gemini.remove_observer(seen)
        gemini.on("text", lambda text: None)
        await gemini.send_text("Hello.")
    assert not seen.events
    assert not seen.messages
    assert seen.closed == 0


# -- events as a stream --------------------------------------------------------------------------


def emitter(now: float = 3.0) -> Emitter:
    return Emitter(asyncio.ensure_future, now=lambda: now, turn=lambda: 7)  # type: ignore[arg-type]


def test_every_event_is_a_frozen_dataclass_with_its_turn_and_time() -> None:
    for name, event_type in EVENT_TYPES.items():
        assert event_type.name == name
        assert {"at", "turn"} <= {each.name for each in dataclasses.fields(event_type)}
        with pytest.raises(dataclasses.FrozenInstanceError):
            Text("a").text = "b"  # type: ignore[misc]


async def test_a_stream_yields_events_and_ends_with_the_session(local: Local) -> None:
    async with local(Script([Turn(text="Hello there.")])):
        async with GeminiLive() as gemini:
            stream = gemini.events("text", "turn_complete", "closed")
            complete = asyncio.Event()
            gemini.on("turn_complete", complete.set)
            await gemini.send_text("Hello.")
            await asyncio.wait_for(complete.wait(), 10)
        events = [event async for event in stream]
    assert [event.name for event in events if event.name != "text"] == ["turn_complete", "closed"]
    texts = [event for event in events if isinstance(event, Text)]
    assert "".join(event.text for event in texts).strip() == "Hello there."
    assert {event.turn for event in texts} == {1}
    assert isinstance(events[-1], Closed)
    assert events[-1].cause is None


async def test_a_stream_that_is_behind_drops_and_counts() -> None:
    events = emitter()
    stream = events.stream()
    for number in range(MAX_PENDING + 5):
        assert events.emit(Text, text=str(number))
    assert (stream.dropped, events.lost) == (5, 5)
    first = await anext(stream)
    assert first == Text("0")
    assert (first.at, first.turn) == (3.0, 7)


async def test_a_stream_is_closed_by_its_consumer() -> None:
    events = emitter()
    async with events.stream((Text,)) as stream:
        assert isinstance(stream, EventStream)
        assert events.emit(Text, text="a")
        assert not events.emit(Closed, cause=None)
    assert not events.emit(Text, text="b")
    assert [event async for event in stream] == []
    stream.close()


async def test_a_stream_has_one_consumer() -> None:
    stream = emitter().stream()
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="one consumer"):
        await anext(stream)
    stream.close()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_a_stream_of_an_unknown_event_is_refused(local: Local) -> None:
    async with local(Parrot()), GeminiLive() as gemini:
        with pytest.raises(ConfigError, match="Did you mean 'interrupted'"):
            gemini.events("interupted")
