"""Mutual nearest neighbors: the cheap matcher."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from veduta.matching.mutual import NO_MATCHES
from veduta.types import Float32, Int64, LocalFeatures, Matches

REFERENCES_AT_ONCE = 8  # references in one product: more of them no longer fit the cache


class NearestMatcher:
    """Pairs keypoints that are each other's nearest neighbor and at least `min_similarity` alike.

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
        return self.match_many(query, [reference])[0]

    def match_many(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        """Return the matches with each of the references; one matrix product for several."""
        matched: list[Matches] = []
        for start in range(0, len(references), REFERENCES_AT_ONCE):
            matched += self._product(query, references[start : start + REFERENCES_AT_ONCE])
        return matched

    def _product(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        ends = np.cumsum([0, *map(len, references)])
        if not len(query) or not ends[-1]:
            return [NO_MATCHES] * len(references)
        similarity = query.descriptors @ np.concatenate([r.descriptors for r in references]).T  # (N0, sum of N1)
        # Whatever is nearer than a good pair is itself one that is alike enough: the others need no second look.
        flat = np.flatnonzero(similarity.ravel() >= self.min_similarity)
        query_index, reference_index = np.divmod(flat, ends[-1])
        cosine = similarity.ravel()[flat]
        of = np.searchsorted(ends, reference_index, "right") - 1  # the reference each keypoint belongs to
        keep = _first_best(of * len(query) + query_index, cosine) & _first_best(reference_index, cosine)
        query_index, reference_index, cosine, of = (
            query_index[keep],
            reference_index[keep] - ends[of[keep]],
            cosine[keep],
            of[keep],
        )
        pairs = np.stack((query_index, reference_index), 1)
        return [Matches(pairs[of == i], cosine[of == i]) for i in range(len(references))]


def _first_best(group: Int64, score: Float32) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return (P,) whether each pair is the first with the largest score of its group."""
    order = np.lexsort((np.arange(len(group)), -score, group))
    first = np.ones(len(group), bool)
    first[1:] = group[order[1:]] != group[order[:-1]]
    result = np.zeros(len(group), bool)
    result[order[first]] = True
    return result
