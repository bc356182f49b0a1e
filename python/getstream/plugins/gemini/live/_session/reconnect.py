"""Decide when to leave a connection and how to come back: handles, deadlines, delays, budgets.

Sans-IO, like the conversation: what happens comes in with the time, plans come out.

- A connection that the service announces to end (`goAway`) is left at a rest of the conversation in
  the last minute, at a long one shortly before that, or in time before it ends. An announcement may
  come long before: 300 s were seen one second into a session (livekit agents-js #2507).
- A connection that ends without having been asked to is resumed, whatever its close code: 1000 and
  1001 are the service's own limits, 1006 is the network, 1008 and 1011 are aborted operations.
- 1007 says that the service did not accept something. What a handle stands for may be the reason,
  so it is not resumed; one new session is tried, and a second 1007 soon after is final.
- A refused handle is not tried again: a new session, seeded with what was said. The same when the
  service answers `HANDLE_ATTEMPTS` times that it cannot resume: it may hold the old connection for
  open, and refuse for as long as that (sip-to-ai #14). A refused key, a used-up quota and an HTTP
  status are no answers about a handle.
- A handle that the application brings goes up the same ladder at the first connection. Without one,
  a first connection that fails is the caller's to try again: nothing can be lost.
- A refused key or model does not become right by trying again. Where each connection asks for the
  key anew, an expired one is asked for once more.
- Attempts are spaced by a backoff with jitter, and bounded: an outage in time, connections that do
  not last in number. Planned moves have a bound of their own, which ends nothing: beyond it a
  connection is only left when there is no more time. A connection that ends when its announced end
  has come counts as a move: the service has kept its word.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ...errors import (
    AuthError,
    GeminiError,
    ModelNotFoundError,
    QuotaError,
    RequestError,
    SessionError,
)

LEAVE_BEFORE_S = 5.0
"""Seconds before the announced end at which a connection is left, whoever speaks: connecting takes
one or two, and the announced time is not exact."""

LEAVE_BEFORE_AT_LEAST_S = 1.0
"""The same while the model is sending its turn, which comes faster than it is spoken: what is not
sent when the connection is left is never heard."""

REST_S = 2.0
"""Seconds of rest that are a boundary between turns: the model begins to answer in less, and the
handle of a finished turn comes in less."""

LAST_MINUTE_S = 60.0
"""Seconds before the announced end from which such a rest is taken: the service's ordinary
announcement is about a minute, and a minute of conversation has a boundary between turns."""

LONG_REST_S = 10.0
"""Seconds of rest in which nobody is likely to be in the middle of anything."""

LONG_REST_BEFORE_S = 90.0
"""Seconds before the announced end from which a long rest is taken: half a minute more."""

LASTED_S = 30.0
"""Age at which a connection may be left in time even when the moves are used up. Moves that are so
far apart cannot become a loop."""

OUTAGE_S = 60.0
"""Seconds for which a lost connection is tried to be had again: handles are valid for two hours,
but nobody waits in a call for longer."""

FIRST_DELAY_S, LARGEST_DELAY_S = 0.25, 4.0
"""Backoff: nothing before the first attempt, then this, doubled each time, up to that: in a call,
the service that is back is wanted at once."""

JITTER = 0.5
"""Each delay is shortened by up to this part of it, so that many clients do not come at once."""

WINDOW_S = 600.0
"""The time in which connections are counted: the service's own limit for one of them."""

MOST_LOSSES, MOST_MOVES = 10, 10
"""Unplanned and planned connections in that time. More losses mean that connections do not last; of
more moves the service has the first word: see `LASTED_S`."""

HANDLE_ATTEMPTS = 4
"""Answers of the service to the same handle until it is given up: two seconds, with the backoff."""

REFUSED_AGAIN_S = 60.0
"""A second 1007 within this is final, and so is a second refusal of the key where it is renewed."""

REFUSING_CODES = frozenset({1007, 1008})
"""Close codes that may be meant for the handle: invalid data and policy (RFC 6455, section 7.4.1).
Seen are 1007 "Invalid session handle", 1008 "Requested entity was not found." and 1008
"BidiGenerateContent session not found"."""

FIRST_CLOSE_CODE = 1000
"""Smaller numbers are HTTP statuses, from before the setup, and so the handle, was sent."""

Verdict = Literal["retry", "new session", "final"]


@dataclass(frozen=True)
class ReconnectAttempt:
    """One attempt to come back.

    Attributes:
        attempt: its number in this outage, from 1.
        delay_s: seconds to wait before it.
        handle: what to resume, or "" for a new session.
    """

    attempt: int
    delay_s: float
    handle: str


@dataclass(frozen=True)
class _Announcement:
    """The end of a connection, as the service has announced it.

    Attributes:
        ends_at: when.
        leave_at: when to leave at the latest,
        leave_by: and when while the model is sending its turn.
    """

    ends_at: float
    leave_at: float
    leave_by: float


@dataclass
class _Outage:
    """The time without a connection.

    Attributes:
        since: when it began.
        attempts: how many were planned to end it.
        answers: of the service, to attempts with a handle.
    """

    since: float
    attempts: int = 1
    answers: int = 0


class ReconnectPolicy:
    """The state of the connections of one session.

    Args:
        resumable: whether the service was asked for handles.
        handle: the handle that the first connection resumes, if any.
        renews_key: whether each connection asks for the key, so that an expired one may be new.
        random: a number from 0 to 1, for the jitter.
    """

    def __init__(
        self,
        *,
        resumable: bool,
        handle: str = "",
        renews_key: bool = False,
        random: Callable[[], float],
    ) -> None:
        self._resumable = resumable
        self._handle = handle
        self._renews_key = renews_key
        self._random = random
        self._opened_at: float | None = None  # the newest connection
        self._announced: _Announcement | None = None
        self._outage: _Outage | None = None
        self._disconnects: deque[float] = deque()
        self._planned_reconnects: deque[float] = deque()
        self._refused_at: float | None = None  # a request
        self._key_refused_at: float | None = None

    @property
    def handle(self) -> str:
        """The newest handle, "" if there is none."""
        return self._handle

    @property
    def leave_at(self) -> float | None:
        """Return when the connection has to be left, if the service has announced its end."""
        return self._announced.leave_at if self._announced else None

    @property
    def may_leave_from(self) -> float | None:
        """Before when `should_leave` is always False; None if no end is announced."""
        return self._announced.ends_at - LONG_REST_BEFORE_S if self._announced else None

    def exchange_handle(self, handle: str) -> str:
        """Set what the next connection resumes, "" for a new session; return it as it was."""
        before, self._handle = self._handle, handle if self._resumable else ""
        return before

    # -- while connected -----------------------------------------------------------------------

    def on_connected(self, now: float) -> None:
        """Note that a connection is set up."""
        self._opened_at = now
        self._announced = self._outage = None

    def on_resumption_handle(self, handle: str, resumable: bool) -> None:
        """Note where the session can be resumed, as the service says. While it cannot (in the
        middle of a turn), the handle before stays the best."""
        if resumable and handle and self._resumable:
            self._handle = handle

    def on_go_away(self, now: float, time_left: float) -> None:
        """Note that the service has announced the end of this connection."""
        self._announced = _Announcement(
            ends_at=now + time_left,
            leave_at=now + max(0.0, time_left - LEAVE_BEFORE_S),
            leave_by=now + max(0.0, time_left - LEAVE_BEFORE_AT_LEAST_S),
        )

    def should_leave(self, now: float, idle_since: float | None, receiving: bool) -> bool:
        """Tell whether to leave now.

        Args:
            now: the time.
            idle_since: since when the conversation rests, if it does.
            receiving: the model is sending its turn.
        """
        announced, opened_at = self._announced, self._opened_at
        if announced is None or opened_at is None:
            return False
        in_time = now >= (announced.leave_by if receiving else announced.leave_at)
        if _count(self._planned_reconnects, now) >= MOST_MOVES:
            return in_time and now >= opened_at + LASTED_S
        if in_time or idle_since is None or now < announced.ends_at - LONG_REST_BEFORE_S:
            return in_time
        rest = REST_S if now >= announced.ends_at - LAST_MINUTE_S else LONG_REST_S
        # A rest that this connection has not seen is none: its first answer may be on the way.
        return now >= max(idle_since, opened_at) + rest

    # -- in between ----------------------------------------------------------------------------

    def first_attempt(self, now: float) -> ReconnectAttempt:
        """Plan the first connection of the session."""
        return self._begin(now)

    def on_disconnected(self, now: float, error: GeminiError | None) -> ReconnectAttempt | None:
        """Plan how to come back from a connection that has ended.

        Args:
            now: the time.
            error: why it has ended; None if it is left as planned.

        Returns:
            The first attempt, or None: it is final. A planned move never is.
        """
        if error is None:
            return self._move(now)
        verdict = self._verdict(now, error)
        if isinstance(error, RequestError):
            verdict = self._after_refused_request(now)
        if verdict == "final":
            return None
        if self._announced and now >= self._announced.leave_at and verdict == "retry":
            return self._move(now)
        self._disconnects.append(now)
        if _count(self._disconnects, now) > MOST_LOSSES:
            return None
        if verdict == "new session":
            self._handle = ""
        return self._begin(now)

    def on_attempt_failed(self, now: float, error: GeminiError) -> ReconnectAttempt | None:
        """Plan what follows an attempt that has failed.

        Returns:
            The next attempt, or None: it is final.
        """
        outage = self._outage
        assert outage is not None  # `first_attempt` or `on_disconnected` has planned the attempt
        verdict = self._verdict(now, error)
        code = error.code if isinstance(error, SessionError) else None
        about_access = isinstance(error, (AuthError, ModelNotFoundError, QuotaError))
        if self._handle and code is not None and not about_access:
            if code in REFUSING_CODES:
                verdict = "new session"
            elif code >= FIRST_CLOSE_CODE:
                outage.answers += 1
                if outage.answers >= HANDLE_ATTEMPTS and verdict == "retry":
                    verdict = "new session"
        if self._opened_at is None and not self._handle and not isinstance(error, AuthError):
            verdict = "final"  # the caller's to try again
        if isinstance(error, RequestError) and self._after_refused_request(now) == "final":
            verdict = "final"
        delay = min(LARGEST_DELAY_S, FIRST_DELAY_S * 2 ** (outage.attempts - 1))
        delay *= 1 - JITTER * self._random()
        if verdict == "final" or now + delay - outage.since > OUTAGE_S:
            return None
        if verdict == "new session":
            self._handle = ""
        outage.attempts += 1
        return ReconnectAttempt(outage.attempts, delay, self._handle)

    def _move(self, now: float) -> ReconnectAttempt:
        """Plan how to come back from a connection that was to end."""
        self._planned_reconnects.append(now)
        delay = 0.0
        if _count(self._planned_reconnects, now) > MOST_MOVES and self._opened_at is not None:
            # Connections that end as soon as they begin: nothing else bounds them.
            delay = max(0.0, self._opened_at + LARGEST_DELAY_S - now)
        return self._begin(now, delay)

    def _begin(self, now: float, delay: float = 0.0) -> ReconnectAttempt:
        """Plan the first attempt of an outage."""
        self._outage = _Outage(since=now)
        return ReconnectAttempt(self._outage.attempts, delay, self._handle)

    def _verdict(self, now: float, error: GeminiError) -> Verdict:
        """Return what an error says about trying again as before."""
        if isinstance(error, AuthError):
            before, self._key_refused_at = self._key_refused_at, now
            again = before is not None and now - before < REFUSED_AGAIN_S
            return "retry" if self._renews_key and not again else "final"
        return "retry" if isinstance(error, SessionError) and error.retryable else "final"

    def _after_refused_request(self, now: float) -> Verdict:
        """Return what follows a 1007, and note it."""
        before, self._refused_at = self._refused_at, now
        again = before is not None and now - before < REFUSED_AGAIN_S
        return "final" if again else "new session"


def _count(times: deque[float], now: float) -> int:
    """Count the times of the last `WINDOW_S`, and forget those before."""
    while times and times[0] <= now - WINDOW_S:
        times.popleft()
    return len(times)
