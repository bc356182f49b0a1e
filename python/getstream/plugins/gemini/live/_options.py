"""What a user may set, checked, and merged over the defaults into one Live configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import ConfigError

KEY_VARIABLES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")

# Audio out, its transcript (native-audio models send no text parts, so that is where the `text`
# event comes from), and a sliding context window: without it a session ends after 15 minutes
# (ai.google.dev, Live API session management).
DEFAULT_CONFIG: dict[str, Any] = {
    "response_modalities": ["AUDIO"],
    "output_audio_transcription": {},
    "context_window_compression": {"sliding_window": {}},
}

# Below these keys the names are the user's own (function arguments, labels), not the API's.
_FREE_FORM = frozenset({"tools", "labels"})


@dataclass(frozen=True, kw_only=True)
class BargeIn:
    """How the assistant gives way when somebody speaks while it is speaking.

    It pauses at the first confirmed speech. Then either the service confirms the interruption
    and the rest of the reply is dropped, or the speech ends and playback goes on at the exact
    sample where it stopped.

        GeminiLive(barge_in=True)                              # these defaults
        GeminiLive(barge_in=BargeIn(resume_after_ms=250))      # go on sooner after a cough
        GeminiLive(barge_in=False)                             # only the service interrupts
    """

    resume_after_ms: float = 400.0
    """Silence after which a paused reply goes on: longer than the gaps between words, shorter
    than the silence that makes the model answer (500 ms and more)."""

    commit_after_ms: float = 600.0
    """Speech after which a reply that the model has already finished sending is dropped: the
    service has nothing left to interrupt then, so this side decides. Longer than a cough or an
    "mhm"."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
                raise ConfigError(
                    f"BargeIn.{field.name} is a time in milliseconds, 0 or more, not {value!r}"
                )


def resolve_barge_in(value: bool | BargeIn) -> BargeIn | None:
    """Return the barge-in options, or None when barge-in is off.

    Raises:
        ConfigError: the value is neither a bool nor a `BargeIn`.
    """
    if isinstance(value, BargeIn):
        return value
    if isinstance(value, bool):
        return BargeIn() if value else None
    raise ConfigError(f"barge_in must be True, False or BargeIn(...), not {value!r}")


def resolve_api_key(api_key: str | None) -> str:
    """Return the key: the argument, else `GOOGLE_API_KEY`, else `GEMINI_API_KEY`.

    Raises:
        ConfigError: there is none, or it is not a string.
    """
    if api_key is not None and not isinstance(api_key, str):
        # The value is not shown: it may be a key in another type's clothes.
        raise ConfigError(f"api_key must be a string, not {type(api_key).__name__}")
    key = (api_key or "").strip()
    for name in KEY_VARIABLES:
        key = key or os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(
            "No API key for Gemini. Pass GeminiLive(api_key=...), or set the environment "
            "variable GOOGLE_API_KEY or GEMINI_API_KEY. Keys: https://aistudio.google.com/apikey"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(
            "The Gemini API key holds a character that no key has (a quote, a space, a line "
            "break); copy it again. It is not shown here."
        )
    return key


def build_config(
    config: Mapping[str, Any] | None,
    *,
    instructions: str | None = None,
    voice: str | None = None,
    language: str | None = None,
) -> dict[str, Any]:
    """Merge the user's configuration over the defaults, deeply, key by key.

    Args:
        config: a `LiveConnectConfigDict`; camelCase names are accepted too. None as a value
            removes the default of that key (`{"output_audio_transcription": None}`).
        instructions: the system instruction.
        voice: the name of a prebuilt voice, e.g. `"Kore"`.
        language: a BCP-47 code, e.g. `"en-US"`.

    Returns:
        A new `LiveConnectConfigDict` with snake_case keys. A keyword wins over the same setting
        in `config`.

    Raises:
        ConfigError: `config` is not a mapping, a keyword is not a non-empty string, or an option
            would make the assistant hang: see `_refuse_unsupported`.
    """
    merged = _merge(DEFAULT_CONFIG, {})
    if config is not None:
        dump = getattr(config, "model_dump", None)  # a LiveConnectConfig object
        plain = dump(exclude_unset=True) if callable(dump) else config
        if not isinstance(plain, Mapping):
            raise ConfigError(
                "config must be a mapping with the keys of google.genai's LiveConnectConfigDict, "
                f"not {type(config).__name__}"
            )
        merged = _merge(merged, _snake_keys(plain))
    keywords: dict[str, Any] = {}
    if _text("instructions", instructions):
        keywords["system_instruction"] = instructions
    if _text("voice", voice):
        keywords["speech_config"] = {
            "voice_config": {"prebuilt_voice_config": {"voice_name": voice}}
        }
    if _text("language", language):
        keywords.setdefault("speech_config", {})["language_code"] = language
    merged = _merge(merged, keywords)
    _refuse_unsupported(merged)
    return {key: value for key, value in merged.items() if value is not None}


def _refuse_unsupported(config: Mapping[str, Any]) -> None:
    """Refuse what the service would accept, and this version would not answer."""
    for tool in config.get("tools") or ():
        fields = tool if isinstance(tool, Mapping) else getattr(tool, "__dict__", {})
        if callable(tool) or any(
            fields.get(name) for name in ("function_declarations", "functionDeclarations")
        ):
            raise ConfigError(
                "config['tools'] holds functions: this version cannot call them, and the model "
                "would wait for an answer. Tools of the service, such as google_search, may stay."
            )
    realtime = config.get("realtime_input_config") or {}
    detection = realtime.get("automatic_activity_detection") or {}
    if detection.get("disabled"):
        raise ConfigError(
            "config['realtime_input_config']['automatic_activity_detection']['disabled'] must not "
            "be true: this version does not mark activity itself, and the model would hear nothing"
        )


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
