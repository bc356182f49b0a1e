"""Check what is believed of Stream's edge, with two people in a call of their own."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from getstream import AsyncStream
from getstream.models import UserRequest
from getstream.video import rtc

from ...errors import GeminiError
from ...testing import Person
from .. import clips
from .findings import Finding, fails, holds, redacted, unclear

__all__ = ["check_stream"]

SPEAKER, LISTENER = "doctor-speaker", "doctor-listener"
CALL_RATE = 48_000

LATE_S = 0.060
"""Delay against the promptest frame that nine of ten frames keep."""

MUTE_SETTLES_S, MUTED_S = 1.0, 2.0
"""Seconds in which packets on the way still come, and in which then none may."""

FEWEST_FRAMES = 50
"""A second of speech: with less nothing can be said."""

HEAR_S = 15.0


class _Listener:
    """Note when each frame of audio came.

    Attributes:
        arrivals: Arrival in seconds of `time.monotonic()`, and timestamp in samples, of each frame.
        hears: Set when the first one came.
    """

    def __init__(self) -> None:
        self.arrivals: list[tuple[float, int | None]] = []
        self.hears = asyncio.Event()

    def on_audio(self, pcm: Any, user: object = None) -> None:
        """Take a frame, as either version of the SDK calls it."""
        self.hears.set()
        self.arrivals.append((time.monotonic(), getattr(pcm, "pts", None)))

    def delays(self) -> list[float]:
        """Return how late each frame came, against the promptest, in seconds."""
        times = [
            at - (0.02 * index if pts is None else pts / CALL_RATE)
            for index, (at, pts) in enumerate(self.arrivals)
        ]
        return [each - min(times) for each in times]


async def check_stream(
    secrets: Sequence[str], on_found: Callable[[Finding], None] = lambda _: None
) -> list[Finding]:
    """Check the automatic beliefs about Stream, with the keys of the environment.

    Makes a call of its own and ends it. A failure on the way leaves the rest unclear.

    Args:
        secrets: Keys that must not be in a finding.
        on_found: Called with each finding as it is made.
    """
    found: list[Finding] = []

    def take(finding: Finding) -> None:
        found.append(finding)
        on_found(finding)

    try:
        # base_url=None is what makes the client read STREAM_BASE_URL.
        async with AsyncStream(base_url=None) as client:
            await client.upsert_users(UserRequest(id=SPEAKER), UserRequest(id=LISTENER))
            call = client.video.call("default", f"doctor-{uuid.uuid4().hex[:12]}")
            created = await call.get_or_create(data={"created_by_id": LISTENER})
            try:
                take(_judge_settings(created.data.call.settings.audio))
                for finding in await _hold_call(client, call):
                    take(finding)
            finally:
                await call.end()
    except Exception as error:  # of the SDK, the network or the app: none of them ends the doctor
        seen = redacted(f"{type(error).__name__}: {error}", secrets)
        for name in ("stream_dtx", "stream_jitter", "stream_mute"):
            if all(finding.name != name for finding in found):
                take(unclear(seen, name)[0])
    return found


def _judge_settings(audio: Any) -> Finding:
    settings = {
        "DTX": bool(audio.opus_dtx_enabled),
        "RED": bool(audio.redundant_coding_enabled),
    }
    seen = ", ".join(f"{name} {'on' if on else 'off'}" for name, on in settings.items())
    if all(settings.values()):
        return holds("stream_dtx", seen)
    return fails("stream_dtx", seen)


async def _hold_call(client: AsyncStream, call: Any) -> list[Finding]:
    listener = _Listener()
    connection: Any = await rtc.join(call, LISTENER)
    connection.on("audio", listener.on_audio)
    async with connection:
        async with Person(call.id, SPEAKER, client=client) as speaker:
            if hasattr(connection, "republish_tracks"):  # getstream 6
                await connection.republish_tracks()
            with contextlib.suppress(asyncio.TimeoutError):  # then too few frames are counted
                await asyncio.wait_for(listener.hears.wait(), HEAR_S)
            listener.arrivals.clear()
            await speaker.say(clips.data_file("question.wav"))
            found = [_judge_jitter(listener)]
            try:
                await speaker.mute()
            except GeminiError as error:
                return [*found, *unclear(redacted(str(error)), "stream_mute")]
            await asyncio.sleep(MUTE_SETTLES_S)
            listener.arrivals.clear()
            await asyncio.sleep(MUTED_S)
            found.append(_judge_mute(len(listener.arrivals)))
    return found


def _judge_jitter(listener: _Listener) -> Finding:
    name = "stream_jitter"
    delays = listener.delays()
    if len(delays) < FEWEST_FRAMES:
        return unclear(f"only {len(delays)} frames arrived", name)[0]
    p90, worst = (float(np.percentile(delays, q)) for q in (90, 100))
    seen = f"90 % within {p90 * 1000:.0f} ms, all within {worst * 1000:.0f} ms"
    numbers = {"p90_ms": p90 * 1000, "max_ms": worst * 1000}
    return holds(name, seen, **numbers) if p90 <= LATE_S else fails(name, seen, **numbers)


def _judge_mute(frames: int) -> Finding:
    name = "stream_mute"
    if frames:
        return fails(name, f"{frames} frames came in {MUTED_S:g} s", frames=frames)
    return holds(name, f"nothing came for {MUTED_S:g} s")
