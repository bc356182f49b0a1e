"""The way in: `PcmData` of the participants to one stream of 20 ms frames for Gemini.

Samples are the core's: one call of `Capture` for each packet. This module tells the tracks apart
and turns results into the callbacks and events of the rest of the package.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal, Protocol

import numpy as np

from ...audio import Capture, CaptureEvent, EchoReference, SourceStats
from ...errors import AudioError
from .._timing import FRAME_MS

MIN_RATE, MAX_RATE = 8000, 96000

FORGOTTEN_AFTER_S = 30.0
"""Seconds without a packet after which a track is forgotten, here as in the core. Of the sound of a
shared screen only the core forgets: its packets do not say what they are."""

RENEWED_AFTER_S = 20.0
"""Seconds without a packet after which such a sound is made known to the core again: less than
`FORGOTTEN_AFTER_S`, in which the core counts only packets that it has accepted."""

IN_FLIGHT_S = 0.3
"""Seconds after a participant has left in which the last packets of their tracks may still come.
They would be tracks of somebody who is not there. Who joins again is heard from the first packet
on."""

PTS_JUMP_S = 0.25
"""A packet of a new participant object whose timestamp is off by more is of another track."""

ListenTo = Literal["everybody", "active_speaker"]
TrackKind = Literal["voice", "sound"]


class Pcm(Protocol):
    """The fields that are read of `getstream`'s `PcmData`."""

    sample_rate: int
    samples: Any
    channels: int


@dataclass(frozen=True)
class SpeechEvent:
    """A change of a participant's speech.

    Attributes:
        who: identifies the track.
        user_id: the participant, "" when the audio came without one.
        kind: `starting` is a first sign of speech; it is followed by `dismissed` (it was nothing)
            or by `started`; `sustained` says that the speech has lasted; `stopped` ends it.
    """

    who: str
    user_id: str
    kind: Literal["starting", "dismissed", "started", "sustained", "stopped"]


@dataclass(frozen=True)
class TrackStats:
    """Numbers of one track of a participant, in milliseconds of audio.

    Attributes:
        user_id: the participant, "" when the audio came without one.
        session_id: their session.
        kind: `voice`, or `sound` for that of a shared screen.
        received_ms: what has arrived.
        delay_ms: how much later than on the fastest path it is sent now.
        jitter_ms: the delay that the jitter of its network asks for.
        lost_ms: what the network has lost or brought too late in the middle of words.
        dropped_ms: what was left out because it came twice, out of order or in excess.
        unsent_ms: what was not sent because somebody else had the floor.
        echo_suppressed_ms: what was the assistant's own voice.
    """

    user_id: str
    session_id: str
    kind: TrackKind
    received_ms: float
    delay_ms: float
    jitter_ms: float
    lost_ms: float
    dropped_ms: float
    unsent_ms: float
    echo_suppressed_ms: float


@dataclass(eq=False)
class _Track:
    """One track, and how it is recognized.

    Attributes:
        objects: the newest participant objects of its packets. `getstream` 7 has one for each
            track; other callers may make one for each packet.
        lasting: the same object came more than once.
        next_pts: the timestamp that the next packet should have, in seconds.
        counted: its numbers by the cores before the present one.
    """

    number: int
    user_id: str
    session_id: str
    kind: TrackKind
    objects: deque[object] = field(default_factory=deque)
    lasting: bool = False
    next_pts: float | None = None
    last_at: float = 0.0
    counted: TrackStats | None = None


class AudioInput:
    """Conversion, detection and mixing of the call's audio.

    Synchronous: a call of `push` or `advance` has done its work when it returns.

    Attributes:
        send: as the argument; it may be replaced.
        advance_at: when to call `advance` if nothing is pushed before; None while nothing is due by
            time.

    Args:
        send: called with each 20 ms of the call, the time, and whether nobody speaks in it. The
            audio is s16le mono at `rate`, as base64 in its envelope, as a masked websocket frame.
        envelope: text in front of that base64 and after it, for a rate.
        end_stream: called when nobody sends any more, after the silence that follows speech.
        onset_ms: speech that lasts so long is reported as started.
        hangover_ms: silence after which the detector reports the end of speech.
        sustained_ms: speech that lasts so long, without hangover, is reported as sustained.
        tail_ms: silence that follows the last speech when nobody sends any more.
        listen_to: mix `everybody`; or send only the `active_speaker`: who speaks first has the
            floor until the detector reports the end, then it goes to whoever speaks.
        echo: what is played to the call, on the clock of `push`. Its echo is neither detected nor
            sent.
    """

    def __init__(
        self,
        send: Callable[[bytes, float, bool], None],
        envelope: Callable[[int], tuple[bytes, bytes]],
        *,
        end_stream: Callable[[], None] = lambda: None,
        onset_ms: int,
        hangover_ms: int,
        sustained_ms: int = 600,
        tail_ms: int = 2000,
        listen_to: ListenTo = "everybody",
        echo: EchoReference | None = None,
    ) -> None:
        self.rate: int | None = None
        self.frames_in = 0
        self.echo_suppressed_ms = 0.0
        self.advance_at: float | None = None
        self.send = send
        self._end_stream = end_stream
        self._envelope = envelope
        self._detection = (onset_ms, sustained_ms)
        self._hangover_ms = hangover_ms
        self._tail_ms = tail_ms
        self._active_speaker = listen_to == "active_speaker"
        self._echo = echo
        self._capture: Capture | None = None
        self._next_detection: tuple[int, int, Callable[[], None]] | None = None
        self._speaking: set[int] = set()  # tracks with a sign of speech, or speech
        self._quiet_since = float("-inf")  # when the last speech was reported to have stopped
        self._tracks: dict[int, _Track] = {}  # by number
        self._by_object: dict[int, _Track] = {}  # by id() of an object that its track keeps alive
        self._numbers = 0
        # Participant objects of tracks that were left, with their owner and the time.
        self._left: dict[int, tuple[object, tuple[str, str], float]] = {}
        self._expected: dict[tuple[str, str], deque[TrackKind]] = {}

    def push(
        self, pcm: Pcm, target_rate: int, now: float, *, muted: bool = False
    ) -> list[SpeechEvent]:
        """Take one packet of a participant's audio.

        Args:
            pcm: int16 or float32 samples, mono or stereo, 8 to 96 kHz, of any length.
            target_rate: the rate on the wire, in Hz. The first packet that is taken fixes it.
            now: seconds on a monotonic clock.
            muted: take it for silence.

        Raises:
            AudioError: the audio cannot be used, or `target_rate` differs from the first one.
                The next packet is taken as if this one had not been there.
        """
        capture = self._capture
        if self._next_detection is not None and capture is not None and self._is_quiet(now):
            capture = self._exchange(capture, now)
        if capture is None or target_rate != self.rate:
            check_rate(target_rate)
            if self.rate is not None:
                raise AudioError(
                    f"target_rate is {self.rate} Hz since the first call and cannot become "
                    f"{target_rate} Hz: one session has one rate"
                )
            capture = self._new_capture(target_rate)
        samples, rate, channels = _samples_of(pcm)
        start = _start_of(pcm)
        participant = getattr(pcm, "participant", None)
        track = self._by_object.get(id(participant))
        if track is None and self._is_in_flight(participant, now):
            return []
        if track is None or track.objects[-1] is not participant or not track.lasting:
            track = self._track_of(participant, start, now, capture)
        if track.kind == "sound" and now - track.last_at > RENEWED_AFTER_S:
            self._renew(track, capture)
        due = capture.push(track.number, samples, rate, channels, now, start, muted)
        if self._capture is None:
            self.rate, self._capture = target_rate, capture
        self.frames_in += 1
        track.last_at = now
        if start is not None:
            track.next_pts = start
        return self._deliver(due, now)

    def advance(self, now: float) -> list[SpeechEvent]:
        """Let time pass: frames are due, and who sends nothing is silent.

        To be called at `advance_at`, which moves with every push.
        """
        if self._capture is None:
            return []
        return self._deliver(self._capture.advance(now), now)

    def change_detection(
        self, onset_ms: int, sustained_ms: int, on_changed: Callable[[], None]
    ) -> None:
        """Set how much speech is reported as started and as sustained.

        The core takes both when it is made, so it is made anew with the first packet that comes
        when nobody speaks and the silence after the last speech has been sent (`tail_ms`). What the
        jitter buffers hold then, tens of milliseconds without speech, is not sent, and an echo is
        to be found again. The last one of several changes counts.

        Args:
            onset_ms: as the argument of the class.
            sustained_ms: as the argument of the class.
            on_changed: called when it is in effect.
        """
        self._next_detection = None
        if self._capture is not None and (onset_ms, sustained_ms) != self._detection:
            self._next_detection = (onset_ms, sustained_ms, on_changed)
            return
        self._detection = (onset_ms, sustained_ms)
        on_changed()

    def leave(self, user_id: str, session_id: str, now: float) -> list[SpeechEvent]:
        """End the tracks of a participant who has left; returns the end of their speech.

        What came of them is still sent.
        """
        who = (user_id, session_id)
        self._expected.pop(who, None)
        self._left = {key: left for key, left in self._left.items() if now - left[2] < IN_FLIGHT_S}
        events = []
        for track in self._tracks_of(user_id, session_id):
            self._left.update((id(each), (each, who, now)) for each in track.objects)
            if self._capture is not None:
                events += self._deliver(self._capture.remove(track.number), now)
            self._forget(track)
        return events

    def join(self, user_id: str, session_id: str) -> None:
        """Hear a participant who has joined, or joined again, from the first packet on."""
        who = (user_id, session_id)
        self._left = {key: left for key, left in self._left.items() if left[1] != who}

    def expect_track(self, user_id: str, session_id: str, kind: TrackKind) -> None:
        """Note the kind of a track that a participant has added; its packets do not carry it."""
        self._expected.setdefault((user_id, session_id), deque(maxlen=8)).append(kind)

    def track_stats(self) -> list[TrackStats]:
        """Return the numbers of each track that is known."""
        if self._capture is None:
            return []
        numbers = ((track, self._capture.stats(track.number)) for track in self._tracks.values())
        return [_stats_of(track, stats) for track, stats in numbers if stats is not None]

    def jitter_of(self, user_id: str) -> list[float]:
        """Return the delay of each jitter buffer of a participant, in milliseconds."""
        return [track.jitter_ms for track in self.track_stats() if track.user_id == user_id]

    def _deliver(
        self,
        due: tuple[list[tuple[bytes, bool]], list[CaptureEvent], float, float | None, bool],
        now: float,
    ) -> list[SpeechEvent]:
        frames, found, echo_suppressed_ms, self.advance_at, ended = due
        for frame, silence in frames:
            self.send(frame, now, silence)
        if echo_suppressed_ms:
            self.echo_suppressed_ms += echo_suppressed_ms
        if ended:
            self._end_stream()
        if not found:
            return []
        events = []
        for event in found:
            self._note_phase(event, now)
            track = self._tracks.get(event.source)
            if track is not None:
                events.append(SpeechEvent(str(track.number), track.user_id, event.phase))
        return events

    def _note_phase(self, event: CaptureEvent, now: float) -> None:
        if event.phase in ("starting", "started"):
            self._speaking.add(event.source)
        elif event.phase in ("dismissed", "stopped"):
            self._speaking.discard(event.source)
            if event.phase == "stopped":
                self._quiet_since = now

    def _is_quiet(self, now: float) -> bool:
        """Return whether nobody speaks, and the silence after the last speech has been sent."""
        return not self._speaking and (now - self._quiet_since) * 1000 >= self._tail_ms

    def _exchange(self, before: Capture, now: float) -> Capture:
        """Go on with a core that detects by the times that have been set; return it."""
        assert self._next_detection is not None
        assert self.rate is not None
        onset_ms, sustained_ms, on_changed = self._next_detection
        self._next_detection = None
        self._deliver(before.advance(now), now)  # nobody speaks: there are no events
        self._detection = (onset_ms, sustained_ms)
        self._capture = capture = self._new_capture(self.rate)
        for track in self._tracks.values():
            stats = before.stats(track.number)
            if stats is not None:
                track.counted = _stats_of(track, stats)
            if track.kind == "sound":
                capture.open(track.number, track.kind)
        on_changed()
        return capture

    def _new_capture(self, rate: int) -> Capture:
        return Capture(
            rate,
            envelope=self._envelope(rate),
            websocket=True,
            onset_ms=self._detection[0],
            hangover_ms=self._hangover_ms,
            sustained_ms=self._detection[1],
            tail_ms=self._tail_ms,
            active_speaker=self._active_speaker,
            echo=self._echo,
        )

    # -- tracks --------------------------------------------------------------------------------

    def _track_of(
        self, participant: object, start: float | None, now: float, capture: Capture
    ) -> _Track:
        """Find the track of a packet whose participant object is not the usual one, or begin one.

        Packets name no track. With `getstream` 7 each track has a participant object of its own,
        the same for all of its packets, so an object that comes again identifies its track. Where
        every packet has a new object, it is the timestamps that continue.
        """
        track = self._by_object.get(id(participant))
        if track is not None:
            track.lasting = True
            while track.objects[-1] is not participant:
                # Two objects in turn: the newer one belongs to another track of this person.
                del self._by_object[id(track.objects.pop())]
            return track
        user_id = str(getattr(participant, "user_id", "") or "")
        session_id = str(getattr(participant, "session_id", "") or "")
        for track in self._tracks_of(user_id, session_id):
            if not track.lasting and _continues(track, start):
                break
        else:
            track = self._new_track(user_id, session_id, now, capture)
        track.objects.append(participant)
        self._by_object[id(participant)] = track
        if len(track.objects) > 2:
            del self._by_object[id(track.objects.popleft())]
        return track

    def _is_in_flight(self, participant: object, now: float) -> bool:
        """Return whether a packet is one of the last of somebody who has left."""
        left = self._left.get(id(participant))
        return left is not None and left[0] is participant and now - left[2] < IN_FLIGHT_S

    def _new_track(self, user_id: str, session_id: str, now: float, capture: Capture) -> _Track:
        for track in list(self._tracks.values()):
            if track.kind == "voice" and now - track.last_at > FORGOTTEN_AFTER_S:
                self._forget(track)
        expected = self._expected.get((user_id, session_id))
        kind: TrackKind = expected.popleft() if expected else "voice"
        self._numbers += 1
        track = _Track(self._numbers, user_id, session_id, kind, last_at=now)
        if kind == "sound":
            capture.open(track.number, kind)
        self._tracks[track.number] = track
        return track

    def _renew(self, track: _Track, capture: Capture) -> None:
        """Make a sound known under a new number; the core may have forgotten the old one."""
        capture.open(self._numbers + 1, track.kind)
        del self._tracks[track.number]
        self._numbers += 1
        track.number = self._numbers
        self._tracks[track.number] = track

    def _tracks_of(self, user_id: str, session_id: str) -> list[_Track]:
        return [
            track
            for track in self._tracks.values()
            if track.user_id == user_id and track.session_id == session_id
        ]

    def _forget(self, track: _Track) -> None:
        del self._tracks[track.number]
        for each in track.objects:
            del self._by_object[id(each)]


def _stats_of(track: _Track, stats: SourceStats) -> TrackStats:
    newest = TrackStats(
        track.user_id,
        track.session_id,
        track.kind,
        received_ms=stats.pushed_ms,
        delay_ms=stats.delay_ms,
        jitter_ms=stats.depth_ms,
        lost_ms=stats.lost_ms + stats.underrun_ms,
        dropped_ms=stats.duplicate_ms + stats.late_ms + stats.overflow_ms,
        unsent_ms=stats.unsent_ms,
        echo_suppressed_ms=stats.suppressed_ms,
    )
    before = track.counted
    if before is None:
        return newest
    return replace(
        newest,
        received_ms=before.received_ms + newest.received_ms,
        lost_ms=before.lost_ms + newest.lost_ms,
        dropped_ms=before.dropped_ms + newest.dropped_ms,
        unsent_ms=before.unsent_ms + newest.unsent_ms,
        echo_suppressed_ms=before.echo_suppressed_ms + newest.echo_suppressed_ms,
    )


def _continues(track: _Track, start: float | None) -> bool:
    """Return whether a packet that starts at `start` may follow those of a track."""
    if start is None or track.next_pts is None:
        return True
    return abs(start - track.next_pts) <= PTS_JUMP_S


def check_rate(target_rate: int) -> None:
    """Check a rate for the wire.

    Raises:
        AudioError: it is not a whole number of Hz from 8 to 96 kHz, or has no whole number of
            samples in 20 ms.
    """
    if not isinstance(target_rate, int) or not MIN_RATE <= target_rate <= MAX_RATE:
        raise AudioError(
            f"target_rate must be a whole number of Hz from {MIN_RATE} to {MAX_RATE}, "
            f"not {target_rate!r}; 16000 is native to Gemini"
        )
    if target_rate * FRAME_MS % 1000:
        raise AudioError(
            f"target_rate {target_rate} Hz has no whole number of samples in {FRAME_MS} ms; "
            "use 16000, 24000 or 48000"
        )


def _start_of(pcm: Pcm) -> float | None:
    """Return the time of the first sample in seconds on the sender's clock, if it is stated."""
    pts, time_base = getattr(pcm, "pts", None), getattr(pcm, "time_base", None)
    if pts is None or not time_base:
        return None
    try:
        if isinstance(pts, int) and isinstance(time_base, Fraction):
            # The same number, rounded once; the product as a fraction costs five times as much.
            start = pts * time_base.numerator / time_base.denominator
        else:
            start = float(pts * time_base)
    except (TypeError, ValueError, OverflowError):
        raise AudioError(
            f"pts and time_base must be numbers, not {pts!r} and {time_base!r}"
        ) from None
    return start if math.isfinite(start) else None


def _samples_of(pcm: Pcm) -> tuple[Any, int, int]:
    try:
        samples, rate = pcm.samples, pcm.sample_rate
    except AttributeError:
        raise AudioError(
            "send_audio_pcm takes getstream's PcmData (samples, sample_rate, channels), "
            f"not {type(pcm).__name__}"
        ) from None
    if not isinstance(rate, (int, np.integer)):
        raise AudioError(f"sample_rate must be a whole number of Hz, not {rate!r}")
    channels = getattr(pcm, "channels", 1)
    if not isinstance(channels, (int, np.integer)):
        raise AudioError(f"channels must be 1 or 2, not {channels!r}")
    return samples, int(rate), int(channels)
