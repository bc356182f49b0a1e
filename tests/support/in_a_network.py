"""A session in a network namespace of its own, whose loopback is then made slow, or a black hole.

Reads `{"queue": [...], "muted": bool, "seconds": number}` from stdin: what `tc` makes of the
loopback, whether nothing is sent, and how long to look. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.testing import LocalGemini, Script
from getstream.video.rtc import PcmData


async def main(queue: list[str], muted: bool, seconds: float) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    noise = (np.random.default_rng(1).standard_normal(320) * 3000).astype(np.int16)

    async def talk(gemini: GeminiLive) -> None:
        start, count = loop.time(), 0
        while True:
            await gemini.send_audio_pcm(
                PcmData(sample_rate=16000, format="s16", samples=noise), 16000
            )
            count += 1
            await asyncio.sleep(start + count * 0.02 - loop.time())

    async with LocalGemini(Script([])) as server:
        os.environ.update(server.env)
        gemini = GeminiLive()
        lost = asyncio.Event()
        reason: list[str] = []
        gemini.on("disconnected", lambda event: (reason.append(str(event.reason)), lost.set()))
        await gemini.wait_until_ready(None)
        talking = asyncio.ensure_future(talk(gemini)) if not muted else None
        await asyncio.sleep(3)
        subprocess.run(["tc", "qdisc", "replace", "dev", "lo", "root", *queue], check=True)
        cut_at, sent = loop.time(), gemini.stats().frames_sent
        await asyncio.wait([asyncio.ensure_future(lost.wait())], timeout=seconds)
        result = {
            "lost_after_s": loop.time() - cut_at if lost.is_set() else None,
            "reason": reason[:1],
            "sent": gemini.stats().frames_sent - sent,
        }
        if talking is not None:
            talking.cancel()
        closing_at = loop.time()
        await gemini.close()
        result["close_s"] = loop.time() - closing_at
        print(json.dumps(result), flush=True)
        os._exit(0)  # the server's sockets would wait for their network


if __name__ == "__main__":
    asyncio.run(main(**json.load(sys.stdin)))
