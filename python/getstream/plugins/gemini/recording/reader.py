"""Read a recording, also one whose end is missing: the process was killed, the disk was full."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ._format import EVENTS_FILE, FORMAT, FORMAT_VERSION
from ._wav import FILE_FRAMES, RATE, StereoReader, file_name

__all__ = ["Entry", "Recording", "read_recording", "recording_files"]

_LONGEST_S = 7 * 24 * 3600
"""Seconds: an event later than this has no true time, and is passed over."""


@dataclass(frozen=True)
class Entry:
    """One event of a recording.

    Attributes:
        at: its sample in the audio, counted from the start of the recording.
        event: its name, such as `"playback_started"`.
        turn: the assistant's turn that it belongs to; 0 if it belongs to none.
        fields: everything else that the line says. The types are not checked.
    """

    at: int
    event: str
    turn: int
    fields: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        """Return its time from the start of the recording, in seconds."""
        return self.at / RATE

    def text(self, name: str) -> str:
        """Return a field that should be text; "" if it is none."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> float | None:
        """Return a field that should be a number; None if it is none."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        try:
            return float(value)
        except OverflowError:
            return None

    def moment(self, name: str) -> float | None:
        """Return a field that is another sample of the audio, in seconds; None if it is none."""
        sample = self.number(name)
        return None if sample is None or not 0 <= sample <= _LONGEST_S * RATE else sample / RATE


@dataclass(frozen=True)
class Recording:
    """A recording that was read; its audio is read when it is asked for.

    Attributes:
        folder: where it is.
        header: the first line of the events: version, wall clock, versions, configuration.
        entries: the events, in order of time.
        audio_frames: length of the audio, in samples of each side.
        is_complete: whether it has its end; if not, the process was killed or the disk was full.
        unreadable_lines: lines that are no events: cut off, or written by something else.
    """

    folder: Path
    header: Mapping[str, Any]
    entries: tuple[Entry, ...]
    audio_frames: int
    is_complete: bool
    unreadable_lines: int

    @property
    def rate(self) -> int:
        """Return the samples a second of each side."""
        return RATE

    @property
    def seconds(self) -> float:
        """Return the length, from sample 0 to the end of the audio or to the last event."""
        last = self.entries[-1].at if self.entries else 0
        return max(self.audio_frames, last) / RATE

    def audio(self, start: int, stop: int) -> NDArray[np.int16]:
        """Return samples: int16, shape `(n, 2)`, left the participants, right the assistant.

        Args:
            start: the first one.
            stop: the one after the last; fewer are returned at the end of the recording.

        Raises:
            ConfigError: the file cannot be read (any more).
        """
        try:
            return StereoReader(self.folder, _file_frames(self.header)).read(start, stop)
        except OSError as error:
            raise ConfigError(
                f"The audio in {self.folder} cannot be read ({error.strerror or error})"
            ) from error

    def blocks(self, frames: int) -> Iterator[NDArray[np.int16]]:
        """Return the audio piece by piece, each of `frames` samples but for the last."""
        for start in range(0, self.audio_frames, frames):
            yield self.audio(start, start + frames)

    def named(self, *names: str) -> list[Entry]:
        """Return the events of these names, in order of time."""
        return [each for each in self.entries if each.event in names]


def read_recording(folder: str | os.PathLike[str]) -> Recording:
    """Read a recording.

    Args:
        folder: what `Recorder` was given.

    Raises:
        ConfigError: there is no recording, or one of a newer version of the format.
    """
    path = Path(folder)
    header, lines, unreadable = _read_lines(path)
    entries = sorted(lines, key=lambda entry: entry.at)
    return Recording(
        folder=path,
        header=header,
        entries=tuple(entries),
        audio_frames=StereoReader(path, _file_frames(header)).frames,
        is_complete=any(entry.event == "end" for entry in entries),
        unreadable_lines=unreadable,
    )


def recording_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the files of a recording that are there, for who wants to move or remove them.

    Args:
        folder: what `Recorder` was given; it may hold other files, and need not be there.
    """
    path = Path(folder)
    found = [path / EVENTS_FILE]
    while len(found) == 1 or found[-1].is_file():
        found.append(path / file_name(len(found) - 1))
    return [each for each in found if each.is_file()]


def _read_lines(folder: Path) -> tuple[dict[str, Any], list[Entry], int]:
    try:
        data = (folder / EVENTS_FILE).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"There is no recording in {folder}: {EVENTS_FILE} cannot be read "
            f"({error.strerror or error}). Name the folder that was given as record="
        ) from error
    first, *rest = data.split(b"\n")
    header = _parse(first)
    if header is None or header.get("format") != FORMAT:
        raise ConfigError(
            f"{folder / EVENTS_FILE} is no recording of this package, or nothing was recorded: "
            "its first line does not say so"
        )
    version = header.get("version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ConfigError(
            f"{folder} was recorded in version {version} of the format, and this package reads "
            f"{FORMAT_VERSION}; update getstream-plugins-gemini"
        )
    entries, unreadable = [], 0
    for line in rest:
        fields = _parse(line)
        entry = _entry(fields) if fields is not None else None
        if entry is not None:
            entries.append(entry)
        elif line.strip():
            unreadable += 1
    return header, entries, unreadable


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the object on a line; None if there is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _entry(fields: dict[str, Any]) -> Entry | None:
    at, event, turn = fields.pop("at", None), fields.pop("event", None), fields.pop("turn", 0)
    if not isinstance(event, str) or not isinstance(at, int) or isinstance(at, bool):
        return None
    if not 0 <= at <= _LONGEST_S * RATE:
        return None
    return Entry(at, event, turn if isinstance(turn, int) else 0, fields)


def _file_frames(header: Mapping[str, Any]) -> int:
    """Return the frames of one file; a value that cannot be is not believed."""
    frames = header.get("frames_per_file")
    return frames if isinstance(frames, int) and frames >= RATE else FILE_FRAMES
