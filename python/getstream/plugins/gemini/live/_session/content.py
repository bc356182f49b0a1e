"""Check turns of a conversation that the application sends as the SDK's contents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.genai import types

from ...errors import ConfigError

ROLES = ("user", "model")

MAX_BYTES = 7_000_000
"""Bytes of images and sounds in one request: Google's limit for an image that is sent inline
(cloud.google.com, Gemini, image understanding)."""


def contents_of(turns: Any) -> list[types.Content]:
    """Return turns as contents of the SDK, each with a role.

    Args:
        turns: one `Content` or a dict of one, or a list of these. A role that is missing is "user".

    Raises:
        ConfigError: it is none of these, a turn has no parts or another role, or all of them hold
            more than `MAX_BYTES`.
    """
    given = turns if isinstance(turns, (list, tuple)) else [turns]
    contents = [_content_of(turn, f"turn {number}") for number, turn in enumerate(given)]
    if not contents:
        raise ConfigError("send_content takes at least one turn")
    if inline_bytes(contents) > MAX_BYTES:
        raise ConfigError(f"send_content takes at most {MAX_BYTES} bytes of images and sounds")
    return contents


def texts_of(contents: list[types.Content]) -> list[tuple[str, str]]:
    """Return what contents say, without what is no text: `("user" | "model", text)`."""
    said = []
    for content in contents:
        parts = [part.text for part in content.parts or () if part.text and not part.thought]
        if parts:
            said.append((content.role or "user", " ".join(parts)))
    return said


def inline_bytes(contents: list[types.Content]) -> int:
    """Return the bytes of images and sounds in contents."""
    blobs = (part.inline_data for content in contents for part in content.parts or ())
    return sum(len(blob.data) for blob in blobs if blob is not None and blob.data)


def _content_of(turn: Any, where: str) -> types.Content:
    if not isinstance(turn, (types.Content, Mapping)):
        raise ConfigError(
            "send_content takes google.genai.types.Content, a dict of one, or a list of these; "
            f"{where} is {type(turn).__name__}"
        )
    refused = ""
    try:
        content = types.Content.model_validate(turn)
    except ValueError as error:  # pydantic's, which holds the values
        refused = f"{type(error).__name__} at " + ", ".join(_places_of(error))
    if refused:
        raise ConfigError(f"send_content: {where} is no content: {refused}")
    if not content.parts:
        raise ConfigError(f"send_content: {where} has no parts")
    if content.role is None:
        content = content.model_copy(update={"role": "user"})
    if content.role not in ROLES:
        raise ConfigError(f"send_content: the role of {where} must be user or model")
    return content


def _places_of(error: ValueError) -> list[str]:
    """Return where pydantic refuses a value."""
    details = getattr(error, "errors", None)
    if not callable(details):
        return ["its top"]
    found = details(include_url=False, include_input=False, include_context=False)
    return [".".join(str(part) for part in item["loc"]) or "its top" for item in found]
