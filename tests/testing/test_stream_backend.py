"""The local Stream backend, with the real getstream 7 in this process, on loopback sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from getstream import AsyncStream
from getstream.plugins.gemini.errors import CallError
from getstream.plugins.gemini.testing import signals
from getstream.plugins.gemini.testing._person import Person
from getstream.plugins.gemini.testing._stream import LocalStream
from getstream.video import rtc

RATE = 48_000

pytestmark = pytest.mark.skipif(
    not hasattr(rtc, "RemoteTrack"),
    reason="getstream 6 blocks the event loop when it leaves: it is tested in processes of its own",
)


@pytest.fixture
async def stream() -> AsyncIterator[LocalStream]:
    """A backend to which the SDK of this process is redirected; leaves no task behind."""
    before = asyncio.all_tasks()
    async with LocalStream() as local:
        with local.redirected():
            yield local
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"


@contextlib.asynccontextmanager
async def together(*people: Person) -> AsyncIterator[tuple[Person, ...]]:
    """Everybody joins at the same time, and leaves."""
    try:
        await asyncio.gather(*(person.join() for person in people))
        yield people
    finally:
        await asyncio.gather(*(person.leave() for person in people))


async def session_of(stream: LocalStream, user_id: str) -> str:
    return (await stream.wait_participant(user_id)).session_id


async def test_a_join_and_a_leave_are_seen(stream: LocalStream) -> None:
    async with Person("call", "alice"):
        alice = await stream.wait_track("alice", "audio")
        assert alice.connected
        assert alice.publisher == "connected"
        assert re.fullmatch(r"\S+ \d+\.\d+\.\d+", alice.sdk)
        assert [track.codec for track in alice.published] == ["opus/48000/2"]
        assert stream.state().requests["GET /sfu/ws"] == 1
    await stream.wait_left("alice")
    assert stream.state().participants == ()


async def test_a_tone_arrives_with_its_frequency_and_level(stream: LocalStream) -> None:
    tone = signals.tone(1000, 1000, RATE, dbfs=-12)
    async with together(Person("call", "alice"), Person("call", "bob")) as (alice, bob):
        said, heard = await asyncio.gather(alice.say(tone), bob.hear_speech())
        await bob.hear_silence(100)
        onset = heard.start + bob.started_at - (said.start + alice.started_at)
        # One pacer frame, the Opus frame and the transport: 3 to 25 ms without a load.
        assert 0 < onset < 0.3
        first = round(heard.start * RATE)
        middle = bob.heard_from("alice")[first + RATE // 4 : first + 3 * RATE // 4]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
        peak = np.argmax(spectrum) * RATE / len(middle)
        assert peak == pytest.approx(1000, abs=2)
        assert signals.rms_dbfs(middle) == pytest.approx(-12, abs=0.5)
        assert bob.speakers == ("alice",)


async def test_speech_arrives_whole(stream: LocalStream) -> None:
    speech = signals.speech_like(1000, RATE, seed=3)
    async with together(Person("call", "alice"), Person("call", "bob")) as (alice, bob):
        _, heard = await asyncio.gather(alice.say(speech), bob.hear_speech())
        await bob.hear_silence(200)
        found = signals.align(speech, bob.heard, RATE)
        assert found.correlation > 0.95
        assert abs(found.gain_db) < 1
        # `said` and `heard` are on one clock: the way takes a frame or two. (`align` looks at the
        # samples, `hear_speech` at the level, so the two onsets need not be the same sample.)
        assert found.offset_ms / 1000 == pytest.approx(heard.start, abs=0.05)


async def test_a_late_joiner_hears_what_is_being_said(stream: LocalStream) -> None:
    async with Person("call", "alice") as alice:
        await stream.wait_track("alice", "audio")
        saying = asyncio.create_task(alice.say(signals.tone(500, 3000, RATE)))
        async with Person("call", "bob") as bob:
            await bob.hear_speech(2)
            assert not saying.done()
        saying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await saying


async def test_video_comes_soon_to_those_who_are_there_and_to_a_late_joiner(
    stream: LocalStream,
) -> None:
    alice, bob = Person("call", "alice"), Person("call", "bob", receive_video=True)
    async with together(alice, bob):
        await alice.publish_video(fps=15, size=(320, 240))
        first = await bob.see_frame(4)
        assert (first.user_id, first.width, first.height) == ("alice", 320, 240)
        assert first.number <= 15
        numbers = [(await bob.see_frame()).number for _ in range(5)]
        assert numbers == sorted(set(numbers))
        async with Person("call", "carol", receive_video=True) as carol:
            # VP9 has a keyframe when one is asked for, and that only helps when carol can take it.
            late = carol.seen[0] if carol.seen else await carol.see_frame(4)
            assert late.number > first.number
            assert late.time < 3  # 0.3 s without a load
        # Nobody who did not ask for video gets it.
        kinds = {
            track.kind
            for p in stream.state().participants
            for track in p.subscribed
            if p.user_id == "alice"
        }
        assert kinds == {"audio"}


async def test_a_socket_closed_cleanly_is_reconnected_into_the_same_session(
    stream: LocalStream,
) -> None:
    async with together(Person("call", "alice"), Person("call", "bob")) as (alice, bob):
        await stream.wait_track("alice", "audio")
        session = await session_of(stream, "alice")
        saying = asyncio.create_task(alice.say(signals.tone(500, 1200, RATE)))
        await bob.hear_for(200)
        await stream.drop_sfu_socket("alice", "clean")
        # The socket is seen closed, then open again.
        await stream.wait_for(
            lambda s: s.requests["GET /sfu/ws"] == 3 and all(p.connected for p in s.participants),
            what="a new SFU socket of alice",
        )
        assert await session_of(stream, "alice") == session
        said = await saying
        heard = await bob.hear_silence(100)
        speech = bob.heard[round((heard - 1.2) * RATE) + 4800 : round(heard * RATE) - 4800]
        assert len(speech) == pytest.approx((said.end - said.start) * RATE - 9600, abs=9600)
        assert signals.longest_silence(speech, RATE) < 20


async def test_other_faults_make_the_sdk_join_again_and_bring_the_audio_back(
    stream: LocalStream,
) -> None:
    async def fail(fault: str, cause: Callable[[str], Any]) -> None:
        name = f"alice-{fault}"
        async with together(Person(fault, name), Person(fault, "bob")) as (alice, bob):
            before = (await stream.wait_track(name, "audio")).joined_at
            done = cause(name)
            if done is not None:
                await done
            await stream.wait_for(
                lambda s: any(
                    p.user_id == name
                    and p.joined_at > before
                    and any(t.packets for t in p.published)
                    for p in s.participants
                ),
                what=f"audio of {name} after she has joined again",
            )
            tone = signals.tone(500, 300, RATE)
            _, heard = await asyncio.gather(alice.say(tone), bob.hear_speech(user_id=name))
            assert heard.level_dbfs > -40

    await asyncio.gather(
        fail("abort", lambda name: stream.drop_sfu_socket(name, "abort")),
        fail("forget", lambda name: stream.drop_sfu_socket(name, "forget")),
        fail("coordinator", stream.drop_coordinator),
        fail("rejoin", lambda name: stream.error(name, "rejoin")),
        fail("migrate", stream.go_away),
    )


async def test_an_error_that_says_disconnect_ends_the_call_for_that_user(
    stream: LocalStream,
) -> None:
    async with together(Person("call", "alice"), Person("call", "bob")) as (alice, bob):
        stream.error("alice", "disconnect")
        await asyncio.wait_for(alice.wait_ended(), 5)
        with pytest.raises(CallError, match="the call has ended"):
            await alice.hear_speech(1)
        await stream.wait_left("alice")
        assert bob.events[-1]["event"] != "call_ended"


async def test_end_call_ends_it_for_everybody(stream: LocalStream) -> None:
    async with together(Person("call", "alice"), Person("call", "bob")) as (alice, bob):
        await stream.end_call("call")
        await asyncio.wait_for(asyncio.gather(alice.wait_ended(), bob.wait_ended()), 5)
        assert stream.state().calls[0].ended
        await stream.wait_left("alice")
        await stream.wait_left("bob")


async def test_a_blackhole_is_silent_until_it_is_healed(stream: LocalStream) -> None:
    async with together(Person("call", "alice"), Person("call", "bob")) as (alice, bob):
        saying = asyncio.create_task(alice.say(signals.tone(500, 20_000, RATE)))
        await bob.hear_speech()
        stream.blackhole("bob")
        await bob.hear_silence(200, 5)
        stream.heal("bob")
        await bob.hear_speech(5)
        saying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await saying
        assert await bob.hear_silence(100, 5) > 0  # a cancelled `say` falls silent at once


async def test_impaired_media_is_late_or_lost(stream: LocalStream) -> None:
    click = signals.tone(1000, 100, RATE)
    async with together(Person("call", "alice"), Person("call", "bob")) as (alice, bob):

        async def latency() -> float:
            said, heard = await asyncio.gather(alice.say(click), bob.hear_speech())
            await bob.hear_silence(350)  # longer than the pause that would join two speeches
            return heard.start + bob.started_at - (said.start + alice.started_at)

        plain = await latency()
        stream.impair("bob", delay_ms=300)
        await bob.hear_silence(800)  # 0.4 s show that this delay is no jitter
        assert await latency() - plain == pytest.approx(0.3, abs=0.15)
        stream.impair("bob", loss=1.0)
        await asyncio.gather(alice.say(click), bob.hear_silence(200))
        count = len([e for e in bob.events if e["event"] == "speech_started"])
        assert count == 2


async def test_a_wrong_secret_or_key_is_refused_with_a_reason(stream: LocalStream) -> None:
    wrong = AsyncStream(stream.api_key, "0" * 64, base_url=stream.url)
    with pytest.raises(CallError, match="Token signature is invalid") as refused:
        await Person("call", "alice", client=wrong).join()
    assert refused.value.__cause__ is not None
    await wrong.aclose()
    wrong = AsyncStream("another-key", stream.api_secret, base_url=stream.url)
    with pytest.raises(CallError, match="api_key not valid"):
        await Person("call", "alice", client=wrong).join()
    await wrong.aclose()
    assert stream.state().participants == ()


async def test_a_token_for_another_user_does_not_join(stream: LocalStream) -> None:
    client = AsyncStream(stream.api_key, stream.api_secret, base_url=stream.url)
    token = client.create_token("mallory")
    await client.aclose()
    with_token = AsyncStream(stream.api_key, token=token, base_url=stream.url)
    with pytest.raises(CallError):
        await Person("call", "alice", client=with_token).join()
    await with_token.aclose()


async def test_waits_in_vain_say_what_is_the_case() -> None:
    async with LocalStream() as stream:
        with pytest.raises(TimeoutError, match=r"join of 'nobody' .* 0\.01 s; there is no call"):
            await stream.wait_participant("nobody", timeout=0.01)
        with pytest.raises(TimeoutError, match="video of 'nobody'"):
            await stream.wait_track("nobody", "video", timeout=0.01)
        with pytest.raises(ValueError, match="kind is 'smell'"):
            await stream.wait_track("nobody", "smell")
        for fault in (stream.blackhole, stream.heal, stream.error, stream.go_away, stream.impair):
            with pytest.raises(LookupError, match="'nobody' is in no call"):
                fault("nobody")
        with pytest.raises(LookupError):
            await stream.drop_coordinator("nobody")
        with pytest.raises(LookupError, match="no call default:nothing"):
            await stream.end_call("nothing")


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        LocalStream(api_secret="short")
    with pytest.raises(ValueError, match="empty"):
        LocalStream(api_key="")
    with pytest.raises(ValueError, match="video_codec is 'av1'"):
        LocalStream(video_codec="av1")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="not started"):
        _ = LocalStream().url


async def test_keys_are_random_unless_given() -> None:
    first, second = LocalStream(), LocalStream(api_key="key", api_secret="s" * 32)
    assert first.api_key != LocalStream().api_key
    assert first.api_secret != LocalStream().api_secret
    assert (second.api_key, second.api_secret) == ("key", "s" * 32)


async def test_it_closes_while_people_are_in_the_call() -> None:
    stream = LocalStream()
    await stream.start()
    with stream.redirected():
        person = Person("call", "alice")
        await person.join()
        await stream.wait_track("alice", "audio")
        started = time.monotonic()
        await stream.aclose()
        await stream.aclose()
        assert time.monotonic() - started < 5
        await person.leave()
    port = int(stream.url.rsplit(":", 1)[1])
    with socket.create_server(("127.0.0.1", port)):  # the port is free again
        pass
    with pytest.raises(RuntimeError, match="started before"):
        await stream.start()


async def fetch(url: str, method: str = "POST", **headers: str) -> tuple[int, Any]:
    """Ask the controls as a redirected program does, unless `headers` say otherwise."""
    token = os.environ["GETSTREAM_LOCAL_TOKEN"]
    request = urllib.request.Request(
        url, method=method, headers={"Authorization": f"Bearer {token}", **headers}
    )

    def get() -> tuple[int, Any]:
        # The proxy of `redirected()` is not asked for loopback addresses.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    return await asyncio.to_thread(get)


async def test_the_controls_are_there_over_http(stream: LocalStream) -> None:
    base = f"{stream.url}/_local"
    waiting = asyncio.create_task(fetch(f"{base}/wait-track?user_id=alice&kind=audio"))
    async with Person("call", "alice") as alice:
        status, found = await waiting
        assert (status, found["user_id"]) == (200, "alice")
        status, state = await fetch(f"{base}/state")
        assert state["calls"][0]["participants"][0]["published"][0]["kind"] == "audio"
        assert await fetch(f"{base}/impair?user_id=alice&loss=0.5") == (200, {"ok": True})
        query = "user_id=alice&direction=from&jitter_ms=20&reorder=0.1&burst_ms=10&seed=3"
        assert await fetch(f"{base}/impair?{query}") == (200, {"ok": True})
        assert (await fetch(f"{base}/impair?user_id=alice&burst_ms=9&burst_every_ms=9"))[0] == 400
        status, state = await fetch(f"{base}/state")
        assert state["calls"][0]["participants"][0]["from_link"]["lost"] == 0
        assert (await fetch(f"{base}/heal?user_id=alice"))[0] == 200
        assert (await fetch(f"{base}/impair?user_id=alice&loss=2"))[0] == 400
        assert (await fetch(f"{base}/impair?user_id=alice&nonsense=2"))[0] == 400
        assert (await fetch(f"{base}/impair?user_id=alice&loss=much"))[0] == 400
        assert (await fetch(f"{base}/go-away?user_id=nobody"))[0] == 404
        status, answer = await fetch(f"{base}/wait-participant?user_id=nobody&timeout=0.01")
        assert (status, "did not happen" in answer["error"]) == (408, True)
        status, answer = await fetch(f"{base}/nonsense")
        assert (status, "wait-track" in answer["error"]) == (400, True)
        assert (await fetch(f"{base}/end-call?call_id=call"))[0] == 200
        await asyncio.wait_for(alice.wait_ended(), 5)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_the_controls_take_no_other_method(stream: LocalStream, method: str) -> None:
    for action in ("state", "heal", "nonsense"):
        status, _ = await fetch(f"{stream.url}/_local/{action}?user_id=alice", method)
        assert status == 405


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer wrong", "Basic {token}", "{token}", "Bearer é"],
)
async def test_the_controls_want_the_token(stream: LocalStream, authorization: str) -> None:
    token = authorization.format(token=stream.control_token)
    for action in ("state", "blackhole", "nonsense"):
        status, answer = await fetch(
            f"{stream.url}/_local/{action}?user_id=alice&token={stream.control_token}",
            Authorization=token,
        )
        assert (status, "GETSTREAM_LOCAL_TOKEN" in answer["error"]) == (401, True)
        assert stream.control_token not in str(answer)


@pytest.mark.parametrize(
    "host",
    ["evil.example:{port}", "evil.example", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.nip.io:{port}"],
)
async def test_the_controls_are_not_reached_under_another_name(
    stream: LocalStream, host: str
) -> None:
    """A page whose name was made to lead here (DNS rebinding) sends its own name as `Host`."""
    name = host.format(port=stream.url.rsplit(":", 1)[1])
    status, answer = await fetch(f"{stream.url}/_local/state", Host=name)
    assert (status, "Host" in answer["error"]) == (403, True)
    port = stream.url.rsplit(":", 1)[1]
    assert (await fetch(f"{stream.url}/_local/state", Host=f"localhost:{port}"))[0] == 200


async def test_each_backend_has_a_token_of_its_own(stream: LocalStream) -> None:
    assert stream.env["GETSTREAM_LOCAL_TOKEN"] == stream.control_token
    assert os.environ["GETSTREAM_LOCAL_TOKEN"] == stream.control_token
    assert LocalStream().control_token != stream.control_token
    assert len(stream.control_token) >= 43  # 256 bits


async def test_a_call_token_opens_its_own_call_only(stream: LocalStream) -> None:
    async with AsyncStream(stream.api_key, stream.api_secret, base_url=stream.url) as client:
        token = client.create_call_token("alice", call_cids=["default:mine"], expiration=60)
    async with AsyncStream(stream.api_key, token=token, base_url=stream.url) as guest:
        mine = await guest.video.call("default", "mine").get_or_create()
        assert mine.data.call.cid == "default:mine"
        for other in (("default", "other"), ("livestream", "mine")):
            with pytest.raises(Exception, match="not for this call"):
                await guest.video.call(*other).get_or_create()
    assert [call.call_id for call in stream.state().calls] == ["mine"]


async def test_nothing_of_a_request_is_in_the_log(
    stream: LocalStream, caplog: pytest.LogCaptureFixture
) -> None:
    """Tokens come in queries and headers; aiohttp quotes what it cannot parse."""
    port = int(stream.url.rsplit(":", 1)[1])
    marked = b"AIza-marked-secret"
    with caplog.at_level(logging.DEBUG):
        for request in (
            b"GET /nothing?token=%b HTTP/1.1\r\nHost: h\r\nAuthorization: %b\r\n\r\n",
            b"GET /\x1b[2J?%b HTTP/1.1\r\nHost: h\r\nX-Key: %b\r\n\r\n",
            b"GET /a HTTP/1.1\r\nHost: h\r\nAuthorization%b: \x01%b\r\n\r\n",
            b"%b /%b HTTP/9\r\n\r\n",
            b"GET /a HTTP/1.1\r\nHost: h\r\n%b %b\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request % (marked, marked))
            assert (await asyncio.wait_for(reader.readline(), 5)).split()[1][:1] == b"4"
            writer.close()
            await writer.wait_closed()
    assert "marked" not in caplog.text
    messages = [record.getMessage() for record in caplog.records]
    assert all(message.isprintable() for message in messages)
    assert [message for message in messages if "has no GET /nothing" in message]


async def test_what_is_not_there_is_said_so(stream: LocalStream) -> None:
    async with AsyncStream(stream.api_key, stream.api_secret, base_url=stream.url) as client:
        with pytest.raises(Exception, match="the local Stream backend has no POST /api/v2/chat"):
            await client.chat.query_channels()
