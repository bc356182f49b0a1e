"""Texts that people say: espeak-ng, where it is installed, and what is said where it is not."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from getstream.plugins.gemini.errors import GeminiError
from getstream.plugins.gemini.testing import SpeechSynthesisError, signals
from getstream.plugins.gemini.testing._kit import synthesis
from getstream.plugins.gemini.testing._kit.synthesis import synthesize

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in is a script")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of espeak-ng, which does what the file `does.py` beside it says."""
    script = tmp_path / "espeak-ng"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path}/does.py "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "does.py"


def does(path: Path, source: str) -> None:
    path.write_text("import sys, time, wave\n" + textwrap.dedent(source))


SPEAKS = """
    assert sys.argv[1:4] == ["-v", "de+f3", "--stdin"], sys.argv
    assert sys.stdin.read() == "-v is no option here"
    with wave.open(sys.argv[sys.argv.index("-w") + 1], "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(22050)
        file.writeframes(bytes([0, 16]) * 2205)
"""


async def test_a_text_is_given_to_the_program(stand_in: Path) -> None:
    does(stand_in, SPEAKS)
    samples, rate = await synthesize("-v is no option here", "de+f3")
    assert rate == 22050
    assert samples.dtype == np.int16
    assert samples.tolist() == [4096] * 2205


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("sys.exit('voice not found')", ["failed with exit code 1", "voice not found"]),
        ("pass", ["has written no WAV file"]),
        (SPEAKS.replace("16", "0").replace("-v is no option here", "Hi."), ["made no sound"]),
    ],
)
async def test_a_program_that_fails(stand_in: Path, source: str, words: list[str]) -> None:
    does(stand_in, source)
    with pytest.raises(SpeechSynthesisError) as failed:
        await synthesize("Hi.", "de+f3")
    assert [word for word in words if word not in str(failed.value)] == []


async def test_a_program_that_does_not_end(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    does(stand_in, "time.sleep(1000)")
    monkeypatch.setattr(synthesis, "_LIMIT_S", 0.3)
    with pytest.raises(SpeechSynthesisError, match=r"did not end within 0\.3 s"):
        await synthesize("Hi.")


async def test_without_it_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpeechSynthesisError, match="apt install espeak-ng") as missing:
        await synthesize("Hi.")
    assert "WAV file or an int16 array" in str(missing.value)
    assert isinstance(missing.value, GeminiError)


@pytest.mark.parametrize(("text", "voice"), [("", "en"), (" \n", "en"), ("x" * 5001, "en"),
                                             ("Hi.", "-w"), ("Hi.", "")])  # fmt: skip
async def test_what_cannot_be_said(stand_in: Path, text: str, voice: str) -> None:
    with pytest.raises(SpeechSynthesisError):
        await synthesize(text, voice)


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
async def test_espeak_ng_itself() -> None:
    samples, rate = await synthesize("What time is it?")
    assert 0.5 < len(samples) / rate < 5
    assert signals.rms_dbfs(samples) > -40
