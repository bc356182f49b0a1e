"""Tests of `Resampler` through Python, against independent references and its promises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.signal
import soxr
from getstream.plugins.gemini.audio import AudioError, Resampler
from numpy.typing import NDArray

Int16 = NDArray[np.int16]
PAIRS = [
    (48000, 16000),
    (24000, 48000),
    (48000, 24000),
    (8000, 16000),
    (16000, 48000),
    (44100, 16000),
    (44100, 48000),
    (96000, 8000),
]


def resample(in_rate: int, out_rate: int, pcm: Int16) -> Int16:
    """Resample a whole signal, aligned with its input."""
    resampler = Resampler(in_rate, out_rate)
    out: Int16 = np.concatenate([resampler.push(pcm), resampler.flush()])
    aligned: Int16 = out[resampler.delay :]
    return aligned


def band_noise(rng: np.random.Generator, rate: int, top_hz: float, n: int) -> Int16:
    """Make noise below `top_hz`, on which every good resampler must agree."""
    taps = scipy.signal.firwin(1001, top_hz, fs=rate, window=("kaiser", 12.0))
    noise = np.convolve(rng.normal(size=n + 1000), taps, mode="valid")
    return np.round(noise / np.abs(noise).max() * 20000).astype(np.int16)


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_agrees_with_soxr_and_scipy(rng: np.random.Generator, in_rate: int, out_rate: int) -> None:
    divisor = np.gcd(in_rate, out_rate)
    references: dict[str, tuple[float, Callable[[Int16], NDArray[np.float64]]]] = {
        # By the part of the Nyquist frequency up to which each is flat.
        "soxr": (0.75, lambda pcm: soxr.resample(pcm.astype(float), in_rate, out_rate, "VHQ")),
        "scipy": (
            0.45,
            lambda pcm: scipy.signal.resample_poly(
                pcm.astype(float), out_rate // divisor, in_rate // divisor, window=("kaiser", 14.0)
            ),
        ),
    }
    edge = out_rate // 10
    for name, (part, convert) in references.items():
        pcm = band_noise(rng, in_rate, part * min(in_rate, out_rate) / 2, in_rate)
        ours, reference = resample(in_rate, out_rate, pcm).astype(float), convert(pcm)
        assert abs(len(ours) - len(reference)) <= 1
        n = min(len(ours), len(reference))
        error = (ours[:n] - reference[:n])[edge : n - edge]
        # Rounding to 16 bits is all that may differ: 0.29 units.
        assert np.std(error) < 0.35, name


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
@pytest.mark.parametrize("chunk", [1, 7, 160, 480, 960, 4099])
def test_chunks_equal_the_whole_bit_for_bit(
    rng: np.random.Generator, in_rate: int, out_rate: int, chunk: int
) -> None:
    pcm = rng.integers(-32768, 32768, 5000, dtype=np.int16)
    whole, parts = Resampler(in_rate, out_rate), Resampler(in_rate, out_rate)
    want = np.concatenate([whole.push(pcm), whole.flush()])
    got = [parts.push(pcm[k : k + chunk]) for k in range(0, len(pcm), chunk)]
    np.testing.assert_array_equal(np.concatenate([*got, parts.flush()]), want)


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_frames_stay_frames(in_rate: int, out_rate: int) -> None:
    resampler = Resampler(in_rate, out_rate)
    for _ in range(5):
        out = resampler.push(np.zeros(in_rate // 50, np.int16))
        assert out.shape == (out_rate // 50,)
        assert out.dtype == np.int16
        assert not out.any()
    assert len(resampler.flush()) == resampler.delay
    assert len(resampler.flush()) == 0


def test_delay_is_short_and_whole() -> None:
    assert Resampler(48000, 16000).delay / 16 <= 2.1
    assert Resampler(24000, 48000).delay / 48 <= 1.4
    assert Resampler(16000, 16000).delay == 0
    for in_rate, out_rate in ((48000, 16000), (24000, 48000), (44100, 48000)):
        assert type(Resampler(in_rate, out_rate).delay) is int


def test_a_long_push_equals_short_ones(tone: Callable[..., Int16]) -> None:
    pcm = tone(48000, 1000.3, 3.0)  # long enough to release the GIL
    whole, parts = Resampler(48000, 16000), Resampler(48000, 16000)
    want = np.concatenate([parts.push(frame) for frame in np.split(pcm, 150)])
    np.testing.assert_array_equal(whole.push(pcm), want)


def test_every_way_to_pass_samples_gives_the_same(rng: np.random.Generator) -> None:
    pcm = rng.integers(-32768, 32768, 960, dtype=np.int16)
    want = Resampler(48000, 16000).push(pcm)
    strided = np.zeros((960, 2), np.int16)
    strided[:, 0] = pcm
    for same in (
        pcm[None, :],
        np.asfortranarray(pcm[None, :]),
        strided[:, 0],
        strided[:, 0][None, :],
        pcm[::-1].copy()[::-1],
        pcm.tobytes(),
        bytearray(pcm.tobytes()),
        memoryview(pcm.tobytes()),
        pcm.data,
    ):
        np.testing.assert_array_equal(Resampler(48000, 16000).push(same), want)
    readonly = pcm.copy()
    readonly.flags.writeable = False
    np.testing.assert_array_equal(Resampler(48000, 16000).push(readonly), want)


def test_the_result_belongs_to_the_caller() -> None:
    resampler = Resampler(48000, 16000)
    first = resampler.push(np.full(960, 9000, np.int16))
    kept = first.copy()
    resampler.push(np.full(960, -9000, np.int16))
    np.testing.assert_array_equal(first, kept)
    first[:] = 0


def test_overload_saturates(tone: Callable[..., Int16]) -> None:
    clipped = np.clip(tone(48000, 109.0, 0.5).astype(np.int32) * 6, -32768, 32767)
    out = resample(48000, 16000, clipped.astype(np.int16)).astype(int)
    assert out.max() == 32767
    assert out.min() == -32768
    # A sample that wrapped around would step over the whole range.
    assert np.abs(np.diff(out)).max() < 40000


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        ((4000, 16000), "4000"),
        ((16000, 192000), "192000"),
        ((-1, 16000), "-1"),
        ((2**40, 16000), str(2**40)),
        ((44101, 48000), "44101 to 48000"),
    ],
)
def test_unusable_rates_are_named(rates: tuple[int, int], text: str) -> None:
    with pytest.raises(AudioError, match=text):
        Resampler(*rates)


@pytest.mark.parametrize(
    ("pcm", "text"),
    [
        (b"\0\0\0", "even number of bytes, got 3"),
        (np.zeros(4, np.float64), "float64"),
        (np.zeros(4, np.uint16), "uint16"),
        (np.zeros(4, ">i2"), ">i2"),
        (np.zeros((4, 2), np.int16), "shape"),
        (np.zeros((1, 2, 3), np.int16), "shape"),
        (np.int16(3), "numpy array or"),
        ([1, 2], "list"),
        ("text", "str"),
        (None, "NoneType"),
    ],
)
def test_unusable_pcm_is_refused_and_changes_nothing(pcm: object, text: str) -> None:
    resampler = Resampler(48000, 16000)
    with pytest.raises(AudioError, match=text):
        resampler.push(pcm)  # type: ignore[arg-type]
    assert len(resampler.flush()) == 0


@pytest.mark.parametrize("channels", [0, 3, -1])
def test_unusable_numbers_of_channels(channels: int) -> None:
    with pytest.raises(AudioError, match=f"channels={channels}"):
        Resampler(48000, 16000).push(np.zeros(4, np.int16), channels)


def test_odd_stereo_is_refused_and_changes_nothing() -> None:
    resampler = Resampler(48000, 16000)
    with pytest.raises(AudioError, match="3 samples cannot be 2 channels"):
        resampler.push(np.zeros(3, np.int16), 2)
    assert len(resampler.flush()) == 0


@pytest.mark.parametrize(("in_rate", "out_rate"), [*PAIRS, (16000, 16000)])
def test_stereo_is_the_mean_of_its_sides_in_every_layout(
    rng: np.random.Generator, in_rate: int, out_rate: int
) -> None:
    stereo = rng.integers(-32768, 32768, (2, 2400), dtype=np.int16)
    mean = (stereo.astype(np.float32).sum(axis=0) / 65536).astype(np.float32)
    want = Resampler(in_rate, out_rate).push(mean)
    interleaved = np.ascontiguousarray(stereo.T).reshape(-1)
    unit = (stereo / 32768).astype(np.float32)
    for samples in (unit, interleaved.astype(np.float32) / 32768):
        got = Resampler(in_rate, out_rate).push(samples.astype(np.float32), 2)
        np.testing.assert_array_equal(got, want)
    rounded = np.clip(np.rint(want.astype(float) * 32768), -32768, 32767).astype(np.int16)
    for pcm in (stereo, np.asfortranarray(stereo), interleaved, interleaved.tobytes()):
        got = Resampler(in_rate, out_rate).push(pcm, 2)
        np.testing.assert_array_equal(got, rounded)
    np.testing.assert_array_equal(Resampler(in_rate, out_rate).push(stereo), rounded)


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_float_is_the_same_without_rounding(
    rng: np.random.Generator, in_rate: int, out_rate: int
) -> None:
    pcm = rng.integers(-32768, 32768, 3000, dtype=np.int16)
    ints, floats = Resampler(in_rate, out_rate), Resampler(in_rate, out_rate)
    want = np.concatenate([ints.push(pcm), ints.flush()])
    exact = floats.push((pcm / 32768).astype(np.float32))
    assert exact.dtype == np.float32
    tail = floats.flush("float32")
    assert tail.dtype == np.float32
    exact = np.concatenate([exact, tail]).astype(float) * 32768
    np.testing.assert_array_equal(np.clip(np.rint(exact), -32768, 32767), want)


def test_wild_floats_leave_no_trace() -> None:
    resampler = Resampler(48000, 16000)
    wild = np.array([np.nan, np.inf, -np.inf, 3e38], np.float32)
    out = resampler.push(np.concatenate([wild, np.zeros(1200, np.float32)]))
    assert np.isfinite(out).all()
    assert not out[-100:].any()


def test_the_music_preset_keeps_what_the_voice_preset_mirrors(tone: Callable[..., Int16]) -> None:
    for part, voice_db, music_db in ((0.95, -0.4, -0.01), (1.02, -60.0, -120.0)):
        pcm = tone(48000, 8000.0 * part + 3.7, 1.0)
        power = {}
        for quality in ("voice", "music"):
            resampler = Resampler(48000, 16000, quality=quality)  # type: ignore[arg-type]
            out = resampler.push((pcm / 32768).astype(np.float32))[1000:-1000].astype(float)
            power[quality] = 10 * np.log10(np.mean(out**2) / 0.125 + 1e-15)
        if part < 1:
            assert power["voice"] < voice_db < music_db < power["music"]
        else:
            assert power["voice"] > voice_db
            assert power["music"] < -94.0  # the noise of the input's rounding
    music = Resampler(48000, 16000, quality="music")
    assert music.quality == "music"
    assert music.delay / 16 <= 8.3
    assert repr(music) == "Resampler(48000, 16000, quality='music')"
    assert music.kernel == Resampler(24000, 48000).kernel
    assert music.kernel in ("scalar", "AVX2", "AVX-512", "NEON")


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("quality", lambda: Resampler(48000, 16000, quality="best")),  # type: ignore[arg-type]
        ("dtype", lambda: Resampler(48000, 16000).flush("float64")),  # type: ignore[call-overload]
    ],
)
def test_unknown_names_are_refused(argument: str, call: Callable[[], object]) -> None:
    with pytest.raises(AudioError, match=argument):
        call()


def test_audio_error_is_a_value_error_of_this_package() -> None:
    from getstream.plugins.gemini.errors import GeminiError

    assert issubclass(AudioError, GeminiError)
    assert issubclass(AudioError, ValueError)


def test_it_can_be_used_again_after_flush_and_reset(rng: np.random.Generator) -> None:
    pcm = rng.integers(-9000, 9000, 777, dtype=np.int16)
    resampler = Resampler(44100, 16000)
    want = np.concatenate([resampler.push(pcm), resampler.flush()])
    again = np.concatenate([resampler.push(pcm), resampler.flush()])
    resampler.push(pcm)
    resampler.reset()
    once_more = np.concatenate([resampler.push(pcm), resampler.flush()])
    np.testing.assert_array_equal(again, want)
    np.testing.assert_array_equal(once_more, want)
    assert (resampler.in_rate, resampler.out_rate) == (44100, 16000)
    assert repr(resampler) == "Resampler(44100, 16000)"
