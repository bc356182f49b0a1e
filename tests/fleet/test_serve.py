"""`serve` as a program: real SDKs and sockets, signed webhooks, people who talk, and bad ends."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.testing import LiveSession, LocalServers, Person, signals
from getstream.video import rtc
from pages import ROOT
from served_fleet import ServedFleet, ended, joined, serving

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        not hasattr(rtc, "RemoteTrack"),
        reason="getstream 6 blocks the event loop when it leaves, and the people are in this one",
    ),
]

QUESTION = ROOT / "python" / "getstream" / "plugins" / "gemini" / "data" / "question.wav"
CALL = "a-call"
CID = f"default:{CALL}"
APP = "fleet_program:assistant"


async def ask(person: Person) -> None:
    """Have a person ask something, and hear the whole answer."""
    said, rate = signals.read_wav(QUESTION)
    await person.say(said[: round(1.6 * rate)], rate)
    await person.hear_speech(timeout=20)
    await person.hear_silence(800, timeout=20)


async def closed_at(session: LiveSession, person: Person) -> float:
    """Return when a session was closed, on the clock of a person."""
    await session.wait_closed(timeout=30)
    return person.now


def last_heard(person: Person) -> float:
    """Return when a person has heard something last, on that person's clock."""
    loud = np.flatnonzero(np.abs(person.heard) > 500)
    return float(loud[-1]) / 48000


def assistants(servers: LocalServers) -> int:
    """Return how many assistants are in the call."""
    return sum(each.user_id == "assistant" for each in servers.stream.state().participants)


def is_empty(status: dict[str, Any]) -> bool:
    """Tell whether no call is held or waits."""
    return not status["calls"] and not status["unplaced"]


# -- good ends -----------------------------------------------------------------------------------


async def test_a_webhook_brings_one_assistant_which_answers_until_the_call_ends(
    tmp_path: Path,
) -> None:
    async with LocalServers() as servers, serving(servers, APP, cwd=tmp_path) as fleet:
        with servers.stream.redirected():
            async with Person(CALL, "anna") as anna:
                answers = await asyncio.gather(*(fleet.webhook(joined(CALL)) for _ in range(50)))
                assert {status for status, _ in answers} <= {200, 201}
                states = sorted(answer["state"] for _, answer in answers)
                assert states == ["running"] * 49 + ["started"]
                await anna.hear_speech(timeout=20)
                await anna.hear_silence(800, timeout=20)
                await ask(anna)
                assert assistants(servers) == 1
                assert len(servers.gemini.sessions) == 1
                _, status = await fleet.get("/calls")
                report = status["workers"]["local-1"]["report"]
                assert list(report["calls"]) == [CID]
                assert report["pid"] == fleet.process.pid
                code, answer = await fleet.webhook(ended(CALL))
                assert (code, answer) == (200, {"ended": True})
                await servers.stream.wait_left("assistant")
                await fleet.until_status(is_empty, "the end")
                late = await fleet.webhook(joined(CALL))
                assert late[1]["state"] == "over"
        session = servers.gemini.sessions[0]
        assert (await session.wait_closed())[0] == 1000
        assert await fleet.stop() == 0
        assert len([line for line in fleet.out if line.startswith("Serving on")]) == 1
        assert fleet.starts == [{"cid": CID, "reason": "new"}]
        text = "\n".join([*fleet.out, *fleet.err])
        assert "Traceback" not in text
        for secret in (servers.stream.api_secret, servers.stream.api_key, servers.gemini.api_key):
            assert secret not in text


async def test_the_call_ends_without_a_webhook(tmp_path: Path) -> None:
    records = tmp_path / "records"
    async with (
        LocalServers() as servers,
        serving(servers, APP, "--records", str(records), cwd=tmp_path) as fleet,
    ):
        with servers.stream.redirected():
            async with Person(CALL, "anna") as anna:
                await fleet.webhook(joined(CALL))
                await anna.hear_speech(timeout=20)
                await servers.stream.end_call(CALL)
                status = await fleet.until_status(is_empty, "the end")
                assert status["counts"]["ended"] == 1
                assert status["counts"]["failed"] == 0
        assert await fleet.stop() == 0
        assert list(records.glob("*.record")) == []


# -- moves, and ends of the process --------------------------------------------------------------


async def test_a_drain_moves_the_call_at_rest(tmp_path: Path) -> None:
    async with LocalServers() as servers, serving(servers, APP, cwd=tmp_path) as fleet:
        with servers.stream.redirected():
            async with Person(CALL, "anna") as anna:
                await fleet.webhook(joined(CALL))
                await anna.hear_speech(timeout=20)
                await anna.hear_silence(800, timeout=20)
                (first,) = servers.gemini.sessions
                closed = asyncio.ensure_future(closed_at(first, anna))
                asking = asyncio.ensure_future(ask(anna))
                await first.wait_audio(300 + first.audio_ms)  # she speaks
                code, answer = await fleet.post("/drain")
                assert (code, answer) == (200, {"draining": ["local-1"]})
                await asking
                # Neither while she spoke, nor before the answer was heard to its end.
                assert [turn.outcome for turn in first.spoken] == ["complete", "complete"]
                assert await closed > last_heard(anna)
                second = await servers.gemini.wait_session(1, timeout=20)
                assert second.resumed_from is not None
                await ask(anna)
                status = await fleet.until_status(
                    lambda status: list(status["workers"]) == ["local-2"], "another worker"
                )
                assert status["counts"]["moved"] == 1
                assert status["counts"]["crashed"] == status["counts"]["failed"] == 0
                assert assistants(servers) == 1
        assert [each["reason"] for each in fleet.starts] == ["new", "moved"]
        assert len(second.spoken) == 1, "it does not greet again"
        assert await fleet.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_the_next_process_goes_on_with_the_session(
    tmp_path: Path, number: signal.Signals
) -> None:
    options = ("--records", str(tmp_path / "records"))
    async with LocalServers() as servers:
        with servers.stream.redirected():
            async with Person(CALL, "anna") as anna:
                async with serving(servers, APP, *options, cwd=tmp_path) as fleet:
                    await fleet.webhook(joined(CALL))
                    await anna.hear_speech(timeout=20)
                    await anna.hear_silence(800, timeout=20)
                    await ask(anna)
                    first = await servers.gemini.wait_session()
                    assert await fleet.stop(number) == (0 if number == signal.SIGTERM else -9)
                if number == signal.SIGTERM:
                    await servers.stream.wait_left("assistant", timeout=1)
                async with serving(servers, APP, *options, cwd=tmp_path) as fleet:
                    second = await servers.gemini.wait_session(1, timeout=20)
                    assert second.resumed_from is not None
                    assert second.context[: len(first.context)] == first.context
                    await servers.stream.wait_track("assistant", "audio", timeout=20)
                    await ask(anna)
                    assert fleet.starts == [{"cid": CID, "reason": "crashed"}]
                    assert await fleet.stop() == 0


async def test_it_ends_when_the_time_is_up_or_at_a_second_signal(tmp_path: Path) -> None:
    async def speak(person: Person) -> None:
        while True:
            await person.say(QUESTION)

    async with LocalServers() as servers:
        with servers.stream.redirected():
            async with Person(CALL, "anna") as anna:
                for options, signals_sent in (("--grace", "1"), 1), (("--grace", "600"), 2):
                    async with serving(servers, APP, *options, cwd=tmp_path) as fleet:
                        await fleet.webhook(joined(CALL))
                        await anna.hear_speech(timeout=20)
                        speaking = asyncio.ensure_future(speak(anna))
                        await asyncio.sleep(0.5)
                        fleet.process.terminate()
                        await fleet.until_line("are left when nobody speaks")
                        if signals_sent == 2:
                            assert (await fleet.get("/healthz"))[0] == 200
                            assert (await fleet.get("/readyz"))[0] == 503
                            code, _ = await fleet.webhook(joined("another-call"))
                            assert code == 503
                            fleet.process.terminate()
                        assert await asyncio.wait_for(fleet.process.wait(), 15) == 0
                        speaking.cancel()
                        await servers.stream.wait_left("assistant", timeout=1)
                        await asyncio.wait([speaking])


# -- bad assistants ------------------------------------------------------------------------------


async def test_an_assistant_that_raises_is_tried_again_and_told(tmp_path: Path) -> None:
    async with LocalServers() as servers:
        async with serving(servers, "fleet_program:raises", cwd=tmp_path) as fleet:
            await fleet.webhook(joined(CALL))
            await fleet.until_status(lambda status: status["counts"]["failed"] >= 2, "a failure")
            assert (await fleet.delete(f"/calls/{CID}"))[0] == 200
            await fleet.until_status(is_empty, "the end")
            assert await fleet.stop() == 0
        assert any("LookupError: there is no such restaurant" in line for line in fleet.err)
        assert any("in raises" in line for line in fleet.err), "and where"


async def test_an_assistant_that_never_returns_leaves_its_call(tmp_path: Path) -> None:
    async with LocalServers() as servers:
        async with serving(servers, "fleet_program:never_returns", cwd=tmp_path) as fleet:
            await fleet.webhook(joined(CALL))
            await servers.stream.wait_participant("assistant")
            assert (await fleet.delete(f"/calls/{CID}"))[0] == 200
            await servers.stream.wait_left("assistant", timeout=20)
            await fleet.until_line("does not give its call up: it is cancelled")
            assert await fleet.stop() == 0


async def test_an_assistant_that_blocks_the_loop_is_told(tmp_path: Path) -> None:
    async with LocalServers() as servers:
        async with serving(servers, "fleet_program:blocks", cwd=tmp_path) as fleet:
            await fleet.webhook(joined(CALL))
            await fleet.until_line("event loop is blocked")
            await fleet.until_line("time.sleep(1.6)")
            await fleet.until_line("was held up")
            await servers.stream.wait_participant("assistant")
            assert await fleet.stop() == 0
        blocks = [line for line in fleet.err if "event loop is blocked" in line]
        assert len(blocks) == 1


# -- bad command lines ---------------------------------------------------------------------------


def run(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "getstream.plugins.gemini", "serve", *arguments],
        cwd=cwd,
        env={
            "STREAM_API_KEY": "key",
            "STREAM_API_SECRET": "a-secret-of-32-bytes-or-more-for-jwt",
            "PYTHONPATH": str(ROOT / "tests" / "support"),
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (["nothing:here"], {}, "There is no module 'nothing'"),
        (["fleet_program:asistant"], {}, "it has assistant"),
        ([APP], {"STREAM_API_SECRET": ""}, "STREAM_API_SECRET"),
        ([APP, "--max-cpu", "-1"], {}, "max_cpu"),
        ([APP, "--records", "http://example.com"], {}, "redis://"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(
    tmp_path: Path, arguments: list[str], variables: dict[str, str], words: str
) -> None:
    done = run(*arguments, cwd=tmp_path, **variables)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run(APP, "--port", port, cwd=tmp_path)
    assert done.returncode == 1
    assert "choose another --port" in done.stderr
    assert "Serving" not in done.stdout


def test_the_helper_knows_its_program() -> None:
    """`ServedFleet` reads what `fleet_program` prints."""
    fleet = ServedFleet.__new__(ServedFleet)
    fleet.out = ["Serving on http://127.0.0.1:1", '{"cid": "default:a", "reason": "new"}']
    assert fleet.starts == [{"cid": "default:a", "reason": "new"}]
