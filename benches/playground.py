#!/usr/bin/env python3
"""Measure the round trip of the playground's audio: microphone, page, Python, page, loudspeaker.

    python benches/playground.py [--minutes N] [--results DIR]

Prints a Markdown table, and writes it to `playground.md`: with `PUBLISH=1` and the default time to
`benches/results`, otherwise to `target/bench-results`. Takes 21 minutes. Needs Chromium (`make
chromium`) and, for WebRTC, a network interface that is not loopback.

A real Chromium, whose microphone is a file with speech, opens the playground of an assistant that
gives back what it hears at once (`playground_cost/echo.py`): nothing of Gemini or of the turns is
in the figures. The page records both sides on the clock of its audio graph. A value is the lag at
which the microphone's sound of 3 s is found again in what is heard: what the browser does with it
is in the figures, the sound card is not. Echo cancellation is off: it would take the echo for one.

The two transports run one after the other. At the end of WebRTC's run one packet is lost in each
direction, and then ten, where packets enter and leave this side's process: neither end can tell
that from a network's loss. Values after a loss begin 8 s after it.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import sys
import tempfile
import time
import wave
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from command_line import publish, results_folder, table, versions
from getstream.plugins.gemini._cli.clips import data_file
from getstream.plugins.gemini.audio import Resampler
from getstream.plugins.gemini.testing.signals import read_wav
from numpy.typing import NDArray
from progress import Progress
from report import machine
from scipy.signal import correlate

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from chromium import Chromium, find_chromium
from playground_program import running_playground

BENCHES = Path(__file__).parent
PACKAGES = ("getstream-plugins-gemini", "getstream", "aiortc", "av")
MINUTES = 10.0
RATE = 48_000

WAYS = {"WebRTC": ("peer", 150.0), "WebSocket": ("socket", 80.0)}
"""Transports by their names: the value of the page's choice, and the goal in ms."""

NOTICE = "document.getElementById('notice').textContent"

WINDOW_S = 3.0
"""Length of what is compared: three or four words."""

LONGEST_S = 1.0
"""Greatest lag that is looked for."""

EVERY_S = 5.0
"""Seconds between two values."""

SETTLE_S = 4.0
"""Seconds after the start, or after a loss, that are not looked at: NetEq of the browser, which
begins with a large buffer, shrinks it in that time."""

AFTER_LOSS = 5
"""Values after each loss."""

LOSSES = (1, 10)
"""Packets that are lost at once."""

GROWTH_MS = 10.0
"""Greatest growth that passes for none: half a frame of the assistant's voice."""


@dataclass
class Run:
    """Values of one transport, in ms.

    Attributes:
        steady: one after the other.
        after_loss: after so many lost packets.
    """

    steady: list[float] = field(default_factory=list)
    after_loss: dict[int, list[float]] = field(default_factory=dict)

    @property
    def growth_ms(self) -> float:
        """Return by how much the median of the last tenth is more than that of the first one."""
        share = max(3, len(self.steady) // 10)
        return float(np.median(self.steady[-share:]) - np.median(self.steady[:share]))


def write_microphone(target: Path) -> None:
    """Write a file with a sentence over and over; the browser begins anew at its end."""
    samples, rate = read_wav(data_file("question.wav"))
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(Resampler(rate, RATE).push(samples).tobytes())
        file.writeframes(bytes(2 * RATE // 2))


def recent(browser: Chromium, seconds: float) -> NDArray[np.int16]:
    """Return the newest audio of the page: shape `(n, 2)`, left the microphone, right the echo.

    Raises:
        RuntimeError: the visit is over, or nothing was heard.
    """
    encoded = browser.run(
        f"(() => {{ const bytes = new Uint8Array(playground.recording({seconds}).buffer); "
        "let text = ''; for (let i = 0; i < bytes.length; i += 32768) "
        "text += String.fromCharCode(...bytes.subarray(i, i + 32768)); return btoa(text); })()"
    )
    both = np.frombuffer(base64.b64decode(encoded), np.int16).reshape(-1, 2)
    if not both.any(axis=0).all():
        raise RuntimeError(f"There is no echo: {browser.run(NOTICE)}")
    return both


def lag_ms(both: NDArray[np.int16], rate: int) -> float:
    """Return how much later the microphone's sound is heard, at the greatest correlation."""
    said, heard = both[: round(WINDOW_S * rate), 0].astype(float), both[:, 1].astype(float)
    return float(correlate(heard, said, "valid", method="fft").argmax()) * 1000 / rate


def measure(browser: Chromium) -> float:
    """Return the round trip of the last seconds, in ms."""
    rate = int(browser.run("playground.rate()"))
    return lag_ms(recent(browser, WINDOW_S + LONGEST_S), rate)


def run_way(address: str, way: str, microphone: Path, minutes: float, progress: Progress) -> Run:
    """Measure one transport."""
    value, _ = WAYS[way]
    run = Run()
    with (
        tempfile.TemporaryDirectory() as folder,
        Chromium(
            Path(folder),
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}",
        ) as browser,
    ):
        browser.open(address)
        browser.run(f"document.getElementById('way').value = '{value}'")
        browser.run("document.getElementById('aec').checked = false")
        browser.run("document.getElementById('start').click()")
        browser.wait_for("document.getElementById('start').textContent === 'Hang up'")
        taken = str(browser.run("document.getElementById('media').textContent"))
        if not taken.endswith(way):
            raise RuntimeError(f"{way} does not connect here: {taken}")
        time.sleep(SETTLE_S + WINDOW_S + LONGEST_S)
        values = round(minutes * 60 / EVERY_S)
        for _ in range(values):
            run.steady.append(measure(browser))
            progress.advance(way, 1 / values, f"{run.steady[-1]:.0f} ms")
            time.sleep(EVERY_S)
        for number in LOSSES if way == "WebRTC" else ():
            browser.run(f"document.getElementById('text').value = 'lose {number}'")
            browser.run("document.querySelector('#say button').click()")
            time.sleep(SETTLE_S + WINDOW_S + LONGEST_S)
            after = run.after_loss[number] = []
            for _ in range(AFTER_LOSS):
                after.append(measure(browser))
                time.sleep(WINDOW_S)
        assert browser.complaints == []
    return run


def spread(values: list[float]) -> str:
    """Return the median, with the least and the greatest."""
    return f"{np.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def rows_of(way: str, run: Run) -> list[list[str]]:
    """Return the lines of the table for one transport, with whether each goal is met."""
    goal = WAYS[way][1]

    def met(is_met: bool) -> str:
        return "met" if is_met else "**missed**"

    before = float(np.median(run.steady))
    rows = [
        [f"{way}: round trip", spread(run.steady), f"≤ {goal:g}", met(before <= goal)],
        [
            f"{way}: growth over the run",
            f"{run.growth_ms:+.0f}",
            f"≤ {GROWTH_MS:g}",
            met(run.growth_ms <= GROWTH_MS),
        ],
    ]
    for number, values in run.after_loss.items():
        more = float(np.median(values)) - before
        packets = f"{number} lost packet{'s' if number > 1 else ''} each way"
        rows.append(
            [f"{way}: after {packets}", spread(values), f"+ {GROWTH_MS:g}", met(more <= GROWTH_MS)]
        )
    return rows


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for each transport")
    parser.add_argument("--results", type=Path, help="folder for the table")
    arguments = parser.parse_args()
    if find_chromium() is None:
        parser.error("there is no Chromium; `make chromium` installs one")
    seconds = arguments.minutes * 60
    progress = Progress(dict.fromkeys(WAYS, seconds))
    runs: dict[str, Run] = {}
    with tempfile.TemporaryDirectory() as folder:
        microphone = Path(folder) / "microphone.wav"
        write_microphone(microphone)
        for way in WAYS:
            program = running_playground("playground_cost.echo:make_assistant", cwd=str(BENCHES))
            with program as address:
                runs[way] = run_way(address, way, microphone, arguments.minutes, progress)
    rows = [row for way, run in runs.items() for row in rows_of(way, run)]
    lines = [
        "# Round trip of the playground",
        "",
        f"{datetime.date.today()}, {machine()}. {versions(PACKAGES)}.",
        "",
        "Milliseconds from the microphone to what is heard, in the page, by way of an assistant "
        f"that gives back what it hears: the median of a value each {EVERY_S:g} s for "
        f"{arguments.minutes:g} minutes, with the least and the greatest. Growth is the last tenth "
        "less the first.",
        "",
        *table(["", "ms", "goal", ""], rows),
        "How it is measured: `benches/playground.py`. Run it yourself: `make bench-playground`.",
    ]
    publish(
        lines,
        "",
        "playground",
        results_folder(arguments.results, arguments.minutes == MINUTES),
    )


if __name__ == "__main__":
    main()
