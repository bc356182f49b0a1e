"""The transcript of a conversation: who said what, when, and how much of it was heard.

Standard library only; times are seconds of the event loop's clock, but for those of the exports.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, overload

MAX_LINES = 1000
"""Lines that are kept: a conversation of hours, with a change of speaker every 20 s."""

MAX_CHARS = 400_000
"""Characters that are kept: eight hours of talk, at 800 a minute."""

MAX_LINE_CHARS = 20_000
"""Characters of one line that are kept, the newest: 25 minutes without a pause."""

Who = Literal["user", "several", "assistant", "application"]
"""The side that says a line.

`user`: one participant, or nobody known. `several`: participants who cannot be told apart.
`application`: what the program has sent with `send_text` or `send_content`, which nobody hears.
"""


@dataclass(frozen=True)
class Line:
    """Something that one side has said without another one in between.

    A final line that changes, because text of it is late, keeps its `who` and `started_at`.

    Attributes:
        who: `"user"`, `"several"` (participants who cannot be told apart), `"assistant"`, or
            `"application"` (what was sent with `send_text` or `send_content`).
        user_id: the participant who speaks; "" for the others, and where nobody is known.
        name: the participant's name in the call; "" where it is not known.
        text: what is said, as far as its transcript has come.
        heard_text: the part of `text` that was heard: less than all of it in a turn of the
            assistant that was cut. Empty while such a turn is under way.
        turn: the turn of the assistant, or the one that answers this line; 0 while there is none,
            and where `send_content` has given the model words as its own.
        started_at: when it began, in seconds of the event loop's clock (`loop.time()`): when its
            speech began, or its first text or audio came where that is not known.
        ended_at: when its speech ended, on the same clock; None while it goes on.
        final: nothing is expected to change any more. Text that is late changes it all the same.
    """

    who: Who
    user_id: str
    name: str
    text: str
    heard_text: str
    turn: int
    started_at: float
    ended_at: float | None
    final: bool

    @property
    def spoken(self) -> str:
        """Return what was really said: of a final line only what was heard."""
        return self.heard_text if self.final else self.text


class LineStore:
    """Keeps lines in order; the oldest are forgotten beyond `MAX_LINES` and `MAX_CHARS`.

    Args:
        epoch_s: Unix time at which the event loop's clock was zero, in seconds.

    Attributes:
        lines: the lines, oldest first; to be read only.
        dropped: lines that were forgotten.
    """

    def __init__(self, epoch_s: float = 0.0) -> None:
        self.lines: list[Line] = []
        self.dropped = 0
        self.epoch_s = epoch_s
        self._size = 0

    def insert(self, place: int, line: Line) -> None:
        """Put a line in front of the one at a place."""
        self.lines.insert(place, line)
        self._grown(len(line.text))

    def replace(self, place: int, line: Line) -> None:
        """Set the line at a place."""
        grown = len(line.text) - len(self.lines[place].text)
        self.lines[place] = line
        self._grown(grown)

    def _grown(self, characters: int) -> None:
        """Take note of more text, and forget the oldest lines beyond the bounds."""
        self._size += characters
        excess = 0
        while len(self.lines) - excess > MAX_LINES or self._size > MAX_CHARS:
            self._size -= len(self.lines[excess].text)
            excess += 1
        if excess:
            del self.lines[:excess]
            self.dropped += excess


class Transcript:
    """Shows the lines of a conversation, oldest first; it can be iterated and indexed.

    The newest 1000 lines with together 400,000 characters are kept. An iteration goes over the
    lines that there are when it begins.

    Args:
        store: the lines.
    """

    def __init__(self, store: LineStore) -> None:
        self._store = store

    @property
    def dropped(self) -> int:
        """Number of lines that were forgotten, the oldest."""
        return self._store.dropped

    def __len__(self) -> int:
        return len(self._store.lines)

    def __iter__(self) -> Iterator[Line]:
        return iter(tuple(self._store.lines))

    @overload
    def __getitem__(self, index: int) -> Line: ...
    @overload
    def __getitem__(self, index: slice) -> list[Line]: ...
    def __getitem__(self, index: int | slice) -> Line | list[Line]:
        return self._store.lines[index]

    def __repr__(self) -> str:
        return f"<Transcript of {len(self)} lines>"

    def to_json(self) -> str:
        """Return the transcript as a JSON object: `{"dropped": 0, "lines": [...]}`.

        Each line has the fields of `Line`; `started_at` and `ended_at` are Unix times in seconds.
        """
        lines = [asdict(line) | self._unix_times(line) for line in self]
        return json.dumps({"dropped": self.dropped, "lines": lines}, allow_nan=False)

    def to_markdown(self) -> str:
        """Return the transcript as a Markdown list, one item for each line that was said.

        Times are minutes and seconds since the first line. Of the assistant only what was heard is
        there. Names and texts are escaped: nothing in them is markup, a link or HTML.
        """
        items = []
        for line in self:
            said = _escape(line.spoken)
            if not said:
                continue
            elapsed_s = max(0, round(line.started_at - self[0].started_at))
            minutes, seconds = divmod(elapsed_s, 60)
            cut = line.final and line.heard_text.strip() != line.text.strip()
            end = " *(interrupted)*" if cut else ""
            items.append(f"- `{minutes:02d}:{seconds:02d}` **{_label(line)}:** {said}{end}\n")
        return "".join(items)

    def _unix_times(self, line: Line) -> dict[str, Any]:
        epoch_s, ended_at = self._store.epoch_s, line.ended_at
        return {
            "started_at": round(line.started_at + epoch_s, 3),
            "ended_at": None if ended_at is None else round(ended_at + epoch_s, 3),
        }


def _label(line: Line) -> str:
    """Return how a line's speaker is called in Markdown."""
    if line.who == "user":
        return _escape(line.name or line.user_id) or "user"
    return line.who


_MARKUP = re.compile(r"([!-/:-@\[-`{-~])")
"""Every character of ASCII that can mean something in Markdown (CommonMark 0.31, section 2.4)."""

_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}
"""Entities of the characters that begin HTML, or an address of which a renderer makes a link."""


def _escape(text: str) -> str:
    """Return text on one line in which nothing is markup, and nothing turns the direction."""
    seen = "".join(" " if char.isspace() else char for char in text)
    # Cc: control; Cf: invisible, such as those that turn the direction; Cs: half of a pair.
    plain = "".join(char for char in seen if unicodedata.category(char) not in ("Cc", "Cf", "Cs"))
    single_spaced = " ".join(plain.split())
    return _MARKUP.sub(lambda found: _HTML.get(found[1], "\\" + found[1]), single_spaced)
