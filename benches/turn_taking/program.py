"""Record the measurements of a call's programs: in memory, and in files when they end.

All times are `time.monotonic()`, which on Linux is one clock for all processes.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Frames:
    """Stream of audio, frame by frame.

    Attributes:
        times: Time of arrival, or due time, of each frame.
        positions: Its first sample on the clock of the stream; RTP time where there is one.
        samples: int16, shape `(n,)`.
    """

    times: list[float] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    samples: list[Any] = field(default_factory=list)

    def add(self, at: float, position: int, samples: Any) -> None:
        self.times.append(at)
        self.positions.append(position)
        self.samples.append(np.array(samples, np.int16).reshape(-1))

    def save(self, path: Path) -> None:
        np.savez(
            path,
            times=np.array(self.times, np.float64),
            positions=np.array(self.positions, np.int64),
            lengths=np.array([len(frame) for frame in self.samples], np.int64),
            samples=np.concatenate([np.empty(0, np.int16), *self.samples]),
        )


@dataclass
class Record:
    """Record of an assistant.

    Attributes:
        arrivals: Each frame of the call, with the time at which the SDK's handler had it.
        handed: Each frame that the SDK took, with its due time.
        events: Decisions, with their times.
    """

    arrivals: Frames = field(default_factory=Frames)
    handed: Frames = field(default_factory=Frames)
    events: list[dict[str, Any]] = field(default_factory=list)

    def note(self, event: str, at: float | None = None, **details: Any) -> None:
        self.events.append({"event": event, "t": time.monotonic() if at is None else at, **details})

    def save(self, folder: Path) -> None:
        self.arrivals.save(folder / "arrivals.npz")
        self.handed.save(folder / "handed.npz")
        (folder / "events.json").write_text(json.dumps(self.events), encoding="utf-8")
