"""Check the tools of the benchmarks: progress, folders of results, and the labelled set."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import PUBLISHED, SCRATCH, results_folder
from progress import QUIET_S, Progress
from vad_sets import TICK, checksum, labels_of, read_set


class Clock:
    """Clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_is_in_proportion_to_the_work_that_is_left() -> None:
    out, clock = io.StringIO(), Clock()
    progress = Progress({"short": 1.0, "long": 3.0}, out, clock)
    assert progress.left_s() is None
    clock.now += 20.0
    progress.done("short", 1.0, "the short part")
    assert progress.left_s() == pytest.approx(60.0)
    assert "25 %, 60 s left: the short part" in out.getvalue()
    clock.now += 280.0
    progress.done("long", 1.0, "the long part")
    assert progress.left_s() == 0.0


def test_small_steps_print_a_line_in_ten_seconds_at_most() -> None:
    out, clock = io.StringIO(), Clock()
    progress = Progress({"all": 1.0}, out, clock)
    for _ in range(100):
        clock.now += QUIET_S / 20
        progress.advance("all", 0.01, "step")
    assert out.getvalue().count("\n") == 5


@pytest.mark.parametrize(
    ("publish", "whole", "folder"),
    [("", True, SCRATCH), ("1", True, PUBLISHED), ("1", False, SCRATCH), ("0", True, SCRATCH)],
)
def test_only_a_whole_run_is_published(
    monkeypatch: pytest.MonkeyPatch, publish: str, whole: bool, folder: Path
) -> None:
    monkeypatch.setenv("PUBLISH", publish)
    assert results_folder(None, whole) == folder
    assert results_folder(Path("mine"), whole) == Path("mine")


def test_a_pause_is_labelled_a_pause_and_a_sentence_speech() -> None:
    pause, word = np.zeros(3 * TICK + 40), np.full(2 * TICK, 1000.0)
    labels = labels_of([pause, word, np.zeros(TICK)], 6)
    # The sentence begins 40 samples into the fourth frame, and ends 40 samples into the sixth.
    assert labels.tolist() == [0, 0, 0, 2, 1, 2]


def test_silence_within_a_sentence_is_either() -> None:
    sentence = np.concatenate([np.ones(TICK), np.zeros(2 * TICK), np.ones(TICK)])
    assert labels_of([sentence], 5).tolist() == [1, 2, 2, 1, 0]


def test_the_synthesized_set_is_the_same_in_each_process(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    script = Path(__file__).with_name("vad_sets.py")
    sums = []
    for name in ("one", "two"):
        command = [sys.executable, str(script), str(tmp_path / name)]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        sums.append(ran.stdout.split()[-1])
    read = read_set(tmp_path / "one")
    assert sums == [checksum(read)] * 2
    assert all((labels == 1).any() and (labels == 0).any() for _, labels in read.clips.values())
