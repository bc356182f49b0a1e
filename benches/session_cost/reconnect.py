"""Measure connections that end: `python -m session_cost.reconnect PEOPLE`.

So many assistants in one process, each with its own local service in the parent (see `Trials`).
Commands carry the `number` of the assistant. `connect` makes it, `say` sends it speech (in real
time). Reports when audio of the model arrives after a pause, and when a connection ended.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import getstream.plugins.gemini
import numpy as np
from getstream.plugins.gemini.audio import Resampler
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.testing import (
    ActivityOptions,
    LiveSession,
    LocalGemini,
    Script,
    Turn,
    signals,
)
from getstream.video.rtc import PcmData
from google import genai
from google.genai import types
from programs import Program, commands, report

from .contenders import WEBSOCKET_OPTIONS, WIRE_RATE

KINDS = ("goAway", "1006", "1011")
FRAME = WIRE_RATE // 50
NEVER_MS = 60_000.0
RECORDING = Path(next(iter(getstream.plugins.gemini.__path__))) / "data" / "speech.wav"
LOUD = 0.03
"""Share of the loudest frame from which a frame is speech; late pauses may be shortened."""

REPLY_S, SPEECH_S, TIME_LEFT_S = 3.0, 2.0, 10.0


def speech(seed: int) -> Any:
    """Return a person's speech: a recording in which non-speech is silenced by the detector."""
    samples, rate = signals.read_wav(RECORDING)
    start = round((0.1 + 0.02 * (seed % 16)) * rate)
    return Resampler(rate, WIRE_RATE).push(samples[start : start + round(SPEECH_S * rate)])


def loud(frames: list[Any]) -> list[Any]:
    levels = np.array([np.sqrt(np.mean(frame.astype(float) ** 2)) for frame in frames])
    return [
        frame for frame, level in zip(frames, levels, strict=True) if level > LOUD * levels.max()
    ]


# -- the assistants, in a process of their own -----------------------------------------------------


class Assistant:
    def __init__(self, number: int, url: str, ca_file: str) -> None:
        options: dict[str, Any] = dict(WEBSOCKET_OPTIONS)
        options["ssl"] = ssl.create_default_context(cafile=ca_file)
        client = genai.Client(
            api_key="local-gemini-key",
            http_options=types.HttpOptions(
                base_url=url, api_version="v1beta", async_client_args=options
            ),
        )
        self.number = number
        self.gemini = GeminiLive(client=client)
        self.pushed: asyncio.Queue[Any] = asyncio.Queue()
        self.received = 0

        @self.gemini.on("audio")
        def on_audio(pcm: bytes) -> None:
            self.received += len(pcm) // 48
            report("audio", number=number, at=time.monotonic(), received_ms=self.received)

        @self.gemini.on("resumed")
        def on_resumed(resumed: Any) -> None:
            report("resumed", number=number, gap_ms=resumed.gap_ms, same=resumed.same_session)

        self.tasks = [asyncio.create_task(work()) for work in (self.hear, self.listen)]

    async def hear(self) -> None:
        """Send frames in real time: speech, and a quiet room in between."""
        random = np.random.default_rng(self.number)
        start, sent = time.monotonic(), 0
        while True:
            samples = random.normal(0, 5, FRAME).astype(np.int16)
            if not self.pushed.empty():
                samples = self.pushed.get_nowait()
            pcm = PcmData(sample_rate=WIRE_RATE, format="s16", samples=samples, channels=1)
            await self.gemini.send_audio_pcm(pcm, WIRE_RATE)
            sent += 1
            await asyncio.sleep(max(0.0, start + sent * 0.02 - time.monotonic()))

    async def listen(self) -> None:
        while True:
            await self.gemini.output_track.recv()

    def say(self, seed: int) -> None:
        for frame in np.split(speech(seed), len(speech(seed)) // FRAME):
            self.pushed.put_nowait(frame)

    async def end(self) -> None:
        stats = self.gemini.stats()
        report(
            "ended",
            number=self.number,
            received_ms=self.received,
            played_ms=stats.played_ms,
            dropped_ms=stats.dropped_ms,
        )
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.gemini.close()


async def main() -> None:
    them: dict[int, Assistant] = {}
    async for command in commands():
        do, number = command.pop("do"), command.pop("number")
        if do == "connect":
            them[number] = Assistant(number, **command)
        elif do == "say":
            them[number].say(**command)
        else:
            await them.pop(number).end()


# -- the services and the faults -------------------------------------------------------------------


@dataclass
class Trial:
    """Result of one connection that ended.

    Attributes:
        to_audio_ms: Time from the fault to the first audio of the model after it.
        gap_ms: Time without a connection.
        same_session: True if the session was resumed.
        user_lost: Loud frames of the person that no connection received, of `user_frames`.
        assistant_lost_ms: Speech that had arrived, and was never played.
    """

    kind: str
    to_audio_ms: float = float("nan")
    gap_ms: list[float] = field(default_factory=list)
    same_session: bool = True
    user_lost: int = 0
    user_frames: int = 0
    assistant_lost_ms: float = 0.0


class Trials:
    """Trials with a service and an assistant each; the assistants share a process.

    The model speaks for three seconds, which are sent within half of one. In the middle of it the
    connection ends. As soon as the assistant is back the model speaks again. Later the person
    speaks, and the connection ends in the middle of that, too, in the same way.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._news: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def run(self, kinds: list[str], at_once: int, spread: float = 1.5) -> list[Trial]:
        self._reader = asyncio.create_task(self._read())
        free = asyncio.Semaphore(at_once)

        async def one(number: int, kind: str) -> Trial:
            async with free:
                await asyncio.sleep(spread * (number % at_once) if number < at_once else 0.0)
                return await self._trial(number, kind)

        try:
            return await asyncio.gather(*(one(n, kind) for n, kind in enumerate(kinds)))
        finally:
            self._reader.cancel()

    async def _read(self) -> None:
        while True:
            found = await self._program.wait_report("audio", "resumed", "ended", timeout=120)
            self._news[found["number"]].put_nowait(found)

    async def _next(self, number: int, event: str) -> dict[str, Any]:
        while True:
            found = await asyncio.wait_for(self._news[number].get(), 30)
            if found["event"] == event:
                return found

    async def _trial(self, number: int, kind: str) -> Trial:
        trial = Trial(kind)
        news = self._news[number] = asyncio.Queue()
        service = LocalGemini(
            Script([]), speed=8.0, activity=ActivityOptions(prefix_padding_ms=NEVER_MS)
        )
        async with service:
            self._program.tell(
                do="connect", number=number, url=service.url, ca_file=str(service.ca_file)
            )
            session = await service.wait_session()
            await asyncio.sleep(1.0)
            session.say(Turn(audio=signals.speech_like(REPLY_S * 1000, 24_000, seed=number)))
            await session.wait_turns()
            await asyncio.sleep(0.5)
            while not news.empty():
                news.get_nowait()
            at = await _end_connection(session, kind)
            session = await service.wait_session(1, timeout=30)
            session.say(Turn(audio=signals.speech_like(1000, 24_000, seed=number)))
            resumed = await self._next(number, "resumed")
            first = await self._next(number, "audio")
            trial.to_audio_ms = (first["at"] - at) * 1000
            trial.gap_ms.append(resumed["gap_ms"])
            trial.same_session = resumed["same"]
            await asyncio.sleep(REPLY_S + 1.5)
            self._program.tell(do="say", number=number, seed=number)
            await asyncio.sleep(SPEECH_S / 2)
            await _end_connection(session, kind)
            resumed = await self._next(number, "resumed")
            trial.gap_ms.append(resumed["gap_ms"])
            await asyncio.sleep(SPEECH_S + 1.0)
            self._program.tell(do="end", number=number)
            ended = await self._next(number, "ended")
            trial.assistant_lost_ms = ended["received_ms"] - ended["played_ms"]
            # The wire's frames begin anywhere in the person's: a stall makes them late.
            heard = b"".join(
                frame.data
                for each in service.sessions
                for frame in each.frames
                if frame.kind == "audio"
            )
            said = np.split(speech(number), len(speech(number)) // FRAME)
            words = loud(said)
            trial.user_frames = len(words)
            trial.user_lost = sum(frame.tobytes() not in heard for frame in words)
        return trial


async def _end_connection(session: LiveSession, kind: str) -> float:
    at = time.monotonic()
    if kind == "goAway":
        await session.go_away(TIME_LEFT_S)
    elif kind == "1006":
        session.abort()
    else:
        await session.close(int(kind), "Internal error encountered.")
    return at


if __name__ == "__main__":
    logging.getLogger("getstream").setLevel(logging.ERROR)
    asyncio.run(main())
