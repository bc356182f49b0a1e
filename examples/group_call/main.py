"""Take part in a call of several people: tell who speaks, and what each network costs.

    python main.py my-call

Needs STREAM_API_KEY, STREAM_API_SECRET and GOOGLE_API_KEY. Runs on getstream 7 and 6.1.
"""

import asyncio
import os
import sys

from getstream import Stream
from getstream.plugins.gemini.live import GeminiLive, Interrupted, Speech
from getstream.video import rtc

KEYS = ("STREAM_API_KEY", "STREAM_API_SECRET", "GOOGLE_API_KEY")
INSTRUCTIONS = "You moderate a call of several people. Answer in one sentence."


async def main(call_id: str) -> None:
    call = Stream.from_env().as_async().video.call("default", call_id)
    # "active_speaker" sends one person at a time to the model; "everybody", the default, mixes.
    gemini = GeminiLive(instructions=INSTRUCTIONS, listen_to="active_speaker")

    @gemini.on("speech_started")
    def on_speech_started(speech: Speech) -> None:
        print(f"{speech.user_id} speaks", flush=True)

    @gemini.on("speech_stopped")
    def on_speech_stopped(speech: Speech) -> None:
        print(f"{speech.user_id} stops", flush=True)
        for track in gemini.stats().tracks:  # of those who are in the call now
            if track.user_id == speech.user_id:
                print(
                    f"{track.user_id} ({track.kind}): {track.received_ms / 1000:.1f} s received, "
                    f"{track.delay_ms:.0f} ms late, {track.lost_ms:.0f} ms lost",
                    flush=True,
                )

    @gemini.on("interrupted")
    def on_interrupted(cut: Interrupted) -> None:
        print(f"interrupted after {cut.heard_ms / 1000:.1f} s", flush=True)

    async with gemini:
        connection = await rtc.join(call, user_id="assistant-bot")
        async with connection:
            await gemini.attach(connection)
            await connection.wait()  # until the call ends


if __name__ == "__main__":
    if len(sys.argv) != 2 or not all(os.environ.get(name) for name in KEYS):
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1]))
