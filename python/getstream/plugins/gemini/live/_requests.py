"""Send what the application wants the model to see or read: texts, images, contents."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from ..errors import ConfigError
from ._media.images import check_image, read_image
from ._options import check_choice
from ._session import contents_of, inline_bytes, texts_of
from ._session.send_queue import Content, Image, Text
from ._settings import Settings
from ._supervisor import Supervisor


class RequestSender:
    """Checks requests of the application, and hands them to the session in order.

    Args:
        settings: the settings of the assistant.
        supervisor: whom they go to.
    """

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self._settings = settings
        self._supervisor = supervisor

    async def send_text(self, text: str) -> None:
        """Send a text, as `GeminiLive.send_text` says."""
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"send_text takes a non-empty string, not {text!r}")
        self._supervisor.lifecycle.start()
        await self._supervisor.send_request(lambda: Text(text))

    async def send_image(self, image: Any) -> None:
        """Send an image, as `GeminiLive.send_image` says."""
        check_image(image)
        self._supervisor.lifecycle.start()
        self._supervisor.lifecycle.check_open()
        loop = asyncio.get_running_loop()
        encoded, mime_type = await loop.run_in_executor(None, _encode, image)
        await self._supervisor.send_request(lambda: Image(encoded, mime_type))

    async def send_content(self, turns: Any, *, turn_complete: bool) -> None:
        """Send turns of a conversation, as `GeminiLive.send_content` says."""
        check_choice("turn_complete", turn_complete, (True, False))
        if not self._settings.takes_content:
            raise ConfigError(
                f"{self._settings.model!r} takes no content in the course of a session; use "
                "send_text and send_image"
            )
        contents = contents_of(turns)
        texts, size = texts_of(contents), inline_bytes(contents)
        self._supervisor.lifecycle.start()
        await self._supervisor.send_request(
            lambda: Content(contents, texts, turn_complete=turn_complete, size=size)
        )


def _encode(image: Any) -> tuple[bytes, str]:
    """Return an image as base64, and its MIME type; runs on another thread."""
    data, mime_type = read_image(image)
    return base64.b64encode(data), mime_type
