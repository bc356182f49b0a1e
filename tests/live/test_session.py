"""The session on the real SDK: the lean path and the SDK's own, and every way to be let in."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
import warnings
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini._websocket import websocket_frame, websocket_payload
from getstream.plugins.gemini.errors import ClosedError, ConfigError, GeminiError
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.live._options import resolve_access
from getstream.plugins.gemini.live._session import Session
from getstream.plugins.gemini.live._session import connection as session_module
from getstream.plugins.gemini.live._session.path import watch_socket
from getstream.plugins.gemini.testing import (
    QUOTA_EXCEEDED,
    Abort,
    Close,
    LocalGemini,
    NeverAnswer,
    Parrot,
    Reject,
    Script,
    SetupFault,
    Turn,
    signals,
)
from getstream.plugins.gemini.testing._gemini import server as server_module
from getstream.plugins.gemini.testing.clock import run_virtual
from google import genai
from google.auth.credentials import Credentials
from google.genai import types
from room import MODEL, TEXT, WIRE, Local, Room, happens, hold, voice, words
from websockets.asyncio.server import serve

MARKED_KEY = "AIzaMarkedSecret"


@pytest.fixture
def without_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release of google-genai that does not show its websocket."""

    class Unknown:
        pass

    monkeypatch.setattr(session_module, "ClientConnection", Unknown)


@pytest.fixture
def without_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that does not hand `create_connection` through."""
    monkeypatch.delitem(session_module.WEBSOCKET_OPTIONS, "create_connection")


async def converse(room: Room) -> None:
    await room.gemini.send_text("Hello.")
    await room.until(3)
    room.say(words(1.5), at=3.2)
    await room.until(8)
    await room.gemini.send_text("Once more.")
    await happens(room, "turn_complete")
    await room.until(room.now + 3)


GREETING = Turn(audio=voice(2.0), text=TEXT)


def check_conversation(room: Room, sound: Any) -> None:
    (wire,) = room.session.audio
    assert signals.align(words(1.5), wire.samples, WIRE).correlation > 0.999
    assert signals.align(words(1.5), sound[::3], WIRE).correlation > 0.95
    assert signals.align(voice(2.0), sound[::2], MODEL).correlation > 0.98
    greeting, answer, again = room.of("turn_complete")
    assert greeting.text == again.text == TEXT
    assert "seconds of speech" in answer.text
    assert room.gemini.stats().played_ms == pytest.approx(
        sum(turn.sent_ms for turn in room.session.spoken), abs=0.2
    )
    assert room.gemini.stats().tokens.total > 0
    assert room.gemini._supervisor._reconnect_policy.handle


def test_the_lean_path_by_the_public_hook(local: Local) -> None:
    room, sound = hold(local, converse, Parrot(GREETING))
    check_conversation(room, sound)


@pytest.mark.usefixtures("without_hook")
def test_the_lean_path_by_the_attribute_of_the_sdk(local: Local) -> None:
    lean: list[bool] = []

    async def scenario(room: Room) -> None:
        lean.append(room.gemini._supervisor.session.uses_raw_socket)
        await converse(room)

    room, sound = hold(local, scenario, Parrot(GREETING))
    check_conversation(room, sound)
    assert lean == [True]


def test_the_lean_path_of_another_websockets(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "writer_of", lambda socket: None)
    room, sound = hold(local, converse, Parrot(GREETING))
    check_conversation(room, sound)


async def test_what_would_have_to_wait_is_not_sent_at_once(local: Local) -> None:
    async with local(Script([])) as server, GeminiLive() as gemini:
        assert await gemini.wait_until_ready()
        session = gemini._supervisor.session
        server_side = await server.wait_session()
        before, behind = session.audio_envelope(16_000)
        message = before + b"AAAA" + behind
        frame = websocket_frame(message)
        assert session.send_audio_now([frame]) == 1
        server_side.freeze()
        large = websocket_frame(b" " * 500_000 + message)
        numbers = [session.send_audio_now([large]) for _ in range(100)]
        assert numbers[-1] is None, "the transport is full"
        server_side.thaw()
        await session.close(abort=True)
        assert session.send_audio_now([frame]) is None, "there is no connection"


async def test_a_transport_that_was_closed_twice_takes_nothing(local: Local) -> None:
    """asyncio's TLS transport has lost its protocol then, and with it the size of its buffer."""
    async with local(Script([])), GeminiLive() as gemini:
        assert await gemini.wait_until_ready()
        session = gemini._supervisor.session
        assert session._socket is not None
        transport = session._socket.transport
        transport.close()
        transport.close()
        before, behind = session.audio_envelope(16_000)
        assert session.send_audio_now(websocket_frame(before + b"AAAA" + behind)) is None
        assert session._bytes_waiting() == 0
        watch_socket(transport)


async def test_a_frame_that_is_sent_again_is_masked_anew(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local(Script([])) as server, GeminiLive() as gemini:
        assert await gemini.wait_until_ready()
        session = gemini._supervisor.session
        assert session._socket is not None
        transport: Any = session._socket.transport
        written: list[bytes] = []
        write = transport.write
        monkeypatch.setattr(transport, "write", lambda data: written.append(data) or write(data))
        before, behind = session.audio_envelope(16_000)
        frame = websocket_frame(before + b"AAAAAAAA" + behind)
        assert session.send_audio_now([frame]) == 1
        assert await session.send_audio(frame) == 2
        first, again = written
        assert first == frame
        assert again != frame
        assert websocket_payload(again) == websocket_payload(frame)
        server_side = await server.wait_session()
        frames = await server_side.wait_frames("audio", 2)
        assert [each.data for each in frames] == [bytes(6)] * 2


def test_with_compression_it_is_the_same(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a client of the user's own, whose options are left alone."""

    def compressing(*args: Any, **options: Any) -> Any:
        return serve(*args, **{**options, "compression": "deflate"})

    monkeypatch.setattr(server_module, "serve", compressing)
    monkeypatch.setitem(session_module.WEBSOCKET_OPTIONS, "compression", "deflate")
    direct: list[Any] = []

    async def scenario(room: Room) -> None:
        writer = room.gemini._supervisor.session._writer
        direct.append(writer and writer.takes_frames)
        await converse(room)

    room, sound = hold(local, scenario, Parrot(GREETING))
    check_conversation(room, sound)
    assert direct == [False]


@pytest.mark.usefixtures("without_socket")
def test_the_sdks_own_path(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    lean: list[bool] = []

    async def scenario(room: Room) -> None:
        lean.append(room.gemini._supervisor.session.uses_raw_socket)
        await converse(room)

    room, sound = hold(local, scenario, Parrot(GREETING))
    check_conversation(room, sound)
    assert lean == [False]
    assert caplog.text.count("does not show its websocket") == 1


@pytest.mark.usefixtures("without_socket")
def test_the_sdks_own_path_is_resumed_too(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.until(1)
        room.session.abort()
        await happens(room, "resumed")
        room.say(words(1.5), at=room.now + 0.2)
        await room.until(room.now + 4)

    room, sound = hold(local, scenario, Parrot())
    assert room.server.sessions[1].resumed_from
    assert signals.align(words(1.5), sound[::3], WIRE).correlation > 0.95


@pytest.mark.usefixtures("without_socket")
async def test_the_sdks_own_path_passes_over_what_it_cannot_read(local: Local) -> None:
    async with local(Script([Turn(text="Yes.")])) as server, GeminiLive() as gemini:
        session = await server.wait_session()
        await session.send({"somethingNew": {"x": 1}})
        await gemini.send_text("Still there?")
        (turn,) = await asyncio.wait_for(_event(gemini, "turn_complete"), 10)
        assert turn.text == "Yes."
        assert gemini.stats().unreadable_messages == 1


async def test_a_client_that_is_made_while_it_closes_is_closed(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()
    made: list[Any] = []
    closed: list[Any] = []
    build, close = Session._build_client, session_module.close_client

    def build_slowly(session: Session) -> Any:
        begun.set()
        may_end.wait(10)
        made.append(build(session))
        return made[0]

    def note_closed(client: Any) -> None:
        close(client)
        closed.append(client)

    monkeypatch.setattr(Session, "_build_client", build_slowly)
    monkeypatch.setattr(session_module, "close_client", note_closed)
    async with local(Parrot()):
        gemini = GeminiLive()
        waiting = asyncio.ensure_future(gemini.send_text("Hello."))
        await asyncio.to_thread(begun.wait, 10)
        closing = asyncio.ensure_future(gemini.close())
        with pytest.raises(ClosedError):
            await waiting
        may_end.set()
        await closing
    assert len(made) == 1
    assert closed == made


@pytest.mark.parametrize("fallback", [True, False])
async def test_pictures_take_both_paths(
    local: Local, fallback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fallback:
        monkeypatch.setattr(session_module, "ClientConnection", type("Unknown", (), {}))
    async with local(Script([])) as server, GeminiLive() as gemini:
        assert gemini._supervisor.session.uses_raw_socket is not fallback
        assert await gemini._supervisor.session.send_video(b"\xff\xd8picture") == 1
        session = await server.wait_session()
        (frame,) = await session.wait_frames("video")
        assert frame.data == b"\xff\xd8picture"
        assert frame.message["realtimeInput"]["video"]["mimeType"] == "image/jpeg"


def test_a_socket_that_is_stuck_for_a_while_loses_nothing(local: Local) -> None:
    speech = np.tile(words(3.0), 5)

    async def scenario(room: Room) -> None:
        await room.until(1)
        room.session.freeze()
        room.say(speech, at=1.0)
        await room.until(9.5)
        assert len(room.gemini._supervisor.send_queue._queue.items) > 50, (
            "the buffers below are full"
        )
        room.session.thaw()
        await room.until(18)

    # The largest rate fills the buffers of the kernel soonest.
    room, _ = hold(local, scenario, Script([]), rate=96_000)
    assert not room.of("disconnected")
    assert room.gemini.stats().input_dropped_ms == 0
    (wire,) = room.session.audio
    heard = signals.align(speech[: 12 * WIRE], wire.samples[::6], WIRE)
    assert heard.correlation > 0.9


async def _event(gemini: GeminiLive, name: str) -> tuple[Any, ...]:
    future: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()
    gemini.once(name, lambda *args: future.done() or future.set_result(args))
    return await future


# -- being let in --------------------------------------------------------------------------------


async def test_an_ephemeral_token(local: Local) -> None:
    async with local(Script([])) as server:
        with warnings.catch_warnings():
            # The SDK says that its support of tokens may change.
            warnings.simplefilter("ignore", genai.errors.ExperimentalWarning)
            async with GeminiLive(api_key="auth_tokens/abc"):
                endpoint = server.sessions[0].endpoint
        assert (endpoint.version, endpoint.constrained) == ("v1alpha", True)


async def test_vertex_ai_by_the_environment_and_an_express_key(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local(Script([])) as server:
        monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", server.url)
        async with GeminiLive():
            session = server.sessions[0]
        assert session.endpoint.vertex
        assert session.setup["model"] == "publishers/google/models/gemini-3.8-live"


async def test_vertex_ai_by_project_and_location(local: Local) -> None:
    class Known(Credentials):  # type: ignore[misc, no-any-unimported]
        def __init__(self) -> None:
            super().__init__()
            self.token = "token"

        def refresh(self, request: Any) -> None:
            """It is valid."""

    async with local(Script([])) as server:
        client = genai.Client(
            vertexai=True,
            project="my-project",
            location="europe-west4",
            credentials=Known(),
            http_options=types.HttpOptions(
                base_url=server.url, async_client_args={"ssl": server.client_context()}
            ),
        )
        async with GeminiLive(client=client):
            session = server.sessions[0]
        assert session.setup["model"] == (
            "projects/my-project/locations/europe-west4/publishers/google/models/gemini-3.8-live"
        )
        assert session.setup["sessionResumption"] == {"transparent": True}


def test_access_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "1")
    with pytest.raises(ConfigError, match="GOOGLE_API_KEY"):
        resolve_access(None)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
    assert (resolve_access(None).api_key, resolve_access(None).vertexai) == (None, True)
    assert resolve_access("key").api_key == "key"
    assert "key" not in repr(resolve_access("key"))
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "false")
    assert not resolve_access("key").vertexai


async def test_a_project_without_credentials_is_an_error_that_says_so(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local(Script([])):
        monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
        monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "europe-west4")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "no-such-file.json")
        monkeypatch.delenv("GOOGLE_API_KEY")
        gemini = GeminiLive()
        with pytest.raises(GeminiError, match=r"credentials|no-such-file"):
            await gemini.wait_until_ready()
        await gemini.close()


# -- secrets -------------------------------------------------------------------------------------

SETUP_FAULTS: list[SetupFault] = [
    Reject(403),
    Reject(503),
    Abort(),
    Close(1007, "API key not valid. Please pass a valid API key."),
    Close(1008, "The operation was aborted."),
    QUOTA_EXCEEDED,
    NeverAnswer(),
]


@pytest.mark.parametrize("fault", SETUP_FAULTS, ids=repr)
@pytest.mark.parametrize("later", [False, True])
def test_the_key_is_in_nothing_that_is_said(
    local: Local,
    fault: SetupFault,
    later: bool,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said: list[str] = []

    def note(*arguments: object) -> None:
        for argument in arguments:
            said.append(f"{argument!r} {argument}")
            error = getattr(argument, "reason", argument)
            if isinstance(error, BaseException):
                said.extend(traceback.format_exception(error))

    async def scenario(server: LocalGemini, gemini: GeminiLive) -> None:
        for event in ("error", "closed", "disconnected", "reconnecting", "resumed"):
            gemini.on(event, note)
        if later:
            await gemini.wait_until_ready(None)  # threads take no time on this clock
            server.fail_next(fault, times=10_000)
            server.sessions[0].abort()
            await _event(gemini, "closed")
        try:
            await gemini.wait_until_ready(None)
        except GeminiError as error:
            note(error)
        said.append(repr(gemini))
        said.append(repr(gemini.stats()))

    async def main() -> None:
        async with local(Script([]), setup_fault=None if later else fault) as server:
            gemini = GeminiLive(api_key=MARKED_KEY)
            await scenario(server, gemini)
            await gemini.close()

    with caplog.at_level(logging.DEBUG):
        run_virtual(main(), grace=0.0003)
    captured = capsys.readouterr()
    text = "\n".join([*said, *(r.getMessage() for r in caplog.records), captured.out, captured.err])
    assert len(said) >= 2
    assert MARKED_KEY not in text
    assert MARKED_KEY[4:] not in text
