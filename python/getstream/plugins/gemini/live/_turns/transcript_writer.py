"""Write a transcript: which line a piece of text belongs to, and when a line is final.

Sans-IO: the time comes as an argument, in seconds of the event loop's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .speakers import Attribution, SpeakerLog
from .transcript import MAX_LINE_CHARS, Line, LineStore, Who

QUESTION_S = 3.0
"""Seconds after the begin of a turn for which what the user is heard saying may be its question."""

QUIET_S = 5.0
"""Seconds without more text after which a line of the user is final although nothing answers it: a
model may stay silent. Transcripts lag by a second or two."""


class TranscriptWriter:
    """Keeps the lines of a transcript in the order of the conversation: question before answer.

    A line of the user ends where the assistant begins, where it has an answer, and where clearly
    somebody else speaks. It is final `QUESTION_S` after its answer has begun, when the next line of
    a user begins, or after `QUIET_S`. A line of the assistant is final when it was heard or cut.

    Args:
        store: where to write.
        on_final: called with each line that is final, and again when a final line has changed.
        on_deadline: called with a time at which `pass_time` wants to be called.
    """

    def __init__(
        self,
        store: LineStore,
        on_final: Callable[[Line], None] = lambda line: None,
        on_deadline: Callable[[float], None] = lambda at: None,
    ) -> None:
        self.speakers = SpeakerLog()
        self.name_of: Callable[[str], str] = lambda user_id: ""
        self._store = store
        self._lines = store.lines
        self._on_final = on_final
        self._on_deadline = on_deadline
        self._heard_at = float("-inf")  # when the newest piece of a user's text came
        self._due: dict[tuple[str, float], float] = {}  # when which open line of a user is final

    # -- those in the call, and the application ------------------------------------------------

    def user_heard(self, text: str, at: float, answered_by: int = 0) -> None:
        """Add a piece of the transcript of the users' speech.

        Args:
            text: as the service sent it.
            at: when it came.
            answered_by: the turn of the assistant that answers it, where that has begun.
        """
        said_by = self.speakers.attribute(self._heard_at, at)
        place = self._find(answered_by) if answered_by else None
        answered = place is not None
        if place is None:
            place = len(self._lines)
        before = self._lines[place - 1] if place else None
        if before is not None and _continues(before, said_by):
            line = self._grown(before, text, at, said_by)
            self._put(place - 1, line)
        else:
            self._finish_users()
            line = self._new_user_line(text, at, said_by, answered_by if answered else 0)
            self._store.insert(place, line)
        self._heard_at = at
        self._expect(line, at + (QUESTION_S if answered else QUIET_S))

    def application_said(self, text: str, at: float, *, as_assistant: bool = False) -> None:
        """Add something that the application has sent as a whole.

        Args:
            text: what it says.
            at: when it was sent.
            as_assistant: it was given to the model as its own words.
        """
        text = text[-MAX_LINE_CHARS:]
        who: Who = "assistant" if as_assistant else "application"
        line = Line(who, "", "", text, text, 0, at, at, final=True)
        self._store.insert(len(self._lines), line)
        self._on_final(line)

    # -- the assistant -------------------------------------------------------------------------

    def model_began(self, turn: int, at: float) -> None:
        """Give a turn of the assistant its place, behind what it answers."""
        if self._find(turn) is not None:
            return
        for place in range(len(self._lines) - 1, -1, -1):
            line = self._lines[place]
            if line.who == "assistant" or line.turn:
                break
            self._put(place, replace(line, turn=turn))
            if not line.final:
                self._expect(line, at + QUESTION_S)
        line = Line("assistant", "", "", "", "", turn, at, None, final=False)
        self._store.insert(len(self._lines), line)

    def model_started(self, turn: int, at: float) -> None:
        """Take note of when a turn was first heard."""
        place = self._find(turn)
        if place is not None:
            self._put(place, replace(self._lines[place], started_at=at))

    def model_said(self, turn: int, text: str, at: float, heard_text: str | None = None) -> None:
        """Set what the assistant has said in a turn so far.

        Args:
            turn: its number.
            text: all of it.
            at: when the newest piece came.
            heard_text: what was heard of it, if the turn was cut; else all of it will be.
        """
        self.model_began(turn, at)
        place = self._find(turn)
        if place is None:
            return
        line, text = self._lines[place], text[-MAX_LINE_CHARS:]
        heard = text if heard_text is None else heard_text[-MAX_LINE_CHARS:]
        self._put(place, replace(line, text=text, heard_text=heard if line.final else ""))

    def model_ended(self, turn: int, at: float, heard_text: str | None = None) -> None:
        """Take note that a turn is over for the listener; one that is not known is passed over.

        Args:
            turn: its number.
            at: when that was.
            heard_text: what was heard of it, if that was not all.
        """
        place = self._find(turn)
        if place is None:
            return
        line = self._lines[place]
        heard = line.text if heard_text is None else heard_text[-MAX_LINE_CHARS:]
        ended_at = at if line.ended_at is None else line.ended_at
        self._put(place, replace(line, heard_text=heard, ended_at=ended_at, final=True))

    # -- time ----------------------------------------------------------------------------------

    def pass_time(self, at: float) -> None:
        """Make lines of users final that are due, unless somebody speaks on."""
        for key, due in list(self._due.items()):
            place = self._find_user(key)
            if place is None:
                del self._due[key]
            elif due > at:
                self._on_deadline(due)
            elif self.speakers.is_speech and not self._lines[place].turn:
                self._due[key] = at + QUIET_S
                self._on_deadline(at + QUIET_S)
            else:
                self._finish(key, place)

    def end(self, at: float, heard_text: Callable[[int], str]) -> None:
        """Make every line final: the conversation is over.

        Args:
            at: when that was.
            heard_text: tells what was heard of a turn so far.
        """
        self._finish_users()
        for line in tuple(self._lines):
            if not line.final:
                self.model_ended(line.turn, at, heard_text(line.turn))

    def _expect(self, line: Line, due: float) -> None:
        """Make a line of a user final at a time, or at the one that is set, if that is earlier."""
        key = (line.who, line.started_at)
        if line.turn and key in self._due:
            due = min(due, self._due[key])
        if not line.final:
            self._due[key] = due
            self._on_deadline(due)

    def _finish_users(self) -> None:
        for key in list(self._due):
            place = self._find_user(key)
            if place is None:
                del self._due[key]
            else:
                self._finish(key, place)

    def _finish(self, key: tuple[str, float], place: int) -> None:
        del self._due[key]
        self._put(place, replace(self._lines[place], final=True))

    # -- places --------------------------------------------------------------------------------

    def _new_user_line(self, text: str, at: float, said_by: Attribution, turn: int) -> Line:
        text = text[-MAX_LINE_CHARS:]
        user_id = _only(said_by)
        # Speech that goes on was begun before the line in front of this one had its text.
        started_at = at if said_by.started_at is None else max(said_by.started_at, self._heard_at)
        return Line(
            who="several" if said_by.is_several else "user",
            user_id=user_id,
            name=self.name_of(user_id) if user_id else "",
            text=text,
            heard_text=text,
            turn=turn,
            started_at=started_at,
            ended_at=at if said_by.ended_at is None else said_by.ended_at,
            final=False,
        )

    def _grown(self, line: Line, text: str, at: float, said_by: Attribution) -> Line:
        """Return the line of a user with more text, and with the speaker where none was known."""
        text = (line.text + _spaced(line.text, text))[-MAX_LINE_CHARS:]
        ended_at = at if said_by.ended_at is None else said_by.ended_at
        line = replace(line, text=text, heard_text=text, ended_at=ended_at)
        user_id = _only(said_by)
        if line.who == "several" or line.user_id or not user_id:
            return line
        return replace(line, user_id=user_id, name=self.name_of(user_id))

    def _put(self, place: int, line: Line) -> None:
        """Set a line, and tell if it is final and has changed."""
        if line != self._lines[place]:
            self._store.replace(place, line)
            if line.final:
                self._on_final(line)

    def _find(self, turn: int) -> int | None:
        """Find the place of a turn of the assistant; it is among the newest."""
        for place in range(len(self._lines) - 1, -1, -1):
            line = self._lines[place]
            if line.turn == turn and line.who == "assistant":
                return place
        return None

    def _find_user(self, key: tuple[str, float]) -> int | None:
        for place in range(len(self._lines) - 1, -1, -1):
            line = self._lines[place]
            if (line.who, line.started_at) == key:
                return place
        return None


def _continues(line: Line, said_by: Attribution) -> bool:
    """Tell whether a piece may be more of a line: nobody else is clearly heard saying it."""
    if line.who not in ("user", "several"):
        return False
    if not said_by.user_ids:
        return True
    if line.who == "several":
        return said_by.is_several
    return not line.user_id or line.user_id in said_by.user_ids


def _only(said_by: Attribution) -> str:
    """Return the one participant who speaks, or ""."""
    return said_by.user_ids[0] if len(said_by.user_ids) == 1 else ""


def _spaced(before: str, text: str) -> str:
    """Return text with a space where a sentence has ended and the next one has none before it."""
    ends = before[-1:] in ".?!"
    return f" {text}" if before and ends and text[:1].isalnum() else text
