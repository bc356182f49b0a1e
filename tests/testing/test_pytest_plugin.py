"""The pytest plugin: the fixture `local_call`, run by pytest in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from getstream.video import rtc

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        not hasattr(rtc, "RemoteTrack"),
        reason="getstream 6 blocks the event loop when it leaves, and the people are in this one",
    ),
]

EXAMPLE = Path(__file__).parents[2] / "examples" / "test_your_bot"
INI = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"

PROGRAM = """
    async def test_a_program(local_call):
        async with local_call({bot!r}) as call:
            anna = await call.person("anna")
            greeting = await anna.hear_turn()
            await anna.say({question!r})
            answer = await anna.hear_turn(timeout=10)
            assert await call.end() == 0
        assert greeting.duration > 1
        assert answer.duration > 1
        assert call.latency.p95_ms < 5000
"""

FUNCTION = """
    from getstream.plugins.gemini.testing import Script, Turn
    from bot import main

    async def test_a_function(local_call):
        replies = Script([Turn(text="Good morning."), Turn(text="A quarter past three.")])
        async with local_call(main, reply=replies) as call:
            anna = await call.person("anna")
            await anna.hear_turn()
            await anna.say({question!r})
            await anna.hear_turn(timeout=10)
        assert [line.text for line in call.transcript][::2] == [
            "Good morning.", "A quarter past three.",
        ]
"""

FAILING = """
    async def test_it_fails(local_call):
        async with local_call({bot!r}) as call:
            ben = await call.person("ben")
            await ben.hear_turn(60)
"""

FORGETFUL = """
    import asyncio, pathlib

    async def test_it_forgets(local_call):
        call = local_call("sleeps.py")
        await call.__aenter__()
        await call.start_bot()
        while not pathlib.Path("pid").exists():
            await asyncio.sleep(0.02)
        {then}
"""

SLEEPS = """
    import os, pathlib, time
    pathlib.Path("pid.new").write_text(str(os.getpid()))
    os.rename("pid.new", "pid")
    while True:
        time.sleep(1)
"""


def write(folder: Path, **files: str) -> None:
    (folder / "pytest.ini").write_text(INI, encoding="utf-8")
    for name, source in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.acceptance
def test_a_bot_in_fifteen_lines(tmp_path: Path) -> None:
    """A program and a function; the first test is the example of the documentation."""
    question = str(tmp_path / "question.wav")
    data = EXAMPLE.parents[1] / "python" / "getstream" / "plugins" / "gemini" / "data"
    Path(question).write_bytes((data / "question.wav").read_bytes())
    write(
        tmp_path,
        bot=(EXAMPLE / "bot.py").read_text(encoding="utf-8"),
        test_program=PROGRAM.format(bot="bot.py", question=question),
        test_function=FUNCTION.format(question=question),
    )
    done = run(tmp_path, "-q")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    for source in (PROGRAM, FUNCTION):
        assert len(source.strip().splitlines()) <= 15


def test_a_failure_has_its_report(tmp_path: Path) -> None:
    bot = "import sys\nsys.exit('no such voice: Korr')"
    write(tmp_path, dies=bot, test_it=FAILING.format(bot="dies.py"))
    done = run(tmp_path, "--basetemp", str(tmp_path / "base"))
    assert done.returncode == 1, done.stdout
    report = done.stdout
    assert re.search(r"-+ local call: said and heard -+", report)
    assert "ben heard the bot (own clock, s): never" in report
    assert "answers came after (ms): no answer" in report
    assert re.search(r"-+ local call: local Gemini server -+\nno session was opened", report)
    assert re.search(
        r"-+ local call: stderr of the bot \(exit code 1\) -+\nno such voice: Korr", report
    )
    (folder,) = re.findall(r"recordings and report.json: (.+)", report)
    assert sorted(path.name for path in Path(folder).iterdir()) == ["0-ben.wav", "report.json"]


def test_a_test_that_passes_has_none(tmp_path: Path) -> None:
    source = """
        import asyncio

        async def idle(call_id):
            await asyncio.Event().wait()

        async def test_it(local_call):
            async with local_call(idle) as call:
                await call.start_bot()
    """
    write(tmp_path, test_it=source)
    done = run(tmp_path, "-rA", "--basetemp", str(tmp_path / "base"))
    assert done.returncode == 0, done.stdout
    assert "said and heard" not in done.stdout
    assert not list((tmp_path / "base").glob("local_call*"))


def _ended(pid: int) -> bool:
    """Wait until a process has ended; for at most ten seconds."""
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("then", ["pass", "raise KeyError"])
def test_a_bot_that_a_test_forgets_is_killed(tmp_path: Path, then: str) -> None:
    write(tmp_path, sleeps=SLEEPS, test_it=FORGETFUL.format(then=then))
    run(tmp_path)
    assert _ended(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(os.name != "posix", reason="signals")
async def test_ctrl_c_ends_the_bot(tmp_path: Path) -> None:
    source = """
        import asyncio

        async def test_it(local_call):
            async with local_call("sleeps.py") as call:
                await call.start_bot()
                await asyncio.Event().wait()
    """
    write(tmp_path, sleeps=SLEEPS, test_it=source)
    process = subprocess.Popen(
        command(), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        while not (tmp_path / "pid").exists():
            assert process.poll() is None
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, _ = await asyncio.to_thread(process.communicate, timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 2, output  # pytest: interrupted by the user
    assert _ended(int((tmp_path / "pid").read_text()))


def test_a_run_that_does_not_use_it_imports_nothing_of_the_sdks(tmp_path: Path) -> None:
    source = """
        import sys

        def test_it():
            assert "pytest_getstream_gemini" in sys.modules
            heavy = ("getstream", "google.genai", "numpy", "aiohttp", "av")
            assert [name for name in heavy if name in sys.modules] == []
    """
    write(tmp_path, test_it=source)
    done = run(tmp_path, "-q")
    assert done.returncode == 0, done.stdout
    fixtures = run(tmp_path, "--fixtures").stdout
    assert re.search(r"local_call -- .*\n +Make calls on this machine", fixtures)


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    """Run without `trustme`, as where the package is installed without `[testing]`."""
    hides = """
        import sys

        sys.modules["trustme"] = None  # type: ignore[assignment]
    """
    write(tmp_path, conftest=hides, test_it="def test_it(local_call): ...")
    done = run(tmp_path)
    assert done.returncode == 1, done.stdout
    assert "pip install 'getstream-plugins-gemini[testing]'" in done.stdout
