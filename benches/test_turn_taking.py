"""Check the measures of turn-taking on sounds whose properties are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from turn_taking import tables
from turn_taking.call import PEER
from turn_taking.hearing import Heard, find_reply
from turn_taking.program import Frames
from turn_taking.sounds import FRAME, LOUD_DBFS, RATE, Int16, for_service, openings, reply
from turn_taking.trials import PeerTrial

BEGAN = 1000.0
ANSWER = reply(2000, seed=1)


def heard(sound: Int16, folder: Path, late: float = 0.0, first_pts: int = 2**32 - 5000) -> Heard:
    """Make a sound as the SDK returns it: RTP time wraps, frames jitter, and drift late."""
    random = np.random.default_rng(1)
    frames = Frames()
    for number in range(len(sound) // FRAME):
        at = BEGAN + number * FRAME / RATE
        came = at + float(random.uniform(0, 0.002)) + late * number * FRAME / len(sound)
        frames.add(came, (first_pts + number * FRAME) % 2**32, sound[number * FRAME :][:FRAME])
    frames.save(folder / "heard.npz")
    return Heard.load(folder / "heard.npz")


def silence(seconds: float) -> Int16:
    return np.zeros(round(seconds * RATE), np.int16)


def test_a_whole_reply(tmp_path: Path) -> None:
    sound = heard(np.concatenate([silence(0.5), ANSWER, silence(0.5)]), tmp_path)
    found = find_reply(sound, ANSWER, BEGAN, BEGAN + 3)
    assert found.share == pytest.approx(1, abs=0.003)
    assert found.begin == pytest.approx(BEGAN + 0.501, abs=0.0015)  # the median of the jitter
    assert found.later == pytest.approx(0, abs=0.0005)


def test_a_pause_and_a_cut(tmp_path: Path) -> None:
    first, second = ANSWER[: RATE * 3 // 4], ANSWER[RATE * 3 // 4 : RATE * 3 // 2]
    sound = heard(np.concatenate([silence(0.2), first, silence(0.6), second, silence(1)]), tmp_path)
    found = find_reply(sound, ANSWER, BEGAN, BEGAN + 3.3)
    assert found.lost == pytest.approx(0.5, abs=0.005)
    assert found.later == pytest.approx(0.6, abs=0.001)


def test_what_is_missing_without_a_gap_is_lost(tmp_path: Path) -> None:
    spliced = np.concatenate([ANSWER[: RATE // 2], ANSWER[RATE * 8 // 10 :], silence(0.5)])
    found = find_reply(heard(spliced, tmp_path), ANSWER, BEGAN, BEGAN + 2.2)
    assert found.lost == pytest.approx(0.3, abs=0.025)
    assert found.later == pytest.approx(-0.3, abs=0.001)


@pytest.mark.parametrize("level", [0, 0.1], ids=["silent", "quiet"])
def test_what_has_many_holes_is_heard(tmp_path: Path, level: float) -> None:
    """A service slower than real time loses nothing, but its audio has many holes."""
    pieces = []
    for start in range(0, len(ANSWER), RATE * 230 // 1000):
        pieces.append(ANSWER[start : start + RATE * 230 // 1000])
        pieces.append((level * ANSWER[: RATE // 50]).astype(np.int16))
    holed = np.concatenate([*pieces, silence(0.5)])
    found = find_reply(heard(holed, tmp_path), ANSWER, BEGAN, BEGAN + 2.7)
    assert found.share > 0.95
    assert found.later == pytest.approx(8 * 0.020, abs=0.021)  # the last piece is short


def test_another_reply_is_not_this_one(tmp_path: Path) -> None:
    sound = heard(reply(2000, seed=2), tmp_path)
    assert find_reply(sound, ANSWER, BEGAN, BEGAN + 2).share == 0


def test_edges(tmp_path: Path) -> None:
    ducked = (ANSWER[RATE // 2 :][: RATE // 50] * 0.178).astype(np.int16)
    sound = heard(np.concatenate([ANSWER[: RATE // 2], ducked, silence(1)]), tmp_path)
    before = sound.level(BEGAN + 0.2, BEGAN + 0.4)
    assert before == pytest.approx(-20, abs=1)
    silent = sound.silent_from(BEGAN + 0.3, BEGAN + 0.9, before)
    assert silent == pytest.approx(BEGAN + 0.52, abs=0.003)
    assert silent is not None
    assert sound.ducked_from(BEGAN + 0.3, silent, before) == pytest.approx(BEGAN + 0.5, abs=0.003)


def test_holes(tmp_path: Path) -> None:
    holed = ANSWER.copy()
    holed[RATE // 2 : RATE // 2 + RATE * 40 // 1000] = 0
    sound = heard(holed, tmp_path)
    (hole,) = sound.holes(BEGAN + 0.2, BEGAN + 1.5, -20.0)
    assert hole == pytest.approx(0.040, abs=0.003)


def test_a_delay_that_grows_is_seen(tmp_path: Path) -> None:
    answers = np.concatenate([ANSWER, silence(2), silence(4), ANSWER, silence(0.5)])
    sound = heard(answers, tmp_path, late=0.010)
    begins = [find_reply(sound, ANSWER, BEGAN + at, BEGAN + at + 2.4).begin for at in (0, 7.9)]
    assert None not in begins
    assert begins[1] - begins[0] == pytest.approx(8 + 0.010 * 8 / 10.5, abs=0.0015)


def test_openings_begin_with_their_first_loud_sample() -> None:
    sounds = openings()
    assert len({sound.name for sound in sounds}) == len(sounds) > 12
    for sound in sounds:
        assert abs(int(sound.samples[0])) >= 32768 * 10 ** (LOUD_DBFS / 20) - 1
        assert 0.25 < sound.loud_until <= len(sound.samples) / RATE


def test_the_reply_is_steady_and_fits_the_rate_of_the_service() -> None:
    blocks = ANSWER[RATE // 100 : -RATE // 100 // 240 * 240].astype(float)
    power = np.square(blocks[: len(blocks) // 240 * 240].reshape(-1, 240)).mean(1)
    assert np.ptp(10 * np.log10(power)) < 3
    spectrum = np.abs(np.fft.rfft(ANSWER * np.hanning(len(ANSWER))))
    assert spectrum[len(spectrum) // 6 :].max() < spectrum.max() / 1000  # from 4 kHz on
    assert len(for_service(ANSWER)) == len(ANSWER) // 2


def test_the_table_of_the_peer_has_the_ratio_of_its_medians() -> None:
    def trials(said: float, silent: float | None) -> list[PeerTrial]:
        quiet = [PeerTrial(said, 0.020, silent, disturbed=False)] * 3
        return [*quiet, PeerTrial(9.0, 9.0, 9.0, disturbed=True)]

    lines = tables.beside_peer(
        {
            ("ours", True): trials(0.050, 0.100),
            (PEER, True): trials(0.100, 0.200),
            ("ours", False): trials(0.050, 0.120),
            (PEER, False): trials(0.100, None),
        }
    )
    text = "\n".join(lines)
    assert "to the service | 50 / 50 / 50 | 100 / 100 / 100 | 2.00 |" in text
    assert "the service interrupts | 100 / 100 / 100 | 200 / 200 / 200 | 2.00 |" in text
    assert "it hears nothing | 120 / 120 / 120 | – / – / – | – |" in text
    assert "it hears nothing | 0 of 3 | 3 of 3 | – |" in text
