"""Carry audio between a page and the assistant: WebRTC by aiortc, or PCM over the page's WebSocket.

WebRTC comes first, because only the browser's own media path is certain to get its echo canceller.
It needs UDP between the browser and this process, and a network interface that is not loopback:
neither Chromium nor aiortc offers 127.0.0.1. Over SSH, in a container, behind some VPNs and on a
plane there is none; the WebSocket, which is there anyway, then carries the samples.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket
from aiortc.utils import uint16_gt
from getstream.video.rtc.track_util import AudioFormat, PcmData
from numpy.typing import NDArray

from ..audio import Resampler
from ..errors import ClosedError, SessionError
from ..live import GeminiLive

__all__ = ["PeerLine", "SocketLine"]

VOICE_RATE = 48_000
"""Rate of `output_track`, in Hz."""

WIRE_RATE = 16_000
"""Rate at which audio goes to Gemini: native to it, and a third of the bytes of 48 kHz."""

PACKET_MS = 10
"""Length of the packets that the browser is asked for: half as long to fill as the usual ones."""


RECEIVERS_BUFFER = "_RTCRtpReceiver__jitter_buffer"
"""Where aiortc (1.14) keeps the jitter buffer of a receiver. There is no public way in."""


class UnbufferedPackets:
    """Jitter buffer of an aiortc receiver that holds nothing back, in place of its own.

    The one of aiortc waits for four packets, and after a lost one until sixteen are there; from
    then on it stays that full, so that each loss costs delay for good (aiortc #543). Nothing needs
    it here: the capture core has a jitter buffer, which goes by timestamps and sheds delay again.
    """

    def __init__(self) -> None:
        self._newest: int | None = None

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Return whether a key frame is needed, never, and the packet as a frame.

        A packet that is late or comes twice gives None: a decoder takes them in order.
        """
        number = packet.sequence_number
        if self._newest is not None and not uint16_gt(number, self._newest):
            return False, None
        self._newest = number
        return False, JitterFrame(data=packet.payload, timestamp=packet.timestamp)


class LentTrack(MediaStreamTrack):
    """The assistant's track, lent to one connection: aiortc stops for good what it has sent."""

    kind = "audio"

    def __init__(self, assistant: GeminiLive) -> None:
        super().__init__()
        self._track = assistant.output_track

    async def recv(self) -> Any:
        """Return the next frame of the assistant's voice."""
        if self.readyState != "live":
            raise MediaStreamError
        return await self._track.recv()


class PeerLine:
    """A line by WebRTC. Call `answer` first and `close` at the end.

    Args:
        assistant: who is at this end.
        on_state: called with each state of the connection.

    Attributes:
        pieces: frames of the person's voice that have arrived.
    """

    def __init__(self, assistant: GeminiLive, on_state: Callable[[str], None]) -> None:
        # No ICE servers: both ends are on this machine, and nothing has to leave it.
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._assistant = assistant
        self._on_state = on_state
        self._hearing: asyncio.Task[None] | None = None
        self.pieces = 0
        self._peer.on("track", self._on_track)
        self._peer.on("connectionstatechange", self._on_change)

    async def answer(self, sdp: str) -> str:
        """Take the browser's offer, with its candidates in it; return the answer, with ours.

        Raises:
            ValueError: it is not an offer that aiortc can answer.
        """
        await self._peer.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        self._peer.addTrack(LentTrack(self._assistant))
        await self._peer.setLocalDescription(await self._peer.createAnswer())
        return with_packet_time(self._peer.localDescription.sdp, PACKET_MS)

    async def close(self) -> None:
        """Hang up. The assistant stays as it is."""
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.wait([self._hearing])
        await self._peer.close()

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio" and self._hearing is None:
            for receiver in self._peer.getReceivers():
                if receiver.track is track and hasattr(receiver, RECEIVERS_BUFFER):
                    setattr(receiver, RECEIVERS_BUFFER, UnbufferedPackets())
            self._hearing = asyncio.ensure_future(self._hear(track))

    def _on_change(self) -> None:
        self._on_state(self._peer.connectionState)

    async def _hear(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame: Any = await track.recv()
                self.pieces += 1
                await _send(self._assistant, PcmData.from_av_frame(frame))


class SocketLine:
    """A line of s16le mono PCM, both ways at the page's own rate.

    Args:
        assistant: who is at this end.
        send: sends a piece of the assistant's voice.
        rate: samples per second of the page's audio.

    Attributes:
        pieces: pieces of the person's voice that have arrived.

    Raises:
        AudioError: there is no conversion from 48 kHz to `rate`.
    """

    def __init__(
        self, assistant: GeminiLive, send: Callable[[bytes], Awaitable[Any]], rate: int
    ) -> None:
        self._assistant = assistant
        self._send = send
        self._rate = rate
        self._resampler = None if rate == VOICE_RATE else Resampler(VOICE_RATE, rate)
        self.pieces = 0
        self._speaking = asyncio.ensure_future(self._speak())

    async def hear(self, data: bytes) -> None:
        """Take a piece of the person's voice.

        Raises:
            ValueError: it is half a sample.
        """
        self.pieces += 1
        samples = np.frombuffer(data, np.int16)
        pcm = PcmData(sample_rate=self._rate, format=AudioFormat.S16, samples=samples, channels=1)
        await _send(self._assistant, pcm)

    async def close(self) -> None:
        """Hang up. The assistant stays as it is."""
        self._speaking.cancel()
        await asyncio.wait([self._speaking])

    async def _speak(self) -> None:
        with contextlib.suppress(MediaStreamError, ConnectionError):
            while True:
                frame = await self._assistant.output_track.recv()
                samples: NDArray[np.int16] = (
                    frame.to_ndarray().reshape(-1).astype(np.int16, copy=False)
                )
                if self._resampler is not None:
                    samples = self._resampler.push(samples)
                await self._send(samples.tobytes())


async def _send(assistant: GeminiLive, pcm: PcmData) -> None:
    # That the session has failed or is closed is an event, which the page is told; who talks on
    # is not told so for each piece.
    with contextlib.suppress(SessionError, ClosedError):
        await assistant.send_audio_pcm(pcm, WIRE_RATE)


def with_packet_time(sdp: str, milliseconds: int) -> str:
    """Return an SDP whose audio section asks for packets of this length (RFC 8866, 6.4)."""
    line = f"a=ptime:{milliseconds}\r\n"
    return re.sub(r"(m=audio[^\r\n]*\r\n(?:c=[^\r\n]*\r\n)?)", rf"\g<1>{line}", sdp, count=1)
