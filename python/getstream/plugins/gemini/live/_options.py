"""Check the options of a user, and merge them over the defaults into one configuration."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..errors import ConfigError

KEY_VARIABLES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")

# Audio out, and the transcripts of both sides: native-audio models send no text parts, so that is
# where the `text` event comes from, and what a session begins with that could not be resumed.
# Handles to resume it, because a connection lasts ten minutes; and a sliding context window,
# without which a session ends after fifteen (ai.google.dev, Live API session management).
DEFAULT_CONFIG: dict[str, Any] = {
    "response_modalities": ["AUDIO"],
    # The service's own default, spelled out: in four sessions that left it out, 3.8 was seen not to
    # react to speech at all.
    "realtime_input_config": {"automatic_activity_detection": {"disabled": False}},
    "input_audio_transcription": {},
    "output_audio_transcription": {},
    "session_resumption": {},
    "context_window_compression": {"sliding_window": {}},
}

MAX_PAUSE_AFTER_MS = 5_000.0

# Below these keys the names are the user's own (function arguments, labels), not the API's.
_FREE_FORM = frozenset({"tools", "labels", "headers", "response_schema", "response_json_schema"})

# Options that `LiveConnectConfig` has itself, and in its deprecated `generation_config` again.
_GENERATION_OPTIONS = frozenset(
    {
        "enable_affective_dialog",
        "max_output_tokens",
        "media_resolution",
        "response_modalities",
        "seed",
        "speech_config",
        "temperature",
        "thinking_config",
        "top_k",
        "top_p",
        "translation_config",
    }
)

# Options of the session, which people put into `generation_config` as well; it does not have them.
_SESSION_OPTIONS = frozenset(
    {
        "avatar_config",
        "context_window_compression",
        "explicit_vad_signal",
        "generation_config",
        "history_config",
        "http_options",
        "input_audio_transcription",
        "labels",
        "output_audio_transcription",
        "proactivity",
        "realtime_input_config",
        "safety_settings",
        "session_resumption",
        "system_instruction",
        "tools",
    }
)

# Options that this package looks into, and that have to be mappings for that.
_MAPPINGS = (
    ("context_window_compression",),
    ("input_audio_transcription",),
    ("output_audio_transcription",),
    ("proactivity",),
    ("realtime_input_config",),
    ("realtime_input_config", "automatic_activity_detection"),
    ("session_resumption",),
    ("speech_config",),
    ("thinking_config",),
)


@dataclass(frozen=True, kw_only=True)
class BargeIn:
    """Options for giving way when somebody speaks while the assistant is speaking.

    At the first sign of speech its voice is lowered, and when the sign holds it pauses. Then
    either the interruption is confirmed and the rest of the reply is dropped, or the speech ends
    and playback goes on at the exact sample where it stopped.

        GeminiLive(barge_in=True)                              # these defaults
        GeminiLive(barge_in=BargeIn(resume_after_ms=250))      # go on sooner after a cough
        GeminiLive(barge_in=False)                             # only the service interrupts
    """

    duck_db: float = -15.0
    """Gain at the first sign of speech, in decibels: clearly out of the way of a voice, and a dip
    rather than a hole when the sign was nothing. 0 does not duck; `-math.inf` mutes."""

    pause_after_ms: float = 32.0
    """Speech that pauses the assistant. The detector looks at frames of 16 ms; two in a row are
    hardly ever a click or a key. Rounded up to whole frames."""

    resume_after_ms: float = 400.0
    """Silence after which a paused reply goes on: longer than the gaps between words, shorter
    than the silence that makes the model answer (500 ms and more). It is at least the detector's
    hangover, 200 ms."""

    commit_after_ms: float = 600.0
    """Speech after which a reply is dropped that only this side can cut: the model has finished
    sending it, or the service's own detection is off. Longer than a cough or an "mhm". Speech is
    what was heard: neither the detector's hangover of 200 ms nor time without audio counts."""

    def __post_init__(self) -> None:
        if not _is_number(self.duck_db) or not self.duck_db <= 0:
            raise ConfigError(
                f"BargeIn.duck_db is a gain in decibels, 0 or less, not {self.duck_db!r}"
            )
        _check_times(self, "pause_after_ms", "resume_after_ms", "commit_after_ms")
        if self.pause_after_ms > MAX_PAUSE_AFTER_MS:
            raise ConfigError(
                f"BargeIn.pause_after_ms is at most {MAX_PAUSE_AFTER_MS:g}, "
                f"not {self.pause_after_ms!r}; barge_in=False never pauses"
            )


@dataclass(frozen=True, kw_only=True)
class Watchdog:
    """Options for noticing that the model owes an answer and nothing comes.

    The event `stalled` is emitted. It is a stall when a text is not answered, when the model falls
    silent in the middle of its turn, when speech is not answered by a model that always does or
    whose service has transcribed it, and when a turn ends that says nothing: empty, rejected, or
    only written in a session that speaks.

        GeminiLive(watchdog=True)                                     # these defaults
        GeminiLive(watchdog=Watchdog(nudge="Please go on."))          # say something, too
        GeminiLive(watchdog=Watchdog(reconnect=True))                 # try another connection
        GeminiLive(watchdog=False)                                    # nobody watches
    """

    after_ms: float = 5000.0
    """Milliseconds that the model may take: several times as long as it ever needs, tools aside."""

    nudge: str | None = None
    """A text that is sent to a model that has stalled, once for each stall. None sends nothing."""

    reconnect: bool = False
    """Whether to resume the session on a new connection when it is still silent after that. It is
    tried once until the model has spoken again: what was not answered is sent again with it."""

    may_stay_silent: bool | None = None
    """True if silence after speech may be meant, so that it is no stall. None goes by the model:
    one with proactive audio (Gemini 3.8 always, others if `config` asks for it) chooses itself
    what it answers, and silence is a stall only after speech of which the service has sent a
    transcript: that was heard. A turn that is empty or rejected is told in any case."""

    def __post_init__(self) -> None:
        _check_times(self, "after_ms")
        if self.nudge is not None and not (isinstance(self.nudge, str) and self.nudge.strip()):
            raise ConfigError(f"Watchdog.nudge is a text or None, not {self.nudge!r}")
        check_choice("Watchdog.reconnect", self.reconnect, (True, False))
        check_choice("Watchdog.may_stay_silent", self.may_stay_silent, (True, False, None))


@dataclass(frozen=True)
class Activity:
    """Activity detection of a session, as the configuration says.

    Attributes:
        marked: the service's own detection is off.
        interrupts: speech interrupts the model.
        silence_ms: silence that ends the user's turn where it is marked here.
        padding_ms: audio from before the speech that is sent with it, likewise.
    """

    marked: bool
    interrupts: bool
    silence_ms: float
    padding_ms: float


def resolve_activity(config: Mapping[str, Any]) -> Activity:
    """Read the detection of activity from a merged configuration.

    Raises:
        ConfigError: a duration is not a number of milliseconds.
    """
    realtime = config.get("realtime_input_config") or {}
    detection = realtime.get("automatic_activity_detection") or {}
    durations = []
    for name, default in (("silence_duration_ms", 500), ("prefix_padding_ms", 300)):
        value = detection.get(name)
        value = default if value is None else value
        if not _is_number(value) or not 0 <= value <= 60_000:
            raise ConfigError(
                "config['realtime_input_config']['automatic_activity_detection']"
                f"[{name!r}] is a number of milliseconds, not {value!r}"
            )
        durations.append(float(value))
    handling = realtime.get("activity_handling")
    handling = getattr(handling, "value", handling)
    silence, padding = durations
    return Activity(
        marked=bool(detection.get("disabled")),
        interrupts=handling != "NO_INTERRUPTION",
        silence_ms=silence,
        padding_ms=padding,
    )


def is_only_speech(config: Mapping[str, Any]) -> bool:
    """Whether what the model says, under a merged configuration, is audio with its transcript.

    Text parts are none of it then: native-audio models send reasoning there, marked as a thought
    or not (mastra #17434, livekit agents-js #2294).
    """
    modalities = config.get("response_modalities") or ["AUDIO"]
    names = [str(getattr(each, "value", each)).upper() for each in modalities]
    return names == ["AUDIO"] and config.get("output_audio_transcription") is not None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _check_times(options: object, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if not _is_number(value) or not 0 <= value < float("inf"):
            raise ConfigError(
                f"{type(options).__name__}.{name} is a time in milliseconds, 0 or more, "
                f"not {value!r}"
            )


_Options = TypeVar("_Options", BargeIn, Watchdog)


def resolve_switch(name: str, value: object, kind: type[_Options]) -> _Options | None:
    """Return the options behind a keyword that takes a bool or an object; None when it is off.

    Raises:
        ConfigError: the value is neither.
    """
    if isinstance(value, kind):
        return value
    if isinstance(value, bool):
        return kind() if value else None
    raise ConfigError(f"{name} must be True, False or {kind.__name__}(...), not {value!r}")


def check_seconds(name: str, value: object, *, none_is_never: bool = False) -> None:
    """Check a keyword that takes a time in seconds.

    Raises:
        ConfigError: it is no number, negative or infinite.
    """
    if value is None and none_is_never:
        return
    if not _is_number(value) or not 0 <= value < float("inf"):  # type: ignore[operator]
        never = ", or None for never" if none_is_never else ""
        raise ConfigError(f"{name} is a time in seconds, 0 or more{never}, not {value!r:.100}")


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Check a keyword that takes one of a few values.

    Raises:
        ConfigError: it is none of them.
    """
    # By identity for bools: 1 == True.
    if not any(value is choice or (type(choice) is str and value == choice) for choice in choices):
        allowed = " or ".join(map(repr, choices))
        raise ConfigError(f"{name} must be {allowed}, not {value!r}")


ENTERPRISE_VARIABLE = "GOOGLE_GENAI_USE_ENTERPRISE"
VERTEX_VARIABLE = "GOOGLE_GENAI_USE_VERTEXAI"
PROJECT_VARIABLE = "GOOGLE_CLOUD_PROJECT"
LOCATION_VARIABLE = "GOOGLE_CLOUD_LOCATION"

AskForKey = Callable[[], str | Awaitable[str]]
"""A function that gives the key, or an ephemeral token; sync or async."""


@dataclass(frozen=True)
class Access:
    """Credentials of a session. `repr` does not show the key.

    Attributes:
        api_key: the key, or an ephemeral token (`auth_tokens/...`); None with Vertex AI means the
            credentials of the environment, and with `ask` that there is none yet.
        vertexai: whether to talk to Vertex AI.
        ask: gives the key of each connection.
    """

    api_key: str | None = field(repr=False)
    vertexai: bool
    ask: AskForKey | None = field(default=None, repr=False)

    @property
    def renews(self) -> bool:
        """Whether each connection may have another key: asked for, or signed in for by the SDK."""
        return self.api_key is None


def resolve_access(api_key: str | AskForKey | None, *, stacklevel: int = 2) -> Access:
    """Decide between the Gemini API and Vertex AI, as the SDK does.

    With `GOOGLE_GENAI_USE_ENTERPRISE=true`, or without that variable with
    `GOOGLE_GENAI_USE_VERTEXAI=true`, it is Vertex AI: by a key that was passed (express mode), else
    by `GOOGLE_CLOUD_PROJECT` and `GOOGLE_CLOUD_LOCATION` with the credentials of the environment,
    else by a key of the environment.

    Args:
        api_key: the key, a function that gives it, or None.
        stacklevel: as in `warnings.warn`: whose line a warning names.

    Raises:
        ConfigError: there is neither a key nor a project.
    """
    vertexai = _uses_vertexai(stacklevel + 2)
    if callable(api_key):
        return Access(None, vertexai, api_key)
    if vertexai and not api_key and (_is_set(PROJECT_VARIABLE) or _is_set(LOCATION_VARIABLE)):
        return Access(None, vertexai=True)
    return Access(resolve_api_key(api_key), vertexai)


def _uses_vertexai(stacklevel: int) -> bool:
    """Read the variables as `google.genai.Client` does: also an empty one counts as set."""
    values = {
        name: os.environ[name].lower() in ("true", "1")
        for name in (ENTERPRISE_VARIABLE, VERTEX_VARIABLE)
        if name in os.environ
    }
    if len(set(values.values())) == 2:
        warnings.warn(
            f"{ENTERPRISE_VARIABLE} and {VERTEX_VARIABLE} contradict each other; "
            f"{ENTERPRISE_VARIABLE} counts.",
            stacklevel=stacklevel,
        )
    return next(iter(values.values()), False)


def _is_set(variable: str) -> bool:
    return bool(os.environ.get(variable, "").strip())


def resolve_api_key(api_key: str | None) -> str:
    """Return the key: the argument, else `GOOGLE_API_KEY`, else `GEMINI_API_KEY`.

    Raises:
        ConfigError: there is none, or it is not a string.
    """
    if api_key is not None and not isinstance(api_key, str):
        # The value is not shown: it may be a key in another type's clothes.
        raise ConfigError(
            f"api_key must be a string, or a function that gives one, not {type(api_key).__name__}"
        )
    key = (api_key or "").strip()
    for name in KEY_VARIABLES:
        key = key or os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(
            "No API key for Gemini. Pass GeminiLive(api_key=...), or set the environment "
            "variable GOOGLE_API_KEY or GEMINI_API_KEY. Keys: https://aistudio.google.com/apikey"
        )
    if not _may_be_key(key):
        raise ConfigError(
            "The Gemini API key holds a character that no key has (a quote, a space, a line "
            "break); copy it again. It is not shown here."
        )
    return key


def check_answered_key(answer: object) -> str:
    """Return the key that a function has given.

    Raises:
        ConfigError: the answer is no key. It is not shown.
    """
    if not isinstance(answer, str):
        what = f"gave {type(answer).__name__}"
    elif not answer.strip():
        what = "gave an empty string"
    elif not _may_be_key(answer.strip()):
        what = "gave a string with a character that no key has (a quote, a space, a line break)"
    else:
        return answer.strip()
    raise ConfigError(
        f"The function that was passed as api_key {what}; it has to return the key, or the name of "
        "an ephemeral token (auth_tokens/...), as a string"
    )


def _may_be_key(key: str) -> bool:
    return key.isascii() and key.isprintable() and " " not in key


def resolve_handle(config: Mapping[str, Any]) -> str:
    """Return the handle of the session that the first connection resumes; "" if there is none.

    Raises:
        ConfigError: it is not a string. It is not shown: who has it has the session.
    """
    handle = (config.get("session_resumption") or {}).get("handle")
    if handle is not None and not isinstance(handle, str):
        raise ConfigError(
            f"config['session_resumption']['handle'] is a string, not {type(handle).__name__}"
        )
    return handle or ""


def build_config(
    config: Mapping[str, Any] | None,
    *,
    defaults: Mapping[str, Any] | None = None,
    instructions: str | None = None,
    voice: str | None = None,
    language: str | None = None,
) -> dict[str, Any]:
    """Merge the user's configuration over the defaults, deeply, key by key.

    Args:
        config: a `LiveConnectConfigDict`; camelCase names are accepted too. None as a value
            removes the default of that key (`{"output_audio_transcription": None}`). Options in
            the deprecated `generation_config` are the same as beside it.
        defaults: what the model needs beside `DEFAULT_CONFIG`.
        instructions: the system instruction.
        voice: the name of a prebuilt voice, e.g. `"Kore"`.
        language: a BCP-47 code, e.g. `"en-US"`.

    Returns:
        A new `LiveConnectConfigDict` with snake_case keys. A keyword wins over the same setting
        in `config`.

    Raises:
        ConfigError: `config` is not a mapping, an option that has to be one is not, a keyword is
            not a non-empty string, `generation_config` contradicts what is beside it or holds what
            belongs there.
    """
    merged = _merge(DEFAULT_CONFIG, defaults or {})
    if config is not None:
        dump = getattr(config, "model_dump", None)  # a LiveConnectConfig object
        plain = dump(exclude_unset=True) if callable(dump) else config
        if not isinstance(plain, Mapping):
            raise ConfigError(
                "config must be a mapping with the keys of google.genai's LiveConnectConfigDict, "
                f"not {type(config).__name__}"
            )
        own = _lift_generation_config(_snake_keys(plain))
        for path in _MAPPINGS:
            _check_mapping(own, path)
        merged = _merge(merged, own)
    merged = _merge(merged, _keyword_options(instructions, voice, language))
    return {key: value for key, value in merged.items() if value is not None}


def change_config(
    config: Mapping[str, Any],
    *,
    instructions: str | None = None,
    voice: str | None = None,
    language: str | None = None,
) -> dict[str, Any]:
    """Change a merged configuration by what `GeminiLive.reconfigure` takes, tools aside.

    Args:
        config: the configuration, which stays as it is.
        instructions: the system instruction, in place of the one before.
        voice: the name of a prebuilt voice.
        language: a BCP-47 code.

    Returns:
        A new configuration.

    Raises:
        ConfigError: an argument cannot be used.
    """
    return _merge(config, _keyword_options(instructions, voice, language))


def _keyword_options(
    instructions: str | None, voice: str | None, language: str | None
) -> dict[str, Any]:
    """Return the options that the keywords of `GeminiLive` stand for, checked."""
    keywords: dict[str, Any] = {}
    if _text("instructions", instructions):
        keywords["system_instruction"] = instructions
    if _text("voice", voice):
        keywords["speech_config"] = {
            "voice_config": {"prebuilt_voice_config": {"voice_name": voice}}
        }
    if _text("language", language):
        keywords.setdefault("speech_config", {})["language_code"] = language
    return keywords


def _check_mapping(config: Mapping[str, Any], path: tuple[str, ...]) -> None:
    value: Any = config
    for name in path:
        value = value.get(name) if value is not None else None
    if value is not None and not isinstance(value, Mapping):
        where = "".join(f"[{name!r}]" for name in path)
        raise ConfigError(f"config{where} is a mapping, not {type(value).__name__}")


def _lift_generation_config(config: dict[str, Any]) -> dict[str, Any]:
    """Bring the options in `generation_config` beside it, where each has one place.

    The SDK sends both; of two that differ it sends the outer one, and checks neither. What only
    `generation_config` has (stop sequences, penalties) stays in it.
    """
    nested = config.pop("generation_config", None)
    if nested is None:
        return config
    if not isinstance(nested, Mapping):
        raise ConfigError(
            f"config['generation_config'] is a mapping, not {type(nested).__name__}; its options "
            "may stand beside it"
        )
    lifted: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in nested.items():
        if name in _SESSION_OPTIONS:
            raise ConfigError(
                f"config['generation_config'][{name!r}] is an option of the session: put it beside "
                f"generation_config, config[{name!r}]"
            )
        (lifted if name in _GENERATION_OPTIONS else rest)[name] = value
    if conflict := _conflict(lifted, config):
        raise ConfigError(
            f"config['generation_config']{conflict} contradicts config{conflict}; leave one out"
        )
    beside = {name: value for name, value in config.items() if value is not None}
    config = {**config, **_merge(lifted, {name: beside[name] for name in lifted if name in beside})}
    if rest:
        config["generation_config"] = rest
    return config


def _conflict(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return the path of the first option that two mappings set to different values, or ""."""
    for name, a in one.items():
        b = other.get(name)
        if a is None or b is None:
            continue  # it removes a default, and sets nothing
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            deeper = _conflict(a, b)
            if deeper:
                return f"[{name!r}]{deeper}"
        elif _plain(a) != _plain(b):
            return f"[{name!r}]"
    return ""


def _plain(value: Any) -> Any:
    """Return a value without the SDK's enums, which are equal to their names for the service."""
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return getattr(value, "value", value)


def check_tools(name: str, tools: object) -> Sequence[Any]:
    """Return the tools that were passed, of whatever kind.

    Raises:
        ConfigError: it is not a list.
    """
    if not isinstance(tools, Sequence) or isinstance(tools, (str, bytes)):
        raise ConfigError(f"{name} is a list of tools, such as [book], not {tools!r}")
    return tools


def _text(name: str, value: str | None) -> bool:
    if value is None:
        return False
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{name} must be a non-empty string, not {value!r}")
    return True


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings; values of `over` win, mappings merge, everything else is replaced."""
    merged = {k: _merge(v, {}) if isinstance(v, Mapping) else v for k, v in base.items()}
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = _merge(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def _snake_keys(value: Mapping[str, Any]) -> dict[str, Any]:
    """Bring camelCase keys to snake_case, so that one setting has one name before the merge."""
    result: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise ConfigError(f"config has a key that is not a string: {key!r}")
        snake = re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), key)
        if snake not in _FREE_FORM:
            dump = getattr(item, "model_dump", None)  # an object of the SDK inside a dictionary
            if callable(dump):
                item = dump(exclude_unset=True)
            if isinstance(item, Mapping):
                item = _snake_keys(item)
        result[snake] = item
    return result
