"""Image to global descriptor: one file per family."""

from __future__ import annotations

from collections.abc import Callable

from veduta.embedders.gem import GemEmbedder
from veduta.embedders.whitened import WhitenedEmbedder
from veduta.errors import ModelError
from veduta.protocols import Embedder

__all__ = ["DEFAULT_EMBEDDER", "EMBEDDERS", "GemEmbedder", "WhitenedEmbedder", "make_embedder"]

DEFAULT_EMBEDDER = "efficientnet-lite2-gem-white"

# Name of the card -> how to make it for (side, execution provider).
EMBEDDERS: dict[str, Callable[[int, str], Embedder]] = {
    "efficientnet-lite2-gem": lambda side, provider: GemEmbedder("efficientnet-lite2-gem", side, provider),
    "efficientnet-lite2-gem-white": lambda side, provider: WhitenedEmbedder(
        "efficientnet-lite2-gem-white", GemEmbedder("efficientnet-lite2-gem", side, provider)
    ),
}


def make_embedder(name: str = DEFAULT_EMBEDDER, side: int = 384, provider: str = "cpu") -> Embedder:
    """Return the embedder called `name`; ModelError when there is none."""
    if name not in EMBEDDERS:
        raise ModelError(f"no embedder is called {name!r}; there are {', '.join(EMBEDDERS)}")
    return EMBEDDERS[name](side, provider)
