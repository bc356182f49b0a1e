"""Check that the keys open Gemini Live and Stream; what is done costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ...errors import AuthError, ConnectError, QuotaError, SessionError
from .findings import redacted
from .results import Result, failed, passed, warned
from .wire_client import RefusedError, Service

__all__ = ["check_gemini_access", "check_stream_access", "raise_unless_version"]

ACCESS_S = 10.0
"""Longest wait for a service that answers, in seconds."""

STREAM_KEYS_ADVICE = (
    "Copy STREAM_API_KEY and STREAM_API_SECRET of one app from https://dashboard.getstream.io"
)


def raise_unless_version(service: Service, error: RefusedError) -> None:
    """Raise what a refusal means, unless another API version may help.

    Raises:
        AuthError: The key is refused.
        QuotaError: The quota is used up.
        SessionError: It was refused for another reason.
    """
    reason = redacted(error.reason, [service.key])
    text = reason.lower()
    where = f"({error.code}: {reason})"
    if error.code in (401, 403) or "api key" in text or "unregistered" in text:
        raise AuthError(
            f"Gemini refused the key {where}",
            code=error.code,
            remedy="Check GOOGLE_API_KEY. Keys: https://aistudio.google.com/apikey",
        )
    if "quota" in text or error.code == 429:
        raise QuotaError(
            f"The quota of the Gemini key is used up {where}",
            code=error.code,
            retryable=True,
            remedy="Wait, or raise the quota of the project.",
        )
    if error.code != 404 and "not found" not in text and "not supported" not in text:
        raise SessionError(f"Gemini Live refused the connection {where}", code=error.code)


async def check_gemini_access(service: Service) -> Result:
    """Open a session with the key and the model, and close it: no token is used."""
    name = "access.gemini"
    try:
        async with service.session(generationConfig=_generation(service.model)):
            return passed(name, f"the key opens {service.model}")
    except RefusedError as error:
        reason = redacted(error.reason, [service.key])
        try:
            raise_unless_version(service, error)
        except QuotaError as refused:
            return warned(name, str(refused.args[0]), refused.remedy)
        except AuthError as refused:
            return failed(name, str(refused.args[0]), refused.remedy)
        except SessionError as refused:
            return failed(name, str(refused.args[0]), "Run `doctor --live`, which says more.")
        return failed(
            name,
            f"Gemini Live has no model {service.model!r} for this key ({error.code}: {reason})",
            "Name a current Live model in GEMINI_LIVE_MODEL, or none.",
        )
    except ConnectError as error:
        return failed(name, redacted(str(error.args[0]), [service.key]), error.remedy)


def _generation(model: str) -> dict[str, object]:
    """Return what the setup of a model must have."""
    from ...live._models import default_options

    level = default_options(model).get("thinking_config", {}).get("thinking_level")
    thinking = {"thinkingConfig": {"thinkingLevel": level}} if level else {}
    return {"responseModalities": ["AUDIO"], **thinking}


async def check_stream_access(secrets: Sequence[str]) -> Result:
    """Ask the app of the environment's keys for one user; it changes nothing.

    Args:
        secrets: Keys that must not be in the result.
    """
    from getstream import AsyncStream
    from getstream.models import QueryUsersPayload

    name = "access.stream"
    try:
        # base_url=None is what makes the client read STREAM_BASE_URL.
        async with AsyncStream(base_url=None) as client:
            payload = QueryUsersPayload(filter_conditions={}, limit=1)
            await asyncio.wait_for(client.query_users(payload), ACCESS_S)
    except Exception as error:  # of the SDK, the network or the app
        seen = redacted(f"{type(error).__name__}: {error}", secrets)
        return failed(name, f"Stream refused the keys ({seen})", STREAM_KEYS_ADVICE)
    return passed(name, "the keys open the app")
