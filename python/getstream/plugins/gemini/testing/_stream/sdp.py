"""The parts of SDP that a forwarding server reads and writes (RFC 8866, RFC 8829)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

__all__ = ["Codec", "MediaSection", "RemoteDescription", "SessionWriter", "other_codecs"]

_VIDEO_FEEDBACK = ("ccm fir", "nack", "nack pli")
_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
# RFC 8445, section 5.1.2: type preference 126 (host), local preference 65535, component 1.
_HOST_PRIORITY = 2130706431


@dataclass(frozen=True)
class Codec:
    """One payload format: `rtpmap` such as "opus/48000/2", `fmtp` its parameters or empty."""

    payload_type: int
    rtpmap: str
    fmtp: str = ""

    @property
    def name(self) -> str:
        """The encoding name in lower case, for example "vp9"."""
        return self.rtpmap.split("/")[0].lower()


_VP8 = Codec(96, "VP8/90000")
_VP9 = Codec(98, "VP9/90000", "profile-id=0")


def other_codecs(codec: Codec) -> tuple[Codec, ...]:
    """The other video codec of getstream 7, if `codec` is one of its two."""
    if codec.payload_type == _VP9.payload_type and codec.name == _VP9.name:
        return (_VP8,)
    if codec.payload_type == _VP8.payload_type and codec.name == _VP8.name:
        return (_VP9,)
    return ()


@dataclass
class MediaSection:
    """One m-line of a remote description, with its codecs in the order of preference."""

    kind: str
    rejected: bool
    mid: str = ""
    direction: str = "sendrecv"
    codecs: list[Codec] = field(default_factory=list)
    ssrcs: list[int] = field(default_factory=list)
    extensions: dict[str, int] = field(default_factory=dict)


class RemoteDescription:
    """A parsed offer or answer. Every m-line is bundled, so ICE and DTLS values are single."""

    def __init__(self, text: str) -> None:
        self.ufrag = ""
        self.setup = ""
        self.fingerprint = ("", "")
        self.media: list[MediaSection] = []
        blocks = text.replace("\r\n", "\n").split("\nm=")
        self._read_transport(blocks[0].split("\n"))
        for block in blocks[1:]:
            lines = block.strip().split("\n")
            self._read_transport(lines[1:])
            self.media.append(_read_media(lines))

    def codec_names(self, kind: str) -> frozenset[str]:
        """Lower-case names of all codecs in the m-lines of `kind` ("audio" or "video")."""
        return frozenset(c.name for m in self.media if m.kind == kind for c in m.codecs)

    def _read_transport(self, lines: Iterable[str]) -> None:
        for line in lines:
            key, _, value = line.strip().partition(":")
            if key == "a=ice-ufrag":
                self.ufrag = value
            elif key == "a=setup":
                self.setup = value
            elif key == "a=fingerprint":
                algorithm, _, digest = value.partition(" ")
                self.fingerprint = (algorithm, digest.strip())


def _read_media(lines: Sequence[str]) -> MediaSection:
    kind, port, _protocol, *formats = lines[0].split()
    section = MediaSection(kind, rejected=port == "0")
    rtpmaps: dict[int, str] = {}
    fmtps: dict[int, str] = {}
    for line in lines[1:]:
        key, _, value = line.strip().partition(":")
        if key == "a=mid":
            section.mid = value
        elif key == "a=rtpmap":
            payload_type, _, rtpmap = value.partition(" ")
            rtpmaps[int(payload_type)] = rtpmap.strip()
        elif key == "a=fmtp":
            payload_type, _, fmtp = value.partition(" ")
            fmtps[int(payload_type)] = fmtp.strip()
        elif key == "a=ssrc":
            ssrc = int(value.split()[0])
            if ssrc not in section.ssrcs:
                section.ssrcs.append(ssrc)
        elif key == "a=extmap":
            number, uri = value.split()[:2]
            section.extensions[uri] = int(number.split("/")[0])
        elif key[2:] in _DIRECTIONS:
            section.direction = key[2:]
    section.codecs = [
        Codec(int(pt), rtpmaps[int(pt)], fmtps.get(int(pt), ""))
        for pt in formats
        if pt.isdigit() and int(pt) in rtpmaps
    ]
    return section


class SessionWriter:
    """Writes the local descriptions of one peer connection; the version counts up by itself."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        self._session_id = secrets.randbits(31)
        self._version = 0
        self._mids: list[str] = []
        self._lines: list[str] = []

    def begin(self) -> None:
        """Start a new description."""
        self._version += 1
        self._mids = []
        self._lines = []

    def add(
        self,
        kind: str,
        mid: str,
        codec: Codec,
        *,
        address: tuple[str, int],
        credentials: tuple[str, str],
        setup: str,
        direction: str,
        attributes: Iterable[str] = (),
        others: Iterable[Codec] = (),
    ) -> None:
        """Append one m-line.

        Args:
            kind: "audio" or "video".
            mid: The media id.
            codec: The codec that is used.
            address: Host and port of our candidate.
            credentials: ICE user fragment and password.
            setup: The DTLS role: "actpass" in an offer, "passive" in an answer.
            direction: "sendonly", "recvonly" or "inactive".
            attributes: Further attribute lines, without the "a=".
            others: Codecs that could be used. webrtc-rs takes the codecs of a kind from the first
                m-line of that kind, and knows no other in a later one.
        """
        host, port = address
        lines = [
            f"c=IN IP4 {host}",
            f"a=candidate:1 1 udp {_HOST_PRIORITY} {host} {port} typ host",
            "a=end-of-candidates",
            f"a=ice-ufrag:{credentials[0]}",
            f"a=ice-pwd:{credentials[1]}",
            f"a=fingerprint:sha-256 {self._fingerprint}",
            f"a=setup:{setup}",
            f"a=mid:{mid}",
            f"a={direction}",
            "a=rtcp-mux",
        ]
        codecs = [codec, *others]
        for each in codecs:
            number = each.payload_type
            lines.append(f"a=rtpmap:{number} {each.rtpmap}")
            if each.fmtp:
                lines.append(f"a=fmtp:{number} {each.fmtp}")
            if kind == "video":
                lines += [f"a=rtcp-fb:{number} {feedback}" for feedback in _VIDEO_FEEDBACK]
        lines += [f"a={attribute}" for attribute in attributes]
        self._mids.append(mid)
        formats = " ".join(str(each.payload_type) for each in codecs)
        self._lines += [f"m={kind} {port} UDP/TLS/RTP/SAVPF {formats}", *lines]

    def finish(self) -> str:
        """The description."""
        head = [
            "v=0",
            f"o=- {self._session_id} {self._version} IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            "a=ice-lite",
            f"a=group:BUNDLE {' '.join(self._mids)}",
            "a=extmap-allow-mixed",
            "a=msid-semantic: WMS *",
        ]
        return "\r\n".join([*head, *self._lines, ""])
