"""Turn close codes, HTTP statuses and reasons, and failures to connect, into typed errors.

Codes alone do not tell: 1008 is a refused key, an unknown model and an aborted operation, 1011 an
internal error, a used-up quota and an expired token. The reasons are those that are reported of
the service (python-genai #874, #2935; adk-python #3035; livekit #4545; pipecat #3112; sip-to-ai
#14).

Only what the service says is read that way. Everything else that keeps a connection from being made
(the network, a proxy, TLS, Google's sign-in, a function that should give the key) is a failure to
connect, which passes by itself unless it is known not to: see `is_transient`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
from typing import Any, TypeVar
from urllib.parse import urlsplit

import google.auth.exceptions as sign_in
import websockets.exceptions as ws
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
_EXPIRED = ("session not found", "session has expired")
# Of a session that was set up; while it is being resumed, a backend was too slow.
_ABORTED = ("deadline expired", "operation was cancel")
# 1007 "Invalid session handle", 1008 "Requested entity was not found."
_UNKNOWN_HANDLE = re.compile(
    r"session not found|session (has )?expired|entity was not found|resumption token"
    r"|\b(session|resumption|invalid|unknown|expired)\b[^.]{0,30}\bhandle\b"
    r"|\bhandle\b[^.]{0,30}\b(not found|not valid|invalid|expired|unknown)\b"
)
# 1011 "auth token has expired", "Token has expired", "Token has been used too many times"
_SPENT_TOKEN = re.compile(
    r"\btoken\b[^.]{0,40}\b(expired|revoked|used too many|used up|already (been )?used)\b"
    r"|\b(expired|revoked)\b[^.]{0,20}\btoken\b"
)
_REFUSED_KEY = (
    "api key",
    "unauthenticated",
    "authentication credentials",
    "invalid auth token",
    "auth token is invalid",
    "permission denied",
    "does not have permission",
)

PROXY_VARIABLES = (
    "wss_proxy",
    "WSS_PROXY",
    "socks_proxy",
    "SOCKS_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
)
"""Variables that name the proxy of a WebSocket over TLS, in the order in which websockets asks."""

_HTTP_PROXY_VARIABLES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")  # httpx reads them

_KEY_HEADERS = frozenset({"x-goog-api-key", "authorization"})
_ANSWER_HEADERS = ("sec-websocket-", "upgrade", "connection")

_TRY_LATER = frozenset({408, 425, 429})
"""HTTP statuses below 500 that may change by themselves: timeout, too early, too many requests."""

_SAME_AGAIN = frozenset({1003, 1008, 1009, 1010})
"""Close codes that the same setup gets again: unsupported data, policy, too big, an extension that
is missing (RFC 6455, section 7.4.1). 1007 has an error of its own."""

_TRANSIENT_TLS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""TLS connections that were cut. Other errors of TLS are about certificates and versions."""

_SIGN_IN_UNREACHABLE = (sign_in.TransportError, sign_in.TimeoutError, sign_in.ResponseError)

# Not in websockets 14 and older, which knows no proxies.
_InvalidProxy: Any = getattr(ws, "InvalidProxy", ())
_ProxyError: Any = getattr(ws, "ProxyError", ())
_InvalidProxyStatus: Any = getattr(ws, "InvalidProxyStatus", ())

_NO_SUCH_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)

_MISTAKES = (
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    TypeError,
)
"""Exceptions of a program that is wrong, and stays so."""


_E = TypeVar("_E", bound=BaseException)

# The user and password of an address, and keys in its query. A password may hold a slash.
_CREDENTIALS = re.compile(
    r"(?<=://)(?:[^/@\s:]*:[^@\s]+|[^/@\s]+)(?=@)|(?<=[?&]key=)[^&\s'\"]+|(?<=token=)[^&\s'\"]+"
)


def without_frames(error: _E) -> _E:
    """Drop the tracebacks of a whole chain of exceptions, and return its first.

    The frames of the SDK that has connected hold the key as a local variable (`api_key`,
    `headers`), which error reporters show. Type and text of each exception stay.
    """
    for each in _chain_of(error):
        each.__traceback__ = None
    return error


def safe_cause(error: Exception) -> Exception | None:
    """Return an error without frames as a cause; None if its chain shows a key or a password."""
    chain = _chain_of(error)
    texts = [str(each) for each in chain]
    shows = texts != list(map(without_credentials, texts)) or any(map(_holds_a_secret, chain))
    return None if shows else without_frames(error)


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
    if isinstance(error, ws.ConnectionClosed):
        frame = error.rcvd
        return (frame.code, frame.reason) if frame is not None else (ABNORMAL, "abnormal closure")
    if isinstance(error, ws.InvalidStatus):
        status = error.response.status_code
        return status, f"HTTP {status}"
    return None, without_credentials(str(error)) or type(error).__name__


def option_of(reason: str) -> str:
    """The option that the service names in a refusal, "" if it names none."""
    if match := _UNKNOWN_NAME.search(reason):
        return ".".join(part for part in (match["place"], match["name"]) if part)
    match = _INVALID_AT.search(reason)
    return match["place"] if match else ""


def is_transient(error: BaseException) -> bool:
    """Tell whether what keeps a connection from being made may pass by itself.

    What is not known may: an outage has many faces (httpx, aiohttp, requests, gRPC), and attempts
    are bounded in time.
    """
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in _chain_of(error)):
        return False  # also behind an error of httpx, or of the sign-in
    if isinstance(error, sign_in.GoogleAuthError):
        return _sign_in_is_transient(error)
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):  # two classes on CPython 3.10
        return True
    if isinstance(error, ssl.SSLError):
        return isinstance(error, _TRANSIENT_TLS)
    # Of httpx and requests, of aiohttp.
    status = getattr(getattr(error, "response", None), "status_code", None)
    status = getattr(error, "status", None) if status is None else status
    if isinstance(status, int) and 100 <= status < 600:
        return _status_is_transient(status)
    return not isinstance(error, (*_MISTAKES, *_NO_SUCH_FILE))


def _status_is_transient(status: int) -> bool:
    """Tell whether the same HTTP request may get another answer later."""
    return status >= 500 or status in _TRY_LATER


def _sign_in_is_transient(error: sign_in.GoogleAuthError) -> bool:
    if isinstance(error, _SIGN_IN_UNREACHABLE):
        return True
    # A metadata server that cannot be reached is a RefreshError, with a transport error behind it.
    return bool(error.retryable) or isinstance(error.__cause__, sign_in.TransportError)


def refusal(
    code: int | None, reason: str, model: str, *, resuming: bool = False
) -> SessionError | None:
    """Return the typed error of a close that tells what was wrong; None if it does not.

    Args:
        code: close code, or HTTP status.
        reason: what the service said.
        model: for the message.
        resuming: the close answers a setup with a handle.
    """
    text = reason.lower().replace("_", " ")
    where: dict[str, Any] = {"code": code, "reason": reason}
    if resuming and _UNKNOWN_HANDLE.search(text):
        return SessionExpiredError(
            f"The Gemini Live session cannot be resumed, its handle is unknown ({code}: {reason})",
            retryable=True,
            remedy="Begin a new session.",
            **where,
        )
    if _SPENT_TOKEN.search(text) and "quota" not in text:
        return AuthError(
            f"The ephemeral token has expired or is used up ({code}: {reason})",
            retryable=False,
            remedy="Make a new token. A function that makes one, passed as api_key, is asked at "
            "each connect.",
            **where,
        )
    if code in (401, 403) or any(phrase in text for phrase in _REFUSED_KEY):
        return AuthError(
            f"Gemini refused the key ({code}: {reason})",
            retryable=False,
            remedy="Check GOOGLE_API_KEY: it must be a key of a project with the Gemini API "
            "enabled. Keys: https://aistudio.google.com/apikey",
            **where,
        )
    if "quota" in text or "resource exhausted" in text or code == 429:
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
    if any(phrase in text for phrase in (_EXPIRED if resuming else _EXPIRED + _ABORTED)):
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


def connect_error(
    error: Exception, model: str, *, resuming: bool = False, reached: bool = False
) -> GeminiError:
    """Return why the session could not be set up.

    Args:
        error: what the SDK, or what it stands on, has raised.
        model: for the message.
        resuming: the setup had a handle.
        reached: the WebSocket was open; what follows is not about the configuration.
    """
    if isinstance(error, sign_in.GoogleAuthError):
        return _sign_in_error(error)
    if isinstance(error, ws.InvalidURI):
        return ConfigError(
            "GOOGLE_GEMINI_BASE_URL (or base_url) is not the address of a service: "
            f"{without_credentials(error.uri)!r}"
        )
    if found := _proxy_error(error):
        return found
    if isinstance(error, ws.InvalidHeader):
        return _header_error(error)
    if isinstance(error, (genai_errors.APIError, ws.WebSocketException)):
        code, reason = close_of(error)
        refused = refusal(code, reason, model, resuming=resuming)
        if refused is not None:
            return refused
        return ConnectError(
            f"Gemini Live closed the connection before it was set up ({code}: {reason})",
            code=code,
            reason=reason,
            retryable=_closed_for_now(error, code),
            remedy="Try again; if it persists, check the model and the configuration.",
        )
    if _is_value_error(error) and not reached:
        return ConfigError(f"google-genai could not connect ({type(error).__name__}: {error})")
    reason = str(error) or type(error).__name__
    proxy, _ = _proxy()
    return ConnectError(
        f"Could not reach Gemini Live ({type(error).__name__}: {reason})",
        reason=reason,
        retryable=reached or is_transient(error),
        remedy=f"Check the network, {proxy or 'HTTPS_PROXY'}, SSL_CERT_FILE and "
        "GOOGLE_GEMINI_BASE_URL.",
    )


def _is_value_error(error: Exception) -> bool:
    """Tell whether an error is about an argument: one of TLS is a `ValueError`, too."""
    return isinstance(error, ValueError) and not isinstance(error, OSError)


def _closed_for_now(error: Exception, code: int | None) -> bool:
    """Tell whether the same setup may be taken later."""
    if isinstance(error, ws.SecurityError):  # a redirect to where nobody should be redirected
        return False
    if code is not None and code < 1000:
        return _status_is_transient(code)
    return code not in _SAME_AGAIN


def client_error(error: Exception) -> GeminiError:
    """Return why the client of the SDK could not be made."""
    if isinstance(error, sign_in.GoogleAuthError):
        return _sign_in_error(error)
    if found := _proxy_error(error):
        return found
    what = f"google-genai could not be set up ({type(error).__name__}: {error})"
    if isinstance(error, OSError):
        what += "; does SSL_CERT_FILE or SSL_CERT_DIR name something that is not there?"
    return ConfigError(what)


def _holds_a_secret(error: BaseException) -> bool:
    """Tell whether the attributes of an error show a key or a proxy's password."""
    return isinstance(error, ws.InvalidHeader) or (
        isinstance(error, Exception) and bool(_broken_proxy(error))
    )


def key_error(error: BaseException) -> GeminiError:
    """Return the error of a function that should have given the key, and has raised.

    What it has raised belongs into the chain, and is not quoted: its text is the application's, and
    goes to no log.
    """
    if isinstance(error, GeminiError):
        return error
    return ConnectError(
        f"The function that was passed as api_key failed ({type(error).__name__})",
        retryable=is_transient(error),
        remedy="Its own exception is the cause of this one.",
    )


def _sign_in_error(error: sign_in.GoogleAuthError) -> GeminiError:
    """Return the error of Google's sign-in, which Vertex AI needs."""
    reason = str(error) or type(error).__name__
    what = f"{type(error).__name__}: {reason}"
    if isinstance(error, _SIGN_IN_UNREACHABLE) or is_transient(error):
        return ConnectError(
            f"Could not reach Google's sign-in ({what})",
            reason=reason,
            retryable=is_transient(error),
            remedy="Check the network, HTTPS_PROXY and SSL_CERT_FILE.",
        )
    if isinstance(error, sign_in.RefreshError):
        return AuthError(
            f"Google's sign-in refused the credentials ({what})",
            reason=reason,
            retryable=False,
            remedy="Renew them (gcloud auth application-default login), or check the service "
            "account.",
        )
    return ConfigError(
        f"There are no usable Google credentials for Vertex AI ({what}). Set "
        "GOOGLE_APPLICATION_CREDENTIALS, or pass a key as api_key."
    )


def _address_of(proxy: str) -> str:
    """Return host and port in the address of a proxy, without user and password; "" if there is
    none."""
    try:
        parts = urlsplit(proxy)
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    return f"{host}:{port}" if host and port else host or ""


def _proxy() -> tuple[str, str]:
    """Return the variable that names the proxy, and its host and port; "" for what is not known."""
    for name in PROXY_VARIABLES:
        if value := os.environ.get(name):
            return name, _address_of(value)
    return "", ""


def _broken_proxy(error: Exception) -> str:
    """Return the variable without a proxy's address that an error is about; "" if there is none."""
    if isinstance(error, _InvalidProxy):
        return _proxy()[0] or "The proxy of the system"
    if not _is_value_error(error) and type(error).__name__ != "InvalidURL":  # of httpx
        return ""
    for name in (*PROXY_VARIABLES, *_HTTP_PROXY_VARIABLES):
        value = os.environ.get(name, "")
        if name in _HTTP_PROXY_VARIABLES and "://" not in value:
            value = value and f"http://{value}"  # as httpx does
        if value and not _address_of(value):
            return name
    return ""


def _proxy_error(error: Exception) -> GeminiError | None:
    """Return the error of a proxy; None if it is not about one."""
    if broken := _broken_proxy(error):
        return ConfigError(
            f"{broken} is not the address of a proxy; it looks like "
            "http://proxy.example:3128 or http://user:password@proxy.example:3128, with special "
            "characters of the password percent-encoded. It is not shown here."
        )
    variable, address = _proxy()
    if isinstance(error, ImportError) and "SOCKS" in str(error):
        return ConfigError(
            f"{variable or 'The system'} names a SOCKS proxy, which needs two more packages: "
            "pip install python-socks[asyncio] socksio"
        )
    if not isinstance(error, _ProxyError):
        return None
    name = "The proxy" + (f" {address}" if address else "") + (f" ({variable})" if variable else "")
    if not isinstance(error, _InvalidProxyStatus):
        return ConnectError(
            f"{name} did not let the connection to Gemini Live through ({error})",
            reason=str(error),
            retryable=True,
            remedy=f"Check {variable or 'the proxy'} and the proxy itself.",
        )
    status = error.response.status_code
    needs_login = status == 407
    return ConnectError(
        f"{name} refused the connection to Gemini Live (HTTP {status}"
        f"{': it asks for a user name and password' if needs_login else ''})",
        code=status,
        reason=f"HTTP {status}",
        retryable=_status_is_transient(status),
        remedy=f"Put the right user name and password into {variable or 'the proxy settings'}: "
        "http://user:password@host:port"
        if needs_login
        else f"Ask whoever runs the proxy to let it through, or change {variable or 'the proxy'}; "
        "NO_PROXY names hosts that need none.",
    )


def _header_error(error: ws.InvalidHeader) -> GeminiError:
    """Return the error of an HTTP header that one side cannot send, or the other cannot take."""
    name = error.name.lower()
    if name in _KEY_HEADERS:
        return AuthError(
            f"The key cannot be sent as an HTTP header ({error.name})",
            remedy="Copy it again; a quote or a line break may have come along.",
        )
    if name.startswith(_ANSWER_HEADERS):
        return ConnectError(
            f"What answers is no WebSocket service (its header {error.name} is wrong)",
            retryable=False,
            remedy="Check GOOGLE_GEMINI_BASE_URL, and whether a proxy or a login page of the "
            "network is in the way.",
        )
    return ConfigError(f"The HTTP header {error.name} cannot be sent; its value is not shown here")


def lost_error(error: Exception, model: str) -> SessionError:
    """Return why a session that was set up has ended."""
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
