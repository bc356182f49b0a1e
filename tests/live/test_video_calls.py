"""Video of a call: the real `getstream` 7 in this process, on loopback sockets, in real time.

Persons publish moving pictures with a frame number in them, by VP9 and VP8; the numbers are read
from the JPEGs that the local Gemini server has received. Numbers tell the sources apart, and how
old an image was.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import av
import pytest
from getstream import AsyncStream
from getstream.plugins.gemini.live import (
    GeminiLive,
    VideoOptions,
    VideoStarted,
    VideoStopped,
    ViewChanged,
)
from getstream.plugins.gemini.testing import (
    LocalGemini,
    LocalStream,
    Parrot,
    Person,
    read_frame_number,
    signals,
)
from getstream.video import rtc
from room import Local

pytestmark = pytest.mark.skipif(
    not hasattr(rtc, "RemoteTrack"),
    reason="getstream 6 blocks the event loop when it leaves: it is tested in processes of its own",
)

CAMERA, OTHER, SCREEN = 0, 20_000, 40_000  # numbers of the first frames


@dataclass(frozen=True)
class Image:
    """JPEG that the service has received: its arrival, its size and its frame number."""

    at: float
    width: int
    height: int
    number: int


@dataclass
class Call:
    """A call with the assistant in it, who looks."""

    stream: LocalStream
    server: LocalGemini
    gemini: GeminiLive
    connection: Any
    events: list[Any] = field(default_factory=list)

    @property
    def images(self) -> list[Image]:
        """Return what the service has received, in order."""
        frames = [frame for each in self.server.sessions for frame in each.frames]
        return [read(frame) for frame in frames if frame.kind == "video"]

    async def until(self, what: Callable[[], Any], timeout: float = 20) -> None:
        """Wait until something is so; nothing tells of an image, so it is looked for."""
        async with asyncio.timeout(timeout):
            while not what():
                await asyncio.sleep(0.02)

    async def sees(self, first: int, count: int = 1) -> list[Image]:
        """Wait for so many more images of the source whose numbers begin with `first`."""
        before = len(self.images)

        def new() -> list[Image]:
            return [each for each in self.images[before:] if source_of(each.number) == first]

        await self.until(lambda: len(new()) >= count)
        return new()


def read(frame: Any) -> Image:
    decoder = av.CodecContext.create("mjpeg", "r")
    image = decoder.decode(av.Packet(frame.data))[0]  # type: ignore[attr-defined]
    number = read_frame_number(image.to_ndarray(format="gray"))
    return Image(frame.at, image.width, image.height, number)


def source_of(number: int) -> int:
    return max(first for first in (CAMERA, OTHER, SCREEN) if first <= number)


@contextlib.asynccontextmanager
async def in_a_call(
    local: Local, video: bool | VideoOptions, script: Any = None, **options: Any
) -> AsyncIterator[Call]:
    async with local(script or Parrot()) as server, LocalStream() as stream:
        with stream.redirected():
            async with AsyncStream(base_url=None) as client, GeminiLive() as gemini:
                call = client.video.call("default", "a-call")
                await call.get_or_create(data={"created_by_id": "assistant"})
                connection = await rtc.join(
                    call,
                    "assistant",
                    subscription_config=GeminiLive.subscription_config(video=video),
                )
                async with connection:
                    await gemini.attach(connection, video=video, **options)
                    held = Call(stream, server, gemini, connection)
                    for name in ("video_started", "video_stopped", "view_changed", "error"):
                        gemini.on(name, held.events.append)
                    yield held


def told(call: Call) -> list[str]:
    """Return the events in few words."""
    lines = []
    for event in call.events:
        if isinstance(event, VideoStarted):
            lines.append(f"started {event.source.name}")
        elif isinstance(event, VideoStopped):
            lines.append(f"stopped {event.source.name}: {event.reason}")
        elif isinstance(event, ViewChanged):
            lines.append("view " + ", ".join(source.name for source in event.sources))
        else:
            lines.append(str(event))
    return lines


def drawn_at(camera: Any, number: int) -> float:
    """Return when a frame was handed to the SDK, `time.monotonic()` in seconds."""
    return float(camera._origin + (number - camera._first) / camera._fps)


async def test_images_are_new_in_order_and_of_the_right_size(local: Local) -> None:
    async with in_a_call(local, VideoOptions(fps=4, fps_idle=None)) as call:
        anna, carol = Person("a-call", "anna"), Person("a-call", "carol", receive_video=True)
        async with anna, carol:
            await anna.publish_video(15, (1280, 720))
            images = await call.sees(CAMERA, 12)
        numbers = [each.number for each in images]
        assert numbers == sorted(set(numbers))
        assert {(each.width, each.height) for each in images} == {(768, 432)}
        # Beside somebody who looks at every frame, on the same machine with the same load: a frame
        # is chosen when it is due, and then it is encoded and sent.
        seen = [(frame.time + carol.started_at, frame.number) for frame in carol.seen]
        behind = [
            max(number for at, number in seen if at <= image.at) - image.number
            for image in images[1:]
        ]
        print(f"frames behind another subscriber: {behind}")
        assert max(behind) <= 15 / 4, "one period of the sender"
        assert sorted(behind)[len(behind) // 2] <= 2
        stats = call.gemini.stats().video
        assert stats.frames_read <= 2 * stats.images_sent + 8, "read when wanted"
        assert stats.frames_rejected == 0
        assert stats.tokens == 256 * stats.images_sent
        (started,) = [each for each in call.events if isinstance(each, VideoStarted)]
        assert (started.width, started.height) == (1280, 720)
        await call.until(lambda: told(call)[-1] == "view ")
        assert told(call)[-2] == "stopped anna's camera: left"


async def test_the_view_follows_cameras_a_screen_and_a_mute(local: Local) -> None:
    async with in_a_call(local, VideoOptions(fps=4, fps_idle=None)) as call:
        async with Person("a-call", "anna") as anna, Person("a-call", "bob") as bob:
            await anna.publish_video(10, (320, 240), CAMERA)
            await call.sees(CAMERA, 2)
            await bob.publish_video(10, (320, 240), OTHER)
            await bob.share_screen(5, (1280, 720), SCREEN)
            (screen, *_) = await call.sees(SCREEN, 2)
            assert (screen.width, screen.height) == (768, 432)
            await bob.stop_sharing_screen()
            await call.sees(CAMERA, 2)
            await anna.set_video_muted(True)
            await call.sees(OTHER, 2)
            await anna.set_video_muted(False)
            (back, *_) = await call.sees(CAMERA, 2)
            camera = anna._camera
            assert camera is not None
            # Not what was left in the SDK when she muted.
            assert back.at - drawn_at(camera, back.number) < 1.0
            assert call.gemini.stats().video.sources == 3
        assert told(call)[:14] == [
            "view anna's camera",
            "started anna's camera",
            "stopped anna's camera: replaced",
            "view bob's screen",
            "started bob's screen",
            "stopped bob's screen: muted",
            "view anna's camera",
            "started anna's camera",
            "stopped anna's camera: muted",
            "view bob's camera",
            "started bob's camera",
            "stopped bob's camera: replaced",
            "view anna's camera",
            "started anna's camera",
        ]


async def test_two_at_a_time(local: Local) -> None:
    options = VideoOptions(fps=4, fps_idle=None, sources=2)
    async with in_a_call(local, options) as call:
        async with Person("a-call", "anna") as anna, Person("a-call", "bob") as bob:
            await anna.publish_video(10, (320, 240), CAMERA)
            await call.sees(CAMERA)
            await bob.publish_video(10, (320, 240), OTHER)
            await asyncio.gather(call.sees(CAMERA, 3), call.sees(OTHER, 3))
            await bob.share_screen(5, (640, 360), SCREEN)
            await asyncio.gather(call.sees(CAMERA, 3), call.sees(SCREEN, 3))


async def test_who_speaks_is_seen(local: Local) -> None:
    options = VideoOptions(fps=4, fps_idle=None, policy="active_speaker")
    speech, rate = signals.read_wav(str(signals_file()))
    async with in_a_call(local, options) as call:
        async with Person("a-call", "anna") as anna, Person("a-call", "bob") as bob:
            await anna.publish_video(10, (320, 240), CAMERA)
            await call.sees(CAMERA)
            await bob.publish_video(10, (320, 240), OTHER)
            _, _ = await asyncio.gather(call.sees(OTHER, 2), bob.say(speech, rate))
            _, _ = await asyncio.gather(call.sees(CAMERA, 2), anna.say(speech, rate))


def signals_file() -> Any:
    from importlib.resources import files

    return files("getstream.plugins.gemini") / "data" / "question.wav"


async def test_somebody_who_comes_back_is_seen_again(local: Local) -> None:
    async with in_a_call(local, VideoOptions(fps=4, fps_idle=None)) as call:
        for first in (CAMERA, OTHER):
            async with Person("a-call", "anna") as anna:
                await anna.publish_video(10, (320, 240), first)
                await call.sees(first, 2)
                anna.stop_video()
                await call.until(lambda: call.gemini.stats().video.view == ())
                await anna.publish_video(10, (640, 480), SCREEN)
                assert (await call.sees(SCREEN, 1))[0].width == 640
            await call.until(lambda: call.gemini.stats().video.sources == 0)


@pytest.mark.parametrize("breaks", ["gemini", "stream"])
async def test_a_reconnect_in_between(local: Local, breaks: str) -> None:
    async with in_a_call(local, VideoOptions(fps=8, fps_idle=None)) as call:
        async with Person("a-call", "anna") as anna:
            await anna.publish_video(15, (640, 360))
            await call.sees(CAMERA, 3)
            if breaks == "gemini":
                call.server.sessions[-1].abort()
                await call.until(lambda: len(call.server.sessions) == 2)
            else:
                await call.stream.drop_sfu_socket("assistant", "abort")
                await call.stream.wait_track("assistant", "audio")
            images = await call.sees(CAMERA, 3)
            camera = anna._camera
            assert camera is not None
            assert images[-1].at - drawn_at(camera, images[-1].number) < 1.0
        assert not [each for each in call.events if isinstance(each, Exception)]


def test_only_what_is_seen_is_subscribed_to() -> None:
    nothing = GeminiLive.subscription_config(video=False).default
    everything = GeminiLive.subscription_config().default
    screens = GeminiLive.subscription_config(
        video=VideoOptions(kinds=("screen",), max_side=1024)
    ).default
    audio = set(nothing.track_types)
    assert {*everything.track_types} - audio == {
        int(rtc.TrackType.VIDEO),
        int(rtc.TrackType.SCREEN_SHARE),
    }
    assert {*screens.track_types} - audio == {int(rtc.TrackType.SCREEN_SHARE)}
    size = everything.video_dimension
    assert (size.width, size.height) == (768, 432)
    size = screens.screenshare_dimension
    assert (size.width, size.height) == (1024, 576)
