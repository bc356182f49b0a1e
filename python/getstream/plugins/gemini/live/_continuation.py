"""End a session at rest, carry its conversation on, and change it: the methods of `GeminiLive`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import ConfigError
from ._event_source import EventSource
from ._options import (
    BargeIn,
    change_config,
    check_seconds,
    check_tools,
    resolve_access,
    resolve_switch,
)
from ._resumption import Resumption
from ._session import prewarm as prewarm_sdk
from ._supervisor import Supervisor


class Continuation(EventSource):
    """Ends a session at rest, carries its conversation on, and changes its configuration.

    Args:
        supervisor: the session.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        super().__init__(supervisor.events)
        self._supervisor = supervisor

    @staticmethod
    async def prewarm(api_key: str | Callable[[], Any] | None = None) -> None:
        """Load what the first connection needs, so that it is set up sooner. May be called twice.

        Modules and models of the SDK are loaded, and a client is made and kept for the first
        `GeminiLive` with the same key: 60 to 80 ms on a worker thread, without any network. Call it
        while the program starts.

        Args:
            api_key: as for `GeminiLive`. A function is not asked, and no client is kept for its
                key; nor is there one to keep beside an own `client`: pass any string then.

        Raises:
            ConfigError: there is no key.
        """
        access = resolve_access(api_key)
        await prewarm_sdk("unknown" if access.ask else access.api_key, access.vertexai)

    @property
    def resumption(self) -> Resumption | None:
        """Return what another `GeminiLive(resume=...)` needs; None before anything was said.

        It can be read at any time, also after the end; the event `resumption` tells of each new
        handle, and of the last state before `closed`.
        """
        return self._supervisor.resumption

    @property
    def barge_in(self) -> BargeIn | None:
        """Return how local speech lowers and pauses the assistant; None where it does not."""
        return self._supervisor.barge_in

    async def wait_at_rest(self, timeout_s: float = 30.0) -> bool:
        """Wait until the conversation is at rest, as `drain` means it, and leave it open.

        Args:
            timeout_s: seconds to wait; 0 only looks.

        Returns:
            Whether it is at rest; False if the time is up before, or it was closed.

        Raises:
            ConfigError: `timeout_s` is no time.
        """
        check_seconds("timeout_s", timeout_s)
        self._supervisor.lifecycle.check_loop()
        return await self._supervisor.wait_at_rest(timeout_s)

    async def drain(self, timeout_s: float = 30.0) -> bool:
        """Close when the conversation is at rest: nobody speaks, no answer is owed, all is played.

        People are heard, and answered, until then. A rest is two seconds long, from the last word
        that was said or heard, because people and the model begin to answer in less.

        Args:
            timeout_s: seconds to wait for that; then it is closed all the same.

        Returns:
            Whether it was closed at rest.

        Raises:
            ConfigError: `timeout_s` is no time.
        """
        check_seconds("timeout_s", timeout_s)
        supervisor = self._supervisor
        supervisor.lifecycle.check_loop()
        rested = await supervisor.wait_at_rest(timeout_s)
        await supervisor.close()
        return rested

    async def reconfigure(
        self,
        *,
        instructions: str | None = None,
        voice: str | None = None,
        language: str | None = None,
        tools: Sequence[Any] | None = None,
        barge_in: bool | BargeIn | None = None,
    ) -> None:
        """Change the assistant in mid-call; what is not given stays as it is.

        New instructions and tools are told to a model that takes them in a running session
        (`gemini-3.8-live`; 2.5 takes instructions). Anything else needs a new session, which begins
        with what was said, at the next boundary between turns: what is being said is heard to its
        end, what people say meanwhile is kept and sent, tools that run are waited for. It does not
        wait for longer than 15 s. One change is made after the other.

        `barge_in` is this side's: it is in effect at once, without a new session, also in the
        middle of a duck or a pause; beside other changes, when those are. The detector goes by
        another `pause_after_ms` or `commit_after_ms` once nobody has spoken for two seconds, or for
        500 ms more than the service's `silence_duration_ms` where that is longer.

        Args:
            instructions: the system instruction, in place of the one before.
            voice: a prebuilt voice.
            language: a BCP-47 code.
            tools: the tools, in place of those before; an empty list removes them.
            barge_in: as for `GeminiLive`, in place of what was before.

        Raises:
            ConfigError: nothing is given, or a value cannot be used; nothing has changed then.
            SessionError: the service does not accept it: the session goes on as it was. Or the
                session has failed.
            ClosedError: `close()` was called.
        """
        told = not (instructions is None and voice is None and language is None and tools is None)
        if not told and barge_in is None:
            raise ConfigError(
                "reconfigure() changes nothing: pass instructions, voice, language, tools or "
                "barge_in"
            )
        gives_way = None if barge_in is None else resolve_switch("barge_in", barge_in, BargeIn)
        self._supervisor.lifecycle.check_loop()
        self._supervisor.lifecycle.check_open()
        if told:
            await self._supervisor.reconfiguration.apply(
                lambda config: change_config(
                    config, instructions=instructions, voice=voice, language=language
                ),
                None if tools is None else check_tools("tools", tools),
            )
        if barge_in is not None:
            self._supervisor.change_barge_in(gives_way)
