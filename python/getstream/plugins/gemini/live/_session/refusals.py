"""What the end of a connection means: close codes, HTTP statuses and reasons as typed errors.

Codes alone do not tell: 1008 is a refused key, an unknown model and an aborted operation, 1011 an
internal error and a used-up quota. The reasons are those that are reported of the service
(python-genai #874, #2935; adk-python #3035; livekit #4545; pipecat #3112; sip-to-ai #14).
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import websockets.exceptions
from google.genai import errors as genai_errors

from ...errors import (
    AuthError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    GeminiError,
    ModelNotFoundError,
    QuotaError,
    RequestError,
    SessionError,
    SessionExpiredError,
)

ABNORMAL = 1006
"""The code of a connection that ended without a close frame (RFC 6455, 7.1.5)."""

COMES_BACK = "If it does not come back by itself, check the network and make a new GeminiLive."

_UNKNOWN_NAME = re.compile(r"Unknown name \"(?P<name>[^\"]+)\"(?: at '(?P<place>[^']+)')?")
_INVALID_AT = re.compile(r"[Ii]nvalid value at '(?P<place>[^']+)'")
_EXPIRED = ("session not found", "deadline expired", "session has expired", "operation was cancel")


_E = TypeVar("_E", bound=BaseException)

# The user and password of an address, and keys in its query.
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)|(?<=[?&]key=)[^&\s'\"]+|(?<=token=)[^&\s'\"]+")


def without_frames(error: _E) -> _E:
    """Drop the tracebacks of a whole chain of exceptions, and return its first.

    The frames of the SDK that has connected hold the key as a local variable (`api_key`,
    `headers`), which error reporters show. Type and text of each exception stay.
    """
    for each in _chain_of(error):
        each.__traceback__ = None
    return error


def safe_cause(error: Exception) -> Exception | None:
    """Return an error without frames as a cause; None if a text of its chain shows credentials."""
    texts = [str(each) for each in _chain_of(error)]
    return without_frames(error) if texts == list(map(without_credentials, texts)) else None


def _chain_of(error: BaseException) -> list[BaseException]:
    """Return an error, its causes and contexts, and the members of exception groups."""
    found: list[BaseException] = []
    left: list[BaseException] = [error]
    while left:
        each = left.pop()
        if any(each is other for other in found):
            continue
        found.append(each)
        members = getattr(each, "exceptions", None)
        related = (each.__cause__, each.__context__, *(members or ()))
        left += [other for other in related if isinstance(other, BaseException)]
    return found


def without_credentials(text: str) -> str:
    """Mask the credentials that the addresses in a text hold, such as a proxy's password."""
    return _CREDENTIALS.sub("***", text)


def close_of(error: BaseException) -> tuple[int | None, str]:
    """The close code and reason behind an error of the SDK or of websockets."""
    if isinstance(error, genai_errors.APIError):
        # The SDK puts the close reason where a response body would be.
        detail = error.message or error.details
        reason = detail if isinstance(detail, str) else json.dumps(detail, default=str)
        return error.code, reason
    if isinstance(error, websockets.exceptions.ConnectionClosed):
        frame = error.rcvd
        return (frame.code, frame.reason) if frame is not None else (ABNORMAL, "abnormal closure")
    if isinstance(error, websockets.exceptions.InvalidStatus):
        status = error.response.status_code
        return status, f"HTTP {status}"
    return None, without_credentials(str(error)) or type(error).__name__


def option_of(reason: str) -> str:
    """The option that the service names in a refusal, "" if it names none."""
    if match := _UNKNOWN_NAME.search(reason):
        return ".".join(part for part in (match["place"], match["name"]) if part)
    match = _INVALID_AT.search(reason)
    return match["place"] if match else ""


def refusal(code: int | None, reason: str, model: str) -> SessionError | None:
    """The typed error of a close whose code or reason tells what was wrong; None if it does not."""
    text = reason.lower()
    where: dict[str, Any] = {"code": code, "reason": reason}
    if code in (401, 403) or "api key" in text or "unauthenticated" in text:
        return AuthError(
            f"Gemini refused the key ({code}: {reason})",
            retryable=False,
            remedy="Check GOOGLE_API_KEY: it must be a key of a project with the Gemini API "
            "enabled. Keys: https://aistudio.google.com/apikey",
            **where,
        )
    if "quota" in text or "resource_exhausted" in text or code == 429:
        return QuotaError(
            f"The quota of the Gemini key is used up ({code}: {reason})",
            retryable=True,
            remedy="Wait, close other sessions, or raise the quota of the project.",
            **where,
        )
    if code == 1008 and ("is not found" in text or "not supported for bidi" in text):
        return ModelNotFoundError(
            f"Gemini Live has no model {model!r} ({code}: {reason})",
            retryable=False,
            remedy="Choose a current Live model: https://ai.google.dev/gemini-api/docs/live",
            **where,
        )
    if any(phrase in text for phrase in _EXPIRED):
        return SessionExpiredError(
            f"The Gemini Live session is over ({code}: {reason})",
            retryable=True,
            remedy="Begin a new session.",
            **where,
        )
    if code == 1007:
        option = option_of(reason)
        return RequestError(
            f"Gemini Live refused the request ({code}: {reason})",
            option=option,
            retryable=False,
            remedy=f"Take {option} out of config: {model!r} does not accept it."
            if option
            else f"Check that every option of config is one that {model!r} accepts.",
            **where,
        )
    return None


def connect_error(error: Exception, model: str) -> GeminiError:
    """Why the session could not be set up."""
    code, reason = close_of(error)
    found = refusal(code, reason, model)
    if found is not None:
        return found
    if isinstance(error, websockets.exceptions.InvalidURI):
        return ConfigError(
            "GOOGLE_GEMINI_BASE_URL (or base_url) is not the address of a service: "
            f"{without_credentials(error.uri)!r}"
        )
    if isinstance(error, (genai_errors.APIError, websockets.exceptions.WebSocketException)):
        return ConnectError(
            f"Gemini Live closed the connection before it was set up ({code}: {reason})",
            code=code,
            reason=reason,
            retryable=code != 1008,
            remedy="Try again; if it persists, check the model and the configuration.",
        )
    if isinstance(error, (OSError, EOFError)):
        return ConnectError(
            f"Could not reach Gemini Live ({type(error).__name__}: {reason})",
            reason=reason,
            retryable=True,
            remedy="Check the network, HTTPS_PROXY, SSL_CERT_FILE and GOOGLE_GEMINI_BASE_URL.",
        )
    return ConfigError(f"google-genai could not connect ({type(error).__name__}: {reason})")


def lost_error(error: Exception, model: str) -> SessionError:
    """Why a session that was set up has ended."""
    code, reason = close_of(error)
    found = refusal(code, reason, model)
    if isinstance(found, (AuthError, QuotaError, RequestError, SessionExpiredError)):
        return found
    return ConnectionLostError(
        f"The connection to Gemini Live was lost ({code}: {reason})",
        code=code,
        reason=reason,
        retryable=True,
        remedy=COMES_BACK,
    )
