"""Which photos an epoch looks at, and in which order: the long tail, tempered.

With n photos of a class, a photo is drawn with a probability proportional to n^(-q). q = 0 looks at all photos alike,
and so mostly at the head; q = 1 at all landmarks alike, and so at the same few photos of the tail again and again;
between them, tempered (Mahajan et al., ECCV 2018, with q = 0.5, the square root).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from veduta.types import Float64, Int64

SAMPLERS = {"uniform": 0.0, "tempered": 0.5, "balanced": 1.0}


def weights(classes: Sequence[int] | Int64, power: float) -> Float64:
    """Return (N,) the probability of drawing each photo, of classes (N,); ValueError outside 0 <= power <= 1."""
    if not 0 <= power <= 1:
        raise ValueError(f"power: expected 0 to 1, got {power}")
    labels = np.asarray(classes, np.int64)
    counts = np.bincount(labels)
    share = counts[labels].astype(np.float64) ** -power
    return np.asarray(share / share.sum(), np.float64)


def epoch_order(classes: Sequence[int] | Int64, power: float, seed: int, epoch: int, size: int | None = None) -> Int64:
    """Return (size,) numbers of photos, in the order an epoch looks at them; the same for the same seed and epoch.

    With power 0 each photo comes once, whatever the size up to their number. Otherwise photos come as often as their
    weight says: each the whole part of size x weight times, and the rest by chance (systematic sampling), so that no
    epoch forgets by bad luck a landmark that its share would have shown.

    Args:
        classes: (N,) the class of each photo.
        power: how much the tail is lifted, 0 to 1.
        seed: of the run.
        epoch: from 0.
        size: photos in an epoch; N by default.
    """
    total = len(classes)
    size = total if size is None else size
    rng = np.random.default_rng((seed, 1, epoch))
    if power == 0 and size <= total:
        return np.asarray(rng.permutation(total)[:size], np.int64)
    shuffled = rng.permutation(total)
    ends = np.cumsum(weights(classes, power)[shuffled]) * size
    points = np.arange(size) + rng.random()
    drawn = shuffled[np.minimum(np.searchsorted(ends, points, "right"), total - 1)]
    return np.asarray(rng.permutation(drawn), np.int64)
