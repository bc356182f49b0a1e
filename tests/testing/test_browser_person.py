"""A person who sends as a browser does, and bad networks, with the real getstream 7 as receiver."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from getstream import AsyncStream
from getstream.plugins.gemini.errors import CallError
from getstream.plugins.gemini.testing import LocalStream, Network, Person, signals
from getstream.plugins.gemini.testing._person.opus import FRAME_SAMPLES, OpusEncoder
from getstream.plugins.gemini.testing._person.receiver import SpeechReceiver
from getstream.video import rtc
from numpy.typing import NDArray

RATE = 48_000

needs_getstream7 = pytest.mark.skipif(
    not hasattr(rtc, "RemoteTrack"),
    reason="getstream 6 blocks the event loop when it leaves: it is tested in processes of its own",
)


# -- the encoder --------------------------------------------------------------


def sent(encoder: OpusEncoder, samples: NDArray[np.int16]) -> list[tuple[int, int]]:
    """Number and size of each frame for which a packet is sent."""
    packets = []
    for number in range(len(samples) // FRAME_SAMPLES):
        frame = samples[number * FRAME_SAMPLES : (number + 1) * FRAME_SAMPLES]
        packet = encoder.encode(frame)
        if packet is not None:
            packets.append((number, len(packet)))
    return packets


def test_in_silence_a_refresh_is_sent_each_0_42_s() -> None:
    speech, silence = signals.speech_like(1000, RATE), signals.silence(4000, RATE)
    encoder = OpusEncoder(dtx=True)
    packets = sent(encoder, np.concatenate((speech, silence, speech)))
    encoder.close()
    encoder.close()
    numbers = [number for number, _ in packets]
    assert numbers[:50] == list(range(50))  # the speech, whole
    assert numbers[-50:] == list(range(250, 300))  # from its first frame on
    pause = [(number, size) for number, size in packets if 70 <= number < 250]
    refreshes = [number for number, size in pause if size > 2]
    # Two frames in each 21: what is heard in the silence, and the sign that there is no more.
    assert set(np.diff(refreshes)) == {21}
    assert [number for number, size in pause if size <= 2] == [n + 1 for n in refreshes]


def test_without_dtx_each_frame_is_sent() -> None:
    encoder = OpusEncoder(dtx=False)
    packets = sent(encoder, signals.silence(2000, RATE))
    assert [number for number, _ in packets] == list(range(100))
    with pytest.raises(ValueError, match=r"a frame has shape \(960,\), not \(480,\)"):
        encoder.encode(np.zeros(480, np.int16))
    encoder.close()
    with pytest.raises(ValueError, match="closed"):
        encoder.encode(np.zeros(FRAME_SAMPLES, np.int16))


def test_an_ear_hears_a_new_speech_after_a_pause_without_frames() -> None:
    receiver = SpeechReceiver(-50.0, 0.3)
    loud = signals.tone(500, 20, RATE)
    assert receiver.hear(0.0, 0.0, loud) == "started"
    assert receiver.settle(0.25) is None
    assert receiver.settle(0.4) == "stopped"
    assert receiver.settle(0.5) is None
    assert receiver.hear(0.5, 0.5, loud) == "started"


# -- a receiver ---------------------------------------------------------------


@dataclass(frozen=True)
class Heard:
    """One frame that the SDK gave.

    Attributes:
        arrival: Monotonic time.
        frame: The RTP timestamp in frames of 20 ms.
        participant: The SDK's object, one for each track.
        samples: int16 mono.
    """

    arrival: float
    frame: float
    participant: Any
    samples: NDArray[np.int16]


class Bot:
    """A connection of the real SDK that keeps what it hears and what it is told."""

    def __init__(self, connection: Any) -> None:
        self.heard: list[Heard] = []
        self.told: list[tuple[str, Any]] = []
        self.added: list[Any] = []
        self._more = asyncio.Event()
        connection.on("audio", self._on_audio)
        connection.on("track_added", lambda track: self.added.append(track.track_type))
        for name in ("track_published", "track_unpublished"):
            connection.on(name, lambda event, name=name: self._on_told(name, event))

    def of(self, user_id: str, since: int = 0) -> list[Heard]:
        return [h for h in self.heard[since:] if h.participant.user_id == user_id]

    async def until(self, condition: Callable[[], bool], timeout: float = 20.0) -> None:
        async def wait() -> None:
            while not condition():
                self._more.clear()
                await self._more.wait()

        await asyncio.wait_for(wait(), timeout)

    async def frames(self, user_id: str, count: int) -> list[Heard]:
        """The next `count` frames of a user."""
        since = len(self.heard)
        await self.until(lambda: len(self.of(user_id, since)) >= count)
        return self.of(user_id, since)[:count]

    def _on_audio(self, pcm: Any) -> None:
        samples = np.asarray(pcm.samples, dtype=np.int16)
        frame = pcm.pts / FRAME_SAMPLES
        self.heard.append(Heard(time.monotonic(), frame, pcm.participant, samples))
        self._more.set()

    def _on_told(self, name: str, event: Any) -> None:
        self.told.append((name, event.track_type))
        self._more.set()


@pytest.fixture
async def stream() -> AsyncIterator[LocalStream]:
    """A backend to which the SDK of this process is redirected; leaves no task behind."""
    before = asyncio.all_tasks()
    async with LocalStream() as local:
        with local.redirected():
            yield local
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"


@contextlib.asynccontextmanager
async def a_bot(stream: LocalStream) -> AsyncIterator[Bot]:
    client = AsyncStream(stream.api_key, stream.api_secret, base_url=stream.url)
    call = client.video.call("default", "call")
    await call.get_or_create(data={"created_by_id": "bot"})
    connection = await rtc.join(call, "bot")
    bot = Bot(connection)
    try:
        async with connection:
            yield bot
    finally:
        await client.aclose()


def steps(heard: list[Heard]) -> list[int]:
    """From each frame to the next one, in frames of 20 ms."""
    return [int(step) for step in np.diff([h.frame for h in heard])]


def sound(heard: list[Heard]) -> NDArray[np.int16]:
    return np.concatenate([h.samples for h in heard])


def loudest_hz(samples: NDArray[np.int16]) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * RATE / len(samples)


# -- discontinuous transmission -----------------------------------------------


@needs_getstream7
async def test_a_listener_in_dtx_is_heard_twice_in_0_42_s(stream: LocalStream) -> None:
    async with a_bot(stream) as bot, Person("call", "anna", sends="as_browser"):
        await bot.frames("anna", 14)  # the hangover of the encoder
        heard = await bot.frames("anna", 8)
        # 1 frame from the refresh to the sign of silence, 20 until the next refresh.
        assert set(steps(heard)) == {1, 20}
        assert np.abs(sound(heard)).max() < 10
        assert heard[-1].arrival - heard[0].arrival > 1.0  # they come when they are sent


@needs_getstream7
async def test_dtx_loses_nothing_of_the_speech(stream: LocalStream) -> None:
    speech = signals.speech_like(1500, RATE, seed=4)
    async with (
        a_bot(stream),
        Person("call", "bob") as bob,
        Person("call", "anna", sends="as_browser") as anna,
    ):
        await stream.wait_track("anna", "audio")
        said, heard = await asyncio.gather(anna.say(speech), bob.hear_speech(user_id="anna"))
        await bob.hear_silence(300, user_id="anna")
        onset = heard.start + bob.started_at - (said.start + anna.started_at)
        assert 0 < onset < 0.3
        found = signals.align(speech, bob.heard_from("anna"), RATE)
        assert found.correlation > 0.85  # 32 kbit/s
        assert (said.end - said.start) == pytest.approx(1.5, abs=0.05)


# -- mute ---------------------------------------------------------------------


@needs_getstream7
@pytest.mark.parametrize("sends", ["as_sdk", "as_browser"])
async def test_a_mute_stops_the_packets_and_the_clock_goes_on(
    stream: LocalStream, sends: Any
) -> None:
    async with (
        a_bot(stream) as bot,
        Person("call", "clock"),  # whose frames tell the time
        Person("call", "anna", sends=sends) as anna,
    ):
        await bot.frames("clock", 1)
        long = signals.tone(440, 20_000, RATE)
        saying = asyncio.create_task(anna.say(long))
        await bot.until(lambda: any(np.abs(h.samples).max() > 1000 for h in bot.of("anna")))

        await anna.mute()
        said = await saying  # cut off
        assert 0 < said.end - said.start < 10
        assert len(anna.said) < 15 * RATE
        await bot.until(lambda: ("track_unpublished", rtc.TrackType.AUDIO) in bot.told)
        before = None
        while bot.of("anna")[-1] is not before:  # what was under way comes first
            before = bot.of("anna")[-1]
            await bot.frames("clock", 25)
        packets = published(stream, "anna")["audio"].packets
        await bot.frames("clock", 50)
        assert bot.of("anna")[-1] is before
        assert published(stream, "anna")["audio"].packets == packets
        assert published(stream, "anna")["audio"].muted
        with pytest.raises(CallError, match="anna is muted"):
            await anna.say(long)
        await anna.mute()  # nothing happens

        await anna.unmute()
        after, _ = await asyncio.gather(
            bot.frames("anna", 20), anna.say(signals.tone(440, 600, RATE))
        )
        assert bot.told.count(("track_published", rtc.TrackType.AUDIO)) >= 1
        assert bot.told[-1] == ("track_published", rtc.TrackType.AUDIO)
        # It is the same track, and its timestamps have gone on by the clock.
        assert after[0].participant is before.participant
        passed = (after[0].frame - before.frame) * 0.02
        assert passed > 1.0
        if sends == "as_browser":
            assert passed == pytest.approx(after[0].arrival - before.arrival, abs=0.3)
        else:  # the SDK counts its own ticks, which come late on a busy machine, for all alike
            ticks = [h for h in bot.of("clock") if before.arrival < h.arrival < after[0].arrival]
            assert passed == pytest.approx((ticks[-1].frame - ticks[0].frame) * 0.02, abs=0.3)
        events = [e["event"] for e in anna.events if "muted" in e["event"]]
        assert events == ["muted", "unmuted"]


def published(stream: LocalStream, user_id: str) -> dict[str, Any]:
    (state,) = [p for p in stream.state().participants if p.user_id == user_id]
    return {track.kind: track for track in state.published}


# -- two tracks of one person -------------------------------------------------


@needs_getstream7
async def test_a_shared_tab_is_a_track_of_its_own(stream: LocalStream) -> None:
    voice, music = signals.tone(300, 1500, RATE), signals.tone(1100, 1500, RATE)
    async with (
        a_bot(stream) as bot,
        Person("call", "bob") as bob,
        Person("call", "anna", sends="as_browser") as anna,
    ):
        await bot.frames("anna", 1)
        sharing = asyncio.create_task(anna.share(music))
        await stream.wait_track("anna", "screen_share_audio")
        await asyncio.gather(sharing, anna.say(voice))
        assert bot.added.count(rtc.TrackType.SCREEN_SHARE_AUDIO) == 1

        tracks: dict[int, list[Heard]] = {}
        for heard in bot.of("anna"):
            tracks.setdefault(id(heard.participant), []).append(heard)
        microphone, tab = tracks.values()
        assert microphone[0].participant.session_id == tab[0].participant.session_id
        assert microphone[0].participant.published_tracks == [rtc.TrackType.AUDIO]
        loud = [h for h in microphone if np.abs(h.samples).max() > 1000]
        assert loudest_hz(sound(loud[5:-5])) == pytest.approx(300, abs=10)
        loud = [h for h in tab if np.abs(h.samples).max() > 1000]
        assert loudest_hz(sound(loud[5:-5])) == pytest.approx(1100, abs=10)
        assert set(steps(tab)) == {1}  # without DTX
        # A person hears both, each in its place.
        both = bob.heard_from("anna")
        sounding = np.flatnonzero(np.abs(both) > 1000)
        middle = both[sounding[0] + RATE // 2 :][: RATE // 2]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
        for hz in (300, 1100):
            assert spectrum[hz // 2] > 100 * np.median(spectrum)

        await anna.stop_sharing()
        await bot.until(lambda: ("track_unpublished", rtc.TrackType.SCREEN_SHARE_AUDIO) in bot.told)
        assert published(stream, "anna")["screen_share_audio"].muted
        assert not published(stream, "anna")["audio"].muted
        since = len(bot.heard)
        await anna.share(signals.tone(1100, 200, RATE))
        assert any(h.participant is tab[0].participant for h in bot.of("anna", since))


async def test_what_a_person_cannot_do_is_said(stream: LocalStream) -> None:
    with pytest.raises(ValueError, match="sends is 'smoke'; it is as_sdk or as_browser"):
        Person("call", "anna", sends="smoke")  # type: ignore[arg-type]
    absent = Person("call", "anna")
    for method in (absent.mute, absent.unmute):
        with pytest.raises(CallError, match="anna is not in the call"):
            await method()
    with pytest.raises(CallError, match="cannot share"):
        await absent.share(signals.tone(500, 100, RATE))
    await absent.stop_sharing()


@needs_getstream7
async def test_a_browser_without_camera_and_an_sdk_without_a_tab(stream: LocalStream) -> None:
    async with Person("call", "anna", sends="as_browser") as anna, Person("call", "bob") as bob:
        with pytest.raises(CallError, match="no camera"):
            await anna.publish_video()
        with pytest.raises(CallError, match="bob cannot share"):
            await bob.share(signals.tone(500, 100, RATE))


# -- bad networks -------------------------------------------------------------


def link(stream: LocalStream, user_id: str, name: str) -> Any:
    (state,) = [p for p in stream.state().participants if p.user_id == user_id]
    return getattr(state, name)


@needs_getstream7
async def test_jitter_reaches_the_receiver_in_order(stream: LocalStream) -> None:
    async with a_bot(stream) as bot, Person("call", "anna"):
        await bot.frames("anna", 10)
        stream.impair("anna", Network(jitter_ms=100, seed=1), direction="from")
        heard = await bot.frames("anna", 150)
        assert set(steps(heard)) == {1}
        late = [h.arrival - h.frame * 0.02 for h in heard]
        assert max(late) - min(late) > 0.06
        assert link(stream, "anna", "from_link").packets >= 150
        assert link(stream, "bot", "to_link").packets == 0


@needs_getstream7
async def test_a_stall_reaches_the_receiver_as_one_clump(stream: LocalStream) -> None:
    async with a_bot(stream) as bot, Person("call", "anna"):
        await bot.frames("anna", 10)
        stream.impair("bot", burst_ms=500)
        heard = [bot.heard[-1], *await bot.frames("anna", 60)]
        assert set(steps(heard)) == {1}
        gaps = np.diff([h.arrival for h in heard])
        stall = int(np.argmax(gaps))
        assert gaps[stall] > 0.4
        # 25 packets were held back: the SDK has no playout clock and gives them all at once.
        assert np.sum(gaps[stall + 1 : stall + 24]) < 0.3


@needs_getstream7
@pytest.mark.parametrize("kind", ["reordered", "lost", "duplicated"])
async def test_the_sdk_conceals_single_packets(stream: LocalStream, kind: str) -> None:
    """It does so at the next packet, drops what comes behind it, and takes no packet twice."""
    conditions = {
        "reordered": Network(reorder=0.1, seed=2),
        "lost": Network(loss=0.1, seed=2),
        "duplicated": Network(duplicate=0.2, seed=2),
    }
    async with a_bot(stream) as bot, Person("call", "anna"):
        await bot.frames("anna", 10)
        stream.impair("bot", conditions[kind])
        heard = await bot.frames("anna", 150)
        assert getattr(link(stream, "bot", "to_link"), kind) >= 5
        assert set(steps(heard)) == {1}


@needs_getstream7
async def test_two_directions_are_independent_and_heal_ends_both(stream: LocalStream) -> None:
    async with a_bot(stream) as bot, Person("call", "anna"):
        await bot.frames("anna", 1)
        stream.impair("anna", loss=0.5, direction="from")
        stream.impair("anna", jitter_ms=20, direction="to")
        await bot.frames("anna", 20)
        assert link(stream, "anna", "from_link").lost > 0
        stream.heal("anna")
        lost = link(stream, "anna", "from_link").lost
        heard = await bot.frames("anna", 30)
        assert set(steps(heard[5:])) == {1}
        assert link(stream, "anna", "from_link").lost == lost
        with pytest.raises(ValueError, match="direction is 'up'"):
            stream.impair("anna", loss=0.5, direction="up")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="not both"):
            stream.impair("anna", Network(loss=0.5), jitter_ms=5)
        with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
            stream.impair("anna", nonsense=5)
