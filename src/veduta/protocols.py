"""The plug points, one verb each. Anything with the right method fits: there is nothing to inherit from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from veduta.types import Float32, Image, Int64, LocalFeatures, Matches, Verification


class Embedder(Protocol):
    """Makes global descriptors."""

    @property
    def name(self) -> str:
        """The name of its model card."""
        ...

    @property
    def sha256(self) -> str:
        """Hex digest of the weights; a gallery records this."""
        ...

    @property
    def dim(self) -> int:
        """Length D of a descriptor."""
        ...

    @property
    def settings(self) -> dict[str, int]:
        """The settings that change descriptors, beside the weights; a gallery records them."""
        ...

    def embed(self, images: Sequence[Image]) -> Float32:
        """Return one descriptor per image: (B, D) float32, each of L2 norm 1. (0, D) for no images."""
        ...


class Extractor(Protocol):
    """Makes local features."""

    @property
    def name(self) -> str:
        """The name of its card."""
        ...

    @property
    def sha256(self) -> str:
        """Hex digest of the weights, empty without any; a gallery records this."""
        ...

    @property
    def dim(self) -> int:
        """Length D of one keypoint's descriptor."""
        ...

    @property
    def settings(self) -> dict[str, int]:
        """The settings that change features, beside the weights; a gallery records them."""
        ...

    def extract(self, image: Image) -> LocalFeatures:
        """Return at most `max_keypoints` keypoints in pixels of the upright original photo, best first."""
        ...


class Matcher(Protocol):
    """Pairs the keypoints of two photos."""

    @property
    def name(self) -> str:
        """The name of its card."""
        ...

    def match(self, query: LocalFeatures, reference: LocalFeatures) -> Matches:
        """Return pairs in which no keypoint occurs twice; empty when either photo has no keypoints."""
        ...

    def match_many(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        """Return the result of `match` for each of the references, in their order."""
        ...


class PairMatcher(Protocol):
    """Matches points of two photos without a detector, from both photos at once."""

    @property
    def name(self) -> str:
        """The name of its card."""
        ...

    def match_images(self, query: Image, reference: Image) -> tuple[LocalFeatures, LocalFeatures, Matches]:
        """Return the points found in either photo, in pixels of the upright originals, and which belong together."""
        ...


class Mask(Protocol):
    """Says which keypoints lie on things that stay where they are and as they are."""

    @property
    def name(self) -> str:
        """The name of its card."""
        ...

    def repeatability(self, image: Image, features: LocalFeatures) -> Float32:
        """Return (N,) how likely each of the photo's keypoints is to be found again on another day, in [0, 1]."""
        ...


class Verifier(Protocol):
    """Asks whether matches can come from one rigid scene."""

    def verify(self, query: LocalFeatures, reference: LocalFeatures, matches: Matches) -> Verification:
        """Return which matches agree with one geometric model; the same input gives the same inliers."""
        ...


class Index(Protocol):
    """Finds the nearest descriptors."""

    def __len__(self) -> int:
        """Return the number of descriptors."""
        ...

    def add(self, ids: Int64, descriptors: Float32) -> None:
        """Add (N,) ids with their (N, D) descriptors; an id already there is a ValueError."""
        ...

    def remove(self, ids: Int64) -> int:
        """Remove these ids, ignoring unknown ones; return how many were there."""
        ...

    def vectors(self, ids: Int64) -> Float32:
        """Return the descriptors (N, D) of these (N,) ids; KeyError for one that is not there."""
        ...

    def search(self, descriptors: Float32, k: int, among: Int64 | None = None) -> tuple[Float32, Int64]:
        """Return the cosines (Q, k') and ids (Q, k') of the k' nearest; k' = min(k, how many there are to find).

        Ordered by similarity falling, then id rising, so that the answer never depends on insertion order.

        Args:
            descriptors: (Q, D) of the queries.
            k: neighbors wanted, at least 1.
            among: (M,) the only ids that count, in any order; unknown ones are ignored. None for all.
        """
        ...
