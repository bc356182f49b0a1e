"""Which worker holds which call: tables, and what holds for any course of events."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.fleet._calls import (
    CallRecord,
    CallRequest,
    FleetFullError,
    StartCall,
    WorkerReport,
)
from getstream.plugins.gemini.fleet._placement import (
    EARLY_CRASH_S,
    ENDED_FOR_S,
    FAILURE_WINDOW_S,
    HANDLE_FAILURES,
    LAGGING_MS,
    MAX_FAILURES,
    MISSING_REPORTS,
    MISSING_S,
    SHOWS_AFTER_S,
    CallState,
    Limits,
    Placement,
    WorkerPhase,
)
from getstream.plugins.gemini.live import Resumption
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

FIRST_EPOCH = 1_000
THREE = Limits(max_calls=3, max_cpu=0.75, call_cpu=0.1, max_workers=4)
CPU_ONLY = Limits(max_cpu=0.75, call_cpu=0.1)
RESUME = Resumption("handle", "model", (("user", "Hello."), ("model", "Hi.")), 5.0)


def fleet(*names: str, limits: Limits = THREE) -> Placement:
    placement = Placement(limits, FIRST_EPOCH)
    for name in names:
        assert placement.worker_started(name, 0)
    placement.settle(0)
    return placement


def call(number: int | str = 0, session: str = "") -> CallRequest:
    return CallRequest(f"default:{number}", session)


def report(name: str, calls: dict[str, int] | None = None, **values: Any) -> WorkerReport:
    return WorkerReport(
        name, 1, "node", calls or {}, values.get("cpu", 0.0), values.get("lag_ms", 0.0), 100.0
    )


def place(placement: Placement, request: CallRequest, now: float) -> StartCall:
    """Place a call, and have its worker confirm it."""
    state, start = placement.request(request, now)
    assert state == "started"
    assert start is not None
    placement.on_started(request.cid, start.epoch)
    return start


def fill(placement: Placement, calls: int, now: float) -> list[StartCall]:
    return [place(placement, call(number), now) for number in range(calls)]


# -- requests ----------------------------------------------------------------------------------


def test_a_repeated_request_starts_nothing() -> None:
    placement = fleet("a", "b")
    place(placement, call(), 1)
    assert [placement.request(call(), 2) for _ in range(50)] == [("running", None)] * 50
    assert placement.counts["placed"] == 1
    assert placement.counts["repeated"] == 50


def test_calls_are_spread() -> None:
    placement = fleet("a", "b")
    assert Counter(start.worker for start in fill(placement, 4, 1)) == {"a": 2, "b": 2}


def test_a_full_fleet_refuses() -> None:
    placement = fleet("a")
    fill(placement, 3, 1)
    assert placement.room(1) == 0
    with pytest.raises(FleetFullError):
        placement.request(call("more"), 1)
    assert placement.assignment("default:more") is None


def test_a_burst_does_not_see_the_same_idle_worker() -> None:
    placement = fleet("a", limits=CPU_ONLY)
    taken = 0
    while placement.room(1) and taken < 100:
        place(placement, call(taken), 1)
        taken += 1
        placement.on_report(report("a", {}, cpu=0.02), 1)  # it does not show them yet
    assert taken == 7


def test_what_is_measured_counts_once_it_can_show() -> None:
    placement = fleet("a", limits=CPU_ONLY)
    calls = {s.request.cid: s.epoch for s in fill(placement, 4, 1)}
    shown = 1 + SHOWS_AFTER_S
    # At 0.05 each there is room for half as many again as was assumed.
    placement.on_report(report("a", calls, cpu=0.2), shown)
    assert placement.room(shown) == 5
    placement.on_report(report("a", calls, cpu=0.7), shown)
    assert placement.room(shown) == 0


def test_a_call_that_has_ended_does_not_count_as_new() -> None:
    placement = fleet("a", limits=CPU_ONLY)
    for number in range(50):
        start = place(placement, call(number), 1)
        assert placement.on_over(start.request.cid, start.epoch, False, 1) == "ended"
    assert placement.room(1) == 7


@pytest.mark.parametrize("worse", [{"lag_ms": LAGGING_MS + 1}, {"cpu": 0.3}])
def test_a_worker_that_is_late_or_busy_comes_last(worse: dict[str, float]) -> None:
    placement = fleet("a", "b")
    placement.on_report(report("a", **worse), 1)
    placement.on_report(report("b"), 1)
    assert [start.worker for start in fill(placement, 4, 1)] == ["b", "b", "b", "a"]


def test_a_late_request_of_an_ended_session_brings_nobody() -> None:
    placement = fleet("a")
    start = place(placement, call(0, "one"), 1)
    placement.on_over(start.request.cid, start.epoch, False, 2)
    assert placement.request(call(0, "one"), 3) == ("over", None)
    assert placement.counts["late"] == 1
    assert placement.request(call(0, "two"), 4)[0] == "started"


def test_room_is_kept_for_calls_that_wait_to_be_tried_again() -> None:
    placement = fleet("a", limits=Limits(max_calls=2))
    place(placement, call(0), 0.0)
    _, second = placement.request(call(1), 0.0)
    assert second is not None
    assert placement.on_not_started(second.request.cid, second.epoch, 0.0)
    with pytest.raises(FleetFullError):
        placement.request(call(2), 0.1)
    (again,) = placement.place_displaced(1.0)
    assert again.request.cid == second.request.cid


def test_a_call_that_moves_goes_to_where_it_was_expected() -> None:
    placement = fleet("a", "b", "c")
    starts = [place(placement, call(number), 0.0) for number in range(3)]
    held = [start for start in starts if start.worker == "a"]
    placement.close_worker("a")
    (start,) = held
    cid = start.request.cid
    assert placement.destination(cid, start.epoch, 1.0) is None, "it does not move"
    assert placement.move(cid, start.epoch)
    chosen = placement.destination(cid, start.epoch, 1.0)
    assert chosen in ("b", "c")
    assert placement.destination(cid, start.epoch, 1.0) == chosen, "it keeps to that"
    assert placement.destination(cid, start.epoch - 1, 1.0) is None, "of an older epoch"
    other = {"b": "c", "c": "b"}[str(chosen)]
    placement.on_report(report(str(chosen), {}, cpu=0.5), 1.0)
    assert placement.on_over(cid, start.epoch, False, 2.0) == "moved"
    (again,) = placement.place_displaced(2.0)
    assert again.worker == chosen, f"although {other} has more room now"
    assert again.reason == "moved"


def test_calls_that_move_are_expected_on_different_workers() -> None:
    placement = fleet("a")
    starts = fill(placement, 2, 0.0)
    for name in ("b", "c"):
        placement.worker_started(name, 1.0)
    placement.close_worker("a")
    for start in starts:
        assert placement.move(start.request.cid, start.epoch)
    chosen = {placement.destination(s.request.cid, s.epoch, 1.0) for s in starts}
    assert chosen == {"b", "c"}


def test_a_destination_that_is_gone_is_replaced() -> None:
    placement = fleet("a")
    (start,) = fill(placement, 1, 0.0)
    placement.close_worker("a")
    assert placement.move(start.request.cid, start.epoch)
    assert placement.destination(start.request.cid, start.epoch, 1.0) is None, "there is nobody"
    placement.worker_started("b", 1.0)
    assert placement.destination(start.request.cid, start.epoch, 1.0) == "b"
    placement.worker_lost("b", 1.0)
    placement.worker_started("c", 1.0)
    assert placement.on_over(start.request.cid, start.epoch, False, 2.0) == "moved"
    (again,) = placement.place_displaced(2.0)
    assert again.worker == "c"


def test_a_request_that_comes_after_the_end_of_its_session_brings_nobody() -> None:
    placement = fleet("a")
    assert placement.end("default:0", "one", 1) is None
    assert placement.request(call(0, "one"), 2) == ("over", None)


def test_the_end_of_a_session_is_forgotten_some_day() -> None:
    placement = fleet("a")
    placement.end("default:0", "one", 1)
    placement.end("default:1", "one", 1 + ENDED_FOR_S)
    assert placement.request(call(0, "one"), 2 + ENDED_FOR_S)[0] == "started"


def test_the_late_end_of_a_session_does_not_end_the_next_one() -> None:
    placement = fleet("a")
    place(placement, call(0, "two"), 1)
    assert placement.end("default:0", "one", 2) is None
    assert placement.held == 1
    assert placement.end("default:0", "two", 2) is not None
    assert placement.held == 0


def test_a_session_that_begins_while_the_one_before_is_held_follows_it() -> None:
    placement = fleet("a")
    start = place(placement, call(0, "one"), 1)
    placement.on_saved(start.request.cid, start.epoch, RESUME)
    assert placement.request(call(0, "two"), 2) == ("running", None)
    assert placement.on_over(start.request.cid, start.epoch, False, 3) == "succeeded"
    (after,) = placement.place_displaced(3)
    assert after.request.session_id == "two"
    assert after.reason == "new"
    assert after.resume is None
    assert after.epoch > start.epoch
    assert placement.request(call(0, "one"), 4) == ("over", None)


def test_the_word_of_the_session_before_is_not_taken_for_the_next_one() -> None:
    placement = fleet("a")
    start = place(placement, call(0, "one"), 1)
    placement.request(call(0, "two"), 2)
    placement.on_over(start.request.cid, start.epoch, False, 3)
    assert not placement.on_saved(start.request.cid, start.epoch, RESUME)
    leave = placement.on_report(report("a", {start.request.cid: start.epoch}), 3)
    assert leave == {start.request.cid: start.epoch}


def test_a_session_that_becomes_known_is_kept() -> None:
    placement = fleet("a")
    start = place(placement, call(0), 1)
    placement.request(call(0, "one"), 2)
    placement.on_over(start.request.cid, start.epoch, False, 3)
    assert placement.request(call(0, "one"), 4) == ("over", None)


# -- deaths ------------------------------------------------------------------------------------


def test_the_calls_of_a_dead_worker_go_on_elsewhere_with_what_resumes_them() -> None:
    placement = fleet("a", "b")
    start = place(placement, call(), 1)
    assert placement.on_saved(start.request.cid, start.epoch, RESUME)
    placement.on_report(report(start.worker, {start.request.cid: start.epoch}), 9)
    assert placement.worker_lost(start.worker, 10) == [start.request.cid]
    (again,) = placement.place_displaced(10)
    assert again.worker != start.worker
    assert again.epoch > start.epoch
    assert again.reason == "crashed"
    assert again.resume == RESUME


def test_the_last_word_of_a_dead_worker_still_counts_until_another_has_the_call() -> None:
    placement = fleet("a")
    start = place(placement, call(), 1)
    placement.worker_lost("a", 10)
    assert placement.on_saved(start.request.cid, start.epoch, RESUME)
    placement.worker_started("b", 11)
    (again,) = placement.place_displaced(11)
    assert again.resume == RESUME
    assert not placement.on_saved(start.request.cid, start.epoch, Resumption("", "model"))


def test_without_a_worker_calls_wait_for_the_next_one_and_come_before_new_ones() -> None:
    placement = fleet("a")
    fill(placement, 3, 1)
    placement.on_report(report("a", {f"default:{n}": FIRST_EPOCH + n for n in range(3)}), 9)
    placement.worker_lost("a", 10)
    assert placement.place_displaced(10) == []
    assert placement.unplaced == 3
    placement.worker_started("b", 11)
    with pytest.raises(FleetFullError):
        placement.request(call("new"), 11)
    assert len(placement.place_displaced(11)) == 3


def test_displaced_calls_may_exceed_the_limit_of_a_worker_and_are_spread() -> None:
    placement = fleet("a", "b", "c")
    fill(placement, 9, 1)
    held = {w.name: {cid: a.epoch for cid, a in w.calls.items()} for w in placement.workers()}
    for name, calls in held.items():
        placement.on_report(report(name, calls, cpu=0.3), 9)
    placement.worker_lost("a", 10)
    assert Counter(s.worker for s in placement.place_displaced(10)) in (
        {"b": 2, "c": 1},
        {"b": 1, "c": 2},
    )
    assert placement.unplaced == 0


def test_the_word_of_an_older_epoch_counts_for_nothing() -> None:
    placement = fleet("a", "b")
    start = place(placement, call(), 1)
    cid = start.request.cid
    placement.on_report(report(start.worker, {cid: start.epoch}), 9)
    placement.worker_lost(start.worker, 10)
    (again,) = placement.place_displaced(10)
    assert not placement.on_saved(cid, start.epoch, RESUME)
    assert placement.on_over(cid, start.epoch, True, 11) == "stale"
    assert not placement.on_not_started(cid, start.epoch, 11)
    assert not placement.move(cid, start.epoch)
    assignment = placement.assignment(cid)
    assert assignment is not None
    assert (assignment.epoch, assignment.worker) == (again.epoch, again.worker)
    # A worker that was taken for dead comes back with the call that another one has by now.
    zombie = report(start.worker, {cid: start.epoch})
    assert placement.on_report(zombie, 11) == {cid: start.epoch}


def test_a_zombie_does_not_keep_a_call_that_waits_for_a_worker() -> None:
    placement = fleet("a")
    start = place(placement, call(), 1)
    placement.worker_lost("a", 10)
    calls = {start.request.cid: start.epoch}
    assert placement.on_report(report("a", calls), 11) == calls


def test_silence_is_noticed_and_can_be_excused() -> None:
    placement = fleet("a", "b")
    placement.on_report(report("b"), 4)
    assert placement.silent(THREE.silent_s) == []
    assert [w.name for w in placement.silent(THREE.silent_s + 0.1)] == ["a"]
    placement.excuse_silence(THREE.silent_s + 0.1)
    assert placement.silent(THREE.silent_s + 0.1) == []


def test_a_call_that_kills_its_workers_is_given_up() -> None:
    placement = fleet()
    placement.worker_started("w0", 0)
    start = place(placement, call(), 1)
    now, delays = 1.0, []
    for number in range(1, MAX_FAILURES + 1):
        now += EARLY_CRASH_S / 2
        placement.worker_lost(start.worker, now)
        placement.worker_started(f"w{number}", now)
        due = placement.next_retry_at()
        if due is None:
            break
        delays.append(due - now)
        now = due
        (start,) = placement.place_displaced(now)
    assert delays == [0.25, 0.5, 1, 2, 4, 8, 8]
    assert placement.counts["given_up"] == 1
    assert placement.assignment("default:0") is None


# -- failures ----------------------------------------------------------------------------------


def test_a_failing_assistant_is_tried_ever_later_then_without_its_handle_then_given_up() -> None:
    placement = fleet("a")
    start = place(placement, call(0, "one"), 1)
    placement.on_saved(start.request.cid, start.epoch, RESUME)
    now, resumed = 1.0, []
    for delay in (0.25, 0.5, 1, 2, 4, 8, 8):
        assert placement.on_over(start.request.cid, start.epoch, True, now) == "failed"
        assert placement.place_displaced(now + delay - 0.01) == []
        now += delay
        (start,) = placement.place_displaced(now)
        assert start.reason == "crashed"
        resumed.append(start.resume)
    without = Resumption("", RESUME.model, RESUME.lines, RESUME.at)
    kept = HANDLE_FAILURES - 1
    assert resumed == [RESUME] * kept + [without] * (len(resumed) - kept)
    assert placement.on_over(start.request.cid, start.epoch, True, now) == "given up"
    assert placement.counts["given_up"] == 1
    assert (placement.held, placement.unplaced) == (0, 0)
    assert placement.request(call(0, "one"), now) == ("over", None)
    assert placement.request(call(0), now)[0] == "started"


def test_failures_that_are_far_apart_are_not_added_up() -> None:
    placement = fleet("a")
    start = place(placement, call(), 1)
    for number in range(3 * MAX_FAILURES):
        now = 1 + number * FAILURE_WINDOW_S
        assert placement.on_over(start.request.cid, start.epoch, True, now) == "failed"
        (start,) = placement.place_displaced(now + 0.25)


def test_a_call_that_is_not_taken_goes_elsewhere_and_is_never_given_up() -> None:
    placement = fleet("a", "b", "c")
    _, start = placement.request(call(), 1)
    assert start is not None
    now, workers = 1.0, [start.worker]
    for _ in range(30):
        assert placement.on_not_started(start.request.cid, start.epoch, now)
        due = placement.next_retry_at()
        assert due is not None
        assert 0 < due - now <= 8
        now = due
        (start,) = placement.place_displaced(now)
        workers.append(start.worker)
    assert set(workers[:3]) == {"a", "b", "c"}
    placement.on_started(start.request.cid, start.epoch)
    assert placement.held == 1


def test_a_call_that_its_worker_does_not_report_is_placed_again() -> None:
    placement = fleet("a", "b")
    start = place(placement, call(), 1)
    placement.on_report(report(start.worker), 1 + MISSING_S / 2)  # from before its start, maybe
    for number in range(MISSING_REPORTS):
        assert placement.unplaced == 0
        placement.on_report(report(start.worker), 1 + MISSING_S + number)
    (again,) = placement.place_displaced(10)
    assert again.reason == "crashed"
    assert placement.counts["missing"] == 1


def test_one_report_without_a_call_is_no_loss() -> None:
    placement = fleet("a")
    start = place(placement, call(), 1)
    holds = report("a", {start.request.cid: start.epoch})
    for number in range(10):
        placement.on_report(report("a"), 10 + 2 * number)
        placement.on_report(holds, 11 + 2 * number)
    assert placement.unplaced == 0


# -- drain -------------------------------------------------------------------------------------


def test_a_closed_worker_takes_nothing_and_its_calls_go_to_others() -> None:
    placement = fleet("a", "b")
    fill(placement, 4, 1)
    placement.close_worker("a")
    worker = placement.worker("a")
    assert worker is not None
    for cid, held in list(worker.calls.items()):
        assert placement.move(cid, held.epoch)
        assert not placement.move(cid, held.epoch)  # once
        assert placement.on_over(cid, held.epoch, False, 2) == "moved"
        (start,) = placement.place_displaced(2)
        assert start.worker == "b"
        assert start.reason == "moved"
    assert not worker.calls
    assert placement.counts["moved"] == 2


def test_a_failure_while_it_leaves_moves_a_call_all_the_same() -> None:
    placement = fleet("a", "b")
    start = place(placement, call(), 1)
    placement.move(start.request.cid, start.epoch)
    assert placement.on_over(start.request.cid, start.epoch, True, 2) == "moved"
    assert len(placement.place_displaced(2)) == 1


def test_a_worker_that_retires_takes_a_call_only_if_nobody_else_can() -> None:
    placement = fleet("a", "b")
    assert placement.retire(["a", "a", "nobody"]) == ["a"]
    assert [start.worker for start in fill(placement, 4, 1)] == ["b", "b", "b", "a"]
    placement.keep("a")
    assert placement.current() == 2


def test_a_move_that_could_not_be_told_is_taken_back() -> None:
    placement = fleet("a", "b")
    start = place(placement, call(), 1)
    placement.move(start.request.cid, start.epoch)
    placement.stay(start.request.cid, start.epoch)
    assert placement.on_over(start.request.cid, start.epoch, False, 2) == "ended"


# -- recovery ----------------------------------------------------------------------------------


def record(number: int | str, worker: str, epoch: int) -> CallRecord:
    return CallRecord(call(number, "one"), epoch, worker, RESUME)


def recovered(*records: CallRecord, found: tuple[str, ...] = ("a", "b")) -> Placement:
    placement = Placement(THREE, FIRST_EPOCH)
    for name in found:
        placement.worker_found(name, 0)
    for each in records:
        assert placement.recover(each, 0)
    return placement


def test_a_found_worker_takes_nothing_until_it_has_said_what_it_holds() -> None:
    placement = recovered(found=("a",))
    with pytest.raises(FleetFullError):
        placement.request(call(), 0)
    placement.on_report(report("a"), 1)
    assert placement.request(call(), 1)[0] == "started"


def test_a_recorded_call_stays_with_the_worker_that_reports_it() -> None:
    placement = recovered(record(0, "a", 7))
    assert placement.request(call(0, "one"), 0) == ("running", None)
    assert placement.on_report(report("a", {"default:0": 7}), 1) == {}
    assert placement.settle(3) == []
    assignment = placement.assignment("default:0")
    assert assignment is not None
    assert assignment.state is CallState.RUNNING
    assert assignment.resume == RESUME


def test_a_recorded_call_that_nobody_has_is_placed_again() -> None:
    placement = recovered(record(0, "dead", 7), record(1, "a", 8))
    placement.on_report(report("a"), 1)
    placement.on_report(report("b"), 1)
    assert placement.place_displaced(2) == []
    assert sorted(placement.settle(3)) == ["default:0", "default:1"]
    starts = placement.place_displaced(3)
    assert [(s.reason, s.resume) for s in starts] == [("crashed", RESUME)] * 2
    assert all(s.epoch >= FIRST_EPOCH for s in starts)


def test_a_call_moved_since_its_record_was_stored_stays_where_it_is() -> None:
    placement = recovered(record(0, "a", 7))
    assert placement.on_report(report("a"), 1) == {}
    assert placement.on_report(report("b", {"default:0": 9}), 1) == {}
    assert placement.settle(3) == []
    assignment = placement.assignment("default:0")
    assert assignment is not None
    assert (assignment.worker, assignment.epoch) == ("b", 9)


def test_of_two_workers_that_report_a_call_the_one_with_the_newer_epoch_has_it() -> None:
    placement = recovered(record(0, "a", 7))
    assert placement.on_report(report("a", {"default:0": 7}), 1) == {}
    assert placement.on_report(report("b", {"default:0": 9}), 1) == {}
    assert {w.name: list(w.calls) for w in placement.workers()} == {"a": [], "b": ["default:0"]}
    assert placement.on_report(report("a", {"default:0": 7}), 2) == {"default:0": 7}


def test_a_recorded_call_waits_for_a_worker_that_has_said_nothing_yet() -> None:
    placement = recovered(record(0, "a", 7))
    assert placement.settle(3) == []
    assert [w.name for w in placement.silent(6)] == ["a", "b"]
    assert placement.worker_lost("a", 6) == ["default:0"]


def test_a_call_in_no_record_is_adopted_and_its_request_completed() -> None:
    placement = recovered()
    assert placement.on_report(report("a", {"default:0": 7}), 1) == {}
    assert placement.counts["adopted"] == 1
    asked = CallRequest("default:0", "one", "bot", {"language": "fr"})
    assert placement.request(asked, 2) == ("running", None)
    placement.worker_lost("a", 10)
    placement.on_report(report("b"), 10)
    (start,) = placement.place_displaced(10)
    assert start.request == asked


def test_records_that_come_late_complete_what_was_adopted() -> None:
    placement = recovered()
    placement.on_report(report("a", {"default:0": 7}), 1)
    placement.settle(3)
    assert placement.recover(record(0, "a", 7), 9)
    assignment = placement.assignment("default:0")
    assert assignment is not None
    assert assignment.request == call(0, "one")
    assert assignment.resume == RESUME


def test_the_late_record_of_a_call_that_is_over_is_refused() -> None:
    placement = recovered()
    placement.on_report(report("a", {"default:0": 7}), 1)
    placement.on_over("default:0", 7, False, 2)
    assert not placement.recover(record(0, "a", 7), 9)
    assert placement.held == 0


@pytest.mark.parametrize("session", ["", "one"])
def test_a_call_that_ends_before_its_record_is_read_is_not_brought_back(session: str) -> None:
    placement = recovered()
    assert placement.end("default:0", session, 1) is None
    assert not placement.recover(record(0, "dead", 7), 9)
    assert placement.settle(9) == []
    assert placement.recover(record(1, "dead", 8), 9)


def test_a_call_that_was_ended_is_left_by_whoever_still_has_it() -> None:
    placement = fleet("a")
    start = place(placement, call(), 1)
    placement.end(start.request.cid, "", 2)
    holds = {start.request.cid: start.epoch}
    assert placement.on_report(report("a", holds), 3) == holds


def test_a_call_with_an_impossible_name_is_left() -> None:
    assert fleet("a").on_report(report("a", {"nonsense": 7}), 1) == {"nonsense": 7}


def test_epochs_exceed_all_that_are_heard_of() -> None:
    placement = recovered()
    placement.on_report(report("a", {"default:0": FIRST_EPOCH + 500}), 1)
    assert place(placement, call(1), 1).epoch > FIRST_EPOCH + 500


# -- size --------------------------------------------------------------------------------------


def test_size_follows_the_load() -> None:
    placement = fleet("a", limits=Limits(max_calls=3, spare_calls=1, idle_s=10))
    assert placement.wanted(0) == 1
    starts = fill(placement, 3, 1)
    assert (placement.wanted(1), placement.shortage(0, 1), placement.shortage(1, 1)) == (2, 1, 0)
    placement.waiting = 5
    assert placement.wanted(1) == 3
    placement.waiting = 0
    placement.worker_started("b", 2)
    assert placement.wanted(2) == 2
    for start in starts:
        placement.on_over(start.request.cid, start.epoch, False, 3)
    for name in ("a", "b"):
        placement.on_report(report(name), 4)
    assert placement.idle(9) == []
    assert len(placement.idle(30)) == 1
    assert placement.wanted(30) == 1


def test_size_is_measured_by_the_cost_of_calls() -> None:
    placement = fleet("a", limits=Limits(max_cpu=0.8, call_cpu=0.1, max_workers=10, spare_calls=0))
    calls = {s.request.cid: s.epoch for s in fill(placement, 4, 1)}
    placement.on_report(report("a", calls, cpu=1.6), 1 + SHOWS_AFTER_S)
    placement.waiting = 4  # at 0.4 each, two in a worker
    assert placement.wanted(1 + SHOWS_AFTER_S) == 3


def test_a_worker_with_calls_is_never_idle() -> None:
    placement = fleet("a", "b", limits=Limits(max_calls=3, idle_s=10))
    start = place(placement, call(), 1)
    other = "b" if start.worker == "a" else "a"
    assert placement.idle(100) == [other]


def test_there_are_never_more_workers_than_allowed_but_one_while_some_are_replaced() -> None:
    placement = fleet("a", "b", limits=Limits(max_calls=3, max_workers=2))
    placement.waiting = 50
    assert placement.shortage(0, 1) == 0
    placement.retire(["a", "b"])
    assert placement.shortage(0, 1) == 1
    assert placement.shortage(1, 1) == 0


def test_a_fleet_may_rest_without_workers() -> None:
    placement = fleet("a", limits=Limits(min_workers=0, spare_calls=0, idle_s=10))
    assert placement.idle(11) == ["a"]
    placement.close_worker("a")
    placement.worker_lost("a", 11)
    assert placement.wanted(12) == 0
    placement.waiting = 1
    assert placement.wanted(12) == 1


# -- limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"max_calls": 0}, "max_calls"),
        ({"max_calls": 2.5}, "max_calls"),
        ({"max_calls": True}, "max_calls"),
        ({"max_cpu": 0}, "max_cpu"),
        ({"max_cpu": float("nan")}, "max_cpu"),
        ({"max_cpu": "1"}, "max_cpu"),
        ({"call_cpu": 0}, "call_cpu"),
        ({"call_cpu": float("inf")}, "call_cpu"),
        ({"call_cpu": 0.8, "max_cpu": 0.7}, "call_cpu"),
        ({"min_workers": -1}, "min_workers"),
        ({"min_workers": 5, "max_workers": 4}, "min_workers"),
        ({"max_workers": 0}, "max_workers"),
        ({"spare_calls": -1}, "spare_calls"),
        ({"idle_s": -1}, "idle_s"),
        ({"silent_s": 1}, "silent_s"),
        ({"silent_s": None}, "silent_s"),
    ],
)
def test_limits_that_cannot_be_are_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=rf"Limits\.{named}"):
        Limits(**values)


# -- any course --------------------------------------------------------------------------------


class AnyCourse(RuleBasedStateMachine):
    """Drives a placement with workers that confirm, fail, die, return as zombies and are drained.

    `lives` has, for each worker that runs, what it holds: the truth that placement must match.
    """

    starts: Bundle[StartCall] = Bundle("starts")

    @initialize(max_calls=st.sampled_from([None, 2, 3]), found=st.integers(0, 2))
    def begin(self, max_calls: int | None, found: int) -> None:
        self.limits = Limits(max_calls=max_calls, max_cpu=0.5, call_cpu=0.1, max_workers=3)
        self.placement = Placement(self.limits, FIRST_EPOCH)
        self.now = 0.0
        self.names = 0
        self.last_epoch = FIRST_EPOCH - 1
        self.accepted: set[str] = set()  # calls, and not ended
        self.lives: dict[str, dict[str, int]] = {}
        self.overloaded: set[str] = set()  # by displaced calls
        for number in range(found):
            name = f"found{number}"
            self.lives[name] = {}
            self.placement.worker_found(name, self.now)

    def carry_out(self, starts: list[StartCall]) -> Any:
        for start in starts:
            assert start.epoch > self.last_epoch, "epochs grow"
            self.last_epoch = start.epoch
            assert start.worker in self.lives, "only workers that run are given calls"
            if start.reason != "new":
                self.overloaded.add(start.worker)
        return multiple(*starts)

    @rule(seconds=st.sampled_from([0.1, 0.3, 1.0, 4.0, 30.0]), target=starts)
    def time_passes(self, seconds: float) -> Any:
        self.now += seconds
        starts = self.placement.place_displaced(self.now)
        # A worker may be given more than it should have by these, whose people wait already.
        self.overloaded.update(start.worker for start in starts)
        return self.carry_out(starts)

    @rule(
        number=st.integers(0, 9),
        session=st.sampled_from(["", "one", "two"]),
        target=starts,
    )
    def request(self, number: int, session: str) -> Any:
        request = call(number, session)
        had_room = self.placement.room(self.now) > 0
        known = self.placement.assignment(request.cid)
        try:
            state, start = self.placement.request(request, self.now)
        except FleetFullError:
            assert known is None
            assert not had_room or self.placement.unplaced
            return multiple()
        if state == "started":
            assert known is None
            assert start is not None
            self.accepted.add(request.cid)
            return self.carry_out([start])
        assert start is None
        assert state == "over" or known is not None
        return multiple()

    @rule(start=consumes(starts), how=st.sampled_from(["taken", "taken unheard", "refused"]))
    def start_arrives(self, start: StartCall, how: str) -> None:
        held = self.lives.get(start.worker)
        if how == "refused" or held is None:
            self.placement.on_not_started(start.request.cid, start.epoch, self.now)
            return
        if held.get(start.request.cid, -1) < start.epoch:  # as workers do
            held[start.request.cid] = start.epoch
        if how == "taken":
            self.placement.on_started(start.request.cid, start.epoch)

    @rule(data=st.data(), cpu=st.sampled_from([0.0, 0.02, 0.2]))
    def reports(self, data: st.DataObject, cpu: float) -> None:
        if not self.lives:
            return
        name = data.draw(st.sampled_from(sorted(self.lives)))
        held = self.lives[name]
        told = report(name, dict(held), cpu=min(0.4, cpu * len(held)))
        for cid, epoch in self.placement.on_report(told, self.now).items():
            assert held[cid] == epoch, "only what it holds is to be left"
            del held[cid]

    @rule(data=st.data(), failed=st.booleans(), lost=st.booleans())
    def call_is_over(self, data: st.DataObject, failed: bool, lost: bool) -> None:
        holding = sorted((name, cid) for name, held in self.lives.items() for cid in held)
        if not holding:
            return
        name, cid = data.draw(st.sampled_from(holding))
        epoch = self.lives[name].pop(cid)
        if lost:  # the word does not arrive: the reports tell
            return
        verdict = self.placement.on_over(cid, epoch, failed, self.now)
        if verdict in ("ended", "given up"):
            self.accepted.discard(cid)
        if verdict == "stale":
            current = self.placement.assignment(cid)
            assert current is None or current.epoch != epoch or current.state is CallState.UNPLACED

    @rule(data=st.data())
    def is_saved(self, data: st.DataObject) -> None:
        holding = sorted((name, cid) for name, held in self.lives.items() for cid in held)
        if not holding:
            return
        name, cid = data.draw(st.sampled_from(holding))
        epoch = self.lives[name][cid]
        current = self.placement.assignment(cid)
        counts = self.placement.on_saved(cid, epoch, RESUME)
        assert counts == (current is not None and current.epoch == epoch)

    @rule(number=st.integers(0, 9), session=st.sampled_from(["", "one", "two"]))
    def ends(self, number: int, session: str) -> None:
        cid = f"default:{number}"
        if self.placement.end(cid, session, self.now) is not None:
            self.accepted.discard(cid)

    @precondition(lambda self: len(self.lives) < 4)
    @rule()
    def worker_starts(self) -> None:
        self.names += 1
        name = f"w{self.names}"
        self.lives[name] = {}
        assert self.placement.worker_started(name, self.now)

    @rule(data=st.data(), really=st.booleans())
    def worker_dies(self, data: st.DataObject, really: bool) -> None:
        """One dies; or it is only taken for dead, and comes back with all its calls."""
        if not self.lives:
            return
        name = data.draw(st.sampled_from(sorted(self.lives)))
        if really:
            del self.lives[name]
        for cid in self.placement.worker_lost(name, self.now):
            if self.placement.assignment(cid) is None:  # given up
                self.accepted.discard(cid)
        self.overloaded.discard(name)
        if not really:
            self.placement.worker_found(name, self.now)

    @rule(data=st.data(), closed=st.booleans())
    def worker_retires(self, data: st.DataObject, closed: bool) -> None:
        if not self.lives:
            return
        name = data.draw(st.sampled_from(sorted(self.lives)))
        self.placement.retire([name])
        worker = self.placement.worker(name)
        if closed and worker is not None:
            self.placement.close_worker(name)
            for cid, held in worker.calls.items():
                self.placement.move(cid, held.epoch)

    @rule()
    def settles(self) -> None:
        self.placement.settle(self.now)

    @invariant()
    def nothing_is_lost(self) -> None:
        """Each accepted call has a worker that is there, or waits for one."""
        for cid in self.accepted:
            assignment = self.placement.assignment(cid)
            assert assignment is not None
            if assignment.state is CallState.UNPLACED:
                continue
            worker = self.placement.worker(assignment.worker)
            assert worker is not None
            assert worker.calls[cid] is assignment

    @invariant()
    def one_assignment_is_valid(self) -> None:
        """No two workers hold a call in the epoch that counts, nor a call in two lists."""
        listed = Counter(cid for w in self.placement.workers() for cid in w.calls)
        assert all(number == 1 for number in listed.values())
        assert self.placement.held == sum(listed.values())
        for name, held in self.lives.items():
            for cid, epoch in held.items():
                current = self.placement.assignment(cid)
                if current is not None and current.state is not CallState.UNPLACED:
                    assert current.epoch != epoch or current.worker == name

    @invariant()
    def limits_hold(self) -> None:
        for worker in self.placement.workers():
            if worker.name in self.overloaded or any(a.anonymous for a in worker.calls.values()):
                continue
            if self.limits.max_calls is not None:
                assert len(worker.calls) <= self.limits.max_calls
            assert worker.phase is not WorkerPhase.FOUND or not any(
                a.state is CallState.STARTING for a in worker.calls.values()
            )
            fresh = sum(self.now - a.since < SHOWS_AFTER_S for a in worker.calls.values())
            assert fresh * self.limits.call_cpu <= self.limits.max_cpu + 1e-9

    @invariant()
    def size_is_in_range(self) -> None:
        assert self.limits.min_workers <= self.placement.wanted(self.now) <= self.limits.max_workers
        for name in self.placement.idle(self.now):
            worker = self.placement.worker(name)
            assert worker is not None
            assert not worker.calls


AnyCourse.TestCase.settings = settings(max_examples=15, stateful_step_count=60, deadline=None)
TestAnyCourse = AnyCourse.TestCase
