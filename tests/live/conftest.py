"""The real `google-genai` SDK against the local server, over real sockets."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from getstream.plugins.gemini.testing import LocalGemini


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`async with local(...) as server`: a server that `GeminiLive()` finds by its variables."""

    class Local:
        def __init__(self, *args: Any, **options: Any) -> None:
            self._server = LocalGemini(*args, **options)

        async def __aenter__(self) -> LocalGemini:
            server = await self._server.__aenter__()
            monkeypatch.delenv("GEMINI_API_KEY", raising=False)
            monkeypatch.delenv("GEMINI_LIVE_MODEL", raising=False)
            for name, value in server.env.items():
                monkeypatch.setenv(name, value)
            return server

        async def __aexit__(self, *exc: Any) -> None:
            await self._server.__aexit__(*exc)

    return Local


OUTCOMES: dict[tuple[str, str], str] = {}
"""Outcome of each conversation, by fault and moment; see `test_faults`."""


@pytest.fixture
def outcomes() -> dict[tuple[str, str], str]:
    """Filled by the fault suite; printed as a table at the end of the run."""
    return OUTCOMES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of the fault suite: a fault in each row, a moment in each column."""
    if not OUTCOMES:
        return
    faults = list(dict.fromkeys(fault for fault, _ in OUTCOMES))
    moments = list(dict.fromkeys(moment for _, moment in OUTCOMES))
    terminalreporter.section("fault x moment -> outcome, assistant audio lost")
    terminalreporter.write_line("| fault | " + " | ".join(moments) + " |")
    terminalreporter.write_line("|---" * (len(moments) + 1) + "|")
    for fault in faults:
        cells = [OUTCOMES.get((fault, moment), "") for moment in moments]
        terminalreporter.write_line(f"| {fault} | " + " | ".join(cells) + " |")


@pytest.fixture
def complaints() -> list[dict[str, Any]]:
    """Complaints of asyncio during the test."""
    return []


@pytest.fixture(autouse=True)
async def _nothing_is_left_behind(complaints: list[dict[str, Any]]) -> AsyncIterator[None]:
    """No task outlives its test, and no exception goes unseen."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    before = asyncio.all_tasks()
    yield
    # Whatever is being closed may finish in the next turns of the loop, and no later.
    for _ in range(5):
        await asyncio.sleep(0)
    mine = {*before, asyncio.current_task()}
    left = [task for task in asyncio.all_tasks() - mine if not task.done()]
    gc.collect()
    assert not left, f"tasks were left behind: {left}"
    assert not complaints, f"asyncio complained: {complaints}"


@pytest.fixture
def collect() -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """`collect(gemini, "audio", "text")`: a list that fills with `(event, *args)`."""

    def start(gemini: Any, *names: str) -> list[tuple[Any, ...]]:
        seen: list[tuple[Any, ...]] = []
        for name in names:
            gemini.on(name, lambda *args, name=name: seen.append((name, *args)))
        return seen

    return start
