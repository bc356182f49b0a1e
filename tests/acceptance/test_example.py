"""The example with video, on `getstream` 7; the older documented shape, on `getstream` 6.1."""

from __future__ import annotations

import os
from pathlib import Path

import av
import pytest
from call_trial import (
    DATA,
    GREET_AND_ANSWER,
    Trial,
    assert_no_complaint,
    check_answer,
    check_greeting,
    check_loop,
    check_wire,
    hold_call,
    parrot,
    repeated_if_the_machine_stalls,
)
from getstream.plugins.gemini.testing.person import read_frame_number

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(400)]

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples" / "gemini_live" / "main.py"


def check_video(trial: Trial, fps: float) -> None:
    """The service got pictures of the person's camera, in order, at the stated rate."""
    frames = [frame for frame in trial.session.frames if frame.kind == "video"]
    assert len(frames) >= 10
    numbers = []
    for frame in frames:
        picture = av.CodecContext.create("mjpeg", "r").decode(av.Packet(frame.data))[0]
        assert max(picture.width, picture.height) <= 768
        numbers.append(read_frame_number(picture.to_ndarray(format="gray")))
    assert all(number is not None for number in numbers), numbers
    assert numbers == sorted(set(numbers)), "pictures in order, none twice"
    took = frames[-1].at - frames[0].at
    assert (len(frames) - 1) / took == pytest.approx(fps, rel=0.25)
    print(f"{len(frames)} pictures in {took:.1f} s, camera frames {numbers[:5]} ...")


async def test_example_with_video(tmp_path: Path) -> None:
    async def trial(number: int) -> Trial:
        async with parrot() as servers:
            return await hold_call(
                servers,
                tmp_path / str(number),
                program=EXAMPLE,
                arguments=("--call-id", "a-call", "--video", "--fps", "2"),
                call_id="a-call",
                script=GREET_AND_ANSWER,
                speech=[DATA / "question.wav"],
                person_options=("--video", "15"),
            )

    def check(trial: Trial) -> None:
        assert trial.assistant_code == 0, trial.assistant_err
        assert_no_complaint(trial.assistant_err)
        lines = trial.assistant_out.splitlines()
        assert lines[0] == "connected to Gemini Live"
        assert "person speaks" in lines
        assert "assistant: Hello everyone." in lines
        assert lines[-1].startswith("2 turns, 0 interrupted, ")
        check_greeting(trial)
        check_answer(trial)
        check_wire(trial, 16000)
        check_video(trial, 2)
        check_loop(trial, EXAMPLE)

    await repeated_if_the_machine_stalls(trial, check)


@pytest.mark.skipif(
    "GETSTREAM6_PYTHON" not in os.environ,
    reason="GETSTREAM6_PYTHON names no interpreter with getstream 6.1 (`make test` makes one)",
)
async def test_older_shape(tmp_path: Path) -> None:
    python = os.environ["GETSTREAM6_PYTHON"]
    program = HERE / "older_shape.py"

    async def trial(number: int) -> Trial:
        async with parrot() as servers:
            return await hold_call(
                servers,
                tmp_path / str(number),
                program=program,
                script=GREET_AND_ANSWER,
                speech=[DATA / "question.wav"],
                python=python,
                person_python=python,
                person_options=("--video", "15"),
            )

    def check(trial: Trial) -> None:
        trial.assert_clean_end()
        # aiortc publishes mono 3 dB down, the person's and the assistant's.
        check_greeting(trial, level_db=-3)
        check_answer(trial, level_db=-6)
        check_wire(trial, 48000, level_db=-3)
        check_video(trial, 2)
        check_loop(trial, program)

    await repeated_if_the_machine_stalls(trial, check)
