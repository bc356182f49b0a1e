"""Ask the application for the conversation that the first connection goes on with."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ...errors import ConfigError, ConnectError
from .._resumption import Resumption
from .access import Question

RESUME_TIMEOUT_S = 10.0
"""Seconds for the application to say what to resume: one request to its own store. Audio waits in
the send queue for as long (`MAX_QUEUED_MS`), so nothing that is said meanwhile is lost."""

Resume = Resumption | Awaitable[Resumption | None] | Callable[[], Any]
"""A conversation, or an awaitable or a function (sync or async) that gives one, or None."""


class ResumeSource:
    """Gives the conversation to go on with, once.

    Args:
        resume: as above, or None. A sync function runs on a worker thread.
        spawn: starts a task, which lives no longer than the call of `get`.
    """

    def __init__(
        self,
        resume: Resume | None,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._resume = resume
        self._spawn = spawn

    async def get(self) -> Resumption | None:
        """Return the conversation, or None if there is none.

        Raises:
            ConfigError: the answer is no `Resumption`.
            ConnectError: there was no answer within `RESUME_TIMEOUT_S`, or an exception, which is
                the cause.
        """
        resume, self._resume = self._resume, None
        if resume is None or isinstance(resume, Resumption):
            return resume
        question = Question(resume if callable(resume) else functools.partial(_await, resume))
        task = self._spawn(question.run())
        try:
            await asyncio.wait([task], timeout=RESUME_TIMEOUT_S)
        finally:
            answered = task.done()
            task.cancel()
        if not answered:
            raise ConnectError(
                f"What was passed as resume gave nothing within {RESUME_TIMEOUT_S:g} s",
                retryable=True,
                remedy="Let it answer sooner, or make its requests with a timeout.",
            )
        if question.error is not None:
            raise ConnectError(
                f"What was passed as resume failed ({type(question.error).__name__})",
                retryable=True,
            ) from question.error
        if question.answer is not None and not isinstance(question.answer, Resumption):
            raise ConfigError(
                "What was passed as resume gave "
                f"{type(question.answer).__name__}; it has to give a Resumption, or None"
            )
        return question.answer

    def discard(self) -> None:
        """Forget what was not asked for: Python warns of a coroutine that nobody awaits."""
        resume, self._resume = self._resume, None
        if inspect.iscoroutine(resume):
            resume.close()


async def _await(resume: Awaitable[Resumption | None]) -> Resumption | None:
    return await resume


def check_resume(resume: object) -> None:
    """Check the argument `resume` of `GeminiLive`.

    Raises:
        ConfigError: it is neither a `Resumption` nor something that gives one.
    """
    if not (isinstance(resume, Resumption) or inspect.isawaitable(resume) or callable(resume)):
        raise ConfigError(
            "resume is a Resumption, or an awaitable or a function that gives one, not "
            f"{type(resume).__name__}; a stored one is read by Resumption.from_json"
        )
