"""Scenarios in TOML: what is refused, and calls that are held and judged."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini import cli
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.testing import ScenarioError, Script, Turn, run_scenarios, signals
from getstream.plugins.gemini.testing._kit.scenarios import VERBS, read_scenarios
from getstream.video import rtc

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "test_your_bot" / "scenarios.toml"

needs_calls = pytest.mark.skipif(
    not hasattr(rtc, "RemoteTrack"),
    reason="getstream 6 blocks the event loop when it leaves, and the people are in this one",
)

# Speaks as soon as somebody else has spoken, without any model.
BOT = """
    import asyncio, sys
    from getstream.plugins.gemini.testing import Person, signals

    async def main():
        async with Person(sys.argv[1], "bot") as me:
            await me.say(signals.speech_like(600, 48000), 48000)
            ended = asyncio.create_task(me.wait_ended())
            while not ended.done():
                await asyncio.wait(
                    {ended, asyncio.ensure_future(answer(me))},
                    return_when=asyncio.FIRST_COMPLETED,
                )

    async def answer(me):
        await me.hear_speech(600)
        await me.hear_silence(400)
        await me.say(signals.speech_like(600, 48000, seed=1), 48000)

    asyncio.run(main())
"""


def written(folder: Path, text: str) -> Path:
    (folder / "bot.py").write_text(textwrap.dedent(BOT), encoding="utf-8")
    signals.write_wav(folder / "hello.wav", signals.speech_like(500, 16000), 16000)
    path = folder / "scenarios.toml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def one(steps: str = "[{ pause_ms = 1 }]", more: str = "") -> str:
    return f"[[scenario]]\nname = 'a'\nbot = 'bot.py'\n{more}\nsteps = {steps}\n"


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = \nb = 1", ["is no TOML", "line 1"]),
        ("", ["no [[scenario]]"]),
        ("[[scenari]]\n", ["unknown key 'scenari'", "did you mean 'scenario'?"]),
        ("[scenario]\nname = 'a'\n", ["scenario is", "a list"]),
        ("[defaults]\nbotr = 'x'\n" + one(), ["[defaults]", "did you mean 'bot'?"]),
        ("[defaults]\nname = 'x'\n" + one(), ["[defaults]", "unknown key 'name'"]),
        (one(more="reply = []"), ["scenario 1 (a)", "'reply'", "did you mean 'replies'?"]),
        (one(more="call_id = 5"), ["scenario 1 (a): call_id is 5; it is a text"]),
        (one(more="limit_s = 0"), ["limit_s is 0", "greater than 0"]),
        (one(more="limit_s = true"), ["limit_s is True; it is a number"]),
        (one(more="then = 'parrot'"), ["there are none"]),
        (one(more="then = 'parot'\nreplies = []"), ["'parrot' or 'silence'"]),
        (one().replace("bot.py", "bto.py"), ["there is no file", "bto.py"]),
        (one().replace("name = 'a'", ""), ["scenario 1: name is missing"]),
        (one("[]"), ["steps is missing or empty"]),
        (one() + one(), ["two scenarios have the name 'a'"]),
        (one("[{ hear_witin_s = 5 }]"), ["step 1", "did you mean 'hear_within_s'?"]),
        (one("[{ say = 'x', persn = 'b' }]"), ["did you mean 'person'?"]),
        (one("[{ zzz = 1 }]"), ["unknown key 'zzz'; there are", "hear_within_s"]),
        (one("[{ person = 'b' }]"), ["step 1 does nothing", "say"]),
        (one("[{ say = 'x', pause_ms = 5 }]"), ["say and pause_ms", "two steps"]),
        (one("[{ say = 5 }]"), ["say is 5; it is a text, such as say = \"question.wav\""]),
        (one("[{ hear_within_s = '5' }]"), ["it is a number, such as hear_within_s = 5"]),
        (one("[{ hear_within_s = -1 }]"), ["hear_within_s is -1", "greater than 0"]),
        (one("[{ pause_ms = true }]"), ["pause_ms is True"]),
        (one("[{ drop = 1006.5 }]"), ["drop is 1006.5; it is a number"]),
        (one("[{ say = 'hallo.wav' }]"), ["say: there is no file", "hallo.wav"]),
        (one("[{ say = 'package:x.wav' }]"), ["there is no file", "x.wav"]),
        (one("[7]"), ["step 1 is 7", "a table such as"]),
        (one(more="replies = [7]"), ["reply 1 is 7"]),
        (one(more="replies = [{ txt = 'x' }]"), ["reply 1", "did you mean 'text'?"]),
        (one(more="replies = [{ wav = 'x.wav' }]"), ["reply 1: wav:", "x.wav"]),
        (one(more="replies = [{ wav = 'x.mp3' }]"), ["it ends with .wav"]),
        (one(more="replies = [{ calls = [{ nam = 'x' }] }]"), ["did you mean 'name'?"]),
        (one(more="replies = [{ calls = [{ args = {} }] }]"), ["calls: name is missing"]),
        (one(more="replies = [{ calls = [1] }]"), ["calls holds 1"]),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used(
    tmp_path: Path, text: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ScenarioError) as refusal:
        read_scenarios(path)
    message = str(refusal.value)
    assert [word for word in [str(path), *words] if word not in message] == []
    assert isinstance(refusal.value, ConfigError)
    assert cli.main(["test", str(path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"getstream-gemini: error: {message}\n"
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read: No such file"):
        read_scenarios(tmp_path / "x.toml")
    path = written(tmp_path, one())
    with pytest.raises(ScenarioError, match="has no scenario 'b'; there are 'a'"):
        run_scenarios(path, tmp_path / "out", only="b")


# -- what is read ----------------------------------------------------------------------------------


def test_what_is_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [defaults]
        bot = "bot.py"
        call_id = "the-call"
        limit_s = 30

        [[scenario]]
        name = "a"
        call_id = "another"
        replies = ["Hello.", [{ text = "One.", delay_ms = 5 }, "Two."], { wav = "hello.wav" },
                   { calls = [{ name = "get_time", args = { zone = "UTC" } }] }]
        steps = [{ say = "hello.wav", person = "ben" }, { drop = 1011, back_within_s = 3 }]

        [[scenario]]
        name = "b"
        steps = [{ expect_tool = "get_time", args = { zone = "UTC" } }]
        """,
    )
    a, b = read_scenarios(path)
    assert a.options == {"call_id": "another"}
    assert b.options == {"call_id": "the-call"}
    assert (a.limit_s, b.limit_s) == (30, 30)
    assert a.replies is not None
    hello, (first, second), (recorded,), (asks,) = a.replies
    assert hello == (Turn(text="Hello."),)
    assert (first.text, first.delay_ms, second.text) == ("One.", 5, "Two.")
    assert recorded.audio is not None
    assert len(recorded.audio) == 12000  # half a second at 24 kHz
    assert (asks.function_calls[0].name, asks.function_calls[0].args) == (
        "get_time", {"zone": "UTC"},
    )  # fmt: skip
    assert isinstance(a.policy(), Script)
    assert a.policy() is not a.policy()
    assert [str(step) for step in a.steps] == [
        "say = 'hello.wav', person = 'ben'",
        "drop = 1011, back_within_s = 3",
    ]
    assert [step.person for step in a.steps] == ["ben", "anna"]


def test_every_verb_is_documented() -> None:
    page = (ROOT / "docs" / "how-to" / "test-your-assistant.md").read_text(encoding="utf-8")
    for name, verb in VERBS.items():
        assert f"`{name} = " in page, name
        assert all(f"`{option}`" in page for option in verb.options), name


# -- calls that are held ---------------------------------------------------------------------------


@needs_calls
@pytest.mark.acceptance
def test_the_example_passes(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "getstream.plugins.gemini", "test", str(EXAMPLE)]
    done = subprocess.run(
        [*program, "--out", str(tmp_path)], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line[:4] for line in lines[:-1]] == ["ok  ", "ok  "]
    assert lines[-1] == "scenarios: 2 passed, 0 failed"
    first, second = (_report(tmp_path, name) for name in (
        "01-greets-and-answers", "02-goes-on-after-a-lost-connection"
    ))  # fmt: skip
    assert [line["text"] for line in first["transcript"]] == [
        "Hello, I am listening.", "[question.wav]", "It is a quarter past three.",
    ]  # fmt: skip
    assert first["bot"]["code"] == 0
    assert len(first["latency"]["turns_ms"]) == 1
    assert second["sessions"][0]["close_code"] == 1006
    heard, rate = signals.read_wav(tmp_path / "01-greets-and-answers" / "0-anna.wav")
    assert (heard.shape[1], rate) == (2, 48000)
    assert all(signals.rms_dbfs(np.ascontiguousarray(side)) > -60 for side in heard.T)


def _report(out: Path, name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / name / "report.json").read_text(encoding="utf-8"))
    return report


@needs_calls
def test_steps_that_do_not_go_as_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(
        tmp_path,
        """
        [defaults]
        bot = "bot.py"

        [[scenario]]
        name = "all well"
        steps = [
          { hear_within_s = 20, person = "ben" },
          { say = "hello.wav" },
          { hear_within_s = 5, at_least_ms = 400 },
          { silent_for_ms = 500 },
          { latency_below_ms = 3000 },
          { end_within_s = 20 },
        ]

        [[scenario]]
        name = "too short"
        steps = [{ hear_within_s = 20, at_least_ms = 5000 }, { pause_ms = 1 }]

        [[scenario]]
        name = "not silent"
        steps = [{ silent_for_ms = 4000 }]

        [[scenario]]
        name = "no tool"
        steps = [{ expect_tool = "get_time", within_s = 0.1 }]

        [[scenario]]
        name = "nothing to drop"
        steps = [{ drop = 1006 }]

        [[scenario]]
        name = "too long"
        limit_s = 1.5
        steps = [{ pause_ms = 60000 }]
        """,
    )
    out = tmp_path / "out"
    (out / "02-too-short").mkdir(parents=True)
    (out / "02-too-short" / "3-stale.wav").touch()
    assert cli.main(["test", str(path), "--out", str(out)]) == 1
    printed = capsys.readouterr().out
    errors = {path.parent.name: _report(out, path.parent.name) for path in out.rglob("*.json")}
    print(printed)
    found = {name: report["error"] for name, report in errors.items()}
    assert found.pop("01-all-well") == ""
    for name, words in (
        ("02-too-short", "step 1 (hear_within_s = 20, at_least_ms = 5000): the turn lasted "),
        ("03-not-silent", "step 1 (silent_for_ms = 4000): somebody spoke"),
        ("04-no-tool", "get_time() was not called and answered. Calls: none"),
        ("05-nothing-to-drop", "step 1 (drop = 1006): there is no open connection"),
        ("06-too-long", "step 1 (pause_ms = 60000): the scenario lasts longer than 1.5 s"),
    ):
        assert words in found.pop(name)
    assert not found
    assert printed.splitlines()[-1] == "scenarios: 1 passed, 5 failed"
    assert [line[:4] for line in printed.splitlines() if line[:1] != " "][:-1] == (
        ["ok  ", *5 * ["FAIL"]]
    )  # fmt: skip
    well = errors["01-all-well"]
    assert [step["outcome"] for step in well["steps"]] == 6 * ["ok"]
    assert [person["user_id"] for person in well["people"]] == ["ben", "anna"]
    assert [step["outcome"][:5] for step in errors["02-too-short"]["steps"]] == ["the t"]
    assert sorted(path.name for path in (out / "02-too-short").iterdir()) == [
        "0-anna.wav", "report.json",
    ]  # fmt: skip


@needs_calls
def test_a_bot_that_fails(tmp_path: Path) -> None:
    path = written(tmp_path, one("[{ hear_within_s = 60 }]"))
    (tmp_path / "bot.py").write_text("raise SystemExit('no such voice')")
    (outcome,) = run_scenarios(path, tmp_path / "out", only="a")
    assert not outcome.passed
    assert "bot.py ended with exit code 1" in outcome.error
    assert "no such voice" in outcome.error
    assert _report(tmp_path / "out", "01-a")["bot"] == {"code": 1, "stderr": ["no such voice"]}
