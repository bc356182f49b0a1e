"""The way out: the model's speech as a track in the call."""

from __future__ import annotations

import asyncio
import fractions
import logging
import math
import sys
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import av
from aiortc.mediastreams import MediaStreamError
from getstream.video.rtc.audio_track import AudioStreamTrack

from ...audio import EchoReference, Playback, PlaybackStats, Resampler, decode_base64
from ...errors import AudioError, CallError, ConfigError
from .sounds import SOUND_DUCK_DB, MixedPlayback, SoundLayer

logger = logging.getLogger("getstream.plugins.gemini")

MODEL_RATE = 24000  # Gemini speaks s16le mono at this rate
SAMPLE_RATE = 48000  # Opus in WebRTC
FRAME_S = 0.020
FRAME_SAMPLES = 960
FADE_S = 0.005  # of a pause and of a drop, in the core

_FORMAT, _LAYOUT = av.AudioFormat("s16"), av.AudioLayout("mono")
_TIME_BASE = fractions.Fraction(1, SAMPLE_RATE)

LEAD_S = 0.020
"""Lead in seconds by which frames are handed over early, so that a late wake-up is not heard."""

SETTLE_S = 0.500
"""From the first read until speech may start, where it cannot be seen when the SDK begins to send
(see `PublisherProbe`). The SDK reads the track as soon as it is published, but the media connection
comes up 200 ms and more later: what is handed over before would be a backlog, and so a delay, for
the whole call."""

UNREAD_AFTER_S = 1.0
"""Seconds after the last frame was taken from which the track counts as read by nobody. A reader
comes back within 20 ms, and a busy event loop may keep it waiting."""

UNREAD_WARNING_MS = 30_000.0
"""Speech that waits for a first reader until a warning says that there is none."""

FLUSH_S = 0.100
"""Longest wait for a flush to have reached the SDK, which takes two turns of the event loop. One
that fails there is not told; then the speech starts behind what is left in the SDK's queue."""

HAND_OVER_S = 0.005
"""Lead in seconds of the last queued frame of a turn that may go on: until then it is
waited for the chunk that prevents an underrun. 5 ms are for a late wake-up."""

FORWARDER = "getstream.video.rtc.audio_forwarder"
"""The SDK's module that reads a published track, and the name of its logger."""

OVERFLOW = "Audio buffer overflow"
"""The beginning of the record that says that its queue is full."""

QUEUE_MS = 1000
"""Length of the SDK's queue. Only the lead of 20 ms is in it while speech is sent; it grows by
20 ms when a busy machine makes the SDK miss a tick. 1 s is far above what that adds up to in a
turn, and far below the default of 30 s, a delay with which nobody can converse."""

PROBE_S = 0.010
"""Seconds between two probes, and the length of the silence in one: half a frame of the SDK, so
that the first frame it takes makes room for the next probe."""

MAX_LATE_FRAMES = 3
"""On a track that paces itself: how many late frames are caught up before the clock is reset."""


Progress = tuple[tuple[int, bool], ...]
"""Turns that began or ended at the read head, in order, each with whether it has ended."""


class _Clock(Enum):
    """The side that paces the frames."""

    SDK = auto()
    TRACK = auto()


class OutputTrack(AudioStreamTrack):
    """The assistant's voice: an aiortc audio track, 48 kHz mono, 20 ms frames.

    It has two clocks, and its reader chooses.

    `getstream` 7 reads `recv()` as fast as it returns and paces from a queue of its own, which
    it fills with silence when empty. For it, `recv()` waits while there is nothing to say. Speech
    starts with a flush of the SDK's queue and `LEAD_S` of frames, and goes on with one frame
    each 20 ms.

    Every other reader (`getstream` 6, an aiortc connection, a recorder, a loop that writes a file
    or a WebSocket) takes what `recv()` returns as it comes. For it, `recv()` returns one frame each
    20 ms, silence included.

    Args:
        playback: the store that the track plays.
        popped: called with each frame's time, its samples (s16le) and what became of turns in it.
        unpublished: called when `getstream` 7 has stopped publishing the track: unpublished by the
            application, without permission, or the call is over.
    """

    def __init__(
        self,
        playback: Playback | MixedPlayback,
        popped: Callable[[float, bytes, Progress], None],
        unpublished: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(sample_rate=SAMPLE_RATE, channels=1, audio_buffer_size_ms=QUEUE_MS)
        self.late_frames = 0
        self.underruns = 0
        self._playback = playback
        self._popped = popped
        self._unpublished = unpublished
        self._readers = 0  # calls of `recv` that have not returned
        self._read_at = -math.inf  # when the last one did
        self._probe: PublisherProbe | None = None
        # `getstream` 6 reads twice for a moment when it has lost its connection.
        self._one_reader = hasattr(AudioStreamTrack, "wait_for_flush")
        self._clock = _Clock.TRACK
        self._wake = asyncio.Event()
        self._ahead: str | None = None  # `Playback.next_frame`, where the last pop is still right
        self._flush_readers = 0
        self._flush_done = asyncio.Event()
        self._settled_at: float | None = None
        self._anchor: float | None = None  # when frame 0 of this run is played
        self._handed = 0  # frames of this run that have been handed over
        self._rested = True  # nothing to say since the last frame
        self._pts = 0

    @property
    def is_read(self) -> bool:
        """Whether somebody takes what is played: the track is published, or read by hand."""
        if self._readers:
            return True
        return asyncio.get_running_loop().time() - self._read_at <= UNREAD_AFTER_S

    def wake(self) -> None:
        """Tell the track that something else may have to be played."""
        self._ahead = None
        self._wake.set()

    def refill(self) -> None:
        """Tell the track that there is more to play, which takes nothing away."""
        if self._ahead != "sound":
            self._ahead = None
        self._wake.set()

    def stop(self) -> None:
        super().stop()
        if self._probe is not None:
            self._probe.close()
        self._wake.set()
        self._flush_done.set()

    async def write(self, pcm: Any, final: bool = False) -> None:
        """Refused: only the model speaks on this track.

        Raises:
            AudioError: always; publish a track of your own for other sounds.
        """
        raise AudioError(
            "output_track carries the model's voice and takes no other audio; publish an "
            "AudioStreamTrack of your own"
        )

    async def wait_for_flush(self) -> None:
        """Return at the next `flush()`.

        The forwarder of `getstream` 7 comes back here once it has cleared the SDK's queue, which
        is how this track knows that a flush has arrived there.
        """
        self._flush_readers += 1
        self._flush_done.set()
        unpublished = False
        try:
            await super().wait_for_flush()
        except asyncio.CancelledError:
            self._flush_done.set()  # nobody will carry the flush out any more
            unpublished = True
            raise
        finally:
            self._flush_readers -= 1
            if unpublished and not self._flush_readers:
                self._end_publication()

    async def recv(self) -> av.AudioFrame:
        """Return the next 20 ms frame when it is due.

        Raises:
            MediaStreamError: the track has been stopped.
            CallError: it is being read already. Each of two readers would get every second frame:
                one assistant speaks in one call at a time.
        """
        if self._readers and self._one_reader:
            raise CallError(
                "output_track is published already, and its voice cannot be in two calls at once; "
                "make another GeminiLive"
            )
        self._readers += 1
        try:
            if self._settled_at is None:  # not known to be read by the SDK
                reader = _name_of_caller()
                if self._clock is _Clock.TRACK and await self._is_read_by_sdk(reader):
                    self._forget_reader()
                    self._clock = _Clock.SDK
                if self._clock is _Clock.SDK:
                    silence = await self._silence_until_settled(reader)
                    if silence:
                        return self._frame_of(bytes(2 * silence), silence)
            await (self._due_for_queue() if self._clock is _Clock.SDK else self._due_for_wire())
            return self._next_frame_due()
        except asyncio.CancelledError:
            # The SDK has stopped reading: unpublished. Publishing again is a new connection.
            if self._readers == 1:
                self._forget_reader()
            raise
        finally:
            self._readers -= 1
            self._read_at = asyncio.get_running_loop().time()

    async def _is_read_by_sdk(self, reader: str) -> bool:
        """Return whether the SDK reads, by its module's name or because it waits for flushes."""
        if reader == FORWARDER:
            return True
        if self._one_reader and self._anchor is None and not self._flush_readers:
            # The task that waits for flushes begins right after the one that reads.
            await asyncio.sleep(0)
        return self._flush_readers > 0

    def _next_frame_due(self) -> av.AudioFrame:
        self._check_live()
        assert self._anchor is not None  # both clocks set it
        at = self._anchor + self._handed * FRAME_S
        samples, _, self._ahead, progress = self._playback.pop(at)
        self._popped(at, samples, progress)
        self._handed += 1
        return self._frame_of(samples, FRAME_SAMPLES)

    def _frame_of(self, samples: bytes, count: int) -> av.AudioFrame:
        # What `from_ndarray` does, at 40 % of its price.
        frame = av.AudioFrame(format=_FORMAT, layout=_LAYOUT, samples=count)
        frame.planes[0].update(samples)
        frame.pts = self._pts
        frame.sample_rate = SAMPLE_RATE
        frame.time_base = _TIME_BASE
        self._pts += count
        return frame

    def _end_publication(self) -> None:
        """The SDK has stopped publishing: publishing again is a new connection."""
        self._forget_reader()
        self._read_at = -math.inf
        if self.readyState == "live":
            asyncio.get_running_loop().call_soon(self._unpublished)

    def _forget_reader(self) -> None:
        self._clock = _Clock.TRACK
        self._settled_at = self._anchor = None
        self._handed = 0
        self._rested = True
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    # -- the SDK's clock, getstream 7 ------------------------------------------------------------

    async def _silence_until_settled(self, reader: str) -> int:
        """Return samples of silence to hand over first, or 0 and set when speech may start."""
        loop = asyncio.get_running_loop()
        if self._probe is None:
            self._probe = PublisherProbe(reader, loop.time() + SETTLE_S)
        silence = await self._probe.next()
        self._check_live()
        if silence == 0:
            self._settled_at = self._probe.settled_at
            self._probe.close()
            self._probe = None
        return silence

    async def _due_for_queue(self) -> None:
        """Return when the next frame belongs into the SDK's queue."""
        loop = asyncio.get_running_loop()
        waited = False  # for the chunk that prevents an underrun
        while True:
            self._check_live()
            ahead = self._next_frame()
            if ahead == "silent":
                self._rested = True
                await self._wait_for_speech()
                continue
            now, played_at = loop.time(), self._played_at()
            if played_at is not None and now <= played_at:
                due = played_at - (HAND_OVER_S if ahead == "starved" else LEAD_S)
                if now < due:
                    if ahead == "starved":
                        waited = True
                        await self._wait_for_wake(due)
                    else:
                        await _sleep_until(due)
                    continue  # look again: the wake-up may be late
                # In time, or late within the lead: the SDK's queue has not run dry.
                if not waited and now > played_at - LEAD_S + FRAME_S / 4:
                    self.late_frames += 1
                break
            if self._rested:
                await self._begin_run(played_at)
                if self._next_frame() != "silent":
                    break
            else:
                # The queue has run dry in mid-speech: the SDK has put silence there, with a hard
                # edge. Begin again with a soft one and a fresh lead; to catch up would leave the
                # length of the hole as delay for good.
                self.underruns += 1
                self._playback.fade_in()
                self._restart_clock()
                break
        self._rested = False

    def _next_frame(self) -> str:
        """Return `Playback.next_frame`, which is read only where it may have changed."""
        if self._ahead is None:
            self._ahead = self._playback.next_frame
        return self._ahead

    async def _wait_for_speech(self) -> None:
        """Return when there may be something to say: after news, or a turn's patience."""
        self._playback.pass_time(asyncio.get_running_loop().time())
        self._ahead = None
        if self._next_frame() != "silent":
            return
        starts_at = self._playback.starts_at
        if starts_at is None:
            self._wake.clear()
            await self._wake.wait()
        else:
            await self._wait_for_wake(starts_at)

    async def _wait_for_wake(self, until: float) -> None:
        """Return when the track is woken, at the latest at a time of the loop."""
        self._wake.clear()
        timer = asyncio.get_running_loop().call_at(until, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _played_at(self) -> float | None:
        """Return when the SDK's queue must have the next frame of this run; None before that."""
        return None if self._anchor is None else self._anchor + self._handed * FRAME_S

    async def _begin_run(self, played_at: float | None) -> None:
        assert self._settled_at is not None
        await _sleep_until(self._settled_at)
        if played_at is not None:
            # A flush drops with a step what is there. Let the end of the last run be sent first.
            await _sleep_until(played_at + FRAME_S)
        if self._flush_readers:
            self._flush_done.clear()
            await self.flush()
            timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush_done.set)
            try:
                await self._flush_done.wait()
            finally:
                timer.cancel()
        self._restart_clock()

    def _restart_clock(self) -> None:
        self._anchor = asyncio.get_running_loop().time()
        self._handed = 0

    # -- the track's own clock ----------------------------------------------------------------

    async def _due_for_wire(self) -> None:
        """Return when the next frame belongs on the wire."""
        loop = asyncio.get_running_loop()
        if self._anchor is None:
            self._anchor = loop.time()
        due = self._anchor + self._handed * FRAME_S
        missed = int((loop.time() - due) / FRAME_S)
        if missed > MAX_LATE_FRAMES:
            # Skip the time that has passed, on the RTP clock too, instead of sending a burst that
            # the listener's jitter buffer would keep as delay.
            self._handed += missed
            self._pts += missed * FRAME_SAMPLES
            if self._playback.audible:
                self.underruns += 1
                self._playback.fade_in()
            return
        if missed > 0:
            self.late_frames += 1
        await _sleep_until(due)

    def _check_live(self) -> None:
        if self.readyState != "live":
            raise MediaStreamError


class _Probing(Enum):
    NEW = auto()
    FILLED = auto()  # more has been written than the queue can hold
    HELD = auto()  # a probe has been written
    SETTLED = auto()


class PublisherProbe:
    """Tells how much silence to hand over until `getstream` 7 is seen to send.

    The SDK queues what a published track gives it and sends nothing until its media connection is
    up. No event and no property says when that is. But the queue is as long as the track's
    `audio_buffer_size_ms`, and the SDK tells with a debug record when more is written than it holds
    (its migration guide: "with an 'Audio buffer overflow' DEBUG record from
    `getstream.video.rtc.audio_forwarder`"). So the queue is filled with silence, and a little more
    is written until that no longer overflows: the SDK has begun to take from it. A flush removes
    the silence before anything is said.

    Where the records do not come, because logging is switched off or the SDK has changed, the first
    write shows it, and a fixed time is waited.

    Args:
        reader: the name of the module that reads the track.
        at_latest: when speech may start if nothing can be seen, in seconds of the event loop's
            clock.
    """

    def __init__(self, reader: str, at_latest: float) -> None:
        self.settled_at = at_latest
        self.overflowed = False
        self._state = _Probing.NEW if reader == FORWARDER else _Probing.SETTLED

    async def next(self) -> int:
        """Return samples of silence to hand over now; 0 when `settled_at` is known.

        Called by the task that reads the track, each time when it comes back.
        """
        if self._state is _Probing.NEW:
            _overflows.watch(self)
            self._state = _Probing.FILLED
            return (QUEUE_MS + 20) * (SAMPLE_RATE // 1000)
        if self._state is _Probing.FILLED and not self.overflowed:
            self._state = _Probing.SETTLED  # it cannot be seen: wait for the fixed time
        elif self._state is _Probing.HELD and not self.overflowed:
            self.settled_at = asyncio.get_running_loop().time()
            self._state = _Probing.SETTLED
        if self._state is _Probing.SETTLED:
            self.close()
            return 0
        await asyncio.sleep(PROBE_S)
        self.overflowed = False
        self._state = _Probing.HELD
        return round(PROBE_S * 1000) * (SAMPLE_RATE // 1000)

    def close(self) -> None:
        """Look no longer. Idempotent."""
        _overflows.forget(self)


class _OverflowFilter(logging.Filter):
    """Notices the records of overflows that probes cause, and keeps them out of the log.

    The SDK's logger makes debug records only at its level `DEBUG`; it is set for as long as there
    is a probe, and what would not have been logged without it is kept out, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._probes: dict[asyncio.Task[object] | None, PublisherProbe] = {}
        self._logger = logging.getLogger(FORWARDER)
        self._level = logging.NOTSET
        self._usual = logging.WARNING

    def watch(self, probe: PublisherProbe) -> None:
        """Notice overflows of the task that calls this."""
        if not self._probes:
            self._level, self._usual = self._logger.level, self._logger.getEffectiveLevel()
            self._logger.addFilter(self)
            self._logger.setLevel(logging.DEBUG)
        self._probes[asyncio.current_task()] = probe

    def forget(self, probe: PublisherProbe) -> None:
        """Undo `watch`."""
        tasks = [task for task, each in self._probes.items() if each is probe]
        for task in tasks:
            del self._probes[task]
        if tasks and not self._probes:
            self._logger.removeFilter(self)
            if self._logger.level == logging.DEBUG:  # nobody has changed it meanwhile
                self._logger.setLevel(self._level)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is to be logged."""
        if record.levelno == logging.DEBUG and str(record.msg).startswith(OVERFLOW):
            probe = self._probes.get(_current_task())
            if probe is not None:
                probe.overflowed = True
                return False
        return record.levelno >= self._usual


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # a thread without a loop
        return None


_overflows = _OverflowFilter()


class ClockedOutput:
    """Moves the read head with the clock where the application plays the speech itself.

    The application is taken to play each chunk as it comes: an estimate of what is heard.

    Args:
        playback: the store whose read head it moves.
        popped: called with each frame's time, its samples (s16le) and what became of turns in it.
    """

    is_read = True

    def __init__(
        self, playback: Playback, popped: Callable[[float, bytes, Progress], None]
    ) -> None:
        self._playback = playback
        self._popped = popped
        self._next_at = -math.inf  # when the next frame begins
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def wake(self) -> None:
        """Go on when something may have to be played."""
        if self._timer is None and not self._stopped:
            self._next_at = max(self._next_at, asyncio.get_running_loop().time())
            self._tick()

    refill = wake

    def stop(self) -> None:
        """Stand still for good."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        ahead = self._playback.next_frame
        while ahead != "silent" and self._next_at <= now:
            samples, _, ahead, progress = self._playback.pop(self._next_at)
            self._popped(self._next_at, samples, progress)
            self._next_at += FRAME_S
        if ahead != "silent" and not self._stopped:
            self._timer = loop.call_at(self._next_at, self._tick)


class SampleJoiner:
    """Joins samples that were cut between two chunks of one turn, as relays cut a stream anew."""

    def __init__(self) -> None:
        self._half = b""  # the first byte of a sample whose second has not come
        self._stream = (0, 0)  # the turn and the rate it belongs to

    def join(self, pcm: bytes | str, turn: int, sample_rate: int) -> bytes | str:
        """Return whole samples: with the half of the last chunk, without the one at the end.

        A half that another turn or another rate follows is dropped.

        Args:
            pcm: s16le mono, as bytes or as base64.
            turn: the turn it belongs to.
            sample_rate: its rate in Hz.

        Returns:
            `pcm` itself where nothing was cut; it may be empty.

        Raises:
            AudioError: it is not base64.
        """
        if self._half and self._stream != (turn, sample_rate):
            self._half = b""
        if not self._half and _byte_count(pcm) % 2 == 0:
            return pcm
        half, self._half = self._half, b""  # behind a chunk that cannot be read nothing is known
        joined = half + (decode_base64(pcm) if isinstance(pcm, str) else pcm)
        whole = len(joined) // 2 * 2
        self._half, self._stream = joined[whole:], (turn, sample_rate)
        return joined[:whole]


def _byte_count(pcm: bytes | str) -> int:
    """Return the number of bytes of `pcm`; of base64, which may be no base64, without decoding."""
    if isinstance(pcm, bytes):
        return len(pcm)
    padding = 2 if pcm.endswith("==") else 1 if pcm.endswith("=") else 0
    return (len(pcm) - padding) * 3 // 4


class WholeChunks:
    """Makes whole chunks at `MODEL_RATE` of what the service sends, for an application."""

    def __init__(self) -> None:
        self._joiner = SampleJoiner()
        self._converter: Resampler | None = None
        self._turn = 0

    def take(self, pcm: bytes | str, sample_rate: int, turn: int) -> bytes:
        """Return a chunk as s16le mono bytes at `MODEL_RATE`; empty when no sample is complete.

        Args:
            pcm: s16le mono, as bytes or as base64.
            sample_rate: its rate in Hz.
            turn: the turn it belongs to.

        Raises:
            AudioError: it is not base64, or a rate outside 8 to 96 kHz.
        """
        pcm = self._joiner.join(pcm, turn, sample_rate)
        data = decode_base64(pcm) if isinstance(pcm, str) else pcm
        if turn != self._turn:
            self._turn, self._converter = turn, None
        rest = b""
        if self._converter is not None and self._converter.in_rate != sample_rate:
            rest = self._converter.flush().tobytes()
            self._converter = None
        if sample_rate == MODEL_RATE:
            return rest + data
        if self._converter is None:
            self._converter = Resampler(sample_rate, MODEL_RATE)
        return rest + self._converter.push(data).tobytes()


class AudioOutput:
    """The model's speech from its chunks to the track: store, read head, and what was heard.

    Args:
        on_started: called when the read head takes the first sample of a turn, with the turn and
            the time for which the SDK has the frame, in seconds of the event loop's clock.
        on_finished: called with such a turn when the read head has taken its last sample: it was
            played to its end, or it was cut; and with the time at which that frame ends.
        on_unpublished: called when `getstream` 7 has stopped publishing the track.
        plays: whether there is a track; otherwise the application plays the speech itself, as it
            comes, and the read head moves with the clock.

    Attributes:
        on_frame: called with each frame that is handed over, if it is set: the time at which its
            first sample is played, its samples (s16le mono) and their rate in Hz.
    """

    def __init__(
        self,
        on_started: Callable[[int, float], None] = lambda turn, at: None,
        on_finished: Callable[[int, float], None] = lambda turn, at: None,
        *,
        on_unpublished: Callable[[], None] = lambda: None,
        plays: bool = True,
    ) -> None:
        self.on_frame: Callable[[float, bytes, int], None] | None = None
        self.reference = EchoReference(SAMPLE_RATE)  # what is played, for those who hear it back
        # Who plays it himself waits for no prefill.
        times = {} if plays else {"prefill_ms": 0, "max_prefill_ms": 0, "patience_ms": 0}
        self._playback = Playback(MODEL_RATE, SAMPLE_RATE, echo=self.reference, **times)
        self._joiner = SampleJoiner()
        self._converter: Resampler | None = None  # should the model ever speak at another rate
        self._turns: deque[int] = deque()  # pushed, and not known to have finished
        self._on_started = on_started
        self._on_finished = on_finished
        self._overflowed = 0  # samples
        self._newest = 0
        self._unread_told = False
        self._frame_at = 0.0  # when the newest frame begins to be heard
        self.sounds = SoundLayer(self._wake)
        self.hold_sounds = SoundLayer(self._wake, gives_way=True)
        self.sounds.on_ducks = self._set_gain
        self._duck_db = 0.0
        self._track: OutputTrack | None = None
        if plays:
            mixed = MixedPlayback(self._playback, self._layers)
            self._track = OutputTrack(mixed, self._note_frame, on_unpublished)
        self._head = self._track or ClockedOutput(self._playback, self._note_frame)

    @property
    def track(self) -> OutputTrack:
        """The track, to be published.

        Raises:
            ConfigError: there is none, because the application plays the speech itself.
        """
        if self._track is None:
            raise ConfigError(
                "With playback=False the application plays the `audio` event itself, and there is "
                "no output_track"
            )
        return self._track

    @property
    def plays(self) -> bool:
        """Whether there is a track."""
        return self._track is not None

    @property
    def is_read(self) -> bool:
        """Return whether somebody takes what is played."""
        return self._head.is_read

    @property
    def late_frames(self) -> int:
        """Frames that the track has handed over late, but in time to be heard."""
        return self._track.late_frames if self._track else 0

    @property
    def gaps(self) -> int:
        """Times that the event loop was so late that the listener heard a gap."""
        return self._track.underruns if self._track else 0

    @property
    def playing(self) -> bool:
        """Whether any speech is queued or sounding for somebody: what nobody reads does not."""
        if not self._head.is_read:
            return False
        if self._playback.level_ms > 0 or self._playback.audible:
            return True
        return any(layer.is_waiting for layer in self._layers)

    @property
    def waiting(self) -> bool:
        """Whether any speech is queued that has not been played."""
        return self._playback.level_ms > 0

    def unfinished(self) -> list[int]:
        """The turns that are not cut and of which something is queued or may come, oldest first."""
        known = [(turn, self._playback.turn_stats(turn)) for turn in self._turns]
        return [turn for turn, stats in known if stats and not (stats.finished or stats.cut)]

    def push(self, pcm: bytes | str, sample_rate: int, turn: int) -> bool:
        """Queue s16le mono speech of a turn, as bytes or as base64. Samples that were cut between
        two chunks are joined.

        Returns:
            False when the store is full and refused some of it, which is counted.

        Raises:
            AudioError: it is not base64, or a rate outside 8 to 96 kHz.
        """
        now = asyncio.get_running_loop().time()
        pcm = self._joiner.join(pcm, turn, sample_rate)
        if turn > self._newest:
            self._end_conversion(self._newest, now)  # of a turn whose end was not told
        if sample_rate == MODEL_RATE:
            self._end_conversion(turn, now)
            if isinstance(pcm, str):
                self._playback.push_base64(pcm, turn, now)
            else:
                self._playback.push(pcm, turn, now)
        else:
            if isinstance(pcm, str):
                pcm = decode_base64(pcm)
            if self._converter is None or self._converter.in_rate != sample_rate:
                converter = Resampler(sample_rate, MODEL_RATE)
                self._end_conversion(turn, now)
                self._converter = converter
            self._playback.push(self._converter.push(pcm), turn, now)
        if turn > self._newest:
            self._newest = turn
            self._turns = deque((*self.unfinished(), turn))
            self._report(self._playback.take_progress())  # this turn has ended those before it
            self._warn_if_unread()
        self._head.refill()
        return self._fitted()

    def end_turn(self, turn: int) -> None:
        """No more of this turn will be pushed: what is there plays out."""
        self._end_conversion(turn, None)
        self._fitted()
        self._playback.end_turn(turn)
        self._report(self._playback.take_progress())
        self._head.refill()

    def refuse(self, turn: int) -> None:
        """Never play any of a turn."""
        self._playback.flush_turn(turn)

    def duck(self, db: float) -> None:
        """Set the gain in dB, zero or negative."""
        if self.plays:
            self._duck_db = db
            self._set_gain()
            for layer in self._layers:
                layer.duck(db)

    def pause(self) -> None:
        """Fade out and hold the read head; not that of an application that plays on."""
        if self.plays:
            self._playback.pause()
            for layer in self._layers:
                layer.hold("playback")
            self._head.wake()

    def resume(self) -> None:
        """Fade in where the read head stands."""
        self._playback.resume()
        for layer in self._layers:
            layer.release("playback")
        self._head.wake()

    def drop(self) -> None:
        """Fade out and forget everything that is queued."""
        self._playback.flush()
        for layer in self._layers:
            layer.flush()
        self._forget_conversion()
        self._report(self._playback.take_progress())
        self._head.wake()

    def forget(self) -> None:
        """Forget everything that is queued, at once: nobody hears even a fade of it."""
        self._playback.clear()
        for layer in self._layers:
            layer.clear()
        self._forget_conversion()
        self._report(self._playback.take_progress())
        self._head.wake()

    def stop(self) -> None:
        """End the track for good."""
        self._head.stop()
        for layer in self._layers:
            layer.clear()

    def heard_ms(self, turn: int) -> float:
        """Return how much of a turn has been played, in milliseconds."""
        return self._playback.played_ms(turn)

    def received_ms(self, turn: int) -> float:
        """Return how much audio of a turn has arrived, in milliseconds."""
        stats = self._playback.turn_stats(turn)
        return stats.pushed * 1000 / MODEL_RATE if stats else 0.0

    def was_cut(self, turn: int) -> bool:
        """Tell whether a turn was dropped or refused."""
        stats = self._playback.turn_stats(turn)
        return stats is not None and stats.cut

    def stats(self) -> PlaybackStats:
        """The counters of the store."""
        return self._playback.stats()

    def silent_at(self, now: float) -> float | None:
        """Return when a pause or a drop at this moment silences the output; None if it is silent.

        The frame that is handed over next has the fade in it.
        """
        if not self._playback.audible:
            return None
        return max(now, self._frame_at + FRAME_S) + FADE_S

    @property
    def _layers(self) -> tuple[SoundLayer, ...]:
        return self.sounds, self.hold_sounds

    def _set_gain(self) -> None:
        """Lower the speech for whoever speaks, or for a sound, whichever is more."""
        self._playback.duck(min(self._duck_db, SOUND_DUCK_DB if self.sounds.ducks else 0.0))

    def _wake(self) -> None:
        self._head.wake()

    def _end_conversion(self, turn: int, at: float | None) -> None:
        """Push what a conversion from another rate still holds."""
        if self._converter is not None:
            self._playback.push(self._converter.flush(), turn, at)
            self._converter = None

    def _forget_conversion(self) -> None:
        if self._converter is not None:
            self._converter.reset()

    def _warn_if_unread(self) -> None:
        """Tell once when speech piles up for a reader that has never come."""
        if self._unread_told or self._head.is_read:
            return
        if self._playback.level_ms > UNREAD_WARNING_MS:
            self._unread_told = True
            logger.warning(
                "%.0f s of speech wait in output_track, which nobody reads. Publish it, or pass "
                "playback=False where the application plays the `audio` event itself",
                self._playback.level_ms / 1000,
            )

    def _fitted(self) -> bool:
        """Whether the store has taken all that was pushed since the last call."""
        before, self._overflowed = self._overflowed, self._playback.stats().overflowed
        return self._overflowed == before

    def _note_frame(self, at: float, samples: bytes, progress: Progress) -> None:
        """Note that the read head has moved by a frame, which is about to be handed over."""
        self._frame_at = at
        if self.on_frame is not None:
            self.on_frame(at, samples, SAMPLE_RATE)
        if progress:
            self._report(progress)

    def _report(self, progress: Progress) -> None:
        """Report the turns that have begun or ended at the read head."""
        for turn, ended in progress:
            if ended:
                self._on_finished(turn, self._frame_at + FRAME_S)
            else:
                self._on_started(turn, self._frame_at)


async def _sleep_until(when: float) -> None:
    delay = when - asyncio.get_running_loop().time()
    if delay > 0:
        await asyncio.sleep(delay)


def _name_of_caller() -> str:
    """Return the name of the module that awaits the caller of this function."""
    return str(sys._getframe(2).f_globals.get("__name__"))
