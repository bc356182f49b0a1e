"""Load the assistant function of a fleet, and check that it is one."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import ConfigError
from ._seat import Seat

Assistant = Callable[[Seat], Awaitable[None]]
"""The application: an async function that holds one call."""


def load_assistant(name: str) -> Assistant:
    """Return the assistant function that `"module:function"` names.

    Modules of the current folder come first.

    Raises:
        ConfigError: there is none, or it is no async function of one argument.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise ConfigError(f"{name!r:.100} is not of the form module:function, as in app:assistant")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing != module_name and not module_name.startswith(f"{missing}."):
            raise ConfigError(
                f"{module_name} imports {missing!r}, which is not installed"
            ) from error
        hint = f"; a file is named without .py: {module_name[:-3]}:{path}"
        raise ConfigError(
            f"There is no module {module_name!r:.100} in {folder}, nor is one installed"
            + (hint if module_name.endswith(".py") else "")
        ) from None
    found: Any = module
    for part in path.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"{module_name} has no {path!r:.100}{_others(module)}")
        found = getattr(found, part)
    return check_assistant(found, name)


def check_assistant(assistant: Any, name: str = "") -> Assistant:
    """Return an assistant function as it is.

    Args:
        assistant: the function.
        name: what to call it in an error.

    Raises:
        ConfigError: it is no async function, or does not take one argument.
    """
    name = name or getattr(assistant, "__qualname__", "") or f"{assistant!r:.100}"
    if not _is_async(assistant):
        raise ConfigError(
            f"{name} is no async function. An assistant is `async def assistant(seat): ...`, which "
            "holds one call"
        )
    try:
        inspect.signature(assistant).bind(None)
    except TypeError:
        raise ConfigError(
            f"{name} has to take one argument, the seat: `async def assistant(seat): ...`, not "
            f"{inspect.signature(assistant)}"
        ) from None
    function: Assistant = assistant
    return function


def _is_async(function: Any) -> bool:
    if inspect.isclass(function) or not callable(function):
        return False
    if inspect.iscoroutinefunction(function):
        return True
    return inspect.iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004


def _others(module: Any) -> str:
    """Return what may have been meant."""
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and inspect.iscoroutinefunction(value)
        and getattr(value, "__module__", None) == module.__name__
    ]
    return f"; it has {', '.join(sorted(names)[:5])}" if names else ""
