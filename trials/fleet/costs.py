"""Trial: what Ray costs beside one process: CPU of a talking call, dispatch, memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from .assistants import IDLE
from .crashes import begin, calm
from .processes import cpu_s, descendants, own_mb, resident_mb
from .stage import Program, Served, Stage, reporting
from .verdicts import Goal, Result, quantile, spread

CALLS = 3
"""Calls in one worker of each fleet, at the same time."""

CPU_POINTS, DISPATCH_MS, MEMORY_MB = 1.0, 10.0, 60.0
"""Goals: percentage points of a core for each call, the webhook's round trip, and memory, that Ray
may cost more."""

DISPATCHES = 60
WARM_UP = 5
"""Webhooks before those that are measured: the first ones make connections."""

BUSY = 0.9
"""Share of the machine from which on the figures are doubted: programs wait for a core."""


@dataclass
class Side:
    """One of the two fleets.

    Attributes:
        served: the fleet.
        worker: the process of its worker.
        calls: the calls in it.
    """

    served: Served
    worker: int
    calls: list[str]


async def cost(stage: Stage, times: int, on_done: Callable[[int], None]) -> Result:
    """Run both at once on the same servers, and compare them within the same windows."""
    async with (
        stage.fleet(1, name="cost-ray") as ray,
        stage.fleet(0, name="cost-one-process") as here,
    ):
        sides = {"ray": await _side(ray, "ray"), "here": await _side(here, "here")}
        calls = [call for side in sides.values() for call in side.calls]
        windows = []
        async with stage.people(*calls) as people:
            for side in sides.values():
                await begin(side.served, people, side.calls)
            for number in range(times):
                windows.append(await _window(people, sides, calls, f"window-{number}"))
                on_done(number + 1)
            memory = {name: _memory(side.worker) for name, side in sides.items()}
            for side in sides.values():
                await side.served.end_calls(*side.calls)
        dispatch = {name: await dispatches(side.served, name) for name, side in sides.items()}
    return _result(windows, memory, dispatch)


@dataclass(frozen=True)
class Window:
    """One question and its answer in every call.

    Attributes:
        share: cores for each call, by fleet.
        beside: cores of Ray's processes that hold no calls: gate, control, Ray's own.
        busy: share of the machine that was in use.
    """

    share: dict[str, float]
    beside: float
    busy: float


async def _side(served: Served, name: str) -> Side:
    status = await served.wait_workers(1)
    (worker,) = reporting(status).values()
    return Side(served, worker["report"]["pid"], [f"cost-{name}-{n}" for n in range(CALLS)])


async def _window(people: Program, sides: dict[str, Side], calls: list[str], tag: str) -> Window:
    ray = sides["ray"]
    whole = [ray.served.program.pid, *descendants(ray.served.program.pid)]
    beside = [pid for pid in whole if pid != ray.worker]
    counts = {call: len(people.found("answer", call=call)) for call in calls}
    used = {name: cpu_s([side.worker]) for name, side in sides.items()}
    before, began, idle = cpu_s(beside), time.monotonic(), _idle_s()
    people.tell(do="ask")
    for call in calls:
        await people.wait_reports("answer", counts[call] + 1, call=call)
    await calm(people, calls, tag)
    took = time.monotonic() - began
    return Window(
        {
            name: (cpu_s([side.worker]) - used[name]) / took / len(side.calls)
            for name, side in sides.items()
        },
        (cpu_s(beside) - before) / took,
        1 - (_idle_s() - idle) / took / (os.cpu_count() or 1),
    )


def _idle_s() -> float:
    """Return the seconds that all cores have had nothing to do (proc(5): idle and iowait)."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = file.readline().split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> dict[str, float]:
    return {"resident_mb": resident_mb(pid), "own_mb": own_mb(pid)}


async def dispatches(served: Served, name: str) -> dict[str, list[float]]:
    """Time webhooks of calls whose assistant does nothing, one after the other, in ms."""
    found: dict[str, list[float]] = {"first_ms": [], "repeated_ms": []}
    calls = [f"{IDLE}-{name}-{number}" for number in range(WARM_UP + DISPATCHES)]
    for call in calls:
        for kind in found:
            began = time.perf_counter()
            await served.webhook(call)
            found[kind].append((time.perf_counter() - began) * 1e3)
    await served.end_calls(*calls)
    return {kind: values[WARM_UP:] for kind, values in found.items()}


def _result(
    windows: Sequence[Window],
    memory: dict[str, dict[str, float]],
    dispatch: dict[str, dict[str, list[float]]],
) -> Result:
    # Within each window, because a busy moment costs both.
    more = [100 * (each.share["ray"] - each.share["here"]) for each in windows]
    ray, here = (
        100 * quantile([each.share[name] for each in windows], 0.5) for name in ("ray", "here")
    )
    beside = 100 * quantile([each.beside for each in windows], 0.5)
    busy = max(each.busy for each in windows)
    round_trips = {
        name: f"p50 {quantile(each['first_ms'], 0.5):.1f}, "
        f"p95 {quantile(each['first_ms'], 0.95):.1f} ms"
        for name, each in dispatch.items()
    }
    more_mb = memory["ray"]["resident_mb"] - memory["here"]["resident_mb"]
    notes = [
        f"a talking call: {ray:.1f} % of a core on Ray, {here:.1f} % in one process; Ray's other "
        f"processes: {beside:.1f} % in all",
        f"a webhook: {round_trips['ray']} on Ray, {round_trips['here']} in one process; repeated "
        f"on Ray: p95 {quantile(dispatch['ray']['repeated_ms'], 0.95):.1f} ms",
        f"a worker: {memory['ray']['resident_mb']:.0f} MB on Ray, of which "
        f"{memory['ray']['own_mb']:.0f} are its own; {memory['here']['resident_mb']:.0f} MB in "
        f"one process, of which {memory['here']['own_mb']:.0f} are its own",
    ]
    if busy > BUSY:
        notes.append(
            f"**not to be trusted: {100 * busy:.0f} % of the machine was in use, and "
            "programs waited for a core**"
        )
    return Result(
        "cost",
        f"Ray beside one process, {CALLS} talking calls in each, {len(more)} windows",
        (
            Goal(
                "CPU of a talking call, more on Ray, p50",
                quantile(more, 0.5),
                CPU_POINTS,
                "points of a core",
                detail=f"{min(more):.2f} to {max(more):.2f}, n {len(more)}",
            ),
            spread("a webhook on Ray", dispatch["ray"]["first_ms"], DISPATCH_MS, "ms"),
            Goal("memory of a worker, more on Ray", more_mb, MEMORY_MB, "MB"),
        ),
        tuple(notes),
        {
            "windows": [asdict(each) for each in windows],
            "memory": memory,
            "dispatch_ms": dispatch,
        },
    )
