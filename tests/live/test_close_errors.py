"""Failures to connect, by the service, the network, a proxy, TLS or Google's sign-in, are typed."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import httpx
import pytest
from getstream.plugins.gemini.errors import (
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
from getstream.plugins.gemini.live._session.close_errors import (
    PROXY_VARIABLES,
    client_error,
    connect_error,
    is_transient,
    key_error,
    lost_error,
    safe_cause,
)
from google.auth import exceptions as sign_in
from google.genai import errors as genai_errors
from websockets import exceptions as ws
from websockets.datastructures import Headers
from websockets.http11 import Response


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXY_VARIABLES, "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def api(code: int, reason: str) -> genai_errors.APIError:
    """Return what the SDK makes of a close frame."""
    return genai_errors.APIError(code, reason)


def status(code: int) -> ws.InvalidStatus:
    return ws.InvalidStatus(Response(code, "", Headers()))


def behind(error: BaseException, cause: BaseException) -> Any:
    error.__cause__ = cause
    return error


class Timeout310Error(Exception):
    """`asyncio.TimeoutError` of CPython 3.10: neither the builtin one nor an OSError."""


class AnotherLibraryError(Exception):
    """Error of a library that is not known here."""


def httpx_error(code: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "https://example.com")
    return httpx.HTTPStatusError("status", request=request, response=httpx.Response(code))


class AiohttpStatusError(Exception):
    """`aiohttp.ClientResponseError` has its status as an attribute."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.status = code


CERTIFICATE = ssl.SSLCertVerificationError(1, "certificate verify failed")

# -- what passes by itself ------------------------------------------------------------------------

PASSES: list[tuple[Exception, bool]] = [
    (TimeoutError("timed out during opening handshake"), True),
    (asyncio.TimeoutError(), True),
    (Timeout310Error("timed out during opening handshake"), True),
    (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True),
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), True),
    (ConnectionRefusedError(111, "refused"), True),
    (ConnectionResetError(104, "reset"), True),
    (OSError(101, "Network is unreachable"), True),
    (asyncio.IncompleteReadError(b"", 2), True),
    (EOFError("stream ends"), True),
    (FileNotFoundError(2, "No such file"), False),
    (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), True),
    (ssl.SSLZeroReturnError(6, "closed"), True),
    (ssl.SSLSyscallError(5, "syscall"), True),
    (CERTIFICATE, False),
    (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), False),
    (sign_in.TransportError("could not reach oauth2.googleapis.com"), True),
    (sign_in.TimeoutError("timed out"), True),
    (sign_in.ResponseError("half an answer"), True),
    (sign_in.RefreshError("temporary", retryable=True), True),
    (behind(sign_in.RefreshError("metadata"), sign_in.TransportError("metadata")), True),
    (behind(sign_in.TransportError("tls"), CERTIFICATE), False),
    (httpx.ConnectError("All connection attempts failed"), True),
    (httpx.ReadTimeout("timed out"), True),
    (behind(httpx.ConnectError("tls"), CERTIFICATE), False),
    (httpx_error(503), True),
    (httpx_error(429), True),
    (AiohttpStatusError(502), True),
    (AnotherLibraryError("?"), True),
    (RuntimeError("can't start new thread"), True),
    (TypeError("a program that is wrong"), False),
    (KeyError("a program that is wrong"), False),
    (ModuleNotFoundError("a program that is wrong"), False),
    (ws.InvalidMessage("did not receive a valid HTTP response"), True),
    (status(500), True),
    (status(502), True),
    (status(503), True),
    (status(504), True),
    (status(408), True),
    (status(429), True),
    (status(200), False),
    (status(302), False),
    (status(400), False),
    (status(404), False),
    (ws.SecurityError("cannot follow redirect to non-secure URI"), False),
    (api(1006, "Abnormal closure."), True),
    (api(1011, "Internal error encountered."), True),
    (api(1012, "service restart"), True),
    (api(1013, "try again later"), True),
    (api(1008, "The operation was aborted."), False),
    (api(1003, "unsupported data"), False),
    (api(1009, "message too big"), False),
    (api(1010, "mandatory extension"), False),
]


@pytest.mark.parametrize(("error", "passes"), PASSES, ids=lambda each: repr(each)[:70])
def test_a_failure_to_connect_is_a_session_error_that_may_pass_or_not(
    error: Exception, passes: bool
) -> None:
    made = connect_error(error, "m")
    assert isinstance(made, SessionError)
    assert not isinstance(made, (AuthError, ModelNotFoundError, RequestError))
    assert made.retryable is passes
    assert made.remedy


@pytest.mark.parametrize("code", [301, 400, 403, 404])
def test_an_answer_of_another_service_that_stays_the_same(code: int) -> None:
    assert not is_transient(httpx_error(code))
    assert not is_transient(AiohttpStatusError(code))


def test_errors_of_aiohttp_may_pass() -> None:
    aiohttp = pytest.importorskip("aiohttp")
    for error in (
        aiohttp.ClientPayloadError("x"),
        aiohttp.ServerTimeoutError("x"),
        aiohttp.ServerDisconnectedError("x"),
        aiohttp.ClientOSError(104, "reset"),
    ):
        made = connect_error(error, "m")
        assert type(made) is ConnectError
        assert made.retryable


def test_what_the_sdk_does_not_accept_is_the_configurations() -> None:
    error = ValueError("explicit_vad_signal parameter is only supported in ...")
    assert type(connect_error(error, "m")) is ConfigError
    later = connect_error(ValueError("Failed to parse response: b'<html>'"), "m", reached=True)
    assert type(later) is ConnectError, "the WebSocket was open"
    assert later.retryable
    assert connect_error(TypeError("x"), "m", reached=True).retryable  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["quota", "API key", "session not found", "token has expired"])
def test_only_the_words_of_the_service_are_read(text: str) -> None:
    error = OSError(122, f"Disk {text} exceeded")
    assert type(connect_error(error, "m")) is ConnectError
    assert type(connect_error(AnotherLibraryError(text), "m")) is ConnectError


# -- Google's sign-in -----------------------------------------------------------------------------


@pytest.mark.parametrize("make", [connect_error, lambda error, _: client_error(error)])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (sign_in.RefreshError("invalid_grant: Token has been expired or revoked."), AuthError),
        (sign_in.ReauthFailError("no"), AuthError),
        (sign_in.DefaultCredentialsError("File no-such-file was not found."), ConfigError),
        (sign_in.OSError("no-such-file"), ConfigError),
        (sign_in.MalformedError("not JSON"), ConfigError),
        (sign_in.MutualTLSChannelError("no certificate"), ConfigError),
        (sign_in.TransportError("unreachable"), ConnectError),
    ],
    ids=repr,
)
def test_the_sign_in(make: Any, error: Exception, kind: type[GeminiError]) -> None:
    made = make(error, "m")
    assert type(made) is kind
    assert str(error) in str(made)


# -- tokens and handles ---------------------------------------------------------------------------

SPENT = [
    "auth token has expired",
    "Token has expired",
    "Token has been used too many times",
    "Auth token has expired.",
    "The ephemeral token was revoked",
    "ACCESS_TOKEN_EXPIRED",
    "Expired auth token",
    "Token already used",
]


@pytest.mark.parametrize("code", [1007, 1008, 1011])
@pytest.mark.parametrize("reason", SPENT)
def test_a_spent_token_is_told_and_final(code: int, reason: str) -> None:
    for made in (
        connect_error(api(code, reason), "m"),
        connect_error(api(code, reason), "m", resuming=True),
        lost_error(api(code, reason), "m"),
    ):
        assert type(made) is AuthError
        assert not made.retryable
        assert "token" in str(made)
        assert "function" in made.remedy
        assert (made.code, made.reason) == (code, reason)


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (1011, "Deadline expired before operation could complete.", SessionExpiredError),
        (1011, "The token quota is used up", QuotaError),
        (1007, "The input token count (200000) exceeds the maximum number of tokens", RequestError),
        (1008, "UNAUTHENTICATED", AuthError),
        (1008, "API_KEY_INVALID", AuthError),
        (1008, "Request had invalid authentication credentials.", AuthError),
        (1008, "PERMISSION_DENIED", AuthError),
        (1008, "The caller does not have permission", AuthError),
        (1011, "session resumption handle is unknown", ConnectionLostError),
    ],
)
def test_what_is_like_a_spent_token(code: int, reason: str, kind: type[SessionError]) -> None:
    assert type(lost_error(api(code, reason), "m")) is kind


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1007, "Invalid session handle"),
        (1008, "Requested entity was not found."),
        (1008, "BidiGenerateContent session not found"),
        (1008, "session not found"),
        (1008, "Session has expired"),
        (1011, "The session resumption handle has expired"),
        (1007, "Session resumption token expired"),
        (1008, "Handle not found"),
    ],
)
def test_a_handle_that_is_not_known(code: int, reason: str) -> None:
    made = connect_error(api(code, reason), "m", resuming=True)
    assert type(made) is SessionExpiredError
    assert made.retryable
    assert "handle" in str(made)


def test_while_resuming_a_slow_backend_is_not_an_unknown_handle() -> None:
    for reason in ("Deadline expired before operation could complete.", "operation was cancelled"):
        made = connect_error(api(1011, reason), "m", resuming=True)
        assert type(made) is ConnectError
        assert made.retryable
    made = connect_error(api(1011, "Could not handle the request"), "m", resuming=True)
    assert type(made) is ConnectError
    assert type(connect_error(api(1007, "Invalid session handle"), "m")) is RequestError


# -- proxies --------------------------------------------------------------------------------------

PASSWORD = "pass-secret"


def proxy_status(code: int) -> Exception:
    return ws.InvalidProxyStatus(Response(code, "", Headers()))


@pytest.mark.parametrize("variable", PROXY_VARIABLES)
def test_a_proxy_that_asks_for_a_password_is_named_without_it(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"http://anna:{PASSWORD}@proxy.example:3128")
    made = connect_error(proxy_status(407), "m")
    assert type(made) is ConnectError
    assert (made.code, made.retryable) == (407, False)
    for word in (variable, "proxy.example:3128", "user name and password"):
        assert word in str(made)
    for secret in (PASSWORD, "anna"):
        assert secret not in str(made)


def test_the_first_variable_that_websockets_reads_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("WSS_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, f"http://{variable.lower()}.example:1")
    assert "wss_proxy.example:1 (WSS_PROXY)" in str(connect_error(proxy_status(407), "m"))


@pytest.mark.parametrize(
    ("code", "passes"), [(403, False), (405, False), (429, True), (502, True), (503, True)]
)
def test_what_else_a_proxy_says_is_the_proxys(
    code: int, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = connect_error(proxy_status(code), "m")
    assert type(made) is ConnectError, "a proxy refuses no key"
    assert "The proxy refused" in str(made)
    assert (made.code, made.retryable) == (code, passes)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    assert "The proxy proxy.example (HTTPS_PROXY) refused" in str(
        connect_error(proxy_status(code), "m")
    )


def test_a_proxy_that_speaks_no_http_may_be_another_one_later() -> None:
    for error in (ws.InvalidProxyMessage("no HTTP"), ws.ProxyError("failed to connect to SOCKS")):
        made = connect_error(error, "m")
        assert type(made) is ConnectError
        assert made.retryable
        assert "proxy" in str(made)


@pytest.mark.parametrize(
    "value",
    [
        f"anna:{PASSWORD}@proxy.example:3128",
        f"http://anna:{PASSWORD}/x@proxy.example:3128",
        f"http://anna:{PASSWORD}@",
        "http://",
    ],
)
def test_a_variable_that_is_no_address_is_named_and_not_shown(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    for error in (ws.InvalidProxy(value, "no"), client := ValueError(f"Port {value}")):
        made = connect_error(error, "m")
        assert type(made) is ConfigError
        assert "HTTPS_PROXY" in str(made)
        assert PASSWORD not in str(made)
        assert safe_cause(error) is None
    assert "HTTPS_PROXY" in str(client_error(client))
    monkeypatch.delenv("HTTPS_PROXY")
    # What is no broken proxy may be a cause, unless its text is an address with a password.
    assert (safe_cause(client) is client) is (PASSWORD not in str(client) or "://" not in value)


def test_a_socks_proxy_needs_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKS_PROXY", "socks5://proxy.example")
    for text in (
        "connecting through a SOCKS proxy requires python-socks",
        "Using SOCKS proxy, but the 'socksio' package is not installed.",
    ):
        for made in (connect_error(ImportError(text), "m"), client_error(ImportError(text))):
            assert type(made) is ConfigError
            assert "SOCKS_PROXY" in str(made)
            assert "python-socks" in str(made)


# -- headers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x-goog-api-key", AuthError),
        ("Authorization", AuthError),
        ("Upgrade", ConnectError),
        ("Connection", ConnectError),
        ("Sec-WebSocket-Accept", ConnectError),
        ("x-mine", ConfigError),
    ],
)
def test_whose_header_it_is(name: str, kind: type[GeminiError]) -> None:
    error = ws.InvalidHeaderValue(name, "secret\nvalue")
    made = connect_error(error, "m")
    assert type(made) is kind
    assert name in str(made)
    assert "secret" not in str(made)
    assert safe_cause(error) is None
    assert not getattr(made, "retryable", False)


# -- what the application raises ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError("unreachable: secret"), True),
        (httpx.ConnectError("secret"), True),
        (AnotherLibraryError("secret"), True),
        (asyncio.CancelledError("secret"), True),
        (KeyError("secret"), False),
        (httpx_error(403), False),
    ],
    ids=repr,
)
def test_a_function_that_fails_is_told_by_its_exception(error: BaseException, passes: bool) -> None:
    made = key_error(error)
    assert type(made) is ConnectError
    assert made.retryable is passes
    assert type(error).__name__ in str(made)
    assert "api_key" in str(made)
    assert "secret" not in str(made)


def test_an_error_of_this_package_is_passed_on() -> None:
    own = AuthError("no token for this user")
    assert key_error(own) is own
