"""Check an installed wheel where the SDKs cannot be installed: numpy and the audio core only.

Free-threaded CPython and musl have no wheels of all that the Stream SDK needs. Exits with an error
at the first thing that is wrong.
"""

from __future__ import annotations

import sys
import sysconfig
import wave
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.resources import files

import numpy as np
from getstream.plugins.gemini import _core, audio
from numpy.typing import NDArray

THREADS = 4


def detect(speech: NDArray[np.int16], rate: int) -> tuple[bytes, int]:
    """Resample a recording to 16 kHz in frames of 20 ms; count the speeches in it."""
    resampler, vad = audio.Resampler(rate, 16_000), audio.Vad(16_000)
    frame, heard, events = rate // 50, [], 0
    for start in range(0, len(speech) - frame + 1, frame):
        pcm = resampler.push(speech[start : start + frame])
        events += sum(type(event).__name__ == "SpeechStarted" for event in vad.push(pcm))
        heard.append(pcm.tobytes())
    return b"".join(heard), events


def main() -> None:
    """Run the checks."""
    assert _core.__version__ == version("getstream-plugins-gemini")
    assert _core.build_profile == "release"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert not sys._is_gil_enabled(), "importing the extension has turned the GIL on"
    source = files("getstream.plugins.gemini") / "data" / "speech.wav"
    with source.open("rb") as file, wave.open(file) as wav:
        rate = wav.getframerate()
        speech = np.frombuffer(wav.readframes(wav.getnframes()), np.int16)
    pcm, events = detect(speech, rate)
    assert len(pcm) == 2 * (len(speech) // (rate // 50)) * 320, "20 ms in is 20 ms out"
    assert events, "the recording is speech"
    with ThreadPoolExecutor(THREADS) as threads:
        results = threads.map(lambda _: detect(speech, rate), range(2 * THREADS))
        assert all(result == (pcm, events) for result in results), "threads do not meet"
    playback = audio.Playback(prefill_ms=0)
    playback.push(speech[:24_000], 1)
    playback.end_turn(1)
    assert any(playback.pop_frame().any() for _ in range(50))
    print(f"{version('getstream-plugins-gemini')} works on {sys.version}")


if __name__ == "__main__":
    main()
