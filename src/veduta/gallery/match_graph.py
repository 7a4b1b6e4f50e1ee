"""Which keypoints of a reference are worth keeping: those that other photos of its landmark confirm.

Turcot and Lowe, ICCV Workshops 2009: features on people, trees and sky are never matched again; those on the landmark
are, by any photo that shows the same side of it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from veduta.types import Int64, LocalFeatures, UInt8

MAX_PAIRS = 6  # photos of its landmark that a reference is held against
EXPECTED_FROM = 3  # of them, those with most inliers, that say how many a query should reach
MIN_CONFIRMING = 2  # relatives with inliers before any keypoint is dropped: one may show only a corner
MAX_KEYPOINTS = 320  # then kept: as good as 512 on real photos, in two thirds of the bytes and of the time


def count_confirmed(counts: UInt8, keypoints: Int64) -> UInt8:
    """Return (N,) counts with those of the given keypoints one up, as far as a byte goes."""
    more = counts.copy()
    more[keypoints] = np.minimum(more[keypoints], 254) + 1
    return more


def keep_confirmed(
    features: LocalFeatures, counts: UInt8, confirming: int, most: int = MAX_KEYPOINTS
) -> tuple[LocalFeatures, UInt8]:
    """Return the `most` most useful of N features with their counts, in their order; all if few relatives confirm any.

    Args:
        features: best first by the detector, whose order decides between equally useful ones.
        counts: (N,) relatives that confirm each.
        confirming: relatives that confirm any.
        most: how many are kept.
    """
    if confirming < MIN_CONFIRMING or len(features) <= most:
        return features, counts
    keep = np.sort(np.argsort(-counts.astype(np.int64), kind="stable")[:most])
    kept = LocalFeatures(features.keypoints[keep], features.descriptors[keep], features.scores[keep], features.size)
    return kept, counts[keep]


def expected_inliers(inliers: Iterable[int]) -> float:
    """Return the mean of the largest few numbers of inliers a reference has with its relatives; NaN without any."""
    largest = sorted(inliers)[-EXPECTED_FROM:]
    return float(np.mean(largest)) if largest else float("nan")
