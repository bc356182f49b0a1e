"""Tell who speaks in a transcript, from when the local detector has heard whom.

The service says what was said in the call, and not by whom: it is sent one mixed stream. A piece of
its transcript comes some time after the words, in no order against the audio. So a piece is given
to whom the detector has heard since the piece before it.

Standard library only; times are seconds on any clock that only goes forward.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

LAG_S = 0.5
"""Seconds by which a piece of the transcript may be later than its words: so much of what was said
before the piece in front of it may be in it, too. More would give a short reply to the speaker
before it, less would give the last words of that speaker to whoever replies."""

LONGEST_PIECE_S = 30.0
"""Seconds of speech that one piece may hold: some services transcribe when the user has finished,
and hardly anybody speaks longer than this without a pause."""

MAIN_SHARE = 0.8
"""Share of the speech that one participant must have to be who is transcribed: the rest is a cough,
or a word of assent."""

MAX_STRETCHES = 256
"""Stretches of speech that are remembered: far more than fit into `LONGEST_PIECE_S`."""


@dataclass(frozen=True)
class Attribution:
    """Names the participants who spoke while a piece was said.

    Attributes:
        user_ids: the participants, who spoke most first; one only where the others hardly spoke.
        started_at: when the first of them began; None if nobody was heard.
        ended_at: when the last of them stopped, or the end of the time if they speak on.
    """

    user_ids: tuple[str, ...] = ()
    started_at: float | None = None
    ended_at: float | None = None

    @property
    def is_several(self) -> bool:
        """Return whether it is more than one participant."""
        return len(self.user_ids) > 1


@dataclass
class _Stretch:
    user_id: str
    started_at: float
    ended_at: float | None = None


class SpeakerLog:
    """Remembers who has spoken when."""

    def __init__(self) -> None:
        self._stretches: deque[_Stretch] = deque(maxlen=MAX_STRETCHES)
        self._open: dict[str, _Stretch] = {}

    @property
    def is_speech(self) -> bool:
        """Return whether somebody speaks."""
        return bool(self._open)

    def started(self, track: str, user_id: str, at: float) -> None:
        """Take note that a participant has begun to speak on a track."""
        self.stopped(track, at)
        self._open[track] = stretch = _Stretch(user_id, at)
        self._stretches.append(stretch)

    def stopped(self, track: str, at: float) -> None:
        """Take note that the speech on a track has ended, if there is any."""
        stretch = self._open.pop(track, None)
        if stretch is not None:
            stretch.ended_at = max(at, stretch.started_at)

    def attribute(self, since: float, until: float) -> Attribution:
        """Return who has spoken from `since - LAG_S` to `until`.

        The times are those of speech after `since`, where there is any: what was said before it
        has its own piece, of which this one may hold no more than the end.
        """
        before, since = since, max(since - LAG_S, until - LONGEST_PIECE_S)
        seconds: dict[str, float] = {}
        heard: list[tuple[str, float, float]] = []
        for stretch in self._stretches:
            ended_at = until if stretch.ended_at is None else min(stretch.ended_at, until)
            overlap = ended_at - max(stretch.started_at, since)
            if overlap > 0:
                user_id = stretch.user_id
                seconds[user_id] = seconds.get(user_id, 0.0) + overlap
                heard.append((user_id, stretch.started_at, ended_at))
        if not heard:
            return Attribution()
        by_share = sorted(seconds, key=lambda user_id: -seconds[user_id])
        if seconds[by_share[0]] >= MAIN_SHARE * sum(seconds.values()):
            by_share = by_share[:1]
        times = [(started, ended) for user_id, started, ended in heard if user_id in by_share]
        times = [each for each in times if each[1] > before] or times
        return Attribution(
            tuple(by_share), min(start for start, _ in times), max(end for _, end in times)
        )
