"""What the assistant said, and how much of it was heard.

The service sends the words of its speech as pieces of text between the pieces of audio, in no
promised order and without times. What is known of a piece is how much of the turn's audio had
arrived when it came: it tells of what lies before that, behind the piece before it. Between those
points the text is spread evenly. The estimate is good to within one piece.

Standard library only; times are milliseconds of the turn's audio.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Literal

FASTEST = 25.0 / 1000
"""Characters per millisecond that speech can have: a fast speaker reaches 7 syllables a second
(Pellegrino, Coupé, Marsico, "Across-language perspective on speech information rate", 2011), of 3
to 4 letters with the spaces. Text that runs ahead of its audio is not taken for heard."""

TURNS_KEPT = 64


class Transcript:
    """The text of one turn, with the place of each piece in its audio."""

    def __init__(self) -> None:
        self._pieces: list[tuple[str, float]] = []

    @property
    def text(self) -> str:
        """All of it, as far as it has arrived."""
        return "".join(piece for piece, _ in self._pieces)

    def add(self, text: str, arrived_ms: float) -> None:
        """Append a piece.

        Args:
            text: as the service sent it, spaces included.
            arrived_ms: how much of the turn's audio had arrived with it.
        """
        if text:
            latest = self._pieces[-1][1] if self._pieces else 0.0
            self._pieces.append((text, max(latest, arrived_ms)))

    def heard(self, heard_ms: float) -> str:
        """The part of the text that belongs to the first `heard_ms` of the audio."""
        limit = self._characters_in(heard_ms)
        heard, characters = [], 0
        for piece, _ in self._pieces:
            # A piece counts when more than half of it was heard.
            if characters + len(piece) / 2 > limit:
                break
            heard.append(piece)
            characters += len(piece)
        return "".join(heard)

    def _characters_in(self, heard_ms: float) -> float:
        """How many characters belong to the first `heard_ms`."""
        before, since = 0, 0.0
        for place, characters in self._places():
            if heard_ms < place:
                part = (heard_ms - since) / (place - since)
                return min(before + part * (characters - before), FASTEST * heard_ms)
            before, since = characters, place
        return min(float(before), FASTEST * heard_ms)

    def _places(self) -> list[tuple[float, int]]:
        """The places where text has come, with the number of characters up to there."""
        places: list[tuple[float, int]] = []
        characters = 0
        for piece, place in self._pieces:
            characters += len(piece)
            if places and places[-1][0] == place:
                places.pop()
            places.append((place, characters))
        return places


@dataclass
class Spoken:
    """One turn of the assistant.

    Attributes:
        transcript: its text.
        started_at: when the read head took its first sample, in seconds; None before that.
    """

    transcript: Transcript
    started_at: float | None = None


class SpokenTurns:
    """The newest turns of the assistant, by number."""

    def __init__(self) -> None:
        self._turns: OrderedDict[int, Spoken] = OrderedDict()

    def __getitem__(self, turn: int) -> Spoken:
        """The turn; a new one if it is not known. The oldest is forgotten beyond `TURNS_KEPT`."""
        spoken = self._turns.get(turn)
        if spoken is None:
            spoken = self._turns[turn] = Spoken(Transcript())
            if len(self._turns) > TURNS_KEPT:
                self._turns.popitem(last=False)
        return spoken


DIALOGUE_KEPT = 8000
"""Characters of a dialogue: ten minutes of talk, 2,000 tokens."""


@dataclass
class _Line:
    role: Literal["user", "model"]
    text: str
    turn: int = 0


class Dialogue:
    """What both sides have said, as far as it is known: what a new session begins with."""

    def __init__(self) -> None:
        self._lines: deque[_Line] = deque()
        self._size = 0

    def user_said(self, text: str) -> None:
        """A piece of what the user has said or written."""
        self._add("user", text, 0)

    def model_said(self, turn: int, text: str) -> None:
        """A piece of what the model says in a turn."""
        self._add("model", text, turn)

    def model_was_cut(self, turn: int, heard_text: str) -> None:
        """Of a turn, only this was heard."""
        for line in reversed(self._lines):
            if line.role == "model" and line.turn == turn:
                self._size += len(heard_text) - len(line.text)
                line.text = heard_text
                return

    def lines(self) -> list[tuple[str, str]]:
        """All of it: `("user" | "model", text)`, oldest first."""
        return [(line.role, line.text.strip()) for line in self._lines if line.text.strip()]

    def _add(self, role: Literal["user", "model"], text: str, turn: int) -> None:
        newest = self._lines[-1] if self._lines else None
        if newest is not None and (newest.role, newest.turn) == (role, turn):
            newest.text += text
        else:
            self._lines.append(_Line(role, text, turn))
        self._size += len(text)
        while self._size > DIALOGUE_KEPT and len(self._lines) > 1:
            self._size -= len(self._lines.popleft().text)
