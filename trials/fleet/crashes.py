"""Trials: a worker, the control, or both are killed in mid-speech, or a worker hangs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .hearing import JOINED_S, Span, gap_after, longest_pause, within
from .memory import Memory, compare
from .presence import Presence
from .stage import Program, Served, Stage, TrialError, holder
from .verdicts import Goal, Result, none_of, quantile, so_often, spread, worst

KILL_S, HANG_S, BOTH_S = 1.5, 10.0, 10.0
"""Goals: the longest time until the assistant is heard again."""

INTO_THE_ANSWER_S = 0.3, 1.5
"""Time into an answer of three seconds at which it is broken off, each time somewhere else."""

TAIL_S = 0.1
"""Seconds after a fault in which what is heard was on its way already."""

MID_SPEECH_S = 0.4
"""The voice stopped at most so long before the fault: longer than a pause between two words."""

PATIENCE_S = 40.0
"""Longest wait for a session in which the model speaks again: what takes longer is lost."""

PAUSE_S = 0.06
"""Least difference of pauses that counts as a gap: three frames, for the two ends of a pause are
found to one frame each."""

REST_MS = 1200.0


@dataclass(frozen=True)
class Struck:
    """Tells what one fault did to one call.

    Attributes:
        call: the call.
        stopped_s: when the voice stopped, from the fault on; about 0 if it was speaking, None if
            that is not known.
        again_s: when it was heard again, from the fault on; None if it never was.
        memory: what the conversation has kept.
    """

    call: str
    stopped_s: float | None
    again_s: float | None
    memory: Memory


async def begin(served: Served, people: Program, calls: Sequence[str]) -> None:
    """Have an assistant in each of these calls, and wait until it has greeted."""
    await served.place(*calls)
    for call in calls:
        await people.wait_reports("heard_from", 1, call=call)
    await calm(people, calls, "greeted")


async def calm(people: Program, calls: Sequence[str], tag: str, ms: float = REST_MS) -> None:
    """Wait until nobody has spoken for so long in each of these calls."""
    for call in calls:
        people.tell(do="calm", call=call, tag=tag, ms=ms)
    for call in calls:
        await people.wait_reports("calm", 1, call=call, tag=tag)


async def reach_mid_speech(
    people: Program, calls: Sequence[str], dice: random.Random, **ask: Any
) -> None:
    """Ask in each of these calls, and return in the middle of the answers."""
    counts = {call: len(people.found("answer", call=call)) for call in calls}
    for call in calls:
        people.tell(do="ask", call=call, **ask)
    began = [
        (await people.wait_reports("answer", counts[call] + 1, call=call))[-1]["began"]
        for call in calls
    ]
    await asyncio.sleep(max(began) + dice.uniform(*INTO_THE_ANSWER_S) - time.monotonic())


async def strike(
    stage: Stage, people: Program, calls: Sequence[str], act: Callable[[], None], tag: str
) -> tuple[float, list[Struck]]:
    """Do something to a fleet, wait until every call has its voice back, and see what it knows.

    Args:
        stage: the stage.
        people: those in the calls.
        calls: the calls whose assistants die.
        act: what is done; it returns at once.
        tag: a name for this fault.

    Returns:
        When it was done, and what became of each call.
    """
    before = {call: stage.sessions(call)[-1] for call in calls}
    known = {call: before[call].context for call in calls}
    fault = time.monotonic()
    act()

    def speaks_again(call: str) -> Callable[[], bool]:
        def speaks() -> bool:
            newest = stage.sessions(call)[-1]
            return newest is not before[call] and bool(newest.spoken)

        return speaks

    found = []
    back = []
    for call in calls:
        with contextlib.suppress(TrialError):
            left_s = max(0.1, fault + PATIENCE_S - time.monotonic())
            await stage.until(speaks_again(call), f"voice in {call}", left_s)
            back.append(call)
    await calm(people, back, tag)
    for call in calls:
        spans = await heard_since(people, call, fault - INTO_THE_ANSWER_S[1])
        gap = gap_after(spans, fault, TAIL_S)
        after = stage.sessions(call)[-1]
        memory = compare(
            known[call],
            after.context,
            resumed=after.resumed_from is not None,
            same=after is before[call],
        )
        stopped_s = None if gap is None else gap.stopped - fault
        again_s = None if gap is None or gap.back is None else gap.back - fault
        found.append(Struck(call, stopped_s, again_s, memory))
    return fault, found


async def heard_since(
    people: Program, call: str, since: float, joined_s: float = JOINED_S
) -> list[Span]:
    """Return when sound was heard in a call, from a time on; see `sounds`."""
    count = len(people.found("heard", call=call))
    people.tell(do="heard", call=call, since=since, joined_s=joined_s)
    report = (await people.wait_reports("heard", count + 1, call=call))[-1]
    return [(start, end) for start, end in report["sounds"]]


def of_worker(status: dict[str, Any], calls: Sequence[str]) -> tuple[str, int, list[str]]:
    """Return the worker that holds the most of these calls, its process, and those calls."""
    held: dict[str, list[str]] = {}
    for call in calls:
        worker = holder(status, call)
        if worker is not None:
            held.setdefault(worker, []).append(call)
    if not held:
        raise TrialError(f"no worker holds any of {', '.join(calls)}: {status}")
    name = max(held, key=lambda each: len(held[each]))
    report = status["workers"][name]["report"]
    if report is None:
        raise TrialError(f"{name} holds calls and has not reported: {status}")
    return name, report["pid"], held[name]


async def struck_workers(
    stage: Stage,
    served: Served,
    calls: Sequence[str],
    times: int,
    act: Callable[[int, int], None],
    on_done: Callable[[int], None],
) -> tuple[list[Struck], Presence, dict[str, Any]]:
    """Strike workers that hold calls, again and again, each in mid-speech.

    Args:
        stage: the stage.
        served: a fleet with at least two workers.
        calls: calls to hold meanwhile.
        times: number of faults.
        act: is given the process of the worker and that of the control.
        on_done: called after each fault with their number.
    """
    dice = random.Random(times)
    found: list[Struck] = []
    async with stage.people(*calls) as people, stage.presence() as presence:
        await begin(served, people, calls)
        for number in range(times):
            await served.wait_workers(2)
            status = await settled(served, calls)
            _, pid, hit = of_worker(status, calls)
            await reach_mid_speech(people, hit, dice)
            fault = functools.partial(act, pid, status["control_pid"])
            _, struck = await strike(stage, people, hit, fault, f"fault-{number}")
            found += struck
            on_done(number + 1)
        status = await served.status()
        await served.end_calls(*calls)
    return found, presence, status


async def settled(served: Served, calls: Sequence[str]) -> dict[str, Any]:
    """Wait until each of these calls is held by a worker that says so; returns the status."""

    def held(status: dict[str, Any]) -> bool:
        for call in calls:
            worker = status["workers"].get(holder(status, call) or "")
            report = worker and worker["report"]
            if not report or f"default:{call}" not in report["calls"]:
                return False
        return True

    return await served.wait_status(held, f"worker for {', '.join(calls)}", 60.0)


def result_of(
    trial: str,
    title: str,
    found: Sequence[Struck],
    presence: Presence,
    limit_s: float,
    counts: dict[str, int],
) -> Result:
    """Return the result of faults after which the assistant has to be heard again."""
    again = [each.again_s for each in found if each.again_s is not None]
    overlaps = [presence.overlap_s(call) for call in presence.sessions]
    how = [each.memory.how for each in found]
    heard = spread if trial == "kill" else worst
    speaking = sum(
        each.stopped_s is not None and abs(each.stopped_s) < MID_SPEECH_S for each in found
    )
    notes = [
        f"{speaking} of {len(found)} times the voice broke off in mid-speech",
        f"conversations: {how.count('resumed')} resumed by their handle, "
        f"{how.count('seeded')} begun anew with what was said; lines of before that the model no "
        f"longer knew: at most {max((each.memory.missing for each in found), default=0)}, p50 "
        f"{quantile([each.memory.missing for each in found], 0.5) if found else 0:.0f}",
    ]
    return Result(
        trial,
        title,
        (
            heard("heard again after", again, limit_s),
            none_of("voices that never came back", len(found) - len(again), len(found)),
            Goal("two assistants publish at once, longest", max(overlaps, default=None), 0.0, "s"),
            none_of("conversations lost", how.count("lost"), len(found)),
        ),
        tuple(notes),
        {"struck": [asdict(each) for each in found], "overlaps_s": overlaps, "counts": counts},
    )


def _calls(trial: str, count: int = 2) -> list[str]:
    return [f"{trial}-{number}" for number in range(count)]


async def kill(stage: Stage, served: Served, times: int, on_done: Callable[[int], None]) -> Result:
    """Kill workers with SIGKILL in mid-speech."""
    calls = _calls("kill")
    found, presence, status = await struck_workers(
        stage, served, calls, times, lambda pid, _: os.kill(pid, signal.SIGKILL), on_done
    )
    title = f"A worker is killed (SIGKILL) in mid-speech, {so_often(times)}"
    return result_of("kill", title, found, presence, KILL_S, status["counts"])


async def hang(stage: Stage, served: Served, times: int, on_done: Callable[[int], None]) -> Result:
    """Stop workers with SIGSTOP in mid-speech: they are there, and do nothing."""
    calls = _calls("hang")
    found, presence, status = await struck_workers(
        stage, served, calls, times, lambda pid, _: os.kill(pid, signal.SIGSTOP), on_done
    )
    title = f"A worker hangs (SIGSTOP) in mid-speech, {so_often(times)}"
    return result_of("hang", title, found, presence, HANG_S, status["counts"])


async def both(stage: Stage, served: Served, times: int, on_done: Callable[[int], None]) -> Result:
    """Kill the control and a worker at once, in mid-speech."""

    def act(pid: int, control: int) -> None:
        os.kill(control, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)

    found, presence, status = await struck_workers(
        stage, served, _calls("both"), times, act, on_done
    )
    title = f"The control and a worker are killed at once, {so_often(times)}"
    return result_of("both", title, found, presence, BOTH_S, status["counts"])


async def control(
    stage: Stage, served: Served, times: int, on_done: Callable[[int], None]
) -> Result:
    """Kill the control in mid-speech: nobody in a call hears anything of it."""
    calls = _calls("control")
    dice = random.Random(times)
    more_s: list[float] = []
    answered_s: list[float] = []
    other_sessions = 0
    async with stage.people(*calls) as people, stage.presence() as presence:
        await begin(served, people, calls)
        usual_s = await answer_pauses(people, calls, dice, lambda: None, "usual")
        for number in range(times):
            before = await settled(served, calls)
            sessions = {call: stage.sessions(call)[-1] for call in calls}
            struck_at: list[float] = []

            def act(pid: int = before["control_pid"], at: list[float] = struck_at) -> None:
                os.kill(pid, signal.SIGKILL)
                at.append(time.monotonic())

            pauses_s = await answer_pauses(people, calls, dice, act, f"struck-{number}")
            more_s += [pauses_s[call] - usual_s[call] for call in calls]
            other_sessions += sum(stage.sessions(c)[-1] is not sessions[c] for c in calls)
            answered_s.append(await until_answered(served, calls[0]) - struck_at[0])
            on_done(number + 1)
        status = await served.status()
        doubled = [call for call in calls if len(stage.assistants(call)) != 1]
        await served.end_calls(*calls)
    overlaps = [presence.overlap_s(call) for call in calls]
    return Result(
        "control",
        f"The control is killed in mid-speech, {so_often(times)}",
        (
            worst("longest pause in an answer, more than usual", more_s, PAUSE_S),
            none_of("sessions with the model that were changed", other_sessions, len(more_s)),
            none_of("calls without exactly one assistant", len(doubled), len(calls)),
            Goal("two assistants publish at once, longest", max(overlaps), 0.0, "s"),
        ),
        (f"a repeated webhook was answered again after {max(answered_s):.1f} s at the latest",),
        {"more_s": more_s, "usual_s": usual_s, "answered_s": answered_s,
         "counts": status["counts"]},
    )  # fmt: skip


async def answer_pauses(
    people: Program, calls: Sequence[str], dice: random.Random, act: Callable[[], None], tag: str
) -> dict[str, float]:
    """Return the longest pause in one answer in each call, with something done in its middle."""
    await reach_mid_speech(people, calls, dice)
    began = {call: people.found("answer", call=call)[-1]["began"] for call in calls}
    act()
    await calm(people, calls, tag)
    pauses = {}
    for call in calls:
        # Every pause: one of about the length that does not count would seem to come and go.
        spans = await heard_since(people, call, began[call] - 0.1, joined_s=0.0)
        pauses[call] = longest_pause(within(spans, began[call] - 0.1, time.monotonic()))
    return pauses


async def until_answered(served: Served, call: str) -> float:
    """Repeat a webhook until it is answered with success; returns when."""
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        try:
            code, _ = await served.webhook(call)
        except TrialError:
            code = 0
        if 200 <= code < 300:
            return time.monotonic()
        await asyncio.sleep(0.1)
    raise TrialError("no webhook was answered for 60 s after the control was killed")
