"""`Person`: somebody in a call who speaks recorded speech and records what he hears."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, TypeVar

import numpy as np
from getstream import AsyncStream
from getstream.video import rtc
from getstream.video.rtc.pb.stream.video.sfu.models import models_pb2 as models
from getstream.video.rtc.tracks import SubscriptionConfig, TrackSubscriptionConfig
from numpy.typing import NDArray

from ..._exit import outlast_native_threads
from ...errors import CallError
from .._stream.notifier import ChangeNotifier
from ..signals import read_wav
from .browser import BrowserPublisher, BrowserTrack
from .camera import Camera, read_frame_number
from .microphone import Microphone, PacedMicrophone, QueuedMicrophone
from .receiver import SAMPLE_RATE, Speech, SpeechReceiver, Timeline

__all__ = ["Person", "SeenFrame", "Utterance"]

_T = TypeVar("_T")
_HANGOVER = 0.3
"""Seconds of silence that end a speech: longer than the pauses between the words of a sentence."""
_LOST_STREAM = 0.5
"""Seconds without any packet, on top of the silence asked for, that count as silence."""
_LOOK_AGAIN = 0.25
_TIMEOUT = 30.0
_SHARED = models.TRACK_TYPE_SCREEN_SHARE_AUDIO
_TrackKey = tuple[str, int]
"""User id of a speaker, and the identity of the participant object of one of its tracks."""
_LEGACY = not hasattr(rtc, "RemoteTrack")
"""True with getstream 6 and older (aiortc), False with 7 (native core)."""


@dataclass(frozen=True)
class Utterance:
    """Something that the person said, in seconds on the person's clock.

    Attributes:
        start: When its first sample left.
        end: When its last sample left.
    """

    start: float
    end: float


@dataclass(frozen=True)
class SeenFrame:
    """A video frame that the person saw.

    Attributes:
        time: When it came, in seconds on the person's clock.
        user_id: Whose it is.
        width: In pixels.
        height: In pixels.
        number: What `read_frame_number` reads from it; meaningless unless a `Camera` drew it.
    """

    time: float
    user_id: str
    width: int
    height: int
    number: int


class Person:
    """Somebody in a call, on the real Stream SDK (7, or 6.1)::

        async with Person("my-call") as person:
            await person.hear_speech()
            await person.hear_silence(600)
            await person.say("question.wav")
            answer = await person.hear_speech()

    All times are seconds on the person's clock, which is `time.monotonic()` minus `started_at`,
    the moment of the join. `said` and `heard` begin at its zero and have 48000 samples for each of
    its seconds, so they lie side by side as they are: `recording()`. A sample is heard when it
    arrives (there is no playout delay), and said when the SDK has it; getstream 7 sends it up to
    20 ms later.

    The client is `AsyncStream()` of the environment: STREAM_API_KEY, STREAM_API_SECRET and, if
    set, STREAM_BASE_URL.

    `sends` chooses who makes the packets. "as_sdk", the default, is the SDK: a packet each 20 ms,
    also in silence. "as_browser" is what a web client sends to the local backend: Opus with DTX (in
    silence a refresh each 0.4 s), and with `share` the sound of a tab beside the microphone. Both
    can `mute`, but for "as_sdk" with getstream 6. A browser's packets end with the session: they
    do not follow the SDK into a new one.
    """

    def __init__(
        self,
        call_id: str,
        user_id: str = "person",
        *,
        call_type: str = "default",
        client: AsyncStream | None = None,
        receive_video: bool = False,
        sends: Literal["as_sdk", "as_browser"] = "as_sdk",
        dtx: bool = True,
        threshold_dbfs: float = -50.0,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Create a person, who joins with `join` or `async with`.

        Args:
            call_id: The call; created if there is none.
            user_id: Who the person is.
            call_type: The type of the call.
            client: An own client, which stays open when the person leaves.
            receive_video: Subscribe to the video of others too.
            sends: Who makes the packets of the microphone.
            dtx: Discontinuous transmission of a microphone that sends as a browser does.
            threshold_dbfs: Frames of 20 ms with a level above this are speech.
            on_event: Called with each entry of `events` as it happens.

        Raises:
            ValueError: There is no such value of `sends`.
        """
        if sends not in ("as_sdk", "as_browser"):
            raise ValueError(f"sends is {sends!r}; it is as_sdk or as_browser")
        self.call_id = call_id
        self.user_id = user_id
        self.started_at = time.monotonic()
        self.events: list[dict[str, Any]] = []
        self.seen: list[SeenFrame] = []
        self._call_type = call_type
        self._client = client
        self._own_client = client is None
        self._receive_video = receive_video
        self._threshold = threshold_dbfs
        self._on_event = on_event
        self._changes = ChangeNotifier()
        self._connection: Any = None
        self._sends = sends
        self._dtx = dtx
        self._microphone: Microphone | None = None
        self._publisher: BrowserPublisher | None = None
        self._shared: BrowserTrack | None = None
        self._muted = False
        self._cut = asyncio.Event()
        self._camera: Camera | None = None
        self._screen: Camera | None = None
        self._showing: asyncio.Task[None] | None = None
        self._speaking = asyncio.Lock()
        self._sharing = asyncio.Lock()
        self._muting = asyncio.Lock()
        self._said: list[tuple[float, NDArray[np.int16]]] = []
        self._timelines: dict[_TrackKey, Timeline] = {}
        self._tracks_heard: dict[int, Any] = {}
        self._receivers: dict[str | None, SpeechReceiver] = {None: self._new_receiver()}
        self._tasks: set[asyncio.Task[None]] = set()
        self._over: str | None = None
        self._left_at: float | None = None

    # -- life ---------------------------------------------------------------

    async def join(self) -> None:
        """Join the call and publish the microphone.

        Raises:
            CallError: The call could not be joined; its cause is the SDK's error.
        """
        if self._connection is not None:
            raise CallError(f"{self.user_id} has joined before; make a new Person to join again")
        outlast_native_threads()
        self.started_at = time.monotonic()
        if self._client is None:
            # base_url=None is what makes the client read STREAM_BASE_URL.
            self._client = AsyncStream(base_url=None)
        try:
            call = self._client.video.call(self._call_type, self.call_id)
            await call.get_or_create(data={"created_by_id": self.user_id})
            connection = await rtc.join(
                call, self.user_id, subscription_config=self._subscriptions()
            )
            self._listen(connection)
            await connection.__aenter__()
            self._connection = connection
            self._emit("joined", call_id=self.call_id, started_at=self.started_at)
            if _LEGACY:
                # Otherwise the tracks that were there before would never be subscribed.
                await connection.republish_tracks()  # type: ignore[attr-defined]  # getstream 6
            self._microphone = await self._publish_microphone(connection)
            self._tasks.add(asyncio.create_task(self._await_end(connection)))
            await self._microphone.settle()
            self._emit("ready")
        except BaseException as error:
            await self.leave()
            if isinstance(error, Exception) and not isinstance(error, CallError):
                raise CallError(
                    f"{self.user_id} could not join call {self._call_type}:{self.call_id}: "
                    f"{type(error).__name__}: {error}"
                ) from error
            raise

    async def leave(self) -> None:
        """Leave the call. What was said and heard stays. May be called twice."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        with contextlib.suppress(Exception):  # the call may be over
            await self.stop_sharing_screen()
        connection, self._connection = self._connection, None
        publisher, self._publisher = self._publisher, None
        try:
            try:
                if publisher is not None:
                    await publisher.close()
            finally:
                if connection is not None:
                    await connection.leave()
                    self._finish(f"{self.user_id} has left the call")
                    self._emit("left")
                    self._left_at = time.monotonic()
        finally:
            if self._microphone is not None:
                self._microphone.track.stop()
            if self._camera is not None:
                self._camera.stop()
            if self._own_client and self._client is not None:
                client, self._client = self._client, None
                await client.aclose()

    async def wait_ended(self) -> None:
        """Wait until the call ends, or the person leaves it."""
        while self._over is None:
            with contextlib.suppress(TimeoutError):
                await self._changes.until(lambda: self._over, timeout=_TIMEOUT, what="the end")

    async def __aenter__(self) -> Person:
        await self.join()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.leave()

    @property
    def now(self) -> float:
        """Seconds on the person's clock."""
        return time.monotonic() - self.started_at

    # -- speaking -----------------------------------------------------------

    async def say(
        self, speech: NDArray[np.int16] | str | os.PathLike[str], rate: int = SAMPLE_RATE
    ) -> Utterance:
        """Say something, and return when its last sample has left.

        A task that is cancelled in here falls silent at once, and so does a mute: then it returns
        with what was said until then. Two at a time are said one after the other.

        Args:
            speech: int16, shape (n,) or (n, channels), or the path of a WAV file.
            rate: Sample rate of the array; that of a file is read from it.

        Raises:
            CallError: The person is not in the call, or muted.
            AudioError: The file or the array is no 16-bit PCM.
        """
        samples = to_microphone_rate(speech, rate)
        async with self._speaking:
            microphone = self._microphone
            if self._connection is None or microphone is None:
                raise CallError(f"{self.user_id} is not in the call and cannot speak")
            if self._muted:
                raise CallError(f"{self.user_id} is muted and cannot speak")
            self._cut.clear()
            start = await microphone.play(samples)
            self._said.append((start, samples))
            self._emit("say_started", at=start - self.started_at)
            end = start + len(samples) / SAMPLE_RATE
            try:
                # Nobody tells when the last frame has left the SDK; its pacing is real time.
                left = end + microphone.latency - time.monotonic()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._cut.wait(), max(0.0, left))
                    end = self._cut_short(start, samples)
            except asyncio.CancelledError:
                await microphone.flush()
                end = self._cut_short(start, samples)
                raise
            finally:
                self._emit("say_stopped", at=end - self.started_at)
        return Utterance(start - self.started_at, end - self.started_at)

    async def mute(self) -> None:
        """Mute the microphone: no packet is sent, and the others see the track taken back.

        What is being said is cut off. Does nothing if it is muted.

        Raises:
            CallError: The person is not in the call, or sends "as_sdk" with getstream 6.
        """
        await self._set_muted(True)

    async def unmute(self) -> None:
        """Unmute the microphone; its RTP timestamps go on by the clock, as those of a browser.

        Raises:
            CallError: The person is not in the call.
        """
        await self._set_muted(False)

    async def share(
        self, sound: NDArray[np.int16] | str | os.PathLike[str], rate: int = SAMPLE_RATE
    ) -> Utterance:
        """Play the sound of a shared tab, and return when its last sample has left.

        The first call publishes the audio of a screen share, a track of its own beside the
        microphone, which sends silence until `stop_sharing`. It is not in `said`. Needs
        `sends="as_browser"`: no version of the SDK publishes such a track.

        Args:
            sound: int16, shape (n,) or (n, channels), or the path of a WAV file.
            rate: Sample rate of the array; that of a file is read from it.

        Raises:
            CallError: The person is not in the call, or sends "as_sdk".
            AudioError: The file or the array is no 16-bit PCM.
        """
        samples = to_microphone_rate(sound, rate)
        async with self._sharing:
            if self._publisher is None:
                raise CallError(
                    f'{self.user_id} cannot share: that takes Person(..., sends="as_browser") '
                    "in a call"
                )
            if self._shared is None:
                self._shared = BrowserTrack(dtx=False)
                await self._publisher.publish(_SHARED, self._shared)
                await self._shared.settle()
            else:
                await self._shared.set_muted(False)
            start = await self._shared.play(samples)
            end = start + len(samples) / SAMPLE_RATE
            self._emit("share_started", at=start - self.started_at)
            try:
                await asyncio.sleep(end - time.monotonic())
            except asyncio.CancelledError:
                await self._shared.flush()
                raise
            finally:
                self._emit("share_stopped", at=min(end, time.monotonic()) - self.started_at)
        return Utterance(start - self.started_at, end - self.started_at)

    async def stop_sharing(self) -> None:
        """Take the track of `share` back: no packet is sent. Does nothing if there is none."""
        async with self._sharing:
            if self._connection is not None and self._shared is not None:
                await self._shared.set_muted(True)

    async def publish_video(
        self, fps: float = 15.0, size: tuple[int, int] = (320, 240), first: int = 0
    ) -> None:
        """Publish a `Camera`: VP9 with getstream 7, H264 with 6.

        Raises:
            CallError: The person is not in the call, or sends "as_browser".
            ValueError: `Camera` refuses the size or the rate.
        """
        if self._connection is None:
            raise CallError(f"{self.user_id} is not in the call and cannot publish video")
        if self._publisher is not None:
            raise CallError('a person with sends="as_browser" has no camera')
        self._camera = Camera(fps, size, first)
        await self._connection.add_tracks(video=self._camera)
        self._emit("video_published", fps=fps, width=size[0], height=size[1])

    def stop_video(self) -> None:
        """End the camera's track, which takes it out of the call. Does nothing if there is none."""
        if self._camera is not None:
            self._camera.stop()

    async def set_video_muted(self, muted: bool) -> None:
        """Mute the camera, or unmute it: the others see its track taken back, or published again.

        Raises:
            CallError: The person publishes no video, or uses getstream 6.
        """
        if self._connection is None or self._camera is None:
            raise CallError(f"{self.user_id} publishes no video that could be muted")
        self._require_native("mute a camera")
        call = self._connection._rust_call
        await (call.mute_track if muted else call.unmute_track)(rtc.TrackType.VIDEO)

    async def share_screen(
        self, fps: float = 5.0, size: tuple[int, int] = (1280, 720), first: int = 0
    ) -> None:
        """Publish a shared screen, VP8, which shows what a `Camera` draws.

        Raises:
            CallError: The person is not in the call, shares a screen, or uses getstream 6.
            ValueError: `Camera` refuses the size or the rate.
        """
        if self._connection is None:
            raise CallError(f"{self.user_id} is not in the call and cannot share a screen")
        if self._screen is not None:
            raise CallError(f"{self.user_id} shares a screen already")
        self._require_native("share a screen")
        self._screen = screen = Camera(fps, size, first)
        await self._start_screen(screen)
        self._emit("screen_shared", fps=fps, width=size[0], height=size[1])

    async def stop_sharing_screen(self) -> None:
        """Take the shared screen out of the call. Does nothing if there is none."""
        screen, self._screen = self._screen, None
        task, self._showing = self._showing, None
        if screen is None or task is None:
            return
        screen.stop()
        await asyncio.wait([task])
        self._emit("screen_stopped")

    async def _start_screen(self, screen: Camera) -> None:
        import getstream_rtc  # type: ignore[import-not-found, unused-ignore]  # not with getstream 6
        from getstream.video.rtc.video_forwarder import VideoForwarder

        call, track = self._connection._rust_call, getstream_rtc.LocalVideoTrack.vp8()
        await call.publish_screen_share(track)

        async def show() -> None:
            try:
                await VideoForwarder(screen, track).run()
            finally:
                await call.stop_publish_screen_share(track)

        self._showing = asyncio.create_task(show())

    def _require_native(self, what: str) -> None:
        if _LEGACY:
            raise CallError(f"{self.user_id} cannot {what}: that takes getstream 7")

    # -- listening ----------------------------------------------------------

    async def hear_speech(self, timeout: float = _TIMEOUT, *, user_id: str | None = None) -> Speech:
        """Wait for the first loud sample from now on; speech that goes on counts.

        Args:
            timeout: Seconds to wait.
            user_id: Whose speech; anybody's if None.

        Raises:
            TimeoutError: There was silence all the time.
            CallError: The call ended meanwhile.
        """
        called = time.monotonic()

        def heard() -> Speech | None:
            speech = self._receiver(user_id).speech
            return speech if speech is not None and speech.end > called else None

        return self._to_clock(
            await self._until(heard, timeout, f"speech of {user_id or 'anybody'}")
        )

    async def hear_for(
        self, ms: float, timeout: float = _TIMEOUT, *, user_id: str | None = None
    ) -> Speech:
        """Wait until somebody has been speaking for `ms`, counted from the onset of that speech.

        Raises:
            TimeoutError: No speech became that long.
            CallError: The call ended meanwhile.
        """
        called = time.monotonic()

        def heard() -> Speech | None:
            speech = self._receiver(user_id).speech
            if speech is None or speech.end <= called:
                return None
            return speech if speech.end - speech.start >= ms / 1000 else None

        what = f"{ms:g} ms of speech of {user_id or 'anybody'}"
        return self._to_clock(await self._until(heard, timeout, what))

    async def hear_silence(
        self, ms: float, timeout: float = _TIMEOUT, *, user_id: str | None = None
    ) -> float:
        """Wait until nobody has spoken for `ms`, counted from now or from the end of the speech.

        Silence is what was received as silence, so a stall of this process does not look like it;
        a stream that stops altogether counts as silent half a second later.

        Returns:
            When the silence began.

        Raises:
            TimeoutError: Somebody went on.
            CallError: The call ended meanwhile.
        """
        called = time.monotonic()

        def silent_since() -> float | None:
            receiver = self._receiver(user_id)
            since = max(called, receiver.speech.end) if receiver.speech is not None else called
            return since if self._was_silent(receiver, since, ms / 1000) else None

        what = f"{ms:g} ms of silence of {user_id or 'everybody'}"
        return await self._until(silent_since, timeout, what) - self.started_at

    async def see_frame(self, timeout: float = _TIMEOUT) -> SeenFrame:
        """Wait for the next video frame. Needs `receive_video=True`.

        Raises:
            TimeoutError: None came.
            CallError: The call ended meanwhile, or video is not received.
        """
        if not self._receive_video:
            raise CallError("this Person does not receive video: Person(..., receive_video=True)")
        count = len(self.seen)
        return await self._until(
            lambda: self.seen[count] if len(self.seen) > count else None, timeout, "a video frame"
        )

    @property
    def speakers(self) -> tuple[str, ...]:
        """User ids of everybody of whom audio came."""
        return tuple(dict.fromkeys(user_id for user_id, _ in self._timelines))

    @property
    def said(self) -> NDArray[np.int16]:
        """Return the speech of the person until now: int16 mono, 48 kHz, shape (n,)."""
        track = self._blank()
        for start, samples in self._said:
            first = round((start - self.started_at) * SAMPLE_RATE)
            count = min(len(samples), len(track) - first)
            track[first : first + count] += samples[:count]
        return _to_int16(track)

    @property
    def heard(self) -> NDArray[np.int16]:
        """Return the sound heard until now, everybody mixed: int16 mono, 48 kHz, shape (n,)."""
        return self.heard_from(None)

    def heard_from(self, user_id: str | None) -> NDArray[np.int16]:
        """As `heard`, of one user; of everybody if None."""
        track = self._blank()
        for (speaker, _), timeline in self._timelines.items():
            if user_id in (None, speaker):
                track += timeline.render(len(track), self.started_at)
        return _to_int16(track)

    def recording(self) -> NDArray[np.int16]:
        """Both: int16, 48 kHz, shape (n, 2); left is what was said, right what was heard."""
        said, heard = self.said, self.heard
        count = min(len(said), len(heard))
        return np.stack([said[:count], heard[:count]], axis=1)

    # -- inside -------------------------------------------------------------

    def _subscriptions(self) -> SubscriptionConfig | None:
        if not self._receive_video:
            return None  # audio comes unasked
        kinds: list[int] = [models.TRACK_TYPE_AUDIO, models.TRACK_TYPE_VIDEO]
        return SubscriptionConfig(default=TrackSubscriptionConfig(track_types=kinds))

    async def _publish_microphone(self, connection: Any) -> Microphone:
        if self._sends == "as_sdk":
            microphone: Microphone = (
                PacedMicrophone() if _LEGACY else QueuedMicrophone(connection._rust_call)
            )
            await connection.add_tracks(audio=microphone.track)
            return microphone
        assert self._client is not None, "join makes one"
        session_id = connection.session_id if _LEGACY else await connection._rust_call.session_id()
        self._publisher = await BrowserPublisher.for_session(
            self._client, self._call_type, self.call_id, self.user_id, session_id
        )
        track = BrowserTrack(dtx=self._dtx)
        await self._publisher.publish(models.TRACK_TYPE_AUDIO, track)
        return track

    async def _set_muted(self, muted: bool) -> None:
        if self._connection is None or self._microphone is None:
            raise CallError(f"{self.user_id} is not in the call and cannot mute or unmute")
        async with self._muting:
            if muted == self._muted:
                return
            if muted:
                self._muted = True
                self._cut.set()
            await self._microphone.set_muted(muted)
            self._muted = muted
            self._emit("muted" if muted else "unmuted")

    def _cut_short(self, start: float, samples: NDArray[np.int16]) -> float:
        """Keep of the last utterance what was said until now; returns the time."""
        end = time.monotonic()
        self._said[-1] = (start, samples[: round((end - start) * SAMPLE_RATE)])
        return end

    def _listen(self, connection: Any) -> None:
        connection.on("audio", self._on_audio)
        if self._receive_video:
            connection.on("track_added", self._on_legacy_track if _LEGACY else self._on_track)

    def _on_audio(self, pcm: Any, user: Any = None) -> None:
        arrival = time.monotonic()
        participant = pcm.participant or user
        speaker = participant.user_id if participant is not None else ""
        samples = np.asarray(pcm.samples, dtype=np.int16).reshape(-1)
        # A frame does not name its track, and two tracks of one session count their timestamps
        # from two origins. Each track has one participant object for all its frames.
        self._tracks_heard.setdefault(id(participant), participant)  # so that no id comes again
        key = (speaker, id(participant))
        timeline = self._timelines.setdefault(key, Timeline())
        heard_at = timeline.add(arrival, pcm.pts, samples)
        for name in (speaker, None):
            receiver = self._receiver(name)
            self._report_speech(name, receiver.settle(heard_at))
            self._report_speech(name, receiver.hear(heard_at, arrival, samples))
        self._changes.notify()

    def _report_speech(self, speaker: str | None, change: str | None) -> None:
        if speaker is None or change is None:
            return
        speech = self._receiver(speaker).speech
        assert speech is not None, "a receiver reports a change of the speech that it holds"
        at = (speech.start if change == "started" else speech.end) - self.started_at
        self._emit(f"speech_{change}", user_id=speaker, at=at, level_dbfs=speech.level_dbfs)

    def _on_track(self, track: Any) -> None:
        if track.track_type == rtc.TrackType.VIDEO:
            self._start(self._look(track.participant.user_id, _native_frames(track)))

    def _on_legacy_track(self, track_id: str, kind: str, user: Any) -> None:
        if kind == "video":
            track = self._connection_of_track(track_id)
            if track is not None:
                self._start(self._look(user.user_id if user else "", _legacy_frames(track)))

    def _connection_of_track(self, track_id: str) -> Any:
        connection = self._connection
        return connection.subscriber_pc.add_track_subscriber(track_id) if connection else None

    async def _look(self, user_id: str, frames: AsyncIterator[NDArray[np.uint8]]) -> None:
        async for luma in frames:
            height, width = luma.shape
            frame = SeenFrame(self.now, user_id, width, height, read_frame_number(luma))
            if not any(seen.user_id == user_id for seen in self.seen):
                self._emit("video_seen", user_id=user_id, width=width, height=height)
            self.seen.append(frame)
            self._changes.notify()

    async def _await_end(self, connection: Any) -> None:
        await connection.wait()
        self._finish("the call has ended")
        self._emit("call_ended")

    def _start(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _finish(self, reason: str) -> None:
        self._over = self._over or reason
        self._changes.notify()

    def _emit(self, event: str, at: float | None = None, **details: Any) -> None:
        entry: dict[str, Any] = {"t": round(self.now if at is None else at, 4), "event": event}
        for name, value in details.items():
            entry[name] = round(value, 4) if isinstance(value, float) else value
        self.events.append(entry)
        if self._on_event is not None:
            self._on_event(entry)

    async def _until(self, condition: Callable[[], _T | None], timeout: float, what: str) -> _T:
        """Wait for a condition; look now and then even if nothing comes: it may depend on time."""
        deadline = time.monotonic() + timeout

        def check() -> _T | None:
            result = condition()
            if not result and self._over is not None:
                raise CallError(f"{self.user_id} waited for {what}, and {self._over}")
            return result

        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                return await self._changes.until(check, timeout=min(left, _LOOK_AGAIN), what=what)
        raise TimeoutError(
            f"{self.user_id} waited {timeout:g} s for {what} in vain; {self._describe()}"
        )

    def _describe(self) -> str:
        if not self._timelines:
            return "not one audio frame came: is anybody in the call, and publishing?"
        speech = self._receivers[None].speech
        if speech is None:
            return f"audio of {', '.join(self.speakers)} came, but nothing above the threshold"
        heard = self._to_clock(speech)
        return f"the last speech was heard from {heard.start:.2f} s to {heard.end:.2f} s"

    def _was_silent(self, receiver: SpeechReceiver, since: float, seconds: float) -> bool:
        """Return whether nothing else than silence came for `seconds` from `since` on."""
        enough = since + seconds
        lost = time.monotonic() >= max(enough, receiver.last_arrival + seconds) + _LOST_STREAM
        return receiver.heard_until >= enough or lost

    def _receiver(self, user_id: str | None) -> SpeechReceiver:
        return self._receivers.setdefault(user_id, self._new_receiver())

    def _new_receiver(self) -> SpeechReceiver:
        return SpeechReceiver(self._threshold, _HANGOVER)

    def _to_clock(self, speech: Speech) -> Speech:
        start, end = speech.start - self.started_at, speech.end - self.started_at
        return Speech(start, end, speech.level_dbfs)

    def _blank(self) -> NDArray[np.int32]:
        until = time.monotonic() if self._left_at is None else self._left_at
        return np.zeros(round((until - self.started_at) * SAMPLE_RATE), dtype=np.int32)


def to_microphone_rate(
    speech: NDArray[np.int16] | str | os.PathLike[str], rate: int
) -> NDArray[np.int16]:
    """Speech as int16 mono 48 kHz, shape (n,); see `Person.say`."""
    if isinstance(speech, (str, os.PathLike)):
        samples, rate = read_wav(speech)
    else:
        samples = np.asarray(speech)
    if samples.dtype != np.int16 or samples.ndim not in (1, 2):
        raise ValueError(
            f"speech is {samples.dtype} with shape {samples.shape}; "
            "it must be int16, (n,) or (n, channels)"
        )
    if samples.ndim == 2:
        samples = np.rint(samples.mean(axis=1)).astype(np.int16)
    if rate == SAMPLE_RATE:
        return samples
    from ...audio import Resampler

    resampler = Resampler(rate, SAMPLE_RATE)
    return np.concatenate([resampler.push(samples), resampler.flush()])


async def _native_frames(track: Any) -> AsyncIterator[NDArray[np.uint8]]:
    async for frame in track.video_frames():
        luma = frame.data[: frame.width * frame.height]
        yield luma.reshape(frame.height, frame.width)


async def _legacy_frames(track: Any) -> AsyncIterator[NDArray[np.uint8]]:
    from aiortc.mediastreams import MediaStreamError

    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        yield frame.to_ndarray(format="gray")


def _to_int16(samples: NDArray[np.int32]) -> NDArray[np.int16]:
    return np.clip(samples, -32768, 32767).astype(np.int16)
