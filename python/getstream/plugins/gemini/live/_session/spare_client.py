"""Keep a client of the SDK that was made before it is needed."""

from __future__ import annotations

import os
import threading

from google import genai

_VARIABLES = (
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_VERTEX_BASE_URL",
    "SSL_CERT_FILE",
)
"""Variables that a client of the SDK reads when it is made, beside the key."""

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
