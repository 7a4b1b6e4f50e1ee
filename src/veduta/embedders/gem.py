"""Convolutional network with generalized-mean pooling, as an ONNX file that takes uint8 pictures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from veduta.errors import ModelError
from veduta.models.cards import ModelCard, card
from veduta.models.session import open_session
from veduta.types import Float32, Image, UInt8


class GemEmbedder:
    """A network with GeM pooling (Radenovic et al. 2018) in one graph, EfficientNet-Lite2 by default (Tan and Le 2019).

    A photo keeps its shape unless the card says otherwise: it is resized to about `side` x `side` pixels in all, its
    sides rounded to multiples of the card's step, so that a tower is not squashed into a square.

    Args:
        model: a card, or the name of one.
        side: None for the card's.
        provider: execution provider.
        threads: threads inside one operator; None means all cores this process may use.

    Raises:
        ModelError: the model or provider cannot be used, or the network takes photos of one size only and not of this.
    """

    def __init__(
        self,
        model: str | ModelCard = "efficientnet-lite2-gem",
        side: int | None = None,
        provider: str = "cpu",
        threads: int | None = None,
    ) -> None:
        self._card = card(model) if isinstance(model, str) else model
        self._side = side or self._card.side
        if self._card.square and self._side != self._card.side:
            raise ModelError(f"{self._card.name}: takes photos of side {self._card.side} only, not {self._side}")
        self._session = open_session(self._card, provider, threads)

    @property
    def name(self) -> str:
        """The name of its model card."""
        return self._card.name

    @property
    def sha256(self) -> str:
        """Hex digest of its weights."""
        return self._card.sha256

    @property
    def settings(self) -> dict[str, int]:
        """The settings that change descriptors, beside the weights."""
        return {"side": self._side}

    @property
    def dim(self) -> int:
        """Length of a descriptor."""
        return self._card.dim

    def embed(self, images: Sequence[Image]) -> Float32:
        """Return (B, D) float32 descriptors of norm 1; photos of one shape go through the network together."""
        result = np.empty((len(images), self.dim), np.float32)
        by_shape: dict[tuple[int, ...], list[int]] = {}
        kind = self._card
        small = [resized(image.pixels, self._side, kind.step, square=kind.square) for image in images]
        for i, pixels in enumerate(small):
            by_shape.setdefault(pixels.shape, []).append(i)
        for rows in by_shape.values():
            batch = np.stack([small[i] for i in rows])  # (b, h, w, 3)
            result[rows] = self._session.run(None, {"image": batch})[0]
        return result


def resized(pixels: UInt8, side: int, step: int = 32, *, square: bool = False) -> UInt8:
    """Return a photo (H, W, 3) at about `side` x `side` pixels in all, both sides multiples of `step`.

    Args:
        pixels: the photo.
        side: root of the number of pixels.
        step: what both sides are multiples of.
        square: squash it into a square; otherwise its shape is kept, as nearly as `step` allows.
    """
    height, width = pixels.shape[:2]
    factor = side / (height * width) ** 0.5
    if square:
        w = h = max(1, round(side / step)) * step
    else:
        # A very long strip is bent rather than refused: no side above four times the nominal one.
        w, h = (max(2, min(round(n * factor / step), 4 * side // step)) * step for n in (width, height))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (w, h), interpolation=method), np.uint8)
