"""Sends the coordinator WebSocket of the Stream SDKs to a local backend. Standard library only.

getstream derives the address of that socket from nothing that a user could set:

- 7.x: `ConnectionManager` passes no `ws_url` to `getstream_rtc.Client`, whose default is Stream's
  production address. `Client` does take `ws_url`, and is looked up in its module at each use.
- up to 6.x: `StreamAPIWS(uri=DEFAULT_WS_URI)`, a constant in its signature.

No file of an SDK is touched, and nothing happens unless the variable is set. It leads to this
machine only: the SDK sends its token to whatever it is led to. This belongs to the test kit; the
product never does it.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import ipaddress
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

__all__ = ["VARIABLE", "install", "redirect_now"]

VARIABLE = "GETSTREAM_LOCAL_COORDINATOR"
"""Address of the local coordinator socket, ws://host:port/api/v2/connect."""

_BINDINGS = "getstream_rtc"
_LEGACY_SOCKET = "getstream.video.rtc.coordinator.ws"


def _patch(module: ModuleType, url: str) -> Callable[[], None]:
    """Redirect one of the two modules; returns what undoes it."""
    holder: Any = module if module.__name__ == _BINDINGS else module.StreamAPIWS
    name = "Client" if holder is module else "__init__"
    original = getattr(holder, name)

    if holder is module:
        replacement = functools.partial(original, ws_url=url)
    else:

        @functools.wraps(original)
        def replacement(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **{"uri": url, **kwargs})

    setattr(holder, name, replacement)
    return lambda: setattr(holder, name, original)


def require_loopback(url: str) -> None:
    """Raise ValueError unless an address is one of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        is_local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        is_local = False
    if not is_local:
        raise ValueError(f"{VARIABLE} leads to this machine only (127.0.0.1), not to {host!r}")


def redirect_now(url: str) -> Callable[[], None]:
    """Import and redirect the installed SDK at once; returns what undoes it."""
    require_loopback(url)
    module: ModuleType | None = None
    for name in (_BINDINGS, _LEGACY_SOCKET):
        try:
            module = importlib.import_module(name)
            break
        except ModuleNotFoundError:
            continue
    if module is None:
        raise ImportError("no Stream SDK with WebRTC is installed: pip install 'getstream[webrtc]'")
    return _patch(module, url)


class _Finder(importlib.abc.MetaPathFinder):
    """Redirects a module right after it has been imported."""

    def __init__(self, url: str) -> None:
        self._url = url

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in (_BINDINGS, _LEGACY_SOCKET):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _patch(module, self._url)

        loader.exec_module = exec_module
        return spec


def install() -> None:
    """Redirect the SDK when the program imports it, if `VARIABLE` is set.

    Raises:
        ValueError: it does not lead to this machine.
    """
    url = os.environ.get(VARIABLE)
    if url:
        require_loopback(url)
        sys.meta_path.insert(0, _Finder(url))
