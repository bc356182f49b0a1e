"""Test of the crate in a Rust program outside of the workspace, against the binding."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from getstream.plugins.gemini.audio import Resampler

PROGRAM = Path(__file__).parent.parent / "embedding"


@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("cargo") is None, reason="it is a Rust program")
def test_a_program_outside_of_the_workspace(tmp_path: Path, rng: np.random.Generator) -> None:
    subprocess.run(
        ["cargo", "build", "--quiet", "--manifest-path", PROGRAM / "Cargo.toml"],
        env=os.environ | {"CARGO_TARGET_DIR": str(tmp_path)},
        check=True,
    )
    stereo = rng.integers(-32768, 32768, 2 * 44100, dtype=np.int16)
    gateway = tmp_path / "debug" / ("gateway.exe" if os.name == "nt" else "gateway")
    run = subprocess.run([gateway], input=stereo.tobytes(), capture_output=True, check=True)
    lines = run.stdout.splitlines()
    assert [len(base64.b64decode(line)) for line in lines] == [640] * 50
    heard = np.frombuffer(b"".join(map(base64.b64decode, lines)), np.int16)
    np.testing.assert_array_equal(heard, Resampler(44100, 16000).push(stereo, 2))
