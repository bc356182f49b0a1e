"""Let a bot reach the hosts of a list, and no other one, through an HTTPS proxy on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import ssl
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from ...errors import ConfigError

__all__ = ["AllowListProxy", "trust_bundle"]

_HEAD_BYTES = 16_384
"""Greatest size of the head of a request; the head of a CONNECT has a few hundred bytes."""
_HEAD_S = 10.0
"""Seconds that a client has to send it."""
_CONNECT_S = 10.0
"""Seconds that an allowed host has to accept the connection."""
_CHUNK_BYTES = 65_536
_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


class AllowListProxy:
    """An HTTPS proxy (CONNECT, RFC 9110 section 9.3.6) on loopback that connects to listed hosts.

    A request for another host is answered with 403 at once, and counted in `refused`. Traffic is
    passed on as it is: the proxy sees names, and no content. Requests of another method than
    CONNECT are refused too.

    Attributes:
        allowed: Hosts that were connected to, with the number of connections.
        refused: Hosts that were refused, with the number of attempts.
    """

    def __init__(self, allow_hosts: Iterable[str] = ()) -> None:
        """Create a proxy, which listens inside `async with`.

        Args:
            allow_hosts: Names such as `api.example.com`, `*.example.com` for every name below
                `example.com`, or IP addresses. Every port of them is allowed.

        Raises:
            ConfigError: An entry is no host.
        """
        self.allowed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._hosts = _checked(allow_hosts)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the allowed hosts, in lower case."""
        return self._hosts

    @property
    def url(self) -> str:
        """Return the address of the proxy, `http://127.0.0.1:PORT`."""
        if self._server is None:
            raise ConfigError("AllowListProxy is not running; use `async with`")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def env(self) -> dict[str, str]:
        """Return the variables that lead HTTPS clients to the proxy, and loopback past it."""
        direct = "127.0.0.1,localhost,::1"
        # Both spellings: the lower-case one wins with most HTTP clients.
        return {
            "HTTPS_PROXY": self.url,
            "https_proxy": self.url,
            "NO_PROXY": direct,
            "no_proxy": direct,
        }

    def allows(self, host: str) -> bool:
        """Return whether a host is in the list."""
        name = host.lower().rstrip(".")
        return any(
            name.endswith(entry[1:]) if entry.startswith("*.") else name == entry
            for entry in self._hosts
        )

    async def __aenter__(self) -> AllowListProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_HEAD_BYTES)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A callback and not a coroutine: the task is ours to cancel.
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            pass  # either side has gone
        except asyncio.LimitOverrunError:
            await _respond(writer, 431, "the head of the request is too long")
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_S)
        line = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        method, target = line[0], line[1] if len(line) > 1 else ""
        host, _, port = target.rpartition(":")
        host = host.strip("[]")
        if method != "CONNECT" or not host or not port.isdecimal():
            await _respond(writer, 405, "this proxy takes CONNECT host:port, that is HTTPS")
            return
        if not self.allows(host):
            self.refused[host] += 1
            await _respond(writer, 403, f"{host} is not in LocalCall(allow_hosts=[...])")
            return
        try:
            upstream = asyncio.open_connection(host, int(port))
            far_reader, far_writer = await asyncio.wait_for(upstream, _CONNECT_S)
        except (OSError, asyncio.TimeoutError) as error:
            await _respond(writer, 502, f"{host} cannot be reached: {type(error).__name__}")
            return
        self.allowed[host] += 1
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            far_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until their end, and the end as well."""
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _respond(writer: asyncio.StreamWriter, status: int, text: str) -> None:
    reasons = {403: "Forbidden", 405: "Method Not Allowed", 431: "Too Large", 502: "Bad Gateway"}
    body = f"{text}\n".encode()
    head = (
        f"HTTP/1.1 {status} {reasons[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    with contextlib.suppress(OSError):
        await writer.drain()


def trust_bundle(folder: Path, ca_file: Path) -> Path:
    """Write the local authority and those of this machine into one PEM file; return its path.

    `SSL_CERT_FILE` replaces the default authorities: a bot that may reach hosts of the Internet
    needs both.
    """
    own = Path(os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or "")
    if not own.is_file():
        import certifi  # a dependency of httpx, and so of google-genai and getstream

        own = Path(certifi.where())
    bundle = folder / "trusted.pem"
    bundle.write_bytes(ca_file.read_bytes() + b"\n" + own.read_bytes())
    return bundle


def _checked(allow_hosts: Iterable[str]) -> tuple[str, ...]:
    if isinstance(allow_hosts, str):
        raise ConfigError(f"allow_hosts is a str; it is a list of hosts: [{allow_hosts!r}]")
    hosts = []
    for entry in allow_hosts:
        host = entry.lower().rstrip(".") if isinstance(entry, str) else ""
        if not (_NAME.fullmatch(host) or _is_address(host)):
            raise ConfigError(
                f"allow_hosts: {entry!r} is no host; write a name without scheme, port and path, "
                "such as api.example.com or *.example.com, or an IP address"
            )
        hosts.append(host)
    return tuple(hosts)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
