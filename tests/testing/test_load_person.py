"""People of a load: their packets, their media connection, and a talk with somebody on the SDK."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from importlib.resources import files

import aiohttp
import numpy as np
import pytest
from getstream.plugins.gemini.errors import CallError, ConfigError
from getstream.plugins.gemini.testing import LocalStream, Person, signals
from getstream.plugins.gemini.testing._load.light_person import Backend, LightPerson
from getstream.plugins.gemini.testing._load.speech import Clip, encode_clip, is_loud
from getstream.plugins.gemini.testing._person.opus import OpusDecoder
from getstream.plugins.gemini.testing._stream.auth import Credentials
from getstream.plugins.gemini.testing._stream.dtls import Certificate
from getstream.plugins.gemini.testing._stream.stun import BindingRequest, binding_request
from getstream.video import rtc

QUESTION = files("getstream.plugins.gemini") / "data" / "question.wav"


# -- packets -----------------------------------------------------------------------------------


def speech(ms: float) -> np.ndarray:
    return signals.speech_like(ms, 48_000, seed=1)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return encode_clip(speech(800))


def test_a_clip_says_what_was_encoded(clip: Clip) -> None:
    decoder = OpusDecoder()
    heard = np.concatenate([decoder.decode(payload).copy() for payload, _ in clip.packets])
    decoder.close()
    assert len(heard) == len(clip.packets) * 960
    where = signals.align(speech(800), heard, 48_000)
    assert where.correlation > 0.9
    assert where.offset_samples == pytest.approx(25 * 960, abs=960)


def test_the_last_word_ends_where_the_speech_does(clip: Clip) -> None:
    assert clip.last_word * 20 == pytest.approx(500 + 800, abs=60)
    levels = [level for _, level in clip.packets]
    assert levels[0] == levels[-1] == 127
    assert min(levels[: clip.last_word + 1]) < 40
    assert min(levels[clip.last_word + 4 :]) == 127


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(48_000, dtype=np.int16),
        np.concatenate([speech(500), np.zeros(48_000, dtype=np.int16), speech(500)]),
    ],
    ids=["silence", "two turns"],
)
def test_a_clip_is_one_turn(samples: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="one turn"):
        encode_clip(samples)


def test_speech_is_told_from_silence_by_its_level() -> None:
    assert is_loud(signals.tone(440, 20, 48_000, dbfs=-40))
    assert not is_loud(signals.tone(440, 20, 48_000, dbfs=-60))
    assert not is_loud(np.zeros(0, dtype=np.int16))


def test_a_decoder_returns_nothing_for_what_is_no_packet() -> None:
    decoder = OpusDecoder()
    assert len(decoder.decode(b"\xff\xff\xff")) == 0
    decoder.close()
    decoder.close()
    with pytest.raises(ValueError, match="closed"):
        decoder.decode(b"\xf8\xff\xfe")


def test_a_check_is_read_as_it_was_written() -> None:
    transaction = secrets.token_bytes(12)
    request = BindingRequest.parse(binding_request(transaction, "theirs:ours", "the password"))
    assert request is not None
    assert request.transaction_id == transaction
    assert request.username == "theirs:ours"
    assert request.nominated
    assert request.signed_with("the password")
    assert not request.signed_with("another")


# -- in a call ---------------------------------------------------------------------------------


@pytest.fixture
async def stream() -> AsyncIterator[LocalStream]:
    async with LocalStream() as stream:
        with stream.redirected():
            yield stream


@pytest.fixture
async def backend(stream: LocalStream) -> AsyncIterator[Backend]:
    async with aiohttp.ClientSession() as http:
        credentials = Credentials(stream.api_key, stream.api_secret)
        yield Backend(stream.url, credentials, http, Certificate())


async def test_two_of_them_hear_each_other_to_the_packet(backend: Backend, clip: Clip) -> None:
    heard = {name: asyncio.Event() for name in ("anna", "ben")}
    people = [
        LightPerson("light", name, backend, clip, on_heard=event.set)
        for name, event in heard.items()
    ]
    try:
        await asyncio.gather(*(person.join() for person in people))
        await asyncio.wait_for(asyncio.gather(*(e.wait() for e in heard.values())), 20)
        anna, ben = people
        talking = asyncio.ensure_future(anna.say())
        said_at = await asyncio.wait_for(talking, 20)
        assert await asyncio.wait_for(ben.sound_within(5), 20)
        assert ben.onset_at < said_at, "the first sound comes before the last word has left"
        (track,) = ben.take_tracks()
        assert len(track.arrivals) == len(track.numbers) == len(track.timestamps) > 0
        steps = np.diff(track.numbers) % (1 << 16)
        assert set(steps.tolist()) == {1}, "no packet is lost on loopback"
        assert set((np.diff(track.timestamps) % (1 << 32)).tolist()) == {960}
    finally:
        await asyncio.gather(*(person.leave() for person in people))


@pytest.mark.skipif(not hasattr(rtc, "RemoteTrack"), reason="one version of the SDK is enough")
async def test_somebody_on_the_sdk_is_asked_and_answers(backend: Backend) -> None:
    light = LightPerson("mixed", "light", backend, encode_clip(speech(600)))
    async with Person("mixed", "heavy") as heavy:
        await light.join()
        talking = asyncio.ensure_future(light.converse())
        try:
            for _ in range(2):
                await heavy.hear_speech(30, user_id="light")
                await heavy.hear_silence(400, 30, user_id="light")
                await heavy.say(speech(600))
            while len(light.latencies_s) < 2:
                assert not talking.done()
                await asyncio.sleep(0.05)
        finally:
            talking.cancel()
            await asyncio.wait([talking])
            await light.leave()
    assert light.unanswered == []
    for _, seconds in light.latencies_s:
        assert seconds >= 0.3, "the answer was not begun before the silence that it waited for"


async def test_who_may_not_join_says_so(stream: LocalStream) -> None:
    async with aiohttp.ClientSession() as http:
        wrong = Backend(stream.url, Credentials(stream.api_key, "x" * 32), http, Certificate())
        person = LightPerson("light", "anna", wrong, Clip((), b"", 0))
        with pytest.raises(CallError, match="may not join"):
            await person.join()
        nobody = Backend("http://127.0.0.1:9", Credentials(), http, Certificate())
        person = LightPerson("light", "anna", nobody, Clip((), b"", 0))
        with pytest.raises(CallError, match="could not join"):
            await person.join()
        await person.leave()
