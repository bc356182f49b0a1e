"""The local Gemini Live server, driven by the real google-genai SDK over real sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
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
    QUOTA_EXCEEDED,
    Abort,
    ActivityOptions,
    Close,
    FunctionCall,
    LiveSession,
    LocalGemini,
    NeverAnswer,
    Parrot,
    Reject,
    Script,
    SessionEndedError,
    Stall,
    Turn,
    UserTurn,
)
from getstream.plugins.gemini.testing.signals import (
    align,
    longest_silence,
    rms_dbfs,
    silence,
    speech_like,
    tone,
    write_wav,
)
from google import genai
from google.genai import errors, types
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

MODEL = "gemini-3.8-live"
GEMINI_PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
MANUAL = {"automatic_activity_detection": {"disabled": True}}
NO_INTERRUPTION = {"activity_handling": "NO_INTERRUPTION"}
LONG = Turn(audio=speech_like(20_000, 24000), text="word " * 40)
Pcm = NDArray[np.int16]


@pytest.fixture(autouse=True)
async def no_task_left() -> AsyncIterator[None]:
    """Neither a task nor an unretrieved exception is left behind by any test."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"
    assert not complaints


def client_for(server: LocalGemini, key: str = "any-key", version: str = "v1beta") -> genai.Client:
    return genai.Client(
        api_key=key,
        http_options=types.HttpOptions(
            base_url=server.url,
            api_version=version,
            async_client_args={"ssl": server.client_context()},
        ),
    )


@contextlib.asynccontextmanager
async def live(
    server: LocalGemini,
    model: str = MODEL,
    key: str = "any-key",
    drain: bool = False,
    **config: Any,
) -> AsyncIterator[tuple[Any, LiveSession]]:
    """The SDK's session, and the server's side of it.

    With `drain`, everything that the server says is read and thrown away: a client that does not
    read never sees the server's close frame either.
    """
    config = {"response_modalities": ["AUDIO"], **config}
    index = len(server.sessions)
    async with client_for(server, key).aio.live.connect(model=model, config=config) as session:
        reader = asyncio.create_task(throw_away(session)) if drain else None
        yield session, await server.wait_session(index)
    if reader:
        with contextlib.suppress(errors.APIError):
            await reader


async def throw_away(session: Any) -> None:
    while True:
        async for _ in session.receive():
            pass


@contextlib.asynccontextmanager
async def raw(server: LocalGemini, setup: Any = None) -> AsyncIterator[ClientConnection]:
    """A client that is not the SDK; with a setup, it is past the handshake."""
    async with connect(
        f"wss://127.0.0.1:{server.port}{GEMINI_PATH}?key=k", ssl=server.client_context()
    ) as socket:
        if setup is not None:
            await socket.send(json.dumps({"setup": {"model": f"models/{MODEL}", **setup}}))
            assert json.loads(await socket.recv()) == {"setupComplete": {}}
        yield socket


async def send_audio(session: Any, pcm: Pcm, rate: int, frame_ms: int = 20) -> None:
    step = rate * frame_ms // 1000
    for i in range(0, pcm.size, step):
        blob = types.Blob(data=pcm[i : i + step].tobytes(), mime_type=f"audio/pcm;rate={rate}")
        await session.send_realtime_input(audio=blob)


class Heard:
    """Messages of one `session.receive()`: one turn of the model."""

    def __init__(self) -> None:
        self.pcm = b""
        self.said = ""
        self.heard = ""
        self.text = ""
        self.kinds: list[str] = []
        self.usage: types.UsageMetadata | None = None
        self.parts_per_message: list[int] = []

    @property
    def audio(self) -> Pcm:
        return np.frombuffer(self.pcm, np.int16)

    def add(self, message: types.LiveServerMessage) -> None:
        content = message.server_content
        if content is not None:
            parts = (content.model_turn.parts or []) if content.model_turn else []
            if parts:
                self.parts_per_message.append(len(parts))
            for part in parts:
                self.text += part.text or ""
                if part.inline_data:
                    assert part.inline_data.mime_type == "audio/pcm;rate=24000"
                    self.pcm += part.inline_data.data or b""
            if content.output_transcription:
                self.said += content.output_transcription.text or ""
            if content.input_transcription:
                self.heard += content.input_transcription.text or ""
            for kind in ("interrupted", "generation_complete", "turn_complete"):
                if getattr(content, kind):
                    self.kinds.append(kind)
        if message.tool_call:
            self.kinds.append("tool_call")
        if message.tool_call_cancellation:
            self.kinds.append("tool_call_cancellation")
        if message.session_resumption_update:
            update = message.session_resumption_update
            self.kinds.append("resumable" if update.resumable else "not resumable")
        if message.usage_metadata:
            self.usage = message.usage_metadata


async def receive_turn(session: Any) -> Heard:
    heard = Heard()
    async for message in session.receive():
        heard.add(message)
    return heard


# Handshake


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


# Faults before the session


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


# TurnController


async def test_a_text_turn() -> None:
    async with LocalGemini(Script([Turn(text="Good morning to you.")])) as server:
        async with live(server, output_audio_transcription={}, session_resumption={}) as (
            client,
            session,
        ):
            await client.send_realtime_input(text="Good morning")
            heard = await receive_turn(client)
            assert heard.said == "Good morning to you."
            np.testing.assert_array_equal(heard.audio, session.spoken[0].pcm)
            assert heard.audio.size == 4 * 300 * 24
            assert longest_silence(heard.audio, 24000) < 20
            assert heard.kinds == [
                "resumable",
                "not resumable",
                "generation_complete",
                "turn_complete",
            ]
            assert heard.usage
            assert heard.usage.response_token_count == 30  # 1.2 s at 25 tokens/s
            (turn,) = await session.wait_turns(1)
            assert turn.outcome == "complete"
            assert turn.ended_at is not None
            assert turn.started_at < turn.ended_at


async def test_client_content_is_answered_when_it_is_complete() -> None:
    def turns(text: str) -> Any:
        return {"role": "user", "parts": [{"text": text}]}

    async with (
        LocalGemini(Echo()) as server,
        live(server, output_audio_transcription={}) as (client, session),
    ):
        await client.send_client_content(turns=turns("one"), turn_complete=False)
        await client.send_client_content(turns=turns("two"), turn_complete=True)
        assert (await receive_turn(client)).said == "two"
        assert session.context == ["one", "two", "two"]


class Echo:
    """Answers a text with the same text; an async generator, as a policy may be."""

    async def reply(self, user: UserTurn) -> AsyncIterator[Turn]:
        yield Turn(text=user.text)


async def test_seeding_the_history_is_not_answered() -> None:
    model = "gemini-3.1-flash-live-preview"
    history: Any = [{"role": "user", "parts": [{"text": "My name is Ada."}]}]
    async with LocalGemini(Echo()) as server:
        async with live(
            server, model, history_config={"initial_history_in_client_content": True}
        ) as (client, session):
            await client.send_client_content(turns=history, turn_complete=True)
            await client.send_realtime_input(text="hi")
            await session.wait_turns(1)
            assert session.context == ["My name is Ada.", "hi", "hi"]
            # In mid-session this model takes no client content.
            await client.send_client_content(turns=history, turn_complete=True)
            assert (await session.wait_closed())[0] == 1007


async def test_text_modality_of_an_own_model() -> None:
    async with LocalGemini(Script([Turn(text="In plain words.")]), models=["own"]) as server:
        async with live(server, "own", response_modalities=["TEXT"]) as (client, _):
            await client.send_realtime_input(text="hi")
            heard = await receive_turn(client)
            assert heard.text == "In plain words."
            assert heard.pcm == b""


async def test_text_parts_that_nobody_speaks() -> None:
    script = Script(
        [Turn(written="Hm.", text="one", audio=tone(440, 100, 24000)), Turn(written="Hm.")]
    )
    async with LocalGemini(script) as server, live(server) as (client, session):
        for audio in (True, False):
            await client.send_realtime_input(text="hi")
            heard = await receive_turn(client)
            assert heard.text == "Hm."
            assert bool(heard.pcm) is audio
        assert [turn.sent_ms for turn in session.spoken] == [100, 0]


@pytest.mark.parametrize("place", ["content", "message"])
async def test_a_filler_of_extended_thinking(place: Any) -> None:
    script = Script([[Turn(text="one", in_progress=True), Turn(text="two")]])
    thinking = {"thinking_level": "LOW"}
    async with LocalGemini(script, speed=math.inf, interaction_status_in=place) as server:
        model = f"{MODEL}-extended-thinking"
        async with live(server, model, drain=True, thinking_config=thinking) as (client, session):
            await client.send_realtime_input(text="hi")
            await session.wait_turns(2)
        ends = [each for each in session.sent if each.get("serverContent", {}).get("turnComplete")]
        told = [each["serverContent"] if place == "content" else each for each in ends]
        assert [each["interactionStatus"] for each in told] == ["IN_PROGRESS", "IDLE"]


async def test_silence_is_an_answer_and_the_script_ends() -> None:
    script = Script([[], [Turn(text="one"), Turn(text="two")]])
    async with LocalGemini(script, speed=math.inf) as server:
        async with live(server, drain=True) as (client, session):
            for text in ("a", "b", "c"):
                await client.send_realtime_input(text=text)
            await session.wait_user_turns(3)
            await client.send_realtime_input(text="d")
            await session.wait_user_turns(4)
            assert script.remaining == 0


async def test_chunks_and_bundles() -> None:
    turn = Turn(audio=tone(440, 300, 24000), text="five words are said here")
    async with (
        LocalGemini(
            Script([turn]), chunk_ms=20, parts_per_message=4, bundle_fields=True, speed=math.inf
        ) as server,
        live(server, output_audio_transcription={}) as (client, session),
    ):
        await client.send_realtime_input(text="hi")
        heard = await receive_turn(client)
        assert heard.parts_per_message == [4, 4, 4, 3]
        assert heard.said == turn.text
        np.testing.assert_array_equal(heard.audio, turn.pcm)
        content = [m["serverContent"] for m in session.sent if "serverContent" in m]
        assert any("modelTurn" in c and "outputTranscription" in c for c in content)
        assert not any(set(c) == {"outputTranscription"} for c in content)


async def test_turn_complete_after_playback() -> None:
    turn = Turn(audio=tone(440, 300, 24000))
    async with (
        LocalGemini(Script([turn]), speed=math.inf, turn_complete_after="playback") as server,
        live(server) as (client, session),
    ):
        await client.send_realtime_input(text="hi")
        await receive_turn(client)
        (spoken,) = await session.wait_turns(1)
        assert spoken.ended_at is not None
        assert spoken.ended_at - spoken.started_at >= 0.299


async def test_the_model_may_speak_unasked() -> None:
    async with (
        LocalGemini() as server,
        live(server, output_audio_transcription={}) as (client, session),
    ):
        session.say(Turn(text="By the way."))
        assert (await receive_turn(client)).said == "By the way."


async def test_a_stall_in_mid_sentence() -> None:
    turn = Turn(audio=tone(440, 1000, 24000), stall=Stall(at_ms=400))
    async with (
        LocalGemini(Script([turn]), speed=math.inf) as server,
        live(server) as (
            client,
            session,
        ),
    ):
        await client.send_realtime_input(text="hi")
        await session.wait_stalled()
        assert session.spoken[0].sent_ms == 400
        assert session.spoken[0].outcome == "speaking"
        session.release()
        assert (await receive_turn(client)).audio.size == 24000


async def test_hold_stops_everything_in_order() -> None:
    async with (
        LocalGemini(Script([Turn(text="a b c")]), speed=math.inf) as server,
        live(server, output_audio_transcription={}) as (client, session),
    ):
        session.hold()
        sent = len(session.sent)
        await client.send_realtime_input(text="hi")
        await client.send_realtime_input(audio_stream_end=True)
        await session.wait_frames("audioStreamEnd")  # what the client sends is still read
        assert len(session.sent) == sent
        session.release()
        assert (await receive_turn(client)).said == "a b c"


async def test_tools() -> None:
    declaration = {"name": "get_weather", "description": "Weather"}
    script = Script(
        [
            Turn(function_calls=(FunctionCall("get_weather", {"city_name": "Delft"}),)),
            Turn(text="It rains."),
        ]
    )
    async with (
        LocalGemini(script) as server,
        live(
            server, tools=[{"function_declarations": [declaration]}], output_audio_transcription={}
        ) as (client, session),
    ):
        await client.send_realtime_input(text="How is the weather?")
        async for message in client.receive():
            if message.tool_call:
                (call,) = message.tool_call.function_calls
                break
        assert (call.name, call.args) == ("get_weather", {"city_name": "Delft"})
        await client.send_tool_response(
            function_responses=[
                types.FunctionResponse(id="never-asked", name="x", response={}),
                types.FunctionResponse(id=call.id, name=call.name, response={"sky_is": "grey"}),
            ]
        )
        assert (await receive_turn(client)).said == "It rains."
        (frame,) = await session.wait_frames("toolResponse")
        responses = frame.message["toolResponse"]["functionResponses"]
        assert responses[1]["response"] == {"sky_is": "grey"}


@pytest.mark.parametrize(("behavior", "cancelled"), [("BLOCKING", True), ("NON_BLOCKING", False)])
async def test_new_input_cancels_blocking_calls_only(behavior: str, cancelled: bool) -> None:
    declaration = {"name": "f", "description": "d", "behavior": behavior}
    tools = [{"function_declarations": [declaration]}]
    script = Script([Turn(function_calls=(FunctionCall("f", id="call-1"),)), Turn(text="Yes?")])
    async with (
        LocalGemini(script) as server,
        live(server, drain=True, tools=tools) as (
            client,
            session,
        ),
    ):
        await client.send_realtime_input(text="do it")
        await session.wait_turns(1)
        await client.send_realtime_input(text="wait")
        await session.wait_turns(2)
        expected = [{"toolCallCancellation": {"ids": ["call-1"]}}] if cancelled else []
        assert [m for m in session.sent if "toolCallCancellation" in m] == expected


# The user's audio


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
async def test_the_parrot_answers_with_the_users_words(rate: int) -> None:
    words = speech_like(1500, rate, seed=rate)
    pcm = np.concatenate((silence(400, rate), words, silence(900, rate)))
    async with (
        LocalGemini(Parrot(), speed=math.inf) as server,
        live(server, input_audio_transcription={}, output_audio_transcription={}) as (
            client,
            session,
        ),
    ):
        await send_audio(client, pcm, rate)
        heard = await receive_turn(client)
        assert len(session.audio) == 1
        assert session.audio[0].rate == rate
        np.testing.assert_array_equal(session.audio[0].samples, pcm)
        assert heard.heard == heard.said == "[1.9 seconds of speech]"
    # The same signal at 24 kHz, by an independent resampler.
    expected = fft_resample(words, rate)
    found = align(expected, heard.audio, 24000)
    assert found.correlation > 0.999
    assert abs(found.gain_db) < 0.05
    assert 150 <= found.offset_ms <= 250  # 200 ms before the onset
    after = heard.audio.size - found.offset_samples - expected.size
    assert after > 0.150 * 24000  # nothing is cut
    within = heard.audio[round(found.offset_samples) :][: expected.size]
    assert longest_silence(within, 24000) < 20


def fft_resample(x: Pcm, rate: int) -> Pcm:
    """An independent resampler: the spectrum, cut or extended."""
    spectrum = np.fft.rfft(x.astype(float))
    size = round(x.size * 24000 / rate)
    resized = np.zeros(size // 2 + 1, complex)
    count = min(spectrum.size, resized.size)
    resized[:count] = spectrum[:count]
    return np.rint(np.fft.irfft(resized, size) * size / x.size).astype(np.int16)


async def test_both_alphabets_and_both_cases_carry_the_same_audio() -> None:
    pcm = speech_like(400, 16000, seed=9)
    assert b"-" in base64.urlsafe_b64encode(pcm.tobytes())  # it does make a difference
    async with LocalGemini() as server, raw(server, {}) as socket:
        half = pcm.size // 2
        standard = base64.b64encode(pcm[:half].tobytes()).decode()
        url_safe = base64.urlsafe_b64encode(pcm[half:].tobytes()).decode()
        mime = "audio/pcm;rate=16000"
        camel = {"realtimeInput": {"audio": {"mimeType": mime, "data": standard}}}
        snake = {"realtime_input": {"audio": {"mime_type": mime, "data": url_safe}}}
        await socket.send(json.dumps(camel))
        await socket.send(json.dumps(snake))
        session = server.sessions[0]
        await session.wait_audio(400)
        (audio,) = session.audio
        np.testing.assert_array_equal(audio.samples, pcm)


async def test_turns_are_cut_by_the_audio_not_by_the_clock() -> None:
    rate = 16000
    first, second = speech_like(700, rate, seed=1), speech_like(700, rate, seed=2)
    pcm = np.concatenate((first, silence(700, rate), second, silence(700, rate)))
    users: list[UserTurn] = []

    class Listen:
        def reply(self, user: UserTurn) -> Iterable[Turn]:
            users.append(user)
            return []

    async with (
        LocalGemini(Listen(), activity=ActivityOptions(silence_duration_ms=600)) as server,
        live(
            server,
            realtime_input_config={"automatic_activity_detection": {"prefix_padding_ms": 30}},
        ) as (client, session),
    ):
        for _ in range(2):  # all at once, and in one frame each
            await send_audio(client, pcm, rate, frame_ms=2800)
        await session.wait_user_turns(4)
    assert [user.kind for user in users] == ["audio"] * 4
    starts = [user.onset_ms for user in users]
    np.testing.assert_allclose(starts, [0, 1400, 2800, 4200], atol=60)
    np.testing.assert_allclose([u.end_ms - u.onset_ms for u in users], 700, atol=80)


async def test_a_new_rate_starts_a_new_stretch() -> None:
    async with LocalGemini() as server, live(server, drain=True) as (client, session):
        await send_audio(client, tone(300, 100, 16000), 16000)
        await send_audio(client, tone(300, 100, 48000), 48000)
        await session.wait_audio(200)
        assert [(a.rate, a.samples.size) for a in session.audio] == [(16000, 1600), (48000, 4800)]
        await session.wait_user_turns(1)  # the stretch before ends the user's turn


@pytest.mark.parametrize(
    ("model", "option"),
    [
        ("gemini-2.5-flash-native-audio-latest", None),
        ("gemini-3.1-flash-live-preview", None),
        (MODEL, True),
    ],
)
async def test_audio_stream_end_ends_the_turn(model: str, option: bool | None) -> None:
    activity = ActivityOptions(ends_with_stream=option)
    async with (
        LocalGemini(activity=activity) as server,
        live(server, model, drain=True) as (client, session),
    ):
        await send_audio(client, speech_like(600, 16000), 16000)
        await client.send_realtime_input(audio_stream_end=True)
        await session.wait_user_turns(1)
        await session.wait_turns(1)


@pytest.mark.parametrize(
    ("model", "option"),
    [
        (MODEL, None),
        ("gemini-3.8-live-extended-thinking", None),
        ("gemini-2.5-flash-native-audio-latest", False),
    ],
)
async def test_a_model_that_finds_the_end_in_the_audio(model: str, option: bool | None) -> None:
    """Silence that was sent ends the turn, also after the stream's end and its return."""
    rate = 16000
    thinking = {"thinking_level": "low"} if model.endswith("thinking") else None
    config: dict[str, Any] = {"thinking_config": thinking} if thinking else {}
    users: list[UserTurn] = []

    class Listen:
        def reply(self, user: UserTurn) -> Iterable[Turn]:
            users.append(user)
            return []

    async with (
        LocalGemini(Listen(), activity=ActivityOptions(ends_with_stream=option)) as server,
        live(server, model, drain=True, **config) as (client, session),
    ):
        await send_audio(client, np.concatenate((tone(300, 600, rate), silence(300, rate))), rate)
        await client.send_realtime_input(audio_stream_end=True)
        await session.wait_frames("audioStreamEnd")
        await send_audio(client, silence(150, rate), rate)
        await session.wait_audio(1050)
        assert users == []
        await send_audio(client, silence(150, rate), rate)
        await session.wait_user_turns(1)


async def test_manual_activity_takes_what_is_between_the_signals() -> None:
    rate = 16000
    words = speech_like(500, rate, seed=7)
    async with (
        LocalGemini(speed=math.inf) as server,
        live(
            server,
            realtime_input_config=MANUAL,
        ) as (client, session),
    ):
        await send_audio(client, tone(900, 300, rate), rate)
        await client.send_realtime_input(activity_start=types.ActivityStart())
        await send_audio(client, words, rate)
        await client.send_realtime_input(activity_end=types.ActivityEnd())
        await send_audio(client, tone(900, 300, rate), rate)
        heard = await receive_turn(client)
        assert heard.audio.size == words.size * 3 // 2
        found = align(fft_resample(words, rate), heard.audio, 24000)
        assert found.correlation > 0.99
        assert abs(found.offset_ms) < 0.1
        await session.wait_audio(1100)
        assert session.interruptions == 0


# Interruption


async def test_barge_in() -> None:
    rate = 16000
    async with (
        LocalGemini(Script([LONG], then=Parrot())) as server,
        live(server, session_resumption={}) as (client, session),
    ):
        await client.send_realtime_input(text="Tell me a story.")
        await session.wait_spoken(1000)
        words = speech_like(600, rate, seed=3)
        await send_audio(client, np.concatenate((words, silence(600, rate))), rate)
        await session.wait_interrupted()
        first = await receive_turn(client)
        assert first.kinds[-2:] == ["interrupted", "turn_complete"]
        assert "generation_complete" not in first.kinds
        second = await receive_turn(client)
        assert second.kinds[-2:] == ["generation_complete", "turn_complete"]
        story, echo = await session.wait_turns(2)
        assert (story.outcome, echo.outcome) == ("interrupted", "complete")
        assert 1000 <= story.sent_ms < 20_000
        np.testing.assert_array_equal(first.audio, story.pcm)
        np.testing.assert_array_equal(second.audio, echo.pcm)


async def test_no_interruption_is_honoured() -> None:
    rate = 16000
    turn = Turn(audio=tone(440, 2000, 24000), stall=Stall(at_ms=1000))
    async with (
        LocalGemini(Script([turn, Turn(text="next")])) as server,
        live(
            server, drain=True, realtime_input_config={"activity_handling": "NO_INTERRUPTION"}
        ) as (
            client,
            session,
        ),
    ):
        await client.send_realtime_input(text="go")
        await session.wait_stalled()
        await send_audio(client, np.concatenate((tone(300, 400, rate), silence(600, rate))), rate)
        await session.wait_user_turns(2)
        session.release()
        first, second = await session.wait_turns(2)
        assert (first.outcome, first.sent_ms) == ("complete", 2000)
        assert second.text == "next"
        assert session.interruptions == 0


async def test_text_and_manual_activity_interrupt() -> None:
    async with (
        LocalGemini(Script([LONG, LONG, Turn(text="ok")])) as server,
        live(
            server,
            drain=True,
            realtime_input_config=MANUAL,
        ) as (client, session),
    ):
        await client.send_realtime_input(text="one")
        await session.wait_spoken(200, turn=0)
        await client.send_realtime_input(text="two")
        await session.wait_interrupted(1)
        await session.wait_spoken(200, turn=1)
        await client.send_realtime_input(activity_start=types.ActivityStart())
        await session.wait_interrupted(2)
        await client.send_realtime_input(activity_end=types.ActivityEnd())
        assert [t.outcome for t in await session.wait_turns(3)] == [
            "interrupted",
            "interrupted",
            "complete",
        ]


async def test_speech_after_the_burst_interrupts_nothing() -> None:
    async with (
        LocalGemini(Script([LONG]), speed=math.inf) as server,
        live(server, drain=True) as (
            client,
            session,
        ),
    ):
        await client.send_realtime_input(text="go")
        await session.wait_turns(1)
        await send_audio(
            client, np.concatenate((speech_like(400, 16000), silence(600, 16000))), 16000
        )
        await session.wait_user_turns(2)
        assert session.interruptions == 0


# The end of a session, and the next one


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


# The record


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


# Certificates


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


def test_a_turn_from_a_file_keeps_length_and_level(tmp_path: Path) -> None:
    x = speech_like(1000, 44100, seed=11)
    write_wav(tmp_path / "x.wav", np.stack((x, silence(1000, 44100)), axis=1), 44100)
    turn = Turn.from_wav(tmp_path / "x.wav", text="hello")
    assert turn.pcm.size == 24000
    assert abs(rms_dbfs(turn.pcm) - rms_dbfs(x)) < 0.05
    assert align(fft_resample(x, 44100), turn.pcm, 24000).correlation > 0.999
