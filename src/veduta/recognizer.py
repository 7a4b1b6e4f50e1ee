"""The pipeline, in the order things happen: embed, retrieve, rerank, decide."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL.Image

from veduta.decide import DEFAULT_FLOOR, decide, order
from veduta.draw import draw_pair
from veduta.errors import ImageError
from veduta.features import make_extractor
from veduta.geometry import HomographyVerifier
from veduta.images import load
from veduta.matching import make_matcher
from veduta.protocols import Embedder, Extractor, Index, Matcher, Verifier
from veduta.threads import one_blas_thread
from veduta.types import (
    Candidate,
    Decision,
    Float32,
    Image,
    Landmark,
    LocalFeatures,
    Matches,
    Recognition,
    Verification,
)

SPARE = 16  # retrieved beyond the depth, so that equal similarities at its edge are ordered by reference id


@dataclass(frozen=True)
class Stages:
    """One of each plug: what turns photos into evidence."""

    embedder: Embedder
    extractor: Extractor
    matcher: Matcher
    verifier: Verifier


@dataclass(frozen=True, eq=False)
class Shelf:
    """The references a recognizer looks through.

    Attributes:
        index: their descriptors, by number.
        labels: number -> (reference id, landmark id).
        landmarks: landmark id -> landmark.
        features: reference id -> its local features, or None when it has just been removed.
    """

    index: Index
    labels: Mapping[int, tuple[str, str]]
    landmarks: Mapping[str, Landmark]
    features: Callable[[str], LocalFeatures | None]


class Recognizer:
    """Names the landmark in a photo. Every stage is a public method that can be called and timed by itself.

    Args:
        stages: embedder, extractor, matcher and verifier.
        shelf: the references.
        depth: candidates retrieved.
        rerank_depth: how many of them geometry is asked about; 0 for none.
        floor: least confidence of an answer; below it the answer is none.
    """

    def __init__(
        self, stages: Stages, shelf: Shelf, depth: int = 100, rerank_depth: int = 30, floor: float = DEFAULT_FLOOR
    ) -> None:
        if depth < 1 or rerank_depth < 0 or not 0 <= floor <= 1:
            got = f"{depth}, {rerank_depth}, {floor}"
            raise ValueError(f"expected depth >= 1, rerank_depth >= 0 and 0 <= floor <= 1, got {got}")
        self.stages, self.shelf = stages, shelf
        self.depth, self.rerank_depth, self.floor = depth, rerank_depth, floor

    def embed(self, image: Image) -> Float32:
        """Return the photo's descriptor, (D,) float32 of norm 1."""
        return np.asarray(self.stages.embedder.embed([image])[0], np.float32)

    def retrieve(self, descriptor: Float32) -> list[Candidate]:
        """Return the `depth` most similar references, most similar first, equal ones by reference id."""
        similarity, numbers = self.shelf.index.search(descriptor[None], self.depth + SPARE)
        found = [
            Candidate(*self.shelf.labels[int(number)], similarity=min(1.0, float(cosine)))
            for cosine, number in zip(similarity[0], numbers[0], strict=True)
        ]
        return sorted(found, key=lambda c: (-c.similarity, c.reference))[: self.depth]

    def extract(self, image: Image) -> LocalFeatures:
        """Return the photo's local features."""
        return self.stages.extractor.extract(image)

    def rerank(self, features: LocalFeatures, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the same candidates, the first `rerank_depth` verified, best evidence first."""
        with one_blas_thread():
            verified = [self._verified(features, c) for c in candidates[: self.rerank_depth]]
        return order([*verified, *candidates[self.rerank_depth :]])

    def decide(self, candidates: Sequence[Candidate]) -> Decision:
        """Return the landmark most of the evidence speaks for, or none below the floor."""
        return decide(candidates, self.floor)

    def recognize(self, image: Image) -> Recognition:
        """Return the answer for one photo with its evidence; `seconds` counts from here."""
        start = time.perf_counter()
        candidates = self.retrieve(self.embed(image))
        if candidates and self.rerank_depth:
            candidates = self.rerank(self.extract(image), candidates)
        decision = self.decide(candidates)
        return Recognition(
            photo=image.name,
            landmark=self.shelf.landmarks[decision.landmark] if decision.landmark is not None else None,
            confidence=decision.confidence,
            evidence=decision.evidence,
            seconds=time.perf_counter() - start,
        )

    def compare(self, query: LocalFeatures, reference: LocalFeatures) -> tuple[Matches, Verification]:
        """Return the matches of one pair of photos and what geometry says of them."""
        matches = self.stages.matcher.match(query, reference)
        return matches, self.stages.verifier.verify(query, reference, matches)

    def _verified(self, features: LocalFeatures, candidate: Candidate) -> Candidate:
        reference = self.shelf.features(candidate.reference)
        if reference is None:
            return candidate
        return replace(candidate, num_inliers=self.compare(features, reference)[1].num_inliers)


@dataclass(frozen=True, eq=False)
class PairVerification:
    """What `verify` found between two photos.

    Attributes:
        a: the first photo, as given; the query.
        b: the second photo, as given; the reference.
        num_keypoints: keypoints of both.
        num_matches: pairs before geometry.
        num_inliers: pairs that agree with the homography.
        homography: rows of the (3, 3) map from pixels of `a` to pixels of `b`, or None.
        problem: why there is none, or None.
        seconds: wall time, decoding included.
    """

    a: str
    b: str
    num_keypoints: tuple[int, int]
    num_matches: int
    num_inliers: int
    homography: tuple[tuple[float, ...], ...] | None
    problem: str | None
    seconds: float


def verify(
    a: str | Path,
    b: str | Path,
    draw: str | Path | None = None,
    extractor: str = "xfeat",
    matcher: str = "nearest",
    max_keypoints: int = 512,
    provider: str = "cpu",
) -> PairVerification:
    """Return whether two photos show the same place, and draw them side by side with their inliers.

    Args:
        a: a photo, the query.
        b: another, the reference.
        draw: a PNG, JPEG or WebP file to draw to, or None.
        extractor: name of the local features.
        matcher: name of the matcher.
        max_keypoints: keypoints kept per photo.
        provider: execution provider for the networks.

    Raises:
        ImageError: one of the photos cannot be read.
        ModelError: extractor and matcher are unknown or do not fit.
    """
    start = time.perf_counter()
    matching = make_matcher(matcher, extractor, provider)
    extracting = make_extractor(extractor, max_keypoints, provider=provider)
    images = load(a), load(b)
    query, reference = (extracting.extract(image) for image in images)
    matches = matching.match(query, reference)
    found = HomographyVerifier().verify(query, reference, matches)
    if draw is not None:
        lines = matches.indices[found.inliers]
        ends = query.keypoints[lines[:, 0]], reference.keypoints[lines[:, 1]]
        titles = Path(a).name, Path(b).name
        _save(draw_pair(*images, *ends, _caption(found), titles), Path(draw))
    return PairVerification(
        a=str(a),
        b=str(b),
        num_keypoints=(len(query), len(reference)),
        num_matches=len(matches),
        num_inliers=found.num_inliers,
        homography=None if found.homography is None else tuple(tuple(map(float, row)) for row in found.homography),
        problem=found.problem,
        seconds=time.perf_counter() - start,
    )


def _save(picture: PIL.Image.Image, path: Path) -> None:
    try:
        picture.save(path)
    except OSError as error:
        raise ImageError(f"{path}: cannot be written ({error.strerror or error})") from error
    except ValueError as error:
        raise ImageError(f"{path}: is no picture's name; use one ending in .png, .jpg or .webp") from error


def _caption(found: Verification) -> str:
    return f"{found.num_inliers} inliers" if found.problem is None else f"no inliers: {found.problem}"
