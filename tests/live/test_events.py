"""Events reach handlers in order, and handlers cannot hurt anybody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import pytest
from getstream.plugins.gemini.live._events import MAX_PENDING, Emitter


def emitter() -> Emitter:
    def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.ensure_future(work)

    return Emitter(spawn)


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
        assert events.emit("text", text)
    assert seen == [("sync", "a"), ("sync", "b"), ("sync", "c")], "an async handler delays nobody"
    await events.drain(5)
    assert seen[3:] == [("async", "a"), ("async", "b"), ("async", "c")]


async def test_a_handler_may_take_fewer_arguments() -> None:
    events, seen = emitter(), []
    events.on("closed", lambda: seen.append("none"))
    events.on("closed", lambda error: seen.append(error))
    events.on("closed", lambda *all_of_them: seen.append(all_of_them))
    events.emit("closed", None)
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
        events.emit("audio", b"1")
        events.emit("audio", b"2")
        await events.drain(5)
    assert seen == [b"1", b"2"]
    assert caplog.text.count("sync trouble") >= 2
    assert caplog.text.count("RuntimeError: async trouble") == 2


async def test_once_and_remove() -> None:
    events, seen = emitter(), []
    events.once("connected", lambda: seen.append("once"))
    keep = events.on("connected", lambda: seen.append("each"))
    events.emit("connected")
    events.emit("connected")
    events.remove_listener("connected", keep)
    assert not events.emit("connected")
    assert seen == ["once", "each", "each"]


async def test_a_handler_that_never_keeps_up_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    events = emitter()
    started, release = 0, asyncio.Event()

    @events.on("audio")
    async def stuck(_pcm: bytes) -> None:
        nonlocal started
        started += 1
        await release.wait()

    for _ in range(MAX_PENDING + 100):
        events.emit("audio", b"")
    assert caplog.text.count("behind") == 1
    release.set()
    await events.drain(5)
    assert started == MAX_PENDING


async def test_drain_ends_a_handler_that_does_not_end() -> None:
    events, cancelled = emitter(), asyncio.Event()

    @events.on("closed")
    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    events.emit("closed", None)
    await events.drain(0)
    assert cancelled.is_set()


@pytest.mark.parametrize("use", ["on", "once", "emit", "remove_listener"])
def test_unknown_events_are_refused(use: str) -> None:
    with pytest.raises(ValueError, match="There is no event 'adio'"):
        getattr(emitter(), use)("adio", *([print] if use != "emit" else []))


def test_a_handler_must_be_callable() -> None:
    with pytest.raises(ValueError, match="callable"):
        emitter().on("audio", 3)  # type: ignore[type-var]
