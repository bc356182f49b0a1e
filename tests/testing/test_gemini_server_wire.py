"""The wire format and the detection of speech, without a socket."""

from __future__ import annotations

import base64
from importlib.resources import as_file, files
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.testing._gemini.activity import (
    ActivityDetector,
    ActivityOptions,
    ActivityStart,
    ActivityStop,
    AudioHistory,
)
from getstream.plugins.gemini.testing._gemini.wire import (
    Endpoint,
    RefusalError,
    audio_blob,
    check_fields,
    check_setup,
    close_reason,
    credentials,
    decode,
    decode_bytes,
    duration,
    endpoint,
)
from getstream.plugins.gemini.testing.signals import (
    click,
    read_wav,
    silence,
    speech_like,
    tone,
)
from numpy.typing import NDArray

GEMINI = Endpoint("v1beta", vertex=False, constrained=False)
VERTEX = Endpoint("v1beta1", vertex=True, constrained=False)
GEMINI_PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
VERTEX_PATH = "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"


def concat(*parts: NDArray[np.int16]) -> NDArray[np.int16]:
    return np.concatenate(parts)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (GEMINI_PATH, GEMINI),
        (GEMINI_PATH + "?key=abc", GEMINI),
        (GEMINI_PATH.replace("v1beta", "v1") + "Constrained", Endpoint("v1", False, True)),
        (VERTEX_PATH, VERTEX),
        ("/", None),
        (GEMINI_PATH + "X", None),
        ("/ws/google.ai.generativelanguage.v1beta.GenerativeService.GenerateContent", None),
    ],
)
def test_paths(target: str, expected: Endpoint | None) -> None:
    assert endpoint(target) == expected


@pytest.mark.parametrize(
    ("target", "headers", "kind", "secret"),
    [
        (GEMINI_PATH, {"x-goog-api-key": "K"}, "key", "K"),
        (GEMINI_PATH + "?key=K", {}, "key", "K"),
        (GEMINI_PATH, {"authorization": "Token auth_tokens/T"}, "token", "auth_tokens/T"),
        (GEMINI_PATH + "?access_token=auth_tokens%2FT", {}, "token", "auth_tokens/T"),
        (GEMINI_PATH, {"x-goog-api-key": "auth_tokens/T"}, "token", "auth_tokens/T"),
        (VERTEX_PATH, {"authorization": "Bearer B"}, "bearer", "B"),
    ],
)
def test_credentials(target: str, headers: dict[str, str], kind: str, secret: str) -> None:
    found = credentials(target, headers)
    assert found is not None
    assert (found.kind, found.secret) == (kind, secret)
    assert secret not in repr(found).replace("kind='bearer'", "").replace("kind='key'", "")


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic abc"}, {"x-goog-api-key": " "}])
def test_no_credentials(headers: dict[str, str]) -> None:
    assert credentials(GEMINI_PATH, headers) is None


def test_snake_case_becomes_camel_case_except_in_user_data() -> None:
    raw = (
        '{"setup": {"generation_config": {"response_modalities": ["AUDIO"]}, "labels": {"my_team":'
        ' "a_b"}, "proactivity": null, "tools": [{"function_declarations": [{"name": "get_it",'
        ' "parameters_json_schema": {"properties": {"city_name": {}}}}]}]}}'
    )
    assert decode(raw) == {
        "setup": {
            "generationConfig": {"responseModalities": ["AUDIO"]},
            "labels": {"my_team": "a_b"},
            "tools": [
                {
                    "functionDeclarations": [
                        {
                            "name": "get_it",
                            "parametersJsonSchema": {"properties": {"city_name": {}}},
                        }
                    ]
                }
            ],
        }
    }


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("{", "Invalid JSON payload received."),
        (b"\xff\xfe\xff", "Invalid JSON payload received."),
        ("[]", "Root element must be a message"),
        ('{"hello": 1}', 'Unknown name "hello": Cannot find field.'),
        ("{}", "invalid argument"),
        ('{"realtimeInput": {}, "setup": {}}', "invalid argument"),
    ],
)
def test_frames_that_are_refused(raw: str | bytes, text: str) -> None:
    with pytest.raises(RefusalError) as caught:
        decode(raw)
    assert caught.value.code == 1007
    assert text in caught.value.reason


def test_unknown_fields_are_refused_with_their_place() -> None:
    with pytest.raises(RefusalError) as caught:
        check_fields("realtime_input", {"audoi": 1}, "realtime_input")
    assert "Unknown name \"audoi\" at 'realtime_input'" in caught.value.reason
    with pytest.raises(RefusalError):
        check_fields("realtime_input", "text", "realtime_input")


def test_both_base64_alphabets_with_and_without_padding() -> None:
    data = bytes(range(256)) + b"\xfb\xff\xfe"
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(data).decode()
        assert decode_bytes(text) == data
        assert decode_bytes(text.rstrip("=")) == data
    for broken in ("a", "a*b=", 7):
        with pytest.raises(RefusalError):
            decode_bytes(broken)


@pytest.mark.parametrize(
    ("mime", "rate"),
    [("audio/pcm;rate=48000", 48000), ("audio/pcm; rate=8000", 8000), ("audio/pcm", 16000)],
)
def test_audio_blobs(mime: str, rate: int) -> None:
    assert audio_blob({"mimeType": mime, "data": "AAE="}) == (b"\x00\x01", rate)


@pytest.mark.parametrize(
    "blob",
    [
        {"mimeType": "audio/wav", "data": "AAE="},
        {"mimeType": "audio/pcm;rate=16000", "data": "AAEC"},  # three bytes
        {"mimeType": "audio/pcm;rate=1000", "data": "AAE="},
        {"mimeType": "audio/pcm;rate=16000", "data": "%%%"},
        {"data": "AAE="},
        "AAE=",
    ],
)
def test_audio_blobs_that_are_refused(blob: object) -> None:
    with pytest.raises(RefusalError) as caught:
        audio_blob(blob)
    assert caught.value.code == 1007


@pytest.mark.parametrize(
    ("model", "where"),
    [
        ("models/gemini-3.8-live", GEMINI),
        ("models/gemini-3.1-flash-live-preview", GEMINI),
        ("models/gemini-2.5-flash-native-audio-preview-12-2025", GEMINI),
        ("models/own", GEMINI),
        ("publishers/google/models/gemini-live-2.5-flash-native-audio", VERTEX),
        ("projects/p/locations/l/publishers/google/models/gemini-3.8-live", VERTEX),
    ],
)
def test_models_that_exist(model: str, where: Endpoint) -> None:
    assert check_setup({"model": model}, where, frozenset({"own"})) == {"model": model}


def test_extended_thinking_insists_on_a_level() -> None:
    for level in ("LOW", "MEDIUM", "HIGH"):
        thinking = {"generationConfig": {"thinkingConfig": {"thinkingLevel": level}}}
        setup = {"model": "models/gemini-3.8-live-extended-thinking", **thinking}
        assert check_setup(setup, GEMINI, frozenset()) == setup


@pytest.mark.parametrize(
    ("model", "where"),
    [
        ("models/gemini-live-2.5-flash-preview", GEMINI),  # shut down on 2025-12-09
        ("models/gemini-2.0-flash-live-001", GEMINI),  # shut down on 2025-12-09
        ("models/gemini-3.8-pro", GEMINI),
        ("gemini-3.8-live", GEMINI),
        ("publishers/google/models/gemini-3.8-live", GEMINI),
        ("models/gemini-3.8-live", VERTEX),
        (None, GEMINI),
        (5, GEMINI),
    ],
)
def test_models_that_do_not_exist(model: object, where: Endpoint) -> None:
    with pytest.raises(RefusalError) as caught:
        check_setup({"model": model}, where, frozenset())
    assert caught.value.code == 1008
    assert f"is not found for API version {where.version}" in caught.value.reason


REFUSED_SETUPS: list[tuple[str, dict[str, Any]]] = [
    ("3.8-live", {"generationConfig": {"responseModalities": ["TEXT"]}}),
    ("3.8-live", {"generationConfig": {"responseModalities": ["AUDIO", "TEXT"]}}),
    ("3.8-live", {"generationConfig": {"enableAffectiveDialog": True}}),
    ("3.8-live", {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}),
    ("3.8-live", {"generationConfig": {"voice": "Kore"}}),
    ("3.8-live", {"proactivity": {"proactiveAudio": False}}),
    ("3.8-live", {"explicitVadSignal": True}),
    ("3.8-live", {"sessionResumption": {"transparent": True}}),
    ("3.8-live", {"realtimeInputConfig": {"automaticActivityDetection": {"off": True}}}),
    ("3.8-live", {"system": "You are terse."}),
    (
        "3.8-live-extended-thinking",
        {"generationConfig": {"thinkingConfig": {"thinkingLevel": "MINIMAL"}}},
    ),
    ("3.8-live-extended-thinking", {}),
    (
        "3.8-live-extended-thinking",
        {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}},
    ),
    (
        "3.8-live-extended-thinking",
        {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 100}}},
    ),
    (
        "3.8-live-extended-thinking",
        {
            "generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}},
            "tools": [{"functionDeclarations": [{"name": "f", "behavior": "BLOCKING"}]}],
        },
    ),
    ("3.1-flash-live-preview", {"generationConfig": {"enableAffectiveDialog": True}}),
]


@pytest.mark.parametrize(("model", "options"), REFUSED_SETUPS)
def test_setups_that_are_refused(model: str, options: dict[str, Any]) -> None:
    with pytest.raises(RefusalError) as caught:
        check_setup({"model": f"models/gemini-{model}", **options}, GEMINI, frozenset())
    assert caught.value.code == 1007


def test_options_of_one_model_are_fine_with_another() -> None:
    thinking = {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}
    for model, options in [
        ("models/gemini-3.8-live-extended-thinking", thinking),
        ("models/gemini-3.1-flash-live-preview", thinking),
        ("models/own", {"generationConfig": {"responseModalities": ["TEXT"]}}),
    ]:
        check_setup({"model": model, **options}, GEMINI, frozenset({"own"}))
    vertex: dict[str, Any] = {"explicitVadSignal": True, "sessionResumption": {"transparent": True}}
    check_setup(
        {"model": "publishers/google/models/gemini-3.8-live", **vertex}, VERTEX, frozenset()
    )


def test_durations_and_close_reasons() -> None:
    assert [duration(s) for s in (50, 1.2, 0.0625, 0)] == ["50s", "1.2s", "0.062s", "0s"]
    assert close_reason("x" * 200) == "x" * 123
    assert close_reason("\N{EURO SIGN}" * 50) == "\N{EURO SIGN}" * 41  # 3 bytes each


# Detection of speech

Events = list[ActivityStart | ActivityStop]


def detect(
    x: NDArray[np.int16], rate: int, options: ActivityOptions | None = None, step: int | None = None
) -> Events:
    detector = ActivityDetector(rate, options or ActivityOptions())
    step = step or rate // 50
    return [e for i in range(0, x.size, step) for e in detector.push(x[i : i + step])]


def test_the_clock_is_the_audio() -> None:
    rate = 16000
    x = concat(silence(300, rate), tone(300, 400, rate), silence(600, rate))
    start, stop = detect(x, rate)
    assert start == ActivityStart(onset=4800, position=4800 + 320)
    assert stop == ActivityStop(end=11200, position=11200 + 8000)


@pytest.mark.parametrize("step", [1, 7, 160, 333, 100_000])
def test_chunks_do_not_matter(step: int) -> None:
    rate = 8000
    x = concat(silence(200, rate), speech_like(900, rate), silence(800, rate))
    assert detect(x, rate, step=step) == detect(x, rate)


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 48000])
@pytest.mark.parametrize("dbfs", [-35.0, -26.0, -12.0])
def test_speech_at_ordinary_levels_is_one_turn(rate: int, dbfs: float) -> None:
    x = concat(silence(500, rate), speech_like(3000, rate, dbfs=dbfs), silence(1000, rate))
    events = detect(x, rate)
    assert [type(e) for e in events] == [ActivityStart, ActivityStop]
    start, stop = events
    assert isinstance(start, ActivityStart)
    assert isinstance(stop, ActivityStop)
    assert abs(start.onset / rate - 0.5) < 0.1
    assert abs(stop.end / rate - 3.5) < 0.12


def test_prefix_padding_ignores_shorter_sounds() -> None:
    rate = 16000
    x = concat(silence(300, rate), click(60, rate), silence(700, rate))
    assert detect(x, rate, ActivityOptions(prefix_padding_ms=100)) == []
    assert len(detect(x, rate, ActivityOptions(prefix_padding_ms=40))) == 2


def test_silence_duration_joins_or_splits() -> None:
    rate = 16000
    x = concat(tone(300, 400, rate), silence(400, rate), tone(300, 400, rate), silence(900, rate))
    assert len(detect(x, rate, ActivityOptions(silence_duration_ms=300))) == 4
    assert len(detect(x, rate, ActivityOptions(silence_duration_ms=600))) == 2


def test_end_of_stream_ends_speech_at_once() -> None:
    rate = 16000
    detector = ActivityDetector(rate, ActivityOptions())
    assert len(detector.push(tone(300, 105, rate))) == 1
    (stop,) = detector.end_stream()
    assert stop == ActivityStop(end=1600, position=1680)
    assert not detector.speaking
    assert detector.end_stream() == []


@pytest.mark.parametrize("dbfs", [-60.0, -45.0, -38.0])
def test_it_gets_used_to_noise(dbfs: float) -> None:
    rate = 16000
    noise = click(12000, rate, dbfs, seed=1)
    events = detect(noise, rate)
    # Three seconds for the minimum, a rise of 4 dB/s, and the end of a false start.
    learned = 7 * rate
    assert [e for e in events if e.position > learned] == []
    spoken = noise.astype(int)
    spoken[8 * rate : 10 * rate] += speech_like(2000, rate, dbfs=-18)
    late = [e for e in detect(spoken.astype(np.int16), rate) if e.position > learned]
    assert [type(e) for e in late] == [ActivityStart, ActivityStop]


def test_an_offset_is_not_speech() -> None:
    assert detect(np.full(16000, 3000, np.int16), 16000) == []


@pytest.mark.parametrize("name", ["question.wav", "speech.wav"])
@pytest.mark.parametrize("gain_db", [-12.0, 0.0])
def test_recorded_speech_is_found_whole(name: str, gain_db: float) -> None:
    with as_file(files("getstream.plugins.gemini") / "data" / name) as path:
        x, rate = read_wav(path)
    x = (x * 10 ** (gain_db / 20)).astype(np.int16)
    x = concat(silence(500, rate), x, silence(1500, rate))
    events = detect(x, rate, ActivityOptions(silence_duration_ms=800))
    turns = list(zip(events[::2], events[1::2], strict=True))
    assert turns
    # Every 10 ms above -40 dBFS is in a turn, or in the 200 ms that a user's turn has around it.
    frames = x[: x.size // 160 * 160].reshape(-1, 160).astype(float)
    loud = frames.var(axis=1) > (32768 * 10 ** (-40 / 20)) ** 2
    for start, stop in turns:
        assert isinstance(start, ActivityStart)
        assert isinstance(stop, ActivityStop)
        loud[max(0, start.onset // 160 - 20) : stop.end // 160 + 20] = False
    assert not loud.any()


def test_history_keeps_positions() -> None:
    history = AudioHistory(1000, seconds=0.1, position=50)
    x = np.arange(300, dtype=np.int16)
    for i in range(0, 300, 20):
        history.push(x[i : i + 20])
    assert history.position == 350
    np.testing.assert_array_equal(history.between(300, 320), x[250:270])
    np.testing.assert_array_equal(history.between(0, 1000), x[200:300])
    assert history.between(400, 500).size == 0
    history.forget(350)
    assert history.between(0, 1000).size == 0


def test_options_come_from_the_setup() -> None:
    merged = ActivityOptions().merged(
        {
            "startOfSpeechSensitivity": "START_SENSITIVITY_LOW",
            "endOfSpeechSensitivity": "END_SENSITIVITY_UNSPECIFIED",
            "prefixPaddingMs": 100,
        }
    )
    assert merged == ActivityOptions(start_sensitivity="LOW", prefix_padding_ms=100)
    kept = ActivityOptions(ends_with_stream=False)  # the service has no such option
    assert kept.merged({"disabled": True}) == ActivityOptions(disabled=True, ends_with_stream=False)
