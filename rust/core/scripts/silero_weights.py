#!/usr/bin/env python3
"""Makes `src/vad/silero/weights.bin` and the reference of `tests` from the wheel of silero-vad.

    pip download --no-deps silero-vad==6.2.3 && unzip silero_vad-6.2.3-*.whl
    pip install numpy onnx onnxruntime
    python silero_weights.py silero_vad/data/silero_vad_16k_op15.onnx

The model is Silero VAD 6.2.3, 16 kHz, Copyright (c) 2020-present Silero Team, MIT licence (beside
the weights). The ONNX file is the source because it is what `silero_vad.load_silero_vad(onnx=True)`
runs; the safetensors file of the same wheel holds another training of the network.

Format of `weights.bin`, little-endian, no header; every section is a multiple of 64 bytes:

    conv1   int16 [8 blocks][129 inputs][3 taps ][16 lanes]   float32 scale [128], bias [128]
    conv2   int16 [4 blocks][128 inputs][3 taps ][16 lanes]   float32 scale [64],  bias [64]
    conv3   int16 [4 blocks][ 64 inputs][2 taps ][16 lanes]   float32 scale [64],  bias [64]
    conv4   int16 [8 blocks][ 64 inputs][1 tap  ][16 lanes]   float32 scale [128], bias [128]
    lstm    int16 [8 blocks][256 inputs][4 gates][16 lanes]   float32 scale [4][128], bias [4][128]
    output  float32 weight [128], bias [1], 15 zeros

A lane is an output channel (a unit of the LSTM): channel 16 * block + lane. A weight is
`int16 * scale[channel]`, the scale chosen so that the channel's largest weight is 32767. The LSTM
sees its input, then its own last output; its gates are i, f, g, o. Left out: the taps of conv3 and
conv4 that only ever meet zero padding, and the basis of the STFT, which is a periodic Hann window
times a DFT (checked below).
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

SHA256 = "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49"
SOURCE = Path(__file__).resolve().parent.parent / "src" / "vad" / "silero"
LANES = 16
CONTEXT, WINDOW = 64, 512

Floats = NDArray[np.float32]


def tensors(path: Path) -> dict[str, Floats]:
    """The initializers of the graph and of the graphs inside it, by their last name parts."""
    found = {}
    for node in onnx.load(path).graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    for tensor in onnx.load(path).graph.initializer:
        found[tensor.name] = numpy_helper.to_array(tensor)
    return {name.removeprefix("model."): array for name, array in found.items()}


def check_basis(basis: Floats) -> None:
    n, k = np.arange(256), np.arange(129)[:, None]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / 256)
    turn = 2 * np.pi * k * n / 256
    want = np.concatenate([hann * np.cos(turn), -hann * np.sin(turn)])
    assert np.abs(basis[:, 0] - want).max() < 1e-6


def section(weight: Floats, bias: Floats) -> bytes:
    """Packs weights of shape (slots, channels, inputs); one scale for each slot and channel."""
    slots, channels, inputs = weight.shape
    scale = np.abs(weight).max(axis=2) / 32767.0
    codes = np.rint(weight / scale[:, :, None]).astype("<i2")
    codes = codes.reshape(slots, channels // LANES, LANES, inputs).transpose(1, 3, 0, 2)
    return codes.tobytes() + scale.astype("<f4").tobytes() + bias.astype("<f4").tobytes()


def conv(weight: Floats, bias: Floats, taps: list[int]) -> bytes:
    used = weight[:, :, taps]  # (channels, inputs, taps)
    channels, inputs, count = used.shape
    scale = np.abs(used).reshape(channels, -1).max(axis=1) / 32767.0
    codes = np.rint(used / scale[:, None, None]).astype("<i2")
    codes = codes.reshape(channels // LANES, LANES, inputs, count).transpose(0, 2, 3, 1)
    return codes.tobytes() + scale.astype("<f4").tobytes() + bias.astype("<f4").tobytes()


def pack(t: dict[str, Floats]) -> bytes:
    convs = [
        conv(t[f"encoder.{i}.reparam_conv.weight"], t[f"encoder.{i}.reparam_conv.bias"], taps)
        for i, taps in enumerate([[0, 1, 2], [0, 1, 2], [1, 2], [1]])
    ]
    rnn = np.concatenate([t["decoder.rnn.weight_ih"], t["decoder.rnn.weight_hh"]], axis=1)
    bias = t["decoder.rnn.bias_ih"].astype(np.float64) + t["decoder.rnn.bias_hh"]
    lstm = section(rnn.reshape(4, 128, 256), bias)
    output = np.zeros(144, "<f4")
    output[:128] = t["decoder.decoder.2.weight"].reshape(-1)
    output[128] = t["decoder.decoder.2.bias"][0]
    return b"".join([*convs, lstm, output.tobytes()])


def signal() -> Floats:
    """Three seconds that wake the network: what `tests::signal` in `network.rs` makes, in float32.

    Integer arithmetic only, so that both make the same bits: a buzz whose pitch and filter move
    in syllables, noise from a linear congruential generator under it, silence at the end.
    """
    out = np.zeros(3 * 16_000, np.float32)
    seed, low, band = 1, 0, 0
    for i in range(len(out)):
        seed = (seed * 1_664_525 + 1_013_904_223) % 2**32
        period = 90 + (i // 400) % 45
        centre = 200 + 37 * ((i // 1_600) % 13)
        pulse = 24_000 if i % period == 0 else 0
        # A resonator of the state-variable kind: https://en.wikipedia.org/wiki/State_variable_filter
        low += (centre * band) >> 10
        band += (centre * (pulse - low - (band >> 3))) >> 10
        loud = 1 if (i // 2_000) % 4 == 3 else 16
        sample = ((band * loud) >> 4) + (seed >> 24) - 128
        out[i] = max(-32_768, min(32_767, sample)) / 32_768 if i < 40_000 else 0.0
    return out


def reference(path: Path) -> Floats:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    state = np.zeros((2, 1, 128), np.float32)
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), signal()])
    out = []
    for k in range(len(signal()) // WINDOW):
        window = padded[k * WINDOW : k * WINDOW + CONTEXT + WINDOW][None]
        feed = {"input": window, "state": state, "sr": np.array(16_000, np.int64)}
        feed = {i.name: feed[i.name] for i in session.get_inputs()}
        probability, state = session.run(None, feed)
        out.append(probability[0, 0])
    return np.array(out, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    model = parser.parse_args().model
    assert hashlib.sha256(model.read_bytes()).hexdigest() == SHA256, "another version of the model"
    found = tensors(model)
    check_basis(found["stft.forward_basis_buffer"])
    weights = pack(found)
    assert len(weights) % 64 == 0
    (SOURCE / "weights.bin").write_bytes(weights)
    (SOURCE / "reference.bin").write_bytes(reference(model).astype("<f4").tobytes())
    print(f"{len(weights)} bytes, SHA-256 {hashlib.sha256(weights).hexdigest()}")


if __name__ == "__main__":
    main()
