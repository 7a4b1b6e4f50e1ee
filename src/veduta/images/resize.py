"""A photo brought to the size a network takes, and keypoints back to the photo."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from veduta.types import Float32, Image, LocalFeatures, UInt8

GRAY_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Frame:
    """How photos are sized for a network.

    Attributes:
        max_side: the longer side has at most this many pixels; photos are only ever reduced.
        step: sides are multiples of this.
        min_side: sides have at least this many pixels, if the photo has to be enlarged for it.
    """

    max_side: int
    step: int = 1
    min_side: int = 1

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) a photo of this size is brought to."""
        factor = min(1.0, self.max_side / max(width, height))
        w, h = (max(self.min_side, round(side * factor / self.step) * self.step) for side in (width, height))
        return w, h

    def resize(self, pixels: UInt8) -> UInt8:
        """Return (h, w, 3) uint8 pixels of a (H, W, 3)."""
        height, width = pixels.shape[:2]
        w, h = self.size(width, height)
        if (w, h) == (width, height):
            return pixels
        method = cv2.INTER_AREA if w <= width and h <= height else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(pixels, (w, h), interpolation=method), np.uint8)


def to_gray(pixels: UInt8) -> Float32:
    """Return (H, W) float32 in [0, 1] of (H, W, 3) uint8."""
    return np.asarray(pixels.astype(np.float32) @ GRAY_WEIGHTS / 255, np.float32)


def rescale(keypoints: Float32, size: tuple[int, int], photo: tuple[int, int]) -> Float32:
    """Return (N, 2) keypoints scaled from one size of a picture to another; pixel centers are whole numbers.

    Args:
        keypoints: (x, y) in the picture.
        size: its (width, height).
        photo: the other (width, height).
    """
    scale = np.array(photo, np.float32) / np.array(size, np.float32)
    return np.asarray((keypoints + 0.5) * scale - 0.5, np.float32)


def to_photo_features(
    image: Image, size: tuple[int, int], max_keypoints: int, keypoints: Float32, descriptors: Float32, scores: Float32
) -> LocalFeatures:
    """Return the best keypoints a network found in a resized photo, in pixels of the photo, best first.

    Args:
        image: the photo.
        size: (width, height) it was brought to.
        max_keypoints: how many are kept.
        keypoints: (N, 2) in pixels of that.
        descriptors: (N, D).
        scores: (N,).
    """
    order = np.argsort(-scores, kind="stable")[:max_keypoints]
    kept_descriptors = descriptors[order].astype(np.float32)
    return LocalFeatures(
        keypoints=rescale(keypoints[order], size, image.size),
        descriptors=kept_descriptors / np.maximum(np.linalg.norm(kept_descriptors, axis=1, keepdims=True), 1e-12),
        scores=np.ascontiguousarray(scores[order], np.float32),
        size=image.size,
    )
