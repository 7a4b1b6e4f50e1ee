"""Local features as bytes, as a gallery keeps them: D + 6 a keypoint."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from veduta.types import LocalFeatures

HEADER = struct.Struct("<HHIIf")  # keypoints, length of a descriptor, width, height, value of one descriptor step
PLACES = 65_535


def pack_features(features: LocalFeatures) -> bytes:
    """Return local features as bytes: D + 6 a keypoint, positions to 1/65535 of the side, descriptors to 1/127."""
    step = float(np.abs(features.descriptors).max(initial=1e-6)) / 127
    side = np.array(features.size, np.float32)
    places = np.clip(np.round((features.keypoints + 0.5) / side * PLACES), 0, PLACES).astype("<u2")
    steps = np.clip(np.round(features.descriptors / step), -127, 127).astype(np.int8)
    header = HEADER.pack(len(features), features.descriptors.shape[1], *features.size, step)
    return b"".join((header, places.tobytes(), steps.tobytes(), features.scores.astype("<f2").tobytes()))


def unpack_features(data: bytes) -> LocalFeatures:
    """Return what `pack_features` kept; descriptors have norm 1 again."""
    return unpack_many([data])[0]


def unpack_many(packed: Sequence[bytes]) -> list[LocalFeatures]:
    """Return what `pack_features` kept of each of several photos, all by the same extractor.

    All keypoints are widened in one go: thirty photos one by one take twice as long.
    """
    heads = [HEADER.unpack_from(data) for data in packed]
    counts = [head[0] for head in heads]
    dim = heads[0][1] if heads else 0
    steps = _parts(packed, np.int8, dim, [HEADER.size + 4 * n for n in counts], counts)
    places = _parts(packed, "<u2", 2, [HEADER.size] * len(counts), counts)
    scores = _parts(packed, "<f2", 1, [HEADER.size + (4 + dim) * n for n in counts], counts)[:, 0].astype(np.float32)
    sides = np.repeat(np.array([head[2:4] for head in heads], np.float32).reshape(-1, 2), counts, axis=0)
    keypoints = places.astype(np.float32) / PLACES * sides - 0.5
    descriptors = steps.astype(np.float32)
    squares = np.einsum("ij,ij->i", descriptors, descriptors)  # whole numbers: exact; the step falls out with the norm
    descriptors *= (1 / np.sqrt(np.maximum(squares, 1e-12)))[:, None]
    found, start = [], 0
    for n, _, width, height, _ in heads:
        mine = slice(start, start + n)
        # Copies: one photo that is kept must not keep all the others.
        parts = keypoints[mine].astype(np.float32), descriptors[mine].copy(), scores[mine].copy()
        found.append(LocalFeatures(*parts, (width, height)))
        start += n
    return found


def _parts(
    packed: Sequence[bytes], kind: npt.DTypeLike, width: int, starts: Sequence[int], counts: Sequence[int]
) -> npt.NDArray[Any]:
    """Return one part of each photo, (N, width) of all their keypoints."""
    each = [
        np.frombuffer(data, kind, width * n, start).reshape(n, width)
        for data, start, n in zip(packed, starts, counts, strict=True)
    ]
    return np.concatenate(each) if each else np.zeros((0, width), kind)
