"""Variants of the service that the local Gemini server does on demand, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import math
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.testing import (
    ENTITY_NOT_FOUND,
    INVALID_HANDLE,
    IRREGULAR_CHUNKS,
    SESSION_NOT_FOUND,
    Chunk,
    Close,
    EphemeralToken,
    FunctionCall,
    InterruptionOptions,
    LocalGemini,
    Parrot,
    ResumptionOptions,
    Script,
    Turn,
    UserTurn,
)
from getstream.plugins.gemini.testing.signals import silence, speech_like, tone
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

MODEL = "gemini-3.8-live"
RATE = 16000
PATH = "/ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateContent"
LONG = Turn(audio=speech_like(8_000, 24000), text="word " * 20)
Pcm = NDArray[np.int16]


class Client:
    """A client at the wire: what it has received, and what it sends."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.messages: list[dict[str, Any]] = []

    async def send(self, message: dict[str, Any]) -> None:
        await self.socket.send(json.dumps(message))

    async def text(self, text: str = "hi") -> None:
        await self.send({"realtimeInput": {"text": text}})

    async def audio(self, pcm: Pcm) -> None:
        data = base64.b64encode(pcm.tobytes()).decode()
        blob = {"mimeType": f"audio/pcm;rate={RATE}", "data": data}
        await self.send({"realtimeInput": {"audio": blob}})

    async def until(self, holds: Callable[[dict[str, Any]], Any], timeout: float = 10) -> Any:
        """Reads until a message makes `holds` true; returns that message."""

        async def read() -> Any:
            while True:
                message = json.loads(await self.socket.recv())
                self.messages.append(message)
                if holds(message):
                    return message

        return await asyncio.wait_for(read(), timeout)

    async def contents(self, until: str) -> list[dict[str, Any]]:
        """The `serverContent` of what comes, up to the first one that has a field `until`."""
        start = len(self.messages)
        await self.until(lambda message: until in message.get("serverContent", {}))
        return [each["serverContent"] for each in self.messages[start:] if "serverContent" in each]

    async def handle(self) -> str:
        """Waits for the next resumption handle."""
        message = await self.until(
            lambda each: each.get("sessionResumptionUpdate", {}).get("newHandle")
        )
        return str(message["sessionResumptionUpdate"]["newHandle"])

    async def closed(self) -> tuple[int, str]:
        """Reads until the server closes; returns code and reason."""
        with pytest.raises(ConnectionClosed) as caught:
            await self.until(lambda _: False)
        assert caught.value.rcvd
        return caught.value.rcvd.code, caught.value.rcvd.reason


@contextlib.asynccontextmanager
async def dialled(
    server: LocalGemini, *, key: str = "key", version: str = "v1beta", **options: Any
) -> AsyncIterator[Client]:
    method = "Constrained" if key.startswith("auth_tokens/") else ""
    async with connect(
        f"wss://127.0.0.1:{server.port}{PATH.format(version=version)}{method}",
        ssl=server.client_context(),
        additional_headers={"x-goog-api-key": key},
        compression=options.pop("compression", None),
    ) as socket:
        client = Client(socket)
        await client.send({"setup": {"model": f"models/{options.pop('model', MODEL)}", **options}})
        yield client


@contextlib.asynccontextmanager
async def session(server: LocalGemini, **options: Any) -> AsyncIterator[Client]:
    async with dialled(server, **options) as client:
        await client.until(lambda message: "setupComplete" in message)
        yield client


def audio_ms(contents: Iterable[dict[str, Any]]) -> list[float]:
    """The audio in each message that has some, in milliseconds."""
    return [
        sum(len(base64.b64decode(part["inlineData"]["data"])) for part in parts) / 48
        for content in contents
        if (
            parts := [p for p in content.get("modelTurn", {}).get("parts", ()) if "inlineData" in p]
        )
    ]


def field(contents: Iterable[dict[str, Any]], name: str) -> list[Any]:
    return [content[name] for content in contents if name in content]


# -- pace --------------------------------------------------------------------------------------


async def test_chunks_come_in_the_pace_that_is_written_down() -> None:
    turn = Turn(audio=tone(440, 500, 24000), text="one two three")
    pace = [Chunk(10, pause_ms=30), Chunk(200)]
    setup = {"outputAudioTranscription": {}}
    async with (
        LocalGemini(Script([turn]), chunks=pace) as server,
        session(server, **setup) as client,
    ):
        await client.text()
        contents = await client.contents("turnComplete")
        assert audio_ms(contents) == [10, 200, 200, 90]
        assert "".join(t["text"] for t in field(contents, "outputTranscription")) == turn.text


async def test_a_pause_can_be_slower_than_real_time() -> None:
    turn = Turn(audio=tone(440, 90, 24000))
    async with LocalGemini(Script([turn]), chunks=[Chunk(30, pause_ms=60)]) as server:
        async with session(server) as client:
            await client.text()
            await client.until(lambda message: "turnComplete" in message.get("serverContent", {}))
        (spoken,) = server.sessions[0].spoken
        assert spoken.ended_at is not None
        assert spoken.ended_at - spoken.started_at >= 0.179  # twice as long as its audio


def test_the_pace_from_logs_starves_a_listener_and_catches_up() -> None:
    sent, played, lead = 0.0, 0.0, []
    for chunk in IRREGULAR_CHUNKS:
        sent += chunk.ms
        played += chunk.pause_ms
        lead.append(sent - played)
    assert lead[0] < 0  # the first chunk ends before the second one comes
    falls = [before > after for before, after in itertools.pairwise(lead)]
    assert sum(falls) == 3
    assert lead[-1] > 0


# -- the ends of turns -------------------------------------------------------------------------


async def test_a_turn_without_a_turn_complete() -> None:
    script = Script([Turn(audio=tone(440, 40, 24000), turn_complete=False), Turn(text="next")])
    async with LocalGemini(script, speed=math.inf) as server, session(server) as client:
        await client.text()
        await client.contents("generationComplete")
        await server.sessions[0].wait_turns(1)
        await client.text()
        contents = await client.contents("turnComplete")
        assert len(audio_ms(contents)) > 0  # it is the next turn that is complete
        assert field(contents, "interrupted") == []
        assert [turn.outcome for turn in server.sessions[0].spoken] == ["complete"] * 2


async def test_rejected_and_empty_turns() -> None:
    script = Script([Turn.empty("RESPONSE_REJECTED"), Turn.empty()])
    async with LocalGemini(script) as server, session(server) as client:
        await client.text()
        (content,) = await client.contents("turnComplete")
        assert content == {"turnComplete": True, "turnCompleteReason": "RESPONSE_REJECTED"}
        await client.text()
        assert await client.contents("turnComplete") == [
            {"generationComplete": True},
            {"turnComplete": True},
        ]


async def test_thoughts_are_marked() -> None:
    script = Script([Turn(thought="Hm.", text="Yes.", audio=tone(440, 40, 24000))])
    async with LocalGemini(script) as server, session(server) as client:
        await client.text()
        contents = await client.contents("turnComplete")
        assert contents[0] == {"modelTurn": {"parts": [{"text": "Hm.", "thought": True}]}}
        assert audio_ms(contents) == [40]


async def test_status_in_both_places_and_beside_a_tool_call() -> None:
    script = Script([Turn(function_calls=(FunctionCall("f", id="1"),)), Turn(text="done")])
    setup = {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}
    async with LocalGemini(script, interaction_status_in="both") as server:
        model = f"{MODEL}-extended-thinking"
        async with session(server, model=model, **setup) as client:
            await client.text()
            message = await client.until(lambda each: "toolCall" in each)
            status = {"interactionStatus": "IN_PROGRESS"}
            assert {**message, **status, "serverContent": status} == message
            response = {"id": "1", "name": "f", "response": {"result": "done"}}
            await client.send({"toolResponse": {"functionResponses": [response]}})
            message = await client.until(lambda m: "turnComplete" in m.get("serverContent", {}))
            assert message["interactionStatus"] == "IDLE"
            assert message["serverContent"]["interactionStatus"] == "IDLE"


async def test_late_transcripts_of_a_whole_turn() -> None:
    class Answer:
        def reply(self, user: UserTurn) -> Iterable[Turn]:
            return [Turn(audio=tone(440, 120, 24000), text="one two three")]

    setup = {"inputAudioTranscription": {}, "outputAudioTranscription": {}}
    async with LocalGemini(Answer(), transcripts="late", speed=math.inf) as server:
        async with session(server, **setup) as client:
            await client.audio(np.concatenate((tone(300, 400, RATE), silence(700, RATE))))
            contents = await client.contents("turnComplete")
            heard = next(i for i, each in enumerate(contents) if "inputTranscription" in each)
            assert len(audio_ms(contents[:heard])) == 1
            assert "".join(t["text"] for t in field(contents, "outputTranscription")) == "one two"
            assert await client.contents("outputTranscription") == [
                {"outputTranscription": {"text": " three"}}
            ]


# -- what follows an interruption --------------------------------------------------------------


async def cut(server: LocalGemini, client: Client) -> None:
    """Interrupts a long turn by a text, once 400 ms of it were sent."""
    await client.text()
    await server.sessions[0].wait_spoken(400)
    await client.text("stop")
    await client.contents("interrupted")


async def test_late_parts_of_a_cut_turn_come_before_its_end() -> None:
    options = InterruptionOptions(late=["audio", "transcript", "turn_complete"])
    async with LocalGemini(Script([LONG]), interruption=options) as server:
        async with session(server, outputAudioTranscription={}) as client:
            await cut(server, client)
            audio, transcript, end = await client.contents("turnComplete")
            assert audio_ms([audio]) == [200]
            sent = server.sessions[0].spoken[0].pcm.size
            data = base64.b64decode(audio["modelTurn"]["parts"][0]["inlineData"]["data"])
            np.testing.assert_array_equal(np.frombuffer(data, "<i2"), LONG.pcm[sent:][:4800])
            assert transcript["outputTranscription"]["text"] == " word"
            assert end == {"turnComplete": True}


async def test_a_late_end_of_a_cut_turn_comes_into_the_next_one() -> None:
    options = InterruptionOptions(late=["turn_complete"], late_ms=150)
    async with LocalGemini(Script([LONG, LONG]), interruption=options) as server:
        async with session(server) as client:
            await cut(server, client)
            contents = await client.contents("turnComplete")
            assert audio_ms(contents)  # of the next turn
            assert not field(contents, "generationComplete")
            contents = await client.contents("turnComplete")
            assert field(contents, "generationComplete")


async def test_an_interruption_of_nothing() -> None:
    options = InterruptionOptions(unprovoked=True)
    async with LocalGemini(Script([]), interruption=options) as server:
        async with session(server) as client:
            await client.audio(tone(300, 400, RATE))
            assert await client.contents("turnComplete") == [
                {"interrupted": True},
                {"turnComplete": True},
            ]
            assert server.sessions[0].interruptions == 1


# -- resumption --------------------------------------------------------------------------------


async def test_handles_in_mid_speech() -> None:
    options = ResumptionOptions(every_s=0.02)
    async with LocalGemini(Script([LONG]), resumption=options) as server:
        async with session(server, sessionResumption={}) as client:
            await client.text()
            await server.sessions[0].wait_spoken(200)
            for _ in range(3):
                await client.handle()
            assert server.sessions[0].generating


async def test_handles_that_nobody_asked_for() -> None:
    async with LocalGemini(resumption=ResumptionOptions(unasked=True)) as server:
        async with session(server) as client:
            assert await client.handle() == "handle-0-1"
    async with LocalGemini(Script([Turn(text="a")])) as server, session(server) as client:
        await client.text()
        await client.contents("turnComplete")
        assert not [each for each in client.messages if "sessionResumptionUpdate" in each]


async def test_handles_that_are_not_withdrawn_in_turns() -> None:
    options = ResumptionOptions(withdrawn_in_turns=False)
    async with LocalGemini(Script([Turn(text="a")]), resumption=options) as server:
        async with session(server, sessionResumption={}) as client:
            await client.text()
            await client.contents("turnComplete")
            await client.handle()
            updates = [m["sessionResumptionUpdate"] for m in client.messages if len(m) == 1
                       and "sessionResumptionUpdate" in m]  # fmt: skip
            assert [update["resumable"] for update in updates] == [True, True]


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("holds", [True, False])
async def test_what_a_handle_in_mid_speech_holds(holds: bool, marked: bool) -> None:
    """The second half is said to a resumed session; the parrot tells how much it has heard."""
    words = tone(300, 800, RATE)
    options = ResumptionOptions(holds_audio=holds)
    setup: dict[str, Any] = {"inputAudioTranscription": {}}
    if marked:
        disabled = {"automaticActivityDetection": {"disabled": True}}
        setup["realtimeInputConfig"] = disabled
    async with LocalGemini(Parrot(), resumption=options) as server:
        async with session(server, sessionResumption={}, **setup) as client:
            if marked:
                await client.send({"realtimeInput": {"activityStart": {}}})
            await client.audio(words[: words.size // 2])
            await server.sessions[0].wait_audio(400)
            handle = await server.sessions[0].announce_handle()
        await server.sessions[0].wait_closed()
        resumption = {"handle": handle}
        async with session(server, sessionResumption=resumption, **setup) as client:
            if marked:
                await client.send({"realtimeInput": {"activityStart": {}}})
            await client.audio(words[words.size // 2 :])
            if marked:
                await client.send({"realtimeInput": {"activityEnd": {}}})
            else:
                await client.audio(silence(700, RATE))
            (heard,) = field(await client.contents("turnComplete"), "inputTranscription")
    tail = 0.0 if marked else 0.2  # the silence that is kept after speech
    assert heard["text"] == f"[{(0.8 if holds else 0.4) + tail:.1f} seconds of speech]"


@pytest.mark.parametrize("refusal", [SESSION_NOT_FOUND, INVALID_HANDLE, ENTITY_NOT_FOUND])
async def test_how_a_handle_is_refused(refusal: Close) -> None:
    async with LocalGemini(resumption=ResumptionOptions(refusal=refusal)) as server:
        async with dialled(server, sessionResumption={"handle": "unknown"}) as client:
            assert await client.closed() == (refusal.code, refusal.reason)


async def test_a_handle_whose_connection_is_open() -> None:
    async with LocalGemini(resumption=ResumptionOptions(needs_closed=False)) as server:
        async with session(server, sessionResumption={}) as first:
            handle = await first.handle()
            async with session(server, sessionResumption={"handle": handle}):
                assert server.sessions[1].resumed_from == handle


# -- ephemeral tokens --------------------------------------------------------------------------

TOKEN = "auth_tokens/once"


async def test_a_token_is_spent_by_new_sessions_only() -> None:
    async with LocalGemini(tokens=[EphemeralToken(TOKEN)], accepted_keys=["key"]) as server:
        async with session(server, key=TOKEN, sessionResumption={}) as client:
            handle = await client.handle()
        await server.sessions[0].wait_closed()
        async with session(server, key=TOKEN, sessionResumption={"handle": handle}):
            pass
        async with dialled(server, key=TOKEN) as client:
            assert await client.closed() == (1011, "Token has been used too many times")
        async with dialled(server, key="auth_tokens/another") as client:
            assert (await client.closed())[1].startswith("API key not valid")
        async with session(server, key="key"):
            pass


async def test_a_token_that_expires_ends_its_sessions_and_resumes_none() -> None:
    async with LocalGemini(tokens=[EphemeralToken(TOKEN, uses=0)]) as server:
        async with session(server, key=TOKEN, sessionResumption={}) as client:
            handle = await client.handle()
            server.expire_token(TOKEN)
            assert await client.closed() == (1011, "auth token has expired")
        for resumption in ({"handle": handle}, {}):
            async with dialled(server, key=TOKEN, sessionResumption=resumption) as client:
                assert await client.closed() == (1011, "Token has expired")
        with pytest.raises(ConfigError, match="no such token"):
            server.expire_token("auth_tokens/never")


async def test_a_token_expires_by_its_own_clock() -> None:
    token = EphemeralToken(TOKEN, new_session_s=0.05, expires_s=0.3)
    async with LocalGemini(tokens=[token]) as server:
        await asyncio.sleep(0.05)
        async with dialled(server, key=TOKEN) as client:
            assert await client.closed() == (1011, "Token has expired")
    token = EphemeralToken(TOKEN, new_session_s=0.3, expires_s=0.3)
    async with LocalGemini(tokens=[token]) as server, session(server, key=TOKEN) as client:
        assert await client.closed() == (1011, "auth token has expired")


def test_a_token_does_not_show_its_name() -> None:
    assert "once" not in repr(EphemeralToken(TOKEN))


# -- the wire ----------------------------------------------------------------------------------


async def test_oddities_of_the_wire() -> None:
    quirks = ["empty_messages", "unknown_fields", "pretty_json", "text_frames"]
    async with LocalGemini(Script([Turn(audio=tone(440, 40, 24000))]), quirks=quirks) as server:
        async with dialled(server) as client:
            first = await client.socket.recv()
            assert isinstance(first, str)
            assert "\n  " in first
            assert json.loads(first)["someFutureField"] == {"a": 1}
            await client.text()
            contents = await client.contents("turnComplete")
            assert audio_ms(contents) == [40]
            assert {"someFutureField": 1, "turnComplete": True} in contents
            assert {} in client.messages
            assert {} in contents


async def test_voice_activity_that_nobody_asked_for() -> None:
    async with LocalGemini(Script([]), quirks=["voice_activity"]) as server:
        async with session(server) as client:
            await client.audio(tone(300, 300, RATE))
            message = await client.until(lambda each: "voiceActivity" in each)
            assert message["voiceActivity"]["type"] == "ACTIVITY_START"


async def test_pongs_are_late() -> None:
    async with LocalGemini(pong_delay_s=0.05) as server, session(server) as client:
        pong = await client.socket.ping()
        done, _ = await asyncio.wait([asyncio.ensure_future(pong)], timeout=0.02)
        assert not done
        assert await asyncio.wait_for(pong, 10) >= 0.05
        assert server.sessions[0].pings == 1


async def test_versions_and_deflate() -> None:
    async with LocalGemini(versions=["v1"], deflate=True) as server:
        with pytest.raises(InvalidStatus, match="404"):
            async with session(server, version="v1beta"):
                pass
        async with session(server, version="v1", compression="deflate") as client:
            assert client.socket.response is not None
            offered = client.socket.response.headers.get("sec-websocket-extensions", "")
            assert "permessage-deflate" in offered
    async with LocalGemini() as server, session(server, compression="deflate") as client:
        assert client.socket.response is not None
        assert "sec-websocket-extensions" not in client.socket.response.headers


# -- what cannot be ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LocalGemini(chunks=[]), "chunks is empty"),
        (lambda: LocalGemini(chunks=[Chunk(40)], speed=2), "leave chunk_ms, speed"),
        (lambda: LocalGemini(chunks=[Chunk(40)], parts_per_message=2), "leave chunk_ms, speed"),
        (lambda: Chunk(0), "ms > 0"),
        (lambda: Chunk(40, pause_ms=math.inf), "pause_ms"),
        (lambda: LocalGemini(transcripts="late", bundle_fields=True), "leave bundle_fields out"),
        (lambda: LocalGemini(transcripts="never"), "it is one of 'in_time', 'late'"),
        (lambda: LocalGemini(interaction_status_in="nowhere"), "it is one of 'content'"),
        (lambda: LocalGemini(turn_complete_after="lunch"), "it is one of 'generation'"),
        (lambda: LocalGemini(quirks=["noise"]), "not 'noise'"),
        (lambda: LocalGemini(quirks="pretty_json"), "takes a collection"),
        (lambda: LocalGemini(pong_delay_s=-1), "pong_delay_s is -1"),
        (lambda: LocalGemini(announced_end_s=0), "announced_end_s is 0"),
        (lambda: ResumptionOptions(every_s=0), "every_s is 0"),
        (lambda: InterruptionOptions(late=["video"]), "not 'video'"),
        (lambda: InterruptionOptions(late_ms=10), "what is late"),
        (lambda: InterruptionOptions(late=["audio"], late_ms=-1), "late_ms is -1"),
        (lambda: EphemeralToken("a-key"), "begins with 'auth_tokens/'"),
        (lambda: EphemeralToken(TOKEN, new_session_s=9, expires_s=1), "new_session_s <= expires_s"),
        (lambda: LocalGemini(tokens=[EphemeralToken(TOKEN)] * 2), "one token twice"),
        (
            lambda: LocalGemini(tokens=[EphemeralToken(TOKEN)], refused_keys=[TOKEN]),
            "its own limits say",
        ),
        (lambda: Turn(turn_complete=False, turn_complete_reason="X"), "part of a turnComplete"),
        (lambda: Turn(turn_complete=False, in_progress=True), "told with a turnComplete"),
        (
            lambda: Turn(function_calls=(FunctionCall("f"),), turn_complete=False),
            "ends with the turn that answers",
        ),
    ],
)
def test_combinations_that_cannot_be(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert words in str(caught.value)
