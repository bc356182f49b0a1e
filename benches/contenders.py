"""Resamplers that a voice agent in Python can use, behind one common interface.

A contender is made for a pair of rates and then takes int16 mono frames: `push(frame)` returns the
finished samples as an int16 array. Conversion to and from a library's own objects is part of its
cost, because a user pays it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int16 = NDArray[np.int16]
Push = Callable[[Int16], Int16]

EMPTY = np.empty(0, np.int16)


@dataclass(frozen=True)
class Contender:
    """Resampler that is compared.

    Attributes:
        name: Name in the tables.
        package: Distribution whose version is reported.
        module: Module that must be importable.
        make: Makes the `push` for an input and an output rate.
        keeps_state: False for one that starts afresh with each frame.
    """

    name: str
    package: str
    module: str
    make: Callable[[int, int], Push]
    keeps_state: bool = True

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None

    @property
    def version(self) -> str:
        return importlib.metadata.version(self.package)


def _ours(quality: str) -> Callable[[int, int], Push]:
    def make(in_rate: int, out_rate: int) -> Push:
        from getstream.plugins.gemini.audio import Resampler

        return Resampler(in_rate, out_rate, quality=quality).push  # type: ignore[arg-type]

    return make


def _soxr(quality: str) -> Callable[[int, int], Push]:
    def make(in_rate: int, out_rate: int) -> Push:
        import soxr

        stream = soxr.ResampleStream(in_rate, out_rate, 1, dtype="int16", quality=quality)
        return stream.resample_chunk  # type: ignore[no-any-return]

    return make


def _av(in_rate: int, out_rate: int) -> Push:
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=out_rate)

    def push(pcm: Int16) -> Int16:
        frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.sample_rate = in_rate
        frames = [out.to_ndarray()[0] for out in resampler.resample(frame)]
        return frames[0] if len(frames) == 1 else np.concatenate([EMPTY, *frames])

    return push


def _samplerate(converter: str) -> Callable[[int, int], Push]:
    def make(in_rate: int, out_rate: int) -> Push:
        import samplerate

        resampler = samplerate.Resampler(converter, channels=1)
        ratio = out_rate / in_rate

        def push(pcm: Int16) -> Int16:
            out = resampler.process(pcm.astype(np.float32) * np.float32(1 / 32768), ratio)
            out = np.rint(out * np.float32(32768))
            return np.asarray(np.clip(out, -32768, 32767), dtype=np.int16)

        return push

    return make


def _scipy(in_rate: int, out_rate: int) -> Push:
    from scipy.signal import resample_poly

    return lambda pcm: resample_poly(pcm, out_rate, in_rate).astype(np.int16)


def _getstream_rtc(in_rate: int, out_rate: int) -> Push:
    import getstream_rtc

    resampler = getstream_rtc.StreamResampler(out_rate, 1)
    return lambda pcm: np.asarray(resampler.push(pcm, in_rate, 1).samples).reshape(-1)


def _pcm_data(in_rate: int, out_rate: int) -> Push:
    from getstream.video.rtc.track_util import PcmData

    def push(pcm: Int16) -> Int16:
        data: Any = PcmData(samples=pcm, sample_rate=in_rate, format="s16", channels=1)
        out = data.resample(target_sample_rate=out_rate, target_channels=1)
        return np.asarray(out.samples).reshape(-1)

    return push


def _livekit(in_rate: int, out_rate: int) -> Push:
    from livekit import rtc

    resampler = rtc.AudioResampler(in_rate, out_rate, num_channels=1)

    def push(pcm: Int16) -> Int16:
        frames = resampler.push(rtc.AudioFrame(pcm.tobytes(), in_rate, 1, len(pcm)))
        return np.concatenate([EMPTY, *(np.frombuffer(out.data, np.int16) for out in frames)])

    return push


OURS = "this package, voice"
REFERENCE = "soxr HQ"

RESAMPLERS = [
    Contender(OURS, "numpy", "getstream.plugins.gemini._core", _ours("voice")),
    Contender("this package, music", "numpy", "getstream.plugins.gemini._core", _ours("music")),
    Contender(REFERENCE, "soxr", "soxr", _soxr("HQ")),
    Contender("soxr VHQ", "soxr", "soxr", _soxr("VHQ")),
    Contender("soxr QQ", "soxr", "soxr", _soxr("QQ")),
    Contender("getstream-rtc StreamResampler", "getstream-rtc", "getstream_rtc", _getstream_rtc),
    Contender("getstream PcmData.resample", "getstream", "getstream.video", _pcm_data, False),
    Contender("av AudioResampler", "av", "av", _av),
    Contender("livekit AudioResampler", "livekit", "livekit", _livekit),
    Contender("samplerate sinc_fastest", "samplerate", "samplerate", _samplerate("sinc_fastest")),
    Contender("samplerate sinc_medium", "samplerate", "samplerate", _samplerate("sinc_medium")),
    Contender("scipy resample_poly", "scipy", "scipy", _scipy, False),
]
