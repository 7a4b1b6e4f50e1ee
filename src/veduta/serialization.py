"""Answers as the JSON that commands, jobs and pages print."""

from __future__ import annotations

from typing import Any

from veduta.types import Failure, Recognition


def to_dict(result: Recognition | Failure) -> dict[str, Any]:
    """Return an answer's JSON: photo, landmark, confidence, evidence, seconds; or photo and error of a failure."""
    if isinstance(result, Failure):
        return dict(result.to_dict())
    landmark = result.landmark
    return {
        "photo": result.photo,
        "landmark": None if landmark is None else {"id": landmark.id, "name": landmark.name},
        "confidence": round(result.confidence, 6),
        "evidence": [
            {
                "reference": candidate.reference,
                "landmark": candidate.landmark,
                "similarity": round(candidate.similarity, 6),
                "num_inliers": candidate.num_inliers,
            }
            for candidate in result.evidence
        ],
        "terms": {name: round(value, 3) for name, value in result.terms},
        "guesses": [{"landmark": guess.id, "confidence": round(p, 6)} for guess, p in result.guesses],
        "seconds": round(result.seconds, 4),
    }
