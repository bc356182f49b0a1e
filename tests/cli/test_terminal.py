"""Texts of others on a terminal: one clean line, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from getstream.plugins.gemini import cli
from getstream.plugins.gemini._cli import report
from getstream.plugins.gemini._cli.display import Display
from getstream.plugins.gemini._cli.join import TextReporter, _describe
from getstream.plugins.gemini._cli.narration import Line
from getstream.plugins.gemini._cli.subprocesses import Program
from getstream.plugins.gemini._terminal import (
    TerminalFormatter,
    format_exception,
    one_line,
    printable_lines,
)
from getstream.plugins.gemini.errors import CallError, ConfigError, ConnectionLostError
from hypothesis import given
from hypothesis import strategies as st

HOSTILE = {
    "clears the screen": ("a\x1b[2Jb", "ab"),
    "colours": ("\x1b[1;38;2;1;2;3mred\x1b[0m", "red"),
    "sets the title": ("a\x1b]0;owned\x07b", "ab"),
    "sets the clipboard": ("a\x1b]52;c;ZXZpbA==\x1b\\b", "ab"),
    "a link": ("\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "click"),
    "a string that nobody ends": ("a\x1b]0;the rest", "a0;the rest"),
    "device control": ("a\x1bP+q544e\x1b\\b", "ab"),
    "8-bit controls": ("a\x9b31mb\x9d0;x\x9cc\x90q\x9cd", "abcd"),
    "resets": ("a\x1bcb", "ab"),
    "changes the character set": ("a\x1b(0b", "ab"),
    "an escape at the end": ("a\x1b", "a"),
    "a sequence inside of a sequence": ("a\x1b[\x1b[2J31mb", "a31mb"),
    "forges lines": ("a\nb\r\nc\x0bd\x0ce\x85f\u2028g\u2029h", "a b c d e f g h"),
    "overwrites the line": ("good\rbad\x08\x7f", "good bad"),
    "reorders": ("user\u202egnp.exe\u2066x\u2069\u200f", "user gnp.exe x"),
    "hides": ("a\u200bb\ufeffc\u00add", "a b c d"),
    "half a surrogate pair": ("a\ud83d", "a"),
    "NUL and tabs": ("a\x00\tb", "a b"),
}
TEXT = "".join(text for text, _ in HOSTILE.values())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_text_becomes_one_clean_line(name: str) -> None:
    text, clean = HOSTILE[name]
    assert one_line(text) == clean


@given(st.text(st.characters(), max_size=60) | st.text("\x1b[]0;2Jm\x07\\P\x9b\n ab", max_size=40))
def test_whatever_comes_the_line_is_printable(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert one_line(line) == line


@pytest.mark.parametrize("text", ["Wie geht's? Grüße!", "你好，世界", "naïve 👍 é"])
def test_letters_of_all_languages_stay(text: str) -> None:
    assert one_line(text) == text


def test_several_lines_keep_their_ends_and_indents() -> None:
    assert printable_lines("a\n    b \x1b[2J\n\n c\rd") == "a\n    b\n\n c d"


# -- the places that print -----------------------------------------------------------------------

EVENTS: dict[str, dict[str, Any]] = {
    "connected": {},
    "joined": {"call_type": TEXT, "call_id": TEXT, "user_id": TEXT},
    "speech_started": {"user_id": TEXT},
    "turn_complete": {"text": TEXT, "turn": 1},
    "interrupted": {"heard_ms": 1.0, "heard_text": TEXT},
    "stalled": {"waited_ms": 1.0},
    "disconnected": {"reason": TEXT},
    "resumed": {"gap_ms": 1.0},
    "left": {"reason": TEXT},
}


@pytest.mark.parametrize("event", EVENTS)
def test_join_prints_one_clean_line(event: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _describe(event, EVENTS[event]).isprintable()
    TextReporter()(event, **EVENTS[event])
    printed = capsys.readouterr().out
    assert printed.endswith("\n")
    assert printed[:-1].isprintable()


def test_an_empty_transcript_is_told_as_such() -> None:
    assert _describe("turn_complete", {"text": " \n"}) == "assistant: (no transcript)"


def test_the_story_prints_clean_lines() -> None:
    for live in (False, True):
        stream = io.StringIO()
        Display(stream, live=live).tell(Line(1.0, "assistant", f"has said: {TEXT}"))
        said = stream.getvalue().partition("has said")[2]
        assert said.replace("\n", "").isprintable()


def test_the_numbers_of_a_call_are_printable_json() -> None:
    text = report._as_json({"text": TEXT, "ü": ["é", 1.5, None]})
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == {"text": TEXT, "ü": ["é", 1.5, None]}
    assert "ü" in text, "letters stay readable"


async def test_what_a_program_says_on_stderr_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    # `json.tool` complains of the file's name.
    program = Program("x", "json.tool", ["\x1b[2J\x9b31m"], {}, lambda _event: None, echo=True)
    async with program:
        await program.wait()
    assert program.stderr
    assert all(line.isprintable() for line in program.stderr)
    assert capsys.readouterr().err.replace("\n", "").isprintable()


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (ConnectionLostError(TEXT, reason=TEXT), 1),
        (CallError(TEXT), 1),
        (RuntimeError(TEXT), 1),
        (ConfigError("two lines\n  of our own \x1b[2J"), 2),
    ],
)
def test_the_command_line_ends_with_a_clean_message(
    error: Exception,
    lines: int,
    verbose: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_options: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main(["join", "call", *(["--verbose"] * verbose)]) == 1
    err = capsys.readouterr().err
    assert err.replace("\n", "").isprintable()
    assert ("Traceback" in err) is verbose
    if not verbose:
        assert len(err.splitlines()) == lines


def test_the_text_of_a_session_error_is_one_line_wherever_it_is_printed() -> None:
    error = ConnectionLostError(f"lost (1011: {TEXT})", reason=TEXT, remedy="Wait.")
    assert str(error).isprintable()
    assert error.reason == TEXT, "word for word, for programs"


def test_a_log_record_is_one_line_and_its_traceback_printable() -> None:
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError(TEXT)
    error = caught.value
    assert format_exception(error).replace("\n", "").isprintable()
    info = (RuntimeError, error, error.__traceback__)
    record = logging.LogRecord("a\nname", logging.ERROR, "", 1, "%s said %s", (TEXT, TEXT), info)
    first, *rest = TerminalFormatter("%(name)s: %(message)s").format(record).split("\n")
    assert first.isprintable()
    assert first.startswith("a name: a")
    assert rest[0] == "Traceback (most recent call last):"
    assert "".join(rest).isprintable()
