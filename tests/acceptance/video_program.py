"""Assistant that takes every frame of the call, and prints its counters at the end."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import sys

from getstream import AsyncStream
from getstream.plugins.gemini.live import GeminiLive, VideoOptions
from getstream.video import rtc

FPS = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
OPTIONS = VideoOptions(fps=FPS, fps_idle=None, skip_unchanged=False)


async def main() -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, over.set)
    async with AsyncStream(base_url=None) as client, GeminiLive() as gemini:
        call = client.video.call("default", "your-call-id")
        await call.get_or_create(data={"created_by_id": "assistant-bot"})
        connection = await rtc.join(
            call, "assistant-bot", subscription_config=GeminiLive.subscription_config()
        )
        async with connection:
            await gemini.attach(connection, video=OPTIONS)
            await gemini.send_text("Give a short greeting.")
            await over.wait()
            stats = dataclasses.asdict(gemini.stats())
    print(json.dumps(stats), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
