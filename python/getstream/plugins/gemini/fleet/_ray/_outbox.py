"""Deliver the news of calls to the control, again and again until it has heard them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ...live import Resumption
from .._calls import FleetFullError

logger = logging.getLogger(__name__)

RETRY_S = 0.5
"""Seconds between attempts. Ray restarts a control within 2 to 6 s."""

Call = tuple[str, int]
"""A call's cid, and the epoch in which it is held."""


@dataclass
class _News:
    """What the control has not heard of a call yet."""

    resume: Resumption | None = None
    over: tuple[bool, str] | None = None


class ControlSilentError(FleetFullError):
    """The control is not there, or does not answer: Ray may be restarting it."""


class Outbox:
    """Keeps the newest news of each call while the control does not answer.

    A resumption replaces the one before, so that the outbox holds at most one for each call,
    however long the control is away. The end of a call follows its last resumption.

    Args:
        save: tells the control what resumes a call; raises `ControlSilentError` if it
            did not hear it.
        over: tells the control that a call is over; likewise.
        retry_s: seconds between attempts.
    """

    def __init__(
        self,
        save: Callable[[str, int, Resumption], Awaitable[object]],
        over: Callable[[str, int, bool, str], Awaitable[object]],
        retry_s: float = RETRY_S,
    ) -> None:
        self._save = save
        self._over = over
        self._retry_s = retry_s
        self._waiting: dict[Call, _News] = {}
        self._arrived = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait_empty(self) -> None:
        """Return when the control has heard everything."""
        await self._empty.wait()

    def put_saved(self, cid: str, epoch: int, resume: Resumption) -> None:
        """Have the control told what resumes a call."""
        self._news_of(cid, epoch).resume = resume

    def put_over(self, cid: str, epoch: int, failed: bool, error: str = "") -> None:
        """Have the control told that a call is not held any more."""
        self._news_of(cid, epoch).over = (failed, error)

    async def run(self) -> None:
        """Deliver, until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            # A call that is not heard of must not hold up the others.
            heard = await asyncio.gather(*map(self._deliver, list(self._waiting)))
            if not all(heard):
                await asyncio.sleep(self._retry_s)
                self._arrived.set()

    async def _deliver(self, call: Call) -> bool:
        news = self._waiting[call]
        try:
            while news.resume is not None:
                resume = news.resume
                await self._tell(self._save(*call, resume), call)
                if news.resume is resume:  # else a newer one has come meanwhile
                    news.resume = None
            if news.over is not None:
                await self._tell(self._over(*call, *news.over), call)
        except ControlSilentError:
            return False
        del self._waiting[call]
        if not self._waiting:
            self._empty.set()
        return True

    async def _tell(self, telling: Awaitable[object], call: Call) -> None:
        try:
            await telling
        except ControlSilentError:
            raise
        except Exception as error:  # refused for good: asking again would change nothing
            logger.error("The control refused the news of %s: %s", call[0], type(error).__name__)

    def _news_of(self, cid: str, epoch: int) -> _News:
        self._empty.clear()
        self._arrived.set()
        return self._waiting.setdefault((cid, epoch), _News())
