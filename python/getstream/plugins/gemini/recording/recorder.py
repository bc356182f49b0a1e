"""Record a session to a folder while it runs: `audio.wav` and `events.jsonl`."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import enum
import logging
import math
import os
import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..audio import Resampler
from ..errors import AudioError, ConfigError
from ..live._telemetry.observer import Observer
from ._format import EVENTS_FILE, FORMAT, FORMAT_VERSION, encode_line, plain, redacted_config
from ._wav import FILE_FRAMES, LEFT, RATE, RIGHT, StereoWriter, file_name

if TYPE_CHECKING:
    from ..live import Event

__all__ = ["Recorder"]

_logger = logging.getLogger("getstream.plugins.gemini")

_WRITE_EVERY_S = 0.25
"""Seconds between two batches: what a process that is killed loses. A second is promised."""

_STATS_EVERY_S = 10.0
"""Seconds between two lines of counters."""

_MAX_QUEUED = 3000
"""Frames and events that wait for the disk: 30 s of both sides, at most 6 MB."""

_SAME_SEGMENT = RATE // 100
"""Samples by which a frame may be off its place and still follow the one before it: 10 ms. Times
are rounded and the two clocks drift; cutting at each of them would be heard."""

_LONGEST_GAP_S = 24 * 3600.0
"""Seconds of silence that are believed. A frame further ahead has a wrong time."""

_EXIT_S = 2.0
"""Seconds that the end of the program waits for the last batch."""

_Samples = NDArray[np.int16]


_open_recorders: set[Recorder] = set()


@atexit.register
def _finish_all() -> None:
    for recorder in list(_open_recorders):
        recorder._finish_at_exit()


class _Phase(enum.Enum):
    """Phase of a recorder: what may be added, and what the thread still has to do."""

    WAITING = "nothing has happened yet"
    RECORDING = "frames and events are taken"
    ENDING = "the last of them are being written"
    DONE = "everything is written"
    FAILED = "the disk does not take it"


@dataclasses.dataclass(frozen=True)
class _Frame:
    side: int
    at: float
    pcm: bytes
    rate: int


@dataclasses.dataclass(frozen=True)
class _Line:
    at: float
    fields: dict[str, Any]


class Recorder(Observer):
    """Write what is heard and what happens in a session to a folder.

        gemini.add_observer(Recorder("recordings/monday"))

    `audio.wav` is 48 kHz stereo: left the participants as they are sent to the model, right the
    assistant as it is handed to the call. `events.jsonl` has a line for each event, with its sample
    in `audio.wav`. A recording holds what people said: it is made only when it is asked for, the
    folder and its files are for their owner alone, and keys are left out.

    The event loop only fills a queue; a thread of its own writes, four times a second. A process
    that is killed loses the last batch. When the disk is slow, what does not fit into the queue is
    dropped and counted; when it is full, this is logged once and the recording ends there. The
    session goes on in any case.

    Args:
        folder: where to record; it is made, and must not hold a recording already.
        config: the configuration of the session, for the first line; keys in it are hidden.
        stats: called on the event loop every ten seconds for the counters, such as
            `GeminiLive.stats`.

    Raises:
        ConfigError: `folder` is no path, holds a recording, or cannot be written to.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        config: Mapping[str, Any] | None = None,
        stats: Callable[[], object] | None = None,
    ) -> None:
        self._folder = _path_of(folder)
        self._config = redacted_config(config or {})
        self._stats = stats
        self._versions = _versions()  # reads files: not on the first frame
        self._phase = _Phase.WAITING
        self._phase_lock = threading.Lock()
        self._queue: deque[_Frame | _Line] = deque()
        self._dropped = 0
        self._zero = 0.0
        self._newest = 0.0
        self._stats_due = 0.0
        self._audio_turn: object = None
        self._in_audio = False
        self._wake = threading.Event()
        self._disk = _Disk(self._folder)
        self._thread = threading.Thread(target=self._write, name="gemini-recorder", daemon=True)
        self._thread.start()
        _open_recorders.add(self)

    def __repr__(self) -> str:
        return f"<Recorder {str(self._folder)!r} {self._phase.name.lower()}>"

    @property
    def folder(self) -> Path:
        """Return the folder of the recording."""
        return self._folder

    @property
    def dropped(self) -> int:
        """Return the number of frames and events that were dropped."""
        return self._dropped

    def on_input_audio(self, at: float, pcm: bytes, sample_rate: int) -> None:
        """Record a frame of the participants; `at` is when it ended."""
        start = at - len(pcm) / 2 / max(1, sample_rate)
        self._add(_Frame(LEFT, start, pcm, sample_rate))

    def on_output_audio(self, at: float, pcm: bytes, sample_rate: int) -> None:
        """Record a frame of the assistant; `at` is when its first sample is played."""
        self._add(_Frame(RIGHT, at, pcm, sample_rate))

    def on_speech(self, at: float, user_id: str, phase: str) -> None:
        """Record a decision of the speech detector that is no event of its own."""
        if phase not in ("started", "stopped"):
            fields = {"event": "speech", "user_id": plain(user_id), "phase": phase}
            self._add(_Line(at, fields))

    def on_event(self, event: Event) -> None:
        """Record an event; of the `audio` of a turn only the first."""
        name, turn = type(event).name, event.turn
        fields: dict[str, Any] = {}
        if name != "audio":
            names = [each.name for each in dataclasses.fields(event)]
            fields = {each: plain(getattr(event, each)) for each in names if each != "at"}
        elif turn == self._audio_turn:
            return
        else:
            self._audio_turn = turn
        self._add(_Line(event.at, {"event": name, "turn": turn, **fields}))

    def on_message(self, at: float, message: object) -> None:
        """Record what no event says: tokens, ends that are announced, and borders of turns."""
        fields: dict[str, Any] = {}
        tokens = _total_of(getattr(message, "usage", None))
        if tokens is not None:
            fields["tokens"] = tokens
        for name in _MESSAGE_FIELDS:
            value = getattr(message, name, None)
            if value is not None and value is not False and value not in ("", []):
                fields[name] = plain(value)
        if getattr(message, "audio", None):
            if not self._in_audio:
                fields["audio"] = True
            self._in_audio = True
        if "turn_complete" in fields or "interrupted" in fields:
            self._in_audio = False
        if fields:
            self._add(_Line(at, {"event": "message", **fields}))

    def on_close(self) -> None:
        """End the recording. The thread writes what is left; `wait_closed` waits for it."""
        self._end("closed")

    def wait_closed(self, timeout_s: float = _EXIT_S) -> bool:
        """Wait until everything is written. Call it off the event loop.

        Args:
            timeout_s: how long to wait at most.

        Returns:
            True if the recording is over, whether by its end or by a full disk.
        """
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # -- on the event loop -----------------------------------------------------------------------

    def _add(self, item: _Frame | _Line) -> None:
        at = item.at
        if self._phase is _Phase.WAITING:
            self._begin(at)
        if self._phase is not _Phase.RECORDING:
            return
        if not math.isfinite(at) or at - self._newest > _LONGEST_GAP_S:
            self._dropped += 1
            return
        self._newest = max(self._newest, at)
        if self._stats is not None and at >= self._stats_due:
            self._stats_due = at + _STATS_EVERY_S
            self._queue.append(_Line(at, self._stats_line(self._stats)))
        if len(self._queue) >= _MAX_QUEUED:
            self._dropped += 1
            return
        self._queue.append(item)

    def _begin(self, at: float) -> None:
        """Take the time of sample 0, and write the first line."""
        if not math.isfinite(at):
            return
        self._zero = self._newest = self._stats_due = at
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "rate": RATE,
            "channels": ["participants", "assistant"],
            "frames_per_file": FILE_FRAMES,
            "wall_clock": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "clock": round(at, 6),
            "versions": self._versions,
            "config": self._config,
        }
        self._queue.append(_Line(at, header))
        self._move_to(_Phase.RECORDING)

    def _stats_line(self, stats: Callable[[], object]) -> dict[str, Any]:
        try:
            counted = stats()
            numbers = plain(counted)
            tokens = _total_of(getattr(counted, "tokens", None))
            if tokens is not None and isinstance(numbers, dict):
                numbers["tokens"] = tokens
        except Exception:
            _logger.exception("The recorder gets no counters any more")
            self._stats = None
            numbers = None
        return {"event": "stats", **(numbers if isinstance(numbers, dict) else {})}

    def _end(self, reason: str) -> None:
        """Begin the end, once; the thread does the rest."""
        if self._phase is _Phase.RECORDING:
            if self._stats is not None:
                self._queue.append(_Line(self._newest, self._stats_line(self._stats)))
            self._queue.append(_Line(self._newest, {"event": "end", "reason": reason}))
        if self._phase in (_Phase.WAITING, _Phase.RECORDING):
            self._move_to(_Phase.ENDING)
        self._wake.set()

    def _move_to(self, phase: _Phase) -> None:
        """Change the phase. `DONE` and `FAILED` are the last ones."""
        with self._phase_lock:
            if self._phase not in (_Phase.DONE, _Phase.FAILED):
                self._phase = phase

    def _finish_at_exit(self) -> None:
        """End a recording whose session nobody has closed, as the program ends."""
        self._end("exit")
        self._thread.join(_EXIT_S)

    # -- on the thread ---------------------------------------------------------------------------

    def _write(self) -> None:
        """Write batches until the end, or until the disk refuses one."""
        try:
            self._write_batches()
            self._move_to(_Phase.DONE)
        except OSError as error:
            self._move_to(_Phase.FAILED)
            self._disk.salvage()
            _logger.error(
                "The recording in %s ends here: %s. The call goes on; free some room on the disk, "
                "or record to another one.",
                self._folder, error.strerror or error,
            )  # fmt: skip
        except Exception:
            self._move_to(_Phase.FAILED)
            _logger.exception("The recording in %s ends here; the call goes on", self._folder)
        finally:
            self._queue.clear()
            self._disk.close()
            _open_recorders.discard(self)

    def _write_batches(self) -> None:
        health = _Health()
        begun = False
        while True:
            ending = self._phase is _Phase.ENDING
            batch = [self._queue.popleft() for _ in range(len(self._queue))]
            begun = begun or bool(batch)
            health.note_queue(len(batch))
            if begun and (ending or health.is_due()):
                # Before the last line, which is the end.
                place = len(batch) - 1 if ending else len(batch)
                batch.insert(place, _Line(self._newest, health.line(self._dropped)))
            self._disk.write(batch, self._zero, self._dropped)
            if ending:
                return
            health.note_wait(*self._wait())

    def _wait(self) -> tuple[float, bool]:
        """Wait for the next batch; returns the seconds it took, and whether it was woken."""
        before = time.monotonic()
        woken = self._wake.wait(_WRITE_EVERY_S)
        return time.monotonic() - before, woken


_MESSAGE_FIELDS = (
    "interrupted",
    "generation_complete",
    "turn_complete",
    "complete_reason",
    "time_left",
    "resumable",
    "cancelled_calls",
)


class _Health:
    """Watch whether the machine keeps up: how late this thread is woken, and what waits for it.

    A thread that asks for 250 ms and gets 400 was kept from running, and so was the event loop.
    """

    def __init__(self) -> None:
        self._due = time.monotonic() + _STATS_EVERY_S
        self._late_s = 0.0
        self._queued = 0

    def note_queue(self, length: int) -> None:
        """Take the length of the queue as a batch begins."""
        self._queued = max(self._queued, length)

    def note_wait(self, seconds: float, woken: bool) -> None:
        """Take how long a wait of `_WRITE_EVERY_S` has taken."""
        if not woken:
            self._late_s = max(self._late_s, seconds - _WRITE_EVERY_S)

    def is_due(self) -> bool:
        """Return whether it is time for a line."""
        return time.monotonic() >= self._due

    def line(self, dropped: int) -> dict[str, Any]:
        """Return the line of what was seen since the last one."""
        fields = {
            "event": "recorder",
            "late_ms": round(1000 * max(0.0, self._late_s), 1),
            "queued": self._queued,
            "dropped": dropped,
        }
        self._due = time.monotonic() + _STATS_EVERY_S
        self._late_s, self._queued = 0.0, 0
        return fields


class _Disk:
    """The files of the recording, used by the thread alone."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in (EVENTS_FILE, file_name(0)):
                if (folder / name).exists():
                    raise ConfigError(
                        f"{folder} holds a recording already ({name}); give each recording a "
                        "folder of its own, for example with the time in its name"
                    )
            self._audio = StereoWriter(folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            self._events: BinaryIO = os.fdopen(os.open(folder / EVENTS_FILE, flags, 0o600), "wb", 0)
        except (OSError, ValueError) as error:  # ValueError: a null character
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"Nothing can be recorded to {str(folder)!r} ({reason}); name a folder that can be "
                "written to"
            ) from error
        self._lanes = (_Lane(LEFT), _Lane(RIGHT))
        self._dropped = 0
        self._unusable = 0  # frames of an odd number of bytes, or of an impossible rate

    def write(self, batch: list[_Frame | _Line], zero: float, dropped: int) -> None:
        """Write what has come, so that it can be read.

        Raises:
            OSError: the file system does not take it.
        """
        lines, is_end = [], False
        for item in batch:
            if isinstance(item, _Line):
                lines.append(_encoded(item, zero))
                if item.fields.get("event") == "end":
                    is_end = True
                    for lane in self._lanes:
                        lane.finish()
                continue
            try:
                self._lanes[item.side].add(item, zero)
            except AudioError:
                self._unusable += 1
        lost = dropped + self._unusable - self._dropped
        if lost:
            self._dropped += lost
            at = _sample(batch[-1].at, zero) if batch else self._audio.frames
            # Before the end, but never before the first line, which says what this is.
            place = len(lines) - 1 if is_end else len(lines)
            lines.insert(place, encode_line({"at": at, "event": "dropped", "count": lost}))
        # The lines first: they are small, and a disk that is full takes them longer.
        data = b"".join(lines)
        while data:
            data = data[self._events.write(data) :]
        for lane in self._lanes:
            lane.store(self._audio)
        self._audio.commit()

    def salvage(self) -> None:
        """Make readable what a full disk has taken; a header needs no more room than before."""
        with contextlib.suppress(OSError):
            self._audio.commit()

    def close(self) -> None:
        """Close the files."""
        self._audio.close()
        self._events.close()


class _Lane:
    """One side of the recording: frames at their places, resampled, joined while they follow."""

    def __init__(self, side: int) -> None:
        self._side = side
        self._resampler: Resampler | None = None
        self._expected = 0  # the place of the next frame
        self._next = 0  # the place of what comes out of the resampler next
        self._skip = 0  # samples of the resampler's delay, at the start of a segment
        self._ready: list[tuple[int, _Samples]] = []

    def add(self, frame: _Frame, zero: float) -> None:
        """Take a frame. One that does not follow the last begins a new segment.

        Raises:
            AudioError: the bytes or the rate of the frame cannot be used.
        """
        position = round((frame.at - zero) * RATE)
        resampler = self._resampler
        follows = abs(position - self._expected) <= _SAME_SEGMENT
        if resampler is None or resampler.in_rate != frame.rate or not follows:
            self.finish()
            resampler = Resampler(frame.rate, RATE)
            self._resampler = resampler
            self._expected = self._next = position
            self._skip = round(resampler.delay)
        samples = resampler.push(frame.pcm)
        self._expected += len(samples)
        self._take(samples)

    def finish(self) -> None:
        """End the segment with the tail that the resampler holds back."""
        if self._resampler is not None:
            self._take(self._resampler.flush())
            self._resampler = None

    def store(self, audio: StereoWriter) -> None:
        """Write what is ready, in runs.

        Raises:
            OSError: the file system does not take it.
        """
        ready, self._ready = self._ready, []
        while ready:
            start, first = ready[0]
            run, end = [first], start + len(first)
            while len(run) < len(ready) and ready[len(run)][0] == end:
                run.append(ready[len(run)][1])
                end += len(run[-1])
            del ready[: len(run)]
            audio.write(self._side, start, np.concatenate(run))

    def _take(self, samples: _Samples) -> None:
        skipped = min(self._skip, len(samples))
        self._skip -= skipped
        if skipped < len(samples):
            self._ready.append((self._next, samples[skipped:]))
            self._next += len(samples) - skipped


def _path_of(folder: object) -> Path:
    """Return the path of a folder.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        raise ConfigError(
            f"A recording needs the path of a folder, not {folder!r}; pass a str or a Path, for "
            "example one with the time in its name"
        )
    return Path(folder)


def _encoded(line: _Line, zero: float) -> bytes:
    """Return a line with its sample; times of other moments in it become samples as well."""
    if "format" in line.fields:
        return encode_line(line.fields)
    fields = {
        name: _sample(value, zero) if name.endswith("_at") and isinstance(value, float) else value
        for name, value in line.fields.items()
    }
    return encode_line({"at": _sample(line.at, zero), **fields})


def _sample(at: float, zero: float) -> int:
    return max(0, round((at - zero) * RATE))


def _versions() -> dict[str, str]:
    found = {}
    for name in ("getstream-plugins-gemini", "getstream", "google-genai"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # from a source tree, or a build of one's own
            found[name] = "not installed"
    return {**found, "python": platform.python_version(), "platform": platform.platform()}


def _total_of(usage: object) -> int | None:
    """Return all tokens of a `TokenUsage`; None for anything else."""
    total = getattr(usage, "total", None)
    return total if isinstance(total, int) else None
