"""Bursts and near-duplicates: photos that a person took as one, and wants to be asked about once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt

from veduta.types import Float32, UInt8

MAX_BITS = 6  # in which near-duplicates may differ; of six million pairs of unlike photos about 20 differ in as few
# Least cosine of near-duplicates, and of photos of one burst. Half as large, or cropped by a sixth, a photo keeps 0.5
# and more with itself in 99 cases of 100; other photos that share a fingerprint have 0.2.
MIN_SIMILARITY, MIN_BURST_SIMILARITY = 0.5, 0.6
BURST_GAP = timedelta(seconds=4)  # between two photos of one burst
HASH_BLOCK = 1024


def sharpness(gray: UInt8) -> float:
    """Return the variance of the Laplacian of (H, W) gray pixels: of photos of one thing, the sharper has more."""
    return float(cv2.Laplacian(gray, cv2.CV_32F).var())


def find_bursts(
    keys: Sequence[str],
    descriptors: Float32,
    fingerprints: Sequence[bytes],
    sharp: Sequence[float],
    taken: Sequence[datetime | None],
) -> list[list[str]]:
    """Return sets of two or more photos that count as one, in each the sharpest first.

    Two photos belong together when they look nearly the same pixel for pixel, or were taken within `BURST_GAP` of one
    another and look alike.

    Args:
        keys: what to call each of N photos.
        descriptors: (N, D) of norm 1.
        fingerprints: eight bytes each.
        sharp: sharpness of each.
        taken: when each was taken, where that is known.
    """
    joined = UnionFind(len(keys))
    for a, b in _duplicates(descriptors, fingerprints):
        joined.join(a, b)
    for a, b in _shot_together(descriptors, taken):
        joined.join(a, b)
    sets = [sorted(members, key=lambda i: (-sharp[i], keys[i])) for members in joined.sets() if len(members) > 1]
    return [[keys[i] for i in members] for members in sets]


def _duplicates(descriptors: Float32, fingerprints: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Yield pairs whose fingerprints differ in few bits and whose descriptors are alike."""
    bits = np.frombuffer(b"".join(fingerprints), np.uint64)
    for start in range(0, len(bits), HASH_BLOCK):
        differing = _count_bits(bits[start : start + HASH_BLOCK, None] ^ bits[None])
        near, other = np.nonzero(differing <= MAX_BITS)
        for a, b in zip((near + start).tolist(), other.tolist(), strict=True):
            if a < b and descriptors[a] @ descriptors[b] >= MIN_SIMILARITY:
                yield a, b


def _count_bits(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    return np.bitwise_count(words)


def _shot_together(descriptors: Float32, taken: Sequence[datetime | None]) -> Iterator[tuple[int, int]]:
    """Yield pairs taken soon after one another that look alike."""
    dated = sorted((moment, i) for i, moment in enumerate(taken) if moment is not None)
    for place, (before, a) in enumerate(dated):
        for after, b in islice(dated, place + 1, None):
            if after - before > BURST_GAP:
                break
            if descriptors[a] @ descriptors[b] >= MIN_BURST_SIMILARITY:
                yield a, b


class UnionFind:
    """Things joined into sets: union-find (Tarjan 1975).

    Args:
        count: how many there are, each its own set to begin with.
    """

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def find(self, i: int) -> int:
        """Return the one that stands for the set of `i`."""
        while self._above[i] != i:
            self._above[i] = self._above[self._above[i]]
            i = self._above[i]
        return i

    def join(self, a: int, b: int) -> None:
        """Merge the sets of `a` and `b`; the smaller number represents the union."""
        low, high = sorted((self.find(a), self.find(b)))
        self._above[high] = low

    def sets(self) -> list[list[int]]:
        """Return the sets, each in rising order, in the order of their first."""
        members: dict[int, list[int]] = {}
        for i in range(len(self._above)):
            members.setdefault(self.find(i), []).append(i)
        return list(members.values())
