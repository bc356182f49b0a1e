"""Tests of `join` as a user runs it, in a call on the local servers."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from call_trial import assert_no_complaint
from getstream.plugins.gemini.testing import LocalGemini, LocalServers, Parrot, Reject, Turn

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

CALL = "a-call"
GREETING = Turn(text="Good evening to you.")


class Join:
    """Running `join`: its lines as they come, and its end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def until(self, condition: Callable[[str], object]) -> str:
        """Read until a line meets the condition; return it."""
        assert self.process.stdout is not None
        while line := (await asyncio.wait_for(self.process.stdout.readline(), 30)).decode():
            self.lines.append(line.rstrip("\n"))
            if condition(line):
                return line
        raise AssertionError(f"it ended; {self.lines}")

    async def end(self) -> tuple[int, str, str]:
        """Wait for its end; return exit code, all of stdout, and stderr."""
        out, err = await asyncio.wait_for(self.process.communicate(), 30)
        self.lines += out.decode().splitlines()
        assert self.process.returncode is not None
        return self.process.returncode, "\n".join(self.lines), err.decode()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@asynccontextmanager
async def joined(servers: LocalServers, *options: str, **env: str) -> AsyncIterator[Join]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "getstream.plugins.gemini", "join", CALL, *options),
        env=servers.environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield Join(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def local() -> LocalServers:
    return LocalServers(LocalGemini(Parrot(GREETING)))


def is_event(name: str) -> Callable[[str], bool]:
    return lambda line: json.loads(line)["event"] == name


async def test_no_link_to_a_backend_of_this_machine() -> None:
    async with local() as servers, joined(servers) as join:
        await join.until(lambda line: "in the call default:a-call" in line)
        join.process.send_signal(signal.SIGINT)
        code, out, _ = await join.end()
    assert code == 0
    assert "https://" not in out
    assert "there is no link" in out


PAGE = "https://calls.example/video/demos"


async def test_for_people() -> None:
    async with local() as servers, joined(servers, EXAMPLE_BASE_URL=PAGE) as join:
        await join.until(lambda line: "in the call default:a-call as assistant-bot" in line)
        link = next(line.strip() for line in join.lines if "https://" in line)
        query = parse_qs(urlsplit(link).query)
        assert urlsplit(link).path == f"/video/demos/join/{CALL}"
        assert query["api_key"] == [servers.stream.api_key]
        claims = jwt.decode(query["token"][0], servers.stream.api_secret, algorithms=["HS256"])
        assert claims["user_id"] == "browser-guest"
        assert claims["call_cids"] == [f"default:{CALL}"], "for this call only"
        assert claims["exp"] == pytest.approx(time.time() + 900, abs=60)
        assert any("For your eyes only" in line for line in join.lines)

        await join.until(lambda line: "assistant: Good evening to you." in line)
        join.process.send_signal(signal.SIGINT)
        code, out, err = await join.end()
        secret, key = servers.stream.api_secret, servers.gemini.api_key
        await servers.stream.wait_left("assistant-bot")
        session = await servers.gemini.wait_session(ready=False)
        assert (await session.wait_closed())[0] == 1000
    assert code == 0
    assert err == ""
    assert "left: SIGINT" in out
    # Nobody can hear the rest of the greeting any more.
    assert "1 turns, 1 interrupted" in out
    assert secret not in out
    assert key not in out


async def test_for_programs() -> None:
    began = time.monotonic()
    async with (
        local() as servers,
        joined(servers, "--events-json", "--user-id", "bot", "--voice", "Kore") as join,
    ):
        await join.until(is_event("turn_complete"))
        session = await servers.gemini.wait_session()
        config = json.dumps(session.setup)
        join.process.send_signal(signal.SIGTERM)
        code, out, err = await join.end()
    assert code == 0
    assert err == ""
    names = [event["event"] for event in join.events]
    assert names[:2] == ["connected", "joined"]
    assert names[-3:] == ["left", "closed", "stats"]
    assert names.count("audio_started") == 1
    times = [event["t"] for event in join.events]
    assert began < times[0] <= times[-1] < time.monotonic(), "one clock for all processes"
    by_name = {event["event"]: event for event in join.events}
    assert by_name["joined"]["user_id"] == "bot"
    assert by_name["turn_complete"] == {
        "t": by_name["turn_complete"]["t"],
        "event": "turn_complete",
        "turn": 1,
        "text": GREETING.text,
    }
    assert "".join(e["text"] for e in join.events if e["event"] == "text") == GREETING.text
    assert by_name["stats"]["turns"] == 1
    assert by_name["stats"]["cpu_seconds"] > 0
    assert by_name["closed"]["message"] == ""
    assert "Kore" in config
    assert "https://" not in out, "no link, and no token"


async def test_no_greeting_and_the_end_of_the_call() -> None:
    async with local() as servers, joined(servers, "--events-json", "--greeting", "") as join:
        await join.until(is_event("joined"))
        await servers.stream.wait_track("assistant-bot", "audio")
        await servers.stream.end_call(CALL)
        code, _, err = await join.end()
        session = await servers.gemini.wait_session(ready=False)
        assert [frame.kind for frame in session.frames if frame.kind == "text"] == []
    assert code == 0
    assert err == ""
    left = next(event for event in join.events if event["event"] == "left")
    assert left["reason"] == "the call has ended"
    assert join.events[-1]["event"] == "stats"


async def test_a_lost_session() -> None:
    async with local() as servers, joined(servers, "--events-json") as join:
        await join.until(is_event("turn_complete"))
        servers.gemini.fail_next(Reject(403), times=20)
        (await servers.gemini.wait_session()).abort()
        code, _, err = await join.end()
        await servers.stream.wait_left("assistant-bot")
    assert code == 1
    assert err.startswith("getstream-gemini: error: ")
    assert len(err.splitlines()) == 1, "said once"
    assert "Traceback" not in err
    assert_no_complaint(err)
    by_name = {event["event"]: event for event in join.events}
    assert by_name["error"]["type"] == "AuthError"
    assert "1006" in by_name["disconnected"]["reason"]
    assert by_name["closed"]["message"] == by_name["error"]["message"]
    assert join.events[-1]["event"] == "stats"


async def test_a_refused_key() -> None:
    gemini = LocalGemini(refused_keys=["local-gemini-key"])
    async with LocalServers(gemini) as servers, joined(servers) as join:
        code, out, err = await join.end()
    assert code == 1
    assert "local-gemini-key" not in out + err
    assert "key" in err
    assert "Traceback" not in err
    assert "https://" not in out, "no link to a call that the assistant does not join"


async def test_wrong_keys_of_stream() -> None:
    async with local() as servers:
        env = servers.environment(STREAM_API_SECRET="wrong-secret-wrong-secret-wrong-secret")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "getstream.plugins.gemini", "join", CALL),
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        code, out, err = await Join(process).end()
    assert code == 1
    assert "STREAM_API_KEY and STREAM_API_SECRET belong together" in err
    assert "wrong-secret" not in out + err
    assert "Traceback" not in err
