"""Tests of the page as a file: what it allows, what it holds, that nothing in it is markup."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import stat
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import recorded_call as call
from getstream.plugins.gemini import cli
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.recording import Recording, read_recording, write_page


class Reader(HTMLParser):
    """Collects elements, and the text of those with an id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        self._open = attributes.get("id") or tag

    def handle_data(self, data: str) -> None:
        self.texts[self._open] = self.texts.get(self._open, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._open = ""


@pytest.fixture
def page(recording: Recording, tmp_path: Path) -> str:
    write_page(recording, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Reader(page).texts["data"])
    return found


def test_the_policy_allows_its_own_parts_by_hash_and_nothing_else(page: str) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("default-src") == "'none'"
    for element, rule in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules.pop(rule) == f"'sha256-{digest}'"
    assert rules == {
        "media-src": "blob:",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_it_names_no_other_place(page: str) -> None:
    own = page.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert not re.findall(r"(?:https?:)?//[\w.]+\.\w+|@import|url\(", own.split('id="data"')[0])
    for _, attributes in Reader(page).elements:
        assert attributes.get("href", "data:,") == "data:,"
        assert "src" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert "style" not in attributes


def test_what_was_said_is_no_markup(hostile: Path, page: str) -> None:
    text = hostile.read_text(encoding="utf-8")
    shape = [tag for tag, _ in Reader(page).elements]
    assert [tag for tag, _ in Reader(text).elements] == shape
    data = Reader(text).texts["data"]
    assert not re.search("[<>&]", data)
    said = {turn["text"] for turn in json.loads(data)["turns"]}
    assert "</script><script>globalThis.hacked = 1</script>" in said
    assert "@@SCRIPT@@ @@AUDIO@@ @@NONE@@" in said


def test_nothing_steers_or_reorders_what_is_shown(hostile: Path) -> None:
    turns = data_of(hostile.read_text(encoding="utf-8"))["turns"]
    assert all(turn["text"].isprintable() and turn["name"].isprintable() for turn in turns)


def test_the_page_has_the_whole_call(page: str) -> None:
    data = data_of(page)
    assert data["seconds"] == pytest.approx(24.1, abs=0.1)
    assert [turn["number"] for turn in data["turns"]] == [1, 0, 2, 0, 3]
    peaks = np.frombuffer(base64.b64decode(data["peaks"]), np.int8).reshape(-1, 2, 2)
    assert len(peaks) == pytest.approx(100 * data["seconds"], abs=2)
    assert dict(data["numbers"])["played ms"] == "8400.1"
    assert "Kore" in data["config"]


def test_the_audio_is_the_recording(page: str, recording: Recording) -> None:
    """Decoded again, each side is where it was, to a sample, and sounds as it did."""
    mp4 = base64.b64decode(Reader(page).texts["audio"])
    with av.open(io.BytesIO(mp4)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
    found = np.concatenate(blocks, axis=1)
    original = recording.audio(0, recording.audio_frames).astype(np.float64)
    start = round(0.7 * 48_000)
    wanted = original[start : start + 48_000, 1]
    scores = {
        shift: float(np.corrcoef(found[1, start + shift : start + shift + 48_000], wanted)[0, 1])
        for shift in range(-3, 4)
    }
    assert max(scores, key=lambda shift: scores[shift]) == 0
    assert scores[0] > 0.97


def test_ten_minutes_are_at_most_ten_megabytes(recorded: Path, tmp_path: Path) -> None:
    call.repeat(recorded, tmp_path / "r", 25)
    recording = read_recording(tmp_path / "r")
    assert recording.seconds > 600
    write_page(recording, tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size <= 10e6


# -- the command ----------------------------------------------------------------------------------


def test_the_command_writes_the_page_and_says_where(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "monday.html"
    assert cli.main(["report", str(recorded), "-o", str(target)]) == 0
    printed = capsys.readouterr().out
    assert str(target) in printed
    assert "Answer" in printed
    assert sys.platform == "win32" or stat.S_IMODE(target.stat().st_mode) == 0o600
    data = data_of(target.read_text(encoding="utf-8"))
    for name, value, _ in data["tiles"]:
        assert re.search(rf"^  {name} +{re.escape(value)},", printed, re.MULTILINE)


def test_the_command_says_what_is_wrong(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(tmp_path / "nothing")]) == 1
    assert "There is no recording in" in capsys.readouterr().err
    assert cli.main(["report", str(recorded), "-o", str(tmp_path / "no" / "page.html")]) == 1
    assert "choose another file with -o" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_leaves_nothing(recording: Recording, tmp_path: Path) -> None:
    (tmp_path / "page.html").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        write_page(recording, tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
