"""Know whether people are in a call, and when that is a reason to leave it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from ._events import LeftReason

REST_AFTER_S = 20.0
"""Seconds alone after which the connection to Gemini is let go: a page that is loaded again takes
five, a call that is taken on another device ten. Where the application brings it back meanwhile,
it is let go again in as long."""

REST_AGAIN_S = 2.0
"""Seconds until that is tried again while the conversation is not at rest."""


@dataclass(frozen=True)
class Stay:
    """Limits the time of the assistant in a call, in seconds; None: for as long as it lasts.

    Attributes:
        leave_when_alone_s: after the last person has left.
        first_participant_timeout_s: without anybody having come.
        max_duration_s: in all.
    """

    leave_when_alone_s: float | None
    first_participant_timeout_s: float | None
    max_duration_s: float | None


class Company(Enum):
    """Names who is in the call with the assistant."""

    UNKNOWN = "the SDK has not said it"
    NOBODY_YET = "nobody has come"
    PEOPLE = "somebody is there"
    ALONE = "everybody has left"


class Assistants:
    """Knows the assistants of this process by their calls, from any thread.

    They do not count as people, or two of them would keep each other company for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, list[_Entry]] = {}

    def enter(self, call: str, user_id: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Note an assistant; `changed` is called, on this loop, when others come or go.

        Returns:
            How to forget it.
        """
        entry = _Entry(user_id, changed, asyncio.get_running_loop())
        with self._lock:
            entries = self._entries.setdefault(call, [])
            entries.append(entry)
            others = entries[:-1]
        _notify(others)

        def leave() -> None:
            with self._lock:
                entries = self._entries.get(call, [])
                if entry in entries:
                    entries.remove(entry)
                if not entries:
                    self._entries.pop(call, None)
                others = list(entries)
            _notify(others)

        return leave

    def user_ids(self, call: str) -> set[str]:
        """Return the ids of the assistants that are in a call."""
        with self._lock:
            return {entry.user_id for entry in self._entries.get(call, ())}


@dataclass(frozen=True, eq=False)
class _Entry:
    user_id: str
    changed: Callable[[], None]
    loop: asyncio.AbstractEventLoop


def _notify(entries: Iterable[_Entry]) -> None:
    for entry in entries:
        with contextlib.suppress(RuntimeError):  # its event loop is closed
            entry.loop.call_soon_threadsafe(entry.changed)


ASSISTANTS = Assistants()
"""The assistants of this process."""


class Presence:
    """Follows who is in a call, and asks to leave it or to rest.

    Args:
        call: which call it is, for all connections of this process alike.
        user_id: the assistant's own.
        stay: how long to stay.
        leave: called once, with the reason, when it is time to leave.
        rest: called when the connection to Gemini may be let go; returns whether it was.
        wake: called when somebody comes.
    """

    def __init__(
        self,
        call: str,
        user_id: str,
        stay: Stay,
        *,
        leave: Callable[[LeftReason], None],
        rest: Callable[[], bool],
        wake: Callable[[], None],
    ) -> None:
        self._call = call
        self._stay = stay
        self._leave = leave
        self._rest = rest
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._company = Company.UNKNOWN
        self._present: frozenset[str] = frozenset()
        self._rests_at: asyncio.TimerHandle | None = None
        self._leaves_at: asyncio.TimerHandle | None = None
        self._ends_at = self._after(stay.max_duration_s, "max_duration")
        self._forget = ASSISTANTS.enter(call, user_id, self._look)

    @property
    def company(self) -> Company:
        """Return who is there."""
        return self._company

    def update(self, user_ids: Iterable[str]) -> None:
        """Take the user ids of all participants, the assistant's own included."""
        self._present = frozenset(user_ids)
        self._look()

    def stop(self) -> None:
        """Ask for nothing any more."""
        self._forget()
        for timer in (self._rests_at, self._leaves_at, self._ends_at):
            if timer is not None:
                timer.cancel()
        self._company = Company.UNKNOWN
        self._leave = _ignore

    def _look(self) -> None:
        if self._leave is _ignore:
            return
        people = self._present - ASSISTANTS.user_ids(self._call)
        if people:
            self._become(Company.PEOPLE)
        elif self._company in (Company.PEOPLE, Company.ALONE):
            self._become(Company.ALONE)
        else:
            self._become(Company.NOBODY_YET)

    def _become(self, company: Company) -> None:
        """Change who is there, and what follows from that: nothing else does."""
        if company is self._company:
            return
        self._company = company
        for timer in (self._rests_at, self._leaves_at):
            if timer is not None:
                timer.cancel()
        self._rests_at = self._leaves_at = None
        if company is Company.PEOPLE:
            self._wake()
        elif company is Company.ALONE:
            self._leaves_at = self._after(self._stay.leave_when_alone_s, "alone")
            self._rests_at = self._loop.call_later(REST_AFTER_S, self._try_to_rest)
        elif company is Company.NOBODY_YET:
            timeout_s = self._stay.first_participant_timeout_s
            self._leaves_at = self._after(timeout_s, "nobody_came")

    def _after(self, seconds: float | None, reason: LeftReason) -> asyncio.TimerHandle | None:
        if seconds is None:
            return None
        return self._loop.call_later(seconds, lambda: self._leave(reason))

    def _try_to_rest(self) -> None:
        # Again also where it was let go: a text of the application brings the connection back.
        again_s = REST_AFTER_S if self._rest() else REST_AGAIN_S
        self._rests_at = self._loop.call_later(again_s, self._try_to_rest)


def _ignore(_reason: LeftReason) -> None:
    """Leave nothing: the call is over."""
