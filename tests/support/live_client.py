"""Talk to the local Gemini server with google-genai, or with bare frames."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from getstream.plugins.gemini.testing._gemini import LiveSession, LocalGemini, Turn, UserTurn
from getstream.plugins.gemini.testing.signals import speech_like
from google import genai
from google.genai import errors, types
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect

MODEL = "gemini-3.8-live"
GEMINI_PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
MANUAL = {"automatic_activity_detection": {"disabled": True}}
NO_INTERRUPTION = {"activity_handling": "NO_INTERRUPTION"}
LONG = Turn(audio=speech_like(20_000, 24000), text="word " * 40)
Pcm = NDArray[np.int16]


def client_for(server: LocalGemini, key: str = "any-key", version: str = "v1beta") -> genai.Client:
    return genai.Client(
        api_key=key,
        http_options=types.HttpOptions(
            base_url=server.url,
            api_version=version,
            async_client_args={"ssl": server.client_context()},
        ),
    )


@contextlib.asynccontextmanager
async def live(
    server: LocalGemini,
    model: str = MODEL,
    key: str = "any-key",
    drain: bool = False,
    **config: Any,
) -> AsyncIterator[tuple[Any, LiveSession]]:
    """The SDK's session, and the server's side of it.

    With `drain`, everything that the server says is read and thrown away: a client that does not
    read never sees the server's close frame either.
    """
    config = {"response_modalities": ["AUDIO"], **config}
    index = len(server.sessions)
    async with client_for(server, key).aio.live.connect(model=model, config=config) as session:
        reader = asyncio.create_task(throw_away(session)) if drain else None
        yield session, await server.wait_session(index)
    if reader:
        with contextlib.suppress(errors.APIError):
            await reader


async def throw_away(session: Any) -> None:
    while True:
        async for _ in session.receive():
            pass


@contextlib.asynccontextmanager
async def raw(server: LocalGemini, setup: Any = None) -> AsyncIterator[ClientConnection]:
    """A client that is not the SDK; with a setup, it is past the handshake."""
    async with connect(
        f"wss://127.0.0.1:{server.port}{GEMINI_PATH}?key=k", ssl=server.client_context()
    ) as socket:
        if setup is not None:
            await socket.send(json.dumps({"setup": {"model": f"models/{MODEL}", **setup}}))
            assert json.loads(await socket.recv()) == {"setupComplete": {}}
        yield socket


async def send_audio(session: Any, pcm: Pcm, rate: int, frame_ms: int = 20) -> None:
    step = rate * frame_ms // 1000
    for i in range(0, pcm.size, step):
        blob = types.Blob(data=pcm[i : i + step].tobytes(), mime_type=f"audio/pcm;rate={rate}")
        await session.send_realtime_input(audio=blob)


class Heard:
    """Messages of one `session.receive()`: one turn of the model."""

    def __init__(self) -> None:
        self.pcm = b""
        self.said = ""
        self.heard = ""
        self.text = ""
        self.kinds: list[str] = []
        self.usage: types.UsageMetadata | None = None
        self.parts_per_message: list[int] = []

    @property
    def audio(self) -> Pcm:
        return np.frombuffer(self.pcm, np.int16)

    def add(self, message: types.LiveServerMessage) -> None:
        content = message.server_content
        if content is not None:
            parts = (content.model_turn.parts or []) if content.model_turn else []
            if parts:
                self.parts_per_message.append(len(parts))
            for part in parts:
                self.text += part.text or ""
                if part.inline_data:
                    assert part.inline_data.mime_type == "audio/pcm;rate=24000"
                    self.pcm += part.inline_data.data or b""
            if content.output_transcription:
                self.said += content.output_transcription.text or ""
            if content.input_transcription:
                self.heard += content.input_transcription.text or ""
            for kind in ("interrupted", "generation_complete", "turn_complete"):
                if getattr(content, kind):
                    self.kinds.append(kind)
        if message.tool_call:
            self.kinds.append("tool_call")
        if message.tool_call_cancellation:
            self.kinds.append("tool_call_cancellation")
        if message.session_resumption_update:
            update = message.session_resumption_update
            self.kinds.append("resumable" if update.resumable else "not resumable")
        if message.usage_metadata:
            self.usage = message.usage_metadata


async def receive_turn(session: Any) -> Heard:
    heard = Heard()
    async for message in session.receive():
        heard.add(message)
    return heard


class Echo:
    """Answers a text with the same text; an async generator, as a policy may be."""

    async def reply(self, user: UserTurn) -> AsyncIterator[Turn]:
        yield Turn(text=user.text)


def fft_resample(x: Pcm, rate: int) -> Pcm:
    """An independent resampler: the spectrum, cut or extended."""
    spectrum = np.fft.rfft(x.astype(float))
    size = round(x.size * 24000 / rate)
    resized = np.zeros(size // 2 + 1, complex)
    count = min(spectrum.size, resized.size)
    resized[:count] = spectrum[:count]
    return np.rint(np.fft.irfft(resized, size) * size / x.size).astype(np.int16)
