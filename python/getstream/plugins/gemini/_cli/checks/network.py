"""Check the way to the services (name, connection, proxy, TLS), and the clock against theirs.

With the standard library alone, and in threads that nobody waits for longer than `DEADLINE_S`: a
resolver without a network may take half a minute to say so.
"""

from __future__ import annotations

import base64
import email.utils
import ipaddress
import socket
import ssl
import statistics
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

from .results import Result, failed, not_checked, passed, warned

__all__ = ["DEADLINE_S", "Endpoint", "Way", "endpoints", "judge_clock", "judge_way", "try_ways"]

GEMINI_URL = "https://generativelanguage.googleapis.com"
# Of getstream 7: the HTTP API, the coordinator's WebSocket, and what chooses the nearest edge.
STREAM_API_URL = "https://chat.stream-io-api.com"
STREAM_COORDINATOR_URL = "https://video.stream-io-api.com"
STREAM_LOCATION_URL = "https://hint.stream-io-video.com"

DEADLINE_S = 6.0
"""Longest time of all ways together, in seconds: they are tried at the same time."""

ADDRESS_S = 3.0
"""Longest wait for one address, so that a dead one leaves time for the next, in seconds."""

MAX_SKEW_S = 5.0
"""Difference of the clocks in seconds from which tokens are at risk: they carry the time of their
issue, which the Stream SDK dates back by 5 s (`create_token`), so that none is from the future."""

DATE_STEP_S = 1.0
"""Resolution of the header `Date` (RFC 9110, section 5.6.7)."""

_ANSWER_BYTES = 16_384

Stage = Literal["address", "name", "connection", "proxy", "certificate", "TLS", "answer", "done"]


@dataclass(frozen=True)
class Endpoint:
    """Address of a service.

    Attributes:
        name: Name of the check.
        url: `https://host[:port]`, or `http://` for a local backend.
        needed: Whether the assistant does not work without it.
    """

    name: str
    url: str
    needed: bool = True

    @property
    def host(self) -> str:
        """Return its name or IP address; empty if the URL is none."""
        try:
            return urlsplit(self.url).hostname or ""
        except ValueError:
            return ""

    @property
    def port(self) -> int:
        """Return its TCP port; 0 if the URL is none."""
        try:
            return urlsplit(self.url).port or (443 if self.is_tls else 80)
        except ValueError:
            return 0

    @property
    def is_tls(self) -> bool:
        """Return whether it speaks TLS."""
        return not self.url.startswith("http:")


@dataclass
class Way:
    """How far the way to an endpoint goes.

    Attributes:
        endpoint: Where it leads.
        stage: What is being done; `done` at the end.
        error: Why it ended there; empty while it goes on, and at the end.
        proxy: `host:port` of the proxy; empty without one.
        name_ms: Milliseconds until the name was known.
        connect_ms: Milliseconds until the connection stood, TLS included.
        skew_s: This machine's clock less that of the endpoint, in seconds; None if it is unknown.
        skew_error_s: Uncertainty of that.
    """

    endpoint: Endpoint
    stage: Stage = "address"
    error: str = ""
    proxy: str = ""
    name_ms: float = 0.0
    connect_ms: float = 0.0
    skew_s: float | None = None
    skew_error_s: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event, repr=False)


class _StoppedError(Exception):
    """Tell why a way ends; the message is to be shown."""


def endpoints(environment: Mapping[str, str]) -> list[Endpoint]:
    """Return the addresses that the SDKs of a program with this environment use."""
    gemini = environment.get("GOOGLE_GEMINI_BASE_URL", "").strip() or GEMINI_URL
    found = [Endpoint("network.gemini", gemini)]
    stream = environment.get("STREAM_BASE_URL", "").strip()
    found.append(Endpoint("network.stream.api", stream or STREAM_API_URL))
    if not stream:
        found.append(Endpoint("network.stream.coordinator", STREAM_COORDINATOR_URL))
        found.append(Endpoint("network.stream.location", STREAM_LOCATION_URL, needed=False))
    return found


def try_ways(targets: Sequence[Endpoint], deadline_s: float = DEADLINE_S) -> list[Way]:
    """Try to reach all endpoints at the same time.

    Args:
        targets: The endpoints.
        deadline_s: After so many seconds a way counts as blocked where it is.

    Returns:
        One way for each endpoint, in their order.
    """
    until = time.monotonic() + deadline_s
    ways = [Way(target) for target in targets]
    for way in ways:
        # A daemon: the resolver of the system cannot be cancelled.
        threading.Thread(target=_go, args=(way, until), name=way.endpoint.name, daemon=True).start()
    found = []
    for way in ways:
        if way.ended.wait(max(0.0, until - time.monotonic())):
            found.append(way)
        else:
            late = Way(way.endpoint, way.stage, f"no answer within {deadline_s:.0f} s", way.proxy)
            found.append(late)
    return found


def _go(way: Way, until: float) -> None:
    try:
        _follow(way, until)
        way.stage = "done"
    except _StoppedError as error:
        way.error = str(error)
    except ssl.SSLCertVerificationError as error:
        way.stage, way.error = "certificate", error.verify_message or "not accepted"
    except (OSError, ValueError) as error:
        way.error = _words(error)
    finally:
        way.ended.set()


def _words(error: Exception) -> str:
    """Return an error of the network in words, without the addresses that some have."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return error.reason or "no TLS"
    return getattr(error, "strerror", None) or type(error).__name__


def _follow(way: Way, until: float) -> None:
    target = way.endpoint
    if not (target.host and target.port):
        raise _StoppedError("it has to be https://host or https://host:port")
    way.stage = "name"
    began = time.monotonic()
    proxy = _proxy_of(target)
    host, port = target.host, target.port
    if proxy is not None:
        parts = urlsplit(proxy)
        host, port = parts.hostname or "", parts.port or 80
        way.proxy = f"{host}:{port}"
        if not host:
            raise _StoppedError("the proxy has no host")
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    way.name_ms = (time.monotonic() - began) * 1000
    way.stage = "connection"
    with _connected(addresses, until) as plain:
        if proxy is not None:
            way.stage = "proxy"
            _pass_proxy(plain, target, proxy)
        if not target.is_tls:
            _ask(way, plain, began)
            return
        way.stage = "TLS"
        context = ssl.create_default_context()  # which reads SSL_CERT_FILE, as the SDKs do
        with context.wrap_socket(plain, server_hostname=target.host) as secure:
            _ask(way, secure, began)


def _proxy_of(target: Endpoint) -> str | None:
    """Return the proxy that Python's HTTP clients use for a target, None for none."""
    if urllib.request.proxy_bypass(target.host):
        return None
    proxy = urllib.request.getproxies().get("https" if target.is_tls else "http")
    return None if not proxy else proxy if "//" in proxy else f"http://{proxy}"


def _connected(addresses: Sequence[tuple], until: float) -> socket.socket:  # type: ignore[type-arg]
    """Connect to the first address that answers; its later waits end at `until`, too."""
    last: OSError = TimeoutError()
    for family, kind, protocol, _, address in addresses:
        left = until - time.monotonic()
        if left <= 0:
            break
        tried = socket.socket(family, kind, protocol)
        tried.settimeout(min(left, ADDRESS_S))
        try:
            tried.connect(address)
        except OSError as error:
            tried.close()
            last = error
            continue
        tried.settimeout(max(0.1, until - time.monotonic()))
        return tried
    raise last


def _pass_proxy(plain: socket.socket, target: Endpoint, proxy: str) -> None:
    parts = urlsplit(proxy)
    where = f"{target.host}:{target.port}"
    head = f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n"
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        head += f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}\r\n"
    plain.sendall(f"{head}\r\n".encode())
    status = _read_head(plain).split(" ", 2)
    code = status[1] if len(status) > 1 and status[1].isdigit() else "no HTTP"
    if not code.startswith("2"):
        raise _StoppedError(f"it answered {code}")


def _read_head(stream: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _ANSWER_BYTES:
        more = stream.recv(4096)
        if not more:
            break
        data += more
    return data.split(b"\r\n\r\n", 1)[0].decode("latin-1")


def _ask(way: Way, stream: socket.socket, began: float) -> None:
    """Ask for anything: each answer of HTTP has the time in it."""
    way.connect_ms = (time.monotonic() - began) * 1000
    way.stage = "answer"
    host = way.endpoint.host
    literal = f"[{host}]" if ":" in host else host
    request = f"GET / HTTP/1.1\r\nHost: {literal}:{way.endpoint.port}\r\nConnection: close\r\n\r\n"
    asked_at = time.time()
    stream.sendall(request.encode())
    head = _read_head(stream)
    answered_at = time.time()
    if not head.startswith("HTTP/"):
        raise _StoppedError("it does not speak HTTP")
    date = next((line[5:] for line in head.split("\r\n") if line.lower().startswith("date:")), "")
    try:
        theirs = email.utils.parsedate_to_datetime(date.strip()).timestamp()
    except (TypeError, ValueError):
        return
    # Cut off to the second on their side, and made somewhere between question and answer.
    way.skew_s = (asked_at + answered_at) / 2 - (theirs + DATE_STEP_S / 2)
    way.skew_error_s = DATE_STEP_S / 2 + (answered_at - asked_at) / 2


# -- judging -----------------------------------------------------------------------------------


def judge_way(way: Way) -> Result:
    """Judge how far the way to an endpoint goes."""
    name, host = way.endpoint.name, _shown_host(way.endpoint)
    by_proxy = f" by the proxy {way.proxy}" if way.proxy else ""
    if way.stage == "done":
        seen = f"{host} answers after {way.connect_ms:.0f} ms{by_proxy}"
        return passed(name, seen, name_ms=way.name_ms, connect_ms=way.connect_ms)
    seen = f"{host}{by_proxy}: {_STOPS[way.stage]} ({way.error})"
    judge = failed if way.endpoint.needed else warned
    return judge(name, seen, _advice(way))


_STOPS: dict[Stage, str] = {
    "address": "that is no address",
    "name": "the name is not known",
    "connection": "no connection",
    "proxy": "the proxy does not connect",
    "certificate": "the certificate is not accepted",
    "TLS": "no TLS",
    "answer": "no answer",
    "done": "",
}


def _advice(way: Way) -> str:
    port = way.endpoint.port
    if way.stage == "address":
        return "Correct GOOGLE_GEMINI_BASE_URL or STREAM_BASE_URL, or unset it."
    if way.stage == "name":
        what = "the name of the proxy" if way.proxy else "DNS"
        return f"Check the network and {what}. `demo` and `playground --local` need no network."
    if way.stage == "proxy":
        return "Check HTTPS_PROXY and NO_PROXY: the proxy must allow CONNECT to this host."
    if way.stage == "connection" and way.proxy:
        return "Nobody listens at the address in HTTPS_PROXY: correct or unset it."
    if way.stage == "certificate":
        return (
            "Where a proxy opens TLS, set SSL_CERT_FILE to a file with its authority; else check "
            "the clock, and the certificates of this machine."
        )
    return f"Let TCP port {port} to {way.endpoint.host} through the firewall."


def _shown_host(endpoint: Endpoint) -> str:
    try:
        is_own = ipaddress.ip_address(endpoint.host).is_loopback
    except ValueError:
        is_own = endpoint.host == "localhost"
    if not endpoint.host:
        return "the URL of the service"
    return f"{endpoint.host}:{endpoint.port}" if is_own else endpoint.host


def judge_clock(ways: Sequence[Way], wall_s: float, monotonic_s: float) -> Result:
    """Judge the wall clock against the dates of the answers, and against the monotonic clock.

    Args:
        ways: The ways, with the dates that came.
        wall_s: Seconds that the checks took by the wall clock.
        monotonic_s: The same by the monotonic clock.
    """
    name = "clock"
    if time.get_clock_info("monotonic").resolution > 0.001:
        resolution = time.get_clock_info("monotonic").resolution * 1000
        return failed(
            name,
            f"the monotonic clock has steps of {resolution:.1f} ms",
            "Frames of 20 ms need a clock of 1 ms: use another system or clock source.",
            monotonic_step_ms=resolution,
        )
    step = wall_s - monotonic_s
    # NTP slews by 500 ppm at most, which is a millisecond in two seconds; more is a step.
    if abs(step) > 0.1 + 0.001 * monotonic_s:
        return warned(
            name,
            f"the wall clock was set by {step:+.1f} s while it was looked at",
            "Let one service set the clock, by slewing: chrony, systemd-timesyncd or the host.",
            step_s=step,
        )
    dated = [way for way in ways if way.skew_s is not None]
    if not dated:
        return not_checked(name, "nobody could be asked for the time")
    skew = statistics.median(way.skew_s for way in dated if way.skew_s is not None)
    error = min(way.skew_error_s for way in dated)
    seen = f"{skew:+.1f} s against the services (exact to {error:.1f} s)"
    if abs(skew) > MAX_SKEW_S + error:
        advice = "Set the clock, best by NTP: tokens of another time are refused."
        return failed(name, seen, advice, skew_s=skew, skew_error_s=error)
    return passed(name, seen, skew_s=skew, skew_error_s=error)
