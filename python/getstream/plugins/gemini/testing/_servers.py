"""Both local servers, and the environment in which an unchanged program runs against them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any

from ._gemini import LocalGemini
from ._stream import LocalStream


class LocalServers:
    """A local Gemini Live server and a local Stream backend, together.

        async with LocalServers() as servers:
            env = servers.environment()
            program = await asyncio.create_subprocess_exec(sys.executable, "my_bot.py", env=env)

    The program needs no change, no key and no network. Give the servers a process of their own
    (this one, with the program in another, or `python -m getstream.plugins.gemini.testing`) when
    time matters.

    Args:
        gemini: the Gemini Live server; by default one that parrots.
        stream: the Stream backend.
    """

    def __init__(
        self, gemini: LocalGemini | None = None, stream: LocalStream | None = None
    ) -> None:
        self.gemini = gemini if gemini is not None else LocalGemini()
        self.stream = stream if stream is not None else LocalStream()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> LocalServers:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.gemini)
            await stack.enter_async_context(self.stream)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._stack.__aexit__(exc_type, exc, traceback)

    @property
    def env(self) -> dict[str, str]:
        """The variables that redirect the SDKs of a program, and carry the local keys."""
        return {**self.gemini.env, **self.stream.env}

    def environment(self, base: Mapping[str, str] | None = None, **extra: Any) -> dict[str, str]:
        """Return a whole environment for a subprocess.

        Args:
            base: where to start from; by default this process's own environment.
            extra: variables to add, as keywords.
        """
        start = dict(os.environ if base is None else base)
        # A second Gemini key would only make the SDK warn.
        start.pop("GEMINI_API_KEY", None)
        return {**start, **self.env, **{name: str(value) for name, value in extra.items()}}
