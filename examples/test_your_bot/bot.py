"""A bot to be tested: any program that joins a call with the Stream SDK will do.

    python bot.py my-call

Needs STREAM_API_KEY, STREAM_API_SECRET and GOOGLE_API_KEY. Runs on getstream 7 and 6.1.
"""

import asyncio
import sys

from getstream import Stream
from getstream.plugins.gemini.live import GeminiLive
from getstream.video import rtc


async def main(call_id: str) -> None:
    call = Stream.from_env().as_async().video.call("default", call_id)
    async with GeminiLive() as gemini:
        connection = await rtc.join(call, user_id="my-bot")
        async with connection:
            await gemini.attach(connection)
            await gemini.send_text("Greet the participants.")
            await connection.wait()  # until the call ends


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
