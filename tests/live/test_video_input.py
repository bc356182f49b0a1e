"""`VideoInput` on a virtual clock: sources, view, events, and how it yields to audio."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from getstream.plugins.gemini.errors import ConfigError, GeminiError, VideoError
from getstream.plugins.gemini.live import (
    VideoOptions,
    VideoSource,
    VideoStarted,
    VideoStopped,
    ViewChanged,
)
from getstream.plugins.gemini.live._media import video_input
from getstream.plugins.gemini.live._media.video_input import MAX_BAD_FRAMES, VideoInput
from getstream.plugins.gemini.live._media.video_sources import NO_FRAMES_S, TRY_AGAIN_S
from getstream.plugins.gemini.testing import Camera, read_frame_number
from getstream.plugins.gemini.testing.clock import run_virtual


class Inline(ThreadPoolExecutor):
    """Works at once: a virtual clock has no thread to wait for."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        future.exception()
        return future


class Link:
    """The way to the model, as slow and as lossy as it is told to be."""

    def __init__(self) -> None:
        self.ready = True
        self.asked = 0
        self.late = 0
        self.bytes_per_s = 1e9
        self.sent: list[tuple[float, bytes]] = []
        self.notes: list[str] = []
        self.loses = 0

    def may_send_video(self) -> bool:
        self.asked += 1
        return self.ready

    def late_frames(self) -> int:
        return self.late

    async def send_video(self, jpeg: bytes) -> float | None:
        if self.loses:
            self.loses -= 1
            return None
        self.sent.append((asyncio.get_running_loop().time(), jpeg))
        return len(jpeg) * 4 / 3 / self.bytes_per_s

    async def send_note(self, text: str) -> None:
        self.notes.append(text)


class Stage:
    """`VideoInput`, what it is wired to, and what it did."""

    def __init__(self) -> None:
        self.link = Link()
        self.events: list[Any] = []
        self.errors: list[GeminiError] = []
        self.video = VideoInput(
            spawn=asyncio.ensure_future,  # type: ignore[arg-type]
            link=self.link,
            emit=lambda event, **fields: self.events.append(event(**fields)),
            report=self.errors.append,
            tokens_per_image=64,
        )

    @property
    def numbers(self) -> list[int]:
        """Return the frame numbers in the images that were sent."""
        return [number_in(jpeg) for _, jpeg in self.link.sent]

    @property
    def times(self) -> list[float]:
        return [round(time, 2) for time, _ in self.link.sent]

    async def start(self, track: Any, fps: float = 1.0, **options: Any) -> None:
        chosen = VideoOptions(**{"fps": fps, "fps_idle": None, "skip_unchanged": False, **options})
        await self.video.start_track(track, chosen, lambda: None)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def story(self) -> list[str]:
        """Return the events in few words."""
        lines = []
        for event in self.events:
            if isinstance(event, ViewChanged):
                lines.append("view: " + ", ".join(source.name for source in event.sources))
            elif isinstance(event, VideoStarted):
                lines.append(f"started: {event.source.name}")
            else:
                lines.append(f"stopped: {event.source.name}, {event.reason}")
        return lines


def number_in(jpeg: bytes) -> int:
    decoder = av.CodecContext.create("mjpeg", "r")
    frame = decoder.decode(av.Packet(jpeg))[0]  # type: ignore[attr-defined]
    return read_frame_number(frame.to_ndarray(format="gray"))


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_input, "ThreadPoolExecutor", Inline)


def on_stage(scenario: Callable[[Stage], Awaitable[None]]) -> Stage:
    """Run a scenario; afterwards everything has ended, and asyncio has no complaints."""
    complaints: list[dict[str, Any]] = []

    async def main() -> Stage:
        stage = Stage()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        try:
            await scenario(stage)
        finally:
            await stage.video.aclose()
            stage.video.discard()
        return stage

    stage = run_virtual(main())
    gc.collect()
    assert complaints == []
    return stage


async def camera(
    fps: float = 30.0,
    first: int = 0,
    seconds: float = 1e9,
    size: tuple[int, int] = (320, 240),
    moves: bool = True,
) -> AsyncIterator[Any]:
    """Yield numbered frames; number `first` is of the time at which it is first read."""
    loop, drawing = asyncio.get_running_loop(), Camera(size=size)
    start = loop.time()
    for index in range(int(seconds * fps)):
        yield drawing._draw(first + (index if moves else 0))
        await asyncio.sleep(start + (index + 1) / fps - loop.time())


# -- one track -----------------------------------------------------------------------------------


def test_one_image_a_second_and_always_the_newest() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.start(camera())
        await asyncio.sleep(4.5)

    stage = on_stage(scenario)
    assert stage.times == [0.0, 1.0, 2.0, 3.0, 4.0]
    for time, number in zip(stage.times, stage.numbers, strict=True):
        assert abs(number - 30 * time) <= 1
    stats = stage.video.stats()
    assert (stats.images_sent, stats.tokens) == (5, 5 * 64)
    assert stats.bytes_sent == sum(len(jpeg) for _, jpeg in stage.link.sent)
    assert 130 <= stats.frames_read <= 137, "all of them, to keep none waiting"
    assert stage.story() == ["view: track", "started: track", "stopped: track, stopped"]


@pytest.mark.parametrize(
    ("fps", "source_fps", "seconds", "images"),
    [
        (0.01, 2, 150, 2),
        (0.5, 2, 20, 10),
        (30, 30, 10, 300),
        (60, 30, 10, 300),
        (60, 60, 10, 600),
    ],
)
def test_any_rate(fps: float, source_fps: int, seconds: float, images: int) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.start(camera(fps=source_fps, size=(64, 48)), fps)
        await asyncio.sleep(seconds - 0.01)

    stage = on_stage(scenario)
    assert len(stage.times) == pytest.approx(images, rel=0.01, abs=1), "never a frame twice"


def test_a_track_that_ends_is_told_at_once() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.start(camera(seconds=2.0), fps=0.01)
        await asyncio.sleep(3.0)

    stage = on_stage(scenario)
    assert stage.story()[-2:] == ["stopped: track, ended", "view: "]


def test_a_track_of_one_frame_is_sent() -> None:
    async def scenario(stage: Stage) -> None:
        stage.link.ready = False
        await stage.start(camera(seconds=0.04))
        await asyncio.sleep(3.0)
        stage.link.ready = True
        await asyncio.sleep(1.0)

    stage = on_stage(scenario)
    assert stage.numbers == [0]


def test_another_track_replaces_it() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.start(camera())
        await asyncio.sleep(1.5)
        await stage.start(camera(first=1000))
        await asyncio.sleep(1.5)
        await stage.video.stop()
        await stage.video.stop()
        sent = len(stage.link.sent)
        await asyncio.sleep(2.0)
        assert len(stage.link.sent) == sent

    stage = on_stage(scenario)
    assert [number >= 1000 for number in stage.numbers] == [False, False, True, True]
    assert [event.reason for event in stage.of(VideoStopped)] == ["replaced", "stopped"]


def test_what_is_no_track_is_refused_and_changes_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.start(camera())
        with pytest.raises(ConfigError, match="start_video_sender takes"):
            await stage.start("track")
        await asyncio.sleep(1.5)

    assert len(on_stage(scenario).link.sent) == 2


# -- less than every frame -----------------------------------------------------------------------


def test_what_has_not_changed_is_not_sent() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.start(camera(moves=False), skip_unchanged=True, refresh_s=30)
        await asyncio.sleep(61.5)

    stage = on_stage(scenario)
    assert stage.times == [0.0, 30.0, 60.0]
    assert stage.video.stats().images_unchanged == 59


def test_what_has_not_changed_is_sent_when_somebody_begins_to_speak() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.start(camera(moves=False), skip_unchanged=True)
        await asyncio.sleep(5.5)
        stage.video.note_speech("anna", True)
        await asyncio.sleep(2.0)

    assert on_stage(scenario).times == [0.0, 6.0]


def test_and_on_a_new_connection() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.start(camera(moves=False), skip_unchanged=True)
        await asyncio.sleep(5.5)
        stage.video.connection_lost()
        await asyncio.sleep(2.0)

    assert on_stage(scenario).times == [0.0, 6.0]


def test_less_often_in_silence() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.start(camera(), fps=1, fps_idle=0.1)
        await asyncio.sleep(14.5)
        stage.video.note_speech("anna", True)
        await asyncio.sleep(3.2)
        stage.video.note_speech("anna", False)
        await asyncio.sleep(10.0)

    stage = on_stage(scenario)
    assert stage.times[:2] == [0.0, 10.0]
    assert len([time for time in stage.times if 14.5 <= time <= 17.7]) == 4
    assert len([time for time in stage.times if time > 17.7]) == 1


# -- audio comes first ---------------------------------------------------------------------------


def test_an_image_waits_while_audio_waits_and_is_then_the_newest() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.start(camera())
        await asyncio.sleep(0.5)
        stage.link.ready = False
        await asyncio.sleep(2.0)
        stage.link.ready = True
        await asyncio.sleep(0.3)

    stage = on_stage(scenario)
    assert len(stage.link.sent) == 2
    time, number = stage.link.sent[1][0], stage.numbers[1]
    assert 2.5 <= time <= 2.53
    assert abs(number - 30 * time) <= 2
    assert stage.video.stats().images_postponed == 1


def test_a_connection_that_is_lost_while_an_image_is_encoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The image is dropped, and a newer one is sent on the next connection."""

    class Losing(Inline):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = super().submit(fn, *args, **kwargs)
            if stages and asyncio.get_running_loop().time() > 0.5:
                stages.pop().link.ready = False  # while the event loop waits for the worker
            return future

    stages: list[Stage] = []
    monkeypatch.setattr(video_input, "ThreadPoolExecutor", Losing)

    async def scenario(stage: Stage) -> None:
        stages.append(stage)
        await stage.start(camera())
        await asyncio.sleep(2.5)
        assert len(stage.link.sent) == 1, "the second was encoded and not sent"
        stage.link.ready = True
        await asyncio.sleep(1.0)

    stage = on_stage(scenario)
    assert len(stage.link.sent) >= 2
    time, number = stage.link.sent[1][0], stage.numbers[1]
    assert 2.5 <= time <= 2.6
    assert abs(number - 30 * time) <= 3, "it is not the one that was encoded before"


def test_a_session_that_rests_for_minutes_is_asked_seldom() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.start(camera())
        await asyncio.sleep(0.5)
        stage.link.ready = False
        await asyncio.sleep(60.0)
        before = stage.link.asked
        await asyncio.sleep(60.0)
        assert stage.link.asked - before <= 60 / 0.25 + 1
        stage.link.ready = True
        await asyncio.sleep(0.5)

    stage = on_stage(scenario)
    assert 120.5 <= stage.link.sent[1][0] <= 120.8


def test_an_image_waits_while_playback_is_late() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.start(camera(), fps=10)
        await asyncio.sleep(1.05)
        stage.link.late += 1
        await asyncio.sleep(1.0)

    stage = on_stage(scenario)
    gaps = np.diff(stage.times)
    assert gaps.max() == pytest.approx(0.5, abs=0.13)
    assert sorted(gaps)[-2] < 0.13, "once"


def test_on_a_slow_path_images_wait_until_nobody_speaks() -> None:
    async def scenario(stage: Stage) -> None:
        stage.link.bytes_per_s = 50_000
        stage.video.note_speech("anna", True)
        await stage.start(camera(size=(1280, 720)))
        await asyncio.sleep(5.0)
        sent = len(stage.link.sent)
        await asyncio.sleep(3.0)
        assert len(stage.link.sent) == sent, "no more while she speaks"
        stage.video.note_speech("anna", False)
        await asyncio.sleep(0.1)
        assert len(stage.link.sent) == sent + 1

    stage = on_stage(scenario)
    sizes = [len(jpeg) for _, jpeg in stage.link.sent]
    assert sizes[0] <= 12 << 10
    assert sizes[1] < sizes[0], "smaller first"


def test_an_image_that_is_lost_is_not_counted() -> None:
    async def scenario(stage: Stage) -> None:
        stage.link.loses = 2
        await stage.start(camera(moves=False), skip_unchanged=True)
        await asyncio.sleep(3.5)

    stage = on_stage(scenario)
    assert stage.times == [2.0]
    assert stage.video.stats().images_sent == 1
    assert len(stage.of(VideoStarted)) == 1


# -- a call --------------------------------------------------------------------------------------


def attach(stage: Stage, **options: Any) -> None:
    stage.video.attach(VideoOptions(**{"fps": 1, "fps_idle": None, **options}))


def test_a_screen_share_takes_the_view_and_gives_it_back() -> None:
    async def scenario(stage: Stage) -> None:
        attach(stage)
        stage.video.add("camera", "anna", "a", Reopened(0))
        await asyncio.sleep(2.5)
        stage.video.add("screen", "bob", "b", Reopened(1000))
        await asyncio.sleep(2.0)
        stage.video.set_muted("screen", "b", True)
        await asyncio.sleep(1.5)
        stage.video.leave("anna", "a")
        await asyncio.sleep(0.5)
        stage.video.detach()

    stage = on_stage(scenario)
    assert stage.story() == [
        "view: anna's camera",
        "started: anna's camera",
        "stopped: anna's camera, replaced",
        "view: bob's screen",
        "started: bob's screen",
        "stopped: bob's screen, muted",
        "view: anna's camera",
        "started: anna's camera",
        "stopped: anna's camera, left",
        "view: ",
    ]
    assert [number >= 1000 for number in stage.numbers] == [False] * 3 + [True] * 2 + [False] * 2
    assert stage.link.notes == []


class Reopened:
    """A track that may be read again and again, as those of a call."""

    def __init__(self, first: int, **options: Any) -> None:
        self._options = {"first": first, **options}

    def __aiter__(self) -> AsyncIterator[Any]:
        return camera(**self._options)


def test_a_track_that_ends_is_followed_by_the_next_best() -> None:
    async def scenario(stage: Stage) -> None:
        attach(stage)
        stage.video.add("camera", "anna", "a", camera(seconds=1.5))
        stage.video.add("camera", "bob", "b", Reopened(1000))
        await asyncio.sleep(3.0)

    stage = on_stage(scenario)
    assert stage.story()[:6] == [
        "view: anna's camera",
        "started: anna's camera",
        "stopped: anna's camera, ended",
        "view: bob's camera",
        "started: bob's camera",
        "stopped: bob's camera, stopped",
    ]
    assert stage.numbers[-1] >= 1000


def test_two_at_a_time() -> None:
    async def scenario(stage: Stage) -> None:
        attach(stage, sources=2)
        for index, name in enumerate(("anna", "bob", "carol")):
            stage.video.add("camera", name, name, Reopened(1000 * index))
        await asyncio.sleep(3.5)
        stats = stage.video.stats()
        assert (stats.sources, stats.view) == (3, ("anna's camera", "bob's camera"))

    stage = on_stage(scenario)
    assert len([number for number in stage.numbers if number < 1000]) == 4
    assert len([number for number in stage.numbers if 1000 <= number < 2000]) == 4
    assert not [number for number in stage.numbers if number >= 2000]


def test_twenty_tracks_at_once() -> None:
    async def scenario(stage: Stage) -> None:
        attach(stage, sources=2)
        for index in range(20):
            stage.video.add("camera", str(index), str(index), Reopened(100 * index))
        await asyncio.sleep(2.5)
        # A reader and a sender for each of the two, which may wait in a task of its own.
        assert len(asyncio.all_tasks()) <= 7, "only those in view are read"
        for index in range(20):
            stage.video.leave(str(index), str(index))
        await asyncio.sleep(0.5)
        assert len(asyncio.all_tasks()) == 1

    stage = on_stage(scenario)
    assert stage.errors == []
    assert max(stage.numbers) < 1000


def test_a_track_comes_before_the_call_until_it_ends() -> None:
    async def scenario(stage: Stage) -> None:
        attach(stage)
        stage.video.add("camera", "anna", "a", Reopened(0))
        await asyncio.sleep(1.5)
        await stage.start(camera(first=1000, seconds=1.8))
        await asyncio.sleep(3.2)

    stage = on_stage(scenario)
    seen = [number >= 1000 for number in stage.numbers]
    assert seen == sorted(seen[:4]) + [False] * (len(seen) - 4)
    assert seen.count(True) == 2


def test_after_a_stop_the_next_source_that_comes_is_seen() -> None:
    async def scenario(stage: Stage) -> None:
        attach(stage)
        stage.video.add("camera", "anna", "a", Reopened(0))
        await asyncio.sleep(1.5)
        await stage.video.stop()
        await asyncio.sleep(3.0)
        assert len(stage.link.sent) == 2
        stage.video.add("screen", "bob", "b", Reopened(1000))
        await asyncio.sleep(0.5)

    assert on_stage(scenario).numbers[-1] >= 1000


def test_the_view_follows_who_speaks() -> None:
    async def scenario(stage: Stage) -> None:
        attach(stage, policy="active_speaker")
        stage.video.add("camera", "anna", "a", Reopened(0))
        stage.video.add("camera", "bob", "b", Reopened(1000))
        for name in ("bob", "anna"):
            await asyncio.sleep(3.0)
            stage.video.note_speech(name, True)
            await asyncio.sleep(1.0)
            stage.video.note_speech(name, False)
        await asyncio.sleep(1.0)

    stage = on_stage(scenario)
    views = [[source.name for source in event.sources] for event in stage.of(ViewChanged)]
    assert views[:3] == [["anna's camera"], ["bob's camera"], ["anna's camera"]]


@pytest.mark.parametrize(
    ("announce", "notes"),
    [
        (True, ["[The video now shows bob's screen.]", "[The video now shows anna's camera.]"]),
        (lambda change: f"Now: {len(change.sources)}", ["Now: 1", "Now: 1"]),
        (lambda change: "", []),
    ],
)
def test_the_model_is_told_of_a_new_view(announce: Any, notes: list[str]) -> None:
    async def scenario(stage: Stage) -> None:
        attach(stage, announce=announce)
        stage.video.add("camera", "anna", "a", Reopened(0))
        await asyncio.sleep(1.0)
        stage.video.add("screen", "bob", "b", Reopened(1000))
        await asyncio.sleep(1.0)
        stage.video.leave("bob", "b")
        await asyncio.sleep(1.0)

    stage = on_stage(scenario)
    assert stage.link.notes == notes, "not of the first one: there is nothing else to see"
    assert stage.errors == []


@pytest.mark.parametrize("answer", [lambda change: 1 / 0, lambda change: None])
def test_an_announcement_that_fails_is_reported(answer: Any) -> None:
    async def scenario(stage: Stage) -> None:
        attach(stage, announce=answer)
        stage.video.add("camera", "anna", "a", Reopened(0))
        stage.video.add("screen", "bob", "b", Reopened(1000))
        await asyncio.sleep(1.5)

    stage = on_stage(scenario)
    assert [str(error).split(" (")[0] for error in stage.errors] == ["The function announce failed"]
    assert stage.numbers[-1] >= 1000, "and the view has changed"


def test_a_policy_that_fails_is_reported_once() -> None:
    async def scenario(stage: Stage) -> None:
        attach(stage, policy=lambda sources: [VideoSource("no", "camera")])
        stage.video.add("camera", "anna", "a", Reopened(0))
        stage.video.add("camera", "bob", "b", Reopened(1000))
        await asyncio.sleep(1.5)

    stage = on_stage(scenario)
    (error,) = stage.errors
    assert "screens first" in str(error)
    assert stage.numbers


def test_the_size_may_change() -> None:
    async def sizes() -> AsyncIterator[Any]:
        for size in ((1280, 720), (320, 240), (720, 1280), (0, 0), (641, 481)):
            width, height = size
            data = np.full(max(1, width * height * 3), 100, np.uint8)
            yield SimpleNamespace(data=data, width=width, height=height)
            await asyncio.sleep(1.0)

    async def scenario(stage: Stage) -> None:
        await stage.start(sizes(), fps=1)
        await asyncio.sleep(5.0)

    stage = on_stage(scenario)
    decoded = []
    for _, jpeg in stage.link.sent:
        decoder = av.CodecContext.create("mjpeg", "r")
        frame = decoder.decode(av.Packet(jpeg))[0]  # type: ignore[attr-defined]
        decoded.append((frame.width, frame.height))
    assert decoded == [(768, 432), (320, 240), (432, 768), (640, 480)]
    assert stage.video.stats().frames_rejected == 1
    assert stage.of(VideoStarted)[0].width == 1280


# -- what goes wrong -----------------------------------------------------------------------------


def test_some_garbage_is_counted_and_passed_over() -> None:
    async def source() -> AsyncIterator[Any]:
        for index in range(6):
            yield None if index % 2 else Camera()._draw(index)
            await asyncio.sleep(1)

    async def scenario(stage: Stage) -> None:
        await stage.start(source())
        await asyncio.sleep(7)

    stage = on_stage(scenario)
    stats = stage.video.stats()
    assert (stats.images_sent, stats.frames_rejected) == (3, 3)
    assert stage.errors == []


async def garbage() -> AsyncIterator[Any]:
    while True:
        yield b"not a frame"
        await asyncio.sleep(0.5)


def test_nothing_but_garbage_is_given_up() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.start(garbage())
        await asyncio.sleep(MAX_BAD_FRAMES + 2)
        assert len(asyncio.all_tasks()) == 1

    stage = on_stage(scenario)
    (error,) = stage.errors
    assert isinstance(error, VideoError)
    assert f"{MAX_BAD_FRAMES} video frames in a row" in str(error)
    assert stage.story()[-2:] == ["stopped: track, failed", "view: "]


def test_a_call_goes_on_without_a_camera_that_sends_garbage() -> None:
    class Garbage:
        def __aiter__(self) -> AsyncIterator[Any]:
            return garbage()

    async def scenario(stage: Stage) -> None:
        attach(stage)
        stage.video.add("camera", "anna", "a", Garbage())
        stage.video.add("camera", "bob", "b", Reopened(1000))
        await asyncio.sleep(MAX_BAD_FRAMES + 5)
        assert stage.numbers[-1] >= 1000
        sent = len(stage.link.sent)
        await asyncio.sleep(TRY_AGAIN_S + MAX_BAD_FRAMES + 5)
        assert len(stage.link.sent) > sent, "it was tried again, and given up again"

    assert len(on_stage(scenario).errors) == 2


def test_a_track_that_raises() -> None:
    async def broken() -> AsyncIterator[Any]:
        yield Camera()._draw(7)
        await asyncio.sleep(1.5)
        raise OSError("camera unplugged")

    async def scenario(stage: Stage) -> None:
        await stage.start(broken())
        await asyncio.sleep(2)

    stage = on_stage(scenario)
    (error,) = stage.errors
    assert "camera unplugged" in str(error)
    assert isinstance(error.__cause__, OSError)
    assert stage.numbers == [7]
    assert stage.story()[-2:] == ["stopped: track, failed", "view: "]


def test_a_track_that_never_yields_is_told_and_the_next_is_seen() -> None:
    class Nothing:
        async def video_frames(self) -> AsyncIterator[Any]:
            await asyncio.Event().wait()
            yield

    async def scenario(stage: Stage) -> None:
        attach(stage)
        stage.video.add("screen", "anna", "a", Nothing())
        stage.video.add("camera", "bob", "b", Reopened(1000))
        await asyncio.sleep(NO_FRAMES_S + 3)
        assert stage.numbers

    stage = on_stage(scenario)
    (error,) = stage.errors
    assert "codec" in str(error)
    assert stage.story()[:4] == [
        "view: anna's screen",
        "stopped: anna's screen, no_frames",
        "view: bob's camera",
        "started: bob's camera",
    ]


def test_a_source_that_does_not_end_when_it_is_stopped(caplog: pytest.LogCaptureFixture) -> None:
    release = asyncio.Event()

    async def stubborn() -> AsyncIterator[Any]:
        yield Camera()._draw(0)
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async def scenario(stage: Stage) -> None:
        await stage.start(stubborn())
        await asyncio.sleep(1.0)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await stage.video.stop()
        assert loop.time() - began <= video_input.STOP_S + 0.01
        assert "does not end" in caplog.text
        release.set()
        await asyncio.sleep(0.1)

    on_stage(scenario)


@pytest.mark.parametrize("waited_s", [0.5, 1.5])  # for a live frame; for any
@pytest.mark.parametrize("kind", ["iterator", "remote"])
@pytest.mark.parametrize("ends_by", ["stop", "replacement"])
def test_a_track_that_ends_before_its_first_frame(ends_by: str, kind: str, waited_s: float) -> None:
    async def nothing() -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    track: Any = nothing() if kind == "iterator" else SimpleNamespace(video_frames=nothing)

    async def scenario(stage: Stage) -> None:
        await stage.start(track)
        await asyncio.sleep(waited_s)
        if ends_by == "stop":
            await stage.video.stop()
        else:
            await stage.start(camera())
        await asyncio.sleep(0.5)

    assert on_stage(scenario).errors == []


@pytest.mark.parametrize("end", ["stop", "detach", "aclose"])
def test_nothing_is_left(end: str) -> None:
    async def scenario(stage: Stage) -> None:
        attach(stage, sources=2)
        stage.video.add("camera", "anna", "a", Reopened(0))
        stage.video.add("camera", "bob", "b", Reopened(1000))
        await asyncio.sleep(0.52)
        result = getattr(stage.video, end)()
        if result is not None:
            await result
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1
        assert stage.video.stats().view == ()
        # And what comes late changes nothing.
        stage.video.set_muted("camera", "a", False)
        stage.video.note_speech("anna", True)
        stage.video.leave("anna", "a")

    on_stage(scenario)
