"""Every example is run on local servers, by people who do what it is an example of.

`quick_start` and `gemini_live` are run by the acceptance tests.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import pytest
from call_trial import assert_no_complaint
from getstream.plugins.gemini.testing import (
    FunctionCall,
    LocalGemini,
    LocalServers,
    Person,
    Script,
    signals,
)
from getstream.video import rtc
from pages import ROOT
from served_fleet import joined, serving

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        not hasattr(rtc, "RemoteTrack"),
        reason="getstream 6 blocks the event loop when it leaves, and the people are in this one",
    ),
]

EXAMPLES = ROOT / "examples"
QUESTION = Path(str(files("getstream.plugins.gemini") / "data" / "question.wav"))
CALL_ID = "a-call"


@dataclass
class Run:
    """A program that runs, and then what came of it."""

    servers: LocalServers
    process: asyncio.subprocess.Process
    code: int | None = None
    lines: list[str] = field(default_factory=list)


@asynccontextmanager
async def running(servers: LocalServers, folder: str, user_id: str) -> AsyncIterator[Run]:
    """Run an example in `CALL_ID`; at the end, end the call, which ends the example."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / folder / "main.py"), CALL_ID),
        env=servers.environment(PYTHONUNBUFFERED=1),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output = asyncio.ensure_future(process.communicate())
    run = Run(servers, process)
    try:
        await servers.stream.wait_track(user_id, "audio", timeout=30)
        yield run
        await servers.stream.end_call(CALL_ID)
        out, err = await asyncio.wait_for(output, 20)
    finally:
        if process.returncode is None:
            process.kill()
            await output
    run.code, run.lines = process.returncode, out.decode().splitlines()
    print(out.decode(), err.decode())
    assert run.code == 0, err.decode()
    assert_no_complaint(err.decode())


def test_every_folder_is_run_and_listed() -> None:
    tests = [Path(__file__), *(ROOT / "tests" / "acceptance").glob("*.py")]
    sources = "".join(path.read_text(encoding="utf-8") for path in tests)
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    folders = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
    assert len(folders) >= 6
    for folder in folders:
        assert f'"{folder}"' in sources, f"no test runs examples/{folder}"
        assert f"]({folder}/" in index, f"examples/README.md does not list {folder}"


async def test_video() -> None:
    async with LocalServers() as servers:
        with servers.stream.redirected():
            async with Person(CALL_ID, "anna") as anna:
                await anna.publish_video(15)
                async with running(servers, "video", "assistant-bot") as run:
                    session = await servers.gemini.wait_session()
                    await session.wait_frames("video", 2, timeout=15)
                    await session.wait_turns(1, timeout=15)
                    await anna.share_screen()
                    await session.wait_frames("text", 2, timeout=15)
                    await session.wait_turns(2, timeout=15)
    questions = [
        frame.message["realtimeInput"]["text"] for frame in session.frames if frame.kind == "text"
    ]
    assert questions == ["Describe what you see.", "What is on anna's screen?"]
    assert "looking at anna's camera, 320 x 240" in run.lines
    assert "looking at anna's screen, 1280 x 720" in run.lines
    assert any(line.startswith("assistant: ") for line in run.lines)
    (summary,) = (line for line in run.lines if line.endswith("frames sent"))
    assert int(summary.split()[0]) >= 3


async def test_group_call() -> None:
    async with LocalServers() as servers:
        with servers.stream.redirected():
            async with Person(CALL_ID, "anna") as anna, Person(CALL_ID, "ben") as ben:
                async with running(servers, "group_call", "assistant-bot") as run:
                    session = await servers.gemini.wait_session()
                    await session.wait_frames("audio", 10, timeout=15)
                    said, rate = signals.read_wav(QUESTION)
                    for person in (anna, ben):
                        await person.say(said[: round(1.6 * rate)], rate)
                        await person.hear_speech(timeout=10)
                        await person.hear_silence(600)
    told = [line for line in run.lines if line.endswith((" speaks", " stops"))]
    assert told == ["anna speaks", "anna stops", "ben speaks", "ben stops"]
    reported = {line.split()[0] for line in run.lines if " received, " in line}
    assert reported == {"anna", "ben"}


async def test_tools() -> None:
    script = Script(
        [
            "Welcome. How may I help?",
            FunctionCall("free_times", {"seats": 2}),
            "There is a table at half past six.",
            FunctionCall("book_table", {"seats": 12, "time": "18:30"}),
            "I can offer two tables.",
            FunctionCall("ask_kitchen", {"question": "Is there soup?"}),
            "Never mind.",
        ]
    )
    said, rate = signals.read_wav(QUESTION)
    said = said[: round(1.6 * rate)]
    async with LocalServers(gemini=LocalGemini(script)) as servers:
        server = servers.gemini
        with servers.stream.redirected():
            async with Person(CALL_ID, "anna") as anna:
                async with running(servers, "tools", "assistant-bot") as run:
                    session = await server.wait_session()
                    await anna.hear_speech(timeout=15)
                    for calls in (1, 2, 3):
                        await anna.hear_silence(600, timeout=20)
                        await anna.say(said, rate)
                        await server.wait_tool_calls(calls, timeout=20)
                        if calls < 3:
                            await server.wait_tool_responses(calls, timeout=20)
                            await anna.hear_speech(timeout=20)
                    await anna.say(said, rate)  # while the model waits for the kitchen
                    await session.wait_turns(7, timeout=20)
        assert [call.state for call in server.tool_calls] == ["answered", "answered", "cancelled"]
        assert server.tool_violations == []
    assert run.lines == [
        "free_times: ['18:30', '20:00']",
        "book_table: failed: the largest table has 8 seats; offer two tables",
        "ask_kitchen: cancelled",
    ]


async def test_custom_client() -> None:
    async with LocalServers() as servers:
        with servers.stream.redirected():
            async with Person(CALL_ID, "anna") as anna:
                async with running(servers, "custom_client", "assistant-bot"):
                    await anna.hear_speech(timeout=15)
                    # The greeting is still being sent when its first words are heard.
                    (session,) = servers.gemini.sessions
                    await session.wait_turns(1, timeout=15)
        assert [turn.outcome for turn in session.spoken] == ["complete"]


async def test_fleet(tmp_path: Path) -> None:
    """`main.py`, with the assistant of `app.py`."""
    folder = EXAMPLES / "fleet"
    async with LocalServers() as servers:
        with servers.stream.redirected():
            async with Person(CALL_ID, "anna") as anna:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, str(folder / "main.py"), CALL_ID),
                    env=servers.environment(PYTHONUNBUFFERED=1, PORT=0),
                    cwd=tmp_path,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
                output = asyncio.ensure_future(process.communicate())
                try:
                    await anna.hear_speech(timeout=30)
                    (session,) = servers.gemini.sessions
                    await session.wait_turns(1, timeout=15)
                    await anna.hear_silence(600, timeout=20)
                    process.terminate()
                    out, err = await asyncio.wait_for(output, 20)
                    await servers.stream.wait_left("assistant", timeout=1)
                finally:
                    if process.returncode is None:
                        process.kill()
                        await output
    asked = [f.message["realtimeInput"]["text"] for f in session.frames if f.kind == "text"]
    assert asked == ["Greet Anna."]
    assert process.returncode == 0, err.decode()
    assert out.decode().splitlines()[-1] == "leaving 1 calls"
    assert len(list((tmp_path / "fleet-records").iterdir())) == 1, "and goes on with it later"
    assert_no_complaint(err.decode())


async def test_the_assistant_of_fleet_is_served(tmp_path: Path) -> None:
    app = f"{EXAMPLES / 'fleet'}"
    async with LocalServers() as servers:
        path = f"{app}{os.pathsep}{servers.env['PYTHONPATH']}"
        options = ("--records", str(tmp_path / "records"))
        async with serving(
            servers, "app:assistant", *options, cwd=EXAMPLES / "fleet", PYTHONPATH=path
        ) as fleet:
            with servers.stream.redirected():
                async with Person(CALL_ID, "anna") as anna:
                    await fleet.webhook(joined(CALL_ID))
                    await anna.hear_speech(timeout=30)
            assert await fleet.stop() == 0


async def test_test_your_bot() -> None:
    """`scenarios.toml` beside it is run by `tests/testing/test_scenarios.py`."""
    folder = EXAMPLES / "test_your_bot"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "--no-header", "-p", "no:cacheprovider", "-q"),
        *("-c", os.devnull, "--rootdir", str(folder), str(folder / "test_bot.py")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()
    print(out.decode())
    assert process.returncode == 0, err.decode()
    assert "1 passed" in out.decode()
    assert_no_complaint(err.decode())
