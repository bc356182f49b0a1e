"""The queue to the service: order, bounds, what is sent of marked speech, and what again."""

from __future__ import annotations

import asyncio

import pytest
from getstream.plugins.gemini.live._session.send_queue import (
    BACKLOG_MS,
    LONGEST_SILENCE_MS,
    MAX_END_WAIT_MS,
    MAX_QUEUED_MS,
    MAX_SENT_MS,
    MAX_UNACKED_BYTES,
    SILENCE_WRITE_MS,
    STEADY_SILENCE_MS,
    ActivityMarker,
    Content,
    Frame,
    Image,
    SendQueue,
    Text,
)
from getstream.plugins.gemini.testing.clock import run_virtual
from hypothesis import given
from hypothesis import strategies as st

START, END = ActivityMarker.ACTIVITY_START, ActivityMarker.ACTIVITY_END
KEPT = MAX_QUEUED_MS // 20
PAUSE = LONGEST_SILENCE_MS // 20


def data(number: int) -> bytes:
    return number.to_bytes(4, "little")


def push_text(uplink: SendQueue, text: str) -> Text:
    item = Text(text)
    uplink.push_request(item)
    return item


def name(item: Frame | ActivityMarker | Text) -> int | ActivityMarker | str:
    if isinstance(item, Frame):
        return int.from_bytes(item.data, "little")
    return item.text if isinstance(item, Text) else item


async def drain(
    uplink: SendQueue, now: float = 0.0, first: int = 1
) -> list[int | ActivityMarker | str]:
    """Send all that waits, as messages number `first` and up."""
    items: list[int | ActivityMarker | str] = []
    while (item := await waiting(uplink)) is not None:
        uplink.mark_sent(item, first + len(items), now)
        items.append(name(item))
    return items


async def waiting(
    uplink: SendQueue, seconds: float = 0.001
) -> Frame | ActivityMarker | Text | None:
    """Return what is to be sent next, or None if nothing is."""
    try:
        return await asyncio.wait_for(uplink.next(), seconds)
    except asyncio.TimeoutError:
        return None


def test_frames_come_in_order_and_the_oldest_are_dropped_beyond_the_bound() -> None:
    async def main() -> None:
        uplink = SendQueue()
        for number in range(KEPT + 10):
            uplink.push(data(number), 0.0)
        assert uplink.dropped_ms == 200
        assert await drain(uplink) == list(range(10, KEPT + 10))
        assert uplink.sent == KEPT

    run_virtual(main())


def test_speech_that_is_marked_is_sent_from_before_its_start() -> None:
    async def main() -> None:
        uplink = SendQueue(preroll_ms=200)
        for number in range(50):
            uplink.push(data(number), 0.0, is_silence=True)
        assert await drain(uplink) == [], "nothing is sent that nobody listens to"
        uplink.start_activity(100)
        uplink.push(data(50), 0.0, is_silence=True)
        uplink.end_activity()
        uplink.push(data(51), 0.0, is_silence=True)
        assert await drain(uplink) == [START, 45, 46, 47, 48, 49, 50, END]
        uplink.start_activity(1000)
        uplink.end_activity()
        assert await drain(uplink) == [START, 51, END], "what was sent is not sent again"

    run_virtual(main())


def test_no_more_than_the_pre_roll_is_kept() -> None:
    async def main() -> None:
        uplink = SendQueue(preroll_ms=100)
        for number in range(50):
            uplink.push(data(number), 0.0)
        uplink.start_activity(5000)
        assert await drain(uplink) == [START, 45, 46, 47, 48, 49]

    run_virtual(main())


def test_marks_and_texts_outlive_the_frames_around_them() -> None:
    async def main() -> None:
        uplink = SendQueue(preroll_ms=100)
        uplink.start_activity(0)
        push_text(uplink, "between")
        for number in range(3 * KEPT):
            uplink.push(data(number), 0.0)
        uplink.push(data(3 * KEPT), 0.0, is_silence=True)
        uplink.end_activity()
        items = await drain(uplink)
        assert (items[:2], items[-1], len(items)) == ([START, "between"], END, KEPT + 3)
        assert items[2] == 2 * KEPT + 1

    run_virtual(main())


def test_silence_that_waits_is_shortened_and_what_is_on_time_is_not() -> None:
    async def main() -> None:
        uplink = SendQueue()
        for number in range(200):
            uplink.push(data(number), 0.0, is_silence=True)
        assert len(await drain(uplink)) == BACKLOG_MS // 20 + 1
        assert uplink.dropped_ms == 0
        for number in range(200):
            uplink.push(data(number), 0.0, is_silence=True)
            assert await drain(uplink) == [number]

    run_virtual(main())


def test_the_gaps_between_words_are_kept() -> None:
    async def main() -> None:
        uplink = SendQueue()
        quiet = [(number // PAUSE) % 2 == 1 for number in range(10 * PAUSE)]
        for number, silent in enumerate(quiet):
            uplink.push(data(number), 0.0, is_silence=silent)
        assert await drain(uplink) == list(range(10 * PAUSE))

    run_virtual(main())


def test_a_text_is_sent_once_in_its_place_and_may_be_withdrawn() -> None:
    async def main() -> None:
        uplink = SendQueue()
        uplink.push(data(1), 0.0)
        text = push_text(uplink, "Hello")
        other = push_text(uplink, "Never mind")
        uplink.push(data(2), 0.0)
        uplink.withdraw(other)
        uplink.withdraw(other)
        assert not text.sent.done()
        assert await drain(uplink) == [1, "Hello", 2]
        assert text.sent.done()

    run_virtual(main())


# -- again ---------------------------------------------------------------------------------------


def test_what_was_not_taken_is_sent_again_first() -> None:
    async def main() -> None:
        uplink = SendQueue()
        for number in range(10):
            uplink.push(data(number), 0.0)
        push_text(uplink, "Hello")
        await drain(uplink)
        uplink.push(data(10), 0.0)
        uplink.acknowledge(number=8)  # messages count from 1
        uplink.requeue_unacked()
        assert await drain(uplink) == [8, 9, "Hello", 10]
        assert uplink.retransmitted == 2
        uplink.acknowledge()
        uplink.requeue_unacked()
        assert await drain(uplink) == []

    run_virtual(main())


def test_what_was_sent_before_a_time_is_taken() -> None:
    async def main() -> None:
        uplink = SendQueue()
        for at in range(5):
            uplink.push(data(at), float(at))
            await drain(uplink, now=float(at))
        uplink.acknowledge(before=2.0)
        uplink.requeue_unacked()
        assert await drain(uplink) == [3, 4]

    run_virtual(main())


@pytest.mark.parametrize("by_number", [False, True])
def test_texts_stay_until_they_are_answered(by_number: bool) -> None:
    async def main() -> None:
        uplink = SendQueue()
        uplink.push(data(1), 0.0)
        push_text(uplink, "first")
        uplink.push(data(2), 0.0)
        push_text(uplink, "second")
        uplink.push(data(3), 0.0)
        for number, now in enumerate((1.0, 2.0, 3.0, 4.0, 5.0), start=1):
            uplink.mark_sent(await uplink.next(), number, now)
        if by_number:
            uplink.acknowledge(number=4)
        else:
            uplink.acknowledge(before=4.0)
        uplink.requeue_unacked()
        assert await drain(uplink) == ["first", "second", 3], "a handle is no answer"

    run_virtual(main())


@pytest.mark.parametrize(
    ("before", "cut", "left"),
    [
        (1.9, False, ["first", "second"]),
        (2.0, False, ["second"]),
        (4.0, False, []),
        (1.9, True, ["first", "second"]),
        (9.0, True, ["second"]),
    ],
)
def test_an_answer_is_that_of_the_texts_before_it(
    before: float, cut: bool, left: list[str]
) -> None:
    async def main() -> None:
        uplink = SendQueue()
        for now, item in ((1.0, data(1)), (2.0, "first"), (3.0, data(2)), (4.0, "second")):
            if isinstance(item, str):
                push_text(uplink, item)
            else:
                uplink.push(item, now)
            uplink.mark_sent(await uplink.next(), round(now), now)
        uplink.acknowledge_texts(before=before, cut=cut)
        uplink.acknowledge(before=2.5)
        uplink.requeue_unacked()
        items = await drain(uplink)
        assert [item for item in items if isinstance(item, str)] == left
        assert [item for item in items if not isinstance(item, str)] == [2], "not of the audio"

    run_virtual(main())


@pytest.mark.parametrize(
    ("quiet", "keep_ms", "left"),
    [
        ("", 0, []),
        ("", 40, [8, 9]),
        ("", 60, [7, 8, 9]),
        ("9", 40, [7, 8, 9]),
        ("5679", 40, [4, 5, 6, 7, 8, 9]),
        ("", 1000, list(range(10))),
        ("0123456789", 20, list(range(10))),
    ],
)
def test_some_of_the_newest_speech_is_kept(quiet: str, keep_ms: int, left: list[int]) -> None:
    async def main() -> None:
        uplink = SendQueue()
        for number in range(10):
            uplink.push(data(number), 0.0, is_silence=str(number) in quiet)
        await drain(uplink)
        uplink.acknowledge(before=1.0, keep_speech_ms=keep_ms)
        uplink.requeue_unacked()
        assert await drain(uplink) == left

    run_virtual(main())


def test_how_long_nobody_has_spoken_in_what_was_sent() -> None:
    async def main() -> None:
        uplink = SendQueue()
        for number, (quiet, silence_ms) in enumerate(
            [(False, 0), *((True, 20 * count) for count in range(1, 30)), (False, 0)]
        ):
            uplink.push(data(number), 0.0, is_silence=quiet)
            await drain(uplink)
            assert uplink.silence_ms == silence_ms

    run_virtual(main())


def test_a_text_is_sent_on_three_connections_at_most() -> None:
    async def main() -> None:
        uplink = SendQueue()
        text = push_text(uplink, "crash")
        for sendings in (1, 2, 3):
            assert await drain(uplink) == ["crash"]
            assert text.sendings == sendings
            assert text.sent.done()
            assert uplink.requeue_unacked() == (sendings == 3)
        assert await drain(uplink) == []

    run_virtual(main())


def test_only_the_newest_unanswered_texts_are_kept() -> None:
    async def main() -> None:
        uplink = SendQueue()
        for number in range(15):
            push_text(uplink, str(number))
            await drain(uplink, now=float(number))
        uplink.acknowledge(before=12.0)
        uplink.requeue_unacked()
        assert await drain(uplink) == [str(number) for number in range(3, 15)]

    run_virtual(main())


def test_an_image_is_taken_with_the_audio_before_it_and_answers_nothing() -> None:
    async def main() -> None:
        uplink = SendQueue()
        image = Image(b"x", "image/png")
        uplink.push_request(image)
        push_text(uplink, "What is it?")
        await waiting(uplink)
        uplink.mark_sent(image, 1, 1.0)
        await drain(uplink, now=1.0, first=2)
        assert uplink.requeue_unacked() == 0
        assert await waiting(uplink) is image, "first of all, as before"
        uplink.mark_sent(image, 1, 2.0)
        await drain(uplink, now=2.0, first=2)
        uplink.acknowledge(before=3.0)
        uplink.requeue_unacked()
        assert await drain(uplink) == ["What is it?"]

    run_virtual(main())


@pytest.mark.parametrize("complete", [True, False])
def test_content_is_answered_only_where_it_is_complete(complete: bool) -> None:
    async def main() -> None:
        uplink = SendQueue()
        content = Content(["turn"], [], turn_complete=complete, size=1)
        uplink.push_request(content)
        await waiting(uplink)
        uplink.mark_sent(content, 1, 1.0)
        uplink.acknowledge(before=2.0)
        uplink.requeue_unacked()
        assert (await waiting(uplink) is content) == complete
        if complete:
            uplink.mark_sent(content, 1, 3.0)
            uplink.acknowledge_texts(before=4.0)
            uplink.requeue_unacked()
            assert await waiting(uplink) is None

    run_virtual(main())


def test_large_requests_are_kept_up_to_a_bound() -> None:
    async def main() -> None:
        uplink = SendQueue()
        images = [Image(bytes(MAX_UNACKED_BYTES // 2), "image/png") for _ in range(4)]
        for number, image in enumerate(images):
            uplink.push_request(image)
            await waiting(uplink)
            uplink.mark_sent(image, number, number)
            uplink.push(data(number), number)
            await drain(uplink, number)
        uplink.requeue_unacked()
        kept = []
        while (item := await waiting(uplink)) is not None:
            uplink.mark_sent(item, 1, 9.0)
            kept.append(item)
        assert [item for item in kept if isinstance(item, Image)] == images[2:]
        assert len(kept) == 6, "all audio is there"

    run_virtual(main())


def test_a_text_keeps_its_place_and_time_when_audio_behind_it_overflows() -> None:
    async def main() -> None:
        uplink = SendQueue()
        push_text(uplink, "still there?")
        await drain(uplink, now=1.0)
        for number in range(MAX_SENT_MS // 20 + 100):
            uplink.push(data(number), 2.0)
            await drain(uplink, now=2.0)
        uplink.acknowledge_texts(before=1.5)
        uplink.requeue_unacked()
        items = await drain(uplink)
        assert "still there?" not in items
        assert items[0] == 100, "the oldest audio is gone"

    run_virtual(main())


def test_what_is_being_sent_when_the_connection_ends_is_not_lost() -> None:
    async def main() -> None:
        uplink = SendQueue()
        uplink.push(data(1), 0.0)
        assert name(await uplink.next()) == 1
        uplink.requeue_unacked()  # it was not done
        assert await drain(uplink) == [1]

    run_virtual(main())


@pytest.mark.parametrize(
    ("taken", "again"), [(0, [START, 1, 2]), (1, [START, 1, 2]), (2, [START, 2])]
)
def test_an_activity_under_way_begins_again(taken: int, again: list[int | ActivityMarker]) -> None:
    async def main() -> None:
        uplink = SendQueue(preroll_ms=100)
        uplink.start_activity(0)
        uplink.push(data(1), 0.0)
        uplink.push(data(2), 0.0)
        await drain(uplink)
        uplink.acknowledge(number=taken)
        uplink.requeue_unacked()
        uplink.push(data(3), 0.0, is_silence=True)
        uplink.end_activity()
        assert await drain(uplink) == [*again, 3, END]

    run_virtual(main())


def test_an_activity_that_is_over_begins_again_only_if_it_was_not_taken() -> None:
    async def main() -> None:
        for taken, again in ((0, [START, 1, END]), (2, [START, END]), (3, [])):
            uplink = SendQueue(preroll_ms=100)
            uplink.start_activity(0)
            uplink.push(data(1), 0.0, is_silence=True)
            uplink.end_activity()
            await drain(uplink)
            uplink.acknowledge(number=taken)
            uplink.requeue_unacked()
            assert await drain(uplink) == again

    run_virtual(main())


def test_what_may_be_sent_again_is_bounded_and_holds_no_long_silence() -> None:
    async def main() -> None:
        uplink = SendQueue()
        for number in range(3 * KEPT):
            uplink.push(data(number), 0.0, is_silence=number < 2 * KEPT)
            await drain(uplink)
        uplink.requeue_unacked()
        again = await drain(uplink)
        assert again == list(range(2 * KEPT, 3 * KEPT))
        quiet = SendQueue()
        for number in range(3 * KEPT):
            quiet.push(data(number), 0.0, is_silence=True)
            await drain(quiet)
        quiet.requeue_unacked()
        assert len(await drain(quiet)) == PAUSE

    run_virtual(main())


STEPS = st.lists(
    st.sampled_from(["speech", "silence", "text", "start", "end", "send", "settle", "restart"]),
    max_size=80,
)


@given(STEPS)
def test_whatever_happens_speech_is_taken_in_order_and_activities_are_whole(
    steps: list[str],
) -> None:
    """Against a service that takes what was sent when it says so, and forgets the rest."""

    async def main() -> None:
        uplink = SendQueue(preroll_ms=100)
        said, told, number, texts, given_up, pushed = [], False, 0, 0, 0, 0
        ending, silent = False, True
        # On this connection, and not known to have been taken.
        sent: list[int | ActivityMarker | str] = []
        taken: list[int | ActivityMarker | str] = []

        async def send() -> None:
            sent.extend(await drain(uplink, first=number + 1))

        for step in (*steps, "send", "settle"):
            if step in ("speech", "silence"):
                silent = step == "silence"
                uplink.push(data(pushed), 0.0, is_silence=silent)
                # The end waits for silence, which is not sent any more.
                ending = ending and not silent
                if told or ending:
                    said.append(pushed)
                pushed += 1
            elif step == "text":
                texts += 1
                push_text(uplink, f"text {texts}")
            elif step == "start" and not told:
                uplink.start_activity(0)
                told, ending = True, False
            elif step == "end" and told:
                uplink.end_activity()
                told, ending = False, not silent
            elif step == "send":
                before = len(sent)
                await send()
                number += len(sent) - before
            elif step == "settle":
                uplink.acknowledge()
                taken += sent
                sent = []
            elif step == "restart":
                given_up += uplink.requeue_unacked()  # texts that were sent on three connections
                sent, number = [], 0
        frames = [item for item in taken if isinstance(item, int)]
        assert frames == sorted(set(frames)), "each once, in order"
        assert set(frames) == set(said)
        taken_texts = [int(item.removeprefix("text ")) for item in taken if isinstance(item, str)]
        assert taken_texts == sorted(set(taken_texts)), "each once, in order"
        assert len(taken_texts) == texts - given_up
        active = False
        for item in taken:
            if isinstance(item, ActivityMarker):
                active = item is START
            elif isinstance(item, int):
                assert active, "a frame that nobody listens to"

    run_virtual(main())


# -- waiting -------------------------------------------------------------------------------------


def test_the_end_of_the_stream_comes_behind_its_audio_and_is_said_again() -> None:
    async def main() -> None:
        uplink = SendQueue()
        uplink.push(data(1), 0.0)
        uplink.end_stream()
        uplink.push(data(2), 0.0)
        assert await drain(uplink) == [1, ActivityMarker.STREAM_END, 2]
        uplink.acknowledge(number=1)
        uplink.requeue_unacked()
        assert await drain(uplink) == [ActivityMarker.STREAM_END, 2]

    run_virtual(main())


def test_marked_activity_has_no_end_of_the_stream() -> None:
    async def main() -> None:
        uplink = SendQueue(preroll_ms=100)
        uplink.start_activity(0)
        uplink.push(data(1), 0.0)
        uplink.end_activity()
        uplink.end_stream()
        assert await drain(uplink) == [START, 1, END], "and nobody waits for a silent frame"

    run_virtual(main())


def test_the_end_of_an_activity_waits_for_a_word_that_is_late() -> None:
    async def main() -> None:
        uplink = SendQueue(preroll_ms=100)
        uplink.start_activity(0)
        uplink.push(data(1), 0.0)
        uplink.end_activity()
        uplink.push(data(2), 0.0)
        assert await drain(uplink) == [START, 1, 2]
        uplink.push(data(3), 0.0, is_silence=True)
        assert await drain(uplink) == [END]
        uplink.start_activity(0)
        uplink.push(data(4), 0.0)
        uplink.end_activity()
        for number in range(5, 100):
            uplink.push(data(number), 0.0)
        frames = MAX_END_WAIT_MS // 20
        assert await drain(uplink) == [START, *range(4, 5 + frames), END], "for a bounded time"

    run_virtual(main())


def test_a_waiting_sender_is_woken() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        uplink = SendQueue()
        loop.call_later(0.5, lambda: uplink.push(data(7), loop.time()))
        assert await uplink.next() == Frame(data(7), is_silence=False, at=0.5)
        assert loop.time() == 0.5

    run_virtual(main())


@pytest.mark.parametrize("refused", [set(), {3}, {1, 2, 3, 4, 5}])
def test_what_needs_no_waiting_is_sent_at_once_and_in_order(refused: set[int]) -> None:
    """A frame that is refused goes by the sender, and so does what comes before it has gone."""
    sent: list[int] = []
    at_once: list[int] = []

    def send(frames: list[bytes]) -> int | None:
        (frame,) = frames
        number = int.from_bytes(frame, "little")
        if number in refused:
            return None
        sent.append(number)
        at_once.append(number)
        return len(sent)

    async def main() -> None:
        uplink = SendQueue(send_now=send)

        async def sender() -> None:
            while True:
                item = await uplink.next()
                await asyncio.sleep(0.03)  # longer than a frame
                sent.append(int.from_bytes(item.data, "little"))  # type: ignore[union-attr]
                uplink.mark_sent(item, len(sent), asyncio.get_running_loop().time())

        task = asyncio.ensure_future(sender())
        await asyncio.sleep(0)  # it waits
        for number in range(1, 8):
            uplink.push(data(number), asyncio.get_running_loop().time())
            await asyncio.sleep(0.02)
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.wait([task])
        assert uplink.sent == 7
        uplink.requeue_unacked()
        assert await drain(uplink) == [1, 2, 3, 4, 5, 6, 7], "sent again, however it was sent"

    run_virtual(main())
    assert sent == [1, 2, 3, 4, 5, 6, 7]
    if not refused:
        assert at_once == sent
    assert not refused & set(at_once)


AT_A_TIME = SILENCE_WRITE_MS // 20
STEADY = STEADY_SILENCE_MS // 20


class Writes:
    """An uplink whose sender waits, and the numbers of the frames in each write to the socket."""

    def __init__(self) -> None:
        self.each: list[list[int]] = []
        self.stuck = False
        self.sent = 0
        self.uplink = SendQueue(send_now=self._write)

    def _write(self, frames: list[bytes]) -> int | None:
        if self.stuck:
            return None
        self.each.append([int.from_bytes(frame, "little") for frame in frames])
        self.sent += len(frames)
        return self.sent

    async def wait_for_items(self) -> asyncio.Task[Frame | ActivityMarker | Text]:
        task = asyncio.ensure_future(self.uplink.next())
        await asyncio.sleep(0)
        return task


def test_frames_of_a_steady_silence_share_a_write_and_speech_takes_them_along() -> None:
    async def main() -> None:
        writes = Writes()
        waiter = await writes.wait_for_items()
        for number in range(STEADY + 2 * AT_A_TIME + 3):
            writes.uplink.push(data(number), 0.0, is_silence=True)
        alone, rest = writes.each[:STEADY], writes.each[STEADY:]
        assert alone == [[number] for number in range(STEADY)], "the service may need each of them"
        first = STEADY + AT_A_TIME
        assert rest == [list(range(STEADY, first)), list(range(first, first + AT_A_TIME))]
        last = first + AT_A_TIME
        writes.uplink.push(data(last + 3), 0.0, is_silence=False)
        assert writes.each[-1] == [last, last + 1, last + 2, last + 3]
        writes.uplink.push(data(last + 4), 0.0, is_silence=True)
        assert writes.each[-1] == [last + 4], "a new silence is not steady yet"
        assert writes.uplink.sent == last + 5
        waiter.cancel()

    run_virtual(main())


def test_silence_does_not_wait_for_frames_that_do_not_come() -> None:
    async def main() -> None:
        writes = Writes()
        waiter = await writes.wait_for_items()
        for number in range(STEADY + 2):
            writes.uplink.push(data(number), number * 0.02, is_silence=True)
        first = STEADY * 0.02
        writes.uplink.pass_time(first + 0.08)
        assert len(writes.each) == STEADY
        writes.uplink.pass_time(first + SILENCE_WRITE_MS / 1000 + 1e-6)
        assert writes.each[STEADY:] == [[STEADY, STEADY + 1]]
        writes.uplink.pass_time(first + 10)
        assert len(writes.each) == STEADY + 1
        waiter.cancel()

    run_virtual(main())


@pytest.mark.parametrize("event", ["text", "stream end", "lost", "stuck"])
def test_silence_that_waits_for_its_write_keeps_its_place(event: str) -> None:
    async def main() -> None:
        writes = Writes()
        waiter = await writes.wait_for_items()
        for number in range(STEADY + 2):
            writes.uplink.push(data(number), 0.0, is_silence=True)
        writes.uplink.acknowledge(number=STEADY)
        held = [STEADY, STEADY + 1]
        if event == "text":
            push_text(writes.uplink, "hello")
            expected: list[int | ActivityMarker | str] = [*held, "hello"]
        elif event == "stream end":
            writes.uplink.end_stream()
            expected = [*held, ActivityMarker.STREAM_END]
        elif event == "lost":
            writes.uplink.requeue_unacked()
            expected = [*held]
        else:
            writes.stuck = True
            writes.uplink.push(data(STEADY + 2), 0.0, is_silence=False)
            expected = [*held, STEADY + 2]
        await waiter
        assert await drain(writes.uplink, first=STEADY + 1) == expected

    run_virtual(main())


@given(st.lists(st.tuples(st.integers(1, 150), st.booleans(), st.booleans()), max_size=12))
def test_every_frame_is_sent_once_and_in_order_however_silence_is_written(
    runs: list[tuple[int, bool, bool]],
) -> None:
    """Runs of frames: how many, whether silent, and whether the socket is stuck."""

    async def main() -> None:
        writes = Writes()
        number = 0
        got: list[int] = []
        for length, quiet, stuck in runs:
            waiter = await writes.wait_for_items()
            writes.stuck = stuck
            for _ in range(length):
                writes.uplink.push(data(number), 0.0, is_silence=quiet)
                number += 1
            got += [each for write in writes.each for each in write]
            writes.each.clear()
            waiter.cancel()
            got += [each for each in await drain(writes.uplink) if isinstance(each, int)]
        waiter = await writes.wait_for_items()
        writes.stuck = False
        writes.uplink.push(data(number), 0.0, is_silence=False)
        got += [each for write in writes.each for each in write]
        waiter.cancel()
        assert got == sorted(got)
        assert len(got) == len(set(got))
        skipped = set(range(number + 1)) - set(got)
        at = 0
        for length, quiet, stuck in runs:
            if not (quiet and stuck):  # a silence that waits is shortened
                assert not skipped & set(range(at, at + length))
            at += length

    run_virtual(main())
