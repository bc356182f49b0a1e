"""When a connection is left, and how it is had again: tables, and what holds for any course."""

from __future__ import annotations

from typing import Any

import pytest
from getstream.plugins.gemini.errors import (
    AuthError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    GeminiError,
    ModelNotFoundError,
    QuotaError,
    RequestError,
    SessionExpiredError,
)
from getstream.plugins.gemini.live._session.reconnect import (
    HANDLE_ATTEMPTS,
    JITTER,
    LARGEST_DELAY_S,
    LAST_MINUTE_S,
    LASTED_S,
    LEAVE_BEFORE_AT_LEAST_S,
    LEAVE_BEFORE_S,
    LONG_REST_BEFORE_S,
    LONG_REST_S,
    MOST_LOSSES,
    MOST_MOVES,
    OUTAGE_S,
    REFUSED_AGAIN_S,
    REST_S,
    WINDOW_S,
    ReconnectAttempt,
    ReconnectPolicy,
)
from hypothesis import given
from hypothesis import strategies as st


def lost(code: int = 1006) -> ConnectionLostError:
    return ConnectionLostError("lost", code=code, retryable=True)


def unreachable() -> ConnectError:
    return ConnectError("unreachable", retryable=True)


def connected(
    *, resumable: bool = True, handle: str = "h1", random: float = 0.0, renews_key: bool = False
) -> ReconnectPolicy:
    policy = ReconnectPolicy(resumable=resumable, renews_key=renews_key, random=lambda: random)
    policy.on_connected(0.0)
    if handle:
        policy.on_resumption_handle(handle, True)
    return policy


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1011, 1012])
def test_every_close_that_nobody_asked_for_is_resumed_at_once(code: int) -> None:
    assert connected().on_disconnected(100.0, lost(code)) == ReconnectAttempt(
        attempt=1, delay_s=0.0, handle="h1"
    )


def test_without_a_handle_a_new_session_begins() -> None:
    assert connected(handle="").on_disconnected(100.0, lost()) == ReconnectAttempt(1, 0.0, "")
    assert connected(resumable=False).on_disconnected(100.0, lost()) == ReconnectAttempt(1, 0.0, "")


def test_handles_are_followed_and_the_last_good_one_is_kept() -> None:
    policy = connected()
    policy.on_resumption_handle("h2", True)
    policy.on_resumption_handle("", False)  # in the middle of a turn
    policy.on_resumption_handle("h3", False)
    policy.on_resumption_handle("", True)  # an update that says nothing
    assert policy.handle == "h2"
    policy.on_resumption_handle("h4", True)
    assert policy.on_disconnected(1.0, lost()) == ReconnectAttempt(1, 0.0, "h4")


def test_attempts_are_spaced_and_end_with_the_outage() -> None:
    policy = connected()
    now, plan, delays = 100.0, policy.on_disconnected(100.0, lost()), []
    while plan is not None:
        delays.append(plan.delay_s)
        now += plan.delay_s + 0.1
        plan = policy.on_attempt_failed(now, unreachable())
    assert delays[:6] == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0]
    assert set(delays[6:]) == {LARGEST_DELAY_S}
    assert OUTAGE_S - LARGEST_DELAY_S - 1 < now - 100.0 <= OUTAGE_S


def test_the_jitter_shortens() -> None:
    policy = connected(random=1.0)
    policy.on_disconnected(0.0, lost())
    plan = policy.on_attempt_failed(0.1, unreachable())
    assert plan is not None
    assert plan.delay_s == 0.25 * (1 - JITTER)


@pytest.mark.parametrize(
    "error",
    [
        AuthError("no", code=403),
        ModelNotFoundError("no", code=1008),
        ConfigError("no"),
        ConnectError("no", retryable=False),
        ConnectError("no", code=1008, retryable=False),
        RequestError("no", code=1007),
    ],
)
def test_what_does_not_become_right_by_trying_again_is_final(error: GeminiError) -> None:
    policy = connected(handle="")
    assert policy.on_disconnected(0.0, lost()) is not None
    assert policy.on_attempt_failed(0.1, error) is None


def test_a_used_up_quota_is_tried_again() -> None:
    policy = connected()
    assert policy.on_disconnected(
        0.0, QuotaError("no", code=1011, retryable=True)
    ) == ReconnectAttempt(1, 0.0, "h1")
    assert policy.on_attempt_failed(0.1, QuotaError("no", code=1011, retryable=True)) is not None


@pytest.mark.parametrize(
    "error",
    [
        ConnectError("not found", code=1008, retryable=False),
        SessionExpiredError("not found", code=1008, retryable=True),
        RequestError("invalid", code=1007),
    ],
)
def test_a_refused_handle_is_not_tried_again(error: GeminiError) -> None:
    policy = connected()
    assert policy.on_disconnected(0.0, lost()) == ReconnectAttempt(1, 0.0, "h1")
    plan = policy.on_attempt_failed(0.1, error)
    assert plan is not None
    assert (plan.attempt, plan.handle) == (2, "")


def test_a_handle_is_tried_again_while_the_service_is_in_trouble() -> None:
    policy = connected()
    policy.on_disconnected(0.0, lost())
    for _ in range(20):
        plan = policy.on_attempt_failed(0.1, unreachable())
        assert plan is not None
        assert plan.handle == "h1", "nobody has refused it"
    handles = []
    for _ in range(HANDLE_ATTEMPTS + 1):
        plan = policy.on_attempt_failed(0.1, ConnectError("internal", code=1011, retryable=True))
        assert plan is not None
        handles.append(plan.handle)
    assert handles == ["h1"] * (HANDLE_ATTEMPTS - 1) + ["", ""], "but not for ever"


def test_1007_is_never_resumed_blindly() -> None:
    refused = RequestError("invalid", code=1007)
    policy = connected()
    assert policy.on_disconnected(10.0, refused) == ReconnectAttempt(1, 0.0, ""), (
        "a new session, without the handle"
    )
    policy.on_connected(10.5)
    policy.on_resumption_handle("h2", True)
    assert policy.on_disconnected(10.5 + REFUSED_AGAIN_S - 1, refused) is None, "soon again: final"
    patient = connected()
    patient.on_disconnected(10.0, refused)
    patient.on_connected(10.5)
    assert patient.on_disconnected(10.0 + REFUSED_AGAIN_S + 1, refused) is not None


def test_connections_that_do_not_last_are_given_up() -> None:
    policy = connected()
    for index in range(MOST_LOSSES):
        assert policy.on_disconnected(float(index), lost()) is not None
        policy.on_connected(index + 0.5)
    assert policy.on_disconnected(MOST_LOSSES, lost()) is None
    assert policy.on_disconnected(MOST_LOSSES + WINDOW_S, lost()) is not None, "they are forgotten"


def test_planned_moves_have_a_budget_of_their_own() -> None:
    policy = connected()
    for index in range(MOST_LOSSES):
        policy.on_disconnected(float(index), lost())
        policy.on_connected(float(index))
    for index in range(MOST_MOVES):
        assert policy.on_disconnected(20.0 + index, None) == ReconnectAttempt(1, 0.0, "h1")
        policy.on_connected(20.0 + index)
    assert policy.on_disconnected(40.0, None) == ReconnectAttempt(1, 0.0, "h1"), (
        "a planned move is never final"
    )


def test_an_announced_end_is_left_at_a_rest_or_in_time() -> None:
    policy = connected()
    assert not policy.should_leave(100.0, 0.0, receiving=False), "nothing is announced"
    policy.on_go_away(100.0, 50.0)
    assert policy.leave_at == 150.0 - LEAVE_BEFORE_S
    assert not policy.should_leave(101.0, None, receiving=False), "somebody speaks"
    assert not policy.should_leave(101.0, 100.0, receiving=False), "a pause is not yet a rest"
    assert policy.should_leave(100.0 + REST_S, 100.0, receiving=False)
    assert policy.should_leave(145.0, None, receiving=False), "there is little time"
    assert not policy.should_leave(145.0, None, receiving=True), "a turn is soon whole"
    assert policy.should_leave(149.0, None, receiving=True), "there is no more time"
    policy.on_connected(149.5)
    assert policy.leave_at is None


def test_an_early_announcement_moves_nothing_before_its_time() -> None:
    policy = connected()
    policy.on_go_away(1.0, 300.0)
    ends_at = 301.0
    for now in (1.0, 10.0, 100.0, ends_at - LONG_REST_BEFORE_S - 0.1):
        assert not policy.should_leave(now, 0.0, receiving=False), "it has rested all the time"
    assert policy.may_leave_from == ends_at - LONG_REST_BEFORE_S
    assert policy.should_leave(ends_at - LONG_REST_BEFORE_S, 0.0, receiving=False)


def test_shortly_before_the_last_minute_a_rest_has_to_be_long() -> None:
    policy = connected()
    policy.on_go_away(0.0, 300.0)
    last_minute = 300.0 - LAST_MINUTE_S
    rest = last_minute - 5.0
    assert not policy.should_leave(last_minute - 0.1, rest, receiving=False)
    assert policy.should_leave(last_minute, rest, receiving=False)
    long_rest = last_minute - 0.1 - LONG_REST_S
    assert policy.should_leave(last_minute - 0.1, long_rest, receiving=False)
    assert not policy.should_leave(last_minute - 0.1, None, receiving=False), "somebody speaks"


def test_a_fresh_connection_needs_a_rest_of_its_own() -> None:
    policy = connected()
    policy.on_disconnected(100.0, None)
    policy.on_connected(100.5)
    policy.on_go_away(100.6, 50.0)
    assert not policy.should_leave(101.0, 0.0, receiving=False), "the rest began before it"
    assert not policy.should_leave(100.5 + REST_S - 0.1, 0.0, receiving=False)
    assert policy.should_leave(100.5 + REST_S, 0.0, receiving=False)


def moved(times: int) -> ReconnectPolicy:
    """A session that was moved so many times in one second, until time 0."""
    policy = connected()
    for index in range(times):
        assert policy.on_disconnected(-1 + index / times, None) is not None
        policy.on_connected(0.0)
    return policy


@pytest.mark.parametrize("receiving", [False, True])
def test_when_the_moves_are_used_up_a_connection_is_left_in_time_or_ended(receiving: bool) -> None:
    policy = moved(MOST_MOVES)
    policy.on_go_away(0.0, 50.0)
    leave_at = 50.0 - (LEAVE_BEFORE_AT_LEAST_S if receiving else LEAVE_BEFORE_S)
    assert not policy.should_leave(leave_at - 1, 0.0, receiving), "it rests"
    assert policy.should_leave(leave_at, None, receiving)
    policy.on_go_away(0.0, 10.0)
    assert not policy.should_leave(LASTED_S - 1, None, receiving), "the service ends it"
    fresh = moved(MOST_MOVES - 1)
    fresh.on_go_away(0.0, 10.0)
    assert fresh.should_leave(REST_S, 0.0, receiving), "one was left"
    fresh = moved(MOST_MOVES)
    fresh.on_go_away(WINDOW_S, 10.0)
    assert fresh.should_leave(WINDOW_S + REST_S, 0.0, receiving), "they are forgotten"


@given(st.floats(0.0, 600.0), st.booleans())
def test_a_service_that_announces_an_end_on_each_connection_ends_no_session(
    time_left: float, rests: bool
) -> None:
    """Nor does it make a loop: an hour of it, with a service that never ends one itself."""
    policy = connected()
    now, opened, moves = 0.0, 0.0, 0
    policy.on_go_away(now, time_left)
    while now < 3600.0:
        now += 0.5
        if policy.should_leave(now, 0.0 if rests else None, receiving=False):
            assert policy.on_disconnected(now, None) == ReconnectAttempt(1, 0.0, "h1")
            moves += 1
            if time_left > LONG_REST_BEFORE_S:
                assert now - opened >= time_left - LONG_REST_BEFORE_S
            opened = now
            policy.on_connected(now)
            policy.on_go_away(now, time_left)
    assert moves <= 3600.0 / WINDOW_S * (MOST_MOVES + WINDOW_S / LASTED_S)


def test_an_announcement_without_a_time_is_left_at_once() -> None:
    policy = connected()
    policy.on_go_away(100.0, 0.0)
    assert policy.should_leave(100.0, None, receiving=True)


ERRORS = st.sampled_from(
    [
        lost(),
        unreachable(),
        RequestError("invalid", code=1007),
        SessionExpiredError("over", code=1011, retryable=True),
        QuotaError("quota", code=1011, retryable=True),
        ConnectError("refused", code=1008, retryable=False),
        AuthError("key", code=401),
    ]
)


@given(
    st.lists(st.tuples(ERRORS, st.floats(0.0, 30.0), st.booleans()), max_size=60),
    st.floats(0.0, 1.0),
)
def test_whatever_happens_attempts_end_and_are_spaced(
    course: list[tuple[GeminiError, float, bool]], random: float
) -> None:
    policy = connected(random=random)
    now, outage = 0.0, None
    for error, seconds, opens in course:
        plan: Any
        if outage is None:
            outage, plan = now, policy.on_disconnected(now, error)
        else:
            plan = policy.on_attempt_failed(now, error)
        if plan is None:
            return
        assert now + plan.delay_s - outage <= OUTAGE_S
        assert 0 <= plan.delay_s <= LARGEST_DELAY_S
        now += plan.delay_s + seconds
        if opens:
            policy.on_connected(now)
            policy.on_resumption_handle(f"h{now}", True)
            outage = None


# -- the numbers, and what happens just before and just behind them --------------------------------


def resume(handle: str = "h1", attempt: int = 1, delay: float = 0.0) -> ReconnectAttempt:
    return ReconnectAttempt(attempt, delay, handle)


def test_an_outage_is_tried_for_sixty_seconds_and_no_longer() -> None:
    for attempts, last_s in ((1, 59.75), (5, 56.0)):
        for late in (False, True):
            policy = connected()
            policy.on_disconnected(100.0, lost())
            for _ in range(attempts - 1):
                assert policy.on_attempt_failed(100.0, unreachable()) is not None
            plan = policy.on_attempt_failed(100.0 + last_s + late * 0.001, unreachable())
            assert (plan is None) is late


def test_delays_are_doubled_up_to_four_seconds_and_halved_at_most_by_the_jitter() -> None:
    for random, delays in (
        (0.0, [0.25, 0.5, 1.0, 2.0, 4.0, 4.0]),
        (0.5, [0.1875, 0.375, 0.75, 1.5, 3.0, 3.0]),
        (1.0, [0.125, 0.25, 0.5, 1.0, 2.0, 2.0]),
    ):
        policy = connected(random=random)
        assert policy.on_disconnected(0.0, lost()) == resume()
        for attempt, delay in enumerate(delays, start=2):
            assert policy.on_attempt_failed(0.0, unreachable()) == resume("h1", attempt, delay)
        policy.on_connected(1.0)
        assert policy.on_disconnected(2.0, lost()) == resume(), "the next outage begins anew"
        assert policy.on_attempt_failed(2.0, unreachable()) == resume("h1", 2, delays[0])


def test_the_time_of_an_outage_begins_with_it() -> None:
    policy = connected()
    policy.on_disconnected(0.0, lost())
    policy.on_connected(30.0)
    policy.on_disconnected(50.0, lost())
    assert policy.on_attempt_failed(105.0, unreachable()) is not None


@pytest.mark.parametrize(
    ("rests_for_s", "left_s", "leaves"),
    [
        (2.0, 60.0, True),
        (2.0, 60.1, False),
        (1.9, 60.0, False),
        (9.9, 60.1, False),
        (10.0, 60.1, True),
        (10.0, 90.0, True),
        (10.0, 90.1, False),
        (0.0, 5.0, True),
        (0.0, 5.1, False),
    ],
)
def test_when_an_announced_end_is_left(rests_for_s: float, left_s: float, leaves: bool) -> None:
    policy = connected()
    policy.on_go_away(1.0, 299.0)
    now = 300.0 - left_s
    assert policy.should_leave(now, now - rests_for_s, receiving=False) is leaves
    assert policy.may_leave_from == 210.0
    assert policy.leave_at == 295.0


@pytest.mark.parametrize(("left_s", "leaves"), [(1.1, False), (1.0, True)])
def test_a_turn_that_is_being_sent_has_until_the_last_second(left_s: float, leaves: bool) -> None:
    policy = connected()
    policy.on_go_away(0.0, 50.0)
    assert policy.should_leave(50.0 - left_s, None, receiving=True) is leaves


@pytest.mark.parametrize("time_left", [0.0, 0.5, 1.0, 5.0])
@pytest.mark.parametrize("receiving", [False, True])
def test_an_announcement_with_little_time_is_never_in_the_past(
    time_left: float, receiving: bool
) -> None:
    policy = connected()
    policy.on_go_away(10.0, time_left)
    assert policy.leave_at == 10.0
    leave_by = 10.0 + (max(0.0, time_left - 1.0) if receiving else 0.0)
    assert policy.should_leave(leave_by, None, receiving)
    assert not policy.should_leave(leave_by - 0.1, None, receiving)


@pytest.mark.parametrize("moves", [9, 10])
def test_ten_planned_moves_in_ten_minutes(moves: int) -> None:
    policy = moved(moves)
    policy.on_go_away(0.0, 20.0)
    assert policy.should_leave(2.0, 0.0, receiving=False) is (moves < 10), "a rest"
    policy.on_go_away(0.0, 31.0)
    assert policy.should_leave(29.9, None, receiving=False) is (moves < 10), "in time"
    assert policy.should_leave(30.0, None, receiving=False)
    policy.on_go_away(590.0, 20.0)
    assert policy.should_leave(598.9, 0.0, receiving=False) is (moves < 10)
    assert policy.should_leave(599.0, 0.0, receiving=False), "the first was ten minutes ago"


@pytest.mark.parametrize(("gap_s", "final"), [(59.9, True), (60.0, False)])
def test_a_second_1007_within_a_minute_is_final(gap_s: float, final: bool) -> None:
    refused = RequestError("invalid", code=1007)
    policy = connected()
    assert policy.on_disconnected(10.0, refused) == resume("")
    policy.on_connected(10.5)
    assert (policy.on_disconnected(10.0 + gap_s, refused) is None) is final


def test_a_1007_in_answer_to_a_handle_and_one_without_it() -> None:
    refused = RequestError("invalid", code=1007)
    policy = connected()
    assert policy.on_disconnected(0.0, lost()) == resume()
    assert policy.on_attempt_failed(0.0, refused) == resume("", 2, 0.25)
    assert policy.on_attempt_failed(0.3, refused) is None
    assert policy.handle == ""


def test_a_1007_counts_wherever_it_comes() -> None:
    refused = RequestError("invalid", code=1007)
    for in_resume_first in (True, False):
        policy = connected()
        if in_resume_first:
            policy.on_disconnected(0.0, lost())
            assert policy.on_attempt_failed(0.0, refused) == resume("", 2, 0.25)
        else:
            assert policy.on_disconnected(0.0, refused) == resume("")
        policy.on_connected(1.0)
        policy.on_resumption_handle("h2", True)
        if in_resume_first:
            assert policy.on_disconnected(30.0, refused) is None
        else:
            assert policy.on_disconnected(30.0, lost()) == resume("h2")
            assert policy.on_attempt_failed(30.0, refused) is None, "with or without the handle"


def test_eleven_losses_in_ten_minutes_are_final() -> None:
    policy = connected()
    for index in range(10):
        assert policy.on_disconnected(float(index), lost()) == resume()
        policy.on_connected(index + 0.5)
    assert policy.on_disconnected(599.9, lost()) is None
    assert policy.on_disconnected(600.9, lost()) is None, "itself was counted"
    patient = connected()
    for index in range(10):
        patient.on_disconnected(float(index), lost())
        patient.on_connected(index + 0.5)
    assert patient.on_disconnected(600.0, lost()) == resume(), "the first is forgotten"


def test_a_session_that_has_just_begun_has_nothing_to_leave() -> None:
    policy = ReconnectPolicy(resumable=True, random=lambda: 0.0)
    assert (policy.handle, policy.leave_at, policy.may_leave_from) == ("", None, None)
    assert not policy.should_leave(0.0, 0.0, receiving=False)
    policy.on_go_away(0.0, 0.0)
    assert not policy.should_leave(0.0, 0.0, receiving=False), "there is no connection"


# -- handles ---------------------------------------------------------------------------------------


def closed(code: int | None, retryable: bool = True) -> ConnectError:
    return ConnectError("closed", code=code, retryable=retryable)


@pytest.mark.parametrize("code", [1000, 1006, 1011, 1012])
def test_four_answers_to_a_handle_are_enough(code: int) -> None:
    policy = connected()
    policy.on_disconnected(0.0, lost())
    assert policy.on_attempt_failed(0.0, closed(code)) == resume("h1", 2, 0.25)
    assert policy.on_attempt_failed(0.0, unreachable()) == resume("h1", 3, 0.5), (
        "which is no answer"
    )
    assert policy.on_attempt_failed(0.0, closed(code)) == resume("h1", 4, 1.0)
    assert policy.on_attempt_failed(0.0, closed(code)) == resume("h1", 5, 2.0)
    assert policy.on_attempt_failed(0.0, closed(code)) == resume("", 6, 4.0)
    policy.on_connected(10.0)
    policy.on_resumption_handle("h2", True)
    policy.on_disconnected(20.0, lost())
    assert policy.on_attempt_failed(20.0, closed(code)) == resume("h2", 2, 0.25), "counted anew"


@pytest.mark.parametrize(
    "error",
    [
        closed(503),
        closed(999),
        closed(None),
        QuotaError("quota", code=1011, retryable=True),
        QuotaError("quota", code=1008, retryable=True),
    ],
    ids=str,
)
def test_what_is_not_about_the_handle_does_not_cost_it(error: GeminiError) -> None:
    policy = connected()
    policy.on_disconnected(0.0, lost())
    for attempt in range(2, 12):
        plan = policy.on_attempt_failed(0.0, error)
        assert plan is not None
        assert (plan.attempt, plan.handle) == (attempt, "h1")


@pytest.mark.parametrize("code", [1007, 1008, 1011])
@pytest.mark.parametrize("kind", [AuthError, ModelNotFoundError])
def test_a_refused_key_or_model_is_not_tried_without_the_handle(
    code: int, kind: type[AuthError] | type[ModelNotFoundError]
) -> None:
    policy = connected()
    policy.on_disconnected(0.0, lost())
    assert policy.on_attempt_failed(0.0, kind("no", code=code)) is None


@pytest.mark.parametrize("code", [1003, 1009, 404])
def test_what_would_be_answered_the_same_again_is_final(code: int) -> None:
    policy = connected()
    policy.on_disconnected(0.0, lost())
    for _ in range(3):
        assert policy.on_attempt_failed(0.0, closed(1011)) is not None
    assert policy.on_attempt_failed(0.0, closed(code, retryable=False)) is None


def test_what_no_session_has_said_is_final_too() -> None:
    policy = connected()
    policy.on_disconnected(0.0, lost())
    assert policy.on_attempt_failed(0.0, GeminiError("no")) is None
    assert connected().on_disconnected(0.0, GeminiError("no")) is None


# -- the first connection --------------------------------------------------------------------------


def beginning(handle: str, renews_key: bool = False) -> ReconnectPolicy:
    policy = ReconnectPolicy(
        resumable=True, handle=handle, renews_key=renews_key, random=lambda: 0.0
    )
    assert policy.first_attempt(100.0) == resume(handle)
    return policy


@pytest.mark.parametrize(
    "error", [unreachable(), closed(503), closed(1011), RequestError("no", code=1007)], ids=repr
)
def test_the_first_connection_without_a_handle_is_the_callers_to_try_again(
    error: GeminiError,
) -> None:
    assert beginning("").on_attempt_failed(100.0, error) is None


@pytest.mark.parametrize(
    "error",
    [
        RequestError("Invalid session handle", code=1007),
        closed(1008, retryable=False),
        SessionExpiredError("not known", code=1008, retryable=True),
    ],
    ids=repr,
)
def test_a_handle_that_is_not_known_is_no_final_error_at_first(error: GeminiError) -> None:
    policy = beginning("mine")
    assert policy.on_attempt_failed(100.0, error) == resume("", 2, 0.25)
    assert policy.handle == ""
    policy.on_connected(101.0)
    assert policy.on_disconnected(102.0, lost()) == resume("")


def test_a_handle_whose_old_socket_is_open_goes_up_the_ladder_at_first() -> None:
    policy = beginning("mine")
    assert policy.on_attempt_failed(100.0, closed(1011)) == resume("mine", 2, 0.25)
    assert policy.on_attempt_failed(100.0, unreachable()) == resume("mine", 3, 0.5)
    assert policy.on_attempt_failed(100.0, closed(1011)) == resume("mine", 4, 1.0)
    assert policy.on_attempt_failed(100.0, closed(1011)) == resume("mine", 5, 2.0)
    assert policy.on_attempt_failed(100.0, closed(1011)) == resume("", 6, 4.0)
    assert policy.on_attempt_failed(100.0, closed(1011)) is None, "then it is as without one"


def test_the_first_connection_with_a_handle_is_bounded_in_time() -> None:
    policy = beginning("mine")
    assert policy.on_attempt_failed(159.75, unreachable()) is not None
    assert policy.on_attempt_failed(159.76, unreachable()) is None


def test_a_handle_at_first_is_replaced_by_the_newest() -> None:
    policy = beginning("mine")
    policy.on_connected(101.0)
    assert policy.on_disconnected(102.0, lost()) == resume("mine")
    policy.on_connected(103.0)
    policy.on_resumption_handle("h1", True)
    assert policy.on_disconnected(104.0, lost()) == resume("h1")


# -- the key ---------------------------------------------------------------------------------------

EXPIRED = AuthError("Token has expired", code=1011)


def test_a_key_that_has_expired_is_final_at_once() -> None:
    assert connected().on_disconnected(0.0, EXPIRED) is None
    as_it_is = ReconnectPolicy(resumable=True, random=lambda: 0.0)
    as_it_is.on_connected(0.0)
    assert as_it_is.on_disconnected(0.0, EXPIRED) is None, "unless it is renewed"
    policy = connected()
    policy.on_disconnected(0.0, lost())
    assert policy.on_attempt_failed(0.0, EXPIRED) is None
    assert beginning("").on_attempt_failed(100.0, EXPIRED) is None
    assert beginning("mine").on_attempt_failed(100.0, EXPIRED) is None


def test_a_key_that_is_asked_for_is_asked_for_once_more() -> None:
    policy = connected(renews_key=True)
    assert policy.on_disconnected(0.0, EXPIRED) == resume(), "by the same handle"
    assert policy.on_attempt_failed(0.0, EXPIRED) is None, "not in a loop"
    policy = connected(renews_key=True)
    policy.on_disconnected(0.0, lost())
    assert policy.on_attempt_failed(0.0, EXPIRED) == resume("h1", 2, 0.25)
    assert policy.on_attempt_failed(0.3, EXPIRED) is None
    first = beginning("", renews_key=True)
    assert first.on_attempt_failed(100.0, EXPIRED) == resume("", 2, 0.25)
    assert first.on_attempt_failed(100.3, EXPIRED) is None
    assert beginning("", renews_key=True).on_attempt_failed(100.0, closed(1011)) is None


@pytest.mark.parametrize(("gap_s", "final"), [(59.9, True), (60.0, False)])
def test_keys_that_expire_as_soon_as_they_are_taken_are_no_loop(gap_s: float, final: bool) -> None:
    policy = connected(renews_key=True)
    assert policy.on_disconnected(0.0, EXPIRED) == resume()
    policy.on_connected(0.5)
    assert (policy.on_disconnected(gap_s, EXPIRED) is None) is final


# -- announced ends that come ----------------------------------------------------------------------


def test_an_end_that_comes_when_it_was_announced_is_a_move_and_no_loss() -> None:
    policy = connected()
    for index in range(40):
        policy.on_go_away(index * 10.0, 10.0)
        plan = policy.on_disconnected(index * 10.0 + 9.9, lost(1008))
        assert plan == resume(), "the service has kept its word"
        policy.on_connected(index * 10.0 + 10.0)
    for index in range(10):
        assert policy.on_disconnected(400.0 + index, lost()) is not None, "none of them was a loss"
        policy.on_connected(400.5 + index)


@pytest.mark.parametrize(("at", "losses"), [(94.9, 1), (95.0, 0)])
def test_an_end_that_comes_earlier_than_announced_is_a_loss(at: float, losses: int) -> None:
    policy = connected()
    policy.on_go_away(0.0, 100.0)
    policy.on_disconnected(at, lost())
    policy.on_connected(at)
    for _ in range(10 - losses):
        assert policy.on_disconnected(at, lost()) is not None
        policy.on_connected(at)
    assert policy.on_disconnected(at, lost()) is None


def test_connections_that_end_at_once_as_announced_are_spaced_and_never_final() -> None:
    policy = connected()
    now, delays = 100.0, []
    policy.on_connected(now)
    for _ in range(30):
        policy.on_go_away(now, 0.0)
        plan = policy.on_disconnected(now + 0.5, lost(1008))
        assert plan is not None
        assert (plan.attempt, plan.handle) == (1, "h1")
        delays.append(plan.delay_s)
        now += 0.5 + plan.delay_s
        policy.on_connected(now)
    assert delays == [0.0] * 10 + [3.5] * 20
    policy.on_go_away(now, 0.0)
    assert policy.on_disconnected(now + 5.0, lost(1008)) == resume(), "one that has lasted is not"


def test_a_refusal_at_an_announced_end_is_a_refusal() -> None:
    for error, plan in ((EXPIRED, None), (RequestError("invalid", code=1007), resume(""))):
        policy = connected()
        policy.on_go_away(0.0, 0.0)
        assert policy.on_disconnected(1.0, error) == plan
