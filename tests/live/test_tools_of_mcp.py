"""Check tools of MCP servers: the real package, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.live._tools import registry
from getstream.plugins.gemini.testing import FunctionCall, Script

Local = Callable[..., Any]


@asynccontextmanager
async def menu() -> AsyncIterator[Any]:
    """Connect to an MCP server with the menu of a restaurant."""
    mcp = pytest.importorskip("mcp")
    memory = pytest.importorskip("mcp.shared.memory")
    try:
        from mcp.server import MCPServer as Server  # 2.x
    except ImportError:
        from mcp.server.fastmcp import FastMCP as Server
    server = Server("menu")

    @server.tool()
    def price(dish: str, count: int = 1) -> float:
        """Tell a price."""
        if dish == "nothing":
            raise ValueError("there is no such dish")
        return 4.5 * count

    low_level = getattr(server, "_lowlevel_server", None) or server._mcp_server  # type: ignore[attr-defined]
    async with memory.create_client_server_memory_streams() as (client, inside):
        options = low_level.create_initialization_options()
        serving = asyncio.ensure_future(low_level.run(*inside, options))
        try:
            async with mcp.ClientSession(*client) as session:
                await session.initialize()
                yield session
        finally:
            serving.cancel()
            await asyncio.wait([serving])


async def test_a_tool_of_an_mcp_server(local: Local) -> None:
    calls = [
        FunctionCall("price", {"dish": "soup", "count": 2}),
        FunctionCall("price", {"dish": "nothing"}),
    ]
    async with menu() as session, local(Script([calls, "Nine.", "None."])) as server:
        async with GeminiLive(tools=[session]) as gemini:
            (declared,) = server.sessions[0].setup["tools"]
            (declaration,) = declared["functionDeclarations"]
            assert declaration["name"] == "price"
            assert declaration["description"] == "Tell a price."
            schema = declaration["parameters"]
            assert schema["required"] == ["dish"]
            assert schema["properties"]["dish"] == {"type": "STRING"}
            await gemini.send_text("How much is the soup?")
            await server.wait_tool_responses(2)
            first, second = (each.response for each in server.tool_responses)
            assert first["status"] == "ok"
            assert first["result"] in ({"result": 9.0}, "9.0")
            assert second["status"] == "error"
            assert second["message"]  # mcp 2 does not pass on what was raised


class Pages:
    """A session whose server lists its tools in pages, as `mcp` 1 asks for them."""

    async def list_tools(self, cursor: str | None = None) -> Any:
        number = int(cursor or 0)
        tool = SimpleNamespace(name=f"tool{number}", description=None, inputSchema={})
        return SimpleNamespace(tools=[tool], nextCursor="1" if number == 0 else None)

    async def call_tool(self, name: str, arguments: Any) -> Any:
        content = [SimpleNamespace(type="image", data="...")]
        return SimpleNamespace(content=content, structuredContent=None, isError=False)


async def test_pages_and_results_that_are_no_text(local: Local) -> None:
    async with local(Script([FunctionCall("tool1"), "I see."])) as server:
        async with GeminiLive(tools=[Pages()]) as gemini:
            (declared,) = server.sessions[0].setup["tools"]
            assert declared["functionDeclarations"] == [{"name": "tool0"}, {"name": "tool1"}]
            await gemini.send_text("Look.")
            await server.wait_tool_responses()
            (response,) = (each.response for each in server.tool_responses)
            assert response["message"] == "the MCP server answers with what is no text: image"


class Broken:
    """A session that cannot list its tools."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    async def list_tools(self) -> Any:
        if self._error is None:
            await asyncio.Event().wait()
        raise self._error or AssertionError


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("not initialized"), "initialize"),
        (asyncio.CancelledError(), "CancelledError"),
        (None, "within 0.05 s"),
    ],
)
async def test_servers_that_do_not_list_their_tools(
    local: Local, error: BaseException | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "LIST_TOOLS_S", 0.05)
    async with local():
        with pytest.raises(ConfigError, match=message):
            async with GeminiLive(tools=[Broken(error)]):
                pass


async def test_a_name_that_is_taken(local: Local) -> None:
    def tool1() -> None: ...

    async with local():
        with pytest.raises(ConfigError, match="two tools have the name 'tool1'"):
            async with GeminiLive(tools=[tool1, Pages()]):
                pass
