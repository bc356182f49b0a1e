"""The queue to the service: order, bounds, and what is sent of speech that is marked here."""

from __future__ import annotations

import asyncio

from getstream.plugins.gemini.live._uplink import MAX_QUEUED_MS, Mark, Uplink
from getstream.plugins.gemini.testing.clock import run_virtual

START, END = Mark.ACTIVITY_START, Mark.ACTIVITY_END


def frame(number: int) -> bytes:
    return number.to_bytes(4, "little")


async def drain(uplink: Uplink) -> list[int | Mark]:
    items: list[int | Mark] = []
    while (item := await uplink.next(0.0)) is not None:
        items.append(item if isinstance(item, Mark) else int.from_bytes(item, "little"))
    return items


def test_frames_come_in_order_and_the_oldest_are_dropped_beyond_the_bound() -> None:
    async def main() -> None:
        uplink = Uplink()
        kept = MAX_QUEUED_MS // 20
        for number in range(kept + 10):
            uplink.push(frame(number), 0.0)
        assert uplink.dropped_ms == 200
        assert await drain(uplink) == list(range(10, kept + 10))
        assert uplink.sent == kept

    run_virtual(main())


def test_speech_that_is_marked_is_sent_from_before_its_start() -> None:
    async def main() -> None:
        uplink = Uplink(preroll_ms=200)
        for number in range(50):
            uplink.push(frame(number), 0.0)
        assert await drain(uplink) == [], "nothing is sent that nobody listens to"
        uplink.start_activity(100)
        uplink.push(frame(50), 0.0)
        uplink.end_activity()
        uplink.push(frame(51), 0.0)
        assert await drain(uplink) == [START, 45, 46, 47, 48, 49, 50, END]
        uplink.start_activity(1000)
        uplink.end_activity()
        assert await drain(uplink) == [START, 51, END], "what was sent is not sent again"

    run_virtual(main())


def test_no_more_than_the_pre_roll_is_kept() -> None:
    async def main() -> None:
        uplink = Uplink(preroll_ms=100)
        for number in range(50):
            uplink.push(frame(number), 0.0)
        uplink.start_activity(5000)
        assert await drain(uplink) == [START, 45, 46, 47, 48, 49]

    run_virtual(main())


def test_marks_outlive_the_frames_around_them() -> None:
    async def main() -> None:
        uplink = Uplink(preroll_ms=100)
        kept = MAX_QUEUED_MS // 20
        uplink.start_activity(0)
        for number in range(3 * kept):
            uplink.push(frame(number), 0.0)
        uplink.end_activity()
        items = await drain(uplink)
        assert (items[0], items[-1], len(items)) == (START, END, kept + 2)
        assert items[1] == 2 * kept

    run_virtual(main())


def test_it_is_idle_when_nothing_is_pushed_not_when_nothing_is_to_be_sent() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        uplink = Uplink(preroll_ms=100)

        async def talk() -> None:
            for number in range(100):  # two seconds
                uplink.push(frame(number), loop.time())
                await asyncio.sleep(0.02)

        talking = asyncio.ensure_future(talk())
        assert await uplink.next(1.0) is None
        assert 2.9 < loop.time() < 3.0, "a second after the last frame"
        assert await uplink.next(1.0) is None
        assert 3.9 < loop.time() < 4.0, "and again a second later, not at once"
        await talking

    run_virtual(main())


def test_a_waiting_sender_is_woken() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        uplink = Uplink()
        loop.call_later(0.5, lambda: uplink.push(frame(7), loop.time()))
        assert await uplink.next(1.0) == frame(7)
        assert loop.time() == 0.5

    run_virtual(main())
