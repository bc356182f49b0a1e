"""`Person`: its receiver, its script, and the program that it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.errors import CallError
from getstream.plugins.gemini.testing import signals
from getstream.plugins.gemini.testing._person import Camera, Person, read_frame_number
from getstream.plugins.gemini.testing._person.person import to_microphone_rate
from getstream.plugins.gemini.testing._person.receiver import SpeechReceiver, Timeline
from getstream.plugins.gemini.testing._person.script import ScriptError, parse_script
from getstream.plugins.gemini.testing._stream import LocalStream

RATE = 48_000
FRAME = 960
PROGRAM = "getstream.plugins.gemini.testing.person"


# -- timeline -----------------------------------------------------------------


def frames(samples: np.ndarray[Any, np.dtype[np.int16]]) -> list[Any]:
    return [samples[i : i + FRAME] for i in range(0, len(samples), FRAME)]


def test_a_timeline_follows_timestamps_and_not_arrivals() -> None:
    sound = signals.speech_like(1000, RATE)
    timeline = Timeline()
    jitter = np.random.Generator(np.random.PCG64(1)).uniform(0, 0.1, 50)
    jitter[7] = 0.0
    for index, frame in enumerate(frames(sound)):
        timeline.add(10 + 0.02 * index + jitter[index], 5000 + FRAME * index, frame)
    assert np.array_equal(timeline.render(RATE, 10.0), sound)


def test_a_lost_frame_is_silence_and_the_rest_stays_in_place() -> None:
    sound = signals.tone(440, 200, RATE)
    timeline = Timeline()
    for index, frame in enumerate(frames(sound)):
        if index not in (3, 4):
            timeline.add(0.02 * index, FRAME * index, frame)
    expected = sound.copy()
    expected[3 * FRAME : 5 * FRAME] = 0
    assert np.array_equal(timeline.render(len(sound), 0.0), expected)


def test_timestamps_wrap() -> None:
    sound = signals.tone(440, 200, RATE)
    timeline = Timeline()
    for index, frame in enumerate(frames(sound)):
        timeline.add(0.02 * index, (2**32 - 3 * FRAME + FRAME * index) % 2**32, frame)
    assert np.array_equal(timeline.render(len(sound), 0.0), sound)


def test_a_delay_that_stays_is_a_delay() -> None:
    """A sender that slips by 100 ms is heard 100 ms later, though its timestamps go on."""
    sound = signals.speech_like(2000, RATE)
    timeline = Timeline()
    times = [
        timeline.add(0.02 * i + (0.1 if i >= 50 else 0.0), FRAME * i, frame)
        for i, frame in enumerate(frames(sound))
    ]
    assert times[49] == pytest.approx(0.98)
    assert times[-1] == pytest.approx(0.02 * 99 + 0.1)
    heard = timeline.render(round(2.1 * RATE), 0.0)
    assert np.array_equal(heard[:RATE], sound[:RATE])
    assert not heard[RATE : RATE + 4800].any()
    assert np.array_equal(heard[RATE + 4800 :], sound[RATE:])


def test_a_jump_of_the_timestamps_is_not_a_gap() -> None:
    timeline = Timeline()
    sound = signals.tone(440, 20, RATE)
    timeline.add(0.0, 0, sound)
    assert timeline.add(0.02, 10_000_000, sound) == pytest.approx(0.02)
    assert timeline.add(0.04, None, sound) == pytest.approx(0.04)
    assert np.array_equal(timeline.render(3 * FRAME, 0.0), np.concatenate([sound] * 3))


# -- receiver ----------------------------------------------------------------------


def listen(
    samples: np.ndarray[Any, np.dtype[np.int16]],
) -> tuple[SpeechReceiver, list[tuple[float, str]]]:
    receiver, events = SpeechReceiver(-50, 0.3), []
    for index, frame in enumerate(frames(samples)):
        change = receiver.hear(0.02 * index, 0.02 * index, frame)
        if change:
            events.append((round(0.02 * index, 2), change))
    return receiver, events


def test_an_ear_reports_onset_end_and_level() -> None:
    sound = np.concatenate(
        [signals.silence(105, RATE), signals.tone(500, 400, RATE, -20), signals.silence(400, RATE)]
    )
    receiver, events = listen(sound)
    assert [name for _, name in events] == ["started", "stopped"]
    assert receiver.speech is not None
    # To the sample: 5 ms into a frame, and the first samples of a sine are small.
    assert receiver.speech.start == pytest.approx(0.105, abs=0.0005)
    assert receiver.speech.end == pytest.approx(0.52, abs=0.001)
    assert receiver.speech.level_dbfs == pytest.approx(-20, abs=0.6)
    assert not receiver.speaking


def test_a_pause_between_words_does_not_end_a_speech() -> None:
    word, pause = signals.tone(500, 200, RATE), signals.silence(200, RATE)
    receiver, events = listen(np.concatenate([word, pause, word]))
    assert [name for _, name in events] == ["started"]
    assert receiver.speaking


def test_faint_noise_is_silence() -> None:
    receiver, events = listen(signals.tone(500, 500, RATE, -60))
    assert events == []
    assert receiver.speech is None
    assert receiver.heard_until == pytest.approx(0.5)


# -- camera, script, speech ---------------------------------------------------


@pytest.mark.parametrize("size", [(64, 48), (320, 240), (642, 480)])
async def test_a_frame_number_can_be_read_from_the_picture(size: tuple[int, int]) -> None:
    camera = Camera(fps=60, size=size)
    for expected in range(4):
        frame = await camera.recv()
        luma = frame.to_ndarray(format="gray")
        assert luma.shape == size[::-1]
        assert read_frame_number(luma) == expected
        assert frame.time == pytest.approx(expected / 60, abs=1e-4)
    camera.stop()


@pytest.mark.parametrize(("fps", "size"), [(0, (320, 240)), (90, (320, 240)), (15, (321, 240))])
def test_a_camera_refuses_what_it_cannot_draw(fps: float, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"fps is|size is"):
        Camera(fps, size)


def test_a_script_is_read() -> None:
    script = "hear; silence:600;say:0;wait_heard:25;mute;unmute;share:0;stop_sharing;pause:5;leave;"
    steps = parse_script(script, 1)
    assert [str(step) for step in steps] == [
        "hear", "silence:600", "say:0", "wait_heard:25", "mute", "unmute", "share:0",
        "stop_sharing", "pause:5", "leave",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("sing", "'sing' is unknown; the steps are hear, silence"),
        ("silence", "needs a number, for example silence:500"),
        ("hear:3", "takes no number"),
        ("silence:x", "'x' is not a number"),
        ("silence:-3", "'-3' is not a number"),
        ("say:1", "there are 1 speeches"),
        ("share:1", "there are 1 speeches"),
        ("mute:1", "takes no number"),
    ],
)
def test_a_bad_script_names_the_step(script: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        parse_script(script, 1)


def test_speech_is_brought_to_48_khz_mono(tmp_path: Path) -> None:
    tone = signals.tone(440, 500, 16_000, -12)
    signals.write_wav(tmp_path / "tone.wav", np.stack([tone, tone], axis=1), 16_000)
    samples = to_microphone_rate(tmp_path / "tone.wav", 0)
    assert samples.dtype == np.int16
    assert len(samples) == pytest.approx(24_000, abs=200)
    assert signals.rms_dbfs(samples[4800:19200]) == pytest.approx(-12, abs=0.2)
    with pytest.raises(ValueError, match="float64"):
        to_microphone_rate(np.zeros(5), RATE)  # type: ignore[arg-type]


# -- in a call ----------------------------------------------------------------


async def test_waiting_in_vain_says_for_what() -> None:
    async with LocalStream() as stream:
        with stream.redirected():
            async with Person("call", "alice") as alice:
                with pytest.raises(
                    TimeoutError, match=r"0\.01 s for speech .* not one audio frame"
                ):
                    await alice.hear_speech(0.01)
                with pytest.raises(CallError, match="receive_video=True"):
                    await alice.see_frame()
                with pytest.raises(CallError, match="joined before"):
                    await alice.join()
            with pytest.raises(CallError, match="has left"):
                await alice.hear_silence(10)
            with pytest.raises(CallError, match="cannot speak"):
                await alice.say(signals.tone(440, 20, RATE))
            with pytest.raises(CallError, match="cannot publish video"):
                await alice.publish_video()


# -- the program --------------------------------------------------------------


class Program:
    """The program in a process of its own, and what it prints."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []

    async def until(self, event: str) -> dict[str, Any]:
        """Read events until one has that name."""
        assert self.process.stdout is not None
        while line := await asyncio.wait_for(self.process.stdout.readline(), 20):
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event:
                return self.events[-1]
        raise AssertionError(f"no event {event!r} in {self.events}")

    async def finish(self) -> tuple[int, str]:
        """Read the rest; returns exit status and standard error."""
        out, err = await asyncio.wait_for(self.process.communicate(), 30)
        self.events += [json.loads(line) for line in out.splitlines()]
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()

    @property
    def names(self) -> list[str]:
        """Names of the events, with their steps."""
        return [e["event"] + (f" {e['step']}" if "step" in e else "") for e in self.events]


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts programs against a local backend; kills those that are left."""
    programs: list[Program] = []
    async with LocalStream() as stream:

        async def start(*arguments: str, python: str = sys.executable) -> Program:
            process = await asyncio.create_subprocess_exec(
                python,
                "-m",
                PROGRAM,
                *arguments,
                env={**os.environ, **stream.env},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            programs.append(Program(process))
            return programs[-1]

        start.stream = stream  # type: ignore[attr-defined]
        yield start
        for program in programs:
            with contextlib.suppress(ProcessLookupError):
                program.process.kill()
            await program.process.communicate()


async def test_two_programs_talk_and_leave_recordings(start: Start, tmp_path: Path) -> None:
    speech = signals.speech_like(700, RATE, seed=5)
    signals.write_wav(tmp_path / "speech.wav", speech, RATE)
    talk = ["--call", "call", "--speech", str(tmp_path / "speech.wav"), "--out"]
    bob, alice = await asyncio.gather(
        start(*talk, str(tmp_path / "bob"), "--user", "bob",
              "--script", "hear;silence:400;say:0;leave"),
        start(*talk, str(tmp_path / "alice"), "--user", "alice", "--video", "10",
              "--script", "say:0;wait_heard:400;silence:400"),
    )  # fmt: skip
    results = await asyncio.gather(alice.finish(), bob.finish())
    assert [status for status, _ in results] == [0, 0], results
    for program in (alice, bob):
        assert "speech_started" in program.names
    assert [n for n in bob.names if n.startswith("step")] == [
        "step hear", "step silence:400", "step say:0", "step leave",
    ]  # fmt: skip
    for name in ("alice", "bob"):
        said, rate = signals.read_wav(tmp_path / name / "said.wav")
        heard, _ = signals.read_wav(tmp_path / name / "heard.wav")
        assert rate == RATE
        assert said.shape == heard.shape
        assert signals.align(speech, said, RATE).correlation > 0.999
        assert signals.align(speech, heard, RATE).correlation > 0.95
        lines = (tmp_path / name / "events.jsonl").read_text().splitlines()
        assert json.loads(lines[0])["event"] == "joined"
    # Bob spoke after he had heard alice, on the clock of his own recordings.
    said, _ = signals.read_wav(tmp_path / "bob" / "said.wav")
    heard, _ = signals.read_wav(tmp_path / "bob" / "heard.wav")
    pause = (
        signals.align(speech, said, RATE).offset_ms - signals.align(speech, heard, RATE).offset_ms
    )
    assert pause > 1000  # the speech, which fades out, and 400 ms of silence


async def test_a_program_that_is_stopped_writes_its_recordings(
    start: Start, tmp_path: Path
) -> None:
    async def stop(signum: signal.Signals) -> None:
        folder = tmp_path / signum.name
        program = await start("--call", "call", "--user", signum.name, "--out", str(folder))
        await program.until("ready")
        program.process.send_signal(signum)
        status, errors = await program.finish()
        assert status == 128 + signum
        assert "Traceback" not in errors
        assert program.names[-2:] == ["stopped", "left"]
        assert len(signals.read_wav(folder / "heard.wav")[0]) > 0.4 * RATE

    await asyncio.gather(stop(signal.SIGINT), stop(signal.SIGTERM))


async def test_a_program_fails_with_a_reason(start: Start, tmp_path: Path) -> None:
    late, wrong = await asyncio.gather(
        start("--call", "call", "--script", "pause:1;hear", "--timeout", "0.1",
              "--out", str(tmp_path)),
        start("--call", "call", "--speech", "no-such.wav", "--script", "say:0"),
    )  # fmt: skip
    (status, errors), refusal = await asyncio.gather(late.finish(), wrong.finish())
    assert status == 1
    assert "step 2 (hear) failed: person waited 0.1 s for speech" in errors
    assert "error" in late.names
    assert (tmp_path / "events.jsonl").exists()
    assert (refusal[0], "no-such.wav" in refusal[1], wrong.events) == (2, True, [])


async def test_the_end_of_the_call_ends_a_listener(start: Start) -> None:
    program = await start("--call", "call")
    await program.until("ready")
    await start.stream.end_call("call")  # type: ignore[attr-defined]
    status, _ = await program.finish()
    assert status == 0
    assert "call_ended" in program.names
