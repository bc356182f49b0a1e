"""Measures of a load: arrival times made by hand, and processes of a made-up and the real /proc."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.testing._load.light_person import HeardTrack
from getstream.plugins.gemini.testing._load.measure import (
    GAP_MS,
    MEMORY_FRAMES,
    MachineCpu,
    ProcessTree,
    cpu_seconds,
    lateness_ms,
    percentile,
    summarize,
)
from getstream.plugins.gemini.testing._load.picture import picture
from getstream.plugins.gemini.testing._load.plan import Bounds, Step, judge
from numpy.typing import NDArray

FRAME = 960


def paced(count: int, first: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Frames that come each 20 ms, with their RTP timestamps."""
    numbers = np.arange(count)
    return 5.0 + numbers * 0.02, (first + numbers * FRAME) % (1 << 32)


# -- lateness ----------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, (1 << 32) - 3 * FRAME])
def test_frames_on_time_are_not_late(first: int) -> None:
    late = lateness_ms(*paced(300, first))
    assert np.abs(late).max() < 1e-6


def test_one_frame_is_late_by_what_it_is_late() -> None:
    arrivals, timestamps = paced(300)
    arrivals[150] += 0.015
    late = lateness_ms(arrivals, timestamps)
    assert late[150] == pytest.approx(15.0)
    assert np.count_nonzero(late > 0.001) == 1


def test_a_burst_after_a_stall_is_late_frame_by_frame() -> None:
    arrivals, timestamps = paced(300)
    arrivals[150:155] = arrivals[155]  # five frames wait, and come with the sixth
    late = lateness_ms(arrivals, timestamps)
    assert late[150:156] == pytest.approx([100, 80, 60, 40, 20, 0], abs=1e-6)


def test_a_lasting_delay_is_late_for_the_memory_of_a_jitter_buffer() -> None:
    arrivals, timestamps = paced(400)
    arrivals[200:] += 0.05
    late = lateness_ms(arrivals, timestamps)
    assert late[200 : 200 + MEMORY_FRAMES - 1] == pytest.approx(50.0)
    assert np.abs(late[200 + MEMORY_FRAMES :]).max() < 1e-6


def test_a_pause_of_the_sender_is_not_late() -> None:
    arrivals, timestamps = paced(300)
    arrivals[150:] += 0.4
    timestamps[150:] += 20 * FRAME
    assert np.abs(lateness_ms(arrivals, timestamps)).max() < 1e-6


def test_a_sender_that_begins_anew_is_not_late() -> None:
    arrivals, timestamps = paced(300)
    timestamps[150:] += 1_000_000
    assert np.abs(lateness_ms(arrivals, timestamps)).max() < 1e-6


def track(arrivals: NDArray[np.float64], timestamps: NDArray[np.int64], first: int) -> HeardTrack:
    numbers = [(first + n) % (1 << 16) for n in range(len(arrivals))]
    return HeardTrack(arrivals.tolist(), timestamps.tolist(), numbers)


def test_streams_are_summed_up_together() -> None:
    good = track(*paced(300), first=65_500)
    arrivals, timestamps = paced(300)
    arrivals[100:] += (GAP_MS + 1) / 1000
    timestamps[100:] += round((GAP_MS + 1) * 48)
    gap = track(arrivals, timestamps, first=0)
    lossy = track(*paced(300), first=10)
    for each in (lossy.arrivals, lossy.timestamps, lossy.numbers):
        del each[50:52]
    heard = summarize([good, gap, lossy, HeardTrack()])
    assert heard.frames == 898
    assert heard.lost == 2
    assert heard.gaps == 1, "two lost frames in a row are not heard as a gap"
    assert heard.late_p99_ms == pytest.approx(0.0, abs=0.01)


def test_nothing_heard_is_zero() -> None:
    assert summarize([]).to_dict() == dict.fromkeys(summarize([]).to_dict(), 0)


def test_percentiles() -> None:
    assert percentile([], 95) is None
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0


# -- processes ---------------------------------------------------------------------------------


class MadeUpProc:
    """A folder that looks like /proc."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "stat").write_text("cpu  10 0 10 80 0 0 0 0 0 0\n")

    def put(self, pid: int, parent: int, ticks: int, *, started: int = 1, marker: str = "") -> None:
        """Write one process."""
        process = self.folder / str(pid)
        process.mkdir(exist_ok=True)
        fields = ["S", str(parent), *["0"] * 9, str(ticks), "0", *["0"] * 6, str(started)]
        (process / "stat").write_text(f"{pid} (a (strange) name) {' '.join(fields)}\n")
        (process / "environ").write_bytes(f"HOME=/\0{marker}\0".encode())
        (process / "smaps_rollup").write_text("Rss: 2000 kB\nPss:  1000 kB\n")


def test_a_tree_is_its_descendants_and_who_carries_the_mark(tmp_path: Path) -> None:
    proc, second = MadeUpProc(tmp_path), os.sysconf("SC_CLK_TCK")
    proc.put(1, 0, 900)
    proc.put(10, 1, 1 * second)
    proc.put(11, 10, 2 * second)
    proc.put(12, 11, 3 * second)
    proc.put(20, 1, 4 * second, marker="RUN=abc")  # an engine's, without a parent in the tree
    proc.put(30, 1, 5 * second, marker="RUN=abcd")
    tree = ProcessTree(10, "RUN=abc", tmp_path)
    assert sorted(tree.pids) == [10, 11, 12, 20]
    assert tree.sample() == pytest.approx(10.0)
    proc.put(12, 11, 4 * second)
    assert tree.sample() == pytest.approx(11.0)
    assert tree.memory_mb() == pytest.approx(4 * 1.024)


def test_what_a_process_has_used_counts_after_its_end_and_for_its_successor(
    tmp_path: Path,
) -> None:
    proc, second = MadeUpProc(tmp_path), os.sysconf("SC_CLK_TCK")
    proc.put(10, 1, 0)
    proc.put(11, 10, 5 * second, started=7)
    tree = ProcessTree(10, "RUN=abc", tmp_path)
    assert tree.sample() == pytest.approx(5.0)
    proc.put(11, 10, 1 * second, started=9)  # the same number, another process
    assert tree.sample() == pytest.approx(6.0)
    proc.put(11, 1, 2 * second, started=9)  # its parent has died, and it is still known
    assert tree.sample() == pytest.approx(7.0)


def test_without_proc_it_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Linux"):
        ProcessTree(1, "RUN=abc", tmp_path / "none")


def test_a_real_process_is_seen_to_work() -> None:
    code = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
    with subprocess.Popen(
        [sys.executable, "-c", code + "print('done', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        tree = ProcessTree(process.pid, "RUN=no-such-mark")
        assert process.stdout is not None
        process.stdout.readline()
        assert tree.sample() >= 0.15
        assert cpu_seconds(process.pid) >= 0.15
        assert tree.memory_mb() > 1
        process.communicate(b"\n")
    assert cpu_seconds(process.pid) == 0.0


def test_the_machine_is_busy_by_what_is_not_idle(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 100 700 100 0 0 0 0 0\n")
    cpu = MachineCpu(stat)
    assert cpu.busy() == 0.0
    stat.write_text("cpu  130 0 110 750 110 0 0 0 0 0\n")
    assert cpu.busy() == pytest.approx(0.4)


# -- the picture -------------------------------------------------------------------------------

BOUNDS = Bounds()
SVG = "{http://www.w3.org/2000/svg}"


def drawn(*steps: Step) -> ElementTree.Element:
    return ElementTree.fromstring(picture(steps, judge(steps, BOUNDS), BOUNDS, "A < B & C"))


def measured(calls: int, **changes: object) -> Step:
    values = {"answers": 3, "answer_p50_ms": 540.0, "answer_p95_ms": 600.0, "machine_cores": 2}
    return Step(calls=calls, held=calls, **{**values, **changes})  # type: ignore[arg-type]


def test_the_picture_has_a_point_for_each_figure_of_each_step() -> None:
    root = drawn(measured(2), measured(6), measured(10, service_p50_ms=500.0))
    assert len(root.findall(f"{SVG}circle")) == 3 * 3 + (2 * 3 + 1) + 3 * 3
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"2", "6", "10", "calls at the same time"} <= set(texts)


def test_the_picture_marks_what_was_lost_and_what_is_not_the_fleets() -> None:
    root = drawn(measured(2), measured(6, refused=1, generator_late_ms=50.0))
    titles = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert titles.count("the service level was lost") == 3
    assert titles.count("not the fleet alone") == 3
    assert "lost at 6" in titles[0]


def test_the_picture_of_one_step_and_of_none() -> None:
    assert drawn(measured(2)).findall(f"{SVG}polyline")
    assert picture([], judge([], BOUNDS), BOUNDS, "nothing") == ""


@pytest.mark.parametrize("theme", ["prefers-color-scheme:dark"])
def test_the_picture_has_a_dark_side(theme: str) -> None:
    style = drawn(measured(2)).find(f"{SVG}style")
    assert style is not None
    assert theme in (style.text or "")
