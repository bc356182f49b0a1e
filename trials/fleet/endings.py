"""Trials: `serve` is ended and leaves no process behind, and is killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import asdict

from .crashes import begin, of_worker, reach_mid_speech, settled, strike
from .processes import command
from .stage import Served, Stage, wait_gone
from .verdicts import Goal, Result, none_of, quantile, so_often, worst

GONE_S = {signal.SIGTERM: 30.0, signal.SIGKILL: 30.0}
"""Longest time until every process is gone: orchestrators wait for so long before they kill."""

CLEAN = (0, 128 + signal.SIGTERM)
"""Exit codes of a program that was asked to end, and has ended by itself."""

RESTARTED_S = 10.0
"""Goal of a restart, as where the control and a worker are lost: this process is both."""


async def endings(stage: Stage, times: int, on_done: Callable[[int], None]) -> Result:
    """End `serve` in one process, by SIGTERM and by SIGKILL."""
    return await _end(stage, "endings", 0, times, on_done)


async def endings_ray(stage: Stage, times: int, on_done: Callable[[int], None]) -> Result:
    """End `serve` with workers on Ray, by SIGTERM and by SIGKILL."""
    return await _end(stage, "endings-ray", 2, times, on_done)


async def _end(
    stage: Stage, trial: str, workers: int, times: int, on_done: Callable[[int], None]
) -> Result:
    took: dict[str, list[float]] = {"SIGTERM": [], "SIGKILL": []}
    left: list[str] = []
    codes: list[int | None] = []
    processes = 0
    for number in range(times):
        for signum in (signal.SIGTERM, signal.SIGKILL):
            call = f"{trial}-{number}-{signum.name.lower()}"
            async with stage.fleet(workers, name=call) as served, stage.people(call) as people:
                await begin(served, people, [call])
                pids = stage.left_over(served.program)
                processes = max(processes, len(pids))
                began = time.monotonic()
                os.kill(served.program.pid, signum)
                alive = await wait_gone(pids, GONE_S[signum])
                # Also what was started meanwhile.
                alive = sorted({*alive, *stage.left_over(served.program)})
                took[signum.name].append(time.monotonic() - began)
                left += [f"{signum.name}: {command(pid)}" for pid in alive]
                if signum is signal.SIGTERM:
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(served.program.process.wait(), 1.0)
                    codes.append(served.program.process.returncode)
        on_done(number + 1)
    where = "with two workers on Ray" if workers else "in one process"
    clean = sum(code in CLEAN for code in codes)
    return Result(
        trial,
        f"`serve` {where} is ended by SIGTERM and by SIGKILL, {so_often(times)} each",
        (
            none_of("processes left after SIGTERM or SIGKILL", len(left), 2 * times * processes),
            Goal("ended by itself after SIGTERM", clean, times, kind="exactly",
                 detail=f"codes {', '.join(map(str, codes))}"),
        ),
        (
            f"all of its processes ({processes}) were gone after "
            f"{max(took['SIGTERM']):.1f} s (SIGTERM), {max(took['SIGKILL']):.1f} s (SIGKILL)",
            *(f"left: `{each}`" for each in left),
        ),
        {"took_s": took, "left": left, "codes": codes},
    )  # fmt: skip


async def restart(stage: Stage, times: int, on_done: Callable[[int], None]) -> Result:
    """Kill `serve` in one process in mid-speech, and start it again on the same records."""
    calls = ["restart-0", "restart-1"]
    dice = random.Random(times)
    records = stage.scratch / "records"
    options = ("--records", str(records))
    found = []
    async with stage.people(*calls) as people, stage.presence() as presence:
        served = await stage.serve(0, *options, name="restart")
        await served.wait_workers(1)
        await begin(served, people, calls)
        for number in range(times):
            _, pid, hit = of_worker(await settled(served, calls), calls)
            assert pid == served.program.pid, "one process holds the calls"
            await reach_mid_speech(people, hit, dice)
            starting: list[asyncio.Task[Served]] = []

            def act(pid: int = pid, starting: list[asyncio.Task[Served]] = starting) -> None:
                os.kill(pid, signal.SIGKILL)
                starting.append(asyncio.ensure_future(stage.serve(0, *options, name="restarted")))

            _, struck = await strike(stage, people, hit, act, f"restart-{number}")
            served = await starting[0]
            found += struck
            on_done(number + 1)
        await served.end_calls(*calls)
        await served.program.end()
    again = [each.again_s for each in found if each.again_s is not None]
    how = [each.memory.how for each in found]
    overlaps = [presence.overlap_s(call) for call in calls]
    missing = [each.memory.missing for each in found]
    return Result(
        "restart",
        f"`serve` in one process with a file of records is killed and started again, "
        f"{so_often(times)}",
        (
            worst("heard again after, longest", again, RESTARTED_S),
            none_of("voices that never came back", len(found) - len(again), len(found)),
            Goal("two assistants publish at once, longest", max(overlaps), 0.0, "s"),
            none_of("conversations lost", how.count("lost"), len(found)),
        ),
        (
            f"conversations: {how.count('resumed')} resumed by their handle, "
            f"{how.count('seeded')} begun anew with what was said; lines of before that the model "
            f"no longer knew: at most {max(missing, default=0)}, p50 "
            f"{quantile(missing, 0.5) if missing else 0:.0f}",
        ),
        {"struck": [asdict(each) for each in found]},
    )
