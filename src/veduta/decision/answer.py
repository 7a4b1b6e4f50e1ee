"""Scores to an answer: the likeliest landmark, its runners-up, and the prior of a photo's position."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from veduta.decision.candidates import candidate_score
from veduta.landmarks import LandmarkConfidence, TermValue
from veduta.types import Candidate, Decision, Float64

DEFAULT_FLOOR = 0.5


MAX_EVIDENCE = 10  # candidates shown with an answer


MAX_GUESSES = 10  # landmarks named with it


@dataclass(frozen=True)
class LandmarkScore:
    """The score of one landmark.

    Attributes:
        landmark: its id.
        score: log odds before calibration.
        probability: that it is the right one, in [0, 1].
        terms: the contributions to the score; they add up to the score.
    """

    landmark: str
    score: float
    probability: float
    terms: tuple[TermValue, ...]


def sigmoid(z: Float64 | float) -> Float64:
    """Return the logistic function 1 / (1 + exp(-z)), without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0, -z)))


def rank_candidates(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates by `candidate_score` falling, then reference id, whatever order they came in."""
    return sorted(candidates, key=lambda c: (-candidate_score(c), c.reference))


def landmark_votes(candidates: Iterable[Candidate]) -> dict[str, float]:
    """Return landmark -> `candidate_score` of its best candidate, best first; equal ones by landmark id."""
    best: dict[str, float] = {}
    for candidate in candidates:
        score = candidate_score(candidate)
        best[candidate.landmark] = max(best.get(candidate.landmark, -math.inf), score)
    return dict(sorted(best.items(), key=lambda item: (-item[1], item[0])))


def place_prior(km: float) -> float:
    """Return the log odds a photo's position adds to a landmark `km` kilometers away, in [-4, 2].

    Two up to half a kilometer, nothing at thirty (a mountain, a skyline), then less: linear in the logarithm between.
    """
    where = (math.log(0.5), math.log(5.0), math.log(30.0), math.log(1000.0))
    return float(np.interp(math.log(max(km, 1e-3)), where, (2.0, 1.0, 0.0, -4.0)))


def decide(
    scores: Sequence[LandmarkScore],
    candidates: Sequence[Candidate],
    floor: float = DEFAULT_FLOOR,
    prior: Mapping[str, float] | None = None,
) -> Decision:
    """Return the likeliest landmark, or none if its confidence is below `floor` or there are no candidates.

    Args:
        scores: of the landmarks.
        candidates: all of them, for the evidence, which stands best first and begins with the guess's best.
        floor: least confidence of an answer.
        prior: landmark id -> log odds the photo's position adds. It may choose among landmarks and deny one, but an
            answer of none without the position stays none.
    """
    if not scores or not candidates:
        return Decision(None, 0.0, 0.0, ())
    likely = [s for s in scores if s.probability >= floor] or scores  # a none cannot outbid an answer by its place
    best = min(likely, key=lambda s: (-_with_prior(s, prior), -s.score, s.landmark))
    probability = _with_prior(best, prior)
    if best.probability < floor:
        probability = min(probability, best.probability)
    ranked = rank_candidates(candidates)
    first = next(c for c in ranked if c.landmark == best.landmark)
    evidence = (first, *(c for c in ranked if c is not first))[:MAX_EVIDENCE]
    added = (TermValue("position", prior[best.landmark]),) if prior and best.landmark in prior else ()
    terms = sorted((*best.terms, *added), key=lambda term: -abs(term[1]))
    others = sorted((s for s in scores if s is not best), key=lambda s: (-_with_prior(s, prior), -s.score, s.landmark))
    # A runner-up never stands above the guess: a landmark that only its place speaks for is held down as the guess is.
    runners_up = [LandmarkConfidence(s.landmark, min(_with_prior(s, prior), probability)) for s in others]
    return Decision(
        landmark=best.landmark if probability >= floor else None,
        confidence=probability,
        score=best.score,
        evidence=evidence,
        terms=tuple(TermValue(*term) for term in terms if term[1]),
        guesses=(LandmarkConfidence(best.landmark, probability), *runners_up)[:MAX_GUESSES],
    )


def _with_prior(score: LandmarkScore, prior: Mapping[str, float] | None) -> float:
    """Return the probability after the log odds that the photo's position adds."""
    shift = (prior or {}).get(score.landmark, 0.0)
    if not shift:
        return score.probability
    p = min(max(score.probability, 1e-9), 1 - 1e-9)
    return float(sigmoid(math.log(p / (1 - p)) + shift))
