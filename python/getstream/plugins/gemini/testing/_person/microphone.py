"""The voice of a person as a published track."""

from __future__ import annotations

import asyncio
import fractions
import time
from typing import Any, Protocol

import aiortc
import av
import numpy as np
from getstream.video import rtc
from getstream.video.rtc import AudioStreamTrack, PcmData
from numpy.typing import NDArray

from ...errors import CallError
from .receiver import SAMPLE_RATE

__all__ = ["Microphone", "PacedMicrophone", "QueuedMicrophone"]

_FRAME = SAMPLE_RATE // 50
_LONGEST = 600.0
"""Seconds that one utterance may last: the size of the SDK's queue."""
_SETTLING = 0.5
"""Seconds from publication until getstream 7 sends what is written.

It says nowhere that its media connection is up (measured: 0.2 s), and what is written before stays
in its queue and makes everything after it late.
"""


class Microphone(Protocol):
    """Sends utterances, and silence between them."""

    track: aiortc.MediaStreamTrack
    latency: float
    """Seconds after which a sample has certainly left, counted from when it is due."""

    async def settle(self) -> None:
        """Wait until what is spoken is sent without a backlog."""

    async def play(self, samples: NDArray[np.int16]) -> float:
        """Start to send int16 mono 48 kHz; returns the monotonic time of the first sample."""

    async def flush(self) -> None:
        """Drop what has not been sent."""

    async def set_muted(self, muted: bool) -> None:
        """Stop to send, or send again, and tell the others."""


class QueuedMicrophone:
    """For getstream 7, which paces in its native core.

    An utterance is handed over as a whole: its timing then owes nothing to this process's event
    loop. The core takes a frame every 20 ms, so the first sample leaves up to 20 ms after the time
    that `play` returns. That phase cannot be seen from outside.
    """

    latency = 0.02

    def __init__(self, call: Any) -> None:
        """Create a microphone.

        Args:
            call: The native call, which mutes: `ConnectionManager` has no method for it.
        """
        self._call = call
        self._audio = AudioStreamTrack(
            sample_rate=SAMPLE_RATE, audio_buffer_size_ms=int(_LONGEST * 1000)
        )
        self.track: aiortc.MediaStreamTrack = self._audio
        self._published = time.monotonic()

    async def settle(self) -> None:
        """Wait until the media connection is up, as far as one can know."""
        await asyncio.sleep(self._published + _SETTLING - time.monotonic())

    async def play(self, samples: NDArray[np.int16]) -> float:
        """Hand over the whole utterance; returns the monotonic time at which the core has it."""
        if len(samples) > _LONGEST * SAMPLE_RATE:
            raise ValueError(f"an utterance may last {_LONGEST:g} s; say it in parts")
        pcm = PcmData(sample_rate=SAMPLE_RATE, format="s16", samples=samples, channels=1)
        start = time.monotonic()
        await self._audio.write(pcm, final=True)
        return start

    async def flush(self) -> None:
        """Empty this queue and the SDK's."""
        await self._audio.flush()

    async def set_muted(self, muted: bool) -> None:
        """Mute or unmute the published track: the SDK sends no packet of a muted one."""
        if muted:
            await self.flush()
            await self._call.mute_track(rtc.TrackType.AUDIO)
        else:
            await self._call.unmute_track(rtc.TrackType.AUDIO)


class PacedMicrophone(aiortc.MediaStreamTrack):
    """For getstream 6 (aiortc), which sends each frame when it gets it."""

    kind = "audio"
    latency = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.track: aiortc.MediaStreamTrack = self
        self._samples: NDArray[np.int16] = np.zeros(0, dtype=np.int16)
        self._started: asyncio.Future[float] | None = None
        self._origin = 0.0
        self._pts = 0

    async def settle(self) -> None:
        """`add_tracks` of getstream 6 returns when the connection is up."""

    async def play(self, samples: NDArray[np.int16]) -> float:
        """Queue the utterance; returns the monotonic time at which its first frame is sent."""
        self._started = asyncio.get_running_loop().create_future()
        self._samples = np.asarray(samples, dtype=np.int16)
        return await self._started

    async def flush(self) -> None:
        """Send silence from the next frame on."""
        self._samples = self._samples[:0]

    async def set_muted(self, muted: bool) -> None:
        """Refuse: getstream 6 cannot mute what it publishes."""
        raise CallError('getstream 6 cannot mute; Person(..., sends="as_browser") can')

    async def recv(self) -> av.AudioFrame:
        """The next 20 ms, when they are due."""
        if self.readyState != "live":
            raise aiortc.mediastreams.MediaStreamError
        now = time.monotonic()
        due = self._origin + self._pts / SAMPLE_RATE
        if self._pts == 0 or now - due > 1.0:  # the start, or a sender that was held up
            self._origin = now - self._pts / SAMPLE_RATE
        elif due > now:
            await asyncio.sleep(due - now)
        if self._started is not None and not self._started.done():
            self._started.set_result(time.monotonic())
        frame = np.zeros((1, _FRAME), dtype=np.int16)
        taken, self._samples = self._samples[:_FRAME], self._samples[_FRAME:]
        frame[0, : len(taken)] = taken
        audio = av.AudioFrame.from_ndarray(frame, format="s16", layout="mono")
        audio.sample_rate = SAMPLE_RATE
        audio.pts = self._pts
        audio.time_base = fractions.Fraction(1, SAMPLE_RATE)
        self._pts += _FRAME
        return audio
