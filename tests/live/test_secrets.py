"""Keys are in nothing that a program keeps, shows or logs: locals of frames, texts, logs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np
import pytest
import websockets.exceptions
from getstream.plugins.gemini.errors import AuthError, ConfigError, GeminiError
from getstream.plugins.gemini.live import Disconnected, GeminiLive
from getstream.plugins.gemini.live._session import close_errors
from getstream.plugins.gemini.live._session import connection as session_module
from getstream.plugins.gemini.live._session.connection import Session
from getstream.plugins.gemini.testing import (
    QUOTA_EXCEEDED,
    Abort,
    Close,
    NeverAnswer,
    Parrot,
    Reject,
    SetupFault,
)
from getstream.video.rtc import PcmData

Local = Callable[..., Any]
KEY = "AIza-marked-secret"


def chain_of(error: BaseException) -> list[BaseException]:
    """An error, its causes and contexts, also those that `from None` only hides."""
    found: list[BaseException] = []
    left = [error]
    while left:
        each = left.pop()
        if not any(each is other for other in found):
            found.append(each)
            left += [e for e in (each.__cause__, each.__context__) if e is not None]
    return found


def frames_of(error: BaseException) -> Iterator[FrameType]:
    """The frames that an error reporter would show; those of the tests are not ours."""
    traceback = error.__traceback__
    while traceback is not None:
        if "/tests/" not in traceback.tb_frame.f_code.co_filename:
            yield traceback.tb_frame
        traceback = traceback.tb_next


def shown(error: BaseException) -> str:
    """Everything that an error reporter shows of an error: texts, attributes, locals."""
    lines = []
    for each in chain_of(error):
        lines.append(f"{each!r} {each} {vars(each)!r}")
        for frame in frames_of(each):
            lines += [f"{frame.f_code.co_name}.{k} = {v!r}" for k, v in frame.f_locals.items()]
    return "\n".join(lines)


def raised_by_the_sdk(error: BaseException) -> list[str]:
    """Return the places where a chain of errors still has frames of the SDKs."""
    packages = ("/google/genai/", "/websockets/")
    names = [frame.f_code.co_filename for each in chain_of(error) for frame in frames_of(each)]
    return [name for name in names if any(package in name for package in packages)]


FAULTS: list[SetupFault] = [
    Reject(403),
    Reject(503),
    Abort(),
    Close(1007, "API key not valid. Please pass a valid API key."),
    QUOTA_EXCEEDED,
    NeverAnswer(),
]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
async def test_no_frame_of_a_refusal_holds_the_key(
    local: Local, monkeypatch: pytest.MonkeyPatch, fault: SetupFault
) -> None:
    monkeypatch.setattr(session_module, "CONNECT_TIMEOUT_S", 0.3)
    async with local(Parrot(), setup_fault=fault):
        gemini = GeminiLive(api_key=KEY)
        with pytest.raises(GeminiError) as caught:
            await gemini.wait_until_ready()
        assert KEY not in shown(caught.value)
        assert raised_by_the_sdk(caught.value) == []
        await gemini.close()


async def test_the_measure_is_not_blind(local: Local) -> None:
    """The SDK's own error holds the key in its frames: what is asserted above can be seen."""
    async with local(Parrot(), setup_fault=Reject(403)):
        session = Session(
            api_key=KEY, model="gemini-3.8-live", config={}, spawn=asyncio.ensure_future
        )
        session._prepare()
        assert session._client is not None
        with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
            async with session._client.aio.live.connect(model="gemini-3.8-live", config={}):
                pass
        assert KEY in shown(caught.value)
        assert raised_by_the_sdk(caught.value)
        await session.aclose()


async def test_no_frame_of_a_lost_connection_is_the_sdks(local: Local) -> None:
    lost: asyncio.Future[Disconnected] = asyncio.get_running_loop().create_future()
    async with local(Parrot()) as server, GeminiLive(api_key=KEY) as gemini:
        gemini.on("disconnected", lost.set_result)
        (await server.wait_session()).abort()
        reason = (await asyncio.wait_for(lost, 10)).reason
    assert reason is not None
    assert KEY not in shown(reason)
    assert raised_by_the_sdk(reason) == []


async def test_a_key_that_is_no_header_is_nowhere_in_the_chain(local: Local) -> None:
    key = "AIza-marked\nsecret"
    async with local(Parrot()):
        session = Session(
            api_key=key, model="gemini-3.8-live", config={}, spawn=asyncio.ensure_future
        )
        with pytest.raises(AuthError, match="HTTP header") as caught:
            await session.open()
        assert chain_of(caught.value) == [caught.value]
        await session.aclose()


async def test_values_of_a_refused_config_are_nowhere_in_the_chain(local: Local) -> None:
    config = {"http_options": {"headers": {"x-goog-api-key": [KEY]}}}
    async with local(Parrot()):
        gemini = GeminiLive(config=config)
        with pytest.raises(ConfigError, match="headers") as caught:
            await gemini.wait_until_ready()
        assert not [each for each in chain_of(caught.value) if KEY in f"{each!r}{vars(each)}"]
        await gemini.close()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (
            "http://me:pw@proxy:8080 isn't a valid proxy",
            "http://***@proxy:8080 isn't a valid proxy",
        ),
        ("http://me:p/w@proxy:8080 is not", "http://***@proxy:8080 is not"),
        ("https://h/ws?key=abc&x=1", "https://h/ws?key=***&x=1"),
        ("https://h/ws?access_token=auth_tokens/abc isn't", "https://h/ws?access_token=*** isn't"),
        ("mail me@example.org, see http://h/@x", "mail me@example.org, see http://h/@x"),
    ],
)
def test_credentials_of_addresses_are_masked(text: str, masked: str) -> None:
    assert close_errors.without_credentials(text) == masked


def test_a_proxys_password_is_neither_told_nor_chained() -> None:
    error = websockets.exceptions.InvalidProxy("http://me:hunter2@proxy:x", "port is invalid")
    told = close_errors.connect_error(error, "gemini-3.8-live")
    assert isinstance(told, ConfigError)
    assert "proxy" in str(told)
    assert "hunter2" not in str(told)
    assert close_errors.safe_cause(error) is None


async def test_the_key_is_in_no_log_at_debug_not_even_the_local_servers(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with local(Parrot()) as server, GeminiLive(api_key=KEY) as gemini:
            await gemini.send_audio_pcm(
                PcmData(sample_rate=16_000, format="s16", samples=np.zeros(320, np.int16))
            )
            await server.sessions[0].wait_audio(10)
        async with local(Parrot(), refused_keys=[KEY]):
            refused = GeminiLive(api_key=KEY)
            with pytest.raises(AuthError):
                await refused.wait_until_ready()
            await refused.close()
    assert [record.name for record in caplog.records if KEY in record.getMessage()] == []
    assert KEY not in caplog.text
