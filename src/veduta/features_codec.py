"""Local features as bytes, as a gallery keeps them: D + 6 a keypoint."""

from __future__ import annotations

import struct

import numpy as np

from veduta.types import LocalFeatures, Size

FEATURES_HEADER = struct.Struct(
    "<HHIIf"
)  # keypoints, length of a descriptor, width, height, value of one descriptor step
PLACES = 65_535
MAX_SIDE = 1 << 24  # pixels: above that single precision does not tell neighbors apart


def pack_features(features: LocalFeatures) -> bytes:
    """Return local features as bytes: D + 6 a keypoint, positions to 1/65535 of the side, descriptors to 1/127."""
    step = float(np.abs(features.descriptors).max(initial=1e-6)) / 127
    side = np.array(features.size, np.float32)
    places = np.clip(np.round((features.keypoints + 0.5) / side * PLACES), 0, PLACES).astype("<u2")
    steps = np.clip(np.round(features.descriptors / step), -127, 127).astype(np.int8)
    header = FEATURES_HEADER.pack(len(features), features.descriptors.shape[1], *features.size, step)
    return b"".join((header, places.tobytes(), steps.tobytes(), features.scores.astype("<f2").tobytes()))


def unpack_features(data: bytes) -> LocalFeatures:
    """Return the local features of `pack_features`' bytes, descriptors of norm 1 again; ValueError for other bytes."""
    if len(data) < FEATURES_HEADER.size:
        raise ValueError(f"local features: expected at least {FEATURES_HEADER.size} bytes, got {len(data)}")
    n, dim, width, height, _ = FEATURES_HEADER.unpack_from(data)
    expected = FEATURES_HEADER.size + (dim + 6) * n
    if len(data) != expected or min(width, height, dim) < 1 or max(width, height) > MAX_SIDE:
        raise ValueError(
            f"local features: expected {expected} bytes of a photo, got {len(data)} for {width} x {height}"
        )
    places = np.frombuffer(data, "<u2", 2 * n, FEATURES_HEADER.size).reshape(n, 2)
    steps = np.frombuffer(data, np.int8, dim * n, FEATURES_HEADER.size + 4 * n).reshape(n, dim)
    scores = np.frombuffer(data, "<f2", n, FEATURES_HEADER.size + (4 + dim) * n)
    keypoints = places.astype(np.float32)
    keypoints /= PLACES
    keypoints *= np.array((width, height), np.float32)
    keypoints -= 0.5
    descriptors = steps.astype(np.float32)
    squares = np.einsum("ij,ij->i", descriptors, descriptors)  # whole numbers: exact; the step falls out with the norm
    descriptors *= (1 / np.sqrt(np.maximum(squares, 1e-12)))[:, None]
    return LocalFeatures(keypoints, descriptors, scores.astype(np.float32), Size(width, height))
