"""Image to global descriptor: one file per family."""

from __future__ import annotations

import os
from collections.abc import Callable

from veduta.embedders.gem import GemEmbedder
from veduta.errors import ModelError
from veduta.models.folder import is_model, read_card
from veduta.protocols import Embedder

__all__ = ["DEFAULT_EMBEDDER", "EMBEDDERS", "GemEmbedder", "make_embedder"]

DEFAULT_EMBEDDER = "efficientnet-lite2-landmarks"

# Name of the card -> how to make it for (side, execution provider); no side means the card's.
EMBEDDERS: dict[str, Callable[[int | None, str], Embedder]] = {
    "efficientnet-lite2-gem": lambda side, provider: GemEmbedder("efficientnet-lite2-gem", side, provider),
    "efficientnet-lite2-landmarks": lambda side, provider: GemEmbedder("efficientnet-lite2-landmarks", side, provider),
}


def make_embedder(
    name: str | os.PathLike[str] = DEFAULT_EMBEDDER, side: int | None = None, provider: str = "cpu"
) -> Embedder:
    """Return an embedder.

    Args:
        name: one that ships, or a folder that `veduta train` has left.
        side: photos are brought to about `side` x `side` pixels; None for what the model's card says.
        provider: execution provider.

    Raises:
        ModelError: there is none of that name, or it cannot run here.
    """
    if isinstance(name, str) and name in EMBEDDERS:
        return EMBEDDERS[name](side, provider)
    if not is_model(name):
        known = ", ".join(EMBEDDERS)
        raise ModelError(
            f"no embedder is called {os.fspath(name)!r}; there are {known}, or give a folder with a card.json"
        )
    return GemEmbedder(read_card(name), side, provider)
