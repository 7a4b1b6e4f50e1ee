"""Candidates to evidence: what speaks for each landmark and against it, as numbers a decision can weigh.

Every term has a name, a sign (whether more of it may only help or only hurt) and a reason; docs/decision.md lists them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from veduta.types import Candidate, Float32, Float64, Int64, PairGeometry

CHANCE_INLIERS = 5  # inliers that unrelated photos reach
SATURATED_INLIERS = 60  # past this many above chance, more inliers say nothing new
INLIER_WEIGHT = 0.5
CROWD_SIZE = 20  # candidates of other landmarks that stand for the crowd
KNN = 10  # neighbours whose agreement counts, at most
NUM_RELATED = 3  # relatives, neighbours and centres averaged over
UNKNOWN_EXPECTED_INLIERS = 6.0  # inliers expected of a reference that no other photo has confirmed
LANDMARKS = 5  # landmarks worth weighing, by `candidate_score`


@dataclass(frozen=True)
class Term:
    """One kind of evidence.

    Attributes:
        name: what reports call it.
        sign: 1 if more of it may only speak for a landmark, -1 if only against, 0 if either.
        why: the reason it should help.
    """

    name: str
    sign: int
    why: str


TERMS = (
    Term("similarity", 1, "the most similar reference: the plainest sign"),
    Term("mean similarity", 1, "the best three references: one look-alike is luck, three are not"),
    Term("margin", 1, "how far the next landmark is behind: an unknown building resembles several alike"),
    Term("above the crowd", 1, "how far the candidates of other landmarks are behind on average"),
    Term("agreement", 1, "share of the nearest references that are its own, of as many as it has, ten at most"),
    Term("kinship", 1, "similarity against that of the reference to its own landmark's photos: how alike it can be"),
    Term("beyond strangers", 1, "similarity against that of the reference to other landmarks' candidates"),
    Term("query like nothing", -1, "similarity of the photo to photos that show no landmark (C_q)"),
    Term("reference like nothing", -1, "similarity of the reference to photos that show no landmark (B_j)"),
    Term("references", 0, "how many photos of it there are: with many, the best one is more similar by chance"),
    Term("inliers", 1, "keypoints of the best candidate that agree with one homography, as a logarithm"),
    Term("second inliers", 1, "the same of its second candidate: chance seldom strikes twice"),
    Term("inliers in all", 1, "inliers above chance over all its candidates, as a logarithm"),
    Term("inlier margin", 1, "inliers against those of the next landmark, as a ratio"),
    Term("inlier share", 1, "inliers among the matches: chance agrees on few of many"),
    Term("inlier similarity", 1, "how alike the descriptors of the inliers are"),
    Term("query coverage", 1, "share of the photo the inliers span: a sign on a wall spans little"),
    Term("reference coverage", 1, "the same in the reference"),
    Term("scale", -1, "change of size: a homography that zooms far is seldom true"),
    Term("stretch", -1, "change of shape: squeezed, likewise"),
    Term("rotation", -1, "turn: people hold cameras upright"),
    Term("perspective", -1, "change of depth along the inliers: extreme tilts are seldom true"),
    Term("confirmed keypoints", 1, "different keypoints of the photo confirmed by any candidate of the landmark"),
    Term("useful inliers", 1, "inliers on keypoints other photos of the landmark confirm: not people, trees or sky"),
    Term("expected inliers", -1, "inliers its references have among themselves: a flat facade should have matched"),
    Term("inlier deficit", 1, "inliers against those expected"),
    Term("verified share", 1, "share of its first ten candidates that have any inliers"),
    Term("glue inliers", 1, "inliers of the costlier matcher, as a logarithm; thorough only"),
    Term("glue margin", 1, "the same against the next landmark; thorough only"),
)
TERM_NAMES = tuple(term.name for term in TERMS)
TERM_SIGNS = np.array([term.sign for term in TERMS])


@dataclass(frozen=True, eq=False)
class CandidateContext:
    """What is known about the candidates of one query beside themselves, in the same order.

    Attributes:
        reference_similarity: (N, N) cosines between the candidates' descriptors.
        query_distractor_similarity: similarity of the query to photos that show no landmark.
        distractor_similarity: (N,) the same of each candidate.
        expected_inliers: (N,) inliers each has with photos of its own landmark; NaN where none is known.
        references: landmark id -> how many references there are.
        fine_inliers: reference id -> inliers found by the costlier matcher, where it was asked.
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


def compute_terms(candidates: Sequence[Candidate], around: CandidateContext) -> dict[str, Float64]:
    """Return landmark id -> its (T,) evidence, in the order of `TERMS`, for the likeliest few landmarks.

    Args:
        candidates: in any order; those beyond the verified ones count by their similarity.
        around: what is known of them.
    """
    if not candidates:
        return {}
    everything = _Columns(candidates, around)
    return {landmark: everything.of(landmark) for landmark in everything.likeliest(LANDMARKS)}


class _Columns:
    """The candidates as arrays, most similar first."""

    def __init__(self, candidates: Sequence[Candidate], around: CandidateContext) -> None:
        order = sorted(range(len(candidates)), key=lambda i: (-candidates[i].similarity, candidates[i].reference))
        self.candidates = [candidates[i] for i in order]
        self.around = around
        self.reference_similarity = around.reference_similarity[np.ix_(order, order)]
        self.distractor_similarity = around.distractor_similarity[order]
        expected = around.expected_inliers[order]
        self.expected = np.where(np.isnan(expected), UNKNOWN_EXPECTED_INLIERS, expected)
        self.landmark = np.array([c.landmark for c in self.candidates], object)
        self.similarity = np.array([c.similarity for c in self.candidates])
        self.inliers = np.array([c.num_inliers or 0 for c in self.candidates])
        self.fine_inliers = np.array([around.fine_inliers.get(c.reference, 0) for c in self.candidates])
        self.score = np.array([candidate_score(c) for c in self.candidates])

    def likeliest(self, most: int) -> list[str]:
        """Return the landmarks with the best scoring candidates, best first, equal ones by id."""
        best: dict[str, float] = {}
        for landmark, score in zip(self.landmark, self.score, strict=True):
            best[landmark] = max(best.get(landmark, -math.inf), score)
        return sorted(best, key=lambda landmark: (-best[landmark], landmark))[:most]

    def of(self, landmark: str) -> Float64:
        """Return the evidence of one landmark, (T,)."""
        mine = np.flatnonzero(self.landmark == landmark)
        others = np.flatnonzero(self.landmark != landmark)
        best = int(mine[np.argmax(self.score[mine])])
        terms = {
            **self._similarity_terms(mine, others),
            **self._inlier_terms(mine, others, best),
            **self._geometry_terms(self.candidates[best], mine),
        }
        return np.array([terms[name] for name in TERM_NAMES], np.float64)

    def _similarity_terms(self, mine: Int64, others: Int64) -> dict[str, float]:
        nearest = int(mine[0])
        top = float(self.similarity[nearest])
        crowd = self.similarity[others]
        count = self.around.references.get(str(self.landmark[nearest]), len(mine))
        near = max(1, min(KNN, count))
        relatives = self.reference_similarity[nearest, mine[1:]]
        strangers = self.reference_similarity[nearest, others]
        return {
            "similarity": top,
            "mean similarity": float(self.similarity[mine[:NUM_RELATED]].mean()),
            "margin": top - float(crowd[0]) if len(crowd) else top,
            "above the crowd": top - float(crowd[:CROWD_SIZE].mean()) if len(crowd) else top,
            "agreement": float((mine < near).sum() / near),
            "kinship": top - (_best_mean(relatives) if len(relatives) else top),
            "beyond strangers": top - (_best_mean(strangers) if len(strangers) else 0.0),
            "query like nothing": self.around.query_distractor_similarity,
            "reference like nothing": float(self.distractor_similarity[nearest]),
            "references": math.log(max(1, count)),
        }

    def _inlier_terms(self, mine: Int64, others: Int64, best: int) -> dict[str, float]:
        found = np.sort(self.inliers[mine])[::-1]
        rival = int(self.inliers[others].max(initial=0))
        expected = float(self.expected[mine[:NUM_RELATED]].mean())
        glue, rival_glue = int(self.fine_inliers[mine].max()), int(self.fine_inliers[others].max(initial=0))
        return {
            "inliers": math.log1p(self.inliers[best]),
            "second inliers": math.log1p(found[1]) if len(found) > 1 else 0.0,
            "inliers in all": math.log1p(np.maximum(found - CHANCE_INLIERS, 0).sum()),
            "inlier margin": math.log1p(found[0]) - math.log1p(rival),
            "expected inliers": math.log1p(expected),
            "inlier deficit": math.log1p(self.inliers[best]) - math.log1p(expected),
            "verified share": float((self.inliers[mine[:KNN]] > 0).mean()),
            "glue inliers": math.log1p(glue),
            "glue margin": math.log1p(glue) - math.log1p(rival_glue),
        }

    def _geometry_terms(self, best: Candidate, mine: Int64) -> dict[str, float]:
        pair = best.geometry or PairGeometry(0)
        pairs = [g for i in mine if (g := self.candidates[i].geometry) is not None]
        return {
            "inlier share": (best.num_inliers or 0) / max(1, pair.num_matches),
            "inlier similarity": pair.similarity,
            "query coverage": pair.coverage[0],
            "reference coverage": pair.coverage[1],
            "scale": pair.scale,
            "stretch": pair.stretch,
            "rotation": pair.rotation,
            "perspective": pair.perspective,
            "confirmed keypoints": math.log1p(len({k for p in pairs for k in p.keypoints})),
            "useful inliers": math.log1p(max((p.num_confirmed for p in pairs), default=0)),
        }


def distractor_similarity(descriptors: Float32, centres: Float32) -> Float32:
    """Return (N,) mean cosine of (N, D) descriptors to the three nearest of the (C, D) centres of photos of nothing."""
    if not len(centres):
        return np.zeros(len(descriptors), np.float32)
    nearest = np.sort(descriptors @ centres.T, axis=1)[:, ::-1][:, :NUM_RELATED]
    return np.asarray(nearest.mean(1), np.float32)


def _best_mean(values: Float32) -> float:
    """Return the mean of the largest few values."""
    return float(np.sort(values)[::-1][:NUM_RELATED].mean())
