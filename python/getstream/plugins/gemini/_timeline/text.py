"""Text of the picture: its width, its breaking into lines, and numbers as text."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Advance widths of ASCII 32..126 in 1/100 em, DejaVu Sans: the widest of the usual sans-serif
# fonts, so that a label which fits by this table fits in all of them.
# fmt: off
_ADVANCE: Final = (
    32, 41, 46, 84, 64, 96, 78, 28, 40, 40, 50, 84, 32, 37, 32, 34, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 34, 34, 84, 84, 84, 54, 100, 69, 69, 70, 78, 64,
    58, 78, 76, 30, 30, 66, 56, 87, 75, 79, 61, 79, 70, 64, 62, 74, 69, 99, 69,
    62, 69, 40, 34, 40, 84, 50, 50, 62, 64, 55, 64, 62, 36, 64, 64, 28, 28, 58,
    28, 98, 64, 62, 64, 64, 42, 53, 40, 64, 60, 82, 60, 60, 53, 64, 34, 64, 84,
)
# fmt: on
_ADVANCE_SIGNS: Final = {
    **dict.fromkeys("·‘’", 32),
    **dict.fromkeys("–“”", 52),
    **dict.fromkeys("−×→", 84),
}


def text_width(text: str, size: float) -> float:
    """Return an upper estimate of the width of a text in pixels."""
    hundredths = 0
    for char in text:
        code = ord(char)
        if 32 <= code < 127:
            hundredths += _ADVANCE[code - 32]
        elif unicodedata.combining(char) or unicodedata.category(char) == "Cf":
            continue
        elif unicodedata.east_asian_width(char) in "WF":
            hundredths += 120  # CJK is 1 em, emoji are up to 1.2
        else:
            base = ord(unicodedata.normalize("NFD", char)[0])  # an accent adds no width
            hundredths += _ADVANCE[base - 32] if base < 127 else _ADVANCE_SIGNS.get(char, 105)
    return hundredths * size / 100


def truncate(text: str, width: float, size: float) -> str:
    """Shorten a text with an ellipsis to fit; empty when not even two characters fit."""
    if text_width(text, size) <= width:
        return text
    room = width - text_width("…", size)
    used = 0.0
    for count, char in enumerate(text):
        used += text_width(char, size)
        if used > room:
            kept = text[:count]
            words, _, part = kept.rpartition(" ")
            if words and char != " " and len(part) < 12:  # rather a word less than a broken one
                kept = words
            kept = kept.rstrip()
            return f"{kept}…" if len(kept) >= 2 else ""
    raise AssertionError("a text that does not fit has a character that does not fit")


def wrap(text: str, width: float, size: float, max_lines: int) -> list[str]:
    """Break a text at spaces into lines that fit; the last may end in an ellipsis."""
    lines: list[str] = []
    rest = text
    while rest and len(lines) < max_lines - 1 and text_width(rest, size) > width:
        line = ""
        for word in rest.split(" "):
            longer = f"{line} {word}" if line else word
            if text_width(longer, size) > width:
                break
            line = longer
        if not line:  # one word wider than the line, or a script without spaces
            break
        lines.append(line)
        rest = rest[len(line) :].lstrip()
    last = truncate(rest, width, size)
    return [*lines, last] if last else lines


# What XML 1.0 cannot hold, not even escaped: control characters, surrogates, U+FFFE and U+FFFF.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """Return a text as one line that XML can hold."""
    return " ".join(_NOT_XML.sub("\ufffd", text).split())


def num(value: float) -> str:
    """Return a number with two decimals at most, as short as it gets."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def clock_text(seconds: float) -> str:
    """``m:ss.mmm``, or ``h:mm:ss.mmm``."""
    millis = round(abs(seconds) * 1000)
    minutes, millis = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    sign = "\u2212" if seconds < 0 and (hours or minutes or millis) else ""
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{sign}{head}:{millis // 1000:02d}.{millis % 1000:03d}"


def length_text(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return clock_text(round(seconds)).rpartition(".")[0]


def delay_text(seconds: float) -> str:
    # By way of tenths, as reports are rounded: 112.46 ms is not 112 here and 112.5, or 113, there.
    return f"{seconds:.2f} s" if seconds >= 9.9995 else f"{round(seconds * 1000, 1):.0f} ms"


def count_text(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def signed(number: int) -> str:
    return f"−{-number}" if number < 0 else str(number)
