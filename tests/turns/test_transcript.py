"""What the application reads of a conversation, and its exports."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from getstream.plugins.gemini.live import Line, Transcript
from getstream.plugins.gemini.live._turns.transcript import LineStore


def transcript_of(*lines: Line, epoch_s: float = 0.0) -> Transcript:
    store = LineStore(epoch_s)
    for line in lines:
        store.insert(len(store.lines), line)
    return Transcript(store)


QUESTION = Line("user", "anna", "Anna", "When?", "When?", 1, 10.0, 11.5, True)
CUT = Line("assistant", "", "", "At nine. It is", "At nine.", 1, 75.25, 76.0, True)
OPEN = Line("assistant", "", "", "Well", "", 2, 80.0, None, False)


def test_it_is_a_sequence() -> None:
    transcript = transcript_of(QUESTION, CUT, OPEN)
    assert len(transcript) == 3
    assert list(transcript) == [QUESTION, CUT, OPEN]
    assert transcript[0] is QUESTION
    assert transcript[-1] is OPEN
    assert transcript[1:] == [CUT, OPEN]
    assert list(reversed(transcript)) == [OPEN, CUT, QUESTION]
    assert repr(transcript) == "<Transcript of 3 lines>"
    with pytest.raises(IndexError):
        transcript[3]


def test_an_iteration_does_not_stumble_over_what_is_added() -> None:
    store = LineStore()
    store.insert(0, QUESTION)
    for line in Transcript(store):
        store.insert(0, line)
    assert len(store.lines) == 2


def test_json() -> None:
    exported = json.loads(transcript_of(QUESTION, OPEN, epoch_s=1e9).to_json())
    assert exported["dropped"] == 0
    question, answer = exported["lines"]
    assert list(question) == [field.name for field in fields(Line)]
    assert question["text"] == "When?"
    assert (question["started_at"], question["ended_at"]) == (1e9 + 10, 1e9 + 11.5)
    assert (answer["ended_at"], answer["final"]) == (None, False)
    assert json.loads(transcript_of().to_json()) == {"dropped": 0, "lines": []}


def test_markdown() -> None:
    assert transcript_of(QUESTION, CUT, OPEN).to_markdown() == (
        "- `00:00` **Anna:** When?\n"
        "- `01:05` **assistant:** At nine\\. *(interrupted)*\n"
        "- `01:10` **assistant:** Well\n"
    ).replace("When?", "When\\?")
    assert transcript_of().to_markdown() == ""


HOSTILE = [
    "# heading\n## another\r\n\r\n- item\n\n    code",
    "<script>alert(1)</script> &amp; <img src=x onerror=y>",
    "[link](javascript:alert) ![image](http://x/y.png) <http://x> www.x.org a@b.org",
    "**bold** _under_ `code` ~~gone~~ | table | ``` fence",
    "\u202egnirts desrever \u2066x\u2069 \x00\x07\x1b[31m \u2028 next \x85 last",
    "\\[not escaped\\](x) \\`",
    "\ud800 half of a pair",
    '"quotes" \' and {braces} $x$',
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["text", "name", "user_id"])
def test_hostile_text_is_inert(text: str, field: str) -> None:
    values = {"text": "Hello", "name": "", "user_id": "anna"} | {field: text}
    line = Line("user", values["user_id"], values["name"], values["text"], values["text"], 1, 0.0,
                1.0, True)  # fmt: skip
    transcript = transcript_of(line)
    (parsed,) = json.loads(transcript.to_json())["lines"]
    assert parsed[field] == text
    markdown = transcript.to_markdown()
    assert markdown.startswith("- `00:00` **")
    assert markdown.splitlines() == [markdown[:-1]], "one item, on one line"
    own = markdown.removeprefix("- `00:00` **").replace(":** ", " ", 1)
    for index, char in enumerate(own[:-1]):
        if char in "<>@`*_[]!|~#$" and not own[index:].startswith("#64;"):
            assert index, own
            assert own[index - 1] == "\\", (char, own)
    assert not any(ord(char) < 32 or 0x202A <= ord(char) <= 0x2069 for char in own[:-1])
    markdown.encode("utf-8")
