"""Make a client of the SDK before it is needed."""

from __future__ import annotations

import asyncio
import os
import threading

from google import genai

from .sdk_protocol import warm_up

_VARIABLES = (
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_VERTEX_BASE_URL",
    "SSL_CERT_FILE",
)
"""What a client of the SDK reads from the environment when it is made, beside the key."""

_Kind = tuple[object, ...]


class SpareClient:
    """Keeps one client for the first session that would make an equal one. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kind: _Kind = ()
        self._client: genai.Client | None = None

    def put(self, client: genai.Client, api_key: str | None, vertexai: bool) -> genai.Client | None:
        """Keep a client; return the one that it takes the place of."""
        with self._lock:
            before, self._client = self._client, client
            self._kind = _kind_of(api_key, vertexai)
        return before

    def take(self, api_key: str | None, vertexai: bool) -> genai.Client | None:
        """Return the client for a key, which is the caller's from now on; None if there is none."""
        with self._lock:
            if self._client is None or self._kind != _kind_of(api_key, vertexai):
                return None
            client, self._client = self._client, None
            return client


def _kind_of(api_key: str | None, vertexai: bool) -> _Kind:
    return (api_key, vertexai, *(os.environ.get(name) for name in _VARIABLES))


SPARE = SpareClient()
"""The client that `prewarm` has made."""


async def prewarm(api_key: str | None, vertexai: bool) -> None:
    """Load the SDK and make a client, on a worker thread.

    Raises:
        ConfigError: the SDK does not accept the key.
    """
    await asyncio.to_thread(_prewarm, api_key, vertexai)


def _prewarm(api_key: str | None, vertexai: bool) -> None:
    from .connection import build_client, close_client

    warm_up()
    client = build_client(api_key, vertexai)
    before = SPARE.put(client, api_key, vertexai)
    if before is not None:
        close_client(before)
