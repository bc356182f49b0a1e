"""Narration of a call on a terminal: scrolling lines, and moving level meters below them.

Without a terminal (a pipe, a log, `TERM=dumb`, or the user's `NO_COLOR`) only the lines are
written, without colours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import textwrap
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

from .._terminal import one_line
from .narration import ASSISTANT_ID, LOWEST_DB, PERSON_ID, CallNarrator, Line

__all__ = ["Display", "is_live"]

REFRESH_S = 0.1
METER_CELLS = 24

_FADE_DB_PER_S = 45.0
"""Rate at which a meter falls, in dB per second.

Stream reports levels several times a second, and none for silent participants."""

_IN_ASCII = str.maketrans("█·“”…–−", '#.""~--')

_COLOURS = {"person": "36", "assistant": "35", "": "2", "bold": "1"}
_INDENT = 20  # where the text of a line begins


def is_live(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Return whether a stream is a terminal on which meters can be redrawn."""
    return (
        stream.isatty()
        and not environment.get("NO_COLOR")
        and environment.get("TERM", "dumb") != "dumb"
    )


class Display:
    """Show the narration of a call while it happens.

    Args:
        stream: Output stream; by default stdout.
        live: True to draw meters; by default if the stream is a terminal.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._live = is_live(self._stream, os.environ) if live is None else live
        self._clock = clock
        self._drawn = 0  # lines of the picture that are on the screen
        self._meters = {"person": _Meter(PERSON_ID), "assistant": _Meter(ASSISTANT_ID)}
        # A terminal that cannot show the signs gets others; nothing may raise during a call.
        encoding = getattr(self._stream, "encoding", None) or "ascii"
        try:
            "█·“”…–−".encode(encoding)
            self._plain_signs = False
        except (UnicodeEncodeError, LookupError):
            self._plain_signs = True

    def write(self, text: str) -> None:
        """Write text unchanged, with a line end."""
        self._write(self._erase() + self._signs(text) + "\n")

    def tell(self, line: Line) -> None:
        """Write a line of the narration; its text comes from others, and is made printable."""
        told = one_line(line.text)
        when = "        " if line.time is None else f"{line.time:6.1f} s"
        head = f"{when}  {self._paint(line.who, f'{line.who:<9}')} "
        text = [told]
        if self._live:
            text = textwrap.wrap(told, max(20, self._columns() - _INDENT)) or text
        self.write(head + f"\n{' ' * _INDENT}".join(text))

    @contextlib.contextmanager
    def following(self, narrator: CallNarrator) -> Iterator[None]:
        """Draw the meters while the block runs, in the running event loop."""
        if not self._live:
            yield
            return
        task = asyncio.get_running_loop().create_task(self._follow(narrator))
        try:
            yield
        finally:
            task.cancel()
            self._write(self._erase())

    async def _follow(self, narrator: CallNarrator) -> None:
        while True:
            self.draw(narrator)
            await asyncio.sleep(REFRESH_S)

    def draw(self, narrator: CallNarrator) -> None:
        """Redraw the meters over the previous ones."""
        now = self._clock()
        columns = self._columns()
        person = f"says {narrator.saying}" if narrator.saying else "listens"
        assistant = "listens"
        if narrator.answering:
            assistant = f"says {narrator.said}"
        rows = [
            "",
            self._row("person", person, narrator, now, columns),
            self._row("assistant", assistant, narrator, now, columns),
            self._paint("", _cut(self._status(narrator, now), columns)),
        ]
        picture = "".join(f"{row}\n" for row in rows)
        self._write(self._erase() + self._signs(picture))
        self._drawn = len(rows)

    def _columns(self) -> int:
        return max(40, shutil.get_terminal_size().columns) - 1

    def _row(self, who: str, doing: str, narrator: CallNarrator, now: float, columns: int) -> str:
        level = self._meters[who].level(narrator, now)
        filled = round((level - LOWEST_DB) / -LOWEST_DB * METER_CELLS)
        bar = "█" * filled + "·" * (METER_CELLS - filled)
        reading = f"{level:4.0f} dB" if level > LOWEST_DB else "       "
        room = columns - (2 + 9 + 2 + METER_CELLS + 2 + 7 + 2)
        head = self._paint(who, f"{who:<9}  {bar}")
        return f"  {head}  {reading}  {_cut(one_line(doing), room)}"

    def _status(self, narrator: CallNarrator, now: float) -> str:
        if narrator.zero is None:
            return "  the call is being set up"
        facts = [f"{max(0.0, now - narrator.zero):.1f} s", f"turn {narrator.turns}"]
        if narrator.latency is not None:
            facts.append(f"answer after {narrator.latency * 1000:.0f} ms")
        if narrator.silenced is not None:
            facts.append(
                f"{narrator.interruptions} interruption{'s' * (narrator.interruptions != 1)}, "
                f"silent after {narrator.silenced * 1000:.0f} ms"
            )
        return "  " + " · ".join(facts)

    def _paint(self, role: str, text: str) -> str:
        return f"\x1b[{_COLOURS[role]}m{text}\x1b[0m" if self._live else text

    def _erase(self) -> str:
        """Return the control sequence that removes the meters: up, and clear to the end."""
        drawn, self._drawn = self._drawn, 0
        return f"\x1b[{drawn}F\x1b[J" if drawn else ""

    def _signs(self, text: str) -> str:
        if not self._plain_signs:
            return text
        return text.translate(_IN_ASCII).encode("ascii", "replace").decode("ascii")

    def _write(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()


class _Meter:
    """Level meter that rises at once and falls slowly, like the needle of an instrument."""

    def __init__(self, user_id: str) -> None:
        self._user_id = user_id
        self._level = LOWEST_DB
        self._drawn_at = 0.0
        self._seen_at = 0.0

    def level(self, narrator: CallNarrator, now: float) -> float:
        fallen = self._level - _FADE_DB_PER_S * (now - self._drawn_at)
        reported_at, reported = narrator.levels.get(self._user_id, (0.0, LOWEST_DB))
        if reported_at != self._seen_at:
            self._seen_at = reported_at
            fallen = max(fallen, reported)
        self._drawn_at = now
        self._level = min(0.0, max(LOWEST_DB, fallen))
        return self._level


def _cut(text: str, width: int) -> str:
    """Return the text, cut to `width` cells."""
    used = 0
    for position, char in enumerate(text):
        used += 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if used > width:
            return text[: max(0, position - 1)].rstrip() + "…" if width > 1 else ""
    return text
