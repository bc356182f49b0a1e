"""Provide the programs' common parts: audio, connections, and the peers of this package.

Of this package only public names are used, and of google-genai its sessions' websocket.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
from getstream.plugins.gemini.audio import Resampler, encode_base64
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.testing import signals
from getstream.video.rtc import PcmData
from google import genai
from google.genai import types
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection

MODEL = "gemini-3.8-live"
WIRE_RATE = 16_000
CALL_RATE = 48_000
FRAME_S = 0.020
MIME = f"audio/pcm;rate={WIRE_RATE}"

WEBSOCKET_OPTIONS = {
    "compression": None,
    "max_size": 16 << 20,
    "max_queue": 256,
    "ping_interval": None,
    "close_timeout": 2,
}
"""Options of this package's own websocket.

They favour the SDK, which compresses and pings by default."""


def build_client() -> genai.Client:
    """Build a client for all contenders, with the websocket options of this package."""
    return genai.Client(
        http_options=types.HttpOptions(
            api_version="v1beta", async_client_args=dict(WEBSOCKET_OPTIONS)
        )
    )


def build_assistant(client: genai.Client | None, label: str) -> GeminiLive:
    """Build an assistant whose session the service knows by `label`."""
    return GeminiLive(client=client, instructions=label)


@contextlib.asynccontextmanager
async def sdk_session(client: genai.Client, label: str = "sdk") -> AsyncIterator[Any]:
    """Open a session of google-genai that the service knows by `label`."""
    config = types.LiveConnectConfig(
        response_modalities=[types.Modality.AUDIO],
        output_audio_transcription=types.AudioTranscriptionConfig(),
        system_instruction=label,
    )
    async with client.aio.live.connect(model=MODEL, config=config) as session:
        yield session


def socket_of(session: Any) -> ClientConnection:
    """Return the websocket of a session of google-genai."""
    found = session._ws
    assert isinstance(found, ClientConnection)
    return found


# -- audio -----------------------------------------------------------------------------------------


class _Participant:
    """Replacement of the SDK's `Participant`: the sender of a frame."""

    user_id = "person"
    session_id = "first"


def frames(sound: Literal["speech", "tone"] = "speech") -> Iterator[PcmData]:
    """Yield frames as the Stream SDK hands them over: 20 ms, int16, stereo, 48 kHz.

    Args:
        sound: Recorded speech, or a tone of 150 Hz that no detector takes for speech.
    """
    samples = _tone() if sound == "tone" else _speech()
    size = round(CALL_RATE * FRAME_S)
    whole = samples[: samples.size // size * size].reshape(-1, size)
    parts = [np.stack([part, part]) for part in whole]
    source, base = _Participant(), Fraction(1, CALL_RATE)
    for number in count():
        yield PcmData(
            sample_rate=CALL_RATE,
            format="s16",
            samples=parts[number % len(parts)],
            channels=2,
            pts=number * size,
            time_base=base,
            participant=source,
        )


def _speech() -> NDArray[np.int16]:
    recording, rate = signals.read_wav(
        Path(str(files("getstream.plugins.gemini") / "data" / "speech.wav"))
    )
    return Resampler(rate, CALL_RATE).push(recording)


def _tone() -> NDArray[np.int16]:
    at = np.arange(CALL_RATE)
    return (8000 * np.sin(2 * np.pi * 150 * at / CALL_RATE)).astype(np.int16)


_BEFORE_AUDIO = f'{{"realtimeInput":{{"audio":{{"mimeType":"{MIME}","data":"'.encode()
_AFTER_AUDIO = b'"}}}'


def audio_message(wire: Any) -> bytes:
    """Return the message that carries audio to the service, as its API defines it.

    Args:
        wire: int16 mono at `WIRE_RATE`.
    """
    return _BEFORE_AUDIO + encode_base64(wire) + _AFTER_AUDIO
