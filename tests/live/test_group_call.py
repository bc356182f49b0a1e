"""Calls of several people on real networks: the real getstream 7 in this process, in real time.

People and the assistant join a call on the local Stream backend, all in this process. One person
has a bad network, sends nothing in silence, mutes, or shares a tab. What reaches the service is
found in its log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import soxr
from call_trial import match
from getstream import AsyncStream
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.testing import (
    ActivityOptions,
    LiveSession,
    LocalStream,
    Network,
    Parrot,
    Person,
    Script,
    signals,
)
from getstream.video import rtc
from room import MODEL, Int16, Local, voice, words

CALL, WIRE = 48_000, 16_000

pytestmark = pytest.mark.skipif(
    not hasattr(rtc, "RemoteTrack"),
    reason="getstream 6 blocks the event loop when it leaves: it is tested in processes of its own",
)


@dataclass
class Call:
    """A call with the assistant and the people of the test."""

    stream: LocalStream
    session: LiveSession
    gemini: GeminiLive
    people: dict[str, Person]

    def wire(self, since: int = 0) -> Int16:
        """Return what the service has got from message number `since` on, at 48 kHz."""
        audio = [f.data for f in self.session.frames[since:] if f.kind == "audio"]
        samples = np.frombuffer(b"".join(audio), np.int16)
        return np.asarray(soxr.resample(samples, WIRE, CALL, quality="VHQ"))

    async def hears_everybody(self) -> None:
        """Wait until the assistant receives a track of each person."""
        for _ in range(1000):
            heard = {track.user_id for track in self.gemini.stats().tracks}
            if heard >= set(self.people):
                return
            await asyncio.sleep(0.01)
        raise TimeoutError(f"only {heard} of {set(self.people)} are heard")


async def in_a_call(
    local: Local,
    people: dict[str, dict[str, Any]],
    scenario: Callable[[Call], Awaitable[None]],
    policy: Any = None,
    activity: ActivityOptions | None = None,
) -> None:
    async with AsyncExitStack() as stack:
        options = {"activity": activity} if activity is not None else {}
        server = await stack.enter_async_context(local(policy or Script([[]] * 9), **options))
        stream = await stack.enter_async_context(LocalStream())
        stack.enter_context(stream.redirected())
        client = await stack.enter_async_context(AsyncStream(base_url=None))
        gemini = await stack.enter_async_context(GeminiLive())
        joined = {
            name: await stack.enter_async_context(Person("a-call", name, **how))
            for name, how in people.items()
        }
        call = client.video.call("default", "a-call")
        await call.get_or_create(data={"created_by_id": "assistant"})
        connection = await rtc.join(call, "assistant")
        await stack.enter_async_context(connection)
        await gemini.attach(connection)
        session = await server.wait_session(0)
        await scenario(Call(stream, session, gemini, joined))


def long_speech() -> Int16:
    """Four seconds of recorded speech at the rate of the call."""
    said = words(3.0)
    return np.asarray(soxr.resample(np.concatenate([said, said[:16_000]]), WIRE, CALL))


BYSTANDERS: dict[str, tuple[dict[str, Any], Network | None]] = {
    "jitter of 60 ms": ({}, Network(jitter_ms=60, seed=3)),
    "stalls of 300 ms": ({}, Network(burst_ms=300, burst_every_ms=1500, seed=3)),
    "losses": ({}, Network(loss=0.1, seed=3)),
    "reordering": ({}, Network(reorder=0.1, seed=3)),
    "Opus DTX": ({"sends": "as_browser"}, None),
    "Opus DTX and jitter": ({"sends": "as_browser"}, Network(jitter_ms=60, seed=3)),
}


@pytest.mark.parametrize("name", BYSTANDERS)
async def test_a_bystander_costs_the_speaker_nothing(local: Local, name: str) -> None:
    how, network = BYSTANDERS[name]
    said = long_speech()

    async def scenario(call: Call) -> None:
        await call.hears_everybody()
        if network is not None:
            call.stream.impair("ben", network, direction="from")
        since = len(call.session.frames)
        await call.people["anna"].say(said)
        await asyncio.sleep(0.5)  # the last packets are under way
        frames = [f for f in call.session.frames[since:] if f.kind == "audio"]
        passed = frames[-1].at - frames[0].at
        assert len(frames) * 0.02 == pytest.approx(passed, abs=0.15), "the wire runs at 1x"
        found = match(said, call.wire(since))
        assert found.correlation > 0.93, "her words, whole, after one pass through Opus"

    await in_a_call(local, {"anna": {}, "ben": how}, scenario)


async def test_who_has_jitter_is_heard_whole_too(local: Local) -> None:
    said = long_speech()

    async def scenario(call: Call) -> None:
        await call.hears_everybody()
        call.stream.impair("anna", Network(jitter_ms=60, seed=5), direction="from")
        await asyncio.sleep(2.0)  # in which the depth is learnt
        since = len(call.session.frames)
        await call.people["anna"].say(said)
        await asyncio.sleep(0.5)
        assert match(said, call.wire(since)).correlation > 0.9
        (track,) = [t for t in call.gemini.stats().tracks if t.user_id == "anna"]
        assert 0 < track.jitter_ms <= 120

    await in_a_call(local, {"anna": {}, "ben": {}}, scenario)


@pytest.mark.parametrize("sends", ["as_sdk", "as_browser"])
async def test_who_mutes_right_after_the_last_word_is_answered(local: Local, sends: str) -> None:
    """`gemini-3.8-live` finds the end of speech in the audio, in more than a second of silence."""
    said = np.asarray(soxr.resample(words(1.2), WIRE, CALL))

    async def scenario(call: Call) -> None:
        await call.hears_everybody()
        anna = call.people["anna"]
        await anna.say(said)
        await anna.mute()
        await anna.hear_speech(timeout=15)

    await in_a_call(
        local,
        {"anna": {"sends": sends}},
        scenario,
        Parrot(),
        ActivityOptions(silence_duration_ms=1200),
    )


async def test_the_sound_of_a_shared_tab_is_heard_beside_the_microphone(local: Local) -> None:
    tone, shared = signals.tone(440, 2000, CALL), signals.tone(1000, 2000, CALL)

    async def scenario(call: Call) -> None:
        await call.hears_everybody()
        anna = call.people["anna"]
        since = len(call.session.frames)
        sharing = asyncio.create_task(anna.share(shared))
        await call.stream.wait_track("anna", "screen_share_audio")
        await asyncio.gather(sharing, anna.say(tone))
        await asyncio.sleep(0.5)
        assert sorted(track.kind for track in call.gemini.stats().tracks) == ["sound", "voice"]
        wire = call.wire(since).astype(float)
        loud = [
            np.abs(np.fft.rfft(block * np.hanning(len(block))))
            for block in np.array_split(wire, max(1, len(wire) // (CALL // 5)))
        ]
        # 200 ms with both tones in them: 5 Hz a bin.
        both = max(loud, key=lambda bins: min(bins[83:93].max(), bins[195:205].max()), default=None)
        assert both is not None
        assert min(both[83:93].max(), both[195:205].max()) > 50 * np.median(both)

    await in_a_call(local, {"anna": {"sends": "as_browser"}}, scenario)


async def test_speech_from_a_shared_tab_does_not_pause_the_assistant(local: Local) -> None:
    film = long_speech()
    reply = voice(4.0)

    async def scenario(call: Call) -> None:
        await call.hears_everybody()
        anna = call.people["anna"]
        for start in range(0, len(reply), MODEL // 25):
            await call.session.send(_audio(reply[start : start + MODEL // 25]))
        await call.session.send({"serverContent": {"generationComplete": True}})
        await call.session.send({"serverContent": {"turnComplete": True}})
        await anna.hear_speech()
        await anna.share(film)
        await anna.hear_silence(800)
        stats = call.gemini.stats()
        assert stats.barge_ins == 0
        assert stats.dropped_ms == 0
        assert stats.played_ms == pytest.approx(4000, abs=1)

    deaf = ActivityOptions(prefix_padding_ms=60_000)
    await in_a_call(local, {"anna": {"sends": "as_browser"}}, scenario, None, deaf)


def _audio(samples: Int16) -> dict[str, Any]:
    import base64

    data = base64.b64encode(samples.tobytes()).decode()
    blob = {"mimeType": f"audio/pcm;rate={MODEL}", "data": data}
    return {"serverContent": {"modelTurn": {"parts": [{"inlineData": blob}]}}}
