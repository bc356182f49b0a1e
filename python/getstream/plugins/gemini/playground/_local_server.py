"""Serve as the local Gemini Live server of a playground, as a program.

It writes a JSON line when it is ready, reads one for each fault from stdin, and writes what became
of it. It ends when its stdin does, so it never outlives its parent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from .._terminal import one_line
from ..testing import LocalGemini, Parrot, Turn
from ._faults import inject

__all__ = ["main"]


async def _serve(wav: Path | None, text: str) -> None:
    greeting = Turn(text=text) if wav is None else Turn.from_wav(wav, text)
    loop = asyncio.get_running_loop()
    orders: asyncio.Queue[str] = asyncio.Queue()  # as many as somebody clicks

    def read_orders() -> None:
        # A thread: not every event loop can read the stdin that it is given.
        for line in sys.stdin:
            loop.call_soon_threadsafe(orders.put_nowait, line)
        loop.call_soon_threadsafe(orders.put_nowait, "")

    async with LocalGemini(Parrot(greeting)) as server:
        print(json.dumps({"env": server.env}), flush=True)
        threading.Thread(target=read_orders, name="orders", daemon=True).start()
        while line := await orders.get():
            order: dict[str, Any] = json.loads(line)
            done = await inject(server, order["fault"])
            print(json.dumps({"id": order["id"], "done": done}), flush=True)


def main() -> int:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wav", type=Path)
    parser.add_argument("--text", required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then closes stdin
    try:
        asyncio.run(_serve(options.wav, options.text))
    except Exception as error:
        print(f"{type(error).__name__}: {one_line(str(error))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
