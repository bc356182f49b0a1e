"""Looks at video for the model: owns its tasks, its worker thread and its counters."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from ...errors import GeminiError, VideoError
from .._events import (
    SourceKind,
    VideoSource,
    VideoStarted,
    VideoStopped,
    VideoStopReason,
    ViewChanged,
)
from .video import EndOfVideoError, ImageEncoder, LatestFrame, Thumbnail, check_source
from .video_sources import (
    DEFAULT_TOKENS_PER_IMAGE,
    NO_FRAMES_S,
    DelayBudget,
    Rhythm,
    SourceTable,
    VideoOptions,
    describe_view,
)

logger = logging.getLogger("getstream.plugins.gemini")

MAX_BAD_FRAMES = 10
"""Frames in a row that cannot be used before a source is given up."""

LOOK_AGAIN_S = 0.02
"""Seconds until an image that waits for audio looks again: one frame of audio."""

LOOK_SELDOM_AFTER_S, LOOK_SELDOM_S = 5.0, 0.25
"""Seconds of waiting after which it looks less often, and how often then. Audio is not behind for
that long; a session that rests in an empty call, or has no connection, is for minutes."""

EARLY_S = 0.001
"""Seconds by which an image may be early: timers have a resolution."""

LATE_FOR_S = 0.5
"""Seconds after a late frame of playback for which images wait."""

STOP_S = 2.0
"""Seconds that a source has to end when it is stopped."""

WORKER_NICENESS = 10
"""Priority of the worker below that of the process (Linux): of two threads that are ready for the
same core, the one with the audio runs."""

ENVELOPE_BYTES = 96
"""JSON around the base64 of an image, and the websocket's header."""


class VideoLink(Protocol):
    """Carries images to the model: the part of the session that video needs."""

    def may_send_video(self) -> bool:
        """Tell whether there is a connection, and no audio waits for it."""

    def late_frames(self) -> int:
        """Return how many frames of playback were late, since the start."""

    async def send_video(self, jpeg: bytes) -> float | None:
        """Send a JPEG; return the seconds for which it kept the path busy, None if it was lost."""

    async def send_note(self, text: str) -> None:
        """Tell the model something about what it sees."""


@dataclass(frozen=True)
class VideoStats:
    """Counters of the video.

    Attributes:
        frames_read: frames that were read from the sources.
        frames_rejected: frames that could not be used.
        images_sent: images that went to Gemini.
        images_unchanged: images that were not sent because nothing had changed.
        images_postponed: images that waited because audio was late, or the path too slow for them
            while somebody spoke.
        bytes_sent: of the JPEGs, before base64.
        tokens: that Gemini counts for the images, estimated from `media_resolution`.
        sources: sources that could be looked at, now: those of the call and the track.
        view: names of the sources that are looked at, now.
    """

    frames_read: int = 0
    frames_rejected: int = 0
    images_sent: int = 0
    images_unchanged: int = 0
    images_postponed: int = 0
    bytes_sent: int = 0
    tokens: int = 0
    sources: int = 0
    view: tuple[str, ...] = ()


class _Shown:
    """Source that is being looked at."""

    def __init__(self, source: VideoSource, track: Any, options: VideoOptions) -> None:
        self.source = source
        self.track = track
        self.options = options
        self.reader = LatestFrame(track)
        self.rhythm = Rhythm(options)
        self.encoder = ImageEncoder(options.max_side, options.quality)
        self.wake = asyncio.Event()
        self.thumbnail: Thumbnail | None = None  # of the image that was sent last
        self.started = False
        self.bad_frames = 0  # in a row
        self.tasks: list[asyncio.Task[None]] = []


class VideoInput:
    """Looks at one track, or at what a policy chooses of a call.

    A track of `start_track` comes before the sources of the call; when it ends, they are looked at
    again.

    Args:
        spawn: makes a task that the session looks after.
        link: the way to the model.
        emit: emits an event, of its class and its fields.
        report: reports an error of a source.
        tokens_per_image: what the service counts for one image.
    """

    def __init__(
        self,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        link: VideoLink,
        emit: Callable[..., object],
        report: Callable[[GeminiError], object],
        tokens_per_image: int = DEFAULT_TOKENS_PER_IMAGE,
    ) -> None:
        self._spawn = spawn
        self._link = link
        self._emit = emit
        self._report = report
        self._tokens_per_image = tokens_per_image
        self._worker: ThreadPoolExecutor | None = None
        self._track: tuple[VideoSource, Any, VideoOptions] | None = None  # of start_track
        self._table: SourceTable | None = None
        self._paused = False  # by `stop`, until another source comes
        self._shown: list[_Shown] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._view: tuple[VideoSource, ...] = ()
        self._speaking: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._sending = asyncio.Lock()
        self._budget = DelayBudget()
        self._late_frames = 0
        self._late_at = float("-inf")
        self._policy_error_told = False
        self._is_first_view = True  # of the call
        self._closed = False
        self._frames_read = 0  # of sources that are not looked at any more
        self._frames_rejected = self._sent = self._unchanged = self._postponed = self._bytes = 0

    # -- one track -----------------------------------------------------------------------------

    async def start_track(
        self, track: Any, options: VideoOptions, check_open: Callable[[], None]
    ) -> None:
        """Look at a track until it ends; one that is looked at already is replaced.

        Args:
            track: a `RemoteTrack`, an aiortc `MediaStreamTrack` or an async iterator of frames.
            options: of which only the rates and what an image is like count.
            check_open: raises if the session is over.

        Raises:
            ConfigError: frames cannot be read from it.
        """
        check_source(track)
        while self._track is not None:  # another call may start one while this one waits
            await self._wait_ended(self._end_track("replaced"))
        check_open()
        self._paused = False
        source = VideoSource("track", "track", added_at=self._now())
        self._track = (source, track, options)
        self._refresh("replaced")

    async def stop(self) -> None:
        """Look at nothing, until a track is started or another source of the call comes.

        Called by the source itself, it does not wait for it.
        """
        self._paused = True
        tasks = [task for shown in self._shown for task in shown.tasks]
        self._track = None
        self._refresh("stopped")
        await self._wait_ended(tasks)

    def _end_track(self, reason: VideoStopReason) -> list[asyncio.Task[None]]:
        """End the track of `start_track`; returns its tasks."""
        assert self._track is not None
        _, track, _ = self._track
        self._track = None
        tasks: list[asyncio.Task[None]] = []
        for shown in [each for each in self._shown if each.track is track]:
            tasks += shown.tasks
            self._end(shown, reason)
        return tasks

    async def _wait_ended(self, tasks: list[asyncio.Task[None]]) -> None:
        if not tasks or asyncio.current_task() in tasks:
            return  # the source itself asks: it cannot wait for its own end
        _, stuck = await asyncio.wait(tasks, timeout=STOP_S)
        for task in stuck:
            logger.error("The video track does not end although it was cancelled: %r", task)

    # -- a call --------------------------------------------------------------------------------

    def attach(self, options: VideoOptions) -> None:
        """Begin to look at a call, whose sources come by `add`."""
        self._table = SourceTable(options)
        self._policy_error_told = False
        self._paused = False
        self._is_first_view = True

    def detach(self) -> None:
        """Forget the call."""
        self._table = None
        self._speaking.clear()
        self._refresh("left")

    def add(self, kind: SourceKind, user_id: str, session_id: str, track: Any) -> None:
        """Take a track that a participant has published."""
        if self._table is None or self._closed:
            return
        if self._table.add(kind, user_id, session_id, track, self._now()) is not None:
            self._paused = False
            self._refresh("replaced")

    def set_muted(self, kind: SourceKind, session_id: str, muted: bool) -> None:
        """Note that a participant's track sends nothing for a while, or sends again."""
        if self._table is not None:
            self._table.set_muted(kind, session_id, muted)
            self._refresh("muted" if muted else "replaced")

    def leave(self, user_id: str, session_id: str) -> None:
        """Forget a participant."""
        self._speaking.discard(user_id)
        if self._table is not None:
            self._table.leave(session_id)
            self._refresh("left")

    def note_speech(self, user_id: str, speaking: bool) -> None:
        """Note that a participant begins or ends to speak."""
        was_quiet = not self._speaking
        (self._speaking.add if speaking else self._speaking.discard)(user_id)
        if self._table is not None:
            self._table.note_speech(user_id, speaking, self._now())
            self._refresh("replaced")
        for shown in self._shown:
            if was_quiet and speaking:
                # A model that only takes in what is sent during speech has to see it now.
                shown.rhythm.force()
            shown.wake.set()

    def connection_lost(self) -> None:
        """Send all of the view again: it is not known what has arrived."""
        for shown in self._shown:
            shown.thumbnail = None
            shown.rhythm.force()
            shown.wake.set()

    def follow(self, on: Callable[[str, Callable[..., object]], object]) -> None:
        """Listen to who speaks and to the connection, by the `on` of an emitter."""
        on("speech_started", lambda event: self.note_speech(event.user_id, True))
        on("speech_stopped", lambda event: self.note_speech(event.user_id, False))
        on("resumed", self.connection_lost)

    # -- life ----------------------------------------------------------------------------------

    def stats(self) -> VideoStats:
        """Return a snapshot of the counters."""
        return VideoStats(
            frames_read=self._frames_read + sum(each.reader.read for each in self._shown),
            frames_rejected=self._frames_rejected,
            images_sent=self._sent,
            images_unchanged=self._unchanged,
            images_postponed=self._postponed,
            bytes_sent=self._bytes,
            tokens=self._sent * self._tokens_per_image,
            sources=(self._track is not None) + (len(self._table) if self._table else 0),
            view=tuple(source.name for source in self._view),
        )

    @property
    def is_busy(self) -> bool:
        """Return whether a source is being read, or has not ended yet."""
        return bool(self._shown or self._ending)

    def cancel(self) -> None:
        """Begin to end, without waiting: nothing is sent any more."""
        self._closed = True
        self._track = self._table = None
        self._view = ()
        if self._timer is not None:
            self._timer.cancel()
        for shown in list(self._shown):
            self._end(shown, "stopped")

    async def aclose(self) -> None:
        """End every task; what does not end in `STOP_S` is logged."""
        self.cancel()
        await self._wait_ended(list(self._ending))

    def discard(self) -> None:
        """Let the worker go."""
        if self._worker is not None:
            self._worker.shutdown(wait=False)

    # -- inside --------------------------------------------------------------------------------

    def _refresh(self, reason: VideoStopReason) -> None:
        """Look at what is worth it now; `reason` is why a source may be so no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed:
            return
        wanted = self._wanted()
        by_track = {id(track): source for source, track, _ in wanted}
        for shown in list(self._shown):
            if id(shown.track) not in by_track:
                self._end(shown, self._reason(shown, reason))
        shown_now = {id(shown.track) for shown in self._shown}
        for source, track, options in wanted:
            if id(track) not in shown_now:
                self._start(source, track, options)
        view = tuple(source for source, _, _ in wanted)
        previous, self._view = self._view, view
        if [source.name for source in view] != [source.name for source in previous]:
            self._tell_view(ViewChanged(view, previous))

    def _wanted(self) -> list[tuple[VideoSource, Any, VideoOptions]]:
        if self._track is not None:
            return [self._track]
        table = self._table
        if table is None or self._paused:
            return []
        sources, again = table.look(self._now())
        if again is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(again, self._refresh, "replaced")
        if table.policy_error is not None and not self._policy_error_told:
            self._policy_error_told = True
            failure = VideoError(
                f"The video policy failed ({table.policy_error!r}); the model sees screens first, "
                "then cameras. It has to return some of the sources it is given"
            )
            failure.__cause__ = table.policy_error
            self._report(failure)
        return [(source, table.track_of(source), table.options) for source in sources]

    def _reason(self, shown: _Shown, reason: VideoStopReason) -> VideoStopReason:
        """Return why a source is looked at no more, if something else has changed the view."""
        if reason == "muted" and not (self._table and self._table.is_muted(shown.source)):
            return "replaced"
        if reason == "left" and self._table and self._table.track_of(shown.source) is not None:
            return "replaced"
        return reason

    def _start(self, source: VideoSource, track: Any, options: VideoOptions) -> None:
        if self._worker is None:
            # A thread of its own: aiortc encodes the outgoing audio in the default executor.
            self._worker = ThreadPoolExecutor(
                1, thread_name_prefix="gemini-video", initializer=_lower_priority
            )
        shown = _Shown(source, track, options)
        self._shown.append(shown)
        reading = self._spawn(shown.reader.run())
        reading.add_done_callback(lambda _: shown.wake.set())
        shown.tasks = [reading, self._spawn(self._run(shown))]

    def _end(self, shown: _Shown, reason: VideoStopReason) -> None:
        self._shown.remove(shown)
        self._frames_read += shown.reader.read
        shown.reader.stopping = True
        for task in shown.tasks:
            if not task.done():
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
                task.cancel()
        if shown.started or reason in ("failed", "no_frames"):
            self._emit(VideoStopped, source=shown.source, reason=reason)

    async def _run(self, shown: _Shown) -> None:
        """Look at a source until it ends."""
        reason: VideoStopReason = "failed"
        try:
            await self._look(shown)
        except EndOfVideoError:
            reason = "ended"
            logger.info("%s: the video has ended", shown.source.name)
        except VideoError as error:
            self._report(error)
        except _NoFramesError:
            reason = "no_frames"
            self._report(
                VideoError(
                    f"{shown.source.name}: no video frame has come for {NO_FRAMES_S:g} s. Is the "
                    "track muted, or its codec one that this release of getstream cannot decode?"
                )
            )
        except GeminiError:
            pass  # the session's failure, which the supervisor reports
        except Exception as error:
            failure = VideoError(
                f"{shown.source.name}: the video track failed ({type(error).__name__}: {error})"
            )
            failure.__cause__ = error
            self._report(failure)
        if shown in self._shown:
            self._finish(shown, reason)

    def _finish(self, shown: _Shown, reason: VideoStopReason) -> None:
        """Take a source out that has ended by itself."""
        table, source = self._table, shown.source
        shown.tasks = [task for task in shown.tasks if task is not asyncio.current_task()]
        if source.kind == "track":
            self._track = None
        elif table is not None and reason == "ended":
            table.remove(source, shown.track)
        elif table is not None:
            table.block(source, self._now())
        self._end(shown, reason)
        self._refresh("replaced")

    async def _look(self, shown: _Shown) -> None:
        """Send images of a source until it ends.

        Raises:
            EndOfVideoError: the source has ended.
            VideoError: `MAX_BAD_FRAMES` frames in a row could not be used.
            Exception: what the source has raised.
        """
        loop = asyncio.get_running_loop()
        while True:
            await self._wait_until_due(shown)
            if shown.started or shown.reader.stopping:
                shown.reader.check()
            waited_s = await self._wait_for_audio()
            frame = await self._next_frame(shown)
            async with self._sending:
                room = self._room(waited_s)
                if room is None:
                    continue  # audio has come first; then there is a newer frame
                shown.rhythm.looked(loop.time(), bool(self._speaking))
                await self._send(shown, frame, room)

    async def _wait_until_due(self, shown: _Shown) -> None:
        loop = asyncio.get_running_loop()
        while not shown.reader.ended.is_set():
            wait_s = shown.rhythm.due_at(bool(self._speaking)) - loop.time()
            if wait_s <= EARLY_S:
                return
            shown.wake.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(shown.wake.wait(), wait_s)

    async def _next_frame(self, shown: _Shown) -> Any:
        if shown.started:
            return await shown.reader.next()
        try:
            return await shown.reader.next(NO_FRAMES_S)
        except asyncio.TimeoutError:
            raise _NoFramesError from None

    async def _wait_for_audio(self) -> float:
        """Wait until an image does not delay audio; return for how many seconds."""
        if self._room(0.0) is not None:
            return 0.0
        self._postponed += 1
        began, waited_s = self._now(), 0.0
        while True:
            seldom = waited_s >= LOOK_SELDOM_AFTER_S
            await asyncio.sleep(LOOK_SELDOM_S if seldom else LOOK_AGAIN_S)
            waited_s = self._now() - began
            if self._room(waited_s) is not None:
                return waited_s

    def _room(self, waited_s: float) -> int | None:
        """Return the bytes that a JPEG may have now; None while audio comes first."""
        if not self._link.may_send_video() or self._is_audio_late(self._now()):
            return None
        room = self._budget.max_bytes(speaking=bool(self._speaking), waited_s=waited_s)
        return None if room is None else (room - ENVELOPE_BYTES) * 3 // 4  # base64

    def _is_audio_late(self, now: float) -> bool:
        late_frames = self._link.late_frames()
        if late_frames != self._late_frames:
            self._late_frames, self._late_at = late_frames, now
        return now < self._late_at + LATE_FOR_S

    async def _send(self, shown: _Shown, frame: Any, room: int) -> None:
        loop = asyncio.get_running_loop()
        options = shown.options
        previous = shown.thumbnail if shown.rhythm.may_skip(loop.time()) else None
        max_bytes = room if options.max_bytes is None else min(room, options.max_bytes)
        try:
            image = await loop.run_in_executor(
                self._worker, shown.encoder.encode, frame, max_bytes, previous
            )
        except VideoError as error:
            self._note_bad_frame(shown, error)
            return
        shown.bad_frames = 0
        if image is None:
            self._unchanged += 1
            return
        if not self._link.may_send_video():
            self._postponed += 1
            return  # a newer one is sent in its place, at the next time
        size = len(image.jpeg) * 4 // 3 + ENVELOPE_BYTES
        delay_s = await self._link.send_video(image.jpeg)
        if delay_s is None:
            return
        self._budget.sent(size, delay_s)
        self._sent += 1
        self._bytes += len(image.jpeg)
        shown.thumbnail = image.thumbnail
        shown.rhythm.sent(loop.time())
        if not shown.started:
            shown.started = True
            width, height = image.source_size
            self._emit(VideoStarted, source=shown.source, width=width, height=height)

    def _note_bad_frame(self, shown: _Shown, error: VideoError) -> None:
        self._frames_rejected += 1
        shown.bad_frames += 1
        if shown.bad_frames == 1:
            logger.warning("%s: a video frame cannot be sent: %s", shown.source.name, error)
        if shown.bad_frames >= MAX_BAD_FRAMES:
            raise VideoError(
                f"{shown.source.name}: {shown.bad_frames} video frames in a row could not be used, "
                f"the last one because: {error}. It is not looked at any more."
            ) from error

    def _tell_view(self, change: ViewChanged) -> None:
        self._emit(ViewChanged, sources=change.sources, previous=change.previous)
        table = self._table
        if table is None or self._track is not None:
            return
        is_first, self._is_first_view = self._is_first_view, False
        if is_first:
            return
        announce = table.options.announce
        if not announce:
            return
        try:
            text = announce(change) if callable(announce) else describe_view(change)
            if not isinstance(text, str):
                raise TypeError(f"it returned {text!r:.100}")
        except Exception as error:
            failure = VideoError(f"The function announce failed ({type(error).__name__}: {error})")
            failure.__cause__ = error
            self._report(failure)
            return
        if text.strip():
            self._spawn(self._link.send_note(text))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class _NoFramesError(Exception):
    """The source has not yielded a frame in `NO_FRAMES_S`."""


def _lower_priority() -> None:
    """Let every other thread of the process go first, where the system can."""
    if sys.platform == "linux":  # where the "process" of a native id is a thread
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), WORKER_NICENESS)
