"""Tests of the command line: arguments, errors, environments; without a call."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import av
import numpy as np
import pytest
from getstream.plugins.gemini import cli
from getstream.plugins.gemini._cli import clips, demo, report
from getstream.plugins.gemini._cli.environment import local_environment, real_gemini_environment
from getstream.plugins.gemini._cli.join import browser_link, is_loopback, require_stream_keys
from getstream.plugins.gemini.errors import AudioError, ConfigError
from getstream.plugins.gemini.testing import signals

KEYS = ("STREAM_API_KEY", "STREAM_API_SECRET", "GOOGLE_API_KEY", "GEMINI_API_KEY")


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, without any key but those given."""
    base = {name: value for name, value in os.environ.items() if name not in KEYS}
    return subprocess.run(
        [sys.executable, "-m", "getstream.plugins.gemini", *arguments],
        env={**base, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# -- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["demo", "join", "report", "test"]),
        (["report", "--help"], ["DIR", "-o", "example", "record"]),
        (
            ["test", "--help"],
            ["--out", "--only", "hear_within_s", "report.json", "scenario-reports"],
        ),
        (["demo", "--help"], ["--input", "--real-gemini", "conversation.wav", "without any key"]),
        (["join", "--help"], ["--events-json", "STREAM_API_KEY", "STREAM_API_SECRET", "stats"]),
        (["--version"], ["getstream ", "google-genai", "CPython"]),
    ],
)
def test_help(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert [word for word in words if word not in printed] == []


def verbs() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each verb, whatever verbs there are."""
    actions = cli._parser()._actions
    return next(a.choices for a in actions if isinstance(a, argparse._SubParsersAction))


def examples_of(text: str) -> list[str]:
    """Return the command lines in a help text."""
    joined = text.replace("\\\n", " ")
    found = re.findall(r"^ +(?:getstream-gemini|python -m getstream\S*) .*$", joined, re.MULTILINE)
    return [re.split("  #| > ", line.strip())[0] for line in found]


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_verb_has_an_example_that_can_be_typed(verb: str) -> None:
    epilog = verbs()[verb].epilog or ""
    assert re.search("^examples?:$", epilog, re.MULTILINE)
    lines = examples_of(epilog)
    assert lines
    for line in lines:
        words = shlex.split(line)
        options = cli._parser().parse_args(words[1:])  # SystemExit if it is wrong
        assert options.command == verb


@pytest.mark.parametrize("module", ["testing", "testing.person"])
def test_the_other_programs_have_examples(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"getstream.plugins.gemini.{module}", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = examples_of(done.stdout)
    assert lines
    assert all(line.startswith(f"python -m getstream.plugins.gemini.{module} ") for line in lines)


def test_every_verb_says_who_it_is_when_nothing_is_given() -> None:
    listed = cli._parser().format_help()
    assert [verb for verb in verbs() if verb not in listed] == []


# -- streams --------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("redirection", "words"),
    [
        (">&-", "There is no recording in nowhere"),
        (">&- 2>&-", ""),
        ("2>&-", ""),
    ],
)
def test_closed_streams(redirection: str, words: str, tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m getstream.plugins.gemini report nowhere"
    done = subprocess.run(
        ["sh", "-c", f"{command} {redirection}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "AttributeError" not in done.stderr


def test_main_with_closed_streams(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.main(["report", str(tmp_path)]) == 1
    sys.stdout.close()
    sys.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "getstream.plugins.gemini", "doctor", "--no-call"],
            env={**os.environ, "GOOGLE_GEMINI_BASE_URL": "https://x.invalid",
                 "STREAM_BASE_URL": "https://x.invalid"},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )  # fmt: skip
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("verb", "module"),
    [
        (["playground", "--no-open"], "aiohttp"),
        (["test", "x.toml"], "trustme"),
        (["demo"], "trustme"),
    ],
)
def test_without_the_extra(verb: list[str], module: str, tmp_path: Path) -> None:
    text = f"raise ModuleNotFoundError('No module named {module}', name={module!r})\n"
    (tmp_path / f"{module}.py").write_text(text)
    done = run(*verb, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "getstream-plugins-gemini[testing]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "FILE"], "There is no recording"),
        (["report", "FOLDER"], "There is no recording"),
        (["report", "NONE"], "There is no recording"),
        (["test", "FILE"], "no [[scenario]]"),
        (["test", "FOLDER"], "cannot be read"),
        (["test", "NONE"], "cannot be read"),
        (["demo", "--input", "NONE"], "There is no file"),
        (["demo", "--input", "FOLDER"], "folder"),
        (["demo", "--out", "FILE"], "--out"),
        (["doctor", "--live", "--yes", "--out", "FOLDER"], "GOOGLE_API_KEY"),
        (["join", "c", "--record", "FILE"], "STREAM_API_KEY"),
    ],
)
def test_wrong_files(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    paths = {name.upper(): str(tmp_path / name) for name in ("file", "folder", "none")}
    assert cli.main([paths.get(each, each) for each in arguments]) in (1, 2)
    error = capsys.readouterr().err
    assert words in error
    assert "--verbose shows where" not in error, "it is an error that is known"


@pytest.mark.parametrize(
    ("name", "words"), [("nope:make", "There is no module"), ("nope", "module:function")]
)
def test_a_playground_without_its_function(name: str, words: str) -> None:
    # In a process of its own: it leads all that is imported after it to a local server.
    done = run("playground", "--no-open", name)
    assert done.returncode == 1
    assert words in done.stderr
    assert "--verbose shows where" not in done.stderr


# -- the programs of the test kit -----------------------------------------------------------------


def program(module: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"getstream.plugins.gemini.{module}", *arguments],
        env={name: value for name, value in os.environ.items() if name not in KEYS},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("nope_cmd", 127, "there is no such program"),
        ("./file.py", 126, "python ./file.py"),
        ("./folder", 126, "Permission denied"),
    ],
)
def test_a_program_that_cannot_be_run(command: str, code: int, words: str, tmp_path: Path) -> None:
    (tmp_path / "file.py").touch()
    (tmp_path / "folder").mkdir()
    done = program("testing", "--", command, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 1, "no keys for Stream: set STREAM_API_KEY and STREAM_API_SECRET"),
        (["--video-size", "3"], 2, "320x240"),
        (["--video-size", "0x9"], 2, "320x240"),
        (["--timeout", "nan"], 2, "a number"),
        (["--timeout", "0"], 2, "more than 0"),
        (["--video", "-3"], 2, "a number"),
    ],
)
def test_a_person_that_cannot_join(
    arguments: list[str], code: int, words: str, tmp_path: Path
) -> None:
    done = program("testing.person", "--call", "c", *arguments, cwd=tmp_path)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


# -- examples -------------------------------------------------------------------------------------

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/main.py"))


@pytest.mark.parametrize(
    "example",
    [path for path in EXAMPLES if path.parent.name != "quick_start"],
    ids=lambda path: path.parent.name,
)
def test_an_example_without_keys_says_what_it_needs(example: Path) -> None:
    arguments = [] if example.parent.name == "gemini_live" else ["a-call"]
    done = subprocess.run(
        [sys.executable, str(example), *arguments],
        env={name: value for name, value in os.environ.items() if name not in KEYS},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "STREAM_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_does_not_wait_for_the_sdks() -> None:
    program = (
        "import sys; from getstream.plugins.gemini import cli\n"
        "try: cli.main(['demo', '--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('google.genai', 'getstream.video.rtc') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["join"],
        ["join", " "],
        ["join", "c", "--voice", ""],
        ["demo", "x"],
        ["test"],
        ["test", "a.toml", "--only", ""],
    ],
)
def test_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_only_verbose_shows_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_options: object) -> int:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(demo, "run_demo", broken)
    assert cli.main(["demo"]) == 1
    brief = capsys.readouterr().err
    assert brief == ("getstream-gemini: error: RuntimeError: out of luck (--verbose shows where)\n")
    assert cli.main(["demo", "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_before_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_demo", interrupted)
    assert cli.main(["demo"]) == 130


# -- demo: bad input ------------------------------------------------------------------------------


def speech_wav(path: Path, seconds: float, rate: int = 16000) -> Path:
    signals.write_wav(path, signals.speech_like(seconds * 1000, rate), rate)
    return path


def encoded(
    path: Path, codec: str, rate: int = 48_000, *, channels: int = 1, video: bool = False
) -> Path:
    """Write two seconds of speech, with a picture in front if asked for one."""
    speech = signals.speech_like(2000, rate)
    layout = "mono" if channels == 1 else "stereo"
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=10) if video else None
        sound = container.add_stream(codec, rate=rate, layout=layout) if codec else None
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            for _ in range(20):
                picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
                container.mux(pictures.encode(picture))
            container.mux(pictures.encode(None))
        if sound is not None:
            block = np.repeat(speech, channels).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
            frame.sample_rate = rate
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate", "channels", "video"),
    [
        ("a.mp3", "libmp3lame", 44_100, 2, False),
        ("a.ogg", "libvorbis", 48_000, 1, False),
        ("a.opus", "libopus", 48_000, 2, False),
        ("a.m4a", "aac", 22_050, 1, False),
        ("a.flac", "flac", 96_000, 2, False),
        ("a.flac", "flac", 192_000, 1, False),
        ("a.wav", "pcm_s24le", 48_000, 2, False),
        ("a.wav", "pcm_u8", 8_000, 1, False),
        ("a.wav", "pcm_s16le", 4_000, 1, False),
        ("a.wav", "pcm_f32le", 16_000, 1, False),
        ("a.mp4", "aac", 48_000, 2, True),
        ("a name with no ending", "", 0, 0, False),
        ("http:a.mp3", "libmp3lame", 48_000, 1, False),
    ],
)
def test_any_audio_file_can_be_said(
    name: str, codec: str, rate: int, channels: int, video: bool, tmp_path: Path
) -> None:
    path = tmp_path / name
    if codec:
        encoded(path, codec, rate, channels=channels, video=video)
    else:
        encoded(tmp_path / "a.mp3", "libmp3lame").rename(path)
    clip = clips.open_clip(path)
    assert clip.seconds == pytest.approx(2.0, abs=0.1)
    assert 8_000 <= clip.rate <= 96_000
    assert clip.samples.dtype == np.int16
    assert clip.samples.shape == (round(clip.seconds * clip.rate),)
    assert clip.speech_seconds > 1.5
    assert signals.rms_dbfs(clip.samples) == pytest.approx(-20, abs=1.5)


def half_of(path: Path) -> Path:
    data = encoded(path, "libmp3lame").read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(ConfigError, match="no ordinary file"):
        clips.open_clip(tmp_path / "pipe.wav")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    for name in ("a.wav", "a.mp3"):
        path = tmp_path / name
        path.write_bytes(b"x")
        path.chmod(0)
        with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
            clips.open_clip(path)


def test_a_playlist_leads_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(AudioError, match=r"list\.m3u8"):
        clips.open_clip(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (None, "There is no file"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.write_text("hello"), "cannot be decoded"),
        (lambda path: path.write_bytes(b""), "cannot be decoded"),
        (lambda path: path.write_bytes(b"RIFF"), "cannot be decoded"),
        (lambda path: path.write_bytes(os.urandom(5000)), "input.wav"),
        (lambda path: signals.write_wav(path, np.zeros(0, np.int16), 16000), "no audio"),
        (lambda path: signals.write_wav(path, np.zeros(16000, np.int16), 16000), "is silent"),
        (lambda path: signals.write_wav(path, signals.click(50, 16000), 16000), "is silent"),
        (lambda path: speech_wav(path, 60.5), "lasts 60.5 s; the limit is 60 s"),
        (lambda path: speech_wav(path, 61, rate=4000), "lasts 61.0 s; the limit is 60 s"),
        (
            lambda path: encoded(path.with_suffix(".mp4"), "", video=True).rename(path),
            "has no sound",
        ),
    ],
    ids=["missing", "folder", "text", "nothing", "half a header", "noise", "empty", "silent",
         "click", "long", "long 4k", "a film without sound"],
)  # fmt: skip
def test_input_that_cannot_be_said(
    make: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "input.wav"
    if make is not None:
        make(path)
    assert cli.main(["demo", "--input", str(path), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert str(path) in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists(), "nothing is made before the input is known to be good"


def test_half_a_file_is_said_as_far_as_it_goes(tmp_path: Path) -> None:
    assert 0.3 < clips.open_clip(half_of(tmp_path / "half.mp3")).seconds < 1.7


def test_a_file_that_is_broken_in_the_middle(tmp_path: Path) -> None:
    path = encoded(tmp_path / "broken.flac", "flac")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4096] = bytes(4096)
    path.write_bytes(data)
    with pytest.raises(AudioError, match=r"broken\.flac cannot be decoded after \d\.\d s"):
        clips.open_clip(path)


def test_input_up_to_the_limit_is_taken(tmp_path: Path) -> None:
    clip = clips.open_clip(speech_wav(tmp_path / "long.wav", 60.0))
    assert clip.seconds == 60.0
    assert clip.text == "[long.wav]"


def test_a_clip_knows_where_its_speech_is(tmp_path: Path) -> None:
    rate = 44100
    speech = signals.speech_like(1500, rate, dbfs=-20)
    quiet = signals.silence(400, rate)
    stereo = np.stack([np.concatenate([quiet, speech, quiet])] * 2, axis=1)
    signals.write_wav(tmp_path / "clip.wav", stereo, rate)
    clip = clips.open_clip(tmp_path / "clip.wav", "words")
    assert clip.seconds == pytest.approx(2.3)
    # The babble fades in and out over 10 ms.
    assert clip.onset == pytest.approx(0.4, abs=0.01)
    assert clip.end == pytest.approx(1.9, abs=0.01)
    assert clip.speech_seconds == pytest.approx(clip.end - clip.onset)


def test_a_clip_is_divided_by_its_pauses(tmp_path: Path) -> None:
    rate = 16000
    pieces = [signals.speech_like(1000, rate, seed=seed) for seed in range(3)]
    long, short = signals.silence(600, rate), signals.silence(300, rate)
    whole = np.concatenate([pieces[0], short, pieces[1], long, pieces[2]])
    signals.write_wav(tmp_path / "clip.wav", whole, rate)
    clip = clips.open_clip(tmp_path / "clip.wav")
    assert np.array(clip.parts) == pytest.approx(np.array([[0, 2.3], [2.9, 3.9]]), abs=0.012)
    assert (clip.onset, clip.end) == (clip.parts[0][0], clip.parts[1][1])


def test_transcriber_knows_the_clips_and_nothing_else() -> None:
    known = [clips.speech(), clips.question()]
    transcriber = clips.Transcriber(known)
    noise = np.random.Generator(np.random.PCG64(1))
    for clip in known:
        samples, rate = signals.read_wav(clip.path)
        # As the service receives it: quieter, noisier, with other silence around it.
        heard = samples / 2 + noise.normal(0, 20, samples.size)
        assert transcriber(heard[800:].astype(np.int16), rate) == clip.text
    greeting, rate = signals.read_wav(clips.data_file("greeting.wav"))
    assert abs(greeting.size / rate - clips.question().seconds) < 0.6, "as long as the question"
    assert transcriber(greeting, rate) == "[2.8 seconds of speech]"
    assert transcriber(signals.silence(3200, rate), rate) == "[3.2 seconds of speech]"


def test_the_clips_of_the_package() -> None:
    for clip in (clips.speech(), clips.question()):
        assert 0.05 < clip.onset < 0.2
        assert clip.end < clip.seconds
        assert len(clip.text.split()) > 5


@pytest.mark.parametrize("blocker", ["folder", "conversation.wav", "summary.json"])
def test_results_that_cannot_be_written(
    blocker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    if blocker == "folder":
        out.write_text("a file where the folder should be")
    else:
        (out / blocker).mkdir(parents=True)
    assert cli.main(["demo", "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert str(out) in error
    assert "--out" in error
    assert "Traceback" not in error


def test_a_good_folder_is_left_empty(tmp_path: Path) -> None:
    report.prepare_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_the_recording_of_the_call_before_is_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    folder.mkdir()
    for name in ("audio.wav", "audio-2.wav", "events.jsonl", "notes.txt"):
        (folder / name).write_text("before")
    report.prepare_folder(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_the_person_interrupts_in_the_middle_of_a_short_answer(tmp_path: Path) -> None:
    assert "hear;pause:2000;say:1" in demo.script(clips.speech())
    short = clips.open_clip(speech_wav(tmp_path / "short.wav", 1.0))
    assert 450 < float(demo.script(short).split("pause:")[1].split(";")[0]) <= 500


# -- keys -----------------------------------------------------------------------------------------


def test_real_gemini_needs_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--real-gemini", "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "GOOGLE_API_KEY" in error
    assert "GEMINI_API_KEY" in error
    assert "aistudio.google.com" in error


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, ["STREAM_API_KEY", "STREAM_API_SECRET"]),
        ({"STREAM_API_KEY": "key"}, ["STREAM_API_SECRET"]),
        ({"STREAM_API_SECRET": "secret", "STREAM_API_KEY": " "}, ["STREAM_API_KEY"]),
    ],
)
def test_join_needs_the_keys_of_stream(given: dict[str, str], missing: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        require_stream_keys(given)
    named = [name for name in ("STREAM_API_KEY", "STREAM_API_SECRET") if name in str(error.value)]
    assert named == missing
    assert "dashboard.getstream.io" in str(error.value)
    require_stream_keys({"STREAM_API_KEY": "key", "STREAM_API_SECRET": "secret"})


def test_join_without_keys() -> None:
    done = run("join", "a-call")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "STREAM_API_KEY and STREAM_API_SECRET" in done.stderr
    assert "Traceback" not in done.stderr

    done = run("join", "a-call", STREAM_API_KEY="key", STREAM_API_SECRET="s" * 32)
    assert done.returncode == 1
    assert "GOOGLE_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verbose", [False, True])
def test_no_secret_is_printed_when_nothing_can_be_reached(verbose: bool) -> None:
    secrets = {
        "STREAM_API_SECRET": "stream-secret-0123456789-0123456789",
        "GOOGLE_API_KEY": "gemini-secret-0123456789",
    }
    done = run(
        "join",
        "a-call",
        *(["--verbose"] if verbose else []),
        STREAM_API_KEY="public-key",
        # The discard port: a connection is refused at once.
        STREAM_BASE_URL="http://127.0.0.1:9",
        GOOGLE_GEMINI_BASE_URL="https://127.0.0.1:9",
        NO_PROXY="127.0.0.1",
        no_proxy="127.0.0.1",
        **secrets,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 1
    assert "getstream-gemini: error:" in done.stderr
    assert ("Traceback" in done.stderr) == verbose
    assert [name for name, secret in secrets.items() if secret in printed] == []


# -- environments ---------------------------------------------------------------------------------

STREAM = {
    "STREAM_BASE_URL": "http://127.0.0.1:5",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}
LOCAL_GEMINI = {
    "GOOGLE_GEMINI_BASE_URL": "https://127.0.0.1:6",
    "SSL_CERT_FILE": "/of/the/local/server.pem",
    "GOOGLE_API_KEY": "local",
}
GOOGLE = "generativelanguage.googleapis.com"


def is_direct(environment: dict[str, str], host: str) -> bool:
    """Return whether Python's HTTP clients bypass the proxy for a host."""
    proxies = {"no": environment["no_proxy"]}
    assert environment["no_proxy"] == environment["NO_PROXY"]
    return bool(urllib.request.proxy_bypass_environment(host, proxies))


def test_local_environment_is_local() -> None:
    user = {
        "PATH": "/bin",
        "GOOGLE_API_KEY": "own",
        "GEMINI_API_KEY": "own",
        "GEMINI_LIVE_MODEL": "a-model-that-the-local-server-does-not-know",
    }
    environment = local_environment(user, {**STREAM, **LOCAL_GEMINI})
    assert environment == {"PATH": "/bin", **STREAM, **LOCAL_GEMINI}


def test_real_gemini_environment_goes_past_the_dead_proxy() -> None:
    environment = real_gemini_environment({"GEMINI_API_KEY": "own", "PATH": "/bin"}, STREAM)
    assert environment["HTTPS_PROXY"] == STREAM["HTTPS_PROXY"], "Stream's own hosts stay shut"
    assert is_direct(environment, GOOGLE)
    assert is_direct(environment, "127.0.0.1")
    assert not is_direct(environment, "video.stream-io-api.com")
    assert environment["GEMINI_API_KEY"] == "own"
    assert "GOOGLE_GEMINI_BASE_URL" not in environment
    assert "SSL_CERT_FILE" not in environment


def test_real_gemini_environment_keeps_what_the_user_has_set() -> None:
    user = {
        "GOOGLE_API_KEY": "own",
        "https_proxy": "http://proxy.example:3128",
        "NO_PROXY": "intranet.example, localhost",
        "SSL_CERT_FILE": "/own/ca.pem",
        "GEMINI_LIVE_MODEL": "own-model",
    }
    environment = real_gemini_environment(user, STREAM)
    assert environment["HTTPS_PROXY"] == environment["https_proxy"] == user["https_proxy"]
    assert not is_direct(environment, GOOGLE), "there is only the user's way to the outside"
    assert is_direct(environment, "127.0.0.1")
    assert is_direct(environment, "intranet.example")
    assert environment["SSL_CERT_FILE"] == "/own/ca.pem"
    assert environment["GEMINI_LIVE_MODEL"] == "own-model"


def test_real_gemini_environment_passes_an_own_address() -> None:
    user = {"GOOGLE_API_KEY": "own", "GOOGLE_GEMINI_BASE_URL": "https://gateway.example/gemini"}
    assert is_direct(real_gemini_environment(user, STREAM), "gateway.example")


def test_real_gemini_environment_needs_a_key() -> None:
    with pytest.raises(ConfigError, match="GOOGLE_API_KEY or GEMINI_API_KEY"):
        real_gemini_environment({"GOOGLE_API_KEY": "  "}, STREAM)


# -- the link -------------------------------------------------------------------------------------


def test_browser_link() -> None:
    link = browser_link("my call/1", "default", api_key="k&y", token="a.b.c")
    parts = urlsplit(link)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == (
        "https://getstream.io/video/demos/join/my%20call%2F1"
    )
    query = parse_qs(parts.query)
    assert query["api_key"] == ["k&y"]
    assert query["token"] == ["a.b.c"]
    assert query["skip_lobby"] == ["true"]
    assert "type" not in query
    other = browser_link("c", "audio_room", api_key="k", token="t", page="http://localhost:3000/")
    assert other.startswith("http://localhost:3000/join/c?")
    assert parse_qs(urlsplit(other).query)["type"] == ["audio_room"]


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://127.0.0.1:3030", True),
        ("http://127.8.8.8/", True),
        ("http://[::1]:1", True),
        ("http://localhost:80", True),
        ("https://chat.stream-io-api.com/", False),
        ("http://192.168.0.1", False),
        ("", False),
    ],
)
def test_addresses_of_this_machine(url: str, own: bool) -> None:
    assert is_loopback(url) == own
