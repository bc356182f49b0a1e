"""Environments of the demo's programs, as pure functions of the user's environment."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from ..errors import ConfigError

__all__ = ["gemini_key", "local_environment", "real_gemini_environment"]

GEMINI_HOST = "generativelanguage.googleapis.com"
KEY_VARIABLES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")

# Variables that a user may have set for the real service, and that must not reach a local server,
# which knows the service's own models and the Gemini API only.
_MEANT_FOR_THE_SERVICE = ("GEMINI_API_KEY", "GEMINI_LIVE_MODEL")

_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy")
_BYPASS_VARIABLES = ("NO_PROXY", "no_proxy")


def local_environment(base: Mapping[str, str], servers: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program that talks to local servers only.

    Args:
        base: Environment of the user.
        servers: Variables of the local servers, as their `env`.
    """
    kept = {name: value for name, value in base.items() if name not in _MEANT_FOR_THE_SERVICE}
    return {**kept, **servers}


def real_gemini_environment(base: Mapping[str, str], stream: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program in a local call that uses the real Gemini service.

    The local Stream backend's variables send every HTTPS request but those to this machine to a
    dead port. Google's SDK obeys them, so its host is excepted; a proxy of the user is kept
    instead, with the user's own exceptions.

    Args:
        base: Environment of the user.
        stream: Variables of the local Stream backend only: those of a local Gemini server (its
            address, its certificates) must not be included.

    Raises:
        ConfigError: there is no key for Gemini.
    """
    gemini_key(base)
    environment = {**base, **stream}
    proxy = next((base[name] for name in _PROXY_VARIABLES if base.get(name)), None)
    if proxy is not None:
        environment.update(dict.fromkeys(_PROXY_VARIABLES, proxy))
    hosts = [host for name in _BYPASS_VARIABLES for host in _hosts(stream.get(name, ""))]
    hosts += [host for name in _BYPASS_VARIABLES for host in _hosts(base.get(name, ""))]
    if proxy is None:
        own_host = urlsplit(base.get("GOOGLE_GEMINI_BASE_URL", "")).hostname
        hosts += [host for host in (GEMINI_HOST, own_host) if host]
    environment.update(dict.fromkeys(_BYPASS_VARIABLES, ",".join(dict.fromkeys(hosts))))
    return environment


def gemini_key(base: Mapping[str, str]) -> str:
    """Return the user's key for Gemini, found in the same way as by `GeminiLive`.

    Raises:
        ConfigError: there is none.
    """
    for name in KEY_VARIABLES:
        if key := base.get(name, "").strip():
            return key
    raise ConfigError(
        "--real-gemini needs a key for Gemini: set the environment variable GOOGLE_API_KEY or "
        "GEMINI_API_KEY. Keys: https://aistudio.google.com/apikey. Without --real-gemini the demo "
        "needs no key."
    )


def _hosts(value: str) -> list[str]:
    return [host.strip() for host in value.split(",") if host.strip()]
