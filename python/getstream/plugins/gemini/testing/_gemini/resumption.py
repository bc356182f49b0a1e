"""Issue resumption handles, and remember what each stands for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .tools import ToolCallRecord, ToolLog
from .user_speech import Unfinished
from .variants import ResumptionOptions
from .wire import Message, RefusalError

__all__ = ["Handles", "ResumePoint", "SharedState"]

_HANDLES_KEPT = 1_000


@dataclass
class Lease:
    """Tells whether the connection that issued a handle is still open.

    Attributes:
        open: Whether it is.
        waiting_calls: The calls of functions that waited for their answers when it ended, until a
            session that resumes this one takes them.
    """

    open: bool = True
    waiting_calls: dict[str, ToolCallRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class ResumePoint:
    """Holds what a resumption handle stands for.

    Attributes:
        context: What was said, as in `LiveSession.context`.
        unfinished: What the user was saying; None if nobody spoke.
        lease: The connection that issued it.
    """

    context: tuple[str, ...]
    unfinished: Unfinished | None
    lease: Lease


class SharedState:
    """Holds what the sessions of one server share.

    Attributes:
        handles: Resumption handles that were issued.
        errors: Exceptions that a reply policy or a hook raised.
        tools: Calls of functions, and their answers.
    """

    def __init__(self) -> None:
        self.handles: dict[str, ResumePoint] = {}
        self.errors: list[Exception] = []
        self.tools = ToolLog()

    def issue(self, handle: str, point: ResumePoint) -> None:
        """Remembers a handle; forgets the oldest one beyond a thousand."""
        self.handles[handle] = point
        while len(self.handles) > _HANDLES_KEPT:
            del self.handles[next(iter(self.handles))]

    def resume(self, handle: str, options: ResumptionOptions) -> ResumePoint:
        """Returns what a handle stands for.

        Raises:
            RefusalError: The handle was never issued, or its connection is still open.
        """
        point = self.handles.get(handle)
        if point is None:
            raise RefusalError(options.refusal.code, options.refusal.reason)
        if (
            point.lease.open and options.needs_closed
        ):  # the service insists that the old socket is closed first
            raise RefusalError(1011, "Internal error encountered.")
        return point


class Handles:
    """Issues the handles of one session.

    Args:
        index: The session's number, which is part of its handles.
        options: When they are issued.
        shared: Where they are remembered.
        context: Returns what was said until now.
        unfinished: Returns what the user is saying now.
        transmit: Sends a message.
    """

    def __init__(
        self,
        index: int,
        options: ResumptionOptions,
        shared: SharedState,
        context: Callable[[], tuple[str, ...]],
        unfinished: Callable[[], Unfinished | None],
        transmit: Callable[[Message], Awaitable[None]],
    ) -> None:
        self._index = index
        self._options = options
        self._shared = shared
        self._context = context
        self._unfinished = unfinished
        self._transmit = transmit
        self._lease = Lease()
        self._asked: Message | None = None
        self._count = 0

    @property
    def newest(self) -> str:
        """The handle that was issued last."""
        return f"handle-{self._index}-{self._count}"

    def begin(self, setup: Message) -> None:
        """Follows the `sessionResumption` of a setup that was accepted."""
        unasked: Message | None = {} if self._options.unasked else None
        self._asked = setup.get("sessionResumption", unasked)

    def end(self, waiting_calls: dict[str, ToolCallRecord]) -> None:
        """The connection is closed: its handles can be used from now on.

        Args:
            waiting_calls: Calls of functions that are not answered.
        """
        self._lease.open = False
        self._lease.waiting_calls.update(waiting_calls)

    async def announce(self, consumed: int, *, resumable: bool = True) -> None:
        """Tells where the session can be resumed: nowhere while the model is at work.

        Args:
            consumed: Index of the newest message of the client that was taken.
            resumable: False withdraws, True issues a new handle.
        """
        if self._asked is None or not (resumable or self._options.withdrawn_in_turns):
            return
        update: Message = {"resumable": resumable}
        if resumable:
            self._count += 1
            update["newHandle"] = self.newest
            unfinished = self._unfinished() if self._options.holds_audio else None
            self._shared.issue(self.newest, ResumePoint(self._context(), unfinished, self._lease))
        if self._asked.get("transparent"):
            update["lastConsumedClientMessageIndex"] = str(consumed)
        await self._transmit({"sessionResumptionUpdate": update})
