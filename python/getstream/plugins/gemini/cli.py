"""The command line: `getstream-gemini`, or `python -m getstream.plugins.gemini`.

    getstream-gemini demo                  a whole call on this machine, without any key
    getstream-gemini playground            talk to the assistant in a browser, without any key
    getstream-gemini join my-call          the assistant in a real call
    getstream-gemini serve app:assistant   assistants for every call of your Stream app
    getstream-gemini drain                 move the calls of a fleet on Ray to other workers
    getstream-gemini manifests             files to deploy a fleet with
    getstream-gemini test scenarios.toml   your own bot in calls on this machine
    getstream-gemini doctor                whether this machine and the way to the services will do
    getstream-gemini report DIR            one page of a recorded session, to see and hear

Exit codes: 0 done; 1 it failed, and the last line on stderr says why (`test`: a scenario failed);
2 the command line is wrong, or the file of `test`; 3 `doctor` has found a service that is not as
believed; 130 and 143 `demo` was stopped by Ctrl-C or SIGTERM. (`join` and `serve` are meant to be
stopped: they leave their calls and end with 0.)
"""

from __future__ import annotations

import argparse
import io
import logging
import math
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ._terminal import TerminalFormatter, format_exception, one_line, printable_lines
from .errors import CallError, ConfigError, GeminiError, SessionError

__all__ = ["main"]

PROGRAM = "getstream-gemini"

TESTING_PACKAGES = frozenset({"aiohttp", "cryptography", "google.protobuf", "pylibsrtp", "OpenSSL",
                              "tomli"})  # fmt: skip
"""Modules of the extra `testing` besides `trustme`."""

INSTRUCTIONS = "You are a friendly assistant in a call. Answer in one or two sentences."
GREETING = "Give a short greeting to the participants."

DEMO = """\
Hold a call on this machine, without any key: a local Stream backend, a local
Gemini Live server, the assistant (`join`, as for a real call) and a person who
speaks recorded speech. The person hears the greeting, says something,
interrupts the answer, hears the next one and leaves. The local model answers
with the person's own words, so that what comes back can be measured.

DIR gets conversation.wav (left the person, right the assistant as the person
heard it), timeline.svg (a picture of the call), summary.json (the numbers),
recording/ (what the assistant has recorded of the session) and report.html (one
page of that, to see and hear in a browser)."""

DEMO_EPILOG = """\
examples:
  getstream-gemini demo
  getstream-gemini demo --input my-question.mp3 --out my-demo

environment:
  GOOGLE_API_KEY, GEMINI_API_KEY    for --real-gemini only
  NO_COLOR                          plain lines instead of the live display

The exit code is 0 if the greeting and an answer were heard, else 1; 130 after
Ctrl-C."""

PLAYGROUND = """\
Serve a page on this machine on which you talk to the assistant, with your
microphone and loudspeaker, and open it in a browser. It shows both voices,
what was said and heard, delays, and what happens in the session. Without a key
a local server repeats you, and can be made to fail; with one it is the real
Gemini Live. A Stream account is not needed. Ctrl-C ends it."""

PLAYGROUND_EPILOG = """\
examples:
  getstream-gemini playground
  getstream-gemini playground my_bot:make_assistant    # a function that returns a GeminiLive

environment:
  GOOGLE_API_KEY or GEMINI_API_KEY    for the real Gemini Live
  GEMINI_LIVE_MODEL                   its model, unless the function names one

Only browsers on this machine reach the page, and only with the address that is
printed: it holds a token. Use headphones, or leave echo cancellation on."""

JOIN = """\
Put the assistant into a Stream call, and print a link to join that call in a
browser. Ctrl-C (or SIGTERM) leaves the call."""

JOIN_EPILOG = """\
examples:
  getstream-gemini join my-call
  getstream-gemini join my-call --voice Kore --video --record recordings/monday

environment:
  STREAM_API_KEY, STREAM_API_SECRET    from https://dashboard.getstream.io
  GOOGLE_API_KEY or GEMINI_API_KEY     from https://aistudio.google.com/apikey
  GEMINI_LIVE_MODEL                    the model, unless --model names one

The exit code is 0 when the call has ended or was left, else 1.

With --events-json, every line on stdout is one JSON object: "t" is
time.monotonic() in seconds, "event" is connected, joined, levels,
speech_started, speech_stopped, audio_started, text, turn_complete,
interrupted, error, left, closed or, last of all, stats. No link is made then."""


SERVE = """\
Put assistants into calls: answer the webhooks of your Stream app, and run the
assistant function for each call that somebody joins, all of them in this
process. Ctrl-C (or SIGTERM) leaves each call when nobody speaks in it."""

SERVE_EPILOG = """\
examples:
  getstream-gemini serve app:assistant
  getstream-gemini serve app:assistant --port 8080 --records fleet-records

app.py:
  from getstream.plugins.gemini import GeminiLive

  async def assistant(seat):
      async with GeminiLive(instructions="...", resume=seat.resume) as gemini:
          async with await seat.join() as connection:
              await gemini.attach(connection)
              if seat.reason == "new":
                  await gemini.send_text("Greet the participants.")
              await seat.follow(gemini, connection)

environment:
  STREAM_API_KEY, STREAM_API_SECRET    needed; they also verify the webhooks
  GOOGLE_API_KEY or GEMINI_API_KEY     needed, unless the function brings a key
  FLEET_TOKEN                          the token of the API; without, it is off

On the dashboard of your app, let the webhook point to POST /stream. Other
requests: POST and GET /calls, DELETE /calls/CID, POST /drain, GET /healthz,
/readyz and /metrics."""


DRAIN = """\
Replace the workers of a fleet on Ray, one after the other: their calls move to
other workers, each when nobody speaks in it. With --this-node, Ray also starts
no other worker on this machine: for a preStop hook, before a node goes."""

DRAIN_EPILOG = """\
examples:
  getstream-gemini drain
  getstream-gemini drain --this-node --wait 600

environment:
  RAY_ADDRESS    the cluster; without, the one that this machine belongs to

The exit code is 0 when all calls have moved, 1 when the time was up before. A
fleet that `serve --workers` runs without a cluster is drained by POST /drain."""


MANIFESTS = """\
Print a file to deploy a fleet with, to be read and changed: an image, Docker
Compose, or Kubernetes with KubeRay. Without a name, print which there are."""

MANIFESTS_EPILOG = """\
example:
  getstream-gemini manifests kuberay.yaml > fleet.yaml"""


DOCTOR = """\
Check this machine and the way to the services: versions, keys (never shown),
model, audio core, DNS, proxy and TLS, the clock, whether the keys open the
services, and, in ten seconds of a call on local servers, whether the machine is
fast enough. Each finding comes with what to do.

With --live, check instead what this package believes of Gemini Live and of
Stream against the real services, with your keys: what ends a turn, when
resumption handles come, what follows an interruption, and so on. It says what
that costs before it starts, and asks. FILE gets a report without keys, handles
and transcripts, to be attached to an issue."""

DOCTOR_EPILOG = """\
examples:
  getstream-gemini doctor
  getstream-gemini doctor --no-call --json
  getstream-gemini doctor --live --yes

environment:
  GOOGLE_API_KEY or GEMINI_API_KEY     needed for --live
  STREAM_API_KEY, STREAM_API_SECRET    without, nothing of Stream is checked
  GEMINI_LIVE_MODEL                    the model, unless --model names one

The exit code is 0 if nothing was found that keeps the assistant from working
(with --live: if all that could be checked holds), 1 if something was, or if
nothing could be checked (--live: no key, no network, a key or model that is
refused), 3 if --live found something that does not hold."""


REPORT = """\
Make one HTML file of a recorded session, which needs nothing else and asks
nobody for anything: both voices to see and to hear, every turn with what was
heard of it, delays and their parts, tools, connection and counters. It also
reads a recording that was cut off, by a full disk or a killed program.

DIR is what was given to GeminiLive as record=; `demo` leaves one, too."""

REPORT_EPILOG = """\
example:
  getstream-gemini report recordings/monday -o monday.html

The page holds what people said: treat it as you treat the recording."""

TEST = """\
Test a bot: hold the calls that FILE describes, on this machine and without any
key. In each, the bot runs unchanged against local servers; people speak to it,
hear it, and judge. DIR gets a folder for each scenario: report.json, and a WAV
file for each person (left what was said, right what was heard)."""

TEST_EPILOG = """\
examples:
  getstream-gemini test scenarios.toml
  getstream-gemini test scenarios.toml --only "greets and answers" --out reports

a file:
  [[scenario]]
  name = "greets and answers"
  bot = "my_bot.py"
  steps = [
    { hear_within_s = 15 },
    { say = "question.wav" },
    { hear_within_s = 5, at_least_ms = 500 },
  ]

The exit code is 0 if every scenario passed, 1 if one failed, 2 if FILE cannot
be used, 130 after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (see the module's text)."""
    _open_missing_streams()
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a model says may hold signs that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="replace")
    if logging.lastResort is not None:  # what prints a warning where no logging was set up
        logging.lastResort.setFormatter(TerminalFormatter())
    try:
        return _run(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has gone. Nothing may be written any more, not even by
        # the interpreter's last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if options.verbose:
            print(format_exception(error), file=sys.stderr)
        expected = isinstance(error, GeminiError)
        what = str(error) if expected else _words(error)
        # What a service said, or nobody knows who, is one line. Our own errors may have several.
        ours = expected and not isinstance(error, (CallError, SessionError))
        what = printable_lines(what) if ours else one_line(what)
        advice = "" if expected or options.verbose else " (--verbose shows where)"
        print(f"{PROGRAM}: error: {what}{advice}", file=sys.stderr)
        return 1


def _open_missing_streams() -> None:
    """Give the program somewhere to write where it was started with a stream closed (`>&-`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (to the end)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}"
    return f"{type(error).__name__}: {error}"


def _run(options: argparse.Namespace) -> int:
    # The SDKs take a second to import: --help and a wrong command line do not wait for them.
    try:
        return _run_command(options)
    except ModuleNotFoundError as missing:
        if missing.name == "trustme":  # which says what to install
            raise ConfigError(str(missing)) from None
        if missing.name in TESTING_PACKAGES:
            raise ConfigError(
                f"{options.command} needs a few packages more ({missing.name}): "
                "pip install 'getstream-plugins-gemini[testing]'"
            ) from None
        raise


def _run_command(options: argparse.Namespace) -> int:
    if options.command == "demo":
        from ._cli.demo import DemoOptions, run_demo

        return run_demo(
            DemoOptions(options.input, options.out, options.real_gemini, options.verbose)
        )
    if options.command == "test":
        from ._cli.scenarios import ScenarioOptions, run_test

        return run_test(ScenarioOptions(options.file, options.out, options.only))
    if options.command == "playground":
        from ._cli.playground import PlaygroundOptions, run_playground

        return run_playground(
            PlaygroundOptions(options.assistant, options.port, options.local, not options.no_open)
        )
    if options.command == "serve":
        from ._cli.serve import ServeOptions, run_serve

        return run_serve(
            ServeOptions(
                assistant=options.assistant,
                host=options.host,
                port=options.port,
                user_id=options.user_id,
                workers=options.workers,
                max_workers=options.max_workers,
                max_calls=options.max_calls,
                max_cpu=options.max_cpu,
                call_cpu=options.call_cpu,
                spare_calls=options.spare_calls,
                idle_s=options.idle,
                records=options.records,
                grace_s=options.grace,
                verbose=options.verbose,
            )
        )
    if options.command == "drain":
        from ._cli.serve_on_ray import DrainOptions, run_drain

        return run_drain(DrainOptions(options.this_node, options.wait))
    if options.command == "manifests":
        from ._cli.manifests import run_manifests

        return run_manifests(options.name)
    if options.command == "doctor":
        from ._cli.doctor import DoctorOptions, run_doctor

        return run_doctor(
            DoctorOptions(
                live=options.live,
                yes=options.yes,
                model=options.model,
                out=options.out,
                json=options.json,
                call=not options.no_call,
            )
        )
    if options.command == "report":
        from ._cli.view import ReportOptions, run_report

        return run_report(ReportOptions(options.folder, options.out))
    from ._cli.join import JoinOptions, run_join

    return run_join(
        JoinOptions(
            call_id=options.call_id,
            call_type=options.call_type,
            user_id=options.user_id,
            model=options.model,
            voice=options.voice,
            language=options.language,
            instructions=options.instructions,
            greeting=options.greeting,
            video=options.video,
            events_json=options.events_json,
            record=options.record,
            verbose=options.verbose,
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Gemini Live, speech to speech, in Stream video calls.",
        epilog=f"`{PROGRAM} COMMAND --help` says more. Begin with `demo`: it needs no key.",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = _command(commands, "demo", "a whole call on this machine, without any key", DEMO)
    demo.epilog = DEMO_EPILOG
    add = demo.add_argument
    add("--input", type=Path, metavar="FILE", help="what the person says first: any audio file, "
        "or the sound of a video, up to 60 s (default: a sentence of the package)")  # fmt: skip
    add("--out", type=Path, default=Path("demo-out"), metavar="DIR",
        help="where the results go (default: %(default)s)")  # fmt: skip
    add("--real-gemini", action="store_true",
        help="the real Gemini Live service instead of the local one; needs a key")  # fmt: skip
    add("--verbose", action="store_true", help="show what the programs log, and tracebacks")

    playground = _command(
        commands, "playground", "talk to the assistant in a browser, without any key", PLAYGROUND
    )
    playground.epilog = PLAYGROUND_EPILOG
    add = playground.add_argument
    add("assistant", nargs="?", type=_text, metavar="MODULE:FUNCTION",
        help="what makes the assistant (default: a plain GeminiLive)")  # fmt: skip
    add("--local", action="store_true", help="the local server, even where a key is set")
    add("--port", type=_port, default=0, help="default: a free one")
    add("--no-open", action="store_true", help="do not open a browser")
    add("--verbose", action="store_true", help="show tracebacks")

    join = _command(commands, "join", "the assistant in a real call", JOIN)
    join.epilog = JOIN_EPILOG
    add = join.add_argument
    add("call_id", type=_text, metavar="CALL_ID", help="the call; it is created if there is none")
    add("--call-type", type=_text, default="default", metavar="TYPE", help="default: %(default)s")
    add("--user-id", type=_text, default="assistant-bot", metavar="ID",
        help="who the assistant is in the call (default: %(default)s)")  # fmt: skip
    add("--model", type=_text, help="default: $GEMINI_LIVE_MODEL, else the current model")
    add("--voice", type=_text, help="a prebuilt voice, such as Kore")
    add("--language", type=_text, metavar="CODE", help="a BCP-47 code, such as en-US")
    add("--instructions", type=_text, default=INSTRUCTIONS, metavar="TEXT",
        help="the system instruction (default: %(default)s)")  # fmt: skip
    add("--greeting", default=GREETING, metavar="TEXT",
        help='what to ask the model first; "" for nothing (default: %(default)s)')  # fmt: skip
    add("--video", action="store_true", help="let the assistant see, too")
    add("--events-json", action="store_true", help="print events as JSON lines, and nothing else")
    add("--record", type=Path, metavar="DIR", help="record the session there; see `report`")
    add("--verbose", action="store_true", help="log more, and show tracebacks")

    serve = _command(commands, "serve", "assistants for every call of your Stream app", SERVE)
    serve.epilog = SERVE_EPILOG
    add = serve.add_argument
    add("assistant", type=_text, metavar="MODULE:FUNCTION", help="an async function of one call")
    add("--host", type=_text, default="127.0.0.1", help="default: %(default)s")
    add("--port", type=_port, default=8080, help="default: %(default)s; 0 for a free one")
    add("--user-id", type=_text, default="assistant", metavar="ID",
        help="who the assistants are in the calls (default: %(default)s)")  # fmt: skip
    add("--workers", type=int, metavar="N",
        help="so many processes on Ray, at least (default: this process, without Ray)")  # fmt: skip
    add("--max-workers", type=int, metavar="N", help="and at most")
    add("--max-calls", type=int, metavar="N", help="calls in one process (default: by its CPU)")
    add("--max-cpu", type=float, metavar="CORES", help="cores that a process may use")
    add("--call-cpu", type=float, metavar="CORES", help="cores that a new call is taken to use")
    add("--spare-calls", type=int, metavar="N", help="calls for which there is always room")
    add("--idle", type=float, metavar="S", help="seconds after which an idle process is ended")
    add("--records", type=_text, default="memory", metavar="WHERE",
        help="where what resumes the calls is kept: memory, a folder, or redis://... "
        "(default: %(default)s)")  # fmt: skip
    add("--grace", type=_seconds, default=20.0, metavar="S",
        help="seconds for calls to come to rest at the end (default: %(default)g)")  # fmt: skip
    add("--verbose", action="store_true", help="log more, and show tracebacks")

    drain = _command(commands, "drain", "move the calls of a fleet on Ray to other workers", DRAIN)
    drain.epilog = DRAIN_EPILOG
    add = drain.add_argument
    add("--this-node", action="store_true",
        help="the workers of this machine only, which is about to go")  # fmt: skip
    add("--wait", type=_seconds, default=600.0, metavar="S",
        help="seconds to wait for the calls to move (default: %(default)g)")  # fmt: skip
    add("--verbose", action="store_true", help="show tracebacks")

    manifests = _command(commands, "manifests", "files to deploy a fleet with", MANIFESTS)
    manifests.epilog = MANIFESTS_EPILOG
    add = manifests.add_argument
    add("name", nargs="?", type=_text, metavar="NAME", help="the file to print")
    add("--verbose", action="store_true", help="show tracebacks")

    test = _command(commands, "test", "your own bot in calls on this machine", TEST)
    test.epilog = TEST_EPILOG
    add = test.add_argument
    add("file", type=Path, metavar="FILE", help="scenarios in TOML")
    add("--out", type=Path, default=Path("scenario-reports"), metavar="DIR",
        help="where the reports go (default: %(default)s)")  # fmt: skip
    add("--only", type=_text, metavar="NAME", help="run the scenario of this name only")
    add("--verbose", action="store_true", help="show tracebacks")

    doctor = _command(
        commands, "doctor", "whether this machine and the services will do, and what to do", DOCTOR
    )
    doctor.epilog = DOCTOR_EPILOG
    add = doctor.add_argument
    add("--live", action="store_true", help="check the real services: three minutes, a few cents")
    add("--no-call", action="store_true", help="do not measure a call on this machine")
    add("--json", action="store_true", help="print one JSON document, and nothing else")
    add("--yes", action="store_true", help="agree to what it costs, without being asked")
    add("--model", type=_text, help="a Live model without extended thinking "
        "(default: $GEMINI_LIVE_MODEL, else gemini-3.8-live)")  # fmt: skip
    add("--out", type=Path, default=Path("doctor-report.json"), metavar="FILE",
        help="where the report of --live goes (default: %(default)s)")  # fmt: skip
    add("--verbose", action="store_true", help="show tracebacks")

    report = _command(commands, "report", "one page of a recorded session, to see and hear", REPORT)
    report.epilog = REPORT_EPILOG
    add = report.add_argument
    add("folder", type=Path, metavar="DIR", help="the recording")
    add("-o", "--out", type=Path, metavar="FILE", help="the page (default: DIR/report.html)")
    add("--verbose", action="store_true", help="show tracebacks")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    description: str,
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _text(value: str) -> str:
    if not value.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return value


def _port(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) < 1 << 16):
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return int(value)


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError("must be a number of seconds")
    return seconds


def _version() -> str:
    names = ("getstream-plugins-gemini", "getstream", "google-genai")
    return ", ".join([*map(_installed, names), f"CPython {platform.python_version()}"])


def _installed(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} (not installed)"
