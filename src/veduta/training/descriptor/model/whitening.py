"""Learn the whitening of a descriptor from photos; no labels are needed.

Photos of buildings all resemble one another, and a network trained to name things in general has a few strong
directions for that. Learned PCA whitening (Jegou and Chum, ECCV 2012; as used by Radenovic et al., TPAMI 2018) divides
every direction by how much photos vary along it, and keeps the first D.
"""

from __future__ import annotations

import numpy as np

from veduta.types import Float32, Float64

SHRINKAGE = 2.0  # in mean variances; without it, directions a small set hardly varies along are blown up to noise


def learn_whitening(descriptors: Float32, dim: int, shrinkage: float = SHRINKAGE) -> tuple[Float64, Float64]:
    """Return the mean (E,) and projection (E, dim) that whiten descriptors like these (N, E).

    Each direction is divided by the square root of its variance plus `shrinkage` times the mean variance.

    Raises:
        ValueError: there are fewer than two descriptors, or fewer directions than `dim`.
    """
    if len(descriptors) < 2 or dim > descriptors.shape[1]:
        raise ValueError(f"expected at least 2 descriptors of length {dim} or more, got {descriptors.shape}")
    wide = descriptors.astype(np.float64)
    mean = wide.mean(0)
    variance, directions = np.linalg.eigh(np.cov(wide - mean, rowvar=False, bias=True))  # rising
    variance, directions = variance[::-1], directions[:, ::-1]
    directions *= np.where(np.abs(directions).max(0) == directions.max(0), 1.0, -1.0)  # a sign for every direction
    return mean, directions[:, :dim] / np.sqrt(variance[:dim] + shrinkage * variance.mean())


def whiten(descriptors: Float32, mean: Float64, projection: Float64) -> Float32:
    """Return (B, D) descriptors of norm 1 from (B, E) ones, given a mean (E,) and a projection (E, D)."""
    projected = (descriptors - mean) @ projection
    return np.asarray(projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12), np.float32)
