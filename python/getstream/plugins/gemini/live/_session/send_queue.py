"""The queue to the service: frames of the call, marks between them, and what the program sends.

Nothing that somebody says is lost up to stated bounds. What waits for a connection is kept; what
was sent is kept, too, until the service is known to have taken it: a session is resumed as it was
when its handle was issued, and what came after that is sent again. Both are bounded, and neither
holds silences longer than `LONGEST_SILENCE_MS`: the gaps between words matter, the rest only
delays.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from .._timing import FRAME_MS

MAX_QUEUED_MS = 10_000
"""Audio that waits for a session that is not ready, or for a socket that is stuck. Older audio is
dropped and counted: what somebody said ten seconds ago no longer helps a conversation."""

MAX_SENT_MS = 10_000
"""Audio that was sent and is not known to have been taken."""

BACKLOG_MS = 500
"""Audio that may wait before its silences are shortened: less is only a late wake-up."""

MAX_END_WAIT_MS = 1_000
"""Longest wait of the end of an activity for a frame in which nobody speaks."""

LONGEST_SILENCE_MS = 200
"""Length to which a silence is shortened in audio that is late anyway."""

STEADY_SILENCE_MS = 2_000
"""Silence after which frames of silence are written several at a time. Up to here the service may
be looking for the end of speech (`TAIL_MS`), and each frame counts; after it nobody waits for one,
and a write (TLS record, system call) is most of what a frame costs."""

SILENCE_WRITE_MS = 100
"""Frames of a steady silence that are written at a time. The first frame in which somebody speaks
takes those that wait with it, so no speech is later for it."""

MOST_TEXT_SENDINGS = 3
"""Connections on which a text is sent. One that was not answered on three of them may be what ends
them, and is not sent on a fourth."""

KEPT_SPEECH_MS = 400
"""Speech that is kept from before a handle that comes in the middle of what somebody says. The
handle stands for the audio before it; but the end of speech is only found where there is some, and
half of this may be the detector's hangover."""

MAX_UNACKED_BYTES = 16 << 20
"""Bytes of images and contents that are kept for another connection: two of the largest."""

MOST_UNANSWERED_TEXTS = 10
"""Texts that are kept for another connection: nobody waits for more answers than that."""


class ActivityMarker(Enum):
    """A place in the stream."""

    ACTIVITY_START = "the user begins to speak"
    ACTIVITY_END = "the user has finished"
    STREAM_END = "no audio comes for a while"


class Frame(NamedTuple):
    """20 ms of the call.

    Attributes:
        data: a message as one masked websocket frame.
        is_silence: nobody speaks in it.
        at: when it was pushed; None if it was kept as pre-roll, which is no delay.
    """

    data: bytes
    is_silence: bool
    at: float | None = None


class Request:
    """Holds something that the application has sent.

    Args:
        is_answered: whether the model answers it; what it does not answer counts as taken with the
            audio before it.
        size: its bytes.

    Attributes:
        sent: done when it was sent for the first time.
        sendings: how many times it was sent.
    """

    def __init__(self, *, is_answered: bool = True, size: int = 0) -> None:
        self.is_answered = is_answered
        self.size = size
        self.sendings = 0
        self.sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Text(Request):
    """Holds a text of the application.

    Args:
        text: what it says.
    """

    def __init__(self, text: str) -> None:
        super().__init__(size=len(text))
        self.text = text


class Image(Request):
    """Holds an image of the application.

    Args:
        encoded: the file as base64.
        mime_type: what it is, such as "image/jpeg".
    """

    def __init__(self, encoded: bytes, mime_type: str) -> None:
        super().__init__(is_answered=False, size=len(encoded))
        self.encoded = encoded
        self.mime_type = mime_type


class Content(Request):
    """Holds turns of a conversation that the application adds to it.

    Args:
        turns: contents as the SDK takes them.
        texts: what they say: `("user" | "model", text)`.
        turn_complete: whether the model is to answer now.
        size: bytes of images and sounds in them.
    """

    def __init__(
        self, turns: list[Any], texts: list[tuple[str, str]], *, turn_complete: bool, size: int
    ) -> None:
        super().__init__(is_answered=turn_complete, size=size)
        self.turns = turns
        self.texts = texts
        self.turn_complete = turn_complete


Item = Frame | ActivityMarker | Request


class SendQueue:
    """A queue of 20 ms frames, marks and texts, for one sender on one event loop.

    Frames are bounded. Marks are few, and texts are waited for by those who send them.

    Args:
        preroll_ms: with a number, frames are sent only between `start_activity` and
            `end_activity`, and so much of what came before is at hand when an activity starts.
            None sends every frame.
        send_now: sends frames in one write and returns the number of the last message, or does
            nothing and returns None if that would have to wait; called while the sender waits for
            something to send.
        note_age: called with the age in milliseconds of each frame that is sent with speech in it.
    """

    def __init__(
        self,
        preroll_ms: float | None = None,
        send_now: Callable[[list[bytes]], int | None] = lambda frames: None,
        note_age: Callable[[float], None] = lambda age_ms: None,
    ) -> None:
        self.sent = 0
        self.retransmitted = 0
        self.dropped_ms = 0.0
        self._send_now = send_now
        self._note_age = note_age
        self._queue = _BoundedItems(MAX_QUEUED_MS)
        self._preroll: deque[Frame] | None = None
        if preroll_ms is not None:
            self._preroll = deque(maxlen=max(1, round(preroll_ms / FRAME_MS)))
        self._open = self._preroll is None
        self._waiter: asyncio.Future[None] | None = None  # of `next`
        self._silent = True  # nobody speaks in the newest frame
        self._silence_ms = 0  # for so long
        self._held: list[Frame] = []  # of a steady silence, to be written at a time
        self._held_since = 0.0
        self._end_in: int | None = None  # frames that the end of the activity may still wait
        # What was sent and may have to be sent again; each with its number on the connection, and
        # the time.
        self._unacked = _BoundedItems(MAX_SENT_MS)
        self._sendings: deque[tuple[int, float]] = deque()
        self._active = False  # the service has been told that the user speaks
        self._active_before_unacked = False

    def keep_before_activity(self, preroll_ms: float | None) -> None:
        """Keep as much of what comes before an activity, and no less than so far."""
        if self._preroll is not None and preroll_ms is not None:
            kept = max(self._preroll.maxlen or 1, round(preroll_ms / FRAME_MS))
            self._preroll = deque(self._preroll, maxlen=kept)

    def push(self, data: bytes, now: float, is_silence: bool = False) -> None:
        """Take the next 20 ms of the call; `now` is the time of the event loop."""
        frame = Frame(data, is_silence, now)
        self._silent = is_silence
        if self._end_in is not None:
            self._end_in -= 1
            if is_silence or self._end_in < 0:
                self._end_activity_now()
        self._silence_ms = self._silence_ms + FRAME_MS if is_silence else 0
        if not self._open:
            if self._preroll is not None:
                self._preroll.append(frame)
        elif self._waiter is None or self._waiter.done() or self._queue.items:
            self._enqueue(frame)
        elif self._silence_ms > STEADY_SILENCE_MS:
            if not self._held:
                self._held_since = now
            self._held.append(frame)
            if len(self._held) * FRAME_MS >= SILENCE_WRITE_MS:
                self._write(self._take_held(), now)
        elif self._held:
            self._write([*self._take_held(), frame], now)
        elif (number := self._send_now([data])) is not None:
            self._note_sent(frame, number, now)
        else:
            self._enqueue(frame)

    def start_activity(self, before_ms: float) -> None:
        """Mark that the user speaks, and send what came in the last `before_ms` after the mark."""
        if self._end_in is not None:
            self._end_activity_now()
        self._open = True
        self._enqueue(ActivityMarker.ACTIVITY_START)
        if self._preroll is not None:
            count = min(len(self._preroll), round(before_ms / FRAME_MS))
            for frame in list(self._preroll)[len(self._preroll) - count :]:
                self._enqueue(frame._replace(is_silence=False, at=None))
            self._preroll.clear()

    def end_activity(self) -> None:
        """Mark that the user has finished.

        The mark waits for the first frame in which nobody speaks: a word that was late on its way
        here is sent before it.
        """
        self._end_in = MAX_END_WAIT_MS // FRAME_MS
        if self._silent:
            self._end_activity_now()

    def _end_activity_now(self) -> None:
        self._end_in = None
        self._enqueue(ActivityMarker.ACTIVITY_END)
        self._open = self._preroll is None

    def end_stream(self) -> None:
        """Mark that no audio comes for a while.

        Where activity is marked here, its end says more, and nothing is to be added.
        """
        if self._end_in is not None:
            self._end_activity_now()
        if self._preroll is None:
            self._enqueue(ActivityMarker.STREAM_END)

    @property
    def is_behind(self) -> bool:
        """Return whether something waits for the connection."""
        return bool(self._queue.items)

    @property
    def holds_request(self) -> bool:
        """Return whether a request, or anything that somebody has said, waits to be sent."""
        return any(
            isinstance(item, Request) or (isinstance(item, Frame) and not item.is_silence)
            for item in self._queue.items
        )

    def push_request(self, item: Request) -> None:
        """Take something that the application sends, behind what was said before it."""
        self._enqueue(item)

    def withdraw(self, item: Request) -> None:
        """Forget something that was not sent."""
        if item in self._queue.items:
            self._queue.items.remove(item)

    async def next(self) -> Item:
        """Wait for what is to be sent next. It stays in the queue until `mark_sent` is called."""
        while not self._queue.items:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._queue.items[0]

    def mark_sent(self, item: Item, number: int, now: float) -> None:
        """Note that `item`, which `next` has returned, was sent as client message `number`."""
        if not self._queue.items or self._queue.items[0] is not item:
            return  # it was dropped meanwhile: the socket was stuck for longer than the bound
        self._queue.popleft()
        self._note_sent(item, number, now)

    def pass_time(self, now: float) -> None:
        """Write frames of silence that wait for others, if none have come in time."""
        if self._held and now - self._held_since >= SILENCE_WRITE_MS / 1000:
            self._write(self._take_held(), now)

    def _take_held(self) -> list[Frame]:
        held, self._held = self._held, []
        return held

    def _write(self, frames: list[Frame], now: float) -> None:
        """Write frames at a time if that takes no waiting; else queue them."""
        last = self._send_now([frame.data for frame in frames])
        if last is None:
            for frame in frames:
                self._enqueue(frame)
            return
        for number, frame in enumerate(frames, start=last - len(frames) + 1):
            self._note_sent(frame, number, now)

    def _note_sent(self, item: Item, number: int, now: float) -> None:
        if isinstance(item, ActivityMarker):
            self._active = _active_after(item, self._active)
        elif isinstance(item, Frame):
            self.sent += 1
            if not item.is_silence and item.at is not None:
                self._note_age((now - item.at) * 1000)
        else:
            item.sendings += 1
            if not item.sent.done():
                item.sent.set_result(None)
        if self._unacked.append(item, shorten=True):
            self._sendings.append((number, now))
        if isinstance(item, Request):
            self._forget_large()
        if len(self._sendings) > len(self._unacked.items):
            del self._sendings[self._unacked.dropped_at]

    def _forget_large(self) -> None:
        """Keep no more of what was sent than `MAX_UNACKED_BYTES`; the newest stays in any case."""
        requests = [item for item in self._unacked.items if isinstance(item, Request)]
        total = sum(item.size for item in requests)
        for item in requests[:-1]:
            if total <= MAX_UNACKED_BYTES:
                return
            place = self._unacked.items.index(item)
            del self._unacked.items[place]
            del self._sendings[place]
            total -= item.size

    @property
    def silence_ms(self) -> int:
        """Return for how long nobody has spoken in what was sent last."""
        return self._unacked.is_silence * FRAME_MS

    def acknowledge(
        self,
        *,
        number: int | None = None,
        before: float | None = None,
        keep_speech_ms: int = 0,
    ) -> None:
        """Forget what was sent up to a message, or before a time: the service has taken it.

        Without either, the service has taken everything. Otherwise, texts stay until they are
        `acknowledge_texts`, and so much of the newest speech stays as is to be kept.
        """
        everything = number is None and before is None
        texts: list[tuple[Item, tuple[int, float]]] = []
        kept = self._unacked.newest_speech(keep_speech_ms)
        while len(self._unacked.items) > kept:
            sent_as, sent_at = self._sendings[0]
            if (number is not None and sent_as > number) or (
                before is not None and sent_at > before
            ):
                break
            item, sending = self._unacked.popleft(), self._sendings.popleft()
            if isinstance(item, Request) and item.is_answered and not everything:
                texts.append((item, sending))
            elif isinstance(item, ActivityMarker):
                before_it = self._active_before_unacked
                self._active_before_unacked = _active_after(item, before_it)
        for text, sending in reversed(texts[-MOST_UNANSWERED_TEXTS:]):
            self._unacked.items.appendleft(text)
            self._sendings.appendleft(sending)

    def acknowledge_texts(self, *, before: float, cut: bool = False) -> None:
        """Forget the texts that were sent before a time: they were answered.

        Args:
            before: when the answer began.
            cut: the answer was interrupted. Then it was that of the first text only: the second one
                may be what has interrupted it.
        """
        items = self._unacked.items
        answered = [
            index
            for index, (item, (_, sent_at)) in enumerate(zip(items, self._sendings, strict=True))
            if isinstance(item, Request) and item.is_answered and sent_at <= before
        ]
        for index in reversed(answered[:1] if cut else answered):
            del items[index]
            del self._sendings[index]

    def requeue_unacked(self) -> int:
        """Send again, first of all, what was not taken on the connection that is gone.

        Returns:
            How many texts are given up, see `MOST_TEXT_SENDINGS`.
        """
        before = len(self._unacked.items)
        again: list[Item] = [
            item
            for item in self._unacked.items
            if not isinstance(item, Request) or item.sendings < MOST_TEXT_SENDINGS
        ]
        given_up = before - len(again)
        self._unacked = _BoundedItems(MAX_SENT_MS)
        self._sendings.clear()
        self.retransmitted += sum(isinstance(item, Frame) for item in again)
        if self._active_before_unacked:
            again.insert(0, ActivityMarker.ACTIVITY_START)
        self._active = self._active_before_unacked = False
        waiting, self._queue = self._queue, _BoundedItems(MAX_QUEUED_MS)
        for item in (*again, *waiting.items, *self._take_held()):
            self._enqueue(item)
        return given_up

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _enqueue(self, item: Item) -> None:
        for held in self._take_held():
            self._enqueue(held)
        backlog = self._queue.frames * FRAME_MS > BACKLOG_MS
        self._queue.append(item, shorten=backlog)
        self.dropped_ms += self._queue.take_overflow() * FRAME_MS
        self._wake()


def _active_after(mark: ActivityMarker, active: bool) -> bool:
    """Return whether the service believes that the user speaks, after a mark."""
    return active if mark is ActivityMarker.STREAM_END else mark is ActivityMarker.ACTIVITY_START


class _BoundedItems:
    """Items in order; beyond `most_ms` the oldest frames go, and nothing else."""

    def __init__(self, most_ms: int) -> None:
        self.items: deque[Item] = deque()
        self.frames = 0
        self._most = most_ms // FRAME_MS
        self.is_silence = 0  # frames of silence at the end
        self._overflow = 0
        self.dropped_at = 0  # the place of the frame that was dropped last

    def append(self, item: Item, *, shorten: bool) -> bool:
        """Add an item; False if it was part of a silence that is long enough already."""
        if not isinstance(item, Frame):
            self.items.append(item)
            return True
        self.is_silence = self.is_silence + 1 if item.is_silence else 0
        if shorten and self.is_silence * FRAME_MS > LONGEST_SILENCE_MS:
            return False
        self.items.append(item)
        self.frames += 1
        if self.frames > self._most:
            self._drop_oldest()
        return True

    def popleft(self) -> Item:
        item = self.items.popleft()
        self.frames -= isinstance(item, Frame)
        return item

    def newest_speech(self, ms: int) -> int:
        """Count the items from the newest back to that much speech; all if there is less."""
        missing = ms // FRAME_MS
        if not self.items or missing == 0:
            return 0
        for count, item in enumerate(reversed(self.items)):
            if missing <= 0:
                return count
            if isinstance(item, Frame) and not item.is_silence:
                missing -= 1
        return len(self.items)

    def take_overflow(self) -> int:
        """Frames that were dropped since the last call."""
        overflow, self._overflow = self._overflow, 0
        return overflow

    def _drop_oldest(self) -> None:
        others: list[Item] = []
        while not isinstance(self.items[0], Frame):
            others.append(self.items.popleft())
        self.items.popleft()
        self.dropped_at = len(others)
        self.items.extendleft(reversed(others))
        self.frames -= 1
        self._overflow += 1
