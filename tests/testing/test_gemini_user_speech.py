"""The user's speech at the local Gemini server: turns, activity, interruptions."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.testing._gemini import (
    ActivityOptions,
    LocalGemini,
    Parrot,
    Script,
    Stall,
    Turn,
    UserTurn,
)
from getstream.plugins.gemini.testing.signals import (
    align,
    longest_silence,
    silence,
    speech_like,
    tone,
)
from google.genai import types
from live_client import LONG, MANUAL, MODEL, fft_resample, live, raw, receive_turn, send_audio

pytestmark = pytest.mark.usefixtures("no_task_left")


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
