"""Which model to talk to: the default, and the successors of the models that were shut down."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from ..errors import ConfigError

DEFAULT_MODEL = "gemini-3.8-live"
"""Google's default for low-latency voice agents; stable since 2026-09-15."""

MODEL_VARIABLE = "GEMINI_LIVE_MODEL"


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


def is_proactive(model: str, config: Mapping[str, Any]) -> bool:
    """Whether the model may choose not to answer (proactive audio).

    Gemini 3.8 always may; others if the merged configuration asks for it.
    """
    if model.removeprefix("models/").startswith("gemini-3.8-live"):
        return True
    return bool((config.get("proactivity") or {}).get("proactive_audio"))


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
    bare = name.removeprefix("models/")
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
