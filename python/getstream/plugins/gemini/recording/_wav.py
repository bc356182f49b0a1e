"""Write and read the stereo WAV files of a recording, also of one that was cut off.

A file is a header of 44 bytes and s16le samples, left and right in turn. The header is written anew
after each batch of samples: a reader of a file that nobody closed finds all but the last batch.
(Measured: a header with size 0 is read whole by libav and Chromium and as 0 s by Python's `wave`;
0xFFFFFFFF fails there; a size that is too small reads the part that it covers, everywhere.)
"""

from __future__ import annotations

import os
import struct
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FILE_FRAMES",
    "LEFT",
    "RATE",
    "RIGHT",
    "StereoReader",
    "StereoWriter",
    "file_name",
]

RATE = 48_000
"""Samples a second of each side: what the call carries, so that the assistant's side is kept bit
for bit."""

LEFT, RIGHT = 0, 1

FILE_FRAMES = 3 * 3600 * RATE
"""Frames of one file: three hours are 2.07 GB. The sizes in a WAV header end at 4.29 GB, and some
readers take them for signed numbers, which end at 2.15 GB."""

_RUN = RATE
"""Frames that are written at once: of what a full disk refuses, the rest is there."""

_FRAME_BYTES = 4
_HEADER_BYTES = 44

Samples = NDArray[np.int16]


def file_name(index: int) -> str:
    """Return the name of the file with that index: audio.wav, audio-2.wav, audio-3.wav, ..."""
    return "audio.wav" if index == 0 else f"audio-{index + 1}.wav"


def _header(frames: int) -> bytes:
    """Return the header of a canonical PCM WAV file (RIFF, `fmt `, `data`)."""
    data_bytes = frames * _FRAME_BYTES
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", _HEADER_BYTES - 8 + data_bytes, b"WAVE",
        b"fmt ", 16, 1, 2, RATE, RATE * _FRAME_BYTES, _FRAME_BYTES, 16,
        b"data", data_bytes,
    )  # fmt: skip


class StereoWriter:
    """Write samples of either side at any place of a recording.

    What nobody has written is silence. The recording is cut into files of `file_frames`; the newest
    two are open, so that one side may be a little behind the other at a border.

    Args:
        folder: an existing folder, which holds no file of that name yet.
        file_frames: frames of one file.

    Raises:
        OSError: the first file cannot be made.

    Attributes:
        late_samples: samples that came after their file was closed, and are lost.
    """

    def __init__(self, folder: Path, file_frames: int = FILE_FRAMES) -> None:
        self.late_samples = 0
        self._folder = folder
        self._file_frames = file_frames
        self._files: dict[int, _File] = {}
        self._newest = 0
        self._open(0)

    @property
    def frames(self) -> int:
        """Return the length of the recording so far, in frames."""
        return self._newest * self._file_frames + self._files[self._newest].frames

    def write(self, side: int, position: int, samples: Samples) -> None:
        """Write samples of one side; those before the start of the recording are left out.

        Args:
            side: `LEFT` or `RIGHT`.
            position: frame of the first sample, counted from the start of the recording.
            samples: int16, shape `(n,)`.

        Raises:
            OSError: the file system does not take them.
        """
        if position < 0:
            samples, position = samples[-position:], 0
        while len(samples):
            index, offset = divmod(position, self._file_frames)
            count = min(len(samples), self._file_frames - offset, _RUN)
            file = self._open(index)
            if file is None:
                self.late_samples += count
            else:
                file.write(side, offset, samples[:count])
            samples, position = samples[count:], position + count

    def commit(self) -> None:
        """Write the headers anew: what was written can be read from now on.

        Raises:
            OSError: the file system does not take them.
        """
        for file in self._files.values():
            file.commit()

    def close(self) -> None:
        """Close the files. The headers stay as they were last written."""
        for file in self._files.values():
            file.close()

    def _open(self, index: int) -> _File | None:
        """Return a file, made if it is a new one; None if it was closed."""
        for each in range(max(self._newest, 0), index + 1):
            if each not in self._files:
                if each > 0:
                    self._files[each - 1].extend(self._file_frames)
                self._files[each] = _File(self._folder / file_name(each))
                self._newest = each
                if each > 1:
                    self._files[each - 2].commit()
                    self._files.pop(each - 2).close()
        return self._files.get(index)


class _File:
    """One WAV file that is being written."""

    def __init__(self, path: Path) -> None:
        self.frames = 0
        self._committed = -1
        descriptor = os.open(path, _OPEN_FLAGS, 0o600)
        self._file = FileIO(descriptor, "r+")
        self.commit()

    def extend(self, frames: int) -> None:
        """Lengthen the file with silence, which takes no room on most file systems."""
        if frames > self.frames:
            self._file.truncate(_HEADER_BYTES + frames * _FRAME_BYTES)
            self.frames = frames

    def write(self, side: int, offset: int, samples: Samples) -> None:
        """Write samples of one side, and leave the other one as it is."""
        end = offset + len(samples)
        pair = np.zeros((len(samples), 2), np.int16)
        there = max(0, min(end, self.frames) - offset)
        if there:
            self._seek(offset)
            known = self._file.read(there * _FRAME_BYTES) or b""
            whole = len(known) // _FRAME_BYTES
            old = np.frombuffer(known, np.dtype("<i2"), 2 * whole).reshape(-1, 2)
            pair[:whole] = old
        pair[:, side] = samples
        self.extend(end)
        self._seek(offset)
        self._write(pair.astype("<i2", copy=False).tobytes())

    def commit(self) -> None:
        """Write the header, if the length has changed."""
        if self._committed != self.frames:
            self._file.seek(0)
            self._write(_header(self.frames))
            self._committed = self.frames

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _seek(self, offset: int) -> None:
        self._file.seek(_HEADER_BYTES + offset * _FRAME_BYTES)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            # Before a full disk refuses, it takes a part.
            view = view[self._file.write(view) or 0 :]


_OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class StereoReader:
    """Read the files of a recording as one, whatever their headers say.

    Args:
        folder: the folder of the recording.
        file_frames: frames of one file, as the recording was made with.
    """

    def __init__(self, folder: Path, file_frames: int = FILE_FRAMES) -> None:
        self._file_frames = file_frames
        self._paths: list[Path] = []
        self.frames = 0
        """Length in frames; a frame that was cut off does not count."""
        while (path := folder / file_name(len(self._paths))).is_file():
            frames = max(0, path.stat().st_size - _HEADER_BYTES) // _FRAME_BYTES
            self.frames = len(self._paths) * file_frames + min(frames, file_frames)
            self._paths.append(path)

    def read(self, start: int, stop: int) -> Samples:
        """Return frames as int16, shape `(n, 2)`; fewer at the end, silence where a file is short.

        Raises:
            OSError: a file cannot be read.
        """
        start, stop = max(0, start), min(stop, self.frames)
        result = np.zeros((max(0, stop - start), 2), np.int16)
        position = start
        while position < stop:
            index, offset = divmod(position, self._file_frames)
            count = min(stop - position, self._file_frames - offset)
            with self._paths[index].open("rb") as file:
                file.seek(_HEADER_BYTES + offset * _FRAME_BYTES)
                data = file.read(count * _FRAME_BYTES)
            whole = len(data) // _FRAME_BYTES
            pairs = np.frombuffer(data, np.dtype("<i2"), 2 * whole).reshape(-1, 2)
            result[position - start : position - start + whole] = pairs
            position += count
        return result
