"""Read the description of a function and of its arguments from its docstring.

Three styles are read: Google (`Args:`), NumPy (`Parameters` underlined) and reST (`:param x:`).
"""

from __future__ import annotations

import inspect
import re

__all__ = ["read_docstring"]

_GOOGLE = re.compile(
    r"(args|arguments|parameters|params|keyword args|keyword arguments|other parameters|returns?"
    r"|yields?|raises|examples?|notes?|see also|warnings?|attributes|references|todo):\s*$",
    re.IGNORECASE,
)
_OF_ARGUMENTS = re.compile(r"(key|arg|param|other param)", re.IGNORECASE)
_GOOGLE_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(\([^)]*\))?\s*:\s*(.*)$")
_NUMPY_ENTRY = re.compile(r"\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?$")
_UNDERLINE = re.compile(r"-{3,}\s*$")
_REST_FIELD = re.compile(r":(\w+)\s*([^:]*):\s*(.*)$")


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """Return what a docstring says of the function, and of each argument.

    Args:
        text: The docstring, or None.

    Returns:
        The text before the first section, and descriptions by the name of the argument; each is
        one line.
    """
    lines = inspect.cleandoc(text or "").splitlines()
    about: list[str] = []
    arguments: dict[str, list[str]] = {}
    number = 0
    while number < len(lines):
        line = lines[number]
        underlined = number + 1 < len(lines) and _UNDERLINE.match(lines[number + 1])
        if underlined and line.strip():
            number = _read_numpy(lines, number, arguments)
        elif _GOOGLE.match(line):
            number = _read_google(lines, number, arguments)
        elif _REST_FIELD.match(line):
            number = _read_rest(lines, number, arguments)
        else:
            about.append(line)
            number += 1
    return _paragraphs(about), {name: _one_line(parts) for name, parts in arguments.items()}


def _read_google(lines: list[str], number: int, arguments: dict[str, list[str]]) -> int:
    """Read a section with an indented body; return the number of the line after it."""
    is_wanted = _OF_ARGUMENTS.match(lines[number]) is not None
    number += 1
    body = number
    while number < len(lines) and (not lines[number].strip() or lines[number][0] in " \t"):
        number += 1
    if is_wanted:
        entries = [line for line in lines[body:number] if line.strip()]
        indent = min((_indent(line) for line in entries), default=0)
        current: list[str] | None = None
        for line in entries:
            match = _GOOGLE_ENTRY.match(line.strip()) if _indent(line) == indent else None
            if match:
                current = arguments.setdefault(match[1], [])
                current.append(match[3])
            elif current is not None:
                current.append(line)
    return number


def _read_numpy(lines: list[str], number: int, arguments: dict[str, list[str]]) -> int:
    """Read an underlined section; return the number of the line after it."""
    is_wanted = _OF_ARGUMENTS.match(lines[number]) is not None
    number += 2
    current: list[list[str]] = []
    while number < len(lines):
        line = lines[number]
        if line.strip() and number + 1 < len(lines) and _UNDERLINE.match(lines[number + 1]):
            break
        match = _NUMPY_ENTRY.match(line) if line.strip() and not _indent(line) else None
        if match and is_wanted:
            names = [name.strip() for name in match[1].split(",")]
            current = [arguments.setdefault(name, []) for name in names]
        elif is_wanted and line.strip():
            for each in current:
                each.append(line)
        number += 1
    return number


def _read_rest(lines: list[str], number: int, arguments: dict[str, list[str]]) -> int:
    """Read a field with what is indented below it; return the number of the line after it."""
    match = _REST_FIELD.match(lines[number])
    assert match is not None
    parts = [match[3]]
    number += 1
    while number < len(lines) and lines[number].strip() and lines[number][0] in " \t":
        parts.append(lines[number])
        number += 1
    words = match[2].split()
    if match[1] in ("param", "parameter", "arg", "argument", "key", "keyword") and words:
        arguments.setdefault(words[-1].lstrip("*"), []).extend(parts)
    return number


def _paragraphs(lines: list[str]) -> str:
    """Join the lines of each paragraph; paragraphs stay apart."""
    blocks = re.split(r"\n\s*\n", "\n".join(lines).strip())
    return "\n".join(" ".join(block.split()) for block in blocks if block.strip())


def _one_line(parts: list[str]) -> str:
    return " ".join(" ".join(parts).split())


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
