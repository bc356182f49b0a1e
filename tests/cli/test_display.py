"""Tests of the narration of a call, and of its display on a terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini._cli.clips import Clip
from getstream.plugins.gemini._cli.display import Display, is_live
from getstream.plugins.gemini._cli.narration import (
    ASSISTANT_ID,
    PERSON_ID,
    CallNarrator,
    Line,
    one_line,
)

NO_CONTOUR = np.zeros(0, dtype=np.float32)
NO_SAMPLES = np.zeros(0, np.int16)
CLIPS = [
    Clip(Path("a.wav"), "How do you do?", 3.0, ((0.1, 2.8),), NO_CONTOUR, NO_SAMPLES, 16_000),
    Clip(Path("b.wav"), "Never mind.", 2.0, ((0.1, 1.9),), NO_CONTOUR, NO_SAMPLES, 16_000),
]


class Teller:
    """Narration, and the lines that it has emitted."""

    def __init__(self, clips: list[Clip] = CLIPS) -> None:
        self.lines: list[Line] = []
        self.narrator = CallNarrator(clips, self.lines.append)

    def person(self, name: str, t: float, **details: Any) -> None:
        self.narrator.on_person({"event": name, "t": t, **details})

    def assistant(self, name: str, t: float, **details: Any) -> None:
        self.narrator.on_assistant({"event": name, "t": t, **details})

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]


@pytest.fixture
def teller() -> Teller:
    """Make a narration: the person's clock begins at 100, the assistant joins at 102."""
    teller = Teller()
    teller.person("joined", 0.0, started_at=100.0)
    teller.assistant("connected", 101.9)
    teller.assistant("joined", 102.0)
    teller.assistant("audio_started", 102.3, turn=1)
    teller.assistant("text", 102.3, text="Hello\n there.")
    teller.person("speech_started", 2.5, user_id=ASSISTANT_ID)
    teller.person("speech_stopped", 3.5, user_id=ASSISTANT_ID)
    teller.person("say_started", 4.4)
    teller.person("say_stopped", 7.4)
    teller.assistant("audio_started", 107.6, turn=2)
    teller.assistant("text", 107.6, text="How do you do?")
    teller.person("speech_started", 7.8, user_id=ASSISTANT_ID)
    return teller


def test_greeting_and_answer(teller: Teller) -> None:
    assert teller.texts == [
        "joins the call",
        "is connected to Gemini Live",
        "joins the call",
        "greets",
        "has said: “Hello there.”",
        "says: “How do you do?”",
        "answers, 600 ms after the person's last word",  # 7.8 - (4.4 + 2.8)
    ]
    times = [line.time for line in teller.lines]
    assert times[:2] == [None, None], "before the call there is no time"
    assert times[2:] == pytest.approx([0.0, 0.5, 1.5, 2.5, 5.8])
    assert teller.narrator.latency == pytest.approx(0.6)
    assert teller.narrator.turns == 2


def test_a_pause_in_an_answer_is_not_a_new_one(teller: Teller) -> None:
    told = len(teller.lines)
    teller.person("speech_stopped", 8.4, user_id=ASSISTANT_ID)
    teller.person("speech_started", 8.8, user_id=ASSISTANT_ID)
    assert teller.narrator.answering
    assert len(teller.lines) == told
    teller.person("speech_stopped", 9.9, user_id=ASSISTANT_ID)
    teller.person("left", 11.0)
    assert teller.texts[told:] == ["has said: “How do you do?”", "leaves the call"]
    assert teller.lines[told].time == pytest.approx(7.9)


@pytest.mark.parametrize("first", ["the person notices", "the assistant reports"])
def test_interruption(teller: Teller, first: str) -> None:
    told = len(teller.lines)
    teller.person("say_started", 9.0)
    assert teller.narrator.saying == "Never mind."
    if first == "the person notices":
        teller.person("speech_stopped", 9.25, user_id=ASSISTANT_ID)
        teller.assistant("interrupted", 109.7, turn=2)
    else:
        teller.assistant("interrupted", 109.2, turn=2)
        teller.person("speech_stopped", 9.25, user_id=ASSISTANT_ID)
    teller.person("say_stopped", 11.0)
    assert teller.texts[told:] == [
        "interrupts: “Never mind.”",
        "gives way, silent 150 ms after the person's first word",
    ]
    assert teller.narrator.interruptions == 1
    assert teller.narrator.silenced == pytest.approx(0.15)
    teller.assistant("audio_started", 111.4, turn=3)
    teller.person("speech_started", 11.5, user_id=ASSISTANT_ID)
    assert teller.texts[-1] == "answers, 600 ms after the person's last word"


def test_a_pause_in_the_persons_speech_is_answered_and_ended() -> None:
    teller = Teller(
        [
            Clip(
                Path("a.wav"),
                "One. Two.",
                5.0,
                ((0.1, 1.0), (2.0, 4.9)),
                NO_CONTOUR,
                NO_SAMPLES,
                16_000,
            )
        ]
    )
    teller.person("joined", 0.0, started_at=100.0)
    teller.assistant("joined", 100.0)
    teller.person("say_started", 1.0)
    teller.assistant("audio_started", 102.6, turn=1)
    teller.person("speech_started", 2.7, user_id=ASSISTANT_ID)
    teller.assistant("interrupted", 103.1, turn=1)
    teller.person("speech_stopped", 3.2, user_id=ASSISTANT_ID)
    teller.person("say_stopped", 6.0)
    teller.assistant("audio_started", 106.2, turn=2)
    teller.person("speech_started", 6.4, user_id=ASSISTANT_ID)
    assert teller.texts[2:] == [
        "says: “One. Two.”",
        "answers, 700 ms after the person's last word",
        "gives way, silent 200 ms after the person's first word",
        "answers, 500 ms after the person's last word",
    ]


def test_a_second_turn_in_a_row_answers_nothing(teller: Teller) -> None:
    teller.person("speech_stopped", 9.0, user_id=ASSISTANT_ID)
    teller.assistant("audio_started", 109.5, turn=3)
    teller.person("speech_started", 9.6, user_id=ASSISTANT_ID)
    assert teller.texts[-1] == "speaks"


def test_texts_are_kept_from_steering_the_terminal() -> None:
    assert one_line("a\x1b[2Jb\r\n  c\u202e") == "ab c"


# -- on the screen --------------------------------------------------------------------------------


class Screen(io.StringIO):
    def __init__(self, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self._terminal = terminal
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("terminal", "environment", "live"),
    [
        (True, {"TERM": "xterm-256color"}, True),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {}, False),
        (False, {"TERM": "xterm-256color"}, False),
    ],
)
def test_when_it_is_live(terminal: bool, environment: dict[str, str], live: bool) -> None:
    assert is_live(Screen(terminal), environment) is live


def test_plain_lines_are_plain(teller: Teller) -> None:
    screen = Screen(terminal=False)
    display = Display(screen)
    for line in teller.lines:
        display.tell(line)
    printed = screen.getvalue()
    assert "\x1b" not in printed
    assert printed.splitlines()[-1] == (
        "   5.8 s  assistant answers, 600 ms after the person's last word"
    )


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", text)


def test_live_picture(teller: Teller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    screen = Screen(terminal=True)
    now = 108.0
    display = Display(screen, live=True, clock=lambda: now)
    # Stream's scale: 1 is 0 dBov, 0 is -127 dBov.
    teller.assistant("levels", 108.0, levels={ASSISTANT_ID: 1 - 30 / 127})
    display.draw(teller.narrator)
    rows = plain(screen.getvalue()).splitlines()
    assert [len(row) < 80 for row in rows] == [True] * len(rows)
    assert "listens" in rows[1]
    assert "█" not in rows[1]
    assert rows[2].count("█") == 12, "-30 dB is half of the meter"
    assert "-30 dB" in rows[2]
    assert "says How do you do?" in rows[2]
    assert rows[3].strip() == "6.0 s · turn 2 · answer after 600 ms"

    drawn = len(rows)
    screen.truncate(0)
    now += 0.2
    display.draw(teller.narrator)
    assert screen.getvalue().lstrip("\0").startswith(f"\x1b[{drawn}F\x1b[J"), "drawn over"
    falling = plain(screen.getvalue()).splitlines()[2].count("█")
    assert 0 < falling < 12, "a meter falls when nothing more is reported"

    screen.truncate(0)
    display.tell(Line(1.0, "person", "says something"))
    text = screen.getvalue().lstrip("\0")
    assert text.startswith(f"\x1b[{drawn}F\x1b[J"), "a line takes the place of the picture"
    assert plain(text) == "   1.0 s  person    says something\n"
    screen.truncate(0)
    display.tell(Line(1.0, "person", "word " * 40))
    wrapped = plain(screen.getvalue().lstrip("\0")).splitlines()
    assert len(wrapped) > 2
    assert all(len(row) < 80 for row in wrapped)


def test_a_long_transcript_is_cut(teller: Teller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    screen = Screen(terminal=True)
    teller.assistant("text", 108.0, text=" 你好" * 60)
    Display(screen, live=True, clock=lambda: 108.0).draw(teller.narrator)
    row = plain(screen.getvalue()).splitlines()[2]
    assert row.endswith("…")
    assert sum(2 if ord(char) > 0x2FFF else 1 for char in row) < 80


def test_a_terminal_without_the_signs(teller: Teller) -> None:
    screen = Screen(terminal=True, encoding="ascii")
    display = Display(screen, live=True, clock=lambda: 108.0)
    teller.assistant("levels", 108.0, levels={PERSON_ID: 0.9, ASSISTANT_ID: 0.9})
    display.draw(teller.narrator)
    display.tell(teller.lines[-2])
    assert screen.getvalue().isascii()
    assert "#" in screen.getvalue()
