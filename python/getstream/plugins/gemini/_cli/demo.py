"""Command `demo`: a whole call on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import AudioError, GeminiError
from ..testing import LocalGemini, LocalServers, LocalStream, Parrot, Turn, UserTurn
from ..testing.signals import read_wav, write_wav
from . import clips, report
from .clips import Clip, Transcriber
from .display import Display
from .environment import gemini_key, local_environment, real_gemini_environment
from .measure import Call, Measures, ServiceTurn, Utterance, measure
from .narration import ASSISTANT_ID, PERSON_ID, CallNarrator
from .subprocesses import Program

__all__ = ["DemoFailedError", "DemoOptions", "run_demo"]

CALL_ID = "demo"
CALL_RATE = 48_000
OUTPUT_RATE = 24_000  # what Gemini Live speaks

BARGE_IN_S = 2.0
"""Time for which the person listens to the first answer before interrupting it, in seconds."""

GREETED_MS = 800
"""Silence after which the greeting counts as finished."""

GOODBYE_MS = 1000
"""Silence after the last answer before the person leaves."""

STEP_S = 30.0
"""Longest wait of the person for the assistant, at each step, in seconds."""

START_S = 60.0
"""Longest time in which a program starts and joins the call, on a slow machine, in seconds."""

LEAVE_S = 10.0
"""Longest time in which the assistant leaves the call, in seconds."""


class DemoFailedError(GeminiError):
    """The call did not work."""


@dataclass(frozen=True)
class DemoOptions:
    """Options of the command `demo`."""

    input: Path | None = None
    out: Path = Path("demo-out")
    real_gemini: bool = False
    verbose: bool = False


def run_demo(options: DemoOptions) -> int:
    """Hold the call, write the results and print the summary.

    Returns:
        0, or 130 or 143 when it was stopped by SIGINT or SIGTERM.

    Raises:
        ConfigError: no key for `--real-gemini`, no such file, or a folder that cannot be written.
        AudioError: the input cannot be said.
        DemoFailedError: the greeting or every answer was missing; its message gives the reason.
    """
    first = clips.speech() if options.input is None else clips.open_clip(options.input)
    if options.real_gemini:
        gemini_key(os.environ)
    report.prepare_folder(options.out)
    return asyncio.run(_stoppable(options, [first, clips.question()]))


async def _stoppable(options: DemoOptions, said: list[Clip]) -> int:
    demo = asyncio.ensure_future(_run(options, said))
    stopped_by: list[int] = []

    def stop(signum: int) -> None:
        stopped_by.append(signum)
        demo.cancel()

    loop = asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signum = getattr(signal, name, None)
        if signum is not None and signal.getsignal(signum) is not signal.SIG_IGN:  # nohup
            with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt
                loop.add_signal_handler(signum, stop, signum)
    try:
        await demo
    except asyncio.CancelledError:
        if not stopped_by:
            raise
        print("\nstopped", flush=True)
        return 128 + stopped_by[0]
    return 0


async def _run(options: DemoOptions, said: list[Clip]) -> None:
    display = Display()
    narrator = CallNarrator(said, display.tell)
    where = "the real Gemini Live service" if options.real_gemini else "a local Gemini Live server"
    model = "answers" if options.real_gemini else "repeats what it hears"
    display.write(
        f"A call on this machine: a local Stream backend and {where}.\n"
        f"A person speaks, the model {model}, the person interrupts it.\n"
    )
    with tempfile.TemporaryDirectory(prefix="gemini-demo-") as folder:
        with display.following(narrator):
            call, complaints = await _hold_call(options, said, narrator, Path(folder))
        report.keep_recording(Path(folder) / report.RECORDED, options.out)
    # After the call: nothing is late any more when this takes its time.
    measures = measure(call)
    numbers = report.summary(call, measures, gemini="real" if options.real_gemini else "local")
    report.write_report(options.out, call, measures, numbers)
    failure = _what_failed(measures)
    headline = "The call did not work." if failure else "The call worked."
    display.write(f"\n{headline}\n\n{report.printed_summary(numbers, options.out)}")
    if failure:
        raise DemoFailedError(failure + complaints)


def _what_failed(measures: Measures) -> str:
    """Return the reason for which the call counts as failed; empty if it does not."""
    if measures.greeting is None:
        return "the person never heard the assistant's greeting"
    if not measures.answers:
        return "the person heard the greeting, but no answer"
    return ""


def script(first: Clip) -> str:
    """Return the steps of the person's program: listen, say, interrupt, listen, leave.

    The interruption comes after `BARGE_IN_S` of the answer, or in its middle if the answer, which
    lasts as long as the person's speech, is shorter than twice that.
    """
    barge_in = min(BARGE_IN_S, first.speech_seconds / 2)
    return (
        f"hear;silence:{GREETED_MS};say:0;hear;pause:{barge_in * 1000:.0f};say:1;"
        f"hear;silence:{GOODBYE_MS};leave"
    )


async def _hold_call(
    options: DemoOptions, said: list[Clip], narrator: CallNarrator, folder: Path
) -> tuple[Call, str]:
    """Run the servers in this process, and the person and the assistant in processes of their own.

    Returns:
        The call, and the last lines of the assistant's stderr, for an error message.
    """
    async with AsyncExitStack() as stack:
        gemini: LocalGemini | None = None
        if options.real_gemini:
            stream = await stack.enter_async_context(LocalStream())
            assistant_env = real_gemini_environment(os.environ, stream.env)
        else:
            gemini = _parrot(said)
            servers = await stack.enter_async_context(LocalServers(gemini))
            stream = servers.stream
            assistant_env = local_environment(os.environ, servers.env)
        person = Program(
            PERSON_ID,
            "getstream.plugins.gemini.testing.person",
            [
                *("--call", CALL_ID, "--user", PERSON_ID, "--out", str(folder)),
                *("--script", script(said[0]), "--timeout", str(STEP_S)),
                *(option for path in _as_wav(said, folder) for option in ("--speech", str(path))),
            ],
            local_environment(os.environ, stream.env),
            narrator.on_person,
            echo=options.verbose,
        )
        assistant = Program(
            "assistant",
            "getstream.plugins.gemini",
            [
                *("join", CALL_ID, "--user-id", ASSISTANT_ID, "--events-json"),
                *("--record", str(folder / report.RECORDED)),
                *(("--verbose",) if options.verbose else ()),
            ],
            assistant_env,
            narrator.on_assistant,
            echo=options.verbose,
        )
        narrator.setup("the servers run; the person joins, then the assistant")
        # Each step of the person is bounded, and so is the whole.
        longest = sum(clip.seconds for clip in said) + 5 * STEP_S
        await _converse(stack, person, assistant, longest)
        return _read_call(folder, said, person, assistant, gemini), _last_words(assistant)


def _as_wav(said: Sequence[Clip], folder: Path) -> list[Path]:
    """Write the clips as the person's program reads them: WAV, whatever the user's file is."""
    paths = []
    for number, clip in enumerate(said):
        paths.append(folder / f"speech-{number}.wav")
        write_wav(paths[-1], clip.samples, clip.rate)
    return paths


async def _converse(
    stack: AsyncExitStack, person: Program, assistant: Program, longest: float
) -> None:
    """Hold the call. The person joins first, since a greeting is not repeated for latecomers."""
    await stack.enter_async_context(person)
    await _in_call(person, "ready")
    await stack.enter_async_context(assistant)
    await _in_call(assistant, "joined")
    ends = {asyncio.ensure_future(program.wait()): program for program in (person, assistant)}
    try:
        await asyncio.wait(ends, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
        ended = [program for future, program in ends.items() if future.done()]
    finally:
        for future in ends:
            future.cancel()
    if not ended:
        raise _failed(person, f"was not done within {longest:.0f} s")
    if person not in ended:
        raise _failed(assistant, "ended in mid-call")
    code = await person.wait()
    if code:
        reason = next((e["message"] for e in person.events if e.get("event") == "error"), "")
        await assistant.interrupt(LEAVE_S)
        raise _failed(assistant, f"left the person waiting: {reason or person.tail()}")
    code = await assistant.interrupt(LEAVE_S)
    if code:
        raise _failed(assistant, f"did not leave the call cleanly (exit code {code})")


async def _in_call(program: Program, sign: str) -> None:
    """Wait until a program reports that it is in the call."""
    try:
        event = await asyncio.wait_for(program.wait_event(sign), START_S)
    except asyncio.TimeoutError:
        raise _failed(program, f"was not in the call within {START_S:.0f} s") from None
    if event is None:
        code = await program.wait()
        raise _failed(program, f"ended before it was in the call (exit code {code})")


def _failed(program: Program, what: str) -> DemoFailedError:
    return DemoFailedError(f"the program of the {program.name} {what}{_last_words(program)}")


def _last_words(program: Program) -> str:
    tail = program.tail()
    return f"\n  the last lines on stderr of the {program.name}:\n{tail}" if tail else ""


def _parrot(said: Sequence[Clip]) -> LocalGemini:
    """Make a local Gemini Live server that greets with a voice, and then repeats each utterance.

    It does not recognize speech: it knows the transcripts of the clips.
    """
    transcriber = Transcriber(said)

    def transcribe(turn: UserTurn) -> str:
        return transcriber(turn.audio, turn.rate)

    greeting = Turn.from_wav(clips.data_file("greeting.wav"), clips.GREETING_TEXT)
    return LocalGemini(Parrot(greeting), transcribe=transcribe)


def _read_call(
    folder: Path,
    said: Sequence[Clip],
    person: Program,
    assistant: Program,
    gemini: LocalGemini | None,
) -> Call:
    """Combine the records of the two programs.

    The recording begins when the assistant is in the call: before that the person waited for the
    start of a program.
    """
    try:
        said_wav, _ = read_wav(folder / "said.wav")
        heard_wav, _ = read_wav(folder / "heard.wav")
    except (OSError, AudioError) as error:
        raise _failed(person, f"left no recording ({error})") from error
    person_zero = _time_of(person.events, "joined", "started_at")
    zero = _time_of(assistant.events, "joined", "t")
    skip = min(round((zero - person_zero) * CALL_RATE), len(said_wav))
    shift = skip / CALL_RATE
    starts = [float(e["t"]) - shift for e in person.events if e["event"] == "say_started"]
    ends = [float(e["t"]) - shift for e in person.events if e["event"] == "say_stopped"]
    return Call(
        said=np.ascontiguousarray(said_wav[skip:]),
        heard=np.ascontiguousarray(heard_wav[skip:]),
        rate=CALL_RATE,
        started_at=person_zero + shift,
        utterances=[
            Utterance(start, end, clip.text)
            for start, end, clip in zip(starts, ends, said, strict=False)
        ],
        events=assistant.events,
        service=_service_turns(gemini),
        parrot=gemini is not None,
    )


def _service_turns(gemini: LocalGemini | None) -> list[ServiceTurn]:
    """Return the turns that the local service sent; those of the real one are not known."""
    if gemini is None:
        return []
    turns = []
    for spoken in (turn for session in gemini.sessions for turn in session.spoken):
        span = clips.loud_span(spoken.pcm, OUTPUT_RATE)
        if span is not None:
            turns.append(ServiceTurn(spoken.started_at, span[0] / OUTPUT_RATE))
    return turns


def _time_of(events: Sequence[dict[str, Any]], name: str, key: str) -> float:
    return float(next(event[key] for event in events if event["event"] == name))
