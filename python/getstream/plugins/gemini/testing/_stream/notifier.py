"""Waiting for a state instead of sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ["ChangeNotifier"]

_T = TypeVar("_T")


class ChangeNotifier:
    """Wakes those who wait for a condition, each time something has changed."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Something changed: every waiter looks again."""
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def until(
        self,
        condition: Callable[[], _T | None],
        *,
        timeout: float,
        what: str,
        hint: Callable[[], str] = str,
    ) -> _T:
        """Wait until `condition` returns something that is true, and return it.

        Args:
            condition: Looked at now, and after each `notify`.
            timeout: Seconds to wait.
            what: Names the condition in the error.
            hint: Describes what is the case instead, for the error.

        Raises:
            TimeoutError: The condition did not come true in time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not (result := condition()):
            future: asyncio.Future[None] = loop.create_future()
            self._waiting.add(future)
            try:
                await asyncio.wait([future], timeout=max(0.0, deadline - loop.time()))
            finally:
                self._waiting.discard(future)
            if not future.done():
                if result := condition():
                    break
                found = hint()
                raise TimeoutError(
                    f"{what} did not happen within {timeout:g} s" + (f"; {found}" if found else "")
                )
        return result
