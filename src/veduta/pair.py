"""Two photos against each other: whether they show the same place, by local features and geometry."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import PIL.Image

from veduta.errors import ImageError
from veduta.features import make_extractor
from veduta.geometry import HomographyVerifier
from veduta.images import load
from veduta.matching import PAIR_MATCHERS, make_matcher, make_pair_matcher
from veduta.types import Image, LocalFeatures, Matches, Verification
from veduta.viz import draw_pair


class KeypointCounts(NamedTuple):
    """How many keypoints each photo of a pair has."""

    a: int
    b: int


@dataclass(frozen=True, eq=False)
class PairVerification:
    """The result of comparing two photos with `verify`.

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
    num_keypoints: KeypointCounts
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
    max_side: int = 576,
    provider: str = "cpu",
) -> PairVerification:
    """Return whether two photos show the same place, and draw them side by side with their inliers.

    Args:
        a: a photo, the query.
        b: another, the reference.
        draw: a PNG, JPEG or WebP file to draw to, or None.
        extractor: name of the local features.
        matcher: name of the matcher; one such as ``efficientloftr`` needs no extractor.
        max_keypoints: keypoints kept per photo.
        max_side: photos are reduced so that their longer side has at most this many pixels.
        provider: execution provider for the networks.

    Raises:
        ImageError: one of the photos cannot be read.
        ModelError: extractor and matcher are unknown, do not fit, or their weights are not here.
    """
    start = time.perf_counter()
    pair = _pair_matching(extractor, matcher, max_keypoints, max_side, provider)
    images = load(a), load(b)
    query, reference, matches = pair(*images)
    verification = HomographyVerifier().verify(query, reference, matches)
    if draw is not None:
        lines = matches.indices[verification.inliers]
        ends = query.keypoints[lines[:, 0]], reference.keypoints[lines[:, 1]]
        titles = Path(a).name, Path(b).name
        _save(draw_pair(*images, *ends, _caption(verification), titles), Path(draw))
    return PairVerification(
        a=str(a),
        b=str(b),
        num_keypoints=KeypointCounts(len(query), len(reference)),
        num_matches=len(matches),
        num_inliers=verification.num_inliers,
        homography=None
        if verification.homography is None
        else tuple(tuple(map(float, row)) for row in verification.homography),
        problem=verification.problem,
        seconds=time.perf_counter() - start,
    )


def _pair_matching(
    extractor: str, matcher: str, max_keypoints: int, max_side: int, provider: str
) -> Callable[[Image, Image], tuple[LocalFeatures, LocalFeatures, Matches]]:
    """Return the function from two photos to features and matches, with a detector or without."""
    if matcher in PAIR_MATCHERS:
        return make_pair_matcher(matcher, max_side, provider).match_images
    pairing = make_matcher(matcher, extractor, provider)
    detector = make_extractor(extractor, max_keypoints, max_side, provider)

    def pair(query: Image, reference: Image) -> tuple[LocalFeatures, LocalFeatures, Matches]:
        features = detector.extract(query), detector.extract(reference)
        return *features, pairing.match(*features)

    return pair


def _save(picture: PIL.Image.Image, path: Path) -> None:
    try:
        picture.save(path)
    except OSError as error:
        raise ImageError(str(path), f"cannot be written ({error.strerror or error})") from error
    except ValueError as error:
        raise ImageError(str(path), "is no picture's name", "use one ending in .png, .jpg or .webp") from error


def _caption(verification: Verification) -> str:
    return (
        f"{verification.num_inliers} inliers" if verification.problem is None else f"no inliers: {verification.problem}"
    )
