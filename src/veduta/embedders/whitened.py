"""Another embedder's descriptors, whitened: what most photos share is turned down, so that what sets one apart counts.

Photos of buildings all resemble one another, and a network trained to name things in general has a few strong
directions for that. Learned PCA whitening (Jegou and Chum, ECCV 2012; as used by Radenovic et al., TPAMI 2018) divides
every direction by how much photos vary along it, and keeps the first D.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from veduta.models import card, open_arrays
from veduta.protocols import Embedder
from veduta.types import Float32, Image


class WhitenedEmbedder:
    """An embedder followed by a whitening: subtract a mean, project, and bring to norm 1.

    Args:
        name: a card whose file holds ``mean`` (E,) and ``projection`` (E, D).
        base: the embedder that makes the (E,) descriptors the whitening was learned on.

    Raises:
        ModelError: the file is not the card's, or was learned on another embedder's descriptors.
    """

    def __init__(self, name: str, base: Embedder) -> None:
        self._card, self._base = card(name), base
        arrays = open_arrays(name, base=base.name)
        self._mean = arrays["mean"].astype(np.float32)
        self._projection = arrays["projection"].astype(np.float32)

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
        """What changes its descriptors, beside its weights: the settings of the embedder it stands on."""
        return self._base.settings

    @property
    def dim(self) -> int:
        """Length of a descriptor."""
        return self._card.dim

    def embed(self, images: Sequence[Image]) -> Float32:
        """Return (B, D) float32 descriptors of norm 1."""
        return whiten(self._base.embed(images), self._mean, self._projection)


def whiten(descriptors: Float32, mean: Float32, projection: Float32) -> Float32:
    """Return (B, D) descriptors of norm 1 from (B, E) ones, given a mean (E,) and a projection (E, D)."""
    projected = (descriptors - mean) @ projection
    return np.asarray(projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12), np.float32)
