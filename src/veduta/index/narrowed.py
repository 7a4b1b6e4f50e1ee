"""Any index, looked at as if it had only some of its descriptors."""

from __future__ import annotations

import numpy as np

from veduta.protocols import Index
from veduta.types import Float32, Int64


class Narrowed:
    """Those descriptors of an index that have certain ids, without a copy.

    Args:
        index: all of them.
        among: (N,) ids; unknown ones are ignored.
    """

    def __init__(self, index: Index, among: Int64) -> None:
        self._index, self._among = index, among

    def __len__(self) -> int:
        return len(self._among)

    def add(self, ids: Int64, descriptors: Float32) -> None:
        """Refuse: this is a view. ValueError."""
        raise ValueError("expected the index itself, got a view of some of it")

    def remove(self, ids: Int64) -> int:
        """Refuse: this is a view. ValueError."""
        raise ValueError("expected the index itself, got a view of some of it")

    def vectors(self, ids: Int64) -> Float32:
        """Return the descriptors (N, D) of these (N,) ids; KeyError for one that is not there."""
        return self._index.vectors(ids)

    def search(self, descriptors: Float32, k: int, among: Int64 | None = None) -> tuple[Float32, Int64]:
        """Return cosines (Q, k') and ids (Q, k') of the nearest of those that count."""
        some = self._among if among is None else np.intersect1d(self._among, among)
        return self._index.search(descriptors, k, some)
