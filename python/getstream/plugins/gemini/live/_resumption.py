"""Carry a conversation from one session to the next: what is kept of it, and how it is written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError

VERSION = 1
"""The version of the JSON; a reader refuses a newer one."""

HANDLE_LASTS_S = 7200.0
"""Seconds for which the service keeps a session that has ended (ai.google.dev, Live API session
management: two hours)."""

MAX_JSON_CHARS = 1 << 20
"""Characters of JSON that are read. One that this package writes has 8,000 of text in 400 lines."""

ROLES = ("user", "model")

Line = tuple[str, str]
"""One line of a conversation: `"user"` or `"model"`, and what was said."""


@dataclass(frozen=True, repr=False)
class Resumption:
    """Everything that another `GeminiLive` needs to go on with a conversation.

    Who has it has the conversation: store it as you store a password. `repr` shows neither the
    handle nor what was said, and nothing of it is logged.

    Attributes:
        handle: stands for the session at the service, for two hours from its end; "" if there is
            none. Then, and where the service refuses it, a new session begins with the lines.
        model: the model that the handle is of.
        lines: what was said, oldest first, as `("user" | "model", text)`: at most 8,000 characters,
            and of a turn that was cut short, only what was heard.
        at: when this was made, in seconds since 1970 (UTC).

    Raises:
        ConfigError: a value is not of its type, or there is a role that is not known.
    """

    handle: str
    model: str
    lines: tuple[Line, ...] = ()
    at: float = field(default=0.0)

    def __post_init__(self) -> None:
        if not isinstance(self.handle, str):
            raise ConfigError(f"Resumption.handle is a string, not {type(self.handle).__name__}")
        if not isinstance(self.model, str) or not self.model.strip():
            raise ConfigError(f"Resumption.model is a non-empty string, not {self.model!r:.100}")
        object.__setattr__(self, "lines", check_lines("Resumption.lines", self.lines))
        is_number = isinstance(self.at, (int, float)) and not isinstance(self.at, bool)
        if not is_number or not 0 <= self.at < math.inf:
            raise ConfigError(f"Resumption.at is in seconds since 1970, not {self.at!r:.100}")

    def __repr__(self) -> str:
        handle = "'...'" if self.handle else "''"
        lines = f"<{len(self.lines)} lines>"
        return f"Resumption(handle={handle}, model={self.model!r}, lines={lines}, at={self.at!r})"

    def to_json(self) -> str:
        """Return all of it as one JSON object, which `from_json` reads."""
        return json.dumps(
            {
                "version": VERSION,
                "handle": self.handle,
                "model": self.model,
                "at": self.at,
                "lines": [list(line) for line in self.lines],
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Resumption:
        """Read what `to_json` has written.

        Raises:
            ConfigError: it is something else, or of a newer version. It is not shown.
        """
        if not isinstance(text, (str, bytes)) or len(text) > MAX_JSON_CHARS:
            raise ConfigError(
                f"Resumption.from_json takes JSON of at most {MAX_JSON_CHARS} characters, not "
                f"{type(text).__name__}"
            )
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict) or not isinstance(values.get("version"), int):
            raise ConfigError("This is no Resumption: from_json reads what to_json wrote")
        if values["version"] != VERSION:
            raise ConfigError(
                f"This Resumption has version {values['version']}, and this release reads version "
                f"{VERSION}: update the package that reads it"
            )
        try:
            return cls(values["handle"], values["model"], values["lines"], values["at"])
        except KeyError as error:
            raise ConfigError(f"This Resumption has no {error.args[0]!r}") from None

    def handle_for(self, model: str, now: float) -> str:
        """Return the handle if it may be worth trying, else "".

        Args:
            model: the model of the session that would be resumed.
            now: the time, in seconds since 1970.
        """
        same_model = self.model.rpartition("/")[2] == model.rpartition("/")[2]
        return self.handle if same_model and now - self.at < HANDLE_LASTS_S else ""


def check_lines(name: str, lines: object) -> tuple[Line, ...]:
    """Check what was said before, and return it as pairs of role and text.

    Args:
        name: what to call it in an error.
        lines: pairs `("user" | "model", text)`, or `Content` objects or dictionaries of the SDK
            (`{"role": "user", "parts": [{"text": "Hello."}]}`) whose parts are text.

    Raises:
        ConfigError: it is something else. What is said is not shown.
    """
    if isinstance(lines, (str, bytes, Mapping)) or not isinstance(lines, Iterable):
        raise ConfigError(
            f'{name} is a list of pairs such as ("user", "Hello."), not {type(lines).__name__}'
        )
    return tuple(_check_line(f"{name}[{index}]", line) for index, line in enumerate(lines))


def _check_line(name: str, line: Any) -> Line:
    dump = getattr(line, "model_dump", None)  # a Content object of the SDK
    if callable(dump):
        line = dump(exclude_none=True)
    if isinstance(line, Mapping):
        line = (line.get("role"), _text_of(name, line.get("parts")))
    if not isinstance(line, (tuple, list)) or len(line) != 2:
        raise ConfigError(
            f'{name} is a pair such as ("user", "Hello."), or a Content with text, not '
            f"{type(line).__name__}"
        )
    role, text = line
    if role not in ROLES:
        raise ConfigError(f'{name} has the role {role!r:.50}; a role is "user" or "model"')
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"{name} has no text: it is a non-empty string")
    return role, text


def _text_of(name: str, parts: Any) -> str:
    if not isinstance(parts, (list, tuple)) or not parts:
        raise ConfigError(f"{name} has no parts")
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) else getattr(part, "text", None)
        if not isinstance(text, str):
            raise ConfigError(f"{name} has a part that is no text: a conversation begins with text")
        texts.append(text)
    return "".join(texts)
