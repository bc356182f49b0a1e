"""Measure a frame's whole path in and out, as in a user's code."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
from collections.abc import Callable
from functools import partial

import numpy as np
from getstream.plugins.gemini.audio import (
    Capture,
    Playback,
    Resampler,
    encode_base64,
)
from measuring import fit, race, tone
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from report import Report

Int16 = NDArray[np.int16]
OURS = "this package"


def stereo(hz: float = 997.37) -> list[Int16]:
    """Make a second of interleaved 48 kHz stereo in frames of 20 ms, whose mean is the tone."""
    return np.split(np.repeat(tone(48000, hz), 2), 50)


# --- In: 48 kHz stereo from the call, 16 kHz mono to the wire -------------------------------------


def in_ours() -> Callable[[Int16], bytes]:
    resampler = Resampler(48000, 16000)
    return lambda frame: resampler.push(frame, 2).tobytes()


def in_ours_base64() -> Callable[[Int16], bytes]:
    resampler = Resampler(48000, 16000)
    return lambda frame: encode_base64(resampler.push(frame, 2))


def in_ours_vad() -> Callable[[Int16], bytes]:
    capture = Capture(16000, envelope=(b"", b""))
    now = 0.0

    def push(frame: Int16) -> bytes:
        nonlocal now
        now += 0.02
        ((text, _),) = capture.push(1, frame, 48000, 2, now)[0]
        return text

    return push


def in_soxr() -> Callable[[Int16], bytes]:
    import soxr

    resample = soxr.ResampleStream(48000, 16000, 1, dtype="int16", quality="HQ").resample_chunk

    def push(frame: Int16) -> bytes:
        mono = frame.reshape(-1, 2).astype(np.int32).sum(axis=1) >> 1
        return resample(mono.astype(np.int16)).tobytes()  # type: ignore[no-any-return]

    return push


def in_getstream() -> Callable[[Int16], bytes]:
    from getstream.video.rtc.track_util import PcmData

    def push(frame: Int16) -> bytes:
        planes = np.ascontiguousarray(frame.reshape(-1, 2).T)
        pcm = PcmData(samples=planes, sample_rate=48000, format="s16", channels=2)
        return pcm.resample(16000, 1).to_bytes()

    return push


def in_av() -> Callable[[Int16], bytes]:
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=16000)

    def push(frame: Int16) -> bytes:
        picture = av.AudioFrame.from_ndarray(frame[None, :], format="s16", layout="stereo")
        picture.sample_rate = 48000
        return b"".join(out.to_ndarray().tobytes() for out in resampler.resample(picture))

    return push


# By name: its maker, the module it needs, whether it gives base64, the least SINAD at 1 kHz.
IN = {
    OURS: (in_ours, "numpy", False, 96.0),
    "this package, to base64": (in_ours_base64, "numpy", True, 96.0),
    "this package, with VAD and mixer, to base64": (in_ours_vad, "numpy", True, 96.0),
    "numpy mean and soxr HQ": (in_soxr, "soxr", False, 85.0),
    "getstream PcmData": (in_getstream, "getstream", False, 20.0),
    "av AudioResampler": (in_av, "av", False, 85.0),
}


# --- Out: chunks at 24 kHz from the model, frames at 48 kHz to the call ---------------------------


def out_ours() -> Callable[[bytes], object]:
    playback = Playback(24000, 48000)
    playback.push(bytes(4800), 1)

    def step(chunk: bytes) -> Int16:
        playback.push(chunk, 1)
        return playback.pop_frame()

    return step


def out_ours_base64() -> Callable[[bytes], object]:
    playback = Playback(24000, 48000)
    playback.push(bytes(4800), 1)

    def step(chunk: bytes) -> Int16:
        playback.push_base64(chunk, 1)
        return playback.pop_frame()

    return step


def out_soxr() -> Callable[[bytes], object]:
    import soxr

    resample = soxr.ResampleStream(24000, 48000, 1, dtype="int16", quality="HQ").resample_chunk
    queue = bytearray(4 * 1920)

    def step(chunk: bytes) -> bytes:
        queue.extend(resample(np.frombuffer(chunk, np.int16)).tobytes())
        frame = bytes(queue[:1920])
        del queue[:1920]
        return frame

    return step


def out_getstream() -> Callable[[bytes], object]:
    from getstream.video.rtc.audio_track import AudioStreamTrack
    from getstream.video.rtc.track_util import PcmData

    track = AudioStreamTrack(sample_rate=48000, channels=1)
    asyncio.get_event_loop().run_until_complete(track.write(_pcm_data(PcmData, bytes(4800))))

    def step(chunk: bytes) -> object:
        # Neither call ever waits here, so no event loop is needed, nor its cost measured.
        _finish(track.write(_pcm_data(PcmData, chunk)))
        return _finish(track.recv())

    return step


def _pcm_data(kind: type, chunk: bytes) -> object:
    samples = np.frombuffer(chunk, np.int16)
    return kind(samples=samples, sample_rate=24000, format="s16", channels=1)


def _finish(coroutine: object) -> object:
    try:
        coroutine.send(None)  # type: ignore[attr-defined]
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


OUT = {
    OURS: (out_ours, "numpy"),
    "this package, from base64": (out_ours_base64, "numpy"),
    "soxr HQ and a bytearray": (out_soxr, "soxr"),
    "getstream AudioStreamTrack": (out_getstream, "getstream"),
}


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def test_in(report: Report, benchmark: BenchmarkFixture) -> None:
    calls = {}
    frames = stereo()
    for name, (make, module, text, least) in IN.items():
        if not installed(module):
            report.note(f"{name}: {module} is not installed")
            continue
        push = make()
        parts = [base64.b64decode(part) if text else part for part in map(push, frames)]
        sine, rest, _ = fit(np.frombuffer(b"".join(parts), np.int16), 16000, 997.37)
        sinad = 10 * np.log10(abs(sine) ** 2 / 2 / rest)
        assert sinad >= least, f"{name}: {sinad:.1f} dB"
        calls[name] = partial(make(), frames[7])
    times = race(calls, OURS)
    report.path("In: 48 kHz stereo to 16 kHz mono bytes", OURS, times)
    assert times[OURS].p10 <= 4.0
    push = in_ours()
    benchmark(push, frames[7])


def test_out(report: Report, benchmark: BenchmarkFixture) -> None:
    chunks = [part.tobytes() for part in np.split(tone(24000, 997.37), 50)]
    calls = {}
    for name, (make, module) in OUT.items():
        if not installed(module):
            report.note(f"{name}: {module} is not installed")
            continue
        encode = base64.b64encode if "base64" in name else bytes
        heard = [_samples(step_result) for step_result in map(make(), map(encode, chunks))]
        sine, rest, _ = fit(np.concatenate(heard), 48000, 997.37)
        sinad = 10 * np.log10(abs(sine) ** 2 / 2 / rest)
        assert sinad >= 85.0, f"{name}: {sinad:.1f} dB"
        calls[name] = partial(make(), encode(chunks[7]))
    times = race(calls, OURS)
    report.path("Out: 24 kHz chunk, store, 48 kHz frame", OURS, times)
    assert times[OURS].p10 <= 5.0
    step = out_ours()
    benchmark(step, chunks[7])


def _samples(frame: object) -> Int16:
    if isinstance(frame, bytes):
        return np.frombuffer(frame, np.int16)
    return np.asarray(frame if isinstance(frame, np.ndarray) else frame.to_ndarray()[0])  # type: ignore[attr-defined]
