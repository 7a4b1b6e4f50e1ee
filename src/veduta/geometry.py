"""Matches to inliers: one homography, found by MAGSAC++, and refused when no camera could have made it.

MAGSAC++: Barath et al., CVPR 2020, as in OpenCV's USAC framework.
"""

from __future__ import annotations

import cv2
import numpy as np

from veduta.types import Bool, Coverage, Float32, Float64, LocalFeatures, Matches, PairGeometry, UInt8, Verification

FRAME = 640.0  # photos are compared at this longer side, so that thresholds do not depend on the megapixels
MIN_MATCHES = 8  # unique pairs; four points fit any homography and a few more agree by chance


class HomographyVerifier:
    """Keeps the matches that agree with one plausible homography; the same input gives the same inliers.

    Args:
        threshold: largest reprojection error of an inlier, in pixels of a photo with a longer side of 640.
        max_iterations: most hypotheses tried.
        max_scale: largest change of size, linear, in either direction.
        max_stretch: largest ratio between the two axes of the change.
    """

    def __init__(
        self,
        threshold: float = 4.0,
        max_iterations: int = 1000,
        max_scale: float = 12.0,
        max_stretch: float = 5.0,
    ) -> None:
        self.threshold, self.max_iterations = threshold, max_iterations
        self.max_scale, self.max_stretch = max_scale, max_stretch

    def verify(self, query: LocalFeatures, reference: LocalFeatures, matches: Matches) -> Verification:
        """Return the inliers and their homography, or no inliers and the problem that ruled one out.

        Problems: ``too few matches``, ``no agreement``, ``collinear``, ``folded``, ``flipped``, ``collapsed``.
        """
        to_query, to_reference = _frame(query.size), _frame(reference.size)
        a = _apply(to_query, query.keypoints[matches.indices[:, 0]])
        b = _apply(to_reference, reference.keypoints[matches.indices[:, 1]])
        if _unique(a, b) < MIN_MATCHES:
            return _nothing(len(matches), "too few matches")
        H, inliers = self._estimate(a, b)
        if H is None or _unique(a[inliers], b[inliers]) < MIN_MATCHES:
            return _nothing(len(matches), "no agreement")
        problem = self._implausible(H, a[inliers], b[inliers])
        if problem:
            return _nothing(len(matches), problem)
        return Verification(inliers, np.linalg.inv(to_reference) @ H @ to_query)

    def _estimate(self, a: Float32, b: Float32) -> tuple[Float64 | None, Bool]:
        settings = cv2.UsacParams()
        settings.threshold = self.threshold
        settings.maxIterations = self.max_iterations
        settings.confidence = 0.999
        settings.score = cv2.SCORE_METHOD_MAGSAC
        settings.sampler = cv2.SAMPLING_UNIFORM
        settings.loMethod = cv2.LOCAL_OPTIM_SIGMA
        settings.loIterations = 10
        settings.final_polisher = cv2.MAGSAC
        settings.randomGeneratorState = 0
        H, mask = cv2.findHomography(a, b, settings)
        if H is None or mask is None or not np.isfinite(H).all() or abs(np.linalg.det(H)) < 1e-12:
            return None, np.zeros(len(a), bool)
        return np.asarray(H, np.float64), mask.ravel().astype(bool)

    def _implausible(self, H: Float64, a: Float32, b: Float32) -> str | None:
        """Return why no camera sees the query's (K, 2) inliers `a` as `b`, or None when one could."""
        if _collinear(a) or _collinear(b):
            return "collinear"
        w = np.c_[a, np.ones(len(a))] @ H[2]
        if w.min() * w.max() <= 0 or np.abs(w).max() > 10 * np.abs(w).min():
            return "folded"
        # The derivative of the homography at the inliers: its sign says mirrored, its axes say squeezed.
        singular = np.linalg.svd(_jacobian(H, a.mean(0)), compute_uv=False)
        if np.linalg.det(H) * w[0] < 0:
            return "flipped"
        size = float(np.sqrt(singular[0] * singular[1]))
        if singular[0] > self.max_stretch * singular[1] or not 1 / self.max_scale < size < self.max_scale:
            return "collapsed"
        return None


def describe_pair(
    query: LocalFeatures,
    reference: LocalFeatures,
    matches: Matches,
    verification: Verification,
    confirmed: UInt8 | None = None,
) -> PairGeometry:
    """Return a verified pair's geometry beyond its number of inliers.

    Args:
        query: features of the photo asked about.
        reference: features of the photo it was matched with.
        matches: (M,) pairs.
        verification: which of them are inliers, and their homography.
        confirmed: (N,) how many other photos of its landmark have confirmed each keypoint of the reference.
    """
    if verification.homography is None:
        return PairGeometry(len(matches))
    pairs = matches.indices[verification.inliers]
    a, b = query.keypoints[pairs[:, 0]], reference.keypoints[pairs[:, 1]]
    H = _frame(reference.size) @ verification.homography @ np.linalg.inv(_frame(query.size))
    seen = _apply(_frame(query.size), a)
    jacobian = _jacobian(H, seen.mean(0))
    singular = np.linalg.svd(jacobian, compute_uv=False)
    depth = np.abs(np.c_[seen, np.ones(len(seen))] @ H[2])
    return PairGeometry(
        num_matches=len(matches),
        similarity=float(matches.scores[verification.inliers].mean()),
        coverage=Coverage(_covered(a, query.size), _covered(b, reference.size)),
        scale=abs(float(np.log(singular[0] * singular[1]) / 2)),
        stretch=float(np.log(singular[0] / singular[1])),
        rotation=abs(float(np.arctan2(jacobian[1, 0] - jacobian[0, 1], jacobian[0, 0] + jacobian[1, 1]))),
        perspective=float(np.log(depth.max() / depth.min())),
        keypoints=tuple(pairs[:, 0].tolist()),
        num_confirmed=0 if confirmed is None else int(np.count_nonzero(confirmed[pairs[:, 1]])),
    )


def _covered(points: Float32, size: tuple[int, int]) -> float:
    """Return the share of a photo inside the convex hull of (K, 2) points."""
    return float(cv2.contourArea(cv2.convexHull(np.asarray(points, np.float32)))) / (size[0] * size[1])


def _nothing(n: int, problem: str) -> Verification:
    return Verification(np.zeros(n, bool), None, problem)


def _frame(size: tuple[int, int]) -> Float64:
    """Return the (3, 3) map from a photo's pixels to the frame with longer side 640."""
    scale = FRAME / max(size)
    return np.diag([scale, scale, 1.0])


def _apply(H: Float64, xy: Float32) -> Float32:
    """Return (N, 2) points moved by a (3, 3) scaling."""
    return np.asarray(xy * H[0, 0], np.float32)


def _unique(a: Float32, b: Float32) -> int:
    """Return how many pairs are left when positions within half a pixel of one another count once, in each photo."""
    cells = ((points * 2).round().astype(np.int64) @ [1 << 24, 1] for points in (a, b))  # a number for each position
    return min(len(np.unique(cell)) for cell in cells)


def _collinear(points: Float32) -> bool:
    """Return whether (K, 2) points lie on one line, give or take a hundredth of its length."""
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return bool(spread[1] < 0.01 * spread[0])


def _jacobian(H: Float64, at: Float32) -> Float64:
    """Return the (2, 2) derivative of the homography at one point."""
    x, y, w = H @ np.array([at[0], at[1], 1.0])
    return np.asarray((H[:2, :2] - np.outer([x / w, y / w], H[2, :2])) / w, np.float64)
