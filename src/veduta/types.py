"""The nouns that travel between the stages: frozen, with shapes checked once when they are made.

Conventions: keypoints are (x, y) in pixels of the upright original photo, (0, 0) being the center of the top-left
pixel; homographies map query to reference; a similarity is a cosine, larger is better.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from veduta.errors import FailureCode, VedutaError
from veduta.landmarks import Guess, Landmark, LandmarkConfidence, Position, TermValue

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]


class Size(NamedTuple):
    """The size of an upright photo, in pixels."""

    width: int
    height: int


def _check(name: str, array: npt.NDArray[Any], shape: tuple[int | None, ...], kind: str) -> None:
    """Raise ValueError unless `array` has this shape (None: any length) and dtype kind."""
    fits = array.ndim == len(shape) and all(w in (None, h) for w, h in zip(shape, array.shape, strict=True))
    if not fits or array.dtype.kind not in kind:
        want = "(" + ", ".join("*" if n is None else str(n) for n in shape) + ")"
        raise ValueError(f"{name}: expected {want} of kind {kind!r}, got {array.shape} of {array.dtype}")


@dataclass(frozen=True, eq=False)
class Image:
    """A decoded photo: upright RGB pixels, and how they relate to the photo on disk.

    Attributes:
        pixels: (H, W, 3) uint8, RGB, upright. May be smaller than the photo (JPEG reduced while decoding).
        width: width in pixels of the upright original photo.
        height: height in pixels of the upright original photo.
        name: where it came from, as the caller gave it; used in messages only.
        sha256: hex digest of the file's bytes; empty for pixels that never were a file.
        position: where it was taken, as the camera wrote that, or None.
        taken: when, by the camera's clock and without a zone, or None.
        utc_offset: how much that clock was ahead of UTC, or None where the photo does not say.
    """

    pixels: UInt8
    width: int
    height: int
    name: str = "<array>"
    sha256: str = ""
    position: Position | None = None
    taken: datetime | None = None
    utc_offset: timedelta | None = None

    def __post_init__(self) -> None:
        _check("Image.pixels", self.pixels, (None, None, 3), "u")
        if self.pixels.dtype != np.uint8 or min(self.pixels.shape) < 1:
            raise ValueError(f"Image.pixels: expected non-empty uint8, got {self.pixels.shape} {self.pixels.dtype}")
        if self.width < self.pixels.shape[1] or self.height < self.pixels.shape[0]:
            raise ValueError(f"Image: {self.width} x {self.height} is smaller than its pixels {self.pixels.shape}")

    @property
    def size(self) -> Size:
        """(width, height) of the upright original photo, in pixels."""
        return Size(self.width, self.height)


@dataclass(frozen=True, eq=False)
class LocalFeatures:
    """Keypoints of one photo with their descriptors, best first.

    Attributes:
        keypoints: (N, 2) float32, (x, y) in pixels of the upright original photo.
        descriptors: (N, D) float32, L2-normalized.
        scores: (N,) float32, the detector's own score, not comparable between extractors.
        size: (width, height) in pixels of the upright original photo.
    """

    keypoints: Float32
    descriptors: Float32
    scores: Float32
    size: Size

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", Size(*self.size))
        n = len(self.keypoints)
        _check("LocalFeatures.keypoints", self.keypoints, (n, 2), "f")
        _check("LocalFeatures.descriptors", self.descriptors, (n, None), "f")
        _check("LocalFeatures.scores", self.scores, (n,), "f")

    def __len__(self) -> int:
        return len(self.keypoints)


@dataclass(frozen=True, eq=False)
class Matches:
    """Pairs of keypoints believed to show the same point, before geometry has been asked.

    Attributes:
        indices: (M, 2) int64, index into the query's keypoints and into the reference's.
        scores: (M,) float32, how sure the matcher is; a cosine or a probability, by matcher.
    """

    indices: Int64
    scores: Float32

    def __post_init__(self) -> None:
        _check("Matches.indices", self.indices, (len(self.indices), 2), "i")
        _check("Matches.scores", self.scores, (len(self.indices),), "f")

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True, eq=False)
class Verification:
    """The result of verifying one pair of photos.

    Attributes:
        inliers: (M,) bool, which of the matches agree with the homography; all False when there is none.
        homography: (3, 3) float64 mapping query pixels to reference pixels, or None.
        problem: why there is no homography (``"too few matches"``, ``"folded"``, ...), or None.
    """

    inliers: Bool
    homography: Float64 | None = None
    problem: str | None = None

    def __post_init__(self) -> None:
        _check("Verification.inliers", self.inliers, (len(self.inliers),), "b")
        if self.homography is not None:
            _check("Verification.homography", self.homography, (3, 3), "f")

    @property
    def num_inliers(self) -> int:
        """How many matches agree with the homography."""
        return int(np.count_nonzero(self.inliers))


class PairComparison(NamedTuple):
    """The matches of one pair of photos, and what geometry says of them."""

    matches: Matches
    verification: Verification


class Coverage(NamedTuple):
    """The shares, in [0, 1], of a query and of a reference that their inliers span."""

    query: float
    reference: float


@dataclass(frozen=True, eq=False)
class PairGeometry:
    """The geometry of a verified pair beyond the number of inliers; all but `num_matches` are 0 without inliers.

    Attributes:
        num_matches: pairs before geometry.
        similarity: mean score of the inliers; the cosine of their descriptors with the nearest matcher.
        coverage: share of the query, and of the reference, inside the convex hull of the inliers.
        scale: absolute log of the change of size, linear.
        stretch: log of the ratio between the two axes of the change.
        rotation: absolute angle of the turn, in radians.
        perspective: log of the ratio between the largest and the smallest depth among the inliers.
        keypoints: the query's keypoints that are inliers, by number.
        num_confirmed: inliers whose keypoint in the reference another photo of its landmark has confirmed.
    """

    num_matches: int
    similarity: float = 0.0
    coverage: Coverage = field(default=Coverage(0.0, 0.0))
    scale: float = 0.0
    stretch: float = 0.0
    rotation: float = 0.0
    perspective: float = 0.0
    keypoints: tuple[int, ...] = ()
    num_confirmed: int = 0


@dataclass(frozen=True)
class Candidate:
    """A reference that may show the query's landmark, with the evidence gathered so far.

    Attributes:
        reference: id of the reference.
        landmark: id of its landmark.
        similarity: cosine of the two descriptors, in [-1, 1].
        num_inliers: matches that agree with one homography; None means not verified, 0 verified in vain.
        geometry: the pair's geometry beyond that; not shown and not compared.
        inliers: (K, 2) indices into the query's and the reference's keypoints that are inliers; likewise.
        problem: why a verified pair has no homography, or None; likewise.
        row_id: the reference's key in the index, None for one made elsewhere; likewise.
    """

    reference: str
    landmark: str
    similarity: float
    num_inliers: int | None = None
    geometry: PairGeometry | None = field(default=None, repr=False, compare=False)
    inliers: Int64 | None = field(default=None, repr=False, compare=False)
    problem: str | None = field(default=None, repr=False, compare=False)
    row_id: int | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Decision:
    """The answer to one list of candidates.

    Attributes:
        landmark: id of the landmark answered, or None.
        confidence: probability that the best guess is right, in [0, 1]; the guess's also when none is answered.
        score: the number the confidence was made from: log odds, before calibration.
        evidence: the candidates, best guess first.
        terms: what each kind of evidence adds to the score of the best guess, largest first; their sum is the score.
        guesses: the likeliest landmarks by their ids, best guess first.
    """

    landmark: str | None
    confidence: float
    score: float
    evidence: tuple[Candidate, ...]
    terms: tuple[TermValue, ...] = ()
    guesses: tuple[LandmarkConfidence, ...] = ()


@dataclass(frozen=True)
class Recognition:
    """The answer for one photo.

    Attributes:
        photo: the path as given.
        landmark: the landmark, or None when it knows none that is likely enough.
        confidence: probability that the best guess is right, in [0, 1]; the guess's also when landmark is None.
        evidence: the candidates, best guess first.
        seconds: wall time from opening the photo to the answer.
        terms: the contribution of each kind of evidence to the log odds of the best guess, largest first.
        guesses: the likeliest landmarks, best guess first.
        features: the photo's local features, or None where no candidate was verified; not shown and not compared.
    """

    photo: str
    landmark: Landmark | None
    confidence: float
    evidence: tuple[Candidate, ...] = field(default=())
    seconds: float = 0.0
    terms: tuple[TermValue, ...] = ()
    guesses: tuple[Guess, ...] = ()
    features: LocalFeatures | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Failure:
    """A photo that could not be handled, and why.

    Attributes:
        photo: the path as given.
        error: one line: what is wrong and with which file.
        code: the kind of reason, for programs to go by.
    """

    photo: str
    error: str
    code: FailureCode = "unreadable"

    @classmethod
    def of(cls, photo: str, error: VedutaError) -> Failure:
        """Return the failure of a photo that an error is about."""
        return cls(photo, str(error), error.code)

    def to_dict(self) -> dict[str, str]:
        """Return the failure as a JSON object: photo, error."""
        return {"photo": self.photo, "error": self.error}
