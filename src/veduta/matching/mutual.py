"""Mutual matches: feature lists padded to one length, and partners turned into matches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnxruntime

from veduta.types import Bool, Float32, Int64, LocalFeatures, Matches

NO_MATCHES = Matches(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))


def pad(rows: Sequence[Float32], length: int) -> Float32:
    """Return (B, length, D) of B arrays (N, D), filled up with zeros."""
    padded = np.zeros((len(rows), length, *rows[0].shape[1:]), np.float32)
    for out, row in zip(padded, rows, strict=True):
        out[: len(row)] = row
    return padded


def centered(features: LocalFeatures, side: float = 1.0) -> Float32:
    """Return (N, 2) keypoints as in a square photo of this side, the photo in its middle, its longer side as long.

    Networks that relate keypoints to the middle and the longer side of one size for both photos see each photo in its
    own shape, whatever that is.
    """
    size = np.array(features.size, np.float32)
    return np.asarray(((features.keypoints - size / 2) / size.max() + 0.5) * side, np.float32)


def mutual(forth: Int64, back: Int64, scores: Float32, good: Bool) -> Matches:
    """Return the pairs that are each other's partner.

    Args:
        forth: (N0,) partner of each query keypoint in the reference.
        back: (N1,) the other way round.
        scores: (N0,) of each query keypoint and its partner.
        good: (N0,) pairs that may stand.
    """
    own = np.arange(len(forth))
    keep = (back[forth] == own) & good
    return Matches(np.stack((own[keep], forth[keep]), 1), scores[keep])


def match_with_session(
    session: onnxruntime.InferenceSession, query: LocalFeatures, reference: LocalFeatures, min_probability: float
) -> Matches:
    """Return the mutual pairs that a graph of LightGlue finds, as likely as asked for.

    Args:
        session: takes keypoints (N, 2) from the middle of the photo, in halves of its longer side, and descriptors.
        query: the query's features, some.
        reference: the reference's, some.
        min_probability: least probability of a pair.
    """
    inputs = {}
    for i, photo in enumerate((query, reference)):
        inputs[f"keypoints{i}"], inputs[f"descriptors{i}"] = 2 * centered(photo) - 1, photo.descriptors
    partner, probability, back = session.run(None, inputs)
    return mutual(partner, back, probability, probability >= min_probability)
