"""One peer connection of a participant: ICE-lite, DTLS-SRTP and the SDP that announces them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .dtls import Certificate, DtlsSrtp
from .ice import IceLite, IceTransport
from .sdp import Codec, RemoteDescription, SessionWriter

__all__ = ["PeerConnection"]


class PeerConnection:
    """All m-lines of the connection are bundled on one transport."""

    def __init__(
        self,
        agent: IceLite,
        certificate: Certificate,
        label: str,
        *,
        on_rtp: Callable[[bytes], None],
        on_rtcp: Callable[[bytes], None],
        on_state: Callable[[], None],
    ) -> None:
        self.ice = IceTransport(
            agent, label, on_connected=self._start_dtls, on_datagram=self._on_datagram
        )
        self._dtls = DtlsSrtp(
            certificate, send=self.ice.send, on_rtp=on_rtp, on_rtcp=on_rtcp, on_state=on_state
        )
        self._sdp = SessionWriter(certificate.fingerprint)
        self._remote: RemoteDescription | None = None
        self._dtls_server = True

    @property
    def state(self) -> str:
        """The DTLS state: "new", "connecting", "connected", "failed" or "closed"."""
        return self._dtls.state

    def take_offer(self, offer: RemoteDescription) -> None:
        """Take an offer; we answer "passive", so the peer opens DTLS.

        A new user fragment in a later offer is an ICE restart: we answer with new credentials too.
        """
        if self._remote is not None and self._remote.ufrag != offer.ufrag:
            self.ice.restart()
        self._take(offer, dtls_server=True)

    def take_answer(self, answer: RemoteDescription) -> None:
        """Take an answer. We offer "actpass"; getstream 7 answers "passive", 6 "active"."""
        self._take(answer, dtls_server=answer.setup != "passive")

    def send(self, packet: bytes) -> bool:
        """Send one RTP or RTCP packet; False if the connection is not up."""
        return self._dtls.send_rtp(packet)

    def close(self) -> None:
        """Close DTLS, then ICE."""
        self._dtls.close()
        self.ice.close()

    def begin_description(self) -> None:
        """Start a new local description."""
        self._sdp.begin()

    def add_media(
        self,
        kind: str,
        mid: str,
        codec: Codec,
        *,
        setup: str,
        direction: str,
        attributes: Iterable[str] = (),
        others: Iterable[Codec] = (),
    ) -> None:
        """Append an m-line to the local description; see `SessionWriter.add`."""
        self._sdp.add(
            kind,
            mid,
            codec,
            address=self.ice.address,
            credentials=(self.ice.ufrag, self.ice.pwd),
            setup=setup,
            direction=direction,
            attributes=attributes,
            others=others,
        )

    def finish_description(self) -> str:
        """The local description."""
        return self._sdp.finish()

    def _on_datagram(self, datagram: bytes) -> None:
        self._dtls.receive(datagram)

    def _take(self, description: RemoteDescription, *, dtls_server: bool) -> None:
        self._remote = description
        self._dtls_server = dtls_server
        if self.ice.connected:
            self._start_dtls()

    def _start_dtls(self) -> None:
        # It takes both: the peer's fingerprint (SDP) and its address (ICE). Once started, it runs.
        if self._remote is not None:
            self._dtls.start(server=self._dtls_server, fingerprint=self._remote.fingerprint)
