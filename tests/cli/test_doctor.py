"""`doctor`: against local servers that behave as believed, and against those that do not."""

from __future__ import annotations

import asyncio
import json
import math
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini import cli
from getstream.plugins.gemini._cli import doctor
from getstream.plugins.gemini._cli.checks import gemini as checks
from getstream.plugins.gemini._cli.checks import stream as stream_checks
from getstream.plugins.gemini._cli.checks.findings import Finding, complete, redacted
from getstream.plugins.gemini._cli.checks.gemini import check_gemini, find_access
from getstream.plugins.gemini._cli.checks.wire_client import Patience, Service
from getstream.plugins.gemini._cli.doctor import DoctorOptions, run_doctor
from getstream.plugins.gemini.errors import (
    AuthError,
    ConfigError,
    ConnectError,
    ModelNotFoundError,
    QuotaError,
    SessionError,
)
from getstream.plugins.gemini.testing import (
    BELIEFS,
    QUOTA_EXCEEDED,
    ActivityOptions,
    Chunk,
    Close,
    InterruptionOptions,
    LiveSession,
    LocalGemini,
    LocalStream,
    Network,
    NeverAnswer,
    ResumptionOptions,
    Turn,
    UserTurn,
)
from getstream.plugins.gemini.testing.signals import speech_like

KEY = "AIzaSyTestKeyThatIsNobodysInReality0001"
MODEL = "gemini-3.8-live"
Message = dict[str, Any]

# A local service answers at once: what is waited for in vain decides how long a test takes.
PATIENCE = Patience(
    connect_s=10, answer_s=3, turn_s=4, quiet_s=0.8, handle_s=0.3, late_s=0.2, pong_s=1.0
)
SPEED = 20.0

AUTOMATIC = [each for each in BELIEFS if each.automatic and each.service == "Gemini Live"]


SPEECH = speech_like(2_000, 24000)
LONG_SPEECH = np.tile(SPEECH, 10)


class Model:
    """Answers as the prompts of the checks ask for, in the length that they need."""

    def reply(self, user: UserTurn) -> Iterable[Turn]:
        if user.kind == "text" and user.text == checks.LONG_PROMPT:
            return [Turn(audio=LONG_SPEECH, text="one two three " * 20)]
        return [Turn(audio=SPEECH, text="I can hear you very well today")]


class Mute(Model):
    """Answers either texts or speech, and not the other."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def reply(self, user: UserTurn) -> Iterable[Turn]:
        return [] if user.kind == self._kind else super().reply(user)


Hook = Callable[[LiveSession, Message], Iterable[Any]]


def local(reply: Any = None, **options: Any) -> LocalGemini:
    options.setdefault("accepted_keys", [KEY])
    return LocalGemini(reply or Model(), **options)


def service_of(server: LocalGemini, **options: Any) -> Service:
    values = {"speed": SPEED, "patience": PATIENCE, "context": server.client_context(), **options}
    return Service(server.url, KEY, MODEL, **values)


async def findings_of(server: LocalGemini) -> dict[str, Finding]:
    service = service_of(server)
    found = [*await find_access(service), *await check_gemini(service, at_once=20)]
    return {each.name: each for each in complete(found, {"Stream": "not asked"})}


def names(found: dict[str, Finding], verdict: str) -> set[str]:
    return {each.name for each in found.values() if each.verdict == verdict}


async def test_a_service_as_believed() -> None:
    async with local() as server:
        found = await findings_of(server)
    assert names(found, "fails") == set()
    assert names(found, "unclear") == {"handle_holds_audio"}  # no handle came in mid-speech
    assert names(found, "holds") == {each.name for each in AUTOMATIC} - {"handle_holds_audio"}
    by_hand = {each.name for each in BELIEFS if not each.automatic}
    assert names(found, "by hand") == by_hand
    assert [each.name for each in found.values()] == [each.name for each in BELIEFS]


# -- services that are not as believed ---------------------------------------------------------


def adds(name: str, extra: Callable[[Message], list[Message]]) -> Hook:
    """A hook that sends something after each message with a field `name` in its content."""

    def hook(_: LiveSession, message: Message) -> Iterable[Message]:
        yield message
        if name in message or name in message.get("serverContent", {}):
            yield from extra(message)

    return hook


def changes(alter: Callable[[Message], Message | None]) -> Hook:
    """A hook that replaces the content of messages; None drops the message."""

    def hook(_: LiveSession, message: Message) -> Iterable[Message]:
        content = message.get("serverContent")
        if content is None:
            yield message
        elif (altered := alter(dict(content))) is not None:
            yield {**message, "serverContent": altered}

    return hook


def said(message: Message) -> list[Message]:
    text = message["serverContent"]["outputTranscription"]["text"]
    return [{"serverContent": {"modelTurn": {"parts": [{"text": text}]}}}]


def other_rate(content: Message) -> Message:
    for part in content.get("modelTurn", {}).get("parts", ()):
        part["inlineData"]["mimeType"] = "audio/pcm;rate=16000"
    return content


def without(name: str) -> Hook:
    """A hook that drops the ends of whole turns: a cut one has no usage."""

    def hook(_: LiveSession, message: Message) -> Iterable[Message]:
        if name not in message.get("serverContent", {}) or "usageMetadata" not in message:
            yield message

    return hook


def with_reason(content: Message) -> Message:
    return {**content, "turnCompleteReason": "SAFETY"} if "turnComplete" in content else content


def with_status(content: Message) -> Message:
    return {**content, "interactionStatus": "IDLE"} if "turnComplete" in content else content


class LateTranscript:
    """Sends the transcript of the user behind the first audio of the answer."""

    def __init__(self) -> None:
        self._held: dict[int, Message] = {}

    def __call__(self, session: LiveSession, message: Message) -> Iterable[Message]:
        content = message.get("serverContent", {})
        if "inputTranscription" in content:
            self._held[session.index] = message
            return
        yield message
        if "modelTurn" in content and session.index in self._held:
            yield self._held.pop(session.index)


def no_handles_after_turns(session: LiveSession, message: Message) -> Iterable[Message]:
    update = message.get("sessionResumptionUpdate", {})
    if not (update.get("resumable") and session.spoken):
        yield message


LATE_WORD = {"serverContent": {"outputTranscription": {"text": " too"}}}
END = {"serverContent": {"turnComplete": True}}
GO_AWAY = {"goAway": {"timeLeft": "20s"}}
STEADILY = ResumptionOptions(every_s=0.02)

# What deviates, in which belief; and what else cannot be seen then.
DEVIATIONS: list[tuple[str, dict[str, Any]]] = [
    ("api_version", {"versions": ["v1"]}),
    ("deflate", {"deflate": True}),
    ("key_refused", {"accepted_keys": None}),
    ("model_unknown", {"models": [checks.UNKNOWN_MODEL]}),
    ("thinking_level_required", {"models": [checks.THINKING_MODEL]}),
    ("thinking_refused", {"models": [MODEL]}),
    ("text_is_answered", {"reply": Mute("text")}),
    ("speech_is_answered", {"reply": Mute("audio")}),
    ("silence_ends_turn", {"activity": ActivityOptions(silence_duration_ms=3000)}),
    ("stream_end_ends_turn", {"activity": ActivityOptions(ends_with_stream=True)}),
    ("voice_activity_unasked", {"quirks": ["voice_activity"]}),
    ("output_rate", {"on_send": changes(other_rate)}),
    ("chunk_size", {"chunk_ms": 600.0}),
    ("pace", {"chunks": [Chunk(40, pause_ms=50)]}),
    ("turn_complete_time", {"turn_complete_after": "playback"}),
    ("turn_end", {"on_send": without("turnComplete")}),
    ("turn_complete_reason", {"on_send": changes(with_reason)}),
    ("text_parts", {"on_send": adds("outputTranscription", said)}),
    ("input_transcript_first", {"on_send": LateTranscript()}),
    ("output_transcript_in_time", {"on_send": adds("usageMetadata", lambda _: [LATE_WORD])}),
    ("interaction_status_absent", {"on_send": changes(with_status)}),
    ("interaction_status_place", {"interaction_status_in": "message"}),
    (
        "interruption",
        {"interruption": InterruptionOptions(late=["turn_complete"], late_ms=60_000)},
    ),
    ("after_interruption", {"interruption": InterruptionOptions(late=["audio"])}),
    ("interrupted_unprovoked", {"interruption": InterruptionOptions(unprovoked=True)}),
    ("handle_after_turn", {"on_send": no_handles_after_turns}),
    ("handles_in_turns", {"resumption": STEADILY}),
    ("handles_unasked", {"resumption": ResumptionOptions(unasked=True)}),
    ("handle_holds_audio", {"resumption": replace(STEADILY, holds_audio=False)}),
    ("handle_needs_closed", {"resumption": ResumptionOptions(needs_closed=False)}),
    ("handle_refused", {"resumption": ResumptionOptions(refusal=Close(1013, "try later"))}),
    ("early_go_away", {"on_send": adds("setupComplete", lambda _: [GO_AWAY])}),
    ("binary_frames", {"quirks": ["text_frames"]}),
    ("empty_messages", {"quirks": ["empty_messages"]}),
    ("known_fields", {"quirks": ["unknown_fields"]}),
    ("pong_delay", {"pong_delay_s": 20.0}),
]


@pytest.mark.parametrize(("belief", "options"), DEVIATIONS, ids=[name for name, _ in DEVIATIONS])
async def test_a_deviation_makes_exactly_its_entry_fail(
    belief: str, options: dict[str, Any]
) -> None:
    async with local(**options) as server:
        found = await findings_of(server)
    expected = {belief}
    if belief == "handle_holds_audio":
        expected.add("handles_in_turns")  # without such handles it cannot be seen
    assert names(found, "fails") == expected, found[belief]


def test_every_automatic_belief_has_a_service_that_deviates() -> None:
    assert {name for name, _ in DEVIATIONS} == {each.name for each in AUTOMATIC}


async def test_handles_in_mid_speech_hold_what_was_said() -> None:
    async with local(resumption=STEADILY) as server:
        found = await findings_of(server)
    assert found["handle_holds_audio"].verdict == "holds"


# -- services that cannot be checked -----------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"refused_keys": [KEY]}, AuthError, "refused the key (1008: API key not valid"),
        ({"setup_fault": QUOTA_EXCEEDED}, QuotaError, "quota of the Gemini key is used up"),
        (
            {"setup_fault": Close(1008, "models/x is not found for API version v1beta")},
            ModelNotFoundError,
            "Choose a current Live model with --model",
        ),
        ({"setup_fault": Close(1011, "Internal error.")}, SessionError, "1011: Internal error."),
        ({"setup_fault": NeverAnswer()}, ConnectError, "did not answer the setup in time"),
    ],
)
async def test_access_that_is_refused(
    options: dict[str, Any], error: type[SessionError], words: str
) -> None:
    never = isinstance(options.get("setup_fault"), NeverAnswer)
    patience = replace(PATIENCE, connect_s=0.5) if never else PATIENCE
    async with local(**options) as server:
        with pytest.raises(error) as caught:
            await find_access(service_of(server, patience=patience))
    assert words in str(caught.value)
    assert KEY not in str(caught.value)


async def test_a_network_that_is_down() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = Service(f"https://127.0.0.1:{port}", KEY, MODEL, patience=PATIENCE)
    with pytest.raises(ConnectError, match="Check the network") as caught:
        await find_access(service)
    assert caught.value.__cause__ is None  # its frames hold the key


async def test_a_session_that_ends_leaves_its_beliefs_unclear() -> None:
    def ends(session: LiveSession, message: Message) -> Iterable[Message]:
        if "modelTurn" in message.get("serverContent", {}):
            asyncio.get_running_loop().call_soon(session.abort)
        return [message]

    async with local(on_send=ends) as server:
        found = await findings_of(server)
    assert found["pace"].verdict == "unclear"
    assert "1006" in found["pace"].seen
    assert found["key_refused"].verdict == "holds"


# -- Stream ------------------------------------------------------------------------------------

STREAM_PROGRAM = """
import asyncio, json
from getstream.plugins.gemini._cli.checks.stream import check_stream
print(json.dumps([[each.name, each.verdict, each.seen] for each in asyncio.run(check_stream([]))]))
"""


async def stream_verdicts(stream: LocalStream) -> dict[str, str]:
    """Run the checks in a process of its own, in which the SDK is sent to the local backend."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STREAM_PROGRAM),
        env={**os.environ, **stream.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 90)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return {name: verdict for name, verdict, _ in json.loads(out.splitlines()[-1])}


async def test_a_call_on_the_local_backend() -> None:
    async with LocalStream() as stream:
        found = await stream_verdicts(stream)
    jitter = found.pop("stream_jitter")
    assert jitter in ("holds", "fails")  # it was measured; a busy machine has jitter of its own
    assert found == {"stream_dtx": "holds", "stream_mute": "holds"}


async def test_jitter_is_seen() -> None:
    """... and nothing else of it: the settings and the mute are as believed."""
    async with LocalStream() as stream:
        checking = asyncio.create_task(stream_verdicts(stream))
        try:
            await stream.wait_participant("doctor-speaker", timeout=60)
            stream.impair("doctor-speaker", Network(jitter_ms=300, seed=1), direction="from")
            found = await checking
        finally:
            checking.cancel()
    assert found == {"stream_dtx": "holds", "stream_jitter": "fails", "stream_mute": "holds"}


async def test_stream_that_refuses() -> None:
    async with LocalStream() as stream:
        environment = {**stream.env, "STREAM_API_SECRET": "a-wrong-secret-of-thirty-two-characters"}
        wrong = SimpleNamespace(env=environment)
        found = await stream_verdicts(wrong)  # type: ignore[arg-type]
    assert set(found.values()) == {"unclear"}


@pytest.mark.parametrize(("dtx", "red", "verdict"), [(True, True, "holds"), (True, False, "fails")])
def test_the_settings_of_a_call(dtx: bool, red: bool, verdict: str) -> None:
    settings = SimpleNamespace(opus_dtx_enabled=dtx, redundant_coding_enabled=red)
    assert stream_checks._judge_settings(settings).verdict == verdict


@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize(
    ("late_ms", "count", "verdict"),
    [(50, 40, "holds"), (70, 40, "fails"), (500, 5, "holds"), (0, 0, "holds")],
)
def test_late_frames(late_ms: float, count: int, verdict: str, timestamps: bool) -> None:
    """One frame in ten may be late."""
    listener = stream_checks._Listener()
    for index in range(200):
        late = late_ms / 1000 if index < count else 0.0
        pts = 960 * index if timestamps else None
        listener.arrivals.append((7.0 + 0.02 * index + late, pts))
    assert stream_checks._judge_jitter(listener).verdict == verdict


def test_too_few_frames_tell_nothing() -> None:
    listener = stream_checks._Listener()
    listener.arrivals = [(0.02 * index, None) for index in range(49)]
    assert stream_checks._judge_jitter(listener).verdict == "unclear"


def test_frames_of_somebody_who_is_muted() -> None:
    assert stream_checks._judge_mute(0).verdict == "holds"
    assert stream_checks._judge_mute(3).verdict == "fails"


# -- the report --------------------------------------------------------------------------------


@pytest.fixture
async def environment(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalGemini]:
    """A local service to which the environment points, on a loop that is free for the doctor."""
    async with local() as server:
        for name in ("GEMINI_API_KEY", "GEMINI_LIVE_MODEL", *doctor.STREAM_VARIABLES):
            monkeypatch.delenv(name, raising=False)
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("GOOGLE_API_KEY", KEY)
        yield server


async def run(options: DoctorOptions) -> int:
    """Runs the doctor, which has a loop of its own, beside the loop of the service."""
    return await asyncio.to_thread(run_doctor, options, patience=PATIENCE, speed=SPEED, at_once=20)


async def test_the_report(
    environment: LocalGemini, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.json"
    path.write_text("what was there before")
    path.chmod(0o644)
    assert await run(DoctorOptions(live=True, yes=True, out=path)) == 0
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    report = json.loads(text)
    assert [each["name"] for each in report["beliefs"]] == [each.name for each in BELIEFS]
    assert report["gemini"] == {"host": "another one", "model": MODEL, "api_version": "v1beta"}
    printed = capsys.readouterr().out
    assert "US cents" in printed
    assert "holds" in printed
    for shown in (text, printed):
        assert KEY not in shown
        assert "handle-" not in shown
        assert "I can hear you" not in shown
        assert "seconds of speech" not in shown


async def test_a_deviation_has_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, environment: LocalGemini, tmp_path: Path
) -> None:
    async with local(deflate=True) as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("GOOGLE_API_KEY", KEY)
        options = DoctorOptions(live=True, yes=True, out=tmp_path / "report.json")
        assert await run(options) == doctor.DEVIATES


async def test_a_failure_leaves_no_report(environment: LocalGemini, tmp_path: Path) -> None:
    environment.fail_next(QUOTA_EXCEEDED)
    path = tmp_path / "report.json"
    with pytest.raises(QuotaError):
        await run(DoctorOptions(live=True, yes=True, out=path))
    assert not path.exists()


@pytest.mark.parametrize(
    "text",
    [
        "1008: key AIzaSyD3adB33fD3adB33fD3adB33fD3adB33f is not valid",
        "token auth_tokens/0123456789abcdef expired",
        "handle CihyNjR2bzZ5Z2Z0c2tqYXNkZmtqaGFza2Rq0z is unknown",
        "quota of project 123456789012 is used up",
        "projects/my-own-project/locations/x",
        "a b\x1b[31m\nnext\u202eline",
    ],
)
def test_what_is_hidden(text: str) -> None:
    shown = redacted(text)
    for secret in ("AIza", "0123456789abcdef", "CihyNjR2", "123456789012", "my-own", "\x1b", "\n",
                   "\u202e"):  # fmt: skip
        assert secret not in shown


def test_what_is_shown() -> None:
    for text in (
        "models/gemini-3.8-live-extended-thinking is not found for API version v1beta",
        "BidiGenerateContent session not found",
        "Unknown name \"automaticActivityDetection\" at 'setup.realtime_input_config'",
        "Request contains an invalid argument.",
    ):
        assert redacted(text) == text
    assert redacted("a word of mine", ["word of"]) == "a [hidden] mine"
    assert len(redacted("x y " * 100)) == 160


# -- the command line --------------------------------------------------------------------------


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GEMINI_LIVE_MODEL", *doctor.STREAM_VARIABLES):
        monkeypatch.delenv(name, raising=False)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["doctor", "--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    for word in ("--live", "--yes", "--model", "--out", "GOOGLE_API_KEY", "exit code", "asks"):
        assert word in printed


@pytest.mark.usefixtures("no_keys")
def test_without_live_it_says_what_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    # Nobody is asked for anything: whether there is a network does not matter here.
    monkeypatch.setattr(doctor.network, "try_ways", lambda _: [])
    assert cli.main(["doctor", "--no-call"]) == 0
    printed = capsys.readouterr().out
    lines = {line.split(maxsplit=1)[0]: line for line in printed.splitlines() if line}
    assert lines["GEMINI_API_KEY"].endswith(" set")
    assert lines["GOOGLE_API_KEY"].endswith("not set")
    assert "kernel" in lines["audio"]
    assert "google-genai" in lines
    assert KEY not in printed


@pytest.mark.usefixtures("no_keys")
@pytest.mark.parametrize(
    ("key", "arguments", "words"),
    [
        ("", [], "needs a key for Gemini"),
        ("auth_tokens/x", ["--yes"], "ephemeral token"),
        ("a key", ["--yes"], "a character that no key has"),
        (KEY, [], "add --yes"),  # nobody is at the terminal
    ],
)
def test_live_that_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    key: str,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", key)
    out = tmp_path / "report.json"
    assert cli.main(["doctor", "--live", "--out", str(out), *arguments]) == 1
    assert words in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(("answer", "starts"), [("y", True), ("", False), ("no", False)])
def test_it_asks(monkeypatch: pytest.MonkeyPatch, answer: str, starts: bool) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    if starts:
        doctor._ask(DoctorOptions(live=True), stream=False)
    else:
        with pytest.raises(ConfigError, match="Nothing was checked"):
            doctor._ask(DoctorOptions(live=True), stream=False)


@pytest.mark.usefixtures("no_keys")
def test_a_report_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    out = tmp_path / "none" / "report.json"
    assert cli.main(["doctor", "--live", "--yes", "--out", str(out)]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_the_cost_is_a_few_cents() -> None:
    assert 0.005 < checks.estimated_cost() < 0.10
    assert math.isfinite(checks.estimated_cost())
