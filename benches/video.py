#!/usr/bin/env python3
"""Measure what video costs: CPU, holds of the event loop, bytes, and the delay of audio.

    python benches/video.py [--quick] [--only PART,...] [--results DIR]

Prints Markdown tables, and writes them to `video.md`, with a chart in `video.svg`, in the folder
that `command_line.results_folder` says. A whole run takes six minutes.

Parts:

* `senders`: a camera of 30 frames of 720p a second, and contenders that send two images a second
  (`video_cost/contenders.py` says what each does). They take turns, in several rounds; a value is
  the median of the rounds, with the least and the greatest. CPU is that of the process, all
  threads, less the floor's in the same round, for each image that was sent. A hold is the CPU of
  the longest callback of the event loop between two images. In `getstream` 7 a frame is copied when
  it is read: `RemoteTrack`.
* `bytes`: an image of 768 x 432 by this package, and what others need for the same SSIM.
* `steps`: time on the worker: scaling and JPEG, and the look whether a frame has changed.
* `path`: audio and images on one connection over an uplink of a given rate, while somebody speaks:
  the delay of the audio frame after an image, beyond the median of all frames. Whole images are
  what is sent without the byte budget.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import io
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np
from command_line import parser_of, parts_of, publish, results_folder, table, versions
from getstream.plugins.gemini.live import GeminiLive, VideoOptions
from getstream.plugins.gemini.live._media.video import ImageEncoder
from getstream.plugins.gemini.live._media.video_sources import DelayBudget
from getstream.plugins.gemini.testing import LocalGemini, Script, signals
from getstream.video.rtc import PcmData
from PIL import Image
from progress import Progress
from report import machine
from session_cost.picture import FLOOR, OTHER, OURS, chart
from video_cost.contenders import CONTENDERS
from video_cost.running import Camera, Measured, RemoteCamera, measure
from video_cost.scenes import editor, photograph, ssim

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from slow_path import SlowPath

PACKAGES = ("getstream-plugins-gemini", "av", "pillow", "numpy")
PARTS = {"senders": 210.0, "bytes": 20.0, "steps": 5.0, "path": 120.0}
"""Parts of a whole run, each with its seconds."""

SIZE = (768, 432)
WIRE = 16_000
MEGABITS = (100, 24, 8)

Found = dict[str, Any]


def spread(values: list[float], digits: int = 1) -> str:
    """Return the median, with the least and the greatest value."""
    middle = float(np.median(values))
    return f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


# -- senders -------------------------------------------------------------------------------------


def senders(rounds: int, seconds: float, progress: Progress) -> Found:
    frames = [
        av.VideoFrame.from_ndarray(photograph(4 * index), format="rgb24").reformat(format="yuv420p")
        for index in range(15)
    ]
    runs: dict[str, list[Measured]] = {name: [] for name in CONTENDERS}
    for number in range(rounds):
        for name, contender in CONTENDERS.items():
            remote = name.endswith("RemoteTrack")
            camera = RemoteCamera(frames) if remote else Camera(frames)
            runs[name].append(measure(contender, camera, seconds))
            share = 1 / (rounds * len(CONTENDERS))
            progress.done("senders", share, f"senders, round {number + 1}: {name}")
    floor = next(iter(CONTENDERS))
    found: Found = {}
    for name, measured in runs.items():
        if name == floor:
            continue
        base = [0.0 if name.endswith("RemoteTrack") else each.cpu_ms for each in runs[floor]]
        found[name] = {
            "holds": [float(np.median(each.holds_ms)) for each in measured],
            "worst": [max(each.holds_ms) for each in measured],
            "cpu": [
                (each.cpu_ms - less) / len(each.sizes)
                for each, less in zip(measured, base, strict=True)
            ],
            "bytes": [float(np.median(each.sizes)) / 1e3 for each in measured],
            "read": [each.read / len(each.sizes) for each in measured],
        }
    return found


def senders_table(found: Found) -> list[str]:
    rows = [
        [
            name,
            spread(of["holds"], 2),
            spread(of["worst"], 2),
            spread(of["cpu"]),
            f"{np.median(of['bytes']):.0f}",
            f"{np.median(of['read']):.1f}",
        ]
        for name, of in found.items()
    ]
    head = ["", "hold, ms", "worst hold, ms", "CPU per image, ms", "kB per image", "frames read"]
    return ["## Senders: 30 frames of 720p a second, 2 images a second", "", *table(head, rows)]


# -- bytes ---------------------------------------------------------------------------------------


def pillow_jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def pillow_png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def pixels_of(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def bytes_part() -> Found:
    found: Found = {}
    for name, scene in (("A photograph", photograph()), ("An editor", editor())):
        image = ImageEncoder(768, 75).encode(scene)
        assert image is not None
        # The image before JPEG, by the same scaling.
        frame = av.VideoFrame.from_ndarray(scene, format="rgb24").reformat(
            width=SIZE[0], height=SIZE[1], format="yuvj420p", interpolation="AREA"
        )
        reference = frame.to_ndarray(format="rgb24")
        small, whole = Image.fromarray(reference), Image.fromarray(scene)
        ours = ssim(reference, pixels_of(image.jpeg))
        qualities = range(20, 100)
        quality = next(
            (
                each
                for each in qualities
                if ssim(reference, pixels_of(pillow_jpeg(small, each))) >= ours
            ),
            qualities[-1],
        )
        found[name] = {
            "ssim": ours,
            "this package": len(image.jpeg),
            f"Pillow JPEG, quality {quality}": len(pillow_jpeg(small, quality)),
            "PNG, 768 x 432": len(pillow_png(small)),
            "JPEG, 1280 x 720, quality 75": len(pillow_jpeg(whole, 75)),
            "PNG, 1280 x 720": len(pillow_png(whole)),
        }
    return found


def bytes_table(found: Found) -> list[str]:
    lines = ["## Bytes of an image", ""]
    for name, of in found.items():
        ours = of["this package"]
        rows = [
            [who, f"{size / 1e3:.1f}", f"{size / ours:.2f}"]
            for who, size in of.items()
            if who != "ssim"
        ]
        lines += [f"{name}; SSIM {of['ssim']:.3f}:", "", *table(["", "kB", "ratio"], rows)]
    return lines


# -- steps ---------------------------------------------------------------------------------------


def steps(rounds: int) -> Found:
    found: Found = {}
    for name, scene in (("photograph", photograph()), ("editor", editor())):
        frame = av.VideoFrame.from_ndarray(scene, format="rgb24").reformat(format="yuv420p")
        encoder = ImageEncoder(768, 75)
        first = encoder.encode(frame)
        assert first is not None
        before = first.thumbnail
        for what, work in (
            ("changed: scaled, encoded", lambda e=encoder, f=frame: e.encode(f)),
            ("unchanged: a look", lambda e=encoder, f=frame, b=before: e.encode(f, None, b)),
        ):
            found[f"{name}, {what}"] = [_time_ms(work) for _ in range(rounds)]
    return found


def _time_ms(work: Callable[[], object], count: int = 20) -> float:
    before = time.thread_time()
    for _ in range(count):
        work()
    return (time.thread_time() - before) * 1e3 / count


def steps_table(found: Found) -> list[str]:
    rows = [[name, spread(times, 2)] for name, times in found.items()]
    return ["## A frame of 720p on the worker", "", *table(["", "CPU, ms"], rows)]


# -- path ----------------------------------------------------------------------------------------


class Unlimited(DelayBudget):
    """Sends every image as it is."""

    def max_bytes(self, *, speaking: bool, waited_s: float = 0.0) -> int | None:
        return 1 << 30


async def moving() -> AsyncIterator[Any]:
    scenes = [photograph(4 * index) for index in range(15)]
    number = 0
    while True:
        number += 1
        yield scenes[number % 15]
        await asyncio.sleep(1 / 30)


async def path(megabits: float, limited: bool, images: int) -> Found:
    """Return the delays of the audio frames after an image, and the sizes of the images."""
    async with LocalGemini(Script([])) as server:
        port = urlsplit(server.url).port
        assert port is not None
        async with SlowPath(port, megabits * 125_000) as slow:
            env = {**server.env}
            env["GOOGLE_GEMINI_BASE_URL"] = server.url.replace(str(port), str(slow.port))
            os.environ.update(env)
            async with GeminiLive() as gemini:
                session = await server.wait_session()
                if not limited:
                    gemini._video._budget = Unlimited()
                gemini._video.note_speech("somebody", True)
                talking = asyncio.ensure_future(talk(gemini))
                options = VideoOptions(fps=2, skip_unchanged=False)
                await gemini.start_video_sender(moving(), options=options)
                end = time.monotonic() + 10 + images
                while len(session.frames) and time.monotonic() < end:
                    kinds = [frame.kind for frame in session.frames]
                    if kinds.count("video") >= images + 4:
                        break
                    await asyncio.sleep(0.1)
                talking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await talking
                frames = [f for f in session.frames if f.kind in ("audio", "video")]
    audio = [frame.at for frame in frames if frame.kind == "audio"]
    # Against the grid of 20 ms on which they were sent.
    offsets = np.array(audio) - 0.02 * np.arange(len(audio))
    typical = float(np.median(offsets))
    delays, sizes, count = [], [], 0
    for frame, after in itertools.pairwise(frames):
        count += frame.kind == "audio"
        if frame.kind == "video" and after.kind == "audio":
            delays.append((offsets[count] - typical) * 1e3)
            sizes.append(len(frame.data) / 1e3)
    return {"delays": delays[4:], "sizes": sizes[4:]}  # the first ones learn the path


async def talk(gemini: GeminiLive) -> None:
    said = signals.speech_like(4000, WIRE, seed=1)
    loop = asyncio.get_running_loop()
    start = loop.time()
    for number in range(1 << 30):
        at = number * 320 % (len(said) - 320)
        pcm = PcmData(sample_rate=WIRE, format="s16", samples=said[at : at + 320])
        await gemini.send_audio_pcm(pcm, target_rate=WIRE)
        await asyncio.sleep(max(0.0, start + 0.02 * (number + 1) - loop.time()))


def paths(images: int, progress: Progress) -> Found:
    found: Found = {}
    for megabits in MEGABITS:
        for limited in (True, False):
            name = f"{megabits} Mbit/s, {'this package' if limited else 'whole images'}"
            found[name] = asyncio.run(path(megabits, limited, images))
            progress.done("path", 0.5 / len(MEGABITS), f"path: {name}")
    return found


def paths_table(found: Found) -> list[str]:
    rows = []
    for name, of in found.items():
        delays, sizes = of["delays"], of["sizes"]
        if not delays:
            rows.append([name, "0", "-", "-", "-"])
            continue
        p50, p95 = np.percentile(delays, [50, 95])
        size = f"{np.median(sizes):.1f}"
        rows.append([name, str(len(delays)), size, f"{p50:.1f}", f"{p95:.1f}"])
    head = ["", "images", "kB", "delay p50, ms", "delay p95, ms"]
    return ["## Audio behind an image, while somebody speaks", "", *table(head, rows)]


# -- all -----------------------------------------------------------------------------------------


def picture(found: Found) -> str:
    def colour(name: str) -> str:
        return OURS if name.startswith("this package") else OTHER

    panels = []
    if "senders" in found:
        for key, title, unit in (
            ("worst", "Longest hold of the event loop by an image", "ms"),
            ("cpu", "CPU of an image", "ms"),
            ("bytes", "An image", "kB"),
        ):
            rows = [
                (name, float(np.median(of[key])), colour(name))
                for name, of in found["senders"].items()
            ]
            panels.append((title, unit, rows))
    if "path" in found:
        rows = [
            (
                name,
                max(0.0, float(np.percentile(of["delays"], 50)) if of["delays"] else 0.0),
                OURS if name.endswith("this package") else FLOOR,
            )
            for name, of in found["path"].items()
        ]
        panels.append(("Delay of the audio behind an image (none: it waits)", "ms", rows))
    if not panels:
        return ""
    title = "What video costs: this package beside what others do with a frame"
    return chart(title, "What video costs: shorter is better", panels)


def main() -> None:
    parser = parser_of(__doc__, list(PARTS))
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args()
    chosen = parts_of(parser, options.only, list(PARTS))
    progress = Progress({part: PARTS[part] for part in chosen})
    rounds, seconds, images = (1, 4.0, 8) if options.quick else (3, 8.0, 24)
    found: Found = {}
    lines = ["# Video", "", f"{datetime.date.today()}, {machine()}; load at the start "
             f"{os.getloadavg()[0]:.1f}.", "", f"{versions(PACKAGES)}", ""]  # fmt: skip
    if "senders" in chosen:
        found["senders"] = senders(rounds, seconds, progress)
        lines += senders_table(found["senders"])
    if "bytes" in chosen:
        found["bytes"] = bytes_part()
        lines += bytes_table(found["bytes"])
    if "steps" in chosen:
        found["steps"] = steps(rounds)
        lines += steps_table(found["steps"])
    if "path" in chosen:
        found["path"] = paths(images, progress)
        lines += paths_table(found["path"])
    lines += [
        "A busy machine delays audio, too: see the load. How it is measured: `benches/video.py`. "
        "Run it yourself: `make bench-video`."
    ]
    whole = len(chosen) == len(PARTS) and not options.quick
    publish(lines, picture(found), "video", results_folder(options.results, whole))


if __name__ == "__main__":
    main()
