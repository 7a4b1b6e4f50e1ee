"""Mutual nearest neighbours: the cheap matcher."""

from __future__ import annotations

import numpy as np

from veduta.types import LocalFeatures, Matches


class NearestMatcher:
    """Pairs keypoints that are each other's nearest neighbour and at least `min_similarity` alike.

    Args:
        min_similarity: least cosine of a pair, in [-1, 1].
    """

    def __init__(self, min_similarity: float = 0.82) -> None:
        self.min_similarity = min_similarity

    @property
    def name(self) -> str:
        """The name of its card."""
        return "nearest"

    def match(self, query: LocalFeatures, reference: LocalFeatures) -> Matches:
        """Return mutual pairs, each scored by its cosine; empty when either photo has no keypoints."""
        if not len(query) or not len(reference):
            return Matches(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
        similarity = query.descriptors @ reference.descriptors.T  # (N0, N1)
        forth = similarity.argmax(1)
        # Multiplied again the other way round: an argmax across rows costs more than the product.
        back = (reference.descriptors @ query.descriptors.T).argmax(1)
        mine = np.arange(len(query))
        best = similarity[mine, forth]
        keep = (back[forth] == mine) & (best >= self.min_similarity)
        return Matches(np.stack((mine[keep], forth[keep]), 1), best[keep])
