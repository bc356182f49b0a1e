"""Record the messages of the wire in memory, within a bound, and in a file if asked."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from .replies import OUTPUT_RATE
from .wire import Message, RefusalError, decode_bytes, encode_bytes

__all__ = [
    "Frame",
    "Recording",
    "SessionEndedError",
    "SpokenTurn",
    "UserAudio",
    "Watch",
    "WireLog",
    "without_media",
]

T = TypeVar("T")

_FRAME_OVERHEAD = 1024  # bytes that a `Frame` takes beside its payload, measured with tracemalloc


class SessionEndedError(ConnectionError):
    """A session ended while something was awaited from it."""


@dataclass(frozen=True)
class Frame:
    """One message of the client.

    Attributes:
        index: Its number in the session, from 0 (the setup).
        at: Arrival, `time.monotonic()` in seconds.
        kind: `setup`, `audio`, `video`, `text`, `audioStreamEnd`, `activityStart`, `activityEnd`,
            `clientContent`, `toolResponse` or `contextUpdate`. A `realtimeInput` with several
            fields is one frame for each; the older `mediaChunks` is `audio` or `video`.
        message: The message, keys in camelCase; media payloads are replaced by their length.
        data: Payload of `audio` (s16le mono PCM) and `video` (an image).
        rate: Rate of `audio` in Hz, else 0.
    """

    index: int
    at: float
    kind: str
    message: Message
    data: bytes = b""
    rate: int = 0


@dataclass(frozen=True)
class UserAudio:
    """A stretch of the user's audio at one rate.

    Attributes:
        rate: Sample rate in Hz.
        samples: int16 mono, shape `(n,)`.
    """

    rate: int
    samples: NDArray[np.int16]


@dataclass
class SpokenTurn:
    """A turn of the model, as far as it was sent.

    Attributes:
        index: Its number in the session, from 0.
        text: Its text.
        started_at: When its first message was sent, `time.monotonic()` in seconds.
        ended_at: When its last one was sent; None while it is going on.
        outcome: `speaking`, then `complete`, `interrupted` or `aborted` (the connection ended).
    """

    index: int
    text: str
    started_at: float
    ended_at: float | None = None
    outcome: Literal["speaking", "complete", "interrupted", "aborted"] = "speaking"
    _audio: NDArray[np.int16] = field(
        default_factory=lambda: np.zeros(0, dtype=np.int16), repr=False
    )
    _sent: int = 0

    @property
    def pcm(self) -> NDArray[np.int16]:
        """Returns the part of its audio that was sent: int16 mono at 24 kHz."""
        return self._audio[: self._sent]

    @property
    def sent_ms(self) -> float:
        """Returns the length of the audio that was sent, in milliseconds."""
        return self._sent * 1000.0 / OUTPUT_RATE


class Recording:
    """The newest frames and turns of a session, within a bound of memory.

    Args:
        limit: Bytes for the frames, and again for the turns. The oldest are dropped beyond it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._frames: deque[Frame] = deque()
        self._frame_bytes = 0
        self._turns: deque[SpokenTurn] = deque()
        self._turn_bytes = 0
        self.counts: Counter[str] = Counter()
        self.audio_ms = 0.0
        self.turn_count = 0
        self.frames_dropped = 0

    @property
    def frames(self) -> list[Frame]:
        """The frames that are kept, oldest first."""
        return list(self._frames)

    @property
    def turns(self) -> list[SpokenTurn]:
        """The turns that are kept, oldest first."""
        return list(self._turns)

    def add(self, frame: Frame) -> None:
        """Keeps a frame; drops the oldest ones if there is no room."""
        self._frames.append(frame)
        self._frame_bytes += len(frame.data) + _FRAME_OVERHEAD
        self.counts[frame.kind] += 1
        if frame.rate:
            self.audio_ms += len(frame.data) * 500.0 / frame.rate
        while self._frame_bytes > self._limit and len(self._frames) > 1:
            self._frame_bytes -= len(self._frames.popleft().data) + _FRAME_OVERHEAD
            self.frames_dropped += 1

    def begin_turn(self, text: str, audio: NDArray[np.int16]) -> SpokenTurn:
        """Opens a turn of the model."""
        turn = SpokenTurn(self.turn_count, text, time.monotonic(), _audio=audio)
        self.turn_count += 1
        self._turns.append(turn)
        self._turn_bytes += audio.nbytes + _FRAME_OVERHEAD
        while self._turn_bytes > self._limit and len(self._turns) > 1:
            self._turn_bytes -= self._turns.popleft()._audio.nbytes + _FRAME_OVERHEAD
        return turn

    def audio(self) -> list[UserAudio]:
        """The user's audio, one entry for each stretch at the same rate."""
        stretches: list[tuple[int, list[bytes]]] = []
        for frame in self._frames:
            if frame.kind != "audio":
                continue
            if not stretches or stretches[-1][0] != frame.rate:
                stretches.append((frame.rate, []))
            stretches[-1][1].append(frame.data)
        return [
            UserAudio(rate, np.frombuffer(b"".join(parts), dtype="<i2").astype(np.int16))
            for rate, parts in stretches
        ]


class Watch:
    """Conditions that can be awaited, checked when something has happened."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []

    def notify(self) -> None:
        """Something has happened."""
        if not self._waiting:
            return
        for condition, future in list(self._waiting):
            if future.done():
                continue
            try:
                result = condition()
            except Exception as error:  # it belongs to the one who waits
                future.set_exception(error)
            else:
                if result is not None:
                    future.set_result(result)

    async def until(self, condition: Callable[[], T | None], what: str, timeout: float) -> T:
        """Waits until a condition returns something.

        Raises:
            TimeoutError: It did not, within `timeout` seconds.
            Exception: Whatever the condition raises.
        """
        result = condition()
        if result is not None:
            return result
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        entry = (condition, future)
        self._waiting.append(entry)
        try:
            return await asyncio.wait_for(future, timeout)
        except asyncio.TimeoutError:
            raise TimeoutError(f"no {what} within {timeout:g} s") from None
        finally:
            self._waiting.remove(entry)


class WireLog:
    """Writes every message as one line of JSON.

    A line is `{"t", "session", "direction", "message"}`: `t` is `time.monotonic()`, which on Linux
    all processes of a machine share; `direction` is `in`, `out`, or `end` (the message then holds
    `code` and `reason`). Media payloads are replaced by `bytes`, `sha256` and, if asked, `base64`.
    Credentials are in HTTP headers and never get here.

    Args:
        path: The file; it is overwritten.
        payloads: True to write media payloads in full.
    """

    def __init__(self, path: Path, *, payloads: bool = False) -> None:
        self._file: IO[str] = path.open("w", encoding="utf-8", buffering=1)  # a line at a time
        self._payloads = payloads

    def write(self, session: int, direction: Literal["in", "out", "end"], message: Message) -> None:
        """Writes one message."""
        line = {
            "t": round(time.monotonic(), 6),
            "session": session,
            "direction": direction,
            "message": _without_media(message, payloads=self._payloads),
        }
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Closes the file. Idempotent."""
        self._file.close()


def without_media(message: Message) -> Message:
    """A copy of a message in which media payloads are replaced by their length."""
    result: Message = _without_media(message, payloads=None)
    return result


def _without_media(value: Any, *, payloads: bool | None) -> Any:
    if isinstance(value, list):
        return [_without_media(item, payloads=payloads) for item in value]
    if not isinstance(value, dict):
        return value
    if "mimeType" not in value or not isinstance(value.get("data"), (str, bytes)):
        return {key: _without_media(item, payloads=payloads) for key, item in value.items()}
    return _described(value, payloads)


def _described(blob: Message, payloads: bool | None) -> Message:
    described = {key: value for key, value in blob.items() if key != "data"}
    try:
        data = blob["data"] if isinstance(blob["data"], bytes) else decode_bytes(blob["data"])
    except RefusalError:
        return {**described, "data": "not base64"}
    described["bytes"] = len(data)
    if payloads is not None:
        described["sha256"] = hashlib.sha256(data).hexdigest()
    if payloads:
        described["base64"] = encode_bytes(data)
    return described
