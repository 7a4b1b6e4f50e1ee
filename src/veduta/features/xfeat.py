"""XFeat: small, fast, free learned features (Potje et al., CVPR 2024)."""

from __future__ import annotations

import cv2
import numpy as np

from veduta.models import card, open_session
from veduta.types import Float32, Image, LocalFeatures, UInt8

STEP, LEAST = 32, 64  # sides the network takes: multiples of 32, and enough pixels for its 4,096 keypoints


class XFeat:
    """XFeat run by ONNX Runtime, non-maximum suppression and top-k included.

    Args:
        max_keypoints: how many of the best keypoints are kept, at most 4,096.
        max_side: photos are reduced so that their longer side has at most this many pixels.
        provider: execution provider of ONNX Runtime.
        threads: threads inside one operator; None means all cores.
    """

    def __init__(
        self, max_keypoints: int = 512, max_side: int = 576, provider: str = "cpu", threads: int | None = None
    ) -> None:
        self.max_keypoints, self.max_side = max_keypoints, max_side
        self._session = open_session(self.name, provider, threads)

    @property
    def name(self) -> str:
        """The name of its model card."""
        return "xfeat"

    @property
    def settings(self) -> dict[str, int]:
        """What changes its features, beside its weights."""
        return {"max_keypoints": self.max_keypoints, "max_side": self.max_side}

    @property
    def dim(self) -> int:
        """Length of a keypoint's descriptor."""
        return card(self.name).dim

    def extract(self, image: Image) -> LocalFeatures:
        """Return at most `max_keypoints` keypoints, best first, in pixels of the upright original photo."""
        pixels = self._resize(image.pixels)
        keypoints, scores, descriptors = self._session.run(None, {"image": pixels[None]})
        n = min(self.max_keypoints, int(np.count_nonzero(scores > 0)))
        height, width = pixels.shape[:2]
        scale = np.array([image.width / width, image.height / height], np.float32)
        return LocalFeatures(
            keypoints=_rescale(keypoints[:n], scale),
            descriptors=np.ascontiguousarray(descriptors[:n]),
            scores=np.ascontiguousarray(scores[:n]),
            size=image.size,
        )

    def _resize(self, pixels: UInt8) -> UInt8:
        height, width = pixels.shape[:2]
        factor = min(1.0, self.max_side / max(height, width))
        w, h = (max(LEAST, round(n * factor / STEP) * STEP) for n in (width, height))
        method = cv2.INTER_AREA if w <= width and h <= height else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(pixels, (w, h), interpolation=method), np.uint8)


def _rescale(keypoints: Float32, scale: Float32) -> Float32:
    """Return (N, 2) keypoints moved to a picture `scale` times as large; pixel centres stand at whole numbers."""
    return np.asarray((keypoints + 0.5) * scale - 0.5, np.float32)
