"""The documented quick start, word for word, on the real SDKs, end to end.

What is asserted is the content of what a person in the call hears, and of what the service gets.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from statistics import median

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
QUICK_START = HERE.parents[1] / "examples" / "quick_start" / "main.py"


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


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_call_of_a_minute_does_not_grow(tmp_path: Path) -> None:
    """Three rounds of eight seconds of speech and as much of answer, after the greeting."""
    program = tmp_path / "main.py"
    shutil.copy(QUICK_START, program)
    a_round = "say:0;hear;silence:1000;"
    async with parrot() as servers:
        trial = await hold_call(
            servers,
            tmp_path,
            program=program,
            script="hear;silence:800;" + 3 * a_round + "leave",
            speech=[DATA / "speech.wav"],
        )
    trial.assert_clean_end()
    assert trial.session.interruptions == 0
    began = trial.resident[0][0]
    seconds = trial.resident[-1][0] - began
    print(f"{seconds:.0f} s, resident MB {[round(b / 1e6, 1) for _, b in trial.resident]}")
    assert seconds > 55
    # The first round fills every buffer and cache once; after it nothing is added.
    early = [size for at, size in trial.resident if 20 < at - began < 30]
    late = [size for _, size in trial.resident[-10:]]
    assert median(late) - median(early) < 3_000_000
