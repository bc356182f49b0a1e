"""Check that arrays of every numpy layout, unaligned too, give a plain copy's results.

In release builds an unaligned read gives the right values on most machines by luck. An array whose
stride is no multiple of the sample fails there; the rest fails in a debug build.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini.audio import (
    AudioError,
    Capture,
    EchoReference,
    InputStream,
    Playback,
    Resampler,
    Vad,
    encode_base64,
)
from numpy.typing import NDArray

# Function that takes PCM in one layout and returns all results.
Listen = Callable[[Any], object]
Layout = Callable[[NDArray[Any]], NDArray[Any]]


def _resampler(pcm: Any) -> object:
    out = Resampler(48000, 16000).push(pcm)
    return out.dtype, out.tobytes()


def _interleaved(pcm: Any) -> object:
    out = Resampler(48000, 16000).push(pcm, 2)
    return out.dtype, out.tobytes()


def _input_stream(pcm: Any) -> object:
    out, events = InputStream(16000).push(pcm, 48000)
    return out.tobytes(), events


def _vad(pcm: Any) -> object:
    vad = Vad(16000)
    events = vad.push(pcm)
    return events, vad.probability


def _echo_reference(pcm: Any) -> object:
    """Suppress an echo at half the level after 100 ms; return the residue."""
    reference = EchoReference()
    stream = InputStream(16000, echo=reference)
    echo = np.concatenate([np.zeros(4800, np.int16), np.ravel(pcm) // 2])
    heard = []
    for start in range(0, np.size(pcm), 960):
        now = start / 48000
        reference.push(pcm[..., start : start + 960], now)
        samples, _ = stream.push(echo[start : start + 960], 48000, at=now)
        heard.append(samples.tobytes())
    return heard


def _playback(pcm: Any) -> object:
    playback = Playback(prefill_ms=0)
    accepted = playback.push(pcm, 1)
    playback.end_turn(1)
    heard = []
    while playback.audible:
        heard.append(playback.pop_frame().tobytes())
    return accepted, heard


def _capture(pcm: Any) -> object:
    return Capture(16000).push(1, pcm, 48000, 1, 0.02)[0]


MONO: list[Listen] = [
    _resampler,
    _interleaved,
    _input_stream,
    _vad,
    _echo_reference,
    _playback,
    _capture,
    encode_base64,
]
FLOAT: list[Listen] = [_resampler, _interleaved, _input_stream, _capture]
STEREO: list[Listen] = [_resampler, _input_stream, _capture]


def _at_offset(offset: int) -> Layout:
    """Return a layout whose first sample is `offset` bytes after an aligned address."""

    def layout(pcm: NDArray[Any]) -> NDArray[Any]:
        memory = np.zeros(pcm.nbytes + 16, np.uint8)
        start = -memory.ctypes.data % 8 + offset
        view: NDArray[Any] = memory[start : start + pcm.nbytes].view(pcm.dtype).reshape(pcm.shape)
        view[:] = pcm
        return view

    return layout


def _of_records(pcm: NDArray[Any]) -> NDArray[Any]:
    """Return a field of packed records, with address and stride no multiple of the sample."""
    records = np.zeros(pcm.shape, np.dtype([("tag", "u1"), ("sample", pcm.dtype)]))
    records["sample"] = pcm
    field: NDArray[Any] = records["sample"]
    assert field.strides[-1] % pcm.itemsize
    return field


def _read_only(pcm: NDArray[Any]) -> NDArray[Any]:
    view = _at_offset(1)(pcm)
    view.flags.writeable = False
    return view


def _of_a_packet(pcm: NDArray[Any]) -> NDArray[Any]:
    """Return the payload after a header of one byte, read-only like bytes."""
    packet: NDArray[Any] = np.frombuffer(b"h" + pcm.tobytes(), pcm.dtype, offset=1)
    return packet.reshape(pcm.shape)


def _every_other(pcm: NDArray[Any]) -> NDArray[Any]:
    wide = np.zeros((*pcm.shape[:-1], 2 * pcm.shape[-1]), pcm.dtype)
    wide[..., ::2] = pcm
    view: NDArray[Any] = wide[..., ::2]
    return view


def _reversed(pcm: NDArray[Any]) -> NDArray[Any]:
    view: NDArray[Any] = pcm[..., ::-1].copy()[..., ::-1]
    return view


def _columns(pcm: NDArray[Any]) -> NDArray[Any]:
    return np.asfortranarray(pcm)


UNALIGNED: dict[str, Layout] = {
    "offset 1": _at_offset(1),
    "offset 3": _at_offset(3),
    "records": _of_records,
    "reversed records": lambda pcm: _of_records(pcm[..., ::-1])[..., ::-1],
    "every other at offset 1": lambda pcm: _at_offset(1)(np.repeat(pcm, 2, axis=-1))[..., ::2],
    "columns at offset 1": lambda pcm: _at_offset(1)(pcm.T.copy()).T,
    "read-only": _read_only,
    "packet": _of_a_packet,
}
ALIGNED: dict[str, Layout] = {
    "plain": lambda pcm: pcm,
    "every other": _every_other,
    "reversed": _reversed,
    "columns": _columns,
    "reversed columns": lambda pcm: _columns(pcm[..., ::-1])[..., ::-1],
}
LAYOUTS = UNALIGNED | ALIGNED


def check(listen: Listen, layout: str, pcm: NDArray[Any]) -> None:
    same = LAYOUTS[layout](pcm)
    # The layout is what it is called, and holds what it should.
    assert same.flags.aligned == (layout in ALIGNED)
    assert same.dtype == pcm.dtype
    np.testing.assert_array_equal(same, pcm)
    assert listen(same) == listen(pcm)


@pytest.fixture
def int16(rng: np.random.Generator) -> NDArray[np.int16]:
    """Make a second of noise at 48 kHz that changes its level, so that its echo can be found."""
    noise = rng.standard_normal((50, 960)) * rng.uniform(30, 3000, (50, 1))
    return noise.astype(np.int16).reshape(-1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("listen", MONO)
def test_int16_in_one_dimension(listen: Listen, layout: str, int16: NDArray[np.int16]) -> None:
    check(listen, layout, int16)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("listen", MONO)
def test_int16_in_one_row(listen: Listen, layout: str, int16: NDArray[np.int16]) -> None:
    check(listen, layout, int16[None, :])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("listen", STEREO)
def test_int16_in_two_rows(listen: Listen, layout: str, int16: NDArray[np.int16]) -> None:
    check(listen, layout, int16.reshape(2, -1))


@pytest.mark.parametrize("layout", [*LAYOUTS, "offset 2"])
@pytest.mark.parametrize("listen", FLOAT)
@pytest.mark.parametrize("shape", [(-1,), (1, -1), (2, -1)], ids=str)
def test_float32(
    listen: Listen, layout: str, shape: tuple[int, ...], int16: NDArray[np.int16]
) -> None:
    pcm = (int16 / 32768).astype(np.float32).reshape(shape)
    if layout == "offset 2":
        same = _at_offset(2)(pcm)
        assert not same.flags.aligned
        assert listen(same) == listen(pcm)
    else:
        check(listen, layout, pcm)


@pytest.mark.parametrize("listen", MONO)
def test_no_sample_at_an_odd_address(listen: Listen) -> None:
    nothing = _at_offset(1)(np.zeros(1, np.int16))[:0]
    assert listen(nothing) == listen(np.zeros(0, np.int16))
    assert listen(nothing[None, :]) == listen(np.zeros((1, 0), np.int16))


def test_minutes_at_an_odd_address(rng: np.random.Generator) -> None:
    """Long input is processed without the interpreter's lock, from a copy."""
    pcm = rng.integers(-9000, 9000, 60 * 48000, dtype=np.int16)
    for shape in ((-1,), (1, -1), (2, -1)):
        check(_resampler, "offset 1", pcm.reshape(shape))


@pytest.mark.parametrize("listen", MONO)
@pytest.mark.parametrize("layout", ["plain", "offset 1"])
def test_the_other_byte_order_is_refused(listen: Listen, layout: str) -> None:
    swapped = LAYOUTS[layout](np.arange(960, dtype=np.dtype(np.int16).newbyteorder()))
    with pytest.raises(AudioError, match=r"got [<>]i2"):
        listen(swapped)


def test_the_array_itself_is_left_alone(int16: NDArray[np.int16]) -> None:
    for layout in LAYOUTS.values():
        same = layout(int16)
        Resampler(48000, 16000).push(same)
        np.testing.assert_array_equal(same, int16)
