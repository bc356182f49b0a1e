"""`LocalCall`: a bot and people in a call on this machine, and every way out of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.errors import AudioError, ConfigError
from getstream.plugins.gemini.testing import (
    BotExitedError,
    FunctionCall,
    Latency,
    LocalCall,
    LocalGemini,
    Parrot,
    Person,
    Script,
    Turn,
    TurnTimeoutError,
    signals,
)
from getstream.video import rtc
from google import genai

pytestmark = pytest.mark.skipif(
    not hasattr(rtc, "RemoteTrack"),
    reason="getstream 6 blocks the event loop when it leaves, and the people are in this one",
)

RATE = 48_000
BOT = Path(__file__).parents[2] / "examples" / "test_your_bot" / "bot.py"
QUESTION = Path(str(files("getstream.plugins.gemini") / "data" / "question.wav"))
FOR_EVER = "import time\nprint('up', flush=True)\nwhile True: time.sleep(1)\n"


async def idle(call_id: str) -> None:
    await asyncio.Event().wait()


def program(folder: Path, source: str) -> Path:
    path = folder / "bot.py"
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return path


async def gone(pid: int) -> None:
    """Wait until a process is gone, or a zombie that nobody has reaped; for at most ten seconds."""
    async with asyncio.timeout(10) if sys.version_info >= (3, 11) else contextlib.nullcontext():
        while _runs(pid):
            await asyncio.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    with contextlib.suppress(OSError):
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    return True


async def until_written(path: Path) -> str:
    """Wait until a program has written a file; for at most twenty seconds."""
    for _ in range(1000):
        if path.exists() and path.read_text().endswith("\n"):
            return path.read_text()
        await asyncio.sleep(0.02)
    raise AssertionError(f"{path} was not written")


# -- a bot, unchanged ----------------------------------------------------------------------------


@pytest.mark.acceptance
async def test_a_program_is_tested_as_it_is() -> None:
    async with LocalCall(BOT) as call:
        anna = await call.person("anna")
        greeting = await anna.hear_turn()
        await anna.say(QUESTION)
        answer = await anna.hear_turn(timeout=10)
        assert await call.end() == 0
    assert greeting.duration == pytest.approx(2.4, abs=0.2)  # eight words of 300 ms
    # The local model repeats the question, whose words take 2.7 s with the pauses between them.
    assert answer.duration == pytest.approx(2.7, abs=0.2)
    assert answer.pcm.dtype == np.int16
    assert len(answer.pcm) == pytest.approx(answer.duration * RATE, abs=1)
    assert greeting.ended_at < answer.started_at
    (delay,) = call.latency.turns_ms
    assert delay > 0
    assert [(line.who, line.text, line.outcome) for line in call.transcript] == [
        ("bot", "Hello, it is good to hear from you.", "complete"),
        ("anna", "[question.wav]", "said"),
        ("bot", "[question.wav]", "complete"),  # the transcript that the model was given
    ]
    assert call.refused_hosts == {}
    assert os.environ.get("STREAM_API_KEY") != call.stream.api_key


@pytest.mark.acceptance
async def test_a_function_is_tested_in_this_process() -> None:
    async def bot(call_id: str) -> None:
        from getstream import Stream
        from getstream.plugins.gemini.live import GeminiLive

        with pytest.warns(DeprecationWarning, match="from_env"):
            client = Stream.from_env()
        the_call = client.as_async().video.call("default", call_id)
        async with GeminiLive() as gemini:
            connection = await rtc.join(the_call, user_id="my-bot")
            async with connection:
                await gemini.attach(connection)
                await gemini.send_text("Greet the participants.")
                await connection.wait()

    replies = Script([Turn(text="Good morning."), Turn(text="Now I answer you.")])
    async with LocalCall(bot, reply=replies) as call:
        anna = await call.person("anna")
        await anna.hear_turn()
        assert call.gemini.drop(1006) == 1
        await call.gemini.wait_session(1)
        await anna.say(QUESTION)
        await anna.hear_turn(timeout=15)
        assert await call.end() == 0
    texts = [line.text for line in call.transcript]
    assert texts == ["Good morning.", "[question.wav]", "Now I answer you."]
    assert call.gemini.sessions[0].close_code == 1006
    assert call.gemini.sessions[1].resumed_from is not None


# -- whole turns ----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def talking_to(*turns: Any, pause_s: float = 1.0) -> AsyncIterator[tuple[LocalCall, Any]]:
    """A call with a bot that says sounds in a row once it is told to."""
    go = asyncio.Event()

    async def bot(call_id: str) -> None:
        async with Person(call_id, "bot") as me:
            await go.wait()
            for number, sound in enumerate(turns):
                if number:
                    await me.hear_silence(pause_s * 1000)
                await me.say(sound, RATE)
            await asyncio.Event().wait()

    async with LocalCall(bot) as call:
        anna = await call.person("anna")
        go.set()
        yield call, anna


def sounds(*lengths_ms: float) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Speech and silence in turn, of these lengths."""
    parts = [
        signals.silence(ms, RATE) if index % 2 else signals.speech_like(ms, RATE, seed=index)
        for index, ms in enumerate(lengths_ms)
    ]
    return np.concatenate(parts)


async def test_a_turn_is_the_whole_utterance() -> None:
    """Pauses between words do not end it, and the silence after it is not part of it."""
    first, second = sounds(500, 450, 400), sounds(700)
    async with talking_to(first, second, pause_s=1.2) as (_, anna):
        one, two = await anna.hear_turn(), await anna.hear_turn()
    assert one.duration == pytest.approx(1.35, abs=0.1)
    assert two.duration == pytest.approx(0.7, abs=0.1)
    for heard, said in ((one, first), (two, second)):
        assert signals.align(said, np.pad(heard.pcm, RATE), RATE).correlation > 0.8
    assert two.started_at - one.ended_at > 1


async def test_turns_that_nobody_waited_for_are_kept() -> None:
    async with talking_to(sounds(400), sounds(600), pause_s=1.0) as (_, anna):
        await anna.hear_for(500)  # both have begun
        one, two = await anna.hear_turn(), await anna.hear_turn()
    assert one.duration == pytest.approx(0.4, abs=0.1)
    assert two.duration == pytest.approx(0.6, abs=0.1)


async def test_turns_from_before_the_person_spoke_are_past() -> None:
    async with talking_to(sounds(400), sounds(700), pause_s=2.0) as (_, anna):
        await anna.hear_speech()
        await anna.hear_silence(400)
        await anna.say(sounds(200), RATE)
        turn = await anna.hear_turn()
    assert turn.duration == pytest.approx(0.7, abs=0.1)


async def test_the_silence_that_ends_a_turn_can_be_chosen() -> None:
    async with talking_to(sounds(400, 500, 400)) as (_, anna):
        with pytest.raises(ConfigError, match="300 or more"):
            await anna.hear_turn(silence_ms=200)
        one = await anna.hear_turn(silence_ms=400)
        two = await anna.hear_turn(silence_ms=400)
    assert one.duration == pytest.approx(0.4, abs=0.1)
    assert two.duration == pytest.approx(0.4, abs=0.1)


async def test_a_turn_that_does_not_end_is_refused() -> None:
    async with talking_to(sounds(4000)) as (_, anna):
        with pytest.raises(TurnTimeoutError, match="lasts longer than 1 s"):
            await anna.hear_turn(longest_s=1)


async def test_other_people_are_no_bot() -> None:
    async with LocalCall(idle) as call:
        anna, ben = await call.person("anna"), await call.person("ben")
        waiting = asyncio.create_task(anna.hear_turn(timeout=2))
        await ben.say(sounds(500), RATE)
        await anna.hear_silence(300)
        assert anna.speakers == ("ben",)
        with pytest.raises(TurnTimeoutError, match="the bot has joined no call"):
            await waiting


async def test_a_bot_in_another_call_is_named() -> None:
    async def bot(call_id: str) -> None:
        async with Person("another-call", "bot"):
            await asyncio.Event().wait()

    async with LocalCall(bot) as call:
        anna = await call.person("anna")
        await call.stream.wait_participant("bot")
        with pytest.raises(TurnTimeoutError) as vain:
            await anna.hear_turn(timeout=0.5)
    message = str(vain.value)
    assert "anna waited 0.5 s for a turn of the bot in vain" in message
    assert "bot is in call default:another-call" in message
    assert "call_id='another-call'" in message
    assert isinstance(vain.value, TimeoutError)


async def test_latency_is_from_the_end_of_speech_to_the_first_sound() -> None:
    async def bot(call_id: str) -> None:
        async with Person(call_id, "bot") as me:
            for _ in range(2):
                await me.hear_speech()
                await me.hear_silence(500)
                await me.say(sounds(400), RATE)
            await asyncio.Event().wait()

    async with LocalCall(bot) as call:
        anna = await call.person("anna")
        await call.stream.wait_track("bot", "audio")
        for _ in range(2):
            await anna.say(sounds(600), RATE)
            await anna.hear_turn()
    assert len(call.latency.turns_ms) == 2
    # The bot waits for half a second of silence, and its microphone takes up to 20 ms.
    assert all(ms > 480 for ms in call.latency.turns_ms)


def test_percentiles_of_latency() -> None:
    latency = Latency.of([(float(n), n + n / 100) for n in range(1, 21)])
    assert latency.p50_ms == pytest.approx(100)
    assert latency.p95_ms == pytest.approx(190)
    with pytest.raises(LookupError, match="no utterance has been answered"):
        _ = Latency(()).p50_ms


SPEAKS = """
    import sys
    from getstream.plugins.gemini.testing import signals

    path = sys.argv[sys.argv.index("-w") + 1]
    signals.write_wav(path, signals.speech_like(100 * len(sys.stdin.read()), 22050), 22050)
"""


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a script")
async def test_a_text_is_spoken_and_is_the_transcript(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for espeak-ng; `test_kit_synthesis.py` has the real one, where it is installed."""
    script = tmp_path / "espeak-ng"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {program(tmp_path, SPEAKS)} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    async with LocalCall(BOT, reply=Script(["Good morning.", "Noon."])) as call:
        anna = await call.person("anna")
        await anna.hear_turn()
        said = await anna.say("What time is it?")
        await anna.hear_turn(timeout=15)
        (session,) = call.gemini.sessions
        assert "What time is it?" in session.context  # what the model was given
    assert said.end - said.start == pytest.approx(1.6, abs=0.05)
    texts = [(line.who, line.text) for line in call.transcript]
    assert texts == [("bot", "Good morning."), ("anna", "What time is it?"), ("bot", "Noon.")]


# -- tools ----------------------------------------------------------------------------------------


async def with_a_tool(call_id: str, *, answers: bool = True) -> None:
    """A bot on the Gemini SDK alone, which has the time."""
    client = genai.Client()
    time = genai.types.FunctionDeclaration(name="get_time", behavior="BLOCKING")
    config = {"response_modalities": ["AUDIO"], "tools": [{"function_declarations": [time]}]}
    async with client.aio.live.connect(model="gemini-3.8-live", config=config) as session:
        await session.send_realtime_input(text="What time is it?")
        async for message in session.receive():
            if message.tool_call and answers:
                (asked,) = message.tool_call.function_calls
                await session.send_tool_response(
                    function_responses=genai.types.FunctionResponse(
                        id=asked.id, name=asked.name, response={"time": "12:00"}
                    )
                )
        await asyncio.Event().wait()


def asking_for_the_time() -> Script:
    ask = Turn(function_calls=(FunctionCall("get_time", {"zone": "UTC", "precise": True}),))
    return Script([ask, Turn(text="It is noon.")])


async def test_tools_that_were_called() -> None:
    async with LocalCall(with_a_tool, reply=asking_for_the_time()) as call:
        with pytest.raises(AssertionError, match="Calls: none"):
            call.tools.assert_called("get_time")
        await call.start_bot()
        answered = await call.tools.wait_called("get_time", zone="UTC")
        assert answered.response == {"time": "12:00"}
        assert answered.args == {"zone": "UTC", "precise": True}
        await (await call.gemini.wait_session()).wait_turns(2)
    assert call.tools.assert_called("get_time") == answered
    assert call.tools.assert_called("get_time", zone="UTC", precise=True) == answered
    assert [response["name"] for response in call.tools.responses] == ["get_time"]
    call.tools.assert_not_called("get_date")
    for name, args in (("get_date", {}), ("get_time", {"zone": "CET"}), ("get_time", {"x": 1})):
        with pytest.raises(AssertionError) as missing:
            call.tools.assert_called(name, **args)
        assert "get_time(zone='UTC', precise=True) -> {'time': '12:00'}" in str(missing.value)
    with pytest.raises(AssertionError, match="get_time was called"):
        call.tools.assert_not_called("get_time")


async def test_a_tool_without_an_answer_was_not_called() -> None:
    bot = partial(with_a_tool, answers=False)
    async with LocalCall(bot, reply=asking_for_the_time()) as call:
        await call.start_bot()
        await (await call.gemini.wait_session()).wait_turns(1)
        with pytest.raises(AssertionError, match=r"within 0\.2 s: .*not answered"):
            await call.tools.wait_called("get_time", 0.2)
        with pytest.raises(AssertionError, match="not answered"):
            call.tools.assert_called("get_time")


# -- a bot that fails -----------------------------------------------------------------------------


async def test_a_program_that_dies_at_once_is_reported_with_its_stderr(tmp_path: Path) -> None:
    dies = program(tmp_path, "import sys\nsys.exit('no such voice: Korr')")
    async with LocalCall(dies) as call:
        anna = await call.person("anna")
        with pytest.raises(BotExitedError) as exited:
            await anna.hear_turn(timeout=60)
    assert "bot.py ended with exit code 1 while anna waited for a turn" in str(exited.value)
    assert "no such voice: Korr" in str(exited.value)
    assert exited.value.code == 1
    assert exited.value.stderr == "no such voice: Korr"
    assert call.bot_code == 1


@pytest.mark.parametrize("wait", ["hear_speech", "hear_turn"])
async def test_every_wait_ends_when_the_bot_has_failed(tmp_path: Path, wait: str) -> None:
    dies = program(tmp_path, "raise RuntimeError('out of luck')")
    async with LocalCall(dies) as call:
        anna = await call.person("anna")
        with pytest.raises(BotExitedError, match="out of luck"):
            await getattr(anna, wait)(60)


async def test_a_failure_that_nobody_waited_for_is_an_error_at_the_end(tmp_path: Path) -> None:
    dies = program(tmp_path, "raise RuntimeError('out of luck')")

    async def hold(error: Exception | None) -> None:
        async with LocalCall(dies) as call:
            await call.start_bot()
            while call.bot_code is None:
                await asyncio.sleep(0.02)
            if error is not None:
                raise error

    with pytest.raises(BotExitedError, match=r"nobody waited for it(.|\n)*out of luck"):
        await hold(None)
    with pytest.raises(KeyError):  # an error of the block itself is the one that is raised
        await hold(KeyError("mine"))


async def test_a_program_that_ends_well_before_it_speaks(tmp_path: Path) -> None:
    async with LocalCall(program(tmp_path, "print('done')")) as call:
        anna = await call.person("anna")
        with pytest.raises(BotExitedError, match="exit code 0 while anna waited"):
            await anna.hear_turn(timeout=60)
        await anna.hear_silence(300)  # which needs no bot


async def test_a_function_that_raises_is_the_cause() -> None:
    async def bot(call_id: str) -> None:
        raise ValueError(f"no call {call_id}")

    async with LocalCall(bot) as call:
        anna = await call.person("anna")
        with pytest.raises(BotExitedError, match="raised ValueError: no call local-call") as exited:
            await anna.hear_turn(timeout=60)
    assert isinstance(exited.value.__cause__, ValueError)
    assert "ValueError: no call local-call" in call.bot_stderr


@pytest.mark.parametrize(("argument", "code"), [(None, 0), (3, 3), ("a text", 1)])
async def test_a_function_that_exits_does_not_end_the_tests(argument: Any, code: int) -> None:
    async def bot(call_id: str) -> None:
        sys.exit(argument)

    async with LocalCall(bot) as call:
        await call.start_bot()
        assert await call.end() == code


async def test_a_bot_that_does_not_end_with_the_call_is_named() -> None:
    async with LocalCall(idle) as call:
        await call.person()
        with pytest.raises(TimeoutError, match=r"the bot still runs after 0\.2 s"):
            await call.end(0.2)


# -- the end of the bot ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["end", "exception", "cancelled", "timeout"])
async def test_a_program_ends_on_every_way_out(tmp_path: Path, way: str) -> None:
    pids: list[int] = []
    marker = tmp_path / "pid"
    source = f"""
        import os, pathlib
        pathlib.Path({str(marker)!r}).write_text(f"{{os.getpid()}}\\n")
    """
    bot = program(tmp_path, textwrap.dedent(source) + FOR_EVER)

    async def hold() -> None:
        async with LocalCall(bot) as call:
            await call.start_bot()
            pids.append(int(await until_written(marker)))
            assert _runs(pids[0])
            if way == "exception":
                raise KeyError("mine")
            if way != "end":
                await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    if way == "timeout":
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(task, 3)
    else:
        await until_written(marker)
        if way == "cancelled":
            task.cancel()
        await asyncio.wait([task])
        if way == "exception":
            assert isinstance(task.exception(), KeyError)
        else:
            assert task.cancelled() is (way == "cancelled")
    assert not _runs(int(marker.read_text()))
    async with LocalCall(idle):  # and the next call can be held
        pass


@pytest.mark.skipif(os.name != "posix", reason="process groups")
async def test_a_program_that_ignores_it_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from getstream.plugins.gemini.testing._kit import bots

    monkeypatch.setattr(bots, "_INTERRUPT_S", 0.5)
    marker = tmp_path / "pids"
    source = f"""
        import os, pathlib, signal, subprocess, sys, time
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        pathlib.Path({str(marker)!r}).write_text(f"{{os.getpid()}} {{child.pid}}\\n")
        time.sleep(1000)
    """
    async with LocalCall(program(tmp_path, source)) as call:
        await call.start_bot()
        pids = [int(pid) for pid in (await until_written(marker)).split()]
    assert call.bot_code == -signal.SIGKILL
    for pid in pids:
        await gone(pid)


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda each: each.name)
async def test_a_program_ends_with_the_process_that_tests_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    marker = tmp_path / "pid"
    bot = program(
        tmp_path,
        f"import os, pathlib\npathlib.Path({str(marker)!r}).write_text(f'{{os.getpid()}}\\n')\n"
        + FOR_EVER,
    )
    tester = tmp_path / "tester.py"
    tester.write_text(
        textwrap.dedent(f"""
            import asyncio
            from getstream.plugins.gemini.testing import LocalCall
            async def main():
                async with LocalCall({str(bot)!r}) as call:
                    await call.start_bot()
                    await asyncio.Event().wait()
            asyncio.run(main())
        """)
    )
    process = subprocess.Popen(
        [sys.executable, str(tester)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        pid = int(await until_written(marker))
        assert _runs(pid)
        process.send_signal(number)
        await asyncio.to_thread(process.wait, 30)
    finally:
        process.kill()
        process.wait()
    await gone(pid)


async def test_a_function_that_goes_on_in_spite_of_its_cancellation_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from getstream.plugins.gemini.testing._kit import bots

    monkeypatch.setattr(bots, "_INTERRUPT_S", 0.1)
    release = asyncio.Event()

    async def stubborn(call_id: str) -> None:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    async def hold() -> None:
        async with LocalCall(stubborn) as call:
            await call.start_bot()
            await asyncio.sleep(0)  # it has begun

    try:
        with pytest.raises(BotExitedError, match=r"still runs after 0\.1 s in .*test_local_call"):
            await hold()
    finally:
        release.set()


async def test_one_call_at_a_time() -> None:
    async with LocalCall(idle):
        with pytest.raises(ConfigError, match="another LocalCall is open"):
            async with LocalCall(idle):
                pass
    call = LocalCall(idle)
    async with call:
        pass
    with pytest.raises(ConfigError, match="entered before"):
        async with call:
            pass


async def test_the_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "theirs")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    before = dict(os.environ)
    async with LocalCall(idle, env={"MY_OPTION": "1"}) as call:
        assert os.environ["MY_OPTION"] == "1"
        assert os.environ["GOOGLE_API_KEY"] == call.gemini.api_key
        assert "GEMINI_API_KEY" not in os.environ
        assert os.environ["HTTPS_PROXY"].startswith("http://127.0.0.1:")
    assert dict(os.environ) == before


# -- wrong arguments ------------------------------------------------------------------------------


def blocking(call_id: str) -> None: ...


@pytest.mark.parametrize(
    ("bot", "options", "words"),
    [
        ("no_such_bot.py", {}, ["there is no file no_such_bot.py"]),
        (Script([]), {}, ["Script decides what the model says", "reply=Script(...)"]),
        (Parrot, {}, ["reply=Parrot(...)"]),
        (blocking, {}, ["blocking", "async def bot(call_id)"]),
        (5, {}, ["the bot is a int", "path of a program"]),
        (idle, {"reply": "Hello."}, ["LocalCall(reply=)", "Script(['Hello.'])"]),
        (idle, {"reply": Parrot}, ["the class Parrot"]),
        (idle, {"reply": [Turn()]}, ["Script([...])"]),
        (idle, {"reply": LocalGemini()}, ["gemini=..."]),
        (idle, {"gemini": Parrot()}, ["gemini is a Parrot", "reply=..."]),
        (idle, {"gemini": LocalGemini(), "reply": Parrot()}, ["gemini=LocalGemini(reply)"]),
        (idle, {"arguments": ["x"]}, ["arguments are for a program"]),
        (BOT, {"arguments": "x"}, ["arguments is a str", "['x']"]),
        (idle, {"allow_hosts": "example.com"}, ["allow_hosts is a str", "['example.com']"]),
        (idle, {"allow_hosts": ["https://example.com"]}, ["without scheme"]),
    ],
)
def test_what_is_in_the_wrong_place_is_refused(
    bot: Any, options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as refusal:
        LocalCall(bot, **options)
    assert [word for word in words if word not in str(refusal.value)] == []


def test_a_coroutine_is_refused_and_closed() -> None:
    with pytest.raises(ConfigError, match="pass the function, idle"):
        LocalCall(idle("x"))  # type: ignore[arg-type]


async def test_calls_of_methods_at_the_wrong_time_are_refused() -> None:
    call = LocalCall(idle)
    for method in (call.person, call.start_bot, call.end):
        with pytest.raises(ConfigError, match="async with LocalCall"):
            await method()
    async with call:
        with pytest.raises(ConfigError, match="was not started"):
            await call.end()
        with pytest.raises(ConfigError, match="no open connection"):
            call.gemini.drop()
        anna = await call.person("anna")
        with pytest.raises(ConfigError, match="there is a person 'anna'"):
            await call.person("anna")
        with pytest.raises(OSError, match="no_such"):
            await anna.say("no_such.wav")
        with pytest.raises((AudioError, ValueError), match="int16"):
            await anna.say(np.zeros(100, np.float32))
        assert call.transcript == []
