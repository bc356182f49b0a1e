"""Write websocket frames to the transport now, or not at all.

`ClientConnection.send` frames a message, waits for other senders and for the transport, and needs a
task that can wait. Audio comes framed and masked out of the core, and while nothing waits to be
sent, the transport alone is enough for it.
"""

from __future__ import annotations

from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ProtocolError
from websockets.protocol import State

from ..._websocket import websocket_payload

_TRANSPORT = ("write", "is_closing", "get_write_buffer_size")
_PROTOCOL = ("send_text", "data_to_send", "state")
# What has to be known of a protocol before its own framing may be left out.
_FRAMING = ("extensions", "expect_continuation_frame", "debug")


class FrameWriter:
    """Writes whole frames of text messages that are masked already, if that takes no waiting.

    Args:
        protocol: of a `ClientConnection` whose handshake is done.
        transport: of the same connection.

    Attributes:
        takes_frames: frames go to the transport as they are. Otherwise each is unpacked and framed
            again by the protocol: extensions such as compression change what is in a frame, at
            DEBUG the protocol logs each frame, and a protocol of another shape may keep count.
    """

    def __init__(self, protocol: Any, transport: Any) -> None:
        self._protocol = protocol
        self._transport = transport
        self.takes_frames = (
            all(hasattr(protocol, name) for name in _FRAMING)
            and not protocol.extensions
            and not protocol.debug
        )

    def may_write(self) -> bool:
        """Tell whether a frame can be written now: nothing waits, is half sent, or ends."""
        protocol, transport = self._protocol, self._transport
        return (
            not transport.is_closing()  # first: closed twice, asyncio's TLS has no buffer size
            and not transport.get_write_buffer_size()
            and protocol.state is State.OPEN
            # Between the fragments of another message, which only they may follow.
            and not getattr(protocol, "expect_continuation_frame", False)
        )

    def write(self, frames: list[bytes]) -> bool:
        """Write frames that `websocket_frame` has made, unless they would have to wait.

        Returns:
            Whether they were written; if not, nothing was.
        """
        if not self.may_write():
            return False
        if self.takes_frames:
            # One write is one TLS record and one system call, whatever is in it.
            self._transport.write(frames[0] if len(frames) == 1 else b"".join(frames))
            return True
        try:
            for frame in frames:
                self._protocol.send_text(websocket_payload(frame))
        except ProtocolError:  # between fragments, in a protocol of another shape: at the first
            return False
        for data in self._protocol.data_to_send():
            self._transport.write(data)
        return True


def writer_of(socket: ClientConnection) -> FrameWriter | None:
    """Make the writer of an open socket; None if this release of websockets is built otherwise."""
    protocol: Any = getattr(socket, "protocol", None)
    transport: Any = getattr(socket, "transport", None)
    if not all(hasattr(protocol, name) for name in _PROTOCOL):
        return None
    if not all(hasattr(transport, name) for name in _TRANSPORT):
        return None
    return FrameWriter(protocol, transport)
