"""Write the results of a demo: the recording, the chart, the figures."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .._timeline import Latency, Mark, Span, Timeline, Track, render_svg
from ..errors import ConfigError
from ..recording import read_recording, recording_files, write_page
from ..testing.signals import write_wav
from .clips import LOUD_DBFS
from .measure import Call, Measures, median

__all__ = [
    "keep_recording",
    "prepare_folder",
    "printed_summary",
    "summary",
    "timeline",
    "write_report",
]

RECORDING, PICTURE, NUMBERS = "conversation.wav", "timeline.svg", "summary.json"
PAGE = "report.html"

RECORDED = "recording"
"""Folder of what the assistant records of the session."""

ANSWER_LABEL = "answer"
SILENCE_LABEL = "barge-in to silence"


def prepare_folder(folder: Path) -> None:
    """Make the folder, and check before the call that files can be written there.

    The recording of a call before is removed: a recorder overwrites none.

    Raises:
        ConfigError: files cannot be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for path in recording_files(folder / RECORDED):
            path.unlink()
        for name in (RECORDING, PICTURE, NUMBERS, PAGE):
            path = folder / name
            if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
                raise PermissionError(errno.EACCES, f"{name} cannot be overwritten")
    except OSError as error:
        raise ConfigError(
            f"The results cannot be written to {folder} ({error.strerror or error}); "
            "choose another folder with --out"
        ) from error


def keep_recording(recorded: Path, folder: Path) -> None:
    """Move what the assistant has recorded to the results, and make the page of it.

    Raises:
        ConfigError: the folder cannot be written to (any more), or there is no recording.
    """
    target = folder / RECORDED
    try:
        target.mkdir(mode=0o700, exist_ok=True)
        for path in recording_files(recorded):
            shutil.move(path, target / path.name)
    except OSError as error:
        raise ConfigError(
            f"The recording could not be written to {target}: {error.strerror or error}"
        ) from error
    write_page(read_recording(target), folder / PAGE)


def write_report(folder: Path, call: Call, measures: Measures, numbers: Mapping[str, Any]) -> None:
    """Write conversation.wav, timeline.svg and summary.json.

    Raises:
        ConfigError: the folder cannot be written to (any more).
    """
    try:
        write_wav(folder / RECORDING, np.stack([call.said, call.heard], axis=1), call.rate)
        (folder / PICTURE).write_text(render_svg(timeline(call, measures)), encoding="utf-8")
        text = _as_json(numbers)
        (folder / NUMBERS).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"The results could not be written to {folder}: {error.strerror or error}"
        ) from error


def _as_json(numbers: Mapping[str, Any]) -> str:
    """Return the numbers as JSON that keeps letters, and escapes what would steer a terminal."""
    text = json.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False)
    # Outside of strings JSON has nothing unprintable but its line ends.
    return "".join(
        char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text
    )


def timeline(call: Call, measures: Measures) -> Timeline:
    """Return the chart of the call."""
    spans = [Span("person", turn.start, turn.end, turn.text) for turn in measures.person]
    spans += [
        Span(
            "assistant",
            turn.start,
            turn.end,
            turn.text.removesuffix(turn.unheard),
            "interrupted" if turn.cut_at is not None else "",
            turn.unheard,
        )
        for turn in measures.assistant
    ]
    marks = [Mark(turn.cut_at, "barge-in", who="person") for turn in measures.cuts if turn.cut_at]
    marks += [Mark(turn.end, "interrupted") for turn in measures.cuts]
    latencies = [
        Latency(turn.answers_at, turn.start, ANSWER_LABEL)
        for turn in measures.answers
        if turn.answers_at is not None and turn.start >= turn.answers_at
    ]
    latencies += [
        Latency(turn.cut_at, max(turn.end, turn.cut_at), SILENCE_LABEL)
        for turn in measures.cuts
        if turn.cut_at is not None
    ]
    return Timeline(
        person=Track(call.said, call.rate, "Person"),
        assistant=Track(call.heard, call.rate, "Assistant"),
        spans=spans,
        marks=marks,
        latencies=latencies,
        title="A call with Gemini Live, as the person heard it",
    )


def summary(call: Call, measures: Measures, *, gemini: str) -> dict[str, Any]:
    """Return the contents of summary.json. Times are on the clock of the recording.

    Args:
        call: The call.
        measures: Its figures.
        gemini: Service that answered: "local" or "real".
    """
    stats = measures.stats
    latencies = [_ms(turn.latency) for turn in measures.answers if turn.latency is not None]
    silences = [_ms(t.silenced_after) for t in measures.cuts if t.silenced_after is not None]
    return {
        "gemini": gemini,
        "versions": {
            **{name: _version(name) for name in _DISTRIBUTIONS},
            "python": platform.python_version(),
        },
        "speech_threshold_dbfs": LOUD_DBFS,
        "seconds": round(len(call.heard) / call.rate, 3),
        "turns": {
            "person": len(measures.person),
            "assistant": len(measures.assistant),
            "assistant_unheard": measures.turns_unheard,
            "interrupted": len(measures.cuts),
        },
        "answer_latency_ms": _spread(latencies),
        "barge_in_to_silence_ms": _spread(silences),
        "conversation": _conversation(measures),
        "assistant": {name: stats[name] for name in _STATS if name in stats},
    }


_DISTRIBUTIONS = ("getstream-plugins-gemini", "getstream", "google-genai")

_STATS = (
    "frames_in",
    "frames_sent",
    "input_dropped_ms",
    "turns",
    "interruptions",
    "played_ms",
    "dropped_ms",
    "underruns",
    "playout_underruns",
    "late_frames",
    "messages",
    "tokens",
    "call_seconds",
    "cpu_seconds",
    "cpu_percent",
)


def _conversation(measures: Measures) -> list[dict[str, Any]]:
    """Return every turn, in order of time."""
    turns: list[dict[str, Any]] = [
        {
            "who": "person",
            "start_s": round(said.start, 4),
            "end_s": round(said.end, 4),
            "text": said.text,
            "interrupts_turn": said.interrupts,
        }
        for said in measures.person
    ]
    for turn in measures.assistant:
        entry: dict[str, Any] = {
            "who": "assistant",
            "turn": turn.number,
            "start_s": round(turn.start, 4),
            "end_s": round(turn.end, 4),
            "text": turn.text,
            "unheard_text": turn.unheard,
            "interrupted": turn.cut_at is not None,
            "latency_ms": None if turn.latency is None else _ms(turn.latency),
        }
        if turn.latency is not None and turn.answers_at is not None:
            # Parts of the latency: the service waits for the end of the speech, and thinks; the
            # answer may begin with silence; the rest is this package and the call.
            entry["until_service_sent_ms"] = (
                None if turn.sent is None else _ms(turn.sent - turn.answers_at)
            )
            entry["until_audio_arrived_ms"] = _ms(turn.arrived - turn.answers_at)
            entry["from_arrival_to_heard_ms"] = _ms(turn.start - turn.arrived)
            if turn.quiet is not None:
                entry["of_it_quiet_start_ms"] = _ms(turn.quiet)
        if turn.silenced_after is not None:
            entry["barge_in_to_silence_ms"] = _ms(turn.silenced_after)
        if turn.match is not None:
            entry["correlation_with_said"] = round(turn.match.correlation, 4)
            entry["level_against_said_db"] = round(turn.match.level_db, 2)
            entry["compared_s"] = round(turn.match.seconds, 3)
        turns.append(entry)
    return sorted(turns, key=lambda each: float(each["start_s"]))


def printed_summary(numbers: Mapping[str, Any], folder: Path) -> str:
    """Return the figures in words."""
    turns, stats = numbers["turns"], numbers["assistant"]
    rows = [
        (
            "turns",
            f"{turns['person']} of the person, {turns['assistant']} of the assistant, "
            f"{turns['interrupted']} interrupted",
        ),
        (
            "answer latency",
            f"{_spread_text(numbers['answer_latency_ms'])}, end of speech to first sound",
        ),
        *_latency_parts(numbers["conversation"]),
    ]
    if numbers["barge_in_to_silence_ms"]["count"]:
        rows.append(
            (
                "barge-in",
                f"{_spread_text(numbers['barge_in_to_silence_ms'])} to the assistant's silence",
            )
        )
    rows += [
        (
            f"echo, turn {each['turn']}",
            f"correlation {each['correlation_with_said']:.3f}, level "
            f"{each['level_against_said_db']:+.1f} dB against what was said",
        )
        for each in numbers["conversation"]
        if "correlation_with_said" in each
    ]
    if stats:
        rows += [
            (
                "assistant's input",
                f"{stats['frames_in']} frames in, {stats['frames_sent']} sent, "
                f"{stats['input_dropped_ms']:.0f} ms dropped",
            ),
            (
                "assistant's output",
                f"{stats['played_ms'] / 1000:.1f} s played, {stats['dropped_ms'] / 1000:.1f} s "
                f"cut, {stats['underruns'] + stats['playout_underruns']} underruns, "
                f"{stats['late_frames']} late frames",
            ),
            (
                "assistant's CPU",
                f"{stats['cpu_percent']:.1f} % of a core over {stats['call_seconds']:.0f} s",
            ),
        ]
    lines = [f"  {name:<19} {value}" for name, value in rows]
    lines += [
        "",
        f"  {folder / RECORDING}  (left the person, right the assistant)",
        f"  {folder / PICTURE}",
        f"  {folder / NUMBERS}",
        f"  {folder / PAGE}  (open it in a browser: the assistant's own recording)",
    ]
    return "\n".join(lines)


def _latency_parts(conversation: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the parts of the answers' latency, for a row of the printed summary."""
    answers = [each for each in conversation if "until_audio_arrived_ms" in each]
    if not answers:
        return []
    service = median([each["until_audio_arrived_ms"] for each in answers]) or 0.0
    quiet = median([each.get("of_it_quiet_start_ms", 0.0) for each in answers]) or 0.0
    rest = median(
        [
            each["from_arrival_to_heard_ms"] - each.get("of_it_quiet_start_ms", 0.0)
            for each in answers
        ]
    )
    parts = [f"service {service:.0f}"]
    if quiet:
        parts.append(f"silent start {quiet:.0f}")
    parts.append(f"assistant and call {rest:.0f} ms")
    return [("  of it", ", ".join(parts))]


def _spread(values: Sequence[float]) -> dict[str, Any]:
    middle = median(values)
    return {
        "count": len(values),
        "p50": None if middle is None else round(middle, 1),
        "max": max(values, default=None),
        "all": list(values),
    }


def _spread_text(spread: Mapping[str, Any]) -> str:
    if not spread["count"]:
        return "nothing to measure"
    if spread["count"] == 1:
        return f"{spread['p50']:.0f} ms"
    return f"p50 {spread['p50']:.0f} ms, max {spread['max']:.0f} ms"


def _ms(seconds: float | None) -> float:
    assert seconds is not None
    return round(seconds * 1000, 1)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
