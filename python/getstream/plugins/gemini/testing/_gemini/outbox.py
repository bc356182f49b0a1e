"""Send the messages of a session, one at a time and in order."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable

from websockets.asyncio.server import ServerConnection

from .log import without_media
from .options import Outgoing
from .variants import Quirk
from .wire import Message, encode_bytes

__all__ = ["Outbox"]

_SENT_KEPT = 2_000


class Outbox:
    """Sends the messages of one session, one at a time, and only while it is not held.

    Args:
        connection: Where to.
        alter: Returns what is sent instead of a message.
        log: Takes note of each message that leaves.
        quirks: Oddities of the wire: `pretty_json`, `text_frames`, `unknown_fields` and
            `empty_messages`.
    """

    def __init__(
        self,
        connection: ServerConnection,
        alter: Callable[[Message], Iterable[Outgoing]],
        log: Callable[[Message], None],
        quirks: frozenset[Quirk] = frozenset(),
    ) -> None:
        self._connection = connection
        self._alter = alter
        self._log = log
        self._quirks = quirks
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
                    for each in self._with_oddities(item):
                        self._sent.append(without_media(each))
                        self._log(each)
                        await self._connection.send(self._encode(each))
                else:
                    await self._connection.send(item)

    def _with_oddities(self, message: Message) -> list[Message]:
        if "unknown_fields" in self._quirks:
            message = {**message, "someFutureField": {"a": 1}}
            if isinstance(message.get("serverContent"), dict):
                message["serverContent"] = {**message["serverContent"], "someFutureField": 1}
        if "empty_messages" not in self._quirks or "setupComplete" in message:
            return [message]
        return [message, {}, {"serverContent": {}}]

    def _encode(self, message: Message) -> str | bytes:
        indent = 2 if "pretty_json" in self._quirks else None
        text = json.dumps(message, default=encode_bytes, indent=indent)
        # Google answers with JSON in binary frames.
        return text if "text_frames" in self._quirks else text.encode()
