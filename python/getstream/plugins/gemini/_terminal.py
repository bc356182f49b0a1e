"""Make text of others safe to print on a terminal.

Close reasons of a service, transcripts and names are written by whoever is at the other end. On a
terminal they must neither steer it (ECMA-48 escape sequences: clear the screen, set the clipboard)
nor look like other text (line ends that forge a line, bidirectional controls that reorder one,
CVE-2021-42574).
"""

from __future__ import annotations

import logging
import re
import traceback
from types import TracebackType

__all__ = ["TerminalFormatter", "format_exception", "one_line", "printable_lines"]

_ESCAPE_SEQUENCE = re.compile(
    # ECMA-48, section 5.4: control sequences; 5.6: control strings, which BEL ends too (xterm). A
    # string that nobody ends loses its introducer only, or a text could hide all that follows.
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]?"
)


def one_line(text: str) -> str:
    """Return text as one line: no escape sequence, control, line end or double space."""
    return " ".join(_without_controls(text).split())


def printable_lines(text: str) -> str:
    """Return text with its line ends and indents, and nothing else that steers a terminal.

    For text of our own that has several lines, such as a traceback.
    """
    return "\n".join(_without_controls(line).rstrip() for line in text.split("\n"))


def format_exception(error: BaseException) -> str:
    """Return a traceback that is safe to print: each message on lines of its own."""
    return printable_lines("".join(traceback.format_exception(error)))


class TerminalFormatter(logging.Formatter):
    """Formats each log record as one printable line, and its traceback as printable lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """Return the line of a record."""
        return one_line(super().formatMessage(record))

    def formatException(  # noqa: N802 (logging's name)
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        """Return the traceback of a record."""
        return printable_lines(super().formatException(ei))


def _without_controls(text: str) -> str:
    """Replace whatever is not printable, as `str.isprintable` has it, by a space."""
    if text.isprintable():
        return text
    plain = _ESCAPE_SEQUENCE.sub("", text)
    return "".join(char if char.isprintable() else " " for char in plain)
