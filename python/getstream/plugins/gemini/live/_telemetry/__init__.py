"""Count and report what happens in a session."""

from __future__ import annotations

import logging
import sys

from ...errors import ConfigError
from .observer import Observer

logger = logging.getLogger("getstream.plugins.gemini")


def observer_for(telemetry: bool | None, *, model: str, vertexai: bool) -> Observer | None:
    """Return what exports a session to OpenTelemetry, or None.

    `opentelemetry-api` takes 60 ms to import, and what it gets goes nowhere unless the program has
    set it up, for which it has imported it. Where it is installed, `getstream` has done so, too.

    Args:
        telemetry: True imports it; False does not export; None exports where it is imported.
        model: the name of the model.
        vertexai: whether the model is on Vertex AI.

    Raises:
        ConfigError: `telemetry` is True and `opentelemetry-api` is not installed.
    """
    if telemetry is False or (telemetry is None and "opentelemetry.trace" not in sys.modules):
        return None
    try:
        from .otel import OpenTelemetryObserver

        return OpenTelemetryObserver(model, "gcp.vertex_ai" if vertexai else "gcp.gemini")
    except Exception as error:
        if telemetry is None:  # an old release, which is there for something else
            logger.warning("OpenTelemetry cannot be used, and nothing is exported", exc_info=True)
            return None
        raise ConfigError(
            "telemetry=True needs opentelemetry-api 1.30 or later: "
            "pip install 'getstream-plugins-gemini[otel]'"
        ) from error
