"""Leads the Stream SDKs of this process to a local backend, and back again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from .._redirect import getstream_local_redirect as hooks

__all__ = ["TOKEN_VARIABLE", "child_environment", "redirected"]

TOKEN_VARIABLE = "GETSTREAM_LOCAL_TOKEN"
"""Carries the token of the backend's controls (see `control`) to the redirected programs."""

_NOWHERE = "http://127.0.0.1:9"
"""The discard port: a request that goes through this proxy is refused at once."""


def connection_environment(
    url: str, api_key: str, api_secret: str, control_token: str
) -> dict[str, str]:
    """The variables that `Stream.from_env()` and the SDK's HTTP clients read.

    The proxy keeps the SDK from asking a server of Stream for its location before each join (it
    would cost a timeout where there is no network, and contact the outside where there is one).
    """
    direct = "127.0.0.1,localhost"
    return {
        "STREAM_BASE_URL": url,
        "STREAM_API_KEY": api_key,
        "STREAM_API_SECRET": api_secret,
        TOKEN_VARIABLE: control_token,
        # Both spellings: the lower-case one wins with most HTTP clients.
        "HTTPS_PROXY": _NOWHERE,
        "https_proxy": _NOWHERE,
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


def child_environment(
    url: str,
    ws_url: str,
    api_key: str,
    api_secret: str,
    control_token: str,
    parent: Mapping[str, str],
) -> dict[str, str]:
    """The variables with which an unchanged program talks to the local backend."""
    folder = str(Path(hooks.__file__).parent)
    inherited = parent.get("PYTHONPATH", "").split(os.pathsep)
    path = [folder, *(entry for entry in inherited if entry and entry != folder)]
    return {
        **connection_environment(url, api_key, api_secret, control_token),
        hooks.VARIABLE: ws_url,
        "PYTHONPATH": os.pathsep.join(path),
    }


@contextlib.contextmanager
def redirected(
    url: str, ws_url: str, api_key: str, api_secret: str, control_token: str
) -> Iterator[None]:
    """Redirect the SDKs of this process; everything is as before when the block ends."""
    ours = connection_environment(url, api_key, api_secret, control_token)
    before = {name: os.environ.get(name) for name in ours}
    restore = hooks.redirect_now(ws_url)
    os.environ.update(ours)
    try:
        yield
    finally:
        restore()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
