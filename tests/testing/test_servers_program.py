"""`python -m getstream.plugins.gemini.testing`: both servers around a program, or for a shell."""

from __future__ import annotations

import asyncio
import signal
import sys

PROGRAM = (sys.executable, "-m", "getstream.plugins.gemini.testing")
VARIABLES = ("GOOGLE_GEMINI_BASE_URL", "SSL_CERT_FILE", "STREAM_BASE_URL", "STREAM_API_SECRET")


async def test_a_program_gets_the_environment_and_gives_the_exit_code() -> None:
    script = (
        "import os, sys; "
        f"assert all(name in os.environ for name in {VARIABLES!r}); "
        "assert os.path.exists(os.environ['SSL_CERT_FILE']); "
        "sys.exit(7)"
    )
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "--", sys.executable, "-c", script, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 7, stderr.decode()


async def test_without_a_program_it_prints_what_to_export_and_serves_until_interrupted() -> None:
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines = []
    while not lines or not lines[-1].startswith("#"):
        lines.append((await asyncio.wait_for(process.stdout.readline(), 60)).decode())
    names = {line.split("=")[0].removeprefix("export ") for line in lines[:-1]}
    assert set(VARIABLES) < names
    process.send_signal(signal.SIGINT)
    _, stderr = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, stderr.decode()
    assert not stderr
