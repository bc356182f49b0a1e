"""The models: what each accepts, which one is the default, and which ones were shut down."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from ..errors import ConfigError

logger = logging.getLogger("getstream.plugins.gemini")

DEFAULT_MODEL = "gemini-3.8-live"
"""Google's default for low-latency voice agents; stable since 2026-09-15."""

MODEL_VARIABLE = "GEMINI_LIVE_MODEL"


ToolBehavior = Literal["BLOCKING", "NON_BLOCKING"]
"""Names of the two ways: a model waits for the result of a function, or goes on without it."""


@dataclass(frozen=True)
class Retirement:
    """The end of a model."""

    shut_down: date
    successor: str


# To retire a model, add a line. Source: https://ai.google.dev/gemini-api/docs/deprecations
RETIRED_MODELS = {
    "gemini-live-2.5-flash-preview": Retirement(date(2025, 12, 9), DEFAULT_MODEL),
    "gemini-2.0-flash-live-001": Retirement(date(2025, 12, 9), DEFAULT_MODEL),
}


@dataclass(frozen=True, kw_only=True)
class Model:
    """Options that a model accepts. The defaults are for an unknown model: everything.

    Attributes:
        text: whether it can answer in text; native-audio models speak only.
        proactive: whether it may choose not to answer: `always`, when `asked` to, or `never`.
        thinking: how its thinking is set: by a `budget`, by a `level`, by `either`, or `none`.
        levels: the levels it knows; empty for any.
        default_level: the level that is asked for where the user names none, because the service
            refuses a session without one; empty where it does not.
        affective: whether `enable_affective_dialog` is an option.
        tool_behaviors: what a function may be declared as, the model's own default first.
        history_mode: how it takes the history of another session: as `history`, read before the
            conversation begins, or as `content` in its course.
        context_updates: how its instructions are changed in the course of a session: by an
            `update` of the context, which changes its tools as well, by `content` with the role
            `system`, or `none`: that takes a new session.
        takes_content: whether it takes contents in the course of a session; else it ends the
            session with 1007.
    """

    text: bool = True
    proactive: Literal["always", "asked", "never"] = "asked"
    thinking: Literal["budget", "level", "either", "none"] = "either"
    levels: frozenset[str] = frozenset()
    default_level: str = ""
    affective: bool = True
    tool_behaviors: tuple[ToolBehavior, ...] = ("BLOCKING", "NON_BLOCKING")
    history_mode: Literal["history", "content"] = "history"
    context_updates: Literal["update", "content", "none"] = "none"
    takes_content: bool = True


# By the start of the name, the longest first. Source: the migration sections and the model pages
# of https://ai.google.dev/gemini-api/docs/live (September 2026); of the updates in mid-session, the
# page "Start and manage live sessions" of Google Cloud ("... and tools with Gemini 3.8 Live").
_MODELS: dict[str, Model] = {
    "gemini-3.8-live-extended-thinking": Model(
        text=False,
        proactive="always",
        thinking="level",
        levels=frozenset({"LOW", "MEDIUM", "HIGH"}),
        default_level="LOW",  # the least delay; without a level: 1007 (vercel/ai #20787)
        affective=False,
        tool_behaviors=("NON_BLOCKING",),
        context_updates="update",
    ),
    "gemini-3.8-live": Model(
        text=False,
        proactive="always",
        thinking="none",
        affective=False,
        tool_behaviors=("NON_BLOCKING", "BLOCKING"),
        context_updates="update",
    ),
    "gemini-3.1-flash-live": Model(
        text=False,
        proactive="never",
        thinking="level",
        affective=False,
        tool_behaviors=("BLOCKING",),
        takes_content=False,
    ),
    "gemini-2.5-flash-native-audio": Model(
        text=False, thinking="budget", history_mode="content", context_updates="content"
    ),
    "gemini-live-2.5-flash-native-audio": Model(
        text=False, thinking="budget", history_mode="content", context_updates="content"
    ),
}
_UNKNOWN = Model()


def bare_name(model: str) -> str:
    """The name without `models/` or the path of a project."""
    return model.rpartition("/")[2]


def model_of(name: str) -> Model:
    """Return the entry of a model."""
    bare = bare_name(name)
    for start, model in _MODELS.items():
        if bare.startswith(start):
            return model
    return _UNKNOWN


def is_known(name: str) -> bool:
    """Return whether the options of a model are known here."""
    return model_of(name) is not _UNKNOWN


def default_options(model: str) -> dict[str, Any]:
    """Return the options that a model needs and that the user need not name."""
    level = model_of(model).default_level
    return {"thinking_config": {"thinking_level": level}} if level else {}


def is_proactive(model: str, config: Mapping[str, Any]) -> bool:
    """Whether the model may choose not to answer (proactive audio), under a merged config."""
    known = model_of(model).proactive
    asked = bool((config.get("proactivity") or {}).get("proactive_audio"))
    return known == "always" or (known == "asked" and asked)


class RetiredModelWarning(UserWarning):
    """The model that was asked for has been shut down; its successor is used instead."""


def resolve_model(model: str | None, *, stacklevel: int = 2) -> str:
    """Return the model to connect to.

    The argument comes first, then the variable `GEMINI_LIVE_MODEL`, then `DEFAULT_MODEL`. A
    retired model is replaced by its successor, with a `RetiredModelWarning` that names both.
    A model that is not known here is taken as it is: the service has the last word.

    Args:
        model: the model's name, with or without a `models/` prefix, or None.
        stacklevel: as in `warnings.warn`: whose line the warning names.

    Raises:
        ConfigError: the name is not a string, or empty.
    """
    name = model if model is not None else os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(
            f"model must be a non-empty string such as {DEFAULT_MODEL!r}, not {model!r}"
        )
    name = name.strip()
    bare = bare_name(name)
    retirement = RETIRED_MODELS.get(bare)
    if retirement is None:
        return name
    warnings.warn(
        f"The model {bare!r} was shut down on {retirement.shut_down.isoformat()}; "
        f"using its successor {retirement.successor!r}. Name it (or no model) to silence this.",
        RetiredModelWarning,
        stacklevel=stacklevel + 1,
    )
    return name.replace(bare, retirement.successor)


def check_config(model: str, config: Mapping[str, Any]) -> None:
    """Check a merged configuration against what the model accepts, before a socket opens.

    The service would close the connection with 1007 and not say which option it was. A model that
    is not known passes, with a note in the log.

    Raises:
        ConfigError: names the option, and what to do.
    """
    if not is_known(model):
        logger.info("The model %r is not known here; its options are not checked", model)
        return
    for option, why in _refused(model_of(model), config):
        raise ConfigError(f"config[{option!r}] cannot be used with {bare_name(model)!r}: {why}")


def _refused(model: Model, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The options that the model does not accept, each with the reason."""
    modalities = [_name(each) for each in config.get("response_modalities") or ()]
    if not model.text and modalities not in ([], ["AUDIO"]):
        yield "response_modalities", 'it only speaks; leave it at ["AUDIO"]'
    if config.get("enable_affective_dialog") is not None and not model.affective:
        yield "enable_affective_dialog", "the option was removed; leave it out"
    proactive = (config.get("proactivity") or {}).get("proactive_audio")
    if proactive is False and model.proactive == "always":
        yield "proactivity", "proactive_audio is always on and cannot be switched off"
    if proactive and model.proactive == "never":
        yield "proactivity", "it has no proactive audio; leave it out"
    thinking = config.get("thinking_config") or {}
    if thinking and model.thinking == "none":
        yield "thinking_config", "it does not think; leave it out"
    if thinking.get("thinking_budget") is not None and model.thinking == "level":
        yield "thinking_config", "its thinking is set by thinking_level, not by a budget"
    level = thinking.get("thinking_level")
    if model.default_level and level is None:
        yield "thinking_config", "the service refuses it without a thinking_level"
    if level is not None and model.thinking == "budget":
        yield "thinking_config", "its thinking is set by thinking_budget, not by a level"
    if level is not None and model.levels and _name(level) not in model.levels:
        yield "thinking_config", f"thinking_level is one of {', '.join(sorted(model.levels))}"


def _name(value: Any) -> str:
    """The name of an option's value: the SDK takes strings and enums."""
    return str(getattr(value, "value", value)).upper()
