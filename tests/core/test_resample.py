"""`Resampler` through Python: against independent references, and its promises."""

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
    """The whole signal, aligned with its input."""
    resampler = Resampler(in_rate, out_rate)
    out: Int16 = np.concatenate([resampler.push(pcm), resampler.flush()])
    aligned: Int16 = out[int(resampler.delay) :]
    return aligned


def band_noise(rng: np.random.Generator, rate: int, top_hz: float, n: int) -> Int16:
    """Noise below `top_hz`, which every good resampler must agree on."""
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
    assert Resampler(16000, 16000).delay == 0.0


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
        (np.zeros(4, np.float32), "float32"),
        (np.zeros(4, np.uint16), "uint16"),
        (np.zeros(4, ">i2"), ">i2"),
        (np.zeros((2, 4), np.int16), "mono"),
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
