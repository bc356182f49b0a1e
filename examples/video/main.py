"""Let the assistant see: it looks at cameras, and says what is on a screen that somebody shares.

    python main.py my-call

Needs STREAM_API_KEY, STREAM_API_SECRET and GOOGLE_API_KEY. Runs on getstream 7 and 6.1.
"""

import asyncio
import os
import sys

from getstream import Stream
from getstream.plugins.gemini.live import GeminiLive, TurnComplete, VideoOptions, VideoStarted
from getstream.video import rtc

KEYS = ("STREAM_API_KEY", "STREAM_API_SECRET", "GOOGLE_API_KEY")
INSTRUCTIONS = "You see the video of the call. Answer in one sentence."
VIDEO = VideoOptions(fps=1, fps_idle=0.5, policy="screen_first")


async def main(call_id: str) -> None:
    call = Stream.from_env().as_async().video.call("default", call_id)
    gemini = GeminiLive(instructions=INSTRUCTIONS)

    @gemini.on("video_started")
    async def on_video_started(video: VideoStarted) -> None:
        print(f"looking at {video.source.name}, {video.width} x {video.height}", flush=True)
        if video.source.kind == "screen":
            await gemini.send_text(f"What is on {video.source.name}?")
        else:
            await gemini.send_text("Describe what you see.")

    @gemini.on("turn_complete")
    def on_turn_complete(turn: TurnComplete) -> None:
        print(f"assistant: {turn.text.strip()}", flush=True)

    async with gemini:
        connection = await rtc.join(
            call,
            user_id="assistant-bot",
            # A connection receives what it subscribes to when it is made.
            subscription_config=GeminiLive.subscription_config(video=VIDEO),
        )
        async with connection:
            await gemini.attach(connection, video=VIDEO)
            await connection.wait()  # until the call ends
        seen = gemini.stats().video
        print(f"{seen.images_sent} frames sent", flush=True)
        print(f"{seen.images_unchanged} not sent because nothing had changed", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not all(os.environ.get(name) for name in KEYS):
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1]))
