"""Limit how often and for how long an ephemeral token lets somebody in.

Texts and codes as they are reported of the service; resuming a session takes no use of its token.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from dataclasses import dataclass

from ...errors import ConfigError
from .wire import RefusalError

__all__ = ["EphemeralToken", "TokenState"]

_PREFIX = "auth_tokens/"
_EXPIRED = "Token has expired"
_EXPIRED_IN_SESSION = "auth token has expired"
_USED_UP = "Token has been used too many times"


@dataclass(frozen=True)
class EphemeralToken:
    """Sets the limits of a token that the server accepts, as `auth_tokens.create` does.

    A session that is open when its token expires is closed with 1011 "auth token has expired".
    After that, also to resume it, the answer is 1011 "Token has expired"; to a new session when the
    token is spent, 1011 "Token has been used too many times". `repr` does not show the token.

    Attributes:
        name: The token, `auth_tokens/...`.
        uses: New sessions that it opens; 0 for any number. Resuming a session takes none.
        new_session_s: Seconds from the server's start in which it opens new sessions.
        expires_s: Seconds from the server's start after which it is worth nothing.
            `LocalGemini.expire_token` ends it at once.

    Raises:
        ConfigError: Not the name of a token, or limits that cannot be.
    """

    name: str
    uses: int = 1
    new_session_s: float = 60.0
    expires_s: float = 1800.0

    def __post_init__(self) -> None:
        if not self.name.startswith(_PREFIX) or self.name == _PREFIX:
            raise ConfigError(f"the name of an EphemeralToken begins with {_PREFIX!r}")
        if self.uses < 0 or not 0 < self.new_session_s <= self.expires_s < math.inf:
            raise ConfigError("an EphemeralToken needs uses >= 0, 0 < new_session_s <= expires_s")

    def __repr__(self) -> str:
        return (
            f"EphemeralToken(uses={self.uses}, new_session_s={self.new_session_s:g}, "
            f"expires_s={self.expires_s:g})"
        )


class TokenState:
    """Counts what is left of a token on a running server.

    Args:
        token: Its limits.
    """

    def __init__(self, token: EphemeralToken) -> None:
        self._token = token
        self._used = 0
        self._issued_at = asyncio.get_running_loop().time()
        self._ended = asyncio.Event()

    def expire(self) -> None:
        """Ends it now, whatever its limits are."""
        self._ended.set()

    def admit(self, *, resuming: bool) -> None:
        """Lets a session in, and counts a new one.

        Raises:
            RefusalError: The token has expired, or is spent.
        """
        age = asyncio.get_running_loop().time() - self._issued_at
        limit = self._token.expires_s if resuming else self._token.new_session_s
        if self._ended.is_set() or age >= limit:
            raise RefusalError(1011, _EXPIRED)
        if resuming:
            return
        if self._token.uses and self._used >= self._token.uses:
            raise RefusalError(1011, _USED_UP)
        self._used += 1

    async def wait_expired(self) -> RefusalError:
        """Waits until the token expires; returns how a session that is open then is closed."""
        left = self._issued_at + self._token.expires_s - asyncio.get_running_loop().time()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._ended.wait(), left)
        return RefusalError(1011, _EXPIRED_IN_SESSION)
