"""Tests of websocket frames through Python, against those of `websockets`."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import websockets.frames
from getstream.plugins.gemini._websocket import websocket_frame, websocket_payload
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

# The ends of the three forms of the length, and 20 ms of audio at 16 kHz as base64 in JSON.
LENGTHS = (0, 1, 125, 126, 902, 65_535, 65_536)


def key_of(frame: bytes) -> bytes:
    """Return the masking key, which follows the length."""
    start = {126: 4, 127: 10}.get(frame[1] & 0x7F, 2)
    return frame[start : start + 4]


@pytest.mark.parametrize("length", LENGTHS)
def test_frames_are_those_of_websockets(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = (b"0123456789abcde" * (length // 15 + 1))[:length]
    frame = websocket_frame(payload)
    monkeypatch.setattr(websockets.frames.secrets, "token_bytes", lambda size: key_of(frame))
    assert frame == Frame(Opcode.TEXT, payload).serialize(mask=True)
    assert websocket_payload(frame) == payload


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=2000))
def test_any_payload_comes_back(payload: bytes) -> None:
    assert websocket_payload(websocket_frame(payload)) == payload


def test_each_frame_has_a_key_of_its_own() -> None:
    """Keys differ beyond the pool drawn at a time, and on every thread."""
    keys: list[bytes] = []

    def draw() -> None:
        keys.extend(key_of(websocket_frame(b"")) for _ in range(1000))

    threads = [threading.Thread(target=draw) for _ in range(3)]
    for thread in threads:
        thread.start()
    draw()
    for thread in threads:
        thread.join()
    # Of 4000 random keys, two are the same once in 540 runs, four once in 600,000.
    assert len(set(keys)) > 4000 - 3
    # Each bit is set in half of them: 2000, with a deviation of 32.
    for bit in range(32):
        ones = sum(int.from_bytes(key, "big") >> bit & 1 for key in keys)
        assert 1700 < ones < 2300, f"bit {bit}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
def test_a_forked_child_does_not_use_its_parents_keys() -> None:
    program = (
        "import os, sys\n"
        "from getstream.plugins.gemini._websocket import websocket_frame\n"
        "websocket_frame(b'')\n"  # the pool is filled
        "child = os.fork()\n"
        "keys = [websocket_frame(b'')[2:6].hex() for _ in range(100)]\n"
        "if child:\n"
        "    os.waitpid(child, 0)\n"
        "os.write(1, (' '.join(keys) + '\\n').encode())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    child, parent = (set(line.split()) for line in run.stdout.splitlines())
    assert len(child) > 98
    assert len(parent) > 98
    assert len(child & parent) < 2


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        (b"", "offset 0: the header was cut"),
        (b'{"realtimeInput"', "offset 0: this is not a whole message of text"),
        (Frame(Opcode.TEXT, b"abc").serialize(mask=False), "offset 1: .* masked"),
        (Frame(Opcode.TEXT, b"abc", fin=False).serialize(mask=True), "offset 0"),
        (b"\xc1" + websocket_frame(b"abc")[1:], "extensions"),
        (Frame(Opcode.BINARY, b"abc").serialize(mask=True), "whole message of text"),
        (websocket_frame(b"abc")[:-1], "offset 8: the payload is not as long"),
        (websocket_frame(b"abc") * 2, "offset 18: the payload is not as long"),
    ],
)
def test_what_is_no_frame_is_refused_with_its_place(frame: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        websocket_payload(frame)


@pytest.mark.parametrize("payload", [None, "text", 3, [1, 2]])
def test_other_types_are_refused(payload: object) -> None:
    with pytest.raises(TypeError):
        websocket_frame(payload)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        websocket_payload(payload)  # type: ignore[arg-type]
