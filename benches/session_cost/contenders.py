"""What the programs have in common: audio, connections, and the paths that are compared."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from itertools import count
from typing import Any

import numpy as np
from getstream.plugins.gemini.audio import Resampler
from getstream.plugins.gemini.live import GeminiLive, _audio_in
from getstream.plugins.gemini.live._session.session import WEBSOCKET_OPTIONS
from getstream.video.rtc import PcmData
from google import genai
from google.genai import types
from websockets.asyncio.client import ClientConnection

MODEL = "gemini-3.8-live"
WIRE_RATE = 16_000
MIME = f"audio/pcm;rate={WIRE_RATE}"
CONFIG = types.LiveConnectConfig(
    response_modalities=[types.Modality.AUDIO],
    output_audio_transcription=types.AudioTranscriptionConfig(),
)


def build_client() -> genai.Client:
    """A client for all contenders: with the options of this package, which favour the SDK, too."""
    options = {k: v for k, v in WEBSOCKET_OPTIONS.items() if k != "create_connection"}
    return genai.Client(
        http_options=types.HttpOptions(api_version="v1beta", async_client_args=options)
    )


@contextlib.asynccontextmanager
async def sdk_session(client: genai.Client) -> AsyncIterator[Any]:
    async with client.aio.live.connect(model=MODEL, config=CONFIG) as session:
        yield session


def socket_of(contender: Any) -> ClientConnection:
    """The websocket of a session of the SDK, of our `Session`, or of a `GeminiLive`."""
    if isinstance(contender, GeminiLive):
        contender = contender._session
    found = getattr(contender, "_socket", None) or contender._ws
    assert isinstance(found, ClientConnection)
    return found


# -- audio -----------------------------------------------------------------------------------------


class _Source:
    """Who a frame comes from; what the SDK's `Participant` has of it."""

    user_id = "person"
    session_id = "first"


def frames(start: int = 0) -> Iterator[PcmData]:
    """Frames of the call as the Stream SDK hands them over: 20 ms of stereo at 48 kHz."""
    at = np.arange(48_000)
    wave = (8000 * np.sin(2 * np.pi * 150 * at / 48_000)).astype(np.int16)
    parts = [np.stack([part, part]) for part in np.split(wave, 50)]
    source, base = _Source(), Fraction(1, 48_000)
    for number in count(start):
        yield PcmData(
            sample_rate=48_000,
            format="s16",
            samples=parts[number % 50],
            channels=2,
            pts=number * 960,
            time_base=base,
            participant=source,
        )


class WithoutNetwork:
    """Stands for `InputStream` where the network of the detector is to be left out.

    It converts as that does. It hears a first sign of speech all the time, so that what is sent is
    kept for the case that it has to be sent again, as speech is.
    """

    starting = True
    speaking = False
    echo = False
    echo_delay_ms = None

    def __init__(self, wire_rate: int = WIRE_RATE, **_options: Any) -> None:
        self.wire_rate = wire_rate
        self._resampler: Resampler | None = None

    def push(
        self, samples: Any, rate: int, channels: int = 1, *_times: Any, **_more: Any
    ) -> tuple[Any, list[Any]]:
        if self._resampler is None:
            self._resampler = Resampler(rate, self.wire_rate)
        return self._resampler.push(samples, channels), []

    def silence(self, ms: int) -> tuple[Any, list[Any]]:
        return np.zeros(self.wire_rate * ms // 1000, np.int16), []


@contextlib.contextmanager
def without_network() -> Iterator[None]:
    """Inside, participants of a `GeminiLive` get a `WithoutNetwork` with their first frame."""
    whole = _audio_in.InputStream
    _audio_in.InputStream = WithoutNetwork  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        _audio_in.InputStream = whole  # type: ignore[misc]
