"""The wire format of Gemini Live: paths, keys, base64, and what the service refuses.

Pure functions; no sockets and no state. The service parses protobuf JSON: keys may be camelCase or
snake_case, bytes may be in either base64 alphabet, unknown fields are refused. A refusal is a close
frame, here the exception `RefusalError`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from ..._beliefs import believed

__all__ = [
    "INVALID_ARGUMENT",
    "REALTIME_ORDER",
    "Credentials",
    "Endpoint",
    "Message",
    "RefusalError",
    "audio_blob",
    "check_fields",
    "check_setup",
    "close_reason",
    "credentials",
    "decode",
    "decode_bytes",
    "duration",
    "encode_bytes",
    "endpoint",
    "image_blob",
    "model_generation",
]

Message = dict[str, Any]

INVALID_ARGUMENT = "Request contains an invalid argument."

_UNKNOWN_MODEL_CODE, _UNKNOWN_MODEL = believed("model_unknown")
_THINKING_LEVELS: tuple[str, ...] = believed("thinking_level_required")

_GEMINI_PATH = re.compile(
    r"/ws/google\.ai\.generativelanguage\.(?P<version>v[a-z0-9]+)\.GenerativeService\."
    r"BidiGenerateContent(?P<constrained>Constrained)?"
)
_VERTEX_PATH = re.compile(
    r"/ws/google\.cloud\.aiplatform\.(?P<version>v[a-z0-9]+)\.LlmBidiService/BidiGenerateContent"
)
_GEMINI_MODEL = re.compile(r"models/(?P<name>[^/]+)")
_VERTEX_MODEL = re.compile(
    r"(projects/[^/]+/locations/[^/]+/)?publishers/google/models/(?P<name>[^/]+)"
)
_LIVE_MODELS = re.compile(
    r"gemini-3\.8-live(-extended-thinking)?"
    r"|gemini-3\.1-flash-live-preview"
    r"|gemini-2\.5-flash-native-audio-(preview-[0-9-]+|latest)"
    r"|gemini-live-2\.5-flash-native-audio"
    r"|gemini-3\.5-live-translate-preview"
)
# Fields that hold user data (protobuf Struct and maps): their keys are not ours to rename.
_FREEFORM = frozenset(
    {"args", "response", "labels", "parametersJsonSchema", "responseJsonSchema", "properties"}
)
_TOP_LEVEL = frozenset({"setup", "clientContent", "realtimeInput", "toolResponse", "contextUpdate"})

REALTIME_ORDER = (
    "activityStart",
    "mediaChunks",
    "audio",
    "video",
    "text",
    "activityEnd",
    "audioStreamEnd",
)
"""The fields of a `realtimeInput`, in the order in which they take effect."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FIELDS: Mapping[str, frozenset[str]] = {
    "setup": _names(
        "model generationConfig systemInstruction tools toolConfig sessionResumption"
        " inputAudioTranscription outputAudioTranscription realtimeInputConfig"
        " contextWindowCompression proactivity historyConfig avatarConfig safetySettings"
        " explicitVadSignal labels"
    ),
    "generation_config": _names(
        "candidateCount stopSequences maxOutputTokens temperature topP topK seed"
        " presencePenalty frequencyPenalty responseModalities mediaResolution speechConfig"
        " thinkingConfig translationConfig enableAffectiveDialog responseMimeType"
        " responseSchema responseJsonSchema responseLogprobs logprobs"
    ),
    "realtime_input_config": _names(
        "automaticActivityDetection activityHandling turnCoverage interimTranscriptTimestampEnabled"
    ),
    "automatic_activity_detection": _names(
        "disabled startOfSpeechSensitivity endOfSpeechSensitivity prefixPaddingMs silenceDurationMs"
    ),
    "realtime_input": frozenset(REALTIME_ORDER),
    "client_content": frozenset({"turns", "turnComplete"}),
    "tool_response": frozenset({"functionResponses"}),
    "context_update": frozenset({"systemInstruction", "tools"}),
}
_SNAKE = re.compile(r"_([a-z0-9])")
_RATE = re.compile(r";\s*rate=(\d+)")
_DEFAULT_RATE = 16000
_RATES = range(8000, 96001)


class RefusalError(Exception):
    """The service closes the socket because of what the client sent.

    Attributes:
        code: WebSocket close code.
        reason: The service's text.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class Endpoint:
    """Fields that the path of the WebSocket names.

    Attributes:
        version: API version, for example `v1beta`.
        vertex: True for the path of Vertex AI.
        constrained: True for the method that ephemeral tokens use.
    """

    version: str
    vertex: bool
    constrained: bool


@dataclass(frozen=True)
class Credentials:
    """Proof of the identity of a client. `repr` does not show the secret.

    Attributes:
        kind: `key`, `token` (ephemeral) or `bearer` (OAuth, Vertex AI).
        secret: The key or token itself.
    """

    kind: Literal["key", "token", "bearer"]
    secret: str

    def __repr__(self) -> str:
        return f"Credentials(kind={self.kind!r})"


def endpoint(target: str) -> Endpoint | None:
    """Reads the request target; None if the service has no such path."""
    path = urlsplit(target).path
    if match := _GEMINI_PATH.fullmatch(path):
        return Endpoint(match["version"], vertex=False, constrained=bool(match["constrained"]))
    if match := _VERTEX_PATH.fullmatch(path):
        return Endpoint(match["version"], vertex=True, constrained=False)
    return None


def credentials(target: str, headers: Mapping[str, str]) -> Credentials | None:
    """Finds the credentials in headers or query; None if there are none.

    An ephemeral token comes as `Authorization: Token ...`, as `x-goog-api-key` or, from browsers,
    as `?access_token=`; a key as `x-goog-api-key` or `?key=`.
    """
    query = parse_qs(urlsplit(target).query)
    scheme, _, value = headers.get("authorization", "").partition(" ")
    value = value.strip()
    if value and scheme.lower() == "token":
        return Credentials("token", value)
    if value and scheme.lower() == "bearer":
        return Credentials("bearer", value)
    if token := query.get("access_token", [""])[0]:
        return Credentials("token", token)
    if key := headers.get("x-goog-api-key", "").strip() or query.get("key", [""])[0]:
        return Credentials("token" if key.startswith("auth_tokens/") else "key", key)
    return None


def decode(raw: str | bytes) -> Message:
    """Parses one client frame; keys come out in camelCase.

    Raises:
        RefusalError: 1007: not a JSON object, unknown name, or not exactly one kind of message.
    """
    try:
        parsed = json.loads(raw)
    except ValueError:
        raise RefusalError(1007, "Invalid JSON payload received.") from None
    if not isinstance(parsed, dict):
        raise RefusalError(1007, "Invalid JSON payload received. Root element must be a message.")
    message: Message = _camel_keys(parsed)
    for name in message:
        if name not in _TOP_LEVEL:
            raise RefusalError(1007, _unknown_name(name))
    if len(message) != 1:
        raise RefusalError(1007, INVALID_ARGUMENT)  # a protobuf oneof: exactly one must be set
    return message


def check_fields(kind: str, fields: object, at: str) -> Message:
    """Returns `fields` if they are an object of known fields of `kind`.

    Args:
        kind: Message type in snake_case, for example `realtime_input`.
        fields: What the client sent.
        at: Path of the object, for the text of the refusal.

    Raises:
        RefusalError: 1007.
    """
    if not isinstance(fields, dict):
        raise RefusalError(1007, f"Invalid value at '{at}'")
    for name in fields:
        if name not in _FIELDS[kind]:
            raise RefusalError(1007, _unknown_name(name, at))
    return fields


def model_generation(model: str) -> str:
    """The generation of a model resource, for example `3.8`; empty if its name has none."""
    match = re.search(r"gemini-(?:live-)?(\d+\.\d+)", model)
    return match[1] if match else ""


def check_setup(setup: object, where: Endpoint, extra_models: frozenset[str]) -> Message:
    """Returns the setup if the service would accept it.

    Models that the service has shut down (`gemini-live-2.5-flash-preview`,
    `gemini-2.0-flash-live-001`) are refused as those that never existed, as the service does.

    Args:
        setup: The client's setup, keys in camelCase.
        where: The endpoint that was dialled.
        extra_models: Names, without `models/`, that exist beside the service's own. They have no
            restrictions, and answer in text if asked to.

    Raises:
        RefusalError: 1008 for the model, 1007 for everything else.
    """
    fields = check_fields("setup", setup, "setup")
    model = fields.get("model")
    pattern = _VERTEX_MODEL if where.vertex else _GEMINI_MODEL
    match = pattern.fullmatch(model) if isinstance(model, str) else None
    name = match["name"] if match else ""
    if name not in extra_models and not _LIVE_MODELS.fullmatch(name):
        raise RefusalError(
            _UNKNOWN_MODEL_CODE,
            f"{model or 'models/'} {_UNKNOWN_MODEL} {where.version}, "
            "or is not supported for bidiGenerateContent.",
        )
    generation = check_fields(
        "generation_config", fields.get("generationConfig", {}), "setup.generation_config"
    )
    realtime = check_fields(
        "realtime_input_config",
        fields.get("realtimeInputConfig", {}),
        "setup.realtime_input_config",
    )
    check_fields(
        "automatic_activity_detection",
        realtime.get("automaticActivityDetection", {}),
        "setup.realtime_input_config.automatic_activity_detection",
    )
    if not where.vertex:
        if "explicitVadSignal" in fields:
            raise RefusalError(1007, _unknown_name("explicitVadSignal", "setup"))
        if "transparent" in (fields.get("sessionResumption") or {}):
            raise RefusalError(1007, _unknown_name("transparent", "setup.session_resumption"))
    modalities = generation.get("responseModalities", ["AUDIO"])
    if name in extra_models:
        if modalities not in (["AUDIO"], ["TEXT"]):
            raise RefusalError(1007, INVALID_ARGUMENT)
        return fields
    if modalities != ["AUDIO"]:  # every model that is left speaks natively
        raise RefusalError(1007, INVALID_ARGUMENT)
    if model_generation(name) == "3.8":
        _check_generation_3_8(fields, generation, extended=name.endswith("-extended-thinking"))
    elif model_generation(name) == "3.1" and "enableAffectiveDialog" in generation:
        raise RefusalError(1007, INVALID_ARGUMENT)
    return fields


def audio_blob(blob: object) -> tuple[bytes, int]:
    """Reads the audio of a `realtimeInput`.

    Returns:
        s16le mono PCM, and its rate in Hz; 16000 if the MIME type does not say.

    Raises:
        RefusalError: 1007: not PCM, odd bytes, broken base64, or a rate out of 8 to 96 kHz.
    """
    mime = blob.get("mimeType") if isinstance(blob, dict) else None
    if not isinstance(blob, dict) or not isinstance(mime, str):
        raise RefusalError(1007, INVALID_ARGUMENT)
    match = _RATE.search(mime)
    rate = int(match[1]) if match else _DEFAULT_RATE
    pcm = decode_bytes(blob.get("data", ""))
    if not mime.startswith("audio/pcm") or rate not in _RATES or len(pcm) % 2:
        raise RefusalError(1007, INVALID_ARGUMENT)
    return pcm, rate


def image_blob(blob: object) -> bytes:
    """Reads the image of a `realtimeInput`.

    Raises:
        RefusalError: 1007: not an image, or broken base64.
    """
    mime = blob.get("mimeType") if isinstance(blob, dict) else None
    if not isinstance(blob, dict) or not str(mime).startswith("image/"):
        raise RefusalError(1007, INVALID_ARGUMENT)
    return decode_bytes(blob.get("data", ""))


def decode_bytes(text: object) -> bytes:
    """Decodes base64 in the standard or the URL-safe alphabet, with or without padding.

    Raises:
        RefusalError: 1007.
    """
    if not isinstance(text, str):
        raise RefusalError(1007, INVALID_ARGUMENT)
    standard = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise RefusalError(1007, "Invalid JSON payload received. Base64 decoding failed.") from None


def encode_bytes(data: bytes) -> str:
    """Encodes bytes as the service does: standard alphabet, padded."""
    return base64.b64encode(data).decode("ascii")


def duration(seconds: float) -> str:
    """A protobuf Duration: `50s`, `1.2s`."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def close_reason(text: str) -> str:
    """Cuts a text to the 123 bytes of UTF-8 that a close frame holds (RFC 6455, 5.5)."""
    return text.encode("utf-8")[:123].decode("utf-8", errors="ignore")


def _check_generation_3_8(setup: Message, generation: Message, *, extended: bool) -> None:
    thinking = generation.get("thinkingConfig") or {}
    behaviors = {
        declaration.get("behavior")
        for tool in setup.get("tools") or ()
        for declaration in tool.get("functionDeclarations") or ()
    }
    refused = (
        "enableAffectiveDialog" in generation  # removed with 3.8
        or (setup.get("proactivity") or {}).get("proactiveAudio") is False  # always on
        or (thinking if not extended else not _is_extended(thinking))
        or (extended and "BLOCKING" in behaviors)  # its tools are asynchronous only
    )
    if refused:
        raise RefusalError(1007, INVALID_ARGUMENT)


def _is_extended(thinking: Message) -> bool:
    """Whether extended thinking is set as its model insists: by a level, and not by a budget."""
    level = str(thinking.get("thinkingLevel", "")).upper()
    return level in _THINKING_LEVELS and "thinkingBudget" not in thinking


def _unknown_name(name: str, at: str = "") -> str:
    place = f" at '{at}'" if at else ""
    return f'Invalid JSON payload received. Unknown name "{name}"{place}: Cannot find field.'


def _camel(name: str) -> str:
    return _SNAKE.sub(lambda match: match[1].upper(), name) if "_" in name else name


def _camel_keys(value: Any) -> Any:
    if isinstance(value, dict):
        # null means "not set" in protobuf JSON
        renamed = ((_camel(key), item) for key, item in value.items() if item is not None)
        return {key: item if key in _FREEFORM else _camel_keys(item) for key, item in renamed}
    if isinstance(value, list):
        return [_camel_keys(item) for item in value]
    return value
