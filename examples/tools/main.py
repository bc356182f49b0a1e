"""Book tables by voice: a slow function, one that fails, and one that is cancelled by speech.

    python main.py my-call

Needs STREAM_API_KEY, STREAM_API_SECRET and GOOGLE_API_KEY. Runs on getstream 7 and 6.1.
"""

import asyncio
import os
import sys
from typing import Annotated

from getstream import Stream
from getstream.plugins.gemini.errors import ToolError
from getstream.plugins.gemini.live import GeminiLive, ToolCancelled, ToolResult, tool
from getstream.video import rtc

KEYS = ("STREAM_API_KEY", "STREAM_API_SECRET", "GOOGLE_API_KEY")
INSTRUCTIONS = "You take bookings for a restaurant. Answer in one sentence."
LARGEST_TABLE = 8


async def free_times(seats: Annotated[int, "how many people come"]) -> list[str]:
    """List the times at which a table is free today."""
    await asyncio.sleep(1.0)  # the booking system is slow; the conversation goes on meanwhile
    return ["18:30", "20:00"]


def book_table(seats: int, time: str) -> str:
    """Book a table for today.

    Args:
        seats: How many people come.
        time: One of the free times.
    """
    if seats > LARGEST_TABLE:
        raise ToolError(f"the largest table has {LARGEST_TABLE} seats; offer two tables")
    return f"{seats} seats at {time}"


async def ask_kitchen(question: str) -> str:
    """Ask the kitchen something; the guest waits for the answer."""
    await asyncio.sleep(15.0)  # nobody comes to the phone; the guest speaks first
    return "yes"


async def main(call_id: str) -> None:
    call = Stream.from_env().as_async().video.call("default", call_id)
    gemini = GeminiLive(
        instructions=INSTRUCTIONS,
        tools=[free_times, book_table, tool(ask_kitchen, timeout_s=30, behavior="BLOCKING")],
    )

    @gemini.on("tool_result")
    def on_result(result: ToolResult) -> None:
        told = result.result if result.error is None else f"failed: {result.error}"
        print(f"{result.tool}: {told}", flush=True)

    @gemini.on("tool_cancelled")
    def on_cancelled(call: ToolCancelled) -> None:
        print(f"{call.tool}: cancelled", flush=True)

    async with gemini:
        connection = await rtc.join(call, user_id="assistant-bot")
        async with connection:
            await gemini.attach(connection)
            await gemini.send_text("Welcome the guest.")
            await connection.wait()  # until the call ends


if __name__ == "__main__":
    if len(sys.argv) != 2 or not all(os.environ.get(name) for name in KEYS):
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1]))
