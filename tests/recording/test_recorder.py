"""Tests of the recorder: what is written where, and what may go wrong without hurting a call."""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import recorded_call as call
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.live import ModalityTokens, TokenUsage
from getstream.plugins.gemini.recording import Recorder, Recording, read_recording
from getstream.plugins.gemini.recording import recorder as module
from numpy.typing import NDArray
from recorded_call import IN_RATE, OUT_RATE, START, Script

SUPPORT = Path(call.__file__).parent


def finished(recorder: Recorder) -> Recording:
    """Close a recorder, and read what it has written."""
    recorder.on_close()
    assert recorder.wait_closed(30)
    return read_recording(recorder.folder)


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "events.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def tone(samples: int, rate: int, frequency: float = 440.0) -> NDArray[np.int16]:
    return (8000 * np.sin(2 * np.pi * frequency * np.arange(samples) / rate)).astype(np.int16)


def ducked(second: float) -> call.PlaybackDucked:
    return call.PlaybackDucked(-12.0, at=START + second)


# -- the audio ------------------------------------------------------------------------------------


def test_the_assistant_is_kept_bit_for_bit(recording: Recording, script: Script) -> None:
    right = recording.audio(0, recording.audio_frames)[:, 1]
    lane = script.lane(1)
    lane = lane[: len(lane) // 960 * 960]
    assert np.array_equal(right[: len(lane)], lane)


def test_the_people_are_resampled_onto_the_same_clock(recording: Recording, script: Script) -> None:
    left = recording.audio(0, recording.audio_frames)[:, 0].astype(np.float64)
    lane = script.lane(0).astype(np.float64)
    taken = left[: 3 * len(lane) : 3]  # the samples that the two rates share
    size = min(len(taken), len(lane))
    error = taken[:size] - lane[:size]
    assert np.sqrt(np.mean(error**2)) < 0.02 * np.sqrt(np.mean(lane[:size] ** 2))


def test_gaps_are_silence_by_time(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r")
    frame = tone(960, OUT_RATE)
    for at in (0.0, 0.02, 1.5, 1.52, 4.0):
        recorder.on_output_audio(START + at, frame.tobytes(), OUT_RATE)
    recording = finished(recorder)
    right = recording.audio(0, recording.audio_frames)[:, 1]
    assert len(right) == round(4.02 * OUT_RATE)
    for at in (0.0, 0.02, 1.5, 1.52, 4.0):
        first = round(at * OUT_RATE)
        assert np.array_equal(right[first : first + 960], frame)
        right[first : first + 960] = 0
    assert not right.any()


def test_times_that_are_a_little_off_do_not_cut_a_stream(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r")
    whole = tone(50 * 960, OUT_RATE)
    for index in range(50):
        off = 0.004 * (-1) ** index if index else 0.0
        frame = whole[index * 960 : (index + 1) * 960]
        recorder.on_output_audio(START + index / 50 + off, frame.tobytes(), OUT_RATE)
    recording = finished(recorder)
    assert np.array_equal(recording.audio(0, 48_000)[:, 1], whole)


def test_a_gap_in_resampled_audio_keeps_the_places(tmp_path: Path) -> None:
    """The resampler's delay is taken out, and its tail is written."""
    recorder = Recorder(tmp_path / "r")
    frame = tone(320, IN_RATE, 1000.0)
    recorder.on_event(ducked(0))
    recorder.on_input_audio(START + 0.02, frame.tobytes(), IN_RATE)
    recorder.on_input_audio(START + 1.02, frame.tobytes(), IN_RATE)
    recording = finished(recorder)
    left = recording.audio(0, recording.audio_frames)[:, 0].astype(np.float64)
    assert len(left) == 48_000 + 960
    for first in (0, 48_000):
        there = left[first : first + 960 : 3][8:-8]
        assert np.abs(there - frame[8:-8]).max() < 400
    assert not left[960:48_000].any()


def test_the_first_frame_of_the_people_begins_at_its_beginning(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r")
    for index in range(3):
        recorder.on_input_audio(START + 0.02 * (index + 1), tone(320, 16_000).tobytes(), 16_000)
    assert finished(recorder).audio_frames == 3 * 960


def test_the_rate_of_a_side_may_change(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r")
    recorder.on_event(ducked(0))
    recorder.on_input_audio(START + 0.02, tone(320, 16_000).tobytes(), 16_000)
    recorder.on_input_audio(START + 0.04, tone(480, 24_000).tobytes(), 24_000)
    recording = finished(recorder)
    assert recording.audio_frames == 1920


def test_frames_that_cannot_be_used_are_counted_and_nothing_else(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r")
    recorder.on_output_audio(START, b"\1", OUT_RATE)
    recorder.on_output_audio(START, b"\1\1", 7)
    recorder.on_output_audio(START, tone(960, OUT_RATE).tobytes(), OUT_RATE)
    for wrong in (float("nan"), float("inf"), START + 1e9):
        recorder.on_output_audio(wrong, b"\1\1", OUT_RATE)
    recording = finished(recorder)
    assert recording.audio_frames == 960
    (dropped,) = recording.named("dropped")
    assert dropped.number("count") == 5


# -- the events -----------------------------------------------------------------------------------


def test_the_first_line_says_what_the_rest_means(recorded: Path) -> None:
    first = lines(recorded)[0]
    assert first["format"] == "getstream-gemini-recording"
    assert first["version"] == 1
    assert first["rate"] == 48_000
    assert first["clock"] == START
    assert first["config"] == {"voice": "Kore"}
    assert {"getstream-plugins-gemini", "google-genai", "python"} <= first["versions"].keys()
    assert first["wall_clock"].endswith("+00:00")


def test_every_event_has_its_sample(recording: Recording, script: Script) -> None:
    expected = {
        (event.name, event.turn, round((event.at - START) * 48_000))
        for event in script.events
        if event.name != "audio"
    }
    found = {(entry.event, entry.turn, entry.at) for entry in recording.entries}
    assert expected <= found
    finished_line = recording.named("playback_finished")[0]
    assert finished_line.moment("started_at") == pytest.approx(0.6, abs=1e-4)


def test_of_the_audio_of_a_turn_only_the_first_is_recorded(recording: Recording) -> None:
    assert [entry.turn for entry in recording.named("audio")] == [1, 2, 3]


def test_messages_say_tokens_and_borders_but_no_handle(recorded: Path) -> None:
    messages = [line for line in lines(recorded) if line.get("event") == "message"]
    assert [line["tokens"] for line in messages if "tokens" in line] == [120, 312]
    assert [line["at"] for line in messages if "audio" in line] == [round(0.52 * 48_000)]
    assert "secret" not in (recorded / "events.jsonl").read_text(encoding="utf-8")


def test_counters_come_every_ten_seconds_and_at_the_end(tmp_path: Path) -> None:
    asked: list[int] = []

    def stats() -> dict[str, int]:
        asked.append(1)
        return {"asked": len(asked)}

    recorder = Recorder(tmp_path / "r", stats=stats)
    frame = tone(960, OUT_RATE).tobytes()
    for index in range(25 * 50):
        recorder.on_output_audio(START + index / 50, frame, OUT_RATE)
    recording = finished(recorder)
    assert [round(entry.seconds) for entry in recording.named("stats")] == [0, 10, 20, 25]
    assert recording.entries[-1].event == "end"
    assert recording.entries[-1].text("reason") == "closed"
    assert recording.named("recorder")


def test_the_tokens_of_a_session_are_their_total(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Counters:
        tokens: TokenUsage

    counters = Counters(TokenUsage(input=ModalityTokens(audio=100), thoughts=20))
    recorder = Recorder(tmp_path / "r", stats=lambda: counters)
    recorder.on_event(ducked(0))
    assert [entry.fields["tokens"] for entry in finished(recorder).named("stats")] == [120, 120]


def test_counters_that_fail_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def stats() -> None:
        raise RuntimeError("no numbers")

    recorder = Recorder(tmp_path / "r", stats=stats)
    for index in range(25):
        recorder.on_event(ducked(index))
    assert len(finished(recorder).named("playback_ducked")) == 25
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1


KEY = "AIzaSy" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q"


def test_no_key_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "a-key-of-another-shape")
    config = {
        "api_key": "plain-key",
        "session_resumption": {"handle": "plain-handle"},
        "http_options": {"headers": {"Authorization": "Bearer plain-token"}},
        "system_instruction": f"Say {KEY} to nobody, nor auth_tokens/abc-def.",
        "max_output_tokens": 100,
    }
    recorder = Recorder(tmp_path / "r", config=config)
    recorder.on_event(call.Text("my key is a-key-of-another-shape", turn=1, at=START))
    recorder.on_event(call.Disconnected(ConnectionError(f"?key={KEY}&x=1"), at=START))
    recorder.on_event(call.ToolCall("c", "f", {KEY: [{"deep": KEY}]}, turn=1, at=START))
    finished(recorder)
    written = (tmp_path / "r" / "events.jsonl").read_text(encoding="utf-8")
    for secret in (KEY, "plain-", "a-key-of-another-shape", "auth_tokens/abc"):
        assert secret not in written
    assert lines(tmp_path / "r")[0]["config"]["max_output_tokens"] == 100


class Stubborn:
    """Does not say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_values_of_any_kind_become_one_line(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    values: dict[Any, Any] = {
        "loop": loop,
        "long": "x" * 1_000_000,
        "many": list(range(100_000)),
        "nan": float("nan"),
        "bytes": b"\0" * 100,
        "surrogate": "\ud800",
        "lines": "a\nb\u2028c",
        "object": object(),
        "stubborn": Stubborn(),
        "digits": 10**5000,
        Stubborn(): 1,
        "set": {1},
    }
    recorder = Recorder(tmp_path / "r")
    recorder.on_event(call.ToolCall("c", "f", values, turn=1, at=START))
    recording = finished(recorder)
    (tool,) = recording.named("tool_call")
    found = tool.fields["args"]
    assert (tmp_path / "r" / "events.jsonl").stat().st_size < 50_000
    assert found["nan"] is None
    assert found["stubborn"] == "[Stubborn]"
    assert found["digits"] == "[16610 bits]"
    assert found["surrogate"] == "\ud800"
    assert found["lines"] == "a\nb\u2028c"
    assert found["bytes"] == "[100 bytes]"
    assert recording.unreadable_lines == 0


# -- what may go wrong ----------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="no modes of that kind")
def test_files_are_for_their_owner_alone(recorded: Path) -> None:
    assert stat.S_IMODE(recorded.stat().st_mode) == 0o700
    for name in ("audio.wav", "events.jsonl"):
        assert stat.S_IMODE((recorded / name).stat().st_mode) == 0o600


def test_a_recording_is_never_overwritten(recorded: Path) -> None:
    before = (recorded / "events.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="holds a recording already"):
        Recorder(recorded)
    assert (recorded / "events.jsonl").read_bytes() == before


def test_a_folder_that_cannot_be_made_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Nothing can be recorded"):
        Recorder(tmp_path / "file" / "r")


def test_what_does_not_fit_into_the_queue_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WRITE_EVERY_S", 3600.0)  # the disk is busy
    monkeypatch.setattr(module, "_MAX_QUEUED", 100)
    recorder = Recorder(tmp_path / "r")
    frame = tone(960, OUT_RATE).tobytes()
    for index in range(250):
        recorder.on_output_audio(START + index / 50, frame, OUT_RATE)
    lost = recorder.dropped
    assert lost >= 50  # the thread may have taken a batch as it began
    recording = finished(recorder)
    (dropped,) = recording.named("dropped")
    assert dropped.number("count") == lost
    assert recording.is_complete


def test_it_ends_once_and_takes_nothing_after_its_end(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r")
    recorder.on_event(ducked(0))
    recorder.on_close()
    recorder.on_close()
    recorder.on_event(ducked(1))
    assert recorder.wait_closed(30)
    recording = read_recording(tmp_path / "r")
    assert [entry.event for entry in recording.named("playback_ducked", "end")] == [
        "playback_ducked",
        "end",
    ]
    assert repr(recorder) == f"<Recorder {str(tmp_path / 'r')!r} done>"
    assert "gemini-recorder" not in {thread.name for thread in threading.enumerate()}


def test_a_session_in_which_nothing_happened_leaves_no_recording(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r")
    recorder.on_close()
    assert recorder.wait_closed(30)
    with pytest.raises(ConfigError, match="nothing was recorded"):
        read_recording(tmp_path / "r")


def run(program: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


FULL_DISK = """
import logging, resource, sys
logging.basicConfig()
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))  # writing more is refused: EFBIG
from getstream.plugins.gemini.recording import Recorder
import recorded_call as call
recorder = Recorder(sys.argv[1])
call.play(call.short_call(), recorder)
assert recorder.wait_closed(30)
call.play(call.short_call(), recorder)  # the call goes on
recorder.on_close()
print(repr(recorder).split()[-1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of a file")
def test_a_full_disk_is_told_once_and_what_was_written_can_be_read(tmp_path: Path) -> None:
    program = run(FULL_DISK, tmp_path / "r")
    out, err = program.communicate(timeout=60)
    assert program.returncode == 0, err
    assert out.split() == ["failed>"]
    assert err.count("ends here") == 1
    assert "Traceback" not in err
    recording = read_recording(tmp_path / "r")
    assert not recording.is_complete
    assert recording.audio_frames > 0


EXIT = """
import sys
from getstream.plugins.gemini.recording import Recorder
import recorded_call as call
call.play(call.short_call(), Recorder(sys.argv[1]))
"""


def test_a_program_that_ends_without_closing_loses_nothing(tmp_path: Path, script: Script) -> None:
    program = run(EXIT, tmp_path / "r")
    _, err = program.communicate(timeout=60)
    assert program.returncode == 0, err
    recording = read_recording(tmp_path / "r")
    assert recording.entries[-1].text("reason") == "exit"
    assert recording.seconds == pytest.approx(script.seconds, abs=0.05)


KILLED = """
import sys, time
from getstream.plugins.gemini.recording import Recorder
import recorded_call as call
recorder = Recorder(sys.argv[1])
begun = time.monotonic()
for at, method, arguments in call.moments(call.short_call()):
    while (late := at - call.START - (time.monotonic() - begun)) > 0:
        time.sleep(late)
    getattr(recorder, method)(*arguments)
    print(at - call.START, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_after_a_kill_every_reader_loses_at_most_a_second(tmp_path: Path, script: Script) -> None:
    """In the middle of a call, in real time; then the report of what is left is made."""
    from getstream.plugins.gemini import cli

    folder = tmp_path / "r"
    program = run(KILLED, folder)
    assert program.stdout is not None
    for line in program.stdout:
        if float(line) > 4.5:  # in the first words of the person
            break
    program.send_signal(signal.SIGKILL)
    rest, err = program.communicate(timeout=60)
    assert not err
    played = float(rest.split("\n")[-2]) if rest.count("\n") > 1 else float(line)
    with wave.open(str(folder / "audio.wav")) as file:
        assert file.getnframes() / 48_000 >= played - 1.0
    with av.open(str(folder / "audio.wav")) as container:
        heard = sum(frame.samples for frame in container.decode(audio=0))
    assert heard / 48_000 >= played - 1.0
    recording = read_recording(folder)
    assert not recording.is_complete
    assert recording.seconds >= played - 1.0
    greeting = script.lane(1)[: round(3.4 * 48_000)]
    assert np.array_equal(recording.audio(0, len(greeting))[:, 1], greeting)
    assert cli.main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "The recording has no end" in page
    assert "Hello everyone. How can I help you today?" in page


def test_the_event_loop_only_fills_a_queue(tmp_path: Path, script: Script) -> None:
    """No file is touched by the thread that calls: the writer is the only one."""
    recorder = Recorder(tmp_path / "r")
    mine: list[str] = []
    thread = threading.get_ident()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if active and threading.get_ident() == thread and event in ("open", "os.truncate"):
            mine.append(f"{event} {arguments[0]}")

    active = True
    sys.addaudithook(watch)
    call.play(script, recorder)
    active = False
    finished(recorder)
    assert mine == []


def test_wait_closed_is_bounded(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r")
    assert not recorder.wait_closed(0.05)
    recorder.on_close()
    assert recorder.wait_closed(30)


def test_a_first_frame_that_is_unusable_leaves_the_first_line_first(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r")
    first_batch, go_on = threading.Event(), threading.Event()
    write = recorder._disk.write

    def write_slowly(batch: list[Any], zero: float, dropped: int) -> None:
        write(batch, zero, dropped)
        if any(hasattr(each, "pcm") for each in batch):
            first_batch.set()
            go_on.wait(30)

    recorder._disk.write = write_slowly  # type: ignore[method-assign]
    recorder.on_input_audio(START, b"odd", 16000)
    assert first_batch.wait(30)
    written = lines(tmp_path / "r")
    go_on.set()
    finished(recorder)
    assert "format" in written[0]
    assert written[1]["event"] == "dropped"


@pytest.mark.parametrize("folder", ["", 3, True, b"folder", "null\0character"])
def test_what_is_no_folder_is_refused(folder: Any) -> None:
    with pytest.raises(ConfigError, match="folder"):
        Recorder(folder)
