"""EfficientLoFTR: two photos to matches without a detector (Wang et al., CVPR 2024).

It has to see both photos, and a gallery keeps none: it is for pairs of files, `veduta verify`.
"""

from __future__ import annotations

import numpy as np

from veduta.images.resize import Frame, rescale, to_gray
from veduta.models.torch_models import open_transformers, require_module, to_numpy
from veduta.types import Float32, Image, LocalFeatures, Matches

STEP, LEAST = 32, 64


class EfficientLoftr:
    """EfficientLoFTR as in ``transformers``, run by torch.

    Args:
        max_side: photos are reduced so that their longer side has at most this many pixels.
        min_probability: least probability of a pair, in [0, 1].
        provider: ``cpu`` or ``cuda``.

    Raises:
        ModelError: torch or the weights are not here.
    """

    def __init__(self, max_side: int = 576, min_probability: float = 0.2, provider: str = "cpu") -> None:
        self.max_side, self.min_probability = max_side, min_probability
        self._model, weights = open_transformers(self.name, "EfficientLoFTRForKeypointMatching", provider)
        self.sha256 = weights.sha256
        self._frame = Frame(max_side, STEP, LEAST)

    @property
    def name(self) -> str:
        """The name of its card."""
        return "efficientloftr"

    def match_images(self, query: Image, reference: Image) -> tuple[LocalFeatures, LocalFeatures, Matches]:
        """Return matched points of either photo, in pixels of the upright originals, and the pairs.

        The points have no descriptors: the one that stands i-th in one photo is the partner of the i-th in the other.
        """
        torch = require_module("torch", self.name)
        planes = [to_gray(self._frame.resize(image.pixels)) for image in (query, reference)]
        height, width = (max(plane.shape[axis] for plane in planes) for axis in (0, 1))
        pair = np.zeros((1, 2, 3, height, width), np.float32)
        for place, plane in zip(pair[0], planes, strict=True):
            place[:, : plane.shape[0], : plane.shape[1]] = (
                plane  # the smaller one stands in the corner of a black frame
            )
        with torch.inference_mode():
            output = self._model(pixel_values=torch.from_numpy(pair).to(self._model.device))
        points = to_numpy(output.keypoints[0]) * np.array((width, height), np.float32)  # (2, M, 2)
        scores = to_numpy(output.matching_scores[0, 0])
        inside = [_inside(located, plane) for located, plane in zip(points, planes, strict=True)]
        keep = (scores > self.min_probability) & (output.matches[0] >= 0).all(0).cpu().numpy() & inside[0] & inside[1]
        keep = np.flatnonzero(keep)[np.argsort(-scores[keep], kind="stable")]
        features = [
            _points(image, plane, located[keep], scores[keep])
            for image, plane, located in zip((query, reference), planes, points, strict=True)
        ]
        same = np.arange(len(keep), dtype=np.int64)
        return features[0], features[1], Matches(np.stack((same, same), 1), scores[keep])


def _inside(points: Float32, plane: Float32) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return (M,) whether points are in the photo, not in its padding."""
    return np.asarray(((points >= 0) & (points <= np.array(plane.shape[::-1]) - 1)).all(1))


def _points(image: Image, plane: Float32, points: Float32, scores: Float32) -> LocalFeatures:
    return LocalFeatures(
        rescale(points, (plane.shape[1], plane.shape[0]), image.size),
        np.zeros((len(points), 0), np.float32),
        scores,
        image.size,
    )
