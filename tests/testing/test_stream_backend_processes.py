"""Programs of their own against the local Stream backend: the redirect, and getstream 6.1."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from getstream.plugins.gemini.testing import signals
from getstream.plugins.gemini.testing._redirect import getstream_local_redirect
from getstream.plugins.gemini.testing._stream import LocalStream
from getstream.video import rtc

RATE = 48_000
PERSON = "getstream.plugins.gemini.testing.person"
GETSTREAM6 = os.environ.get("GETSTREAM6_PYTHON", "")
"""A Python with getstream 6.1 in which this package is installed too."""

needs_getstream6 = pytest.mark.skipif(
    not GETSTREAM6, reason="GETSTREAM6_PYTHON does not name a Python with getstream 6.1"
)


async def run(
    *command: str, env: dict[str, str], python: str = sys.executable
) -> tuple[int, str, str]:
    """Run a program; returns exit status, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        python, *command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    except BaseException:
        process.kill()
        await process.communicate()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


# -- the redirect -------------------------------------------------------------

WHERE = """
import getstream_rtc, sys
print(getattr(getstream_rtc.Client, "keywords", {}).get("ws_url"))
print(sys.modules["sitecustomize"].__file__)
"""


@pytest.mark.skipif(not hasattr(rtc, "RemoteTrack"), reason="it looks at getstream 7")
async def test_the_redirect_runs_the_sitecustomize_that_it_hides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "sitecustomize.py"
    theirs.write_text("import os; os.environ['THEIRS'] = 'ran'; print('theirs ran')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with LocalStream() as stream:
        assert stream.env["PYTHONPATH"].split(os.pathsep)[1:] == [str(tmp_path)]
        status, out, err = await run("-c", WHERE, env={**os.environ, **stream.env})
        assert (status, err) == (0, "")
        assert out.splitlines() == ["theirs ran", stream.ws_url, str(theirs)]
        # Without the variable nothing is redirected, and theirs runs all the same.
        env = {**os.environ, **stream.env}
        del env["GETSTREAM_LOCAL_COORDINATOR"]
        _, out, _ = await run("-c", WHERE, env=env)
        assert out.splitlines() == ["theirs ran", "None", str(theirs)]


@pytest.mark.parametrize(
    "url",
    ["ws://evil.example/api", "wss://127.0.0.1.evil.example", "ws://10.0.0.1:80", "ws:///x", "x"],
)
async def test_the_redirect_leads_to_this_machine_only(url: str) -> None:
    """The SDK sends its token wherever it is led to."""
    folder = Path(getstream_local_redirect.__file__).parent
    env = {**os.environ, "PYTHONPATH": str(folder), getstream_local_redirect.VARIABLE: url}
    script = "import sys; print([type(each).__module__ for each in sys.meta_path])"
    _, out, err = await run("-c", script, env=env)
    assert "getstream_local_redirect" not in out
    assert "leads to this machine only" in err
    with pytest.raises(ValueError, match="this machine only"):
        getstream_local_redirect.redirect_now(url)


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/x", "ws://localhost:1/x", "ws://[::1]:1/x"])
def test_addresses_of_this_machine_are_taken(url: str) -> None:
    getstream_local_redirect.require_loopback(url)


async def test_a_program_that_never_imports_the_sdk_is_not_slowed_down() -> None:
    async with LocalStream() as stream:
        script = "import sys; print(any(m.startswith('getstream.') for m in sys.modules))"
        _, out, err = await run("-c", script, env={**os.environ, **stream.env})
        assert (out.strip(), err) == ("False", "")


async def test_the_redirect_of_this_process_ends_with_its_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STREAM_API_KEY", "mine")
    monkeypatch.delenv("STREAM_BASE_URL", raising=False)
    before = dict(os.environ)
    async with LocalStream() as outer, LocalStream() as inner:
        with outer.redirected():
            assert os.environ["STREAM_BASE_URL"] == outer.url
            with inner.redirected():
                assert os.environ["STREAM_API_KEY"] == inner.api_key
            assert os.environ["STREAM_API_KEY"] == outer.api_key
    assert dict(os.environ) == before


# -- a clean end --------------------------------------------------------------

CLEAN = """
import asyncio, logging
from getstream.plugins.gemini.testing._person import Person
from getstream.plugins.gemini.testing._stream import LocalStream

logging.getLogger("getstream").setLevel(logging.ERROR)  # webrtc-rs comments on every close
logging.getLogger("asyncio").setLevel(logging.ERROR)    # debug mode reports the SDK's slow imports

async def main():
    async with LocalStream() as stream:
        with stream.redirected():
            async with Person("call", "alice") as alice, Person("call", "bob") as bob:
                await stream.wait_track("alice", "audio")
                await alice.publish_video()
                await stream.wait_track("alice", "video")
    assert asyncio.all_tasks() == {asyncio.current_task()}, asyncio.all_tasks()

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(rtc, "RemoteTrack"), reason="getstream 6 leaves tasks behind")
async def test_nothing_is_left_behind_in_development_mode() -> None:
    """Development mode warns of unclosed sockets, and of tasks and errors that nobody awaits."""
    status, out, err = await run("-X", "dev", "-W", "error", "-c", CLEAN, env=dict(os.environ))
    assert (status, out, err) == (0, "", "")


# -- getstream 6.1 ------------------------------------------------------------


@needs_getstream6
async def test_getstream_6_with_itself_and_with_7(tmp_path: Path) -> None:
    """Six speaks and shows; another six and a seven hear, and the seven answers."""
    speech = signals.speech_like(1000, RATE, seed=9)
    answer = signals.speech_like(1000, RATE, seed=10)
    signals.write_wav(tmp_path / "speech.wav", speech, RATE)
    signals.write_wav(tmp_path / "answer.wav", answer, RATE)

    async with LocalStream() as stream:
        env = {**os.environ, **stream.env}

        def person(name: str, python: str, *arguments: str) -> asyncio.Task[tuple[int, str, str]]:
            folder = str(tmp_path / name)
            common = ("-m", PERSON, "--call", "call", "--user", name, "--out", folder)
            return asyncio.create_task(run(*common, *arguments, env=env, python=python))

        def heard(name: str, reference: Any) -> signals.Alignment:
            return signals.align(
                reference, signals.read_wav(tmp_path / name / "heard.wav")[0], RATE
            )

        seven = person(
            *("seven", sys.executable, "--speech", str(tmp_path / "answer.wav")),
            *("--script", "hear;silence:500;say:0;pause:200;leave"),
        )
        six = person(
            *("six", GETSTREAM6, "--receive-video", "--script", "hear;silence:400;hear;leave")
        )
        await stream.wait_track("six", "audio", timeout=30)
        await stream.wait_track("seven", "audio", timeout=30)
        talker = person(
            *("talker", GETSTREAM6, "--speech", str(tmp_path / "speech.wav"), "--video", "15"),
            *("--script", "pause:400;say:0;hear;silence:500"),
        )
        results = await asyncio.gather(seven, six, talker)
        assert [status for status, _, _ in results] == [0, 0, 0], results
        # It sends no leave request; that its media connections are closed is enough.
        await stream.wait_left("talker", timeout=3)

    assert '"event": "video_seen", "user_id": "talker", "width": 320' in results[1][1]
    for name in ("six", "seven"):
        assert heard(name, speech).correlation > 0.95
        # getstream 6 sends mono at half its power.
        assert heard(name, speech).gain_db == pytest.approx(-3, abs=0.5)
    assert heard("talker", answer).correlation > 0.95
    assert heard("talker", answer).gain_db == pytest.approx(0, abs=1)


@needs_getstream6
async def test_a_browser_beside_getstream_6(tmp_path: Path) -> None:
    """Check packets of a browser, which depend on no SDK: stops, returns, two tracks."""
    speech = signals.speech_like(1000, RATE, seed=11)
    signals.write_wav(tmp_path / "speech.wav", speech, RATE)
    async with LocalStream() as stream:
        env = {**os.environ, **stream.env}
        common = ("-m", PERSON, "--call", "call", "--out", str(tmp_path / "ear"))
        ear = asyncio.create_task(
            run(*common, "--user", "ear", "--script", "hear;silence:2000", env=env)
        )
        await stream.wait_track("ear", "audio", timeout=30)
        script = "say:0;mute;pause:600;unmute;share:0;stop_sharing;pause:100;leave"
        status, out, err = await run(
            *("-m", PERSON, "--call", "call", "--user", "six", "--sends", "as_browser"),
            *("--speech", str(tmp_path / "speech.wav"), "--script", script),
            env=env,
            python=GETSTREAM6,
        )
        assert status == 0, err
        names = [json.loads(line)["event"] for line in out.splitlines()]
        assert [name for name in names if name != "step"] == [
            *("joined", "ready", "say_started", "say_stopped", "muted", "unmuted"),
            *("share_started", "share_stopped", "left"),
        ]
        status, out, err = await ear
        assert status == 0, err
    heard = signals.read_wav(tmp_path / "ear" / "heard.wav")[0]
    tab = signals.align(speech, heard, RATE)  # without DTX: the better copy
    assert tab.correlation > 0.9
    voice = signals.align(speech, heard[: round(tab.offset_samples)], RATE)
    assert voice.correlation > 0.85
    assert tab.offset_samples - voice.offset_samples > 1.5 * RATE  # the speech and the mute
