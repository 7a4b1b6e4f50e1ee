"""Local features of two photos to matches: one file per family."""

from __future__ import annotations

from collections.abc import Callable

from veduta.errors import ModelError
from veduta.matching.lighterglue import LighterGlue
from veduta.matching.nearest import NearestMatcher
from veduta.protocols import Matcher

__all__ = ["MATCHERS", "LighterGlue", "NearestMatcher", "make_matcher"]

# Name of the card -> (how to make it for an execution provider, the extractors it understands; None means any).
MATCHERS: dict[str, tuple[Callable[[str], Matcher], frozenset[str] | None]] = {
    "nearest": (lambda _provider: NearestMatcher(), None),
    "lighterglue": (lambda provider: LighterGlue(provider=provider), frozenset({"xfeat"})),
}


def make_matcher(name: str, extractor: str = "xfeat", provider: str = "cpu") -> Matcher:
    """Return the matcher called `name`; ModelError when there is none or it cannot match `extractor`'s features."""
    if name not in MATCHERS:
        raise ModelError(f"no matcher is called {name!r}; there are {', '.join(MATCHERS)}")
    make, understands = MATCHERS[name]
    if understands is not None and extractor not in understands:
        trained = ", ".join(understands)
        raise ModelError(f"matcher {name!r} was trained on {trained}, not on {extractor!r}; use 'nearest'")
    return make(provider)
