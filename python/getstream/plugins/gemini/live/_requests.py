"""Send texts, images and contents, and answer tool calls: the methods of `GeminiLive`."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..errors import ConfigError
from ._media.images import check_image, read_image
from ._options import check_choice
from ._session import contents_of, inline_bytes, texts_of
from ._session.send_queue import Content, Image, Text
from ._settings import Settings
from ._supervisor import Supervisor
from ._tools.declarations import DEFAULT_TIMEOUT_S, Behavior, Scheduling, declare_as

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_F = TypeVar("_F", bound=Callable[..., Any])


class Requests:
    """Sends what the model is to see, read or answer, in order, and lets it call functions."""

    _settings: Settings
    _supervisor: Supervisor

    async def send_text(self, text: str) -> None:
        """Send text that the model answers aloud. Waits until the session is ready; when the
        connection is lost on the way, the text is sent again on the next one.

        Raises:
            ConfigError: the text is not a non-empty string.
            SessionError: connecting failed, or the connection is lost.
            ClosedError: `close()` was called.
        """
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"send_text takes a non-empty string, not {text!r}")
        self._supervisor.lifecycle.start()
        await self._supervisor.send_request(lambda: Text(text))

    async def send_image(self, image: bytes | str | PathLike[str] | NDArray[np.uint8]) -> None:
        """Send one image, which the model sees with what is said or sent next. As `send_text`, it
        waits for the session, and is sent again when the connection is lost on the way.

        Args:
            image: the bytes or the path of a JPEG or PNG of up to 7 MB, sent as it is, or an RGB
                array, uint8 of shape (height, width, 3), sent as JPEG of at most 768 pixels a side.

        Raises:
            ConfigError: it is none of these, or the file cannot be read.
            VideoError: it is neither JPEG nor PNG, or too large.
            SessionError, ClosedError: as `send_text`.
        """
        check_image(image)
        self._supervisor.lifecycle.start()
        self._supervisor.lifecycle.check_open()
        loop = asyncio.get_running_loop()
        encoded, mime_type = await loop.run_in_executor(None, _encode, image)
        await self._supervisor.send_request(lambda: Image(encoded, mime_type))

    async def send_content(self, turns: Any, *, turn_complete: bool = True) -> None:
        """Send turns of a conversation, such as an earlier one. Delivered like `send_text`.

        Args:
            turns: a `google.genai.types.Content`, a dict of one, or a list of these.
            turn_complete: whether the model answers now; this interrupts it. Otherwise it waits.

        Raises:
            ConfigError: `turns` cannot be used, or the model takes no content in a session.
            SessionError, ClosedError: as `send_text`.
        """
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

    @overload
    def tool(self, function: _F) -> _F: ...
    @overload
    def tool(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        behavior: Behavior | None = None,
        scheduling: Scheduling | None = None,
    ) -> Callable[[_F], _F]: ...
    def tool(self, function: Any = None, **options: Any) -> Any:
        """Let the model call a function; a decorator, with or without options.

        Functions are declared when the session is set up: inside a running event loop, before the
        first `await` after the assistant was made.

        Args:
            function: a function with annotations; sync or async, a generator or an async generator.
            **options: `name`, `description`, `timeout_s`, `behavior` and `scheduling`, as `Tool`
                documents them.

        Returns:
            The function itself.

        Raises:
            ConfigError: it cannot be declared, its name is taken, or the session is being set up.
        """
        return declare_as(self._supervisor.tools.registry.add, function, options)

    def send_tool_response(
        self,
        call_id: str,
        result: Any = None,
        *,
        error: str | None = None,
        retryable: bool = False,
    ) -> None:
        """Answer a function that was declared as a dictionary, and that no function answers.

        Its calls come by the event `tool_call`. They time out as functions do.

        Args:
            call_id: `ToolCall.id`.
            result: what the function returns: anything that has a form in JSON.
            error: what has failed, for the model to read.
            retryable: whether the model may call it again.

        Raises:
            ConfigError: no such call waits for an answer.
        """
        self._supervisor.lifecycle.check_loop()
        self._supervisor.tools.answer(call_id, result, error, retryable=retryable)


def _encode(image: Any) -> tuple[bytes, str]:
    """Return an image as base64, and its MIME type; runs on another thread."""
    data, mime_type = read_image(image)
    return base64.b64encode(data), mime_type
