"""The way in: `PcmData` of the participants to one stream of 20 ms frames for Gemini."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
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

# Participants who have not sent audio for this many frames of the others are forgotten.
IDLE_FRAMES = 1500  # 30 s


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
    last_frame: int = 0
    speaking: bool = field(default=False)


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

    @property
    def queued_ms(self) -> int:
        """Audio that waits to be sent, in milliseconds."""
        return len(self._queue) * FRAME_MS

    def push(self, pcm: Pcm, target_rate: int) -> list[SpeechEvent]:
        """Take one piece of a participant's audio.

        Args:
            pcm: int16 or float32 samples, mono or stereo, 8 to 96 kHz, of any length.
            target_rate: the rate on the wire, in Hz. The first call fixes it.

        Raises:
            AudioError: the audio cannot be used, or `target_rate` differs from the first call's.
        """
        mixer = self._fix_rate(target_rate)
        samples, rate, channels = _samples_of(pcm)
        participant = self._participant_of(pcm, target_rate)
        self._fill_gap(participant, pcm, samples, rate, channels, mixer)
        wire, found = participant.stream.push(samples, rate, channels)
        self.frames_in += 1
        participant.last_frame = self.frames_in
        mixer.push(participant.number, wire)
        self._collect(mixer)
        events = self._speech_events(participant, found)
        if self.frames_in % 256 == 0:
            events += self._forget_idle()
        return events

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

    def end_speech(self) -> list[SpeechEvent]:
        """End the speech of everybody: their audio has stopped coming (muted, or gone)."""
        events: list[SpeechEvent] = []
        for participant in self._participants.values():
            if participant.speaking:
                # The detector hears silence; nobody else has to, there is no stream to continue.
                participant.stream.silence(2 * self._hangover_ms)
                participant.speaking = False
                events.append(SpeechEvent(participant.key, participant.user_id, False))
        return events

    # ------------------------------------------------------------------------------------------

    def _fix_rate(self, target_rate: int) -> Mixer:
        if self._mixer is not None and target_rate == self.rate:
            return self._mixer
        if self.rate is not None:
            raise AudioError(
                f"target_rate is {self.rate} Hz since the first call and cannot become "
                f"{target_rate!r}: one session has one rate"
            )
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
        self._mixer = Mixer(target_rate)
        self.rate = target_rate
        return self._mixer

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
            self._participants[key] = participant
        return participant

    def _fill_gap(
        self,
        participant: _Participant,
        pcm: Pcm,
        samples: Any,
        rate: int,
        channels: int,
        mixer: Mixer,
    ) -> None:
        pts, time_base = getattr(pcm, "pts", None), getattr(pcm, "time_base", None)
        if pts is None or not time_base:
            participant.next_pts = None
            return
        start = float(pts * time_base)
        if participant.next_pts is not None:
            gap = start - participant.next_pts
            # Rounding is not a gap; nor is a jump back, which is a new clock.
            if FRAME_MS / 2000 < gap < MAX_GAP_S:
                mixer.push(participant.number, participant.stream.silence(round(gap * 1000))[0])
        participant.next_pts = start + np.size(samples) / (rate * channels)

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

    def _forget_idle(self) -> list[SpeechEvent]:
        events = []
        for key, participant in list(self._participants.items()):
            if self.frames_in - participant.last_frame > IDLE_FRAMES:
                del self._participants[key]
                if self._mixer is not None:
                    self._mixer.remove(participant.number)
                if participant.speaking:
                    events.append(SpeechEvent(participant.key, participant.user_id, False))
        return events


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
    return samples, int(rate), int(getattr(pcm, "channels", 1) or 1)
