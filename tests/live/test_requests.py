"""Images and contents that the application sends, on the real SDK and sockets."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from getstream.plugins.gemini.errors import ClosedError, ConfigError, VideoError
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.live._media.images import MAX_IMAGE_BYTES, read_image
from getstream.plugins.gemini.testing import LiveSession, Parrot, Reject, Script, Turn
from google.genai import types
from room import Local

PIXELS = np.zeros((48, 64, 3), np.uint8)
PIXELS[:, 32:] = (200, 30, 60)
PNG = b"\x89PNG\r\n\x1a\n" + b"any bytes: the file is sent as it is"
JPEG, _ = read_image(PIXELS)


async def sent(session: LiveSession, kind: str, count: int = 1) -> Any:
    return (await session.wait_frames(kind, count))[count - 1]


def mime_of(frame: Any) -> str:
    return str(frame.message["realtimeInput"]["video"]["mimeType"])


async def test_files_are_sent_as_they_are(local: Local, tmp_path: Path) -> None:
    path = tmp_path / "image.any"
    path.write_bytes(PNG)
    async with local(Parrot()) as server, GeminiLive() as gemini:
        session = await server.wait_session(0)
        for image, data, kind in (
            (JPEG, JPEG, "image/jpeg"),
            (bytearray(PNG), PNG, "image/png"),
            (path, PNG, "image/png"),
            (str(path), PNG, "image/png"),
        ):
            count = len([frame for frame in session.frames if frame.kind == "video"])
            await gemini.send_image(image)
            frame = await sent(session, "video", count + 1)
            assert (frame.data, mime_of(frame)) == (data, kind)


async def test_an_array_is_sent_as_jpeg(local: Local) -> None:
    async with local(Parrot()) as server, GeminiLive() as gemini:
        await gemini.send_image(PIXELS[:, ::-1])  # not contiguous
        frame = await sent(await server.wait_session(0), "video")
        assert mime_of(frame) == "image/jpeg"
        with av.open(io.BytesIO(frame.data), format="mjpeg") as file:
            picture = next(file.decode(video=0)).to_ndarray(format="rgb24")
        assert picture.shape == PIXELS.shape
        assert np.abs(picture.astype(int) - PIXELS[:, ::-1]).mean() < 10


async def test_an_image_stands_before_the_text_about_it(local: Local) -> None:
    async with local(Parrot()) as server, GeminiLive() as gemini:
        await gemini.send_image(JPEG)
        await gemini.send_text("What is it?")
        session = await server.wait_session(0)
        text = await sent(session, "text")
        assert (await sent(session, "video")).index < text.index


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (None, ConfigError),
        (PIXELS.astype(np.float32), ConfigError),
        (PIXELS[:, :, 0], ConfigError),
        (np.zeros((0, 4, 3), np.uint8), ConfigError),
        ("no/such/file.png", ConfigError),
        ("nul\0byte", ConfigError),
        ("/", ConfigError),
        (b"", VideoError),
        (b"GIF89a", VideoError),
        (b"\xff\xd8\xff" + bytes(MAX_IMAGE_BYTES), VideoError),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(type(value).__name__),
)
async def test_bad_images(local: Local, image: Any, error: type[Exception]) -> None:
    async with local(Parrot()) as server, GeminiLive() as gemini:
        with pytest.raises(error):
            await gemini.send_image(image)
        await gemini.send_text("Hello.")
        await sent(await server.wait_session(0), "text")
        assert not [f for f in server.sessions[0].frames if f.kind == "video"]


async def test_contents_are_context_and_may_be_answered(local: Local) -> None:
    async with local(Script([Turn(text="Ben it is.")])) as server, GeminiLive() as gemini:
        await gemini.send_content(
            [
                types.Content(role="user", parts=[types.Part(text="My name is Ben.")]),
                {"role": "model", "parts": [{"text": "Hello Ben."}]},
            ],
            turn_complete=False,
        )
        session = await server.wait_session(0)
        frame = await sent(session, "clientContent")
        assert not frame.message["clientContent"].get("turnComplete")
        assert session.spoken == []
        await gemini.send_content({"parts": [{"text": "What is my name?"}]})
        await session.wait_turns(1)
        assert session.context[:3] == ["My name is Ben.", "Hello Ben.", "What is my name?"]
        told = [(line.who, line.text) for line in gemini.transcript][:3]
        assert told == [
            ("application", "My name is Ben."),
            ("assistant", "Hello Ben."),
            ("application", "What is my name?"),
        ]
        assert gemini._supervisor.turns.history.lines()[:2] == [
            ("user", "My name is Ben."),
            ("model", "Hello Ben."),
        ]


@pytest.mark.parametrize(
    "turns",
    [
        [],
        None,
        "Hello",
        [3],
        {"role": "user"},
        {"role": "user", "parts": []},
        {"role": "system", "parts": [{"text": "x"}]},
        {"role": "user", "parts": [{"txt": "a secret"}]},
        {"parts": [{"inline_data": {"mime_type": "image/png", "data": bytes(7_000_001)}}]},
    ],
    ids=str,
)
async def test_bad_contents(local: Local, turns: Any) -> None:
    async with local(Parrot()), GeminiLive() as gemini:
        with pytest.raises(ConfigError) as caught:
            await gemini.send_content(turns)
        assert "a secret" not in str(caught.value)
        with pytest.raises(ConfigError):
            await gemini.send_content({"parts": [{"text": "x"}]}, turn_complete=1)  # type: ignore[arg-type]


async def test_a_model_that_takes_no_content_is_not_sent_any(local: Local) -> None:
    model = "gemini-3.1-flash-live-preview"
    async with local(Parrot()) as server, GeminiLive(model=model) as gemini:
        with pytest.raises(ConfigError, match="send_text"):
            await gemini.send_content({"parts": [{"text": "Hello."}]})
        await gemini.send_text("Hello.")
        await sent(await server.wait_session(0), "text")


async def test_they_are_sent_again_on_the_next_connection(local: Local) -> None:
    async with local(Script([[]] * 3)) as server, GeminiLive() as gemini:
        session = await server.wait_session(0)
        await gemini.send_image(JPEG)
        await gemini.send_content({"parts": [{"text": "What is it?"}]})
        await sent(session, "clientContent")
        await session.close(1011, "internal error")
        again = await server.wait_session(1)
        content = await sent(again, "clientContent")
        assert (await sent(again, "video")).index < content.index
        assert [line.text for line in gemini.transcript] == ["What is it?"], "it is said once"


async def test_after_the_end_they_are_refused(local: Local) -> None:
    async with local(Parrot()):
        async with GeminiLive() as gemini:
            pass
        with pytest.raises(ClosedError):
            await gemini.send_image(JPEG)
        with pytest.raises(ClosedError):
            await gemini.send_content({"parts": [{"text": "Hello."}]})


async def test_closing_ends_the_wait_for_a_connection(local: Local) -> None:
    async with local(Parrot()) as server:
        gemini = GeminiLive()
        await gemini.wait_until_ready()
        server.fail_next(Reject(503), times=100)
        lost = asyncio.Event()
        gemini.on("disconnected", lost.set)
        (await server.wait_session(0)).abort()
        await asyncio.wait_for(lost.wait(), 10)
        waiting = asyncio.ensure_future(gemini.send_image(JPEG))
        await asyncio.sleep(0)
        await gemini.close()
        with pytest.raises(ClosedError):
            await waiting
