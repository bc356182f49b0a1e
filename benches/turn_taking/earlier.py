"""Model the earlier plugin's rules as the assistant of a call.

    python -m turn_taking.earlier CALL_ID FOLDER

This is not that plugin, which cannot be imported beside today's SDKs. It implements the plugin's
turn-taking rules on the same two SDKs that this package uses. The rules are those of
GetStream/stream-py as of August 2025 (commit bf3bb43), getstream/plugins/gemini/live/live.py:

- A frame of the call is activity if the mean of |x| is above 1000 (`send_audio_pcm`, with
  `activity_threshold=1000`). There is no detector.
- The first active frame disables playback and flushes the track (`send_audio_pcm` calls
  `interrupt_playback`). Each active frame restarts a timer of 1000 ms; when it ends, playback is
  enabled (`_silence_timeout_task`, with `silence_timeout_ms=1000`, and `resume_playback`).
- Audio of the model that arrives while playback is disabled is dropped: it is not written to the
  track (`_audio_receive_loop`).
- `interrupted` is not read, nor is any other field than the audio and the text
  (`_audio_receive_loop`).

Two points favour it: the end of a reply that the SDK's resampler holds back is played, and its
frames go to the service at 16 kHz, so that both assistants cost the machine the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from getstream import AsyncStream
from getstream.plugins.gemini.audio import Resampler
from getstream.video import rtc
from getstream.video.rtc import AudioStreamTrack, PcmData
from google import genai
from google.genai import types
from programs import commands, report

from .program import Record

ACTIVITY_THRESHOLD = 1000
SILENCE_TIMEOUT_S = 1.0
MODEL = "gemini-3.8-live"
MODEL_RATE = 24_000
WIRE_RATE = 16_000


class EarlierRules:
    """State of the rules above: whether somebody speaks, and the timer."""

    def __init__(self, session: Any, record: Record) -> None:
        self.track = AudioStreamTrack(sample_rate=48_000, channels=1)
        self._session = session
        self._record = record
        self._resampler = Resampler(48_000, WIRE_RATE)
        self._playback_enabled = True
        self._user_speaks = False
        self._timer: asyncio.Task[None] | None = None

    async def hear(self, pcm: PcmData) -> None:
        """Process a frame of the call."""
        samples = np.asarray(pcm.samples, np.int16).reshape(-1)
        self._record.arrivals.add(time.monotonic(), pcm.pts or 0, samples)
        if np.mean(np.abs(samples)) > ACTIVITY_THRESHOLD:
            if not self._user_speaks:
                self._user_speaks = True
                self._playback_enabled = False
                self._record.note("flush")
                await self.track.flush()
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.create_task(self._end_of_speech())
        wire = self._resampler.push(samples).tobytes()
        blob = types.Blob(data=wire, mime_type=f"audio/pcm;rate={WIRE_RATE}")
        await self._session.send_realtime_input(audio=blob)

    async def _end_of_speech(self) -> None:
        await asyncio.sleep(SILENCE_TIMEOUT_S)
        self._user_speaks = False
        self._playback_enabled = True
        self._record.note("enabled")

    async def play(self) -> None:
        """Play the replies of the model."""
        while True:
            async for message in self._session.receive():
                content = message.server_content
                if message.data and self._playback_enabled:
                    await self._write(np.frombuffer(message.data, "<i2").astype(np.int16))
                if content is not None and content.generation_complete:
                    await self._write(np.zeros(MODEL_RATE // 50, np.int16), final=True)

    async def _write(self, samples: Any, final: bool = False) -> None:
        pcm = PcmData(sample_rate=MODEL_RATE, format="s16", samples=samples, channels=1)
        await self.track.write(pcm, final)


async def main(call_id: str, folder: Path) -> None:
    record = Record()
    gemini = genai.Client(http_options=types.HttpOptions(api_version="v1beta"))
    config = types.LiveConnectConfig(response_modalities=[types.Modality.AUDIO])
    async with AsyncStream(base_url=None) as client:
        async with gemini.aio.live.connect(model=MODEL, config=config) as session:
            assistant = EarlierRules(session, record)
            call = client.video.call("default", call_id)
            await call.get_or_create(data={"created_by_id": "assistant"})
            async with await rtc.join(call, "assistant") as connection:
                connection.on("audio", assistant.hear)
                await connection.add_tracks(audio=assistant.track)
                playing = asyncio.create_task(assistant.play())
                report("ready")
                async for command in commands():
                    if command["do"] == "stall":
                        record.note("stall", ms=command["ms"])
                        time.sleep(command["ms"] / 1000)  # noqa: ASYNC251  (as in `ours`)
                    elif command["do"] == "stats":
                        report("stats")
                playing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await playing
    record.save(folder)


if __name__ == "__main__":
    logging.getLogger("getstream").setLevel(logging.ERROR)
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
