"""An assistant that gives back what it hears, at once: it shows what the playground itself costs.

`getstream-gemini playground playground_cost.echo:make_assistant`. The text "lose N" loses the next
N packets of audio in each direction: what is next to UDP on this side does not get to see them.
"""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import Any

import numpy as np
from aiortc import MediaStreamTrack
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import is_rtcp
from av import AudioFrame
from getstream.plugins.gemini.audio import Resampler
from getstream.plugins.gemini.live import GeminiLive
from numpy.typing import NDArray

RATE = 48_000
FRAME = RATE // 50
"""Samples of a frame of 20 ms, as the assistant's own track gives them."""


class Loss:
    """Loses packets of audio of all connections of this process.

    Attributes:
        incoming: packets from the browser that are still to be lost.
        outgoing: packets to the browser that are still to be lost.
    """

    def __init__(self) -> None:
        self.incoming = self.outgoing = 0
        take, send = RTCDtlsTransport._handle_rtp_data, RTCDtlsTransport._send_rtp

        async def lossy_take(transport: RTCDtlsTransport, data: bytes, **more: Any) -> None:
            if self.incoming:
                self.incoming -= 1
            else:
                await take(transport, data, **more)

        async def lossy_send(transport: RTCDtlsTransport, data: bytes) -> None:
            if self.outgoing and not is_rtcp(data):
                self.outgoing -= 1
            else:
                await send(transport, data)

        RTCDtlsTransport._handle_rtp_data = lossy_take
        RTCDtlsTransport._send_rtp = lossy_send


LOSS = Loss()


class EchoTrack(MediaStreamTrack):
    """Track of what was heard: a frame as soon as its 20 ms are there."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._waiting = np.zeros(0, np.int16)
        self._news = asyncio.Event()
        self._sent = 0
        self._next_pts: int | None = None

    def hear(self, samples: NDArray[np.int16], pts: int | None) -> None:
        """Take a packet; what was lost before it is silence, so that the echo keeps its time."""
        lost = 0 if pts is None or self._next_pts is None else max(0, pts - self._next_pts)
        if pts is not None:
            self._next_pts = pts + len(samples)
        self._waiting = np.concatenate([self._waiting, np.zeros(lost, np.int16), samples])
        self._news.set()

    async def recv(self) -> AudioFrame:
        while len(self._waiting) < FRAME:
            self._news.clear()
            await self._news.wait()
        samples, self._waiting = self._waiting[:FRAME], self._waiting[FRAME:]
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", "mono")
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), self._sent
        self._sent += FRAME
        return frame


class Echo(GeminiLive):
    """An assistant whose voice is what it hears. Its session is idle."""

    def __init__(self) -> None:
        super().__init__()
        self._echo = EchoTrack()
        self._resampler: Resampler | None = None

    @property
    def output_track(self) -> Any:
        """The echo."""
        return self._echo

    async def send_audio_pcm(self, pcm: Any, target_rate: int = 16_000) -> None:
        """Hear a packet of the page."""
        mono = np.asarray(pcm.to_int16().samples, np.int16)
        if pcm.channels == 2:
            mono = mono.reshape(2, -1)[0]
        mono = mono.reshape(-1)
        if pcm.sample_rate != RATE:  # the page's own rate, over the WebSocket
            self._resampler = self._resampler or Resampler(pcm.sample_rate, RATE)
            mono = self._resampler.push(mono)
        self._echo.hear(mono, pcm.pts if pcm.sample_rate == RATE else None)

    async def send_text(self, text: str) -> None:
        """Lose packets."""
        order, number = text.split()
        assert order == "lose"
        LOSS.incoming = LOSS.outgoing = int(number)


def make_assistant() -> Echo:
    """Return an echo for one visit."""
    return Echo()
