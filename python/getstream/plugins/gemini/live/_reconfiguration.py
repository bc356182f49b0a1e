"""Change the configuration of a session while it is held."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import GeminiError, RequestError, SessionError
from ._lifecycle import Life
from ._models import check_config, model_of
from ._session import validate_config
from ._tools.registry import ToolRegistry

if TYPE_CHECKING:
    from ._settings import Settings
    from ._supervisor import Supervisor

logger = logging.getLogger("getstream.plugins.gemini")

BOUNDARY_WAIT_S = 15.0
"""Seconds to wait for a boundary between turns; then the change is made in mid-turn. A turn is sent
within seconds, faster than it is spoken, and few people speak for longer without a pause."""

BOUNDARY_POLL_S = 0.05
"""Seconds between two looks for such a boundary."""


class Stage(Enum):
    """Names how far a change has come."""

    WAITING = "for a boundary between turns"
    TRIED = "for a connection that takes it"
    DONE = "in effect, refused or given up"


class Configuration(NamedTuple):
    """A configuration, and the functions that its tools call.

    Attributes:
        config: a merged `LiveConnectConfigDict`, with the declarations of the tools.
        tools: the functions.
    """

    config: dict[str, Any]
    tools: ToolRegistry


class Change:
    """One change of the configuration.

    Attributes:
        wanted: the configuration with its tools, checked.
        before: the one that is in effect.
        stage: how far it has come.
        done: done when it is in effect, or fails with the reason why it is not.
    """

    def __init__(self, wanted: Configuration, before: Configuration) -> None:
        self.wanted = wanted
        self.before = before
        self.stage = Stage.WAITING
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self, error: GeminiError | None = None) -> bool:
        """Note the end; return whether somebody waits for it."""
        self.stage = Stage.DONE
        waited_for = not self.done.done()
        if waited_for and error is None:
            self.done.set_result(None)
        elif waited_for and error is not None:
            self.done.set_exception(error)
        return waited_for


class Reconfiguration:
    """Brings one change after the other into effect, and takes a refused one back.

    A change that the model takes in place is sent. Any other one needs a session of its own: the
    connection is left at a boundary between turns, and the new session begins with what was said.
    A configuration that the service refuses is given up: the session before is resumed.

    Args:
        supervisor: the session.
        settings: its settings.
    """

    def __init__(self, supervisor: Supervisor, settings: Settings) -> None:
        self._supervisor = supervisor
        self._model = settings.model
        # Of the session that there is, or of the next one.
        self._current = Configuration(settings.config, settings.tools)
        self._one_at_a_time = asyncio.Lock()
        self._change: Change | None = None
        self._handle_before = ""

    async def prepare_tools(self) -> None:
        """Declare the tools, before the first connection.

        Raises:
            ConfigError: an MCP server did not list its tools, or two tools have one name.
        """
        config, tools = self._current
        declared = await tools.prepare(self._supervisor.spawn)
        self._configure(Configuration(_with_tools(config, declared), tools))

    async def apply(
        self,
        change: Callable[[dict[str, Any]], dict[str, Any]],
        tools: Sequence[Any] | None = None,
    ) -> None:
        """Bring a change into effect, after those that are under way.

        Args:
            change: returns another configuration than the one that it is given.
            tools: the tools in place of those before; None leaves them.

        Raises:
            ConfigError: the other configuration cannot be used.
            SessionError: the service has refused it, or the session has failed.
            ClosedError: the session was closed.
        """
        lifecycle = self._supervisor.lifecycle
        lifecycle.check_open()
        # What cannot be used is refused before anything is waited for.
        self._checked(change)
        registry = None if tools is None else self._registry_of(tools)
        async with self._one_at_a_time:
            lifecycle.check_open()
            if lifecycle.life not in (Life.NEW, Life.RESTING):
                await lifecycle.wait_until_settled()
            config = self._checked(change)
            if lifecycle.life is Life.NEW:
                # The tools are declared before the first connection.
                self._configure(Configuration(config, registry or self._current.tools))
                return
            if registry is not None:
                declared = await registry.prepare(self._supervisor.spawn)
                config = _with_tools(config, declared)
                validate_config(config)
            wanted = Configuration(config, registry or self._current.tools)
            if config == self._current.config:
                self._configure(wanted)  # functions may differ although their declarations do not
            elif lifecycle.life is Life.RESTING:
                self._keep_for_next(wanted)
            elif await self._update_in_place(wanted):
                self._configure(wanted)
            else:
                await self._move_to(wanted)

    def _checked(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        config = change(self._current.config)
        check_config(self._model, config)
        validate_config(config)
        return config

    def _registry_of(self, tools: Sequence[Any]) -> ToolRegistry:
        behaviors = model_of(self._model).tool_behaviors
        return ToolRegistry(tools, behaviors=behaviors, model=self._model)

    def _configure(self, configuration: Configuration) -> None:
        self._current = configuration
        self._supervisor.session.configure(configuration.config)
        self._supervisor.tools.registry = configuration.tools

    async def _update_in_place(self, wanted: Configuration) -> bool:
        """Tell the service of the change in the running session, if that takes it."""
        way, session = model_of(self._model).context_updates, self._supervisor.session
        config, current = wanted.config, self._current.config
        changed = {name for name in {*config, *current} if config.get(name) != current.get(name)}
        instructions = config["system_instruction"] if "system_instruction" in changed else None
        try:
            if way == "update" and changed <= {"system_instruction", "tools"}:
                if session.can_update_context:
                    tools = config.get("tools", []) if "tools" in changed else None
                    await session.update_context(instructions=instructions, tools=tools)
                    return True
            elif way == "content" and changed == {"system_instruction"}:
                await session.add_instructions(str(instructions))
                return True
        except SessionError as error:
            self._supervisor.leave_connection(error)
        return False

    def _keep_for_next(self, wanted: Configuration) -> None:
        """Let the next connection take a change; if that is refused, all since the last go back."""
        if self._change is not None:
            self._change.wanted = wanted
            self._configure(wanted)
            return
        self._change = Change(wanted, self._current)
        self._change.done.set_result(None)  # nobody waits for it
        self.begin()

    async def _move_to(self, wanted: Configuration) -> None:
        """Go on in a session of another configuration."""
        self._change = change = Change(wanted, self._current)
        try:
            await self._wait(change)
        finally:
            if change.stage is Stage.WAITING:
                self._change = None
            change.done.cancel()  # nobody waits any more

    async def _wait(self, change: Change) -> None:
        """Leave the connection at a boundary between turns, and wait for the next one."""
        supervisor, lifecycle = self._supervisor, self._supervisor.lifecycle
        latest, task = supervisor.now() + BOUNDARY_WAIT_S, asyncio.current_task()
        while not change.done.done() and not lifecycle.is_over:
            supervisor.wake()  # or, let go meanwhile, it would wait until somebody comes
            in_time = supervisor.is_between_turns(task) or supervisor.now() >= latest
            if change.stage is Stage.WAITING and lifecycle.is_ready and in_time:
                supervisor.leave_connection(None)
            await asyncio.wait(
                [change.done, lifecycle.ended],
                timeout=BOUNDARY_POLL_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
        if not change.done.done():
            lifecycle.check_open()
        change.done.result()

    # -- what the session tells while it reconnects ----------------------------------------------

    def begin(self) -> bool:
        """Use the configuration that waits; return whether there was one: then nothing is resumed.

        Called before each attempt to have a connection.
        """
        change = self._change
        if change is None or change.stage is not Stage.WAITING:
            return False
        change.stage = Stage.TRIED
        self._configure(change.wanted)
        self._handle_before = self._supervisor.exchange_handle("")
        return True

    def accepted(self) -> None:
        """Note that there is a connection."""
        change = self._change
        if change is not None and change.stage is Stage.TRIED:
            self._change = None
            change.end()

    def refused(self, error: SessionError) -> bool:
        """Take a change back if an attempt has failed because of it; return whether it did."""
        change = self._change
        about_config = isinstance(error, RequestError)
        if change is None or change.stage is not Stage.TRIED or not about_config:
            return False
        self._change = None
        self._configure(change.before)
        self._supervisor.exchange_handle(self._handle_before)
        logger.warning("Gemini Live does not accept the new configuration: %s", error)
        if not change.end(error):
            self._supervisor.report(error)
        return True


def _with_tools(config: dict[str, Any], declared: list[Any]) -> dict[str, Any]:
    """Return a configuration with these declarations, or with none."""
    rest = {name: value for name, value in config.items() if name != "tools"}
    return {**rest, "tools": declared} if declared else rest
