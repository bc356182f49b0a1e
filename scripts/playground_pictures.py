#!/usr/bin/env python3
"""Make the pictures of the playground anew, from a real visit in a real Chromium.

    python scripts/playground_pictures.py [FOLDER]

It needs the package with the extra `testing`, Pillow, `websockets` and Chromium (`make chromium`),
and takes two minutes. In FOLDER, `docs/how-to` without it:

* `playground.webp`, animated, for the README: an outage while the assistant speaks.
* `playground.png`, `playground-dark.png` and `playground-phone.png`: the page after that.

In each visit the microphone is a file with a sentence, which the local server says again, and the
outage is the page's own button. Nothing of it is drawn or put together afterwards.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
import tempfile
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
from getstream.plugins.gemini._cli.clips import data_file
from getstream.plugins.gemini.audio import Resampler
from getstream.plugins.gemini.testing.signals import read_wav
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from chromium import Chromium
from playground_program import running_playground

ROOT = Path(__file__).resolve().parents[1]
RATE = 48_000
LEAD_S = 3.0
"""Silence before the person speaks: the page is open and connected by then."""

LOUD = 1500
"""Level from which a sample is of the sentence: what is quieter at its ends is left out, because
half a second of quiet between the two would end the person's turn."""

DESK, PHONE = (1100, 900), (390, 844)

PHONE_SHOWN = 1500
"""Pixels of the page that are shown of a telephone's."""

FILM_WIDTH = 1000
VERDICT_LINES_PX = 50
"""Pixels by which the page grows with the verdict."""

FRAME_S = 0.16
"""Seconds between two frames: six a second show the wave move."""

FILM_AFTER_S = 2.5
"""Seconds that are shown after the verdict, to read it."""

LAST_FRAME_MS = 4000
WEBP_QUALITY = 70

CUT_AFTER_S = 1.0
"""Seconds of the assistant's speech after which the outage begins."""

SCENE_LONGEST_S = 60.0

SPEAKS = (
    "[...document.querySelectorAll('#log span')].some((each) => "
    "each.textContent.startsWith('playback started'))"
)
VERDICT = "document.getElementById('outcome').className !== ''"
FINISHED = SPEAKS.replace("started", "finished")


def write_microphone(target: Path) -> None:
    """Write a file with one sentence, said twice without a break."""
    samples, rate = read_wav(data_file("question.wav"))
    sentence = Resampler(rate, RATE).push(samples)
    loud = np.flatnonzero(np.abs(sentence.astype(int)) > LOUD)
    sentence = sentence[loud[0] : loud[-1]]
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(2 * round(LEAD_S * RATE)))
        file.writeframes(sentence.tobytes() + bytes(2 * RATE // 10) + sentence.tobytes())
        file.writeframes(bytes(2 * 60 * RATE))


@contextmanager
def visit(size: tuple[int, int], *, dark: bool, ratio: float) -> Iterator[Chromium]:
    """Open a playground of its own, and talk to it."""
    with tempfile.TemporaryDirectory() as folder, running_playground() as address:
        microphone = Path(folder) / "microphone.wav"
        write_microphone(microphone)
        with Chromium(
            Path(folder),
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}%noloop",
        ) as browser:
            browser.show_as(width=size[0], height=size[1], dark=dark, ratio=ratio)
            browser.open(address)
            browser.run("document.getElementById('start').click()")
            browser.wait_for(SPEAKS)
            yield browser
            if browser.complaints:
                raise RuntimeError(f"The page complains: {browser.complaints}")


def begin_outage(browser: Chromium) -> None:
    """Press the button of the page that breaks the connection."""
    browser.run(
        "[...document.querySelectorAll('#faults button')]"
        ".find((each) => each.textContent === 'Short outage').click()"
    )


def take_picture(size: tuple[int, int], *, dark: bool, ratio: float) -> bytes:
    """Return a PNG of the page after an outage in mid-speech; of a telephone, its upper part."""
    with visit(size, dark=dark, ratio=ratio) as browser:
        time.sleep(CUT_AFTER_S)
        begin_outage(browser)
        browser.wait_for(f"{VERDICT} && {FINISHED}")
        picture = browser.picture()
    if size != PHONE:
        return picture
    upper = io.BytesIO()
    page = Image.open(io.BytesIO(picture))
    page.crop((0, 0, page.width, round(PHONE_SHOWN * ratio))).save(upper, "PNG", optimize=True)
    return upper.getvalue()


def take_film() -> list[tuple[Image.Image, float]]:
    """Return frames of the page's upper part, each with its time in seconds, of such an outage."""
    frames: list[tuple[Image.Image, float]] = []
    with visit((FILM_WIDTH, 800), dark=False, ratio=1.0) as browser:
        # What is shown: the picture of both voices, the buttons and the verdict; no more.
        browser.run(
            "for (const id of ['h-do', 'h-give', 'h-log']) "
            "document.getElementById(id).closest('section').hidden = true; "
            "document.querySelector('details').hidden = true"
        )
        height = float(browser.run("document.querySelector('main').getBoundingClientRect().bottom"))
        height += VERDICT_LINES_PX
        clip = {"x": 0, "y": 0, "width": FILM_WIDTH, "height": round(height), "scale": 1}
        began, is_broken, ends = time.monotonic(), False, SCENE_LONGEST_S
        while (at := time.monotonic() - began) < ends:
            if not is_broken and at >= CUT_AFTER_S:
                begin_outage(browser)
                is_broken = True
            shot = browser.command("Page.captureScreenshot", clip=clip)
            frames.append((Image.open(io.BytesIO(base64.b64decode(shot["data"]))), at))
            if ends == SCENE_LONGEST_S and browser.run(f"{VERDICT} && {FINISHED}"):
                ends = at + FILM_AFTER_S
            time.sleep(max(0.0, began + at + FRAME_S - time.monotonic()))
    return frames


def write_film(frames: list[tuple[Image.Image, float]], target: Path) -> None:
    """Write an animated WebP in which each frame lasts as long as it did."""
    times = [at for _, at in frames]
    lasted = [round(1000 * (after - at)) for at, after in pairwise(times)]
    pictures = [picture.convert("RGB") for picture, _ in frames]
    pictures[0].save(
        target,
        save_all=True,
        append_images=pictures[1:],
        duration=[*lasted, LAST_FRAME_MS],
        loop=0,
        quality=WEBP_QUALITY,
        method=4,
        minimize_size=False,
    )


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs" / "how-to")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    write_film(take_film(), folder / "playground.webp")
    for name, size, dark, ratio in (
        ("playground.png", DESK, False, 1.0),
        ("playground-dark.png", DESK, True, 1.0),
        ("playground-phone.png", PHONE, False, 1.0),
    ):
        (folder / name).write_bytes(take_picture(size, dark=dark, ratio=ratio))
    for path in sorted([*folder.glob("playground*.png"), folder / "playground.webp"]):
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
