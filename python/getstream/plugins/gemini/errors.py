"""The errors of this package.

Everything that the package raises on its own account is a `GeminiError`::

    GeminiError(Exception)
    ├── ConfigError(GeminiError, ValueError)    an argument, a variable or a combination of options
    ├── AudioError(GeminiError, ValueError)     PCM of unusable dtype, shape, rate or length
    ├── VideoError(GeminiError, ValueError)     frames or a track that cannot be sent as pictures
    ├── SessionError(GeminiError)               the Gemini Live session; has code, reason, ...
    │   ├── ConnectError                        not reached, or no answer in time
    │   ├── AuthError                           the key was refused, or the token is spent
    │   ├── QuotaError                          the quota is used up, or the rate limit was hit
    │   ├── ModelNotFoundError                  not offered for live sessions
    │   ├── RequestError                        the service refused a field of the request (1007)
    │   ├── ConnectionLostError                 it ended after having been set up
    │   └── SessionExpiredError                 it has reached its greatest age, or is not known
    ├── CallError(GeminiError)                  the Stream side; see `__cause__`
    ├── ToolError(GeminiError)                  raised by a tool, for the model to read
    └── ClosedError(GeminiError)                a method was called after `close()`

A message says what happened and what to do about it.
"""

from __future__ import annotations

from ._terminal import one_line

__all__ = [
    "AudioError",
    "AuthError",
    "CallError",
    "ClosedError",
    "ConfigError",
    "ConnectError",
    "ConnectionLostError",
    "GeminiError",
    "ModelNotFoundError",
    "QuotaError",
    "RequestError",
    "SessionError",
    "SessionExpiredError",
    "ToolError",
    "VideoError",
]


class GeminiError(Exception):
    """Base of every error that this package raises."""


class ConfigError(GeminiError, ValueError):
    """An argument, an environment variable or a combination of options cannot be used."""


class AudioError(GeminiError, ValueError):
    """PCM that cannot be used: unknown dtype, shape or sample rate, or an odd number of bytes."""


class VideoError(GeminiError, ValueError):
    """Video that cannot be used: not a picture, or a track that failed."""


class SessionError(GeminiError):
    """The Gemini Live session could not be set up, or ended.

    The message quotes the service, and is one printable line.

    Attributes:
        code: WebSocket close code (RFC 6455) or HTTP status, None when there was neither.
        reason: What the service said, word for word; empty when it said nothing.
        retryable: True if the same call may succeed later without a change by the user.
        remedy: What the user can do about it; empty when there is no advice.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        reason: str = "",
        retryable: bool = False,
        remedy: str = "",
    ) -> None:
        super().__init__(one_line(message))
        self.code = code
        self.reason = reason
        self.retryable = retryable
        self.remedy = remedy

    def __str__(self) -> str:
        """The message, followed by the remedy unless the message holds it already."""
        message = super().__str__()
        if self.remedy and self.remedy not in message:
            return f"{message.rstrip('.')}. {self.remedy}"
        return message

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the attributes when the error crosses a process boundary."""
        return (type(self), self.args, self.__dict__.copy())


class ConnectError(SessionError):
    """The service could not be reached (by a proxy, for example), or did not answer in time."""


class AuthError(SessionError):
    """The service refused the key, or the ephemeral token has expired or is used up."""


class QuotaError(SessionError):
    """The quota is used up, or a rate limit was hit."""


class ModelNotFoundError(SessionError):
    """The service does not offer this model for live sessions."""


class RequestError(SessionError):
    """The service refused a field of the request (close code 1007).

    Attributes:
        option: The option that the service names, as a path such as
            `setup.generation_config.temprature`; empty when it names none.
    """

    def __init__(
        self,
        message: str,
        *,
        option: str = "",
        code: int | None = None,
        reason: str = "",
        retryable: bool = False,
        remedy: str = "",
    ) -> None:
        super().__init__(message, code=code, reason=reason, retryable=retryable, remedy=remedy)
        self.option = option


class ConnectionLostError(SessionError):
    """The connection ended after the session had been set up."""


class SessionExpiredError(SessionError):
    """The session has reached its greatest age, or the service does not know it any more."""


class CallError(GeminiError):
    """The Stream side of the call failed; `__cause__` is getstream's own error."""


class ToolError(GeminiError):
    """A tool cannot do what it was called for; the model reads the message.

    Attributes:
        retryable: Whether the model may call it again.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class ClosedError(GeminiError):
    """A method was called after `close()`."""
