"""An index that lies elsewhere, and what came and went since, in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from veduta.index.exact import TIE_MARGIN, ExactIndex
from veduta.protocols import Index
from veduta.types import Bool, Float32, Int64


class OverlayIndex:
    """An index as of one moment, overlaid by the rows added and removed since.

    The other index may go on changing: what it gets later does not count, and what it has twice counts once.

    Args:
        base: the other index.
        dim: length D of a descriptor.
        last: the highest id that it had at that moment.
    """

    def __init__(self, base: Index, dim: int, last: int) -> None:
        self.base, self.delta, self.last = base, ExactIndex(dim), last
        self._hidden: set[int] = set()  # of the other index, what does not count any more
        self._count = len(base)

    def __len__(self) -> int:
        return self._count + len(self.delta)

    @property
    def num_deleted(self) -> int:
        """How many of the other index's descriptors do not count any more."""
        return len(self._hidden)

    def add(self, ids: Int64, descriptors: Float32) -> None:
        """Add (N,) ids with their (N, D) descriptors; ValueError for a wrong shape or an id already there."""
        old = self._old(ids)
        known = sorted(self._present(old).tolist())[:5]
        if known:
            raise ValueError(f"ids: expected new and different ones, got {known}")
        self.delta.add(ids, descriptors)
        self._hidden.update(old.tolist())

    def remove(self, ids: Int64) -> int:
        """Remove these ids, ignoring unknown ones; return how many were there."""
        old = self._old(ids)
        present = len(self._present(old))
        self._count -= present
        self._hidden.update(old.tolist())
        return present + self.delta.remove(ids)

    def vectors(self, ids: Int64) -> Float32:
        """Return the descriptors (N, D) of these (N,) ids; KeyError for one that is not there."""
        ids = np.asarray(ids, np.int64)
        old = self._visible(ids)
        descriptors = np.empty((len(ids), self.delta.dim), np.float32)
        descriptors[~old] = self.delta.vectors(ids[~old])
        descriptors[old] = self.base.vectors(ids[old])
        return descriptors

    def search(self, descriptors: Float32, k: int, among: Int64 | None = None) -> tuple[Float32, Int64]:
        """Return cosines (Q, k') and ids (Q, k') of the nearest that are found, nearest first, then id rising.

        Args:
            descriptors: (Q, D) of the queries.
            k: neighbors wanted.
            among: (M,) the only ids that count, in any order; unknown ones are ignored. None for all.
        """
        recent = self.delta.search(descriptors, k, among)
        old = self._search_base(descriptors, k, among)
        return merge_results([old[0], recent[0]], [old[1], recent[1]], k)

    def _search_base(self, descriptors: Float32, k: int, among: Int64 | None) -> tuple[Float32, Int64]:
        """Return the base index's results, searching wider until enough of them count."""
        if not len(descriptors) and among is None:
            return np.zeros((0, min(k, self._count)), np.float32), np.zeros((0, min(k, self._count)), np.int64)
        among = among if among is None else among[self._visible(among)]
        wide = k + min(self.num_deleted, TIE_MARGIN)
        while True:
            similarity, ids = self.base.search(descriptors, wide, among)
            counts = self._visible(ids)
            width = int(counts.sum(1).min(initial=min(k, ids.shape[1])))
            if width == k or ids.shape[1] < wide:
                break
            wide = 2 * wide
        best = np.argsort(~counts, axis=1, kind="stable")[:, :width]
        return np.take_along_axis(similarity, best, 1), np.take_along_axis(ids, best, 1)

    def _visible(self, ids: Int64) -> Bool:
        """Return which of these ids count as the other index has them."""
        return (ids <= self.last) & ~np.isin(ids, list(self._hidden))

    def _old(self, ids: Int64) -> Int64:
        ids = np.asarray(ids, np.int64)
        return np.unique(ids[ids <= self.last])

    def _present(self, ids: Int64) -> Int64:
        """Return those of these ids that the other index has and that count; few questions where all or none are."""
        ids = ids[self._visible(ids)]
        try:
            self.base.vectors(ids)
        except KeyError:
            if len(ids) == 1:
                return ids[:0]
            return np.concatenate([self._present(half) for half in np.array_split(ids, 2)])
        return ids


def merge_results(similarities: Sequence[Float32], ids: Sequence[Int64], k: int) -> tuple[Float32, Int64]:
    """Return the cosines (Q, k') and ids (Q, k') of the best among several answers (Q, k_i), as one index would."""
    similarity, numbers = np.concatenate(similarities, axis=1), np.concatenate(ids, axis=1)
    order = np.lexsort((numbers, -similarity), axis=1)[:, :k]
    return np.take_along_axis(similarity, order, 1), np.take_along_axis(numbers, order, 1)
