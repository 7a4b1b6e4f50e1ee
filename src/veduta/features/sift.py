"""RootSIFT: the local feature that needs no weights (Lowe 2004; Arandjelovic and Zisserman 2012)."""

from __future__ import annotations

import cv2
import numpy as np

from veduta.images.resize import Frame, rescale
from veduta.models.cards import card
from veduta.types import Image, LocalFeatures


class RootSift:
    """OpenCV's SIFT with the square root taken of its L1-normalized descriptors.

    Args:
        max_keypoints: how many of the strongest keypoints are kept.
        max_side: photos are reduced so that their longer side has at most this many pixels.
    """

    def __init__(self, max_keypoints: int = 512, max_side: int = 576) -> None:
        self.max_keypoints, self.max_side = max_keypoints, max_side

    @property
    def name(self) -> str:
        """The name of its card."""
        return "rootsift"

    @property
    def sha256(self) -> str:
        """Empty: SIFT has no weights."""
        return ""

    @property
    def settings(self) -> dict[str, int]:
        """The settings that change features."""
        return {"max_keypoints": self.max_keypoints, "max_side": self.max_side}

    @property
    def dim(self) -> int:
        """Length of a keypoint's descriptor."""
        return card(self.name).dim

    def extract(self, image: Image) -> LocalFeatures:
        """Return at most `max_keypoints` keypoints, strongest first, in pixels of the upright original photo."""
        gray = cv2.cvtColor(Frame(self.max_side).resize(image.pixels), cv2.COLOR_RGB2GRAY)
        # One detector per call: OpenCV's objects are not promised to be safe between threads.
        # Without the precise upscale all of its keypoints lie a quarter of a pixel too far right and down.
        detector = cv2.SIFT.create(nfeatures=self.max_keypoints, enable_precise_upscale=True)
        detected, raw = detector.detectAndCompute(gray, None)
        best = sorted(range(len(detected)), key=lambda i: -detected[i].response)[: self.max_keypoints]
        xy = np.array([detected[i].pt for i in best], np.float32).reshape(-1, 2)
        descriptors = np.zeros((0, self.dim), np.float32) if raw is None else np.asarray(raw, np.float32)[best]
        mass = np.abs(descriptors).sum(1, keepdims=True)
        return LocalFeatures(
            keypoints=rescale(xy, (gray.shape[1], gray.shape[0]), image.size),
            descriptors=np.sqrt(descriptors / np.maximum(mass, 1e-12)),
            scores=np.array([detected[i].response for i in best], np.float32),
            size=image.size,
        )
