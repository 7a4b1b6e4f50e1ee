"""Wrong labels: photos that are far from what most photos of their landmark look like.

Sub-center ArcFace (Deng et al., ECCV 2020): with several centers a class, wrong photos gather at the lesser ones; those
at a large angle from the main center are left out, and training goes on without them.
"""

from __future__ import annotations

import numpy as np
import torch

from veduta.training.descriptor.model.losses import MarginHead
from veduta.types import Float32, Float64, Int64

PHOTOS_PER_CHUNK = 4096


def main_centers(head: MarginHead, descriptors: Float32, classes: Int64) -> Float64:
    """Return (N,) degrees between photos' descriptors (N, D) and the main center of their classes (N,).

    The main center of a class is the sub-center nearest to most of its photos.
    """
    device = head.centers.weight.device
    cosines = np.empty((len(classes), head.subcenters), np.float64)
    with torch.inference_mode():
        for start in range(0, len(classes), PHOTOS_PER_CHUNK):
            part = slice(start, start + PHOTOS_PER_CHUNK)
            own, place = np.unique(classes[part], return_inverse=True)
            every = head.every(torch.from_numpy(descriptors[part]).to(device), torch.from_numpy(own).to(device))
            cosines[part] = every.cpu().numpy()[np.arange(len(place)), place]
    votes = np.zeros((int(classes.max()) + 1, head.subcenters), np.int64)
    np.add.at(votes, (classes, cosines.argmax(1)), 1)
    main = cosines[np.arange(len(classes)), votes.argmax(1)[classes]]
    return np.asarray(np.degrees(np.arccos(np.clip(main, -1, 1))), np.float64)


def worst(degrees: Float64, classes: Int64, limit: float) -> Int64:
    """Return the numbers of the photos beyond `limit` degrees, rising; of each class the nearest photo always stays.

    Args:
        degrees: (N,) from the main center.
        classes: (N,).
        limit: in degrees.
    """
    order = np.lexsort((degrees, classes))
    nearest = order[np.unique(classes[order], return_index=True)[1]]
    gone = degrees > limit
    gone[nearest] = False
    return np.flatnonzero(gone)
