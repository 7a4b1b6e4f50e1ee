"""Local features of two photos to matches: one file per family.

Those run by torch are imported when they are made: they are behind the extra ``[torch]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from veduta.errors import ModelError
from veduta.matching.lighterglue import LighterGlue
from veduta.matching.nearest import NearestMatcher
from veduta.protocols import Matcher, PairMatcher

if TYPE_CHECKING:
    from veduta.matching.superglue import SuperGlue

__all__ = ["MATCHERS", "PAIR_MATCHERS", "LighterGlue", "NearestMatcher", "make_matcher", "make_pair_matcher"]


def _superglue(_extractor: str, provider: str) -> SuperGlue:
    from veduta.matching.superglue import SuperGlue

    return SuperGlue(provider=provider)


def _lightglue(extractor: str, provider: str) -> Matcher:
    from veduta.matching.lightglue import LightGlue

    return LightGlue(extractor, provider=provider)


# Least cosine of a pair of `nearest`, by extractor: where geometry hardly ever finds inliers in unrelated photos.
# SuperPoint's is not measured: it is the distance of 0.7 that hloc uses (Sarlin et al., CVPR 2019).
LEAST_SIMILARITY = {"xfeat": 0.82, "rootsift": 0.9, "superpoint": 0.755, "disk": 0.5, "aliked": 0.5}


# Name -> (how to make it for (extractor, execution provider), the extractors it understands; None means any).
MATCHERS: dict[str, tuple[Callable[[str, str], Matcher], tuple[str, ...] | None]] = {
    "nearest": (lambda extractor, _provider: NearestMatcher(LEAST_SIMILARITY.get(extractor, 0.82)), None),
    "lighterglue": (lambda _extractor, provider: LighterGlue(provider=provider), ("xfeat",)),
    "lightglue": (_lightglue, ("superpoint", "disk", "aliked")),
    "superglue": (_superglue, ("superpoint",)),
}
PAIR_MATCHERS = ("efficientloftr",)  # that look at two photos, not at their features


def make_matcher(name: str, extractor: str = "xfeat", provider: str = "cpu") -> Matcher:
    """Return the matcher called `name`.

    Raises:
        ModelError: there is none, it cannot match `extractor`'s features, or its weights are not here.
    """
    if name in PAIR_MATCHERS:
        raise ModelError(
            f"matcher {name!r} has to see both photos, and a gallery keeps none; use it with 'veduta verify'"
        )
    if name not in MATCHERS:
        raise ModelError(f"no matcher is called {name!r}; there are {', '.join(MATCHERS)}")
    make, understands = MATCHERS[name]
    if understands is not None and extractor not in understands:
        trained = ", ".join(understands)
        raise ModelError(f"matcher {name!r} was trained on {trained}, not on {extractor!r}; use 'nearest'")
    return make(extractor, provider)


def make_pair_matcher(name: str, max_side: int = 576, provider: str = "cpu") -> PairMatcher:
    """Return the matcher of two photos called `name`; ModelError when there is none or its weights are not here."""
    if name not in PAIR_MATCHERS:
        raise ModelError(f"no matcher of photos is called {name!r}; there are {', '.join(PAIR_MATCHERS)}")
    from veduta.matching.efficientloftr import EfficientLoftr

    return EfficientLoftr(max_side, provider=provider)
