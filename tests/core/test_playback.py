"""Tests of `Playback` through Python: the life of a turn, and its counts in any order of calls."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from getstream.plugins.gemini.audio import (
    AudioError,
    EchoReference,
    InputStream,
    Playback,
    Resampler,
)
from getstream.plugins.gemini.testing import signals
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Int16 = NDArray[np.int16]


def drain(playback: Playback) -> Int16:
    frames = []
    while playback.audible:
        frames.append(playback.pop_frame())
    return np.concatenate(frames) if frames else np.zeros(0, np.int16)


def test_the_life_of_a_turn(tone: Callable[..., Int16]) -> None:
    playback = Playback()
    assert (playback.state, playback.audible, playback.active_turn) == ("idle", False, None)
    pcm = tone(24000, 443.0, 1.0)
    assert playback.push(pcm[:1000], 1) == 1000
    assert (playback.state, playback.active_turn) == ("buffering", 1)
    assert not playback.pop_frame().any()
    assert playback.push(pcm[1000:], turn=1) == 23000
    assert playback.level_ms == 1000.0
    assert (playback.state, playback.audible) == ("playing", True)
    playback.end_turn(1)
    frame = playback.pop_frame()
    assert frame.dtype == np.int16
    assert frame.shape == (960,)
    assert playback.played_ms(1) == 20.0

    heard = np.concatenate([frame, drain(playback)])
    # The output is the resampled turn, except for its two faded edges.
    resampler = Resampler(24000, 48000)
    want = np.concatenate([resampler.push(pcm), resampler.flush()])
    inner = slice(480, 48000 - 480)
    np.testing.assert_array_equal(heard[inner], want[inner])
    assert (playback.state, playback.played_ms(1)) == ("idle", 1000.0)
    stats, turn = playback.stats(), playback.turn_stats(1)
    assert (stats.pushed, stats.played, stats.dropped, stats.queued) == (24000, 24000, 0, 0)
    assert turn is not None
    assert (turn.ended, turn.cut, turn.finished, turn.underruns) == (True, False, True, 0)
    assert playback.turn_stats(2) is None
    assert playback.played_ms(2) == 0.0


def test_pause_and_resume_continue_at_the_exact_sample(tone: Callable[..., Int16]) -> None:
    playback = Playback()
    playback.push(tone(24000, 443.0, 1.0), 1)
    playback.end_turn(1)
    heard = [playback.pop_frame() for _ in range(5)]
    playback.pause()
    assert playback.state == "paused"
    heard.append(drain(playback))
    assert not playback.audible
    held = playback.played_ms(1)
    assert held == 105.0
    assert not playback.pop_frame().any()
    assert playback.played_ms(1) == held
    playback.resume()
    heard.append(drain(playback))
    assert playback.played_ms(1) == 1000.0
    # Half scale at 443 Hz moves by 950 a sample; a hard edge would be up to 16384.
    assert np.abs(np.diff(np.concatenate(heard).astype(int))).max() < 1200


def test_flush_falls_silent_within_a_frame_and_the_cut_turn_stays_silent(
    tone: Callable[..., Int16],
) -> None:
    playback = Playback()
    playback.push(tone(24000, 443.0, 2.0), 1)
    heard = [playback.pop_frame() for _ in range(5)]
    assert playback.flush() == 48000 - 5 * 480 - 120
    tail = drain(playback)
    assert len(tail) == 960
    assert not tail[480:].any()
    assert np.abs(np.diff(np.concatenate([*heard, tail]).astype(int))).max() < 1200
    assert playback.push(tone(24000, 443.0, 1.0), 1) == 0
    assert not playback.audible
    assert playback.push(tone(24000, 443.0, 1.0), 2) == 24000
    assert playback.audible
    assert playback.flush_turn(2) == 24000
    assert playback.active_turn is None


def test_flush_turn_of_a_newer_turn_leaves_the_open_one_open(tone: Callable[..., Int16]) -> None:
    playback = Playback(24000, 24000)
    playback.push(tone(24000, 443.0, 0.1), 1)
    assert playback.flush_turn(2) == 0
    stats = playback.turn_stats(1)
    assert stats is not None
    assert (stats.ended, stats.cut) == (False, False)
    assert playback.push(tone(24000, 443.0, 0.1), 1) == 2400
    assert playback.push(tone(24000, 443.0, 0.1), 2) == 0
    playback.end_turn(1)
    drain(playback)
    assert playback.played_ms(1) == 200.0
    assert playback.played_ms(2) == 0.0


def test_an_underrun_is_counted_and_faded() -> None:
    playback = Playback(24000, 24000)
    playback.push(np.full(24 * 70, 16000, np.int16), 1)
    heard = drain(playback)
    assert playback.stats().underruns == 1
    assert playback.state == "buffering"
    # All of it at full level, then 5 ms that were predicted.
    assert (heard[120 : 24 * 70] == 16000).all()
    assert (np.diff(heard[24 * 70 : 24 * 75].astype(int)) <= 0).all()
    assert heard[24 * 75 - 1] < 20
    assert not heard[24 * 75 :].any()
    assert playback.stats().concealed == 120
    playback.push(np.full(24 * 100, 16000, np.int16), 1)
    assert playback.stats().prefill_ms == 120
    assert not playback.audible
    playback.push(np.full(24 * 20, 16000, np.int16), 1)
    assert playback.audible


@pytest.mark.parametrize("left", [0, 1, 60, 120, 480])
def test_a_refill_in_time_is_not_heard(left: int, tone: Callable[..., Int16]) -> None:
    pcm = tone(24000, 443.0, 0.2)
    refilled, whole = Playback(), Playback()
    whole.push(pcm, 1)
    refilled.push(pcm[: 1920 + left], 1)
    for frame in range(10):
        if frame == 4:
            refilled.push(pcm[1920 + left :], 1)
        np.testing.assert_array_equal(refilled.pop_frame(), whole.pop_frame())
    assert refilled.stats().underruns == refilled.stats().concealed == 0


def test_duck() -> None:
    playback = Playback(24000, 24000)
    playback.push(np.full(24000, 16000, np.int16), 1)
    playback.pop_frame()
    playback.duck(-20.0)
    playback.pop_frame()
    assert playback.pop_frame()[0] == 1600
    playback.duck(0.0)
    playback.pop_frame()
    assert playback.pop_frame()[0] == 16000
    playback.duck(-math.inf)
    playback.pop_frame()
    assert not playback.pop_frame().any()
    for db in (1.0, math.nan):
        with pytest.raises(AudioError, match="db"):
            playback.duck(db)


def test_a_full_store_refuses_the_rest() -> None:
    playback = Playback(capacity_ms=1000)
    assert playback.push(np.ones(30000, np.int16), 1) == 24000
    assert playback.push(np.ones(5, np.int16), 1) == 0
    stats = playback.stats()
    assert (stats.pushed, stats.dropped, stats.overflowed) == (30005, 6005, 6005)
    assert "PlaybackStats(pushed=30005" in repr(stats)


def test_minutes_fit() -> None:
    playback = Playback()
    minute = np.ones(24000 * 60, np.int16)
    for _ in range(30):
        assert playback.push(minute, 1) == len(minute)
    assert playback.level_ms == 30 * 60 * 1000
    assert playback.push(minute[:1], 1) == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"input_rate": 1}, "sample rate 1 Hz"),
        ({"output_rate": 22055}, "multiple of 50"),
        ({"capacity_ms": 0}, "capacity_ms"),
        ({"prefill_ms": -5}, "prefill_ms"),
        ({"prefill_ms": 10**9}, "prefill_ms"),
        ({"fade_ms": 0}, "fade_ms"),
    ],
)
def test_unusable_options(options: dict[str, int], text: str) -> None:
    with pytest.raises(AudioError, match=text):
        Playback(**options)


def test_pop_gives_the_frame_and_what_became_of_turns(tone: Callable[..., Int16]) -> None:
    pcm = tone(24000, 443.0, 0.1)
    popped, plain = Playback(), Playback()
    for playback in (popped, plain):
        playback.push(pcm, 1)
        playback.end_turn(1)
    told = []
    for number in range(7):
        assert popped.next_frame == ("sound" if popped.audible else "silent")
        before = popped.audible
        samples, sounds, next_frame, progress = popped.pop(number * 0.02)
        assert isinstance(samples, bytes)
        np.testing.assert_array_equal(np.frombuffer(samples, np.int16), plain.pop_frame())
        assert sounds == before
        assert next_frame == popped.next_frame
        told.append(progress)
    assert told == [((1, False),), (), (), (), ((1, True),), (), ()]
    assert popped.stats().frames == 7
    assert popped.take_progress() == ()


def test_a_turn_that_may_go_on_is_starved_before_it_runs_dry() -> None:
    playback = Playback()
    playback.push(np.ones(480 * 3 + 1, np.int16), 1)
    found = [playback.pop(0.0)[2] for _ in range(4)]
    assert found == ["sound", "sound", "starved", "silent"]
    assert playback.stats().underruns == 1


def test_what_is_popped_reaches_the_echo_reference() -> None:
    """The echo is suppressed as with a reference that is given the frames by hand."""
    voice = signals.speech_like(4000, 24000, seed=3)
    sums = []
    for native in (True, False):
        reference = EchoReference(48000)
        playback = Playback(echo=reference if native else None)
        stream = InputStream(16000, echo=reference)
        playback.push(voice, 1)
        playback.end_turn(1)
        down, on_the_way = Resampler(48000, 16000), [np.zeros(320, np.int16)] * 5
        sent = []
        for number in range(200):
            at = 0.02 * number
            if native:
                frame = np.frombuffer(playback.pop(at)[0], np.int16)
            else:
                frame = playback.pop_frame()
                reference.push(frame, at)
            on_the_way.append((down.push(frame) // 8).astype(np.int16))
            wire, _ = stream.push(on_the_way.pop(0), 16000, at=at + 0.02)
            sent.append(wire)
        sums.append(np.concatenate(sent))
    np.testing.assert_array_equal(*sums)
    echo = np.abs(sums[0][32000:].astype(int)).max()
    assert echo < np.abs(voice).max() / 8 / 4, "the suppressor had the reference"


def test_a_time_that_is_none_changes_nothing() -> None:
    playback = Playback(echo=EchoReference(48000))
    playback.push(np.ones(2400, np.int16), 1)
    for at in (math.nan, math.inf):
        with pytest.raises(AudioError, match="at"):
            playback.pop(at)
        with pytest.raises(AudioError, match="at"):
            playback.push(b"\0\0", 1, at)
        with pytest.raises(AudioError, match="at"):
            playback.push_base64("AAA=", 1, at)
    stats = playback.stats()
    assert (stats.frames, stats.pushed) == (0, 2400)


def test_the_echo_reference_has_the_rate_of_the_frames() -> None:
    with pytest.raises(AudioError, match="16000"):
        Playback(echo=EchoReference(16000))


def test_turns_start_on_their_first_chunk_once_the_service_was_seen_to_keep_ahead() -> None:
    chunk = np.ones(960, np.int16)
    timed, untimed = Playback(), Playback()
    for number in range(25):
        timed.push(chunk, 1, at=1 + 0.01 * number)
        untimed.push(chunk, 1)
    for playback in (timed, untimed):
        playback.end_turn(1)
        drain(playback)
    timed.push(chunk, 2, at=9.0)
    untimed.push(chunk, 2)
    assert (timed.audible, untimed.audible) == (True, False)
    assert (timed.stats().prefill_ms, untimed.stats().prefill_ms) == (20, 60)


def test_turns_are_numbers_from_zero() -> None:
    playback = Playback()
    with pytest.raises(OverflowError):
        playback.push(b"\0\0", -1)
    with pytest.raises(TypeError):
        playback.push(b"\0\0", "one")  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="got 1"):
        playback.push(b"\0", 0)
    assert playback.stats().pushed == 0


CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 3000), st.integers(-1, 1)),
        st.tuples(st.just("pop"), st.integers(1, 4), st.none()),
        st.sampled_from(
            [(name, None, None) for name in ("pause", "resume", "end_turn", "flush", "flush_turn")]
        ),
        st.tuples(st.just("duck"), st.floats(-30, 0), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(CALLS)
def test_the_books_balance_and_nothing_clicks_in_any_order_of_calls(
    calls: list[tuple[str, float | None, int | None]],
) -> None:
    playback, turn, heard = Playback(), 1, []
    for name, number, ahead in calls:
        if name == "push":
            assert number is not None
            assert ahead is not None
            pushed_to = max(0, turn + ahead)
            turn = max(turn, pushed_to)
            playback.push(np.full(int(number), 16000, np.int16), pushed_to)
        elif name == "pop":
            assert number is not None
            for _ in range(int(number)):
                audible, frame = playback.audible, playback.pop_frame()
                assert audible or not frame.any()
                heard.append(frame)
        elif name in ("end_turn", "flush_turn"):
            getattr(playback, name)(turn)
        elif name == "duck":
            assert number is not None
            playback.duck(number)
        else:
            getattr(playback, name)()
        stats = playback.stats()
        assert stats.pushed == stats.played + stats.dropped + stats.queued
    playback.resume()
    playback.end_turn(turn)
    heard.append(drain(playback))
    assert (playback.state, playback.level_ms) == ("idle", 0.0)
    # A raised cosine of 5 ms at 48 kHz and the duck's ramp of 10 ms, on a level of 16000.
    bound = 16000 * (math.pi / 2 / 240 + 1 / 480) + 4
    steps = np.diff(np.concatenate(heard).astype(int), prepend=0, append=0)
    assert np.abs(steps).max() <= bound


def test_a_turn_short_of_its_prefill_plays_when_its_time_has_come() -> None:
    playback = Playback(24000, 24000)
    assert playback.starts_at is None
    playback.push(np.full(300, 1000, np.int16), 1, 10.0)
    assert playback.starts_at == 10.3
    assert playback.pop(10.2)[1:3] == (False, "silent")
    playback.pass_time(10.3)
    assert (playback.next_frame, playback.starts_at) == ("starved", None)
    assert playback.pop(10.3)[1:] == (True, "silent", ((1, False),))
    assert playback.played_ms(1) == 12.5

    hasty = Playback(24000, 24000, patience_ms=0)
    hasty.push(np.full(300, 1000, np.int16), 1, 10.0)
    assert hasty.pop(10.0)[1] is True
    for at in (math.nan, math.inf):
        with pytest.raises(AudioError, match="at"):
            playback.pass_time(at)
        with pytest.raises(AudioError, match="at"):
            playback.pop(at)
    with pytest.raises(AudioError, match="patience_ms"):
        Playback(patience_ms=-1)


def test_what_is_cleared_is_silent_at_once() -> None:
    playback = Playback()
    playback.push(np.full(4800, 20_000, np.int16), 1)
    playback.pop_frame()
    assert playback.clear() == 4800 - 480
    assert not playback.audible
    assert not playback.pop_frame().any()
    assert playback.take_progress() == ((1, False), (1, True))
    assert playback.push(np.ones(5, np.int16), 1) == 0


def test_a_frame_is_added_under_the_next_one_for_the_listener_and_the_echo() -> None:
    plain, mixed, alone = (Playback(echo=EchoReference(48000)) for _ in range(3))
    pcm = signals.speech_like(200, 24000)
    for playback in (plain, mixed):
        playback.push(pcm, 1)
        playback.end_turn(1)
    under = signals.speech_like(200, 48000, seed=2)[:960]
    speech, sounding, _, _ = plain.pop(0.0)
    both, sounding_too, _, _ = mixed.pop(0.0, under.tobytes())
    assert sounding
    assert sounding_too
    total = np.frombuffer(speech, np.int16).astype(int) + under
    np.testing.assert_array_equal(np.frombuffer(both, np.int16), np.clip(total, -32768, 32767))
    # Under silence there is the frame itself.
    samples, sounding, ahead, _ = alone.pop(0.0, under.tobytes())
    assert (samples, sounding, ahead) == (under.tobytes(), True, "silent")


def test_sums_saturate() -> None:
    playback = Playback(48000, 48000, prefill_ms=0)
    playback.push(np.full(4800, 30_000, np.int16), 1)
    playback.pop(0.0)
    loud = np.full(960, 30_000, np.int16)
    assert np.frombuffer(playback.pop(0.02, loud.tobytes())[0], np.int16).max() == 32_767
    assert np.frombuffer(playback.pop(0.04, (-loud).tobytes())[0], np.int16).max() < 100


@pytest.mark.parametrize("under", [b"", bytes(1919), bytes(1921), bytes(960)])
def test_a_frame_of_another_length_is_refused(under: bytes) -> None:
    playback = Playback()
    playback.push(np.ones(24_000, np.int16), 1)
    before = playback.stats()
    with pytest.raises(AudioError, match="1920"):
        playback.pop(0.0, under)
    assert playback.stats().frames == before.frames
