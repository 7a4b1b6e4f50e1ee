"""The library's nouns as the JSON of the native services: the same words as the commands and Python."""

from __future__ import annotations

from typing import Any

from veduta.gallery.evidence_page import confidence_phrase
from veduta.review_queue import ReviewItem
from veduta.types import Float32, Image, Landmark, LocalFeatures, Matches, Recognition, Reference, Verification

GUESSES = 5


def landmark_json(landmark: Landmark) -> dict[str, Any]:
    """Return a landmark."""
    return {
        "id": landmark.id,
        "name": landmark.name,
        "latitude": landmark.latitude,
        "longitude": landmark.longitude,
        "url": landmark.url,
    }


def reference_json(reference: Reference) -> dict[str, Any]:
    """Return a reference; where its photo lies on the server's disk is not told."""
    return {"id": reference.id, "landmark": reference.landmark, "sha256": reference.sha256}


def answer_json(gallery: str, image: Image, found: Recognition) -> dict[str, Any]:
    """Return the answer for one photo."""
    return {
        "photo": image.name,
        "gallery": gallery,
        "size": list(image.size),
        "landmark": None if found.landmark is None else landmark_json(found.landmark),
        "confidence": round(found.confidence, 6),
        "words": confidence_phrase(found.confidence),
        "guesses": [
            {"landmark": landmark_json(guess), "confidence": round(p, 6)} for guess, p in found.guesses[:GUESSES]
        ],
        "candidates": [
            {
                "reference": candidate.reference,
                "landmark": candidate.landmark,
                "similarity": round(candidate.similarity, 6),
                "num_inliers": candidate.num_inliers,
            }
            for candidate in found.evidence
        ],
        "terms": [{"name": name, "value": round(value, 3)} for name, value in found.terms],
        "position": None if image.position is None else [round(degrees, 6) for degrees in image.position],
        "seconds": round(found.seconds, 4),
    }


def keypoints_json(found: LocalFeatures, stays: Float32) -> list[list[float]]:
    """Return [x, y, how likely it lies on something that stays] of each keypoint."""
    return [
        [round(float(x), 1), round(float(y), 1), round(float(p), 3)]
        for (x, y), p in zip(found.keypoints, stays, strict=True)
    ]


def pair_json(query: LocalFeatures, reference: LocalFeatures, matches: Matches, found: Verification) -> dict[str, Any]:
    """Return what the geometry says of two photos, with the inliers in pixels of both."""
    lines = matches.indices[found.inliers]
    ends = zip(query.keypoints[lines[:, 0]], reference.keypoints[lines[:, 1]], strict=True)
    return {
        "num_inliers": found.num_inliers,
        "problem": found.problem,
        "inliers": [[round(float(v), 1) for v in (*a, *b)] for a, b in ends],
        "homography": None if found.homography is None else found.homography.tolist(),
        "query_size": list(query.size),
        "reference_size": list(reference.size),
    }


def item_json(item: ReviewItem) -> dict[str, Any]:
    """Return a photo kept for review."""
    return {
        "id": item.number,
        "photo": item.photo,
        "sha256": item.sha256,
        "added": item.added,
        "answer": item.answer,
        "verdict": item.verdict,
        "landmark": item.landmark,
    }
