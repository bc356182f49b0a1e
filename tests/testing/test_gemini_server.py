"""The local Gemini server: connections, sessions, their ends, and what it keeps."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import os
import ssl
import stat
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.testing import _tls
from getstream.plugins.gemini.testing._gemini import (
    LiveSession,
    LocalGemini,
    Parrot,
    Script,
    SessionEndedError,
    Turn,
    UserTurn,
)
from getstream.plugins.gemini.testing.signals import align, silence, speech_like, tone
from google import genai
from google.genai import errors, types
from live_client import (
    GEMINI_PATH,
    LONG,
    MODEL,
    Echo,
    client_for,
    fft_resample,
    live,
    raw,
    receive_turn,
    send_audio,
)
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.usefixtures("no_task_left")


async def test_the_sdk_connects_and_the_setup_is_kept() -> None:
    async with LocalGemini() as server:
        async with live(server, system_instruction="Be terse.", temperature=0.5) as (_, session):
            assert session.state == "ready"
            assert session.endpoint.version == "v1beta"
            assert session.setup["model"] == "models/gemini-3.8-live"
            assert session.setup["generationConfig"]["temperature"] == 0.5
            assert session.setup["systemInstruction"]["parts"] == [{"text": "Be terse."}]
            assert [frame.kind for frame in session.frames] == ["setup"]
        assert await session.wait_closed() == (1000, "")
        assert session.closed_by == "client"


async def test_answers_are_camel_case_json_in_binary_frames() -> None:
    async with LocalGemini() as server, raw(server) as socket:
        await socket.send(json.dumps({"setup": {"model": f"models/{MODEL}"}}))
        assert await socket.recv() == b'{"setupComplete": {}}'


async def test_an_unchanged_program_needs_only_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with LocalGemini() as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        client = genai.Client(http_options=types.HttpOptions(api_version="v1beta"))
        config: Any = {"response_modalities": ["AUDIO"]}
        async with client.aio.live.connect(model=MODEL, config=config) as session:
            await session.send_realtime_input(text="Hello")
            assert (await receive_turn(session)).audio.size


async def test_vertex_paths_models_and_usage() -> None:
    async with LocalGemini() as server:
        client = genai.Client(
            vertexai=True,
            api_key="express-key",
            http_options=types.HttpOptions(
                base_url=server.url, async_client_args={"ssl": server.client_context()}
            ),
        )
        config: Any = {"response_modalities": ["AUDIO"], "explicit_vad_signal": True}
        async with client.aio.live.connect(model=MODEL, config=config) as session:
            await session.send_realtime_input(text="Hello")
            heard = await receive_turn(session)
            assert heard.usage
            assert heard.usage.response_token_count
            assert server.sessions[0].endpoint.vertex
            assert server.sessions[0].setup["model"] == f"publishers/google/models/{MODEL}"
            pcm = np.concatenate((tone(300, 200, 16000), silence(600, 16000)))
            await send_audio(session, pcm, 16000)
            await server.sessions[0].wait_turns(2)
            signals = [m["voiceActivity"] for m in server.sessions[0].sent if "voiceActivity" in m]
            assert signals == [
                {"type": "ACTIVITY_START", "audioOffset": "0s"},
                {"type": "ACTIVITY_END", "audioOffset": "0.2s"},
            ]


async def test_ephemeral_tokens_use_the_constrained_method() -> None:
    async with LocalGemini(accepted_keys=["auth_tokens/good"]) as server:
        config: Any = {"response_modalities": ["AUDIO"]}
        client = client_for(server, "auth_tokens/good", "v1alpha")
        with pytest.warns(errors.ExperimentalWarning):
            async with client.aio.live.connect(model=MODEL, config=config):
                assert server.sessions[0].endpoint.constrained
        with pytest.raises(InvalidStatus, match="403"):
            await connect(
                f"wss://127.0.0.1:{server.port}{GEMINI_PATH}Constrained?key=k",
                ssl=server.client_context(),
            )


async def test_resumption() -> None:
    async with LocalGemini(Echo()) as server:
        async with live(server, session_resumption={}) as (client, session):
            await client.send_realtime_input(text="remember me")
            await session.wait_turns(1)
            await receive_turn(client)
            async for message in client.receive():  # the handle comes after turnComplete
                update = message.session_resumption_update
                break
            assert update.resumable
            # The service insists that the old connection is closed first.
            with pytest.raises(errors.APIError, match="Internal error") as caught:
                async with live(server, session_resumption={"handle": update.new_handle}):
                    pass
            assert caught.value.code == 1011
        await session.wait_closed()
        async with live(server, session_resumption={"handle": update.new_handle}) as (_, second):
            assert second.resumed_from == update.new_handle
            assert second.context == ["remember me", "remember me"]


async def test_go_away() -> None:
    async with LocalGemini() as server, live(server) as (client, session):
        await session.go_away(0.05)
        received = client.receive()
        assert (await anext(received)).go_away.time_left == "0.05s"
        with pytest.raises(errors.APIError, match="The operation was aborted") as caught:
            await anext(received)
        assert caught.value.code == 1008
        assert await session.wait_closed() == (1008, "The operation was aborted.")
        assert session.closed_by == "server"


async def test_an_end_that_is_announced_with_the_setup() -> None:
    async with LocalGemini(announced_end_s=0.05) as server, live(server) as (client, session):
        assert (await anext(client.receive())).go_away.time_left == "0.05s"
        with pytest.raises(errors.APIError, match="The operation was aborted"):
            await anext(client.receive())
        assert await session.wait_closed() == (1008, "The operation was aborted.")


@pytest.mark.parametrize("code", [1000, 1001, 1007, 1008, 1011, 1012])
async def test_close_with_every_code(code: int) -> None:
    async with LocalGemini() as server, live(server) as (client, session):
        await session.close(code, "because")
        with pytest.raises(errors.APIError, match="because") as caught:
            await receive_turn(client)
        assert caught.value.code == code
        assert await session.wait_closed() == (code, "because")


async def test_abort_is_1006_and_ends_the_turn() -> None:
    async with LocalGemini(Script([LONG])) as server, live(server) as (client, session):
        await client.send_realtime_input(text="go")
        await session.wait_spoken(400)
        session.abort()
        with pytest.raises(errors.APIError) as caught:
            await receive_turn(client)
        assert caught.value.code == 1006
        assert await session.wait_closed() == (1006, "")
        assert session.spoken[0].outcome == "aborted"
        with pytest.raises(SessionEndedError):
            await session.wait_turns(2)
        with pytest.raises(SessionEndedError):
            await session.send({"goAway": {"timeLeft": "1s"}})


async def test_raw_messages_and_the_hook() -> None:
    def twice(_: LiveSession, message: dict[str, Any]) -> Iterable[dict[str, Any] | bytes]:
        return [message, message] if "goAway" in message else [message]

    async with LocalGemini(on_send=twice) as server, raw(server, {}) as socket:
        session = server.sessions[0]
        await session.send(b"\x00garbage")
        await session.send("text")
        await session.send({"goAway": {"timeLeft": "3s"}})
        assert await socket.recv() == b"\x00garbage"
        assert await socket.recv() == "text"
        assert json.loads(await socket.recv()) == json.loads(await socket.recv())


class Broken:
    def reply(self, user: UserTurn) -> Iterable[Turn]:
        raise ZeroDivisionError("in the policy")


class BrokenLater:
    async def reply(self, user: UserTurn) -> AsyncIterator[Turn]:
        yield Turn(audio=tone(440, 100, 24000))
        raise ZeroDivisionError("in the policy")


def broken_hook(session: LiveSession, message: dict[str, Any]) -> Iterable[dict[str, Any]]:
    if "serverContent" in message:
        raise ZeroDivisionError("in the hook")
    return [message]


@pytest.mark.parametrize(
    "options", [{"reply": Broken()}, {"reply": BrokenLater()}, {"on_send": broken_hook}]
)
async def test_a_failure_of_the_users_code_is_not_swallowed(options: dict[str, Any]) -> None:
    async def run() -> None:
        async with LocalGemini(**options) as server, live(server) as (client, session):
            await client.send_realtime_input(text="go")
            assert await session.wait_closed() == (1011, "Internal error encountered.")

    with pytest.raises(ZeroDivisionError, match="in the "):
        await run()


async def test_many_sessions_at_once() -> None:
    async with LocalGemini(Parrot(), speed=math.inf) as server:

        async def talk(seed: int) -> None:
            rate = 16000
            words = speech_like(600, rate, seed=seed)
            config: Any = {"response_modalities": ["AUDIO"]}
            async with client.aio.live.connect(model=MODEL, config=config) as session:
                await send_audio(session, np.concatenate((words, silence(600, rate))), rate, 100)
                heard = await receive_turn(session)
                assert align(fft_resample(words, rate), heard.audio, 24000).correlation > 0.99

        client = client_for(server)
        await asyncio.gather(*(talk(seed) for seed in range(8)))
        assert [session.index for session in server.sessions] == list(range(8))
        await asyncio.gather(*(session.wait_closed() for session in server.sessions))


async def test_leaving_the_block_closes_everything() -> None:
    async with LocalGemini(Script([LONG])) as server:
        config: Any = {"response_modalities": ["AUDIO"]}
        connection = client_for(server).aio.live.connect(model=MODEL, config=config)
        client = await connection.__aenter__()
        await client.send_realtime_input(text="go")
        await server.sessions[0].wait_spoken(100)
        server.sessions[0].hold()
        ca_file, port = server.ca_file, server.port
    assert server.sessions[0].close_code == 1001
    assert server.sessions[0].spoken[0].outcome == "aborted"
    assert not ca_file.parent.exists()
    with pytest.raises(errors.APIError) as caught:
        await receive_turn(client)
    assert caught.value.code == 1001
    await connection.__aexit__(None, None, None)
    with pytest.raises(OSError):  # noqa: PT011  nobody listens any more
        await asyncio.open_connection("127.0.0.1", port)
    with pytest.raises(ConfigError, match="not running"):
        _ = server.url


async def test_the_log_file(tmp_path: Path) -> None:
    path = tmp_path / "wire.jsonl"
    pcm = tone(300, 40, 48000)
    async with LocalGemini(
        Script([Turn(text="ok")]), log_file=path, api_key="secret-marker"
    ) as server:
        async with live(server, key="secret-marker") as (client, session):
            await send_audio(client, pcm, 48000)
            await client.send_realtime_input(text="go")
            await session.wait_turns(1)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert "secret-marker" not in path.read_text()
    assert [line["direction"] for line in lines[:2]] == ["in", "out"]
    assert lines[-1] == {
        "t": lines[-1]["t"],
        "session": 0,
        "direction": "end",
        "message": {"code": 1000, "reason": ""},
    }
    blobs = [
        line["message"]["realtimeInput"]["audio"]
        for line in lines
        if "audio" in line["message"].get("realtimeInput", {})
    ]
    assert [b["bytes"] for b in blobs] == [1920, 1920]
    assert {b["mimeType"] for b in blobs} == {"audio/pcm;rate=48000"}
    assert all(len(b["sha256"]) == 64 and "base64" not in b for b in blobs)
    said = sum(
        part["inlineData"]["bytes"]
        for line in lines
        for part in line["message"].get("serverContent", {}).get("modelTurn", {}).get("parts", ())
    )
    assert said == session.spoken[0].pcm.nbytes


async def test_payloads_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "wire.jsonl"
    pcm = tone(300, 20, 16000)
    async with LocalGemini(log_file=path, log_payloads=True) as server:
        async with live(server) as (client, session):
            await send_audio(client, pcm, 16000)
            await session.wait_audio(20)
    (blob,) = [
        json.loads(line)["message"]["realtimeInput"]["audio"]
        for line in path.read_text().splitlines()
        if "realtimeInput" in line
    ]
    assert base64.b64decode(blob["base64"]) == pcm.tobytes()


async def test_the_record_is_bounded() -> None:
    async with LocalGemini(record_bytes=20_000, keep_sessions=2) as server:
        async with live(server) as (client, session):
            await send_audio(client, tone(300, 1000, 16000, dbfs=-60), 16000)
            await session.wait_audio(1000)
            assert session.audio_ms == 1000
            assert len(session.frames) + session.frames_dropped == 51
            assert session.frames_dropped > 30
            assert session.frames[-1].index == 50
        for _ in range(2):
            async with live(server):
                pass
        assert [s.index for s in server.sessions] == [1, 2]
        with pytest.raises(LookupError, match="keep_sessions"):
            await server.wait_session(0)


async def test_video_frames_are_kept() -> None:
    jpeg = b"\xff\xd8" + bytes(range(256)) + b"\xff\xd9"
    async with LocalGemini() as server, live(server) as (client, session):
        await client.send_realtime_input(video=types.Blob(data=jpeg, mime_type="image/jpeg"))
        (frame,) = await session.wait_frames("video")
        assert frame.data == jpeg
        assert frame.message == {
            "realtimeInput": {"video": {"mimeType": "image/jpeg", "bytes": len(jpeg)}}
        }


async def test_waiting_in_vain_says_for_what() -> None:
    async with LocalGemini() as server:
        with pytest.raises(TimeoutError, match=r"session 0 within 0\.01 s"):
            await server.wait_session(timeout=0.01)
        async with live(server) as (_, session):
            with pytest.raises(TimeoutError, match=r"2 frames of video within 0\.01 s"):
                await session.wait_frames("video", 2, timeout=0.01)


def test_options_that_cannot_be() -> None:
    for options in ({"chunk_ms": 0}, {"speed": 0}, {"parts_per_message": 0}, {"keep_sessions": 0}):
        with pytest.raises(ConfigError):
            LocalGemini(**options)  # type: ignore[arg-type]


def test_the_certificate_is_fresh_private_and_strictly_valid() -> None:
    with _tls.Authority() as first, _tls.Authority() as second:
        folder = first.ca_file.parent
        assert first.ca_file.read_bytes() != second.ca_file.read_bytes()
        if os.name == "posix":
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        # No private key is in a file, before and after it is in use.
        first.server_context()
        assert [path.name for path in folder.iterdir()] == ["ca.pem"]
        assert "PRIVATE" not in first.ca_file.read_text(encoding="ascii")
        for context, trusted in ((first.client_context(), True), (second.client_context(), False)):
            context.verify_flags |= ssl.VERIFY_X509_STRICT
            assert handshake(first.server_context(), context) is trusted
    assert not folder.exists()


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    """A TLS handshake in memory; False if the client does not trust the server."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    pending = set(ends)
    for _ in range(10):
        for end in list(pending):
            try:
                end.do_handshake()
                pending.discard(end)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return not pending
