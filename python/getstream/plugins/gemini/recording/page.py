"""Make one HTML file of a recording: to look at, to listen to, to send to somebody.

The page holds everything that it needs and asks nobody for anything: its content security policy
allows its own style, script and audio, by hash, and nothing else.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from .._terminal import one_line
from ..errors import ConfigError
from ._analysis import Analysis, analyse, median
from ._format import plain
from ._levels import STEPS_PER_S, Levels, measure_levels
from ._wav import RATE
from .reader import Recording

__all__ = ["summary_lines", "write_page"]

_BIT_RATE = 64_000
"""Bits a second of the audio, both sides together: speech sounds as it did, and ten minutes are
4.9 MB (6.5 MB in the page, as base64)."""

_BLOCK = 10 * RATE


def write_page(recording: Recording, target: str | os.PathLike[str]) -> Analysis:
    """Write the page of a recording.

    Args:
        recording: what `read_recording` has returned.
        target: the file; one that is there is replaced, once the new one is complete.

    Returns:
        What was worked out and is on the page.

    Raises:
        ConfigError: the recording cannot be read, or the file cannot be written.
    """
    levels = measure_levels(recording)
    analysis = analyse(recording, levels)
    page = _render(_contents(recording, analysis, levels), _encode(recording))
    _replace(Path(target), page)
    return analysis


def _replace(target: Path, page: str) -> None:
    """Write a file for its owner alone: it holds what people said."""
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(page)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise ConfigError(
            f"The report cannot be written to {target} ({error.strerror or error}); choose another "
            "file with -o"
        ) from error


# -- what is on the page ---------------------------------------------------------------------------


def _contents(recording: Recording, analysis: Analysis, levels: Levels) -> dict[str, Any]:
    """Return what the script draws."""
    header = recording.header
    versions = header.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    return {
        "seconds": recording.seconds,
        "stepsPerSecond": STEPS_PER_S,
        "peaks": base64.b64encode(levels.peaks.tobytes()).decode(),
        "recordedAt": _text(header.get("wall_clock"))[:19].replace("T", " ") + " UTC",
        "versions": _pairs({name: versions[name] for name in versions if name != "platform"}),
        "config": json.dumps(
            {"platform": plain(versions.get("platform")), "config": plain(header.get("config"))},
            indent=1,
            ensure_ascii=False,
        ),
        "tiles": _tiles(analysis),
        "doubts": analysis.doubts,
        "notes": analysis.notes,
        "turns": [dataclasses.asdict(turn) for turn in analysis.turns],
        "spans": [dataclasses.asdict(span) for span in analysis.spans],
        "tools": [dataclasses.asdict(tool) for tool in analysis.tools],
        "marks": [dataclasses.asdict(mark) for mark in analysis.marks],
        "numbers": [[name.replace("_", " "), _number(n)] for name, n in analysis.numbers.items()],
    }


def _tiles(analysis: Analysis) -> list[tuple[str, str, str]]:
    """Return the figures at the top: a name, a value and a remark for each."""
    delays, silences = analysis.delays_ms, analysis.silences_ms
    turns, numbers = analysis.turns, analysis.numbers
    people = sum(turn.who == "person" for turn in turns)
    cut = sum(turn.cut for turn in turns)
    tiles = [
        ("Answer", _ms(median(delays)), f"median, longest {_ms(max(delays, default=None))}"),
        ("Barge-in to silence", _ms(median(silences)), f"median, {cut} interrupted"),
        ("Turns", str(len(turns)), f"{people} of people"),
    ]
    played, dropped = numbers.get("played_ms", 0.0), numbers.get("dropped_ms", 0.0)
    if played + dropped > 0:
        share = 100 * played / (played + dropped)
        tiles.append(("Heard of what was said", f"{share:.0f} %", f"{dropped / 1000:.1f} s cut"))
    if "underruns" in numbers:
        gaps = numbers["underruns"] + numbers.get("playout_underruns", 0.0)
        tiles.append(("Gaps heard", f"{gaps:.0f}", "underruns"))
    if analysis.tools:
        failed = sum(tool.end is None for tool in analysis.tools)
        tiles.append(("Tools", str(len(analysis.tools)), f"{failed} without an answer"))
    offline = [span for span in analysis.spans if span.kind == "offline"]
    if offline:
        seconds = sum(span.end - span.start for span in offline)
        tiles.append(("Without connection", f"{seconds:.1f} s", _times(len(offline))))
    if numbers.get("tokens"):
        tiles.append(("Tokens", f"{numbers['tokens']:.0f}", "in all"))
    return tiles


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"


def _number(value: float) -> str:
    return f"{value:.0f}" if value == round(value) else f"{value:.1f}"


def _text(value: Any) -> str:
    return one_line(value) if isinstance(value, str) else ""


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(one_line(f"{name} {value}") for name, value in values.items())


# -- the audio -------------------------------------------------------------------------------------


def _encode(recording: Recording) -> bytes:
    """Return the audio as AAC in MP4, which every browser plays; b"" if there is none.

    Raises:
        ConfigError: this build of PyAV has no encoder for AAC.
    """
    if not recording.audio_frames:
        return b""
    import av  # 0.1 s, and nobody else here needs it

    target = io.BytesIO()
    try:
        with av.open(target, "w", format="mp4") as container:
            stream = container.add_stream("aac", rate=RATE)
            stream.layout, stream.bit_rate = "stereo", _BIT_RATE
            position = 0
            for block in recording.blocks(_BLOCK):
                interleaved = np.ascontiguousarray(block).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(interleaved, format="s16", layout="stereo")
                frame.sample_rate, frame.pts = RATE, position
                position += len(block)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except av.FFmpegError as error:
        raise ConfigError(
            f"The audio cannot be encoded as AAC ({error}); install PyAV from its wheels "
            "(`pip install av`)"
        ) from error
    return target.getvalue()


# -- the file --------------------------------------------------------------------------------------


def _render(contents: dict[str, Any], audio: bytes) -> str:
    """Return the page."""
    style, script = _template("report.css"), _template("report.js")
    values = {
        "STYLE_HASH": _hash(style),
        "SCRIPT_HASH": _hash(script),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": _inert(contents),
        "AUDIO": base64.b64encode(audio).decode(),
    }
    # In one pass: what was said may look like a placeholder, too.
    return re.sub(r"@@([A-Z_]+)@@", lambda match: values[match[1]], _template("report.html"))


def _inert(contents: dict[str, Any]) -> str:
    """Return JSON in which no tag, comment or entity can begin: it stands in a script element."""
    text = json.dumps(contents, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _template(name: str) -> str:
    return (files(__package__) / "_page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def summary_lines(analysis: Analysis) -> Sequence[str]:
    """Return the figures at the top of the page and what to doubt, as lines for a terminal."""
    lines = [f"  {name:<24} {value}, {remark}" for name, value, remark in _tiles(analysis)]
    lines += [f"  Do not trust the times: {doubt}." for doubt in analysis.doubts]
    return [*lines, *(f"  {note}" for note in analysis.notes)]
