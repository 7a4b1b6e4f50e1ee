"""Image to local features: one file per family.

Those run by torch are imported when they are made: they are behind the extra ``[torch]``.
"""

from __future__ import annotations

from collections.abc import Callable

from veduta.errors import ModelError
from veduta.features.sift import RootSift
from veduta.features.xfeat import XFeat
from veduta.protocols import Extractor

__all__ = ["DEFAULT_EXTRACTOR", "EXTRACTORS", "RootSift", "XFeat", "make_extractor"]

DEFAULT_EXTRACTOR = "xfeat"


def _superpoint(max_keypoints: int, max_side: int, provider: str) -> Extractor:
    from veduta.features.superpoint import SuperPoint

    return SuperPoint(max_keypoints, max_side, provider)


def _disk(max_keypoints: int, max_side: int, provider: str) -> Extractor:
    from veduta.features.kornia import disk

    return disk(max_keypoints, max_side, provider)


def _aliked(max_keypoints: int, max_side: int, provider: str) -> Extractor:
    from veduta.features.kornia import aliked

    return aliked(max_keypoints, max_side, provider)


# Name of the card -> how to make it for (max_keypoints, max_side, execution provider).
EXTRACTORS: dict[str, Callable[[int, int, str], Extractor]] = {
    "xfeat": XFeat,
    "rootsift": lambda max_keypoints, max_side, _provider: RootSift(max_keypoints, max_side),
    "superpoint": _superpoint,
    "disk": _disk,
    "aliked": _aliked,
}


def make_extractor(
    name: str = DEFAULT_EXTRACTOR, max_keypoints: int = 512, max_side: int = 576, provider: str = "cpu"
) -> Extractor:
    """Return the extractor called `name`.

    Args:
        name: that of its card.
        max_keypoints: how many of the best keypoints are kept.
        max_side: photos are reduced so that their longer side has at most this many pixels.
        provider: execution provider.

    Raises:
        ModelError: there is none of this name, or its weights or what runs them are not here.
        ValueError: no keypoints at all, or photos of hardly a pixel.
    """
    if name not in EXTRACTORS:
        raise ModelError(f"no extractor is called {name!r}; there are {', '.join(EXTRACTORS)}")
    if max_keypoints < 1:
        raise ValueError(f"max_keypoints: expected at least 1, got {max_keypoints}")
    if max_side < 64:
        raise ValueError(f"max_side: expected at least 64, got {max_side}")
    return EXTRACTORS[name](max_keypoints, max_side, provider)
