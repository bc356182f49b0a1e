"""Frames of a call on their way to the assistant: what is refused, what they cost the SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gemini_calls import pcm, talk
from getstream.plugins.gemini.errors import AudioError, CallError, ConfigError
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.live._media.capture import SpeechEvent
from getstream.plugins.gemini.testing import Parrot, Script
from getstream.utils import StreamAsyncIOEventEmitter
from getstream.video.rtc.connection_manager import ConnectionManager

Local = Callable[..., Any]


@pytest.mark.parametrize(
    "bad",
    [
        pcm(np.zeros(960, np.int16), 7000),
        pcm(np.zeros(960, np.int16), 192000),
        SimpleNamespace(samples=np.zeros(960, np.int32), sample_rate=48000, channels=1),
        SimpleNamespace(samples=np.zeros((3, 960), np.int16), sample_rate=48000, channels=3),
        SimpleNamespace(samples=b"odd", sample_rate=48000, channels=1),
        SimpleNamespace(samples=np.zeros(960, np.int16), sample_rate=48000.5, channels=1),
        SimpleNamespace(samples="text", sample_rate=48000, channels=1),
        b"\0\0",
        None,
    ],
)
async def test_bad_audio_is_refused_and_the_next_frame_is_taken(local: Local, bad: Any) -> None:
    async with local(Script([])) as server, GeminiLive() as gemini:
        with pytest.raises(AudioError):
            await gemini.send_audio_pcm(bad, 16000)
        await talk(gemini, [pcm(np.ones(320, np.int16), 16000)] * 5)
        session = await server.wait_session()
        await session.wait_audio(100)


@pytest.mark.parametrize("rate", [0, 7999, 96001, 16000.0, "16000", 11025, None])
async def test_bad_target_rates(local: Local, rate: Any) -> None:
    async with local(Script([])), GeminiLive() as gemini:
        with pytest.raises(AudioError, match="target_rate"):
            await gemini.send_audio_pcm(pcm(np.zeros(960, np.int16)), rate)


@pytest.mark.parametrize(
    "samples",
    [
        np.full(960, 1000, np.int16),
        np.full((1, 960), 1000, np.int16),
        np.full((2, 960), 1000, np.int16),
        np.full(1920, 1000, np.int16),
        np.full(960, 1000 / 32768, np.float32),
        np.full((2, 960), 1000 / 32768, np.float32),
        np.full(960, 1000, np.int16).tobytes(),
    ],
    ids=["mono", "(1,n)", "(2,n)", "interleaved", "float", "float stereo", "bytes"],
)
async def test_every_shape_of_pcm(local: Local, samples: Any) -> None:
    stereo = getattr(samples, "size", 960) == 1920
    frame = SimpleNamespace(samples=samples, sample_rate=48000, channels=2 if stereo else 1)
    async with local(Script([])) as server, GeminiLive() as gemini:
        await talk(gemini, [frame] * 10)
        session = await server.wait_session()
        await session.wait_audio(200)
        settled = session.audio[0].samples[320 : 320 * 10]
        assert len(settled) == 320 * 9
        assert np.abs(settled.astype(int) - 1000).max() <= 2


async def test_two_people_are_mixed_on_one_timeline(local: Local) -> None:
    anna = SimpleNamespace(user_id="anna", session_id="1")
    ben = SimpleNamespace(user_id="ben", session_id="2")
    async with local(Script([])) as server, GeminiLive() as gemini:
        levels = ((anna, 1000), (ben, 300))
        frames = [
            [pcm(np.full(320, level, np.int16), 16000, participant=who) for _ in range(50)]
            for who, level in levels
        ]
        await asyncio.gather(*(talk(gemini, each) for each in frames))
        session = await server.wait_session()
        await session.wait_audio(960)
        samples = session.audio[0].samples
        assert len(samples) <= 320 * 52, "two people do not make the clock run twice as fast"
        assert set(samples[3200:12800]) == {1300}


class Connection:
    """Connection of `getstream` 7, as far as `attach` uses it, without a call behind it."""

    def __init__(self, broken: bool = False) -> None:
        self.handlers: dict[str, list[Any]] = {}
        self.broken = broken
        self.participants_state = self  # an emitter of its own, in the SDK

    def on(self, event: str, handler: Any) -> None:
        self.handlers.setdefault(event, []).append(handler)

    def remove_listener(self, event: str, handler: Any) -> None:
        self.handlers[event].remove(handler)

    async def add_tracks(self, audio: Any) -> None:
        if self.broken:
            raise RuntimeError("no permission")


async def test_attach_checks_first_and_leaves_nothing_behind(local: Local, collect: Any) -> None:
    async with local(Parrot()), GeminiLive() as gemini:
        connection = Connection(broken=True)
        with pytest.raises(AudioError, match="target_rate"):
            await gemini.attach(connection, target_rate=44101)
        with pytest.raises(ConfigError, match="fps"):
            await gemini.attach(connection, fps=0)
        with pytest.raises(CallError, match="no permission"):
            await gemini.attach(connection)
        assert set(connection.handlers) == {
            "audio",
            "track_added",
            "participant_joined",
            "participant_left",
        }
        assert not any(connection.handlers.values())
        connection.broken = False
        await gemini.attach(connection)
        with pytest.raises(CallError, match="already"):
            await gemini.attach(connection)
        (hear,) = connection.handlers["audio"]
        errors = collect(gemini, "error")
        for _ in range(10):
            hear(SimpleNamespace(samples=b"odd", sample_rate=48000, channels=1))
        assert len(errors) == 1, "reported once, counted always"
        assert gemini.stats().frames_refused == 10
        hear(pcm(np.zeros(960, np.int16)))
        assert gemini.stats().frames_in == 1
        (left,) = connection.handlers["participant_left"]
        assert len(gemini.stats().tracks) == 1
        left(SimpleNamespace(user_id="", session_id=""))
        assert not gemini.stats().tracks


class Frames:
    """Track of `getstream` 7 with frames of silence, in real time."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.participant = SimpleNamespace(user_id="anna", session_id="1")

    async def next_pcm(self) -> Any:
        await asyncio.sleep(0.02)
        self.left -= 1
        if self.left < 0:
            return None
        silence = np.zeros(1920, np.int16)
        return SimpleNamespace(sample_rate=48000, channels=2, samples=silence, pts=None)


class SdkConnection(ConnectionManager):  # type: ignore[misc, no-any-unimported]
    """The SDK's connection with the SDK's emitter, without a call behind it."""

    def __init__(self) -> None:
        StreamAsyncIOEventEmitter.__init__(self)
        self.participants_state = StreamAsyncIOEventEmitter()

    async def add_tracks(self, audio: Any = None, video: Any = None) -> None:
        """The voice is heard by nobody."""


@pytest.fixture
async def started() -> AsyncIterator[list[str]]:
    """The name of each coroutine that becomes a task of this loop."""
    loop = asyncio.get_running_loop()
    names: list[str] = []

    def make(loop: Any, work: Any, **options: Any) -> asyncio.Task[Any]:
        names.append(work.__qualname__)
        return asyncio.Task(work, loop=loop, **options)

    loop.set_task_factory(make)
    yield names
    loop.set_task_factory(None)


@pytest.mark.skipif(not hasattr(ConnectionManager, "_emit_audio"), reason="getstream 6")
async def test_a_frame_of_the_call_starts_no_task(local: Local, started: list[str]) -> None:
    async with local(Script([])) as server, GeminiLive() as gemini:
        connection = SdkConnection()
        await gemini.attach(connection)
        session = await server.wait_session()
        await connection._emit_audio(Frames(2))  # the first frame settles the rate
        started.clear()
        await connection._emit_audio(Frames(50))
        assert started == []
        await session.wait_frames("audio", 45)  # that clock is a little slow
        assert gemini.stats().frames_in == 52
        # An async handler beside it has its tasks: the count is not blind.
        beside: list[Any] = []

        async def handler(frame: Any) -> None:
            beside.append(frame)

        connection.on("audio", handler)
        started.clear()
        await connection._emit_audio(Frames(3))
        assert len(started) == 3


@pytest.mark.skipif(not hasattr(ConnectionManager, "_emit_audio"), reason="getstream 6")
async def test_an_error_in_a_frame_stays_out_of_the_sdk(
    local: Local, collect: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with local(Script([])), GeminiLive() as gemini:
        connection = SdkConnection()
        await gemini.attach(connection)
        errors = collect(gemini, "error")
        raised: list[Any] = []
        connection.on("error", raised.append)
        push, numbers = gemini._audio.input.push, iter(range(100))

        def fail(*args: Any, **options: Any) -> Any:
            number = next(numbers)
            if number in (1, 2, 3):
                raise AudioError("bad input")
            if number in (5, 6, 7):
                raise RuntimeError("a fault of ours")
            return push(*args, **options)

        monkeypatch.setattr(gemini._audio.input, "push", fail)
        await connection._emit_audio(Frames(10))
        assert gemini.stats().frames_in == 4, "those before, between and behind"
        assert gemini.stats().frames_refused == 6, "counted always"
        assert [str(error) for _, error in errors] == [
            "bad input",
            "A frame of the call could not be taken (RuntimeError: a fault of ours)",
        ], "reported once"
        assert isinstance(errors[1][1].__cause__, RuntimeError)
        assert caplog.text.count("Traceback") == 1
        assert raised == []
        assert "handler failed" not in caplog.text, "the SDK has seen nothing"


async def test_a_fault_while_time_passes_is_told_once_and_does_not_stop_time(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local() as _, GeminiLive() as gemini:
        advance, faults, done = gemini._audio.input.advance, 0, asyncio.Event()
        errors: list[Any] = []
        gemini.on("error", errors.append)

        def fail(now: float) -> list[SpeechEvent]:
            nonlocal faults
            if faults < 3:
                faults += 1
                raise RuntimeError("a fault of ours")
            events = advance(now)
            if gemini._audio.input.advance_at is None:
                done.set()
            return events

        monkeypatch.setattr(gemini._audio.input, "advance", fail)
        started = gemini._supervisor.now()
        await gemini.send_audio_pcm(pcm(np.zeros(320, np.int16), 16000), 16000)
        await asyncio.wait_for(done.wait(), 20)
        assert gemini._supervisor.now() - started >= 1.0, "the stream ends after its pause"
        assert len(errors) == 1
