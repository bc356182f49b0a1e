"""The output track's two clocks, on a virtual clock, against a model of what the SDKs do with it.

`getstream` 7: a forwarder reads `recv()` as fast as it returns into a queue; every 20 ms the SDK
sends the oldest frame of the queue, or silence when there is none; `flush()` empties the queue one
turn of the loop later. `getstream` 6: aiortc sends each frame when `recv()` returns.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError
from crossings import Crossings
from getstream.plugins.gemini.errors import AudioError, CallError, ConfigError
from getstream.plugins.gemini.live._media import playout
from getstream.plugins.gemini.live._media.playout import (
    FORWARDER,
    LEAD_S,
    SETTLE_S,
    UNREAD_AFTER_S,
    AudioOutput,
    WholeChunks,
)
from getstream.plugins.gemini.testing import signals
from getstream.plugins.gemini.testing.clock import VirtualTimeLoop, run_virtual
from getstream.video.rtc.audio_track import AudioStreamTrack

FRAME_S = 0.020
LEVEL = 8000


class Sdk:
    """Model of what `getstream` 7 does with a published track."""

    def __init__(self, track: Any, phase: float = 0.001) -> None:
        self.track = track
        self.phase = phase
        self.queue: deque[Any] = deque()
        self.sent: list[Any] = []
        self.flushes: list[tuple[float, int]] = []
        self.deepest = 0
        self.tasks = [
            asyncio.ensure_future(work()) for work in (self.forward, self.flush, self.pace)
        ]

    async def forward(self) -> None:
        while True:
            try:
                frame = await self.track.recv()
            except MediaStreamError:
                return
            self.queue.append(frame.to_ndarray().reshape(-1).copy())
            self.deepest = max(self.deepest, len(self.queue))

    async def flush(self) -> None:
        while True:
            await self.track.wait_for_flush()
            self.flushes.append((asyncio.get_running_loop().time(), len(self.queue)))
            self.queue.clear()

    async def pace(self) -> None:
        await asyncio.sleep(self.phase)
        loop = asyncio.get_running_loop()
        start = loop.time()
        while True:
            frame = self.queue.popleft() if self.queue else np.zeros(960, np.int16)
            self.sent.append(frame)
            await asyncio.sleep(start + len(self.sent) * FRAME_S - loop.time())

    @property
    def sound(self) -> Any:
        return np.concatenate(self.sent)

    async def leave(self) -> None:
        """Do what happens to a track at the end of a call."""
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)
        await asyncio.sleep(0)

    async def close(self) -> None:
        self.track.stop()
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)


def call(
    scenario: Callable[[AudioOutput, Sdk], Awaitable[None]], phase: float = 0.001
) -> tuple[Any, AudioOutput, Sdk]:
    """Run a scenario on `getstream` 7; returns what was sent."""

    async def main() -> tuple[Any, AudioOutput, Sdk]:
        output = AudioOutput()
        sdk = Sdk(output.track, phase)
        await scenario(output, sdk)
        await sdk.close()
        return sdk.sound, output, sdk

    return run_virtual(main())


def speech(ms: float, seed: int = 0) -> Any:
    return signals.speech_like(ms, 24000, seed=seed)


def loop() -> VirtualTimeLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualTimeLoop)
    return running


def runs_of_sound(sound: Any, floor: int = 3) -> list[tuple[float, float]]:
    """Stretches of sound in seconds; silence below 15 ms does not part them."""
    places = np.flatnonzero(np.abs(sound.astype(int)) > floor)
    if not len(places):
        return []
    cuts = np.flatnonzero(np.diff(places) > 0.015 * 48000)
    starts = places[np.concatenate([[0], cuts + 1])]
    ends = places[np.concatenate([cuts, [len(places) - 1]])]
    return [(a / 48000, b / 48000) for a, b in zip(starts, ends, strict=True)]


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base class of `getstream` 6, which nobody waits for flushes of."""
    monkeypatch.delattr(AudioStreamTrack, "wait_for_flush", raising=False)


# -- getstream 7 ---------------------------------------------------------------------------------

sdk_paces = pytest.mark.skipif(
    not hasattr(AudioStreamTrack, "wait_for_flush"),
    reason="the clock for an SDK that paces; this one (getstream 6) does not",
)


@pytest.mark.parametrize("phase", [0.001, 0.003, 0.011, 0.0199])
def test_a_turn_arrives_whole_and_soon_whatever_the_phase(phase: float) -> None:
    voice = speech(1000)

    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(2.0)
        output.push(voice.tobytes(), 24000, 1)
        output.end_turn(1)
        await asyncio.sleep(2.0)

    sound, output, sdk = call(scenario, phase)
    found = signals.align(voice, sound[::2], 24000)
    assert found.correlation > 0.995, "the sampled output is the input"
    start = found.offset_ms / 1000 + phase
    # The SDK's tick, and 1.4 ms of the resampler: nothing else is in the way.
    assert 2.0 <= start <= 2.0 + FRAME_S + 0.002
    assert sdk.deepest <= 2, "the lead is all that waits in the SDK's queue"
    assert output.heard_ms(1) == 1000
    assert (output.track.late_frames, output.track.underruns) == (0, 0)


@sdk_paces
def test_an_idle_track_hands_over_nothing() -> None:
    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(60)
        assert not sdk.queue

    sound, output, sdk = call(scenario)
    assert not sound.any()
    assert sdk.deepest == 0
    assert output.stats().frames == 0


@sdk_paces
def test_the_first_speech_waits_until_the_media_connection_can_be_up() -> None:
    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(0)  # the SDK has begun to read
        output.push(speech(200).tobytes(), 24000, 1)
        output.end_turn(1)
        await asyncio.sleep(2.0)

    sound, _, sdk = call(scenario)
    ((start, _),) = runs_of_sound(sound)
    assert SETTLE_S <= start <= SETTLE_S + 0.05
    assert sdk.deepest <= 2, "nothing has piled up meanwhile"


def test_speech_starts_with_a_flush_that_has_arrived_and_is_never_flushed() -> None:
    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(1.0)
        stale = np.full(960, LEVEL, np.int16)
        sdk.queue.append(stale)  # whatever a moment of trouble left there
        for turn in (1, 2, 3):
            output.push(speech(500, turn).tobytes(), 24000, turn)
            await asyncio.sleep(0.2)
            output.pause()
            await asyncio.sleep(0.1)
            output.resume()
            output.end_turn(turn)
            await asyncio.sleep(1.0)

    _, output, sdk = call(scenario)
    assert output.stats().played == 3 * 12000
    for _, dropped in sdk.flushes[1:]:
        assert dropped == 0, "a flush dropped speech"


@sdk_paces
def test_a_flush_that_fails_in_the_sdk_holds_no_speech() -> None:
    class Failing(Sdk):
        async def flush(self) -> None:
            await self.track.wait_for_flush()
            raise RuntimeError("the SDK's flush")

    async def main() -> None:
        output = AudioOutput()
        sdk = Failing(output.track)
        await asyncio.sleep(1.0)
        output.push(speech(500).tobytes(), 24000, 1)
        output.end_turn(1)
        await asyncio.sleep(1.0)
        assert output.heard_ms(1) == 500
        await sdk.close()

    run_virtual(main())


@pytest.mark.parametrize("gap_ms", [0, 5, 10, 20, 30, 45, 60, 100, 400])
def test_a_turn_soon_after_another_loses_nothing(gap_ms: int) -> None:
    first, second = speech(300, 1), speech(300, 2)

    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(1.0)
        output.push(first.tobytes(), 24000, 1)
        output.end_turn(1)
        while output.playing:
            await asyncio.sleep(0.001)
        await asyncio.sleep(gap_ms / 1000)
        output.push(second.tobytes(), 24000, 2)
        output.end_turn(2)
        await asyncio.sleep(1.0)

    sound, output, _ = call(scenario)
    for voice in (first, second):
        assert signals.align(voice, sound[::2], 24000).correlation > 0.98
    assert output.track.underruns == 0
    natural = max(signals.largest_step(np.repeat(voice, 2)) for voice in (first, second))
    assert signals.largest_step(sound) <= natural


@sdk_paces
def test_a_loop_that_is_late_within_the_lead_is_not_heard() -> None:
    voice = speech(1000)

    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(1.0)
        output.push(voice.tobytes(), 24000, 1)
        output.end_turn(1)
        for _ in range(20):
            await asyncio.sleep(0.04)
            loop().advance(LEAD_S * 0.9)  # something holds the loop for 18 ms
        await asyncio.sleep(1.0)

    # The SDK paces in Rust, on a clock that no Python code holds up: its own loop in this model.
    async def main() -> tuple[AudioOutput, list[tuple[float, Any]]]:
        output = AudioOutput()
        handed: list[tuple[float, Any]] = []

        async def forward() -> None:
            while True:
                frame = await output.track.recv()
                handed.append((loop().time(), frame.to_ndarray().reshape(-1)))

        task = asyncio.ensure_future(as_sdk(output, forward()))
        await scenario(output, None)  # type: ignore[arg-type]
        task.cancel()
        await asyncio.wait([task])
        return output, handed

    output, handed = run_virtual(main())
    sound = paced_from(handed, phase=0.001)
    assert signals.align(voice, sound[::2], 24000).correlation > 0.995
    assert output.track.underruns == 0
    assert output.track.late_frames > 0


async def as_sdk(output: AudioOutput, forward: Coroutine[Any, Any, None]) -> None:
    """Read the track as `getstream` 7 does, which also waits for flushes."""
    waiting = asyncio.ensure_future(output.track.wait_for_flush())
    try:
        await forward
    finally:
        waiting.cancel()


def paced_from(handed: list[tuple[float, Any]], phase: float) -> Any:
    """Return what an SDK that ticks every 20 ms from `phase` on sends of such frames."""
    queue = deque(handed)
    sent = []
    for tick in range(int((handed[-1][0] + 1) / FRAME_S)):
        now = tick * FRAME_S + phase
        if queue and queue[0][0] <= now:
            sent.append(queue.popleft()[1])
        else:
            sent.append(np.zeros(960, np.int16))
    return np.concatenate(sent)


@sdk_paces
@pytest.mark.parametrize("stall", [0.06, 0.12, 0.5])
def test_after_a_long_stall_speech_goes_on_softly_and_without_delay(stall: float) -> None:
    voice = np.full(24000 * 2, LEVEL, np.int16)

    async def main() -> tuple[AudioOutput, list[tuple[float, Any]]]:
        output = AudioOutput()
        handed: list[tuple[float, Any]] = []

        async def forward() -> None:
            while True:
                frame = await output.track.recv()
                handed.append((loop().time(), frame.to_ndarray().reshape(-1)))

        task = asyncio.ensure_future(as_sdk(output, forward()))
        await asyncio.sleep(1.0)
        output.push(voice.tobytes(), 24000, 1)
        output.end_turn(1)
        await asyncio.sleep(0.5)
        loop().advance(stall)
        await asyncio.sleep(3.0)
        task.cancel()
        await asyncio.wait([task])
        return output, handed

    output, handed = run_virtual(main())
    assert output.track.underruns == 1
    assert output.heard_ms(1) == 2000, "nothing is skipped"
    sound = paced_from(handed, phase=0.001)
    first, second = runs_of_sound(sound)
    # The hole is as long as the stall, less the lead that had been handed over.
    assert second[0] - first[1] == pytest.approx(stall - LEAD_S, abs=0.02)
    # Faded in, although the SDK's own silence had a hard edge before it.
    begin = round(second[0] * 48000)
    assert np.abs(np.diff(sound[begin - 5 : begin + 480].astype(int))).max() < LEVEL / 20
    # And the delay afterwards is what it was before: one frame of lead, not the stall.
    lead = [handed_at for handed_at, _ in handed[-20:]]
    assert np.allclose(np.diff(lead), FRAME_S, atol=1e-6)
    assert len(handed) == pytest.approx(2.0 / FRAME_S + 1, abs=2)


def test_a_stall_of_the_model_in_mid_sentence_is_two_soft_runs() -> None:
    voice = np.full(24000, LEVEL, np.int16)

    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(1.0)
        output.push(voice[:12000].tobytes(), 24000, 1)
        await asyncio.sleep(2.0)
        output.push(voice[12000:].tobytes(), 24000, 1)
        output.end_turn(1)
        await asyncio.sleep(1.0)

    sound, output, _ = call(scenario)
    assert len(runs_of_sound(sound)) == 2
    assert output.stats().underruns == 1
    assert output.track.underruns == 0, "the loop was not late"
    assert output.heard_ms(1) == 1000
    assert signals.largest_step(sound) < LEVEL / 20


def test_pause_drop_and_stop_never_step() -> None:
    voice = np.full(24000 * 3, LEVEL, np.int16)

    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(1.0)
        output.push(voice.tobytes(), 24000, 1)
        await asyncio.sleep(0.313)
        output.pause()
        await asyncio.sleep(0.2)
        output.resume()
        await asyncio.sleep(0.207)
        output.drop()
        await asyncio.sleep(0.5)

    sound, output, _ = call(scenario)
    assert len(runs_of_sound(sound)) == 2
    assert signals.largest_step(sound) < LEVEL / 20
    stats = output.stats()
    assert stats.pushed == stats.played + stats.dropped


def test_a_pause_is_heard_within_the_lead_and_two_frames() -> None:
    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(1.0)
        output.push(np.full(72000, LEVEL, np.int16).tobytes(), 24000, 1)
        await asyncio.sleep(1.0)
        output.pause()
        await asyncio.sleep(1.0)

    sound, _, _ = call(scenario)
    ((_, end),) = runs_of_sound(sound)
    assert end <= 2.0 + LEAD_S + 2 * FRAME_S


# A service that sends chunks of 40 ms: ms from one to the next, at four times and 1.3 times real
# time.
QUICK_MS, UNHURRIED_MS = 10.0, 30.8


async def send(output: AudioOutput, turn: int, voice: Any, every_ms: float) -> None:
    """Push speech in chunks of 40 ms as a service sends them, and the end of the turn."""
    begin = loop().time()
    for k, start in enumerate(range(0, len(voice), 960)):
        await asyncio.sleep(begin + k * every_ms / 1000 - loop().time())
        output.push(voice[start : start + 960].tobytes(), 24000, turn)
    output.end_turn(turn)


@pytest.mark.parametrize("every_ms", [QUICK_MS, UNHURRIED_MS])
@pytest.mark.parametrize("phase", [0.001, 0.011])
def test_the_answer_starts_on_its_first_chunk(every_ms: float, phase: float) -> None:
    begins: list[float] = []
    starts: list[float] = []

    async def main() -> tuple[Any, AudioOutput]:
        output = AudioOutput(on_started=lambda turn, at: starts.append(at))
        sdk = Sdk(output.track, phase)
        await asyncio.sleep(1.0)
        for turn in range(1, 6):
            begins.append(loop().time())
            await send(output, turn, speech(1000, turn), every_ms)
            await asyncio.sleep(2.0)
        await sdk.close()
        return sdk.sound, output

    sound, output = run_virtual(main())
    waits = [1000 * (start - begin) for start, begin in zip(starts, begins, strict=True)]
    # Of the first turn nothing is known: it waits for its second chunk.
    assert waits == pytest.approx([every_ms, 0, 0, 0, 0], abs=0.1)
    assert output.stats().underruns == 0
    assert output.track.underruns == output.track.late_frames == 0
    for turn in range(1, 6):
        assert signals.align(speech(1000, turn), sound[::2], 24000).correlation > 0.995


def test_a_chunk_that_comes_within_the_lead_prevents_an_underrun() -> None:
    voice = speech(400)

    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(1.0)
        output.push(voice[:1920].tobytes(), 24000, 1)
        # Four frames, the last one in the SDK's hands by now, the next due in 12 ms.
        await asyncio.sleep(0.068)
        assert output.heard_ms(1) == 80
        output.push(voice[1920:].tobytes(), 24000, 1)
        output.end_turn(1)
        await asyncio.sleep(1.0)

    sound, output, _ = call(scenario)
    assert output.stats().underruns == output.track.underruns == 0
    assert signals.align(voice, sound[::2], 24000).correlation > 0.995
    assert len(runs_of_sound(sound)) == len(runs_of_sound(np.repeat(voice, 2)))


@pytest.mark.parametrize("act", ["pause", "drop", "stop"])
def test_a_track_that_waits_for_the_next_chunk_can_be_stopped(act: str) -> None:
    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(1.0)
        output.push(np.full(1920, LEVEL, np.int16).tobytes(), 24000, 1)
        await asyncio.sleep(0.062)
        assert output.heard_ms(1) == 80
        if act == "stop":
            output.track.stop()
        else:
            getattr(output, act)()
        await asyncio.sleep(1.0)
        assert sdk.tasks[0].done() if act == "stop" else not output.playing

    sound, output, _ = call(scenario)
    assert output.stats().underruns == 0
    if act != "stop":
        assert signals.largest_step(sound) < LEVEL / 20


@pytest.mark.parametrize("ms", [20, 33, 60, 130, 1010])
@pytest.mark.parametrize("older_clock", [False, True])
def test_a_turn_whose_end_is_never_told_is_played_to_its_last_sample(
    ms: int, older_clock: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However short: waiting for its prefill ends some time."""
    if older_clock:
        monkeypatch.delattr(AudioStreamTrack, "wait_for_flush", raising=False)
    voice = speech(ms)

    async def main() -> float:
        output = AudioOutput()

        async def read() -> None:
            while True:
                await output.track.recv()

        task = asyncio.ensure_future(read())
        await asyncio.sleep(1.0)
        for start in range(0, len(voice), 960):
            output.push(voice[start : start + 960].tobytes(), 24000, 1)
        await asyncio.sleep(ms / 1000 + 0.5)
        task.cancel()
        await asyncio.wait([task])
        return output.heard_ms(1)

    assert run_virtual(main()) == ms


def test_a_short_turn_that_came_behind_another_is_played_after_it() -> None:
    voice = speech(30)

    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        output.push(speech(1000, seed=1).tobytes(), 24000, 1)
        output.end_turn(1)
        output.push(voice.tobytes(), 24000, 2)
        await asyncio.sleep(2.0)
        assert not output.waiting
        output.end_turn(2)
        assert output.heard_ms(2) == pytest.approx(30)
        await asyncio.sleep(0.1)

    call(scenario)


def test_a_short_turn_that_came_while_paused_is_played_after_it() -> None:
    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(1.0)
        output.pause()
        output.push(speech(20).tobytes(), 24000, 1)
        await asyncio.sleep(2.0)
        assert output.heard_ms(1) == 0
        output.resume()
        await asyncio.sleep(0.1)
        assert output.heard_ms(1) == 20

    call(scenario)


def counted_call(
    monkeypatch: pytest.MonkeyPatch, scenario: Callable[[AudioOutput], Awaitable[None]]
) -> dict[str, int]:
    """Crossings of 50 frames in the middle of speech that `scenario` begins to push."""
    crossings = Crossings()
    crossings.watch(monkeypatch, playout, "Playback", "EchoReference")

    async def main() -> dict[str, int]:
        output = AudioOutput()
        handed = 0

        async def read() -> None:
            nonlocal handed
            while True:
                await output.track.recv()
                handed += 1

        tasks = [asyncio.ensure_future(read())]
        await asyncio.sleep(1.0)
        tasks.append(asyncio.ensure_future(scenario(output)))
        await asyncio.sleep(0.5)
        before, already = crossings.snapshot(), handed
        await asyncio.sleep(50 * FRAME_S)
        found = crossings.since(before)
        assert handed - already == 50
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return found

    return run_virtual(main())


async def say_all(output: AudioOutput) -> None:
    output.push(speech(3000).tobytes(), 24000, 1)
    output.end_turn(1)


async def say_in_chunks(output: AudioOutput) -> None:
    await send(output, 1, speech(4000), UNHURRIED_MS)


def test_one_frame_of_speech_crosses_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert counted_call(monkeypatch, say_all) == {"Playback.pop": 50}


def test_chunks_that_come_meanwhile_add_nothing_to_a_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = counted_call(monkeypatch, say_in_chunks)
    pushes = found.pop("Playback.push")
    assert pushes == pytest.approx(1000 / UNHURRIED_MS, abs=1)
    assert found == {"Playback.pop": 50, "Playback.stats": pushes}


@pytest.mark.usefixtures("older")
def test_the_older_clock_crosses_once_for_each_frame_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert counted_call(monkeypatch, say_all) == {"Playback.pop": 50}


def test_a_rate_that_is_not_24_khz() -> None:
    voice = signals.speech_like(600, 16000, seed=4)

    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(1.0)
        for start in range(0, len(voice), 640):
            output.push(voice[start : start + 640].tobytes(), 16000, 1)
        output.end_turn(1)
        await asyncio.sleep(1.0)

    sound, _, _ = call(scenario)
    assert signals.align(voice, sound[::3], 16000).correlation > 0.98


def as_bytes(chunk: bytes) -> bytes | str:
    return chunk


def as_base64(chunk: bytes) -> bytes | str:
    return base64.b64encode(chunk).decode()


def as_either(chunk: bytes) -> bytes | str:
    """Now this way, now that way: a relay may change its mind."""
    return as_base64(chunk) if len(chunk) % 3 else chunk


FORMS = [as_bytes, as_base64, as_either]
Form = Callable[[bytes], "bytes | str"]


def played_of(
    chunks: list[tuple[bytes | str, int, int]], *, end: bool = True
) -> tuple[AudioOutput, Any]:
    """Push chunks with their rates and turns at 1.0 s; returns the output and what was heard."""

    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(1.0)
        for chunk, rate, turn in chunks:
            assert output.push(chunk, rate, turn)
        if end:
            output.end_turn(chunks[-1][2])
        await asyncio.sleep(4.0)

    sound, output, _ = call(scenario)
    return output, sound[::2]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 3, 1919, 1921, 2561])
@pytest.mark.parametrize("rate", [24000, 16000])
def test_samples_that_were_cut_between_chunks_are_joined(form: Form, size: int, rate: int) -> None:
    voice = signals.speech_like(30 if size < 10 else 600, rate, seed=3)
    raw = voice.tobytes()
    chunks = [(form(raw[at : at + size]), rate, 1) for at in range(0, len(raw), size)]
    output, heard = played_of(chunks)
    smooth, wanted = played_of([(raw, rate, 1)])
    assert output.heard_ms(1) == smooth.heard_ms(1)
    assert np.array_equal(heard, wanted), "as if it had come whole"


@pytest.mark.parametrize("form", FORMS)
def test_half_a_sample_at_the_end_of_a_turn_spoils_no_other(form: Form) -> None:
    first, second = speech(200, 1).tobytes(), speech(300, 2).tobytes()
    for cut in (first[:-1], first + b"\x55"):
        output, heard = played_of([(form(cut), 24000, 1), (form(second), 24000, 2)])
        assert output.heard_ms(2) == 300
        assert output.heard_ms(1) == pytest.approx(200, abs=0.1)
        assert signals.align(speech(300, 2), heard, 24000).correlation > 0.99


@pytest.mark.parametrize("form", FORMS)
def test_half_a_sample_before_a_cut_or_another_rate_is_forgotten(form: Form) -> None:
    voice = speech(300)

    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(1.0)
        output.push(form(voice.tobytes() + b"\x55"), 24000, 1)
        output.drop()
        output.push(form(b"\x55"), 24000, 1)  # of the turn that was cut
        output.push(form(voice.tobytes() + b"\x55"), 24000, 2)
        slower = signals.speech_like(300, 16000, seed=5)
        output.push(form(slower.tobytes() + b"\x55"), 16000, 2)
        output.push(form(voice.tobytes()), 24000, 2)
        output.end_turn(2)
        await asyncio.sleep(2.0)
        # The conversion begins with its delay, and ends with what it holds.
        assert output.heard_ms(2) == pytest.approx(902, abs=0.2)

    sound, _, _ = call(scenario)
    assert signals.align(voice, sound[::2], 24000).correlation > 0.99


def test_a_chunk_that_cannot_be_read_leaves_no_half_behind() -> None:
    async def main() -> None:
        output = AudioOutput()
        output.push(b"abc", 24000, 1)
        with pytest.raises(AudioError):
            output.push("no base64!", 24000, 1)
        output.push(bytes(480), 24000, 1)
        assert output.stats().pushed == 1 + 240

    run_virtual(main())


@pytest.mark.parametrize("size", [1, 641, 640, 1921])
@pytest.mark.parametrize("form", FORMS)
def test_an_application_gets_whole_samples_at_24_khz(form: Form, size: int) -> None:
    chunks = WholeChunks()
    for turn, rate in ((1, 24000), (2, 16000), (3, 24000)):
        raw = signals.speech_like(40, rate, seed=turn).tobytes()
        got = [
            chunks.take(form(raw[at : at + size]), rate, turn) for at in range(0, len(raw), size)
        ]
        assert all(len(chunk) % 2 == 0 for chunk in got)
        whole = b"".join(got)
        assert len(whole) == 40 * 48
        assert rate != 24000 or whole == raw
    # Another rate in the middle of a turn: what the conversion holds comes first.
    chunks.take(form(bytes(640)), 16000, 4)
    rest = chunks.take(form(bytes(480)), 24000, 4)
    assert 480 < len(rest) < 480 + 150


def test_what_is_no_audio_is_an_audio_error() -> None:
    async def main() -> None:
        output = AudioOutput()
        for pcm, rate in (("no base64!", 24000), (b"\0\0", 1), ("?", 16000)):
            with pytest.raises(AudioError):
                output.push(pcm, rate, 1)
        with pytest.raises(AudioError, match="model's voice"):
            await output.track.write(None)

    run_virtual(main())


def test_a_track_without_a_forwarder_of_flushes_does_not_hang() -> None:
    async def main() -> None:
        output = AudioOutput()
        output.push(speech(100).tobytes(), 24000, 1)
        output.end_turn(1)
        assert (await output.track.recv()).samples == 960

    run_virtual(main())


@sdk_paces
def test_stop_ends_a_waiting_reader() -> None:
    async def main() -> None:
        output = AudioOutput()
        sdk = Sdk(output.track)
        await asyncio.sleep(1)
        assert not sdk.tasks[0].done()
        output.track.stop()
        await asyncio.wait_for(sdk.tasks[0], 1)
        for task in sdk.tasks[1:]:
            task.cancel()
        await asyncio.wait(sdk.tasks[1:])
        with pytest.raises(MediaStreamError):
            await output.track.recv()

    run_virtual(main())


# -- getstream 6 ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("older")
def test_the_older_clock_gives_a_frame_each_20_ms_and_silence_too() -> None:
    voice = speech(400)

    async def main() -> tuple[list[float], Any, list[int]]:
        output = AudioOutput()
        times, sound, pts = [], [], []
        for index in range(100):
            if index == 30:
                output.push(voice.tobytes(), 24000, 1)
                output.end_turn(1)
            frame = await output.track.recv()
            times.append(loop().time())
            sound.append(frame.to_ndarray().reshape(-1))
            pts.append(frame.pts)
        return times, np.concatenate(sound), pts

    times, sound, pts = run_virtual(main())
    assert np.allclose(np.diff(times), FRAME_S)
    assert np.diff(pts).tolist() == [960] * 99
    found = signals.align(voice, sound[::2], 24000)
    assert found.correlation > 0.995
    assert found.offset_ms == pytest.approx(600, abs=25)


@pytest.mark.usefixtures("older")
def test_the_older_clock_skips_the_time_of_a_stall_on_the_rtp_clock_too() -> None:
    async def main() -> tuple[list[float], list[int]]:
        output = AudioOutput()
        output.push(np.full(48000, LEVEL, np.int16).tobytes(), 24000, 1)
        times, pts = [], []
        for index in range(60):
            if index == 20:
                loop().advance(0.205)
            if index == 40:
                loop().advance(0.045)  # short: caught up
            frame = await output.track.recv()
            times.append(loop().time())
            pts.append(frame.pts)
        assert output.track.underruns == 1
        assert output.track.late_frames >= 1
        return times, pts

    times, pts = run_virtual(main())
    # Wherever the clock has caught up, RTP time and real time agree.
    drift = np.array(times) - times[0] - (np.array(pts) - pts[0]) / 48000
    assert np.abs(drift[:20]).max() < 1e-6
    assert np.abs(drift[21:40]).max() < FRAME_S
    assert np.abs(drift[45:]).max() < FRAME_S


@pytest.mark.usefixtures("older")
def test_the_older_clock_begins_anew_with_each_reader() -> None:
    """However long it ran: once it was silent for as long as it had been read before."""

    async def main() -> None:
        output = AudioOutput()
        for _ in range(3):
            first = asyncio.ensure_future(read_for_ever(output))
            await asyncio.sleep(30.0)
            first.cancel()
            await asyncio.wait([first])
            await asyncio.sleep(1.0)
            begin = loop().time()
            await output.track.recv()
            await output.track.recv()
            assert loop().time() - begin == pytest.approx(FRAME_S)

    run_virtual(main())


@pytest.mark.usefixtures("older")
def test_the_older_clock_survives_a_change_of_readers() -> None:
    """`getstream` 6 reads a track for its new connection before it has let go of the old one."""
    voice = speech(1000)

    async def main() -> None:
        output = AudioOutput()
        output.push(voice.tobytes(), 24000, 1)
        output.end_turn(1)
        old = asyncio.ensure_future(read_for_ever(output))
        await asyncio.sleep(0.31)
        new = asyncio.ensure_future(read_for_ever(output))
        await asyncio.sleep(0.05)
        old.cancel()
        await asyncio.sleep(1.5)
        assert not new.done()
        assert output.heard_ms(1) == 1000
        new.cancel()
        await asyncio.wait([old, new])

    run_virtual(main())


async def read_for_ever(output: AudioOutput) -> None:
    while True:
        await output.track.recv()


# -- nobody reads ----------------------------------------------------------------------------------


def test_what_nobody_reads_is_not_playing_and_is_kept() -> None:
    async def main() -> None:
        output = AudioOutput()
        output.push(speech(500).tobytes(), 24000, 1)
        assert not output.playing
        assert output.waiting
        reader = asyncio.ensure_future(take(output, 10))
        await asyncio.sleep(0)
        assert output.playing, "a reader waits"
        await reader
        assert output.playing, "it may come back"
        await asyncio.sleep(UNREAD_AFTER_S + 0.01)
        assert not output.playing, "it has not"
        assert output.stats().queued > 0
        await take(output, 40)
        assert output.heard_ms(1) == 500

    run_virtual(main())


async def take(output: AudioOutput, frames: int) -> None:
    for _ in range(frames):
        if not output.waiting:
            return
        await output.track.recv()


def test_speech_that_nobody_reads_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        output = AudioOutput()
        for turn in range(1, 20):
            output.push(speech(4000).tobytes(), 24000, turn)
        assert caplog.text.count("playback=False") == 1

    run_virtual(main())


def test_an_application_that_plays_it_itself_moves_the_read_head() -> None:
    told: list[tuple[str, int, float]] = []

    async def main() -> None:
        output = AudioOutput(
            lambda turn, at: told.append(("started", turn, at)),
            lambda turn, at: told.append(("finished", turn, at)),
            plays=False,
        )
        with pytest.raises(ConfigError, match="playback=False"):
            _ = output.track
        await asyncio.sleep(1.0)
        output.push(speech(10).tobytes(), 24000, 1)
        await asyncio.sleep(0.5)
        output.push(speech(990).tobytes(), 24000, 1)
        output.end_turn(1)
        await asyncio.sleep(0.5)
        output.pause()
        output.duck(-20)
        assert output.playing
        assert output.heard_ms(1) == pytest.approx(510, abs=20), "who plays it plays on"
        await asyncio.sleep(0.6)
        assert not output.playing
        output.push(speech(1000).tobytes(), 24000, 2)
        await asyncio.sleep(0.3)
        output.drop()
        assert output.heard_ms(2) == pytest.approx(320, abs=20)
        await asyncio.sleep(0.1)
        assert not output.playing
        output.push(speech(500).tobytes(), 24000, 3)
        output.stop()
        await asyncio.sleep(0.3)
        assert output.heard_ms(3) <= 20
        assert (output.late_frames, output.gaps) == (0, 0)

    run_virtual(main())
    assert [(kind, turn) for kind, turn, _ in told[:4]] == [
        ("started", 1),
        ("finished", 1),
        ("started", 2),
        ("finished", 2),
    ]
    assert [round(at, 2) for _, _, at in told[:2]] == [1.0, 2.5]


# -- one call after the other ----------------------------------------------------------------------


@sdk_paces
def test_two_calls_at_once_are_refused_and_the_first_is_whole() -> None:
    voice = speech(1000)

    async def scenario(output: AudioOutput, sdk: Sdk) -> None:
        await asyncio.sleep(1.0)
        output.push(voice.tobytes(), 24000, 1)
        output.end_turn(1)
        for pause in (0.0, 0.013, 0.3):
            await asyncio.sleep(pause)
            with pytest.raises(CallError, match="two calls"):
                await output.track.recv()
        await asyncio.sleep(2.0)

    sound, output, _ = call(scenario)
    assert signals.align(voice, sound[::2], 24000).correlation > 0.995
    assert output.track.underruns == 0


@sdk_paces
def test_the_end_of_a_publication_is_told_once_and_the_next_one_settles_anew() -> None:
    ends: list[float] = []

    async def main() -> Any:
        output = AudioOutput(on_unpublished=lambda: ends.append(loop().time()))
        first = Sdk(output.track)
        await asyncio.sleep(1.0)
        output.push(speech(2000, 1).tobytes(), 24000, 1)
        output.end_turn(1)
        await asyncio.sleep(0.5)
        await first.leave()
        assert len(ends) == 1
        assert not output.playing
        output.forget()
        assert (output.stats().queued, output.waiting) == (0, False)
        second = Sdk(output.track)
        await asyncio.sleep(0)
        begun = loop().time()
        output.push(speech(500, 2).tobytes(), 24000, 2)
        output.end_turn(2)
        await asyncio.sleep(2.0)
        await second.close()
        assert len(ends) == 1, "a track that was stopped is in no call"
        return begun, second

    _, second = run_virtual(main())
    ((start, end),) = [(runs_of_sound(second.sound)[0][0], runs_of_sound(second.sound)[-1][1])]
    assert SETTLE_S <= start <= SETTLE_S + 0.05
    assert end <= SETTLE_S + 0.55, "only the second turn"
    assert signals.align(speech(500, 2), second.sound[::2], 24000).correlation > 0.99


# -- when the SDK begins to send -------------------------------------------------------------------

FORWARD = """
async def forward_frames(sdk):
    while True:
        frame = await sdk.track.recv()
        await sdk.write(frame.to_ndarray().reshape(-1))
"""


class HeldSdk(Sdk):
    """The SDK until its media connection is up: its queue is bounded, and nothing is sent."""

    def __init__(self, track: Any, up_at: float, *, logs: bool = True) -> None:
        self.up_at = up_at
        self.logs = logs
        self.capacity = round(track.audio_buffer_size_ms * 48)
        self.overflows = 0
        self.begun = loop().time()
        self.samples = np.zeros(0, np.int16)
        super().__init__(track)

    async def forward(self) -> None:
        names: dict[str, Any] = {"__name__": FORWARDER}
        exec(FORWARD, names)
        await names["forward_frames"](self)

    async def write(self, samples: Any) -> None:
        await asyncio.sleep(0)
        self.samples = np.concatenate([self.samples, samples])
        lost = len(self.samples) - self.capacity
        if lost > 0:
            self.samples = self.samples[lost:]
            self.overflows += 1
            if self.logs:
                logging.getLogger(FORWARDER).debug(f"Audio buffer overflow: dropped {lost} samples")

    async def flush(self) -> None:
        while True:
            await self.track.wait_for_flush()
            self.samples = self.samples[:0]

    async def pace(self) -> None:
        await asyncio.sleep(0.007)
        while True:
            frame = np.zeros(960, np.int16)
            if loop().time() - self.begun >= self.up_at:
                found, self.samples = self.samples[:960], self.samples[960:]
                frame[: len(found)] = found
            self.sent.append(frame)
            await asyncio.sleep(FRAME_S)


def first_speech(up_at: float, **options: Any) -> tuple[float, HeldSdk]:
    """Return when the first speech is sent, in seconds from the publication on."""
    voice = np.full(12000, LEVEL, np.int16)

    async def main() -> HeldSdk:
        output = AudioOutput()
        sdk = HeldSdk(output.track, up_at, **options)
        output.push(voice.tobytes(), 24000, 1)
        output.end_turn(1)
        await asyncio.sleep(up_at + 2.0)
        assert output.heard_ms(1) == 500
        await sdk.close()
        return sdk

    sdk = run_virtual(main())
    ((start, end),) = runs_of_sound(sdk.sound)
    assert end - start == pytest.approx(0.5, abs=0.02), "all of it, and in one piece"
    return start, sdk


@sdk_paces
@pytest.mark.parametrize("up_at", [0.0, 0.03, 0.2, 0.237, 0.6, 3.0])
def test_speech_starts_when_the_sdk_is_seen_to_send(
    up_at: float, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        start, sdk = first_speech(up_at)
    assert up_at <= start <= up_at + 0.08
    assert sdk.overflows >= 1
    assert not [each for each in caplog.records if each.name == FORWARDER], "it makes no noise"
    silent = logging.getLogger(FORWARDER)
    assert (silent.level, silent.filters) == (logging.NOTSET, [])


@sdk_paces
def test_where_it_cannot_be_seen_a_fixed_time_is_waited() -> None:
    start, sdk = first_speech(0.2, logs=False)
    assert SETTLE_S <= start <= SETTLE_S + 0.08
    assert sdk.overflows == 1, "it was tried once"


@sdk_paces
def test_records_of_others_are_as_they_were(caplog: pytest.LogCaptureFixture) -> None:
    other = logging.getLogger(FORWARDER)

    async def main() -> None:
        output = AudioOutput()
        sdk = HeldSdk(output.track, 1.0)
        await asyncio.sleep(0.5)
        other.debug("Audio buffer overflow: dropped 1 samples")
        other.warning("seen")
        await sdk.close()

    run_virtual(main())
    assert [each.getMessage() for each in caplog.records if each.name == FORWARDER] == ["seen"]
    assert (other.level, other.filters) == (logging.NOTSET, [])


def test_the_numbers_of_the_design() -> None:
    assert playout.LEAD_S <= 0.040
    assert playout.SETTLE_S == 0.500
