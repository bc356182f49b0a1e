"""Frames past everything that waits: the real websockets on both ends of real sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from getstream.plugins.gemini._websocket import websocket_frame
from getstream.plugins.gemini.live._session.direct_send import FrameWriter, writer_of
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

# The ends of the three forms of the length, and 20 ms of audio at 16 kHz as base64 in JSON.
LENGTHS = (0, 1, 125, 126, 902, 65_535, 65_536)
TEXTS = ["x" * length for length in LENGTHS]


class Wire:
    """A connection of `websockets` to its own server.

    Attributes:
        client: the connection.
        writer: of that connection.
        got: each message that the server has read.
        written: each piece of bytes that the client's transport was given.
    """

    def __init__(self, client: ClientConnection, got: asyncio.Queue[str | bytes]) -> None:
        self.client = client
        self.got = got
        self.written: list[bytes] = []
        writer = writer_of(client)
        assert writer is not None
        self.writer = writer
        transport: Any = client.transport
        write = transport.write

        def note(data: bytes) -> None:
            self.written.append(bytes(data))
            write(data)

        transport.write = note

    async def next(self) -> str | bytes:
        return await asyncio.wait_for(self.got.get(), 10)


@asynccontextmanager
async def wire(**options: Any) -> AsyncIterator[Wire]:
    got: asyncio.Queue[str | bytes] = asyncio.Queue()

    async def read(connection: ServerConnection) -> None:
        async for message in connection:
            got.put_nowait(message)

    async with serve(read, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", **options) as client:
            yield Wire(client, got)


async def idle(writer: FrameWriter) -> None:
    """Wait until the transport has handed on what it was given."""
    while not writer.may_write():
        await asyncio.sleep(0.001)


async def test_the_server_reads_what_was_written_past_the_protocol() -> None:
    async with wire(compression=None) as line:
        assert line.writer.takes_frames
        frames = [websocket_frame(text.encode()) for text in TEXTS]
        for frame in frames:
            await asyncio.wait_for(idle(line.writer), 10)
            assert line.writer.write([frame])
        assert [await line.next() for _ in TEXTS] == TEXTS
        assert line.written == frames, "each went to the transport as it was"
        # The protocol's own messages go on.
        await line.client.send("by the protocol")
        assert await line.next() == "by the protocol"
        await asyncio.wait_for(await line.client.ping(), 10)


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_frames_that_share_a_write_are_messages_of_their_own(compression: str | None) -> None:
    async with wire(compression=compression) as line:
        await asyncio.wait_for(idle(line.writer), 10)
        frames = [websocket_frame(text.encode()) for text in TEXTS]
        assert line.writer.write(frames)
        if compression is None:
            assert line.written == [b"".join(frames)]
        assert [await line.next() for _ in TEXTS] == TEXTS


async def test_with_compression_the_protocol_frames() -> None:
    async with wire(compression="deflate") as line:
        assert line.client.protocol.extensions
        assert not line.writer.takes_frames
        frames = [websocket_frame(text.encode()) for text in TEXTS]
        for frame in frames:
            await asyncio.wait_for(idle(line.writer), 10)
            assert line.writer.write([frame])
        assert [await line.next() for _ in TEXTS] == TEXTS
        assert line.written != frames
        assert sum(map(len, line.written)) < 2_000, "and compresses"


async def test_at_debug_the_protocol_frames_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("test_at_once")
    log.setLevel(logging.DEBUG)
    async with wire(compression=None, logger=log) as line:
        assert not line.writer.takes_frames
        assert line.writer.write([websocket_frame(b"to be seen")])
        assert await line.next() == "to be seen"
    assert "> TEXT 'to be seen' [10 bytes]" in caplog.text


async def test_a_protocol_of_another_shape_frames_by_itself() -> None:
    async with wire(compression=None) as line:

        class Other:
            """Protocol with what was needed of one before frames were written past it."""

            def __init__(self) -> None:
                inner = line.client.protocol
                self.send_text, self.data_to_send = inner.send_text, inner.data_to_send
                self.state = inner.state

        writer = FrameWriter(Other(), line.client.transport)
        assert not writer.takes_frames
        assert writer.write([websocket_frame(b"once")])
        assert await line.next() == "once"
        line.client.protocol.send_text(b"begun", fin=False)
        assert not writer.write([websocket_frame(b"between")]), "it refuses by ProtocolError"
        line.client.protocol.send_continuation(b" and done", fin=True)
        assert writer.write([websocket_frame(b"behind")])
        assert [await line.next() for _ in range(2)] == ["begun and done", "behind"]


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_nothing_comes_between_the_fragments_of_a_message(compression: str | None) -> None:
    async with wire(compression=compression) as line:
        go_on = asyncio.Event()

        async def fragments() -> AsyncIterator[str]:
            yield "begun"
            await go_on.wait()
            yield " and done"

        sending = asyncio.ensure_future(line.client.send(fragments()))
        while not line.written:
            await asyncio.sleep(0)
        assert not line.writer.may_write()
        assert not line.writer.write([websocket_frame(b"between")])
        go_on.set()
        await sending
        await asyncio.wait_for(idle(line.writer), 10)
        assert line.writer.write([websocket_frame(b"behind")])
        assert [await line.next() for _ in range(2)] == ["begun and done", "behind"]


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_nothing_is_written_once_the_connection_ends(compression: str | None) -> None:
    """`send_text` raises InvalidState then, which this must never meet."""
    async with wire(compression=compression) as line:
        line.client.protocol.send_close(1000)  # CLOSING, and the transport is open
        assert not line.client.transport.is_closing()
        assert not line.writer.may_write()
        before = len(line.written)
        assert not line.writer.write([websocket_frame(b"late")])
        assert len(line.written) == before
        await line.client.close()
        assert not line.writer.write([websocket_frame(b"later")])
        assert len(line.written) == before


async def test_nothing_is_written_while_the_transport_is_closing() -> None:
    async with wire(compression=None) as line:
        line.client.transport.abort()
        assert line.client.transport.is_closing()
        assert not line.writer.may_write()
        assert not line.writer.write([websocket_frame(b"late")])
        assert line.written == []


async def test_nothing_is_written_while_something_waits() -> None:
    async with wire(compression=None) as line:
        transport = line.client.transport
        # More than the kernel takes from a sender whose reader has had no turn of the loop yet.
        transport.write(websocket_frame(b"y" * (64 << 20)))
        assert transport.get_write_buffer_size()
        assert not line.writer.may_write()
        assert not line.writer.write([websocket_frame(b"behind")])
        transport.abort()


@pytest.mark.parametrize("lacking", ["protocol", "transport"])
async def test_a_socket_of_another_shape_has_no_writer(lacking: str) -> None:
    async with wire() as line:

        class Other:
            protocol = line.client.protocol if lacking != "protocol" else object()
            transport = line.client.transport if lacking != "transport" else object()

        other: Any = Other()
        assert writer_of(other) is None
