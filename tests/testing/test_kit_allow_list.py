"""The hosts that a bot may reach: a proxy that connects to listed ones and refuses the rest."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.testing import Authority, LocalCall
from getstream.plugins.gemini.testing._kit.allow_list import AllowListProxy, trust_bundle


@asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read(100)).upper())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def request(proxy: AllowListProxy, head: str, then: bytes = b"") -> tuple[str, bytes]:
    """Send a request to the proxy; returns the status line, and the rest of what comes."""
    port = urlsplit(proxy.url).port
    assert port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode())
        status = (await asyncio.wait_for(reader.readline(), 10)).decode().strip()
        if " 200 " in status:
            assert await reader.readline() == b"\r\n"
            writer.write(then)
        return status, await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


def connect(host: str, port: int) -> str:
    return f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"


async def test_a_listed_host_is_connected() -> None:
    async with echo_server() as port, AllowListProxy(["LocalHost."]) as proxy:
        status, came = await request(proxy, connect("localhost", port), b"hello")
        assert status == "HTTP/1.1 200 Connection established"
        assert came == b"HELLO"
        assert proxy.allowed == {"localhost": 1}
        assert proxy.refused == {}


async def test_any_other_host_is_refused_at_once() -> None:
    async with AllowListProxy(["api.example.com"]) as proxy:
        for _ in range(2):
            status, came = await request(proxy, connect("example.com", 443))
            assert status == "HTTP/1.1 403 Forbidden"
            assert b"example.com is not in LocalCall(allow_hosts=[...])" in came
        assert proxy.refused == {"example.com": 2}
        assert proxy.allowed == {}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET http://example.com/ HTTP/1.1\r\n\r\n", 405),
        ("CONNECT example.com HTTP/1.1\r\n\r\n", 405),
        ("CONNECT :443 HTTP/1.1\r\n\r\n", 405),
        ("CONNECT localhost:x HTTP/1.1\r\n\r\n", 405),
        ("\r\n\r\n", 405),
        (connect("localhost", 9), 502),  # nobody listens there
        ("CONNECT localhost:1 HTTP/1.1\r\nX: " + 20_000 * "x" + "\r\n\r\n", 431),
    ],
)
async def test_what_is_no_connection(head: str, status: int) -> None:
    async with AllowListProxy(["localhost"]) as proxy:
        line, _ = await request(proxy, head)
        assert line.startswith(f"HTTP/1.1 {status} ")


async def test_open_connections_end_with_the_proxy() -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with AllowListProxy(["127.0.0.1"]) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(proxy.url).port)
            writer.write(connect("127.0.0.1", port).encode())
            assert b"200" in await reader.readline()
        assert await asyncio.wait_for(reader.read(), 10) == b"\r\n"
        writer.close()


@pytest.mark.parametrize(
    ("entry", "host", "allowed"),
    [
        ("example.com", "EXAMPLE.com", True),
        ("example.com", "api.example.com", False),
        ("example.com", "notexample.com", False),
        ("*.example.com", "api.example.com", True),
        ("*.example.com", "a.b.example.com.", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "notexample.com", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.70", False),
        ("2001:db8::1", "2001:db8::1", True),
    ],
)
def test_names(entry: str, host: str, allowed: bool) -> None:
    assert AllowListProxy([entry]).allows(host) is allowed


@pytest.mark.parametrize(
    "hosts",
    ["example.com", ["https://example.com"], ["example.com:443"], ["*"], ["*.*.com"], [""], [5],
     ["exa mple.com"], ["example.com/path"]],
)  # fmt: skip
def test_what_is_no_host_is_refused(hosts: Any) -> None:
    with pytest.raises(ConfigError, match="allow_hosts"):
        AllowListProxy(hosts)


def test_a_bundle_trusts_the_local_authority_and_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Authority() as ours, Authority() as machine:
        monkeypatch.setenv("SSL_CERT_FILE", str(machine.ca_file))
        bundle = trust_bundle(tmp_path, ours.ca_file)
        assert len(ssl.create_default_context(cafile=str(bundle)).get_ca_certs()) == 2
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone"))
        bundle = trust_bundle(tmp_path, ours.ca_file)
        assert len(ssl.create_default_context(cafile=str(bundle)).get_ca_certs()) > 20


FETCHES = """
import urllib.request
for host in ("one.invalid", "two.invalid"):
    try:
        urllib.request.urlopen(f"https://{host}/", timeout=10)
    except OSError as error:
        print(host, error)
"""


async def test_a_bot_is_refused_hosts_that_are_not_listed(tmp_path: Path) -> None:
    bot = tmp_path / "bot.py"
    bot.write_text(FETCHES)
    async with LocalCall(bot, allow_hosts=["two.invalid"]) as call:
        await call.start_bot()
        assert await call.end() == 0
        # The second is let through, and does not exist.
        assert call.refused_hosts == {"one.invalid": 1}
    async with LocalCall(bot) as call:
        await call.start_bot()
        assert await call.end() == 0
        assert call.refused_hosts == {"one.invalid": 1, "two.invalid": 1}
