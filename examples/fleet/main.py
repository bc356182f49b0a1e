"""A fleet inside of a program of your own, beside its other routes.

    python main.py CALL_ID

Needs STREAM_API_KEY, STREAM_API_SECRET and GOOGLE_API_KEY.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from aiohttp import web
from app import assistant
from getstream.plugins.gemini.fleet import CallRequest, FileRecords, Limits, LocalFleet

KEYS = ("STREAM_API_KEY", "STREAM_API_SECRET", "GOOGLE_API_KEY")


async def main(call_id: str) -> None:
    fleet = LocalFleet(
        assistant,
        limits=Limits(max_calls=10),
        records=FileRecords("fleet-records"),  # the next start goes on with the calls
    )
    async with fleet:
        app = web.Application()
        app.add_subapp("/fleet", fleet.app(api_secret=os.environ["STREAM_API_SECRET"]))
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(os.environ.get("PORT", "8080"))).start()
        print(f"Webhooks come to {runner.addresses[0]}/fleet/stream", flush=True)

        # Webhooks bring assistants into calls; so does the program itself.
        await fleet.place(CallRequest(f"default:{call_id}", params={"guest": "Anna"}))

        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await stop.wait()
        print(f"leaving {(await fleet.status()).calls} calls")
        await runner.cleanup()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not all(os.environ.get(name) for name in KEYS):
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1]))
