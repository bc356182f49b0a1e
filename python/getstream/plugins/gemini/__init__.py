"""Gemini Live, speech to speech, in Stream video calls.

    from getstream.plugins.gemini.live import GeminiLive

- `live`: the assistant, `GeminiLive`, and its options.
- `audio`: the Rust audio core on its own: resampler, voice activity detection, playback.
- `testing`: local servers to run an assistant against, without keys and without a network.
- `errors`: everything that the package raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .live import BargeIn, GeminiLive

__all__ = ["BargeIn", "GeminiLive", "__version__"]


def __getattr__(name: str) -> Any:
    # The SDKs take 0.7 s to import: those who want only the audio core or the errors do not wait.
    if name in ("BargeIn", "GeminiLive"):
        from . import live

        return getattr(live, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("getstream-plugins-gemini")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
