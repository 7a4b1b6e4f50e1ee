"""Candidates to landmark and confidence.

Each candidate scores its similarity plus its inliers, saturated: past a few dozen, more say nothing new. A landmark
has the score of its best candidate, and a logistic curve turns the best landmark's score into a probability.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from veduta.types import Candidate, Decision

INLIER_WEIGHT = 0.5
INLIER_CHANCE = 5  # unrelated photos reach this many
INLIER_CAP = 60
LOGISTIC_SLOPE = 14.0  # fitted on real photos, half of the queries showing landmarks the gallery did not know
LOGISTIC_MIDDLE = 0.83
DEFAULT_FLOOR = 0.5
EVIDENCE = 10  # candidates shown with an answer


def candidate_score(candidate: Candidate) -> float:
    """Return similarity + 0.5 min(inliers - 5, 60) / 60; a candidate not verified counts as one without inliers."""
    above_chance = max(0, (candidate.num_inliers or 0) - INLIER_CHANCE)
    return candidate.similarity + INLIER_WEIGHT * min(above_chance, INLIER_CAP) / INLIER_CAP


def order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates by score falling, then reference id, whatever order they came in."""
    return sorted(candidates, key=lambda c: (-candidate_score(c), c.reference))


def votes(candidates: Iterable[Candidate]) -> dict[str, float]:
    """Return landmark -> score, best first; equal ones by landmark id."""
    best: dict[str, float] = {}
    for candidate in candidates:
        score = candidate_score(candidate)
        best[candidate.landmark] = max(best.get(candidate.landmark, -math.inf), score)
    return dict(sorted(best.items(), key=lambda item: (-item[1], item[0])))


def confidence(score: float) -> float:
    """Return the probability, in [0, 1], that a landmark with this score is the right one."""
    return 1.0 / (1.0 + math.exp(-LOGISTIC_SLOPE * (score - LOGISTIC_MIDDLE)))


def decide(candidates: Sequence[Candidate], floor: float = DEFAULT_FLOOR) -> Decision:
    """Return the best landmark, or none if its confidence is below `floor` or there is no candidate.

    The evidence is ordered with the best guess's best candidate first, and `confidence` is that guess's, also when
    the answer is none.
    """
    if not candidates:
        return Decision(None, 0.0, 0.0, ())
    guess, score = next(iter(votes(candidates).items()))
    probability = confidence(score)
    ranked = order(candidates)
    first = next(c for c in ranked if c.landmark == guess)
    evidence = (first, *(c for c in ranked if c is not first))[:EVIDENCE]
    return Decision(guess if probability >= floor else None, probability, score, evidence)
