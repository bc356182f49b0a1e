"""The verb `load`: the fleet under test in its good and bad days, and one real run."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.testing._load.command import (
    main,
    markdown_table,
    table_head,
    table_row,
)
from getstream.plugins.gemini.testing._load.fleet import FleetUnderTest, worst_lag_ms
from getstream.plugins.gemini.testing._load.plan import Bounds, Step

LOAD = (sys.executable, "-m", "getstream.plugins.gemini.testing", "load")
SECRET = "a-secret-of-tests"

ASSISTANT = """
from getstream.plugins.gemini.live import GeminiLive

async def assistant(seat):
    async with GeminiLive(instructions="Be brief.", resume=seat.resume) as gemini:
        async with await seat.join() as connection:
            await gemini.attach(connection)
            await seat.follow(gemini, connection)
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "STREAM_API_SECRET": SECRET, **more}


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


# -- the fleet under test ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (python("print('no key is set'); raise SystemExit(3)"), "no key is set"),
        ("/no/such/program serve", "/no/such/program"),
        ("", "--serve is empty"),
        ("serve 'app", "cannot be read"),
    ],
)
async def test_a_fleet_that_does_not_start_says_why(
    command: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        async with FleetUnderTest(command, environment(), tmp_path / "fleet.log"):
            pass


SERVING = "print('Serving on http://127.0.0.1:9', flush=True); "


async def test_no_process_of_a_fleet_survives_it(tmp_path: Path) -> None:
    """Not even one that has left its session, and whose parent has died."""
    orphan = "import time; time.sleep(600)"
    code = (
        "import subprocess, sys, time; "
        f"child = subprocess.Popen([sys.executable, '-c', {orphan!r}], start_new_session=True); "
        f"print('child', child.pid, flush=True); {SERVING} time.sleep(600)"
    )
    log = tmp_path / "fleet.log"
    async with FleetUnderTest(python(code), environment(), log) as fleet:
        child = int(log.read_text().split()[1])
        assert child in fleet.processes().pids
    assert not Path(f"/proc/{child}").exists() or _is_zombie(child)


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


async def test_a_fleet_that_ends_meanwhile_is_noticed(tmp_path: Path) -> None:
    end = tmp_path / "end"
    wait = f"import os, time\nwhile not os.path.exists({str(end)!r}): time.sleep(0.02)\nexit(1)"
    code = f"{SERVING}\n{wait}"
    async with FleetUnderTest(python(code), environment(), tmp_path / "fleet.log") as fleet:
        fleet.check()
        end.touch()
        ended = ""
        while not ended:
            await asyncio.sleep(0.05)
            try:
                fleet.check()
            except ConfigError as error:
                ended = str(error)
        assert "has ended with 1" in ended
        placing = await fleet.person_joined("a", "anna")
        assert (placing.status, placing.taken, placing.refused) == (0, False, False)
        assert await fleet.loop_lag_ms() is None


async def test_webhooks_are_signed_and_answers_told_apart(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    async def on_webhook(request: web.Request) -> web.Response:
        body = await request.read()
        expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert request.headers["X-Signature"] == expected
        seen.append(json.loads(body))
        return web.json_response({}, status={1: 201, 2: 503}.get(len(seen), 500))

    async def on_status(request: web.Request) -> web.Response:
        assert request.headers["Authorization"].startswith("Bearer ")
        return web.json_response({"workers": {"a": {"report": {"lag_ms": 7}}}})

    asked: list[int] = []

    async def on_ready(request: web.Request) -> web.Response:
        asked.append(503 if len(asked) < 2 else 200)
        return web.Response(status=asked[-1])

    app = web.Application()
    app.add_routes([web.post("/stream", on_webhook), web.get("/calls", on_status)])
    app.add_routes([web.get("/readyz", on_ready)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    code = f"import time; print('Serving on http://127.0.0.1:{port}', flush=True); time.sleep(600)"
    try:
        async with FleetUnderTest(python(code), environment(), tmp_path / "fleet.log") as fleet:
            assert asked == [503, 503, 200], "workers are waited for"
            assert (await fleet.person_joined("a", "anna")).taken
            assert (await fleet.person_joined("b", "ben")).refused
            failed = await fleet.session_ended("a")
            assert not failed.taken
            assert not failed.refused
            assert await fleet.loop_lag_ms() == 7.0
    finally:
        await runner.cleanup()
    joined, _, ended = seen
    assert joined["type"] == "call.session_participant_joined"
    assert joined["participant"]["user"]["id"] == "anna"
    assert (ended["type"], ended["call_cid"]) == ("call.session_ended", "default:a")
    assert ended["session_id"] == joined["session_id"]


@pytest.mark.parametrize(
    ("status", "lag"),
    [
        ({"workers": {"a": {"report": {"lag_ms": 3}}, "b": {"report": {"lag_ms": 9.5}}}}, 9.5),
        ({"workers": {"a": {"report": None}}}, None),
        ({"workers": {"a": {"report": {"lag_ms": "3"}}, "b": 4}}, None),
        ({"workers": []}, None),
        ([], None),
        (None, None),
    ],
)
def test_the_lag_of_a_status_of_any_shape(status: Any, lag: float | None) -> None:
    assert worst_lag_ms(status) == lag


# -- the table ---------------------------------------------------------------------------------


def test_a_row_fits_under_its_head_and_is_marked() -> None:
    row = table_row(Step(calls=12, held=10, refused=2, machine_busy=1.0), Bounds())
    first, second = table_head().splitlines()
    assert len(first) == len(second)
    assert row.startswith(f"{12:>5}")
    assert row.endswith("level lost  not the fleet's")


def test_the_table_of_a_page_has_a_row_for_each_step() -> None:
    lines = markdown_table([Step(calls=2, held=2, answers=1), Step(calls=4, held=0)], Bounds())
    assert [line.count("|") for line in lines[:-1]] == [lines[0].count("|")] * 4
    assert "level lost" in lines[3]


# -- the command line --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "app:assistant"),
        (["app:assistant", "--serve", "x"], "--serve"),
        (["app:assistant", "--calls", "9:2"], "FIRST"),
        (["app:assistant", "--seconds", "1"], "--seconds"),
        (["app:assistant", "--seconds", "nan"], "--seconds"),
        (["app:assistant", "--late-ms", "-1"], "late_ms"),
    ],
)
def test_a_wrong_command_line_says_what_is_right(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_help_has_an_example() -> None:
    for arguments in (["load", "--help"], ["--help"]):
        shown = subprocess.run(
            [*LOAD[:-1], *arguments], capture_output=True, text=True, timeout=60, check=True
        )
        assert "load app:assistant --calls 2:40" in shown.stdout


@pytest.mark.acceptance
async def test_two_calls_are_held_and_measured(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(ASSISTANT, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *LOAD,
        *("app:assistant", "--calls", "2", "--seconds", "8", "--out", "out"),
        # The figures are not judged here: this machine may be busy.
        *("--late-ms", "100000", "--answer-ms", "100000"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(), 110)
    assert process.returncode == 0, stderr.decode() + stdout.decode()
    assert "The fleet carried 2 calls" in stdout.decode()
    found = json.loads((tmp_path / "out" / "load.json").read_text())
    assert (tmp_path / "out" / "load.svg").read_text().startswith("<svg")
    assert (found["carried"], found["lost_at"]) == (2, None)
    (step,) = found["steps"]
    assert (step["calls"], step["held"], step["refused"], step["missing"]) == (2, 2, 0, 0)
    assert step["answers"] >= 1
    assert step["unanswered"] == 0
    assert step["answer_p50_ms"] > step["service_p50_ms"] >= 450, "the service waits for 500 ms"
    assert 0 < step["fleet_cores"] < step["machine_cores"]
    assert step["call_cores"] == pytest.approx(step["fleet_cores"] / 2)
    assert set(step["generator_cores"]) == {"gemini", "stream", "people", "load"}
    assert all(cores > 0 for cores in step["generator_cores"].values())
    assert step["memory_mb"] > 20
    assert step["loop_lag_ms"] is not None
    assert step["join_p95_ms"] > 0
    assert found["person_cores"] > 0
