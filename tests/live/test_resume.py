"""A conversation that goes on elsewhere: `Resumption`, `resume=`, `history=`, on real sockets."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from getstream.plugins.gemini.errors import ConfigError, ConnectError
from getstream.plugins.gemini.live import GeminiLive, Resumption, ResumptionEvent
from getstream.plugins.gemini.live import _resumption as resumption_module
from getstream.plugins.gemini.live._session import resume_source
from getstream.plugins.gemini.live._turns.history import MAX_HISTORY_CHARS
from getstream.plugins.gemini.recording._format import plain
from getstream.plugins.gemini.testing import (
    INVALID_HANDLE,
    LiveSession,
    LocalGemini,
    Parrot,
    ResumptionOptions,
    Script,
    Turn,
)
from getstream.plugins.gemini.testing.clock import run_virtual
from google.genai import types
from room import GRACE, TEXT, Local, Room, hold, voice, words

MODEL = "gemini-3.8-live"
LINES = (("user", "My name is Anna."), ("model", "Hello Anna."))
SECRET = "handle-0-secret"


def kept(handle: str = SECRET, model: str = MODEL, lines: Any = LINES, at: float = 1e9) -> Any:
    return Resumption(handle, model, lines, at)


def play(
    local: Local, scenario: Callable[[LocalGemini], Awaitable[None]], **server_options: Any
) -> None:
    async def main() -> None:
        async with local(Parrot(), **server_options) as server:
            await scenario(server)

    run_virtual(main(), grace=GRACE)


def seed_of(session: LiveSession) -> list[tuple[str, str]]:
    """Return what the session was begun with."""
    frames = [frame for frame in session.frames if frame.kind == "clientContent"]
    return [
        (turn["role"], turn["parts"][0]["text"])
        for frame in frames
        for turn in frame.message["clientContent"]["turns"]
    ]


# -- the object --------------------------------------------------------------------------------


def test_a_resumption_is_the_same_after_json() -> None:
    before = kept(at=123.5)
    text = before.to_json()
    assert json.loads(text)["version"] == 1
    assert Resumption.from_json(text) == before
    assert Resumption.from_json(text.encode()) == before
    assert Resumption.from_json(text).lines == LINES


def test_it_shows_neither_its_handle_nor_what_was_said() -> None:
    shown = [repr(kept()), str(kept()), f"{kept()}", repr(ResumptionEvent(kept()))]
    for text in shown:
        assert SECRET not in text
        assert "Anna" not in text
        assert MODEL in text


def test_a_recording_does_not_hold_the_handle() -> None:
    """The recorder writes the fields of every event."""
    written = json.dumps(plain(ResumptionEvent(kept())))
    assert SECRET not in written
    assert MODEL in written
    assert "Anna" in written, "what is said is recorded anyway"


@pytest.mark.parametrize(
    "values",
    [
        {"handle": None},
        {"model": ""},
        {"model": 3},
        {"at": -1.0},
        {"at": float("nan")},
        {"at": True},
        {"lines": "text"},
        {"lines": [("user",)]},
        {"lines": [("assistant", "Hello.")]},
        {"lines": [("user", "")]},
        {"lines": [("user", b"Hello.")]},
        {"lines": 3},
    ],
)
def test_a_resumption_of_anything_else_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        kept(**values)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"version": 1}',
        '{"version": 2, "handle": "", "model": "m", "lines": [], "at": 0}',
        '{"version": true, "handle": "", "model": "m", "lines": [], "at": null}',
        " " * (resumption_module.MAX_JSON_CHARS + 1),
        b"\xff",
        None,
        {},
    ],
)
def test_json_of_anything_else_is_refused_and_not_shown(text: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Resumption.from_json(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("model", "age_s", "worth_trying"),
    [
        (MODEL, 0.0, True),
        (f"models/{MODEL}", 7199.0, True),
        (MODEL, 7200.0, False),
        ("gemini-2.5-flash-native-audio-latest", 0.0, False),
    ],
)
def test_a_handle_is_of_one_model_and_lasts_two_hours(
    model: str, age_s: float, worth_trying: bool
) -> None:
    assert kept(at=1000.0).handle_for(model, 1000.0 + age_s) == (SECRET if worth_trying else "")


# -- from one session to the next ----------------------------------------------------------------


async def _greeted(gemini: GeminiLive) -> None:
    done = asyncio.Event()
    gemini.once("turn_complete", done.set)
    await gemini.send_text("My name is Anna.")
    await asyncio.wait_for(done.wait(), 60)


def test_a_second_process_goes_on_with_the_same_session(local: Local) -> None:
    told: list[Resumption] = []
    stored: list[str] = []

    async def scenario(server: LocalGemini) -> None:
        async with GeminiLive(playback=False) as gemini:  # what it says counts as heard
            assert gemini.resumption is None or gemini.resumption.lines == ()
            gemini.on("resumption", told.append)
            await _greeted(gemini)
            await server.sessions[0].announce_handle()
            await asyncio.sleep(5)
        assert gemini.resumption is not None
        stored.append(gemini.resumption.to_json())
        assert told[-1].handle == gemini.resumption.handle
        async with GeminiLive(resume=Resumption.from_json(stored[0])):
            second = await server.wait_session(1)
            assert second.resumed_from == told[-1].handle
            assert seed_of(second) == []
            assert "My name is Anna." in second.context

    play(local, scenario)
    assert told[-1].lines[0] == ("user", "My name is Anna.")
    assert told[-1].lines[1][0] == "model"
    assert len({each.handle for each in told}) >= 2, "each new handle is told"


@pytest.mark.parametrize("refusal", ["unknown", "other model", "too old", "none"])
def test_a_handle_that_is_of_no_use_becomes_a_new_session_with_the_lines(
    local: Local, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(server: LocalGemini) -> None:
        before = kept(
            handle="" if refusal == "none" else SECRET,
            model="gemini-3.1-flash-live-preview" if refusal == "other model" else MODEL,
            at=1000.0 if refusal == "too old" else 4e9,
        )
        async with GeminiLive(resume=before) as gemini:
            session = server.sessions[-1]
            assert session.resumed_from is None
            assert seed_of(session) == list(LINES)
            assert gemini.resumption is not None
            assert gemini.resumption.lines == LINES
            assert len(server.sessions) == (2 if refusal == "unknown" else 1)

    with caplog.at_level(logging.DEBUG):
        play(local, scenario, resumption=ResumptionOptions(refusal=INVALID_HANDLE))
    assert SECRET not in caplog.text
    assert "Anna" not in caplog.text


def test_a_model_that_takes_history_as_content_gets_the_lines(local: Local) -> None:
    model = "gemini-2.5-flash-native-audio-latest"

    async def scenario(server: LocalGemini) -> None:
        async with GeminiLive(model=model, resume=kept(model=model, handle="")):
            await server.sessions[0].wait_frames("clientContent")
            assert seed_of(server.sessions[0]) == list(LINES)
            assert server.sessions[0].spoken == []

    play(local, scenario)


def test_what_went_before_is_kept_for_the_next_loss(local: Local) -> None:
    """The lines of the earlier session seed the session after a loss, too."""

    async def scenario(server: LocalGemini) -> None:
        async with GeminiLive(resume=kept(handle="")) as gemini:
            resumed = asyncio.Event()
            gemini.on("resumed", resumed.set)
            await _greeted(gemini)
            await server.sessions[0].close(1007, "Request contains an invalid argument.")
            await asyncio.wait_for(resumed.wait(), 60)
            assert seed_of(server.sessions[-1])[:3] == [*LINES, ("user", "My name is Anna.")]

    play(local, scenario)


def test_without_handles_the_lines_are_enough(local: Local) -> None:
    async def scenario(server: LocalGemini) -> None:
        async with GeminiLive(config={"session_resumption": None}, resume=kept(at=4e9)):
            assert seed_of(server.sessions[0]) == list(LINES)

    play(local, scenario)


# -- what gives it -------------------------------------------------------------------------------


async def _soon() -> Resumption:
    await asyncio.sleep(3)
    return kept(handle="")


def _on_a_thread() -> Resumption:
    assert threading.current_thread() is not threading.main_thread()
    return kept(handle="")


@pytest.mark.parametrize("form", ["coroutine", "task", "async function", "function"])
def test_it_may_be_given_later(local: Local, form: str) -> None:
    async def scenario(server: LocalGemini) -> None:
        resume: Any = {
            "coroutine": _soon,
            "task": lambda: asyncio.ensure_future(_soon()),
            "async function": lambda: _soon,
            "function": lambda: _on_a_thread,
        }[form]()
        async with GeminiLive(resume=resume):
            assert seed_of(server.sessions[0]) == list(LINES)

    play(local, scenario)


def test_none_begins_anew(local: Local) -> None:
    async def scenario(server: LocalGemini) -> None:
        async with GeminiLive(resume=lambda: None) as gemini:
            assert seed_of(server.sessions[0]) == []
            assert gemini.state == "ready"

    play(local, scenario)


def test_what_is_said_before_it_is_decided_is_heard(local: Local) -> None:
    """Six seconds until the store answers: a question in them is answered, from its first word."""
    question = words(1.6)

    async def late() -> Resumption:
        await asyncio.sleep(6)
        return kept(handle="")

    async def scenario(room: Room) -> None:
        room.say(question, at=0.5)
        await room.gemini.wait_until_ready(None)
        await room.until(12)

    async def main() -> None:
        async with local(Parrot()) as server:
            gemini = GeminiLive(resume=late)
            room = Room(gemini, server)
            try:
                await scenario(room)
            finally:
                await room.close()
                await gemini.close()
            (session,) = server.sessions
            assert seed_of(session) == list(LINES)
            (turn,) = session.spoken
            assert turn.sent_ms >= 1500, "the parrot has heard all of it"

    run_virtual(main(), grace=GRACE)


async def _fails() -> Resumption:
    raise OSError("the store is down")


async def _hangs() -> Resumption:
    await asyncio.sleep(3600)
    raise AssertionError


async def _cancels() -> Resumption:
    raise asyncio.CancelledError


@pytest.mark.parametrize("give", [_fails, _hangs, _cancels])
def test_a_store_that_fails_costs_the_past_and_not_the_assistant(
    local: Local, give: Callable[[], Awaitable[Resumption]]
) -> None:
    errors: list[Exception] = []

    async def scenario(server: LocalGemini) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        gemini = GeminiLive(resume=give())
        gemini.on("error", errors.append)
        async with gemini:
            assert gemini.state == "ready"
            assert loop.time() - began < resume_source.RESUME_TIMEOUT_S + 1
            assert seed_of(server.sessions[0]) == []

    play(local, scenario)
    (error,) = errors
    assert isinstance(error, ConnectError)
    assert "resume" in str(error)


def test_an_answer_of_another_type_is_a_mistake(local: Local) -> None:
    async def scenario(server: LocalGemini) -> None:
        gemini = GeminiLive(resume=lambda: "handle")  # type: ignore[arg-type, return-value]
        with pytest.raises(ConfigError, match="Resumption"):
            await gemini.wait_until_ready()
        await gemini.close()
        assert server.sessions == []

    play(local, scenario)


def test_closing_before_it_is_given_leaves_nothing(local: Local) -> None:
    async def scenario(server: LocalGemini) -> None:
        for resume in (_hangs(), _hangs):
            gemini = GeminiLive(resume=resume)
            await asyncio.sleep(5)
            await gemini.close()
        await GeminiLive(resume=_hangs()).close()
        assert server.sessions == []

    play(local, scenario)


@pytest.mark.parametrize("resume", [3, "handle", {"handle": "x"}, ["handle"], b"{}"])
def test_a_resume_that_gives_nothing_is_refused(resume: Any) -> None:
    with pytest.raises(ConfigError, match="resume"):
        GeminiLive("key", resume=resume)


@pytest.mark.parametrize(
    "options",
    [{"history": LINES}, {"config": {"session_resumption": {"handle": "handle"}}}],
)
def test_two_pasts_are_refused(options: Any) -> None:
    with pytest.raises(ConfigError, match="leave one out"):
        GeminiLive("key", resume=kept(), **options)


# -- a past that is written down -----------------------------------------------------------------


@pytest.mark.parametrize(
    "history",
    [
        LINES,
        [list(line) for line in LINES],
        [{"role": role, "parts": [{"text": text}]} for role, text in LINES],
        [types.Content(role=role, parts=[types.Part(text=text)]) for role, text in LINES],
    ],
)
def test_a_history_begins_the_first_session(local: Local, history: Any) -> None:
    async def scenario(server: LocalGemini) -> None:
        async with GeminiLive(history=history):
            session = server.sessions[0]
            assert seed_of(session) == list(LINES)
            assert session.setup["historyConfig"] == {"initialHistoryInClientContent": True}
            assert session.spoken == [], "nothing is answered"

    play(local, scenario)


def test_the_newest_part_of_a_long_history_counts(local: Local) -> None:
    async def scenario(server: LocalGemini) -> None:
        history = [("user", f"{number:04} " + "x" * 95) for number in range(200)]
        async with GeminiLive(history=history):
            seed = seed_of(server.sessions[0])
            assert seed[-1] == history[-1]
            assert sum(len(text) for _, text in seed) <= MAX_HISTORY_CHARS

    play(local, scenario)


@pytest.mark.parametrize(
    "history",
    [
        "Hello.",
        {"role": "user"},
        [("system", "Be brief.")],
        [("user", "")],
        [("user", 3)],
        ["Hello."],
        [{"role": "user", "parts": []}],
        [{"role": "user", "parts": [{"inline_data": {"data": b"", "mime_type": "image/png"}}]}],
        [None],
        7,
    ],
)
def test_a_history_of_anything_else_is_refused(history: Any) -> None:
    with pytest.raises(ConfigError, match="history"):
        GeminiLive("key", history=history)


def test_only_what_was_heard_of_a_cut_turn_is_carried_on(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go on.")
        await asyncio.sleep(2)
        await room.gemini.interrupt_playback(drop=True)
        await asyncio.sleep(0.5)

    reply = Script([Turn(text=TEXT, audio=voice(6))])
    room, _ = hold(local, scenario, reply)
    after = room.gemini.resumption
    assert after is not None
    role, text = after.lines[-1]
    assert role == "model"
    assert text
    assert TEXT.startswith(text)
    assert len(text) < len(TEXT) / 2
