"""Tests of `demo` as a user runs it: the whole call, its files, and how it is stopped."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from call_trial import CALL_RATE, assert_no_complaint, match, recorded
from getstream.plugins.gemini._cli.clips import data_file, open_clip
from getstream.plugins.gemini.recording import read_recording, write_page
from getstream.plugins.gemini.testing.signals import longest_silence, read_wav, rms_dbfs
from numpy.typing import NDArray

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

KEYS = ("STREAM_API_KEY", "STREAM_API_SECRET", "GOOGLE_API_KEY", "GEMINI_API_KEY")
MARK = "DEMO_TEST_MARK"


def environment(mark: str) -> dict[str, str]:
    """Return an environment without any key, whose mark all started programs inherit."""
    base = {name: value for name, value in os.environ.items() if name not in KEYS}
    return {**base, MARK: mark}


def marked(mark: str) -> list[int]:
    """List the processes that carry a mark, without this one."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs /proc to look for processes that were left behind")
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:  # it has ended, or is somebody else's
                continue
            if f"{MARK}={mark}".encode() in variables:
                found.append(int(folder.name))
    return found


async def start(mark: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "getstream.plugins.gemini", "demo", *arguments),
        env=environment(mark),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@dataclass
class Result:
    """Files and output of a whole demo."""

    code: int
    out: str
    err: str
    folder: Path
    left_behind: list[int]

    @property
    def numbers(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.folder / "summary.json").read_text("utf-8"))
        return loaded

    @property
    def channels(self) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        samples, rate = read_wav(self.folder / "conversation.wav")
        assert rate == CALL_RATE
        return samples[:, 0].copy(), samples[:, 1].copy()

    def turns(self, who: str) -> list[dict[str, Any]]:
        return [turn for turn in self.numbers["conversation"] if turn["who"] == who]


def onset(name: str) -> float:
    """Return the seconds of silence at the start of a clip of the package."""
    return open_clip(data_file(name)).onset


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Run one demo with its defaults."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    mark = uuid.uuid4().hex

    async def run() -> tuple[int, bytes, bytes]:
        process = await start(mark, "--out", str(folder))
        try:
            out, err = await asyncio.wait_for(process.communicate(), 120)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return process.returncode, out, err

    code, out, err = asyncio.run(run())
    return Result(code, out.decode(), err.decode(), folder, marked(mark))


def test_it_worked(result: Result) -> None:
    assert result.code == 0, result.err
    assert result.err == ""
    assert "The call worked." in result.out
    assert_no_complaint(result.out)
    assert "\x1b" not in result.out, "no terminal, no escape sequences"
    assert result.left_behind == []


def test_what_it_leaves(result: Result) -> None:
    assert sorted(path.name for path in result.folder.iterdir()) == [
        "conversation.wav",
        "recording",
        "report.html",
        "summary.json",
        "timeline.svg",
    ]
    for path in result.folder.iterdir():
        assert path.is_dir() or str(path) in result.out


def test_it_tells_the_story_while_it_happens(result: Result) -> None:
    told = [
        "the person joins, then the assistant",
        "assistant joins the call",
        "assistant greets",
        "“Hello everyone. How can I help you today?”",
        "says: “He was not an ill disposed young man,",
        "ms after the person's last word",
        "interrupts: “He might even have been made amiable himself.”",
        "gives way",
        "leaves the call",
    ]
    places = [result.out.find(text) for text in told]
    assert -1 not in places
    assert places == sorted(places)


def test_left_is_the_person(result: Result) -> None:
    said, _ = result.channels
    first, second = result.turns("person")
    for name, turn in (("speech.wav", first), ("question.wav", second)):
        clip = recorded(name)
        found = match(clip, said)
        assert found.correlation > 0.999
        assert found.start / CALL_RATE + onset(name) == pytest.approx(turn["start_s"], abs=0.03)


def test_right_is_the_assistant_as_heard(result: Result) -> None:
    _, heard = result.channels
    greeting, cut, answer = result.turns("assistant")

    found = match(recorded("greeting.wav"), heard)
    assert found.correlation > 0.95
    assert abs(found.level_db) < 1
    where = found.start / CALL_RATE + onset("greeting.wav")
    assert where == pytest.approx(greeting["start_s"], abs=0.03)

    after = round((answer["start_s"] - 0.5) * CALL_RATE)
    found = match(recorded("question.wav"), heard[after:])
    assert found.correlation > 0.95
    assert abs(found.level_db) < 1
    where = (after + found.start) / CALL_RATE + onset("question.wav")
    # Its first word is soft: after two codecs it passes the threshold a little later.
    assert where == pytest.approx(answer["start_s"], abs=0.1)

    # The heard part of the answer that was cut, and silence from there to the next one.
    begin, end = (round(cut[name] * CALL_RATE) for name in ("start_s", "end_s"))
    found = match(heard[begin:end], recorded("speech.wav"))
    assert found.correlation > 0.93
    gap = heard[end + CALL_RATE // 50 : round((answer["start_s"] - 0.02) * CALL_RATE)]
    assert rms_dbfs(gap) < -55
    assert longest_silence(gap, CALL_RATE, -50) > 900 * len(gap) / CALL_RATE


def test_numbers(result: Result) -> None:
    numbers = result.numbers
    assert numbers["gemini"] == "local"
    assert numbers["turns"] == {
        "person": 2,
        "assistant": 3,
        "assistant_unheard": 0,
        "interrupted": 1,
    }
    latency = numbers["answer_latency_ms"]
    assert latency["count"] == 2
    # The service waits for half a second of silence; quiet words at the end count as silence.
    assert 200 < latency["p50"] <= latency["max"] < 1500
    assert 0 < numbers["barge_in_to_silence_ms"]["p50"] < 500
    assert latency["all"] == [
        pytest.approx(1000 * (turn["start_s"] - before["end_s"]), abs=1)
        for turn, before in zip(result.turns("assistant")[1:], result.turns("person"), strict=True)
    ]
    for turn in result.turns("assistant")[1:]:
        assert turn["correlation_with_said"] > 0.93
        assert abs(turn["level_against_said_db"]) < 1
        assert 0 < turn["until_service_sent_ms"] <= turn["until_audio_arrived_ms"]
        assert turn["from_arrival_to_heard_ms"] > 0
    stats = numbers["assistant"]
    # One frame each 20 ms, from the person's first one to the end.
    assert stats["frames_in"] == pytest.approx(numbers["seconds"] * 50, rel=0.06)
    assert abs(stats["frames_in"] - stats["frames_sent"]) < 10, "the wire runs at 1x"
    assert stats["input_dropped_ms"] == 0
    assert stats["turns"] == 3
    assert stats["interruptions"] == 1
    heard_ms = sum(1000 * (t["end_s"] - t["start_s"]) for t in result.turns("assistant"))
    assert stats["played_ms"] == pytest.approx(heard_ms, abs=1500)
    assert 0 < stats["cpu_percent"] < 100


def test_the_live_numbers_are_those_of_the_recording(result: Result) -> None:
    told = [int(ms) for ms in re.findall(r"answers, (\d+) ms after", result.out)]
    assert told == pytest.approx(result.numbers["answer_latency_ms"]["all"], abs=30)
    (silent,) = re.findall(r"silent (\d+) ms after", result.out)
    assert int(silent) == pytest.approx(result.numbers["barge_in_to_silence_ms"]["p50"], abs=30)


def test_the_recording_of_the_assistant_agrees(result: Result, tmp_path: Path) -> None:
    """Its delays are those of the person, less the way through the call and back."""
    recording = read_recording(result.folder / "recording")
    assert recording.is_complete
    assert recording.unreadable_lines == 0
    turns = write_page(recording, tmp_path / "page.html").turns
    assert [(turn.who, turn.cut) for turn in turns] == [
        ("assistant", False), ("person", False), ("assistant", True), ("person", False),
        ("assistant", False),
    ]  # fmt: skip
    for turn, told in zip(
        [turn for turn in turns if turn.who == "assistant"], result.turns("assistant"), strict=True
    ):
        assert turn.text == told["text"]
        assert turn.end - turn.start == pytest.approx(told["end_s"] - told["start_s"], abs=0.4)
        assert (turn.delay is None) is (told["latency_ms"] is None)
        if turn.delay is not None:
            assert 0 < told["latency_ms"] - turn.delay.total_ms < 350
    cut = turns[2]
    assert cut.text.startswith(cut.heard)
    assert 0 < len(cut.heard) < len(cut.text)
    assert cut.silent_after_ms == pytest.approx(
        result.numbers["barge_in_to_silence_ms"]["p50"], abs=150
    )
    page = (result.folder / "report.html").read_text(encoding="utf-8")
    assert cut.text in page


def test_picture(result: Result) -> None:
    picture = ElementTree.parse(result.folder / "timeline.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    words = " ".join(" ".join(picture.itertext()).split())
    numbers = result.numbers
    for fact in (
        "Hello everyone.",
        "interrupted",
        "barge-in to silence",
        f"{numbers['answer_latency_ms']['all'][0]:.0f} ms",
        f"{numbers['barge_in_to_silence_ms']['p50']:.0f} ms",
    ):
        assert fact in words


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
async def test_it_stops_at_once_and_leaves_nothing(signum: signal.Signals, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    process = await start(mark, "--out", str(tmp_path / "out"))
    assert process.stdout is not None
    try:
        while line := await asyncio.wait_for(process.stdout.readline(), 60):
            if b"assistant greets" in line:
                break
        assert len(marked(mark)) == 3, "the demo, the person, the assistant"
        process.send_signal(signum)
        out, err = await asyncio.wait_for(process.communicate(), 10)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 128 + signum
    assert out.decode().endswith("stopped\n")
    assert err == b""
    assert marked(mark) == []
    assert list((tmp_path / "out").iterdir()) == []


async def test_an_assistant_that_fails_is_named(tmp_path: Path) -> None:
    """The greeting fails: the local service refuses the assistant."""
    mark = uuid.uuid4().hex
    # It runs before the program, because it is on its path (see the `site` module).
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'join' in getattr(sys, 'orig_argv', []): os.environ['GOOGLE_API_KEY'] = ''\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "getstream.plugins.gemini", "demo"),
        *("--out", str(tmp_path / "out")),
        env={**environment(mark), "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    message = err.decode()
    assert "the program of the assistant ended before it was in the call (exit code 1)" in message
    assert "No API key for Gemini" in message, "the assistant's own words"
    assert "Traceback" not in message
    assert "The call worked" not in out.decode()
    assert marked(mark) == []
