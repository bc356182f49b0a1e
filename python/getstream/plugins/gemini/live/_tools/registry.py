"""Keep the tools that an assistant was given, of every kind, and who answers their calls."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ConfigError
from .declarations import (
    DEFAULT_TIMEOUT_S,
    Behavior,
    Declared,
    Scheduling,
    Tool,
    declare,
)
from .schema import UntranslatableError, service_schema, without_references

__all__ = ["Entry", "ToolRegistry"]

logger = logging.getLogger("getstream.plugins.gemini")

Spawn = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]

LIST_TOOLS_S = 10.0
"""Seconds in which an MCP server has to list its tools: as many as setting up the session may
take."""


@dataclass(frozen=True)
class Entry:
    """A function that the model may call, and who answers.

    Attributes:
        name: Its name.
        timeout_s: Seconds that an answer may take, or None.
        waits: Whether the model waits for the answer before it goes on.
        scheduling: When the model speaks of it; None leaves that to the service.
        declared: The Python function, or None.
        mcp: The MCP session that has the tool, or None. With neither, the application answers, by
            `GeminiLive.send_tool_response`.
    """

    name: str
    timeout_s: float | None
    waits: bool
    scheduling: Scheduling | None = None
    declared: Declared | None = None
    mcp: Any = None

    @property
    def is_manual(self) -> bool:
        """Return whether the application answers its calls."""
        return self.declared is None and self.mcp is None


class ToolRegistry:
    """Holds the tools of one assistant, and takes more until it connects.

    Args:
        given: What was passed: functions, `Tool`, dictionaries, `Tool` objects of google-genai, and
            MCP `ClientSession`s.
        behaviors: What the model accepts, its own default first.
        model: Its name, for messages.

    Raises:
        ConfigError: One of them cannot be used, or two have one name.
    """

    def __init__(
        self,
        given: Iterable[Any] = (),
        *,
        behaviors: tuple[Behavior, ...] = ("NON_BLOCKING", "BLOCKING"),
        model: str = "",
    ) -> None:
        self._behaviors = behaviors
        self._model = model
        self._functions: dict[str, Declared] = {}
        self._described: dict[str, Behavior | None] = {}  # by dictionaries and objects of the SDK
        self._passed_on: list[Any] = []
        self._mcp_sessions: list[Any] = []
        self._mcp_tools: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._entries: dict[str, Entry] = {}
        self._is_frozen = False
        for each in given:
            self.add(each)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Return the functions by name; they are complete once `prepare` has been called."""
        return self._entries

    def add(self, given: Any) -> None:
        """Add a tool.

        Raises:
            ConfigError: It cannot be used, its name is taken, or the session is being set up.
        """
        if self._is_frozen:
            raise ConfigError(
                "tools are declared when the session is set up, which has begun: pass them as "
                "GeminiLive(tools=[...]), or use @gemini.tool before the first await"
            )
        descriptions = _descriptions_of(given)
        if isinstance(given, Tool) or (callable(given) and descriptions is None):
            self._add_function(declare(given))
        elif callable(getattr(given, "list_tools", None)):
            self._mcp_sessions.append(given)
        elif descriptions is not None:
            self._add_described(given, descriptions)
        else:
            raise ConfigError(
                f"tools holds {type(given).__name__}: a tool is a function with annotations, "
                "tool(function, ...), a dictionary such as {'google_search': {}}, a Tool of "
                "google-genai, or an MCP ClientSession"
            )

    async def prepare(self, spawn: Spawn) -> list[Any]:
        """Close the registry, and return what `tools` of a `LiveConnectConfig` is to hold.

        Args:
            spawn: Makes a task that its owner looks after.

        Raises:
            ConfigError: An MCP server did not list its tools, or two tools have one name.
        """
        self._is_frozen = True
        if not self._mcp_tools:
            for session in self._mcp_sessions:
                await self._list_mcp_tools(session, spawn)
        self._entries = {each.name: each for each in self._make_entries()}
        declarations = [
            each.declaration() for each in self._functions.values()
            if each.name not in self._described
        ]  # fmt: skip
        declarations += [declaration for _, declaration in self._mcp_tools.values()]
        own = [{"function_declarations": declarations}] if declarations else []
        return [*self._passed_on, *own]

    def _add_function(self, declared: Declared) -> None:
        name, behavior = declared.name, declared.tool.behavior
        if name in self._functions:
            raise ConfigError(
                f"two tools have the name {name!r}; give one of them another with "
                "tool(function, name=...)"
            )
        if behavior is not None and behavior not in self._behaviors:
            raise ConfigError(
                f"{name}() is {behavior}, and {self._model!r} takes only "
                f"{' or '.join(self._behaviors)} tools; leave behavior out"
            )
        if declared.tool.scheduling is not None and self._waits(behavior):
            raise ConfigError(
                f"{name}() has scheduling={declared.tool.scheduling!r}, which is for results that "
                "the model does not wait for: add behavior='NON_BLOCKING', or leave it out"
                + ("" if "NON_BLOCKING" in self._behaviors else f" ({self._model!r} always waits)")
            )
        self._functions[name] = declared

    def _add_described(self, given: Any, descriptions: Sequence[Any]) -> None:
        for each in descriptions:
            name = _field(each, "name")
            if not isinstance(name, str) or not name:
                raise ConfigError(f"a function declaration in tools has no name: {each!r}")
            if name in self._described:
                raise ConfigError(f"two function declarations in tools have the name {name!r}")
            if _field(each, "parameters_json_schema") or _field(each, "parametersJsonSchema"):
                logger.warning(
                    "Gemini Live ignores parameters_json_schema, and would call %s without "
                    "arguments; write parameters instead",
                    name,
                )
            behavior = _field(each, "behavior")
            self._described[name] = getattr(behavior, "value", behavior)
        self._passed_on.append(given)

    async def _list_mcp_tools(self, session: Any, spawn: Spawn) -> None:
        listing = spawn(_list_all_tools(session))
        try:
            await asyncio.wait([listing], timeout=LIST_TOOLS_S)
        finally:
            listing.cancel()
        if not listing.done():
            raise ConfigError(
                f"an MCP server in tools did not list its tools within {LIST_TOOLS_S:g} s; is its "
                "session initialized?"
            )
        # What the session cancels inside of itself is no cancellation of who waits for it here.
        error = asyncio.CancelledError() if listing.cancelled() else listing.exception()
        if error is not None:
            raise ConfigError(
                f"an MCP session in tools cannot list its tools ({type(error).__name__}: {error}); "
                "call `await session.initialize()` first"
            ) from error
        for each in listing.result():
            if each.name in self._mcp_tools or each.name in self._functions:
                raise ConfigError(f"two tools have the name {each.name!r}; one is of an MCP server")
            self._mcp_tools[each.name] = (session, _mcp_declaration(each))

    def _make_entries(self) -> Iterable[Entry]:
        for name, behavior in self._described.items():
            if name not in self._functions:
                yield Entry(name, DEFAULT_TIMEOUT_S, self._waits(behavior))
        for name, declared in self._functions.items():
            options = declared.tool
            behavior = options.behavior or self._described.get(name)
            waits = self._waits(behavior)
            yield Entry(name, options.timeout_s, waits, options.scheduling, declared)
        for name, (session, _) in self._mcp_tools.items():
            yield Entry(name, DEFAULT_TIMEOUT_S, self._waits(None), mcp=session)

    def _waits(self, behavior: Behavior | None) -> bool:
        return (behavior or self._behaviors[0]) == "BLOCKING"


def _descriptions_of(given: Any) -> Sequence[Any] | None:
    """Return the function declarations in a dictionary or an object of the SDK, else None."""
    if isinstance(given, Mapping):
        found = given.get("function_declarations") or given.get("functionDeclarations") or ()
    elif hasattr(given, "function_declarations"):
        found = given.function_declarations or ()
    else:
        return None
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise ConfigError(f"function_declarations in tools is a list, not {found!r}")
    return found


def _field(declaration: Any, name: str) -> Any:
    if isinstance(declaration, Mapping):
        return declaration.get(name)
    return getattr(declaration, name, None)


async def _list_all_tools(session: Any) -> list[Any]:
    """List the tools of an MCP server, which may give them in pages."""
    found: list[Any] = []
    cursor: str | None = None
    while True:
        page = await (
            session.list_tools(**_page(session, cursor)) if cursor else session.list_tools()
        )
        found.extend(page.tools)
        cursor = getattr(page, "nextCursor", None) or getattr(page, "next_cursor", None)
        if not cursor:
            return found


def _page(session: Any, cursor: str) -> dict[str, Any]:
    """Return the arguments of `list_tools` for a page; mcp 2 takes it in an object."""
    if "cursor" in inspect.signature(session.list_tools).parameters:
        return {"cursor": cursor}
    parameters = importlib.import_module("mcp.types").PaginatedRequestParams
    return {"params": parameters(cursor=cursor)}


def _mcp_declaration(tool: Any) -> dict[str, Any]:
    schema = getattr(tool, "inputSchema", None) or getattr(tool, "input_schema", None) or {}
    fields: dict[str, Any] = {"name": tool.name}
    if tool.description:
        fields["description"] = tool.description
    try:
        flat = without_references(schema, schema.get("$defs", {}), (), tool.name)
    except UntranslatableError as error:
        raise ConfigError(f"the tool {tool.name!r} of an MCP server: {error}") from None
    if flat.get("properties"):
        fields["parameters"] = service_schema(flat)
    return fields
