"""The pure parts of the trials of the fleet: quantiles, goals, gaps, presence, tables."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from getstream.plugins.gemini.audio import Resampler
from getstream.plugins.gemini.recording import read_recording
from getstream.plugins.gemini.testing.signals import silence, speech_like, tone, write_wav
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from trials.fleet import (  # noqa: E402
    drains,
    ears,
    hearing,
    memory,
    presence,
    processes,
    stage,
    tables,
    verdicts,
)

# -- verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("q", "expected"), [(0.5, 10.0), (0.95, 19.0), (0.951, 20.0), (1.0, 20.0), (0.01, 1.0)]
)
def test_a_quantile_is_one_of_the_values(q: float, expected: float) -> None:
    values = [float(n) for n in range(20, 0, -1)]
    assert verdicts.quantile(values, q) == expected


@pytest.mark.parametrize(("values", "q"), [([], 0.5), ([1.0], 0.0), ([1.0], 1.1)])
def test_a_quantile_of_nothing(values: list[float], q: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        verdicts.quantile(values, q)


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (verdicts.Goal("x", 1.5, 1.5), True),
        (verdicts.Goal("x", 1.501, 1.5), False),
        (verdicts.Goal("x", None, 1.5), False),
        (verdicts.Goal("x", math.nan, 1.5), False),
        (verdicts.Goal("x", 1, 1, kind="exactly"), True),
        (verdicts.Goal("x", 0, 1, kind="exactly"), False),
        (verdicts.Goal("x", 2, 1, kind="exactly"), False),
        (verdicts.none_of("x", 0, 3), True),
        (verdicts.none_of("x", 1, 3), False),
        (verdicts.none_of("x", 0, 0), False),  # nothing was looked at
        (verdicts.spread("x", [], 1.0), False),
        (verdicts.spread("x", [0.1] * 19 + [9.0], 1.0), True),
        (verdicts.spread("x", [0.1] * 18 + [9.0, 9.0], 1.0), False),
        (verdicts.worst("x", [0.1, 1.1], 1.0), False),
        (verdicts.worst("x", [], 1.0), False),
    ],
)
def test_goals(goal: verdicts.Goal, met: bool) -> None:
    assert goal.met is met


def test_exit_codes() -> None:
    good = verdicts.Result("a", "A", (verdicts.Goal("x", 1, 1),))
    bad = verdicts.Result("b", "B", (verdicts.Goal("x", 2, 1),))
    broken = verdicts.Result("c", "C", (verdicts.Goal("x", 1, 1),), error="no worker")
    empty = verdicts.Result("d", "D")
    assert verdicts.exit_code([good, good]) == 0
    for other in (bad, broken, empty):
        assert verdicts.exit_code([good, other]) == 1
    assert verdicts.exit_code([]) == 1


# -- hearing -------------------------------------------------------------------------------------


def made(*parts: tuple[float, bool]) -> NDArray[np.int16]:
    """Return sound and silence of so many ms."""
    rate = hearing.RATE
    return np.concatenate([tone(440, ms, rate) if on else silence(ms, rate) for ms, on in parts])


def test_sounds_are_found_to_a_frame() -> None:
    samples = made((100, False), (200, True), (80, False), (100, True), (120, False), (40, True))
    found = hearing.sounds(samples)
    assert found == [pytest.approx((0.1, 0.48)), pytest.approx((0.6, 0.64))]


@pytest.mark.parametrize("samples", [np.zeros(0, np.int16), silence(500, hearing.RATE)])
def test_no_sound(samples: NDArray[np.int16]) -> None:
    assert hearing.sounds(samples) == []


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (1.5, hearing.Gap(1.52, 2.2)),  # in mid-speech: packets on their way are heard
        (1.9, hearing.Gap(1.52, 2.2)),  # in silence
        (2.5, hearing.Gap(3.0, None)),  # nothing came back
        (0.2, None),  # nothing had been heard
    ],
)
def test_gap_after_a_fault(fault: float, expected: hearing.Gap | None) -> None:
    spans = [(1.0, 1.52), (2.2, 3.0)]
    assert hearing.gap_after(spans, fault) == expected


def test_length_of_a_gap() -> None:
    assert hearing.Gap(1.0, 1.7).seconds == pytest.approx(0.7)
    assert hearing.Gap(1.0, None).seconds is None


def test_what_was_on_its_way_is_not_what_came_back() -> None:
    spans = [(1.0, 1.3), (1.45, 1.5), (2.2, 3.0)]
    gap = hearing.gap_after(spans, 1.4)
    assert gap == hearing.Gap(1.5, 2.2)


def test_pauses() -> None:
    spans = [(0.0, 1.0), (1.2, 2.0), (2.5, 3.0)]
    assert hearing.longest_pause(spans) == pytest.approx(0.5)
    assert hearing.longest_pause(spans[:1]) == 0.0
    assert hearing.within(spans, 0.5, 2.2) == [(0.5, 1.0), (1.2, 2.0)]


@pytest.mark.parametrize(("at", "expected"), [(1.5, None), (2.0, 0.0), (3.5, 1.5), (0.5, 0.5)])
def test_quiet_before(at: float, expected: float | None) -> None:
    assert hearing.quiet_before([(1.0, 2.0)], at) == expected


# -- presence ------------------------------------------------------------------------------------


def looked(*looks: dict[str, int]) -> presence.Presence:
    """Return what is known after looks each 20 ms, with packets by session of one call."""
    found = presence.Presence()
    for number, packets in enumerate(looks):
        found.look(number * 0.02, [("call", session, n) for session, n in packets.items()])
    return found


def test_a_handover_is_no_overlap() -> None:
    # Within one look the last packets of the one and the first of the other.
    found = looked({"a": 1}, {"a": 2}, {"a": 3, "b": 1}, {"a": 3, "b": 2}, {"b": 3})
    assert found.overlap_s("call") == 0.0
    ((old, new),) = found.handovers("call")
    assert (old.session_id, new.session_id) == ("a", "b")
    assert new.first - old.last == pytest.approx(0.0)


def test_a_gap_between_two() -> None:
    found = looked({"a": 1}, {"a": 2}, {"a": 2}, {"b": 0}, {"b": 1}, {"b": 2})
    ((old, new),) = found.handovers("call")
    assert new.first - old.last == pytest.approx(0.06)
    assert found.overlap_s("call") == 0.0


def test_two_at_once_are_seen() -> None:
    found = looked({"a": 1}, {"a": 2, "b": 1}, {"a": 3, "b": 2}, {"a": 4, "b": 3}, {"b": 4})
    assert found.overlap_s("call") == pytest.approx(0.02)
    assert found.overlap_s("another") == 0.0


def test_a_third_session_over_two_others() -> None:
    packets = [{"a": n, "b": 0} for n in range(1, 5)]
    packets += [{"a": 4, "b": n} for n in range(1, 5)]
    found = looked(*({**each, "c": n + 1} for n, each in enumerate(packets)))
    assert found.overlap_s("call") > 0.02


# -- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "resumed", "same", "how", "missing"),
    [
        (["a", "b"], ["a", "b", "c"], True, False, "resumed", 0),
        (["a", "b", "b"], ["a", "b", "c"], True, False, "resumed", 1),
        (["a", "b"], ["a", "c"], False, False, "seeded", 1),
        (["a", "b"], ["c"], False, False, "lost", 2),
        (["a", "b"], ["c"], True, False, "lost", 2),
        (["a"], ["a", "b"], False, True, "the same session", 0),
        ([], ["a"], False, False, "seeded", 0),
    ],
)
def test_what_a_conversation_keeps(
    before: list[str], after: list[str], resumed: bool, same: bool, how: str, missing: int
) -> None:
    found = memory.compare(before, after, resumed=resumed, same=same)
    assert found == memory.Memory(how, missing)  # type: ignore[arg-type]


# -- words that arrive ---------------------------------------------------------------------------

SENTENCE = speech_like(2000, drains.WIRE, seed=3)


def test_a_sentence_that_arrives_whole() -> None:
    quiet = silence(400, drains.WIRE)
    # As after a way through two sample rates, a little later, and lower.
    up, down = Resampler(drains.WIRE, 48_000), Resampler(48_000, drains.WIRE)
    way = np.concatenate([quiet, (SENTENCE // 2).astype(np.int16), quiet])
    there = down.push(np.concatenate([up.push(way), up.flush()]))
    found, of = drains.arrived(SENTENCE, there)
    assert found == of
    assert of >= 15


@pytest.mark.parametrize(("start_ms", "end_ms", "lost"), [(0, 300, 3), (900, 1100, 2)])
def test_words_that_are_missing(start_ms: int, end_ms: int, lost: int) -> None:
    damaged = SENTENCE.copy()
    damaged[start_ms * 16 : end_ms * 16] = 0
    found, of = drains.arrived(SENTENCE, np.concatenate([silence(400, drains.WIRE), damaged]))
    assert of - lost <= found < of


@pytest.mark.parametrize("received", [np.zeros(0, np.int16), silence(3000, drains.WIRE)])
def test_nothing_that_arrives(received: NDArray[np.int16]) -> None:
    found, of = drains.arrived(SENTENCE, received)
    assert found == 0
    assert of > 0


# -- a person's ears -----------------------------------------------------------------------------


def test_turns_are_cut_at_the_fault_and_at_rests() -> None:
    gap = hearing.Gap(3.4, 4.1)
    heard = [(0.0, 1.0), (1.3, 2.0), (3.0, 3.4), (4.1, 5.0), (5.2, 6.0)]
    assert ears.turns_of(heard, gap) == [
        ((0.0, 2.0), False),
        ((3.0, 3.4), True),
        ((4.1, 6.0), False),
    ]


def test_the_recording_of_a_crash_is_read_as_any_recording(tmp_path: Path) -> None:
    heard = made((500, False), (1000, True), (700, False), (800, True))
    both = np.stack([np.zeros_like(heard), heard], axis=1)
    write_wav(tmp_path / "audio.wav", both, hearing.RATE)
    gap = ears.measure(tmp_path, 1.5)
    assert gap == hearing.Gap(pytest.approx(1.5), pytest.approx(2.2))
    asked = [{"start": 100.1, "end": 100.3}]
    ears.write_events(tmp_path, asked, ["Hello.", "Again."], 100.0, 101.5, gap)
    recording = read_recording(tmp_path)
    assert recording.is_complete
    assert recording.audio_frames == len(heard)
    events = [(entry.event, round(entry.seconds, 2)) for entry in recording.entries]
    assert events == [
        ("speech_started", 0.1),
        ("speech_stopped", 0.3),
        ("playback_started", 0.5),
        ("turn_complete", 0.5),
        ("interrupted", 1.5),
        ("disconnected", 1.5),
        ("playback_started", 2.2),
        ("turn_complete", 2.2),
        ("resumed", 2.2),
        ("playback_finished", 3.0),
        ("end", 3.0),
    ]


# -- tables --------------------------------------------------------------------------------------

RESULTS = [
    verdicts.Result(
        "kill",
        "A worker is killed",
        (
            verdicts.Goal("heard again after, p95", 0.734, 1.5, "s", detail="p50 0.6 | max 0.8"),
            verdicts.none_of("conversations lost", 1, 20),
        ),
        ("a note",),
        {"struck": [{"again_s": math.inf}]},
    ),
    verdicts.Result("hang", "A worker hangs", error="no\nworkers | at all"),
]


def test_the_table_says_what_is_missed() -> None:
    text = tables.markdown(RESULTS, ["2026-01-01, a machine."])
    assert "| kill | heard again after, p95 | ≤ 1.50 s | 0.73 s | met | p50 0.6 / max 0.8 |" in text
    assert "|  | conversations lost | 0 | 1 | **missed** | of 20 |" in text
    assert "Goals missed: 1. Not carried through: hang." in text
    assert "- not carried through: no workers / at all" in text
    assert "`make trial-fleet`" in text


def test_the_json_has_the_verdicts_and_no_infinity() -> None:
    found = json.loads(tables.as_json(RESULTS, {"date": "2026-01-01"}))
    kill, hang = found["trials"]
    assert [goal["met"] for goal in kill["goals"]] == [True, False]
    assert (kill["passed"], hang["passed"]) == (False, False)
    assert kill["figures"]["struck"] == [{"again_s": None}]


# -- processes -----------------------------------------------------------------------------------


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
def test_processes_are_found_by_their_environment() -> None:
    # A grandchild that has lost its parent is found, too.
    code = (
        "import subprocess, sys; "
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=sys.stdin); "
        "print(child.pid, flush=True)"
    )
    ran = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, stage.MARK: "test-of-the-trials"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with ran:
        assert ran.stdout is not None
        assert ran.stdin is not None
        orphan = int(ran.stdout.readline())
        ran.wait(20)
        assert processes.is_alive(orphan)
        assert processes.with_variable(stage.MARK, "test-of-the-trials") == [orphan]
        assert processes.with_variable(stage.MARK, "another") == []
        assert processes.resident_mb(orphan) > processes.own_mb(orphan) > 0
        assert processes.cpu_s([orphan]) >= 0
        ran.stdin.write("\n")
        ran.stdin.flush()
    assert asyncio.run(stage.wait_gone([orphan], 20.0)) == []
    assert processes.command(orphan) == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
def test_descendants_of_a_process() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True
    ) as child:
        assert child.pid in processes.descendants(os.getpid())
        child.communicate("\n")
    assert child.pid not in processes.descendants(os.getpid())


# -- the stage -----------------------------------------------------------------------------------

STATUS = {
    "workers": {
        "a": {"accepting": True, "report": {"pid": 1}, "calls": ["default:x"]},
        "b": {"accepting": True, "report": None, "calls": ["default:y"]},
        "c": {"accepting": False, "report": {"pid": 3}, "calls": []},
    }
}


def test_workers_of_a_status() -> None:
    assert list(stage.reporting(STATUS)) == ["a"]
    assert stage.holder(STATUS, "y") == "b"
    assert stage.holder(STATUS, "z") is None


def test_an_unknown_trial_is_refused() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "trials.fleet", "kil"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert "there is no trial kil; there is " in ran.stderr
