"""What the local Gemini server refuses, as the service does."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from getstream.plugins.gemini.testing._gemini import (
    QUOTA_EXCEEDED,
    Abort,
    Close,
    LocalGemini,
    NeverAnswer,
    Reject,
    SessionEndedError,
)
from google.genai import errors, types
from live_client import GEMINI_PATH, MODEL, live, raw
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

pytestmark = pytest.mark.usefixtures("no_task_left")


@pytest.mark.parametrize(
    ("path", "status"), [(GEMINI_PATH, 403), ("/", 404), (GEMINI_PATH + "/more?key=k", 404)]
)
async def test_no_key_and_wrong_paths_do_not_pass_the_upgrade(path: str, status: int) -> None:
    async with LocalGemini() as server:
        with pytest.raises(InvalidStatus, match=str(status)):
            await connect(f"wss://127.0.0.1:{server.port}{path}", ssl=server.client_context())
        assert server.sessions == []


@pytest.mark.parametrize(
    ("options", "key"),
    [({"refused_keys": ["bad"]}, "bad"), ({"accepted_keys": ["good"]}, "other")],
)
async def test_a_refused_key(options: dict[str, Any], key: str) -> None:
    async with LocalGemini(**options) as server:
        with pytest.raises(errors.APIError, match="API key not valid") as caught:
            async with live(server, key=key):
                pass
        assert caught.value.code == 1008
        assert await server.sessions[0].wait_closed() == (1008, _INVALID_KEY)
        assert server.sessions[0].closed_by == "server"
        with pytest.raises(SessionEndedError, match="API key not valid"):
            await server.wait_session(0)
    async with LocalGemini(**options) as server, live(server, key="good"):
        pass


_INVALID_KEY = "API key not valid. Please pass a valid API key."


@pytest.mark.parametrize(
    ("model", "config", "code", "text"),
    [
        ("gemini-live-2.5-flash-preview", {}, 1008, "is not found for API version v1beta"),
        ("gemini-2.0-flash-live-001", {}, 1008, "is not found for API version v1beta"),
        ("gemini-9-live", {}, 1008, "models/gemini-9-live is not found"),
        (MODEL, {"thinking_config": {"thinking_budget": 100}}, 1007, "invalid argument"),
        (MODEL, {"proactivity": {"proactive_audio": False}}, 1007, "invalid argument"),
        (MODEL, {"enable_affective_dialog": True}, 1007, "invalid argument"),
        (MODEL, {"response_modalities": ["TEXT"]}, 1007, "invalid argument"),
        (f"{MODEL}-extended-thinking", {}, 1007, "invalid argument"),
        (MODEL, {"session_resumption": {"handle": "unknown"}}, 1008, "session not found"),
    ],
)
async def test_refused_setups(model: str, config: dict[str, Any], code: int, text: str) -> None:
    async with LocalGemini() as server:
        with pytest.raises(errors.APIError, match=text) as caught:
            async with live(server, model, **config):
                pass
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        (["not json"], "Invalid JSON"),
        (['{"hello": 1}'], 'Unknown name "hello"'),
        (['{"realtimeInput": {"text": "hi"}}'], "setup must be the first message"),
    ],
)
async def test_first_frames_that_are_refused(frames: list[str], text: str) -> None:
    async with LocalGemini() as server, raw(server) as socket:
        for frame in frames:
            await socket.send(frame)
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
        assert caught.value.rcvd
        assert caught.value.rcvd.code == 1007
        assert text in caught.value.rcvd.reason


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"setup": {"model": f"models/{MODEL}"}}, "only the first"),
        ({"realtimeInput": {"mediaChunks": [{"mimeType": "audio/pcm", "data": ""}]}}, "invalid"),
        ({"realtimeInput": {"audio": {"mimeType": "audio/pcm", "data": "AA=="}}}, "invalid"),
        ({"realtimeInput": {"audio": {"mimeType": "audio/opus", "data": ""}}}, "invalid"),
        ({"realtimeInput": {"video": {"mimeType": "video/mp4", "data": ""}}}, "invalid"),
        ({"realtimeInput": {"activityStart": {}}}, "Explicit activity control"),
        ({"realtimeInput": {"voice": 1}}, 'Unknown name "voice"'),
        ({"clientContent": {"turn": 1}}, 'Unknown name "turn"'),
        ({"toolResponse": []}, "Invalid value"),
    ],
)
async def test_later_frames_that_are_refused(message: dict[str, Any], text: str) -> None:
    async with LocalGemini() as server, raw(server, {}) as socket:
        await socket.send(json.dumps(message))
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
        assert caught.value.rcvd
        assert caught.value.rcvd.code == 1007
        assert text in caught.value.rcvd.reason


async def test_media_chunks_are_fine_with_older_models() -> None:
    async with LocalGemini() as server:
        model = "gemini-2.5-flash-native-audio-preview-12-2025"
        async with live(server, model) as (client, session):
            blob = types.Blob(data=b"\0\0" * 320, mime_type="audio/pcm;rate=16000")
            await client.send_realtime_input(media=blob)
            await session.wait_audio(20)


async def test_a_server_that_never_answers() -> None:
    async with LocalGemini(setup_fault=NeverAnswer()) as server:
        connecting = asyncio.create_task(live(server).__aenter__())
        session = await server.wait_session(0, ready=False)
        await session.wait_frames("setup")
        with pytest.raises(TimeoutError, match="setupComplete"):
            await session.wait_ready(timeout=0.05)
        assert not connecting.done()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await session.wait_closed()


async def test_a_socket_that_dies_before_the_setup() -> None:
    async with LocalGemini(setup_fault=Abort()) as server:
        with pytest.raises((errors.APIError, ConnectionClosed, OSError)):
            async with live(server):
                pass
        assert await server.sessions[0].wait_closed() == (1006, "")
        assert server.sessions[0].closed_by == "nobody"


async def test_faults_can_hit_some_connections_only() -> None:
    async with LocalGemini() as server:
        server.fail_next(QUOTA_EXCEEDED)
        server.fail_next(Close(1011, "The service is currently unavailable."))
        server.fail_next(Reject(503, "overloaded"))
        for text in ("exceeded your current quota", "currently unavailable"):
            with pytest.raises(errors.APIError, match=text) as caught:
                async with live(server):
                    pass
            assert caught.value.code == 1011
        with pytest.raises(InvalidStatus, match="503"):
            async with live(server):
                pass
        async with live(server):
            pass
