"""The way out of a session: one message at a time, in order."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable

from websockets.asyncio.server import ServerConnection

from .log import without_media
from .options import Outgoing
from .wire import Message, encode_bytes

__all__ = ["Outbox"]

_SENT_KEPT = 2_000


class Outbox:
    """Sends the messages of one session, one at a time, and only while it is not held.

    Args:
        connection: Where to.
        alter: Returns what is sent instead of a message.
        log: Takes note of each message that leaves.
    """

    def __init__(
        self,
        connection: ServerConnection,
        alter: Callable[[Message], Iterable[Outgoing]],
        log: Callable[[Message], None],
    ) -> None:
        self._connection = connection
        self._alter = alter
        self._log = log
        self._sent: deque[Message] = deque(maxlen=_SENT_KEPT)
        self._lock = asyncio.Lock()
        self._gate = asyncio.Event()
        self._gate.set()

    @property
    def sent(self) -> list[Message]:
        """The newest messages that were sent; media payloads are replaced by lengths."""
        return list(self._sent)

    def hold(self) -> None:
        """Sends nothing more until `release()`; messages wait, in order."""
        self._gate.clear()

    def release(self) -> None:
        """Ends `hold()`."""
        self._gate.set()

    async def send(self, message: Outgoing) -> None:
        """Sends a message, after those that wait.

        Raises:
            ConnectionClosed: The connection is closed.
        """
        async with self._lock:
            outgoing = self._alter(message) if isinstance(message, dict) else [message]
            for item in outgoing:
                await self._gate.wait()
                if isinstance(item, dict):
                    self._sent.append(without_media(item))
                    self._log(item)
                    # Google answers with JSON in binary frames.
                    await self._connection.send(json.dumps(item, default=encode_bytes).encode())
                else:
                    await self._connection.send(item)
