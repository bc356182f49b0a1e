"""Define `Seat`: the place of an assistant in one call, as the application's function sees it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

from ..errors import ClosedError
from ..live import GeminiLive, PlaybackFinished, PlaybackStarted, Resumption, Speech
from ._calls import CallRequest, Reason
from ._stream import CallEntry

if TYPE_CHECKING:
    from getstream import AsyncStream

REST_S = 600.0
"""Seconds to wait for two seconds in which nobody speaks, before a call is moved all the same. A
conversation of ten minutes without one has not been seen."""

ANSWER_DUE_S = 10.0
"""Seconds after somebody has spoken in which the call counts as busy without an answer. The model
begins within two; tools may take longer, but a worker's report only orders what moves first."""


class SeatPhase(Enum):
    """Names what the assistant function does with its seat."""

    UNUSED = "has not called `follow`"
    FOLLOWED = "waits in `follow`"
    RELEASED = "`follow` is over"


class Leaving(Enum):
    """Names how the worker has to give the call up."""

    NO = "it does not"
    AT_REST = "when nobody speaks"
    NOW = "at once"


class Seat:
    """Holds the place of an assistant in one call: what its function is given.

        async def assistant(seat: Seat) -> None:
            async with GeminiLive(instructions="...", resume=seat.resume) as gemini:
                async with await seat.join() as connection:
                    await gemini.attach(connection)
                    if seat.reason == "new":
                        await gemini.send_text("Greet the participants.")
                    await seat.follow(gemini, connection)

    Attributes:
        request: the call, with the application's own `params`.
        reason: why the assistant is made: the call is `new`, it was `moved` from a worker that
            gives way, or the worker or the assistant before has `crashed`.
    """

    def __init__(
        self,
        request: CallRequest,
        reason: Reason,
        resume: Resumption | None,
        *,
        client: AsyncStream,
        save: Callable[[Resumption], None],
        changed: Callable[[], None] = lambda: None,
        prepare: Callable[[], Awaitable[None]] | None = None,
        early: CallEntry | None = None,
    ) -> None:
        self.request = request
        self.reason = reason
        self._resume = resume
        self._client = client
        self._save = save
        self._changed = changed
        self._prepare = prepare
        self._entries: list[CallEntry] = [] if early is None else [early]
        self._early = early
        self._gemini: GeminiLive | None = None
        self._phase = SeatPhase.UNUSED
        self._leaving = Leaving.NO
        self._handed_over = False
        self._asked = asyncio.Event()
        self._asked_now = asyncio.Event()
        self._speakers: set[str] = set()
        self._speaking = False
        self._answer_due_until = 0.0

    def __repr__(self) -> str:
        return f"<Seat {self.request.cid} {self.reason}>"

    @property
    def resume(self) -> Resumption | None:
        """Return what to go on with, for `GeminiLive(resume=...)`; None to begin anew.

        It is that of the assistant before, and then of this one.
        """
        return self._resume

    @property
    def user_id(self) -> str:
        """Return the user that the assistant is in the call."""
        return self.request.user_id

    async def join(self) -> CallEntry:
        """Return an async context manager of the SDK's connection to the call.

        The connection is made with `GeminiLive.subscription_config()`, so that the assistant hears
        and may see. It is left at the end of the block.

        Raises:
            CallError: by the context manager, where the call cannot be joined.
        """
        entry, self._early = self._early, None
        if entry is None:
            entry = CallEntry(self._client, self.request)
            self._entries.append(entry)
        return entry

    async def follow(self, gemini: GeminiLive, connection: Any) -> None:
        """Wait until this assistant is done with the call, and keep what resumes it.

        That is when the call has ended or was left, when the session with the model is closed, or
        when the worker has to give the call up. Then, at a rest or at once, the session is closed
        here, so that the next assistant can go on with it; what is left to do is to leave.

        Args:
            gemini: attached to the connection.
            connection: what `join` gives.

        Raises:
            SessionError: the session with the model has failed.
        """
        self._gemini = gemini
        for entry in self._entries:
            entry.release()
        over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def on_closed(cause: Exception | None) -> None:
            if over.done():
                return
            if cause is None:
                over.set_result("closed")
            else:
                over.set_exception(cause)

        def on_left() -> None:
            if not over.done():
                over.set_result("left")

        gemini.on("closed", on_closed)
        gemini.on("left", on_left)
        gemini.on("resumption", self._keep)
        gemini.on("speech_started", self._on_speech_started)
        gemini.on("speech_stopped", self._on_speech_stopped)
        gemini.on("playback_started", self._on_playback_started)
        gemini.on("playback_finished", self._on_playback_finished)
        self._keep(gemini.resumption)
        self._set_phase(SeatPhase.FOLLOWED)
        watching = asyncio.ensure_future(_wait_ended(connection))
        try:
            if gemini.state == "closed":
                with contextlib.suppress(ClosedError):
                    await gemini.wait_until_ready()  # raises why it has failed
                return
            await self._wait_over(gemini, over, watching)
        finally:
            watching.cancel()
            if over.done():
                over.exception()  # it is raised below, unless this was cancelled
            self._speakers.clear()
            self._speaking = False
            self._set_phase(SeatPhase.RELEASED)
        if over.done():
            over.result()

    # -- for the worker ------------------------------------------------------------------------

    @property
    def phase(self) -> SeatPhase:
        """Return what the function does with the seat."""
        return self._phase

    @property
    def leaving(self) -> Leaving:
        """Return how the call has to be given up."""
        return self._leaving

    @property
    def is_handed_over(self) -> bool:
        """Return whether the session is closed at the worker's wish: the next one may begin."""
        return self._handed_over

    @property
    def is_busy(self) -> bool:
        """Return whether somebody speaks, or an answer is on its way."""
        return self._speaking or bool(self._speakers) or _now() < self._answer_due_until

    def enter_early(self) -> None:
        """Begin to join the call, for an assistant that takes it over: people wait for it."""
        if self._early is None:
            self._early = CallEntry(self._client, self.request)
            self._entries.append(self._early)
            self._early.enter_early()

    def leave(self, *, at_rest: bool) -> None:
        """Have `follow` give the call up: at once, or when nobody speaks."""
        if not at_rest:
            self._leaving = Leaving.NOW
            self._asked_now.set()
        elif self._leaving is Leaving.NO:
            self._leaving = Leaving.AT_REST
        self._asked.set()

    async def vacate(self) -> None:
        """Leave what the function has joined and not left, and close its session. Bounded."""
        closing = [asyncio.ensure_future(entry.leave()) for entry in self._entries]
        if self._gemini is not None:
            closing.append(asyncio.ensure_future(self._gemini.close()))
        if closing:
            await asyncio.gather(*closing, return_exceptions=True)

    async def _wait_over(
        self, gemini: GeminiLive, over: asyncio.Future[str], watching: asyncio.Future[None]
    ) -> None:
        """Wait for the end, or close the session where the worker gives the call up."""
        ends: list[asyncio.Future[Any]] = [over, watching]
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait([*ends, asked], return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
        if any(end.done() for end in ends):
            return
        if self._leaving is Leaving.AT_REST:
            await self._wait_for_rest(gemini, watching)
        failed = over.done() and over.exception() is not None
        if failed or watching.done() or (over.done() and over.result() == "left"):
            return  # meanwhile: there is nothing to hand over
        await gemini.close()
        self._keep(gemini.resumption)
        self._handed_over = True

    async def _wait_for_rest(self, gemini: GeminiLive, watching: asyncio.Future[None]) -> None:
        """Wait until nobody speaks, and the next assistant has joined the call.

        It joins while this one still listens: what people say is heard by one of them. Where they
        speak meanwhile, it has to wait again. It returns sooner where there is no time for that.
        """
        latest = _now() + REST_S
        while await self._rests(gemini, watching, latest - _now()) and self._prepare is not None:
            await self._prepare()
            if await gemini.wait_at_rest(0):
                return

    async def _rests(
        self, gemini: GeminiLive, watching: asyncio.Future[None], timeout_s: float
    ) -> bool:
        """Wait until nobody speaks; False where there is no time for that."""
        resting = asyncio.ensure_future(gemini.wait_at_rest(max(0.0, timeout_s)))
        now = asyncio.ensure_future(self._asked_now.wait())
        try:
            ends: list[asyncio.Future[Any]] = [resting, now, watching]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            now.cancel()
            if not resting.done():
                resting.cancel()
        return resting.done() and not resting.cancelled() and resting.result()

    def _set_phase(self, phase: SeatPhase) -> None:
        self._phase = phase
        self._changed()

    # -- from the session ----------------------------------------------------------------------

    def _keep(self, resumption: Resumption | None) -> None:
        """Store what resumes the conversation, where that has changed."""
        if resumption is None:
            return
        before, self._resume = self._resume, resumption
        if before is None or (before.handle, before.model, before.lines) != (
            resumption.handle,
            resumption.model,
            resumption.lines,
        ):
            self._save(resumption)

    def _on_speech_started(self, speech: Speech) -> None:
        self._speakers.add(speech.user_id)

    def _on_speech_stopped(self, speech: Speech) -> None:
        self._speakers.discard(speech.user_id)
        self._answer_due_until = _now() + ANSWER_DUE_S

    def _on_playback_started(self, _started: PlaybackStarted) -> None:
        self._speaking = True

    def _on_playback_finished(self, _finished: PlaybackFinished) -> None:
        self._speaking = False
        self._answer_due_until = 0.0


async def _wait_ended(connection: Any) -> None:
    """Return when the connection is over, as its own `wait` says."""
    if hasattr(connection, "wait"):
        await connection.wait()
    else:
        await asyncio.get_running_loop().create_future()  # only `left` can say it


def _now() -> float:
    return asyncio.get_running_loop().time()
