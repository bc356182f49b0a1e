"""Let the assistant see: cameras and shared screens of a Stream call.

    python main.py my-call

Needs STREAM_API_KEY, STREAM_API_SECRET and GOOGLE_API_KEY. Runs on getstream 7 and 6.1.
"""

import asyncio
import sys

from getstream import Stream
from getstream.plugins.gemini.live import GeminiLive, TurnComplete
from getstream.video import rtc

INSTRUCTIONS = "You see the video of the call. Say in one sentence what changes in it."


async def main(call_id: str) -> None:
    call = Stream.from_env().as_async().video.call("default", call_id)
    gemini = GeminiLive(instructions=INSTRUCTIONS)

    @gemini.on("turn_complete")
    def on_turn_complete(turn: TurnComplete) -> None:
        print(f"assistant: {turn.text.strip()}", flush=True)

    async with gemini:
        connection = await rtc.join(
            call,
            user_id="assistant-bot",
            # A connection receives what it subscribes to when it is made.
            subscription_config=GeminiLive.subscription_config(),
        )
        async with connection:
            await gemini.attach(connection, video=True, fps=1)
            await gemini.send_text("Describe what you see.")
            await connection.wait()  # until the call ends
        print(f"{gemini.stats().video_frames_sent} frames sent", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
