"""Image to local features: one file per family."""

from __future__ import annotations

from collections.abc import Callable

from veduta.errors import ModelError
from veduta.features.sift import RootSift
from veduta.features.xfeat import XFeat
from veduta.protocols import Extractor

__all__ = ["DEFAULT_EXTRACTOR", "EXTRACTORS", "RootSift", "XFeat", "make_extractor"]

DEFAULT_EXTRACTOR = "xfeat"

# Name of the card -> how to make it for (max_keypoints, max_side, execution provider).
EXTRACTORS: dict[str, Callable[[int, int, str], Extractor]] = {
    "xfeat": XFeat,
    "rootsift": lambda max_keypoints, max_side, _provider: RootSift(max_keypoints, max_side),
}


def make_extractor(
    name: str = DEFAULT_EXTRACTOR, max_keypoints: int = 512, max_side: int = 576, provider: str = "cpu"
) -> Extractor:
    """Return the extractor called `name`; ModelError when there is none, ValueError for no keypoints at all."""
    if name not in EXTRACTORS:
        raise ModelError(f"no extractor is called {name!r}; there are {', '.join(EXTRACTORS)}")
    if max_keypoints < 1:
        raise ValueError(f"max_keypoints: expected at least 1, got {max_keypoints}")
    return EXTRACTORS[name](max_keypoints, max_side, provider)
