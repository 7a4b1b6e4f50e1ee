"""The explanation of one answer: the query beside its candidates, with the inliers of each pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from veduta.gallery.evidence.page import EvidencePair, Explanation
from veduta.masks import DEFAULT_MASK, make_mask
from veduta.types import Candidate, Image, LocalFeatures

if TYPE_CHECKING:
    from veduta.gallery import Gallery
    from veduta.recognizer import Recognizer

MASKED_EXTRACTOR = "xfeat"  # the mask that ships knows the keypoints of no other


def explain_image(gallery: Gallery, recognizer: Recognizer, image: Image, count: int = 4) -> Explanation:
    """Return the answer for a photo together with its first `count` candidates and their inliers.

    The answer's local features and inliers are used where they were needed for the answer; the others are made here.
    """
    recognition = recognizer.recognize(image)
    features = recognition.features or recognizer.extract(image)
    pairs = [_pair(gallery, recognizer, features, candidate) for candidate in recognition.evidence[:count]]
    shown = tuple(pair for pair in pairs if pair is not None)
    if recognizer.components.extractor.name != MASKED_EXTRACTOR:
        return Explanation(image, recognition, shown)
    repeatability = make_mask(DEFAULT_MASK).repeatability(image, features)
    return Explanation(image, recognition, shown, keypoints=features.keypoints, repeatability=repeatability)


def _pair(gallery: Gallery, recognizer: Recognizer, query: LocalFeatures, candidate: Candidate) -> EvidencePair | None:
    """Return a candidate with its picture and inliers, or None for a reference removed meanwhile."""
    stored = gallery.find_reference(candidate.reference)
    if stored is None:
        return None
    inliers, problem = candidate.inliers, candidate.problem
    if inliers is None or inliers.max(initial=-1) >= len(stored.features):  # not verified, or pruned since
        matches, verification = recognizer.compare(query, stored.features)
        inliers, problem = matches.indices[verification.inliers], verification.problem
    return EvidencePair(
        candidate=candidate,
        landmark=recognizer.references.landmarks[candidate.landmark],
        picture=stored.picture(),
        query_points=query.keypoints[inliers[:, 0]],
        reference_points=stored.features.keypoints[inliers[:, 1]],
        problem=problem,
    )
