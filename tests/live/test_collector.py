"""The garbage collector does not stop a call: what modules have brought is not looked at again."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from getstream.plugins.gemini.testing import Script

PROGRAM = """
import asyncio, gc
from getstream.plugins.gemini.live import GeminiLive

{before}
before = gc.get_freeze_count()

async def main():
    counts = []
    for _ in range(2):
        async with GeminiLive():
            counts.append(gc.get_freeze_count())
    return counts

first, second = asyncio.run(main())
print(before, first, second)
"""


PREWARMED = """
import asyncio, gc
from getstream.plugins.gemini.live import GeminiLive

async def main():
    await GeminiLive.prewarm("a-key")
    print(gc.get_freeze_count())

asyncio.run(main())
"""


async def test_prewarm_freezes_what_is_there() -> None:
    """A process that waits for calls has the pause before the first one, not in it."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PREWARMED, stdout=subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(program.communicate(), 60)
    assert program.returncode == 0
    assert int(out) > 100_000


@pytest.mark.parametrize(
    ("before", "frozen"), [("", True), ("gc.freeze()", False), ("gc.disable()", False)]
)
async def test_the_first_session_of_a_process_freezes_what_is_there(
    before: str, frozen: bool, local: Callable[..., Any]
) -> None:
    source = PROGRAM.format(before=before)
    async with local(Script([])):  # which sets the environment
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-c", source, stdout=subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(program.communicate(), 60)
    assert program.returncode == 0
    counts = [int(count) for count in out.split()]
    gone = 1_000  # what is frozen may still be freed
    assert abs(counts[2] - counts[1]) < gone, "once"
    assert (counts[1] > counts[0] + gone) is frozen, (
        "an application that has decided itself is left alone"
    )
    if frozen:
        assert counts[1] > 100_000, "what a full collection would look at each time"
