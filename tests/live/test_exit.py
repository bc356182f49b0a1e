"""The end of a program: its own exit code, whatever the Stream SDK's native threads are doing."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from getstream.plugins.gemini import _exit
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.testing import Script

EXITS = Path(__file__).parents[1] / "support" / "exits.py"


async def test_whoever_starts_a_session_waits_at_exit_once(
    local: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: list[tuple[Any, ...]] = []
    monkeypatch.setattr(atexit, "register", lambda *call: registered.append(call))
    _exit.outlast_native_threads.cache_clear()
    try:
        async with local(Script([])):
            for _ in range(2):
                async with GeminiLive():
                    pass
    finally:
        _exit.outlast_native_threads.cache_clear()
    assert registered.count((time.sleep, _exit.NATIVE_THREADS_S)) == 1


@pytest.mark.soak
@pytest.mark.skipif(find_spec("getstream_rtc") is None, reason="getstream 6 has no native threads")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_programs_end_with_their_own_exit_code() -> None:
    """One in six dies of a signal where nobody waits."""
    done = subprocess.run(
        [sys.executable, str(EXITS), "40", "outlast"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {"7": 40}
