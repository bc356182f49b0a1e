"""Fixtures: a short call, recorded once for all tests that only read it."""

from __future__ import annotations

from pathlib import Path

import pytest
from getstream.plugins.gemini.recording import Recorder, Recording, read_recording, write_page
from recorded_call import HOSTILE, Script, hostile_call, play, short_call

STATS = {
    "played_ms": 8400.1,
    "dropped_ms": 5545.0,
    "underruns": 1,
    "playout_underruns": 0,
    "late_frames": 9,
    "tokens": 312,
}


@pytest.fixture(scope="session")
def script() -> Script:
    return short_call()


@pytest.fixture(scope="session")
def recorded(script: Script, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the short call, closed in the ordinary way."""
    folder = tmp_path_factory.mktemp("recorded") / "call"
    recorder = Recorder(folder, config={"voice": "Kore"}, stats=lambda: STATS)
    play(script, recorder)
    recorder.on_close()
    assert recorder.wait_closed(30)
    assert recorder.dropped == 0
    return folder


@pytest.fixture
def recording(recorded: Path) -> Recording:
    return read_recording(recorded)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a call in which everybody says what is meant to be taken for markup."""
    folder = tmp_path_factory.mktemp("hostile") / "r"
    recorder = Recorder(folder, config={text: text for text in HOSTILE})
    play(hostile_call(), recorder)
    recorder.on_close()
    assert recorder.wait_closed(30)
    write_page(read_recording(folder), folder / "page.html")
    return folder / "page.html"
