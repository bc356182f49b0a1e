"""The turns of the local Gemini server: texts, fillers, chunks, stalls, tools."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.testing._gemini import FunctionCall, LocalGemini, Script, Stall, Turn
from getstream.plugins.gemini.testing.signals import (
    align,
    longest_silence,
    rms_dbfs,
    silence,
    speech_like,
    tone,
    write_wav,
)
from google.genai import types
from live_client import MODEL, Echo, fft_resample, live, receive_turn

pytestmark = pytest.mark.usefixtures("no_task_left")


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


def test_a_turn_from_a_file_keeps_length_and_level(tmp_path: Path) -> None:
    x = speech_like(1000, 44100, seed=11)
    write_wav(tmp_path / "x.wav", np.stack((x, silence(1000, 44100)), axis=1), 44100)
    turn = Turn.from_wav(tmp_path / "x.wav", text="hello")
    assert turn.pcm.size == 24000
    assert abs(rms_dbfs(turn.pcm) - rms_dbfs(x)) < 0.05
    assert align(fft_resample(x, 44100), turn.pcm, 24000).correlation > 0.999
