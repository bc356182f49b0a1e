"""What the assistant said, and how much of it was heard.

The service sends the words of its speech as pieces of text between the pieces of audio, in no
promised order and without times. What is known of a piece is how much of the turn's audio had
arrived when it came: it tells of what lies before that, behind the piece before it. Between those
points the text is spread evenly. The estimate is good to within one piece.

Standard library only; times are milliseconds of the turn's audio.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

MAX_CHARS_PER_MS = 25.0 / 1000
"""Characters per millisecond that speech can have: a fast speaker reaches 7 syllables a second
(Pellegrino, Coupé, Marsico, "Across-language perspective on speech information rate", 2011), of 3
to 4 letters with the spaces. Text that runs ahead of its audio is not taken for heard."""

MIN_CHARS_PER_MS = 2.0 / 1000
"""Characters per millisecond below which the text of a turn is missing: Chinese has 4 to 5
syllables a second, each of them one character."""

MIN_TEXT_AUDIO_MS = 1000.0
"""Milliseconds of audio from which missing text is told from a short sound without words."""

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
                return min(before + part * (characters - before), MAX_CHARS_PER_MS * heard_ms)
            before, since = characters, place
        return min(float(before), MAX_CHARS_PER_MS * heard_ms)

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
class AssistantTurn:
    """One turn of the assistant.

    Attributes:
        transcript: its text.
        started_at: when the read head took its first sample, in seconds; None before that.
        cut: whether it was cut short.
        finished: whether the service has said that its transcript is complete.
    """

    transcript: Transcript
    started_at: float | None = None
    cut: bool = False
    finished: bool = False

    def lacks_text(self, received_ms: float) -> bool:
        """Tell whether most of the text of so much audio has not come."""
        if received_ms < MIN_TEXT_AUDIO_MS:
            return False
        return len(self.transcript.text) < MIN_CHARS_PER_MS * received_ms

    def has_room_for(self, text: str, received_ms: float) -> bool:
        """Tell whether so much audio can hold more text that does not run ahead of it."""
        return len(self.transcript.text) + len(text) <= MAX_CHARS_PER_MS * received_ms


class AssistantTurns:
    """The newest turns of the assistant, by number."""

    def __init__(self) -> None:
        self._turns: OrderedDict[int, AssistantTurn] = OrderedDict()

    def __getitem__(self, turn: int) -> AssistantTurn:
        """The turn; a new one if it is not known. The oldest is forgotten beyond `TURNS_KEPT`."""
        spoken = self._turns.get(turn)
        if spoken is None:
            spoken = self._turns[turn] = AssistantTurn(Transcript())
            if len(self._turns) > TURNS_KEPT:
                self._turns.popitem(last=False)
        return spoken


MAX_HISTORY_CHARS = 8000
"""Characters of a dialogue: ten minutes of talk, 2,000 tokens."""

MAX_HISTORY_LINES = 400
"""Lines of a dialogue, those of turns without text included."""


@dataclass
class _Line:
    """One turn of the dialogue.

    Attributes:
        role: who speaks.
        text: what is said.
        turn: the number of the model's turn; 0 for the user.
        grows: the user is heard saying it, piece by piece; what is written is there at once.
    """

    role: Literal["user", "model"]
    text: str
    turn: int = 0
    grows: bool = False


class ConversationHistory:
    """What both sides have said, as far as it is known: what a new session begins with.

    One line for each turn, the question before its answer. Of a turn that was cut, only what was
    heard. The newest `MAX_HISTORY_CHARS` characters are kept, whoever has said them.
    """

    def __init__(self) -> None:
        self._lines: deque[_Line] = deque()
        self._size = 0

    def begin_with(self, lines: Iterable[tuple[str, str]]) -> None:
        """Add what was said in an earlier session: `("user" | "model", text)`, oldest first."""
        for role, text in lines:
            self._append(_Line("model" if role == "model" else "user", text))

    def user_said(self, text: str) -> None:
        """Add something that the user has said or written as a whole."""
        self._append(_Line("user", text))

    def user_heard(self, text: str, answered_by: int = 0) -> None:
        """Add a piece of the transcript of the user's speech.

        Args:
            text: as the service sent it.
            answered_by: the turn of the model that answers it, where that has begun.
        """
        place = self._find(answered_by) if answered_by else None
        if place is None:
            place = len(self._lines)
        before = self._lines[place - 1] if place else None
        if before is not None and before.grows:
            text = _spaced(before.text, text)
            before.text += text
            self._grown(len(text))
        else:
            self._lines.insert(place, _Line("user", text, grows=True))
            self._grown(len(text))

    def model_began(self, turn: int) -> None:
        """Give a turn of the model its place."""
        if self._find(turn) is None:
            self._append(_Line("model", "", turn))

    def model_said(self, turn: int, text: str) -> None:
        """Add a piece of what the model says in a turn."""
        self.model_began(turn)
        place = self._find(turn)
        assert place is not None  # it has just begun
        self._lines[place].text += text
        self._grown(len(text))

    def model_was_cut(self, turn: int, heard_text: str) -> None:
        """Keep of a turn only what was heard; a turn that is not known is passed over."""
        place = self._find(turn)
        if place is not None:
            line = self._lines[place]
            added, line.text = len(heard_text) - len(line.text), heard_text
            self._grown(added)

    def lines(self) -> list[tuple[str, str]]:
        """Return all of it: `("user" | "model", text)`, oldest first."""
        return [(line.role, line.text.strip()) for line in self._lines if line.text.strip()]

    def _find(self, turn: int) -> int | None:
        """Find the place of a turn of the model; it is among the newest."""
        for back, line in enumerate(reversed(self._lines)):
            if line.turn == turn:
                return len(self._lines) - 1 - back
        return None

    def _append(self, line: _Line) -> None:
        self._lines.append(line)
        self._grown(len(line.text))

    def _grown(self, characters: int) -> None:
        """Take note of more text, and forget the oldest beyond the bound."""
        self._size += characters
        while self._size > MAX_HISTORY_CHARS:
            oldest = self._lines[0]
            excess = self._size - MAX_HISTORY_CHARS
            if len(oldest.text) <= excess and len(self._lines) > 1:
                self._lines.popleft()
                self._size -= len(oldest.text)
            else:
                oldest.text = oldest.text[excess:]
                self._size -= excess
        while len(self._lines) > MAX_HISTORY_LINES:
            self._size -= len(self._lines.popleft().text)


def _spaced(before: str, text: str) -> str:
    """Return text with a space where a sentence has ended and the next one has none before it."""
    ends = before[-1:] in ".?!"
    return f" {text}" if before and ends and text[:1].isalnum() else text
