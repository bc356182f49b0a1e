"""Hours of conversation full of faults, and faults that take real time.

`make soak` runs these; `make test` does not. `SOAK_HOURS` (default 1) and `SOAK_SEED` (default 1)
choose how long and which conversation.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from call_trial import match
from getstream import AsyncStream
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.testing import (
    Abort,
    Close,
    LiveSession,
    LocalStream,
    Parrot,
    Person,
    Reject,
    Turn,
)
from getstream.plugins.gemini.testing.clock import run_virtual
from getstream.video import rtc
from room import GRACE, Local, Room, happens, voice, words

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

HOURS = float(os.environ.get("SOAK_HOURS", "1"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
MINUTE = 60.0

Fault = Callable[[LiveSession, random.Random], Awaitable[None]]


def closing(code: int, reason: str = "") -> Fault:
    async def fault(session: LiveSession, _: random.Random) -> None:
        await session.close(code, reason)

    return fault


async def reset(session: LiveSession, _: random.Random) -> None:
    session.abort()


async def going_away(session: LiveSession, dice: random.Random) -> None:
    await session.go_away(dice.choice([0.0, 8.0, 50.0]))


async def stall(session: LiveSession, dice: random.Random) -> None:
    session.hold()
    await asyncio.sleep(dice.uniform(0.2, 6.0))
    session.release()


async def phantom(session: LiveSession, _: random.Random) -> None:
    await session.send({"serverContent": {"interrupted": True}})


async def strange(session: LiveSession, _: random.Random) -> None:
    await session.send({"brandNew": {"field": [1, 2, 3]}})
    await session.send(b"\xff\x00")


async def half_open(session: LiveSession, _: random.Random) -> None:
    session.freeze()


FAULTS: dict[str, Fault] = {
    "1000": closing(1000),
    "1008": closing(1008, "The operation was aborted."),
    "1011": closing(1011, "Internal error encountered."),
    "reset": reset,
    "goAway": going_away,
    "stall": stall,
    "phantom": phantom,
    "strange": strange,
    "half-open": half_open,
}
SETUPS = [Reject(503), Abort(), Close(1011, "Internal error encountered.")]


def resident_mb() -> float:
    if sys.platform != "linux":
        return 0.0
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_hours_of_conversation_full_of_faults(local: Local) -> None:
    dice = random.Random(SEED)
    seconds = HOURS * 60 * MINUTE
    counts: Counter[str] = Counter()
    memory: list[tuple[float, int]] = []  # resident MB, blocks; each ten minutes
    tasks: list[int] = []

    async def talk(room: Room) -> None:
        """Somebody says something now and then, now and then into the assistant's speech."""
        while room.now < seconds:
            length, start = dice.uniform(0.3, 3.0), dice.uniform(0.0, 1.0)
            room.say(words(length, start), at=room.now + 0.1)
            await asyncio.sleep(length + dice.choice([0.8, 3.0, 8.0]))

    async def break_things(room: Room) -> None:
        while room.now < seconds:
            await asyncio.sleep(dice.uniform(5.0, 180.0))
            session = room.server.sessions[-1]
            if session.state != "ready" or room.gemini.state != "ready":
                continue
            name = dice.choice(list(FAULTS))
            counts[name] += 1
            room.server.fail_next(dice.choice(SETUPS), times=dice.choice([0, 0, 1, 3]))
            try:
                await FAULTS[name](session, dice)
            except Exception as error:  # it was closed in the middle of this
                counts[type(error).__name__] += 1

    async def watch(room: Room) -> None:
        while room.now < seconds:
            await asyncio.sleep(10 * MINUTE)
            gc.collect()
            memory.append((resident_mb(), sys.getallocatedblocks()))
            tasks.append(len(asyncio.all_tasks()))
            room.forget()
            print(
                f"{room.now / MINUTE:6.1f} min  {memory[-1][0]:.1f} MB  {tasks[-1]} tasks",
                flush=True,
            )

    sent_ms = 0.0

    def count(_: LiveSession, message: dict[str, Any]) -> list[dict[str, Any]]:
        nonlocal sent_ms
        turn = message.get("serverContent", {}).get("modelTurn", {})
        sent_ms += sum(len(part["inlineData"]["data"]) for part in turn.get("parts", ())) / 48
        return [message]

    async def main() -> GeminiLive:
        options: dict[str, Any] = {"record_bytes": 1 << 18, "keep_sessions": 4, "on_send": count}
        async with local(Parrot(Turn(audio=voice(2.0), text="Yes.")), **options) as server:
            async with GeminiLive() as gemini:
                room = Room(gemini, server)
                work = [asyncio.ensure_future(each(room)) for each in (talk, break_things, watch)]
                try:
                    await asyncio.wait(work, return_when=asyncio.FIRST_EXCEPTION)
                    for task in work:
                        task.result()
                    # And at the end the conversation goes on as at the beginning.
                    room.server.clear_faults()
                    while gemini.state != "ready":
                        await happens(room, "resumed")
                    await room.until(room.now + 10)
                    before = gemini.stats().turns
                    room.say(words(1.5), at=room.now + 0.5)
                    await room.until(room.now + 6)
                    assert gemini.stats().turns > before
                finally:
                    for task in work:
                        task.cancel()
                    await asyncio.wait(work)
                    await room.close()
            return gemini

    gemini = run_virtual(main(), grace=GRACE)  # which fails if a task was left behind
    stats = gemini.stats()
    print(f"\nfaults {dict(counts)}\n{stats}\nmemory {memory}\ntasks {tasks}")
    assert sum(counts.values()) > HOURS * 20
    assert stats.disconnects + stats.planned_reconnects > HOURS * 10
    assert stats.turns > HOURS * 60
    # Every sample that came was played, or dropped by an interruption that was told; and all came
    # that was sent, but for what a reset takes with it: one utterance at most.
    received = stats.played_ms + stats.dropped_ms + stats.queued_ms
    assert stats.overflow_ms == 0
    assert stats.dropped_ms == 0 or stats.interruptions > 0
    assert 0 <= sent_ms - received <= 4_000 * (counts["reset"] + counts["half-open"])
    assert stats.input_dropped_ms <= 60_000 * counts["half-open"], "no outage but that is so long"
    # Nothing piles up.
    assert max(tasks) <= min(tasks) + 8
    if len(memory) >= 4:
        assert memory[-1][0] - memory[1][0] < 10 * max(1.0, HOURS)
        assert memory[-1][1] - memory[1][1] < 20_000


async def test_pongs_that_take_thirty_real_seconds(local: Local) -> None:
    async with local(Parrot()) as server, GeminiLive() as gemini:
        session = await server.wait_session()
        session.delay_pongs(30.0)
        lost: list[Any] = []
        gemini.on("disconnected", lost.append)
        await asyncio.sleep(130)
        assert session.pings >= 2
        assert not lost
        assert gemini.state == "ready"


@pytest.mark.skipif(not hasattr(rtc, "RemoteTrack"), reason="needs getstream 7 in this process")
async def test_half_a_minute_without_a_packet(local: Local) -> None:
    """All UDP of the assistant is lost until its SDK notices, after 29 s, and joins again."""
    rate = 48_000
    async with local(Parrot(Turn(audio=voice(1.0)))), LocalStream() as stream:
        with stream.redirected():
            async with AsyncStream(base_url=None) as client, GeminiLive() as gemini:
                async with Person("a-call", "anna") as person:
                    call = client.video.call("default", "a-call")
                    await call.get_or_create(data={"created_by_id": "assistant"})
                    async with await rtc.join(call, "assistant") as connection:
                        await gemini.attach(connection)
                        await gemini.send_text("Greet.")
                        await person.hear_speech()
                        await person.hear_silence(600)
                        before = stream.state().participants
                        old = next(p.session_id for p in before if p.user_id == "assistant")
                        stream.blackhole("assistant")
                        await stream.wait_for(
                            lambda state: any(
                                p.user_id == "assistant"
                                and p.session_id != old
                                and any(track.packets for track in p.published)
                                for p in state.participants
                            ),
                            timeout=90,
                            what="the assistant in a new session",
                        )
                        await asyncio.sleep(3)
                        said = soxr.resample(words(1.5), 16000, rate, quality="VHQ")
                        utterance = await person.say(said)
                        await person.hear_speech()
                        await person.hear_silence(800)
                        answer = match(said, person.heard[round(utterance.end * rate) :])
                        assert answer.correlation > 0.9
                        assert gemini.stats().disconnects == 0
                        assert np.isfinite(answer.level_db)
