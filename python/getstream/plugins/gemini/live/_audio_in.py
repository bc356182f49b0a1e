"""The way in: `PcmData` of the participants to one stream of 20 ms frames for Gemini."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .._websocket import websocket_frame
from ..audio import EchoReference, InputStream, Mixer, SpeechStarted, SpeechStopped
from ..errors import AudioError
from ._acquaintance import Acquaintance

FRAME_MS = 20
MIN_RATE, MAX_RATE = 8000, 96000

# A pause in `pts` shorter than this becomes silence, so that the service's clock runs at 1x.
MAX_GAP_S = 1.0

# Frames come every 20 ms, silent ones too. Who sends none for this long is muted or gone, and a
# word that was cut off must not count as speech for ever.
SILENT_AFTER_S = 0.3
FORGOTTEN_AFTER_S = 30.0

# How often to look for those. Looking costs a microsecond for each participant.
LOOK_EVERY_S = 0.1

LATE_S = 1.0
"""Seconds in which audio of somebody who has left may still come; it would bring them back."""

PREROLL_MS = 300
"""Of a participant who is given the floor, so much from before the moment when that is decided: the
detector's delay is 50 to 100 ms, and the onset of a word may be too soft for it."""

NOTICE_S = 0.1
"""So long, while the assistant is heard, what comes from somebody who may be a loudspeaker waits:
the detector notices speech 20 to 60 ms after its first sound."""

QUIET_MS = 2000
"""Silence that is never shortened: the service finds the end of the user's turn in it."""

Int16 = NDArray[np.int16]
ListenTo = Literal["everybody", "active_speaker"]


class Pcm(Protocol):
    """What is read of `getstream`'s `PcmData`."""

    sample_rate: int
    samples: Any
    channels: int


@dataclass(frozen=True)
class SpeechEvent:
    """What the detector has noticed of a participant.

    Attributes:
        who: the participant's key.
        user_id: the participant, "" when the audio came without one.
        kind: `starting` is a first sign of speech; it is followed by `dismissed` (it was nothing)
            or by `started`; `stopped` ends what has started.
    """

    who: str
    user_id: str
    kind: Literal["starting", "dismissed", "started", "stopped"]


@dataclass
class _Participant:
    key: str
    user_id: str
    number: int
    stream: InputStream
    acquaintance: Acquaintance = field(default_factory=Acquaintance)
    withheld: list[SpeechStarted | SpeechStopped] = field(default_factory=list)
    next_pts: float | None = None  # seconds
    last_at: float = 0.0
    starting: bool = False
    speaking: bool = False
    position: int = 0  # samples, on the clock of the call
    preroll: deque[Int16] = field(default_factory=deque)
    preroll_size: int = 0


class AudioInput:
    """Conversion, detection and mixing of the call's audio.

    Synchronous: a call of `push` has done its work when it returns.

    Args:
        send: called with each 20 ms of the call, the time, and whether nobody speaks in it. The
            audio is s16le mono at `rate`, as base64 in its envelope, as a masked websocket frame.
        envelope: what stands before and behind that base64, for a rate.
        onset_ms: speech that lasts so long is reported as started.
        hangover_ms: silence after which the detector reports the end of speech.
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
        onset_ms: int,
        hangover_ms: int,
        listen_to: ListenTo = "everybody",
        echo: EchoReference | None = None,
    ) -> None:
        self.rate: int | None = None
        self.frames_in = 0
        self.echo_ms = 0.0
        self._send = send
        self._envelope = envelope
        self._onset_ms = onset_ms
        self._hangover_ms = hangover_ms
        self._one_at_a_time = listen_to == "active_speaker"
        self._echo = echo
        self._participants: dict[str, _Participant] = {}
        self._numbers = 0
        self._mixer: Mixer | None = None
        self._floor: _Participant | None = None
        self._clock = 0  # samples of the participant who has sent most: the time of the call
        self._sent = 0  # samples of those who had the floor: the time of the wire
        self._quiet = 0  # samples since the participant who has the floor was heard
        self._around = (b"", b"")
        self._events: list[SpeechEvent] = []
        # What waits until it is known whether it is an echo, of all: the mix is of one time.
        self._waiting: deque[tuple[_Participant, Int16, float]] = deque()
        self._sounding = False
        self._left: dict[str, float] = {}
        self._looked_at = 0.0

    def push(
        self,
        pcm: Pcm,
        target_rate: int,
        now: float,
        *,
        deaf: bool = False,
        sounding: bool = False,
    ) -> list[SpeechEvent]:
        """Take one piece of a participant's audio.

        Args:
            pcm: int16 or float32 samples, mono or stereo, 8 to 96 kHz, of any length.
            target_rate: the rate on the wire, in Hz. The first piece that is taken fixes it.
            now: seconds on a monotonic clock.
            deaf: take it for silence.
            sounding: the assistant is heard, or its echo may still be on its way.

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
        if deaf:
            samples = _silenced(samples)
        start = _start_of(pcm)
        self._sounding = sounding and self._echo is not None and not deaf
        participant = self._participant_of(pcm, target_rate)
        if self._left and now - self._left.get(participant.key, -LATE_S) < LATE_S:
            return []
        if now - participant.last_at > SILENT_AFTER_S:
            participant.position = self._clock
        mixer = self._mixer if self._mixer is not None else Mixer(target_rate)

        gap_ms = 0 if start is None else self._gap_ms(participant, start)
        if gap_ms:
            filled, found = participant.stream.silence(gap_ms)
            self._pass_on(participant, filled, mixer, now)
            participant.next_pts = start
            # Kept apart: what follows may be refused, and an end of speech must not be lost.
            self._events += self._noticed(participant, found, gap_ms / 1000)
        wire, found = participant.stream.push(samples, rate, channels, now)

        if self.rate is None:
            self._around = self._envelope(target_rate)
        self.rate, self._mixer = target_rate, mixer
        self._participants[participant.key] = participant
        self.frames_in += 1
        if participant.stream.echo:
            self.echo_ms += wire.size * 1000 / target_rate
        participant.last_at = now
        participant.next_pts = None if start is None else start + wire.size / target_rate
        self._pass_on(participant, wire, mixer, now)
        events, self._events = (
            self._events + self._noticed(participant, found, wire.size / target_rate),
            [],
        )
        if self._waiting:
            self._release(mixer, now)
        self._send_mixed(mixer, now)
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            events += self._look_around(now)
        return events

    def end_speech(self, now: float) -> list[SpeechEvent]:
        """End the speech of everybody: their audio has stopped coming."""
        events = [
            event for participant in self._participants.values() for event in self._end(participant)
        ]
        self._send_waiting(now)
        return events

    def leave(self, user_id: str, session_id: str, now: float) -> list[SpeechEvent]:
        """Forget a participant who has left; returns the end of their speech, if they spoke."""
        key = _key_of(user_id, session_id)
        self._left = {each: at for each, at in self._left.items() if now - at < LATE_S}
        self._left[key] = now
        participant = self._participants.get(key)
        if participant is None:
            return []
        events = self._end(participant)
        self._send_waiting(now)
        self._forget(participant)
        return events

    # -- who may be a loudspeaker --------------------------------------------------------------

    def _pass_on(self, participant: _Participant, wire: Int16, mixer: Mixer, now: float) -> None:
        """Route a participant's audio, now or when it is known whether it is an echo."""
        if self._waiting or (self._sounding and not participant.acquaintance.known):
            self._waiting.append((participant, wire, now))
        else:
            self._route(participant, wire, mixer)

    def _noticed(
        self, participant: _Participant, found: list[SpeechStarted | SpeechStopped], seconds: float
    ) -> list[SpeechEvent]:
        """Tell what the detector has found, unless it may be an echo: then there is but a sign."""
        acquaintance = participant.acquaintance
        if acquaintance.known or not (self._sounding or acquaintance.doubted):
            return self._speech_events(participant, found)
        verdict = acquaintance.listen(
            participant.stream,
            seconds,
            sounding=self._sounding,
            silent_before=not (participant.starting or participant.speaking),
        )
        if acquaintance.doubted:
            participant.withheld += found
            heard = participant.stream.starting or participant.stream.speaking
            if participant.starting or not heard:
                return []
            participant.starting = True
            return [SpeechEvent(participant.key, participant.user_id, "starting")]
        found, participant.withheld = participant.withheld + found, []
        if verdict == "echo":
            self._silence_waiting(participant)
            found = []
        return self._speech_events(participant, found)

    def _silence_waiting(self, participant: _Participant) -> None:
        for index, (each, wire, at) in enumerate(self._waiting):
            if each is participant:
                self._waiting[index] = each, np.zeros_like(wire), at
                self.echo_ms += wire.size * 1000 / participant.stream.wire_rate

    def _send_waiting(self, now: float) -> None:
        """Send all that waits and is not doubted any more; nothing comes behind it."""
        if self._mixer is not None and self._waiting:
            self._sounding = False
            self._release(self._mixer, now)
            self._send_mixed(self._mixer, now)

    def _release(self, mixer: Mixer, now: float) -> None:
        """Route what has waited for long enough."""
        known = [each.acquaintance for each in self._participants.values()]
        if any(each.doubted for each in known):
            return
        wait = NOTICE_S if self._sounding and not all(each.known for each in known) else 0.0
        while self._waiting and now - self._waiting[0][2] >= wait:
            participant, wire, _ = self._waiting.popleft()
            self._route(participant, wire, mixer)

    # -- who is sent ---------------------------------------------------------------------------

    def _send_mixed(self, mixer: Mixer, now: float) -> None:
        quiet = True
        for each in self._participants.values():
            if each.speaking or each.starting:
                quiet = False
                break
        while (frame := mixer.pop_base64(*self._around)) is not None:
            self._send(websocket_frame(frame), now, quiet)

    def _route(self, participant: _Participant, wire: Int16, mixer: Mixer) -> None:
        """Put a participant's audio into the mix, or keep it until they have the floor."""
        if not self._one_at_a_time:
            mixer.push(participant.number, wire)
            return
        if participant is not self._floor and self._may_take_floor(participant):
            self._take_floor(participant, mixer)
        participant.position += wire.size
        self._clock = max(self._clock, participant.position)
        if participant is self._floor:
            wire = self._caught_up(participant, wire)
            self._sent += wire.size
            mixer.push(participant.number, wire)
        else:
            participant.preroll.append(wire)
            participant.preroll_size += wire.size
            kept = mixer.sample_rate * PREROLL_MS // 1000
            while participant.preroll_size - participant.preroll[0].size >= kept:
                participant.preroll_size -= participant.preroll.popleft().size

    def _may_take_floor(self, participant: _Participant) -> bool:
        return self._floor is None or (participant.speaking and not self._floor.speaking)

    def _take_floor(self, participant: _Participant, mixer: Mixer) -> None:
        if self._floor is not None:
            mixer.remove(self._floor.number)
        self._floor = participant
        if participant.speaking:
            for wire in participant.preroll:
                mixer.push(participant.number, wire)
            self._sent += participant.preroll_size
        participant.preroll.clear()
        participant.preroll_size = 0

    def _caught_up(self, participant: _Participant, wire: Int16) -> Int16:
        """Leave out as much silence as pre-rolls have put in, so that the timeline runs at 1x."""
        if participant.speaking or participant.starting:
            self._quiet = 0
            return wire
        self._quiet += wire.size
        if self._quiet < participant.stream.wire_rate * QUIET_MS // 1000:
            return wire
        ahead = self._sent + wire.size - self._clock
        return wire[max(0, min(ahead, wire.size)) :]

    # -- participants --------------------------------------------------------------------------

    def _participant_of(self, pcm: Pcm, target_rate: int) -> _Participant:
        source = getattr(pcm, "participant", None)
        user_id = str(getattr(source, "user_id", "") or "")
        key = _key_of(user_id, str(getattr(source, "session_id", "") or ""))
        participant = self._participants.get(key)
        if participant is None:
            self._numbers += 1
            stream = InputStream(
                target_rate,
                onset_ms=self._onset_ms,
                hangover_ms=self._hangover_ms,
                echo=self._echo,
            )
            participant = _Participant(key, user_id, self._numbers, stream)
        return participant

    def _gap_ms(self, participant: _Participant, start: float) -> int:
        """The silence that is missing before a piece that starts at `start` seconds."""
        if participant.next_pts is None:
            return 0
        gap = start - participant.next_pts
        # Rounding is not a gap. A jump back, or a long one, is a new clock.
        return round(gap * 1000) if FRAME_MS / 2000 < gap < MAX_GAP_S else 0

    def _speech_events(
        self, participant: _Participant, found: list[SpeechStarted | SpeechStopped]
    ) -> list[SpeechEvent]:
        starting = participant.stream.starting
        if not found and starting == participant.starting:
            return []
        events = []
        for event in found:
            starts = isinstance(event, SpeechStarted)
            if not (starts or participant.speaking):
                continue  # the end of an echo
            participant.speaking = starts
            participant.starting = False
            kind: Literal["started", "stopped"] = "started" if participant.speaking else "stopped"
            events.append(SpeechEvent(participant.key, participant.user_id, kind))
        if starting != participant.starting:
            participant.starting = starting
            sign: Literal["starting", "dismissed"] = "starting" if starting else "dismissed"
            events.append(SpeechEvent(participant.key, participant.user_id, sign))
        return events

    def _look_around(self, now: float) -> list[SpeechEvent]:
        """End the speech of those whose audio has stopped coming; forget who is long gone."""
        events = []
        for participant in list(self._participants.values()):
            silent = now - participant.last_at
            if silent > SILENT_AFTER_S:
                events += self._end(participant)
                if participant is self._floor:
                    self._floor = None  # somebody has to carry the timeline on
            if silent > FORGOTTEN_AFTER_S:
                self._forget(participant)
        return events

    def _forget(self, participant: _Participant) -> None:
        del self._participants[participant.key]
        self._waiting = deque(each for each in self._waiting if each[0] is not participant)
        if self._mixer is not None:
            self._mixer.remove(participant.number)
        if participant is self._floor:
            self._floor = None

    def _end(self, participant: _Participant) -> list[SpeechEvent]:
        acquaintance = participant.acquaintance
        if not (participant.speaking or participant.starting or acquaintance.doubted):
            return []
        # The detector hears silence; nobody else has to, there is no stream to continue.
        _, found = participant.stream.silence(2 * self._hangover_ms)
        found, participant.withheld = participant.withheld + found, []
        acquaintance.give_up()
        return self._speech_events(participant, found)


def _key_of(user_id: str, session_id: str) -> str:
    """One person may be in the call twice, on two devices."""
    return f"{user_id}/{session_id}"


def _silenced(samples: Any) -> Any:
    return bytes(len(samples)) if isinstance(samples, bytes) else np.zeros_like(samples)


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
