"""Certificates for servers on the loopback interface.

`google-genai` dials `wss://` whatever it is given, so a local server has to speak TLS, and the
client has to trust it. An `Authority` is a certificate authority that lives as long as one run; no
private key is kept in a file.
"""

from __future__ import annotations

import datetime
import shutil
import ssl
import tempfile
from pathlib import Path
from types import TracebackType

try:
    import trustme
except ModuleNotFoundError as missing:
    if missing.name != "trustme":
        raise
    raise ModuleNotFoundError(
        "The local servers need a few packages more: "
        "pip install 'getstream-plugins-gemini[testing]'",
        name=missing.name,
    ) from None

__all__ = ["Authority"]

_LIFETIME = datetime.timedelta(days=30)
"""Lifetime of the server certificate; a run of tests is shorter."""


class Authority:
    """A fresh certificate authority and one server certificate, for `localhost` and loopback.

    The server certificate is a leaf, not the authority itself: OpenSSL would accept the shortcut,
    but verifiers that follow RFC 5280 strictly (Rust's `webpki`, Python 3.13) do not.

    `ca_file` is in a private temporary folder until `close()`. Also a context manager.

    Args:
        names: DNS names besides `localhost` for which the certificate is valid.
    """

    def __init__(self, *names: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="gemini-testing-tls-"))  # mode 0700
        self._server_context: ssl.SSLContext | None = None
        try:
            authority = trustme.CA(
                organization_name="getstream-plugins-gemini, local test authority"
            )
            authority.cert_pem.write_to_path(str(self.ca_file))
            self._certificate = authority.issue_cert(
                "localhost",
                "127.0.0.1",
                "::1",
                *names,
                not_after=datetime.datetime.now(datetime.timezone.utc) + _LIFETIME,
            )
        except BaseException:
            self.close()
            raise

    @property
    def ca_file(self) -> Path:
        """PEM file of the authority: what a client has to trust."""
        return self._folder / "ca.pem"

    def server_context(self) -> ssl.SSLContext:
        """Return a context for servers, with the certificate and its key."""
        if self._server_context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._certificate.configure_cert(context)
            self._server_context = context
        return self._server_context

    def client_context(self) -> ssl.SSLContext:
        """Return a context for clients that trusts this authority and nobody else."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def close(self) -> None:
        """Remove the folder. Idempotent."""
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
