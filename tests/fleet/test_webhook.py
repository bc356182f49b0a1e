"""Webhooks: what is let in, what is refused, and what each event asks for. No clock, no network."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import tracemalloc
from typing import Any

import pytest
from getstream.plugins.gemini.fleet._webhook import (
    MAX_AGE_S,
    MAX_BODY_BYTES,
    Decision,
    End,
    Ignore,
    Start,
    WebhookError,
    read_webhook,
    timestamp_s,
    unpack,
)
from hypothesis import given
from hypothesis import strategies as st

SECRET = "a-secret-of-tests"
JOINED_AT_S = 1699973354.142187951  # 2023-11-14T14:49:14.142187951Z

# Shaped as in the tests of the Node SDK of Stream (stream-node, `webhook.test.ts`).
JOINED: dict[str, Any] = {
    "type": "call.session_participant_joined",
    "created_at": "2023-11-14T14:49:14.142187951Z",
    "call_cid": "default:esJPeexho8md",
    "session_id": "25a5b332-36f4-42c5-9fcb-a654bcaa2f3f",
    "participant": {
        "user": {"id": "zita", "role": "user", "created_at": "2023-05-22T12:44:57.422509Z"},
        "user_session_id": "6245918f-461b-4d4f-b3f8-ed083e3cf867",
        "role": "user",
        "joined_at": "2023-11-14T14:49:14.142179098Z",
    },
}
STARTED = Start("default:esJPeexho8md", "25a5b332-36f4-42c5-9fcb-a654bcaa2f3f")


def sign(body: bytes) -> str:
    return hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def read(event: object, *, now_s: float = JOINED_AT_S + 1) -> Decision:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return read_webhook(body, sign(body), api_secret=SECRET, user_id="assistant", now_s=now_s)


def refusal(body: bytes, signature: str | None = None) -> tuple[int, str]:
    given = sign(body) if signature is None else signature
    with pytest.raises(WebhookError) as caught:
        read_webhook(body, given, api_secret=SECRET, user_id="assistant", now_s=JOINED_AT_S)
    assert SECRET not in str(caught.value)
    return caught.value.status, str(caught.value)


# -- who is let in ---------------------------------------------------------------------------------


def test_the_signature_is_that_of_the_sdk() -> None:
    from getstream.webhook import verify_and_parse_webhook

    body = json.dumps({"type": "call.unheard_of"}).encode()
    assert verify_and_parse_webhook(body, sign(body), SECRET)
    assert isinstance(read(body), Ignore)


def test_a_compressed_body_is_signed_as_it_was_before() -> None:
    body = json.dumps(JOINED).encode()
    packed = gzip.compress(body)
    kwargs: dict[str, Any] = {"api_secret": SECRET, "user_id": "bot", "now_s": JOINED_AT_S}
    assert read_webhook(packed, sign(body), **kwargs) == STARTED
    assert refusal(packed, sign(packed))[0] == 401


@pytest.mark.parametrize(
    "signature",
    ["0" * 64, "é" * 64, "\udcff" * 64, "0" * 63, "sha256=" + "0" * 64, "x", "0" * 10_000, "\n"],
)
def test_wrong_signatures_are_refused(signature: str) -> None:
    status, text = refusal(json.dumps(JOINED).encode(), signature)
    assert status == 401
    assert "API secret" in text


def test_the_signature_of_another_body_is_refused() -> None:
    body = json.dumps(JOINED).encode()
    assert refusal(body + b" ", sign(body))[0] == 401
    assert refusal(body, sign(body).upper())[0] == 401  # Stream's are in lower case


def test_a_missing_signature_is_refused() -> None:
    assert refusal(json.dumps(JOINED).encode(), "") == (401, "The header X-Signature is missing")


def test_a_gzip_bomb_costs_no_memory() -> None:
    bomb = gzip.compress(b" " * (256 << 20), 1)
    deep = gzip.compress(b" " * (256 << 20), 9)
    assert len(deep) < MAX_BODY_BYTES
    tracemalloc.start()
    try:
        assert refusal(deep)[0] == 413
        assert refusal(bomb)[0] == 413
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_BODY_BYTES


def test_bodies_of_the_largest_size_are_read() -> None:
    assert unpack(b" " * MAX_BODY_BYTES) == b" " * MAX_BODY_BYTES
    assert unpack(gzip.compress(b" " * MAX_BODY_BYTES)) == b" " * MAX_BODY_BYTES
    assert refusal(b" " * (MAX_BODY_BYTES + 1))[0] == 413
    assert refusal(gzip.compress(b" " * (MAX_BODY_BYTES + 1)))[0] == 413


WHOLE = gzip.compress(b"{}")


@pytest.mark.parametrize(
    "body", [WHOLE[:-1], WHOLE[:2], WHOLE + b"x", WHOLE + WHOLE, b"\x1f\x8bnonsense"]
)
def test_broken_gzip_is_refused(body: bytes) -> None:
    status, text = refusal(body)
    assert status == 400
    assert "gzip" in text


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"[]", b"null", b'"text"', b"[" * 100_000, b"9" * 10_000, b"{}",
     b'{"type": 3}', b'{"type": "call.ended"}', b'{"type": "call.ended", "call_cid": 3}',
     b'{"type": "call.session_participant_joined", "call_cid": "no-type"}',
     b'{"type": "call.session_participant_joined", "call_cid": ":"}'],
)  # fmt: skip
def test_signed_nonsense_is_refused(body: bytes) -> None:
    assert refusal(body)[0] == 400


@given(st.binary(max_size=200), st.text(max_size=80))
def test_whatever_is_sent_has_an_answer(body: bytes, signature: str) -> None:
    for each in (body, b"\x1f\x8b\x08" + body):
        with pytest.raises(WebhookError):
            read_webhook(each, signature, api_secret=SECRET, user_id="bot", now_s=0)


# -- what it asks for ------------------------------------------------------------------------------


def test_a_person_who_joins_brings_an_assistant() -> None:
    assert read(JOINED) == STARTED


def test_the_join_of_the_assistant_brings_no_other() -> None:
    own = {**JOINED, "participant": {"user": {"id": "assistant"}}}
    assert read(own) == Ignore("the assistant itself has joined")


@pytest.mark.parametrize(
    ("event", "session_id"),
    [
        ({"type": "call.session_ended", "session_id": "s1"}, "s1"),
        ({"type": "call.ended", "call": {"session": {"id": "s2"}}}, "s2"),
        ({"type": "call.ended", "call": {"session": None}}, ""),
        ({"type": "call.ended"}, ""),
    ],
)
def test_the_end_of_a_session_and_of_a_call_end_it(event: dict[str, Any], session_id: str) -> None:
    assert read({**event, "call_cid": "default:x"}) == End("default:x", session_id)


@pytest.mark.parametrize(
    "kind",
    ["call.created", "call.session_started", "call.session_participant_left", "message.new",
     "call.unheard_of", "", "x" * 10_000],
)  # fmt: skip
def test_other_events_are_ignored(kind: str) -> None:
    decision = read({**JOINED, "type": kind})
    assert isinstance(decision, Ignore)
    assert len(decision.reason) < 200


def test_an_old_event_starts_nothing_and_still_ends() -> None:
    assert read(JOINED, now_s=JOINED_AT_S + MAX_AGE_S - 1) == STARTED
    assert isinstance(read(JOINED, now_s=JOINED_AT_S + MAX_AGE_S + 1), Ignore)
    ended = {"type": "call.session_ended", "call_cid": "default:x", "created_at": 1}
    assert read(ended) == End("default:x", "")


@pytest.mark.parametrize("created_at", [None, "soon", [], {}, True, -1, "2023-13-41T99:00:00Z"])
def test_an_event_of_unknown_age_counts(created_at: object) -> None:
    assert read({**JOINED, "created_at": created_at}) == STARTED


@pytest.mark.parametrize("participant", [None, [], "x", {}, {"user": None}, {"user": {"id": 3}}])
def test_a_participant_of_another_shape_counts_as_a_person(participant: object) -> None:
    assert read({**JOINED, "participant": participant}) == STARTED


# -- timestamps ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [
        ("2023-11-14T14:49:14.142187951Z", JOINED_AT_S),
        ("2023-11-14T14:49:14Z", 1699973354),
        ("2023-11-14t15:49:14.5+01:00", 1699973354.5),
        ("2023-11-14 09:19:14-05:30", 1699973354),
        ("1970-01-01T00:00:00Z", 0),
        ("2016-12-31T23:59:60Z", 1483228800),  # a leap second
        (1699973354, 1699973354),
        (1699973354.5, 1699973354.5),
        (1699973354142, 1699973354.142),
        (1699973354142187, 1699973354.142187),
        (1699973354142187951, JOINED_AT_S),
        (0, 0),
    ],
)
def test_timestamps_of_every_kind(value: object, expected_s: float) -> None:
    assert timestamp_s(value) == pytest.approx(expected_s, abs=1e-6)


@pytest.mark.parametrize(
    "value",
    ["", "2023-11-14", "2023-11-14T14:49:14", "2023-11-14T14:49:14.Z", "2023-00-14T14:49:14Z",
     "0000-01-01T00:00:00Z", "2023-11-14T24:49:14Z", "٢٠٢٣-11-14T14:49:14Z", "1699973354",
     -1, float("nan"), float("inf"), 10**30, True, None, [], b"x"],
)  # fmt: skip
def test_what_is_no_timestamp(value: object) -> None:
    assert timestamp_s(value) is None
