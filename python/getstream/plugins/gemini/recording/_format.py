"""Define the lines of `events.jsonl`: names, versions, and how values become JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any

__all__ = [
    "EVENTS_FILE",
    "FORMAT",
    "FORMAT_VERSION",
    "encode_line",
    "plain",
    "redacted_config",
]

FORMAT = "getstream-gemini-recording"

FORMAT_VERSION = 1
"""Version of the format. A reader of version 1 may read what adds names; what changes or takes away
a name has the next number."""

EVENTS_FILE = "events.jsonl"

LONGEST_TEXT = 20_000
"""Characters of a text that are kept: an answer of twenty minutes. Arguments and results of tools
can be of any size, and are written on the event loop."""

MOST_ITEMS = 500
"""Items of a list or an object that are kept, for the same reason."""

_DEEPEST = 12

_LARGEST = 2**63

HIDDEN = "[hidden]"

_SECRET_NAME = re.compile(
    r"(?i)key|token(?!s)|secret|passw|credential|authori[sz]ation|handle|cookie|bearer"
)

# Keys of Google's API (AIza..., AQ....), OAuth and ephemeral tokens, and signed tokens (RFC 7519).
_SECRET_VALUE = re.compile(
    r"AIza[\w-]{20,}|AQ\.[\w-]{20,}|ya29\.[\w.-]{20,}|auth_tokens/[\w-]+"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
)

_SECRET_VARIABLES = ("GOOGLE_API_KEY", "GEMINI_API_KEY", "STREAM_API_SECRET")

_SHORTEST_SECRET = 8
"""Characters: a shorter value of such a variable is no key, and would be hidden in plain words."""


def plain(value: Any, depth: int = 0) -> Any:
    """Return a value as JSON can hold it: bounded, without keys, and whatever it was."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        # Longer ones cannot be read back everywhere, nor written at all from 4300 digits on.
        return value if abs(value) < _LARGEST else f"[{value.bit_length()} bits]"
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, str):
        return _hide(value if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]}…")
    if isinstance(value, BaseException):
        return {"type": type(value).__name__, "message": plain(_words(value))}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"[{len(value)} bytes]"
    if depth >= _DEEPEST:
        return "…"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # The handle of a `Resumption` is as good as a key.
        return {
            each.name: HIDDEN
            if _SECRET_NAME.search(each.name)
            else plain(getattr(value, each.name), depth + 1)
            for each in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        items = list(value.items())[:MOST_ITEMS]
        return {_hide(_words(key)): plain(each, depth + 1) for key, each in items}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each, depth + 1) for each in list(value)[:MOST_ITEMS]]
    return _hide(_words(value)[:LONGEST_TEXT])


def _words(value: Any) -> str:
    """Return `str(value)`, or its type where an object of the application refuses."""
    try:
        return str(value)
    except Exception:
        return f"[{type(value).__name__}]"


def redacted_config(config: Any, depth: int = 0) -> Any:
    """Return a configuration as JSON can hold it, with keys, tokens and handles hidden by name."""
    if isinstance(config, Mapping) and depth < _DEEPEST:
        return {
            _hide(_words(key)): HIDDEN
            if each is not None and _SECRET_NAME.search(_words(key))
            else redacted_config(each, depth + 1)
            for key, each in config.items()
        }
    if isinstance(config, (list, tuple)) and depth < _DEEPEST:
        return [redacted_config(each, depth + 1) for each in config]
    return plain(config)


def encode_line(fields: Mapping[str, Any]) -> bytes:
    """Return one line of the file, with its end."""
    text = json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A lone surrogate becomes `\udXXX`, which is an escape of JSON as well.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _hide(text: str) -> str:
    for name in _SECRET_VARIABLES:
        secret = os.environ.get(name, "").strip()
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, HIDDEN)
    return _SECRET_VALUE.sub(HIDDEN, text)
