"""Trial: all workers are replaced, call by call, while people talk."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from getstream.plugins.gemini.testing import LiveSession
from getstream.plugins.gemini.testing.signals import align, read_wav, rms_dbfs
from numpy.typing import NDArray

from .crashes import begin, calm
from .hearing import Span, quiet_before
from .people import QUESTION, recording_of
from .stage import Program, Served, Stage, TrialError, reporting
from .verdicts import Goal, Result, none_of, quantile, so_often, worst

CALLS = 6
GAP_S = 0.25
"""Goal: the longest time in which a call that is handed over has no assistant that publishes."""

REST_S = 5.0
"""Mean rest between two questions, roughly: a call moves when nobody has spoken for two seconds."""

BEFORE_S, AFTER_S = 6.0, 8.0
"""Talk before the drain and after it, in seconds."""

DRAINED_S = 180.0

DECIDED_S = 0.3
"""A speech that begins so shortly before a call moves could not be known: it is detected after some
0.1 s, and the session with the model is closed meanwhile."""

WIRE = 16_000
"""Rate of what the model is sent, in Hz."""

PIECE = WIRE // 10
"""Samples of a piece of a sentence, 100 ms: a short syllable."""

SILENT_START_MS = 100
"""Silence at the beginning of the package's recordings."""

ALIKE = 0.4
"""Least correlation of a piece with what arrived. One that came through the codec has 0.5 and more,
another one that lies there less than 0.3."""

AUDIBLE_DBFS, VOICED_HZ = -35.0, (100, 2000)
"""Level of a piece that is looked at, and where most of its energy has to be: a codec for voices
keeps the waveform of nothing else."""


def arrived(sentence: NDArray[np.int16], received: NDArray[np.int16]) -> tuple[int, int]:
    """Return how many pieces of 100 ms of a sentence arrived, and how many there are.

    Pieces that a codec does not keep the waveform of are left out: quiet ones, and hisses.

    Args:
        sentence: what was said: int16, 16 kHz, shape (n,).
        received: what was received about that time, at the same rate. Something that is missing
            need not have left a gap in it.
    """
    pieces = _pieces(sentence)
    voiced = [number for number, piece in enumerate(pieces) if _is_voiced(piece)]
    halves = sentence[: len(sentence) // 2], sentence[len(sentence) // 2 :]
    if len(received) < len(sentence) // 2 or not received.any():
        return 0, len(voiced)
    # Where something is missing in between, the two halves lie apart.
    offsets = {
        round(align(halves[0], received, WIRE).offset_samples),
        round(align(halves[1], received, WIRE).offset_samples) - len(halves[0]),
    }
    # A sample or two of drift between the two clocks is no loss.
    places = [offset + shift for offset in offsets for shift in range(-2, 3)]
    there = sum(
        max(_correlation(pieces[number], received, at + number * PIECE) for at in places) >= ALIKE
        for number in voiced
    )
    return there, len(voiced)


def _is_voiced(piece: NDArray[np.int16]) -> bool:
    """Return whether most of a piece lies where voices do, and there is enough of it."""
    energy = np.abs(np.fft.rfft(piece.astype(np.float64))) ** 2
    low, high = (round(hz * len(piece) / WIRE) for hz in VOICED_HZ)
    return _dbfs(piece) > AUDIBLE_DBFS and bool(energy[low:high].sum() > energy.sum() / 2)


def _dbfs(samples: NDArray[np.int16]) -> float:
    return max(-120.0, rms_dbfs(samples)) if len(samples) else -120.0


def _pieces(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    return samples[: len(samples) // PIECE * PIECE].reshape(-1, PIECE)


def _correlation(piece: NDArray[np.int16], received: NDArray[np.int16], start: int) -> float:
    if start < 0 or start + PIECE > len(received):
        return 0.0
    x, y = piece.astype(np.float64), received[start : start + PIECE].astype(np.float64)
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / norm if norm else 0.0


@dataclass(frozen=True)
class Move:
    """One call whose conversation went to another session with the model.

    Attributes:
        call: the call.
        at: when the session before was sent its last audio.
        deaf_s: from then on until the next session was sent some.
        quiet_s: for how long nobody had spoken at that time; None if somebody spoke.
    """

    call: str
    at: float
    deaf_s: float
    quiet_s: float | None


@dataclass(frozen=True)
class Sentence:
    """Sentence of a person, and how much of it the model was sent.

    Attributes:
        call: the call.
        start: when it began.
        end: when it ended.
        interjected: whether it was begun while the call was handed over.
        arrived: pieces of 100 ms that arrived.
        of: pieces that there are.
    """

    call: str
    start: float
    end: float
    interjected: bool
    arrived: int
    of: int


def spoken(people: Program, call: str) -> list[Span]:
    """Return when somebody spoke in a call, or owed an answer."""
    asked = [(each["start"], each["end"]) for each in people.found("asked", call=call)]
    answers = [each["began"] for each in people.found("answer", call=call)]
    owed = [(end, min((at for at in answers if at >= end), default=end)) for _, end in asked]
    heard = [(a, b) for a, b in people.found("heard", call=call)[-1]["sounds"]]
    return sorted([*asked, *owed, *heard])


def moves_of(sessions: Sequence[LiveSession], call: str, spans: Sequence[Span]) -> list[Move]:
    """Return the changes of the session of a call.

    Args:
        sessions: the sessions of the call, oldest first.
        call: the call.
        spans: when somebody spoke, or owed an answer.
    """
    found = []
    times = [[f.at for f in session.frames if f.kind == "audio"] for session in sessions]
    for old, new in itertools.pairwise(each for each in times if each):
        known = [(start, end) for start, end in spans if start < old[-1] - DECIDED_S]
        found.append(Move(call, old[-1], new[0] - old[-1], quiet_before(known, old[-1])))
    return found


def received_of(sessions: Sequence[LiveSession], start: float, end: float) -> NDArray[np.int16]:
    """Return the audio that the sessions of a call received between two times, in order."""
    frames = sorted(
        (
            (frame.at, frame.data)
            for session in sessions
            for frame in session.frames
            if frame.kind == "audio" and start <= frame.at <= end
        ),
        key=lambda each: each[0],
    )
    data = b"".join(payload for _, payload in frames)
    return np.frombuffer(data, np.dtype("<i2")).astype(np.int16)


def sentences_of(stage: Stage, people: Program, call: str) -> list[Sentence]:
    """Return every sentence of a call, and how much of it arrived."""
    question, rate = read_wav(recording_of(QUESTION))
    assert rate == WIRE
    found = []
    for asked in people.found("asked", call=call):
        received = received_of(stage.sessions(call), asked["start"] - 0.5, asked["end"] + 1.5)
        said = question[asked["skip_ms"] * WIRE // 1000 :]
        interjected = asked["skip_ms"] > 0
        counts = arrived(said, received)
        found.append(Sentence(call, asked["start"], asked["end"], interjected, *counts))
    return found


async def interject(stage: Stage, people: Program, call: str) -> None:
    """Have the person speak the moment that the assistant's session with the model is closed."""
    session = stage.sessions(call)[-1]
    await stage.until(lambda: session.state == "closed", f"handover of {call}", DRAINED_S)
    # The recording begins with silence, in which the handover would be over.
    people.tell(do="say", call=call, skip_ms=SILENT_START_MS)


async def wait_replaced(served: Served, old: Sequence[str]) -> float:
    """Wait until the old workers are gone, and others are there; returns when."""

    def replaced(status: dict[str, Any]) -> bool:
        return bool(reporting(status)) and not any(name in status["workers"] for name in old)

    await served.wait_status(replaced, f"end of {', '.join(old)}", DRAINED_S)
    return time.monotonic()


async def drain(stage: Stage, served: Served, times: int, on_done: Callable[[int], None]) -> Result:
    """Replace every worker while six people talk."""
    calls = [f"drain-{number}" for number in range(CALLS)]
    took_s: list[float] = []
    async with stage.people(*calls) as people, stage.presence() as presence:
        await begin(served, people, calls)
        first = time.monotonic()
        people.tell(do="talk", rest_s=REST_S, seed=times)
        for number in range(times):
            await asyncio.sleep(BEFORE_S)
            status = await served.wait_workers(2)
            async with interjections(stage, people, calls[::2]):
                began = time.monotonic()
                code, answer = await served.ask("POST", "/drain")
                if not 200 <= code < 300:
                    raise TrialError(f"POST /drain: {code} {answer}")
                took_s.append(await wait_replaced(served, list(status["workers"])) - began)
            await asyncio.sleep(AFTER_S)
            on_done(number + 1)
        people.tell(do="stop")
        await calm(people, calls, "drained", ms=2000.0)
        people.tell(do="heard", since=first)
        for call in calls:
            await people.wait_reports("heard", 1, call=call)
        measured = _Measured(
            [m for c in calls for m in moves_of(stage.sessions(c), c, spoken(people, c))],
            [each for call in calls for each in sentences_of(stage, people, call)],
            [new.first - old.last for call in calls for old, new in presence.handovers(call)],
            took_s,
            sum(len(stage.assistants(call)) == 1 for call in calls),
        )
        counts = (await served.status())["counts"]
        await served.end_calls(*calls)
    return _result(measured, counts)


@contextlib.asynccontextmanager
async def interjections(stage: Stage, people: Program, calls: Sequence[str]) -> AsyncIterator[None]:
    """Interject in each of these calls when it is handed over."""
    tasks = [asyncio.ensure_future(interject(stage, people, call)) for call in calls]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@dataclass(frozen=True)
class _Measured:
    """Everything that was measured.

    Attributes:
        moves: changes of sessions with the model.
        said: sentences of people.
        gaps_s: of each handover, from the last packet of the one assistant to the first one of the
            next; less than 0 where both are in the call for a moment.
        took_s: of each drain, how long it took.
        one_each: calls with one assistant at the end.
    """

    moves: list[Move]
    said: list[Sentence]
    gaps_s: list[float]
    took_s: list[float]
    one_each: int


def _result(measured: _Measured, counts: dict[str, int]) -> Result:
    moves, gaps_s = measured.moves, measured.gaps_s
    quiet = [move.quiet_s for move in moves if move.quiet_s is not None]
    said = [each for each in measured.said if not each.interjected]
    interjected = [each for each in measured.said if each.interjected]
    deaf_s = [move.deaf_s for move in moves]
    wanted = CALLS * len(measured.took_s)
    both_s = max([0.0, *(-gap for gap in gaps_s)])
    return Result(
        "drain",
        f"All workers are replaced while people talk in {CALLS} calls, "
        f"{so_often(len(measured.took_s))}",
        (
            Goal("handovers", len(gaps_s), wanted, kind="exactly"),
            none_of("calls moved while somebody spoke", len(moves) - len(quiet), len(moves)),
            none_of("sentences of which 100 ms or more are missing", _damaged(said), len(said)),
            none_of("the same, begun during a handover", _damaged(interjected), len(interjected)),
            worst("without an assistant in the call, longest", gaps_s, GAP_S),
            Goal("calls with one assistant at the end", measured.one_each, CALLS, kind="exactly"),
        ),
        (
            f"drained after {max(measured.took_s):.1f} s at the latest",
            f"nobody had spoken for {min(quiet, default=0.0):.1f} s at least when a call moved",
            f"from the last audio that one session with the model was sent to the first of the "
            f"next: p50 {1e3 * quantile(deaf_s, 0.5):.0f}, max {1e3 * max(deaf_s):.0f} ms"
            if deaf_s
            else "no session with the model was changed",
            f"both assistants were in the call for {1e3 * both_s:.0f} ms at most; the one that "
            "leaves is silent then",
        ),
        {**asdict(measured), "counts": counts},
    )


def _damaged(sentences: Sequence[Sentence]) -> int:
    return sum(each.arrived < each.of for each in sentences)
