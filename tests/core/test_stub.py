"""Check that the stub, the runtime and the public module agree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from getstream.plugins.gemini import _core, _websocket, audio


def test_stub_matches_the_extension(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    run = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", _core.__name__],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


OF_THE_PACKAGE_ALONE = {"websocket_frame", "websocket_payload"}
"""Names of the core that are not about audio: `_websocket` exports them."""


def test_audio_exports_everything_of_the_core() -> None:
    assert audio.__all__ == sorted(audio.__all__)
    names = {name for name, value in vars(_core).items() if callable(value)}
    assert names == (set(audio.__all__) - {"AudioError"}) | OF_THE_PACKAGE_ALONE
    assert set(_websocket.__all__) == OF_THE_PACKAGE_ALONE
    for name in names - OF_THE_PACKAGE_ALONE:
        assert getattr(audio, name) is getattr(_core, name)
        assert getattr(_core, name).__module__ == "getstream.plugins.gemini._core"


def test_the_shipped_core_is_a_release_build() -> None:
    assert _core.build_profile == "release"
    assert _core.__version__.count(".") == 2
