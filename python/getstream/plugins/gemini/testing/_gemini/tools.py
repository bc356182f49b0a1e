"""Keep the calls of functions that the model makes, and check what the client answers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .wire import Message

__all__ = ["ToolCallRecord", "ToolLog", "ToolResponseRecord", "ToolViolation", "is_empty_result"]

_KEPT = 10_000  # calls, responses and violations of a server; the oldest are forgotten beyond it

ToolCallState = Literal["waiting", "answered", "cancelled", "lost"]
ViolationKind = Literal[
    "no_id", "unknown_id", "answered_twice", "answered_cancelled", "wrong_name", "unanswered"
]


@dataclass(frozen=True)
class ToolResponseRecord:
    """One answer of the client to a call of a function.

    Attributes:
        session: Index of the session that it came in.
        id: Id of the call that it names.
        name: Name of the function that it names.
        response: The result, as it came.
        scheduling: `INTERRUPT`, `WHEN_IDLE`, `SILENT`, or empty where none was sent.
        will_continue: Whether more results of the same call follow.
        at: Arrival, `time.monotonic()` in seconds.
    """

    session: int
    id: str
    name: str
    response: dict[str, Any]
    scheduling: str = ""
    will_continue: bool = False
    at: float = 0.0


@dataclass
class ToolCallRecord:
    """One call of a function that the model has made.

    Attributes:
        session: Index of the session that it was sent in.
        id: Id of the call.
        name: Name of the function.
        args: Its arguments.
        at: When it was sent, `time.monotonic()` in seconds.
        state: `waiting` for the answer; then `answered`, `cancelled` (the server has sent a
            cancellation) or `lost` (the session ended, and none that resumes it knows the call).
        responses: What the client has answered: several where results are streamed.
    """

    session: int
    id: str
    name: str
    args: dict[str, Any]
    at: float
    state: ToolCallState = "waiting"
    responses: list[ToolResponseRecord] = field(default_factory=list)


@dataclass(frozen=True)
class ToolViolation:
    """Something about an answer that the service would not expect.

    Attributes:
        session: Index of the session.
        kind: `no_id`; `unknown_id`: nobody has made such a call; `answered_twice`;
            `answered_cancelled`: the call was cancelled before the answer came, which happens to
            every client when the two cross; `wrong_name`: not the name of the call;
            `unanswered`: the client closed the session while the call waited, and has not resumed
            it.
        id: Id of the call.
        detail: What came, in words.
    """

    session: int
    kind: ViolationKind
    id: str
    detail: str


class ToolLog:
    """Keeps the calls of one server, their answers, and what was wrong about those."""

    def __init__(self) -> None:
        self.calls: deque[ToolCallRecord] = deque(maxlen=_KEPT)
        self.responses: deque[ToolResponseRecord] = deque(maxlen=_KEPT)
        self._violations: deque[ToolViolation] = deque(maxlen=_KEPT)
        self._unanswered: dict[str, ToolViolation] = {}  # by call, until the session is resumed

    @property
    def violations(self) -> list[ToolViolation]:
        """Return the faults in order; calls that the client has left unanswered come last."""
        return [*self._violations, *self._unanswered.values()]

    def called(
        self, session: int, call_id: str, name: str, args: Mapping[str, Any]
    ) -> ToolCallRecord:
        """Notes a call that is being sent."""
        record = ToolCallRecord(session, call_id, name, dict(args), time.monotonic())
        self.calls.append(record)
        return record

    def responded(
        self, session: int, response: Message, waiting: Mapping[str, ToolCallRecord]
    ) -> ToolCallRecord | None:
        """Notes and checks an answer; returns its call if that was waiting for one."""
        fields = response if isinstance(response, dict) else {}
        content = fields.get("response")
        record = ToolResponseRecord(
            session,
            str(fields.get("id") or ""),
            str(fields.get("name") or ""),
            content if isinstance(content, dict) else {},
            str(fields.get("scheduling") or ""),
            bool(fields.get("willContinue")),
            time.monotonic(),
        )
        self.responses.append(record)
        call = waiting.get(record.id)
        if call is None:
            self._note(record, *self._why_unexpected(record))
            return None
        if record.name != call.name:
            self._note(record, "wrong_name", f"{record.name!r} answers a call of {call.name!r}")
        call.responses.append(record)
        if not record.will_continue:
            call.state = "answered"
        return call

    def ended(self, session: int, waiting: Iterable[ToolCallRecord], *, by_client: bool) -> None:
        """Notes that a session has ended while calls were waiting for their answers."""
        for call in waiting:
            call.state = "lost"
            if by_client:
                detail = f"the client left while {call.name!r} waited for its answer"
                self._unanswered[call.id] = ToolViolation(session, "unanswered", call.id, detail)

    def resumed(self, waiting: Iterable[ToolCallRecord]) -> None:
        """Notes that a session goes on in which these calls wait for their answers."""
        for call in waiting:
            call.state = "waiting"
            self._unanswered.pop(call.id, None)

    def _why_unexpected(self, record: ToolResponseRecord) -> tuple[ViolationKind, str]:
        if not record.id:
            return "no_id", f"an answer of {record.name!r} without an id"
        for call in reversed(self.calls):
            if call.id == record.id and call.state == "cancelled":
                return "answered_cancelled", f"{call.name!r} was cancelled before"
            if call.id == record.id and call.state == "answered":
                return "answered_twice", f"{call.name!r} was answered before"
        return "unknown_id", f"no call of this session has the id {record.id!r}"

    def _note(self, record: ToolResponseRecord, kind: ViolationKind, detail: str) -> None:
        self._violations.append(ToolViolation(record.session, kind, record.id, detail))


def is_empty_result(response: object) -> bool:
    """Tells whether a result says nothing: no fields, or only such that are null or empty."""
    if not isinstance(response, dict):
        return True
    return all(value is None or value in ("", [], {}) for value in response.values())
