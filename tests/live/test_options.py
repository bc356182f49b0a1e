"""Keys, models and configuration: what is checked before a socket opens."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.live import (
    DEFAULT_MODEL,
    BargeIn,
    GeminiLive,
    RetiredModelWarning,
    Watchdog,
)
from getstream.plugins.gemini.live._models import (
    check_config,
    default_options,
    is_proactive,
    model_of,
    resolve_model,
)
from getstream.plugins.gemini.live._options import (
    Activity,
    build_config,
    check_answered_key,
    is_only_speech,
    resolve_access,
    resolve_activity,
    resolve_api_key,
    resolve_handle,
    resolve_switch,
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "GOOGLE_API_KEY",
        "GEMINI_API_KEY",
        "GEMINI_LIVE_MODEL",
        "GOOGLE_CLOUD_LOCATION",
        "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_GENAI_USE_ENTERPRISE",
        "GOOGLE_GENAI_USE_VERTEXAI",
    ):
        monkeypatch.delenv(name, raising=False)


def test_key_argument_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "google")
    monkeypatch.setenv("GEMINI_API_KEY", "gemini")
    assert resolve_api_key("mine") == "mine"
    assert resolve_api_key(None) == "google"
    monkeypatch.setenv("GOOGLE_API_KEY", " ")
    assert resolve_api_key(None) == "gemini"


def test_no_key_names_all_three_places() -> None:
    with pytest.raises(ConfigError) as caught:
        GeminiLive()
    for place in ("api_key=", "GOOGLE_API_KEY", "GEMINI_API_KEY"):
        assert place in str(caught.value)


def test_a_key_of_another_type_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError, match="not bytes") as caught:
        resolve_api_key(b"secret-key")  # type: ignore[arg-type]
    assert "secret-key" not in str(caught.value)


@pytest.mark.parametrize("answer", [None, b"secret", 7, ["secret"]])
def test_a_function_that_gives_no_string_is_told_by_its_type(answer: Any) -> None:
    with pytest.raises(ConfigError, match=type(answer).__name__) as caught:
        check_answered_key(answer)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("answer", ["", "  ", "sec ret", "sec\nret", "sécret"])
def test_a_function_that_gives_no_key_is_told_without_showing_it(answer: str) -> None:
    with pytest.raises(ConfigError, match="api_key gave") as caught:
        check_answered_key(answer)
    assert answer.strip() == "" or answer not in str(caught.value)


def test_a_function_may_leave_white_space_around_the_key() -> None:
    assert check_answered_key(" auth_tokens/abc\n") == "auth_tokens/abc"


# -- Gemini API or Vertex AI, as the SDK decides ---------------------------------------------------

VALUES = (None, "", "1", "True", " true", "false")


@pytest.mark.parametrize("enterprise", VALUES)
@pytest.mark.parametrize("vertexai", VALUES)
def test_the_variables_are_read_as_the_sdk_reads_them(
    monkeypatch: pytest.MonkeyPatch, enterprise: str | None, vertexai: str | None
) -> None:
    from google import genai

    for name, value in (("ENTERPRISE", enterprise), ("VERTEXAI", vertexai)):
        if value is not None:
            monkeypatch.setenv(f"GOOGLE_GENAI_USE_{name}", value)
    with warnings.catch_warnings(record=True) as theirs:
        warnings.simplefilter("always")
        client = genai.Client(api_key="key")
    with warnings.catch_warnings(record=True) as ours:
        warnings.simplefilter("always")
        access = resolve_access("key")
    assert access.vertexai is bool(client.vertexai)
    assert len(ours) == len([each for each in theirs if "ENTERPRISE" in str(each.message)])
    client.close()


def test_a_contradiction_names_the_users_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_ENTERPRISE", "false")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    with pytest.warns(UserWarning, match="GOOGLE_GENAI_USE_ENTERPRISE counts") as caught:
        GeminiLive("key")
    assert caught[0].filename == __file__


@pytest.mark.parametrize("place", ["PROJECT", "LOCATION"])
def test_a_place_of_the_environment_comes_before_its_key(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_ENTERPRISE", "1")
    monkeypatch.setenv("GOOGLE_API_KEY", "key of the environment")
    monkeypatch.setenv(f"GOOGLE_CLOUD_{place}", "somewhere")
    access = resolve_access(None)
    assert (access.api_key, access.vertexai, access.renews) == (None, True, True)
    assert resolve_access("mine").api_key == "mine"


def test_a_function_instead_of_a_key() -> None:
    def ask() -> str:
        return "secret"

    access = resolve_access(ask)
    assert (access.api_key, access.ask, access.renews) == (None, ask, True)
    assert not resolve_access("key").renews
    assert "secret" not in repr(access)
    GeminiLive(ask)  # and nobody is asked before it connects


def test_model_argument_then_variable_then_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_model(None) == DEFAULT_MODEL
    monkeypatch.setenv("GEMINI_LIVE_MODEL", "gemini-3.8-live-extended-thinking")
    assert resolve_model(None) == "gemini-3.8-live-extended-thinking"
    assert resolve_model("my-tuned-model") == "my-tuned-model"


@pytest.mark.parametrize("prefix", ["", "models/"])
def test_a_retired_model_is_replaced_with_one_warning(prefix: str) -> None:
    with pytest.warns(RetiredModelWarning) as caught:
        live = GeminiLive("key", prefix + "gemini-live-2.5-flash-preview")
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "gemini-live-2.5-flash-preview" in text
    assert DEFAULT_MODEL in text
    assert "2025-12-09" in text
    assert caught[0].filename == __file__, "the warning names the user's line"
    assert prefix + DEFAULT_MODEL in repr(live)


def test_an_unknown_model_passes_in_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_model("gemini-9-live") == "gemini-9-live"


@pytest.mark.parametrize("model", ["", "  ", 7])
def test_a_model_that_is_no_name(model: Any) -> None:
    with pytest.raises(ConfigError, match="model must be"):
        resolve_model(model)


def test_config_is_merged_key_by_key() -> None:
    config = build_config(
        {
            "temperature": 0.5,
            "speech_config": {"language_code": "de-DE"},
            "context_window_compression": {"trigger_tokens": 9000},
        },
        instructions="Be brief.",
        voice="Kore",
    )
    assert config["response_modalities"] == ["AUDIO"]
    assert config["output_audio_transcription"] == {}
    assert config["temperature"] == 0.5
    assert config["context_window_compression"] == {
        "trigger_tokens": 9000,
        "sliding_window": {},
    }
    assert config["system_instruction"] == "Be brief."
    assert config["speech_config"] == {
        "language_code": "de-DE",
        "voice_config": {"prebuilt_voice_config": {"voice_name": "Kore"}},
    }


def test_none_removes_a_default_and_camel_case_names_the_same_option() -> None:
    config = build_config(
        {
            "outputAudioTranscription": None,
            "responseModalities": ["TEXT"],
            "labels": {"teamName": "a"},
        }
    )
    assert "output_audio_transcription" not in config
    assert config["response_modalities"] == ["TEXT"]
    assert config["labels"] == {"teamName": "a"}, "the user's own names are left alone"
    assert not [key for key in config if key != key.lower()]


def test_the_defaults_are_not_shared_between_assistants() -> None:
    build_config({"context_window_compression": {"trigger_tokens": 1}})
    assert build_config(None)["context_window_compression"] == {"sliding_window": {}}


def test_a_config_object_of_the_sdk_is_taken() -> None:
    from google.genai import types

    config = build_config(types.LiveConnectConfig(temperature=0.25))
    assert config["temperature"] == 0.25
    assert config["response_modalities"] == ["AUDIO"]


# -- the deprecated generation_config --------------------------------------------------------------

VOICE = {"voice_config": {"prebuilt_voice_config": {"voice_name": "Charon"}}}

# An option, as people write it in `generation_config`, and the same one beside it.
NESTED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"response_modalities": ["TEXT"]}, {"response_modalities": ["TEXT"]}),
    ({"responseModalities": ["TEXT"]}, {"response_modalities": ["TEXT"]}),
    ({"temperature": 0.3}, {"temperature": 0.3}),
    ({"topP": 0.9, "top_k": 4}, {"top_p": 0.9, "top_k": 4}),
    ({"maxOutputTokens": 100}, {"max_output_tokens": 100}),
    ({"seed": 1}, {"seed": 1}),
    ({"mediaResolution": "MEDIA_RESOLUTION_LOW"}, {"media_resolution": "MEDIA_RESOLUTION_LOW"}),
    ({"speech_config": VOICE}, {"speech_config": VOICE}),
    (
        {"speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Charon"}}}},
        {"speech_config": VOICE},
    ),
    ({"thinkingConfig": {"thinkingLevel": "LOW"}}, {"thinking_config": {"thinking_level": "LOW"}}),
    ({"enableAffectiveDialog": True}, {"enable_affective_dialog": True}),
    (
        {"translationConfig": {"targetLanguageCode": "es"}},
        {"translation_config": {"target_language_code": "es"}},
    ),
]


@pytest.mark.parametrize("outer", ["generation_config", "generationConfig"])
@pytest.mark.parametrize(("nested", "flat"), NESTED)
def test_a_nested_option_is_the_same_as_a_flat_one(
    outer: str, nested: dict[str, Any], flat: dict[str, Any]
) -> None:
    assert build_config({outer: nested}) == build_config(flat)
    assert "generation_config" not in build_config({outer: nested})


def test_generation_config_may_be_an_object_of_the_sdk() -> None:
    from google.genai import types

    nested = types.GenerationConfig(
        temperature=0.3, response_modalities=[types.Modality.TEXT], stop_sequences=["."]
    )
    for config in (
        {"generation_config": nested},
        types.LiveConnectConfig(generation_config=nested),
    ):
        built = build_config(config)
        assert built["temperature"] == 0.3
        assert built["response_modalities"] == [types.Modality.TEXT]
        assert built["generation_config"] == {"stop_sequences": ["."]}


def test_what_only_generation_config_has_stays_in_it() -> None:
    schema = {"properties": {"userName": {"type": "string"}}}
    built = build_config(
        {"generationConfig": {"stopSequences": ["x"], "responseJsonSchema": schema, "seed": 1}}
    )
    assert built["generation_config"] == {"stop_sequences": ["x"], "response_json_schema": schema}
    assert built["seed"] == 1


@pytest.mark.parametrize(("model", "config", "option"), [
    ("gemini-3.8-live", {"response_modalities": ["TEXT"]}, "response_modalities"),
    ("gemini-3.8-live", {"thinkingConfig": {"thinkingBudget": 0}}, "thinking_config"),
    ("gemini-3.8-live", {"enable_affective_dialog": True}, "enable_affective_dialog"),
    ("gemini-3.8-live-extended-thinking", {"thinking_config": {"thinking_level": "MINIMAL"}},
     "thinking_level"),
    ("gemini-3.8-live-extended-thinking", {"thinking_config": {"thinking_budget": 100}},
     "thinking_level"),
])  # fmt: skip
def test_a_nested_option_is_checked_like_a_flat_one(
    model: str, config: dict[str, Any], option: str
) -> None:
    with pytest.raises(ConfigError, match=option):
        GeminiLive("key", model, {"generation_config": config})


def test_keywords_come_before_nested_options_and_beside_what_they_do_not_say() -> None:
    nested = {"generation_config": {"speech_config": {**VOICE, "language_code": "de-DE"}}}
    assert build_config(nested, voice="Kore")["speech_config"] == {
        "voice_config": {"prebuilt_voice_config": {"voice_name": "Kore"}},
        "language_code": "de-DE",
    }
    assert build_config(nested, language="en-US")["speech_config"] == {
        **VOICE,
        "language_code": "en-US",
    }


def test_nested_and_flat_options_that_agree_are_merged() -> None:
    from google.genai import types

    built = build_config(
        {
            "temperature": 0.5,
            "speech_config": {"language_code": "de-DE"},
            "response_modalities": ["TEXT"],
            "top_p": None,
            "generation_config": {
                "temperature": 0.5,
                "speech_config": VOICE,
                "response_modalities": [types.Modality.TEXT],
                "top_p": 0.5,
                "seed": None,
            },
        }
    )
    assert built["temperature"] == built["top_p"] == 0.5
    assert built["speech_config"] == {**VOICE, "language_code": "de-DE"}
    assert built["response_modalities"] == ["TEXT"]
    assert "seed" not in built
    assert "generation_config" not in built


@pytest.mark.parametrize(
    ("flat", "nested", "path"),
    [
        ({"temperature": 0.5}, {"temperature": 0.4}, "['temperature']"),
        ({"responseModalities": ["AUDIO"]}, {"response_modalities": ["TEXT"]}, "['response_mod"),
        (
            {"speech_config": {"language_code": "de-DE", **VOICE}},
            {"speech_config": {"voice_config": {"prebuilt_voice_config": {"voice_name": "Kore"}}}},
            "['speech_config']['voice_config']['prebuilt_voice_config']['voice_name']",
        ),
        ({"temperature": 0.0}, {"temperature": 1}, "['temperature']"),
        ({"speech_config": VOICE}, {"speech_config": "Kore"}, "['speech_config']"),
    ],
)
def test_nested_and_flat_options_that_contradict_are_refused_by_name(
    flat: dict[str, Any], nested: dict[str, Any], path: str
) -> None:
    with pytest.raises(ConfigError, match="contradicts") as caught:
        build_config({**flat, "generation_config": nested})
    assert f"config['generation_config']{path}" in str(caught.value)


def test_a_nested_none_removes_the_default() -> None:
    built = build_config({"generation_config": {"response_modalities": None}})
    assert "response_modalities" not in built
    assert build_config({"generation_config": None}) == build_config(None)


@pytest.mark.parametrize(
    "option", ["tools", "systemInstruction", "session_resumption", "inputAudioTranscription"]
)
def test_an_option_of_the_session_in_generation_config_is_refused_by_name(option: str) -> None:
    with pytest.raises(ConfigError, match="beside generation_config"):
        build_config({"generation_config": {option: {}}})


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"generation_config": ["AUDIO"]}, "['generation_config']"),
        ({"generation_config": "AUDIO"}, "['generation_config']"),
        ({"session_resumption": True}, "['session_resumption']"),
        ({"session_resumption": "a handle"}, "['session_resumption']"),
        ({"thinking_config": "LOW"}, "['thinking_config']"),
        ({"proactivity": True}, "['proactivity']"),
        ({"speech_config": "Kore"}, "['speech_config']"),
        ({"generation_config": {"thinking_config": "LOW"}}, "['thinking_config']"),
        ({"realtime_input_config": []}, "['realtime_input_config']"),
        (
            {"realtime_input_config": {"automatic_activity_detection": False}},
            "['realtime_input_config']['automatic_activity_detection']",
        ),
        ({"output_audio_transcription": True}, "['output_audio_transcription']"),
        ({"session_resumption": {"handle": 5}}, "['session_resumption']['handle']"),
    ],
)
def test_an_option_of_another_shape_is_refused_by_name(config: Any, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        GeminiLive("key", config=config)
    assert f"config{named}" in str(caught.value)
    assert "a handle" not in str(caught.value), "who has it has the session"


def test_the_handle_of_the_first_connection() -> None:
    assert resolve_handle(build_config(None)) == ""
    assert resolve_handle(build_config({"session_resumption": None})) == ""
    assert resolve_handle(build_config({"sessionResumption": {"handle": "h"}})) == "h"


@pytest.mark.parametrize("config", [[], "x", 3, {1: 2}])
def test_a_config_that_is_none(config: Any) -> None:
    with pytest.raises(ConfigError):
        build_config(config)


@pytest.mark.parametrize("keyword", ["instructions", "voice", "language"])
@pytest.mark.parametrize("value", ["", 3])
def test_keywords_are_text(keyword: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=keyword):
        build_config(None, **{keyword: value})


@pytest.mark.parametrize(("name", "kind"), [("barge_in", BargeIn), ("watchdog", Watchdog)])
def test_switches_take_a_bool_or_options(name: str, kind: Any) -> None:
    assert resolve_switch(name, True, kind) == kind()
    assert resolve_switch(name, False, kind) is None
    own = kind()
    assert resolve_switch(name, own, kind) is own
    for bad in ("yes", 1, None):
        with pytest.raises(ConfigError, match=name):
            resolve_switch(name, bad, kind)


@pytest.mark.parametrize(
    "bad",
    [
        {"resume_after_ms": -1},
        {"resume_after_ms": float("nan")},
        {"commit_after_ms": float("inf")},
        {"commit_after_ms": "1"},
        {"pause_after_ms": True},
        {"pause_after_ms": 60_000},
        {"duck_db": 3},
        {"duck_db": float("nan")},
        {"duck_db": None},
    ],
)
def test_barge_in_names_what_it_refuses(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        BargeIn(**bad)


def test_barge_in_takes_the_edges() -> None:
    BargeIn(duck_db=-float("inf"), pause_after_ms=0, resume_after_ms=0, commit_after_ms=0)
    BargeIn(duck_db=0)


@pytest.mark.parametrize("bad", [{"after_ms": -1}, {"nudge": ""}, {"nudge": 7}])
def test_watchdog_names_what_it_refuses(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Watchdog(**bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"half_duplex": 1},
        {"half_duplex": None},
        {"listen_to": "anna"},
        {"listen_to": True},
        {"watchdog": 5},
        {"barge_in": None},
    ],
)
def test_keywords_name_what_they_refuse(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        GeminiLive("key", **bad)


def detection(**options: Any) -> dict[str, Any]:
    return {"realtime_input_config": {"automatic_activity_detection": options}}


def test_who_detects_activity() -> None:
    assert resolve_activity(build_config(None)) == Activity(False, True, 500, 300)
    own = build_config(detection(disabled=True, silence_duration_ms=800, prefix_padding_ms=100))
    assert resolve_activity(own) == Activity(True, True, 800, 100)
    from google.genai import types

    for value in ("NO_INTERRUPTION", types.ActivityHandling.NO_INTERRUPTION):
        config = build_config({"realtimeInputConfig": {"activityHandling": value}})
        assert not resolve_activity(config).interrupts


@pytest.mark.parametrize("value", ["500", -1, float("nan"), True])
@pytest.mark.parametrize("name", ["silence_duration_ms", "prefix_padding_ms"])
def test_durations_of_the_detection_are_numbers(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        resolve_activity(detection(**{name: value}))


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, True),
        ({"response_modalities": ["audio"]}, True),
        ({"response_modalities": None}, True),
        ({"output_audio_transcription": None}, False),
        ({"response_modalities": ["TEXT"]}, False),
    ],
)
def test_where_only_the_transcript_is_what_is_said(own: Any, expected: bool) -> None:
    assert is_only_speech(build_config(own)) is expected


def test_which_models_may_stay_silent() -> None:
    assert is_proactive("models/gemini-3.8-live", {})
    assert is_proactive("gemini-3.8-live-extended-thinking", {})
    assert not is_proactive("gemini-3.1-flash-live-preview", {})
    own = build_config({"proactivity": {"proactiveAudio": True}})
    assert is_proactive("gemini-2.5-flash-native-audio-latest", own)


# -- what the models accept ----------------------------------------------------------------------

REFUSED = [
    ("gemini-3.8-live", {"thinking_config": {"thinking_budget": 0}}, "thinking_config"),
    ("gemini-3.8-live", {"thinkingConfig": {"includeThoughts": True}}, "thinking_config"),
    ("gemini-3.8-live", {"enable_affective_dialog": True}, "enable_affective_dialog"),
    ("models/gemini-3.8-live", {"proactivity": {"proactive_audio": False}}, "proactivity"),
    ("gemini-3.8-live", {"response_modalities": ["TEXT"]}, "response_modalities"),
    (
        "gemini-3.8-live-extended-thinking",
        {"thinking_config": {"thinking_level": "MINIMAL"}},
        "thinking_config",
    ),
    (
        "gemini-3.8-live-extended-thinking",
        {"thinking_config": {"thinking_budget": 100}},
        "thinking_config",
    ),
    ("gemini-3.1-flash-live-preview", {"proactivity": {"proactive_audio": True}}, "proactivity"),
    ("gemini-3.1-flash-live-preview", {"enable_affective_dialog": False}, "enable_affective"),
    (
        "publishers/google/models/gemini-live-2.5-flash-native-audio",
        {"thinking_config": {"thinking_level": "LOW"}},
        "thinking_config",
    ),
]


@pytest.mark.parametrize(("model", "config", "option"), REFUSED)
def test_an_option_that_the_model_refuses_is_named_before_a_socket_opens(
    model: str, config: dict[str, Any], option: str
) -> None:
    with pytest.raises(ConfigError, match=option) as caught:
        GeminiLive("key", model, config)
    assert model.rpartition("/")[2] in str(caught.value)


ACCEPTED = [
    ("gemini-3.8-live", {"proactivity": {"proactive_audio": True}}),
    ("gemini-3.8-live-extended-thinking", {"thinking_config": {"thinking_level": "low"}}),
    ("gemini-3.1-flash-live-preview", {"thinking_config": {"thinking_level": "MINIMAL"}}),
    ("gemini-2.5-flash-native-audio-latest", {"thinking_config": {"thinking_budget": 0}}),
    ("gemini-2.5-flash-native-audio-latest", {"enable_affective_dialog": True}),
]


@pytest.mark.parametrize(("model", "config"), ACCEPTED)
def test_an_option_that_the_model_takes_passes(model: str, config: dict[str, Any]) -> None:
    check_config(model, build_config(config))


EXTENDED = "gemini-3.8-live-extended-thinking"


def test_extended_thinking_by_name_alone_asks_for_the_lowest_level() -> None:
    config = build_config(None, defaults=default_options(EXTENDED))
    assert config["thinking_config"] == {"thinking_level": "LOW"}
    check_config(EXTENDED, config)
    assert default_options("gemini-3.8-live") == {}, "which does not think"
    assert default_options("gemini-9-live") == {}, "which is not known"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"thinkingConfig": {"thinkingLevel": "HIGH"}}, {"thinking_level": "HIGH"}),
        (
            {"thinking_config": {"include_thoughts": True}},
            {"thinking_level": "LOW", "include_thoughts": True},
        ),
        (
            {"generation_config": {"thinking_config": {"thinking_level": "HIGH"}}},
            {"thinking_level": "HIGH"},
        ),
        ({"generationConfig": {"temperature": 0.5}}, {"thinking_level": "LOW"}),
    ],
)
def test_the_users_level_wins(own: dict[str, Any], expected: object) -> None:
    config = build_config(own, defaults=default_options(EXTENDED))
    assert config.get("thinking_config") == expected
    check_config(EXTENDED, config)


def test_extended_thinking_without_a_level_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="thinking_level") as caught:
        GeminiLive("key", EXTENDED, {"thinking_config": None})
    assert EXTENDED in str(caught.value)


def test_an_enum_of_the_sdk_is_checked_like_its_name() -> None:
    from google.genai import types

    for level, good in ((types.ThinkingLevel.LOW, True), (types.ThinkingLevel.MINIMAL, False)):
        config = build_config({"thinking_config": {"thinking_level": level}})
        if good:
            check_config("gemini-3.8-live-extended-thinking", config)
        else:
            with pytest.raises(ConfigError, match="thinking_level"):
                check_config("gemini-3.8-live-extended-thinking", config)


def test_an_unknown_model_passes_with_a_note(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        check_config("gemini-9-live", {"thinking_config": {}, "response_modalities": ["TEXT"]})
    assert "gemini-9-live" in caplog.text


def test_how_the_models_take_history() -> None:
    assert model_of("gemini-3.8-live").history_mode == "history"
    assert (
        model_of("models/gemini-2.5-flash-native-audio-preview-12-2025").history_mode == "content"
    )


def test_every_retired_model_has_a_successor_that_is_known() -> None:
    from getstream.plugins.gemini.live import _models

    for retirement in _models.RETIRED_MODELS.values():
        assert model_of(retirement.successor) is not model_of("gemini-9-live")
