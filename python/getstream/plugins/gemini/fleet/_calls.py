"""Define what the parts of a fleet tell each other: plain values that cross processes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ..errors import ConfigError, GeminiError
from ..live import Resumption

Reason = Literal["new", "moved", "crashed"]
"""Reasons to start an assistant: a new call, a worker that gives way, one that died or failed."""

RECORD_VERSION = 1
"""The version of the JSON of a `CallRecord`; a reader refuses a newer one."""


class FleetFullError(GeminiError):
    """There is no room for another call, and none came up in time.

    Attributes:
        retry_after_s: seconds after which there may be room.
    """

    def __init__(self, message: str, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> Any:  # pickle makes exceptions from `args` alone
        return type(self), (str(self), self.retry_after_s)


@dataclass(frozen=True)
class CallRequest:
    """Asks for an assistant in a call.

    Attributes:
        cid: the call, as `type:id`.
        session_id: the session of the call, from the webhook; "" if unknown. A call may be held
            again and again, and a late retry of an old webhook must not bring an assistant into an
            empty call.
        user_id: the user that the assistant is in the call.
        params: the application's own values for its assistant function; they have to fit in JSON.

    Raises:
        ConfigError: `cid` is not `type:id`, or a value is not of its type.
    """

    cid: str
    session_id: str = ""
    user_id: str = "assistant"
    params: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.cid, str) or not all(self.cid.partition(":")):
            raise ConfigError(f'cid is "type:id", such as "default:my-call", not {self.cid!r:.100}')
        if not isinstance(self.session_id, str):
            raise ConfigError(f"session_id is a string, not {type(self.session_id).__name__}")
        if not isinstance(self.user_id, str) or not self.user_id.strip():
            raise ConfigError(f"user_id is a non-empty string, not {self.user_id!r:.100}")
        if not isinstance(self.params, dict):
            raise ConfigError(f"params is a dictionary, not {type(self.params).__name__}")

    @property
    def call_type(self) -> str:
        """Return the part of `cid` before the colon."""
        return self.cid.partition(":")[0]

    @property
    def call_id(self) -> str:
        """Return the part of `cid` behind the colon."""
        return self.cid.partition(":")[2]


@dataclass(frozen=True)
class StartCall:
    """Tells a worker to take a call.

    Attributes:
        worker: its name.
        request: the call.
        epoch: the number of this assignment. It grows with each one that the fleet makes; a word
            about a call in an older epoch is about a life that is over, and counts for nothing.
        reason: why the assistant is started.
        resume: what it goes on with; None to begin anew.
    """

    worker: str
    request: CallRequest
    epoch: int
    reason: Reason
    resume: Resumption | None = None


@dataclass(frozen=True)
class WorkerReport:
    """Tells how a worker is, once a second.

    Attributes:
        worker: its name.
        pid: its process.
        node: the machine it runs on, by the engine's name for it.
        calls: the calls that it holds, by cid, with the epoch in which it was given each.
        cpu: cores that its process uses, smoothed.
        lag_ms: how late its event loop was at the worst since the last report.
        resident_mb: its memory, in 10^6 bytes.
        busy: the calls in which somebody speaks or an answer is on its way.
    """

    worker: str
    pid: int
    node: str
    calls: dict[str, int]
    cpu: float
    lag_ms: float
    resident_mb: float
    busy: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkerStatus:
    """Describes one worker as the control knows it.

    Attributes:
        accepting: whether it takes calls; one that is being drained does not.
        silent_s: seconds since it was last heard of.
        calls: the calls that it is assigned.
        report: what it said last; None before that.
    """

    accepting: bool
    silent_s: float
    calls: tuple[str, ...]
    report: WorkerReport | None


@dataclass(frozen=True)
class FleetStatus:
    """Describes a fleet.

    Attributes:
        workers: by name.
        calls: calls that have a worker.
        unplaced: calls that wait for a worker: theirs has died or given way.
        room: calls that could be taken now.
        wanted: workers that there should be.
        starting: workers that are being started.
        counts: events since the control began, by name. Of requests `placed`, `repeated`, `refused`
            and `late`; of calls `crashed`, `moved`, `failed`, `given_up`, `ended`, `adopted` (in no
            record), `missing` (in the reports of their worker), `not_started`; of workers `hung`,
            `workers_started`, `workers_not_started`; of the store `records_failed`.
        control_pid: the process of the control.
    """

    workers: dict[str, WorkerStatus]
    calls: int
    unplaced: int
    room: int
    wanted: int
    starting: int
    counts: dict[str, int]
    control_pid: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as values that fit in JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Placed:
    """Answers a request.

    Attributes:
        cid: the call.
        worker: the worker that holds it; "" if `state` is "over".
        state: "started", "running" (it had an assistant already: a repeated request), or "over"
            (its session has ended: a late request).
    """

    cid: str
    worker: str
    state: Literal["started", "running", "over"]


@dataclass(frozen=True, repr=False)
class CallRecord:
    """Keeps what is needed to place a call again after its worker and the control have died.

    It holds a resumption, and so the conversation: store it as you store a password.

    Attributes:
        request: the call.
        epoch: the number of its assignment.
        worker: the worker that has it.
        resume: what its assistant goes on with.
        moving: whether the worker was told to leave it, so that its end is not the call's.
    """

    request: CallRequest
    epoch: int
    worker: str
    resume: Resumption | None
    moving: bool = False

    def to_json(self) -> bytes:
        """Return all of it as one JSON object, which `from_json` reads."""
        resume = None if self.resume is None else self.resume.to_json()
        return json.dumps(
            {
                "version": RECORD_VERSION,
                "request": asdict(self.request),
                "epoch": self.epoch,
                "worker": self.worker,
                "resume": resume,
                "moving": self.moving,
            }
        ).encode()

    @classmethod
    def from_json(cls, text: bytes) -> CallRecord:
        """Read what `to_json` has written.

        Raises:
            ConfigError: it is something else, or of a newer version. It is not shown.
        """
        try:
            values = json.loads(text)
            version = values["version"]
            if version != RECORD_VERSION:
                raise ConfigError(
                    f"This record has version {version!r:.20}, and this release reads version "
                    f"{RECORD_VERSION}: update the package that reads it"
                )
            resume = values["resume"]
            epoch, worker = values["epoch"], values["worker"]
            if not isinstance(epoch, int) or not isinstance(worker, str):
                raise TypeError
            return cls(
                CallRequest(**values["request"]),
                epoch,
                worker,
                None if resume is None else Resumption.from_json(resume),
                values.get("moving") is True,
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ConfigError("This is no record of a call") from None
