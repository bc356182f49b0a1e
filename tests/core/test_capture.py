"""Tests of `Capture` through Python; its rules are tested in Rust."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from getstream.plugins.gemini._websocket import websocket_payload
from getstream.plugins.gemini.audio import AudioError, Capture, EchoReference
from getstream.plugins.gemini.testing.signals import read_wav
from numpy.typing import NDArray

FRAME = 320


def run(
    capture: Capture, samples: NDArray[np.int16], start: float = 0.0, source: int = 1
) -> tuple[bytes, list[tuple[float, str]]]:
    """Push 16 kHz samples in real time; return the wire and the phases with their times."""
    wire, phases = b"", []
    for index in range(len(samples) // FRAME):
        now = start + 0.02 * (index + 1)
        frame = samples[index * FRAME : (index + 1) * FRAME]
        frames, events, *_ = capture.push(source, frame, 16000, 1, now)
        wire += b"".join(data for data, _ in frames)
        phases += [(now, event.phase) for event in events]
    return wire, phases


def test_one_source_passes_at_once_and_bit_exactly(rng: np.random.Generator) -> None:
    capture = Capture()
    said = rng.integers(-32768, 32768, 50 * FRAME, dtype=np.int16)
    assert run(capture, said)[0] == said.tobytes()
    assert capture.sources == [1]
    assert capture.is_open
    assert capture.behind_ms == -20
    assert (capture.stats(1), capture.stats(2)) != (None, None)
    assert capture.stats(2) is None
    assert repr(capture) == "<Capture 16000 Hz, 1 sources>"


def test_speech_is_told_with_its_source(voice: Callable[[int, float], NDArray[np.int16]]) -> None:
    capture = Capture(onset_ms=32)
    wire, phases = run(capture, voice(16000, 1.5), source=7)
    assert [phase for _, phase in phases] == ["starting", "started", "sustained"]
    events, ended = [], 0
    for index in range(1, 200):
        at = 1.5 + 0.02 * index
        frames, found, _, advance_at, end = capture.advance(at)
        wire += b"".join(data for data, _ in frames)
        events += found
        ended += end
        assert advance_at == (pytest.approx(at + 0.02) if capture.is_open else None)
    assert [(event.source, event.phase) for event in events] == [(7, "stopped")]
    assert repr(events[0]) == "CaptureEvent(source=7, phase='stopped')"
    assert ended == 1
    assert len(wire) / 32000 == pytest.approx(3.5, abs=0.15), "2 s of silence follow"


def test_silence_is_marked(voice: Callable[[int, float], NDArray[np.int16]]) -> None:
    capture = Capture()
    samples = np.concatenate([np.zeros(16000, np.int16), voice(16000, 1.0)])
    marks = []
    for index in range(100):
        frame = samples[index * FRAME : (index + 1) * FRAME]
        marks += [mark for _, mark in capture.push(1, frame, 16000, 1, 0.02 * index)[0]]
    assert all(marks[:50])
    assert not any(marks[60:])


@pytest.mark.parametrize("websocket", [False, True])
def test_frames_come_in_their_envelope(websocket: bool) -> None:
    capture = Capture(48000, envelope=(b'{"data": "', b'"}'), websocket=websocket)
    said = np.arange(960, dtype=np.int16)
    ((frame, silence),) = capture.push(1, said, 48000, 1, 0.02)[0]
    text = websocket_payload(frame) if websocket else frame
    assert base64.b64decode(json.loads(text)["data"]) == said.tobytes()
    assert silence


def test_shared_sound_is_sent_without_events(
    voice: Callable[[int, float], NDArray[np.int16]],
) -> None:
    capture = Capture()
    capture.open(3, "sound")
    said = voice(16000, 1.0)
    wire, phases = run(capture, said, source=3)
    assert (wire, phases) == (said.tobytes(), [])
    with pytest.raises(AudioError, match="'voice' or 'sound'"):
        capture.open(4, "noise")  # type: ignore[arg-type]


def test_what_is_muted_is_silence() -> None:
    capture = Capture()
    frames, *_ = capture.push(1, np.full((2, 960), 900, np.int16), 48000, 2, 0.02, None, True)
    assert frames == [(bytes(2 * FRAME), True)]


def test_an_echo_is_counted_and_not_sent() -> None:
    reference = EchoReference(16000)
    capture = Capture(echo=reference)
    played, rate = read_wav(str(files("getstream.plugins.gemini") / "data" / "speech.wav"))
    assert rate == 16000
    suppressed, loud, phases = 0.0, 0, []
    for index in range(200):
        now = 0.02 * index
        reference.push(played[index * FRAME : (index + 1) * FRAME], now)
        late = played[max(0, index - 10) * FRAME : max(0, index - 9) * FRAME] // 4
        frames, events, echo_ms, *_ = capture.push(1, late, 16000, 1, now)
        suppressed += echo_ms
        phases += [event.phase for event in events]
        loud += sum(np.abs(np.frombuffer(data, np.int16)).max() > 500 for data, _ in frames)
    assert "started" not in phases
    assert suppressed > 2500
    assert loud == 0
    assert capture.echo_delay_ms(1) == pytest.approx(200, abs=20)
    stats = capture.stats(1)
    assert stats is not None
    assert stats.suppressed_ms == pytest.approx(suppressed)


def test_what_was_due_before_a_refused_packet_is_not_lost(
    voice: Callable[[int, float], NDArray[np.int16]],
) -> None:
    capture = Capture()
    run(capture, voice(16000, 1.0))
    # Silence follows the speech by time, and time passes with the packets that are refused.
    for index in range(51, 100):
        with pytest.raises(AudioError, match="sample rate"):
            capture.push(1, np.zeros(FRAME, np.int16), 1, 1, 0.02 * index)
    frames = capture.advance(2.0)[0]
    assert len(frames) == pytest.approx(50, abs=1)


@pytest.mark.parametrize(
    "options",
    [
        {"wire_rate": 22055},
        {"onset_ms": -1},
        {"hangover_ms": 60_001},
        {"sustained_ms": 60_001},
        {"tail_ms": 120_001},
        {"preroll_ms": 1_001},
        {"threshold": 2.0},
    ],
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(AudioError):
        Capture(**options)


def test_times_that_are_no_times_and_too_many_sources() -> None:
    capture = Capture()
    for wrong in (math.nan, math.inf, -math.inf):
        with pytest.raises(AudioError, match="at="):
            capture.advance(wrong)
        with pytest.raises(AudioError, match="at="):
            capture.push(1, b"", 16000, 1, wrong)
    for source in range(4096):
        capture.open(source, "voice")
    with pytest.raises(AudioError, match="4096"):
        capture.open(4096, "voice")
    with pytest.raises(AudioError, match="4096"):
        capture.push(4096, np.zeros(FRAME, np.int16), 16000, 1, 0.0)
    for source in range(4096):
        capture.remove(source)
    assert capture.sources == []
