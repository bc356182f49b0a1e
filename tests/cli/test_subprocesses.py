"""Tests of a program in its own process: its reports, and that no process is left."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from getstream.plugins.gemini._cli import demo
from getstream.plugins.gemini._cli.subprocesses import Program

SLEEPER = """
import json, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
print(json.dumps({"event": "ready"}), flush=True)
signal.sigwait({signal.SIGINT})
print(json.dumps({"event": "stopping"}), flush=True)
sys.exit(CODE)
"""

Make = Callable[..., Program]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that makes programs from source text."""

    def program(
        source: str, on_event: Callable[[dict[str, Any]], None] = lambda _: None
    ) -> Program:
        (tmp_path / "the_program.py").write_text(source)
        return Program("program", "the_program", [], {"PYTHONPATH": str(tmp_path)}, on_event)

    return program


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_reports(make: Make) -> None:
    heard: list[dict[str, Any]] = []
    lines = ['{"event": "one"}', "not JSON", '{"event": "two", "t": 1.5}', "[1]"]
    source = "\n".join(["import sys", *(f"print({line!r})" for line in lines), "sys.exit(3)"])
    async with make(source, heard.append) as program:
        assert await program.wait() == 3
        assert await program.wait_event("two") == {"event": "two", "t": 1.5}
        assert await program.wait_event("three") is None, "it will not come any more"
    assert [event["event"] for event in heard] == ["one", "two"]
    assert heard == program.events
    assert program.tail() == "    (on stdout) not JSON"


async def test_complaints(make: Make) -> None:
    source = "import sys\nfor n in range(100): print('complaint', n, file=sys.stderr)"
    async with make(source) as program:
        assert await program.wait() == 0
    assert program.tail(2) == "    complaint 98\n    complaint 99"
    assert len(program.stderr) == 40, "the last ones are kept"


@pytest.mark.parametrize("code", [0, 5])
async def test_interrupt(make: Make, code: int) -> None:
    async with make(SLEEPER.replace("CODE", str(code))) as program:
        assert await program.wait_event("ready") is not None
        assert await program.interrupt(30) == code
        assert program.events[-1] == {"event": "stopping"}
        assert await program.interrupt(30) == code, "twice is harmless"


async def test_a_program_that_does_not_end_is_killed(make: Make) -> None:
    async with make(
        SLEEPER.replace("sigwait({signal.SIGINT})", "sigwait({signal.SIGUSR1})")
    ) as program:
        assert await program.wait_event("ready") is not None
        assert await program.interrupt(0.1) < 0
        assert not is_alive(program.pid)


async def test_nothing_is_left_when_the_block_is_left(make: Make) -> None:
    async with make(SLEEPER) as program:
        assert await program.wait_event("ready") is not None
        assert is_alive(program.pid)
    assert not is_alive(program.pid)


async def test_nothing_is_left_when_the_task_is_cancelled(make: Make) -> None:
    program = make(SLEEPER)
    ready = asyncio.Event()

    async def use() -> None:
        async with program:
            await program.wait_event("ready")
            ready.set()
            await program.wait()

    task = asyncio.create_task(use())
    await ready.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not is_alive(program.pid)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancelling_a_wait_does_not_stop_the_reading(make: Make) -> None:
    async with make(SLEEPER.replace("CODE", "0")) as program:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(program.wait(), 0.01)
        assert await program.wait_event("ready") is not None
        assert await program.interrupt(30) == 0
        assert program.events[-1] == {"event": "stopping"}


async def test_what_is_said_of_a_program_that_fails_to_join(make: Make) -> None:
    async with make("raise SystemExit('no keys')") as program:
        with pytest.raises(demo.DemoFailedError) as failure:
            await demo._in_call(program, "joined")
    assert "the program of the program ended before it was in the call (exit code 1)" in str(
        failure.value
    )
    assert str(failure.value).endswith("    no keys")
