"""Tests of the stereo WAV files: any place, any moment, any reader."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest
from getstream.plugins.gemini.recording._wav import (
    LEFT,
    RATE,
    RIGHT,
    StereoReader,
    StereoWriter,
    file_name,
)
from numpy.typing import NDArray


def ramp(count: int, first: int = 1) -> NDArray[np.int16]:
    """Return samples that are all different, so that each one has one place."""
    return (np.arange(first, first + count) % 30_000 + 1).astype(np.int16)


def with_wave(path: Path) -> NDArray[np.int16]:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 2, 2)
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)


def with_libav(path: Path) -> NDArray[np.int16]:
    with av.open(str(path)) as container:
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(blocks, axis=1).reshape(-1, 2)


def with_scipy(path: Path) -> NDArray[np.int16]:
    from scipy.io import wavfile

    rate, samples = wavfile.read(path)
    assert rate == RATE
    return np.asarray(samples)


READERS = pytest.mark.parametrize("read", [with_wave, with_libav, with_scipy])


@READERS
def test_every_reader_finds_what_was_committed_in_a_file_that_nobody_has_closed(
    read: object, tmp_path: Path
) -> None:
    assert callable(read)
    writer = StereoWriter(tmp_path)
    writer.write(LEFT, 0, ramp(960))
    writer.write(RIGHT, 480, ramp(960, 7000))
    writer.commit()
    writer.write(LEFT, 1440, ramp(100))  # not committed: the header does not say so yet
    found = read(tmp_path / "audio.wav")
    assert len(found) >= 1440
    assert found[:960, 0].tolist() == ramp(960).tolist()
    assert not found[960:1440, 0].any()
    assert not found[:480, 1].any()
    assert found[480:1440, 1].tolist() == ramp(960, 7000).tolist()
    writer.close()


@pytest.mark.parametrize("read", [with_wave, with_scipy])
def test_a_recording_of_nothing_is_a_file_without_samples(read: object, tmp_path: Path) -> None:
    assert callable(read)
    StereoWriter(tmp_path).close()
    assert len(read(tmp_path / "audio.wav")) == 0


def test_what_comes_before_the_start_is_left_out(tmp_path: Path) -> None:
    writer = StereoWriter(tmp_path)
    writer.write(LEFT, -10, ramp(30))
    writer.write(LEFT, -10, ramp(5))
    writer.commit()
    assert with_wave(tmp_path / "audio.wav")[:, 0].tolist() == ramp(20, 11).tolist()
    writer.close()


def test_it_rolls_over_and_reads_as_one(tmp_path: Path) -> None:
    """Sides cross a border at different times, a long silence makes whole files."""
    writer = StereoWriter(tmp_path, file_frames=1000)
    writer.write(LEFT, 900, ramp(300))
    writer.write(RIGHT, 800, ramp(300))  # behind, into the first file
    writer.write(LEFT, 4500, ramp(10))
    assert writer.frames == 4510
    assert writer.late_samples == 0
    writer.write(RIGHT, 2990, ramp(20))  # of which ten are for a file that is closed
    assert writer.late_samples == 10
    writer.commit()
    writer.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(file_name(index) for index in range(5))
    assert [len(with_wave(tmp_path / file_name(index))) for index in range(5)] == [
        1000, 1000, 1000, 1000, 510,
    ]  # fmt: skip
    reader = StereoReader(tmp_path, 1000)
    assert reader.frames == 4510
    expected = np.zeros((4510, 2), np.int16)
    expected[900:1200, 0] = ramp(300)
    expected[800:1100, 1] = ramp(300)
    expected[4500:4510, 0] = ramp(10)
    expected[3000:3010, 1] = ramp(20)[10:]
    assert np.array_equal(reader.read(0, 9999), expected)
    assert np.array_equal(reader.read(950, 2050), expected[950:2050])
    assert reader.read(5000, 6000).shape == (0, 2)


def test_a_file_stays_below_two_gigabytes() -> None:
    from getstream.plugins.gemini.recording._wav import FILE_FRAMES

    assert 44 + 4 * FILE_FRAMES < 2**31


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 401])
def test_a_file_that_was_cut_anywhere_is_read_to_its_last_whole_frame(
    cut: int, tmp_path: Path
) -> None:
    writer = StereoWriter(tmp_path)
    writer.write(LEFT, 0, ramp(500))
    writer.commit()
    writer.close()
    path = tmp_path / "audio.wav"
    path.write_bytes(path.read_bytes()[:-cut])
    reader = StereoReader(tmp_path)
    kept = 500 - -(-cut // 4)
    assert reader.frames == kept
    assert reader.read(0, 500)[:, 0].tolist() == ramp(500)[:kept].tolist()


def test_a_header_alone_or_half_of_one_is_an_empty_recording(tmp_path: Path) -> None:
    for size in (0, 20, 44, 47):
        (tmp_path / "audio.wav").write_bytes(b"\1" * size)
        assert StereoReader(tmp_path).frames == 0
