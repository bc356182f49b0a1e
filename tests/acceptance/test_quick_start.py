"""The documented quick start, word for word, on the real SDKs, end to end.

What is asserted is the content of what a person in the call hears, and of what the service gets.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import soxr
from call_trial import CALL_RATE, DATA, Trial, hold_call, holds_of_ours, match, recorded
from getstream.plugins.gemini.testing import LocalGemini, LocalServers, Parrot, Turn
from getstream.plugins.gemini.testing.signals import largest_step, longest_silence, rms_dbfs

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(400)]

HERE = Path(__file__).parent
QUICK_START = HERE / "quick_start.py"
TRIALS = 3

# Greeting, then the person's words, then the answer, then silence.
SCRIPT = "hear;silence:800;say:0;hear;silence:1200;leave"


def parrot(**options: object) -> LocalServers:
    greeting = Turn.from_wav(DATA / "greeting.wav", "Hello everyone.")
    return LocalServers(LocalGemini(Parrot(greeting), **options))  # type: ignore[arg-type]


async def repeated_if_the_machine_stalls(
    trial: Callable[[int], object], check: Callable[[Trial], None]
) -> None:
    """A trial that fails while the machine stalled is repeated; it never passes by the stall."""
    for number in range(1, TRIALS + 1):
        result: Trial = await trial(number)  # type: ignore[misc]
        try:
            return check(result)
        except AssertionError:
            if not result.stalls or number == TRIALS:
                raise
            print(f"trial {number} failed while the machine stalled: {result.stalls}; again")


def check_greeting(trial: Trial) -> None:
    greeting = recorded("greeting.wav")
    found = trial.find(greeting)
    print(f"greeting: {found}")
    assert found.correlation > 0.95
    assert abs(found.level_db) < 1


def check_answer(trial: Trial) -> None:
    words = recorded("question.wav")
    _, ended = trial.said_at(0)
    found = trial.find(words, after=ended)
    print(f"answer: {found}")
    assert found.correlation >= 0.95
    assert abs(found.level_db) < 1

    answer = trial.heard[found.start : found.start + len(words)]
    # No hole: no frame of the speech is missing or replaced by silence.
    frame = CALL_RATE // 50
    for start in range(0, len(words) - frame, frame):
        spoken, came = (rms_dbfs(sound[start : start + frame]) for sound in (words, answer))
        assert spoken < -35 or came > spoken - 20, f"a hole at {start / CALL_RATE:.2f} s"
    # No click: no step larger than the speech itself has.
    assert largest_step(answer) < 1.5 * largest_step(words)
    # Before and after the two things that were said there is silence.
    assert longest_silence(trial.heard, CALL_RATE, -60) > 500


def check_wire(trial: Trial, rate: int) -> None:
    (wire,) = trial.session.audio
    assert wire.rate == rate
    frames = [frame for frame in trial.session.frames if frame.kind == "audio"]
    assert {len(frame.data) for frame in frames} == {rate // 50 * 2}, "20 ms of 16-bit mono"
    # The service's clock runs at 1x: as much audio as time, within what may wait in a queue.
    lasted = frames[-1].at - frames[0].at
    assert abs(len(frames) / 50 - lasted) < 0.3
    found = match(
        recorded("question.wav"), soxr.resample(wire.samples, rate, CALL_RATE, quality="VHQ")
    )
    print(f"on the wire: {found}")
    assert found.correlation > 0.97
    assert abs(found.level_db) < 0.5


def check_loop(trial: Trial, program: Path) -> None:
    since = trial.log[0]["published"]
    held = [h for h in holds_of_ours(trial, since, program) if h["cpu_ms"] > 5]
    assert not held, f"the event loop was held: {held}"


async def test_quick_start(tmp_path: Path) -> None:
    program = tmp_path / "main.py"
    shutil.copy(QUICK_START, program)

    async def trial(number: int) -> Trial:
        async with parrot() as servers:
            return await hold_call(
                servers,
                tmp_path / str(number),
                program=program,
                script=SCRIPT,
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
