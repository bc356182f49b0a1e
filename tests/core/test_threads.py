"""Check that every class may be used from several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from getstream.plugins.gemini.audio import Capture, Playback, Resampler


def together(*works: Callable[[], None]) -> None:
    """Run functions at the same time and raise the error of any of them."""
    start = threading.Barrier(len(works))

    def begin(work: Callable[[], None]) -> None:
        start.wait()
        work()

    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(begin, work) for work in works]:
            done.result()


def test_a_store_that_is_filled_and_emptied_at_once_keeps_its_books() -> None:
    playback = Playback(24000, 24000, prefill_ms=0)
    chunk = np.full(24000 * 2, 9000, np.int16)  # long: pushed without the GIL
    ready = threading.Event()

    def fill() -> None:
        for _ in range(20):
            playback.push(chunk, 1)
        playback.end_turn(1)
        ready.set()

    def empty() -> None:
        while not ready.is_set() or playback.audible:
            playback.pop_frame()

    def read() -> None:
        while not ready.is_set():
            stats = playback.stats()
            assert stats.pushed == stats.played + stats.dropped + stats.queued

    together(fill, empty, read)
    stats = playback.stats()
    assert stats.played == stats.pushed == 20 * len(chunk)


def test_calls_on_one_resampler_are_done_one_after_the_other() -> None:
    resampler = Resampler(48000, 16000)
    counts: list[int] = []
    short, long = np.zeros(960, np.int16), np.zeros(96000, np.int16)

    def push(pcm: np.typing.NDArray[np.int16]) -> Callable[[], None]:
        return lambda: counts.extend(len(resampler.push(pcm)) for _ in range(50))

    together(push(short), push(long), push(short))
    assert sum(counts) == (2 * 960 + 96000) * 50 // 3


def test_capture_from_many_threads() -> None:
    capture = Capture(16000)

    def speak(source: int) -> Callable[[], None]:
        def work() -> None:
            for index in range(200):
                capture.push(source, np.ones(320, np.int16), 16000, 1, index * 0.02)
                capture.advance(index * 0.02)

        return work

    together(*(speak(source) for source in range(4)))
    found = [capture.stats(source) for source in range(4)]
    assert all(stats is not None and stats.pushed_ms == 4000 for stats in found)


def test_a_design_holds_up_no_other_thread() -> None:
    # About 0.3 s of design. The bank is too large to be kept, so each attempt designs it again.
    design = partial(Resampler, 95984)

    def overtakes() -> bool:
        """Return whether another pair is ready while the design is in progress."""
        designing, designed = threading.Event(), list[Resampler]()

        def work() -> None:
            designing.set()
            # In one step of the interpreter: no thread runs between the design and its entry.
            designed.extend(map(design, [8088]))

        thread = threading.Thread(target=work)
        thread.start()
        designing.wait()
        Resampler(48000, 16000)
        ahead = not designed
        thread.join()
        assert len(designed) == 1
        return ahead

    # The scheduler may starve this thread for once; were there a lock, it would be every time.
    assert any(overtakes() for _ in range(5))
