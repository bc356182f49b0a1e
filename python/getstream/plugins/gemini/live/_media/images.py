"""Read images of the application: files as they are, arrays as JPEG."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import av
import numpy as np

from ...errors import ConfigError, VideoError
from .video import ImageEncoder

MAX_SIDE, QUALITY = 768, 75
"""Longest side in pixels, which is what the model sees, and quality of an array that is encoded."""

MAX_IMAGE_BYTES = 7_000_000
"""Google's limit for an image that is sent inline (cloud.google.com, Gemini, image
understanding)."""

_SIGNATURES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
"""First bytes of a file by its kind (ITU-T T.81, annex B; W3C PNG, section 5.2)."""


def check_image(image: Any) -> None:
    """Check that something may be an image, without reading it.

    Raises:
        ConfigError: it is neither bytes nor a path nor an array of the right shape.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ConfigError(
                "send_image takes an RGB array, uint8 of shape (height, width, 3), not "
                f"{image.dtype} of shape {image.shape}"
            )
    elif not isinstance(image, (bytes, bytearray, memoryview, str, os.PathLike)):
        raise ConfigError(
            "send_image takes the bytes of a JPEG or PNG, the path of one, or an RGB array, not "
            f"{type(image).__name__}"
        )


def read_image(image: Any) -> tuple[bytes, str]:
    """Return the file of an image that `check_image` has accepted, and its MIME type.

    Reads a file, or encodes an array at most 768 pixels a side; call it off the event loop.

    Raises:
        ConfigError: the file cannot be read.
        VideoError: it is neither JPEG nor PNG, or has more than `MAX_IMAGE_BYTES`.
    """
    if isinstance(image, np.ndarray):
        pixels = np.ascontiguousarray(image)
        encoder = ImageEncoder(MAX_SIDE, QUALITY)
        encoded = encoder.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
        assert encoded is not None  # there is none before it
        return encoded.jpeg, "image/jpeg"
    is_path = isinstance(image, (str, os.PathLike))
    data = _read_file(Path(image)) if is_path else bytes(image)
    if len(data) > MAX_IMAGE_BYTES:
        raise VideoError(f"The image has {len(data)} bytes; {MAX_IMAGE_BYTES} can be sent at most")
    for signature, mime_type in _SIGNATURES.items():
        if data.startswith(signature):
            return data, mime_type
    raise VideoError("The image is neither JPEG nor PNG; convert it, or pass an RGB array")


def _read_file(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise ConfigError(f"There is no image file {path}")
        with path.open("rb") as file:
            return file.read(MAX_IMAGE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"The image {path} cannot be read: {type(error).__name__}") from error
