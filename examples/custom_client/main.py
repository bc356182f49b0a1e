"""Bring your own `google.genai.Client`: a proxy, Vertex AI, or other HTTP options.

    python main.py my-call

Needs STREAM_API_KEY, STREAM_API_SECRET and GOOGLE_API_KEY. Runs on getstream 7 and 6.1.
"""

import asyncio
import os
import sys

from getstream import Stream
from getstream.plugins.gemini.live import GeminiLive
from getstream.video import rtc
from google import genai
from google.genai import types

KEYS = ("STREAM_API_KEY", "STREAM_API_SECRET", "GOOGLE_API_KEY")


async def main(call_id: str) -> None:
    call = Stream.from_env().as_async().video.call("default", call_id)
    # GeminiLive uses the client as it is, and leaves closing it to you. For Vertex AI:
    # genai.Client(vertexai=True, project="my-project", location="us-central1")
    client = genai.Client(
        http_options=types.HttpOptions(
            api_version="v1beta",
            headers={"x-goog-request-reason": "voice-assistant"},
        )
    )
    try:
        async with GeminiLive(client=client) as gemini:
            connection = await rtc.join(call, user_id="assistant-bot")
            async with connection:
                await gemini.attach(connection)
                await gemini.send_text("Greet the participants.")
                await connection.wait()  # until the call ends
    finally:
        await client.aio.aclose()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not all(os.environ.get(name) for name in KEYS):
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1]))
