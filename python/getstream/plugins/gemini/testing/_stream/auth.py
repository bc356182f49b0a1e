"""The API key and the tokens signed with its secret."""

from __future__ import annotations

import secrets
import time
from typing import Any

import jwt

__all__ = ["Credentials"]

_ALGORITHM = "HS256"
_MINIMUM_SECRET = 32
"""Bytes: RFC 7518, section 3.2, asks for a key at least as long as the hash."""
_LEEWAY = 10.0


class Credentials:
    """An API key and its secret; both are random unless given."""

    def __init__(self, api_key: str | None = None, api_secret: str | None = None) -> None:
        """Take or make the key and the secret.

        Raises:
            ValueError: The key is empty, or the secret is too short for HS256.
        """
        self.api_key = secrets.token_hex(6) if api_key is None else api_key
        self.api_secret = secrets.token_hex(32) if api_secret is None else api_secret
        if not self.api_key:
            raise ValueError("api_key is empty; leave it out to get a random one")
        if len(self.api_secret.encode()) < _MINIMUM_SECRET:
            raise ValueError(
                f"api_secret has {len(self.api_secret.encode())} bytes and HS256 needs "
                f"{_MINIMUM_SECRET}; leave it out to get a random one"
            )

    def decode(self, token: str) -> dict[str, Any]:
        """The claims of a token.

        Raises:
            jwt.PyJWTError: The token is no JWT, expired, or signed with another secret.
        """
        claims: dict[str, Any] = jwt.decode(
            token, self.api_secret, algorithms=[_ALGORITHM], leeway=_LEEWAY
        )
        return claims

    def sign(self, **claims: Any) -> str:
        """A token with these claims."""
        return jwt.encode(
            {"iat": int(time.time()), **claims}, self.api_secret, algorithm=_ALGORITHM
        )
