"""Events reach handlers in order, and handlers cannot hurt anybody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.live import Audio, Closed, Connected, GeminiLive, Text, _emitter
from getstream.plugins.gemini.live._emitter import (
    MAX_PENDING,
    MAX_PENDING_BYTES,
    MERGED_BYTES,
    Emitter,
)


def emitter() -> Emitter:
    def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.ensure_future(work)

    return Emitter(spawn, now=lambda: 0.0)


async def test_sync_and_async_handlers_get_events_in_order() -> None:
    events, seen = emitter(), []

    @events.on("text")
    def sync(text: str) -> None:
        seen.append(("sync", text))

    @events.on("text")
    async def slow(text: str) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        seen.append(("async", text))

    for text in "abc":
        assert events.emit(Text, text=text)
    assert seen == [("sync", "a"), ("sync", "b"), ("sync", "c")], "an async handler delays nobody"
    await events.drain(5)
    assert seen[3:] == [("async", "a"), ("async", "b"), ("async", "c")]


async def test_a_handler_may_take_fewer_arguments() -> None:
    events, seen = emitter(), []
    events.on("closed", lambda: seen.append("none"))
    events.on("closed", lambda error: seen.append(error))
    events.on("closed", lambda *all_of_them: seen.append(all_of_them))
    events.emit(Closed, cause=None)
    assert seen == ["none", None, (None,)]


async def test_what_a_handler_raises_is_logged_and_goes_no_further(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events, seen = emitter(), []

    @events.on("audio")
    def bad(_pcm: bytes) -> None:
        raise RuntimeError("sync trouble")

    @events.on("audio")
    async def worse(_pcm: bytes) -> None:
        raise RuntimeError("async trouble")

    events.on("audio", seen.append)
    with caplog.at_level(logging.ERROR):
        events.emit(Audio, pcm=b"1")
        events.emit(Audio, pcm=b"2")
        await events.drain(5)
    assert seen == [b"1", b"2"]
    assert caplog.text.count("sync trouble") >= 2
    assert caplog.text.count("RuntimeError: async trouble") == 2


async def test_once_and_remove() -> None:
    events, seen = emitter(), []
    events.once("connected", lambda: seen.append("once"))
    keep = events.on("connected", lambda: seen.append("each"))
    events.emit(Connected)
    events.emit(Connected)
    events.remove_listener("connected", keep)
    assert not events.emit(Connected)
    assert seen == ["once", "each", "each"]


class App:
    """An application whose handlers are methods, and which is empty."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __len__(self) -> int:
        return 0

    def __call__(self, text: str) -> None:
        self.seen.append(text)

    def on_text(self, text: str) -> None:
        self.seen.append(text)

    async def on_text_later(self, text: str) -> None:
        self.seen.append(text)


@pytest.mark.parametrize("name", ["on_text", "on_text_later", "__call__"])
async def test_a_bound_method_can_be_removed(name: str) -> None:
    """Each access to it makes another object, which is equal."""
    events, app, other = emitter(), App(), App()
    events.on("text", getattr(app, name))
    events.on("text", getattr(other, name))
    events.remove_listener("text", getattr(app, name))
    events.emit(Text, text="a")
    await events.drain(5)
    assert (app.seen, other.seen) == ([], ["a"])


async def test_a_callable_that_is_empty_is_a_handler() -> None:
    gemini = await asyncio.to_thread(GeminiLive, "key")
    app, once = App(), App()
    assert gemini.on("text", app) is app
    assert gemini.once("text", once) is once
    for text in "ab":
        gemini._events.emit(Text, text=text)
    assert (app.seen, once.seen) == (["a", "b"], ["a"])
    gemini.remove_listener("text", app)
    assert not gemini._events.emit(Text, text="c")
    await gemini.close()


async def test_a_handler_that_is_removed_is_not_called_with_what_waits() -> None:
    events, seen = emitter(), []

    async def slow(text: str) -> None:
        seen.append(text)
        if text == "a":
            events.remove_listener("text", slow)
        await asyncio.sleep(0)

    events.on("text", slow)
    for text in "abc":
        events.emit(Text, text=text)
    await events.drain(5)
    assert seen == ["a"]
    assert events.lost == 0


async def test_a_handler_that_another_one_removes_is_not_called_any_more() -> None:
    events, app = emitter(), App()
    events.on("text", lambda: events.remove_listener("text", app.on_text))
    events.on("text", app.on_text)
    events.emit(Text, text="a")
    assert app.seen == []


def test_a_generator_function_would_do_nothing_and_is_refused() -> None:
    def generator(text: str) -> Any:
        yield text

    async def async_generator(text: str) -> Any:
        yield text

    for handler in (generator, async_generator):
        with pytest.raises(ConfigError, match="generator"):
            emitter().on("text", handler)


@pytest.mark.parametrize("kind", ["sync", "async", "lambda"])
async def test_a_handler_that_meets_a_cancellation_goes_on(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    events, seen = emitter(), []
    request: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    request.cancel()

    def sync(text: str) -> None:
        seen.append(text)
        request.result()

    async def later(text: str) -> None:
        seen.append(text)
        await request

    events.on("text", {"sync": sync, "async": later, "lambda": lambda text: later(text)}[kind])
    for text in "abc":
        events.emit(Text, text=text)
    await events.drain(5)
    assert seen == ["a", "b", "c"]
    assert caplog.text.count("A handler of 'text'") == 3


async def test_before_cpython_3_11_a_cancellation_from_inside_is_told_apart_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_emitter, "_TASKS_TELL", False)
    await test_a_handler_that_meets_a_cancellation_goes_on("async", caplog)
    events, cancelled = emitter(), asyncio.Event()

    @events.on("text")
    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    for _ in range(3):
        events.emit(Text, text="a")
    await events.drain(0)
    await asyncio.sleep(0)
    assert cancelled.is_set()
    assert events.lost == 2


@pytest.mark.parametrize("kind", ["async", "lambda"])
async def test_a_handler_that_never_keeps_up_is_bounded_and_told(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    events = emitter()
    started, release = 0, asyncio.Event()

    async def stuck(_text: str) -> None:
        nonlocal started
        started += 1
        await release.wait()

    events.on("text", stuck if kind == "async" else lambda text: stuck(text))
    for _ in range(MAX_PENDING + 100):
        events.emit(Text, text="a")
    assert caplog.text.count("behind") == 1
    assert events.lost == 100
    release.set()
    await events.drain(5)
    assert started == MAX_PENDING
    assert "100 events were lost" in caplog.text


PIECE = 1920  # 40 ms


def numbered(count: int) -> list[bytes]:
    return [index.to_bytes(4, "little") * (PIECE // 4) for index in range(count)]


async def record(events: Emitter, pieces: list[bytes], make: Callable[[Any], Any]) -> list[bytes]:
    """Return what a slow handler gets of a burst."""
    got: list[bytes] = []

    async def slow(pcm: bytes) -> None:
        got.append(pcm)
        await asyncio.sleep(0)

    events.on("audio", make(slow))
    for piece in pieces:
        events.emit(Audio, pcm=piece)
    await events.drain(30)
    return got


async def test_a_burst_of_audio_reaches_a_slow_handler_whole_and_in_larger_pieces() -> None:
    events, pieces = emitter(), numbered(15_000)  # ten minutes
    got = await record(events, pieces, lambda handler: handler)
    assert b"".join(got) == b"".join(pieces)
    assert events.lost == 0
    assert len(got) <= MERGED_BYTES // PIECE + len(pieces) * PIECE // (MERGED_BYTES - PIECE)
    assert max(map(len, got)) <= MERGED_BYTES


async def test_a_handler_that_is_less_than_a_second_behind_gets_audio_as_it_came() -> None:
    events, pieces = emitter(), numbered(MERGED_BYTES // PIECE)
    assert await record(events, pieces, lambda handler: handler) == pieces


async def test_a_burst_of_audio_to_a_lambda_is_whole_too() -> None:
    events, pieces = emitter(), numbered(15_000)
    got = await record(events, pieces, lambda handler: lambda pcm: handler(pcm))
    assert b"".join(got) == b"".join(pieces)
    assert events.lost == 0


async def test_audio_beyond_the_bound_is_counted_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events, pieces = emitter(), numbered(15_100)
    got = await record(events, pieces, lambda handler: handler)
    assert b"".join(got) == b"".join(pieces[:15_000]), "what comes first is kept, without a hole"
    assert sum(map(len, got)) == MAX_PENDING_BYTES
    assert events.lost == 100
    assert "600 s of audio behind" in caplog.text
    assert "100 events were lost" in caplog.text


async def test_a_handler_without_arguments_is_called_for_each_piece() -> None:
    events, calls = emitter(), 0

    @events.on("audio")
    async def count() -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)

    for piece in numbered(3000):
        events.emit(Audio, pcm=piece)
    await events.drain(5)
    assert calls == 3000


async def test_what_a_handler_does_not_get_in_the_end_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = emitter()

    @events.on("text")
    async def stuck() -> None:
        await asyncio.Event().wait()

    for _ in range(10):
        events.emit(Text, text="a")
    await events.drain(0)
    assert events.lost == 9
    assert "9 events were lost" in caplog.text


async def test_drain_ends_a_handler_that_does_not_end() -> None:
    events, cancelled = emitter(), asyncio.Event()

    @events.on("closed")
    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    events.emit(Closed, cause=None)
    await events.drain(0)
    assert cancelled.is_set()


@pytest.mark.parametrize("use", ["on", "once", "remove_listener"])
def test_unknown_events_are_refused(use: str) -> None:
    with pytest.raises(ConfigError, match=r"There is no event 'adio'\. Did you mean 'audio'\?"):
        getattr(emitter(), use)("adio", print)


def test_a_handler_must_be_callable() -> None:
    with pytest.raises(ConfigError, match="callable"):
        emitter().on("audio", 3)  # type: ignore[type-var]
