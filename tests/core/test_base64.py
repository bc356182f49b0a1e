"""Tests of base64 of audio through Python, against the standard library."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from getstream.plugins.gemini.audio import AudioError, Playback, decode_base64, encode_base64
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=5000).map(lambda data: data[: len(data) // 2 * 2]))
def test_out_is_the_standard_alphabet(data: bytes) -> None:
    want = base64.b64encode(data)
    pcm = np.frombuffer(data, "<i2").astype(np.int16)
    for samples in (data, bytearray(data), memoryview(data), pcm, pcm[None, :]):
        assert encode_base64(samples) == want
    assert encode_base64(pcm, b"in front ", b" behind") == b"in front " + want + b" behind"
    assert encode_base64(data, suffix=b"!") == want + b"!"


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=5000))
def test_in_are_both_alphabets_with_and_without_padding(data: bytes) -> None:
    for text in (base64.b64encode(data), base64.urlsafe_b64encode(data)):
        for padded in (text, text.rstrip(b"=")):
            assert decode_base64(padded) == data
            assert decode_base64(padded.decode()) == data
            assert decode_base64(bytearray(padded)) == data
            assert decode_base64(memoryview(padded)) == data


TEXT = st.text("AQgw+/-_= \né", max_size=12)


@settings(derandomize=True, deadline=None, max_examples=1000)
@given(TEXT)
def test_what_is_taken_has_one_meaning(text: str) -> None:
    try:
        data = decode_base64(text)
    except AudioError:
        return
    bare = text.rstrip("=")
    assert text in (bare, bare + "=" * (-len(bare) % 4))
    urls = {base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()}
    assert bare in {url.rstrip("=") for url in urls}


@pytest.mark.parametrize(
    ("text", "place", "fault"),
    [
        ("QUJD  QUJD", 4, "no alphabet"),
        ("QUJDé", 4, "no alphabet"),
        ("QUJDQ", 4, "cut"),
        ("QUJDQQ=", 6, "padding"),
        ("QUJD=", 4, "padding"),
        ("QUJDQR==", 5, "more bits"),
        ("+_AA", 1, "mixed"),
    ],
)
def test_faults_are_named_with_their_place(text: str, place: int, fault: str) -> None:
    with pytest.raises(AudioError, match=f"offset {place}: .*{fault}"):
        decode_base64(text)


@pytest.mark.parametrize("text", [None, 3, ["QUJD"], np.zeros(3, np.int16)])
def test_other_types_are_refused(text: object) -> None:
    with pytest.raises(AudioError, match="str or bytes"):
        decode_base64(text)  # type: ignore[arg-type]


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(AudioError, match="got 3"):
        encode_base64(b"abc")
    playback = Playback()
    with pytest.raises(AudioError, match="got 3"):
        playback.push_base64("QUJD", 1)
    with pytest.raises(AudioError, match="offset 3"):
        playback.push_base64("QUJ!", 1)
    assert playback.stats().pushed == 0
    assert playback.active_turn is None


def test_a_store_is_filled_from_text(rng: np.random.Generator) -> None:
    pcm = rng.integers(-9000, 9000, 30_000, dtype=np.int16)
    texts, samples = Playback(), Playback()
    for chunk in np.split(pcm, 25):
        text = encode_base64(chunk).decode().replace("+", "-").replace("/", "_")
        assert texts.push_base64(text, 1) == samples.push(chunk, 1) == 1200
    for _ in range(60):
        np.testing.assert_array_equal(texts.pop_frame(), samples.pop_frame())
    assert texts.stats().played == samples.stats().played > 0


def test_long_texts_release_the_gil_and_change_nothing(rng: np.random.Generator) -> None:
    data = rng.bytes(3_000_000)
    text = encode_base64(data)
    assert text == base64.b64encode(data)
    assert decode_base64(text) == data
    assert encode_base64(np.frombuffer(data, np.int16)) == text
