"""Read and write STUN binding requests and their answers (RFC 8489), as ICE needs them."""

from __future__ import annotations

import hashlib
import hmac
import socket
import struct
import zlib
from dataclasses import dataclass

__all__ = ["BindingRequest", "binding_request", "binding_response"]

_HEADER = struct.Struct("!HHI12s")
_COOKIE = 0x2112A442
_BINDING_REQUEST = 0x0001
_BINDING_RESPONSE = 0x0101
_USERNAME = 0x0006
_MESSAGE_INTEGRITY = 0x0008
_PRIORITY = 0x0024
_XOR_MAPPED_ADDRESS = 0x0020
_USE_CANDIDATE = 0x0025
_FINGERPRINT = 0x8028
_ICE_CONTROLLING = 0x802A
_FINGERPRINT_XOR = 0x5354554E
_IPV4 = 1
# RFC 8445, section 5.1.2: type preference 110 (peer reflexive), local preference 65535.
_CHECK_PRIORITY = 1862270975


@dataclass(frozen=True)
class BindingRequest:
    """A binding request: an ICE connectivity check if it has a user name, else plain STUN.

    Attributes:
        transaction_id: 12 bytes that the answer repeats.
        username: "<our ufrag>:<their ufrag>", empty for plain STUN.
        nominated: True if it carries USE-CANDIDATE.
    """

    transaction_id: bytes
    username: str
    nominated: bool
    _signed: bytes
    _signature: bytes

    @classmethod
    def parse(cls, datagram: bytes) -> BindingRequest | None:
        """The request in `datagram`, or None if it is none."""
        if len(datagram) < _HEADER.size:
            return None
        kind, length, cookie, transaction_id = _HEADER.unpack_from(datagram)
        if (kind, cookie, length) != (_BINDING_REQUEST, _COOKIE, len(datagram) - _HEADER.size):
            return None
        username, nominated, signed, signature = "", False, b"", b""
        position = _HEADER.size
        while position + 4 <= len(datagram) and not signature:  # what follows it is not signed
            attribute, size = struct.unpack_from("!HH", datagram, position)
            value = datagram[position + 4 : position + 4 + size]
            if attribute == _USERNAME:
                username = value.decode(errors="replace")
            elif attribute == _USE_CANDIDATE:
                nominated = True
            elif attribute == _MESSAGE_INTEGRITY:
                # The signature covers a header whose length ends with the signature itself.
                length = position + 24 - _HEADER.size
                head = _HEADER.pack(kind, length, cookie, transaction_id)
                signed, signature = head + datagram[_HEADER.size : position], value
            position += 4 + size + -size % 4
        return cls(transaction_id, username, nominated, signed, signature)

    def signed_with(self, password: str) -> bool:
        """True if the MESSAGE-INTEGRITY attribute is there and made with `password`."""
        return hmac.compare_digest(self._signature, _hmac(password, self._signed))


def binding_response(
    transaction_id: bytes, address: tuple[str, int], password: str | None = None
) -> bytes:
    """The answer to a binding request.

    Args:
        transaction_id: Of the request.
        address: IPv4 address and port that the request came from.
        password: Signs the answer to a connectivity check; None for plain STUN.
    """
    host, port = address
    mapped = int.from_bytes(socket.inet_aton(host), "big") ^ _COOKIE
    body = struct.pack("!HHBBHI", _XOR_MAPPED_ADDRESS, 8, 0, _IPV4, port ^ (_COOKIE >> 16), mapped)

    def message(length: int) -> bytes:
        return _HEADER.pack(_BINDING_RESPONSE, length, _COOKIE, transaction_id) + body

    if password is not None:
        signature = _hmac(password, message(len(body) + 24))
        body += struct.pack("!HH", _MESSAGE_INTEGRITY, 20) + signature
    checksum = zlib.crc32(message(len(body) + 8)) ^ _FINGERPRINT_XOR
    body += struct.pack("!HHI", _FINGERPRINT, 4, checksum)
    return message(len(body))


def binding_request(transaction_id: bytes, username: str, password: str) -> bytes:
    """Return a connectivity check of a controlling agent that nominates its pair (RFC 8445).

    Args:
        transaction_id: 12 random bytes.
        username: "<their ufrag>:<our ufrag>".
        password: Theirs; it signs the check.
    """
    name = username.encode()
    body = b"".join(
        (
            struct.pack("!HH", _USERNAME, len(name)) + name + bytes(-len(name) % 4),
            struct.pack("!HHI", _PRIORITY, 4, _CHECK_PRIORITY),
            struct.pack("!HH8s", _ICE_CONTROLLING, 8, transaction_id[:8]),
            struct.pack("!HH", _USE_CANDIDATE, 0),
        )
    )

    def message(length: int) -> bytes:
        return _HEADER.pack(_BINDING_REQUEST, length, _COOKIE, transaction_id) + body

    signature = _hmac(password, message(len(body) + 24))
    body += struct.pack("!HH", _MESSAGE_INTEGRITY, 20) + signature
    checksum = zlib.crc32(message(len(body) + 8)) ^ _FINGERPRINT_XOR
    body += struct.pack("!HHI", _FINGERPRINT, 4, checksum)
    return message(len(body))


def _hmac(password: str, data: bytes) -> bytes:
    return hmac.new(password.encode(), data, hashlib.sha1).digest()
