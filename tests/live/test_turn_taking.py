"""Turn-taking of the whole assistant: the real SDK and real sockets, on a virtual clock."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.audio import Resampler
from getstream.plugins.gemini.live import (
    BargeIn,
    GeminiLive,
    Interrupted,
    PlaybackFinished,
    PlaybackStarted,
    Stalled,
    TurnComplete,
    Watchdog,
)
from getstream.plugins.gemini.live._turns import controller, policy
from getstream.plugins.gemini.testing import ActivityOptions, Parrot, Script, Turn, signals
from getstream.plugins.gemini.testing.clock import run_virtual
from room import (
    CALL,
    FADE_MS,
    GRACE,
    MODEL,
    TEXT,
    WIRE,
    Int16,
    Local,
    Room,
    happens,
    hears,
    hold,
    recorded,
    voice,
    words,
)

# The service interrupts until the reply would have been played.
TO_THE_END = {"turn_complete_after": "playback"}

# Nobody but the local detector notices anything.
DEAF = ActivityOptions(prefix_padding_ms=60_000)


# -- nothing is lost -----------------------------------------------------------------------------


def test_a_click_that_the_service_takes_for_speech_costs_nothing(local: Local) -> None:
    reply = voice(5.0)
    click = signals.click(20, WIRE, dbfs=-6)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        room.say(click, at=2.0)
        await room.until(12)

    room, _ = hold(local, scenario, Script([Turn(audio=reply)]), TO_THE_END)
    assert room.session.interruptions == 1, "it did believe the click"
    stats = room.gemini.stats()
    assert (stats.barge_ins, stats.false_barge_ins, stats.interruptions) == (1, 1, 0)
    assert stats.dropped_ms == 0
    assert stats.played_ms == pytest.approx(5000, abs=0.1)
    (finished,) = room.of("playback_finished")
    assert not finished.cut
    pause = finished.finished_at - finished.started_at - 5.0
    assert pause == pytest.approx(policy.UNCONFIRMED_INTERRUPTION_S, abs=0.1)


def test_mhm_over_a_reply_costs_nothing(local: Local) -> None:
    reply = voice(5.0)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        room.say(words(0.3), at=2.0)
        await room.until(9)

    # The reply is complete before the word, and the model does not answer it.
    room, _ = hold(local, scenario, Script([Turn(audio=reply), []]))
    stats = room.gemini.stats()
    assert (stats.barge_ins, stats.false_barge_ins) == (1, 1)
    assert (stats.dropped_ms, stats.played_ms) == (0, pytest.approx(5000, abs=0.1))
    (started,), (stopped,) = room.of("speech_started"), room.of("speech_stopped")
    assert started.user_id == stopped.user_id == "anna"


@pytest.mark.parametrize("delay_ms", [0, 50, 100, 200, 300, 500, 750, 1000])
def test_a_reply_soon_after_the_user_is_heard_whole(local: Local, delay_ms: int) -> None:
    reply = voice(2.4)

    async def scenario(room: Room) -> None:
        room.say(words(1.5), at=1.0)
        await room.until(2.5 + delay_ms / 1000)
        room.session.say(Turn(audio=reply))
        await room.until(8)

    room, sound = hold(local, scenario, Script([]), {"speed": 4.0, "activity": DEAF})
    stats = room.gemini.stats()
    assert (stats.turns, stats.barge_ins, stats.interruptions) == (1, 0, 0)
    assert stats.played_ms == pytest.approx(2400, abs=0.1)
    assert hears(sound, reply) > 0.98


def test_a_reply_of_fifteen_minutes_that_comes_in_one_burst(local: Local) -> None:
    reply = np.tile(voice(10.0), 90)

    async def scenario(room: Room) -> None:
        complete = asyncio.ensure_future(happens(room, "turn_complete"))
        await room.gemini.send_text("Tell me everything.")
        await complete
        assert room.now < 20, "it has arrived long before it is heard"
        assert room.gemini.stats().queued_ms > 800_000
        room.mute()
        asyncio.get_running_loop().grace = 0  # type: ignore[attr-defined]  # no socket has a part
        await room.until(15 * 60 + 20)

    room, sound = hold(
        local,
        scenario,
        Script([Turn(audio=reply)]),
        {"speed": 200.0, "chunk_ms": 400, "record_bytes": 1 << 20},
        barge_in=False,
    )
    stats = room.gemini.stats()
    assert stats.played_ms == pytest.approx(900_000, abs=0.1)
    assert (stats.dropped_ms, stats.underruns, stats.playout_underruns) == (0, 0, 0)
    (finished,) = room.of("playback_finished")
    assert finished.finished_at - finished.started_at == pytest.approx(900, abs=0.1), "at 1x"
    # The one-way delay does not creep: the last ten seconds come as late as the first.
    first = signals.align(reply[: 10 * MODEL], sound[: 12 * CALL][::2], MODEL)
    begin = round((900 - 10) * CALL)
    last = signals.align(reply[-10 * MODEL :], sound[begin : begin + 14 * CALL][::2], MODEL)
    drift = (begin / CALL * 1000 + last.offset_ms) - (first.offset_ms + 890_000)
    assert abs(drift) < 1


# -- who commits ---------------------------------------------------------------------------------


def test_the_service_interrupts_an_open_turn(local: Local) -> None:
    reply, answer = voice(6.0, 1), voice(1.0, 2)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        room.say(words(1.5), at=2.0)
        await room.until(8)

    script = Script([Turn(audio=reply, text=TEXT), Turn(audio=answer, text="Yes.")])
    room, sound = hold(local, scenario, script, TO_THE_END)
    (cut,) = room.of("interrupted")
    assert (cut.turn, cut.cause) == (1, "server")
    assert 1000 < cut.heard_ms < 2200
    assert TEXT.startswith(cut.heard_text)
    share = cut.heard_ms / 6000 * len(TEXT.split())
    assert len(cut.heard_text.split()) == pytest.approx(share, abs=1.01)
    assert hears(sound, answer) > 0.98
    assert room.of("turn_complete") == [TurnComplete(2, "Yes.")]
    first, second = room.of("playback_finished")
    assert isinstance(first, PlaybackFinished)
    assert (first.turn, first.cut, first.heard_text) == (1, True, cut.heard_text)
    assert first.heard_ms == pytest.approx(cut.heard_ms, abs=FADE_MS)
    assert (second.turn, second.cut, second.heard_text) == (2, False, "Yes.")
    assert second.heard_ms == 1000
    # Silent well before the service said so: the first word is not yet over.
    started = next(at for at, name, _ in room.events if name == "speech_started")
    assert started < 2.15
    quiet = sound[round((started + 0.08) * CALL) : round((started + 0.3) * CALL)]
    assert not quiet.any()


def test_a_reply_that_is_complete_is_cut_here(local: Local) -> None:
    reply, answer = voice(8.0, 1), voice(1.0, 2)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        room.say(words(1.6), at=3.0)
        await room.until(9)

    script = Script([Turn(audio=reply, text=TEXT), Turn(audio=answer)])
    room, sound = hold(local, scenario, script)
    assert room.session.interruptions == 0, "the service has nothing left to interrupt"
    (cut,) = room.of("interrupted")
    assert (cut.turn, cut.cause) == (1, "speech")
    (at,) = [at for at, name, _ in room.events if name == "interrupted"]
    (started,) = [at for at, name, _ in room.events if name == "speech_started"]
    assert at - started == pytest.approx(0.6, abs=0.02)
    assert hears(sound, answer) > 0.98
    assert hears(sound[round(at * CALL) :], reply[4 * MODEL :]) < 0.5


def test_playback_events_come_in_order_and_say_when(local: Local) -> None:
    async def scenario(room: Room) -> None:
        for _ in range(2):
            complete = asyncio.ensure_future(happens(room, "playback_finished"))
            await room.gemini.send_text("Go.")
            await complete

    script = Script([Turn(audio=voice(1.0), text="First."), Turn(audio=voice(2.0), text="Second.")])
    room, _ = hold(local, scenario, script, barge_in=False)
    started, finished = room.of("playback_started"), room.of("playback_finished")
    assert [each.turn for each in started] == [each.turn for each in finished] == [1, 2]
    for begin, end, seconds, text in zip(
        started, finished, (1.0, 2.0), ("First.", "Second."), strict=True
    ):
        assert isinstance(begin, PlaybackStarted)
        assert begin.at == end.started_at
        assert end.finished_at - end.started_at == pytest.approx(seconds, abs=0.021)
        assert (end.text, end.heard_text, end.cut) == (text, text, False)


# -- stages --------------------------------------------------------------------------------------


def test_it_is_ducked_and_then_paused(local: Local) -> None:
    tone = signals.tone(440, 6000, MODEL, dbfs=-20)
    options = BargeIn(duck_db=-12, pause_after_ms=400)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        room.say(words(1.0), at=3.0)
        await room.until(4.0)

    script = Script([Turn(audio=tone)])
    _, sound = hold(local, scenario, script, {"activity": DEAF}, barge_in=options)
    level = [signals.rms_dbfs(sound[i : i + 480]) for i in range(0, 4 * CALL, 480)]
    before, ducked, silent = level[290], level[325], level[390]
    assert before == pytest.approx(-20, abs=0.1)
    assert ducked == pytest.approx(-32, abs=0.1)
    assert silent < -90
    # Ducked within the detector's own delay, paused 400 ms after that.
    duck_at = next(i for i, each in enumerate(level) if i > 290 and each < -31) / 100
    pause_at = next(i for i, each in enumerate(level) if i > 290 and each < -90) / 100
    assert duck_at < 3.2
    assert pause_at - duck_at == pytest.approx(0.4, abs=0.05)


def test_a_sign_that_is_nothing_changes_nothing_without_a_duck(local: Local) -> None:
    tone = signals.tone(440, 6000, MODEL, dbfs=-20)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        room.say(words(0.3), at=3.0)
        await room.until(9.0)

    options = BargeIn(duck_db=0, pause_after_ms=1000)
    script = Script([Turn(audio=tone)])
    room, sound = hold(local, scenario, script, {"activity": DEAF}, barge_in=options)
    level = [signals.rms_dbfs(sound[i : i + 480]) for i in range(1 * CALL, 6 * CALL, 480)]
    assert min(level) > -20.1
    assert room.gemini.stats().barge_ins == 0


# -- changed in mid-call -------------------------------------------------------------------------


def test_switched_off_in_the_middle_of_a_pause_it_goes_on_at_once(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        room.say(words(3.0), at=3.0)
        await room.until(3.5)
        assert room.gemini.barge_in == BargeIn()
        await room.gemini.reconfigure(barge_in=False)
        assert room.gemini.barge_in is None
        await room.until(9.0)

    tone = signals.tone(440, 6000, MODEL, dbfs=-20)
    script = Script([Turn(audio=tone)])
    room, sound = hold(local, scenario, script, {"activity": DEAF})
    level = [signals.rms_dbfs(sound[i : i + 480]) for i in range(0, 9 * CALL, 480)]
    assert level[345] < -90, "paused"
    assert min(level[360:650]) > -21, "and heard again"
    assert room.gemini.stats().played_ms == pytest.approx(6000, abs=0.1)
    assert len(room.server.sessions) == 1


def test_a_duck_under_way_takes_its_new_depth(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        room.say(words(1.0), at=3.0)
        await room.until(3.4)
        deeper = BargeIn(duck_db=-30, pause_after_ms=1000)
        await room.gemini.reconfigure(barge_in=deeper)
        await room.until(3.9)

    tone = signals.tone(440, 6000, MODEL, dbfs=-20)
    script = Script([Turn(audio=tone)])
    options = BargeIn(duck_db=-12, pause_after_ms=1000)
    _, sound = hold(local, scenario, script, {"activity": DEAF}, barge_in=options)
    level = [signals.rms_dbfs(sound[i : i + 480]) for i in range(0, round(3.9 * CALL), 480)]
    assert level[330] == pytest.approx(-32, abs=0.1)
    assert level[360] == pytest.approx(-50, abs=0.1)


# -- the service's own detection is off ----------------------------------------------------------

MARKED = {
    "realtime_input_config": {
        "automatic_activity_detection": {"disabled": True, "silence_duration_ms": 600}
    }
}


def test_the_user_is_marked_from_before_the_first_sound(local: Local) -> None:
    said = words(1.5)

    async def scenario(room: Room) -> None:
        room.say(said, at=2.0)
        await room.until(8)

    room, sound = hold(local, scenario, Parrot(), config=MARKED)
    kinds = [frame.kind for frame in room.session.frames]
    assert kinds[:2] == ["setup", "activityStart"], "nothing is sent that nobody listens to"
    assert kinds[-1] == "activityEnd"
    assert kinds.count("activityStart") == kinds.count("activityEnd") == 1
    (wire,) = room.session.audio
    match = signals.align(said, wire.samples, WIRE)
    assert match.correlation > 0.999, "whole"
    assert match.offset_ms > 150, "with what came before"
    spoken = len(said) / WIRE
    lasted = len(wire.samples) / WIRE
    assert lasted == pytest.approx(match.offset_ms / 1000 + spoken + 0.6, abs=0.1)
    back = signals.align(said, sound[::3], WIRE)
    assert back.correlation > 0.95, "and the parrot has it"


def test_marked_speech_cuts_the_assistant_and_is_sent_whole(local: Local) -> None:
    said = words(1.5)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        room.say(said, at=3.0)
        await room.until(9)

    greeting = Turn(audio=voice(6.0))
    room, sound = hold(local, scenario, Parrot(greeting), TO_THE_END, config=MARKED)
    (cut,) = room.of("interrupted")
    assert cut.cause == "speech"
    (at,) = [at for at, name, _ in room.events if name == "interrupted"]
    (started,) = [at for at, name, _ in room.events if name == "speech_started"]
    assert at - started == pytest.approx(0.6, abs=0.02)
    assert room.session.interruptions == 1, "the service has been told"
    (wire,) = room.session.audio
    assert signals.align(said, wire.samples, WIRE).correlation > 0.999
    assert signals.align(said, sound[::3], WIRE).correlation > 0.95, "and the next turn speaks"


def test_a_short_word_is_not_marked_over_the_assistant(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        room.say(words(0.3), at=3.0)
        await room.until(9)

    greeting = Turn(audio=voice(6.0))
    room, _ = hold(local, scenario, Parrot(greeting), TO_THE_END, config=MARKED)
    assert [frame.kind for frame in room.session.frames] == ["setup", "text"]
    assert room.gemini.stats().played_ms == pytest.approx(6000, abs=0.1)
    assert room.gemini.stats().false_barge_ins == 1


def test_a_short_word_is_marked_after_a_change_and_sent_whole(local: Local) -> None:
    """The detector goes by other times when nobody has spoken for a while."""
    said = words(0.3)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        await room.gemini.reconfigure(barge_in=BargeIn(pause_after_ms=100, commit_after_ms=160))
        room.say(said, at=3.0)
        await room.until(9)

    greeting = Turn(audio=voice(6.0))
    room, _ = hold(local, scenario, Parrot(greeting), TO_THE_END, config=MARKED)
    (cut,) = room.of("interrupted")
    assert cut.cause == "speech"
    (wire,) = room.session.audio
    assert signals.align(said, wire.samples, WIRE).correlation > 0.999
    assert len(room.server.sessions) == 1


def test_who_mutes_in_a_marked_turn_has_finished_it(local: Local) -> None:
    async def scenario(room: Room) -> None:
        room.say(words(1.5), at=1.0)
        await room.until(2.0)
        room.mute()
        await room.until(5.0)

    room, _ = hold(local, scenario, Script([[]]), config=MARKED)
    kinds = [frame.kind for frame in room.session.frames]
    assert kinds[-1] == "activityEnd"
    assert "audioStreamEnd" not in kinds, "it belongs to the service's own detection"


def test_no_interruption_is_asked_for(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        room.say(words(1.5), at=2.0)
        await room.until(8)

    config = {"realtime_input_config": {"activity_handling": "NO_INTERRUPTION"}}
    room, _ = hold(local, scenario, Script([Turn(audio=voice(4.0)), []]), config=config)
    assert room.gemini.stats().barge_ins == 0
    assert room.gemini.stats().played_ms == pytest.approx(4000, abs=0.1)


# -- loudspeakers, and many people ---------------------------------------------------------------


def test_half_duplex_hears_nobody_while_it_speaks(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        room.say(words(1.0), at=2.0)
        room.say(words(1.0, start=1.0), at=6.0)
        await room.until(9)

    script = Script([Turn(audio=voice(3.0)), Turn(audio=voice(0.5, 2))])
    room, _ = hold(local, scenario, script, TO_THE_END, half_duplex=True)
    assert room.session.interruptions == 0
    (wire,) = room.session.audio
    assert not wire.samples[WIRE : 4 * WIRE].any(), "the wire is silent, and goes on"
    assert wire.samples[5 * WIRE :].any(), "afterwards everybody is heard"
    assert len(wire.samples) / WIRE == pytest.approx(9, abs=0.1)
    assert len(room.of("speech_started")) == 1
    assert room.gemini.stats().turns == 2


# -- loudspeakers --------------------------------------------------------------------------------


def spoken(name: str) -> Int16:
    """A recording at the rate of the model."""
    converter = Resampler(WIRE, MODEL)
    return np.concatenate([converter.push(recorded(name)), converter.flush()])


@pytest.mark.parametrize("level_db", [-6, -12, -20])
@pytest.mark.parametrize("delay_ms", [30, 60, 110, 250, 400])
def test_its_own_voice_from_a_loudspeaker_does_not_stop_it(
    local: Local, delay_ms: int, level_db: int
) -> None:
    reply = spoken("speech.wav")

    async def scenario(room: Room) -> None:
        room.loudspeaker(delay_ms / 1000, level_db)
        await room.gemini.send_text("Go.")
        await room.until(11)

    # The service interrupts as soon as it hears a voice, and it hears none.
    room, heard = hold(local, scenario, Script([Turn(audio=reply)]), TO_THE_END)
    stats = room.gemini.stats()
    assert room.session.interruptions == 0
    assert (stats.barge_ins, stats.interruptions, stats.dropped_ms) == (0, 0, 0)
    assert stats.played_ms == pytest.approx(len(reply) * 1000 / MODEL, abs=0.1)
    assert stats.echo_suppressed_ms > 7000
    assert not room.of("speech_started")
    assert hears(heard, reply) > 0.95, "it was ducked for a moment"


@pytest.mark.parametrize("level_db", [-6, -12, -20])
@pytest.mark.parametrize("delay_ms", [600, 900])
def test_a_late_echo_of_its_own_voice_pauses_it_once_at_most(
    local: Local, delay_ms: int, level_db: int
) -> None:
    """After 0.5 s of quiet what begins is taken for a person; the service hears none of it."""
    reply = spoken("speech.wav")

    async def scenario(room: Room) -> None:
        room.loudspeaker(delay_ms / 1000, level_db)
        await room.gemini.send_text("Go.")
        await room.until(12)

    room, _ = hold(local, scenario, Script([Turn(audio=reply)]), TO_THE_END)
    stats = room.gemini.stats()
    assert room.session.interruptions == 0
    assert stats.barge_ins == stats.false_barge_ins <= 1
    assert (stats.interruptions, stats.dropped_ms) == (0, 0)
    assert stats.played_ms == pytest.approx(len(reply) * 1000 / MODEL, abs=0.1)
    assert stats.echo_suppressed_ms > 7000


def test_a_loudspeaker_that_is_not_kept_out_would_stop_it(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(room: Room) -> None:
        room.gemini._audio.input._echo = None
        room.loudspeaker(0.25, -12)
        await room.gemini.send_text("Go.")
        await room.until(11)

    turns = Script([Turn(audio=spoken("speech.wav")), []])
    room, _ = hold(local, scenario, turns, TO_THE_END)
    assert room.session.interruptions > 0, "or the test above shows nothing"
    assert room.gemini.stats().barge_ins > 0


def test_who_speaks_over_its_echo_interrupts_it(local: Local) -> None:
    said = words(1.5)

    async def scenario(room: Room) -> None:
        room.loudspeaker(0.25, -20)
        await room.gemini.send_text("Go.")
        room.say(said, at=4.0)
        await room.until(9)

    turns = Script([Turn(audio=spoken("speech.wav")), []])
    room, _ = hold(local, scenario, turns, TO_THE_END)
    (finished,) = room.of("playback_finished")
    assert finished.cut
    assert 4.0 < finished.finished_at - room.started_at < 4.5
    (wire,) = room.session.audio
    assert signals.align(said, wire.samples, WIRE).correlation > 0.9


def test_who_speaks_over_the_first_words_is_sent_whole(local: Local) -> None:
    said = words(1.5)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        room.say(said, at=1.0)
        await room.until(6)

    turns = Script([Turn(audio=spoken("speech.wav")), []])
    room, _ = hold(local, scenario, turns, TO_THE_END)
    (finished,) = room.of("playback_finished")
    assert finished.cut
    # It could be an echo for 0.4 s of audio, and no longer.
    assert 1.0 < finished.finished_at - room.started_at < 1.0 + 0.4 + 0.3
    (wire,) = room.session.audio
    assert signals.align(said, wire.samples, WIRE).correlation > 0.99
    assert room.gemini.stats().echo_suppressed_ms == 0


def test_the_active_speaker_has_the_floor(local: Local) -> None:
    async def scenario(room: Room) -> None:
        room.say(np.full(1, 0, np.int16), at=0.0, who="ben")
        room.say(words(1.5), at=1.0)
        room.say(words(1.5, start=1.5), at=4.0, who="ben")
        await room.until(8)

    room, _ = hold(local, scenario, Script([[], []]), listen_to="active_speaker")
    (wire,) = room.session.audio
    for said in (words(1.5), words(1.5, start=1.5)):
        assert said.tobytes() in wire.samples.tobytes(), "each from the first sample to the last"
    users = [event.user_id for event in room.of("speech_started")]
    assert users == ["anna", "ben"]


# -- stalls and holds ----------------------------------------------------------------------------


def test_a_text_without_an_answer_is_a_stall_and_nudged(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Are you there?")
        await room.until(12)

    script = Script([[], Turn(audio=voice(1.0))])
    watchdog = Watchdog(after_ms=3000, nudge="Please answer.")
    room, _ = hold(local, scenario, script, watchdog=watchdog)
    assert room.of("stalled") == [Stalled(3000, unfinished=False)]
    texts = [f.message["realtimeInput"]["text"] for f in room.session.frames if f.kind == "text"]
    assert texts == ["Are you there?", "Please answer."]
    assert room.gemini.stats().played_ms == 1000


def test_a_stall_nobody_listens_to_is_logged(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with local(Script([[]])), GeminiLive(watchdog=Watchdog(after_ms=1000)) as gemini:
            await gemini.send_text("Are you there?")
            await asyncio.sleep(2)
            assert gemini.stats().stalls == 1

    run_virtual(main(), grace=GRACE)
    (record,) = [r for r in caplog.records if "stalled" in r.getMessage()]
    assert record.levelno == logging.WARNING


@pytest.mark.parametrize("transcribes", [True, False])
@pytest.mark.parametrize("may_stay_silent", [True, False, None])
def test_silence_after_speech_is_respected_where_it_may_be_meant(
    local: Local, may_stay_silent: bool | None, transcribes: bool
) -> None:
    async def scenario(room: Room) -> None:
        room.say(words(1.5), at=1.0)
        await room.until(12)

    watchdog = Watchdog(after_ms=4000, may_stay_silent=may_stay_silent)
    config = {} if transcribes else {"input_audio_transcription": None}
    room, _ = hold(local, scenario, Script([[]]), watchdog=watchdog, config=config)
    # The default model, Gemini 3.8, chooses itself what it answers; but it has heard what its
    # service has transcribed.
    expected = may_stay_silent is False or (may_stay_silent is None and transcribes)
    assert room.of("stalled") == ([Stalled(4000, unfinished=False)] if expected else [])


def test_what_is_written_in_a_session_that_speaks_is_not_said(local: Local) -> None:
    texts: list[str] = []

    async def scenario(room: Room) -> None:
        room.gemini.on("text", texts.append)
        await room.gemini.send_text("Go.")
        await room.until(5)
        assert room.gemini._supervisor.turns.history.lines() == [("user", "Go."), ("model", TEXT)]

    reasoning = "**Planning**\n\nI will greet."
    script = Script([Turn(audio=voice(2.0), text=TEXT, written=reasoning)])
    room, _ = hold(local, scenario, script)
    assert "".join(texts) == TEXT
    assert [each.text for each in room.of("turn_complete")] == [TEXT]
    (finished,) = room.of("playback_finished")
    assert (finished.text, finished.turn) == (TEXT, 1)
    assert not room.of("stalled")


def test_text_parts_are_what_is_said_where_there_is_no_transcript(local: Local) -> None:
    texts: list[str] = []

    async def scenario(room: Room) -> None:
        room.gemini.on("text", texts.append)
        await room.gemini.send_text("Go.")
        await room.until(4)

    script = Script([Turn(audio=voice(1.0), written="In writing.")])
    config = {"output_audio_transcription": None}
    room, _ = hold(local, scenario, script, config=config)
    assert texts == ["In writing."]
    assert [each.text for each in room.of("turn_complete")] == ["In writing."]


@pytest.mark.parametrize("asked_by", ["text", "speech"])
def test_an_answer_that_is_only_written_is_a_stall(local: Local, asked_by: str) -> None:
    async def scenario(room: Room) -> None:
        if asked_by == "text":
            await room.gemini.send_text("What is on the menu?")
        else:
            room.say(words(1.5), at=1.0)
        await room.session.wait_turns(1)
        await room.until(room.now + 5)

    watchdog = Watchdog(after_ms=4000)  # the default model may stay silent
    room, _ = hold(local, scenario, Script([Turn(written="The menu.")]), watchdog=watchdog)
    assert room.of("stalled") == [Stalled(4000, unfinished=False, reason="unheard")]
    assert not room.of("turn_complete")


def test_a_hold_that_keeps_speech_waiting_is_warned_of(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.interrupt_playback()
        await room.gemini.send_text("Go.")
        await room.until(controller.HOLD_WARNING_S + 1)
        assert caplog.text.count("resume_playback()") == 1
        room.gemini.resume_playback()
        await room.until(controller.HOLD_WARNING_S + 4)

    room, _ = hold(local, scenario, Script([Turn(audio=voice(2.0))]))
    assert room.gemini.stats().played_ms == 2000
    assert room.gemini.stats().barge_ins == 0, "it was the application"


def test_an_application_that_takes_the_place_of_the_detector(local: Local) -> None:
    """`interrupt_playback` and `resume_playback` by hand, with the local rules off."""
    reply = voice(4.0)

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Go.")
        await room.until(2)
        await room.gemini.interrupt_playback()
        await room.until(5)
        room.gemini.resume_playback()
        await room.until(9)

    room, sound = hold(local, scenario, Script([Turn(audio=reply)]), barge_in=False)
    assert room.gemini.stats().played_ms == 4000
    hole = signals.longest_silence(sound[CALL : 8 * CALL], CALL)
    assert hole == pytest.approx(3000, abs=100)


def test_interrupted_is_what_the_readme_says() -> None:
    cut = Interrupted(3, 1250.0, "One two", "server")
    assert (cut.turn, cut.heard_ms, cut.heard_text, cut.cause) == (3, 1250.0, "One two", "server")


# -- the wire as others have logged it -----------------------------------------------------------


def content(**fields: Any) -> dict[str, Any]:
    return {"serverContent": fields}


def said(text: str, **more: Any) -> dict[str, Any]:
    return content(outputTranscription={"text": text, **more})


def sound(samples: Int16) -> dict[str, Any]:
    data = base64.b64encode(samples.astype("<i2").tobytes()).decode()
    blob = {"mimeType": "audio/pcm;rate=24000", "data": data}
    return content(modelTurn={"parts": [{"inlineData": blob}]})


GENERATED, COMPLETE = content(generationComplete=True), content(turnComplete=True)
INTERRUPTED = content(interrupted=True)
ENDS = (GENERATED, COMPLETE)
CHUNK = 960


async def send(room: Room, *messages: dict[str, Any]) -> None:
    """Let the service say exactly that, and wait until it was taken."""
    expected = room.gemini.stats().messages + len(messages)
    for message in messages:
        await room.server.sessions[-1].send(message)
    while room.gemini.stats().messages < expected:
        await asyncio.sleep(0.001)


def reply(samples: Int16) -> list[dict[str, Any]]:
    return [sound(samples[at : at + CHUNK]) for at in range(0, len(samples), CHUNK)]


def silent_service(local: Local, scenario: Any, **options: Any) -> tuple[Room, Int16]:
    """Hold a conversation with a service that says only what the scenario sends."""
    return hold(local, scenario, Script([[]] * 99), **options)


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_the_turn_complete_of_a_cut_turn_is_late(local: Local, moment: str) -> None:
    first, second = voice(3.0, 4), voice(2.4, 5)

    async def scenario(room: Room) -> None:
        room.say(words(1.0), at=1.6)
        await room.until(0.6)
        await send(room, *reply(first), said("The first reply, which is cut."))
        await room.until(2.6)
        await send(room, INTERRUPTED)
        await room.until(3.2)
        if moment == "before":
            await send(room, COMPLETE)
        await send(room, *reply(second[: len(second) // 2]), said("The second"))
        if moment == "within":
            await send(room, COMPLETE)
        await send(room, *reply(second[len(second) // 2 :]), said(" reply."), *ENDS)
        if moment == "after":
            await send(room, COMPLETE)
        await room.until(8)

    room, heard = silent_service(local, scenario)
    assert hears(heard, second) > 0.95
    assert room.of("turn_complete") == [TurnComplete(2, "The second reply.")]
    finished = [(each.turn, each.cut, each.text) for each in room.of("playback_finished")]
    assert finished == [
        (1, True, "The first reply, which is cut."),
        (2, False, "The second reply."),
    ]
    assert not room.of("stalled")


def test_the_last_audio_of_a_cut_turn_is_not_heard(local: Local) -> None:
    tone = signals.tone(1200, 500, MODEL, dbfs=-10)
    answer = voice(1.5, 6)

    async def scenario(room: Room) -> None:
        room.say(words(1.2), at=1.0)
        await send(room, *reply(voice(4.0)))
        await room.until(2.0)
        await send(room, INTERRUPTED, said(" and so on"), sound(tone), COMPLETE)
        await room.until(3.5)
        await send(room, said("Yes?"), *reply(answer), *ENDS)
        await room.until(6)
        assert room.gemini._supervisor.turns.history.lines()[-1] == ("model", "Yes?")

    room, heard = silent_service(local, scenario)
    assert hears(heard, tone) < 0.5
    assert hears(heard, answer) > 0.95
    assert [each.turn for each in room.of("playback_started")] == [1, 2]
    assert [each.text for each in room.of("turn_complete")] == ["Yes?"]


def test_a_turn_soon_after_an_interruption_without_turn_complete_is_heard_whole(
    local: Local,
) -> None:
    answer = voice(2.0, 6)

    async def scenario(room: Room) -> None:
        room.say(words(1.2), at=1.0)
        await send(room, *reply(voice(4.0)), said("One two"))
        await room.until(2.0)
        await send(room, INTERRUPTED)
        await room.until(2.3)
        await send(room, said("Yes"), *reply(answer[:MODEL]), said("?"))
        await room.until(2.6)
        await send(room, *reply(answer[MODEL:]), *ENDS)
        await room.until(6)
        assert room.gemini._supervisor.turns.history.lines()[-1] == ("model", "Yes?")

    room, heard = silent_service(local, scenario)
    assert hears(heard, answer) > 0.95
    assert room.gemini.stats().turns == 2
    assert room.of("turn_complete") == [TurnComplete(2, "Yes?")]


def test_without_turn_complete_a_turn_is_over_when_it_was_heard(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await send(room, *reply(voice(3.0)), said("Good morning."), GENERATED)
        await room.until(9)
        talk = room.gemini._supervisor.turns.policy
        assert talk.idle_since is not None, "an announced end of the connection finds a rest"

    room, _ = silent_service(local, scenario)
    (at,) = [at for at, name, _ in room.events if name == "turn_complete"]
    (finished,) = room.of("playback_finished")
    grace = at - (finished.finished_at - room.started_at)
    assert grace == pytest.approx(policy.SETTLE_S, abs=0.01)
    assert room.of("turn_complete") == [TurnComplete(1, "Good morning.")]


def test_without_turn_complete_the_answer_to_speech_is_heard_at_once(local: Local) -> None:
    long, answer = voice(12.0, 14), voice(1.5, 15)
    asked_at = 0.0

    async def scenario(room: Room) -> None:
        nonlocal asked_at
        room.say(words(1.5), at=2.5)
        await room.until(0.5)
        await send(room, *reply(long), GENERATED)
        await room.until(4.8)
        asked_at = room.now
        await send(room, *reply(answer), GENERATED)
        await room.until(9)

    room, heard = silent_service(local, scenario)
    match = signals.align(answer, heard[::2], MODEL)
    assert match.correlation > 0.95
    assert match.offset_ms / 1000 - asked_at < 0.2
    (cut,) = room.of("interrupted")
    assert (cut.turn, cut.cause) == (1, "speech")
    assert [each.turn for each in room.of("turn_complete")] == [2]


def test_who_is_heard_by_the_service_alone_is_answered_at_once(local: Local) -> None:
    long, answer = voice(12.0, 14), voice(1.5, 15)

    async def scenario(room: Room) -> None:
        await send(room, *reply(long), *ENDS)
        await room.until(4)
        await send(room, content(inputTranscription={"text": "Hello?"}), *reply(answer), *ENDS)
        await room.until(8)
        assert room.gemini._supervisor.turns.history.lines() == [("user", "Hello?")], (
            "no transcript"
        )

    room, heard = silent_service(local, scenario)
    match = signals.align(answer, heard[::2], MODEL)
    assert match.correlation > 0.95
    assert match.offset_ms / 1000 < 4.2
    (cut,) = room.of("interrupted")
    assert (cut.turn, cut.cause) == (1, "server")


def test_a_turn_that_was_heard_whole_is_not_interrupted(local: Local) -> None:
    """With marks, `activityStart` is followed by a spurious pair (langwatch/scenario #360)."""
    first, second = voice(1.5, 1), voice(2.0, 2)

    async def scenario(room: Room) -> None:
        room.say(words(1.2, start=0.2), at=3.0)
        await send(room, *reply(first), said("First answer."), GENERATED)
        await room.session.wait_frames("activityStart")
        await send(room, INTERRUPTED, COMPLETE)
        await room.until(5.5)
        await send(room, *reply(second), said("Second answer."), *ENDS)
        await room.until(9)

    room, heard = silent_service(local, scenario, config=MARKED)
    assert hears(heard, first) > 0.95
    assert hears(heard, second) > 0.95
    assert not room.of("interrupted")
    assert [each.cut for each in room.of("playback_finished")] == [False, False]
    assert [each.text for each in room.of("turn_complete")] == ["First answer.", "Second answer."]


# -- answers that fail ---------------------------------------------------------------------------

REJECTION = content(turnComplete=True, turnCompleteReason="RESPONSE_REJECTED")


@pytest.mark.parametrize("model", ["gemini-3.8-live", "gemini-3.1-flash-live-preview"])
def test_each_rejected_answer_is_told_and_the_log_is_not_flooded(
    local: Local, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    """27 in a row, while the user speaks and is transcribed (live-api-examples #40)."""

    async def scenario(room: Room) -> None:
        for _ in range(27):
            await room.until(room.now + 2)
            await send(room, content(inputTranscription={"text": "Hello?"}))
            await room.until(room.now + 0.3)
            await send(room, REJECTION)
        stalls = [r for r in caplog.records if "has stalled" in r.getMessage()]
        assert not stalls, "somebody listens"

    room, _ = silent_service(local, scenario, model=model)
    stalls = room.of("stalled")
    assert len(stalls) == 27 == room.gemini.stats().stalls
    assert {(each.reason, each.detail) for each in stalls} == {("rejected", "RESPONSE_REJECTED")}

    async def unheard(room: Room) -> None:
        room.gemini._events._listeners["stalled"].clear()
        for _ in range(27):
            await send(room, content(inputTranscription={"text": "Hello?"}), REJECTION)
        await send(room, *reply(voice(0.5)), *ENDS)
        await send(room, REJECTION)

    silent_service(local, unheard, model=model)
    stalls = [r.getMessage() for r in caplog.records if "has stalled" in r.getMessage()]
    assert len(stalls) == 3, "the first, the tenth, and the first after an answer"
    assert "10 times" in stalls[1]


def test_an_empty_turn_after_speech_is_told(local: Local) -> None:
    async def scenario(room: Room) -> None:
        room.say(words(1.5), at=1.0)
        await room.until(3.5)
        await send(room, COMPLETE)
        await room.until(9)

    config = {"input_audio_transcription": None}
    room, _ = silent_service(local, scenario, config=config)
    assert room.of("stalled") == [Stalled(5000, unfinished=False, reason="empty")]


def test_why_a_turn_ended_is_told(local: Local) -> None:
    async def scenario(room: Room) -> None:
        reason = "GENERATED_AUDIO_SAFETY"
        ends = content(turnComplete=True, turnCompleteReason=reason)
        await send(room, *reply(voice(0.5)), said("Well,"), GENERATED, ends)
        await send(room, *reply(voice(0.5)), said("Fine."), *ENDS)

    room, _ = silent_service(local, scenario)
    assert room.of("turn_complete") == [
        TurnComplete(1, "Well,", "GENERATED_AUDIO_SAFETY"),
        TurnComplete(2, "Fine."),
    ]


def test_a_stall_is_nudged_once(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Are you there?")
        await room.until(20)

    watchdog = Watchdog(after_ms=2000, nudge="Please answer.")
    room, _ = silent_service(local, scenario, watchdog=watchdog)
    assert room.of("stalled") == [Stalled(2000, unfinished=False)]
    texts = [f.message["realtimeInput"]["text"] for f in room.session.frames if f.kind == "text"]
    assert texts == ["Are you there?", "Please answer."]


def test_a_stall_leads_to_one_other_connection(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Note that the meeting has begun.")
        await room.until(30)
        assert room.gemini.state == "ready"

    watchdog = Watchdog(after_ms=2000, reconnect=True)
    room, _ = silent_service(local, scenario, watchdog=watchdog)
    assert room.of("stalled") == [Stalled(2000, unfinished=False)]
    assert room.gemini.stats().disconnects == 1
    texts = [f for session in room.server.sessions for f in session.frames if f.kind == "text"]
    assert len(texts) <= 2, "sent again with the other connection, and not for ever"


# -- text without an order -----------------------------------------------------------------------

LATE = "The train leaves"
TEXTS: dict[str, tuple[list[dict[str, Any]], dict[int, str]]] = {
    "behind turn_complete": (
        [sound(voice(1.0)), said(LATE), *ENDS, said(" at nine.")],
        {1: "The train leaves at nine."},
    ),
    "behind turn_complete, before the next turn": (
        [
            *(sound(voice(1.0)), said(LATE), *ENDS, said(" at nine.")),
            *(sound(voice(1.0)), said("You are welcome."), *ENDS),
        ],
        {1: "The train leaves at nine.", 2: "You are welcome."},
    ),
    "behind the first audio of the next turn": (
        [
            *(sound(voice(2.0)), *ENDS, sound(voice(0.04)), said("The train leaves at nine.")),
            *(sound(voice(1.0)), said("You are welcome."), *ENDS),
        ],
        {1: "The train leaves at nine.", 2: "You are welcome."},
    ),
    "the service says when it is complete": (
        [
            *(sound(voice(1.0)), said("Good morning.", finished=True), *ENDS),
            *(sound(voice(1.0)), said(LATE), *ENDS, sound(voice(0.04))),
            *(said(" at nine."), content(outputTranscription={"finished": True})),
            *(said("You are welcome."), sound(voice(1.0)), *ENDS),
        ],
        {1: "Good morning.", 2: "The train leaves at nine.", 3: "You are welcome."},
    ),
    "before its audio": (
        [
            *(said("Good"), said(" morning."), sound(voice(1.0)), *ENDS),
            content(inputTranscription={"text": "When does it leave?"}),
        ],
        {1: "Good morning."},
    ),
    "without audio": (
        [said("Good morning."), COMPLETE],
        {},
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_transcript_finds_its_turn(local: Local, name: str) -> None:
    messages, expected = TEXTS[name]
    deltas: list[str] = []

    async def scenario(room: Room) -> None:
        room.gemini.on("text", deltas.append)
        await send(room, *messages)
        await room.until(9)
        lines = room.gemini._supervisor.turns.history.lines()
        assert [text for role, text in lines if role == "model"] == list(expected.values())

    room, _ = silent_service(local, scenario)
    assert {each.turn: each.text for each in room.of("playback_finished")} == expected
    pieces = [m["serverContent"].get("outputTranscription", {}).get("text", "") for m in messages]
    assert "".join(deltas) == "".join(pieces), "every piece is told when it comes"


def test_a_turn_without_text_takes_none_from_the_one_after_it(local: Local) -> None:
    """The first chunk of a turn, 0.3 s, often has more text behind it than it can hold."""

    async def scenario(room: Room) -> None:
        await send(room, *reply(voice(1.0)), *ENDS)
        await room.until(1.5)
        await send(room, *reply(voice(0.3)), said("one two three"), *reply(voice(1.7)), *ENDS)
        await room.until(6)

    room, _ = silent_service(local, scenario)
    assert [each.text for each in room.of("turn_complete")] == ["", "one two three"]


def test_late_text_of_a_cut_turn_is_not_of_the_answer(local: Local) -> None:
    async def scenario(room: Room) -> None:
        room.say(words(0.8), at=1.5)
        await send(room, *reply(voice(0.5)), said("One two"), *reply(voice(3.5)))
        await room.until(2.2)
        await send(room, INTERRUPTED, COMPLETE)
        await room.until(2.7)
        await send(room, said(" three four five six seven."))
        await room.until(4.5)
        await send(room, said("Yes?"), *reply(voice(1.0)), *ENDS)
        await room.until(7)
        lines = room.gemini._supervisor.turns.history.lines()
        spoken = [text for role, text in lines if role == "model"]
        assert spoken == ["One two", "Yes?"], "of the late text too little was heard"

    room, _ = silent_service(local, scenario)
    assert [each.text for each in room.of("turn_complete")] == ["Yes?"]


def test_the_transcript_of_an_answer_comes_before_its_audio(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await send(room, sound(voice(0.6)), said("Hello."), *ENDS)
        await room.gemini.send_text("When does it leave?")
        await send(room, said("At nine."), sound(voice(1.0)), *ENDS)
        await room.until(5)
        assert room.gemini._supervisor.turns.history.lines() == [
            ("model", "Hello."),
            ("user", "When does it leave?"),
            ("model", "At nine."),
        ]

    room, _ = silent_service(local, scenario)
    assert [each.text for each in room.of("turn_complete")] == ["Hello.", "At nine."]


def test_the_history_has_the_question_before_its_answer(local: Local) -> None:
    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Be brief.")
        heard = content(inputTranscription={"text": "When does it"})
        await send(room, sound(voice(0.6)), heard, said("At nine. "))
        await send(room, content(inputTranscription={"text": " leave?"}), said("At platform 2."))
        await send(room, *ENDS)
        await room.until(5)
        await send(room, content(inputTranscription={"text": "And then?"}))
        await send(room, *reply(voice(0.8)), said("Then it goes north,"))
        await send(room, *reply(voice(3.2)), said(" through the hills."))
        room.say(words(1.5), at=room.now + 1.0)
        await room.until(room.now + 2.0)
        await send(room, INTERRUPTED, content(inputTranscription={"text": "Thanks!"}), COMPLETE)
        *before, question, cut, thanks = room.gemini._supervisor.turns.history.lines()
        assert before == [
            ("user", "Be brief."),
            ("user", "When does it leave?"),
            ("model", "At nine. At platform 2."),
        ]
        assert question == ("user", "And then?")
        assert thanks == ("user", "Thanks!")
        (event,) = room.of("interrupted")
        assert cut == ("model", "Then it goes north,") == ("model", event.heard_text)

    silent_service(local, scenario)
