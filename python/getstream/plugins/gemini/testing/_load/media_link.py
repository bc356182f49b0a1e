"""Connect to the local SFU as a client does: ICE checks, DTLS-SRTP, packets as they are.

The other side is `_stream`, an ICE-lite agent. A connection of the SDK or of aiortc would decode,
buffer and pace; a person of the load generator wants packets alone, at a third of the CPU: 0.7 % of
a core in all, where a `Person` on the SDK takes 2.3 %.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import Callable, Sequence

from ...errors import CallError
from .._stream.dtls import Certificate, DtlsSrtp
from .._stream.sdp import Codec, RemoteDescription, SessionWriter
from .._stream.stun import binding_request

__all__ = ["MediaLink"]

CHECK_S = 0.1
"""Seconds between two connectivity checks; on loopback the first one is answered."""

CONNECT_S = 10.0
"""Longest time to connect. A loaded machine takes a second; more means that nobody answers."""

_OPUS = Codec(111, "opus/48000/2", "minptime=10;useinbandfec=1")
_PASSWORD = re.compile(r"^a=ice-pwd:(\S+)", re.MULTILINE)
_CANDIDATE = re.compile(r"^a=candidate:\S+ 1 udp \d+ (\S+) (\d+)", re.MULTILINE | re.IGNORECASE)


class MediaLink(asyncio.DatagramProtocol):
    """One peer connection to the local SFU, on a UDP socket of its own.

    Args:
        certificate: Ours; many links may share one.
        on_rtp: Gets each decrypted RTP packet.
    """

    def __init__(self, certificate: Certificate, on_rtp: Callable[[bytes], None]) -> None:
        self._ufrag, self._pwd = secrets.token_hex(4), secrets.token_hex(16)
        self._sdp = SessionWriter(certificate.fingerprint)
        self._socket: asyncio.DatagramTransport | None = None
        self._remote: RemoteDescription | None = None
        self._changed = asyncio.Event()
        self._answered = False
        self._dtls = DtlsSrtp(
            certificate,
            send=self._send,
            on_rtp=on_rtp,
            on_rtcp=lambda _: None,  # nobody here adapts to reports
            on_state=self._changed.set,
        )

    def offer(self, ssrc: int, level_extension: tuple[int, str]) -> str:
        """Return the offer to send one track of Opus.

        Args:
            ssrc: Of its packets.
            level_extension: Number and URI of the header extension with the audio level.
        """
        number, uri = level_extension
        return self._describe(
            [("audio", "0", _OPUS)],
            setup="actpass",
            direction="sendonly",
            attributes=[f"extmap:{number} {uri}", f"ssrc:{ssrc} cname:person"],
        )

    def answer(self, offer: str) -> str:
        """Return the answer to an offer of the SFU: everything is received."""
        media = RemoteDescription(offer).media
        sections = [(each.kind, each.mid, each.codecs[0]) for each in media]
        return self._describe(sections, setup="active", direction="recvonly")

    async def connect(self, description: str) -> None:
        """Connect to the SFU of its description. Later descriptions of it change nothing here.

        Raises:
            CallError: It does not answer, or the handshake fails.
        """
        if self._remote is not None:
            return
        self._remote = RemoteDescription(description)
        password, candidate = _PASSWORD.search(description), _CANDIDATE.search(description)
        if password is None or candidate is None:
            raise CallError("the SFU has described no address to connect to")
        address = (candidate[1], int(candidate[2]))
        loop = asyncio.get_running_loop()
        self._socket, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=address)
        try:
            await asyncio.wait_for(self._handshake(self._remote, password[1]), CONNECT_S)
        except asyncio.TimeoutError:
            raise CallError(f"no media connection to the SFU within {CONNECT_S:g} s") from None

    def send(self, packet: bytes) -> bool:
        """Send one RTP packet; False if the connection is not up."""
        return self._dtls.send_rtp(packet)

    def close(self) -> None:
        """Close the connection. May be called twice."""
        self._dtls.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # -- asyncio.DatagramProtocol ------------------------------------------------------------------

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        """Sort by the first byte (RFC 7983): 0 to 3 is STUN, here an answer to a check."""
        if data and data[0] < 4:
            self._answered = True
            self._changed.set()
        else:
            self._dtls.receive(data)

    def error_received(self, exc: Exception) -> None:
        """Ignore that the SFU has gone: its signalling socket tells."""

    # -- inside ------------------------------------------------------------------------------------

    async def _handshake(self, remote: RemoteDescription, password: str) -> None:
        username = f"{remote.ufrag}:{self._ufrag}"
        while not self._answered:
            self._send(binding_request(secrets.token_bytes(12), username, password))
            self._changed.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), CHECK_S)
        # The SFU answers "passive" and offers "actpass": the handshake is always ours to open.
        self._dtls.start(server=False, fingerprint=remote.fingerprint)
        while self._dtls.state != "connected":
            if self._dtls.state in ("failed", "closed"):
                raise CallError(f"the media connection to the SFU is {self._dtls.state}")
            self._changed.clear()
            await self._changed.wait()

    def _send(self, datagram: bytes) -> None:
        if self._socket is not None:
            self._socket.sendto(datagram)

    def _describe(
        self,
        sections: Sequence[tuple[str, str, Codec]],
        *,
        setup: str,
        direction: str,
        attributes: Sequence[str] = (),
    ) -> str:
        self._sdp.begin()
        for kind, mid, codec in sections:
            self._sdp.add(
                kind,
                mid,
                codec,
                address=("127.0.0.1", 9),  # the discard port: checks tell the real one
                credentials=(self._ufrag, self._pwd),
                setup=setup,
                direction=direction,
                attributes=attributes,
            )
        return self._sdp.finish()
