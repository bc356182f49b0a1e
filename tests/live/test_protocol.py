"""Messages on the wire: all fields, and whatever else may come."""

from __future__ import annotations

import json
from typing import Any

import pytest
from getstream.plugins.gemini.errors import (
    AuthError,
    ConnectError,
    ConnectionLostError,
    ModelNotFoundError,
    QuotaError,
    RequestError,
    SessionError,
    SessionExpiredError,
)
from getstream.plugins.gemini.live import ModalityTokens, TokenUsage
from getstream.plugins.gemini.live._session.close_errors import connect_error, lost_error, option_of
from getstream.plugins.gemini.live._session.protocol import (
    MOST_TOKENS,
    ServerMessage,
    audio_envelope,
    image_message,
    rate_of,
    read,
    seconds_of,
)
from getstream.plugins.gemini.live._session.sdk_protocol import from_sdk
from google.genai import errors as genai_errors
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

BLOB = {"mimeType": "audio/pcm;rate=24000", "data": "AAEC/w=="}
CONTENT: dict[str, Any] = {
    "modelTurn": {
        "role": "model",
        "parts": [
            {"inlineData": BLOB},
            {"text": "Hello"},
            {"text": "hm", "thought": True},
            {"inlineData": {**BLOB, "mimeType": "audio/pcm;rate=16000"}},
        ],
    },
    "outputTranscription": {"text": " there"},
    "inputTranscription": {"text": "Hi"},
    "generationComplete": True,
    "turnComplete": True,
}
MESSAGES: dict[str, tuple[dict[str, Any], ServerMessage]] = {
    "everything at once": (
        {
            "serverContent": CONTENT,
            "usageMetadata": {"totalTokenCount": 42},
            "goAway": {"timeLeft": "50.5s"},
            "sessionResumptionUpdate": {
                "newHandle": "h",
                "resumable": True,
                "lastConsumedClientMessageIndex": "17",
            },
        },
        ServerMessage(
            audio=[("AAEC/w==", 24000), ("AAEC/w==", 16000)],
            text=["Hello"],
            output_transcription=" there",
            input_transcription="Hi",
            generation_complete=True,
            turn_complete=True,
            at_work=True,
            time_left=50.5,
            handle="h",
            resumable=True,
            consumed=17,
            usage=TokenUsage(input=ModalityTokens(other=42)),
        ),
    ),
    "tokens": (
        {
            "usageMetadata": {
                # As gemini-3.8-live was seen to report them in September 2026: 25 of the prompt
                # have no modality, and the total leaves the thoughts out.
                "promptTokenCount": 522,
                "responseTokenCount": 42,
                "totalTokenCount": 564,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 332},
                    {"modality": "AUDIO", "tokenCount": 165},
                ],
                "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 42}],
                "thoughtsTokenCount": 136,
                "cachedContentTokenCount": 100,
                "toolUsePromptTokenCount": 7,
            }
        },
        ServerMessage(
            usage=TokenUsage(
                input=ModalityTokens(text=332, audio=165, other=25),
                output=ModalityTokens(audio=42),
                cached=100,
                thoughts=136,
                tool_use=7,
            )
        ),
    ),
    "tokens of documents and pictures": (
        {
            "usageMetadata": {
                "promptTokenCount": 6,
                "promptTokensDetails": [
                    {"modality": "IMAGE", "tokenCount": 1},
                    {"modality": "VIDEO", "tokenCount": 2},
                    {"modality": "DOCUMENT", "tokenCount": 3},
                ],
            }
        },
        ServerMessage(usage=TokenUsage(input=ModalityTokens(image=1, video=2, other=3))),
    ),
    "audio alone": (
        {"serverContent": {"modelTurn": {"parts": [{"inlineData": BLOB}]}}},
        ServerMessage(audio=[("AAEC/w==", 24000)]),
    ),
    "a thought alone": (
        {"serverContent": {"modelTurn": {"parts": [{"text": "hm", "thought": True}]}}},
        ServerMessage(at_work=True),
    ),
    "interrupted": ({"serverContent": {"interrupted": True}}, ServerMessage(interrupted=True)),
    "rejected": (
        {"serverContent": {"turnComplete": True, "turnCompleteReason": "RESPONSE_REJECTED"}},
        ServerMessage(turn_complete=True, complete_reason="RESPONSE_REJECTED"),
    ),
    "complete for the ordinary reason": (
        {
            "serverContent": {
                "turnComplete": True,
                "turnCompleteReason": "TURN_COMPLETE_REASON_UNSPECIFIED",
            }
        },
        ServerMessage(turn_complete=True),
    ),
    "the end of a transcript": (
        {"serverContent": {"outputTranscription": {"text": " Bye.", "finished": True}}},
        ServerMessage(output_transcription=" Bye.", output_transcription_finished=True),
    ),
    "the end of a transcript, without text": (
        {"serverContent": {"outputTranscription": {"finished": True}}},
        ServerMessage(output_transcription_finished=True),
    ),
    "at work": (
        {"serverContent": {"turnComplete": True, "interactionStatus": "IN_PROGRESS"}},
        ServerMessage(turn_complete=True, at_work=True, in_progress=True),
    ),
    "waiting for a function, as it was told before": (
        {"serverContent": {"interactionStatus": "REQUIRES_ACTION"}},
        ServerMessage(at_work=True, in_progress=True),
    ),
    "idle": (
        {"serverContent": {"turnComplete": True, "interactionStatus": "IDLE"}},
        ServerMessage(turn_complete=True, in_progress=False),
    ),
    "no status that is known": (
        {"serverContent": {"interactionStatus": "INTERACTION_STATUS_UNSPECIFIED"}},
        ServerMessage(),
    ),
    "nothing for the SDK: at work, at the top level": (
        {"interactionStatus": "IN_PROGRESS"},
        ServerMessage(at_work=True, in_progress=True),
    ),
    "nothing for the SDK: idle, beside the content": (
        {"serverContent": {"turnComplete": True}, "interactionStatus": "IDLE"},
        ServerMessage(turn_complete=True, in_progress=False),
    ),
    "not resumable now": (
        {"sessionResumptionUpdate": {"resumable": False}},
        ServerMessage(resumable=False),
    ),
    "a tool call": (
        {"toolCall": {"functionCalls": [{"id": "1", "name": "f", "args": {"x": 1}}]}},
        ServerMessage(tool_calls=[{"id": "1", "name": "f", "args": {"x": 1}}]),
    ),
    "a cancelled call": (
        {"toolCallCancellation": {"ids": ["1"]}},
        ServerMessage(cancelled_calls=["1"]),
    ),
    "nothing that is known": (
        {"brandNew": {"a": 1}, "serverContent": {"alsoNew": 2}},
        ServerMessage(),
    ),
    "nothing at all": ({}, ServerMessage()),
}


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("binary", [True, False])
def test_every_field_is_read(name: str, binary: bool) -> None:
    message, expected = MESSAGES[name]
    text = json.dumps(message)
    assert read(text.encode() if binary else text) == expected


# What the SDK refuses to read at all is not among these.
READ_BY_BOTH = [name for name in MESSAGES if not name.startswith("nothing")]


@pytest.mark.parametrize("name", READ_BY_BOTH)
def test_the_sdk_reads_the_same(name: str) -> None:
    message, _ = MESSAGES[name]
    mine = read(json.dumps(message))
    theirs = from_sdk(
        types.LiveServerMessage._from_response(response=json.loads(json.dumps(message)), kwargs={})
    )
    # The SDK decodes the audio.
    assert [rate for _, rate in theirs.audio] == [rate for _, rate in mine.audio]
    assert all(data == b"\x00\x01\x02\xff" for data, _ in theirs.audio)
    theirs.audio = mine.audio
    assert theirs == mine


JUNK: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "serverContent",
                        "modelTurn",
                        "parts",
                        "inlineData",
                        "mimeType",
                        "data",
                        "text",
                    ),
                    *(
                        "thought",
                        "interrupted",
                        "outputTranscription",
                        "inputTranscription",
                        "goAway",
                    ),
                    *("timeLeft", "sessionResumptionUpdate", "newHandle", "resumable", "toolCall"),
                    *("functionCalls", "toolCallCancellation", "ids", "usageMetadata", "other"),
                    *("totalTokenCount", "lastConsumedClientMessageIndex", "interactionStatus"),
                    *("turnComplete", "turnCompleteReason", "finished", "modality", "tokenCount"),
                    *("promptTokenCount", "promptTokensDetails", "candidatesTokenCount"),
                    *("responseTokensDetails", "thoughtsTokenCount"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=500)
@given(JUNK)
def test_no_message_is_too_strange(message: Any) -> None:
    result = read(json.dumps(message))
    assert result.unreadable is not isinstance(message, dict)
    assert all(isinstance(data, str) and isinstance(rate, int) for data, rate in result.audio)
    assert isinstance(
        result.output_transcription
        + result.input_transcription
        + result.handle
        + result.complete_reason,
        str,
    )
    assert isinstance(result.output_transcription_finished, bool)
    assert result.time_left is None or result.time_left >= 0
    assert result.usage is None or 0 <= result.usage.total < 100 * MOST_TOKENS


@given(st.binary(max_size=40))
def test_no_bytes_are_too_strange(raw: bytes) -> None:
    read(raw)


@pytest.mark.parametrize("raw", ["", "null", "[1]", b"\xff", "[" * 200_000, '{"a": 1'])
def test_what_is_no_message_is_unreadable(raw: str | bytes) -> None:
    assert read(raw) == ServerMessage(unreadable=True)


@pytest.mark.parametrize(
    ("mime", "rate"),
    [
        ("audio/pcm;rate=24000", 24000),
        ("audio/pcm; rate=16000", 16000),
        ("audio/pcm", 24000),
        ("audio/pcm;rate=fast", 24000),
        ("audio/pcm;rate=\u00b2", 24000),
        ("audio/pcm;channels=1;rate=48000", 48000),
    ],
)
def test_rates(mime: str, rate: int) -> None:
    assert rate_of(mime) == rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("50s", 50.0),
        ("1.5s", 1.5),
        ("", 0),
        (None, 0),
        ("50", 0),
        ("xs", 0),
        ("-3s", 0),
        ("nans", 0),
    ],
)
def test_durations(text: Any, seconds: float) -> None:
    assert seconds_of(text) == seconds


def test_client_messages_are_json() -> None:
    before, behind = audio_envelope(16000)
    assert json.loads(before + b"AAA=" + behind) == {
        "realtimeInput": {"audio": {"mimeType": "audio/pcm;rate=16000", "data": "AAA="}}
    }
    assert json.loads(image_message(b"AAA=")) == {
        "realtimeInput": {"video": {"mimeType": "image/jpeg", "data": "AAA="}}
    }


# -- what the end of a connection means ------------------------------------------------------------

CLOSES: list[tuple[int, str, type[SessionError], type[SessionError]]] = [
    # code, reason, while connecting, later
    (1007, "Request contains an invalid argument.", RequestError, RequestError),
    (1008, "models/x is not found for API version v1beta, or is not supported for "
     "bidiGenerateContent.", ModelNotFoundError, ConnectionLostError),
    (1008, "Operation is not implemented, or supported, or enabled.", ConnectError,
     ConnectionLostError),
    (1008, "The operation was aborted.", ConnectError, ConnectionLostError),
    (1008, "API key not valid. Please pass a valid API key.", AuthError, AuthError),
    (1007, "API key not valid. Please pass a valid API key.", AuthError, AuthError),
    (1008, "BidiGenerateContent session not found", SessionExpiredError, SessionExpiredError),
    (1011, "Deadline expired before operation could complete.", SessionExpiredError,
     SessionExpiredError),
    (1000, "operation was cancelled", SessionExpiredError, SessionExpiredError),
    (1011, "The service is currently unavailable.", ConnectError, ConnectionLostError),
    (1011, "Internal error encountered.", ConnectError, ConnectionLostError),
    (1011, "You exceeded your current quota, please check your plan", QuotaError, QuotaError),
    (1011, "RESOURCE_EXHAUSTED", QuotaError, QuotaError),
    (1000, "", ConnectError, ConnectionLostError),
    (1001, "going away", ConnectError, ConnectionLostError),
    (1006, "abnormal closure", ConnectError, ConnectionLostError),
    (1012, "service restart", ConnectError, ConnectionLostError),
]  # fmt: skip


@pytest.mark.parametrize(("code", "reason", "connecting", "later"), CLOSES)
def test_closes_are_mapped_by_code_and_reason(
    code: int, reason: str, connecting: type[SessionError], later: type[SessionError]
) -> None:
    error = genai_errors.APIError(code, reason)  # as the SDK makes it of a close frame
    for make, expected in ((connect_error, connecting), (lost_error, later)):
        got = make(error, "gemini-3.8-live")
        assert type(got) is expected
        assert got.code == code
        assert got.reason == reason
        assert got.remedy
        assert got.remedy in str(got)


@pytest.mark.parametrize(
    ("reason", "option"),
    [
        (
            'Invalid JSON payload received. Unknown name "temprature" at '
            "'setup.generation_config': Cannot find field.",
            "setup.generation_config.temprature",
        ),
        ('Invalid JSON payload received. Unknown name "foo": Cannot find field.', "foo"),
        ("Invalid value at 'setup.tools'", "setup.tools"),
        ("Request contains an invalid argument.", ""),
    ],
)
def test_a_refused_request_names_the_option(reason: str, option: str) -> None:
    assert option_of(reason) == option
    error = connect_error(genai_errors.APIError(1007, reason), "m")
    assert isinstance(error, RequestError)
    assert error.option == option
    assert option in str(error)
