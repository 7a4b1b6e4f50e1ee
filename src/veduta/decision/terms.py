"""Candidates to evidence: the terms for and against each landmark, as numbers a decision can weigh.

Every term has a name, a sign (whether more of it may only help or only hurt), a reason and a function; one line in
`TERMS` adds a term. docs/decision.md lists them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from veduta.decision.candidates import (
    CHANCE_INLIERS,
    KNN,
    NUM_RELATED,
    CandidateColumns,
    CandidateContext,
    LandmarkEvidence,
)
from veduta.types import Candidate, Float32, Float64

CROWD_SIZE = 20  # candidates of other landmarks that stand for the crowd
LANDMARKS = 5  # landmarks worth weighing, by `candidate_score`


def compute_terms(candidates: Sequence[Candidate], context: CandidateContext) -> dict[str, Float64]:
    """Return landmark id -> its (T,) evidence, in the order of `TERMS`, for the likeliest few landmarks.

    Args:
        candidates: in any order; those beyond the verified ones count by their similarity.
        context: their relations to each other and to distractors.
    """
    if not candidates:
        return {}
    columns = CandidateColumns(candidates, context)
    return {landmark: _values(columns.of(landmark)) for landmark in columns.likeliest(LANDMARKS)}


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
    value: Callable[[LandmarkEvidence], float]


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


def _values(evidence: LandmarkEvidence) -> Float64:
    return np.array([term.value(evidence) for term in TERMS], np.float64)


def _best_mean(values: Float32) -> float:
    """Return the mean of the largest few values."""
    return float(np.sort(values)[::-1][:NUM_RELATED].mean())
