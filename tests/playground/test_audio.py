"""Tests of the lines between page and assistant: what a lost packet costs."""

from __future__ import annotations

from fractions import Fraction

import pytest
from aiortc import RTCPeerConnection
from aiortc.jitterbuffer import JitterBuffer
from aiortc.mediastreams import AudioStreamTrack
from aiortc.rtp import RtpPacket
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.playground._audio import (
    RECEIVERS_BUFFER,
    PeerLine,
    UnbufferedPackets,
)

TICKS = 480
"""Samples of a packet of 10 ms at 48 kHz."""


def packet(number: int) -> RtpPacket:
    made = RtpPacket(
        sequence_number=number % 65536, timestamp=number * TICKS, payload=number.to_bytes(4, "big")
    )
    made._data = made.payload  # as aiortc's receiver does it
    return made


def late_by(buffer: JitterBuffer | UnbufferedPackets, lost: set[int], count: int) -> list[Fraction]:
    """Return by how many packets each frame comes later than its packet."""
    late = []
    for number in range(65_500, 65_500 + count):
        if number not in lost:
            _, frame = buffer.add(packet(number))
            if frame is not None:
                late.append(Fraction(number * TICKS - frame.timestamp, TICKS))
    return late


def test_a_lost_packet_costs_no_lasting_delay() -> None:
    """Nor does any number of them, also where the sequence numbers begin anew."""
    late = late_by(UnbufferedPackets(), {65_510, 65_535, 65_536, 65_600}, 200)
    assert late == [0] * 196


def test_the_buffer_of_aiortc_is_late_for_good_after_a_loss() -> None:
    """Why it is not used; when this fails, it may be again."""
    assert late_by(JitterBuffer(capacity=16, prefetch=4), set(), 200)[-1] == 4
    assert late_by(JitterBuffer(capacity=16, prefetch=4), {65_510}, 200)[-1] > 10


def test_packets_that_are_late_or_come_twice_are_left_out() -> None:
    buffer = UnbufferedPackets()
    frames = [buffer.add(packet(number))[1] for number in (1, 2, 2, 4, 3, 5)]
    assert [frame and frame.data[-1] for frame in frames] == [1, 2, None, 4, None, 5]


async def test_a_line_replaces_the_buffer_of_its_receiver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "unused")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:9")
    page = RTCPeerConnection()
    page.addTrack(AudioStreamTrack())
    await page.setLocalDescription(await page.createOffer())
    gemini = GeminiLive()
    line = PeerLine(gemini, lambda state: None)
    try:
        assert "a=ptime:10" in await line.answer(page.localDescription.sdp)
        (receiver,) = line._peer.getReceivers()
        assert isinstance(getattr(receiver, RECEIVERS_BUFFER), UnbufferedPackets)
    finally:
        await line.close()
        await page.close()
        await gemini.close()
