"""The audio core: resampler, voice activity detection, capture, playback store, base64.

Compiled Rust with a Python face; the same names live in the crate `voice-audio`. Audio is int16
mono, as numpy arrays or as little-endian bytes, in chunks of any length:

    >>> import numpy as np
    >>> from getstream.plugins.gemini.audio import Resampler
    >>> resampler = Resampler(48000, 16000)
    >>> resampler.push(np.zeros(960, np.int16)).shape
    (320,)

All classes may be used from several threads. Calls on up to a second of audio keep the GIL: they
take microseconds, and handing the GIL over costs far more. Longer ones release it. Input that
cannot be used raises `AudioError`.

Importing this module costs what `import getstream` does where Stream's SDK is installed, because
Python runs the parent package first; the core adds a millisecond and 0.8 MiB to that. numpy is
imported with the first samples, not before. `make bench-import` measures it.
"""

from __future__ import annotations

import warnings

from . import _core
from ._core import (
    Capture,
    CaptureEvent,
    EchoReference,
    InputStream,
    Mixer,
    Playback,
    PlaybackStats,
    Resampler,
    SourceStats,
    SpeechStarted,
    SpeechStopped,
    TurnStats,
    Vad,
    decode_base64,
    encode_base64,
)
from .errors import AudioError

__all__ = [
    "AudioError",
    "Capture",
    "CaptureEvent",
    "EchoReference",
    "InputStream",
    "Mixer",
    "Playback",
    "PlaybackStats",
    "Resampler",
    "SourceStats",
    "SpeechStarted",
    "SpeechStopped",
    "TurnStats",
    "Vad",
    "decode_base64",
    "encode_base64",
]

if _core.build_profile != "release":
    warnings.warn(
        f"the audio core was compiled in the {_core.build_profile} profile and is many times "
        "slower than it should be: build it with `maturin build --release`",
        RuntimeWarning,
        stacklevel=2,
    )
