"""Convolutional network with generalised-mean pooling, as an ONNX file that takes uint8 pictures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from veduta.models import card, open_session
from veduta.types import Float32, Image, UInt8

STEP = 32  # the network halves its input five times


class GemEmbedder:
    """EfficientNet-Lite2 with GeM pooling by default (Tan and Le 2019; Radenovic et al. 2018).

    A photo keeps its shape: it is resized to about `side` x `side` pixels in all, its sides rounded to multiples
    of 32, so that a tower is not squashed into a square.
    """

    def __init__(
        self, name: str = "efficientnet-lite2-gem", side: int = 384, provider: str = "cpu", threads: int | None = None
    ) -> None:
        self._card = card(name)
        self._side = side
        self._session = open_session(name, provider, threads)

    @property
    def name(self) -> str:
        """The name of its model card."""
        return self._card.name

    @property
    def settings(self) -> dict[str, int]:
        """What changes its descriptors, beside its weights."""
        return {"side": self._side}

    @property
    def dim(self) -> int:
        """Length of a descriptor."""
        return self._card.dim

    def embed(self, images: Sequence[Image]) -> Float32:
        """Return (B, D) float32 descriptors of norm 1; photos of one shape go through the network together."""
        result = np.empty((len(images), self.dim), np.float32)
        by_shape: dict[tuple[int, ...], list[int]] = {}
        resized = [self._resize(image.pixels) for image in images]
        for i, pixels in enumerate(resized):
            by_shape.setdefault(pixels.shape, []).append(i)
        for rows in by_shape.values():
            batch = np.stack([resized[i] for i in rows])  # (b, h, w, 3)
            result[rows] = self._session.run(None, {"image": batch})[0]
        return result

    def _resize(self, pixels: UInt8) -> UInt8:
        height, width = pixels.shape[:2]
        factor = self._side / (height * width) ** 0.5
        # A very long strip is bent rather than refused: no side above four times the nominal one.
        w, h = (max(2, min(round(n * factor / STEP), 4 * self._side // STEP)) * STEP for n in (width, height))
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(pixels, (w, h), interpolation=method), np.uint8)
