"""Room on a virtual clock: people who speak at stated times, the assistant, and a listener.

The SDK and the sockets are real; the listener takes the assistant's frames as `getstream` 7 does.
The speech is recorded: the detector does not detect synthetic speech reliably.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

import numpy as np
from aiortc.mediastreams import MediaStreamError
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.testing import LiveSession, LocalGemini, signals
from getstream.plugins.gemini.testing.clock import run_virtual
from getstream.video.rtc import PcmData
from numpy.typing import NDArray

Int16 = NDArray[np.int16]
Local = Callable[..., Any]

CALL, WIRE, MODEL = 48000, 16000, 24000
GRACE = 0.0003  # real seconds for the sockets before the clock jumps
FADE_MS = 5
TEXT = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen."


def recorded(name: str = "question.wav") -> Int16:
    """Read a clip of the package at 16 kHz, from its first sound on."""
    samples, rate = signals.read_wav(str(files("getstream.plugins.gemini") / "data" / name))
    assert rate == WIRE
    return samples[np.flatnonzero(np.abs(samples) > 300)[0] :]


def words(seconds: float, start: float = 0.0) -> Int16:
    said = recorded()[round(start * WIRE) :]
    return said[: round(seconds * WIRE)]


def voice(seconds: float, seed: int = 1) -> Int16:
    """Synthesize the assistant's speech."""
    return signals.speech_like(seconds * 1000, MODEL, seed=seed)


class Room:
    """Assistant, people who speak to it, and a listener, on a virtual clock."""

    def __init__(self, gemini: GeminiLive, server: LocalGemini, rate: int = WIRE) -> None:
        self.gemini = gemini
        self.rate = rate  # on the wire
        self.server = server
        self.started_at = asyncio.get_running_loop().time()
        self.events: list[tuple[float, str, Any]] = []
        self._heard: list[tuple[int, Int16]] = []  # from that sample on
        self._said: list[tuple[float, str, Int16]] = []
        self._echo: tuple[float, float] | None = None
        names = ["interrupted", "turn_complete", "playback_started", "playback_finished"]
        names += ["speech_started", "speech_stopped", "stalled", "disconnected", "resumed", "error"]
        for name in names:
            gemini.on(name, lambda event, name=name: self.events.append((self.now, name, event)))
        self.people = ["anna"]
        self._talking = asyncio.ensure_future(self._talk())
        self._tasks = [asyncio.ensure_future(self._listen()), self._talking]
        if hasattr(gemini.output_track, "wait_for_flush"):
            self._tasks.append(asyncio.ensure_future(self._wait_for_flushes()))

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time() - self.started_at

    @property
    def session(self) -> LiveSession:
        return self.server.sessions[0]

    def say(self, samples: Int16, at: float, who: str = "anna") -> None:
        """Let `who` say that from `at` seconds on."""
        self._said.append((at, who, samples))
        if who not in self.people:
            self.people.append(who)

    def loudspeaker(self, delay: float, level_db: float) -> None:
        """Let every microphone pick up the assistant, `delay` seconds late (20 ms or more)."""
        self._echo = delay, 10 ** (level_db / 20)

    def mute(self) -> None:
        """Stop all frames of all people."""
        self._talking.cancel()

    def forget(self) -> None:
        """Forget everything heard, said and reported until now."""
        self.events.clear()
        self._heard.clear()
        self._said = [(at, who, said) for at, who, said in self._said if at > self.now - 10]

    async def until(self, seconds: float) -> None:
        await asyncio.sleep(self.started_at + seconds - asyncio.get_running_loop().time())

    def of(self, name: str) -> list[Any]:
        return [event for _, kind, event in self.events if kind == name]

    @property
    def heard(self) -> Int16:
        """Return the listener's audio at 48 kHz, from the start of the room."""
        sound = np.zeros(round(self.now * CALL) + CALL, np.int16)
        for position, samples in self._heard:
            sound[position : position + len(samples)] = samples
        return sound

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled() and task.exception() is not None:
                raise task.exception()  # type: ignore[misc]

    async def _listen(self) -> None:
        while True:
            try:
                frame = await self.gemini.output_track.recv()
            except MediaStreamError:
                return
            # The SDK plays a frame when it has it, and one after the other.
            position = round(self.now * CALL)
            if self._heard:
                before, samples = self._heard[-1]
                position = max(position, before + len(samples))
            self._heard.append((position, frame.to_ndarray().reshape(-1).copy()))

    async def _wait_for_flushes(self) -> None:
        """Do what tells the track that `getstream` 7 reads it, which has a clock of its own."""
        while True:
            await self.gemini.output_track.wait_for_flush()

    async def _talk(self) -> None:
        for tick in range(1_000_000):
            await self.until(tick * 0.02)
            for who in self.people:
                samples = np.zeros(320, np.int16)
                for at, speaker, said in self._said:
                    start = tick * 320 - round(at * WIRE)
                    if speaker == who and -320 < start < len(said):
                        piece = said[max(0, start) : start + 320]
                        samples[max(0, -start) : max(0, -start) + len(piece)] += piece
                samples += self._echo_at(tick * 0.02)
                person = SimpleNamespace(user_id=who, session_id="1")
                frame = PcmData(sample_rate=WIRE, format="s16", samples=samples, participant=person)
                await self.gemini.send_audio_pcm(frame, self.rate)

    def _echo_at(self, now: float) -> Int16:
        """Return the assistant's echo at the microphones in the 20 ms from then on."""
        if self._echo is None:
            return np.zeros(320, np.int16)
        delay, gain = self._echo
        start = round((now - delay) * CALL)
        sound = np.zeros(960, np.int16)
        for position, samples in reversed(self._heard):
            if position + len(samples) <= start:
                break
            a, b = max(position, start), min(position + len(samples), start + 960)
            if a < b:
                sound[a - start : b - start] = samples[a - position : b - position]
        return (sound.reshape(-1, 3).mean(axis=1) * gain).astype(np.int16)


def hold(
    local: Local,
    scenario: Callable[[Room], Awaitable[None]],
    reply: Any,
    server_options: dict[str, Any] | None = None,
    rate: int = WIRE,
    **options: Any,
) -> tuple[Room, Int16]:
    """Play a scenario; return the room and the listener's audio."""

    async def main() -> tuple[Room, Int16]:
        async with local(reply, **(server_options or {})) as server:
            async with GeminiLive(**options) as gemini:
                room = Room(gemini, server, rate)
                try:
                    await scenario(room)
                    heard = room.heard
                finally:
                    await room.close()
            return room, heard

    return run_virtual(main(), grace=GRACE)


def hears(sound: Int16, said: Int16) -> float:
    """Return how well the listener has heard speech, as a correlation."""
    return signals.align(said, sound[::2], MODEL).correlation


async def happens(room: Room, event: str) -> Any:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    room.gemini.once(event, lambda value: future.done() or future.set_result(value))
    return await asyncio.wait_for(future, 300)
