"""DTLS-SRTP for one peer connection, without tasks: datagrams in, datagrams out.

OpenSSL does the handshake in a memory BIO (RFC 5764 for the SRTP keys), libsrtp the media. Both are
dependencies of aiortc. aiortc's own `RTCDtlsTransport` is not used because it ends in aiortc's
decoders and jitter buffer, while a forwarding server wants the packets as they are.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import secrets
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from pylibsrtp import Error as SrtpError
from pylibsrtp import Policy, Session

from .rtp import is_rtcp

__all__ = ["Certificate", "DtlsSrtp"]

logger = logging.getLogger(__name__)

# AES-128 counter mode with HMAC-SHA1-80 is the profile that every WebRTC endpoint has (RFC 8827).
_SRTP_PROFILE = b"SRTP_AES128_CM_SHA1_80"
_KEY_LENGTH, _SALT_LENGTH = 16, 14
_CIPHERS = b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-SHA"
_OP_NO_ENCRYPT_THEN_MAC = 1 << 19  # openssl/ssl.h; pyOpenSSL has no name for it
_MTU = 1200
_RECORD_HEADER = 13
_EARLY_DATAGRAMS = 32


class Certificate:
    """A self-signed certificate and the fingerprint by which SDP announces it."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, secrets.token_hex(16))])
        now = datetime.datetime.now(datetime.timezone.utc)
        self.x509 = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .sign(self.key, hashes.SHA256())
        )
        self.fingerprint = _fingerprint(self.x509, "sha-256")


_DIGESTS: dict[str, type[hashes.HashAlgorithm]] = {
    "sha-256": hashes.SHA256,
    "sha-384": hashes.SHA384,
    "sha-512": hashes.SHA512,
}


def _fingerprint(certificate: x509.Certificate, algorithm: str) -> str:
    """The certificate fingerprint as SDP writes it (RFC 8122): colon-separated upper-case hex."""
    return certificate.fingerprint(_DIGESTS[algorithm]()).hex(":").upper()


class DtlsSrtp:
    """One DTLS-SRTP association.

    Attributes:
        state: "new", "connecting", "connected", "failed" or "closed".
    """

    def __init__(
        self,
        certificate: Certificate,
        *,
        send: Callable[[bytes], None],
        on_rtp: Callable[[bytes], None],
        on_rtcp: Callable[[bytes], None],
        on_state: Callable[[], None],
    ) -> None:
        """Create an association that does nothing until `start`.

        Args:
            certificate: Our certificate.
            send: Sends one datagram to the peer.
            on_rtp: Gets each decrypted RTP packet.
            on_rtcp: Gets each decrypted RTCP packet.
            on_state: Called after each change of `state`.
        """
        self.state = "new"
        self._certificate = certificate
        self._send = send
        self._on_rtp = on_rtp
        self._on_rtcp = on_rtcp
        self._on_state = on_state
        self._remote_fingerprint = ("", "")
        self._server = False
        self._ssl: SSL.Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._inbound: Session | None = None
        self._outbound: Session | None = None
        # What a peer sends before its signalling has told us who it is.
        self._early: list[bytes] = []

    def start(self, *, server: bool, fingerprint: tuple[str, str]) -> None:
        """Begin the handshake.

        Args:
            server: True if the peer opens the handshake.
            fingerprint: Hash name and value of the peer's certificate, from its SDP.
        """
        if self.state != "new":
            return
        self._server = server
        self._remote_fingerprint = fingerprint
        context = SSL.Context(SSL.DTLS_METHOD)
        # The chain proves nothing in WebRTC; the fingerprint is compared after the handshake.
        context.set_verify(
            SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_arguments: True
        )
        context.use_certificate(self._certificate.x509)
        context.use_privatekey(self._certificate.key)
        context.set_cipher_list(_CIPHERS)
        context.set_tlsext_use_srtp(_SRTP_PROFILE)
        # webrtc-rs logs a warning for each of the two extensions that this leaves out.
        context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET | _OP_NO_ENCRYPT_THEN_MAC)
        self._ssl = SSL.Connection(context, None)
        self._ssl.set_ciphertext_mtu(_MTU)
        if server:
            self._ssl.set_accept_state()
        else:
            self._ssl.set_connect_state()
        self._set_state("connecting")
        self._handshake()
        early, self._early = self._early, []
        for datagram in early:
            self.receive(datagram)

    def receive(self, datagram: bytes) -> None:
        """Take one datagram of the peer: DTLS or SRTP, told apart by its first byte (RFC 7983)."""
        if not datagram:
            return
        if self.state == "new":
            if len(self._early) < _EARLY_DATAGRAMS:
                self._early.append(datagram)
        elif 20 <= datagram[0] <= 63:
            self._receive_dtls(datagram)
        elif 128 <= datagram[0] <= 191 and self._inbound is not None:
            try:
                if is_rtcp(datagram):
                    packet, handler = self._inbound.unprotect_rtcp(datagram), self._on_rtcp
                else:
                    packet, handler = self._inbound.unprotect(datagram), self._on_rtp
            except SrtpError as error:  # a replayed or damaged packet
                logger.debug("SRTP packet refused: %s", error)
            else:
                handler(packet)

    def send_rtp(self, packet: bytes) -> bool:
        """Encrypt and send one RTP or RTCP packet; False if the association is not up."""
        if self.state != "connected" or self._outbound is None:
            return False
        try:
            if is_rtcp(packet):
                datagram = self._outbound.protect_rtcp(packet)
            else:
                datagram = self._outbound.protect(packet)
        except SrtpError as error:  # older than SRTP's replay window of 128 packets
            logger.debug("SRTP packet not sent: %s", error)
            return False
        self._send(datagram)
        return True

    def close(self) -> None:
        """Tell the peer (close_notify) and stop. May be called in any state, and twice."""
        if self._ssl is not None and self.state in ("connecting", "connected"):
            try:
                self._ssl.shutdown()
                self._flush()
            except SSL.Error:
                pass  # no handshake yet: there is nothing to close
        self._finish("closed")

    # -- DTLS ---------------------------------------------------------------

    def _receive_dtls(self, datagram: bytes) -> None:
        if self._ssl is None or self.state not in ("connecting", "connected"):
            return
        self._ssl.bio_write(datagram)
        if self.state == "connecting":
            self._handshake()
            return
        try:
            self._ssl.recv(_MTU)
        except SSL.ZeroReturnError:  # close_notify of the peer
            self._flush()
            self._finish("closed")
            return
        except SSL.Error:
            pass  # a retransmission, or an alert that ends nothing
        self._flush()

    def _handshake(self) -> None:
        assert self._ssl is not None
        try:
            self._ssl.do_handshake()
        except SSL.WantReadError:
            self._flush()
            self._arm_timer()
            return
        except SSL.Error as error:
            self._flush()
            self._fail(f"handshake: {error}")
            return
        self._flush()
        self._cancel_timer()
        algorithm, expected = self._remote_fingerprint
        certificate = self._ssl.get_peer_certificate(as_cryptography=True)
        if certificate is None or algorithm.lower() not in _DIGESTS:
            self._fail(f"no certificate with a known fingerprint hash ({algorithm or 'none'})")
        elif _fingerprint(certificate, algorithm.lower()) != expected.upper():
            self._fail("the certificate has another fingerprint than the SDP")
        elif self._ssl.get_selected_srtp_profile() != _SRTP_PROFILE:
            self._fail("no SRTP profile in common")
        else:
            self._set_up_srtp()
            self._set_state("connected")

    def _set_up_srtp(self) -> None:
        assert self._ssl is not None
        material = self._ssl.export_keying_material(
            b"EXTRACTOR-dtls_srtp", 2 * (_KEY_LENGTH + _SALT_LENGTH)
        )
        # RFC 5764, section 4.2: client key, server key, client salt, server salt.
        keys = 2 * _KEY_LENGTH
        client = material[:_KEY_LENGTH] + material[keys : keys + _SALT_LENGTH]
        server = material[_KEY_LENGTH:keys] + material[keys + _SALT_LENGTH :]
        ours, theirs = (server, client) if self._server else (client, server)
        self._inbound = self._session(theirs, Policy.SSRC_ANY_INBOUND)
        self._outbound = self._session(ours, Policy.SSRC_ANY_OUTBOUND)

    @staticmethod
    def _session(key: bytes, ssrc_type: int) -> Session:
        policy = Policy(
            key=key, ssrc_type=ssrc_type, srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80
        )
        # Retransmissions (NACK) repeat a sequence number on purpose.
        policy.allow_repeat_tx = True
        policy.window_size = 1024
        return Session(policy)

    def _flush(self) -> None:
        """Send what OpenSSL wrote, whole records only: a BIO keeps no datagram boundaries."""
        assert self._ssl is not None
        pending = b""
        while True:
            try:
                pending += self._ssl.bio_read(65536)
            except SSL.Error:
                break
        datagram = b""
        while len(pending) >= _RECORD_HEADER:
            size = _RECORD_HEADER + int.from_bytes(pending[11:13], "big")
            record, pending = pending[:size], pending[size:]
            if datagram and len(datagram) + len(record) > _MTU:
                self._send(datagram)
                datagram = b""
            datagram += record
        if datagram:
            self._send(datagram)

    def _arm_timer(self) -> None:
        assert self._ssl is not None
        self._cancel_timer()
        timeout = self._ssl.DTLSv1_get_timeout()
        if timeout is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(timeout, self._retransmit)

    def _retransmit(self) -> None:
        self._timer = None
        if self._ssl is None or self.state != "connecting":
            return
        try:
            self._ssl.DTLSv1_handle_timeout()
        except SSL.Error as error:  # too many retransmissions
            self._fail(f"handshake: {error}")
            return
        self._flush()
        self._arm_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fail(self, reason: str) -> None:
        logger.warning("DTLS failed: %s", reason)
        self._finish("failed")

    def _finish(self, state: str) -> None:
        self._cancel_timer()
        self._ssl = self._inbound = self._outbound = None
        self._early.clear()
        if self.state not in ("failed", "closed"):
            self._set_state(state)

    def _set_state(self, state: str) -> None:
        self.state = state
        self._on_state()
