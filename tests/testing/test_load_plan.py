"""The plan of a load and the judgement of its steps: tables, no clock, no process."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.testing._load.plan import (
    HEADROOM,
    Bounds,
    Step,
    judge,
    lost_level,
    parse_calls,
    saturation,
    verdict_lines,
)

BOUNDS = Bounds()
GOOD = Step(
    calls=10,
    held=10,
    seconds=20.0,
    fleet_cores=0.6,
    generator_cores={"people": 0.1, "stream": 0.2, "gemini": 0.2, "load": 0.01},
    generator_late_ms=2.0,
    machine_busy=0.6,
    machine_cores=2,
    late_p50_ms=1.0,
    late_p95_ms=3.0,
    late_p99_ms=8.0,
    answers=30,
    answer_p50_ms=540.0,
    answer_p95_ms=600.0,
    service_p50_ms=500.0,
    memory_mb=200.0,
)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("8", [8]),
        ("2:2", [2]),
        ("1:3", [1, 2, 3]),
        ("2:40", [2, 6, 10, 14, 18, 22, 26, 30, 34, 38, 40]),
        ("2:40:10", [2, 12, 22, 32, 40]),
        ("5:10:50", [5, 10]),
        ("1:1000:999", [1, 1000]),
    ],
)
def test_calls_grow_from_the_first_to_the_last(text: str, steps: list[int]) -> None:
    assert parse_calls(text) == steps


@pytest.mark.parametrize(
    "text", ["", "two", "0", "-2:4", "4:2", "2:", ":4", "2:40:0", "1:2:3:4", "2:1001", "٢", "2.5"]
)
def test_other_calls_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"FIRST:LAST"):
        parse_calls(text)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"refused": 1}, "1 call was refused"),
        ({"refused": 3}, "3 calls were refused"),
        ({"missing": 2}, "2 calls had no assistant"),
        ({"late_p99_ms": 60.1}, "60 ms late or later (bound 60)"),
        ({"answer_p95_ms": 1300.0}, "1300 ms or longer (bound 1200)"),
        ({"unanswered": 2}, "2 of 32 questions had no answer"),
        ({"answers": 0}, "nobody got as far as to ask"),
    ],
)
def test_a_level_is_lost_for_a_reason(changes: dict[str, Any], reason: str) -> None:
    assert lost_level(GOOD, BOUNDS) == ()
    reasons = lost_level(replace(GOOD, **changes), BOUNDS)
    assert len(reasons) == 1
    assert reason in reasons[0]


def test_one_question_in_many_may_stay_without_an_answer() -> None:
    assert lost_level(replace(GOOD, answers=99, unanswered=1), BOUNDS) == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"generator_cores": {"people": 0.9}}, "`people` used 0.90 of the one core"),
        ({"generator_late_ms": 21.0}, "its own timers were 21 ms late"),
        (
            {"machine_busy": 1.0, "fleet_cores": 1.49},
            "the machine is full: 100% busy, 26% of that with the generator",
        ),
        ({"machine_busy": 0.9}, "other programs used 0.69 of the 2 cores"),
    ],
)
def test_what_is_not_the_fleets_is_told(changes: dict[str, Any], reason: str) -> None:
    assert saturation(GOOD) == ()
    reasons = saturation(replace(GOOD, **changes))
    assert len(reasons) == 1
    assert reason in reasons[0]


def test_others_do_no_harm_while_a_core_is_idle() -> None:
    assert saturation(replace(GOOD, machine_busy=0.79)) == ()


def grown(*calls: int, **changes: Any) -> list[Step]:
    return [replace(GOOD, calls=each, held=each, **changes) for each in calls]


def test_the_verdict_of_a_level_that_held() -> None:
    verdict = judge(grown(2, 6, 10), BOUNDS)
    assert (verdict.carried, verdict.lost_at, verdict.own_until) == (10, None, 10)
    assert verdict.sizing is not None
    assert verdict.sizing.calls == 10


def test_the_verdict_of_a_level_that_was_lost() -> None:
    verdict = judge([*grown(2, 6), replace(GOOD, refused=2)], BOUNDS)
    assert (verdict.carried, verdict.lost_at) == (6, 10)
    assert verdict.reasons == ("2 calls were refused",)
    assert verdict.sizing is not None
    assert verdict.sizing.calls == 6
    assert any("lost at 10 calls" in line for line in verdict_lines(verdict, BOUNDS))


def test_numbers_beyond_what_the_generator_can_do_are_not_the_fleets() -> None:
    steps = [*grown(2, 6), *grown(10, 14, generator_late_ms=30.0)]
    verdict = judge(steps, BOUNDS)
    assert (verdict.carried, verdict.saturated_at, verdict.own_until) == (14, 10, 6)
    assert verdict.sizing is not None
    assert verdict.sizing.calls == 6, "a cluster is not sized by a generator"
    text = "\n".join(verdict_lines(verdict, BOUNDS))
    assert "From 10 calls on the generator is saturated" in text
    assert "Numbers beyond 6 calls are not the fleet's" in text


def test_nothing_is_the_fleets_where_the_first_step_is_saturated() -> None:
    verdict = judge(grown(2, machine_busy=1.0), BOUNDS)
    assert verdict.own_until == 0
    assert any("None of these" in line for line in verdict_lines(verdict, BOUNDS))


def test_nothing_was_carried_where_the_first_step_is_lost() -> None:
    verdict = judge([Step(calls=2, held=0, missing=2)], BOUNDS)
    assert (verdict.carried, verdict.lost_at, verdict.sizing) == (0, 2, None)
    assert not any("carried" in line for line in verdict_lines(verdict, BOUNDS))


def test_no_step_is_no_verdict() -> None:
    verdict = judge([], BOUNDS)
    assert (verdict.carried, verdict.lost_at, verdict.sizing) == (0, None, None)
    assert verdict_lines(verdict, BOUNDS) == []


def test_a_cluster_is_sized_by_the_cpu_of_a_call_and_headroom() -> None:
    line = verdict_lines(judge([GOOD], BOUNDS), BOUNDS)[-1]
    cores = 100 * (0.6 / 10) / HEADROOM
    assert "6.0 % of a core" in line
    assert f"100 calls need {cores:.1f} cores" in line


def test_a_step_is_json_with_what_follows_from_it() -> None:
    values = json.loads(json.dumps(GOOD.to_dict()))
    assert values["call_cores"] == pytest.approx(0.06)
    assert values["calls_per_core"] == pytest.approx(10 / 0.6)
    assert values["fleet_answer_p50_ms"] == pytest.approx(40.0)
    assert Step(calls=2, held=0).to_dict()["call_cores"] is None


def test_bounds_are_not_negative() -> None:
    with pytest.raises(ConfigError, match="late_ms"):
        Bounds(late_ms=-1.0)
    with pytest.raises(ConfigError, match="answer_ms"):
        Bounds(answer_ms=float("nan"))
