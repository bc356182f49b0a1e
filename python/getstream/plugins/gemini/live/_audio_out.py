"""The way out: the model's speech as a track in the call."""

from __future__ import annotations

import asyncio
import fractions
import math
from collections import deque
from collections.abc import Callable
from typing import Any

import av
from aiortc.mediastreams import MediaStreamError
from getstream.video.rtc.audio_track import AudioStreamTrack

from ..audio import EchoReference, Playback, PlaybackStats, Resampler, decode_base64
from ..errors import AudioError

MODEL_RATE = 24000  # Gemini speaks s16le mono at this rate
SAMPLE_RATE = 48000  # Opus in WebRTC
FRAME_S = 0.020
FRAME_SAMPLES = 960

_FORMAT, _LAYOUT = av.AudioFormat("s16"), av.AudioLayout("mono")
_TIME_BASE = fractions.Fraction(1, SAMPLE_RATE)

LEAD_S = 0.020
"""How far ahead of real time frames are handed over, so that a late wake-up is not heard."""

PATIENCE_S = 0.300
"""After so long without another chunk a turn starts with less than its prefill: it may be whole,
and its end declared late or never. A service at real time has sent the longest prefill, 240 ms, by
then."""

SETTLE_S = 0.500
"""From the first read until speech may start. The SDK reads the track as soon as it is published,
but the media connection comes up 200 ms and more later, and no public signal says when: what is
handed over before would be a backlog, and so a delay, for the whole call."""

HAND_OVER_S = 0.005
"""How long before its time the last frame is handed over of a turn that may go on: until then it is
waited for the chunk that prevents an underrun. 5 ms are for a late wake-up."""

MAX_LATE_FRAMES = 3
"""On a track that paces itself: how many late frames are caught up before the clock is reset."""


Progress = tuple[tuple[int, bool], ...]
"""Turns that began or ended at the read head, in order, each with whether it has ended."""


class OutputTrack(AudioStreamTrack):
    """The assistant's voice: an aiortc audio track, 48 kHz mono, 20 ms frames.

    Two clocks, chosen by what the SDK does with a track.

    `getstream` 7 reads `recv()` as fast as it returns and paces from a queue of its own, which
    it fills with silence when empty. Here `recv()` waits while there is nothing to say. Speech
    starts with a flush of the SDK's queue and `LEAD_S` of frames, and goes on with one frame
    each 20 ms.

    `getstream` 6 (aiortc) sends whatever `recv()` returns. Here `recv()` returns one frame each
    20 ms, silence included.
    """

    def __init__(self, playback: Playback, popped: Callable[[float, Progress], None]) -> None:
        super().__init__(sample_rate=SAMPLE_RATE, channels=1)
        self.late_frames = 0
        self.underruns = 0
        self._playback = playback
        self._popped = popped
        self._reader_paces = hasattr(AudioStreamTrack, "wait_for_flush")
        self._wake = asyncio.Event()
        self._ahead: str | None = None  # `Playback.next_frame`, where the last pop is still right
        self._flush_readers = 0
        self._flush_done = asyncio.Event()
        self._settled_at: float | None = None
        self._anchor: float | None = None  # when frame 0 of this run is played
        self._handed = 0  # frames of this run that have been handed over
        self._rested = True  # nothing to say since the last frame
        self._pts = 0

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
        try:
            await super().wait_for_flush()
        except asyncio.CancelledError:
            self._flush_done.set()  # nobody will carry the flush out any more
            raise
        finally:
            self._flush_readers -= 1

    async def recv(self) -> av.AudioFrame:
        """Return the next 20 ms frame when it is due.

        Raises:
            MediaStreamError: the track has been stopped.
        """
        try:
            await (self._due_for_queue() if self._reader_paces else self._due_for_wire())
        except asyncio.CancelledError:
            # The SDK has stopped reading: unpublished. Publishing again is a new connection.
            self._settled_at = self._anchor = None
            self._rested = True
            raise
        self._check_live()
        assert self._anchor is not None  # both clocks set it
        at = self._anchor + self._handed * FRAME_S
        samples, _, self._ahead, progress = self._playback.pop(at)
        self._popped(at, progress)
        # What `from_ndarray` does, at 40 % of its price.
        frame = av.AudioFrame(format=_FORMAT, layout=_LAYOUT, samples=FRAME_SAMPLES)
        frame.planes[0].update(samples)
        frame.pts = self._pts
        frame.sample_rate = SAMPLE_RATE
        frame.time_base = _TIME_BASE
        self._pts += FRAME_SAMPLES
        self._handed += 1
        return frame

    # -- getstream 7: the SDK paces --------------------------------------------------------------

    async def _due_for_queue(self) -> None:
        """Return when the next frame belongs into the SDK's queue."""
        loop = asyncio.get_running_loop()
        if self._settled_at is None:
            self._settled_at = loop.time() + SETTLE_S
        waited = False  # for the chunk that prevents an underrun
        while True:
            self._check_live()
            ahead = self._next_frame()
            if ahead == "silent":
                self._rested = True
                self._wake.clear()
                await self._wake.wait()
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

    async def _wait_for_wake(self, until: float) -> None:
        """Return when the track is woken, at the latest at a time of the loop."""
        self._wake.clear()
        timer = asyncio.get_running_loop().call_at(until, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _played_at(self) -> float | None:
        """When the next frame of this run must be in the SDK's queue; None before the first."""
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
            await self._flush_done.wait()
        self._restart_clock()

    def _restart_clock(self) -> None:
        self._anchor = asyncio.get_running_loop().time()
        self._handed = 0

    # -- getstream 6: this track paces -----------------------------------------------------------

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


class AudioOutput:
    """The model's speech from its chunks to the track: store, read head, and what was heard.

    Args:
        on_started: called when the read head takes the first sample of a turn, with the turn and
            the time for which the SDK has the frame, in seconds of the event loop's clock.
        on_finished: called with such a turn when the read head has taken its last sample: it was
            played to its end, or it was cut; and with the time at which that frame ends.
    """

    def __init__(
        self,
        on_started: Callable[[int, float], None] = lambda turn, at: None,
        on_finished: Callable[[int, float], None] = lambda turn, at: None,
    ) -> None:
        self.reference = EchoReference(SAMPLE_RATE)  # what is played, for those who hear it back
        self._playback = Playback(MODEL_RATE, SAMPLE_RATE, echo=self.reference)
        self._converter: Resampler | None = None  # should the model ever speak at another rate
        self._turns: deque[int] = deque()  # pushed, and not known to have finished
        self._on_started = on_started
        self._on_finished = on_finished
        self._overflowed = 0  # samples
        self._newest = 0
        self._pushed_at = -math.inf
        self._patience: asyncio.TimerHandle | None = None
        self._frame_at = 0.0  # when the newest frame begins to be heard
        self.track = OutputTrack(self._playback, self._note_frame)

    @property
    def playing(self) -> bool:
        """Whether any speech is queued or sounding."""
        return self._playback.level_ms > 0 or self._playback.audible

    @property
    def waiting(self) -> bool:
        """Whether any speech is queued that has not been played."""
        return self._playback.level_ms > 0

    def unfinished(self) -> list[int]:
        """The turns that are not cut and of which something is queued or may come, oldest first."""
        known = [(turn, self._playback.turn_stats(turn)) for turn in self._turns]
        return [turn for turn, stats in known if stats and not (stats.finished or stats.cut)]

    def push(self, pcm: bytes | str, sample_rate: int, turn: int) -> bool:
        """Queue s16le mono speech of a turn, as bytes or as base64.

        Returns:
            False when the store is full and refused some of it, which is counted.

        Raises:
            AudioError: it is not base64, an odd byte count, or a rate outside 8 to 96 kHz.
        """
        now = self._pushed_at = asyncio.get_running_loop().time()
        self._be_patient()
        if sample_rate == MODEL_RATE:
            if isinstance(pcm, str):
                self._playback.push_base64(pcm, turn, now)
            else:
                self._playback.push(pcm, turn, now)
        else:
            if isinstance(pcm, str):
                pcm = decode_base64(pcm)
            if self._converter is None or self._converter.in_rate != sample_rate:
                self._converter = Resampler(sample_rate, MODEL_RATE)
            self._playback.push(self._converter.push(pcm), turn, now)
        if turn > self._newest:
            self._newest = turn
            self._turns = deque((*self.unfinished(), turn))
            self._report(self._playback.take_progress())  # this turn has ended those before it
        self.track.refill()
        return self._fitted()

    def end_turn(self, turn: int) -> None:
        """No more of this turn will be pushed: what is there plays out."""
        if self._converter is not None:
            self._playback.push(self._converter.flush(), turn)
            self._fitted()
        self._playback.end_turn(turn)
        self._report(self._playback.take_progress())
        self.track.refill()

    def duck(self, db: float) -> None:
        """Set the gain in dB, zero or negative."""
        self._playback.duck(db)

    def pause(self) -> None:
        """Fade out and hold the read head."""
        self._playback.pause()
        self.track.wake()

    def resume(self) -> None:
        """Fade in where the read head stands."""
        self._playback.resume()
        self._be_patient()
        self.track.wake()

    def drop(self) -> None:
        """Fade out and forget everything that is queued."""
        self._playback.flush()
        if self._converter is not None:
            self._converter.reset()
        self._report(self._playback.take_progress())
        self.track.wake()

    def heard_ms(self, turn: int) -> float:
        """How much of a turn has been played, in milliseconds."""
        return self._playback.played_ms(turn)

    def received_ms(self, turn: int) -> float:
        """How much audio of a turn has arrived, in milliseconds."""
        stats = self._playback.turn_stats(turn)
        return stats.pushed * 1000 / MODEL_RATE if stats else 0.0

    def stats(self) -> PlaybackStats:
        """The counters of the store."""
        return self._playback.stats()

    def _be_patient(self) -> None:
        """Wait for a prefill no longer than until nothing has been pushed for `PATIENCE_S`."""
        if self._patience is None:
            loop = asyncio.get_running_loop()
            at = max(loop.time(), self._pushed_at + PATIENCE_S)
            self._patience = loop.call_at(at, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        if asyncio.get_running_loop().time() < self._pushed_at + PATIENCE_S:
            self._be_patient()
        elif self._playback.state == "buffering":
            self._playback.begin()
            self.track.wake()

    def _fitted(self) -> bool:
        """Whether the store has taken all that was pushed since the last call."""
        before, self._overflowed = self._overflowed, self._playback.stats().overflowed
        return self._overflowed == before

    def _note_frame(self, at: float, progress: Progress) -> None:
        """The read head has moved by a frame, which is about to be handed to the SDK."""
        self._frame_at = at
        if progress:
            self._report(progress)

    def _report(self, progress: Progress) -> None:
        """Report the turns that have begun or ended at the read head."""
        for turn, ended in progress:
            if ended:
                self._on_finished(turn, self._frame_at + FRAME_S)
                self._be_patient()  # with the next one, which may have come long ago
            else:
                self._on_started(turn, self._frame_at)


async def _sleep_until(when: float) -> None:
    delay = when - asyncio.get_running_loop().time()
    if delay > 0:
        await asyncio.sleep(delay)
