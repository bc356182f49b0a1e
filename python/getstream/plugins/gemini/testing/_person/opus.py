"""Encode and decode Opus with PyAV's libopus.

PyAV's own binding has no option for DTX, and its decoder makes a frame object of each packet.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ...errors import CallError

__all__ = ["FRAME_SAMPLES", "OpusDecoder", "OpusEncoder"]

FRAME_SAMPLES = 960
"""Samples of one packet: 20 ms at 48 kHz."""

_RATE = 48_000
_LARGEST = 1275
"""Bytes of the largest Opus frame (RFC 6716, section 3.4)."""
_LONGEST_SAMPLES = 5760
"""Samples of the longest packet: 120 ms at 48 kHz (RFC 6716, section 2.1.4)."""
_HEADER_ONLY = 2
"""Bytes up to which a packet has a header and no audio: the encoder has nothing to say."""

# opus_defines.h
_OK = 0
_APPLICATION_VOIP = 2048
_APPLICATION_AUDIO = 2049
_SET_BITRATE = 4002
_SET_DTX = 4016
_SET_SIGNAL = 4024
_SIGNAL_VOICE = 3001


class OpusEncoder:
    """Encode int16 mono 48 kHz in packets of 20 ms.

    With DTX the settings are WebRTC's: signal type voice, because libopus knows no lasting
    discontinuous transmission in its CELT mode, and of the packets without audio only the first
    of a row is sent, to tell the decoder. In silence that leaves a refresh and such a packet each
    0.42 s, after 0.2 s of hangover.
    """

    def __init__(self, *, dtx: bool, bitrate: int = 32_000) -> None:
        """Create an encoder.

        Args:
            dtx: Discontinuous transmission, for a voice; without it every frame is sent.
            bitrate: Bits per second; 32000 is WebRTC's for a mono voice.

        Raises:
            CallError: There is no libopus to be found.
        """
        self._library = _libopus()
        self._dtx = dtx
        self._in_dtx = False
        self._packet = (ctypes.c_ubyte * _LARGEST)()
        error = ctypes.c_int()
        application = _APPLICATION_VOIP if dtx else _APPLICATION_AUDIO
        self._encoder = self._library.opus_encoder_create(
            _RATE, 1, application, ctypes.byref(error)
        )
        _check(error.value)
        self._control(_SET_BITRATE, bitrate)
        if dtx:
            self._control(_SET_SIGNAL, _SIGNAL_VOICE)
            self._control(_SET_DTX, 1)

    def encode(self, samples: NDArray[np.int16]) -> bytes | None:
        """Encode one frame; returns None if a browser sends nothing for it.

        Args:
            samples: int16, shape (`FRAME_SAMPLES`,).

        Raises:
            ValueError: The shape is another, or the encoder is closed.
        """
        if self._encoder is None:
            raise ValueError("this encoder is closed")
        frame = np.ascontiguousarray(samples, dtype=np.int16)
        if frame.shape != (FRAME_SAMPLES,):
            raise ValueError(f"a frame has shape ({FRAME_SAMPLES},), not {frame.shape}")
        size = self._library.opus_encode(
            ctypes.c_void_p(self._encoder), frame.ctypes.data, FRAME_SAMPLES, self._packet, _LARGEST
        )
        if size < 0:
            _check(size)
        silent = self._dtx and size <= _HEADER_ONLY
        sent = not (silent and self._in_dtx)
        self._in_dtx = silent
        return bytes(self._packet[:size]) if sent else None

    def close(self) -> None:
        """Free the encoder. May be called twice."""
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            self._library.opus_encoder_destroy(ctypes.c_void_p(encoder))

    def _control(self, request: int, value: int) -> None:
        _check(
            self._library.opus_encoder_ctl(
                ctypes.c_void_p(self._encoder), ctypes.c_int(request), ctypes.c_int(value)
            )
        )


class OpusDecoder:
    """Decode packets to int16 mono 48 kHz, whatever channels they have."""

    def __init__(self) -> None:
        """Create a decoder.

        Raises:
            CallError: There is no libopus to be found.
        """
        self._library = _libopus()
        self._samples = np.zeros(_LONGEST_SAMPLES, dtype=np.int16)
        self._address = ctypes.c_void_p(self._samples.ctypes.data)
        error = ctypes.c_int()
        self._decoder = ctypes.c_void_p(
            self._library.opus_decoder_create(_RATE, 1, ctypes.byref(error))
        )
        _check(error.value)

    def decode(self, packet: bytes) -> NDArray[np.int16]:
        """Decode one packet.

        Returns:
            int16, shape (n,). It is a view that the next packet overwrites; empty if libopus
            cannot read the packet.

        Raises:
            ValueError: The decoder is closed.
        """
        if not self._decoder:
            raise ValueError("this decoder is closed")
        count = self._library.opus_decode(
            self._decoder, packet, len(packet), self._address, _LONGEST_SAMPLES, 0
        )
        return self._samples[: max(0, count)]

    def close(self) -> None:
        """Free the decoder. May be called twice."""
        decoder, self._decoder = self._decoder, ctypes.c_void_p()
        if decoder:
            self._library.opus_decoder_destroy(decoder)


def _check(status: int) -> None:
    if status != _OK:
        raise CallError(f"libopus refuses: error {status}")


@functools.cache
def _libopus() -> Any:
    """Load the library that FFmpeg in PyAV's wheels links to, else the system's."""
    package = Path(av.__file__).parent  # av is loaded, and with it what libopus itself needs
    found = [
        str(path)
        for folder in (package.parent / "av.libs", package / ".dylibs")
        for path in sorted(folder.glob("*opus*"))
    ]
    system = ctypes.util.find_library("opus")
    if system is not None:
        found.append(system)
    for name in found:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if not hasattr(library, "opus_encoder_create"):
            continue
        library.opus_encoder_create.restype = ctypes.c_void_p
        library.opus_encode.argtypes = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_int32,
        ]
        library.opus_decoder_create.restype = ctypes.c_void_p
        library.opus_decode.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_int32,
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.c_int,
        ]
        return library
    raise CallError(
        "no libopus found, neither in the wheel of PyAV (the package `av`) nor on this system: "
        "a person that sends as a browser does needs one"
    )
