"""The candidates of one query as arrays, and one landmark's view of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from veduta.types import Candidate, Float32, Int64, PairGeometry

CHANCE_INLIERS = 5  # inliers that unrelated photos reach


SATURATED_INLIERS = 60  # past this many above chance, more inliers say nothing new


INLIER_WEIGHT = 0.5


@dataclass(frozen=True, eq=False)
class CandidateContext:
    """The candidates of one query in relation to each other and to distractors, in the order of the candidates.

    Attributes:
        reference_similarity: (N, N) cosines between the candidates' descriptors.
        query_distractor_similarity: similarity of the query to photos that show no landmark.
        distractor_similarity: (N,) the same of each candidate.
        expected_inliers: (N,) inliers each has with other photos of its landmark; NaN where none is known.
        references: landmark id -> how many references there are.
        fine_inliers: reference id -> inliers by the fine matcher, where it was asked.
    """

    reference_similarity: Float32
    query_distractor_similarity: float
    distractor_similarity: Float32
    expected_inliers: Float32
    references: Mapping[str, int]
    fine_inliers: Mapping[str, int] = field(default_factory=dict)


def candidate_score(candidate: Candidate) -> float:
    """Return similarity + 0.5 min(inliers - 5, 60) / 60; a candidate not verified counts as one without inliers."""
    above_chance = max(0, (candidate.num_inliers or 0) - CHANCE_INLIERS)
    return candidate.similarity + INLIER_WEIGHT * min(above_chance, SATURATED_INLIERS) / SATURATED_INLIERS


class CandidateColumns:
    """The candidates of one query as arrays, most similar first."""

    def __init__(self, candidates: Sequence[Candidate], context: CandidateContext) -> None:
        order = sorted(range(len(candidates)), key=lambda i: (-candidates[i].similarity, candidates[i].reference))
        self.candidates = [candidates[i] for i in order]
        self.context = context
        self.reference_similarity = context.reference_similarity[np.ix_(order, order)]
        self.distractor_similarity = context.distractor_similarity[order]
        expected = context.expected_inliers[order]
        self.expected = np.where(np.isnan(expected), UNKNOWN_EXPECTED_INLIERS, expected)
        self.landmark = np.array([c.landmark for c in self.candidates], object)
        self.similarity = np.array([c.similarity for c in self.candidates])
        self.inliers = np.array([c.num_inliers or 0 for c in self.candidates])
        self.fine_inliers = np.array([context.fine_inliers.get(c.reference, 0) for c in self.candidates])
        self.score = np.array([candidate_score(c) for c in self.candidates])

    def likeliest(self, count: int) -> list[str]:
        """Return the landmarks with the best scoring candidates, best first, equal ones by id."""
        best: dict[str, float] = {}
        for landmark, score in zip(self.landmark, self.score, strict=True):
            best[landmark] = max(best.get(landmark, -math.inf), score)
        return sorted(best, key=lambda landmark: (-best[landmark], landmark))[:count]

    def of(self, landmark: str) -> LandmarkEvidence:
        """Return one landmark's view of the candidates."""
        # Compared by Python: NumPy's strings end at their last character that is not NUL.
        is_own = np.array([other == landmark for other in self.landmark], bool)
        return LandmarkEvidence(self, np.flatnonzero(is_own), np.flatnonzero(~is_own))


class LandmarkEvidence:
    """The candidates seen from one landmark: its own, most similar first, and those of all others."""

    def __init__(self, all: CandidateColumns, own: Int64, others: Int64) -> None:  # noqa: A002
        self.all, self.own, self.others = all, own, others
        self.nearest = int(own[0])  # its most similar candidate
        self.best = int(own[np.argmax(all.score[own])])  # its best scoring one
        self.top = float(all.similarity[self.nearest])
        self.crowd = all.similarity[others]
        self.count = all.context.references.get(str(all.landmark[self.nearest]), len(own))
        self.related = all.reference_similarity[self.nearest, own[1:]]
        self.unrelated = all.reference_similarity[self.nearest, others]
        self.inliers = np.sort(all.inliers[own])[::-1]
        self.rival = int(all.inliers[others].max(initial=0))
        self.expected = float(all.expected[own[:NUM_RELATED]].mean())
        self.fine = int(all.fine_inliers[own].max())
        self.fine_rival = int(all.fine_inliers[others].max(initial=0))
        self.pair = all.candidates[self.best].geometry or PairGeometry(0)
        self.pairs = [g for i in own if (g := all.candidates[i].geometry) is not None]

    @property
    def best_inliers(self) -> int:
        """Inliers of the best candidate."""
        return int(self.all.inliers[self.best])

    def agreement(self) -> float:
        """Return the share of the nearest candidates that are the landmark's own."""
        nearest = max(1, min(KNN, self.count))
        return float((self.own < nearest).sum() / nearest)


KNN = 10  # neighbors whose agreement counts, at most


NUM_RELATED = 3  # references of the same landmark, neighbors and centers averaged over


UNKNOWN_EXPECTED_INLIERS = 6.0  # inliers expected of a reference that no other photo has confirmed


def distractor_similarity(descriptors: Float32, centers: Float32) -> Float32:
    """Return (N,) mean cosine of (N, D) descriptors to the three nearest of the (C, D) centers of distractors."""
    if not len(centers):
        return np.zeros(len(descriptors), np.float32)
    nearest = np.sort(descriptors @ centers.T, axis=1)[:, ::-1][:, :NUM_RELATED]
    return np.asarray(nearest.mean(1), np.float32)
