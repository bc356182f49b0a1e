"""The documented quick start, word for word, on the real SDKs, end to end.

What is asserted is the content of what a person in the call hears, and of what the service gets.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from call_trial import (
    DATA,
    GREET_AND_ANSWER,
    Trial,
    check_answer,
    check_greeting,
    check_loop,
    check_wire,
    hold_call,
    parrot,
    repeated_if_the_machine_stalls,
)

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(400)]

HERE = Path(__file__).parent
QUICK_START = HERE / "quick_start.py"


async def test_quick_start(tmp_path: Path) -> None:
    program = tmp_path / "main.py"
    shutil.copy(QUICK_START, program)

    async def trial(number: int) -> Trial:
        async with parrot() as servers:
            return await hold_call(
                servers,
                tmp_path / str(number),
                program=program,
                script=GREET_AND_ANSWER,
                speech=[DATA / "question.wav"],
            )

    def check(trial: Trial) -> None:
        trial.assert_clean_end()
        assert trial.session.setup["model"] == "models/gemini-3.8-live"
        assert "RetiredModelWarning" in trial.assistant_err
        check_greeting(trial)
        check_answer(trial)
        check_wire(trial, 48000)
        check_loop(trial, program)

    await repeated_if_the_machine_stalls(trial, check)


def test_the_quick_start_is_the_documented_one() -> None:
    """README and program are the same, word for word."""
    readme = HERE.parents[1] / "README.md"
    assert f"```python\n{QUICK_START.read_text()}```" in readme.read_text()
