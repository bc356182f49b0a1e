"""Read webhooks of Stream: who signed them, and what they ask of a fleet.

Stream signs the JSON of an event with HMAC-SHA256 under the API secret, and sends the signature in
hexadecimal as `X-Signature`. Where compression is switched on in its dashboard, the body is gzip of
that JSON; the signature is that of the JSON all the same.

The SDK's `verify_and_parse_webhook` is not used: it refuses the RFC 3339 timestamps that Stream
sends, raises `TypeError` for a signature that is not ASCII, and unpacks without a limit.
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import json
import re
import zlib
from dataclasses import dataclass
from typing import Any

from ..errors import GeminiError

MAX_BODY_BYTES = 1 << 20
"""Largest event, as sent and unpacked. Those of calls have 1 to 100 kB: 100 members, 1 kB each."""

MAX_AGE_S = 3600.0
"""Oldest event that starts an assistant. Stream repeats one that was not answered for minutes; an
hour leaves room for clocks that differ, and bounds what a captured webhook is good for."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 31
"""The largest window, in a gzip container (zlib manual, `inflateInit2`)."""

_SIGNATURE = re.compile("[0-9a-f]{64}")

_RFC_3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)

_NUMBER_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6))
"""Numbers below the first of a pair count 1 / second of it: 1e11 s are the year 5138, and 1e11 ms
were in 1973. Larger ones are nanoseconds, which the SDK expects."""

_JOINED = "call.session_participant_joined"
_ENDED = ("call.session_ended", "call.ended")


class WebhookError(GeminiError):
    """A webhook is refused.

    Attributes:
        status: the HTTP status to answer: 401 for a wrong signature, 413 for too large a body, 400
            for an event that cannot be read.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Start:
    """Asks for an assistant: a person has joined a call.

    Attributes:
        cid: the call, as `type:id`.
        session_id: the session of the call; "" if the event has none.
    """

    cid: str
    session_id: str


@dataclass(frozen=True)
class End:
    """Tells that nobody is in a call any more.

    Attributes:
        cid: the call, as `type:id`.
        session_id: the session that has ended; "" if the event does not say.
    """

    cid: str
    session_id: str


@dataclass(frozen=True)
class Ignore:
    """Asks for nothing.

    Attributes:
        reason: why, in words.
    """

    reason: str


Decision = Start | End | Ignore


def read_webhook(
    body: bytes, signature: str, *, api_secret: str, user_id: str, now_s: float
) -> Decision:
    """Verify a webhook, and tell what it asks for.

    A call is started by `call.session_participant_joined`. `call.session_started` is no reason: the
    assistant's own join begins a session, too, and nothing in that event tells whose it was.

    Args:
        body: as it was sent, compressed or not.
        signature: the header `X-Signature`; "" if there is none.
        api_secret: the secret of the Stream API.
        user_id: the user that assistants are in calls; its own join is ignored.
        now_s: the time now, in seconds since 1970.

    Raises:
        WebhookError: it is not signed by Stream, too large, or no event.
    """
    text = unpack(body)
    verify(text, signature, api_secret)
    return decide(_parse(text), user_id=user_id, now_s=now_s)


def unpack(body: bytes) -> bytes:
    """Return a body without its compression, if it has any.

    Everybody who reaches the gate can have this done, signed or not: it is bounded.

    Raises:
        WebhookError: it is broken, or larger than `MAX_BODY_BYTES`.
    """
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    if not body.startswith(_GZIP_MAGIC):  # JSON does not begin like this
        return body
    unpacker = zlib.decompressobj(wbits=_GZIP_WBITS)
    try:
        text = unpacker.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise WebhookError("The body begins like gzip, and is not", 400) from None
    if len(text) > MAX_BODY_BYTES:
        raise _too_large()
    if not unpacker.eof or unpacker.unused_data:
        raise WebhookError("The body is not one whole gzip stream", 400)
    return text


def verify(text: bytes, signature: str, api_secret: str) -> None:
    """Check that a text was signed with the secret, in a time that does not tell how nearly.

    Raises:
        WebhookError: it was not. Neither signature is shown.
    """
    if not signature:
        raise WebhookError("The header X-Signature is missing", 401)
    expected = hmac.new(api_secret.encode(), text, hashlib.sha256).hexdigest()
    # `compare_digest` raises TypeError for text that is not ASCII.
    well_formed = _SIGNATURE.fullmatch(signature) is not None
    if not (well_formed and hmac.compare_digest(signature, expected)):
        raise WebhookError("The signature is not that of this body and this API secret", 401)


def decide(event: dict[str, Any], *, user_id: str, now_s: float) -> Decision:
    """Tell what an event asks for; fields that it does not need are not looked at.

    Raises:
        WebhookError: it has no type, or lacks what its type needs.
    """
    kind = event.get("type")
    if not isinstance(kind, str):
        raise WebhookError("The event has no type", 400)
    if kind != _JOINED and kind not in _ENDED:
        return Ignore(f"events of type {kind!r:.60} start and end nothing")
    cid = event.get("call_cid")
    if not isinstance(cid, str) or not all(cid.partition(":")):
        raise WebhookError("The event names no call: call_cid is not type:id", 400)
    session_id = _session_id(event)
    if kind in _ENDED:
        return End(cid, session_id)
    user = _member(_member(event, "participant"), "user").get("id")
    if user == user_id:
        return Ignore("the assistant itself has joined")
    created_s = timestamp_s(event.get("created_at"))
    if created_s is not None and now_s - created_s > MAX_AGE_S:
        return Ignore(f"the event is older than {MAX_AGE_S:.0f} s")
    return Start(cid, session_id)


def timestamp_s(value: object) -> float | None:
    """Return a timestamp in seconds since 1970; None if it is none.

    Args:
        value: RFC 3339 text with any number of decimals, or a number of seconds, milliseconds,
            microseconds or nanoseconds, told apart by size.
    """
    if isinstance(value, str):
        return _rfc_3339_s(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e20:
        return None
    for below, per_second in _NUMBER_UNITS:
        if value < below:
            return value / per_second
    return value / 1e9


def _rfc_3339_s(text: str) -> float | None:
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(each) for each in match.groups()[:6])
    if not (
        year and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60
    ):
        return None  # 60 is a leap second
    fraction, sign, offset_h, offset_min = match.groups()[6:]
    offset_s = 0
    if sign is not None:
        offset_s = (int(offset_h) * 60 + int(offset_min)) * (60 if sign == "+" else -60)
    whole_s = calendar.timegm((year, month, day, hour, minute, second))
    return whole_s - offset_s + float(fraction or 0)


def _parse(text: bytes) -> dict[str, Any]:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        raise WebhookError("The body is not JSON", 400) from None
    if not isinstance(event, dict):
        raise WebhookError("The body is not a JSON object", 400)
    return event


def _session_id(event: dict[str, Any]) -> str:
    """Return the session of an event; `call.ended` has it inside of the call, if at all."""
    found = event.get("session_id") or _member(_member(event, "call"), "session").get("id")
    return found if isinstance(found, str) else ""


def _member(value: dict[str, Any], name: str) -> dict[str, Any]:
    member = value.get(name)
    return member if isinstance(member, dict) else {}


def _too_large() -> WebhookError:
    return WebhookError(f"The body has more than {MAX_BODY_BYTES} bytes", 413)
