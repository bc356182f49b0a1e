"""A person in a call as a program of its own: speaks recorded speech, records what is heard.

    python -m getstream.plugins.gemini.testing.person --call demo --speech question.wav \\
        --script "hear;silence:600;say:0;hear;silence:1500;leave" --out recordings

Joins with the real Stream SDK (STREAM_API_KEY, STREAM_API_SECRET, and STREAM_BASE_URL if set),
does the steps of the script, and prints what happens as JSON lines: `t` in seconds on the person's
clock, `event`, and what belongs to it. Without a script it listens until the call ends or it is
stopped; `--help` lists the steps. At the end, also when it is stopped, it writes `said.wav` and
`heard.wav`, which lie side by side on that clock, and `events.jsonl`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._terminal import one_line
from ..errors import GeminiError
from ._person import Camera, Person, SeenFrame, Speech, Utterance, read_frame_number
from ._person.person import to_microphone_rate
from ._person.script import STEPS, WITHOUT_ARGUMENT, ScriptError, Step, parse_script, run_script
from .signals import write_wav

__all__ = ["Camera", "Person", "SeenFrame", "Speech", "Utterance", "main", "read_frame_number"]

_RATE = 48_000

_KEYS = ("STREAM_API_KEY", "STREAM_API_SECRET")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status.

    0: the script is done, or the call ended while there was none. 1: a step failed, or the call
    could not be joined. 2: the command line is wrong. 130 and 143: stopped by SIGINT or SIGTERM.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    missing = [name for name in _KEYS if not os.environ.get(name, "").strip()]
    if missing:
        print(
            f"error: no keys for Stream: set {' and '.join(missing)}, or run the person by "
            "`python -m getstream.plugins.gemini.testing -- ...`, on a local backend",
            file=sys.stderr,
        )
        return 1
    try:
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
        speeches = [to_microphone_rate(path, _RATE) for path in options.speech]
        steps = parse_script(options.script, len(speeches))
    except (ScriptError, GeminiError, OSError, ValueError) as error:
        parser.error(str(error))
    return asyncio.run(_run(options, steps, speeches))


_EXAMPLE = """\
example:
  python -m getstream.plugins.gemini.testing.person --call demo --speech question.wav \\
      --script "hear;silence:600;say:0;hear;silence:1500;leave" --out recordings"""


def _parser() -> argparse.ArgumentParser:
    steps = "\n".join(
        f"  {name if name in WITHOUT_ARGUMENT else name + ':N':12}  {what}"
        for name, what in STEPS.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m getstream.plugins.gemini.testing.person",
        description=(__doc__ or "").split("\n", 1)[0],
        epilog=f"steps of --script, separated by semicolons:\n{steps}\n\n{_EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--call", required=True, metavar="ID", help="id of the call")
    add("--call-type", default="default", metavar="TYPE", help="type of the call")
    add("--user", default="person", metavar="ID", help="user id of the person")
    add("--speech", action="append", default=[], metavar="WAV", help="what can be said; repeatable")
    add("--script", default="", metavar="STEPS", help="what to do; see below")
    add("--out", type=Path, metavar="DIR", help="write said.wav, heard.wav and events.jsonl there")
    add("--timeout", type=_positive, default=30.0, metavar="S", help="seconds that a step may wait")
    add("--video", type=_fps, default=0.0, metavar="FPS", help="publish a synthetic picture")
    add(
        "--video-size",
        type=_size,
        default=(320, 240),
        metavar="WxH",
        help="size of that picture in pixels",
    )
    add(
        "--sends",
        choices=("as_sdk", "as_browser"),
        default="as_sdk",
        help="who makes the packets of the microphone; as_browser has DTX and can share",
    )
    add("--receive-video", action="store_true", help="subscribe to the video of others")
    return parser


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError("must be WIDTHxHEIGHT in pixels, such as 320x240")
    return int(width), int(height)


def _positive(text: str) -> float:
    value = _fps(text)
    if not value:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def _fps(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError("must be a number, 0 or more")
    return value


async def _run(options: argparse.Namespace, steps: list[Step], speeches: list[Any]) -> int:
    person = Person(
        options.call,
        options.user,
        call_type=options.call_type,
        receive_video=options.receive_video,
        sends=options.sends,
        on_event=_print_event,
    )

    def report(event: str, **details: Any) -> None:
        entry = {"t": round(person.now, 4), "event": event, **details}
        person.events.append(entry)
        _print_event(entry)

    async def converse() -> None:
        await person.join()
        if options.video:
            await person.publish_video(options.video, options.video_size)
        if steps:
            on_step = lambda step: report("step", step=str(step))  # noqa: E731
            await run_script(person, steps, speeches, timeout=options.timeout, on_step=on_step)
        else:
            await person.wait_ended()

    loop = asyncio.get_running_loop()
    conversation = asyncio.create_task(converse())
    stopped_by: list[signal.Signals] = []

    def stop(signum: signal.Signals) -> None:
        stopped_by.append(signum)
        conversation.cancel()

    for signum in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(signum, stop, signum)
        except NotImplementedError:  # Windows: Ctrl-C raises KeyboardInterrupt instead
            break
    status = 0
    try:
        await conversation
    except (ScriptError, GeminiError) as error:
        report("error", message=str(error))
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        status = 1
    except asyncio.CancelledError:
        if not stopped_by:
            raise
        report("stopped", signal=stopped_by[0].name)
        status = 128 + stopped_by[0]
    finally:
        await person.leave()
        if options.out is not None:
            _write(person, options.out)
    return status


def _write(person: Person, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    recording = person.recording()
    write_wav(folder / "said.wav", recording[:, 0].copy(), _RATE)
    write_wav(folder / "heard.wav", recording[:, 1].copy(), _RATE)
    lines = "".join(json.dumps(event) + "\n" for event in person.events)
    (folder / "events.jsonl").write_text(lines, encoding="utf-8")


def _print_event(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main())
