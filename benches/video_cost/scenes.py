"""Draw frames of 720p: a scene as a camera sees it, and an editor full of text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Pixels = NDArray[np.uint8]

WIDTH, HEIGHT = 1280, 720
SENSOR_NOISE = 3.0
"""Standard deviation in levels of 255: a webcam in a lit room."""


def photograph(shift: int = 0) -> Pixels:
    """Return a scene with soft gradients, edges and noise: RGB, shape (720, 1280, 3)."""
    rng = np.random.default_rng(1)
    coarse = (rng.normal(0, 40, (46, 81, 3)) + 128).clip(0, 255).astype(np.uint8)
    scene = Image.fromarray(coarse).resize((WIDTH + 128, HEIGHT), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(scene)
    for _ in range(40):
        x, y = int(rng.integers(0, WIDTH + 40)), int(rng.integers(0, HEIGHT - 70))
        colour = tuple(int(value) for value in rng.integers(0, 255, 3))
        draw.ellipse([x, y, x + 80, y + 60], fill=colour)
    part = np.asarray(scene)[:, shift : shift + WIDTH].astype(np.float64)
    noise = np.random.default_rng(2 + shift).normal(0, SENSOR_NOISE, (HEIGHT, WIDTH, 1))
    return (part + noise).clip(0, 255).astype(np.uint8)


def editor() -> Pixels:
    """Return a white page with 40 lines of code: RGB, shape (720, 1280, 3)."""
    page = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(page)
    for row in range(40):
        text = f"def function_{row}(argument): return argument * {row * 7}  # and why it is so"
        draw.text((20, 10 + row * 17), text, fill=(20, 20, 60))
    return np.asarray(page)


def ssim(one: Pixels, other: Pixels) -> float:
    """Return the structural similarity of two RGB images, of their luma.

    Windows are 7 x 7 and the constants those of Wang et al. (2004).
    """
    weights = np.array([0.299, 0.587, 0.114])
    a, b = one @ weights, other @ weights
    mean_a, mean_b = _box(a), _box(b)
    var_a, var_b = _box(a * a) - mean_a**2, _box(b * b) - mean_b**2
    both = _box(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    index = ((2 * mean_a * mean_b + c1) * (2 * both + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    )
    return float(index.mean())


def _box(values: NDArray[np.float64], size: int = 7) -> NDArray[np.float64]:
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    return (
        sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    ) / size**2
