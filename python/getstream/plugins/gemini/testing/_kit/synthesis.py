"""Make speech of a text with espeak-ng, where it is installed."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import AudioError
from ..signals import read_wav
from .errors import SpeechSynthesisError

__all__ = ["synthesize"]

_PROGRAMS = ("espeak-ng", "espeak")
"""The program and its predecessor, which take the same options."""
_LIMIT_S = 30.0
"""Seconds that it may take; it needs milliseconds for a sentence."""
_LONGEST = 5_000
"""Characters; about five minutes of speech."""
_INSTALL = (
    "`apt install espeak-ng` (Debian, Ubuntu), `dnf install espeak-ng` (Fedora), "
    "`apk add espeak-ng` (Alpine), `brew install espeak-ng` (macOS), or the installer of "
    "https://github.com/espeak-ng/espeak-ng/releases (Windows)"
)


async def synthesize(text: str, voice: str = "en") -> tuple[NDArray[np.int16], int]:
    """Speak a text.

    Args:
        text: What to say.
        voice: A voice of espeak-ng (`espeak-ng --voices`), such as `en`, `en-us` or `de+f3`.

    Returns:
        int16 mono, shape (n,), and its rate in Hz (22,050).

    Raises:
        SpeechSynthesisError: espeak-ng is not installed, failed, or made no sound of the text.
    """
    if not text.strip() or len(text) > _LONGEST:
        raise SpeechSynthesisError(f"a text to say has 1 to {_LONGEST} characters, not {len(text)}")
    if not re.fullmatch(r"[A-Za-z0-9][\w+/ -]*", voice):
        raise SpeechSynthesisError(f"{voice!r} is no voice; `espeak-ng --voices` lists them")
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        raise SpeechSynthesisError(
            f"saying a text takes espeak-ng, which is not on PATH: {_INSTALL}. Without it, say a "
            "WAV file or an int16 array"
        )
    with tempfile.TemporaryDirectory(prefix="gemini-testing-speech-") as folder:
        path = Path(folder) / "speech.wav"
        await _run([program, "-v", voice, "--stdin", "-w", str(path)], text)
        try:
            samples, rate = read_wav(path)
        except (OSError, AudioError) as error:
            raise SpeechSynthesisError(f"{program} has written no WAV file: {error}") from error
    mono = samples if samples.ndim == 1 else samples[:, 0].copy()
    if not mono.any():
        raise SpeechSynthesisError(f"{program} made no sound of {text!r}: it has no word to say")
    return mono, rate


async def _run(command: list[str], text: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        _, err = await asyncio.wait_for(process.communicate(text.encode()), _LIMIT_S)
    except asyncio.TimeoutError:
        raise SpeechSynthesisError(f"{command[0]} did not end within {_LIMIT_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = " ".join(err.decode(errors="replace").split())[-300:]
        raise SpeechSynthesisError(
            f"{command[0]} failed with exit code {process.returncode}: {last}"
        )
