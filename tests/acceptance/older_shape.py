"""The quick start with video as it was documented for `getstream` 6 and older."""

import asyncio
import os

from getstream import Stream
from getstream.plugins.gemini.live import GeminiLive
from getstream.video import rtc
from getstream.video.rtc.track_util import PcmData


async def main():
    gemini = GeminiLive(api_key=os.getenv("GOOGLE_API_KEY"))

    client = Stream.from_env().as_async()
    call = client.video.call("default", "your-call-id")

    connection = await rtc.join(
        call,
        user_id="assistant-bot",
        subscription_config=GeminiLive.subscription_config(),
    )

    @connection.on("audio")
    async def on_audio(pcm: PcmData):
        await gemini.send_audio_pcm(pcm, target_rate=48000)

    @connection.on("track_added")
    async def _on_track_added(track_id, kind, user):
        if kind == "video" and connection.subscriber_pc:
            track = connection.subscriber_pc.add_track_subscriber(track_id)
            if track:
                await gemini.start_video_sender(track, fps=2)

    async with connection:
        await connection.add_tracks(audio=gemini.output_track)
        # Those who were in the call before are not subscribed to by themselves.
        await connection.republish_tracks()

        await gemini.send_text("Give a short greeting to the participants.")

        while True:
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main())
