"""Exact search by inner product, on faiss (Douze et al. 2024), and the similarity that every index reports.

It is the default, and the oracle of every other index.
"""

from __future__ import annotations

from typing import Any

import faiss as stubbed
import numpy as np

from veduta.types import Float32, Int64

faiss: Any = stubbed  # whose stubs know what C++ takes, not what its Python wrappers take
TIE_MARGIN = 16  # neighbors asked for beyond k, so that equal similarities at the edge are ordered by id
COSINE_ROWS = 4_096  # rows widened at a time
CLOSE = 1e-5  # single precision may be wrong by less than this, for any order in which products are added up


def cosines(rows: Float32, query: Float32) -> Float32:
    """Return the inner products (n,) of rows (n, D) and a query (D,), summed in double precision.

    faiss sums in an order that depends on how much there is to compare, and its last digits with it.
    """
    values, wide = np.empty(len(rows), np.float32), query.astype(np.float64)
    for start in range(0, len(rows), COSINE_ROWS):
        piece = rows[start : start + COSINE_ROWS].astype(np.float64)
        values[start : start + COSINE_ROWS] = np.einsum("nd,d->n", piece, wide)
    return values


def roughly(rows: Float32, query: Float32) -> Float32:
    """Return the same (n,) in single precision: for choosing.

    Not by BLAS, whose threads go on spinning for a while, on the cores that the next step needs.
    """
    values = np.empty(len(rows), np.float32)
    arrays = values, np.ascontiguousarray(query), np.ascontiguousarray(rows)
    faiss.fvec_inner_products_ny(*map(faiss.swig_ptr, arrays), rows.shape[1], len(rows))
    return values


class ExactIndex:
    """All descriptors in memory, compared one by one.

    Args:
        dim: length D of a descriptor.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
        self._ids: set[int] = set()

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Int64, descriptors: Float32) -> None:
        """Add (N,) ids with their (N, D) descriptors; ValueError for a wrong shape or an id already there."""
        self._check(descriptors)
        if len(ids) != len(descriptors):
            raise ValueError(f"ids: expected {len(descriptors)}, one per descriptor, got {len(ids)}")
        new = {int(i) for i in ids}
        if len(new) != len(ids) or new & self._ids:
            known = sorted(new & self._ids)[:5]
            raise ValueError(f"ids: expected new and different ones, got {known or 'repeated ones'}")
        if len(ids):
            self._index.add_with_ids(np.ascontiguousarray(descriptors), np.asarray(ids, np.int64))
        self._ids |= new

    def remove(self, ids: Int64) -> int:
        """Remove these ids, ignoring unknown ones; return how many were there."""
        gone = self._ids & {int(i) for i in ids}
        if gone:
            self._index.remove_ids(faiss.IDSelectorBatch(np.array(sorted(gone), np.int64)))
            self._ids -= gone
        return len(gone)

    def vectors(self, ids: Int64) -> Float32:
        """Return the descriptors (N, D) of these (N,) ids; KeyError for one that is not there."""
        unknown = {int(i) for i in ids} - self._ids
        if unknown:
            raise KeyError(f"no descriptor has the id {min(unknown)}")
        descriptors = self._index.reconstruct_batch(np.asarray(ids, np.int64)) if len(ids) else np.zeros((0, self.dim))
        return np.asarray(descriptors, np.float32)

    def search(self, descriptors: Float32, k: int, among: Int64 | None = None) -> tuple[Float32, Int64]:
        """Return cosines (Q, k') and ids (Q, k') of the nearest, nearest first, then id rising.

        Args:
            descriptors: (Q, D) of the queries.
            k: neighbors wanted; k' = min(k, how many there are to find).
            among: (M,) the only ids that count, in any order; unknown ones are ignored. None for all.
        """
        self._check(descriptors)
        if k < 1:
            raise ValueError(f"k: expected at least 1, got {k}")
        chosen = None if among is None else np.array(sorted(self._ids.intersection(among.tolist())), np.int64)
        total = len(self) if chosen is None else len(chosen)
        k, wide = min(k, total), min(k + TIE_MARGIN, total)
        if k == 0 or len(descriptors) == 0:
            return np.zeros((len(descriptors), k), np.float32), np.zeros((len(descriptors), k), np.int64)
        options = None if chosen is None else faiss.SearchParameters(sel=faiss.IDSelectorBatch(chosen))
        while True:
            similarity, ids = self._index.search(np.ascontiguousarray(descriptors), wide, params=options)
            # What may be equal to the last one decides by its id, or the order of insertion would decide.
            if wide == total or (similarity[:, k - 1] > similarity[:, -1] + CLOSE).all():
                break
            wide = min(2 * wide, total)
        for row, (query, near) in enumerate(zip(descriptors, ids, strict=True)):
            similarity[row] = cosines(self._index.reconstruct_batch(near), query)
        order = np.lexsort((ids, -similarity), axis=1)[:, :k]
        return np.take_along_axis(similarity, order, 1), np.take_along_axis(ids, order, 1)

    def _check(self, descriptors: Float32) -> None:
        if descriptors.ndim != 2 or descriptors.shape[1] != self.dim or descriptors.dtype != np.float32:
            raise ValueError(
                f"descriptors: expected (N, {self.dim}) float32, got {descriptors.shape} {descriptors.dtype}"
            )
