"""Run the playground as a user does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

KEYS = ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GEMINI_LIVE_MODEL", "GOOGLE_GEMINI_BASE_URL")


@contextmanager
def running_playground(*arguments: str, cwd: str | None = None) -> Iterator[str]:
    """Run the command without any key; yields the address of the page."""
    environment = {name: value for name, value in os.environ.items() if name not in KEYS}
    program = subprocess.Popen(
        [sys.executable, "-m", "getstream.plugins.gemini", "playground", "--no-open", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )
    try:
        assert program.stdout is not None
        address = next(
            (found[0] for line in program.stdout if (found := re.search(r"http://\S+", line))), ""
        )
        assert address, program.communicate()
        yield address
        program.send_signal(signal.SIGINT)
        _, complaints = program.communicate(timeout=30)
        assert program.returncode == 0
        assert "Traceback" not in complaints, complaints
    finally:
        program.kill()
        program.communicate()
