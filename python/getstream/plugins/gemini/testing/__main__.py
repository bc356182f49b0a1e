"""`python -m getstream.plugins.gemini.testing [-- PROGRAM ...]`: both local servers.

With a program, runs it against fresh servers and ends with its exit code: 127 if there is no such
program, 126 if it cannot be run, as of a shell. Without one, prints the variables to export and
serves until it is interrupted. `load` loads a fleet with calls.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys

from .._terminal import one_line
from ._servers import LocalServers

NO_PROGRAM, NOT_RUNNABLE = 127, 126
"""Exit codes of a shell (POSIX, Shell Command Language, section 2.8.2)."""

_EPILOG = """\
examples:
  python -m getstream.plugins.gemini.testing -- python my_bot.py
  python -m getstream.plugins.gemini.testing    # prints what to export, and serves
  python -m getstream.plugins.gemini.testing load app:assistant --calls 2:40

`load --help` tells more of the last one."""


async def _run(program: list[str]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with LocalServers() as servers:
        if not program:
            for name, value in servers.env.items():
                print(f"export {name}={shlex.quote(value)}")
            print("# serving; Ctrl-C ends", flush=True)
            await stop.wait()
            return 0
        try:
            process = await asyncio.create_subprocess_exec(
                *program, env=servers.environment(), start_new_session=True
            )
        except (OSError, ValueError) as error:
            return _not_started(program[0], error)
        ended = asyncio.ensure_future(process.wait())
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ended.done():
            process.send_signal(signal.SIGINT)  # the servers outlive the program
        code = await ended
        return code if code >= 0 else 128 - code


def _not_started(name: str, error: Exception) -> int:
    is_missing = isinstance(error, FileNotFoundError)
    why = "there is no such program" if is_missing else getattr(error, "strerror", str(error))
    advice = ""
    if name.endswith(".py"):
        advice = f"; run a Python file as `python {one_line(name)}`"
    print(f"error: {one_line(name)} cannot be run: {why}{advice}", file=sys.stderr)
    return NO_PROGRAM if is_missing else NOT_RUNNABLE


def main() -> int:
    """Run the program; returns its exit status."""
    if sys.argv[1:2] == ["load"]:
        from ._load import command

        return command.main(sys.argv[2:])
    parser = argparse.ArgumentParser(
        prog="python -m getstream.plugins.gemini.testing",
        description="A local Gemini Live server and a local Stream backend.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("program", nargs="*", help="a program to run against them, after `--`")
    return asyncio.run(_run(parser.parse_args().program))


if __name__ == "__main__":
    sys.exit(main())
