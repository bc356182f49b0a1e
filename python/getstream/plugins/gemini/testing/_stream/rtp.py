"""The few fields of RTP and RTCP packets that a forwarding server reads and rewrites.

Layouts are those of RFC 3550 (RTP, sender reports), RFC 4585 (NACK, PLI), RFC 5104 (FIR),
RFC 5285 (one-byte header extensions) and RFC 6464 (audio level).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "AUDIO_LEVEL_URI",
    "SILENT_LEVEL",
    "RtcpFeedback",
    "RtpHeader",
    "SenderReport",
    "is_rtcp",
    "nack",
    "parse_rtcp",
    "picture_loss_indication",
    "sender_report",
]

AUDIO_LEVEL_URI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
SILENT_LEVEL = 127
"""RFC 6464: levels are -dBov, 0 the loudest, 127 digital silence."""

_RTP_FIXED = 12
_ONE_BYTE_PROFILE = 0xBEDE
_RTCP_SR = 200
_RTCP_RTPFB = 205
_RTCP_PSFB = 206
_FMT_NACK = 1
_FMT_PLI = 1
_FMT_FIR = 4
_OUR_SSRC = 1
"""Sender SSRC of the feedback that the server itself sends; nobody resolves it."""


def is_rtcp(datagram: bytes) -> bool:
    """True if an SRTP datagram is RTCP: packet types 192 to 223 (RFC 5761, section 4)."""
    return len(datagram) >= 2 and 192 <= datagram[1] <= 223


@dataclass(frozen=True)
class RtpHeader:
    """Positions of the parts of one RTP packet.

    Attributes:
        payload_type: The 7-bit payload type.
        ssrc: The synchronization source.
        csrc_end: Offset of the first byte after the fixed header and the CSRC list.
        payload: Offset of the first byte after the header extension.
    """

    payload_type: int
    ssrc: int
    csrc_end: int
    payload: int

    @classmethod
    def parse(cls, packet: bytes) -> RtpHeader | None:
        """The header of `packet`, or None if it is too short to be RTP."""
        if len(packet) < _RTP_FIXED or packet[0] >> 6 != 2:
            return None
        csrc_end = payload = _RTP_FIXED + 4 * (packet[0] & 0x0F)
        if packet[0] & 0x10:
            if len(packet) < csrc_end + 4:
                return None
            payload = csrc_end + 4 + 4 * int.from_bytes(packet[csrc_end + 2 : csrc_end + 4], "big")
        if payload > len(packet):
            return None
        ssrc = int.from_bytes(packet[8:12], "big")
        return cls(packet[1] & 0x7F, ssrc, csrc_end, payload)

    def audio_level(self, packet: bytes, extension_id: int) -> int | None:
        """The RFC 6464 level (0 loudest, 127 silence) in extension `extension_id`, if present."""
        position, end = self.csrc_end + 4, self.payload
        if end <= position or packet[self.csrc_end : self.csrc_end + 2] != b"\xbe\xde":
            return None
        while position < end:
            if packet[position] == 0:  # padding between extensions
                position += 1
                continue
            length = (packet[position] & 0x0F) + 1
            if packet[position] >> 4 == extension_id and position + 1 < end:
                return packet[position + 1] & 0x7F
            position += 1 + length
        return None

    def forward(self, packet: bytes, ssrc: int) -> bytes:
        """`packet` as another peer gets it: with `ssrc` and without header extensions.

        The extensions go because their ids belong to the publisher's connection.
        """
        return b"".join(
            (
                bytes((packet[0] & ~0x10,)),
                packet[1:8],
                ssrc.to_bytes(4, "big"),
                packet[_RTP_FIXED : self.csrc_end],
                packet[self.payload :],
            )
        )


@dataclass(frozen=True)
class SenderReport:
    """An RTCP sender report: `info` is the NTP time, RTP time, packet and byte count (20 bytes)."""

    ssrc: int
    info: bytes


@dataclass(frozen=True)
class RtcpFeedback:
    """A request of a receiver about the media of one SSRC.

    Attributes:
        media_ssrc: The SSRC that it is about.
        keyframe: True for PLI and FIR.
        lost: For a NACK its feedback control information, passed on as it is; else empty.
    """

    media_ssrc: int
    keyframe: bool = False
    lost: bytes = b""


def parse_rtcp(compound: bytes) -> Iterator[SenderReport | RtcpFeedback]:
    """Yield the sender reports, NACKs, PLIs and FIRs of a compound RTCP packet.

    Everything else in it is skipped; a truncated packet ends the iteration.
    """
    position = 0
    while position + 8 <= len(compound):
        first, packet_type, words = struct.unpack_from("!BBH", compound, position)
        body = compound[position + 4 : position + 4 + 4 * words]
        if len(body) < 4 * words or first >> 6 != 2:
            return
        position += 4 + 4 * words
        fmt = first & 0x1F
        if packet_type == _RTCP_SR and len(body) >= 24:
            yield SenderReport(int.from_bytes(body[:4], "big"), body[4:24])
        elif packet_type == _RTCP_RTPFB and fmt == _FMT_NACK and len(body) >= 12:
            yield RtcpFeedback(int.from_bytes(body[4:8], "big"), lost=body[8:])
        elif packet_type == _RTCP_PSFB and fmt == _FMT_PLI and len(body) >= 8:
            yield RtcpFeedback(int.from_bytes(body[4:8], "big"), keyframe=True)
        elif packet_type == _RTCP_PSFB and fmt == _FMT_FIR:
            # FIR names its targets in the entries; the media SSRC of the header is 0.
            for entry in range(8, len(body) - 7, 8):
                yield RtcpFeedback(int.from_bytes(body[entry : entry + 4], "big"), keyframe=True)


def sender_report(report: SenderReport, ssrc: int) -> bytes:
    """`report` for the forwarded stream `ssrc`, without reception report blocks."""
    return struct.pack("!BBHL", 0x80, _RTCP_SR, 6, ssrc) + report.info


def picture_loss_indication(media_ssrc: int) -> bytes:
    """Ask the sender of `media_ssrc` for a keyframe (RFC 4585, section 6.3.1)."""
    return struct.pack("!BBHLL", 0x80 | _FMT_PLI, _RTCP_PSFB, 2, _OUR_SSRC, media_ssrc)


def nack(feedback: RtcpFeedback, media_ssrc: int) -> bytes:
    """The NACK `feedback`, addressed to the publisher's `media_ssrc`.

    Sequence numbers are forwarded unchanged, so the list of lost packets needs no translation.
    """
    words = 2 + len(feedback.lost) // 4
    head = struct.pack("!BBHLL", 0x80 | _FMT_NACK, _RTCP_RTPFB, words, _OUR_SSRC, media_ssrc)
    return head + feedback.lost
