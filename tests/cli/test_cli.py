"""Tests of the command line: arguments, errors, environments; without a call."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
import wave
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from getstream.plugins.gemini import cli
from getstream.plugins.gemini._cli import clips, demo, report
from getstream.plugins.gemini._cli.environment import local_environment, real_gemini_environment
from getstream.plugins.gemini._cli.join import browser_link, require_stream_keys
from getstream.plugins.gemini.errors import ConfigError
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


def eight_bit(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(16000)
        file.writeframes(bytes(16000))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (None, "There is no file"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.write_text("hello"), "not a WAV file"),
        (lambda path: path.write_bytes(b""), "not a WAV file"),
        (eight_bit, "8 bits per sample"),
        (lambda path: signals.write_wav(path, np.zeros(0, np.int16), 16000), "no audio"),
        (lambda path: signals.write_wav(path, np.zeros(16000, np.int16), 16000), "is silent"),
        (lambda path: signals.write_wav(path, signals.click(50, 16000), 16000), "is silent"),
        (lambda path: speech_wav(path, 60.5), "lasts 60.5 s; the limit is 60 s"),
        (lambda path: speech_wav(path, 1, rate=4000), "4000 samples per second"),
    ],
    ids=["missing", "folder", "text", "nothing", "8-bit", "empty", "silent", "click", "long", "4k"],
)
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
