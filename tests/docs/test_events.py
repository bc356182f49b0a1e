"""The tables of events name every event, its class, and what a handler gets."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import Any

import pytest
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.live._events import EVENT_TYPES, Event
from pages import DOCS

_ROW = re.compile(
    r"\| `(\w+)` \| \[`(\w+)`\]\[getstream\.plugins\.gemini\.live\.(\w+)\] \| (.+?) \| "
)


def rows() -> dict[str, tuple[str, str, str]]:
    """Return what the page says of each event: its class, the class linked to, the argument."""
    page = (DOCS / "reference" / "events.md").read_text(encoding="utf-8")
    found = [_ROW.match(line) for line in page.splitlines() if line.startswith("| `")]
    assert all(found), "every row has the four columns"
    return {row[1]: (row[2], row[3], row[4]) for row in found if row}


def argument_of(event_type: type[Event]) -> str:
    """Return how the page has to call what a handler of an event gets."""
    values: dict[str, Any] = {field.name: object() for field in fields(event_type)}
    event = event_type(**values)
    arguments = event.arguments()
    if arguments == ():
        return "nothing"
    (argument,) = arguments
    if argument is event:
        return "the event"
    (name,) = (name for name, value in values.items() if value is argument)
    (kind,) = (field.type for field in fields(event_type) if field.name == name)
    return f"`{name}`, `{kind}`"


def test_the_page_has_every_event_in_order() -> None:
    assert list(rows()) == list(EVENT_TYPES)


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_the_page_says_what_a_handler_gets(name: str) -> None:
    named, linked, argument = rows()[name]
    assert named == linked == EVENT_TYPES[name].__name__
    plain = re.sub(r"\[(`\w+`)\]\[[\w.]+\]", r"\1", argument).replace("\\|", "|")
    assert plain == argument_of(EVENT_TYPES[name])


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_the_page_describes_each_class(name: str) -> None:
    page = (DOCS / "reference" / "events.md").read_text(encoding="utf-8")
    assert f"\n::: getstream.plugins.gemini.live.{EVENT_TYPES[name].__name__}\n" in page


def test_the_docstring_has_every_event_in_order() -> None:
    table = re.search(r"^=+  =+\n(.*?)^=+  =+$", inspect.getdoc(GeminiLive) or "", re.M | re.S)
    assert table is not None
    told = re.findall(r"^`(\w+)` ", table[1], re.MULTILINE)
    assert told == list(EVENT_TYPES)
