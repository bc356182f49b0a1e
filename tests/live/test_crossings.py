"""The way in crosses between Python and Rust once for each packet."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from crossings import Crossings
from getstream.plugins.gemini.audio import EchoReference
from getstream.plugins.gemini.live._media import capture
from getstream.plugins.gemini.live._media.capture import AudioInput

RATE, FRAME = 16000, 320


@pytest.mark.parametrize("people", [1, 3])
@pytest.mark.parametrize("playing", [False, True])
def test_one_call_for_each_packet(
    monkeypatch: pytest.MonkeyPatch, people: int, playing: bool
) -> None:
    crossings = Crossings()
    crossings.watch(monkeypatch, capture, "Capture")
    echo = EchoReference(RATE)
    sent: list[bytes] = []
    audio = AudioInput(
        lambda frame, now, silence: sent.append(frame),
        lambda rate: (b"<", b">"),
        onset_ms=32,
        hangover_ms=200,
        echo=echo,
    )
    rng = np.random.default_rng(1)
    persons = [SimpleNamespace(user_id=f"{n}", session_id="1") for n in range(people)]

    def hear(count: int, start: float) -> None:
        for index in range(count):
            now = start + index * 0.02
            if playing:  # also while it is not known yet whether they send an echo
                echo.push(np.full(FRAME, 3000, np.int16), now)
            for person in persons:
                noise = rng.normal(0, 300, FRAME).astype(np.int16)
                pcm = SimpleNamespace(
                    samples=noise,
                    sample_rate=RATE,
                    channels=1,
                    participant=person,
                    pts=round(now * 48000),
                    time_base=1 / 48000,
                )
                audio.push(pcm, RATE, now)

    hear(5, 0.0)
    before = crossings.snapshot()
    hear(100, 0.1)
    assert crossings.since(before) == {"Capture.push": 100 * people}
    assert len(sent) >= 100
