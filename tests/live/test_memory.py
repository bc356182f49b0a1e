"""Ten minutes of talk, on the real SDK and real sockets, on a clock that turns by itself."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.testing import Parrot, Turn, signals
from getstream.plugins.gemini.testing.clock import run_virtual
from getstream.video.rtc import PcmData

MINUTE = 60.0
ROUND_S = 10.0  # four seconds of speech, its answer, and silence


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(300)
def test_ten_minutes_of_talk_take_no_more_memory_than_four(local: Callable[..., Any]) -> None:
    words = signals.speech_like(4000, 16000, seed=21)
    round_of_talk = np.concatenate([words, np.zeros(int(16000 * ROUND_S) - len(words), np.int16)])
    blocks, resident = [], []

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        greeting = Turn(audio=signals.speech_like(1000, 24000))
        async with local(Parrot(greeting), record_bytes=1 << 20), GeminiLive() as gemini:

            async def listen() -> None:
                while True:
                    await gemini.output_track.recv()

            listener = asyncio.ensure_future(listen())
            await gemini.send_text("Hello.")
            start, sent = loop.time(), 0
            while sent < 10 * MINUTE * 50:
                at = sent * 320 % len(round_of_talk)
                frame = round_of_talk[at : at + 320]
                await gemini.send_audio_pcm(
                    PcmData(sample_rate=16000, format="s16", samples=frame), 16000
                )
                sent += 1
                await asyncio.sleep(start + sent * 0.02 - loop.time())
                if sent % (2 * MINUTE * 50) == 0:
                    gc.collect()
                    blocks.append(sys.getallocatedblocks())
                    resident.append(resident_bytes())
            listener.cancel()
            await asyncio.wait([listener])
            return gemini.stats()

    stats = run_virtual(main(), grace=0.0003)
    print(f"{stats}\nblocks {blocks}\nresident MB {[round(r / 1e6, 1) for r in resident]}")
    assert stats.frames_sent >= 29_990
    assert stats.turns >= 55, "the conversation went on for the ten minutes"
    assert stats.played_ms > 55 * 3500
    assert stats.queued_ms < 10_000
    # By the fourth minute the local server's own records, which are bounded, are full.
    assert blocks[-1] - blocks[1] < 2_000, "Python objects pile up"
    assert resident[-1] - resident[1] < 2_000_000, "memory grows"
