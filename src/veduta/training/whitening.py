"""Learn the whitening of a descriptor from photos; no labels are needed.

    python -m veduta.training.whitening PHOTOS... --out efficientnet-lite2-gem-white.npz

PHOTOS are folders: of landmarks for the most part, some of none. What it is for stands in `veduta.embedders.whitened`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from veduta.embedders import make_embedder
from veduta.errors import DatasetError, ImageError
from veduta.images import load, walk
from veduta.models import card
from veduta.threads import in_order
from veduta.types import Float32, Float64

BASE = "efficientnet-lite2-gem"
DIM = 1280
SHRINKAGE = 2.0  # in mean variances; without it, directions a small set hardly varies along are blown up to noise


def learn(descriptors: Float32, dim: int = DIM, shrinkage: float = SHRINKAGE) -> tuple[Float64, Float64]:
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


def write(path: Path, mean: Float64, projection: Float64, base: str = BASE) -> None:
    """Write what `WhitenedEmbedder` reads: both arrays at half precision, and the sha256 of the embedder below."""
    with path.open("wb") as file:
        np.savez(
            file,
            mean=mean.astype(np.float16),
            projection=projection.astype(np.float16),
            base=np.array(card(base).sha256),
        )


def describe(photos: Iterable[str], embedder: str = BASE) -> Float32:
    """Return (N, E) descriptors of the photos that can be read; the others are named on stderr."""
    embedding = make_embedder(embedder)

    def one(photo: str) -> Float32 | None:
        try:
            return np.asarray(embedding.embed([load(photo)])[0])
        except ImageError as error:
            sys.stderr.write(f"{error}\n")
            return None

    rows = [found for _, found in in_order(one, photos) if found is not None]
    if not rows:
        raise DatasetError("no photo among these can be read")
    return np.stack(rows)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path, help="folders of photos")
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    parser.add_argument("--dim", type=int, default=DIM)
    options = parser.parse_args()
    descriptors = describe(photo for folder in options.photos for photo in walk(folder))
    write(options.out, *learn(descriptors, options.dim))
    sys.stdout.write(f"{options.out}: learned from {len(descriptors)} photos\n")


if __name__ == "__main__":
    main()
