"""Choice of sources, rhythm, and the size of an image: no I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.live import (
    VideoOptions,
    VideoSource,
    ViewChanged,
    active_speaker,
    screen_first,
)
from getstream.plugins.gemini.live._media.video_sources import (
    FIRST_BUDGET_BYTES,
    LARGEST_BUDGET_BYTES,
    LONGEST_POSTPONEMENT_S,
    MAX_AUDIO_DELAY_S,
    MIN_VIEW_S,
    SMALLEST_MESSAGE_BYTES,
    TRY_AGAIN_S,
    DelayBudget,
    Rhythm,
    SourceTable,
    describe_view,
    resolve_call_options,
    resolve_track_options,
)


def table(**options: Any) -> SourceTable:
    return SourceTable(VideoOptions(**options))


def view(sources: SourceTable, now: float) -> list[str]:
    return [source.name for source in sources.look(now)[0]]


# -- policies ------------------------------------------------------------------------------------


def test_a_screen_comes_before_a_camera_and_a_new_screen_before_an_old_one() -> None:
    sources = table()
    assert view(sources, 0) == []
    sources.add("camera", "anna", "a", "track 1", 0)
    sources.add("camera", "bob", "b", "track 2", 1)
    assert view(sources, 1) == ["anna's camera"]
    sources.add("screen", "bob", "b", "track 3", 2)
    assert view(sources, 2) == ["bob's screen"]
    sources.add("screen", "anna", "a", "track 4", 3)
    assert view(sources, 3) == ["anna's screen"], "at once: it is new"
    sources.leave("a")
    assert view(sources, 3.1) == ["bob's screen"]
    (screen,) = sources.look(3.1)[0]
    sources.remove(screen, "track 3")
    assert view(sources, 3.2) == ["bob's camera"]
    sources.leave("b")
    assert view(sources, 3.3) == []


def test_at_most_so_many_at_a_time() -> None:
    sources = table(sources=2)
    for index, name in enumerate(("anna", "bob", "carol")):
        sources.add("camera", name, name, name, index)
    sources.add("screen", "carol", "carol", "screen", 3)
    assert view(sources, 3) == ["carol's screen", "anna's camera"]
    assert len(sources) == 4


def test_kinds_that_are_not_asked_for() -> None:
    sources = table(kinds=("screen",))
    assert sources.add("camera", "anna", "a", "track", 0) is None
    assert sources.add("screen", "anna", "a", "track", 0) is not None
    assert view(sources, 0) == ["anna's screen"]


def test_who_speaks_is_seen_but_not_for_an_mhm() -> None:
    sources = table(policy="active_speaker")
    sources.add("camera", "anna", "a", "track 1", 0)
    sources.add("camera", "bob", "b", "track 2", 0)
    sources.note_speech("anna", True, 10)
    assert view(sources, 10) == ["anna's camera"]
    sources.note_speech("anna", False, 11)
    sources.note_speech("bob", True, 11)
    sources.note_speech("bob", False, 11.2)
    sources.note_speech("anna", True, 11.3)
    names, again = sources.look(11.3)
    assert [source.name for source in names] == ["anna's camera"]
    sources.note_speech("anna", False, 11.4)
    sources.note_speech("bob", True, 11.5)
    names, again = sources.look(11.5)
    assert [source.name for source in names] == ["anna's camera"], "only since 10"
    assert again == pytest.approx(10 + MIN_VIEW_S), "and is looked at again then"
    assert view(sources, 10 + MIN_VIEW_S) == ["bob's camera"]
    # What ends does not wait.
    sources.leave("b")
    assert view(sources, 10.1 + MIN_VIEW_S) == ["anna's camera"]


def test_of_one_speaker_the_screen_is_seen() -> None:
    sources = table(policy="active_speaker")
    sources.add("camera", "anna", "a", 1, 0)
    sources.add("screen", "anna", "a", 2, 0)
    sources.add("screen", "bob", "b", 3, 1)
    sources.note_speech("anna", True, 5)
    assert view(sources, 5) == ["anna's screen"]


def test_a_policy_of_the_users_own() -> None:
    def only_bob(sources: Sequence[VideoSource]) -> list[VideoSource]:
        return [source for source in sources if source.user_id == "bob"]

    sources = table(policy=only_bob)
    sources.add("screen", "anna", "a", 1, 0)
    assert view(sources, 0) == []
    sources.add("camera", "bob", "b", 2, 1)
    assert view(sources, 1) == ["bob's camera"]
    assert sources.policy_error is None


@pytest.mark.parametrize(
    "policy",
    [
        lambda sources: 1 / 0,
        lambda sources: None,
        lambda sources: ["anna's camera"],
        lambda sources: [VideoSource("of somebody else", "camera", "x", "x")],
    ],
)
def test_a_policy_that_fails_leaves_the_default(policy: Any) -> None:
    sources = table(policy=policy)
    sources.add("camera", "anna", "a", 1, 0)
    sources.add("screen", "anna", "a", 2, 1)
    assert view(sources, 1) == ["anna's screen"]
    assert sources.policy_error is not None


def test_a_policy_that_names_a_source_twice_sees_it_once() -> None:
    sources = table(policy=lambda sources: [*sources, *sources], sources=2)
    sources.add("camera", "anna", "a", 1, 0)
    assert view(sources, 0) == ["anna's camera"]


def test_mute_and_unmute() -> None:
    sources = table()
    sources.add("camera", "anna", "a", 1, 0)
    sources.add("camera", "bob", "b", 2, 1)
    sources.set_muted("camera", "a", True)
    assert view(sources, 2) == ["bob's camera"]
    sources.set_muted("camera", "nobody", True)
    sources.set_muted("camera", "a", False)
    assert view(sources, 5) == ["anna's camera"]


def test_a_blind_source_is_tried_again_later() -> None:
    sources = table()
    anna = sources.add("camera", "anna", "a", 1, 0)
    assert anna is not None
    sources.block(anna, 10)
    chosen, again = sources.look(10)
    assert (chosen, again) == ([], 10 + TRY_AGAIN_S)
    assert view(sources, 10 + TRY_AGAIN_S) == ["anna's camera"]
    # Or at once, when it is published again.
    sources.block(anna, 50)
    sources.set_muted("camera", "a", False)
    assert view(sources, 51) == ["anna's camera"]


def test_names_are_unique() -> None:
    sources = table(sources=3)
    sources.add("camera", "anna", "phone", 1, 0)
    sources.add("camera", "anna", "laptop", 2, 1)
    sources.add("camera", "anna", "laptop", 3, 2)
    assert view(sources, 3) == ["anna's camera", "anna's camera (2)"]
    assert sources.track_of(sources.look(3)[0][1]) == 3, "the newer track of the same session"


def test_the_policies_are_plain_functions() -> None:
    camera = VideoSource("c", "camera", added_at=1)
    screen = VideoSource("s", "screen", added_at=2)
    speaker = VideoSource("x", "camera", added_at=3, speaking=True, spoke_at=4)
    assert screen_first([speaker, camera, screen]) == [screen, camera, speaker]
    assert active_speaker([camera, screen, speaker]) == [speaker, screen, camera]
    assert screen_first([]) == active_speaker([]) == []


def test_twenty_tracks_at_once() -> None:
    sources = table(sources=3)
    for index in range(20):
        sources.add("camera", f"user {index}", str(index), index, index)
    assert len(view(sources, 20)) == 3
    for index in range(20):
        sources.leave(str(index))
    assert view(sources, 21) == []
    assert len(sources) == 0


def test_a_view_in_words() -> None:
    camera = VideoSource("anna's camera", "camera")
    screen = VideoSource("bob's screen", "screen")
    one = ViewChanged(sources=(screen,), previous=(camera,))
    assert describe_view(one) == "[The video now shows bob's screen.]"
    two = ViewChanged(sources=(screen, camera), previous=())
    assert describe_view(two) == "[The video now shows bob's screen and anna's camera.]"
    assert describe_view(ViewChanged(sources=(), previous=(camera,))).startswith("[No video")


# -- rhythm --------------------------------------------------------------------------------------


def test_the_rhythm_goes_by_the_clock() -> None:
    rhythm = Rhythm(VideoOptions(fps=2, fps_idle=None))
    assert rhythm.due_at(True) < 0, "the first one at once"
    rhythm.looked(10.0, True)
    assert rhythm.due_at(True) == 10.5
    rhythm.looked(10.6, True)
    assert rhythm.due_at(True) == 11.0, "on the grid"
    rhythm.looked(13.0, True)
    assert rhythm.due_at(True) == 13.5, "a new grid after a gap"


def test_less_often_in_silence_and_at_once_when_somebody_speaks() -> None:
    rhythm = Rhythm(VideoOptions(fps=1, fps_idle=0.1))
    rhythm.looked(0.0, False)
    assert rhythm.due_at(False) == 10
    assert rhythm.due_at(True) == 1
    rhythm.looked(4.0, True)
    assert rhythm.due_at(True) == 5


@pytest.mark.parametrize("fps", [0.01, 0.5, 1, 30, 60])
def test_so_many_images_in_100_s(fps: float) -> None:
    rhythm = Rhythm(VideoOptions(fps=fps, fps_idle=None))
    now, sent = 0.0, 0
    while now < 100:
        rhythm.looked(now, False)
        sent += 1
        now = rhythm.due_at(False)
    assert sent == pytest.approx(100 * fps, abs=1)


def test_what_is_unchanged_is_sent_again_at_times() -> None:
    rhythm = Rhythm(VideoOptions(refresh_s=30))
    assert not rhythm.may_skip(0.0), "nothing was sent"
    rhythm.sent(0.0)
    assert rhythm.may_skip(29.9)
    assert not rhythm.may_skip(30.0)
    rhythm.force()
    assert not rhythm.may_skip(1.0)
    rhythm.sent(1.0)
    assert rhythm.may_skip(2.0)
    assert not Rhythm(VideoOptions(skip_unchanged=False)).may_skip(math.inf)


# -- the size of a message -----------------------------------------------------------------------


def send(budget: DelayBudget, wanted: int, bytes_per_s: float, *, speaking: bool) -> float | None:
    """Send an image of `wanted` bytes, or a smaller one; return the delay, None if postponed."""
    most = budget.max_bytes(speaking=speaking)
    if most is None:
        return None
    size = min(wanted, most)
    delay = size / bytes_per_s
    budget.sent(size, delay)
    return delay


@pytest.mark.parametrize("mbit", [10, 20, 50, 100, 1000])
def test_audio_is_not_late_on_a_path_of(mbit: int) -> None:
    budget = DelayBudget()
    delays = [send(budget, 40_000, mbit * 125_000, speaking=True) for _ in range(20)]
    late = [delay for delay in delays if delay is not None and delay > MAX_AUDIO_DELAY_S * 1.001]
    assert len(late) <= 2, "while the path is learnt"
    assert late == delays[: len(late)]
    assert None not in delays


def test_a_fast_path_gets_whole_images_soon() -> None:
    budget = DelayBudget()
    for _ in range(3):
        send(budget, 60_000, 125e6, speaking=True)
    most = budget.max_bytes(speaking=True)
    assert most is not None
    assert most >= 60_000
    for _ in range(50):
        budget.sent(10**9, 0.0)
    assert budget.max_bytes(speaking=True) == LARGEST_BUDGET_BYTES


def test_on_a_slow_path_images_wait_for_a_silence() -> None:
    budget = DelayBudget()
    delays = [send(budget, 40_000, 125_000, speaking=True) for _ in range(10)]
    assert delays[-1] is None
    assert budget.max_bytes(speaking=True, waited_s=LONGEST_POSTPONEMENT_S - 0.1) is None
    small = budget.max_bytes(speaking=True, waited_s=LONGEST_POSTPONEMENT_S)
    assert small == SMALLEST_MESSAGE_BYTES, "but not for ever"
    in_silence = budget.max_bytes(speaking=False)
    assert in_silence is not None
    assert in_silence > SMALLEST_MESSAGE_BYTES


def test_a_path_that_recovers_is_used_again() -> None:
    budget = DelayBudget()
    for _ in range(10):
        send(budget, 40_000, 125_000, speaking=True)
    for _ in range(10):
        send(budget, 40_000, 125e6, speaking=False)
    most = budget.max_bytes(speaking=True)
    assert most is not None
    assert most >= 40_000


def test_one_hiccup_halves_it() -> None:
    budget = DelayBudget()
    budget.sent(12_000, 1.0)
    assert budget.max_bytes(speaking=True) == FIRST_BUDGET_BYTES // 2


# -- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"fps": 0},
        {"fps": 0.001},
        {"fps": 61},
        {"fps": "1"},
        {"fps": True},
        {"fps": float("nan")},
        {"fps_idle": 0},
        {"refresh_s": 0},
        {"max_side": 8},
        {"max_side": 768.0},
        {"quality": 0},
        {"quality": 101},
        {"max_bytes": 10},
        {"kinds": ()},
        {"kinds": ("camera", "audio")},
        {"kinds": "camera"},
        {"sources": 0},
        {"sources": True},
        {"policy": "loudest"},
        {"policy": None},
        {"announce": "yes"},
        {"skip_unchanged": None},
    ],
    ids=str,
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=name):
        VideoOptions(**options)


@pytest.mark.parametrize("fps", [0, -1, 61, float("nan"), "1", None, True])
def test_the_rate_of_a_track_is_checked(fps: Any) -> None:
    with pytest.raises(ConfigError, match="fps"):
        resolve_track_options(fps, None)


def test_a_track_has_the_rate_that_it_was_given_and_nothing_is_skipped() -> None:
    options = resolve_track_options(0.01, None)
    assert (options.fps, options.fps_idle, options.skip_unchanged) == (0.01, None, False)
    mine = VideoOptions(fps=2)
    assert resolve_track_options(1, mine) is mine
    with pytest.raises(ConfigError, match="rate"):
        resolve_track_options(2, mine)
    with pytest.raises(ConfigError, match="options"):
        resolve_track_options(1, {"fps": 1})


def test_the_options_of_a_call() -> None:
    assert resolve_call_options(False, None, hears=True) is None
    assert resolve_call_options(True, None, hears=True) == VideoOptions()
    rate = resolve_call_options(True, 2, hears=True)
    assert rate is not None
    assert (rate.fps, rate.fps_idle, rate.skip_unchanged) == (2, None, True)
    deaf = resolve_call_options(True, None, hears=False)
    assert deaf is not None
    assert deaf.fps_idle is None, "nobody is heard to speak"
    for video, fps in ((None, None), ("yes", None), (VideoOptions(), 1), (True, "1")):
        with pytest.raises(ConfigError):
            resolve_call_options(video, fps, hears=True)
