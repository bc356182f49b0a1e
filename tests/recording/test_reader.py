"""Tests of reading: recordings that are cut, damaged, foreign, newer or hostile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.recording import Entry, read_recording, write_page
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture
def copy(recorded: Path, tmp_path: Path) -> Path:
    """A copy of the short call, to be damaged."""
    return Path(shutil.copytree(recorded, tmp_path / "copy"))


def test_the_whole_of_it(recorded: Path) -> None:
    recording = read_recording(recorded)
    assert recording.is_complete
    assert recording.unreadable_lines == 0
    assert recording.rate == 48_000
    assert recording.seconds == pytest.approx(24.1, abs=0.1)
    assert [entry.at for entry in recording.entries] == sorted(e.at for e in recording.entries)
    assert sum(len(block) for block in recording.blocks(7000)) == recording.audio_frames
    assert {entry.event for entry in recording.named("text", "user_text")} == {"text", "user_text"}


@pytest.mark.parametrize("cut", [1, 30, 500, 3000])
def test_events_that_are_cut_off(copy: Path, cut: int) -> None:
    path = copy / "events.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    recording = read_recording(copy)
    whole = data[:-cut].rsplit(b"\n", 1)[0].count(b"\n")
    assert whole <= len(recording.entries) <= whole + 1  # an end of a line may be all that is cut
    assert recording.unreadable_lines <= 1
    write_page(recording, copy / "page.html")


@pytest.mark.parametrize("left", [0, 10, 43, 44, 46, 50_000])
def test_audio_that_is_cut_off(copy: Path, left: int) -> None:
    path = copy / "audio.wav"
    path.write_bytes(path.read_bytes()[:left])
    recording = read_recording(copy)
    assert recording.audio_frames == max(0, left - 44) // 4
    assert recording.seconds > 20  # by the events
    write_page(recording, copy / "page.html")


def test_events_without_audio(copy: Path) -> None:
    (copy / "audio.wav").unlink()
    analysis = write_page(read_recording(copy), copy / "page.html")
    assert len(analysis.turns) == 5


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (None, "There is no recording"),
        (b"", "nothing was recorded"),
        (b"{}", "no recording of this package"),
        (b"\xff\xfe", "no recording of this package"),
        (b"[" * 100_000, "no recording of this package"),
        (b'{"format": "getstream-gemini-recording", "version": 2}', "update getstream"),
        (b'{"format": "getstream-gemini-recording", "version": "1"}', "update getstream"),
    ],
)
def test_what_is_no_recording_is_told(tmp_path: Path, first: bytes | None, words: str) -> None:
    if first is not None:
        (tmp_path / "events.jsonl").write_bytes(first)
    with pytest.raises(ConfigError, match=words):
        read_recording(tmp_path)


HEADER = b'{"format": "getstream-gemini-recording", "version": 1, "frames_per_file": "x"}\n'

LINES = [
    b"\0\0\0\0",
    b"{",
    b"[]",
    b"null",
    b'{"at": 1}',
    b'{"event": "text"}',
    b'{"at": "1", "event": "text"}',
    b'{"at": true, "event": "text"}',
    b'{"at": -1, "event": "text"}',
    b'{"at": 1e99, "event": "text"}',
    b'{"at": 99999999999999999999, "event": "text"}',
    b'{"at": 1, "event": 7}',
    b"[" * 50_000,
    b'{"at": ' + b"9" * 5000 + b', "event": "text"}',
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_is_no_event_is_counted(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "events.jsonl").write_bytes(HEADER + line + b'\n{"at": 480, "event": "text"}\n')
    recording = read_recording(tmp_path)
    assert [entry.at for entry in recording.entries] == [480]
    assert recording.unreadable_lines == 1


def test_fields_are_checked_when_they_are_read() -> None:
    fields: dict[str, Any] = {
        "text": 5, "huge": 10**400, "yes": True, "word": "7", "far": 1e300, "at": 48_000,
    }  # fmt: skip
    entry = Entry(0, "x", 0, fields)
    assert entry.text("text") == entry.text("missing") == ""
    assert entry.number("huge") is entry.number("yes") is entry.number("word") is None
    assert entry.moment("far") is entry.moment("missing") is None
    assert entry.moment("at") == 1.0


NAMES = [
    "audio", "text", "user_text", "speech_started", "speech_stopped", "playback_started",
    "playback_finished", "interrupted", "turn_complete", "playback_ducked", "playback_unducked",
    "playback_paused", "playback_resumed", "speech", "disconnected", "resumed", "reconnecting",
    "stalled", "error", "closed",
    "tool_call", "tool_result", "tool_cancelled", "message", "stats", "recorder", "dropped", "end",
]  # fmt: skip

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELD = st.sampled_from(
    ["turn", "text", "user_id", "heard_text", "started_at", "finished_at", "cut", "cause", "id",
     "tool", "error", "args", "reason", "gap_ms", "waited_ms", "time_left", "late_ms", "count",
     "played_ms", "dropped_ms", "tokens", "playout_underruns", "attempt"]
)  # fmt: skip
EVENT = st.builds(
    lambda event, at, fields: {**fields, "event": event, "at": at},
    st.sampled_from(NAMES),
    st.integers(0, 10 * 48_000),
    st.dictionaries(FIELD, JSON | st.integers(0, 5) | st.integers(0, 480_000), max_size=5),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EVENT, max_size=25))
def test_a_page_is_made_of_any_events(tmp_path: Path, events: list[dict[str, Any]]) -> None:
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    (tmp_path / "events.jsonl").write_bytes(HEADER + lines)
    recording = read_recording(tmp_path)
    write_page(recording, tmp_path / "page.html")
