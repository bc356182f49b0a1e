"""Command `playground`: a page on this machine on which a person talks to the assistant."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sys
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from ..live import GeminiLive
from ..playground import LocalService, Playground
from .clips import GREETING_TEXT, data_file
from .environment import KEY_VARIABLES, local_environment

__all__ = ["PlaygroundOptions", "run_playground"]


@dataclass(frozen=True)
class PlaygroundOptions:
    """Options of the command `playground`.

    Attributes:
        assistant: `"module:function"` that makes the assistant; None for a plain one.
        port: TCP port; 0 for a free one.
        local: the local server even where a key is set.
        open_browser: whether to open the page.
    """

    assistant: str | None = None
    port: int = 0
    local: bool = False
    open_browser: bool = True


def run_playground(options: PlaygroundOptions) -> int:
    """Serve until Ctrl-C or SIGTERM.

    Returns:
        0.

    Raises:
        ConfigError: there is no such function, or the port is taken.
    """
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(options))
    return 0


async def _serve(options: PlaygroundOptions) -> None:
    stop = asyncio.Event()
    with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        service = None
        if options.local or not any(os.environ.get(name, "").strip() for name in KEY_VARIABLES):
            service = await stack.enter_async_context(
                LocalService(data_file("greeting.wav"), GREETING_TEXT)
            )
            redirect(service)
        # After the redirection: a module may make its client as it is imported.
        make_assistant = load(options.assistant) if options.assistant else GeminiLive
        playground = Playground(make_assistant, service=service, port=options.port)
        await stack.enter_async_context(playground)
        model = "the real Gemini Live" if service is None else "a local server that repeats you"
        print(f"Talk to the assistant, on {model}:\n\n  {playground.url}\n\nCtrl-C ends it.")
        sys.stdout.flush()
        if options.open_browser:
            await asyncio.to_thread(webbrowser.open, playground.url)
        await stop.wait()


def redirect(service: LocalService) -> None:
    """Let every SDK in this process talk to the local server, whatever the user has set."""
    environment = local_environment(os.environ, service.env)
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


def load(name: str) -> Callable[[], Any]:
    """Return the function that `"module:function"` names; modules of this folder come first.

    Raises:
        ConfigError: there is none.
    """
    module_name, colon, function_name = name.partition(":")
    if not (module_name and colon and function_name):
        raise ConfigError(f"{name!r} is not of the form module:function, as in my_bot:make")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0] and error.name != module_name:
            raise
        raise ConfigError(
            f"There is no module {module_name!r} here; start the playground in its folder"
        ) from None
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ConfigError(
            f"{module_name} has no function {function_name!r}; it must return a GeminiLive"
        )
    found: Callable[[], Any] = function
    return found
