"""Keep the text of a turn of the assistant, and tell how much of it was heard.

The service sends the words of its speech as pieces of text between the pieces of audio, in no
promised order and without times. What is known of a piece is how much of the turn's audio had
arrived when it came: it tells of what lies before that, behind the piece before it. Between those
points the text is spread evenly. The estimate is good to within one piece.

Standard library only; times are milliseconds of the turn's audio.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

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


class TurnText:
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
        """Return how many characters belong to the first `heard_ms`."""
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

    transcript: TurnText
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
            spoken = self._turns[turn] = AssistantTurn(TurnText())
            if len(self._turns) > TURNS_KEPT:
                self._turns.popitem(last=False)
        return spoken
