"""Measure memory: `python -m session_cost.memory CONTENDER SESSIONS`, or `... turns TURNS`.

Contenders: `ours` and `sdk`, each session with a client of its own, as programs with one session
have it; `ours shared` and `sdk shared`, all on one client. Reports what the process holds of its
own (private pages) per session; for ours idle, and with 20 s of speech queued in each.

`turns`: memory over many turns of one session.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from getstream.plugins.gemini.live import GeminiLive
from programs import report

from .contenders import FRAME_S, WIRE_RATE, build_assistant, build_client, frames, sdk_session
from .service import Control, messages_of
from .stepped import SteppedLoop, run_stepped

QUEUED_MESSAGES = 500  # 20 s
TURN_MESSAGES = 50
EVERY = 50  # turns


def own_bytes() -> int:
    """Return the size of the pages that belong to this process alone."""
    gc.collect()
    found = 0
    for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Private_"):
            found += int(line.split()[1]) * 1024
    return found


async def sessions(who: str, count: int) -> None:
    shared = build_client() if who.endswith("shared") else None
    async with AsyncExitStack() as stack:

        async def add(label: str) -> Any:
            if who.startswith("ours"):
                return await stack.enter_async_context(build_assistant(shared, label))
            return await stack.enter_async_context(sdk_session(shared or build_client(), label))

        for number in range(3):  # what is built once
            warm = await add(f"warm {number}")
            if who.startswith("ours"):
                await warm.send_audio_pcm(next(frames("tone")), WIRE_RATE)
            else:
                await warm.send_realtime_input(text="Hello.")
        before = own_bytes()
        labels = [f"memory {number}" for number in range(count)]
        them = [await add(label) for label in labels]
        if who.startswith("ours"):
            source = frames("tone")
            for each in them:  # half a second of the call: resampler, detector, mixer are there
                for frame in islice(source, 25):
                    await each.send_audio_pcm(frame, WIRE_RATE)
                    await asyncio.sleep(0)
        await asyncio.sleep(0.5)
        report("idle", bytes=(own_bytes() - before) / count)
        if who.startswith("ours"):
            control = await Control.open()
            for label in labels:
                await control.ask("turn", label=label, messages=QUEUED_MESSAGES, gap=0)
            while any(each.stats().messages < messages_of(QUEUED_MESSAGES) for each in them):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            assert all(each.stats().queued_ms == QUEUED_MESSAGES * 40 for each in them)
            report("queued", bytes=(own_bytes() - before) / count)
            await control.close()


async def play(loop: SteppedLoop, gemini: GeminiLive) -> None:
    """Play the queued audio, as the SDK would, on a clock that is moved by hand."""
    while gemini.stats().queued_ms:
        frame = asyncio.ensure_future(gemini.output_track.recv())
        await asyncio.sleep(0)
        while not frame.done():
            loop.step(FRAME_S)
            await asyncio.sleep(0)
        frame.result()


async def turns(count: int) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SteppedLoop)
    control = await Control.open()
    async with build_assistant(None, "turns") as gemini:
        source = frames("tone")  # nobody interrupts
        complete = asyncio.Event()
        gemini.on("turn_complete", lambda: complete.set())
        held = []
        for number in range(1, count + 1):
            complete.clear()
            await control.tell("turn", label="turns", messages=TURN_MESSAGES, gap=0)
            for frame in islice(source, 10):
                await gemini.send_audio_pcm(frame, WIRE_RATE)
                await asyncio.sleep(0)
            await complete.wait()
            await control.done()
            with loop.stopped():
                await play(loop, gemini)
            if number % EVERY == 0:
                held.append(own_bytes())
        stats = gemini.stats()
        assert stats.played_ms == count * TURN_MESSAGES * 40, stats
    await control.close()
    report("turns", turns=count, every=EVERY, bytes=held)


async def main(what: str, count: int) -> None:
    await (turns(count) if what == "turns" else sessions(what, count))


if __name__ == "__main__":
    logging.getLogger("getstream").setLevel(logging.ERROR)
    run_stepped(main(sys.argv[1], int(sys.argv[2])))
