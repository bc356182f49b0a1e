"""The way in: `PcmData` of the participants to one stream of 20 ms frames for Gemini."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..audio import InputStream, Mixer, SpeechStarted, SpeechStopped
from ..errors import AudioError

FRAME_MS = 20
MIN_RATE, MAX_RATE = 8000, 96000

# Audio that waits for a session that is not ready, or for a socket that is stuck. Older audio is
# dropped and counted: what somebody said ten seconds ago no longer helps a conversation.
MAX_QUEUED_MS = 10_000

# A pause in `pts` shorter than this becomes silence, so that the service's clock runs at 1x.
MAX_GAP_S = 1.0

# Frames come every 20 ms, silent ones too. Who sends none for this long is muted or gone, and a
# word that was cut off must not count as speech for ever.
SILENT_AFTER_S = 0.3
FORGOTTEN_AFTER_S = 30.0

# How often to look for those. Looking costs a microsecond for each participant.
LOOK_EVERY_S = 0.1


class Pcm(Protocol):
    """What is read of `getstream`'s `PcmData`."""

    sample_rate: int
    samples: Any
    channels: int


@dataclass(frozen=True)
class SpeechEvent:
    """A participant has begun or ended speaking."""

    who: str
    user_id: str
    started: bool


@dataclass
class _Participant:
    key: str
    user_id: str
    number: int
    stream: InputStream
    next_pts: float | None = None  # seconds
    last_at: float = 0.0
    speaking: bool = False


class AudioInput:
    """Conversion, detection and mixing of the call's audio, and the queue to the service.

    Everything but `next_frame` is synchronous: a call of `push` has done its work when it
    returns. Used from one event loop.

    Args:
        hangover_ms: silence after which the detector reports the end of speech.
    """

    def __init__(self, *, hangover_ms: int) -> None:
        self.rate: int | None = None
        self.frames_in = 0
        self.frames_out = 0
        self.dropped_ms = 0.0
        self._hangover_ms = hangover_ms
        self._participants: dict[str, _Participant] = {}
        self._numbers = 0
        self._mixer: Mixer | None = None
        self._queue: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._events: list[SpeechEvent] = []
        self._looked_at = 0.0

    def push(self, pcm: Pcm, target_rate: int, now: float) -> list[SpeechEvent]:
        """Take one piece of a participant's audio.

        Args:
            pcm: int16 or float32 samples, mono or stereo, 8 to 96 kHz, of any length.
            target_rate: the rate on the wire, in Hz. The first piece that is taken fixes it.
            now: seconds on a monotonic clock.

        Raises:
            AudioError: the audio cannot be used, or `target_rate` differs from the first one.
                The next piece is taken as if this one had not been there.
        """
        if self.rate is None or target_rate != self.rate:
            check_rate(target_rate)
            if self.rate is not None:
                raise AudioError(
                    f"target_rate is {self.rate} Hz since the first call and cannot become "
                    f"{target_rate} Hz: one session has one rate"
                )
        samples, rate, channels = _samples_of(pcm)
        start = _start_of(pcm)
        participant = self._participant_of(pcm, target_rate)
        mixer = self._mixer if self._mixer is not None else Mixer(target_rate)

        gap_ms = 0 if start is None else self._gap_ms(participant, start)
        if gap_ms:
            filled, found = participant.stream.silence(gap_ms)
            mixer.push(participant.number, filled)
            participant.next_pts = start
            # Kept apart: what follows may be refused, and an end of speech must not be lost.
            self._events += self._speech_events(participant, found)
        wire, found = participant.stream.push(samples, rate, channels)
        mixer.push(participant.number, wire)

        self.rate, self._mixer = target_rate, mixer
        self._participants[participant.key] = participant
        self.frames_in += 1
        participant.last_at = now
        participant.next_pts = None if start is None else start + wire.size / target_rate
        self._collect(mixer)
        events, self._events = self._events + self._speech_events(participant, found), []
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            events += self._look_around(now)
        return events

    def end_speech(self) -> list[SpeechEvent]:
        """End the speech of everybody: their audio has stopped coming."""
        return [
            event for participant in self._participants.values() for event in self._end(participant)
        ]

    async def next_frame(self, timeout: float) -> bytes | None:
        """Return the next 20 ms of s16le mono at `rate`, or None after `timeout` seconds."""
        if not self._queue:
            self._arrived.clear()
            # A timer that sets the event costs a tenth of what asyncio.wait_for does.
            timer = asyncio.get_running_loop().call_later(timeout, self._arrived.set)
            try:
                await self._arrived.wait()
            finally:
                timer.cancel()
            if not self._queue:
                return None
        self.frames_out += 1
        return self._queue.popleft()

    # ------------------------------------------------------------------------------------------

    def _participant_of(self, pcm: Pcm, target_rate: int) -> _Participant:
        source = getattr(pcm, "participant", None)
        user_id = str(getattr(source, "user_id", "") or "")
        # One person may be in the call twice, on two devices.
        key = f"{user_id}/{getattr(source, 'session_id', '') or ''}"
        participant = self._participants.get(key)
        if participant is None:
            self._numbers += 1
            stream = InputStream(target_rate, hangover_ms=self._hangover_ms)
            participant = _Participant(key, user_id, self._numbers, stream)
        return participant

    def _gap_ms(self, participant: _Participant, start: float) -> int:
        """The silence that is missing before a piece that starts at `start` seconds."""
        if participant.next_pts is None:
            return 0
        gap = start - participant.next_pts
        # Rounding is not a gap. A jump back, or a long one, is a new clock.
        return round(gap * 1000) if FRAME_MS / 2000 < gap < MAX_GAP_S else 0

    def _collect(self, mixer: Mixer) -> None:
        while (frame := mixer.pop()) is not None:
            self._queue.append(frame.tobytes())
            if len(self._queue) * FRAME_MS > MAX_QUEUED_MS:
                self._queue.popleft()
                self.dropped_ms += FRAME_MS
        if self._queue:
            self._arrived.set()

    def _speech_events(
        self, participant: _Participant, found: list[SpeechStarted | SpeechStopped]
    ) -> list[SpeechEvent]:
        events = []
        for event in found:
            participant.speaking = isinstance(event, SpeechStarted)
            events.append(SpeechEvent(participant.key, participant.user_id, participant.speaking))
        return events

    def _look_around(self, now: float) -> list[SpeechEvent]:
        """End the speech of those whose audio has stopped coming; forget who is long gone."""
        events = []
        for key, participant in list(self._participants.items()):
            silent = now - participant.last_at
            if silent > SILENT_AFTER_S:
                events += self._end(participant)
            if silent > FORGOTTEN_AFTER_S:
                del self._participants[key]
                if self._mixer is not None:
                    self._mixer.remove(participant.number)
        return events

    def _end(self, participant: _Participant) -> list[SpeechEvent]:
        if not participant.speaking:
            return []
        # The detector hears silence; nobody else has to, there is no stream to continue.
        participant.stream.silence(2 * self._hangover_ms)
        participant.speaking = False
        return [SpeechEvent(participant.key, participant.user_id, False)]


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
    """The time of the first sample in seconds, on the sender's clock, if it is stated."""
    pts, time_base = getattr(pcm, "pts", None), getattr(pcm, "time_base", None)
    if pts is None or not time_base:
        return None
    try:
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
