"""One drawn picture, which shows whether two machines compute the same to the last bit.

Results are the same whatever number of threads or processes makes them, but processors of different kinds round
differently: the networks' inner loops are written anew for each set of instructions.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from veduta.images import from_array
from veduta.types import Image, LocalFeatures

WIDTH, HEIGHT, TILE = 640, 480, 37


def probe_image() -> Image:
    """Return the picture: tiles of many shades, made by whole numbers only."""
    x, y = np.arange(WIDTH)[None], np.arange(HEIGHT)[:, None]
    tiles = (x // TILE * 7919 + y // TILE * 104_729) % 251
    channels = [(tiles * (i + 1) + (x * y // (53 + i)) % 29) % 256 for i in range(3)]
    return from_array(np.stack(channels, 2).astype(np.uint8), "<drawn>")


def probe_digest(*arrays: npt.NDArray[Any]) -> str:
    """Return a digest of these numbers, to the last bit."""
    state = hashlib.sha256()
    for array in arrays:
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()[:16]


def features_digest(features: LocalFeatures, *more: npt.NDArray[Any]) -> str:
    """Return the digest of local features, and of more."""
    return probe_digest(features.keypoints, features.descriptors, features.scores, *more)
