"""Plan the growth of a load, and judge what was measured. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ...errors import ConfigError

__all__ = [
    "Bounds",
    "Step",
    "Verdict",
    "is_disturbed",
    "judge",
    "lost_level",
    "parse_calls",
    "saturation",
    "verdict_lines",
]

DEFAULT_STEPS = 10
"""Steps from the first to the last number of calls, roughly, where no width is given."""

MOST_CALLS = 1000
"""More calls than one process of people can hold; a larger number is a slip of the keyboard."""

BUSY_CORE = 0.85
"""Share of its one core from which a process of the generator delays what it measures."""

LATE_LOOP_MS = 20.0
"""99th percentile of the lateness of the generator's own timers, from which it measures itself: a
frame is 20 ms, and the bound of the fleet's frames a few of them."""

FULL_MACHINE = 0.95
"""Share of the machine's CPU from which processes wait for a core: the generator's share of it is
missing in the fleet."""

CROWDED_MACHINE = 0.8
"""Share of the machine's CPU from which processes begin to wait for a core, now and then."""

OTHERS = 0.1
"""Share of the machine's CPU that programs outside of the run may use on a crowded machine."""

HEADROOM = 0.75
"""Share of a core that calls may use: `Limits.max_cpu` of a worker, and the rest is for bursts."""


@dataclass(frozen=True)
class Bounds:
    """Says what counts as service.

    Attributes:
        late_ms: 99th percentile of the lateness of frames, at most. Receivers conceal three frames
            of 20 ms, and people hear what is beyond that.
        answer_ms: 95th percentile of the time from the last word of a question to the first sound
            of its answer, at most. After more than a second people begin to ask again.
        unanswered: share of the questions that may stay without an answer.
    """

    late_ms: float = 60.0
    answer_ms: float = 1200.0
    unanswered: float = 0.02

    def __post_init__(self) -> None:
        for each in fields(self):
            if not getattr(self, each.name) >= 0:
                raise ConfigError(f"{each.name} is not negative")


@dataclass(frozen=True)
class Step:
    """Holds the figures of one step; times are milliseconds, CPU is cores.

    Attributes:
        calls: calls that were asked for.
        held: calls in which the assistant was heard.
        refused: calls that the fleet had no room for.
        missing: calls without an assistant, though none was refused, and persons that failed.
        seconds: length of the measurement.
        fleet_cores: CPU of the fleet, all of its processes.
        generator_cores: CPU of each process of the generator, by name.
        generator_late_ms: 99th percentile of the lateness of the generator's own timers, the worst
            of its processes.
        machine_busy: share of the CPU of the machine that was in use, 0 to 1.
        machine_cores: its cores.
        late_p50_ms: median lateness of the frames that people received.
        late_p95_ms: 95th percentile.
        late_p99_ms: 99th percentile.
        gaps_per_minute: gaps of more than 60 ms between two frames, for each minute of a call.
        lost: share of the frames that never came.
        answers: answers that were measured.
        unanswered: questions without an answer.
        answer_p50_ms: median time from the last word to the first sound.
        answer_p95_ms: 95th percentile.
        service_p50_ms: median of the local service's own part of that: the silence it waits for.
        join_p95_ms: 95th percentile of the time from the webhook to the first frame, of the calls
            that were added in this step.
        loop_lag_ms: worst lateness of a worker's event loop, as the fleet tells it.
        memory_mb: memory of the fleet, in 10^6 bytes.
    """

    calls: int
    held: int
    refused: int = 0
    missing: int = 0
    seconds: float = 0.0
    fleet_cores: float = 0.0
    generator_cores: dict[str, float] = field(default_factory=dict)
    generator_late_ms: float = 0.0
    machine_busy: float = 0.0
    machine_cores: int = 1
    late_p50_ms: float = 0.0
    late_p95_ms: float = 0.0
    late_p99_ms: float = 0.0
    gaps_per_minute: float = 0.0
    lost: float = 0.0
    answers: int = 0
    unanswered: int = 0
    answer_p50_ms: float | None = None
    answer_p95_ms: float | None = None
    service_p50_ms: float | None = None
    join_p95_ms: float | None = None
    loop_lag_ms: float | None = None
    memory_mb: float = 0.0

    @property
    def call_cores(self) -> float | None:
        """Return the fleet's CPU for each call that it holds."""
        return self.fleet_cores / self.held if self.held else None

    @property
    def calls_per_core(self) -> float | None:
        """Return the calls that one core of the fleet carries at this price, if it is all used."""
        return self.held / self.fleet_cores if self.fleet_cores > 0 and self.held else None

    @property
    def generator_total(self) -> float:
        """Return the CPU of the generator."""
        return sum(self.generator_cores.values())

    @property
    def other_cores(self) -> float:
        """Return the CPU of programs that are neither the fleet nor the generator."""
        used = self.machine_busy * self.machine_cores
        return max(0.0, used - self.fleet_cores - self.generator_total)

    @property
    def fleet_answer_p50_ms(self) -> float | None:
        """Return the fleet's part of the median answer: both ways, and the local backend's."""
        if self.answer_p50_ms is None or self.service_p50_ms is None:
            return None
        return self.answer_p50_ms - self.service_p50_ms

    def to_dict(self) -> dict[str, Any]:
        """Return it as values that fit in JSON, with what follows from them."""
        return {
            **asdict(self),
            "call_cores": self.call_cores,
            "calls_per_core": self.calls_per_core,
            "other_cores": self.other_cores,
            "fleet_answer_p50_ms": self.fleet_answer_p50_ms,
        }


@dataclass(frozen=True)
class Verdict:
    """Says what a fleet has carried.

    Attributes:
        carried: calls of the largest step before the service level was lost; 0 if it never held.
        lost_at: calls of the first step without it; None if it held to the end.
        reasons: why it was lost.
        saturated_at: calls of the first step that measures the generator, or other programs, along
            with the fleet; None if none does.
        saturated_by: why.
        own_until: calls of the last step before that; 0 if there is none.
        sizing: the step whose CPU per call is to size a cluster by: the largest that is neither
            lost nor saturated, else the largest that is not lost, else the first that holds calls;
            None if none does.
    """

    carried: int
    lost_at: int | None
    reasons: tuple[str, ...]
    saturated_at: int | None
    saturated_by: tuple[str, ...]
    own_until: int
    sizing: Step | None


def parse_calls(text: str) -> list[int]:
    """Return the numbers of calls of each step.

    Args:
        text: "2:40" grows from 2 to 40 in about ten steps, "2:40:4" by four at a time, "8" is one
            step.

    Raises:
        ConfigError: it is something else, or grows downwards.
    """
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not all(part.isdecimal() and part.isascii() for part in parts):
        raise ConfigError(f"calls are FIRST:LAST or FIRST:LAST:STEP, as in 2:40, not {text!r:.40}")
    numbers = [int(part) for part in parts]
    first, last = numbers[0], numbers[min(1, len(numbers) - 1)]
    width = numbers[2] if len(numbers) == 3 else max(1, round((last - first) / DEFAULT_STEPS))
    if not 1 <= first <= last <= MOST_CALLS or width < 1:
        raise ConfigError(
            f"calls are FIRST:LAST:STEP with 1 <= FIRST <= LAST <= {MOST_CALLS} and STEP >= 1, not "
            f"{text!r:.40}"
        )
    steps = list(range(first, last + 1, width))
    if steps[-1] != last:
        steps.append(last)
    return steps


def lost_level(step: Step, bounds: Bounds) -> tuple[str, ...]:
    """Return in which ways a step is no service; empty if it is."""
    reasons = []
    if step.refused:
        reasons.append(f"{_count(step.refused, 'call was', 'calls were')} refused")
    if step.missing:
        reasons.append(f"{_count(step.missing, 'call', 'calls')} had no assistant")
    if step.late_p99_ms > bounds.late_ms:
        reasons.append(
            f"one frame in a hundred came {step.late_p99_ms:.0f} ms late or later "
            f"(bound {bounds.late_ms:g})"
        )
    if step.answer_p95_ms is not None and step.answer_p95_ms > bounds.answer_ms:
        reasons.append(
            f"one answer in twenty took {step.answer_p95_ms:.0f} ms or longer "
            f"(bound {bounds.answer_ms:g})"
        )
    asked = step.answers + step.unanswered
    if asked and step.unanswered > bounds.unanswered * asked:
        reasons.append(f"{step.unanswered} of {asked} questions had no answer")
    if not asked:
        reasons.append("nobody got as far as to ask anything")
    return tuple(reasons)


def saturation(step: Step) -> tuple[str, ...]:
    """Return why a step measures something else than the fleet; empty if it does not."""
    reasons = [
        f"the generator is saturated: its process `{name}` used {cores:.2f} of the one core that "
        "it can use"
        for name, cores in step.generator_cores.items()
        if cores > BUSY_CORE
    ]
    if step.generator_late_ms > LATE_LOOP_MS:
        reasons.append(
            f"the generator is saturated: its own timers were {step.generator_late_ms:.0f} ms late"
        )
    if step.machine_busy > FULL_MACHINE:
        reasons.append(
            f"the machine is full: {step.machine_busy:.0%} busy, {_share(step):.0%} of that with "
            "the generator"
        )
    if is_disturbed(step):
        reasons.append(
            f"other programs used {step.other_cores:.2f} of the {step.machine_cores} cores"
        )
    return tuple(reasons)


def is_disturbed(step: Step) -> bool:
    """Return whether other programs took a part of a crowded machine."""
    others = step.other_cores > OTHERS * step.machine_cores
    return others and step.machine_busy > CROWDED_MACHINE


def judge(steps: Sequence[Step], bounds: Bounds) -> Verdict:
    """Judge the steps of a run, in order."""
    losses = [(step.calls, lost) for step in steps if (lost := lost_level(step, bounds))]
    lost_at, reasons = losses[0] if losses else (None, ())
    carried = _last_before(steps, lost_at)
    faults = [(step.calls, fault) for step in steps if (fault := saturation(step))]
    saturated_at, saturated_by = faults[0] if faults else (None, ())
    own_until = _last_before(steps, saturated_at)
    held = [step for step in steps if step.held]
    serving = [step for step in held if step.calls <= carried]
    sound = [step for step in serving if step.calls <= own_until]
    sizing = (sound or serving or held[:1])[-1] if held else None
    return Verdict(carried, lost_at, reasons, saturated_at, saturated_by, own_until, sizing)


def verdict_lines(verdict: Verdict, bounds: Bounds) -> list[str]:
    """Say the verdict in sentences."""
    lines = []
    if verdict.carried:
        calls = _count(verdict.carried, "call", "calls")
        lines.append(
            f"The fleet carried {calls} within the service level (frames p99 <= {bounds.late_ms:g} "
            f"ms late, answers p95 <= {bounds.answer_ms:g} ms, none refused)."
        )
    if verdict.lost_at is not None:
        calls = _count(verdict.lost_at, "call", "calls")
        lines.append(f"It was lost at {calls}, where the growth ended: {_join(verdict.reasons)}.")
    if verdict.saturated_at is not None:
        calls = _count(verdict.saturated_at, "call", "calls")
        lines.append(f"From {calls} on {_join(verdict.saturated_by)}.")
        lines.append(
            f"Numbers beyond {_count(verdict.own_until, 'call', 'calls')} are not the fleet's."
            if verdict.own_until
            else "None of these numbers are the fleet's: take a larger, or an idle machine."
        )
    step = verdict.sizing
    if step is not None and step.call_cores is not None:
        lines.append(
            f"A call takes {step.call_cores * 100:.1f} % of a core of the fleet, and "
            f"{step.memory_mb / step.held:.0f} MB, in the step of "
            f"{_count(step.calls, 'call', 'calls')}: 100 calls need "
            f"{100 * step.call_cores / HEADROOM:.1f} cores at {HEADROOM:.0%} of each."
        )
    return lines


def _last_before(steps: Sequence[Step], calls: int | None) -> int:
    """Return the calls of the last step before one; of the last of all if there is no such one."""
    return max((s.calls for s in steps if calls is None or s.calls < calls), default=0)


def _share(step: Step) -> float:
    used = step.machine_busy * step.machine_cores
    return min(1.0, step.generator_total / used) if used > 0 else 0.0


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _join(reasons: Sequence[str]) -> str:
    return "; ".join(reasons)
