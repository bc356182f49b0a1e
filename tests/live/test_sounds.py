"""Sounds of the application beside the assistant's speech, on the real SDK and a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.errors import AudioError, CallError, ClosedError, ConfigError
from getstream.plugins.gemini.live import GeminiLive, PlayedSound, tool
from getstream.plugins.gemini.live._media.sounds import (
    HOLD_DELAY_S,
    MAX_SOUND_S,
    SOUND_DUCK_DB,
    HoldSound,
    SoundLayer,
    read_sound,
)
from getstream.plugins.gemini.testing import FunctionCall, Parrot, Script, Turn, signals
from getstream.plugins.gemini.testing.clock import run_virtual
from room import CALL, GRACE, MODEL, Int16, Local, Room, happens, hold, voice, words


def chime(seconds: float, hz: float = 440.0, rate: int = CALL) -> Int16:
    """Make a tone, 10 dB below full scale."""
    at = np.arange(round(seconds * rate)) / rate
    return np.asarray(10_000 * np.sin(2 * np.pi * hz * at), np.int16)


def level(sound: Int16, hz: float) -> float:
    """Return the amplitude of one frequency."""
    at = np.arange(len(sound)) / CALL
    return float(2 * abs(np.mean(sound * np.exp(-2j * np.pi * hz * at))))


def in_a_room(
    local: Local, scenario: Callable[[Room], Awaitable[Any]], reply: Any = None, **options: Any
) -> tuple[Room, Int16, Any]:
    """Play a scenario; return the room, what the listener has heard, and what it returns."""
    results: list[Any] = []

    async def run(room: Room) -> None:
        results.append(await scenario(room))

    room, sound = hold(local, run, Script([] if reply is None else [reply]), **options)
    return room, sound, results[0]


def test_a_sound_is_heard_whole(local: Local) -> None:
    async def scenario(room: Room) -> tuple[PlayedSound, float]:
        await room.until(1)
        played = await room.gemini.play(chime(0.5), CALL)
        return played, room.now

    room, sound, (played, ended_at) = in_a_room(local, scenario)
    assert played == PlayedSound(500.0, 500.0, False)
    assert 1.49 < ended_at < 1.7, "it returns when it was heard"
    assert level(sound[round(1.1 * CALL) : round(1.4 * CALL)], 440) == pytest.approx(1e4, rel=0.05)
    assert not sound[round((ended_at + 0.05) * CALL) :].any()
    stats = room.gemini.stats()
    assert (stats.turns, stats.played_ms, stats.playout_underruns) == (0, 0, 0)


@pytest.mark.parametrize("duck", [True, False])
def test_the_assistant_is_lowered_meanwhile(local: Local, duck: bool) -> None:
    async def scenario(room: Room) -> tuple[PlayedSound, float]:
        await room.gemini.send_text("Go.")
        await happens(room, "playback_started")
        await asyncio.sleep(1.0)
        began = room.now
        played = await room.gemini.play(chime(1.0, hz=3000), CALL, duck=duck)
        await happens(room, "playback_finished")
        return played, began

    tone = chime(4.0, hz=500, rate=MODEL)
    room, sound, (played, began) = in_a_room(local, scenario, Turn(audio=tone))
    assert played == PlayedSound(1000.0, 1000.0, False)
    during = sound[round((began + 0.2) * CALL) : round((began + 0.8) * CALL)]
    after = sound[round((began + 1.3) * CALL) : round((began + 1.8) * CALL)]
    assert level(during, 3000) == pytest.approx(10_000, rel=0.1)
    gain = 10 ** (SOUND_DUCK_DB / 20) if duck else 1.0
    assert level(during, 500) == pytest.approx(10_000 * gain, rel=0.1)
    assert level(after, 500) == pytest.approx(10_000, rel=0.05)
    assert level(after, 3000) < 100
    stats = room.gemini.stats()
    assert (stats.played_ms, stats.playout_underruns) == (4000, 0), "the turn is whole"


def test_sounds_wait_for_each_other(local: Local) -> None:
    async def scenario(room: Room) -> list[float]:
        await room.until(1)
        ends: list[float] = []

        async def play(hz: float) -> None:
            await room.gemini.play(chime(0.5, hz=hz), CALL)
            ends.append(room.now)

        await asyncio.gather(play(440), play(880))
        return ends

    _, sound, ends = in_a_room(local, scenario)
    first = sound[round((ends[0] - 0.4) * CALL) : round((ends[0] - 0.1) * CALL)]
    second = sound[round((ends[1] - 0.4) * CALL) : round((ends[1] - 0.1) * CALL)]
    assert ends[1] - ends[0] == pytest.approx(0.5, abs=0.03)
    assert (level(first, 440) > 9000, level(first, 880) < 500) == (True, True)
    assert (level(second, 880) > 9000, level(second, 440) < 500) == (True, True)


def test_who_speaks_over_a_sound_cuts_it(local: Local) -> None:
    async def scenario(room: Room) -> PlayedSound:
        room.say(words(1.5), at=2.0)
        await room.until(1)
        return await room.gemini.play(chime(8.0), CALL)

    room, _, played = in_a_room(local, scenario)
    assert played.cut
    assert 1000 < played.heard_ms < 2500
    assert room.of("interrupted") == [], "no turn of the assistant was cut"


def test_mhm_over_a_sound_costs_nothing(local: Local) -> None:
    async def scenario(room: Room) -> PlayedSound:
        room.say(words(0.3), at=2.0)
        await room.until(1)
        return await room.gemini.play(chime(4.0), CALL)

    room, _, played = in_a_room(local, scenario)
    assert played == PlayedSound(4000.0, 4000.0, False)
    assert room.gemini.stats().barge_ins == 1


def test_a_sound_from_a_loudspeaker_does_not_cut_itself(local: Local) -> None:
    said = voice(4.0)

    async def scenario(room: Room) -> PlayedSound:
        room.loudspeaker(0.1, -20)
        await room.until(1)
        return await room.gemini.play(said, MODEL)

    room, _, played = in_a_room(local, scenario)
    assert not played.cut, "the echo side knows it"
    assert room.of("speech_started") == []


def test_the_application_holds_and_cuts_it(local: Local) -> None:
    async def scenario(room: Room) -> tuple[PlayedSound, float]:
        await room.until(1)
        playing = asyncio.ensure_future(room.gemini.play(chime(4.0), CALL))
        await asyncio.sleep(1.0)
        await room.gemini.interrupt_playback()
        await asyncio.sleep(20.0)
        assert not playing.done(), "what the application holds waits"
        room.gemini.resume_playback()
        await asyncio.sleep(1.0)
        await room.gemini.interrupt_playback(drop=True)
        return await playing, room.now

    _, sound, (played, ended_at) = in_a_room(local, scenario)
    assert played.cut
    assert played.heard_ms == pytest.approx(2000, abs=80)
    assert not sound[3 * CALL : round((ended_at - 1.1) * CALL)].any()


def test_cancelling_cuts_one_sound(local: Local) -> None:
    async def scenario(room: Room) -> PlayedSound:
        await room.until(1)
        first = asyncio.ensure_future(room.gemini.play(chime(9.0), CALL))
        await asyncio.sleep(0.5)
        second = asyncio.ensure_future(room.gemini.play(chime(0.5, hz=880), CALL))
        await asyncio.sleep(0.5)
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        return await second

    _, _, played = in_a_room(local, scenario)
    assert played == PlayedSound(500.0, 500.0, False)


def test_a_sound_that_nobody_hears_is_an_error(local: Local) -> None:
    async def main() -> None:
        async with local(Parrot()), GeminiLive() as gemini:
            with pytest.raises(CallError, match="Attach"):
                await gemini.play(chime(0.5), CALL)
            assert not gemini._supervisor.turns.output.sounds.is_waiting

    run_virtual(main(), grace=GRACE)


def test_closing_cuts_it(local: Local) -> None:
    async def scenario(room: Room) -> PlayedSound:
        await room.until(1)
        playing = asyncio.ensure_future(room.gemini.play(chime(9.0), CALL))
        await asyncio.sleep(1.0)
        room.mute()
        await room.gemini.close()
        with pytest.raises(ClosedError):
            await room.gemini.play(chime(1.0), CALL)
        return await playing

    _, _, played = in_a_room(local, scenario)
    assert played.cut
    assert played.heard_ms == pytest.approx(1000, abs=60)


def test_the_end_of_a_call_cuts_it(local: Local) -> None:
    async def scenario(room: Room) -> PlayedSound:
        await room.until(1)
        playing = asyncio.ensure_future(room.gemini.play(chime(9.0), CALL))
        await asyncio.sleep(1.0)
        room.gemini._supervisor.turns.leave_call()
        return await playing

    _, sound, played = in_a_room(local, scenario)
    assert played.cut
    assert played.heard_ms == pytest.approx(1000, abs=60)
    assert not sound[round(2.1 * CALL) :].any()


# -- what can be played --------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 44_100, 48_000, 96_000])
def test_samples_of_any_rate(rate: int) -> None:
    tone = chime(0.5, rate=rate)
    for sound in (tone, tone.tobytes(), bytearray(tone.tobytes())):
        read = read_sound(sound, rate)
        assert read.dtype == np.int16
        assert len(read) == pytest.approx(CALL / 2, abs=2)
        assert level(read[4800:-4800], 440) == pytest.approx(10_000, rel=0.02)


def test_a_file_of_any_kind(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    signals.write_wav(path, chime(0.5, rate=16_000), 16_000)
    for given in (path, str(path)):
        read = read_sound(given, None)
        assert len(read) == pytest.approx(CALL / 2, abs=100)
        assert level(read[4800:-4800], 440) == pytest.approx(10_000, rel=0.02)


@pytest.mark.parametrize(
    ("sound", "rate", "error"),
    [
        (None, None, ConfigError),
        (3, 48_000, ConfigError),
        ([1, 2], 48_000, ConfigError),
        ("no/such.wav", None, ConfigError),
        ("nul\0byte", None, ConfigError),
        ("/", None, ConfigError),
        ("tone.wav", 48_000, ConfigError),
        (__file__, None, AudioError),
        (b"\0\0", None, ConfigError),
        (b"\0", 48_000, AudioError),
        (b"\0\0", 1000, AudioError),
        (b"\0\0", 48_000.0, AudioError),
        (b"\0\0", True, AudioError),
        (np.zeros(4), 48_000, AudioError),
        (np.zeros((4, 2), np.int16), 48_000, AudioError),
        (np.zeros(MAX_SOUND_S * 8000 + 1, np.int16), 8000, AudioError),
    ],
)
async def test_bad_sounds(local: Local, sound: Any, rate: Any, error: type[Exception]) -> None:
    async with local(Parrot()), GeminiLive() as gemini:
        with pytest.raises(error):
            await gemini.play(sound, rate)
        with pytest.raises(ConfigError, match="duck"):
            await gemini.play(b"\0\0", 48_000, duck=0.5)  # type: ignore[arg-type]


async def test_an_application_that_plays_itself_plays_its_sounds_too(local: Local) -> None:
    async with local(Parrot()), GeminiLive(playback=False) as gemini:
        with pytest.raises(ConfigError, match="playback=False"):
            await gemini.play(chime(0.1), CALL)


def test_an_empty_sound_is_heard_at_once(local: Local) -> None:
    async def scenario(room: Room) -> PlayedSound:
        return await room.gemini.play(b"", CALL)

    assert in_a_room(local, scenario)[2] == PlayedSound(0.0, 0.0, False)


async def test_a_full_store_is_an_error() -> None:
    layer = SoundLayer(lambda: None)
    for _ in range(3):
        layer.push(np.zeros(MAX_SOUND_S * CALL, np.int16))
    with pytest.raises(AudioError, match="Too many"):
        layer.push(np.zeros(CALL, np.int16))
    layer.clear()
    assert not layer.is_waiting


# -- a sound while something lasts ---------------------------------------------------------------


def hold_sound(room: Room, hz: float = 440.0) -> HoldSound:
    return HoldSound(room.gemini._supervisor.turns.output.hold_sounds, chime(0.3, hz=hz))


def test_it_loops_from_a_second_on_until_the_last_has_ended(local: Local) -> None:
    async def scenario(room: Room) -> None:
        held = hold_sound(room)
        await room.until(1)
        held.start("a")
        await asyncio.sleep(0.5)
        held.start("b")
        held.stop("a")
        assert held.is_active
        await room.until(6)
        held.stop("b")
        held.stop("b")
        await room.until(8)

    room, sound, _ = in_a_room(local, scenario)
    begins = 1 + HOLD_DELAY_S
    assert not sound[: round(begins * CALL)].any()
    for second in np.arange(begins + 0.2, 5.8, 0.5):
        part = sound[round(second * CALL) : round((second + 0.4) * CALL)]
        assert np.sqrt(np.mean(part.astype(float) ** 2)) > 5000, second
    assert not sound[round(6.1 * CALL) :].any()
    assert room.gemini.stats().playout_underruns == 0


def test_what_ends_soon_makes_no_sound(local: Local) -> None:
    async def scenario(room: Room) -> None:
        held = hold_sound(room)
        await room.until(1)
        held.start("a")
        await asyncio.sleep(0.9 * HOLD_DELAY_S)
        held.stop("a")
        await room.until(4)

    _, sound, _ = in_a_room(local, scenario)
    assert not sound.any()


def test_it_gives_way_to_the_assistant(local: Local) -> None:
    async def scenario(room: Room) -> float:
        held = hold_sound(room, hz=3000)
        held.start("a")
        await room.until(3)
        await room.gemini.send_text("Go.")
        await happens(room, "playback_started")
        began = room.now
        await happens(room, "playback_finished")
        await asyncio.sleep(1.0)
        held.close()
        return began

    tone = chime(2.0, hz=500, rate=MODEL)
    _, sound, began = in_a_room(local, scenario, Turn(audio=tone))
    before = sound[round((began - 0.5) * CALL) : round((began - 0.2) * CALL)]
    during = sound[round((began + 0.2) * CALL) : round((began + 1.8) * CALL)]
    after = sound[round((began + 2.3) * CALL) : round((began + 2.8) * CALL)]
    assert level(during, 500) == pytest.approx(10_000, rel=0.05)
    assert level(during, 3000) < 100
    for part in (before, after):
        assert np.abs(part).max() > 9000
        assert level(part, 500) < 500


def test_who_speaks_over_it_silences_it(local: Local) -> None:
    async def scenario(room: Room) -> None:
        held = hold_sound(room)
        held.start("a")
        room.say(words(1.5), at=4.0)
        await room.until(9)
        assert held.is_active
        held.close()

    _, sound, _ = in_a_room(local, scenario)
    assert sound[3 * CALL : 4 * CALL].any()
    assert not sound[6 * CALL :].any()


async def test_an_empty_loop_is_refused() -> None:
    with pytest.raises(AudioError):
        HoldSound(SoundLayer(lambda: None), np.zeros(0, np.int16))


# -- while a tool runs -----------------------------------------------------------------------------


def slow_tool_heard(local: Local, sound: Any, behavior: str, seconds: float) -> tuple[Room, Int16]:
    """Let the model call a tool that takes a while; return what the listener heard."""

    async def look_up() -> str:
        """Look something up."""
        await asyncio.sleep(seconds)
        return "found"

    async def scenario(room: Room) -> None:
        await room.gemini.send_text("Look it up.")
        await room.until(seconds + 3)

    slow = tool(look_up, behavior=behavior)  # type: ignore[call-overload]
    script = Script([FunctionCall("look_up", {}), Turn(audio=voice(1.0))])
    return hold(local, scenario, script, tools=[slow], tool_sound=sound)


def test_a_sound_is_heard_while_the_model_waits_for_a_tool(local: Local) -> None:
    room, sound = slow_tool_heard(local, (chime(0.3), CALL), "BLOCKING", 4.0)
    waited = sound[round(2.0 * CALL) : round(3.5 * CALL)]
    assert level(waited, 440) > 1000
    assert not sound[: round(0.9 * CALL)].any(), "it begins after a second"
    assert level(sound[round(4.5 * CALL) : round(5.0 * CALL)], 440) < 500, "and ends with the tool"
    assert not room.of("error")


@pytest.mark.parametrize(("behavior", "seconds"), [("NON_BLOCKING", 4.0), ("BLOCKING", 0.8)])
def test_a_tool_for_which_nobody_waits_is_silent(
    local: Local, behavior: str, seconds: float
) -> None:
    _, sound = slow_tool_heard(local, (chime(0.3), CALL), behavior, seconds)
    assert level(sound[: round((seconds - 0.1) * CALL)], 440) < 100


def test_a_tool_sound_that_cannot_be_read_is_reported_once(local: Local, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    room, _ = slow_tool_heard(local, broken, "BLOCKING", 3.0)
    (error,) = room.of("error")
    assert "broken.wav" in str(error)
    assert room.gemini.stats().turns == 1


@pytest.mark.parametrize("sound", [3, (chime(0.1).astype(np.float32), CALL), chime(0.1)])
def test_what_is_no_tool_sound_is_refused(sound: Any) -> None:
    with pytest.raises((ConfigError, AudioError)):
        GeminiLive("key", tool_sound=sound)
