"""Ask the application for the key of the next connection."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ...errors import ConnectError
from .close_errors import key_error

KEY_TIMEOUT_S = 10.0
"""Seconds for the application to give a key: one request to its own backend, or to Google's, in
which an ephemeral token is made. Together with the time for connecting it fits three times into the
time of an outage."""

Ask = Callable[[], str | Awaitable[str]]


class KeySource:
    """Asks a function of the application for a key, each time anew.

    Args:
        ask: sync or async. A sync one runs on a worker thread, because it may wait for a network.
            It has to come back by itself: a thread that waits for ever keeps the program from
            ending.
        check: returns the key that is in an answer, or raises `ConfigError`.
        spawn: starts a task, which lives no longer than a call of this object.
    """

    def __init__(
        self,
        ask: Ask,
        check: Callable[[object], str],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._ask = ask
        self._check = check
        self._spawn = spawn

    async def __call__(self) -> str:
        """Return the key for the next connection.

        Raises:
            ConfigError: the answer is no key.
            ConnectError: the function raised an exception, which is the cause, or gave no answer
                within `KEY_TIMEOUT_S`.
            GeminiError: the function raised it.
        """
        call = Question(self._ask)
        task = self._spawn(call.run())
        try:
            await asyncio.wait([task], timeout=KEY_TIMEOUT_S)
        finally:
            answered = task.done()
            task.cancel()
        if not answered:
            raise ConnectError(
                f"The function that was passed as api_key gave no key within {KEY_TIMEOUT_S:g} s",
                retryable=True,
                remedy="Let it answer sooner, or make its requests with a timeout.",
            )
        if call.error is not None:
            failure = key_error(call.error)
            if failure is call.error:
                raise failure
            raise failure from call.error
        return self._check(call.answer)


class Question:
    """One call of a function, and what came of it."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask
        self.answer: object = None
        self.error: BaseException | None = asyncio.CancelledError()

    async def run(self) -> None:
        """Call the function. Its exceptions are kept, a cancellation of its own among them."""
        error: Exception | None
        if _is_async(self._ask):
            answer, error = _answer_of(self._ask)
        else:
            answer, error = await asyncio.to_thread(_answer_of, self._ask)
        if inspect.isawaitable(answer):
            try:
                answer = await answer
            except Exception as raised:
                error = raised
        self.answer, self.error = answer, error


def _answer_of(ask: Callable[[], object]) -> tuple[object, Exception | None]:
    """Call the function: its answer, or what it raised. A future takes no `StopIteration`, which
    `next(tokens)` raises in the end."""
    try:
        return ask(), None
    except Exception as error:
        return None, error


def _is_async(ask: object) -> bool:
    return inspect.iscoroutinefunction(ask) or inspect.iscoroutinefunction(
        getattr(ask, "__call__", None)  # noqa: B004 -- an object with an async __call__
    )
