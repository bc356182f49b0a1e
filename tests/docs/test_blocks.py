"""Every Python block of README, docs and examples is run, on the real SDKs and local servers."""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from call_trial import assert_no_complaint
from getstream import AsyncStream
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.testing import LocalServers, Person, signals
from getstream.video import rtc
from pages import ROOT, Block, blocks, included, pages

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        not hasattr(rtc, "RemoteTrack"), reason="the pages speak of getstream 7 where they differ"
    ),
]

DATA = Path(str(files("getstream.plugins.gemini") / "data"))
CALL_ID = "your-call-id"
"""The call of the quick start; every block is in it."""

# The same code on several pages is run once.
_PYTHON = [block for page in pages() for block in blocks(page) if block.language == "python"]
UNIQUE = list({(block.code, block.mode): block for block in _PYTHON}.values())


def with_mode(*modes: str) -> pytest.MarkDecorator:
    found = [block for block in UNIQUE if block.mode in modes and included(block) is None]
    return pytest.mark.parametrize("block", found, ids=str)


# -- what is run elsewhere, or not ---------------------------------------------------------------


def test_there_are_blocks_of_each_kind() -> None:
    assert {block.mode for block in UNIQUE} >= {"alone", "in a call", "as a program"}


def test_only_a_stated_reason_leaves_a_block_out() -> None:
    left_out = {str(block): block.argument for block in UNIQUE if block.mode == "not"}
    print(left_out)
    assert len(left_out) <= 0.1 * len(UNIQUE)
    assert all(len(reason.split()) > 3 for reason in left_out.values())


@pytest.mark.parametrize("block", [b for b in UNIQUE if included(b) is not None], ids=str)
def test_an_included_file_is_an_example(block: Block) -> None:
    """The examples are run by `test_examples.py` and by the acceptance tests."""
    path = included(block)
    assert path is not None
    assert path.is_file()
    assert path.is_relative_to(ROOT / "examples")


@with_mode("by")
def test_a_block_that_another_test_runs_is_in_its_program(block: Block) -> None:
    wanted = [line.strip() for line in block.code.splitlines() if line.strip()]
    program = (ROOT / block.argument).read_text(encoding="utf-8")
    there = iter(line.strip() for line in program.splitlines())
    missing = [line for line in wanted if line not in there]  # consumes: in this order
    assert not missing


# -- in this process -----------------------------------------------------------------------------


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    monkeypatch.delenv("GEMINI_LIVE_MODEL", raising=False)
    monkeypatch.setenv("GOOGLE_API_KEY", "local-gemini-key")


def run(block: Block, names: dict[str, Any]) -> Any:
    """Run a block; returns its coroutine if it awaits something at the top level."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile("\n" * (block.line - 1) + block.code, str(ROOT / block.page), "exec", flags)
    return eval(code, names)


@with_mode("alone")
def test_it_runs_alone(block: Block, keys: None) -> None:
    result = run(block, {})
    if inspect.iscoroutine(result):
        asyncio.run(result)


@asynccontextmanager
async def local_call(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Any]]:
    """Both servers, and a call with a person; what the pages call `call`, `servers`, `anna`."""
    async with LocalServers() as servers:
        for name, value in servers.gemini.env.items():
            monkeypatch.setenv(name, value)
        with servers.stream.redirected():
            async with AsyncStream(base_url=None) as client, Person(CALL_ID, "anna") as anna:
                call = client.video.call("default", CALL_ID)
                await call.get_or_create(data={"created_by_id": "assistant-bot"})
                yield {
                    "anna": anna,
                    "asyncio": asyncio,
                    "call": call,
                    "GeminiLive": GeminiLive,
                    "rtc": rtc,
                    "servers": servers,
                }


async def join(names: dict[str, Any]) -> Any:
    subscription = GeminiLive.subscription_config()
    return await rtc.join(names["call"], "assistant-bot", subscription_config=subscription)


@with_mode("in a call", "in a call with video")
async def test_it_runs_in_a_call(
    block: Block,
    keys: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    give_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    async with local_call(monkeypatch) as names, GeminiLive() as gemini:
        async with await join(names) as connection:
            await gemini.attach(connection)
            answered = asyncio.Event()
            gemini.on("turn_complete", answered.set)
            names |= {"gemini": gemini, "connection": connection}
            result = run(block, names)
            if inspect.iscoroutine(result):
                await asyncio.wait_for(result, 30)
            if gemini.state != "closed":
                # What the block has set up is used: the model answers, aloud.
                await gemini.send_text("Say something.")
                await asyncio.wait_for(answered.wait(), 10)
                await names["anna"].hear_speech(timeout=10)
            if block.mode == "in a call with video":
                await names["anna"].publish_video(15)
                session = names["servers"].gemini.sessions[0]
                await session.wait_frames("video", timeout=10)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@with_mode("in a call, until it ends")
async def test_it_runs_until_the_call_ends(
    block: Block, keys: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with local_call(monkeypatch) as names:
        if "gemini =" not in block.code:
            names["gemini"] = GeminiLive()
        running = asyncio.ensure_future(run(block, names))
        try:
            await names["anna"].hear_speech(timeout=15)
            await names["servers"].stream.end_call(CALL_ID)
            await asyncio.wait_for(running, 15)
        finally:
            running.cancel()
            await asyncio.wait([running])
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# -- in processes of their own -------------------------------------------------------------------


def give_files(folder: Path) -> None:
    """Give a block the files that the pages speak of: a bot, and recorded sound."""
    shutil.copy(ROOT / "examples" / "quick_start" / "main.py", folder / "my_bot.py")
    said, rate = signals.read_wav(DATA / "question.wav")
    for name in ("question.wav", "music.wav"):
        signals.write_wav(folder / name, said[: round(1.6 * rate)], rate)


@with_mode("as a program of its own")
async def test_it_runs_to_its_end(block: Block, tmp_path: Path) -> None:
    give_files(tmp_path)
    program = tmp_path / "program.py"
    program.write_text(block.code, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(program)),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    print(out.decode())
    assert process.returncode == 0, err.decode()


@with_mode("as a program")
async def test_it_runs_on_local_servers(block: Block, tmp_path: Path) -> None:
    give_files(tmp_path)
    program = tmp_path / "program.py"
    program.write_text(block.code, encoding="utf-8")
    async with LocalServers() as servers:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(program)),
            cwd=tmp_path,
            env=servers.environment(PYTHONUNBUFFERED=1),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output = asyncio.ensure_future(process.communicate())
        try:
            session = await servers.gemini.wait_session(timeout=30)
            await servers.stream.wait_track("assistant-bot", "audio", timeout=30)
            (greeting,) = await session.wait_turns(1, timeout=30)
            assert greeting.outcome == "complete"
            process.send_signal(signal.SIGINT)
            out, err = await asyncio.wait_for(output, 20)
        finally:
            if process.returncode is None:
                process.kill()
                await output
    print(out.decode())
    assert process.returncode in (0, -signal.SIGINT), err.decode()
    assert_no_complaint(err.decode())
