"""A text message to the websocket now, or not at all.

`ClientConnection.send` drains, and needs a task that can wait: a fifth of what a frame of audio
costs from the call to the socket. While nothing waits to be sent, its protocol and its transport
are enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ProtocolError
from websockets.protocol import State

_PROTOCOL = ("send_text", "data_to_send", "state")
_TRANSPORT = ("write", "is_closing", "get_write_buffer_size")


def writer_of(socket: ClientConnection) -> Callable[[bytes], bool] | None:
    """What sends a message if that takes no waiting, and says whether it has.

    Returns:
        None where this release of websockets is built otherwise.
    """
    protocol: Any = getattr(socket, "protocol", None)
    transport: Any = getattr(socket, "transport", None)
    if not all(hasattr(protocol, name) for name in _PROTOCOL):
        return None
    if not all(hasattr(transport, name) for name in _TRANSPORT):
        return None

    def write(message: bytes) -> bool:
        if transport.get_write_buffer_size() or transport.is_closing():
            return False
        if protocol.state is not State.OPEN:
            return False
        try:
            protocol.send_text(message)
        except ProtocolError:  # between the fragments of another message
            return False
        for data in protocol.data_to_send():
            transport.write(data)
        return True

    return write
