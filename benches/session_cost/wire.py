"""One frame to the service and one message from it, CPU: `python -m session_cost.wire ROUNDS`.

All paths take part in every round, on connections of one process. A frame is sent in a turn of the
event loop of its own, as frames come in a call; the cost of an empty turn is subtracted from all.
Messages come as fast as the service sends them, and one by one.
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

from getstream.plugins.gemini.audio import Resampler, encode_base64
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.live._session import Session
from google.genai import types

from .contenders import (
    CONFIG,
    MIME,
    MODEL,
    WIRE_RATE,
    build_client,
    frames,
    sdk_session,
    socket_of,
    without_network,
)
from .program import report
from .service import Control, messages_of

FRAMES = 250
MESSAGES = 250
GAP_S = 0.001

Work = Callable[[], Awaitable[None]]


async def race(
    works: dict[str, Work], settle: Callable[[str], Awaitable[None]], rounds: int, per: int
) -> dict[str, list[float]]:
    """CPU of the process in µs, for one of `per`, in each round."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        gc.collect()
        gc.disable()
        for name, work in works.items():
            began = time.process_time()
            await work()
            spent = time.process_time() - began
            await settle(name)
            if number:  # the first round warms up
                found[name].append(spent / per * 1e6)
        gc.enable()
    return found


async def pong(socket: Any) -> None:
    """Wait until the service has taken all that was sent."""
    await (await socket.ping())


async def sending(
    rounds: int, ours: dict[str, GeminiLive], bare: Session, sdk: Any
) -> dict[str, list[float]]:
    floor = socket_of(bare)
    resampler = Resampler(48_000, WIRE_RATE)
    pcm = resampler.push(next(frames()).samples, 2).tobytes()
    before, behind = Session.audio_envelope(WIRE_RATE)
    frame = before + encode_base64(pcm) + behind
    numbers = dict.fromkeys([*ours, "resampled", "sdk resampled"], 0)

    def taken(name: str) -> list[Any]:
        numbers[name] += FRAMES
        return list(islice(frames(numbers[name] - FRAMES), FRAMES))

    pending = {name: taken(name) for name in numbers}

    async def empty() -> None:
        for _ in range(FRAMES):
            await asyncio.sleep(0)

    async def send_floor() -> None:
        for _ in range(FRAMES):
            await floor.send(frame, text=True)
            await asyncio.sleep(0)
        await pong(floor)

    async def send_bare() -> None:
        for _ in range(FRAMES):
            await bare.send_audio(frame, WIRE_RATE)
            await asyncio.sleep(0)
        await pong(floor)

    async def send_sdk() -> None:
        for _ in range(FRAMES):
            await sdk.send_realtime_input(audio=types.Blob(data=pcm, mime_type=MIME))
            await asyncio.sleep(0)
        await pong(sdk._ws)

    async def send_sdk_resampled() -> None:
        for each in pending["sdk resampled"]:
            wire = resampler.push(each.samples, each.channels).tobytes()
            await sdk.send_realtime_input(audio=types.Blob(data=wire, mime_type=MIME))
            await asyncio.sleep(0)
        await pong(sdk._ws)

    async def send_resampled() -> None:
        for each in pending["resampled"]:
            wire = resampler.push(each.samples, each.channels)
            await floor.send(before + encode_base64(wire) + behind, text=True)
            await asyncio.sleep(0)
        await pong(floor)

    def send_ours(name: str) -> Work:
        gemini = ours[name]

        async def work() -> None:
            for each in pending[name]:
                await gemini.send_audio_pcm(each, WIRE_RATE)
                await asyncio.sleep(0)
            while gemini._uplink._queue.items:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await pong(socket_of(gemini))

        return work

    async def settle(name: str) -> None:
        if name in pending:
            pending[name] = taken(name)

    works: dict[str, Work] = {
        "turn": empty,
        "floor": send_floor,
        "bare": send_bare,
        "sdk": send_sdk,
        "resampled": send_resampled,
        **{name: send_ours(name) for name in ours},
        "sdk resampled": send_sdk_resampled,
    }
    return await race(works, settle, rounds, FRAMES)


async def receiving(
    rounds: int, gap: float, control: Control, ours: GeminiLive, bare: Session, sdk: Any
) -> dict[str, list[float]]:
    """The CPU of the process from the command to the end of the turn."""
    floor, total = socket_of(sdk), messages_of(MESSAGES)
    complete = asyncio.Event()
    ours.on("turn_complete", lambda: complete.set())

    async def say(label: str) -> None:
        await control.tell("turn", label=label, messages=MESSAGES, gap=gap)

    async def receive_floor() -> None:
        await say("sdk")
        for _ in range(total):
            await floor.recv(decode=False)

    async def receive_bare() -> None:
        await say("bare")
        for _ in range(total):
            await bare.next()

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
        "bare": receive_bare,
        "ours": receive_ours,
        "sdk": receive_sdk,
    }
    return await race(works, settle, rounds, MESSAGES)


async def main(rounds: int) -> None:
    control = await Control.open()
    client = build_client()
    config = CONFIG.model_dump(exclude_none=True)
    bare = Session(api_key=None, model=MODEL, config=config, client=client)
    async with AsyncExitStack() as stack:
        sdk = await stack.enter_async_context(sdk_session(client))
        await bare.open()
        ours = {
            name: await stack.enter_async_context(GeminiLive(client=client))
            for name in ("ours", "ours with detector")
        }
        sockets = [socket_of(each) for each in (sdk, bare, ours["ours"])]
        await control.label(sockets, ["sdk", "bare", "ours"])
        with without_network():
            await ours["ours"].send_audio_pcm(next(frames()), WIRE_RATE)
        await control.ask("stay_awake", yes=True)
        report("sending", times=await sending(rounds, ours, bare, sdk))
        for name, gap, part in (("receiving", 0.0, 1), ("receiving alone", GAP_S, 3)):
            times = await receiving(-(-rounds // part), gap, control, ours["ours"], bare, sdk)
            report(name, times=times)
            await control.ask("stay_awake", yes=False)
        await bare.close()
        await control.close()


if __name__ == "__main__":
    logging.getLogger("getstream").setLevel(logging.ERROR)
    asyncio.run(main(int(sys.argv[1])))
