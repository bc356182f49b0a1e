"""A voice assistant in a Stream call, with video, events and a clean shutdown.

    export STREAM_API_KEY=... STREAM_API_SECRET=... GOOGLE_API_KEY=...
    python main.py --call-id my-call --video

Runs on `getstream` 7 and 6.1. Without keys, see README.md beside this file.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import uuid

from getstream import Stream
from getstream.plugins.gemini.live import GeminiLive, Interrupted, Resumed, Speech, TurnComplete
from getstream.video import rtc

KEYS = ("STREAM_API_KEY", "STREAM_API_SECRET", "GOOGLE_API_KEY")

INSTRUCTIONS = "You are a friendly assistant in a video call. Answer in one or two sentences."
GREETING = "Give a short greeting to the participants."


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A Gemini Live assistant in a Stream call.")
    parser.add_argument("--call-type", default="default")
    parser.add_argument("--call-id", default=os.getenv("CALL_ID") or uuid.uuid4().hex)
    parser.add_argument("--user-id", default="assistant-bot")
    parser.add_argument("--model", help="default: $GEMINI_LIVE_MODEL, else the current model")
    parser.add_argument("--voice", help="a prebuilt voice, such as Kore")
    parser.add_argument("--language", help="a BCP-47 code, such as en-US")
    parser.add_argument("--instructions", default=INSTRUCTIONS)
    parser.add_argument("--greeting", default=GREETING, help="what to ask the model first")
    parser.add_argument("--video", action="store_true", help="let the assistant see, too")
    parser.add_argument("--fps", type=float, default=1.0, help="pictures per second")
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()


def show(text: str) -> None:
    """Print one line of text that others may have written: it must not steer the terminal."""
    print("".join(char if char.isprintable() else " " for char in text), flush=True)


def show_events(gemini: GeminiLive) -> None:
    """Print what happens."""

    @gemini.on("connected")
    def on_connected() -> None:
        print("connected to Gemini Live", flush=True)

    @gemini.on("speech_started")
    def on_speech_started(speech: Speech) -> None:
        show(f"{speech.user_id or 'somebody'} speaks")

    @gemini.on("turn_complete")
    def on_turn_complete(turn: TurnComplete) -> None:
        show(f"assistant: {turn.text.strip()}")

    @gemini.on("interrupted")
    def on_interrupted(cut: Interrupted) -> None:
        print(f"interrupted after {cut.heard_ms / 1000:.1f} s: {cut.heard_text!r}", flush=True)

    @gemini.on("resumed")
    def on_resumed(resumed: Resumed) -> None:
        print(f"connected again after {resumed.gap_ms / 1000:.1f} s", flush=True)

    @gemini.on("error")
    def on_error(error: Exception) -> None:
        show(f"error: {error}")


async def main() -> None:
    arguments = parse_arguments()
    if missing := [name for name in KEYS if not os.environ.get(name)]:
        sys.exit(f"Set {', '.join(missing)}. Without keys, see README.md beside this file.")
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.WARNING)

    # The call ends by Ctrl-C, by SIGTERM, when the session with Gemini is lost, or when somebody
    # ends it.
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)

    call = Stream.from_env().as_async().video.call(arguments.call_type, arguments.call_id)
    gemini = GeminiLive(
        model=arguments.model,
        instructions=arguments.instructions,
        voice=arguments.voice,
        language=arguments.language,
    )
    show_events(gemini)
    gemini.on("closed", stop.set)

    async with gemini:
        # What a connection receives is decided when it is made: without this it is audio only.
        connection = await rtc.join(
            call,
            user_id=arguments.user_id,
            subscription_config=GeminiLive.subscription_config(),
        )
        async with connection:
            connection.on("call_ended", lambda *_: stop.set())
            await gemini.attach(connection, video=arguments.video, fps=arguments.fps)
            print(f"in the call {arguments.call_type}:{arguments.call_id}", flush=True)
            await gemini.send_text(arguments.greeting)
            await stop.wait()

        stats = gemini.stats()
        print(
            f"{stats.turns} turns, {stats.interruptions} interrupted, "
            f"{stats.played_ms / 1000:.1f} s spoken, {stats.video_frames_sent} pictures seen",
            flush=True,
        )


if __name__ == "__main__":
    asyncio.run(main())
