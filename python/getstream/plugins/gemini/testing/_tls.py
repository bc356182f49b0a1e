"""Certificates for servers on the loopback interface.

`google-genai` dials `wss://` whatever it is given, so a local server has to speak TLS, and the
client has to trust it. An `Authority` is a certificate authority that lives as long as one run: its
own key is never written anywhere and is dropped once the one server certificate is signed.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import ssl
import tempfile
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority"]

_LIFETIME = datetime.timedelta(days=30)
_CLOCK_SKEW = datetime.timedelta(days=1)


class Authority:
    """A fresh certificate authority and one server certificate, for `localhost` and loopback.

    The server certificate is a leaf, not the authority itself: OpenSSL would accept the shortcut,
    but verifiers that follow RFC 5280 strictly (Rust's `webpki`, Python 3.13) do not.

    The files are in a private temporary folder until `close()`, the private key readable by its
    owner only. Also a context manager.

    Args:
        names: DNS names besides `localhost` for which the certificate is valid.
    """

    def __init__(self, *names: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="gemini-testing-tls-"))  # mode 0700
        self._server_context: ssl.SSLContext | None = None
        try:
            self._issue(["localhost", *names])
        except BaseException:
            self.close()
            raise

    @property
    def ca_file(self) -> Path:
        """PEM file of the authority: what a client has to trust."""
        return self._folder / "ca.pem"

    def server_context(self) -> ssl.SSLContext:
        """A context for servers, with the certificate and its key."""
        if self._server_context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._folder / "server.pem", self._folder / "server.key")
            self._server_context = context
        return self._server_context

    def client_context(self) -> ssl.SSLContext:
        """A context for clients that trusts this authority and nobody else."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def close(self) -> None:
        """Removes the files. Idempotent."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Authority:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _issue(self, names: list[str]) -> None:
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "local test authority")])
        ca = (
            _builder(ca_name, ca_name, ca_key.public_key(), ca_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(sign_certificates=True), critical=True)
            .sign(ca_key, hashes.SHA256())
        )
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        alternatives: list[x509.GeneralName] = [x509.DNSName(n) for n in names]
        alternatives += [
            x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")
        ]
        leaf = (
            _builder(name, ca_name, key.public_key(), ca_key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        self.ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        (self._folder / "server.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        descriptor = os.open(self._folder / "server.key", os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
        )
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
