"""Measure the CPU of one frame to the service and of one message from it.

    python -m session_cost.wire WINDOWS

All paths take part in every round, on connections of one process, each with a block of some
milliseconds, in an order that changes from round to round: a slow machine slows all of them. A
window is `ROUNDS` rounds. Each frame is sent in its own turn of the event loop, as frames arrive in
a call; the cost of an empty turn is subtracted from all. Messages arrive as fast as the service
sends them, and one by one.

Frames are sent as fast as possible, and each of them is 20 ms of a call. While frames are sent, the
clock of the event loop stands still, and each frame of this package's session moves it by 20 ms:
the session runs through a call in real time, timers included.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import islice
from typing import Any

from getstream.plugins.gemini.audio import Resampler, Vad
from getstream.plugins.gemini.live import GeminiLive
from google.genai import types
from programs import report

from .contenders import (
    CALL_RATE,
    FRAME_S,
    MIME,
    WIRE_RATE,
    audio_message,
    build_assistant,
    build_client,
    frames,
    sdk_session,
    socket_of,
)
from .service import Control, messages_of
from .stepped import SteppedLoop, run_stepped

FRAMES, MESSAGES = 250, 250
"""Number of frames, and of messages, in a block."""

ROUNDS = 5
"""Number of rounds in a window: one interruption of the process weighs less than in one round."""

HELD_FRAMES = 10
"""Number of frames that a session may hold in its jitter buffers at the end of a block."""

GAP_S = 0.001
"""Time between messages that come one by one, in seconds."""

Work = Callable[[], Awaitable[None]]
Settle = Callable[[str], Awaitable[None]]


async def race(
    works: dict[str, Work], settle: Settle, *, windows: int, rounds: int, per_block: int
) -> dict[str, list[float]]:
    """Measure the CPU of the process for each path in each window.

    Args:
        works: Paths by their names; a call is one block.
        settle: Called with the name after each block, outside of the measurement.
        windows: Number of windows measured, after a warm-up round.
        rounds: Number of blocks of each path in a window.
        per_block: Number of frames or messages in a block.

    Returns:
        µs for one frame or message, in each window.
    """
    names = list(works)
    found: dict[str, list[float]] = {name: [] for name in names}
    spent: dict[str, float] = {}
    for number in range(-1, windows * rounds):
        if number % rounds == 0 or not spent:
            spent = dict.fromkeys(names, 0.0)
        first = number % len(names)
        gc.collect()
        gc.disable()
        for name in names[first:] + names[:first]:
            began = time.process_time()
            await works[name]()
            spent[name] += time.process_time() - began
            await settle(name)
        gc.enable()
        if number >= 0 and (number + 1) % rounds == 0:
            for name in names:
                found[name].append(spent[name] / (rounds * per_block) * 1e6)
    return found


async def sending(
    loop: SteppedLoop, control: Control, ours: GeminiLive, sdk: Any, *, windows: int
) -> dict[str, list[float]]:
    """Compare the paths of a frame to the service.

    Raises:
        RuntimeError: Frames did not arrive.
    """
    floor = socket_of(sdk)
    resampler, detector = Resampler(CALL_RATE, WIRE_RATE), Vad(WIRE_RATE)
    wire = resampler.push(next(frames()).samples, 2)
    pcm, message = wire.tobytes(), audio_message(wire)
    paths = ("ours", "audio", "detected", "sdk resampled")
    sources = {name: frames() for name in paths}
    pending = {name: list(islice(source, FRAMES)) for name, source in sources.items()}
    sent = {"ours": 0, "sdk": 0}
    await control.ask("forget", labels=list(sent))

    async def taken(label: str, count: int) -> None:
        sent[label] += count
        wanted = sent[label] - (HELD_FRAMES if label == "ours" else 0)
        got = await control.ask("taken", label=label, count=wanted)
        if got < wanted:
            raise RuntimeError(f"{got} of {sent[label]} frames of {label} came")

    async def empty() -> None:
        for _ in range(FRAMES):
            await asyncio.sleep(0)
        await taken("sdk", 0)

    async def send_floor() -> None:
        for _ in range(FRAMES):
            await floor.send(message, text=True)
            await asyncio.sleep(0)
        await taken("sdk", FRAMES)

    async def send_audio() -> None:
        for each in pending["audio"]:
            await floor.send(audio_message(resampler.push(each.samples, 2)), text=True)
            await asyncio.sleep(0)
        await taken("sdk", FRAMES)

    async def send_detected() -> None:
        for each in pending["detected"]:
            samples = resampler.push(each.samples, 2)
            detector.push(samples)
            await floor.send(audio_message(samples), text=True)
            await asyncio.sleep(0)
        await taken("sdk", FRAMES)

    async def send_ours() -> None:
        for each in pending["ours"]:
            loop.step(FRAME_S)
            await ours.send_audio_pcm(each, WIRE_RATE)
            await asyncio.sleep(0)
        await taken("ours", FRAMES)

    async def send_sdk() -> None:
        for _ in range(FRAMES):
            await sdk.send_realtime_input(audio=types.Blob(data=pcm, mime_type=MIME))
            await asyncio.sleep(0)
        await taken("sdk", FRAMES)

    async def send_sdk_resampled() -> None:
        for each in pending["sdk resampled"]:
            data = resampler.push(each.samples, each.channels).tobytes()
            await sdk.send_realtime_input(audio=types.Blob(data=data, mime_type=MIME))
            await asyncio.sleep(0)
        await taken("sdk", FRAMES)

    async def settle(name: str) -> None:
        if name in pending:
            pending[name] = list(islice(sources[name], FRAMES))

    works: dict[str, Work] = {
        "turn": empty,
        "floor": send_floor,
        "ours": send_ours,
        "audio": send_audio,
        "floor again": send_floor,
        "detected": send_detected,
        "sdk": send_sdk,
        "sdk resampled": send_sdk_resampled,
    }
    with loop.stopped():
        return await race(works, settle, windows=windows, rounds=ROUNDS, per_block=FRAMES)


async def receiving(
    control: Control, ours: GeminiLive, sdk: Any, *, windows: int, rounds: int, gap: float
) -> dict[str, list[float]]:
    """Compare the paths of a message from the service, from the command to the end of the turn."""
    floor, total = socket_of(sdk), messages_of(MESSAGES)
    complete = asyncio.Event()
    ours.on("turn_complete", lambda: complete.set())

    async def say(label: str) -> None:
        await control.tell("turn", label=label, messages=MESSAGES, gap=gap)

    async def receive_floor() -> None:
        await say("sdk")
        for _ in range(total):
            await floor.recv(decode=False)

    async def receive_ours() -> None:
        complete.clear()
        await say("ours")
        await complete.wait()

    async def receive_sdk() -> None:
        await say("sdk")
        heard = 0
        async for message in sdk.receive():
            content = message.server_content
            if content and content.model_turn:
                heard += len(content.model_turn.parts[0].inline_data.data)
        assert heard == MESSAGES * 1920

    async def settle(name: str) -> None:
        await control.done()
        if name == "ours":
            stats = ours.stats()
            assert stats.queued_ms == MESSAGES * 40, stats
            await ours.interrupt_playback(drop=True)

    works: dict[str, Work] = {
        "floor": receive_floor,
        "ours": receive_ours,
        "floor again": receive_floor,
        "sdk": receive_sdk,
    }
    return await race(works, settle, windows=windows, rounds=rounds, per_block=MESSAGES)


async def main(windows: int) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SteppedLoop)
    control, client = await Control.open(), build_client()
    async with AsyncExitStack() as stack:
        sdk = await stack.enter_async_context(sdk_session(client, "sdk"))
        ours = await stack.enter_async_context(build_assistant(client, "ours"))
        await control.ask("stay_awake", yes=True)
        report("sending", times=await sending(loop, control, ours, sdk, windows=windows))
        for name, gap, rounds in (("receiving", 0.0, ROUNDS), ("receiving alone", GAP_S, 1)):
            times = await receiving(control, ours, sdk, windows=windows, rounds=rounds, gap=gap)
            report(name, times=times)
            await control.ask("stay_awake", yes=False)
        await control.close()


if __name__ == "__main__":
    logging.getLogger("getstream").setLevel(logging.ERROR)
    run_stepped(main(int(sys.argv[1])))
