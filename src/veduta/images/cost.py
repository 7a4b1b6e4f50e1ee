"""The price of decoding a photo, known from its header before the work: bytes held at once, and passes over the pixels.

The constants are measured (`benchmarks/decode_memory.py`), rounded up; they are of this package's own path from file to
reduced pixels, with the decoders it calls.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import PIL.Image

MAX_SCANS = 100  # of a progressive JPEG; encoders write about ten, and each is a pass over all pixels
REDUCED_SIDE = 1024  # pixels of the longer side that most photos are reduced to
MAX_TILES = 100_000  # pieces of a picture, each decoded by a separate call
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}  # bytes a pixel, in Pillow; 4 for all others
_REDUCED_DIRECTLY = {"1", "L", "RGB"}  # modes that need no second picture before they are reduced
_DECODER = {"WebP": 12, "AVIF": 6, "HEIF": 8}  # bytes a pixel that a decoder holds beside the picture


def held_bytes(picture: PIL.Image.Image, kind: str, data: bytes) -> int:
    """Return how many bytes decoding and flattening a picture will hold at once.

    Args:
        picture: opened and not decoded; a JPEG whose `draft` was set is decoded smaller.
        kind: its format.
        data: the file.
    """
    width, height = picture.size
    pixels, half_reduced = width * height, 4 * min(width, REDUCED_SIDE) * height  # reduced in width, not yet in height
    stored = _STORED.get(picture.mode, 4)
    flat = 0 if picture.mode in _REDUCED_DIRECTLY else 1 if picture.mode[0] in "IF" else 4
    held = pixels * (stored + flat + _DECODER.get(kind, 0)) + half_reduced + pixels // 4  # and what rows need
    return held + _coefficients(picture, kind) + len(data)


def passes(data: bytes, kind: str) -> int:
    """Return how often decoding a photo goes over its pixels: the scans of a JPEG, 1 for other formats."""
    return max(1, data.count(b"\xff\xda")) if kind == "JPEG" else 1


def pieces(picture: PIL.Image.Image) -> int:
    """Return how many pieces a picture is decoded in."""
    return len(getattr(picture, "tile", ()))


def _coefficients(picture: Any, kind: str) -> int:
    """Return the bytes of a JPEG's coefficients: a progressive one has to hold all of them, at its full size."""
    layers = getattr(picture, "layer", None)
    if kind != "JPEG" or not layers:
        return 0
    width, height = picture.full_size
    if not picture.info.get("progressive"):
        return int(width * height // 2)  # of the rows in work
    widest, highest = max(h for _, h, _, _ in layers), max(v for _, _, v, _ in layers)
    return sum(2 * ceil(width * h / widest) * ceil(height * v / highest) for _, h, v, _ in layers)
