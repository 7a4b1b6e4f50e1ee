"""Candidates to evidence: the terms that speak for each landmark and against it, as numbers a decision can weigh.

Every term has a name, a sign (whether more of it may only help or only hurt), a reason and a function; one line in
`TERMS` adds a term. docs/decision.md lists them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from veduta.types import Candidate, Float32, Float64, Int64, PairGeometry

CHANCE_INLIERS = 5  # inliers that unrelated photos reach
SATURATED_INLIERS = 60  # past this many above chance, more inliers say nothing new
INLIER_WEIGHT = 0.5
CROWD_SIZE = 20  # candidates of other landmarks that stand for the crowd
KNN = 10  # neighbors whose agreement counts, at most
NUM_RELATED = 3  # references of the same landmark, neighbors and centers averaged over
UNKNOWN_EXPECTED_INLIERS = 6.0  # inliers expected of a reference that no other photo has confirmed
LANDMARKS = 5  # landmarks worth weighing, by `candidate_score`


@dataclass(frozen=True, eq=False)
class CandidateContext:
    """The candidates of one query in relation to each other and to distractors, in the order of the candidates.

    Attributes:
        reference_similarity: (N, N) cosines between the candidates' descriptors.
        query_distractor_similarity: similarity of the query to photos that show no landmark.
        distractor_similarity: (N,) the same of each candidate.
        expected_inliers: (N,) inliers each has with photos of its own landmark; NaN where none is known.
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


def compute_terms(candidates: Sequence[Candidate], context: CandidateContext) -> dict[str, Float64]:
    """Return landmark id -> its (T,) evidence, in the order of `TERMS`, for the likeliest few landmarks.

    Args:
        candidates: in any order; those beyond the verified ones count by their similarity.
        context: their relations to each other and to distractors.
    """
    if not candidates:
        return {}
    columns = _Columns(candidates, context)
    return {landmark: _values(columns.of(landmark)) for landmark in columns.likeliest(LANDMARKS)}


class _Columns:
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

    def of(self, landmark: str) -> _Evidence:
        """Return one landmark's view of the candidates."""
        own, others = np.flatnonzero(self.landmark == landmark), np.flatnonzero(self.landmark != landmark)
        return _Evidence(self, own, others)


class _Evidence:
    """The candidates seen from one landmark: its own, most similar first, and those of all others."""

    def __init__(self, all: _Columns, own: Int64, others: Int64) -> None:  # noqa: A002
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


@dataclass(frozen=True)
class Term:
    """One kind of evidence.

    Attributes:
        name: the name in reports and answers.
        sign: 1 if more of it may only speak for a landmark, -1 if only against, 0 if either.
        why: the reason it should help.
        value: the number, of one landmark's evidence.
    """

    name: str
    sign: int
    why: str
    value: Callable[[_Evidence], float]


TERMS = (
    Term("similarity", 1, "the most similar reference: the plainest sign", lambda e: e.top),
    Term(
        "mean similarity",
        1,
        "the best three references: one look-alike is luck, three are not",
        lambda e: float(e.all.similarity[e.own[:NUM_RELATED]].mean()),
    ),
    Term(
        "margin",
        1,
        "how far the next landmark is behind: an unknown building resembles several alike",
        lambda e: e.top - float(e.crowd[0]) if len(e.crowd) else e.top,
    ),
    Term(
        "above the crowd",
        1,
        "how far the candidates of other landmarks are behind on average",
        lambda e: e.top - float(e.crowd[:CROWD_SIZE].mean()) if len(e.crowd) else e.top,
    ),
    Term(
        "agreement",
        1,
        "share of the nearest references that are its own, of as many as it has, ten at most",
        lambda e: e.agreement(),
    ),
    Term(
        "kinship",
        1,
        "similarity against that of the reference to its own landmark's photos: how alike it can be",
        lambda e: e.top - (_best_mean(e.related) if len(e.related) else e.top),
    ),
    Term(
        "beyond strangers",
        1,
        "similarity against that of the reference to other landmarks' candidates",
        lambda e: e.top - (_best_mean(e.unrelated) if len(e.unrelated) else 0.0),
    ),
    Term(
        "query like nothing",
        -1,
        "similarity of the photo to photos that show no landmark (C_q)",
        lambda e: e.all.context.query_distractor_similarity,
    ),
    Term(
        "reference like nothing",
        -1,
        "similarity of the reference to photos that show no landmark (B_j)",
        lambda e: float(e.all.distractor_similarity[e.nearest]),
    ),
    Term(
        "references",
        0,
        "how many photos of it there are: with many, the best one is more similar by chance",
        lambda e: math.log(max(1, e.count)),
    ),
    Term(
        "inliers",
        1,
        "keypoints of the best candidate that agree with one homography, as a logarithm",
        lambda e: math.log1p(e.best_inliers),
    ),
    Term(
        "second inliers",
        1,
        "the same of its second candidate: chance seldom strikes twice",
        lambda e: math.log1p(e.inliers[1]) if len(e.inliers) > 1 else 0.0,
    ),
    Term(
        "inliers in all",
        1,
        "inliers above chance over all its candidates, as a logarithm",
        lambda e: math.log1p(np.maximum(e.inliers - CHANCE_INLIERS, 0).sum()),
    ),
    Term(
        "inlier margin",
        1,
        "inliers against those of the next landmark, as a ratio",
        lambda e: math.log1p(e.inliers[0]) - math.log1p(e.rival),
    ),
    Term(
        "inlier share",
        1,
        "inliers among the matches: chance agrees on few of many",
        lambda e: (e.all.candidates[e.best].num_inliers or 0) / max(1, e.pair.num_matches),
    ),
    Term("inlier similarity", 1, "how alike the descriptors of the inliers are", lambda e: e.pair.similarity),
    Term(
        "query coverage",
        1,
        "share of the photo the inliers span: a sign on a wall spans little",
        lambda e: e.pair.coverage[0],
    ),
    Term("reference coverage", 1, "the same in the reference", lambda e: e.pair.coverage[1]),
    Term("scale", -1, "change of size: a homography that zooms far is seldom true", lambda e: e.pair.scale),
    Term("stretch", -1, "change of shape: squeezed, likewise", lambda e: e.pair.stretch),
    Term("rotation", -1, "turn: people hold cameras upright", lambda e: e.pair.rotation),
    Term(
        "perspective",
        -1,
        "change of depth along the inliers: extreme tilts are seldom true",
        lambda e: e.pair.perspective,
    ),
    Term(
        "confirmed keypoints",
        1,
        "different keypoints of the photo confirmed by any candidate of the landmark",
        lambda e: math.log1p(len({k for p in e.pairs for k in p.keypoints})),
    ),
    Term(
        "useful inliers",
        1,
        "inliers on keypoints other photos of the landmark confirm: not people, trees or sky",
        lambda e: math.log1p(max((p.num_confirmed for p in e.pairs), default=0)),
    ),
    Term(
        "expected inliers",
        -1,
        "inliers its references have among themselves: a flat facade should have matched",
        lambda e: math.log1p(e.expected),
    ),
    Term(
        "inlier deficit",
        1,
        "inliers against those expected",
        lambda e: math.log1p(e.best_inliers) - math.log1p(e.expected),
    ),
    Term(
        "verified share",
        1,
        "share of its first ten candidates that have any inliers",
        lambda e: float((e.all.inliers[e.own[:KNN]] > 0).mean()),
    ),
    Term(
        "glue inliers",
        1,
        "inliers of the costlier matcher, as a logarithm; thorough only",
        lambda e: math.log1p(e.fine),
    ),
    Term(
        "glue margin",
        1,
        "the same against the next landmark; thorough only",
        lambda e: math.log1p(e.fine) - math.log1p(e.fine_rival),
    ),
)
TERM_NAMES = tuple(term.name for term in TERMS)
TERM_SIGNS = np.array([term.sign for term in TERMS])


def _values(evidence: _Evidence) -> Float64:
    return np.array([term.value(evidence) for term in TERMS], np.float64)


def distractor_similarity(descriptors: Float32, centers: Float32) -> Float32:
    """Return (N,) mean cosine of (N, D) descriptors to the three nearest of the (C, D) centers of distractors."""
    if not len(centers):
        return np.zeros(len(descriptors), np.float32)
    nearest = np.sort(descriptors @ centers.T, axis=1)[:, ::-1][:, :NUM_RELATED]
    return np.asarray(nearest.mean(1), np.float32)


def _best_mean(values: Float32) -> float:
    """Return the mean of the largest few values."""
    return float(np.sort(values)[::-1][:NUM_RELATED].mean())
