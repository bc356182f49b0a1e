"""A worker whose assistant functions do what they should not. The clock is virtual, unless said."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from getstream.plugins.gemini.errors import ConfigError, SessionError
from getstream.plugins.gemini.fleet import CallRequest, Seat
from getstream.plugins.gemini.fleet import _load as load_module
from getstream.plugins.gemini.fleet import _worker as worker_module
from getstream.plugins.gemini.fleet._calls import StartCall
from getstream.plugins.gemini.fleet._program import load_assistant
from getstream.plugins.gemini.fleet._worker import Worker, short_error
from getstream.plugins.gemini.live import Resumption
from getstream.plugins.gemini.testing.clock import run_virtual

CID = "default:a-call"
GRACE = 0.002
KEY = "a-key-that-is-in-no-log"
SECRET = "a-secret-of-32-bytes-or-more-for-jwt"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that are good enough to make clients, which nobody uses."""
    for name, value in {
        "STREAM_API_KEY": "stream-key",
        "STREAM_API_SECRET": SECRET,
        "GOOGLE_API_KEY": KEY,
    }.items():
        monkeypatch.setenv(name, value)


@dataclass
class Told:
    """What a worker has told its control, and when."""

    over: list[tuple[str, int, bool, str]] = field(default_factory=list)
    saved: list[tuple[str, int, Resumption]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    def on_over(self, *told: Any) -> None:
        """Take note of the end of a call."""
        self.over.append(told)  # type: ignore[arg-type]
        self.at.append(now())

    def on_saved(self, *told: Any) -> None:
        """Take note of what resumes a call."""
        self.saved.append(told)  # type: ignore[arg-type]


def now() -> float:
    return asyncio.get_running_loop().time()


def start(epoch: int = 1, cid: str = CID, **values: Any) -> StartCall:
    request = CallRequest(cid, params=values.pop("params", {}))
    return StartCall("w", request, epoch, values.pop("reason", "new"), values.pop("resume", None))


Scenario = Callable[[Worker, Told], Coroutine[Any, Any, None]]


def play(assistant: Any, scenario: Scenario) -> Told:
    """Play a scenario with a worker, on a virtual clock; nothing is left behind."""
    told = Told()

    async def main() -> None:
        worker = Worker("w", assistant, on_saved=told.on_saved, on_over=told.on_over)
        await worker.warm_up()
        try:
            await scenario(worker, told)
        finally:
            await worker.close(0.0)

    run_virtual(main(), grace=GRACE)
    return told


async def settle() -> None:
    """Let everything happen that needs no time to pass."""
    await asyncio.sleep(0.001)


class Calls:
    """An assistant function that only waits, and what becomes of each call of it."""

    def __init__(self, ends_after_s: float = 0.0) -> None:
        self.log: list[str] = []
        self._ends_after_s = ends_after_s

    async def __call__(self, seat: Seat) -> None:
        """Wait for ever, and end slowly."""
        name = f"{seat.request.cid} {seat.reason}"
        self.log.append(f"{name} begins")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(self._ends_after_s)
            self.log.append(f"{name} ends")


# -- epochs --------------------------------------------------------------------------------------


def test_a_start_may_be_repeated() -> None:
    assistant = Calls()

    async def scenario(worker: Worker, told: Told) -> None:
        for _ in range(50):
            worker.start_call(start(3))
        worker.start_call(start(2))
        await settle()
        assert assistant.log == [f"{CID} new begins"]
        report = worker.report()
        assert report.calls == {CID: 3}
        assert (report.worker, report.node, report.busy) == ("w", "local", ())
        assert report.resident_mb > 10

    play(assistant, scenario)


def test_a_newer_epoch_begins_when_the_older_one_has_ended() -> None:
    assistant = Calls(ends_after_s=3)

    async def scenario(worker: Worker, told: Told) -> None:
        worker.start_call(start(1))
        await settle()
        worker.start_call(start(2, reason="moved"))
        worker.start_call(start(3, reason="crashed"))
        assert worker.report().calls == {CID: 3}
        await asyncio.sleep(60)
        # The second one was not wanted any more when its turn came.
        assert assistant.log == [f"{CID} new begins", f"{CID} new ends", f"{CID} crashed begins"]
        assert told.over == [], "the control has given these epochs to the worker itself"
        worker.leave_call(CID, 1, at_rest=False)
        worker.leave_call(CID, 2, at_rest=False)
        assert worker.report().calls == {CID: 3}
        await asyncio.sleep(60)
        assert told.over == [], "orders of older epochs count for nothing"

    play(assistant, scenario)


def test_a_start_that_comes_late_starts_nothing() -> None:
    assistant = Calls()

    async def scenario(worker: Worker, told: Told) -> None:
        worker.start_call(start(5))
        await settle()
        worker.leave_call(CID, 5, at_rest=False)
        await asyncio.sleep(60)
        assert told.over == [(CID, 5, False, "")]
        worker.start_call(start(5))
        worker.start_call(start(4))
        await settle()
        assert worker.report().calls == {}

    play(assistant, scenario)
    assert assistant.log == [f"{CID} new begins", f"{CID} new ends"]


def test_calls_are_side_by_side() -> None:
    assistant = Calls()
    cids = [f"default:{number}" for number in range(20)]

    async def scenario(worker: Worker, told: Told) -> None:
        for epoch, cid in enumerate(cids):
            worker.start_call(start(epoch, cid))
        await settle()
        worker.leave_call(cids[3], 3, at_rest=False)
        await asyncio.sleep(60)
        assert [over[0] for over in told.over] == [cids[3]]
        assert list(worker.report().calls) == [cid for cid in cids if cid != cids[3]]

    play(assistant, scenario)
    assert len(assistant.log) == 40


def test_a_worker_that_is_not_warm_or_closed_takes_no_calls() -> None:
    async def main() -> None:
        told = Told()
        worker = Worker("w", Calls(), on_saved=told.on_saved, on_over=told.on_over)
        with pytest.raises(ConfigError, match="not warm"):
            worker.start_call(start())
        await worker.warm_up()
        await worker.warm_up()
        worker.start_call(start())
        await worker.close(0.0)
        await worker.close(0.0)
        with pytest.raises(ConfigError, match="closed"):
            worker.start_call(start())
        assert told.over == [], "whoever starts next goes on with the call"
        assert worker.report().calls == {}

    run_virtual(main(), grace=GRACE)


def test_without_keys_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAM_API_SECRET")
    with pytest.raises(ConfigError, match="STREAM_API_SECRET"):
        play(Calls(), None)  # type: ignore[arg-type]


# -- functions that fail -------------------------------------------------------------------------


async def raises(seat: Seat) -> None:
    raise ValueError(f"https://example.com/?key={KEY}\nsecond line \x1b[31m")


async def fails_with_the_session(seat: Seat) -> None:
    raise SessionError("the service has said no", remedy="Try another model.")


async def cancels_itself(seat: Seat) -> None:
    raise asyncio.CancelledError


async def exits(seat: Seat) -> None:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("assistant", "words"),
    [
        (raises, "ValueError: https://example.com/?key=... second line"),
        (fails_with_the_session, "the service has said no. Try another model."),
        (cancels_itself, "RuntimeError: the assistant function was cancelled by its own code"),
        (exits, "RuntimeError: the assistant function has called sys.exit()"),
    ],
)
def test_a_failure_is_told_without_keys(
    assistant: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(worker: Worker, told: Told) -> None:
        worker.start_call(start(7))
        await settle()
        assert told.over == [(CID, 7, True, words)]
        assert worker.report().calls == {}
        # Another epoch is tried as if nothing had been.
        worker.start_call(start(8))
        await settle()
        assert told.over[1][:3] == (CID, 8, True)

    play(assistant, scenario)
    assert KEY not in caplog.text
    assert "Traceback" in caplog.text
    assert assistant.__name__ in caplog.text, "whoever has written it sees where it failed"


def test_an_error_is_short() -> None:
    assert len(short_error(ValueError("x" * 10_000))) == worker_module.MAX_ERROR_CHARS


def test_a_function_that_returns_at_once_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async def returns(seat: Seat) -> None:
        pass

    async def scenario(worker: Worker, told: Told) -> None:
        worker.start_call(start(1))
        await settle()
        assert told.over == [(CID, 1, False, "")]

    play(returns, scenario)
    assert "without having called seat.follow()" in caplog.text


# -- functions that do not end -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at_rest", "after_s"),
    [(False, worker_module.RETURN_S), (True, worker_module.UNFOLLOWED_S)],
)
def test_a_function_that_never_returns_is_cancelled(
    at_rest: bool, after_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    assistant = Calls()

    async def scenario(worker: Worker, told: Told) -> None:
        worker.start_call(start(1))
        await settle()
        began = now()
        for _ in range(60):  # the control repeats itself at each report
            worker.leave_call(CID, 1, at_rest=at_rest)
            await asyncio.sleep(1)
        assert told.over == [(CID, 1, False, "")]
        assert told.at[0] - began == pytest.approx(after_s, abs=0.1)

    play(assistant, scenario)
    assert assistant.log[-1] == f"{CID} new ends"
    assert "does not give its call up" in caplog.text


def test_to_leave_at_once_overtakes_to_leave_at_rest() -> None:
    async def scenario(worker: Worker, told: Told) -> None:
        worker.start_call(start(1))
        await settle()
        began = now()
        worker.leave_call(CID, 1, at_rest=True)
        worker.leave_call(CID, 1, at_rest=False)
        worker.leave_call(CID, 1, at_rest=True)
        await asyncio.sleep(100)
        assert told.at[0] - began == pytest.approx(worker_module.RETURN_S, abs=0.1)

    play(Calls(), scenario)


def test_a_function_that_cannot_be_cancelled_is_left_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    released = []

    async def stubborn(seat: Seat) -> None:
        while not released:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                continue

    async def scenario(worker: Worker, told: Told) -> None:
        worker.start_call(start(1))
        await settle()
        began = now()
        worker.leave_call(CID, 1, at_rest=False)
        await asyncio.sleep(60)
        ((cid, epoch, failed, error),) = told.over
        assert (cid, epoch, failed) == (CID, 1, True)
        assert "did not end" in error
        bound_s = worker_module.RETURN_S + worker_module.CANCELLED_S
        assert told.at[0] - began == pytest.approx(bound_s, abs=0.1)
        assert worker.report().calls == {}
        released.append(True)
        await asyncio.sleep(2)

    play(stubborn, scenario)
    assert "runs on: it is left alone" in caplog.text
    assert "has ended after all" in caplog.text


def test_closing_ends_all_of_them() -> None:
    assistant = Calls(ends_after_s=1)

    async def scenario(worker: Worker, told: Told) -> None:
        for number in range(5):
            worker.start_call(start(number, f"default:{number}"))
        await settle()
        began = now()
        await worker.close(4.0)
        assert now() - began == pytest.approx(4 + worker_module.RETURN_S + 1, abs=0.1)

    told = play(assistant, scenario)
    assert told.over == []
    assert len(assistant.log) == 10


# -- the control ---------------------------------------------------------------------------------


def test_a_control_that_fails_or_hangs_holds_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    async def on_over(cid: str, *_told: Any) -> None:
        seen.append(cid)
        if cid == "default:hangs":
            await asyncio.Event().wait()
        raise ConnectionError(f"no control; {KEY}")

    async def returns(seat: Seat) -> None:
        pass

    async def main() -> None:
        worker = Worker("w", returns, on_saved=Told().on_saved, on_over=on_over)
        await worker.warm_up()
        worker.start_call(start(1, "default:hangs"))
        worker.start_call(start(2, "default:fails"))
        await asyncio.sleep(worker_module.TELL_S + 1)
        assert worker.report().calls == {}
        await worker.close(0.0)

    run_virtual(main(), grace=GRACE)
    assert seen == ["default:hangs", "default:fails"]
    assert caplog.text.count("The control was not told about") == 2
    assert KEY not in caplog.text


# -- load, on the real clock ---------------------------------------------------------------------


async def test_a_blocked_loop_is_told_once_and_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(load_module, "BLOCKED_S", 0.3)
    monkeypatch.setattr(load_module, "STEP_S", 0.05)

    async def blocks_the_loop(seat: Seat) -> None:
        time.sleep(1.2)  # what this is about

    told = Told()
    worker = Worker("w", blocks_the_loop, on_saved=told.on_saved, on_over=told.on_over)
    await worker.warm_up()
    try:
        await asyncio.sleep(0.2)
        worker.report()
        worker.start_call(start(1))
        with caplog.at_level(logging.ERROR):
            await asyncio.sleep(0.2)
        assert worker.report().lag_ms > 1000
        assert worker.report().lag_ms < 1000, "the worst since the last report"
    finally:
        await worker.close(0.0)
    blocks = [record for record in caplog.records if "event loop is blocked" in record.message]
    assert len(blocks) == 1
    assert "blocks_the_loop" in blocks[0].message
    assert "time.sleep(1.2)" in blocks[0].message


async def test_the_cpu_of_the_process_is_measured() -> None:
    load = load_module.Load()
    load.start()
    load.start()
    try:
        began, used = time.monotonic(), time.process_time()
        while time.process_time() - used < 1.0:
            sum(range(20_000))
            await asyncio.sleep(0)
        # Smoothed from nothing, and the machine may have had little time for this process.
        cores = 1.0 / (time.monotonic() - began)
        assert 0.15 * cores < load.cpu < 1.5
    finally:
        await load.stop()


# -- the program ---------------------------------------------------------------------------------


async def two(seat: Seat, other: int) -> None: ...


def plain(seat: Seat) -> None: ...


PROGRAM = """
import asyncio
async def assistant(seat): ...
async def another(seat): ...
def plain(seat): ...
async def lonely(): ...
class Assistant:
    async def __call__(self, seat): ...
made = Assistant()
class Holder:
    @staticmethod
    async def assistant(seat): ...
"""


@pytest.fixture
def folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder with a program, which is the current one."""
    (tmp_path / "fleet_program.py").write_text(PROGRAM)
    (tmp_path / "fleet_broken.py").write_text("import a_module_that_is_not_installed\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["assistant", "made", "Holder.assistant"])
def test_an_assistant_is_loaded(folder: Any, name: str) -> None:
    assert callable(load_assistant(f"fleet_program:{name}"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fleet_program", "of the form module:function"),
        (":assistant", "of the form module:function"),
        ("fleet_program:", "of the form module:function"),
        ("nothing_here:assistant", "no module 'nothing_here'"),
        ("fleet_program.py:assistant", "named without .py: fleet_program:assistant"),
        ("fleet_broken:assistant", "'a_module_that_is_not_installed', which is not installed"),
        ("fleet_program:asistant", "has no 'asistant'; it has another, assistant"),
        ("fleet_program:plain", "is no async function"),
        ("fleet_program:Assistant", "is no async function"),
        ("fleet_program:asyncio", "is no async function"),
        ("fleet_program:lonely", "has to take one argument"),
    ],
)
def test_what_is_no_assistant_is_refused(folder: Any, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_assistant(name)


@pytest.mark.parametrize("assistant", [None, plain, two, lambda seat: None, Calls])
def test_a_worker_takes_async_functions_of_one_argument(assistant: Any) -> None:
    with pytest.raises(ConfigError):
        Worker("w", assistant, on_saved=print, on_over=print)


def test_a_worker_takes_what_can_be_called_like_one() -> None:
    async def assistant(seat: Seat, room: str = "hall") -> None: ...

    functions: list[Callable[[Seat], Awaitable[None]]] = [
        assistant,
        functools.partial(assistant, room="garden"),
        Calls(),
    ]
    for function in functions:
        Worker("w", function, on_saved=print, on_over=print)
