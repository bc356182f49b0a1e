"""Connecting: what the service and the network refuse, keys, options, and when it begins."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gemini_calls import pcm, ready_again
from getstream.plugins.gemini.errors import (
    AuthError,
    ConfigError,
    ConnectError,
    GeminiError,
    ModelNotFoundError,
    QuotaError,
    RequestError,
    SessionError,
)
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.live._options import build_config
from getstream.plugins.gemini.live._session import connection as session_module
from getstream.plugins.gemini.testing import (
    QUOTA_EXCEEDED,
    Abort,
    Close,
    NeverAnswer,
    Parrot,
    Reject,
)

Local = Callable[..., Any]


async def test_made_outside_a_loop_it_connects_when_first_used(local: Local) -> None:
    async with local(Parrot()) as server:
        gemini = await asyncio.to_thread(GeminiLive)
        assert "new" in repr(gemini)
        assert not server.sessions
        assert await gemini.wait_until_ready()
        assert "ready" in repr(gemini)
        await gemini.close()


async def test_made_inside_a_loop_it_connects_at_once(local: Local) -> None:
    async with local(Parrot()) as server:
        gemini = GeminiLive()
        await server.wait_session()
        assert await gemini.wait_until_ready()
        await gemini.close()


async def test_the_config_of_the_user_reaches_the_service(local: Local) -> None:
    async with local(Parrot()) as server:
        async with GeminiLive(
            instructions="Be kind.",
            voice="Kore",
            language="de-DE",
            config={
                "realtime_input_config": {
                    "automatic_activity_detection": {"silence_duration_ms": 300}
                }
            },
        ):
            setup = server.sessions[0].setup
        assert setup["systemInstruction"]["parts"][0]["text"] == "Be kind."
        speech = setup["generationConfig"]["speechConfig"]
        assert speech["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"] == "Kore"
        assert speech["languageCode"] == "de-DE"
        detection = setup["realtimeInputConfig"]["automaticActivityDetection"]
        assert detection["silenceDurationMs"] == 300
        assert setup["outputAudioTranscription"] == {}
        assert setup["generationConfig"]["responseModalities"] == ["AUDIO"]


async def test_an_own_client_is_used(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    from google import genai
    from google.genai import types

    async with local(Parrot()) as server:
        client = genai.Client(
            api_key="another-key",
            http_options=types.HttpOptions(
                base_url=server.url,
                api_version="v1beta",
                async_client_args={"ssl": server.client_context()},
            ),
        )
        monkeypatch.delenv("GOOGLE_API_KEY")
        async with GeminiLive(client=client):
            assert len(server.sessions) == 1


REFUSALS = {
    "refused key": ({"refused_keys": ["bad"]}, {"api_key": "bad"}, AuthError, False),
    "quota": ({"setup_fault": QUOTA_EXCEEDED}, {}, QuotaError, True),
    "unknown model": ({}, {"model": "gemini-0-live"}, ModelNotFoundError, False),
    "bad config": (
        {"setup_fault": Close(1007, "Request contains an invalid argument.")},
        {},
        RequestError,
        False,
    ),
    "aborted before setup": ({"setup_fault": Abort()}, {}, ConnectError, True),
    "HTTP 503": ({"setup_fault": Reject(503)}, {}, ConnectError, True),
    "HTTP 403": ({"setup_fault": Reject(403)}, {}, AuthError, False),
    "internal error": (
        {"setup_fault": Close(1011, "Internal error encountered.")},
        {},
        ConnectError,
        True,
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_refusals_are_typed(
    local: Local, collect: Any, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    server_options, options, expected, retryable = REFUSALS[name]
    options.setdefault("api_key", "AIza-marked-secret")
    async with local(Parrot(), **server_options):
        gemini = GeminiLive(**options)
        seen = collect(gemini, "error", "closed", "connected")
        with pytest.raises(expected) as caught:
            await gemini.wait_until_ready()
        error = caught.value
        assert isinstance(error, SessionError)
        assert error.retryable is retryable
        assert error.remedy
        assert error.remedy in str(error)
        assert [item[0] for item in seen] == ["error", "closed"]
        assert seen[0][1] is seen[1][1]
        assert await ready_again(gemini) is expected
        # Every later call says the same, at once.
        for call in (
            gemini.send_text("hi"),
            gemini.send_audio_pcm(pcm(np.zeros(960, np.int16))),
            gemini.start_video_sender(SimpleNamespace(recv=None)),
        ):
            with pytest.raises(expected):
                await call
        records = [r for r in caplog.records if r.levelno >= logging.ERROR]
        assert len(records) == 1, "a terminal failure is logged once"
        chain: BaseException | None = error
        while chain is not None:
            assert options["api_key"] not in f"{chain!r} {chain}" or options["api_key"] == "bad"
            chain = chain.__cause__ or chain.__context__
        assert "AIza-marked-secret" not in caplog.text
        await gemini.close()


async def test_a_server_that_never_answers(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "CONNECT_TIMEOUT_S", 0.2)
    async with local(Parrot(), setup_fault=NeverAnswer()):
        gemini = GeminiLive()
        assert not await gemini.wait_until_ready(timeout=0.01), "False when the time is up"
        with pytest.raises(ConnectError, match="did not answer") as caught:
            await gemini.wait_until_ready()
        assert caught.value.retryable
        await gemini.close()


async def test_nobody_listens_at_the_address(
    local: Local, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local(Parrot()):
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", f"https://127.0.0.1:{unused_tcp_port}")
        with pytest.raises(ConnectError, match="Could not reach") as caught:
            async with GeminiLive():
                pytest.fail("entered without a connection")
        assert isinstance(caught.value.__cause__, OSError)


async def test_a_config_that_the_sdk_refuses_names_the_option(local: Local) -> None:
    async with local(Parrot()):
        gemini = GeminiLive(config={"temprature": 1.0})
        with pytest.raises(ConfigError, match="temprature"):
            await gemini.wait_until_ready()
        await gemini.close()


@pytest.mark.parametrize("key", ["SECRET\u201dKEY", "SECRET KEY", "SECRET\nKEY", "cl\u00e9SECRET"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="not shown") as caught:
        GeminiLive(api_key=key)
    assert "SECRET" not in str(caught.value)


async def test_the_key_is_in_no_log_even_at_debug(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with local(Parrot()), GeminiLive(api_key="AIza-marked-secret") as gemini:
            assert "marked" not in repr(gemini)
            await gemini.send_audio_pcm(pcm(np.zeros(960, np.int16)))
    assert not [r for r in caplog.records if "AIza-marked-secret" in r.getMessage()]
    assert logging.getLogger("getstream.plugins.gemini.websocket").level == logging.INFO


async def test_secrets_of_the_config_are_in_no_exception(local: Local) -> None:
    config = {"http_options": {"headers": {"x-goog-api-key": ["SECRETHEADER"]}}}
    async with local(Parrot()):
        gemini = GeminiLive(config=config)
        with pytest.raises(ConfigError, match="headers") as caught:
            await gemini.wait_until_ready()
        text = "".join(traceback.format_exception(caught.value))
        assert "SECRETHEADER" not in text
        await gemini.close()


async def test_wait_until_ready_without_patience(local: Local) -> None:
    async with local(Parrot()), GeminiLive() as gemini:
        assert await gemini.wait_until_ready(0)
        assert await gemini.wait_until_ready(None)


def test_tools_of_the_service_and_objects_of_the_sdk_are_merged() -> None:
    from google.genai import types

    config = build_config(
        {
            "tools": [{"google_search": {}}],
            "speech_config": types.SpeechConfig(language_code="de-DE"),
            "context_window_compression": types.ContextWindowCompressionConfig(trigger_tokens=9),
        },
        voice="Kore",
    )
    assert config["tools"] == [{"google_search": {}}]
    assert config["speech_config"]["language_code"] == "de-DE"
    assert "voice_config" in config["speech_config"]
    assert config["context_window_compression"] == {"sliding_window": {}, "trigger_tokens": 9}


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("SSL_CERT_FILE", "/nonexistent.pem", "SSL_CERT_FILE"),
        ("GOOGLE_GEMINI_BASE_URL", "nonsense", "GOOGLE_GEMINI_BASE_URL"),
    ],
)
async def test_variables_that_cannot_be_used_are_named(
    local: Local, monkeypatch: pytest.MonkeyPatch, name: str, value: str, match: str
) -> None:
    async with local(Parrot()):
        monkeypatch.setenv(name, value)
        gemini = GeminiLive()
        with pytest.raises(GeminiError, match=match):
            await gemini.wait_until_ready()
        await gemini.close()
