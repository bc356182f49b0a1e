"""The wire formats of the local Stream backend, checked against aiortc's and aioice's own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aioice import stun as aioice_stun
from aiortc import rtp as aiortc_rtp
from getstream.plugins.gemini.testing._stream import rtp
from getstream.plugins.gemini.testing._stream.sdp import Codec, RemoteDescription, SessionWriter
from getstream.plugins.gemini.testing._stream.stun import BindingRequest, binding_response
from getstream.plugins.gemini.testing._stream.tracks import KINDS, PublishedTrack

# -- STUN ---------------------------------------------------------------------


def request(**attributes: object) -> aioice_stun.Message:
    return aioice_stun.Message(
        aioice_stun.Method.BINDING, aioice_stun.Class.REQUEST, attributes=dict(attributes)
    )


def test_a_signed_check_is_read() -> None:
    message = request(USERNAME="ours:theirs")
    message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(b"password")
    message.add_fingerprint()
    check = BindingRequest.parse(bytes(message))
    assert check is not None
    assert (check.username, check.nominated) == ("ours:theirs", True)
    assert check.transaction_id == message.transaction_id
    assert check.signed_with("password")
    assert not check.signed_with("another")


def test_a_check_that_was_changed_or_not_signed_is_refused() -> None:
    message = request(USERNAME="ours:theirs")
    unsigned = BindingRequest.parse(bytes(message))
    assert unsigned is not None
    assert not unsigned.signed_with("")
    message.add_message_integrity(b"password")
    data = bytearray(bytes(message))
    data[26] ^= 1
    changed = BindingRequest.parse(bytes(data))
    assert changed is not None
    assert not changed.signed_with("password")


@pytest.mark.parametrize(
    "data", [b"", b"\x00\x01", b"\x00\x01\x00\x08" + b"\x21\x12\xa4\x42" + bytes(12), bytes(20)]
)
def test_what_is_no_binding_request_is_none(data: bytes) -> None:
    assert BindingRequest.parse(data) is None


@pytest.mark.parametrize("password", [None, "secret"])
def test_aioice_reads_our_answers(password: str | None) -> None:
    data = binding_response(b"0123456789ab", ("192.0.2.7", 54321), password)
    message = aioice_stun.parse_message(data)
    assert message.message_class == aioice_stun.Class.RESPONSE
    assert message.transaction_id == b"0123456789ab"
    assert message.attributes["XOR-MAPPED-ADDRESS"] == ("192.0.2.7", 54321)
    assert "FINGERPRINT" in message.attributes or password is not None
    assert ("MESSAGE-INTEGRITY" in message.attributes) == (password is not None)


# -- RTP ----------------------------------------------------------------------


def packet(**values: object) -> aiortc_rtp.RtpPacket:
    made = aiortc_rtp.RtpPacket(payload_type=111, sequence_number=65535, timestamp=2**32 - 1)
    made.ssrc = 0xFFFFFFFE
    made.payload = b"opus"
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_a_packet_is_forwarded_without_its_extensions() -> None:
    extensions = aiortc_rtp.HeaderExtensionsMap()
    extensions.configure(
        type(
            "Parameters",
            (),
            {"headerExtensions": [type("E", (), {"uri": rtp.AUDIO_LEVEL_URI, "id": 3})()]},
        )()
    )
    original = packet(csrc=[7, 8], marker=1)
    original.extensions.audio_level = (False, 42)
    data = original.serialize(extensions)
    header = rtp.RtpHeader.parse(data)
    assert header is not None
    assert (header.payload_type, header.ssrc) == (111, 0xFFFFFFFE)
    assert header.audio_level(data, 3) == 42
    assert header.audio_level(data, 4) is None
    forwarded = aiortc_rtp.RtpPacket.parse(header.forward(data, 5))
    assert (forwarded.ssrc, forwarded.csrc, forwarded.marker) == (5, [7, 8], 1)
    assert (forwarded.sequence_number, forwarded.timestamp) == (65535, 2**32 - 1)
    assert forwarded.payload == b"opus"


@pytest.mark.parametrize("cut", [0, 5, 11])
def test_a_short_packet_is_no_rtp(cut: int) -> None:
    assert rtp.RtpHeader.parse(packet().serialize()[:cut]) is None


def test_a_header_that_promises_more_than_there_is_is_no_rtp() -> None:
    data = bytearray(packet().serialize())
    data[0] |= 0x1F  # an extension, and 15 contributing sources
    assert rtp.RtpHeader.parse(bytes(data)) is None


def test_reports_and_feedback_are_read_and_written() -> None:
    info = aiortc_rtp.RtcpSenderInfo(
        ntp_timestamp=2**63 + 1, rtp_timestamp=48_000, packet_count=9, octet_count=99
    )
    compound = (
        bytes(aiortc_rtp.RtcpSrPacket(ssrc=11, sender_info=info))
        + bytes(aiortc_rtp.RtcpSdesPacket(chunks=[]))
        + bytes(aiortc_rtp.RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=12, lost=[5, 6, 40]))
        + bytes(aiortc_rtp.RtcpPsfbPacket(fmt=1, ssrc=1, media_ssrc=13))
        + bytes(
            aiortc_rtp.RtcpPsfbPacket(fmt=4, ssrc=1, media_ssrc=0, fci=b"\0\0\0\x0e" + bytes(4))
        )
        + b"\x80\xc8\x00\xff"  # truncated
    )
    report, lost, pli, fir = rtp.parse_rtcp(compound)
    assert isinstance(report, rtp.SenderReport)
    [again] = aiortc_rtp.RtcpPacket.parse(rtp.sender_report(report, 99))
    assert (again.ssrc, again.sender_info) == (99, info)
    assert isinstance(lost, rtp.RtcpFeedback)
    assert (lost.media_ssrc, lost.keyframe) == (12, False)
    [again] = aiortc_rtp.RtcpPacket.parse(rtp.nack(lost, 98))
    assert (again.media_ssrc, again.lost) == (98, [5, 6, 40])
    assert pli == rtp.RtcpFeedback(13, keyframe=True)
    assert fir == rtp.RtcpFeedback(14, keyframe=True)
    [again] = aiortc_rtp.RtcpPacket.parse(rtp.picture_loss_indication(97))
    assert (again.fmt, again.media_ssrc) == (aiortc_rtp.RTCP_PSFB_PLI, 97)


# -- SDP ----------------------------------------------------------------------


def test_what_is_written_can_be_read() -> None:
    writer = SessionWriter("AA:BB")
    writer.begin()
    for mid, kind, codec in (
        ("0", "audio", Codec(111, "opus/48000/2", "useinbandfec=1")),
        ("1", "video", Codec(98, "VP9/90000")),
    ):
        writer.add(
            kind,
            mid,
            codec,
            address=("127.0.0.1", 5000),
            credentials=("user", "secret"),
            setup="actpass",
            direction="sendonly",
            attributes=[f"ssrc:{mid}7 cname:x", f"extmap:{mid}2 urn:some"],
        )
    read = RemoteDescription(writer.finish())
    assert (read.ufrag, read.setup, read.fingerprint) == ("user", "actpass", ("sha-256", "AA:BB"))
    audio, video = read.media
    assert audio.codecs == [Codec(111, "opus/48000/2", "useinbandfec=1")]
    assert (video.mid, video.ssrcs, video.extensions) == ("1", [17], {"urn:some": 12})
    assert video.direction == "sendonly"
    assert read.codec_names("video") == {"vp9"}


def test_a_rejected_line_is_seen() -> None:
    read = RemoteDescription("v=0\r\nm=video 0 UDP/TLS/RTP/SAVPF 0\r\na=inactive\r\n")
    assert read.media[0].rejected
    assert read.media[0].codecs == []


# -- keyframes ----------------------------------------------------------------


class Publisher:
    """Stands for the owner of a track: collects what is sent to it."""

    def __init__(self) -> None:
        self.publisher = self
        self.requests = 0
        self.more = asyncio.Event()

    def send(self, packet: bytes) -> None:
        assert list(rtp.parse_rtcp(packet)) == [rtp.RtcpFeedback(77, keyframe=True)]
        self.requests += 1
        self.more.set()


async def test_no_keyframe_request_is_swallowed() -> None:
    owner: Any = Publisher()
    track = PublishedTrack(owner, KINDS["video"], "0", "video", Codec(98, "VP9/90000"))
    track.ssrcs.append(77)
    track.request_keyframe(urgent=True)
    track.request_keyframe()  # of the same receiver, which was not quite ready
    assert owner.requests == 2
    owner.more.clear()
    track.request_keyframe()
    track.request_keyframe()
    assert owner.requests == 2  # too early: one for both, at the end of the interval
    track.request_keyframe(urgent=True)
    assert owner.requests == 3
    owner.more.clear()
    await asyncio.wait_for(owner.more.wait(), 5)
    assert owner.requests == 4
    track.request_keyframe()
    track.close()
    audio = PublishedTrack(owner, KINDS["audio"], "1", "audio", Codec(111, "opus/48000/2"))
    audio.request_keyframe(urgent=True)
    assert owner.requests == 4
