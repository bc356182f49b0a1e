"""Choose the part of the conversation that a new session is told."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from .transcript import Line, LineStore

MAX_HISTORY_CHARS = 8000
"""Characters of a dialogue: ten minutes of talk, 2,000 tokens."""

MAX_HISTORY_LINES = 400
"""Lines of a dialogue: 20 characters each, if the bound of characters is used up."""


class ConversationHistory:
    """The newest part of a transcript, as a new session is seeded with it.

    Args:
        store: everything that was said.
    """

    def __init__(self, store: LineStore) -> None:
        self._store = store
        self._earlier: list[tuple[str, str]] = []

    def begin_with(self, lines: Iterable[tuple[str, str]]) -> None:
        """Add what was said in an earlier session: `("user" | "model", text)`, oldest first.

        It is part of what a new session is told, and not of the transcript of this one.
        """
        self._earlier += lines

    def lines(self) -> list[tuple[str, str]]:
        """Return the newest `MAX_HISTORY_CHARS`: `("user" | "model", text)`, oldest first.

        Of a turn that was cut, only what was heard. What the application has sent is the user's.
        """
        room, lines = MAX_HISTORY_CHARS, list[tuple[str, str]]()
        here = ((_role_of(line), line.spoken.strip()) for line in reversed(self._store.lines))
        for role, said in chain(here, reversed(self._earlier)):
            if said:
                lines.append((role, said[-room:]))
                room -= len(said)
            if room <= 0 or len(lines) == MAX_HISTORY_LINES:
                break
        return lines[::-1]


def _role_of(line: Line) -> str:
    return "model" if line.who == "assistant" else "user"
